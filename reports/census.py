"""Two censuses side by side: which descriptors stayed, came, went or changed."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ..conformance.records import Open


class Change(StrEnum):
    """What became of a descriptor number between two censuses."""

    SAME = ""
    LEAKED = "leaked"
    VANISHED = "vanished"
    REPLACED = "replaced"
    FLAGS = "flags"


@dataclass(frozen=True)
class Pair:
    """One number in both censuses; None where it was not open."""

    fd: int
    before: Open | None
    after: Open | None
    change: Change


def compare(before: Iterable[Open], after: Iterable[Open]) -> tuple[Pair, ...]:
    """Return every number of both censuses, ascending. An empty census was not taken: nothing is said to differ."""
    left = {each.fd: each for each in before}
    right = {each.fd: each for each in after}
    known = bool(left and right)
    return tuple(
        Pair(fd, left.get(fd), right.get(fd), _change(left.get(fd), right.get(fd)) if known else Change.SAME)
        for fd in sorted(left.keys() | right.keys())
    )


def _change(before: Open | None, after: Open | None) -> Change:
    if before is None:
        return Change.LEAKED
    if after is None:
        return Change.VANISHED
    if (before.device, before.inode, before.target) != (after.device, after.inode, after.target):
        return Change.REPLACED
    if (before.cloexec, before.flags) != (after.cloexec, after.flags):
        return Change.FLAGS
    return Change.SAME


_ACCESS = {os.O_RDONLY: "O_RDONLY", os.O_WRONLY: "O_WRONLY", os.O_RDWR: "O_RDWR"}
_STATUS = {
    0o2000: "O_APPEND",
    0o4000: "O_NONBLOCK",
    0o10000: "O_DSYNC",
    0o20000: "O_ASYNC",
    0o40000: "O_DIRECT",
    0o200000: "O_DIRECTORY",
    0o1000000: "O_NOATIME",
    0o10000000: "O_PATH",
}
_SILENT = 0o100000 | 0o400000 | 0o2000000  # O_LARGEFILE, O_NOFOLLOW, O_CLOEXEC (shown as the descriptor's flag it is)


def flags(opened: Open) -> str:
    """Return the status flags by name, and FD_CLOEXEC. Numbers are those of x86 and most other machines."""
    parts = [_ACCESS.get(opened.flags & 3, "access mode 3")]
    parts += [name for bit, name in _STATUS.items() if opened.flags & bit]
    rest = opened.flags & ~(3 | _SILENT | sum(_STATUS))
    if rest:
        parts.append(f"0{rest:o}")
    if opened.cloexec:
        parts.append("FD_CLOEXEC")
    return " ".join(parts)
