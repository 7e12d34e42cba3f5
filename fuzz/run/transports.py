"""Programs of profile transport: what a program queues moves when its loop turns, and what the peer does is done at once.

All requests between two turns go in one ``steps``, the turn with them. The testee's end of connection 0 has the smallest send
buffer that there is, so that a few kilobytes fill it; further connections have the system's. At the end the limit of open
files is lifted, and the loop turns and the peer receives with ample room, one after the other, until nothing more comes.
"""

from __future__ import annotations

import itertools
import os
import resource
import socket
from collections.abc import Callable, Sequence
from typing import Any

from msgspec.structs import replace

from ...conformance.census import Identity
from ...conformance.layout import Malformed
from ...conformance.model.operations import (
    NOWHERE,
    Kind,
    Open,
    Pair,
    Receive,
    Room,
    Send,
    SetOption,
)
from ...impls.errors import Broken, StartFailed, TesteeError, Unsupported
from ...impls.process import Line
from ...impls.protocol import Reply
from ...impls.protocol import messages as ask
from ...impls.protocol.results import Event, EventsResult, StepsResult, TransportResult
from ...impls.protocol.values import Profile
from ..operations import (
    End,
    Ending,
    Finish,
    Give,
    Make,
    Operation,
    Produce,
    Queue,
    Reading,
    SetMore,
    Turn,
    Write,
    end_of,
)
from ..program import Program, Side
from ..text import line_of
from .calls import BREACHES, Seat, noise_of, offered, told, transcript_of
from .replies import Got, got
from .shown import CLOSED, UNKNOWN, Execution, Left, Shown, Told, Trouble
from .stand import KINDS, Stand
from .transport_names import FIRST, MISSING

NATURAL_ROUNDS = 3
"""Rounds of turning and receiving at the end that are made before that buffer is made ample."""
AMPLE = 1 << 20
MOST_ROUNDS = 2000
"""Rounds at the end after which a transport that still brings something brings it for ever."""
ROOM = 4096
"""Bytes of control buffer when the peer receives at the end: more than all that one message can bring."""
PATIENCE = 0.1
"""Seconds that a transport gets at the end for what it puts off, where something gave it a reason to."""

_AT_ONCE = (Send, Receive, Open, Make, SetOption, SetMore)
"""The peer's operations that do not show whether what the testee has queued was queued before them."""


class TransportSeat(Seat):
    """One program of profile transport on a stand."""

    def __init__(self, stand: Stand, program: Program, *, careful: bool) -> None:
        super().__init__(stand, program, careful=careful)
        self.handles: dict[str, int] = {}
        """The testee's number of each transport."""
        self.waiting: list[tuple[ask.Request, Callable[[Reply], Shown], int]] = []
        """Requests that were not made yet, with what becomes of their replies, and the operation."""
        self.done: dict[int, Shown] = {}
        """What operations have shown whose requests have been made since anybody asked."""
        self._was_tight = False
        self._first_socket = -1
        self._free: int | None = None

    # ---- connections ---------------------------------------------------------------------------------------------------

    def connect(self, kind: Kind, a: str, b: str, side: Side = Side.CLIENT) -> Shown | None:
        """Connect the transport ``a`` to the peer's ``b``; return None, or the error that the testee had."""
        return (self._accepted if side is Side.SERVER else self._connecting)(kind, a, b)

    def _connecting(self, kind: Kind, a: str, b: str) -> Shown | None:
        _, path = self.stand.listener(kind)
        reply = self._asked(ask.TransportConnect(path, self.program.receiver))
        if not isinstance(reply.result, TransportResult):
            self.numbers[a] = self.peer.numbers[b] = NOWHERE
            return got(reply).shown
        sock = self.stand.accept(kind)
        self._has(a, reply.result)
        self.peer.adopt(b, sock)
        return None

    def _accepted(self, kind: Kind, a: str, b: str) -> Shown | None:
        path = self.stand.path("serve")
        listening = self._worked(ask.TransportListen(path, self.program.receiver), TransportResult)
        sock = socket.socket(socket.AF_UNIX, KINDS[kind])
        try:
            sock.connect(path)
            os.unlink(path)  # noqa: PTH108 - hot path; the name has served
            made = self._worked(ask.TransportAccept(listening.transport), TransportResult)
        except BaseException:
            sock.close()
            raise
        self._has(a, made)
        self.peer.adopt(b, sock)
        return None

    def _has(self, name: str, made: TransportResult) -> None:
        self.handles[name] = made.transport
        seen = self.stand.table.identity(made.fd) if made.fd >= 0 else self._newest_socket()
        if seen is None:
            return
        self.things.name(seen, name)
        if name == FIRST and made.fd >= 0 and ask.Setopt.capability in self.stand.hello.capabilities:
            self._first_socket = made.fd
            self.waiting.append((ask.Setopt(made.fd, "SOL_SOCKET", "SO_SNDBUF", 0), _shown, -1))

    def _newest_socket(self) -> Identity | None:
        """Return the socket that a transport has which keeps its number to itself."""
        table, baseline = self.stand.table, self.stand.baseline
        now = table.identities().items()
        new = [(fd, one) for fd, one in now if baseline.get(fd) != one and self.things.label(one) == UNKNOWN]
        return max((one for fd, one in new if table.is_socket(fd)), key=lambda one: one.inode, default=None)

    # ---- operations ----------------------------------------------------------------------------------------------------

    def step(self, at: int, op: Operation) -> None:
        """Do operation ``at``, now or together with what follows it; what it showed is in `done` then."""
        verb = _QUEUED.get(type(op))
        if verb is not None:
            self._queue(at, op, verb)
            return
        if end_of(getattr(op, "name", -1)) is not End.PEER or not isinstance(op, _AT_ONCE):
            self.flush()
        self.done[at] = self.perform(op)

    def _queue(self, at: int, op: Any, verb: Callable[[int, Any, int], ask.Request]) -> None:  # noqa: ANN401 - one of `_QUEUED`
        handle = self.handles.get(op.name)
        if handle is None:
            self.done[at] = Shown(error="ENOTCONN", kind=MISSING, message=f"{op.name} could not be made")
            return
        if isinstance(op, Give) and self.number(op.fd) in self.sockets:
            message = "the testee's own sockets are not given away: it drops them at its reset"
            self.done[at] = Shown(error="ENOTSUP", kind=MISSING, message=message)
            return
        named: str | int = getattr(op, "fd", -1)
        if any(isinstance(one[0], ask.TransportSendFd) and one[0].give for one in self.waiting):
            self.flush()  # a name that was given away, or was not, stands for another number
        self.waiting.append((verb(handle, op, self.number(named)), self._reader(op), at))
        if isinstance(op, Turn):
            self.flush()

    def _reader(self, op: Operation) -> Callable[[Reply], Shown]:
        if isinstance(op, Turn):
            return lambda reply: self.heard(op.prefix, reply)
        if isinstance(op, Give):
            return lambda reply: self._given(op, reply)
        return _shown

    def _given(self, op: Give, reply: Reply) -> Shown:
        if reply.error is None and isinstance(op.fd, str):
            fd = self.numbers.get(op.fd, NOWHERE)
            self.numbers[op.fd] = NOWHERE  # the transport's from now on
            self.held.pop(fd, None)
        return got(reply).shown

    def heard(self, prefix: str, reply: Reply) -> Shown:
        """Return what a transport has told since it was asked last, and take account of the descriptors."""
        if not isinstance(reply.result, EventsResult):
            return got(reply).shown
        events = reply.result.events
        fds = [one.fd if isinstance(one.fd, int) else NOWHERE for one in events if one.event == "descriptor"]
        shown = self.received(prefix, Got(Shown(), fds, []))
        labels = iter(shown.files)
        return replace(
            shown,
            events=tuple(told_of(one, next(labels, CLOSED) if one.event == "descriptor" else "") for one in events),
            same=tuple(map(self._shares, shown.files, fds)),
            cloexec=tuple(self._cloexec(label, fd) for label, fd in zip(shown.files, fds, strict=True)),
        )

    def flush(self) -> None:
        """Make all requests that wait, in one turn of the loop."""
        waiting, self.waiting = self.waiting, []
        if not waiting:
            return
        requests = [request for request, _, _ in waiting]
        for (_, read, at), reply in zip(waiting, self.ask_all(requests), strict=True):
            shown = read(reply)
            if at >= 0:
                self.done[at] = shown

    def ask_all(self, requests: Sequence[ask.Request], extra: float = 0.0) -> list[Reply]:
        """Ask, in one round trip, and return all replies. Raises Broken where some are missing."""
        if len(requests) == 1:
            self.stand.require(requests[0])
            return [offered(requests[0], self.stand.testee.ask(requests[0], extra=extra))]
        for one in requests:
            self.stand.require(one)
        result = self.stand.testee.ask(ask.Steps(steps=list(requests), go_on=True), extra=extra).result
        if not isinstance(result, StepsResult) or len(result.replies) != len(requests):
            raise Broken("operation", f"steps of {len(requests)} requests must be answered with as many replies")
        return [offered(request, reply) for request, reply in zip(requests, result.replies, strict=True)]

    def do_pair(self, op: Pair) -> Shown:
        """Make a further connection, from the testee where it can. A limit of open files is no listener's affair."""
        if "client" in self.stand.hello.profiles[Profile.TRANSPORT].capabilities:
            return self.connect(op.kind, op.a, op.b) or Shown()
        free, self._free = self._free, None
        self.stand.leave_numbers(None)
        shown = self.connect(op.kind, op.a, op.b, Side.SERVER) or Shown()
        self.do_room(Room(free))
        return shown

    def do_room(self, op: Room) -> Shown:
        """Leave so many numbers, from outside. The limit is never below what is open: poll(2) of a loop would fail then."""
        self._free = op.free
        self._was_tight |= op.free is not None
        self.stand.leave_numbers(op.free)
        if op.free == 0:
            taken = set(self.stand.table.numbers())
            lowest = next(one for one in itertools.count() if one not in taken)
            pid = self.stand.testee.pid
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
        return Shown()

    # ---- the end -------------------------------------------------------------------------------------------------------

    def settle(self) -> tuple[Shown, ...]:
        """Turn and receive until nothing more comes. Each entry's ``message`` is the name of the end that it is of."""
        self.stand.leave_numbers(None)
        self.flush()
        found: list[Shown] = []
        ended: set[str] = set()
        wait = 0.0
        for number in range(MOST_ROUNDS):
            if number == NATURAL_ROUNDS and self._is_first():
                self.stand.testee.ask(ask.Setopt(self._first_socket, "SOL_SOCKET", "SO_SNDBUF", AMPLE))
            said = self._turn_all(wait)
            came = [one for name in self.peer.numbers if name[0] == "p" for one in self._drain(name, ended)]
            found += [*said, *came]
            wait = 0.0 if said or came else self.patience()
            if not (said or came or wait):
                return tuple(found)
        raise Broken("operation", f"it sends or tells something without end: {MOST_ROUNDS} rounds were not enough")

    def finish(self) -> Left:
        """Take the account, with a look at what was queued: a transport leaves the caller's descriptors as they were."""
        queued = {one.fd for one in self.program.operations if isinstance(one, Queue)}
        opened = {one.name for one in self.program.operations if isinstance(one, Open | Make)} - set(self.made)
        changed = [
            f"close-on-exec of {name}, descriptor {fd} of the caller's, was cleared"
            for name in sorted(str(one) for one in queued & opened)
            if self._cloexec(name, fd := self.numbers.get(name, NOWHERE)) is False
        ]
        left = super().finish()
        return replace(left, stray=(*left.stray, *changed))

    @property
    def made(self) -> list[str]:
        """The names of the testee's sockets, whose flags are the testee's own affair."""
        return [name for name, fd in self.numbers.items() if fd in self.sockets]

    def patience(self) -> float:
        """Return how many seconds the loop goes on waiting for what was put off, once all is quiet; 0 for none any more."""
        crowded = self._was_tight and os.geteuid() != 0  # the limit was that of descriptors in flight, too
        self._was_tight = False
        return PATIENCE if crowded else 0.0

    def _is_first(self) -> bool:
        """Whether the socket of connection 0 is still open."""
        fd = self._first_socket
        return fd >= 0 and self.things.label(self.stand.table.identity(fd)) == FIRST

    def _turn_all(self, wait: float = 0.0) -> list[Shown]:
        """Let every transport run, for ``wait`` seconds each at most, and return what those told that told something."""
        event = "lost" if wait else ""
        requests = [ask.TransportEvents(transport=one, event=event, wait=wait) for one in self.handles.values()]
        replies = self.ask_all(requests, wait * len(requests)) if requests else []
        said = [replace(self.heard("", reply), message=name) for name, reply in zip(self.handles, replies, strict=True)]
        return [one for one in said if one.events or one.failed]

    def _drain(self, name: str, ended: set[str]) -> list[Shown]:
        """Receive until nothing is there, or the end, which is taken note of in ``ended``."""
        found: list[Shown] = []
        while name not in ended and self.peer.numbers[name] != NOWHERE:
            shown = self.peer.perform(Receive(name, (65536,), ROOM))
            if shown.error == "EAGAIN":
                break
            found.append(replace(shown, message=name))
            if shown.failed or not any(shown.data):
                ended.add(name)
        return found


def _shown(reply: Reply) -> Shown:
    return got(reply).shown


def told_of(event: Event, label: str) -> Told:
    """Return an event as it is told. ``label``: of a descriptor, what it refers to."""
    data = bytes.fromhex(event.data) if isinstance(event.data, str) else b""
    return Told(event.event, data, label, event.error or "")


def _ending(handle: int, op: Finish, _: int) -> ask.Request:
    if op.how is Ending.HALF:
        return ask.TransportEnd(transport=handle)
    return ask.TransportClose(transport=handle, abort=op.how is Ending.ABORT)


_QUEUED: dict[type[Operation], Callable[[int, Any, int], ask.Request]] = {
    Write: lambda handle, op, _: ask.TransportWrite(transport=handle, data=op.data.hex()),
    Queue: lambda handle, _, fd: ask.TransportSendFd(transport=handle, fd=fd),
    Give: lambda handle, _, fd: ask.TransportSendFd(transport=handle, fd=fd, give=True),
    Produce: lambda handle, _op, _fd: ask.TransportProducer(transport=handle),
    Reading: lambda handle, op, _: ask.TransportReading(transport=handle, on=op.on),
    Finish: _ending,
    Turn: lambda handle, _op, _fd: ask.TransportEvents(transport=handle),
}
"""What goes to a transport, and waits for its loop to turn: the request, from its number, the operation and a descriptor."""

TransportSeat.VERBS = {**Seat.VERBS, Pair: TransportSeat.do_pair, Room: TransportSeat.do_room}


# ---- one program -------------------------------------------------------------------------------------------------------


def execute_transport(
    stand: Stand, program: Program, *, careful: bool, seat: type[TransportSeat] = TransportSeat
) -> Execution:
    """Execute one program alone. Raises StartFailed, Unsupported and HarnessFault; all else is in what it returns.

    With ``careful`` every request is made by itself, and the testee's descriptors are counted after each operation.
    """
    lines = stand.page()
    said: list[tuple[int, str]] = []
    at = 0
    left: Left | None = None
    trouble: Trouble | None = None
    drained: tuple[Shown, ...] = ()
    run = seat(stand, program, careful=careful)
    try:
        run.begin()
        for at, op in enumerate(program.operations):
            _one(run, at, op, lines, said)
            trouble = trouble or noise_of(stand, at)
        at = len(program.operations)
        drained = run.settle()
        left = run.finish()
        trouble = trouble or noise_of(stand, at)
    except (StartFailed, Unsupported):
        stand.retire()
        raise
    except TesteeError as fault:
        trouble = Trouble(BREACHES[type(fault).__name__], at, str(fault))
    except Malformed as fault:
        trouble = Trouble("protocol", at, f"the control data that it shows do not parse: {fault}")
    finally:
        run.drop()
    if left is None or left.stray or left.leaked or trouble is not None:
        stand.retire()
    shown = tuple(run.done.get(index) for index in range(len(program.operations)))
    transcript = transcript_of(lines, said) if careful else ()
    return Execution(program, shown, left, trouble, drained, careful=careful, transcript=transcript)


def _one(run: TransportSeat, at: int, op: Operation, lines: list[Line], said: list[tuple[int, str]]) -> None:
    """Do one operation, carefully where that is asked for."""
    if run.careful:
        said.append((len(lines), f"operation {at}: {line_of(op)}"))
    run.step(at, op)
    if not run.careful:
        return
    run.flush()
    if end_of(getattr(op, "name", -1)) is End.TESTEE:
        run.done[at] = replace(run.done[at], open=run.count())
    said.append((len(lines), f"shows {told(run.done[at])}"))


__all__ = ["TransportSeat", "execute_transport"]
