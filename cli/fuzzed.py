"""Findings of fuzzing for a report: read from directories, and put into the words of reports."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import Stop

if TYPE_CHECKING:
    from ..fuzz.findings.finding import Finding
    from ..reports.findings import Fuzzed

USUAL = Path("fdspec-out/fuzz")
"""Where campaigns are kept that were given no other place."""

option = click.option(
    "--findings",
    "findings",
    multiple=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help=f"Show the findings of this directory, too. Repeatable [default: those in {USUAL}/ of these implementations].",
)


def fuzzed(directories: Iterable[Path], implementations: Iterable[str]) -> tuple[Fuzzed, ...]:
    """Return the findings in ``directories``; without any, those here that are about ``implementations``.

    Raises Stop for a directory that was named and holds something else; what nobody has named is told and left out.
    """
    named = tuple(directories)
    known = None if named else frozenset(implementations)
    found: list[Fuzzed] = []
    for directory in named or sorted(USUAL.glob("*/findings")):
        found += [
            _view(path, one)
            for path, one in _read(directory, strict=bool(named))
            if known is None or one.subject in known
        ]
    return tuple(found)


def _read(directory: Path, *, strict: bool) -> list[tuple[Path, Finding]]:
    from ..fuzz.findings.store import BadFinding, files_of, read  # noqa: PLC0415 - a verb's own imports wait for it

    found: list[tuple[Path, Finding]] = []
    for path in files_of(directory):
        try:
            found.append((path, read(path)))
        except BadFinding as fault:
            if strict:
                raise Stop(str(fault)) from fault
            click.echo(f"fdspec: a finding is left out of the report: {fault}", err=True)
    return found


def _view(path: Path, finding: Finding) -> Fuzzed:
    from ..conformance.suite import load_suite  # noqa: PLC0415 - see above
    from ..fuzz.text import show  # noqa: PLC0415 - the same
    from ..reports.findings import Fuzzed  # noqa: PLC0415 - the same

    said = finding.violation
    requirement = load_suite().requirements.get(said.requirement)
    return Fuzzed(
        finding.subject,
        finding.version,
        finding.platform,
        said.requirement,
        "" if requirement is None else requirement.sentence,
        said.breach.value,
        said.operation,
        said.place,
        said.message,
        said.permitted,
        tuple(show(finding.program).splitlines()),
        finding.seen,
        str(path),
        f"fdspec replay {shlex.quote(str(path))}",
    )
