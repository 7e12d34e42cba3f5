"""The account of a process's open descriptors, taken from outside through /proc.

Fast path: one fstat of /proc/PID/fd, whose size is the number of open descriptors since Linux 6.2 (fs/proc/fd.c,
proc_fd_getattr). Next: each number with the device and inode that it refers to. Slow path: what /proc shows of it, its
close-on-exec and status flags, and the descriptors queued in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform
import stat
from dataclasses import dataclass
from io import FileIO

from .records import Open

O_CLOEXEC = os.O_CLOEXEC
KCMP_FILE = 0
_KCMP = {"x86_64": 312, "aarch64": 272, "i386": 349, "i686": 349, "riscv64": 272, "s390x": 343, "ppc64le": 354}


class NotOpen(AssertionError, FileNotFoundError):
    """A number that a case wants to know more of is not open in the testee: the case has failed, whatever it was about."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a descriptor refers to: the device and inode of its file. Anonymous inodes share one."""

    device: int
    inode: int


def identity_of(fd: int) -> Identity:
    """Return the identity behind one of this process's own descriptors."""
    facts = os.fstat(fd)
    return Identity(facts.st_dev, facts.st_ino)


_libc = ctypes.CDLL(None, use_errno=True)


def same_description(pid: int, fd: int, other_pid: int, other_fd: int) -> bool | None:
    """Tell by kcmp(2) whether two descriptors share one open file description; None where kcmp is not to be had."""
    number = _KCMP.get(platform.machine())
    if number is None:
        return None
    outcome = _libc.syscall(number, pid, other_pid, KCMP_FILE, fd, other_fd)
    return None if outcome < 0 else outcome == 0


class Table:
    """The descriptor table of one process, seen from outside. Close it when done.

    Raises FileNotFoundError or ProcessLookupError when the process is gone.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._directory = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._counts = os.fstat(self._directory).st_size > 0

    def close(self) -> None:
        """Let go of /proc/PID/fd."""
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1

    def count(self) -> int:
        """Return the number of open descriptors; one system call since Linux 6.2."""
        if self._counts:
            return os.fstat(self._directory).st_size
        return len(self.numbers())

    def numbers(self) -> list[int]:
        """Return the open numbers, ascending."""
        return sorted(int(name) for name in os.listdir(self._directory))

    def identity(self, fd: int) -> Identity | None:
        """Return what number ``fd`` refers to; None where it is not open."""
        try:
            facts = os.stat(str(fd), dir_fd=self._directory)
        except (FileNotFoundError, OSError):
            return None
        return Identity(facts.st_dev, facts.st_ino)

    def identities(self) -> dict[int, Identity]:
        """Return every open number with what it refers to."""
        found: dict[int, Identity] = {}
        for name in os.listdir(self._directory):
            with contextlib.suppress(FileNotFoundError):
                facts = os.stat(name, dir_fd=self._directory)
                found[int(name)] = Identity(facts.st_dev, facts.st_ino)
        return found

    def is_socket(self, fd: int) -> bool:
        """Whether number ``fd`` refers to a socket."""
        try:
            return stat.S_ISSOCK(os.stat(str(fd), dir_fd=self._directory).st_mode)
        except FileNotFoundError:
            return False

    def flags(self, fd: int) -> int:
        """Return the status flags of ``fd`` with O_CLOEXEC among them, from /proc/PID/fdinfo. Raises `NotOpen`."""
        return _info(self.pid, fd).get("flags", 0)

    def offset(self, fd: int) -> int:
        """Return the file offset behind ``fd``, from /proc/PID/fdinfo. Raises `NotOpen`."""
        return _info(self.pid, fd).get("pos", 0)

    def cloexec(self, fd: int) -> bool:
        """Whether close-on-exec is set on ``fd``."""
        return bool(self.flags(fd) & O_CLOEXEC)

    def queued(self, fd: int) -> int:
        """Return how many descriptors wait in the receive queue of the socket ``fd`` (``scm_fds``)."""
        return _info(self.pid, fd).get("scm_fds", 0)

    def pid_of(self, fd: int) -> int:
        """Return the process that the pidfd ``fd`` refers to; 0 where it is no pidfd."""
        return _info(self.pid, fd).get("Pid", 0)

    def full(self, owners: dict[Identity, str]) -> list[Open]:
        """Return everything about every open descriptor, for people."""
        found: list[Open] = []
        for fd in self.numbers():
            with contextlib.suppress(FileNotFoundError, OSError):
                target = os.readlink(str(fd), dir_fd=self._directory)
                facts = os.stat(str(fd), dir_fd=self._directory)
                flags = _info(self.pid, fd).get("flags", 0)
                owner = owners.get(Identity(facts.st_dev, facts.st_ino), "")
                cloexec = bool(flags & O_CLOEXEC)
                found.append(Open(fd, target, facts.st_dev, facts.st_ino, cloexec, flags & ~O_CLOEXEC, owner))
        return found

    def target(self, fd: int) -> str:
        """Return what /proc shows of ``fd``: a path, ``socket:[n]``, ``anon_inode:[eventpoll]``; '' where it is not open."""
        try:
            return os.readlink(str(fd), dir_fd=self._directory)
        except OSError:
            return ""


def _info(pid: int, fd: int) -> dict[str, int]:
    """Return the numbers in /proc/PID/fdinfo/FD; flags are octal there. Raises `NotOpen`."""
    found: dict[str, int] = {}
    with _opened(pid, fd) as info:
        for line in info.read(4096).decode(errors="replace").splitlines():
            name, _, value = line.partition(":")
            with contextlib.suppress(ValueError):
                found[name] = int(value, 8 if name == "flags" else 10)
    return found


def _opened(pid: int, fd: int) -> FileIO:
    try:
        return FileIO(f"/proc/{pid}/fdinfo/{fd}", "rb")  # twice as fast as Path.open
    except FileNotFoundError:
        raise NotOpen(f"descriptor {fd} of the testee is not open") from None
