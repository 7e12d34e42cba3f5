"""Expectations held against the suite alone, with nothing run: what can never match, what overlaps, what has expired."""

from __future__ import annotations

import fnmatch
import itertools

from .expectations import Expectation, Expectations, Facts
from .gate import Slot, Universe, idle, subject
from .gatewords import Complaint
from .records import Standing


def problems(expectations: Expectations, facts: Facts, universe: Universe) -> list[Complaint]:
    """Return what is wrong with each entry, in the order of the file, then the pairs that overlap."""
    found: list[Complaint] = []
    for entry in expectations.entries:
        if entry.expired(facts.today):
            text = f"{entry.place}: {subject(entry)} expired on {entry.expires} and protects nothing any more"
            found.append(Complaint(Standing.EXPIRED, text))
        nothing = idle(entry, universe, ())
        if nothing is not None:
            found.append(Complaint(Standing.MATCHES_NOTHING, f"{entry.place}: {nothing}"))
    live = [(entry, universe.reach(entry)) for entry in expectations.entries if not entry.expired(facts.today)]
    for (one, left), (other, right) in itertools.combinations(live, 2):
        both = sorted(left & right)
        if both and _together(one, other, facts) and _share(one.variants, other.variants):
            text = f"{one.place} and {other.place} both name {_where(both)}; at most one entry may"
            found.append(Complaint(Standing.OVERLAP, text))
    return found


def _together(one: Expectation, other: Expectation, facts: Facts) -> bool:
    """Whether both conditions certainly hold at once; versions of implementations are known only in a run."""
    if one.when == other.when:
        return True
    versions = any(entry.when is not None and entry.when.version for entry in (one, other))
    return not versions and one.holds_here(facts) and other.holds_here(facts)


def _share(left: tuple[str, ...], right: tuple[str, ...]) -> bool:
    """Whether some pattern of one is among what the other matches, or one of them does not narrow."""
    return (
        not left
        or not right
        or any(fnmatch.fnmatchcase(a, b) or fnmatch.fnmatchcase(b, a) for a in left for b in right)
    )


def _where(slots: list[Slot]) -> str:
    first = slots[0]
    more = f" and {len(slots) - 1} more" if len(slots) > 1 else ""
    return f"{first.implementation} {first.case} [{first.profile} {first.type}]{more}"
