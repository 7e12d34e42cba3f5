"""``fdspec mutants``: the suite against faulty variants of the reference, and who caught what."""

from __future__ import annotations

import fnmatch
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..impls.mutants import tables
from .errors import HARNESS, NOT_AS_EXPECTED, OK, Stop, nearest
from .table import columns

if TYPE_CHECKING:
    from ..conformance.mutation import Examined

_HEADS = ("mutant", "class", "defects", "not passed", "caught by (*: checks nothing that it violates)")


@click.command("mutants")
@click.option(
    "-k",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only mutants whose id matches, '*' and '?' allowed; cases are then not judged. Repeatable.",
)
@click.option(
    "--case",
    "cases",
    multiple=True,
    metavar="PATTERN",
    help="Only cases whose id matches; neither mutants nor cases are then judged, only the reference. Repeatable.",
)
@click.option("-n", "jobs", type=click.IntRange(1, 256), help="Worker processes [default: two for each core].")
@click.option("--all", "thorough", is_flag=True, help="Spare no mutant any case: the whole of who catches what.")
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write all of it into this file, too: every mutant with every case that caught it.",
)
@click.option(
    "--tables",
    "directory",
    type=click.Path(file_okay=False, exists=True, path_type=Path),
    help="Directory with tables of mutants in place of fdspec's own; cases are then not judged.",
)
def command(
    patterns: tuple[str, ...],
    cases: tuple[str, ...],
    jobs: int | None,
    thorough: bool,
    file: Path | None,
    directory: Path | None,
) -> int:
    """Run the suite against faulty variants of the reference, and say who caught what.

    The suite holds when every mutant is caught by a case of a requirement that it violates, every case on libraries and
    transports catches a mutant, and none catches the reference itself. A mutant meets all cases of what it violates and a
    share of the others. `fdspec run -i mutant:ID` runs one like any implementation, with records of all that happened.
    """
    try:
        return _run(patterns, cases, jobs, file, directory or tables.HERE, thorough=thorough or bool(cases))
    except tables.MutantError as fault:
        raise Stop(str(fault)) from fault


def _run(
    patterns: Sequence[str],
    cases: Sequence[str],
    jobs: int | None,
    file: Path | None,
    directory: Path,
    *,
    thorough: bool,
) -> int:
    from ..conformance import mutation  # noqa: PLC0415 - imports the suite, after the usage has been checked
    from ..conformance.suite import SuiteError, load_suite  # noqa: PLC0415 - as above
    from ..reports import mutants as report  # noqa: PLC0415 - as above

    known = tables.everything(directory)
    mutants = {name: known[name] for name in _matching("mutant", patterns, list(known))}
    try:
        suite = load_suite()
    except SuiteError as fault:
        raise Stop(str(fault)) from fault
    _check(list(known.values()), suite.requirements)
    for one in mutants.values():
        tables.compiled(one)  # before anything is run
    wanted = _matching("case", cases, list(suite.cases)) if cases else None
    begin = time.monotonic()
    try:
        results = mutation.examine_all(list(mutants.values()), wanted, jobs, thorough=thorough)
    except mutation.FAULTS as fault:
        raise Stop(f"the harness failed: {fault}", HARNESS) from fault
    seconds = time.monotonic() - begin
    every = not patterns and directory == tables.HERE
    judgement = report.judge(suite, mutants, results, every_mutant=every, every_case=wanted is None)
    click.echo(columns(report.rows(suite, mutants, results), _HEADS), nl=False)
    for sentence in report.problems(suite, mutants, judgement):
        click.echo(f"fdspec: {sentence}", err=True)
    click.echo(_figures(results, seconds))
    if file is not None:
        try:
            file.write_bytes(report.document(suite, mutants, results, judgement, seconds))
        except OSError as fault:
            raise Stop(f"{file} cannot be written: {fault.strerror}") from fault
    return OK if judgement.holds else NOT_AS_EXPECTED


def _figures(results: Mapping[str, Examined], seconds: float) -> str:
    verdicts = sum(sum(one.verdicts.values()) for one in results.values())
    caught = sum(bool(one.cases) for name, one in results.items() if name)
    return f"{len(results) - 1} mutants, {caught} caught; {verdicts} verdicts in {seconds:.1f} s"


def _matching(what: str, patterns: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the names that match a pattern, all without. Raises Stop (exit 2) for one that matches nothing."""
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            raise Stop(f"no {what} matches {pattern!r}{nearest(pattern, known, f'no {what} is called so')}")
    return [name for name in known if not patterns or any(fnmatch.fnmatchcase(name, one) for one in patterns)]


def _check(mutants: Sequence[tables.Mutant], requirements: Collection[str]) -> None:
    """Raise Stop (exit 2) for a requirement that does not exist."""
    for one in mutants:
        for requirement in one.violates:
            if requirement not in requirements:
                raise Stop(
                    f"mutant {one.id} violates {requirement!r}, which is no requirement"
                    f"{nearest(requirement, requirements, '`fdspec list --requirements` shows all')}"
                )
