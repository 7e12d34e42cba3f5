"""``fdspec explain``: all that is known of a case, a requirement or a real defect."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import click

from .errors import Stop, nearest

if TYPE_CHECKING:
    from ..conformance.defects import Catalogue, Defect
    from ..conformance.suite import Case, Requirement, Suite

_WIDTH = 100


@click.command("explain")
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
def command(ids: tuple[str, ...]) -> None:
    """Print all that is known of a case, a requirement or a real defect."""
    from ..conformance.defects import read_defects  # noqa: PLC0415 - a verb's own imports wait for it
    from ..conformance.suite import load_suite  # noqa: PLC0415

    suite, catalogue = load_suite(), read_defects()
    left = {name: reason for section in suite.sections for name, reason in section.left_out.items()}
    defects = {one.id: one for one in catalogue.defect}
    known = [*suite.cases, *suite.requirements, *left, *defects]
    unknown = [identity for identity in ids if identity not in known]
    if unknown:
        hint = nearest(unknown[0], known, "`fdspec list` and `fdspec list --requirements` show all")
        raise Stop(f"no case, requirement or defect is called {unknown[0]!r}{hint}")
    texts: list[list[str]] = []
    for identity in ids:
        if identity in suite.cases:
            texts.append(_case(suite.cases[identity], suite, catalogue))
        elif identity in suite.requirements:
            texts.append(_requirement(suite.requirements[identity], suite, whole=True))
        elif identity in left:
            texts.append([f"left out {identity}", *_paragraph(left[identity])])
        else:
            texts.append(_defect(defects[identity], suite, catalogue))
    click.echo("\n".join("".join(line + "\n" for line in lines) for lines in texts), nl=False)


def _case(case: Case, suite: Suite, catalogue: Catalogue) -> list[str]:
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
    for one in catalogue.defect:
        if case.id in one.cases:
            lines += _hanging(f"catches   {one.id}, {one.project}: {one.what}")
    for check in case.checks:
        lines += ["", *_requirement(suite.requirements[check], suite, whole=False)]
    return lines


def _requirement(requirement: Requirement, suite: Suite, *, whole: bool) -> list[str]:
    lines = [
        f"requirement {requirement.id}",
        *_paragraph(requirement.sentence),
        f"  level     {requirement.level.value}",
        f"  subject   {requirement.subject.value}",
        *(f"  section   {section.title}" for section in suite.sections if requirement in section.requirement),
    ]
    for source in requirement.sources:
        lines.append(f"  source    {source.name}")
        lines += textwrap.wrap(source.text, _WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 12)
        lines += [" " * 12 + source.link] if source.link else []
    lines += [f"  permitted {name}: {meaning}" for name, meaning in requirement.outcomes.items()]
    if requirement.peers:
        peers = ", ".join(requirement.peers)
        lines += _hanging(f"elsewhere {peers}")
    if whole:
        cases = suite.checking(requirement.id)
        lines += [f"  case      {case.id}: {case.summary}" for case in cases] or ["  case      none checks it yet"]
    return lines


def _defect(defect: Defect, suite: Suite, catalogue: Catalogue) -> list[str]:
    rows = [
        ("project", f"{defect.project} ({defect.language})"),
        ("seen", defect.seen),
        ("class", f"{defect.group}, {catalogue.classes[defect.group]}"),
        ("where", defect.where.value),
        ("reference", defect.reference),
        *([("remark", defect.remark)] if defect.remark else []),
    ]
    lines = [f"defect {defect.id}", *_paragraph(f"It {defect.what}.")]
    for name, value in rows:
        lines += _hanging(f"{name:<9} {value}")
    cases = [suite.cases[name] for name in defect.cases if name in suite.cases]
    return lines + ([f"  case      {case.id}: {case.summary}" for case in cases] or ["  case      none catches it yet"])


def _hanging(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent=" " * 12)


def _paragraph(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")
