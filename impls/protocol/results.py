"""Results of the testee protocol, one Struct each, and the envelope in which a reply carries one."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .values import (
    Address,
    Buffers,
    ControlMessage,
    Fd,
    Flags,
    Hex,
    Name,
    NameOrNumber,
    ObjectKind,
    Profile,
    SocketType,
)


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
    """A msghdr after the call, to the letter: ``flags`` and lengths as the kernel left them, every byte of every buffer.

    Of memory that cannot be read nothing is shown. ``changed`` names what differs from before the call: fields of the msghdr
    (``msg_controllen``), ``iov`` for the array of iovecs, ``control`` for the bytes of the control buffer.
    """

    flags: int
    name_length: int
    control_length: int
    iov: list[Hex] = []
    control: Hex = ""
    name: Hex = ""
    returned: int = 0
    """msg_len of this message, of sendmmsg and recvmmsg."""
    changed: list[Name] = []


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


class InResult(msgspec.Struct, frozen=True):
    """``reply``: what the child answered, without an ``id``; null where nobody waited for it (``later``)."""

    reply: Any = None


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
