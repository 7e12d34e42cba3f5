"""Which system calls an implementation makes for each operation of a program: it runs once more with its calls held for a moment.

Every call goes on as it was made; it is only written down. Numbers are told by what they refer to, as ``@g0``.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Callable, Generator, Iterator, Sequence

from msgspec import Struct

from ...conformance.interpose.calls import CLOSE, FCNTL, RECEIVE, SEND, Name
from ...conformance.interpose.held import Answer, Held
from ...conformance.interpose.kernel import Kernel, in_the_middle
from ...conformance.interpose.memory import BadAddress, TooLarge, signed
from ...conformance.model import flags as f
from ...conformance.model.control import walk
from ...conformance.model.operations import Control, Number, Raw, Rights
from ...impls.process import Launch
from ...impls.protocol import Reply
from ...impls.protocol.messages import Request
from ...impls.protocol.values import Profile, ints_of
from ..operations import BAD, Operation
from ..program import Program
from ..run.calls import Seat, execute_calls
from ..run.shown import UNKNOWN, Execution, Shown
from ..run.stand import Stand
from ..run.transports import TransportSeat, execute_transport
from . import plan as p

MOST = 2000
"""Calls of one operation that are written down."""


class Recording(Struct, frozen=True):
    """What was recorded: the execution, and the calls of each operation that is one of the implementation's API.

    ``end``: what a transport did after the last operation, with what the peer received meanwhile.
    """

    execution: Execution
    calls: dict[int, tuple[p.Step, ...]]
    end: tuple[p.Step, ...] = ()


class Tape(Kernel):
    """A kernel in the middle that lets everything go on, and writes down what comes by while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.label: Callable[[Held, int], str] | None = None
        """Tells what a number of the caller refers to; None while nothing is written down."""
        self.taken: list[p.Step] = []

    def _handle(self, held: Held) -> Answer:
        label = self.label
        if label is not None and len(self.taken) < MOST:
            self.taken += _steps(held, label)
        return super()._handle(held)

    @contextlib.contextmanager
    def running(self, seat: Seat) -> Generator[list[p.Step]]:
        """Write down what comes by meanwhile; yields the list that it is written to."""
        taken = self.taken = []
        self.label = lambda held, number: seat.things.label(held.identity_of(number))
        try:
            yield taken
        finally:
            self.label = None


def record(launch: Launch, program: Program) -> Recording:
    """Run a program carefully, and return what was done. Raises as `execute_calls` does.

    Raises Unsupported where calls cannot be held here (see `fdspec.conformance.interpose.kernel.in_the_middle`).
    """
    in_the_middle().close()
    tape = Tape()
    stand = Stand(launch, kernel=tape)
    try:
        return (_of_transport if program.profile is Profile.TRANSPORT else _of_calls)(stand, tape, program)
    finally:
        stand.close()


def _of_calls(stand: Stand, tape: Tape, program: Program) -> Recording:
    calls: dict[int, tuple[p.Step, ...]] = {}

    class Recorder(Seat):
        """A seat that has the tape run during the calls of the implementation."""

        at = -1

        def perform(self, op: Operation) -> Shown:
            self.at += 1
            if not is_recorded(op):
                return super().perform(op)
            with tape.running(self) as taken:
                try:
                    return super().perform(op)
                finally:
                    calls[self.at] = tuple(taken)

    return Recording(execute_calls(stand, program, careful=True, seat=Recorder), calls)


def _of_transport(stand: Stand, tape: Tape, program: Program) -> Recording:
    calls: dict[int, tuple[p.Step, ...]] = {}
    end: list[p.Step] = []

    class Recorder(TransportSeat):
        """The same; what a transport does at the end, it does in turns with the peer."""

        ending = False

        def step(self, at: int, op: Operation) -> None:
            if not is_recorded(op):
                super().step(at, op)
                return
            with tape.running(self) as taken:
                try:
                    super().step(at, op)
                    self.flush()
                finally:
                    calls[at] = tuple(taken)

        def settle(self) -> tuple[Shown, ...]:
            self.ending = True
            return super().settle()

        def ask_all(self, requests: Sequence[Request], extra: float = 0.0) -> list[Reply]:
            if not self.ending:
                return super().ask_all(requests, extra)
            with tape.running(self) as taken:
                try:
                    return super().ask_all(requests, extra)
                finally:
                    end.extend(taken)

    return Recording(execute_transport(stand, program, careful=True, seat=Recorder), calls, tuple(end))


_RECORDED = (p.o.Take, p.o.TakeOne, p.o.SendOne, p.Send, p.Receive, *p.TRANSPORTS)


def is_recorded(operation: Operation) -> bool:
    """Whether an operation is a call of the implementation's API, of which it makes its own calls."""
    return isinstance(operation, _RECORDED) and p.ends_at(operation) is p.End.TESTEE


# ---- one call ----------------------------------------------------------------------------------------------------------


def _steps(held: Held, label: Callable[[Held, int], str]) -> Iterator[p.Step]:
    """Yield what the script does for one call; nothing for a call on something that is not the program's."""
    mine = _reference(held, held.fd, label)
    if held.name in CLOSE:
        if isinstance(mine, str):
            yield p.CloseIt(mine)
    elif not isinstance(mine, str):
        return
    elif held.name in FCNTL:
        command = signed(held.arguments[1])
        if command == fcntl.F_SETFD:
            yield p.SetCloexec(mine, bool(held.arguments[2] & fcntl.FD_CLOEXEC))
        elif command in (fcntl.F_DUPFD, fcntl.F_DUPFD_CLOEXEC):
            yield p.DuplicateIt(mine, command == fcntl.F_DUPFD_CLOEXEC)
    else:
        try:
            yield _message(held, mine, label)
        except (BadAddress, TooLarge) as reason:
            yield p.Note(f"{held.name}(2) on {mine[1:]} with memory that cannot be read: {reason}")


def _reference(held: Held, number: int, label: Callable[[Held, int], str]) -> Number:
    """Return how the script calls a number of the caller: by the thing, or a number that is not open."""
    found = label(held, number)
    if found not in (UNKNOWN, "-"):
        return f"@{found}"
    return number if number in BAD else BAD[-1]


_PLAIN = {Name.READ: "read", Name.READV: "read", Name.WRITE: "write", Name.WRITEV: "write"}


def _message(held: Held, mine: str, label: Callable[[Held, int], str]) -> p.Step:
    want = held.wanted
    sizes = tuple(length for _, length in want.pieces)
    flags = want.flags & 0xFFFFFFFF
    if held.name in RECEIVE:
        control = want.control_length if want.control else None
        return p.ReceiveIt(mine, sizes, control, flags, _PLAIN.get(held.name, "recvmsg"), "")
    assert held.name in SEND  # noqa: S101 - there are no others
    data = tuple(held.memory.read(base, length) for base, length in want.pieces)
    control = held.memory.read(want.control, want.control_length) if want.control else b""
    messages = tuple(_controls(held, control, label))
    exact = len(control) if messages else None
    return p.SendIt(mine, data, messages, exact, flags, _PLAIN.get(held.name, "sendmsg"))


def _controls(held: Held, control: bytes, label: Callable[[Held, int], str]) -> Iterator[Control]:
    """Yield the control messages of a send; one whose length is wrong is the last, with all that is there."""
    at = 0
    for one in walk(control):
        if one is None:
            length = int.from_bytes(control[at : at + 8], "little")
            level, kind = ints_of(control[at + 8 : at + f.HEADER])
            yield Raw(level, kind, control[at + f.HEADER :], length)
            return
        level, kind, data = one
        if (level, kind) == (f.SOL_SOCKET, f.SCM_RIGHTS) and len(data) % 4 == 0:
            yield Rights(tuple(_reference(held, number, label) for number in ints_of(data)))
        else:
            yield Raw(level, kind, data)
        at += f.align(f.HEADER + len(data))
