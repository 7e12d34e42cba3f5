"""The suite against faulty implementations: who caught what, and what the suite owes.

Each mutant of `impls.mutants` is run through every case that checks a requirement which it violates, and through a share of the
other cases on libraries and transports: in the mutant's profile, and on one type of socket (or side) per case. The names of
mutant and case choose both, so that types and cases take turns and the choice never changes. A mutant that so many cases have
caught is known well enough, and is spared the others. A case that has caught nothing by then meets all that it was spared. The
reference itself runs through all cases, types and profiles. All of this happens in several processes, with shortened patience:
the reference, which shares it, shows that it is enough.
"""

from __future__ import annotations

import os
import time
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from itertools import repeat
from multiprocessing import get_context
from types import TracebackType
from typing import Self

from ..impls.errors import Unsupported
from ..impls.manifest import Deadlines
from ..impls.mutants import forked
from ..impls.mutants.tables import Layer, Mutant, compiled
from ..impls.process import Launch
from ..impls.protocol.values import Profile
from . import checks, direct, peer
from .bench import Bench, HarnessFault
from .direct import Variant
from .interpose.kernel import in_the_middle
from .records import BAD, Verdict
from .suite import Case, Suite, load_suite

START_FAILED = "start"
"""The reason of a verdict on what could not be started: a mutant that cannot is none."""
SUBJECTS = frozenset({"library", "transport"})
"""Subjects of requirements that an implementation can violate."""
REFERENCE = ""
"""The name under which the reference itself is examined."""
FAULTS = (HarnessFault, BrokenProcessPool)
"""What `examine_all` raises where the harness is at fault."""
_PROFILES = (Profile.MESSAGE, Profile.DESCRIPTORS, Profile.TRANSPORT)
_CLEAN = {Layer.MESSAGE: _PROFILES, Layer.CONTROL: (Profile.MESSAGE,)}
"""The layers whose adapters are examined as they are, and in which profiles."""
ENOUGH = 8
"""How many cases catch a mutant before the others are spared: each costs a testee, mostly."""
SHARE = 8
"""Of the cases that check nothing which a mutant violates, it meets one in so many; of those with the interposer none."""
_MEMORY = 2**32
_DEADLINE = 1.5
"""Seconds that a mutant has for an answer."""


@dataclass(frozen=True)
class Catch:
    """A variant of a case that did not pass."""

    case: str
    place: str
    verdict: Verdict
    reason: str
    message: str


@dataclass(frozen=True)
class Examined:
    """What came of one mutant, or of the reference (``mutant`` is empty): its verdicts, seconds, and who caught it.

    ``unsupported``: cases that could not be run here, in none of their variants. ``spared``: cases that were not run, because
    enough others had caught it.
    """

    mutant: str
    verdicts: Counter[Verdict] = field(default_factory=Counter[Verdict])
    catches: list[Catch] = field(default_factory=list[Catch])
    unsupported: list[str] = field(default_factory=list[str])
    spared: list[str] = field(default_factory=list[str])
    seconds: float = 0.0

    @property
    def cases(self) -> list[str]:
        """The ids of the cases that caught it, each once."""
        return list(dict.fromkeys(one.case for one in self.catches))

    def __and__(self, other: Examined) -> Examined:
        """Return the runs of two implementations that stand on the reference as one: what either could run was run."""
        unsupported = [case for case in self.unsupported if case in other.unsupported]
        return replace(self + other, unsupported=unsupported)

    def __add__(self, other: Examined) -> Examined:
        """Return both runs of the same mutant as one."""
        spared = [case for case in self.spared if case in other.spared]
        return Examined(
            self.mutant,
            self.verdicts + other.verdicts,
            self.catches + other.catches,
            self.unsupported + other.unsupported,
            spared,
            self.seconds + other.seconds,
        )


def binding(suite: Suite) -> dict[str, Case]:
    """Return the cases that check a requirement on libraries or transports, in a profile that the reference has.

    Each must catch a mutant.
    """
    return {
        name: one
        for name, one in suite.cases.items()
        if any(suite.requirements[check].subject in SUBJECTS for check in one.checks)
        and set(_PROFILES).intersection(one.profiles)
    }


def relevant(suite: Suite, mutant: Mutant | None) -> list[Case]:
    """Return the cases that a mutant (None: the reference) is run through."""
    bound = binding(suite)
    if mutant is None:
        return list(bound.values())
    broken = set(mutant.violates)
    return [one for one in suite.cases.values() if one.id in bound or broken.intersection(one.checks)]


def chosen(case: Case, mutant: Mutant) -> list[Variant]:
    """Return the variants of ``case`` that a mutant is run through: those of one type of socket or side."""
    found = direct.variants(case, [mutant.profile])
    places = list(dict.fromkeys((one.type, one.side) for one in found))
    if not places:
        return []
    place = places[_draw(mutant, case) // SHARE % len(places)]
    return [one for one in found if (one.type, one.side) == place]


class _Benches:
    """The bench of one mutant, and a second one whose testee has the harness between it and its kernel."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._made: dict[bool, Bench] = {}

    def of(self, case: Case) -> Bench:
        """Return the bench for ``case``. Raises Unsupported where there is no interposer."""
        if case.interposed not in self._made:
            kernel = in_the_middle() if case.interposed else None
            self._made[case.interposed] = Bench(self._launch, kernel)
        return self._made[case.interposed]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for bench in self._made.values():
            bench.close()


def examine(
    suite: Suite,
    mutant: Mutant | None,
    wanted: Collection[str] | None = None,
    *,
    thorough: bool = False,
    layer: Layer = Layer.MESSAGE,
) -> Examined:
    """Run one mutant, or the reference, through its cases, or those of ``wanted``; if ``thorough`` none is spared.

    ``layer``: which of the implementations that stand on the reference is examined, where it is no mutant's.

    Raises `HarnessFault` and MutantError.
    """
    found = Examined(mutant.id if mutant is not None else REFERENCE)
    layer = mutant.layer if mutant is not None else layer
    begin = time.monotonic()
    starter = forked.starter(compiled(mutant) if mutant is not None else {}, layer)
    deadline = _DEADLINE if mutant is not None else Deadlines().request
    launch = Launch(["a fork"], request_deadline=deadline, memory=_MEMORY, starter=starter)
    with _Benches(launch) as benches:
        for case in _in_turn(relevant(suite, mutant), mutant):
            if wanted is not None and case.id not in wanted:
                continue
            if not thorough and mutant is not None and _is_spared(suite, mutant, case, found):
                found.spared.append(case.id)
                continue
            variants = direct.variants(case, _CLEAN[layer]) if mutant is None else chosen(case, mutant)
            try:
                bench = benches.of(case) if variants else None
            except Unsupported:
                bench = None
            if bench is None:
                found.unsupported.append(case.id)
                continue
            _run_case(bench, variants, found)
    found.catches.sort(key=lambda one: list(suite.cases).index(one.case))
    return replace(found, seconds=time.monotonic() - begin)


def _run_case(bench: Bench, variants: Sequence[Variant], found: Examined) -> None:
    """Run the variants of one case, of a mutant until it is caught, and note what came of them."""
    unsupported = 0
    for variant in variants:
        try:
            problem = direct.run(bench, variant)
        except HarnessFault as fault:
            raise HarnessFault(f"{found.mutant or 'the reference'}, {variant.case.id}: {fault}") from fault
        if problem.reason == START_FAILED:
            raise HarnessFault(f"{found.mutant or 'the reference'} does not even start: {problem.message}")
        found.verdicts[problem.verdict] += 1
        unsupported += problem.verdict is Verdict.UNSUPPORTED
        if problem.verdict in BAD:
            place = variant.side or variant.type.value
            found.catches.append(Catch(variant.case.id, place, problem.verdict, problem.reason, problem.message[:300]))
            if found.mutant != REFERENCE:
                return
    if variants and unsupported == len(variants):
        found.unsupported.append(variants[0].case.id)


def _in_turn(cases: list[Case], mutant: Mutant | None) -> list[Case]:
    """Return the cases in an order of the mutant's own: those of what it violates first, then the others."""
    if mutant is None:
        return cases
    return sorted(cases, key=lambda one: (not _by_right(mutant, one), _draw(mutant, one)))


def _by_right(mutant: Mutant, case: Case) -> bool:
    return bool(set(case.checks).intersection(mutant.violates))


def _is_spared(suite: Suite, mutant: Mutant, case: Case, found: Examined) -> bool:
    caught = found.cases
    if len(caught) >= ENOUGH and any(_by_right(mutant, suite.cases[one]) for one in caught):
        return True
    return not _by_right(mutant, case) and (case.interposed or _draw(mutant, case) % SHARE != 0)


def _draw(mutant: Mutant, case: Case) -> int:
    """Return a number that is always the same for the two of them."""
    return zlib.crc32(f"{case.id} {mutant.id}".encode())


def hurry() -> None:
    """Wait less for what does not come: here it is a mutant's fault, and there are many of them."""
    peer.PATIENCE = 0.5
    checks.PATIENCE_MS = 300


_SUITE: list[Suite] = []
_MUTANTS: dict[str, Mutant] = {}


def _one(name: str, wanted: Collection[str] | None, thorough: bool) -> Examined:
    layer = Layer(name) if name in set(Layer) else Layer.MESSAGE
    return examine(_SUITE[0], _MUTANTS.get(name), wanted, thorough=thorough, layer=layer)


def examine_all(
    mutants: Sequence[Mutant],
    wanted: Collection[str] | None = None,
    jobs: int | None = None,
    *,
    thorough: bool = False,
) -> dict[str, Examined]:
    """Return what came of the reference and of every mutant, by id. Raises `HarnessFault` and MutantError.

    ``wanted``: ids of cases, all without. ``jobs``: processes. ``thorough``: no mutant is spared any case.
    """
    suite = load_suite()
    _SUITE[:] = [suite]  # the workers are forked from here and have both
    _MUTANTS.clear()
    _MUTANTS.update({one.id: one for one in mutants})
    found: dict[str, Examined] = {}
    with ProcessPoolExecutor(jobs or default_jobs(), get_context("fork"), hurry) as pool:
        try:
            for one in pool.map(_one, (*_CLEAN, *_MUTANTS), repeat(wanted), repeat(thorough)):
                found[one.mutant] = found[one.mutant] & one if one.mutant in found else one
            idle = idle_cases(suite, found)
            spared = [one.mutant for one in found.values() if idle.intersection(one.spared)]
            for one in pool.map(_one, spared, repeat(idle), repeat(True)):
                found[one.mutant] += one
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return found


def idle_cases(suite: Suite, found: Mapping[str, Examined]) -> set[str]:
    """Return the cases on libraries and transports that caught no mutant, and could be run here at all."""
    busy = {case for name, one in found.items() if name != REFERENCE for case in one.cases}
    return binding(suite).keys() - busy - set(found[REFERENCE].unsupported)


def default_jobs() -> int:
    """Return how many processes are used: twice the cores, because a mutant that hangs needs none."""
    return 2 * len(os.sched_getaffinity(0))
