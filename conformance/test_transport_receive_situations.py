"""Transports that receive, in the situations in which real ones failed: pieces, bursts, limits, resets, their own socket."""

import contextlib
import fcntl
import os
import socket

from fdspec.conformance.checks import offset, released, shared
from fdspec.conformance.phrases import drop, gone, numbers
from fdspec.conformance.situations import interruption, zero_free
from fdspec.conformance.suite import MUST, SHOULD, STREAM, TRANSPORT, case
from fdspec.impls.protocol.messages import Receiver, TransportConnect, TransportEnd
from fdspec.impls.protocol.results import TransportResult

PLAIN = Receiver(descriptors=False)
HANDED = ("descriptor", "data", "lost")
QUIET = 0.2
"""Seconds in which a transport that has nothing to tell is believed."""


def shape(heard):
    """Return the order of descriptor, data and end, logs and the like left out."""
    return [name for name in heard.order if name in HANDED]


# --- what is handed over --------------------------------------------------------------------------------------------


@case("hand-over.number-zero", level=MUST, checks="LC05 TC05", profiles=[TRANSPORT], types=[STREAM])
def test_number_zero_is_handed_over(link, objects):
    """Number 0 is free: a descriptor gets it, is handed over like any other, and stays open while the next one comes."""
    first, second = objects.files(2)
    with zero_free(link, objects):
        link.peer.send(b"one", [first.fd])
        heard = link.events(bytes_=3, fds=1)
        assert (heard.things, heard.data, heard.fds) == ([first], b"one", [0])
        link.peer.send(b"two", [second.fd])
        later = link.events(bytes_=3, fds=1)
        assert (later.things, later.data) == ([second], b"two")
        assert link.table.identity(0) == first.identity
        drop(link, [*heard.fds, *later.fds])


@case("hand-over.description", level=MUST, checks="LC05 I01", profiles=[TRANSPORT], types=[STREAM])
def test_what_is_handed_over_is_the_senders_description(link, objects):
    """What is handed over and what the peer sent are one open file description (kcmp), also for two of one file."""
    file = objects.file()
    ours = [objects.fresh(file), objects.fresh(file)]
    for fd in ours:
        link.peer.send(b"x", [fd])
    heard = link.events(bytes_=2, fds=2)
    assert heard.things == [file, file]
    assert [[shared(link, fd, mine) for mine in ours] for fd in heard.fds] == [[True, False], [False, True]]


@case("hand-over.unchanged", level=MUST, checks="LC02 I01 I04", profiles=[TRANSPORT], types=[STREAM])
def test_what_is_handed_over_is_not_changed(link, objects):
    """A transport makes its own socket non-blocking and nothing else: what comes keeps its status flags and its offset."""
    files = objects.files(2)
    ours = [objects.fresh(files[0]), objects.fresh(files[1], os.O_RDWR | os.O_APPEND | os.O_NONBLOCK)]
    os.lseek(ours[0], 9, os.SEEK_SET)
    before = [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in ours]
    for fd in ours:
        link.peer.send(b"x", [fd])
    heard = link.events(bytes_=2, fds=2)
    assert heard.things == files
    assert [fcntl.fcntl(fd, fcntl.F_GETFL) for fd in ours] == before
    assert offset(link, heard.fds[0]) == 9


@case("hand-over.plain-first", level=MUST, checks="TC05 LC15", profiles=[TRANSPORT], types=[STREAM])
def test_a_descriptor_after_plain_data(link, objects):
    """A plain line was handed over, then one comes with a descriptor: both are handed over, the second before its data."""
    file = objects.file()
    link.peer.send(b"line\n")
    assert link.events(bytes_=5).data == b"line\n"
    link.peer.send(b"more\n", [file.fd])
    heard = link.events(bytes_=5, fds=1)
    assert (heard.things, heard.data) == ([file], b"more\n")
    if link.policy("order") != "data-first":
        assert shape(heard) == ["descriptor", "data"]


@case("hand-over.fragments", level=MUST, checks="TC05 LC15 B04", profiles=[TRANSPORT], types=[STREAM])
def test_a_frame_that_comes_in_pieces(link, objects):
    """A frame comes in three pieces, with nothing there between them: its descriptors come with the first one, once."""
    own, next_ = objects.files(2), objects.files(1)
    for data, things in ((b"head", own), (b"body", []), (b"tail", []), (b"next", next_)):
        link.peer.send(data, numbers(things))
        heard = link.events(bytes_=4, fds=len(things))
        assert (heard.data, heard.things) == (data, things)
        assert shape(link.settle()) == []


@case("hand-over.fragment-then-gone", level=MUST, checks="TC09 LC01", profiles=[TRANSPORT], types=[STREAM])
def test_the_peer_goes_in_the_middle_of_a_frame(link, objects):
    """The first piece of a frame comes with a descriptor, then the peer is gone: it is handed over, nothing keeps it open."""
    fifo = objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.peer.send(b"half a fr", [writer])
    objects.release(writer)
    link.peer.socket.close()
    heard = link.until_lost()
    assert (heard.things, heard.data) == ([fifo], b"half a fr")
    drop(link, heard.fds)
    assert released(fifo)


@case("hand-over.burst", level=MUST, checks="TC05 LC15", profiles=[TRANSPORT], types=[STREAM])
def test_many_messages_wait(link, objects):
    """Twenty-nine messages with a descriptor each wait when the transport reads: each is handed over, before its data."""
    files = objects.files(29)
    for index, file in enumerate(files):
        link.peer.send(bytes([index]), [file.fd])
    heard = link.events(bytes_=29, fds=29)
    assert heard.things == files
    assert heard.data == bytes(range(29))
    if link.policy("order") != "data-first":
        assert shape(heard) == ["descriptor", "data"] * 29


# --- other control messages -----------------------------------------------------------------------------------------


@case("hand-over.credentials-several", level=MUST, checks="LC07 LC15 TC10", profiles=[TRANSPORT], types=[STREAM])
def test_credentials_beside_several_messages(link, objects):
    """SO_PASSCRED puts credentials in front of every message: each of four has its own descriptors, the connection lives."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    groups = [objects.files(count) for count in (1, 0, 3, 2)]
    for index, files in enumerate(groups):
        link.peer.send(b"%d" % index, numbers(files))
    heard = link.events(bytes_=4, fds=6)
    assert heard.things == [thing for files in groups for thing in files]
    assert (heard.data, heard.lost) == (b"0123", None)


@case("hand-over.pidfd-alone", level=MUST, checks="LC07 LC01 TC10", profiles=[TRANSPORT], types=[STREAM])
def test_a_pidfd_alone(link):
    """SO_PASSPIDFD and plain data: no descriptor is handed over as if the peer had sent one, and none is leaked."""
    link.try_option("SOL_SOCKET", "SO_PASSPIDFD", 1)
    link.peer.send(b"data")
    heard = link.events(bytes_=4)
    assert (heard.data, heard.fds, heard.lost) == (b"data", [], None)


@case("hand-over.queue-length-beside", level=MUST, checks="LC07 TC10", profiles=[TRANSPORT], types=[STREAM])
def test_the_queue_length_beside_descriptors(link, objects):
    """SO_INQ puts another control message behind: descriptors and data are handed over, and the connection lives."""
    link.try_option("SOL_SOCKET", "SO_INQ", 1)
    files = objects.files(2)
    link.peer.send(b"data", numbers(files))
    heard = link.events(bytes_=4, fds=2)
    assert (heard.things, heard.data, heard.lost) == (files, b"data", None)


# --- receivers ------------------------------------------------------------------------------------------------------


@case(
    "hand-over.plain-receiver.many",
    level=MUST,
    checks="TC06 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=PLAIN,
    needs=["plain-receiver"],
)
def test_many_messages_for_a_protocol_that_takes_no_descriptors(link, objects):
    """Ten messages with one to three descriptors for a protocol that takes none: all data comes, all of them are closed."""
    fifo = objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    for index in range(10):
        link.peer.send(b"%d" % index, [writer] * (1 + index % 3))
    objects.release(writer)
    heard = link.events(bytes_=10)
    assert (heard.data, heard.fds, heard.lost) == (b"0123456789", [], None)
    assert released(fifo)


@case(
    "hand-over.raises-with-more-waiting",
    level=MUST,
    checks="TC07 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=Receiver(raise_at=0),
    needs=["raising-receiver"],
)
def test_a_callback_raises_while_more_messages_wait(link, objects):
    """The first callback raises while five messages wait in the socket: their descriptors are handed over or closed."""
    first, fifo = objects.file(), objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.peer.send(b"first", [first.fd])
    for _ in range(5):
        link.peer.send(b"later", [writer])
    objects.release(writer)
    heard = link.until_lost()
    assert heard.things[:1] == [first]
    assert heard.error is not None
    assert gone(link, fifo)


@case(
    "hand-over.aborts-in-the-callback",
    level=MUST,
    checks="LC01 TC05",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=Receiver(abort_at=0),
    needs=["closing-receiver", "abort"],
)
def test_a_callback_aborts_the_transport(link, objects):
    """The callback for the first of four descriptors aborts the transport: the others are handed over or closed, it ends."""
    files, fifo = objects.files(1), objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.peer.send(b"data", [files[0].fd, writer, writer, writer])
    objects.release(writer)
    heard = link.until_lost()
    assert heard.lost is not None
    assert heard.things in (files, [*files, fifo, fifo, fifo])
    drop(link, heard.fds)
    assert released(fifo), "some descriptors were neither handed over nor closed"


@case(
    "hand-over.closes-in-the-callback",
    level=MUST,
    checks="LC01 TC05 TC08",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=Receiver(close_at=0),
    needs=["closing-receiver"],
)
def test_a_callback_closes_the_transport(link, objects):
    """A callback closes the transport while more descriptors and messages wait: none of them stays open, all data goes out."""
    files, fifo = objects.files(1), objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.peer.send(b"one", [*numbers(files), writer])
    for _ in range(3):
        link.peer.send(b"two", [writer, writer])
    objects.release(writer)
    link.send(b"goodbye")
    heard = link.until_lost()
    assert heard.lost is not None
    assert heard.things == [*files, *[fifo] * 7][: len(heard.things)]
    assert heard.things
    drop(link, heard.fds)
    assert released(fifo), "some descriptors were neither handed over nor closed"
    assert link.peer.receive().data == b"goodbye"


@case(
    "hand-over.closes-in-the-callback.half-closed",
    level=MUST,
    checks="LC01 TC05 TC07",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=Receiver(close_at=0),
    needs=["closing-receiver", "half-close"],
)
def test_a_callback_closes_a_transport_that_sends_no_more(link, objects):
    """The sending direction has ended, and the callback for the first of three descriptors closes: the others are not lost."""
    file, fifo = objects.file(), objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.do(TransportEnd(transport=link.transport))
    link.settle()
    assert link.peer.receive().data == b""
    link.peer.send(b"data", [file.fd, writer, writer])
    objects.release(writer)
    heard = link.until_lost()
    assert heard.things in ([file], [file, fifo, fifo])
    assert heard.lost is not None
    drop(link, heard.fds)
    assert released(fifo), "some descriptors were neither handed over nor closed"


@case(
    "hand-over.half-closed",
    level=MUST,
    checks="TC05 TC09",
    profiles=[TRANSPORT],
    types=[STREAM],
    needs=["half-close"],
)
def test_a_transport_that_sends_no_more_receives(link, objects):
    """What is queued goes out before the sending direction ends; after that descriptors are received as ever."""
    mine, theirs = objects.files(2)
    link.turn(
        *(link.queues(fd) for fd in link.open(mine)), link.writes(b"last"), TransportEnd(transport=link.transport)
    )
    link.settle()
    got = link.peer.receive_exactly(4)
    assert (got.data, got.identities) == (b"last", [mine.identity])
    assert link.peer.receive().data == b""
    link.peer.send(b"data", [theirs.fd])
    heard = link.events(bytes_=4, fds=1)
    assert (heard.things, heard.data, heard.lost) == ([theirs], b"data", None)


# --- the end --------------------------------------------------------------------------------------------------------


@case("hand-over.many-then-gone", level=MUST, checks="TC09 LC01", profiles=[TRANSPORT], types=[STREAM])
def test_many_descriptors_of_a_peer_that_has_gone(link, objects):
    """Twenty messages of ten descriptors wait, and the peer has gone: all two hundred come before the end."""
    files = objects.files(10)
    for _ in range(20):
        link.peer.send(b"m", numbers(files))
    link.peer.socket.close()
    heard = link.until_lost()
    assert heard.things == files * 20
    assert heard.data == b"m" * 20
    assert shape(heard)[-1] == "lost"


@case("hand-over.big-message-then-gone", level=MUST, checks="TC09 LC15", profiles=[TRANSPORT], types=[STREAM])
def test_a_big_message_of_a_peer_that_has_gone(link, objects):
    """150 KiB with two descriptors, and the peer has gone: everything comes before the end, the descriptors once."""
    files = objects.files(2)
    data = bytes(range(256)) * 600
    link.peer.option("SOL_SOCKET", "SO_SNDBUF", 2**20)
    assert link.peer.send(data, numbers(files)) == len(data)
    link.peer.socket.close()
    heard = link.until_lost()
    assert heard.things == files
    assert heard.data == data


@case("hand-over.reset-by-peer", level=MUST, checks="TC09 LC01", profiles=[TRANSPORT], types=[STREAM])
def test_a_reset_after_descriptors(link, objects):
    """The peer sends a descriptor and closes with data unread, which resets the connection: the descriptor comes first."""
    file = objects.file()
    link.send(b"unread")
    link.settle()
    assert link.peer.pending(1)
    link.peer.send(b"last", [file.fd])
    link.peer.socket.close()
    heard = link.until_lost()
    assert (heard.things, heard.data) == ([file], b"last")
    assert shape(heard)[-1] == "lost"


@case(
    "hand-over.paused-to-the-end",
    level=MUST,
    checks="TC09 TC05",
    profiles=[TRANSPORT],
    types=[STREAM],
    needs=["reading"],
)
def test_reading_goes_on_after_the_peer_has_gone(link, objects):
    """Reading is off while a descriptor comes and the peer goes: when reading goes on it is handed over, then the end."""
    file = objects.file()
    link.reading(False)
    link.peer.send(b"last", [file.fd])
    link.peer.shutdown()
    assert shape(link.settle()) == []
    link.reading(True)
    heard = link.until_lost()
    assert (heard.things, heard.data) == ([file], b"last")


@case("hand-over.own-socket", level=MUST, checks="LC01 S09 TC09", profiles=[TRANSPORT], types=[STREAM])
def test_the_peers_own_end_is_handed_over(link):
    """The peer sends its own end and closes it: once the receiver has closed what it got, the connection ends."""
    link.peer.send(b"me", [link.peer.socket.fileno()])
    heard = link.events(bytes_=2, fds=1)
    assert (len(heard.fds), heard.data) == (1, b"me")
    link.peer.socket.close()
    assert shape(link.settle()) == []
    drop(link, heard.fds)
    assert link.until_lost().lost is not None, "the connection is kept alive by its own descriptor"


@case(
    "hand-over.own-socket.plain-receiver",
    level=MUST,
    checks="TC06 LC01 S09",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=PLAIN,
    needs=["plain-receiver"],
)
def test_the_peers_own_end_is_not_kept(link):
    """The peer sends its own end to a protocol that takes no descriptors, and closes it: the connection ends."""
    link.peer.send(b"me", [link.peer.socket.fileno()])
    link.peer.socket.close()
    heard = link.until_lost()
    assert (heard.data, heard.fds) == (b"me", [])
    assert heard.lost is not None, "the connection is kept alive by its own descriptor"


# --- limits and signals ---------------------------------------------------------------------------------------------


@case("hand-over.loss-is-no-hang", level=MUST, checks="LC09", profiles=[TRANSPORT], types=[STREAM])
def test_the_peer_is_not_left_waiting_after_a_loss(link, objects):
    """No free number for a descriptor: the connection serves on, or ends in an error and the peer sees the end of it."""
    link.leave_slots(0)
    link.peer.send(b"lost", [objects.file().fd])
    heard = link.events(bytes_=4, event="lost", wait=QUIET)
    link.restore_slots()
    if heard.lost is not None:
        link.outcome = "refused"
        assert heard.error is not None
        assert link.peer.pending(1), "the protocol was told of the end, and the peer was not"
        with contextlib.suppress(ConnectionResetError):  # that, too, is an end
            assert link.peer.receive().data == b""
        return
    link.outcome = "short"
    for turn in range(3):
        file = objects.file()
        link.peer.send(b"kept", [file.fd])
        later = link.events(bytes_=4, fds=1)
        assert (later.things, later.data) == ([file], b"kept"), turn


@case(
    "hand-over.loss-stays-in-its-connection",
    level=MUST,
    checks="LC09 LC15",
    profiles=[TRANSPORT],
    types=[STREAM],
    needs=["client"],
)
def test_a_loss_on_one_connection_leaves_the_other_alone(link, objects):
    """No free number for a descriptor on one connection: another one in the same event loop serves on, and gets its own."""
    file, listener = objects.file(), objects.socket()
    made = link.do(TransportConnect(address=listener.path)).result
    assert isinstance(made, TransportResult)
    with socket.socket(fileno=os.dup(listener.fd)) as same:
        other, _ = same.accept()
    with other:
        link.leave_slots(0)
        link.peer.send(b"lost", [objects.file().fd])
        link.events(bytes_=4, event="lost", wait=QUIET)
        link.transport = made.transport
        other.sendall(b"plain")
        assert link.events(bytes_=5).data == b"plain"
        link.restore_slots()
        socket.send_fds(other, [b"kept"], [file.fd])
        heard = link.events(bytes_=4, fds=1)
        assert (heard.things, heard.data, heard.lost) == ([file], b"kept", None)


@case("hand-over.interrupted", level=MUST, checks="LC13 TC05", profiles=[TRANSPORT], types=[STREAM])
def test_an_interrupted_event_loop(link, objects):
    """The event loop is interrupted while it waits: what comes then is handed over, once, and the connection lives."""
    file = objects.file()
    with interruption(link, lambda _: link.peer.send(b"data", [file.fd])):
        heard = link.events(bytes_=4, fds=1)
    assert (heard.things, heard.data, heard.lost) == ([file], b"data", None)
    assert shape(link.settle()) == []


@case("hand-over.before-a-broken-write", level=SHOULD, checks="TC09", profiles=[TRANSPORT], types=[STREAM])
def test_descriptors_that_came_before_a_write_failed(link, objects):
    """Descriptors wait and the peer has gone when the transport has data to write: they come before the end."""
    files = objects.files(3)
    for file in files:
        link.peer.send(b"m", [file.fd])
    link.peer.socket.close()
    link.send(b"to nobody")
    heard = link.until_lost()
    assert heard.things == files
    assert heard.data == b"mmm"
