"""``fdspec fuzz promote``: a permanent case of the suite, made of a finding."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import OK, Stop
from .options import LEVELS

if TYPE_CHECKING:
    from ..conformance.suite import Requirement
    from ..fuzz.findings.case import Found
    from ..fuzz.findings.finding import Finding


@click.command("promote")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--id", "identity", metavar="AREA.NAME", help="The case's id [default: found. and what broke where].")
@click.option("--level", type=click.Choice(LEVELS), help="The case's level [default: the requirement's].")
@click.option("--checks", metavar="ID", help="The requirement that it checks [default: the finding's].")
@click.option(
    "--to",
    "directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The directory of the suite that it is written into [default: this fdspec's own].",
)
def command(file: Path, identity: str | None, level: str | None, checks: str | None, directory: Path | None) -> int:
    """Make a permanent case of a finding: a module of the suite, with the program in the words that cases are written in.

    The finding is run again on its implementation, and on the reference, which says what has to be. What a case has no word
    for is said, with exit code 2; so is an id that is in use, or was.
    """
    from ..conformance.suite import ROOT  # noqa: PLC0415 - a verb's own imports wait for it
    from ..fuzz.findings.case import Inexpressible, source_of  # noqa: PLC0415 - the same
    from ..reports.write import WriteError, replace  # noqa: PLC0415 - the same

    finding = _read(file)
    to = ROOT if directory is None else directory
    requirement = _requirement(checks or finding.violation.requirement)
    chosen = identity or _default(finding)
    path = to / f"test_found_{re.sub(r'[^a-z0-9]+', '_', chosen.removeprefix('found.'))}.py"
    _free(chosen, to, path)
    try:
        text = source_of(chosen, level or requirement.level.value, requirement, _found(finding))
    except Inexpressible as fault:
        raise Stop(f"{file} cannot be made a case: {fault}") from fault
    try:
        replace(path, text.encode())
    except WriteError as fault:
        raise Stop(str(fault)) from fault
    click.echo(text)
    click.echo(f"{path} holds the case {chosen}. What is left to do:")
    for step in (
        f"fdspec run -i reference -k {chosen}    must pass",
        f"fdspec run -i {finding.subject} -k {chosen}    must fail, until it is repaired",
        "read it: the docstring says what must happen, the assertion no more than that",
        f"ruff format {path}",
        "python -m fdspec.conformance.ledger --update    writes the id down, which is permanent from then on",
    ):
        click.echo(f"  {step}")
    return OK


def _read(file: Path) -> Finding:
    from ..fuzz.findings.store import BadFinding, read  # noqa: PLC0415 - see above

    try:
        return read(file)
    except BadFinding as fault:
        raise Stop(str(fault)) from fault


def _requirement(identity: str) -> Requirement:
    from ..conformance.suite import load_suite  # noqa: PLC0415 - see above

    found = load_suite().requirements.get(identity)
    if found is None:
        raise Stop(f"{identity!r} is no requirement; --checks says which one the case is to check")
    return found


def _default(finding: Finding) -> str:
    from ..fuzz.findings.store import name_of  # noqa: PLC0415 - see above

    key = finding.key
    name = re.sub(r"[^a-z0-9]+", "-", f"{key.requirement} {key.operation}".lower()).strip("-")
    return f"found.{name}-{name_of(finding).removesuffix('.toml')[-6:]}"


def _free(identity: str, to: Path, path: Path) -> None:
    """Raise Stop for an id that is none, is in use in the directory, or ever was."""
    from ..conformance.ledger import Kind, LedgerError, read  # noqa: PLC0415 - see above
    from ..conformance.suite import CASE_ID, load_suite  # noqa: PLC0415 - the same

    if not CASE_ID.fullmatch(identity):
        raise Stop(f"{identity!r} is no id of a case: area.behaviour[.variant] in lower case with hyphens is")
    try:
        ledger = read()
    except LedgerError as fault:
        raise Stop(str(fault)) from fault
    known = (Kind.CASE, identity)
    if identity in load_suite().cases or known in ledger.entries:
        raise Stop(f"a case is called {identity} already; --id gives it another id")
    if known in ledger.retired:
        raise Stop(f"a case was called {identity} once, and an id is never used again; --id gives it another id")
    for other in to.glob("test_*.py"):
        if f'@case("{identity}"' in other.read_text(encoding="utf-8"):
            raise Stop(f"{other} has a case that is called {identity} already; --id gives it another id")
    if path.exists():
        raise Stop(f"{path} is there already; --id gives the case another id")


def _found(finding: Finding) -> Found:
    """Return what a case is written from. Raises Stop where the finding no longer shows."""
    from ..fuzz.findings.case import Found  # noqa: PLC0415 - see above
    from ..fuzz.offer import needs_of  # noqa: PLC0415 - the same
    from .replay import offered, opened  # noqa: PLC0415 - the same

    program = finding.program
    with opened(finding.subject, program) as runner:
        offered(runner, program)
        verdict = runner.examine(program)
        violation = next((one for one in verdict.violations if one.key == finding.key), None)
        if violation is None:
            raise Stop(f"it does not show on {finding.subject} any more; `fdspec replay` says what does")
        seen = runner.observe(program)
    with opened("reference", program) as runner:
        offers = [one for one in runner.offers if one.profile is program.profile]
        takes = bool(offers) and needs_of(program) <= offers[0].names
        if takes and runner.examine(program).violations:
            raise Stop("the reference fails in this program too, and so cannot say what has to be")
        right = runner.observe(program) if takes else None
    return Found(program, violation, seen, right)
