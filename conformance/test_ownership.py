"""Who owns what: the sender keeps its own, the receiver owns what it got, failures and discarded messages keep nothing.

Leaks and stray closes are found by the census after every case; the cases here make the occasions for them.
"""

import os
import socket

from fdspec.conformance.checks import fill, held, quiet, released, shared
from fdspec.conformance.suite import DGRAM, MUST, SEQPACKET, SHOULD, STREAM, case

CONNECTED = (STREAM, SEQPACKET)


@case("ownership.sender-keeps", level=MUST, checks="L01 LC02")
def test_the_sender_keeps_its_own(link, objects):
    """After the peer received and closed its copies the sender's numbers are open and refer to what they did."""
    things = objects.files(3)
    numbers = link.open(*things)
    assert not link.send(b"x", numbers).failed
    assert len(link.peer.receive().fds) == 3
    link.peer.close_received()
    assert [link.table.identity(number) for number in numbers] == [thing.identity for thing in things]


@case("ownership.pipe-end.sent", level=MUST, checks="L02 S08")
def test_a_pipe_ends_with_its_last_sent_copy(link, objects):
    """A pipe's writer passes through sender, flight and receiver: the pipe ends with the last of these copies."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    assert not link.send(b"x", [number]).failed
    link.close(number)
    assert held(pipe), "in flight"
    assert link.peer.receive().identities == [pipe.identity]
    assert held(pipe), "received"
    link.peer.close_received()
    assert released(pipe)


@case("ownership.pipe-end.received", level=MUST, checks="L02 LC01")
def test_a_pipe_ends_with_its_last_received_copy(link, objects):
    """The implementation holds no copy of what it handed over: when the caller closes it, the pipe ends."""
    pipe = objects.fifo()
    writer = objects.fresh(pipe, os.O_WRONLY)
    link.peer.send(b"x", fds=[writer])
    objects.release(writer)
    assert held(pipe), "in flight"
    got = link.receive(data=1, room=1)
    assert got.things == [pipe]
    assert held(pipe), "received"
    link.close(*got.fds)
    assert released(pipe)


@case("ownership.still-usable", level=MUST, checks="LC02 L01")
def test_what_was_received_outlives_the_connection(link, objects):
    """Received descriptors stay open and what they were when the socket that they came over is closed."""
    things = objects.files(2)
    link.peer.send(b"x", fds=[thing.fd for thing in things])
    got = link.receive(data=1, room=2)
    assert got.things == things
    link.close(link.fd)
    link.peer.close()
    assert [link.table.identity(fd) for fd in got.fds] == [thing.identity for thing in things]


@case("ownership.closed-once", level=MUST, checks="LC02")
def test_a_number_closed_by_the_caller_is_not_closed_again(link, objects):
    """The caller closes what it received and opens another file at that number: later calls leave it alone."""
    first, second, third = objects.files(3)
    link.peer.send(b"x", fds=[first.fd])
    got = link.receive(data=1, room=1)
    assert got.things == [first]
    link.close(*got.fds)
    assert link.open(second) == got.fds
    link.peer.send(b"y", fds=[third.fd])
    again = link.receive(data=1, room=1)
    assert again.things == [third]
    assert not link.send(b"z", got.fds).failed
    assert link.peer.receive().identities == [second.identity]


@case("ownership.failing-sends", level=MUST, checks="L05 LC01")
def test_many_failing_sends_keep_nothing(link, objects):
    """Fifty sends that fail because of one bad number keep no reference and no descriptor."""
    pipe, file = objects.fifo(), objects.file()
    number, other = link.open(pipe, file)
    before = link.table.numbers()
    for _ in range(50):
        assert link.send(b"x", [number, other, -1]).failed
    assert link.table.numbers() == before
    assert not link.peer.pending()
    link.close(number)
    assert released(pipe)


@case("ownership.refused-by-peer", level=MUST, checks="L05 S11a LC01")
def test_sends_to_a_closed_peer_keep_nothing(link, objects):
    """Twenty sends to a peer that has closed keep no reference and no descriptor."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    flags = quiet(link)
    before = link.table.numbers()
    link.peer.close()
    for _ in range(20):
        assert link.send(b"x", [number], flags=flags).failed
    assert link.table.numbers() == before
    link.close(number)
    assert released(pipe)


@case("ownership.would-block-sends", level=MUST, checks="L05 LC10")
def test_sends_that_would_block_keep_nothing(link, objects):
    """Twenty sends that end in EAGAIN keep no reference and no descriptor."""
    pipe, filler = objects.fifo(), objects.file()
    number, filling = link.open(pipe, filler)
    link.nonblocking()
    assert fill(link, filling).failed
    before = link.table.numbers()
    for _ in range(20):
        assert link.send(b"x" * 1024, [number]).failed
    assert link.table.numbers() == before
    link.close(number)
    assert released(pipe)


@case("ownership.many-messages", level=MUST, checks="L08 LC01")
def test_many_messages_of_every_room(link, objects):
    """Five descriptors a message, fifty times, with room for 0 to 9: nothing but what was handed over stays open."""
    files = objects.files(5)
    before = link.table.numbers()
    for turn in range(50):
        link.peer.send(b"x", fds=[file.fd for file in files])
        got = link.receive(data=1, room=turn % 10)
        assert got.things == files[: len(got.things)], turn
        assert len(got.things) == 5 or turn % 10 < 5, turn
        link.close(*got.fds)
        assert link.table.numbers() == before, f"turn {turn}, room for {turn % 10}"


@case("ownership.discarded", level=MUST, checks="L07 R02 LC01")
def test_a_receive_without_room_keeps_nothing(link, objects):
    """A message with a pipe's writer is received without room for descriptors: the writer is closed everywhere."""
    pipe = objects.fifo()
    writer = objects.fresh(pipe, os.O_WRONLY)
    link.peer.send(b"x", fds=[writer])
    objects.release(writer)
    got = link.receive(data=1, room=0)
    assert got.failed or got.data == b"x"
    assert got.fds == []
    assert released(pipe)


@case("ownership.end-of-file", level=MUST, checks="LC01 R17 G08", types=CONNECTED)
def test_the_end_of_file_brings_nothing(link, objects):
    """A message, then the end of file: its descriptors come once, the end brings none, as often as it is read."""
    things = objects.files(2)
    link.peer.send(b"x", fds=[thing.fd for thing in things])
    link.peer.shutdown(socket.SHUT_WR)
    got = link.receive(data=16, room=3)
    assert (got.data, got.things) == (b"x", things)
    for _ in range(2):
        end = link.receive(data=16, room=3)
        assert (end.data, end.fds) == (b"", [])


@case("ownership.sender-gone", level=MUST, checks="G08 R17 L02", types=CONNECTED)
def test_descriptors_of_a_sender_that_has_gone(link, objects):
    """The peer sends and closes everything: its descriptor is received, works, and the end of file follows."""
    pipe = objects.fifo()
    writer = objects.fresh(pipe, os.O_WRONLY)
    link.peer.send(b"x", fds=[writer])
    objects.release(writer)
    link.peer.close()
    got = link.receive(data=16, room=1)
    assert (got.data, got.things) == (b"x", [pipe])
    end = link.receive(data=16, room=1)
    assert end.failed or (end.data, end.fds) == (b"", [])
    assert held(pipe)
    link.close(*got.fds)
    assert released(pipe)


@case("ownership.unread.receiver-closes", level=MUST, checks="L12", revision=2)
def test_closing_with_unread_messages_frees_their_descriptors(link, objects):
    """The socket under test is closed with two unread messages: the pipe's writer in them is closed at once."""
    pipe = objects.fifo()
    writer = objects.fresh(pipe, os.O_WRONLY)
    link.peer.send(b"x", fds=[writer])
    link.peer.send(b"y", fds=[writer, writer])
    objects.release(writer)
    assert held(pipe)
    link.close(link.fd)
    assert released(pipe)


@case("ownership.unread.peer-closes", level=MUST, checks="L12 L01")
def test_a_peer_that_closes_with_unread_messages(link, objects):
    """The peer closes without receiving: what was in flight is closed, and the sender's own descriptor is not."""
    pipe = objects.fifo()
    (number,) = link.open(pipe)
    assert not link.send(b"x", [number]).failed
    assert link.peer.pending(1)
    link.peer.close()
    assert link.table.identity(number) == pipe.identity
    assert held(pipe)
    link.close(number)
    assert released(pipe)


@case("ownership.partly-read", level=MUST, checks="L12 B04 LC01", types=(STREAM,))
def test_a_partly_read_message(link, objects):
    """A stream message of which two bytes were read gives its descriptor once; closing on the rest keeps nothing."""
    pipe = objects.fifo()
    writer = objects.fresh(pipe, os.O_WRONLY)
    link.peer.send(b"abcdef", fds=[writer])
    objects.release(writer)
    first = link.receive(data=2, room=1)
    assert (first.data, first.things) == (b"ab", [pipe])
    second = link.receive(data=2, room=1)
    assert (second.data, second.fds) == (b"cd", [])
    link.close(link.fd, *first.fds)
    assert released(pipe)


@case("ownership.receive-would-block", level=MUST, checks="R05 LC01")
def test_a_receive_that_would_block_has_no_descriptors(link, objects):
    """A good receive, then one with nothing there: EAGAIN, no descriptor reported again, none closed."""
    things = objects.files(3)
    link.nonblocking()
    link.peer.send(b"x", fds=[thing.fd for thing in things])
    got = link.receive(data=1, room=3)
    assert got.things == things
    for _ in range(2):
        empty = link.receive(data=1, room=3)
        assert empty.failed
        assert empty.errno in {None, "EAGAIN"}
        assert empty.fds == []
    assert [link.table.identity(fd) for fd in got.fds] == [thing.identity for thing in things]


@case("ownership.would-block-then-good", level=MUST, checks="R05 LC15")
def test_a_good_receive_after_one_that_would_block(link, objects):
    """A receive that ended in EAGAIN costs nothing: the next message comes whole."""
    things = objects.files(2)
    link.nonblocking()
    assert link.receive(data=4, room=2).failed
    link.peer.send(b"next", fds=[thing.fd for thing in things])
    got = link.receive(data=4, room=2)
    assert (got.data, got.things) == (b"next", things)


@case("ownership.reset-by-peer", level=MUST, checks="L12 LC01", types=CONNECTED)
def test_a_connection_reset_brings_nothing(link, objects):
    """The peer closes with a message unread: the next receive ends in ECONNRESET or the end, without descriptors."""
    (number,) = link.open(objects.file())
    assert not link.send(b"unread", [number]).failed
    assert link.peer.pending(1)
    link.peer.close()
    got = link.receive(data=16, room=2)
    assert got.failed or got.data == b""
    assert got.errno in {None, "ECONNRESET"}
    assert got.fds == []


@case("ownership.receive-from-no-socket", level=MUST, checks="A31 LC01")
def test_receiving_from_what_is_no_socket(link, objects):
    """A receive from a file or a closed number fails; nothing is reported and the caller's file stays open."""
    file = objects.file()
    (number,) = link.open(file)
    socket_under_test, link.fd = link.fd, number
    for errors in ({None, "ENOTSOCK"}, {None, "EBADF"}):
        got = link.receive(data=1, room=2)
        assert got.failed
        assert got.errno in errors
        assert got.fds == []
        link.fd = max(link.table.numbers()) + 50
    assert link.table.identity(number) == file.identity
    link.fd = socket_under_test
    link.peer.send(b"x", fds=[file.fd])
    assert link.receive(data=1, room=1).things == [file]


@case("ownership.shutdown-read", level=SHOULD, checks="L10", types=CONNECTED)
def test_what_was_queued_before_the_receiver_shut_down(link, objects):
    """The socket under test is shut down for reading with a message queued: it is delivered, or freed; never kept."""
    pipe = objects.fifo()
    writer = objects.fresh(pipe, os.O_WRONLY)
    link.peer.send(b"x", fds=[writer])
    objects.release(writer)
    link.shutdown("SHUT_RD")
    got = link.receive(data=1, room=1)
    link.outcome = "delivered" if got.things == [pipe] else "freed"
    assert got.things in ([], [pipe])
    link.close(link.fd, *got.fds)
    assert released(pipe)


@case("ownership.shutdown-write", level=MUST, checks="R17 L05")
def test_sending_after_a_shutdown_keeps_nothing(link, objects):
    """The socket is shut down for writing: what was sent before arrives, a further send fails and keeps nothing."""
    pipe, file = objects.fifo(), objects.file()
    number, other = link.open(pipe, file)
    flags = quiet(link)
    assert not link.send(b"before", [other]).failed
    link.shutdown("SHUT_WR")
    sent = link.send(b"after", [number], flags=flags)
    assert sent.failed
    assert sent.errno in {None, "EPIPE"}
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"before", [file.identity])
    link.close(number)
    assert released(pipe)


@case("ownership.same-file-twice", level=MUST, checks="LC02 S03")
def test_closing_one_copy_leaves_the_other(link, objects):
    """Of a descriptor received twice one copy is closed: the other still is what was sent."""
    file = objects.file()
    ours = objects.fresh(file)
    link.peer.send(b"x", fds=[ours, ours])
    got = link.receive(data=1, room=2)
    assert got.things == [file, file]
    link.close(got.fds[0])
    assert shared(link, got.fds[1], ours)


@case("ownership.datagrams-of-nobody", level=MUST, checks="G08 L02 LC01", types=(DGRAM,))
def test_a_datagram_of_a_sender_that_has_gone(link, objects):
    """The peer sends a datagram and closes its socket: its descriptor is received and works."""
    pipe = objects.fifo()
    writer = objects.fresh(pipe, os.O_WRONLY)
    link.peer.send(b"x", fds=[writer])
    objects.release(writer)
    link.peer.close()
    got = link.receive(data=16, room=1)
    assert (got.data, got.things) == (b"x", [pipe])
    link.close(*got.fds)
    assert released(pipe)
