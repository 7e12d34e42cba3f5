"""How control messages lie in memory: built and read to the letter, for any word size, alignment and byte order.

Nothing here asks the machine it runs on, because the kernel under test may have another layout than the harness (32-bit
programs on a 64-bit kernel, a foreign architecture in an emulator).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..impls.errors import Broken
from ..impls.protocol.capabilities import LAYOUT
from .observations import SCM_RIGHTS, SOL_SOCKET, Cmsg


class Malformed(AssertionError):
    """A control buffer that the kernel wrote does not parse: the message says where."""


@dataclass(frozen=True)
class Layout:
    """``word``, ``header``, ``align`` and ``int_size`` in bytes; ``order`` of the bytes of a number."""

    word: int
    header: int
    align: int
    int_size: int
    order: Literal["little", "big"]

    @classmethod
    def of(cls, limits: Mapping[str, int]) -> Layout:
        """Return the layout that a testee of profile ``raw`` told in ``limits``. Raises `Broken` where it is no layout."""
        missing = [name for name in LAYOUT if name not in limits]
        if missing:
            raise Broken("layout", f"limits of profile raw must tell {', '.join(missing)}")
        word, header, align, size = (limits[name] for name in ("word", "header", "align", "int"))
        if word not in (4, 8) or size != 4 or align not in (1, 2, 4, 8) or header < word + 2 * size:
            raise Broken("layout", f"this is no layout of control messages: {dict(limits)}")
        return cls(word, header, align, size, "big" if limits["big"] else "little")

    def aligned(self, size: int) -> int:
        """CMSG_ALIGN."""
        return -(-size // self.align) * self.align

    def length(self, size: int) -> int:
        """CMSG_LEN: the header and ``size`` bytes of data."""
        return self.header + size

    def space(self, size: int) -> int:
        """CMSG_SPACE: the same with padding up to the next control message."""
        return self.header + self.aligned(size)

    def ints(self, numbers: Iterable[int]) -> bytes:
        """Return ``numbers`` as native ints."""
        return b"".join(number.to_bytes(self.int_size, self.order, signed=True) for number in numbers)

    def read_ints(self, data: bytes) -> list[int]:
        """Return the native ints in ``data``; less than an int at the end is left out."""
        whole = range(0, len(data) - self.int_size + 1, self.int_size)
        return [int.from_bytes(data[at : at + self.int_size], self.order, signed=True) for at in whole]

    def cmsg(self, level: int, kind: int, data: bytes, *, length: int | None = None, padded: bool = True) -> bytes:
        """Return one control message. ``length`` is put into cmsg_len whatever the data; ``padded`` up to CMSG_SPACE."""
        told = self.length(len(data)) if length is None else length
        head = told.to_bytes(self.word, self.order) + self.ints((level, kind))
        whole = head.ljust(self.header, b"\0") + data
        return whole.ljust(self.space(len(data)), b"\0") if padded else whole

    def rights(self, fds: Iterable[int], *, length: int | None = None, padded: bool = True) -> bytes:
        """Return one SCM_RIGHTS control message that carries ``fds``."""
        return self.cmsg(SOL_SOCKET, SCM_RIGHTS, self.ints(fds), length=length, padded=padded)

    def parse(self, control: bytes) -> list[Cmsg]:
        """Return the control messages in ``control``, msg_controllen long, as CMSG_NXTHDR finds them.

        Raises `Malformed` where a header contradicts its buffer: a kernel must not write such a thing.
        """
        found: list[Cmsg] = []
        at = 0
        while at < len(control):
            if len(control) - at < self.header:
                raise Malformed(f"{len(control) - at} stray bytes at {at} of a control buffer of {len(control)}")
            told = int.from_bytes(control[at : at + self.word], self.order)
            if not self.header <= told <= len(control) - at:
                raise Malformed(f"cmsg_len {told} at {at} of a control buffer of {len(control)}")
            level, kind = self.read_ints(control[at + self.word : at + self.word + 2 * self.int_size])
            found.append(Cmsg(level, kind, control[at + self.header : at + told]))
            at += self.aligned(told)
        return found
