"""Making a sequence small: operations are left out, then made simpler, as long as it goes on failing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from .operations import Operation, Receive, Send

Sequence = tuple[Operation, ...]


def shrink(sequence: Sequence, fails: Callable[[Sequence], bool], budget: int = 2000) -> Sequence:
    """Return a small sequence that fails, by at most ``budget`` questions. ``sequence`` itself must fail."""
    for _ in range(budget):
        smaller = next((one for one in _smaller(sequence) if _spend(fails, one)), None)
        if smaller is None:
            return sequence
        sequence = smaller
    return sequence


def _spend(fails: Callable[[Sequence], bool], sequence: Sequence) -> bool:
    return bool(sequence) and fails(sequence)


def _smaller(sequence: Sequence) -> Iterator[Sequence]:
    """Yield smaller variants, the boldest first."""
    size = len(sequence) // 2
    while size:
        for start in range(len(sequence) - size, -1, -size):
            yield sequence[:start] + sequence[start + size :]
        size //= 2
    for index, operation in enumerate(sequence):
        for simpler in _simpler(operation):
            yield (*sequence[:index], simpler, *sequence[index + 1 :])


def _simpler(operation: Operation) -> Iterator[Operation]:
    if isinstance(operation, Send):
        yield from _simpler_send(operation)
    if isinstance(operation, Receive):
        if operation.flags:
            yield from (replace(operation, flags=flags) for flags in _fewer_bits(operation.flags))
        if len(operation.room) > 1:
            yield replace(operation, room=(sum(operation.room),))


def _simpler_send(operation: Send) -> Iterator[Send]:
    if operation.controllen is not None:
        yield replace(operation, controllen=None)
    if operation.flags:
        yield from (replace(operation, flags=flags) for flags in _fewer_bits(operation.flags))
    for index, control in enumerate(operation.control):
        rest = operation.control[:index] + operation.control[index + 1 :]
        yield replace(operation, control=rest)
        fds = getattr(control, "fds", ())
        if len(fds) > 1:
            fewer = replace(control, fds=fds[: len(fds) // 2])
            yield replace(operation, control=(*operation.control[:index], fewer, *operation.control[index + 1 :]))
    if len(operation.data) > 1:
        yield replace(operation, data=(b"".join(operation.data),))
    if len(operation.data) == 1 and len(operation.data[0]) > 1:
        yield replace(operation, data=(operation.data[0][: len(operation.data[0]) // 2],))


def _fewer_bits(flags: int) -> list[int]:
    return [0, *(flags & ~(1 << bit) for bit in range(32) if flags >> bit & 1 and flags & ~(1 << bit))]
