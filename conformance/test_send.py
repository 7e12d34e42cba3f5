"""Sending: what goes out arrives, once, in order, beside the data that it was sent with."""

import os
import select
import socket
import stat
from pathlib import Path

import pytest
from fdspec.conformance.census import same_description
from fdspec.conformance.checks import (
    SMALL_BUFFER,
    datagram_socket,
    directory,
    drain,
    fresh_name,
    peer_reads,
    place,
    released,
)
from fdspec.conformance.suite import CALLS, DESCRIPTORS, DGRAM, MAY, MUST, SEQPACKET, SHOULD, STREAM, case

BIG = bytes(range(256)) * 400
"""100 KiB, in which every place can be told."""


@case("send.one", level=MUST, checks="S01")
def test_one_descriptor_is_sent(link, objects):
    """One descriptor sent beside data arrives with it and refers to the same file; nothing is flagged as lost."""
    file = objects.file()
    sent = link.send(b"x", link.open(file))
    assert not sent.failed
    assert sent.count in {None, 1}
    got = link.peer.receive()
    assert got.data == b"x"
    assert got.identities == [file.identity]
    assert "MSG_CTRUNC" not in got.flags


@case("send.single", level=MUST, checks="S01", profiles=(DESCRIPTORS,), needs=("single",))
def test_the_call_for_one_descriptor(link, objects):
    """The call that takes one descriptor sends that one, with all of the data."""
    file = objects.file()
    sent = link.send(b"data", link.open(file), single=True)
    assert not sent.failed
    got = link.peer.receive()
    assert got.data == b"data"
    assert got.identities == [file.identity]


@case("send.count", level=MUST, checks="S01")
def test_the_count_is_that_of_the_data(link, objects):
    """Messages of 1, 7, 255, 256 and 4096 bytes: each arrives whole, and the count returned is its length."""
    fds = link.open(objects.file())
    for size in (1, 7, 255, 256, 4096):
        data = BIG[:size]
        sent = link.send(data, fds)
        assert sent.count in {None, size}, size
        assert not sent.failed, size
        got = link.peer.receive_exactly(size) if link.type is STREAM else link.peer.receive()
        assert got.data == data, size
        assert len(got.fds) == 1, size


@case("send.order", level=MUST, checks="S02 LC05")
def test_the_order_is_kept(link, objects):
    """Ten descriptors, neither ascending nor descending, arrive in the order in which they were given."""
    things = objects.files(10)
    numbers = link.open(*things)
    mixed = [3, 9, 0, 7, 1, 8, 2, 6, 5, 4]
    sent = link.send(b"x", [numbers[index] for index in mixed])
    assert not sent.failed
    assert link.peer.receive().identities == [things[index].identity for index in mixed]


@case("send.duplicates", level=MUST, checks="S03")
def test_a_number_given_twice_arrives_twice(link, objects):
    """A descriptor given twice, with another between, arrives as two numbers with one open file description."""
    one, other = objects.files(2)
    a, b = link.open(one, other)
    assert not link.send(b"x", [a, b, a]).failed
    got = link.peer.receive()
    assert got.identities == [one.identity, other.identity, one.identity]
    assert len(set(got.fds)) == 3
    assert same_description(os.getpid(), got.fds[0], os.getpid(), got.fds[2]) in {True, None}


@case("send.close-at-once", level=MUST, checks="S08")
def test_the_sender_may_close_at_once(link, objects):
    """The sender closes its descriptor before the peer receives: it arrives open, and the pipe behind it works."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    assert not link.send(b"x", [number]).failed
    link.close(number)
    got = link.peer.receive()
    assert got.identities == [pipe.identity]
    os.write(got.fds[0], b"through")
    assert os.read(pipe.fd, 16) == b"through"


@case("send.number-reused", level=MUST, checks="S08 LC05")
def test_a_number_reused_while_the_message_waits(link, objects):
    """The sent number is closed and given to another file before the peer receives: what was sent arrives."""
    first, second = objects.files(2)
    (number,) = link.open(first)
    assert not link.send(b"x", [number]).failed
    link.close(number)
    assert link.open(second) == [number]
    assert link.peer.receive().identities == [first.identity]


@case("send.socket-over-itself", level=MUST, checks="S09")
def test_a_socket_is_sent_over_itself(link):
    """The socket under test is sent over itself: the peer's copy is that very socket, and it works."""
    assert not link.send(b"x", [link.fd]).failed
    got = link.peer.receive()
    assert got.identities == [link.table.identity(link.fd)]
    os.write(got.fds[0], b"self")
    assert link.peer.receive().data == b"self"


@case("send.address.datagram", level=MUST, checks="S13 LC12", types=(DGRAM,), needs=("address",))
def test_a_datagram_goes_to_its_address(link, objects):
    """A datagram with an abstract or path address arrives there with its descriptor, not at the connected peer."""
    file = objects.file()
    numbers = link.open(file)
    for address in (f"@{fresh_name()}", str(directory(objects) / fresh_name())):
        with datagram_socket(address) as other:
            other.settimeout(0)
            sent = link.send(b"there", numbers, address=address)
            if not address.startswith("@"):
                Path(address).unlink()
            assert not sent.failed, address
            assert not link.peer.pending(), address
            assert select.select([other], [], [], 1.0)[0], address
            data, fds, _, _ = socket.recv_fds(other, 16, 4)
            for fd in fds:
                objects.own(fd)
            assert data == b"there", address
            assert [os.fstat(fd).st_ino for fd in fds] == [file.identity.inode], address


@case("send.address.seqpacket", level=MAY, checks="S14", types=(SEQPACKET,), needs=("address",))
def test_an_address_on_seqpacket(link, objects):
    """A destination address on a connected seqpacket socket is ignored, or refused without a trace."""
    file = objects.file()
    sent = link.send(b"x", link.open(file), address=f"@{fresh_name()}")
    link.outcome = "refused" if sent.failed else "ignored"
    if sent.failed:
        assert not link.peer.pending()
    else:
        assert link.peer.receive().identities == [file.identity]


@case("send.partial", level=MUST, checks="S16 LC10", types=(STREAM,))
def test_a_partial_write_sends_descriptors_once(link, objects):
    """100 KiB into a buffer of 9 KiB, without blocking: a part arrives, the descriptors once, with its first byte."""
    things = objects.files(3)
    numbers = link.open(*things)
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    link.nonblocking()
    link.send(BIG, numbers)
    first = link.peer.receive(1)
    assert first.data == BIG[:1]
    assert first.identities == [thing.identity for thing in things]
    rest = drain(link)
    assert b"".join(message.data for message in rest) == BIG[1 : 1 + sum(len(message.data) for message in rest)]
    assert 1 + sum(len(message.data) for message in rest) < len(BIG), "the write was not partial"
    assert [message.identities for message in rest if message.fds] == []


@case("send.partial.peer-reads", level=MUST, checks="S16 LC10", types=(STREAM,))
def test_a_write_that_goes_on_while_the_peer_reads(link, objects):
    """100 KiB through a buffer of 9 KiB while the peer reads: however much of it goes, the descriptors go once."""
    things = objects.files(2)
    numbers = link.open(*things)
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    link.nonblocking()
    with peer_reads(link) as messages:
        sent = link.send(BIG, numbers)
    arrived = b"".join(message.data for message in messages)
    assert arrived
    assert arrived == BIG[: len(arrived)]
    assert sent.count in {None, len(arrived)}
    assert messages[0].identities == [thing.identity for thing in things]
    assert [message.identities for message in messages[1:] if message.fds] == []


@case("send.partial.count", level=MUST, checks="S16 LC10", types=(STREAM,))
def test_a_partial_write_tells_its_true_count(link, objects):
    """After a partial write the caller is told how many bytes went: as many as arrive."""
    numbers = link.open(objects.file())
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    link.nonblocking()
    sent = link.send(BIG, numbers)
    arrived = b"".join(message.data for message in drain(link))
    assert 0 < len(arrived) < len(BIG)
    assert sent.count == len(arrived)


@case("send.partial.rest", level=MUST, checks="S16 LC10", types=(STREAM,), needs=("plain-out",))
def test_the_rest_of_a_partial_write_goes_without_descriptors(link, objects):
    """The caller sends on from the count that it was told: the peer gets all data in order, the descriptor once."""
    file = objects.file()
    data = BIG[:40960]
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    numbers = link.open(file)
    link.nonblocking()
    sent = link.send(data, numbers)
    arrived, fds, done = b"", [], 0
    for _ in range(64):
        assert not sent.failed
        assert sent.count
        done += sent.count
        for message in drain(link):
            arrived += message.data
            fds += message.identities
        if done >= len(data):
            break
        sent = link.send(data[done:])
    assert arrived == data
    assert fds == [file.identity]


@case("send.large", level=MUST, checks="S16 B09", types=(STREAM,))
def test_descriptors_of_a_large_message_go_once(link, objects):
    """100 KiB in one send, received in pieces of 10000 bytes: the descriptors come once, with the first piece."""
    file = objects.file()
    assert not link.send(BIG, link.open(file)).failed
    pieces = [link.peer.receive(10000)]
    while pieces[-1].data and sum(len(piece.data) for piece in pieces) < len(BIG):
        pieces.append(link.peer.receive(10000))
    assert b"".join(piece.data for piece in pieces) == BIG
    assert [piece.identities for piece in pieces] == [[file.identity]] + [[]] * (len(pieces) - 1)


@case("send.most", level=MUST, checks="M01 LC05")
def test_as_many_as_a_message_carries(link, objects):
    """253 different descriptors, numbers above 255 among them, arrive in one message, each what it was, in order."""
    limit = link.offer.limits.get("descriptors", 253)
    things = objects.files(min(limit, 253))
    sent = link.send(b"x", link.open(*things))
    assert not sent.failed
    got = link.peer.receive()
    assert got.data == b"x"
    assert got.identities == [thing.identity for thing in things]


@case("send.kinds", level=MUST, checks="S34")
def test_every_kind_of_object_passes(link, objects):
    """A file, both ends of a FIFO, a socket, a directory, a device and a file of /proc pass in one message."""
    pipe, connected = objects.fifo(), objects.socket()
    where = place(objects, directory(objects))
    device, proc = place(objects, Path("/dev/null")), place(objects, Path("/proc/version"))
    numbers = [
        *link.open(objects.file(), pipe, connected),
        *link.open(pipe, flags=("O_RDONLY", "O_NONBLOCK")),
        *link.open(where, flags=("O_RDONLY", "O_DIRECTORY")),
        *link.open(device, proc, flags=("O_RDONLY",)),
    ]
    expected = [link.table.identity(number) for number in numbers]
    assert not link.send(b"x", numbers).failed
    got = link.peer.receive()
    assert got.identities == expected
    assert [stat.S_IFMT(os.fstat(fd).st_mode) for fd in got.fds] == [
        stat.S_IFREG,
        stat.S_IFIFO,
        stat.S_IFSOCK,
        stat.S_IFIFO,
        stat.S_IFDIR,
        stat.S_IFCHR,
        stat.S_IFREG,
    ]


@case("send.o-path", level=MUST, checks="S32")
def test_o_path_descriptors_pass(link, objects):
    """An O_PATH descriptor passes and stays one: reading from it fails with EBADF."""
    file = objects.file()
    assert not link.send(b"x", link.open(file, flags=("O_PATH",))).failed
    got = link.peer.receive()
    assert got.identities == [file.identity]
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(got.fds[0], 1)


@case("send.receive-flags", level=SHOULD, checks="S26b", needs=("flags-out",))
def test_flags_of_receiving_do_no_harm(link, objects):
    """Flags of receiving (MSG_PEEK, MSG_CMSG_CLOEXEC ...) change nothing on a send, or are refused without a trace."""
    file = objects.file()
    numbers = link.open(file)
    for flag in ("MSG_PEEK", "MSG_TRUNC", "MSG_WAITALL", "MSG_CMSG_CLOEXEC", "MSG_CTRUNC"):
        if link.send(b"x", numbers, flags=[flag]).failed:
            assert not link.peer.pending(), flag
            continue
        got = link.peer.receive()
        assert (got.data, got.identities) == (b"x", [file.identity]), flag


@case("send.end-of-record", level=MAY, checks="S30", needs=("flags-out",))
def test_end_of_record(link, objects):
    """MSG_EOR is accepted; data and descriptors arrive as without it."""
    file = objects.file()
    assert not link.send(b"x", link.open(file), flags=["MSG_EOR"]).failed
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"x", [file.identity])


@case("send.out-of-band.one-byte", level=MAY, checks="S27a", types=(STREAM,), needs=("flags-out",))
def test_a_descriptor_beside_an_urgent_byte_is_not_leaked(link, objects):
    """A descriptor sent with one urgent byte is refused, or in nobody's hands once the connection has gone."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    link.send(b"!", [number], flags=["MSG_OOB"])
    link.close(number)
    link.peer.close()
    assert released(pipe)


@case("send.out-of-band.last-byte", level=MAY, checks="S27d", types=(STREAM,), needs=("flags-out",))
def test_a_descriptor_in_front_of_an_urgent_byte(link, objects):
    """A descriptor sent with three bytes, the last of them urgent, comes with the plain two; or all is refused."""
    file = objects.file()
    if link.send(b"ab!", link.open(file), flags=["MSG_OOB"]).failed:
        assert not link.peer.pending()
        return
    got = link.peer.receive()
    assert (got.data[:2], got.identities) == (b"ab", [file.identity])


@case("send.none-after-some", level=MUST, checks="S01 LC15", needs=("plain-out",))
def test_a_message_without_descriptors_carries_none(link, objects):
    """After a message with three descriptors one without carries none."""
    assert not link.send(b"with", link.open(*objects.files(3))).failed
    assert len(link.peer.receive(4).fds) == 3
    assert not link.send(b"without").failed
    got = link.peer.receive()
    assert (got.data, got.fds) == (b"without", [])


@case("send.each-its-own", level=MUST, checks="S02 LC15 D01")
def test_every_message_has_its_own_descriptors(link, objects):
    """Eight messages with 1 to 8 descriptors, received after all were sent: each has its own, in order."""
    expected = []
    for count in range(1, 9):
        things = objects.files(count)
        assert not link.send(bytes([count]), link.open(*things)).failed
        expected.append((bytes([count]), [thing.identity for thing in things]))
    got = [link.peer.receive(1) for _ in expected]
    assert [(message.data, message.identities) for message in got] == expected


@case("send.gathered", level=MUST, checks="V01 LC12", needs=("buffers-out",))
def test_buffers_are_gathered_beside_descriptors(link, objects):
    """Five buffers, empty ones among them, arrive as one run of bytes with the descriptor on its first."""
    file = objects.file()
    sent = link.send([b"", b"ab", b"", b"c", b"def"], link.open(file))
    assert not sent.failed
    assert sent.count in {None, 6}
    first = link.peer.receive(1 if link.type is STREAM else 16)
    assert first.identities == [file.identity]
    rest = link.peer.receive().data if link.type is STREAM else b""
    assert first.data + rest == b"abcdef"


@case("send.both-ways", level=MUST, checks="S01 LC15", profiles=CALLS)
def test_both_directions_at_once(link, objects):
    """Descriptors under way in both directions at once do not meet: each end gets the other's."""
    mine, theirs = objects.files(2)
    link.peer.send(b"to you", fds=[theirs.fd])
    assert not link.send(b"to me", link.open(mine)).failed
    got = link.receive(data=6, room=1)
    assert (got.data, got.things) == (b"to you", [theirs])
    assert link.peer.receive().identities == [mine.identity]
