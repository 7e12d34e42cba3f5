"""Other control messages beside the rights, credentials and the like, neither hide nor leak descriptors."""

import os
import socket
import struct

from fdspec.conformance.checks import true_credentials
from fdspec.conformance.peer import rights
from fdspec.conformance.phrases import drop, most, numbers
from fdspec.conformance.suite import (
    DESCRIPTORS,
    MAY,
    MESSAGE,
    MUST,
    PACKETS,
    SHOULD,
    STREAM,
    case,
)
from fdspec.impls.constants import CONSTANTS
from fdspec.impls.errors import Unsupported

UCRED = struct.Struct("iii")
CREDENTIALS = CONSTANTS.get("SCM_CREDENTIALS", 2)
PIDFD = CONSTANTS.get("SCM_PIDFD", 4)
TIMESTAMP = CONSTANTS.get("SCM_TIMESTAMP", 29)
CREDENTIALS_SPACE = socket.CMSG_SPACE(UCRED.size)
AMPLE = 1024
"""A control buffer with room for everything."""


def credentials():
    """Return an SCM_CREDENTIALS control message that tells the truth about this process."""
    return (socket.SOL_SOCKET, CREDENTIALS, true_credentials(os.getpid()))


def receive(link, size, room, control=AMPLE):
    """Receive where other control messages come beside ``room`` descriptors, as a careful caller does.

    The control buffer is of ``control`` bytes; where bytes can't be told, there is room for more descriptors than come.
    """
    if link.can("control-length"):
        return link.receive(size, control=control)
    return link.receive(size, room=most(link, room + 32))


def assert_not_hidden(link, objects, counts=(1, 2, 3)):
    """Check that room for exactly the descriptors is enough in an API that counts descriptors.

    One that counts bytes leaves the room for other control messages to its caller: there the loss must be visible.
    """
    for count in counts:
        files = objects.files(count)
        link.peer.send(b"x", numbers(files))
        got = link.receive(1, room=count)
        take_pidfds(link, got)
        if link.profile is DESCRIPTORS:
            assert got.things == files, f"room for {count}, {count} sent"
        else:
            assert got.things == files or got.lost_descriptors_visible, f"room for {count}, {count} sent"


def take_pidfds(link, got):
    """Take over the process descriptors that raw control messages show, so that they are closed; return them."""
    found = [struct.unpack("i", one.data[:4])[0] for one in got.ancillary if one.type == PIDFD and len(one.data) >= 4]
    link.adopt([fd for fd in found if fd >= 0])
    return found


def of_type(got, type_):
    """Return the data of the other control messages of a type."""
    return [one.data for one in got.ancillary if (one.level, one.type) == (socket.SOL_SOCKET, type_)]


@case("credentials.beside-rights", level=MUST, checks="C01 LC07")
def test_credentials_beside_rights(link, objects):
    """With SO_PASSCRED the sender's credentials come in front; the descriptors arrive all the same."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    for count in (1, 2, 3):
        files = objects.files(count)
        link.peer.send(b"x", numbers(files))
        got = receive(link, 1, count, CREDENTIALS_SPACE + socket.CMSG_LEN(4 * count))
        assert (got.data, got.things) == (b"x", files)
        if link.profile is MESSAGE:
            assert of_type(got, CREDENTIALS) == [credentials()[2]]
            assert not got.has("MSG_CTRUNC")


@case("credentials.room-for-rights", level=MUST, checks="LC07 LC03")
def test_credentials_and_room_for_the_rights(link, objects):
    """With SO_PASSCRED and room for just the descriptors none is hidden; where bytes count: not silently."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    assert_not_hidden(link, objects)


@case("credentials.single", level=MUST, checks="LC07", profiles=(DESCRIPTORS,), needs=("single",))
def test_credentials_and_the_call_for_one(link, objects):
    """With SO_PASSCRED the call for one descriptor still returns it."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    file = objects.file()
    link.peer.send(b"x", [file.fd])
    got = link.receive(1, room=1, single=True)
    assert (got.data, got.things) == (b"x", [file])


@case("credentials.plain-data", level=SHOULD, checks="LC07 C09")
def test_credentials_and_plain_data(link):
    """With SO_PASSCRED plain data arrives, and no descriptor is invented, with and without room for some."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    for room in (2, 0):
        link.peer.send(b"plain")
        got = link.receive(5, room=room)
        assert (got.data, got.fds) == (b"plain", [])


@case("credentials.several-messages", level=MUST, checks="LC07 LC15")
def test_credentials_and_several_messages(link, objects):
    """With SO_PASSCRED each of four messages brings its own descriptors."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    groups = [objects.files(count) for count in (1, 0, 3, 2)]
    for index, files in enumerate(groups):
        link.peer.send(b"%d" % index, numbers(files))
    for index, files in enumerate(groups):
        got = receive(link, 1, 3)
        assert (got.data, got.things) == (b"%d" % index, files)


@case("credentials.no-room", level=MUST, checks="C09 LC07")
def test_credentials_and_no_room(link, objects):
    """With SO_PASSCRED and no room descriptors are closed; the next message is intact."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    link.nonblocking()
    file = objects.file()
    link.peer.send(b"x", numbers(objects.files(2)))
    link.peer.send(b"y", [file.fd])
    assert link.receive(1, room=0).fds == []
    got = receive(link, 1, 1)
    assert (got.data, got.things) == (b"y", [file])


@case("credentials.control-length", level=MUST, checks="C08", profiles=(MESSAGE,), needs=("control-length",))
def test_credentials_and_the_control_length(link, objects):
    """With SO_PASSCRED the credentials take 32 bytes first; the descriptors fill what is left, the loss is flagged."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    files = objects.files(3)
    for control in range(73):
        fitting = min(3, max(0, (control - CREDENTIALS_SPACE - 16) // 4))
        link.peer.send(b"x", numbers(files))
        got = link.receive(1, control=control)
        what = f"3 sent into {control} bytes"
        if fitting == 3:
            assert (got.data, got.things) == (b"x", files), what
            assert not got.has("MSG_CTRUNC"), what
        else:
            assert got.lost_descriptors_visible, what
            assert got.things == files[:fitting] or (got.failed and not got.fds), what
        drop(link, got.fds)


@case("credentials.explicit-unasked", level=MUST, checks="C03 LC07")
def test_explicit_credentials_unasked(link, objects):
    """Credentials that the sender adds and the receiver did not ask for are not delivered; the descriptors are."""
    files = objects.files(2)
    link.peer.send(b"x", numbers(files), ancillary=[credentials()])
    got = receive(link, 1, 2)
    assert (got.data, got.things) == (b"x", files)
    assert of_type(got, CREDENTIALS) == []
    assert not got.has("MSG_CTRUNC")


@case("credentials.explicit-either-order", level=MUST, checks="C05 LC07")
def test_explicit_credentials_in_either_order(link, objects):
    """Whether the sender puts its credentials before or behind the rights, the descriptors arrive, in order."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    files = objects.files(3)
    passed = rights(numbers(files))
    split = [rights(numbers(files[:1])), credentials(), rights(numbers(files[1:]))]
    for ancillary in ([credentials(), passed], [passed, credentials()], split):
        link.peer.send(b"x", ancillary=ancillary)
        got = receive(link, 1, 3, CREDENTIALS_SPACE + socket.CMSG_LEN(12))
        assert (got.data, got.things) == (b"x", files)
        drop(link, got.fds)


@case("credentials.asked-late", level=MAY, checks="C02 LC07")
def test_credentials_asked_late(link, objects):
    """A message that was queued before SO_PASSCRED was set delivers its descriptors after it."""
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    got = receive(link, 1, 2)
    assert (got.data, got.things) == (b"x", files)


@case("credentials.not-glued", level=SHOULD, checks="C13", types=(STREAM,))
def test_credentials_are_not_glued(link, objects):
    """With SO_PASSCRED plain data of two senders is not glued; descriptors stay with their sender's data."""
    link.option("SOL_SOCKET", "SO_PASSCRED", 1)
    file = objects.file()
    forged = true_credentials(link.testee.pid)
    link.peer.send(b"aa")
    try:
        link.peer.send(b"bb", [file.fd], ancillary=[(socket.SOL_SOCKET, CREDENTIALS, forged)])
    except PermissionError:
        raise Unsupported("platform", "the credentials of another process may not be sent by this user") from None
    got = receive(link, 16, 2)
    assert (got.data, got.fds) == (b"aa", [])
    got = receive(link, 16, 2)
    assert (got.data, got.things) == (b"bb", [file])


@case("timestamp.beside-rights", level=MUST, checks="C10 LC07", types=PACKETS)
def test_timestamp_beside_rights(link, objects):
    """With SO_TIMESTAMP the time comes in front; the descriptors arrive all the same."""
    link.try_option("SOL_SOCKET", "SO_TIMESTAMP", 1)
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    got = receive(link, 1, 2, socket.CMSG_SPACE(16) + socket.CMSG_LEN(8))
    assert (got.data, got.things) == (b"x", files)
    if link.profile is MESSAGE:
        assert [len(data) for data in of_type(got, TIMESTAMP)] == [16]


@case("timestamp.room-for-rights", level=MUST, checks="LC07 LC03", types=PACKETS)
def test_timestamp_and_room_for_the_rights(link, objects):
    """With SO_TIMESTAMP and room for just the descriptors none is hidden; where bytes count: not silently."""
    link.try_option("SOL_SOCKET", "SO_TIMESTAMP", 1)
    assert_not_hidden(link, objects)


@case("timestamp.stream", level=MAY, checks="C10", types=(STREAM,))
def test_timestamp_on_a_stream(link, objects):
    """SO_TIMESTAMP on a stream changes nothing for the descriptors."""
    link.try_option("SOL_SOCKET", "SO_TIMESTAMP", 1)
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    got = receive(link, 1, 2)
    assert (got.data, got.things) == (b"x", files)


@case("pidfd.beside-rights", level=MUST, checks="C05 LC01 LC07")
def test_pidfd_beside_rights(link, objects):
    """With SO_PASSPIDFD a process descriptor comes behind; it is shown or closed, and the descriptors arrive."""
    link.try_option("SOL_SOCKET", "SO_PASSPIDFD", 1)
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    got = receive(link, 1, 2)
    pidfds = take_pidfds(link, got)
    assert (got.data, got.things) == (b"x", files)
    if link.profile is MESSAGE:
        assert len(pidfds) <= 1
        assert all("pidfd" in link.table.target(fd) for fd in pidfds)


@case("pidfd.room-for-rights", level=MUST, checks="LC01 LC03 LC07")
def test_pidfd_and_room_for_the_rights(link, objects):
    """With SO_PASSPIDFD and room for just the descriptors none is hidden; where bytes count: not silently."""
    link.try_option("SOL_SOCKET", "SO_PASSPIDFD", 1)
    assert_not_hidden(link, objects)


@case("pidfd.room-is-a-limit", level=MUST, checks="LC04 LC07")
def test_a_pidfd_and_too_little_room(link, objects):
    """With SO_PASSPIDFD room for n hands out n descriptors at most, when up to eight more were sent."""
    link.try_option("SOL_SOCKET", "SO_PASSPIDFD", 1)
    files = objects.files(11)
    for room in (1, 2, 3):
        for excess in (1, 2, 8):
            link.peer.send(b"x", numbers(files[: room + excess]))
            got = link.receive(1, room=room)
            take_pidfds(link, got)
            assert len([thing for thing in got.things if thing is not None]) <= room, f"room for {room}"
            drop(link, got.fds)


@case("pidfd.plain-data", level=MUST, checks="LC01 LC07")
def test_pidfd_and_plain_data(link):
    """With SO_PASSPIDFD plain data arrives; the process descriptor that comes with it is shown or closed."""
    link.try_option("SOL_SOCKET", "SO_PASSPIDFD", 1)
    link.peer.send(b"plain")
    got = receive(link, 16, 8)
    take_pidfds(link, got)
    assert (got.data, got.fds) == (b"plain", [])


@case("pidfd.no-room", level=SHOULD, checks="C06 LC07", profiles=(MESSAGE,), needs=("control-length",))
def test_pidfd_and_no_room_for_it(link, objects):
    """Without room for the process descriptor none is installed, and the descriptors arrive or the loss is visible."""
    link.try_option("SOL_SOCKET", "SO_PASSPIDFD", 1)
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    before = link.table.count()
    got = link.receive(1, control=socket.CMSG_LEN(8))
    pidfds = take_pidfds(link, got)
    assert [fd for fd in pidfds if fd >= 0] == []
    assert got.has("MSG_CTRUNC") or got.failed
    assert got.things == files or (got.failed and not got.fds)
    assert link.table.count() - before == len(got.fds)


@case("pidfd.at-the-limit", level=MUST, checks="T16 LC09 LC07")
def test_pidfd_at_the_limit(link, objects):
    """Where the last free numbers go to the descriptors and none is left for the process descriptor, they arrive."""
    link.try_option("SOL_SOCKET", "SO_PASSPIDFD", 1)
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    link.leave_slots(2)
    got = receive(link, 1, 2)
    link.restore_slots()
    assert [fd for fd in take_pidfds(link, got) if fd >= 0] == []
    assert (got.data, got.things) == (b"x", files)


@case("security.beside-rights", level=MUST, checks="C07 LC07")
def test_security_label_beside_rights(link, objects):
    """With SO_PASSSEC the descriptors arrive, whether a security label comes with them or not."""
    link.try_option("SOL_SOCKET", "SO_PASSSEC", 1)
    files = objects.files(2)
    link.peer.send(b"x", numbers(files))
    got = receive(link, 1, 2)
    assert (got.data, got.things) == (b"x", files)


@case("inq.beside-rights", level=MUST, checks="C12 LC07", types=(STREAM,))
def test_queue_length_beside_rights(link, objects):
    """With SO_INQ the length of the queue comes behind; the descriptors arrive all the same."""
    link.try_option("SOL_SOCKET", "SO_INQ", 1)
    files = objects.files(2)
    link.peer.send(b"xyz", numbers(files))
    got = receive(link, 1, 2)
    assert (got.data, got.things) == (b"x", files)


@case("ancillary.everything", level=MUST, checks="LC07 LC01")
def test_everything_beside_rights(link, objects):
    """With credentials, timestamp and process descriptor together the descriptors arrive, and nothing leaks."""
    for name in ("SO_PASSCRED", "SO_TIMESTAMP", "SO_PASSPIDFD"):
        link.try_option("SOL_SOCKET", name, 1)
    for count in (3, 1):
        files = objects.files(count)
        link.peer.send(b"x", numbers(files))
        got = receive(link, 1, count)
        take_pidfds(link, got)
        assert (got.data, got.things) == (b"x", files)


@case("ancillary.everything.room-for-rights", level=MUST, checks="LC07 LC03 LC01")
def test_everything_and_room_for_the_rights(link, objects):
    """With all of them and room for just the descriptors none is hidden; where bytes count: not silently."""
    for name in ("SO_PASSCRED", "SO_TIMESTAMP", "SO_PASSPIDFD"):
        link.try_option("SOL_SOCKET", name, 1)
    assert_not_hidden(link, objects, (3, 1))
