"""The connected implementation under test, one class per profile; cases speak to nothing else.

A link asks the testee, keeps account of every number that it reports, and turns replies into observations. It judges only one
thing: that the testee offers what it declared.
"""

from __future__ import annotations

import resource
import time
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import UNSET

from ..impls.constants import errno_name
from ..impls.errors import Broken, Unsupported
from ..impls.process import Line, Testee
from ..impls.protocol import Reply
from ..impls.protocol.messages import (
    Close,
    Connect,
    Open,
    RecvFds,
    Recvmsg,
    Request,
    SendFds,
    Sendmsg,
    Setopt,
    Shutdown,
    Steps,
)
from ..impls.protocol.results import FdResult, ProfileOffer, StepsResult
from ..impls.protocol.values import ControlMessage, ObjectKind, Profile, SocketType
from .census import Identity, Table
from .objects import Objects, Thing
from .observations import Received, Sent, sent_of, take_apart
from .peer import Peer

Ancillary = Sequence[tuple[str | int, str | int, bytes | Sequence[int]]]


def require(offer: ProfileOffer, profile: Profile, *capabilities: str) -> None:
    """Raise `Unsupported` unless ``offer`` holds every one of ``capabilities``."""
    for capability in capabilities:
        if capability not in offer.capabilities:
            raise Unsupported("capability", f"{capability} is not offered in profile {profile.value}")


class Link:
    """What all profiles share: opening objects, options, limits, and the account of descriptors."""

    profile: Profile

    def __init__(self, testee: Testee, table: Table, objects: Objects, type_: SocketType) -> None:
        self.testee = testee
        self.table = table
        self.objects = objects
        self.type = type_
        self.offer: ProfileOffer = testee.hello.profiles[self.profile]
        self.opened: dict[int, Identity] = {}
        """Numbers that the testee opened for this case at our request, and what they must go on referring to."""
        self.connected: set[int] = set()
        """The sockets among them, which the testee drops by itself at `reset`."""
        self.received: list[int] = []
        """Numbers that the implementation handed over."""
        self.fd = -1
        self.side = ""
        self.outcome = ""
        """Which of several permitted outcomes occurred, by the name that the requirement gives it."""
        self._limited: tuple[int, int] | None = None
        self.lacks: frozenset[str] = frozenset()
        """Options and flags that the system has not got as which the kernel shows itself."""

    def end(self) -> None:
        """Let go of what the harness itself holds of the connection."""

    # --- talking -------------------------------------------------------------------------------------------------------

    def ask(self, request: Request, *, extra: float = 0.0) -> Reply:
        """Ask and return the reply. ``unsupported`` for what was declared makes the testee broken.

        Raises `Unsupported` for an operation that needs a capability which the testee did not declare.
        """
        self.require_testee(request)
        self._require_system(request)
        return offered(request, self.testee.ask(request, extra=extra))

    def do(self, request: Request) -> Reply:
        """Ask for something that must work for the case to mean anything. Raises `Broken` on an error."""
        return worked(request, self.ask(request))

    def can(self, capability: str) -> bool:
        """Whether the testee declared ``capability`` in this profile."""
        return capability in self.offer.capabilities

    def require(self, *capabilities: str) -> None:
        """Raise `Unsupported` unless the testee declared every one of ``capabilities`` in this profile."""
        require(self.offer, self.profile, *capabilities)

    def require_testee(self, request: Request) -> None:
        """Raise `Unsupported` unless the testee as a whole declared the capability that ``request`` needs."""
        if request.capability is not None and request.capability not in self.testee.hello.capabilities:
            kind = request.__struct_config__.tag
            raise Unsupported("capability", f"{kind} needs {request.capability}, which the testee does not offer")

    def _require_system(self, request: Request) -> None:
        """Raise `Unsupported` where ``request`` uses an option or a flag that the emulated system has not got."""
        if not self.lacks:
            return
        used = request.flags if isinstance(request, (Sendmsg, Recvmsg, SendFds, RecvFds)) else ()
        names = [request.option] if isinstance(request, Setopt) else used
        for name in names:
            if name in self.lacks:
                raise Unsupported("personality", f"the emulated system has no {name}")

    def policy(self, name: str) -> str:
        """Return the outcome that the implementation documents for ``name``; '' without a source."""
        policy = self.testee.hello.policies.get(name)
        return policy.outcome if policy is not None and policy.source else ""

    def told(self, kind: str, data: bytes, control: bytes) -> None:
        """Write what the peer did into the transcript."""
        self.testee.lines.append(Line(time.monotonic(), "peer", kind, data, control))

    def groups(self) -> deque[list[int]]:
        """Return how the other end groups the descriptors that it sends (see `Peer.groups`); empty where nobody tells."""
        return deque()

    def intervened(self, call: str, how: str, control: bytes) -> None:
        """Write into the transcript what the harness, between the testee and its kernel, made of a call."""
        self.testee.lines.append(Line(time.monotonic(), "kernel", call, how.encode(), control))

    # --- objects in the testee -----------------------------------------------------------------------------------------

    def open(self, *things: Thing, flags: Sequence[str] = ()) -> list[int]:
        """Let the testee open ``things`` and return its numbers, in order: files for reading and writing, FIFOs for writing."""
        if not things:
            return []
        steps: list[Request] = []
        for thing in things:
            if thing.kind not in self.testee.hello.objects:
                raise Unsupported("object", f"the implementation does not take a {thing.kind.value}")
            if thing.kind is ObjectKind.SOCKET:
                steps.append(Connect(address=thing.path, type=SocketType.STREAM))
            else:
                default = ["O_WRONLY"] if thing.kind is ObjectKind.FIFO else ["O_RDWR"]
                steps.append(Open(path=thing.path, flags=list(flags) or [*default]))
        numbers: list[int] = []
        for reply in self.steps(steps):
            if not isinstance(reply.result, FdResult):
                raise Broken("operation", f"open failed: {reply.error or reply.unsupported}")
            numbers.append(reply.result.fd)
        for thing, fd in zip(things, numbers, strict=True):
            seen = self.table.identity(fd)
            if seen is None or (thing.kind is not ObjectKind.SOCKET and seen != thing.identity):
                raise Broken(
                    "operation",
                    f"open says number {fd} for {thing.path}, which /proc shows as {self.table.target(fd)!r}",
                )
            self.opened[fd] = seen
            if thing.kind is ObjectKind.SOCKET:
                self.connected.add(fd)
        return numbers

    def close(self, *fds: int) -> None:
        """Let the testee close numbers that it has opened or received."""
        for fd in fds:
            self.do(Close(fd=fd))
            self.opened.pop(fd, None)
            self.connected.discard(fd)
            if fd in self.received:
                self.received.remove(fd)

    def steps(self, steps: list[Request]) -> list[Reply]:
        """Ask ``steps``, which do not refer to each other, and return a reply each; the last may be an error.

        In one round trip where there are several and the testee answers `steps`, else one by one.
        """
        if len(steps) < 2 or Steps.capability not in self.testee.hello.capabilities:
            return self._one_by_one(steps)
        for step in steps:
            self.require_testee(step)
        reply = self.ask(Steps(steps=steps))
        if not isinstance(reply.result, StepsResult):
            raise Broken("operation", f"steps must be answered with a result: {reply.error}")
        return [offered(step, one) for step, one in zip(steps, reply.result.replies, strict=False)]

    def _one_by_one(self, steps: list[Request]) -> list[Reply]:
        replies: list[Reply] = []
        for step in steps:
            replies.append(self.ask(step))
            if replies[-1].error is not None:
                break
        return replies

    def adopt(self, fds: Sequence[int]) -> list[Thing | None]:
        """Take note of numbers that the implementation handed over; return what each refers to."""
        self.received += fds
        return [self.objects.of(self.table.identity(fd)) for fd in fds]

    # --- the socket and its surroundings -------------------------------------------------------------------------------

    def option(self, level: str, name: str, value: int) -> None:
        """Set an option on the socket under test."""
        self.do(Setopt(fd=self.fd, level=level, option=name, value=value))

    def try_option(self, level: str, name: str, value: int) -> None:
        """Set an option that this kernel may lack. Raises `Unsupported` where it does."""
        known_option(name, self.ask(Setopt(fd=self.fd, level=level, option=name, value=value)))

    def nonblocking(self) -> None:
        """Make the socket under test non-blocking, as its implementation does that."""
        self.option("fcntl", "O_NONBLOCK", 1)

    def shutdown(self, how: str) -> None:
        """Shut the socket under test down."""
        self.do(Shutdown(fd=self.fd, how=how))

    def leave_slots(self, count: int) -> None:
        """Lower the testee's RLIMIT_NOFILE so that exactly ``count`` more descriptors can be installed."""
        taken = set(self.table.numbers())
        limit, free = 0, 0
        while limit in taken or free < count:
            free += limit not in taken
            limit += 1
        self.limit_numbers(limit)

    def limit_numbers(self, limit: int) -> None:
        """Set the testee's soft RLIMIT_NOFILE to ``limit``."""
        self._limited = self._limited or resource.prlimit(self.testee.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.testee.pid, resource.RLIMIT_NOFILE, (limit, self._limited[1]))

    def restore_slots(self) -> None:
        """Undo `leave_slots` and `limit_numbers`."""
        if self._limited is not None:
            resource.prlimit(self.testee.pid, resource.RLIMIT_NOFILE, self._limited)
            self._limited = None


class PeerLink(Link):
    """A connection of which the harness holds one end: ``peer``."""

    def __init__(
        self, testee: Testee, table: Table, objects: Objects, type_: SocketType, connect: Callable[[PeerLink], Peer]
    ) -> None:
        super().__init__(testee, table, objects, type_)
        self.peer = connect(self)

    def groups(self) -> deque[list[int]]:
        """Return the peer's own account, which goes on as it sends."""
        return self.peer.groups

    def end(self) -> None:
        """Close the peer."""
        self.peer.close()


def offered(request: Request, reply: Reply) -> Reply:
    """Return ``reply``. Raises `Broken` where it is ``unsupported``: only what was declared is ever asked."""
    if reply.unsupported is not None:
        kind = request.__struct_config__.tag
        raise Broken(
            "claimed-capability", f"{kind} was declared, and is answered with unsupported: {reply.unsupported}"
        )
    return reply


def worked(request: Request, reply: Reply) -> Reply:
    """Return ``reply``. Raises `Broken` where it is an error."""
    if reply.error is not None:
        kind = request.__struct_config__.tag
        raise Broken("operation", f"{kind} failed: {reply.error.type} {reply.error.errno} {reply.error.message}")
    return reply


def known_option(name: str, reply: Reply) -> None:
    """See that option ``name`` was set. Raises `Unsupported` where this kernel lacks it on such a socket, else `Broken`."""
    if reply.error is None:
        return
    why = errno_name(reply.error.errno)
    if why in ("ENOPROTOOPT", "EOPNOTSUPP"):
        raise Unsupported("platform", f"this kernel has no {name} on such a socket: {why}")
    raise Broken("operation", f"setopt {name} failed: {reply.error.type} {why} {reply.error.message}")


class CallLink(PeerLink):
    """The profiles with calls that return: message and descriptors. Both receive and send alike, as cases see it."""

    def _common(self, buffers: list[bytes], fds: Sequence[object], flags: Sequence[str], address: str | None) -> None:
        if self.testee.hello.payload.kind != "any":
            raise Unsupported("payload", "the implementation chooses the data that it sends")
        asked_for = {
            "buffers-out": len(buffers) > 1,
            "flags-out": bool(flags),
            "address": address is not None,
            "empty-out": not any(buffers),
            "plain-out": not fds,
        }
        self.require(*(capability for capability, asked in asked_for.items() if asked))

    def _receive(self, request: Request) -> Received:
        parts = take_apart(self.ask(request))
        return Received(
            error=parts.error,
            data=b"".join(parts.buffers),
            buffers=parts.buffers,
            fds=parts.fds,
            things=self.adopt(parts.fds),
            flags=parts.flags,
            ancillary=parts.ancillary,
            address=parts.address,
            control_length=parts.control_length,
            silent=self.policy("truncation") == "silent",
        )

    def send(
        self,
        data: bytes | Sequence[bytes],
        fds: Sequence[int] = (),
        *,
        flags: Sequence[str] = (),
        address: str | None = None,
    ) -> Sent:
        """Send ``data`` (one buffer or several) with the testee's descriptors ``fds``."""
        raise NotImplementedError

    def receive(self, data: int | Sequence[int] = 65536, room: int = 0, *, flags: Sequence[str] = ()) -> Received:
        """Receive into buffers of ``data`` bytes with room for ``room`` descriptors."""
        raise NotImplementedError


def _buffers(data: bytes | Sequence[bytes]) -> list[bytes]:
    return [data] if isinstance(data, bytes) else list(data)


class MessageLink(CallLink):
    """sendmsg and recvmsg."""

    profile = Profile.MESSAGE

    def send(
        self,
        data: bytes | Sequence[bytes],
        fds: Sequence[int] = (),
        *,
        flags: Sequence[str] = (),
        address: str | None = None,
        ancillary: Ancillary | None = None,
    ) -> Sent:
        """Send ``data`` with ``fds`` in one SCM_RIGHTS control message, or with exactly the control messages ``ancillary``."""
        buffers = _buffers(data)
        self._common(buffers, fds or ancillary or (), flags, address)
        if ancillary is None:
            control = [ControlMessage("SOL_SOCKET", "SCM_RIGHTS", fds=list(fds))] if fds else []
        else:
            self.require("ancillary", *(["several"] if len(ancillary) > 1 else []))
            control = [
                ControlMessage(level, kind, data=content.hex())
                if isinstance(content, bytes)
                else ControlMessage(level, kind, fds=list(content))
                for level, kind, content in ancillary
            ]
        request = Sendmsg(
            fd=self.fd,
            buffers=[one.hex() for one in buffers],
            ancillary=control,
            flags=list(flags),
            address=UNSET if address is None else address,
        )
        return sent_of(self.ask(request))

    def receive(
        self,
        data: int | Sequence[int] = 65536,
        room: int = 0,
        *,
        flags: Sequence[str] = (),
        control: int | None = None,
    ) -> Received:
        """Receive with room for ``room`` descriptors, or with exactly ``control`` bytes of control buffer."""
        sizes = [data] if isinstance(data, int) else list(data)
        self.require(*(["buffers-in"] if len(sizes) != 1 else []))
        self.require(*(["flags-in"] if flags else []))
        self.require(*(["control-length"] if control is not None else []))
        exact = UNSET if control is None else control
        return self._receive(Recvmsg(fd=self.fd, sizes=sizes, room=room, control=exact, flags=list(flags)))


class DescriptorsLink(CallLink):
    """send_fds and recv_fds, and their like."""

    profile = Profile.DESCRIPTORS

    def send(
        self,
        data: bytes | Sequence[bytes],
        fds: Sequence[int] = (),
        *,
        flags: Sequence[str] = (),
        address: str | None = None,
        single: bool = False,
    ) -> Sent:
        """Send ``data`` with ``fds``; ``single``: by the call for one descriptor."""
        buffers = _buffers(data)
        self._common(buffers, fds, flags, address)
        self.require(*(["single"] if single else ["many"] if len(fds) > 1 else []))
        request = SendFds(
            fd=self.fd,
            buffers=[one.hex() for one in buffers],
            fds=list(fds),
            flags=list(flags),
            address=UNSET if address is None else address,
            single=single,
        )
        return sent_of(self.ask(request))

    def receive(
        self,
        data: int | Sequence[int] = 65536,
        room: int = 0,
        *,
        flags: Sequence[str] = (),
        single: bool = False,
    ) -> Received:
        """Receive with room for ``room`` descriptors; ``single``: by the call for one descriptor."""
        sizes = [data] if isinstance(data, int) else list(data)
        self.require(*(["buffers-in"] if len(sizes) != 1 else []))
        self.require(*(["flags-in"] if flags else []))
        self.require(*(["single"] if single else ["many"] if room > 1 else []))
        return self._receive(RecvFds(fd=self.fd, sizes=sizes, room=room, flags=list(flags), single=single))
