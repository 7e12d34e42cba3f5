"""The testee's table for who looks at it a thousand times a second: what a number refers to as a pair of numbers."""

from __future__ import annotations

import contextlib
import os

from ...conformance.census import Table
from .objects import Key


class Census(Table):
    """A `Table` that also tells keys."""

    def key(self, fd: int) -> Key | None:
        """Return what number ``fd`` refers to; None where it is not open."""
        try:
            facts = os.stat(str(fd), dir_fd=self._directory)
        except OSError:
            return None
        return facts.st_dev, facts.st_ino

    def keys(self) -> dict[int, Key]:
        """Return every open number with what it refers to."""
        directory = self._directory
        found: dict[int, Key] = {}
        for name in os.listdir(directory):
            with contextlib.suppress(FileNotFoundError):
                facts = os.stat(name, dir_fd=directory)
                found[int(name)] = facts.st_dev, facts.st_ino
        return found

    def taken(self) -> set[int]:
        """Return the open numbers."""
        return set(map(int, os.listdir(self._directory)))
