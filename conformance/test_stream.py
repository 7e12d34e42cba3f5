"""Stream boundaries: descriptors come with the first byte of their message, whatever the size of the buffers."""

from fdspec.conformance.peer import rights
from fdspec.conformance.phrases import drop, numbers, read_stream
from fdspec.conformance.suite import MAY, MUST, SHOULD, STREAM, case


@case("stream.plain-then-descriptors", level=SHOULD, checks="B01", types=(STREAM,))
def test_plain_then_descriptors(link, objects):
    """Plain data and then a message with descriptors: one receive gets both, and the descriptors."""
    files = objects.files(2)
    link.peer.send(b"aaa")
    link.peer.send(b"bbb", numbers(files))
    got = link.receive(16, room=2)
    assert got.data == b"aaabbb"
    assert got.things == files


@case("stream.descriptors-then-plain", level=MUST, checks="B02", types=(STREAM,))
def test_descriptors_then_plain(link, objects):
    """A receive stops after the message that carried the descriptors; the plain data behind it comes alone."""
    files = objects.files(2)
    link.peer.send(b"aaa", numbers(files))
    link.peer.send(b"bbb")
    got = link.receive(16, room=2)
    assert (got.data, got.things) == (b"aaa", files)
    got = link.receive(16, room=2)
    assert (got.data, got.fds) == (b"bbb", [])


@case("stream.never-combined", level=MUST, checks="B03 LC15", types=(STREAM,))
def test_never_combined(link, objects):
    """Three messages with descriptors take three receives, however big the buffer and the room."""
    groups = [objects.files(count) for count in (1, 2, 1)]
    for index, files in enumerate(groups):
        link.peer.send(b"%d%d" % (index, index), numbers(files))
    for index, files in enumerate(groups):
        got = link.receive(64, room=8)
        assert (got.data, got.things) == (b"%d%d" % (index, index), files)


@case("stream.first-byte", level=MUST, checks="B04 LC15", types=(STREAM,))
def test_first_byte(link, objects):
    """The first byte of a message brings all of its descriptors, the rest of it none."""
    files = objects.files(3)
    link.peer.send(b"0123456789", numbers(files))
    got = link.receive(1, room=3)
    assert (got.data, got.things) == (b"0", files)
    got = link.receive(16, room=3)
    assert (got.data, got.fds) == (b"123456789", [])
    assert not got.has("MSG_CTRUNC")


@case("stream.byte-by-byte", level=MUST, checks="B04 B14 LC15", types=(STREAM,))
def test_byte_by_byte(link, objects):
    """Read one byte at a time, each message's descriptors come with its first byte, once."""
    link.nonblocking()
    messages = [
        (b"plain", []),
        (b"abc", objects.files(2)),
        (b"d", objects.files(1)),
        (b"efgh", objects.files(3)),
        (b"end", []),
    ]
    for data, files in messages:
        link.peer.send(data, numbers(files))
    read_stream(link, messages, size=1, room=4)


@case("stream.up-to-the-message", level=MUST, checks="B14 LC15", types=(STREAM,))
def test_up_to_the_message(link, objects):
    """A receive that ends exactly before a message with descriptors brings none of them; the next brings all."""
    files = objects.files(2)
    link.peer.send(b"aaa")
    link.peer.send(b"bbb", numbers(files))
    got = link.receive(3, room=2)
    assert (got.data, got.fds) == (b"aaa", [])
    got = link.receive(3, room=2)
    assert (got.data, got.things) == (b"bbb", files)


@case("stream.one-byte-into-the-message", level=SHOULD, checks="B16", types=(STREAM,))
def test_one_byte_into_the_message(link, objects):
    """A receive that reaches one byte into a message with descriptors brings all of them."""
    files = objects.files(2)
    link.peer.send(b"aaa")
    link.peer.send(b"bbb", numbers(files))
    got = link.receive(4, room=2)
    assert (got.data, got.things) == (b"aaab", files)
    got = link.receive(4, room=2)
    assert (got.data, got.fds) == (b"bb", [])


@case("stream.dropped-with-the-first-byte", level=MUST, checks="B05 R02", types=(STREAM,))
def test_dropped_with_the_first_byte(link, objects):
    """Reading the first byte without room drops the descriptors; the rest comes without any, and is not flagged."""
    link.nonblocking()
    link.peer.send(b"abcdef", numbers(objects.files(2)))
    got = link.receive(1, room=0)
    assert got.fds == []
    got = link.receive(16, room=4)
    assert (got.data, got.fds) == (b"bcdef", [])
    assert not got.has("MSG_CTRUNC")


@case("stream.fragments", level=MUST, checks="B04 LC15", types=(STREAM,))
def test_fragments(link, objects):
    """A message read in fragments: the first brings the descriptors, none is lost or repeated."""
    link.nonblocking()
    for size in (2, 3, 7, 19):
        messages = [(b"0123456789abcdefghij", objects.files(3))]
        for data, files in messages:
            link.peer.send(data, numbers(files))
        read_stream(link, messages, size=size, room=3)


@case("stream.fragments.waiting-between", level=MUST, checks="B04 R05 LC15", types=(STREAM,))
def test_fragments_with_waiting_between(link, objects):
    """A frame that comes in three sends, with EAGAIN between them: its descriptors come with the first part, once."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"one", numbers(files))
    got = link.receive(64, room=2)
    assert (got.data, got.things) == (b"one", files)
    for data in (b"two", b"three"):
        got = link.receive(64, room=2)
        assert got.failed
        assert got.fds == []
        link.peer.send(data)
        got = link.receive(64, room=2)
        assert (got.data, got.fds) == (data, [])


@case("stream.big-message", level=MUST, checks="B09 LC15", types=(STREAM,))
def test_big_message(link, objects):
    """A message of 100000 bytes, which the kernel splits: its descriptors come with the first part, once."""
    link.nonblocking()
    files = objects.files(2)
    data = bytes(range(250)) * 400
    taken = link.peer.send(data, numbers(files))
    assert taken > 65536, "the message was meant to be bigger than the buffer"
    read_stream(link, [(data[:taken], files)], size=65536, room=2)
    link.peer.send(b"end")
    read_stream(link, [(b"end", [])], size=65536, room=2)


@case("stream.big-message.waitall", level=MUST, checks="B09 LC15", types=(STREAM,), needs=("flags-in",))
def test_big_message_waitall(link, objects):
    """A message of 100000 bytes received with MSG_WAITALL brings its descriptors with the first part, once."""
    link.nonblocking()
    files = objects.files(2)
    taken = link.peer.send(b"x" * 100000, numbers(files))
    first = link.receive(taken, room=2, flags=("MSG_WAITALL",))
    assert first.things == files
    left = taken - len(first.data)
    assert left < taken
    while left:
        got = link.receive(left, room=2, flags=("MSG_WAITALL",))
        assert got.data
        assert got.fds == []
        left -= len(got.data)


@case("stream.waitall.stops", level=SHOULD, checks="B06", types=(STREAM,), needs=("flags-in",))
def test_waitall_stops(link, objects):
    """MSG_WAITALL ends with the message that carried descriptors, although more data is there."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"aaa", numbers(files[:1]))
    link.peer.send(b"bbb", numbers(files[1:]))
    got = link.receive(6, room=2, flags=("MSG_WAITALL",))
    assert (got.data, got.things) == (b"aaa", files[:1])
    got = link.receive(6, room=2, flags=("MSG_WAITALL",))
    assert (got.data, got.things) == (b"bbb", files[1:])


@case("stream.waitall.collects", level=MUST, checks="E06 LC12", types=(STREAM,), needs=("flags-in",))
def test_waitall_collects(link, objects):
    """MSG_WAITALL collects plain data and the beginning of a message with descriptors, and brings them."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"aaa")
    link.peer.send(b"bbbbbbbb", numbers(files))
    got = link.receive(10, room=2, flags=("MSG_WAITALL",))
    assert (got.data, got.things) == (b"aaabbbbbbb", files)
    got = link.receive(10, room=2)
    assert (got.data, got.fds) == (b"b", [])


@case("stream.low-water-mark", level=MAY, checks="B08", types=(STREAM,))
def test_low_water_mark(link, objects):
    """SO_RCVLOWAT does not carry a receive over the end of a message with descriptors."""
    link.try_option("SOL_SOCKET", "SO_RCVLOWAT", 6)
    file = objects.file()
    link.peer.send(b"aaa", [file.fd])
    link.peer.send(b"bbb")
    got = link.receive(6, room=1)
    assert (got.data, got.things) == (b"aaa", [file])


@case("stream.interleaved", level=MUST, checks="LC15 B03 B04", types=(STREAM,))
def test_interleaved(link, objects):
    """Ten messages, some with descriptors, read in pieces of 2 to 64 bytes: every descriptor belongs to its bytes."""
    link.nonblocking()
    files = objects.files(5)
    shapes = ((3, 0), (5, 2), (1, 1), (8, 0), (2, 3), (2, 2), (7, 0), (1, 0), (4, 5), (6, 1))
    messages = [(b"%c" % (65 + index) * size, files[:count]) for index, (size, count) in enumerate(shapes)]
    for size in (2, 3, 5, 7, 64):
        for data, things in messages:
            link.peer.send(data, numbers(things))
        read_stream(link, messages, size=size, room=5)


@case("stream.framed", level=MUST, checks="LC15 B03", types=(STREAM,))
def test_framed(link, objects):
    """Two frames, each sent in one message with its descriptors, read by header and body: each gets its own."""
    link.nonblocking()
    groups = [objects.files(2), objects.files(1)]
    for index, files in enumerate(groups):
        link.peer.send(b"\0\0\0\5" + b"body%d" % index, numbers(files))
    for index, files in enumerate(groups):
        header = link.receive(4, room=2)
        body = link.receive(5, room=2)
        assert header.data == b"\0\0\0\5"
        assert body.data == b"body%d" % index
        assert [*header.things, *body.things] == files


@case("stream.framed.body-carries", level=MUST, checks="LC15 B01", types=(STREAM,))
def test_framed_where_the_body_carries(link, objects):
    """Two frames whose headers go out plain and whose bodies carry the descriptors, read by header and body."""
    link.nonblocking()
    groups = [objects.files(2), objects.files(1)]
    for index, files in enumerate(groups):
        link.peer.send(b"\0\0\0\5")
        link.peer.send(b"body%d" % index, numbers(files))
    for index, files in enumerate(groups):
        header = link.receive(4, room=2)
        assert (header.data, header.fds) == (b"\0\0\0\5", [])
        body = link.receive(5, room=2)
        assert (body.data, body.things) == (b"body%d" % index, files)


@case("stream.undeclared", level=MUST, checks="LC15 T04", types=(STREAM,))
def test_undeclared(link, objects):
    """Descriptors that nobody asked for don't turn up with the next message, which has its own."""
    unwanted, wanted = objects.files(3), objects.files(1)
    link.nonblocking()
    link.peer.send(b"first", numbers(unwanted))
    link.peer.send(b"second", numbers(wanted))
    drop(link, link.receive(5, room=0).fds)
    got = link.receive(16, room=4)
    assert (got.data, got.things) == (b"second", wanted)


@case("stream.plain-coalesces", level=SHOULD, checks="B15", types=(STREAM,))
def test_plain_coalesces(link):
    """Plain messages are one stream of bytes: one receive gets what three sends sent, and no descriptors."""
    for data in (b"aa", b"bb", b"cc"):
        link.peer.send(data)
    got = link.receive(16, room=2)
    assert (got.data, got.fds) == (b"aabbcc", [])


@case("stream.empty-rights-coalesce", level=MAY, checks="B12 A04", types=(STREAM,))
def test_empty_rights_coalesce(link):
    """A rights message with no descriptor in it is no boundary."""
    link.peer.send(b"aa", ancillary=[rights([])])
    link.peer.send(b"bb")
    got = link.receive(16, room=2)
    assert (got.data, got.fds) == (b"aabb", [])


@case("stream.truncate-flag", level=MAY, checks="P08", types=(STREAM,), needs=("flags-in",))
def test_truncate_flag(link, objects):
    """MSG_TRUNC given to a receive changes nothing on a stream: the rest of the data stays."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"abcdef", [file.fd])
    got = link.receive(2, room=1, flags=("MSG_TRUNC",))
    assert (got.data, got.things) == (b"ab", [file])
    got = link.receive(16, room=1)
    assert (got.data, got.fds) == (b"cdef", [])


@case("stream.no-room-stops", level=SHOULD, checks="B07 R02", types=(STREAM,))
def test_no_room_stops(link, objects):
    """A receive without room also stops after the message that carried descriptors; the data behind it comes alone."""
    link.nonblocking()
    link.peer.send(b"aaa", numbers(objects.files(2)))
    link.peer.send(b"bbb")
    got = link.receive(16, room=0)
    assert got.fds == []
    assert got.failed or got.data == b"aaa"
    got = link.receive(16, room=2)
    assert (got.data, got.fds) == (b"bbb", [])
