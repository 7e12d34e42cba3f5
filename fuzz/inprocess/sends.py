"""Sending within this process: the testee's through the API, the peer's by plain system calls, and what either must come to."""

from __future__ import annotations

import errno
import os
import socket
from array import array
from collections.abc import Sequence

from ...conformance.model import calls
from ...conformance.model import flags as f
from ...conformance.model.control import forge, lay_out
from ...conformance.model.operations import NOWHERE, Control, Credentials, Forged, Kind, Number, Raw, Rights, Send
from ...conformance.model.state import Ids
from ..judgement import Breach
from ..operations import Operation, SendOne
from ..run.shown import Shown
from .account import SURE, WHOLE, End
from .apis import CannotDo, Given, Sending, socket_send
from .stage import Stage

IDS = Ids(os.getpid(), os.getuid(), os.getgid())
_INT_MAX, _WORD = 0x7FFFFFFF, 1 << 32
_SCARCE = frozenset({errno.ETOOMANYREFS, errno.ENOMEM, errno.ENOBUFS})
"""Errors that a send may always end in: what they are about is not this program's alone."""


def as_int(flags: int) -> int:
    """Return the flags as an int of C, as every API takes them."""
    return flags - _WORD if flags > _INT_MAX else flags


def name_of(fault: BaseException) -> str:
    """Return the errno name of an error; '' for one without."""
    number = getattr(fault, "errno", None)
    return errno.errorcode.get(number, "") if isinstance(number, int) else ""


def send(stage: Stage, op: Send) -> None:
    """Do a send."""
    name = op.name
    if type(name) is not str:
        raise TypeError(f"a send names a socket, not the number {name!r}")
    testee = name[0] in "tr"
    numbers, labels = stage.numbers, stage.labels
    end = stage.ends.get(name)
    if end is None or end.closed:
        sock, end = stage.end(name)
    else:
        sock = end.sock
    control: list[Given] = []
    fds: list[str] = []
    odd = op.controllen is not None
    for one in op.control:
        if type(one) is Rights:
            control.append((1, 1, array("i", [_number(numbers, fd) for fd in one.fds])))
            fds += [labels.get(fd, "") if type(fd) is str else "" for fd in one.fds]
            odd = odd or one.length is not None
        else:
            odd = True
            control.append(_other(one))
    call = stage.api.send if testee else _written(stage, op) if odd else socket_send
    _send(stage, op, call, (sock, end), control, fds, odd=odd)


def send_one(stage: Stage, op: SendOne) -> None:
    """Do a send by the call for exactly one descriptor."""
    call = stage.api.send_one
    if call is None:
        raise CannotDo("single")
    label = stage.labels.get(op.fd, "") if type(op.fd) is str else ""
    control: list[Given] = [(1, 1, array("i", [_number(stage.numbers, op.fd)]))]
    _send(stage, op, call, stage.end(str(op.name)), control, [label], odd=False)


def _other(control: Control) -> Given:
    """Return a control message that is no SCM_RIGHTS, as it is given to an API."""
    if isinstance(control, Raw):
        return control.level, control.type, control.data
    return 1, f.SCM_CREDENTIALS, forge(control.forged if isinstance(control, Credentials) else Forged.NOTHING, IDS)


def _number(numbers: dict[str, int], name: Number) -> int:
    return numbers.get(name, NOWHERE) if type(name) is str else int(name)


def _send(
    stage: Stage,
    op: Send | SendOne,
    call: Sending,
    target: tuple[socket.socket, End | None],
    control: Sequence[Given],
    fds: Sequence[str],
    *,
    odd: bool,
) -> None:
    """Call, and hold what came of it against what must. ``odd``: nobody can tell what the control data attaches."""
    sock, end = target
    data, flags = op.data, op.flags
    inbox = None if end is None else end.peer
    whole = data[0] if len(data) == 1 else b"".join(data)
    sure = inbox is not None and not odd and inbox.sure and not inbox.peer.doubtful and len(whole) <= WHOLE
    try:
        value = call(sock, data, control, as_int(flags) if flags else 0)
    except CannotDo:
        raise
    except OSError as fault:
        _failed(stage, op, fault)
        if sure and inbox is not None and not _may_fail(fault, data, whole, fds, flags, inbox):
            text = f"the send ended in {name_of(fault) or repr(fault)}: {fault}"
            stage.wrong(op, Breach.ERROR, "S01" if fds else "V01", text, "it is sent")
        return
    except Exception as fault:  # noqa: BLE001 - whatever an implementation raises
        raised(stage, op, fault)
        return
    stage.seen.append((type(op), "sent", "with" if fds else ""))
    if stage.careful:
        stage.shown = Shown(value=value)
    if inbox is None:
        return
    if odd or flags & f.OOB:
        inbox.doubtful = True
    elif "" in fds or len(fds) > f.SCM_MAX_FD:
        _taken(stage, op, fds)
    elif value != len(whole) and (sure or not 0 <= value <= len(whole)):
        stage.wrong(op, Breach.RESULT, "S16", f"{len(whole)} bytes were sent, {value} is the result", f"{len(whole)}")
    else:
        inbox.queue(whole[:value], tuple(fds))
        inbox.doubtful |= len(data) > f.IOV_MAX  # an API may send them by several calls


def _failed(stage: Stage, op: Send | SendOne, fault: OSError) -> None:
    stage.seen.append((type(op), name_of(fault)))
    if stage.careful:
        stage.shown = Shown(error=name_of(fault), kind=type(fault).__name__, message=str(fault))


def _taken(stage: Stage, op: Send | SendOne, fds: Sequence[str]) -> None:
    """Say that a send was taken which must not be."""
    if "" in fds:
        stage.wrong(op, Breach.ERROR, "S06", "a descriptor that is not open was sent without an error", "EBADF")
    else:
        stage.wrong(op, Breach.ERROR, "A13", f"{len(fds)} descriptors were sent without an error", "EINVAL")


def _may_fail(fault: OSError, data: Sequence[bytes], whole: bytes, fds: Sequence[str], flags: int, inbox: End) -> bool:
    """Whether a send that would have been taken may end in that error nevertheless."""
    return (
        bool(flags & ~f.NOSIGNAL)
        or fault.errno in _SCARCE
        or "" in fds
        or len(fds) > f.SCM_MAX_FD
        or len(data) > f.IOV_MAX
        or inbox.waiting + len(whole) > SURE
        or (inbox.kind is Kind.STREAM and not whole and bool(fds))
    )


def raised(stage: Stage, op: Operation, fault: Exception) -> None:
    """Say that something else than an OSError was raised, which no API documents for what a program asks."""
    stage.seen.append((type(op), type(fault).__name__))
    if stage.careful:
        stage.shown = Shown(kind=type(fault).__name__, message=str(fault))
    stage.wrong(op, Breach.ERROR, "LC14", f"{type(fault).__name__}: {fault}", "success, or an OSError with its errno")


def _written(stage: Stage, op: Send) -> Sending:
    """Return the call of a peer that writes the very msghdr."""

    def call(sock: socket.socket, data: Sequence[bytes], _: Sequence[Given], flags: int) -> int:
        reply = calls.sendmsg(sock.fileno(), tuple(data), lay_out(op, stage.number, IDS), flags | f.DONTWAIT)
        if reply.error is not None:
            number = getattr(errno, reply.error, 0)
            raise OSError(number, os.strerror(number))
        return reply.value

    return call
