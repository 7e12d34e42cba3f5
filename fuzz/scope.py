"""What exists at a point of a program: the names that an operation there may use, and which operations there may be."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..conformance.model import flags as f
from ..conformance.model.operations import (
    Call,
    Close,
    Collect,
    Kind,
    Number,
    Open,
    Pair,
    Receive,
    Released,
    Room,
    Send,
    SetOption,
    Shutdown,
)
from ..impls.protocol.values import Profile
from .operations import (
    BAD,
    OBJECTS,
    RECEIVED,
    SOCKETS,
    End,
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

CONNECTIONS = 4
"""Connections of one program."""
MOST_RECEIVED = f.SCM_MAX_FD
"""Descriptors that one receive can bring."""

_T, _P, _BOTH = (End.TESTEE,), (End.PEER,), (End.TESTEE, End.PEER)
_SHARED: dict[type[Operation], tuple[End, ...]] = {
    Send: _BOTH,
    Receive: _BOTH,
    Open: _BOTH,
    Make: _BOTH,
    Close: _BOTH,
    Pair: _T,
    Shutdown: _BOTH,
    SetOption: _BOTH,
    SetMore: _BOTH,
    Room: _T,
    Released: _BOTH,
    Collect: _P,
    Fail: _T,
    Short: _T,
    Forge: _T,
}
_OF_TRANSPORTS = (Write, Queue, Give, Turn, Reading, Finish, Produce)

PERMITTED: dict[Profile, dict[type[Operation], tuple[End, ...]]] = {
    Profile.MESSAGE: {**_SHARED, Take: _T},
    Profile.DESCRIPTORS: {**_SHARED, Receive: _P, Take: _T, SendOne: _T, TakeOne: _T},
    Profile.TRANSPORT: {
        **_SHARED,
        **dict.fromkeys((Send, Receive, Shutdown, SetOption, SetMore), _P),
        **dict.fromkeys(_OF_TRANSPORTS, _T),
    },
}
"""Which operations there are in each profile, and who may do them.

Their order is that of the codec's numbers, so a new one goes to the end of each profile's, and never into `_SHARED`.
"""

_NAME = re.compile(r"[tpfgrq]")
_DIGITS = re.compile(r"\d{1,9}")


class Scope:
    """What the operations so far have made. Lists by `End`; closed things stay in them."""

    def __init__(self, profile: Profile, kind: Kind) -> None:
        self.profile = profile
        self.kind = kind
        self.permitted = PERMITTED[profile]
        self.sockets: tuple[list[str], list[str]] = (["t0"], ["p0"])
        self.objects: tuple[list[str], list[str]] = ([], [])
        self.fifos: tuple[list[str], list[str]] = ([], [])
        self.received: tuple[list[int], list[int]] = ([], [])
        """How many descriptors each receive may have brought, of those that may have brought any."""

    # ---- what comes next is called ------------------------------------------------------------------------------------

    def prefix(self, end: End, room: int) -> str:
        """Return the prefix of the descriptors of the next receive; '' where it has room for none."""
        return f"{RECEIVED[end]}{len(self.received[end])}_" if room > 0 else ""

    def object(self, end: End) -> str:
        """Return the name of the next object."""
        return f"{OBJECTS[end]}{len(self.objects[end])}"

    def pair(self) -> tuple[str, str]:
        """Return the names of the next connection's ends."""
        number = len(self.sockets[0])
        return f"{SOCKETS[0]}{number}", f"{SOCKETS[1]}{number}"

    def add(self, operation: Operation) -> None:
        """Take note of what a valid operation makes."""
        note = _NOTES.get(type(operation))
        if note is not None:
            note(self, operation)

    # ---- what there is ------------------------------------------------------------------------------------------------

    def owned(self, end: End) -> list[str]:
        """Return the sockets that ``end`` has as descriptors: of a testee's transport nobody knows the number."""
        return [] if end is End.TESTEE and self.profile is Profile.TRANSPORT else self.sockets[end]

    def has(self, name: Number) -> bool:
        """Whether there is such a descriptor, or could be."""
        if isinstance(name, int):
            return name in BAD
        end = end_of(name)
        letter = name[:1]
        if letter == SOCKETS[end]:
            return name in self.owned(end)
        if letter == OBJECTS[end]:
            return name in self.objects[end]
        receive, mark, index = name[1:].partition("_")
        return bool(mark) and self._has_received(end, receive, index)

    def _has_received(self, end: End, receive: str, index: str) -> bool:
        if not (_plain(receive) and _plain(index)) or int(receive) >= len(self.received[end]):
            return False
        return int(index) < self.received[end][int(receive)]

    def descriptor(self, name: Number, end: End) -> Number:
        """Return ``name`` where ``end`` has that; else the nearest that it has, by the name's letter and numbers."""
        if isinstance(name, int):
            return name if name in BAD else BAD[name % len(BAD)]
        if end_of(name) is end and self.has(name):
            return name
        letter = _letter(name)
        classes = {"t": 0, "p": 0, "f": 1, "g": 1, "r": 2, "q": 2}
        return self.pick(end, classes[letter], *_numbers(name))

    def pick(self, end: End, kind: int, first: int, second: int = 0) -> Number:
        """Return a descriptor of ``end``. ``kind``: 0 a socket, 1 an object, 2 received, 3 a bad number; then others."""
        for each in _ORDER[kind]:
            names = self.owned(end) if each == 0 else self.objects[end]
            if each == 3:
                return BAD[first % len(BAD)]
            if each == 2:
                if self.received[end]:
                    receive = first % len(self.received[end])
                    return f"{RECEIVED[end]}{receive}_{second % self.received[end][receive]}"
            elif names:
                return names[first % len(names)]
        raise AssertionError("a bad number is always there")

    def socket(self, name: Number, ends: tuple[End, ...]) -> str:
        """Return ``name`` where it is a socket, or received, of one of ``ends``; else the nearest that is."""
        end = end_of(name) if end_of(name) in ends else ends[0]
        if isinstance(name, int):
            return self.socket_at(end, received=False, first=abs(name))
        if name[:1] not in OBJECTS and end_of(name) is end and self.has(name):
            return name
        return self.socket_at(end, _letter(name) in RECEIVED, *_numbers(name))

    def socket_at(self, end: End, received: bool, first: int, second: int = 0) -> str:
        """Return a socket of ``end``, or a descriptor that it has received; a socket where it has received none."""
        if received and self.received[end]:
            receive = first % len(self.received[end])
            return f"{RECEIVED[end]}{receive}_{second % self.received[end][receive]}"
        names = self.sockets[end]
        return names[first % len(names)]

    def transport(self, name: str) -> str:
        """Return the testee's transport ``name``, or the nearest."""
        names = self.sockets[End.TESTEE]
        return name if name in names else names[_numbers(name)[0] % len(names)]


_ORDER = ((0, 1, 2, 3), (1, 0, 2, 3), (2, 1, 0, 3), (3,))


def room_of(control: int | None) -> int:
    """Return how many descriptors fit into so many bytes of control buffer."""
    return max(0, min((control or 0) - f.HEADER, 4 * MOST_RECEIVED)) // 4


def _plain(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 9 and (text == "0" or text[0] != "0")


def _letter(name: str) -> str:
    match = _NAME.search(name)
    return match[0] if match else SOCKETS[0]


def _numbers(name: str) -> tuple[int, int]:
    first, second = ([int(one) for one in _DIGITS.findall(name)[:2]] + [0, 0])[:2]
    return first, second


def _note_open(scope: Scope, operation: Operation) -> None:
    if isinstance(operation, (Open, Make)):
        end = end_of(operation.name)
        scope.objects[end].append(operation.name)
        if isinstance(operation, Open):
            scope.fifos[end].append(operation.name)


def _note_pair(scope: Scope, operation: Operation) -> None:
    if isinstance(operation, Pair):
        scope.sockets[0].append(operation.a)
        scope.sockets[1].append(operation.b)


def capacity(operation: Receive | Take | TakeOne | Turn) -> int:
    """Return how many descriptors an operation may bring, by its room."""
    if isinstance(operation, Take):
        return operation.room
    if isinstance(operation, Receive):
        return room_of(operation.control) if operation.call is Call.RECVMSG else 0
    return 1 if isinstance(operation, TakeOne) else MOST_RECEIVED


def _note_receive(scope: Scope, operation: Operation) -> None:
    if isinstance(operation, (Receive, Take, TakeOne, Turn)):
        room = capacity(operation)
        if room:
            scope.received[end_of(operation.name)].append(room)


_NOTES: dict[type[Operation], Callable[[Scope, Operation], None]] = {
    Open: _note_open,
    Make: _note_open,
    Pair: _note_pair,
    Receive: _note_receive,
    Take: _note_receive,
    TakeOne: _note_receive,
    Turn: _note_receive,
}
