"""The page: one self-contained HTML file that asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..conformance.gatewords import TITLES, complaints, sentence
from ..conformance.records import BAD, CaseRecord, Header, ImplementationRecord, Verdict
from . import embed
from .findings import sentence as fuzzed_sentence
from .findings import shown
from .fold import MEANING, READING, Area, Cell, Folded, fold, overview
from .store import Run
from .text import line

DENSE = 16
"""From how many implementations on a cell shows a letter instead of a word."""

_LETTERS: dict[Verdict, str] = {
    Verdict.PASS: "✓",
    Verdict.FAIL: "F",
    Verdict.LEAK: "L",
    Verdict.CRASH: "C",
    Verdict.TIMEOUT: "T",
    Verdict.BROKEN: "B",
    Verdict.UNSUPPORTED: "\N{EN DASH}",
}
_WORDS: dict[Verdict, str] = {Verdict.PASS: "✓", Verdict.UNSUPPORTED: "\N{EN DASH}"}


@dataclass(frozen=True)
class Segment:
    """A part of an implementation's bar, in percent."""

    verdict: str
    x: str
    width: str


@dataclass(frozen=True)
class Line:
    """An implementation in the summary table."""

    id: str
    name: str
    language: str
    version: str
    runtime: str
    profiles: str
    counts: tuple[tuple[str, int], ...]
    bar: tuple[Segment, ...]
    said: str
    bad: int


@dataclass(frozen=True)
class Square:
    """A cell of the matrix: the worst verdict, what is written there and said to a screen reader.

    ``gate``: ``expected`` or ``unexpected``, where the run had expectations and they have a say.
    """

    verdict: str = ""
    text: str = ""
    count: str = ""
    said: str = ""
    gate: str = ""


@dataclass(frozen=True)
class Row:
    """A case of the matrix. ``index`` is its place among the run's cases."""

    index: int
    id: str
    summary: str
    level: str
    squares: tuple[Square, ...]


@dataclass(frozen=True)
class Group:
    """An area of the matrix. ``bad``: for each implementation how many cases are not as required, -1 where none ran."""

    name: str
    rows: tuple[Row, ...]
    bad: tuple[int, ...]


def render(run: Run) -> bytes:
    """Return the page, UTF-8. The matrix is in the HTML; details are made on click from the page's own JSON."""
    folded = fold(run)
    return _page(folded, embed.build(folded)).encode()


@cache
def _resource(name: str) -> str:
    return files(__package__ or "").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


def _page(folded: Folded, data: bytes) -> str:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - only who writes a page pays for it
    from markupsafe import Markup  # noqa: PLC0415 - the same

    style, script = _resource("page.css"), _resource("page.js")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["line"] = line
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )
    run = folded.run
    return environment.from_string(_resource("page.html")).render(
        policy=policy,
        style=Markup(style),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        data=Markup(data.decode()),  # noqa: S704 - escaped by embed.build
        run=run,
        facts=_facts(run.header),
        probes=tuple((line(name), line(value)) for name, value in run.header.platform.probes.items()),
        overview=overview(folded),
        lines=tuple(_line_of(folded, each) for each in folded.available),
        unavailable=folded.unavailable,
        groups=tuple(_group(folded, area) for area in folded.areas),
        levels=tuple(dict.fromkeys(case.level.value for case in run.cases)),
        verdicts=tuple((verdict.value, MEANING[verdict], verdict in BAD) for verdict in READING),
        present=frozenset(cell.verdict.value for cell in folded.cells.values()),
        dense=len(folded.available) >= DENSE,
        title=_title(folded),
        fuzzed=shown(folded.run.fuzzed),
        fuzzed_said=fuzzed_sentence(len(folded.run.fuzzed)),
        gate=_gate(folded),
    )


def _title(folded: Folded) -> str:
    bad = sum(cell.bad for cell in folded.cells.values())
    gate = folded.run.footer.gate if folded.run.footer else None
    state = "incomplete" if folded.run.incomplete else f"{bad} not as required" if bad else "all as required"
    if gate is not None:
        state += ", as expected" if gate.green else ", not as expected"
    return f"fdspec: {len(folded.available)} implementations, {len(folded.run.cases)} cases, {state}"


@dataclass(frozen=True)
class Gate:
    """How the gate judged: in a sentence, and each reason why it is red as its title and its text."""

    green: bool
    said: str
    complaints: tuple[tuple[str, str], ...]


def _gate(folded: Folded) -> Gate | None:
    gate = folded.run.footer.gate if folded.run.footer else None
    if gate is None:
        return None
    said = line(sentence(gate), 600)
    found = complaints(gate, folded.run.verdicts)
    return Gate(
        gate.green, said[0].upper() + said[1:], tuple((TITLES[one.standing], line(one.text, 600)) for one in found)
    )


def _facts(header: Header) -> tuple[tuple[str, str], ...]:
    platform = header.platform
    files = (("Configuration", header.configuration), ("Expectations", header.expectations))
    facts = [
        (
            "Started",
            header.started.replace("T", " ").removesuffix("Z") + (" UTC" if header.started.endswith("Z") else ""),
        ),
        ("Kernel", platform.kernel),
        ("Python", platform.python),
        ("fdspec", header.fdspec),
        ("User", f"{platform.user} (root)" if platform.user == 0 else str(platform.user)),
        *((name, file) for name, file in files if file),
        ("Selection", ", ".join(f"{name} {value}" for name, value in header.selection.items()) or "everything"),
    ]
    return tuple((name, line(value)) for name, value in facts)


def _line_of(folded: Folded, implementation: ImplementationRecord) -> Line:
    counts = folded.summaries[implementation.id]
    return Line(
        id=line(implementation.id),
        name=line(implementation.name),
        language=line(implementation.language, 60),
        version=line(implementation.version, 60),
        runtime=line(implementation.runtime, 60),
        profiles=", ".join(line(profile, 40) for profile in implementation.profiles[:8]),
        counts=tuple((verdict.value, counts[verdict]) for verdict in READING),
        bar=_bar(counts),
        said=", ".join(f"{counts[verdict]} {verdict.value}" for verdict in READING if counts[verdict]) or "nothing ran",
        bad=sum(counts[verdict] for verdict in BAD),
    )


def _bar(counts: Counter[Verdict]) -> tuple[Segment, ...]:
    whole = counts.total()
    segments: list[Segment] = []
    x = 0
    for verdict in READING:
        if counts[verdict]:
            segments.append(Segment(verdict.value, f"{100 * x / whole:.3f}", f"{100 * counts[verdict] / whole:.3f}"))
            x += counts[verdict]
    return tuple(segments)


def _group(folded: Folded, area: Area) -> Group:
    places = {case.id: index for index, case in enumerate(folded.run.cases)}
    bad: list[int] = []
    for implementation in folded.available:
        cells = [folded.cells.get((implementation.id, case.id)) for case in area.cases]
        ran = [cell for cell in cells if cell is not None and cell.verdict is not Verdict.UNSUPPORTED]
        bad.append(sum(cell.bad for cell in ran) if ran else -1)
    rows = tuple(_row(folded, case, places[case.id]) for case in area.cases)
    return Group(line(area.name, 60), rows, tuple(bad))


def _row(folded: Folded, case: CaseRecord, index: int) -> Row:
    dense = len(folded.available) >= DENSE
    squares = tuple(_square(folded.cells.get((each.id, case.id)), dense) for each in folded.available)
    return Row(index, line(case.id), line(case.summary, 300), case.level.value, squares)


_NOTHING = Square()


def _square(cell: Cell | None, dense: bool) -> Square:
    if cell is None:
        return _NOTHING
    verdict, count, whole = cell.verdict, cell.count, len(cell.verdicts)
    partial = whole > 1 and (cell.bad or count < whole)
    said = f"{verdict.value}, {count} of {whole}" if partial else verdict.value
    gate = "unexpected" if cell.surprising else "expected" if cell.expected else ""
    said += f", {gate}" if gate else ""
    if dense:
        return Square(verdict.value, _LETTERS[verdict], "", said, gate)
    return Square(verdict.value, _WORDS.get(verdict, verdict.value), f"{count}/{whole}" if partial else "", said, gate)
