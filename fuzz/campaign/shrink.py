"""A corpus made small: as few and as short programs as show everything that all of them show."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush

from msgspec import Struct

from ..judgement import Runner
from ..offer import Offer, needs_of
from ..program import Program
from .store import Store

BATCH = 32


class Shows(Struct, frozen=True):
    """What one program showed: ``always`` in each of its runs, ``ever`` in one of them. ``size``: bytes of its file."""

    size: int
    always: frozenset[str]
    ever: frozenset[str]


def smallest(shown: Mapping[str, Shows]) -> set[str]:
    """Return the names of programs that together show everything; greedy, and then without those that others make needless.

    A feature counts as shown by the programs that show it in each run; where there are none, by those that ever did.
    """
    none: frozenset[str] = frozenset()
    firm = none.union(*(one.always for one in shown.values()))
    gives = {name: one.always | (one.ever - firm) for name, one in shown.items()}
    left = set(none.union(*gives.values()))
    chosen: list[str] = []
    waiting = [(-len(gives[name]), one.size, name) for name, one in shown.items()]
    heapify(waiting)
    while left:
        gain, size, best = heappop(waiting)
        now = len(gives[best] & left)
        if now == -gain:
            chosen.append(best)
            left -= gives[best]
        else:  # a gain only falls, so what is the best after it was counted again is the best of all
            heappush(waiting, (-now, size, best))
    counts: dict[str, int] = {}
    for name in chosen:
        for feature in gives[name]:
            counts[feature] = counts.get(feature, 0) + 1
    kept = set(chosen)
    for name in sorted(chosen, key=lambda name: (-shown[name].size, name)):
        if all(counts[feature] > 1 for feature in gives[name]):
            kept.discard(name)
            for feature in gives[name]:
                counts[feature] -= 1
    return kept


def features_of(
    runner: Runner, programs: Mapping[str, Program], sizes: Mapping[str, int], over: Callable[[], bool], times: int = 2
) -> dict[str, Shows] | None:
    """Run each program ``times`` times and return what each that can be run showed; None where it was over before."""
    able = {name: program for name, program in programs.items() if _fits(program, runner.offers)}
    names = list(able)
    found: dict[str, list[frozenset[str]]] = {name: [] for name in names}
    for _ in range(times):
        for start in range(0, len(names), BATCH):
            if over():
                return None
            some = names[start : start + BATCH]
            for name, verdict in zip(some, runner.run([able[name] for name in some]), strict=True):
                if not verdict.unsupported:
                    found[name].append(verdict.features)
    return {name: _shows(sizes[name], sets) for name, sets in found.items() if len(sets) == times}


def _shows(size: int, sets: list[frozenset[str]]) -> Shows:
    always = ever = sets[0]
    for one in sets[1:]:
        always, ever = always & one, ever | one
    return Shows(size, always, ever)


def _fits(program: Program, offers: Iterable[Offer]) -> bool:
    return any(one.profile is program.profile and needs_of(program) <= one.names for one in offers)


def minimise(runner: Runner, store: Store, over: Callable[[], bool]) -> tuple[int, int, list[str]]:
    """Remove from a store's corpus what shows nothing that the rest does not show; what cannot be run stays.

    Returns how many programs there were and are, and sentences about what was no program. Raises OSError and what the
    runner raises; whenever it ends, what it has not removed is there.
    """
    programs, notes = store.programs()
    sizes = {name: (store.corpus / name[:2] / name).stat().st_size for name in programs}
    shown = features_of(runner, programs, sizes, over)
    if shown is None:
        return len(programs), len(programs), notes
    needless = shown.keys() - smallest(shown)
    for name in sorted(needless):
        store.forget(name)
    return len(programs), len(programs) - len(needless), notes
