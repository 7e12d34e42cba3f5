"""How a campaign ends that cannot go on, and errors of directories in words."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Generator
from pathlib import Path

from msgspec import Struct

_ADVICE = {
    errno.ENOSPC: "make room on that disk",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EFBIG: "raise the limit of the size of files (`ulimit -f`)",
    errno.EROFS: "mount it for writing",
    errno.EACCES: "have yourself permitted to write there",
    errno.EPERM: "have yourself permitted to write there",
    errno.ENOTDIR: "put the file out of the way that stands in place of a directory",
    errno.EEXIST: "put the file out of the way that stands in place of a directory",
    errno.EMFILE: "raise the limit of open descriptors (`ulimit -n`)",
}


class Unwritable(OSError):
    """A directory of a campaign cannot be written. The message says which file, why and what to do."""

    def __init__(self, path: Path | str, fault: OSError) -> None:
        why = fault.strerror or str(fault)
        advice = _ADVICE.get(fault.errno or 0)
        what = f"{advice}, or name" if advice else "name"
        super().__init__(
            fault.errno, f"{path} cannot be written: {why}; {what} another directory by --out. What was found stays"
        )

    def __str__(self) -> str:
        return str(self.strerror)


class Refused(Exception):
    """A campaign may not be begun in a directory; the message says why and what to do."""


class Ending(Struct, frozen=True):
    """Why a campaign or a worker has ended before its time. ``code``: the exit code of the command."""

    code: int
    message: str


@contextlib.contextmanager
def writing(path: Path) -> Generator[None]:
    """Turn every OSError meanwhile into an `Unwritable` of the file that it names, or of ``path``."""
    try:
        yield
    except Unwritable:
        raise
    except OSError as fault:
        named: object = fault.filename
        raise Unwritable(named if isinstance(named, str) else path, fault) from fault
