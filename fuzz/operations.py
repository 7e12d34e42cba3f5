"""The operations of a program, and the names by which they refer to things.

Where an operation is the same thing as in the model's sequences it *is* the model's: ``Open`` (a FIFO's writing end), ``Pair``
(a further connection), ``Close``, ``Shutdown``, ``SetOption``, ``Room``, ``Send``, ``Receive``, ``Released``, ``Collect``, with
their control messages, kinds, options and flags. What is defined here is what the model has no word for: calls of an API that
take room for descriptors, transports, objects that are no FIFO, options that the model does not know, and interposed faults.

Whose operation it is, the testee's or the peer's, the first letter of its name says:

    t0 p0      the two ends of connection 0, which is there from the beginning; t1 p1 those of the next
    f0 g0      objects that the testee, the peer has opened, in the order of opening
    r0_1 q0_1  the second descriptor that came with the first receive of the testee, of the peer

A name goes on standing for its number when that is closed. A received name for which nothing came, and a name of a receive that
failed, is a number that is not open, as in the model.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct

from ..conformance.interpose.faults import Trouble
from ..conformance.model.operations import (
    NOWHERE,
    Close,
    Collect,
    Number,
    Open,
    Pair,
    Receive,
    Released,
    Room,
    Send,
    SetOption,
    Shutdown,
)
from ..impls.protocol.values import ObjectKind
from .forging import Builder

BAD = (-1, -100, NOWHERE)
"""The literal numbers that an operation may name; none is ever open."""


class End(IntEnum):
    """Who does it."""

    TESTEE = 0
    PEER = 1


SOCKETS, OBJECTS, RECEIVED = "tp", "fg", "rq"
"""The first letters of names, by `End`."""


def end_of(name: Number) -> End:
    """Return whose name it is; literal numbers are the testee's."""
    return _ENDS.get(name[:1], End.TESTEE) if isinstance(name, str) else End.TESTEE


_ENDS = dict.fromkeys("pgq", End.PEER)


class Option(StrEnum):
    """Socket options that the model does not know; all are set by setsockopt at SOL_SOCKET."""

    TIMESTAMP = "timestamp"
    PASSPIDFD = "passpidfd"
    PASSSEC = "passsec"
    RCVBUF = "rcvbuf"


class Ending(StrEnum):
    """How a transport is ended."""

    HALF = "half"
    """The sending direction alone, once what is queued has gone."""
    CLOSE = "close"
    """What is queued goes out first."""
    ABORT = "abort"
    """What is queued is dropped."""


class Calls(StrEnum):
    """Which of the testee's system calls a fault is for: those on the connection, and close and fcntl of passed objects."""

    SEND = "send"
    RECEIVE = "receive"
    CLOSE = "close"
    FCNTL = "fcntl"


class _Operation(Struct, frozen=True, tag_field="verb"):
    """One operation that the model has no word for; tagged as the model's are."""


class Make(_Operation, frozen=True, tag="make"):
    """Open an object that is no FIFO: a file for reading and writing, or a socket that is connected to the harness."""

    kind: ObjectKind
    name: str


class SetMore(_Operation, frozen=True, tag="option"):
    """setsockopt(2) at SOL_SOCKET with an option that the model does not know."""

    name: Number
    option: Option
    value: int


class SendOne(_Operation, frozen=True, tag="send-one"):
    """Profile descriptors: send data with one descriptor, by the call for exactly one."""

    name: Number
    fd: Number
    data: tuple[bytes, ...]
    flags: int = 0


class Take(_Operation, frozen=True, tag="take"):
    """Receive through the testee's API with room for so many descriptors, in its own idiom.

    ``sizes`` has the size of each buffer. ``prefix`` as of the model's ``Receive``; '' where there is no room.
    """

    name: Number
    sizes: tuple[int, ...]
    room: int = 0
    flags: int = 0
    prefix: str = ""


class TakeOne(_Operation, frozen=True, tag="take-one"):
    """Profile descriptors: receive by the call for exactly one descriptor."""

    name: Number
    sizes: tuple[int, ...]
    flags: int = 0
    prefix: str = ""


class Write(_Operation, frozen=True, tag="write"):
    """Profile transport: queue data. Nothing moves before a ``turn``."""

    name: str
    data: bytes


class Queue(_Operation, frozen=True, tag="queue"):
    """Profile transport: queue a descriptor, which stays the caller's."""

    name: str
    fd: Number


class Give(_Operation, frozen=True, tag="give"):
    """Profile transport: queue a descriptor, which is the transport's from now on."""

    name: str
    fd: Number


class Produce(_Operation, frozen=True, tag="produce"):
    """Profile transport: register a streaming producer."""

    name: str


class Reading(_Operation, frozen=True, tag="reading"):
    """Profile transport: go on reading, or stop."""

    name: str
    on: bool


class Finish(_Operation, frozen=True, tag="finish"):
    """Profile transport: end it."""

    name: str
    how: Ending


class Turn(_Operation, frozen=True, tag="turn"):
    """Profile transport: run the event loop for as long as it makes progress. ``prefix`` names the descriptors that come."""

    name: str
    prefix: str = ""


class Fail(_Operation, frozen=True, tag="fail"):
    """Interpose: let the testee's ``nth`` of ``calls`` from now on fail with ``error``, and the ``times`` - 1 after it."""

    calls: Calls
    error: Trouble
    nth: int = 1
    times: int = 1


class Short(_Operation, frozen=True, tag="short"):
    """Interpose: let the ``nth`` send of more than ``count`` bytes take only ``count``, and the ``times`` - 1 after it."""

    count: int
    nth: int = 1
    times: int = 1


class Forge(_Operation, frozen=True, tag="forge"):
    """Interpose: let the ``nth`` receive with control data see what `forging.build` makes of what came.

    ``numbers`` are the builder's own, each from its domain; ``bait`` are descriptors that the testee has anyway.
    """

    builder: Builder
    nth: int = 1
    numbers: tuple[int, ...] = ()
    bait: tuple[Number, ...] = ()


Operation = (
    Send
    | Receive
    | Take
    | Open
    | Make
    | Close
    | Pair
    | Shutdown
    | SetOption
    | SetMore
    | Room
    | Released
    | Collect
    | SendOne
    | TakeOne
    | Write
    | Queue
    | Give
    | Produce
    | Reading
    | Finish
    | Turn
    | Fail
    | Short
    | Forge
)
