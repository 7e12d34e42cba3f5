"""Read a file of records, and accept nothing that is cut, damaged, doubled or edited."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar, cast

import msgspec

from ..conformance.records import (
    VERSION,
    CaseRecord,
    Footer,
    Header,
    ImplementationRecord,
    Level,
    Record,
    RequirementRecord,
    VerdictRecord,
    decode,
)
from .findings import Fuzzed
from .text import line as _line

FILE_NAME = "records.jsonl"
"""The name of the file inside a run's directory."""


class Problem(StrEnum):
    """What can be wrong with a file of records."""

    UNREADABLE = "unreadable"
    TOO_LARGE = "too-large"
    EMPTY = "empty"
    NO_HEADER = "no-header"
    VERSION = "version"
    SECOND_HEADER = "second-header"
    DAMAGED = "damaged"
    CUT = "cut"
    NO_FOOTER = "no-footer"
    AFTER_FOOTER = "after-footer"
    COUNTS = "counts"
    DUPLICATE = "duplicate"
    UNDECLARED = "undeclared"


class RecordsError(Exception):
    """A file that can't be shown: what is wrong (``problem``), in which file and line, what was expected, advice."""

    def __init__(self, problem: Problem, path: Path, line: int, found: str, expected: str, advice: str) -> None:
        self.problem = problem
        self.path = path
        self.line = line
        """From 1; 0 where no line is meant."""
        self.found = found
        self.expected = expected
        self.advice = advice
        place = f"{_line(str(path))}:{line}" if line else _line(str(path))
        super().__init__(f"{place}: {found}; expected {expected}. {advice}")


@dataclass(frozen=True)
class Limits:
    """How much is read: bytes of the file, bytes of one line, number of lines."""

    file: int = 1 << 30
    line: int = 16 << 20
    records: int = 2_000_000


@dataclass(frozen=True)
class Run:
    """What one run recorded, in the order of the file. ``incomplete``: why it isn't whole, in a sentence, or empty.

    ``fuzzed``: what fuzzing found in these implementations, which is no part of the records.
    """

    header: Header
    implementations: tuple[ImplementationRecord, ...]
    requirements: tuple[RequirementRecord, ...]
    cases: tuple[CaseRecord, ...]
    verdicts: tuple[VerdictRecord, ...]
    footer: Footer | None
    path: Path
    incomplete: str = ""
    fuzzed: tuple[Fuzzed, ...] = ()


Key = tuple[str, str, str, str, str, int]
_PARTIAL = "To see what is there all the same, ask for the incomplete run to be accepted (--incomplete)."
_RERUN = "The file was edited or two runs wrote into it: run again into an empty directory."


def key(verdict: VerdictRecord) -> Key:
    """Return what may occur once in a run: implementation, case, profile, type, variant, attempt."""
    return (
        verdict.implementation,
        verdict.case,
        verdict.profile,
        verdict.type,
        verdict.variant,
        verdict.attempt,
    )


def load(path: Path, *, allow_incomplete: bool = False, limits: Limits | None = None) -> Run:
    """Return the run in ``path`` (a file, or a directory with a ``records.jsonl``). Raises RecordsError.

    ``allow_incomplete`` reads what an interrupted run left: no footer, a cut last line, verdicts whose implementation
    or case was not declared yet. Everything else stays an error. A run whose footer says that it is incomplete is read
    in both ways.
    """
    if path.is_dir():
        path /= FILE_NAME
    return _Reader(path, allow_incomplete, limits or Limits()).read()


_Item = TypeVar("_Item")


@dataclass
class _Unique(Generic[_Item]):
    """Items by key, each with the line where it stood, so that a second one is recognised."""

    what: str
    items: dict[object, tuple[int, _Item]] = field(default_factory=dict[object, tuple[int, _Item]])

    def values(self) -> tuple[_Item, ...]:
        return tuple(item for _, item in self.items.values())


class _Reader:
    """One pass over one file."""

    def __init__(self, path: Path, allow_incomplete: bool, limits: Limits) -> None:
        self.path = path
        self.allow_incomplete = allow_incomplete
        self.limits = limits
        self.header: Header | None = None
        self.footer: Footer | None = None
        self.missing = ""
        self.implementations = _Unique[ImplementationRecord]("implementation")
        self.requirements = _Unique[RequirementRecord]("requirement")
        self.cases = _Unique[CaseRecord]("case")
        self.verdicts = _Unique[VerdictRecord]("verdict")

    def error(self, problem: Problem, number: int, found: str, expected: str, advice: str) -> RecordsError:
        return RecordsError(problem, self.path, number, found, expected, advice)

    def read(self) -> Run:
        try:
            with open(self.path, "rb", opener=_open_nonblocking) as file:
                self.check_file(file)
                last = self.read_lines(file)
        except OSError as error:
            raise self.error(
                Problem.UNREADABLE,
                0,
                f"can't be read ({error.strerror or error})",
                f"a directory of a run, or its {FILE_NAME}",
                "Give the directory that `fdspec run --out` named.",
            ) from error
        header = self.header
        if header is None:
            raise self.error(
                Problem.EMPTY,
                0,
                "the file is empty",
                "a header record on the first line",
                "The run ended before it began to record: see what it printed, and run again.",
            )
        self.check_end(last)
        self.check_references()
        return Run(
            header=header,
            implementations=self.implementations.values(),
            requirements=self.requirements.values(),
            cases=self.cases.values(),
            verdicts=self.verdicts.values(),
            footer=self.footer,
            path=self.path,
            incomplete=self.missing,
        )

    def check_file(self, file: BinaryIO) -> None:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise self.error(
                Problem.UNREADABLE,
                0,
                "not a regular file",
                f"a directory of a run, or its {FILE_NAME}",
                "Save the records to a file first.",
            )
        if facts.st_size > self.limits.file:
            raise self.error(
                Problem.TOO_LARGE,
                0,
                f"{facts.st_size} bytes",
                f"at most {self.limits.file} bytes",
                "Run fewer implementations or cases at a time.",
            )

    def read_lines(self, file: BinaryIO) -> int:
        """Take every line; return how many there are."""
        number = 0
        for number, raw in enumerate(self.lines(file), 1):
            if number == 1:
                self.take_header(raw)
                continue
            record = self.decode(number, raw)
            if record is not None:
                self.take(number, record)
        return number

    def lines(self, file: BinaryIO) -> Iterator[bytes]:
        number = 0
        while raw := file.readline(self.limits.line + 1):
            number += 1
            if len(raw) > self.limits.line:
                raise self.error(
                    Problem.TOO_LARGE,
                    number,
                    f"a line of more than {self.limits.line} bytes",
                    "records of a bounded size",
                    "This was not written by fdspec, or was damaged: run again.",
                )
            if number > self.limits.records:
                raise self.error(
                    Problem.TOO_LARGE,
                    number,
                    f"more than {self.limits.records} lines",
                    "fewer",
                    "Run fewer implementations or cases at a time.",
                )
            yield raw

    def take_header(self, raw: bytes) -> None:
        loose = _loose(raw)
        if loose is None or loose.record != "header":
            found = "the first line is no header"
            if loose is not None:
                found = f"the first record is {_line(loose.record, 40)!r}"
            elif not raw.endswith(b"\n"):
                found = "the first line is cut"
            raise self.error(
                Problem.NO_HEADER,
                1,
                found,
                'a record with "record": "header"',
                "This is no file of fdspec's records, or its beginning is lost: run again.",
            )
        if loose.version != VERSION:
            raise self.error(
                Problem.VERSION,
                1,
                f"records of version {loose.version}",
                f"version {VERSION}",
                "Read it with the fdspec that wrote it" + (f" ({_line(loose.fdspec, 40)})." if loose.fdspec else "."),
            )
        record = self.decode(1, raw)
        if isinstance(record, Header):
            self.header = record
        elif record is None:
            raise self.error(
                Problem.NO_HEADER, 1, "the header is cut", "a whole header", "Nothing was recorded: run again."
            )

    def decode(self, number: int, raw: bytes) -> Record | None:
        """Return the record on a line; None for a last line that was cut and may be."""
        try:
            return decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            reason = _line(str(error), 200)
            if raw.endswith(b"\n"):
                raise self.error(
                    Problem.DAMAGED,
                    number,
                    f"the line can't be understood: {reason}",
                    "one record of docs/schema/records-1.json",
                    "The file was edited or damaged, or a newer fdspec wrote it: run again.",
                ) from error
            if not self.allow_incomplete:
                raise self.error(
                    Problem.CUT,
                    number,
                    "the last line is cut",
                    "a whole record and a line feed",
                    f"The run was killed. {_PARTIAL}",
                ) from error
            self.missing = f"The run was killed while it wrote line {number}."
            return None

    def take(self, number: int, record: Record) -> None:
        if self.footer is not None:
            raise self.error(Problem.AFTER_FOOTER, number, "a record after the footer", "the end of the file", _RERUN)
        match record:
            case Header():
                raise self.error(
                    Problem.SECOND_HEADER, number, "a second header", "one header, on the first line", _RERUN
                )
            case Footer():
                self.footer = record
                self.check_counts(number, record)
            case VerdictRecord():
                self.put(self.verdicts, number, key(record), record)
            case ImplementationRecord():
                self.put(self.implementations, number, record.id, record)
            case RequirementRecord():
                self.put(self.requirements, number, record.id, record)
            case CaseRecord():
                self.put(self.cases, number, record.id, record)

    def put(self, table: _Unique[_Item], number: int, name: object, item: _Item) -> None:
        if name in table.items:
            raise self.error(
                Problem.DUPLICATE,
                number,
                f"a second record of {table.what} {_name(name)}, which line {table.items[name][0]} has",
                "each once",
                _RERUN,
            )
        table.items[name] = (number, item)

    def check_counts(self, number: int, footer: Footer) -> None:
        above = number - 1
        if footer.records != above:
            raise self.error(
                Problem.COUNTS,
                number,
                f"{above} lines above the footer",
                f"the {footer.records} that it counts",
                _RERUN,
            )
        counted = Counter(verdict.verdict for verdict in self.verdicts.values())
        for verdict in counted.keys() | footer.counts.keys():
            if counted[verdict] != footer.counts.get(verdict, 0):
                raise self.error(
                    Problem.COUNTS,
                    number,
                    f"{counted[verdict]} verdicts {verdict.value!r}",
                    f"the {footer.counts.get(verdict, 0)} that the footer counts",
                    _RERUN,
                )
        judged = Counter(verdict.gate.standing for verdict in self.verdicts.values() if verdict.gate)
        told = footer.gate.counts if footer.gate else {}
        if any(judged[standing] != told.get(standing, 0) for standing in judged.keys() | told.keys()):
            raise self.error(
                Problem.COUNTS,
                number,
                f"{judged.total()} judgements of the gate",
                f"the {sum(told.values())} that the footer counts, each as it counts them",
                _RERUN,
            )
        if not footer.complete:
            note = _line(footer.note, 300).rstrip(".")
            self.missing = (
                f"The run says that it is incomplete: {note}." if note else "The run says that it is incomplete."
            )

    def check_end(self, last: int) -> None:
        if self.footer is not None:
            return
        if not self.allow_incomplete:
            raise self.error(
                Problem.NO_FOOTER,
                last,
                "the file ends without a footer",
                "a footer with the counts as the last record",
                f"The run was killed or is still going on. {_PARTIAL}",
            )
        self.missing = self.missing or "The run was killed or is still going on: there is no footer."

    def check_references(self) -> None:
        """Every verdict's implementation and case, and every case's requirements, must have been declared."""
        for number, verdict in list(self.verdicts.items.values()):
            if verdict.implementation not in self.implementations.items:
                self.undeclared(number, "implementation", verdict.implementation)
                self.implementations.items[verdict.implementation] = (number, _implementation(verdict))
            if verdict.case not in self.cases.items:
                self.undeclared(number, "case", verdict.case)
                self.cases.items[verdict.case] = (number, _case(verdict))
        for number, case in self.cases.items.values():
            for check in case.checks:
                if check not in self.requirements.items:
                    self.undeclared(number, "requirement", check)

    def undeclared(self, number: int, what: str, name: str) -> None:
        if not (self.allow_incomplete and self.footer is None):
            raise self.error(
                Problem.UNDECLARED,
                number,
                f"{what} {_line(name, 80)!r} has no record of its own",
                f"one record of every {what}",
                _RERUN,
            )


class _Loose(msgspec.Struct):
    """What every version of the first line has."""

    record: str
    version: int = VERSION
    fdspec: str = ""


def _loose(raw: bytes) -> _Loose | None:
    try:
        return msgspec.json.decode(raw, type=_Loose)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _open_nonblocking(path: str, flags: int) -> int:
    """Open without waiting for a writer, should ``path`` be a FIFO."""
    return os.open(path, flags | os.O_NONBLOCK)


def _name(name: object) -> str:
    parts = cast(tuple[object, ...], name) if isinstance(name, tuple) else (name,)
    return repr(_line(" / ".join(str(part) for part in parts if part != ""), 200))


def _implementation(verdict: VerdictRecord) -> ImplementationRecord:
    return ImplementationRecord(
        id=verdict.implementation,
        name=verdict.implementation,
        language="",
        homepage="",
        available=True,
        profiles=[],
    )


def _case(verdict: VerdictRecord) -> CaseRecord:
    return CaseRecord(
        id=verdict.case,
        area=verdict.case.partition(".")[0],
        summary="(not declared before the run was cut)",
        level=Level.MUST,
        checks=[],
    )
