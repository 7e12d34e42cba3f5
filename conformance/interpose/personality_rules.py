"""The mechanisms by which another kernel's control data differs from Linux's, and what a set of them amounts to.

A table of a personality names effects; each sets fields of `Rules`, which the pure functions of `shape` and `shape_send` follow.
`Rules()` is Linux.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

SOL_SOCKET = 1
SCM_RIGHTS = 1
HEADER = 16
"""sizeof(struct cmsghdr) where the testee was compiled: 64-bit Linux. No personality changes it."""
CTRUNC = 0x8
TRUNC = 0x20
CLOEXEC = 0x40000000

TYPES = {"SCM_RIGHTS": 1, "SCM_CREDENTIALS": 2, "SCM_SECURITY": 3, "SCM_PIDFD": 4, "SCM_INQ": 84}
"""Linux's numbers of the types of control messages at level SOL_SOCKET that AF_UNIX knows."""
FLAGS = {"MSG_OOB": 0x1}
"""Linux's numbers of the flags that a system may refuse."""


class Effect(StrEnum):
    """What a difference consists in: a mechanism that the pure functions carry out."""

    ABSENT = "absent"
    ALIGNMENT = "alignment"
    BYTES_CUT = "bytes-cut"
    WHOLE_OR_NOTHING = "whole-or-nothing"
    UNTRUNCATED_LENGTH = "untruncated-length"
    LENGTH_CUT_TO_ROOM = "length-cut-to-room"
    EXCESS_INSTALLED = "excess-installed"
    DISCARD_INSTALLS = "discard-installs"
    NO_FLAG = "no-flag"
    GROUPS_KEPT = "groups-kept"
    FULL_TABLE = "full-table"
    CONTROL_FAULT = "control-fault"
    CLOEXEC_IGNORED = "cloexec-ignored"
    CLOEXEC_NOT_ECHOED = "cloexec-not-echoed"
    PEEK_ZEROES = "peek-zeroes"
    WITHHELD = "withheld"
    EMPTY_IOVEC = "empty-iovec"
    ONE_MESSAGE = "one-message"
    ONE_RIGHTS = "one-rights"
    ONLY_RIGHTS = "only-rights"
    FOREIGN_LEVEL = "foreign-level"
    STRAY_BYTES = "stray-bytes"
    TOO_MANY = "too-many"
    FLAGS_REFUSED = "flags-refused"


class Cut(StrEnum):
    """Where control data ends that has not enough room."""

    DESCRIPTORS = "descriptors"
    """Behind the last descriptor that fits; any other message at any byte (Linux)."""
    BYTES = "bytes"
    """At whatever byte the room ends, header or half a descriptor."""
    WHOLE = "whole"
    """In front of the first message that does not fit with its padding."""


class Told(StrEnum):
    """What cmsg_len says of a message that was cut."""

    WRITTEN = "written"
    SENT = "sent"
    ROOM = "room"
    """What was sent, or the whole room where that is less, wherever in the room the message lies."""


class Silence(StrEnum):
    """Where a loss sets no MSG_CTRUNC."""

    NEVER = "never"
    NULL = "null"
    """msg_control was null."""
    NO_ROOM = "no-room"
    """That, or not one byte of room was left where the message would have begun."""


class Stays(StrEnum):
    """What a receive that fails leaves for the next one."""

    NOTHING = "nothing"
    DATA = "data"
    """The data without its control messages."""
    MESSAGE = "message"
    """All: as if the call had not been made."""


class Needs(StrEnum):
    """What a caller must have given for the kernel to make descriptors of what came."""

    ALWAYS = "always"
    """Nothing: plain reads as well."""
    POINTER = "pointer"
    """A msg_control that is not null."""
    ROOM = "room"
    """A msg_controllen above 0."""


class Fate(StrEnum):
    """What becomes of descriptors whose numbers cannot be shown."""

    CLOSED = "closed"
    INSTALLED = "installed"


class FullTable(Struct, frozen=True):
    """Without free numbers for all descriptors none is installed and the receive fails."""

    errno: int
    stays: Stays
    needs: Needs


class Fault(Struct, frozen=True):
    """The receive fails where the control buffer cannot be written. With ``stays`` MESSAGE it is looked at first."""

    errno: int
    stays: Stays
    fate: Fate


class TooMany(Struct, frozen=True):
    """More than ``limit`` descriptors in one control message are refused."""

    errno: int
    limit: int


class Rules(Struct, frozen=True):
    """How a kernel shapes and admits control data. The defaults are Linux's; a number is an errno, 0 for no error."""

    align: int = 8
    cut: Cut = Cut.DESCRIPTORS
    told: Told = Told.WRITTEN
    excess: Fate = Fate.CLOSED
    discarded: Fate = Fate.CLOSED
    silence: Silence = Silence.NEVER
    merged: bool = True
    full_table: FullTable | None = None
    fault: Fault | None = None
    cloexec: bool = True
    echo: bool = True
    peek_zeroes: bool = False
    withheld: frozenset[int] = frozenset()
    empty_receive: int = 0
    empty_send: int = 0
    one_message: int = 0
    one_rights: int = 0
    only_rights: int = 0
    foreign_level: int = 0
    stray_bytes: int = 0
    too_many: TooMany | None = None
    refused_flags: int = 0
    refused_flags_errno: int = 0


Text = Annotated[str, Meta(min_length=1)]


class Parameters(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an effect may be told. Each effect takes some of them, and those always."""

    errno: Text | None = None
    stays: Stays | None = None
    needs: Needs | None = None
    descriptors: Fate | None = None
    where: Silence | None = None
    names: list[str] | None = None
    limit: int | None = None
    to: int | None = None

    def given(self) -> frozenset[str]:
        """Return the names of those that are there."""
        return frozenset(name for name in self.__struct_fields__ if getattr(self, name) is not None)


class Wrong(Exception):
    """A parameter whose value means nothing: ``name`` of the parameter, and what is wrong."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


Fields = dict[str, object]


def number_of(name: str | None) -> int:
    """Return the errno that ``name`` is. Raises Wrong for none."""
    found = getattr(errno, name or "", None)
    if not isinstance(found, int):
        raise Wrong("errno", f"{name!r} is no errno")
    return found


def _numbers(given: Parameters, known: dict[str, int]) -> list[int]:
    if not given.names:
        raise Wrong("names", f"at least one of {', '.join(known)} expected")
    for name in given.names or ():
        if name not in known:
            raise Wrong("names", f"{name!r} is none of {', '.join(known)}")
    return [known[name] for name in given.names or ()]


def _full_table(given: Parameters) -> Fields:
    return {"full_table": FullTable(number_of(given.errno), given.stays or Stays.NOTHING, given.needs or Needs.ALWAYS)}


def _fault(given: Parameters) -> Fields:
    fate = given.descriptors or Fate.CLOSED
    if given.stays is Stays.MESSAGE and fate is Fate.INSTALLED:
        raise Wrong("stays", "a message that stays in the queue has no descriptor installed")
    return {"fault": Fault(number_of(given.errno), given.stays or Stays.NOTHING, fate)}


def _align(given: Parameters) -> Fields:
    if given.to not in (1, 2, 4, 8):
        raise Wrong("to", f"an alignment of 1, 2, 4 or 8 expected, {given.to} came")
    return {"align": given.to}


def _too_many(given: Parameters) -> Fields:
    if given.limit is None or given.limit < 1:
        raise Wrong("limit", f"a limit of at least 1 expected, {given.limit} came")
    return {"too_many": TooMany(number_of(given.errno), given.limit)}


def _empty(given: Parameters) -> Fields:
    _numbers(given, {"send": 0, "receive": 0})
    return {f"empty_{call}": number_of(given.errno) for call in given.names or ()}


def _flags(given: Parameters) -> Fields:
    return {"refused_flags": sum(_numbers(given, FLAGS)), "refused_flags_errno": number_of(given.errno)}


def _silence(given: Parameters) -> Fields:
    if given.where is Silence.NEVER:
        raise Wrong("where", "null or no-room expected: a flag that is never missing is no difference")
    return {"silence": given.where}


def _always(**fields: object) -> Callable[[Parameters], Fields]:
    return lambda _given: dict(fields)


def _refusal(field: str) -> Callable[[Parameters], Fields]:
    return lambda given: {field: number_of(given.errno)}


class Mechanism(Struct, frozen=True):
    """What an effect takes, and the fields of `Rules` that it sets."""

    takes: frozenset[str]
    sets: Callable[[Parameters], Fields]


def _takes(*names: str) -> frozenset[str]:
    return frozenset(names)


MECHANISMS: dict[Effect, Mechanism] = {
    Effect.ABSENT: Mechanism(_takes(), _always()),
    Effect.ALIGNMENT: Mechanism(_takes("to"), _align),
    Effect.BYTES_CUT: Mechanism(_takes(), _always(cut=Cut.BYTES)),
    Effect.WHOLE_OR_NOTHING: Mechanism(_takes(), _always(cut=Cut.WHOLE)),
    Effect.UNTRUNCATED_LENGTH: Mechanism(_takes(), _always(told=Told.SENT)),
    Effect.LENGTH_CUT_TO_ROOM: Mechanism(_takes(), _always(told=Told.ROOM)),
    Effect.EXCESS_INSTALLED: Mechanism(_takes(), _always(excess=Fate.INSTALLED)),
    Effect.DISCARD_INSTALLS: Mechanism(_takes(), _always(discarded=Fate.INSTALLED)),
    Effect.NO_FLAG: Mechanism(_takes("where"), _silence),
    Effect.GROUPS_KEPT: Mechanism(_takes(), _always(merged=False)),
    Effect.FULL_TABLE: Mechanism(_takes("errno", "stays", "needs"), _full_table),
    Effect.CONTROL_FAULT: Mechanism(_takes("errno", "stays", "descriptors"), _fault),
    Effect.CLOEXEC_IGNORED: Mechanism(_takes(), _always(cloexec=False)),
    Effect.CLOEXEC_NOT_ECHOED: Mechanism(_takes(), _always(echo=False)),
    Effect.PEEK_ZEROES: Mechanism(_takes(), _always(peek_zeroes=True)),
    Effect.WITHHELD: Mechanism(_takes("names"), lambda given: {"withheld": frozenset(_numbers(given, TYPES))}),
    Effect.EMPTY_IOVEC: Mechanism(_takes("errno", "names"), _empty),
    Effect.ONE_MESSAGE: Mechanism(_takes("errno"), _refusal("one_message")),
    Effect.ONE_RIGHTS: Mechanism(_takes("errno"), _refusal("one_rights")),
    Effect.ONLY_RIGHTS: Mechanism(_takes("errno"), _refusal("only_rights")),
    Effect.FOREIGN_LEVEL: Mechanism(_takes("errno"), _refusal("foreign_level")),
    Effect.STRAY_BYTES: Mechanism(_takes("errno"), _refusal("stray_bytes")),
    Effect.TOO_MANY: Mechanism(_takes("errno", "limit"), _too_many),
    Effect.FLAGS_REFUSED: Mechanism(_takes("errno", "names"), _flags),
}
