"""Messages with descriptors over AF_UNIX sockets: `sendmsg` and `recvmsg`, the lowest of the reference's three layers.

The module stands on `ownership` and `control`: copy the three, they import nothing but the standard library (Python
3.11 or later).
What it adds to `socket.socket.sendmsg` and `socket.socket.recvmsg` is ownership and the promise that nothing is lost
unseen:

- a received descriptor is a `Descriptor`, which closes itself; one that the caller never gets is closed here;
- it is close-on-exec from its first instant (MSG_CMSG_CLOEXEC), unless the caller asks for an inheritable one;
- room for n descriptors means at most n, also when n is odd and also beside other control messages;
- descriptors that did not fit, or found no free number, are an error or a flag (`Truncation`), never silence;
- what the kernel would swallow without a sign (descriptors with no data on a stream, descriptors on a socket that is
  not AF_UNIX) is refused before it is sent.

An interrupted call is retried by Python (PEP 475). A socket's timeout and O_NONBLOCK act as they do in `socket`.
Every error is an OSError with its errno; arguments of a wrong type are a TypeError.
"""

from __future__ import annotations

import array
import contextlib
import enum
import errno
import fcntl
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from .control import SCM_PIDFD, ControlMessage, Decoded, pidfd_number
from .control import numbers as _numbers
from .ownership import BadDescriptorError, Descriptor, HasFileno, PassingError, descriptor_number

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = [
    "SCM_MAX_FD",
    "SCM_PIDFD",
    "Address",
    "BadDescriptorError",
    "ControlMessage",
    "Descriptor",
    "DescriptorsLostError",
    "HasFileno",
    "MalformedControlError",
    "Message",
    "NoDataError",
    "PassingError",
    "TooManyDescriptorsError",
    "Truncation",
    "UnsupportedSocketError",
    "descriptor_number",
    "recvmsg",
    "recvmsg_into",
    "sendmsg",
]

SCM_MAX_FD: Final = 253
"""The most descriptors that one message carries (Linux, unix(7)); the sum over all its control messages."""

Address: TypeAlias = object
"""A socket address as the socket module has it: a path, an abstract name, None, or a tuple for other families."""

Captured: TypeAlias = tuple[int, Any, int, Address]
"""What recvmsg_into of the socket module returns: length, control messages, msg_flags and address.

Another way to the kernel may have the control messages in another form."""

_INT_SIZE: Final = array.array("i").itemsize
_MSG_CTRUNC: Final = int(socket.MSG_CTRUNC)
_CLOEXEC: Final = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))
_NOSIGNAL: Final = int(getattr(socket, "MSG_NOSIGNAL", 0))
_LINUX: Final = hasattr(socket, "SO_PASSCRED")

# The calls as they are in C, so that a program that puts something else on socket.socket does not change this module.
_socket_sendmsg = socket.socket.sendmsg
_socket_recvmsg_into = socket.socket.recvmsg_into


class Truncation(enum.Enum):
    """What `recvmsg` does when descriptors that were sent did not all arrive (MSG_CTRUNC)."""

    RAISE = "raise"
    """Close every descriptor that came and raise `DescriptorsLostError`, which carries the data and the flags."""
    KEEP = "keep"
    """Hand over what came; `Message.descriptors_lost` tells."""


class TooManyDescriptorsError(PassingError):
    """More descriptors than one message carries (EINVAL)."""


class NoDataError(PassingError):
    """Descriptors without a byte of data on a stream, where the kernel drops them without a sign (EINVAL)."""


class UnsupportedSocketError(PassingError):
    """Descriptors for a socket that is not AF_UNIX, where the kernel drops them without a sign (EOPNOTSUPP)."""


class DescriptorsLostError(PassingError):
    """Some of the descriptors of a received message did not arrive; those that did are closed.

    `message` is everything else that came. `errno` is EMFILE when fewer arrived than there was room for (the process
    is at its limit of open files, or a security module refused one), ENOBUFS when the room was too small.
    """

    def __init__(self, number: int, text: str, message: Message) -> None:
        super().__init__(number, text)
        self.message = message

    @property
    def data(self) -> bytes:
        """The data of the message, which has left the socket's queue (unless it was peeked at)."""
        return self.message.data

    @property
    def flags(self) -> int:
        """msg_flags of the message, MSG_CTRUNC among them."""
        return self.message.flags


class MalformedControlError(DescriptorsLostError):
    """The control data could not be read to its end (EBADMSG); the descriptors that could be read are closed.

    Only a parser of its own finds that (`libcmessage`); the socket module's leaves such data out in silence.
    """


@dataclass(frozen=True, slots=True)
class Message:
    """What one `recvmsg` brought. A context manager that closes the descriptors which nobody has detached.

    `buffers` is the data, one entry per size asked for, empty where nothing was left for it (and () from
    `recvmsg_into`). `length` is what recvmsg(2) returned: with the flag MSG_TRUNC a datagram's true length.
    `descriptors` are owned, in the sender's order. `pidfd` is the owned pidfd of SO_PASSPIDFD. `control` is the list of
    all control messages as they came, for looking at: numbers in it belong to the owners above or are closed.
    `flags` is msg_flags, without MSG_CMSG_CLOEXEC, which Linux echoes, and with MSG_CTRUNC also when this module closed
    descriptors beyond the room. `malformed` says why control data could not be read to its end, where somebody found out.
    """

    length: int
    buffers: tuple[bytes, ...] = ()
    descriptors: tuple[Descriptor, ...] = ()
    pidfd: Descriptor | None = None
    control: tuple[ControlMessage, ...] = ()
    flags: int = 0
    address: Address = None
    malformed: str | None = None

    @property
    def data(self) -> bytes:
        """All the data that came, in one piece."""
        return self.buffers[0] if len(self.buffers) == 1 else b"".join(self.buffers)

    @property
    def ancillary(self) -> tuple[ControlMessage, ...]:
        """The control messages that are no SCM_RIGHTS, nor a pidfd that is owned."""
        return tuple(item for item in self.control if not item.is_rights and not _holds_pidfd(item))

    @property
    def descriptors_lost(self) -> bool:
        """Whether control data was cut (MSG_CTRUNC): descriptors, as far as the kernel tells, did not arrive."""
        return bool(self.flags & _MSG_CTRUNC)

    @property
    def data_lost(self) -> bool:
        """Whether the end of a datagram was cut off (MSG_TRUNC)."""
        return bool(self.flags & int(socket.MSG_TRUNC))

    def close(self) -> None:
        """Close every descriptor that is still owned here, the pidfd included."""
        _close_all(self.descriptors if self.pidfd is None else (*self.descriptors, self.pidfd))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sendmsg(
    sock: socket.socket,
    buffers: Iterable[ReadableBuffer],
    descriptors: Iterable[int | HasFileno] = (),
    ancillary: Iterable[ControlMessage | tuple[int, int, ReadableBuffer]] = (),
    flags: int = 0,
    address: Address = None,
) -> int:
    """Send one message and return the number of bytes of data that the kernel took.

    On a stream that number can be less than was given (a non-blocking socket, a timeout, a signal). The descriptors
    have then gone with the first byte: send the rest of the data without them. When the call raises, nothing was sent,
    neither data nor descriptors. They stay the caller's, who may close them as soon as the call returns.

    `ancillary` is sent as it is, behind the descriptors: any level and type, SCM_RIGHTS as bytes included. MSG_NOSIGNAL
    is always set where it exists. More than 1024 buffers are EMSGSIZE.

    Raises `TooManyDescriptorsError`, `BadDescriptorError`, `NoDataError`, `UnsupportedSocketError` before anything is
    sent, and OSError as sendmsg(2) does. Source: sendmsg(2), unix(7), cmsg(3).
    """
    return send_by(_socket_sendmsg, sock, buffers, descriptors, ancillary, flags, address)


def send_by(
    call: Callable[..., int],
    sock: socket.socket,
    buffers: Iterable[ReadableBuffer],
    descriptors: Iterable[int | HasFileno],
    ancillary: Iterable[ControlMessage | tuple[int, int, ReadableBuffer]],
    flags: int,
    address: Address,
) -> int:
    """`sendmsg` by another `call`, which has the parameters and the result of `socket.socket.sendmsg`."""
    if isinstance(buffers, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"buffers is a list of buffers, not one {type(buffers).__name__}")
    data = list(buffers)
    sources = list(descriptors)  # kept until the call is over, so that an object's number stays open
    numbers = [descriptor_number(source) for source in sources]
    if len(numbers) > SCM_MAX_FD:
        raise TooManyDescriptorsError(
            errno.EINVAL, f"{len(numbers)} descriptors in one message, at most {SCM_MAX_FD}: send them in several"
        )
    control = [_control_tuple(item) for item in ancillary]
    if numbers:
        control.insert(0, (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", numbers).tobytes()))
    if any(
        level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS and _size(item) >= _INT_SIZE
        for level, kind, item in control
    ):
        _refuse_silent_loss(sock, data)
    return call(sock, data, control, flags | _NOSIGNAL, address)


def recvmsg(
    sock: socket.socket,
    sizes: int | Sequence[int],
    room: int | None = 0,
    *,
    control: int | None = None,
    flags: int = 0,
    truncation: Truncation = Truncation.RAISE,
    inheritable: bool = False,
) -> Message:
    """Receive one message: data into buffers of `sizes` bytes each, and at most `room` descriptors.

    `room` None sets no limit of its own. `control` is msg_controllen in bytes, for who wants to set it; without it, it
    is chosen so that `room` descriptors fit exactly, and the control messages beside them which the socket was told to
    deliver (SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD, timestamps) fit too. SO_INQ cannot be asked for: who sets it gives
    `control`. Where the kernel can't be told exactly, what it installs beyond `room` is closed here and counts as lost.

    An empty message is the end of the stream, or an empty datagram: only a descriptor tells those two apart.
    The descriptors are close-on-exec unless `inheritable`; atomically where the system has MSG_CMSG_CLOEXEC.

    Raises `DescriptorsLostError` as `truncation` says, ValueError for a negative size, room or control, OSError as
    recvmsg(2) does, and MemoryError; no descriptor stays behind in any of these. Source: recvmsg(2), unix(7), cmsg(3).
    """
    buffers = [bytearray(size) for size in ((sizes,) if isinstance(sizes, int) else sizes)]
    return receive_by(
        _socket_recvmsg_into, _parsed, sock, buffers, buffers, room, control, flags, truncation, inheritable=inheritable
    )


def recvmsg_into(
    sock: socket.socket,
    buffers: Iterable[WriteableBuffer],
    room: int | None = 0,
    *,
    control: int | None = None,
    flags: int = 0,
    truncation: Truncation = Truncation.RAISE,
    inheritable: bool = False,
) -> Message:
    """Receive one message into the caller's `buffers`; all else as `recvmsg`. `Message.length` says how much came."""
    return receive_by(
        _socket_recvmsg_into, _parsed, sock, buffers, (), room, control, flags, truncation, inheritable=inheritable
    )


def receive_by(
    call: Callable[..., Captured],
    decode: Callable[[Any], Decoded],
    sock: socket.socket,
    buffers: Iterable[WriteableBuffer],
    copied: Sequence[bytearray],
    room: int | None,
    control: int | None,
    flags: int,
    truncation: Truncation,
    *,
    inheritable: bool,
    verify: bool = not _LINUX,
) -> Message:
    """`recvmsg` by another `call`, which has the parameters of `socket.socket.recvmsg_into`, and returns `Captured`.

    `decode` reads its control messages. `copied`: the buffers that the message shows. `verify`: look whether what came
    is close-on-exec, and see to it, because the system may have ignored MSG_CMSG_CLOEXEC.
    """
    if room is not None and room < 0:
        raise ValueError(f"room is a number of descriptors, not {room}")
    if control is None:
        control = _control_size(sock, SCM_MAX_FD if room is None else room)
    if not inheritable:
        flags |= _CLOEXEC
    # From here on nothing that the kernel installs may be lost, whatever is raised. The result travels from the C call
    # into the list without a step of the interpreter between them, at which a signal's exception could drop it.
    captured: list[Captured] = []
    slots: list[Descriptor] = []
    try:
        captured.extend(map(call, (sock,), (buffers,), (control,), (flags,)))
        length, raw, out_flags, address = captured[0]
        items, malformed, cut = decode(raw)
        rights, pidfds, refused = _numbers(items)
        _own(rights + pidfds, slots, inheritable=inheritable, verify=verify)
        captured.clear()
        taken = len(rights) if room is None else min(room, len(rights))
        wanted = slots[:taken], slots[len(rights)] if pidfds else None
        excess = slots[taken : len(rights)] + slots[len(rights) + 1 :]
        if refused or excess or cut or malformed:
            out_flags |= _MSG_CTRUNC
        if lost := bool(out_flags & _MSG_CTRUNC) and truncation is Truncation.RAISE:
            wanted, excess = ((), None), slots
        _close_all(excess)
        content = _filled(copied, length)
        message = Message(
            length, content, tuple(wanted[0]), wanted[1], items, out_flags & ~_CLOEXEC, address, malformed
        )
    except BaseException:
        _abandon(captured, slots, decode)
        raise
    if lost:
        raise _lost(message, len(rights), room)
    return message


def _parsed(raw: Iterable[tuple[int, int, bytes]]) -> Decoded:
    """Return control messages that the socket module has read."""
    return Decoded(tuple([ControlMessage(*item) for item in raw]))


def _own(numbers: Sequence[int], slots: list[Descriptor], *, inheritable: bool, verify: bool) -> None:
    """Fill `slots` with owners of `numbers`. All that may fail comes before a number is owned, or after all are."""
    slots.extend([Descriptor.vacant() for _ in numbers])
    for slot, number in zip(slots, numbers, strict=True):
        slot.adopt(number)
    if not inheritable and (verify or not _CLOEXEC):
        for number in numbers:
            if not (bits := fcntl.fcntl(number, fcntl.F_GETFD)) & fcntl.FD_CLOEXEC:
                fcntl.fcntl(number, fcntl.F_SETFD, bits | fcntl.FD_CLOEXEC)


def _lost(message: Message, came: int, room: int | None) -> DescriptorsLostError:
    """Return the error that says what was lost, and why as far as that can be known."""
    if message.malformed:
        text = f"control data is malformed: {message.malformed}; the {came} descriptors that could be read are closed"
        return MalformedControlError(errno.EBADMSG, text, message)
    if room is not None and came < room:
        number, why = errno.EMFILE, "no free descriptor number was left, or one was refused"
    else:
        number, why = errno.ENOBUFS, "the room was too small"
    where = "any number of" if room is None else room
    text = f"descriptors were lost (MSG_CTRUNC): room for {where}, {came} came and are closed; {why}"
    return DescriptorsLostError(number, text, message)


def _control_tuple(item: ControlMessage | tuple[int, int, ReadableBuffer]) -> tuple[int, int, ReadableBuffer]:
    if isinstance(item, ControlMessage):
        return (item.level, item.type, item.data)
    if not isinstance(item, tuple) or len(item) != 3:  # pyright: ignore[reportUnnecessaryIsInstance, reportUnnecessaryComparison] - callers without types
        raise TypeError(f"a control message is a ControlMessage or a tuple (level, type, data), not {item!r}")
    return item


def _size(data: ReadableBuffer) -> int:
    with memoryview(data) as view:
        return view.nbytes


def _refuse_silent_loss(sock: socket.socket, data: Sequence[ReadableBuffer]) -> None:
    """Raise where the kernel would take descriptors and drop them without a sign."""
    if sock.family != socket.AF_UNIX:
        raise UnsupportedSocketError(
            errno.EOPNOTSUPP, f"descriptors pass over AF_UNIX sockets only, not over {sock.family!s}"
        )
    if sock.type == socket.SOCK_STREAM and not any(map(_size, data)):
        raise NoDataError(errno.EINVAL, "descriptors on a stream need at least one byte of data to travel with")


# What a socket delivers beside the descriptors when told to (Linux): the option, and the control data's largest size.
# (SO_PASSSEC's label is of no fixed size: this is what common security modules use.) Numbers that the socket module
# lacks are those of asm-generic/socket.h; where an architecture has others the kernel answers "not set" or an error.
_FRONT: Final = ((16, 12), (34, 256))  # SO_PASSCRED, SO_PASSSEC
_FRONT_TIMES: Final = ((29, 16), (35, 16), (63, 16), (64, 16))  # SO_TIMESTAMP, SO_TIMESTAMPNS; the same with 64 bits
_FRONT_TIMING: Final = ((37, 48), (65, 48))  # SO_TIMESTAMPING, old and new: beside one of the former only
_BEHIND: Final = ((76, 4),)  # SO_PASSPIDFD


def _control_size(sock: socket.socket, room: int) -> int:
    """Return the msg_controllen with which `room` descriptors fit beside what else this socket delivers.

    Linux puts descriptors into whatever space is left: cap = (space - CMSG_LEN(0)) // 4. The space behind the last one
    is therefore left unpadded (CMSG_LEN), or an odd room would let in one more.
    """
    if not _LINUX:
        return room * socket.CMSG_SPACE(_INT_SIZE)  # these systems keep the control messages of a message apart
    if sock.family != socket.AF_UNIX:
        return 0
    front = _options_space(sock, _FRONT)
    if sock.type != socket.SOCK_STREAM and (times := _options_space(sock, _FRONT_TIMES)):
        front += times + _options_space(sock, _FRONT_TIMING)
    behind = _options_space(sock, _BEHIND)
    if behind:
        return front + (socket.CMSG_SPACE(room * _INT_SIZE) if room else 0) + behind
    return front + (socket.CMSG_LEN(room * _INT_SIZE) if room else 0)


def _options_space(sock: socket.socket, options: Sequence[tuple[int, int]]) -> int:
    """Return the control space that the options which are set need."""
    space = 0
    for option, size in options:
        # Not known to this kernel, or not a usable socket: then recvmsg itself says what is wrong.
        with contextlib.suppress(OSError):
            if sock.getsockopt(socket.SOL_SOCKET, option):
                space += socket.CMSG_SPACE(size)
    return space


def _holds_pidfd(item: ControlMessage) -> bool:
    number = pidfd_number(item)
    return number is not None and number >= 0


def _filled(buffers: Sequence[bytearray], length: int) -> tuple[bytes, ...]:
    """Return what `length` received bytes put into the buffers, in order."""
    result: list[bytes] = []
    for buffer in buffers:
        result.append(bytes(memoryview(buffer)[: max(length, 0)]))
        length -= len(buffer)
    return tuple(result)


def _close_all(descriptors: Iterable[Descriptor]) -> None:
    """Close every one; that one of them reports an error keeps none of the others open."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            descriptor.close()


def _abandon(captured: Sequence[Captured], slots: Sequence[Descriptor], decode: Callable[[Any], Decoded]) -> None:
    """Close what a receive that failed half-way brought: each number once, owned already or not yet."""
    owned = {slot.fileno() for slot in slots if not slot.closed}
    _close_all(slots)
    for _, raw, _, _ in captured:
        rights, pidfds, _ = _numbers(decode(raw).messages)
        for number in rights + pidfds:
            if number not in owned:
                with contextlib.suppress(OSError):
                    os.close(number)
