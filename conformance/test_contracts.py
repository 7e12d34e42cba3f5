"""What a wrapper owes its caller, whatever its language: the contracts LC01 to LC15."""

import fcntl
import os

from fdspec.conformance.checks import SMALL_BUFFER, drain, fill, offset, quiet
from fdspec.conformance.rescue import rescue
from fdspec.conformance.suite import DESCRIPTORS, MUST, PACKETS, SEQPACKET, STREAM, case
from fdspec.impls.errors import Unsupported

FLAGS_IN, FLAGS_OUT = ("flags-in",), ("flags-out",)
NAMELESS = {"", "Error", "Exception", "OSError"}
"""Types of error that say nothing of themselves."""


# --- LC02: the caller's own descriptors -----------------------------------------------------------------------------


@case("contracts.caller-unchanged.sent", level=MUST, checks="LC02 L01")
def test_sending_changes_nothing_of_what_is_sent(link, objects):
    """After a good, a refused and a blocked send the descriptors sent have the flags and offsets that they had."""
    file, pipe, other = objects.file(), objects.fifo(), objects.file()
    numbers = [
        *link.open(file, pipe),
        *link.open(other, flags=("O_RDWR", "O_APPEND", "O_NONBLOCK")),
    ]
    expected = _state(link, numbers)
    assert not link.send(b"x", numbers).failed
    assert _state(link, numbers) == expected
    assert link.send(b"x", [*numbers, -1]).failed
    assert _state(link, numbers) == expected
    link.nonblocking()
    assert fill(link, numbers[0]).failed
    assert link.send(b"x" * 1024, numbers).failed
    assert _state(link, numbers) == expected


def _state(link, numbers):
    return [(link.table.identity(number), link.table.flags(number), offset(link, number)) for number in numbers]


@case("contracts.caller-unchanged.socket", level=MUST, checks="LC02")
def test_the_socket_keeps_its_mode(link, objects):
    """Sending and receiving leave the socket's close-on-exec flag and blocking mode as the caller set them."""
    file = objects.file()
    numbers = link.open(file)
    for prepare in (lambda: None, link.nonblocking):
        prepare()
        expected = link.table.flags(link.fd)
        assert not link.send(b"x", numbers).failed
        assert link.table.flags(link.fd) == expected
        link.peer.send(b"y", fds=[file.fd])
        assert link.receive(data=1, room=1).things == [file]
        assert link.table.flags(link.fd) == expected
    assert expected & os.O_NONBLOCK


@case("contracts.caller-unchanged.received", level=MUST, checks="LC02 I04 I01")
def test_receiving_changes_nothing_of_what_is_received(link, objects):
    """What the peer sends keeps its status flags and its offset: a receive sets no O_NONBLOCK and reads nothing."""
    files = objects.files(2)
    ours = [objects.fresh(files[0]), objects.fresh(files[1], os.O_RDWR | os.O_APPEND | os.O_NONBLOCK)]
    os.lseek(ours[0], 9, os.SEEK_SET)
    before = [(fcntl.fcntl(fd, fcntl.F_GETFL), os.lseek(fd, 0, os.SEEK_CUR)) for fd in ours]
    link.peer.send(b"x", fds=ours)
    assert link.receive(data=1, room=2).things == files
    assert [(fcntl.fcntl(fd, fcntl.F_GETFL), os.lseek(fd, 0, os.SEEK_CUR)) for fd in ours] == before


# --- LC06: close-on-exec --------------------------------------------------------------------------------------------


@case("contracts.cloexec", level=MUST, checks="LC06", profiles=(DESCRIPTORS,), revision=2)
def test_received_descriptors_are_close_on_exec(link, objects):
    """Three received descriptors are close-on-exec by default or on request, or the documentation says not."""
    _closed_on_exec(link, objects, single=False)


@case("contracts.cloexec.single", level=MUST, checks="LC06", profiles=(DESCRIPTORS,), needs=("single",), revision=2)
def test_a_single_received_descriptor_is_close_on_exec(link, objects):
    """The call for one descriptor returns one that is close-on-exec (or can be asked to), or the documentation says not."""
    _closed_on_exec(link, objects, single=True)


def _closed_on_exec(link, objects, *, single):
    """The API's default is close-on-exec; or else the caller can ask for it; or else the documentation says not."""
    things = objects.files(1 if single else 3)
    on_request = link.can("flags-in") and link.policy("cloexec") != "always"
    for flags in [[]] + ([["MSG_CMSG_CLOEXEC"]] if on_request else []):
        link.peer.send(b"x", fds=[thing.fd for thing in things])
        got = link.receive(data=1, room=len(things), flags=flags, single=single)
        assert got.things == things
        close_on_exec = [link.table.cloexec(fd) for fd in got.fds]
        if all(close_on_exec):
            return
    assert all(close_on_exec) or link.policy("cloexec") in {"never", "flag"}


# --- LC08, LC15: whose descriptors are whose ------------------------------------------------------------------------


@case("contracts.undeclared-first", level=MUST, checks="LC15 LC01")
def test_descriptors_that_nobody_expected_stay_out_of_the_next_message(link, objects):
    """Descriptors come where the caller has no room, then others where it has: only these come with those bytes."""
    unexpected, expected = objects.files(2), objects.files(2)
    link.peer.send(b"first", fds=[thing.fd for thing in unexpected])
    link.peer.send(b"next!", fds=[thing.fd for thing in expected])
    first = link.receive(data=5, room=0)
    assert first.failed or first.data == b"first"
    assert first.fds == []
    second = link.receive(data=5, room=2)
    assert (second.data, second.things) == (b"next!", expected)


@case("contracts.two-messages", level=MUST, checks="LC15 B03 D01")
def test_two_waiting_messages_are_not_mixed(link, objects):
    """Two messages with descriptors wait, and the buffers have room for both: each receive gives one with its own."""
    first, second = objects.files(2), objects.files(3)
    link.peer.send(b"one", fds=[thing.fd for thing in first])
    link.peer.send(b"two", fds=[thing.fd for thing in second])
    got = [link.receive(data=64, room=8) for _ in range(2)]
    assert [(one.data, one.things) for one in got] == [(b"one", first), (b"two", second)]


@case("contracts.plain-between", level=MUST, checks="LC15 B02 B14")
def test_plain_messages_between_have_no_descriptors(link, objects):
    """Plain and descriptor messages take turns: every receive of one message's bytes gives that one's descriptors."""
    a, b = objects.file(), objects.file()
    sent = [(b"1111", []), (b"2222", [a]), (b"3333", []), (b"4444", [b]), (b"5555", [])]
    for data, things in sent:
        link.peer.send(data, fds=[thing.fd for thing in things])
    got = [link.receive(data=4, room=2) for _ in sent]
    assert [(one.data, one.things) for one in got] == sent


@case("contracts.fragments", level=MUST, checks="LC15 LC01 B04", types=(STREAM,))
def test_descriptors_stay_with_the_first_fragment(link, objects):
    """A message comes in pieces with EAGAIN between, descriptors on the first: they are handed over once, with it."""
    things, others = objects.files(2), objects.files(1)
    link.nonblocking()
    pieces = [(b"head", things), (b"body", []), (b"tail", []), (b"next", others)]
    for data, sent in pieces:
        link.peer.send(data, fds=[thing.fd for thing in sent])
        got = link.receive(data=64, room=4)
        assert (got.data, got.things) == (data, sent)
        empty = link.receive(data=64, room=4)
        assert empty.failed
        assert empty.fds == []


@case("contracts.fewer-than-before", level=MUST, checks="LC15 LC05")
def test_a_shorter_list_after_a_longer_one(link, objects):
    """Eight descriptors, then one, then none: nothing of the longer list is seen again."""
    eight, one = objects.files(8), objects.files(1)
    for data, things in ((b"8", eight), (b"1", one), (b"0", [])):
        link.peer.send(data, fds=[thing.fd for thing in things])
        got = link.receive(data=1, room=8)
        assert (got.data, got.things) == (data, things)


@case("contracts.after-the-caller-closed", level=MUST, checks="LC15 LC05 LC02")
def test_numbers_are_reused(link, objects):
    """The caller closes what it received before the next message comes: the same numbers, other files, told apart."""
    for turn in range(5):
        things = objects.files(3)
        link.peer.send(bytes([turn]), fds=[thing.fd for thing in things])
        got = link.receive(data=1, room=3)
        assert (got.data, got.things) == (bytes([turn]), things)
        link.close(*got.fds)


# --- LC09: the limit of open descriptors ----------------------------------------------------------------------------


@case("contracts.descriptor-limit.none", level=MUST, checks="LC09 T12 T13 LC03 LC01")
def test_no_slot_for_three(link, objects):
    """After a good receive no slot is left: the loss is told, no old number is given, the next message is whole."""
    _at_the_limit(link, objects, 0)


@case("contracts.descriptor-limit.one", level=MUST, checks="LC09 T12 T13 LC03 LC01")
def test_one_slot_for_three(link, objects):
    """After a good receive one slot is left for three: the loss is told, what comes is right, the next is whole."""
    _at_the_limit(link, objects, 1)


@case("contracts.descriptor-limit.two", level=MUST, checks="LC09 T12 T13 LC03 LC01")
def test_two_slots_for_three(link, objects):
    """After a good receive two slots are left for three: the loss is told, what comes is right, the next is whole."""
    _at_the_limit(link, objects, 2)


def _at_the_limit(link, objects, slots):
    before, beyond, after = objects.files(3), objects.files(3), objects.files(3)
    link.peer.send(b"a", fds=[thing.fd for thing in before])
    assert link.receive(data=1, room=3).things == before
    link.leave_slots(slots)
    link.peer.send(b"b", fds=[thing.fd for thing in beyond])
    got = link.receive(data=1, room=3)
    link.restore_slots()
    assert got.things == beyond[: len(got.things)]
    assert len(got.things) <= slots
    assert got.lost_descriptors_visible
    link.outcome = "refused" if got.failed and not got.things else "short"
    link.peer.send(b"c", fds=[thing.fd for thing in after])
    last = link.receive(data=1, room=3)
    if last.data == b"b":  # the refused message was left in the queue: nothing is lost
        assert last.things == beyond
        last = link.receive(data=1, room=3)
    assert (last.data, last.things) == (b"c", after)


@case("contracts.descriptor-limit.single", level=MUST, checks="LC09 LC03", profiles=(DESCRIPTORS,), needs=("single",))
def test_no_slot_for_a_single_one(link, objects):
    """The call for one descriptor finds no slot: it says so, and gives neither an old number nor the next one's."""
    before, beyond, after = objects.files(3)
    link.peer.send(b"a", fds=[before.fd])
    assert link.receive(data=1, room=1, single=True).things == [before]
    link.leave_slots(0)
    link.peer.send(b"b", fds=[beyond.fd])
    got = link.receive(data=1, room=1, single=True)
    link.restore_slots()
    assert got.fds == []
    assert got.lost_descriptors_visible
    link.peer.send(b"c", fds=[after.fd])
    last = link.receive(data=1, room=1, single=True)
    assert (last.data, last.things) == (b"c", [after])


@case("contracts.descriptor-limit.exactly", level=MUST, checks="LC09 T12")
def test_just_enough_slots(link, objects):
    """Three slots for three descriptors: all arrive, and no loss is told."""
    things = objects.files(3)
    link.leave_slots(3)
    link.peer.send(b"x", fds=[thing.fd for thing in things])
    got = link.receive(data=1, room=3)
    link.restore_slots()
    assert (got.data, got.things) == (b"x", things)
    assert not got.failed
    assert not got.has("MSG_CTRUNC")


@case("contracts.descriptor-limit.sending", level=MUST, checks="LC02 L01")
def test_sending_needs_no_slot(link, objects):
    """A process without a free slot can still send what it has."""
    things = objects.files(2)
    numbers = link.open(*things)
    link.leave_slots(0)
    sent = link.send(b"x", numbers)
    link.restore_slots()
    if (
        sent.errno == "ETOOMANYREFS"
    ):  # the limit is one of descriptors in flight as well, which the user's others count to
        raise Unsupported("platform", "other processes of this user have more descriptors in flight than the limit")
    assert not sent.failed
    assert link.peer.receive().identities == [thing.identity for thing in things]


# --- LC12: what the API accepts takes effect ------------------------------------------------------------------------


@case("contracts.flags.peek", level=MUST, checks="LC12 P01 P02", needs=FLAGS_IN)
def test_peeking_takes_effect(link, objects):
    """MSG_PEEK: data and descriptor are there again for the next receive, and closing the first copy costs nothing."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"abc", fds=[file.fd])
    peeked = link.receive(data=3, room=1, flags=["MSG_PEEK"])
    assert (peeked.data, peeked.things) == (b"abc", [file])
    link.close(*peeked.fds)
    got = link.receive(data=3, room=1)
    assert (got.data, got.things) == (b"abc", [file])
    assert link.receive(data=3, room=1).failed


@case("contracts.flags.do-not-wait.receive", level=MUST, checks="LC12 R05", needs=FLAGS_IN)
def test_not_waiting_to_receive_takes_effect(link):
    """MSG_DONTWAIT on a blocking socket with nothing there: EAGAIN at once."""
    with rescue(link, lambda: link.peer.send(b"late")) as rescued:
        got = link.receive(data=4, room=1, flags=["MSG_DONTWAIT"])
    assert not rescued.is_set(), "the receive waited"
    assert got.failed
    assert got.errno in {None, "EAGAIN"}


@case("contracts.flags.do-not-wait.send", level=MUST, checks="LC12 S15", types=(STREAM, SEQPACKET), needs=FLAGS_OUT)
def test_not_waiting_to_send_takes_effect(link, objects):
    """MSG_DONTWAIT on a blocking socket whose buffer is full: EAGAIN at once."""
    (number,) = link.open(objects.file())
    quiet(link)
    with rescue(link, link.peer.socket.close) as rescued:
        sent = fill(link, number, flags=["MSG_DONTWAIT", "MSG_NOSIGNAL"])
    assert not rescued.is_set(), "the send waited"
    assert sent.errno in {None, "EAGAIN"}


@case("contracts.flags.out-of-band.packets", level=MUST, checks="LC12 S28", types=PACKETS, needs=FLAGS_OUT)
def test_send_flags_reach_the_kernel(link, objects):
    """MSG_OOB, which packets do not have, is refused and not dropped on the way: EOPNOTSUPP, and nothing arrives."""
    sent = link.send(b"x", link.open(objects.file()), flags=["MSG_OOB"])
    assert sent.failed
    assert sent.errno in {None, "EOPNOTSUPP"}
    assert not link.peer.pending()


@case("contracts.flags.out-of-band.stream", level=MUST, checks="LC12 S27a", types=(STREAM,), needs=FLAGS_OUT)
def test_an_urgent_byte_is_urgent(link, objects):
    """MSG_OOB on a stream makes the last byte urgent, or is refused where the kernel has no such bytes."""
    sent = link.send(b"ab!", link.open(objects.file()), flags=["MSG_OOB"])
    if not sent.failed:
        assert link.peer.receive(64).data == b"ab"


@case("contracts.flags.whole-length", level=MUST, checks="LC12 D02", types=PACKETS, needs=FLAGS_IN)
def test_a_peek_at_the_whole_packet(link, objects):
    """MSG_TRUNC with MSG_PEEK on a packet bigger than the buffer: packet and descriptor are there afterwards."""
    file = objects.file()
    link.nonblocking()
    link.peer.send(b"0123456789", fds=[file.fd])
    peeked = link.receive(data=4, room=1, flags=["MSG_PEEK", "MSG_TRUNC"])
    assert peeked.failed or peeked.data[:4] == b"0123"
    got = link.receive(data=10, room=1)
    assert (got.data, got.things) == (b"0123456789", [file])


@case("contracts.buffers", level=MUST, checks="LC12 V01", needs=("buffers-in",))
def test_buffers_are_filled_in_order(link, objects):
    """Data is scattered over four buffers, an empty one among them, and the descriptor comes beside it."""
    file = objects.file()
    link.peer.send(b"abcdefgh", fds=[file.fd])
    got = link.receive(data=[3, 0, 2, 10], room=1)
    assert got.data == b"abcdefgh"
    assert got.buffers[:1] == [b"abc"]
    assert got.things == [file]


# --- LC14: errors ---------------------------------------------------------------------------------------------------


@case("contracts.errors.would-block", level=MUST, checks="LC14 R05 S15")
def test_would_block_is_told_by_its_number(link, objects):
    """A receive with nothing there and a send into a full buffer: the errors carry EAGAIN, and words."""
    (number,) = link.open(objects.file())
    link.nonblocking()
    got = link.receive(data=1, room=1)
    assert got.failed
    assert got.errno == "EAGAIN"
    sent = fill(link, number)
    assert sent.errno == "EAGAIN"
    assert got.error.message.strip()
    assert sent.error.message.strip()


@case("contracts.errors.bad-number", level=MUST, checks="LC14 S06")
def test_a_bad_number_is_told(link):
    """A number that is not open: the error carries EBADF, or is of a type of its own, and has words."""
    sent = link.send(b"x", [max(link.table.numbers()) + 50])
    assert sent.failed
    assert sent.errno == "EBADF" or (sent.errno is None and sent.error.type not in NAMELESS)
    assert sent.error.message.strip()


@case("contracts.errors.peer-closed", level=MUST, checks="LC14 S11a S11b")
def test_a_closed_peer_is_told(link, objects):
    """The peer has closed: the error of a send carries its number, and has words."""
    (number,) = link.open(objects.file())
    flags = quiet(link)
    link.peer.close()
    sent = link.send(b"x", [number], flags=flags)
    assert sent.failed
    assert sent.errno in {"EPIPE", "ECONNRESET", "ECONNREFUSED", "ENOTCONN"}
    assert sent.error.message.strip()


@case("contracts.errors.too-many", level=MUST, checks="LC14 A13 LC11")
def test_too_many_is_told(link, objects):
    """254 descriptors that are refused: the error carries its number or is of a type of its own, and has words."""
    (number,) = link.open(objects.file())
    sent = link.send(b"x" * 8, [number] * 254)
    if not sent.failed:
        assert sum(len(message.fds) for message in drain(link)) == 254
        return
    assert sent.errno or sent.error.type not in NAMELESS
    assert sent.error.message.strip()


# --- LC10, LC11: sends that fall short ------------------------------------------------------------------------------


@case("contracts.short-sends.packets", level=MUST, checks="LC10 D07 LC15", types=PACKETS)
def test_packets_go_whole_or_not_at_all(link, objects):
    """Packets of growing size with a descriptor each, without blocking: each arrives whole or was refused."""
    things = objects.files(8)
    numbers = link.open(*things)
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    link.nonblocking()
    expected = []
    for index, number in enumerate(numbers):
        data = bytes([index]) * 512 * (index + 1)
        sent = link.send(data, [number])
        if not sent.failed:
            assert sent.count in {None, len(data)}
            expected.append((data, [things[index].identity]))
    assert 0 < len(expected) < len(numbers)
    assert [(one.data, one.identities) for one in drain(link)] == expected
