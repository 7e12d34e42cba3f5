"""What a send with descriptors does inside the kernel: what arrives, in which order, and what a message without data means."""

import pytest
from fdspec.conformance.rawend import End
from fdspec.conformance.rawlooks import SMALL_BUFFER, drain, one_description, path_of, verbatim, writes_through
from fdspec.conformance.rawmsg import message, outgoing
from fdspec.conformance.suite import DGRAM, MAY, MUST, PACKETS, RAW, SEQPACKET, SHOULD, STREAM, case
from fdspec.impls.protocol.values import Memory

BIG = bytes(range(256)) * 400
"""100 KiB, in which every place can be told."""
COMPAT = 0x80000000
"""MSG_CMSG_COMPAT, by which a 64-bit kernel marks the calls of 32-bit programs for itself."""


@case("raw-send.one", level=MUST, checks="S01", profiles=[RAW])
def test_one_descriptor_is_sent(link, objects):
    """One descriptor arrives as one SCM_RIGHTS control message beside its data, another number for the same description."""
    file = objects.file()
    (fd,) = link.open(file)
    sent = link.a.sendmsg(b"data", [fd])
    assert (sent.returned, sent.errno) == (4, None)
    got = link.b.recvmsg(control=64)
    assert got.data == b"data"
    assert got.things == [file]
    assert [(one.level, one.type, len(one.data)) for one in got.cmsgs] == [(1, 1, 4)]
    assert got.control_length == link.layout.space(4)
    assert got.flags == frozenset()
    assert got.fds != [fd]
    assert one_description(link, fd, got.fds[0])


@case("raw-send.count", level=MUST, checks="S01", profiles=[RAW])
@pytest.mark.parametrize("size", [1, 7, 255, 256, 4096])
def test_the_count_is_that_of_the_data(link, objects, size):
    """Messages of several sizes arrive whole beside a descriptor, and what is returned is the length of the data."""
    data = BIG[:size]
    assert link.a.sendmsg(data, link.open(objects.file())).returned == size
    got = link.b.recvmsg(size + 1, room=1)
    assert got.data == data
    assert len(got.fds) == 1


@case("raw-send.order", level=MUST, checks="S02", profiles=[RAW])
def test_the_order_is_kept(link, objects):
    """Ten descriptors, neither ascending nor descending, arrive in the order of the array."""
    things = objects.files(10)
    numbers = link.open(*things)
    mixed = [3, 9, 0, 7, 1, 8, 2, 6, 5, 4]
    link.a.sendmsg(b"x", [numbers[index] for index in mixed])
    assert link.b.recvmsg(room=10).things == [things[index] for index in mixed]


@case("raw-send.duplicates", level=MUST, checks="S03", profiles=[RAW])
def test_a_number_given_twice_arrives_twice(link, objects):
    """A number that stands in the array twice arrives as two numbers with one open file description."""
    one, other = objects.files(2)
    a, b = link.open(one, other)
    link.a.sendmsg(b"x", [a, b, a])
    got = link.b.recvmsg(room=3)
    assert got.things == [one, other, one]
    assert len(set(got.fds)) == 3
    assert one_description(link, got.fds[0], got.fds[2])
    assert one_description(link, got.fds[0], a)


@case("raw-send.close-at-once", level=MUST, checks="S08", profiles=[RAW])
def test_the_sender_closes_at_once(link):
    """The sender closes its number before anything is received: the file stays open in flight, and works when received."""
    pipe = link.pipe()
    link.a.sendmsg(b"x", [pipe.writer])
    link.close(pipe.writer)
    assert not pipe.released
    got = link.b.recvmsg(room=1)
    assert writes_through(link, pipe.reader, got.fds)
    link.close(*got.fds)
    assert pipe.released


@case("raw-send.itself", level=MUST, checks="S09", profiles=[RAW])
@pytest.mark.parametrize("which", ["itself", "peer"])
def test_a_socket_is_sent_over_itself(link, which):
    """A socket is sent over itself or over its peer; what is received works as that very socket."""
    passed, far = (link.a, link.b) if which == "itself" else (link.b, link.a)
    link.a.sendmsg(b"x", [passed.fd])
    got = link.b.recvmsg(room=1)
    (fd,) = got.fds
    assert one_description(link, fd, passed.fd)
    copy = End(link, fd, link)
    assert copy.sendmsg(b"out of the copy").returned == 15
    assert far.recvmsg().data == b"out of the copy"
    far.sendmsg(b"into the copy")
    assert copy.recvmsg().data == b"into the copy"


@case("raw-send.datagram-address", level=MUST, checks="S13", profiles=[RAW], types=[DGRAM])
@pytest.mark.parametrize("kind", ["abstract", "path"])
def test_a_datagram_goes_to_its_address(link, objects, kind):
    """A datagram with an explicit address carries its descriptors there, and nothing comes to the connected peer."""
    address = link.address()
    if kind == "path":
        address = f"{link.directory}/{address[1:]}"
    end = link.listen(address)
    things = objects.files(2)
    try:
        assert link.a.sendmsg(b"data", link.open(*things), address=address).returned == 4
        got = end.recvmsg(room=2)
    finally:
        if kind == "path":
            link.call("unlink", iov=[path_of(address)])
    assert (got.data, got.things) == (b"data", things)
    assert link.b.empty


@case("raw-send.seqpacket-address", level=MAY, checks="S14", profiles=[RAW], types=[SEQPACKET])
@pytest.mark.parametrize("address", ["elsewhere", "nobody", "bogus"])
def test_a_seqpacket_ignores_an_address(link, objects, address):
    """A destination of another socket, of nobody, or of no family at all: the packet goes to the peer, or EISCONN."""
    file = objects.file()
    fds = link.open(file)
    known = link.address()
    other = link.listen(known)
    if address == "bogus":
        sent = link.a.sendmsg(b"x", fds, name=Memory(data="ff" * 16))
    else:
        sent = link.a.sendmsg(b"x", fds, address=known if address == "elsewhere" else link.address())
    assert "POLLIN" not in other.poll("POLLIN")
    if sent.errno == "EISCONN":
        link.outcome = "refused"
        assert link.b.empty
        return
    link.outcome = "ignored"
    assert not sent.failed
    assert link.b.recvmsg(room=1).things == [file]


@case("raw-send.partial", level=MUST, checks="S16", profiles=[RAW], types=[STREAM])
def test_a_partial_write(link, objects):
    """Of 100 KiB a small buffer takes a part: the number of bytes is returned, and the descriptors come once, at the front."""
    link.a.option("SO_SNDBUF", SMALL_BUFFER)
    things = objects.files(3)
    sent = link.a.sendmsg(BIG, link.open(*things))
    assert 0 < sent.returned < len(BIG)
    first = link.b.recvmsg(1, room=8)
    assert (first.data, first.things) == (BIG[:1], things)
    data, fds = drain(link.b)
    assert first.data + data == BIG[: sent.returned]
    assert fds == []


def beside(link, data, fds):
    """Return a msghdr of one buffer and these descriptors."""
    return message(outgoing(data), Memory(data=link.layout.rights(fds).hex()) if fds else None)


@case("raw-send.several-messages", level=MUST, checks="S17", profiles=[RAW], needs=["many"])
def test_each_message_of_sendmmsg_has_its_own(link, objects):
    """Four messages with 2, 0, 1 and 3 descriptors go by one sendmmsg; each arrives with its own and nobody else's."""
    things = objects.files(6)
    numbers = link.open(*things)
    parts = [slice(0, 2), slice(2, 2), slice(2, 3), slice(3, 6)]
    messages = [beside(link, b"word", numbers[part]) for part in parts]
    sent = link.a.sendmmsg(messages)
    assert (sent.returned, sent.lengths) == (4, [4] * 4)
    if link.type is STREAM:  # plain data in front is received together with what has descriptors
        expected = [(b"word", things[:2]), (b"wordword", things[2:3]), (b"word", things[3:])]
    else:
        expected = [(b"word", things[part]) for part in parts]
    count, got = link.b.recvmmsg(5, room=4)
    assert count == len(expected)
    assert [(one.data, one.things) for one in got] == expected


@case("raw-send.several-messages.bad", level=MUST, checks="S18", profiles=[RAW], needs=["many"])
@pytest.mark.parametrize("bad", range(4))
def test_sendmmsg_stops_at_the_first_bad_message(link, objects, bad):
    """One of four messages has a bad descriptor: those in front of it are sent and counted; the first one's error is told."""
    things = objects.files(4)
    numbers = link.open(*things)
    messages = [beside(link, b"x", [-1 if index == bad else numbers[index]]) for index in range(4)]
    sent = link.a.sendmmsg(messages)
    assert (sent.returned, sent.errno) == ((bad, None) if bad else (-1, "EBADF"))
    for thing in things[:bad]:
        got = link.b.recvmsg(room=2)
        assert (got.data, got.things) == (b"x", [thing])
    assert link.b.empty


NO_DATA = {"one-empty": [b""], "three-empty": [b"", b"", b""]}


@case("raw-send.empty.stream", level=SHOULD, checks="S20 S23", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("buffers", NO_DATA)
def test_a_stream_send_without_data(link, buffers):
    """Descriptors without a byte of data, in one empty buffer or in three, do not arrive on a stream; nothing is kept."""
    pipe = link.pipe()
    sent = link.a.sendmsg(NO_DATA[buffers], [pipe.writer])
    link.close(pipe.writer)
    if sent.failed:
        link.outcome = "refused"
    else:
        assert sent.returned == 0
        delivered = "POLLIN" in link.b.poll("POLLIN")
        link.outcome = "delivered" if delivered else "dropped"
        if delivered:
            link.close(*link.b.recvmsg(room=1).fds)
    assert pipe.released
    assert link.b.empty


@case("raw-send.empty.packet", level=MUST, checks="S21", profiles=[RAW], types=PACKETS)
def test_a_packet_without_data(link, objects):
    """A packet without data delivers its descriptors: the receive returns 0 bytes and the control message, no flag."""
    things = objects.files(2)
    sent = link.a.sendmsg(b"", link.open(*things))
    assert (sent.returned, sent.errno) == (0, None)
    got = link.b.recvmsg(room=2)
    assert (got.returned, got.things, got.flags) == (0, things, frozenset())
    assert link.b.empty


@case("raw-send.empty.buffers", level=SHOULD, checks="S23", profiles=[RAW], types=PACKETS)
@pytest.mark.parametrize("count", [2, 3, 1024])
def test_several_empty_buffers(link, objects, count):
    """A packet of several buffers, all of them empty, is one without data."""
    file = objects.file()
    assert link.a.sendmsg([b""] * count, link.open(file)).returned == 0
    got = link.b.recvmsg(room=1)
    assert (got.returned, got.things) == (0, [file])


@case("raw-send.no-buffers", level=MAY, checks="S22", profiles=[RAW])
def test_an_empty_list_of_buffers(link):
    """No buffer at all (msg_iov null, msg_iovlen 0) is a send of zero bytes, or EMSGSIZE."""
    pipe = link.pipe()
    sent = link.a.sendmsg([], [pipe.writer])
    link.close(pipe.writer)
    if sent.errno == "EMSGSIZE":
        link.outcome = "refused"
    else:
        link.outcome = "empty"
        assert (sent.returned, sent.errno) == (0, None)
        if link.type is not STREAM:
            got = link.b.recvmsg(room=1)
            assert (got.returned, len(got.fds)) == (0, 1)
            link.close(*got.fds)
    assert link.b.empty
    assert pipe.released


@case("raw-send.header-flags", level=MUST, checks="S25", profiles=[RAW])
@pytest.mark.parametrize("flags", [["MSG_OOB"], ["MSG_CTRUNC", "MSG_TRUNC"], [0x7FFFFFFF]], ids=["oob", "trunc", "all"])
def test_msg_flags_has_no_effect(link, objects, flags):
    """Whatever stands in msg_flags of the header, the message is an ordinary one, and the header is left as it was."""
    file = objects.file()
    sent = link.a.sendmsg(b"xy", link.open(file), msg_flags=flags)
    assert (sent.returned, sent.changed) == (2, frozenset())
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things, got.flags) == (b"xy", [file], frozenset())


@case("raw-send.compat-flag", level=MAY, checks="S26", profiles=[RAW])
def test_the_flag_of_32_bit_calls(link):
    """MSG_CMSG_COMPAT is refused with EINVAL in both directions, and nothing is queued or taken; or it has no effect."""
    pipe = link.pipe()
    sent = link.a.sendmsg(b"x", [pipe.writer], flags=[COMPAT])
    if link.layout.word == 4 and not sent.failed:  # the flag says of the call only what is true of it
        link.outcome = "no-effect"
        got = link.b.recvmsg(room=1, flags=[COMPAT])
        assert (got.data, len(got.fds), got.flags) == (b"x", 1, frozenset())
        return
    link.outcome = "refused"
    assert sent.errno == "EINVAL"
    assert link.b.empty
    link.a.sendmsg(b"x", [pipe.writer])
    assert link.b.recvmsg(room=1, flags=[COMPAT]).errno == "EINVAL"
    got = link.b.recvmsg(room=1)
    assert (got.data, len(got.fds)) == (b"x", 1)
    link.close(pipe.writer, *got.fds)
    assert pipe.released


@case("raw-send.receive-flags", level=SHOULD, checks="S26b", profiles=[RAW])
@pytest.mark.parametrize("flag", ["MSG_CMSG_CLOEXEC", "MSG_PEEK", "MSG_TRUNC", "MSG_CTRUNC", "MSG_WAITALL"])
def test_flags_of_receiving_when_sending(link, objects, flag):
    """A flag that has a meaning only when receiving changes nothing of a send."""
    file = objects.file()
    assert link.a.sendmsg(b"xy", link.open(file), flags=[flag]).returned == 2
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things, got.flags) == (b"xy", [file], frozenset())
    assert not link.table.cloexec(got.fds[0])
    assert link.b.empty


@case("raw-send.record-end", level=MAY, checks="S30", profiles=[RAW])
def test_the_end_of_a_record(link, objects):
    """MSG_EOR is accepted; what arrives is the same, with or without the flag in msg_flags."""
    file = objects.file()
    assert link.a.sendmsg(b"xy", link.open(file), flags=["MSG_EOR"]).returned == 2
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things) == (b"xy", [file])
    assert got.flags <= {"MSG_EOR"}
    link.outcome = "reported" if got.flags else "silent"


@case("raw-send.just-before-nothing", level=MUST, checks="S01 A16", profiles=[RAW])
def test_no_byte_beyond_the_control_data_is_read(link, objects):
    """Unpadded control data that ends at the end of its page is sent: the kernel reads no byte behind msg_controllen."""
    file = objects.file()
    control = verbatim(link.layout.rights(link.open(file), padded=False))
    assert link.a.sendmsg(b"x", control=control).returned == 1
    assert link.b.recvmsg(room=1).things == [file]
