"""The link of the transport profile: queued and event-driven."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..impls.errors import Broken, Unsupported
from ..impls.process import Testee
from ..impls.protocol.messages import (
    Receiver,
    Request,
    TransportClose,
    TransportEvents,
    TransportProducer,
    TransportReading,
    TransportSendFd,
    TransportWrite,
)
from ..impls.protocol.results import Event, EventsResult
from ..impls.protocol.values import Profile, SocketType
from . import peer
from .census import Table
from .link import PeerLink
from .objects import Objects, Thing
from .observations import brief
from .peer import Peer


@dataclass(frozen=True, repr=False)
class Heard:
    """What a transport told its protocol, in order.

    ``order`` is the sequence of event names; ``fds``, ``things`` and ``data`` are the descriptor events' numbers, what they
    refer to, and the data events' bytes together. ``lost`` is the last event where the connection ended.
    """

    events: list[Event]
    fds: list[int]
    things: list[Thing | None]
    data: bytes
    lost: Event | None
    order: list[str] = field(default_factory=list[str])

    def __repr__(self) -> str:
        ended = f", lost={self.lost.error or 'cleanly'}" if self.lost is not None else ""
        return f"Heard({self.order}, things={self.things}, data={brief(self.data)}{ended})"

    def count(self, name: str) -> int:
        """Return how many events of that name there were."""
        return self.order.count(name)

    @property
    def error(self) -> str | None:
        """The error that the protocol was told of, by an ``error`` event or with the loss of the connection."""
        told = [event.error for event in self.events if event.event in ("error", "lost") and event.error]
        return told[0] if told else None


class TransportLink(PeerLink):
    """A transport, client or server side. Nothing moves in it but inside `events`."""

    profile = Profile.TRANSPORT

    def __init__(
        self,
        testee: Testee,
        table: Table,
        objects: Objects,
        type_: SocketType,
        connect: Callable[[PeerLink], Peer],
        *,
        side: str,
        receiver: Receiver,
    ) -> None:
        self.receiver = receiver
        self.transport = 0
        self.wanted_side = side
        self.lost: Event | None = None
        """The loss of the connection, once the protocol was told of it."""
        super().__init__(testee, table, objects, type_, connect)

    @property
    def queue_limit(self) -> int:
        """How many queued descriptors the implementation says fill its buffer. Raises `Unsupported` where it does not say."""
        limit = self.offer.limits.get("queue")
        if limit is None:
            raise Unsupported("limit", "the implementation does not say how many queued descriptors fill its buffer")
        return limit

    def turn(self, *requests: Request) -> None:
        """Do several things in one turn of the event loop, before it goes on. Raises `Broken` on an error."""
        for reply in self.steps(list(requests)):
            if reply.error is not None:
                raise Broken("operation", f"a step failed: {reply.error.type} {reply.error.message}")

    def writes(self, data: bytes) -> Request:
        """Return the request that queues ``data``."""
        return TransportWrite(transport=self.transport, data=data.hex())

    def queues(self, fd: int, *, give: bool = False) -> Request:
        """Return the request that queues the descriptor ``fd``."""
        if give:
            self.require("owned")
        return TransportSendFd(transport=self.transport, fd=fd, give=give)

    def send(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """Queue ``fds`` and then ``data``, in one turn."""
        self.turn(*(self.queues(fd) for fd in fds), *([self.writes(data)] if data else []))

    def produce(self) -> None:
        """Register a streaming producer."""
        self.require("producer")
        self.do(TransportProducer(transport=self.transport))

    def reading(self, on: bool) -> None:
        """Stop or go on reading."""
        self.require("reading")
        self.do(TransportReading(transport=self.transport, on=on))

    def finish(self, *, abort: bool = False) -> None:
        """Close the transport; ``abort`` drops what is queued."""
        if abort:
            self.require("abort")
        self.do(TransportClose(transport=self.transport, abort=abort))

    def events(self, *, bytes_: int = 0, fds: int = 0, event: str = "", wait: float | None = None) -> Heard:
        """Run the event loop until so much has come, or the connection is lost, or ``wait`` seconds have passed.

        Without ``wait`` it is as long as the peer would wait.
        """
        seconds = peer.PATIENCE if wait is None else wait
        request = TransportEvents(transport=self.transport, bytes=bytes_, fds=fds, event=event, wait=seconds)
        result = self.ask(request, extra=seconds).result
        if not isinstance(result, EventsResult):
            raise Broken("operation", "transport.events must be answered with a result")
        numbers = [one.fd for one in result.events if one.event == "descriptor" and isinstance(one.fd, int)]
        data = b"".join(bytes.fromhex(one.data) for one in result.events if isinstance(one.data, str))
        lost = next((one for one in result.events if one.event == "lost"), None)
        self.lost = self.lost or lost
        return Heard(result.events, numbers, self.adopt(numbers), data, lost, [one.event for one in result.events])

    def settle(self) -> Heard:
        """Run the event loop for as long as it makes progress, without waiting."""
        return self.events(wait=0.0)

    def until_lost(self) -> Heard:
        """Run the event loop until the connection is lost. A loss that was told before is told again."""
        if self.lost is None:
            return self.events(event="lost")
        return Heard([self.lost], [], [], b"", self.lost, [self.lost.event])
