"""What must be in the queue of each socket, kept while a program runs, and what a receive therefore has to bring.

Only what is certain is predicted. What an urgent byte, an option, a forged header or a flag of odd meaning leaves behind is not:
a queue that one of them concerns is *open to doubt*, and nothing is said of its data any more. The rules are those of
`fdspec.conformance.model`, of which these are the plainest part; they are written for speed.
"""

from __future__ import annotations

import contextlib
import os
import socket
from select import POLLIN, poll

from ...conformance.model.operations import Kind

KINDS = {
    Kind.STREAM: socket.SOCK_STREAM,
    Kind.DGRAM: socket.SOCK_DGRAM,
    Kind.SEQPACKET: socket.SOCK_SEQPACKET,
}
WHOLE = 16384
"""Bytes of a stream send that are certain to stay one part of the queue."""
SURE = 32768
"""Bytes in a queue with which a send is certain to be taken."""
FEW = 8
"""Messages in a queue with which a send is certain to be taken."""

Message = tuple[bytes, tuple[str, ...]]
"""What waits: data, and the labels of its descriptors."""


def identity_of(fd: int) -> tuple[int, int]:
    """Return what tells a file from all others that are open now. Raises OSError where the number is not open."""
    status = os.fstat(fd)
    return status.st_ino, status.st_dev


class End:
    """One end of a connection, and what waits there to be received."""

    __slots__ = ("closed", "doubtful", "fd", "identity", "inbox", "kind", "label", "loose", "peer", "sock", "waiting")
    peer: End

    def __init__(self, sock: socket.socket, kind: Kind) -> None:
        sock.setblocking(False)
        self.sock = sock
        self.fd = sock.fileno()
        self.identity = identity_of(self.fd)
        self.kind = kind
        self.label = ""
        """Its name in the program that uses it now."""
        self.inbox: list[Message] = []
        self.waiting = 0
        """Bytes in the inbox."""
        self.doubtful = False
        """Nothing is known of what waits here."""
        self.loose = False
        """An end of the connection was closed or shut: an end of file or an error may come at any time."""
        self.closed = False

    def queue(self, data: bytes, fds: tuple[str, ...]) -> None:
        """Take note of a message that the peer has sent."""
        if self.kind is Kind.STREAM:
            if not data:
                return
            if len(data) > WHOLE:
                self.doubtful = True
        self.inbox.append((data, fds))
        self.waiting += len(data)

    @property
    def sure(self) -> bool:
        """Whether another send of moderate size is certain to be taken."""
        return not (self.loose or self.doubtful) and len(self.inbox) < FEW and self.waiting < SURE

    def next(self, size: int, *, keep: bool) -> tuple[bytes, tuple[str, ...], bool] | None:
        """Return data and descriptors of the next receive of ``size`` bytes, and whether data is cut off; None for nothing.

        ``keep``: the receive only peeks.
        """
        inbox = self.inbox
        if not inbox:
            return None
        data, fds = inbox[0]
        length = len(data)
        if self.kind is not Kind.STREAM:
            if not keep:
                del inbox[0]
                self.waiting -= length
            return data[:size], fds, length > size
        if keep:
            return self._peeked(size)
        if length == size or (fds and length < size):
            del inbox[0]
            self.waiting -= length
            return data, fds, False
        if length > size:
            inbox[0] = (data[size:], ())
            self.waiting -= size
            return data[:size], fds, False
        return self._glued(size)

    def _glued(self, size: int) -> tuple[bytes, tuple[str, ...], bool]:
        """Return what a receive brings that goes over the end of a first part without descriptors."""
        inbox, found, whole = self.inbox, b"", 0
        came: tuple[str, ...] = ()
        rest: list[Message] = []
        while not (rest or came) and whole < len(inbox) and len(found) < size:
            data, came = inbox[whole]
            left = size - len(found)
            found += data[:left]
            if len(data) > left:
                rest = [(data[left:], ())]
            else:
                whole += 1
        inbox[: whole + len(rest)] = rest
        self.waiting -= len(found)
        return found, came, False

    def _peeked(self, size: int) -> tuple[bytes, tuple[str, ...], bool]:
        """Return what a peek at a stream brings: it goes on behind the last byte asked for, to the next descriptors."""
        found, fds = b"", ()
        for data, fds in self.inbox:
            found += data[: size - len(found)]
            if fds:
                break
        return found, fds, False


class Link:
    """A connection of two ends in this process, and how to see that nothing is left in it."""

    __slots__ = ("a", "b", "clean", "kind", "poll")

    def __init__(self, kind: Kind) -> None:
        a, b = socket.socketpair(socket.AF_UNIX, KINDS[kind])
        self.kind = kind
        self.a, self.b = End(a, kind), End(b, kind)
        self.a.peer, self.b.peer = self.b, self.a
        self.clean = False
        """Nothing is left in it, so that another program may use it."""
        self.poll = poll()
        self.poll.register(a, POLLIN)
        self.poll.register(b, POLLIN)

    def close(self) -> None:
        """Close what is open of it."""
        for end in (self.a, self.b):
            if end.closed:
                end.sock.detach()
            else:
                end.sock.close()


class Pipe:
    """A pipe whose writing end is an object of a program: released is it when the reading end hangs up."""

    __slots__ = ("identity", "poll", "reader", "writer")

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.identity = identity_of(self.writer)
        self.poll = poll()
        self.poll.register(self.reader, POLLIN)

    def close(self, *, writer: bool) -> None:
        """Close it, the writing end where nobody has done so."""
        os.close(self.reader)
        if writer:
            with contextlib.suppress(OSError):
                os.close(self.writer)
