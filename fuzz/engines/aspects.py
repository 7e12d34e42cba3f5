"""In what executions of one program can part: for each aspect how it is read of an operation, called, and put into words.

None is what an API does not show, and is not compared: a count or flags of None, the type of an error beside its errno. Numbers
are not compared at all, labels are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import groupby
from typing import NamedTuple

from ...conformance.model import flags as f
from ...conformance.model.operations import Receive, Released
from ..operations import End, Operation, Take, TakeOne, end_of
from ..run.shown import Execution, Shown

LONGEST = 72
"""Characters of what one group showed, at most."""


class Look(NamedTuple):
    """One operation of one execution, or its end (``shown`` is None there)."""

    execution: Execution
    at: int
    operation: Operation | None
    shown: Shown | None


class Aspect(NamedTuple):
    """Something in which executions can part.

    ``read`` returns what is compared, None for what was not shown. ``tell`` puts it into words. ``decides``: what follows
    depends on it. ``name`` may need the looks that part.
    """

    name: str | Callable[[Sequence[Look]], str]
    read: Callable[[Look], Hashable | None]
    tell: Callable[[Look], str]
    decides: bool = False


def plain(text: str, most: int = LONGEST) -> str:
    """Return ``text`` of a testee fit to be shown: one line of printable characters, cut to ``most``."""
    line = "".join(char if char.isprintable() else "?" for char in text[: most + 1])
    return line if len(line) <= most else line[: most - 3] + "..."


# ---- outcomes ----------------------------------------------------------------------------------------------------------

ERRORS = {
    "EAGAIN": "would-wait",
    "EBADF": "bad-descriptor",
    "ECONNREFUSED": "refused-connection",
    "ECONNRESET": "reset-connection",
    "EFAULT": "bad-address",
    "EINVAL": "invalid-argument",
    "EMFILE": "full-table",
    "EMSGSIZE": "too-long",
    "ENOBUFS": "no-memory",
    "ENOMEM": "no-memory",
    "ENOTCONN": "no-connection",
    "ENOTSOCK": "no-socket",
    "EOPNOTSUPP": "unsupported",
    "EPERM": "not-permitted",
    "EPIPE": "closed-peer",
    "ESRCH": "no-process",
    "ETOOMANYREFS": "too-many-in-flight",
}
"""The errors by what is wrong then, as behaviours are called; others go by their own names."""


def _error_name(looks: Sequence[Look]) -> str:
    errors = {look.shown.error for look in looks if look.shown is not None and look.shown.failed}
    if errors == {""}:
        return "own-error"
    if "" in errors and len(errors) == len(looks):
        return "error-without-errno"
    return "error-of-" + "-or-".join(sorted({ERRORS.get(one, one.lower()) for one in errors if one}))


def _failed(look: Look) -> bool | None:
    return None if look.shown is None else look.shown.failed


def _errno(look: Look) -> str | None:
    return look.shown.error if look.shown is not None and look.shown.failed else None


def _tell_outcome(look: Look) -> str:
    shown = look.shown
    if shown is None:
        return "not reached"
    if not shown.failed:
        return "succeeds"
    return f"fails with {shown.error}" if shown.error else f"fails with {shown.kind}, without errno"


def _trouble(look: Look) -> str | None:
    trouble = look.execution.trouble
    if trouble is None or trouble.at != look.at:
        return "" if look.shown is not None or look.operation is None else None
    return str(trouble.breach)


def _trouble_name(looks: Sequence[Look]) -> str:
    return "-or-".join(sorted({value for value in map(_trouble, looks) if value}))


def _tell_trouble(look: Look) -> str:
    trouble = look.execution.trouble
    return "goes on" if trouble is None or trouble.at != look.at else f"{trouble.breach}: {trouble.message}"


# ---- truncation --------------------------------------------------------------------------------------------------------


def truncated(looks: Sequence[Look]) -> bool:
    """Whether descriptors were lost in a receive of the testee, as far as anybody tells."""
    operation = looks[0].operation
    if not isinstance(operation, (Receive, Take, TakeOne)) or end_of(operation.name) is End.PEER:
        return False
    return any(look.shown is not None and (look.shown.flags or 0) & f.CTRUNC for look in looks)


def _truncation(look: Look) -> str | None:
    shown = look.shown
    if shown is None:
        return None
    return "error" if shown.failed else "flag" if (shown.flags or 0) & f.CTRUNC else "silent"


def _tell_truncation(look: Look) -> str:
    told = {"error": _tell_outcome(look), "flag": "shows MSG_CTRUNC"}.get(_truncation(look) or "", "shows nothing")
    count = len(look.shown.files) if look.shown is not None else 0
    return f"{told}, and gives {count} descriptor{'' if count == 1 else 's'}"


# ---- what came ---------------------------------------------------------------------------------------------------------


def _done(look: Look) -> Shown | None:
    """Return what was shown by who succeeded."""
    return look.shown if look.shown is not None and not look.shown.failed else None


def _count(look: Look) -> int | None:
    shown = _done(look)
    return None if shown is None else shown.value


def _tell_count(look: Look) -> str:
    return str(_count(look))


def _count_name(looks: Sequence[Look]) -> str:
    return "released" if isinstance(looks[0].operation, Released) else "count"


def _data(look: Look) -> bytes | None:
    shown = _done(look)
    return None if shown is None else joined(shown)


def joined(shown: Shown) -> bytes:
    """Return the data that came."""
    return b"".join(shown.data) + b"".join(one.data for one in shown.events if one.name == "data")


def _buffers(look: Look) -> tuple[bytes, ...] | None:
    shown = _done(look)
    if shown is None:
        return None
    data = list(shown.data)
    while data and not data[-1]:
        data.pop()
    return tuple(data)


def _tell_buffers(look: Look) -> str:
    return f"{len(joined(look.shown))} bytes in {_sizes(look.shown.data)}" if look.shown is not None else ""


def _sizes(data: Sequence[bytes]) -> str:
    return "buffers of " + ", ".join(str(len(one)) for one in data[:16]) if len(data) > 1 else "one buffer"


def _tell_data(look: Look) -> str:
    data = joined(look.shown) if look.shown is not None else b""
    return f"{len(data)} bytes: {data[:24]!r}{'...' if len(data) > 24 else ''}"


def labels_of(shown: Shown) -> tuple[str, ...]:
    """Return what the descriptors that came refer to."""
    return (*shown.files, *(one.label for one in shown.events if one.name == "descriptor"))


def _descriptors(look: Look) -> tuple[str, ...] | None:
    shown = look.shown
    if shown is None:
        return None
    return labels_of(shown) or (None if shown.failed else ())


def _tell_descriptors(look: Look) -> str:
    return _listed(labels_of(look.shown)) if look.shown is not None else ""


def _listed(labels: Sequence[str]) -> str:
    return f"{len(labels)}: {' '.join(labels)}" if labels else "none"


def _all_known(values: tuple[bool | None, ...]) -> tuple[bool | None, ...] | None:
    return values if values and None not in values else None


def _same(look: Look) -> Hashable | None:
    return None if look.shown is None else _all_known(look.shown.same)


def _cloexec(look: Look) -> Hashable | None:
    return None if look.shown is None else _all_known(look.shown.cloexec)


def _tell_switches(what: str, values: tuple[bool | None, ...]) -> str:
    kinds = {True: f"all {what}", False: f"none {what}"}
    return kinds[bool(values[0])] if len(set(values)) == 1 else f"{what}: {' '.join(map(str, values))}"


def _tell_same(look: Look) -> str:
    return _tell_switches("the sender's open file description", look.shown.same) if look.shown is not None else ""


def _tell_cloexec(look: Look) -> str:
    return _tell_switches("close-on-exec", look.shown.cloexec) if look.shown is not None else ""


# ---- what is only seen -------------------------------------------------------------------------------------------------


def _flags(look: Look) -> int | None:
    shown = _done(look)
    return None if shown is None or shown.flags is None else shown.flags & ~f.CTRUNC


def _flags_name(looks: Sequence[Look]) -> str:
    values = [value for value in map(_flags, looks) if value is not None]
    differing = 0
    for value in values[1:]:
        differing |= value ^ values[0]
    return f"flags-{f.names_of(differing)}"


def _tell_flags(look: Look) -> str:
    flags = look.shown.flags if look.shown is not None else None
    return f"msg_flags {f.names_of(flags) or '0'}" if flags is not None else ""


def _control(look: Look) -> Hashable | None:
    """Level, type and length alone: times and process ids differ from run to run."""
    shown = _done(look)
    return None if shown is None else tuple((one.level, one.type, len(one.data)) for one in shown.control)


def _tell_control(look: Look) -> str:
    control = look.shown.control if look.shown is not None else ()
    return ", ".join(f"level {one.level} type {one.type}, {len(one.data)} bytes" for one in control) or "none"


def _controllen(look: Look) -> int | None:
    shown = _done(look)
    return None if shown is None else shown.controllen


def _tell_controllen(look: Look) -> str:
    return f"msg_controllen {_controllen(look)}"


def _open(look: Look) -> int | None:
    return None if look.shown is None else look.shown.open


def _tell_open(look: Look) -> str:
    return f"{_open(look)} open"


# ---- transports --------------------------------------------------------------------------------------------------------

_ORDERED = ("data", "descriptor")
_ENDINGS = ("eof", "lost")
_REPORTS = ("error", "log")
_FLOW = ("pause", "resume")


def _order(look: Look) -> Hashable | None:
    shown = look.shown
    if shown is None:
        return None
    return tuple(name for name, _ in groupby(one.name for one in shown.events if one.name in _ORDERED))


def _ending(look: Look) -> Hashable | None:
    """How a transport ended; well or not, for every library has errors of its own for it."""
    shown = look.shown
    if shown is None:
        return None
    return tuple((one.name, bool(one.error)) for one in shown.events if one.name in _ENDINGS)


def _named(names: Sequence[str]) -> Callable[[Look], Hashable | None]:
    return lambda look: None if look.shown is None else tuple(e.name for e in look.shown.events if e.name in names)


def _tell_events(names: Sequence[str]) -> Callable[[Look], str]:
    def tell(look: Look) -> str:
        events = look.shown.events if look.shown is not None else ()
        return " ".join(one.name + (f"({one.error})" if one.error else "") for one in events if one.name in names)

    return lambda look: tell(look) or "nothing"


# ---- the end -----------------------------------------------------------------------------------------------------------


def _drained(look: Look) -> Hashable | None:
    return tuple((joined(one), labels_of(one)) for one in look.execution.drained)


def _tell_drained(look: Look) -> str:
    drained = look.execution.drained
    count, labels = sum(len(joined(one)) for one in drained), [label for one in drained for label in labels_of(one)]
    return f"the peer gets {count} bytes, descriptors {_listed(labels)}"


def _stray(look: Look) -> bool | None:
    return None if look.execution.left is None else bool(look.execution.left.stray)


def _tell_stray(look: Look) -> str:
    left = look.execution.left
    return "; ".join(left.stray) if left is not None and left.stray else "none"


def _left(look: Look) -> Hashable | None:
    return None if look.execution.left is None else look.execution.left.open


def _leaked(look: Look) -> Hashable | None:
    return None if look.execution.left is None else look.execution.left.leaked


def _released(look: Look) -> Hashable | None:
    left = look.execution.left
    if left is None or None in left.released.values():
        return None
    return tuple(sorted((name for name, so in left.released.items() if not so)))


def _tell_left(look: Look) -> str:
    return _listed(look.execution.left.open) if look.execution.left is not None else ""


def _tell_leaked(look: Look) -> str:
    return _listed(look.execution.left.leaked) if look.execution.left is not None else ""


def _tell_released(look: Look) -> str:
    kept = _released(look)
    return f"still referred to: {kept}" if kept else "all released"


# ---- the tables --------------------------------------------------------------------------------------------------------

TRUNCATION = Aspect("truncation-visible", _truncation, _tell_truncation)
OF_AN_OPERATION: tuple[Aspect, ...] = (
    Aspect(_trouble_name, _trouble, _tell_trouble, decides=True),
    Aspect(_error_name, _failed, _tell_outcome, decides=True),
    Aspect(_error_name, _errno, _tell_outcome),
    Aspect(_count_name, _count, _tell_count, decides=True),
    Aspect("data", _data, _tell_data, decides=True),
    Aspect("buffers", _buffers, _tell_buffers),
    Aspect("descriptors", _descriptors, _tell_descriptors, decides=True),
    Aspect("order-of-events", _order, _tell_events(_ORDERED)),
    Aspect("end-of-connection", _ending, _tell_events(_ENDINGS), decides=True),
    Aspect("identity", _same, _tell_same),
    Aspect("cloexec", _cloexec, _tell_cloexec),
    Aspect(_flags_name, _flags, _tell_flags),
    Aspect("control-messages", _control, _tell_control),
    Aspect("controllen", _controllen, _tell_controllen),
    Aspect("reports", _named(_REPORTS), _tell_events(_REPORTS)),
    Aspect("flow-control", _named(_FLOW), _tell_events(_FLOW)),
    Aspect("open-descriptors", _open, _tell_open),
)
"""What is compared at an operation, in this order."""
OF_TRUNCATED = (OF_AN_OPERATION[0], TRUNCATION, *OF_AN_OPERATION[1:])
OF_THE_END: tuple[Aspect, ...] = (
    Aspect(_trouble_name, _trouble, _tell_trouble, decides=True),
    Aspect("drained", _drained, _tell_drained, decides=True),
    Aspect("stray-close", _stray, _tell_stray),
    Aspect("left-open", _left, _tell_left),
    Aspect("leaked", _leaked, _tell_leaked),
    Aspect("released", _released, _tell_released),
)
