"""The default engine: programs that showed rare behaviour are changed more often than others, and some are made out of nothing.

It keeps, for each name of behaviour, how often it was seen and by which programs; the programs are the session's corpus. All
that it keeps is bounded, and every choice comes from the session's seed, so that the same runner shows the same twice.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from random import Random

from ..judgement import Runner, Verdict
from ..offer import Offer, adapt
from ..program import Program
from .chance import one_of
from .engine import Session
from .mutate import fresh, mutate

BATCH = 32
"""Programs that are run at a time."""
FEATURES = 65_536
"""Names of behaviour that are told apart."""
PROGRAMS = 20_000
"""Programs that are held, of each profile."""
SHOWN_BY = 8
"""Programs that are remembered for each of them, the latest."""
_FRESH, _RECENT, _RARE = 0.3, 0.15, 0.4
"""How often a program is made out of nothing; comes of the latest; comes of one with rare behaviour; the rest of any at all."""
_LATEST = 64
_TRIES = 4
"""Names of behaviour that are drawn, of which the rarest counts."""


def search(runner: Runner, session: Session) -> None:
    """Search until the session is over. Raises what the runner raises, and OSError where the session cannot write."""
    pools = [_Pool(offer) for offer in runner.offers]
    if not pools:
        raise ValueError(f"{runner.subject} offers no profile that a program has")
    rng = Random(session.seed)  # noqa: S311 - it has to be repeatable
    taken = 0
    while not session.over:
        taken = _run_corpus(runner, session, pools, taken)
        if session.over:
            break
        pool = one_of(rng, pools)
        _run(runner, session, pool, [pool.next(rng) for _ in range(_most(session))])


def _most(session: Session) -> int:
    """Return how many programs may be run at a time: no more than the session has left, where it says how many."""
    left = getattr(session, "left", None)
    return BATCH if left is None else max(1, min(BATCH, left))


def _run_corpus(runner: Runner, session: Session, pools: Sequence[_Pool], taken: int) -> int:
    """Run the programs that the session has and this engine does not know; return how many it has taken so far."""
    while taken < len(session.corpus) and not session.over:
        programs = session.corpus[taken : taken + _most(session)]
        taken += len(programs)
        for pool in pools:
            mine = [program for program in programs if program.profile is pool.offer.profile and not pool.has(program)]
            if mine:
                _run(runner, session, pool, [adapt(program, pool.offer) for program in mine])
    return taken


def _run(runner: Runner, session: Session, pool: _Pool, programs: list[Program]) -> None:
    for program, verdict in zip(programs, runner.run(programs), strict=True):
        pool.learn(program, verdict, kept=session.tell(program, verdict))


class _Pool:
    """The programs of one profile that are worth changing, and what they showed."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.programs: list[Program] = []
        self._known: set[Program] = set()
        self._ids: dict[str, int] = {}
        self._counts = array("Q")
        self._shown_by: list[list[int]] = []

    def has(self, program: Program) -> bool:
        """Whether it is one of these."""
        return program in self._known

    def learn(self, program: Program, verdict: Verdict, *, kept: bool) -> None:
        """Take note of what a program showed; it is one of these from now on where it showed something new."""
        if verdict.unsupported:
            return
        new = kept or not verdict.features <= self._ids.keys()
        at = self._add(program) if new and program not in self._known else None
        for name in sorted(verdict.features) if new else verdict.features:
            number = self._ids.get(name)
            if number is None:
                if len(self._counts) >= FEATURES:
                    continue
                number = self._ids[name] = len(self._counts)
                self._counts.append(0)
                self._shown_by.append([])
            self._counts[number] += 1
            if at is not None:
                self._shown_by[number] = [*self._shown_by[number][1 - SHOWN_BY :], at]

    def _add(self, program: Program) -> int | None:
        if len(self.programs) >= PROGRAMS:
            return None
        self._known.add(program)
        self.programs.append(program)
        return len(self.programs) - 1

    def next(self, rng: Random) -> Program:
        """Return the next program to run."""
        dice = rng.random()
        if not self.programs or dice < _FRESH:
            return fresh(self.offer, rng)
        return mutate(self._parent(rng, dice), self.offer, rng, self.programs)

    def _parent(self, rng: Random, dice: float) -> Program:
        if dice < _FRESH + _RECENT:
            return one_of(rng, self.programs[-_LATEST:])
        if dice < _FRESH + _RECENT + _RARE and self._counts:
            numbers = (int(rng.random() * len(self._counts)) for _ in range(_TRIES))
            rarest = min(numbers, key=self._counts.__getitem__)
            if self._shown_by[rarest]:
                return self.programs[one_of(rng, self._shown_by[rarest])]
        return one_of(rng, self.programs)
