"""A state being changed: the only thing here that is mutable. It lives inside one step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.structs import replace

from .operations import NOWHERE, Kind, Number
from .reasons import REASONS
from .state import INHERITED, RECEIVE, SEND, Condition, Entry, File, Message, Socket, State


class Draft:
    """The copy of a state that one step works on. ``why`` gathers the requirements that decided."""

    def __init__(self, state: State, why: Iterable[str] = ()) -> None:
        self.platform = state.platform
        self.limit = state.limit
        self.table = dict(state.table)
        self.names = dict(state.names)
        self.files = dict(state.files)
        self.sockets = dict(state.sockets)
        self.objects = dict(state.objects)
        self.dying = state.dying
        self.opened = state.opened
        self.counter = state.counter
        self.why: set[str] = set(why)

    def copy(self) -> Draft:
        """Return an independent draft that goes on from here."""
        return Draft(self.freeze(), self.why)

    def freeze(self) -> State:
        """Return what has been made as a state."""
        return State(
            platform=self.platform,
            limit=self.limit,
            table=dict(self.table),
            names=dict(self.names),
            files=dict(self.files),
            sockets=dict(self.sockets),
            objects=dict(self.objects),
            dying=self.dying,
            opened=self.opened,
            counter=self.counter,
        )

    def because(self, *ids: str) -> None:
        """Name the requirements that decide here. Raises ValueError for one that is not among ``REASONS``."""
        if not REASONS.issuperset(ids):
            raise ValueError(f"not among the reasons: {', '.join(ids)}")
        self.why.update(ids)

    def new_id(self) -> int:
        """Return a number that nothing else has."""
        self.counter += 1
        return self.counter

    def number(self, which: Number) -> int:
        """Return the number that a name or a literal stands for."""
        return which if isinstance(which, int) else self.names.get(which, NOWHERE)

    def file(self, which: Number) -> File | None:
        """Return the file behind a descriptor; None: it is not open."""
        entry = self.table.get(self.number(which))
        return self.files[entry.file] if entry else None

    def socket_of(self, which: Number) -> Socket | str:
        """Return the socket behind a descriptor, or the error of a call that wants one."""
        file = self.file(which)
        if file is None:
            return "EBADF"
        return "ENOTSOCK" if file.socket is None else self.sockets[file.socket]

    def change(self, socket: int, **fields: Any) -> Socket:  # noqa: ANN401 - replace() checks the names, not the types
        """Replace fields of a socket and return it as it is now."""
        self.sockets[socket] = replace(self.sockets[socket], **fields)
        return self.sockets[socket]

    # ---- the table ---------------------------------------------------------------------------------------------

    def lowest(self) -> int | None:
        """Return the lowest free number; None: the limit of descriptors is reached."""
        number = 0
        while number in self.table or number in self.platform.taken:
            number += 1
        return number if number < self.limit else None

    def install(self, file: int, *, cloexec: bool) -> int | None:
        """Put a file into the table and return its number; None: EMFILE."""
        number = self.lowest()
        if number is not None:
            self.table[number] = Entry(file, cloexec)
        return number

    def new_file(self, label: str, socket: int | None = None) -> int:
        """Make an open file description; nothing refers to it yet."""
        identity = self.opened
        self.opened += 1
        self.files[identity] = File(identity, label, socket)
        return identity

    def new_socket(self, kind: Kind, label: str) -> Socket:
        """Make a socket with its file; nothing refers to it yet."""
        identity = self.new_id()
        self.sockets[identity] = Socket(
            identity,
            kind,
            self.new_file(label, identity),
            sndbuf=self.platform.sndbuf,
            backlog=self.platform.dgram_backlog,
        )
        return self.sockets[identity]

    # ---- the queue ---------------------------------------------------------------------------------------------

    def push(self, socket: int, message: Message) -> None:
        """Queue a message at its receiver."""
        self.change(socket, queue=(*self.sockets[socket].queue, message))

    def put(self, socket: int, message: Message) -> None:
        """Write a queued message back that has changed."""
        queue = tuple(message if one.id == message.id else one for one in self.sockets[socket].queue)
        self.change(socket, queue=queue)

    def unlink(self, socket: int, message: int) -> None:
        """Take a message from the queue."""
        self.change(socket, queue=tuple(one for one in self.sockets[socket].queue if one.id != message))

    def in_flight(self) -> int:
        """How many descriptors are queued."""
        return sum(len(message.fds) for socket in self.sockets.values() for message in socket.queue)

    def take_error(self, socket: int) -> str | None:
        """Return the pending error, and clear it (sock_error)."""
        error = self.sockets[socket].error
        if error is not None:
            self.change(socket, error=None)
        return error

    # ---- lifetime ----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Release every file that nothing refers to any more, and whatever that releases in turn."""
        while True:
            held = {entry.file for entry in self.table.values()} | {INHERITED}
            for socket in self.sockets.values():
                for message in socket.queue:
                    held.update(message.fds)
            gone = self.files.keys() - held - self.dying
            if not gone:
                return
            for file in sorted(gone):
                socket = self.files.pop(file).socket
                if socket is not None:
                    self.release(socket)

    def release(self, identity: int) -> None:
        """What unix_release_sock does: the peer learns of it, and the queue is dropped."""
        socket = self.sockets[identity]
        peer = self.sockets.get(socket.peer) if socket.peer is not None else None
        if peer and not peer.dead and socket.kind is not Kind.DGRAM:
            rest = socket.queue[1:] if socket.queue and not socket.queue[0].left else socket.queue
            # A first message without bytes left does not count, whether its byte was urgent or it never had one.
            error = "ECONNRESET" if rest or socket.file is None else peer.error
            self.change(peer.id, shut=RECEIVE | SEND, error=error)
        self.change(identity, condition=Condition.CLOSED, peer=None, queue=(), oob=None, file=None)
        for embryo in embryos(socket):
            self.release(embryo)
        self._forget()

    def _forget(self) -> None:
        """Drop dead sockets that no living one has as its peer, and no message as its sender."""
        held = {socket.peer for socket in self.sockets.values() if not socket.dead}
        for identity in [one.id for one in self.sockets.values() if one.dead and one.id not in held]:
            del self.sockets[identity]


def embryos(socket: Socket) -> list[int]:
    """Return the sockets that wait in this one's queue to be accepted."""
    return [message.embryo for message in socket.queue if message.embryo is not None]
