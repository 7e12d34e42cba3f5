"""Messages with descriptors as in `message`, on a parser of our own: `sendmsg`, `recvmsg`, `recvmsg_into`, `send_all`.

Control data is written and read by `control`, and the system calls are made by `libc`; neither CPython's C code for
them nor its idea of a control buffer takes part. The promises and the types are those of `message`, and three more:

- control data that cannot be read to its end is told: `MalformedControlError`, or `Message.malformed` where truncation
  is kept. What could be read of it is closed, or handed over;
- a received descriptor is looked at, and made close-on-exec where it is not: a system that does not know
  MSG_CMSG_CLOEXEC ignores it. That is one fcntl(2) for each; `verify` False leaves it out;
- `send_all` goes on after a short write.

Addresses are those of AF_UNIX.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from . import libc
from .control import ControlMessage, decode, encode
from .libc import UnfinishedSendError
from .message import (
    Address,
    Descriptor,
    DescriptorsLostError,
    HasFileno,
    MalformedControlError,
    Message,
    Truncation,
    UnsupportedSocketError,
    receive_by,
    send_by,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = [
    "Address",
    "ControlMessage",
    "Descriptor",
    "DescriptorsLostError",
    "HasFileno",
    "MalformedControlError",
    "Message",
    "Truncation",
    "UnfinishedSendError",
    "recvmsg",
    "recvmsg_into",
    "send_all",
    "sendmsg",
]


def sendmsg(
    sock: socket.socket,
    buffers: Iterable[ReadableBuffer],
    descriptors: Iterable[int | HasFileno] = (),
    ancillary: Iterable[ControlMessage | tuple[int, int, ReadableBuffer]] = (),
    flags: int = 0,
    address: str | bytes | None = None,
) -> int:
    """Send one message, as `message.sendmsg` does."""
    return send_by(_send_once, sock, buffers, descriptors, ancillary, flags, address)


def send_all(
    sock: socket.socket,
    buffers: Iterable[ReadableBuffer],
    descriptors: Iterable[int | HasFileno] = (),
    ancillary: Iterable[ControlMessage | tuple[int, int, ReadableBuffer]] = (),
    flags: int = 0,
) -> int:
    """Send all the data on a stream, however many calls it takes, and the descriptors with its first byte.

    The result, and what is raised when it stops half-way, are those of `libc.send_all`. Raises `UnsupportedSocketError`
    for sockets that are no streams, and what `sendmsg` raises before anything is sent.
    """
    if sock.type != socket.SOCK_STREAM:
        raise UnsupportedSocketError(
            errno.EOPNOTSUPP, f"send_all goes on with the rest on streams only, not on {sock!r}"
        )
    return send_by(_send_all, sock, buffers, descriptors, ancillary, flags, None)


def recvmsg(
    sock: socket.socket,
    sizes: int | Sequence[int],
    room: int | None = 0,
    *,
    control: int | None = None,
    flags: int = 0,
    truncation: Truncation = Truncation.RAISE,
    inheritable: bool = False,
    verify: bool = True,
) -> Message:
    """Receive one message, as `message.recvmsg` does. Raises `MalformedControlError` beside what that does."""
    buffers = [bytearray(size) for size in ((sizes,) if isinstance(sizes, int) else sizes)]
    return receive_by(
        libc.recvmsg_into,
        decode,
        sock,
        buffers,
        buffers,
        room,
        control,
        flags,
        truncation,
        inheritable=inheritable,
        verify=verify,
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
    verify: bool = True,
) -> Message:
    """Receive one message into the caller's `buffers`; all else as `recvmsg`."""
    return receive_by(
        libc.recvmsg_into,
        decode,
        sock,
        buffers,
        (),
        room,
        control,
        flags,
        truncation,
        inheritable=inheritable,
        verify=verify,
    )


def _send_once(
    sock: socket.socket,
    data: Sequence[ReadableBuffer],
    control: Sequence[tuple[int, int, ReadableBuffer]],
    flags: int,
    address: str | bytes | None,
) -> int:
    return libc.sendmsg(sock, data, encode(control), flags, address)


def _send_all(
    sock: socket.socket,
    data: Sequence[ReadableBuffer],
    control: Sequence[tuple[int, int, ReadableBuffer]],
    flags: int,
    address: None,
) -> int:
    del address  # of a stream it is the peer's
    return libc.send_all(sock, data, encode(control), flags)
