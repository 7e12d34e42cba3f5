"""What a campaign on many machines keeps beside its store: which shards are done, and what behaviour was seen.

far.json       the shards that are done as ranges, those given up, and the counters of all that are done
features.bin   the digest of every behaviour that was seen, 8 bytes each
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import msgspec
from msgspec import Struct

from ..findings.finding import Finding
from .far_values import DIGEST, Done, Merged, Plan, Spans, digests, most_of
from .faults import Refused, writing
from .session import Counters
from .store import State, Store

EVERY = 1.0
"""Seconds between two writings of the counters."""
_FILE, _FEATURES = "far.json", "features.bin"


class Far(Struct):
    """What ``far.json`` holds: the shards that are done and those given up, and what decides what a shard is."""

    seed: int
    most: int | None = None
    runs: int | None = None
    done: list[tuple[int, int]] = []
    lost: dict[str, str] = {}
    counters: Counters = msgspec.field(default_factory=Counters)


class Keeping:
    """A campaign's directory, and all that is known of the campaign; the directory has to be locked.

    Raises Refused where another campaign was begun there, and `Unwritable`.
    """

    def __init__(self, store: Store, plan: Plan) -> None:
        self.store = store
        self.merged = Merged()
        self.state: State = store.state(plan.subject)
        self.far = self._read(plan)
        self._features = store.directory / _FEATURES
        self.notes: list[str] = []
        self._load()
        self._saved = 0.0
        self._dirty = False

    def _read(self, plan: Plan) -> Far:
        path = self.store.directory / _FILE
        try:
            far = msgspec.json.decode(path.read_bytes(), type=Far)
            Spans(far.done)
        except FileNotFoundError:
            return Far(plan.seed, plan.most or (None if plan.runs is None else most_of(plan.runs)))
        except (OSError, ValueError) as fault:
            raise Refused(f"{path} cannot be read: {fault}; remove it, and the shards are begun anew") from fault
        return far

    def _load(self) -> None:
        merged, store = self.merged, self.store
        merged.done, merged.counters = Spans(self.far.done), self.far.counters
        programs, notes = store.programs()
        self.notes += notes
        for name in programs:
            path = store.corpus / name[:2] / name
            merged.corpus[name] = path.read_bytes()
            merged.names.append(name)
        for directory, known in ((store.findings, merged.findings), (store.unconfirmed, merged.unconfirmed)):
            found, notes = store.known(directory)
            self.notes += notes
            known |= {str(key): one for key, one in found.items()}
        for finding in store.known(store.pending)[
            0
        ].values():  # a local campaign was killed before it had made it small
            merged.findings.setdefault(str(finding.key), finding)
            store.settle(finding)
        if self._features.exists():
            with writing(self._features):
                data = self._features.read_bytes()
                os.truncate(self._features, len(data) - len(data) % DIGEST)
            merged.features |= set(digests(data))

    def add(self, result: Done) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
        """Write down what a shard brought; return the findings, and the suspicions, that are new or better."""
        news = self.merged.add(result)
        for name, data in news.corpus.items():
            self.store.keep(name, data)
        if news.features:
            with writing(self._features), self._features.open("ab") as stream:
                stream.write(news.features)
        for finding in news.findings:
            self.store.settle(finding)
        for finding in news.unconfirmed:
            self.store.put(finding, self.store.unconfirmed)
        self.far.lost.pop(str(result.index), None)
        if news.first:
            counters = result.counters
            self.state.version = result.version or self.state.version
            self.state.programs += counters.programs
            self.state.unsupported += counters.unsupported
            self.state.suspicions += counters.suspicions
            self.state.examined += counters.examined
            self.state.seconds += result.seconds
        self._dirty = True
        return news.findings, news.unconfirmed

    def give_up(self, index: int, reason: str) -> None:
        """Write down that a shard was given up."""
        self.far.lost[str(index)] = reason
        self._dirty = True

    def save(self, *, now: bool = False) -> None:
        """Write the counters and the list of what is done, where it is time or ``now``."""
        if not self._dirty or (not now and time.monotonic() < self._saved + EVERY):
            return
        for finding in list(self.merged.counted()):
            self.store.settle(finding)
        self.far.done = self.merged.done.spans
        self.far.counters = self.merged.counters
        self.store.save(self.state)
        _write(self.store.directory / _FILE, msgspec.json.encode(self.far))
        self._saved, self._dirty = time.monotonic(), False


def _write(path: Path, data: bytes) -> None:
    """Have ``data`` in ``path`` for good, or leave that as it was. The directory is locked, so nobody else writes it."""
    new = path.with_name(f"{path.name}.new")
    with writing(path):
        try:
            with new.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            new.rename(path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
