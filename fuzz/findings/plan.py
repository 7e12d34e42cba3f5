"""What a stand-alone script does, as steps that every language can say: a program's operations as plain system calls.

The script is one process. Numbers below `LOW` are the implementation's, as its table would be; everything of the peer's is moved
above. Things are told apart by device and inode, as fdspec does it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Struct

from ...conformance.model import flags as f
from ...conformance.model.operations import (
    Call,
    Close,
    Collect,
    Control,
    Number,
    Open,
    Pair,
    Receive,
    Released,
    Rights,
    Room,
    Send,
    SetOption,
    Shutdown,
)
from ...impls.protocol.values import ObjectKind
from .. import operations as o
from ..operations import End, Operation, end_of
from ..program import Program
from ..run.peerend import OPTIONS, SHUT, option_value
from ..text import line_of


class _Step(Struct, frozen=True):
    """One thing that a script does."""


class Say(_Step, frozen=True):
    """The program's operation that begins here; ``note``: what else there is to know of it."""

    number: int
    line: str
    note: str = ""


class Done(_Step, frozen=True):
    """The operation ends here: what it showed is printed."""


class Note(_Step, frozen=True):
    """A comment."""

    text: str


class MakePair(_Step, frozen=True):
    """socketpair(2); the second end is the peer's."""

    kind: str
    a: str
    b: str


class MakeObject(_Step, frozen=True):
    """A new object under a name: the writing end of a pipe, a file, or a socket that is connected to the harness."""

    kind: str
    name: str


class CloseIt(_Step, frozen=True):
    """close(2)."""

    name: Number


class ShutIt(_Step, frozen=True):
    """shutdown(2)."""

    name: Number
    how: int


class SetIt(_Step, frozen=True):
    """setsockopt(2) at SOL_SOCKET."""

    name: Number
    option: int
    value: int


class SetLimit(_Step, frozen=True):
    """setrlimit(RLIMIT_NOFILE), so that exactly so many numbers are free below; -1: as at the start."""

    free: int


class AskReleased(_Step, frozen=True):
    """Ask whether a pipe has lost its last writer."""

    name: str


class CollectNow(_Step, frozen=True):
    """Have the kernel collect sockets in flight that nothing can reach."""


class SendIt(_Step, frozen=True):
    """A send: sendmsg(2), or write(2) where ``call`` says so. ``controllen``: None for the length of the control data."""

    name: Number
    data: tuple[bytes, ...]
    control: tuple[Control, ...] = ()
    controllen: int | None = None
    flags: int = 0
    call: str = "sendmsg"


class ReceiveIt(_Step, frozen=True):
    """A receive: recvmsg(2), recv(2) or read(2). ``prefix``: of the names of what comes."""

    name: Number
    sizes: tuple[int, ...]
    control: int | None
    flags: int
    call: str
    prefix: str


class SetCloexec(_Step, frozen=True):
    """fcntl(F_SETFD)."""

    name: Number
    on: bool


class DuplicateIt(_Step, frozen=True):
    """fcntl(F_DUPFD): another number, which the caller is not told of."""

    name: Number
    cloexec: bool


class GiveAway(_Step, frozen=True):
    """What the caller had is the implementation's from now on."""

    name: str


class HandOver(_Step, frozen=True):
    """The implementation hands its caller the received descriptors that refer to ``labels``, as ``prefix`` 0, 1, ..."""

    labels: tuple[str, ...]
    prefix: str


class Claim(_Step, frozen=True):
    """What the implementation told its caller, where that is not what its calls brought.

    None: as the calls have it. ``error``: '' for none.
    """

    error: str | None = None
    value: int | None = None
    data: bytes | None = None
    files: tuple[str, ...] | None = None
    flags: int | None = None


class Expect(_Step, frozen=True):
    """What the operation that has just been done has to show; None: nobody says.

    ``bad``: that is what it must *not* show. ``permitted``: what else there is to be said, for people.
    """

    error: str | None = None
    value: int | None = None
    data: bytes | None = None
    files: tuple[str, ...] | None = None
    flags: int | None = None
    cloexec: bool | None = None
    bad: bool = False
    permitted: tuple[str, ...] = ()


class Account(_Step, frozen=True):
    """The end: what must still be open is, and after everything known is closed nothing is left."""

    leak: bool
    stray: bool
    names: str = "tfr"
    """The first letters of the names that the caller has as descriptors: not those of a transport's sockets."""


class Probe(_Step, frozen=True):
    """Print what the operation shows, for who writes the script; in Python alone."""


class Recorded(_Step, frozen=True):
    """What no system call shows, and was seen when the script was written: it counts as shown."""

    text: str


Step = (
    Say
    | Done
    | Note
    | MakePair
    | MakeObject
    | CloseIt
    | ShutIt
    | SetIt
    | SetLimit
    | AskReleased
    | CollectNow
    | SendIt
    | ReceiveIt
    | SetCloexec
    | DuplicateIt
    | GiveAway
    | HandOver
    | Claim
    | Expect
    | Account
    | Recorded
    | Probe
)

TRANSPORTS = (o.Write, o.Queue, o.Give, o.Produce, o.Reading, o.Finish, o.Turn)
"""The operations that a transport alone has."""
LOW = 2048
"""The numbers below are the implementation's."""


def steps_of(operation: Operation) -> Iterator[Step]:
    """Yield the steps of one operation to the letter, a call each; of a transport's own operations the plainest calls."""
    make = _STEPS.get(type(operation))
    if make is None:
        yield Note("the harness lets one of the implementation's system calls do so; a plain program cannot")
    else:
        yield from make(operation)


def prefix_of(operation: Operation) -> str:
    """Return under which prefix an operation receives descriptors; '' for none."""
    return getattr(operation, "prefix", "")


def begin(program: Program) -> tuple[Step, ...]:
    """Return the connection that is there from the beginning."""
    return (MakePair(str(program.type), "t0", "p0"),)


def say(program: Program, index: int) -> Say:
    """Return the heading of an operation."""
    operation = program.operations[index]
    line = line_of(operation)
    return Say(index, line if len(line) <= 200 else f"{line[:190]}... ({len(line)} characters)")


def ends_at(operation: Operation) -> End:
    """Return whose operation it is."""
    return end_of(getattr(operation, "name", -1))


def rights_room(count: int) -> int | None:
    """Return the control buffer that is large enough for so many descriptors: CMSG_LEN; None for none."""
    return f.HEADER + 4 * count if count else None


# ---- each operation ----------------------------------------------------------------------------------------------------


def _send(op: Send) -> Iterator[Step]:
    yield SendIt(op.name, op.data, op.control, op.controllen, op.flags)


def _send_one(op: o.SendOne) -> Iterator[Step]:
    yield SendIt(op.name, op.data, (Rights((op.fd,)),), None, op.flags)


def _receive(op: Receive) -> Iterator[Step]:
    sizes = op.room if op.call is not Call.RECV else (sum(op.room),)
    yield ReceiveIt(op.name, sizes, op.control, op.flags, str(op.call), op.prefix)


def _take(op: o.Take) -> Iterator[Step]:
    yield ReceiveIt(op.name, op.sizes, rights_room(op.room), op.flags, "recvmsg", op.prefix)


def _take_one(op: o.TakeOne) -> Iterator[Step]:
    yield ReceiveIt(op.name, op.sizes, rights_room(1), op.flags, "recvmsg", op.prefix)


def _open(op: Open) -> Iterator[Step]:
    yield MakeObject("fifo", op.name)


def _make(op: o.Make) -> Iterator[Step]:
    yield MakeObject(str(ObjectKind(op.kind)), op.name)


def _pair(op: Pair) -> Iterator[Step]:
    yield MakePair(str(op.kind), op.a, op.b)


def _close(op: Close) -> Iterator[Step]:
    yield CloseIt(op.name)


def _shutdown(op: Shutdown) -> Iterator[Step]:
    yield ShutIt(op.name, SHUT[op.how][1])


def _set(op: SetOption | o.SetMore) -> Iterator[Step]:
    yield SetIt(op.name, OPTIONS[op.option][1], option_value(op))


def _room(op: Room) -> Iterator[Step]:
    yield SetLimit(-1 if op.free is None else op.free)


def _released(op: Released) -> Iterator[Step]:
    yield AskReleased(op.name)


def _collect(_: Collect) -> Iterator[Step]:
    yield CollectNow()


def _write(op: o.Write) -> Iterator[Step]:
    yield Note("the transport may wait for its event loop; here the data go out at once")
    yield SendIt(op.name, (op.data,))


def _queue(op: o.Queue | o.Give) -> Iterator[Step]:
    yield Note("a transport sends it beside a byte of its data; here it has a byte of its own")
    yield SendIt(op.name, (b"\0",), (Rights((op.fd,)),))
    if isinstance(op, o.Give):
        yield CloseIt(op.fd)


def _turn(op: o.Turn) -> Iterator[Step]:
    yield ReceiveIt(op.name, (65536,), rights_room(f.SCM_MAX_FD), 0, "recvmsg", op.prefix)


def _finish(op: o.Finish) -> Iterator[Step]:
    yield ShutIt(op.name, 1) if op.how is o.Ending.HALF else CloseIt(op.name)


def _nothing(_: Operation) -> Iterator[Step]:
    yield Note("of this no system call can be seen")


_STEPS: dict[type[Operation], Callable[[Any], Iterator[Step]]] = {
    Send: _send,
    o.SendOne: _send_one,
    Receive: _receive,
    o.Take: _take,
    o.TakeOne: _take_one,
    Open: _open,
    o.Make: _make,
    Pair: _pair,
    Close: _close,
    Shutdown: _shutdown,
    SetOption: _set,
    o.SetMore: _set,
    Room: _room,
    Released: _released,
    Collect: _collect,
    o.Write: _write,
    o.Queue: _queue,
    o.Give: _queue,
    o.Turn: _turn,
    o.Finish: _finish,
    o.Produce: _nothing,
    o.Reading: _nothing,
}
