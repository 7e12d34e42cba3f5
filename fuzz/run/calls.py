"""Programs of the profiles message and descriptors, one at a time, operation by operation.

A `Seat` is one program on a stand. Executors of other profiles, and of interposed programs, are seats with other verbs.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from typing import Any, ClassVar

from msgspec.structs import replace

from ...conformance.census import Identity, NotOpen, same_description
from ...conformance.layout import Layout, Malformed
from ...conformance.model.kernel import collect
from ...conformance.model.operations import NOWHERE, Close, Collect, Number, Open, Pair, Released, Room, Send
from ...conformance.model.state import Ids
from ...conformance.transcript import TEXT, shorten
from ...impls.errors import Broken, StartFailed, TesteeError, Unsupported
from ...impls.process import Line
from ...impls.protocol import Reply
from ...impls.protocol import messages as ask
from ...impls.protocol.results import AcceptResult, FdResult, ResetResult
from ...impls.protocol.values import ObjectKind, Profile
from ..operations import End, Make, Operation, end_of
from ..program import Program, Side
from ..text import line_of
from . import account
from .objects import Things
from .peerend import PeerEnd, failure
from .replies import Got, got
from .requests import TYPES, Dialect, nonblocking, request_of
from .shown import CLOSED, UNKNOWN, Execution, Left, Shown, Trouble
from .stand import KINDS, Stand

LINES = 400
"""Lines of a transcript that are kept."""
BREACHES = {"Crashed": "crash", "TimedOut": "hang", "Broken": "protocol"}
"""What a testee's failure is called."""


class Seat:
    """One program on a stand. `begin`, `perform` each operation, `finish`; and `drop` in any case."""

    VERBS: ClassVar[dict[type[Operation], Callable[[Any, Any], Shown]]]
    """How the testee's operations are done, but for those that are one request; the peer's are `PeerEnd`'s."""

    def __init__(self, stand: Stand, program: Program, *, careful: bool) -> None:
        self.stand = stand
        self.program = program
        self.careful = careful
        self.things = Things(stand.shelf)
        self.numbers: dict[str, int] = {}
        """What each name of the testee's stands for; `NOWHERE` once it is closed."""
        self.held: dict[int, Identity] = {}
        """What the testee opened at our request or handed over, and what that must go on referring to until it is closed."""
        self.sockets: set[int] = set()
        """Those numbers that the testee drops by itself at reset."""
        self.pidfds: dict[int, Identity] = {}
        """Numbers that came in other control messages than SCM_RIGHTS."""
        self.dialect = dialect_of(stand, program)
        self.peer = PeerEnd(self.things, stand.table, self._own_number, careful=careful)

    # ---- the life of a program -----------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Make connection 0. Raises TesteeError."""
        program = self.program
        self.stand.warm(f"{self.dialect.profile}/{program.side}", self.warm_up)
        if failed := self.connect(program.type, "t0", "p0", program.side):
            raise Broken("operation", f"the testee cannot connect: {failed.kind} {failed.error} {failed.message}")

    def perform(self, op: Operation) -> Shown:
        """Do one operation. Raises TesteeError and Malformed."""
        if isinstance(op, Collect):
            return self._collect(op)
        if end_of(getattr(op, "name", -1)) is End.PEER and not isinstance(op, Released):
            return self.peer.perform(op)
        verb = self.VERBS.get(type(op))
        return self._ask(op) if verb is None else verb(self, op)

    def finish(self) -> Left:
        """Take the account, reset, and take it again; let go of the peer's end. Raises TesteeError."""
        stand, things = self.stand, self.things
        stand.leave_numbers(None)
        stand.testee.check()
        now = stand.table.identities()
        labels = account.open_labels(stand, things, now, self.pidfds)
        stray = account.strays(stand, things, now, self.held)
        stray += self._reset(now)
        after = stand.table.identities()
        stray += [one for one in account.baseline_strays(stand, after) if one not in stray]
        leaked = account.leaks(stand, things, after)
        self.peer.close()
        things.drop()
        return Left(labels, tuple(stray), leaked, account.released(things.fifos))

    def drop(self) -> None:
        """Let go of everything that the harness holds. May be called again."""
        self.peer.close()
        self.things.close()

    def _reset(self, now: dict[int, Identity]) -> list[str]:
        mine = [fd for fd, one in {**self.held, **self.pidfds}.items() if fd not in self.sockets and now.get(fd) == one]
        mine += account.marked(self.stand, now)
        mine += [fd for fd in account.untold(self.stand, self.things, now) if fd not in mine]
        reply = self.stand.testee.ask(ask.Reset(close=mine))
        if not isinstance(reply.result, ResetResult):
            raise Broken("reset", f"reset must be answered with a result: {reply.error or reply.unsupported}")
        return [
            f"descriptor {one.fd} was closed behind the caller's back: close(2) says {one.errno}"
            for one in reply.result.failed
        ]

    # ---- connections ---------------------------------------------------------------------------------------------------

    def connect(self, kind: Any, a: str, b: str, side: Side = Side.CLIENT) -> Shown | None:  # noqa: ANN401 - a Kind
        """Connect the testee's ``a`` to the peer's ``b``; return None, or the error that the testee had."""
        if kind is not kind.DGRAM:
            return self._serve(kind, a, b) if side is Side.SERVER else self._call(kind, a, b)
        return self._address(kind, a, b)

    def _call(self, kind: Any, a: str, b: str) -> Shown | None:  # noqa: ANN401 - a Kind
        _, path = self.stand.listener(kind)
        reply = self._asked(ask.Connect(path, TYPES[kind]))
        if not isinstance(reply.result, FdResult):
            return self._not_connected(reply, a, b)
        self._connected(a, reply.result.fd)
        self.peer.adopt(b, self.stand.accept(kind))
        return None

    def _serve(self, kind: Any, a: str, b: str) -> Shown | None:  # noqa: ANN401 - a Kind
        path = self.stand.path("serve")
        listening = self._worked(ask.Listen(path, TYPES[kind]), FdResult).fd
        sock = socket.socket(socket.AF_UNIX, KINDS[kind])
        try:
            sock.connect(path)
            os.unlink(path)  # noqa: PTH108 - hot path; the name has served
            made = self._worked(ask.Accept(listening), AcceptResult).fd
            self._worked(ask.Close(listening), object)
        except BaseException:
            sock.close()
            raise
        self._connected(a, made)
        self.peer.adopt(b, sock)
        return None

    def _address(self, kind: Any, a: str, b: str) -> Shown | None:  # noqa: ANN401 - a Kind
        ours, theirs = self.stand.path("peer"), self.stand.path("testee")
        sock = socket.socket(socket.AF_UNIX, KINDS[kind])
        try:
            sock.bind(ours)
            reply = self._asked(ask.Connect(ours, TYPES[kind], bind=theirs))
            if not isinstance(reply.result, FdResult):
                sock.close()
                os.unlink(ours)  # noqa: PTH108 - hot path
                return self._not_connected(reply, a, b)
            sock.connect(theirs)
            os.unlink(theirs)  # noqa: PTH108 - hot path; the names have served
            os.unlink(ours)  # noqa: PTH108 - as above
        except BaseException:
            sock.close()
            raise
        self._connected(a, reply.result.fd)
        self.peer.adopt(b, sock)
        return None

    def _connected(self, name: str, fd: int) -> None:
        self.opened(name, fd)
        self.sockets.add(fd)
        self._worked(nonblocking(fd), object)

    def _not_connected(self, reply: Reply, a: str, b: str) -> Shown:
        self.numbers[a] = self.peer.numbers[b] = NOWHERE
        return got(reply).shown

    def warm_up(self) -> None:
        """Connect once, and let go of it."""
        seat = type(self)(self.stand, replace(self.program, operations=()), careful=False)
        try:
            if failed := seat.connect(self.program.type, "t0", "p0", self.program.side):
                raise Broken("operation", f"the testee cannot connect: {failed.kind} {failed.error} {failed.message}")
        finally:
            seat.drop()

    # ---- the account ---------------------------------------------------------------------------------------------------

    def number(self, name: Number) -> int:
        """Return the testee's number of a name, or a literal number itself."""
        return name if isinstance(name, int) else self.numbers.get(name, NOWHERE)

    def _own_number(self, name: str) -> int:
        return self.numbers.get(name, NOWHERE)

    def opened(self, name: str, fd: int) -> None:
        """Take account of a number that the testee opened at our request. Raises Broken where nothing new is there."""
        seen = self.stand.table.identity(fd)
        if seen is None or self.stand.baseline.get(fd) == seen:
            raise Broken(
                "operation", f"number {fd} was said to be new, and is {'not open' if seen is None else 'older'}"
            )
        self.numbers[name] = fd
        self.held[fd] = seen
        self.sockets.discard(fd)
        self.things.name(seen, name)

    def received(self, prefix: str, got: Got) -> Shown:
        """Take account of what an operation brought, and return what it showed with the labels of its descriptors."""
        table, baseline = self.stand.table, self.stand.baseline
        labels: list[str] = []
        for index, fd in enumerate(got.fds):
            seen = table.identity(fd)
            own = seen is not None and baseline.get(fd) == seen  # a lie: nobody may close that
            labels.append(UNKNOWN if own else self.things.label(seen))
            if prefix:
                self.numbers[f"{prefix}{index}"] = NOWHERE if own or seen is None else fd
            if seen is not None and not own:
                self.held[fd] = seen
                self.sockets.discard(fd)
        for fd in got.pidfds:
            seen = table.identity(fd)
            if seen is not None and baseline.get(fd) != seen:
                self.pidfds[fd] = seen
        if not labels:
            return got.shown
        if not self.careful:
            return replace(got.shown, files=tuple(labels))
        return replace(
            got.shown,
            files=tuple(labels),
            same=tuple(map(self._shares, labels, got.fds)),
            cloexec=tuple(map(self._cloexec, labels, got.fds)),
        )

    def _shares(self, label: str, fd: int) -> bool | None:
        """Whether ``fd`` and the number that its label was first given share an open file description."""
        pid = self.stand.testee.pid
        own = self.numbers.get(label, NOWHERE)
        if own != NOWHERE and self.things.label(self.stand.table.identity(own)) == label:
            return same_description(pid, own, pid, fd)
        theirs = self.peer.numbers.get(label, NOWHERE)
        return None if theirs == NOWHERE else same_description(pid, fd, os.getpid(), theirs)

    def _cloexec(self, label: str, fd: int) -> bool | None:
        if label == CLOSED:
            return None
        try:
            return self.stand.table.cloexec(fd)
        except NotOpen:
            return None

    def count(self) -> int:
        """Return how many descriptors the testee has open beside its baseline and what a runtime has opened for itself."""
        stand = self.stand
        beside = stand.table.count() - len(stand.baseline) - len(self.pidfds)
        if beside == len(self.held):
            return beside
        now = stand.table.identities()
        for fd, seen in now.items():
            if (
                fd not in self.held
                and fd not in stand.baseline
                and self.things.label(seen) == UNKNOWN
                and stand.is_own(fd, seen)
            ):
                stand.baseline[fd] = seen
        closed = sum(now.get(fd) != seen for fd, seen in self.pidfds.items())
        return len(now) - len(stand.baseline) - len(self.pidfds) + closed

    # ---- operations ----------------------------------------------------------------------------------------------------

    def _asked(self, request: ask.Request) -> Reply:
        """Ask, and return a result or an error. Raises Broken for `unsupported`, Unsupported for what was never offered."""
        self.stand.require(request)
        return offered(request, self.stand.testee.ask(request))

    def _worked(self, request: ask.Request, kind: type[Any]) -> Any:  # noqa: ANN401 - the result of the request
        reply = self._asked(request)
        if reply.error is not None or not isinstance(reply.result, kind):
            what = request.__struct_config__.tag
            raise Broken("operation", f"{what} failed: {reply.error or reply.result}")
        return reply.result

    def _ask(self, op: Operation) -> Shown:
        request = request_of(op, self.number, self.dialect)
        layout = None if isinstance(op, Send) else self.dialect.layout
        return self.received(getattr(op, "prefix", ""), got(self._asked(request), layout))

    def do_close(self, op: Close) -> Shown:
        """Close a name's number; the name stands for nothing from then on."""
        fd = self.number(op.name)
        shown = got(self._asked(ask.Close(fd))).shown
        if isinstance(op.name, str):
            self.numbers[op.name] = NOWHERE
        self.held.pop(fd, None)
        self.sockets.discard(fd)
        return shown

    def do_open(self, op: Open | Make) -> Shown:
        """Open an object."""
        socket_ = isinstance(op, Make) and op.kind is ObjectKind.SOCKET
        reply = self._asked(self._opening(op))
        if not isinstance(reply.result, FdResult):
            self.things.take_back(op.name)
            self.numbers[op.name] = NOWHERE
            return got(reply).shown
        fd = reply.result.fd
        self.opened(op.name, fd)
        if socket_:
            self.sockets.add(fd)
            self.things.own(self.stand.accept(TYPE_OF_SOCKETS).detach())
            self._worked(nonblocking(fd), object)
        elif self.things.label(self.held[fd]) != op.name:
            raise Broken("operation", f"open says number {fd}, which /proc shows as {self.stand.table.target(fd)!r}")
        return Shown()

    def _opening(self, op: Open | Make) -> ask.Request:
        if isinstance(op, Open):
            return ask.Open(self.things.fifo(op.name).path, ["O_WRONLY"])
        if op.kind is ObjectKind.FILE:
            return ask.Open(self.things.file(op.name).path, ["O_RDWR"])
        return ask.Connect(self.stand.listener(TYPE_OF_SOCKETS)[1], TYPES[TYPE_OF_SOCKETS])

    def do_pair(self, op: Pair) -> Shown:
        """Make a further connection."""
        return self.connect(op.kind, op.a, op.b) or Shown()

    def do_room(self, op: Room) -> Shown:
        """Leave so many numbers, from outside."""
        self.stand.leave_numbers(op.free)
        return Shown()

    def do_released(self, op: Released) -> Shown:
        """Look whether a FIFO has lost its last writer."""
        fifo = self.things.fifos.get(op.name)
        return failure("ENOENT") if fifo is None else Shown(value=int(fifo.released))

    def _collect(self, _: Collect) -> Shown:
        collect()
        return Shown(value=0)


TYPE_OF_SOCKETS = next(iter(KINDS))
"""The type of sockets that are objects: stream."""
Seat.VERBS = {
    Close: Seat.do_close,
    Open: Seat.do_open,
    Make: Seat.do_open,
    Pair: Seat.do_pair,
    Room: Seat.do_room,
    Released: Seat.do_released,
}


def dialect_of(stand: Stand, program: Program) -> Dialect:
    """Return how the stand's testee is spoken to for that program."""
    hello = stand.testee.hello
    ids = Ids(stand.testee.pid, os.getuid(), os.getgid())
    if program.profile is Profile.MESSAGE and Profile.MESSAGE not in hello.profiles and Profile.RAW in hello.profiles:
        return Dialect(Profile.RAW, ids, Layout.of(hello.profiles[Profile.RAW].limits))
    if program.profile not in hello.profiles:
        raise Unsupported("profile", f"profile {program.profile.value} is not offered")
    return Dialect(program.profile, ids)


def offered(request: ask.Request, reply: Reply) -> Reply:
    """Return ``reply``. Raises Broken where it is ``unsupported``, for only what was declared is ever asked.

    An API may offer two things, and no call for both of them at once: then it raises Unsupported.
    """
    if reply.unsupported is None:
        return reply
    kind = request.__struct_config__.tag
    if _asks_for(request) > 1:
        raise Unsupported("combination", f"{kind} with all of this is not offered: {reply.unsupported}")
    raise Broken("claimed-capability", f"{kind} was declared, and is answered with unsupported: {reply.unsupported}")


def _asks_for(request: ask.Request) -> int:
    """Return how many optional things a request of profile descriptors asks for at once."""
    if isinstance(request, ask.SendFds):
        return request.single + bool(request.flags) + (len(request.buffers) != 1)
    if isinstance(request, ask.RecvFds):
        return request.single + bool(request.flags) + (len(request.sizes) != 1)
    return 0


# ---- one program -------------------------------------------------------------------------------------------------------


def execute_calls(stand: Stand, program: Program, *, careful: bool, seat: type[Seat] = Seat) -> Execution:
    """Execute one program alone. Raises StartFailed, Unsupported and HarnessFault; all else is in what it returns."""
    lines = stand.page()
    said: list[tuple[int, str]] = []
    shown: list[Shown | None] = [None] * len(program.operations)
    at = 0
    left = trouble = None
    run = seat(stand, program, careful=careful)
    try:
        run.begin()
        for at, op in enumerate(program.operations):
            if careful:
                said.append((len(lines), f"operation {at}: {line_of(op)}"))
            one = run.perform(op)
            if careful and end_of(getattr(op, "name", -1)) is End.TESTEE:
                one = replace(one, open=run.count())
            shown[at] = one
            if careful:
                said.append((len(lines), f"shows {told(one)}"))
            trouble = trouble or noise_of(stand, at)
        at = len(program.operations)
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
    transcript = transcript_of(lines, said) if careful else ()
    return Execution(program, tuple(shown), left, trouble, careful=careful, transcript=transcript)


def noise_of(stand: Stand, at: int) -> Trouble | None:
    """Return the trouble that it is to have written what is no reply."""
    noise = stand.testee.noise if stand.running else []
    return Trouble("noise", at, f"it wrote what is no reply: {noise[0][:200]!r}") if noise else None


def told(shown: Shown) -> str:
    """Return what an operation showed, in words for people."""
    parts = [f"{name}={value!r}" for name, value in _fields(shown)]
    return shorten(", ".join(parts) or "nothing", TEXT)


def _fields(shown: Shown) -> list[tuple[str, object]]:
    default = Shown()
    return [
        (name, getattr(shown, name))
        for name in shown.__struct_fields__
        if getattr(shown, name) != getattr(default, name)
    ]


def transcript_of(lines: list[Line], said: list[tuple[int, str]]) -> tuple[str, ...]:
    """Return what was said between harness and testee, with the words of `said` in front of the line of that index."""
    start = lines[0].at if lines else time.monotonic()
    found: list[str] = []
    words = iter([*said, (len(lines), "")])
    at, word = next(words)
    for index, line in enumerate(lines):
        while at <= index and word:
            found.append(word)
            at, word = next(words)
        text = shorten(line.data.decode(errors="replace").rstrip("\n"))
        found.append(f"{line.at - start:9.6f} {line.actor} {line.kind}: {text}")
    found += [one for one in (word, *(later for _, later in words)) if one]
    return tuple(found if len(found) <= LINES else [*found[: LINES // 2], "…", *found[-LINES // 2 :]])
