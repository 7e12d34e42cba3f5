"""What a kernel of some personality would have refused though Linux takes it: a pure function of what a testee sends."""

from __future__ import annotations

import struct

from msgspec import Struct

from .personality import Personality
from .personality_rules import HEADER, SCM_RIGHTS, SOL_SOCKET

INT = 4


class SentMessage(Struct, frozen=True):
    """A control message of a send: ``size`` is that of its payload in bytes."""

    level: int
    type: int
    size: int

    @property
    def rights(self) -> bool:
        """Whether it carries descriptors, by its type."""
        return (self.level, self.type) == (SOL_SOCKET, SCM_RIGHTS)

    @property
    def descriptors(self) -> int:
        """How many ints it has, as rights."""
        return self.size // INT if self.rights else 0


class Control(Struct, frozen=True):
    """The control data of a send, as the kernel walks over it.

    ``stray``: bytes behind the last message and its padding, or in all, that are too few for a header. ``malformed``: a length
    below the header's or beyond what is left stopped the walk; Linux refuses that itself.
    """

    messages: tuple[SentMessage, ...] = ()
    stray: int = 0
    malformed: bool = False


class Sent(Struct, frozen=True):
    """A send: its control data, bytes of ``data``, msg_iovlen (``buffers``), ``flags`` of the call, and SOCK_… of the socket."""

    control: Control = Control()
    data: int = 1
    buffers: int = 1
    flags: int = 0
    type: int = 1


def read_control(control: bytes) -> Control:
    """Return what stands in ``control``, msg_controllen long, in Linux's layout."""
    messages: list[SentMessage] = []
    at = 0
    while at + HEADER <= len(control):
        length, level, kind = struct.unpack_from("=Qii", control, at)
        if not HEADER <= length <= len(control) - at:
            return Control(tuple(messages), malformed=True)
        messages.append(SentMessage(level, kind, length - HEADER))
        at += length + 7 & ~7
    return Control(tuple(messages), stray=max(0, len(control) - at))


def admit(personality: Personality, sent: Sent) -> int | None:
    """Return the errno with which ``personality`` refuses ``sent``; None: it does not, or the real kernel has to say.

    Malformed control data is the real kernel's to refuse.
    """
    rules, control = personality.rules, sent.control
    if control.malformed:
        return None
    messages = control.messages
    too_many = rules.too_many
    refusals = (
        (rules.empty_send, sent.buffers == 0),
        (rules.refused_flags_errno, bool(sent.flags & rules.refused_flags)),
        (rules.stray_bytes, control.stray > 0),
        (rules.foreign_level, any(one.level != SOL_SOCKET for one in messages)),
        (rules.only_rights, not all(one.rights for one in messages)),
        (rules.one_message, len(messages) > 1),
        (rules.one_rights, sum(one.rights for one in messages) > 1),
        (too_many.errno if too_many else 0, any(too_many and one.descriptors > too_many.limit for one in messages)),
    )
    return next((number for number, applies in refusals if number and applies), None)
