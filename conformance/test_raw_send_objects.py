"""Which objects pass: every kind of descriptor that the kernel has arrives with its open file description, and works."""

import pytest
from fdspec.conformance.rawend import End
from fdspec.conformance.rawlooks import internet_pair, one_description, path_of, socket_of, writes_through
from fdspec.conformance.suite import MAY, MUST, RAW, SHOULD, STREAM, case
from fdspec.impls.errors import Unsupported
from fdspec.impls.protocol.values import Memory

NOT_HERE = {"ENOSYS", "EPERM", "EACCES", "ENODEV", "ENOENT", "EOPNOTSUPP", "EINVAL", "ENXIO", "EMFILE", "ENOSPC"}
"""Errors by which a kernel, its configuration or a sandbox says that it makes no such object."""


def made(link, name, *arguments, **more):
    """Return the number of an object that a call makes. Raises `Unsupported` where there are none of its kind here."""
    seen = link.call(name, *arguments, **more)
    if seen.errno in NOT_HERE:
        raise Unsupported("platform", f"{name} makes nothing here: {seen.errno}")
    return link.made(seen.returned).fd


def opened(link, path, *flags):
    """Return the number of a path opened in the testee. Raises `Unsupported` where it is not there."""
    return made(link, "openat", iov=[path_of(path)], flags=[*flags, "O_CLOEXEC"])


def passed(link, fd):
    """Send ``fd`` and return the number that arrives, which must have the same open file description."""
    assert not link.a.sendmsg(b"x", [fd]).failed
    got = link.b.recvmsg(room=1)
    (copy,) = got.fds
    assert got.flags == frozenset()
    assert copy != fd
    assert link.table.identity(copy) == link.table.identity(fd)
    assert one_description(link, fd, copy)
    return copy


@case("raw-objects.file", level=MUST, checks="S34", profiles=[RAW])
@pytest.mark.parametrize("mode", ["O_RDONLY", "O_WRONLY", "O_RDWR"])
def test_a_regular_file(link, objects, mode):
    """A regular file passes, opened for reading, writing or both, and allows what its open mode allows."""
    (fd,) = link.open(objects.file(), flags=[mode])
    copy = passed(link, fd)
    assert (link.call("read", fd=copy, iov=[Memory(size=4)]).errno == "EBADF") == (mode == "O_WRONLY")
    assert (link.call("write", fd=copy, iov=[Memory(size=0)]).errno == "EBADF") == (mode == "O_RDONLY")


@case("raw-objects.directory", level=MUST, checks="S34", profiles=[RAW])
def test_a_directory(link, objects):
    """A directory passes, and files can be opened relative to the number received."""
    file = objects.file()
    copy = passed(link, opened(link, link.directory, "O_DIRECTORY"))
    name = file.path.rpartition("/")[2]
    inside = link.call("openat", fd=copy, iov=[path_of(name)], flags=["O_CLOEXEC"])
    assert link.table.identity(link.made(inside.returned).fd) == file.identity


@case("raw-objects.device", level=MUST, checks="S34", profiles=[RAW])
@pytest.mark.parametrize("device", ["null", "zero", "full"])
def test_a_device(link, device):
    """A character device passes and works: null ends at once, zero and full read as zeros, full takes nothing."""
    copy = passed(link, opened(link, f"/dev/{device}", "O_RDWR"))
    read = link.call("read", fd=copy, iov=[Memory(size=8)])
    assert read.data == (b"" if device == "null" else bytes(8))
    written = link.call("write", fd=copy, iov=[Memory(data="78")])
    assert written.errno == ("ENOSPC" if device == "full" else None)


@case("raw-objects.pipe", level=MUST, checks="S34", profiles=[RAW])
def test_both_ends_of_a_pipe(link):
    """Both ends of a pipe pass, and what goes into the one received comes out of the other."""
    pipe = link.pipe()
    writer, reader = passed(link, pipe.writer), passed(link, pipe.reader.fd)
    assert writes_through(link, End(link, reader, link), [writer, pipe.writer])


@case("raw-objects.fifo", level=MUST, checks="S34", profiles=[RAW])
def test_both_ends_of_a_fifo(link, objects):
    """Both ends of a FIFO pass, and what goes into the one received comes out of the other."""
    fifo = objects.fifo()
    (writing,) = link.open(fifo)
    (reading,) = link.open(fifo, flags=["O_RDONLY", "O_NONBLOCK"])
    writer, reader = passed(link, writing), passed(link, reading)
    assert writes_through(link, End(link, reader, link), [writer, writing])


@case("raw-objects.socket", level=MUST, checks="S34", profiles=[RAW])
def test_a_socket(link):
    """One end of another pair passes, and speaks with the other end."""
    near, far = link.pair()
    copy = End(link, passed(link, near.fd), link)
    assert copy.sendmsg(b"there").returned == 5
    assert far.recvmsg().data == b"there"
    assert far.sendmsg(b"back").returned == 4
    assert copy.recvmsg().data == b"back"


@case("raw-objects.listener", level=MUST, checks="S34", profiles=[RAW], types=[STREAM])
def test_a_listening_socket(link):
    """A listening socket passes, and the number received accepts connections."""
    address = link.address()
    copy = End(link, passed(link, link.listen(address).fd), link)
    client = link.connect(address)
    server = copy.accept()
    client.sendmsg(b"word")
    assert server.recvmsg().data == b"word"


@case("raw-objects.path-only", level=MUST, checks="S32", profiles=[RAW])
@pytest.mark.parametrize("what", ["file", "directory", "symbolic-link"])
def test_a_descriptor_of_a_path(link, objects, what):
    """An O_PATH descriptor passes and stays one: the same object, no reading and no writing (EBADF)."""
    path = {"file": objects.file().path, "directory": link.directory, "symbolic-link": "/proc/self/exe"}[what]
    fd = opened(link, path, "O_PATH", "O_NOFOLLOW")
    assert not link.a.sendmsg(b"x", [fd]).failed
    (copy,) = link.b.recvmsg(room=1).fds
    assert link.table.identity(copy) == link.table.identity(fd)
    flags = link.call("fcntl", "F_GETFL", 0, fd=copy)
    assert flags.returned == link.call("fcntl", "F_GETFL", 0, fd=fd).returned
    assert link.call("read", fd=copy, iov=[Memory(size=1)]).errno == "EBADF"
    assert link.call("write", fd=copy, iov=[Memory(data="78")]).errno == "EBADF"


@case("raw-objects.io-uring", level=MAY, checks="S33", profiles=[RAW])
def test_an_io_uring_instance(link):
    """The descriptor of an io_uring instance is refused with EINVAL and nothing is queued, or it passes like any other."""
    fd = made(link, "io_uring_setup", 4)
    sent = link.a.sendmsg(b"x", [fd])
    if sent.errno == "EINVAL":
        link.outcome = "refused"
        assert link.b.empty
        assert link.b.queued == 0
        return
    link.outcome = "passed"
    (copy,) = link.b.recvmsg(room=1).fds
    assert link.table.identity(copy) == link.table.identity(fd)


# The calls that make objects without a path, with their arguments.
NAMELESS = {
    "epoll": ("epoll_create1", 0),
    "eventfd": ("eventfd2", 7, 0),
    "timerfd": ("timerfd_create", 1, 0),  # CLOCK_MONOTONIC
    "signalfd": ("signalfd4", 0),
    "inotify": ("inotify_init1", 0),
    "pidfd": ("pidfd_open", 0, 0),
    "userfaultfd": ("userfaultfd", 1),  # UFFD_USER_MODE_ONLY, which needs no privilege
    "landlock": ("landlock_create_ruleset",),
    "fanotify": ("fanotify_init", 0x200, 0),  # FAN_REPORT_FID, which needs no privilege
    "bpf": ("bpf",),
    "perf": ("perf_event_open",),
}


@case("raw-objects.nameless", level=SHOULD, checks="S34b", profiles=[RAW])
@pytest.mark.parametrize("kind", [*NAMELESS, "memfd"])
def test_objects_without_a_path(link, kind):
    """Descriptors of objects that have no path pass with their open file description, or are refused with EOPNOTSUPP."""
    if kind == "memfd":
        fd = made(link, "memfd_create", 0, iov=[path_of("fdspec")])
    else:
        name, *arguments = NAMELESS[kind]
        fd = made(link, name, *arguments)
    sent = link.a.sendmsg(b"x", [fd])
    if sent.failed:
        link.outcome = "refused"
        assert sent.errno == "EOPNOTSUPP"
        assert link.b.empty
        return
    link.outcome = "passed"
    (first,) = link.b.recvmsg(room=1).fds
    assert link.table.target(first) == link.table.target(fd)
    assert one_description(link, fd, first)


@case("raw-objects.eventfd-counts", level=SHOULD, checks="S34b", profiles=[RAW])
def test_a_received_eventfd_has_the_same_counter(link):
    """What is added to an eventfd through the number received is read through the one that was sent."""
    fd = made(link, "eventfd2", 7, 0)
    copy = passed(link, fd)
    link.call("write", fd=copy, iov=[Memory(data=(5).to_bytes(8, link.layout.order).hex())])
    seen = link.call("read", fd=fd, iov=[Memory(size=8)]).data
    assert int.from_bytes(seen, link.layout.order) == 12


@case("raw-objects.special-files", level=SHOULD, checks="S34c", profiles=[RAW])
@pytest.mark.parametrize("path", ["/proc/self", "/proc/self/fd", "/proc/self/ns/net", "/proc/self/ns/mnt"])
def test_files_of_proc(link, path):
    """Directories of /proc and namespaces pass with their open file description."""
    passed(link, opened(link, path))


@case("raw-objects.message-queue", level=SHOULD, checks="S34c", profiles=[RAW])
def test_a_message_queue(link):
    """The descriptor of a POSIX message queue passes with its open file description."""
    passed(link, made(link, "mq_open"))


@case("raw-objects.terminal", level=SHOULD, checks="S34c", profiles=[RAW])
def test_a_terminal(link):
    """The master of a pseudo-terminal passes with its open file description."""
    passed(link, made(link, "posix_openpt", "O_RDWR"))


@case("raw-objects.mount", level=SHOULD, checks="S34c", profiles=[RAW])
def test_a_detached_mount(link):
    """The descriptor of a detached copy of a mount passes, and what lies in it can be opened through it."""
    file = link.objects.file()
    clone = 1 | 0x80000  # OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC
    fd = made(link, "open_tree", clone, iov=[path_of(link.directory)])
    assert not link.a.sendmsg(b"x", [fd]).failed
    (copy,) = link.b.recvmsg(room=1).fds
    name = file.path.rpartition("/")[2]
    inside = link.call("openat", fd=copy, iov=[path_of(name)], flags=["O_CLOEXEC"])
    assert link.table.identity(link.made(inside.returned).fd) == file.identity


@case("raw-objects.internet-socket", level=SHOULD, checks="S34d", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6"])
@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_an_internet_socket(link, family, kind):
    """A TCP or UDP socket passes, and speaks with its peer when received."""
    client, server = internet_pair(link, family, kind)
    copy = End(link, passed(link, client.fd), link)
    assert copy.sendmsg(b"word").returned == 4
    assert "POLLIN" in server.poll("POLLIN", milliseconds=5000)
    assert server.recvmsg().data == b"word"


@case("raw-objects.netlink-socket", level=SHOULD, checks="S34d", profiles=[RAW], types=[STREAM])
def test_a_netlink_socket(link):
    """A netlink socket passes, and the kernel answers over the number received."""
    copy = End(link, passed(link, socket_of(link, "AF_NETLINK", "SOCK_RAW").fd), link)
    order = link.layout.order
    # RTM_GETLINK of every interface: length, type, NLM_F_REQUEST | NLM_F_DUMP, sequence, port; then AF_UNSPEC
    parts = [(20, 4), (18, 2), (0x301, 2), (1, 4), (0, 4), (0, 4)]
    assert copy.sendmsg(b"".join(value.to_bytes(size, order) for value, size in parts)).returned == 20
    assert "POLLIN" in copy.poll("POLLIN", milliseconds=5000)
    assert not copy.recvmsg().failed
