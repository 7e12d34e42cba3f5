"""What a testee reported of one operation, in the form that cases read."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..impls.constants import CONSTANTS, errno_name, flag_names
from ..impls.protocol import Reply
from ..impls.protocol.results import ErrorReply, RecvFdsResult, RecvmsgResult, SentResult
from ..impls.protocol.values import ControlMessage, ints_of
from .objects import Thing

SOL_SOCKET, SCM_RIGHTS = CONSTANTS["SOL_SOCKET"], CONSTANTS["SCM_RIGHTS"]


@dataclass(frozen=True)
class Cmsg:
    """A control message as the testee reported it, level and type as numbers."""

    level: int
    type: int
    data: bytes


@dataclass(frozen=True)
class Outcome:
    """What every operation has: the error that it ended in, or None."""

    error: ErrorReply | None = None

    @property
    def failed(self) -> bool:
        """Whether the implementation reported an error."""
        return self.error is not None

    @property
    def errno(self) -> str | None:
        """The name of the error number, where there was an error that had one."""
        return errno_name(self.error.errno) if self.error is not None else None


@dataclass(frozen=True, repr=False)
class Sent(Outcome):
    """``count``: the bytes that the implementation says it took (None where its API does not say, or on an error)."""

    count: int | None = None

    def __repr__(self) -> str:
        return f"Sent(error={_error(self.error)})" if self.error is not None else f"Sent({self.count})"


SHOWN = 40
"""Bytes of data that a message about an observation shows."""


def brief(data: bytes) -> str:
    """Return ``data`` as text, the long ones by their beginning and their length."""
    return repr(data) if len(data) <= SHOWN else f"{data[:SHOWN]!r}… ({len(data)} bytes)"


def _error(error: ErrorReply) -> str:
    return " ".join(part for part in (error.type, errno_name(error.errno), error.message) if part)


@dataclass(frozen=True, repr=False)
class Received(Outcome):
    """What a receive reported.

    ``fds``: numbers in the testee, in order. ``things``: what each refers to by a look from outside, None for what is not an
    object of this case. ``flags``: msg_flags by name, None where the API does not show them. ``silent``: the implementation
    documents that it drops what does not fit without a sign.
    """

    data: bytes = b""
    buffers: list[bytes] = field(default_factory=list[bytes])
    fds: list[int] = field(default_factory=list[int])
    things: list[Thing | None] = field(default_factory=list[Thing | None])
    flags: frozenset[str] | None = None
    ancillary: list[Cmsg] = field(default_factory=list[Cmsg])
    address: str | None = None
    control_length: int | None = None
    silent: bool = False

    def __repr__(self) -> str:
        parts = [f"error={_error(self.error)}"] if self.error is not None else []
        parts += [f"data={brief(self.data)}", f"things={self.things}"]
        parts += [f"flags={sorted(self.flags)}"] if self.flags is not None else ["flags not shown"]
        parts += [f"ancillary={self.ancillary}"] if self.ancillary else []
        return f"Received({', '.join(parts)})"

    @property
    def lost_descriptors_visible(self) -> bool:
        """Whether the caller can tell that descriptors were lost: an error, MSG_CTRUNC, or a documented policy."""
        return self.failed or (self.flags is not None and "MSG_CTRUNC" in self.flags) or self.silent

    def has(self, flag: str) -> bool:
        """Whether ``flag`` is among the flags shown."""
        return self.flags is not None and flag in self.flags


def number_or_minus_one(value: str | int) -> int:
    """Return the number of a level or type; -1 for a name that this platform does not know."""
    return value if isinstance(value, int) else CONSTANTS.get(value, -1)


def split_control(messages: list[ControlMessage]) -> tuple[list[int], list[Cmsg]]:
    """Return the descriptors of all SCM_RIGHTS messages in order, and the other control messages."""
    fds: list[int] = []
    others: list[Cmsg] = []
    for message in messages:
        level, kind = number_or_minus_one(message.level), number_or_minus_one(message.type)
        data = bytes.fromhex(message.data) if isinstance(message.data, str) else b""
        if (level, kind) != (SOL_SOCKET, SCM_RIGHTS):
            others.append(Cmsg(level, kind, data))
            continue
        if isinstance(message.fds, list):
            fds += [fd for fd in message.fds if isinstance(fd, int)]
        else:
            fds += ints_of(data)
    return fds, others


@dataclass(frozen=True)
class Parts:
    """A receive reply taken apart, before anybody looked at what the numbers refer to."""

    buffers: list[bytes]
    fds: list[int]
    flags: frozenset[str] | None
    ancillary: list[Cmsg]
    address: str | None
    control_length: int | None
    error: ErrorReply | None


def take_apart(reply: Reply) -> Parts:
    """Return the parts of a reply to recvmsg or recv_fds; on an error, of what the error carried."""
    result = reply.result if reply.error is None else reply.error.observed
    if isinstance(result, RecvmsgResult):
        fds, others = split_control(result.ancillary)
        length = result.control_length
    elif isinstance(result, RecvFdsResult):
        fds, others, length = list(result.fds), [], None
    else:
        return Parts([], [], None, [], None, None, reply.error)
    flags = None if result.flags is None else flag_names(result.flags)
    buffers = [bytes.fromhex(one) for one in result.buffers]
    return Parts(buffers, fds, flags, others, result.address, length, reply.error)


def sent_of(reply: Reply) -> Sent:
    """Return what a reply to sendmsg or send_fds says."""
    if reply.error is not None:
        return Sent(error=reply.error)
    return Sent(count=reply.result.sent if isinstance(reply.result, SentResult) else None)
