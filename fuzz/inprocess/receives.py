"""Receiving within this process: the testee's through the API, the peer's by plain system calls, and what either must bring."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Callable, Sequence

from ...conformance.model import flags as f
from ...conformance.model.operations import Call, Receive
from ..judgement import Breach
from ..operations import Take, TakeOne
from ..run.shown import Shown
from ..scope import room_of
from .account import End
from .apis import CTRUNC, CannotDo, Lost, Received, Receiving, socket_receive
from .sends import as_int, name_of, raised
from .stage import Stage

_CERTAIN = f.PEEK | f.CLOEXEC | f.NOSIGNAL | f.EOR | f.CTRUNC | f.MORE
"""Flags with which it is certain what a receive brings."""
_Receive = Receive | Take | TakeOne
_EMPTY = (errno.EAGAIN, errno.EWOULDBLOCK)


def receive(stage: Stage, op: Receive) -> None:
    """Do a receive with exactly so much control buffer."""
    if str(op.name)[0] in "tr":
        if op.control is not None and "control-length" not in stage.api.names:
            raise CannotDo("control-length")
        call = stage.api.receive
    else:
        call = _PEER[op.call]
    room = room_of(op.control) if op.call is Call.RECVMSG else 0
    _receive(stage, op, call, op.room, room, op.control or 0)


def take(stage: Stage, op: Take) -> None:
    """Do a receive with room for so many descriptors."""
    _receive(stage, op, stage.api.receive, op.sizes, op.room, None)


def take_one(stage: Stage, op: TakeOne) -> None:
    """Do a receive by the call for exactly one descriptor."""
    call = stage.api.take_one
    if call is None:
        raise CannotDo("single")
    _receive(stage, op, call, op.sizes, 1, None)


def _recv(sock: socket.socket, sizes: Sequence[int], _: int, __: int | None, flags: int) -> Received:
    return (sock.recvmsg(sum(sizes), 0, flags)[0],), (), None  # recv() of no bytes would not make the call


def _read(sock: socket.socket, sizes: Sequence[int], _: int, __: int | None, ___: int) -> Received:
    if len(sizes) == 1:
        return (os.read(sock.fileno(), sizes[0]),), (), None
    buffers = [bytearray(size) for size in sizes]
    count = os.readv(sock.fileno(), buffers)
    found: list[bytearray] = []
    for one in buffers:
        found.append(one[:count])
        count = max(0, count - len(one))
    return found, (), None


_PEER: dict[Call, Receiving] = {Call.RECVMSG: socket_receive, Call.RECV: _recv, Call.READ: _read}


def _receive(
    stage: Stage,
    op: _Receive,
    call: Receiving,
    sizes: Sequence[int],
    room: int,
    control: int | None,
) -> None:
    """Call, and hold what came against what must."""
    name = str(op.name)
    end = stage.ends.get(name)
    if end is None or end.closed:
        sock, end = stage.end(name)
    else:
        sock = end.sock
    testee = name[0] in "tr"
    free = stage.free if testee else None
    called = _called(stage, op, lambda: call(sock, sizes, room, control, as_int(op.flags)), end, sizes, free)
    if called is None or (call is _read and not any(sizes)):  # read(2) of no bytes does not even look
        return
    (pieces, fds, shown), told = called
    odd = bool(op.flags & ~_CERTAIN) or len(sizes) > f.IOV_MAX  # an API may receive into so many by several calls
    expected = None
    if end is not None and not odd and not end.doubtful:
        expected = end.next(sizes[0] if len(sizes) == 1 else sum(sizes), keep=bool(op.flags & f.PEEK))
    files = stage.take(op, op.prefix, fds) if fds else ()
    if stage.careful:
        _show(stage, op, pieces, files, fds, shown)
    if free is not None:
        stage.free = max(0, free - len(fds))
    if files and testee and (stage.api.cloexec or op.flags & f.CLOEXEC):
        _check_cloexec(stage, op, fds)
    if end is None or end.doubtful or odd:
        stage.seen.append((type(op), "odd" if odd else "something"))
        if end is not None:
            end.doubtful = True
    elif _expected(stage, op, end, (pieces, files), expected, sizes) and expected is not None:
        fit = room if free is None or room < free else free
        _judge(stage, op, (files, shown), expected, (room, fit, told))


def _expected(
    stage: Stage,
    op: _Receive,
    end: End,
    came: tuple[Sequence[bytes | bytearray], tuple[str, ...]],
    expected: tuple[bytes, tuple[str, ...], bool] | None,
    sizes: Sequence[int],
) -> bool:
    """Whether something came where something had to, with the right data; say so where not."""
    if expected is None:
        _nothing(stage, op, end, *came, sizes)
        return False
    return _right_data(stage, op, end, *came, expected[0], sizes)


def _called(
    stage: Stage,
    op: _Receive,
    call: Callable[[], Received],
    end: End | None,
    sizes: Sequence[int],
    free: int | None,
) -> tuple[Received, bool] | None:
    """Return what came, and whether an error told of a loss; None where it ended in another error, of which all is said."""
    try:
        return (call() if free is None else stage.limited(call)), False
    except CannotDo:
        raise
    except Lost as lost:
        return lost.received, True
    except OSError as fault:
        _failed(stage, op, fault, end, sizes)
    except Exception as fault:  # noqa: BLE001 - whatever an implementation raises
        raised(stage, op, fault)
    return None


def _show(
    stage: Stage,
    op: _Receive,
    pieces: Sequence[bytes | bytearray],
    files: tuple[str, ...],
    fds: Sequence[int],
    shown: int | None,
) -> None:
    same = tuple(stage.shares(fd, label) for fd, label in zip(fds, files, strict=True))
    cloexec = tuple(_is_cloexec(fd) for fd in fds)
    stage.shown = Shown(data=tuple(map(bytes, pieces)), files=files, same=same, cloexec=cloexec, flags=shown)
    if False in same:
        text = "a descriptor that came has an open file description of its own"
        stage.wrong(op, Breach.IDENTITY, "I01", text, "the sender's open file description")


def _is_cloexec(fd: int) -> bool | None:
    try:
        return bool(fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)
    except OSError:
        return None


def _check_cloexec(stage: Stage, op: _Receive, fds: Sequence[int]) -> None:
    for fd in fds:
        if _is_cloexec(fd) is False:
            stage.wrong(op, Breach.CLOEXEC, "LC06", "a descriptor that came is not close-on-exec", "all of them are")
            return


def _failed(stage: Stage, op: _Receive, fault: OSError, end: End | None, sizes: Sequence[int]) -> None:
    """Say what there is to say of a receive that ended in an error: where something waits it must not."""
    stage.seen.append((type(op), name_of(fault)))
    if stage.careful:
        stage.shown = Shown(error=name_of(fault), kind=type(fault).__name__, message=str(fault))
    if end is None or end.doubtful:
        return
    if op.flags & ~_CERTAIN:
        end.doubtful = True
    elif fault.errno is None:
        stage.wrong(op, Breach.ERROR, "LC14", f"an error without a number: {fault}", "an OSError with its errno")
    elif end.inbox and not end.loose and len(sizes) <= f.IOV_MAX:
        text = f"{name_of(fault)} although {len(end.inbox)} messages wait: {fault}"
        stage.wrong(op, Breach.ERROR, "V01", text, "the first of them is received")
    elif not end.inbox and not end.loose and fault.errno not in _EMPTY and len(sizes) <= f.IOV_MAX:
        stage.wrong(op, Breach.ERROR, "R05", f"{name_of(fault)} where nothing waits: {fault}", "EAGAIN")
    elif end.inbox:
        end.doubtful = True


def _nothing(
    stage: Stage,
    op: _Receive,
    end: End,
    pieces: Sequence[bytes | bytearray],
    files: tuple[str, ...],
    sizes: Sequence[int],
) -> None:
    """Hold a receive that succeeded against an empty queue."""
    stage.seen.append((type(op), "end"))
    data = b"".join(pieces)
    if data:
        stage.wrong(op, Breach.DATA, "V01", f"{data[:32]!r} came, which nobody has sent", "EAGAIN, or the end of file")
    elif files:
        stage.wrong(op, Breach.DESCRIPTORS, "LC15", f"{' '.join(files)} came, which nobody has sent", "none")
    elif not end.loose and sum(sizes):
        stage.wrong(op, Breach.ERROR, "R05", "an end of file came, and nobody has closed", "EAGAIN")


def _right_data(
    stage: Stage,
    op: _Receive,
    end: End,
    pieces: Sequence[bytes | bytearray],
    files: tuple[str, ...],
    data: bytes,
    sizes: Sequence[int],
) -> bool:
    """Whether the data is as it has to be; say so where it is not."""
    if len(pieces) == 1:
        if pieces[0] == data:
            return True
    elif b"".join(pieces) == data and _scattered(pieces, sizes, len(data)):
        return True
    if end.loose and not any(pieces) and not files:
        end.doubtful = True
    else:
        text = f"{b'|'.join(map(bytes, pieces))[:64]!r} came into buffers of {list(sizes)[:8]} bytes"
        stage.wrong(op, Breach.DATA, "V01", text, f"{data[:64]!r}")
    return False


def _judge(
    stage: Stage,
    op: _Receive,
    came: tuple[tuple[str, ...], int | None],
    expected: tuple[bytes, tuple[str, ...], bool],
    asked: tuple[int, int, bool],
) -> None:
    """Hold the descriptors and flags against what was sent. ``asked``: room, how many fit, whether an error told of a loss."""
    files, shown = came
    _, fds, cut = expected
    room, fit, told = asked
    right = fds if len(fds) <= fit else fds[:fit]
    lost = len(fds) > fit
    stage.seen.append((type(op), "came", min(len(files), 4), "lost" if lost else "cut" if cut else ""))
    if told:
        if not lost:
            stage.wrong(
                op, Breach.DESCRIPTORS, "T01", "a loss was told, and nothing was lost", " ".join(right) or "none"
            )
    elif files != right:
        _other_files(stage, op, files, right, room, told=shown is not None and bool(shown & CTRUNC))
    elif shown is not None:
        _right_flags(stage, op, shown, len(fds) - fit, cut=cut)
    elif lost and str(op.name)[0] in "tr":
        stage.wrong(op, Breach.HIDDEN_LOSS, "LC03", f"{len(fds) - fit} descriptors were lost unseen", "an error")


def _right_flags(stage: Stage, op: _Receive, shown: int, lost: int, *, cut: bool) -> None:
    """Say what is wrong with msg_flags, where ``lost`` descriptors (none below 1) did not come."""
    if lost > 0 and not shown & CTRUNC:
        text = f"{lost} descriptors were lost, and MSG_CTRUNC is not set"
        stage.wrong(op, Breach.HIDDEN_LOSS, "LC03", text, "MSG_CTRUNC", "an error")
    elif lost <= 0 and shown & CTRUNC:
        stage.wrong(op, Breach.FLAGS, "T01", "MSG_CTRUNC is set, and nothing was lost", "no MSG_CTRUNC")
    elif bool(shown & f.TRUNC) != cut:
        text = (
            "MSG_TRUNC is set, and all data came" if shown & f.TRUNC else "data was cut off, and MSG_TRUNC is not set"
        )
        stage.wrong(op, Breach.FLAGS, "V14", text, "MSG_TRUNC where a packet was cut, and nowhere else")


def _other_files(
    stage: Stage, op: _Receive, files: tuple[str, ...], right: tuple[str, ...], room: int, *, told: bool
) -> None:
    """Say what is wrong with the descriptors that came."""
    text = f"{' '.join(files) or 'no descriptor'} came with room for {room}"
    allowed = " ".join(right) or "no descriptor"
    if len(files) > room:
        stage.wrong(op, Breach.DESCRIPTORS, "LC04", text, allowed)
    elif len(files) < len(right):
        if told:
            stage.wrong(op, Breach.DESCRIPTORS, "T01", text, allowed)
        else:
            stage.wrong(op, Breach.HIDDEN_LOSS, "LC03", text, allowed)
    elif len(files) > len(right):
        stage.wrong(op, Breach.DESCRIPTORS, "LC15", text, allowed)
    else:
        order = sorted(files) == sorted(right)
        stage.wrong(op, Breach.DESCRIPTORS if order else Breach.IDENTITY, "LC05", text, allowed)


def _scattered(pieces: Sequence[bytes | bytearray], sizes: Sequence[int], length: int) -> bool:
    """Whether the bytes are in the buffers in which they belong."""
    if len(pieces) == 1 or not pieces:
        return True
    for piece, size in zip(pieces, sizes, strict=False):
        if len(piece) != min(size, length):
            return False
        length -= len(piece)
    return True
