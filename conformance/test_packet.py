"""Datagrams and packets: each has its own descriptors, even without a byte of data; only data is cut off."""

import os

from fdspec.conformance.phrases import gone, numbers
from fdspec.conformance.suite import DESCRIPTORS, MAY, MUST, PACKETS, SEQPACKET, SHOULD, case


@case("packet.own-descriptors", level=MUST, checks="D01 LC15", types=PACKETS)
def test_own_descriptors(link, objects):
    """Five queued packets with 0 to 4 descriptors: each receive gets one packet with its own descriptors."""
    groups = [objects.files(count) for count in (2, 0, 4, 1, 3)]
    for index, files in enumerate(groups):
        link.peer.send(b"packet-%d" % index, numbers(files))
    for index, files in enumerate(groups):
        got = link.receive(64, room=8)
        assert (got.data, got.things) == (b"packet-%d" % index, files)
        assert not got.has("MSG_CTRUNC")


@case("packet.boundaries", level=MUST, checks="D01", types=PACKETS)
def test_boundaries(link, objects):
    """Packets are never glued together, with or without descriptors, however big the buffer."""
    file = objects.file()
    sent = [(b"aa", []), (b"bb", []), (b"cc", [file]), (b"dd", [file]), (b"ee", [])]
    for data, files in sent:
        link.peer.send(data, numbers(files))
    for data, files in sent:
        got = link.receive(64, room=2)
        assert (got.data, got.things) == (data, files)


@case("packet.many-queued", level=MUST, checks="D01 LC15", types=PACKETS)
def test_many_queued(link, objects):
    """Nine queued packets with two descriptors each are received in order, three times over."""
    files = objects.files(9)
    for turn in range(3):
        sent = [[files[index], files[(index + turn + 1) % 9]] for index in range(9)]
        for index, pair in enumerate(sent):
            link.peer.send(b"%d" % index, numbers(pair))
        for index, pair in enumerate(sent):
            got = link.receive(8, room=2)
            assert (got.data, got.things) == (b"%d" % index, pair)


@case("packet.data-truncated", level=MUST, checks="T11 V14", types=PACKETS)
def test_data_truncated(link, objects):
    """A packet longer than the buffer: its descriptors all arrive and the cut is flagged, or the cut is an error."""
    files = objects.files(3)
    link.peer.send(b"abcdefgh", numbers(files))
    got = link.receive(4, room=3)
    if not got.failed:
        assert (got.data, got.things) == (b"abcd", files)
        assert not got.has("MSG_CTRUNC")
        assert got.flags is None or got.has("MSG_TRUNC")


@case("packet.rest-is-gone", level=MUST, checks="V14 LC15", types=PACKETS)
def test_rest_is_gone(link, objects):
    """What was cut off a packet does not come with the next receive, which gets the next packet and its descriptors."""
    first, second = objects.files(2)
    link.nonblocking()
    link.peer.send(b"abcdefgh", [first.fd])
    link.peer.send(b"next", [second.fd])
    link.receive(4, room=1)
    got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"next", [second])
    assert not got.has("MSG_TRUNC")


@case("packet.empty", level=MUST, checks="S21 LC01", types=PACKETS)
def test_empty(link, objects):
    """An empty packet delivers its descriptors; it is no end of file."""
    files = objects.files(2)
    link.peer.send(b"", numbers(files))
    got = link.receive(16, room=2)
    assert (got.data, got.things) == (b"", files)
    link.peer.send(b"next", numbers(files[:1]))
    got = link.receive(16, room=2)
    assert (got.data, got.things) == (b"next", files[:1])


@case("packet.empty.single", level=MUST, checks="S21 LC01", types=PACKETS, profiles=(DESCRIPTORS,), needs=("single",))
def test_empty_by_the_call_for_one(link, objects):
    """The call for one descriptor delivers that of an empty packet."""
    file = objects.file()
    link.peer.send(b"", [file.fd])
    got = link.receive(16, room=1, single=True)
    assert (got.data, got.things) == (b"", [file])


@case("packet.empty.no-room", level=MUST, checks="R02 LC15", types=PACKETS)
def test_empty_without_room(link, objects):
    """The descriptors of an empty packet, received without room, are closed; the next packet is intact."""
    lost, file = objects.files(2)
    link.peer.send(b"", [lost.fd])
    link.peer.send(b"next", [file.fd])
    got = link.receive(16, room=0)
    assert got.fds == []
    got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"next", [file])


@case("packet.empty-and-end", level=MUST, checks="D05 G08", types=(SEQPACKET,))
def test_empty_and_end(link, objects):
    """An empty packet with a descriptor, an empty one without, the end of file: the descriptor tells them apart."""
    file = objects.file()
    link.peer.send(b"", [file.fd])
    link.peer.send(b"")
    link.peer.send(b"x", [file.fd])
    link.peer.close()
    assert link.receive(16, room=1).things == [file]
    assert link.receive(16, room=1).fds == []
    got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"x", [file])
    got = link.receive(16, room=1)
    assert (got.data, got.fds) == (b"", [])


@case("packet.empty.sent", level=MUST, checks="S21", types=PACKETS, needs=("empty-out",))
def test_empty_sent(link, objects):
    """An empty packet with descriptors can be sent."""
    files = objects.files(2)
    assert not link.send(b"", link.open(*files)).failed
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"", [file.identity for file in files])


@case("packet.too-big", level=MUST, checks="D07 L05 LC14", types=PACKETS)
def test_too_big(link, objects):
    """A packet bigger than the send buffer fails with EMSGSIZE, nothing arrives, and no reference is kept."""
    fifo, file = objects.fifo(), objects.file()
    link.option("SOL_SOCKET", "SO_SNDBUF", 4608)
    (writer,) = link.open(fifo)
    sent = link.send(b"x" * 100000, [writer])
    assert sent.failed
    assert sent.errno == "EMSGSIZE"
    assert not link.peer.pending()
    link.close(writer)
    assert gone(link, fifo)
    assert not link.send(b"next", link.open(file)).failed
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"next", [file.identity])


@case("packet.one-way", level=MUST, checks="D01 S02", types=PACKETS)
def test_sent_packets(link, objects):
    """Five packets that the implementation sends arrive one by one, each with its own descriptors."""
    groups = [objects.files(count) for count in (1, 3, 2, 4, 1)]
    for index, files in enumerate(groups):
        assert not link.send(b"packet-%d" % index, link.open(*files)).failed
    for index, files in enumerate(groups):
        got = link.peer.receive()
        assert (got.data, got.identities) == (b"packet-%d" % index, [file.identity for file in files])


@case("packet.truncate-flag", level=MUST, checks="D02 LC12", types=PACKETS, needs=("flags-in",))
def test_truncate_flag(link, objects):
    """With MSG_TRUNC given, a packet longer than the buffer fills it, is flagged, and its descriptors arrive."""
    files = objects.files(2)
    link.peer.send(b"abcdefgh", numbers(files))
    got = link.receive(4, room=2, flags=("MSG_TRUNC",))
    if not got.failed:
        assert (got.data[:4], got.things) == (b"abcd", files)
        assert got.flags is None or got.has("MSG_TRUNC")


@case("packet.truncate-flag-stays-within", level=MUST, checks="D02 LC12", types=PACKETS, needs=("flags-in",))
def test_truncate_flag_stays_within(link, objects):
    """With MSG_TRUNC given, the call returns the packet's length: no memory beyond the buffer comes back as data."""
    link.peer.send(b"x" * 20000, numbers(objects.files(1)))
    got = link.receive(4, room=1, flags=("MSG_TRUNC",))
    assert len(got.data) <= 4, (
        f"a buffer of 4 bytes was given, {len(got.data)} bytes came back, of which 4 were received"
    )


@case("packet.waitall", level=SHOULD, checks="D10", types=PACKETS, needs=("flags-in",))
def test_waitall(link, objects):
    """MSG_WAITALL does not make a receive wait for, or take, more than one packet."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"aa", numbers(files[:1]))
    link.peer.send(b"bb", numbers(files[1:]))
    for data, file in ((b"aa", files[0]), (b"bb", files[1])):
        got = link.receive(64, room=2, flags=("MSG_WAITALL",))
        assert (got.data, got.things) == (data, [file])


@case("packet.end-of-record-flag", level=MAY, checks="S30", types=PACKETS, needs=("flags-out",))
def test_end_of_record_flag(link, objects):
    """MSG_EOR on a send with descriptors is accepted, or refused and nothing is sent."""
    file = objects.file()
    sent = link.send(b"x", link.open(file), flags=("MSG_EOR",))
    if sent.failed:
        assert not link.peer.pending()
    else:
        got = link.peer.receive()
        assert (got.data, got.identities) == (b"x", [file.identity])


@case("packet.discarded-unread", level=MUST, checks="R02 D01", types=PACKETS)
def test_discarded_unread(link, objects):
    """A packet received into too small a buffer and without room is gone with all it had: its pipe hangs up."""
    fifo, file = objects.fifo(), objects.file()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.peer.send(b"abcdefgh", [writer])
    objects.release(writer)
    link.peer.send(b"next", [file.fd])
    assert link.receive(1, room=0).fds == []
    assert gone(link, fifo)
    got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"next", [file])
