"""The two directions of a transport's connection: what may arrive, as sets of places where it may stand.

Nothing is predicted. What was queued is known, and each thing that arrives leaves those places that are possible with it; when
none is left, it was not permitted. More than one place is possible where descriptors of the same object follow each other, and
where something may be missing: what a receive without room dropped, and the urgent byte of a send with MSG_OOB.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

from ..run.shown import UNKNOWN

NEVER = 1 << 62
"""A place in the data that no byte has yet."""


class Sort(Enum):
    """What may become of a descriptor that was queued."""

    SOUND = "sound"
    """It arrives."""
    BAD = "bad"
    """Its number was not open: it cannot arrive, and the connection ends in an error."""
    WEAK = "weak"
    """Its number was closed while it waited, and nothing says whose fault that is: it arrives, or there is an error."""
    WILD = "wild"
    """The same, and the documentation says that it is the caller's: anything may arrive."""


@dataclass
class Queued:
    """A descriptor that was queued: the name it has in the program, its label, and how much had been written before it."""

    name: str
    label: str
    mark: int
    sort: Sort = Sort.SOUND


class Mismatch(Exception):
    """What arrived was not permitted. ``what`` is a word of `fdspec.fuzz.oracle.transport_words`."""

    def __init__(self, what: str, message: str, permitted: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.what = what
        self.message = message
        self.permitted = tuple(permitted)


def brief(data: bytes) -> str:
    """Return data for people."""
    return repr(data) if len(data) <= 24 else f"{data[:16]!r}... ({len(data)} bytes)"


@dataclass
class Outbound:
    """From the testee to the peer. ``got`` bytes have arrived; each of ``at`` may be the number of descriptors that have."""

    data: bytearray = field(default_factory=bytearray)
    ends: list[int] = field(default_factory=list[int])
    """Where each write ends."""
    queue: list[Queued] = field(default_factory=list[Queued])
    got: int = 0
    at: set[int] = field(default_factory=lambda: {0})
    _latest: list[int] = field(default_factory=list[int])
    _places: list[int] = field(default_factory=list[int])

    @property
    def arrived(self) -> int:
        """How many descriptors have arrived at the least, or were dropped by a receive of the peer's own."""
        return min(self.at)

    @property
    def waiting(self) -> int:
        """How many descriptors have not arrived, at the least."""
        return len(self.queue) - max(self.at)

    def write(self, data: bytes) -> None:
        """Take note of what was written."""
        self.data += data
        self.ends.append(len(self.data))
        self._latest.clear()

    def push(self, name: str, label: str, sort: Sort = Sort.SOUND) -> None:
        """Take note of a descriptor that was queued."""
        self.queue.append(Queued(name, label, len(self.data), sort))
        self._latest.clear()

    def receive(self, data: bytes, labels: Sequence[str], *, dropped: bool, taken: bool = True) -> None:
        """Take what one receive of the peer's brought. Raises `Mismatch`.

        ``dropped``: descriptors may have been lost on the way, for want of room. ``taken``: False for a look (MSG_PEEK).
        """
        a, b = self.got, self.got + len(data)
        expected = bytes(self.data[a:b])
        if data != expected:
            raise self._wrong(data, expected)
        after = {j for i in self.at for j in self._beyond(i, labels, a, max(b, a + 1), dropped=dropped)}
        kept = {i for i in after if i == len(self.queue) or self.latest(i) >= b}
        if not kept:
            raise self._late(after, b) if after else self._strange(labels, max(b, a + 1))
        if taken:
            self.got, self.at = b, kept

    def latest(self, index: int) -> int:
        """Return the last byte with which a descriptor may go out: the end of the write that has its byte. `NEVER`: none yet.

        Its byte is the first that was written after it and that no descriptor before it has.
        """
        if not self._latest:
            self._lay_out()
        return self._latest[index]

    def _lay_out(self) -> None:
        place = -1
        self._places.clear()
        for one in self.queue:
            place = max(one.mark, place + 1)
            self._places.append(place)
            found = bisect_left(self.ends, place + 1)
            self._latest.append(self.ends[found] - 1 if found < len(self.ends) else NEVER)

    def _beyond(self, i: int, labels: Sequence[str], a: int, b: int, *, dropped: bool) -> Iterator[int]:
        """Yield how many descriptors may have arrived after those with ``labels``, by the byte ``b``, where ``i`` had before."""
        for label in labels:
            if i >= len(self.queue) or i >= b or not _fits(self.queue[i], label) or self.latest(i) < a:
                return
            i += 1
        yield i
        while dropped and i < len(self.queue) and i < b and self.queue[i].sort is not Sort.BAD:
            i += 1
            yield i

    def _wrong(self, data: bytes, expected: bytes) -> Mismatch:
        if data.startswith(expected):
            extra = data[len(expected) :]
            return Mismatch(
                "out-data", f"the peer received {brief(extra)} more than was ever written", ["no more data"]
            )
        return Mismatch("out-data", f"the peer received {brief(data)} at byte {self.got}", [f"{brief(expected)}"])

    def _late(self, after: set[int], b: int) -> Mismatch:
        first = self.queue[min(after)]
        return Mismatch(
            "out-late",
            f"{b} bytes have arrived, and {first.name} has not, which had to come with byte {self.latest(min(after))}"
            " at the latest",
            [f"{first.label} with one of the bytes of the write behind it"],
        )

    def _strange(self, labels: Sequence[str], b: int) -> Mismatch:
        following = [one.label for one in self.queue[max(self.at) :][: len(labels) + 1]]
        said = f"the peer received the descriptors {', '.join(labels)} by byte {b}"
        permitted = [f"{', '.join(following)} in this order" if following else "no descriptor"]
        if UNKNOWN in labels or any(label[:1] == "t" for label in labels) or self._is_other(labels):
            return Mismatch("out-identity", f"{said}: not what was queued", permitted)
        if labels and len(following) >= len(labels) and list(labels) == following[: len(labels)]:
            return Mismatch("out-crowd", f"{said}: more descriptors than bytes", ["one byte at least for each"])
        return Mismatch("out-descriptors", said, permitted)

    def _is_other(self, labels: Sequence[str]) -> bool:
        """Whether what arrived in the place of a descriptor that was closed while it waited is something else."""
        return any(
            one.sort is Sort.WEAK and one.label != label
            for start in self.at
            for one, label in zip(self.queue[start:], labels, strict=False)
        )


def _fits(one: Queued, label: str) -> bool:
    return one.sort is Sort.WILD or (one.sort is not Sort.BAD and one.label == label)


@dataclass
class Sent:
    """A descriptor that the peer sent with the byte ``place``. ``optional``: urgent data drop it with their byte.

    ``tight``: the loop ran while the limit of open files may have left no number for it.
    """

    label: str
    place: int
    optional: bool = False
    tight: bool = False


@dataclass
class Inbound:
    """From the peer to the testee's protocol. Each of ``positions`` may be how far the data has been told.

    Each of ``at`` is how many descriptors may have been told, and whether some before were lost for want of a number.
    """

    data: bytearray = field(default_factory=bytearray)
    optional: list[int] = field(default_factory=list[int])
    """The bytes that may be missing, ascending."""
    fds: list[Sent] = field(default_factory=list[Sent])
    positions: set[int] = field(default_factory=lambda: {0})
    at: set[tuple[int, bool]] = field(default_factory=lambda: {(0, False)})

    def send(self, data: bytes, labels: Sequence[str], *, urgent: bool) -> None:
        """Take note of what the kernel took from the peer; ``urgent``: its last byte is sent with MSG_OOB."""
        if not data:
            return  # a stream has no empty messages: descriptors without a byte are gone
        start = len(self.data)
        self.fds += [Sent(one, start, optional=urgent and len(data) == 1) for one in labels]
        self.data += data
        if urgent:
            self.optional.append(len(self.data) - 1)

    def squeeze(self) -> None:
        """Take note that the loop ran with few free numbers: what was not told by now may be lost."""
        for one in self.fds[min(index for index, _ in self.at) :]:
            one.tight = True

    def tell_data(self, chunk: bytes, *, first: bool) -> None:
        """Take a data event. ``first``: descriptors come before the data that they came with. Raises `Mismatch`."""
        after = {end for start in self.positions for end in self._advance(start, chunk)}
        if not after:
            told = max(self.positions)
            expected = bytes(self.data[told : told + len(chunk)])
            raise Mismatch(
                "in-data", f"the protocol was given {brief(chunk)} after {told} bytes", [f"{brief(expected)}"]
            )
        self.positions = after
        if first:
            self._settle(min(after))

    def _settle(self, told: int) -> None:
        """See that no descriptor is behind its data."""
        found = {one for state in self.at for one in self._passed(state, told)}
        if not found:
            index = max(index for index, _ in self.at)
            one = self.fds[index]
            raise Mismatch(
                "in-order",
                f"{told} bytes were told, and {one.label}, which came with byte {one.place}, was not",
                [f"{one.label} before the data that it came with"],
            )
        self.at = found

    def _passed(self, state: tuple[int, bool], told: int) -> Iterator[tuple[int, bool]]:
        index, lossy = state
        while index < len(self.fds) and self.fds[index].place < told:
            one = self.fds[index]
            if not (one.optional or one.tight):
                return
            lossy |= not one.optional
            index += 1
        yield index, lossy

    def _advance(self, start: int, chunk: bytes) -> Iterator[int]:
        found: set[tuple[int, int]] = set()
        left = [(start, 0)]
        while left:
            pair = left.pop()
            if pair in found:
                continue
            found.add(pair)
            position, done = pair
            if done == len(chunk):
                yield position
                continue
            index = bisect_left(self.optional, position)
            stop = self.optional[index] if index < len(self.optional) else len(self.data)
            size = min(stop - position, len(chunk) - done)
            if not self.data.startswith(chunk[done : done + size], position):
                continue
            position, done = position + size, done + size
            if done == len(chunk) or size:
                left.append((position, done))
            elif position < len(self.data):
                left.append((position + 1, done))
                if self.data[position] == chunk[done]:
                    left.append((position + 1, done + 1))

    def tell_descriptor(self, label: str) -> None:
        """Take a descriptor event. Raises `Mismatch`."""
        found = {one for state in self.at for one in self._after(state, label)}
        if found:
            self.at = found
            return
        index = max(index for index, _ in self.at)
        following = [one.label for one in self.fds[index:][:1]] or ["no descriptor"]
        what = "in-identity" if label in {UNKNOWN, "-"} else "in-descriptors"
        raise Mismatch(what, f"the protocol was given the descriptor {label} as number {index}", following)

    def _after(self, state: tuple[int, bool], label: str) -> Iterator[tuple[int, bool]]:
        index, lossy = state
        while index < len(self.fds):
            one = self.fds[index]
            if one.label == label:
                yield index + 1, lossy
            if not (one.optional or one.tight):
                return
            lossy |= not one.optional
            index += 1

    @property
    def lossy(self) -> bool:
        """Whether descriptors must have been lost for want of numbers."""
        return all(lossy for _, lossy in self.at)

    @property
    def missing(self) -> tuple[int, list[str]]:
        """How many bytes were not told, and the labels of the descriptors that were not, at the least; what is optional apart."""
        reached = max(self.positions)
        index = max(index for index, _ in self.at)
        lost = [one.label for one in self.fds[index:] if not (one.optional or one.tight)]
        optional = len(self.optional) - bisect_left(self.optional, reached)
        return len(self.data) - reached - optional, lost
