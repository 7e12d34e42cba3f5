"""Expectations made to fit what a run saw: which entries stay, change, go and come. Pure functions over entries and records.

Given the same verdicts, the gate is green with the new entries. Two things are left as they are, because a person has to
decide them: an entry that has expired with the failures that it protected, and a condition that cannot be judged.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .expectations import Expectation, Facts
from .gate import Slot, Universe, idle, subject
from .gatewords import outcome
from .records import BAD, Verdict, VerdictRecord


@dataclass(frozen=True)
class Evidence:
    """What a run saw. ``versions``: what each implementation tells, by id."""

    verdicts: Sequence[VerdictRecord]
    facts: Facts
    universe: Universe
    versions: Mapping[str, str]

    def holds(self, entry: Expectation, verdict: VerdictRecord) -> bool | None:
        """Whether an entry's condition holds for a verdict; None where that cannot be judged."""
        return entry.holds(self.facts, self.versions.get(verdict.implementation, ""))


@dataclass
class Plan:
    """What is to be done. ``instead``: by index of an entry what takes its place, nothing where it goes; ``added``: new ones.

    ``done`` and ``left`` say so, a line each; ``left`` is what a person has to decide.
    """

    instead: dict[int, list[Expectation]] = field(default_factory=dict[int, list[Expectation]])
    added: list[Expectation] = field(default_factory=list[Expectation])
    done: list[str] = field(default_factory=list[str])
    left: list[str] = field(default_factory=list[str])


def plan(entries: Sequence[Expectation], evidence: Evidence, why: Callable[[VerdictRecord], str]) -> Plan:
    """Return what makes ``entries`` fit. ``why`` gives the reason of an entry that is new."""
    made = Plan()
    matched = {index: _matched(entry, evidence) for index, entry in enumerate(entries)}
    expired = [entry for entry in entries if entry.expired(evidence.facts.today)]
    made.left += [
        f"{one.place}: {subject(one)} expired on {one.expires}: take it out, or give it time" for one in expired
    ]
    locked = _undecided(entries, evidence, made)
    owners = _owners(entries, matched, evidence, locked)
    for index, entry in enumerate(entries):
        if not entry.expired(evidence.facts.today) and entry.holds_here(evidence.facts):
            owned = [place for place in matched[index] if owners.get(place) == index]
            _fit(made, index, entry, matched[index], owned, locked, evidence)
    missing = [
        place
        for place, verdict in enumerate(evidence.verdicts)
        if verdict.verdict in BAD and place not in owners and place not in locked
        if not any(entry.matches(verdict) for entry in expired)
    ]
    for one in cover(missing, evidence):
        reason = why(next(evidence.verdicts[place] for place in missing if one.matches(evidence.verdicts[place])))
        made.added.append(replace(one, why=reason))
        made.done.append(f"added: {subject(one)}: {one.listed}")
    return made


def _matched(entry: Expectation, evidence: Evidence) -> list[int]:
    """Return the places of the verdicts that an entry names and whose condition holds."""
    if entry.expired(evidence.facts.today):
        return []
    return [
        place
        for place, verdict in enumerate(evidence.verdicts)
        if entry.matches(verdict) and evidence.holds(entry, verdict)
    ]


def _undecided(entries: Sequence[Expectation], evidence: Evidence, made: Plan) -> set[int]:
    """Return the places of verdicts named by an entry whose condition cannot be judged, and say so."""
    locked: set[int] = set()
    for entry in entries:
        if entry.expired(evidence.facts.today):
            continue
        undecided = [
            place
            for place, verdict in enumerate(evidence.verdicts)
            if entry.matches(verdict) and evidence.holds(entry, verdict) is None
        ]
        if undecided:
            told = evidence.versions.get(evidence.verdicts[undecided[0]].implementation, "")
            made.left.append(f"{entry.place}: {subject(entry)}: {told!r} is no version: its condition cannot be judged")
            locked |= set(undecided)
    return locked


def _owners(
    entries: Sequence[Expectation], matched: Mapping[int, list[int]], evidence: Evidence, locked: set[int]
) -> dict[int, int]:
    """Return for each verdict that an entry may list the entry that does: one that fits, then the narrowest, then the first."""
    claims: dict[int, list[int]] = {}
    for index, places in matched.items():
        for place in places:
            verdict = evidence.verdicts[place].verdict
            known = verdict is Verdict.UNSUPPORTED and entries[index].verdict is Verdict.UNSUPPORTED
            if place not in locked and (verdict in BAD or known):
                claims.setdefault(place, []).append(index)
    return {
        place: min(indices, key=lambda one: (not entries[one].fits(evidence.verdicts[place]), len(matched[one]), one))
        for place, indices in claims.items()
    }


def _fit(
    made: Plan,
    index: int,
    entry: Expectation,
    matched: list[int],
    owned: list[int],
    locked: set[int],
    evidence: Evidence,
) -> None:
    """Decide about one entry."""
    if not matched:
        seen = {Slot(one.implementation, one.case, one.profile, one.type) for one in evidence.verdicts}
        named = any(entry.matches(one) for one in evidence.verdicts)  # its condition does not hold, or cannot be judged
        nothing = None if named else idle(entry, evidence.universe, seen)
        if nothing is not None:
            made.instead[index] = []
            made.done.append(f"removed: {entry.place}: {nothing}")
        return
    if locked.intersection(matched):
        return
    verdicts = [evidence.verdicts[place] for place in owned]
    if owned == matched and all(entry.fits(one) for one in verdicts):
        return
    if not owned:
        made.instead[index] = []
        others = sorted({outcome(one.verdict, one.reason) for one in map(evidence.verdicts.__getitem__, matched)})
        made.done.append(f"removed: {entry.place}: {subject(entry)}: now {', '.join(others)}")
        return
    if owned == matched and len({one.verdict for one in verdicts}) == 1:
        reasons = {one.reason for one in verdicts}
        reason = reasons.pop() if entry.reason and len(reasons) == 1 else ""
        new = replace(entry, verdict=verdicts[0].verdict, reason=reason)
        made.instead[index] = [new]
        made.done.append(f"corrected: {entry.place}: {subject(entry)}: {entry.listed} is now {new.listed}")
        return
    made.instead[index] = [
        replace(
            one,
            implementations=one.implementations or entry.implementations,
            why=entry.why,
            issue=entry.issue,
            when=entry.when,
            expires=entry.expires,
            place=entry.place,
        )
        for one in cover(owned, evidence)
    ]
    now = "; ".join(f"{subject(one)}: {one.listed}" for one in made.instead[index])
    made.done.append(f"narrowed: {entry.place}: {subject(entry)}: {entry.listed} is now {now}")


# --- the fewest entries that name some verdicts and no others --------------------------------------------------------

_Key = tuple[str, str, str]
"""Profile, type, variant."""


def cover(places: Iterable[int], evidence: Evidence) -> list[Expectation]:
    """Return entries that list the verdicts at ``places`` and match no other, each verdict in exactly one of them."""
    several = len(evidence.universe.implementations) > 1
    groups: dict[tuple[str, str, Verdict, str], set[_Key]] = {}
    for place in places:
        one = evidence.verdicts[place]
        groups.setdefault((one.case, one.implementation, one.verdict, one.reason), set()).add(_key(one))
    whole: dict[tuple[str, str], set[_Key]] = {}
    for one in evidence.verdicts:
        whole.setdefault((one.case, one.implementation), set()).add(_key(one))
    return [
        Expectation(
            case=case,
            verdict=verdict,
            why="",
            place="",
            implementations=(implementation,) if several else (),
            profiles=profiles,
            types=types,
            variants=tuple(map(_literal, variants)),
            reason=reason,
        )
        for (case, implementation, verdict, reason), keys in groups.items()
        for profiles, types, variants in _products(keys, whole[case, implementation])
    ]


def _key(verdict: VerdictRecord) -> _Key:
    return (verdict.profile, verdict.type, verdict.variant)


_DIMENSIONS = sorted(itertools.product((False, True), repeat=3), key=lambda used: (sum(used), used[2], used[0]))
"""Which of profile, type and variant are named: as few as possible, variants last, types first."""


def _products(keys: set[_Key], whole: set[_Key]) -> list[tuple[tuple[str, ...], ...]]:
    """Return lists of profiles, types and variants that together name ``keys`` among ``whole`` and nothing else."""
    for used in _DIMENSIONS:
        sets = [{key[at] for key in keys} if name else None for at, name in enumerate(used)]
        named = {key for key in whole if all(one is None or part in one for part, one in zip(key, sets, strict=True))}
        if named == keys:
            return [tuple(tuple(sorted(one)) if one else () for one in sets)]
    pairs = sorted({key[:2] for key in keys})
    return [((profile,), (kind,), _variants(profile, kind, keys, whole)) for profile, kind in pairs]


def _variants(profile: str, kind: str, keys: set[_Key], whole: set[_Key]) -> tuple[str, ...]:
    """Return the variants to name in one profile on one type; none where all of them are meant."""
    wanted = {key[2] for key in keys if key[:2] == (profile, kind)}
    return () if wanted == {key[2] for key in whole if key[:2] == (profile, kind)} else tuple(sorted(wanted))


def _literal(variant: str) -> str:
    """Return the pattern that matches ``variant`` alone."""
    return re.sub(r"([*?\[])", r"[\1]", variant)
