"""Plain system calls, the harness's own and those of a testee of profile raw: what they show is what the kernel does."""

from __future__ import annotations

from collections.abc import Iterator

from ...conformance.model import Operation as ModelOperation
from ...conformance.model import Outcome, Receive, Seen, State, open_of, outcomes
from ...conformance.model import flags as f
from ...conformance.model.operations import Call
from ..judgement import Breach
from ..run.shown import CLOSED, UNKNOWN, Control, Shown
from .possible import Miss, Possible
from .requirements import Situation
from .words import data_text, flags_text, labels_of, labels_text, outcome_text, seen_text

RIGHTS, CREDENTIALS = (f.SOL_SOCKET, f.SCM_RIGHTS), (f.SOL_SOCKET, f.SCM_CREDENTIALS)
ONE = (1).to_bytes(4, "little")
ALL_BITS = 0xFFFFFFFF & ~f.CLOEXEC
"""The flags that are compared: MSG_CMSG_CLOEXEC may be seen or not (R18)."""


def exactly(state: State, op: ModelOperation, shown: Shown, *, testee: bool) -> Iterator[Possible]:
    """Yield every outcome of the model. ``testee``: whose call it is, for what is counted of its descriptors."""
    received = isinstance(op, Receive)
    for outcome in outcomes(state, op):
        miss = _miss(outcome, op, shown, testee=testee) if received else _plain_miss(outcome, shown, testee=testee)
        yield Possible(
            outcome.name,
            miss,
            lambda outcome=outcome: outcome.state,
            lambda outcome=outcome: outcome_text(outcome),
            outcome.because,
            bool(outcome.seen.error),
        )


def _plain_miss(outcome: Outcome, shown: Shown, *, testee: bool) -> Miss | None:
    """Hold a call that is no receive against an outcome."""
    seen = outcome.seen
    side = Situation.SEND if testee else Situation.ARRIVAL
    if shown.error != (seen.error or "") or shown.failed is not bool(seen.error):
        return Miss(Breach.ERROR, side, seen_text(shown))
    if not seen.error and shown.value is not None and shown.value != seen.value:
        return Miss(Breach.RESULT, Situation.SEND, f"returned {shown.value}")
    return count_miss(outcome.state, shown)


def _miss(outcome: Outcome, op: Receive, shown: Shown, *, testee: bool) -> Miss | None:
    """Hold a receive against an outcome."""
    seen = outcome.seen
    side = Situation.RECEIVE if testee else Situation.ARRIVAL
    if seen.error:
        return _error_miss(seen.error, shown, side)
    if shown.failed:
        return Miss(Breach.ERROR, side, seen_text(shown))
    labels = labels_of(outcome)
    miss = data_miss(seen.data, shown.data, side) or labels_miss(labels, shown.files, side)
    return miss or identity_miss(shown, side) or _rest_miss(outcome, op, shown, side, testee=testee)


def _error_miss(error: str, shown: Shown, side: Situation) -> Miss | None:
    if not shown.failed:
        nothing = Situation.AGAIN if side is Situation.ARRIVAL else Situation.STALE
        return came_of_nothing(shown, nothing) or Miss(Breach.ERROR, side, seen_text(shown))
    if shown.error != error:
        return Miss(Breach.ERROR, Situation.ERRNO if side is Situation.RECEIVE else side, seen_text(shown))
    return None


def _rest_miss(outcome: Outcome, op: Receive, shown: Shown, side: Situation, *, testee: bool) -> Miss | None:
    seen = outcome.seen
    if shown.value is not None and shown.value != seen.value:
        return Miss(Breach.RESULT, Situation.RECEIVE, f"returned {shown.value}")
    if shown.flags is not None and op.call is Call.RECVMSG and (shown.flags ^ seen.flags) & ALL_BITS:
        return flags_miss(seen.flags, shown.flags, side, lost=Situation.ROOM)
    if op.call is Call.RECVMSG and anonymous(shown.control) != others(seen):
        return Miss(Breach.CONTROL, side, seen_text(shown))
    if shown.controllen is not None and op.call is Call.RECVMSG and shown.controllen != seen.controllen:
        return Miss(Breach.CONTROL, side, f"msg_controllen {shown.controllen}")
    if testee:
        for index, one in enumerate(shown.cloexec):
            if one is not None and one is not seen.new[index].cloexec:
                return Miss(
                    Breach.CLOEXEC, Situation.RECEIVE, f"{shown.files[index]} is {'' if one else 'not '}close-on-exec"
                )
    return count_miss(outcome.state, shown)


# ---- parts, for libraries as well --------------------------------------------------------------------------------------


def others(seen: Seen) -> tuple[Control, ...]:
    """Return the control messages of an outcome that are no SCM_RIGHTS, without the numbers of processes."""
    if not seen.messages:
        return ()
    found = (Control(one.level, one.type, one.data) for one in seen.messages if (one.level, one.type) != RIGHTS)
    return anonymous(tuple(found))


def anonymous(messages: tuple[Control, ...]) -> tuple[Control, ...]:
    """Return control messages with 1 in place of the process of credentials: a testee that is started again is another one."""
    return tuple(map(_without_process, messages)) if messages else ()


def _without_process(one: Control) -> Control:
    if (one.level, one.type) != CREDENTIALS or not any(one.data[:4]):
        return one
    return Control(one.level, one.type, ONE[: len(one.data)] + one.data[4:])


def data_miss(due: tuple[bytes, ...], came: tuple[bytes, ...], side: Situation) -> Miss | None:
    """Hold buffers against what was due; empty ones at the end need not be shown."""
    if due == came or _stripped(due) == _stripped(came):
        return None
    return Miss(Breach.DATA, side, f"the data {data_text(came)}")


def _stripped(pieces: tuple[bytes, ...]) -> tuple[bytes, ...]:
    length = len(pieces)
    while length and not pieces[length - 1]:
        length -= 1
    return pieces[:length]


def labels_miss(due: tuple[str, ...], came: tuple[str, ...], side: Situation) -> Miss | None:
    """Hold the descriptors that came against all that were due."""
    if due == came:
        return None
    if CLOSED in came:
        return (
            Miss(Breach.STRAY_CLOSE, Situation.RECEIVE, f"{labels_text(came)}, of which '-' is not open")
            if (side is not Situation.ARRIVAL)
            else Miss(Breach.DESCRIPTORS, side, labels_text(came))
        )
    foreign = UNKNOWN in came or bool(set(came) - set(due))
    same_length = len(due) == len(came)
    breach = Breach.IDENTITY if foreign and same_length and sorted(due) != sorted(came) else Breach.DESCRIPTORS
    stale = side is Situation.RECEIVE and len(came) > len(due)
    return Miss(breach, Situation.STALE if stale else side, labels_text(came))


def identity_miss(shown: Shown, side: Situation) -> Miss | None:
    """Return the miss of a descriptor that shares no open file description with what was sent."""
    if False in shown.same:
        label = shown.files[shown.same.index(False)]
        return Miss(Breach.IDENTITY, side, f"{label} is an open file description of its own")
    return None


def flags_miss(due: int, came: int, side: Situation, *, lost: Situation) -> Miss:
    """Return the miss of flags that differ; ``lost`` is the situation of a loss that is not flagged."""
    missing, differing = due & ~came, due ^ came
    if side is Situation.ARRIVAL and differing & (f.CTRUNC | f.TRUNC):
        # the harness's own call tells the truth: another message was sent
        return Miss(Breach.DESCRIPTORS if differing & f.CTRUNC else Breach.DATA, side, flags_text(came))
    if missing & f.CTRUNC:
        return Miss(Breach.HIDDEN_LOSS, lost, f"{flags_text(came)}, without CTRUNC")
    if missing & f.TRUNC:
        return Miss(Breach.HIDDEN_LOSS, Situation.CUT, f"{flags_text(came)}, without TRUNC")
    return Miss(Breach.FLAGS, side, flags_text(came))


def count_miss(state: State, shown: Shown) -> Miss | None:
    """Hold the number of the testee's open descriptors against its table."""
    if shown.open is None:
        return None
    due = open_of(state, 0)
    if shown.open == due:
        return None
    breach = Breach.LEAK if shown.open > due else Breach.STRAY_CLOSE
    return Miss(breach, Situation.ACCOUNT, f"{shown.open} descriptors are open, of {due} that should be")


def came_of_nothing(shown: Shown, side: Situation = Situation.STALE) -> Miss | None:
    """Return the miss of a receive that brought something when there was nothing."""
    if shown.files:
        return Miss(Breach.DESCRIPTORS, side, seen_text(shown))
    return Miss(Breach.DATA, side, seen_text(shown)) if any(shown.data) else None
