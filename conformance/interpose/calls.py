"""The system calls that the interposer looks at, and what their arguments mean.

Numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h (aarch64). Every other call, and
every other architecture's view of the kernel (i386 and x32 programs), goes on unseen.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from enum import StrEnum


class Name(StrEnum):
    """A system call that is held."""

    READ = "read"
    WRITE = "write"
    READV = "readv"
    WRITEV = "writev"
    SENDTO = "sendto"
    RECVFROM = "recvfrom"
    SENDMSG = "sendmsg"
    RECVMSG = "recvmsg"
    SENDMMSG = "sendmmsg"
    RECVMMSG = "recvmmsg"
    FCNTL = "fcntl"
    CLOSE = "close"


SEND = frozenset({Name.WRITE, Name.WRITEV, Name.SENDTO, Name.SENDMSG, Name.SENDMMSG})
"""The calls that put data into a socket. send(3) is sendto(2)."""
RECEIVE = frozenset({Name.READ, Name.READV, Name.RECVFROM, Name.RECVMSG, Name.RECVMMSG})
"""The calls that take data out of one."""
FCNTL = frozenset({Name.FCNTL})
CLOSE = frozenset({Name.CLOSE})
PLAIN = frozenset({Name.READ, Name.WRITE, Name.READV, Name.WRITEV})
"""Calls that anything is done with; on the three standard streams they are never held."""


@dataclass(frozen=True)
class Architecture:
    """``audit``: its AUDIT_ARCH_ value (linux/audit.h). ``seccomp``, ``pidfd_getfd``: numbers of our own calls."""

    audit: int
    numbers: dict[Name, int]
    seccomp: int
    pidfd_getfd: int = 438


ARCHITECTURES: dict[str, Architecture] = {
    "x86_64": Architecture(
        0xC000003E,
        {
            Name.READ: 0,
            Name.WRITE: 1,
            Name.CLOSE: 3,
            Name.READV: 19,
            Name.WRITEV: 20,
            Name.SENDTO: 44,
            Name.RECVFROM: 45,
            Name.SENDMSG: 46,
            Name.RECVMSG: 47,
            Name.FCNTL: 72,
            Name.RECVMMSG: 299,
            Name.SENDMMSG: 307,
        },
        seccomp=317,
    ),
    "aarch64": Architecture(
        0xC00000B7,
        {
            Name.FCNTL: 25,
            Name.CLOSE: 57,
            Name.READ: 63,
            Name.WRITE: 64,
            Name.READV: 65,
            Name.WRITEV: 66,
            Name.SENDTO: 206,
            Name.RECVFROM: 207,
            Name.SENDMSG: 211,
            Name.RECVMSG: 212,
            Name.RECVMMSG: 243,
            Name.SENDMMSG: 269,
        },
        seccomp=277,
    ),
}


def architecture() -> Architecture | None:
    """Return what is known of this machine's architecture; None where the interposer does not know it."""
    return ARCHITECTURES.get(platform.machine())
