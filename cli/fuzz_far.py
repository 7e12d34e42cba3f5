"""``fdspec fuzz --scheduler``: a campaign on the workers of Dask's scheduler, as it is told on this machine."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Generator, Sequence
from types import FrameType
from typing import TYPE_CHECKING

import click

from ..conformance.tomlfile import shown
from .errors import HARNESS, NOT_AS_EXPECTED, OK, Stop

if TYPE_CHECKING:
    from ..fuzz.campaign.campaign import Plan as Here
    from ..fuzz.campaign.far import Progress
    from ..fuzz.campaign.far_values import Merged
    from ..fuzz.campaign.faults import Ending
    from ..fuzz.findings.finding import Finding

EVERY = 5.0
"""Seconds between two lines of progress."""


def campaign(plan: Here, scheduler: str) -> int:
    """Have a campaign done on a scheduler's workers; return the exit code of the command. Raises Stop."""
    from ..fuzz.campaign.far import Listener, conduct  # noqa: PLC0415 - for who asks for a scheduler
    from ..fuzz.campaign.far_cluster import BadAddress, DaskCluster, Unreachable  # noqa: PLC0415
    from ..fuzz.campaign.far_values import Plan  # noqa: PLC0415
    from ..fuzz.campaign.faults import Refused, Unwritable  # noqa: PLC0415

    if plan.further:
        raise Stop(
            "--corpus is for campaigns on this machine: copy its programs into DIRECTORY/corpus by one of these first"
        )
    if plan.minimise == "only":
        raise Stop("--minimise-corpus is done on this machine: leave --scheduler out")
    far = Plan(
        plan.subject,
        plan.engine,
        plan.opener,
        plan.seed,
        plan.runs,
        plan.seconds,
        profiles=plan.profiles,
        interpose=plan.interpose,
    )
    try:
        cluster = DaskCluster(scheduler, progress=lambda worker, line: _note(f"worker {worker}: {line}"))
    except BadAddress as fault:
        raise Stop(str(fault)) from fault
    except Unreachable as fault:
        raise Stop(str(fault), HARNESS) from fault
    try:
        with contextlib.closing(cluster), _interruptions() as stopped:
            listener = Listener(_Lines(plan.subject), _found, _doubted, _note, stopped)
            _note(f"{plan.subject}: engine {plan.engine}, on the workers of {scheduler}, in {shown(plan.directory)}")
            merged, ending = conduct(far, cluster, plan.directory, listener)
            return _code(plan, merged, ending, stopped=stopped())
    except Refused as fault:
        raise Stop(str(fault)) from fault
    except (Unwritable, Unreachable) as fault:
        raise Stop(str(fault), HARNESS) from fault


def _note(text: str) -> None:
    click.echo(f"fdspec: {text}")


def _found(finding: Finding) -> None:
    _note(f"found: {finding.key}: {finding.violation.message} ({len(finding.program.operations)} operations)")


def _doubted(finding: Finding) -> None:
    _note(f"unconfirmed: {finding.key}: {finding.violation.message}")


class _Lines:
    """Tells now and then in a line where a campaign is."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._next = time.monotonic() + EVERY

    def __call__(self, now: Progress) -> None:
        """Tell it where it is time."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + EVERY
        rate = now.programs / now.seconds if now.seconds > 0 else 0.0
        trouble = f", {now.again} begun again" if now.again else ""
        trouble += f", {now.lost} GIVEN UP" if now.lost else ""
        _note(
            f"{self._subject}: {now.seconds:.0f} s, {now.machines} workers, {now.shards:,} shards done and {now.busy} sent"
            f"{trouble}, {now.programs:,} programs, {rate:,.0f} a second, corpus {now.corpus:,}, features {now.features:,}, "
            f"findings {now.findings}"
        )


def _code(plan: Here, merged: Merged, ending: Ending | None, *, stopped: bool) -> int:
    """Show what a campaign came to, and return its exit code."""
    findings = sorted(merged.findings.values(), key=lambda one: one.key)
    counters = merged.counters
    click.echo(
        f"{plan.subject}: {counters.programs:,} programs in {len(merged.done):,} shards; corpus {len(merged.corpus):,}, "
        f"features {len(merged.features):,}; {_counted(findings)}, in {shown(plan.directory / 'findings')}"
    )
    if merged.unconfirmed:
        click.echo(
            f"  UNCONFIRMED: {len(merged.unconfirmed)} kinds of suspicion, in {shown(plan.directory / 'unconfirmed')}"
        )
    if ending is not None:
        raise Stop(ending.message, ending.code)
    if counters.programs and counters.programs == counters.unsupported:
        raise Stop(f"no program could be run on {plan.subject}, so nothing was tested", HARNESS)
    if plan.engine == "differential":
        from ..fuzz.engines.differential import table, wrong  # noqa: PLC0415 - for who asks for it

        click.echo(table(findings), nl=False)
        return NOT_AS_EXPECTED if wrong(findings) else OK
    for one in findings:
        click.echo(f"  {one.key}: {one.violation.message} (seen {one.seen:,} times)")
    if findings:
        return NOT_AS_EXPECTED
    if stopped and (plan.seconds is not None or plan.runs is not None):
        raise Stop("it was ended before its --time or --runs were over, so it says nothing", HARNESS)
    return OK


def _counted(findings: Sequence[Finding]) -> str:
    return f"{len(findings) or 'no'} finding{'' if len(findings) == 1 else 's'}"


@contextlib.contextmanager
def _interruptions() -> Generator[Callable[[], bool]]:
    """Take Ctrl-C, SIGTERM and SIGHUP meanwhile as the wish to end; the second Ctrl-C ends at once."""
    asked: list[int] = []

    def stop(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ours = [number for number, handler in before.items() if handler != signal.SIG_IGN or number == signal.SIGINT]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield lambda: bool(asked)
    finally:
        for number in ours:
            signal.signal(number, before[number])
