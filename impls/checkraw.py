"""What `checkadapter` tries on a testee for kernels: the profile ``raw``, and what happens inside the kernel under test.

Everything is compared with a look from outside: numbers with /proc, children with the table of processes. No rule here
judges a kernel beyond what every kernel does (memory that is not there is EFAULT, a signal is EINTR).
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .protocol.capabilities import LAYOUT
from .protocol.messages import (
    Census,
    Collect,
    Fork,
    In,
    Limit,
    Make,
    Pair,
    RawCall,
    RawRecvmsg,
    RawSendmsg,
    Request,
    Wait,
)
from .protocol.results import (
    CensusResult,
    Empty,
    InResult,
    PairResult,
    ProcessResult,
    RawResult,
    WaitResult,
)
from .protocol.values import Memory, Msghdr, ObjectKind, Place, Profile, SocketType
from .trial import NOT_OFFERED, PATIENCE, Trial, expect

UNTOUCHED = "aa"
SOL_SOCKET, SCM_RIGHTS = 1, 1


def _limits(trial: Trial) -> Mapping[str, int]:
    return trial.hello.profiles[Profile.RAW].limits


def _has(trial: Trial, capability: str) -> bool:
    offer = trial.hello.profiles.get(Profile.RAW)
    return offer is not None and (not capability or capability in offer.capabilities)


def _pair(trial: Trial, kind: SocketType) -> tuple[int, int]:
    made = trial.result(Pair(type=kind), PairResult)
    assert isinstance(made, PairResult)  # noqa: S101 - checked by result()
    for fd in made.fds:
        trial.expect_socket(fd)
    return made.fds[0], made.fds[1]


def _raw(trial: Trial, request: Request) -> RawResult:
    result = trial.result(request, RawResult)
    assert isinstance(result, RawResult)  # noqa: S101 - checked by result()
    return result


def _rights(trial: Trial, fd: int) -> Msghdr:
    """Return a message of one byte that carries ``fd``, in the layout that hello told."""
    limits = _limits(trial)
    order = "big" if limits["big"] else "little"
    length, header = limits["header"] + limits["int"], limits["header"]
    head = length.to_bytes(limits["word"], order) + b"".join(
        number.to_bytes(limits["int"], order) for number in (SOL_SOCKET, SCM_RIGHTS)
    )
    size = header + -(-limits["int"] // limits["align"]) * limits["align"]
    control = Memory(data=head.hex(), size=size)
    return Msghdr(iov=[Memory(data="78")], control=control, control_fds={str(header): fd})


def _number(trial: Trial, control: str) -> int:
    limits = _limits(trial)
    data = bytes.fromhex(control)[limits["header"] : limits["header"] + limits["int"]]
    return int.from_bytes(data, "big" if limits["big"] else "little", signed=True)


# --- what is tried -----------------------------------------------------------------------------------------------------


def _layout(trial: Trial) -> str:
    """The layout of control messages that hello tells is one."""
    if Profile.RAW not in trial.hello.profiles:
        return NOT_OFFERED
    limits = _limits(trial)
    right = (
        limits["word"] in (4, 8)
        and limits["int"] == 4
        and limits["header"] >= limits["word"] + 2 * limits["int"]
        and limits["align"] in (1, 2, 4, 8)
        and limits["big"] in (0, 1)
    )
    expect(right, f"this is no layout: {dict(limits)}")
    return ", ".join(f"{name} {limits[name]}" for name in LAYOUT)


def _pairs(trial: Trial) -> str:
    """A pair is two sockets of the testee's, which reset closes."""
    if not trial.offers(Pair):
        return NOT_OFFERED
    before = trial.table()
    for kind in next(iter(trial.hello.profiles.values())).types:
        _pair(trial, kind)
    trial.reset()
    expect(trial.table() == before, "a socket of a pair is still open after reset")
    return ""


def _census(trial: Trial) -> str:
    """The census from inside is the one from outside."""
    if not trial.offers(Census):
        return NOT_OFFERED
    opened = trial.open()
    told = trial.result(Census(), CensusResult)
    assert isinstance(told, CensusResult)  # noqa: S101 - checked by result()
    outside = trial.table()
    expect(
        sorted(fact.fd for fact in told.descriptors) == sorted(outside),
        f"it tells the numbers {sorted(fact.fd for fact in told.descriptors)}, /proc shows {sorted(outside)}",
    )
    for fact in told.descriptors:
        real = os.stat(f"/proc/{trial.testee.pid}/fd/{fact.fd}")  # noqa: PTH116 - follows the descriptor, not a path
        expect(
            (fact.device, fact.inode) == (real.st_dev, real.st_ino),
            f"number {fact.fd} is told to be {fact.device}:{fact.inode}, it is {real.st_dev}:{real.st_ino}",
        )
        cloexec = bool(trial.flags(fact.fd) & os.O_CLOEXEC)
        expect(fact.cloexec == cloexec, f"number {fact.fd}: cloexec is told to be {fact.cloexec}, it is {cloexec}")
    trial.reset(opened)
    return f"{len(outside)} descriptors"


def _round_trip(trial: Trial) -> str:
    """A descriptor goes through sendmsg and recvmsg inside the testee on every declared type, and its number is true."""
    if not (_has(trial, "") and trial.offers(Pair)):
        return NOT_OFFERED
    types = trial.hello.profiles[Profile.RAW].types
    for kind in types:
        one, other = _pair(trial, kind)
        passed = trial.open()
        sent = _raw(trial, RawSendmsg(fd=one, messages=[_rights(trial, passed)]))
        expect(sent.returned == 1, f"{kind.value}: one byte was sent, sendmsg returned {sent.returned}, {sent.errno}")
        room = Msghdr(iov=[Memory(size=4)], control=Memory(size=64))
        got = _raw(trial, RawRecvmsg(fd=other, messages=[room]))
        expect(
            got.returned == 1,
            f"{kind.value}: one byte was to be received, recvmsg returned {got.returned}, {got.errno}",
        )
        expect(len(got.messages) == 1, f"{kind.value}: one message was asked for, {len(got.messages)} came back")
        message = got.messages[0]
        expect(
            message.iov == ["78" + 3 * UNTOUCHED],
            f"{kind.value}: the buffer holds {message.iov}; what the kernel does not touch must be shown as it was, 0xAA",
        )
        expect(
            len(message.control) == 128,
            f"{kind.value}: the control buffer of 64 bytes came back as {message.control!r}",
        )
        expect("msg_controllen" in message.changed, f"{kind.value}: `changed` does not name msg_controllen")
        number = _number(trial, message.control)
        expect(trial.refers(number, trial.file), f"{kind.value}: number {number} does not refer to what was sent")
        trial.reset(passed, number)
    return ", ".join(kind.value for kind in types)


def _closes(trial: Trial) -> str:
    """A raw_recvmsg with `close` leaves none of the descriptors open that it received."""
    if not (_has(trial, "") and trial.offers(Pair)):
        return NOT_OFFERED
    one, other = _pair(trial, trial.hello.profiles[Profile.RAW].types[0])
    passed = trial.open()
    before = trial.table()
    _raw(trial, RawSendmsg(fd=one, messages=[_rights(trial, passed)]))
    room = Msghdr(iov=[Memory(size=1)], control=Memory(size=64))
    got = _raw(trial, RawRecvmsg(fd=other, messages=[room], close=True))
    expect(got.returned == 1, f"recvmsg returned {got.returned}, {got.errno}")
    expect(trial.table() == before, "a received descriptor is still open")
    trial.reset(passed)
    return ""


def _many(trial: Trial) -> str:
    """Several messages go through sendmmsg and recvmmsg."""
    if not (_has(trial, "many") and trial.offers(Pair)):
        return NOT_OFFERED
    one, other = _pair(
        trial, SocketType.DGRAM if SocketType.DGRAM in trial.hello.profiles[Profile.RAW].types else SocketType.SEQPACKET
    )
    messages = [Msghdr(iov=[Memory(data=data)]) for data in ("61", "6262")]
    sent = _raw(trial, RawSendmsg(fd=one, messages=messages, many=True))
    rooms = [Msghdr(iov=[Memory(size=2)]) for _ in messages]
    got = _raw(trial, RawRecvmsg(fd=other, messages=rooms, many=True))
    expect(
        (sent.returned, got.returned) == (2, 2), f"two messages were sent: {sent.returned}; received: {got.returned}"
    )
    lengths = [message.returned for message in got.messages]
    expect(lengths == [1, 2], f"one and two bytes were sent, msg_len is told to be {lengths}")
    trial.reset()
    return ""


_READ = {
    Place.HEAP: (None, "61626364"),
    Place.NULL: ("EFAULT", ""),
    Place.UNMAPPED: ("EFAULT", ""),
    Place.READ_ONLY: ("EFAULT", 4 * UNTOUCHED),
    Place.THEN_UNMAPPED: (None, "61626364"),
    Place.THEN_READ_ONLY: (None, "61626364" + 4 * UNTOUCHED),
    Place.READ_ONLY_THEN_HEAP: ("EFAULT", 8 * UNTOUCHED),
}
"""A read of four bytes into memory at each place: the error, and what is to be seen of the memory afterwards."""
_SPLIT = frozenset({Place.THEN_UNMAPPED, Place.THEN_READ_ONLY, Place.READ_ONLY_THEN_HEAP})


def _places(trial: Trial) -> str:
    """Memory lies at the place that was asked for, and shows what can be read of it."""
    if not (_has(trial, "protection") and _has(trial, "calls") and trial.offers(Pair)):
        return NOT_OFFERED
    for place, (error, seen) in _READ.items():
        one, other = _pair(trial, SocketType.STREAM)
        _raw(trial, RawCall(name="write", fd=one, iov=[Memory(data="61626364")]))
        memory = Memory(size=8, place=place, split=4) if place in _SPLIT else Memory(size=4, place=place)
        got = _raw(trial, RawCall(name="recv", fd=other, iov=[memory], flags=["MSG_DONTWAIT"]))
        expect(
            got.errno == error or (place in _SPLIT and error is None and got.returned == 4),
            f"{place.value}: {error or 'no error'} was expected, recv returned {got.returned}, {got.errno}",
        )
        expect(got.iov == [seen], f"{place.value}: the memory must be shown as {seen!r}, {got.iov} came")
        trial.reset()
    return ", ".join(_READ)


def _alarm(trial: Trial) -> str:
    """An alarm interrupts a call that blocks."""
    if not (_has(trial, "alarm") and trial.offers(Pair)):
        return NOT_OFFERED
    _, other = _pair(trial, trial.hello.profiles[Profile.RAW].types[0])
    got = _raw(trial, RawRecvmsg(fd=other, messages=[Msghdr(iov=[Memory(size=1)])], alarm=0.01))
    expect(
        (got.returned, got.errno) == (-1, "EINTR"), f"EINTR was expected, recvmsg returned {got.returned}, {got.errno}"
    )
    trial.reset()
    return ""


def _limit(trial: Trial) -> str:
    """Limit sets the soft limit of the testee, and reset puts it back."""
    if not trial.offers(Limit):
        return NOT_OFFERED
    before = _open_files(trial)
    trial.result(Limit(resource="RLIMIT_NOFILE", soft=77), Empty)
    expect(_open_files(trial) == 77, f"RLIMIT_NOFILE was to be 77, /proc shows {_open_files(trial)}")
    trial.reset()
    expect(_open_files(trial) == before, f"RLIMIT_NOFILE was {before}, after reset it is {_open_files(trial)}")
    return ""


def _open_files(trial: Trial) -> int:
    text = Path(f"/proc/{trial.testee.pid}/limits").read_text(encoding="ascii")
    return int(next(line.split()[3] for line in text.splitlines() if line.startswith("Max open files")))


_MODES = {ObjectKind.FILE: stat.S_ISREG, ObjectKind.FIFO: stat.S_ISFIFO, ObjectKind.SOCKET: stat.S_ISSOCK}


def _make(trial: Trial) -> str:
    """Make makes files with their content, FIFOs and sockets."""
    if not trial.offers(Make):
        return NOT_OFFERED
    for kind, is_kind in _MODES.items():
        path = trial.directory / f"made-{kind.value}"
        trial.result(Make(kind=kind, path=str(path), data="6162" if kind is ObjectKind.FILE else ""), Empty)
        expect(path.exists() and is_kind(path.lstat().st_mode), f"there is no {kind.value} at the path")
        expect(kind is not ObjectKind.FILE or path.read_bytes() == b"ab", "the file does not hold its data")
    trial.reset()
    return ""


def _children(trial: Trial) -> str:
    """A forked child has the testee's descriptors, answers requests, and ends when it is to."""
    if not (trial.offers(Fork) and _has(trial, "calls")):
        return NOT_OFFERED
    opened = trial.open()
    made = trial.result(Fork(), ProcessResult)
    assert isinstance(made, ProcessResult)  # noqa: S101 - checked by result()
    expect(_parent(made.pid) == trial.testee.pid, f"process {made.pid} is no child of the testee's")
    told = _inside(trial, In(process=made.process, request=RawCall(name="getpid")))
    expect(
        told.get("result", {}).get("returned") == made.pid,
        f"a child with the pid {made.pid} answered getpid with {told}",
    )
    theirs = Path(f"/proc/{made.pid}/fd/{opened}")
    expect(theirs.exists() and theirs.samefile(trial.file), "the child has not got the testee's descriptor")
    later = trial.result(In(process=made.process, request=RawCall(name="getpid"), later=True), InResult)
    expect(isinstance(later, InResult) and later.reply is None, f"with `later` no reply is told, {later} came")
    told = _inside(trial, Collect(process=made.process))
    expect("result" in told, f"collect told {told}")
    ended = trial.result(Wait(process=made.process), WaitResult)
    expect(ended == WaitResult(code=0), f"a child that is told to end must exit with 0: {ended}")
    expect(not _alive(made.pid), "the child is still there after wait")
    made = trial.result(Fork(), ProcessResult)
    assert isinstance(made, ProcessResult)  # noqa: S101 - checked by result()
    trial.reset(opened)
    expect(not _alive(made.pid), "a child is still there after reset")
    return ""


def _inside(trial: Trial, request: Request) -> Mapping[str, Mapping[str, object]]:
    told = trial.result(request, InResult)
    assert isinstance(told, InResult)  # noqa: S101 - checked by result()
    expect(isinstance(told.reply, dict), f"the reply of a child is an object, {told.reply!r} came")
    return told.reply


def _parent(pid: int) -> int:
    """Return the parent of a process; 0 where there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        return 0


def _alive(pid: int) -> bool:
    """Whether there is such a process still, after it had time to go."""
    deadline = time.monotonic() + PATIENCE
    while _parent(pid):
        if time.monotonic() > deadline:
            return True
        os.sched_yield()
    return False


RAW_TRIALS: tuple[Callable[[Trial], str], ...] = (
    _layout,
    _pairs,
    _census,
    _round_trip,
    _closes,
    _many,
    _places,
    _alarm,
    _limit,
    _make,
    _children,
)
