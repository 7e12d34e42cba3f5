"""What a kernel of some personality would have shown for one receive: a pure function of what really came.

The real message was taken with all the room there is. `shape` says which descriptors a testee gets, what stands in its control
buffer, and what msg_flags and msg_controllen say; `render` gives the buffer's bytes once the descriptors have numbers. With the
personality ``linux`` the answer is the running kernel's own: put_cmsg, scm_detach_fds and scm_pidfd_recv of net/core/scm.c.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from errno import EMFILE

from msgspec import Struct
from msgspec.structs import replace

from .personality import Personality
from .personality_rules import (
    CLOEXEC,
    CTRUNC,
    HEADER,
    SCM_RIGHTS,
    SOL_SOCKET,
    TRUNC,
    Cut,
    Fate,
    Needs,
    Rules,
    Silence,
    Stays,
    Told,
)

INT = 4
_PLENTY = 2**31


class Other(Struct, frozen=True):
    """A control message beside the rights: its bytes, or the index of the one ``descriptor`` that it holds (SCM_PIDFD).

    ``behind``: it comes behind the rights, as SCM_PIDFD and SCM_INQ do.
    """

    level: int
    type: int
    data: bytes = b""
    descriptor: int | None = None
    behind: bool = False


class Arrived(Struct, frozen=True):
    """What the real kernel delivered, with all room. An index is a place in whatever list the caller keeps of the descriptors.

    ``data``: the bytes, no more than the testee's buffers take. ``groups``: the descriptors as the sender's SCM_RIGHTS control
    messages had them. ``flags``: msg_flags. ``peek``: the message is still in the kernel's queue.
    """

    data: bytes = b""
    groups: tuple[tuple[int, ...], ...] = ()
    others: tuple[Other, ...] = ()
    flags: int = 0
    peek: bool = False

    @property
    def truncated(self) -> bool:
        """Whether a packet was bigger than the testee's buffers."""
        return bool(self.flags & TRUNC)

    @property
    def indices(self) -> tuple[int, ...]:
        """Every descriptor that came, in the order in which a kernel would install them."""
        front, behind = _split(self.others)
        return (
            *(one.descriptor for one in front if one.descriptor is not None),
            *(index for group in self.groups for index in group),
            *(one.descriptor for one in behind if one.descriptor is not None),
        )


class Asked(Struct, frozen=True):
    """What the testee asked for.

    ``control``: msg_control is not null; ``room``: msg_controllen; ``flags``: of the call; ``writable``: the control buffer can
    be written; ``free``: how many numbers its table has left (None: enough); ``buffers``: msg_iovlen.
    """

    control: bool = True
    room: int = 0
    flags: int = 0
    writable: bool = True
    free: int | None = None
    buffers: int = 1


class Piece(Struct, frozen=True):
    """A control message in the buffer, from ``offset`` on.

    ``length`` is what cmsg_len says. ``size``: how many bytes of header, payload and padding are there; the rest is cut off.
    ``payload``: bytes, or the indices of the descriptors; the last of them may be cut in the middle. ``cloexec``: they are
    close-on-exec in any case.
    """

    level: int
    type: int
    length: int
    payload: bytes | tuple[int, ...]
    offset: int
    size: int
    cloexec: bool = False

    @property
    def shown(self) -> tuple[int, ...]:
        """The descriptors whose numbers stand there whole."""
        if isinstance(self.payload, bytes):
            return ()
        return self.payload[: max(0, self.size - HEADER) // INT]


class Shaped(Struct, frozen=True):
    """What the testee is to be answered. With ``errno`` the call fails, and nothing is written.

    ``leaked``: to be installed though no control message shows them. ``dropped``: to be closed. ``kept``: they stay with the
    message, which is all ``stays`` for the next receive; with ``stays`` DATA the next one gets the data alone. After a peek the
    message is in the kernel's queue anyway. ``flags`` and ``controllen``: as they are in the msghdr; ``cloexec``: of those that
    are installed.
    """

    pieces: tuple[Piece, ...] = ()
    leaked: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    flags: int = 0
    controllen: int = 0
    cloexec: bool = False
    errno: int | None = None
    stays: Stays = Stays.NOTHING

    @property
    def shown(self) -> tuple[int, ...]:
        """The descriptors that a control message shows."""
        return tuple(index for piece in self.pieces for index in piece.shown)

    @property
    def installed(self) -> tuple[int, ...]:
        """All that are to be installed, shown or not, in the order of their indices."""
        return tuple(sorted((*self.shown, *self.leaked)))


class _Message(Struct, frozen=True):
    """A control message that is to be written. ``single``: it holds a pidfd, which Linux treats in its own way."""

    level: int
    type: int
    payload: bytes | tuple[int, ...]
    single: bool = False

    @property
    def full(self) -> int:
        """CMSG_LEN."""
        size = len(self.payload) if isinstance(self.payload, bytes) else INT * len(self.payload)
        return HEADER + size

    @property
    def indices(self) -> tuple[int, ...]:
        return () if isinstance(self.payload, bytes) else self.payload


@dataclass
class _Buffer:
    """The control buffer while it is filled."""

    rules: Rules
    asked: Asked
    room: int
    left: int
    free: int
    truncated: bool = False
    pieces: list[Piece] = field(default_factory=list[Piece])
    leaked: list[int] = field(default_factory=list[int])
    dropped: list[int] = field(default_factory=list[int])

    def lose(self, indices: Iterable[int]) -> None:
        """These are not shown: closed, or installed all the same."""
        fate = self.rules.excess if self.asked.control else self.rules.discarded
        for index in indices:
            if fate is Fate.INSTALLED and self.free > 0:
                self.free -= 1
                self.leaked.append(index)
            else:
                self.dropped.append(index)

    def flag(self) -> None:
        """Set MSG_CTRUNC, unless the system would not here."""
        silence = self.rules.silence
        quiet = (silence is not Silence.NEVER and not self.asked.control) or (
            silence is Silence.NO_ROOM and not self.left
        )
        self.truncated |= not quiet

    def put(self, message: _Message, payload: bytes | tuple[int, ...], written: int, size: int) -> None:
        """Add ``message`` with the ``payload`` that is there: ``written`` bytes of it with the header, ``size`` in all."""
        told = {
            Told.WRITTEN: written,
            Told.SENT: message.full,
            Told.ROOM: min(message.full, self.room) if size >= HEADER else message.full,
        }[self.rules.told]
        offset = self.room - self.left
        self.pieces.append(Piece(message.level, message.type, told, payload, offset, size, message.single))
        self.left -= size


def shape(personality: Personality, arrived: Arrived, asked: Asked) -> Shaped:
    """Return what a kernel of ``personality`` shows of ``arrived`` to a testee that asked like that."""
    rules = personality.rules
    if asked.buffers == 0 and rules.empty_receive:
        return _refused(arrived, rules.empty_receive, Stays.MESSAGE)
    room = asked.room if asked.control else 0
    unwritable = rules.fault is not None and room > 0 and not asked.writable
    if unwritable and rules.fault and rules.fault.stays is Stays.MESSAGE:
        return _refused(arrived, rules.fault.errno, Stays.MESSAGE)
    messages, withheld = _messages(rules, arrived)
    descriptors = [index for message in messages for index in message.indices]
    full = rules.full_table
    if full and len(descriptors) > _free(asked) and _makes(full.needs, asked):
        return _refused(arrived, full.errno, full.stays)
    if (
        unwritable
        and rules.fault
        and messages
        and (rules.cut is not Cut.WHOLE or _space(rules, messages[0].full) <= room)
    ):
        installs = rules.fault.fate is Fate.INSTALLED
        return _refused(arrived, rules.fault.errno, rules.fault.stays, leaked=descriptors if installs else ())
    buffer = _Buffer(rules, asked, room, room, _free(asked), dropped=list(withheld))
    _WRITERS[rules.cut](buffer, messages)
    asks = bool(asked.flags & CLOEXEC)
    flags = arrived.flags & ~CLOEXEC
    flags |= CTRUNC if buffer.truncated else 0
    flags |= CLOEXEC if asks and rules.cloexec and rules.echo else 0
    return Shaped(
        tuple(buffer.pieces),
        tuple(buffer.leaked),
        tuple(buffer.dropped),
        flags=flags,
        controllen=room - buffer.left,
        cloexec=asks and rules.cloexec,
    )


def render(shaped: Shaped, numbers: Mapping[int, int], before: bytes = b"") -> bytes:
    """Return the first ``shaped.controllen`` bytes of the control buffer. ``numbers``: of the installed descriptors, by index.

    A descriptor that is not installed, which only a cut in its middle can show, is -1. ``before``: what the buffer held, which is
    still there in padding (zeros where it is shorter).
    """
    buffer = bytearray(before[: shaped.controllen].ljust(shaped.controllen, b"\0"))
    for piece in shaped.pieces:
        payload = piece.payload
        if not isinstance(payload, bytes):
            payload = b"".join(struct.pack("=i", numbers.get(index, -1)) for index in payload)
        whole = (struct.pack("=Qii", piece.length, piece.level, piece.type) + payload)[: piece.size]
        buffer[piece.offset : piece.offset + len(whole)] = whole
    return bytes(buffer)


def _free(asked: Asked) -> int:
    return _PLENTY if asked.free is None else max(0, asked.free)


def _makes(needs: Needs, asked: Asked) -> bool:
    """Say whether the system would make descriptors for this caller at all."""
    return {Needs.ALWAYS: True, Needs.POINTER: asked.control, Needs.ROOM: asked.room > 0}[needs]


def _refused(arrived: Arrived, number: int, stays: Stays, leaked: Iterable[int] = ()) -> Shaped:
    """Return a receive that fails. After a peek the kernel has the message still, and what was taken is a copy."""
    installed = tuple(leaked)
    rest = tuple(index for index in arrived.indices if index not in installed)
    if arrived.peek:
        return Shaped(leaked=installed, dropped=rest, errno=number, stays=Stays.MESSAGE)
    if stays is Stays.MESSAGE:
        return Shaped(kept=rest, errno=number, stays=stays)
    return Shaped(leaked=installed, dropped=rest, errno=number, stays=stays)


def _split(others: Iterable[Other]) -> tuple[list[Other], list[Other]]:
    """Return those in front of the rights and those behind."""
    listed = list(others)
    return [one for one in listed if not one.behind], [one for one in listed if one.behind]


def _messages(rules: Rules, arrived: Arrived) -> tuple[list[_Message], list[int]]:
    """Return the control messages in the kernel's order, and the descriptors of those that it would not have made."""
    groups = [group for group in arrived.groups if group]
    if rules.merged and groups:
        groups = [tuple(index for group in groups for index in group)]
    hidden: list[int] = []
    rights: list[_Message] = []
    for group in groups:
        payload: bytes | tuple[int, ...] = group
        if arrived.peek and rules.peek_zeroes:
            payload = bytes(INT * len(group))
            hidden += group
        rights.append(_Message(SOL_SOCKET, SCM_RIGHTS, payload))
    others: list[list[_Message]] = []
    for part in _split(arrived.others):
        known = [one for one in part if one.level != SOL_SOCKET or one.type not in rules.withheld]
        hidden += [one.descriptor for one in part if one not in known and one.descriptor is not None]
        others.append([_other(one) for one in known])
    return [*others[0], *rights, *others[1]], hidden


def _other(one: Other) -> _Message:
    if one.descriptor is None:
        return _Message(one.level, one.type, one.data)
    return _Message(one.level, one.type, (one.descriptor,), single=True)


def _space(rules: Rules, length: int) -> int:
    """CMSG_ALIGN of a whole message."""
    return -(-length // rules.align) * rules.align


def _write_descriptors(buffer: _Buffer, messages: Iterable[_Message]) -> None:
    """Write as Linux does. Where it cannot write, no error comes of it: what would have been there is lost."""
    for message in messages:
        writer = _put_single if message.single else _put_other if isinstance(message.payload, bytes) else _put_rights
        writer(buffer, message)


def _put_rights(buffer: _Buffer, message: _Message) -> None:
    """scm_detach_fds: as many as have room and a number."""
    indices = message.indices
    count = min(max(0, buffer.left - HEADER) // INT, len(indices), buffer.free) if buffer.asked.writable else 0
    if count < len(indices):
        buffer.flag()
    if count:
        written = HEADER + INT * count
        buffer.free -= count
        buffer.put(message, indices[:count], written, min(_space(buffer.rules, written), buffer.left))
    buffer.lose(indices[count:])


def _put_other(buffer: _Buffer, message: _Message) -> None:
    """put_cmsg: as many bytes as have room, if the header has."""
    written = min(message.full, buffer.left)
    if written < message.full:
        buffer.flag()
    if written >= HEADER and buffer.asked.writable:
        payload = message.payload[: written - HEADER]
        buffer.put(message, payload, written, min(_space(buffer.rules, message.full), buffer.left))


def _put_single(buffer: _Buffer, message: _Message) -> None:
    """scm_pidfd_recv: whole or not at all; without a free number the error's stands there instead."""
    if buffer.left < message.full:
        buffer.flag()
        buffer.dropped += message.indices
        return
    if not buffer.asked.writable:
        buffer.dropped += message.indices
        return
    payload: bytes | tuple[int, ...] = message.indices
    if buffer.free:
        buffer.free -= 1
    else:
        payload = struct.pack("=i", -EMFILE)
        buffer.dropped += message.indices
    buffer.put(message, payload, message.full, min(_space(buffer.rules, message.full), buffer.left))


def _write_bytes(buffer: _Buffer, messages: Iterable[_Message]) -> None:
    """Copy one message behind the other until the room ends, wherever that is."""
    for whole in messages:
        message, unnumbered = _numbered(whole, buffer.free)
        if buffer.left < message.full or unnumbered:
            buffer.flag()
        size = min(_space(buffer.rules, message.full), buffer.left)
        shown = max(0, size - HEADER) // INT
        if size:
            visible = -(-max(0, size - HEADER) // INT)
            payload = message.payload if isinstance(message.payload, bytes) else message.payload[:visible]
            buffer.put(message, payload, min(message.full, size), size)
        buffer.free -= len(message.indices[:shown])
        buffer.lose((*message.indices[shown:], *unnumbered))


def _numbered(message: _Message, free: int) -> tuple[_Message, tuple[int, ...]]:
    """Return ``message`` with the descriptors that there are numbers for, and the others."""
    if isinstance(message.payload, bytes) or len(message.payload) <= free:
        return message, ()
    return replace(message, payload=message.payload[:free]), message.payload[free:]


def _write_whole(buffer: _Buffer, messages: Iterable[_Message]) -> None:
    """Copy messages with their padding as long as the next one fits; none of the others."""
    fits = True
    for message in messages:
        size = _space(buffer.rules, message.full)
        fits = fits and size <= buffer.left and len(message.indices) <= buffer.free
        if fits:
            buffer.free -= len(message.indices)
            buffer.put(message, message.payload, message.full, size)
        else:
            buffer.flag()
            buffer.lose(message.indices)


_WRITERS = {Cut.DESCRIPTORS: _write_descriptors, Cut.BYTES: _write_bytes, Cut.WHOLE: _write_whole}
