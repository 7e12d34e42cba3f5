"""The two functions that the socket module's documentation gives as an example of sendmsg() and recvmsg().

`send_fds(sock, msg, fds)` and `recv_fds(sock, msglen, maxfds)`, here with room that is exact and with close-on-exec.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..descriptors import recv_fds as _recv_fds
from ..message import HasFileno, sendmsg

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["recv_fds", "send_fds"]


def send_fds(sock: socket.socket, msg: ReadableBuffer, fds: Iterable[int | HasFileno]) -> int:
    """Send one buffer and the descriptors; return the number of bytes sent."""
    return sendmsg(sock, [msg], fds)


def recv_fds(sock: socket.socket, msglen: int, maxfds: int) -> tuple[bytes, list[int]]:
    """Receive up to `msglen` bytes and `maxfds` descriptors; return the data and the numbers, which are the caller's.

    The shape has no place for msg_flags: use `descriptors.recv_fds` to learn of descriptors that did not fit.
    """
    data, numbers, _, _ = _recv_fds(sock, msglen, maxfds)
    return data, numbers
