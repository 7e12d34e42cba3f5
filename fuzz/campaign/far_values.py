"""What a campaign on many machines sends to its workers and gets back: values, as bytes, and how results are merged.

A shard is known by its index; all else in it follows from the campaign. Whatever is done twice (a worker died after its work, a
client was started again) is merged twice, and changes nothing: findings go by their key, programs by their name, behaviour by the
digest of its name, and the counters of a shard are added once, by its index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from ...impls.protocol.values import Profile
from ..codec import encode as encode_program
from ..findings.finding import Finding
from ..judgement import Key
from .session import KEYS, OTHERS, Counters, Shard

DIGEST = 8
"""Bytes of the digest of a behaviour's name."""
CORPUS, FEATURES = 200_000, 4_000_000
"""Programs, and names of behaviour, that a client holds; after that nothing is new."""
UNPROVED = 4_096
"""Suspicions that nobody proved that a client holds, one a key; of further ones the count alone is kept."""


LENGTH = 60.0
"""Seconds of a shard."""
RUNS = (500, 20_000)
"""Programs of a shard, where the whole has a number of them: at least and at most."""
SHARDS = 256
"""Shards of such a whole, within these bounds."""
PATIENCE = 60.0
"""Seconds that a shard may take beyond its length to make its findings small."""
NOBODY = 60.0
"""Seconds that are waited for a first worker, or for another one when the last has gone."""


class Plan(Struct, frozen=True):
    """What a campaign on a scheduler is to do. ``runs`` and ``seconds``: its end, None for none.

    ``length``: seconds of a shard; ``most``: programs of a shard at most, None for as many as fit; ``profiles`` and
    ``interpose`` as of ``open_runner``.
    """

    subject: str
    engine: str
    opener: str
    seed: int
    runs: int | None = None
    seconds: float | None = None
    length: float = LENGTH
    most: int | None = None
    profiles: tuple[Profile, ...] = ()
    interpose: bool = False
    patience: float = PATIENCE
    nobody: float = NOBODY


def most_of(runs: int) -> int:
    """Return how many programs each shard of so many has."""
    least, most = RUNS
    return min(max(least, -(-runs // SHARDS)), most)


class Prepare(Struct, frozen=True, tag="prepare"):
    """Make everything ready for a subject on one machine: build its environment, start its testee once."""

    subject: str
    engine: str
    opener: str
    profiles: tuple[Profile, ...] = ()
    interpose: bool = False


class Work(Struct, frozen=True, tag="work"):
    """One shard. ``opener`` as ``module:function``; ``seconds``: it ends then, if its runs have not ended before.

    ``patience``: seconds after that in which findings may still be made small. ``profiles`` and ``interpose`` are the opener's.
    """

    index: int
    shard: Shard
    opener: str
    seconds: float
    patience: float
    profiles: tuple[Profile, ...] = ()
    interpose: bool = False


Request = Prepare | Work


class Gained(Struct, frozen=True, array_like=True):
    """A program for the corpus: its bytes, and the digests of what it was the first in its shard to show, one after the other."""

    data: bytes
    features: bytes


class Done(Struct, frozen=True, tag="done"):
    """What a shard came to. ``corpus`` by `session.name_of`; ``seconds``: how long it took; ``memory``: its peak, in bytes."""

    index: int
    findings: tuple[Finding, ...] = ()
    unconfirmed: tuple[Finding, ...] = ()
    corpus: dict[str, Gained] = {}
    counters: Counters = field(default_factory=Counters)
    version: str = ""
    seconds: float = 0.0
    memory: int = 0


class Ready(Struct, frozen=True, tag="ready"):
    """The subject can be started there. ``version``: its own, as its testee tells it."""

    version: str


class Unavailable(Struct, frozen=True, tag="unavailable"):
    """The subject cannot be had there, or does not start; ``reason`` is a line."""

    reason: str


class Failed(Struct, frozen=True, tag="failed"):
    """The harness failed: the process that did it died, hung, or told a fault of its own."""

    reason: str


Reply = Done | Ready | Unavailable | Failed

_ENCODER = msgspec.msgpack.Encoder()
_REQUESTS = msgspec.msgpack.Decoder[Request](Request)
_REPLIES = msgspec.msgpack.Decoder[Reply](Reply)


class BadBytes(ValueError):
    """What came is no request, or no reply, of this version."""


def encode(value: Request | Reply) -> bytes:
    """Return the bytes of a request or of a reply."""
    return _ENCODER.encode(value)


def request_of(data: bytes) -> Request:
    """Return the request of these bytes. Raises BadBytes."""
    try:
        return _REQUESTS.decode(data)
    except msgspec.DecodeError as fault:
        raise BadBytes(f"{len(data)} bytes are no request: {fault}") from fault


def reply_of(data: bytes) -> Reply:
    """Return the reply of these bytes. Raises BadBytes."""
    try:
        return _REPLIES.decode(data)
    except msgspec.DecodeError as fault:
        raise BadBytes(f"{len(data)} bytes are no reply: {fault}") from fault


def digest(name: str) -> bytes:
    """Return what stands for the name of a behaviour."""
    return hashlib.blake2b(name.encode(), digest_size=DIGEST).digest()


def digests(packed: bytes) -> Iterator[bytes]:
    """Yield the digests that stand one after the other; what is less than one at the end is left out."""
    for at in range(0, len(packed) - DIGEST + 1, DIGEST):
        yield packed[at : at + DIGEST]


def seed_of(seed: int, index: int) -> int:
    """Return the seed of a shard, from 0 to 2**63 - 1."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{index}".encode(), digest_size=8).digest()) >> 1


# ---- what is done ------------------------------------------------------------------------------------------------------


class Spans:
    """A set of whole numbers from 0, small as long as they are near each other: ranges ``[first, behind the last]``."""

    def __init__(self, spans: Iterable[tuple[int, int]] = ()) -> None:
        """Raise ValueError for what is no list of ranges in order."""
        self.spans: list[tuple[int, int]] = []
        for first, behind in spans:
            if not (self.spans[-1][1] if self.spans else 0) <= first < behind:
                raise ValueError(f"no ranges in order: {first} to {behind}")
            self.spans.append((first, behind))

    def __contains__(self, number: int) -> bool:
        return any(first <= number < behind for first, behind in self.spans)

    def __len__(self) -> int:
        return sum(behind - first for first, behind in self.spans)

    def add(self, number: int) -> None:
        """Add a number; one that is in it already changes nothing."""
        if number in self:
            return
        spans: list[tuple[int, int]] = []
        for first, behind in sorted([*self.spans, (number, number + 1)]):
            if spans and spans[-1][1] == first:
                spans[-1] = (spans[-1][0], behind)
            else:
                spans.append((first, behind))
        self.spans = spans

    def missing(self) -> Iterator[int]:
        """Yield every number from 0 that is not in it now, without end."""
        at = 0
        for first, behind in [*self.spans]:
            yield from range(at, first)
            at = behind
        while True:
            yield at
            at += 1


class News(Struct, frozen=True):
    """What a result brought that was not known: findings that are new or better, programs by name, digests of behaviour."""

    findings: tuple[Finding, ...] = ()
    unconfirmed: tuple[Finding, ...] = ()
    corpus: dict[str, bytes] = {}
    features: bytes = b""
    first: bool = False
    """Whether the shard was not done before."""


class Merged:
    """All that is known of a campaign. Results are added in any order, and as often as they come."""

    def __init__(self) -> None:
        self.done = Spans()
        self.counters = Counters()
        self.findings: dict[str, Finding] = {}
        self.unconfirmed: dict[str, Finding] = {}
        self.corpus: dict[str, bytes] = {}
        self.names: list[str] = []
        """Of the corpus, once each: a sample of a list costs the same however long that is."""
        self.features: set[bytes] = set()

    def add(self, result: Done) -> News:
        """Add the result of a shard, and return what is new in it."""
        first = result.index not in self.done
        if first:
            self.done.add(result.index)
            _sum(self.counters, result.counters)
        findings = [one for one in map(self._counted, result.findings) if _better(one, self.findings)]
        self.findings |= {str(one.key): one for one in findings}
        for one in findings:
            self.unconfirmed.pop(str(one.key), None)
        doubts = [
            one
            for one in result.unconfirmed
            if str(one.key) not in self.findings
            and (str(one.key) in self.unconfirmed or len(self.unconfirmed) < UNPROVED)
            and _better(one, self.unconfirmed)
        ]
        self.unconfirmed |= {str(one.key): one for one in doubts}
        corpus, features = self._gain(result.corpus)
        return News(tuple(findings), tuple(doubts), corpus, features, first)

    def _gain(self, gained: dict[str, Gained]) -> tuple[dict[str, bytes], bytes]:
        """Take the programs that show what no program before them has shown."""
        corpus: dict[str, bytes] = {}
        features: list[bytes] = []
        for name, one in gained.items():
            new = set(digests(one.features)) - self.features
            if not new or len(self.features) >= FEATURES:
                continue
            self.features |= new
            features += sorted(new)
            if name not in self.corpus and len(self.corpus) < CORPUS:
                self.corpus[name] = corpus[name] = one.data
                self.names.append(name)
        return corpus, b"".join(features)

    def _counted(self, finding: Finding) -> Finding:
        seen = self.counters.seen.get(str(finding.key), 0)
        return replace(finding, seen=max(seen, finding.seen))

    def counted(self) -> Iterator[Finding]:
        """Yield the findings that were met more often than they say, as they are now."""
        for name, finding in self.findings.items():
            now = self._counted(finding)
            if now != finding:
                self.findings[name] = now
                yield now

    @property
    def known(self) -> tuple[Key, ...]:
        """The keys that need no proof any more."""
        return tuple(one.key for one in self.findings.values())


def _better(finding: Finding, known: dict[str, Finding]) -> bool:
    """Whether a finding is new, or better than the one of its key; of two always the same one is."""
    before = known.get(str(finding.key))
    return before is None or _rank(finding) < _rank(before)


def _rank(finding: Finding) -> tuple[bool, int, bytes]:
    data = encode_program(finding.program)
    return not finding.minimised, len(finding.program.operations), data


_SUMS = ("programs", "unsupported", "suspicions", "examined", "kept")


def _sum(total: Counters, more: Counters) -> None:
    for name in _SUMS:
        setattr(total, name, getattr(total, name) + getattr(more, name))
    for into, counts in ((total.seen, more.seen), (total.unconfirmed, more.unconfirmed)):
        for key, count in counts.items():
            name = key if key in into or len(into) < KEYS else str(OTHERS)
            into[name] = into.get(name, 0) + count
