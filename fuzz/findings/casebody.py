"""The statements of a case that is made of a finding: its operations as a case does them, and what it asserts.

A case is judged by itself: by an assertion where the violation is about what a call showed, by the census and the testee's life
elsewhere. What has to be is what the reference shows there, or an error where the oracle permits one. What a case has no word for
is `Inexpressible`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ...conformance.model import flags as f
from ...conformance.model.operations import (
    Call,
    Close,
    Collect,
    Credentials,
    Forged,
    Number,
    Open,
    Receive,
    Released,
    Rights,
    Room,
    Send,
    SetOption,
    Shutdown,
)
from ...impls.protocol.values import ObjectKind, Profile
from .. import operations as o
from ..judgement import END, Breach, Violation
from ..operations import Calls, End, Operation, end_of
from ..program import Program, Side, System
from ..run.peerend import OPTIONS, SHUT, option_value
from ..run.shown import Execution, Shown
from ..scope import room_of
from ..text import line_of
from .casewords import Inexpressible, data_text, flags_text, piece_text, sizes_text

BY_ITSELF = frozenset({Breach.LEAK, Breach.STRAY_CLOSE, Breach.CRASH, Breach.HANG, Breach.PROTOCOL})
"""What a case shows without a word: its census is taken, and its testee is watched."""


class Found:
    """What a case is written from: the finding's program, what it broke, and what two implementations showed in it.

    ``seen`` is that of the implementation it was found on, ``right`` that of the reference; None where it does not take it.
    """

    def __init__(self, program: Program, violation: Violation, seen: Execution, right: Execution | None) -> None:
        self.program = program
        self.violation = violation
        self.seen = seen
        self.right = right


class Body:
    """The lines of one case."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self.program = found.program
        self.violation = found.violation
        self.kinds: dict[str, ObjectKind] = {}
        self.received: dict[str, str] = {}
        """The variable of the numbers that came under each prefix."""
        self.serial = 0

    def lines(self) -> list[str]:
        """Return all lines. Raises Inexpressible."""
        self._check()
        body: list[str] = []
        if any(one is not None and one.error == "EAGAIN" for one in self.found.seen.shown) or self._is_large():
            body.append("link.nonblocking()")
        last = min(self.violation.at, len(self.program.operations) - 1)
        for at, operation in enumerate(
            self.program.operations[: last + 1] if not self._ends() else self.program.operations
        ):
            write = _WRITES.get(type(operation))
            if write is None:
                raise Inexpressible(f"a case has no word for: {line_of(operation)}")
            body += write(self, operation, at)
        return _without_unused(body)

    def _ends(self) -> bool:
        return self.violation.operation == END

    def _is_large(self) -> bool:
        sends = [one for one in self.program.operations if isinstance(one, (Send, o.SendOne))]
        return sum(len(piece) for one in sends for piece in one.data) > 4096 or len(sends) > 100

    def _check(self) -> None:
        program, violation = self.program, self.violation
        if program.profile is Profile.TRANSPORT:
            raise Inexpressible(
                "cases of transports are not written by this command: their order of events is a person's to say"
            )
        if program.system is not System.HOST:
            raise Inexpressible(f"a case has no personality of its own: system={program.system}")
        if program.side is not Side.CLIENT:
            raise Inexpressible("in a case the testee is the client: side server")
        if violation.breach not in BY_ITSELF and violation.operation == END:
            raise Inexpressible(f"a case has no word for a violation in the account: {violation.message}")
        if violation.breach in (Breach.NOISE, Breach.DIFFERENT, Breach.EVENTS):
            raise Inexpressible(f"a case says nothing of this breach: {violation.breach.value}")

    # ---- names ---------------------------------------------------------------------------------------------------------

    def number(self, name: Number) -> str:
        """Return the expression for the number of a name."""
        if isinstance(name, int):
            return str(name)
        if name in ("t0", "p0"):
            return "link.fd" if name == "t0" else "link.peer.socket.fileno()"
        if name[0] in "fg":
            return f"{name}_fd"
        prefix, _, index = name.rpartition("_")
        variable = self.received.get(f"{prefix}_")
        if variable is None:
            raise Inexpressible(f"nothing came under this name: {name}")
        return f"{variable}[{index}]"

    def thing(self, label: str) -> str:
        """Return the expression for what a label refers to; None for what is no object of a case."""
        return label if label[:1] in ("f", "g") and self.kinds.get(label) is not ObjectKind.SOCKET else "None"

    def things(self, labels: tuple[str, ...]) -> str:
        """Return the expression for a list of them."""
        return f"[{', '.join(map(self.thing, labels))}]"

    def variable(self, stem: str) -> str:
        """Return a name that nothing has yet."""
        self.serial += 1
        return f"{stem}{self.serial}"

    def shown(self, at: int) -> Shown:
        """Return what the implementation showed there."""
        return self.found.seen.shown[at] or Shown()

    def right(self, at: int) -> Shown:
        """Return what has to be shown. Raises Inexpressible where the reference does not take the program."""
        right = self.found.right
        found = right.shown[at] if right is not None else None
        if found is None:
            raise Inexpressible(
                "what has to be there only the oracle can say: the reference does not take this program"
            )
        return found

    def here(self, at: int) -> bool:
        """Whether the violation is about what this operation shows."""
        return at == self.violation.at and not self._ends() and self.violation.breach not in BY_ITSELF

    def or_error(self, of: str) -> str:
        """Return what stands before an assertion where an error is permitted too."""
        errors = [one for one in self.violation.permitted if one.startswith(("an error", "one of "))]
        return f"{of}.failed or " if errors else ""


# ---- operations --------------------------------------------------------------------------------------------------------


def _send(self: Body, op: Send, at: int) -> Iterator[str]:
    if end_of(op.name) is End.PEER:
        yield from _peer_sends(self, op, at)
        return
    _only(op.name, "t0", op)
    words = [data_text(op.data) if op.data else "[]"]
    if len(op.control) == 1 and isinstance(op.control[0], Rights) and op.control[0].fds:
        words.append(f"[{', '.join(map(self.number, op.control[0].fds))}]")
    elif op.control:
        words.append(f"ancillary=[{', '.join(_ancillary(self, one, testee=True) for one in op.control)}]")
    yield from _sent(self, at, f"link.send({', '.join([*words, *flags_text(op.flags)])})")


def _send_one(self: Body, op: o.SendOne, at: int) -> Iterator[str]:
    _only(op.name, "t0", op)
    words = [data_text(op.data) if op.data else "[]", f"[{self.number(op.fd)}]", *flags_text(op.flags), "single=True"]
    yield from _sent(self, at, f"link.send({', '.join(words)})")


def _sent(self: Body, at: int, call: str) -> Iterator[str]:
    if not self.here(at):
        yield call
        return
    right = self.right(at)
    yield f"sent = {call}"
    if right.failed and not self.shown(at).failed:
        yield "assert sent.failed"
    elif right.failed:
        yield f'assert sent.errno in (None, "{right.error}")'
    else:
        yield f"assert {self.or_error('sent')}not sent.failed"
        if right.value is not None:
            yield f"assert {self.or_error('sent')}sent.count in (None, {right.value})"


def _ancillary(self: Body, one: Any, *, testee: bool) -> str:  # noqa: ANN401 - a control message
    if getattr(one, "length", None) is not None:
        raise Inexpressible(f"a case has no word for a wrong cmsg_len: {one.length}")
    if isinstance(one, Rights):
        numbers = f"[{', '.join(map(self.number, one.fds))}]"
        return f'("SOL_SOCKET", "SCM_RIGHTS", {numbers})' if testee else f"rights({numbers})"
    if isinstance(one, Credentials):
        if one.forged is not Forged.NOTHING:
            raise Inexpressible(f"a case has no word for forged credentials: {one.forged.value}")
        whose = "link.testee.pid" if testee else "os.getpid()"
        return f'("SOL_SOCKET", "SCM_CREDENTIALS", true_credentials({whose}))'
    return f"({one.level}, {one.type}, {piece_text(one.data)})"


def _peer_sends(self: Body, op: Send, at: int) -> Iterator[str]:
    _only(op.name, "p0", op)
    if op.controllen is not None:
        raise Inexpressible(f"a case has no word for msg_controllen of a send: {op.controllen}")
    if self.here(at):
        raise Inexpressible(f"a case has no word for a violation in the peer's own send: {self.violation.message}")
    words = [data_text(op.data) if op.data else "[]"]
    if len(op.control) == 1 and isinstance(op.control[0], Rights) and op.control[0].length is None:
        words.append(f"fds=[{', '.join(map(self.number, op.control[0].fds))}]")
    elif op.control:
        words.append(f"ancillary=[{', '.join(_ancillary(self, one, testee=False) for one in op.control)}]")
    call = f"link.peer.send({', '.join([*words, *flags_text(op.flags)])})"
    if self.shown(at).failed:
        yield "with suppress(OSError, Gone):"
        yield f"    {call}"
    else:
        yield call


def _receive(self: Body, op: Receive, at: int) -> Iterator[str]:
    if end_of(op.name) is End.PEER:
        yield from _peer_receives(self, op, at)
        return
    yield from _got(
        self, at, op, [sizes_text(op.room), f"control={op.control or 0}", *flags_text(op.flags)], room_of(op.control)
    )


def _take(self: Body, op: o.Take, at: int) -> Iterator[str]:
    room = [f"room={op.room}"] if op.room else []
    yield from _got(self, at, op, [sizes_text(op.sizes), *room, *flags_text(op.flags)], op.room)


def _take_one(self: Body, op: o.TakeOne, at: int) -> Iterator[str]:
    yield from _got(self, at, op, [sizes_text(op.sizes), "room=1", *flags_text(op.flags), "single=True"], 1)


def _got(self: Body, at: int, op: Receive | o.Take | o.TakeOne, words: list[str], room: int) -> Iterator[str]:
    _only(op.name, "t0", op)
    got = self.variable("got")
    if op.prefix:
        self.received[op.prefix] = f"{got}.fds"
    yield f"{got} = link.receive({', '.join(words)})"
    if self.here(at):
        yield from _judged(self, at, got, room)


def _judged(self: Body, at: int, got: str, room: int) -> list[str]:
    """Return the assertions about a receive of the testee's, by the breach."""
    breach = self.violation.breach
    if breach is Breach.HIDDEN_LOSS:
        return [f"assert {got}.lost_descriptors_visible"]
    if breach is Breach.CLOEXEC:
        return _judged_cloexec(self, at, got)
    judge = _JUDGED.get(breach)
    lines = [] if judge is None else judge(self, got, self.right(at), self.shown(at), room)
    if not lines:
        raise Inexpressible(f"a case has no word for this: {breach.value}: {self.violation.message}")
    return lines


def _judged_cloexec(self: Body, at: int, got: str) -> list[str]:
    """Return the lines about close-on-exec: asked for, promised (the policy), or due because nobody could ask for it."""
    operation = self.program.operations[at]
    close_on_exec = f"(link.table.cloexec(fd) for fd in {got}.fds)"
    if getattr(operation, "flags", 0) & f.CLOEXEC:
        return [f"assert all{close_on_exec}"]
    if False not in self.shown(at).cloexec:
        return [f'assert link.policy("cloexec") in ("", "always") or not any{close_on_exec}']
    free = 'link.policy("cloexec") != "always"'
    if self.program.profile is Profile.DESCRIPTORS:
        free += ' and (link.policy("cloexec") or link.can("flags-in"))'
    return [f"free = {free}", f"assert free or all{close_on_exec}"]


def _judged_files(self: Body, got: str, right: Shown, _: Shown, room: int) -> list[str]:
    if right.failed and not right.files:
        return [f"assert {got}.failed or len({got}.fds) <= {room}"]
    return [f"assert {self.or_error(got)}{got}.things == {self.things(right.files)}"]


def _judged_data(self: Body, got: str, right: Shown, _: Shown, __: int) -> list[str]:
    either = f"{got}.failed or " if right.failed else self.or_error(got)
    return [f"assert {either}{got}.data == {piece_text(b''.join(right.data))}"]


def _judged_error(_: Body, got: str, right: Shown, seen: Shown, __: int) -> list[str]:
    if not right.failed:
        return [f"assert not {got}.failed"]
    return [f'assert {got}.errno in (None, "{right.error}")' if seen.failed else f"assert {got}.failed"]


def _judged_flags(_: Body, got: str, right: Shown, seen: Shown, __: int) -> list[str]:
    if right.flags is None or seen.flags is None:
        return []
    names = [name for name in ("CTRUNC", "TRUNC") if (right.flags ^ seen.flags) & f.NAMES[name]]
    wanted = {name: "" if right.flags & f.NAMES[name] else "not " for name in names}
    return [f'assert {got}.flags is None or {wanted[name]}{got}.has("MSG_{name}")' for name in names]


_JUDGED: dict[Breach, Callable[[Body, str, Shown, Shown, int], list[str]]] = {
    Breach.DESCRIPTORS: _judged_files,
    Breach.IDENTITY: _judged_files,
    Breach.DATA: _judged_data,
    Breach.RESULT: _judged_data,
    Breach.ERROR: _judged_error,
    Breach.FLAGS: _judged_flags,
}


def _peer_receives(self: Body, op: Receive, at: int) -> Iterator[str]:
    _only(op.name, "p0", op)
    right = self.right(at) if self.here(at) else self.shown(at)
    if right.failed:
        if self.here(at):
            yield "assert not link.peer.pending()"
        return  # nothing is there, and it would wait
    size = max(1, sum(op.room))
    got = self.variable("came")
    if op.prefix:
        self.received[op.prefix] = f"{got}.fds"
    room = f", room={room_of(op.control)}" if op.call is Call.RECVMSG and room_of(op.control) else ""
    words = ", ".join([f"{size}{room}", *flags_text(op.flags)])
    yield f"{got} = link.peer.receive({words})"
    if not self.here(at):
        return
    if self.violation.breach in (Breach.DESCRIPTORS, Breach.IDENTITY):
        yield f"assert [objects.of(one) for one in {got}.identities] == {self.things(right.files)}"
    elif self.violation.breach in (Breach.DATA, Breach.RESULT, Breach.ERROR):
        yield f"assert {got}.data == {piece_text(b''.join(right.data))}"
    else:
        raise Inexpressible(f"a case has no word for this: {self.violation.breach.value}: {self.violation.message}")


def _only(name: Number, wanted: str, op: Operation) -> None:
    if name != wanted:
        raise Inexpressible(f"a case has one connection, of which this is none of the ends: {line_of(op)}")


def _open(self: Body, op: Open, _: int) -> Iterator[str]:
    yield from _make(self, o.Make(ObjectKind.FIFO, op.name), _)


def _make(self: Body, op: o.Make, _: int) -> Iterator[str]:
    self.kinds[op.name] = op.kind
    if op.kind is ObjectKind.SOCKET and end_of(op.name) is End.PEER:
        yield f"{op.name}_fd = objects.own(socket.socket(socket.AF_UNIX).detach())"
        return
    yield f"{op.name} = objects.{op.kind.value}()"
    if end_of(op.name) is End.TESTEE:
        yield f"({op.name}_fd,) = link.open({op.name})"
    else:
        how = ", os.O_WRONLY" if op.kind is ObjectKind.FIFO else ""
        yield f"{op.name}_fd = objects.fresh({op.name}{how})"


def _close(self: Body, op: Close, at: int) -> Iterator[str]:
    if self.here(at):
        raise Inexpressible(f"a case has no word for a violation in: {line_of(op)}")
    if self.shown(at).failed:
        return  # it is not open, and nothing happens
    number = self.number(op.name)
    if end_of(op.name) is End.TESTEE:
        yield f"link.close({number})"
    elif op.name == "p0":
        yield "link.peer.close()"
    elif str(op.name)[0] == "g":
        yield f"objects.release({number})"
    else:
        raise Inexpressible(f"a case lets the peer close all that it has received, and no single one: {line_of(op)}")


def _shutdown(self: Body, op: Shutdown, at: int) -> Iterator[str]:
    if self.shown(at).failed:
        return
    testee = end_of(op.name) is End.TESTEE
    _only(op.name, "t0" if testee else "p0", op)
    yield f'link.shutdown("{SHUT[op.how][0]}")' if testee else f"link.peer.shutdown({SHUT[op.how][1]})"


def _set(self: Body, op: SetOption | o.SetMore, at: int) -> Iterator[str]:
    if self.shown(at).failed:
        return
    testee = end_of(op.name) is End.TESTEE
    _only(op.name, "t0" if testee else "p0", op)
    words = f'("SOL_SOCKET", "{OPTIONS[op.option][0]}", {option_value(op)})'
    yield f"link.try_option{words}" if testee else f"link.peer.option{words}"


def _room(_: Body, op: Room, __: int) -> Iterator[str]:
    yield "link.restore_slots()" if op.free is None else f"link.leave_slots({op.free})"


def _released(self: Body, op: Released, at: int) -> Iterator[str]:
    if self.here(at):
        yield f"assert {'' if self.right(at).value else 'not '}gone(link, {op.name})"


def _collect(_: Body, __: Collect, ___: int) -> Iterator[str]:
    yield "collect()"


def _fail(_: Body, op: o.Fail, __: int) -> Iterator[str]:
    times = "".join(f", {name}={value}" for name, value in (("nth", op.nth), ("times", op.times)) if value != 1)
    if op.calls in (Calls.SEND, Calls.RECEIVE):
        yield f'kernel.fails("{op.error.name}", {op.calls.name}{times}, optional=True)'
    elif op.calls is Calls.CLOSE:
        yield f'kernel.fails_close("{op.error.name}"{times})'
    elif op.nth == 1:
        yield f'kernel.fails_cloexec("{op.error.name}"{times})'
    else:
        raise Inexpressible(f"a case has no word for a later fcntl: {line_of(op)}")


def _short(_: Body, op: o.Short, __: int) -> Iterator[str]:
    times = "".join(f", {name}={value}" for name, value in (("nth", op.nth), ("times", op.times)) if value != 1)
    yield f"kernel.takes({op.count}{times})"


_WRITES: dict[type[Operation], Callable[[Body, Any, int], Iterator[str]]] = {
    Send: _send,
    o.SendOne: _send_one,
    Receive: _receive,
    o.Take: _take,
    o.TakeOne: _take_one,
    Open: _open,
    o.Make: _make,
    Close: _close,
    Shutdown: _shutdown,
    SetOption: _set,
    o.SetMore: _set,
    Room: _room,
    Released: _released,
    Collect: _collect,
    o.Fail: _fail,
    o.Short: _short,
}
"""What is not here, a case has no word for."""


def _without_unused(body: list[str]) -> list[str]:
    """Return the lines without the variables that no other line reads, the last first."""
    kept: list[str] = []
    for line in reversed(body):
        match = re.match(r"\(?(\w+),?\)? = (.*)", line)
        read = match is None or any(re.search(rf"\b{match[1]}\b", other) for other in kept)
        if read:
            kept.append(line)
        elif match is not None and not match[2].startswith("objects.fresh"):
            kept.append(match[2])
    return kept[::-1]
