"""The operations of a sequence: what a process does with AF_UNIX sockets, one value each.

Descriptors are named by variables, as in a program: a variable holds a number, and goes on holding it when the number is closed
or belongs to something else by now. A literal number stands for itself. A name that was never bound is a number that is not open.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Kind(StrEnum):
    """The types of sockets."""

    STREAM = "stream"
    DGRAM = "dgram"
    SEQPACKET = "seqpacket"


class How(StrEnum):
    """What shutdown(2) shuts."""

    RD = "rd"
    WR = "wr"
    RDWR = "rdwr"


class Option(StrEnum):
    """The socket options that the model knows; all are set by setsockopt at SOL_SOCKET."""

    PASSCRED = "passcred"
    PASSRIGHTS = "passrights"
    OOBINLINE = "oobinline"
    PEEK_OFF = "peek-off"
    SNDBUF = "sndbuf"


class Call(StrEnum):
    """The calls that receive."""

    RECVMSG = "recvmsg"
    RECV = "recv"
    READ = "read"


class Forged(StrEnum):
    """What is wrong with the credentials that a sender attaches."""

    NOTHING = "own"
    PID = "pid"
    UID = "uid"
    LENGTH = "length"


Number = str | int
"""A descriptor: the name of a variable, or a number."""

NOWHERE = 1_000_000
"""The number that an unbound name stands for; beyond every limit of descriptors, so never open."""


class _Control(Struct, frozen=True, tag_field="form"):
    """A control message of a send."""


class Rights(_Control, frozen=True, tag="rights"):
    """A control message SCM_RIGHTS. ``length`` is the cmsg_len that is written; None: the right one."""

    fds: tuple[Number, ...]
    length: int | None = None


class Credentials(_Control, frozen=True, tag="creds"):
    """A control message SCM_CREDENTIALS with the sender's own ids, or with a forged one."""

    forged: Forged = Forged.NOTHING


class Raw(_Control, frozen=True, tag="raw"):
    """Any control message. ``length`` is the cmsg_len that is written; None: the right one."""

    level: int
    type: int
    data: bytes = b""
    length: int | None = None


Control = Rights | Credentials | Raw


class _Operation(Struct, frozen=True, tag_field="verb"):
    """One operation of a sequence."""


class Pair(_Operation, frozen=True, tag="pair"):
    """socketpair(2): ``a`` and ``b`` are bound to the new numbers, lowest first."""

    kind: Kind
    a: str
    b: str


class NewSocket(_Operation, frozen=True, tag="socket"):
    """socket(2)."""

    kind: Kind
    name: str


class Connect(_Operation, frozen=True, tag="connect"):
    """connect(2) to the socket ``to``, which gets an abstract address first where it has none."""

    name: Number
    to: Number


class Listen(_Operation, frozen=True, tag="listen"):
    """listen(2) on a socket that gets an abstract address first."""

    name: Number
    backlog: int = 8


class Accept(_Operation, frozen=True, tag="accept"):
    """accept4(2) with SOCK_NONBLOCK: ``name`` is bound to the new number."""

    listener: Number
    name: str


class Open(_Operation, frozen=True, tag="open"):
    """Make an object to pass, with an open file description of its own: the writing end of a pipe."""

    name: str


class Duplicate(_Operation, frozen=True, tag="dup"):
    """dup(2) of ``name``; ``new`` is bound to the new number."""

    name: Number
    new: str


class Close(_Operation, frozen=True, tag="close"):
    """close(2)."""

    name: Number


class Shutdown(_Operation, frozen=True, tag="shutdown"):
    """shutdown(2)."""

    name: Number
    how: How


class SetOption(_Operation, frozen=True, tag="set"):
    """setsockopt(2) at SOL_SOCKET. SO_SNDBUF is given in the bytes that the kernel then reports."""

    name: Number
    option: Option
    value: int


class Room(_Operation, frozen=True, tag="room"):
    """setrlimit(RLIMIT_NOFILE): so that exactly ``free`` more numbers can be had; None: the limit of the start."""

    free: int | None = None


class Send(_Operation, frozen=True, tag="send"):
    """sendmsg(2) with MSG_DONTWAIT.

    ``data`` has one piece per buffer. ``controllen`` overrides msg_controllen: less cuts the control data, more pads it with
    bytes 0xff. ``flags`` are added to MSG_DONTWAIT.
    """

    name: Number
    data: tuple[bytes, ...]
    control: tuple[Control, ...] = ()
    controllen: int | None = None
    flags: int = 0


class Receive(_Operation, frozen=True, tag="recv"):
    """recvmsg(2), recv(2) or read(2), never blocking.

    ``room`` has the size of each buffer, ``control`` the msg_controllen; None: a null msg_control with length 0. ``prefix``
    binds the descriptors that come: with the prefix ``x`` they are called x0, x1 and so on.
    """

    name: Number
    room: tuple[int, ...]
    control: int | None = None
    flags: int = 0
    call: Call = Call.RECVMSG
    prefix: str = ""


class Released(_Operation, frozen=True, tag="released"):
    """Ask whether the object that the last ``open`` of that name made is released: the pipe's reading end hangs up."""

    name: str


class Look(_Operation, frozen=True, tag="look"):
    """ioctl(FIONREAD): the bytes that can be read."""

    name: Number


class Collect(_Operation, frozen=True, tag="collect"):
    """Start the kernel's collection of descriptors that refer only to each other, and wait until it has ended."""


Operation = (
    Pair
    | NewSocket
    | Connect
    | Listen
    | Accept
    | Open
    | Duplicate
    | Close
    | Shutdown
    | SetOption
    | Room
    | Send
    | Receive
    | Released
    | Look
    | Collect
)
