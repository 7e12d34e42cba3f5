"""A run's summary in Markdown, for pages that people read in passing: a step summary, a merge request, a wiki.

Nothing from outside is markup in it: punctuation of such text is written as character references.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..conformance.gatewords import TITLES, complaints, sentence
from ..conformance.records import Gate, VerdictRecord
from . import findings
from .fold import READING, Cell, Folded, fold, label, overview
from .store import Run
from .text import first, line

BUDGET = 1_000_000
"""Bytes of a document. GitHub refuses a step's summary above 1 MiB as a whole."""
_TAIL = 200
_ROWS = 200
"""Lines for one implementation, or of the gate's complaints."""
_HEADS = {"unsupported": "n/a"}


def render(run: Run, budget: int = BUDGET) -> bytes:
    """Return the summary, UTF-8, of ``budget`` bytes at most: lines that do not fit are left out, and the last one says so."""
    return cut(list(_lines(fold(run))), budget)


def cut(lines: list[str], budget: int) -> bytes:
    """Return ``lines`` as UTF-8, without those at the end that go beyond ``budget`` bytes; a sentence says how many."""
    whole = [f"{one}\n".encode() for one in lines]
    if sum(map(len, whole)) <= budget:
        return b"".join(whole)
    kept: list[bytes] = []
    size = _TAIL
    for one in whole:
        size += len(one)
        if size > budget:
            break
        kept.append(one)
    return b"".join(kept) + f"\n*Cut: {len(whole) - len(kept)} more lines.*\n".encode()


def plain(text: str, limit: int = 600) -> str:
    """Return text from outside as one line in which nothing is markup."""
    return re.sub(r"[^\w ]|_", lambda char: f"&#{ord(char[0])};", line(text, limit)).strip()


def code(text: str, limit: int = 400) -> str:
    """Return text from outside as one line of code, in which nothing is markup, a mention or a link."""
    safe = plain(text, limit)
    return f"<code>{safe}</code>" if safe else ""


def _lines(folded: Folded) -> Iterator[str]:
    run = folded.run
    gate = run.footer.gate if run.footer else None
    yield f"## fdspec: {state(folded)}"
    yield ""
    if run.incomplete:
        yield f"> **Incomplete run.** {plain(run.incomplete)}"
        yield ""
    yield f"{overview(folded)}."
    yield ""
    if folded.available:
        yield from _table(folded)
    if gate is not None:
        yield from _gate(gate, folded)
    for implementation in folded.available:
        yield from _cells(implementation.id, folded.bad(implementation.id))
    if run.fuzzed:
        yield f"### Found by fuzzing: {findings.sentence(len(run.fuzzed))}"
        yield ""
        for one, said in findings.lines_of(run.fuzzed):
            yield f"- {code(one.implementation, 200)} {plain(said, 1200)}"
        yield ""
    for each in folded.unavailable:
        yield f"- {code(each.id)} is not available here: {plain(each.reason) or 'no reason was recorded'}"
    yield ""
    yield f"fdspec {plain(run.header.fdspec)} on {plain(run.header.platform.kernel)}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def state(folded: Folded) -> str:
    """Return the run's state in a few words: the gate's judgement where there is one."""
    run = folded.run
    if run.incomplete:
        return "incomplete"
    gate = run.footer.gate if run.footer else None
    if gate is not None:
        return "as expected" if gate.green else "not as expected"
    bad = sum(cell.bad for cell in folded.cells.values())
    if not folded.available:
        return "no implementation ran"
    return f"{bad} case{'s' if bad != 1 else ''} not as required" if bad else "all as required"


def _table(folded: Folded) -> Iterator[str]:
    heads = [_HEADS.get(verdict, verdict.value) for verdict in READING]
    yield f"| implementation | {' | '.join(heads)} |"
    yield f"|---|{'--:|' * len(heads)}"
    for each in folded.available:
        counts = folded.summaries[each.id]
        numbers = [str(counts[verdict]) if counts[verdict] else "" for verdict in READING]
        yield f"| {code(f'{each.id} {each.version}'.strip(), 100)} | {' | '.join(numbers)} |"
    yield ""


def _gate(gate: Gate, folded: Folded) -> Iterator[str]:
    yield f"{'✅' if gate.green else '❌'} {_capital(plain(sentence(gate)))}"
    yield ""
    found = complaints(gate, folded.run.verdicts)
    for one in found[:_ROWS]:
        yield f"- **{TITLES[one.standing]}**: {plain(one.text)}"
    if len(found) > _ROWS:
        yield f"- and {len(found) - _ROWS} more"
    if found:
        yield ""


def _cells(implementation: str, cells: tuple[Cell, ...]) -> Iterator[str]:
    if not cells:
        return
    expected = sum(cell.expected for cell in cells)
    what = f"{len(cells)} case{'s' if len(cells) != 1 else ''} not as required"
    what += f", {expected} of them expected" if expected else ""
    yield f"### {code(implementation, 60)}: {what}"
    yield ""
    yield "| verdict | case | where | what was seen | again |"
    yield "|---|---|---|---|---|"
    for cell in cells[:_ROWS]:
        worst = cell.verdicts[0]
        where = label(worst) if len(cell.verdicts) == 1 else f"{cell.count} of {len(cell.verdicts)}"
        verdict = f"{worst.verdict.value}, expected" if cell.expected else worst.verdict.value
        yield f"| {verdict} | {code(cell.case, 100)} | {code(where, 100)} | {_seen(worst)} | {code(worst.reproduce)} |"
    if len(cells) > _ROWS:
        yield f"| | and {len(cells) - _ROWS} more | | | |"
    yield ""


def _seen(verdict: VerdictRecord) -> str:
    reason = verdict.reason if verdict.reason != verdict.verdict.value else ""
    return code(": ".join(part for part in (reason, first(verdict.observed or verdict.outcome, 300)) if part))
