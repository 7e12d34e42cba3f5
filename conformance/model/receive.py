"""recvmsg, recv and read: the rules of unix_stream_read_generic, manage_oob, unix_stream_recv_urg and __unix_dgram_recvmsg."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from . import flags as f
from .control import Delivered, Taken, deliver
from .draft import Draft
from .operations import Call, Kind, Receive
from .outcome import Ending, Seen, failed, opened
from .state import NOBODY, NOTHING, RECEIVE, Condition, Ids, Message, Socket

_STREAM, _ESTABLISHED = Kind.STREAM, Condition.ESTABLISHED
_RECVMSG, _READ = Call.RECVMSG, Call.READ
"""Names of their own: a member is looked up in its enum at a price."""


class Got(Struct, gc=False):
    """What a receive has gathered. ``error`` counts when nothing was gathered."""

    data: bytes = b""
    error: str | None = None
    taken: Taken | None = None
    flags: int = 0
    real: int | None = None
    """What is returned instead of the length of the data."""


def receive(draft: Draft, op: Receive) -> list[Ending]:  # noqa: PLR0911 - the kernel's checks, in their order
    """Return the ending of a receive; there is one."""
    call = op.call
    if op.flags & f.COMPAT and call is _RECVMSG:
        draft.because("S26")
        return [failed(draft, "EINVAL")]
    socket = draft.socket_of(op.name)
    if isinstance(socket, str):
        # read(2) of a pipe's writing end has another error than a call for sockets
        error = "EBADF" if call is _READ else socket
        draft.because(*(["A31"] if error == "ENOTSOCK" else []))
        return [failed(draft, error)]
    if len(op.room) > f.IOV_MAX and call is _RECVMSG:
        draft.because("V04")
        return [failed(draft, "EMSGSIZE")]
    size = sum(op.room)
    if call is _READ and not size:
        draft.because(*(["R12b"] if socket.queue and socket.queue[0].fds else []))
        return [_ending(draft, op, b"", 0, 0, None)]
    flags = 0 if call is _READ else op.flags
    if flags:
        _explain_flags(draft, flags, socket)
    got = (_stream if socket.kind is _STREAM else _packet)(draft, socket.id, size, flags)
    if got.error and not got.data:
        return [failed(draft, got.error)]
    taken, value = got.taken or Taken(), len(got.data) if got.real is None else got.real
    if taken.files:
        _explain_taken(draft, op, socket, len(got.data))
    if call is not _RECVMSG:
        return [_ending(draft, op, got.data, value, 0, None)]
    cloexec = bool(flags & f.CLOEXEC)
    delivered = deliver(draft, taken, op.control, cloexec=cloexec)
    _explain(draft, delivered, got, flags)
    if flags & f.PEEK and len(delivered.numbers) < len(taken.files) and draft.lowest() is None:
        draft.because("T15")
    shown = got.flags | (f.CTRUNC if delivered.truncated else 0) | (f.CLOEXEC if cloexec else 0)
    return [_ending(draft, op, got.data, value, shown, delivered)]


def _explain_taken(draft: Draft, op: Receive, before: Socket, length: int) -> None:
    """Say what decides about the descriptors that were met. ``before`` is the socket as it was."""
    size, plain = sum(op.room), op.call is not _RECVMSG
    if not before.passrights:
        draft.because("S24b")
    if op.flags & f.PEEK and op.call is not _READ:
        lost = ["P05"] if plain else ["P04"] if op.control is None else []
        draft.because("P01", *lost, *([] if size else ["P12"]))
        return
    if any(one.peeked for one in before.queue):
        draft.because("T14", "P02")
    if plain:
        rest = draft.sockets[before.id].queue
        partly = before.kind is _STREAM and bool(rest) and rest[0].done > 0
        draft.because("R03", "L07", *([] if size else ["R12"]), *(["B05"] if partly else []))
        draft.because(*(["B07"] if before.kind is _STREAM and rest and not partly and length < size else []))
    elif len(op.room) == f.IOV_MAX:
        draft.because("V11")


def _ending(draft: Draft, op: Receive, data: bytes, value: int, flags: int, delivered: Delivered | None) -> Ending:
    whole = (data,) if len(op.room) == 1 else _cut(data, op.room)
    if delivered is None:
        return Ending("received", draft, Seen(value=value, data=whole, flags=flags))
    numbers = delivered.numbers
    if op.prefix:
        for index, number in enumerate(numbers):
            draft.bind(f"{op.prefix}{index}", number)
    new = opened(draft, numbers) if numbers else ()
    controllen, messages = delivered.controllen, delivered.messages
    return Ending("received", draft, Seen(value, None, False, whole, flags, controllen, messages, new))


def _cut(data: bytes, room: tuple[int, ...]) -> tuple[bytes, ...]:
    """Return what goes into each buffer."""
    pieces: list[bytes] = []
    for size in room:
        pieces.append(data[:size])
        data = data[size:]
    return tuple(pieces)


def _explain_flags(draft: Draft, flags: int, socket: Socket) -> None:
    if flags & f.CTRUNC:
        draft.because("T09")
    if flags & f.ERRQUEUE:
        draft.because("P09")
    if flags & f.TRUNC and socket.kind is _STREAM:
        draft.because("P08")
    if flags & f.WAITALL and socket.kind is not _STREAM:
        draft.because("D10")
    if flags & (f.EOR | f.MORE | f.NOSIGNAL):
        draft.because("P11")


def _explain(draft: Draft, delivered: Delivered, got: Got, flags: int) -> None:
    if flags & f.CLOEXEC:
        draft.because("R18", *(["P03"] if flags & f.PEEK and delivered.numbers else []))
    if delivered.numbers:
        draft.because("S01", "S08", *(["S09"] if _has_socket(draft, delivered.numbers) else []))
    if got.flags & f.TRUNC:
        draft.because("V14", *(["T11"] if delivered.numbers else []), *(["T10"] if delivered.truncated else []))


def _has_socket(draft: Draft, numbers: tuple[int, ...]) -> bool:
    files, table = draft.files, draft.table
    return any(files[table[number].file].socket is not None for number in numbers)


def _ids(message: Message) -> Ids:
    return message.ids or NOBODY


# ---- stream ------------------------------------------------------------------------------------------------------------


def _stream(draft: Draft, identity: int, size: int, flags: int) -> Got:
    socket = draft.sockets[identity]
    if socket.condition is not _ESTABLISHED:
        return Got(error="EINVAL")
    if flags & f.OOB:
        return _recv_urgent(draft, identity, size, flags)
    walk = _Walk(draft, identity, size, flags)
    walk.run()
    taken = Taken(walk.files, (walk.ids or NOTHING) if socket.passcred else None)
    return Got(walk.copied, walk.error, taken)


class _Walk:
    """One pass of unix_stream_read_generic over the queue."""

    __slots__ = (
        "copied",
        "draft",
        "error",
        "files",
        "id",
        "ids",
        "last",
        "passcred",
        "peek",
        "size",
        "skip",
        "waitall",
    )

    def __init__(self, draft: Draft, identity: int, size: int, flags: int) -> None:
        self.draft = draft
        self.id = identity
        self.size = size
        self.peek = bool(flags & f.PEEK)
        self.waitall = bool(flags & f.WAITALL)
        socket = draft.sockets[identity]
        self.passcred = socket.passcred
        self.skip = max(0, socket.peek_off) if self.peek else 0
        self.copied = b""
        self.files: tuple[int, ...] = ()
        self.ids: Ids | None = None
        self.last: Ids | None = None
        self.error: str | None = None

    def run(self) -> None:
        """Read messages until something says stop."""
        message = self._first()
        while True:
            if message and (message.done == len(message.data) or self.draft.sockets[self.id].oob is not None):
                copied = bool(self.copied)
                message = manage_oob(self.draft, self.id, message, peek=self.peek, copied=copied)
                if message is None and copied:
                    return
            while message and self.skip >= len(message.data) - message.done:
                self.skip -= message.left
                message = self._behind(message)
                if message:
                    continue
            if message is None:
                self._empty()
                return
            if self.passcred and not self._same_writer(message):
                self.draft.because("C13")
                return
            stop, message = self._take(message)
            if stop:
                return

    def _first(self) -> Message | None:
        queue = self.draft.sockets[self.id].queue
        return queue[0] if queue else None

    def _behind(self, message: Message) -> Message | None:
        return behind(self.draft.sockets[self.id], message)

    def _empty(self) -> None:
        """Nothing is left to read: a pending error, the end of file, or EAGAIN, unless enough was copied."""
        if self.copied and not (self.waitall and self.size):
            return
        error = self.draft.take_error(self.id)
        if error:
            self.error = error
            self.draft.because("L12")
        elif self.draft.sockets[self.id].shut & RECEIVE:
            if not self.copied:
                self.draft.because("R17", "G08")
        else:
            self.error = "EAGAIN"
            self.draft.because("B06" if self.copied else "R05")

    def _same_writer(self, message: Message) -> bool:
        if self.ids is None:
            self.ids = _ids(message)
            return True
        return self.ids == _ids(message)

    def _take(self, message: Message) -> tuple[bool, Message | None]:
        """Copy from one message. Return whether to stop, and the message to go on with."""
        start = message.done + self.skip
        chunk = message.data[start : start + self.size]
        if self.copied and message.fds:
            self.draft.because("B01", *(["B10"] if self.peek else []))
        elif self.copied and chunk:
            self.draft.because("B15", *([] if self.last == message.ids else ["C13b"]))
        self.last = message.ids
        if message.fds:
            self.draft.because("B02", "B04", *([] if self.size else ["R11"]))
            if 0 < len(chunk) < message.left:
                self.draft.because("B16")
            if message.ids and not self.passcred:
                self.draft.because("C03")
        self.copied += chunk
        self.size -= len(chunk)
        return self._peeked(message, len(chunk)) if self.peek else self._consumed(message, len(chunk))

    def _consumed(self, message: Message, length: int) -> tuple[bool, Message | None]:
        draft = self.draft
        offset = draft.sockets[self.id].peek_off
        if offset >= 0:
            draft.change(self.id, peek_off=max(0, offset - length))
        if message.fds:
            self.files = message.fds
        if message.done + length < len(message.data):
            draft.put(self.id, replace(message, done=message.done + length, fds=()))
            return True, None
        draft.unlink(self.id, message.id)
        following = self._first()
        if following:
            if self.files and self.size:
                draft.because("B03", *(["B06"] if self.waitall else []))
            if following.fds and not self.files and not self.size:
                draft.because("B14")
        return bool(self.files) or not self.size, following

    def _peeked(self, message: Message, length: int) -> tuple[bool, Message | None]:
        draft = self.draft
        if message.fds:
            self.files = message.fds
        draft.put(self.id, replace(message, peeked=True))
        offset = draft.sockets[self.id].peek_off
        if offset >= 0:
            draft.change(self.id, peek_off=offset + length)
            draft.because("P06")
        if message.fds:
            return True, None
        self.skip = 0
        following = self._behind(message)
        # A peek goes on behind the last byte asked for: the descriptors of a message that begins there come as well.
        return following is None, following


def behind(socket: Socket, message: Message) -> Message | None:
    """Return the message that follows in the queue."""
    ids = [one.id for one in socket.queue]
    at = ids.index(message.id) + 1
    return socket.queue[at] if at < len(ids) else None


def manage_oob(  # noqa: PLR0911 - the kernel's cases, in their order
    draft: Draft, identity: int, message: Message, *, peek: bool, copied: bool
) -> Message | None:
    """Return the message to read in place of this one, where the urgent byte plays a part (manage_oob)."""
    socket = draft.sockets[identity]
    if message.left and message.id != socket.oob:
        return message
    found: Message | None = message
    if not message.left:
        # What is left of an urgent byte that was received: nothing, but it marks the place.
        if copied and (socket.oob is None or message.id == socket.oob):
            return None
        found = behind(socket, message)
        if not peek:
            draft.unlink(identity, message.id)
    if found is None or found.id != socket.oob:
        return found
    if copied:
        return None
    draft.because(*([] if socket.oobinline else ["S27b"]), *(["S27c"] if socket.oobinline and found.fds else []))
    if not peek:
        draft.change(identity, oob=None)
    if socket.oobinline:
        return found
    if not peek:
        draft.unlink(identity, found.id)
        draft.change(identity, dropped=socket.dropped + found.left)
        queue = draft.sockets[identity].queue
        return queue[0] if queue else None
    return behind(socket, found)


def _recv_urgent(draft: Draft, identity: int, size: int, flags: int) -> Got:
    socket = draft.sockets[identity]
    if socket.oobinline or socket.oob is None:
        draft.because("S28c")
        return Got(error="EINVAL")
    urgent = next(one for one in socket.queue if one.id == socket.oob)
    data = urgent.data[urgent.done : urgent.done + 1]
    if not flags & f.PEEK:
        at = socket.queue.index(urgent)
        before = socket.queue[at - 1] if at else None
        if before and not before.left:
            draft.unlink(identity, before.id)
        draft.change(identity, oob=None)
        draft.put(identity, replace(urgent, done=urgent.done + 1))
    if urgent.fds:
        draft.because("S27a")
    return Got(data[:size], flags=f.OOB, real=1)


# ---- datagram and seqpacket --------------------------------------------------------------------------------------------


def _packet(draft: Draft, identity: int, size: int, flags: int) -> Got:
    socket = draft.sockets[identity]
    if socket.kind is Kind.SEQPACKET and socket.condition is not Condition.ESTABLISHED:
        return Got(error="ENOTCONN")
    if flags & f.OOB:
        draft.because("S28")
        return Got(error="EOPNOTSUPP")
    error = draft.take_error(identity)
    if error:
        draft.because("L12")
        return Got(error=error)
    peek = bool(flags & f.PEEK)
    message, skip = _pick(socket, peek=peek)
    if message is None:
        if socket.kind is Kind.SEQPACKET and socket.shut & RECEIVE:
            draft.because("G08", "D05")
            return Got(real=0)
        draft.because("R05")
        return Got(error="EAGAIN")
    rest = message.data[skip:]
    data = rest[:size]
    offset = socket.peek_off
    if peek:
        draft.put(identity, replace(message, peeked=True))
        draft.change(identity, peek_off=offset + len(data) if offset >= 0 else offset)
        draft.because(*(["P06"] if offset >= 0 else []))
    else:
        draft.unlink(identity, message.id)
        draft.change(identity, peek_off=max(0, offset - len(message.data)) if offset >= 0 else offset)
    _explain_packet(draft, message, size, flags)
    if message.ids and message.fds and not socket.passcred:
        draft.because("C03")
    return Got(
        data,
        taken=Taken(message.fds, _ids(message) if socket.passcred else None),
        flags=f.TRUNC if size < len(rest) else 0,
        real=len(rest) if flags & f.TRUNC else len(data),
    )


def _pick(socket: Socket, *, peek: bool) -> tuple[Message | None, int]:
    """Return the message to receive and how many of its bytes to skip (__skb_try_recv_from_queue)."""
    skip = max(0, socket.peek_off) if peek else 0
    for message in socket.queue:
        if peek and socket.peek_off >= 0 and skip >= len(message.data) and (skip or message.peeked):
            skip -= len(message.data)
            continue
        return message, skip
    return None, skip


def _explain_packet(draft: Draft, message: Message, size: int, flags: int) -> None:
    if message.fds:
        draft.because("D01")
    if flags & f.TRUNC:
        draft.because("D02")
    if message.fds and not message.data:
        draft.because("D05", "S21")
    if message.fds and not size:
        draft.because("R11")
