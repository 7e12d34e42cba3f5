"""``fdspec mutants`` as people use it, and the gate itself: the suite against all mutants."""

from __future__ import annotations

import json
import resource

import pytest

CORES = 2
SECONDS = 120.0
"""What the whole of it may take on two cores."""


def test_a_caught_mutant(fdspec, tmp_path):
    done = fdspec("mutants", "-k", "message.truncation-leaks", "--json", "out.json")
    assert (done.returncode, done.stderr) == (0, "")
    line = next(line for line in done.stdout.splitlines() if line.startswith("message.truncation-leaks"))
    assert " D001 " in line
    assert " leak" in line
    assert "1 mutants, 1 caught" in done.stdout
    found = json.loads((tmp_path / "out.json").read_text())
    (mutant,) = found["mutants"]
    assert (mutant["id"], mutant["defects"], mutant["class"]) == ("message.truncation-leaks", ["D001"], "A")
    assert set(mutant["by_right"]) <= set(mutant["caught"])
    assert mutant["by_right"]
    assert all(
        found["cases"][case] == ["message.truncation-leaks"] for case in mutant["caught"] if case in found["cases"]
    )
    assert (found["reference"], found["alive"], found["elsewhere"], found["idle"]) == ([], [], [], [])


def test_a_mutant_that_survives_is_red(fdspec, table):
    done = fdspec("mutants", "--tables", table())
    assert done.returncode == 1
    assert done.stderr == "fdspec: message.harmless was caught by no case: A change for a test.\n"
    assert "NOBODY" in done.stdout


def test_a_mutant_that_only_others_catch_is_red(fdspec, table):
    directory = table(
        violates="LC06", old="    data = list(buffers)\n", new="    data = [b'x' + one for one in buffers]\n"
    )
    done = fdspec("mutants", "--tables", directory, "--all")
    assert done.returncode == 1
    assert done.stderr == "fdspec: message.harmless was caught, but by no case that checks LC06\n"
    assert "*" in done.stdout.splitlines()[1]


def test_one_case_judges_no_mutant(fdspec, table):
    done = fdspec("mutants", "--tables", table(), "--case", "send.one", "--case", "send.order")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_mutant_that_does_not_start_is_no_mutant(fdspec, table):
    directory = table(old='__all__ = [\n    "SCM_MAX_FD",', new='os._exit(3)\n__all__ = [\n    "SCM_MAX_FD",')
    done = fdspec("mutants", "--tables", directory)
    assert done.returncode == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["-k", "message.truncation-leak"],
            "no mutant matches 'message.truncation-leak'; did you mean message.truncation-leaks",
        ),
        (["--case", "no.such"], "no case matches 'no.such'"),
        (["-n", "0"], "0 is not in the range"),
        (["--tables", "nowhere"], "does not exist"),
        (["--json", "."], "is a directory"),
    ],
)
def test_wrong_usage(fdspec, arguments, words):
    done = fdspec("mutants", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"old": "no such text"}, "its old text stands there 0 times, not once: 'no such text'"),
        ({"new": "    data = = 1\n"}, "mutant message.harmless, line "),
        ({"violates": "LC99"}, "mutant message.harmless violates 'LC99', which is no requirement"),
        ({"more": "files = 3"}, "unknown field `files`"),
    ],
)
def test_a_table_with_a_mistake(fdspec, table, change, words):
    done = fdspec("mutants", "--tables", table(**change))
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_mutant_runs_like_any_implementation(fdspec, tmp_path):
    done = fdspec(
        "run", "-i", "mutant:message.truncation-leaks", "-k", "ctrunc.many-into-few", "-k", "send.one", "--out", "out"
    )
    assert done.returncode == 1
    records = [json.loads(line) for line in (tmp_path / "out" / "records.jsonl").read_text().splitlines()]
    verdicts = {(one["case"], one["verdict"]) for one in records if one["record"] == "verdict"}
    assert verdicts == {("ctrunc.many-into-few", "leak"), ("send.one", "pass")}
    leak = next(one for one in records if one["record"] == "verdict" and one["verdict"] == "leak")
    assert leak["reproduce"].startswith("fdspec run -i mutant:message.truncation-leaks -k ctrunc.many-into-few")


def test_a_mutant_that_there_is_not(fdspec):
    done = fdspec("run", "-i", "mutant:message.truncation-leak")
    assert done.returncode == 2
    assert "did you mean mutant:message.truncation-leaks" in done.stderr


def test_no_listing_shows_them(fdspec):
    assert "mutant" not in fdspec("impls").stdout


@pytest.mark.timeout(900)
def test_the_suite_holds_against_all_of_them(fdspec, tmp_path, say):
    """The gate: each mutant caught by right, each case busy, the reference clean, in less than 120 s of two cores."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = fdspec("mutants", "--json", "out.json", timeout=880)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr == ""
    assert done.returncode == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert len(found["mutants"]) >= 120
    assert all(mutant["by_right"] for mutant in found["mutants"])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    say(
        f"mutants: {len(found['mutants'])}, all caught; {found['verdicts']} verdicts, "
        f"{found['seconds']:.0f} s here, {used:.0f} s of processor time"
    )
    assert used < CORES * SECONDS
