"""``fdspec model``: the account, the comparison with the kernel, and bad input."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fdspec.cli import run
from fdspec.conformance.model import control

GOOD = 'pair stream a b\nopen f\nsend a "x" fds=f,f\nrecv b 1 control=24 as=y\n'


@pytest.fixture
def write(tmp_path):
    def one(text):
        path = tmp_path / "sequence.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return one


def test_it_explains(write, capsys):
    assert run(["model", write(GOOD)]) == 0
    out = capsys.readouterr().out
    assert 'send a "x" fds=f,f' in out
    assert "because" in out
    assert "S02    Descriptors arrive in the order of the array that was sent." in out


def test_without_sentences(write, capsys):
    assert run(["model", "--bare", write(GOOD)]) == 0
    out = capsys.readouterr().out
    assert "S02" in out
    assert "Descriptors arrive in the order" not in out


def test_it_compares_with_the_kernel(write, capsys):
    assert run(["model", "--check", write(GOOD)]) == 0
    assert "The kernel of this machine did so, in all 4 operations." in capsys.readouterr().out


def test_a_difference_is_exit_code_1(write, capsys, monkeypatch):
    monkeypatch.setattr(control.f, "SCM_MAX_FD", 1)
    assert run(["model", "--check", write(GOOD)]) == 1
    assert "The kernel of this machine differs at operation" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("open f\nsned a", "line 2: no operation is called 'sned'"),
        ("# nothing\n", "there is no operation in it"),
        (b"open \xff", "is no UTF-8 text: byte 5 is 0xff"),
    ],
)
def test_bad_input_is_exit_code_2(write, capsys, text, message):
    assert run(["model", write(text)]) == 2
    assert message in capsys.readouterr().err


def test_a_file_that_is_not_there(capsys, tmp_path):
    assert run(["model", str(tmp_path / "none")]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_standard_input_and_the_trial_as_commands():
    script = [sys.executable, "-m", "fdspec.conformance.model"]
    done = subprocess.run(
        [*script, "--sequences", "40", "--jobs", "1", "--length", "9"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sequences     40\n" in done.stdout
    assert "mismatches    0\n" in done.stdout
    assert "never a reason: " in done.stdout
    wrong = subprocess.run([*script, "--jobs", "0"], capture_output=True, text=True, timeout=100, check=False)
    assert wrong.returncode == 2
    assert "--jobs must be at least 1, not 0" in wrong.stderr
