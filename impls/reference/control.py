"""Control data (ancillary data) of AF_UNIX messages as bytes: written by `encode`, read by `decode`. No input or output.

The module imports nothing but the standard library: who needs a parser of control buffers copies this file alone.

A control buffer is a row of control messages (cmsg(3)). Sizes are those of the program's own size_t, 8 bytes or 4:

- each begins with a cmsghdr: cmsg_len as a size_t, cmsg_level and cmsg_type as ints. That is 16 bytes with 64 bits and
  12 with 32; its data begins right behind it;
- cmsg_len counts the header and the data, without padding: CMSG_LEN(n) = header + n;
- the next one begins at the next multiple of a size_t: CMSG_SPACE(n) = header + n, rounded up. The padding belongs to
  nobody, and the last message need not have any;
- there is a next one when a whole header lies between that place and the end (CMSG_NXTHDR);
- the end is msg_controllen as recvmsg(2) left it, and nothing behind it was written by the kernel. When recvmsg(2)
  fails, nothing in front of it was, either;
- an SCM_RIGHTS has an array of ints for its data, each a descriptor that is open in this process from now on.

`decode` believes none of that. A cmsg_len below the header (0 would be read for ever) ends the walk. One that goes
beyond the end is cut there: macOS leaves it as long as it was when the buffer was too small (MSG_CTRUNC). Fewer bytes
than a header at the end are no message, half an int is no descriptor. And what stands before the damage is returned
beside the report of it, because descriptors there are open, and would leak if nobody learned their numbers.
"""

from __future__ import annotations

import array
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "ILP32",
    "LP64",
    "NATIVE",
    "SCM_PIDFD",
    "ControlMessage",
    "Decoded",
    "Layout",
    "decode",
    "encode",
    "integers",
    "numbers",
    "pidfd_number",
]

SCM_PIDFD: Final = 0x04
"""Control message with a pidfd of the sender, one int or a negative errno (Linux 6.5, SO_PASSPIDFD)."""

_INT_SIZE: Final = array.array("i").itemsize
_LINUX: Final = hasattr(socket, "SO_PASSCRED")  # elsewhere SCM_PIDFD's number means something else


@dataclass(frozen=True, slots=True)
class ControlMessage:
    """One control message (cmsg): its level, its type and its data in the machine's own byte order."""

    level: int
    type: int
    data: bytes

    @property
    def is_rights(self) -> bool:
        """Whether it is an SCM_RIGHTS."""
        return self.level == socket.SOL_SOCKET and self.type == socket.SCM_RIGHTS


@dataclass(frozen=True, slots=True)
class Layout:
    """How control messages lie in memory: the cmsghdr, and the size that each of them is rounded up to."""

    cmsghdr: struct.Struct
    """cmsg_len, cmsg_level, cmsg_type."""
    alignment: int
    """Bytes of a size_t."""

    def aligned(self, size: int) -> int:
        """Return the size rounded up (CMSG_ALIGN)."""
        return -(-size // self.alignment) * self.alignment

    def length(self, size: int) -> int:
        """Return cmsg_len of a control message with `size` bytes of data (CMSG_LEN)."""
        return self.cmsghdr.size + size

    def space(self, size: int) -> int:
        """Return how many bytes it takes up beside others (CMSG_SPACE)."""
        return self.aligned(self.length(size))


LP64: Final = Layout(struct.Struct("=Qii"), 8)
"""Linux with 64 bits."""
ILP32: Final = Layout(struct.Struct("=Iii"), 4)
"""Linux with 32 bits."""
NATIVE: Final = LP64 if sys.maxsize > 2**32 else ILP32
"""This process."""


class Decoded(NamedTuple):
    """What a control buffer held."""

    messages: tuple[ControlMessage, ...]
    """All that could be read, in order."""
    malformed: str | None = None
    """Why the walk ended before the end of the buffer; None when it did not."""
    cut: bool = False
    """Whether the last one says that it is longer than what came, and was cut."""


def encode(messages: Iterable[tuple[int, int, ReadableBuffer]], layout: Layout = NATIVE) -> bytes:
    """Return the control buffer with these messages (level, type, data), each padded; its length is msg_controllen.

    Raises OverflowError for a level or type that is no int of C.
    """
    parts: list[bytes] = []
    for level, kind, content in messages:
        data = memoryview(content).tobytes()
        try:
            header = layout.cmsghdr.pack(layout.length(len(data)), level, kind)
        except struct.error as error:
            raise OverflowError(f"a control message of level {level!r} and type {kind!r}: {error}") from error
        padding = layout.space(len(data)) - layout.length(len(data))
        parts += [header, data, bytes(padding)]
    return b"".join(parts)


def decode(control: bytes, layout: Layout = NATIVE) -> Decoded:
    """Return the control messages in `control`, the msg_controllen bytes that recvmsg(2) filled. Raises nothing."""
    messages: list[ControlMessage] = []
    header = layout.cmsghdr.size
    start = 0
    cut = False
    while len(control) - start >= header:
        length, level, kind = layout.cmsghdr.unpack_from(control, start)
        if length < header:
            text = f"cmsg_len is {length} at byte {start} of {len(control)}, less than the header's {header}"
            return Decoded(tuple(messages), text, cut)
        end = min(start + length, len(control))
        cut = end < start + length
        messages.append(ControlMessage(level, kind, control[start + header : end]))
        start += layout.aligned(length)
    return Decoded(tuple(messages), None, cut)


def integers(data: bytes) -> list[int]:
    """Return the whole ints in the data of a control message; what is left over at the end is none."""
    return array.array("i", data[: len(data) // _INT_SIZE * _INT_SIZE]).tolist()


def pidfd_number(item: ControlMessage) -> int | None:
    """Return the int of an SCM_PIDFD (negative: why there is none), None for any other control message."""
    if not (_LINUX and item.level == socket.SOL_SOCKET and item.type == SCM_PIDFD and len(item.data) >= _INT_SIZE):
        return None
    return integers(item.data[:_INT_SIZE])[0]


def numbers(items: Iterable[ControlMessage]) -> tuple[list[int], list[int], int]:
    """Return the numbers to own: those of all SCM_RIGHTS in order, the pidfds, and how many rights were refused.

    A refused descriptor's place holds a negative number (-errno) on kernels that don't cut the list there. A number
    that occurs twice, which no sound kernel reports, is owned once.
    """
    slots: list[int] = []
    pidfds: list[int] = []
    for item in items:
        if item.is_rights:
            slots.extend(integers(item.data))
        elif (number := pidfd_number(item)) is not None and number >= 0:
            pidfds.append(number)
    rights = list(dict.fromkeys(number for number in slots if number >= 0))
    return rights, [number for number in dict.fromkeys(pidfds) if number not in rights], len(slots) - len(rights)
