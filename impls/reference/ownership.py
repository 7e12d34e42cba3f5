"""Ownership of descriptors: who has a number closes it, once. The ground on which the three layers stand.

The module imports nothing but the standard library; `message` needs it beside itself and hands on its names.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Final, NoReturn, Protocol, Self

__all__ = ["BadDescriptorError", "Descriptor", "HasFileno", "PassingError", "descriptor_number"]

_INT_MAX: Final = 0x7FFFFFFF


class HasFileno(Protocol):
    """Anything that knows its descriptor's number: files, sockets, `Descriptor`."""

    def fileno(self) -> int:
        """Return the number."""
        ...


class PassingError(OSError):
    """A message with descriptors could not be passed. `errno` is what the kernel says, or would have said."""


class BadDescriptorError(PassingError):
    """A number that cannot be a descriptor: below 0 or above INT_MAX (EBADF)."""


class Descriptor:
    """Owner of one descriptor number: closes it once, at the latest when it is forgotten (with a ResourceWarning).

    Raises TypeError for what is no int and `BadDescriptorError` for a number out of range. 0 is a number like any
    other.
    """

    __slots__ = ("__weakref__", "_number")
    _number: int

    def __init__(self, number: int) -> None:
        self._number = -1  # a failure below leaves nothing to close
        self._number = _checked(number)

    @classmethod
    def duplicate(cls, source: int | HasFileno) -> Self:
        """Own a new number, close-on-exec, for what `source` refers to; `source` stays its owner's."""
        return cls(os.dup(descriptor_number(source)))

    @classmethod
    def vacant(cls) -> Self:
        """Return an owner of nothing, in the closed state."""
        descriptor = cls.__new__(cls)
        descriptor._number = -1  # noqa: SLF001 - an instance of this very class
        return descriptor

    @property
    def closed(self) -> bool:
        """Whether it owns nothing any more: closed or detached."""
        return self._number < 0

    def fileno(self) -> int:
        """Return the number; it stays owned here. Raises ValueError when closed or detached."""
        if self._number < 0:
            raise ValueError("this Descriptor is closed or detached and has no number")
        return self._number

    def adopt(self, number: int) -> None:
        """Own `number`, which the caller vouches for. Raises ValueError when something is owned already."""
        if self._number >= 0:
            raise ValueError(f"this Descriptor owns number {self._number} and cannot adopt {number}")
        self._number = number

    def detach(self) -> int:
        """Return the number and give up its ownership. Raises ValueError when closed or detached."""
        number, self._number = self.fileno(), -1
        return number

    def close(self) -> None:
        """Close what is owned, once. An OSError of the system leaves the number gone even so."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # The defaults keep what is needed at hand while the interpreter shuts down.
    def __del__(self, close: Callable[[int], None] = os.close, warn: Callable[..., None] = warnings.warn) -> None:
        number = getattr(self, "_number", -1)  # unset where the arguments of __init__ did not even fit
        if number < 0:
            return
        self._number = -1
        try:
            warn(f"descriptor {number} was forgotten and is closed now", ResourceWarning, stacklevel=2, source=self)
        finally:
            close(number)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Descriptor cannot be copied or pickled: use Descriptor.duplicate()")

    def __repr__(self) -> str:
        return f"<Descriptor {self._number}>" if self._number >= 0 else "<Descriptor closed>"


def descriptor_number(source: int | HasFileno) -> int:
    """Return the number of `source`, an int or an object with fileno().

    Raises TypeError for anything else (True and False included) and `BadDescriptorError` for a number out of range.
    """
    if isinstance(source, int):
        return _checked(source)
    fileno = getattr(source, "fileno", None)
    if fileno is None:
        raise TypeError(f"a descriptor is an int or has a fileno(), not {type(source).__name__}")
    return _checked(fileno())


def _checked(number: object) -> int:
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"a descriptor's number is an int, not {type(number).__name__}")
    if not 0 <= number <= _INT_MAX:
        raise BadDescriptorError(errno.EBADF, f"{number} is not a descriptor's number")
    return number
