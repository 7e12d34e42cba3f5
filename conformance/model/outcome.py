"""What the caller of an operation observes, and what the model permits: named outcomes with their reasons."""

from __future__ import annotations

from msgspec import Struct

from .control import Written
from .draft import Draft
from .operations import Operation
from .state import State


class Descriptor(Struct, frozen=True, gc=False):
    """A number that has become open: which file it refers to (files count from 0 as they are made), and close-on-exec."""

    number: int
    file: int
    cloexec: bool


class Seen(Struct, frozen=True, gc=False):
    """What one operation showed. Everything that a caller can observe is compared.

    ``value`` is the return value (of ``released`` and ``look``: the answer), None beside an ``error``, which is an errno
    name. ``sigpipe``: the signal was raised. ``data`` has what was written into each buffer. ``flags`` and ``controllen`` are
    msg_flags and msg_controllen afterwards, ``messages`` the control messages, ``new`` the descriptors that were installed,
    ``open`` the number of open descriptors of the sequence afterwards.
    """

    value: int | None = None
    error: str | None = None
    sigpipe: bool = False
    data: tuple[bytes, ...] = ()
    flags: int = 0
    controllen: int = 0
    messages: tuple[Written, ...] = ()
    new: tuple[Descriptor, ...] = ()
    open: int = 0


class Outcome(Struct, frozen=True, gc=False):
    """One permitted outcome: its name, what is seen, the requirements that say so, and the state afterwards."""

    name: str
    seen: Seen
    because: tuple[str, ...]
    state: State


class Step(Struct, frozen=True):
    """An operation and everything that it may do, the likeliest first. There is always one outcome, and mostly just one."""

    before: State
    operation: Operation
    outcomes: tuple[Outcome, ...]


class Mismatch(Struct, frozen=True):
    """What was seen is none of what the model permits."""

    step: Step
    seen: Seen

    def __str__(self) -> str:
        expected = " or ".join(f"{one.name}: {one.seen}" for one in self.step.outcomes)
        return f"{self.step.operation}\n  seen      {self.seen}\n  permitted {expected}"


class Ending(Struct, gc=False):
    """How a rule ended: the draft as it left it, and what is seen, still without the count of open descriptors."""

    name: str
    draft: Draft
    seen: Seen


def failed(draft: Draft, error: str, *, sigpipe: bool = False) -> Ending:
    """Return the end of a call that failed."""
    return Ending(error, draft, Seen(error=error, sigpipe=sigpipe))


def done(draft: Draft, value: int = 0, name: str = "ok", new: tuple[int, ...] = ()) -> Ending:
    """Return the end of a call that succeeded and perhaps opened numbers."""
    return Ending(name, draft, Seen(value, new=opened(draft, new)) if new else Seen(value))


def opened(draft: Draft, numbers: tuple[int, ...]) -> tuple[Descriptor, ...]:
    """Return what new numbers of the table hold."""
    table = draft.table
    return tuple([Descriptor(number, table[number].file, table[number].cloexec) for number in numbers])
