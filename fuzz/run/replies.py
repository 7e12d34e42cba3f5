"""What a testee's reply shows: results and errors of every profile with calls that return, in one form."""

from __future__ import annotations

import struct
from collections.abc import Callable

from msgspec import Struct

from ...conformance.layout import Layout, Malformed
from ...conformance.model import flags as f
from ...conformance.observations import number_or_minus_one
from ...impls.constants import CONSTANTS, errno_name
from ...impls.protocol import Reply
from ...impls.protocol.results import ErrorReply, FdResult, RawResult, RecvFdsResult, RecvmsgResult, SentResult
from ...impls.protocol.values import ControlMessage, NameOrNumber, ints_of
from .shown import Control, Shown

SCM_PIDFD = 4
MODEL_LAYOUT = Layout(8, 16, 8, 4, "little")
"""The layout for which the model knows what msg_controllen means."""
RIGHTS = (f.SOL_SOCKET, f.SCM_RIGHTS)
_PIDFD = (f.SOL_SOCKET, SCM_PIDFD)
_OPEN = struct.pack("=i", 0)
"""What stands for the number of a pidfd that came: numbers are the testee's own affair."""


class Got(Struct):
    """A reply taken apart: what it shows but for the descriptors, and their numbers. ``fd``: one that was opened."""

    shown: Shown
    fds: list[int]
    pidfds: list[int]
    fd: int = -1


def got(reply: Reply, layout: Layout | None = None) -> Got:
    """Return what a reply shows; ``layout`` of control data that a testee of profile raw has received. Raises `Malformed`."""
    error = reply.error
    found = _result(reply.result if error is None else error.observed, layout)
    return found if error is None else _with_error(found, error)


def _with_error(found: Got, error: ErrorReply) -> Got:
    shown = found.shown
    name = errno_name(error.errno) or ""
    made = Shown(
        None, name, error.type or "?", error.message, shown.data, flags=shown.flags, control=shown.control
    )  # an error has a type, whatever the testee says
    return Got(made, found.fds, found.pidfds)


def _result(result: object, layout: Layout | None) -> Got:
    make = _RESULTS.get(type(result))
    return Got(Shown(), [], []) if make is None else make(result, layout)


def _sent(result: SentResult, _: Layout | None) -> Got:
    return Got(Shown(value=result.sent), [], [])


def _opened(result: FdResult, _: Layout | None) -> Got:
    return Got(Shown(), [], [], result.fd)


def _fds(result: RecvFdsResult, _: Layout | None) -> Got:
    data = tuple(map(bytes.fromhex, result.buffers))
    return Got(Shown(data=data, flags=bits_of(result.flags)), list(result.fds), [])


def _message(result: RecvmsgResult, _: Layout | None) -> Got:
    fds: list[int] = []
    pidfds: list[int] = []
    others: list[Control] = []
    for one in result.ancillary:
        sort(*_of(one), fds, pidfds, others)
    shown = Shown(
        data=tuple(map(bytes.fromhex, result.buffers)),
        flags=bits_of(result.flags),
        control=tuple(others),
        controllen=result.control_length,
    )
    return Got(shown, fds, pidfds)


def _of(one: ControlMessage) -> tuple[tuple[int, int], bytes, list[int] | None]:
    data = bytes.fromhex(one.data) if isinstance(one.data, str) else b""
    fds = [fd for fd in one.fds if isinstance(fd, int)] if isinstance(one.fds, list) else None
    return (number_or_minus_one(one.level), number_or_minus_one(one.type)), data, fds


def sort(
    kind: tuple[int, int],
    data: bytes,
    numbers: list[int] | None,
    fds: list[int],
    pidfds: list[int],
    others: list[Control],
) -> None:
    """Put one control message where it belongs."""
    if kind == RIGHTS:
        fds += ints_of(data) if numbers is None else numbers
        return
    if kind == _PIDFD and len(data) == len(_OPEN) and ints_of(data)[0] >= 0:
        pidfds += ints_of(data)
        data = _OPEN
    others.append(Control(*kind, data))


def _raw(result: RawResult, layout: Layout | None) -> Got:
    name = errno_name(result.errno)
    if name is not None:
        return Got(Shown(error=name, kind="errno"), [], [])
    if layout is None or not result.messages:
        return Got(Shown(value=result.returned), [], [])
    one = result.messages[0]
    fds: list[int] = []
    pidfds: list[int] = []
    others: list[Control] = []
    control = bytes.fromhex(one.control)[: one.control_length]
    for message in layout.parse(control):
        sort((message.level, message.type), message.data, None, fds, pidfds, others)
    shown = Shown(
        data=filled(one.iov, result.returned),
        flags=one.flags & 0xFFFFFFFF,
        control=tuple(others),
        controllen=one.control_length if layout == MODEL_LAYOUT else None,
    )
    return Got(shown, fds, pidfds)


UNTOUCHED = b"\xaa"
"""What a raw testee's buffers hold before a call."""


def filled(buffers: list[str], length: int) -> tuple[bytes, ...]:
    """Return what was written into each buffer; one that was written beyond ``length`` comes back whole, and so differs."""
    found: list[bytes] = []
    for text in buffers:
        whole = bytes.fromhex(text)
        part = whole[:length] if length > 0 else b""
        rest = len(whole) - len(part)
        found.append(part if not rest or whole.endswith(UNTOUCHED * rest) else whole)
        length -= len(part)
    return tuple(found)


_BITS: dict[tuple[NameOrNumber, ...], int] = {}


def bits_of(flags: list[NameOrNumber] | None) -> int | None:
    """Return flags by name as bits; a name that nobody knows counts for nothing."""
    if flags is None:
        return None
    key = tuple(flags)
    found = _BITS.get(key)
    if found is None:
        found = 0
        for one in flags:
            found |= one if isinstance(one, int) else CONSTANTS.get(one, 0)
        found &= 0xFFFFFFFF
        if len(_BITS) < 4096:  # a testee can make up as many as it likes
            _BITS[key] = found
    return found


_RESULTS: dict[type, Callable[..., Got]] = {
    SentResult: _sent,
    FdResult: _opened,
    RecvFdsResult: _fds,
    RecvmsgResult: _message,
    RawResult: _raw,
}

__all__ = ["MODEL_LAYOUT", "RIGHTS", "Got", "Malformed", "bits_of", "got", "sort"]
