"""Making a program small: operations are left out, then each is made simpler, for as long as it goes on showing the same.

Whatever is tried is a valid program, and less than what there is by one order of all programs, so it comes to an end; nothing
is left to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

from msgspec.structs import replace

from ...conformance.model.operations import Kind, Pair
from ...impls.protocol.messages import Receiver
from ..operations import Operation
from ..program import Program, Side, System, normal
from ..text import show
from .simpler import simpler

PAIRS = 12
"""Up to so many operations two that do not stand together are left out at once."""
_KINDS = tuple(Kind)


def minimise(program: Program, still: Callable[[Program], bool], *, budget: int = 400) -> Program:
    """Return a small program for which ``still`` is true, by ``budget`` calls of it at most.

    The caller has seen that ``still`` is true of ``program``, which is returned where it is true of nothing smaller. The same
    arguments give the same answer, if ``still`` does.
    """
    return _Search(program, still, budget).smallest()


class _Search:
    """One search: the best so far, the calls that are left, and what was asked already."""

    def __init__(self, program: Program, still: Callable[[Program], bool], budget: int) -> None:
        self.best = program
        self.still = still
        self.left = budget
        self.asked: set[Program] = {program}

    def smallest(self) -> Program:
        while self.left > 0:
            before = self.best
            self.first(_headers)
            self.chunks()
            self.first(_simpler)
            if self.best == before:
                self.first(_without_two)
            if self.best == before:
                break
        return self.best

    def better(self, candidate: Program) -> bool:
        """Take ``candidate`` where it is less than the best and still shows it. Returns whether it was taken."""
        candidate = normal(candidate)
        if self.left <= 0 or candidate in self.asked or weight(candidate) >= weight(self.best):
            return False
        self.asked.add(candidate)
        self.left -= 1
        if not self.still(candidate):
            return False
        self.best = candidate
        return True

    def first(self, candidates: Callable[[Program], Iterable[Program]]) -> None:
        """Take the first candidate that is better, then the first of those that come of it, until none is."""
        while self.left > 0 and any(map(self.better, candidates(self.best))):
            pass

    def chunks(self) -> None:
        """Leave operations out: halves, quarters and so on down to single ones, those at the end first."""
        length = len(self.best.operations) // 2 or 1
        while length:
            start = len(self.best.operations) - length
            while start > -length and self.left > 0:
                at = max(start, 0)
                operations = self.best.operations
                self.better(replace(self.best, operations=operations[:at] + operations[at + length :]))
                start = min(start - length, len(self.best.operations) - length)
            length //= 2


def weight(program: Program) -> tuple[int, int, int, str]:
    """Return what orders programs: operations, what is not the plainest of its kind, then length and letters of the text."""
    kinds = [program.type, *(one.kind for one in program.operations if isinstance(one, Pair))]
    special = sum(map(_KINDS.index, kinds)) + (program.side is not Side.CLIENT)
    special += (program.system is not System.HOST) + (program.receiver != Receiver())
    text = show(program)
    return len(program.operations), special, len(text), text


def _headers(program: Program) -> Iterator[Program]:
    """Yield the program on plainer connections."""
    yield replace(program, system=System.HOST)
    yield replace(program, receiver=Receiver())
    yield replace(program, side=Side.CLIENT)
    for kind in _KINDS:
        yield replace(program, type=kind)


def _simpler(program: Program) -> Iterator[Program]:
    for index in reversed(range(len(program.operations))):
        for one in simpler(program.operations[index]):
            yield _with(program, index, one)


def _with(program: Program, index: int, operation: Operation) -> Program:
    return replace(program, operations=(*program.operations[:index], operation, *program.operations[index + 1 :]))


def _without_two(program: Program) -> Iterator[Program]:
    """Yield the program without two operations, of which neither can go alone: a send and its receive, say."""
    operations = program.operations
    if len(operations) <= PAIRS:
        for gone in combinations(range(len(operations)), 2):
            yield replace(program, operations=tuple(one for place, one in enumerate(operations) if place not in gone))
