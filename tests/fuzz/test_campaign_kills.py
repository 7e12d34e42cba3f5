"""A campaign that is killed at any moment, again and again: nothing that was found is lost or torn, and it goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import fakes
import pytest
from fdspec.fuzz import decode, encode
from fdspec.fuzz.campaign.session import name_of
from fdspec.fuzz.findings import store as findings

SCRIPT = Path(sys.executable).with_name("fdspec")
KILLS = 13
"""Of each of the four campaigns."""


@pytest.fixture
def begin(tmp_path):
    """Begin or go on with a campaign in a process group of its own; its workers write a byte to ``ready`` when they run."""
    os.mkfifo(tmp_path / "ready")
    ready = os.open(tmp_path / "ready", os.O_RDWR | os.O_NONBLOCK)
    environment = {**os.environ, **fakes.environment("fakes:open_ready"), "FAKE_READY": str(tmp_path / "ready")}
    begun = []

    def begin(*arguments):
        while select.select([ready], [], [], 0)[0]:
            os.read(ready, 100)  # of workers that were killed
        command = [SCRIPT, "fuzz", "-i", "fake-bugs", "--out", "out", *map(str, arguments)]
        with (tmp_path / "said").open("wb") as said:
            process = subprocess.Popen(
                command, cwd=tmp_path, env=environment, stdout=said, stderr=said, process_group=0
            )
        begun.append(process)
        return process

    begin.ready = ready
    yield begin
    for process in begun:
        kill(process)
    os.close(ready)


def kill(process):
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_a_moment(process, moment):
    """Wait so long, unless it ends by itself before."""
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        return
    raise AssertionError("it ended by itself")


class Seen:
    """What was in the directory so far."""

    def __init__(self, out):
        self.out = out
        self.corpus: dict[str, bytes] = {}
        self.findings: dict[str, int] = {}
        self.counters = dict.fromkeys(("epoch", "programs", "suspicions", "examined", "seconds"), 0)

    def look(self, said):
        """Check that everything from before is there, that nothing is torn, and remember what is there now."""
        corpus = {path.name: path.read_bytes() for path in self.out.glob("corpus/??/*")}
        for name, data in corpus.items():
            assert name == name_of(data), f"{name} is torn"
            assert encode(decode(data)) == data
        assert self.corpus.items() <= corpus.items()
        found = {path.name: one.seen for path, one in findings.all_of(self.out / "findings")}
        for directory in ("pending", "unconfirmed"):
            findings.all_of(self.out / directory)
        for name, seen in self.findings.items():
            assert found[name] >= seen
        for file in re.findall(r"^  (out/findings/.*\.toml)$", said, re.MULTILINE):
            assert Path(file).name in found, f"{file} was told, and is not there"
        assert not list(self.out.glob("findings/*.damaged"))
        state = self.out / "campaign.json"
        counters = json.loads(state.read_bytes()) if state.exists() else self.counters
        for name, before in self.counters.items():
            assert counters[name] >= before, name
        self.corpus, self.findings = corpus, found
        self.counters = {name: counters[name] for name in self.counters}


@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments_it_loses_nothing(begin, tmp_path, seed):
    rng = random.Random(seed)
    seen = Seen(tmp_path / "out")
    jobs = 1 + seed % 2
    epochs = []
    for number in range(KILLS):
        process = begin("--jobs", jobs, "--seed", seed)
        if number % 3:  # in the middle of the search
            assert select.select([begin.ready], [], [], 60)[0]
            os.read(begin.ready, 100)
            wait_for_a_moment(process, rng.random() * 0.3)
        else:  # at any time, while it starts, too
            wait_for_a_moment(process, rng.random() * 1.2)
        kill(process)
        seen.look((tmp_path / "said").read_text())
        epochs.append(seen.counters["epoch"])
    assert epochs == sorted(epochs)
    assert epochs[-1] >= KILLS * 2 // 3
    process = begin("--jobs", jobs, "--seed", seed, "--runs", 600)
    assert process.wait(60) == 1
    said = (tmp_path / "said").read_text()
    assert "goes on (epoch" in said
    after = Seen(tmp_path / "out")
    after.look(said)
    assert set(after.findings) >= set(seen.findings)
    assert after.counters["programs"] >= seen.counters["programs"] + 600
    assert not findings.files_of(tmp_path / "out" / "pending")
    shown = frozenset().union(*(fakes.features(decode(data)) for data in after.corpus.values()))
    assert shown >= frozenset().union(*(fakes.features(decode(data)) for data in seen.corpus.values()))


def test_workers_end_when_their_campaign_is_killed_alone(begin, tmp_path):
    process = begin("--jobs", 2)
    for _ in range(2):
        assert select.select([begin.ready], [], [], 60)[0]
        os.read(begin.ready, 1)
    process.kill()
    process.wait()
    again = begin("--jobs", 1, "--runs", 100)
    assert again.wait(60) == 1  # the lock is free once they have ended, for which it waits
    assert "another campaign" not in (tmp_path / "said").read_text()
    assert not alive_in(process.pid)


def alive_in(group):
    """Return the processes of a group that run: one that has ended stays in it until its new parent has looked."""
    found = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            state, _, its_group = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:3]
            if entry.isdigit() and int(its_group) == group and state not in "ZX":
                found.append(entry)
    return found
