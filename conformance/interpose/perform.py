"""Doing a call in the kernel's stead: a send of fewer bytes than asked, a receive of which the caller sees what we choose.

The call is made on a duplicate of the caller's own socket, without waiting; what would have to wait, does so in the supervisor.
Descriptors are the caller's own (a send), or are installed in it (a receive), so that they refer to the same open file
descriptions as if the kernel had done everything. What can't be done faithfully goes on to the kernel untouched: a malformed
msghdr or control buffer of a send, buffers beyond `MOST_DATA`, and MSG_WAITALL.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import resource
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ...impls.protocol.values import ints_of
from ..layout import Layout, Malformed
from ..observations import Cmsg
from .calls import PLAIN
from .held import GO_ON, Answer, Fail, Held, Return, Wait
from .memory import CONTROLLEN_AT, FLAGS_AT, MSG_LEN_AT, BadAddress, TooLarge, Wanted
from .seccomp import NoLonger

LINUX = Layout(word=8, header=16, align=8, int_size=4, order="little")
"""How a control message lies in the memory of a 64-bit little-endian program."""
RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
PIDFD = (socket.SOL_SOCKET, 4)  # SCM_PIDFD
MOST_DATA = 16 * 2**20
"""Bytes of data of one receive."""
MOST_CONTROL = 2**16
"""Bytes of control data of one send."""
_ALL_ROOM = 8192
"""Room for SCM_MAX_FD descriptors and everything else that can come beside them."""
_TIMEVAL = struct.Struct("ll")
_FAMILY = struct.Struct("=H")
Address = str | bytes | None
T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One control message that came: its data, or the indices (into `Came.fds`) of the descriptors in it."""

    level: int
    type: int
    content: bytes | tuple[int, ...]


@dataclass(frozen=True)
class Came:
    """What the kernel really delivered, with all room: ``fds`` are the harness's own numbers, and are closed by `receive`."""

    data: bytes
    length: int
    parts: tuple[Part, ...]
    fds: tuple[int, ...]
    flags: int
    name: bytes


@dataclass(frozen=True)
class Shown:
    """What the caller is to see of it.

    ``control``: bytes as they are, and indices into `Came.fds`, in whose place the number stands that the descriptor gets in
    the caller (4 bytes; -1 where its limit allows none), the same number each time. Never more is written than the caller gave
    room for.
    ``unseen``: indices of descriptors that are installed although no byte tells. ``told``: msg_controllen, where it is not the
    number of bytes. ``data`` and ``flags``: where they are not those that came.
    """

    control: tuple[bytes | int, ...] = ()
    unseen: tuple[int, ...] = ()
    told: int | None = None
    flags: int | None = None
    data: bytes | None = None
    cloexec: bool | None = None
    """None: as the caller asked."""


Show = Callable[[Came, Held], Shown | Fail]
"""Chooses what the caller sees; `Fail` where it sees an error, and what came is lost."""


# --- receiving ------------------------------------------------------------------------------------------------------


def receive(held: Held, show: Show) -> Answer:
    """Carry out a call of RECEIVE, and let the caller see what ``show`` makes of it. Raises NoLonger."""
    try:
        want = held.wanted
    except (BadAddress, TooLarge):
        return GO_ON
    takes_nothing = held.name in PLAIN and not want.capacity  # as read(2) of nothing does
    if takes_nothing or want.flags & socket.MSG_WAITALL or want.capacity > MOST_DATA:
        return GO_ON
    if held.expired:
        return Fail(errno.EAGAIN)
    came = on_socket(held, lambda sock: take(sock, want), want, (select.POLLIN, socket.SO_RCVTIMEO))
    if not isinstance(came, Came):
        return came
    try:
        shown = show(came, held)
        return shown if isinstance(shown, Fail) else Return(_deliver(held, want, came, shown))
    except BadAddress:
        return Fail(errno.EFAULT)
    finally:
        for fd in came.fds:
            os.close(fd)


def take(sock: socket.socket, want: Wanted, flags: int = 0) -> Came:
    """Receive with all room, with ``flags`` beside the caller's. Raises OSError."""
    buffer = bytearray(want.capacity)
    flags |= want.flags & ~socket.MSG_WAITALL & 0x7FFFFFFF | socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
    length, control, seen, address = sock.recvmsg_into([buffer], _ALL_ROOM, flags)
    fds: list[int] = []
    parts: list[Part] = []
    for level, kind, content in control:
        numbers = ints_of(content) if (level, kind) in (RIGHTS, PIDFD) else []
        if numbers and min(numbers) >= 0:
            parts.append(Part(level, kind, tuple(range(len(fds), len(fds) + len(numbers)))))
            fds += numbers
        else:
            parts.append(Part(level, kind, content))
    if seen & socket.MSG_CTRUNC:
        for fd in fds:
            os.close(fd)
        raise RuntimeError("control data was cut in spite of room for all of it: the harness has no numbers left")
    data = bytes(buffer[: min(length, len(buffer))])
    return Came(data, length, tuple(parts), tuple(fds), seen & ~socket.MSG_CMSG_CLOEXEC, sockaddr(address))


def _deliver(held: Held, want: Wanted, came: Came, shown: Shown) -> int:
    """Install and write what is to be seen, and return the value of the call. Raises BadAddress, NoLonger."""
    cloexec = bool(want.flags & socket.MSG_CMSG_CLOEXEC) if shown.cloexec is None else shown.cloexec
    control = shown.control if want.header else ()
    indices = dict.fromkeys(one for one in control if isinstance(one, int))
    numbers = {index: _install(held, came.fds[index], cloexec=cloexec) for index in indices}
    chunks = [one if isinstance(one, bytes) else LINUX.ints([numbers[one]]) for one in control]
    for index in shown.unseen:
        held.untold.append(_install(held, came.fds[index], cloexec=cloexec))
    flags = came.flags if shown.flags is None else shown.flags
    flags |= want.flags & socket.MSG_CMSG_CLOEXEC  # Linux echoes it
    return write(held, want, came, b"".join(chunks), flags, told=shown.told, data=shown.data)


def write(
    held: Held,
    want: Wanted,
    came: Came,
    control: bytes,
    flags: int,
    *,
    told: int | None = None,
    data: bytes | None = None,
) -> int:
    """Write a received message into the caller's memory and return the value of the call. Raises BadAddress.

    Never more of ``control`` than there is room for; ``told`` is msg_controllen where it is another than its length. ``data``
    in place of what came.
    """
    content = came.data if data is None else data
    length = came.length if data is None else len(data)
    held.memory.scatter(want.pieces, content)
    if want.name and want.length_at:
        held.memory.write(want.name, came.name[: want.name_length])
        held.memory.write(want.length_at, struct.pack("I", len(came.name)))
    if not want.header:
        return length
    if want.control:
        held.shown = control[: want.control_length]
        held.memory.write(want.control, held.shown)
    held.memory.write(want.header + CONTROLLEN_AT, struct.pack("Q", len(control) if told is None else told))
    held.memory.write(want.header + FLAGS_AT, struct.pack("I", flags & 0xFFFFFFFF))
    if want.several:
        held.memory.write(want.header + MSG_LEN_AT, struct.pack("I", length))
        return 1
    return length


def _install(held: Held, fd: int, *, cloexec: bool) -> int:
    try:
        return held.install(fd, cloexec=cloexec)
    except OSError as fault:
        if fault.errno != errno.EMFILE:
            raise
        return -1


def spoil(held: Held, control: bytes, data: bytes) -> None:
    """Put these bytes into the caller's control buffer and data buffers, as far as they go, for a receive that then fails.

    The msghdr stays as it is: a caller that makes the call again may use the same.
    """
    try:
        want = held.wanted
        if want.control:
            held.memory.write(want.control, control[: want.control_length])
        held.memory.scatter(want.pieces, data)
    except (BadAddress, TooLarge):
        return


def as_linux(came: Came, held: Held) -> Shown:
    """Show what came as Linux shows it, in the room that the caller gave: put_cmsg, scm_detach_fds of net/core/scm.c."""
    want = held.wanted
    room = left = want.control_length if want.header and want.control else 0
    free = free_numbers(held) if came.fds and room else 0
    chunks: list[bytes | int] = []
    cut = False
    for part in came.parts if want.header else ():
        content = part.content
        if isinstance(content, tuple):
            count = min(max(0, left - LINUX.header) // LINUX.int_size, len(content), free)
            free -= count
            cut |= count < len(content)
            if not count:
                continue
            content = content[:count]
            size = LINUX.int_size * count
        else:
            cut |= left < LINUX.length(len(content))
            if left < LINUX.header:
                continue
            size = len(content)
            content = content[: left - LINUX.header]
        at = want.control + room - left
        used = LINUX.header + (len(content) if isinstance(content, bytes) else size)
        taken = min(LINUX.space(size), left)
        chunks += image(Part(part.level, part.type, content), padded=False)
        if taken > used:  # the padding keeps what stood there
            chunks.append(held.memory.read(at + used, taken - used))
        left -= taken
    return Shown(tuple(chunks), flags=came.flags | (socket.MSG_CTRUNC if cut else 0))


def free_numbers(held: Held) -> int:
    """Return how many numbers the caller has free, below its RLIMIT_NOFILE."""
    soft, _ = resource.prlimit(held.process, resource.RLIMIT_NOFILE)
    taken = os.listdir(f"/proc/{held.tid}/fd")
    return max(0, soft - sum(int(one) < soft for one in taken))


def image(part: Part, *, length: int | None = None, padded: bool = True) -> list[bytes | int]:
    """Return a control message as chunks of `Shown.control`. ``length``: told in cmsg_len, whatever the data."""
    if isinstance(part.content, bytes):
        return [LINUX.cmsg(part.level, part.type, part.content, length=length, padded=padded)]
    size = LINUX.int_size * len(part.content)
    head = LINUX.cmsg(part.level, part.type, b"", length=LINUX.length(size) if length is None else length)
    padding = b"\0" * (LINUX.space(size) - LINUX.length(size)) if padded else b""
    return [head, *part.content, *([padding] if padding else [])]


# --- sending --------------------------------------------------------------------------------------------------------


def send(held: Held, limit: int) -> Answer:
    """Carry out a call of SEND on a stream with only the first ``limit`` bytes of its data, at least one. Raises NoLonger.

    A call with no more data than that goes on to the kernel, and so does one that the kernel refuses: it says why itself.
    """
    if held.expired:
        return Fail(errno.EAGAIN)
    with contextlib.ExitStack() as stack:
        try:
            want = held.wanted
            if want.capacity <= limit or want.control_length > MOST_CONTROL:
                return GO_ON
            data = held.memory.gather(want.pieces, limit)
            control = held.memory.read(want.control, want.control_length) if want.header and want.control else b""
            address = address_of(held.memory.read(want.name, want.name_length)) if want.name else None
            ancillary = [_translated(held, one, stack) for one in LINUX.parse(control)]
        except (BadAddress, TooLarge, Malformed, OSError):
            return GO_ON
        flags = want.flags & 0x7FFFFFFF | socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        more = [] if address is None else [address]
        wait = (select.POLLOUT, socket.SO_SNDTIMEO)
        sent = on_socket(held, lambda sock: sock.sendmsg([data], ancillary, flags, *more), want, wait)
    if isinstance(sent, Fail) and sent.errno in (errno.EPIPE, errno.EPERM):
        return GO_ON  # there is a signal with it, or the caller may send credentials that we may not
    if not isinstance(sent, int):
        return sent
    if want.several:
        held.memory.write(want.header + MSG_LEN_AT, struct.pack("I", sent))
    return Return(1 if want.several else sent)


def _translated(held: Held, message: Cmsg, stack: contextlib.ExitStack) -> tuple[int, int, bytes]:
    """Return a control message with our numbers in place of the caller's, which are closed with ``stack``. Raises OSError."""
    if (message.level, message.type) != RIGHTS:
        return message.level, message.type, message.data
    ours: list[int] = []
    for number in ints_of(message.data):
        ours.append(held.duplicate(number))
        stack.callback(os.close, ours[-1])
    return message.level, message.type, array.array("i", ours).tobytes()


# --- both -----------------------------------------------------------------------------------------------------------


def on_socket(held: Held, act: Callable[[socket.socket], T], want: Wanted, wait: tuple[int, int]) -> T | Answer:
    """Return what ``act`` makes of a duplicate of the caller's AF_UNIX socket, or the answer where it can't be done (now)."""
    try:
        fd = held.duplicate(held.fd)
    except OSError:
        return GO_ON
    try:
        sock = socket.socket(fileno=fd)
    except OSError:  # no socket
        os.close(fd)
        return GO_ON
    with sock:
        if sock.family != socket.AF_UNIX:
            return GO_ON
        if not held.waits:  # nothing may be sent or taken for a call that is given up
            raise NoLonger
        try:
            return act(sock)
        except BlockingIOError:
            return _would_block(sock, want, *wait)
        except OSError as fault:
            return Fail(fault.errno or errno.EIO)


def _would_block(sock: socket.socket, want: Wanted, events: int, timeout: int) -> Answer:
    """Return what becomes of a call that cannot be done at once: it fails, or waits as long as the socket lets it."""
    if want.flags & socket.MSG_DONTWAIT or fcntl.fcntl(sock, fcntl.F_GETFL) & os.O_NONBLOCK:
        return Fail(errno.EAGAIN)
    seconds, microseconds = _TIMEVAL.unpack(sock.getsockopt(socket.SOL_SOCKET, timeout, _TIMEVAL.size))
    patience = seconds + microseconds / 1e6
    return Wait(os.dup(sock.fileno()), events, patience or None)


def sockaddr(address: object) -> bytes:
    """Return an address of the socket module as a struct sockaddr_un."""
    match address:
        case bytes() if address:
            return _FAMILY.pack(socket.AF_UNIX) + address
        case str() if address:
            return _FAMILY.pack(socket.AF_UNIX) + os.fsencode(address) + b"\0"
        case _:
            return b""


def address_of(raw: bytes) -> Address:
    """Return a struct sockaddr_un as an address of the socket module."""
    path = raw[_FAMILY.size :]
    return path if path[:1] == b"\0" else os.fsdecode(path.split(b"\0")[0])
