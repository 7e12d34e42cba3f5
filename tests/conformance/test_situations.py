"""The situations that cases bring about are brought about, and where they cannot be the case is told so."""

import contextlib
import resource
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from fdspec.conformance.situations import FEW, TAKERS, few_in_flight, interruption, taken_again, zero_free
from fdspec.impls.errors import Unsupported

WAITS = """
import ctypes, os, select
libc = ctypes.CDLL(None, use_errno=True)
while os.read(0, 1):
    poll = select.epoll()
    told = libc.epoll_wait(poll.fileno(), ctypes.create_string_buffer(64), 4, -1)
    os.write(1, b"%d %d\\n" % (told, ctypes.get_errno()))
"""
"""Waits for a byte as a testee waits for a request, then in epoll_wait(2), and tells what that returned."""


@contextlib.contextmanager
def process(code):
    with subprocess.Popen([sys.executable, "-I", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        try:
            yield (
                running,
                SimpleNamespace(testee=SimpleNamespace(pid=running.pid, hello=SimpleNamespace(capabilities=[]))),
            )
        finally:
            running.kill()


def test_a_call_is_interrupted_although_no_signal_is_handled():
    then = []
    with process(WAITS) as (running, link):
        for _ in range(3):
            with interruption(link, then.append):
                running.stdin.write(b"x")
                running.stdin.flush()
                line = running.stdout.readline()
            assert line == b"-1 4\n", "epoll_wait did not end with EINTR"
    assert [type(one) for one in then] == [threading.Event] * 3
    assert all(over.is_set() for over in then)


def test_a_testee_that_makes_no_call_to_interrupt_is_told():
    done = []
    with (
        process("import os\nwhile os.read(0, 1): pass") as (_, link),
        pytest.raises(Unsupported, match="cannot be interrupted"),
        interruption(link, done.append),
    ):
        pass
    assert len(done) == 1


def test_a_testee_that_has_died_is_left_to_the_request():
    with process("import os\nos.read(0, 1)") as (running, link):
        with pytest.raises(Unsupported), interruption(link, lambda _: None):
            running.kill()
        assert running.wait() != 0


def test_number_zero_is_left_alone_where_it_is_not_offered():
    with process(WAITS) as (_, link), pytest.raises(Unsupported, match="number 0"), zero_free(link, None):
        raise AssertionError("the block was entered")


def _opens(*numbers):
    """A link whose testee gives these numbers to what it opens, and then no other than the last."""
    given = list(numbers)
    return SimpleNamespace(open=lambda _: [given.pop(0) if len(given) > 1 else given[0]])


def test_a_number_is_taken_again_once_lower_ones_are():
    files = [object() for _ in range(TAKERS)]
    assert taken_again(_opens(3, 5, 7), SimpleNamespace(file=iter(files).__next__), 7) is files[2]


def test_a_number_that_is_not_given_out_again_is_told():
    with pytest.raises(Unsupported, match="number 7 was closed") as raised:
        taken_again(_opens(3, 8), SimpleNamespace(file=object), 7)
    assert raised.value.code == "situation"


def test_few_may_be_in_flight_or_the_user_has_no_limit():
    with process(WAITS) as (running, link):
        link.limit_numbers = lambda limit: resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (limit, limit))
        with contextlib.suppress(Unsupported):
            few_in_flight(link)
        soft = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)[0]
        assert (soft == FEW) is not _has_no_limit(running.pid)


def _has_no_limit(pid):
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    effective = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(effective & (1 << 21 | 1 << 24))
