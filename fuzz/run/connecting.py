"""Connections of many programs at once, made in one request."""

from __future__ import annotations

import os
import socket
import struct
from typing import Protocol, cast

from msgspec import UNSET

from ...conformance.model.operations import Close, Kind
from ...impls.protocol import messages as ask
from .lane import Lane
from .requests import TYPES
from .shown import Shown
from .stand import KINDS, Stand
from .swift import Step, got

_UCRED = struct.Struct("iii")


class Astray(Exception):
    """Something in a batch is not as it has to be where all goes well."""


class Home(Protocol):
    """What a connection needs of the batch that it is made for."""

    stand: Stand

    def opened(self, lane: Lane, name: str, fd: int) -> None:
        """Take account of a number that the testee has opened. Raises Astray where nothing new is there."""
        ...


class Connecting:
    """A connection on its way: of the testee's ``a`` to the peer's ``b``, or, without ``b``, to the harness as an object."""

    def __init__(
        self, home: Home, lane: Lane, kind: Kind, a: str, b: str, listener: tuple[int, str] | None = None
    ) -> None:
        self.home, self.lane, self.kind, self.a, self.b = home, lane, kind, a, b
        self.listener = listener
        self.at = 0
        self.sock: socket.SocketType | None = None
        self.paths: tuple[str, ...] = ()

    def prepare(self, steps: list[ask.Request]) -> Connecting:
        """Do what comes first, put what the testee is asked for at the end of ``steps``, and return this."""
        self.at = len(steps)
        stand, kind = self.home.stand, self.kind
        if kind is Kind.DGRAM:
            ours, theirs = self.paths = stand.path("peer"), stand.path("testee")
            self.sock = socket.SocketType(socket.AF_UNIX, KINDS[kind])
            self.lane.peer.adopt(self.b, self.sock)
            self.sock.bind(ours)
            steps.append(ask.Connect(ours, TYPES[kind], theirs))
        elif self.listener is not None:
            fd, path = self.listener
            self.sock = socket.SocketType(socket.AF_UNIX, KINDS[kind])
            self.lane.peer.adopt(self.b, self.sock)
            self.sock.connect(path)
            steps.append(ask.Accept(fd))
        else:
            steps.append(ask.Connect(stand.listener(kind)[1], TYPES[kind]))
        steps.append(ask.Setopt(f"${self.at}.fd", "fcntl", "O_NONBLOCK", 1))
        return self

    def done(self, replies: list[Step]) -> Shown:
        """Take the connection that was made, or the error. Raises Astray for anything else."""
        home, lane = self.home, self.lane
        if replies[self.at].error is not UNSET:
            return self._failed(replies[self.at])
        fd = fd_of(replies[self.at])
        if replies[self.at + 1].result is UNSET:
            raise Astray
        home.opened(lane, self.a, fd)
        lane.sockets.add(fd)
        if self.kind is Kind.DGRAM and self.sock is not None:
            self.sock.connect(self.paths[1])
            self._unlink(self.paths)
        elif self.sock is None:
            sock = self._accepted()
            if self.b:
                lane.peer.adopt(self.b, sock)
            else:
                lane.things.own(sock.detach())  # nothing is ever said there
        return Shown()

    def _failed(self, reply: Step) -> Shown:
        if self.b and self.sock is not None:
            self.lane.peer.perform(Close(self.b))
        self._unlink(self.paths[:1])
        return got(reply, None).shown

    @staticmethod
    def _unlink(paths: tuple[str, ...]) -> None:
        for path in paths:
            os.unlink(path)  # noqa: PTH108 - hot path; the names have served

    def _accepted(self) -> socket.SocketType:
        """Return the connection that is next: they come in the order in which they were made."""
        stand = self.home.stand
        try:
            # accept() would make a larger object of the number
            number = cast("int", stand.listener(self.kind)[0]._accept()[0])  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue, reportUnknownArgumentType] # noqa: SLF001 - see above
        except BlockingIOError:
            raise Astray from None
        sock = socket.SocketType(socket.AF_UNIX, KINDS[self.kind], 0, number)
        pid, _, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if pid != stand.testee.pid:
            sock.close()
            raise Astray
        return sock


def fd_of(reply: Step) -> int:
    """Return the new number in a reply. Raises Astray where there is none."""
    if reply.result is UNSET or reply.result.fd < 0:
        raise Astray
    return reply.result.fd
