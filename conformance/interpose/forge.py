"""Control data as no Linux kernel writes it: for each kind of damage, what a receive is to be shown of what came.

    kernel.shows(lambda came, held: fitted(half_int(2, bait)(came), held.wanted.control_length))

Everything here is pure. A `Forge` makes its image for a buffer of any size, and `fitted` cuts that to the buffer there is. The
images keep one rule, so that what a careful reader finds in them is known: descriptors that stand in an image, whole and in
front of msg_controllen, are to be believed; ``bait``, numbers that the testee has open anyway, never is. `believable` says which
descriptors these are.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import replace
from socket import MSG_CTRUNC

from .perform import LINUX, RIGHTS, Came, Part, Shown, image

Forge = Callable[[Came], Shown]
Chunks = list[bytes | int]
HEADER = LINUX.header
ALIGN = LINUX.align
INT = LINUX.int_size

NO_TYPE = 0x7FFF0000
"""No type of a control message, and no descriptor."""

WRAPPING = tuple(2**64 - size for size in (1, ALIGN - 1, ALIGN, HEADER, HEADER + ALIGN, 2 * (HEADER + ALIGN)))
"""Values of cmsg_len that overflow a 64-bit size when they are aligned, or lead backwards when they are added."""
HUGE = (2**32, 2**32 + HEADER + INT, 2**63 - 1, 2**63, 2**63 + HEADER + INT, *WRAPPING)
"""Values of cmsg_len far beyond any buffer; where they are taken for 32 bits, some of them look sound."""


# --- pieces -----------------------------------------------------------------------------------------------------------


def rights(indices: Sequence[int], *, length: int | None = None, padded: bool = True) -> Chunks:
    """Return an SCM_RIGHTS with the descriptors of these indices. ``length``: told in cmsg_len, whatever there is."""
    return image(Part(*RIGHTS, tuple(indices)), length=length, padded=padded)


def header(length: int, level: int = RIGHTS[0], kind: int = RIGHTS[1]) -> bytes:
    """Return a bare cmsghdr that tells ``length``."""
    return LINUX.cmsg(level, kind, b"", length=length)


def everything(came: Came) -> range:
    """Return the indices of all descriptors that came."""
    return range(len(came.fds))


def size_of(chunks: Sequence[bytes | int]) -> int:
    """Return how many bytes ``chunks`` are."""
    return sum(INT if isinstance(one, int) else len(one) for one in chunks)


# --- what a caller sees of an image -----------------------------------------------------------------------------------


def fitted(shown: Shown, room: int, *, installed: bool = False) -> Shown:
    """Return ``shown`` as it is in a control buffer of ``room`` bytes.

    Descriptors whose place lies beyond the buffer, or across its end, are not shown: they are ``installed`` all the same, as on
    macOS, or closed. msg_controllen is at most ``room``, unless `Shown.told` goes beyond the image: then it is a lie on purpose.
    """
    kept: Chunks = []
    lost: list[int] = []
    left = room
    for one in shown.control:
        if isinstance(one, bytes):
            kept.append(one[:left])
        elif left >= INT:
            kept.append(one)
        else:
            kept.append(b"\xff" * left)
            lost.append(one)
        left -= min(left, INT if isinstance(one, int) else len(one))
    size = size_of(shown.control)
    told = size if shown.told is None else shown.told
    unseen = (*shown.unseen, *lost) if installed else shown.unseen
    return replace(shown, control=tuple(kept), unseen=unseen, told=told if told > size else min(told, room))


def believable(shown: Shown) -> tuple[int, ...]:
    """Return the indices of the descriptors that a careful reader finds, in order."""
    told = size_of(shown.control) if shown.told is None else shown.told
    found: list[int] = []
    at = 0
    for one in shown.control:
        at += INT if isinstance(one, int) else len(one)
        if isinstance(one, int) and at <= told:
            found.append(one)
    return tuple(found)


# --- cmsg_len against the buffer --------------------------------------------------------------------------------------


def untruncated(length: int | None = None) -> Forge:
    """MSG_CTRUNC, and a cmsg_len that is still that of everything that was sent, or ``length``: macOS, Solaris."""

    def forge(came: Came) -> Shown:
        return Shown(tuple(rights(everything(came), length=length, padded=False)), flags=came.flags | MSG_CTRUNC)

    return forge


def beyond(extra: int, bait: Sequence[int]) -> Forge:
    """A cmsg_len ``extra`` bytes beyond msg_controllen, without a flag. Behind msg_controllen there is ``bait``."""

    def forge(came: Came) -> Shown:
        whole = rights(everything(came), length=LINUX.length(INT * len(came.fds)) + extra, padded=False)
        return Shown((*whole, LINUX.ints(bait)), told=size_of(whole))

    return forge


def untold(bait: Sequence[int], data: bytes | None = None) -> Forge:
    """A msg_controllen of 0, although a sound SCM_RIGHTS with ``bait`` is in the buffer. What came is closed.

    ``data`` in place of the data that came; none looks like the end of a stream.
    """
    return lambda _came: Shown((LINUX.rights(bait),), told=0, data=data)


class Behind(enum.StrEnum):
    """What stands behind a header that tells a wrong length."""

    NUMBERS = "numbers"
    """Its data."""
    MESSAGE = "message"
    """At once a sound message."""
    NOTHING = "nothing"
    """msg_controllen is the header alone; its data are in the buffer."""


def first_tells(length: int, bait: Sequence[int], behind: Behind = Behind.NUMBERS) -> Forge:
    """A first cmsg_len of ``length``, no sound one, and ``bait`` behind the header. What came is closed."""
    bare, told = header(length), HEADER if behind is Behind.NOTHING else None
    numbers = LINUX.rights(bait) if behind is Behind.MESSAGE else LINUX.rights(bait)[HEADER:]
    return lambda _came: Shown((bare, numbers), told=told)


def second_tells(length: int, bait: Sequence[int], behind: Behind = Behind.NUMBERS) -> Forge:
    """All that came in a sound SCM_RIGHTS, then one whose cmsg_len is ``length``, no sound one, with ``bait``."""

    def forge(came: Came) -> Shown:
        whole, damaged = rights(everything(came)), first_tells(length, bait, behind)(came)
        return Shown((*whole, *damaged.control), told=None if damaged.told is None else size_of(whole) + damaged.told)

    return forge


# --- data of a control message ----------------------------------------------------------------------------------------


def half_int(size: int, bait: int) -> Forge:
    """All that came, and the first ``size`` bytes of the number ``bait`` as part of it; its other bytes are the padding."""

    def forge(came: Came) -> Shown:
        told = LINUX.length(INT * len(came.fds)) + size
        chunks = rights(everything(came), length=told, padded=False)
        return Shown(_aligned([*chunks, LINUX.ints([bait])]))

    return forge


def part_of_int(size: int, bait: int) -> Forge:
    """An SCM_RIGHTS with the first ``size`` bytes of ``bait`` alone. What came is closed."""
    return lambda _came: Shown((LINUX.rights([bait], length=HEADER + size),))


def negative(front: Sequence[int], behind: Sequence[int]) -> Forge:
    """All that came, with the negative numbers ``front`` and ``behind`` in the same SCM_RIGHTS."""

    def forge(came: Came) -> Shown:
        count = len(front) + len(came.fds) + len(behind)
        head = header(LINUX.length(INT * count))
        return Shown(_aligned([head, LINUX.ints(front), *everything(came), LINUX.ints(behind)]))

    return forge


def twice(came: Came) -> Shown:
    """MSG_CTRUNC, and each number stands there twice."""
    head = header(LINUX.length(2 * INT * len(came.fds)))
    return Shown((head, *everything(came), *everything(came)), flags=came.flags | MSG_CTRUNC)


def _aligned(chunks: Chunks) -> tuple[bytes | int, ...]:
    return (*chunks, b"\0" * (-size_of(chunks) % ALIGN))


# --- the row of control messages --------------------------------------------------------------------------------------


def stray(size: int, bait: Sequence[int]) -> Forge:
    """All that came, and ``size`` bytes behind it, less than a header: the beginning of an SCM_RIGHTS with ``bait``.

    The rest of that lies in the buffer, behind msg_controllen.
    """

    def forge(came: Came) -> Shown:
        whole = rights(everything(came))
        return Shown((*whole, LINUX.rights(bait)), told=size_of(whole) + size)

    return forge


def misaligned(bait: Sequence[int]) -> Forge:
    """All that came, and at CMSG_LEN, without padding, an SCM_RIGHTS with ``bait``. An odd number must have come.

    Where a careful reader looks for the next one, the second half of its header makes the first of one that goes on with its
    first int: `NO_TYPE`, so that it is of no known type.
    """

    def forge(came: Came) -> Shown:
        return Shown((*rights(everything(came), padded=False), LINUX.rights([NO_TYPE, *bait])))

    return forge


def foreign(level: int, kind: int, data: bytes) -> Forge:
    """A control message that is no SCM_RIGHTS in front of all that came, and again behind it."""
    other = LINUX.cmsg(level, kind, data)
    return lambda came: Shown((other, *rights(everything(came)), other))


def split(*counts: int, between: bytes = b"") -> Forge:
    """What came in several SCM_RIGHTS of so many descriptors, with ``between`` between them; a count may be 0."""

    def forge(came: Came) -> Shown:
        chunks: Chunks = []
        at = 0
        for count in counts:
            chunks += [*([between] if chunks else []), *rights(everything(came)[at : at + count])]
            at += count
        return Shown(tuple(chunks))

    return forge


# --- flags, and what came with them -----------------------------------------------------------------------------------


def flagged(came: Came) -> Shown:
    """All that came, and MSG_CTRUNC."""
    return Shown(tuple(rights(everything(came))), flags=came.flags | MSG_CTRUNC)


def short(count: int) -> Forge:
    """The first ``count`` of what came, as if no more had been sent: the others are closed, and no flag tells."""
    return lambda came: Shown(tuple(rights(everything(came)[:count])))


def flag_alone(came: Came) -> Shown:
    """MSG_CTRUNC, and no control data at all."""
    return Shown(flags=came.flags | MSG_CTRUNC)


def no_data(came: Came) -> Shown:
    """All that came, and a length of 0, which is the end of file on a stream."""
    return Shown(tuple(rights(everything(came))), data=b"")
