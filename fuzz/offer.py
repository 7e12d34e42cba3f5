"""What a testee offers, as names, and what an operation needs; a program is made to fit an offer.

The names are those of capabilities (see `fdspec.impls.protocol.capabilities`), of socket types and of kinds of objects, and a few
of this module's own: ``client`` and ``server`` (which side of a connection), ``payload`` (any data can be sent), ``interpose``
(the testee's calls can be interposed).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from msgspec import Struct
from msgspec.structs import replace

from ..conformance.model.operations import Control, Kind, Open, Pair, Receive, Rights, Send, SetOption, Shutdown
from ..impls.protocol.capabilities import PROFILES, TESTEE
from ..impls.protocol.messages import Receiver
from ..impls.protocol.results import HelloResult
from ..impls.protocol.values import ObjectKind, Profile
from .operations import (
    End,
    Ending,
    Fail,
    Finish,
    Forge,
    Give,
    Make,
    Operation,
    Produce,
    Queue,
    Reading,
    SendOne,
    SetMore,
    Short,
    Take,
    TakeOne,
    Write,
    end_of,
)
from .program import Program, Side, System, header, normal
from .scope import room_of

NONE: frozenset[str] = frozenset()
INTERPOSE, PAYLOAD = "interpose", "payload"


class Offer(Struct, frozen=True):
    """What a testee offers in one profile, by name."""

    profile: Profile
    names: frozenset[str]


def offer_of(hello: HelloResult, profile: Profile, *, interpose: bool = False) -> Offer:
    """Return what a testee offers in ``profile``. Raises KeyError where it does not offer the profile."""
    offered = hello.profiles[profile]
    names = {*map(str, offered.types), *offered.capabilities, *map(str, hello.objects), *hello.capabilities}
    if profile is not Profile.TRANSPORT:
        names |= {Side.CLIENT.value} | ({Side.SERVER.value} if "listen" in hello.capabilities else set())
    names |= {INTERPOSE} if interpose else set()
    return Offer(profile, frozenset(names | ({PAYLOAD} if hello.payload.kind == "any" else set())))


def everything(profile: Profile) -> Offer:
    """Return an offer of all there is in ``profile``."""
    names = {*TESTEE, *PROFILES[profile], *map(str, Kind), *map(str, ObjectKind), *map(str, Side), INTERPOSE, PAYLOAD}
    return Offer(profile, frozenset(names))


def kinds_of(offer: Offer) -> list[Kind]:
    """Return the types of socket that are offered. Raises ValueError for none."""
    found = [
        one for one in Kind if one in offer.names and (one is Kind.STREAM or offer.profile is not Profile.TRANSPORT)
    ]
    return found or _nothing(offer, "no type of socket")


def sides_of(offer: Offer) -> list[Side]:
    """Return the sides that are offered. Raises ValueError for none."""
    return [one for one in Side if one in offer.names] or _nothing(offer, "neither client nor server")


def _nothing(offer: Offer, what: str) -> NoReturn:
    raise ValueError(f"nothing can be done with an offer of {what}: {offer.profile}, {', '.join(sorted(offer.names))}")


def needs(operation: Operation, profile: Profile) -> frozenset[str]:
    """Return the names without which ``operation`` cannot be asked for."""
    need = _NEEDS.get(type(operation))
    return NONE if need is None else frozenset(need(operation, profile))


def needs_of(program: Program) -> frozenset[str]:
    """Return the names without which ``program`` cannot be executed."""
    found = {str(program.type), str(program.side), *_receiver_needs(program.receiver)}
    found |= {INTERPOSE} if program.system is not System.HOST else set()
    return frozenset(found).union(*(needs(one, program.profile) for one in program.operations))


def adapt(program: Program, offer: Offer) -> Program:
    """Return the valid program nearest to ``program`` that needs no more than is offered.

    An operation that needs more is made simpler (one buffer, no flags, another kind of object); where that does not help, it is
    left out. Raises ValueError for an offer without a type of socket or without a side.
    """
    names, kinds, sides = offer.names, kinds_of(offer), sides_of(offer)
    program = normal(replace(program, profile=offer.profile))  # what it needs is known of a valid one alone
    head = header(program)
    head = replace(
        head,
        type=head.type if head.type in kinds else kinds[0],
        side=head.side if head.side in sides else sides[0],
        system=head.system if INTERPOSE in names else System.HOST,
        receiver=head.receiver if _receiver_needs(head.receiver) <= names else Receiver(),
    )
    fitting = (simpler(one, offer) for one in program.operations)
    return normal(replace(head, operations=tuple(one for one in fitting if one is not None)))


def simpler(operation: Operation, offer: Offer) -> Operation | None:
    """Return what ``operation`` comes to with no more than is offered, which may have yet to be fitted; None for nothing."""
    lacking = needs(operation, offer.profile) - offer.names
    for name, simplify in _SIMPLIFY if lacking else ():
        if name in lacking:
            operation = simplify(operation, offer)
            lacking = needs(operation, offer.profile) - offer.names
    return None if lacking else operation


# ---- needs -------------------------------------------------------------------------------------------------------------


def _receiver_needs(receiver: Receiver) -> set[str]:
    closing, aborting = receiver.close_at is not None, receiver.abort_at is not None
    return _if(
        {
            "plain-receiver": not receiver.descriptors,
            "raising-receiver": receiver.raise_at is not None,
            "closing-receiver": closing or aborting,
            "abort": aborting,
        }
    )


def _if(asked: dict[str, bool]) -> set[str]:
    return {name for name, so in asked.items() if so}


def _need_send(op: Send, profile: Profile) -> set[str]:
    if end_of(op.name) is End.PEER:
        return set()
    fds = [len(one.fds) for one in op.control if isinstance(one, Rights)]
    message = profile is Profile.MESSAGE
    plain = len(op.control) == len(fds) <= 1 and all(fds)
    return {PAYLOAD} | _if(
        {
            "buffers-out": len(op.data) > 1,
            "flags-out": bool(op.flags),
            "empty-out": not any(op.data),
            "plain-out": not (op.control if message else any(fds)),
            "ancillary": message and not plain,
            "several": len(op.control) > 1,
            "many": not message and sum(fds) > 1,
        }
    )


def _need_send_one(op: SendOne, _: Profile) -> set[str]:
    asked = {"buffers-out": len(op.data) > 1, "flags-out": bool(op.flags), "empty-out": not any(op.data)}
    return {"single", PAYLOAD} | _if(asked)


def _need_receive(op: Receive, _: Profile) -> set[str]:
    if end_of(op.name) is End.PEER:
        return set()
    return {"control-length"} | _if({"buffers-in": len(op.room) != 1, "flags-in": bool(op.flags)})


def _need_take(op: Take, profile: Profile) -> set[str]:
    many = op.room > 1 and profile is Profile.DESCRIPTORS
    return _if({"buffers-in": len(op.sizes) != 1, "flags-in": bool(op.flags), "many": many})


def _need_take_one(op: TakeOne, _: Profile) -> set[str]:
    return {"single"} | _if({"buffers-in": len(op.sizes) != 1, "flags-in": bool(op.flags)})


def _need_options(op: Shutdown | SetOption | SetMore, _: Profile) -> set[str]:
    return {"options"} if end_of(op.name) is End.TESTEE else set()


def _need_finish(op: Finish, _: Profile) -> set[str]:
    return _if({"half-close": op.how is Ending.HALF, "abort": op.how is Ending.ABORT})


def _always(*names: str) -> Callable[[Any, Profile], set[str]]:
    return lambda _op, _profile: set(names)


def _need_kind(op: Make | Pair, _: Profile) -> set[str]:
    return {str(op.kind)}


_NEEDS: dict[type[Operation], Callable[[Any, Profile], set[str]]] = {
    Send: _need_send,
    SendOne: _need_send_one,
    Receive: _need_receive,
    Take: _need_take,
    TakeOne: _need_take_one,
    Open: _always("fifo"),
    Make: _need_kind,
    Pair: _need_kind,
    Shutdown: _need_options,
    SetOption: _need_options,
    SetMore: _need_options,
    Write: _always(PAYLOAD),
    Give: _always("owned"),
    Produce: _always("producer"),
    Reading: _always("reading"),
    Finish: _need_finish,
    Fail: _always(INTERPOSE),
    Short: _always(INTERPOSE),
    Forge: _always(INTERPOSE),
}
"""What is not here needs nothing."""


# ---- simpler -----------------------------------------------------------------------------------------------------------


def _no_flags(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - what sends or receives
    return replace(op, flags=0)


def _one_buffer(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - what sends
    return replace(op, data=(b"".join(op.data),))


def _one_size(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - what receives
    field = "room" if isinstance(op, Receive) else "sizes"
    return replace(op, **{field: (sum(getattr(op, field)),)})


def _some_data(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - what sends
    return replace(op, data=(b"x",))


def _first_control(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - a Send
    return replace(op, control=op.control[:1])


def _rights_alone(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - a Send
    return replace(op, control=tuple(one for one in op.control if isinstance(one, Rights) and one.fds)[:1])


def _one_descriptor(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - a Send or a Take
    if isinstance(op, Take):
        return replace(op, room=1)
    control: tuple[Control, ...] = op.control
    return replace(op, control=tuple(Rights(one.fds[:1]) for one in control if isinstance(one, Rights)))


def _by_room(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - a Receive
    return Take(op.name, op.room, room_of(op.control), op.flags, op.prefix)


def _not_single(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - a SendOne or a TakeOne
    if isinstance(op, TakeOne):
        return Take(op.name, op.sizes, 1, op.flags, op.prefix)
    return Send(op.name, op.data, (Rights((op.fd,)),), None, op.flags)


def _closed(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - a Finish
    return replace(op, how=Ending.CLOSE)


def _queued(op: Any, _: Offer) -> Operation:  # noqa: ANN401 - a Give
    return Queue(op.name, op.fd)


def _other_object(op: Any, offer: Offer) -> Operation:  # noqa: ANN401 - an Open or a Make
    kind = next((one for one in ObjectKind if one in offer.names), None)
    return op if kind is None else Open(op.name) if kind is ObjectKind.FIFO else Make(kind, op.name)


def _other_type(op: Any, offer: Offer) -> Operation:  # noqa: ANN401 - a Pair
    return replace(op, kind=next(one for one in Kind if one in offer.names))


_SIMPLIFY: tuple[tuple[str, Callable[[Any, Offer], Operation]], ...] = (
    ("single", _not_single),
    ("control-length", _by_room),
    ("flags-out", _no_flags),
    ("flags-in", _no_flags),
    ("buffers-out", _one_buffer),
    ("buffers-in", _one_size),
    ("several", _first_control),
    ("ancillary", _rights_alone),
    ("many", _one_descriptor),
    ("empty-out", _some_data),
    ("abort", _closed),
    ("half-close", _closed),
    ("owned", _queued),
    *((str(kind), _other_object) for kind in ObjectKind),
    *((str(kind), _other_type) for kind in Kind),
)
"""What makes an operation simpler that needs the name, in this order."""
