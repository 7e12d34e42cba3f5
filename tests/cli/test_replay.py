"""``fdspec replay`` says whether a finding still shows, and prints it as plain system calls."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fdspec.fuzz import parse
from fdspec.fuzz.findings import store
from fdspec.fuzz.findings.finding import Finding
from fdspec.fuzz.judgement import Breach, Violation

from .conftest import SCRIPT

MUTANT = "mutant:message.truncation-leaks"
PROGRAM = """program 1 message stream client
open g0
send p0 "x" fds=g0,g0
take t0 1 room=1 as=r0_
"""
LEAK = Violation(Breach.LEAK, "LC01", 2, "take", "message/stream/testee", "2 descriptors are open, of 1")


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def file(tmp_path):
    """Write a finding and return its file."""

    def write(subject=MUTANT, violation=LEAK, program=PROGRAM):
        return store.write(Finding(subject, violation, parse(program)), tmp_path / "findings")

    return write


def test_it_fails_while_it_fails(fdspec, file):
    done = fdspec("replay", file())
    assert done.returncode == 1, done.stderr
    out = one_line(done.stdout)
    assert "on mutant:message.truncation-leaks" in out
    assert "must LC01: Every descriptor that was installed is handed to the caller or closed" in out
    assert "3 take t0 1 room=1 as=r0_" in out
    assert "it fails as it did" in out
    assert "seen at operation 3, take, in message/stream/testee: " in out
    assert "permitted b'x', descriptors g0, CTRUNC" in out
    assert "transcript" in out


def test_it_is_well_where_it_is_well(fdspec, file):
    done = fdspec("replay", file(), "-i", "reference", "--times", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("everything was as it has to be") == 3
    assert "wrong in 0 of 3 runs" in done.stdout


def test_another_failure_is_told_as_another(fdspec, file):
    other = Violation(Breach.DATA, "LC08", 1, "send", "message/stream/peer", "nothing of the kind")
    done = fdspec("replay", file(violation=other))
    assert done.returncode == 1
    assert "it no longer fails as it did, and fails in another way" in done.stdout


def test_a_program_alone_is_replayed(fdspec, tmp_path):
    path = tmp_path / "x.program"
    path.write_text("# a comment\n" + PROGRAM)
    assert fdspec("replay", path, "-i", "reference").returncode == 0
    assert fdspec("replay", path, "-i", MUTANT).returncode == 1
    done = fdspec("replay", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "-i says on which to run it" in done.stderr


def test_standard_input_is_read(tmp_path, environment):
    command = [SCRIPT, "replay", "-", "-i", "reference"]
    done = subprocess.run(
        command, input=PROGRAM, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr


def test_an_edited_program_may_be_simpler(fdspec, file):
    path = file()
    path.write_text(path.read_text().replace("fds=g0,g0", "fds=g0"))
    done = fdspec("replay", path)
    assert done.returncode == 0
    assert "everything was as it has to be" in done.stdout


BAD = {
    "no file": (None, "cannot read {path}: No such file or directory"),
    "empty": (b"", "format: missing"),
    "no finding": (b"hello", "1: TOML expected"),
    "no text": (b"program 1 \xff", "UTF-8 text expected"),
    "wrong line": (b"program 1 message stream client\nopen f0\nclose x", "3: column 7: 'x' is no name"),
    "wrong header": (b"program 2 message stream client\n", "1: column 9: version '2' of programs"),
    "too much": (b"program 1 message stream client\n" + b"open f0\n" * 65, "66: column 1: a program has 64"),
}


@pytest.mark.parametrize(("data", "what"), BAD.values(), ids=BAD)
def test_a_bad_file_is_wrong_usage(fdspec, tmp_path, data, what):
    path = tmp_path / "bad"
    if data is not None:
        path.write_bytes(data)
    done = fdspec("replay", path, "-i", "reference")
    assert (done.returncode, done.stdout) == (2, "")
    assert what.format(path=path) in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_not_offered_is_said(fdspec, tmp_path):
    path = tmp_path / "x.program"
    path.write_text("program 1 message dgram client\n")
    done = fdspec("replay", path, "-i", "python-recipe")
    assert done.returncode == 2
    assert "python-recipe offers no" in one_line(done.stderr)
    path.write_text('program 1 descriptors stream client\nsend t0 "x" fds=-1 flags=OOB\n')
    done = fdspec("replay", path, "-i", "python-recipe")
    assert done.returncode == 2
    assert "flags-out" in done.stderr


def test_an_unknown_implementation_is_wrong_usage(fdspec, file):
    done = fdspec("replay", file(), "-i", "referense")
    assert done.returncode == 2
    assert "reference" in done.stderr


def test_one_that_cannot_start(fdspec, file, tmp_path):
    manifest = tmp_path / "impl.toml"
    manifest.write_text(
        'id = "dead"\nname = "dead"\nlanguage = "none"\nhomepage = "https://example.org"\nsummary = "ends at once"\n'
        'profiles = ["message"]\n\n[start]\ncommand = ["/bin/false"]\n'
    )
    done = fdspec("replay", file(), "-i", manifest)
    assert done.returncode == 3, done.stderr
    assert "dead could not start" in done.stderr


@pytest.mark.parametrize("language", ["python", "c"])
def test_the_script_stands_alone(fdspec, file, tmp_path, language):
    done = fdspec("replay", file(), "--script", "--language", language)
    assert (done.returncode, done.stderr) == (0, "")
    source = tmp_path / f"script.{language}"
    source.write_text(done.stdout)
    command = [sys.executable, "-I", source]
    if language == "c":
        subprocess.run(["cc", "-Wall", "-Wextra", "-Werror", "-o", tmp_path / "script", source], check=True)
        command = [tmp_path / "script"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (1, "")
    assert "still open in the implementation, and its caller cannot know: g0" in ran.stdout


def test_what_a_finding_says_moves_no_cursor(fdspec, file):
    done = fdspec("replay", file(violation=Violation(Breach.LEAK, "\x1b[2J", 2, "take", "x", "\x1b[31m\nseen")))
    assert done.returncode == 1
    assert "\x1b" not in done.stdout
    assert "⟨ESC⟩" in done.stdout


def test_findings_are_in_the_report(fdspec, file, tmp_path):
    """Those of a campaign here where they are about the run's implementations; those of a named directory in any case."""
    here = tmp_path / "fdspec-out" / "fuzz" / "one" / "findings"
    for subject in ("reference", MUTANT):
        store.write(Finding(subject, LEAK, parse(PROGRAM)), here)
    (here / "spoilt.toml").write_text("format = 9\n")
    done = fdspec("run", "--no-config", "-i", "reference", "-k", "send.one", "--out", "out")
    assert done.returncode == 0, done.stderr
    assert "a finding is left out of the report" in done.stderr
    assert "1 finding of fuzzing" in done.stdout
    assert "Found by fuzzing" in (tmp_path / "out" / "index.html").read_text()
    done = fdspec("report", "out", "--findings", file().parent, "--markdown")
    assert done.returncode == 0, done.stderr
    assert f"{MUTANT} LC01 at take in message/stream/testee" in one_line(done.stdout)
    assert "### Found by fuzzing: 1 finding" in (tmp_path / "out" / "summary.md").read_text()


@pytest.mark.parametrize("verb", [("run", "-i", "reference", "-k", "send.one"), ("report", "out")])
def test_a_named_directory_with_a_bad_finding_is_wrong_usage(fdspec, tmp_path, verb):
    if verb[0] == "report":
        fdspec("run", "--no-config", "-i", "reference", "-k", "send.one", "--out", "out")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.toml").write_text("format = 9\n")
    done = fdspec(*verb, "--findings", "bad")
    assert (done.returncode, done.stdout) == (2, "")
    assert "bad/x.toml:1: subject: missing" in done.stderr
