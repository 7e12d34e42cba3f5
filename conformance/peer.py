"""The harness's own raw end of the connection: plain sendmsg(2) and recvmsg(2), every descriptor accounted for."""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..impls.constants import bits, flag_names, number_of
from ..impls.errors import Broken
from ..impls.protocol.values import ints_of
from .census import Identity, identity_of

MAX_FDS = 253
"""SCM_MAX_FD of Linux (include/net/scm.h)."""
PATIENCE = 5.0
"""Seconds that the peer waits before it says that nothing comes."""
RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
_UCRED = struct.Struct("iii")


class NothingCame(AssertionError):
    """The peer waited and nothing came: the implementation did not send what it was asked to send."""


class Gone(AssertionError):
    """The testee has closed its end of the connection although nobody asked for that."""


def rights(fds: Iterable[int]) -> tuple[int, int, bytes]:
    """Return one SCM_RIGHTS control message that carries ``fds``."""
    return (*RIGHTS, array.array("i", fds).tobytes())


@dataclass(frozen=True)
class PeerMessage:
    """What the peer received. ``fds`` are the harness's own numbers, closed when the case ends."""

    data: bytes
    fds: list[int]
    flags: frozenset[str]
    ancillary: list[tuple[int, int, bytes]]
    identities: list[Identity] = field(default_factory=list[Identity])
    address: str | None = None


class Peer:
    """One end of the connection, held by the harness. ``told`` takes what it did, for the transcript."""

    def __init__(self, sock: socket.socket, told: Callable[[str, bytes, bytes], None], path: str = "") -> None:
        self.socket = sock
        self.path = path
        self._told = told
        self._fds: list[int] = []
        self.groups: deque[list[int]] = deque()
        """For each message with descriptors that was sent: how many each of its SCM_RIGHTS has."""
        sock.settimeout(PATIENCE)

    def send(
        self,
        data: bytes | Sequence[bytes],
        fds: Sequence[int] = (),
        *,
        ancillary: Sequence[tuple[int | str, int | str, bytes]] = (),
        flags: Sequence[str] = (),
    ) -> int:
        """Send ``data`` (one buffer or several) with ``fds`` in one SCM_RIGHTS control message and then ``ancillary``.

        Returns the number of bytes taken. Raises OSError as sendmsg(2) does.
        """
        buffers = [data] if isinstance(data, bytes) else list(data)
        control = [rights(fds)] if fds else []
        control += [(number_of(level), number_of(kind), content) for level, kind, content in ancillary]
        try:
            sent = self.socket.sendmsg(buffers, control, bits([*flags, "MSG_NOSIGNAL"]))
        except (BrokenPipeError, ConnectionResetError, ConnectionRefusedError) as fault:
            raise Gone(f"the peer cannot send, the testee has closed its end: {fault.strerror}") from None
        sizes = [len(ints_of(content)) for level, kind, content in control if (level, kind) == RIGHTS]
        if any(sizes):
            self.groups.append(sizes)
        if control:
            self._told("send", b"".join(buffers), b"".join(_image(one) for one in control))
        else:
            self._told("send", b"".join(buffers), b"")
        return sent

    def receive(self, size: int = 65536, *, room: int = MAX_FDS, flags: Sequence[str] = ()) -> PeerMessage:
        """Receive one message, with room for ``room`` descriptors beside credentials. Raises `NothingCame`."""
        try:
            data, ancillary, seen, address = self.socket.recvmsg(
                size, socket.CMSG_SPACE(12) + socket.CMSG_LEN(4 * room), bits([*flags, "MSG_CMSG_CLOEXEC"])
            )
        except (TimeoutError, BlockingIOError):
            raise NothingCame(f"the peer received nothing within {PATIENCE:g} s") from None
        fds: list[int] = []
        others: list[tuple[int, int, bytes]] = []
        for level, kind, content in ancillary:
            if (level, kind) == RIGHTS:
                fds += ints_of(content)
            else:
                others.append((level, kind, content))
        self._fds += fds
        self._told("receive", data, b"".join(_image(one) for one in ancillary))
        where = address if isinstance(address, str) else None
        return PeerMessage(data, fds, flag_names([seen]), others, [identity_of(fd) for fd in fds], where)

    def receive_exactly(self, size: int) -> PeerMessage:
        """Receive until ``size`` bytes have come or the end; descriptors of all parts in order. Raises `NothingCame`."""
        parts: list[PeerMessage] = []
        left = size
        while left:
            part = self.receive(left)
            parts.append(part)
            left -= len(part.data)
            if not part.data:
                break
        return PeerMessage(
            b"".join(part.data for part in parts),
            [fd for part in parts for fd in part.fds],
            frozenset[str]().union(*(part.flags for part in parts)),
            [one for part in parts for one in part.ancillary],
            [one for part in parts for one in part.identities],
        )

    def pending(self, seconds: float = 0.0) -> bool:
        """Whether something can be received (data or the end) within ``seconds``."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def option(self, level: str, name: str, value: int) -> None:
        """setsockopt(2) on the peer's own socket."""
        self.socket.setsockopt(number_of(level), number_of(name), value)

    def shutdown(self, how: int = socket.SHUT_WR) -> None:
        """Shut the peer's end down; the testee reads the end of file."""
        self._told("shutdown", b"", b"")
        self.socket.shutdown(how)

    def close(self) -> None:
        """Close the peer's end and every descriptor that it received."""
        self.close_received()
        self.socket.close()
        if self.path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path)  # noqa: PTH108 - hot path
            self.path = ""

    def close_received(self) -> None:
        """Close every descriptor received so far."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def _image(message: tuple[int, int, bytes]) -> bytes:
    """Return a control message as the kernel's buffer holds it: struct cmsghdr, data, padding."""
    level, kind, content = message
    head = struct.pack("Nii", struct.calcsize("Nii") + len(content), level, kind)
    return (head + content).ljust(socket.CMSG_SPACE(len(content)), b"\0")


def accept(listener: socket.socket, is_own: Callable[[int], bool]) -> socket.socket:
    """Accept the testee's own connection; any other process's is closed unanswered (SO_PEERCRED).

    Raises `Broken` when only strangers came.
    """
    listener.settimeout(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    strangers: list[int] = []
    while time.monotonic() < deadline:
        try:
            sock, _ = listener.accept()
        except TimeoutError:
            break
        pid, _, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        if is_own(pid):
            return sock
        strangers.append(pid)
        sock.close()
    detail = f"; processes {strangers} tried and were turned away" if strangers else ""
    raise Broken("no-connection", f"the testee says that it connected, but its connection did not come{detail}")
