"""Random operations with plausible arguments: names that exist, and values at which implementations change their ways.

The numbers come from a ``random.Random``. Whatever is made here has yet to go through `fdspec.fuzz.fitting.fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from ...conformance.interpose.faults import Trouble
from ...conformance.model import flags as f
from ...conformance.model.operations import (
    Call,
    Close,
    Collect,
    Control,
    Credentials,
    Forged,
    How,
    Kind,
    Number,
    Open,
    Option,
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
from ...impls.protocol.values import ObjectKind
from .. import operations as o
from ..fitting import repeated
from ..forging import SHAPES, Builder
from ..operations import (
    BAD,
    RECEIVED,
    Calls,
    End,
    Ending,
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
)
from ..scope import Scope

_T = TypeVar("_T")


def one_of(rng: Random, of: Sequence[_T]) -> _T:
    """Return one of a sequence; faster than ``rng.choice``."""
    return of[int(rng.random() * len(of))]


# ---- values ------------------------------------------------------------------------------------------------------------

SHORT = (b"a", b"ab", b"abc", b"abcd", b"abcdefgh", b"0123456789abcdef", b"", bytes(8), b"\xff\xfe\r\n", b"x" * 64)
_LONG = tuple(
    repeated(b"abc", length)
    for length in (65, 100, 2239, 2240, 2241, 4095, 4096, 4097, 4576, 4577, 16384, 36544, 36545, 65535, 65536)
)
"""About these lengths a kernel divides a message."""
SIZES = (0, 1, 2, 3, 4, 5, 8, 16, 16, 64, 64, 100, 1000, 4095, 4096, 4097, 65535, 65536, 65536, 131_072)
ROOMS = (0, 0, 1, 1, 1, 2, 2, 3, 4, 8, 16)
_LIMITS = (252, 253, 254, 260)
_EXACT = tuple(f.HEADER + 4 * room for room in (0, 1, 1, 2, 2, 3, 4, 8, 252, 253, 254))
_SPACE = tuple(f.align(length) for length in _EXACT)
CONTROL_LENGTHS: tuple[int | None, ...] = (
    *(length + more for length in _EXACT[1:6] for more in (-4, -1, 0, 0, 0, 1, 3)),
    *_EXACT,
    *_SPACE,
    *(length + f.align(f.HEADER + f.UCRED) for length in _EXACT[:4]),
    *(None, 0, 1, 8, 15, 16, 17, 20, 32, 56, 100, 1024, 4096, 65536, 200_000),
)
"""msg_controllen of a receive: CMSG_LEN and CMSG_SPACE of so many descriptors, and what is next to them."""
_CUTS = (0, 1, 8, 15, 16, 17, 19, 20, 21, 23, 24, 25, 28, 32, 39, 40, 48, 200_000)
_LENGTHS = (0, 8, 15, 16, 17, 19, 20, 21, 23, 24, 25, 28, 40, -1, 2**31, 2**32, 2**63 - 1)
_FLAGS = tuple(f.NAMES.values())
_SEND_FLAGS = (f.OOB, f.OOB, f.NOSIGNAL, f.EOR, f.MORE)
_RECEIVE_FLAGS = (f.PEEK, f.PEEK, f.PEEK, f.CLOEXEC, f.CLOEXEC, f.TRUNC, f.WAITALL, f.OOB, f.CTRUNC)
_VALUES = (1, 1, 0, 0, -1, 2, 5, 4608, 9000, 16384, 212992)
_WORDS = ((1, 0), (1, 1), (1, 2), (1, 3), (1, 4), (1, 42), (1, -1), (0, 1), (6, 1), (41, 2), (-1, 1))
FREE = (None, 0, 0, 1, 1, 2, 3, 4, 8, 252, 253, 254)


def piece(rng: Random) -> bytes:
    """Return the bytes of one buffer, a long one now and then."""
    return one_of(rng, SHORT) if rng.random() < 0.94 else one_of(rng, _LONG)


def data(rng: Random) -> tuple[bytes, ...]:
    """Return the buffers of a send."""
    dice = rng.random()
    if dice < 0.8:
        return (piece(rng),)
    if dice < 0.995:
        return tuple(piece(rng) for _ in range(one_of(rng, (0, 2, 2, 2, 3, 3, 5))))
    return (b"",) * one_of(rng, (1, 2, 16, 1024, 1025))


def sizes(rng: Random) -> tuple[int, ...]:
    """Return the sizes of the buffers of a receive."""
    dice = rng.random()
    if dice < 0.8:
        return (one_of(rng, SIZES),)
    if dice < 0.995:
        return tuple(one_of(rng, SIZES[:12]) for _ in range(one_of(rng, (0, 2, 2, 2, 3, 3, 5))))
    return (one_of(rng, (0, 1, 2)),) * one_of(rng, (16, 1024, 1025))


def room(rng: Random) -> int:
    """Return for how many descriptors there is room."""
    return one_of(rng, ROOMS) if rng.random() < 0.93 else one_of(rng, _LIMITS)


def flags(rng: Random, usual: Sequence[int]) -> int:
    """Return MSG_* flags: mostly none."""
    dice = rng.random()
    if dice < 0.65:
        return 0
    first = one_of(rng, usual if dice < 0.95 else _FLAGS)
    return first | (one_of(rng, _FLAGS) if rng.random() < 0.2 else 0)


def send_flags(rng: Random) -> int:
    """Return flags for a send."""
    return flags(rng, _SEND_FLAGS)


def receive_flags(rng: Random) -> int:
    """Return flags for a receive."""
    return flags(rng, _RECEIVE_FLAGS)


def socket(rng: Random, scope: Scope, end: End) -> str:
    """Return a socket of ``end``, mostly the first; now and then something that it received."""
    dice = rng.random()
    names = scope.sockets[end]
    if dice < 0.05 and scope.received[end] and not (end is End.TESTEE and scope.owned(end) != names):
        return received(rng, scope, end)
    return names[0] if dice < 0.6 else one_of(rng, names)


def received(rng: Random, scope: Scope, end: End) -> str:
    """Return the name of a descriptor that ``end`` may have received: it has a receive with room."""
    rooms = scope.received[end]
    last = len(rooms) - 1
    index = last if rng.random() < 0.6 else int(rng.random() * len(rooms))
    return f"{RECEIVED[end]}{index}_{int(rng.random() * min(rooms[index], 4))}"


def descriptor(rng: Random, scope: Scope, end: End) -> Number:
    """Return a descriptor of ``end``: an object, something received, a socket; rarely a bad number."""
    dice = rng.random()
    if dice < 0.02:
        return one_of(rng, BAD)
    if dice < 0.25 and scope.received[end]:
        return received(rng, scope, end)
    if dice < 0.85 and scope.objects[end]:
        return one_of(rng, scope.objects[end])
    owned = scope.owned(end)
    if owned:
        return one_of(rng, owned)
    return (
        one_of(rng, scope.objects[end])
        if scope.objects[end]
        else received(rng, scope, end)
        if scope.received[end]
        else BAD[0]
    )


def descriptors(rng: Random, scope: Scope, end: End) -> tuple[Number, ...]:
    """Return the descriptors of one message: few, one repeated, rarely as many as the kernel takes."""
    dice = rng.random()
    if dice < 0.45:
        return (descriptor(rng, scope, end),)
    if dice < 0.75:
        return tuple(descriptor(rng, scope, end) for _ in range(one_of(rng, (2, 2, 3, 4))))
    if dice < 0.97:
        return (descriptor(rng, scope, end),) * one_of(rng, (2, 2, 3, 5, 8))
    if dice < 0.985:
        return ()
    return (descriptor(rng, scope, end),) * one_of(rng, (16, 64, 252, 253, 254))


def control(rng: Random, scope: Scope, end: End) -> Control:
    """Return any control message."""
    dice = rng.random()
    odd = one_of(rng, _LENGTHS) if rng.random() < 0.3 else None
    if dice < 0.7:
        return Rights(descriptors(rng, scope, end), odd)
    if dice < 0.85:
        return Credentials(one_of(rng, tuple(Forged)))
    return Raw(*one_of(rng, _WORDS), b"\xff" * one_of(rng, (0, 1, 4, 8, 12, 20)), odd)


def controls(rng: Random, scope: Scope, end: End) -> tuple[Control, ...]:
    """Return the control messages of a send: mostly one SCM_RIGHTS."""
    dice = rng.random()
    if dice < 0.25:
        return ()
    if dice < 0.85:
        return (Rights(descriptors(rng, scope, end)),)
    return tuple(control(rng, scope, end) for _ in range(one_of(rng, (1, 1, 2, 3))))


def control_length(rng: Random) -> int | None:
    """Return msg_controllen of a receive."""
    return one_of(rng, CONTROL_LENGTHS)


def cut(rng: Random) -> int | None:
    """Return msg_controllen of a send where it is not the right one; mostly None."""
    return None if rng.random() < 0.93 else one_of(rng, _CUTS)


# ---- operations --------------------------------------------------------------------------------------------------------


def _send(rng: Random, scope: Scope, end: End) -> Operation:
    return Send(socket(rng, scope, end), data(rng), controls(rng, scope, end), cut(rng), send_flags(rng))


def _receive(rng: Random, scope: Scope, end: End) -> Operation:
    call = Call.RECVMSG if end is End.TESTEE or rng.random() < 0.9 else one_of(rng, (Call.RECV, Call.READ))
    return Receive(socket(rng, scope, end), sizes(rng), control_length(rng), receive_flags(rng), call)


def _take(rng: Random, scope: Scope, end: End) -> Operation:
    return Take(socket(rng, scope, end), sizes(rng), room(rng), receive_flags(rng))


def _take_one(rng: Random, scope: Scope, end: End) -> Operation:
    return TakeOne(socket(rng, scope, end), sizes(rng), receive_flags(rng))


def _send_one(rng: Random, scope: Scope, end: End) -> Operation:
    return SendOne(socket(rng, scope, end), descriptor(rng, scope, end), data(rng), send_flags(rng))


def _open(_: Random, scope: Scope, end: End) -> Operation:
    return Open(scope.object(end))


def _make(rng: Random, scope: Scope, end: End) -> Operation:
    return Make(one_of(rng, (ObjectKind.FILE, ObjectKind.SOCKET)), scope.object(end))


def _close(rng: Random, scope: Scope, end: End) -> Operation:
    return Close(descriptor(rng, scope, end))


def _pair(rng: Random, scope: Scope, _: End) -> Operation:
    return Pair(one_of(rng, tuple(Kind)), *scope.pair())


def _shutdown(rng: Random, scope: Scope, end: End) -> Operation:
    return Shutdown(socket(rng, scope, end), one_of(rng, tuple(How)))


def _set(rng: Random, scope: Scope, end: End) -> Operation:
    return SetOption(socket(rng, scope, end), one_of(rng, tuple(Option)), one_of(rng, _VALUES))


def _set_more(rng: Random, scope: Scope, end: End) -> Operation:
    return SetMore(socket(rng, scope, end), one_of(rng, tuple(o.Option)), one_of(rng, _VALUES))


def _room(rng: Random, _: Scope, __: End) -> Operation:
    return Room(one_of(rng, FREE))


def _released(rng: Random, scope: Scope, end: End) -> Operation:
    names = scope.fifos[end] or scope.fifos[1 - end]
    return Released(one_of(rng, names) if names else "f0")


def _collect(_: Random, __: Scope, ___: End) -> Operation:
    return Collect()


def _transport(rng: Random, scope: Scope) -> str:
    names = scope.sockets[End.TESTEE]
    return names[0] if rng.random() < 0.7 else one_of(rng, names)


def _write(rng: Random, scope: Scope, _: End) -> Operation:
    return Write(_transport(rng, scope), piece(rng))


def _queue(rng: Random, scope: Scope, end: End) -> Operation:
    return Queue(_transport(rng, scope), descriptor(rng, scope, end))


def _give(rng: Random, scope: Scope, end: End) -> Operation:
    return Give(_transport(rng, scope), descriptor(rng, scope, end))


def _produce(rng: Random, scope: Scope, _: End) -> Operation:
    return Produce(_transport(rng, scope))


def _reading(rng: Random, scope: Scope, _: End) -> Operation:
    return Reading(_transport(rng, scope), rng.random() < 0.5)


def _finish(rng: Random, scope: Scope, _: End) -> Operation:
    return Finish(_transport(rng, scope), one_of(rng, tuple(Ending)))


def _turn(rng: Random, scope: Scope, _: End) -> Operation:
    return Turn(_transport(rng, scope))


def nth(rng: Random) -> int:
    """Return which call a fault is for, mostly the first."""
    return one_of(rng, (1, 1, 1, 1, 2, 2, 3, 4))


def _fail(rng: Random, _: Scope, __: End) -> Operation:
    return Fail(one_of(rng, tuple(Calls)), one_of(rng, tuple(Trouble)), nth(rng), nth(rng))


def _short(rng: Random, _: Scope, __: End) -> Operation:
    return Short(one_of(rng, (1, 1, 2, 3, 4, 7, 15, 100, 4096)), nth(rng), nth(rng))


def _forge(rng: Random, scope: Scope, _: End) -> Operation:
    builder = one_of(rng, tuple(Builder))
    shape = SHAPES[builder]
    numbers = tuple(one_of(rng, domain) for domain in shape.numbers)
    count = min(shape.most, shape.least + one_of(rng, (0, 0, 1, 2)))
    return Forge(builder, nth(rng), numbers, tuple(descriptor(rng, scope, End.TESTEE) for _ in range(count)))


MAKERS: dict[type[Operation], Callable[[Random, Scope, End], Operation]] = {
    Send: _send,
    Receive: _receive,
    Take: _take,
    TakeOne: _take_one,
    SendOne: _send_one,
    Open: _open,
    Make: _make,
    Close: _close,
    Pair: _pair,
    Shutdown: _shutdown,
    SetOption: _set,
    SetMore: _set_more,
    Room: _room,
    Released: _released,
    Collect: _collect,
    Write: _write,
    Queue: _queue,
    Give: _give,
    Produce: _produce,
    Reading: _reading,
    Finish: _finish,
    Turn: _turn,
    Fail: _fail,
    Short: _short,
    Forge: _forge,
}
OFTEN: dict[type[Operation], int] = {
    Send: 10,
    Receive: 8,
    Take: 14,
    SendOne: 5,
    TakeOne: 5,
    Open: 5,
    Make: 3,
    Close: 5,
    Write: 8,
    Queue: 8,
    Give: 5,
    Turn: 14,
    Finish: 3,
    Room: 3,
    Released: 2,
    Fail: 4,
    Forge: 4,
}
"""How often each kind of operation is made; what is not here once."""
