"""What makes one operation valid where it stands: names that exist there, sizes within bounds, what its end can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from ..conformance.model import flags as f
from ..conformance.model.operations import (
    Call,
    Close,
    Collect,
    Control,
    Credentials,
    Forged,
    Kind,
    Number,
    Open,
    Pair,
    Raw,
    Receive,
    Released,
    Rights,
    Room,
    Send,
    SetOption,
    Shutdown,
)
from ..impls.protocol.values import ObjectKind, Profile
from .forging import SHAPES, Builder, fitting
from .operations import (
    End,
    Fail,
    Finish,
    Forge,
    Give,
    Make,
    Operation,
    Produce,
    Queue,
    Reading,
    SendOne,
    SetMore,
    Short,
    Take,
    TakeOne,
    Turn,
    Write,
    end_of,
)
from .scope import CONNECTIONS, Scope, capacity

BUFFERS = 1025
"""Buffers of one call: one more than the kernel takes."""
DATA = 65536
"""Bytes of one send."""
LITERAL = 64
"""Bytes up to which a buffer holds anything; a longer one repeats a pattern."""
PATTERN = 16
"""Bytes of that pattern at most."""
DESCRIPTORS = 260
"""Descriptors of one send, and room for them in one receive: some more than the kernel takes."""
CONTROLS = 8
"""Control messages of one send."""
CONTROL_DATA = 256
"""Data bytes of a raw control message."""
CONTROL = 262_144
"""msg_controllen."""
SIZES = 131_072
"""Bytes of all buffers of one receive."""
FREE = 1024
"""Free numbers that RLIMIT_NOFILE leaves."""
CALLS = 16
"""What ``nth`` and ``times`` of a fault are at most."""
FLAGS = sum(f.NAMES.values())
"""The flags that there are."""
INT = (-(2**31), 2**31 - 1)
LONG = (-(2**63), 2**63 - 1)
"""What a cmsg_len may be written as; negative ones wrap as the kernel's size_t does."""


def fit(operation: Operation, scope: Scope) -> Operation | None:
    """Return the valid operation that is nearest to ``operation`` there; None where there is none of its kind."""
    if type(operation) not in scope.permitted:
        return None
    return _FITS[type(operation)](operation, scope)


# ---- values ------------------------------------------------------------------------------------------------------------


def within(value: int, low: int, high: int) -> int:
    """Return ``value`` where it lies within the bounds, both included; else its remainder there."""
    return value if low <= value <= high else low + (value - low) % (high - low + 1)


def piece(data: bytes) -> bytes:
    """Return ``data`` where it is short or repeats a pattern; else its first `PATTERN` bytes repeated to its length."""
    if len(data) <= LITERAL or period(data):
        return data
    return repeated(data[:PATTERN], len(data))


def period(data: bytes) -> int:
    """Return the length of the pattern that ``data`` repeats, 0 where that is longer than `PATTERN`."""
    return next((size for size in range(1, PATTERN + 1) if data[size:] == data[:-size]), 0)


def repeated(pattern: bytes, length: int) -> bytes:
    """Return ``length`` bytes of ``pattern``, again and again."""
    return (pattern * (length // len(pattern) + 1))[:length]


def bounded(pieces: Sequence[bytes], most: int = BUFFERS) -> tuple[bytes, ...]:
    """Return so many buffers at most, with `DATA` bytes together; what is beyond is cut."""
    if len(pieces) == 1 and len(pieces[0]) <= LITERAL:
        return tuple(pieces)
    found: list[bytes] = []
    left = DATA
    for one in pieces[:most]:
        found.append(piece(one[:left]))
        left -= len(found[-1])
    return tuple(found)


def sizes(given: Sequence[int]) -> tuple[int, ...]:
    """Return the sizes of `BUFFERS` buffers at most, with `SIZES` bytes together; what is beyond is cut."""
    if len(given) == 1 and 0 <= given[0] <= SIZES:
        return tuple(given)
    found: list[int] = []
    left = SIZES
    for one in given[:BUFFERS]:
        found.append(min(within(one, 0, SIZES), left))
        left -= found[-1]
    return tuple(found)


def controls(given: Sequence[Control], end: End, scope: Scope) -> tuple[Control, ...]:
    """Return control messages that ``end`` can send through what it has."""
    if not given:
        return ()
    testee = end is End.TESTEE
    if testee and scope.profile is Profile.DESCRIPTORS:
        given = [one for one in given if isinstance(one, Rights)][:1]
    left = DESCRIPTORS
    found: list[Control] = []
    for one in given[:CONTROLS]:
        if isinstance(one, Rights):
            fds = _descriptors(one.fds[:left], end, scope)
            left -= len(fds)
            found.append(Rights(fds, _length(one.length, testee)))
        elif isinstance(one, Raw):
            found.append(_raw(one, testee))
        else:
            forged = Forged.NOTHING if testee and one.forged is Forged.LENGTH else one.forged
            found.append(Credentials(forged))
    return tuple(found)


def _descriptors(fds: tuple[Number, ...], end: End, scope: Scope) -> tuple[Number, ...]:
    if len(fds) < 4:
        return tuple([scope.descriptor(fd, end) for fd in fds])
    found = {fd: scope.descriptor(fd, end) for fd in set(fds)}  # of many, most are the same
    return tuple([found[fd] for fd in fds])


def _raw(one: Raw, testee: bool) -> Raw:
    data = one.data[:CONTROL_DATA]
    level, kind = within(one.level, *INT), within(one.type, *INT)
    if (level, kind) == (f.SOL_SOCKET, f.SCM_RIGHTS):
        data = harmless(data)
    return Raw(level, kind, data, _length(one.length, testee))


def harmless(data: bytes) -> bytes:
    """Return as many bytes that name no descriptor: whose they were would be anybody's guess."""
    return b"\xff" * len(data)


def _length(length: int | None, testee: bool) -> int | None:
    return None if testee or length is None else within(length, *LONG)


# ---- operations --------------------------------------------------------------------------------------------------------


def _send(op: Send, scope: Scope) -> Send:
    name = scope.socket(op.name, scope.permitted[Send])
    end = end_of(name)
    whole = None if end is End.TESTEE or op.controllen is None else within(op.controllen, 0, CONTROL)
    return Send(name, bounded(op.data), controls(op.control, end, scope), whole, op.flags & FLAGS)


def _receive(op: Receive, scope: Scope) -> Receive:
    name = scope.socket(op.name, scope.permitted[Receive])
    testee = end_of(name) is End.TESTEE
    call = Call.RECVMSG if testee else op.call
    return receive(name, op.room, op.control, op.flags, call, scope)


def receive(name: str, room: Sequence[int], control: int | None, flags: int, call: Call, scope: Scope) -> Receive:
    """Return the receive of these parts, each as the call can have it. A testee always has a control buffer."""
    end = end_of(name)
    given = sizes(room)
    flags = 0 if call is Call.READ else flags & FLAGS
    if call is Call.RECV:
        return Receive(name, (sum(given),), None, flags, call)
    if call is Call.READ:
        return Receive(name, given[: f.IOV_MAX], None, flags, call)
    if control is not None:
        control = within(control, 0, CONTROL)
    elif end is End.TESTEE:
        control = 0
    made = Receive(name, given, control, flags, call)
    prefix = scope.prefix(end, capacity(made))
    return Receive(name, given, control, flags, call, prefix) if prefix else made


def _take(op: Take, scope: Scope) -> Take:
    name = scope.socket(op.name, scope.permitted[Take])
    room = within(op.room, 0, DESCRIPTORS)
    return Take(name, sizes(op.sizes), room, op.flags & FLAGS, scope.prefix(end_of(name), room))


def _take_one(op: TakeOne, scope: Scope) -> TakeOne:
    name = scope.socket(op.name, scope.permitted[TakeOne])
    return TakeOne(name, sizes(op.sizes), op.flags & FLAGS, scope.prefix(end_of(name), 1))


def _send_one(op: SendOne, scope: Scope) -> SendOne:
    name = scope.socket(op.name, scope.permitted[SendOne])
    return SendOne(name, scope.descriptor(op.fd, end_of(name)), bounded(op.data), op.flags & FLAGS)


def _open(op: Open, scope: Scope) -> Open:
    return Open(scope.object(end_of(op.name)))


def _make(op: Make, scope: Scope) -> Operation:
    name = scope.object(end_of(op.name))
    return Open(name) if op.kind is ObjectKind.FIFO else Make(op.kind, name)


def _pair(op: Pair, scope: Scope) -> Pair | None:
    if len(scope.sockets[0]) >= CONNECTIONS:
        return None
    return Pair(Kind.STREAM if scope.profile is Profile.TRANSPORT else op.kind, *scope.pair())


def _close(op: Close, scope: Scope) -> Close:
    return Close(scope.descriptor(op.name, end_of(op.name)))


def _shutdown(op: Shutdown, scope: Scope) -> Shutdown:
    return Shutdown(scope.socket(op.name, scope.permitted[Shutdown]), op.how)


def _set(op: SetOption, scope: Scope) -> SetOption:
    return SetOption(scope.socket(op.name, scope.permitted[SetOption]), op.option, within(op.value, *INT))


def _set_more(op: SetMore, scope: Scope) -> SetMore:
    return SetMore(scope.socket(op.name, scope.permitted[SetMore]), op.option, within(op.value, *INT))


def _room(op: Room, scope: Scope) -> Room:
    del scope
    return Room(None if op.free is None else within(op.free, 0, FREE))


def _released(op: Released, scope: Scope) -> Released | None:
    end = end_of(op.name)
    names = scope.fifos[end] or scope.fifos[End.PEER - end]
    return Released(op.name if op.name in names else nearest(op.name, names)) if names else None


def nearest(name: str, names: Sequence[str]) -> str:
    """Return the name of that index among ``names``."""
    digits = "".join(filter(str.isdecimal, name)) or "0"
    return names[int(digits[:9]) % len(names)]


def _write(op: Write, scope: Scope) -> Write:
    return Write(scope.transport(op.name), piece(op.data[:DATA]))


def _queue(op: Queue, scope: Scope) -> Queue:
    return Queue(scope.transport(op.name), scope.descriptor(op.fd, End.TESTEE))


def _give(op: Give, scope: Scope) -> Give:
    return Give(scope.transport(op.name), scope.descriptor(op.fd, End.TESTEE))


def _on_transport(op: Produce | Reading | Finish, scope: Scope) -> Operation:
    return replace(op, name=scope.transport(op.name))


def _turn(op: Turn, scope: Scope) -> Turn:
    return Turn(scope.transport(op.name), scope.prefix(End.TESTEE, 1))


def _fail(op: Fail, scope: Scope) -> Fail:
    del scope
    return Fail(op.calls, op.error, within(op.nth, 1, CALLS), within(op.times, 1, CALLS))


def _short(op: Short, scope: Scope) -> Short | None:
    if scope.kind is not Kind.STREAM:
        return None
    return Short(within(op.count, 1, DATA), within(op.nth, 1, CALLS), within(op.times, 1, CALLS))


def _forge(op: Forge, scope: Scope) -> Forge | None:
    return forge(op.builder, op.nth, op.numbers, [scope.descriptor(one, End.TESTEE) for one in op.bait], scope)


def forge(builder: Builder, nth: int, numbers: Sequence[int], bait: Sequence[Number], scope: Scope) -> Forge | None:
    """Return the forgery with as many baits as its builder takes; None where the testee has nothing that could be one."""
    shape = SHAPES[builder]
    names = [one for one in bait if isinstance(one, str)][: shape.most]
    if len(names) < shape.least:
        names = [one for one in [scope.pick(End.TESTEE, 1, 0)] if isinstance(one, str)] * shape.least
    if len(names) < shape.least:
        return None
    return Forge(builder, within(nth, 1, CALLS), fitting(builder, numbers), tuple(names))


def _as_it_is(op: Collect, scope: Scope) -> Collect:
    del scope
    return op


_FITS: dict[type, Callable[[Any, Scope], Operation | None]] = {
    Send: _send,
    Receive: _receive,
    Take: _take,
    Open: _open,
    Make: _make,
    Close: _close,
    Pair: _pair,
    Shutdown: _shutdown,
    SetOption: _set,
    SetMore: _set_more,
    Room: _room,
    Released: _released,
    Collect: _as_it_is,
    SendOne: _send_one,
    TakeOne: _take_one,
    Write: _write,
    Queue: _queue,
    Give: _give,
    Produce: _on_transport,
    Reading: _on_transport,
    Finish: _on_transport,
    Turn: _turn,
    Fail: _fail,
    Short: _short,
    Forge: _forge,
}
