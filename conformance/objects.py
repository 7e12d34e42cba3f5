"""What is passed: files, FIFOs and sockets with identities of their own, which the testee opens by path.

Files are made once and serve every case (nothing in the suite changes their content); FIFOs and sockets are made for one case.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..impls.protocol.values import ObjectKind
from .census import Identity, identity_of


@dataclass(eq=False)
class Thing:
    """One object to pass. ``path`` is where the testee opens it; ``fd`` the harness's own descriptor of it."""

    name: str
    kind: ObjectKind
    path: str
    identity: Identity
    fd: int

    def __repr__(self) -> str:
        return self.name


@dataclass
class Pool:
    """The objects of one testee's directory."""

    directory: Path
    _files: list[Thing] = field(default_factory=list[Thing])
    known: dict[Identity, Thing] = field(default_factory=dict[Identity, Thing])
    """The files made so far, by identity."""

    def file(self, index: int) -> Thing:
        """Return the file of that index, made on first use; its content is its name and 64 digits."""
        while len(self._files) <= index:
            name = f"file-{len(self._files)}"
            path = self.directory / name
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.write(fd, f"{name}:".encode() + b"0123456789abcdef" * 4)
            made = Thing(name, ObjectKind.FILE, str(path), identity_of(fd), fd)
            self._files.append(made)
            self.known[made.identity] = made
        return self._files[index]

    @property
    def files(self) -> list[Thing]:
        """The files made so far."""
        return self._files

    def close(self) -> None:
        """Close the harness's descriptors of all files."""
        for thing in self._files:
            os.close(thing.fd)
        self._files.clear()
        self.known.clear()


class Objects:
    """The objects of one case. Everything made here is closed when the case ends."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._made: dict[Identity, Thing] = {}
        self._names = itertools.count()
        self._fds: list[int] = []
        self._closers: list[Callable[[], None]] = []
        self._used = 0

    def files(self, count: int) -> list[Thing]:
        """Return ``count`` different files, others than this case has had before."""
        first = self._used
        self._used += count
        return [self._pool.file(first + index) for index in range(count)]

    def file(self) -> Thing:
        """Return one file."""
        return self.files(1)[0]

    def fifo(self) -> Thing:
        """Return a FIFO; ``fd`` is the harness's reading end, non-blocking, so that POLLHUP tells when no writer is left."""
        name = f"fifo-{next(self._names)}"
        path = self._pool.directory / name
        os.mkfifo(path, 0o600)
        fd = self.own(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        self._closers.append(lambda: path.unlink(missing_ok=True))
        return self.add(Thing(name, ObjectKind.FIFO, str(path), identity_of(fd), fd))

    def socket(self) -> Thing:
        """Return a listening socket; the testee ``connect``s to it and passes its own end. ``fd`` is the listener."""
        name = f"socket-{next(self._names)}"
        path = self._pool.directory / name
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(4)
        self._closers += [listener.close, lambda: path.unlink(missing_ok=True)]
        return self.add(Thing(name, ObjectKind.SOCKET, str(path), identity_of(listener.fileno()), listener.fileno()))

    def of(self, identity: Identity | None) -> Thing | None:
        """Return the thing of that identity; None for None, and where this case has no such thing."""
        if identity is None:
            return None
        return self._made.get(identity) or self._pool.known.get(identity)

    def known(self) -> dict[Identity, Thing]:
        """Return everything that a descriptor of this case may refer to, by identity."""
        return {**self._pool.known, **self._made}

    def fresh(self, thing: Thing, flags: int = os.O_RDWR) -> int:
        """Return a new open file description of ``thing``, closed when the case ends."""
        return self.own(os.open(thing.path, flags | os.O_CLOEXEC))

    def duplicate(self, thing: Thing) -> int:
        """Return another number for the harness's own open file description of ``thing``."""
        return self.own(os.dup(thing.fd))

    def own(self, fd: int) -> int:
        """Close ``fd`` when the case ends, unless ``release`` has closed it before."""
        self._fds.append(fd)
        return fd

    def release(self, fd: int) -> None:
        """Close one descriptor of this case now."""
        self._fds.remove(fd)
        os.close(fd)

    def add(self, thing: Thing) -> Thing:
        """Make ``thing`` one of this case's own, by which a leak of it is recognised."""
        self._made[thing.identity] = thing
        return thing

    def close(self) -> None:
        """Close what this case made."""
        for fd in self._fds:
            with contextlib.suppress(OSError):
                os.close(fd)
        self._fds.clear()
        for closer in self._closers:
            closer()
        self._closers.clear()
