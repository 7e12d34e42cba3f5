"""Follows a transport's program operation by operation: what was queued and sent, what arrived, what the protocol was told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ...conformance.model import flags as f
from ...conformance.model.operations import Call, Close, How, Open, Pair, Receive, Room, Send, SetOption, Shutdown
from ...conformance.model.operations import Option as Known
from ..judgement import Violation
from ..operations import End, Ending, Finish, Give, Make, Operation, Produce, Queue, Reading, Turn, Write, end_of
from ..run.shown import Execution, Shown, Told
from ..run.transport_names import MISSING
from .account import verb_of
from .facts import Facts
from .transport_faults import faults_of
from .transport_state import Connection, Names
from .transport_streams import Mismatch, Sort
from .transport_words import violation

FEW = 64
"""Bytes in a buffer that do not fill it."""


class Judge:
    """One program's judging. `run` follows it; `found` is what was not permitted so far."""

    def __init__(self, execution: Execution, facts: Facts) -> None:
        self.execution = execution
        self.program = execution.program
        self.facts = facts
        self.faults = faults_of(execution)
        self.names = Names()
        self.names.peer["p0"] = "p0"
        self.connections = {"t0": Connection("t0")}
        self.found: list[Violation] = []
        self.features: set[str] = set()
        self.limited = False
        """Whether RLIMIT_NOFILE is lowered."""
        self.tainted = False
        """Whether something is open somewhere that is none of the program's doing: nothing follows from the rest."""
        self.at = 0

    def run(self) -> None:
        """Follow all operations that were reached."""
        for at, (op, shown) in enumerate(zip(self.program.operations, self.execution.shown, strict=True)):
            self.at = at
            if shown is None:
                return
            if shown.kind != MISSING:
                self.follow(op, shown)
            if shown.failed:
                self.features.add(f"{verb_of(self.program, self.at)}: {shown.error or shown.kind}")
        self.at = len(self.program.operations)

    def follow(self, op: Operation, shown: Shown) -> None:
        """Take one operation into account."""
        table = _PEERS if end_of(getattr(op, "name", -1)) is End.PEER else _TESTEES
        handler = table.get(type(op))
        if handler is not None:
            handler(self, op, shown)

    def says(self, what: str, message: str, permitted: Sequence[str] = ()) -> None:
        """Take note of what was not permitted."""
        self.found.append(violation(self.program, what, self.at, message, tuple(permitted)))

    # ---- the testee ----------------------------------------------------------------------------------------------------

    def do_write(self, op: Write, shown: Shown) -> None:
        """`write`: data is queued."""
        conn = self.connections[op.name]
        if shown.failed:
            self._refused(conn, shown)
        elif op.data:
            conn.late |= conn.ending is not None
            conn.out.write(op.data)
            conn.peak()

    def do_queue(self, op: Queue | Give, shown: Shown) -> None:
        """`queue` and `give`: a descriptor is queued."""
        conn = self.connections[op.name]
        label = self.names.of_testee(op.fd)
        if shown.failed:
            if label and not self.limited:
                self._refused(conn, shown)
            elif (
                not label and conn.ending is None and conn.lost is None and not self.may_end(conn) and not _named(shown)
            ):
                said = f"{shown.kind} {shown.message[:80]}"
                self.says("nameless", f"the error of {op.fd}, which is not open, says: {said}", ["it names EBADF"])
            return
        if isinstance(op, Give):
            self._no_longer(op.fd)
        conn.late |= conn.ending is not None
        conn.out.push(str(op.fd), label, Sort.SOUND if label else Sort.BAD)
        conn.poisoned |= not label
        conn.peak()
        self._pass(label)
        self.features.add(f"queued {_class(conn.out.waiting)}")

    def _refused(self, conn: Connection, shown: Shown) -> None:
        """Take note that a transport has taken something with an error. One that may have ended may do that."""
        receiver = self.program.receiver
        odd = receiver.raise_at is not None or receiver.close_at is not None or receiver.abort_at is not None
        if conn.ending is None and conn.lost is None and not (odd or self.may_end(conn)):
            said = f"{shown.kind} {shown.error or shown.message[:80]}".strip()
            self.says("refused", f"{conn.name} refused it: {said}", ["no error"])

    def may_end(self, conn: Connection) -> bool:
        """Whether there is a reason for which the connection may end in an error."""
        own = conn.poisoned or conn.overrun or conn.tight or conn.refuses or conn.raised or conn.late
        peers = conn.gone or conn.shut_writing or conn.shut_reading
        return own or peers or self.faults.ends

    def do_produce(self, op: Produce, shown: Shown) -> None:
        """`produce`: a streaming producer is registered."""
        conn = self.connections[op.name]
        if not shown.failed:
            conn.produces = True
        elif not conn.produces:
            self._refused(conn, shown)

    def do_reading(self, op: Reading, shown: Shown) -> None:
        """`reading`: it goes on, or stops."""
        conn = self.connections[op.name]
        if shown.failed:
            self._refused(conn, shown)
            return
        if op.on:
            conn.readable = None
        elif conn.reading:
            conn.readable = conn.read_at_most
        conn.reading = op.on

    def do_finish(self, op: Finish, shown: Shown) -> None:
        """`finish`: the transport is ended."""
        conn = self.connections[op.name]
        if shown.failed:
            self._refused(conn, shown)
            return
        conn.end(op.how, conn.snapshot)

    def do_turn(self, op: Turn, shown: Shown) -> None:
        """`turn`: the loop runs, and tells."""
        self.loop_ran()
        self.tell(self.connections[op.name], shown, op.prefix)

    def loop_ran(self) -> None:
        """Take note that everything could move."""
        for conn in self.connections.values():
            if conn.lost is None:
                conn.loop_ran(self.facts.policies.get("overrun") == "error")
                if self.limited:
                    conn.tight = True
                    conn.into.squeeze()

    def tell(self, conn: Connection, shown: Shown, prefix: str = "") -> None:
        """Take what a transport has told since it was asked last."""
        if shown.failed:
            self.says("loop-failed", f"the event loop failed: {shown.kind} {shown.message[:200]}", ["no error"])
            return
        self.names.bind(self.names.testee, prefix, shown.files)
        for one in shown.events:
            conn.events.append(one)
            handler = _EVENTS.get(one.name)
            if handler is not None:
                if conn.lost is not None and not conn.wrong_in:
                    conn.wrong_in = True
                    self.says(
                        "lost-twice", f"{conn.name} told {one.name} after it had told that it was lost", ["nothing"]
                    )
                handler(self, conn, one)
            self.features.add(f"event {one.name} {one.error}".strip())
        conn.asked()
        self.features.add("told " + _shape(shown.events))
        tells = conn.told_error or any(one.name == "log" for one in conn.events)  # that it could not be set
        excused = (
            (self.faults.unsealed and tells) or self.faults.foreign or self.facts.policies.get("cloexec") == "never"
        )
        if False in shown.cloexec and not excused:
            index = shown.cloexec.index(False)
            self.says(
                "in-cloexec", f"{shown.files[index]} was handed over without close-on-exec", ["close-on-exec is set"]
            )
        if False in shown.same:
            index = shown.same.index(False)
            self.says(
                "in-description",
                f"{shown.files[index]} was handed over with another open file description",
                ["the sender's own"],
            )

    def do_told_data(self, conn: Connection, one: Told) -> None:
        """The protocol was given data."""
        if conn.wrong_in:
            return
        ordered = self.facts.policies.get("order") != "data-first" and self.program.receiver.descriptors
        try:
            conn.into.tell_data(one.data, first=ordered)
        except Mismatch as fault:
            self.mismatch(conn, fault, inwards=True)
            return
        if conn.readable is not None and min(conn.into.positions) > conn.readable:
            self._told_paused(conn, "data")

    def do_told_descriptor(self, conn: Connection, one: Told) -> None:
        """The protocol was given a descriptor, and may have misbehaved."""
        receiver = self.program.receiver
        index = conn.callbacks
        conn.callbacks += 1
        if not receiver.descriptors:
            self.says("plain-told", f"{one.label} was handed to a protocol that takes no descriptors", ["it is closed"])
            conn.wrong_in = True
        if not conn.wrong_in:
            try:
                conn.into.tell_descriptor(one.label)
            except Mismatch as fault:
                self.mismatch(conn, fault, inwards=True)
            else:
                told = conn.into.fds[max(count for count, _ in conn.into.at) - 1]
                if conn.readable is not None and told.place >= conn.readable:
                    self._told_paused(conn, f"the descriptor {one.label}")
        ended = index in (receiver.close_at, receiver.abort_at)
        if ended:
            conn.closed_by_callback = True
            due = conn.first_run or conn.last_run
            conn.end(Ending.ABORT if index == receiver.abort_at else Ending.CLOSE, due)
            conn.overrun |= len(conn.out.queue) > conn.out.arrived  # of the bytes any may have gone by then
        if index == receiver.raise_at and not (ended or conn.closed_by_callback):
            conn.raised = True

    def _told_paused(self, conn: Connection, what: str) -> None:
        self.says("in-paused", f"{what} was handed over while reading is off", ["nothing before reading goes on"])
        conn.readable = None

    def do_told_pause(self, conn: Connection, one: Told) -> None:
        """A producer was paused or resumed."""
        if not conn.produces:
            self.says("producer", f"{one.name} was told, and there is no producer", ["nothing"])
            return
        if one.name == "resume":
            if not conn.paused:
                self.says("producer", "a producer was resumed that was not paused", ["nothing"])
            conn.paused = False
            return
        limit = self.facts.limits.get("queue")
        conn.paused = True
        if limit is not None and conn.peak_fds <= limit and conn.peak_bytes <= FEW:
            self.says(
                "producer",
                f"a producer was paused with {conn.peak_fds} descriptors queued and {conn.peak_bytes} bytes",
                [f"it is paused with more than {limit} descriptors"],
            )

    def do_told_lost(self, conn: Connection, one: Told) -> None:
        """The protocol was told of the end."""
        if conn.lost is None:
            conn.lost = one

    def do_told_eof(self, conn: Connection, one: Told) -> None:
        """Nothing more: the end is what `lost` tells."""

    def mismatch(self, conn: Connection, fault: Mismatch, *, inwards: bool) -> None:
        """Take note of something that was not permitted in one direction; what follows there is its consequence."""
        if inwards:
            conn.wrong_in = True
        else:
            conn.wrong_out = True
        if fault.what.endswith("identity"):
            self.tainted = True
        if inwards and (self.faults.forged or self.faults.foreign):
            return  # what is shown there is anybody's guess; what is open in the end is not
        self.says(fault.what, f"{conn.name}: {fault.message}", fault.permitted)

    def do_opened(self, op: Open | Make, shown: Shown) -> None:
        """`open` and `make` of the testee."""
        self.names.testee[op.name] = "" if shown.failed else op.name

    def do_closed(self, op: Close, shown: Shown) -> None:
        """`close` of the testee."""
        label = self.names.of_testee(op.name)
        if label and shown.failed and not self.faults.closing:
            self.says(
                "stray", f"{op.name} is not open any more: close(2) says {shown.error}", ["it is open, and is closed"]
            )
        self._no_longer(op.name)

    def _no_longer(self, name: str | int) -> None:
        """Take note that a number is the caller's no more. A transport that borrowed it may go wrong."""
        if not isinstance(name, str):
            return
        self.names.testee[name] = ""
        policy = self.facts.policies.get("queued")
        if policy == "owned":
            return
        free = (
            policy == "borrowed" or self.faults.closing
        )  # where a close failed the harness's own file is at the number
        for conn in self.connections.values():
            for one in conn.out.queue[conn.out.arrived :]:
                if one.name == name and one.sort is Sort.SOUND:
                    one.sort = Sort.WILD if free else Sort.WEAK
                    conn.poisoned = True

    def do_pair(self, op: Pair, shown: Shown) -> None:
        """`pair`: a further connection, for which the loop runs."""
        self.loop_ran()
        if not shown.failed:
            self.connections[op.a] = Connection(op.a)
            self.names.peer[op.b] = op.b
        elif not self.limited and not self.faults.foreign:
            self.says("refused", f"{op.a} cannot connect: {shown.kind} {shown.error}", ["it connects"])

    def do_room(self, op: Room, shown: Shown) -> None:
        """`room`: RLIMIT_NOFILE."""
        del shown
        self.limited = op.free is not None

    # ---- the peer ------------------------------------------------------------------------------------------------------

    def of_peer(self, name: str | int) -> Connection | None:
        """Return the connection whose end a name of the peer's refers to."""
        label = self.names.of_peer(name)
        return self.connections.get(f"t{label[1:]}") if label[:1] == "p" else None

    def _pass(self, label: str) -> None:
        """Take note that a descriptor of that label is on its way."""
        if label[:1] == "p" and f"t{label[1:]}" in self.connections:
            self.connections[f"t{label[1:]}"].passed = True

    def do_peer_opened(self, op: Open | Make, shown: Shown) -> None:
        """`open` and `make` of the peer."""
        self.names.peer[op.name] = "" if shown.failed else op.name

    def do_send(self, op: Send, shown: Shown) -> None:
        """`send` of the peer."""
        if shown.failed:
            return
        labels = self.names.attached(op)
        for one in labels:
            self._pass(one)
        conn = self.of_peer(op.name)
        if conn is None:
            return
        data = b"".join(op.data)
        taken = shown.value or 0
        urgent = bool(op.flags & f.OOB) and taken == len(data)
        conn.into.send(data[:taken], labels, urgent=urgent)
        self.features.add(
            f"peer sends {_class(len(labels))}{' urgent' if urgent else ''}{' part' if taken < len(data) else ''}"
        )

    def receive(self, op: Receive, shown: Shown) -> None:
        """Take what the peer received."""
        conn = self.of_peer(op.name)
        self.names.bind(self.names.peer, op.prefix, shown.files)
        if conn is None:
            return
        if shown.failed:
            if shown.error not in ("EAGAIN", "EINVAL", "EFAULT", "EMSGSIZE", "EOPNOTSUPP"):
                conn.peer_end = shown.error
            return
        data = b"".join(shown.data)
        peeks = bool(op.flags & f.PEEK) and op.call is not Call.READ
        if not data and not shown.files and sum(op.room):
            conn.peer_end = "eof"
            return
        if conn.wrong_out or (peeks and conn.odd_peeks):
            return
        dropped = op.call is not Call.RECVMSG or op.control is None or bool((shown.flags or 0) & f.CTRUNC)
        dropped &= op.call is not Call.READ or sum(op.room) > 0  # read(2) of nothing does nothing
        try:
            conn.out.receive(data, shown.files, dropped=dropped, taken=not peeks)
        except Mismatch as fault:
            self.mismatch(conn, fault, inwards=False)
        if False in shown.same:
            label = shown.files[shown.same.index(False)]
            self.says(
                "out-description", f"the peer received {label} with another open file description", ["the caller's own"]
            )
        self.features.add(f"peer receives {_class(len(shown.files))}{' cut' if dropped else ''}")

    def do_shutdown(self, op: Shutdown, shown: Shown) -> None:
        """`shutdown` of the peer."""
        conn = self.of_peer(op.name)
        if conn is not None and not shown.failed:
            conn.shut_reading |= op.how is not How.WR
            conn.shut_writing |= op.how is not How.RD

    def do_set(self, op: SetOption, shown: Shown) -> None:
        """`set` of the peer."""
        conn = self.of_peer(op.name)
        if conn is not None and not shown.failed:
            conn.refuses |= op.option is Known.PASSRIGHTS and not op.value
            conn.odd_peeks |= op.option is Known.PEEK_OFF

    def do_peer_closed(self, op: Close, shown: Shown) -> None:
        """`close` of the peer."""
        label = self.names.of_peer(op.name)
        conn = self.of_peer(op.name)
        if shown.failed:
            return
        if isinstance(op.name, str):
            self.names.peer[op.name] = ""
        if conn is not None and label not in self.names.peer.values():
            conn.gone = True
            conn.unread = conn.last_run.data - conn.out.got


def _named(shown: Shown) -> bool:
    """Whether the error of a number that is not open says so."""
    return shown.error == "EBADF" or any(sign in shown.message for sign in ("EBADF", "Bad file descriptor", "not open"))


def _class(count: int) -> str:
    """Return a number of descriptors in words that are few."""
    return "none" if not count else str(count) if count < 4 else "several" if count < 30 else "many"


def _shape(events: Sequence[Told]) -> str:
    """Return the order of events, in words that are few."""
    found: list[str] = []
    for one in events:
        if not found or found[-1].rstrip("+") != one.name:
            found.append(one.name)
        elif not found[-1].endswith("+"):
            found[-1] += "+"
    return " ".join(found[:6]) or "nothing"


_Handler = Callable[[Judge, Any, Shown], None]
_TESTEES: dict[type[Operation], _Handler] = {
    Write: Judge.do_write,
    Queue: Judge.do_queue,
    Give: Judge.do_queue,
    Produce: Judge.do_produce,
    Reading: Judge.do_reading,
    Finish: Judge.do_finish,
    Turn: Judge.do_turn,
    Open: Judge.do_opened,
    Make: Judge.do_opened,
    Close: Judge.do_closed,
    Pair: Judge.do_pair,
    Room: Judge.do_room,
}
_PEERS: dict[type[Operation], _Handler] = {
    Send: Judge.do_send,
    Receive: Judge.receive,
    Open: Judge.do_peer_opened,
    Make: Judge.do_peer_opened,
    Shutdown: Judge.do_shutdown,
    SetOption: Judge.do_set,
    Close: Judge.do_peer_closed,
}
_EVENTS: dict[str, Callable[[Judge, Connection, Told], None]] = {
    "data": Judge.do_told_data,
    "descriptor": Judge.do_told_descriptor,
    "pause": Judge.do_told_pause,
    "resume": Judge.do_told_pause,
    "lost": Judge.do_told_lost,
    "eof": Judge.do_told_eof,
}
"""What is told, but for logs and errors: these may come after the end."""
