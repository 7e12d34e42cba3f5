"""What a stream transport has still to send: bytes and descriptors in one order. No input or output happens here.

The rules, for `transport`:

- descriptors go out first in, first out, each with a byte of its own at the least: no two begin at the same byte;
- a descriptor goes out no later than with the first byte that was written after it was queued (and that no earlier
  descriptor has taken). As long as nothing was written after it, it goes with the last unsent bytes before it, and
  waits when there are none;
- with more descriptors than unsent bytes, descriptors queued in a row go out only when there is a byte for each of
  them. Bytes that were written before them don't wait then, bytes written after them do;
- when no more will be written (`finish`) and there still are more descriptors than bytes, nothing of it goes out at
  all: `DescriptorOverrunError`.
"""

from __future__ import annotations

import contextlib
import errno
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from .ownership import Descriptor, PassingError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Chunk", "DescriptorOverrunError", "SendQueue", "Unsent", "plan"]

_CHUNK_LIMIT: Final = 64 * 1024  # bytes in one sendmsg: more is copied in vain when the socket is full


class DescriptorOverrunError(PassingError):
    """More descriptors are queued than bytes to carry them, and no more bytes will come (EINVAL)."""

    def __init__(self, number: int, text: str, unsent: Unsent) -> None:
        super().__init__(number, text)
        self.unsent = unsent


@dataclass(frozen=True, slots=True)
class Unsent:
    """How much is queued, or was when the connection ended."""

    size: int = 0
    """Bytes of data."""
    descriptors: int = 0
    """Number of descriptors."""

    def __bool__(self) -> bool:
        return bool(self.size or self.descriptors)


@dataclass(frozen=True, slots=True)
class Chunk:
    """What the next sendmsg is to carry: data, and with its first byte a descriptor or none."""

    data: bytes
    descriptor: Descriptor | None


def plan(marks: Sequence[int], head: int, tail: int) -> tuple[list[int], int]:
    """Return the bytes with which the first descriptors go out now, and where to stop sending.

    Offsets count from the beginning of the stream: `marks` is how much had been written when each descriptor was
    queued, the bytes from `head` to `tail` are unsent.
    """
    places: list[int] = []
    free = head
    for mark in marks:
        places.append(max(mark, free))
        free = places[-1] + 1
    last = tail - len(places)
    if last >= head:
        return [min(place, last + index) for index, place in enumerate(places)], tail
    ready = sum(place < tail for place in places)
    while ready and marks[ready - 1] == marks[ready]:
        ready -= 1
    return places[:ready], min(places[ready], tail)


class SendQueue:
    """Bytes and owned descriptors that wait to be sent. Closes the descriptors that were sent or are discarded."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._head = 0
        self._descriptors: deque[tuple[int, Descriptor]] = deque()
        self._places: deque[int] = deque()
        self._stop = 0
        self._stale = False
        self._final = False

    @property
    def unsent(self) -> Unsent:
        """What waits."""
        return Unsent(len(self._data), len(self._descriptors))

    @property
    def finished(self) -> bool:
        """Whether `finish` was called."""
        return self._final

    def write(self, data: ReadableBuffer) -> None:
        """Append a copy of the data."""
        self._data += data
        self._stale = True

    def push(self, descriptor: Descriptor) -> None:
        """Append a descriptor and own it."""
        self._descriptors.append((self._head + len(self._data), descriptor))
        self._stale = True

    def finish(self) -> None:
        """Say that no more will come. Raises `DescriptorOverrunError` when the data can't carry the descriptors."""
        unsent = self.unsent
        if unsent.descriptors > unsent.size:
            text = f"{unsent.descriptors} descriptors are queued with {unsent.size} bytes to carry them: one byte each"
            raise DescriptorOverrunError(errno.EINVAL, text, unsent)
        self._final = True

    def next(self) -> Chunk | None:
        """Return what to send next; None when there is nothing, or when what there is has to wait for more data."""
        if self._stale:
            marks = [mark for mark, _ in self._descriptors]
            places, self._stop = plan(marks, self._head, self._head + len(self._data))
            self._places = deque(places)
            self._stale = False
        if self._head >= self._stop:
            return None
        descriptor = None
        bounds = iter(self._places)
        bound = next(bounds, self._stop)
        if self._places and bound == self._head:
            descriptor = self._descriptors[0][1]
            bound = next(bounds, self._stop)
        return Chunk(bytes(self._data[: min(bound - self._head, _CHUNK_LIMIT)]), descriptor)

    def sent(self, size: int) -> None:
        """Take `size` bytes of the last `next` off, and its descriptor if that is at least one."""
        if size and self._places and self._places[0] == self._head:
            self._places.popleft()
            self._drop_first()
        self._head += size
        del self._data[:size]

    def discard(self) -> Unsent:
        """Drop everything, close the descriptors, and return how much it was."""
        unsent = self.unsent
        self._data.clear()
        self._places.clear()
        self._stop = self._head
        self._stale = False
        while self._descriptors:
            self._drop_first()
        return unsent

    def _drop_first(self) -> None:
        """Close the first descriptor; what close says of the file behind it (EIO) is not this connection's affair."""
        with contextlib.suppress(OSError):
            self._descriptors.popleft()[1].close()
