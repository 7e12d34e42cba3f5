"""sendmsg(2) and recvmsg(2) themselves, by ctypes: the msghdr, its iovecs and its control buffer as bytes. Linux only.

Nothing but `control` is needed beside it, for a rescue: what a receive has brought is closed when a signal's handler
raises between the system call and the return. Otherwise no descriptor is looked at here, nor control data.

A socket's timeout acts as it does in `socket`: poll, then the call. A call that a signal has interrupted is made again
once the handlers have run (PEP 475), with a msghdr filled in afresh: a call that failed has delivered nothing, and what
it left in the msghdr means nothing. `sock` may be a plain number, which has no timeout.

Addresses are those of AF_UNIX as the socket module has them (None, a path, an abstract name as bytes); an address of
another family comes as the bytes of its sockaddr. Errors: OSError with the errno of the call (EMSGSIZE for more than
1024 buffers), TypeError for what is no buffer, ValueError and OverflowError for numbers that C cannot hold.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import itertools
import operator
import os
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from .control import decode, numbers

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["IOV_MAX", "UnfinishedSendError", "recvmsg_into", "send_all", "sendmsg"]

if sys.platform != "linux":
    raise ImportError("the msghdr that this module knows is that of Linux")

IOV_MAX: Final = 1024
"""The most buffers that one call takes."""

_SOCKLEN_MAX: Final = 0x7FFFFFFF
_NAME_SIZE: Final = 128
_PATH_SIZE: Final = 108
_FAMILY: Final = struct.Struct("=H")
_UNTOUCHED: Final = -1
"""msg_flags before a receive, which the kernel only writes to, and then never this."""

_Socket: TypeAlias = socket.socket | int
_Place: TypeAlias = tuple[int, int]
"""Address and size of some memory."""


class _Iovec(ctypes.Structure):
    _fields_ = (("iov_base", ctypes.c_void_p), ("iov_len", ctypes.c_size_t))


class _Msghdr(ctypes.Structure):
    _fields_ = (
        ("msg_name", ctypes.c_void_p),
        ("msg_namelen", ctypes.c_uint32),
        ("msg_iov", ctypes.c_void_p),
        ("msg_iovlen", ctypes.c_size_t),
        ("msg_control", ctypes.c_void_p),
        ("msg_controllen", ctypes.c_size_t),
        ("msg_flags", ctypes.c_int),
    )


_Function: TypeAlias = Callable[[int, Any, int], int]
_libc: Final = ctypes.CDLL(None, use_errno=True)
_sendmsg: Final = _libc.sendmsg
_recvmsg: Final = _libc.recvmsg
for _call_of_c in (_sendmsg, _recvmsg):
    _call_of_c.argtypes = (ctypes.c_int, ctypes.POINTER(_Msghdr), ctypes.c_int)
    _call_of_c.restype = ctypes.c_ssize_t


class UnfinishedSendError(OSError):
    """`send_all` came to an error half-way. `errno` says which.

    `sent` is how many bytes the kernel had taken, and with the first of them the descriptors. 0: nothing has gone.
    """

    def __init__(self, number: int | None, text: str, sent: int) -> None:
        super().__init__(number, text)
        self.sent = sent


class _Message:
    """A msghdr and the memory that it points to: name, iovecs, control buffer."""

    def __init__(self, places: Sequence[_Place], name: bytes | int, control: bytes | int) -> None:
        """`name` and `control`: what they hold, or how large they are to be."""
        self.name = _memory(name)
        self.vectors = (_Iovec * len(places))(*places)
        self.control = _memory(control)
        self.header = _Msghdr()
        self.fill_in()

    def fill_in(self) -> None:
        """Set every field, because a call writes to them."""
        header = self.header
        header.msg_name, header.msg_namelen = _place(self.name)
        header.msg_iov, header.msg_iovlen = ctypes.addressof(self.vectors), len(self.vectors)
        header.msg_control, header.msg_controllen = _place(self.control)
        header.msg_flags = _UNTOUCHED

    @property
    def is_back(self) -> bool:
        """Whether a receive has filled it."""
        return self.header.msg_flags != _UNTOUCHED

    def received_control(self) -> bytes:
        """Return the control data that came: msg_controllen bytes, and never more than there was room for."""
        return ctypes.string_at(self.control, min(self.header.msg_controllen, len(self.control)))

    def received_address(self) -> str | bytes | None:
        """Return the sender's address."""
        return _address_out(ctypes.string_at(self.name, min(self.header.msg_namelen, len(self.name))))


def sendmsg(
    sock: _Socket,
    buffers: Iterable[ReadableBuffer],
    control: bytes = b"",
    flags: int = 0,
    address: str | bytes | None = None,
) -> int:
    """Send one message, and return how many bytes of its data the kernel took. `control` is the whole control buffer."""
    data = [_content(buffer) for buffer in buffers]
    return _send(sock, [_read_place(one) for one in data], control, flags, _address_in(address), _deadline(sock))


def recvmsg_into(
    sock: _Socket, buffers: Iterable[WriteableBuffer], controllen: int = 0, flags: int = 0
) -> tuple[int, bytes, int, str | bytes | None]:
    """Receive one message into `buffers`, with a control buffer of `controllen` bytes.

    Returns what recvmsg(2) returned, the control data that came (msg_controllen bytes), msg_flags and the address.
    Descriptors in the control data are open, and the caller's to close.
    """
    if not 0 <= controllen <= _SOCKLEN_MAX:
        raise ValueError(f"the size of a control buffer is between 0 and {_SOCKLEN_MAX}, not {controllen}")
    pinned = [_write_place(buffer) for buffer in buffers]
    message = _Message([place for place, _ in pinned], _NAME_SIZE, controllen)
    try:
        length = _call(_recvmsg, sock, message, flags, select.POLLIN, _deadline(sock))
        result = length, message.received_control(), message.header.msg_flags, message.received_address()
        return result  # noqa: RET504, TRY300 - nothing that a signal interrupts comes between this line and the caller's
    except BaseException:
        _abandon(message)
        pinned.clear()  # or the caller's buffers could not change their size while the exception lives
        raise


def send_all(sock: _Socket, buffers: Iterable[ReadableBuffer], control: bytes = b"", flags: int = 0) -> int:
    """Send all the data on a stream, going on after each short write, and `control` with its first byte; return its size.

    More than 1024 buffers are sent by several calls. A blocking socket that says EAGAIN is waited for (so SO_SNDTIMEO is
    no limit here); a timeout is that of the whole. Without blocking (O_NONBLOCK, MSG_DONTWAIT) the result is what could
    be sent, and BlockingIOError when that is nothing. An error of the first call is raised as `sendmsg` does: neither
    data nor control has gone. A later one is an `UnfinishedSendError`, which tells how much has. What a signal's
    handler raises comes out as it is.
    """
    data = [_content(buffer) for buffer in buffers]
    left = deque(place for place in map(_read_place, data) if place[1])
    deadline = _deadline(sock)
    sent = 0
    while True:
        places = list(itertools.islice(left, IOV_MAX))
        try:
            taken = _send_patiently(sock, places, b"" if sent else control, flags, deadline)
        except OSError as error:
            if not sent:
                raise
            if isinstance(error, BlockingIOError):
                return sent
            raise UnfinishedSendError(error.errno, f"{error.strerror}; {sent} bytes were sent", sent) from error
        _advance(left, taken)
        sent += taken
        if not left:
            return sent
        if not taken:
            raise UnfinishedSendError(errno.EIO, f"the kernel took nothing; {sent} bytes were sent", sent)


def _send_patiently(sock: _Socket, places: Sequence[_Place], control: bytes, flags: int, deadline: float | None) -> int:
    """Send what goes in one call; a blocking socket that is not ready is waited for."""
    while True:
        try:
            return _send(sock, places, control, flags, b"", deadline)
        except BlockingIOError:
            if flags & socket.MSG_DONTWAIT or not _is_blocking(sock):
                raise
        _wait(_number(sock), select.POLLOUT, None)


def _send(
    sock: _Socket, places: Sequence[_Place], control: bytes, flags: int, name: bytes, deadline: float | None
) -> int:
    return _call(_sendmsg, sock, _Message(places, name, control), flags, select.POLLOUT, deadline)


def _advance(left: deque[_Place], taken: int) -> None:
    """Take the first `taken` bytes off."""
    while left and taken >= left[0][1]:
        taken -= left.popleft()[1]
    if taken:
        address, size = left[0]
        left[0] = address + taken, size - taken


def _call(function: _Function, sock: _Socket, message: _Message, flags: int, event: int, deadline: float | None) -> int:
    """Make a system call until it is neither interrupted nor, with a deadline, too early. Raises OSError, TimeoutError."""
    number = _number(sock)
    if not -_SOCKLEN_MAX <= flags <= _SOCKLEN_MAX:
        raise OverflowError(f"flags are an int of C, not {flags}")
    call = functools.partial(function, number, ctypes.byref(message.header), flags)
    while True:
        if deadline is not None:
            _wait(number, event, deadline)
        # Both at once: a signal's handler, which may run between two calls of the interpreter, might change errno.
        result, code = map(operator.call, (call, ctypes.get_errno))
        if result >= 0:
            return result
        message.fill_in()
        if code == errno.EINTR or (code == errno.EAGAIN and deadline is not None):
            continue
        raise OSError(code, os.strerror(code))


def _wait(number: int, event: int, deadline: float | None) -> None:
    """Wait until the socket is ready. Raises TimeoutError."""
    poll = select.poll()
    poll.register(number, event)
    left = None if deadline is None else max(deadline - time.monotonic(), 0) * 1000
    if not poll.poll(left):
        raise TimeoutError(errno.ETIMEDOUT, "timed out")


def _deadline(sock: _Socket) -> float | None:
    """Return when the socket's timeout will be over; None when it has none (also without blocking)."""
    timeout = None if isinstance(sock, int) else sock.gettimeout()
    return time.monotonic() + timeout if timeout else None


def _is_blocking(sock: _Socket) -> bool:
    return os.get_blocking(sock) if isinstance(sock, int) else sock.getblocking()


def _number(sock: _Socket) -> int:
    number = sock if isinstance(sock, int) else sock.fileno()
    if not 0 <= number <= _SOCKLEN_MAX:
        raise OSError(errno.EBADF, f"{number} is no descriptor")
    return number


def _content(buffer: ReadableBuffer) -> bytes:
    """Return the data itself when it is bytes, which stay where they are, or a copy of it."""
    return buffer if isinstance(buffer, bytes) else memoryview(buffer).tobytes()


def _read_place(data: bytes) -> _Place:
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0, len(data)


def _write_place(buffer: WriteableBuffer) -> tuple[_Place, object]:
    """Return where the buffer lies, and what keeps it there."""
    view = memoryview(buffer)
    if view.readonly:
        raise TypeError(f"a buffer to receive into is writable, unlike this {type(buffer).__name__}")
    if not view.nbytes:
        return (0, 0), view
    first = ctypes.c_char.from_buffer(view)
    return (ctypes.addressof(first), view.nbytes), first


def _memory(content: bytes | int) -> ctypes.Array[ctypes.c_char]:
    """Return memory with this content, or cleared memory of this size."""
    if isinstance(content, int):
        return (ctypes.c_char * content)()
    return (ctypes.c_char * len(content)).from_buffer_copy(content)


def _place(memory: ctypes.Array[ctypes.c_char]) -> tuple[int | None, int]:
    return (ctypes.addressof(memory), len(memory)) if len(memory) else (None, 0)


def _address_in(address: object) -> bytes:
    """Return the sockaddr_un of an address as the socket module has it. Raises TypeError, and OSError for a long one."""
    if address is None:
        return b""
    if not isinstance(address, (str, bytes, bytearray)):
        raise TypeError(f"an address of AF_UNIX is a path or an abstract name, not {type(address).__name__}")
    path = os.fsencode(address) if isinstance(address, str) else bytes(address)
    if path[:1] not in (b"", b"\0"):
        path += b"\0"
    if len(path) > _PATH_SIZE:
        raise OSError(errno.ENAMETOOLONG, f"an address of AF_UNIX has at most {_PATH_SIZE} bytes, not {len(path)}")
    return _FAMILY.pack(socket.AF_UNIX) + path


def _address_out(name: bytes) -> str | bytes | None:
    """Return the address that a sockaddr holds."""
    if not name:
        return None
    path = name[_FAMILY.size :]
    if len(name) < _FAMILY.size or _FAMILY.unpack_from(name)[0] != socket.AF_UNIX:
        return name
    return path if path[:1] == b"\0" else os.fsdecode(path.partition(b"\0")[0])


def _abandon(message: _Message) -> None:
    """Close what a receive brought that nobody will get."""
    if not message.is_back:
        return
    rights, pidfds, _ = numbers(decode(message.received_control()).messages)
    for number in rights + pidfds:
        with contextlib.suppress(OSError):
            os.close(number)
