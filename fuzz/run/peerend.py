"""The harness's own end of a program: its operations as plain system calls that never block, and every descriptor owned.

Two ways lead to the kernel. The socket module's is the fast one, and has no word for a wrong cmsg_len, for msg_controllen or for
what is not a socket; `conformance.model.calls` has one for everything. What they show is the same, but for msg_controllen.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterable
from typing import Any

from ...conformance.census import Table, same_description
from ...conformance.model import calls
from ...conformance.model import flags as f
from ...conformance.model.calls import Reply
from ...conformance.model.control import Written, forge, lay_out
from ...conformance.model.operations import (
    NOWHERE,
    Call,
    Close,
    Credentials,
    How,
    Number,
    Open,
    Receive,
    Released,
    Rights,
    Send,
    SetOption,
    Shutdown,
)
from ...conformance.model.operations import Control as Message
from ...conformance.model.operations import Option as Known
from ...conformance.model.state import Ids
from ...impls.constants import errno_name
from ...impls.protocol.values import ObjectKind, ints_of
from ..operations import Make, Operation, Option, SetMore
from .objects import Things
from .shown import UNKNOWN, Control, Shown

LEVEL = socket.SOL_SOCKET
OPTIONS: dict[Known | Option, tuple[str, int]] = {
    Known.PASSCRED: ("SO_PASSCRED", 16),
    Known.PASSRIGHTS: ("SO_PASSRIGHTS", 83),
    Known.OOBINLINE: ("SO_OOBINLINE", 10),
    Known.PEEK_OFF: ("SO_PEEK_OFF", 42),
    Known.SNDBUF: ("SO_SNDBUF", 7),
    Option.TIMESTAMP: ("SO_TIMESTAMP", 29),
    Option.PASSPIDFD: ("SO_PASSPIDFD", 76),
    Option.PASSSEC: ("SO_PASSSEC", 34),
    Option.RCVBUF: ("SO_RCVBUF", 8),
}
"""The name and Linux's number of each option."""
SHUT = {How.RD: ("SHUT_RD", 0), How.WR: ("SHUT_WR", 1), How.RDWR: ("SHUT_RDWR", 2)}
SCM_PIDFD = 4
_RIGHTS = (f.SOL_SOCKET, f.SCM_RIGHTS)
_INTS = struct.Struct("=i")


def option_value(op: SetOption | SetMore) -> int:
    """Return the value that setsockopt(2) is given: the kernel doubles what SO_SNDBUF is told."""
    return op.value // 2 if op.option is Known.SNDBUF else op.value


def signed(flags: int) -> int:
    """Return flags as a C int."""
    return flags - (1 << 32) if flags & 0x80000000 else flags


def failure(name: str) -> Shown:
    """Return what an error of the harness's own calls shows."""
    return Shown(error=name, kind="OSError")


def _failed(fault: OSError) -> Shown:
    return Shown(error=errno_name(fault.errno) or "", kind="OSError", message=fault.strerror or "")


class PeerEnd:
    """The harness's end. ``number_of`` tells the testee's number of a name, for the look at open file descriptions."""

    def __init__(
        self,
        things: Things,
        table: Table | None = None,
        number_of: Callable[[str], int] = lambda _name: NOWHERE,
        *,
        careful: bool = False,
    ) -> None:
        self.numbers: dict[str, int] = {}
        """What each name of the peer's stands for; `NOWHERE` once it is closed."""
        self._things = things
        self._table = table
        self._number_of = number_of
        self._careful = careful
        self._sockets: dict[int, socket.SocketType] = {}
        self._open: set[int] = set()
        self._paths: list[str] = []

    # ---- what it has ---------------------------------------------------------------------------------------------------

    def adopt(self, name: str, sock: socket.SocketType, path: str = "") -> None:
        """Take a connected socket over as ``name``; ``path`` is removed at the end."""
        sock.setblocking(False)
        fd = sock.fileno()
        self._sockets[fd] = sock
        self.numbers[name] = fd
        facts = os.fstat(fd)
        self._things.labels.setdefault((facts.st_dev, facts.st_ino), name)
        if path:
            self._paths.append(path)

    def number(self, name: Number) -> int:
        """Return the number that a name stands for, or a literal number itself."""
        return name if isinstance(name, int) else self.numbers.get(name, NOWHERE)

    @property
    def held(self) -> int:
        """How many descriptors it has."""
        return len(self._sockets) + len(self._open)

    def close(self) -> None:
        """Close everything that it has. May be called again."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
        for fd in self._open:
            os.close(fd)
        self._open.clear()
        for path in self._paths:
            os.unlink(path)  # noqa: PTH108 - hot path
        self._paths.clear()

    # ---- operations ----------------------------------------------------------------------------------------------------

    def perform(self, op: Operation) -> Shown:
        """Do one operation of the peer's. Raises KeyError for one that is not the peer's."""
        return _VERBS[type(op)](self, op)

    def do_send(self, op: Send) -> Shown:
        """Send."""
        fd = self.number(op.name)
        flags = signed(op.flags | f.DONTWAIT | f.NOSIGNAL)
        sock = self._sockets.get(fd)
        if sock is None or op.controllen is not None or (op.control and any(map(is_exact, op.control))):
            reply = calls.sendmsg(fd, op.data, lay_out(op, self.number, own_ids()), flags & 0xFFFFFFFF)
            return Shown(error=reply.error, kind="OSError") if reply.error else Shown(value=reply.value)
        try:
            return Shown(value=sock.sendmsg(op.data, messages(op, self.number) if op.control else (), flags))
        except OSError as fault:
            return _failed(fault)

    def do_recv(self, op: Receive) -> Shown:
        """Receive."""
        fd, sizes = self.number(op.name), op.room
        sock = self._sockets.get(fd)
        flags = signed(op.flags | f.DONTWAIT)
        # Python's recv(0) makes no call, and its recv with MSG_TRUNC returns more than there is.
        odd = not any(sizes) or (op.call is Call.RECV and op.flags & f.TRUNC)
        if self._careful or sock is None or len(sizes) > f.IOV_MAX or odd:
            return self._received_exactly(op, fd, flags & 0xFFFFFFFF)
        try:
            if op.call is not Call.RECVMSG:
                whole = os.read(fd, sum(sizes)) if op.call is Call.READ else sock.recv(sum(sizes), flags)
                return Shown(data=split(whole, sizes))
            data, control, shown, _ = sock.recvmsg(sum(sizes), op.control or 0, flags)
        except OSError as fault:
            return _failed(fault)
        if not control:
            return Shown(data=split(data, sizes), flags=shown & 0xFFFFFFFF)
        fds, others = self._taken_apart(control)
        return Shown(
            data=split(data, sizes),
            files=self._adopted(op.prefix, fds) if fds else (),
            flags=shown & 0xFFFFFFFF,
            control=others,
        )

    def _received_exactly(self, op: Receive, fd: int, flags: int) -> Shown:
        if op.call is Call.READ:
            reply = calls.read(fd, op.room)
        elif op.call is Call.RECV:
            reply = calls.recv(fd, sum(op.room), flags)
        else:
            reply = calls.recvmsg(fd, op.room, op.control, flags)
        if reply.error:
            return failure(reply.error)
        if op.call is not Call.RECVMSG:
            return Shown(data=reply.data)
        fds, others = self._taken_apart((one.level, one.type, one.data) for one in _sound(reply))
        files = self._adopted(op.prefix, fds)
        return Shown(
            data=reply.data,
            files=files,
            same=tuple(map(self._shares, files, fds)),
            cloexec=tuple(bool(fcntl.fcntl(one, fcntl.F_GETFD) & fcntl.FD_CLOEXEC) for one in fds),
            flags=reply.flags & 0xFFFFFFFF,
            control=others,
            controllen=reply.controllen,
        )

    def _taken_apart(self, messages: Iterable[tuple[int, int, bytes]]) -> tuple[list[int], tuple[Control, ...]]:
        fds: list[int] = []
        others: list[Control] = []
        for level, kind, data in messages:
            if (level, kind) == _RIGHTS:
                fds += ints_of(data)
                continue
            others.append(Control(level, kind, data))
            if (level, kind) == (f.SOL_SOCKET, SCM_PIDFD):
                self._open.update(one for one in ints_of(data) if one >= 0)
        return fds, tuple(others)

    def _adopted(self, prefix: str, fds: list[int]) -> tuple[str, ...]:
        self._open.update(fds)
        labels: list[str] = []
        known = self._things.labels
        for index, fd in enumerate(fds):
            facts = os.fstat(fd)
            labels.append(known.get((facts.st_dev, facts.st_ino), UNKNOWN))
            if prefix:
                self.numbers[f"{prefix}{index}"] = fd
        return tuple(labels)

    def _shares(self, label: str, fd: int) -> bool | None:
        """Whether ``fd`` and the number that its label was first given share an open file description."""
        own = self.numbers.get(label, NOWHERE)
        if own != NOWHERE:
            return same_description(os.getpid(), own, os.getpid(), fd)
        theirs = self._number_of(label)
        if self._table is None or theirs == NOWHERE or self._things.label(self._table.identity(theirs)) != label:
            return None
        return same_description(self._table.pid, theirs, os.getpid(), fd)

    def do_open(self, op: Open) -> Shown:
        """Open a FIFO's writing end."""
        fd = os.open(self._things.fifo(op.name).path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        return self._has(op.name, fd)

    def do_make(self, op: Make) -> Shown:
        """Open an object that is no FIFO."""
        if op.kind is ObjectKind.FILE:
            return self._has(op.name, os.open(self._things.file(op.name).path, os.O_RDWR | os.O_CLOEXEC))
        ours, other = socket.socketpair()
        self._open.add(other.detach())
        self.adopt(op.name, ours)
        return Shown()

    def _has(self, name: str, fd: int) -> Shown:
        self.numbers[name] = fd
        self._open.add(fd)
        return Shown()

    def do_close(self, op: Close) -> Shown:
        """Close; the name stands for nothing from then on."""
        fd = self.number(op.name)
        if isinstance(op.name, str):
            self.numbers[op.name] = NOWHERE
        sock = self._sockets.pop(fd, None)
        self._open.discard(fd)
        try:
            os.close(fd) if sock is None else sock.close()
        except OSError as fault:
            return _failed(fault)
        return Shown()

    def do_shutdown(self, op: Shutdown) -> Shown:
        """Shut down."""
        return _plain(calls.plain("shutdown", self.number(op.name), SHUT[op.how][1]))

    def do_set(self, op: SetOption | SetMore) -> Shown:
        """Set an option."""
        packed = _INTS.pack(option_value(op))
        return _plain(calls.plain("setsockopt", self.number(op.name), LEVEL, OPTIONS[op.option][1], packed, 4))

    def do_released(self, op: Released) -> Shown:
        """Look whether a FIFO has lost its last writer."""
        fifo = self._things.fifos.get(op.name)
        return failure("ENOENT") if fifo is None else Shown(value=int(fifo.released))


def is_exact(control: Message) -> bool:
    """Whether a control message says itself how long it claims to be."""
    return not isinstance(control, Credentials) and control.length is not None


def split(data: bytes, sizes: tuple[int, ...]) -> tuple[bytes, ...]:
    """Return what of ``data`` is in each buffer of these sizes."""
    if len(sizes) == 1:
        return (data,)
    found: list[bytes] = []
    at = 0
    for size in sizes:
        found.append(data[at : at + size])
        at += size
    return tuple(found)


def own_ids() -> Ids:
    """Return the harness's own credentials."""
    return Ids(os.getpid(), os.getuid(), os.getgid())


def messages(op: Send, number: Callable[[Number], int]) -> list[tuple[int, int, bytes]]:
    """Return the control messages of a send, as the socket module takes them."""
    found: list[tuple[int, int, bytes]] = []
    for one in op.control:
        if isinstance(one, Rights):
            found.append((*_RIGHTS, struct.pack(f"={len(one.fds)}i", *map(number, one.fds))))
        elif isinstance(one, Credentials):
            found.append((f.SOL_SOCKET, f.SCM_CREDENTIALS, forge(one.forged, own_ids())))
        else:
            found.append((one.level, one.type, one.data))
    return found


def _sound(reply: Reply) -> tuple[Written, ...]:
    return reply.messages


def _plain(reply: Reply) -> Shown:
    return failure(reply.error) if reply.error else Shown()


_VERBS: dict[type[Operation], Callable[[PeerEnd, Any], Shown]] = {
    Send: PeerEnd.do_send,
    Receive: PeerEnd.do_recv,
    Open: PeerEnd.do_open,
    Make: PeerEnd.do_make,
    Close: PeerEnd.do_close,
    Shutdown: PeerEnd.do_shutdown,
    SetOption: PeerEnd.do_set,
    SetMore: PeerEnd.do_set,
    Released: PeerEnd.do_released,
}
