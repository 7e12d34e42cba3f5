"""Datagrams and seqpackets: boundaries, empty packets, full queues."""

import pytest
from fdspec.conformance.suite import DGRAM, MUST, PACKETS, RAW, SEQPACKET, SHOULD, case
from fdspec.impls.errors import Unsupported
from fdspec.impls.protocol.values import Memory

ENOUGH = 600
"""More datagrams than a queue takes (net.unix.max_dgram_qlen is 10, or what the system's owner chose)."""


@case("raw-packet.stays-with-its-packet", level=MUST, checks="D01 LC15", profiles=[RAW], types=PACKETS)
def test_descriptors_stay_with_their_packet(link, objects):
    """Packets with two, without, with one descriptor: each receive brings its own packet with its own descriptors."""
    things = objects.files(3)
    fds = link.open(*things)
    for data, part in ((b"one", fds[:2]), (b"two", []), (b"three", fds[2:])):
        link.a.sendmsg(data, part)
    seen = [link.b.recvmsg(room=4) for _ in range(3)]
    assert [(one.data, one.things) for one in seen] == [(b"one", things[:2]), (b"two", []), (b"three", things[2:])]


@case("raw-packet.empty-is-not-the-end", level=MUST, checks="D05", profiles=[RAW], types=[SEQPACKET])
def test_an_empty_packet_is_not_the_end(link, objects):
    """An empty packet with a descriptor, an empty one, the end of file: all return 0; only the descriptor tells the first."""
    thing = objects.file()
    link.a.sendmsg(b"", link.open(thing))
    link.a.sendmsg(b"")
    link.a.close()
    seen = [link.b.recvmsg(room=1) for _ in range(3)]
    assert [(one.errno, one.returned) for one in seen] == [(None, 0)] * 3
    assert [one.things for one in seen] == [[thing], [], []]


@case("raw-packet.empty-datagram", level=MUST, checks="D05 S21", profiles=[RAW], types=[DGRAM])
def test_an_empty_datagram_with_a_descriptor(link, objects):
    """An empty datagram with a descriptor is delivered, with the descriptor; afterwards nothing is there."""
    thing = objects.file()
    assert link.a.sendmsg(b"", link.open(thing)).returned == 0
    got = link.b.recvmsg(room=1)
    assert (got.errno, got.data, got.things) == (None, b"", [thing])
    assert link.b.empty


@case("raw-packet.full-queue", level=SHOULD, checks="D06 L05", profiles=[RAW], types=[DGRAM])
def test_a_full_queue_of_datagrams(link):
    """Datagrams to a bound socket nobody reads: EAGAIN when its queue is full, and the descriptor beside is let go of."""
    pipe = link.pipe()
    address = link.address()
    receiver = link.listen(address)
    sender = link.connect(address)
    sender.option("SO_SNDBUF", 1 << 18)
    errors = [sender.sendmsg(b"x").errno for _ in range(ENOUGH)]
    if "EAGAIN" not in errors:
        raise Unsupported("platform", f"a queue takes {ENOUGH} datagrams here: net.unix.max_dgram_qlen")
    count = errors.index("EAGAIN")
    assert errors == [None] * count + ["EAGAIN"] * (ENOUGH - count)
    assert count > 0
    assert sender.sendmsg(b"x", [pipe.writer]).errno == "EAGAIN"
    link.close(pipe.writer)
    assert pipe.released
    assert receiver.queued == 0


@case("raw-packet.too-big", level=MUST, checks="D07 L05", profiles=[RAW], types=PACKETS)
@pytest.mark.parametrize("beyond", [0, 1, 100_000])
def test_a_packet_too_big_for_the_buffer(link, beyond):
    """A packet of SO_SNDBUF bytes or more: EMSGSIZE, nothing is queued, no reference is kept."""
    pipe = link.pipe()
    size = link.a.option_value("SO_SNDBUF") + beyond
    assert link.a.sendmsg([Memory(size=size)], [pipe.writer]).errno == "EMSGSIZE"
    link.close(pipe.writer)
    assert pipe.released
    assert link.b.empty
