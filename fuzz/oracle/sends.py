"""What a send of a library's may show: what the kernel makes of it, a refusal of the library's own, and what a fault does."""

from __future__ import annotations

from collections.abc import Iterator

from ...conformance.model import Credentials, Kind, Outcome, Raw, Rights, Send, State, file_of, outcomes
from ...conformance.model import flags as f
from ...conformance.refusals import NAMELESS
from ..judgement import Breach
from ..operations import Calls, End, SendOne
from ..run.shown import Shown
from .exact import count_miss
from .ground import Ground, label_of
from .possible import Miss, Possible, Vague
from .requirements import Situation
from .words import outcome_text, seen_text

ALIKE: dict[str, frozenset[str]] = {
    "ENOTCONN": frozenset({"ENOTCONN", "EDESTADDRREQ"}),
    "EPIPE": frozenset({"EPIPE", "ECONNRESET", "ENOTCONN"}),
    "ECONNREFUSED": frozenset({"ECONNREFUSED", "ENOTCONN", "ECONNRESET"}),
    "ESRCH": frozenset({"ESRCH", "EPERM"}),
    "ENOBUFS": frozenset({"ENOBUFS", "EINVAL", "EMSGSIZE"}),
}
"""Errors that may be told where the kernel has one, if not that one alone."""
TELLING = frozenset({"EAGAIN", "EBADF", "EPIPE", "ECONNREFUSED", "ENOTCONN"})
"""Errors that a nameless type without a number does not tell."""
TOO_MANY = frozenset({"EINVAL", "EMSGSIZE", "E2BIG"})
ODD_FLAGS = 0xFFFFFFFF & ~(f.NOSIGNAL | f.DONTWAIT)
"""Flags of a send that an API may refuse."""
ANY: frozenset[str] = frozenset()


def send(ground: Ground, state: State, op: Send | SendOne, shown: Shown) -> Iterator[Possible]:
    """Yield everything that the send may come to. Raises `Vague` where that is more than can be followed."""
    asked = Send(op.name, op.data, (Rights((op.fd,)),), None, op.flags) if isinstance(op, SendOne) else op
    wrong = complaints(ground, state, asked)
    for outcome in outcomes(state, asked):
        yield _kernel(ground, state, asked, outcome, shown, wrong)
    if len(asked.data) > f.IOV_MAX and not shown.failed:
        yield from _joined(ground, state, asked, shown)
    if shown.failed:
        yield from _refused(ground, state, shown, wrong)
    counts = ground.shortened()
    if counts:
        yield from _shortened(ground, state, asked, shown, counts)
    if not shown.failed and _descriptors(asked) > f.SCM_MAX_FD:
        raise Vague  # they may go in several messages; in which nobody says


def _kernel(
    ground: Ground, state: State, op: Send, outcome: Outcome, shown: Shown, wrong: frozenset[str] | None
) -> Possible:
    """Hold what was shown against what the kernel does."""
    due = outcome.seen.error
    miss: Miss | None = None
    if due:
        if not shown.failed:
            miss = Miss(Breach.ERROR, Situation.OPTIONS if op.flags & f.OOB else Situation.SEND, seen_text(shown))
        elif not _tells(shown, due, wrong):
            miss = Miss(Breach.ERROR, Situation.ERRNO, seen_text(shown))
    elif shown.failed:
        if shown.error == "EAGAIN" and ground.big and label_of(state, End.TESTEE, op.name) in ground.big:
            raise Vague
        miss = Miss(Breach.ERROR, Situation.SEND, seen_text(shown))
    elif shown.value is not None and shown.value != outcome.seen.value:
        if ground.big and label_of(state, End.TESTEE, op.name) in ground.big:
            raise Vague
        miss = Miss(Breach.RESULT, Situation.SEND, f"returned {shown.value}")
    elif shown.value is None and not any(op.data) and _descriptors(op) and _kind(state, op) is Kind.STREAM:
        miss = Miss(Breach.ERROR, Situation.SEND, "success, although no descriptor goes without data on a stream")
    return Possible(
        outcome.name,
        miss or count_miss(outcome.state, shown) if not ground.forged else miss,
        lambda: outcome.state,
        lambda: outcome_text(outcome),
        outcome.because,
        bool(due),
    )


def _tells(shown: Shown, due: str, wrong: frozenset[str] | None) -> bool:
    """Whether the error of a refused send tells why. ``wrong``: what else may be the reason; None: nothing."""
    if not shown.error:
        return due not in TELLING or shown.kind not in NAMELESS
    if shown.error in ALIKE.get(due, {due}):
        return True
    return wrong is not None and (not wrong or shown.error in wrong)


def complaints(ground: Ground, state: State, op: Send) -> frozenset[str] | None:
    """Return the errors with which a library may refuse these arguments by itself.

    None: it may not but where the kernel does. Empty: any error.
    """
    found: set[str] = set()
    count = 0
    for one in op.control:
        if isinstance(one, Rights):
            count += len(one.fds)
            if any(not _is_open(state, fd) for fd in one.fds):
                found |= {"EBADF", "EINVAL"} if len(op.control) > 1 else {"EBADF"}
        elif isinstance(one, Raw):
            return ANY
    if _is_free(state, op, count):
        return ANY
    if count > min(f.SCM_MAX_FD, ground.limits.get("descriptors", f.SCM_MAX_FD)):
        found |= TOO_MANY
    return frozenset(found) if found else None


def _is_open(state: State, fd: str | int) -> bool:
    return isinstance(fd, str) and file_of(state, state.actor, fd) is not None


def _is_free(state: State, op: Send, count: int) -> bool:
    """Whether an API may take or refuse such a send, as it likes."""
    rights = [one for one in op.control if isinstance(one, Rights)]
    empty = not any(op.data)
    return (
        bool(op.flags & ODD_FLAGS)
        or len(op.data) > f.IOV_MAX
        or not op.data
        or len(rights) > 1
        or any(not one.fds for one in rights)
        or (empty and _kind(state, op) is not Kind.DGRAM and _kind(state, op) is not Kind.SEQPACKET)
        or (bool(count) and empty and _kind(state, op) is Kind.STREAM)
        or (len(op.control) > 2 and any(isinstance(one, Credentials) for one in op.control))
    )


def _kind(state: State, op: Send) -> Kind | None:
    """Return the type of the socket that the send is on; None where it is none."""
    found = file_of(state, state.actor, op.name) if isinstance(op.name, str) else None
    return state.sockets[found.socket].kind if found is not None and found.socket is not None else None


def _descriptors(op: Send) -> int:
    return sum(len(one.fds) for one in op.control if isinstance(one, Rights))


def _refused(ground: Ground, state: State, shown: Shown, wrong: frozenset[str] | None) -> Iterator[Possible]:
    """Yield the refusals after which everything is as it was."""
    miss = None if ground.forged else count_miss(state, shown)
    if wrong is not None and (not wrong or shown.error in wrong or (not shown.error and shown.kind not in NAMELESS)):
        yield Possible("refused", miss, lambda: state, lambda: "an error, and nothing is sent", failed=True)
    errors = ground.failing(Calls.SEND)
    if errors and (not shown.error or shown.error in errors):
        yield Possible("failed", miss, lambda: state, lambda: f"one of {', '.join(sorted(errors))}", failed=True)


def _joined(ground: Ground, state: State, op: Send, shown: Shown) -> Iterator[Possible]:
    """Yield what becomes of more buffers than the kernel takes where an API joins them, or sends the first of them."""
    whole = b"".join(op.data)
    stream = _kind(state, op) is Kind.STREAM
    data = whole[: shown.value] if stream and shown.value else whole
    for outcome in outcomes(state, Send(op.name, (data,), op.control, None, op.flags)):
        yield _kernel(ground, state, Send(op.name, (data,), op.control, None, op.flags), outcome, shown, None)


def _shortened(ground: Ground, state: State, op: Send, shown: Shown, counts: tuple[int, ...]) -> Iterator[Possible]:
    """Yield what becomes of a send of which the kernel takes the first bytes alone: it ends there, or the rest is sent."""
    whole = b"".join(op.data)
    if _kind(state, op) is not Kind.STREAM:
        return
    miss = None if ground.forged else count_miss(state, shown)
    for count in counts:
        if count >= len(whole):
            continue
        for first in outcomes(state, Send(op.name, (whole[:count],), op.control, None, op.flags)):
            if first.seen.error:
                continue
            if shown.failed or shown.value in {None, count}:
                yield Possible(
                    "sent in part", miss, lambda first=first: first.state, lambda count=count: f"returns {count}"
                )
            if shown.failed:
                continue
            for rest in outcomes(first.state, Send(op.name, (whole[count:],), (), None, op.flags)):
                if not rest.seen.error and shown.value in {None, count + (rest.seen.value or 0)}:
                    yield Possible(
                        "sent in parts", miss, lambda rest=rest: rest.state, lambda: f"returns {len(whole)}, in parts"
                    )
