"""Requests and results of the testee protocol, version 1, one Struct each.

A request is one JSON object on one line: ``{"id": 7, "op": "recvmsg", "fd": 4, "sizes": [16], "room": 2}``. Its reply is one
object on one line with the same ``id`` and exactly one of ``result``, ``error`` and ``unsupported``. Fields that a reader
does not know are ignored, so that later versions may add some; what is here keeps its meaning for ever.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .values import (
    Address,
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
Buffers = Annotated[list[Hex], Meta(description="the buffers to send, one iovec an entry")]
Handle = Annotated[int | str, Meta(description="a transport or listener as the testee numbers it, or a reference")]


# --- results -----------------------------------------------------------------------------------------------------------


class Empty(msgspec.Struct, frozen=True):
    """Nothing to tell: it was done."""


class Implementation(msgspec.Struct, frozen=True):
    """Who is judged."""

    name: str
    version: str
    language: str
    runtime: str = ""
    links: dict[str, str] = {}


class ProfileOffer(msgspec.Struct, frozen=True):
    """What an implementation offers in one profile: socket types and capabilities (see ``capabilities.py``)."""

    types: list[SocketType]
    capabilities: list[str] = []
    limits: dict[str, int] = {}
    """``descriptors``: most that one call takes; ``queue``: queued descriptors beyond which a transport is full."""


class Policy(msgspec.Struct, frozen=True):
    """A choice that the implementation's documentation states. ``source`` says where; without it the policy has no weight."""

    outcome: str
    source: str = ""


class Payload(msgspec.Struct, frozen=True):
    """The data that an implementation insists on sending beside descriptors.

    ``any``: the caller's. ``fixed``: always ``data``. ``count``: the number of descriptors as one byte. ``frame``: a message
    of the protocol called ``name``.
    """

    kind: str = "any"
    data: Hex = ""
    name: str = ""


class HelloResult(msgspec.Struct, frozen=True):
    """Who the testee is and what it can do."""

    version: int
    implementation: Implementation
    profiles: dict[Profile, ProfileOffer]
    policies: dict[str, Policy] = {}
    payload: Payload = Payload()
    objects: list[ObjectKind] = msgspec.field(default_factory=lambda: list(ObjectKind))
    capabilities: list[str] = []
    """Of the testee as a whole: ``steps``, ``options``, ``listen``, and those of kernels (see ``capabilities.py``)."""


class NotClosed(msgspec.Struct, frozen=True):
    """A number that ``reset`` was asked to close and could not."""

    fd: Fd
    errno: NameOrNumber


class ResetResult(msgspec.Struct, frozen=True):
    """``failed``: the numbers that could not be closed, with the error of close(2)."""

    failed: list[NotClosed] = []


class FdResult(msgspec.Struct, frozen=True):
    """One new descriptor."""

    fd: Fd


class AcceptResult(msgspec.Struct, frozen=True):
    """An accepted connection and its peer's address."""

    fd: Fd
    address: Address | None = None


class PairResult(msgspec.Struct, frozen=True):
    """Both ends of a socketpair."""

    fds: Annotated[list[Fd], Meta(min_length=2, max_length=2)]


class OptionResult(msgspec.Struct, frozen=True):
    """An option's value."""

    value: int


class SentResult(msgspec.Struct, frozen=True):
    """``sent``: the number of data bytes that the implementation says it took; null where its API does not say."""

    sent: int | None


class RecvmsgResult(msgspec.Struct, frozen=True):
    """What recvmsg reported. ``buffers``: the filled part of each buffer, so that their concatenation is the data."""

    buffers: Buffers = []
    ancillary: list[ControlMessage] = []
    flags: Flags | None = None
    address: Address | None = None
    control_length: int | None = None


class RecvFdsResult(msgspec.Struct, frozen=True):
    """What recv_fds reported. ``flags`` and ``address`` are null where the API does not show them."""

    buffers: Buffers = []
    fds: list[Fd] = []
    flags: Flags | None = None
    address: Address | None = None


class TransportResult(msgspec.Struct, frozen=True):
    """A new transport (or listener): its number and the descriptor of its socket."""

    transport: int
    fd: Fd


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that a transport told its protocol, in the order of telling.

    ``event``: ``descriptor`` (``fd``), ``data`` (``data``), ``pause`` and ``resume`` (to a producer), ``error`` (reported, not
    fatal), ``log`` (written to the implementation's log), ``eof``, ``lost`` (the last one; ``error`` null when it ended well).
    """

    event: str
    fd: Fd | UnsetType = UNSET
    data: Hex | UnsetType = UNSET
    error: str | None = None
    """The name of the exception or of the error number."""
    message: str = ""


class EventsResult(msgspec.Struct, frozen=True):
    """Everything since the last ``transport.events``."""

    events: list[Event] = []


class RawMessage(msgspec.Struct, frozen=True):
    """A msghdr after the call, to the letter: ``flags`` and lengths as the kernel left them, every byte of every buffer."""

    flags: int
    name_length: int
    control_length: int
    iov: list[Hex] = []
    control: Hex = ""
    name: Hex = ""
    returned: int = 0
    """recvmmsg's msg_len of this message."""


class RawResult(msgspec.Struct, frozen=True):
    """A system call's return value, the error number it set (null where it succeeded), and all memory it may have touched."""

    returned: int
    errno: NameOrNumber | None = None
    messages: list[RawMessage] = []
    iov: list[Hex] = []
    signals: list[Name] = []
    """Signals that the call raised (``SIGPIPE``)."""


class EncodeResult(msgspec.Struct, frozen=True):
    """``control``: the control buffer built; its length is msg_controllen."""

    control: Hex


class DecodeResult(msgspec.Struct, frozen=True):
    """The control messages that the parser found."""

    ancillary: list[ControlMessage]


class ProcessResult(msgspec.Struct, frozen=True):
    """A forked child: its number in this conversation and its process id."""

    process: int
    pid: int


class WaitResult(msgspec.Struct, frozen=True):
    """How a child ended: its exit code, or minus the signal's number."""

    code: int


class DescriptorFact(msgspec.Struct, frozen=True):
    """One open descriptor, as the testee sees it from inside."""

    fd: Fd
    device: int
    inode: int
    kind: str
    cloexec: bool
    flags: int
    scm_fds: int = 0


class CensusResult(msgspec.Struct, frozen=True):
    """Every open descriptor of a process."""

    descriptors: list[DescriptorFact]


class StepsResult(msgspec.Struct, frozen=True):
    """The replies of the steps that ran (without ``id``), in order; the last may be an error."""

    replies: list[Any]


# --- requests ----------------------------------------------------------------------------------------------------------


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
    """

    descriptors: bool = True
    raise_at: int | None = None


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


class RawSendmsg(Request, frozen=True, tag="raw_sendmsg"):
    """Profile raw: sendmsg(2) with this very msghdr; with several messages sendmmsg(2)."""

    result_type = RawResult
    profile = Profile.RAW
    fd: FdOrRef
    messages: list[Msghdr]
    flags: Flags = []
    many: bool = False
    alarm: Seconds = 0.0
    """Interrupt the call by a signal after so many seconds (0: never)."""


class RawRecvmsg(Request, frozen=True, tag="raw_recvmsg"):
    """Profile raw: recvmsg(2) with this very msghdr; with ``many`` recvmmsg(2)."""

    result_type = RawResult
    profile = Profile.RAW
    fd: FdOrRef
    messages: list[Msghdr]
    flags: Flags = []
    many: bool = False
    alarm: Seconds = 0.0


class RawCall(Request, frozen=True, tag="raw_call"):
    """Profile raw: another call on a socket: read, readv, recv, recvfrom, write, writev, send, splice, ioctl, fcntl."""

    result_type = RawResult
    profile = Profile.RAW
    name: Name
    fd: FdOrRef
    iov: list[Memory] = []
    flags: Flags = []
    arguments: list[int] = []
    alarm: Seconds = 0.0


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
    """Kernels: a child with the testee's descriptors, as another user, with other limits."""

    result_type = ProcessResult
    capability = "fork"
    user: int | None = None
    group: int | None = None
    limits: dict[str, int] = {}


class Wait(Request, frozen=True, tag="wait"):
    """Kernels: end a child and tell how it ended."""

    result_type = WaitResult
    capability = "fork"
    process: int


class In(Request, frozen=True, tag="in"):
    """Kernels: carry out a request in a child; its reply is the ``reply``."""

    capability = "fork"
    process: int
    request: Any


class Limit(Request, frozen=True, tag="limit"):
    """Kernels: set a soft resource limit (RLIMIT_NOFILE), where the harness can't from outside."""

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
    Limit,
    Census,
)


# --- replies -----------------------------------------------------------------------------------------------------------


class ErrorReply(msgspec.Struct, frozen=True, omit_defaults=True):
    """The implementation reported an error.

    ``observed``: what the error carried all the same, in the shape of the operation's result (the data that came with lost
    descriptors, descriptors that the caller must close).
    """

    type: str
    message: str = ""
    errno: NameOrNumber | None = None
    observed: Any = None


class ReplyEnvelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """A reply: exactly one of ``result``, ``error``, ``unsupported`` (which says why)."""

    id: int
    result: msgspec.Raw | UnsetType = UNSET
    error: ErrorReply | UnsetType = UNSET
    unsupported: str | UnsetType = UNSET
