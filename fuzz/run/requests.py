"""What the testee is asked for each operation of the profiles message and descriptors, and of message on a testee of profile raw.

A request is made from an operation and from what its names stand for just then; nothing is kept here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

from msgspec import Struct

from ...conformance.layout import Layout
from ...conformance.model import flags as f
from ...conformance.model.control import forge
from ...conformance.model.operations import (
    Close,
    Credentials,
    Kind,
    Number,
    Raw,
    Receive,
    Rights,
    Send,
    SetOption,
    Shutdown,
)
from ...conformance.model.operations import Control as Message
from ...conformance.model.state import Ids
from ...impls.constants import FLAG_NAMES
from ...impls.protocol import messages as ask
from ...impls.protocol.values import ControlMessage, FdOrRef, Memory, Msghdr, NameOrNumber, SocketType
from ..operations import Operation, SendOne, SetMore, Take, TakeOne
from .peerend import OPTIONS, SHUT, option_value

NumberOf = Callable[[Number], int]
TYPES = {Kind.STREAM: SocketType.STREAM, Kind.DGRAM: SocketType.DGRAM, Kind.SEQPACKET: SocketType.SEQPACKET}
_COMPAT = -(1 << 31)
"""MSG_CMSG_COMPAT as it stands in a C int; it has no name outside the kernel."""


class Dialect(Struct, frozen=True):
    """How a testee is spoken to: which profile's requests, the testee's own credentials, and its layout of control data."""

    profile: ask.Profile
    ids: Ids
    layout: Layout | None = None
    """Of profile raw alone."""


@cache
def flags_of(flags: int) -> list[NameOrNumber]:
    """Return flags as the testee protocol has them."""
    bits = (1 << position for position in range(31))
    found: list[NameOrNumber] = [FLAG_NAMES.get(bit, bit) for bit in bits if flags & bit]
    return [*found, _COMPAT] if flags & f.COMPAT else found


def request_of(op: Operation, number: NumberOf, dialect: Dialect) -> ask.Request:
    """Return the request for one operation of the testee's. Raises KeyError for one that no request is made for."""
    return _BY_PROFILE[dialect.profile][type(op)](op, number, dialect)


# ---- all profiles ------------------------------------------------------------------------------------------------------


def _close(op: Close, number: NumberOf, _: Dialect) -> ask.Request:
    return ask.Close(number(op.name))


def _shutdown(op: Shutdown, number: NumberOf, _: Dialect) -> ask.Request:
    return ask.Shutdown(number(op.name), SHUT[op.how][0])


def _set(op: SetOption | SetMore, number: NumberOf, _: Dialect) -> ask.Request:
    return ask.Setopt(number(op.name), "SOL_SOCKET", OPTIONS[op.option][0], option_value(op))


def nonblocking(fd: int) -> ask.Request:
    """Return the request that makes a socket non-blocking, as the implementation does that."""
    return ask.Setopt(fd, "fcntl", "O_NONBLOCK", 1)


# ---- message -----------------------------------------------------------------------------------------------------------


def _send(op: Send, number: NumberOf, dialect: Dialect) -> ask.Request:
    control = [_control(one, number, dialect) for one in op.control]
    return ask.Sendmsg(number(op.name), [one.hex() for one in op.data], control, flags_of(op.flags))


def _control(one: Message, number: NumberOf, dialect: Dialect) -> ControlMessage:
    if isinstance(one, Rights):
        return ControlMessage("SOL_SOCKET", "SCM_RIGHTS", fds=[number(fd) for fd in one.fds])
    if isinstance(one, Credentials):
        return ControlMessage("SOL_SOCKET", "SCM_CREDENTIALS", data=forge(one.forged, dialect.ids).hex())
    return ControlMessage(one.level, one.type, data=one.data.hex())


def _receive(op: Receive, number: NumberOf, _: Dialect) -> ask.Request:
    return ask.Recvmsg(number(op.name), list(op.room), 0, op.control or 0, flags_of(op.flags))


def _take(op: Take, number: NumberOf, _: Dialect) -> ask.Request:
    return ask.Recvmsg(number(op.name), list(op.sizes), op.room, flags=flags_of(op.flags))


# ---- descriptors -------------------------------------------------------------------------------------------------------


def _send_fds(op: Send, number: NumberOf, _: Dialect) -> ask.Request:
    fds: list[FdOrRef] = [number(fd) for one in op.control if isinstance(one, Rights) for fd in one.fds]
    return ask.SendFds(number(op.name), [one.hex() for one in op.data], fds, flags_of(op.flags))


def _send_one(op: SendOne, number: NumberOf, _: Dialect) -> ask.Request:
    buffers = [one.hex() for one in op.data]
    return ask.SendFds(number(op.name), buffers, [number(op.fd)], flags_of(op.flags), single=True)


def _take_fds(op: Take, number: NumberOf, _: Dialect) -> ask.Request:
    return ask.RecvFds(number(op.name), list(op.sizes), op.room, flags_of(op.flags))


def _take_one(op: TakeOne, number: NumberOf, _: Dialect) -> ask.Request:
    return ask.RecvFds(number(op.name), list(op.sizes), 1, flags_of(op.flags), single=True)


# ---- raw ---------------------------------------------------------------------------------------------------------------


def _layout(dialect: Dialect) -> Layout:
    if dialect.layout is None:
        raise TypeError("a testee of profile raw tells its layout")
    return dialect.layout


def _send_raw(op: Send, number: NumberOf, dialect: Dialect) -> ask.Request:
    layout = _layout(dialect)
    control = b"".join(_laid_out(one, number, dialect, layout) for one in op.control)
    message = Msghdr([Memory(one.hex()) for one in op.data], control=Memory(control.hex()) if control else None)
    return ask.RawSendmsg(fd=number(op.name), messages=[message], flags=_dontwait(op.flags))


def _laid_out(one: Message, number: NumberOf, dialect: Dialect, layout: Layout) -> bytes:
    if isinstance(one, Rights):
        order = ">" if layout.order == "big" else "<"
        data = struct.pack(f"{order}{len(one.fds)}i", *map(number, one.fds))
        return layout.cmsg(f.SOL_SOCKET, f.SCM_RIGHTS, data)
    if isinstance(one, Credentials):
        return layout.cmsg(f.SOL_SOCKET, f.SCM_CREDENTIALS, forge(one.forged, dialect.ids))
    assert isinstance(one, Raw)  # noqa: S101 - there are no others
    return layout.cmsg(one.level, one.type, one.data)


def _receive_raw(op: Receive, number: NumberOf, _: Dialect) -> ask.Request:
    return _raw_recvmsg(number(op.name), op.room, op.control, op.flags)


def _take_raw(op: Take, number: NumberOf, dialect: Dialect) -> ask.Request:
    control = _layout(dialect).length(4 * op.room) if op.room else None
    return _raw_recvmsg(number(op.name), op.sizes, control, op.flags)


def _raw_recvmsg(fd: int, sizes: tuple[int, ...], control: int | None, flags: int) -> ask.Request:
    room = Memory(size=control) if control is not None else None
    message = Msghdr([Memory(size=one) for one in sizes], control=room)
    return ask.RawRecvmsg(fd=fd, messages=[message], flags=_dontwait(flags))


def _dontwait(flags: int) -> list[NameOrNumber]:
    return flags_of(flags | f.DONTWAIT)


_Maker = Callable[[Any, NumberOf, Dialect], ask.Request]
_SHARED: dict[type[Operation], _Maker] = {Close: _close, Shutdown: _shutdown, SetOption: _set, SetMore: _set}
_BY_PROFILE: dict[ask.Profile, dict[type[Operation], _Maker]] = {
    ask.Profile.MESSAGE: {**_SHARED, Send: _send, Receive: _receive, Take: _take},
    ask.Profile.DESCRIPTORS: {**_SHARED, Send: _send_fds, SendOne: _send_one, Take: _take_fds, TakeOne: _take_one},
    ask.Profile.TRANSPORT: {Close: _close},
    ask.Profile.RAW: {**_SHARED, Send: _send_raw, Receive: _receive_raw, Take: _take_raw},
}
