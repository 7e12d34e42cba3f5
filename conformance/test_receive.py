"""Receiving: what arrives, with which numbers, and what is left when nothing does."""

import os
import socket

from fdspec.conformance.census import same_description
from fdspec.conformance.peer import rights
from fdspec.conformance.phrases import gone, most, numbers
from fdspec.conformance.rescue import rescue
from fdspec.conformance.suite import (
    DESCRIPTORS,
    DGRAM,
    MAY,
    MESSAGE,
    MUST,
    PACKETS,
    SEQPACKET,
    SHOULD,
    STREAM,
    case,
)


@case("receive.one", level=MUST, checks="S01")
def test_one(link, objects):
    """One descriptor is received beside its data, refers to the same file, and nothing is flagged as lost."""
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    got = link.receive(16, room=1)
    assert got.data == b"x"
    assert got.things == [file]
    assert not got.has("MSG_CTRUNC")


@case("receive.one.single", level=MUST, checks="S01", profiles=(DESCRIPTORS,), needs=("single",))
def test_one_by_the_call_for_one(link, objects):
    """The call that receives one descriptor returns the one that was sent, and its data."""
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    got = link.receive(16, room=1, single=True)
    assert got.data == b"x"
    assert got.things == [file]


@case("receive.none.single", level=MUST, checks="LC15 LC05", profiles=(DESCRIPTORS,), needs=("single",))
def test_none_by_the_call_for_one(link, objects):
    """The call that receives one descriptor invents none for a plain message, before and after one that has one."""
    link.peer.send(b"plain")
    assert link.receive(16, room=1, single=True).fds == []
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    assert link.receive(16, room=1, single=True).things == [file]
    link.peer.send(b"plain")
    assert link.receive(16, room=1, single=True).fds == []


@case("receive.order", level=MUST, checks="S02 LC05")
def test_order(link, objects):
    """Ten descriptors of one message arrive in the order in which they were sent."""
    files = objects.files(10)
    sent = [*files[5:], *reversed(files[:5])]
    link.peer.send(b"x", numbers(sent))
    assert link.receive(16, room=10).things == sent


@case("receive.same-twice", level=MUST, checks="S03 LC05")
def test_same_twice(link, objects):
    """A descriptor that was sent twice in one message arrives as two numbers with one open file description."""
    file = objects.file()
    link.peer.send(b"x", [file.fd, file.fd])
    got = link.receive(16, room=2)
    assert got.things == [file, file]
    first, second = got.fds
    assert first != second
    pid = link.testee.pid
    assert same_description(pid, first, pid, second) in (True, None)


@case("receive.kinds", level=MUST, checks="S34")
def test_kinds(link, objects):
    """A file, a FIFO and a socket in one message arrive as what they are."""
    kinds = {"file": objects.file, "fifo": objects.fifo, "socket": objects.socket}
    sent = [kinds[kind.value]() for kind in link.testee.hello.objects if kind.value in kinds]
    link.peer.send(b"x", numbers(sent))
    assert link.receive(16, room=len(sent)).things == sent


@case("receive.most", level=MUST, checks="M01 LC05")
def test_most(link, objects):
    """As many descriptors as one message carries (253) all arrive, in order; numbers beyond 255 are like any other."""
    files = objects.files(61)
    sent = [files[index % 61] for index in range(most(link))]
    link.peer.send(b"x", numbers(sent))
    got = link.receive(16, room=len(sent))
    assert got.data == b"x"
    assert got.things == sent
    link.peer.send(b"y", numbers(files[:2]))
    assert link.receive(16, room=2).things == files[:2]


@case("receive.room-to-spare", level=MUST, checks="T01 LC03")
def test_room_to_spare(link, objects):
    """Room for more descriptors than come changes nothing: what was sent arrives, nothing is flagged as lost."""
    for count in range(4):
        files = objects.files(count)
        link.peer.send(b"x", numbers(files))
        got = link.receive(16, room=8)
        assert got.data == b"x"
        assert got.things == files
        assert not got.has("MSG_CTRUNC"), f"{count} sent, room for 8"


@case("receive.plain-after-descriptors", level=MUST, checks="LC15 LC05")
def test_plain_after_descriptors(link, objects):
    """A plain message received after one with descriptors brings none: nothing stale is handed over."""
    files = objects.files(2)
    link.peer.send(b"first", numbers(files))
    link.peer.send(b"plain")
    assert link.receive(5, room=2).things == files
    got = link.receive(5, room=2)
    assert got.data == b"plain"
    assert got.fds == []
    assert not got.has("MSG_CTRUNC")


@case("receive.no-room", level=MUST, checks="R02 LC03")
def test_no_room(link, objects):
    """Without room the descriptors are closed, the caller can tell, the data is delivered unless that is an error."""
    link.peer.send(b"hello", numbers(objects.files(3)))
    got = link.receive(16, room=0)
    assert got.fds == []
    assert got.lost_descriptors_visible
    assert got.failed or got.data == b"hello"


@case("receive.no-room.next", level=MUST, checks="R02 LC15")
def test_no_room_then_the_next(link, objects):
    """After descriptors were dropped for want of room, the next message brings its own and no others."""
    lost, file = objects.files(2)
    link.peer.send(b"first", [lost.fd])
    link.peer.send(b"next", [file.fd])
    link.receive(5, room=0)
    got = link.receive(4, room=4)
    assert got.data == b"next"
    assert got.things == [file]
    assert not got.has("MSG_CTRUNC")


@case("receive.no-room.released", level=MUST, checks="R02 T13")
def test_no_room_releases(link, objects):
    """A descriptor that was dropped for want of room is released: its pipe hangs up."""
    fifo = objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.peer.send(b"x", [writer])
    objects.release(writer)
    link.receive(16, room=0)
    assert gone(link, fifo)


@case("receive.plain-without-room", level=MUST, checks="T01 LC03")
def test_plain_without_room(link):
    """Plain data received without room for descriptors arrives, and nothing is flagged as lost."""
    link.peer.send(b"plain")
    got = link.receive(16, room=0)
    assert got.data == b"plain"
    assert got.fds == []
    assert not got.has("MSG_CTRUNC")


@case("receive.empty-queue", level=MUST, checks="R05 LC14")
def test_empty_queue(link, objects):
    """A non-blocking receive with nothing there fails with EAGAIN and hands nothing over; a later receive works."""
    link.nonblocking()
    got = link.receive(16, room=2)
    assert got.fds == []
    assert got.errno in ("EAGAIN", "EWOULDBLOCK")
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    assert link.receive(16, room=2).things == [file]


@case("receive.empty-queue.after-descriptors", level=MUST, checks="R05 LC15")
def test_empty_queue_after_descriptors(link, objects):
    """EAGAIN after a good receive hands over no stale descriptor, twice in a row, and the next message is intact."""
    link.nonblocking()
    first, second = objects.files(2)
    link.peer.send(b"x", [first.fd])
    assert link.receive(16, room=1).things == [first]
    for _ in range(2):
        got = link.receive(16, room=1)
        assert got.failed
        assert got.fds == []
    link.peer.send(b"y", [second.fd])
    got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"y", [second])


@case("receive.lowest-numbers", level=SHOULD, checks="R09")
def test_lowest_numbers(link, objects):
    """Received descriptors take the lowest free numbers, ascending."""
    opened = link.open(*objects.files(5))
    link.close(opened[0], opened[2], opened[3])
    taken = set(link.table.numbers())
    expected = [number for number in range(len(taken) + 4) if number not in taken][:4]
    files = objects.files(4)
    link.peer.send(b"x", numbers(files))
    got = link.receive(16, room=4)
    assert got.things == files
    assert got.fds == expected


@case("receive.zero-bytes.stream", level=SHOULD, checks="R11 LC01", types=(STREAM,))
def test_zero_bytes_on_a_stream(link, objects):
    """A receive of no bytes delivers the waiting descriptors and leaves the data, or is refused and leaves both."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"x", [file.fd])
    first = link.receive(0, room=1)
    second = link.receive(1, room=1)
    assert first.data == b""
    assert second.data == b"x"
    assert [*first.things, *second.things] == [file]


@case("receive.zero-bytes.packet", level=SHOULD, checks="R11 LC15", types=PACKETS)
def test_zero_bytes_of_a_packet(link, objects):
    """A receive of no bytes takes the whole packet and delivers its descriptors, or is refused and takes nothing."""
    first, second = objects.files(2)
    link.nonblocking()
    link.peer.send(b"first", [first.fd])
    link.peer.send(b"second", [second.fd])
    got = link.receive(0, room=1)
    after = link.receive(16, room=1)
    if got.failed:
        assert (after.data, after.things) in [(b"first", [first]), (b"second", [second])]
    else:
        assert (got.data, got.things) == (b"", [first])
        assert (after.data, after.things) == (b"second", [second])


@case("receive.end-of-file", level=MUST, checks="G08 LC01", types=(STREAM, SEQPACKET))
def test_end_of_file(link, objects):
    """After all was received and the sender closed, the end of file comes, twice, without data or descriptors."""
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    link.peer.close()
    assert link.receive(16, room=1).things == [file]
    for _ in range(2):
        got = link.receive(16, room=1)
        assert got.data == b""
        assert got.fds == []
        assert not got.has("MSG_CTRUNC")


@case("receive.queued-before-close", level=MUST, checks="G08 LC15")
def test_queued_before_close(link, objects):
    """Messages that were queued when the sender closed all arrive, each with its own descriptors."""
    groups = [objects.files(count) for count in (1, 0, 3)]
    for index, files in enumerate(groups):
        link.peer.send(b"%d" % index, numbers(files))
    link.peer.close()
    for index, files in enumerate(groups):
        got = link.receive(1, room=4)
        assert (got.data, got.things) == (b"%d" % index, files)


@case("receive.after-peer-shutdown", level=MUST, checks="R17")
def test_after_peer_shutdown(link, objects):
    """Descriptors that were queued when the sender shut its writing side down are delivered."""
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    link.peer.shutdown(socket.SHUT_WR)
    got = link.receive(16, room=2)
    assert (got.data, got.things) == (b"x", files)


@case("receive.after-peer-shutdown.end", level=MUST, checks="R17", types=(STREAM, SEQPACKET))
def test_end_after_peer_shutdown(link, objects):
    """After the sender shut its writing side down: what is queued, then the end of file; the other direction works."""
    file, back = objects.files(2)
    link.peer.send(b"x", [file.fd])
    link.peer.shutdown(socket.SHUT_WR)
    assert link.receive(16, room=1).things == [file]
    got = link.receive(16, room=1)
    assert (got.data, got.fds) == (b"", [])
    assert not link.send(b"y", link.open(back)).failed
    assert link.peer.receive().identities == [back.identity]


@case("receive.after-own-shutdown", level=MAY, checks="L10")
def test_after_own_shutdown(link, objects):
    """Descriptors that wait when the receiver shuts its reading side down are delivered or dropped, never leaked."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"x", [file.fd])
    link.shutdown("SHUT_RD")
    got = link.receive(16, room=1)
    assert (got.data, got.things) in [(b"x", [file]), (b"", [])]
    link.outcome = "delivered" if got.things else "freed"


@case("receive.close-releases", level=MUST, checks="L12")
def test_close_releases(link, objects):
    """Closing the receiving socket releases the descriptors that wait in it: their pipe hangs up."""
    fifo = objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.peer.send(b"x", [writer])
    objects.release(writer)
    assert link.table.queued(link.fd) == 1
    link.close(link.fd)
    assert gone(link, fifo)


@case("receive.sender-closed-its-own", level=MUST, checks="S08")
def test_sender_closed_its_own(link, objects):
    """A descriptor that the sender closed after sending it arrives and is usable."""
    file = objects.file()
    fresh = objects.fresh(file)
    link.peer.send(b"x", [fresh])
    objects.release(fresh)
    got = link.receive(16, room=1)
    assert got.things == [file]


@case("receive.address", level=MUST, checks="R15 LC12", types=(DGRAM,), needs=("peer-address",))
def test_address(link, objects):
    """The sender's address is shown beside the descriptors."""
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    got = link.receive(16, room=1)
    assert got.things == [file]
    assert got.address == link.peer.path


@case("receive.cloexec-flag", level=MUST, checks="I03 LC12", needs=("flags-in",))
def test_cloexec_flag(link, objects):
    """MSG_CMSG_CLOEXEC takes effect on every descriptor of the message."""
    files = objects.files(3)
    link.peer.send(b"x", numbers(files))
    got = link.receive(16, room=3, flags=("MSG_CMSG_CLOEXEC",))
    assert got.things == files
    assert [link.table.cloexec(fd) for fd in got.fds] == [True, True, True]


@case("receive.dontwait-flag", level=MUST, checks="LC12 R05", needs=("flags-in",))
def test_dontwait_flag(link, objects):
    """MSG_DONTWAIT takes effect on a blocking socket: with nothing there the receive fails with EAGAIN."""
    file = objects.file()
    with rescue(link, lambda: link.peer.send(b"rescue")):
        got = link.receive(16, room=1, flags=("MSG_DONTWAIT",))
    assert got.errno in ("EAGAIN", "EWOULDBLOCK")
    link.peer.send(b"x", [file.fd])
    assert link.receive(16, room=1, flags=("MSG_DONTWAIT",)).things == [file]


@case("receive.unrelated-flags", level=MAY, checks="P11", needs=("flags-in",))
def test_unrelated_flags(link, objects):
    """Flags that mean nothing to a receive (MSG_MORE, MSG_NOSIGNAL) are ignored, or refused with the message kept."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"x", [file.fd])
    got = link.receive(16, room=1, flags=("MSG_MORE", "MSG_NOSIGNAL"))
    if got.failed:
        got = link.receive(16, room=1)
    assert (got.data, got.things) == (b"x", [file])


@case("receive.empty-rights", level=SHOULD, checks="A04")
def test_empty_rights(link, objects):
    """A rights message with no descriptor in it is none: the data arrives, nothing is flagged as lost."""
    link.peer.send(b"x", ancillary=[rights([])])
    got = link.receive(16, room=2)
    assert (got.data, got.fds) == (b"x", [])
    assert not got.has("MSG_CTRUNC")
    file = objects.file()
    link.peer.send(b"y", ancillary=[rights([]), rights([file.fd])])
    assert link.receive(16, room=2).things == [file]


@case("receive.several-rights", level=MUST, checks="A09 LC08")
def test_several_rights(link, objects):
    """Descriptors that were sent in three rights messages of one message all arrive, in order."""
    files = objects.files(6)
    groups = [files[:1], files[1:3], files[3:]]
    link.peer.send(b"x", ancillary=[rights(numbers(group)) for group in groups])
    got = link.receive(16, room=6)
    assert got.data == b"x"
    assert got.things == files


@case("receive.several-rights.small-room", level=MUST, checks="A09 LC03 LC08")
def test_several_rights_in_small_room(link, objects):
    """Of descriptors sent in two rights messages as many as there is room for arrive, and the loss is visible."""
    files = objects.files(4)
    link.peer.send(b"x", ancillary=[rights(numbers(files[:2])), rights(numbers(files[2:]))])
    got = link.receive(16, room=2)
    assert got.things == files[: len(got.things)]
    assert len(got.fds) <= 2
    assert got.lost_descriptors_visible


@case("receive.several-messages", level=MUST, checks="LC15 L08")
def test_several_messages(link, objects):
    """Thirty messages in a row, received one by one, each bring their own descriptors and leave no other behind."""
    files = objects.files(6)
    for turn in range(30):
        sent = [files[(turn + index) % 6] for index in range(turn % 4)]
        link.peer.send(b"%02d" % turn, numbers(sent))
        got = link.receive(2, room=3)
        assert (got.data, got.things) == (b"%02d" % turn, sent)


@case("receive.control-message-shape", level=MUST, checks="S01", profiles=(MESSAGE,), needs=("control-length",))
def test_control_message_shape(link, objects):
    """Beside the rights no other control message is invented, with a generous control buffer."""
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    got = link.receive(16, control=1024)
    assert got.things == [file]
    assert got.ancillary == []
    assert not got.has("MSG_CTRUNC")


@case("receive.cloexec-flag.shown", level=MAY, checks="R18 T01", needs=("flags-in",))
def test_cloexec_flag_shown(link, objects):
    """Of a good receive with MSG_CMSG_CLOEXEC no flag is shown but perhaps that one."""
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    got = link.receive(16, room=1, flags=("MSG_CMSG_CLOEXEC",))
    assert got.things == [file]
    assert got.flags is None or got.flags <= {"MSG_CMSG_CLOEXEC"}


@case("receive.zero-bytes.no-room", level=MAY, checks="R12 R02", types=(STREAM,))
def test_zero_bytes_without_room(link, objects):
    """A receive of no bytes without room may drop a stream's waiting descriptors; the data stays, and nothing leaks."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"x", [file.fd])
    first = link.receive(0, room=0)
    assert (first.data, first.fds) == (b"", [])
    got = link.receive(1, room=1)
    assert got.data == b"x"
    assert got.things in ([file], [])
