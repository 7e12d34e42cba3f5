"""The filter: a classic BPF program over struct seccomp_data (seccomp(2)) that holds chosen calls and lets all others go on.

    if arch != ours: allow
    if nr is one of the plain calls: notify when its descriptor is above 2, else allow
    if nr is one of the other calls: notify
    allow

The architecture comes first because the numbers mean other calls elsewhere, as seccomp(2) warns. An x32 call has bit 30 of its
number set and so equals none of ours.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from .calls import PLAIN, Architecture, Name

LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
GREATER = 0x25  # BPF_JMP | BPF_JGT | BPF_K
RETURN = 0x06  # BPF_RET | BPF_K
NOTIFY = 0x7FC00000  # SECCOMP_RET_USER_NOTIF
ALLOW = 0x7FFF0000  # SECCOMP_RET_ALLOW
NUMBER, ARCH, FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data; of the first argument the lower half, on the little-endian machines that are known."""
HIGHEST_STANDARD = 2

_INSTRUCTION = struct.Struct("=HBBI")


def program(arch: Architecture, names: Iterable[Name]) -> bytes:
    """Return the filter that holds ``names``, as an array of struct sock_filter (8 bytes each)."""
    wanted = sorted(set(names), key=lambda name: arch.numbers[name])
    plain = [arch.numbers[name] for name in wanted if name in PLAIN]
    others = [arch.numbers[name] for name in wanted if name not in PLAIN]
    rows: list[tuple[int, int, int, int]] = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, arch.audit), (RETURN, 0, 0, ALLOW)]
    rows.append((LOAD, 0, 0, NUMBER))
    # Behind the comparisons: allow; notify; load the descriptor, compare, notify or allow.
    total = len(plain) + len(others)
    for index, number in enumerate(others):
        rows.append((EQUAL, total - index, 0, number))
    for index, number in enumerate(plain, len(others)):
        rows.append((EQUAL, total - index + 1, 0, number))
    rows += [
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, NOTIFY),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (GREATER, 1, 0, HIGHEST_STANDARD),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, NOTIFY),
    ]
    return b"".join(_INSTRUCTION.pack(*row) for row in rows)
