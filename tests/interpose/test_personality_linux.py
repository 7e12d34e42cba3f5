"""The personality linux is the running kernel: what `shape` says is what recvmsg(2) does, for every room and at every limit."""

from __future__ import annotations

import array
import ctypes
import os
import resource
import socket
import struct
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest
from fdspec.conformance.interpose.personality import find
from fdspec.conformance.interpose.shape import Arrived, Asked, Other, Shaped, render, shape

LINUX = find("linux")
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.recvmsg.restype = ctypes.c_ssize_t
LIBC.recvmsg.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
FILL = b"\xa5"
ROOMS = range(121)
CLOEXEC = 0x40000000
SO_TIMESTAMP = 29
SO_PASSPIDFD, SCM_PIDFD = 76, 4
SO_INQ, SCM_INQ = 84, 84
PIDFD = 1000
"""The index of the pidfd in what arrived; those of the rights count from 1."""


class Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.c_void_p),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


@dataclass(frozen=True)
class Seen:
    """What a receive answered: control data up to msg_controllen, msg_flags, and the close-on-exec of each number it opened."""

    control: bytes
    flags: int
    opened: dict[int, bool]


def numbers() -> set[int]:
    """Return the open descriptors of this process."""
    return {int(name) for name in os.listdir("/proc/self/fd") if is_open(int(name))}


def receive(end: socket.socket, asked: Asked) -> Seen:
    """Receive one message of at most 64 bytes, and close what came. ``asked.free`` limits the numbers while it lasts."""
    data = ctypes.create_string_buffer(64)
    control = ctypes.create_string_buffer(FILL * (asked.room + 64), asked.room + 64)
    iov = Iovec(ctypes.addressof(data), 64)
    where = ctypes.addressof(control) if asked.writable else 1
    header = Msghdr(None, 0, ctypes.addressof(iov), 1, where if asked.control else None, asked.room, 0)
    before = numbers()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if asked.free is not None:
        free = [number for number in range(len(before) + asked.free + 1) if number not in before]
        resource.setrlimit(resource.RLIMIT_NOFILE, (free[asked.free], hard))
    result = LIBC.recvmsg(end.fileno(), ctypes.byref(header), asked.flags | socket.MSG_DONTWAIT)
    number = ctypes.get_errno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert result >= 0, os.strerror(number)
    opened = {one: not os.get_inheritable(one) for one in sorted(numbers() - before)}
    for one in opened:
        os.close(one)
    assert control.raw[asked.room :] == FILL * 64
    return Seen(control.raw[: header.controllen], header.flags, opened)


def is_open(number: int) -> bool:
    """Say whether ``number`` is open: that of the listing itself is no more."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def said(shaped: Shaped, opened: dict[int, bool]) -> Seen | str:
    """Return what a testee would see of ``shaped``, where the kernel gives the numbers of ``opened``."""
    if len(shaped.installed) != len(opened):
        return f"{len(shaped.installed)} descriptors"
    given = dict(zip(shaped.installed, opened, strict=True))
    pidfds = {index for piece in shaped.pieces if piece.cloexec for index in piece.shown}
    closing = {number: shaped.cloexec or index in pidfds for index, number in given.items()}
    return Seen(render(shaped, given, FILL * shaped.controllen), shaped.flags, closing)


@cache
def supported(option: int) -> bool:
    """Say whether the running kernel has the option on a stream."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        try:
            ours.setsockopt(socket.SOL_SOCKET, option, 1)
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Situation:
    """A message with groups of so many descriptors, and the options of the receiver's socket that this kernel has."""

    groups: tuple[int, ...]
    wanted: tuple[int, ...] = ()
    kind: int = socket.SOCK_STREAM

    @property
    def options(self) -> tuple[int, ...]:
        return tuple(option for option in self.wanted if supported(option))

    @property
    def indices(self) -> tuple[tuple[int, ...], ...]:
        starts = [1 + sum(self.groups[:at]) for at in range(len(self.groups))]
        return tuple(tuple(range(start, start + count)) for start, count in zip(starts, self.groups, strict=True))


CRED = socket.SO_PASSCRED
SITUATIONS = {
    "one": Situation((1,)),
    "three": Situation((3,)),
    "two groups": Situation((2, 3)),
    "groups, one empty": Situation((1, 0, 2, 1)),
    "plain": Situation(()),
    "credentials alone": Situation((), (CRED,)),
    "credentials": Situation((3,), (CRED,)),
    "credentials and groups": Situation((1, 2), (CRED,)),
    "pidfd": Situation((2,), (SO_PASSPIDFD,)),
    "credentials and pidfd": Situation((1,), (CRED, SO_PASSPIDFD)),
    "unread bytes": Situation((2,), (SO_INQ,)),
    "timestamp": Situation((2,), (SO_TIMESTAMP,), socket.SOCK_DGRAM),
    "packet": Situation((2,), (CRED,), socket.SOCK_SEQPACKET),
}


class Pair:
    """Two connected sockets in a situation."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, situation.kind)
        for option in situation.options:
            self.theirs.setsockopt(socket.SOL_SOCKET, option, 1)
        self.send()
        self.others = self.look(0)

    def send(self) -> None:
        """Send the situation's message."""
        fd = self.ours.fileno()
        rights = [
            (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd] * count)) for count in self.situation.groups
        ]
        self.ours.sendmsg([b"x"], rights)

    def look(self, flags: int) -> tuple[Other, ...]:
        """Receive with all room, and return what comes beside the rights."""
        found: list[Other] = []
        for level, kind, payload in self.theirs.recvmsg(64, 4096, flags)[1]:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                for (number,) in struct.iter_unpack("=i", payload):
                    os.close(number)
            elif (level, kind) == (socket.SOL_SOCKET, SCM_PIDFD):
                os.close(struct.unpack("=i", payload)[0])
                found.append(Other(level, kind, descriptor=PIDFD, behind=True))
            else:
                found.append(Other(level, kind, payload, behind=kind == SCM_INQ))
        return tuple(found)

    def difference(self, asked: Asked) -> str:
        """Receive one message as ``asked``; return how that differs from what `shape` says, nothing where it does not."""
        self.send()
        timed = SO_TIMESTAMP in self.situation.wanted
        others = self.look(socket.MSG_PEEK) if timed else self.others
        real = receive(self.theirs, asked)
        peek = bool(asked.flags & socket.MSG_PEEK)
        if peek:
            self.look(0)
        shaped = shape(LINUX, Arrived(b"x", self.situation.indices, others, 0, peek), asked)
        told = said(shaped, real.opened)
        return "" if told == real else f"{asked}: {real} came, {told} said"

    def differences(self, every: Iterator[Asked]) -> list[str]:
        return [text for text in map(self.difference, every) if text]

    def close(self) -> None:
        self.ours.close()
        self.theirs.close()


@pytest.fixture(params=SITUATIONS)
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(SITUATIONS[request.param])
    yield made
    made.close()


def in_child(check: Callable[[], list[str]]) -> str:
    """Return what ``check`` finds in a forked child, whose limits are its own."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            found = "\n".join(check())
        except BaseException:
            found = traceback.format_exc()
        with os.fdopen(write, "w") as stream:
            stream.write(found)
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as stream:
        found = stream.read()
    assert os.waitpid(child, 0)[1] == 0
    return found


def test_every_room(pair: Pair):
    assert pair.differences(Asked(room=room, flags=flags) for room in ROOMS for flags in (0, CLOEXEC)) == []


def test_no_control_buffer(pair: Pair):
    assert pair.differences(Asked(control=False, room=room) for room in (0, 1, 64)) == []


def test_a_buffer_that_cannot_be_written(pair: Pair):
    assert pair.differences(Asked(room=room, writable=False) for room in ROOMS) == []


def test_a_peek(pair: Pair):
    if SO_INQ not in pair.situation.wanted:  # a peek and a receive tell different numbers of unread bytes
        assert pair.differences(Asked(room=room, flags=socket.MSG_PEEK) for room in ROOMS) == []


@pytest.mark.parametrize("name", SITUATIONS)
def test_every_number_of_free_numbers(name: str):
    every = (Asked(room=room, free=free) for free in range(6) for room in (0, 16, 20, 24, 28, 36, 52, 64, 80, 120))
    assert in_child(lambda: Pair(SITUATIONS[name]).differences(every)) == ""


def test_the_comparison_sees_a_difference():
    """macOS is not Linux: the same comparison finds that out."""
    pair = Pair(SITUATIONS["three"])
    pair.send()
    real = receive(pair.theirs, Asked(room=20))
    pair.close()
    shaped = shape(find("macos"), Arrived(groups=((1, 2, 3),)), Asked(room=20))
    assert said(shaped, real.opened) == "3 descriptors"
    assert len(real.opened) == 1
