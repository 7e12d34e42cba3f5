"""What is passed, used again and again; and what one program has of it, under the program's own names.

A file or a FIFO is made once and serves one program after the other. A FIFO's reading end stays open: a read of it that finds
the end says that no writer is left, open or in flight.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...conformance.census import Identity, identity_of
from .shown import CLOSED, UNKNOWN

Key = tuple[int, int]
"""A device and an inode: what an `Identity` holds, for the many that are looked up in a campaign."""


def key_of(identity: Identity) -> Key:
    """Return an identity as a key."""
    return identity.device, identity.inode


@dataclass(frozen=True, eq=False, slots=True)
class Fifo:
    """``reader`` is the harness's own reading end, non-blocking."""

    path: str
    identity: Identity
    reader: int

    @property
    def released(self) -> bool:
        """Whether nothing in the world has it open for writing, descriptors in flight included."""
        try:
            return os.read(self.reader, 4096) == b""
        except BlockingIOError:
            return False


@dataclass(frozen=True, eq=False, slots=True)
class File:
    """A regular file of some bytes, which are never changed."""

    path: str
    identity: Identity


class Shelf:
    """The files and FIFOs of one stand. What is taken is given back after the program."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fifos: list[Fifo] = []
        self._files: list[File] = []
        self._known: set[Identity] = set()
        self._made = 0
        self._open = 0

    def fifo(self) -> Fifo:
        """Return a FIFO that nobody has open."""
        if self._fifos:
            return self._fifos.pop()
        path = self._path("fifo")
        os.mkfifo(path, 0o600)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._open += 1
        made = Fifo(path, identity_of(reader), reader)
        self._known.add(made.identity)
        return made

    def file(self) -> File:
        """Return a file that no other program has at the moment; its content is its path and 64 digits."""
        if self._files:
            return self._files.pop()
        path = self._path("file")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"0123456789abcdef" * 4)
            made = File(path, identity_of(fd))
        finally:
            os.close(fd)
        self._known.add(made.identity)
        return made

    def put(self, one: Fifo | File, *, released: bool | None = None) -> None:
        """Take back what was taken. A FIFO that somebody still has open is of no more use, and is thrown away.

        ``released``: whether a FIFO is; None: not known.
        """
        if isinstance(one, File):
            self._files.append(one)
        elif one.released if released is None else released:
            self._fifos.append(one)
        else:
            self.discard(one)

    def discard(self, one: Fifo | File) -> None:
        """Throw away what was taken."""
        if isinstance(one, Fifo):
            os.close(one.reader)
            self._open -= 1
        self._known.discard(one.identity)
        os.unlink(one.path)  # noqa: PTH108 - hot path

    def has(self, identity: Identity) -> bool:
        """Whether that is one of these, taken or not."""
        return identity in self._known

    @property
    def descriptors(self) -> int:
        """How many descriptors it keeps open."""
        return self._open

    def close(self) -> None:
        """Close everything that was given back."""
        for one in self._fifos:
            os.close(one.reader)
            self._open -= 1
        self._fifos.clear()
        self._files.clear()
        self._known.clear()

    def _path(self, prefix: str) -> str:
        self._made += 1
        return f"{self._directory}/{prefix}-{self._made}"


class Things:
    """What one program has made: its objects by name, and the label of everything that a descriptor may refer to."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.fifos: dict[str, Fifo] = {}
        self.files: dict[str, File] = {}
        self.labels: dict[Key, str] = {}
        self._fds: list[int] = []

    def fifo(self, name: str) -> Fifo:
        """Return the FIFO that is called ``name``, taken from the shelf on first use."""
        found = self.fifos.get(name)
        if found is None:
            found = self.fifos[name] = self._shelf.fifo()
            self.labels[key_of(found.identity)] = name
        return found

    def file(self, name: str) -> File:
        """Return the file that is called ``name``, taken from the shelf on first use."""
        found = self.files.get(name)
        if found is None:
            found = self.files[name] = self._shelf.file()
            self.labels[key_of(found.identity)] = name
        return found

    def take_back(self, name: str) -> None:
        """Undo `fifo` or `file`: what was to be opened could not be."""
        one = self.fifos.pop(name, None) or self.files.pop(name, None)
        if one is not None:
            del self.labels[key_of(one.identity)]
            self._shelf.put(one)

    def name(self, identity: Identity, label: str) -> None:
        """Give what has that identity a label, unless it has one: the end of a connection, or a socket that is an object."""
        self.labels.setdefault(key_of(identity), label)

    def label(self, identity: Identity | None) -> str:
        """Return the label of what has that identity; `UNKNOWN` for what is none of the program's, `CLOSED` for None."""
        return CLOSED if identity is None else self.labels.get((identity.device, identity.inode), UNKNOWN)

    def own(self, fd: int) -> int:
        """Close ``fd``, the harness's own, at the end."""
        self._fds.append(fd)
        return fd

    def drop(self) -> None:
        """Close what the harness holds of the program, but for the FIFOs' reading ends."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def close(self, released: Mapping[str, bool | None] | None = None) -> None:
        """Give everything back. ``released``: what is known of FIFOs already."""
        self.drop()
        for name, one in self.fifos.items():
            self._shelf.put(one, released=None if released is None else bool(released.get(name)))
        for one in self.files.values():
            self._shelf.put(one)
        self.fifos.clear()
        self.files.clear()
