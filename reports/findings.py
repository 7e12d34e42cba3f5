"""What fuzzing found, as reports show it. The files are people's and testees' words: every text here is made safe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .text import bound, line, visible

MOST = 200
"""Findings that a report shows."""
_LINES = 70
"""Lines of a program: its operations, and some more."""


@dataclass(frozen=True)
class Fuzzed:
    """One finding. ``sentence`` is the requirement's; ``program`` has its lines; ``file`` is where it is kept.

    ``seen``: how often it was met. ``reproduce``: the command that runs it again.
    """

    implementation: str
    version: str
    platform: str
    requirement: str
    sentence: str
    breach: str
    operation: str
    place: str
    message: str
    permitted: tuple[str, ...]
    program: tuple[str, ...]
    seen: int
    file: str
    reproduce: str


def shown(found: Iterable[Fuzzed]) -> tuple[Fuzzed, ...]:
    """Return findings in the order of reading, `MOST` at most, with every text safe and of bounded length."""
    ordered = sorted(found, key=lambda one: (one.implementation, one.requirement, one.operation, one.place, one.file))
    return tuple(_safe(one) for one in ordered[:MOST])


def _safe(one: Fuzzed) -> Fuzzed:
    rest = len(one.program) - _LINES
    cut = (f"… and {rest} lines more",) if rest > 0 else ()
    return Fuzzed(
        line(one.implementation, 200),
        line(one.version, 60),
        line(one.platform, 200),
        line(one.requirement, 60),
        line(one.sentence, 600),
        line(one.breach, 60),
        line(one.operation, 60),
        line(one.place, 100),
        line(one.message, 600),
        tuple(line(each, 300) for each in one.permitted[:24]),
        (*(visible(bound(each, 300)) for each in one.program[:_LINES]), *cut),
        one.seen,
        line(one.file, 300),
        line(one.reproduce, 400),
    )


def sentence(count: int) -> str:
    """Return how many findings there are, and how many of them are shown."""
    what = f"{count} finding{'s' if count != 1 else ''} of fuzzing"
    return f"{what}, the first {MOST} of them here" if count > MOST else what


def words(one: Fuzzed) -> str:
    """Return a finding in one line."""
    return f"{one.requirement} at {one.operation} in {one.place}: {one.message}"


def lines_of(found: tuple[Fuzzed, ...]) -> Iterator[tuple[Fuzzed, str]]:
    """Yield each finding that is shown with its line, and what replays it."""
    for one in shown(found):
        yield one, f"{words(one)} ({one.reproduce})"
