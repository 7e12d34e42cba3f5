"""Annotations for GitHub: workflow commands that a step prints, and that its pages show beside files and above the log.

A step has room for ten errors and ten warnings; GitHub leaves out what comes after them without a word, so the tenth says how
many more there are. See GitHub's manual, "Workflow commands for GitHub Actions"; escaping is that of its own toolkit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from ..conformance.gatewords import TITLES, complaints
from .fold import Cell, Folded, fold, label
from .store import Run
from .text import bound, first, line, visible

LIMIT = 10
"""Annotations of each level that GitHub takes from one step."""
_TITLE, _MESSAGE = 200, 2_000
_NO_START = 3
_PLACE = re.compile(r"(?P<file>.+):(?P<line>[1-9][0-9]{0,6})")


class Severity(StrEnum):
    """The command's name."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Annotation:
    """One annotation. ``file`` is empty where there is none; ``line`` counts from 1, 0 for none."""

    severity: Severity
    title: str
    message: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        """Return the workflow command: one line, in which text from outside can neither end it nor begin another."""
        facts = {"file": self.file, "line": str(self.line) if self.file and self.line else "", "title": self.title}
        said = ",".join(f"{name}={_property(value, _TITLE)}" for name, value in facts.items() if value)
        return f"::{self.severity.value} {said}::{_data(self.message, _MESSAGE)}"


def _data(text: str, limit: int) -> str:
    safe = visible(bound(text, limit), lines=True)
    return safe.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str, limit: int) -> str:
    return _data(text, limit).replace(":", "%3A").replace(",", "%2C")


def render(run: Run, directory: str = "") -> bytes:
    """Return the commands, a line each, UTF-8. Files that the records name relatively are taken as below ``directory``."""
    return "".join(f"{one}\n" for one in limited(annotations_of(run, directory))).encode()


def annotations_of(run: Run, directory: str = "") -> list[Annotation]:
    """Return all that is to be told: an error for each reason to be red, a warning for what nobody asked for."""
    folded = fold(run)
    return [*_incomplete(run), *_red(folded, directory), *_missing(folded)]


def limited(found: list[Annotation], limit: int = LIMIT) -> list[Annotation]:
    """Return what a step has room for: ``limit`` of each severity, the last of which says how many more there are."""
    kept: list[Annotation] = []
    for severity in Severity:
        some = [one for one in found if one.severity is severity]
        if len(some) > limit:
            more = len(some) - limit + 1
            rest = Annotation(
                severity, f"fdspec: {more} more", f"{more} more are in the step's summary and in the report."
            )
            some = [*some[: limit - 1], rest]
        kept += some
    return kept


def _incomplete(run: Run) -> Iterator[Annotation]:
    if run.incomplete:
        yield Annotation(Severity.ERROR, "fdspec: the run is incomplete", line(run.incomplete, _MESSAGE))


def _red(folded: Folded, directory: str) -> Iterator[Annotation]:
    """Return the gate's complaints; without a gate, whatever is not as required."""
    run = folded.run
    gate = run.footer.gate if run.footer else None
    if gate is not None:
        for one in complaints(gate, run.verdicts):
            place = next(filter(None, map(_PLACE.fullmatch, one.entries)), None)
            file, number = (place["file"], int(place["line"])) if place else (gate.file, 1)
            title = f"fdspec: {TITLES[one.standing]}"
            yield Annotation(Severity.ERROR, title, one.text, _below(directory, file), number)
        return
    file = _below(directory, run.header.configuration)
    for implementation in folded.available:
        for cell in folded.bad(implementation.id):
            yield _cell(cell, folded, file)


def _cell(cell: Cell, folded: Folded, file: str) -> Annotation:
    worst = cell.verdicts[0]
    where = label(worst) if len(cell.verdicts) == 1 else f"{cell.count} of {len(cell.verdicts)} variants"
    title = f"{worst.verdict.value}: {cell.case} on {cell.implementation}"
    summary = next((case.summary for case in folded.run.cases if case.id == cell.case), "")
    lines = [
        f"{where}: {first(worst.observed or worst.reason, 600)}",
        f"Must happen: {line(summary, 400)}" if summary else "",
        f"Again: {line(worst.reproduce, 400)}" if worst.reproduce else "",
    ]
    return Annotation(Severity.ERROR, title, "\n".join(filter(None, lines)), file, 1 if file else 0)


def _missing(folded: Folded) -> Iterator[Annotation]:
    """Return what could not be had; that is an error where it was asked for by name (exit code 3)."""
    footer = folded.run.footer
    severity = Severity.ERROR if footer and footer.exit_code == _NO_START else Severity.WARNING
    for each in folded.unavailable:
        reason = line(each.reason) or "no reason was recorded"
        yield Annotation(severity, f"fdspec: {each.id} was not tested", f"It is not available here: {reason}")


def _below(directory: str, file: str) -> str:
    return str(PurePosixPath(directory, file)) if file else ""
