"""The contracts of a wrapper in the situations in which real ones broke them: a signal, a limit, number 0, its own socket."""

import socket

import pytest
from fdspec.conformance.checks import SMALL_BUFFER, drain, fill
from fdspec.conformance.phrases import drop, most, numbers
from fdspec.conformance.situations import MANY, few_in_flight, interruption, let_time_out, taken_again, zero_free
from fdspec.conformance.suite import DESCRIPTORS, MESSAGE, MUST, PACKETS, SEQPACKET, STREAM, case
from fdspec.impls.errors import Unsupported

CONNECTED = (STREAM, SEQPACKET)
BIG = bytes(range(256)) * 400
"""100 KiB, in which every place can be told."""


# --- LC13: interrupted calls ----------------------------------------------------------------------------------------


@case("contracts.interrupted.receive", level=MUST, checks="LC13 E01")
def test_an_interrupted_receive(link, objects):
    """A blocking receive is interrupted: it goes on or says EINTR, and the message that comes then is whole."""
    files = objects.files(2)
    let_time_out(link)
    with interruption(link, lambda _: link.peer.send(b"data", numbers(files))):
        got = link.receive(16, room=2)
    if got.failed:
        assert got.errno in {None, "EINTR"}
        assert got.fds == []
        got = link.receive(16, room=2)
    assert (got.data, got.things) == (b"data", files)
    assert not got.has("MSG_CTRUNC")


@case("contracts.interrupted.receive.after-descriptors", level=MUST, checks="LC13 LC15 E01")
def test_an_interrupted_receive_after_a_good_one(link, objects):
    """A receive that is interrupted after a good one reports none of the earlier descriptors, and loses none."""
    before, after = objects.files(3), objects.files(1)
    let_time_out(link)
    link.peer.send(b"one", numbers(before))
    assert link.receive(3, room=3).things == before
    with interruption(link, lambda _: link.peer.send(b"two", numbers(after))):
        got = link.receive(16, room=3)
    if got.failed:
        assert got.fds == []
        got = link.receive(16, room=3)
    assert (got.data, got.things) == (b"two", after)


@case("contracts.interrupted.receive.single", level=MUST, checks="LC13 E01", profiles=(DESCRIPTORS,), needs=("single",))
def test_an_interrupted_receive_of_one(link, objects):
    """The call for one descriptor is interrupted: it goes on or says EINTR, and the message that comes then is whole."""
    file = objects.file()
    let_time_out(link)
    with interruption(link, lambda _: link.peer.send(b"data", [file.fd])):
        got = link.receive(16, room=1, single=True)
    if got.failed:
        assert got.fds == []
        got = link.receive(16, room=1, single=True)
    assert (got.data, got.things) == (b"data", [file])


@case("contracts.interrupted.receive.whole-length", level=MUST, checks="LC13 E03", types=(STREAM,), needs=("flags-in",))
def test_an_interrupted_receive_that_waits_for_all(link, objects):
    """MSG_WAITALL is interrupted after three bytes: they are not lost, nor what comes after them with a descriptor."""
    file = objects.file()
    let_time_out(link)
    link.peer.send(b"abc")
    with interruption(link, lambda _: link.peer.send(b"defgh", [file.fd])):
        got = [link.receive(8, room=1, flags=["MSG_WAITALL"])]
    link.nonblocking()  # so that lost data is a failure and no hang
    while sum(len(one.data) for one in got) < 8:
        assert len(got) < 4, f"the end came after {got}"
        got.append(link.receive(8, room=1))
    assert b"".join(one.data for one in got) == b"abcdefgh"
    assert [thing for one in got for thing in one.things] == [file]


@case("contracts.interrupted.send", level=MUST, checks="LC13 E05 LC10")
def test_an_interrupted_send(link, objects):
    """A send that waits for a full buffer is interrupted: it goes on, or says EINTR and has sent nothing."""
    filler, file = objects.files(2)
    filling, number = link.open(filler, file)
    let_time_out(link)
    link.nonblocking()
    assert fill(link, filling).failed
    link.option("fcntl", "O_NONBLOCK", 0)
    messages = []
    with interruption(link, lambda over: _read(link, messages, over)):
        sent = link.send(b"x" * 1024, [number])
    messages += drain(link)
    if sent.failed:
        assert sent.errno in {None, "EINTR"}
        assert _identities(messages).count(file.identity) == 0
        assert not link.send(b"x" * 1024, [number]).failed
        messages += drain(link)
    assert _identities(messages).count(file.identity) == 1


@case("contracts.interrupted.send.partial", level=MUST, checks="LC13 E05 LC10", types=(STREAM,))
def test_a_send_that_is_interrupted_in_the_middle(link, objects):
    """A blocking send of 100 KiB is interrupted half-way: as much as was told arrives, the descriptors once, in front."""
    things = objects.files(2)
    fds = link.open(*things)
    let_time_out(link)
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    messages = []
    with interruption(link, lambda over: _read(link, messages, over)):
        sent = link.send(BIG, fds)
    messages += drain(link)
    arrived = b"".join(message.data for message in messages)
    assert arrived
    assert arrived == BIG[: len(arrived)]
    assert sent.count in {None, len(arrived)}
    assert [message.identities for message in messages if message.fds] == [[thing.identity for thing in things]]
    assert messages[0].fds


def _read(link, messages, over):
    """Let the peer receive whatever comes until the block is over."""
    while not over.is_set():
        if link.peer.pending(0.001):
            messages.append(link.peer.receive())


def _identities(messages):
    return [identity for message in messages for identity in message.identities]


# --- LC05: number 0 -------------------------------------------------------------------------------------------------


@case("contracts.number-zero", level=MUST, checks="LC05 LC01 LC02")
def test_number_zero_is_received_like_any_other(link, objects):
    """Number 0 is free: the first of three descriptors gets it, is handed over, stays open, and can be sent on."""
    files = objects.files(3)
    with zero_free(link, objects):
        link.peer.send(b"three", numbers(files))
        got = link.receive(5, room=3)
        assert (got.data, got.things) == (b"three", files)
        assert 0 in got.fds
        assert not link.send(b"on", [0]).failed
        assert link.peer.receive().identities == [files[got.fds.index(0)].identity]
        drop(link, got.fds)


@case("contracts.number-zero.alone", level=MUST, checks="LC05 LC01")
def test_number_zero_alone(link, objects):
    """Number 0 is free: a message's only descriptor gets it and is handed over; the next message has its own."""
    first, second = objects.files(2)
    with zero_free(link, objects):
        link.peer.send(b"one", [first.fd])
        got = link.receive(3, room=4)
        assert (got.data, got.things, got.fds) == (b"one", [first], [0])
        link.peer.send(b"two", [second.fd])
        again = link.receive(3, room=4)
        assert (again.data, again.things) == (b"two", [second])
        drop(link, [*got.fds, *again.fds])


@case("contracts.number-zero.single", level=MUST, checks="LC05 LC01", profiles=(DESCRIPTORS,), needs=("single",))
def test_number_zero_by_the_call_for_one(link, objects):
    """Number 0 is free: the call for one descriptor returns it, and does not take it for none."""
    file = objects.file()
    with zero_free(link, objects):
        link.peer.send(b"x", [file.fd])
        got = link.receive(1, room=1, single=True)
        assert (got.data, got.things, got.fds) == (b"x", [file], [0])
        drop(link, got.fds)


@case("contracts.number-zero.excess", level=MUST, checks="LC01 LC04 LC05")
def test_number_zero_among_what_does_not_fit(link, objects):
    """Number 0 is free, and more descriptors come than there is room for: what is not handed over does not stay open."""
    files = objects.files(4)
    for room in (0, 1, 3):
        with zero_free(link, objects):
            link.peer.send(b"x", numbers(files))
            got = link.receive(1, room=room)
            assert got.things == files[: len(got.things)]
            drop(link, got.fds)
            assert link.table.identity(0) is None, f"room for {room}: number 0 was left open"


# --- LC06: close-on-exec --------------------------------------------------------------------------------------------


@case("contracts.cloexec.message", level=MUST, checks="LC06", profiles=(MESSAGE,))
def test_received_descriptors_can_be_close_on_exec(link, objects):
    """Three received descriptors are all close-on-exec, by default or with MSG_CMSG_CLOEXEC, or the documentation says not."""
    files = objects.files(3)
    flags = [] if link.policy("cloexec") == "always" or not link.can("flags-in") else ["MSG_CMSG_CLOEXEC"]
    link.peer.send(b"x", numbers(files))
    got = link.receive(1, room=3, flags=flags)
    assert got.things == files
    if link.policy("cloexec") != "never":
        assert [link.table.cloexec(fd) for fd in got.fds] == [True, True, True]


# --- LC05, LC15: lists of other lengths -----------------------------------------------------------------------------


@case("contracts.more-than-before", level=MUST, checks="LC15 LC05")
def test_a_longer_list_after_a_shorter_one(link, objects):
    """No descriptor, then one, two, eight, and eight again: room that a short message left unused is there for the next."""
    for count in (0, 1, 2, 8, 8):
        files = objects.files(count)
        link.peer.send(b"%d" % count, numbers(files))
        got = link.receive(1, room=8)
        assert (got.data, got.things) == (b"%d" % count, files)
        assert not got.has("MSG_CTRUNC")
        drop(link, got.fds)


@case("contracts.one-more-than-room", level=MUST, checks="LC01 LC03 LC04")
def test_one_more_than_there_is_room_for(link, objects):
    """Room for as many as programs usually have room for, and one more comes: a visible loss, the next message is whole."""
    files = objects.files(61)
    for wanted in (27, 28, 61, 63, 64, 127, 252):
        room = most(link, wanted)
        sent = [files[index % 61] for index in range(room + 1)]
        link.peer.send(b"x", numbers(sent))
        got = link.receive(1, room=room)
        assert len(got.fds) <= room, f"room for {room}"
        assert got.things == sent[: len(got.things)], f"room for {room}"
        assert got.lost_descriptors_visible, f"room for {room}"
        drop(link, got.fds)
        link.peer.send(b"y", numbers(sent[:room]))
        got = link.receive(1, room=room)
        assert (got.data, got.things) == (b"y", sent[:room]), f"after a loss, room for {room}"
        drop(link, got.fds)


# --- LC04, LC01: no room, and too small a buffer --------------------------------------------------------------------


@pytest.mark.parametrize("credentials", [False, True], ids=["plain", "beside-credentials"])
@case("contracts.room-for-none", level=MUST, checks="LC04 LC15")
def test_room_for_none_is_a_limit(link, objects, credentials):
    """Room for none hands out none, however many come, with SO_PASSCRED too; then a message has its own again."""
    files = objects.files(9)
    if credentials:
        link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    for count in (1, 2, 3, 9):
        link.peer.send(b"none", numbers(files[:count]))
        got = link.receive(4, room=0)
        assert got.fds == [], f"room for none, {count} sent"
        assert got.failed or got.data == b"none"
    if credentials:
        link.option("SOL_SOCKET", "SO_PASSCRED", 0)
    link.peer.send(b"next", numbers(files[:2]))
    got = link.receive(4, room=2)
    assert (got.data, got.things) == (b"next", files[:2])


@case("contracts.cut-data", level=MUST, checks="LC01 LC15", types=PACKETS)
def test_cut_data(link, objects):
    """A packet is cut, with room for all, some or none of its descriptors: they are handed over or closed, the next is whole."""
    files, other = objects.files(4), objects.file()
    for size, room, count in ((4, 4, 4), (1, 4, 2), (4, 2, 4), (4, 0, 2)):
        what = f"12 bytes into {size}, {count} descriptors into {room}"
        link.peer.send(b"cut-it-short", numbers(files[:count]))
        got = link.receive(size, room=room)
        assert got.failed or got.data == b"cut-"[:size], what
        assert got.things == files[: len(got.things)], what
        assert got.failed or count > room or len(got.things) == count, what
        drop(link, got.fds)
        link.peer.send(b"next", [other.fd])
        got = link.receive(16, room=2)
        assert (got.data, got.things) == (b"next", [other]), f"after {what}"
        drop(link, got.fds)


# --- LC09: limits ---------------------------------------------------------------------------------------------------


@case("contracts.descriptor-limit.again-and-again", level=MUST, checks="LC09 LC03 LC01")
def test_a_process_that_stays_at_its_limit(link, objects):
    """Twenty messages find no free number: each loss is told, plain data between comes through, and then all is well."""
    files = objects.files(2)
    link.nonblocking()
    link.leave_slots(0)
    for turn in range(20):
        link.peer.send(b"lost", numbers(files))
        got = link.receive(4, room=2)
        assert got.fds == [], turn
        assert got.lost_descriptors_visible, turn
        link.peer.send(b"data")
        got = link.receive(4, room=2)
        assert (got.data, got.fds) == (b"data", []), turn
        assert not got.has("MSG_CTRUNC"), turn
    link.restore_slots()
    link.peer.send(b"kept", numbers(files))
    got = link.receive(4, room=2)
    assert (got.data, got.things) == (b"kept", files)


@case("contracts.in-flight-limit", level=MUST, checks="LC14 M02 M02b")
def test_too_many_in_flight(link, objects):
    """More descriptors are in flight than the user may have: an error, none of the earlier is lost, later it goes on."""
    file = objects.file()
    (number,) = link.open(file)
    few_in_flight(link)
    taken = 0
    sent = link.send(b"x", [number])
    while not sent.failed and taken < MANY:
        taken += 1
        sent = link.send(b"x", [number])
    if not sent.failed:
        raise Unsupported("platform", f"this user may have more than {taken} descriptors in flight with a limit of 8")
    link.restore_slots()
    assert sent.errno in {None, "ETOOMANYREFS"}
    assert [(one.data, one.identities) for one in drain_ones(link)] == [(b"x", [file.identity])] * taken
    assert not link.send(b"y", [number]).failed
    got = link.peer.receive()
    assert (got.data, got.identities) == (b"y", [file.identity])


def drain_ones(link):
    """Let the peer receive everything that is there, one byte at a time."""
    messages = []
    while link.peer.pending():
        messages.append(link.peer.receive(1))
    return messages


# --- LC01: a socket that goes over itself, and one that is reset ----------------------------------------------------


@case("contracts.own-end.dropped", level=MUST, checks="LC01 S09 L12", types=CONNECTED)
def test_the_peers_own_end_is_dropped(link):
    """The peer's own end comes where there is no room, and the peer closes: nothing keeps it open, so the end comes."""
    link.nonblocking()
    link.peer.send(b"x", [link.peer.socket.fileno()])
    assert link.receive(1, room=0).fds == []
    link.peer.close()
    end = link.receive(16, room=1)
    assert not end.failed, f"the connection is kept open by its own descriptor: {end.error}"
    assert (end.data, end.fds) == (b"", [])


@case("contracts.own-end.closed", level=MUST, checks="LC01 S09 L12", types=CONNECTED)
def test_the_peers_own_end_is_closed_by_the_caller(link):
    """The peer's own end is handed over, the peer closes, and then the caller closes what it got: the end comes."""
    link.nonblocking()
    link.peer.send(b"x", [link.peer.socket.fileno()])
    got = link.receive(1, room=1)
    assert len(got.fds) == 1
    link.peer.close()
    waits = link.receive(16, room=1)
    assert waits.failed, "the end came although the caller still has the peer's end"
    drop(link, got.fds)
    end = link.receive(16, room=1)
    assert not end.failed, f"the connection is kept open by its own descriptor: {end.error}"
    assert (end.data, end.fds) == (b"", [])


@case("contracts.reset-with-a-message-waiting", level=MUST, checks="LC01 LC15 G08", types=CONNECTED)
def test_a_reset_does_not_lose_what_came_before(link, objects):
    """The peer sends a descriptor and closes with a message unread: before or after ECONNRESET the descriptor comes, once."""
    unread, last = objects.files(2)
    assert not link.send(b"unread", link.open(unread)).failed
    assert link.peer.pending(1)
    link.peer.send(b"last", [last.fd])
    link.peer.socket.shutdown(socket.SHUT_WR)
    link.peer.close()
    got = [link.receive(16, room=2) for _ in range(3)]
    assert [(one.data, one.things) for one in got if one.data or one.fds] == [(b"last", [last])], got
    assert all(one.errno in {None, "ECONNRESET"} for one in got)


@case("contracts.socket-closed-once", level=MUST, checks="LC02 LC01")
def test_a_closed_socket_is_not_closed_again(link, objects):
    """A socket was used and closed, and its number is taken by a file: nothing closes that when another socket is used."""
    file, other = objects.file(), objects.socket()
    link.peer.send(b"x", [file.fd])
    assert link.receive(1, room=1).things == [file]
    assert not link.send(b"y", link.open(file)).failed
    link.peer.receive()
    number = link.fd
    link.close(number)
    taker = taken_again(link, objects, number)
    (link.fd,) = link.open(other)
    assert not link.send(b"z", [number]).failed
    link.nonblocking()
    assert link.receive(1, room=1).failed
    assert link.table.identity(number) == taker.identity
