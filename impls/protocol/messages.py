"""Requests of the testee protocol, version 1, one Struct each.

A request is one JSON object on one line: ``{"id": 7, "op": "recvmsg", "fd": 4, "sizes": [16], "room": 2}``. Its reply is one
object on one line with the same ``id`` and exactly one of ``result``, ``error`` and ``unsupported``. Fields that a reader
does not know are ignored, so that later versions may add some; what is here keeps its meaning for ever.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .results import (
    AcceptResult,
    CensusResult,
    DecodeResult,
    Empty,
    EncodeResult,
    EventsResult,
    FdResult,
    HelloResult,
    InResult,
    OptionResult,
    PairResult,
    ProcessResult,
    RawResult,
    RecvFdsResult,
    RecvmsgResult,
    ResetResult,
    SentResult,
    StepsResult,
    TransportResult,
    WaitResult,
)
from .values import (
    Address,
    Buffers,
    ControlMessage,
    Fd,
    FdOrRef,
    Flags,
    Hex,
    Memory,
    Msghdr,
    Name,
    NameOrNumber,
    ObjectKind,
    Profile,
    Seconds,
    SocketType,
)

VERSION = 1

Count = Annotated[int, Meta(ge=0)]
Sizes = Annotated[list[Count], Meta(description="the length of each receive buffer, in bytes; one buffer an entry")]
Room = Annotated[int, Meta(ge=0, description="how many descriptors the caller has room for")]
Handle = Annotated[int | str, Meta(description="a transport or listener as the testee numbers it, or a reference")]
Arguments = Annotated[
    list[int | str],
    Meta(description="numbers, constants by name, or references, in the order of the system call's own"),
]


class Request(msgspec.Struct, frozen=True, tag_field="op"):
    """What every request is. All fields are always sent, but for those that may be absent (``UNSET``)."""

    result_type: ClassVar[type[msgspec.Struct]] = Empty
    profile: ClassVar[Profile | None] = None
    """The profile that a testee must offer to be asked this; None where any testee is asked."""
    capability: ClassVar[str | None] = None
    """The capability (of the testee as a whole) without which it is not asked."""


class Hello(Request, frozen=True, tag="hello"):
    """Opens the conversation. ``constants``: this platform's numbers by name, for testees that have no table of their own."""

    result_type = HelloResult
    version: int = VERSION
    constants: dict[str, int] = {}


class Reset(Request, frozen=True, tag="reset"):
    """Back to the beginning: drop every socket and transport of the case, and close the numbers in ``close``."""

    result_type = ResetResult
    close: list[Fd] = []


class Connect(Request, frozen=True, tag="connect"):
    """A new socket, bound to ``bind`` where given, connected to ``address``."""

    result_type = FdResult
    address: Address
    type: SocketType
    bind: Address | UnsetType = UNSET


class Listen(Request, frozen=True, tag="listen"):
    """A new socket bound to ``address``; stream and seqpacket listen."""

    result_type = FdResult
    capability = "listen"
    address: Address
    type: SocketType
    backlog: int = 8


class Accept(Request, frozen=True, tag="accept"):
    """The next connection of a listener."""

    result_type = AcceptResult
    capability = "listen"
    fd: FdOrRef


class Pair(Request, frozen=True, tag="pair"):
    """A socketpair inside the testee."""

    result_type = PairResult
    capability = "pair"
    type: SocketType


class Open(Request, frozen=True, tag="open"):
    """open(2) with O_CLOEXEC and these flags: files and FIFOs; a socket to be passed is made by ``connect``."""

    result_type = FdResult
    path: Annotated[str, Meta(description="absolute")]
    flags: Flags = msgspec.field(default_factory=lambda: ["O_RDONLY"])


class Close(Request, frozen=True, tag="close"):
    """close(2)."""

    fd: FdOrRef


class Setopt(Request, frozen=True, tag="setopt"):
    """setsockopt with an int, or with level ``fcntl`` and option ``O_NONBLOCK``: blocking mode, as the implementation sets it."""

    capability = "options"
    fd: FdOrRef
    level: NameOrNumber
    option: NameOrNumber
    value: int


class Getopt(Request, frozen=True, tag="getopt"):
    """Return the int that getsockopt finds."""

    result_type = OptionResult
    capability = "options"
    fd: FdOrRef
    level: NameOrNumber
    option: NameOrNumber


class Shutdown(Request, frozen=True, tag="shutdown"):
    """shutdown(2); ``how`` is SHUT_RD, SHUT_WR or SHUT_RDWR."""

    capability = "options"
    fd: FdOrRef
    how: Name


class Sendmsg(Request, frozen=True, tag="sendmsg"):
    """Profile message: send buffers and control messages."""

    result_type = SentResult
    profile = Profile.MESSAGE
    fd: FdOrRef
    buffers: Buffers = []
    ancillary: list[ControlMessage] = []
    flags: Flags = []
    address: Address | UnsetType = UNSET


class Recvmsg(Request, frozen=True, tag="recvmsg"):
    """Profile message: receive. ``room`` in descriptors, the API's own idiom; or ``control``, msg_controllen in bytes."""

    result_type = RecvmsgResult
    profile = Profile.MESSAGE
    fd: FdOrRef
    sizes: Sizes = msgspec.field(default_factory=lambda: [65536])
    room: Room = 0
    control: Count | UnsetType = UNSET
    flags: Flags = []


class SendFds(Request, frozen=True, tag="send_fds"):
    """Profile descriptors: send buffers and descriptors. ``single``: by the call that takes one descriptor."""

    result_type = SentResult
    profile = Profile.DESCRIPTORS
    fd: FdOrRef
    buffers: Buffers = []
    fds: list[FdOrRef] = []
    flags: Flags = []
    address: Address | UnsetType = UNSET
    single: bool = False


class RecvFds(Request, frozen=True, tag="recv_fds"):
    """Profile descriptors: receive. ``single``: by the call that receives one descriptor."""

    result_type = RecvFdsResult
    profile = Profile.DESCRIPTORS
    fd: FdOrRef
    sizes: Sizes = msgspec.field(default_factory=lambda: [65536])
    room: Room = 0
    flags: Flags = []
    single: bool = False


class Receiver(msgspec.Struct, frozen=True):
    """The protocol on top of a transport, as the testee is to play it.

    ``descriptors``: whether it can take descriptors. ``raise_at``: the descriptor callback, counted from 0, that raises.
    ``close_at``, ``abort_at``: the one that closes or aborts the transport.
    """

    descriptors: bool = True
    raise_at: int | None = None
    close_at: int | None = None
    abort_at: int | None = None


class TransportConnect(Request, frozen=True, tag="transport.connect"):
    """A client transport, connected; returns when it is."""

    result_type = TransportResult
    profile = Profile.TRANSPORT
    address: Address
    receiver: Receiver = Receiver()


class TransportListen(Request, frozen=True, tag="transport.listen"):
    """A listener whose connections become server transports."""

    result_type = TransportResult
    profile = Profile.TRANSPORT
    address: Address
    receiver: Receiver = Receiver()


class TransportAccept(Request, frozen=True, tag="transport.accept"):
    """The next server transport of a listener; waits for it."""

    result_type = TransportResult
    profile = Profile.TRANSPORT
    transport: Handle


class TransportWrite(Request, frozen=True, tag="transport.write"):
    """Queue data. All requests of one ``steps`` happen in one turn of the event loop."""

    profile = Profile.TRANSPORT
    transport: Handle
    data: Hex


class TransportSendFd(Request, frozen=True, tag="transport.send_fd"):
    """Queue a descriptor. ``give``: the transport owns it from now on (capability ``owned``)."""

    profile = Profile.TRANSPORT
    transport: Handle
    fd: FdOrRef
    give: bool = False


class TransportProducer(Request, frozen=True, tag="transport.producer"):
    """Register a streaming producer; ``pause`` and ``resume`` become events."""

    profile = Profile.TRANSPORT
    transport: Handle


class TransportReading(Request, frozen=True, tag="transport.reading"):
    """Stop or go on reading from the socket."""

    profile = Profile.TRANSPORT
    transport: Handle
    on: bool


class TransportEnd(Request, frozen=True, tag="transport.end"):
    """End the sending direction once what is queued has gone; receiving goes on (capability ``half-close``)."""

    profile = Profile.TRANSPORT
    transport: Handle


class TransportClose(Request, frozen=True, tag="transport.close"):
    """Close: what is queued goes out first; ``abort`` drops it."""

    profile = Profile.TRANSPORT
    transport: Handle
    abort: bool = False


class TransportEvents(Request, frozen=True, tag="transport.events"):
    """Run the event loop until this batch has so many data bytes, descriptors and the named event, or ``wait`` has passed."""

    result_type = EventsResult
    profile = Profile.TRANSPORT
    transport: Handle
    bytes: Count = 0
    fds: Count = 0
    event: str = ""
    wait: Seconds = 0.0


class RawRequest(Request, frozen=True):
    """What the requests of profile raw have in common.

    ``alarm``: a signal (SIGALRM) interrupts the call after so many seconds (0: never). ``restart``: its handler has SA_RESTART.
    """

    result_type = RawResult
    profile = Profile.RAW
    alarm: Seconds = 0.0
    restart: bool = False


class RawSendmsg(RawRequest, frozen=True, tag="raw_sendmsg", kw_only=True):
    """Profile raw: sendmsg(2) with this very msghdr; with ``many`` sendmmsg(2) with all of ``messages``."""

    fd: FdOrRef
    messages: list[Msghdr]
    flags: Flags = []
    many: bool = False


class RawRecvmsg(RawRequest, frozen=True, tag="raw_recvmsg", kw_only=True):
    """Profile raw: recvmsg(2) with this very msghdr; with ``many`` recvmmsg(2).

    ``close``: the testee closes every descriptor in the SCM_RIGHTS control messages that came, once they are in the reply.
    """

    fd: FdOrRef
    messages: list[Msghdr]
    flags: Flags = []
    many: bool = False
    close: bool = False


class RawCall(RawRequest, frozen=True, tag="raw_call", kw_only=True):
    """Profile raw: another system call, by ``name`` (see ``rawcalls.py`` for what ``iov`` and ``arguments`` are in each)."""

    name: Name
    fd: FdOrRef = -1
    iov: list[Memory] = []
    flags: Flags = []
    arguments: Arguments = []


class Encode(Request, frozen=True, tag="encode"):
    """Profile codec: build a control buffer. Descriptor numbers are plain ints, nothing is passed."""

    result_type = EncodeResult
    profile = Profile.CODEC
    ancillary: list[ControlMessage]


class Decode(Request, frozen=True, tag="decode"):
    """Profile codec: parse a control buffer of msg_controllen ``length`` (default: all of it)."""

    result_type = DecodeResult
    profile = Profile.CODEC
    control: Hex
    length: Count | UnsetType = UNSET
    flags: Flags = []


class Make(Request, frozen=True, tag="make"):
    """Kernels: make an object in the testee's own file system, as the harness does elsewhere."""

    capability = "make"
    kind: ObjectKind
    path: str
    data: Hex = ""


class Fork(Request, frozen=True, tag="fork"):
    """Kernels: a child with the testee's descriptors, as another user, with other soft limits.

    ``files``: the child shares the table of descriptors as a thread does (CLONE_FILES), and has no copy of it.
    """

    result_type = ProcessResult
    capability = "fork"
    user: int | None = None
    group: int | None = None
    limits: dict[str, int] = {}
    files: bool = False


class Wait(Request, frozen=True, tag="wait"):
    """Kernels: end a child and tell how it ended."""

    result_type = WaitResult
    capability = "fork"
    process: int


class In(Request, frozen=True, tag="in"):
    """Kernels: carry out a request in a child. ``later``: do not wait for its reply, which ``collect`` fetches."""

    result_type = InResult
    capability = "fork"
    process: int
    request: Any
    later: bool = False


class Collect(Request, frozen=True, tag="collect"):
    """Kernels: wait for the reply to the last ``in`` of a child that was not waited for."""

    result_type = InResult
    capability = "fork"
    process: int


class Limit(Request, frozen=True, tag="limit"):
    """Kernels: set a soft resource limit (RLIMIT_NOFILE) of the process that answers, a forked child's own included."""

    capability = "limit"
    resource: Name
    soft: int


class Census(Request, frozen=True, tag="census"):
    """Kernels: every open descriptor, from the testee's own /proc/self/fd."""

    result_type = CensusResult
    capability = "census"


class Steps(Request, frozen=True, tag="steps"):
    """Several requests in one round trip, run in order until one fails. Later ones refer to earlier results."""

    result_type = StepsResult
    capability = "steps"
    steps: list[Any]
    go_on: bool = False
    """Go on after an error."""


REQUESTS: tuple[type[Request], ...] = (
    Hello,
    Reset,
    Steps,
    Connect,
    Listen,
    Accept,
    Pair,
    Open,
    Close,
    Setopt,
    Getopt,
    Shutdown,
    Sendmsg,
    Recvmsg,
    SendFds,
    RecvFds,
    TransportConnect,
    TransportListen,
    TransportAccept,
    TransportWrite,
    TransportSendFd,
    TransportProducer,
    TransportReading,
    TransportEnd,
    TransportClose,
    TransportEvents,
    RawSendmsg,
    RawRecvmsg,
    RawCall,
    Encode,
    Decode,
    Make,
    Fork,
    Wait,
    In,
    Collect,
    Limit,
    Census,
)
