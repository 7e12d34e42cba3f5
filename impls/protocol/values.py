"""The values that several messages share: bytes, addresses, descriptors, flags, control messages, memory.

Bytes travel as lower-case hexadecimal text: every language reads and writes it in three lines. Numbers that differ between
platforms (flags, levels, options, error numbers) travel by name; a number that has no name travels as itself.
"""

from __future__ import annotations

import array
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

Hex = Annotated[str, Meta(pattern="^([0-9a-f]{2})*$", description="bytes as lower-case hexadecimal digits, two a byte")]
Address = Annotated[
    str, Meta(description="an AF_UNIX address: an absolute path, '@name' for an abstract one, '' for an unnamed socket")
]
Fd = Annotated[int, Meta(description="a descriptor number as the testee has it; bad numbers are sent on purpose")]
Ref = Annotated[
    str,
    Meta(
        pattern=r"^\$[0-9]+(\.[a-z_0-9]+)+$",
        description="within `steps`: '$0.fd' is the field `fd` of the result of step 0, '$2.fds.1' the second of a list",
    ),
]
FdOrRef = Fd | Ref
Name = Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$", description="a constant by its name in the C headers")]
NameOrNumber = Name | int
Flags = Annotated[
    list[NameOrNumber], Meta(description="MSG_* flags by name; bits without a name as one number in the list")
]
Buffers = Annotated[list[Hex], Meta(description="the buffers to send, one iovec an entry")]
Seconds = Annotated[float, Meta(ge=0, description="seconds")]


class SocketType(StrEnum):
    """The three kinds of AF_UNIX socket."""

    STREAM = "stream"
    DGRAM = "dgram"
    SEQPACKET = "seqpacket"


class Profile(StrEnum):
    """The shape of the API that an implementation offers."""

    MESSAGE = "message"
    DESCRIPTORS = "descriptors"
    TRANSPORT = "transport"
    RAW = "raw"
    CODEC = "codec"


class ObjectKind(StrEnum):
    """What the harness makes for descriptors to refer to."""

    FILE = "file"
    FIFO = "fifo"
    SOCKET = "socket"


class ControlMessage(msgspec.Struct, frozen=True):
    """One control message (cmsg). ``fds`` for SCM_RIGHTS where the API shows numbers, else ``data`` without the header."""

    level: NameOrNumber
    type: NameOrNumber
    data: Hex | UnsetType = UNSET
    fds: list[FdOrRef] | UnsetType = UNSET


class Place(StrEnum):
    """Where a piece of memory of a raw call lies, relative to page protection."""

    HEAP = "heap"
    NULL = "null"
    UNMAPPED = "unmapped"
    READ_ONLY = "read-only"
    THEN_UNMAPPED = "then-unmapped"
    THEN_READ_ONLY = "then-read-only"
    READ_ONLY_THEN_HEAP = "read-only-then-heap"


BigNumber = Annotated[str, Meta(pattern="^[0-9]{1,20}$", description="a number up to 2**64-1, in decimal digits")]


class Memory(msgspec.Struct, frozen=True):
    """A buffer of a raw call: its bytes, where it lies, and the length that the kernel is told.

    ``data`` fills the beginning, the rest of ``size`` bytes holds 0xAA. ``offset`` misaligns the pointer by so many bytes.
    For the places with two parts, ``split`` bytes lie before the page boundary. ``length`` is told instead of ``size``.
    ``within`` is the index of an earlier entry of the same list: this one lies in that one's memory, ``offset`` bytes from
    its beginning, so that the two overlap; ``data`` and ``place`` are not looked at then.
    """

    data: Hex = ""
    size: int | UnsetType = UNSET
    place: Place = Place.HEAP
    offset: int = 0
    split: int = 0
    length: int | BigNumber | UnsetType = UNSET
    within: Annotated[int, Meta(ge=0)] | UnsetType = UNSET


class Msghdr(msgspec.Struct, frozen=True):
    """A ``struct msghdr`` to the letter. ``iov_length`` and ``Memory.length`` may lie about what is there."""

    iov: list[Memory] = []
    iov_place: Place = Place.HEAP
    iov_length: int | BigNumber | UnsetType = UNSET
    control: Memory | None = None
    control_fds: dict[str, FdOrRef] = {}
    """Descriptor numbers to be written into ``control`` as native ints, by byte offset (in decimal digits)."""
    name: Memory | None = None
    address: Address | UnsetType = UNSET
    flags: Flags = []
    place: Place = Place.HEAP


def ints_of(data: bytes) -> list[int]:
    """Return the native ints in ``data`` (SCM_RIGHTS); less than an int at the end is left out."""
    numbers = array.array("i")
    numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
    return list(numbers)
