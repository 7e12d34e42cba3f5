"""Linux's numbers that the model computes with, by name. They are the model's own: it runs anywhere and describes Linux."""

from __future__ import annotations

OOB = 0x1
PEEK = 0x2
CTRUNC = 0x8
TRUNC = 0x20
DONTWAIT = 0x40
EOR = 0x80
WAITALL = 0x100
ERRQUEUE = 0x2000
NOSIGNAL = 0x4000
MORE = 0x8000
CLOEXEC = 0x40000000
COMPAT = 0x80000000

NAMES: dict[str, int] = {
    "OOB": OOB,
    "PEEK": PEEK,
    "CTRUNC": CTRUNC,
    "TRUNC": TRUNC,
    "EOR": EOR,
    "WAITALL": WAITALL,
    "ERRQUEUE": ERRQUEUE,
    "NOSIGNAL": NOSIGNAL,
    "MORE": MORE,
    "CLOEXEC": CLOEXEC,
    "COMPAT": COMPAT,
}
"""The flags of send and receive that a sequence may name, without MSG_ and MSG_CMSG_. MSG_DONTWAIT is always set."""

SOL_SOCKET = 1
SCM_RIGHTS = 1
SCM_CREDENTIALS = 2
SCM_MAX_FD = 253
IOV_MAX = 1024

HEADER = 16
"""sizeof(struct cmsghdr) on 64 bits; CMSG_LEN(0)."""
UCRED = 12
"""sizeof(struct ucred)."""


def align(length: int) -> int:
    """CMSG_ALIGN on 64 bits."""
    return (length + 7) & ~7


def names_of(flags: int) -> str:
    """Return flags as ``PEEK|TRUNC``; bits without a name as a number at the end."""
    found = [name for name, bit in NAMES.items() if flags & bit]
    rest = flags
    for name in found:
        rest &= ~NAMES[name]
    return "|".join([*found, hex(rest)] if rest else found)
