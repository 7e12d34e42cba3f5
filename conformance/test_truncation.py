"""Truncation: descriptors that did not fit, or found no free number, are closed, visibly lost, and never come back."""

import os
from itertools import product

from fdspec.conformance.phrases import drop, gone, most, numbers
from fdspec.conformance.suite import DESCRIPTORS, MAY, MESSAGE, MUST, PACKETS, STREAM, case


@case("ctrunc.excess-is-reported", level=MUST, checks="LC03")
def test_excess_descriptors_are_reported(link, objects):
    """Five sent, room for two: the caller can tell that three were lost."""
    link.peer.send(b"x", fds=[one.fd for one in objects.files(5)])
    got = link.receive(data=1, room=2)
    assert got.lost_descriptors_visible


@case("ctrunc.room-by-count", level=MUST, checks="T01 LC03")
def test_room_by_count(link, objects):
    """Room for 0 to 6 and 0 to 6 sent: the first arrive in order, and the caller can tell when some were lost."""
    files = objects.files(6)
    for room, count in product(range(7), range(7)):
        sent = files[:count]
        link.peer.send(b"x", numbers(sent))
        got = link.receive(1, room=room)
        what = f"{count} sent, room for {room}"
        assert got.things == sent[: len(got.things)], what
        if len(got.things) < count:
            assert got.lost_descriptors_visible, what
        else:
            assert (got.data, got.has("MSG_CTRUNC")) == (b"x", False), what
        if count <= room:
            assert got.things == sent, what
        drop(link, got.fds)


@case("ctrunc.room-is-a-limit", level=MUST, checks="LC04 T02")
def test_room_is_a_limit(link, objects):
    """Room for n, odd n above all, hands out n descriptors at most, when one, two or three more were sent."""
    files = objects.files(12)
    for room, excess in product((1, 2, 3, 5, 7, 8, 9), (1, 2, 3)):
        link.peer.send(b"x", numbers(files[: room + excess]))
        got = link.receive(1, room=room)
        assert len(got.fds) <= room, f"room for {room}, {room + excess} sent"
        drop(link, got.fds)


@case("ctrunc.exact-fit", level=MUST, checks="T03")
def test_exact_fit(link, objects):
    """Room for exactly what comes holds all of it, and nothing is flagged as lost."""
    files = objects.files(9)
    for count in range(1, 10):
        link.peer.send(b"x", numbers(files[:count]))
        got = link.receive(1, room=count)
        assert got.things == files[:count]
        assert not got.has("MSG_CTRUNC"), f"room for {count}, {count} sent"
        drop(link, got.fds)


@case("ctrunc.control-length", level=MUST, checks="T01 T02 T03", profiles=(MESSAGE,), needs=("control-length",))
def test_control_length(link, objects):
    """A control buffer of c bytes (0 to 64) takes max(0, (c-16)//4) descriptors, the rest is closed and flagged."""
    files = objects.files(6)
    for control, count in product(range(65), range(7)):
        fitting = min(count, max(0, (control - 16) // 4))
        link.peer.send(b"x", numbers(files[:count]))
        got = link.receive(1, control=control)
        what = f"{count} sent into {control} bytes"
        if fitting == count:
            assert (got.data, got.things) == (b"x", files[:count]), what
            assert not got.has("MSG_CTRUNC"), what
        else:
            assert got.lost_descriptors_visible, what
            assert got.things == files[:fitting] or (got.failed and not got.fds), what
        drop(link, got.fds)


@case("ctrunc.lost-stay-lost", level=MUST, checks="T04 LC15")
def test_lost_stay_lost(link, objects):
    """Descriptors that did not fit don't come back with a later message."""
    link.peer.send(b"first", numbers(objects.files(5)))
    link.peer.send(b"plain")
    link.receive(5, room=2)
    got = link.receive(5, room=8)
    assert (got.data, got.fds) == (b"plain", [])
    assert not got.has("MSG_CTRUNC")


@case("ctrunc.next-message", level=MUST, checks="T04 LC15")
def test_next_message(link, objects):
    """After a message that did not fit, nine times over, the next one brings exactly its own descriptors."""
    files, own = objects.files(5), objects.files(2)
    for room in (0, 2, 4) * 3:
        link.peer.send(b"first", numbers(files))
        link.peer.send(b"next", numbers(own))
        drop(link, link.receive(5, room=room).fds)
        got = link.receive(4, room=2)
        assert (got.data, got.things) == (b"next", own), f"after room for {room} of 5"
        drop(link, got.fds)


@case("ctrunc.released", level=MUST, checks="T13")
def test_released(link, objects):
    """A descriptor that did not fit is released: its pipe hangs up."""
    fifo = objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.peer.send(b"x", [*numbers(objects.files(2)), writer])
    objects.release(writer)
    link.receive(1, room=2)
    assert gone(link, fifo)


@case("ctrunc.data-survives", level=MUST, checks="T13 LC03")
def test_data_survives(link, objects):
    """The data of a message whose descriptors did not fit is delivered, unless the loss itself is an error."""
    link.peer.send(b"hello", numbers(objects.files(5)))
    got = link.receive(16, room=2)
    assert got.failed or got.data == b"hello"


@case("ctrunc.rest-of-the-data", level=MUST, checks="T13 B05", types=(STREAM,))
def test_rest_of_the_data(link, objects):
    """The rest of a stream message whose descriptors did not fit comes without descriptors and without a flag."""
    link.nonblocking()
    link.peer.send(b"headtail", numbers(objects.files(5)))
    first = link.receive(4, room=2)
    rest = link.receive(16, room=4)
    assert first.failed or first.data == b"head"
    assert rest.data == b"tail"
    assert rest.fds == []
    assert not rest.has("MSG_CTRUNC")


@case("ctrunc.with-data-truncated", level=MUST, checks="T10", types=PACKETS)
def test_with_data_truncated(link, objects):
    """A packet that is too long and has too many descriptors: both losses are visible where flags are shown."""
    files = objects.files(4)
    link.peer.send(b"longdata", numbers(files))
    got = link.receive(4, room=2)
    assert got.things == files[: len(got.things)]
    if not got.failed:
        assert got.data == b"long"
        assert got.flags is None or got.flags >= {"MSG_TRUNC", "MSG_CTRUNC"}


@case("ctrunc.many-into-few", level=MUST, checks="T01 LC01")
def test_many_into_few(link, objects):
    """64 and 253 descriptors into room for 2, 16, 62: the first arrive, in order, and the others are closed."""
    files = objects.files(61)
    for count, wanted in product((64, 253), (2, 16, 62)):
        room = most(link, wanted)
        sent = [files[index % 61] for index in range(count)]
        link.peer.send(b"x", numbers(sent))
        got = link.receive(1, room=room)
        what = f"{count} sent, room for {room}"
        assert len(got.fds) <= room, what
        assert got.things == sent[: len(got.things)], what
        assert got.flags is None or got.lost_descriptors_visible, what
        drop(link, got.fds)


@case("ctrunc.room-beyond-the-most", level=MAY, checks="LC11 M01")
def test_room_beyond_the_most(link, objects):
    """Room for more than a message can carry (254, 1000) is taken, or refused with the message kept."""
    link.nonblocking()
    for room in (254, 1000):
        files = objects.files(2)
        link.peer.send(b"x", numbers(files))
        got = link.receive(1, room=room)
        if got.failed:
            got = link.receive(1, room=2)
        assert (got.data, got.things) == (b"x", files), f"room for {room}"


@case("ctrunc.interleaved", level=MUST, checks="T04 LC15")
def test_interleaved(link, objects):
    """Of eight queued messages every other does not fit; the others bring exactly their own descriptors."""
    for index in range(8):
        files = objects.files(4 if index % 2 else 2)
        link.peer.send(b"%d" % index, numbers(files))
        got = link.receive(1, room=2)
        assert got.things == files[: len(got.things)]
        if len(files) == 2:
            assert (got.data, got.things) == (b"%d" % index, files)


@case("ctrunc.single-gets-two", level=MUST, checks="LC01 LC03 LC04", profiles=(DESCRIPTORS,), needs=("single",))
def test_single_gets_two(link, objects):
    """The call for one descriptor, when two come, hands out one at most, closes the other, and the caller can tell."""
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    got = link.receive(1, room=1, single=True)
    assert got.things == files[: len(got.things)]
    assert len(got.fds) <= 1
    assert got.lost_descriptors_visible


@case("ctrunc.single-gets-many", level=MUST, checks="LC01 LC03 LC04", profiles=(DESCRIPTORS,), needs=("single",))
def test_single_gets_many(link, objects):
    """The call for one descriptor, when five come, hands out one at most, closes the rest, and the caller can tell."""
    files = objects.files(5)
    link.peer.send(b"x", numbers(files))
    got = link.receive(1, room=1, single=True)
    assert got.things == files[: len(got.things)]
    assert len(got.fds) <= 1
    assert got.lost_descriptors_visible


SLOTS = ((1, 0), (2, 0), (2, 1), (3, 1), (3, 2), (5, 0), (5, 1), (5, 2))
"""How many are sent, and for how many of them there is a free number."""


@case("nofile.slots", level=MUST, checks="T12 LC03 LC09")
def test_slots(link, objects):
    """With free numbers for k of n descriptors the first k arrive, or an error says that none did: a visible loss."""
    warm = objects.file()
    link.peer.send(b"x", [warm.fd])
    assert link.receive(1, room=1).things == [warm]
    files = objects.files(5)
    for count, slots in SLOTS:
        link.peer.send(b"x", numbers(files[:count]))
        link.leave_slots(slots)
        got = link.receive(1, room=count)
        link.restore_slots()
        what = f"{count} sent, {slots} numbers free"
        assert got.lost_descriptors_visible, what
        assert got.things == files[:slots] or (got.failed and not got.fds), what
        if slots:
            link.outcome = "short" if got.fds else "refused"
        drop(link, got.fds)


@case("nofile.stale", level=MUST, checks="LC09 LC15")
def test_stale_number(link, objects):
    """At the limit of open files no number of an earlier message is handed over again."""
    for count in (1, 3):
        first, second = objects.files(count), objects.files(count)
        link.peer.send(b"x", numbers(first))
        assert link.receive(1, room=count).things == first
        link.peer.send(b"y", numbers(second))
        link.leave_slots(0)
        got = link.receive(1, room=count)
        link.restore_slots()
        assert got.fds == []


@case("nofile.stale.single", level=MUST, checks="LC03 LC09 LC15", profiles=(DESCRIPTORS,), needs=("single",))
def test_stale_number_by_the_call_for_one(link, objects):
    """At the limit of open files the call for one descriptor hands over none, and the caller can tell of the loss."""
    first, second = objects.files(2)
    link.peer.send(b"x", [first.fd])
    assert link.receive(1, room=1, single=True).things == [first]
    link.peer.send(b"y", [second.fd])
    link.leave_slots(0)
    got = link.receive(1, room=1, single=True)
    link.restore_slots()
    assert got.fds == []
    assert got.lost_descriptors_visible


@case("nofile.next-message", level=MUST, checks="T13 LC09 LC15")
def test_next_message_after_the_limit(link, objects):
    """After descriptors were lost at the limit of open files, the next message brings exactly its own."""
    lost, own = objects.files(4), objects.files(2)
    for slots in (0, 1, 2):
        link.peer.send(b"first", numbers(lost))
        link.peer.send(b"next", numbers(own))
        link.leave_slots(slots)
        got = link.receive(5, room=4)
        link.restore_slots()
        drop(link, got.fds)
        got = link.receive(4, room=4)
        assert (got.data, got.things) == (b"next", own), f"after {slots} free numbers"
        assert not got.has("MSG_CTRUNC")


@case("nofile.released", level=MUST, checks="T13")
def test_released_at_the_limit(link, objects):
    """A descriptor that found no free number is released: its pipe hangs up."""
    fifo = objects.fifo()
    writer = objects.fresh(fifo, os.O_WRONLY)
    link.peer.send(b"x", [objects.file().fd, writer])
    objects.release(writer)
    link.leave_slots(1)
    link.receive(1, room=2)
    link.restore_slots()
    assert gone(link, fifo)


@case("nofile.plain-data", level=MUST, checks="LC09")
def test_plain_data_at_the_limit(link):
    """At the limit of open files plain data is received as ever."""
    link.peer.send(b"plain")
    link.leave_slots(0)
    got = link.receive(16, room=4)
    link.restore_slots()
    assert (got.data, got.fds) == (b"plain", [])
    assert not got.has("MSG_CTRUNC")


@case("nofile.peek", level=MUST, checks="T15 LC09", needs=("flags-in",))
def test_peek_at_the_limit(link, objects):
    """A peek at the limit of open files loses nothing: after the limit is raised all descriptors are received."""
    files = objects.files(3)
    link.nonblocking()
    link.peer.send(b"x", numbers(files))
    link.leave_slots(1)
    peeked = link.receive(1, room=3, flags=("MSG_PEEK",))
    link.restore_slots()
    assert peeked.things == files[: len(peeked.things)]
    assert peeked.lost_descriptors_visible
    got = link.receive(1, room=3)
    assert (got.data, got.things) == (b"x", files)


@case("ctrunc.flag-given", level=MAY, checks="T09", needs=("flags-in",))
def test_flag_given(link, objects):
    """MSG_CTRUNC given to a receive changes nothing, or is refused with the message kept."""
    files = objects.files(2)
    link.nonblocking()
    link.peer.send(b"x", numbers(files))
    got = link.receive(1, room=2, flags=("MSG_CTRUNC",))
    if got.failed:
        got = link.receive(1, room=2)
    assert (got.data, got.things) == (b"x", files)
    assert not got.has("MSG_CTRUNC")
