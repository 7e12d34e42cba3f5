"""What a program sees of the kernel that a personality makes of this one: bytes, flags, errors, and what stays open."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import struct
from collections import deque
from dataclasses import dataclass

import pytest
from fdspec.conformance.census import identity_of
from fdspec.conformance.interpose.kernel import Kernel
from fdspec.conformance.interpose.personality import find
from fdspec.conformance.interpose.system import Emulation
from interposed import LIBC, Iovec, Msghdr, Stage

RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)


@dataclass(frozen=True)
class Seen:
    """What a receive was answered: ``error`` names an errno. ``opened``: how many descriptors more there were afterwards."""

    error: str = ""
    data: bytes = b""
    flags: int = 0
    control: bytes = b""
    opened: int = 0

    @property
    def lengths(self) -> list[int]:
        """cmsg_len of every message, read where each says that the next one is."""
        found, at = [], 0
        while at + 16 <= len(self.control):
            (length,) = struct.unpack_from("Q", self.control, at)
            found.append(length)
            at += max(length + 7 & ~7, 16)
        return found


def receive(sock: socket.socket, room: int | None, size: int = 16, flags: int = socket.MSG_DONTWAIT) -> Seen:
    """recvmsg(2) by itself; ``room`` None: msg_control is null."""
    data, control = ctypes.create_string_buffer(size), ctypes.create_string_buffer(room or 1)
    piece = Iovec(ctypes.addressof(data), size)
    place = None if room is None else ctypes.addressof(control)
    header = Msghdr(None, 0, ctypes.pointer(piece), 1, place, room or 0, 0)
    before = len(os.listdir("/proc/self/fd"))
    count = LIBC.recvmsg(sock.fileno(), ctypes.byref(header), flags)
    opened = len(os.listdir("/proc/self/fd")) - before
    if count < 0:
        return Seen(errno.errorcode[ctypes.get_errno()], opened=opened)
    return Seen("", data.raw[:count], header.flags, control.raw[: header.controllen], opened)


@pytest.fixture
def on():
    """Run a body as a program on an emulated system; ``groups``: descriptors of each control message that is sent to it."""

    def run(system, body, *groups, kind=socket.SOCK_STREAM, data=b"x"):
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        kernel = Kernel(killable=False)
        kernel.system = Emulation(find(system))
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            with ours, theirs, Stage(kernel._handle, killable=False) as stage:
                if groups:
                    _fill(ours, null, groups, data)
                sizes = deque([list(groups)] if groups else [])
                kernel.watch([identity_of(theirs.fileno())], lambda _one: False, groups=lambda: sizes)
                return stage.run(lambda: body(theirs)), len(kernel.untold)
        finally:
            os.close(null)
            kernel.close()

    return run


def _fill(ours, null, groups, data):
    ours.sendmsg([data], [(*RIGHTS, struct.pack("i", null) * count) for count in groups])


def limited(body, free):
    """Return ``body`` with only ``free`` numbers left for it."""

    def run(sock):
        taken = max(int(name) for name in os.listdir("/proc/self/fd"))
        for number in range(taken + 1):
            try:
                os.fstat(number)
            except OSError:
                os.dup2(sock.fileno(), number)
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 1 + free, taken + 1 + free))
        return body(sock)

    return run


def test_linux_shows_what_linux_shows(on):
    got, untold = on("linux", lambda sock: receive(sock, 24), 5)
    assert (got.data, got.lengths, got.opened, untold) == (b"x", [24], 2, 0)
    assert got.flags & socket.MSG_CTRUNC


def test_macos_leaves_the_length_and_the_excess(on):
    got, untold = on("macos", lambda sock: receive(sock, 24), 5)
    assert got.lengths == [16 + 5 * 4], "cmsg_len tells of all five"
    assert len(got.control) == 24
    assert (got.opened, untold) == (5, 3)
    assert got.flags & socket.MSG_CTRUNC


def test_macos_tells_nothing_without_a_buffer(on):
    got, untold = on("macos", lambda sock: receive(sock, None), 2)
    assert (got.flags, got.control, got.opened, untold) == (0, b"", 2, 2)


def test_macos_has_no_close_on_exec(on):
    def body(sock):
        got = receive(sock, 20, flags=socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
        return got.flags, os.get_inheritable(struct.unpack_from("i", got.control, 16)[0])

    assert on("macos", body, 1)[0] == (0, True)
    assert on("linux", body, 1)[0] == (socket.MSG_CMSG_CLOEXEC, False)


def test_macos_takes_one_control_message(on):
    def body(sock):
        try:
            return sock.sendmsg([b"x"], [(*RIGHTS, struct.pack("i", 0))] * 2)
        except OSError as error:
            return errno.errorcode[error.errno]

    assert on("macos", body)[0] == "EINVAL"
    assert on("linux", body)[0] == 1


def test_macos_fails_a_receive_without_a_free_number(on):
    def body(sock):
        return receive(sock, 64), receive(sock, 64)

    (first, second), untold = on("macos", limited(body, 1), 2, data=b"data")
    assert (first.error, first.opened, untold) == ("EMFILE", 0, 0)
    assert (second.data, second.control) == (b"data", b"")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_freebsd_fails_a_receive_without_a_free_number(on, kind):
    def body(sock):
        return receive(sock, 64), receive(sock, 64)

    (first, second), _ = on("freebsd", limited(body, 1), 2, data=b"data", kind=kind)
    assert (first.error, first.opened) == ("EMSGSIZE", 0)
    assert (second.error, second.data, second.control, second.opened) == ("", b"data", b"", 0)


def test_freebsd_keeps_the_senders_control_messages(on):
    got, _ = on("freebsd", lambda sock: receive(sock, 100), 1, 2)
    assert (got.lengths, got.opened, got.flags) == ([20, 24], 3, 0)
    got, _ = on("linux", lambda sock: receive(sock, 100), 1, 2)
    assert (got.lengths, got.opened) == ([28], 3)


def test_freebsd_delivers_a_message_whole_or_not(on):
    got, untold = on("freebsd", lambda sock: receive(sock, 40), 1, 2)
    assert (got.lengths, got.opened, untold) == ([20], 1, 0)
    assert got.flags & socket.MSG_CTRUNC
    got, untold = on("freebsd", lambda sock: receive(sock, 20), 1)
    assert (got.control, got.opened, untold) == (b"", 0, 0)


def test_freebsd_refuses_a_foreign_level(on):
    def body(sock):
        try:
            return sock.sendmsg([b"x"], [(41, 50, b"1234")])
        except OSError as error:
            return errno.errorcode[error.errno]

    assert on("freebsd", body)[0] == "EINVAL"
    assert on("linux", body)[0] == 1


def test_illumos_loses_the_message_without_a_free_number(on):
    def body(sock):
        return receive(sock, 64), receive(sock, 64)

    (first, second), _ = on("illumos", limited(body, 1), 2)
    assert (first.error, first.opened) == ("EMFILE", 0)
    assert second.error == "EAGAIN"


def test_old_linux_has_no_out_of_band_byte(on):
    def body(sock):
        try:
            return sock.send(b"x", socket.MSG_OOB)
        except OSError as error:
            return errno.errorcode[error.errno]

    assert on("linux-old", body)[0] in {"EOPNOTSUPP", "ENOTSUP"}


def test_a_plain_receive_is_emulated_as_well(on):
    got, untold = on("macos", lambda sock: (sock.recv(10), len(os.listdir("/proc/self/fd"))), 2)
    alone, _ = on("linux", lambda sock: (sock.recv(10), len(os.listdir("/proc/self/fd"))), 2)
    assert got[0] == alone[0] == b"x"
    assert (got[1] - alone[1], untold) == (2, 2)


def test_a_receive_waits_as_long_as_the_socket_lets_it(on):
    def body(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 50_000))
        return receive(sock, 24, flags=0)

    assert on("macos", body)[0].error == "EAGAIN"


def test_a_peek_leaves_everything_where_it_is(on):
    def body(sock):
        looked = receive(sock, 24, flags=socket.MSG_PEEK)
        return looked, receive(sock, 24)

    (looked, taken), untold = on("macos", body, 2)
    assert (looked.data, looked.control[16:24], looked.opened) == (b"x", bytes(8), 0), "numbers are shown as zeros"
    assert (taken.data, taken.opened, untold) == (b"x", 2, 0)
