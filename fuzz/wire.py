"""Bytes of the codec: records apart from each other, and the numbers in one. Reading never fails: what is missing is zero."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby
from typing import TypeVar

END = b"\xfe"
"""Ends a record. It and the escape do not occur within one."""
ESCAPE = b"\xff"
_ESCAPED = re.compile(b"\xff(.?)", re.DOTALL)
_VALUE = TypeVar("_VALUE")
_WIDE = (1 << 64) - 1


def split(data: bytes) -> list[bytes]:
    """Return the records in ``data``, at least one."""
    return [_unescaped(one) if ESCAPE in one else one for one in data.split(END)]


def join(records: Sequence[bytes]) -> bytes:
    """Return the bytes that ``split`` takes apart into ``records``."""
    return END.join(one.replace(ESCAPE, b"\xff\x01").replace(END, b"\xff\x00") for one in records)


def _unescaped(record: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: b"\xff" if match[1] and match[1][0] & 1 else b"\xfe", record)


class Reader:
    """Takes numbers and bytes from a record, in order."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.at >= len(self.data)

    def number(self) -> int:
        """Return an unsigned number of 64 bits (LEB128)."""
        at = self.at
        try:
            found = self.data[at]
        except IndexError:
            return 0
        at += 1
        if found > 0x7F:
            shift, byte, found = 7, found, found & 0x7F
            while byte > 0x7F and shift < 70 and at < len(self.data):
                byte = self.data[at]
                at += 1
                found |= (byte & 0x7F) << shift
                shift += 7
            found &= _WIDE
        self.at = at
        return found

    def signed(self) -> int:
        """Return a signed number of 64 bits (zigzag)."""
        found = self.number()
        return (found >> 1) ^ -(found & 1)

    def bytes(self, length: int) -> bytes:
        """Return so many bytes."""
        found = self.data[self.at : self.at + length]
        self.at += length
        return found if len(found) == length else found.ljust(length, b"\0")


class Writer:
    """Puts together a record that a `Reader` reads."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = bytearray()

    def number(self, value: int) -> None:
        """Write an unsigned number."""
        while value > 0x7F:
            self.data.append(value & 0x7F | 0x80)
            value >>= 7
        self.data.append(value)

    def signed(self, value: int) -> None:
        """Write a signed number."""
        self.number((value << 1) ^ (value >> 63))

    def bytes(self, data: bytes) -> None:
        """Write bytes."""
        self.data += data


def runs(values: Sequence[_VALUE]) -> list[tuple[int, _VALUE]]:
    """Return how often each value stands there in a row, and the value."""
    return [(len(list(same)), value) for value, same in groupby(values)]
