"""The rules of every operation but send and receive: making, connecting, closing, options, limits and questions."""

from __future__ import annotations

from .draft import Draft, embryos
from .garbage import collect, roots, unreachable
from .operations import (
    Accept,
    Close,
    Collect,
    Connect,
    Duplicate,
    How,
    Kind,
    Listen,
    Look,
    NewSocket,
    Open,
    Option,
    Pair,
    Released,
    Room,
    SetOption,
    Shutdown,
)
from .outcome import Ending, done, failed
from .send import disconnected
from .state import RECEIVE, SEND, Condition, Message, Socket

MINIMUM_SNDBUF = 4608
"""SOCK_MIN_SNDBUF: what the kernel makes of every smaller SO_SNDBUF."""


def pair(draft: Draft, op: Pair) -> Ending:
    """socketpair(2)."""
    numbers: list[int] = []
    for name, file in zip((op.a, op.b), draft.new_pair(op.kind, op.a, op.b), strict=True):
        number = draft.install(file, cloexec=True)
        if number is None:
            return failed(draft, "EMFILE")
        draft.bind(name, number)
        numbers.append(number)
    return done(draft, new=tuple(numbers))


def new_socket(draft: Draft, op: NewSocket) -> Ending:
    """socket(2)."""
    return _bind_name(draft, op.name, draft.new_socket(op.kind, op.name).file or 0)


def open_object(draft: Draft, op: Open) -> Ending:
    """A pipe, of which the writing end goes into the table."""
    file = draft.new_file(op.name)
    ending = _bind_name(draft, op.name, file)
    if not ending.seen.error:
        draft.watch(op.name, file)
    return ending


def _bind_name(draft: Draft, name: str, file: int) -> Ending:
    number = draft.install(file, cloexec=True)
    if number is None:
        return failed(draft, "EMFILE")
    draft.bind(name, number)
    return done(draft, new=(number,))


def duplicate(draft: Draft, op: Duplicate) -> Ending:
    """dup(2): close-on-exec is not set on the copy."""
    file = draft.file(op.name)
    if file is None:
        return failed(draft, "EBADF")
    number = draft.install(file.id, cloexec=False)
    if number is None:
        return failed(draft, "EMFILE")
    draft.bind(op.new, number)
    return done(draft, new=(number,))


def close(draft: Draft, op: Close) -> Ending:
    """Take a number from the table."""
    entry = draft.remove(draft.number(op.name))
    if entry is None:
        return failed(draft, "EBADF")
    before = draft.files
    socket = before[entry.file].socket
    if socket is None:
        draft.settle()
        if entry.file in draft.files:
            draft.because("S08")
        return done(draft)
    queued = [message for one in embryos(draft.sockets[socket]) for message in draft.sockets[one].queue]
    draft.settle()
    if len(draft.files) < len(before) - 1:
        gone = [file for identity, file in before.items() if identity not in draft.files]
        draft.because("L12", *(["G13"] if sum(file.socket is not None for file in gone) > 1 else []))
    if entry.file not in draft.files and any(message.fds for message in queued):
        draft.because("G06")
    return done(draft)


def shutdown(draft: Draft, op: Shutdown) -> Ending:
    """Shut a socket's ends, and of a connected pair the peer's as well."""
    socket = draft.socket_of(op.name)
    if isinstance(socket, str):
        return failed(draft, socket)
    bits = {How.RD: RECEIVE, How.WR: SEND, How.RDWR: RECEIVE | SEND}[op.how]
    draft.change(socket.id, shut=socket.shut | bits)
    if bits & RECEIVE and any(message.fds for message in socket.queue):
        draft.because("L10")
    peer = draft.sockets.get(socket.peer or 0)
    if peer and not peer.dead and socket.kind is not Kind.DGRAM:
        mirrored = (SEND if bits & RECEIVE else 0) | (RECEIVE if bits & SEND else 0)
        draft.change(peer.id, shut=draft.sockets[peer.id].shut | mirrored)
    return done(draft)


def set_option(draft: Draft, op: SetOption) -> Ending:
    """setsockopt(2)."""
    socket = draft.socket_of(op.name)
    if isinstance(socket, str):
        return failed(draft, socket)
    value = op.value
    if op.option is Option.PEEK_OFF:
        draft.change(socket.id, peek_off=value)
    elif op.option is Option.SNDBUF:
        draft.change(socket.id, sndbuf=max(MINIMUM_SNDBUF, value // 2 * 2))
    else:
        draft.change(socket.id, **{op.option.value: bool(value)})
    return done(draft)


def room(draft: Draft, op: Room) -> Ending:
    """setrlimit(2): the lowest limit that leaves so many free numbers below it."""
    if op.free is None:
        draft.limit = draft.platform.limit
        return done(draft)
    free, limit = 0, 0
    while free < op.free:
        free += limit not in draft.table and limit not in draft.platform.taken
        limit += 1
    draft.limit = min(limit, draft.platform.limit)
    return done(draft, draft.limit)


# ---- connections -------------------------------------------------------------------------------------------------------


def connect(draft: Draft, op: Connect) -> Ending:
    """Connect to an abstract address, which ``to`` gets for it."""
    found = _bound(draft, op.to)
    if isinstance(found, str):
        return failed(draft, found)
    socket = draft.socket_of(op.name)
    if isinstance(socket, str):
        return failed(draft, socket)
    other = draft.sockets.get(found.address or 0)
    if other is None or other.dead or other.kind is not socket.kind:
        return failed(draft, "ECONNREFUSED")
    return (_connect_dgram if socket.kind is Kind.DGRAM else _connect_stream)(draft, socket, other)


def _bound(draft: Draft, which: str | int) -> Socket | str:
    """Give a socket an address where it has none."""
    socket = draft.socket_of(which)
    if isinstance(socket, str) or socket.address is not None:
        return socket
    return draft.change(socket.id, address=socket.id)


def _connect_dgram(draft: Draft, socket: Socket, other: Socket) -> Ending:
    if other.peer not in {None, socket.id}:
        return failed(draft, "EPERM")
    draft.change(socket.id, peer=other.id, condition=Condition.ESTABLISHED)
    if socket.peer is not None and socket.peer != other.id:
        disconnected(draft, socket.id, socket.peer)
        draft.settle()
    return done(draft)


def _connect_stream(draft: Draft, socket: Socket, other: Socket) -> Ending:
    if other.condition is not Condition.LISTENING or other.shut & RECEIVE:
        return failed(draft, "ECONNREFUSED")
    if len(other.queue) > other.backlog:
        return failed(draft, "EAGAIN")
    if socket.condition is not Condition.UNCONNECTED:
        return failed(draft, "EISCONN" if socket.condition is Condition.ESTABLISHED else "EINVAL")
    embryo = Socket(
        draft.new_id(),
        socket.kind,
        None,
        Condition.ESTABLISHED,
        socket.id,
        sndbuf=draft.platform.sndbuf,
        backlog=draft.platform.dgram_backlog,
        address=other.address,
        passcred=other.passcred,
        passrights=other.passrights,
    )
    draft.add(embryo)
    draft.change(socket.id, peer=embryo.id, condition=Condition.ESTABLISHED)
    draft.push(other.id, Message(draft.new_id(), b"", embryo.id, 0, 0, embryo=embryo.id))
    return done(draft)


def listen(draft: Draft, op: Listen) -> Ending:
    """Listen, behind bind(2)."""
    socket = _bound(draft, op.name)
    if isinstance(socket, str):
        return failed(draft, socket)
    if socket.kind is Kind.DGRAM:
        return failed(draft, "EOPNOTSUPP")
    if socket.condition not in {Condition.UNCONNECTED, Condition.LISTENING}:
        return failed(draft, "EINVAL")
    draft.change(socket.id, condition=Condition.LISTENING, backlog=op.backlog)
    return done(draft)


def accept(draft: Draft, op: Accept) -> Ending:  # noqa: PLR0911 - the kernel's checks, in their order
    """Accept; the new number is taken before anything is looked at."""
    if draft.file(op.listener) is None:
        return failed(draft, "EBADF")
    if draft.lowest() is None:
        return failed(draft, "EMFILE")
    listener = draft.socket_of(op.listener)
    if isinstance(listener, str):
        return failed(draft, listener)
    if listener.kind is Kind.DGRAM:
        return failed(draft, "EOPNOTSUPP")
    if listener.condition is not Condition.LISTENING:
        return failed(draft, "EINVAL")
    waiting = embryos(listener)
    if not waiting:
        return failed(draft, "EAGAIN")
    draft.unlink(listener.id, listener.queue[0].id)
    embryo = draft.sockets[waiting[0]]
    draft.because(*(["G07"] if embryo.queue and draft.sockets[embryo.peer or 0].dead else []))
    draft.because(*(["C14"] if embryo.passcred else []))
    draft.change(waiting[0], file=draft.new_file(op.name, waiting[0]))
    return _bind_name(draft, op.name, draft.sockets[waiting[0]].file or 0)


# ---- questions ---------------------------------------------------------------------------------------------------------


def released(draft: Draft, op: Released) -> Ending:
    """Whether the reading end of the object's pipe hangs up."""
    file = draft.objects.get(op.name)
    if file is None:
        return failed(draft, "ENOENT")
    gone = file not in draft.files
    draft.because("L02")
    return done(draft, int(gone), "released" if gone else "held")


def look(draft: Draft, op: Look) -> list[Ending]:
    """ioctl(FIONREAD) (unix_inq_len)."""
    file = draft.file(op.name)
    if file is None:
        return [failed(draft, "EBADF")]
    if file.socket is None:
        return [done(draft, 0, "counted")]
    socket = draft.sockets[file.socket]
    if socket.condition is Condition.LISTENING:
        return [failed(draft, "EINVAL")]
    if any(message.fds for message in socket.queue):
        draft.because("R20")
    queue = socket.queue[:1] if socket.kind is Kind.DGRAM else socket.queue
    count = sum(message.left for message in queue)
    exact = done(draft, count, "counted")
    return (
        [exact, done(draft, count + socket.dropped, "counted with dropped urgent bytes")] if socket.dropped else [exact]
    )


def collect_all(draft: Draft, _: Collect) -> Ending:
    """Wait until the kernel has collected what only refers to itself."""
    state = draft.freeze()
    groups = unreachable(state)
    alone = frozenset[int]().union(*groups)
    rings = [len(roots(state, group)) for group in groups]
    draft.because(*(["G18"] if rings else []), *({1: "G02", 2: "G03"}.get(size, "G04") for size in rings if size))
    if roots(state, frozenset(state.files.keys() - alone)):
        draft.because("G05")
    return done(Draft(collect(state, groups), draft.why))
