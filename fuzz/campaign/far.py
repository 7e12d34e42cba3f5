"""A campaign on many machines: shards go to the workers of Dask's scheduler, and what comes back is merged and written here.

This process alone writes the campaign's directory, and it writes what a shard brought before it counts the shard as done: killed
at any moment and started again, it has done again what it does not know to be done, which changes nothing. A worker that dies
loses the shards that it was doing; they are done elsewhere. A shard that fails `ATTEMPTS` times is given up, and said loudly.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import Struct

from ..findings.finding import Finding
from . import far_worker
from .far_cluster import Cluster, Unreachable
from .far_store import Keeping
from .far_values import (
    BadBytes,
    Done,
    Failed,
    Merged,
    Plan,
    Prepare,
    Ready,
    Reply,
    Unavailable,
    Work,
    encode,
    reply_of,
    seed_of,
)
from .faults import Ending
from .session import Shard
from .store import Store

GRACE = 60.0
"""Seconds beyond that before the process of a shard is killed."""
WHOLE = 1800.0
"""Seconds that a shard may take to run its number of programs, where the whole has a number of them."""
SET_UP = 1800.0
"""Seconds that a worker may take to set up an implementation."""
ATTEMPTS = 3
"""How often a shard is begun before it is given up."""
SAMPLE = 512
"""Programs of the merged corpus that go into a shard."""
AHEAD = 1
"""Requests that wait at a worker beside those that it does."""
EVERY = 1.0
"""Seconds between two looks at the workers."""


class Progress(Struct, frozen=True):
    """Where a campaign is. ``machines``: workers that take part; ``busy``: shards that are being done."""

    seconds: float
    machines: int
    busy: int
    shards: int
    again: int
    lost: int
    programs: int
    corpus: int
    features: int
    findings: int


@dataclass
class Listener:
    """Who is told what happens; every part does nothing by default."""

    progress: Callable[[Progress], None] = lambda _: None
    found: Callable[[Finding], None] = lambda _: None
    doubted: Callable[[Finding], None] = lambda _: None
    note: Callable[[str], None] = lambda _: None
    stopped: Callable[[], bool] = lambda: False


# ---- the shards --------------------------------------------------------------------------------------------------------


@dataclass
class _Part:
    """A shard that is yet to be done, and what became of it so far."""

    index: int
    attempts: int = 0
    reasons: list[str] = field(default_factory=list[str])


@dataclass
class _Sent:
    """A request at a worker. ``part`` is None for one that makes it ready."""

    worker: str
    part: _Part | None


@dataclass
class _Machine:
    """A worker: how many requests it does at a time, and which it has, the oldest first."""

    at_a_time: int
    ready: bool = False
    sent: list[int] = field(default_factory=list[int])


class Conduct:
    """Has a plan done on a cluster. What is found goes to ``keeping``, which is saved when `run` returns or raises."""

    def __init__(self, plan: Plan, cluster: Cluster, keeping: Keeping, listener: Listener | None = None) -> None:
        self.plan, self.cluster, self.keeping = plan, cluster, keeping
        self.listener = listener or Listener()
        self.again = 0
        self._here = far_worker.about()
        self._machines: dict[str, _Machine] = {}
        self._refused: dict[str, Ending] = {}
        self._sent: dict[int, _Sent] = {}
        self._waiting: list[_Part] = []
        self._missing = self._indices()
        self._begin = time.monotonic()
        self._alone_since = self._begin
        self._looked = float("-inf")
        self._ever = False

    def run(self) -> Ending | None:
        """Do all shards; return why it ended before its time, None where it did not.

        Exit code 3 of an ending: the implementation is to be had on no worker; 4: the scheduler has gone, no worker takes
        part, or a shard was given up. Raises `Unwritable`.
        """
        try:
            ending = self._run()
        except Unreachable as fault:
            ending = Ending(
                4, f"{fault}; what was found is in {self.keeping.store.directory}, and the campaign goes on from there"
            )
        finally:
            for number in list(self._sent):
                self.cluster.drop(number)
            self.keeping.save(now=True)
        lost = self.keeping.far.lost
        if ending is None and lost:
            words = "; ".join(f"shard {index}: {reason}" for index, reason in sorted(lost.items())[:5])
            return Ending(4, f"{len(lost)} shards were given up: {words}")
        return ending

    def _run(self) -> Ending | None:
        while not self.listener.stopped():
            self._look_at_workers()
            ending = self._nobody()
            if ending is not None:
                return ending
            if self._late:
                self._trim()
            else:
                self._fill()
            if not any(one.part for one in self._sent.values()) and (self._late or not self._more()):
                return None
            for number, reply in self.cluster.ended(EVERY / 4):
                self._take(number, reply)
            self.keeping.save()
            self._tell()
        return None

    # ---- workers -------------------------------------------------------------------------------------------------------

    def _look_at_workers(self) -> None:
        if time.monotonic() < self._looked + EVERY:
            return
        self._looked = time.monotonic()
        there = self.cluster.workers()
        for name in self._machines.keys() - there.keys():
            self._gone(name)
        for name in self._refused.keys() - there.keys():
            del self._refused[name]
        new = [name for name in there if name not in self._machines and name not in self._refused]
        for name, told in self.cluster.about(new).items() if new else ():
            self._welcome(name, there[name], told)

    def _welcome(self, name: str, count: int, told: tuple[str, str] | str) -> None:
        """Take a worker that has the same fdspec, and have it make itself ready."""
        if told != self._here:
            self._refuse(name, 4, self._other(told))
            return
        plan = self.plan
        self._machines[name] = _Machine(max(1, count))
        request = Prepare(plan.subject, plan.engine, plan.opener, plan.profiles, plan.interpose)
        self._send(name, None, encode(request), SET_UP)

    def _other(self, told: tuple[str, str] | str) -> str:
        if isinstance(told, str):
            return told
        if told[0] != self._here[0]:
            return f"it has fdspec {told[0]}, and here is {self._here[0]}: install the same on both"
        return f"its fdspec {told[0]} has other code ({told[1]}, and here is {self._here[1]}): install the same on both"

    def _refuse(self, name: str, code: int, reason: str) -> None:
        self._refused[name] = Ending(code, f"worker {name} does not take part: {reason}")
        self.listener.note(self._refused[name].message)

    def _gone(self, name: str) -> None:
        """Have done elsewhere what a worker had; what it was doing counts as an attempt."""
        machine = self._machines.pop(name)
        for place, number in enumerate(machine.sent):
            sent = self._sent.pop(number)
            self.cluster.drop(number)
            if sent.part is not None:
                self._retry(sent.part, f"worker {name} died" if place < machine.at_a_time else "")
        self.listener.note(f"worker {name} has gone; what it was doing is done elsewhere")

    def _nobody(self) -> Ending | None:
        """Return how it ends where nobody takes part for too long."""
        if self._machines:
            self._alone_since = time.monotonic()
            return None
        if self._refused and not self._ever:
            first = max(self._refused.values(), key=lambda one: one.code == 3)
            more = f" (and {len(self._refused) - 1} more)" if len(self._refused) > 1 else ""
            return Ending(min(one.code for one in self._refused.values()), first.message + more)
        if time.monotonic() > self._alone_since + self.plan.nobody:
            return Ending(
                4,
                f"no worker takes part for {self.plan.nobody:.0f} s: `dask worker` with the scheduler's address starts one",
            )
        return None

    # ---- requests ------------------------------------------------------------------------------------------------------

    def _indices(self) -> Iterator[int]:
        """Yield the shards that are yet to be done, in order."""
        far, plan = self.keeping.far, self.plan
        for index in self.keeping.merged.done.missing():
            if plan.runs is not None and self._runs_of(index) <= 0:
                return
            if str(index) not in far.lost:
                yield index

    def _runs_of(self, index: int) -> int:
        each = self.keeping.far.most or 2**62
        return each if self.plan.runs is None else min(each, self.plan.runs - index * each)

    @property
    def _late(self) -> bool:
        return self.plan.seconds is not None and time.monotonic() >= self._begin + self.plan.seconds

    def _more(self) -> bool:
        """Whether there is a shard left to begin; it is the first that waits then."""
        if not self._waiting:
            index = next(self._missing, None)
            self._waiting += [] if index is None else [_Part(index)]
        return bool(self._waiting)

    def _fill(self) -> None:
        """Give every worker that is ready something to do, and then something to do next."""
        for ahead in range(AHEAD + 1):
            for name, machine in list(self._machines.items()):
                while machine.ready and len(machine.sent) < machine.at_a_time + ahead and self._more():
                    self._begin_part(name, self._waiting.pop(0))

    def _trim(self) -> None:
        """Take back what no worker has begun."""
        for machine in self._machines.values():
            while len(machine.sent) > machine.at_a_time:
                number = machine.sent.pop()
                del self._sent[number]
                self.cluster.drop(number)

    def _begin_part(self, name: str, part: _Part) -> None:
        plan, merged = self.plan, self.keeping.merged
        length = plan.length if plan.runs is None else max(plan.length, WHOLE)
        if plan.seconds is not None:
            length = max(1.0, min(length, self._begin + plan.seconds - time.monotonic()))
        seed = seed_of(self.keeping.far.seed, part.index)
        names = random.Random(seed).sample(merged.names, min(SAMPLE, len(merged.names)))  # noqa: S311 - repeatable
        corpus = tuple(merged.corpus[one] for one in names)
        shard = Shard(plan.subject, plan.engine, seed, self._runs_of(part.index), merged.known, corpus)
        work = Work(part.index, shard, plan.opener, length, plan.patience, plan.profiles, plan.interpose)
        self._send(name, part, encode(work), length + plan.patience + GRACE)

    def _send(self, name: str, part: _Part | None, data: bytes, deadline: float) -> None:
        number = self.cluster.start(name, data, deadline)
        self._sent[number] = _Sent(name, part)
        self._machines[name].sent.append(number)

    def _retry(self, part: _Part, reason: str) -> None:
        """Have a shard done again; give it up where it was begun too often. Without a reason it was not begun at all."""
        if reason:
            part.attempts += 1
            part.reasons.append(reason)
        if part.attempts >= ATTEMPTS:
            self.keeping.give_up(part.index, part.reasons[-1])
            self.listener.note(
                f"shard {part.index} (seed {seed_of(self.keeping.far.seed, part.index)}) is given up after {part.attempts} "
                f"attempts: {'; '.join(part.reasons)}"
            )
            return
        self.again += 1
        self._waiting.append(part)

    # ---- replies -------------------------------------------------------------------------------------------------------

    def _take(self, number: int, reply: bytes | str) -> None:
        sent = self._sent.pop(number, None)
        if sent is None:
            return
        machine = self._machines[sent.worker]
        machine.sent.remove(number)
        value = _read(reply)
        if sent.part is None:
            self._readied(sent.worker, machine, value)
        elif isinstance(value, Done):
            found, doubted = self.keeping.add(value)
            for one in found:
                self.listener.found(one)
            for one in doubted:
                self.listener.doubted(one)
        else:
            reason = f"worker {sent.worker}: {getattr(value, 'reason', 'a reply to something else came')}"
            self.listener.note(f"shard {sent.part.index} failed on {reason}")
            self._retry(sent.part, reason)

    def _readied(self, name: str, machine: _Machine, value: Reply) -> None:
        if isinstance(value, Ready):
            machine.ready = self._ever = True
            self.keeping.state.version = value.version
            return
        del self._machines[name]
        code = 3 if isinstance(value, Unavailable) else 4
        self._refuse(name, code, getattr(value, "reason", "a reply to something else came"))

    def _tell(self) -> None:
        merged = self.keeping.merged
        self.listener.progress(
            Progress(
                time.monotonic() - self._begin,
                len(self._machines),
                sum(one.part is not None for one in self._sent.values()),
                len(merged.done),
                self.again,
                len(self.keeping.far.lost),
                merged.counters.programs,
                len(merged.corpus),
                len(merged.features),
                len(merged.findings),
            )
        )


def _read(reply: bytes | str) -> Reply:
    if isinstance(reply, str):
        return Failed(reply)
    try:
        return reply_of(reply)
    except BadBytes as fault:
        return Failed(str(fault))


def conduct(
    plan: Plan, cluster: Cluster, directory: Path, listener: Listener | None = None
) -> tuple[Merged, Ending | None]:
    """Do a plan, or go on with it, in a directory; return what is known in the end, and why it ended early.

    Raises Refused where the directory is another campaign's or locked, and `Unwritable`.
    """
    store = Store(directory)
    store.prepare()
    lock = store.lock()
    try:
        store.clean()
        keeping = Keeping(store, plan)
        for note in keeping.notes:
            (listener or Listener()).note(note)
        ending = Conduct(plan, cluster, keeping, listener).run()
        return keeping.merged, ending
    finally:
        os.close(lock)
