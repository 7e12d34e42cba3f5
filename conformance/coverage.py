"""What the suite covers of its specification, section by section, and beside the suites of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import msgspec

from .direct import variants
from .records import Level
from .specification import PEERS, Requirement
from .suite import ORDER, Case, Suite


class Line(msgspec.Struct, frozen=True):
    """The account of one section, or of all.

    ``covered``: how many requirements have a case; ``missing``: the ids of the others. ``cases`` that check one or more of
    them, and the ``verdicts`` that these give for an implementation that offers everything. ``peers``: how many of the
    requirements each suite of others tests as well; ``alone``: how many no suite of others is known to test.
    """

    title: str
    requirements: int
    levels: dict[Level, int]
    covered: int
    missing: list[str]
    cases: int
    verdicts: int
    peers: dict[str, int]
    alone: int


def account(suite: Suite) -> list[Line]:
    """Return one line a section in the order of the document, and one for all of them at the end.

    A case that checks requirements of several sections counts in each of them, and once in the last line.
    """
    lines = [_line(section.title, section.requirement, suite) for section in suite.sections]
    return [*lines, _line("All", list(suite.requirements.values()), suite)]


def _line(title: str, requirements: Sequence[Requirement], suite: Suite) -> Line:
    ids = {one.id for one in requirements}
    cases = [case for case in suite.cases.values() if not ids.isdisjoint(case.checks)]
    checked = {check for case in cases for check in case.checks}
    missing = [one.id for one in requirements if one.id not in checked]
    return Line(
        title=title,
        requirements=len(requirements),
        levels={level: _count(requirements, lambda one, level=level: one.level is level) for level in ORDER},
        covered=len(requirements) - len(missing),
        missing=missing,
        cases=len(cases),
        verdicts=sum(_verdicts(case) for case in cases),
        peers={peer: _count(requirements, lambda one, peer=peer: peer in one.peers) for peer in PEERS},
        alone=_count(requirements, lambda one: not one.peers),
    )


def _verdicts(case: Case) -> int:
    return len(variants(case, case.profiles))


def _count(requirements: Iterable[Requirement], wanted: Callable[[Requirement], bool]) -> int:
    return sum(1 for one in requirements if wanted(one))
