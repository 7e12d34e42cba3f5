"""The kernel's rule of truncation, to the letter: what fits, what is flagged, what becomes of the rest."""

import pytest
from fdspec.conformance.raw import SCM_PIDFD
from fdspec.conformance.suite import DGRAM, MUST, PACKETS, RAW, SEQPACKET, SHOULD, STREAM, case
from fdspec.impls.protocol.values import Memory, Place

LENGTHS, COUNTS = range(65), range(21)
BATCH = 105
"""Pairs of a send and a receive in one round trip: divides the 1,365 evenly."""


@case("raw-ctrunc.every-room-and-count", level=MUST, checks="T01 T01b", profiles=[RAW])
def test_every_room_with_every_number_of_descriptors(link, objects):
    """For 65 lengths of the control buffer times 0 to 20 descriptors: how many come, whether MSG_CTRUNC, and both lengths."""
    layout = link.layout
    fds = link.open(*objects.files(len(COUNTS) - 1))
    combinations = [(length, count) for length in LENGTHS for count in COUNTS]
    for first in range(0, len(combinations), BATCH):
        batch = combinations[first : first + BATCH]
        requests = []
        for length, count in batch:
            requests.append(link.a.sending(bytes([length, count]), fds[:count]))
            requests.append(link.b.receiving(control=length, close=True))
        replies = link.many(requests)
        for (length, count), reply in zip(batch, replies[1::2], strict=True):
            (got,) = link.b.got(reply, closed=True)
            room = max(0, length - layout.header) // layout.int_size
            came = min(room, count)
            seen = (got.data, len(got.fds), got.has("MSG_CTRUNC"), got.control_length)
            expected = min(layout.space(4 * came), length) if came else 0
            assert seen == (bytes([length, count]), came, came < count, expected), (length, count)
            assert len(got.cmsgs) == (came > 0), (length, count)


@case("raw-ctrunc.first-come", level=MUST, checks="T01 T01b LC05", profiles=[RAW])
def test_the_first_are_those_that_come(link, objects):
    """Five sent, room for three: the first three in order, and msg_controllen and cmsg_len describe exactly them."""
    things = objects.files(5)
    link.a.sendmsg(b"x", link.open(*things))
    got = link.b.recvmsg(room=3)
    assert got.things == things[:3]
    assert got.has("MSG_CTRUNC")
    assert got.control_length == link.layout.length(12)
    assert [len(one.data) for one in got.cmsgs] == [12]


@case("raw-ctrunc.excess-is-closed", level=MUST, checks="T01", profiles=[RAW])
def test_what_does_not_fit_is_closed(link):
    """Two sent, room for one: MSG_CTRUNC, and no reference to the second is kept while the first stays open."""
    kept, lost = link.pipe(), link.pipe()
    link.a.sendmsg(b"x", [kept.writer, lost.writer])
    link.close(kept.writer, lost.writer)
    assert not lost.released
    got = link.b.recvmsg(room=1)
    assert len(got.fds) == 1
    assert got.has("MSG_CTRUNC")
    assert lost.released
    assert not kept.released


@case("raw-ctrunc.space-of-one", level=MUST, checks="T02", profiles=[RAW])
def test_the_space_of_one_takes_what_its_padding_holds(link, objects):
    """Room of CMSG_SPACE(4) takes two descriptors where padding makes room for a second int, else one."""
    things = objects.files(3)
    link.a.sendmsg(b"x", link.open(*things))
    got = link.b.recvmsg(control=link.layout.space(4))
    fits = (link.layout.space(4) - link.layout.header) // 4  # 2 where control messages are aligned to 8, 1 where to 4
    assert got.things == things[:fits]
    assert got.has("MSG_CTRUNC")


@case("raw-ctrunc.length-of-one", level=MUST, checks="T03", profiles=[RAW])
def test_the_length_of_one_takes_one(link, objects):
    """Room of CMSG_LEN(4) takes exactly one of two descriptors."""
    things = objects.files(2)
    link.a.sendmsg(b"x", link.open(*things))
    got = link.b.recvmsg(control=link.layout.length(4))
    assert got.things == things[:1]
    assert got.has("MSG_CTRUNC")
    assert got.control_length == link.layout.length(4)


@case("raw-ctrunc.lost-for-good", level=MUST, checks="T04 T01", profiles=[RAW])
def test_the_lost_never_come_back(link, objects):
    """Three sent, room for one, then another message with one: the next receive brings that one and nothing else."""
    first, second, third, other = objects.files(4)
    link.a.sendmsg(b"x", link.open(first, second, third))
    link.a.sendmsg(b"y", link.open(other))
    assert link.b.recvmsg(room=1).things == [first]
    got = link.b.recvmsg(room=8)
    assert (got.data, got.things, got.has("MSG_CTRUNC")) == (b"y", [other], False)
    assert link.b.empty
    assert link.b.queued == 0


@case("raw-ctrunc.null-control", level=MUST, checks="T08", profiles=[RAW], needs=["protection"])
@pytest.mark.parametrize("length", [1, 24, 4096])
def test_no_control_buffer_that_claims_a_length(link, length):
    """msg_control is NULL and msg_controllen is not 0: the data comes, MSG_CTRUNC, msg_controllen 0, the descriptor closed."""
    pipe = link.pipe()
    link.a.sendmsg(b"x", [pipe.writer])
    link.close(pipe.writer)
    got = link.b.recvmsg(control=Memory(place=Place.NULL, length=length))
    assert (got.errno, got.data, got.control_length) == (None, b"x", 0)
    assert got.has("MSG_CTRUNC")
    assert pipe.released


@case("raw-ctrunc.as-an-input-flag", level=MUST, checks="T09", profiles=[RAW])
def test_ctrunc_among_the_flags_of_a_receive(link, objects):
    """MSG_CTRUNC given to recvmsg changes nothing: it is not reported where all came, and is where something was lost."""
    first, second = objects.files(2)
    fds = link.open(first, second)
    link.a.sendmsg(b"x", fds)
    got = link.b.recvmsg(room=2, flags=["MSG_CTRUNC"])
    assert (got.things, got.has("MSG_CTRUNC")) == ([first, second], False)
    link.a.sendmsg(b"x", fds)
    got = link.b.recvmsg(room=1, flags=["MSG_CTRUNC"])
    assert (got.things, got.has("MSG_CTRUNC")) == ([first], True)


@case("raw-ctrunc.both-truncated", level=MUST, checks="T10 T11", profiles=[RAW], types=PACKETS)
def test_data_and_control_are_truncated_independently(link, objects):
    """A packet cut short: MSG_TRUNC for the data, MSG_CTRUNC for the descriptors, each only where it happened."""
    things = objects.files(2)
    fds = link.open(*things)
    seen = []
    for size, room in ((3, 2), (8, 1), (3, 1), (8, 2)):
        link.a.sendmsg(b"datagram", fds)
        got = link.b.recvmsg(size, room=room)
        assert got.things == things[:room]
        seen.append((len(got.data), got.has("MSG_TRUNC"), got.has("MSG_CTRUNC")))
    assert seen == [(3, True, False), (8, False, True), (3, True, True), (8, False, False)]
    assert link.b.empty


@case("raw-nofile.first-come", level=MUST, checks="T12 T13", profiles=[RAW])
@pytest.mark.parametrize("free", [0, 1, 3])
def test_as_many_as_there_are_free_numbers(link, objects, free):
    """Four sent, 0, 1 or 3 numbers free: the data and so many descriptors, MSG_CTRUNC, the rest closed, nothing left over."""
    pipe = link.pipe()
    things = objects.files(3)
    link.a.sendmsg(b"x", [*link.open(*things), pipe.writer])
    link.close(pipe.writer)
    link.leave_slots(free)
    got = link.b.recvmsg(room=4)
    link.restore_slots()
    assert (got.errno, got.data) == (None, b"x")
    assert got.things == things[:free]
    assert got.has("MSG_CTRUNC")
    assert got.control_length == (link.layout.space(4 * free) if free else 0)
    assert pipe.released
    assert link.b.empty


@case("raw-nofile.next-message-is-whole", level=MUST, checks="T13 T04", profiles=[RAW])
def test_the_message_after_one_that_met_the_limit(link, objects):
    """No number free, then some: the first message's descriptors are gone, the second brings its own."""
    first, second = objects.files(2)
    link.a.sendmsg(b"x", link.open(first))
    link.a.sendmsg(b"y", link.open(second))
    link.leave_slots(0)
    assert link.b.recvmsg(room=4).fds == []
    link.restore_slots()
    got = link.b.recvmsg(room=4)
    assert (got.data, got.things, got.has("MSG_CTRUNC")) == (b"y", [second], False)


@case("raw-nofile.peek-loses-nothing", level=MUST, checks="T15", profiles=[RAW])
def test_a_peek_at_the_limit_loses_nothing(link, objects):
    """Two sent, one number free: the peek is flagged and brings one; with the limit raised the receive brings both."""
    things = objects.files(2)
    link.a.sendmsg(b"x", link.open(*things))
    link.leave_slots(1)
    got = link.b.recvmsg(room=2, flags=["MSG_PEEK"])
    link.restore_slots()
    assert (got.things, got.has("MSG_CTRUNC")) == (things[:1], True)
    got = link.b.recvmsg(room=2)
    assert (got.things, got.has("MSG_CTRUNC")) == (things, False)


@case("raw-ctrunc.peek-loses-nothing", level=MUST, checks="T14", profiles=[RAW])
@pytest.mark.parametrize("room", range(4))
def test_a_truncated_peek_loses_nothing(link, objects, room):
    """Three sent: a peek with room for 0 to 3 follows the rule of truncation, and the receive after it brings all three."""
    things = objects.files(3)
    link.a.sendmsg(b"x", link.open(*things))
    got = link.b.recvmsg(room=room, flags=["MSG_PEEK"])
    assert (got.things, got.has("MSG_CTRUNC")) == (things[:room], room < 3)
    got = link.b.recvmsg(room=3)
    assert (got.data, got.things, got.has("MSG_CTRUNC")) == (b"x", things, False)


@case("raw-nofile.pidfd", level=SHOULD, checks="T16 T16b", profiles=[RAW])
def test_a_pidfd_without_a_free_number(link, objects):
    """SO_PASSPIDFD, one number free for one descriptor: it arrives, and SCM_PIDFD holds a negative error number."""
    link.b.option("SO_PASSPIDFD", 1)
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    link.leave_slots(1)
    got = link.b.recvmsg(control=128)
    link.restore_slots()
    assert got.things == [thing]
    (pidfd,) = got.of(SCM_PIDFD)
    assert link.layout.read_ints(pidfd.data)[0] < 0
    link.outcome = "flagged" if got.has("MSG_CTRUNC") else "negative"


def _credentials_and_rights(link, objects, control):
    link.b.option("SO_PASSCRED", 1)
    things = objects.files(3)
    link.a.sendmsg(b"x", link.open(*things))
    return things, link.b.recvmsg(control=control)


@case("raw-ctrunc.credentials-take-room", level=MUST, checks="C08 C08b", profiles=[RAW])
@pytest.mark.parametrize("room", [-1, 0, 1, 2, 3])
def test_credentials_take_room_first(link, objects, room):
    """SO_PASSCRED, three sent: credentials first, then as many descriptors as the rest of the control buffer has room for."""
    layout = link.layout
    control = layout.length(12) if room < 0 else layout.space(12) + (layout.length(4 * room) if room else 0)
    things, got = _credentials_and_rights(link, objects, control)
    assert [one.type for one in got.cmsgs] == [2, 1][: 1 + (room > 0)]
    assert len(got.cmsgs[0].data) == 12
    assert got.things == things[: max(room, 0)]
    assert got.has("MSG_CTRUNC") == (room < 3)


@case("raw-ctrunc.part-of-credentials", level=SHOULD, checks="C08b", profiles=[RAW])
def test_credentials_that_fit_in_part(link, objects):
    """SO_PASSCRED and room for the header to all but one byte: that much of the credentials, no descriptor, MSG_CTRUNC."""
    for size in range(12):
        _, got = _credentials_and_rights(link, objects, link.layout.length(size))
        assert [(one.type, len(one.data)) for one in got.cmsgs] == [(2, size)]
        assert got.fds == []
        assert got.has("MSG_CTRUNC")


@case("raw-ctrunc.credentials-without-control", level=MUST, checks="C09", profiles=[RAW])
def test_credentials_without_a_control_buffer(link):
    """SO_PASSCRED and no control buffer: MSG_CTRUNC even where nothing was sent beside the data."""
    link.b.option("SO_PASSCRED", 1)
    link.a.sendmsg(b"x")
    got = link.b.recvmsg()
    assert (got.data, got.control_length) == (b"x", 0)
    assert got.has("MSG_CTRUNC")


@case("raw-ctrunc.stream-goes-on", level=MUST, checks="T01 T13", profiles=[RAW], types=[STREAM])
def test_a_stream_goes_on_after_truncation(link, objects):
    """Part of a message's data read with room for none: the rest comes without descriptors and without MSG_CTRUNC."""
    link.a.sendmsg(b"abcdef", link.open(objects.file()))
    got = link.b.recvmsg(2)
    assert (got.data, got.has("MSG_CTRUNC")) == (b"ab", True)
    got = link.b.recvmsg(room=4)
    assert (got.data, got.fds, got.has("MSG_CTRUNC")) == (b"cdef", [], False)


@case("raw-ctrunc.exact-length-of-a-packet", level=MUST, checks="T11", profiles=[RAW], types=[DGRAM, SEQPACKET])
def test_a_cut_packet_with_all_its_descriptors(link, objects):
    """One byte of a packet received with full room: MSG_TRUNC, all descriptors, and the rest of the packet is gone."""
    things = objects.files(3)
    link.a.sendmsg(b"datagram", link.open(*things))
    got = link.b.recvmsg(1, room=3)
    assert (got.data, got.things, got.has("MSG_TRUNC"), got.has("MSG_CTRUNC")) == (b"d", things, True, False)
    assert link.b.empty
