"""Where transports come from: `connect` to a listening AF_UNIX stream socket, `serve` one. Beside `transport`."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from .transport import DESCRIPTOR_LIMIT, UnixTransport

__all__ = ["Server", "connect", "serve"]

_RETRY_DELAY: Final = 0.05  # seconds
_ACCEPT_DELAY: Final = 1.0  # seconds

_log = logging.getLogger(__name__)

_P = TypeVar("_P", bound=asyncio.BaseProtocol)


class Server:
    """A listening AF_UNIX stream socket whose connections become transports. An asynchronous context manager."""

    def __init__(
        self,
        sock: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        *,
        descriptor_limit: int = DESCRIPTOR_LIMIT,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._sock = sock
        self._number = sock.fileno()
        self._factory = factory
        self._descriptor_limit = descriptor_limit
        self.path: str | bytes = sock.getsockname()
        """The address on which it listens."""
        self._file = _identity(self.path)
        sock.setblocking(False)
        self._loop.add_reader(self._number, self._accept)

    def _accept(self) -> None:
        try:
            sock, _ = self._sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors, most likely. The connection still waits: look again later, not at once.
            _log.error("%s: cannot accept a connection: %s", self.path, error)
            self._loop.remove_reader(self._number)
            self._loop.call_later(_ACCEPT_DELAY, self._accept_again)
            return
        try:
            UnixTransport(sock, self._factory(), loop=self._loop, descriptor_limit=self._descriptor_limit)
        except BaseException:
            sock.close()
            raise

    def _accept_again(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._number, self._accept)

    def close(self) -> None:
        """Stop listening and remove the socket's file. Connections that stand are not touched."""
        if self._sock.fileno() < 0:
            return
        self._loop.remove_reader(self._number)
        self._sock.close()
        if self._file is not None and self._file == _identity(self.path):
            Path(os.fsdecode(self.path)).unlink(missing_ok=True)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def connect(
    path: str | bytes | os.PathLike[str], factory: Callable[[], _P], *, descriptor_limit: int = DESCRIPTOR_LIMIT
) -> tuple[UnixTransport, _P]:
    """Connect to the stream socket at `path` (or with that abstract name) and return the transport and the protocol.

    Waits while the listener's backlog is full. Raises OSError as connect(2) does.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while True:
            try:
                sock.connect(os.fspath(path))
                break
            except BlockingIOError:  # no room in the backlog, and AF_UNIX has no event for when there is
                await asyncio.sleep(_RETRY_DELAY)
        protocol = factory()
        ready = asyncio.get_running_loop().create_future()
        transport = UnixTransport(sock, protocol, descriptor_limit=descriptor_limit, ready=ready)
    except BaseException:
        sock.close()
        raise
    try:
        await ready
    except BaseException:
        transport.abort()
        raise
    return transport, protocol


async def serve(
    path: str | bytes | os.PathLike[str],
    factory: Callable[[], asyncio.BaseProtocol],
    *,
    backlog: int = 100,
    descriptor_limit: int = DESCRIPTOR_LIMIT,
) -> Server:
    """Listen at `path` (or with that abstract name) and return the server. Raises OSError as bind(2) does.

    The socket's file gets the permissions that the umask leaves: make it in a directory of the right ones.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(os.fspath(path))
        sock.listen(backlog)
        return Server(sock, factory, descriptor_limit=descriptor_limit)
    except BaseException:
        sock.close()
        raise


def _identity(path: str | bytes) -> tuple[int, int] | None:
    """Return the device and inode of the socket's file, None for an abstract name and where there is no file."""
    if path[:1] in {"\0", b"\0"}:
        return None
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino
