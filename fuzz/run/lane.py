"""One program of a batch: what it has, whose operation is next, and what the testee can be asked for at once."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from enum import Enum

from msgspec.structs import replace

from ...conformance.model.operations import (
    NOWHERE,
    Collect,
    Number,
    Open,
    Pair,
    Receive,
    Released,
    Rights,
    Room,
    Send,
)
from ...impls.errors import Unsupported
from ..operations import Make, Operation, SendOne, Take, TakeOne
from ..program import Program
from .objects import Key, Things
from .peerend import PeerEnd, failure
from .shown import Shown
from .stand import Stand

LARGE = 1024
"""Bytes from which a buffer is large."""
CONTROL = 8192
"""More control data than a message of AF_UNIX can have."""


class Doer(Enum):
    """Who does an operation; the last two are the harness, and the second of them limits the testee's numbers."""

    TESTEE = 0
    PEER = 1
    HARNESS = 2
    LIMIT = 3


_BY_LETTER = dict.fromkeys("pgq", Doer.PEER)
_OURS: dict[type[Operation], Doer] = {Released: Doer.HARNESS, Collect: Doer.HARNESS, Room: Doer.LIMIT}


class Lane:
    """One program of a batch."""

    def __init__(self, stand: Stand, program: Program) -> None:
        self.program = program
        self.things = Things(stand.shelf)
        self.numbers: dict[str, int] = {}
        self.held: dict[int, Key] = {}
        self.sockets: set[int] = set()
        self.pidfds: dict[int, Key] = {}
        self.peer = PeerEnd(self.things)
        self.shown: list[Shown | None] = [None] * len(program.operations)
        self.labels: list[str] = []
        self.leaked: list[str] = []
        self.released: dict[str, bool | None] = {}
        self.at = 0
        self.who = [doer_of(op) for op in program.operations]
        self.unsupported: Unsupported | None = None

    def number(self, name: Number) -> int:
        """Return the testee's number of a name, or a literal number itself."""
        return name if isinstance(name, int) else self.numbers.get(name, NOWHERE)

    @functools.cached_property
    def most(self) -> int:
        """How many bytes the program ever sends."""
        return sum(len(one) for op in self.program.operations if isinstance(op, (Send, SendOne)) for one in op.data)

    @property
    def sends_sockets(self) -> bool:
        """Whether it may send a socket, so that descriptors in flight may keep each other alive."""
        operations = self.program.operations
        objects = {one.name for one in operations if isinstance(one, Make)}
        sent = (name for one in operations if isinstance(one, (Send, SendOne)) for name in names_in(one, at=False))
        return any(name[0] in "tprq" or name in objects for name in sent)

    @property
    def over(self) -> bool:
        """Whether nothing is left to be done."""
        return self.at == len(self.who) or self.unsupported is not None

    def peers_turn(self) -> bool:
        """Do the operations of the peer that come next, and the harness's own; return False before one that limits numbers."""
        who, operations = self.who, self.program.operations
        while self.at < len(who):
            doer = who[self.at]
            if doer is Doer.TESTEE:
                return True
            if doer is Doer.LIMIT:
                return False
            op = operations[self.at]
            self.shown[self.at] = self.peer.perform(op) if doer is Doer.PEER else self._ours(op)
            self.at += 1
        return True

    def _ours(self, op: Operation) -> Shown:
        if isinstance(op, Collect):
            return Shown(value=0)
        fifo = self.things.fifos.get(getattr(op, "name", ""))
        return failure("ENOENT") if fifo is None else Shown(value=int(fifo.released))

    def testees_turn(self) -> Iterator[tuple[int, Operation]]:
        """Yield the operations of the testee that can be asked for at once, each with its index."""
        who, operations = self.who, self.program.operations
        bound: set[str] = set()
        while self.at < len(who) and who[self.at] is Doer.TESTEE:
            op = operations[self.at]
            if bound and any(name in bound or name.split("_", 1)[0] in bound for name in names_in(op)):
                return
            self.at += 1
            yield self.at - 1, op
            bound.update(bound_by(op))

    def close(self) -> None:
        """Let go of everything."""
        self.peer.close()
        self.things.close(self.released or None)


def doer_of(op: Operation) -> Doer:
    """Return who does it."""
    found = _OURS.get(type(op))
    return _BY_LETTER.get(str(getattr(op, "name", ""))[:1], Doer.TESTEE) if found is None else found


def no_larger(op: Receive | Take, lane: Lane) -> Receive | Take:
    """Return a receive that shows the same, with no buffer much larger than anything that can come.

    A testee of profile raw tells every byte of its buffers, touched or not.
    """
    sizes = op.room if isinstance(op, Receive) else op.sizes
    if max(sizes, default=0) > LARGE:
        most = max(LARGE, lane.most + 1)
        sizes = tuple(min(one, most) for one in sizes)
        op = replace(op, room=sizes) if isinstance(op, Receive) else replace(op, sizes=sizes)
    if isinstance(op, Receive) and (op.control or 0) > CONTROL:
        op = replace(op, control=CONTROL)
    return op


def names_in(op: Operation, *, at: bool = True) -> Iterator[str]:
    """Yield the names of descriptors that an operation refers to; without ``at`` those alone that it sends."""
    name = getattr(op, "name", None)
    if at and isinstance(name, str):
        yield name
    if isinstance(op, Send):
        for one in op.control:
            if isinstance(one, Rights):
                yield from (fd for fd in one.fds if isinstance(fd, str))
    elif isinstance(op, SendOne) and isinstance(op.fd, str):
        yield op.fd


def bound_by(op: Operation) -> tuple[str, ...]:
    """Return the names that stand for something else once it is done; of a receive what they have in front of the ``_``."""
    if isinstance(op, (Receive, Take, TakeOne)):
        return (op.prefix[:-1],) if op.prefix else ()
    if isinstance(op, Pair):
        return (op.a,)
    return (op.name,) if isinstance(op, (Open, Make)) else ()
