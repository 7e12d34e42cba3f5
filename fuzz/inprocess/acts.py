"""What each operation does within this process."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from ...conformance.model.operations import (
    Close,
    Collect,
    How,
    Open,
    Option,
    Pair,
    Receive,
    Released,
    Room,
    Send,
    SetOption,
    Shutdown,
)
from ...impls.protocol.values import ObjectKind
from .. import operations as o
from ..judgement import Breach
from ..operations import Make, Operation, SendOne, SetMore, Take, TakeOne
from ..run.shown import Shown
from .account import identity_of
from .receives import receive, take, take_one
from .sends import name_of, send, send_one
from .stage import Stage

_OPTIONS: dict[Option | o.Option, int] = {
    Option.PASSCRED: 16,
    Option.PASSRIGHTS: 83,
    Option.OOBINLINE: 10,
    Option.PEEK_OFF: 42,
    Option.SNDBUF: 7,
    o.Option.TIMESTAMP: 29,
    o.Option.PASSPIDFD: 76,
    o.Option.PASSSEC: 34,
    o.Option.RCVBUF: 8,
}
_SHUT = {How.RD: socket.SHUT_RD, How.WR: socket.SHUT_WR, How.RDWR: socket.SHUT_RDWR}


def _told(stage: Stage, fault: OSError) -> None:
    stage.shown = Shown(error=name_of(fault), kind=type(fault).__name__, message=str(fault))


def _room_for(stage: Stage, name: str) -> bool:
    """Whether an object of that name can be opened; the testee may be at its limit."""
    if stage.free is None or name[0] != "f":
        return True
    if not stage.free:
        stage.shown = Shown(error="EMFILE", kind="OSError")
        return False
    stage.free -= 1
    return True


def _open(stage: Stage, op: Open) -> None:
    if _room_for(stage, op.name):
        name = op.name
        pipe = stage.pipes[name] = stage.new_pipe()
        number = pipe.writer
        if not stage.asks:
            number = os.dup(number)
            stage.taken.append(name)
        stage.add(name, number, name, pipe.identity)


def _make(stage: Stage, op: Make) -> None:
    if not _room_for(stage, op.name):
        return
    if op.kind is ObjectKind.SOCKET:
        one, other = socket.socketpair()
        number = one.detach()
        stage.keep(other.detach())
    else:
        number = os.memfd_create("file", os.MFD_CLOEXEC)
    stage.add(op.name, number, op.name, identity_of(number))
    stage.taken.append(op.name)


def _close(stage: Stage, op: Close) -> None:
    name = op.name
    if isinstance(name, int) or name not in stage.numbers:
        return
    end = stage.ends.get(name)
    if end is not None:
        end.closed = end.loose = end.peer.loose = True
    elif (other := stage.ends.get(stage.labels[name])) is not None:
        other.loose = other.peer.loose = True  # the last number of it, perhaps
    del stage.labels[name]
    if stage.free is not None and name[0] in "tfr":
        stage.free += 1
    try:
        os.close(stage.numbers.pop(name))
    except OSError as fault:
        _told(stage, fault)
        stage.wrong(op, Breach.STRAY_CLOSE, "LC02", f"{name} was open, and somebody else has closed it", "it is open")


def _pair(stage: Stage, op: Pair) -> None:
    stage.link(op.kind)


def _shutdown(stage: Stage, op: Shutdown) -> None:
    sock, end = stage.end(str(op.name))
    if end is not None:
        end.loose = end.peer.loose = True
    try:
        sock.shutdown(_SHUT[op.how])
    except OSError as fault:
        _told(stage, fault)


def _set(stage: Stage, op: SetOption | SetMore) -> None:
    sock, end = stage.end(str(op.name))
    if end is not None:
        end.doubtful = end.peer.doubtful = True
    value = op.value // 2 if op.option is Option.SNDBUF else op.value
    try:
        sock.setsockopt(socket.SOL_SOCKET, _OPTIONS[op.option], struct.pack("=i", value))
    except OSError as fault:
        _told(stage, fault)


def _room(stage: Stage, op: Room) -> None:
    stage.free = op.free


def _released(stage: Stage, op: Released) -> None:
    pipe = stage.pipes.get(op.name)
    if pipe is None:
        return
    gone = bool(pipe.poll.poll(0))
    stage.shown = Shown(value=int(gone))
    ends = stage.ends.values()
    if any(end.doubtful or end.loose for end in ends):
        return
    held = op.name in stage.labels.values() or any(op.name in fds for end in ends for _, fds in end.inbox)
    if gone and held:
        text = f"every writer of {op.name} is gone, although somebody has one"
        stage.wrong(op, Breach.STRAY_CLOSE, "LC02", text, "a writer is left")
    elif not gone and not held:
        stage.wrong(op, Breach.LEAK, "LC01", f"nobody has {op.name} any more, and it is not released", "it is released")


def _collect(stage: Stage, op: Collect) -> None:
    """Start the kernel's collection of what refers to itself: a closed socket of this family does."""
    del op, stage
    with contextlib.suppress(OSError):
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).close()


ACTS: dict[type[Operation], Callable[[Stage, Any], None]] = {
    Send: send,
    Receive: receive,
    Take: take,
    TakeOne: take_one,
    SendOne: send_one,
    Open: _open,
    Make: _make,
    Close: _close,
    Pair: _pair,
    Shutdown: _shutdown,
    SetOption: _set,
    SetMore: _set,
    Room: _room,
    Released: _released,
    Collect: _collect,
}
"""By the type of the operation. What is not here is nothing that can be done within a process."""
