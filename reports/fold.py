"""A run, arranged for reading: the verdicts of a case on an implementation in one cell, areas in order, counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from ..conformance.records import (
    BAD,
    CaseRecord,
    ImplementationRecord,
    RequirementRecord,
    Standing,
    Verdict,
    VerdictRecord,
)
from .store import Run

SEVERITY: tuple[Verdict, ...] = (
    Verdict.CRASH,
    Verdict.LEAK,
    Verdict.TIMEOUT,
    Verdict.FAIL,
    Verdict.BROKEN,
    Verdict.PASS,
    Verdict.UNSUPPORTED,
)
"""Worst first. ``unsupported`` is last: where one variant passes and another does not apply, the case passes."""

READING: tuple[Verdict, ...] = (
    Verdict.PASS,
    Verdict.FAIL,
    Verdict.LEAK,
    Verdict.CRASH,
    Verdict.TIMEOUT,
    Verdict.BROKEN,
    Verdict.UNSUPPORTED,
)
"""The order of columns and legends."""

MEANING: dict[Verdict, str] = {
    Verdict.PASS: "did what the requirement says",
    Verdict.FAIL: "did something else",
    Verdict.LEAK: "a descriptor stayed open, or one was closed that was not the case's",
    Verdict.CRASH: "the process died",
    Verdict.TIMEOUT: "no answer within the deadline",
    Verdict.BROKEN: "the adapter broke the testee protocol",
    Verdict.UNSUPPORTED: "the implementation does not offer what the case needs",
}

_RANK = {verdict: rank for rank, verdict in enumerate(SEVERITY)}


@dataclass(frozen=True)
class Cell:
    """One case on one implementation. ``verdicts``: every profile, type, variant and attempt, worst first."""

    implementation: str
    case: str
    verdicts: tuple[VerdictRecord, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst."""
        return self.verdicts[0].verdict

    @property
    def count(self) -> int:
        """How many of the verdicts are the worst one."""
        return sum(verdict.verdict is self.verdict for verdict in self.verdicts)

    @property
    def bad(self) -> bool:
        """Whether something in this cell is not as required."""
        return self.verdict in BAD

    @property
    def expected(self) -> bool:
        """Whether all that is not as required in this cell is what the expectations list."""
        bad = [verdict for verdict in self.verdicts if verdict.verdict in BAD]
        return bool(bad) and all(standing(verdict) is Standing.EXPECTED for verdict in bad)

    @property
    def surprising(self) -> bool:
        """Whether the gate is red because of a verdict of this cell."""
        return any(standing(verdict) not in (None, Standing.EXPECTED) for verdict in self.verdicts)


@dataclass(frozen=True)
class Area:
    """The cases of an area, in the order of the suite."""

    name: str
    cases: tuple[CaseRecord, ...]


@dataclass(frozen=True)
class Folded:
    """A run and its cells. ``cells`` has no entry where a case came to no verdict on an implementation."""

    run: Run
    cells: dict[tuple[str, str], Cell]

    @cached_property
    def areas(self) -> tuple[Area, ...]:
        """The areas, in the order in which the run names them."""
        names = dict.fromkeys(case.area for case in self.run.cases)
        return tuple(Area(name, tuple(case for case in self.run.cases if case.area == name)) for name in names)

    @cached_property
    def available(self) -> tuple[ImplementationRecord, ...]:
        """The implementations that ran: available, or with a verdict all the same."""
        seen = {implementation for implementation, _ in self.cells}
        return tuple(each for each in self.run.implementations if each.available or each.id in seen)

    @cached_property
    def unavailable(self) -> tuple[ImplementationRecord, ...]:
        """The implementations that were asked for and could not be had."""
        ran = {each.id for each in self.available}
        return tuple(each for each in self.run.implementations if each.id not in ran)

    @cached_property
    def requirements(self) -> dict[str, RequirementRecord]:
        """Requirements by id."""
        return {each.id: each for each in self.run.requirements}

    @cached_property
    def summaries(self) -> dict[str, Counter[Verdict]]:
        """For each implementation that ran: its cases by their worst verdict."""
        counts = {each.id: Counter[Verdict]() for each in self.available}
        for cell in self.cells.values():
            counts[cell.implementation][cell.verdict] += 1
        return counts

    def row(self, implementation: str) -> tuple[Cell, ...]:
        """Return the cells of an implementation in the order of the suite."""
        found = (self.cells.get((implementation, case.id)) for area in self.areas for case in area.cases)
        return tuple(cell for cell in found if cell is not None)

    def bad(self, implementation: str) -> tuple[Cell, ...]:
        """Return the cells of an implementation that are not as required, in the order of the suite."""
        return tuple(cell for cell in self.row(implementation) if cell.bad)


def standing(verdict: VerdictRecord) -> Standing | None:
    """Return how a verdict stood before the gate; None where it is as required, or there was no gate."""
    return verdict.gate.standing if verdict.gate else None


def fold(run: Run) -> Folded:
    """Return ``run`` arranged for reading."""
    groups: dict[tuple[str, str], list[VerdictRecord]] = {}
    for verdict in run.verdicts:
        groups.setdefault((verdict.implementation, verdict.case), []).append(verdict)
    cells = {pair: Cell(*pair, tuple(sorted(verdicts, key=_order))) for pair, verdicts in groups.items()}
    return Folded(run, cells)


def _order(verdict: VerdictRecord) -> tuple[int, str, str, str, int]:
    return (_RANK[verdict.verdict], verdict.profile, verdict.type, verdict.variant, verdict.attempt)


def label(verdict: VerdictRecord) -> str:
    """Return what tells a verdict from the others of its cell: ``message, stream, room=20, attempt 2``."""
    parts = [verdict.profile, verdict.type, verdict.variant]
    if verdict.attempt != 1:
        parts.append(f"attempt {verdict.attempt}")
    return ", ".join(part for part in parts if part)


def total(counts: Iterable[Counter[Verdict]]) -> Counter[Verdict]:
    """Return the sum of counts."""
    result: Counter[Verdict] = Counter()
    for each in counts:
        result.update(each)
    return result


def overview(folded: Folded) -> str:
    """Return the run in one sentence."""
    run = folded.run
    verdicts = Counter(verdict.verdict for verdict in run.verdicts)
    parts = [f"{verdicts[verdict]} {verdict.value}" for verdict in READING if verdicts[verdict]]
    ran = len({case for _, case in folded.cells})
    some = f"{ran} of " if ran < len(run.cases) else ""
    what = f"{some}{_plural(len(run.cases), 'case')} on {_plural(len(folded.available), 'implementation')}"
    return f"{what}: {_plural(len(run.verdicts), 'verdict')}" + (f" ({', '.join(parts)})" if parts else "")


def _plural(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
