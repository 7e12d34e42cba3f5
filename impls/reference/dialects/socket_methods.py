"""`sendmsg`, `recvmsg`, `recvmsg_into` in the shape of socket.socket's methods, with `send_fds` and `recv_fds` beside.

Each takes the socket first, so that it can be put on a class as a method. Unlike the ancestor's, received descriptors
are close-on-exec, and descriptors that would get lost without a sign are refused (see `message.sendmsg`).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, TypeAlias

from ..descriptors import recv_fds, send_fds
from ..message import Address, Message, Truncation
from ..message import recvmsg as _recvmsg
from ..message import recvmsg_into as _recvmsg_into
from ..message import sendmsg as _sendmsg

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["Ancillary", "recv_fds", "recvmsg", "recvmsg_into", "send_fds", "sendmsg"]

Ancillary: TypeAlias = list[tuple[int, int, bytes]]
"""Control messages as (level, type, data), in the order in which they came."""


def sendmsg(
    sock: socket.socket,
    buffers: Iterable[ReadableBuffer],
    ancdata: Iterable[tuple[int, int, ReadableBuffer]] = (),
    flags: int = 0,
    address: Address = None,
    /,
) -> int:
    """Send the buffers and the control messages; return the number of bytes sent."""
    return _sendmsg(sock, buffers, (), ancdata, flags, address)


def recvmsg(
    sock: socket.socket, bufsize: int, ancbufsize: int = 0, flags: int = 0, /
) -> tuple[bytes, Ancillary, int, Address]:
    """Receive `bufsize` bytes and `ancbufsize` bytes of control data at most: data, ancdata, msg_flags, address."""
    if not isinstance(bufsize, int):  # pyright: ignore[reportUnnecessaryIsInstance] - a method for callers without types
        raise TypeError(f"bufsize is an int, not {type(bufsize).__name__}")
    message = _recvmsg(sock, bufsize, None, control=ancbufsize, flags=flags, truncation=Truncation.KEEP)
    return message.data, handed_over(message), message.flags, message.address


def recvmsg_into(
    sock: socket.socket, buffers: Iterable[WriteableBuffer], ancbufsize: int = 0, flags: int = 0, /
) -> tuple[int, Ancillary, int, Address]:
    """Receive into the buffers; return the number of bytes, ancdata, msg_flags and address."""
    message = _recvmsg_into(sock, buffers, None, control=ancbufsize, flags=flags, truncation=Truncation.KEEP)
    return message.length, handed_over(message), message.flags, message.address


def handed_over(message: Message) -> Ancillary:
    """Return the control messages as they came and give every descriptor in them up to the caller."""
    with message:
        ancillary = [(item.level, item.type, item.data) for item in message.control]
        for descriptor in message.descriptors:
            descriptor.detach()
        if message.pidfd is not None:
            message.pidfd.detach()
    return ancillary
