"""One descriptor inside the kernel under test, with the calls that can be made on it. None of them blocks unless told to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar, Unpack

from ..impls.constants import CONSTANTS, errno_name
from ..impls.errors import Broken
from ..impls.protocol import Reply
from ..impls.protocol.messages import Accept, Getopt, RawRecvmsg, RawSendmsg, Request, Setopt, Shutdown
from ..impls.protocol.results import AcceptResult, OptionResult, RawResult
from ..impls.protocol.values import Memory, Msghdr
from .census import Table
from .layout import Layout
from .link import known_option
from .objects import Thing
from .rawmsg import (
    PLAIN,
    Buffers,
    Calling,
    Header,
    How,
    Receiving,
    Room,
    Sending,
    call_flags,
    control_of,
    incoming,
    message,
    outgoing,
)
from .rawseen import Called, RawGot, RawSent, got, sent

Kind = TypeVar("Kind")


class Caller(Protocol):
    """Who makes the calls: the testee itself or a forked child of it."""

    table: Table

    def ask(self, request: Request, *, extra: float = 0.0) -> Reply:
        """Ask and return the reply."""
        ...

    def do(self, request: Request) -> Reply:
        """Ask for what must work. Raises `Broken` on an error."""
        ...

    def close(self, *fds: int) -> None:
        """Close numbers of its own."""
        ...


class Home(Protocol):
    """What an end needs of the link that it belongs to."""

    layout: Layout

    def call(
        self,
        name: str,
        *arguments: int | str,
        fd: int = -1,
        caller: Caller | None = None,
        **rest: Unpack[Calling],
    ) -> Called:
        """Make a system call of ``rawcalls.py``."""
        ...

    def take(self, fds: Sequence[int], caller: Caller) -> list[Thing | None]:
        """Take account of received numbers; return what each refers to."""
        ...

    def pair(self) -> tuple[End, End]:
        """Make a socketpair."""
        ...

    def socket_end(self, fd: int, caller: Caller | None = None) -> End:
        """Take account of a new socket."""
        ...


@dataclass(frozen=True)
class End:
    """A descriptor in the testee or in one of its children, with the calls that can be made on it."""

    link: Home
    fd: int
    caller: Caller

    # --- messages ------------------------------------------------------------------------------------------------------

    def sending(
        self,
        data: Buffers = b"x",
        fds: Sequence[int] = (),
        *,
        control: bytes | Memory | None = None,
        flags: Sequence[str | int] = (),
        how: How | None = None,
        **header: Unpack[Header],
    ) -> RawSendmsg:
        """Return the request of `sendmsg`, for a batch or for a child to carry out later."""
        how = how or {}
        if fds:
            control = self.link.layout.rights(fds) + (control if isinstance(control, bytes) else b"")
        one = message(outgoing(data), control_of(control), **header)
        return RawSendmsg(
            fd=self.fd,
            messages=[one],
            flags=call_flags(flags, how),
            alarm=how.get("alarm", 0.0),
            restart=how.get("restart", False),
        )

    def sendmsg(self, data: Buffers = b"x", fds: Sequence[int] = (), **rest: Unpack[Sending]) -> RawSent:
        """Send ``data`` with ``fds`` in one SCM_RIGHTS control message, followed by the bytes ``control`` as they are."""
        return self.sent(self.caller.ask(self.sending(data, fds, **rest)))

    def sendmmsg(self, messages: Sequence[Msghdr], *, flags: Sequence[str | int] = ()) -> RawSent:
        """Send several messages in one call."""
        return self.sent(
            self.caller.ask(RawSendmsg(fd=self.fd, messages=list(messages), flags=call_flags(flags, {}), many=True))
        )

    def receiving(
        self,
        size: Room = PLAIN,
        *,
        room: int | None = None,
        control: int | Memory | None = None,
        flags: Sequence[str | int] = (),
        how: How | None = None,
        close: bool = False,
        **header: Unpack[Header],
    ) -> RawRecvmsg:
        """Return the request of `recvmsg`, for a batch or for a child to carry out later."""
        how = how or {}
        return RawRecvmsg(
            fd=self.fd,
            messages=[self.header(size, room=room, control=control, **header)],
            flags=call_flags(flags, how),
            alarm=how.get("alarm", 0.0),
            restart=how.get("restart", False),
            close=close,
        )

    def recvmsg(self, size: Room = PLAIN, **rest: Unpack[Receiving]) -> RawGot:
        """Receive into ``size`` bytes (or several buffers) with a control buffer of exactly ``control`` bytes.

        ``room`` instead of ``control``: CMSG_LEN of so many descriptors. ``close``: the testee closes what came at once.
        """
        return self.got(self.caller.ask(self.receiving(size, **rest)), closed=rest.get("close", False))[0]

    def recvmmsg(
        self, count: int, size: Room = PLAIN, *, room: int = 0, flags: Sequence[str | int] = ()
    ) -> tuple[int, list[RawGot]]:
        """Receive up to ``count`` messages in one call; return how many came, and those."""
        return self.recvmmsg_of([self.header(size, room=room)] * count, flags=flags)

    def recvmmsg_of(self, messages: Sequence[Msghdr], *, flags: Sequence[str | int] = ()) -> tuple[int, list[RawGot]]:
        """Receive into these very msghdrs by one recvmmsg(2); return what it returned, and the messages that came."""
        request = RawRecvmsg(fd=self.fd, messages=list(messages), flags=call_flags(flags, {}), many=True)
        reply = self.caller.ask(request)
        return raw_result(reply).returned, self.got(reply, many=True)

    def header(
        self,
        size: Room = PLAIN,
        *,
        room: int | None = None,
        control: int | Memory | None = None,
        **header: Unpack[Header],
    ) -> Msghdr:
        """Return the msghdr of a receive, for `recvmmsg_of`."""
        if room is not None:
            control = self.link.layout.length(4 * room)
        return message(incoming(size), control_of(control), **header)

    def sent(self, reply: Reply) -> RawSent:
        """Return what a reply to `sending` says."""
        return sent(raw_result(reply))

    def got(self, reply: Reply, *, closed: bool = False, many: bool = False) -> list[RawGot]:
        """Return the messages in a reply to `receiving`, their descriptors accounted for unless they are ``closed``.

        ``many``: the reply is to a recvmmsg(2), of which only the messages that came are looked at.
        """
        result = raw_result(reply)
        seen: list[RawGot] = []
        for one in result.messages[: max(result.returned, 0)] if many else result.messages:
            came = got(self.link.layout, result, one, one.returned if many else result.returned)
            things = self.link.take(came.fds, self.caller) if came.fds and not closed else []
            seen.append(dataclasses.replace(came, things=things))
        return seen

    # --- other calls ---------------------------------------------------------------------------------------------------

    def call(self, name: str, *arguments: int | str, **rest: Unpack[Calling]) -> Called:
        """Make another system call on the descriptor; see ``rawcalls.py`` for what each takes."""
        return self.link.call(name, *arguments, fd=self.fd, caller=self.caller, **rest)

    def read(self, size: int = PLAIN) -> Called:
        """Read; it blocks where nothing is there."""
        return self.call("read", iov=[Memory(size=size)])

    def recv(self, size: int = PLAIN, *flags: str) -> Called:
        """Receive without a msghdr, with MSG_DONTWAIT."""
        return self.call("recv", iov=[Memory(size=size)], flags=[*flags, "MSG_DONTWAIT"])

    def poll(self, *events: str, milliseconds: int = 0) -> set[str]:
        """Return those of ``events``, and of POLLERR and POLLHUP, that are there within so many milliseconds."""
        mask = sum(CONSTANTS[name] for name in events)
        seen = self.call("poll", mask, milliseconds).returned
        return {name for name in (*events, "POLLERR", "POLLHUP") if seen & CONSTANTS[name]}

    @property
    def empty(self) -> bool:
        """Whether a receive would find nothing."""
        return self.recvmsg(1, flags=["MSG_PEEK"]).errno == "EAGAIN"

    @property
    def ended(self) -> bool:
        """Whether a receive finds the end of file."""
        seen = self.recvmsg(1, flags=["MSG_PEEK"])
        return not seen.failed and seen.returned == 0

    @property
    def queued(self) -> int:
        """How many descriptors wait in the receive queue of this socket (``scm_fds`` of fdinfo)."""
        return self.caller.table.queued(self.fd)

    def option(self, name: str, value: int, level: str = "SOL_SOCKET") -> None:
        """Set an option. Raises `Unsupported` where this kernel has not got it."""
        known_option(name, self.caller.ask(Setopt(fd=self.fd, level=level, option=name, value=value)))

    def option_error(self, name: str, value: int, level: str = "SOL_SOCKET") -> str | None:
        """Set an option and return the error number's name, None where it was set."""
        reply = self.caller.ask(Setopt(fd=self.fd, level=level, option=name, value=value))
        return errno_name(reply.error.errno) if reply.error is not None else None

    def option_value(self, name: str, level: str = "SOL_SOCKET") -> int:
        """Return the value of an option."""
        return result_of(self.caller.ask(Getopt(fd=self.fd, level=level, option=name)), OptionResult).value

    def nonblocking(self) -> None:
        """Set O_NONBLOCK."""
        self.option("O_NONBLOCK", 1, "fcntl")

    def shutdown(self, how: str = "SHUT_WR") -> None:
        """Shut the socket down."""
        self.caller.do(Shutdown(fd=self.fd, how=how))

    def close(self) -> None:
        """Close the number."""
        self.caller.close(self.fd)

    def accept(self) -> End:
        """Accept the next connection of a listener."""
        made = result_of(self.caller.ask(Accept(fd=self.fd)), AcceptResult)
        return self.link.socket_end(made.fd, self.caller)


def raw_result(reply: Reply) -> RawResult:
    """Return the result of a raw request. Raises `Broken` where there is none."""
    return result_of(reply, RawResult)


def result_of(reply: Reply, kind: type[Kind]) -> Kind:
    """Return the result of a reply. Raises `Broken` where it is not of that kind."""
    if not isinstance(reply.result, kind):
        why = f"{reply.error.type} {reply.error.errno} {reply.error.message}" if reply.error is not None else "nothing"
        raise Broken("operation", f"a {kind.__name__} was expected, {why} came")
    return reply.result
