"""What arrives is what was sent: open file description, flags, access, number, order."""

import fcntl
import os
import socket
from pathlib import Path

import pytest
from fdspec.conformance.census import identity_of
from fdspec.conformance.checks import directory, offset, place, shared
from fdspec.conformance.peer import rights
from fdspec.conformance.suite import DGRAM, MUST, SHOULD, case

FLAGS_IN = ("flags-in",)


@case("identity.description.sent", level=MUST, checks="S01 I01 LC05")
def test_a_sent_descriptor_shares_its_description(link, objects):
    """The peer's copy and the sender's own descriptor are one open file description (kcmp), not the same file twice."""
    numbers = link.open(*objects.files(3))
    assert not link.send(b"x", numbers).failed
    got = link.peer.receive()
    assert len(got.fds) == 3
    assert [shared(link, number, fd) for number, fd in zip(numbers, got.fds, strict=True)] == [True] * 3


@case("identity.description.received", level=MUST, checks="S01 I01 LC05")
def test_a_received_descriptor_shares_its_description(link, objects):
    """What is received and what the peer sent are one open file description (kcmp), also for two of one file."""
    file = objects.file()
    ours = [objects.fresh(file), objects.fresh(file)]
    link.peer.send(b"x", fds=ours)
    got = link.receive(data=1, room=2)
    assert got.things == [file, file]
    assert [[shared(link, fd, mine) for mine in ours] for fd in got.fds] == [[True, False], [False, True]]


@case("identity.offset.sent", level=MUST, checks="I01")
def test_the_offset_is_common_to_both_of_a_sent_one(link, objects):
    """The peer moves the offset of what it received: the sender's descriptor has moved with it."""
    (number,) = link.open(objects.file())
    assert not link.send(b"x", [number]).failed
    got = link.peer.receive()
    assert len(got.fds) == 1
    assert offset(link, number) == 0
    os.lseek(got.fds[0], 17, os.SEEK_SET)
    assert offset(link, number) == 17


@case("identity.offset.received", level=MUST, checks="I01 LC02")
def test_the_offset_is_common_to_both_of_a_received_one(link, objects):
    """A descriptor arrives with the offset that it had, and follows the peer's."""
    file = objects.file()
    ours = objects.fresh(file)
    os.lseek(ours, 5, os.SEEK_SET)
    link.peer.send(b"x", fds=[ours])
    got = link.receive(data=1, room=1)
    assert got.things == [file]
    assert offset(link, got.fds[0]) == 5
    os.lseek(ours, 23, os.SEEK_SET)
    assert offset(link, got.fds[0]) == 23


@case("identity.cloexec.not-inherited", level=MUST, checks="I02")
def test_close_on_exec_does_not_travel(link, objects):
    """The sender's descriptor is close-on-exec; a peer that did not ask for it receives one that is not."""
    (number,) = link.open(objects.file())
    assert link.table.cloexec(number)
    assert not link.send(b"x", [number]).failed
    assert link.peer.pending(1)
    _, fds, _, _ = socket.recv_fds(link.peer.socket, 1, 4)
    for fd in fds:
        objects.own(fd)
    assert [os.get_inheritable(fd) for fd in fds] == [True]


@case("identity.cloexec.chosen", level=MUST, checks="I03 LC06 LC12", needs=FLAGS_IN)
def test_close_on_exec_on_all(link, objects):
    """MSG_CMSG_CLOEXEC makes each of 1 to 5 received descriptors close-on-exec, whatever the peer's own are."""
    for count in range(1, 6):
        files = objects.files(count)
        ours = [objects.fresh(file) for file in files]
        os.set_inheritable(ours[0], True)
        link.peer.send(b"x", fds=ours)
        got = link.receive(data=1, room=count, flags=["MSG_CMSG_CLOEXEC"])
        assert got.things == files, count
        assert [link.table.cloexec(fd) for fd in got.fds] == [True] * count, count


@case("identity.cloexec.peeked", level=MUST, checks="I03 P03", needs=FLAGS_IN)
def test_close_on_exec_when_peeking(link, objects):
    """MSG_CMSG_CLOEXEC takes effect beside MSG_PEEK as well, on all descriptors of a peek."""
    link.nonblocking()
    files = objects.files(3)
    link.peer.send(b"x", fds=[file.fd for file in files])
    for flags in (["MSG_PEEK", "MSG_CMSG_CLOEXEC"], ["MSG_CMSG_CLOEXEC"]):
        got = link.receive(data=1, room=3, flags=flags)
        assert got.things == files, flags
        assert [link.table.cloexec(fd) for fd in got.fds] == [True] * 3, flags


@case("identity.status-flags.sent", level=MUST, checks="I04 LC02")
def test_status_flags_are_common_to_both_of_a_sent_one(link, objects):
    """O_APPEND and O_NONBLOCK of what was sent are the sender's, and what the peer changes the sender sees."""
    (number,) = link.open(objects.file(), flags=("O_RDWR", "O_APPEND"))
    assert not link.send(b"x", [number]).failed
    got = link.peer.receive()
    assert len(got.fds) == 1
    ours = got.fds[0]
    flags = fcntl.fcntl(ours, fcntl.F_GETFL)
    assert flags & os.O_APPEND
    assert not flags & os.O_NONBLOCK
    fcntl.fcntl(ours, fcntl.F_SETFL, os.O_NONBLOCK)
    assert link.table.flags(number) & (os.O_APPEND | os.O_NONBLOCK) == os.O_NONBLOCK


@case("identity.status-flags.received", level=MUST, checks="I04 LC02")
def test_status_flags_are_common_to_both_of_a_received_one(link, objects):
    """Status flags arrive as the peer's were, neither set nor cleared, and follow what the peer changes."""
    files = objects.files(2)
    plain, special = objects.fresh(files[0]), objects.fresh(files[1], os.O_RDWR | os.O_APPEND | os.O_NONBLOCK)
    link.peer.send(b"x", fds=[plain, special])
    got = link.receive(data=1, room=2)
    assert got.things == files
    mask = os.O_APPEND | os.O_NONBLOCK
    assert [link.table.flags(fd) & mask for fd in got.fds] == [0, mask]
    assert [fcntl.fcntl(fd, fcntl.F_GETFL) & mask for fd in (plain, special)] == [0, mask]
    fcntl.fcntl(plain, fcntl.F_SETFL, os.O_APPEND)
    assert link.table.flags(got.fds[0]) & mask == os.O_APPEND


@case("identity.access-mode.sent", level=MUST, checks="I06")
def test_the_access_mode_of_a_sent_one(link, objects):
    """What was opened for reading only cannot be written through at the peer, and the other way round."""
    file = objects.file()
    numbers = [*link.open(file, flags=("O_RDONLY",)), *link.open(file, flags=("O_WRONLY",))]
    assert not link.send(b"x", numbers).failed
    got = link.peer.receive()
    assert len(got.fds) == 2
    reading, writing = got.fds
    assert os.read(reading, 4) == b"file"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(reading, b"")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.read(writing, 1)


@case("identity.access-mode.received", level=MUST, checks="I06")
def test_the_access_mode_of_a_received_one(link, objects):
    """Descriptors opened for reading, for writing and for both arrive as such."""
    file = objects.file()
    modes = [os.O_RDONLY, os.O_WRONLY, os.O_RDWR]
    link.peer.send(b"x", fds=[objects.fresh(file, mode) for mode in modes])
    got = link.receive(data=1, room=3)
    assert got.things == [file] * 3
    assert [link.table.flags(fd) & os.O_ACCMODE for fd in got.fds] == modes


@case("identity.lock", level=MUST, checks="I05 L02")
def test_a_lock_lives_as_long_as_the_last_copy(link, objects):
    """A lock of flock(2) on a passed description holds while the receiver has its copy, and ends with it."""
    file = objects.file()
    locked, other = objects.fresh(file), objects.fresh(file)
    fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
    link.peer.send(b"x", fds=[locked])
    got = link.receive(data=1, room=1)
    assert got.things == [file]
    objects.release(locked)
    assert _locked(other)
    link.close(*got.fds)
    assert not _locked(other)


def _locked(fd):
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


@case("identity.unlinked", level=MUST, checks="I09")
def test_files_without_a_name_pass(link, objects):
    """A file whose name has been removed passes in both directions."""
    path = directory(objects) / "nameless"
    path.touch()
    nameless = place(objects, path)
    numbers = link.open(nameless)
    path.unlink()
    assert not link.send(b"x", numbers).failed
    sent = link.peer.receive()
    assert sent.identities == [nameless.identity]
    assert os.fstat(sent.fds[0]).st_nlink == 0
    link.peer.send(b"x", fds=[nameless.fd])
    got = link.receive(data=1, room=1)
    assert [link.table.identity(fd) for fd in got.fds] == [nameless.identity]


@case("identity.number-zero", level=MUST, checks="LC05")
def test_number_zero_is_sent_like_any_other(link, objects):
    """Number 0 between two others arrives as what the sender has there."""
    first, last = objects.files(2)
    a, b = link.open(first, last)
    assert not link.send(b"x", [a, 0, b]).failed
    assert link.peer.receive().identities == [first.identity, link.table.identity(0), last.identity]


@case("identity.above-255.sent", level=MUST, checks="LC05 S02")
def test_numbers_above_255_are_sent(link, objects):
    """Descriptors with numbers above 255 arrive as what they are, beside a small one."""
    things = objects.files(260)
    numbers = link.open(*things)
    assert max(numbers) > 255
    assert not link.send(b"x", [numbers[-1], numbers[0], numbers[-2]]).failed
    assert link.peer.receive().identities == [things[-1].identity, things[0].identity, things[-2].identity]


@case("identity.above-255.received", level=MUST, checks="LC05 LC01")
def test_numbers_above_255_are_received(link, objects):
    """A process with more than 256 descriptors receives three more, whose numbers need two bytes."""
    link.open(*objects.files(260))
    things = objects.files(3)
    link.peer.send(b"x", fds=[thing.fd for thing in things])
    got = link.receive(data=1, room=3)
    assert got.things == things
    assert all(fd > 255 for fd in got.fds)


@case("identity.most.received", level=MUST, checks="M01 LC05 S02")
def test_as_many_as_a_message_carries_are_received(link, objects):
    """253 different descriptors in one message, with room for them: all of them, in order, each what was sent."""
    count = min(link.offer.limits.get("descriptors", 253), 253)
    things = objects.files(count)
    link.peer.send(b"x", fds=[thing.fd for thing in things])
    got = link.receive(data=1, room=count)
    assert not got.failed
    assert got.data == b"x"
    assert got.things == things


@case("identity.every-count.received", level=MUST, checks="S02 LC05 T01")
def test_every_small_count_with_room_for_just_that(link, objects):
    """Messages with 1 to 16 descriptors and room for just as many: all arrive in order, none is flagged as lost."""
    for count in range(1, 17):
        things = objects.files(count)
        link.peer.send(bytes([count]), fds=[thing.fd for thing in things])
        got = link.receive(data=1, room=count)
        assert (got.data, got.things) == (bytes([count]), things), count
        assert not got.failed, count
        assert not got.has("MSG_CTRUNC"), count


@case("identity.duplicates.received", level=MUST, checks="S03 LC05")
def test_duplicates_are_received_as_different_numbers(link, objects):
    """One descriptor given three times arrives as three numbers with one open file description."""
    file, other = objects.files(2)
    ours = objects.fresh(file)
    link.peer.send(b"x", fds=[ours, other.fd, ours, ours])
    got = link.receive(data=1, room=4)
    assert got.things == [file, other, file, file]
    assert len(set(got.fds)) == 4
    assert [shared(link, fd, ours) for fd in got.fds] == [True, False, True, True]


@case("identity.two-rights.received", level=MUST, checks="LC08 A09")
def test_two_rights_are_received_as_one_list(link, objects):
    """The peer sends two SCM_RIGHTS control messages in one message: all descriptors are handed over, in order."""
    things = objects.files(5)
    fds = [thing.fd for thing in things]
    link.peer.send(b"x", ancillary=[rights(fds[:2]), rights(fds[2:])])
    got = link.receive(data=1, room=5)
    assert (got.data, got.things) == (b"x", things)


@case("identity.kinds.received", level=MUST, checks="S34 S32")
def test_every_kind_of_object_is_received(link, objects):
    """A file, an O_PATH descriptor, both ends of a FIFO, a socket, a directory and a device arrive as what they are."""
    file, pipe, listener = objects.file(), objects.fifo(), objects.socket()
    fds = [
        file.fd,
        objects.fresh(file, os.O_PATH),
        pipe.fd,
        objects.fresh(pipe, os.O_WRONLY),
        listener.fd,
        place(objects, directory(objects), os.O_RDONLY | os.O_DIRECTORY).fd,
        place(objects, Path("/dev/null"), os.O_RDWR).fd,
    ]
    link.peer.send(b"x", fds=fds)
    got = link.receive(data=1, room=len(fds))
    assert [link.table.identity(fd) for fd in got.fds] == [identity_of(fd) for fd in fds]
    assert bool(link.table.flags(got.fds[1]) & os.O_PATH)


@case("identity.listener", level=MUST, checks="I08")
def test_a_received_listener_works(link, objects):
    """A received listening socket takes connections after its sender has closed its own, until the receiver closes."""
    path = str(directory(objects) / "passed-listener")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(4)
        link.peer.send(b"x", fds=[listener.fileno()])
    try:
        got = link.receive(data=1, room=1)
        assert len(got.fds) == 1
        assert _connects(path)
        link.close(*got.fds)
        assert not _connects(path)
    finally:
        Path(path).unlink()


def _connects(path):
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


@case("identity.peer-socket", level=MUST, checks="S09")
def test_the_peers_own_socket_is_received(link):
    """The peer sends its own end over the connection: what is received is that socket."""
    end = link.peer.socket.fileno()
    link.peer.send(b"x", fds=[end])
    got = link.receive(data=1, room=1)
    assert [link.table.identity(fd) for fd in got.fds] == [identity_of(end)]
    assert shared(link, got.fds[0], end)


@case("identity.lowest-numbers", level=SHOULD, checks="R09")
def test_received_numbers_are_the_lowest_free(link, objects):
    """With gaps in the table, three received descriptors get the lowest free numbers, in ascending order."""
    numbers = link.open(*objects.files(6))
    link.close(numbers[1], numbers[4])
    taken = set(link.table.numbers())
    free = [number for number in range(len(taken) + 3) if number not in taken][:3]
    things = objects.files(3)
    link.peer.send(b"x", fds=[thing.fd for thing in things])
    got = link.receive(data=1, room=3)
    assert (got.fds, got.things) == (free, things)


@case("identity.address", level=MUST, checks="R15", types=(DGRAM,), needs=("peer-address",))
def test_the_senders_address_beside_descriptors(link, objects):
    """A datagram's receive shows the address that its sender is bound to, beside data and descriptors."""
    file = objects.file()
    link.peer.send(b"x", fds=[file.fd])
    got = link.receive(data=1, room=1)
    assert (got.data, got.things) == (b"x", [file])
    assert got.address == link.peer.socket.getsockname()
