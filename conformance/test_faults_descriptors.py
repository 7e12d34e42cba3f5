"""What a receive does to descriptors beside receiving them, and what becomes of that where it fails (area ``faults``).

The harness stands between the testee and its kernel, and sees every close(2) and fcntl(2).
"""

from dataclasses import replace

from fdspec.conformance.interpose.calls import Name
from fdspec.conformance.interpose.kernel import CLOEXEC
from fdspec.conformance.interpose.perform import as_linux
from fdspec.conformance.phrases import drop, numbers
from fdspec.conformance.suite import DESCRIPTORS, MUST, case
from fdspec.impls.errors import Unsupported

EVEN_ROOMS, ODD_ROOMS = (0, 2), (1, 3)
"""Too little for four descriptors. What CMSG_SPACE allocates for an odd number has room for one more, which is to be closed."""
MESSAGE_CALLS = {Name.RECVMSG, Name.RECVMMSG}


# --- KC03: close(2) reports an error --------------------------------------------------------------------------------


@case("faults.close.error", level=MUST, checks="KC03 LC01")
def test_a_close_that_reports_an_error(link, objects, kernel):
    """What does not fit is closed, and that reports EIO: it is not closed again, and all else that nobody gets is."""
    _short_of_room(link, objects, kernel, EVEN_ROOMS, "EIO")


@case("faults.close.interrupted", level=MUST, checks="KC03 LC01 LC13")
def test_a_close_that_is_interrupted(link, objects, kernel):
    """What does not fit is closed, and that reports EINTR: it is not closed again, and all else that nobody gets is."""
    _short_of_room(link, objects, kernel, EVEN_ROOMS, "EINTR")


@case("faults.close.every-error", level=MUST, checks="KC03 LC01")
def test_every_close_reports_an_error(link, objects, kernel):
    """What does not fit is closed, and each close reports EIO: each is made once, and nothing stays open."""
    _short_of_room(link, objects, kernel, EVEN_ROOMS, "EIO", times=100)


@case("faults.close.odd-room", level=MUST, checks="KC03 LC01 LC04")
def test_a_failed_close_where_room_is_odd(link, objects, kernel):
    """Room for 1 and 3 of four: closing what does not fit reports EIO: it is not closed again, and all else is."""
    _short_of_room(link, objects, kernel, ODD_ROOMS, "EIO")


def _short_of_room(link, objects, kernel, rooms, error, times=1):
    """Let the first close of each receive fail. The end of the case closes what is handed over, and finds what was kept."""
    fault = kernel.fails_close(error, times=times)
    for room in rooms:
        if fault.acted == times:
            fault = kernel.fails_close(error, times=times)
            fault.optional = True
        link.peer.send(b"x", numbers(objects.files(4)))
        link.receive(1, room=room)
    _closed_once(kernel)


@case("faults.close.single", level=MUST, checks="KC03 LC01", profiles=(DESCRIPTORS,), needs=("single",))
def test_a_failed_close_in_the_call_for_one(link, objects, kernel):
    """The call for one closes what it does not hand out, and that reports EIO: not again, and all that nobody gets."""
    fault = kernel.fails_close("EIO")
    for count in (2, 5):
        if fault.acted:
            kernel.fails_close("EIO").optional = True
        link.peer.send(b"x", numbers(objects.files(count)))
        link.receive(1, room=1, single=True)
    _closed_once(kernel)


@case("faults.close.no-number", level=MUST, checks="KC03 LC01 LC09")
def test_a_failed_close_at_the_limit(link, objects, kernel):
    """Two of four find no free number, the others are closed, and that reports EIO: each once, and nothing stays open."""
    kernel.fails_close("EIO")
    link.peer.send(b"x", numbers(objects.files(4)))
    link.leave_slots(2)
    link.receive(1, room=4)
    link.restore_slots()
    _closed_once(kernel)


def _closed_once(kernel):
    assert kernel.closed_in_vain == [], "numbers were closed again after a close that reported an error"


# --- LC02: nothing is closed in vain --------------------------------------------------------------------------------


@case("faults.close.each-once", level=MUST, checks="LC02")
def test_nothing_is_closed_twice(link, objects, kernel):
    """Descriptors are sent, received and closed: no number is closed that is not open."""
    files = objects.files(3)
    for count in (1, 2, 3):
        assert not link.send(b"x", link.open(*files[:count])).failed
        assert len(link.peer.receive().fds) == count
        link.peer.send(b"y", numbers(files[:count]))
        got = link.receive(1, room=3)
        assert got.things == files[:count]
        drop(link, got.fds)
    assert kernel.closed_in_vain == []


@case("faults.close.each-once.lost", level=MUST, checks="LC02 LC01")
def test_nothing_is_closed_twice_where_room_is_short(link, objects, kernel):
    """Four descriptors come where there is room for none or two: no number is closed that is not open."""
    _short_and_closed_once(link, objects, kernel, EVEN_ROOMS)


@case("faults.close.each-once.odd-room", level=MUST, checks="LC02 LC01 LC04")
def test_nothing_is_closed_twice_where_room_is_odd(link, objects, kernel):
    """Four descriptors come where there is room for one or three: no number is closed that is not open."""
    _short_and_closed_once(link, objects, kernel, ODD_ROOMS)


def _short_and_closed_once(link, objects, kernel, rooms):
    for room in rooms:
        link.peer.send(b"x", numbers(objects.files(4)))
        drop(link, link.receive(1, room=room).fds)
        assert kernel.closed_in_vain == [], f"room for {room}"


@case("faults.close.each-once.no-number", level=MUST, checks="LC02 LC09")
def test_nothing_is_closed_twice_at_the_limit(link, objects, kernel):
    """Four descriptors come where 0 to 3 numbers are free: no number is closed that is not open."""
    for slots in (0, 1, 2, 3):
        link.peer.send(b"x", numbers(objects.files(4)))
        link.leave_slots(slots)
        got = link.receive(1, room=4)
        link.restore_slots()
        drop(link, got.fds)
        assert kernel.closed_in_vain == [], f"{slots} numbers are free"


# --- LC06, KC04: close-on-exec --------------------------------------------------------------------------------------


@case("faults.cloexec.atomic", level=MUST, checks="LC06")
def test_close_on_exec_from_the_first_instant(link, objects, kernel):
    """Where received descriptors are close-on-exec, recvmsg itself was asked for that, so no fork comes in between."""
    _from_the_first_instant(link, kernel, objects.files(3))


@case("faults.cloexec.atomic.single", level=MUST, checks="LC06", profiles=(DESCRIPTORS,), needs=("single",))
def test_one_close_on_exec_from_the_first_instant(link, objects, kernel):
    """Where the call for one returns a descriptor that is close-on-exec, recvmsg itself was asked for that."""
    _from_the_first_instant(link, kernel, [objects.file()], single=True)


def _from_the_first_instant(link, kernel, files, **how):
    on_request = link.can("flags-in") and link.policy("cloexec") != "always"
    flags = ["MSG_CMSG_CLOEXEC"] if on_request and not how else []
    link.peer.send(b"x", numbers(files))
    got = link.receive(1, room=len(files), flags=flags, **how)
    assert got.things == files
    if not all(link.table.cloexec(fd) for fd in got.fds):
        raise Unsupported("situation", "what is received is not close-on-exec, so there is no instant to look at")
    asked = [bool(one.flags & CLOEXEC) for one in kernel.calls(MESSAGE_CALLS) if one.control]
    assert asked, "descriptors came, and no recvmsg with room for them was seen"
    assert all(asked), "close-on-exec was set after the receive, and a fork between the two inherits the descriptor"


@case("faults.cloexec.refused", level=MUST, checks="KC04 LC01")
def test_close_on_exec_that_cannot_be_set(link, objects, kernel):
    """Recvmsg sets no close-on-exec, and fcntl fails to: an error, or success at last, and nothing stays open unseen."""
    link.peer.send(b"x", numbers(objects.files(3)))
    kernel.shows(lambda came, held: replace(as_linux(came, held), cloexec=False))
    refused = kernel.fails_cloexec()
    got = link.receive(1, room=3)
    if refused.acted and not got.failed:
        assert all(link.table.cloexec(fd) for fd in got.fds), "a failed fcntl(F_SETFD) passed for success"
