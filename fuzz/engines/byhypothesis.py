"""The engine that Hypothesis drives: its strategies draw the programs, its targeting and its shrinker work on them.

A search is rounds, one offer after the other. A program with a violation whose key is new makes the test of its round fail, so
that Hypothesis makes it small; the smallest is told to the session, which proves it and writes it down. What Hypothesis
remembers, its database of examples among it, is in the session's directory, where that has one.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
from collections.abc import Generator
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.configuration import set_hypothesis_home_dir, storage_directory
from hypothesis.database import DirectoryBasedExampleDatabase, ExampleDatabase
from hypothesis.errors import HypothesisException
from hypothesis.strategies import DrawFn, SearchStrategy, composite
from hypothesis.vendor.pretty import RepresentationPrinter

from ..codec import encode
from ..judgement import Key, Runner, Verdict
from ..offer import Offer
from ..program import PROFILES, Program
from ..strategy import programs
from .engine import Session

ROUND = 400
"""Programs of one round that finds nothing."""
LONGEST = 16
"""Operations of a program that is drawn, at most; every fourth round's are longer."""
LONG = 40
_BATCH = 64
FOLDER = "hypothesis"
"""What the directory of a session has of Hypothesis's."""


class _Over(BaseException):
    """The session is over, or something has gone wrong that is the cause. Hypothesis takes it for no failure of the test."""


class _Shown(Exception):
    """A program shows a violation of the key that is being made small."""


class _Drawn:
    """A program that was drawn. Hypothesis has words made of every failing one, which takes longer than all the rest."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def _repr_pretty_(self, printer: RepresentationPrinter, cycle: bool) -> None:
        del cycle
        printer.text("a program")


@composite
def _hidden(draw: DrawFn, drawn: SearchStrategy[Program]) -> _Drawn:
    return _Drawn(draw(drawn))


def search(runner: Runner, session: Session) -> None:
    """Search until the session is over."""
    directory: Path | None = getattr(session, "directory", None)
    with _home(directory) as home:
        try:
            _rerun(runner, session)
            known: set[Key] = set()
            for number in itertools.count():
                offer = runner.offers[number % len(runner.offers)]
                kept = None if directory is None else DirectoryBasedExampleDatabase(home / "examples" / offer.profile)
                _Round(runner, session, known).run(offer, number // len(runner.offers), kept)
        except _Over as over:
            if over.__cause__ is not None:
                raise over.__cause__ from None


def _rerun(runner: Runner, session: Session) -> None:
    """Run what there is to begin with, so that the session knows what is nothing new. Raises _Over."""
    profiles = {offer.profile for offer in runner.offers}
    corpus = [program for program in session.corpus if program.profile in profiles]
    for start in range(0, len(corpus), _BATCH):
        batch = corpus[start : start + _BATCH]
        if session.over:
            raise _Over
        for program, verdict in zip(batch, runner.run(batch), strict=True):
            session.tell(program, verdict)


class _Round:
    """One test of Hypothesis's: it fails where a violation shows whose key nobody knows."""

    def __init__(self, runner: Runner, session: Session, known: set[Key]) -> None:
        self.runner = runner
        self.session = session
        self.known = known
        self.key: Key | None = None
        """What is being made small."""
        self.best: tuple[Program, Verdict] | None = None

    def run(self, offer: Offer, number: int, database: ExampleDatabase | None) -> None:
        """Do the round. Raises _Over."""
        drawn = programs(offer, operations=LONG if number % 4 == 3 else LONGEST)

        @settings(
            derandomize=False,  # whatever the profile of the tests around it says
            max_examples=ROUND,
            database=database,
            deadline=None,
            phases=[Phase.reuse, Phase.generate, Phase.target, Phase.shrink],
            suppress_health_check=list(HealthCheck),  # pyright: ignore[reportArgumentType] - its metaclass hides what it lists
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
            print_blob=False,
        )
        @hypothesis.seed((self.session.seed * 1_000_003 + number) * 31 + PROFILES.index(offer.profile))
        @hypothesis.given(_hidden(drawn))
        def test(drawn: _Drawn) -> None:
            self.check(drawn.program)

        try:
            test()
        except (_Shown, HypothesisException) as shown:
            if self.best is None:  # what Hypothesis has to complain of is not that something does not always show
                raise _Over from shown
        finally:
            self.tell_best()

    def check(self, program: Program) -> None:
        """Run one program. Raises _Over, and _Shown where Hypothesis shall make it small."""
        try:
            self._check(program)
        except _Shown:
            raise
        except Exception as fault:  # of the runner or the session: no failure of the test
            raise _Over from fault

    def _check(self, program: Program) -> None:
        if self.session.over:
            raise _Over
        (verdict,) = self.runner.run([program])
        keys = [violation.key for violation in verdict.violations[:1]]  # what follows may be its consequence
        if self.key is None and keys and keys[0] not in self.known:
            self.key = keys[0]
        if self.key is not None and self.key in keys:
            if self.best is None or _size(program) < _size(self.best[0]):
                self.best = program, verdict
            raise _Shown
        new = self.session.tell(program, verdict)
        hypothesis.target(float(len(verdict.features)), label="features")
        hypothesis.target(float(new), label="new")

    def tell_best(self) -> None:
        """Tell the session the smallest program that shows what this round has found."""
        if self.best is not None and self.key is not None:
            best, self.best = self.best, None
            self.known.add(self.key)
            self.session.tell(*best)


def _size(program: Program) -> tuple[int, int]:
    return len(program.operations), len(encode(program))


@contextlib.contextmanager
def _home(directory: Path | None) -> Generator[Path]:
    """Let Hypothesis keep what it keeps in the session's directory, in one of its own for the time being where there is none."""
    before = storage_directory(intent_to_write=False).home_directory
    with contextlib.ExitStack() as stack:
        if directory is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fdspec-hypothesis-")))
        else:
            home = directory / FOLDER
            home.mkdir(parents=True, exist_ok=True)
        set_hypothesis_home_dir(home)
        stack.callback(set_hypothesis_home_dir, before)
        yield home
