"""Where the control data of a send lies: memory that is not there, pointers to nothing, odd addresses, sizes beyond limits."""

import pytest
from fdspec.conformance.rawlooks import path_of
from fdspec.conformance.suite import MAY, MUST, RAW, SHOULD, case
from fdspec.impls.protocol.values import Memory, Place

INT_MAX = 2**31 - 1
FOREIGN_LEVEL = 9999


def refused(link, pipe, error, **how):
    """Judge a send that must be refused by ``error``: nothing is queued, and no reference to the pipe's writer is kept."""
    sent = link.a.sendmsg(b"word", **how)
    assert (sent.returned, sent.errno) == (-1, error)
    assert link.b.empty
    assert link.b.queued == 0
    link.close(pipe.writer)
    assert pipe.released


def claiming(link, fd, length):
    """Return control data that claims ``length`` bytes: rights, then the header of a foreign control message over the rest."""
    rights = link.layout.rights([fd])
    header = link.layout.cmsg(FOREIGN_LEVEL, 1, b"", length=length - len(rights))
    return Memory(data=(rights + header).hex(), length=length if length < 2**53 else str(length))


@case("raw-cmsg.memory.beyond-int", level=MAY, checks="A17", profiles=[RAW])
@pytest.mark.parametrize("which", ["int-max+1", "largest-uint", "largest"])
def test_control_data_longer_than_an_int(link, which):
    """A msg_controllen beyond INT_MAX is refused with ENOBUFS, up to the largest that can be written; nothing is queued."""
    largest = 2 ** (8 * link.layout.word) - 1
    length = {"int-max+1": INT_MAX + 1, "largest-uint": 2**32 - 1, "largest": largest}[which]
    pipe = link.pipe()
    refused(link, pipe, "ENOBUFS", control=claiming(link, pipe.writer, length))


def optmem_max(link):
    """Return net.core.optmem_max of the kernel under test, or what is beyond any sensible value of it."""
    seen = link.call("openat", iov=[path_of("/proc/sys/net/core/optmem_max")], flags=["O_CLOEXEC"])
    if seen.failed:
        return 1 << 30
    return int(link.made(seen.returned).read(64).data)


@case("raw-cmsg.memory.beyond-optmem", level=SHOULD, checks="A18", profiles=[RAW])
@pytest.mark.parametrize("more", [64, 4096, 1 << 20])
def test_control_data_beyond_optmem_max(link, more):
    """Control data longer than net.core.optmem_max is refused with ENOBUFS, perhaps ENOMEM, and nothing is queued."""
    pipe = link.pipe()
    length = link.layout.aligned(optmem_max(link) + more)
    sent = link.a.sendmsg(b"word", control=claiming(link, pipe.writer, length))
    # for 32-bit programs the memory is asked for where control data is translated, under another error
    link.outcome = "memory" if sent.errno == "ENOMEM" and link.layout.word == 4 else "buffers"
    assert link.outcome == "memory" or sent.errno == "ENOBUFS"
    refused(link, pipe, sent.errno, control=claiming(link, pipe.writer, length))


@case("raw-cmsg.memory.large", level=SHOULD, checks="A18 A07", profiles=[RAW])
@pytest.mark.parametrize("length", [1024, 4096, 16384])
def test_large_control_data_within_optmem_max(link, objects, length):
    """Control data of some pages, well below net.core.optmem_max, is taken: the rights at its beginning arrive."""
    file = objects.file()
    (fd,) = link.open(file)
    rights = link.layout.rights([fd])
    control = rights + link.layout.cmsg(FOREIGN_LEVEL, 1, bytes(length - len(rights) - link.layout.header))
    # laid before a page that is not there, since some C libraries copy no more than 1 KiB of control data
    sent = link.a.sendmsg(b"word", control=Memory(data=control.hex(), place=Place.THEN_UNMAPPED, split=len(control)))
    if sent.errno == "EINVAL":
        link.outcome = "refused"
        assert link.b.empty
        return
    link.outcome = "skipped"
    assert sent.returned == 4
    assert link.b.recvmsg(room=1).things == [file]


@case("raw-cmsg.memory.unmapped", level=MUST, checks="A19", profiles=[RAW])
@pytest.mark.parametrize("place", ["nowhere", "header-only", "half-a-header", "last-byte"])
def test_control_data_that_cannot_be_read(link, place):
    """Control data in memory that is not there, wholly or from some byte on, is refused with EFAULT; nothing is queued."""
    pipe = link.pipe()
    data = link.layout.rights([pipe.writer] * 2)
    split = {"header-only": link.layout.header, "half-a-header": link.layout.word, "last-byte": len(data) - 1}.get(
        place
    )
    if split is None:
        control = Memory(data=data.hex(), place=Place.UNMAPPED)
    else:
        control = Memory(data=data.hex(), place=Place.THEN_UNMAPPED, split=split)
    refused(link, pipe, "EFAULT", control=control)


@case("raw-cmsg.memory.read-only", level=MUST, checks="A19", profiles=[RAW])
def test_control_data_that_can_only_be_read(link, objects):
    """Control data in memory that can only be read is sent: the kernel writes nothing there."""
    file = objects.file()
    data = link.layout.rights(link.open(file))
    assert link.a.sendmsg(b"word", control=Memory(data=data.hex(), place=Place.READ_ONLY)).returned == 4
    assert link.b.recvmsg(room=1).things == [file]


@case("raw-cmsg.memory.null", level=MUST, checks="A20", profiles=[RAW])
@pytest.mark.parametrize("extra", [-1, 0, 4, 100])
def test_a_null_pointer_to_control_data(link, extra):
    """Null as msg_control, and a length about that of a header or above: EFAULT or EINVAL, and nothing is queued."""
    sent = link.a.sendmsg(b"word", control=Memory(size=link.layout.header + extra, place=Place.NULL))
    # for 32-bit programs the null pointer is found not to hold a header before anything is read
    link.outcome = "invalid" if sent.errno == "EINVAL" and link.layout.word == 4 else "fault"
    assert link.outcome == "invalid" or sent.errno == "EFAULT"
    assert link.b.empty


@case("raw-cmsg.memory.no-length", level=MUST, checks="A20b", profiles=[RAW])
@pytest.mark.parametrize("place", ["null", "unmapped", "rights"])
def test_control_data_of_no_length(link, place):
    """With a length of 0 there is no control data, whether its pointer is null, wild, or shows to good rights."""
    pipe = link.pipe()
    control = {
        "null": Memory(size=0, place=Place.NULL),
        "unmapped": Memory(size=0, place=Place.UNMAPPED),
        "rights": Memory(data=link.layout.rights([pipe.writer]).hex(), length=0),
    }
    assert link.a.sendmsg(b"word", control=control[place]).returned == 4
    got = link.b.recvmsg(room=1)
    assert (got.data, got.cmsgs, got.flags) == (b"word", [], frozenset())
    link.close(pipe.writer)
    assert pipe.released


@case("raw-cmsg.memory.no-header", level=MUST, checks="A21", profiles=[RAW])
@pytest.mark.parametrize("place", [Place.NULL, Place.UNMAPPED, Place.THEN_UNMAPPED])
def test_a_pointer_to_no_msghdr(link, objects, place):
    """A null pointer to the msghdr, or one to memory that is not all there: EFAULT in both directions, nothing is taken."""
    pipe, file = link.pipe(), objects.file()
    assert link.a.sendmsg(b"lost", [pipe.writer], place=place).errno == "EFAULT"
    link.close(pipe.writer)
    assert pipe.released
    assert link.b.empty
    link.a.sendmsg(b"word", link.open(file))
    assert link.b.recvmsg(room=1, place=place).errno == "EFAULT"
    assert link.hidden == []
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things) == (b"word", [file])


@case("raw-cmsg.memory.unaligned", level=MAY, checks="A24", profiles=[RAW])
@pytest.mark.parametrize("offset", range(1, 8))
def test_control_data_need_not_be_aligned(link, objects, offset):
    """Control data at any odd address is taken, and two control messages in it are both found."""
    things = objects.files(2)
    one, other = link.open(*things)
    data = link.layout.rights([one]) + link.layout.rights([other])
    # before a page boundary, so that no C library copies it to a better place
    control = Memory(data=data.hex(), place=Place.THEN_UNMAPPED, split=len(data) + offset)
    assert link.a.sendmsg(b"word", control=control).returned == 4
    got = link.b.recvmsg(control=64)
    assert (got.data, got.things) == (b"word", things)


@case("raw-cmsg.memory.not-written", level=MUST, checks="A25", profiles=[RAW])
@pytest.mark.parametrize("what", ["good", "bad-descriptor", "bad-length"])
def test_a_send_writes_nothing(link, objects, what):
    """Neither the control data nor the header nor the buffers are changed by a send, whether it is taken or refused."""
    (fd,) = link.open(objects.file())
    rights = link.layout.rights
    control = {"good": rights([fd]), "bad-descriptor": rights([fd, -1]), "bad-length": rights([fd], length=0)}[what]
    sent = link.a.sendmsg([b"one", b"two"], control=Memory(data=control.hex()))
    assert (sent.failed, sent.changed) == (what != "good", frozenset())
