"""One worker's part of a campaign: what is kept, what is proved, and when it is over. Where it is kept, a `Sink` knows.

A *suspicion* is the first violation that `Runner.run` reports of a program (what follows it may be its consequence). It is
proved by `Runner.examine`, twice if the first time does not show it; what is proved is made small and becomes a finding, the rest
is kept as unconfirmed, never dropped.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from ..codec import encode
from ..engines.engine import Engine
from ..findings.finding import Finding
from ..findings.minimise import minimise
from ..judgement import Key, Runner, Verdict, Violation
from ..program import Program

IN_MEMORY = 20_000
"""Programs that a session holds; what is kept beyond that, the sink alone has."""
FEATURES = 65_536
"""Names of behaviour that a session tells apart; after that nothing is new to it."""
KEYS = 4_096
"""Keys that a session tells apart; further ones are counted as one that is called `OTHERS`."""
EXAMINATIONS = 2
"""How often a suspicion is examined before it counts as unconfirmed."""
EXCHANGE = 3.0
"""Seconds between two looks for what other sessions have kept."""
BUDGET = 400
"""Examinations that making one finding small may take."""
OTHERS = Key("others", "", "")


class Counters(Struct):
    """What one session did. ``programs``: how many were run; ``unsupported``: of these, how many could not be.

    ``suspicions``: programs with a violation; ``examined``: calls of `Runner.examine`; ``kept``: programs for the corpus;
    ``seen``: how often each key of a finding was met, by its words; ``unconfirmed``: the same of what was never proved.
    """

    programs: int = 0
    unsupported: int = 0
    suspicions: int = 0
    examined: int = 0
    kept: int = 0
    seen: dict[str, int] = field(default_factory=dict[str, int])
    unconfirmed: dict[str, int] = field(default_factory=dict[str, int])


class Sink(Protocol):
    """Where a session puts what it finds. Every method raises OSError where that cannot be written."""

    def keep(self, name: str, data: bytes) -> None:
        """Keep a program for the corpus. ``name``: its `name_of`; ``data``: its encoded form."""
        ...

    def proved(self, finding: Finding) -> None:
        """Take a finding that is yet to be made small, so that it is not lost meanwhile."""
        ...

    def found(self, finding: Finding) -> None:
        """Take a finding as it stays."""
        ...

    def unconfirmed(self, finding: Finding) -> None:
        """Take what `Runner.run` reported and no examination showed; ``seen`` says how often since the last time."""
        ...

    def others(self) -> Iterable[Program]:
        """Return the programs that other sessions have kept since the last time."""
        ...


class Limits(Struct, frozen=True):
    """When a session is over: after ``runs`` programs, or at ``deadline`` of `time.monotonic`, in seconds; None for never.

    ``patience``: how many seconds after its end a session may still take to make a finding small.
    """

    runs: int | None = None
    deadline: float | None = None
    patience: float = 20.0


def name_of(data: bytes) -> str:
    """Return the name of an encoded program in a corpus: the beginning of its SHA-256, 32 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:32]


def platform() -> str:
    """Return the kernel of this machine in words."""
    system = os.uname()
    return f"{system.sysname} {system.release} {system.machine}"


class _Enough(Exception):
    """There is no more time to make a finding small. Holds the smallest program so far."""


class Hunt:
    """A `fdspec.fuzz.engines.engine.Session` whose findings go to a sink."""

    def __init__(
        self,
        runner: Runner,
        sink: Sink,
        *,
        seed: int,
        engine: str,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        corpus: Iterable[Program] = (),
        known: Iterable[Key] = (),
        directory: Path | None = None,
        stopped: Callable[[], bool] = lambda: False,
        alive: Callable[[Hunt], None] = lambda _: None,
    ) -> None:
        """``stopped``: whether somebody has interrupted the campaign; ``alive`` is called whenever something was done.

        ``known``: keys of findings that need no proof any more; ``corpus``: of which the first `IN_MEMORY` are taken.
        """
        self.counters = Counters()
        self.directory = directory
        """Where an engine may keep what it wants to find again when the campaign goes on; None for nowhere."""
        self.known = set(known)
        self.features: dict[str, None] = {}
        self.phase: str = "searching"
        self._runner, self._sink, self._limits = runner, sink, limits
        self._seed, self._engine = seed, engine
        self._stopped, self._alive = stopped, alive
        self._corpus: list[Program] = []
        self._names: set[str] = set()
        self._doubts: dict[Key, int] = {}
        self._untold: dict[Key, int] = {}
        self._became: dict[Key, Key] = {}
        self._ended: float | None = None
        self._next_exchange = time.monotonic() + EXCHANGE
        for program in corpus:
            self._take(program)

    # ---- what an engine sees -------------------------------------------------------------------------------------------

    @property
    def seed(self) -> int:
        """The seed of this session."""
        return self._seed

    @property
    def corpus(self) -> Sequence[Program]:
        """The programs to begin with, and those that came since, this session's and others'. It only grows at its end."""
        return self._corpus

    @property
    def over(self) -> bool:
        """Whether it is time to return."""
        if self._ended is not None:
            return True
        limits = self._limits
        if (
            (limits.runs is not None and self.counters.programs >= limits.runs)
            or (limits.deadline is not None and time.monotonic() >= limits.deadline)
            or self._stopped()
        ):
            self._ended = time.monotonic()
        return self._ended is not None

    @property
    def left(self) -> int | None:
        """How many programs may still be run; None for any number."""
        runs = self._limits.runs
        return None if runs is None else max(0, runs - self.counters.programs)

    def tell(self, program: Program, verdict: Verdict) -> bool:
        """Take note of what `Runner.run` said of a program; return whether it showed something new.

        Raises OSError where the sink cannot write, and what the runner's ``examine`` raises.
        """
        self.counters.programs += 1
        if verdict.unsupported:
            self.counters.unsupported += 1
        if verdict.violations:
            self._suspect(program, verdict.violations[0])
        new = not verdict.unsupported and self._new(verdict.features)
        if new:
            self._keep(program)
        self._exchange()
        self._alive(self)
        return new

    # ---- the corpus ----------------------------------------------------------------------------------------------------

    def _exchange(self) -> None:
        """Take what other sessions have kept since, now and then."""
        now = time.monotonic()
        if now >= self._next_exchange:
            for program in self._sink.others():
                self._take(program)
            self._next_exchange = now + EXCHANGE

    def _new(self, features: frozenset[str]) -> bool:
        room = FEATURES - len(self.features)
        if room <= 0 or features <= self.features.keys():
            return False
        self.features.update(dict.fromkeys(sorted(features - self.features.keys())[:room]))
        return True

    def new_features(self, beyond: int) -> tuple[str, ...]:
        """Return the names of behaviour in the order in which they were seen, without the first ``beyond``."""
        return tuple(itertools.islice(self.features, beyond, None))

    def _keep(self, program: Program) -> None:
        data = encode(program)
        name = name_of(data)
        if name not in self._names:
            self._sink.keep(name, data)
            self.counters.kept += 1
            self._take(program, name)

    def _take(self, program: Program, name: str = "") -> None:
        if len(self._corpus) < IN_MEMORY:
            name = name or name_of(encode(program))
            if name not in self._names:
                self._names.add(name)
                self._corpus.append(program)

    # ---- findings ------------------------------------------------------------------------------------------------------

    def _suspect(self, program: Program, violation: Violation) -> None:
        self.counters.suspicions += 1
        key = self._became.get(violation.key, violation.key)
        if key in self.known:
            self._count(self.counters.seen, key)
            return
        if key not in self._doubts and len(self._doubts) + len(self.known) >= KEYS:
            key = OTHERS
        doubts = self._doubts[key] = self._doubts.get(key, 0) + 1
        self._untold[key] = self._untold.get(key, 0) + 1
        if doubts & (doubts - 1) == 0:  # the first, second, fourth, eighth time: another program may prove it
            self._prove(program, violation, key)

    def _prove(self, program: Program, violation: Violation, key: Key) -> None:
        self._say(f"proving {violation.key}")
        for _ in range(EXAMINATIONS):
            shown = self._examine(program, violation.key)
            if shown is not None:
                self._confirm(program, shown, key)
                break
        else:
            finding = self._finding(program, violation, seen=self._untold.pop(key))
            self._sink.unconfirmed(finding)
            self._count(self.counters.unconfirmed, key, finding.seen)
        self._say("searching")

    def _confirm(self, program: Program, shown: Violation, suspected: Key) -> None:
        """Make a finding of what an examination showed, which may be another key than the one suspected."""
        seen = self._untold.pop(suspected, 1)
        self._doubts.pop(suspected, None)
        if suspected not in (shown.key, OTHERS) and len(self._became) < KEYS:
            self._became[suspected] = shown.key
        if shown.key in self.known:
            self._count(self.counters.seen, shown.key, seen)
            return
        self.known.add(shown.key)
        self._count(self.counters.seen, shown.key, seen)
        self.small(self._finding(program, shown, seen=seen))

    def small(self, finding: Finding) -> None:
        """Make a finding that was proved as small as it goes, and hand it to the sink for good."""
        self._sink.proved(finding)
        self.known.add(finding.key)
        self._say(f"making small: {finding.key}")
        best, whole = self._smallest(finding)
        shown = self._again(best, finding.key) if best != finding.program else None
        if shown is not None:
            finding = replace(finding, program=best, violation=shown)
        self._sink.found(replace(finding, minimised=whole and (shown is not None or best == finding.program)))
        self._say("searching")

    def _smallest(self, finding: Finding) -> tuple[Program, bool]:
        """Return the smallest program that still shows it, and whether there was time to look for it to the end."""
        best = finding.program

        def still(program: Program) -> bool:
            nonlocal best
            if self.over and self._ended is not None and time.monotonic() > self._ended + self._limits.patience:
                raise _Enough
            shown = self._examine(program, finding.key)
            if shown is None or shown.key != finding.key:
                return False
            best = program
            return True

        try:
            return minimise(finding.program, still, budget=BUDGET), True
        except _Enough:
            return best, False

    def _again(self, program: Program, key: Key) -> Violation | None:
        """Return the violation of that key that a program shows when it is examined, None for none."""
        for _ in range(EXAMINATIONS):
            shown = self._examine(program, key)
            if shown is not None and shown.key == key:
                return shown
        return None

    def _examine(self, program: Program, key: Key) -> Violation | None:
        """Return the violation of that key, or the first of another where it does not show; None where nothing is wrong."""
        self.counters.examined += 1
        verdict = self._runner.examine(program)
        self._alive(self)
        return next((one for one in verdict.violations if one.key == key), next(iter(verdict.violations), None))

    def _finding(self, program: Program, violation: Violation, *, seen: int) -> Finding:
        return Finding(
            self._runner.subject,
            violation,
            program,
            version=self._runner.version,
            platform=platform(),
            engine=self._engine,
            seed=self._seed,
            original=len(program.operations),
            seen=seen,
        )

    def close(self) -> None:
        """Write down what was only counted: suspicions since the last examination of their keys."""
        for key, seen in self._untold.items():
            self._count(self.counters.unconfirmed, key, seen)
        self._untold.clear()

    def _count(self, counts: dict[str, int], key: Key, more: int = 1) -> None:
        name = str(key) if str(key) in counts or len(counts) < KEYS else str(OTHERS)
        counts[name] = counts.get(name, 0) + more

    def _say(self, phase: str) -> None:
        self.phase = phase
        self._alive(self)


# ---- a session without a directory -------------------------------------------------------------------------------------


class Shard(Struct, frozen=True):
    """A part of a campaign that can be done anywhere, and again: it has the same result. ``subject`` as of `open_runner`.

    ``known``: keys that need no proof; ``corpus``: encoded programs to begin with.
    """

    subject: str
    engine: str
    seed: int
    runs: int
    known: tuple[Key, ...] = ()
    corpus: tuple[bytes, ...] = ()


class Result(Struct):
    """What a shard came to. ``findings`` and ``unconfirmed`` by the words of their key, ``corpus`` by `name_of`.

    ``features``: the names of the behaviour that was seen.
    """

    findings: dict[str, Finding] = field(default_factory=dict[str, Finding])
    unconfirmed: dict[str, Finding] = field(default_factory=dict[str, Finding])
    corpus: dict[str, bytes] = field(default_factory=dict[str, bytes])
    features: frozenset[str] = frozenset()
    counters: Counters = field(default_factory=Counters)


class Memory:
    """A `Sink` that fills a `Result`."""

    def __init__(self) -> None:
        self.result = Result()

    def keep(self, name: str, data: bytes) -> None:
        """Keep a program."""
        self.result.corpus[name] = data

    def proved(self, finding: Finding) -> None:
        """Keep a finding."""
        self.result.findings[str(finding.key)] = finding
        self.result.unconfirmed.pop(str(finding.key), None)

    def found(self, finding: Finding) -> None:
        """Keep a finding."""
        self.proved(finding)

    def unconfirmed(self, finding: Finding) -> None:
        """Keep what was not confirmed, and add up how often."""
        before = self.result.unconfirmed.get(str(finding.key))
        seen = finding.seen + (before.seen if before else 0)
        self.result.unconfirmed[str(finding.key)] = replace(finding, seen=seen)

    def others(self) -> Iterable[Program]:
        """There are none."""
        return ()


def hunt(runner: Runner, engine: Engine, shard: Shard, corpus: Iterable[Program] = ()) -> Result:
    """Do a shard with an open runner. Raises what the runner and the engine raise."""
    sink = Memory()
    session = Hunt(
        runner,
        sink,
        seed=shard.seed,
        engine=shard.engine,
        limits=Limits(runs=shard.runs, patience=float("inf")),
        corpus=corpus,
        known=shard.known,
    )
    engine(runner, session)
    session.close()
    for finding in sink.result.findings.values():
        seen = session.counters.seen.get(str(finding.key), finding.seen)
        sink.result.findings[str(finding.key)] = replace(finding, seen=seen)
    sink.result.features = frozenset(session.features)
    sink.result.counters = session.counters
    return sink.result
