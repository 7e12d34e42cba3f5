"""What programs are executed on: one testee, its table seen from outside, listeners, and objects that are used again and again.

A stand knows nothing of programs. An executor asks it for a testee whose table is the baseline, for connections and for objects;
after anything that was wrong it calls `Stand.retire`, and the next program gets a fresh testee.
"""

from __future__ import annotations

import itertools
import os
import resource
import shutil
import socket
import tempfile
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

from ...conformance.bench import OWN_KINDS, HarnessFault
from ...conformance.census import Identity
from ...conformance.interpose.kernel import Kernel
from ...conformance.interpose.launcher import execute
from ...conformance.model.operations import Kind
from ...conformance.peer import accept
from ...impls.errors import StartFailed, Unsupported
from ...impls.process import Launch, Line, Testee, spawn
from ...impls.protocol.messages import Request, Reset
from ...impls.protocol.results import HelloResult
from .census import Census
from .objects import Shelf

KINDS = {
    Kind.STREAM: socket.SOCK_STREAM,
    Kind.DGRAM: socket.SOCK_DGRAM,
    Kind.SEQPACKET: socket.SOCK_SEQPACKET,
}
MEMORY = "/dev/shm"  # noqa: S108 - a directory of our own is made there
MOST = 16384
"""Descriptors that the harness may have open, where the system lets it."""
BACKLOG = 256
"""Connections that a listener keeps before they are accepted: those of all programs of a batch."""


class Stand:
    """One implementation's testee and its surroundings. Not for several threads; close it when done.

    ``kernel``: stands between every testee of this stand and its kernel, and is closed with the stand. ``cpu``: the core that
    the testee and this very process run on, so that neither has to be woken up on another; None: wherever they like.
    """

    def __init__(self, launch: Launch, *, kernel: Kernel | None = None, cpu: int | None = None) -> None:
        if kernel is not None:
            starter = execute if launch.starter is spawn else launch.starter
            launch = replace(launch, starter=kernel.starter(starter))
        self.kernel = kernel
        self.directory = Path(tempfile.mkdtemp(prefix="fdspec-"))  # mkdtemp makes it 0700
        self.places = Path(tempfile.mkdtemp(prefix="fdspec-", dir=MEMORY)) if usable(MEMORY) else self.directory
        """Where sockets and FIFOs are: in memory where that can be had, because their making is what takes longest."""
        self.shelf = Shelf(self.places)
        """The files and FIFOs, which serve one program after the other."""
        self.baseline: dict[int, Identity] = {}
        """What a testee has open between two programs."""
        self.own = Census(os.getpid())
        """The harness's own table."""
        self._launch = launch
        self._cpu = cpu
        self._listeners: dict[Kind, tuple[socket.socket, str]] = {}
        self._testee: Testee | None = None
        self._table: Census | None = None
        self._hello: HelloResult | None = None
        self._failure: StartFailed | None = None
        self.started = 0
        """How many testees were started so far."""
        self._failed = self._pid = 0
        self._names = itertools.count()
        self._warm: set[str] = set()
        self._limits: tuple[int, int] | None = None
        self._numbers: int | None = None
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if (
            soft < MOST <= hard or hard == resource.RLIM_INFINITY
        ):  # what the peers of a batch receive is the harness's own
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, MOST), hard))
        if cpu is not None:
            os.sched_setaffinity(0, {cpu})  # a testee inherits it

    # ---- the testee ----------------------------------------------------------------------------------------------------

    @property
    def testee(self) -> Testee:
        """The running testee, started if need be. Raises `StartFailed`, at once after the second time in a row."""
        if self._testee is None:
            self._testee = self._start()
        return self._testee

    @property
    def table(self) -> Census:
        """The testee's descriptors, from outside."""
        if self._table is None:
            self._table = Census(self.testee.pid)
        return self._table

    @property
    def hello(self) -> HelloResult:
        """What the testee said of itself."""
        return self.testee.hello if self._hello is None else self._hello

    @property
    def pid(self) -> int:
        """The process id of the testee, or of the last one there was; 0 before the first."""
        return self._pid

    @property
    def running(self) -> bool:
        """Whether there is a testee, and none has to be started."""
        return self._testee is not None

    def _start(self) -> Testee:
        if self._failure is not None:
            raise self._failure
        home = self.directory / f"home-{next(self._names)}"
        home.mkdir(0o700)
        try:
            testee = Testee(self._launch, home)
        except StartFailed as failure:
            if self.kernel is not None:
                self.kernel.retire()
            self._failed += 1
            if not self.started or self._failed > 1:  # every further attempt would cost a deadline
                self._failure = failure
            raise
        self.started += 1
        self._failed = 0
        self._hello = testee.hello
        self._pid = testee.pid
        self._numbers = resource.prlimit(testee.pid, resource.RLIMIT_NOFILE)[0]
        self._warm.clear()
        self._limits = None
        return testee

    def retire(self) -> None:
        """Kill the testee, if there is one; the next program gets a fresh one."""
        if self._table is not None:
            self._table.close()
            self._table = None
        if self._testee is not None:
            self._testee.kill()
            self._testee = None
        if self.kernel is not None:
            self.kernel.retire()

    def close(self) -> None:
        """End everything and remove the private directory. May be called again."""
        self.retire()
        if self.kernel is not None:
            self.kernel.close()
        for listener, _ in self._listeners.values():
            listener.close()
        self._listeners.clear()
        self.shelf.close()
        self.own.close()
        for place in {self.directory, self.places}:
            shutil.rmtree(place, ignore_errors=True)

    def page(self) -> list[Line]:
        """Begin a transcript and return it; what a testee writes that is no reply is in ``testee.noise`` from now on."""
        testee = self.testee
        testee.noise = []
        testee.lines = []
        return testee.lines

    # ---- the baseline --------------------------------------------------------------------------------------------------

    def warm(self, what: str, once: Callable[[], None]) -> None:
        """See that what a runtime opens for itself on first use of ``what`` is in the baseline.

        ``once`` makes that use, closes the harness's own end, and is called once for each testee; a `Reset` follows it.
        """
        if what in self._warm:
            return
        once()
        self.testee.ask(Reset(close=[]))
        self.baseline = self.table.identities()
        self._warm.add(what)

    def is_own(self, fd: int, identity: Identity) -> bool:
        """Whether a number that nobody accounts for is something that a runtime opens for itself, and no object of ours."""
        return not self.shelf.has(identity) and self.table.target(fd).startswith(OWN_KINDS)

    # ---- connections ---------------------------------------------------------------------------------------------------

    def path(self, prefix: str) -> str:
        """Return a path in the private directory that nothing has had before."""
        return f"{self.places}/{prefix}-{next(self._names)}"

    def listener(self, kind: Kind) -> tuple[socket.socket, str]:
        """Return the harness's listening socket of that kind and its path; made once."""
        found = self._listeners.get(kind)
        if found is None:
            listener = socket.socket(socket.AF_UNIX, KINDS[kind])
            path = self.path(f"listen-{kind}")
            listener.bind(path)
            listener.listen(BACKLOG)
            found = self._listeners[kind] = (listener, path)
        return found

    def accept(self, kind: Kind) -> socket.socket:
        """Return the next connection of the testee's to the listener of that kind, non-blocking.

        Strangers are turned away. Raises `Broken` where it does not come.
        """
        sock = accept(self.listener(kind)[0], self.testee.own)
        sock.setblocking(False)
        return sock

    # ---- limits --------------------------------------------------------------------------------------------------------

    def leave_numbers(self, count: int | None, taken: Collection[int] | None = None) -> None:
        """Set the testee's soft RLIMIT_NOFILE so that exactly ``count`` numbers are free; None: as at the start.

        ``taken``: the numbers that it has open, where they are known.
        """
        pid = self.testee.pid
        if self._limits is None:
            if count is None:
                return
            self._limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        soft, hard = self._limits
        if count is not None:
            taken = self.table.taken() if taken is None else taken
            limit = free = 0
            while free < count:
                free += limit not in taken
                limit += 1
            soft = min(limit, hard)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        if count is None:
            self._limits = None

    def numbers(self) -> int:
        """Return the testee's soft RLIMIT_NOFILE as it is at the start."""
        if self._numbers is None:
            self._numbers = resource.prlimit(self.testee.pid, resource.RLIMIT_NOFILE)[0]
        return self._numbers

    # ---- asking --------------------------------------------------------------------------------------------------------

    def require(self, request: Request) -> None:
        """Raise `Unsupported` unless the testee as a whole declared the capability that ``request`` needs."""
        need = request.capability
        if need is not None and need not in self.hello.capabilities:
            kind = request.__struct_config__.tag
            raise Unsupported("capability", f"{kind} needs {need}, which the testee does not offer")

    def own_descriptors(self) -> int:
        """Return how many descriptors of the harness's own this stand keeps by design, for who counts them."""
        kept = 1 + len(self._listeners) + self.shelf.descriptors + (self._table is not None)
        kept += 0 if self._testee is None else self._testee.held
        return kept + (0 if self.kernel is None else self.kernel.descriptors)


def usable(directory: str) -> bool:
    """Whether files can be made in a directory."""
    return Path(directory).is_dir() and os.access(directory, os.W_OK | os.X_OK)


__all__ = ["BACKLOG", "KINDS", "HarnessFault", "Stand"]
