"""Read a control buffer as the kernel lays it out: struct cmsghdr, data, padding, and again."""

from __future__ import annotations

import struct
from dataclasses import dataclass

MAX_BYTES = 4096
"""How much of a control buffer is decoded; 253 descriptors take 1032 bytes."""

SOL_SOCKET = 1
_LEVELS = {0: "SOL_IP", 1: "SOL_SOCKET", 6: "SOL_TCP", 41: "SOL_IPV6"}
_TYPES = {
    1: "SCM_RIGHTS",
    2: "SCM_CREDENTIALS",
    3: "SCM_SECURITY",
    4: "SCM_PIDFD",
    29: "SCM_TIMESTAMP",
    35: "SCM_TIMESTAMPNS",
    37: "SCM_TIMESTAMPING",
}
_NARROW = frozenset(
    {"i386", "i486", "i586", "i686", "armv6l", "armv7l", "armv8l", "arm", "mips", "mipsel", "ppc", "riscv32"}
)
_BIG = frozenset({"s390", "s390x", "ppc", "ppc64", "mips", "mips64", "sparc", "sparc64", "parisc", "armeb"})


@dataclass(frozen=True)
class Layout:
    """How a machine lays out ``struct cmsghdr``: bytes of a size_t (also the alignment) and the order of bytes."""

    word: int = 8
    big: bool = False

    @property
    def header(self) -> int:
        """CMSG_LEN(0)."""
        return self.word + 8

    def align(self, length: int) -> int:
        """CMSG_ALIGN."""
        return (length + self.word - 1) // self.word * self.word


@dataclass(frozen=True)
class Message:
    """One control message. ``offset`` and ``length`` (cmsg_len) in bytes; ``note`` says what is wrong with it."""

    offset: int
    length: int
    level: int
    type: int
    ints: tuple[int, ...]
    rest: int
    """Bytes after the last whole int."""
    note: str = ""

    @property
    def level_name(self) -> str:
        """``SOL_SOCKET``, or the number."""
        return _LEVELS.get(self.level, str(self.level))

    @property
    def type_name(self) -> str:
        """``SCM_RIGHTS``, or the number."""
        return _TYPES.get(self.type, str(self.type)) if self.level == SOL_SOCKET else str(self.type)

    def text(self) -> str:
        """Return the message in one line."""
        parts = [f"cmsg_len={self.length}", f"level={self.level_name}", f"type={self.type_name}"]
        if self.level == SOL_SOCKET and self.type == 2 and len(self.ints) == 3:
            parts.append("pid={} uid={} gid={}".format(*self.ints))
        elif self.ints:
            parts.append(f"[{', '.join(map(str, self.ints))}]")
        if self.rest:
            parts.append(f"+ {self.rest} bytes")
        if self.note:
            parts.append(f"({self.note})")
        return " ".join(parts)


@dataclass(frozen=True)
class Control:
    """A control buffer: its bytes (``MAX_BYTES`` at most), its messages, and what is wrong with the rest."""

    data: bytes
    messages: tuple[Message, ...]
    note: str = ""


def layout(machine: str) -> Layout:
    """Return the layout of a machine by its ``uname -m``."""
    return Layout(4 if machine in _NARROW else 8, machine in _BIG)


def parse(text: str, how: Layout | None = None) -> Control:
    """Return the control buffer that ``text`` shows in hexadecimal. Never raises: what can't be read is noted."""
    how = how or Layout()
    cut = len(text) > 2 * MAX_BYTES
    try:
        data = bytes.fromhex(text[: 2 * MAX_BYTES])
    except ValueError:
        return Control(b"", (), "not hexadecimal")
    header = struct.Struct((">" if how.big else "<") + ("Q" if how.word == 8 else "I") + "ii")
    messages: list[Message] = []
    offset = 0
    note = f"cut after {MAX_BYTES} bytes" if cut else ""
    while len(data) - offset >= how.header:
        message = _message(data, offset, header, how)
        messages.append(message)
        if message.note:
            break
        offset += how.align(message.length)
    else:
        trailing = len(data) - offset
        if trailing > 0 and not cut:
            note = f"{trailing} bytes after the last message"
    return Control(data, tuple(messages), note)


def _message(data: bytes, offset: int, header: struct.Struct, how: Layout) -> Message:
    length, level, kind = header.unpack_from(data, offset)
    room = len(data) - offset
    note = ""
    if length < how.header:
        note = f"cmsg_len is less than the header's {how.header} bytes"
    elif length > room:
        note = f"cmsg_len is more than the {room} bytes that are left"
    size = max(0, min(length, room) - how.header)
    start = offset + how.header
    ints = struct.unpack_from(f"{'>' if how.big else '<'}{size // 4}i", data, start)
    return Message(offset, length, level, kind, ints, size % 4, note)
