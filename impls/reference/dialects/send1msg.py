"""The names of the C extension twisted.python.sendmsg of Twisted 14: `send1msg`, `recv1msg`, `getsockfam`, SCM_RIGHTS.

They speak of descriptor numbers instead of sockets. The number stays the caller's: what a call needs of a socket object
is made of a duplicate and gone when the call returns (so that a call needs one free descriptor number).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from socket import SCM_RIGHTS
from typing import TYPE_CHECKING, Final

from ..message import Truncation
from ..message import recvmsg as _recvmsg
from ..message import sendmsg as _sendmsg
from .socket_methods import Ancillary, handed_over

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["SCM_CREDENTIALS", "SCM_RIGHTS", "getsockfam", "recv1msg", "send1msg"]

SCM_CREDENTIALS: Final = 2
"""The control message with a sender's credentials (Linux)."""


def send1msg(
    fd: int, data: ReadableBuffer, flags: int = 0, ancillary: list[tuple[int, int, ReadableBuffer]] | None = None
) -> int:
    """Send one buffer and the control messages over the socket with the number `fd`; return the number of bytes sent.

    Raises TypeError when `ancillary` is no list of tuples (int, int, bytes), OSError as sendmsg(2) does.
    """
    if ancillary is None:
        ancillary = []
    _require_ints(fd, flags)
    memoryview(data).release()
    if not isinstance(ancillary, list):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
        raise TypeError(f"send1msg argument 3 expected list, got {type(ancillary).__name__}")
    items = list(ancillary)
    for item in items:
        if not isinstance(item, tuple):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without types
            raise TypeError(f"send1msg argument 3 expected list of tuple, got list containing {type(item).__name__}")
        if len(item) != 3:  # pyright: ignore[reportUnnecessaryComparison] - callers without types
            raise TypeError(f"a control message is (level, type, data), not a tuple of {len(item)}")
        _require_ints(*item[:2])
        memoryview(item[2]).release()
    with _borrowed(fd) as sock:
        return _sendmsg(sock, [data], (), items, flags)


def recv1msg(fd: int, flags: int = 0, maxsize: int = 8192, cmsg_size: int = 4096) -> tuple[bytes, int, Ancillary]:
    """Receive from the socket with the number `fd`: return data, msg_flags and the control messages, in this order.

    `maxsize` counts bytes of data, `cmsg_size` those of a control message's data. Raises OverflowError when the latter
    is too large for a socklen_t, OSError as recvmsg(2) does.
    """
    _require_ints(fd, flags, maxsize, cmsg_size)
    control = socket.CMSG_SPACE(cmsg_size)
    with _borrowed(fd) as sock:
        message = _recvmsg(sock, maxsize, None, control=control, flags=flags, truncation=Truncation.KEEP)
        return message.data, message.flags, handed_over(message)


def getsockfam(fd: int) -> int:
    """Return the address family of the socket with the number `fd`. Raises OSError when it is none."""
    _require_ints(fd)
    with _borrowed(fd) as sock:
        return sock.family


def _require_ints(*values: object) -> None:
    """Raise TypeError before anything else happens, as the ancestor does."""
    for value in values:
        if not isinstance(value, int):
            raise TypeError(f"an integer is required, got {type(value).__name__}")


@contextmanager
def _borrowed(fd: int) -> Generator[socket.socket]:
    """Give a socket object for the number, with the number's own O_NONBLOCK and nothing of the socket changed."""
    number = os.dup(fd)
    try:
        blocking = os.get_blocking(number)
        sock = socket.socket(fileno=number)
        if socket.getdefaulttimeout() is not None:
            # Applied to the new object, and with it O_NONBLOCK to the open file description: the caller's is that too.
            sock.settimeout(None)
            os.set_blocking(number, blocking)
    except BaseException:
        os.close(number)
        raise
    with sock:
        yield sock
