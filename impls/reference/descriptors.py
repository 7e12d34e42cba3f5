"""Descriptors beside plain data: the second of the reference's three layers, for who needs no control messages.

Two families, each as its users know it:

- the calls of Rust's ScmSocket trait: `send_with_fd`, `send_with_fds`, `recv_with_fd`, `recv_with_fds`. They gather
  from and scatter into several buffers of the caller's, hand out owned descriptors, and raise when some did not arrive;
- those of Python's socket module: `send_fds`, `recv_fds`. They speak of plain numbers, and report in msg_flags; their
  flags and address take effect.

Both pass everything on to `message`, whose checks and errors they share.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .message import Address, Descriptor, HasFileno, Truncation, recvmsg, recvmsg_into, sendmsg

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["recv_fds", "recv_with_fd", "recv_with_fds", "send_fds", "send_with_fd", "send_with_fds"]


def send_with_fd(sock: socket.socket, buffers: Iterable[ReadableBuffer], descriptor: int | HasFileno) -> int:
    """Send the buffers' data with one descriptor and return the number of bytes sent. Errors: as `sendmsg`."""
    return sendmsg(sock, buffers, (descriptor,))


def send_with_fds(
    sock: socket.socket, buffers: Iterable[ReadableBuffer], descriptors: Iterable[int | HasFileno]
) -> int:
    """Send the buffers' data with the descriptors, possibly none, and return the number of bytes sent.

    A short count on a stream means that the descriptors have gone: send the rest of the data without them.
    Errors: as `sendmsg`.
    """
    return sendmsg(sock, buffers, descriptors)


def recv_with_fd(sock: socket.socket, buffers: Iterable[WriteableBuffer]) -> tuple[int, Descriptor | None]:
    """Receive into the buffers and return the number of bytes and the descriptor, None if there was none.

    A second descriptor in the message is a `DescriptorsLostError`, and the first one is closed. 0 bytes and None is the
    end of the stream or an empty datagram. Errors: as `recvmsg`.
    """
    message = recvmsg_into(sock, buffers, 1)
    return message.length, message.descriptors[0] if message.descriptors else None


def recv_with_fds(
    sock: socket.socket, buffers: Iterable[WriteableBuffer], room: int
) -> tuple[int, tuple[Descriptor, ...]]:
    """Receive into the buffers and return the number of bytes and the descriptors, at most `room` of them.

    More descriptors in the message are a `DescriptorsLostError`, and those that fitted are closed. Errors: as
    `recvmsg`.
    """
    message = recvmsg_into(sock, buffers, room)
    return message.length, message.descriptors


def send_fds(
    sock: socket.socket,
    buffers: Iterable[ReadableBuffer],
    fds: Iterable[int | HasFileno],
    flags: int = 0,
    address: Address = None,
) -> int:
    """Send the buffers' data and the descriptors; return the number of bytes sent. Errors: as `sendmsg`."""
    return sendmsg(sock, buffers, fds, (), flags, address)


def recv_fds(sock: socket.socket, bufsize: int, maxfds: int, flags: int = 0) -> tuple[bytes, list[int], int, Address]:
    """Receive up to `bufsize` bytes and `maxfds` descriptors: return data, numbers, msg_flags and address.

    The numbers are the caller's to close; they are close-on-exec. MSG_CTRUNC in msg_flags tells that some are missing.
    Errors: as `recvmsg`, but for `DescriptorsLostError`.
    """
    with recvmsg(sock, bufsize, maxfds, flags=flags, truncation=Truncation.KEEP) as message:
        result = (
            message.data,
            [descriptor.fileno() for descriptor in message.descriptors],
            message.flags,
            message.address,
        )
        for descriptor in message.descriptors:
            descriptor.detach()
    return result
