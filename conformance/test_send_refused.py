"""Sends that are refused, or that cannot carry what they were given: nothing arrives in part, nothing stays behind."""

from fdspec.conformance.checks import SMALL_BUFFER, drain, fill, fresh_name, peer_option, quiet, released, unconnected
from fdspec.conformance.suite import DGRAM, MAY, MUST, PACKETS, SEQPACKET, SHOULD, STREAM, case

BIG = bytes(range(256)) * 400
"""100 KiB, in which every place can be told."""


@case("send.bad-number", level=MUST, checks="S04 S06 S07 LC11")
def test_bad_numbers_are_refused(link, objects):
    """-1, AT_FDCWD and numbers that are not open: EBADF, nothing arrives, and the link goes on working."""
    file = objects.file()
    good = link.open(file)
    closed = max(link.table.numbers()) + 50
    for number in (-1, -100, -(2**31), closed, 2**31 - 1):
        sent = link.send(b"bad", [number])
        assert sent.failed, number
        assert sent.errno in {None, "EBADF"}, number
        assert not link.peer.pending(), number
    assert not link.send(b"good", good).failed
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"good", [file.identity])


@case("send.bad-number.too-big", level=MUST, checks="LC11")
def test_numbers_beyond_an_int_are_refused(link, objects):
    """Numbers that no int holds are refused, not cut down to one that is open."""
    file = objects.file()
    good = link.open(file)
    for number in (2**31, 2**32 + good[0], 2**64 + good[0], -(2**32) + good[0]):
        assert link.send(b"bad", [number]).failed, number
        assert not link.peer.pending(), number
    assert not link.send(b"good", good).failed
    assert link.peer.receive().identities == [file.identity]


@case("send.bad-number.after-good", level=MUST, checks="S05 L05 LC11")
def test_a_bad_number_behind_good_ones(link, objects):
    """One bad number behind two good ones: EBADF, nothing arrives, and no reference to the good ones is kept."""
    pipe, file = objects.fifo(), objects.file()
    good = link.open(pipe, file)
    sent = link.send(b"x", [*good, -1])
    assert sent.failed
    assert sent.errno in {None, "EBADF"}
    assert not link.peer.pending()
    link.close(good[0])
    assert released(pipe)


@case("send.bad-number.before-good", level=MUST, checks="S05 L05 LC11")
def test_a_bad_number_in_front_of_good_ones(link, objects):
    """One bad number in front of good ones: EBADF, nothing arrives, and no reference to the good ones is kept."""
    pipe, file = objects.fifo(), objects.file()
    good = link.open(pipe, file)
    closed = max(link.table.numbers()) + 50
    sent = link.send(b"x", [closed, *good])
    assert sent.failed
    assert not link.peer.pending()
    link.close(good[0])
    assert released(pipe)


@case("send.unconnected", level=MUST, checks="S10 L05")
def test_unconnected_sockets_refuse(link, objects):
    """A send on a socket without a peer fails with ENOTCONN (or EDESTADDRREQ), and no reference is kept."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    flags = quiet(link)
    unconnected(link)
    sent = link.send(b"x", [number], flags=flags)
    assert sent.failed
    assert sent.errno in {None, "ENOTCONN", "EDESTADDRREQ"}
    link.close(number)
    assert released(pipe)


@case("send.peer-closed.stream", level=MUST, checks="S11a L05", types=(STREAM,))
def test_a_closed_stream_refuses(link, objects):
    """The peer has closed: the send fails with EPIPE, and no reference is kept."""
    _refused_by_a_closed_peer(link, objects, {"EPIPE", "ECONNRESET"})


@case("send.peer-closed.packets", level=SHOULD, checks="S11b S11c L05", types=PACKETS)
def test_a_closed_peer_of_packets_refuses(link, objects):
    """The peer has closed: the send fails (datagrams: ECONNREFUSED or ECONNRESET; seqpacket: EPIPE)."""
    errors = {DGRAM: {"ECONNREFUSED", "ENOTCONN", "ECONNRESET"}, SEQPACKET: {"EPIPE", "ECONNRESET"}}
    _refused_by_a_closed_peer(link, objects, errors[link.type])


def _refused_by_a_closed_peer(link, objects, errors):
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    flags = quiet(link)
    link.peer.close()
    for attempt in (1, 2):
        sent = link.send(b"x", [number], flags=flags)
        assert sent.failed, attempt
        assert sent.errno in {None, "ENOTCONN"} | errors, attempt
    link.close(number)
    assert released(pipe)


@case("send.address.stream", level=SHOULD, checks="S12 L05 LC12", types=(STREAM,), needs=("address",))
def test_a_connected_stream_refuses_an_address(link, objects):
    """A connected stream refuses a destination address with EISCONN; nothing arrives and no reference is kept."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    sent = link.send(b"x", [number], address=f"@{fresh_name()}")
    assert sent.failed
    assert sent.errno in {None, "EISCONN", "EOPNOTSUPP"}
    assert not link.peer.pending()
    link.close(number)
    assert released(pipe)


@case("send.full", level=MUST, checks="S15 D06 L05 LC10")
def test_a_full_buffer_takes_nothing(link, objects):
    """The send buffer or the peer's queue is full: EAGAIN, the descriptor is not queued, and no reference is kept."""
    pipe, filler = objects.fifo(), objects.file()
    refused, filling = link.open(pipe, filler)
    link.nonblocking()
    assert fill(link, filling).errno in {None, "EAGAIN"}
    sent = link.send(b"x" * 1024, [refused])
    assert sent.failed
    assert sent.errno in {None, "EAGAIN"}
    link.close(refused)
    assert released(pipe)
    arrived = [one for message in drain(link) for one in message.identities]
    assert arrived
    assert set(arrived) == {filler.identity}


@case("send.full.then-again", level=MUST, checks="S15 LC10")
def test_what_was_refused_can_be_sent_again(link, objects):
    """After EAGAIN the caller still has its descriptor; sent again when the peer has drained, it arrives once."""
    file, filler = objects.files(2)
    again, filling = link.open(file, filler)
    link.nonblocking()
    assert fill(link, filling).failed
    assert link.send(b"y" * 1024, [again]).failed
    drain(link)
    assert not link.send(b"z", [again]).failed
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"z", [file.identity])
    assert not link.peer.pending()


@case("send.no-data.stream", level=SHOULD, checks="S20 S23 LC11", types=(STREAM,), needs=("empty-out",))
def test_a_stream_send_without_data(link, objects):
    """Descriptors without data on a stream: delivered, refused or closed; never kept, never sent with later data."""
    pipe, file = objects.fifo(), objects.file()
    number, other = link.open(pipe, file)
    buffers = [[b""], []] + ([[b"", b""]] if link.can("buffers-out") else [])
    for data in buffers:
        sent = link.send(data, [number])
        delivered = link.peer.receive(1).identities if link.peer.pending() else []
        assert not sent.failed or not delivered, data
        assert delivered in ([], [pipe.identity]), data
        link.outcome = "refused" if sent.failed else "delivered" if delivered else "dropped"
    link.peer.close_received()
    assert not link.send(b"x", [other]).failed
    assert link.peer.receive().identities == [file.identity]
    link.close(number)
    assert released(pipe)


@case("send.no-data.told", level=SHOULD, checks="LC11", types=(STREAM,), needs=("empty-out",))
def test_a_stream_send_without_data_tells(link, objects):
    """Descriptors without data on a stream that do not arrive: the caller sees an error, or a count of 0 bytes."""
    sent = link.send(b"", link.open(objects.file()))
    arrived = link.peer.pending() and bool(link.peer.receive(1).fds)
    assert arrived or sent.failed or sent.count == 0


@case("send.no-data.packet", level=MUST, checks="S21 S22 S23 D05", types=PACKETS, needs=("empty-out",))
def test_a_packet_without_data(link, objects):
    """A packet without data delivers its descriptors, whether it has one empty buffer or several."""
    file = objects.file()
    numbers = link.open(file)
    for data in [[b""]] + ([[b"", b"", b""]] if link.can("buffers-out") else []):
        assert not link.send(data, numbers).failed, data
        got = link.peer.receive()
        assert (got.data, got.identities) == (b"", [file.identity]), data


@case("send.no-data.no-buffers", level=MAY, checks="S22", types=PACKETS, needs=("empty-out",))
def test_a_packet_without_buffers(link, objects):
    """A packet without any buffer is one without data, or is refused with EMSGSIZE and leaves nothing behind."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    sent = link.send([], [number])
    link.outcome = "refused" if sent.failed else "empty"
    if sent.failed:
        assert sent.errno in {None, "EMSGSIZE"}
        assert not link.peer.pending()
    else:
        assert link.peer.receive().identities == [pipe.identity]
        link.peer.close_received()
    link.close(number)
    assert released(pipe)


@case("send.too-many", level=MUST, checks="A13 L05 LC11")
def test_more_than_a_message_carries(link, objects):
    """254 descriptors: refused with nothing sent and no reference kept; or all of them arrive, in several messages."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    sent = link.send(b"x" * 8, [number] * 254)
    if sent.failed:
        assert sent.errno in {None, "EINVAL", "EMSGSIZE", "E2BIG"}
        assert not link.peer.pending()
        link.close(number)
        assert released(pipe)
    else:
        assert sum(len(message.fds) for message in drain(link)) == 254


@case("send.too-many.goes-on", level=MUST, checks="LC11 L05")
def test_the_link_works_after_too_many(link, objects):
    """After a refused send of 300 descriptors the next one arrives as if nothing had been."""
    first, second = objects.files(2)
    a, b = link.open(first, second)
    if not link.send(b"x" * 8, [a] * 300).failed:
        drain(link)
        link.peer.close_received()
    assert not link.send(b"y", [b]).failed
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"y", [second.identity])


@case("send.no-signal", level=MUST, checks="S11a LC12", types=(STREAM,), needs=("flags-out",))
def test_no_signal_takes_effect(link, objects):
    """MSG_NOSIGNAL changes nothing while the peer is there; when it has closed, EPIPE, and the process lives."""
    file = objects.file()
    numbers = link.open(file)
    assert not link.send(b"x", numbers, flags=["MSG_NOSIGNAL"]).failed
    assert link.peer.receive().identities == [file.identity]
    link.peer.close()
    sent = link.send(b"y", numbers, flags=["MSG_NOSIGNAL"])
    assert sent.failed
    assert sent.errno in {None, "EPIPE", "ECONNRESET"}
    assert link.testee.alive


@case("send.too-big", level=MUST, checks="D07 L05", types=PACKETS)
def test_a_packet_too_big_is_refused(link, objects):
    """A packet bigger than the send buffer is refused with EMSGSIZE; nothing arrives and no reference is kept."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    sent = link.send(BIG, [number])
    assert sent.failed
    assert sent.errno in {None, "EMSGSIZE"}
    assert not link.peer.pending()
    link.close(number)
    assert released(pipe)


@case("send.rights-refused", level=MUST, checks="S24a S24b L05")
def test_a_receiver_that_passes_no_rights(link, objects):
    """The peer switches SO_PASSRIGHTS off: what is queued still arrives, a further send fails with EPERM."""
    pipe, file = objects.fifo(), objects.file()
    refused, queued = link.open(pipe, file)
    assert not link.send(b"before", [queued]).failed
    peer_option(link, "SO_PASSRIGHTS", 0)
    sent = link.send(b"after", [refused])
    assert sent.failed
    assert sent.errno in {None, "EPERM"}
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"before", [file.identity])
    assert not link.peer.pending()
    link.close(refused)
    assert released(pipe)


@case("send.rights-refused.plain", level=MUST, checks="S24a", needs=("plain-out",))
def test_plain_data_to_a_receiver_that_passes_no_rights(link):
    """The peer switches SO_PASSRIGHTS off: plain data still arrives."""
    peer_option(link, "SO_PASSRIGHTS", 0)
    assert not link.send(b"plain").failed
    assert link.peer.receive().data == b"plain"


@case("send.not-a-socket", level=MUST, checks="A31 L05")
def test_what_is_no_socket_refuses(link, objects):
    """Sending on a file fails with ENOTSOCK, on a closed number with EBADF; no reference is kept."""
    pipe, file = objects.fifo(), objects.file()
    number, link.fd = link.open(pipe, file)
    sent = link.send(b"x", [number])
    assert sent.failed
    assert sent.errno in {None, "ENOTSOCK"}
    link.fd = max(link.table.numbers()) + 50
    sent = link.send(b"x", [number])
    assert sent.failed
    assert sent.errno in {None, "EBADF"}
    link.close(number)
    assert released(pipe)
