"""``fdspec stability``: a flake is named, what is stable is not, every attempt is kept, nothing that was started is left."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import textwrap

import pytest
from fdspec.cli.busy import busy

from .conftest import SCRIPT

CASE = ("-k", "send.one", "--type", "stream")

EVERY_SECOND_RUN = """
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        mark = __file__ + ".mark"
        if os.path.exists(mark):
            os.unlink(mark)
            return super().sendmsg(fd, buffers, [], flags, address)
        open(mark, "w").close()
        return super().sendmsg(fd, buffers, ancillary, flags, address)
"""
NEVER = """
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        return super().sendmsg(fd, buffers, [], flags, address)
"""
FROM_THE_SECOND_ON = """
    lives = 0
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        self.lives += 1
        return super().sendmsg(fd, buffers, ancillary if self.lives == 1 else [], flags, address)
"""
STARTS_EVERY_SECOND_TIME = """
    def start(self):
        mark = __file__ + ".mark"
        if os.path.exists(mark):
            os.unlink(mark)
            sys.exit("not today")
        open(mark, "w").close()
        return super().start()
"""


def verdicts(directory):
    lines = (directory / "records.jsonl").read_text(encoding="utf-8").splitlines()
    return [one["verdict"] for one in map(json.loads, lines) if one["record"] == "verdict"]


def test_a_flaky_testee_is_named_with_every_attempt(fdspec, miscreant, tmp_path):
    done = fdspec("stability", "-i", miscreant(EVERY_SECOND_RUN), *CASE, "--reused", "--runs", "3", "--out", "out")
    assert done.returncode == 1, done
    out = done.stdout
    assert "flake  miscreant  send.one  [message, stream]\n" in out
    assert "  pass: 2 of 3 (reused 2 of 3)\n  fail (assertion): 1 of 3 (reused 1 of 3)\n    in run-002\n" in out
    assert "1 case variant in 3 runs, 1 of them flaky" in out
    runs = sorted((tmp_path / "out").iterdir())
    assert [run.name for run in runs] == ["run-001", "run-002", "run-003"]
    assert [verdicts(run) for run in runs] == [["pass"], ["fail"], ["pass"]]


def test_what_is_stable_is_not_named_and_every_mode_has_its_turn(fdspec, miscreant):
    done = fdspec("stability", "-i", miscreant("pass"), *CASE, "--runs", "5", "--seed", "7")
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert lines[0] == "seed 7; --seed 7 repeats the random orders"
    assert [line.partition(": ")[0].partition("  ")[2] for line in lines[1:6]] == [
        "reused",
        "fresh",
        "shuffled, order 7",
        "loaded",
        "fresh+shuffled+loaded, order 8",
    ]
    assert all(": 1 pass in " in line for line in lines[1:6])
    assert lines[6] == "1 case variant in 5 runs: every verdict stayed the same"
    assert "flake" not in done.stdout


def test_what_only_a_reused_testee_does_is_told_by_the_mode(fdspec, miscreant):
    arguments = ("-i", miscreant(FROM_THE_SECOND_ON), "-k", "send.one", "--type", "stream", "--type", "seqpacket")
    done = fdspec("stability", *arguments, "--runs", "2")
    assert done.returncode == 1, done
    assert "flake  miscreant  send.one  [message, seqpacket]" in done.stdout
    assert "fail (assertion): 1 of 2 (reused 1 of 1)" in done.stdout
    assert "pass: 1 of 2 (fresh 1 of 1)" in done.stdout
    assert "[message, stream]" not in done.stdout


def test_what_depends_on_the_order_is_told_by_the_mode(fdspec, miscreant):
    arguments = ("-i", miscreant(FROM_THE_SECOND_ON), "-k", "send.one", "--shuffle", "--runs", "3", "--seed", "4")
    done = fdspec("stability", *arguments)
    assert done.returncode == 1, done
    assert "order 4:" in done.stdout
    assert "order 6:" in done.stdout
    assert "(shuffled" in done.stdout


def test_a_testee_that_starts_now_and_then_is_a_flake_and_one_that_never_does_is_exit_3(fdspec, miscreant):
    done = fdspec("stability", "-i", miscreant(STARTS_EVERY_SECOND_TIME), *CASE, "--reused", "--runs", "2")
    assert done.returncode == 1, done
    assert "crash (start): 1 of 2" in done.stdout
    done = fdspec("stability", "-i", miscreant("def start(self): sys.exit('no')", "other"), *CASE, "--runs", "2")
    assert done.returncode == 3, done
    assert "run-001 ended with exit code 3" in done.stderr


def test_the_time_is_a_limit_and_two_runs_are_the_least(fdspec, tmp_path):
    done = fdspec("stability", "-i", "python-socket", *CASE, "--reused", "--time", "1s", "--out", "out")
    assert done.returncode == 0, done
    assert 2 <= len(list((tmp_path / "out").iterdir())) <= 9


def test_what_is_left_open_comes_from_the_configuration_and_expectations_play_no_part(fdspec, miscreant, tmp_path):
    lines = f"""
        implementations = ["{miscreant(NEVER)}"]
        cases = ["send.one"]
        types = ["dgram"]
        expectations = "known.toml"
    """
    (tmp_path / "fdspec.toml").write_text(textwrap.dedent(lines))
    entry = '[[expect]]\ncase = "send.one"\nverdict = "crash"\nwhy = "another one than it has"\n'
    (tmp_path / "known.toml").write_text(f"version = 1\n{entry}")
    done = fdspec("stability", "--reused", "--runs", "2", "--out", "out")
    assert done.returncode == 0, done
    assert "1 case variant in 2 runs: every verdict stayed the same" in done.stdout
    assert [verdicts(run) for run in sorted((tmp_path / "out").iterdir())] == [["fail"], ["fail"]]
    assert fdspec("run").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--config", "missing.toml"], "missing.toml"),
        (["--runs", "1"], "x>=2"),
        (["--time", "soon"], "'soon' came"),
        (["--time", "0s"], "'0s' came"),
        (["--load", "0"], "1<=x<=1000"),
        (["--reused", "--fresh"], "leave it out"),
        (["--fresh", "--seed", "3"], "add --shuffle"),
        (["--reused", "--seed", "3"], "add --shuffle"),
        (["-i", "python-soket"], "did you mean python-socket"),
        (["-i", "python-socket", "-k", "send.onee"], "did you mean send.one"),
        (["-i", "python-socket", "-n", "many"], "'many' came"),
        (["--out", "full"], "not empty"),
        (["--out", "/proc/none"], "/proc/none cannot be made"),
        (["--out", "full/file"], "is a file"),
    ],
)
def test_bad_input_tests_nothing_and_leaves_nothing(fdspec, tmp_path, arguments, says):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("precious")
    done = fdspec("stability", *arguments)
    assert done.returncode == 2, done
    assert says in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not list(tmp_path.glob("fdspec-out/stability-*"))


# --- the ways of a run ------------------------------------------------------------------------------------------------


def test_an_order_is_random_and_the_same_for_the_same_seed(conformance):
    def order(*more, name):
        arguments = ("--fdspec-impl", "python-socket", "--fdspec-impl", "python-recipe", "--fdspec-case", "send.o*")
        done = conformance(*arguments, *more, name=name)
        return [(one["implementation"], one["case"], one["type"], one.get("variant", "")) for one in done.verdicts]

    one = order("--fdspec-shuffle", "1", name="one")
    again = order("--fdspec-shuffle", "1", name="again")
    two = order("--fdspec-shuffle", "2", name="two")
    assert len(one) == len(set(one)) > 20
    assert one == again
    assert one != two
    assert sorted(one) == sorted(two)
    names = [name for name, *_ in one]
    assert names == sorted(
        names, key=["python-socket", "python-recipe"].index
    )  # an implementation's cases stay together


def test_workers_agree_on_the_order(conformance):
    arguments = ("--fdspec-impl", "python-socket", "--fdspec-case", "send.one", "--fdspec-shuffle", "3")
    done = conformance(*arguments, "-n", "2", "--dist", "loadgroup")
    assert done.code == 0, done.out
    assert len(done.verdicts) == 3


@pytest.mark.parametrize(("more", "lives"), [((), 1), (("--fresh",), 3)])
def test_a_fresh_testee_for_each_case(fdspec, miscreant, tmp_path, more, lives):
    body = """
        def start(self):
            with open(__file__ + ".starts", "a") as file:
                file.write("x")
            return super().start()
    """
    manifest = miscreant(body)
    assert fdspec("run", "-i", manifest, "-k", "send.one", *more).returncode == 0
    assert (manifest.parent / "adapter.py.starts").read_text() == "x" * lives


# --- nothing outlives it ----------------------------------------------------------------------------------------------


def ended(number, seconds=20.0):
    """Whether that process has ended, waiting for it."""
    try:
        handle = os.pidfd_open(number)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def test_busy_processes_work_meanwhile_and_end_with_the_block():
    def spent(number):
        with open(f"/proc/{number}/stat", encoding="ascii") as file:
            return int(file.read().rpartition(")")[2].split()[11])

    with busy(2) as numbers:
        assert len(numbers) == 2
        first = [spent(number) for number in numbers]
        while any(spent(number) <= before for number, before in zip(numbers, first, strict=True)):
            os.sched_yield()
    assert all(ended(number, 0) for number in numbers)


def test_busy_processes_end_when_the_block_fails():
    with pytest.raises(RuntimeError), busy(1) as numbers:
        raise RuntimeError
    assert ended(numbers[0], 0)


def test_busy_processes_end_when_we_are_killed():
    code = "import os, signal; from fdspec.cli.busy import busy\nwith busy(2) as p: print(*p, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    numbers = [int(word) for word in done.stdout.split()]
    assert len(numbers) == 2
    assert all(ended(number) for number in numbers)


WAITS = """
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        mark = __file__ + ".mark"
        if not os.path.exists(mark):
            open(mark, "w").close()
            return super().sendmsg(fd, buffers, ancillary, flags, address)
        with open({fifo!r}, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_everything_and_tells_what_was_seen(number, miscreant, tmp_path, environment):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    manifest = miscreant(textwrap.dedent(WAITS.format(fifo=str(fifo))))
    manifest.write_text(manifest.read_text().replace("request = 1.0", "request = 50.0"))
    command = [SCRIPT, "stability", "-i", manifest, *CASE, "--load", "1", "--out", "out"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    testee = int(fifo.read_text())  # the second run is in the middle of its case
    children = _children(process.pid)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert err.endswith("fdspec: interrupted\n")
    assert "Traceback" not in err
    assert "run-001  loaded: 1 pass" in out
    assert verdicts(tmp_path / "out" / "run-001") == ["pass"]
    assert (tmp_path / "out" / "run-002" / "records.jsonl").is_file()
    assert len(children) == 2  # the run, and what keeps a processor busy
    assert all(ended(one) for one in [testee, *children])


def _children(number):
    with open(f"/proc/{number}/task/{number}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]
