"""Queued, event-driven transports: what arrives is handed over once, in order, before the data that it came with."""

import os
import select

from fdspec.conformance.peer import rights
from fdspec.conformance.suite import MUST, SHOULD, STREAM, TRANSPORT, case
from fdspec.impls.protocol.messages import Receiver

PLAIN = Receiver(descriptors=False)


def fds_of(things):
    return [thing.fd for thing in things]


def shape(heard):
    """Return the order of descriptor and data events, logs and the like left out."""
    return [name for name in heard.order if name in ("descriptor", "data", "lost")]


@case("hand-over.one", level=MUST, checks="TC05 LC05", profiles=[TRANSPORT], types=[STREAM])
def test_one_descriptor_is_handed_over_before_its_data(link, objects):
    """A descriptor beside data: the callback for it, then the data."""
    file = objects.file()
    link.peer.send(b"data", [file.fd])
    heard = link.events(bytes_=4, fds=1)
    assert heard.things == [file]
    assert heard.data == b"data"
    if link.policy("order") != "data-first":
        assert shape(heard) == ["descriptor", "data"]


@case("hand-over.several", level=MUST, checks="TC05 LC05", profiles=[TRANSPORT], types=[STREAM])
def test_several_descriptors_of_one_message(link, objects):
    """Five descriptors in one message: five callbacks, in order, each once."""
    files = objects.files(5)
    link.peer.send(b"data", fds_of(files))
    heard = link.events(bytes_=4, fds=5)
    assert heard.things == files
    assert heard.data == b"data"


@case("hand-over.all-that-fit", level=MUST, checks="TC05 LC01", profiles=[TRANSPORT], types=[STREAM])
def test_as_many_as_one_message_can_hold(link, objects):
    """253 descriptors in one message: each is handed over, in order."""
    files = objects.files(253)
    link.peer.send(b"data", fds_of(files))
    heard = link.events(bytes_=4, fds=253)
    assert heard.things == files


@case("hand-over.two-messages", level=MUST, checks="TC05 LC15", profiles=[TRANSPORT], types=[STREAM])
def test_descriptors_stay_with_their_message(link, objects):
    """Two messages, two descriptors each: each pair is handed over between the data of the message before and its own."""
    files = objects.files(4)
    link.peer.send(b"first", fds_of(files[:2]))
    link.peer.send(b"second", fds_of(files[2:]))
    heard = link.events(bytes_=11, fds=4)
    assert heard.things == files
    assert heard.data == b"firstsecond"
    if link.policy("order") != "data-first":
        assert shape(heard) == ["descriptor", "descriptor", "data", "descriptor", "descriptor", "data"]


@case("hand-over.undeclared-before-declared", level=MUST, checks="TC05 LC15", profiles=[TRANSPORT], types=[STREAM])
def test_plain_messages_between(link, objects):
    """Messages with and without descriptors in turn: no descriptor moves behind the data of a later message."""
    files = objects.files(3)
    for index, file in enumerate(files):
        link.peer.send(b"with%d" % index, [file.fd])
        link.peer.send(b"none%d" % index)
    heard = link.events(bytes_=30, fds=3)
    assert heard.things == files
    assert heard.data == b"with0none0with1none1with2none2"
    seen = 0
    for event in heard.events:
        if event.event == "descriptor":
            assert heard.data[:seen].count(b"with") == heard.fds.index(event.fd), (
                "a descriptor came after data of a later message"
            )
        elif event.event == "data":
            seen += len(event.data) // 2


@case("hand-over.two-control-messages", level=MUST, checks="LC08 TC05", profiles=[TRANSPORT], types=[STREAM])
def test_two_control_messages_in_one_message(link, objects):
    """Two SCM_RIGHTS control messages in one message: the descriptors of both are handed over."""
    files = objects.files(3)
    link.peer.send(b"x", ancillary=[rights(fds_of(files[:1])), rights(fds_of(files[1:]))])
    assert link.events(bytes_=1, fds=3).things == files


@case("hand-over.twice-the-same", level=MUST, checks="TC05 LC05", profiles=[TRANSPORT], types=[STREAM])
def test_the_same_file_twice(link, objects):
    """One descriptor twice in a message: two numbers, both of that file."""
    file = objects.file()
    link.peer.send(b"x", [file.fd, file.fd])
    heard = link.events(bytes_=1, fds=2)
    assert heard.things == [file, file]
    assert heard.fds[0] != heard.fds[1]


@case("hand-over.big-message", level=MUST, checks="TC05 LC15", profiles=[TRANSPORT], types=[STREAM])
def test_a_message_bigger_than_the_receive_buffer(link, objects):
    """200 KiB with three descriptors: handed over once, before all of the data."""
    files = objects.files(3)
    data = bytes(range(256)) * 800
    link.peer.option("SOL_SOCKET", "SO_SNDBUF", 2**20)
    assert link.peer.send(data, fds_of(files)) == len(data)
    heard = link.events(bytes_=len(data), fds=3)
    assert heard.things == files
    assert heard.data == data


@case("hand-over.plain-data", level=MUST, checks="TC05", profiles=[TRANSPORT], types=[STREAM])
def test_plain_data_has_no_descriptors(link):
    """Data without descriptors is handed over, and no descriptor is."""
    link.peer.send(b"plain")
    heard = link.events(bytes_=5)
    assert (heard.data, heard.fds) == (b"plain", [])


@case(
    "hand-over.plain-receiver",
    level=MUST,
    checks="TC06",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=PLAIN,
    needs=["plain-receiver"],
)
def test_a_protocol_that_takes_no_descriptors(link, objects):
    """A protocol that cannot take descriptors: they are closed, its data is delivered, the connection lives."""
    fifo = objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY | os.O_NONBLOCK)
    link.peer.send(b"data", [writer])
    objects.release(writer)
    heard = link.events(bytes_=4)
    assert (heard.data, heard.fds, heard.lost) == (b"data", [], None)
    poll = select.poll()
    poll.register(fifo.fd, select.POLLIN)
    assert [event for _, event in poll.poll(0)] == [select.POLLHUP], "the descriptor was not closed"


@case(
    "hand-over.plain-receiver-is-logged",
    level=SHOULD,
    checks="TC06",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=PLAIN,
    needs=["plain-receiver", "log"],
)
def test_descriptors_closed_unseen_are_logged(link, objects):
    """A protocol that cannot take descriptors: that they were closed is logged."""
    link.peer.send(b"data", fds_of(objects.files(2)))
    heard = link.events(bytes_=4)
    assert heard.count("log") >= 1


@case(
    "hand-over.raises-at-first",
    level=MUST,
    checks="TC07 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=Receiver(raise_at=0),
    needs=["raising-receiver"],
)
def test_the_first_callback_raises(link, objects):
    """The callback for the first of three descriptors raises: the others are delivered or closed, the protocol sees an error."""
    link.peer.send(b"data", fds_of(objects.files(3)))
    heard = link.until_lost()
    assert heard.count("descriptor") in (1, 3)
    assert heard.error is not None


@case(
    "hand-over.raises-in-between",
    level=MUST,
    checks="TC07 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=Receiver(raise_at=1),
    needs=["raising-receiver"],
)
def test_a_callback_in_the_middle_raises(link, objects):
    """The callback for the second of four descriptors raises: the others are delivered or closed, the protocol sees an error."""
    link.peer.send(b"data", fds_of(objects.files(4)))
    heard = link.until_lost()
    assert heard.count("descriptor") >= 2
    assert heard.error is not None


@case(
    "hand-over.raises-at-last",
    level=MUST,
    checks="TC07 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=Receiver(raise_at=2),
    needs=["raising-receiver"],
)
def test_the_last_callback_raises(link, objects):
    """The callback for the last descriptor raises: the protocol sees an error, nothing is leaked."""
    files = objects.files(3)
    link.peer.send(b"data", fds_of(files))
    heard = link.until_lost()
    assert heard.things == files
    assert heard.error is not None


@case("hand-over.before-the-end", level=MUST, checks="TC09", profiles=[TRANSPORT], types=[STREAM])
def test_in_flight_descriptors_come_before_the_end(link, objects):
    """The peer sends a descriptor and shuts down: descriptor, data, then the end."""
    file = objects.file()
    link.peer.send(b"last", [file.fd])
    link.peer.shutdown()
    heard = link.until_lost()
    assert heard.things == [file]
    assert heard.data == b"last"
    assert shape(heard)[-1] == "lost"


@case("hand-over.peer-closes-at-once", level=MUST, checks="TC09", profiles=[TRANSPORT], types=[STREAM])
def test_the_sender_closes_at_once(link, objects):
    """The peer sends five messages with a descriptor each and closes: all are delivered before the end."""
    files = objects.files(5)
    for file in files:
        link.peer.send(b"m", [file.fd])
    link.peer.socket.close()
    heard = link.until_lost()
    assert heard.things == files
    assert heard.data == b"mmmmm"


@case("hand-over.end-without-descriptors", level=MUST, checks="TC09", profiles=[TRANSPORT], types=[STREAM])
def test_a_plain_end(link):
    """The peer shuts down without a word: the protocol is told of the end, once."""
    link.peer.shutdown()
    heard = link.until_lost()
    assert shape(heard) == ["lost"]


@case("hand-over.credentials-beside", level=MUST, checks="TC10 LC07", profiles=[TRANSPORT], types=[STREAM])
def test_credentials_beside_descriptors(link, objects):
    """SO_PASSCRED puts another control message in front: descriptors and data are delivered, the connection lives."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    files = objects.files(2)
    link.peer.send(b"data", fds_of(files))
    heard = link.events(bytes_=4, fds=2)
    assert heard.things == files
    assert heard.data == b"data"
    assert heard.lost is None


@case("hand-over.credentials-alone", level=MUST, checks="TC10", profiles=[TRANSPORT], types=[STREAM])
def test_credentials_alone_are_not_fatal(link):
    """A control message that is not SCM_RIGHTS, alone beside data: the data is delivered, the connection lives."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    link.peer.send(b"data")
    heard = link.events(bytes_=4)
    assert (heard.data, heard.fds, heard.lost) == (b"data", [], None)


@case(
    "hand-over.credentials-are-logged", level=SHOULD, checks="TC10", profiles=[TRANSPORT], types=[STREAM], needs=["log"]
)
def test_a_foreign_control_message_is_logged(link):
    """A control message that is not SCM_RIGHTS is logged."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    link.peer.send(b"data")
    assert link.events(bytes_=4).count("log") >= 1


@case("hand-over.pidfd-beside", level=MUST, checks="LC07 LC01", profiles=[TRANSPORT], types=[STREAM])
def test_a_pidfd_beside_descriptors(link, objects):
    """SO_PASSPIDFD adds a control message that holds a descriptor itself: the others are delivered, and it is not leaked."""
    link.try_option("SOL_SOCKET", "SO_PASSPIDFD", 1)
    files = objects.files(2)
    link.peer.send(b"data", fds_of(files))
    heard = link.events(bytes_=4, fds=2)
    assert [thing for thing in heard.things if thing is not None] == files
    assert heard.data == b"data"


@case("hand-over.close-on-exec", level=MUST, checks="LC06", profiles=[TRANSPORT], types=[STREAM])
def test_received_descriptors_are_close_on_exec(link, objects):
    """Every received descriptor has close-on-exec set, or the documentation says that it has not."""
    link.peer.send(b"x", fds_of(objects.files(3)))
    heard = link.events(bytes_=1, fds=3)
    assert len(heard.fds) == 3
    if link.policy("cloexec") != "never":
        assert [link.table.cloexec(fd) for fd in heard.fds] == [True, True, True]


@case("hand-over.no-slots", level=MUST, checks="LC03 LC09", profiles=[TRANSPORT], types=[STREAM])
def test_the_table_is_full(link, objects):
    """RLIMIT_NOFILE leaves no number for two descriptors: the protocol can tell that they were lost."""
    link.leave_slots(0)
    link.peer.send(b"data", fds_of(objects.files(2)))
    heard = link.events(bytes_=4, event="lost", wait=0.2)
    assert heard.fds == []
    assert heard.error is not None or heard.count("log"), "two descriptors were lost without any sign"


@case("hand-over.too-few-slots", level=MUST, checks="LC03 LC09", profiles=[TRANSPORT], types=[STREAM])
def test_the_table_is_nearly_full(link, objects):
    """A good receive first, then RLIMIT_NOFILE leaves one number for three: no stale number, and the loss can be told."""
    files = objects.files(4)
    link.peer.send(b"good", fds_of(files[:1]))
    assert link.events(bytes_=4, fds=1).things == files[:1]
    link.leave_slots(1)
    link.peer.send(b"data", fds_of(files[1:]))
    heard = link.events(bytes_=4, event="lost", wait=0.2)
    assert heard.things in ([], files[1:2])
    assert heard.error is not None or heard.count("log"), "descriptors were lost without any sign"


@case("hand-over.after-the-loss", level=MUST, checks="LC09 LC15", profiles=[TRANSPORT], types=[STREAM])
def test_the_message_after_a_loss_is_whole(link, objects):
    """After descriptors were lost at RLIMIT_NOFILE, the connection ended in an error or delivers the next message whole."""
    lost, kept = objects.files(2)
    link.leave_slots(0)
    link.peer.send(b"lost", [lost.fd])
    heard = link.events(bytes_=4, event="lost", wait=0.2)
    link.restore_slots()
    if heard.lost is not None:
        assert heard.error is not None
        return
    link.peer.send(b"kept", [kept.fd])
    later = link.events(bytes_=4, fds=1)
    assert later.things == [kept]
    assert later.data == b"kept"


@case("hand-over.paused", level=MUST, checks="TC05", profiles=[TRANSPORT], types=[STREAM], needs=["reading"])
def test_nothing_is_read_while_reading_is_off(link, objects):
    """Reading is off: nothing is handed over. Reading goes on: everything is, once."""
    file = objects.file()
    link.reading(False)
    link.peer.send(b"data", [file.fd])
    assert shape(link.settle()) == []
    link.reading(True)
    heard = link.events(bytes_=4, fds=1)
    assert heard.things == [file]
    assert heard.data == b"data"


@case("hand-over.both-ways", level=MUST, checks="TC01 TC05", profiles=[TRANSPORT], types=[STREAM])
def test_both_directions_at_once(link, objects):
    """Descriptors go both ways in one turn: each side gets the other's."""
    ours, theirs = objects.files(2)
    link.peer.send(b"to you", [theirs.fd])
    link.send(b"to me", link.open(ours))
    heard = link.events(bytes_=6, fds=1)
    assert heard.things == [theirs]
    got = link.peer.receive_exactly(5)
    assert got.data == b"to me"
    assert got.identities == [ours.identity]


@case(
    "hand-over.end-while-closing", level=MUST, checks="TC08 LC01", profiles=[TRANSPORT], types=[STREAM], needs=["abort"]
)
def test_aborting_with_descriptors_unread(link, objects):
    """Descriptors lie unread in the socket when the transport is aborted: nothing is leaked."""
    link.peer.send(b"unread", fds_of(objects.files(3)))
    link.finish(abort=True)
    assert link.until_lost().lost is not None
