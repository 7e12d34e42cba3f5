"""Two processes in one state: what happens between them, or to one without an operation of its own.

``acting(state, actor)`` gives the state in which that process does the next operation. Everything else goes as with one: the
other one's descriptors keep what they refer to alive, and what is queued between the two is nobody's.
"""

from __future__ import annotations

from .draft import Draft
from .operations import Kind, Open
from .outcome import Outcome
from .rules import outcomes
from .state import File, Process, State, acting


def connected(state: State, kind: Kind, a: str, b: str) -> State:
    """Return the state after a connection of which process 0 has the end ``a`` and process 1 the end ``b``.

    The ends are those of a socketpair, by whatever means they were connected. Where the limit of process 0 or 1 leaves no
    number, neither end is made, and both names stand for a number that is not open. The same process acts as before.
    """
    state = forget(forget(state, a), b)
    first = Draft(acting(state, 0))
    here, there = first.new_pair(kind, a, b)
    if not _bind(first, a, here):
        return state
    second = Draft(acting(first.freeze(), 1))
    return acting(second.freeze(), state.actor) if _bind(second, b, there) else state


def _bind(draft: Draft, name: str, file: int) -> bool:
    number = draft.install(file, cloexec=True)
    if number is not None:
        draft.bind(name, number)
    return number is not None


def opened_by(state: State, actor: int, name: str) -> Outcome:
    """Return what it comes to when a process opens an object of whatever kind: a success, or EMFILE."""
    return next(outcomes(acting(state, actor), Open(name)))


def forget(state: State, name: str) -> State:
    """Return the state in which a name, of either process, stands for a number that is never open."""
    if name in state.names:
        draft = Draft(state)
        draft.bind(name, None)
        state = draft.freeze()
    if state.other and name in state.other.names:
        return acting(forget(acting(state, 1 - state.actor), name), state.actor)
    return state


def process_of(state: State, actor: int) -> Process:
    """Return a process's table, names, limit and platform."""
    seen = acting(state, actor)
    return Process(seen.platform, seen.limit, seen.table, seen.names)


def open_of(state: State, actor: int) -> int:
    """Return how many descriptors a process has open."""
    return len(process_of(state, actor).table)


def file_of(state: State, actor: int, name: str) -> File | None:
    """Return the file behind a process's name; None: it is not open."""
    return Draft(acting(state, actor)).file(name)
