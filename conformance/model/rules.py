"""The model's two verbs: ``step`` says what may happen, ``accept`` compares it with what did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec.structs import force_setattr

from . import basic, operations
from .draft import Draft
from .garbage import variants
from .operations import Operation
from .outcome import Ending, Mismatch, Outcome, Seen, Step
from .receive import receive
from .send import send
from .state import State


def _one(rule: Callable[[Draft, Any], Ending]) -> Callable[[Draft, Any], list[Ending]]:
    return lambda draft, op: [rule(draft, op)]


RULES: dict[type, Callable[[Draft, Any], list[Ending]]] = {
    operations.Pair: _one(basic.pair),
    operations.NewSocket: _one(basic.new_socket),
    operations.Connect: _one(basic.connect),
    operations.Listen: _one(basic.listen),
    operations.Accept: _one(basic.accept),
    operations.Open: _one(basic.open_object),
    operations.Duplicate: _one(basic.duplicate),
    operations.Close: _one(basic.close),
    operations.Shutdown: _one(basic.shutdown),
    operations.SetOption: _one(basic.set_option),
    operations.Room: _one(basic.room),
    operations.Send: send,
    operations.Receive: receive,
    operations.Released: _one(basic.released),
    operations.Look: basic.look,
    operations.Collect: _one(basic.collect_all),
}
"""What each operation does to a draft, and how that may end."""

_MOST = 256
"""States that are followed at once; more than the collector's work brings about."""


def step(state: State, operation: Operation) -> Step:
    """Return everything that the operation may do in this state. Pure: equal arguments, equal answer."""
    found: list[Outcome] = []
    for outcome in outcomes(state, operation):
        if all(outcome.seen != one.seen for one in found):
            found.append(outcome)
    return Step(state, operation, tuple(found))


def follow(states: Sequence[State], operation: Operation, observed: Seen) -> tuple[Outcome, ...] | Mismatch:
    """Return every outcome that fits what was observed, of all the states that things may be in; or the mismatch.

    There is more than one only where the collector of descriptors in flight may have worked unseen. Of outcomes that lead to
    the same state the first is kept. Raises ValueError without a state.
    """
    return matching(states, operation, observed.__eq__) or Mismatch(step(states[0], operation), observed)


def matching(states: Sequence[State], operation: Operation, fits: Callable[[Seen], bool]) -> tuple[Outcome, ...]:
    """Return every outcome of which ``fits`` is true, as `follow` does; none: nothing that is permitted fits.

    For whoever sees less than everything. Raises ValueError without a state.
    """
    if not states:
        raise ValueError("no state to follow from")
    found: list[Outcome] = []
    for state in states:
        for outcome in outcomes(state, operation):
            if fits(outcome.seen) and (not found or all(outcome.state != one.state for one in found)):
                found.append(outcome)
    return tuple(found[:_MOST])


def accept(state: State, operation: Operation, observed: Seen) -> State | Mismatch:
    """Return the state after what was observed, or the mismatch where the model does not permit it."""
    for outcome in outcomes(state, operation):
        if outcome.seen == observed:
            return outcome.state
    return Mismatch(step(state, operation), observed)


def outcomes(state: State, operation: Operation) -> Iterator[Outcome]:
    """Yield what the operation may do, the likeliest first; outcomes that take a collection before it come last.

    `step` without the comparison: what is seen may be the same twice, and nothing is worked out that is not asked for.
    """
    rule = RULES[type(operation)]
    for ending in rule(Draft(state), operation):
        yield _finish(state, ending, "")
    if isinstance(operation, operations.Collect):
        return
    for before, suffix in variants(state):
        for ending in rule(Draft(before), operation):
            yield _finish(before, ending, suffix)


def _finish(before: State, ending: Ending, suffix: str) -> Outcome:
    draft, seen = ending.draft, ending.seen
    if seen.error == "EMFILE":
        draft = Draft(before, draft.why)  # nothing was made
    if draft.dropped:
        draft.settle()
    force_setattr(seen, "open", len(draft.table))  # the rule has just made it, and nobody else has it
    return Outcome(ending.name + suffix if suffix else ending.name, seen, draft.reasons(), draft.freeze())
