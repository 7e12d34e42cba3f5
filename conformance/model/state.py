"""What the model knows: a process's table of descriptors, the sockets and what is queued in them. Values, never changed.

The names follow net/unix/af_unix.c of Linux: a queue holds messages, a message holds its bytes, its descriptors and its
credentials. A descriptor in a table or in a message refers to a file, by which the open file description is meant.

There may be two processes: the one that acts, whose table, names and limit a state shows, and another one that waits. Files,
sockets and queues belong to neither. `acting` changes over.
"""

from __future__ import annotations

import struct
from enum import StrEnum

from msgspec import Struct
from msgspec.structs import replace

from .operations import Kind

OVERFLOW = 65534
"""The user and group that stand for none (/proc/sys/kernel/overflowuid)."""

RECEIVE, SEND = 1, 2
"""The bits of what is shut down."""


class Ids(Struct, frozen=True, gc=False):
    """A process's credentials, as SCM_CREDENTIALS carries them."""

    pid: int
    uid: int
    gid: int

    def packed(self) -> bytes:
        """Return struct ucred."""
        return struct.pack("=iII", self.pid, self.uid, self.gid)


NOBODY = Ids(0, OVERFLOW, OVERFLOW)
NOTHING = Ids(0, 0, 0)


class Message(Struct, frozen=True, gc=False):
    """One element of a receive queue. ``done`` bytes of ``data`` are consumed. ``ids`` None: no credentials are attached.

    ``least`` and ``most`` bound the kernel memory that is charged to ``sender`` until the message is gone. A queue of a
    listening socket holds messages without data whose ``embryo`` is the socket that waits to be accepted.
    """

    id: int
    data: bytes
    sender: int
    least: int
    most: int
    fds: tuple[int, ...] = ()
    ids: Ids | None = None
    done: int = 0
    peeked: bool = False
    embryo: int | None = None

    @property
    def left(self) -> int:
        """How many bytes are not consumed."""
        return len(self.data) - self.done


class Condition(StrEnum):
    """The states of a socket."""

    UNCONNECTED = "unconnected"
    ESTABLISHED = "established"
    LISTENING = "listening"
    CLOSED = "closed"


_CLOSED = Condition.CLOSED
"""A name of its own: looking a member up in its enum costs more than all the rest of `Socket.dead`."""


class Socket(Struct, frozen=True, gc=False):
    """A socket. ``file`` is None while it waits to be accepted. ``oob`` is the id of the message with the urgent byte."""

    id: int
    kind: Kind
    file: int | None
    condition: Condition = Condition.UNCONNECTED
    peer: int | None = None
    queue: tuple[Message, ...] = ()
    oob: int | None = None
    dropped: int = 0
    """Urgent bytes that a plain receive has dropped; Linux 6.17 and 6.18 go on counting them in FIONREAD."""
    shut: int = 0
    error: str | None = None
    backlog: int = 10
    address: int | None = None
    """The socket that its address leads to: itself, or the listener that it was accepted from."""
    passcred: bool = False
    passrights: bool = True
    oobinline: bool = False
    peek_off: int = -1
    sndbuf: int = 212992

    @property
    def dead(self) -> bool:
        """Whether its last reference is gone."""
        return self.condition is _CLOSED


class File(Struct, frozen=True, gc=False):
    """An open file description. ``socket`` is the socket behind it; None: a pipe's writing end."""

    id: int
    label: str
    socket: int | None = None


INHERITED = -1
"""The id that stands for the file behind every number that was open before the sequence."""


class Entry(Struct, frozen=True, gc=False):
    """What a number of the descriptor table holds."""

    file: int
    cloexec: bool


class Platform(Struct, frozen=True):
    """What the rules take from where they run. ``taken`` are numbers of the table that belong to nobody in the sequence.

    ``privileged``: CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID are held. ``alone``: no other process of this user has descriptors
    in flight. ``limit`` is RLIMIT_NOFILE at the start. The fields ``peer_...`` are those of the second process, where there is
    one; ``peer_ids`` None: they are ``ids``. Descriptors in flight are counted together, as those of one user.
    """

    taken: frozenset[int] = frozenset({0, 1, 2})
    limit: int = 1024
    ids: Ids = Ids(1000, 1000, 1000)
    privileged: bool = False
    alone: bool = True
    sndbuf: int = 212992
    dgram_backlog: int = 10
    optmem: int = 131072
    chunk: int = 36544
    """The bytes of a stream that one message of the queue holds at most (SKB_MAX_HEAD(0) + UNIX_SKB_FRAGS_SZ)."""
    peer_ids: Ids | None = None
    peer_taken: frozenset[int] = frozenset({0, 1, 2})
    peer_limit: int = 1 << 20

    def mirrored(self) -> Platform:
        """Return it as the second process sees it."""
        return replace(
            self,
            ids=self.peer_ids or self.ids,
            taken=self.peer_taken,
            limit=self.peer_limit,
            peer_ids=self.ids,
            peer_taken=self.taken,
            peer_limit=self.limit,
        )


class Process(Struct, frozen=True, gc=False):
    """The process that waits while the other one acts. ``platform`` is where it runs, as it sees it."""

    platform: Platform
    limit: int
    table: dict[int, Entry] = {}
    names: dict[str, int] = {}


class State(Struct, frozen=True, gc=False):
    """Everything. The dicts are never changed; ``Draft`` makes new ones.

    ``platform``, ``limit``, ``table`` and ``names`` are those of the process ``actor``, 0 or 1. ``other`` is the other one; None
    as long as there is only one.
    """

    platform: Platform
    limit: int
    table: dict[int, Entry] = {}
    names: dict[str, int] = {}
    files: dict[int, File] = {}
    sockets: dict[int, Socket] = {}
    objects: dict[str, int] = {}
    dying: frozenset[int] = frozenset()
    """Files that nothing refers to since a collection, and that are not released yet."""
    opened: int = 0
    """How many files were made so far; their ids count from 0."""
    counter: int = 0
    """The last id of a socket or message."""
    actor: int = 0
    other: Process | None = None


def initial(platform: Platform | None = None) -> State:
    """Return the state in which nothing is open but the numbers of ``platform.taken``."""
    where = platform or Platform()
    return State(platform=where, limit=where.limit, files={INHERITED: File(INHERITED, "inherited")})


def acting(state: State, actor: int) -> State:
    """Return the state with process ``actor``, 0 or 1, as the one that acts. Process 1 has nothing open when it first does."""
    if state.actor == actor:
        return state
    if actor not in {0, 1}:
        raise ValueError(f"there is no process {actor}; they are 0 and 1")
    other = state.other
    if other is None:
        platform = state.platform.mirrored()
        other = Process(platform, platform.limit)
    return State(
        other.platform,
        other.limit,
        other.table,
        other.names,
        state.files,
        state.sockets,
        state.objects,
        state.dying,
        state.opened,
        state.counter,
        actor,
        Process(state.platform, state.limit, state.table, state.names),
    )
