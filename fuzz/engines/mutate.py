"""New programs out of old ones, and out of nothing; every choice comes from the random numbers that are given.

What is done to a program keeps the sense of the rest: where an operation comes or goes that makes names, later operations go on
meaning the same things. Only what a change touches is made valid again, and so it is fast.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from msgspec.structs import replace

from ...conformance.model.operations import Control, Number, Open, Pair, Receive, Rights, Room, Send
from ...impls.protocol.messages import Receiver
from ...impls.protocol.values import Profile
from ..fitting import fit
from ..offer import INTERPOSE, Offer, adapt, kinds_of, needs, sides_of, simpler
from ..operations import End, Fail, Forge, Make, Operation, Queue, Short, Take, TakeOne, Turn, Write, end_of
from ..program import CALLBACKS, OPERATIONS, Namer, Program, System, bound
from ..scope import PERMITTED, Scope, capacity
from . import chance
from .chance import MAKERS, OFTEN, one_of

USUAL = 8
"""Operations beyond which a program rather loses than gains some."""


def mutate(program: Program, offer: Offer, rng: Random, others: Sequence[Program] = ()) -> Program:
    """Return a program that differs from ``program`` by one change or a few.

    ``program`` has to be valid and within the offer (`fdspec.fuzz.offer.adapt` makes it so), and then the result is; of
    ``others``, which may be any programs, parts are taken over.
    """
    if program.profile is not offer.profile:
        program = adapt(program, offer)
    while True:
        program = _changed(program, offer, rng, others)
        if rng.random() < 0.7:
            return program


def fresh(offer: Offer, rng: Random, operations: int = USUAL) -> Program:
    """Return a program of about so many operations, and never more than `OPERATIONS`, that is valid and within the offer.

    Most of them do something: something is sent at one end with descriptors and received at the other with little room.
    Raises ValueError for an offer without a type of socket or without a side.
    """
    draft = _Draft(_head(offer, rng), offer)
    wanted = min(OPERATIONS, max(1, operations))
    length = 1 + int(rng.random() * wanted)
    if length > 1 and rng.random() < 0.85:
        _TELLERS[offer.profile](draft, rng)
    for _ in range(3 * length):
        if len(draft.found) >= length:
            break
        draft.random(rng)
    return draft.program(wanted)


# ---- a program in the making -------------------------------------------------------------------------------------------


class _Draft:
    """The beginning of a program, valid and within the offer at any time."""

    def __init__(self, head: Program, offer: Offer, beginning: Sequence[Operation] = ()) -> None:
        self.head, self.offer = head, offer
        self.scope = Scope(head.profile, head.type)
        self.found = list(beginning)
        for one in beginning:
            self.scope.add(one)

    def add(self, operation: Operation) -> Operation | None:
        """Add what ``operation`` comes to here, where it comes to something; return that."""
        made = fit(operation, self.scope)
        if made is not None and not needs(made, self.offer.profile) <= self.offer.names:
            made = simpler(made, self.offer)
            made = None if made is None else fit(made, self.scope)
        if made is not None:
            self.found.append(made)
            self.scope.add(made)
        return made

    def random(self, rng: Random) -> None:
        """Add an operation of any kind."""
        kind, end = one_of(rng, _kinds(self.offer))
        self.add(MAKERS[kind](rng, self.scope, end))

    def of(self, kind: type[Operation], end: End, rng: Random) -> Operation | None:
        """Add an operation of that kind."""
        return self.add(MAKERS[kind](rng, self.scope, end)) if kind in self.scope.permitted else None

    def program(self, most: int = OPERATIONS) -> Program:
        """Return the program."""
        head = self.head
        return Program(head.profile, head.type, head.side, tuple(self.found[:most]), head.system, head.receiver)


@functools.lru_cache(maxsize=64)
def _kinds(offer: Offer) -> tuple[tuple[type[Operation], End], ...]:
    """Return the kinds of operations that can be had, each as often as it is to be made."""
    found: list[tuple[type[Operation], End]] = []
    for kind, ends in PERMITTED[offer.profile].items():
        if kind in (Fail, Short, Forge) and INTERPOSE not in offer.names:
            continue
        for end in ends:
            found += [(kind, end)] * OFTEN.get(kind, 1)
    return tuple(found)


def _head(offer: Offer, rng: Random) -> Program:
    """Return a program without operations."""
    head = Program(offer.profile, one_of(rng, kinds_of(offer)), one_of(rng, sides_of(offer)))
    if INTERPOSE in offer.names and rng.random() < 0.1:
        head = replace(head, system=one_of(rng, tuple(System)))
    if offer.profile is Profile.TRANSPORT and rng.random() < 0.15:
        head = adapt(replace(head, receiver=_receiver(rng)), offer)
    return head


def _receiver(rng: Random) -> Receiver:
    at = int(rng.random() * CALLBACKS / 2)
    return one_of(
        rng,
        (Receiver(), Receiver(descriptors=False), Receiver(raise_at=at), Receiver(close_at=at), Receiver(abort_at=at)),
    )


# ---- programs out of nothing -------------------------------------------------------------------------------------------

_RECEIVES: dict[tuple[Profile, End], tuple[type[Operation], ...]] = {
    (Profile.MESSAGE, End.TESTEE): (Take, Take, Take, Receive),
    (Profile.DESCRIPTORS, End.TESTEE): (Take, Take, TakeOne),
    (Profile.MESSAGE, End.PEER): (Receive,),
    (Profile.DESCRIPTORS, End.PEER): (Receive,),
    (Profile.TRANSPORT, End.PEER): (Receive,),
}


def _passing(draft: _Draft, rng: Random) -> None:
    """One end opens things and sends them; the other receives."""
    sender = End.PEER if rng.random() < 0.7 else End.TESTEE  # what implementations get wrong is mostly receiving
    receiver = End.TESTEE if sender is End.PEER else End.PEER
    for _ in range(one_of(rng, (1, 1, 1, 2, 3))):
        draft.of(one_of(rng, (Open, Open, Make)), sender, rng)
    _faults(draft, rng)
    if rng.random() < 0.15:
        draft.of(Room, End.TESTEE, rng)
    for _ in range(one_of(rng, (1, 1, 1, 2))):
        _sending(draft, sender, rng)
    for _ in range(one_of(rng, (1, 1, 1, 2))):
        draft.of(one_of(rng, _RECEIVES[draft.offer.profile, receiver]), receiver, rng)


def _sending(draft: _Draft, end: End, rng: Random) -> None:
    """Send at least one descriptor over connection 0."""
    fds = tuple(chance.descriptor(rng, draft.scope, end) for _ in range(one_of(rng, (1, 1, 1, 2, 2, 3, 4))))
    draft.add(Send("p0" if end is End.PEER else "t0", chance.data(rng), (Rights(fds),), None, chance.send_flags(rng)))


def _faults(draft: _Draft, rng: Random) -> None:
    if INTERPOSE in draft.offer.names and rng.random() < 0.3:
        draft.of(one_of(rng, (Fail, Forge, Short)), End.TESTEE, rng)


def _transporting(draft: _Draft, rng: Random) -> None:
    """The peer sends and the loop turns, or things are queued with data, the loop turns and the peer receives."""
    _faults(draft, rng)
    if rng.random() < 0.55:
        draft.of(one_of(rng, (Open, Make)), End.PEER, rng)
        for _ in range(one_of(rng, (1, 1, 2))):
            _sending(draft, End.PEER, rng)
        draft.add(Turn("t0"))
        return
    draft.of(one_of(rng, (Open, Open, Make)), End.TESTEE, rng)
    for _ in range(one_of(rng, (1, 1, 2))):
        draft.add(Queue("t0", chance.descriptor(rng, draft.scope, End.TESTEE)))
    draft.add(Write("t0", chance.piece(rng)))
    draft.add(Turn("t0"))
    draft.of(Receive, End.PEER, rng)


_TELLERS: dict[Profile, Callable[[_Draft, Random], None]] = {
    Profile.MESSAGE: _passing,
    Profile.DESCRIPTORS: _passing,
    Profile.TRANSPORT: _transporting,
}


# ---- programs out of programs ------------------------------------------------------------------------------------------


def _changed(program: Program, offer: Offer, rng: Random, others: Sequence[Program]) -> Program:
    length = len(program.operations)
    if not length:
        return fresh(offer, rng, 4)
    return one_of(rng, _SMALL if length < USUAL else _LARGE)(program, offer, rng, others)


def _other_head(program: Program, offer: Offer, rng: Random, _: Sequence[Program]) -> Program:
    return adapt(replace(_head(offer, rng), operations=program.operations), offer)


def _inserted(program: Program, offer: Offer, rng: Random, _: Sequence[Program]) -> Program:
    operations = program.operations
    at = int(rng.random() * (len(operations) + 1))
    draft = _Draft(program, offer, operations[:at])
    draft.random(rng)
    return _ended(draft, operations[:at], (), operations[at:])


def _dropped(program: Program, offer: Offer, rng: Random, _: Sequence[Program]) -> Program:
    operations = program.operations
    at = int(rng.random() * len(operations))
    count = 1 if rng.random() < 0.8 else 1 + int(rng.random() * (len(operations) - at))
    draft = _Draft(program, offer, operations[:at])
    return _ended(draft, operations[:at], operations[at : at + count], operations[at + count :], known=False)


def _doubled(program: Program, offer: Offer, rng: Random, _: Sequence[Program]) -> Program:
    operations = program.operations
    first = int(rng.random() * len(operations))
    at = first + 1 if rng.random() < 0.6 else first + 1 + int(rng.random() * (len(operations) - first))
    draft = _Draft(program, offer, operations[:at])
    draft.add(operations[first])
    return _ended(draft, operations[:at], (), operations[at:])


def _swapped(program: Program, offer: Offer, rng: Random, _: Sequence[Program]) -> Program:
    operations = program.operations
    if len(operations) < 2:
        return _field(program, offer, rng, _)
    first = int(rng.random() * (len(operations) - 1))
    second = first + 1 if rng.random() < 0.6 else first + 1 + int(rng.random() * (len(operations) - first - 1))
    middle = operations[first : second + 1]
    turned = (middle[-1], *middle[1:-1], middle[0])
    draft = _Draft(program, offer, operations[:first])
    if not any(map(_makes, middle)):
        draft.found += turned
        draft.found += operations[second + 1 :]
        return draft.program()
    _renamed(draft, operations[:first], (*turned, *operations[second + 1 :]))
    return draft.program()


def _spliced(program: Program, offer: Offer, rng: Random, others: Sequence[Program]) -> Program:
    """Put a part of another program into this one, in the place of its tail or between."""
    operations = program.operations
    other = one_of(rng, others).operations if others else operations
    if not other:
        return _inserted(program, offer, rng, others)
    first = int(rng.random() * len(other))
    part = other[first:] if rng.random() < 0.5 else other[first : first + 1 + int(rng.random() * 3)]
    at = int(rng.random() * (len(operations) + 1))
    tail = () if rng.random() < 0.6 or len(operations) >= USUAL else operations[at:]
    draft = _Draft(program, offer, operations[:at])
    namer = Namer(program)
    namer.scope = draft.scope
    for written in part[:USUAL]:
        made = draft.add(namer.renamed(written))
        if made is not None:
            for old, new in zip(bound(written), bound(made), strict=False):
                if new:
                    namer.meaning[old or new] = new
    return _ended(draft, operations[:at], (), tail)


def _ended(
    draft: _Draft,
    beginning: Sequence[Operation],
    removed: Sequence[Operation],
    tail: Sequence[Operation],
    *,
    known: bool = True,
) -> Program:
    """Return the program with its tail, whose names mean what they meant when ``removed`` stood where the draft differs now.

    ``known``: what stands there now goes by the same names, as far as there are as many.
    """
    put = draft.found[len(beginning) :]
    if [_makes(one) for one in put if _makes(one)] == [_makes(one) for one in removed if _makes(one)]:
        draft.found += tail
    elif tail:
        pairs = zip(removed, put, strict=False) if known else ()
        _renamed(draft, beginning, tail, pairs)
    return draft.program()


def _renamed(
    draft: _Draft,
    beginning: Iterable[Operation],
    tail: Iterable[Operation],
    pairs: Iterable[tuple[Operation, Operation]] = (),
) -> None:
    """Add operations of the same program to a draft; their names are those that they had there."""
    namer = Namer(draft.head)
    for one in beginning:
        for name in bound(one):
            namer.meaning[name] = name
    for old, new in pairs:
        namer.meaning.update((name, now) for name, now in zip(bound(old), bound(new), strict=False) if now)
    namer.scope = draft.scope
    for one in tail:
        made = namer.normal(one)
        if made is not None:
            draft.found.append(made)


def _makes(operation: Operation) -> tuple[Any, ...]:
    """Return what an operation makes that has names, without the names; nothing for nothing."""
    if isinstance(operation, (Open, Make)):
        return (type(operation), end_of(operation.name))
    if isinstance(operation, Pair):
        return (Pair,)
    if isinstance(operation, (Receive, Take, TakeOne, Turn)):
        room = capacity(operation)
        return (end_of(operation.name), room) if room else ()
    return ()


# ---- one field ---------------------------------------------------------------------------------------------------------


def _field(program: Program, offer: Offer, rng: Random, _: Sequence[Program]) -> Program:
    """Change a field of one operation."""
    operations = program.operations
    at = int(rng.random() * len(operations))
    old = operations[at]
    draft = _Draft(program, offer, operations[:at])
    end = end_of(getattr(old, "name", -1))
    changes = _FIELDS.get(type(old))
    if changes is not None and rng.random() < 0.9:
        draft.add(one_of(rng, changes)(old, draft.scope, end, rng))
    else:
        draft.add(MAKERS[type(old)](rng, draft.scope, end))
    return _ended(draft, operations[:at], (old,), operations[at + 1 :])


_Change = Callable[[Any, Scope, End, Random], Operation]


def _name(op: Any, scope: Scope, end: End, rng: Random) -> Operation:  # noqa: ANN401 - what names a socket
    return replace(op, name=chance.socket(rng, scope, end))


def _data(op: Any, _: Scope, __: End, rng: Random) -> Operation:  # noqa: ANN401 - what sends
    given: tuple[bytes, ...] = op.data
    dice = rng.random()
    if not given or dice < 0.4 or len(given) > USUAL:
        return replace(op, data=chance.data(rng))
    if dice < 0.6 and len(given) < 8:
        return replace(op, data=(*given, chance.piece(rng)))
    at = int(rng.random() * len(given))
    if dice < 0.8:
        return replace(op, data=(*given[:at], chance.piece(rng), *given[at + 1 :]))
    one = given[at]
    near = one[:-1] if rng.random() < 0.5 else one + one[:1]
    return replace(op, data=(*given[:at], near, *given[at + 1 :]))


def _send_flags(op: Any, _: Scope, __: End, rng: Random) -> Operation:  # noqa: ANN401 - what sends
    return replace(op, flags=chance.send_flags(rng))


def _receive_flags(op: Any, _: Scope, __: End, rng: Random) -> Operation:  # noqa: ANN401 - what receives
    return replace(op, flags=op.flags ^ chance.receive_flags(rng))


def _controls(op: Any, scope: Scope, end: End, rng: Random) -> Operation:  # noqa: ANN401 - a Send
    given: tuple[Control, ...] = op.control
    dice = rng.random()
    if not given or dice < 0.2:
        return replace(op, control=chance.controls(rng, scope, end))
    if dice < 0.3:
        return replace(op, control=(*given, chance.control(rng, scope, end)))
    if dice < 0.35:
        return replace(op, control=given[1:])
    at = int(rng.random() * len(given))
    one = given[at]
    rights = isinstance(one, Rights)
    one = replace(one, fds=_fds(one.fds, scope, end, rng)) if rights else chance.control(rng, scope, end)
    return replace(op, control=(*given[:at], one, *given[at + 1 :]))


def _fds(fds: tuple[Number, ...], scope: Scope, end: End, rng: Random) -> tuple[Number, ...]:
    dice = rng.random()
    if not fds or dice < 0.2:
        return chance.descriptors(rng, scope, end)
    if dice < 0.45:
        return (*fds, chance.descriptor(rng, scope, end))
    if dice < 0.6:
        return fds[1:]
    if dice < 0.7:
        return (*fds[:8], *fds[:8])
    if dice < 0.8:
        return fds[::-1]
    at = int(rng.random() * len(fds))
    return (*fds[:at], chance.descriptor(rng, scope, end), *fds[at + 1 :])


def _cut(op: Any, _: Scope, __: End, rng: Random) -> Operation:  # noqa: ANN401 - a Send
    return replace(op, controllen=chance.cut(rng))


def _sizes(field: str) -> _Change:
    def change(op: Any, _: Scope, __: End, rng: Random) -> Operation:  # noqa: ANN401 - what receives
        given: tuple[int, ...] = getattr(op, field)
        dice = rng.random()
        if not given or dice < 0.5 or len(given) > USUAL:
            return replace(op, **{field: chance.sizes(rng)})
        if dice < 0.65:
            return replace(op, **{field: (*given, one_of(rng, chance.SIZES))})
        at = int(rng.random() * len(given))
        near = max(0, given[at] + (1 if rng.random() < 0.4 else -1))
        return replace(op, **{field: (*given[:at], near, *given[at + 1 :])})

    return change


def _control_length(op: Any, _: Scope, __: End, rng: Random) -> Operation:  # noqa: ANN401 - a Receive
    if op.control is None or rng.random() < 0.6:
        return replace(op, control=chance.control_length(rng))
    return replace(op, control=max(0, op.control + one_of(rng, (-4, -1, 1, 4, 8))))


def _room(op: Any, _: Scope, __: End, rng: Random) -> Operation:  # noqa: ANN401 - a Take
    return replace(op, room=chance.room(rng) if rng.random() < 0.7 else max(0, op.room + one_of(rng, (-1, 1))))


def _fd(op: Any, scope: Scope, end: End, rng: Random) -> Operation:  # noqa: ANN401 - what names a descriptor
    return replace(op, fd=chance.descriptor(rng, scope, end))


def _piece(op: Any, _: Scope, __: End, rng: Random) -> Operation:  # noqa: ANN401 - a Write
    return replace(op, data=chance.piece(rng))


_FIELDS: dict[type[Operation], tuple[_Change, ...]] = {
    Send: (_data, _data, _controls, _controls, _controls, _send_flags, _cut, _name),
    Receive: (_sizes("room"), _control_length, _control_length, _receive_flags, _name),
    Take: (_sizes("sizes"), _room, _room, _receive_flags, _name),
    TakeOne: (_sizes("sizes"), _receive_flags, _name),
    Queue: (_fd,),
    Write: (_piece,),
}
"""What changes one field of an operation; one that is not here is made anew."""

_Mutation = Callable[[Program, Offer, Random, Sequence[Program]], Program]


def _table(often: dict[_Mutation, int]) -> tuple[_Mutation, ...]:
    return tuple(one for one, times in often.items() for _ in range(times))


_SMALL = _table({_other_head: 1, _field: 20, _inserted: 12, _dropped: 5, _doubled: 3, _swapped: 4, _spliced: 5})
_LARGE = _table({_other_head: 1, _field: 20, _inserted: 3, _dropped: 16, _doubled: 1, _swapped: 4, _spliced: 5})
"""What is done to a program, each as often as it stands there."""
