"""Buffer lists: gather and scatter, empty entries, the most entries and one too many; descriptors attached."""

from fdspec.conformance.phrases import numbers
from fdspec.conformance.suite import MUST, PACKETS, SHOULD, STREAM, case

IOV_MAX = 1024


@case("iovec.gather", level=MUST, checks="V01 LC12", needs=("buffers-out",))
def test_gather(link, objects):
    """Several buffers go out as one message, its descriptors once."""
    files = objects.files(2)
    sent = link.send([b"ab", b"cde", b"f"], link.open(*files))
    assert not sent.failed
    assert sent.count in (6, None)
    got = link.peer.receive()
    assert got.data == b"abcdef"
    assert got.identities == [file.identity for file in files]
    assert not link.peer.pending()


@case("iovec.gather.empty-entries", level=MUST, checks="V01 LC12", needs=("buffers-out",))
def test_gather_with_empty_entries(link, objects):
    """Empty buffers first, in the middle, last and in a row add nothing to the message."""
    file = objects.file()
    fds = link.open(file)
    for buffers in (
        [b"", b"ab", b"c"],
        [b"ab", b"", b"c"],
        [b"ab", b"c", b""],
        [b"", b"", b"ab", b"", b"", b"c", b"", b""],
    ):
        assert not link.send(buffers, fds).failed
        got = link.peer.receive()
        assert (got.data, got.identities) == (b"abc", [file.identity]), f"sent as {buffers}"


@case("iovec.gather.all-empty", level=MUST, checks="S23 V01", types=PACKETS, needs=("buffers-out", "empty-out"))
def test_gather_all_empty(link, objects):
    """Several buffers, all empty, are an empty packet, which carries its descriptors."""
    file = objects.file()
    assert not link.send([b"", b"", b""], link.open(file)).failed
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"", [file.identity])


@case("iovec.gather.most", level=MUST, checks="V04 LC12", needs=("buffers-out",))
def test_gather_most(link, objects):
    """1024 buffers go out as one message, its descriptors once."""
    file = objects.file()
    link.nonblocking()
    buffers = [b"%c" % (65 + index % 26) for index in range(IOV_MAX)]
    assert not link.send(buffers, link.open(file)).failed
    got = link.peer.receive()
    assert got.data == b"".join(buffers)
    assert got.identities == [file.identity]


@case("iovec.gather.one-too-many", level=MUST, checks="V04 LC11 LC12", needs=("buffers-out",))
def test_gather_one_too_many(link, objects):
    """1025 buffers are refused and nothing is sent, or sent as far as the caller is told, descriptors once."""
    file, after = objects.files(2)
    link.nonblocking()
    buffers = [b"%c" % (65 + index % 26) for index in range(IOV_MAX + 1)]
    sent = link.send(buffers, link.open(file))
    if sent.failed:
        assert not link.peer.pending()
    else:
        got = link.peer.receive_exactly(IOV_MAX + 1 if sent.count is None else sent.count)
        assert got.data == b"".join(buffers)[: sent.count]
        assert got.identities == [file.identity]
        assert link.type is STREAM or len(got.data) == IOV_MAX + 1
    assert not link.send(b"after", link.open(after)).failed
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"after", [after.identity])


@case("iovec.gather.big", level=MUST, checks="V01 LC10", types=(STREAM,), needs=("buffers-out",))
def test_gather_big(link, objects):
    """Big buffers arrive whole and in order, descriptors once and with the first byte."""
    files = objects.files(2)
    buffers = [b"a" * 20000, b"", b"b" * 9999, b"c" * 20001]
    sent = link.send(buffers, link.open(*files))
    assert not sent.failed
    assert sent.count in (50000, None)
    first = link.peer.receive(1)
    assert first.identities == [file.identity for file in files]
    rest = link.peer.receive_exactly(49999)
    assert first.data + rest.data == b"".join(buffers)
    assert rest.identities == []


@case("iovec.gather.partial", level=MUST, checks="S16 LC10", types=(STREAM,), needs=("buffers-out",))
def test_gather_partial(link, objects):
    """A write that the kernel takes in part sends the beginning of the buffers, as much as told, descriptors once."""
    file = objects.file()
    link.option("SOL_SOCKET", "SO_SNDBUF", 4608)
    link.nonblocking()
    buffers = [b"%c" % (65 + index) * 30000 for index in range(5)]
    sent = link.send(buffers, link.open(file))
    parts = []
    while link.peer.pending():
        parts.append(link.peer.receive())
    data = b"".join(part.data for part in parts)
    assert 0 < len(data) < 150000, "the write was meant to be partial"
    assert data == b"".join(buffers)[: len(data)]
    assert [one for part in parts for one in part.identities] == [file.identity]
    assert parts[0].identities == [file.identity]
    assert sent.failed or sent.count in (len(data), None)


@case("iovec.scatter", level=MUST, checks="V01 LC12", needs=("buffers-in",))
def test_scatter(link, objects):
    """A message fills several buffers in order, across their boundaries, and its descriptors come with it."""
    files = objects.files(2)
    link.peer.send(b"abcdef", numbers(files))
    got = link.receive([2, 3, 1], room=2)
    assert got.buffers == [b"ab", b"cde", b"f"]
    assert got.things == files


@case("iovec.scatter.gathered", level=MUST, checks="V01 LC12", needs=("buffers-in", "buffers-out"))
def test_scatter_what_was_gathered(link, objects):
    """How a message was gathered does not show: other boundaries at the receiver, the same bytes and descriptors."""
    file = objects.file()
    link.peer.send([b"a", b"bcd", b"", b"ef"], [file.fd])
    got = link.receive([3, 2, 4], room=1)
    assert got.buffers == [b"abc", b"de", b"f"]
    assert got.things == [file]


@case("iovec.scatter.empty-entries", level=MUST, checks="V01 LC12", needs=("buffers-in",))
def test_scatter_with_empty_entries(link, objects):
    """Empty buffers first, in the middle, last and in a row stay empty; the others are filled."""
    file = objects.file()
    for sizes in ([0, 2, 1], [2, 0, 1], [2, 1, 0], [0, 0, 2, 0, 0, 1, 0, 0]):
        link.peer.send(b"abc", [file.fd])
        got = link.receive(sizes, room=1)
        assert got.data == b"abc", f"into {sizes}"
        assert [len(one) for one in got.buffers] == sizes
        assert got.things == [file], f"into {sizes}"


@case("iovec.scatter.to-spare", level=MUST, checks="V01 LC12", needs=("buffers-in",))
def test_scatter_to_spare(link, objects):
    """A message shorter than the buffers fills the first ones; the others hold nothing."""
    file = objects.file()
    link.peer.send(b"abc", [file.fd])
    got = link.receive([2, 3, 4], room=1)
    assert got.data == b"abc"
    assert [len(one) for one in got.buffers] + [0] * (3 - len(got.buffers)) == [2, 1, 0]
    assert got.things == [file]


@case("iovec.scatter.most", level=MUST, checks="V04 V11", needs=("buffers-in",))
def test_scatter_most(link, objects):
    """1024 buffers of one byte are filled, one byte each, and the descriptors come with them."""
    files = objects.files(3)
    data = bytes(range(256)) * 4
    link.peer.send(data, numbers(files))
    got = link.receive([1] * IOV_MAX, room=3)
    assert got.data == data
    assert len(got.buffers) == IOV_MAX
    assert got.things == files


@case("iovec.scatter.one-too-many", level=MUST, checks="V04 LC11 LC12", needs=("buffers-in",))
def test_scatter_one_too_many(link, objects):
    """1025 buffers are refused and the message stays with its descriptors, or taken and the message is delivered."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"abc", [file.fd])
    got = link.receive([1] * (IOV_MAX + 1), room=1)
    if got.failed:
        assert got.fds == []
        got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"abc", [file])


@case("iovec.scatter.too-small.packet", level=MUST, checks="V14 T11", types=PACKETS, needs=("buffers-in",))
def test_scatter_too_small_for_a_packet(link, objects):
    """A packet longer than all buffers fills them, the rest is gone and flagged, and its descriptors are delivered."""
    files = objects.files(2)
    link.peer.send(b"abcdef", numbers(files))
    link.peer.send(b"next")
    got = link.receive([2, 0, 2], room=2)
    if not got.failed:
        assert (got.data, got.things) == (b"abcd", files)
        assert got.flags is None or got.has("MSG_TRUNC")
    assert link.receive(16, room=2).data == b"next"


@case("iovec.scatter.too-small.stream", level=MUST, checks="V14 B04", types=(STREAM,), needs=("buffers-in",))
def test_scatter_too_small_for_a_stream(link, objects):
    """A stream message longer than all buffers fills them and brings its descriptors; the rest comes later, without."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"abcdef", numbers(files))
    got = link.receive([1, 0, 3], room=2)
    assert (got.data, got.things) == (b"abcd", files)
    got = link.receive([1, 1], room=2)
    assert (got.data, got.fds) == (b"ef", [])


@case("iovec.scatter.zero-total", level=SHOULD, checks="R11 V01", types=(STREAM,), needs=("buffers-in",))
def test_scatter_zero_total(link, objects):
    """Several buffers of no bytes deliver a stream's descriptors and leave the data, or are refused and leave both."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"x", [file.fd])
    first = link.receive([0, 0], room=1)
    second = link.receive(1, room=1)
    assert second.data == b"x"
    assert [*first.things, *second.things] == [file]


@case("iovec.scatter.small-room", level=MUST, checks="V01 T01 LC03", needs=("buffers-in",))
def test_scatter_with_small_room(link, objects):
    """Several buffers and too little room: the data fills them, the first descriptors arrive, the loss is visible."""
    files = objects.files(4)
    link.peer.send(b"abcdef", numbers(files))
    got = link.receive([1, 5], room=2)
    assert got.lost_descriptors_visible
    assert got.things == files[: len(got.things)]
    assert got.failed or got.buffers == [b"a", b"bcdef"]
