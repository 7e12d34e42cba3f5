"""Transports that are shown control data which no sound kernel writes (area ``hand-over-hostile``).

The peer really sends two descriptors; of these as many are installed as the control data shows, so that whatever is not shown is
nobody's to close. A number that stands where none must be looked for is 0: the testee's own.
"""

import errno
import os
import socket

import pytest
from fdspec.conformance.checks import released
from fdspec.conformance.interpose.forge import header, rights
from fdspec.conformance.interpose.held import Fail
from fdspec.conformance.interpose.kernel import CLOSE
from fdspec.conformance.interpose.perform import LINUX, Shown
from fdspec.conformance.phrases import drop
from fdspec.conformance.suite import MUST, STREAM, TRANSPORT, case
from fdspec.conformance.test_transport_faults_receive import PLAIN, gather

REFUSED = LINUX.ints([-13])
"""-EACCES in a descriptor's place."""
FOREIGN = 0x7777
"""A level that means nothing."""
EMPTY = LINUX.header
ONE = LINUX.length(LINUX.int_size)


def told(length, *content):
    """Return an SCM_RIGHTS that tells ``length``, as chunks: indices of what came, and bytes."""
    return [header(length), *content]


def shows(kernel, *chunks, cut=False):
    """Let the next receive see these chunks instead of what came; ``cut``: with MSG_CTRUNC."""

    def show(came, _):
        return Shown(chunks, flags=came.flags | (socket.MSG_CTRUNC if cut else 0))

    kernel.shows(show)


def hand_over(link, objects, kernel, visible):
    """Send two descriptors beside data, and a sound message after it; return what of the first was handed over.

    Of the ``visible`` descriptors any may have been handed over, in order; of others none. What is lost is told, and what
    comes later is whole, unless the connection has ended in an error.
    """
    files = objects.files(2)
    link.peer.send(b"data", [file.fd for file in files])
    got = gather(link, 4, 0)
    assert all(fd >= 0 for fd in got.fds), f"{got.fds} were handed over as descriptors"
    assert got.things == [file for file in files[:visible] if file in got.things], "something else was handed over"
    assert got.data == b"data" or got.error is not None, "the data was lost without a word"
    if got.lost is None:
        [later] = objects.files(1)
        link.peer.send(b"next", [later.fd])
        after = gather(link, 4, 1)
        assert (after.data, after.things) == (b"next", [later])
    assert kernel.closed_in_vain == []
    assert not [call for call in kernel.calls(CLOSE) if call.fd < 0], "a negative number was closed"
    return got


@pytest.mark.parametrize("length", [ONE + 4, ONE + 400, 2**31, 2**63, 2**64 - 8])
@case("hand-over-hostile.longer-than-there", level=MUST, checks="HC01 HC07", profiles=[TRANSPORT], types=[STREAM])
def test_a_cmsg_len_that_goes_too_far(link, objects, kernel, length):
    """cmsg_len tells of more than there is, with MSG_CTRUNC: what is there is handed over or closed, and nothing else is."""
    shows(kernel, *told(length, 0), cut=True)
    hand_over(link, objects, kernel, 1)


@pytest.mark.parametrize("length", [0, 1, 8, 15])
@case("hand-over-hostile.no-header", level=MUST, checks="HC02 HC07", profiles=[TRANSPORT], types=[STREAM])
def test_a_cmsg_len_below_the_header(link, objects, kernel, length):
    """cmsg_len is 0 or less than a header: the reading ends there, and what stands behind it is no descriptor."""
    shows(kernel, *told(length, LINUX.ints([0, 0]), LINUX.rights([0])), cut=True)
    hand_over(link, objects, kernel, 0)


@pytest.mark.parametrize("length", [0, 8, 2**63])
@case("hand-over-hostile.kept-before-damage", level=MUST, checks="HC05 HC02 HC01", profiles=[TRANSPORT], types=[STREAM])
def test_a_sound_one_before_a_damaged_one(link, objects, kernel, length):
    """A sound SCM_RIGHTS and behind it one with an impossible cmsg_len: the first one's descriptor is handed over or closed."""
    fifo = objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    below = (
        LINUX.ints([0, 0]) if length < EMPTY else b""
    )  # of one that is too long, what is there would be read by right
    shows(kernel, *rights([0]), *told(length, below), cut=True)
    link.peer.send(b"data", [writer])
    objects.release(writer)
    got = gather(link, 4, 0)
    assert got.things in ([], [fifo])
    assert got.data == b"data" or got.error is not None
    drop(link, got.fds)
    assert released(fifo), "the descriptor was neither handed over nor closed"
    assert kernel.closed_in_vain == []


@pytest.mark.parametrize("left", [1, 2, 3])
@case("hand-over-hostile.half-an-int", level=MUST, checks="HC03 HC05 HC07", profiles=[TRANSPORT], types=[STREAM])
def test_a_descriptor_and_part_of_another(link, objects, kernel, left):
    """An SCM_RIGHTS holds an int and one to three bytes: the first is a descriptor, which is not lost, the rest is none."""
    shows(kernel, *told(ONE + left, 0, bytes(left)), cut=True)
    hand_over(link, objects, kernel, 1)


@pytest.mark.parametrize("left", [0, 3])
@case("hand-over-hostile.no-int", level=MUST, checks="HC03 HC07", profiles=[TRANSPORT], types=[STREAM])
def test_an_empty_array(link, objects, kernel, left):
    """An SCM_RIGHTS holds nothing, or less than an int: no descriptor is handed over."""
    shows(kernel, *told(EMPTY + left, bytes(left)), cut=True)
    hand_over(link, objects, kernel, 0)


@pytest.mark.parametrize("stray", [b"\1", b"\0" * 7, header(ONE)[:12]])
@case("hand-over-hostile.stray-bytes", level=MUST, checks="HC04 HC05", profiles=[TRANSPORT], types=[STREAM])
def test_bytes_behind_the_last_one(link, objects, kernel, stray):
    """Behind a sound SCM_RIGHTS stand bytes that are no whole header: its descriptor is not lost, and they are none."""
    shows(kernel, *rights([0]), stray)
    hand_over(link, objects, kernel, 1)


@case("hand-over-hostile.unaligned", level=MUST, checks="HC04 HC07", profiles=[TRANSPORT], types=[STREAM])
def test_a_header_where_alignment_puts_none(link, objects, kernel):
    """A second SCM_RIGHTS stands where the first one's data ends, before alignment: what it holds is no descriptor."""
    shows(kernel, *told(ONE, 0, LINUX.rights([0, 0, 0])))
    hand_over(link, objects, kernel, 1)


@pytest.mark.parametrize("first", [True, False])
@case("hand-over-hostile.refused", level=MUST, checks="HC06 HC05", profiles=[TRANSPORT], types=[STREAM])
def test_a_negative_number(link, objects, kernel, first):
    """-EACCES stands in the place of a refused descriptor, before or behind a real one: it is not handed over, nor closed."""
    shows(kernel, *told(ONE + 4, *([REFUSED, 0] if first else [0, REFUSED])), cut=True)
    hand_over(link, objects, kernel, 1)


@case(
    "hand-over-hostile.refused-unwanted",
    level=MUST,
    checks="HC06 TC06",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=PLAIN,
    needs=["plain-receiver"],
)
def test_a_negative_number_that_nobody_takes(link, objects, kernel):
    """A protocol that cannot take descriptors, and one that was refused among them: the real ones are closed, and only they."""
    fifo = objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    shows(kernel, *told(ONE + 4, REFUSED, 0), cut=True)
    link.peer.send(b"data", [writer])
    objects.release(writer)
    got = gather(link, 4, 0)
    assert got.data == b"data" or got.error is not None
    assert not [call for call in kernel.calls(CLOSE) if call.fd < 0], "a negative number was closed"
    assert released(fifo), "the real descriptor is still open"


@case("hand-over-hostile.foreign", level=MUST, checks="LC07 TC10", profiles=[TRANSPORT], types=[STREAM])
def test_the_type_of_rights_on_another_level(link, objects, kernel):
    """A control message of another level has the type of SCM_RIGHTS and a number in it: only the real one is handed over."""
    shows(kernel, LINUX.cmsg(FOREIGN, socket.SCM_RIGHTS, LINUX.ints([0])), *rights([0]))
    got = hand_over(link, objects, kernel, 1)
    assert (got.data, len(got.things)) == (b"data", 1)


@case("hand-over-hostile.two", level=MUST, checks="LC08 HC04", profiles=[TRANSPORT], types=[STREAM])
def test_two_that_linux_would_have_merged(link, objects, kernel):
    """Two SCM_RIGHTS with one descriptor each, as systems write that don't merge them: both are handed over, in order."""
    shows(kernel, *rights([0]), *rights([1]))
    assert len(hand_over(link, objects, kernel, 2).things) == 2


@case("hand-over-hostile.lost-with-errno", level=MUST, checks="HC07 LC09", profiles=[TRANSPORT], types=[STREAM])
def test_a_receive_that_takes_the_message_and_fails(link, objects, kernel):
    """At EMSGSIZE some systems have thrown away what came: the protocol is told of an error, and gets no descriptors of it."""
    kernel.shows(lambda _came, _held: Fail(errno.EMSGSIZE))
    files = objects.files(2)
    link.peer.send(b"data", [file.fd for file in files])
    got = gather(link, 0, 0)
    if got.lost is None:
        got.add(link.events(event="lost", wait=0.1))
    assert (got.data, got.things) == (b"", [])
    assert got.error is not None or "log" in got.order, "a message was lost without a word"
