"""How a sequence may begin: a few operations that lead where chance alone seldom comes."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from . import flags as f
from .operations import (
    Accept,
    Close,
    Collect,
    Connect,
    Kind,
    Listen,
    NewSocket,
    Open,
    Operation,
    Option,
    Pair,
    Receive,
    Rights,
    Send,
    SetOption,
)

Opening = tuple[Operation, ...]


def _listen(draw: Random) -> Opening:
    """A connection that waits to be accepted, perhaps with descriptors in it, perhaps from somebody who is gone."""
    kind = draw.choice([Kind.STREAM, Kind.SEQPACKET])
    operations: list[Operation] = [
        NewSocket(kind, "l"),
        Listen("l", draw.choice([0, 1, 8])),
        NewSocket(kind, "c"),
        Open("f"),
    ]
    option = draw.choice([None, (Option.PASSCRED, 1), (Option.PASSRIGHTS, 0)])
    operations += [SetOption("l", *option)] if option else []
    operations += [Connect("c", "l"), Send("c", (b"x",), (Rights((draw.choice(["f", "l", "c"]), "f")),))]
    operations += draw.choice([[], [Close("c")], [Close("f"), Close("l")]])
    return (*operations, *draw.choice([(), (Accept("l", "n"),)]))


def _one_way(draw: Random) -> Opening:
    """A datagram socket whose peer is not connected back, with a queue near its limit."""
    start: Opening = (NewSocket(Kind.DGRAM, "r"), NewSocket(Kind.DGRAM, "w"), Connect("w", "r"), Open("f"))
    return (*start, *(Send("w", (b"x",), (Rights(("f",)),)) for _ in range(draw.choice([0, 9, 10, 11, 12]))))


def _urgent(draw: Random) -> Opening:
    """An urgent byte with a descriptor, in line or not."""
    data = draw.choice([b"u", b"plain"])
    setting = (SetOption("b", Option.OOBINLINE, draw.choice([0, 1])),)
    send = Send("a", (data,), (Rights(("f",)),), flags=f.OOB)
    return (Pair(Kind.STREAM, "a", "b"), Open("f"), *setting, send, Receive("b", (9,), 24, draw.choice([0, f.OOB])))


def _rings(draw: Random) -> Opening:
    """Sockets that hold one another in their queues, closed or nearly."""
    count = draw.choice([1, 2, 3, 4])
    kind = draw.choice(list(Kind))
    operations: list[Operation] = [Pair(kind, f"a{index}", f"b{index}") for index in range(count)]
    operations.append(Open("f"))
    passed = [(f"a{index}", f"b{(index + 1) % count}") for index in range(count)]
    operations += [Send(over, (b"x",), (Rights((socket, "f")),)) for over, socket in passed]
    closed = [f"{letter}{index}" for index in range(count) for letter in "ab"]
    kept = draw.choice([0, 0, 1])
    operations += [Close(name) for name in closed[kept:]]
    return (*operations, Close("f"), Collect()) if draw.random() < 0.5 else tuple(operations)


def _nested(draw: Random) -> Opening:
    """A socket in the queue of a socket in the queue of a socket."""
    depth = draw.choice([2, 3, 5])
    operations: list[Operation] = [Open("f"), Pair(Kind.STREAM, "a0", "b0"), Send("a0", (b"x",), (Rights(("f",)),))]
    for index in range(1, depth):
        inner = Rights((f"b{index - 1}",))
        operations += [
            Pair(Kind.STREAM, f"a{index}", f"b{index}"),
            Send(f"a{index}", (b"x",), (inner,)),
            Close(f"b{index - 1}"),
        ]
    return (*operations, Close("f"))


OPENINGS: dict[str, Callable[[Random], Opening]] = {
    "listen": _listen,
    "one-way": _one_way,
    "oob": _urgent,
    "over-itself": _rings,
    "many": _nested,
}
"""By the feature that they serve."""
