"""The oracle for programs of the profiles message and descriptors: every operation is held against what may happen.

The model predicts what the kernel does; what an implementation may make of that stands in `receives` and `sends`. Where things
may be in several states, all of them are followed. When nothing that is permitted fits, that is a violation, and the judging of
calls ends there: what comes after may be its consequence.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from msgspec.structs import replace

from ...conformance.model import (
    Call,
    Close,
    Collect,
    Credentials,
    Kind,
    Open,
    Pair,
    Platform,
    Receive,
    Released,
    Room,
    Send,
    SetOption,
    Shutdown,
    State,
    acting,
    connected,
    forget,
    initial,
    outcomes,
    process_of,
)
from ...conformance.model import Option as Known
from ...conformance.model import flags as f
from ...conformance.model.control import lay_out, walk
from ...conformance.model.state import NOTHING
from ..judgement import Breach, Key, Violation
from ..operations import Calls, End, Fail, Forge, Make, Operation, SendOne, SetMore, Short, Take, TakeOne, end_of
from ..run.shown import UNKNOWN, Execution, Shown
from .account import judge_account, judge_left, place_of, verb_of
from .exact import count_miss, exactly
from .facts import Facts, Judged
from .ground import SAME_SYSTEMS, Ground, label_of
from .possible import Miss, Possible, Vague
from .receives import loosely, receive
from .requirements import Situation, requirement_of, telling
from .sends import send

_INT = struct.Struct("=i")
MOST = 256
"""States that are followed at once."""
NAMED = 24
"""Permitted outcomes that a violation names."""
BIGGEST = 2**23
"""What stands for a send buffer as big as the system permits: more than a program can fill."""
FIRST = 2**18
"""Bytes of send buffer that every system permits."""
UNKNOWN_OPTION = frozenset({"ENOPROTOOPT", "EOPNOTSUPP"})


def judge_calls(execution: Execution, facts: Facts) -> Judged:
    """Judge a program of profile message or descriptors: every call, what is open at its end, and the account.

    The violations come in the order of time, but for descriptors that are not close-on-exec: those come last, because they bring
    nothing else about, and where they are the rule they would hide everything else.
    """
    judge = _Judge(execution, facts)
    violation = judge.run()
    found = [] if violation is None else [judge.without_flags(violation)]
    if violation is None and execution.trouble is None and not judge.vague and not judge.ground.forged:
        found += judge_left(execution, facts, judge.states)
    known = {one.breach for one in found}
    found += [one for one in judge_account(execution, facts) if one.breach not in known]
    found.sort(key=lambda one: one.at)
    return Judged((*found, *judge.beside.values()), frozenset(judge.features))


@lru_cache(64)
def _begun(platform: Platform, kind: Kind) -> State:
    """Return the state in which connection 0 is all there is."""
    return connected(initial(platform), kind, "t0", "p0")


class _Judge:
    """One program's judging."""

    def __init__(self, execution: Execution, facts: Facts) -> None:
        program = execution.program
        self.execution = execution
        self.program = program
        self.facts = facts
        self.ground = Ground(execution, facts)
        self.states = [_begun(facts.platform, program.type)]
        self.beside: dict[Key, Violation] = {}
        """Violations of which nothing else can be a consequence, so that the judging goes on: close-on-exec."""
        self.features: set[str] = set()
        self.vague = program.system not in SAME_SYSTEMS

    def run(self) -> Violation | None:
        """Follow the program; return the first thing that is not permitted."""
        for at, (op, shown) in enumerate(zip(self.program.operations, self.execution.shown, strict=False)):
            if shown is None:
                break
            if self.vague:
                violation = self._strangers(at, op, shown)
                if violation is not None:
                    return violation
                continue
            try:
                violation = self._step(at, op, shown)
            except Vague:
                self.vague = True
                self.features.add(f"{verb_of(self.program, at)}: vague")
                continue
            if violation is not None:
                return violation
        return None

    def without_flags(self, violation: Violation) -> Violation:
        """Return a violation as one of LC12 where it shows nothing but that the testee's flags have no effect."""
        operations = tuple(map(_without_flags, self.program.operations))
        if self.facts.raw or operations == self.program.operations:
            return violation
        program = replace(self.program, operations=operations)
        again = _Judge(replace(self.execution, program=program), self.facts).run()
        if again is not None and again.at <= violation.at:
            return violation
        requirement = requirement_of(violation.breach, Situation.OPTIONS, raw=False)
        message = f"{violation.message}: as if the flags before it had not been given"
        return replace(violation, requirement=requirement, message=message)

    def _strangers(self, at: int, op: Operation, shown: Shown) -> Violation | None:
        """Of calls that cannot be followed: whether something was handed over that is none of the program's."""
        blind = self.ground.forged or self.ground.foreign
        if blind or UNKNOWN not in shown.files or not isinstance(op, (Receive, Take, TakeOne)):
            return None
        text = f"descriptors {' '.join(shown.files)}, of which '?' is none of the program's"
        return self._violation(at, op, Breach.IDENTITY, Situation.RECEIVE, text, ())

    def _step(self, at: int, op: Operation, shown: Shown) -> Violation | None:
        if isinstance(op, (Fail, Short, Forge)):
            self.ground.fault(at)
            return None
        end = _DOER.get(type(op)) or end_of(getattr(op, "name", 0))
        if type(op) is not Pair and self._is_made(op, end):
            return None
        if self.ground.interposed and end is End.TESTEE and getattr(op, "flags", 0) & f.COMPAT:
            raise Vague  # who stands in between has no word for that flag
        violation = self._follow(at, op, shown, end)
        if violation is None or violation.breach is not Breach.CLOEXEC:
            return violation
        self.beside.setdefault(violation.key, violation)
        return self._follow(at, op, replace(shown, cloexec=()), end)

    def _follow(self, at: int, op: Operation, shown: Shown, end: End) -> Violation | None:
        """Keep every state that fits; return the violation where none does."""
        rule = _RULES[type(op)]
        states = [acting(one, end) for one in self.states]
        possibles = (one for state in states for one in rule(self, state, op, shown, end))
        kept: list[State] = []
        missed: list[Possible] = []
        for one in possibles:
            if one.miss is not None:
                if len(missed) < MOST:
                    missed.append(one)
                continue
            state = one.state()
            if len(kept) < MOST and all(state != other for other in kept):
                kept.append(state)
                self._note(op, one, end)
        if kept:
            self.states = kept
            return None
        if not missed:
            raise Vague
        return self._missed(at, op, missed)

    def _note(self, op: Operation, possible: Possible, end: End) -> None:
        self.features.update(_features(type(op), end, possible.name, possible.because))

    def _missed(self, at: int, op: Operation, missed: list[Possible]) -> Violation:
        """Return the violation by the outcome that is nearest: one that fails as it did, the likeliest of them."""
        shown = self.execution.shown[at]
        failed = shown is not None and shown.failed
        nearest = next((one for one in missed if one.failed is failed), missed[0])
        miss = nearest.miss
        assert miss is not None, "what fits is not missed"  # noqa: S101 - for the type checker
        permitted = tuple(dict.fromkeys(one.text() for one in missed))[:NAMED]
        found = self._violation(at, op, miss.breach, miss.situation, miss.sentence, permitted)
        if self.facts.raw and miss.breach is Breach.ERROR:
            found = replace(found, requirement=telling(nearest.because) or found.requirement)
        return found

    def _violation(
        self, at: int, op: Operation, breach: Breach, situation: Situation, text: str, permitted: tuple[str, ...]
    ) -> Violation:
        peer = type(op) not in _DOER and end_of(getattr(op, "name", 0)) is End.PEER
        requirement = requirement_of(breach, situation, raw=self.facts.raw)
        place = place_of(self.program, peer=peer)
        return Violation(breach, requirement, at, verb_of(self.program, at), place, text, permitted)

    # ---- what the model does not know ----------------------------------------------------------------------------------

    def _is_made(self, op: Operation, end: End) -> bool:
        """Whether the operation is on an object that is more than the model's pipes; what it does is not followed then."""
        ground = self.ground
        if not (ground.made or ground.readable) or not isinstance(op, _ON_SOCKETS):
            return False
        read = isinstance(op, Receive) and op.call is Call.READ
        objects = ground.made | ground.readable if read else ground.made
        found = any(label_of(state, end, op.name) in objects for state in self.states)
        if found and isinstance(op, (Send, SendOne)):
            ground.tainted = True
        return found

    def is_strange(self, state: State, end: End, name: str | int) -> bool:
        """Whether a socket has options that the model does not know."""
        return bool(self.ground.strange) and label_of(state, end, name) in self.ground.strange


@lru_cache(4096)
def _features(op: type[Operation], end: End, name: str, because: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the behaviour that an outcome is."""
    prefix = f"{'tp'[end]} {op.__name__.lower()}"
    return (f"{prefix}: {name}", *(f"{prefix} {reason}" for reason in because))


def _without_flags(op: Operation) -> Operation:
    """Return an operation of the testee's without its flags."""
    if isinstance(op, (Send, SendOne, Receive, Take, TakeOne)) and end_of(op.name) is End.TESTEE:
        return replace(op, flags=0)
    return op


# ---- what each operation may do ----------------------------------------------------------------------------------------


def _open(judge: _Judge, state: State, op: Open | Make, shown: Shown, end: End) -> Iterator[Possible]:
    if isinstance(op, Make):
        judge.ground.note_make(op)
    for one in exactly(state, Open(op.name), shown, testee=end is End.TESTEE):
        # An object is opened by plain calls of the adapter's: where they fail otherwise, the table is not what it should be.
        yield one if one.miss is None or one.miss.situation is Situation.ACCOUNT else _raise()


def _raise() -> Possible:
    raise Vague


def _close(judge: _Judge, state: State, op: Close, shown: Shown, end: End) -> Iterator[Possible]:
    failing = judge.ground.failing(Calls.CLOSE) if end is End.TESTEE else ()
    seen = Shown(open=shown.open) if shown.error and shown.error in failing else shown  # closed all the same
    for one in exactly(state, op, seen, testee=end is End.TESTEE):
        miss = one.miss
        if miss is not None and miss.breach is Breach.ERROR and end is End.TESTEE and not one.failed:
            miss = miss._replace(breach=Breach.STRAY_CLOSE, situation=Situation.ACCOUNT)
        elif miss is not None and miss.breach is Breach.ERROR and end is End.TESTEE and shown.failed:
            miss = None  # which error a number that is not open has is not the implementation's affair
        yield one._replace(miss=miss, state=lambda one=one: _forgotten(one.state(), op.name))


def _forgotten(state: State, name: str | int) -> State:
    return forget(state, name) if isinstance(name, str) else state


def _pair(judge: _Judge, state: State, op: Pair, shown: Shown, end: End) -> Iterator[Possible]:
    del judge, end
    after = connected(state, op.kind, op.a, op.b)
    if (op.a in process_of(after, 0).names) is shown.failed:
        raise Vague
    yield Possible("connected", count_miss(after, shown), lambda: after, lambda: "a connection")


def _plain(judge: _Judge, state: State, op: Any, shown: Shown, end: End) -> Iterator[Possible]:  # noqa: ANN401 - of the model
    """Calls that neither send nor receive."""
    testee = end is End.TESTEE
    for one in exactly(state, op, shown, testee=testee):
        miss = one.miss
        if miss is not None and miss.breach is not Breach.LEAK and miss.breach is not Breach.STRAY_CLOSE:
            if testee and not judge.facts.raw and bool(shown.failed) is one.failed:
                miss = None  # the adapter's own call
            elif shown.error in UNKNOWN_OPTION or (testee and not judge.facts.raw):
                raise Vague
        yield one._replace(miss=miss)


def _set(judge: _Judge, state: State, op: SetOption, shown: Shown, end: End) -> Iterator[Possible]:
    if op.option is Known.SNDBUF and not 0 <= op.value <= FIRST:
        label = label_of(state, end, op.name)
        judge.ground.big.add(label)
        op = replace(op, value=BIGGEST)
    return _plain(judge, state, op, shown, end)


def _set_more(judge: _Judge, state: State, op: SetMore, shown: Shown, end: End) -> Iterator[Possible]:
    # The model's own option with the least effect tells whether there is a socket at all.
    for one in exactly(state, SetOption(op.name, Known.PASSRIGHTS, 1), shown, testee=end is End.TESTEE):
        if one.failed is not shown.failed:
            raise Vague
        if not shown.failed:
            judge.ground.note_option(op, [state], end)
        yield Possible(f"{op.option} {one.name}", count_miss(state, shown), lambda: state, one.text)


def _room(judge: _Judge, state: State, op: Room, shown: Shown, end: End) -> Iterator[Possible]:
    del judge, end
    for outcome in outcomes(state, op):
        miss = count_miss(outcome.state, shown)
        yield Possible(outcome.name, miss, lambda outcome=outcome: outcome.state, lambda: "a limit")


def _released(judge: _Judge, state: State, op: Released, shown: Shown, end: End) -> Iterator[Possible]:
    del end
    for outcome in outcomes(state, op):
        fits = judge.ground.tainted or (shown.error == (outcome.seen.error or "") and shown.value == outcome.seen.value)
        yield Possible(
            outcome.name,
            count_miss(outcome.state, shown) if fits else _held_miss(state, op, shown),
            lambda outcome=outcome: outcome.state,
            lambda outcome=outcome: f"{op.name} is {outcome.name}",
            outcome.because,
            bool(outcome.seen.error),
        )


def _held_miss(state: State, op: Released, shown: Shown) -> Miss:
    if not shown.value:
        return Miss(Breach.LEAK, Situation.ACCOUNT, f"somebody holds {op.name}, which nobody should")
    held = op.name in {state.files[one.file].label for one in process_of(state, 0).table.values()}
    breach = Breach.STRAY_CLOSE if held else Breach.DESCRIPTORS
    return Miss(breach, Situation.ACCOUNT if held else Situation.ARRIVAL, f"nobody holds {op.name}")


def _collect(judge: _Judge, state: State, op: Collect, shown: Shown, end: End) -> Iterator[Possible]:
    del judge, end
    for outcome in outcomes(state, op):
        miss = count_miss(outcome.state, shown)
        yield Possible(
            outcome.name, miss, lambda outcome=outcome: outcome.state, lambda: "a collection", outcome.because
        )


def _send(judge: _Judge, state: State, op: Send | SendOne, shown: Shown, end: End) -> Iterator[Possible]:
    if end is End.TESTEE and not judge.facts.raw:
        return send(judge.ground, state, op, shown)
    if isinstance(op, Send) and reads_beyond(op):
        judge.ground.foreign = True
        raise Vague
    return _sent_exactly(judge, state, op, shown, end)


_NAMED = 0x7FFFFF00
"""What stands for the number of every name."""


def reads_beyond(op: Send) -> bool:
    """Whether a wrong cmsg_len makes the kernel take bytes for descriptors that no name stands for, a header's, say.

    What has such a number in the sender is nobody's knowledge.
    """
    if op.controllen is None and all(isinstance(one, Credentials) or one.length is None for one in op.control):
        return False
    for message in walk(lay_out(op, lambda _: _NAMED, NOTHING)):
        if message is not None and message[:2] == (f.SOL_SOCKET, f.SCM_RIGHTS):
            numbers = [number for (number,) in _INT.iter_unpack(message[2][: len(message[2]) // 4 * 4])]
            if any(number >= 0 and number != _NAMED for number in numbers):
                return True
    return False


def _sent_exactly(judge: _Judge, state: State, op: Any, shown: Shown, end: End) -> Iterator[Possible]:  # noqa: ANN401
    for one in exactly(state, op, shown, testee=end is End.TESTEE):
        if one.miss is not None and judge.ground.big and label_of(state, end, op.name) in judge.ground.big:
            raise Vague
        yield one


def _receive(judge: _Judge, state: State, op: Receive | Take | TakeOne, shown: Shown, end: End) -> Iterator[Possible]:
    testee = end is End.TESTEE
    if judge.is_strange(state, end, op.name):
        yield from loosely(judge.ground, state, op, shown)
        return
    if testee and not judge.facts.raw:
        found = list(receive(judge.ground, state, op, shown))
    else:
        found = list(exactly(state, _to_the_letter(op), shown, testee=testee))
    forged = testee and judge.ground.forged and all(one.miss is not None for one in found)
    yield from loosely(judge.ground, state, op, shown) if forged else found


def _to_the_letter(op: Receive | Take | TakeOne) -> Receive:
    """Return the call that a testee of profile raw makes of it: room is CMSG_LEN of so many ints."""
    if isinstance(op, Receive):
        return op
    room = 1 if isinstance(op, TakeOne) else op.room
    return Receive(op.name, op.sizes, f.HEADER + 4 * room if room else None, op.flags, prefix=op.prefix)


_Rule = Callable[[_Judge, State, Any, Shown, End], Iterator[Possible]]
_RULES: dict[type, _Rule] = {
    Open: _open,
    Make: _open,
    Close: _close,
    Pair: _pair,
    Shutdown: _plain,
    SetOption: _set,
    SetMore: _set_more,
    Room: _room,
    Released: _released,
    Collect: _collect,
    Send: _send,
    SendOne: _send,
    Receive: _receive,
    Take: _receive,
    TakeOne: _receive,
}
_DOER: dict[type, End] = {Collect: End.PEER}
_ON_SOCKETS = (Send, SendOne, Receive, Take, TakeOne, Shutdown, SetOption, SetMore)
