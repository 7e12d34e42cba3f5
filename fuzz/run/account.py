"""The account at the end of a program: what the testee still has, what was closed behind its back, what outlives its reset."""

from __future__ import annotations

import select
import time
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from ...conformance.census import Identity
from ...conformance.model.kernel import NotHere, collect
from .objects import Fifo, Things
from .shown import UNKNOWN
from .stand import Stand

Name = TypeVar("Name", bound=Hashable)
PATIENCE_MS = 20
"""Milliseconds that an object has to be let go of by a kernel that is busy, before garbage in flight is looked for."""


def open_labels(
    stand: Stand, things: Things, now: Mapping[int, Identity], apart: Mapping[int, Identity]
) -> tuple[str, ...]:
    """Return the labels of what the testee has beside its baseline, sorted. ``apart``: numbers that are not asked about."""
    baseline = stand.baseline
    found: list[str] = []
    for fd, identity in now.items():
        if baseline.get(fd) == identity or apart.get(fd) == identity:
            continue
        label = things.label(identity)
        if label == UNKNOWN and (_is_marker(stand, identity) or (fd not in baseline and stand.is_own(fd, identity))):
            continue
        found.append(label)
    return tuple(sorted(found))


def strays(stand: Stand, things: Things, now: Mapping[int, Identity], held: Mapping[int, Identity]) -> list[str]:
    """Return a sentence for every descriptor that was closed, or refers to something else, although nobody asked for that."""
    found = [
        f"{things.label(identity)}, descriptor {fd} of the caller's, {_became(now, fd)} although nobody asked for that"
        for fd, identity in held.items()
        if now.get(fd) != identity
    ]
    return found + baseline_strays(stand, now)


def baseline_strays(stand: Stand, now: Mapping[int, Identity]) -> list[str]:
    """Return a sentence for every descriptor of the testee's own that was closed, or refers to something else."""
    return [
        f"descriptor {fd} of the testee itself {_became(now, fd)}"
        for fd, identity in stand.baseline.items()
        if now.get(fd) != identity
    ]


def _became(now: Mapping[int, Identity], fd: int) -> str:
    return "refers to something else" if fd in now else "was closed"


def marked(stand: Stand, now: Mapping[int, Identity]) -> list[int]:
    """Return the numbers whose close was made to fail, which are closed as far as the testee goes."""
    return [fd for fd, identity in now.items() if _is_marker(stand, identity)]


def untold(stand: Stand, things: Things, now: Mapping[int, Identity]) -> list[int]:
    """Return the numbers that the testee has and was not told of, because a kernel in the middle kept them to itself."""
    numbers = [] if stand.kernel is None else stand.kernel.untold
    return [fd for fd in numbers if things.label(now.get(fd)) not in (UNKNOWN, "-")]


def _is_marker(stand: Stand, identity: Identity) -> bool:
    return stand.kernel is not None and identity == stand.kernel.marker


def leaks(stand: Stand, things: Things, now: Mapping[int, Identity]) -> tuple[str, ...]:
    """Return the labels of what is still open after the reset, sorted; what is a runtime's own joins the baseline."""
    found: list[str] = []
    for fd, identity in now.items():
        if fd in stand.baseline:
            continue  # another thing at such a number is a stray close
        label = things.label(identity)
        if label == UNKNOWN and stand.is_own(fd, identity):
            stand.baseline[fd] = identity
        else:
            found.append(label)
    return tuple(sorted(found))


def released(fifos: Mapping[Name, Fifo]) -> dict[Name, bool | None]:
    """Return of each FIFO whether no writer is left anywhere, after everything was closed. It may take a collection to tell."""
    waiting = {name: fifo for name, fifo in fifos.items() if not fifo.released}
    if waiting:
        _wait(waiting.values())
    collected = True
    if any(not fifo.released for fifo in waiting.values()):
        try:
            collect()
        except NotHere:
            collected = False
    return {
        name: True if name not in waiting or fifo.released else False if collected else None
        for name, fifo in fifos.items()
    }


def _wait(fifos: Iterable[Fifo]) -> None:
    """Wait until all of them hang up, for `PATIENCE_MS` at most: the kernel may close what was in flight a little later."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    for fifo in fifos:
        poller = select.poll()
        poller.register(fifo.reader, 0)
        left = deadline - time.monotonic()
        if left <= 0 or not poller.poll(left * 1000):
            return
