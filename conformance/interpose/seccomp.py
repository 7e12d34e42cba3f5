"""seccomp user notification as the kernel offers it: the filter is installed, notifications come, answers go.

Sources: seccomp(2), seccomp_unotify(2), pidfd_getfd(2), linux/seccomp.h. Nothing here decides anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

from .calls import Architecture

PR_SET_NO_NEW_PRIVS = 38
SET_MODE_FILTER = 1
NEW_LISTENER = 1 << 3
WAIT_KILLABLE_RECV = 1 << 5
"""Since Linux 5.19: a call that was received waits for its answer in spite of signals that are handled."""

NOTIF_RECV = 0xC0502100
NOTIF_SEND = 0xC0182101
NOTIF_ID_VALID = 0x40082102
NOTIF_ADDFD = 0x40182103
NOTIF_SET_FLAGS = 0x40082104
CONTINUE = 1
ADDFD_SETFD = 1
SYNC_WAKE_UP = 1
"""Since Linux 6.6: the two sides wake each other on one processor, which takes half the time."""

_NOTIFICATION = struct.Struct("QIIiIQ6Q")
_RESPONSE = struct.Struct("QqiI")
_ADDFD = struct.Struct("QIIII")
_ID = struct.Struct("Q")

libc = ctypes.CDLL(None, use_errno=True)


class Notification(NamedTuple):
    """One call that waits. ``tid``: the thread; ``number``: of the call; ``arguments``: six unsigned 64-bit integers."""

    id: int
    tid: int
    number: int
    arguments: tuple[int, int, int, int, int, int]


class NoLonger(Exception):
    """The call that was to be answered waits no more: its thread died, or a signal ended it."""


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def installer(arch: Architecture, program: bytes, *, killable: bool) -> Callable[[], int]:
    """Return what installs ``program`` in the calling thread, for good: its listener's number, or a negative errno.

    To be called between fork and exec; everything it needs is looked up now. ``killable``: only a fatal signal ends a wait,
    where the kernel has that.
    """
    code = ctypes.create_string_buffer(program, len(program))
    described = _Program(len(program) // 8, ctypes.cast(code, ctypes.c_void_p))
    pointer = ctypes.byref(described)
    prctl, syscall = libc.prctl, libc.syscall
    attempts = [NEW_LISTENER | WAIT_KILLABLE_RECV, NEW_LISTENER] if killable else [NEW_LISTENER]
    number = arch.seccomp

    def install() -> int:
        if prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            return -ctypes.get_errno()
        for flags in attempts:
            listener = syscall(number, SET_MODE_FILTER, flags, pointer)
            if listener >= 0:
                return listener
            if ctypes.get_errno() != errno.EINVAL:
                break
        _ = code  # the program lives as long as this function
        return -ctypes.get_errno()

    return install


def duplicate(arch: Architecture, pidfd: int, number: int) -> int:
    """Return a descriptor of our own (close-on-exec) for number ``number`` of the process of ``pidfd``. Raises OSError."""
    found: int = libc.syscall(arch.pidfd_getfd, pidfd, number, 0)
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"pidfd_getfd of number {number}: {os.strerror(code)}")
    return found


class Listener:
    """The harness's end of one filter; its `fileno` becomes readable when a call waits, and hangs up when no task is left."""

    def __init__(self, number: int) -> None:
        """Take over the descriptor ``number``."""
        self._number = number
        with contextlib.suppress(OSError):  # an older kernel does without
            fcntl.ioctl(number, NOTIF_SET_FLAGS, SYNC_WAKE_UP)

    def fileno(self) -> int:
        """Return its number."""
        return self._number

    def close(self) -> None:
        """Let go: every call that waits, and every one from now on, fails with ENOSYS in the filtered process."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def receive(self) -> Notification | None:
        """Return the next call that waits, waiting for one; None where it gave up meanwhile, or nobody is left."""
        raw = bytearray(_NOTIFICATION.size)
        while True:
            try:
                fcntl.ioctl(self._number, NOTIF_RECV, raw, True)
            except InterruptedError:
                continue
            except FileNotFoundError:
                return None
            ident, tid, _flags, number, _arch, _ip, *arguments = _NOTIFICATION.unpack(raw)
            first, second, third, fourth, fifth, sixth = arguments
            return Notification(ident, tid, number, (first, second, third, fourth, fifth, sixth))

    def is_valid(self, ident: int) -> bool:
        """Whether the call still waits. To be asked after anything was looked up by its thread id (seccomp_unotify(2))."""
        try:
            fcntl.ioctl(self._number, NOTIF_ID_VALID, _ID.pack(ident))
        except FileNotFoundError:
            return False
        return True

    def go_on(self, ident: int) -> None:
        """Let the kernel carry out the call. Raises `NoLonger`."""
        self._send(_RESPONSE.pack(ident, 0, 0, CONTINUE))

    def answer(self, ident: int, value: int) -> None:
        """Let the call return ``value``. Raises `NoLonger`."""
        self._send(_RESPONSE.pack(ident, value, 0, 0))

    def fail(self, ident: int, number: int) -> None:
        """Let the call fail with the errno ``number``. Raises `NoLonger`."""
        self._send(_RESPONSE.pack(ident, 0, -number, 0))

    def _send(self, response: bytes) -> None:
        while True:
            try:
                fcntl.ioctl(self._number, NOTIF_SEND, response)
            except InterruptedError:  # a signal to this thread, before anything was done
                continue
            except FileNotFoundError:
                raise NoLonger from None
            return

    def install(self, ident: int, fd: int, *, cloexec: bool, at: int | None = None) -> int:
        """Put our descriptor ``fd`` into the process whose call waits and return its number there; ``at``: in place of that one.

        Raises `NoLonger`, and OSError with EMFILE where its limit allows no further one.
        """
        flags, place = (0, 0) if at is None else (ADDFD_SETFD, at)
        request = bytearray(_ADDFD.pack(ident, flags, fd, place, os.O_CLOEXEC if cloexec else 0))
        while True:
            try:
                return fcntl.ioctl(self._number, NOTIF_ADDFD, request, True)
            except InterruptedError:  # a signal to this thread; the kernel has taken the request back
                continue
            except (FileNotFoundError, ProcessLookupError):  # it ended before, or while it was to take the descriptor
                raise NoLonger from None
