"""Starting what cannot be started: the error says why, and nothing stays open, nobody stays."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import sys

import pytest
from fdspec.conformance.interpose import launcher, supervisor
from fdspec.conformance.interpose.kernel import Kernel
from fdspec.conformance.interpose.launcher import NOT_RUN, Interposer, NotToBeHad, execute
from fdspec.impls.errors import StartFailed
from fdspec.impls.process import Launch, Testee
from interposed import Child, children, ended, numbers, run_command, threads


@pytest.fixture(autouse=True)
def nothing_left():
    before = numbers(), threads(), children()
    yield
    assert (numbers(), threads(), children()) == before


def test_a_command_that_does_not_exist(tmp_path):
    interposer = Interposer()
    process = run_command(interposer, ["/nowhere/at-all"], tmp_path, tmp_path / "log")
    assert ended(process) == NOT_RUN
    interposer.stop()
    assert (tmp_path / "log").read_text() == "cannot run /nowhere/at-all: No such file or directory\n"


def test_a_testee_whose_command_does_not_exist(tmp_path):
    kernel = Kernel()
    with pytest.raises(StartFailed, match=r"exit-127; its last words: cannot run /nowhere: No such file or directory"):
        Testee(Launch(["/nowhere"], starter=kernel.starter(execute)), tmp_path)
    kernel.close()


def test_a_cage_that_raises(tmp_path):
    """The child ends before it has a filter, and the error says why."""

    def cage():
        raise RuntimeError("no cage today")

    interposer = Interposer()
    with (tmp_path / "log").open("wb") as log:
        start = interposer.starter(execute)
        with pytest.raises(
            OSError,
            match=r"under the interposer: the child ended before it installed its filter: RuntimeError\('no cage today'\)",
        ):
            start([sys.executable, "-V"], tmp_path, dict(os.environ), log, cage)
    assert interposer.supervisor is None


@pytest.mark.parametrize("how", [signal.SIGKILL, 0])
def test_a_child_that_dies_before_the_hand_over(how):
    def cage():
        if how:
            os.kill(os.getpid(), how)
        os._exit(0)

    interposer = Interposer()
    with pytest.raises(ProcessLookupError, match="the child ended before"):
        interposer.start(lambda installed: Child(lambda: None, lambda: (cage(), installed())))


def test_a_child_that_dies_with_its_filter_and_without_a_word():
    """Killed between the filter and the hand-over: the listener can't be taken any more."""
    interposer = Interposer()
    install = interposer._install

    def killed():
        install()
        os.kill(os.getpid(), signal.SIGKILL)

    interposer._install = killed
    with pytest.raises(OSError, match="under the interposer"):
        interposer.start(lambda cage: Child(lambda: None, cage))


def test_a_child_that_takes_too_long(monkeypatch):
    monkeypatch.setattr(launcher, "PATIENCE", 0.05)
    interposer = Interposer()
    with pytest.raises(TimeoutError, match="did not install its filter in time"):
        interposer.start(lambda cage: Child(lambda: None, lambda: (signal.pause(), cage())))


def test_a_fork_that_fails():
    def no_fork(cage):
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    interposer = Interposer()
    with pytest.raises(BlockingIOError, match="no more processes"):
        interposer.start(no_fork)


def test_an_interruption_while_the_child_is_waited_for(monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher._HandOver, "number", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Interposer().start(lambda cage: Child(lambda: None, cage))


def test_no_thread_for_the_supervisor(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(supervisor.threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Interposer().start(lambda cage: Child(lambda: None, cage))


@pytest.mark.parametrize("free", range(13))
def test_a_harness_without_descriptors(free):
    """Wherever the numbers end, the error is EMFILE and what was opened is closed again."""
    interposer = Interposer()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = {int(one) for one in os.listdir("/proc/self/fd")}
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before) + 1, limits[1]))
    fillers = []
    child, failure = None, 0
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        for _ in range(free):
            os.close(fillers.pop()) if fillers else None
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(before) + 1 + max(0, free - len(fillers)), limits[1]))
        try:
            child = interposer.start(lambda cage: Child(lambda: None, cage))
        except OSError as fault:
            failure = fault.errno
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in fillers:
            os.close(fd)
        if child is not None:
            child.wait()
            child.close()
        interposer.stop()
    assert failure in (0, errno.EMFILE)
    assert (failure == 0) == (child is not None)


def test_an_architecture_that_is_not_known(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "pdp11")
    with pytest.raises(NotToBeHad, match="does not know the architecture pdp11"):
        Interposer()


def test_a_harness_that_dies_before_it_lets_the_child_go(monkeypatch):
    """The child does not wait for ever, nor does it run without anybody who answers."""
    ran = []
    monkeypatch.setattr(launcher._HandOver, "let_go", lambda _self: None)
    interposer = Interposer()
    child = interposer.start(lambda cage: Child(lambda: ran.append(1), cage))
    assert child.wait(20) == 1
    child.close()
    interposer.stop()
