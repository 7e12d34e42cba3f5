"""A testee that blocks is told by its sleep; one that works, or that nobody can look into, is not taken for it."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from fdspec.conformance import rescue as module
from fdspec.conformance.rescue import asleep, rescue

BLOCKED = "import sys; print(flush=True); sys.stdin.read()"
WORKING = "print(flush=True)\nwhile True: pass"
ONE_OF_TWO = """
import sys, threading
def work():
    while True: pass
threading.Thread(target=work, daemon=True).start()
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def process():
    """Start programs that say when they are ready; end them."""
    started = []

    def start(code):
        one = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(one)
        one.stdout.readline()
        return one

    yield start
    for one in started:
        with one:  # which closes its pipes and waits
            one.kill()


def link_of(pid):
    return SimpleNamespace(testee=SimpleNamespace(pid=pid))


def test_a_blocked_testee_is_freed(process):
    blocked = process(BLOCKED)
    with rescue(link_of(blocked.pid), blocked.stdin.close) as done:
        assert blocked.wait(30) == 0
    assert done.is_set()


@pytest.mark.parametrize("code", [WORKING, ONE_OF_TWO])
def test_a_testee_that_works_is_not_freed(process, code):
    working = process(code)
    with rescue(link_of(working.pid), working.kill) as done, pytest.raises(subprocess.TimeoutExpired):
        working.wait(2 * module.LOOKS * module.INTERVAL)
    assert not done.is_set()


def test_nothing_is_done_where_the_block_ends_before(process):
    blocked = process(BLOCKED)
    with rescue(link_of(blocked.pid), blocked.kill) as done:
        pass
    assert not done.is_set()
    assert blocked.poll() is None


def test_a_testee_nobody_can_look_into_is_freed_in_the_end(monkeypatch):
    monkeypatch.setattr(module, "RESCUE_SECONDS", 0.2)
    freed, freeing = os.pipe()
    try:
        with rescue(link_of(2**22 + 1), lambda: os.write(freeing, b"x")) as done:
            assert os.read(freed, 1) == b"x"
        assert done.is_set()
    finally:
        os.close(freed)
        os.close(freeing)


def test_what_is_no_process_is_told(process):
    assert asleep(2**22 + 1) is None
    assert asleep(process(WORKING).pid) is False


def test_a_failing_rescue_does_no_harm(process):
    def fail():
        raise OSError("the peer is gone")

    with rescue(link_of(process(BLOCKED).pid), fail) as done:
        assert done.wait(30)
