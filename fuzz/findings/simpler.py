"""What is simpler than one operation, the boldest first. Names and bounds are put right by who takes one of these."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec.structs import replace

from ...conformance.model import flags as f
from ...conformance.model.operations import (
    Call,
    Control,
    Credentials,
    Forged,
    Kind,
    Open,
    Pair,
    Raw,
    Receive,
    Rights,
    Room,
    Send,
    SetOption,
)
from ...impls.protocol.values import ObjectKind
from .. import operations as o
from ..operations import Operation

_FEW = 8
"""Up to so many parts each is left out by itself."""


def simpler(operation: Operation) -> Iterator[Operation]:
    """Yield operations that are simpler than ``operation``."""
    find = _SIMPLER.get(type(operation))
    if find is not None:
        yield from find(operation)


# ---- parts -------------------------------------------------------------------------------------------------------------


def _less(number: int, plain: tuple[int, ...] = (0, 1)) -> Iterator[int]:
    """Yield numbers nearer to the plain ones."""
    size = abs(number)
    yield from (one for one in plain if abs(one) < size or (number < 0 <= one))
    if size > 1:
        yield size // 2
        yield size - 1


def _fewer_flags(flags: int) -> Iterator[int]:
    if flags:
        yield 0
    for bit in f.NAMES.values():
        if flags & bit and flags != bit:
            yield flags & ~bit


def _fewer(parts: tuple[Any, ...], least: int = 0) -> Iterator[tuple[Any, ...]]:
    """Yield parts of ``parts``: one, halves, all but one."""
    count = len(parts)
    if count > least:
        yield parts[:least]
    if count > 1:
        yield parts[:1]
        yield parts[-1:]
    half = count // 2
    if half > 1:
        yield parts[:half]
        yield parts[half:]
    if 2 < count <= _FEW:
        for index in range(count):
            yield parts[:index] + parts[index + 1 :]
    elif count > _FEW:
        yield parts[:-1]


def _less_data(data: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    """Yield fewer buffers, then shorter ones, then plainer bytes."""
    if data != (b"x",):
        yield (b"x",)
    if len(data) > 1:
        yield (b"".join(data),)
        yield from _fewer(data, 1)
    for index, piece in enumerate(data[:_FEW]):
        for length in (1, len(piece) // 2, len(piece) - 1):
            if 0 < length < len(piece):
                yield (*data[:index], piece[:length], *data[index + 1 :])
        yield (*data[:index], b"x" * len(piece), *data[index + 1 :])


def _less_sizes(sizes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if len(sizes) > 1:
        yield (sum(sizes),)
        yield from _fewer(sizes, 1)
    for index, size in enumerate(sizes[:_FEW]):
        for less in _less(size):
            yield (*sizes[:index], less, *sizes[index + 1 :])


def _less_control(one: Control) -> Iterator[Control]:
    if isinstance(one, Rights):
        if one.length is not None:
            yield replace(one, length=None)
            yield from (replace(one, length=less) for less in _less(one.length, ()))
        for fds in _fewer(one.fds):
            yield replace(one, fds=fds)
        if len(set(one.fds)) > 1:
            yield replace(one, fds=one.fds[:1] * len(one.fds))
    elif isinstance(one, Raw):
        if one.length is not None:
            yield replace(one, length=None)
        if one.data:
            yield replace(one, data=b"")
            yield replace(one, data=one.data[: len(one.data) // 2])
        yield from (replace(one, type=less) for less in _less(one.type))
        yield from (replace(one, level=less) for less in _less(one.level))
    elif one.forged is not Forged.NOTHING:
        yield Credentials()


# ---- operations --------------------------------------------------------------------------------------------------------


def _send(op: Send) -> Iterator[Operation]:
    if op.controllen is not None:
        yield replace(op, controllen=None)
        yield from (replace(op, controllen=less) for less in _less(op.controllen))
    yield from (replace(op, flags=flags) for flags in _fewer_flags(op.flags))
    yield from (replace(op, control=control) for control in _fewer(op.control))
    yield from (replace(op, data=data) for data in _less_data(op.data))
    for index, control in enumerate(op.control):
        for less in _less_control(control):
            yield replace(op, control=(*op.control[:index], less, *op.control[index + 1 :]))


def _receive(op: Receive) -> Iterator[Operation]:
    yield from (replace(op, flags=flags) for flags in _fewer_flags(op.flags))
    if op.call is not Call.RECVMSG:
        yield replace(op, call=Call.RECVMSG)
    if op.control is not None:
        yield replace(op, control=None)
        plain = (0, f.HEADER + 4, f.HEADER + 8)  # room for one descriptor, and for as many as have the same CMSG_SPACE
        yield from (replace(op, control=less) for less in _less(op.control, plain))
    yield from (replace(op, room=room) for room in _less_sizes(op.room))


def _take(op: o.Take) -> Iterator[Operation]:
    yield from (replace(op, flags=flags) for flags in _fewer_flags(op.flags))
    yield from (replace(op, room=room) for room in _less(op.room))
    yield from (replace(op, sizes=sizes) for sizes in _less_sizes(op.sizes))


def _take_one(op: o.TakeOne) -> Iterator[Operation]:
    yield from (replace(op, flags=flags) for flags in _fewer_flags(op.flags))
    yield from (replace(op, sizes=sizes) for sizes in _less_sizes(op.sizes))


def _send_one(op: o.SendOne) -> Iterator[Operation]:
    yield from (replace(op, flags=flags) for flags in _fewer_flags(op.flags))
    yield from (replace(op, data=data) for data in _less_data(op.data))


def _write(op: o.Write) -> Iterator[Operation]:
    yield from (replace(op, data=data) for (data,) in _less_data((op.data,)))


def _make(op: o.Make) -> Iterator[Operation]:
    yield Open(op.name)
    if op.kind is ObjectKind.SOCKET:
        yield replace(op, kind=ObjectKind.FILE)


def _pair(op: Pair) -> Iterator[Operation]:
    yield from (replace(op, kind=kind) for kind in Kind if kind is not op.kind)


def _set(op: SetOption | o.SetMore) -> Iterator[Operation]:
    yield from (replace(op, value=less) for less in _less(op.value))


def _room(op: Room) -> Iterator[Operation]:
    if op.free is not None:
        yield from (replace(op, free=less) for less in _less(op.free))


def _fail(op: o.Fail) -> Iterator[Operation]:
    yield replace(op, nth=1, times=1)
    yield replace(op, nth=1)
    yield replace(op, times=1)


def _short(op: o.Short) -> Iterator[Operation]:
    yield replace(op, count=1, nth=1, times=1)
    yield replace(op, nth=1)
    yield replace(op, times=1)
    yield from (replace(op, count=less) for less in _less(op.count, (1,)))


def _forge(op: o.Forge) -> Iterator[Operation]:
    yield replace(op, nth=1)
    yield replace(op, bait=op.bait[:1])
    yield replace(op, bait=())
    for index, number in enumerate(op.numbers):
        for less in _less(number):
            yield replace(op, numbers=(*op.numbers[:index], less, *op.numbers[index + 1 :]))


def _give(op: o.Give) -> Iterator[Operation]:
    yield o.Queue(op.name, op.fd)


_SIMPLER: dict[type[Operation], Callable[[Any], Iterator[Operation]]] = {
    Send: _send,
    Receive: _receive,
    o.Take: _take,
    o.TakeOne: _take_one,
    o.SendOne: _send_one,
    o.Write: _write,
    o.Make: _make,
    Pair: _pair,
    SetOption: _set,
    o.SetMore: _set,
    Room: _room,
    o.Fail: _fail,
    o.Short: _short,
    o.Forge: _forge,
    o.Give: _give,
}
"""What is not here is as simple as it can be."""
