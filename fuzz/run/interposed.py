"""Programs whose system calls are met by the harness: planned faults, forged control data, and systems that are not this one.

Any profile. The testee of the stand is started under a kernel in the middle and kept; programs are executed one at a time. The
connections of a program and the descriptors that it passes are watched, nothing else is touched.
"""

from __future__ import annotations

import fcntl
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, cast

from msgspec.structs import replace

from ...conformance.census import Identity
from ...conformance.interpose import forge
from ...conformance.interpose.calls import Name
from ...conformance.interpose.faults import Fault, Trouble, failing, showing, taking
from ...conformance.interpose.held import Held
from ...conformance.interpose.kernel import CLOSE, FCNTL, RECEIVE, SEND, Kernel
from ...conformance.interpose.memory import BadAddress, TooLarge, signed
from ...conformance.interpose.perform import LINUX, RIGHTS, Came
from ...conformance.interpose.perform import Shown as Image
from ...conformance.interpose.personality import Personality
from ...conformance.interpose.personality_rules import Effect
from ...conformance.model import flags as f
from ...conformance.model.control import lay_out, walk
from ...conformance.model.operations import NOWHERE, Close, Credentials, Kind, Pair, Receive, Send, SetOption
from ...conformance.model.state import Ids
from ...impls.errors import Unsupported
from ...impls.process import Line
from ...impls.protocol.values import Profile
from ..forging import Builder, build
from ..operations import Calls, End, Fail, Forge, Operation, SetMore, Short, Take, TakeOne, end_of
from ..program import Program, System
from .calls import Seat, execute_calls
from .peerend import OPTIONS
from .requests import flags_of
from .shown import Execution, Left, Shown
from .stand import HarnessFault, Stand
from .transports import TransportSeat, execute_transport

RETRY = 0.08
"""Seconds within which a transport tries again what failed for want of memory; it is given them for as long as it does."""
_SHORTAGES = (Trouble.ENOBUFS, Trouble.ENOMEM, Trouble.ETOOMANYREFS)
"""Errors after which nothing announces that a call would succeed now."""
_TELLERS = (Builder.FIRST_TELLS, Builder.SECOND_TELLS)
_NOTHING_BEHIND = tuple(forge.Behind).index(forge.Behind.NOTHING)
_WITH_CONTROL = (Name.RECVMSG, Name.RECVMMSG)
_CALLS = {Calls.SEND: SEND, Calls.RECEIVE: RECEIVE}


class Watch:
    """What stands between the testee and its kernel during one program, and what it has done."""

    def __init__(self, kernel: Kernel, seat: Seat) -> None:
        self.kernel = kernel
        self.seat = seat
        self.plans: dict[int, Fault] = {}
        """The planned faults by the index of the operation."""
        self.groups: deque[list[int]] = deque()
        self._lines = seat.stand.testee.lines
        self.impossible = ""
        """Why what the program needs cannot be done."""
        self._waited = -1
        self._known: set[Identity] = set()
        self._streams: set[Identity] = set()

    def begin(self) -> None:
        """Look at connection 0 and at what the program passes, from here on."""
        labels = self.seat.things.labels
        kernel = self.kernel
        kernel.watch((), lambda one: (one.device, one.inode) in labels, self._tell, lambda: self.groups)
        self.look(self.seat.program.type)

    def _tell(self, call: str, how: str, control: bytes) -> None:
        self._lines.append(Line(time.monotonic(), "kernel", call, how.encode(), control))

    def look(self, kind: Kind) -> None:
        """Look at the connections that are new, which are of ``kind``."""
        names = self.seat.things.labels.items()
        new = {Identity(*key) for key, label in names if label[:1] == "t"} - self._known
        self._known |= new
        if kind is Kind.STREAM:
            self._streams |= new
        self.kernel.also(*new)

    def plan(self, op: Fail | Short | Forge) -> None:
        """Plan what an operation asks for."""
        at = next(
            index for index, one in enumerate(self.seat.program.operations) if one is op and index not in self.plans
        )
        self.plans[at] = _PLANS[type(op)](self, op)

    def fail(self, op: Fail) -> Fault:
        """Let calls fail."""
        error = op.error.name
        if op.calls is Calls.CLOSE:
            return self.kernel.fails_close(error, nth=op.nth, times=op.times)
        if op.calls is Calls.FCNTL:
            return self.kernel.plan(failing(error), FCNTL, nth=op.nth, times=op.times, what=error, only=_seals)
        return self.kernel.fails(error, _CALLS[op.calls], nth=op.nth, times=op.times)

    def short(self, op: Short) -> Fault:
        """Let sends on streams be short."""
        streams = self._streams
        return self.kernel.plan(
            taking(op.count),
            SEND,
            nth=op.nth,
            times=op.times,
            what=f"{op.count} bytes taken",
            only=lambda held: held.identity in streams and _is_sound(held),
        )

    def forge(self, op: Forge) -> Fault:
        """Let a receive see forged control data."""
        numbers = op.numbers
        if op.builder in _TELLERS and numbers[0] in forge.HUGE:  # what it told too much of would be read by right
            numbers = (numbers[0], _NOTHING_BEHIND)
        made = build(op.builder, numbers, [self.seat.number(one) for one in op.bait])

        def show(came: Came, held: Held) -> Image:
            if any((part.level, part.type) != RIGHTS and not isinstance(part.content, bytes) for part in came.parts):
                self.impossible = "control data was to be forged of a message with a process descriptor"
            return forge.fitted((_fair(op, numbers, came) or made)(came), held.wanted.control_length)

        return self.kernel.plan(showing(show), _WITH_CONTROL, nth=op.nth, what="other control data", only=_is_sound)

    def sent(self, op: Send, shown: Shown) -> None:
        """Take note of how the peer has grouped descriptors, for systems that do not merge them."""
        if shown.failed or not shown.value:
            return
        numbers = lay_out(op, self.seat.peer.number, Ids(0, 0, 0))
        kinds = [one for one in walk(numbers) if one is not None and one[:2] == (f.SOL_SOCKET, f.SCM_RIGHTS)]
        sizes = [len(data) // 4 for _, _, data in kinds]
        if any(sizes):
            self.groups.append(sizes)

    @property
    def acted(self) -> tuple[int, ...]:
        """The operations whose faults have acted."""
        return tuple(sorted(at for at, fault in self.plans.items() if fault.acted))

    def patience(self) -> float:
        """Return how many seconds a transport gets for what it puts off; 0 where nothing has failed since it got some."""
        operations = self.seat.program.operations
        acted = sum(
            fault.acted
            for at, fault in self.plans.items()
            if isinstance(op := operations[at], Fail) and op.error in _SHORTAGES
        )
        if not acted or acted == self._waited:
            return 0.0
        self._waited = acted
        return RETRY

    def rest(self) -> list[str]:
        """Let every call go on; return a sentence for each close(2) that was wrong. Raises HarnessFault, Unsupported."""
        kernel = self.kernel
        kernel.rest()
        faults = kernel.faults()
        if faults:
            raise HarnessFault(f"the interposer could not answer a call: {faults[0]!r}") from faults[0]
        impossible = kernel.impossible or self.impossible
        if impossible:
            raise Unsupported("interposer", impossible)
        found = [f"descriptor {fd} was closed although it was not open" for fd in kernel.closed_in_vain if fd < NOWHERE]
        negative = [one.fd for one in kernel.calls(CLOSE) if one.fd < 0]
        if negative and not any(
            isinstance(one, Close) and isinstance(one.name, int) for one in self.seat.program.operations
        ):
            found.append(f"the number {negative[0]}, which stands for a refused descriptor, was closed")
        return found


def _fair(op: Forge, numbers: Sequence[int], came: Came) -> forge.Forge | None:
    """Return what is shown where the builder would show what nobody can get right; None where it would not."""
    count = len(came.fds)
    if op.builder is Builder.MISALIGNED and count % 2 == 0:  # nothing is misaligned
        return forge.split(count)
    if op.builder is Builder.UNTRUNCATED and 0 < numbers[0] < LINUX.length(forge.INT * count):
        return forge.untruncated()  # numbers behind a message that looks sound are nowhere
    return None


def _is_sound(held: Held) -> bool:
    """Whether the kernel would not refuse a call for a flag that is not for programs, which the harness makes without it."""
    try:
        return not held.wanted.flags & f.COMPAT
    except (BadAddress, TooLarge):
        return False


def _seals(held: Held) -> bool:
    return signed(held.arguments[1]) == fcntl.F_SETFD


_PLANS: dict[type[Operation], Callable[[Watch, Any], Fault]] = {
    Fail: Watch.fail,
    Short: Watch.short,
    Forge: Watch.forge,
}


class _Watched(Seat):
    """What interposed seats have in common; goes in front of a seat."""

    watch: Watch | None = None

    def begin(self) -> None:
        """Make connection 0, and look at it."""
        super().begin()
        assert self.stand.kernel is not None  # noqa: S101 - `execute_interposed` has seen to it
        self.watch = Watch(self.stand.kernel, self)
        self.watch.begin()

    def perform(self, op: Operation) -> Shown:
        """Do one operation, or plan what it asks for."""
        watch = self.watch
        if watch is None:
            return super().perform(op)
        if isinstance(op, (Fail, Short, Forge)):
            watch.plan(op)
            return Shown()
        shown = super().perform(op)
        if isinstance(op, Send) and end_of(op.name) is End.PEER:
            watch.sent(op, shown)
        elif isinstance(op, Pair):
            watch.look(op.kind)
        return shown

    def finish(self) -> Left:
        """Let every call go on, and take the account."""
        stray = self.watch.rest() if self.watch is not None else []
        left = super().finish()
        return replace(left, stray=(*left.stray, *stray))


class InterposedSeat(_Watched):
    """A program of profile message or descriptors."""


class InterposedTransportSeat(_Watched, TransportSeat):
    """A program of profile transport."""

    def patience(self) -> float:
        """Return how many seconds the loop goes on waiting at the end; 0 for none any more."""
        return super().patience() or (self.watch.patience() if self.watch is not None else 0.0)


def execute_interposed(stand: Stand, program: Program, *, careful: bool = False) -> Execution:
    """Execute one interposed program alone, on a stand with a kernel in the middle that shows itself as the program's system.

    Raises StartFailed and HarnessFault, and Unsupported where the system lacks what the program uses or the kernel in the middle
    could not do what was needed; all else is in what it returns.
    """
    kernel = stand.kernel
    if kernel is None:
        raise HarnessFault("an interposed program needs a stand with a kernel in the middle")
    has = kernel.system.personality.id if kernel.system is not None else System.HOST.value
    if has != program.system.value:
        raise HarnessFault(f"this stand's kernel shows itself as {has}, the program is for {program.system.value}")
    if kernel.system is not None:
        _see_that_it_has(kernel.system.personality, program)
    seats: list[_Watched] = []
    transport = program.profile is Profile.TRANSPORT
    kind = InterposedTransportSeat if transport else InterposedSeat

    def seat(stand: Stand, program: Program, *, careful: bool) -> Seat:
        seats.append(kind(stand, program, careful=careful))
        return seats[0]

    if transport:
        done = execute_transport(stand, program, careful=careful, seat=cast("type[TransportSeat]", seat))
    else:
        done = execute_calls(stand, program, careful=careful, seat=cast("type[Seat]", seat))
    watch = seats[0].watch
    return done if watch is None else replace(done, acted=watch.acted)


def _see_that_it_has(system: Personality, program: Program) -> None:
    """Raise Unsupported where the testee would use a flag or an option that the system does not have."""
    zeroes = any(one.effect is Effect.PEEK_ZEROES for one in system.differences)
    for op in program.operations:
        if end_of(getattr(op, "name", -1)) is End.PEER:
            continue
        used = [OPTIONS[op.option][0]] if isinstance(op, (SetOption, SetMore)) else flags_of(getattr(op, "flags", 0))
        if isinstance(op, Send) and any(isinstance(one, Credentials) for one in op.control):
            used = [*used, "SCM_CREDENTIALS"]
        if getattr(op, "flags", 0) & f.COMPAT:
            raise Unsupported("personality", "MSG_CMSG_COMPAT is not emulated")
        if zeroes and getattr(op, "flags", 0) & f.PEEK and isinstance(op, (Receive, Take, TakeOne)):
            raise Unsupported("personality", "a peek shows descriptor 0 there, which nobody can tell from a real one")
        lacking = [one for one in used if one in system.lacks]
        if lacking:
            raise Unsupported("personality", f"the emulated system has no {lacking[0]}")
