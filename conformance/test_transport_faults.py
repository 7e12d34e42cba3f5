"""Transports that send on a kernel which interrupts, refuses, and takes less than it was given (area ``transport-faults``).

What is queued is written in groups, each with descriptors and data. Before a send is made to fail, data that the peer has not
read yet lies in the socket: reading it later is an event that also wakes a transport which waits for a change, not for a state.
"""

import os
import socket
import time
from pathlib import Path

import pytest
from fdspec.conformance import peer
from fdspec.conformance.checks import held, released
from fdspec.conformance.interpose.faults import failing, taking
from fdspec.conformance.interpose.held import GO_ON
from fdspec.conformance.interpose.kernel import SEND
from fdspec.conformance.interpose.memory import BadAddress, TooLarge
from fdspec.conformance.suite import MUST, SHOULD, STREAM, TRANSPORT, case

AHEAD = b"ahead"
TICK = 0.02
"""Seconds that the event loop gets, again and again, for what a transport puts off."""
FEW = 25
"""Calls in a moment in which none is needed: a transport that looks now and then makes fewer, one that is busy many more."""

MOMENTS = 6
"""How many moments a busy transport has to show itself in, on a machine that may be busy as well."""
ALWAYS = 10**6


# --- what goes out --------------------------------------------------------------------------------------------------


def ahead(link):
    """Write something that stays in the socket until the peer reads it."""
    link.send(AHEAD)
    link.settle()
    assert link.lost is None


def is_busy(link, kernel, calls):
    """Whether the transport goes on making ``calls`` although nothing happens."""
    before = len(kernel.calls(calls))
    for _ in range(MOMENTS):
        link.events(event="lost", wait=TICK)
        if len(kernel.calls(calls)) >= before + FEW:
            return True
    return False


def numbered(objects, count, size):
    """Return ``count`` groups of one file each and ``size`` bytes, all different."""
    return [([file], bytes([0x30 + index]) * size) for index, file in enumerate(objects.files(count))]


def queue(link, *groups, give=False, then=()):
    """Queue groups in one turn, and do ``then`` in the same."""
    requests = []
    for files, data in groups:
        fds = link.open(*files)
        if give:
            for fd in fds:
                del link.opened[fd]  # no longer the caller's
        requests += [link.queues(fd, give=give) for fd in fds]
        if data:
            requests.append(link.writes(data))
    link.turn(*requests, *then)


class Arrived:
    """What has come to the peer: the data, and the descriptors with their places in it. Without what was `ahead`."""

    def __init__(self, link):
        self.link = link
        self.skip = len(AHEAD)
        self.raw = b""
        self.found = []
        self.ended = False

    @property
    def data(self):
        """What has come of the groups."""
        return self.raw[self.skip :]

    def read(self):
        """Take what is there now, byte by byte, so that a descriptor's place is known."""
        while not self.ended and self.link.peer.pending():
            try:
                part = self.link.peer.receive(1)
            except ConnectionResetError:
                self.ended = True
                return
            self.found += [(len(self.raw) - self.skip, identity) for identity in part.identities]
            self.raw += part.data
            self.ended = not part.data

    def until(self, size):
        """Let the transport write and read in turn, until ``size`` bytes have come or the connection is lost."""
        end = time.monotonic() + peer.PATIENCE
        while len(self.data) < size and not self.ended and time.monotonic() < end:
            before = len(self.raw)
            self.link.settle()
            self.read()
            if self.link.lost is not None:
                break
            if len(self.raw) == before:
                self.link.events(event="lost", wait=TICK)
        return self

    def to_the_end(self):
        """Close the transport, unless it is lost already, and take all that still comes."""
        if self.link.lost is None:
            self.link.finish()
            self.link.until_lost()
        self.read()
        return self


def receive_all(link, *groups):
    """Return what arrives of ``groups`` until the end of the connection, having seen that it is in order and not repeated."""
    wanted = b"".join(data for _, data in groups)
    got = Arrived(link).until(len(wanted))
    told = link.lost
    assert told is not None or len(got.data) == len(wanted), f"after {got.data!r} nothing went out any more"
    got.to_the_end()
    assert got.raw[: len(AHEAD)] == AHEAD[: len(got.raw)]
    assert got.data == wanted[: len(got.data)], "the data is not what was written"
    files = [file for files, _ in groups for file in files]
    identities = [identity for _, identity in got.found]
    assert identities == [file.identity for file in files][: len(identities)], "not the descriptors that were queued"
    assert all(index <= place for index, (place, _) in enumerate(got.found)), (
        "a descriptor came without a byte of its own"
    )
    ends, end = [], 0
    for some, data in groups:
        end += len(data)
        ends += [end] * len(some)
    assert all(place < end for (place, _), end in zip(got.found, ends, strict=False)), (
        "a descriptor came after its data"
    )
    for end in ends[len(identities) :]:
        assert len(got.data) < end, "data went on without the descriptor that was queued before it"
    if told is not None:
        assert told.error is not None, "the connection ended as if everything had been sent"
    return got


def receive_everything(link, *groups):
    """The same, where nothing may be missing."""
    got = receive_all(link, *groups)
    assert len(got.data) == sum(len(data) for _, data in groups), f"only {got.data!r} arrived"
    assert len(got.found) == sum(len(files) for files, _ in groups)


def carries(call):
    """Whether a held send has control data."""
    try:
        return call.wanted.control_length > 0
    except (BadAddress, TooLarge):
        return False


def is_nonblocking(call):
    """Whether a held call must not wait: only such a one is ever told EAGAIN."""
    try:
        if call.wanted.flags & socket.MSG_DONTWAIT:
            return True
    except (BadAddress, TooLarge):
        return False
    told = Path(f"/proc/{call.tid}/fdinfo/{call.fd}").read_text(encoding="ascii")
    return bool(int(told.split("flags:")[1].split()[0], 8) & os.O_NONBLOCK)


def fails(kernel, error, calls, nth=1):
    """Let the ``nth`` of ``calls`` fail, as this kernel might."""
    if error == "EAGAIN":
        kernel.plan(failing(error), calls, nth=nth, what=error, only=is_nonblocking)
    else:
        kernel.fails(error, calls, nth=nth)


def in_turn(*actions):
    """Return an action that is each of ``actions`` once, in order; one that has nothing to do at a call stays the next."""
    left, chosen = list(actions), {}

    def act(call):
        ident = call.notification.id
        if call.attempt:
            return chosen[ident](call)
        if not left:
            return GO_ON
        chosen[ident] = left[0]
        answer = left[0](call)
        if answer != GO_ON:
            del left[0]
        return answer

    return act


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("error", ["EINTR", "EAGAIN"])
@case("transport-faults.put-off", level=MUST, checks="TC04 LC10 LC13", profiles=[TRANSPORT], types=[STREAM])
def test_a_send_that_is_put_off(link, objects, kernel, error, nth):
    """A send of queued descriptors and data is interrupted or finds no room: all of it goes out later, once and in order."""
    groups = numbered(objects, 3, 4)
    ahead(link)
    fails(kernel, error, SEND, nth=nth)
    queue(link, *groups)
    receive_everything(link, *groups)


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM"])
@case("transport-faults.short-of-memory", level=MUST, checks="TC04 TC08 KC01", profiles=[TRANSPORT], types=[STREAM])
def test_a_send_for_which_there_is_no_memory(link, objects, kernel, error, nth):
    """A send of queued descriptors and data fails for want of memory: it goes out later, or the protocol is told of an error."""
    groups = numbered(objects, 3, 4)
    ahead(link)
    fails(kernel, error, SEND, nth=nth)
    queue(link, *groups)
    receive_all(link, *groups)


@pytest.mark.parametrize("error", ["EINTR", "EAGAIN", "ENOBUFS", "ENOMEM"])
@case("transport-faults.plain-send", level=MUST, checks="TC04 TC08 LC13", profiles=[TRANSPORT], types=[STREAM])
def test_a_send_of_plain_data_that_fails(link, kernel, error):
    """A send of data without descriptors fails: it goes out later, once, or for want of memory the protocol is told."""
    ahead(link)
    fails(kernel, error, SEND)
    group = ([], b"0123456789")
    queue(link, group)
    (receive_everything if error in ("EINTR", "EAGAIN") else receive_all)(link, group)


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("error", ["ETOOMANYREFS", "EPERM"])
@case("transport-faults.refused", level=MUST, checks="TC04 TC08 KC01", profiles=[TRANSPORT], types=[STREAM])
def test_a_descriptor_that_the_kernel_refuses(link, objects, kernel, error, nth):
    """The send that carries a descriptor is refused: it goes out later, or an error is told and no later data goes out."""
    groups = numbered(objects, 3, 4)
    ahead(link)
    kernel.plan(failing(error), SEND, nth=nth, what=error, only=carries)
    queue(link, *groups)
    receive_all(link, *groups)


@case("transport-faults.refused-named", level=SHOULD, checks="LC14 KC01", profiles=[TRANSPORT], types=[STREAM])
def test_the_loss_says_what_was_refused(link, objects, kernel):
    """The kernel refuses a descriptor for good (EPERM): the error of the loss names that, by number or in words."""
    kernel.plan(failing("EPERM"), SEND, times=ALWAYS, what="EPERM", only=carries)
    queue(link, *numbered(objects, 1, 4))
    heard = link.until_lost()
    words = " ".join(f"{event.error} {event.message}" for event in heard.events)
    assert any(sign in words for sign in ("EPERM", "ermission", "ot permitted", "Errno 1]")), words


@case("transport-faults.refused-for-good", level=MUST, checks="TC08 KC01", profiles=[TRANSPORT], types=[STREAM])
def test_a_descriptor_that_is_refused_for_good(link, objects, kernel):
    """The kernel refuses a descriptor again and again (EPERM): the connection is lost in an error, nothing later goes out."""
    fifo = objects.fifo()
    kernel.plan(failing("EPERM"), SEND, times=ALWAYS, what="EPERM", only=carries)
    ahead(link)
    queue(link, ([fifo], b"0000"), *numbered(objects, 1, 4))
    heard = link.until_lost()
    assert heard.error is not None, "the connection ended as if everything had been sent"
    got = Arrived(link).to_the_end()
    assert (got.data, got.found) == (b"000"[: len(got.data)], [])
    assert held(fifo), "the caller's own descriptor was closed"


@case(
    "transport-faults.refused-given",
    level=MUST,
    checks="TC08 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    needs=["owned"],
)
def test_a_given_descriptor_that_is_refused(link, objects, kernel):
    """The kernel refuses a descriptor that was given to the transport: once the connection is lost it is closed, once."""
    fifos = [objects.fifo(), objects.fifo()]
    kernel.plan(failing("EPERM"), SEND, times=ALWAYS, what="EPERM", only=carries)
    queue(link, *[([fifo], b"data") for fifo in fifos], give=True)
    assert link.until_lost().error is not None
    assert all(released(fifo) for fifo in fifos)
    assert kernel.closed_in_vain == []


@case(
    "transport-faults.put-off-given",
    level=MUST,
    checks="TC04 TC08 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    needs=["owned"],
)
def test_a_given_descriptor_that_is_put_off(link, objects, kernel):
    """A send of a descriptor that was given to the transport fails with ENOBUFS: it goes out or not, and is closed, once."""
    fifo = objects.fifo()
    groups = [([fifo], b"data"), *numbered(objects, 1, 4)]
    ahead(link)
    kernel.fails("ENOBUFS", SEND)
    queue(link, *groups, give=True)
    receive_all(link, *groups)
    link.peer.close_received()
    assert released(fifo)
    assert kernel.closed_in_vain == []


# --- short writes ---------------------------------------------------------------------------------------------------


@case("transport-faults.short-write", level=MUST, checks="TC04 LC10", profiles=[TRANSPORT], types=[STREAM])
def test_a_short_write_after_every_count(link, objects, kernel):
    """Of eight bytes, in two writes, one, two ... seven are taken: the descriptor goes once, and the rest follows, once."""
    left = []
    cut = kernel.plan(
        lambda call: taking(left.pop())(call) if left and call.wanted.capacity > left[0] else GO_ON,
        SEND,
        times=ALWAYS,
        what="a short write",
    )
    got, groups = Arrived(link), []
    got.skip = 0
    for count in range(1, 8):
        [(files, data)] = numbered(objects, 1, 8)
        data = bytes([0x30 + count]) * 4 + b"rest"
        left[:] = [count]
        queue(link, (files, data[:4]), ([], data[4:]))
        groups.append((files, data))
        got.until(8 * count)
    got.to_the_end()
    assert cut.acted, "no write was short"
    assert got.data == b"".join(data for _, data in groups)
    assert [identity for _, identity in got.found] == [file.identity for files, _ in groups for file in files]
    assert [place // 8 for place, _ in got.found] == list(range(7)), "a descriptor came with the data of another"


@case("transport-faults.one-byte-at-a-time", level=MUST, checks="TC01 TC04 LC10", profiles=[TRANSPORT], types=[STREAM])
def test_the_kernel_takes_one_byte_at_a_time(link, objects, kernel):
    """No send takes more than a byte: descriptors and data of two turns arrive once and in order."""
    groups = numbered(objects, 5, 6)
    ahead(link)
    kernel.takes(1, times=ALWAYS)
    queue(link, *groups[:3])
    link.settle()
    queue(link, *groups[3:])
    receive_everything(link, *groups)


@pytest.mark.parametrize("error", ["EINTR", "EAGAIN", "ENOBUFS"])
@case("transport-faults.short-then-error", level=MUST, checks="TC04 LC10 LC13", profiles=[TRANSPORT], types=[STREAM])
def test_a_short_write_and_then_an_error(link, objects, kernel, error):
    """Three bytes are taken and the next send fails: what is left goes out from there on, or for ENOBUFS an error is told."""
    groups = [(objects.files(1), b"0123456789"), (objects.files(1), b"abcdef")]
    ahead(link)
    action = in_turn(taking(3), failing(error))
    kernel.plan(action, SEND, times=2, what=f"three bytes taken, then {error}", only=is_nonblocking)
    queue(link, *groups)
    (receive_all if error == "ENOBUFS" else receive_everything)(link, *groups)


@case(
    "transport-faults.short-given",
    level=MUST,
    checks="TC04 TC08",
    profiles=[TRANSPORT],
    types=[STREAM],
    needs=["owned"],
)
def test_a_short_write_of_what_was_given(link, objects, kernel):
    """A write with a descriptor that was given to the transport is short: it arrives, and is closed once."""
    fifo = objects.fifo()
    group = ([fifo], b"0123456789")
    ahead(link)
    kernel.takes(1)
    queue(link, group, give=True)
    receive_everything(link, group)
    link.peer.close_received()
    assert released(fifo)
    assert kernel.closed_in_vain == []


@case("transport-faults.slow-send", level=MUST, checks="TC04", profiles=[TRANSPORT], types=[STREAM])
def test_sends_that_take_their_time(link, objects, kernel):
    """The kernel takes its time over two sends: everything arrives as it would have."""
    groups = numbered(objects, 2, 4)
    ahead(link)
    kernel.delays(TICK, SEND, times=2)
    queue(link, *groups)
    receive_everything(link, *groups)
