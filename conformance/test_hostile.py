"""Control data as no Linux kernel writes it: other systems' habits, and a kernel that lies (area ``hostile``).

The peer really sends, and the descriptors that an image shows are really installed. Bait are numbers that the testee has open
anyway, at places that nobody may believe: the census sees when they are closed, and the cases when they are handed over.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from fdspec.conformance.interpose import forge
from fdspec.conformance.interpose.forge import HUGE, Behind, Forge, believable, fitted
from fdspec.conformance.interpose.held import Held
from fdspec.conformance.interpose.kernel import CLOSE, Kernel
from fdspec.conformance.interpose.perform import LINUX, Came, Shown
from fdspec.conformance.link import CallLink
from fdspec.conformance.objects import Objects, Thing
from fdspec.conformance.observations import Received
from fdspec.conformance.phrases import numbers
from fdspec.conformance.suite import DESCRIPTORS, MAY, MUST, STREAM, case

DATA = b"x"
ROOM = 32
"""Descriptors: so much that every image fits whose place in the buffer does not matter."""
BEHIND = [Behind.NUMBERS, Behind.MESSAGE]
MACOS_SENT = 15
"""Makes a cmsg_len of 76."""


@dataclass(frozen=True)
class Play:
    """What the implementation made of an image: ``readable`` is what a careful reader finds in it."""

    got: Received
    readable: list[Thing]

    def exact(self) -> None:
        """Nothing is wrong with the image: all of it is handed over."""
        assert not self.got.failed
        assert self.got.data == DATA
        assert self.got.things == self.readable

    def sound(self) -> None:
        """The image contradicts itself: what can be read of it is handed over, or less of it with a sign."""
        got, readable = self.got, self.readable
        assert got.failed or got.data == DATA
        assert got.things == readable[: len(got.things)], f"no more than {readable} can be read: {got}"
        assert got.things == readable or got.lost_descriptors_visible, f"without a sign: {got}, not {readable}"


def play(
    link: CallLink,
    kernel: Kernel,
    things: Sequence[Thing],
    make: Forge,
    *,
    room: int = ROOM,
    installed: bool = False,
) -> Play:
    """Let the peer send ``things``, and the implementation receive what ``make`` shows of them.

    What is ``installed`` and shown nowhere cannot be known to it. The bench closes that in the end.
    """
    shown: list[Shown] = []

    def show(came: Came, held: Held) -> Shown:
        want = held.wanted
        shown.append(fitted(make(came), want.control_length if want.control else 0, installed=installed))
        return shown[-1]

    kernel.shows(show)
    link.peer.send(DATA, numbers(things))
    got = link.receive(16, room=room)
    unknown = kernel.untold
    assert set(got.fds).isdisjoint(unknown), f"numbers that stand nowhere were handed over: {got.fds}"
    closed = [number for number in unknown if link.table.identity(number) is None]
    assert not closed, f"descriptors whose numbers stand nowhere were closed: {closed}"
    return Play(got, [things[index] for image in shown for index in believable(image)])


def bait(link: CallLink, objects: Objects, count: int = 2) -> list[int]:
    """Return numbers of descriptors that the testee has open, and that nobody sends it."""
    return link.open(*objects.files(count))


def follow(link: CallLink, objects: Objects) -> None:
    """See that the next message is received as ever."""
    file = objects.file()
    link.peer.send(b"next", [file.fd])
    got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"next", [file])


# --- cmsg_len against the buffer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("installed", [False, True], ids=["closed", "installed"])
@pytest.mark.parametrize("room", [1, 2, 5])
@case("hostile.untruncated", level=MUST, checks="HC01 LC01 LC03", types=[STREAM])
def test_untruncated(link: CallLink, objects: Objects, kernel: Kernel, room: int, installed: bool) -> None:
    """MSG_CTRUNC with a cmsg_len of all that was sent (macOS): what is in the buffer is handed over or closed, the loss shows."""
    files = objects.files(MACOS_SENT)
    seen = play(link, kernel, files, forge.untruncated(), room=room, installed=installed)
    seen.sound()
    assert seen.got.lost_descriptors_visible, f"without a sign of the loss: {seen.got}"
    follow(link, objects)


@pytest.mark.parametrize("length", [2**31, 2**32 + 20, 2**63, 2**64 - 1])
@case("hostile.untruncated-huge", level=MUST, checks="HC01 LC01 LC03", types=[STREAM])
def test_untruncated_huge(link: CallLink, objects: Objects, kernel: Kernel, length: int) -> None:
    """MSG_CTRUNC with a cmsg_len beyond any memory: what lies in the buffer is handed over or closed, and the loss shows."""
    seen = play(link, kernel, objects.files(8), forge.untruncated(length), room=4)
    seen.sound()
    assert seen.got.lost_descriptors_visible, f"without a sign of the loss: {seen.got}"


@pytest.mark.parametrize("extra", [1, 4, 8, 1024, 2**20])
@case("hostile.overlong", level=MUST, checks="HC01 HC07 LC01", types=[STREAM])
def test_overlong(link: CallLink, objects: Objects, kernel: Kernel, extra: int) -> None:
    """A cmsg_len beyond msg_controllen, unflagged: nothing behind the end is believed, what is in front is not leaked."""
    play(link, kernel, objects.files(2), forge.beyond(extra, bait(link, objects))).sound()


@case("hostile.room-untold", level=MUST, checks="HC01")
def test_room_untold(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """msg_controllen is 0: there is no control message, whatever the buffer holds."""
    play(link, kernel, objects.files(1), forge.untold(bait(link, objects))).sound()


@case("hostile.end-with-control", level=MUST, checks="HC01 LC02", types=[STREAM])
def test_end_with_control(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """A length of 0 and a msg_controllen of 0, the end of a stream: no control message, whatever the buffer holds."""
    got = play(link, kernel, objects.files(1), forge.untold(bait(link, objects), b"")).got
    assert (got.data, got.fds) == (b"", [])


@pytest.mark.parametrize("behind", BEHIND)
@case("hostile.zero-length", level=MUST, checks="HC02 HC07", types=[STREAM])
def test_zero_length(link: CallLink, objects: Objects, kernel: Kernel, behind: Behind) -> None:
    """A cmsg_len of 0 ends the reading: neither what follows the header nor a message there is believed."""
    play(link, kernel, objects.files(1), forge.first_tells(0, bait(link, objects), behind)).sound()
    follow(link, objects)


@pytest.mark.parametrize("length", [1, 4, 8, 12, 15])
@case("hostile.below-header", level=MUST, checks="HC02 HC07", types=[STREAM])
def test_below_header(link: CallLink, objects: Objects, kernel: Kernel, length: int) -> None:
    """A cmsg_len smaller than a header ends the reading: nothing that follows is believed."""
    play(link, kernel, objects.files(1), forge.first_tells(length, bait(link, objects))).sound()


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("length", [0, 1, 8, 15])
@case("hostile.second-damaged", level=MUST, checks="HC02 HC05 HC07 LC01", types=[STREAM])
def test_second_damaged(link: CallLink, objects: Objects, kernel: Kernel, length: int, behind: Behind) -> None:
    """A sound message and then a cmsg_len below the header: the first's descriptors are handed over or closed, no others."""
    play(link, kernel, objects.files(3), forge.second_tells(length, bait(link, objects), behind)).sound()
    follow(link, objects)


@pytest.mark.parametrize("length", HUGE)
@case("hostile.huge-first", level=MUST, checks="HC01 HC07", types=[STREAM])
def test_huge_first(link: CallLink, objects: Objects, kernel: Kernel, length: int) -> None:
    """A header with a cmsg_len beyond any memory, and no more: nothing is handed over, and nothing hangs or dies."""
    make = forge.first_tells(length, bait(link, objects), Behind.NOTHING)
    play(link, kernel, objects.files(1), make).sound()


@pytest.mark.parametrize("length", HUGE)
@case("hostile.huge-second", level=MUST, checks="HC01 HC05 HC07 LC01", types=[STREAM])
def test_huge_second(link: CallLink, objects: Objects, kernel: Kernel, length: int) -> None:
    """A sound message, then a header with a cmsg_len beyond any memory: the first's descriptors are handed over or closed."""
    make = forge.second_tells(length, bait(link, objects), Behind.NOTHING)
    play(link, kernel, objects.files(1), make).sound()


# --- data of a control message ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 3])
@case("hostile.part-of-an-int", level=MUST, checks="HC03", types=[STREAM])
def test_part_of_an_int(link: CallLink, objects: Objects, kernel: Kernel, size: int) -> None:
    """An SCM_RIGHTS with less than an int has no descriptor."""
    play(link, kernel, objects.files(1), forge.part_of_int(size, bait(link, objects, 1)[0])).sound()


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 3])
@case("hostile.half-an-int", level=MUST, checks="HC03 LC01", types=[STREAM])
def test_half_an_int(link: CallLink, objects: Objects, kernel: Kernel, size: int, count: int) -> None:
    """Some whole ints and part of another are as many descriptors as there are whole ones."""
    play(link, kernel, objects.files(count), forge.half_int(size, bait(link, objects, 1)[0])).sound()


@pytest.mark.parametrize("front", [[], [-1], [-errno.EACCES, -errno.EPERM]], ids=["behind", "front", "both"])
@case("hostile.refused-slots", level=MUST, checks="HC06 LC01", types=[STREAM])
def test_refused_slots(link: CallLink, objects: Objects, kernel: Kernel, front: list[int]) -> None:
    """Negative numbers beside good ones: the good ones are handed over or closed, and the negative ones are no descriptors.

    Who shows the data of control messages as they are, shows these as well.
    """
    files = objects.files(2)
    got = play(link, kernel, files, forge.negative(front, [-errno.EACCES])).got
    good = [fd for fd in got.fds if fd >= 0]
    things = [thing for thing, fd in zip(got.things, got.fds, strict=True) if fd >= 0]
    assert things == files[: len(good)]
    assert things == files or got.lost_descriptors_visible
    assert link.profile is not DESCRIPTORS or good == got.fds, f"a negative number is no descriptor: {got.fds}"
    assert -errno.EACCES not in [one.fd for one in kernel.calls(CLOSE)]


@case("hostile.refused-alone", level=MUST, checks="HC06", types=[STREAM])
def test_refused_alone(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """An SCM_RIGHTS with nothing but a negative number has no descriptor."""
    got = play(link, kernel, [], forge.negative([-errno.EACCES], [])).got
    assert not [fd for fd in got.fds if fd >= 0]
    assert link.profile is not DESCRIPTORS or not got.fds, f"a negative number is no descriptor: {got.fds}"
    assert -errno.EACCES not in [one.fd for one in kernel.calls(CLOSE)]
    follow(link, objects)


@case("hostile.number-twice", level=MAY, checks="LC02", types=[STREAM])
def test_number_twice(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """One number that stands there twice, with MSG_CTRUNC, is one descriptor: handed over, or closed once."""
    files = objects.files(1)
    got = play(link, kernel, files, forge.twice).got
    assert got.things in ([], files, files * 2)
    assert kernel.closed_in_vain == []


# --- the row of control messages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, forge.HEADER))
@case("hostile.stray-bytes", level=MUST, checks="HC04 HC05 LC01", types=[STREAM])
def test_stray_bytes(link: CallLink, objects: Objects, kernel: Kernel, size: int) -> None:
    """Less than a header behind the last message is none, although the buffer goes on as if it were one."""
    play(link, kernel, objects.files(2), forge.stray(size, bait(link, objects))).exact()


@pytest.mark.parametrize("count", [1, 3])
@case("hostile.misaligned", level=MUST, checks="HC04 HC05 HC07", types=[STREAM])
def test_misaligned(link: CallLink, objects: Objects, kernel: Kernel, count: int) -> None:
    """A header right behind the data of an odd number of descriptors, without padding, is not the next one."""
    play(link, kernel, objects.files(count), forge.misaligned(bait(link, objects))).sound()


FOREIGN = {
    "inet6": (41, 1, 2),
    "ip": (0, 1, 2),
    "other-systems-level": (0xFFFF, 1, 2),
    "negative-level": (-1, 1, 1),
    "credentials": (1, 2, 3),
    "no-credentials": (1, 2, 1),
    "security": (1, 3, 2),
    "unknown": (1, 0x7F, 4),
    "type-with-low-byte": (1, 0x101, 2),
}
"""Level, type and how many ints."""


@pytest.mark.parametrize(("level", "kind", "count"), FOREIGN.values(), ids=FOREIGN)
@case("hostile.foreign-message", level=MUST, checks="LC02 LC07", types=[STREAM])
def test_foreign_message(link: CallLink, objects: Objects, kernel: Kernel, level: int, kind: int, count: int) -> None:
    """Ints in a control message of another level or type are no descriptors; those in the SCM_RIGHTS between are all there."""
    data = LINUX.ints(bait(link, objects, count))
    play(link, kernel, objects.files(2), forge.foreign(level, kind, data)).exact()


@case("hostile.several-rights", level=MUST, checks="LC08 LC01 LC05")
def test_several_rights(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """The descriptors of three SCM_RIGHTS in one message are all handed over, in order."""
    play(link, kernel, objects.files(6), forge.split(1, 2, 3)).exact()


@case("hostile.several-rights-apart", level=MUST, checks="LC07 LC08 LC01", types=[STREAM])
def test_several_rights_apart(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """A control message of another kind between two SCM_RIGHTS hides none of them."""
    between = LINUX.cmsg(41, 50, bytes(20))
    play(link, kernel, objects.files(4), forge.split(3, 1, between=between)).exact()


@pytest.mark.parametrize("counts", [(0, 2), (2, 0), (1, 0, 1)], ids=["first", "last", "between"])
@case("hostile.empty-rights", level=MUST, checks="LC08 LC01", types=[STREAM])
def test_empty_rights(link: CallLink, objects: Objects, kernel: Kernel, counts: tuple[int, ...]) -> None:
    """An SCM_RIGHTS without a descriptor beside others neither hides nor adds one."""
    play(link, kernel, objects.files(2), forge.split(*counts)).exact()


# --- flags, and what came with them -----------------------------------------------------------------------------------


@case("hostile.flag-without-loss", level=MUST, checks="LC01 HC07")
def test_flag_without_loss(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """MSG_CTRUNC although everything came: it is handed over, or closed as the implementation's policy has it; nothing leaks."""
    play(link, kernel, objects.files(2), forge.flagged).sound()


@case("hostile.loss-without-flag", level=MUST, checks="LC01 LC05", types=[STREAM])
def test_loss_without_flag(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """Two of five descriptors arrive and no flag tells of the others: the two are handed over."""
    play(link, kernel, objects.files(5), forge.short(2)).exact()


@case("hostile.flag-alone", level=MUST, checks="LC03 HC07")
def test_flag_alone(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """MSG_CTRUNC and no control data at all: the caller can tell that something was lost, and has nothing."""
    seen = play(link, kernel, objects.files(2), forge.flag_alone)
    seen.sound()
    assert seen.got.lost_descriptors_visible, f"without a sign of the loss: {seen.got}"
    follow(link, objects)


@case("hostile.no-data", level=MUST, checks="LC01", types=[STREAM])
def test_no_data(link: CallLink, objects: Objects, kernel: Kernel) -> None:
    """Descriptors with a length of 0, which looks like the end of a stream, are handed over or closed."""
    files = objects.files(2)
    got = play(link, kernel, files, forge.no_data).got
    assert got.things in ([], files)
    assert got.data == b""


@pytest.mark.parametrize("error", ["EAGAIN", "EINTR", "ENOBUFS", "ENOMEM"])
@case("hostile.failure-with-control", level=MUST, checks="KC02 LC13", types=[STREAM])
def test_failure_with_control(link: CallLink, objects: Objects, kernel: Kernel, error: str) -> None:
    """A receive fails and leaves an SCM_RIGHTS in the buffer: it is neither handed over nor closed, and the message stays."""
    numbers_of_others = bait(link, objects)
    kernel.spoils(error, LINUX.rights(numbers_of_others), b"\xee" * 16)
    file = objects.file()
    link.peer.send(DATA, [file.fd])
    got = link.receive(16, room=2)
    if got.failed:
        assert got.fds == []
        got = link.receive(16, room=2)
    assert (got.data, got.things) == (DATA, [file])
