"""Starting a program under the interposer: the filter is installed between fork and exec, and its listener handed over.

The child installs the filter, notes the listener's number in shared memory and waits; the harness takes the listener with
pidfd_getfd(2), begins to answer, and lets the child go on. So no call is ever held that nobody answers. In between the child
makes no call that could be held: it says that it is ready by dup2(2), which closes its end of a pipe, and waits in poll(2).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import mmap
import os
import platform
import select
import signal
import struct
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from ...impls.forking import Forked
from ...impls.process import Process, Starter
from .bpf import program
from .calls import Architecture, Name, architecture
from .held import Answer, Held
from .seccomp import Listener, duplicate, installer
from .supervisor import Handler, Supervisor, let_go

EVERY = frozenset(Name)
PATIENCE = 10.0
"""Seconds that a child has to install the filter."""
NOT_RUN = 127
"""Exit code of a child whose command could not be executed, as a shell has it; standard error says why."""
_NUMBER = struct.Struct("=i")
_NOT_YET = -(2**31)


class NotToBeHad(Exception):
    """seccomp user notification is not to be had here; the message says why, in one line."""


def execute(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], log: BinaryIO, cage: Callable[[], None]
) -> Process:
    """Start a program by fork and exec, as `impls.process.spawn` does, but return before it has been executed."""

    def body() -> NoReturn:
        for name in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and a program would inherit
            signal.signal(name, signal.SIG_DFL)
        try:
            os.execvpe(command[0], list(command), dict(environment))  # noqa: S606 - the manifest's command, without a shell
        except OSError as fault:
            os.write(2, f"cannot run {command[0]}: {fault.strerror}\n".encode())
            os._exit(NOT_RUN)

    return Forked(body, directory, log, cage)


@dataclass
class _HandOver:
    """The pipes and the page by which a child and the harness agree, and who holds which end."""

    page: mmap.mmap
    ready: tuple[int, int]
    go: tuple[int, int]
    ends: contextlib.ExitStack

    @classmethod
    def make(cls) -> _HandOver:
        with contextlib.ExitStack() as ends:
            page = ends.enter_context(mmap.mmap(-1, mmap.PAGESIZE))
            page[: _NUMBER.size] = _NUMBER.pack(_NOT_YET)
            ready, go = _pipe(ends), _pipe(ends)
            return cls(page, ready, go, ends.pop_all())

    def by_child(self, install: Callable[[], int]) -> None:
        """Install, tell, and wait for the harness; until it lets go nobody answers, and it may die without having done so."""
        os.close(self.ready[0])
        os.close(self.go[1])
        wait = select.poll()
        wait.register(self.go[0], select.POLLIN)
        number = install()
        self.page[: _NUMBER.size] = _NUMBER.pack(number)
        os.dup2(self.go[0], self.ready[1])
        if number < 0:
            os._exit(1)
        [(_, events)] = wait.poll()
        if not events & select.POLLIN:
            os._exit(1)
        for one in (number, self.go[0], self.ready[1]):  # while the child has the listener, its calls wait for itself
            os.close(one)

    def give_up(self, fault: BaseException) -> NoReturn:
        """Tell the harness why there is no child; only the child calls this."""
        self.page[_NUMBER.size :] = (
            repr(fault).encode()[: len(self.page) - _NUMBER.size].ljust(len(self.page) - _NUMBER.size, b"\0")
        )
        os._exit(1)

    def number(self) -> int:
        """Return the number of the listener in the child. Raises OSError with what the child met."""
        os.dup2(self.go[1], self.ready[1], inheritable=False)  # closes our hand on the child's end
        poll = select.poll()
        poll.register(self.ready[0], select.POLLIN)
        if not poll.poll(PATIENCE * 1000):
            raise TimeoutError(errno.ETIMEDOUT, "the child did not install its filter in time")
        (number,) = _NUMBER.unpack(self.page[: _NUMBER.size])
        if number == _NOT_YET:
            why = self.page[_NUMBER.size :].rstrip(b"\0").decode(errors="replace")
            raise ProcessLookupError(errno.ESRCH, f"the child ended before it installed its filter{why and ': '}{why}")
        if number < 0:
            raise OSError(-number, os.strerror(-number))
        return number

    def let_go(self) -> None:
        os.write(self.go[1], b"x")

    def close(self) -> None:
        self.ends.close()


def _pipe(ends: contextlib.ExitStack) -> tuple[int, int]:
    pair = os.pipe()
    for number in pair:
        ends.callback(os.close, number)
    return pair


class Interposer:
    """Starts programs whose calls ``handler`` answers, one at a time; the supervisor of the present one is `supervisor`.

    ``names``: the calls that are held. ``killable``: a held call is not given up for a signal that has a handler (Linux 5.19);
    without it the kernel restarts or interrupts it, as it does with any wait.
    """

    def __init__(self, handler: Handler = let_go, names: Collection[Name] = EVERY, *, killable: bool = True) -> None:
        """Raises `NotToBeHad` on an architecture that is not known."""
        found = architecture()
        if found is None or sys.byteorder != "little":
            raise NotToBeHad(f"the interposer does not know the architecture {platform.machine()}")
        self.architecture: Architecture = found
        self.handler = handler
        self.supervisor: Supervisor | None = None
        self._install = installer(found, program(found, names), killable=killable)

    def starter(self, inner: Starter = execute) -> Starter:
        """Return what starts a testee as ``inner`` does, under this interposer. ``inner`` must not wait for an exec."""

        def start(
            command: Sequence[str],
            directory: Path,
            environment: Mapping[str, str],
            log: BinaryIO,
            cage: Callable[[], None],
        ) -> Process:
            return self.start(functools.partial(inner, command, directory, environment, log), cage)

        return start

    def start(self, fork: Callable[[Callable[[], None]], Process], cage: Callable[[], None] = lambda: None) -> Process:
        """Let ``fork`` make a child that calls what it is given, and answer the child's calls from then on. Raises OSError."""
        self.stop()
        hand_over = _HandOver.make()

        def caged() -> None:
            try:
                cage()
            except Exception as fault:  # noqa: BLE001 - whatever it is, there is no child
                hand_over.give_up(fault)
            hand_over.by_child(self._install)

        try:
            process = fork(caged)
            try:
                self.supervisor = Supervisor(self._take(hand_over, process.pid), self.architecture, self._ask)
            except BaseException as fault:
                _end(process)
                if isinstance(fault, OSError):
                    raise OSError(fault.errno, f"under the interposer: {fault.strerror}") from fault
                raise
            hand_over.let_go()
        finally:
            hand_over.close()
        return process

    def _ask(self, held: Held) -> Answer:
        return self.handler(held)

    def _take(self, hand_over: _HandOver, pid: int) -> Listener:
        number = hand_over.number()
        pidfd = os.pidfd_open(pid)
        try:
            return Listener(duplicate(self.architecture, pidfd, number))
        finally:
            os.close(pidfd)

    def stop(self) -> None:
        """End the supervision; to be done after the program has been killed. May be called again."""
        if self.supervisor is not None:
            self.supervisor.stop()
            self.supervisor = None


def _end(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
