"""Which operation comes next: random, but with an eye on the state, so that sequences go where rules meet.

Each sequence has tastes of its own: features that it uses much, others that it leaves alone. All random numbers come from the
``random.Random`` that is given, so a seed gives the same sequence again where the kernel does the same, and Hypothesis can
drive it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct

from . import flags as f
from .garbage import unreachable
from .openings import OPENINGS
from .operations import (
    Accept,
    Call,
    Close,
    Collect,
    Connect,
    Control,
    Credentials,
    Duplicate,
    Forged,
    How,
    Kind,
    Listen,
    Look,
    NewSocket,
    Number,
    Open,
    Operation,
    Option,
    Pair,
    Raw,
    Receive,
    Released,
    Rights,
    Room,
    Send,
    SetOption,
    Shutdown,
)
from .state import Condition, Socket, State

FEATURES = (
    "oob",
    "passcred",
    "peek",
    "peek-off",
    "small-buffer",
    "limit",
    "over-itself",
    "malformed",
    "listen",
    "one-way",
    "many",
    "big",
    "passrights",
    "shut",
    "discard",
    "flood",
)
"""What a sequence may have a taste for."""

_ALPHABET = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Taste(Struct, frozen=True):
    """What a sequence is about."""

    kinds: tuple[Kind, ...]
    features: frozenset[str]
    length: int
    opening: tuple[Operation, ...] = ()

    def has(self, feature: str) -> bool:
        """Whether the sequence has a taste for it."""
        return feature in self.features


def taste(random: Random, length: int = 30) -> Taste:
    """Choose what a sequence is about; it is ``length`` operations long at most."""
    kinds = tuple(Kind) if random.random() < 0.2 else (random.choice(list(Kind)),)
    features = frozenset(random.sample(FEATURES, random.randint(1, 5)))
    possible = sorted(features & OPENINGS.keys())
    opening = OPENINGS[random.choice(possible)](random) if possible and random.random() < 0.4 else ()
    return Taste(kinds, features, random.randint(length // 3, length), opening)


def choose(random: Random, state: State, liking: Taste, done: int) -> Operation:
    """Return the next operation; ``done`` were chosen before it."""
    if done < len(liking.opening):
        return liking.opening[done]
    sockets = [name for name in state.names if _socket(state, name)]
    if not sockets:
        return _make(random, state, liking)
    garbage = len(unreachable(state))
    if garbage and random.random() < (0.1 if garbage == 1 else 0.7):
        return Collect()  # before there is more to follow than is worth it
    flood = liking.has("flood")
    listening = bool(_sockets(state, lambda one: one.condition is Condition.LISTENING))
    lonely = liking.has("listen") and _sockets(state, _lonely)
    weights = {
        _send: 60 if flood else 30,
        _receive: 12 if flood else 30,
        _make: (6 if liking.has("listen") else 2) if len(sockets) < 6 else 0,
        _open: 6 if len(state.table) < 40 else 1,
        _close: 12 if liking.has("over-itself") else 3 if flood else 7,
        _dup: 2,
        _shutdown: 4 if liking.has("shut") else 1,
        _option: 6 if liking.features & {"oob", "passcred", "peek-off", "small-buffer", "passrights"} else 1,
        _room: 8 if liking.has("limit") else 0,
        _released: 5 if state.objects else 0,
        _look: 3,
        _connect: 10 if liking.features & {"one-way", "listen"} else 0,
        _listen: (1 if listening else 12) if lonely else 0,
        _accept: 5 if listening else 0,
        _collect: 0.5 if liking.has("over-itself") else 0.05,
    }
    maker = random.choices(list(weights), list(weights.values()))[0]
    return maker(random, state, liking)


# ---- what there is -----------------------------------------------------------------------------------------------------


def _socket(state: State, name: Number) -> Socket | None:
    number = state.names.get(name) if isinstance(name, str) else name
    entry = state.table.get(number) if number is not None else None
    file = state.files[entry.file] if entry else None
    return state.sockets[file.socket] if file and file.socket is not None else None


def _sockets(state: State, wanted: Callable[[Socket], bool] = lambda _: True) -> list[str]:
    found: list[str] = []
    for name in state.names:
        socket = _socket(state, name)
        if socket and wanted(socket):
            found.append(name)
    return found


def _lonely(socket: Socket) -> bool:
    """Whether a socket may yet listen."""
    return socket.condition is Condition.UNCONNECTED and socket.kind is not Kind.DGRAM


def _any_socket(random: Random, state: State, wanted: Callable[[Socket], bool]) -> Number:
    """Return a socket, mostly one of the wanted ones, now and then something that is none."""
    fitting = _sockets(state, wanted)
    if fitting and random.random() < 0.9:
        return random.choice(fitting)
    names = _sockets(state) if random.random() < 0.85 else list(state.names)
    return random.choice(names) if names and random.random() < 0.97 else random.choice([-1, "nowhere"])


def _fresh(state: State, letter: str) -> str:
    return f"{letter}{len(state.names)}"


def _name(random: Random, state: State) -> Number:
    return random.choice(list(state.names)) if random.random() < 0.97 else random.choice([-1, -100, "nowhere"])


# ---- operations --------------------------------------------------------------------------------------------------------


def _make(random: Random, state: State, liking: Taste) -> Operation:
    kind = random.choice(liking.kinds)
    if random.random() < 0.5:
        kind = Kind.DGRAM if liking.has("one-way") else kind
    elif liking.has("listen"):
        kind = random.choice([Kind.STREAM, Kind.SEQPACKET])
    lonely = random.random() < (0.5 if liking.features & {"listen", "one-way"} else 0.05)
    if lonely:
        return NewSocket(kind, _fresh(state, "s"))
    name = _fresh(state, "p")
    return Pair(kind, f"{name}a", f"{name}b")


def _open(random: Random, state: State, _: Taste) -> Operation:
    if state.objects and random.random() < 0.1:
        return Open(random.choice(list(state.objects)))
    return Open(_fresh(state, "f"))


def _close(random: Random, state: State, liking: Taste) -> Operation:
    files = [name for name in state.names if not _socket(state, name)]
    if files and random.random() < (0.3 if liking.has("over-itself") else 0.6):
        return Close(random.choice(files))
    return Close(_name(random, state))


def _dup(random: Random, state: State, _: Taste) -> Operation:
    return Duplicate(_name(random, state), _fresh(state, "d"))


def _shutdown(random: Random, state: State, _: Taste) -> Operation:
    return Shutdown(_any_socket(random, state, lambda one: one.peer is not None), random.choice(list(How)))


def _option(random: Random, state: State, liking: Taste) -> Operation:
    choices: list[tuple[Option, tuple[int, ...]]] = [(Option.SNDBUF, (0, 212992, 16384))]
    for feature, option, values in (
        ("oob", Option.OOBINLINE, (0, 1)),
        ("passcred", Option.PASSCRED, (1, 1, 0)),
        ("passrights", Option.PASSRIGHTS, (0, 1)),
        ("peek-off", Option.PEEK_OFF, (0, 0, 1, 5, -1)),
        ("small-buffer", Option.SNDBUF, (0, 0, 9000)),
    ):
        choices += [(option, values)] * (4 * liking.has(feature))
    option, values = random.choice(choices)
    return SetOption(_any_socket(random, state, lambda _: True), option, random.choice(values))


def _room(random: Random, _: State, __: Taste) -> Operation:
    return Room(random.choice([None, 0, 0, 1, 1, 2, 3, 4, 8]))


def _released(random: Random, state: State, _: Taste) -> Operation:
    return Released(random.choice(list(state.objects)) if state.objects else "nothing")


def _look(random: Random, state: State, _: Taste) -> Operation:
    return Look(_any_socket(random, state, lambda one: bool(one.queue)))


def _connect(random: Random, state: State, liking: Taste) -> Operation:
    listening = liking.has("listen") and random.random() < 0.7
    if listening:
        to = _any_socket(random, state, lambda one: one.condition is Condition.LISTENING)
    else:
        to = _any_socket(random, state, lambda one: one.kind is Kind.DGRAM and one.peer is None)
    kinds = [socket.kind] if (socket := _socket(state, to)) else list(Kind)
    lonely = _any_socket(random, state, lambda one: one.condition is Condition.UNCONNECTED and one.kind in kinds)
    return Connect(lonely, to)


def _listen(random: Random, state: State, _: Taste) -> Operation:
    return Listen(_any_socket(random, state, _lonely), random.choice([0, 1, 8]))


def _accept(random: Random, state: State, _: Taste) -> Operation:
    return Accept(_any_socket(random, state, lambda one: one.condition is Condition.LISTENING), _fresh(state, "c"))


def _collect(_: Random, __: State, ___: Taste) -> Operation:
    return Collect()


# ---- sending -----------------------------------------------------------------------------------------------------------


def _send(random: Random, state: State, liking: Taste) -> Operation:
    name = _sender(random, state, liking)
    flags = 0
    if liking.has("oob") and random.random() < 0.35:
        flags |= f.OOB
    if random.random() < 0.3:
        flags |= f.NOSIGNAL
    if random.random() < 0.05:
        flags |= random.choice([f.CLOEXEC, f.PEEK, f.TRUNC, f.WAITALL, f.CTRUNC, f.EOR, f.MORE, f.COMPAT])
    control = _control(random, state, liking)
    whole = None
    if liking.has("malformed") and random.random() < 0.2:
        whole = random.choice([0, 1, 8, 15, 16, 17, 20, 23, 24, 25, 28, 32, 39, 40, 48, 200_000])
    return Send(name, _data(random, state, liking), control, whole, flags)


def _sender(random: Random, state: State, liking: Taste) -> Number:
    connected = _sockets(state, lambda one: one.peer is not None)
    if liking.has("one-way") and random.random() < 0.5:
        one_way = [name for name in connected if not _mutual(state, name)]
        connected = one_way or connected
    if liking.has("flood") and connected and random.random() < 0.8:
        return connected[0]
    return (
        random.choice(connected) if connected and random.random() < 0.9 else _any_socket(random, state, lambda _: True)
    )


def _mutual(state: State, name: str) -> bool:
    """Whether the peer of a connected socket is connected to it."""
    socket = _socket(state, name)
    peer = state.sockets[socket.peer] if socket and socket.peer is not None else None
    return bool(socket and peer and peer.peer == socket.id)


def _data(random: Random, state: State, liking: Taste) -> tuple[bytes, ...]:
    if random.random() < 0.01:
        return (b"",) * random.choice([0, 1, f.IOV_MAX, f.IOV_MAX + 1])
    pieces = random.choices([0, 1, 2, 3, 5], [2, 70, 14, 8, 6])[0]
    return tuple(_bytes(random, state, liking) for _ in range(pieces))


def _bytes(random: Random, state: State, liking: Taste) -> bytes:
    length = random.choices([0, 1, random.randint(2, 8), random.randint(9, 120)], [8, 30, 50, 12])[0]
    if liking.has("big") and random.random() < 0.3:
        length = random.choice(
            [2239, 2240, 2241, 3776, 4575, 4576, 4577, 5000, 20_000, 36_544, 36_545, 80_000, 300_000]
        )
    elif liking.has("small-buffer") and random.random() < 0.2:
        length = random.choice([100, 1000, 2240, 2241, 4576, 4577])
    start = (state.counter * 7 + random.randint(0, 3)) % len(_ALPHABET)
    cycle = _ALPHABET[start:] + _ALPHABET[:start]
    return (cycle * (length // len(cycle) + 1))[:length]


def _control(random: Random, state: State, liking: Taste) -> tuple[Control, ...]:
    count = random.choices([0, 1, 2, 3], [45, 45, 7, 3])[0]
    return tuple(_control_message(random, state, liking) for _ in range(count))


def _control_message(random: Random, state: State, liking: Taste) -> Control:
    if liking.has("passcred") and random.random() < 0.15:
        return Credentials(random.choices(list(Forged), [10, 2, 2, 2])[0])
    if liking.has("malformed") and random.random() < 0.4:
        return _malformed(random, state)
    fds = tuple(
        _descriptor(random, state, liking) for _ in range(random.choices([0, 1, 2, 3, 6], [4, 60, 20, 10, 6])[0])
    )
    if liking.has("many") and fds and random.random() < 0.3:
        many = random.choice([30, 100, 126, 127, 252, 253, 254])
        fds = (fds * many)[:many]
    return Rights(fds)


def _descriptor(random: Random, state: State, liking: Taste) -> Number:
    if random.random() < 0.02:
        return random.choice([-1, -100, "nowhere"])
    sockets = _sockets(state)
    if sockets and random.random() < (0.6 if liking.has("over-itself") else 0.1):
        return random.choice(sockets)
    files = [name for name, number in state.names.items() if number in state.table and name not in sockets]
    return random.choice(files or list(state.names))


def _malformed(random: Random, state: State) -> Control:
    fds = (random.choice(list(state.names)),) * random.choice([0, 1, 2])
    length = random.choice([None, 0, 8, 15, 16, 17, 19, 20, 21, 23, 24, 25, 28, 40, -1, 2**31])
    rights = Rights(fds, length)
    level, kind = random.choice(
        [(1, 0), (1, 3), (1, 4), (1, 42), (1, -1), (0, 1), (6, 1), (41, 2), (-1, 1), (1, 1), (1, 2)]
    )
    raw = Raw(level, kind, b"\xff" * random.choice([0, 1, 4, 8, 12]), random.choice([None, None, None, 8, 16, 17]))
    return random.choice([rights, raw])


# ---- receiving ---------------------------------------------------------------------------------------------------------


def _receive(random: Random, state: State, liking: Taste) -> Operation:
    name = _any_socket(random, state, lambda one: bool(one.queue))
    socket = _socket(state, name)
    call = Call.RECVMSG
    if random.random() < (0.4 if liking.has("discard") else 0.07):
        call = random.choice([Call.RECV, Call.READ])
    flags = _receive_flags(random, liking)
    if call is Call.READ:
        flags = 0
    room = _room_for(random, socket)
    if call is Call.RECV:
        room = (sum(room),)
    if call is Call.READ and len(room) > f.IOV_MAX:
        room = room[: f.IOV_MAX]
    if call is not Call.RECVMSG:
        return Receive(name, room, None, flags, call)
    prefix = _fresh(state, "r") + "_" if random.random() < 0.8 else ""
    return Receive(name, room, _control_room(random, socket), flags, call, prefix)


def _receive_flags(random: Random, liking: Taste) -> int:
    flags = 0
    for flag, often in (
        (f.PEEK, 0.45 if liking.features & {"peek", "peek-off"} else 0.05),
        (f.OOB, 0.3 if liking.has("oob") else 0.01),
        (f.CLOEXEC, 0.4),
        (f.WAITALL, 0.1),
        (f.TRUNC, 0.1),
        (f.CTRUNC, 0.02),
        (f.ERRQUEUE, 0.02),
        (f.EOR, 0.02),
        (f.COMPAT, 0.005),
    ):
        flags |= flag * (random.random() < often)
    return flags


def _room_for(random: Random, socket: Socket | None) -> tuple[int, ...]:
    lengths = [message.left for message in socket.queue[:4]] if socket else []
    ends = [sum(lengths[: index + 1]) for index in range(len(lengths))]
    near = [max(0, end + delta) for end in ends for delta in (-1, 0, 0, 1)]
    total = random.choice([0, 1, 2, 5, 10, 100, 100, 1000, *near, *near])
    if random.random() < 0.01:
        return (1,) * random.choice([f.IOV_MAX, f.IOV_MAX + 1])
    pieces = random.choices([0, 1, 2, 3, 4], [1, 70, 16, 8, 5])[0]
    if pieces < 2:
        return (total,) * pieces
    cuts = sorted(random.randint(0, total) for _ in range(pieces - 1))
    return tuple(end - start for start, end in zip([0, *cuts], [*cuts, total], strict=True))


def _control_room(random: Random, socket: Socket | None) -> int | None:
    if random.random() < 0.08:
        return None
    counts = [len(message.fds) for message in socket.queue[:3] if message.fds] if socket else []
    extra = f.align(f.HEADER + f.UCRED) if socket and socket.passcred and random.random() < 0.8 else 0
    wanted = f.HEADER + 4 * random.choice([*counts, *counts, 1]) + extra
    exact = [wanted, wanted, f.align(wanted), wanted - 4, wanted - 1, wanted + 1, wanted + 4]
    return max(0, random.choice([*exact, *exact, 0, 15, 16, 19, 20, 24, 28, 32, 56, 100, 1200, 1200]))
