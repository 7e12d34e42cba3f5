"""The link of profile ``raw``: both ends of a connection inside the kernel under test, and the msghdr to the letter.

The harness has no end of its own here; the testee makes the pair and plays both sides, so that a kernel which the harness
cannot reach into is judged like the one it runs on. An `End` is one descriptor with the calls that can be made on it, in the
testee itself or in a forked `Child`. No call of an `End` blocks unless it is told to (``wait``).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from msgspec import UNSET

from ..impls.constants import errno_name
from ..impls.errors import Broken, Unsupported
from ..impls.process import Testee
from ..impls.protocol import Anomaly, Reply, reply_to
from ..impls.protocol.messages import Close, Collect, Connect, Fork, In, Limit, Listen, Pair, RawCall, Request, Wait
from ..impls.protocol.results import FdResult, InResult, PairResult, ProcessResult, WaitResult
from ..impls.protocol.values import Memory, Profile, SocketType
from .census import Table
from .layout import Layout
from .link import Link, offered, worked
from .objects import Objects, Thing
from .rawend import Caller, End, raw_result, result_of
from .rawmsg import Calling
from .rawseen import Called, RawGot, called

SCM_PIDFD = 4
"""Type of the control message that holds a pidfd (include/linux/socket.h)."""
COLLECTIONS, COLLECTION_MS = 40, 50
"""How often a collection of garbage in flight is begun, and the milliseconds that each is waited for."""
_names = itertools.count()
USERS = range(60000, 65000)
"""Users that nobody is: a child becomes one of them to be without privilege and to have the user's limits for itself."""


class Child:
    """A forked child of the testee: the same descriptors (or, with ``files``, the same table), perhaps another user."""

    def __init__(self, link: RawLink, made: ProcessResult, *, files: bool = False, alone: bool = False) -> None:
        self.link = link
        self.process = made.process
        self.pid = made.pid
        self.files = files
        self.table = Table(made.pid)
        self.user = Path(f"/proc/{made.pid}").stat().st_uid
        """Its effective user and group: those that were asked for, or the testee's own."""
        self.alone = alone
        """Whether its user was taken for it alone, so that the user's limits are its own."""
        self._later: Request | None = None

    def ask(self, request: Request, *, extra: float = 0.0) -> Reply:
        """Let the child carry out ``request``."""
        return self._reply(request, self.link.ask(In(process=self.process, request=request), extra=extra))

    def do(self, request: Request) -> Reply:
        """Let the child do something that must work for the case to mean anything. Raises `Broken` on an error."""
        return worked(request, self.ask(request))

    def close(self, *fds: int) -> None:
        """Let the child close numbers of its own."""
        for fd in fds:
            self.do(Close(fd=fd))

    def begin(self, request: Request) -> None:
        """Let the child carry out ``request`` without waiting for it; `collect` returns the reply."""
        self._later = request
        self.link.do(In(process=self.process, request=request, later=True))

    def collect(self) -> Reply:
        """Wait for the reply to what was begun."""
        assert self._later is not None, "nothing was begun"  # noqa: S101 - a fault of the case
        return self._reply(self._later, self.link.ask(Collect(process=self.process)))

    def _reply(self, request: Request, reply: Reply) -> Reply:
        shaped = reply_to(request, result_of(reply, InResult).reply)
        if isinstance(shaped, Anomaly):
            raise Broken(shaped.kind.value, shaped.detail)
        return offered(request, shaped)

    def end(self, end: End | int) -> End:
        """Return the child's own hand on a descriptor."""
        return End(self.link, end if isinstance(end, int) else end.fd, self)

    def limit(self, count: int, resource: str = "RLIMIT_NOFILE") -> None:
        """Set a soft limit of the child."""
        self.do(Limit(resource=resource, soft=count))

    def wait(self) -> int:
        """End the child; return its exit code, or minus the number of the signal that ended it."""
        self.table.close()
        self.link.children.remove(self)
        return result_of(self.link.ask(Wait(process=self.process)), WaitResult).code


@dataclass(frozen=True)
class Pipe:
    """A pipe inside the kernel under test: pass ``writer``, and ``released`` tells when no writer is left anywhere."""

    reader: End
    writer: int

    @property
    def released(self) -> bool:
        """Whether no writer is left, open or in flight."""
        return "POLLHUP" in self.reader.poll()

    def released_by_collection(self) -> bool:
        """Whether garbage in flight that holds the writer is collected once AF_UNIX sockets elsewhere are closed.

        The kernel begins the collection at the close of some socket and does it in the background.
        """
        link = self.reader.link
        for _ in range(COLLECTIONS):
            for end in link.pair():
                end.close()
            if self.reader.poll(milliseconds=COLLECTION_MS) >= {"POLLHUP"}:
                return True
        return False


class RawLink(Link):
    """A pair of connected sockets ``a`` and ``b`` inside the testee, and whatever else a case makes there."""

    profile = Profile.RAW

    def __init__(self, testee: Testee, table: Table, objects: Objects, type_: SocketType) -> None:
        super().__init__(testee, table, objects, type_)
        self.baseline = frozenset(table.numbers())
        """Numbers that the testee had open before the case."""
        self.layout = Layout.of(self.offer.limits)
        self.children: list[Child] = []
        self.a, self.b = self.pair()
        self.fd = self.a.fd

    def pair(self, type_: SocketType | None = None) -> tuple[End, End]:
        """Make a socketpair, of the case's own type unless another is named."""
        first, second = result_of(self.do(Pair(type=type_ or self.type)), PairResult).fds
        return self.socket_end(first), self.socket_end(second)

    def listen(self, address: str, type_: SocketType | None = None, backlog: int = 8) -> End:
        """Make a socket bound to ``address``, which listens unless its type is datagrams."""
        made = self.do(Listen(address=address, type=type_ or self.type, backlog=backlog))
        return self.socket_end(result_of(made, FdResult).fd)

    def connect(self, address: str, type_: SocketType | None = None, bind: str | None = None) -> End:
        """Make a socket connected to ``address``."""
        request = Connect(address=address, type=type_ or self.type, bind=UNSET if bind is None else bind)
        return self.socket_end(result_of(self.do(request), FdResult).fd)

    def socket_end(self, fd: int, caller: Caller | None = None) -> End:
        """Take account of a socket that the testee made, and will drop by itself at `reset`."""
        if caller is None or caller is self:
            self._note(fd)
            self.connected.add(fd)
        return End(self, fd, caller or self)

    def socket(self, domain: str, kind: str | int, protocol: int = 0) -> End:
        """Make a socket of any family, not connected."""
        return self.made(self.call("socket", domain, kind, protocol).returned)

    def made(self, fd: int) -> End:
        """Take account of a number that a call made for the case. Raises `Broken` where there is none."""
        if fd < 0:
            raise Broken("operation", "a new descriptor was expected")
        self._note(fd)
        return End(self, fd, self)

    def _note(self, fd: int) -> None:
        seen = self.table.identity(fd)
        if seen is None:
            raise Broken("operation", f"number {fd} was said to be new, and /proc shows nothing there")
        self.opened[fd] = seen

    def pipe(self) -> Pipe:
        """Make a pipe whose writing end can be passed."""
        made = self.call("pipe2", "O_CLOEXEC", iov=[Memory(size=2 * self.layout.int_size)])
        reader, writer = (self.made(fd).fd for fd in self.layout.read_ints(made.memory[0]))
        return Pipe(End(self, reader, self), writer)

    def call(
        self, name: str, *arguments: int | str, fd: int = -1, caller: Caller | None = None, **rest: Unpack[Calling]
    ) -> Called:
        """Make a system call of ``rawcalls.py``. Raises `Unsupported` where the platform has not got it."""
        request = RawCall(name=name, fd=fd, arguments=list(arguments), **rest)
        try:
            reply = (caller or self).ask(request)
        except Broken as fault:
            if fault.code == "claimed-capability":
                raise Unsupported("platform", f"there is no {name} here: {fault}") from None
            raise
        seen = called(raw_result(reply))
        if seen.errno == "ENOSYS":
            raise Unsupported("platform", f"this kernel has no {name}: ENOSYS")
        return seen

    def take(self, fds: Sequence[int], caller: Caller) -> list[Thing | None]:
        """Take account of received numbers; return what each refers to."""
        if caller is self or (isinstance(caller, Child) and caller.files):
            return self.adopt(fds)
        return [self.objects.of(caller.table.identity(fd)) for fd in fds]

    def many(self, requests: Sequence[Request]) -> list[Reply]:
        """Carry out many requests in one round trip. Raises `Broken` where the testee stopped before the last."""
        replies = self.steps(list(requests))
        if len(replies) != len(requests):
            raise Broken(
                "operation", f"{len(requests)} steps were asked for, the testee stopped at {replies[-1].error}"
            )
        return replies

    def child(self, *, user: int | None = None, limits: dict[str, int] | None = None, files: bool = False) -> Child:
        """Fork a child: as another user, with other soft limits, with the same table of descriptors (``files``)."""
        request = Fork(user=user, group=user, limits=limits or {}, files=files)
        made = Child(self, result_of(self.do(request), ProcessResult), files=files)
        self.children.append(made)
        return made

    def unprivileged(self, limits: dict[str, int] | None = None) -> Child:
        """Fork a child without privilege, whatever the testee itself is; as a user of its own, where that can be had."""
        user = USERS[self.testee.pid % len(USERS)]
        reply = self.ask(Fork(user=user, group=user, limits=limits or {}))
        alone = reply.error is None
        if reply.error is not None and errno_name(reply.error.errno) in ("EPERM", "EINVAL"):
            reply = self.ask(Fork(limits=limits or {}))  # it has no privilege to give up
        made = Child(self, result_of(reply, ProcessResult), alone=alone)
        self.children.append(made)
        return made

    def address(self) -> str:
        """Return an abstract address that nobody has."""
        return f"@fdspec-{self.testee.pid}-{next(_names)}"

    @property
    def directory(self) -> Path:
        """The private directory in which the case's objects lie."""
        return Path(self.objects.file().path).parent

    def adopt_pidfd(self, got: RawGot) -> list[int]:
        """Take account of the pidfds in what was received, and return them."""
        fds = [fd for one in got.of(SCM_PIDFD) for fd in self.layout.read_ints(one.data) if fd >= 0]
        self.received += fds
        return fds

    @property
    def hidden(self) -> list[int]:
        """Numbers that are open in the testee and that nobody told the case about."""
        known = {*self.baseline, *self.opened, *self.received}
        return [fd for fd in self.table.numbers() if fd not in known]

    def end(self) -> None:
        """Let go of the tables of children that the case has not waited for."""
        for child in self.children:
            child.table.close()
        self.children.clear()
