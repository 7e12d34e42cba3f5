"""What cases say often, in one word each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..impls.protocol.messages import Close
from .checks import released
from .link import CallLink, Link
from .objects import Thing
from .peer import MAX_FDS

Message = tuple[bytes, Sequence[Thing]]
"""One message of a stream: its data, and what its descriptors refer to."""


def numbers(things: Iterable[Thing]) -> list[int]:
    """Return the harness's own descriptors of ``things``, in order."""
    return [thing.fd for thing in things]


def most(link: Link, wanted: int = MAX_FDS) -> int:
    """Return how many descriptors one receive can take: ``wanted``, or fewer where a limit is declared."""
    return min(wanted, link.offer.limits.get("descriptors", wanted))


def drop(link: Link, fds: Sequence[int]) -> None:
    """Let the testee close received descriptors, in one round trip if it can.

    Raises AssertionError for one that is not open.
    """
    failed = [one.error for one in link.steps([Close(fd=fd) for fd in fds]) if one.error is not None]
    assert not failed, f"a received descriptor of {list(fds)} is not open: {failed}"  # noqa: S101 - as in a case
    link.received[:] = [fd for fd in link.received if fd not in fds]


def gone(link: Link, fifo: Thing) -> bool:
    """Whether no writing end of ``fifo`` is left in flight; one that the testee holds is the census's business."""
    return fifo.identity in link.table.identities().values() or released(fifo)


def belonging(messages: Sequence[Message], begin: int, end: int) -> list[Thing]:
    """Return what belongs to bytes ``begin`` to ``end`` of a stream: that of the messages that begin there."""
    place = 0
    found: list[Thing] = []
    for data, things in messages:
        if begin <= place < end:
            found += things
        place += len(data)
    return found


def read_stream(link: CallLink, messages: Sequence[Message], size: int, room: int) -> None:
    """Receive all ``messages`` in pieces of at most ``size`` bytes; every piece must bring exactly what belongs to it.

    The socket must be non-blocking, so that lost data is a failure and no hang. Raises AssertionError.
    """
    total = b"".join(data for data, _ in messages)
    place = 0
    while place < len(total):
        got = link.receive(size, room=room)
        assert not got.failed, f"at byte {place} of {len(total)}: {got.error}"  # noqa: S101 - as in a case
        end = place + len(got.data)
        assert place < end, f"the end came after {place} of {len(total)} bytes"  # noqa: S101
        assert got.data == total[place:end], f"other data than was sent at byte {place}"  # noqa: S101
        expected = belonging(messages, place, end)
        assert got.things == expected, f"bytes {place} to {end} brought {got.things}, not {expected}"  # noqa: S101
        drop(link, got.fds)
        place = end
