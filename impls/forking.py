"""A testee's process as a fork of this one, for who does more between fork and exec than `subprocess` allows, or never execs."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, NoReturn

_POLL = 0.001


class Stream:
    """One of this process's ends of a pipe."""

    def __init__(self, number: int) -> None:
        self._number = number

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._number < 0

    def fileno(self) -> int:
        """Return its number. Raises ValueError when it was closed."""
        if self._number < 0:
            raise ValueError("this end was closed")
        return self._number

    def close(self) -> None:
        """Close it, once."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)


class Forked:
    """A child of this process that runs ``body`` in a process group of its own, as `subprocess.Popen` shows one."""

    def __init__(self, body: Callable[[], None], directory: Path, log: BinaryIO, cage: Callable[[], None]) -> None:
        requests, self_in = os.pipe()
        self_out, replies = os.pipe()
        self.returncode: int | None = None
        pid = os.fork()
        if pid == 0:
            _be_child(body, directory, cage, (requests, replies, log.fileno()))
        os.close(requests)
        os.close(replies)
        self.pid = pid
        self.stdin, self.stdout = Stream(self_in), Stream(self_out)
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)  # whoever of the two comes first

    def poll(self) -> int | None:
        """Return the exit code as subprocess has it, None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        if timeout is None:
            code = self._reap(0)
            assert code is not None  # noqa: S101 - waited without WNOHANG
            return code
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("a forked testee", timeout)
            time.sleep(_POLL)
        return code

    def _reap(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def _be_child(
    body: Callable[[], None], directory: Path, cage: Callable[[], None], streams: tuple[int, int, int]
) -> NoReturn:
    """Run ``body`` with nothing open but the three standard streams; end when it returns."""
    code = 1
    try:
        highest = os.sysconf("SC_OPEN_MAX")  # before the cage lowers it
        os.setpgid(0, 0)
        cage()
        os.chdir(directory)
        moved = [_moved_up(number) for number in streams]
        for number, source in enumerate(moved):
            os.dup2(source, number)
        os.closerange(3, highest)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        body()
        code = 0
    except BaseException:  # noqa: BLE001 - the last words go to the log
        traceback.print_exc(file=sys.__stderr__)
    finally:
        try:
            if sys.__stderr__ is not None:
                sys.__stderr__.flush()
        finally:
            os._exit(code)
    raise AssertionError("unreachable")


def _moved_up(number: int) -> int:
    """Return another number above the standard ones for the same stream."""
    import fcntl  # noqa: PLC0415 - the child's own business

    return fcntl.fcntl(number, fcntl.F_DUPFD, 3)
