"""What a received descriptor is: the same open file description, with flags of the receiver's own."""

import pytest
from fdspec.conformance.rawlooks import path_of
from fdspec.conformance.suite import MUST, RAW, SHOULD, STREAM, case
from fdspec.impls.errors import Unsupported
from fdspec.impls.protocol.messages import Open
from fdspec.impls.protocol.results import FdResult
from fdspec.impls.protocol.values import Memory

AT_FDCWD = -100


def passed(link, fd, *flags):
    """Send ``fd`` over the pair; return the received number."""
    assert not link.a.sendmsg(b"x", [fd]).failed
    (got,) = link.b.recvmsg(room=1, flags=list(flags)).fds
    return got


@case("raw-identity.one-description", level=MUST, checks="I01 S01", profiles=[RAW])
def test_one_open_file_description(link, objects):
    """By kcmp there is one open file description behind both numbers, and a seek through one moves the other."""
    (fd,) = link.open(objects.file())
    got = passed(link, fd)
    assert got != fd
    assert link.call("kcmp", fd, fd=got).returned == 0
    link.call("lseek", 7, 0, fd=got)
    assert link.call("lseek", 0, 1, fd=fd).returned == 7
    link.call("lseek", 3, 0, fd=fd)
    assert link.call("lseek", 0, 1, fd=got).returned == 3


@case("raw-identity.close-on-exec-is-the-receivers", level=MUST, checks="I02 I03", profiles=[RAW])
def test_close_on_exec_is_the_receivers(link, objects):
    """Whatever the sender's FD_CLOEXEC: set on every received number with MSG_CMSG_CLOEXEC, on none without."""
    fds = link.open(*objects.files(3))
    link.call("fcntl", "F_SETFD", 0, fd=fds[1])
    for flags, expected in ((["MSG_CMSG_CLOEXEC"], [True] * 3), ([], [False] * 3)):
        link.a.sendmsg(b"x", fds)
        got = link.b.recvmsg(room=3, flags=flags)
        assert [link.table.cloexec(fd) for fd in got.fds] == expected
    assert [link.table.cloexec(fd) for fd in fds] == [True, False, True]


@case("raw-identity.status-flags", level=MUST, checks="I04", profiles=[RAW])
@pytest.mark.parametrize("flag", ["O_APPEND", "O_NONBLOCK"])
def test_status_flags_are_common(link, objects, flag):
    """A status flag set through the received number shows through the sender's, and the other way round."""
    (fd,) = link.open(objects.file())
    got = passed(link, fd)
    before = link.call("fcntl", "F_GETFL", fd=fd).returned
    link.call("fcntl", "F_SETFL", flag, fd=got)
    changed = link.call("fcntl", "F_GETFL", fd=fd).returned
    assert changed != before
    link.call("fcntl", "F_SETFL", before, fd=fd)
    assert link.call("fcntl", "F_GETFL", fd=got).returned == before


@case("raw-identity.flock", level=MUST, checks="I05", profiles=[RAW])
def test_a_lock_belongs_to_the_description(link, objects):
    """A lock by flock through a number that is then closed: another description cannot lock until the copy unlocks."""
    thing = objects.file()
    fd, other = link.open(thing, thing)
    got = passed(link, fd)
    assert not link.call("flock", "LOCK_EX", fd=fd).failed
    link.close(fd)
    nonblocking = 2 | 4  # LOCK_EX | LOCK_NB
    assert link.call("flock", nonblocking, fd=other).errno == "EAGAIN"
    assert not link.call("flock", "LOCK_UN", fd=got).failed
    assert not link.call("flock", nonblocking, fd=other).failed
    link.call("flock", "LOCK_UN", fd=other)


@case("raw-identity.access-mode", level=MUST, checks="I06", profiles=[RAW])
def test_the_access_mode_is_kept(link, objects):
    """Opened for reading: reading works through the copy, writing is EBADF."""
    (fd,) = link.open(objects.file(), flags=["O_RDONLY"])
    got = passed(link, fd)
    assert link.call("read", fd=got, iov=[Memory(size=4)]).data == b"file"
    assert link.call("write", fd=got, iov=[Memory(data="00")]).errno == "EBADF"


@case("raw-identity.listener", level=MUST, checks="I08", profiles=[RAW])
def test_a_received_listener_works(link):
    """A listening socket is passed and the sender's number closed: a connection is accepted through the copy."""
    address = link.address()
    listener = link.listen(address, STREAM)
    got = passed(link, listener.fd)
    listener.close()
    client = link.connect(address, STREAM)
    accepted = link.made(link.call("accept4", "SOCK_CLOEXEC", fd=got).returned)
    client.sendmsg(b"hello")
    assert accepted.recvmsg().data == b"hello"


@case("raw-identity.without-a-name", level=MUST, checks="I09", profiles=[RAW])
def test_a_file_without_a_name(link):
    """A file that was unlinked passes like any other, and its content is there."""
    name = f"{link.directory}/nameless"
    made = link.call("openat", fd=AT_FDCWD, iov=[path_of(name)], flags=["O_RDWR", "O_CREAT", "O_EXCL"])
    fd = link.made(made.returned).fd
    assert link.call("write", fd=fd, iov=[Memory(data=b"content".hex())]).returned == 7
    assert not link.call("unlink", iov=[path_of(name)]).failed
    got = passed(link, fd)
    link.call("lseek", 0, 0, fd=got)
    assert link.call("read", fd=got, iov=[Memory(size=16)]).data == b"content"
    assert link.table.target(got).endswith("(deleted)")


@case("raw-identity.after-exec", level=MUST, checks="I12", profiles=[RAW])
def test_after_exec(link, objects):
    """A child receives one plainly and one with MSG_CMSG_CLOEXEC, and executes a program: the first is open, the second not."""
    plain, closing = objects.files(2)
    fds = link.open(plain, closing)
    child = link.child()
    hand = child.end(link.b)
    numbers = []
    for fd, flags in ((fds[0], []), (fds[1], ["MSG_CMSG_CLOEXEC"])):
        link.a.sendmsg(b"x", [fd])
        numbers += hand.recvmsg(room=1, flags=flags).fds
    assert not link.call("execve", caller=child).failed
    assert child.table.identity(numbers[0]) == plain.identity
    assert child.table.identity(numbers[1]) is None
    child.wait()


@case("raw-identity.record-locks", level=SHOULD, checks="I14", profiles=[RAW])
def test_closing_a_copy_drops_record_locks(link, objects):
    """A process locks a file by fcntl, receives a copy of its descriptor and closes it: another process sees the lock gone."""
    (fd,) = link.open(objects.file())
    other = link.child()
    assert not link.call("lock", "F_WRLCK", fd=fd).failed
    assert link.call("getlock", fd=fd, caller=other).returned == link.testee.pid
    link.close(passed(link, fd))
    assert link.call("getlock", fd=fd, caller=other).returned == 0
    other.wait()


@case("raw-identity.between-processes", level=MUST, checks="I15 L01", profiles=[RAW])
def test_between_two_processes(link, objects):
    """A child receives what its parent sent: its own number for it, and closing that leaves the parent's open."""
    thing = objects.file()
    (fd,) = link.open(thing)
    child = link.child()
    link.a.sendmsg(b"x", [fd])
    got = child.end(link.b).recvmsg(room=1)
    assert got.things == [thing]
    child.close(*got.fds)
    assert child.table.identity(got.fds[0]) is None
    assert link.table.identity(fd) == thing.identity
    child.wait()


@case("raw-identity.receiver-ends", level=MUST, checks="I15b", profiles=[RAW])
@pytest.mark.parametrize("looked", [True, False])
def test_a_receiving_process_that_ends(link, looked):
    """A process ends with a descriptor it received, whether it had room for its number or not: nothing refers to the file."""
    pipe = link.pipe()
    child = link.child()
    child.close(pipe.writer)
    link.a.sendmsg(b"x", [pipe.writer])
    link.close(pipe.writer)
    got = child.end(link.b).recvmsg(room=1 if looked else None)
    assert bool(got.fds) == looked
    assert pipe.released != looked
    child.wait()
    assert pipe.released


@case("raw-identity.access-of-the-opener", level=MUST, checks="I16", profiles=[RAW])
def test_the_access_of_the_opener(link, objects):
    """A child of another user cannot open the file, receives a descriptor of it, and reads through that."""
    thing = objects.file()
    (fd,) = link.open(thing)
    child = link.unprivileged()
    if not child.alone:
        raise Unsupported("privilege", "the testee cannot make a process of another user")
    child.close(fd)
    refused = child.ask(Open(path=thing.path, flags=["O_RDONLY"]))
    assert not isinstance(refused.result, FdResult)
    link.a.sendmsg(b"x", [fd])
    (got,) = child.end(link.b).recvmsg(room=1).fds
    seen = link.call("read", fd=got, iov=[Memory(size=4)], caller=child)
    assert (seen.errno, seen.data) == (None, b"file")
    child.wait()
