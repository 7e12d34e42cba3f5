"""What people see of campaigns: a table that changes on a terminal, a line every few seconds elsewhere, and a summary."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from ...conformance.tomlfile import shown
from ..findings import store
from .campaign import Campaign

if TYPE_CHECKING:
    from rich.console import Group

LINES_EVERY = 5.0
"""Seconds between two lines."""
MOST_SHOWN = 25
"""Findings that a summary shows one by one."""
_WINDOW = 10.0
"""Seconds over which programs a second are counted."""
HEADS = (
    "time",
    "left",
    "programs",
    "a second",
    "corpus",
    "features",
    "findings",
    "unconfirmed",
    "testee restarts",
    "doing",
)


class Rates:
    """How many programs each campaign ran a second lately."""

    def __init__(self) -> None:
        self._points: dict[int, list[tuple[float, int]]] = {}

    def of(self, campaign: Campaign) -> float:
        """Return the rate, and remember how far the campaign is."""
        now = time.monotonic()
        points = self._points.setdefault(id(campaign), [(campaign.shown.began, 0)])
        points.append((now, campaign.shown.programs))
        while len(points) > 2 and points[1][0] <= now - _WINDOW:
            points.pop(0)
        (first, before), (last, after) = points[0], points[-1]
        return (after - before) / (last - first) if last > first else 0.0


def duration(seconds: float) -> str:
    """Return a time in words: ``9 s``, ``3 min 09 s``, ``2 h 04 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole // 60 % 60:02} min"


def left(campaign: Campaign) -> str:
    """Return what is left of a campaign's time, or of its programs."""
    found: list[str] = []
    if campaign.left is not None:
        found.append(duration(campaign.left))
    if campaign.plan.runs is not None:
        found.append(f"{max(0, campaign.plan.runs - campaign.shown.programs):,} programs")
    return ", ".join(found)


def line(campaign: Campaign, rate: float) -> str:
    """Return where a campaign is, in one line."""
    state, now = campaign.state, campaign.shown
    parts = [
        duration(now.seconds),
        f"{now.programs:,} programs",
        f"{rate:,.0f} a second",
        f"corpus {now.corpus:,}",
        f"features {now.features:,}",
        f"findings {len(campaign.found.keys() | campaign.old.keys())}",
        f"unconfirmed {len(campaign.doubted)}",
        f"restarts {state.restarts:,}",
    ]
    rest = left(campaign)
    parts += [f"{rest} left"] if rest else []
    parts += [now.phase] if now.phase != "searching" else []
    return f"{campaign.plan.subject}: " + ", ".join(parts)


def _table(campaigns: Sequence[Campaign], rates: Rates) -> Group:
    from rich.console import Group  # noqa: PLC0415 - for terminals alone
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table()
    table.add_column("")
    columns: list[tuple[str, ...]] = []
    for campaign in campaigns:
        now = campaign.shown
        findings, doubts = len(campaign.found.keys() | campaign.old.keys()), len(campaign.doubted)
        table.add_column(escape(campaign.plan.subject), justify="right")
        columns.append(
            (
                duration(now.seconds),
                left(campaign) or "until Ctrl-C",
                f"{now.programs:,}",
                f"{rates.of(campaign):,.0f}",
                f"{now.corpus:,}",
                f"{now.features:,}",
                f"[bold red]{findings}[/]" if findings else "0",
                f"[yellow]{doubts}[/]" if doubts else "0",
                f"{campaign.state.restarts:,}",
                escape(now.phase),
            )
        )
    for head, *cells in zip(HEADS, *columns, strict=True):
        table.add_row(head, *cells)
    return Group(table, "Ctrl-C ends it; what was found stays")


class Display:
    """Shows campaigns on a stream: ``note`` a sentence, ``show`` where they are."""

    def __init__(self, stream: IO[str], *, every: float = LINES_EVERY) -> None:
        self._stream = stream
        self._every = every
        self._next = time.monotonic() + every
        self._rates = Rates()
        self._note: Callable[[str], None] = self._print
        self._update: Callable[[Sequence[Campaign]], None] = self._lines

    def note(self, text: str) -> None:
        """Show a sentence."""
        self._note(text)

    def show(self, campaigns: Sequence[Campaign]) -> None:
        """Show where campaigns are."""
        self._update(campaigns)

    def _print(self, text: str) -> None:
        print(f"fdspec: {text}", file=self._stream, flush=True)

    def _lines(self, campaigns: Sequence[Campaign]) -> None:
        rates = [self._rates.of(one) for one in campaigns]
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._every
            for one, rate in zip(campaigns, rates, strict=True):
                self._print(line(one, rate))

    @contextmanager
    def living(self, *, terminal: bool) -> Generator[None]:
        """Show a table that changes meanwhile, where the stream is a ``terminal``."""
        if not terminal:
            yield
            return
        from rich.console import Console  # noqa: PLC0415 - for terminals alone
        from rich.live import Live  # noqa: PLC0415
        from rich.markup import escape  # noqa: PLC0415

        console = Console(file=self._stream)
        with Live(console=console, auto_refresh=False, transient=True) as live:
            self._note = lambda text: console.print(escape(f"fdspec: {text}"), soft_wrap=True, highlight=False)
            self._update = lambda campaigns: live.update(_table(campaigns, self._rates), refresh=True)
            try:
                yield
            finally:
                self._note, self._update = self._print, self._lines


def summary(campaign: Campaign) -> str:
    """Return what a campaign came to."""
    state, now = campaign.state, campaign.shown
    ran, unsupported = campaign.ran
    rate = ran / now.seconds if now.seconds > 0 else 0.0
    first = (
        f"{campaign.plan.subject}: {ran:,} programs in {duration(now.seconds)}, {rate:,.0f} a second; "
        f"{state.programs:,} in all; corpus {now.corpus:,}, features {now.features:,}, seed {campaign.plan.seed}, "
        f"epoch {state.epoch}"
    )
    lines = [first]
    lines += [f"  {unsupported:,} programs could not be run"] if unsupported else []
    lines += [f"  {word}" for word in campaign.words]
    lines += _findings(campaign)
    if campaign.doubted:
        lines.append(
            f"  UNCONFIRMED: {len(campaign.doubted)} kinds of suspicion, met {sum(state.unconfirmed.values()):,} times, "
            f"that no examination showed; they are no findings, and are in {shown(campaign.store.unconfirmed)}"
        )
        for key, message in list(campaign.doubted.items())[:MOST_SHOWN]:
            times = state.unconfirmed.get(str(key), 0)
            lines.append(f"    {key}: {message} ({times:,} times)")
    return "\n".join(lines)


def _findings(campaign: Campaign) -> list[str]:
    found = campaign.all_found()
    if not found:
        return ["  no findings"]
    lines = [f"  {len(found)} finding{'' if len(found) == 1 else 's'}, in {shown(campaign.store.findings)}:"]
    for key, finding in list(found.items())[:MOST_SHOWN]:
        count = len(finding.program.operations)
        new = "" if key in campaign.found and key not in campaign.old else ", from before"
        small = "" if finding.minimised else ", not made small"
        lines.append(f"    {key}: {finding.violation.message}")
        file = shown(campaign.store.findings / store.name_of(finding))
        many = "1 operation" if count == 1 else f"{count} operations"
        lines.append(f"      {many}{small}, seen {finding.seen:,} times{new}: fdspec replay {file}")
    if len(found) > MOST_SHOWN:
        lines.append(f"    and {len(found) - MOST_SHOWN} more")
    return lines
