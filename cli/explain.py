"""``fdspec explain``: all that is known of a case or a requirement."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from .errors import Stop, nearest

if TYPE_CHECKING:
    from ..conformance.suite import Case, Requirement, Suite

_WIDTH = 100


@click.command("explain")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def command(ids: tuple[str, ...]) -> None:
    """Print all that is known of a case or a requirement."""
    from ..conformance.suite import load_suite  # noqa: PLC0415 - a verb's own imports wait for it

    suite = load_suite()
    known = [*suite.cases, *suite.requirements]
    unknown = [identity for identity in ids if identity not in known]
    if unknown:
        hint = nearest(unknown[0], known, "`fdspec list` and `fdspec list --requirements` show all")
        raise Stop(f"no case or requirement is called {unknown[0]!r}{hint}")
    click.echo("\n".join(_explain(identity, suite) for identity in ids), nl=False)


def _explain(identity: str, suite: Suite) -> str:
    lines: list[str] = []
    if identity in suite.cases:
        lines += _case(suite.cases[identity], suite)
    if identity in suite.requirements:
        lines += _requirement(suite.requirements[identity], suite, whole=True)
    return "".join(line + "\n" for line in lines)


def _case(case: Case, suite: Suite) -> list[str]:
    from ..conformance.suite import ROOT  # noqa: PLC0415 - loaded by now

    rows = [
        ("level", case.level.value),
        ("profiles", ", ".join(case.profiles)),
        ("types", ", ".join(case.types)),
        ("needs", ", ".join(case.needs) or "no special capability"),
        ("revision", str(case.revision)),
        ("code", str(ROOT / case.place)),
        ("alone", f"fdspec run -i ID -k {case.id}"),
    ]
    lines = [f"case {case.id}", *_paragraph(case.summary), *(f"  {name:<9} {value}" for name, value in rows)]
    for check in case.checks:
        lines += ["", *_requirement(suite.requirements[check], suite, whole=False)]
    return lines


def _requirement(requirement: Requirement, suite: Suite, *, whole: bool) -> list[str]:
    lines = [
        f"requirement {requirement.id}",
        *_paragraph(requirement.sentence),
        f"  level     {requirement.level.value}",
        f"  subject   {requirement.subject}",
    ]
    for source in requirement.sources:
        lines.append(f"  source    {source.name}")
        lines += textwrap.wrap(source.text, _WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 12)
        lines += [" " * 12 + source.link] if source.link else []
    lines += [f"  permitted {name}: {meaning}" for name, meaning in requirement.outcomes.items()]
    if requirement.peers:
        peers = ", ".join(requirement.peers)
        lines += textwrap.wrap(f"elsewhere {peers}", _WIDTH, initial_indent="  ", subsequent_indent=" " * 12)
    if whole:
        cases = suite.checking(requirement.id)
        lines += [f"  case      {case.id}: {case.summary}" for case in cases] or ["  case      none checks it yet"]
    return lines


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")
