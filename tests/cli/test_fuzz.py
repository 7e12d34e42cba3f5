"""``fdspec fuzz``: exit codes, what people see, Ctrl-C, dying workers, and directories that cannot be used."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("fdspec")
FUZZ = Path(__file__).parent.parent / "fuzz"
OPENER = {"FDSPEC_FUZZ_RUNNER": "fakes:open_fake", "PYTHONPATH": str(FUZZ)}


@pytest.fixture
def fuzz(fdspec):
    """Run ``fdspec fuzz`` on fakes."""

    def run(*arguments, **more):
        return fdspec("fuzz", *arguments, **(OPENER | more))

    return run


@pytest.fixture
def begin(tmp_path, environment):
    """Begin ``fdspec fuzz`` on fakes, and wait until one of its workers runs."""
    os.mkfifo(tmp_path / "ready")
    ready = os.open(tmp_path / "ready", os.O_RDWR | os.O_NONBLOCK)
    more = {**OPENER, "FDSPEC_FUZZ_RUNNER": "fakes:open_ready", "FAKE_READY": str(tmp_path / "ready")}
    begun = []

    def start(*arguments, **streams):
        process = subprocess.Popen(
            [SCRIPT, "fuzz", *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, **more},
            process_group=0,
            **({"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | streams),
        )
        begun.append(process)
        assert select.select([ready], [], [], 60)[0]
        os.read(ready, 100)
        return process

    yield start
    for process in begun:
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGKILL)
        with process:  # waits, and closes the pipe
            pass
    os.close(ready)


def state(directory):
    return json.loads((directory / "campaign.json").read_bytes())


# ---- exit codes --------------------------------------------------------------------------------------------------------


def test_nothing_found_is_0(fuzz, tmp_path):
    done = fuzz("-i", "fake", "--runs", 500, "--jobs", 1, "--seed", 3)
    assert done.returncode == 0, done.stderr
    assert "500 programs" in done.stdout
    assert "no findings" in done.stdout
    assert "seed 3" in done.stdout
    out = tmp_path / "fdspec-out" / "fuzz" / "fake"
    assert state(out)["programs"] == 500
    assert list(out.glob("corpus/??/*"))
    assert (tmp_path / "fdspec-out" / ".gitignore").read_text() == "*\n"


def test_findings_are_1_and_stay_so(fuzz, tmp_path):
    done = fuzz("-i", "fake-bugs", "--runs", 600, "--jobs", 1, "--seed", 1, "--profile", "message")
    assert done.returncode == 1, done.stderr
    assert "FOUND truncation-visible at take in message/" in done.stdout
    files = list((tmp_path / "fdspec-out" / "fuzz" / "fake-bugs" / "findings").iterdir())
    assert files
    assert re.search(r"\d+ operations, seen [\d,]+ times: fdspec replay fdspec-out/", done.stdout)
    again = fuzz("-i", "fake-bugs", "--runs", 1, "--jobs", 1, "--profile", "message")
    assert again.returncode == 1
    assert "from before" in again.stdout


def test_a_mistyped_implementation_is_2(fdspec, tmp_path):
    done = fdspec("fuzz", "-i", "python-sockt", "--runs", 1)
    assert done.returncode == 2
    assert "did you mean python-socket" in done.stderr
    assert not (tmp_path / "fdspec-out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "say what is to be tested"),
        (("-i", "fake", "--engine", "gided"), "'gided' is not one of 'guided'"),
        (("-i", "fake", "--time", "10x"), "a time such as 90s, 10m, 2h or 1d expected, '10x' came"),
        (("-i", "fake", "--time", "0"), "a time such as"),
        (("-i", "fake", "--time", "1.5m"), "a time such as"),
        (("-i", "fake", "--runs", "0"), "0 is not in the range x>=1"),
        (("-i", "fake", "--jobs", "0"), "0 is not in the range"),
        (("-i", "fake", "--seed", "-1"), "-1 is not in the range"),
        (("-i", "fake", "--profile", "raw"), "'raw' is not one of"),
        (("-i", "fake", "--corpus", "nowhere"), "'nowhere' does not exist"),
        (("-i", "fake", "--engine", "differential"), "name at least two"),
        (("-i", "fake", "--minimise-corpus"), "is no campaign's"),
        (("-i", "fake", "--scheduler", "nonsense"), "is no address of a scheduler"),
        (("promoet",), "No such command 'promoet'"),
    ],
)
def test_wrong_usage_is_2(fuzz, tmp_path, arguments, words):
    done = fuzz(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_what_cannot_be_started_is_3(fuzz, tmp_path):
    done = fuzz("-i", "fake-nostart", "--runs", 100)
    assert done.returncode == 3
    assert "fake-nostart could not be started: there is no such program" in done.stderr


def test_an_implementation_that_cannot_be_had_is_3(fdspec, tmp_path):
    (tmp_path / "impl.toml").write_text(
        'id = "absent"\nname = "absent"\nlanguage = "C"\nhomepage = "https://example.org/"\nsummary = "not there"\n'
        'profiles = ["message"]\n[requires]\nprograms = ["no-such-program-anywhere"]\n[start]\ncommand = ["no-such-program-anywhere"]\n'
    )
    done = fdspec("fuzz", "-i", "./impl.toml", "--runs", 1)
    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr
    assert done.stderr


def test_a_harness_that_fails_again_and_again_is_4(fuzz):
    done = fuzz("-i", "fake-harness", "--runs", 100, "--jobs", 1)
    assert done.returncode == 4
    assert "the harness failed: the harness has no legs (3 times in a row)" in done.stderr
    assert done.stdout.count("another takes its place") == 2


def test_nothing_that_can_be_run_is_4_and_not_0(fuzz):
    done = fuzz("-i", "fake-unsupported", "--runs", 100, "--jobs", 1)
    assert done.returncode == 4
    assert "no program could be run on fake-unsupported, so nothing was tested" in done.stderr


def test_what_is_not_confirmed_is_said_loudly_and_is_no_finding(fuzz, tmp_path):
    done = fuzz("-i", "fake-flaky", "--runs", 600, "--jobs", 1, "--seed", 1)
    assert done.returncode == 0
    assert "UNCONFIRMED: " in done.stdout
    assert "that no examination showed" in done.stdout
    out = tmp_path / "fdspec-out" / "fuzz" / "fake-flaky"
    assert list((out / "unconfirmed").glob("*.toml"))
    assert not list((out / "findings").iterdir())
    told = sum(int(one) for one in re.findall(r"is broken \((\d+) times\)", done.stdout))
    assert told <= sum(state(out)["unconfirmed"].values()) == state(out)["suspicions"]


# ---- workers that die --------------------------------------------------------------------------------------------------


def test_a_worker_that_dies_is_replaced(fuzz, tmp_path):
    done = fuzz("-i", "fake-once", "--runs", 800, "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert "worker 0 died by signal 9; another takes its place" in done.stdout
    assert done.stdout.count("worker 0 died by signal 9") == 2  # when it happens, and in the summary
    out = state(tmp_path / "fdspec-out" / "fuzz" / "fake-once")
    assert out["deaths"] == 1
    assert out["programs"] == 800


def test_three_deaths_in_a_row_are_4(fuzz, tmp_path):
    done = fuzz("-i", "fake-dying", "--runs", 100, "--jobs", 1)
    assert done.returncode == 4
    assert "worker 0 died by signal 9 (3 times in a row)" in done.stderr
    assert state(tmp_path / "fdspec-out" / "fuzz" / "fake-dying")["deaths"] == 3


# ---- ending it ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_it_well(begin, tmp_path, number):
    process = begin("-i", "fake-bugs-slow", "--jobs", 2)
    os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
    out, _ = process.communicate(timeout=90)
    assert process.returncode in (0, 1), out
    assert "seed" in out.splitlines()[-1] or "findings" in out
    directory = tmp_path / "fdspec-out" / "fuzz" / "fake-bugs-slow"
    assert (process.returncode == 1) is bool(list((directory / "findings").iterdir()))
    assert not list((directory / "pending").glob("*.toml"))
    assert not list((directory / "corpus" / "new").iterdir())


def test_a_gate_that_was_interrupted_says_so(begin):
    process = begin("-i", "fake-slow", "--jobs", 1, "--time", "1h")
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 4, out
    assert "ended before its --time or --runs were over" in out


def test_time_is_kept(fuzz):
    done = fuzz("-i", "fake", "--time", "2s", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    seconds = int(re.search(r"programs in (\d+) s", done.stdout)[1])
    assert 2 <= seconds < 60


# ---- going on ----------------------------------------------------------------------------------------------------------


def test_a_campaign_goes_on_with_other_choices(fuzz, tmp_path):
    out = tmp_path / "out"
    arguments = ("-i", "fake-bugs", "--jobs", 1, "--seed", 5, "--out", out)
    fuzz(*arguments, "--runs", 400)
    first = state(out)
    done = fuzz(*arguments, "--runs", 300)
    second = state(out)
    assert second["programs"] == 700
    assert (first["epoch"], second["epoch"]) == (1, 2)
    assert "goes on (epoch 2) after 400 programs" in done.stdout
    assert second["examined"] >= first["examined"]


def test_the_same_seed_finds_the_same(fuzz, tmp_path):
    def files(name):
        done = fuzz("-i", "fake-bugs", "--jobs", 1, "--seed", 5, "--runs", 400, "--out", tmp_path / name)
        assert done.returncode == 1
        return {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.toml")}, {
            path.name for path in (tmp_path / name).glob("corpus/??/*")
        }

    assert files("one") == files("two")


def test_further_programs_and_a_corpus_made_small(fuzz, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "one.program").write_text('program 1 message stream client\nopen g0\nsend p0 "a" fds=g0\ntake t0 16\n')
    (mine / "wrong.program").write_text("program 1 message\n")
    done = fuzz("-i", "fake-bugs", "--corpus", mine, "--runs", 3, "--jobs", 1, "--profile", "message")
    assert done.returncode == 1
    assert "mine/wrong.program is left out: line 1" in done.stdout
    assert "FOUND truncation-visible at take in message/stream/testee" in done.stdout
    fuzz("-i", "fake-bugs", "--runs", 300, "--jobs", 1)
    small = fuzz("-i", "fake-bugs", "--minimise-corpus")
    assert small.returncode == 0, small.stderr
    assert re.search(r"corpus: \d+ programs made \d+", small.stdout)


def test_a_torn_file_in_the_corpus_is_named(fuzz, tmp_path):
    fuzz("-i", "fake", "--runs", 100, "--jobs", 1, "--out", tmp_path / "out")
    torn = next((tmp_path / "out").glob("corpus/??/*"))
    torn.write_bytes(b"")
    done = fuzz("-i", "fake", "--runs", 100, "--jobs", 1, "--out", tmp_path / "out")
    assert done.returncode == 0
    assert f"{torn.relative_to(tmp_path)} is no program that was written here whole" in done.stdout
    assert list((tmp_path / "out" / "corpus" / "rejected").iterdir())


@pytest.mark.parametrize(("field", "value"), [("subject", "another"), ("format", 9), ("programs_version", 9)])
def test_the_directory_of_another_campaign_is_refused(fuzz, tmp_path, field, value):
    out = tmp_path / "out"
    fuzz("-i", "fake", "--runs", 10, "--jobs", 1, "--out", out)
    (out / "campaign.json").write_text(json.dumps(state(out) | {field: value}))
    done = fuzz("-i", "fake", "--runs", 10, "--jobs", 1, "--out", out)
    assert done.returncode == 2
    assert "name another directory" in done.stderr


def test_a_directory_of_something_else_is_refused(fuzz, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter").write_text("dear")
    done = fuzz("-i", "fake", "--runs", 10, "--out", tmp_path / "home")
    assert done.returncode == 2
    assert "is not empty, and no campaign's" in done.stderr
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["letter"]


def test_two_at_a_time_are_refused(begin, fuzz):
    process = begin("-i", "fake-slow", "--jobs", 1, "--out", "out")
    done = fuzz("-i", "fake-slow", "--runs", 1, "--out", "out")
    assert done.returncode == 2
    assert "another campaign works in out" in done.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0


def test_several_implementations_have_a_directory_each(fuzz, tmp_path):
    done = fuzz("-i", "fake", "-i", "fake-bugs", "--runs", 300, "--jobs", 2, "--out", tmp_path / "out")
    assert done.returncode == 1
    assert state(tmp_path / "out" / "fake")["programs"] == state(tmp_path / "out" / "fake-bugs")["programs"] == 300
    assert "no findings" in done.stdout


# ---- disks -------------------------------------------------------------------------------------------------------------


def test_a_file_in_place_of_the_directory_is_4(fuzz, tmp_path):
    (tmp_path / "there").write_text("")
    done = fuzz("-i", "fake", "--runs", 10, "--out", tmp_path / "there" / "out")
    assert done.returncode == 4
    assert "cannot be written: Not a directory" in done.stderr
    assert "name another directory by --out" in done.stderr


def limited(tmp_path, environment, limit, *arguments):
    """Run with a limit of the size of files, which is a disk that fills up in the middle of a file."""
    code = (
        f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, SCRIPT, "fuzz", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=100,
        cwd=tmp_path,
        env={**environment, **OPENER, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )


def test_a_disk_that_fills_up_is_4_and_what_was_found_stays(fuzz, tmp_path, environment):
    arguments = ("-i", "fake-bugs", "--jobs", 1, "--out", tmp_path / "out", "--seed", 1)
    fuzz(*arguments, "--runs", 100)
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    done = limited(tmp_path, environment, 200, *arguments, "--runs", 2000)
    assert done.returncode == 4, done.stdout
    assert "cannot be written: File too large" in done.stderr
    assert "raise the limit of the size of files" in done.stderr
    for path, data in before.items():
        assert path.read_bytes() == data
    assert fuzz(*arguments, "--runs", 10).returncode == 1


@pytest.fixture
def mounted(tmp_path):
    """Mount a small tmpfs, where one may; return how, or None."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k,nr_inodes=4000", "tmpfs", place], capture_output=True, check=False
    )
    yield place if done.returncode == 0 else None
    if done.returncode == 0:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_file_system(fuzz, tmp_path, mounted, environment):
    """A real one where one may mount; a limit of the size of files elsewhere."""
    if mounted is None:
        done = limited(
            tmp_path, environment, 100, "-i", "fake-bugs", "--jobs", 1, "--out", tmp_path / "out", "--runs", 9000
        )
        assert "File too large" in done.stderr
    else:
        done = fuzz("-i", "fake-bugs", "--jobs", 2, "--out", mounted / "out", "--runs", 9000)
        assert "No space left on device; make room on that disk" in done.stderr
        assert list((mounted / "out").glob("findings/*.toml"))
    assert done.returncode == 4
    assert "Traceback" not in done.stderr + done.stdout


def test_a_read_only_file_system(fuzz, tmp_path, mounted):
    """A real one where one may mount; a file that stands in the way elsewhere."""
    if mounted is None:
        (tmp_path / "out").write_text("")
        done = fuzz("-i", "fake", "--runs", 10, "--out", tmp_path / "out")
    else:
        subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
        done = fuzz("-i", "fake", "--runs", 10, "--out", mounted / "out")
        assert "Read-only file system" in done.stderr
    assert done.returncode == 4
    assert "cannot be written" in done.stderr


# ---- what people see ---------------------------------------------------------------------------------------------------


def test_lines_where_there_is_no_terminal(begin):
    process = begin("-i", "fake", "--jobs", 1, "--time", "7s")
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 0, out
    assert re.search(
        r"^fdspec: fake: \d+ s, [\d,]+ programs, [\d,]+ a second, corpus \d+, features \d+, findings 0, "
        r"unconfirmed 0, restarts 0, \d+ s left",
        out,
        re.MULTILINE,
    )
    assert "\x1b" not in out


def test_a_table_on_a_terminal(begin):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 160, 0, 0))
    process = begin("-i", "fake-bugs", "--jobs", 1, "--runs", 500, stdout=theirs, stderr=theirs, text=False)
    os.close(theirs)
    screen = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        screen += data
    os.close(ours)
    assert process.wait(60) == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.decode())
    for word in ("a second", "corpus", "features", "findings", "unconfirmed", "testee restarts", "doing", "left"):
        assert word in text
    assert "FOUND" in text
    assert "Ctrl-C ends it; what was found stays" in text
    assert re.search(r"fake-bugs: [\d,]+ programs in", text)
    assert b"\x1b[?25h" in screen  # the cursor is back


def test_help_tells_of_promote(fdspec):
    done = fdspec("fuzz", "--help")
    assert done.returncode == 0
    for word in ("--engine", "--scheduler", "--minimise-corpus", "promote", "Ctrl-C"):
        assert word in done.stdout


def test_a_worker_that_talks_much_is_not_held_up(fuzz):
    done = fuzz("-i", "fake-dying", "--runs", 50, "--jobs", 1, FDSPEC_FUZZ_RUNNER="fakes:open_loud")
    assert done.returncode == 4
    assert "worker 0 died by signal 9: " in done.stderr
    assert "words words" in done.stderr
    assert len(done.stderr) < 3000


def test_another_engine_searches(fuzz, tmp_path):
    done = fuzz("-i", "fake-bugs", "--engine", "hypothesis", "--runs", 200, "--jobs", 1, "--profile", "message")
    assert done.returncode == 1, done.stderr
    assert state(tmp_path / "fdspec-out" / "fuzz" / "fake-bugs")["engine"] == "hypothesis"
