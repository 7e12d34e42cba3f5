"""This platform's numbers by name: flags, levels, options, error numbers. Names travel, numbers stay at home."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import termios

from .protocol.values import SocketType

_FOREIGN = ("SCM_J1939_", "SO_J1939_", "SO_VM_SOCKETS_")
"""Names of other address families, whose numbers collide with those of AF_UNIX."""
_PREFIXES = ("MSG_", "SO_", "SOL_", "SCM_", "AF_", "SHUT_", "SOCK_")

LINUX = {
    "SO_PEEK_OFF": 42,
    "SO_PASSPIDFD": 76,
    "SO_PASSRIGHTS": 83,
    "SO_INQ": 84,
    "SCM_PIDFD": 4,
    "SCM_SECURITY": 3,
    "SCM_TIMESTAMP": 29,
    "SO_TIMESTAMP": 29,
    "SO_PASSSEC": 34,
    "SO_OOBINLINE": 10,
    "SO_RCVLOWAT": 18,
    "SCM_RIGHTS": 1,
    "SCM_CREDENTIALS": 2,
}
"""Linux numbers that the socket module of some Python has no name for (include/uapi/asm-generic/socket.h)."""


_MODULES = (
    (socket, _PREFIXES),
    (os, ("O_",)),
    (fcntl, ("F_GETF", "F_SETF", "F_RDLCK", "F_WRLCK", "F_UNLCK", "FD_", "LOCK_")),
    (select, ("POLL",)),
    (termios, ("FION",)),
)


def _collect() -> dict[str, int]:
    found = dict(LINUX) if os.uname().sysname == "Linux" else {}
    for module, prefixes in _MODULES:
        for name in dir(module):
            if name.startswith(prefixes) and not name.startswith(_FOREIGN):
                value: object = getattr(module, name)
                if isinstance(value, int):
                    found[name] = int(value)
    return found


CONSTANTS: dict[str, int] = _collect()

FLAG_NAMES: dict[int, str] = {
    value: name
    for name, value in sorted(CONSTANTS.items(), reverse=True)
    if name.startswith("MSG_") and value and value & (value - 1) == 0
}
"""Single-bit MSG_* flags by number; of two names for one bit the first in the alphabet."""


SOCKET_KINDS: dict[SocketType, socket.SocketKind] = {
    SocketType.STREAM: socket.SOCK_STREAM,
    SocketType.DGRAM: socket.SOCK_DGRAM,
    SocketType.SEQPACKET: socket.SOCK_SEQPACKET,
}


def number_of(name: str | int) -> int:
    """Return the number that ``name`` has here; a number is returned as it is. Raises KeyError with the name."""
    return name if isinstance(name, int) else CONSTANTS[name]


def bits(names: list[str | int] | tuple[str | int, ...]) -> int:
    """Return the flags named, as one number."""
    total = 0
    for name in names:
        total |= number_of(name)
    return total


def flag_names(flags: list[str | int]) -> frozenset[str]:
    """Return the names of ``flags``, where numbers stand for all their bits; a bit without a name becomes hexadecimal."""
    names: set[str] = set()
    for flag in flags:
        if isinstance(flag, str):
            names.add(flag)
            continue
        for position in range(32):
            bit = 1 << position
            if flag & bit:
                names.add(FLAG_NAMES.get(bit, hex(bit)))
    return frozenset(names)


_ALIASES = {"ENOTSUP": "EOPNOTSUPP", "EWOULDBLOCK": "EAGAIN", "EDEADLOCK": "EDEADLK"}
"""Of two names for one number on Linux, the one that this suite says."""


def errno_name(value: str | int | None) -> str | None:
    """Return the name of an error number; names and None are returned as they are."""
    name = errno.errorcode.get(value, str(value)) if isinstance(value, int) else value
    return name if name is None else _ALIASES.get(name, name)
