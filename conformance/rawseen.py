"""What the raw testee reported of a system call, in the form that cases read."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..impls.constants import errno_name, flag_names
from ..impls.protocol.results import RawMessage, RawResult
from .layout import Layout
from .objects import Thing
from .observations import SCM_RIGHTS, SOL_SOCKET, Cmsg, brief


@dataclass(frozen=True, repr=False)
class Called:
    """What a call returned: ``returned`` and ``errno`` (a name, None where it succeeded), the signals that it raised.

    ``memory``: every byte of every buffer afterwards, touched or not (0xAA where nothing was written).
    """

    returned: int
    errno: str | None = None
    signals: tuple[str, ...] = ()
    memory: list[bytes] = field(default_factory=list[bytes])

    @property
    def failed(self) -> bool:
        """Whether there was an error."""
        return self.errno is not None

    @property
    def data(self) -> bytes:
        """The first ``returned`` bytes of the buffers, in order."""
        return b"".join(self.memory)[: max(self.returned, 0)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._parts())})"

    def _parts(self) -> list[str]:
        parts = [self.errno or str(self.returned)]
        return [*parts, f"signals={list(self.signals)}"] if self.signals else parts


@dataclass(frozen=True, repr=False)
class RawSent(Called):
    """A sendmsg or sendmmsg. ``changed``: what of the header differs from before; ``lengths``: msg_len of every message."""

    changed: frozenset[str] = frozenset()
    lengths: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, repr=False)
class RawGot(Called):
    """One message of a recvmsg or recvmmsg.

    ``flags``: msg_flags by name. ``control_length``: msg_controllen as the kernel left it. ``control``: every byte of the
    control buffer. ``fds``: the numbers in all SCM_RIGHTS control messages, in order; ``things``: what each refers to, None
    for what is no object of this case. ``name``: the bytes of msg_name. ``changed``: what of the header differs from before.
    """

    flags: frozenset[str] = frozenset()
    control_length: int = 0
    control: bytes = b""
    cmsgs: list[Cmsg] = field(default_factory=list[Cmsg])
    fds: list[int] = field(default_factory=list[int])
    things: list[Thing | None] = field(default_factory=list["Thing | None"])
    name: bytes = b""
    name_length: int = 0
    changed: frozenset[str] = frozenset()

    def has(self, flag: str) -> bool:
        """Whether ``flag`` is set in msg_flags."""
        return flag in self.flags

    def of(self, kind: int) -> list[Cmsg]:
        """Return the control messages of level SOL_SOCKET and that type."""
        return [one for one in self.cmsgs if (one.level, one.type) == (SOL_SOCKET, kind)]

    def _parts(self) -> list[str]:
        parts = super()._parts()
        if not self.failed:
            parts += [f"data={brief(self.data)}", f"fds={self.fds}", f"things={self.things}"]
            parts += [f"flags={sorted(self.flags)}", f"controllen={self.control_length}"]
        return parts


def called(result: RawResult) -> Called:
    """Return what a reply to ``raw_call`` says."""
    memory = [bytes.fromhex(one) for one in result.iov]
    return Called(result.returned, errno_name(result.errno), tuple(result.signals), memory)


def sent(result: RawResult) -> RawSent:
    """Return what a reply to ``raw_sendmsg`` says."""
    changed = frozenset(name for message in result.messages for name in message.changed)
    lengths = [message.returned for message in result.messages]
    return RawSent(result.returned, errno_name(result.errno), tuple(result.signals), [], changed, lengths)


def got(layout: Layout, result: RawResult, message: RawMessage, returned: int) -> RawGot:
    """Return one received message, before anybody has looked at what its numbers refer to.

    Raises `Malformed` where the kernel wrote control messages that do not parse.
    """
    errno = errno_name(result.errno)
    control = bytes.fromhex(message.control)
    cmsgs = layout.parse(control[: message.control_length]) if errno is None else []
    fds = [
        fd for one in cmsgs if (one.level, one.type) == (SOL_SOCKET, SCM_RIGHTS) for fd in layout.read_ints(one.data)
    ]
    return RawGot(
        returned,
        errno,
        tuple(result.signals),
        [bytes.fromhex(one) for one in message.iov],
        flags=flag_names([message.flags]),
        control_length=message.control_length,
        control=control,
        cmsgs=cmsgs,
        fds=fds,
        name=bytes.fromhex(message.name),
        name_length=message.name_length,
        changed=frozenset(message.changed),
    )
