"""The templates for continuous integration, run here: their own shell steps, in the environment that each system promises.

What only the systems have (checkout, artifacts, a Python that is set up) is looked at and not run. The expressions of GitHub
that the action uses are worked out below; one that is not known there fails the test.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

CI = Path(__file__).parents[2] / "docs" / "ci"
ACTION = yaml.safe_load((CI / "github" / "action.yml").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((CI / "github" / "workflow.yml").read_text(encoding="utf-8"))
GITLAB = yaml.safe_load((CI / "gitlab" / "fdspec.gitlab-ci.yml").read_text(encoding="utf-8"))
PINNED = re.compile(r"actions/[a-z-]+@[0-9a-f]{40}")

HALF = """
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        return super().sendmsg(fd, buffers, [], flags, address)
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(tmp_path, cache):
    """What every system has; fdspec of this checkout is on PATH."""
    for name in ("workspace", "temp", "home"):
        (tmp_path / name).mkdir()
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "LANG": "C.UTF-8",
        "CI": "true",
        "FDSPEC_CACHE": str(cache),
    }


@pytest.fixture
def workspace(tmp_path, environment):
    """A maintainer's repository: ``fdspec.toml`` names the implementation and the case, and maybe there are expectations."""

    def make(implementation, expectations="", where="."):
        directory = tmp_path / "workspace" / where
        directory.mkdir(exist_ok=True)
        lines = [f'implementations = ["{implementation}"]', 'cases = ["send.one"]', 'types = ["stream"]']
        if expectations:
            (directory / "known.toml").write_text(expectations, encoding="utf-8")
            lines.append('expectations = "known.toml"')
        (directory / "fdspec.toml").write_text("\n".join(lines), encoding="utf-8")
        return directory

    return make


# --- GitHub -----------------------------------------------------------------------------------------------------------


@dataclass
class Job:
    """What came of the action: the exit code of the step that failed, what its log showed, and what it left behind."""

    code: int = 0
    log: str = ""
    annotations: list[tuple[str, dict[str, str], str]] = field(default_factory=list)
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    ran: list[str] = field(default_factory=list)


def value(expression, inputs, steps):
    """Work out ``inputs.x`` or ``steps.x.outputs.y``."""
    kind, *names = expression.strip().split(".")
    if kind == "inputs":
        return inputs[names[0]]
    assert (kind, names[1]) == ("steps", "outputs"), expression
    return steps.get(names[0], {}).get(names[2], "")


def filled(text, inputs, steps):
    return re.sub(r"\$\{\{(.*?)\}\}", lambda match: value(match[1], inputs, steps), str(text))


def wanted(condition, inputs, steps, failed):
    """Work out ``if``: without a function of status it holds only while nothing has failed."""
    parts = [
        part.strip() for part in condition.strip().removeprefix("${{").removesuffix("}}").split("&&") if part.strip()
    ]
    holds = "!cancelled()" in parts or not failed
    for part in parts:
        if part != "!cancelled()":
            name, _, empty = part.partition(" != ")
            assert empty == "''", part
            holds = holds and value(name, inputs, steps) != ""
    return holds


def commands(log):
    """Read a step's log as the runner does: leading blanks do not count, and between stop and token nothing is obeyed."""
    found, token = [], None
    for row in log.splitlines():
        head, _, data = row.strip()[2:].partition("::")
        name, _, rest = head.partition(" ")
        if not row.strip().startswith("::"):
            continue
        if token is not None:
            token = None if name == token else token
        elif name == "stop-commands":
            token = data
        else:
            facts = dict(one.split("=", 1) for one in rest.split(",") if one)
            found.append((name, facts, data.replace("%0A", "\n").replace("%25", "%")))
    assert token is None, "commands stayed off"
    return found


@pytest.fixture
def github(tmp_path, environment):
    """Run the action's steps in a workspace, as a runner would."""

    def run(**given):
        inputs = {name: str(one.get("default", "")) for name, one in ACTION["inputs"].items()}
        assert given.keys() <= inputs.keys()
        inputs |= {"install": "", **given}
        job, steps = Job(), {}
        files = {
            name: tmp_path / name.lower()
            for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY", "GITHUB_ENV", "GITHUB_PATH")
        }
        for step in ACTION["runs"]["steps"]:
            if not wanted(step.get("if", ""), inputs, steps, job.code != 0):
                continue
            if "uses" in step:
                job.used.append(step["uses"].partition("@")[0])
                assert all(filled(one, inputs, steps) for one in step["with"].values())
                continue
            job.ran.append(step["name"])
            for path in files.values():
                path.write_text("")
            script = tmp_path / "step.sh"
            script.write_text(step["run"])
            assert "${{" not in step["run"], "an expression in a script is an injection"
            env = environment | {name: str(path) for name, path in files.items()}
            env |= {"GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(tmp_path / "temp"), "RUNNER_OS": "Linux"}
            env |= {"GITHUB_WORKSPACE": str(tmp_path / "workspace"), "GITHUB_REPOSITORY": "me/mylib"}
            env |= {name: filled(one, inputs, steps) for name, one in step.get("env", {}).items()}
            assert step["shell"] == "bash"
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script],
                cwd=tmp_path / "workspace" / filled(step.get("working-directory", "."), inputs, steps),
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=100,
                check=False,
            )
            job.log += done.stdout
            job.code = job.code or done.returncode
            job.annotations += commands(done.stdout)
            job.summary += files["GITHUB_STEP_SUMMARY"].read_text()
            rows = files["GITHUB_OUTPUT"].read_text().splitlines()
            steps[step.get("id", "")] = dict(row.split("=", 1) for row in rows)
        job.outputs = {name: filled(one["value"], inputs, steps) for name, one in ACTION["outputs"].items()}
        return job

    return run


def test_a_passing_implementation_is_green(github, workspace, tmp_path):
    workspace("python-socket")
    job = github()
    assert job.code == 0, job.log
    assert job.annotations == []
    assert job.summary.startswith("## fdspec: all as required\n")
    assert job.outputs["exit-code"] == "0"
    assert job.used == ["actions/setup-python", "actions/upload-artifact"]
    kept = {path.name for path in Path(job.outputs["directory"]).iterdir()}
    assert kept >= {"records.jsonl", "index.html", "junit.xml", "summary.md"}
    assert Path(job.outputs["directory"]).is_relative_to(tmp_path / "temp")
    assert {path.name for path in (tmp_path / "workspace").iterdir()} == {"fdspec.toml"}


@pytest.mark.parametrize("where", [".", "sub"])
def test_a_failing_implementation_is_red_and_annotated(github, workspace, miscreant, where):
    directory = workspace(miscreant(HALF), where=where)
    job = github(**{"working-directory": where})
    assert job.code == 1, job.log
    [(name, facts, said)] = job.annotations
    assert name == "error"
    assert facts["title"] == "fail%3A send.one on miscreant"
    assert facts["file"] == str(directory / "fdspec.toml")
    assert facts["line"] == "1"
    assert "Must happen: One descriptor sent beside data arrives" in said
    assert job.summary.startswith("## fdspec: 1 case not as required\n")
    assert job.outputs["exit-code"] == "1"
    assert job.used[-1] == "actions/upload-artifact"


def test_what_is_expected_is_green_and_what_is_not_stands_at_its_entry(github, workspace, miscreant):
    entry = 'version = 1\n[[expect]]\ncase = "send.one"\nverdict = "{}"\nwhy = "it is known"\nissue = "https://example.org/1"\n'
    manifest = miscreant(HALF)
    workspace(manifest, entry.format("fail"))
    job = github()
    assert (job.code, job.annotations) == (0, []), job.log
    assert job.summary.startswith("## fdspec: as expected\n")
    directory = workspace(manifest, entry.format("crash"))
    job = github()
    assert job.code == 1, job.log
    [(name, facts, said)] = job.annotations
    assert (name, facts["title"], facts["file"]) == ("error", "fdspec%3A other verdict", str(directory / "known.toml"))
    assert int(facts["line"]) > 1
    assert "send.one" in said
    assert job.summary.startswith("## fdspec: not as expected\n")


def test_more_than_a_step_has_room_for(github, workspace, miscreant):
    workspace(miscreant(HALF))
    job = github(arguments="-k send.*\n-k receive.*\n--type stream")
    assert job.code == 1, job.log
    assert Counter(name for name, _, _ in job.annotations) == {"error": 10}
    assert re.fullmatch(r"fdspec%3A \d+ more", job.annotations[-1][1]["title"])
    assert job.summary.count("| fail |") > 10


SAYS = """
id = "mine"
name = "mine"
language = "Python"
homepage = "https://example.org/"
summary = "it says what looks like a command"
profiles = ["message"]
[setup]
kind = "commands"
commands = [["sh", "-c", "echo '::error::injected'; echo '::add-mask::send'; echo '::set-output name=a::b'; exit 1"]]
[start]
command = ["{python}"]
"""


def test_what_an_implementation_says_is_no_command(github, workspace):
    (workspace("./impl.toml") / "impl.toml").write_text(SAYS)
    job = github()
    assert job.code == 3, job.log
    assert "::error::injected" in job.log
    assert len(job.annotations) == 1
    assert job.annotations[0][1] == {"title": "fdspec ended with exit code 3"}
    assert job.outputs["exit-code"] == "3"


def test_one_that_does_not_start_is_an_error(github, workspace, miscreant):
    workspace(miscreant("def start(self): sys.exit('::error::last words')"))
    job = github()
    assert job.code == 3, job.log
    [(name, facts, said)] = job.annotations
    assert (name, facts["title"]) == ("error", "crash%3A send.one on miscreant")
    assert "last words" in said
    assert "injected" not in said


def test_one_of_two_that_cannot_be_had_is_an_error(github, workspace):
    (workspace("python-socket", where="lib") / "impl.toml").write_text(SAYS)
    job = github(**{"working-directory": "lib", "arguments": "-i python-socket -i ./impl.toml"})
    assert job.code == 3, job.log
    assert [(name, facts["title"]) for name, facts, _ in job.annotations] == [
        ("error", "fdspec%3A mine was not tested")
    ]


@pytest.mark.parametrize(
    ("implementation", "arguments"), [("no-such-one", ""), ("python-socket", "--nonsense"), ("python-socket", "-k [*]")]
)
def test_wrong_usage_is_an_error(github, workspace, implementation, arguments):
    workspace(implementation)
    job = github(arguments=arguments)
    assert job.code == 2, job.log
    assert [facts["title"] for _, facts, _ in job.annotations] == ["fdspec ended with exit code 2"]
    assert job.outputs["exit-code"] == "2"
    assert "Traceback" not in job.log


def test_records_that_cannot_be_reported_on_are_not_green(github, workspace, environment, tmp_path):
    """A disk that is full, say: the run was green, and its report could not be made."""
    workspace("python-socket")
    real = Path(sys.executable).with_name("fdspec")
    fake = tmp_path / "bin" / "fdspec"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\n[ "$1" = report ] && exit 4\nexec {real} "$@"\n')
    fake.chmod(0o755)
    environment["PATH"] = f"{fake.parent}:{environment['PATH']}"
    job = github()
    assert (job.code, job.outputs["exit-code"]) == (4, "4"), job.log
    assert [name for name, _, _ in job.annotations] == ["error"]


def test_what_pip_installs_is_the_caller_s_choice(github, workspace, tmp_path):
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    workspace("python-socket")
    job = github(install=f"--no-index --target {tmp_path}/installed\n{wheel}", artifact="", **{"python-version": ""})
    assert job.code == 0, job.log
    assert (tmp_path / "installed" / "tiny.py").is_file()
    assert job.ran == ["Install fdspec", "Run fdspec"]
    assert job.used == []
    failed = github(install="--no-index no-such-package")
    assert failed.code == 1
    assert failed.ran == ["Install fdspec"]
    assert failed.used == ["actions/setup-python"]


def test_only_official_actions_that_are_pinned_and_the_least_permissions():
    [job] = WORKFLOW["jobs"].values()
    used = [step["uses"] for step in (*ACTION["runs"]["steps"], *job["steps"]) if "uses" in step]
    assert [one for one in used if not PINNED.fullmatch(one)] == ["./.github/actions/fdspec"]
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert "permissions" not in job
    for path in CI.rglob("*.yml"):
        text = path.read_text(encoding="utf-8")
        assert "secrets." not in text
        assert all(re.search(r"# v\d+\.\d+\.\d+$", row) for row in text.splitlines() if "@" in row and "uses:" in row)


def test_the_workflow_uses_what_the_action_has():
    [job] = WORKFLOW["jobs"].values()
    given = [step.get("with", {}) for step in job["steps"] if step.get("uses", "").startswith("./")]
    assert len(given) == 1
    assert given[0].keys() <= ACTION["inputs"].keys()
    assert WORKFLOW[True].keys() == {"push", "pull_request"}  # YAML 1.1 takes `on` for true


# --- GitLab -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def gitlab(tmp_path, environment):
    """Run the job's script in a workspace, as a runner would."""
    [job] = GITLAB.values()

    def run(**variables):
        env = environment | {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(tmp_path / "workspace"), "CI_JOB_ID": "1"}
        env |= {"CI_PROJECT_NAME": "mylib", "CI_PIPELINE_SOURCE": "push"}
        env |= {name: str(one) for name, one in (job["variables"] | {"FDSPEC_INSTALL": ""} | variables).items()}
        lines = ["set -e", *job["before_script"], *job["script"]]
        return subprocess.run(
            ["sh", "-c", "\n".join(lines)],
            cwd=tmp_path / "workspace",
            env=env,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


@pytest.mark.parametrize(("body", "code", "failures"), [("pass", 0, "0"), (HALF, 1, "1")])
def test_gitlab_gets_exit_code_and_junit(gitlab, workspace, miscreant, tmp_path, body, code, failures):
    workspace(miscreant(body))
    done = gitlab()
    assert done.returncode == code, done
    [job] = GITLAB.values()
    junit = tmp_path / "workspace" / job["artifacts"]["reports"]["junit"]
    assert ET.parse(junit).getroot().get("failures") == failures
    assert job["artifacts"]["when"] == "always"
    [kept] = job["artifacts"]["paths"]
    assert (tmp_path / "workspace" / kept / "records.jsonl").is_file()


def test_gitlab_hands_on_arguments_and_installs(gitlab, workspace):
    workspace("python-socket")
    done = gitlab(FDSPEC_ARGUMENTS="-k [*]")
    assert done.returncode == 2
    assert "no case matches '[*]'" in done.stderr
    done = gitlab(FDSPEC_INSTALL="--no-index no-such-package")
    assert done.returncode == 1
    assert "no-such-package" in done.stderr
