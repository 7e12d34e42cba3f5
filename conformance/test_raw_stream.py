"""Where the receives of a stream end: messages with descriptors are barriers, plain bytes are not."""

import pytest
from fdspec.conformance.rawlooks import later
from fdspec.conformance.suite import MAY, MUST, RAW, SHOULD, STREAM, case
from fdspec.impls.protocol.values import Memory

ON_STREAMS = {"profiles": [RAW], "types": [STREAM]}
BIG = 100_000


@case("raw-stream.plain-then-rights", level=SHOULD, checks="B01", **ON_STREAMS)
def test_plain_bytes_in_front_of_a_message_with_descriptors(link, objects):
    """Plain bytes, then a message with a descriptor: one receive brings both, with the descriptor; or one each."""
    thing = objects.file()
    link.a.sendmsg(b"ab")
    link.a.sendmsg(b"cd", link.open(thing))
    got = link.b.recvmsg(room=1)
    link.outcome = "together" if got.data == b"abcd" else "apart"
    if link.outcome == "apart":
        assert (got.data, got.things) == (b"ab", [])
        got = link.b.recvmsg(room=1)
    assert got.data.endswith(b"cd")
    assert got.things == [thing]


@case("raw-stream.rights-then-plain", level=MUST, checks="B02", **ON_STREAMS)
def test_a_receive_stops_behind_descriptors(link, objects):
    """A message with a descriptor, then plain bytes: the first receive stops between them."""
    thing = objects.file()
    link.a.sendmsg(b"ab", link.open(thing))
    link.a.sendmsg(b"cd")
    seen = [link.b.recvmsg(room=1) for _ in range(2)]
    assert [(one.data, one.things) for one in seen] == [(b"ab", [thing]), (b"cd", [])]


@case("raw-stream.rights-twice", level=MUST, checks="B03 LC15", **ON_STREAMS)
def test_descriptors_of_two_messages_never_meet(link, objects):
    """Two messages with two descriptors each: two receives, each with its own."""
    things = objects.files(4)
    fds = link.open(*things)
    link.a.sendmsg(b"ab", fds[:2])
    link.a.sendmsg(b"cd", fds[2:])
    seen = [link.b.recvmsg(room=8) for _ in range(2)]
    assert [(one.data, one.things) for one in seen] == [(b"ab", things[:2]), (b"cd", things[2:])]
    assert link.b.empty


@case("raw-stream.with-the-first-byte", level=MUST, checks="B04", **ON_STREAMS)
def test_descriptors_come_with_the_first_byte(link, objects):
    """A message of five bytes read one by one: the descriptor comes with the first byte and never again."""
    thing = objects.file()
    link.a.sendmsg(b"abcde", link.open(thing))
    seen = [link.b.recvmsg(1, room=1) for _ in range(5)]
    assert [one.things for one in seen] == [[thing], [], [], [], []]
    assert b"".join(one.data for one in seen) == b"abcde"


@case("raw-stream.first-part-without-room", level=MUST, checks="B05 R03", **ON_STREAMS)
def test_the_first_part_read_without_control(link):
    """The first byte is read(2): the descriptor is closed without a sign, and the rest comes without MSG_CTRUNC."""
    pipe = link.pipe()
    link.a.sendmsg(b"abc", [pipe.writer])
    link.close(pipe.writer)
    assert link.b.read(1).data == b"a"
    assert pipe.released
    got = link.b.recvmsg(room=1)
    assert (got.data, got.fds, got.has("MSG_CTRUNC")) == (b"bc", [], False)


@case("raw-stream.waitall", level=MUST, checks="B06", **ON_STREAMS)
def test_waitall_stops_behind_descriptors(link, objects):
    """MSG_WAITALL for everything that is there: it stops behind the message with the descriptor all the same."""
    thing = objects.file()
    link.a.sendmsg(b"ab")
    link.a.sendmsg(b"cd", link.open(thing))
    link.a.sendmsg(b"ef")
    got = link.b.recvmsg(6, room=1, flags=["MSG_WAITALL"], how={"wait": True})
    assert (got.data, got.things) == (b"abcd", [thing])
    assert link.b.recvmsg().data == b"ef"


@case("raw-stream.reads-stop-as-well", level=SHOULD, checks="B07", **ON_STREAMS)
@pytest.mark.parametrize("how", ["read", "recv", "recv-waitall"])
def test_reads_stop_behind_descriptors(link, objects, how):
    """read, recv and recv with MSG_WAITALL, which bring no descriptors, stop behind the message with one as well."""
    link.a.sendmsg(b"ab", link.open(objects.file()))
    link.a.sendmsg(b"cd")
    if how == "read":
        first = link.b.read(8)
    else:
        flags = ["MSG_WAITALL"] if how == "recv-waitall" else []
        first = link.b.call("recv", iov=[Memory(size=4)], flags=flags)
    link.outcome = "stops" if first.data == b"ab" else "goes-on"
    assert first.data in (b"ab", b"abcd")
    if first.data == b"ab":
        assert link.b.recvmsg().data == b"cd"


@case("raw-stream.low-water-mark", level=MAY, checks="B08", **ON_STREAMS)
def test_the_low_water_mark_stops_behind_descriptors(link, objects):
    """SO_RCVLOWAT of four bytes, two with a descriptor and two plain: the receive does not join them."""
    thing = objects.file()
    link.b.option("SO_RCVLOWAT", 4)
    link.a.sendmsg(b"ab", link.open(thing))
    link.a.sendmsg(b"cd")
    got = link.b.recvmsg(8, room=1, how={"wait": True})
    assert (got.data, got.things) == (b"ab", [thing])
    assert link.b.recvmsg(8).data == b"cd"


@case("raw-stream.one-big-send", level=MAY, checks="B09 B04", **ON_STREAMS)
def test_one_big_send_with_descriptors(link, objects):
    """100,000 bytes with a descriptor in one send: the descriptor comes with the first part, however many there are."""
    thing = objects.file()
    link.a.option("SO_SNDBUF", 4 * BIG)
    sent = link.a.sendmsg([Memory(size=BIG)], link.open(thing))
    assert sent.returned == BIG
    left, parts = BIG, []
    while left > 0:
        parts.append(link.b.recvmsg(BIG, room=4, flags=["MSG_WAITALL"]))
        assert parts[-1].returned > 0, parts[-1]
        left -= parts[-1].returned
    link.outcome = "whole" if len(parts) == 1 else "in-parts"
    assert left == 0
    assert [one.things for one in parts] == [[thing], *([[]] * (len(parts) - 1))]
    assert link.b.empty


@case("raw-stream.empty-rights", level=MAY, checks="B12 A04", **ON_STREAMS)
def test_empty_rights_are_no_barrier(link):
    """A control message without descriptors between plain bytes: one receive brings all."""
    link.a.sendmsg(b"ab", control=link.layout.rights([]))
    link.a.sendmsg(b"cd")
    got = link.b.recvmsg(room=1)
    assert (got.data, got.fds) == (b"abcd", [])


@case("raw-stream.just-in-front", level=MUST, checks="B14 B16", **ON_STREAMS)
def test_just_in_front_and_one_byte_inside(link, objects):
    """A receive that ends just in front of the message gets no descriptor; one that enters it by a byte gets all of them."""
    things = objects.files(3)
    fds = link.open(*things)
    for size, expected in ((2, []), (3, things)):
        link.a.sendmsg(b"ab")
        link.a.sendmsg(b"cd", fds)
        first = link.b.recvmsg(size, room=3)
        rest = link.b.recvmsg(4 - size, room=3)
        assert (first.data, first.things) == (b"abcd"[:size], expected)
        assert (rest.data, rest.things) == (b"abcd"[size:], [] if expected else things)


@case("raw-stream.plain-messages", level=MUST, checks="B15 C13b", **ON_STREAMS)
def test_plain_messages_are_one_stream(link):
    """Three plain sends, one of them another process's: one receive brings all their bytes."""
    child = link.child()
    for end, data in ((link.a, b"ab"), (child.end(link.a), b"cd"), (link.a, b"ef")):
        end.sendmsg(data)
    child.wait()
    assert link.b.recvmsg().data == b"abcdef"


@case("raw-stream.waits-across", level=MUST, checks="E06", **ON_STREAMS)
def test_waitall_waits_across_descriptors(link, objects):
    """MSG_WAITALL for ten bytes, three there: it waits, and ends inside the message that comes later, with its descriptor."""
    thing = objects.file()
    fds = link.open(thing)
    link.a.sendmsg(b"abc")
    child = later(link, link.a.sending(b"defghijk", fds))
    got = link.b.recvmsg(10, room=1, flags=["MSG_WAITALL"], how={"wait": True})
    child.wait()
    assert (got.data, got.things) == (b"abcdefghij", [thing])
    assert link.b.recvmsg().data == b"k"
