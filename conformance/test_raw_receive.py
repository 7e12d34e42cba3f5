"""What a receive does with descriptors beside data: with room and without, by calls that know no control data, at the end."""

import pytest
from fdspec.conformance.rawlooks import verbatim
from fdspec.conformance.suite import DGRAM, MAY, MUST, PACKETS, RAW, SEQPACKET, SHOULD, STREAM, case
from fdspec.impls.protocol.values import Memory

CONNECTED = [STREAM, SEQPACKET]


@case("raw-receive.no-room", level=MUST, checks="R02", profiles=[RAW])
@pytest.mark.parametrize("count", [1, 3])
def test_a_receive_without_room(link, count):
    """No control buffer at all: the data comes, no number is installed, what was sent is closed, perhaps MSG_CTRUNC."""
    pipe = link.pipe()
    link.a.sendmsg(b"word", [pipe.writer] * count)
    link.close(pipe.writer)
    got = link.b.recvmsg()
    assert (got.data, got.control_length) == (b"word", 0)
    assert got.flags <= {"MSG_CTRUNC"}
    link.outcome = "flagged" if got.flags else "silent"
    assert link.hidden == []
    assert pipe.released
    assert link.b.empty


PLAIN_CALLS = {
    "read": lambda end: end.call("read", iov=[Memory(size=64)]),
    "readv": lambda end: end.call("readv", iov=[Memory(size=2), Memory(size=64)]),
    "recv": lambda end: end.call("recv", iov=[Memory(size=64)]),
    "recvfrom": lambda end: end.call("recvfrom", iov=[Memory(size=64), Memory(size=128)]),
}


@case("raw-receive.plain-call", level=MUST, checks="R03", profiles=[RAW])
@pytest.mark.parametrize("name", PLAIN_CALLS)
def test_calls_without_control_data(link, name):
    """Calls named read, readv, recv and recvfrom return the data and close what came with it; no number is installed."""
    pipe = link.pipe()
    link.a.sendmsg(b"word", [pipe.writer] * 2)
    link.close(pipe.writer)
    seen = PLAIN_CALLS[name](link.b)
    assert (seen.data, seen.errno) == (b"word", None)
    assert link.hidden == []
    assert pipe.released
    assert link.b.empty


@case("raw-receive.plain-call.next", level=MUST, checks="R03", profiles=[RAW])
@pytest.mark.parametrize("name", PLAIN_CALLS)
def test_the_message_after_a_plain_call(link, objects, name):
    """What a plain call closed does not come back, and the next message brings its own descriptor unflagged."""
    one, other = objects.files(2)
    a, b = link.open(one, other)
    link.a.sendmsg(b"word", [a])
    link.a.sendmsg(b"next", [b])
    assert PLAIN_CALLS[name](link.b).data == b"word"
    got = link.b.recvmsg(room=4)
    assert (got.data, got.things, got.flags) == (b"next", [other], frozenset())


@case("raw-receive.failed.would-block", level=MAY, checks="R05b", profiles=[RAW])
@pytest.mark.parametrize("before", [False, True], ids=["first", "after-another"])
def test_a_receive_that_would_block_writes_nothing(link, objects, before):
    """EAGAIN: msg_flags, msg_controllen and the control buffer are what the caller put there, whatever came before."""
    if before:
        link.a.sendmsg(b"word", link.open(objects.file()))
        assert len(link.b.recvmsg(room=1).fds) == 1
    got = link.b.recvmsg(control=64, msg_flags=["MSG_CTRUNC", "MSG_TRUNC"])
    assert (got.errno, got.changed) == ("EAGAIN", frozenset())
    assert (got.flags, got.control_length) == ({"MSG_CTRUNC", "MSG_TRUNC"}, 64)


@case("raw-receive.failed.interrupted", level=MAY, checks="R05b", profiles=[RAW])
def test_a_receive_that_is_interrupted_writes_nothing(link):
    """EINTR: msg_flags, msg_controllen and the control buffer are what the caller put there."""
    got = link.b.recvmsg(control=64, msg_flags=["MSG_CTRUNC"], how={"wait": True, "alarm": 0.002})
    assert (got.errno, got.changed) == ("EINTR", frozenset())
    assert (got.flags, got.control_length) == ({"MSG_CTRUNC"}, 64)


def lowest(numbers, count):
    """Return the lowest ``count`` numbers that are not among ``numbers``."""
    taken = set(numbers)
    return [number for number in range(len(taken) + count) if number not in taken][:count]


@case("raw-receive.lowest", level=SHOULD, checks="R09", profiles=[RAW])
@pytest.mark.parametrize("gaps", [(), (0,), (1, 4), (0, 2, 3, 5)], ids=["none", "one", "two", "four"])
def test_the_lowest_free_numbers(link, objects, gaps):
    """Received numbers are the lowest free ones, ascending: gaps in the table first."""
    things = objects.files(6)
    numbers = link.open(*things)
    link.a.sendmsg(b"word", numbers)
    link.close(*[numbers[index] for index in gaps])
    expected = lowest(link.table.numbers(), 6)
    got = link.b.recvmsg(room=6)
    assert got.things == things
    assert got.fds == expected


@case("raw-receive.number-zero", level=SHOULD, checks="R22 R09", profiles=[RAW])
def test_number_zero(link, objects):
    """In a process whose number 0 is closed the first descriptor received is 0, and refers to what was sent."""
    things = objects.files(2)
    link.a.sendmsg(b"word", link.open(*things))
    child = link.child()
    child.close(0)
    got = child.end(link.b).recvmsg(room=2)
    assert got.fds[0] == 0
    assert got.things == things
    child.wait()


NO_BYTES = {"one-empty": [0], "two-empty": [0, 0], "none": []}


@case("raw-receive.no-bytes.stream", level=MAY, checks="R11", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("buffers", NO_BYTES)
def test_a_stream_receive_of_no_bytes(link, objects, buffers):
    """Room for no byte but for descriptors: 0 is returned with the descriptors, and the data stays for the next receive."""
    things = objects.files(2)
    link.a.sendmsg(b"word", link.open(*things))
    got = link.b.recvmsg(NO_BYTES[buffers], room=2)
    assert (got.returned, got.things, got.flags) == (0, things, frozenset())
    rest = link.b.recvmsg(room=2)
    assert (rest.data, rest.fds, rest.flags) == (b"word", [], frozenset())


@case("raw-receive.no-bytes.packet", level=MAY, checks="R11", profiles=[RAW], types=PACKETS)
@pytest.mark.parametrize("buffers", NO_BYTES)
def test_a_packet_receive_of_no_bytes(link, objects, buffers):
    """Room for no byte but for descriptors: the packet is consumed with MSG_TRUNC, and its descriptors come."""
    things = objects.files(2)
    link.a.sendmsg(b"word", link.open(*things))
    got = link.b.recvmsg(NO_BYTES[buffers], room=2)
    assert (got.returned, got.things, got.flags) == (0, things, {"MSG_TRUNC"})
    assert link.b.empty


@case("raw-receive.no-bytes.plain-call", level=MAY, checks="R12", profiles=[RAW])
@pytest.mark.parametrize("by", ["recv", "recvmsg"])
def test_a_plain_receive_of_no_bytes(link, by):
    """A receive of 0 bytes without control data: what came is dropped and a stream keeps its data, or all of it stays."""
    pipe = link.pipe()
    link.a.sendmsg(b"word", [pipe.writer])
    link.close(pipe.writer)
    seen = link.b.recv(0) if by == "recv" else link.b.recvmsg(0)
    assert (seen.returned, seen.errno) == (0, None)
    assert link.hidden == []
    link.outcome = "dropped" if pipe.released else "kept"
    rest = link.b.recvmsg(room=1)
    if link.type is STREAM or link.outcome == "kept":
        assert rest.data == b"word"
        assert len(rest.fds) == (link.outcome == "kept")
    else:
        assert rest.errno == "EAGAIN"


@case("raw-receive.no-bytes.read", level=MAY, checks="R12b", profiles=[RAW])
def test_a_read_of_no_bytes(link, objects):
    """A read of 0 bytes returns 0 and takes nothing: data and descriptors come with the next receive."""
    file = objects.file()
    link.a.sendmsg(b"word", link.open(file))
    seen = link.b.read(0)
    assert (seen.returned, seen.errno) == (0, None)
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things, got.flags) == (b"word", [file], frozenset())


@case("raw-receive.several-messages", level=MUST, checks="R14", profiles=[RAW], needs=["many"])
@pytest.mark.parametrize("counts", [(1, 1, 1), (3, 1, 2), (0, 2, 1), (1, 0, 2)], ids=["111", "312", "021", "102"])
def test_recvmmsg_keeps_messages_apart(link, objects, counts):
    """Three messages received by one recvmmsg: each element has its own data and its own descriptors, with lengths of its own."""
    things = objects.files(sum(counts))
    numbers = link.open(*things)
    expected, at = [], 0
    for index, count in enumerate(counts):
        data = bytes([65 + index]) * (index + 1)
        link.a.sendmsg(data, numbers[at : at + count])
        expected.append((data, things[at : at + count]))
        at += count
    if link.type is STREAM:  # plain data is received together with the message behind it
        for index in (1, 0):
            if not expected[index][1]:
                (data, _), (behind, with_it) = expected[index : index + 2]
                expected[index : index + 2] = [(data + behind, with_it)]
    count, got = link.b.recvmmsg(4, room=3)
    assert count == len(expected)
    assert [(one.data, one.things) for one in got] == expected
    spaces = [link.layout.length(4 * len(one.fds)) if one.fds else 0 for one in got]
    assert all(one.control_length >= space for one, space in zip(got, spaces, strict=True))
    assert all(one.flags == frozenset() for one in got)


@case("raw-receive.several-messages.truncated", level=MUST, checks="R14 T01", profiles=[RAW], needs=["many"])
def test_recvmmsg_flags_the_right_message(link, objects):
    """Three messages by one recvmmsg, the second without room: it alone is flagged, and the third has what is its own."""
    things = objects.files(3)
    for fd in link.open(*things):
        link.a.sendmsg(b"x", [fd])
    headers = [link.b.header(room=1), link.b.header(), link.b.header(room=1)]
    count, got = link.b.recvmmsg_of(headers)
    assert count == 3
    assert [one.things for one in got] == [[things[0]], [], [things[2]]]
    assert [one.has("MSG_CTRUNC") for one in got] == [False, True, False]


@case("raw-receive.address", level=MUST, checks="R15", profiles=[RAW], types=CONNECTED)
def test_the_address_of_a_connection(link, objects):
    """The name of a bound client is shown beside its descriptors, or none at all, as on some connections."""
    file = objects.file()
    fds = link.open(file)
    there, own = link.address(), link.address()
    listener = link.listen(there)
    client = link.connect(there, bind=own)
    server = listener.accept()
    client.sendmsg(b"word", fds)
    got = server.recvmsg(room=1, name=Memory(size=110))
    assert (got.data, got.things) == (b"word", [file])
    assert shown(link, got) == own


@case("raw-receive.address.datagram", level=MUST, checks="R15", profiles=[RAW], types=[DGRAM])
@pytest.mark.parametrize("bound", [True, False], ids=["bound", "unbound"])
def test_the_address_of_a_datagram(link, objects, bound):
    """The sender's name is shown beside its descriptors; for a sender without a name there is none."""
    file = objects.file()
    fds = link.open(file)
    there, own = link.address(), link.address()
    receiver = link.listen(there)
    sender = link.connect(there, bind=own if bound else None)
    sender.sendmsg(b"word", fds)
    got = receiver.recvmsg(room=1, name=Memory(size=110))
    assert (got.data, got.things) == (b"word", [file])
    assert shown(link, got) == (own if bound else "")


def shown(link, got):
    """Return the abstract address in msg_name, '' where there is none."""
    name = got.name[: got.name_length]
    if len(name) <= 2:
        return ""
    assert name[:3] == (1).to_bytes(2, link.layout.order) + b"\0"
    return "@" + name[3:].decode()


@case("raw-receive.after-shutdown", level=MUST, checks="R17 R17b", profiles=[RAW])
def test_what_was_sent_before_the_end(link, objects):
    """Descriptors sent before SHUT_WR are delivered, then there is the end; what is sent after it fails with EPIPE."""
    file = objects.file()
    late = link.pipe()
    link.a.sendmsg(b"word", link.open(file))
    link.a.shutdown("SHUT_WR")
    assert link.a.sendmsg(b"late", [late.writer], flags=["MSG_NOSIGNAL"]).errno == "EPIPE"
    link.close(late.writer)
    assert late.released
    got = link.b.recvmsg(room=2)
    assert (got.data, got.things, got.flags) == (b"word", [file], frozenset())
    if link.type is DGRAM:  # datagrams know no end
        assert link.b.empty
    else:
        assert link.b.ended


@case("raw-receive.after-shutdown.signal", level=MUST, checks="R17b", profiles=[RAW], types=[STREAM])
def test_the_signal_of_a_send_after_shutdown(link):
    """A stream send after SHUT_WR: EPIPE and SIGPIPE, no reference is kept, and the other direction still works."""
    pipe = link.pipe()
    link.a.shutdown("SHUT_WR")
    sent = link.a.sendmsg(b"late", [pipe.writer])
    assert (sent.errno, sent.signals) == ("EPIPE", ("SIGPIPE",))
    link.b.sendmsg(b"back", [pipe.writer])
    got = link.a.recvmsg(room=1)
    assert (got.data, len(got.fds)) == (b"back", 1)
    link.close(pipe.writer, *got.fds)
    assert pipe.released


@case("raw-receive.cloexec-flag", level=MAY, checks="R18", profiles=[RAW])
def test_the_flag_for_close_on_exec_in_msg_flags(link, objects):
    """MSG_CMSG_CLOEXEC given to a receive stands in msg_flags or does not; nothing else does."""
    link.a.sendmsg(b"word", link.open(objects.file()))
    got = link.b.recvmsg(room=1, flags=["MSG_CMSG_CLOEXEC"])
    assert got.flags <= {"MSG_CMSG_CLOEXEC"}
    link.outcome = "echoed" if got.flags else "silent"
    assert link.table.cloexec(got.fds[0])


@case("raw-receive.splice", level=MAY, checks="R19", profiles=[RAW], types=[STREAM])
def test_splice_closes_what_came(link):
    """A splice from a stream into a pipe moves the data; descriptors that came with it are closed."""
    passed, into = link.pipe(), link.pipe()
    link.a.sendmsg(b"word", [passed.writer] * 2)
    link.close(passed.writer)
    assert link.b.call("splice", into.writer, 64, 0).returned == 4
    assert into.reader.read().data == b"word"
    assert link.hidden == []
    assert passed.released
    assert link.b.empty


@case("raw-receive.bytes-pending", level=MAY, checks="R20", profiles=[RAW])
@pytest.mark.parametrize("size", [0, 1, 100])
@pytest.mark.parametrize("count", [1, 253])
def test_the_count_of_pending_bytes(link, size, count):
    """FIONREAD is the number of bytes of data, however many descriptors are beside them."""
    if size == 0 and link.type is STREAM:
        size = 7  # nothing is sent on a stream without a byte
    pipe = link.pipe()
    control = link.layout.rights([pipe.writer] * count)
    # laid before a page that is not there, since some C libraries copy no more than 1 KiB of control data
    link.a.sendmsg(b"d" * size, control=verbatim(control))
    assert link.b.queued == count
    seen = link.b.call("ioctl", "FIONREAD", iov=[Memory(size=4)])
    assert link.layout.read_ints(seen.memory[0]) == [size]


@case("raw-receive.readable", level=SHOULD, checks="R21", profiles=[RAW])
def test_what_makes_a_socket_readable(link):
    """A packet without data but with descriptors makes its socket readable; a stream is not made so by descriptors alone."""
    pipe = link.pipe()
    assert link.b.poll("POLLIN") == set()
    link.a.sendmsg(b"", [pipe.writer])
    assert link.b.poll("POLLIN") == (set() if link.type is STREAM else {"POLLIN"})
    link.a.sendmsg(b"word", [pipe.writer])
    assert link.b.poll("POLLIN") == {"POLLIN"}
