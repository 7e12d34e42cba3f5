"""What a peek does to descriptors in the queue, and what other flags of a receive do not do."""

import pytest
from fdspec.conformance.suite import MUST, PACKETS, RAW, SHOULD, STREAM, case


@case("raw-peek.installs-its-own", level=MUST, checks="P01", profiles=[RAW])
def test_every_peek_installs_descriptors_of_its_own(link, objects):
    """Three peeks and a receive: four different numbers, all of the same open file description."""
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    got = [link.b.recvmsg(room=1, flags=["MSG_PEEK"]) for _ in range(3)]
    got.append(link.b.recvmsg(room=1))
    fds = [fd for one in got for fd in one.fds]
    assert len(set(fds)) == 4
    assert all(one.things == [thing] for one in got)
    assert all(link.call("kcmp", other, fd=fds[0]).returned == 0 for other in fds[1:])
    assert link.b.empty


@case("raw-peek.copies-are-independent", level=MUST, checks="P02", profiles=[RAW])
def test_closing_peeked_copies_leaves_the_queue_alone(link):
    """The copy of a peek is closed: the queued one keeps the file open, and the receive brings it."""
    pipe = link.pipe()
    link.a.sendmsg(b"x", [pipe.writer])
    link.close(pipe.writer)
    link.close(*link.b.recvmsg(room=1, flags=["MSG_PEEK"]).fds)
    assert not pipe.released
    (fd,) = link.b.recvmsg(room=1).fds
    assert not pipe.released
    link.close(fd)
    assert pipe.released


@case("raw-peek.outlives-its-socket", level=MUST, checks="G16 P01", profiles=[RAW])
def test_a_peeked_copy_outlives_its_socket(link):
    """Both ends are closed with the message still queued: the peeked copy goes on keeping the file open."""
    pipe = link.pipe()
    link.a.sendmsg(b"x", [pipe.writer])
    link.close(pipe.writer)
    (fd,) = link.b.recvmsg(room=1, flags=["MSG_PEEK"]).fds
    link.b.close()
    link.a.close()
    assert not pipe.released
    link.close(fd)
    assert pipe.released


@case("raw-peek.close-on-exec", level=MUST, checks="P03 I03", profiles=[RAW])
def test_a_peek_with_close_on_exec(link, objects):
    """MSG_PEEK with MSG_CMSG_CLOEXEC installs close-on-exec copies; without it they are not."""
    link.a.sendmsg(b"x", link.open(*objects.files(2)))
    for flags, expected in ((["MSG_CMSG_CLOEXEC"], True), ([], False)):
        fds = link.b.recvmsg(room=2, flags=["MSG_PEEK", *flags]).fds
        assert [link.table.cloexec(fd) for fd in fds] == [expected] * 2


@case("raw-peek.without-room", level=MUST, checks="P04", profiles=[RAW])
def test_a_peek_without_a_control_buffer(link, objects):
    """MSG_PEEK and no control buffer: MSG_CTRUNC, and the descriptors are still there for the receive."""
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(flags=["MSG_PEEK"])
    assert (got.data, got.has("MSG_CTRUNC")) == (b"x", True)
    assert link.b.queued == 1
    assert link.b.recvmsg(room=1).things == [thing]


@case("raw-peek.by-recv", level=MUST, checks="P05", profiles=[RAW])
def test_a_peek_by_recv(link, objects):
    """A recv with MSG_PEEK shows the data and leaves the descriptors where they are."""
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    assert link.b.recv(8, "MSG_PEEK").data == b"x"
    assert link.b.queued == 1
    assert link.b.recvmsg(room=1).things == [thing]


@case("raw-peek.offset", level=MUST, checks="P06", profiles=[RAW])
def test_peeks_at_an_offset(link, objects):
    """With SO_PEEK_OFF the second peek sees the second message, with that one's descriptor and no other."""
    first, second = objects.files(2)
    link.b.option("SO_PEEK_OFF", 0)
    link.a.sendmsg(b"one", link.open(first))
    link.a.sendmsg(b"two", link.open(second))
    seen = [link.b.recvmsg(3, room=4, flags=["MSG_PEEK"]) for _ in range(2)]
    assert [(one.data, one.things) for one in seen] == [(b"one", [first]), (b"two", [second])]
    got = [link.b.recvmsg(3, room=4) for _ in range(2)]
    assert [(one.data, one.things) for one in got] == [(b"one", [first]), (b"two", [second])]


@case("raw-peek.nothing-wanted", level=MUST, checks="P12", profiles=[RAW])
def test_a_peek_for_no_bytes(link, objects):
    """A peek into 0 bytes installs the descriptors all the same, and consumes nothing."""
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    assert link.b.recvmsg(0, room=1, flags=["MSG_PEEK"]).things == [thing]
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things) == (b"x", [thing])


@case("raw-peek.glues-like-a-receive", level=MUST, checks="B10", profiles=[RAW], types=[STREAM])
def test_a_peek_stops_where_a_receive_does(link, objects):
    """Plain bytes, a message with a descriptor, plain bytes: a peek shows the first two with the descriptor, and stops."""
    thing = objects.file()
    link.a.sendmsg(b"ab")
    link.a.sendmsg(b"cd", link.open(thing))
    link.a.sendmsg(b"ef")
    for flags in (["MSG_PEEK"], []):
        got = link.b.recvmsg(room=4, flags=flags)
        assert (got.data, got.things) == (b"abcd", [thing])


@case("raw-receive.trunc-flag-on-a-stream", level=SHOULD, checks="P08", profiles=[RAW], types=[STREAM])
def test_trunc_among_the_flags_of_a_stream_receive(link, objects):
    """MSG_TRUNC given to a stream's receive has no effect: two of six bytes come, the rest stays."""
    thing = objects.file()
    link.a.sendmsg(b"abcdef", link.open(thing))
    got = link.b.recvmsg(2, room=1, flags=["MSG_TRUNC"])
    assert (got.returned, got.data, got.things) == (2, b"ab", [thing])
    assert link.b.recvmsg().data == b"cdef"


@case("raw-receive.trunc-flag-on-a-packet", level=MUST, checks="D02", profiles=[RAW], types=PACKETS)
def test_trunc_among_the_flags_of_a_packet_receive(link, objects):
    """MSG_TRUNC given to a packet's receive returns the packet's whole length, with its descriptors."""
    thing = objects.file()
    link.a.sendmsg(b"abcdef", link.open(thing))
    got = link.b.recvmsg(2, room=1, flags=["MSG_TRUNC"])
    assert (got.returned, got.memory, got.things, got.has("MSG_TRUNC")) == (6, [b"ab"], [thing], True)


@case("raw-receive.errqueue", level=SHOULD, checks="P09", profiles=[RAW])
def test_errqueue_has_no_effect(link, objects):
    """MSG_ERRQUEUE on an AF_UNIX socket: the message is received as ever, with its descriptor."""
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(room=1, flags=["MSG_ERRQUEUE"])
    assert (got.errno, got.data, got.things) == (None, b"x", [thing])


@case("raw-receive.flags-without-meaning", level=SHOULD, checks="P11", profiles=[RAW])
@pytest.mark.parametrize("flag", ["MSG_CONFIRM", "MSG_DONTROUTE", "MSG_MORE", "MSG_EOR", "MSG_FASTOPEN", 0x100000])
def test_flags_without_a_meaning_do_no_harm(link, objects, flag):
    """A flag that means nothing to AF_UNIX changes neither the data nor the descriptor of a receive."""
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(room=1, flags=[flag])
    assert (got.errno, got.data, got.things) == (None, b"x", [thing])
