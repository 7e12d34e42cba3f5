"""How cases of profile ``raw`` say what a msghdr looks like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

from ..impls.protocol.values import BigNumber, Memory, Msghdr, Place

PLAIN = 4096
"""Bytes of data that a receive takes where a case does not say."""
Buffers = bytes | Sequence[bytes | Memory]
Room = int | Sequence[int | Memory]


class _Rest(TypedDict, total=False):
    place: Place
    iov_place: Place
    iov_length: int | BigNumber
    address: str
    name: Memory


class Header(_Rest, total=False):
    """How a msghdr lies: where it is (``place``), where its iovec array is, how many entries that claims, ``msg_flags``."""

    msg_flags: Sequence[str | int]


class How(TypedDict, total=False):
    """How a call is made: whether it may block, and the signal that interrupts it after ``alarm`` seconds."""

    wait: bool
    alarm: float
    restart: bool


class Sending(Header, total=False):
    """A send beside its data and descriptors: the bytes of its control buffer, its flags, how it is made, its header."""

    control: bytes | Memory | None
    flags: Sequence[str | int]
    how: How | None


class Receiving(Header, total=False):
    """A receive beside the sizes of its buffers: ``room`` or ``control``, see `End.recvmsg`; ``close`` what comes at once."""

    room: int | None
    control: int | Memory | None
    flags: Sequence[str | int]
    how: How | None
    close: bool


class Calling(TypedDict, total=False):
    """Any other call beside its name and numbers: its buffers, its flags, and the signal that interrupts it."""

    iov: list[Memory]
    flags: list[str | int]
    alarm: float
    restart: bool


def message(
    iov: Sequence[Memory], control: Memory | None, *, msg_flags: Sequence[str | int] = (), **header: Unpack[_Rest]
) -> Msghdr:
    """Return a msghdr with these buffers and this control buffer."""
    return Msghdr(iov=list(iov), control=control, flags=list(msg_flags), **header)


def outgoing(data: Buffers) -> list[Memory]:
    """Return the buffers of a send."""
    parts = [data] if isinstance(data, bytes) else data
    return [one if isinstance(one, Memory) else Memory(data=one.hex()) for one in parts]


def incoming(room: Room) -> list[Memory]:
    """Return the buffers of a receive, by their sizes."""
    parts = [room] if isinstance(room, int) else room
    return [one if isinstance(one, Memory) else Memory(size=one) for one in parts]


def control_of(control: bytes | int | Memory | None) -> Memory | None:
    """Return a control buffer: these bytes, so many bytes of room, or none."""
    if isinstance(control, bytes):
        return Memory(data=control.hex())
    return Memory(size=control) if isinstance(control, int) else control


def call_flags(flags: Sequence[str | int], how: How) -> list[str | int]:
    """Return the flags of a call, MSG_DONTWAIT among them unless it may block."""
    return [*flags] if how.get("wait") else [*flags, "MSG_DONTWAIT"]
