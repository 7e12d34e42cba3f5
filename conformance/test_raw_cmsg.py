"""Control messages that a send is given: their lengths, levels and types, what is read of them, and what is refused.

They are laid just before a page that is not there, so that the kernel gets the very bytes, whatever C library is between,
and a byte read too many is a fault.
"""

import pytest
from fdspec.conformance.observations import SCM_RIGHTS, SOL_SOCKET
from fdspec.conformance.rawlooks import SCM_CREDENTIALS, verbatim
from fdspec.conformance.suite import DGRAM, MAY, MUST, RAW, SHOULD, STREAM, case

SCM_MAX_FD = 253
UCRED = 12
"""The bytes of a struct ucred."""


def send(link, control):
    """Send four bytes beside these bytes of control data."""
    return link.a.sendmsg(b"word", control=verbatim(control))


def arrived(link, room=8):
    """Return what arrives of `send`: the things, and that there is nothing else about it."""
    got = link.b.recvmsg(control=link.layout.space(4 * room))
    assert (got.data, got.flags) == (b"word", frozenset())
    assert link.b.empty
    return got.things


def refused(link, *controls, error="EINVAL"):
    """Judge sends that must all be refused: this error, and nothing is queued."""
    requests = [link.a.sending(b"word", control=verbatim(control)) for control in controls]
    for control, reply in zip(controls, link.many(requests), strict=True):
        sent = link.a.sent(reply)
        assert (sent.returned, sent.errno) == (-1, error), control.hex()
    assert link.b.empty
    assert link.b.queued == 0


def released(link, pipe):
    """Close the number of ``pipe``; return whether no other reference to it is left."""
    link.close(pipe.writer)
    return pipe.released


# --- cmsg_len ---------------------------------------------------------------------------------------------------------


@case("raw-cmsg.length.too-short", level=MUST, checks="A01", profiles=[RAW])
def test_a_length_below_the_header(link):
    """Every cmsg_len from 0 to one below CMSG_LEN(0) is refused with EINVAL; no reference is kept."""
    pipe = link.pipe()
    refused(link, *(link.layout.rights([pipe.writer], length=length) for length in range(link.layout.header)))
    assert released(link, pipe)


@case("raw-cmsg.length.too-long", level=MUST, checks="A02", profiles=[RAW])
@pytest.mark.parametrize("padded", [True, False], ids=["padded", "unpadded"])
def test_a_length_beyond_the_control_data(link, padded):
    """Every cmsg_len up to 64 bytes beyond msg_controllen, and the largest ones, are refused with EINVAL."""
    pipe = link.pipe()
    layout = link.layout
    end = len(layout.rights([pipe.writer], padded=padded))
    largest = 2 ** (8 * layout.word) - 1
    # about half of the range a length turns negative where it is taken for a signed one
    lengths = [
        *range(end + 1, end + 65),
        largest,
        largest - layout.align,
        largest // 2,
        largest // 2 + 1,
        2**31 - 1,
        2**31,
    ]
    refused(link, *(layout.rights([pipe.writer], length=length, padded=padded) for length in lengths))
    assert released(link, pipe)


@case("raw-cmsg.length.wraps", level=MUST, checks="A02", profiles=[RAW])
def test_a_length_that_is_right_in_its_lower_half_only(link):
    """A cmsg_len whose lower 32 bits alone would be right is refused with EINVAL."""
    pipe = link.pipe()
    layout = link.layout
    if layout.word == 4:  # there is no upper half
        good = layout.rights([pipe.writer])
        assert not send(link, good).failed
        return
    lengths = [(upper << 32) + layout.length(4) for upper in (1, 2**31, 2**32 - 1)]
    refused(link, *(layout.rights([pipe.writer], length=length) for length in lengths))
    assert released(link, pipe)


@case("raw-cmsg.length.no-int", level=SHOULD, checks="A04", profiles=[RAW])
@pytest.mark.parametrize("extra", range(4))
def test_a_length_without_one_whole_int(link, extra):
    """A cmsg_len of the header and 0 to 3 bytes sends no descriptor, and is no error."""
    pipe = link.pipe()
    layout = link.layout
    control = layout.cmsg(SOL_SOCKET, SCM_RIGHTS, layout.ints([pipe.writer])[:extra])
    assert send(link, control).returned == 4
    assert arrived(link) == []
    assert released(link, pipe)


@case("raw-cmsg.length.odd", level=SHOULD, checks="A06", profiles=[RAW])
@pytest.mark.parametrize("whole", [1, 2, 3])
@pytest.mark.parametrize("extra", [1, 2, 3])
def test_bytes_behind_the_last_whole_int(link, objects, whole, extra):
    """A cmsg_len of some ints and 1 to 3 bytes sends those ints; the rest is ignored, even where it makes no descriptor."""
    things = objects.files(whole)
    layout = link.layout
    control = layout.cmsg(SOL_SOCKET, SCM_RIGHTS, layout.ints(link.open(*things)) + b"\xff" * extra)
    assert send(link, control).returned == 4
    assert arrived(link) == things


# --- what msg_controllen says -----------------------------------------------------------------------------------------


@case("raw-cmsg.no-header", level=MAY, checks="A03", profiles=[RAW])
def test_control_data_shorter_than_a_header(link):
    """Control data too short for one header, at every length: all ignored and the data sent, or all refused with EINVAL."""
    pipe = link.pipe()
    whole = link.layout.rights([pipe.writer])
    outcomes = set()
    for length in range(1, link.layout.header):
        sent = send(link, whole[:length])
        outcomes.add(sent.errno)
        if not sent.failed:
            assert sent.returned == 4
            assert arrived(link) == []
        assert link.b.empty
    assert outcomes in ({None}, {"EINVAL"})
    link.outcome = "ignored" if outcomes == {None} else "refused"
    assert released(link, pipe)


@case("raw-cmsg.trailing.short", level=MAY, checks="A15", profiles=[RAW])
@pytest.mark.parametrize("filler", [0x00, 0xFF], ids=["zeros", "ones"])
def test_trailing_bytes_too_few_for_a_header(link, filler):
    """Any bytes behind a good control message that are too few for a header, at every length: ignored, or all refused."""
    pipe = link.pipe()
    good = link.layout.rights([pipe.writer])
    outcomes = set()
    for length in range(1, link.layout.header):
        sent = send(link, good + bytes([filler]) * length)
        outcomes.add(sent.errno)
        if not sent.failed:
            got = link.b.recvmsg(room=2, close=True)
            assert (got.data, len(got.fds), got.flags) == (b"word", 1, frozenset())
        assert link.b.empty
    # what translates for 32-bit programs takes a first byte for a whole header, and reads the rest behind the buffer
    assert outcomes == {None} or outcomes <= {"EINVAL", "EFAULT"}
    link.outcome = "ignored" if outcomes == {None} else "refused"
    assert released(link, pipe)


@case("raw-cmsg.trailing.header", level=MUST, checks="A15b", profiles=[RAW])
@pytest.mark.parametrize("filler", [0x00, 0xFF], ids=["zeros", "ones"])
def test_trailing_bytes_that_are_a_header(link, filler):
    """Behind a good control message bytes that are enough for a header are one: where it is not valid, EINVAL."""
    pipe = link.pipe()
    good = link.layout.rights([pipe.writer])
    refused(link, *(good + bytes([filler]) * (link.layout.header + more) for more in range(17)))
    assert released(link, pipe)


@case("raw-cmsg.padding", level=MUST, checks="A14", profiles=[RAW])
@pytest.mark.parametrize("filler", [0x00, 0x01, 0xFF])
def test_the_padding_is_not_looked_at(link, objects, filler):
    """Whatever stands in the padding behind the descriptors, they arrive and nothing else."""
    layout = link.layout
    for count in (1, 2, 3):
        things = objects.files(count)
        data = layout.rights(link.open(*things), padded=False)
        # where control messages are aligned to an int there is no padding, and the data alone is sent
        control = data.ljust(layout.space(4 * count), bytes([filler]))
        assert send(link, control).returned == 4
        assert arrived(link) == things


@case("raw-cmsg.unpadded", level=SHOULD, checks="A16", profiles=[RAW])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_last_one_needs_no_padding(link, objects, count):
    """The last control message ends at CMSG_LEN, alone and behind another one."""
    things = objects.files(count)
    control = link.layout.rights(link.open(*things), padded=False)
    assert send(link, control).returned == 4
    assert arrived(link) == things
    assert send(link, link.layout.rights([]) + control).returned == 4
    assert arrived(link) == things


# --- level and type ---------------------------------------------------------------------------------------------------

FOREIGN = {"IPPROTO_IP": 0, "IPPROTO_TCP": 6, "IPPROTO_IPV6": 41, "SOL_NETLINK": 270, "unknown": 9999, "negative": -1}


@case("raw-cmsg.foreign-level", level=MAY, checks="A07", profiles=[RAW])
@pytest.mark.parametrize("level", FOREIGN)
@pytest.mark.parametrize("before", [True, False], ids=["before", "behind"])
def test_a_foreign_level_is_skipped(link, level, before):
    """A control message of a foreign level beside rights: skipped, and the rights arrive; or EINVAL, and nothing is kept."""
    pipe = link.pipe()
    layout = link.layout
    # its type is that of rights and its data a descriptor, which must not be taken for one
    parts = [layout.cmsg(FOREIGN[level], SCM_RIGHTS, layout.ints([pipe.writer])), layout.rights([pipe.writer])]
    sent = send(link, b"".join(parts if before else parts[::-1]))
    if sent.failed:
        link.outcome = "refused"
        assert sent.errno == "EINVAL"
        assert link.b.empty
    else:
        link.outcome = "skipped"
        got = link.b.recvmsg(room=4)
        assert (got.data, len(got.fds), len(got.cmsgs)) == (b"word", 1, 1)
        link.close(*got.fds)
    assert released(link, pipe)


@case("raw-cmsg.foreign-level.too-short", level=MAY, checks="A07b", profiles=[RAW])
@pytest.mark.parametrize("level", FOREIGN)
def test_a_foreign_level_with_a_bad_length(link, level):
    """A control message of a foreign level with a cmsg_len below the header's is refused with EINVAL like any other."""
    pipe = link.pipe()
    layout = link.layout
    for length in (0, 1, layout.header - 1):
        bad = layout.cmsg(FOREIGN[level], 1, b"", length=length)
        refused(link, bad, layout.rights([pipe.writer]) + bad)
    assert released(link, pipe)


# SCM_PIDFD, SO_TIMESTAMP and others come out of the kernel; nobody sends them. SCM_CREDENTIALS (2) is another matter.
UNKNOWN = [0, 3, 4, 5, 29, 35, 37, 42, 84, 99, 2**31 - 1, -1]


@case("raw-cmsg.unknown-type", level=MUST, checks="A08", profiles=[RAW])
@pytest.mark.parametrize("kind", UNKNOWN)
def test_an_unknown_type(link, kind):
    """A type of SOL_SOCKET that nobody may send is refused with EINVAL, alone, and before and behind rights."""
    pipe = link.pipe()
    layout = link.layout
    odd, rights = layout.cmsg(SOL_SOCKET, kind, layout.ints([pipe.writer])), layout.rights([pipe.writer])
    refused(link, odd, odd + rights, rights + odd)
    assert released(link, pipe)


@case("raw-cmsg.credentials-length", level=MUST, checks="A22", profiles=[RAW])
def test_credentials_of_a_wrong_length(link):
    """SCM_CREDENTIALS whose length is not that of struct ucred is refused with EINVAL, alone and behind rights."""
    pipe = link.pipe()
    layout = link.layout
    for size in (0, 1, 4, UCRED - 4, UCRED - 1, UCRED + 1, UCRED + 4, 2 * UCRED):
        odd = layout.cmsg(SOL_SOCKET, SCM_CREDENTIALS, bytes(size))
        refused(link, odd, layout.rights([pipe.writer]) + odd)
    assert released(link, pipe)


# --- several ----------------------------------------------------------------------------------------------------------


@case("raw-cmsg.several", level=SHOULD, checks="A09", profiles=[RAW])
@pytest.mark.parametrize("counts", [(1, 1), (2, 3), (1, 2, 1), (1,) * 8], ids=["1-1", "2-3", "1-2-1", "eight"])
def test_several_control_messages(link, objects, counts):
    """Descriptors of several SCM_RIGHTS control messages all arrive, in order, in one or in several; or EINVAL."""
    things = objects.files(sum(counts))
    numbers = iter(link.open(*things))
    sent = send(link, b"".join(link.layout.rights([next(numbers) for _ in range(count)]) for count in counts))
    if sent.failed:
        link.outcome = "refused"
        assert sent.errno == "EINVAL"
        assert link.b.empty
        return
    got = link.b.recvmsg(control=256)
    assert (got.data, got.things, got.flags) == (b"word", things, frozenset())
    link.outcome = "merged" if len(got.cmsgs) == 1 else "apart"


@case("raw-cmsg.several.limit", level=MUST, checks="A10", profiles=[RAW])
@pytest.mark.parametrize("counts", [(253, 1), (1, 253), (200, 54), (127, 127), (100, 100, 54)])
def test_the_limit_counts_all_control_messages(link, counts):
    """254 descriptors in several control messages are refused as in one, and no reference is kept."""
    pipe = link.pipe()
    sent = send(link, b"".join(link.layout.rights([pipe.writer] * count) for count in counts))
    assert sent.errno in ("EINVAL", "EMSGSIZE")
    assert link.b.empty
    assert released(link, pipe)


@case("raw-cmsg.several.limit.reached", level=MUST, checks="A10 A09", profiles=[RAW])
@pytest.mark.parametrize("counts", [(200, 53), (1, 252), (252, 1)])
def test_as_many_as_the_limit_in_several_control_messages(link, counts):
    """253 descriptors in two control messages are sent, and all of them arrive."""
    pipe = link.pipe()
    sent = send(link, b"".join(link.layout.rights([pipe.writer] * count) for count in counts))
    assert sent.returned == 4
    got = link.b.recvmsg(control=link.layout.space(4 * SCM_MAX_FD), close=True)
    assert (len(got.fds), got.flags) == (SCM_MAX_FD, frozenset())
    assert released(link, pipe)


@case("raw-cmsg.several.empty", level=SHOULD, checks="A11", profiles=[RAW])
@pytest.mark.parametrize("order", ["empty-first", "empty-last", "between", "around"])
def test_an_empty_one_beside_another(link, objects, order):
    """SCM_RIGHTS control messages without descriptors beside one with some have no effect."""
    one, other = objects.files(2)
    a, b = link.open(one, other)
    empty, rights = link.layout.rights([]), link.layout.rights
    control = {
        "empty-first": empty + rights([a, b]),
        "empty-last": rights([a, b]) + empty,
        "between": rights([a]) + empty + rights([b]),
        "around": empty + rights([a, b]) + empty,
    }
    assert send(link, control[order]).returned == 4
    assert arrived(link) == [one, other]


@case("raw-cmsg.too-many", level=MUST, checks="A13", profiles=[RAW])
@pytest.mark.parametrize("count", [254, 255, 256, 1024])
def test_more_than_the_limit(link, count):
    """More than 253 descriptors in one control message: EINVAL or EMSGSIZE, nothing is queued, no reference is kept."""
    pipe = link.pipe()
    sent = send(link, link.layout.rights([pipe.writer] * count))
    assert sent.errno in ("EINVAL", "EMSGSIZE")
    link.outcome = "invalid" if sent.errno == "EINVAL" else "size"
    assert link.b.empty
    assert released(link, pipe)


@case("raw-cmsg.as-many-as-allowed", level=MUST, checks="A13 M01", profiles=[RAW])
@pytest.mark.parametrize("count", [252, 253])
def test_as_many_as_the_limit(link, count):
    """Up to 253 descriptors in one control message are sent, and all of them arrive."""
    pipe = link.pipe()
    assert send(link, link.layout.rights([pipe.writer] * count)).returned == 4
    got = link.b.recvmsg(room=SCM_MAX_FD, close=True)
    assert (len(got.fds), got.flags) == (count, frozenset())
    assert released(link, pipe)


# --- one good, then a bad one -----------------------------------------------------------------------------------------


@case("raw-cmsg.second.too-long", level=MUST, checks="A28 A26", profiles=[RAW])
def test_a_second_one_that_overruns(link):
    """A second cmsg_len that overruns the control data by 1 byte and more: EINVAL, and nothing of the first is kept."""
    pipe = link.pipe()
    layout = link.layout
    first = layout.rights([pipe.writer])
    end = layout.space(4)
    largest = 2 ** (8 * layout.word) - 1
    # the sizes about the largest one wrap around to the beginning where they are added to the position
    lengths = [*range(end + 1, end + 40), largest, largest - len(first), largest - len(first) + 1, 2**31 - 1]
    refused(link, *(first + layout.rights([pipe.writer], length=length) for length in lengths))
    assert released(link, pipe)


@case("raw-cmsg.second.zero", level=MUST, checks="A29 A26", profiles=[RAW])
def test_a_second_one_of_no_length(link):
    """A second cmsg_len of 0 or below its header: EINVAL at once, and nothing of the first is kept."""
    pipe = link.pipe()
    layout = link.layout
    first = layout.rights([pipe.writer])
    seconds = [first + layout.rights([pipe.writer], length=length) for length in range(layout.header)]
    refused(link, *seconds, *(second + first for second in seconds))
    assert released(link, pipe)


@case("raw-cmsg.second.bad-descriptor", level=MUST, checks="A26 S05", profiles=[RAW])
@pytest.mark.parametrize("bad", [-1, 1 << 20])
def test_a_second_one_with_a_bad_descriptor(link, bad):
    """A bad descriptor in the second of three control messages: EBADF, and nothing of the first is kept."""
    pipe = link.pipe()
    rights = link.layout.rights
    refused(link, rights([pipe.writer]) + rights([bad]) + rights([pipe.writer]), error="EBADF")
    assert released(link, pipe)


@case("raw-cmsg.second.never-read", level=MUST, checks="A01 A26", profiles=[RAW], types=[STREAM, DGRAM])
def test_a_first_one_that_is_bad(link, objects):
    """A bad control message in front of a good one makes the whole send fail as well; the next send is a plain one."""
    file = objects.file()
    (fd,) = link.open(file)
    rights = link.layout.rights
    refused(link, rights([fd], length=0) + rights([fd]))
    assert send(link, rights([fd])).returned == 4
    assert arrived(link) == [file]
