"""Peeking: every look hands over copies of its own and takes nothing away."""

from fdspec.conformance.census import same_description
from fdspec.conformance.phrases import numbers
from fdspec.conformance.suite import MAY, MUST, SHOULD, STREAM, case

PEEK = ("MSG_PEEK",)
FLAGS_IN = ("flags-in",)


@case("peek.then-receive", level=MUST, checks="P01 LC12", needs=FLAGS_IN)
def test_peek_then_receive(link, objects):
    """A peek shows the data and hands over copies of the descriptors; the receive after it brings both again."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"hello", numbers(files))
    peeked = link.receive(16, room=2, flags=PEEK)
    got = link.receive(16, room=2)
    assert (peeked.data, peeked.things) == (b"hello", files)
    assert (got.data, got.things) == (b"hello", files)
    assert not set(peeked.fds) & set(got.fds)


@case("peek.repeated", level=MUST, checks="P01 LC01", needs=FLAGS_IN)
def test_peek_repeated(link, objects):
    """Each of five peeks hands over new numbers for the same open file descriptions, all of them the caller's."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"x", [file.fd])
    seen = []
    for _ in range(5):
        got = link.receive(16, room=1, flags=PEEK)
        assert (got.data, got.things) == (b"x", [file])
        seen += got.fds
    assert len(set(seen)) == 5
    pid = link.testee.pid
    assert all(same_description(pid, seen[0], pid, other) in (True, None) for other in seen[1:])
    assert link.table.queued(link.fd) == 1
    assert link.receive(16, room=1).things == [file]


@case("peek.copies-are-independent", level=MUST, checks="P02", needs=FLAGS_IN)
def test_copies_are_independent(link, objects):
    """Closing the peeked copies leaves the queued descriptors alone, and closing the received ones the peeked."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"x", [file.fd])
    first = link.receive(16, room=1, flags=PEEK)
    link.close(*first.fds)
    second = link.receive(16, room=1, flags=PEEK)
    got = link.receive(16, room=1)
    assert (second.things, got.things) == ([file], [file])
    link.close(*got.fds)
    assert [link.table.identity(fd) for fd in second.fds] == [file.identity]


@case("peek.outlives-the-socket", level=SHOULD, checks="P02", needs=FLAGS_IN)
def test_outlives_the_socket(link, objects):
    """A peeked copy stays usable after both ends of the connection are closed and the message is gone with them."""
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    got = link.receive(16, room=1, flags=PEEK)
    assert got.things == [file]
    link.peer.close()
    link.close(link.fd)
    assert [link.table.identity(fd) for fd in got.fds] == [file.identity]


@case("peek.cloexec", level=MUST, checks="P03 I03", needs=FLAGS_IN)
def test_cloexec(link, objects):
    """MSG_CMSG_CLOEXEC with MSG_PEEK takes effect on every peeked copy."""
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    got = link.receive(16, room=2, flags=("MSG_PEEK", "MSG_CMSG_CLOEXEC"))
    assert got.things == files
    assert [link.table.cloexec(fd) for fd in got.fds] == [True, True]


@case("peek.no-room", level=MUST, checks="P04", needs=FLAGS_IN)
def test_no_room(link, objects):
    """A peek without room hands over no descriptor and loses none: the receive after it brings all."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"x", numbers(files))
    peeked = link.receive(16, room=0, flags=PEEK)
    assert peeked.failed or peeked.data == b"x"
    assert peeked.fds == []
    got = link.receive(16, room=2)
    assert (got.data, got.things) == (b"x", files)
    assert not got.has("MSG_CTRUNC")


@case("peek.small-room", level=MUST, checks="T14 LC03", needs=FLAGS_IN)
def test_small_room(link, objects):
    """A peek with room for two of five tells that there were more and loses none: the receive after it brings all."""
    files = objects.files(5)
    link.nonblocking()
    link.peer.send(b"x", numbers(files))
    peeked = link.receive(16, room=2, flags=PEEK)
    assert len(peeked.fds) <= 2
    assert peeked.things == files[: len(peeked.things)]
    assert peeked.lost_descriptors_visible
    got = link.receive(16, room=5)
    assert (got.data, got.things) == (b"x", files)
    assert not got.has("MSG_CTRUNC")


@case("peek.two-messages", level=MUST, checks="P01 LC15", needs=FLAGS_IN)
def test_two_messages(link, objects):
    """A peek looks at the first message only; each message's descriptors come with it when both are received."""
    first, second = objects.files(2), objects.files(1)
    link.nonblocking()
    link.peer.send(b"one", numbers(first))
    link.peer.send(b"two", numbers(second))
    peeked = link.receive(64, room=4, flags=PEEK)
    assert (peeked.data, peeked.things) == (b"one", first)
    for data, files in ((b"one", first), (b"two", second)):
        got = link.receive(64, room=4)
        assert (got.data, got.things) == (data, files)


@case("peek.part-of-a-message", level=MUST, checks="P01 B04", types=(STREAM,), needs=FLAGS_IN)
def test_part_of_a_message(link, objects):
    """A peek at the first byte of a stream message hands over its descriptors; so does the receive of that byte."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"abc", numbers(files))
    peeked = link.receive(1, room=2, flags=PEEK)
    assert (peeked.data, peeked.things) == (b"a", files)
    got = link.receive(1, room=2)
    assert (got.data, got.things) == (b"a", files)
    rest = link.receive(16, room=2)
    assert (rest.data, rest.fds) == (b"bc", [])


@case("peek.offset", level=MAY, checks="P06", needs=FLAGS_IN)
def test_offset(link, objects):
    """With SO_PEEK_OFF the second peek shows the second message and its descriptors only; nothing is lost."""
    first, second = objects.files(2)
    link.try_option("SOL_SOCKET", "SO_PEEK_OFF", 0)
    link.nonblocking()
    link.peer.send(b"one", [first.fd])
    link.peer.send(b"two", [second.fd])
    for data, file in ((b"one", first), (b"two", second)):
        got = link.receive(3, room=2, flags=PEEK)
        assert (got.data, got.things) == (data, [file])
    for data, file in ((b"one", first), (b"two", second)):
        got = link.receive(3, room=2)
        assert (got.data, got.things) == (data, [file])


@case("peek.zero-bytes", level=MAY, checks="P12", needs=FLAGS_IN)
def test_zero_bytes(link, objects):
    """A peek of no bytes hands over copies and consumes nothing, or is refused and hands over nothing."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"x", [file.fd])
    peeked = link.receive(0, room=1, flags=PEEK)
    assert peeked.things == [file] or (peeked.failed and not peeked.fds)
    got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"x", [file])


@case("peek.barrier", level=SHOULD, checks="B10", types=(STREAM,), needs=FLAGS_IN)
def test_barrier(link, objects):
    """A peek shows plain data and the message with descriptors behind it, and stops at that message's end."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"aaa")
    link.peer.send(b"bbb", numbers(files))
    link.peer.send(b"ccc")
    peeked = link.receive(64, room=2, flags=PEEK)
    assert (peeked.data, peeked.things) == (b"aaabbb", files)
    got = link.receive(64, room=2)
    assert (got.data, got.things) == (b"aaabbb", files)
    got = link.receive(64, room=2)
    assert (got.data, got.fds) == (b"ccc", [])


@case("peek.plain", level=MUST, checks="P01 LC15", needs=FLAGS_IN)
def test_plain(link, objects):
    """A peek at a plain message after one with descriptors hands over none."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"one", [file.fd])
    link.peer.send(b"two")
    assert link.receive(3, room=1).things == [file]
    for flags in (PEEK, ()):
        got = link.receive(16, room=1, flags=flags)
        assert (got.data, got.fds) == (b"two", [])


@case("peek.empty-queue", level=MUST, checks="P01 R05", needs=FLAGS_IN)
def test_empty_queue(link, objects):
    """A peek with nothing there fails, hands over nothing, and a later message is intact."""
    file = objects.file()
    link.nonblocking()
    got = link.receive(16, room=1, flags=PEEK)
    assert got.failed
    assert got.fds == []
    link.peer.send(b"x", [file.fd])
    assert link.receive(16, room=1).things == [file]


@case("peek.error-queue-flag", level=MAY, checks="P09", needs=FLAGS_IN)
def test_error_queue_flag(link, objects):
    """MSG_ERRQUEUE means nothing to AF_UNIX: the message is received, or stays where it is when that is refused."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"x", [file.fd])
    got = link.receive(16, room=1, flags=("MSG_ERRQUEUE",))
    if got.failed:
        got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"x", [file])
