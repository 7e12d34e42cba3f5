"""The page of findings is true: its scripts show what they say, and the suite fails what it lists, nothing else."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from fdspec.conformance.suite import load_suite
from fdspec.impls import registry
from fdspec.impls.setup import Unavailable, cache, prepare

FINDINGS = Path(__file__).parents[2] / "docs" / "findings"
CATALOGUE = registry.CATALOGUE
CRATES = {"rust-virtio-driver": "virtio-driver", "rust-vmm-sys-util": "vmm-sys-util"}
ANY_RELEASE = {"python-recipe", "linux-musl"}
"""What does not depend on the version that is told: Python's, the kernel's."""
NOT_RUN = {FINDINGS / "linux_gc.py"}
"""What leaves something behind in the kernel: shown by people, on a machine that they can spare."""
SHARED = {FINDINGS / "lying_kernel.py"}
"""What is no script of an implementation, but used by some."""
INTERPOSED = {"faults", "hostile", "transport-faults", "hand-over-faults", "hand-over-hostile"}
"""Areas whose cases stand between the implementation and its kernel."""
OF_THE_INTERPRETER = ("python-socket", "python-socket-fds")
"""What is part of Python itself is compared under one release only, the one that the page speaks of."""
CLEAN = ("reference", "reference-libc", "python-socket", "linux", "linux-m32")
OTHERS = () if sys.version_info[:2] == (3, 11) else OF_THE_INTERPRETER
LINE = re.compile(r"(?P<name>[a-z0-9-]+): (?P<verdict>shown|not shown): .+")

pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True)
class Section:
    """What the page says of one implementation: its release, its script, and of each scenario the ids of its cases."""

    release: str
    script: Path
    scenarios: dict[str, tuple[str, ...]]
    unusual: frozenset[str] = frozenset()
    """The scenarios that take an answer of the kernel which Linux does not give, or not on demand."""

    @property
    def cases(self) -> set[str]:
        return {case for cases in self.scenarios.values() for case in cases}


def parse(text: str) -> dict[str, Section]:
    """Read the page. Raises ValueError where it is not of the form that it must have."""
    found = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        if not part.startswith("`"):
            continue
        head, *items = re.split(r"^### ", part, flags=re.MULTILINE)
        name = head.split("`")[1]
        facts = re.search(
            r"^Release: `(?P<release>[^`]+)`\. Script: \[[^]]+\]\((?P<script>[^)]+)\)\.$", head, re.MULTILINE
        )
        if facts is None:
            raise ValueError(f"{name}: no line 'Release: `...`. Script: [...](...).'")
        read = [_scenario(name, item) for item in items]
        scenarios = {title: cases for title, cases, _ in read}
        if name in found or len(scenarios) != len(items) or not items:
            raise ValueError(f"{name}: it stands there twice, or one of its scenarios does, or it has none")
        found[name] = Section(
            facts["release"],
            FINDINGS / facts["script"],
            scenarios,
            frozenset(title for title, _, unusual in read if unusual),
        )
    return found


def _scenario(implementation: str, item: str) -> tuple[str, tuple[str, ...], bool]:
    title, _, text = item.partition("\n")
    paragraphs = [" ".join(one.split()) for one in text.strip().split("\n\n")]
    kind = re.match(r"(Defect|Debatable)(?:(?P<none>, no case)|(?P<unusual>, unusual kernel))?\. ", paragraphs[0])
    listed = re.fullmatch(r"Cases: (?:(?P<none>none)|`[^`]+`(?:, `[^`]+`)*)\.", paragraphs[-1])
    if kind is None or listed is None or bool(kind["none"]) != bool(listed["none"]):
        raise ValueError(
            f"{implementation}, {title}: 'Defect.' or 'Debatable.' first, 'Cases: ...' last, 'no case' where none"
        )
    return title.strip(), tuple(re.findall(r"`([^`]+)`", paragraphs[-1])), bool(kind["unusual"])


def differences(listed: set[str], bad: set[str], known: Iterable[str]) -> list[str]:
    """Say what is wrong when ``listed`` cases were expected to fail and ``bad`` ones did."""
    unknown = listed - set(known)
    return [
        *(f"{case}: listed, and there is no such case" for case in sorted(unknown)),
        *(f"{case}: listed, and it does not fail" for case in sorted(listed - bad - unknown)),
        *(f"{case}: fails, and is not listed" for case in sorted(bad - listed)),
    ]


PAGE = parse((FINDINGS / "index.md").read_text(encoding="utf-8"))
LISTED = [name for name in PAGE if name not in OTHERS]
TESTED = [name for name in registry.ids() if name not in OTHERS]


@functools.cache
def prepared(name: str):
    """Return how the implementation is started, or the reason why it cannot be had here."""
    found = prepare(registry.find(name))
    if isinstance(found, Unavailable) and not found.reason.startswith("needs "):
        raise AssertionError(f"{name}: {found.reason}\n{found.words}")
    return found


def had(name: str):
    """Return how the implementation is started. A machine without its language is no fault of the page."""
    found = prepared(name)
    if isinstance(found, Unavailable):
        pytest.skip(f"{name} {found.reason}")
    return found


def program(name: str) -> list[str | Path]:
    """Return the command that shows the findings of an implementation, under its own interpreter."""
    if PAGE[name].script.suffix == ".c":
        return [compiled(name)]
    if name not in CRATES:
        return [had(name).python, PAGE[name].script]
    had(name)
    target = cache() / "findings" / "cargo"
    command = ["cargo", "build", "--release", "--locked", "--quiet"]
    command += ["--manifest-path", FINDINGS / "rust" / "Cargo.toml", "--target-dir", target]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    return [target / "release" / "fdspec-findings", name]


def compiled(name: str) -> Path:
    """Compile the script in C as its implementation is compiled, and return the program."""
    (command,) = had(name).manifest.setup.commands
    target = cache() / "findings" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([command[0], "-static", "-Wall", "-Werror", "-o", target, PAGE[name].script], timeout=60, check=True)
    return target


def show(name: str, *scenarios: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [*program(name), *scenarios]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)


@pytest.mark.parametrize("name", LISTED)
def test_every_scenario_is_shown_by_plain_calls(name):
    done = show(name)
    lines = [LINE.fullmatch(line) for line in done.stdout.splitlines()]
    assert all(lines), done.stdout
    assert [line[0] for line in lines if line["verdict"] != "shown"] == [], done.stdout
    assert {line["name"] for line in lines} == set(PAGE[name].scenarios)
    assert len(lines) == len(PAGE[name].scenarios)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", LISTED)
def test_a_scenario_can_be_asked_for_alone_and_an_unknown_one_is_refused(name):
    wanted = list(PAGE[name].scenarios)[-1]
    done = show(name, wanted)
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [wanted]
    assert done.returncode == 0
    refused = show(name, "no-such-scenario")
    assert refused.returncode != 0
    assert "no such scenario: no-such-scenario" in refused.stderr
    assert refused.stdout == ""


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """What one run over all implementations that can be had found."""
    out = tmp_path_factory.mktemp("findings") / "out"
    command = [Path(sys.executable).with_name("fdspec"), "run", "-n", "2", "--out", out]
    for name in TESTED:
        command += [] if isinstance(prepared(name), Unavailable) else ["-i", name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    return [json.loads(line) for line in (out / "records.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("name", TESTED)
def test_the_suite_fails_what_is_listed_and_nothing_else(name, records):
    had(name)
    verdicts = [one for one in records if one["record"] == "verdict" and one["implementation"] == name]
    assert len(verdicts) > 50
    bad = {one["case"]: one for one in verdicts if one["verdict"] not in {"pass", "unsupported"}}
    wrong = differences(PAGE[name].cases if name in PAGE else set(), set(bad), load_suite().cases)
    seen = {case: f"{one['verdict']}: {one.get('observed', '')[:200]}" for case, one in bad.items()}
    assert not wrong, "\n".join(
        [*wrong, *(f"{case}: {seen[case]}" for case in seen if any(case in line for line in wrong))]
    )


@pytest.mark.parametrize("name", LISTED)
def test_the_release_on_the_page_is_the_one_that_was_tested(name, records):
    had(name)
    [version] = [one["version"] for one in records if one["record"] == "implementation" and one["id"] == name]
    release = PAGE[name].release
    assert version == release or name in ANY_RELEASE or version.startswith(release + ".")


def test_every_implementation_has_a_section_or_is_said_to_fail_nothing():
    assert {*PAGE, *CLEAN} == set(registry.ids())
    assert not set(PAGE) & set(CLEAN)
    text = (FINDINGS / "index.md").read_text(encoding="utf-8")
    *names, last = [f"`{name}`" for name in CLEAN]
    assert f"{', '.join(names)} and {last} fail nothing." in " ".join(text.split())


@pytest.mark.parametrize("name", PAGE)
def test_what_only_cases_between_testee_and_kernel_show_is_said_to_take_an_unusual_kernel(name):
    shown_there = {
        title
        for title, cases in PAGE[name].scenarios.items()
        if cases and {case.split(".")[0] for case in cases} <= INTERPOSED
    }
    assert PAGE[name].unusual == shown_there


def test_every_script_belongs_to_a_section():
    scripts = {section.script for section in PAGE.values()}
    assert scripts | NOT_RUN | SHARED == {
        *FINDINGS.glob("*.py"),
        *FINDINGS.glob("*.c"),
        FINDINGS / "rust" / "src" / "main.rs",
    }


@pytest.mark.parametrize("script", NOT_RUN, ids=lambda path: path.name)
def test_a_script_that_is_not_run_here_says_why_and_refuses_what_it_does_not_know(script):
    assert "Beware: " in script.read_text(encoding="utf-8")
    assert script.name in (FINDINGS / "index.md").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, script, "x"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "no such scenario: x" in done.stderr


@pytest.mark.parametrize("name", CRATES)
def test_the_script_in_rust_is_locked_to_the_releases_that_are_tested(name):
    def locked(path: Path) -> dict[str, str]:
        packages = tomllib.loads(path.read_text(encoding="utf-8"))["package"]
        return {one["name"]: one["version"] for one in packages if one["name"] in {CRATES[name], "libc"}}

    ours = locked(FINDINGS / "rust" / "Cargo.lock")
    assert ours == locked(CATALOGUE / name / "Cargo.lock")
    assert ours[CRATES[name]] == PAGE[name].release


def test_what_differs_is_told_by_case():
    assert differences({"a", "b"}, {"a", "b"}, ["a", "b", "c"]) == []
    assert differences({"a", "x"}, {"b"}, ["a", "b", "c"]) == [
        "x: listed, and there is no such case",
        "a: listed, and it does not fail",
        "b: fails, and is not listed",
    ]


GOOD = "## `one`\n\nRelease: `1`. Script: [a.py](a.py).\n\n### x\n\nDefect. So.\n\nCases: `a`, `b`.\n"


def test_the_page_is_read_strictly():
    assert parse(GOOD) == {"one": Section("1", FINDINGS / "a.py", {"x": ("a", "b")})}
    none = GOOD.replace("Defect.", "Defect, no case.").replace("`a`, `b`", "none")
    assert parse(none)["one"].scenarios == {"x": ()}
    unusual = GOOD.replace("Defect.", "Debatable, unusual kernel.")
    assert parse(unusual)["one"].unusual == {"x"}
    faults = [
        GOOD.replace("Release", "Version"),
        GOOD.replace("Cases: ", "Ids: "),
        GOOD.replace("`a`, `b`", "none"),
        GOOD.replace("Defect. ", ""),
        GOOD.replace("Defect.", "Defect, usual kernel."),
        GOOD[: GOOD.index("###")],
        GOOD + GOOD,
        GOOD + "\n### x\n\nDefect. So.\n\nCases: `c`.\n",
    ]
    for text in faults:
        with pytest.raises(ValueError, match="one"):
            parse(text)
