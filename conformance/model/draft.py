"""A state being changed: the only thing here that is mutable. It lives inside one step."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

from msgspec.structs import replace

from .operations import NOWHERE, Kind, Number
from .reasons import REASONS
from .state import INHERITED, RECEIVE, SEND, Condition, Entry, File, Message, Socket, State

_CLOSED, _ESTABLISHED = Condition.CLOSED, Condition.ESTABLISHED
_DGRAM = Kind.DGRAM
"""Names of their own: a member is looked up in its enum at a price."""


class Draft:
    """What one step makes of a state. ``why`` gathers the requirements that decided.

    A dict is the state's own until it is written to, so it is written to by the methods alone. ``dropped`` are the files that
    a reference was taken from; `settle` looks whether it was the last.
    """

    __slots__ = (
        "base",
        "counter",
        "dropped",
        "dying",
        "files",
        "limit",
        "names",
        "objects",
        "opened",
        "platform",
        "sockets",
        "table",
        "why",
    )

    def __init__(self, state: State, why: Iterable[str] = ()) -> None:
        self.base = state
        self.platform = state.platform
        self.limit = state.limit
        self.table = state.table
        self.names = state.names
        self.files = state.files
        self.sockets = state.sockets
        self.objects = state.objects
        self.dying = state.dying
        self.opened = state.opened
        self.counter = state.counter
        self.why = set(why)
        self.dropped: list[int] = []

    def copy(self) -> Draft:
        """Return an independent draft that goes on from here."""
        other = Draft(self.freeze(), self.why)
        other.dropped = self.dropped.copy()
        return other

    def freeze(self) -> State:
        """Return what has been made as a state. The draft may go on, and makes copies again."""
        base = self.base
        self.base = State(
            self.platform,
            self.limit,
            self.table,
            self.names,
            self.files,
            self.sockets,
            self.objects,
            self.dying,
            self.opened,
            self.counter,
            base.actor,
            base.other,
        )
        return self.base

    def because(self, *ids: str) -> None:
        """Name the requirements that decide here."""
        self.why.update(ids)

    def reasons(self) -> tuple[str, ...]:
        """Return the requirements that decided. Raises ValueError for one that is not among ``REASONS``."""
        return _sorted(frozenset(self.why)) if self.why else ()

    def new_id(self) -> int:
        """Return a number that nothing else has."""
        self.counter += 1
        return self.counter

    def number(self, which: Number) -> int:
        """Return the number that a name or a literal stands for."""
        return which if isinstance(which, int) else self.names.get(which, NOWHERE)

    def file(self, which: Number) -> File | None:
        """Return the file behind a descriptor; None: it is not open."""
        entry = self.table.get(which if isinstance(which, int) else self.names.get(which, NOWHERE))
        return None if entry is None else self.files[entry.file]

    def socket_of(self, which: Number) -> Socket | str:
        """Return the socket behind a descriptor, or the error of a call that wants one."""
        entry = self.table.get(which if isinstance(which, int) else self.names.get(which, NOWHERE))
        if entry is None:
            return "EBADF"
        socket = self.files[entry.file].socket
        return "ENOTSOCK" if socket is None else self.sockets[socket]

    def change(self, socket: int, **fields: Any) -> Socket:  # noqa: ANN401 - replace() checks the names, not the types
        """Replace fields of a socket and return it as it is now. A queue that is replaced loses its references."""
        old = self.sockets[socket]
        if "queue" in fields:
            for message in old.queue:
                self.dropped += message.fds
        return self.add(replace(old, **fields))

    def add(self, socket: Socket) -> Socket:
        """Write a socket, new or changed, and return it."""
        if self.sockets is self.base.sockets:
            self.sockets = self.sockets.copy()
        self.sockets[socket.id] = socket
        return socket

    # ---- the table ---------------------------------------------------------------------------------------------

    def lowest(self) -> int | None:
        """Return the lowest free number; None: the limit of descriptors is reached."""
        number = 0
        table, taken = self.table, self.platform.taken
        if number in taken:
            number = _behind(taken)  # those of others mostly lie together, and never change
        while number in table or number in taken:
            number += 1
        return number if number < self.limit else None

    def install(self, file: int, *, cloexec: bool) -> int | None:
        """Put a file into the table and return its number; None: EMFILE."""
        number = self.lowest()
        if number is not None:
            if self.table is self.base.table:
                self.table = self.table.copy()
            self.table[number] = Entry(file, cloexec)
            if self.dropped == [file]:
                self.dropped = []  # what leaves a queue for a table is not looked for; of several files `settle` finds it out
        return number

    def remove(self, number: int) -> Entry | None:
        """Take a number from the table and return what it held; None: it is not open."""
        entry = self.table.get(number)
        if entry is not None:
            if self.table is self.base.table:
                self.table = self.table.copy()
            del self.table[number]
            self.dropped.append(entry.file)
        return entry

    def bind(self, name: str, number: int | None) -> None:
        """Let a name stand for a number; None: for none."""
        if self.names is self.base.names:
            self.names = self.names.copy()
        if number is None:
            self.names.pop(name, None)
        else:
            self.names[name] = number

    def watch(self, name: str, file: int) -> None:
        """Let a name stand for the object whose release can be asked for."""
        self.objects = {**self.objects, name: file}

    def new_file(self, label: str, socket: int | None = None) -> int:
        """Make an open file description; nothing refers to it yet."""
        identity = self.opened
        self.opened += 1
        if self.files is self.base.files:
            self.files = self.files.copy()
        self.files[identity] = File(identity, label, socket)
        return identity

    def new_socket(self, kind: Kind, label: str) -> Socket:
        """Make a socket with its file; nothing refers to it yet."""
        identity = self.new_id()
        return self.add(
            Socket(
                identity,
                kind,
                self.new_file(label, identity),
                sndbuf=self.platform.sndbuf,
                backlog=self.platform.dgram_backlog,
            )
        )

    def new_pair(self, kind: Kind, a: str, b: str) -> tuple[int, int]:
        """Make two connected sockets and return their files; nothing refers to them yet."""
        first, second = self.counter + 1, self.counter + 2
        self.counter = second
        files = (self.new_file(a, first), self.new_file(b, second))
        sndbuf, backlog = self.platform.sndbuf, self.platform.dgram_backlog
        for one, file, peer in ((first, files[0], second), (second, files[1], first)):
            self.add(Socket(one, kind, file, _ESTABLISHED, peer, sndbuf=sndbuf, backlog=backlog))
        return files

    # ---- the queue ---------------------------------------------------------------------------------------------

    def push(self, socket: int, message: Message) -> None:
        """Queue a message at its receiver."""
        old = self.sockets[socket]
        self.add(replace(old, queue=(*old.queue, message)))

    def put(self, socket: int, message: Message) -> None:
        """Write a queued message back that has changed."""
        old = self.sockets[socket]
        identity = message.id
        queue: list[Message] = []
        for one in old.queue:
            if one.id == identity:
                queue.append(message)
                if one.fds is not message.fds:
                    self.dropped += one.fds
            else:
                queue.append(one)
        self.add(replace(old, queue=tuple(queue)))

    def unlink(self, socket: int, message: int) -> None:
        """Take a message from the queue."""
        old = self.sockets[socket]
        for one in old.queue:
            if one.id == message:
                self.dropped += one.fds
        self.add(replace(old, queue=tuple([one for one in old.queue if one.id != message])))

    def in_flight(self) -> int:
        """How many descriptors are queued."""
        count = 0
        for socket in self.sockets.values():
            if socket.queue:
                for message in socket.queue:
                    count += len(message.fds)
        return count

    def take_error(self, socket: int) -> str | None:
        """Return the pending error, and clear it (sock_error)."""
        error = self.sockets[socket].error
        if error is not None:
            self.change(socket, error=None)
        return error

    # ---- lifetime ----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Release every file that lost a reference and has none left, and whatever that releases in turn."""
        released = False
        while self.dropped:
            loose = {file for file in self.dropped if file in self.files and file not in self.dying}
            self.dropped = []
            if loose:
                loose = self._unheld(loose)
            if loose and self.files is self.base.files:
                self.files = self.files.copy()
            for file in sorted(loose):
                socket = self.files.pop(file).socket
                if socket is not None:
                    self.release(socket)
                    released = True
        if released:
            self._forget()

    def _unheld(self, files: set[int]) -> set[int]:
        """Return those of the files that nothing refers to."""
        files.discard(INHERITED)
        files.difference_update([entry.file for entry in self.table.values()])
        other = self.base.other
        if other:
            files.difference_update([entry.file for entry in other.table.values()])
        for socket in self.sockets.values():
            for message in socket.queue:
                if message.fds:
                    files.difference_update(message.fds)
        return files

    def release(self, identity: int) -> None:
        """What unix_release_sock does: the peer learns of it, and the queue is dropped."""
        socket = self.sockets[identity]
        peer = self.sockets.get(socket.peer) if socket.peer is not None else None
        if peer and peer.condition is not _CLOSED and socket.kind is not _DGRAM:
            rest = socket.queue[1:] if socket.queue and not socket.queue[0].left else socket.queue
            # A first message without bytes left does not count, whether its byte was urgent or it never had one.
            error = "ECONNRESET" if rest or socket.file is None else peer.error
            self.change(peer.id, shut=RECEIVE | SEND, error=error)
        self.change(identity, condition=_CLOSED, peer=None, queue=(), oob=None, file=None)
        if socket.queue:
            for embryo in embryos(socket):
                self.release(embryo)

    def _forget(self) -> None:
        """Drop dead sockets that no living one has as its peer."""
        dead = {one.id for one in self.sockets.values() if one.condition is _CLOSED}
        dead.difference_update([one.peer for one in self.sockets.values() if one.condition is not _CLOSED])
        for identity in dead:
            del self.sockets[identity]


@cache
def _behind(taken: frozenset[int]) -> int:
    """Return the first number that is not among these."""
    return next(number for number in range(len(taken) + 1) if number not in taken)


@cache
def _sorted(why: frozenset[str]) -> tuple[str, ...]:
    """Sort what decided, and check it; there are some thousand combinations."""
    if not why <= REASONS:
        raise ValueError(f"not among the reasons: {', '.join(sorted(why - REASONS))}")
    return tuple(sorted(why))


def embryos(socket: Socket) -> list[int]:
    """Return the sockets that wait in this one's queue to be accepted."""
    return [message.embryo for message in socket.queue if message.embryo is not None]
