"""Replies to many steps at once, decoded in one go: `impls.protocol.results` without a type for each operation.

What a step's type calls for is looked at when it is used, and hexadecimal digits when they are made bytes of.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ...conformance.layout import Layout
from ...conformance.observations import number_or_minus_one
from ...impls.constants import errno_name
from ...impls.protocol.results import ErrorReply
from ...impls.protocol.values import NameOrNumber, ints_of
from .replies import MODEL_LAYOUT, RIGHTS, Got, bits_of, sort
from .shown import Control, Shown

UNTOUCHED = "aa" * (1 << 18)
"""What a raw testee's buffers hold before a call, as its digits."""


class Wrong(Exception):
    """A result that is not what the step calls for."""


class Message(Struct):
    """A control message of a result."""

    level: NameOrNumber
    type: NameOrNumber
    data: str | UnsetType = UNSET
    fds: list[int] | UnsetType = UNSET


class RawHeader(Struct):
    """A msghdr after a call."""

    flags: int
    control_length: int
    iov: list[str] = []
    control: str = ""


class Result(Struct):
    """The result of any operation with calls that return."""

    fd: int = -1
    sent: int | UnsetType | None = UNSET
    buffers: list[str] | UnsetType = UNSET
    fds: list[int] = []
    ancillary: list[Message] = []
    flags: list[NameOrNumber] | None = None
    control_length: int | None = None
    returned: int | UnsetType = UNSET
    errno: NameOrNumber | None = None
    messages: list[RawHeader] = []


class Step(Struct):
    """The reply to one step."""

    result: Result | UnsetType = UNSET
    error: ErrorReply | UnsetType = UNSET
    unsupported: str | UnsetType = UNSET


class Replies(Struct):
    """The result of ``steps``."""

    replies: list[Step]


DECODER = msgspec.json.Decoder(Replies)
_NOTHING = Shown()


def got(step: Step, layout: Layout | None) -> Got:
    """Return what a step shows; ``layout`` of control data that a testee of profile raw has received.

    Raises ValueError, msgspec.ValidationError and Malformed.
    """
    result, error = step.result, step.error
    if error is UNSET:
        return Got(_NOTHING, [], []) if result is UNSET else _of(result, layout)
    name = errno_name(error.errno) or ""
    if error.observed is None:
        return Got(Shown(None, name, error.type or "?", error.message), [], [])
    found = _of(msgspec.convert(error.observed, Result), layout)
    seen = found.shown
    shown = Shown(None, name, error.type or "?", error.message, seen.data, flags=seen.flags, control=seen.control)
    return Got(shown, found.fds, found.pidfds)


def _of(result: Result, layout: Layout | None) -> Got:
    if result.sent is not UNSET:
        return Got(Shown(result.sent), [], [])
    if result.returned is not UNSET:
        return _raw(result, result.returned, layout)
    if result.buffers is UNSET:
        return Got(_NOTHING, [], [])
    data = tuple(map(bytes.fromhex, result.buffers))
    flags = None if result.flags is None else bits_of(result.flags) if result.flags else 0
    if not result.ancillary:
        return Got(Shown(data=data, flags=flags, controllen=result.control_length), result.fds, [])
    fds, pidfds, others = _sorted(result.ancillary)
    shown = Shown(data=data, flags=flags, control=others, controllen=result.control_length)
    return Got(shown, fds, pidfds)


def _sorted(messages: list[Message]) -> tuple[list[int], list[int], tuple[Control, ...]]:
    fds: list[int] = []
    pidfds: list[int] = []
    others: list[Control] = []
    for one in messages:
        if one.type == "SCM_RIGHTS" and one.level == "SOL_SOCKET" and one.fds is not UNSET:
            fds += one.fds
            continue
        data = b"" if one.data is UNSET else bytes.fromhex(one.data)
        kind = number_or_minus_one(one.level), number_or_minus_one(one.type)
        sort(kind, data, None if one.fds is UNSET else one.fds, fds, pidfds, others)
    return fds, pidfds, tuple(others)


def _raw(result: Result, returned: int, layout: Layout | None) -> Got:
    if result.errno is not None:
        return Got(Shown(error=errno_name(result.errno) or "?", kind="errno"), [], [])
    if layout is None or not result.messages:
        return Got(Shown(returned), [], [])
    one = result.messages[0]
    fds: list[int] = []
    pidfds: list[int] = []
    others: list[Control] = []
    length = one.control_length
    if length:
        for message in layout.parse(bytes.fromhex(one.control[: 2 * length])):
            kind = message.level, message.type
            if kind == RIGHTS:
                fds += ints_of(message.data)
            else:
                sort(kind, message.data, None, fds, pidfds, others)
    shown = Shown(
        data=filled(one.iov, returned),
        flags=one.flags & 0xFFFFFFFF,
        control=tuple(others),
        controllen=length if layout == MODEL_LAYOUT else None,
    )
    return Got(shown, fds, pidfds)


def filled(buffers: list[str], length: int) -> tuple[bytes, ...]:
    """Return what was written into each buffer; one that was written beyond ``length`` comes back whole, and so differs."""
    found: list[bytes] = []
    for text in buffers:
        digits = 2 * length
        clean = UNTOUCHED.startswith(text[digits:])
        part = bytes.fromhex(text[:digits] if clean else text)
        found.append(part)
        length = max(0, length - len(part))
    return tuple(found)
