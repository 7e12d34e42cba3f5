"""The summary of a run as what rich can print; ``terminal`` is the way in."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..conformance.gatewords import TITLES, complaints, sentence
from ..conformance.records import Gate, Verdict
from . import findings
from .findings import Fuzzed
from .fold import READING, Cell, Folded, fold, label, overview
from .store import Run
from .text import first, line

STYLE: dict[Verdict, str] = {
    Verdict.PASS: "green",
    Verdict.FAIL: "bold red",
    Verdict.LEAK: "bold magenta",
    Verdict.CRASH: "bold white on red",
    Verdict.TIMEOUT: "bold yellow",
    Verdict.BROKEN: "bold cyan",
    Verdict.UNSUPPORTED: "dim",
}
_HEADS = {Verdict.UNSUPPORTED: "n/a"}


def render(run: Run) -> RenderableType:
    """Return the summary. Text from a testee is never markup."""
    return Group(*_parts(fold(run)))


def _parts(folded: Folded) -> Iterator[RenderableType]:
    run = folded.run
    if run.incomplete:
        yield _incomplete(run.incomplete)
    if folded.available:
        yield _table(folded)
    else:
        yield Text("No implementation ran.", style="bold red")
    for implementation in folded.available:
        bad = folded.bad(implementation.id)
        if bad:
            yield _failed(implementation.id, bad)
    if run.fuzzed:
        yield _fuzzed(run.fuzzed)
    if folded.unavailable:
        yield _unavailable(folded)
    yield Text(overview(folded), style="bold")
    if run.header.platform.personality:
        yield Text(f"kernel: {line(run.header.platform.kernel)}", style="bold")
    if run.footer and run.footer.gate:
        yield _gate(run.footer.gate, folded)
    if run.incomplete:
        yield _incomplete(run.incomplete)


def _incomplete(reason: str) -> Text:
    return Text(f"INCOMPLETE: {reason}", style="bold white on red")


def _table(folded: Folded) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, expand=False, show_edge=False)
    table.add_column("implementation", overflow="ellipsis", no_wrap=True, min_width=12, max_width=30)
    for verdict in READING:
        table.add_column(_HEADS.get(verdict, verdict.value), justify="right", no_wrap=True)
    for implementation in folded.available:
        counts = folded.summaries[implementation.id]
        row = [Text(line(implementation.id, 60))]
        for verdict in READING:
            number = counts[verdict]
            row.append(Text(str(number), style=STYLE[verdict]) if number else Text("·", style="dim"))
        table.add_row(*row)
    return table


def _failed(implementation: str, cells: tuple[Cell, ...]) -> Group:
    what = f"{len(cells)} case{'s' if len(cells) != 1 else ''} not as required"
    expected = sum(cell.expected for cell in cells)
    what += f", {expected} of them expected" if expected else ""
    lines = [Text.assemble("\n", (line(implementation, 60), "bold"), f": {what}")]
    lines += [_one(cell) for cell in cells]
    return Group(*lines)


def _one(cell: Cell) -> Text:
    """Return a cell in one line: verdict, case, where, what was seen."""
    worst = cell.verdicts[0]
    where = label(worst) if len(cell.verdicts) == 1 else f"{cell.count} of {len(cell.verdicts)}"
    seen = worst.observed or worst.outcome
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"  {worst.verdict.value:<8}", style=STYLE[worst.verdict])
    text.append(line(cell.case, 100))
    text.append(f" [{line(where, 60)}]", style="dim")
    if cell.expected:
        text.append(" expected", style="bold green")
    if worst.reason not in ("", worst.verdict.value):
        text.append(f" {line(worst.reason, 60)}")
    if seen:
        text.append(f": {first(seen, 300)}")
    return text


def _fuzzed(found: tuple[Fuzzed, ...]) -> Group:
    lines = [Text(f"\n{findings.sentence(len(found))}", style="bold")]
    for one, said in findings.lines_of(found):
        text = Text("  ", overflow="fold")
        text.append(one.implementation, style="bold")
        text.append(f" {said}")
        lines.append(text)
    return Group(*lines)


def _gate(gate: Gate, folded: Folded) -> Group:
    """Return how the gate judged: each reason why it is red in a line of its own."""
    lines: list[Text] = []
    for complaint in complaints(gate, folded.run.verdicts):
        text = Text("  ")
        text.append(TITLES[complaint.standing], style="bold red")
        text.append(f": {line(complaint.text, 600)}")
        lines.append(text)
    said = line(sentence(gate), 600)
    return Group(*lines, Text(said[0].upper() + said[1:], style="bold green" if gate.green else "bold red"))


def _unavailable(folded: Folded) -> Group:
    lines = [Text("\nnot available here", style="bold yellow")]
    for each in folded.unavailable:
        text = Text("  ", overflow="fold")
        text.append(line(each.id, 60), style="bold")
        text.append(f": {line(each.reason, 300) or 'no reason was recorded'}")
        lines.append(text)
    lines.append(Text())
    return Group(*lines)
