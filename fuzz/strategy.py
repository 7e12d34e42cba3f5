"""A Hypothesis strategy for programs. They shrink towards few operations, and each towards a plain send or receive.

What is drawn names things by letter and index (``t#3``), and `fdspec.fuzz.program.normal` says what that is; so whatever
Hypothesis takes out or makes smaller, a valid program remains. The only module of the package that needs Hypothesis.
"""

from __future__ import annotations

import functools
import string
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from ..conformance.interpose.faults import Trouble
from ..conformance.model import flags as f
from ..conformance.model.operations import (
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
from ..impls.protocol.messages import Receiver
from ..impls.protocol.values import ObjectKind, Profile
from . import fitting as fit
from . import operations as o
from .forging import SHAPES, Builder
from .offer import INTERPOSE, Offer, adapt, kinds_of, sides_of
from .operations import BAD, OBJECTS, RECEIVED, SOCKETS, Calls, End, Ending, Operation
from .program import CALLBACKS, OPERATIONS, Program, System
from .scope import PERMITTED

_T = TypeVar("_T")
S = st.SearchStrategy
_MAY_BE = 7
"""The highest index that is drawn for what a name refers to."""


def programs(offer: Offer, *, operations: int = 16) -> S[Program]:
    """Return the valid programs of at most ``operations`` operations that need no more than is offered.

    Raises ValueError for another number than 0 to `OPERATIONS`, and for an offer with which nothing can be done.
    """
    if not 0 <= operations <= OPERATIONS:
        raise ValueError(f"a program has 0 to {OPERATIONS} operations, not {operations}")
    interposed = INTERPOSE in offer.names
    drawn = st.builds(
        Program,
        st.just(offer.profile),
        st.sampled_from(kinds_of(offer)),
        st.sampled_from(sides_of(offer)),
        st.lists(st.none() | single(offer.profile, interpose=interposed), max_size=operations).map(_there),
        st.just(System.HOST) | st.sampled_from(System) if interposed else st.just(System.HOST),
        _receivers() if offer.profile is Profile.TRANSPORT else st.just(Receiver()),
    )
    return drawn.map(lambda program: adapt(program, offer))


def _there(operations: list[Operation | None]) -> tuple[Operation, ...]:
    """Return the operations. None is what one becomes on its way out: Hypothesis takes small things out, and big ones not."""
    return tuple(one for one in operations if one is not None)


def single(profile: Profile, *, interpose: bool = True) -> S[Operation]:
    """Return the operations of ``profile``, with names that `normal` has yet to make sense of."""
    found: list[S[Operation]] = []
    for kind, ends in PERMITTED[profile].items():
        if interpose or kind not in (o.Fail, o.Short, o.Forge):
            found += [_strategy(kind, end) for end in ends] * _OFTEN.get(kind, 1)
    return st.one_of(found)


@functools.cache
def _strategy(kind: type[Operation], end: End) -> S[Operation]:
    return _STRATEGIES[kind](end)


def _receivers() -> S[Receiver]:
    at = st.none() | st.integers(0, CALLBACKS - 1)
    return st.just(Receiver()) | st.builds(Receiver, st.booleans().map(lambda plain: not plain), at, at, at)


# ---- parts -------------------------------------------------------------------------------------------------------------


def _names(letters: str, end: End) -> list[str]:
    return [f"{letters[end]}#{index}" for index in range(_MAY_BE + 1)]


def _received(end: End) -> list[str]:
    return [f"{RECEIVED[end]}#{index % 3}_{index // 3}" for index in range(_MAY_BE + 1)]


def _sockets(end: End) -> S[str]:
    return st.sampled_from([*_names(SOCKETS, end)[:4] * 3, *_received(end)])


def _descriptors(end: End) -> S[Number]:
    some: list[Number] = [*_names(OBJECTS, end), *_names(SOCKETS, end)[:4], *_received(end), *BAD]
    return st.sampled_from(some)


_LONG = (2239, 2240, 2241, 4576, 4577, 16384, 36544, 36545, 65535, 65536)
"""Lengths about which a kernel divides a message."""
_SHORT = (b"a", b"ab", b"abcd", b"abcdefgh", b"", bytes(8), b"\xff\xfe\r\n")


def _pieces() -> S[bytes]:
    long = st.builds(fit.repeated, st.just(b"abc"), st.sampled_from(_LONG) | st.integers(1, fit.DATA))
    letters = st.text(string.ascii_lowercase, min_size=1, max_size=8).map(str.encode)
    short = st.sampled_from(_SHORT)
    return st.one_of(short, short, letters, long)


def _data() -> S[tuple[bytes, ...]]:
    several = st.lists(_pieces(), max_size=5).map(tuple)
    empty = st.sampled_from((1, 2, 1024, 1025)).map(lambda count: (b"",) * count)
    return st.one_of(st.sampled_from(_SHORT).map(_alone), _pieces().map(_alone), several, empty)


def _alone(value: _T) -> tuple[_T]:
    return (value,)


def _sizes() -> S[tuple[int, ...]]:
    plain: list[tuple[int, ...]] = [(16,), (1,), (0,), (4,), (64,), (4096,), (65536,), (), (1, 1), (1, 16), (4, 0, 64)]
    many = [(size,) * count for size in (0, 1, 2) for count in (1024, 1025)]
    return st.sampled_from([*plain, *many]) | st.lists(st.integers(0, 20), max_size=5).map(tuple)


def _flags(*usual: int) -> S[int]:
    ones = [*usual, *f.NAMES.values()]
    pairs = sorted({one | other for one in usual for other in ones})
    return st.sampled_from([0] * len(ones) + ones + pairs)


def _lengths() -> S[int | None]:
    return st.sampled_from(
        (None, None, None, 0, 8, 15, 16, 17, 19, 20, 21, 23, 24, 25, 28, 40, -1, 2**31, 2**32, 2**63 - 1)
    )


def _fds(end: End) -> S[tuple[Number, ...]]:
    few = st.lists(_descriptors(end), min_size=1, max_size=4).map(tuple)
    counts = st.sampled_from((0, 2, 30, 126, 127, 252, 253, 254, 260))
    many = st.tuples(_descriptors(end), counts).map(lambda both: (both[0],) * both[1])
    return st.one_of(few, few, few, many)


def _controls(end: End) -> S[tuple[Control, ...]]:
    plain = _fds(end).map(Rights)
    words = st.sampled_from((1, 0, 2, 3, 4, 6, 41, 42, -1))
    odd: S[Control] = st.one_of(
        plain,
        st.builds(Rights, _fds(end), _lengths()),
        st.builds(Raw, words, words, st.binary(max_size=24), _lengths()),
        st.sampled_from(Forged).map(Credentials),
    )
    none: S[tuple[Control, ...]] = st.just(())
    return st.one_of(none, plain.map(_alone), plain.map(_alone), st.lists(odd, max_size=4).map(tuple))


_ROOMS = (0, 1, 2, 3, 4, 8, 100, 252, 253, 254, 260)
"""Descriptors for which there is room."""


def _rooms() -> S[int]:
    return st.sampled_from(_ROOMS)


def _control_rooms() -> S[int | None]:
    exact = [f.HEADER + 4 * room for room in _ROOMS]
    some: list[int | None] = [*exact, None, 0, 8, 15, 17, 18, 19, 21, 23, 27, 40, 1032, 4096, 200_000]
    return st.sampled_from([*exact, *some])


# ---- operations --------------------------------------------------------------------------------------------------------


def _sends(end: End) -> S[Operation]:
    cut: tuple[int | None, ...] = (
        (None,) * 9 if end is End.TESTEE else (None,) * 9 + (0, 1, 8, 15, 16, 17, 19, 20, 23, 200_000)
    )
    whole = st.sampled_from(cut)
    return st.builds(Send, _sockets(end), _data(), _controls(end), whole, _flags(f.OOB, f.NOSIGNAL))


def _receives(end: End) -> S[Operation]:
    calls = st.just(Call.RECVMSG) if end is End.TESTEE else st.sampled_from((Call.RECVMSG, Call.RECVMSG, *Call))
    return st.builds(Receive, _sockets(end), _sizes(), _control_rooms(), _flags(f.PEEK, f.CLOEXEC), calls)


def _takes(end: End) -> S[Operation]:
    return st.builds(o.Take, _sockets(end), _sizes(), _rooms(), _flags(f.PEEK, f.CLOEXEC))


def _option_values() -> S[int]:
    return st.sampled_from((1, 0, -1, 2, 5, 4608, 9000, 16384, 212992))


def _nth() -> S[int]:
    return st.integers(1, 4)


def _forgeries(_: End) -> S[Operation]:
    def of(builder: Builder) -> S[Operation]:
        shape = SHAPES[builder]
        numbers: S[tuple[int, ...]] = st.tuples(*(st.sampled_from(domain) for domain in shape.numbers))
        bait = st.lists(_descriptors(End.TESTEE), min_size=shape.least, max_size=shape.most).map(tuple)
        return st.builds(o.Forge, st.just(builder), _nth(), numbers, bait)

    return st.one_of([of(builder) for builder in Builder])


def _of(kind: Callable[..., Operation], *parts: Callable[[End], S[Any]]) -> Callable[[End], S[Operation]]:
    return lambda end: st.builds(kind, *(part(end) for part in parts))


def _any(values: S[Any]) -> Callable[[End], S[Any]]:
    return lambda _: values


def _objects(end: End) -> S[str]:
    return st.just(OBJECTS[end])


def _transports(end: End) -> S[str]:
    return st.sampled_from(_names(SOCKETS, end)[:4])


_STRATEGIES: dict[type[Operation], Callable[[End], S[Operation]]] = {
    Send: _sends,
    Receive: _receives,
    o.Take: _takes,
    Open: _of(Open, _objects),
    o.Make: _of(o.Make, _any(st.sampled_from((ObjectKind.FILE, ObjectKind.SOCKET))), _objects),
    Close: _of(Close, _descriptors),
    Pair: _of(Pair, _any(st.sampled_from(Kind)), _any(st.just("t")), _any(st.just("p"))),
    Shutdown: _of(Shutdown, _sockets, _any(st.sampled_from(How))),
    SetOption: _of(SetOption, _sockets, _any(st.sampled_from(Option)), _any(_option_values())),
    o.SetMore: _of(o.SetMore, _sockets, _any(st.sampled_from(o.Option)), _any(_option_values())),
    Room: _of(Room, _any(st.sampled_from((None, 0, 1, 2, 3, 4, 8, 252, 253, 1024)))),
    Released: _of(Released, lambda end: st.sampled_from(_names(OBJECTS, end))),
    Collect: _of(Collect),
    o.SendOne: _of(o.SendOne, _sockets, _descriptors, _any(_data()), _any(_flags(f.OOB, f.NOSIGNAL))),
    o.TakeOne: _of(o.TakeOne, _sockets, _any(_sizes()), _any(_flags(f.PEEK, f.CLOEXEC))),
    o.Write: _of(o.Write, _transports, _any(_pieces())),
    o.Queue: _of(o.Queue, _transports, _descriptors),
    o.Give: _of(o.Give, _transports, _descriptors),
    o.Produce: _of(o.Produce, _transports),
    o.Reading: _of(o.Reading, _transports, _any(st.booleans())),
    o.Finish: _of(o.Finish, _transports, _any(st.sampled_from(Ending))),
    o.Turn: _of(o.Turn, _transports),
    o.Fail: _of(o.Fail, _any(st.sampled_from(Calls)), _any(st.sampled_from(Trouble)), _any(_nth()), _any(_nth())),
    o.Short: _of(o.Short, _any(st.integers(1, 8) | st.integers(1, fit.DATA)), _any(_nth()), _any(_nth())),
    o.Forge: _forgeries,
}
_OFTEN: dict[type[Operation], int] = {
    Send: 5,
    Receive: 4,
    o.Take: 6,
    Open: 3,
    o.Make: 2,
    o.Write: 3,
    o.Queue: 3,
    o.Turn: 5,
}
"""What is drawn more often than the rest."""
