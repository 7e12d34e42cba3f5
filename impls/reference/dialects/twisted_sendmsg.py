"""The names of twisted.python.sendmsg: `sendmsg`, `recvmsg`, `ReceivedMessage`, `getSocketFamily`, `SCM_RIGHTS`."""

from __future__ import annotations

import socket as _socket
from collections.abc import Iterable
from socket import CMSG_SPACE, SCM_RIGHTS
from typing import TYPE_CHECKING, NamedTuple

from ..message import Truncation
from ..message import recvmsg as _recvmsg
from ..message import sendmsg as _sendmsg
from .socket_methods import Ancillary, handed_over

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["SCM_RIGHTS", "ReceivedMessage", "getSocketFamily", "recvmsg", "sendmsg"]


class ReceivedMessage(NamedTuple):
    """What `recvmsg` returns: the data, the control messages as (level, type, data), msg_flags."""

    data: bytes
    ancillary: Ancillary
    flags: int


def sendmsg(
    socket: _socket.socket,
    data: ReadableBuffer,
    ancillary: Iterable[tuple[int, int, ReadableBuffer]] = (),
    flags: int = 0,
) -> int:
    """Send one buffer and the control messages; return the number of bytes sent."""
    return _sendmsg(socket, [data], (), ancillary, flags)


def recvmsg(
    socket: _socket.socket,
    maxSize: int = 8192,  # noqa: N803 - the ancestor's name
    cmsgSize: int = 4096,  # noqa: N803 - the ancestor's name
    flags: int = 0,
) -> ReceivedMessage:
    """Receive up to `maxSize` bytes of data and control messages with `cmsgSize` bytes of data in one of them."""
    message = _recvmsg(socket, maxSize, None, control=CMSG_SPACE(cmsgSize), flags=flags, truncation=Truncation.KEEP)
    return ReceivedMessage(message.data, handed_over(message), message.flags)


def getSocketFamily(socket: _socket.socket) -> int:  # noqa: N802 - the ancestor's name
    """Return the address family of the socket."""
    return socket.family
