"""System calls through ctypes, with exactly the msghdr that is asked for. An error comes back as the errno's name."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct

from msgspec import Struct

from .control import Written
from .flags import HEADER, align

_libc = ctypes.CDLL(None, use_errno=True)
_sendmsg, _recvmsg, _recv, _readv = _libc.sendmsg, _libc.recvmsg, _libc.recv, _libc.readv
for _call in (_sendmsg, _recvmsg, _recv, _readv, _libc.read):
    _call.restype = ctypes.c_ssize_t
_send_types = [ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
_sendmsg.argtypes = _recvmsg.argtypes = _send_types

POISON = 0xEE
_GAP = 8
_MSGHDR = struct.Struct("=QI4xQQQQi4x")
_IOVEC = struct.Struct("=QQ")


class Reply(Struct):
    """What a call returned, and what it wrote."""

    value: int
    error: str | None = None
    data: tuple[bytes, ...] = ()
    flags: int = 0
    controllen: int = 0
    messages: tuple[Written, ...] = ()


def _error() -> str:
    number = ctypes.get_errno()
    return "EOPNOTSUPP" if number == errno.EOPNOTSUPP else errno.errorcode.get(number, str(number))


def plain(name: str, *arguments: int | bytes | None) -> Reply:
    """Make a call of libc's that takes integers and buffers."""
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    value = int(getattr(_libc, name)(*wide))
    return Reply(value, _error()) if value < 0 else Reply(value)


def sendmsg(fd: int, data: tuple[bytes, ...], control: bytes, flags: int) -> Reply:
    """Send: one iovec entry per piece; no control data is a null pointer."""
    whole = ctypes.create_string_buffer(b"".join(data) + control + bytes(1))
    start = at = ctypes.addressof(whole)
    entries = bytearray()
    for piece in data:
        entries += _IOVEC.pack(at, len(piece))
        at += len(piece)
    iovec = ctypes.create_string_buffer(bytes(entries) + bytes(1))
    where = start + sum(map(len, data)) if control else 0
    header = _MSGHDR.pack(0, 0, ctypes.addressof(iovec) if data else 0, len(data), where, len(control), 0)
    message = ctypes.create_string_buffer(header)
    value = int(_sendmsg(fd, ctypes.addressof(message), flags))
    return Reply(value, _error()) if value < 0 else Reply(value)


class _Buffers:
    """Receive buffers apart from each other, filled with poison."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        self.sizes = sizes
        self.block = ctypes.create_string_buffer(bytes([POISON]) * (sum(sizes) + _GAP * (len(sizes) + 1)))
        self.offsets: list[int] = []
        at = _GAP
        for size in sizes:
            self.offsets.append(at)
            at += size + _GAP
        base = ctypes.addressof(self.block)
        entries = b"".join(_IOVEC.pack(base + at, size) for at, size in zip(self.offsets, sizes, strict=True))
        self.iovec = ctypes.create_string_buffer(entries + bytes(1))

    def pieces(self, length: int) -> tuple[bytes, ...]:
        """Return what was written into each buffer; a buffer written beyond ``length`` comes back whole, and so differs."""
        raw = self.block.raw
        found: list[bytes] = []
        for at, size in zip(self.offsets, self.sizes, strict=True):
            filled = min(length, size)
            rest = raw[at + filled : at + size + _GAP]
            found.append(raw[at : at + filled] if rest.count(POISON) == len(rest) else raw[at : at + size + _GAP])
            length -= filled
        return tuple(found)


def recvmsg(fd: int, sizes: tuple[int, ...], control: int | None, flags: int) -> Reply:
    """Receive; ``control`` None: a null pointer."""
    buffers = _Buffers(sizes)
    room = control or 0
    area = ctypes.create_string_buffer(bytes([POISON]) * (room + _GAP))
    iovec = ctypes.addressof(buffers.iovec) if sizes else 0
    where = 0 if control is None else ctypes.addressof(area)
    message = ctypes.create_string_buffer(_MSGHDR.pack(0, 0, iovec, len(sizes), where, room, 0))
    value = int(_recvmsg(fd, ctypes.addressof(message), flags))
    if value < 0:
        return Reply(value, _error())
    *_, length, shown = _MSGHDR.unpack(message.raw[: _MSGHDR.size])
    return Reply(value, None, buffers.pieces(value), shown, length, parse(area.raw[: min(length, room)]))


def recv(fd: int, size: int, flags: int) -> Reply:
    """Receive without control data."""
    buffers = _Buffers((size,))
    value = int(_recv(fd, ctypes.byref(buffers.block, _GAP), ctypes.c_size_t(size), flags))
    return Reply(value, _error()) if value < 0 else Reply(value, None, buffers.pieces(value))


def read(fd: int, sizes: tuple[int, ...]) -> Reply:
    """Receive as from a file: into one buffer, or with readv(2) into several."""
    buffers = _Buffers(sizes)
    if len(sizes) == 1:
        value = int(_libc.read(fd, ctypes.byref(buffers.block, _GAP), ctypes.c_size_t(sizes[0])))
    else:
        value = int(_readv(fd, ctypes.byref(buffers.iovec), len(sizes)))
    return Reply(value, _error()) if value < 0 else Reply(value, None, buffers.pieces(value))


def parse(control: bytes) -> tuple[Written, ...]:
    """Return the control messages of a buffer as they were written, malformed ones with what there is of them."""
    found: list[Written] = []
    at = 0
    while at + HEADER <= len(control):
        length, level, kind = struct.unpack_from("=Qii", control, at)
        found.append(Written(level, kind, length, control[at + HEADER : at + length]))
        at += align(max(length, HEADER))
    return tuple(found)


def name_and_connect(fd: int, to: int) -> Reply:
    """Give ``to`` an abstract address where it has none (autobind), and connect ``fd`` to it."""
    bound = autobind(to)
    if bound.error:
        return bound
    address = ctypes.create_string_buffer(128)
    size = ctypes.c_uint32(128)
    if _libc.getsockname(to, address, ctypes.byref(size)) < 0:
        return Reply(-1, _error())
    return plain("connect", fd, address.raw[: size.value], size.value)


def autobind(fd: int) -> Reply:
    """bind(2) with nothing but the family: the kernel chooses an abstract address, unless there is one."""
    return plain("bind", fd, struct.pack("=H", socket.AF_UNIX), 2)
