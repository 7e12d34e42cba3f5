"""Out-of-band data: one byte that overtakes the stream, and what becomes of the descriptors that were sent with it."""

import pytest
from fdspec.conformance.suite import MAY, PACKETS, RAW, SHOULD, STREAM, case
from fdspec.impls.errors import Unsupported


def send_urgent(end, data, fds=()):
    """Send ``data``, of which the last byte is out of band. Raises `Unsupported` where AF_UNIX has no such thing."""
    sent = end.sendmsg(data, fds, flags=["MSG_OOB"])
    if sent.errno == "EOPNOTSUPP":
        raise Unsupported("platform", "this kernel has no out-of-band data on AF_UNIX: EOPNOTSUPP")
    assert sent.returned == len(data)


@case("raw-oob.not-shown", level=MAY, checks="S27a", profiles=[RAW], types=[STREAM])
def test_a_receive_of_the_byte_shows_no_descriptor(link):
    """A recvmsg with MSG_OOB returns the byte alone: no control message, no number, no MSG_CTRUNC."""
    pipe = link.pipe()
    send_urgent(link.a, b"!", [pipe.writer])
    before = link.table.numbers()
    got = link.b.recvmsg(room=1, flags=["MSG_OOB"])
    assert (got.data, got.cmsgs, got.has("MSG_CTRUNC")) == (b"!", [], False)
    assert link.table.numbers() == before


@case("raw-oob.released", level=SHOULD, checks="S27a S27e", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("how", ["next-receive", "next-message", "close", "closes-both"])
def test_what_went_with_the_byte_is_released(link, how):
    """The byte is received out of band: what went with it is released when the queue is next read or the socket closed."""
    pipe = link.pipe()
    send_urgent(link.a, b"!", [pipe.writer])
    link.close(pipe.writer)
    assert link.b.recvmsg(room=1, flags=["MSG_OOB"]).data == b"!"
    if how == "next-receive":
        assert link.b.recvmsg(room=1).errno == "EAGAIN"
    elif how == "next-message":
        link.a.sendmsg(b"next")
        got = link.b.recvmsg(room=1)
        assert (got.data, got.fds) == (b"next", [])
    else:
        link.b.close()
        if how == "closes-both":
            link.a.close()
    assert pipe.released


@case("raw-oob.unread", level=SHOULD, checks="S27e", profiles=[RAW], types=[STREAM])
def test_what_went_with_a_byte_that_nobody_reads(link):
    """The socket is closed with the out-of-band byte still there: what went with it is released."""
    pipe = link.pipe()
    send_urgent(link.a, b"!", [pipe.writer])
    link.close(pipe.writer)
    assert not pipe.released
    link.b.close()
    assert pipe.released


@case("raw-oob.skipped", level=MAY, checks="S27b", profiles=[RAW], types=[STREAM])
def test_a_plain_receive_skips_the_byte(link):
    """A plain receive with nothing but the byte there: EAGAIN, no number, and what went with the byte is dropped."""
    pipe = link.pipe()
    send_urgent(link.a, b"!", [pipe.writer])
    link.close(pipe.writer)
    before = link.table.numbers()
    assert link.b.recvmsg(room=1).errno == "EAGAIN"
    assert link.b.recvmsg(room=1).errno == "EAGAIN"
    assert link.table.numbers() == before
    assert pipe.released


@case("raw-oob.skipped.followed", level=MAY, checks="S27b", profiles=[RAW], types=[STREAM])
def test_a_plain_receive_finds_what_follows(link, objects):
    """Behind the byte comes another message with a descriptor: a plain receive skips the byte and gets that one's own."""
    dropped, (file,) = link.pipe(), objects.files(1)
    send_urgent(link.a, b"!", [dropped.writer])
    link.close(dropped.writer)
    link.a.sendmsg(b"next", link.open(file))
    got = link.b.recvmsg(room=2)
    assert (got.data, got.things, got.flags) == (b"next", [file], frozenset())
    assert dropped.released


@case("raw-oob.inline", level=MAY, checks="S27c", profiles=[RAW], types=[STREAM])
def test_inline_the_byte_is_data(link, objects):
    """With SO_OOBINLINE a plain receive returns the byte with its descriptors."""
    link.b.option("SO_OOBINLINE", 1)
    things = objects.files(2)
    send_urgent(link.a, b"!", link.open(*things))
    got = link.b.recvmsg(room=2)
    assert (got.data, got.things) == (b"!", things)
    assert not got.has("MSG_CTRUNC")


@case("raw-oob.several-bytes", level=MAY, checks="S27d", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("size", [2, 3, 1000])
def test_descriptors_come_with_the_plain_bytes_in_front(link, objects, size):
    """Of several bytes sent out of band all but the last are plain: the descriptors arrive with those."""
    data = (b"abcdefghij" * 100)[: size - 1] + b"!"
    things = objects.files(2)
    send_urgent(link.a, data, link.open(*things))
    got = link.b.recvmsg(room=2)
    assert (got.data, got.things) == (data[:-1], things)
    urgent = link.b.recvmsg(room=2, flags=["MSG_OOB"])
    assert (urgent.data, urgent.fds) == (b"!", [])
    assert link.b.empty


@case("raw-oob.packets", level=MAY, checks="S28", profiles=[RAW], types=PACKETS)
def test_packets_have_none(link):
    """MSG_OOB on packets is refused with EOPNOTSUPP, sending and receiving; no reference is kept, and nothing is taken."""
    pipe = link.pipe()
    sent = link.a.sendmsg(b"x", [pipe.writer], flags=["MSG_OOB"])
    assert sent.errno == "EOPNOTSUPP"
    link.close(pipe.writer)
    assert pipe.released
    link.a.sendmsg(b"plain")
    assert link.b.recvmsg(room=1, flags=["MSG_OOB"]).errno == "EOPNOTSUPP"
    assert link.b.recvmsg(room=1).data == b"plain"


@case("raw-oob.no-bytes", level=MAY, checks="S28b", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("buffers", [0, 1, 2])
def test_no_byte_out_of_band(link, buffers):
    """A send of no bytes with MSG_OOB is refused with EOPNOTSUPP, and keeps no reference."""
    pipe = link.pipe()
    sent = link.a.sendmsg([b""] * buffers, [pipe.writer], flags=["MSG_OOB"])
    assert sent.errno == "EOPNOTSUPP"
    link.close(pipe.writer)
    assert pipe.released
    assert link.b.empty


@case("raw-oob.none-pending", level=MAY, checks="S28c", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("queued", ["nothing", "plain", "received-already"])
def test_no_byte_is_pending(link, objects, queued):
    """A receive with MSG_OOB and no such byte: EINVAL, and plain data with descriptors stays as it is."""
    file = objects.file()
    fds = link.open(file)
    send_urgent(link.a if queued == "received-already" else link.pair()[0], b"!")
    if queued == "received-already":
        assert link.b.recvmsg(flags=["MSG_OOB"]).data == b"!"
    if queued == "plain":
        link.a.sendmsg(b"word", fds)
    seen = link.b.recvmsg(room=1, flags=["MSG_OOB"])
    assert (seen.errno, seen.fds) == ("EINVAL", [])
    if queued == "plain":
        got = link.b.recvmsg(room=1)
        assert (got.data, got.things) == (b"word", [file])
