"""The codec: every byte string is a valid program, and every valid program has bytes that are it.

The bytes are records that a byte 0xFE ends: first one for the program, then one for each operation. A byte that is changed
changes the operation that it is in, a record that is cut out or put in takes or brings one operation. Within a record there are
numbers (LEB128); what has to be chosen is chosen by a number modulo the choices, what is missing is zero, what is left over is
ignored. A name is a number too: an index into what exists there.

Codes are positions in tables to which later versions only append.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..conformance.interpose.faults import Trouble
from ..conformance.model.operations import (
    Call,
    Close,
    Collect,
    How,
    Kind,
    Open,
    Option,
    Pair,
    Receive,
    Released,
    Room,
    Send,
    SetOption,
    Shutdown,
)
from ..impls.protocol.messages import Receiver
from ..impls.protocol.values import ObjectKind, Profile
from . import fitting as fit
from . import operations as o
from .forging import SHAPES, Builder
from .operations import (
    Calls,
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
    Turn,
    Write,
    end_of,
)
from .parts import (
    choice,
    read_controls,
    read_data,
    read_descriptor,
    read_flags,
    read_integer,
    read_piece,
    read_sizes,
    read_socket,
    write_controls,
    write_data,
    write_descriptor,
    write_flags,
    write_piece,
    write_sizes,
    write_socket,
)
from .program import CALLBACKS, OPERATIONS, PROFILES, VERSION, Program, Side, System, header
from .scope import CONNECTIONS, PERMITTED, Scope
from .wire import Reader, Writer, join, split

_KINDS, _SIDES, _SYSTEMS, _HOWS, _CALLS = tuple(Kind), tuple(Side), tuple(System), tuple(How), tuple(Call)
_OPTIONS, _MORE, _ENDINGS, _FAILING = tuple(Option), tuple(o.Option), tuple(Ending), tuple(Calls)
_TROUBLES, _BUILDERS = tuple(Trouble), tuple(Builder)
_OBJECTS = (ObjectKind.FILE, ObjectKind.SOCKET)
_CODES = {profile: tuple(permitted) for profile, permitted in PERMITTED.items()}
_PLAIN_RECEIVER = Receiver()


def decode(data: bytes) -> Program:
    """Return the program that ``data`` is; it is valid."""
    first, *records = split(data)
    head = _read_header(Reader(first))
    scope, codes = Scope(head.profile, head.type), _CODES[head.profile]
    found: list[Operation] = []
    for record in records:
        if record:
            reader = Reader(record)
            operation = _FORMS[codes[reader.number() % len(codes)]][0](reader, scope)
            if operation is not None:
                scope.add(operation)
                found.append(operation)
                if len(found) == OPERATIONS:
                    break
    return Program(head.profile, head.type, head.side, tuple(found), head.system, head.receiver)


def encode(program: Program) -> bytes:
    """Return the bytes that ``program`` is, which has to be valid (see `fdspec.fuzz.program.normal`)."""
    writer = Writer()
    _write_header(writer, program)
    records = [bytes(writer.data)]
    scope, codes = Scope(program.profile, program.type), _CODES[program.profile]
    for operation in program.operations:
        writer = Writer()
        writer.number(codes.index(type(operation)))
        _FORMS[type(operation)][1](writer, operation, scope)
        records.append(bytes(writer.data))
        scope.add(operation)
    return join(records)


# ---- the program -------------------------------------------------------------------------------------------------------


def _read_header(r: Reader) -> Program:
    r.number()  # the version: there is one
    profile, kind, side, system = choice(r, PROFILES), choice(r, _KINDS), choice(r, _SIDES), choice(r, _SYSTEMS)
    receiver = _read_receiver(r) if profile is Profile.TRANSPORT else _PLAIN_RECEIVER
    return header(Program(profile, kind, side, (), system, receiver))


def _write_header(w: Writer, program: Program) -> None:
    w.number(VERSION)
    for one, of in ((program.profile, PROFILES), (program.type, _KINDS), (program.side, _SIDES)):
        w.number(of.index(one))
    w.number(_SYSTEMS.index(program.system))
    if program.profile is Profile.TRANSPORT:
        receiver = program.receiver
        w.number(not receiver.descriptors)
        for at in (receiver.raise_at, receiver.close_at, receiver.abort_at):
            w.number(0 if at is None else at + 1)


def _read_receiver(r: Reader) -> Receiver:
    plain = r.number() & 1
    at = [r.number() % (CALLBACKS + 1) for _ in range(3)]
    return Receiver(descriptors=False) if plain else Receiver(True, *(one - 1 if one else None for one in at))


# ---- operations --------------------------------------------------------------------------------------------------------


def _read_send(r: Reader, scope: Scope) -> Send:
    name = read_socket(r, scope, Send)
    end = end_of(name)
    flags = read_flags(r)
    whole = r.number() % (fit.CONTROL + 2) if end is End.PEER else 0
    control = read_controls(r, scope, end)
    return Send(name, read_data(r), control, whole - 1 if whole else None, flags)


def _write_send(w: Writer, op: Send, scope: Scope) -> None:
    end = end_of(op.name)
    write_socket(w, op.name)
    write_flags(w, op.flags)
    if end is End.PEER:
        w.number(0 if op.controllen is None else op.controllen + 1)
    write_controls(w, op.control, scope, end)
    write_data(w, op.data)


def _read_receive(r: Reader, scope: Scope) -> Receive:
    name = read_socket(r, scope, Receive)
    flags = read_flags(r)
    control = r.number() % (fit.CONTROL + 2)
    call = choice(r, _CALLS) if end_of(name) is End.PEER else Call.RECVMSG
    return fit.receive(name, read_sizes(r), control - 1 if control else None, flags, call, scope)


def _write_receive(w: Writer, op: Receive, _: Scope) -> None:
    write_socket(w, op.name)
    write_flags(w, op.flags)
    w.number(0 if op.control is None else op.control + 1)
    if end_of(op.name) is End.PEER:
        w.number(_CALLS.index(op.call))
    write_sizes(w, op.room)


def _read_take(r: Reader, scope: Scope) -> Take:
    name, flags, room = read_socket(r, scope, Take), read_flags(r), r.number() % (fit.DESCRIPTORS + 1)
    return Take(name, read_sizes(r), room, flags, scope.prefix(end_of(name), room))


def _write_take(w: Writer, op: Take, _: Scope) -> None:
    write_socket(w, op.name)
    write_flags(w, op.flags)
    w.number(op.room)
    write_sizes(w, op.sizes)


def _read_take_one(r: Reader, scope: Scope) -> TakeOne:
    name, flags = read_socket(r, scope, TakeOne), read_flags(r)
    return TakeOne(name, read_sizes(r), flags, scope.prefix(end_of(name), 1))


def _write_take_one(w: Writer, op: TakeOne, _: Scope) -> None:
    write_socket(w, op.name)
    write_flags(w, op.flags)
    write_sizes(w, op.sizes)


def _read_send_one(r: Reader, scope: Scope) -> SendOne:
    name = read_socket(r, scope, SendOne)
    fd, flags = read_descriptor(r, scope, end_of(name)), read_flags(r)
    return SendOne(name, fd, read_data(r), flags)


def _write_send_one(w: Writer, op: SendOne, _: Scope) -> None:
    write_socket(w, op.name)
    write_descriptor(w, op.fd)
    write_flags(w, op.flags)
    write_data(w, op.data)


def _read_open(r: Reader, scope: Scope) -> Open:
    return Open(scope.object(End(r.number() & 1)))


def _write_open(w: Writer, op: Open, _: Scope) -> None:
    w.number(end_of(op.name))


def _read_make(r: Reader, scope: Scope) -> Make:
    code = r.number()
    return Make(_OBJECTS[code >> 1 & 1], scope.object(End(code & 1)))


def _write_make(w: Writer, op: Make, _: Scope) -> None:
    w.number(_OBJECTS.index(op.kind) << 1 | end_of(op.name))


def _read_close(r: Reader, scope: Scope) -> Close:
    return Close(read_descriptor(r, scope, End(r.number() & 1)))


def _write_close(w: Writer, op: Close, _: Scope) -> None:
    w.number(end_of(op.name))
    write_descriptor(w, op.name)


def _read_pair(r: Reader, scope: Scope) -> Pair | None:
    kind = choice(r, _KINDS)
    if len(scope.sockets[0]) >= CONNECTIONS:
        return None
    return Pair(Kind.STREAM if scope.profile is Profile.TRANSPORT else kind, *scope.pair())


def _write_pair(w: Writer, op: Pair, _: Scope) -> None:
    w.number(_KINDS.index(op.kind))


def _read_shutdown(r: Reader, scope: Scope) -> Shutdown:
    return Shutdown(read_socket(r, scope, Shutdown), choice(r, _HOWS))


def _write_shutdown(w: Writer, op: Shutdown, _: Scope) -> None:
    write_socket(w, op.name)
    w.number(_HOWS.index(op.how))


def _read_set(r: Reader, scope: Scope) -> SetOption:
    return SetOption(read_socket(r, scope, SetOption), choice(r, _OPTIONS), read_integer(r, *fit.INT))


def _write_set(w: Writer, op: SetOption, _: Scope) -> None:
    write_socket(w, op.name)
    w.number(_OPTIONS.index(op.option))
    w.signed(op.value)


def _read_set_more(r: Reader, scope: Scope) -> SetMore:
    return SetMore(read_socket(r, scope, SetMore), choice(r, _MORE), read_integer(r, *fit.INT))


def _write_set_more(w: Writer, op: SetMore, _: Scope) -> None:
    write_socket(w, op.name)
    w.number(_MORE.index(op.option))
    w.signed(op.value)


def _read_room(r: Reader, _: Scope) -> Room:
    free = r.number() % (fit.FREE + 2)
    return Room(free - 1 if free else None)


def _write_room(w: Writer, op: Room, _: Scope) -> None:
    w.number(0 if op.free is None else op.free + 1)


def _read_released(r: Reader, scope: Scope) -> Released | None:
    code = r.number()
    names = scope.fifos[code & 1] or scope.fifos[~code & 1]
    return Released(names[(code >> 1) % len(names)]) if names else None


def _write_released(w: Writer, op: Released, scope: Scope) -> None:
    end = end_of(op.name)
    w.number(scope.fifos[end].index(op.name) << 1 | end)


def _read_collect(_: Reader, __: Scope) -> Collect:
    return Collect()


def _write_nothing(_: Writer, __: Operation, ___: Scope) -> None:
    return


# ---- transports --------------------------------------------------------------------------------------------------------


def _read_transport(r: Reader, scope: Scope) -> str:
    return choice(r, scope.sockets[End.TESTEE])


def _write_transport(w: Writer, op: Write | Queue | Give | Produce | Reading | Finish | Turn, _: Scope) -> None:
    w.number(int(op.name[1:]))


def _read_write(r: Reader, scope: Scope) -> Write:
    return Write(_read_transport(r, scope), read_piece(r, fit.DATA))


def _write_write(w: Writer, op: Write, scope: Scope) -> None:
    _write_transport(w, op, scope)
    write_piece(w, op.data)


def _read_queue(r: Reader, scope: Scope) -> Queue:
    return Queue(_read_transport(r, scope), read_descriptor(r, scope, End.TESTEE))


def _read_give(r: Reader, scope: Scope) -> Give:
    return Give(_read_transport(r, scope), read_descriptor(r, scope, End.TESTEE))


def _write_queue(w: Writer, op: Queue | Give, scope: Scope) -> None:
    _write_transport(w, op, scope)
    write_descriptor(w, op.fd)


def _read_produce(r: Reader, scope: Scope) -> Produce:
    return Produce(_read_transport(r, scope))


def _read_reading(r: Reader, scope: Scope) -> Reading:
    return Reading(_read_transport(r, scope), bool(r.number() & 1))


def _write_reading(w: Writer, op: Reading, scope: Scope) -> None:
    _write_transport(w, op, scope)
    w.number(op.on)


def _read_finish(r: Reader, scope: Scope) -> Finish:
    return Finish(_read_transport(r, scope), choice(r, _ENDINGS))


def _write_finish(w: Writer, op: Finish, scope: Scope) -> None:
    _write_transport(w, op, scope)
    w.number(_ENDINGS.index(op.how))


def _read_turn(r: Reader, scope: Scope) -> Turn:
    return Turn(_read_transport(r, scope), scope.prefix(End.TESTEE, 1))


# ---- faults ------------------------------------------------------------------------------------------------------------


def _read_fail(r: Reader, _: Scope) -> Fail:
    return Fail(choice(r, _FAILING), choice(r, _TROUBLES), 1 + r.number() % fit.CALLS, 1 + r.number() % fit.CALLS)


def _write_fail(w: Writer, op: Fail, _: Scope) -> None:
    for one in (_FAILING.index(op.calls), _TROUBLES.index(op.error), op.nth - 1, op.times - 1):
        w.number(one)


def _read_short(r: Reader, scope: Scope) -> Short | None:
    count, nth, times = (1 + r.number() % most for most in (fit.DATA, fit.CALLS, fit.CALLS))
    return Short(count, nth, times) if scope.kind is Kind.STREAM else None


def _write_short(w: Writer, op: Short, _: Scope) -> None:
    for one in (op.count, op.nth, op.times):
        w.number(one - 1)


def _read_forge(r: Reader, scope: Scope) -> Forge | None:
    builder, nth = choice(r, _BUILDERS), 1 + r.number() % fit.CALLS
    shape = SHAPES[builder]
    numbers = [choice(r, domain) for domain in shape.numbers]
    count = shape.least + r.number() % (shape.most - shape.least + 1)
    return fit.forge(builder, nth, numbers, [read_descriptor(r, scope, End.TESTEE) for _ in range(count)], scope)


def _write_forge(w: Writer, op: Forge, _: Scope) -> None:
    shape = SHAPES[op.builder]
    w.number(_BUILDERS.index(op.builder))
    w.number(op.nth - 1)
    for one, domain in zip(op.numbers, shape.numbers, strict=True):
        w.number(domain.index(one))
    w.number(len(op.bait) - shape.least)
    for one in op.bait:
        write_descriptor(w, one)


_Read = Callable[[Reader, Scope], Operation | None]
_Write = Callable[[Writer, Any, Scope], None]
_FORMS: dict[type[Operation], tuple[_Read, _Write]] = {
    Send: (_read_send, _write_send),
    Receive: (_read_receive, _write_receive),
    Take: (_read_take, _write_take),
    TakeOne: (_read_take_one, _write_take_one),
    SendOne: (_read_send_one, _write_send_one),
    Open: (_read_open, _write_open),
    Make: (_read_make, _write_make),
    Close: (_read_close, _write_close),
    Pair: (_read_pair, _write_pair),
    Shutdown: (_read_shutdown, _write_shutdown),
    SetOption: (_read_set, _write_set),
    SetMore: (_read_set_more, _write_set_more),
    Room: (_read_room, _write_room),
    Released: (_read_released, _write_released),
    Collect: (_read_collect, _write_nothing),
    Write: (_read_write, _write_write),
    Queue: (_read_queue, _write_queue),
    Give: (_read_give, _write_queue),
    Produce: (_read_produce, _write_transport),
    Reading: (_read_reading, _write_reading),
    Finish: (_read_finish, _write_finish),
    Turn: (_read_turn, _write_transport),
    Fail: (_read_fail, _write_fail),
    Short: (_read_short, _write_short),
    Forge: (_read_forge, _write_forge),
}
