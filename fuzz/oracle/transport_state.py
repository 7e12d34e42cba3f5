"""What the judge of a transport's program knows at a point of it: what each name stands for, what each connection has seen."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...conformance.model import flags as f
from ...conformance.model.control import lay_out, walk
from ...conformance.model.operations import Number, Send
from ...conformance.model.state import Ids
from ..operations import Ending
from ..run.shown import CLOSED, UNKNOWN, Told
from .transport_streams import Inbound, Outbound, Sort


@dataclass
class Snapshot:
    """How much had been queued at a point."""

    data: int
    fds: int


@dataclass
class Connection:
    """One connection, from both ends. Its flags say why it may end, and how."""

    name: str
    out: Outbound = field(default_factory=Outbound)
    into: Inbound = field(default_factory=Inbound)
    ending: Ending | None = None
    """How the program ended it, or a callback."""
    due: Snapshot | None = None
    """What was queued when it was ended: what comes later may be dropped."""
    first_run: Snapshot | None = None
    """What was queued when the loop ran first since its events were asked for last."""
    last_run: Snapshot = field(default_factory=lambda: Snapshot(0, 0))
    """What was queued when the loop ran last."""
    lost: Told | None = None
    events: list[Told] = field(default_factory=list[Told])
    callbacks: int = 0
    raised: bool = False
    closed_by_callback: bool = False
    reading: bool = True
    readable: int | None = None
    """Bytes that may have been read when reading was stopped; None while it goes on."""
    produces: bool = False
    paused: bool = False
    late: bool = False
    """Whether something was queued after the end was asked for."""
    overrun: bool = False
    """Whether there may have been more descriptors than bytes where that is an error."""
    certain_overrun: tuple[int, int] | None = None
    """Where there were for certain: the bytes and the descriptors that had arrived by then."""
    crowd: tuple[int, int, int] | None = None
    """Where there were for certain and they had to wait: the same, and how much had been written."""
    tight: bool = False
    """Whether the loop ran while few numbers were free."""
    poisoned: bool = False
    """Whether something was queued that cannot be sent."""
    refuses: bool = False
    """Whether the peer's socket takes no descriptors (SO_PASSRIGHTS)."""
    shut_writing: bool = False
    """Whether the peer's sending direction has ended."""
    shut_reading: bool = False
    gone: bool = False
    """Whether the peer has closed its end."""
    unread: int = 0
    """Bytes that the peer had not received when it closed its end."""
    passed: bool = False
    """Whether a descriptor of the peer's end was passed: who has it open is anybody's guess."""
    odd_peeks: bool = False
    peer_end: str = ""
    """What the peer saw in the place of data: `eof`, or an error's name."""
    wrong_out: bool = False
    wrong_in: bool = False
    """Whether something was not permitted in that direction already; what follows would be its consequence."""

    peak_fds: int = 0
    """The most descriptors that may have been queued at once since its events were asked for last."""
    peak_bytes: int = 0
    read_at_most: int = 0
    """Bytes that the peer had sent when the loop ran last with reading on."""

    @property
    def snapshot(self) -> Snapshot:
        """How much is queued now."""
        return Snapshot(len(self.out.data), len(self.out.queue))

    @property
    def told_error(self) -> bool:
        """Whether the protocol was told of an error."""
        return any(one.error for one in self.events if one.name in ("error", "lost"))

    def peak(self) -> None:
        """Take note of how much may be queued now."""
        self.peak_fds = max(self.peak_fds, len(self.out.queue) - self.out.arrived)
        self.peak_bytes = max(self.peak_bytes, len(self.out.data) - self.out.got)

    def asked(self) -> None:
        """Take note that it was asked for its events."""
        self.peak_fds = self.peak_bytes = 0
        self.first_run = None
        self.peak()

    def loop_ran(self, strict: bool) -> None:
        """Take note that everything could move. ``strict``: more descriptors than bytes are an error at any turn."""
        out, now, then = self.out, self.snapshot, self.last_run
        self.first_run = self.first_run or now
        if self.reading:
            self.read_at_most = len(self.into.data)
        closing = self.ending is Ending.CLOSE
        if strict or closing or self.ending is Ending.HALF:
            self.overrun |= now.fds - out.arrived > now.data - then.data
        if self.certain_overrun is None and self._is_certain(then):
            if strict or closing:
                self.certain_overrun = (out.got, out.arrived)
            elif self.crowd is None:
                self.crowd = (out.got, out.arrived, now.data)
        self.last_run = now

    def _is_certain(self, then: Snapshot) -> bool:
        """Whether there are more descriptors than bytes, and all of them were queued before any of the bytes."""
        out = self.out
        if out.got != then.data or len(out.at) > 1 or self.late or self.wrong_out:
            return False
        if self.gone or self.shut_reading or self.shut_writing or self.closed_by_callback:
            return False
        waiting = out.queue[out.arrived :]
        if any(one.sort is not Sort.SOUND or one.mark > out.got for one in waiting):
            return False
        return len(waiting) > len(out.data) - out.got

    def end(self, how: Ending, due: Snapshot) -> None:
        """Take note that it was ended; a stronger ending stays."""
        if self.ending is None:
            self.due = due
        order = (None, Ending.HALF, Ending.CLOSE, Ending.ABORT)
        self.ending = max(self.ending, how, key=order.index)


class Names:
    """What each name refers to, by label; '' for a number that is not open."""

    def __init__(self) -> None:
        self.testee: dict[str, str] = {}
        self.peer: dict[str, str] = {}

    def of_testee(self, name: Number) -> str:
        """Return the label of a descriptor of the testee's."""
        return self.testee.get(name, "") if isinstance(name, str) else ""

    def of_peer(self, name: Number) -> str:
        """Return the label of a descriptor of the peer's."""
        return self.peer.get(name, "") if isinstance(name, str) else ""

    def bind(self, end: dict[str, str], prefix: str, labels: tuple[str, ...]) -> None:
        """Take note of what came."""
        for index, label in enumerate(labels):
            if prefix:
                end[f"{prefix}{index}"] = "" if label == CLOSED else label

    def attached(self, op: Send) -> list[str]:
        """Return the labels of the descriptors that a send which succeeded has attached, as the kernel reads its control data."""
        numbers: dict[int, str] = {}

        def number(name: Number) -> int:
            label = self.of_peer(name)
            if isinstance(name, int) or not label:
                return -1
            numbers[len(numbers)] = label
            return len(numbers) - 1

        found: list[str] = []
        for message in walk(lay_out(op, number, Ids(0, 0, 0))):
            if message is None or message[:2] != (f.SOL_SOCKET, f.SCM_RIGHTS):
                continue
            data = message[2]
            whole = [data[at : at + 4] for at in range(0, len(data) - 3, 4)]
            found += [numbers.get(int.from_bytes(one, "little", signed=True), UNKNOWN) for one in whole]
        return found
