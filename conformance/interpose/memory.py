"""A waiting thread's memory: its msghdr, iovecs, buffers and control data, read and written from outside.

process_vm_readv(2) and process_vm_writev(2) respect the protection of pages, as the kernel's own copying does, so that what is
EFAULT for the kernel is `BadAddress` here. Layouts are those of a 64-bit little-endian Linux.
"""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from collections.abc import Callable, Sequence

import msgspec

from .calls import Name
from .seccomp import libc

MSGHDR = struct.Struct("QI4xQQQQi4x")
"""struct msghdr: name, namelen, iov, iovlen, control, controllen, flags (56 bytes)."""
MMSGHDR_SIZE = 64
"""struct mmsghdr: a msghdr, msg_len, padding."""
NAMELEN_AT, CONTROLLEN_AT, FLAGS_AT, MSG_LEN_AT = 8, 40, 48, 56
IOVEC = struct.Struct("QQ")
_REGISTER = 2**64 - 1
UIO_MAXIOV = 1024
"""The most iovecs of one call (linux/uio.h)."""
MOST = 64 * 2**20
"""Bytes that are ever read or written for one call."""


class BadAddress(Exception):
    """The thread has no such memory, or may not use it so."""


class TooLarge(Exception):
    """A call asks for more than the interposer will handle in the kernel's stead."""


_copy = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t,
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_void_p,
    ctypes.c_ulong,
    ctypes.c_ulong,
    use_errno=True,
)
_Copy = Callable[[int, int, int, int, int, int], int]
_copy_in: _Copy = _copy(("process_vm_readv", libc))
_copy_out: _Copy = _copy(("process_vm_writev", libc))
_RANGES = struct.Struct("QQQQ")
"""Two struct iovec: ours and theirs."""


class _Scratch(threading.local):
    """What a thread needs for every copy, made once: two iovecs, and a page through which small copies go."""

    def __init__(self) -> None:
        self.ranges = bytearray(_RANGES.size)
        self.ours = ctypes.addressof(ctypes.c_char.from_buffer(self.ranges))
        self.theirs = self.ours + IOVEC.size
        self.page = bytearray(4096)
        self.page_at = ctypes.addressof(ctypes.c_char.from_buffer(self.page))


_scratch = _Scratch()


class Memory:
    """The memory of thread ``tid``'s process."""

    def __init__(self, tid: int) -> None:
        self._tid = tid

    def read(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes at ``address``. Raises `BadAddress`, `TooLarge`."""
        if size <= 0:
            return b""
        if size > MOST:
            raise TooLarge(f"{size} bytes at once")
        if size <= len(_scratch.page):
            self._move(_copy_in, _scratch.page_at, address, size)
            return bytes(memoryview(_scratch.page)[:size])
        buffer = ctypes.create_string_buffer(size)
        self._move(_copy_in, ctypes.addressof(buffer), address, size)
        return buffer.raw

    def write(self, address: int, data: bytes) -> None:
        """Put ``data`` at ``address``. Raises `BadAddress`."""
        if not data:
            return
        if len(data) <= len(_scratch.page):
            _scratch.page[: len(data)] = data
            self._move(_copy_out, _scratch.page_at, address, len(data))
            return
        buffer = ctypes.create_string_buffer(data, len(data))
        self._move(_copy_out, ctypes.addressof(buffer), address, len(data))

    def _move(self, function: _Copy, ours: int, address: int, size: int) -> None:
        scratch = _scratch
        _RANGES.pack_into(scratch.ranges, 0, ours, size, address & _REGISTER, size)
        moved = function(self._tid, scratch.ours, 1, scratch.theirs, 1, 0)
        if moved != size:
            raise BadAddress(f"{size} bytes at {address:#x}: {os.strerror(ctypes.get_errno()) if moved < 0 else moved}")

    def gather(self, pieces: Sequence[tuple[int, int]], limit: int) -> bytes:
        """Return the first ``limit`` bytes of ``pieces`` (address, length) together. Raises `BadAddress`, `TooLarge`."""
        parts: list[bytes] = []
        for base, length in pieces:
            part = self.read(base, min(length, limit))
            parts.append(part)
            limit -= len(part)
        return b"".join(parts)

    def scatter(self, pieces: Sequence[tuple[int, int]], data: bytes) -> None:
        """Put ``data`` into ``pieces`` one after the other. Raises `BadAddress`."""
        for base, length in pieces:
            self.write(base, data[:length])
            data = data[length:]
            if not data:
                break


class Wanted(msgspec.Struct, frozen=True):
    """What a call that sends or receives was given, its msghdr taken apart. All addresses are the caller's.

    ``pieces``: address and length of each buffer. ``header``: where the msghdr is, 0 for calls that have none.
    ``length_at``: where the length of the name goes, 0 for nowhere. ``several``: the call has further messages behind this one.
    """

    pieces: tuple[tuple[int, int], ...]
    flags: int
    name: int = 0
    name_length: int = 0
    length_at: int = 0
    control: int = 0
    control_length: int = 0
    header: int = 0
    several: bool = False

    @property
    def capacity(self) -> int:
        """Bytes of all buffers together."""
        return sum(length for _, length in self.pieces)


class Glance(msgspec.Struct, frozen=True):
    """What can be told of a call at one look: its flags, how many buffers it has, and msg_controllen (0 without msg_control)."""

    flags: int = 0
    buffers: int = 1
    control: int = 0


_FLAGS_IN = {Name.SENDTO: 3, Name.RECVFROM: 3, Name.SENDMSG: 2, Name.RECVMSG: 2, Name.SENDMMSG: 3, Name.RECVMMSG: 3}
"""Which argument has the flags."""


def glance(name: Name, arguments: Sequence[int], memory: Memory) -> Glance:
    """Return what a call of RECEIVE or SEND was given, its buffers aside. Raises `BadAddress`."""
    where = _FLAGS_IN.get(name)
    flags = _int(arguments[where]) if where is not None else 0
    match name:
        case Name.READV | Name.WRITEV:
            return Glance(0, arguments[2])
        case Name.SENDMSG | Name.RECVMSG | Name.SENDMMSG | Name.RECVMMSG:
            _, _, _, buffers, control, length, _ = MSGHDR.unpack(memory.read(arguments[1], MSGHDR.size))
            return Glance(flags, buffers, length if control else 0)
        case _:
            return Glance(flags)


def wanted(name: Name, arguments: Sequence[int], memory: Memory) -> Wanted:
    """Return what a call of RECEIVE or SEND was given. Raises `BadAddress`, `TooLarge`."""
    match name:
        case Name.READ | Name.WRITE:
            return Wanted(((arguments[1], arguments[2]),), 0)
        case Name.READV | Name.WRITEV:
            return Wanted(_iovecs(memory, arguments[1], arguments[2]), 0)
        case Name.SENDTO | Name.RECVFROM:
            return _to_or_from(name, arguments, memory)
        case Name.SENDMSG | Name.RECVMSG:
            return _message(memory, arguments[1], _int(arguments[2]), several=False)
        case Name.SENDMMSG | Name.RECVMMSG:
            if not _int(arguments[2]):
                raise BadAddress("no message")
            return _message(memory, arguments[1], _int(arguments[3]), several=True)
        case Name.FCNTL | Name.CLOSE:
            raise ValueError(f"{name.value} takes no message")


def _to_or_from(name: Name, arguments: Sequence[int], memory: Memory) -> Wanted:
    buffer, size, flags, address, length = arguments[1:6]
    pieces = ((buffer, size),)
    if name is Name.SENDTO or not address:
        return Wanted(pieces, _int(flags), address, length & 0xFFFFFFFF)
    (room,) = struct.unpack("I", memory.read(length, 4))
    return Wanted(pieces, _int(flags), address, room, length)


def _message(memory: Memory, header: int, flags: int, *, several: bool) -> Wanted:
    name, namelen, iov, iovlen, control, controllen, _ = MSGHDR.unpack(memory.read(header, MSGHDR.size))
    if _int(namelen) < 0:
        raise TooLarge(f"a name of {_int(namelen)} bytes")
    return Wanted(
        _iovecs(memory, iov, iovlen),
        flags,
        name,
        namelen,
        header + NAMELEN_AT if name else 0,
        control,
        controllen,
        header,
        several,
    )


def _iovecs(memory: Memory, address: int, count: int) -> tuple[tuple[int, int], ...]:
    if count > UIO_MAXIOV:
        raise TooLarge(f"{count} iovecs")
    raw = memory.read(address, count * IOVEC.size)
    return tuple(IOVEC.iter_unpack(raw))  # pyright: ignore[reportReturnType] - the format says two integers


def _int(value: int) -> int:
    """Return the C int that a register holds."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def signed(value: int) -> int:
    """Return the C int in an argument: a descriptor, a command."""
    return _int(value)
