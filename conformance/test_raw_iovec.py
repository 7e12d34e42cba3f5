"""Lists of buffers: gathered, scattered, empty, too many, too long, where no memory is."""

import pytest
from fdspec.conformance.rawmsg import control_of, message, outgoing
from fdspec.conformance.suite import MAY, MUST, PACKETS, RAW, SHOULD, STREAM, case
from fdspec.impls.protocol.values import Memory, Place

MOST = 1024
"""IOV_MAX of Linux (include/uapi/linux/uio.h, UIO_MAXIOV)."""
NULL = Memory(place=Place.NULL)


def biggest(link, beyond=0):
    """Return SSIZE_MAX of the testee, and so much, as a length."""
    return str(2 ** (8 * link.layout.word - 1) - 1 + beyond)


def unsent(link, pipe):
    """Whether nothing was queued, and nobody but the sender holds the pipe's writer."""
    link.close(pipe.writer)
    return link.b.empty and pipe.released


@case("raw-iovec.gather-and-scatter", level=MUST, checks="V01 V07", profiles=[RAW])
def test_gather_and_scatter(link, objects):
    """Sent from five buffers and received into five, empty and null ones among them: the bytes in order, and the descriptor."""
    thing = objects.file()
    sent = link.a.sendmsg([b"ab", b"", b"cde", NULL, b"f"], link.open(thing))
    assert sent.returned == 6
    got = link.b.recvmsg([1, 0, 3, NULL, 2], room=1)
    assert (got.data, got.things) == (b"abcdef", [thing])
    assert got.memory == [b"a", b"", b"bcd", b"", b"ef"]


@case("raw-iovec.most", level=MUST, checks="V04 V11", profiles=[RAW])
def test_as_many_buffers_as_there_may_be(link, objects):
    """1,024 buffers of one byte out, and 1,024 in: taken, in order, with the descriptor."""
    thing = objects.file()
    parts = [bytes([index % 251]) for index in range(MOST)]
    assert link.a.sendmsg(parts, link.open(thing)).returned == MOST
    got = link.b.recvmsg([1] * MOST, room=1)
    assert (got.memory, got.things) == (parts, [thing])


@case("raw-iovec.one-too-many", level=MUST, checks="V04 L05", profiles=[RAW])
def test_one_buffer_too_many(link, objects):
    """1,025 buffers: EMSGSIZE in both directions; nothing is sent and no reference kept, nothing is consumed."""
    pipe, thing = link.pipe(), objects.file()
    assert link.a.sendmsg([b"x"] * (MOST + 1), [pipe.writer]).errno == "EMSGSIZE"
    assert unsent(link, pipe)
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg([1] * (MOST + 1), room=1)
    assert (got.errno, got.fds) == ("EMSGSIZE", [])
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things) == (b"x", [thing])


@case("raw-iovec.one-too-many-for-readv", level=MUST, checks="V04b", profiles=[RAW])
def test_one_buffer_too_many_for_readv_and_writev(link, objects):
    """Readv and writev with 1,025 buffers: EINVAL; nothing is sent, and what waits stays with its descriptor."""
    thing = objects.file()
    assert link.a.call("writev", iov=[Memory(data="00")] * (MOST + 1)).errno == "EINVAL"
    assert link.b.empty
    link.a.sendmsg(b"x", link.open(thing))
    assert link.b.call("readv", iov=[Memory(size=1)] * (MOST + 1)).errno == "EINVAL"
    assert link.b.recvmsg(room=1).things == [thing]


@case("raw-iovec.count-beyond-any-limit", level=MUST, checks="V05 L05", profiles=[RAW], needs=["protection"])
def test_a_count_beyond_any_limit(link):
    """msg_iovlen of SIZE_MAX: EMSGSIZE, nothing is sent, no reference is kept."""
    pipe = link.pipe()
    most = str(2 ** (8 * link.layout.word) - 1)
    assert link.a.sendmsg(b"x", [pipe.writer], iov_length=most).errno == "EMSGSIZE"
    assert unsent(link, pipe)


@case("raw-iovec.longer-than-ssize", level=MUST, checks="V06 L05", profiles=[RAW], needs=["protection"])
@pytest.mark.parametrize("position", [0, 1])
def test_a_buffer_longer_than_ssize_max(link, position):
    """One iov_len of SSIZE_MAX + 1, first or second in the list: EINVAL, nothing is sent, no reference is kept."""
    pipe = link.pipe()
    parts = [Memory(data="00"), Memory(data="00")]
    parts[position] = Memory(data="00", length=biggest(link, 1))
    assert link.a.sendmsg(parts, [pipe.writer]).errno == "EINVAL"
    assert unsent(link, pipe)


@case("raw-iovec.sum-beyond-ssize", level=SHOULD, checks="V06b L05", profiles=[RAW], needs=["protection"])
def test_lengths_that_overflow_in_their_sum(link):
    """Two iov_len of SSIZE_MAX: refused, as EINVAL or because the memory is not there; nothing is sent."""
    pipe = link.pipe()
    parts = [Memory(data="00", place=Place.THEN_UNMAPPED, split=1, length=biggest(link))] * 2
    link.outcome = link.a.sendmsg(parts, [pipe.writer]).errno or "accepted"
    assert link.outcome in ("EINVAL", "EFAULT", "EMSGSIZE", "ENOBUFS", "ENOMEM")
    assert unsent(link, pipe)


@case("raw-iovec.receive-beyond-int", level=MAY, checks="V06c", profiles=[RAW], needs=["protection"])
def test_receive_buffers_beyond_int_max(link, objects):
    """Receive buffers that claim 1 GiB each, three of them: a message of one byte is delivered with its descriptor."""
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    parts = [Memory(size=16, length=1 << 30)] * 3
    got = link.b.recvmsg(parts, room=1)
    assert (got.errno, got.returned, got.things) == (None, 1, [thing])
    assert got.memory[0][:1] == b"x"


@case("raw-iovec.null-with-length", level=MUST, checks="V07b L05", profiles=[RAW], needs=["protection"])
def test_a_null_buffer_with_a_length(link):
    """A null pointer with a length of 8: EFAULT, nothing is sent, no reference is kept."""
    pipe = link.pipe()
    assert link.a.sendmsg([Memory(place=Place.NULL, length=8)], [pipe.writer]).errno == "EFAULT"
    assert unsent(link, pipe)


@case("raw-iovec.list-that-cannot-be-read", level=MUST, checks="V08 L05", profiles=[RAW], needs=["protection"])
def test_a_list_that_cannot_be_read(link, objects):
    """The array of iovecs lies where no memory is: EFAULT; nothing is sent and no reference kept, nothing is consumed."""
    pipe, thing = link.pipe(), objects.file()
    assert link.a.sendmsg(b"x", [pipe.writer], iov_place=Place.UNMAPPED).errno == "EFAULT"
    assert unsent(link, pipe)
    link.a.sendmsg(b"x", link.open(thing))
    assert link.b.recvmsg(room=1, iov_place=Place.UNMAPPED).errno == "EFAULT"
    assert link.b.recvmsg(room=1).things == [thing]


@case("raw-iovec.fault-in-the-second-buffer", level=MUST, checks="V09 L05", profiles=[RAW], needs=["protection"])
def test_a_send_that_faults_in_its_second_buffer(link):
    """The first buffer can be read, the second cannot: EFAULT, nothing is queued, no reference is kept."""
    pipe = link.pipe()
    sent = link.a.sendmsg([b"first", Memory(size=8, place=Place.UNMAPPED)], [pipe.writer])
    assert sent.errno == "EFAULT"
    assert unsent(link, pipe)


@case("raw-iovec.overlapping", level=SHOULD, checks="V10", profiles=[RAW])
def test_overlapping_receive_buffers(link, objects):
    """Two receive buffers that overlap by two bytes: filled in order, so that the second overwrites."""
    thing = objects.file()
    link.a.sendmsg(b"abcdefgh", link.open(thing))
    got = link.b.recvmsg([Memory(size=6), Memory(size=4, within=0, offset=2)], room=1)
    assert (got.returned, got.things) == (8, [thing])
    assert got.memory[0] == b"abghef"


@case("raw-iovec.nothing-else-changes", level=MUST, checks="V12", profiles=[RAW])
def test_a_receive_changes_nothing_else(link, objects):
    """After a receive the array of iovecs, all pointers and msg_iovlen are what they were."""
    link.a.sendmsg(b"abcdef", link.open(objects.file()))
    got = link.b.recvmsg([2, 2, 8], room=1)
    assert got.data == b"abcdef"
    assert got.changed <= {"msg_controllen", "msg_flags", "msg_namelen", "control"}


@case("raw-iovec.one-buffer-several-times", level=MUST, checks="V13", profiles=[RAW])
def test_one_buffer_several_times(link, objects):
    """The same memory three times in the list to send: its bytes three times."""
    thing = objects.file()
    again = Memory(size=2, within=0)
    assert link.a.sendmsg([Memory(data=b"ab".hex()), again, again], link.open(thing)).returned == 6
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things) == (b"ababab", [thing])


@case("raw-iovec.packet-too-big", level=MUST, checks="V14", profiles=[RAW], types=PACKETS)
def test_a_packet_bigger_than_the_buffers(link, objects):
    """A packet of ten bytes into buffers of two and three: five bytes, MSG_TRUNC, the descriptor; the rest is gone."""
    thing = objects.file()
    link.a.sendmsg(b"0123456789", link.open(thing))
    got = link.b.recvmsg([2, 3], room=1)
    assert (got.memory, got.things, got.has("MSG_TRUNC")) == ([b"01", b"234"], [thing], True)
    assert link.b.empty


@case(
    "raw-iovec.stream-into-no-memory",
    level=MUST,
    checks="V16 R08",
    profiles=[RAW],
    types=[STREAM],
    needs=["protection"],
)
def test_a_stream_receive_into_no_memory(link, objects):
    """The buffer runs into unmapped memory: EFAULT; the next receive has all the data, and the descriptor."""
    thing = objects.file()
    link.a.sendmsg(b"abcdef", link.open(thing))
    got = link.b.recvmsg([Memory(size=6, place=Place.THEN_UNMAPPED, split=3)], room=1)
    assert (got.errno, got.fds) == ("EFAULT", [])
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things) == (b"abcdef", [thing])


@case(
    "raw-iovec.packet-into-no-memory",
    level=SHOULD,
    checks="V16b R08",
    profiles=[RAW],
    types=PACKETS,
    needs=["protection"],
)
def test_a_packet_receive_into_no_memory(link):
    """The buffer runs into unmapped memory: EFAULT; the packet is gone and its descriptor closed, or both are still there."""
    pipe = link.pipe()
    link.a.sendmsg(b"abcdef", [pipe.writer])
    link.close(pipe.writer)
    got = link.b.recvmsg([Memory(size=6, place=Place.THEN_UNMAPPED, split=3)], room=1)
    assert (got.errno, got.fds) == ("EFAULT", [])
    link.outcome = "lost" if link.b.empty else "kept"
    assert pipe.released == (link.outcome == "lost")


@case("raw-iovec.most-messages", level=SHOULD, checks="M07", profiles=[RAW], needs=["many"])
def test_the_most_messages_of_one_call(link):
    """Sendmmsg with 1,030 messages: at most 1,024 are looked at. On a full queue it stops before, and says how many."""
    link.a.option("SO_SNDBUF", 1 << 22)
    one = message(outgoing(b"x"), control_of(None))
    sent = link.a.sendmmsg([one] * (MOST + 6))
    assert 0 < sent.returned <= MOST
    link.outcome = "capped" if sent.returned == MOST else "queue-was-full"
