"""Which requirement a breach breaks, by what happened: two tables, one for implementations and one for kernels.

What a breach is alone is not enough: a descriptor that is missing beyond the room is another requirement than one that is
missing at RLIMIT_NOFILE. So each has a situation, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from ..judgement import Breach


class Situation(StrEnum):
    """Where a breach shows, as far as requirements tell that apart."""

    RECEIVE = "receive"
    """A receive of the testee."""
    SEND = "send"
    """A send of the testee, by its own reply."""
    ARRIVAL = "arrival"
    """What the peer received, or did not, of what the testee sent."""
    ROOM = "room"
    """More descriptors came than there was room for."""
    LIMIT = "limit"
    """More descriptors came than numbers were free."""
    BESIDE = "beside"
    """Control messages of other kinds came, too."""
    STALE = "stale"
    """Something was received although nothing could be: an earlier message's, say."""
    AGAIN = "again"
    """Something arrived at the peer although nothing could: it was sent twice, or although the send had failed."""
    CUT = "cut"
    """A packet was longer than the buffers."""
    ERRNO = "errno"
    """An error was due, and another was told."""
    OPTIONS = "options"
    """Flags or several buffers were given."""
    FAULT = "fault"
    """A call was made to fail."""
    FORGED = "forged"
    """Control data was forged."""
    ACCOUNT = "account"
    """What is open, and what is not."""


S, B = Situation, Breach

LIBRARY: dict[tuple[Breach, Situation], str] = {
    **{(breach, S.OPTIONS): "LC12" for breach in B},
    (B.IDENTITY, S.RECEIVE): "LC05",
    (B.IDENTITY, S.ARRIVAL): "LC05",
    (B.IDENTITY, S.STALE): "LC15",
    (B.IDENTITY, S.FORGED): "HC01",
    (B.DESCRIPTORS, S.RECEIVE): "LC05",
    (B.DESCRIPTORS, S.ARRIVAL): "LC05",
    (B.DESCRIPTORS, S.AGAIN): "LC10",
    (B.DESCRIPTORS, S.ROOM): "LC04",
    (B.DESCRIPTORS, S.LIMIT): "LC09",
    (B.DESCRIPTORS, S.BESIDE): "LC07",
    (B.DESCRIPTORS, S.STALE): "LC15",
    (B.DESCRIPTORS, S.FAULT): "KC02",
    (B.DESCRIPTORS, S.FORGED): "HC07",
    (B.HIDDEN_LOSS, S.ROOM): "LC03",
    (B.HIDDEN_LOSS, S.LIMIT): "LC09",
    (B.HIDDEN_LOSS, S.BESIDE): "LC07",
    (B.HIDDEN_LOSS, S.CUT): "LC12",
    (B.DATA, S.RECEIVE): "LC15",
    (B.DATA, S.STALE): "LC15",
    (B.DATA, S.ARRIVAL): "LC10",
    (B.DATA, S.AGAIN): "LC10",
    (B.DATA, S.FAULT): "KC02",
    (B.RESULT, S.SEND): "LC10",
    (B.RESULT, S.RECEIVE): "LC12",
    (B.ERROR, S.SEND): "LC11",
    (B.ERROR, S.ARRIVAL): "LC10",
    (B.ERROR, S.RECEIVE): "LC14",
    (B.ERROR, S.BESIDE): "LC07",
    (B.ERROR, S.ERRNO): "LC14",
    (B.FLAGS, S.RECEIVE): "LC03",
    (B.FLAGS, S.ARRIVAL): "LC10",
    (B.CONTROL, S.RECEIVE): "LC07",
    (B.CONTROL, S.ARRIVAL): "LC07",
    (B.CLOEXEC, S.RECEIVE): "LC06",
    (B.CLOEXEC, S.FAULT): "KC04",
    (B.LEAK, S.ACCOUNT): "LC01",
    (B.STRAY_CLOSE, S.ACCOUNT): "LC02",
    (B.STRAY_CLOSE, S.RECEIVE): "LC02",
}
"""Of libraries. The requirements are those of `conformance/requirements`."""

KERNEL: dict[Breach, str] = {
    B.IDENTITY: "S01",
    B.DESCRIPTORS: "T01",
    B.HIDDEN_LOSS: "T01",
    B.DATA: "V01",
    B.RESULT: "S16",
    B.ERROR: "S15",
    B.FLAGS: "T01",
    B.CONTROL: "T01b",
    B.CLOEXEC: "I03",
    B.LEAK: "L07",
    B.STRAY_CLOSE: "L02",
}
"""Of kernels, which a testee of profile raw speaks for."""

USUAL = frozenset(
    {"A14", "A15", "B01", "B02", "B04", "D01", "I02", "I03", "L01", "L02", "L05"}
    | {"M06", "R09", "S01", "S02", "S03", "S08", "S09", "T01b", "V01"}
)
"""Reasons of the model's that nearly every message has."""

OF_THE_PROTOCOL = frozenset({B.CRASH, B.HANG, B.NOISE, B.PROTOCOL})
"""What breaks no requirement but the testee protocol: the breach stands for itself."""


def requirement_of(breach: Breach, situation: Situation, *, raw: bool) -> str:
    """Return the requirement that is broken. Raises KeyError for a pair that no rule of the oracle makes."""
    if breach in OF_THE_PROTOCOL:
        return breach.value
    return KERNEL[breach] if raw else LIBRARY[breach, situation]


def telling(reasons: Iterable[str]) -> str:
    """Return the first reason that says something of this very call; '' where there is none."""
    return next((one for one in reasons if one not in USUAL), "")
