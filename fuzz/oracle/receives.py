"""What a receive of a library's may show, by what the kernel has for it.

The model receives with room for everything. Of the descriptors that then come, a library hands over the first that there is room
for and closes the rest, however big the control buffer is that it gives: nothing of that can be seen but by who is handed what.
Where a program gives msg_controllen in bytes, the model receives with exactly that.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from ...conformance.model import Call as Kernel
from ...conformance.model import Close, Outcome, Receive, State, forget, outcomes
from ...conformance.model import flags as f
from ...conformance.refusals import NAMELESS
from ..judgement import Breach
from ..operations import Calls, Take, TakeOne
from ..run.shown import Control, Shown
from .exact import (
    ALL_BITS,
    anonymous,
    came_of_nothing,
    count_miss,
    data_miss,
    flags_miss,
    identity_miss,
    labels_miss,
    others,
)
from .ground import Ground
from .possible import Miss, Possible, Vague
from .requirements import Situation
from .words import labels_of, labels_text, outcome_text, seen_text

AMPLE = 4096
"""A control buffer with room for everything that one message can bring."""
MOST = f.SCM_MAX_FD
ODD_FLAGS = f.CTRUNC | f.ERRQUEUE | f.EOR | f.MORE | f.NOSIGNAL | f.OOB | f.COMPAT
"""Flags of a receive that an API may refuse."""
ALIKE: dict[str, frozenset[str]] = {
    "EAGAIN": frozenset({"EAGAIN"}),
    "ECONNRESET": frozenset({"ECONNRESET"}),
    "ENOTCONN": frozenset({"ENOTCONN", "EINVAL"}),
}
"""Errors that may be told where the kernel has one, if not that one alone."""


class Call(Struct):
    """A receive as all its forms have it. ``room`` is None where ``control``, msg_controllen, is given."""

    name: str | int
    sizes: tuple[int, ...]
    room: int | None
    control: int | None
    flags: int
    prefix: str
    single: bool = False

    @property
    def size(self) -> int:
        """How many bytes all buffers hold."""
        return sum(self.sizes)

    @property
    def side(self) -> Situation:
        """The situation of what goes wrong with the data: whether something was asked for that may have been ignored."""
        return Situation.OPTIONS if self.flags or len(self.sizes) > 1 else Situation.RECEIVE


def call_of(op: Receive | Take | TakeOne) -> Call:
    """Return the call of one of the operations that receive."""
    if isinstance(op, Receive):
        return Call(op.name, op.room, None, op.control or 0, op.flags, op.prefix)
    room = 1 if isinstance(op, TakeOne) else op.room
    return Call(op.name, op.sizes, room, None, op.flags, op.prefix, isinstance(op, TakeOne))


def receive(ground: Ground, state: State, op: Receive | Take | TakeOne, shown: Shown) -> Iterator[Possible]:
    """Yield everything that the receive may come to. Raises `Vague` where that is more than can be followed."""
    call = call_of(op)
    control = AMPLE if call.control is None else call.control
    for sizes in (call.sizes,) if len(call.sizes) <= f.IOV_MAX else (call.sizes, (call.size,)):
        # An API may join more buffers than the kernel takes.
        asked = Receive(call.name, sizes, control, call.flags, prefix=call.prefix)
        for outcome in outcomes(state, asked):
            yield _error(ground, call, outcome, shown) if outcome.seen.error else _success(ground, call, outcome, shown)
            if not outcome.seen.error and shown.failed:
                yield from _told(ground, call, state, outcome, shown)
    if shown.failed:
        yield from _refusals(ground, call, state, shown)


# ---- the kernel's error ------------------------------------------------------------------------------------------------


def _error(ground: Ground, call: Call, outcome: Outcome, shown: Shown) -> Possible:
    due = outcome.seen.error or ""
    miss: Miss | None = None
    if shown.files:
        miss = Miss(Breach.DESCRIPTORS, Situation.STALE, seen_text(shown))
    elif not shown.failed:
        nothing = due == "ECONNRESET" and not any(shown.data)  # as an end
        stale = Situation.OPTIONS if call.flags & (f.OOB | f.COMPAT) else Situation.STALE
        miss = None if nothing else came_of_nothing(shown, stale) or Miss(Breach.ERROR, call.side, seen_text(shown))
    elif not _tells(shown, ALIKE.get(due, frozenset({due}))) and not may_be_refused(ground, call):
        miss = Miss(Breach.ERROR, Situation.ERRNO, seen_text(shown))
    miss = miss or count_miss_of(ground, outcome.state, shown)
    return Possible(due, miss, lambda: outcome.state, lambda: outcome_text(outcome), outcome.because, failed=True)


def _tells(shown: Shown, errors: frozenset[str]) -> bool:
    """Whether an error is one of these: by its number, or by a type of its own. Of EAGAIN the number or type must tell."""
    if shown.error:
        return shown.error in errors
    return "EAGAIN" not in errors or shown.kind not in NAMELESS


# ---- success -----------------------------------------------------------------------------------------------------------


def _success(ground: Ground, call: Call, outcome: Outcome, shown: Shown) -> Possible:
    labels = labels_of(outcome)
    miss = _success_miss(ground, call, outcome, labels, shown)
    room = call.room
    return Possible(
        _success_name(outcome, labels, shown),
        miss,
        lambda: kept(outcome, call, len(shown.files)),
        lambda: outcome_text(outcome, room),
        outcome.because,
    )


def _success_name(outcome: Outcome, labels: tuple[str, ...], shown: Shown) -> str:
    """Return the name of what was received: how many of how many, and what was lost."""
    if not labels and not outcome.seen.flags:
        return outcome.name
    told = f.names_of(outcome.seen.flags & ~f.CLOEXEC) if outcome.seen.flags & ~f.CLOEXEC else ""
    return f"{outcome.name} {min(len(shown.files), 4)} of {min(len(labels), 4)} {told}".rstrip()


def _success_miss(ground: Ground, call: Call, outcome: Outcome, labels: tuple[str, ...], shown: Shown) -> Miss | None:
    seen = outcome.seen
    if shown.failed:
        return Miss(Breach.ERROR, Situation.BESIDE if seen.messages and others(seen) else call.side, seen_text(shown))
    joined = len(call.sizes) > f.IOV_MAX
    due, came = ((b"".join(seen.data),), (b"".join(shown.data),)) if joined else (seen.data, shown.data)
    miss = data_miss(due, came, call.side)
    if miss is None:
        exact = call.room is None
        miss = (_exact_files if exact else _files)(ground, call, outcome, labels, shown)
    miss = miss or identity_miss(shown, Situation.RECEIVE)
    if miss is None and shown.flags is not None:
        miss = _flags(call, outcome, labels, shown)
    return (
        miss or _other_control(outcome, shown) or _cloexec(ground, call, shown) or _count(ground, call, outcome, shown)
    )


def _exact_files(ground: Ground, call: Call, outcome: Outcome, labels: tuple[str, ...], shown: Shown) -> Miss | None:
    """Hold what came into a control buffer of so many bytes against what the kernel puts there."""
    miss = labels_miss(labels, shown.files, call.side if shown.files else Situation.RECEIVE)
    if miss is not None:
        return _how(miss, outcome)
    lost = outcome.seen.flags & f.CTRUNC
    if lost and not _visible(ground, shown) and not call.flags & f.PEEK and not _only_ids(outcome, labels):
        return Miss(Breach.HIDDEN_LOSS, Situation.ROOM, seen_text(shown))
    return None


def _only_ids(outcome: Outcome, labels: tuple[str, ...]) -> bool:
    """Whether nothing but credentials may have been lost."""
    return not labels and "R02" not in outcome.because and "T01" not in outcome.because and "T12" not in outcome.because


def _files(ground: Ground, call: Call, outcome: Outcome, labels: tuple[str, ...], shown: Shown) -> Miss | None:
    """Hold the descriptors that were handed over against those that there is room for."""
    room, came = call.room or 0, shown.files
    at_limit = bool(outcome.seen.flags & f.CTRUNC)
    if len(came) > room and came == labels[: len(came)]:
        return Miss(Breach.DESCRIPTORS, Situation.ROOM, f"{labels_text(came)}, where there is room for {room}")
    if came != labels[: len(came)]:
        miss = labels_miss(labels[:room], came, Situation.RECEIVE)
        return _how(miss, outcome) if miss else None
    if len(came) == len(labels) and not at_limit:
        return None
    return _loss(ground, call, outcome, labels, shown, at_limit=at_limit)


def _loss(
    ground: Ground, call: Call, outcome: Outcome, labels: tuple[str, ...], shown: Shown, *, at_limit: bool
) -> Miss | None:
    """Descriptors were lost: say whether they had to be, and whether that can be seen."""
    room, came = call.room or 0, shown.files
    beside = bool(others(outcome.seen))
    visible = _visible(ground, shown)
    had_to_be = at_limit or len(labels) > room
    if not had_to_be and not (beside and ground.message):
        situation = Situation.BESIDE if beside else Situation.RECEIVE
        return Miss(Breach.DESCRIPTORS, situation, labels_text(came))
    if visible or (not room and (call.flags & f.PEEK or not call.size)):
        return None
    by_room = len(labels) > room or (at_limit and len(labels) == room)
    situation = Situation.ROOM if by_room else Situation.LIMIT if at_limit else Situation.BESIDE
    told = "flags not shown" if shown.flags is None else "no CTRUNC"
    return Miss(Breach.HIDDEN_LOSS, situation, f"{labels_text(came)}, {told}")


def _visible(ground: Ground, shown: Shown) -> bool:
    return shown.failed or ground.silent or bool(shown.flags is not None and shown.flags & f.CTRUNC)


def _how(miss: Miss, outcome: Outcome) -> Miss:
    """Return a miss of descriptors with what may have brought it about."""
    if miss.breach is Breach.DESCRIPTORS and miss.situation is Situation.RECEIVE and others(outcome.seen):
        return miss._replace(situation=Situation.BESIDE)
    return (
        miss._replace(situation=Situation.RECEIVE)
        if miss.situation is Situation.OPTIONS and (miss.breach is not Breach.DESCRIPTORS)
        else miss
    )


def _flags(call: Call, outcome: Outcome, labels: tuple[str, ...], shown: Shown) -> Miss | None:
    """Hold the flags that are shown against what happened."""
    came, due = shown.flags or 0, outcome.seen.flags
    if call.room is not None:
        lost = bool(due & f.CTRUNC) or len(shown.files) < len(labels)
        due = due | f.CTRUNC if lost else due & ~f.CTRUNC
        if others(outcome.seen):
            due |= came & f.CTRUNC  # what is cut off the credentials depends on the room beside the descriptors
        if lost and not came & f.CTRUNC:
            due &= ~f.CTRUNC  # that it must be seen is said elsewhere
    if (came ^ due) & ALL_BITS:
        return flags_miss(due & ALL_BITS, came & ALL_BITS, call.side, lost=Situation.ROOM)
    return None


def _other_control(outcome: Outcome, shown: Shown) -> Miss | None:
    """Hold other control messages against what came: what is cut by the room may be missing, or come in part."""
    if not shown.control:
        return None
    due = others(outcome.seen)
    if len(shown.control) > len(due) or not all(map(_part_of, anonymous(shown.control), due)):
        return Miss(Breach.CONTROL, Situation.RECEIVE, seen_text(shown))
    return None


def _part_of(came: Control, due: Control) -> bool:
    return (came.level, came.type) == (due.level, due.type) and due.data.startswith(came.data)


def _cloexec(ground: Ground, call: Call, shown: Shown) -> Miss | None:
    """Hold close-on-exec against what was asked for and promised (LC06)."""
    for label, one in zip(shown.files, shown.cloexec, strict=False):
        due = _due_cloexec(ground, call)
        if one is not None and due is not None and one is not due:
            asked = Situation.OPTIONS if call.flags & f.CLOEXEC else Situation.RECEIVE
            return Miss(Breach.CLOEXEC, asked, f"{label} is {'' if one else 'not '}close-on-exec")
    return None


def _due_cloexec(ground: Ground, call: Call) -> bool | None:
    """Return whether descriptors have to be close-on-exec; None where both is permitted."""
    policy = ground.policies.get("cloexec", "")
    if call.flags & f.CLOEXEC or policy == "always":
        return True
    if policy:
        return False
    return None if ground.message or "flags-in" in ground.names else True


def _count(ground: Ground, call: Call, outcome: Outcome, shown: Shown) -> Miss | None:
    if shown.open is None:
        return None
    return count_miss_of(ground, kept(outcome, call, len(shown.files)), shown)


def count_miss_of(ground: Ground, state: State, shown: Shown) -> Miss | None:
    """Hold the count of open descriptors against the table, where nothing but what the model knows can have come."""
    return None if ground.forged else count_miss(state, shown)


def kept(outcome: Outcome, call: Call, count: int) -> State:
    """Return the state in which only the first ``count`` of the descriptors that came are open, and have names."""
    state = outcome.state
    for index, one in enumerate(outcome.seen.new[count:], count):
        state = forget(state, f"{call.prefix}{index}") if call.prefix else state
        state = next(outcomes(state, Close(one.number))).state
    return state


# ---- an error of the library's own -------------------------------------------------------------------------------------


def _told(ground: Ground, call: Call, state: State, outcome: Outcome, shown: Shown) -> Iterator[Possible]:
    """Yield how an error may tell that something was lost. What came is gone, and nothing stays open but what is told."""
    labels = labels_of(outcome)
    seen = outcome.seen
    at_limit = "T12" in outcome.because
    beside = bool(others(seen)) and ground.message and bool(labels) and call.room is not None
    room = len(labels) if call.room is None else call.room
    lost = bool(seen.flags & f.CTRUNC) or len(labels) > room or beside
    nothing = call.single and not labels
    cut = bool(seen.flags & f.TRUNC)
    failing = bool(labels) and bool(ground.failing(Calls.FCNTL))
    if not (lost or nothing or cut or failing):
        return
    carried = _told_miss(call, outcome, labels, shown)
    miss = carried or count_miss_of(ground, kept(outcome, call, len(shown.files)), shown)
    text = f"an error, and {labels_text(labels[: min(room, len(labels))])} or none of them"
    yield Possible(
        "told by an error",
        miss,
        lambda: kept(outcome, call, len(shown.files)),
        lambda: text,
        outcome.because,
        failed=True,
    )
    if (at_limit or beside or nothing) and not shown.files:
        yield Possible(
            "told, and left there",
            carried or count_miss_of(ground, state, shown),
            lambda: state,
            lambda: text,
            failed=True,
        )


def _told_miss(call: Call, outcome: Outcome, labels: tuple[str, ...], shown: Shown) -> Miss | None:
    """Hold what an error carries against what came."""
    came = b"".join(shown.data)
    if came and came != b"".join(outcome.seen.data):
        return Miss(Breach.DATA, call.side, seen_text(shown))
    if shown.files != labels[: len(shown.files)]:
        return labels_miss(labels, shown.files, Situation.RECEIVE)
    return None


def may_be_refused(ground: Ground, call: Call) -> bool:
    """Whether an API may refuse such arguments by itself, with the message kept."""
    room = call.room or 0
    return (
        not call.size
        or len(call.sizes) > f.IOV_MAX
        or room > min(MOST, ground.limits.get("descriptors", MOST))
        or bool(call.flags & ODD_FLAGS)
    )


def _refusals(ground: Ground, call: Call, state: State, shown: Shown) -> Iterator[Possible]:
    """Yield the refusals of the arguments, and what a planned fault makes of the call."""
    miss = Miss(Breach.DESCRIPTORS, Situation.FAULT, seen_text(shown)) if shown.files else None
    miss = miss or (Miss(Breach.DATA, Situation.FAULT, seen_text(shown)) if any(shown.data) else None)
    miss = miss or count_miss_of(ground, state, shown)
    if may_be_refused(ground, call):
        yield Possible("refused", miss, lambda: state, lambda: "an error, and nothing is received", failed=True)
    errors = ground.failing(Calls.RECEIVE)
    if errors and (not shown.error or shown.error in errors):
        yield Possible("failed", miss, lambda: state, lambda: f"one of {', '.join(sorted(errors))}", failed=True)


# ---- where less is known -----------------------------------------------------------------------------------------------


def loosely(ground: Ground, state: State, op: Receive | Take | TakeOne, shown: Shown) -> Iterator[Possible]:
    """Yield what a receive may come to where control messages come that the model does not know, or forged ones.

    Data, identity and order of those descriptors that came are compared, and no more. Raises `Vague`.
    """
    call = call_of(op)
    asked = Receive(call.name, call.sizes, AMPLE, call.flags, prefix=call.prefix)
    if isinstance(op, Receive) and op.call is not Kernel.RECVMSG:
        asked = op
    if shown.failed:
        yield from _refusals(ground, call, state, shown)
    for outcome in outcomes(state, asked):
        if bool(outcome.seen.error) is shown.failed and shown.failed:
            yield _error(ground, call, outcome, shown)
            continue
        if shown.failed:
            raise Vague
        if outcome.seen.error:
            yield Possible(
                outcome.seen.error,
                came_of_nothing(shown) or Miss(Breach.ERROR, Situation.RECEIVE, seen_text(shown)),
                lambda outcome=outcome: outcome.state,
                lambda outcome=outcome: outcome_text(outcome),
                failed=True,
            )
            continue
        labels = labels_of(outcome)
        yield Possible(
            "received beside others",
            _loose_miss(ground, outcome, labels, shown) or _count(ground, call, outcome, shown),
            lambda outcome=outcome: kept(outcome, call, len(shown.files)),
            lambda outcome=outcome: outcome_text(outcome),
            outcome.because,
        )


def _loose_miss(ground: Ground, outcome: Outcome, labels: tuple[str, ...], shown: Shown) -> Miss | None:
    due, came = b"".join(outcome.seen.data), b"".join(shown.data)
    if ground.forged and shown.files and not _is_subsequence(shown.files, labels):
        return _forged_miss(ground, labels, shown)
    if ground.forged:
        raise Vague  # what came of the message is known, what became of the rest of the queue is not
    if due != came:
        if due.startswith(came) and came:
            raise Vague  # data of different senders is kept apart where pidfds are asked for
        return Miss(Breach.DATA, Situation.RECEIVE, seen_text(shown))
    if shown.files != labels[: len(shown.files)]:
        return labels_miss(labels, shown.files, Situation.BESIDE)
    return identity_miss(shown, Situation.RECEIVE)


def _forged_miss(ground: Ground, labels: tuple[str, ...], shown: Shown) -> Miss | None:
    """Return the miss of descriptors that never came. One number twice is one that came (hostile.number-twice)."""
    came = [one for one in shown.files if one != "-"] if ground.message else list(shown.files)
    once = [one for index, one in enumerate(came) if index == 0 or one != came[index - 1]]
    half = len(came) // 2
    if _is_subsequence(tuple(once), labels) or (
        came[:half] == came[half:] and _is_subsequence(tuple(came[:half]), labels)
    ):
        raise Vague
    return Miss(Breach.IDENTITY, Situation.FORGED, labels_text(shown.files))


def _is_subsequence(came: tuple[str, ...], due: tuple[str, ...]) -> bool:
    rest = iter(due)
    return all(one in rest for one in came)
