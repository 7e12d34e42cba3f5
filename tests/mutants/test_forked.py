"""A mutant in its process: what is replaced, what it sees, how it ends, and that it is judged as by `fdspec run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from fdspec.impls.forking import Forked
from fdspec.impls.mutants import patch, tables


@pytest.fixture
def start(tmp_path):
    """Start a body as a forked testee; whatever is left of it is killed."""
    made = []

    def run(body, cage=lambda: None):
        with (tmp_path / "log").open("wb") as log:
            one = Forked(body, tmp_path, log, cage)
        made.append(one)
        return one

    yield run
    for one in made:
        if one.poll() is None:
            os.kill(one.pid, signal.SIGKILL)
            one.wait()
        one.stdin.close()
        one.stdout.close()


def test_it_has_three_descriptors_a_directory_and_a_group_of_its_own(start, tmp_path):
    spare = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(spare, True)

    def body():
        seen = sorted(os.listdir("/proc/self/fd"))
        os.write(1, json.dumps([seen, os.getcwd(), os.getpgid(0) == os.getpid()]).encode())

    child = start(body)
    assert child.wait(10) == 0
    numbers, directory, leads = json.loads(os.read(child.stdout.fileno(), 9999))
    os.close(spare)
    assert numbers == ["0", "1", "2", "3"]  # 3 is the listing itself
    assert (directory, leads) == (str(tmp_path), True)


def test_it_reads_requests_and_its_words_are_in_the_log(start, tmp_path):
    def body():
        os.write(1, os.read(0, 99).upper())
        raise RuntimeError("these are the last words")

    child = start(body)
    os.write(child.stdin.fileno(), b"request")
    assert child.wait(10) == 1
    assert os.read(child.stdout.fileno(), 99) == b"REQUEST"
    assert "these are the last words" in (tmp_path / "log").read_text()


def test_the_cage_comes_first(start):
    assert start(lambda: os._exit(0), cage=lambda: os._exit(7)).wait(10) == 7


def test_waiting_and_looking(start):
    child = start(lambda: os.read(0, 1) and None)
    assert child.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.05)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert child.poll() == -signal.SIGKILL


def test_ends_of_pipes_are_closed_once(start):
    child = start(lambda: None)
    child.stdin.close()
    assert child.stdin.closed
    child.stdin.close()
    with pytest.raises(ValueError, match="closed"):
        child.stdin.fileno()


SCRIPT = """
import socket, sys
from pathlib import Path
from fdspec.impls.mutants import patch, tables
patch.install(tables.compiled(tables.everything(Path(sys.argv[1]))["message.harmless"]))
from fdspec.impls.reference import message, ownership
ours, theirs = socket.socketpair()
message.sendmsg(ours, [b"one", b"two"])
print(theirs.recv(99), message.Descriptor is ownership.Descriptor)
"""


def test_the_changed_module_alone_is_another_one(table):
    before = {path.name: path.read_bytes() for path in tables.REFERENCE.glob("*.py")}
    directory = table(new="    data = list(buffers)[:1]\n")
    done = subprocess.run([sys.executable, "-c", SCRIPT, directory], capture_output=True, text=True, check=True)
    assert done.stdout == "b'one' True\n"
    assert {path.name: path.read_bytes() for path in tables.REFERENCE.glob("*.py")} == before


def test_what_was_imported_before_cannot_be_replaced():
    with pytest.raises(RuntimeError, match="imported already"):
        patch.install({"json": compile("", "x", "exec")})
