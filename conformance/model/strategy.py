"""Hypothesis strategies: sequences that lead somewhere, and single operations of any shape. The only module that needs it."""

from __future__ import annotations

from random import Random

from hypothesis import strategies as st

from . import flags as f
from .chooser import choose, taste
from .operations import (
    Accept,
    Call,
    Close,
    Collect,
    Connect,
    Control,
    Credentials,
    Duplicate,
    Forged,
    How,
    Kind,
    Listen,
    Look,
    NewSocket,
    Number,
    Open,
    Operation,
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
from .rules import step
from .state import State, initial


def invent(draw: Random, length: int) -> tuple[Operation, ...]:
    """Return a sequence of at most ``length`` operations behind its opening, chosen with the model alone at hand."""
    state: State = initial()
    liking = taste(draw, length)
    found: list[Operation] = []
    for index in range(liking.length + len(liking.opening)):
        found.append(choose(draw, state, liking, index))
        state = step(state, found[-1]).outcomes[0].state
    return tuple(found)


def sequences(length: int = 16) -> st.SearchStrategy[tuple[Operation, ...]]:
    """Return sequences to execute, with an eye on where rules meet."""
    return st.builds(invent, st.randoms(use_true_random=False), st.just(length))


def operations() -> st.SearchStrategy[Operation]:
    """Return single operations of any shape, sensible or not."""
    names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True)
    numbers: st.SearchStrategy[Number] = names | st.integers(-200, 99_999)
    kinds, options = st.sampled_from(Kind), st.sampled_from(Option)
    lengths = st.none() | st.integers(-(2**63), 2**63)
    flags = st.integers(0, 2**32 - 1) | st.sampled_from(sorted(f.NAMES.values()))
    words = st.integers(-(2**31), 2**31 - 1)
    controls: st.SearchStrategy[Control] = st.one_of(
        st.builds(Rights, st.lists(numbers, max_size=4).map(tuple), lengths),
        st.builds(Credentials, st.sampled_from(Forged)),
        st.builds(Raw, words, words, st.binary(max_size=40), lengths),
    )
    pieces = st.binary(max_size=60) | st.builds(_repeated, st.binary(min_size=1, max_size=5), st.integers(0, 5000))
    sizes = st.integers(0, 1 << 20)
    return st.one_of(
        st.builds(Pair, kinds, names, names),
        st.builds(NewSocket, kinds, names),
        st.builds(Connect, numbers, numbers),
        st.builds(Listen, numbers, st.integers(0, 4096)),
        st.builds(Accept, numbers, names),
        st.builds(Open, names),
        st.builds(Duplicate, numbers, names),
        st.builds(Close, numbers),
        st.builds(Shutdown, numbers, st.sampled_from(How)),
        st.builds(SetOption, numbers, options, words),
        st.builds(Room, st.none() | st.integers(0, 1024)),
        st.builds(
            Send,
            numbers,
            st.lists(pieces, max_size=4).map(tuple),
            st.lists(controls, max_size=3).map(tuple),
            st.none() | sizes,
            flags,
        ),
        st.builds(
            Receive,
            numbers,
            st.lists(sizes, max_size=5).map(tuple),
            st.none() | sizes,
            flags,
            st.sampled_from(Call),
            st.just("") | names,
        ),
        st.builds(Released, names),
        st.builds(Look, numbers),
        st.just(Collect()),
    )


def _repeated(pattern: bytes, length: int) -> bytes:
    return (pattern * length)[:length]
