"""Receives into memory that is not there or cannot be written: what is delivered, what is installed, what is lost."""

import pytest
from fdspec.conformance.suite import MAY, PACKETS, RAW, SHOULD, STREAM, case
from fdspec.impls.protocol.values import Memory, Place

SENT = 4
"""Descriptors in a message of this module, where a case does not say."""


def unseen(link):
    """Return the numbers that a receive installed and did not show, and take account of them."""
    found = link.hidden
    link.adopt(found)
    return found


@case("raw-receive.fault.control", level=SHOULD, checks="R06", profiles=[RAW])
@pytest.mark.parametrize("place", [Place.UNMAPPED, Place.READ_ONLY, Place.NULL])
@pytest.mark.parametrize("count", [1, SENT])
def test_a_control_buffer_that_cannot_be_written(link, place, count):
    """A control buffer in memory that is not there or read-only: no number is installed, what was sent is closed."""
    pipe = link.pipe()
    link.a.sendmsg(b"word", [pipe.writer] * count)
    link.close(pipe.writer)
    got = link.b.recvmsg(control=Memory(size=64, place=place))
    assert unseen(link) == []
    if got.errno == "EFAULT":
        link.outcome = "refused"
        link.b.close()  # whether it is still queued is nobody's promise
    else:
        link.outcome = "succeeded"
        assert (got.data, got.flags, got.control_length) == (b"word", {"MSG_CTRUNC"}, 0)
        assert link.b.empty
    assert pipe.released


@case("raw-receive.fault.control-ends", level=SHOULD, checks="R07", profiles=[RAW])
@pytest.mark.parametrize("place", [Place.THEN_UNMAPPED, Place.THEN_READ_ONLY])
def test_a_control_buffer_that_ends_behind_the_header(link, place):
    """Only the header of the control message can be written: no number is installed, what was sent is closed, and it shows."""
    pipe = link.pipe()
    link.a.sendmsg(b"word", [pipe.writer] * SENT)
    link.close(pipe.writer)
    layout = link.layout
    got = link.b.recvmsg(control=Memory(size=layout.length(4 * SENT), place=place, split=layout.header))
    assert unseen(link) == []
    if got.errno == "EFAULT":
        link.outcome = "refused"
        link.b.close()
    else:
        link.outcome = "succeeded"
        assert (got.data, got.flags, got.control_length) == (b"word", {"MSG_CTRUNC"}, 0)
        assert link.b.empty
    assert pipe.released


@case("raw-receive.fault.control-breaks-off", level=SHOULD, checks="R07b", profiles=[RAW])
@pytest.mark.parametrize("place", [Place.THEN_UNMAPPED, Place.THEN_READ_ONLY])
@pytest.mark.parametrize("room", range(1, SENT))
def test_a_control_buffer_that_ends_between_descriptors(link, place, room):
    """Of four descriptors k can be written: k are installed and shown with MSG_CTRUNC, and the others are closed."""
    pipes = [link.pipe() for _ in range(SENT)]
    writers = [pipe.writer for pipe in pipes]
    expected = [link.table.identity(writer) for writer in writers[:room]]
    link.a.sendmsg(b"word", writers)
    link.close(*writers)
    layout = link.layout
    split = layout.length(4 * room)
    got = link.b.recvmsg(control=Memory(size=layout.length(4 * SENT), place=place, split=split))
    assert unseen(link) == []
    if got.errno == "EFAULT":
        link.outcome = "refused"
        link.b.close()
        assert all(pipe.released for pipe in pipes)
        return
    link.outcome = "short"
    assert (got.data, got.flags) == (b"word", {"MSG_CTRUNC"})
    assert [link.table.identity(fd) for fd in got.fds] == expected
    assert [pipe.released for pipe in pipes] == [False] * room + [True] * (SENT - room)


@case("raw-receive.fault.control-header", level=MAY, checks="R07c", profiles=[RAW])
@pytest.mark.parametrize("count", [1, SENT])
def test_a_control_buffer_whose_header_cannot_be_written(link, count):
    """The header cannot be written, the descriptors can: none is installed; or they are, and nothing of it shows."""
    pipe = link.pipe()
    link.a.sendmsg(b"word", [pipe.writer] * count)
    link.close(pipe.writer)
    layout = link.layout
    size = layout.length(4 * count)
    got = link.b.recvmsg(control=Memory(size=size, place=Place.READ_ONLY_THEN_HEAP, split=layout.header))
    found = unseen(link)
    assert got.fds == []
    if got.errno == "EFAULT":
        link.outcome = "refused"
        assert found == []
        link.b.close()
    else:
        link.outcome = "installed" if found else "closed"
        assert (got.data, got.control_length) == (b"word", 0)
        assert len(found) in (0, count)
    link.close(*found)
    assert pipe.released


DATA = {
    "unmapped": Memory(size=16, place=Place.UNMAPPED),
    "read-only": Memory(size=16, place=Place.READ_ONLY),
    "null": Memory(size=16, place=Place.NULL),
    "breaks-off": Memory(size=16, place=Place.THEN_UNMAPPED, split=2),
}


@case("raw-receive.fault.data.stream", level=MAY, checks="R08", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("where", DATA)
def test_a_stream_keeps_what_it_could_not_copy(link, objects, where):
    """EFAULT for the data buffer: no number is installed, and the next receive gets all the data and the descriptors."""
    things = objects.files(2)
    link.a.sendmsg(b"word", link.open(*things))
    got = link.b.recvmsg([DATA[where]], room=2)
    assert (got.errno, unseen(link)) == ("EFAULT", [])
    again = link.b.recvmsg(room=2)
    assert (again.data, again.things, again.flags) == (b"word", things, frozenset())


@case("raw-receive.fault.data.packet", level=MAY, checks="R08b", profiles=[RAW], types=PACKETS)
@pytest.mark.parametrize("where", DATA)
def test_a_packet_that_could_not_be_copied(link, where):
    """EFAULT for the data buffer: no number is installed; the packet is lost and what was in it closed, or it is kept."""
    pipe = link.pipe()
    link.a.sendmsg(b"word", [pipe.writer] * 2)
    link.close(pipe.writer)
    got = link.b.recvmsg([DATA[where]], room=2)
    assert (got.errno, unseen(link)) == ("EFAULT", [])
    again = link.b.recvmsg(room=2)
    if again.errno == "EAGAIN":
        link.outcome = "lost"
    else:
        link.outcome = "kept"
        assert (again.data, len(again.fds)) == (b"word", 2)
        link.close(*again.fds)
    assert pipe.released


@case("raw-receive.fault.data.next", level=MAY, checks="R08b", profiles=[RAW], types=PACKETS)
def test_the_packet_after_one_that_could_not_be_copied(link, objects):
    """After EFAULT for one packet's data the next packet brings its own descriptor, and nothing of the one before."""
    one, other = objects.files(2)
    a, b = link.open(one, other)
    link.a.sendmsg(b"lost", [a])
    link.a.sendmsg(b"next", [b])
    assert link.b.recvmsg([DATA["unmapped"]], room=2).errno == "EFAULT"
    got = link.b.recvmsg(room=2)
    if got.data == b"lost":
        link.outcome = "kept"
        assert got.things == [one]
        got = link.b.recvmsg(room=2)
    else:
        link.outcome = "lost"
    assert (got.data, got.things, got.flags) == (b"next", [other], frozenset())


@case("raw-receive.fault.several-messages", level=MAY, checks="R14b", profiles=[RAW], types=PACKETS, needs=["many"])
def test_recvmmsg_faults_in_its_second_message(link, objects):
    """The second message's data cannot be written: recvmmsg returns 1, the next call tells EFAULT, and nothing leaks."""
    file = objects.file()
    pipe = link.pipe()
    link.a.sendmsg(b"first", link.open(file))
    link.a.sendmsg(b"second", [pipe.writer])
    link.close(pipe.writer)
    headers = [link.b.header(room=1), link.b.header([DATA["unmapped"]], room=1), link.b.header(room=1)]
    count, got = link.b.recvmmsg_of(headers)
    assert (count, unseen(link)) == (1, [])
    assert (got[0].data, got[0].things) == (b"first", [file])
    assert pipe.released
    assert link.b.recvmsg(room=1).errno == "EFAULT"
    assert link.b.empty
