"""Many programs at once in one testee, in lockstep: each has a lane of its own, and nothing of it is any other's.

In every round each lane does its peer's operations, up to one of the testee's; then the testee is asked for what all lanes want
of it, in one request. Programs that limit the testee's numbers follow one after the other. There is one look at its table before
everything ends and one after it, and one reset.

The kernel is not made to collect descriptors in flight: that takes longer than a hundred programs do.

A batch is for programs that all go well. Whatever shows that one of them did not, or that something of one lane came into
another, throws the batch away: its programs are executed again, one by one, so that the fault is laid at the right door.
"""

from __future__ import annotations

import gc
import resource
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from ...conformance.layout import Malformed
from ...conformance.model.operations import (
    NOWHERE,
    Close,
    Kind,
    Open,
    Pair,
    Receive,
    Room,
    Send,
)
from ...impls.errors import StartFailed, TesteeError, Unsupported
from ...impls.protocol import Reply
from ...impls.protocol import messages as ask
from ...impls.protocol.results import ResetResult
from ...impls.protocol.values import ObjectKind
from ..operations import Make, Operation, Take
from ..program import Program, Side
from . import account
from .calls import TYPE_OF_SOCKETS, Seat, dialect_of, execute_calls, offered
from .connecting import Astray, Connecting, fd_of
from .lane import Lane, no_larger
from .objects import Fifo, Key, key_of
from .replies import Got
from .requests import TYPES, Dialect, request_of
from .shown import UNKNOWN, Execution, Left, Shown
from .stand import KINDS, Stand
from .swift import DECODER, Replies, Step, got

BATCH = 64
"""Programs of one batch."""
FULL = 0.75
"""The share of its numbers that a process may have open: beyond it one lane could take another's."""


def execute_many(stand: Stand, programs: Sequence[Program], *, batch: int = BATCH) -> list[Execution | Unsupported]:
    """Execute programs of the profiles message and descriptors that are not interposed, an entry each, in order.

    In place of an execution stands why a program could not be run. Raises StartFailed and HarnessFault.
    """
    found = dict(executions(stand, programs, batch=batch))
    return [found[index] for index in range(len(programs))]


def executions(
    stand: Stand, programs: Sequence[Program], *, batch: int = BATCH
) -> Iterator[tuple[int, Execution | Unsupported]]:
    """Yield what `execute_many` returns, each with its index, while `Stand.pid` is still that of its testee."""
    waiting: dict[tuple[str, Side], list[int]] = {}
    for index, program in enumerate(programs):
        waiting.setdefault((program.profile, program.side), []).append(index)
    for indices in waiting.values():
        for start in range(0, len(indices), batch):
            part = indices[start : start + batch]
            for index, done in zip(part, _batch(stand, [programs[index] for index in part]), strict=True):
                yield index, alone(stand, programs[index]) if done is None else done


def _batch(stand: Stand, programs: Sequence[Program]) -> list[Execution | Unsupported | None]:
    collects = gc.isenabled()
    gc.disable()  # nothing here refers to itself, and there is much to look through
    try:
        return Batch(stand, programs).execute()
    finally:
        if collects:
            gc.enable()


def alone(stand: Stand, program: Program) -> Execution | Unsupported:
    """Execute one program alone, not carefully."""
    try:
        return execute_calls(stand, program, careful=False)
    except Unsupported as reason:
        return reason


class Batch:
    """Programs of one profile and side that are executed in one go."""

    def __init__(self, stand: Stand, programs: Sequence[Program]) -> None:
        self.stand = stand
        self.programs = programs
        self.lanes: list[Lane] = []
        self.open: set[int] = set()
        """Every number that the testee has open, as far as it told."""
        self.listening: dict[int, Key] = {}
        """The testee's listeners, which belong to all lanes."""

    def execute(self) -> list[Execution | Unsupported | None]:
        """Return an execution each; only None where they have to be executed one by one. Raises StartFailed."""
        nothing: list[Execution | Unsupported | None] = [None] * len(self.programs)
        try:
            self._begin()
            self._together(self.lanes)
            for lane in self.lanes:
                if not lane.over:
                    self._limited(lane)
            done = self._finish()
        except StartFailed:
            raise
        except (
            TesteeError,
            Malformed,
            ValueError,
            Astray,
        ):  # ValueError: digits that are none, a result that does not fit
            self.stand.retire()
            return nothing
        finally:
            for lane in self.lanes:
                lane.close()
        if any(lane.leaked for lane in self.lanes):
            self.stand.retire()
        return done

    # ---- rounds --------------------------------------------------------------------------------------------------------

    def _steps(self, steps: list[ask.Request]) -> list[Step]:
        if not steps:
            return []
        request = ask.Steps(list(steps), go_on=True)
        self.stand.require(request)
        reply = self.stand.testee.ask(request, decoder=DECODER)
        if not isinstance(reply.result, Replies) or len(reply.result.replies) != len(steps):
            raise Astray
        if self.stand.testee.noise or self.stand.table.count() > self.most:
            raise Astray
        if self.stand.own.count() > self.most_own:
            raise Astray
        return reply.result.replies

    def _begin(self) -> None:
        stand, first = self.stand, self.programs[0]
        self.dialect: Dialect = dialect_of(stand, first)
        stand.warm(f"{self.dialect.profile}/{first.side}", lambda: Seat(stand, first, careful=False).warm_up())
        self.most = int(FULL * stand.numbers())
        self.most_own = int(FULL * resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        stand.page()
        self.baseline = {fd: key_of(one) for fd, one in stand.baseline.items()}
        self.open = set(self.baseline)
        self.lanes = [Lane(stand, program) for program in self.programs]
        for kind in KINDS:
            if kind is not Kind.DGRAM:
                stand.listener(kind)[0].setblocking(False)  # what is said to have come has come
        listeners = self._listeners() if first.side is Side.SERVER else {}
        steps: list[ask.Request] = []
        connecting: list[Connecting] = []
        for lane in self.lanes:
            one = Connecting(self, lane, lane.program.type, "t0", "p0", listeners.get(lane.program.type))
            connecting.append(one)
            one.prepare(steps)
        replies = self._steps(steps)
        for one in connecting:
            if one.done(replies).failed:
                raise Astray

    def _listeners(self) -> dict[Kind, tuple[int, str]]:
        """Let the testee listen, once for each kind of socket."""
        kinds = list(dict.fromkeys(one.type for one in self.programs if one.type is not Kind.DGRAM))
        paths = [self.stand.path("serve") for _ in kinds]
        replies = self._steps(
            [ask.Listen(path, TYPES[kind], 2 * BATCH) for kind, path in zip(kinds, paths, strict=True)]
        )
        found: dict[Kind, tuple[int, str]] = {}
        for kind, path, reply in zip(kinds, paths, replies, strict=True):
            fd = fd_of(reply)
            self.listening[fd] = self.key(fd)
            self.open.add(fd)
            found[kind] = (fd, path)
        return found

    def _together(self, lanes: Sequence[Lane]) -> None:
        """Go on with these lanes until each is at its end or at an operation that limits the testee's numbers."""
        while lanes := self._round(lanes):
            pass

    def _limited(self, lane: Lane) -> None:
        """Go on with a lane that limits the testee's numbers, to its end."""
        while not lane.over:
            op = lane.program.operations[lane.at]
            if isinstance(op, Room):
                known = self.stand.table.count() == len(self.open)
                self.stand.leave_numbers(op.free, self.open if known else None)
                lane.shown[lane.at] = Shown()
                lane.at += 1
            self._together([lane])
        self.stand.leave_numbers(None)

    def _round(self, lanes: Sequence[Lane]) -> Sequence[Lane]:
        """Do what each of these lanes can do next. Return those that can do more."""
        steps: list[ask.Request] = []
        asked: list[Asked] = []
        going: list[Lane] = []
        for lane in lanes:
            if lane.unsupported is None and lane.peers_turn() and not lane.over:
                going.append(lane)
                for index, op in lane.testees_turn():
                    asked.append(Asked(lane, index, op, len(steps), self._ask(lane, op, steps)))
        if not asked:
            return going
        replies = self._steps(steps)
        for one in asked:
            if one.connecting is not None:
                one.lane.shown[one.position] = one.connecting.done(replies)
            else:
                one.lane.shown[one.position] = self._shown(one.lane, one.op, steps[one.at], replies[one.at])
        return going

    def _ask(self, lane: Lane, op: Operation, steps: list[ask.Request]) -> Connecting | None:
        """Put what the testee is asked for at the end of ``steps``."""
        other = _ASKS.get(type(op))
        if other is not None:
            return other(self, lane, op, steps)
        steps.append(request_of(op, lane.number, self.dialect))
        return None

    def ask_receive(self, lane: Lane, op: Receive | Take, steps: list[ask.Request]) -> None:
        """Ask for a receive."""
        if self.dialect.layout is not None:
            op = no_larger(op, lane)
        steps.append(request_of(op, lane.number, self.dialect))

    def ask_close(self, lane: Lane, op: Close, steps: list[ask.Request]) -> None:
        """Ask to close; the name stands for nothing from then on."""
        steps.append(request_of(op, lane.number, self.dialect))
        self._forget(lane, op)

    def ask_pair(self, lane: Lane, op: Pair, steps: list[ask.Request]) -> Connecting:
        """Ask for a connection."""
        return Connecting(self, lane, op.kind, op.a, op.b).prepare(steps)

    def ask_open(self, lane: Lane, op: Open, steps: list[ask.Request]) -> None:
        """Ask to open a FIFO."""
        steps.append(ask.Open(lane.things.fifo(op.name).path, ["O_WRONLY"]))

    def ask_make(self, lane: Lane, op: Make, steps: list[ask.Request]) -> Connecting | None:
        """Ask for an object that is no FIFO."""
        if op.kind is ObjectKind.SOCKET:
            return Connecting(self, lane, TYPE_OF_SOCKETS, op.name, "").prepare(steps)
        steps.append(ask.Open(lane.things.file(op.name).path, ["O_RDWR"]))
        return None

    def _forget(self, lane: Lane, op: Close) -> None:
        fd = lane.number(op.name)
        self.open.discard(fd)
        if isinstance(op.name, str):
            lane.numbers[op.name] = NOWHERE
        lane.held.pop(fd, None)
        lane.sockets.discard(fd)

    def _shown(self, lane: Lane, op: Operation, request: ask.Request, reply: Step) -> Shown | None:
        if reply.unsupported is not UNSET:
            try:
                offered(request, Reply(unsupported=reply.unsupported))
            except Unsupported as reason:
                lane.unsupported = reason
                return None
        if isinstance(op, (Open, Make)):
            return self._opened(lane, op.name, reply)
        seen = got(reply, None if isinstance(op, Send) else self.dialect.layout)
        return self._received(lane, op, seen) if seen.fds or seen.pidfds else seen.shown

    def _opened(self, lane: Lane, name: str, reply: Step) -> Shown:
        if reply.error is not UNSET:
            lane.things.take_back(name)
            return got(reply, None).shown
        self.opened(lane, name, fd_of(reply))
        return Shown()

    def _received(self, lane: Lane, op: Operation, seen: Got) -> Shown:
        prefix = getattr(op, "prefix", "")
        labels: list[str] = []
        for index, fd in enumerate(seen.fds):
            key = self.key(fd)
            label = lane.things.labels.get(key, UNKNOWN)
            if label == UNKNOWN or fd in self.baseline or fd in lane.held:
                raise Astray
            lane.held[fd] = key
            self.open.add(fd)
            labels.append(label)
            if prefix:
                lane.numbers[f"{prefix}{index}"] = fd
        for fd in seen.pidfds:
            lane.pidfds[fd] = self.key(fd)
            self.open.add(fd)
        return replace(seen.shown, files=tuple(labels))

    # ---- numbers -------------------------------------------------------------------------------------------------------

    def key(self, fd: int) -> Key:
        """Return what a number of the testee's refers to. Raises Astray where it is not open."""
        seen = self.stand.table.key(fd)
        if seen is None:
            raise Astray
        return seen

    def opened(self, lane: Lane, name: str, fd: int) -> None:
        """Take account of a number that the testee has opened. Raises Astray where nothing new is there."""
        key = self.key(fd)
        if fd in self.baseline or lane.things.labels.setdefault(key, name) != name:
            raise Astray
        lane.numbers[name] = fd
        lane.held[fd] = key
        self.open.add(fd)

    # ---- the end -------------------------------------------------------------------------------------------------------

    def _finish(self) -> list[Execution | Unsupported | None]:
        stand = self.stand
        owners = {key: (lane, label) for lane in self.lanes for key, label in lane.things.labels.items()}
        now = stand.table.keys()
        self._take(owners, now)
        mine = [fd for lane in self.lanes for fd in (*lane.held, *lane.pidfds) if fd not in lane.sockets and fd in now]
        reply = stand.testee.ask(ask.Reset(mine))
        if not isinstance(reply.result, ResetResult) or reply.result.failed or stand.testee.noise:
            raise Astray
        self._look_again(owners)
        for lane in self.lanes:
            lane.peer.close()
            lane.things.drop()
        held: dict[tuple[Lane, str], Fifo] = {}
        for lane in self.lanes:
            for name, fifo in lane.things.fifos.items():
                lane.released[name] = fifo.released or None
                if lane.released[name] is None and not lane.sends_sockets:
                    held[lane, name] = fifo
        if held:  # what is in flight in a socket that is in flight waits for the kernel's collection, and is not told
            for (lane, name), so in account.released(held).items():
                lane.released[name] = so
        return [self._executed(lane) for lane in self.lanes]

    def _take(self, owners: dict[Key, tuple[Lane, str]], now: dict[int, Key]) -> None:
        """Say of every number whose it is. Raises Astray where one is nobody's, or is gone."""
        apart = {**self.listening}
        for lane in self.lanes:
            apart.update(lane.pidfds)
            for fd, key in lane.held.items():
                if now.get(fd) != key:
                    raise Astray
        for fd, key in now.items():
            if self.baseline.get(fd) == key or apart.get(fd) == key:
                continue
            owner = owners.get(key) or self._nobody(fd)
            if owner is not None:
                owner[0].labels.append(owner[1])

    def _nobody(self, fd: int) -> None:
        """Let a runtime have what it has opened for itself. Raises Astray for anything else."""
        seen = self.stand.table.identity(fd)
        if fd in self.baseline or seen is None or not self.stand.is_own(fd, seen):
            raise Astray
        self.baseline[fd] = key_of(seen)
        self.stand.baseline[fd] = seen

    def _look_again(self, owners: dict[Key, tuple[Lane, str]]) -> None:
        after = self.stand.table.keys()
        if after == self.baseline:
            return
        for fd, key in after.items():
            if self.baseline.get(fd) == key:
                continue
            owner = owners.get(key) or self._nobody(fd)
            if owner is not None:
                owner[0].leaked.append(owner[1])
        if not self.baseline.keys() <= after.keys():
            raise Astray

    @staticmethod
    def _executed(lane: Lane) -> Execution | Unsupported:
        if lane.unsupported is not None:
            return lane.unsupported
        left = Left(tuple(sorted(lane.labels)), (), tuple(sorted(lane.leaked)), lane.released)
        return Execution(lane.program, tuple(lane.shown), left)


_ASKS: dict[type[Operation], Callable[[Batch, Lane, Any, list[ask.Request]], Connecting | None]] = {
    Receive: Batch.ask_receive,
    Take: Batch.ask_receive,
    Close: Batch.ask_close,
    Pair: Batch.ask_pair,
    Open: Batch.ask_open,
    Make: Batch.ask_make,
}
"""The requests that take more than one step, or have to be taken account of."""


class Asked(NamedTuple):
    """An operation that the testee is asked for: its lane, its index there, and where in the request it stands."""

    lane: Lane
    position: int
    op: Operation
    at: int
    connecting: Connecting | None
