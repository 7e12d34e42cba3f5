"""The gate: each verdict held against the expectations, and each expectation against the verdicts. Pure functions.

Nothing here knows where verdicts come from: the run judges each as it comes, and at its end the entries as a whole.
"""

from __future__ import annotations

import difflib
import fnmatch
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from ..impls.manifest import Manifest
from ..impls.protocol.values import Profile, SocketType
from ..impls.registry import ids
from .expectations import Expectation, Expectations, Facts
from .records import BAD, Gate, Judgement, Standing, Verdict, VerdictRecord
from .suite import Suite


@dataclass(frozen=True, order=True)
class Slot:
    """Where a verdict can come: a case on an implementation, in a profile, on a type of socket."""

    implementation: str
    case: str
    profile: str
    type: str


def universe_of(suite: Suite, manifests: Iterable[Manifest], elsewhere: Iterable[str] = ()) -> Universe:
    """Return what ``manifests`` can be run on; an entry may name ``elsewhere`` and the whole catalogue as well."""
    return Universe(
        {one.id: (frozenset(map(str, one.profiles)), frozenset(map(str, one.types))) for one in suite.cases.values()},
        {one.id: tuple(map(str, one.profiles)) for one in manifests},
        frozenset(ids()) | frozenset(elsewhere),
    )


@dataclass(frozen=True)
class Universe:
    """All that could be run. ``cases``: profiles and types by id. ``implementations``: those asked for, with their profiles.

    ``elsewhere``: implementations that an entry may name although nobody asked for them in this run.
    """

    cases: Mapping[str, tuple[frozenset[str], frozenset[str]]]
    implementations: Mapping[str, tuple[str, ...]]
    elsewhere: frozenset[str] = frozenset()

    def reach(self, entry: Expectation) -> set[Slot]:
        """Return every slot of this run's implementations that the entry names, selected or not."""
        cases = fnmatch.filter(self.cases, entry.case)
        slots = (
            Slot(implementation, case, profile, kind)
            for implementation, profiles in self.implementations.items()
            for case in cases
            for profile in profiles
            for kind in types_in(profile, self.cases[case])
        )
        return {slot for slot in slots if entry.names(slot)}

    def knows(self, entry: Expectation) -> bool:
        """Whether the entry may be about an implementation that is no part of this run."""
        if not entry.implementations:
            return not self.implementations
        return any(fnmatch.filter(self.elsewhere, pattern) for pattern in entry.implementations)


def types_in(profile: str, case: tuple[frozenset[str], frozenset[str]]) -> frozenset[str]:
    """Return the types of socket on which a case runs in a profile; a transport is a stream."""
    profiles, types = case
    if profile not in profiles:
        return frozenset()
    return types & {SocketType.STREAM.value} if profile == Profile.TRANSPORT.value else types


def judge(entries: Iterable[Expectation], facts: Facts, version: str, verdict: VerdictRecord) -> Judgement | None:
    """Return how a verdict stands; None where it is as required and no entry names it.

    ``version`` is what the implementation tells. An entry that has expired, or whose condition does not hold, counts for
    nothing.
    """
    named = [entry for entry in entries if entry.matches(verdict)]
    live = [entry for entry in named if not entry.expired(facts.today)]
    states = [(entry, entry.holds(facts, version)) for entry in live]
    undecided = [entry for entry, holds in states if holds is None]
    if undecided:
        said = f"the implementation tells {version!r}, which is no version" if version else "it tells no version"
        return Judgement(Standing.UNDECIDED, [entry.place for entry in undecided], text=said)
    active = [entry for entry, holds in states if holds]
    if not active:
        if verdict.verdict not in BAD:
            return None
        expired = [entry for entry in named if entry not in live]
        text = ", ".join(f"{entry.place} listed it and expired on {entry.expires}" for entry in expired)
        return Judgement(Standing.UNLISTED, text=text)
    if len(active) > 1:
        return Judgement(Standing.OVERLAP, [entry.place for entry in active])
    (entry,) = active
    return Judgement(_standing(entry, verdict), [entry.place], entry.listed, entry.why, entry.issue)


def _standing(entry: Expectation, verdict: VerdictRecord) -> Standing:
    if entry.fits(verdict):
        return Standing.EXPECTED
    return Standing.UNEXPECTED_PASS if verdict.verdict is Verdict.PASS else Standing.OTHER_VERDICT


class Account:
    """What a run has seen so far, from which its end is judged. ``surprises``: what was not as expected, without details."""

    def __init__(self) -> None:
        self.counts: Counter[Standing] = Counter()
        self.seen: dict[Slot, set[str]] = {}
        self.surprises: list[VerdictRecord] = []

    def take(self, verdict: VerdictRecord) -> None:
        """Count one verdict, judged already."""
        slot = Slot(verdict.implementation, verdict.case, verdict.profile, verdict.type)
        self.seen.setdefault(slot, set()).add(verdict.variant)
        if verdict.gate is None:
            return
        self.counts[verdict.gate.standing] += 1
        if verdict.gate.standing is not Standing.EXPECTED:
            bare = msgspec.structs.replace(verdict, transcript=[], before=[], after=[], log="", noise=[])
            self.surprises.append(bare)


def conclude(expectations: Expectations, facts: Facts, universe: Universe, account: Account) -> Gate:
    """Return how the gate judges a run as a whole."""
    problems: list[Judgement] = []
    outside = elsewhere = 0
    for entry in expectations.entries:
        if entry.expired(facts.today):
            problems.append(
                Judgement(
                    Standing.EXPIRED,
                    [entry.place],
                    entry.listed,
                    entry.why,
                    entry.issue,
                    f"{subject(entry)} expired on {entry.expires} and protects nothing any more",
                )
            )
            continue
        if not entry.holds_here(facts):
            elsewhere += 1
            continue
        if any(_touches(entry, slot, variants) for slot, variants in account.seen.items()):
            continue
        nothing = idle(entry, universe, account.seen)
        if nothing is None:
            outside += 1
        else:
            problems.append(
                Judgement(Standing.MATCHES_NOTHING, [entry.place], entry.listed, entry.why, entry.issue, nothing)
            )
    return Gate(expectations.file, len(expectations.entries), dict(account.counts), outside, elsewhere, problems)


def _touches(entry: Expectation, slot: Slot, variants: Iterable[str]) -> bool:
    if not entry.names(slot):
        return False
    patterns = entry.variants or ("*",)
    return any(fnmatch.fnmatchcase(variant, pattern) for variant in variants for pattern in patterns)


def idle(entry: Expectation, universe: Universe, seen: Iterable[Slot]) -> str | None:
    """Return why an entry that matched no verdict can match none; None where a wider selection might have found one."""
    if not fnmatch.filter(universe.cases, entry.case):
        close = difflib.get_close_matches(entry.case, universe.cases, n=1)
        return f"no case of the suite is called {entry.case!r}" + (f"; did you mean {close[0]}?" if close else "")
    reach = universe.reach(entry)
    if not reach:
        if universe.knows(entry):
            return None
        here = [one for one in universe.implementations if _any(one, entry.implementations)]
        if not here:
            return f"no implementation is called {' or '.join(map(repr, entry.implementations))}"
        return f"{subject(entry)} names nothing that runs on {', '.join(here)}"
    if reach <= set(seen):
        return f"no variant of {entry.case} is called {' or '.join(map(repr, entry.variants))}"
    return None


def _any(value: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)


def subject(entry: Expectation) -> str:
    """Return what an entry names, in words."""
    narrow = [*entry.implementations, *entry.profiles, *entry.types, *entry.variants]
    return entry.case + (f" [{', '.join(narrow)}]" if narrow else "")
