"""``fdspec replay``: run the program of a finding again, or print it as a program of plain system calls."""

from __future__ import annotations

import contextlib
import sys
import textwrap
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import HARNESS, NO_START, NOT_AS_EXPECTED, OK, Stop
from .found import explain_missing, manifests, name_of, progress

if TYPE_CHECKING:
    from ..fuzz.findings.files import Replayable
    from ..fuzz.judgement import Runner, Verdict, Violation
    from ..fuzz.program import Program

_WIDTH = 100
_MOST = 60
"""Lines of a transcript that are shown."""


@click.command("replay")
@click.argument("file", metavar="FILE|-")
@click.option("-i", "--impl", "name", metavar="ID|PATH", help="On this implementation [default: the finding's own].")
@click.option("--times", type=click.IntRange(1), default=1, show_default=True, help="Run it so many times.")
@click.option("--script", is_flag=True, help="Print a stand-alone program of plain system calls that shows the same.")
@click.option(
    "--language", type=click.Choice(["python", "c"]), default="python", show_default=True, help="That of the --script."
)
def command(file: str, name: str | None, times: int, script: bool, language: str) -> int:
    """Run the program of a finding again, carefully, and say what is wrong.

    FILE is a finding, or a program alone (- is standard input), which needs -i. Exit code 1: it fails still, or fails in
    another way; 0: everything was as it has to be.
    """
    found = _read(file)
    subject = name or (found.finding.subject if found.finding else "")
    if not subject:
        raise Stop(f"{file} is a program alone and names no implementation; -i says on which to run it")
    with opened(subject, found.program) as runner:
        offered(runner, found.program)
        if script:
            from ..fuzz.findings.script import script_of  # noqa: PLC0415 - only where it is asked for

            click.echo(script_of(found.program, found.finding, runner).text(language), nl=False)
            return OK
        _head(found, runner)
        failed = sum(_once(found, runner, number + 1, times) for number in range(times))
    if times > 1:
        click.echo(f"\nwrong in {failed} of {times} runs")
    return NOT_AS_EXPECTED if failed else OK


def _read(file: str) -> Replayable:
    from ..fuzz.findings.files import understand  # noqa: PLC0415 - a verb's own imports wait for it
    from ..fuzz.findings.store import BadFinding  # noqa: PLC0415 - the same

    try:
        data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as fault:
        raise Stop(f"cannot read {file}: {fault.strerror}") from fault
    try:
        return understand(data, Path("standard input" if file == "-" else file))
    except BadFinding as fault:
        raise Stop(str(fault)) from fault


@contextlib.contextmanager
def opened(subject: str, program: Program) -> Generator[Runner]:
    """Yield a runner of ``subject`` for that program. Raises Stop: 2 unknown, 3 not to be had or started, 4 the harness."""
    from ..conformance.bench import HarnessFault  # noqa: PLC0415 - a verb's own imports wait for it
    from ..fuzz.offer import INTERPOSE, needs_of  # noqa: PLC0415 - the same
    from ..fuzz.runner import open_runner  # noqa: PLC0415 - the same
    from ..impls.errors import StartFailed, Unsupported  # noqa: PLC0415 - the same
    from ..impls.setup import Unavailable, prepare  # noqa: PLC0415 - the same

    (manifest,) = manifests([subject])
    with progress() as show:
        prepared = prepare(manifest, show)
    if isinstance(prepared, Unavailable):
        raise Stop(explain_missing(prepared), NO_START)
    try:
        runner = open_runner(name_of(manifest), profiles=[program.profile], interpose=INTERPOSE in needs_of(program))
        try:
            yield runner
        finally:
            runner.close()
    except StartFailed as fault:
        raise Stop(f"{manifest.id} could not start: {fault}", NO_START) from fault
    except Unsupported as fault:
        raise Stop(f"this program cannot be run here: {fault}") from fault
    except HarnessFault as fault:
        raise Stop(f"the harness failed: {fault}", HARNESS) from fault


def offered(runner: Runner, program: Program) -> None:
    """Raise Stop where the implementation does not offer what the program needs."""
    from ..fuzz.offer import needs_of  # noqa: PLC0415 - see above

    offers = [one for one in runner.offers if one.profile is program.profile]
    if not offers:
        there = ", ".join(one.profile for one in runner.offers) or "none that programs are for"
        raise Stop(f"{runner.subject} offers no profile {program.profile}, which the program is for; it offers {there}")
    lacking = sorted(needs_of(program) - offers[0].names)
    if lacking:
        raise Stop(f"{runner.subject} does not offer what the program needs: {', '.join(lacking)}")


# ---- showing -----------------------------------------------------------------------------------------------------------


def _head(found: Replayable, runner: Runner) -> None:
    from ..fuzz.text import line_of, show  # noqa: PLC0415 - see above
    from ..reports.text import line  # noqa: PLC0415 - the same

    _row("on", line(f"{runner.subject} {runner.version}".rstrip()))
    if found.finding is not None:
        said = found.finding.violation
        _row("finding", line(f"{said.key}: {said.message}"))
        _requirement(said)
    first, *_ = show(found.program).splitlines()
    click.echo(f"\n    {first}")
    for number, operation in enumerate(found.program.operations, 1):
        click.echo(f"{number:>3} {line(line_of(operation), 200)}")


def _once(found: Replayable, runner: Runner, number: int, times: int) -> bool:
    """Run it once and show what came of it. Returns whether anything was wrong."""
    verdict = runner.examine(found.program)
    if verdict.unsupported:
        raise Stop(f"{runner.subject} cannot run this program: {verdict.unsupported}")
    click.echo(f"\nrun {number} of {times}" if times > 1 else "")
    if not verdict.violations:
        click.echo("everything was as it has to be")
        return False
    finding = found.finding
    same = finding is not None and any(one.key == finding.key for one in verdict.violations)
    if finding is not None:
        click.echo("it fails as it did" if same else "it no longer fails as it did, and fails in another way")
    told = {finding.key.requirement} if finding is not None else set[str]()
    for one in verdict.violations:
        _violation(one, known=one.requirement in told)
        told.add(one.requirement)
    if number == times:
        _transcript(verdict)
    return True


def _violation(one: Violation, *, known: bool) -> None:
    from ..fuzz.judgement import END  # noqa: PLC0415 - see above
    from ..reports.text import line  # noqa: PLC0415 - the same

    where = "after the last operation" if one.operation == END else f"at operation {one.at + 1}, {one.operation}"
    _row("seen", line(f"{where}, in {one.place}: {one.message}"))
    for outcome in one.permitted:
        _row("permitted", line(outcome))
    if not known:
        _requirement(one)


def _requirement(one: Violation) -> None:
    """Show the sentence that is broken; a breach of the testee protocol is no requirement's."""
    from ..conformance.suite import load_suite  # noqa: PLC0415 - see above
    from ..reports.text import line  # noqa: PLC0415 - the same

    known = load_suite().requirements.get(one.requirement)
    sentence = known.sentence if known is not None else f"({one.breach.value})"
    _row("must", line(f"{one.requirement}: {sentence}", 1000))


def _transcript(verdict: Verdict) -> None:
    from ..reports.text import line  # noqa: PLC0415 - see above

    lines = verdict.transcript
    start = next((place for place, each in enumerate(lines) if each.startswith("operation ")), 0)
    lines = lines[start:]  # before it there is the connection
    if lines:
        click.echo("\ntranscript")
    for each in lines[:_MOST]:
        click.echo(f"    {line(each, 200)}")
    if len(lines) > _MOST:
        click.echo(f"    ... and {len(lines) - _MOST} lines more")


def _row(name: str, text: str) -> None:
    lines = textwrap.wrap(text, _WIDTH - 11, break_on_hyphens=False) or [""]
    click.echo("\n".join(f"{name if not index else '':<10} {each}" for index, each in enumerate(lines)))
