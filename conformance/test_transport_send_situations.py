"""Transports that send, in the situations in which real ones failed: full sockets, borrowed numbers, limits, ends."""

import pytest
from fdspec.conformance.checks import SMALL_BUFFER, held, released, shared
from fdspec.conformance.situations import few_in_flight, taken_again
from fdspec.conformance.suite import MUST, SHOULD, STREAM, TRANSPORT, case
from fdspec.impls.protocol.messages import TransportClose

PATTERN = bytes(range(251))
BIG = (PATTERN * 408)[: 100 * 1024]
"""100 KiB, in which every place can be told."""
QUIET = 0.05
"""Seconds in which a peer that has nothing to receive is believed."""


def flow(link, size):
    """Let the transport write and the peer read, in turn, until ``size`` bytes or the end have come."""
    data, found = b"", []
    while len(data) < size:
        link.settle()
        if not link.peer.pending(QUIET):
            break
        part = link.peer.receive()
        if not part.data:
            break
        data += part.data
        found += part.identities
    return data, found


def identities(things):
    return [thing.identity for thing in things]


def behind_a_full_socket(link, fds, data=b"tail"):
    """Fill the socket, and queue ``fds`` and ``data`` behind what it does not take."""
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    link.send(BIG)
    link.settle()
    link.send(data, fds)
    link.settle()


# --- what goes out --------------------------------------------------------------------------------------------------


@case("transport.number-zero", level=MUST, checks="LC05 TC01", profiles=[TRANSPORT], types=[STREAM])
def test_number_zero_is_queued_like_any_other(link, objects):
    """Number 0 is queued between two others: it goes out in its place, and stays the caller's."""
    first, last = objects.files(2)
    a, b = link.open(first, last)
    zero = link.table.identity(0)
    link.send(b"data", [a, 0, b])
    assert flow(link, 4) == (b"data", [first.identity, zero, last.identity])
    assert link.table.identity(0) == zero


@case("transport.description", level=MUST, checks="LC05 I01", profiles=[TRANSPORT], types=[STREAM])
def test_what_goes_out_is_the_callers_description(link, objects):
    """What the peer gets and the caller's own descriptor are one open file description (kcmp), not the same file twice."""
    fds = link.open(*objects.files(2))
    link.send(b"xx", fds)
    link.settle()
    got = link.peer.receive_exactly(2)
    assert len(got.fds) == 2
    assert [shared(link, fd, ours) for fd, ours in zip(fds, got.fds, strict=True)] == [True, True]


@case("transport.same-number-twice", level=MUST, checks="TC01 LC02 LC05", profiles=[TRANSPORT], types=[STREAM])
def test_one_number_is_queued_twice(link, objects):
    """One number is queued three times with another between: it arrives three times, in order, and stays the caller's."""
    one, other = objects.files(2)
    a, b = link.open(one, other)
    link.send(b"data", [a, a, b, a])
    assert flow(link, 4) == (b"data", identities([one, one, other, one]))
    assert link.table.identity(a) == one.identity


@case("transport.not-closed-again", level=MUST, checks="LC02 TC08", profiles=[TRANSPORT], types=[STREAM])
def test_a_number_closed_by_the_caller_is_not_closed_again(link, objects):
    """The caller closes what was sent and opens another file at that number: the transport leaves it alone, to its end."""
    first, third = objects.files(2)
    [fd] = link.open(first)
    link.send(b"one", [fd])
    assert flow(link, 3) == (b"one", [first.identity])
    link.close(fd)
    second = taken_again(link, objects, fd)
    link.send(b"two", link.open(third))
    assert flow(link, 3) == (b"two", [third.identity])
    link.finish()
    assert link.until_lost().lost is not None
    assert link.table.identity(fd) == second.identity


# --- what waits -----------------------------------------------------------------------------------------------------


@case(
    "transport.closed-behind-a-full-socket", level=SHOULD, checks="TC08 TC04 LC05", profiles=[TRANSPORT], types=[STREAM]
)
def test_the_original_is_closed_behind_a_full_socket(link, objects):
    """The caller closes a descriptor that waits behind a full socket: it arrives, or the protocol is told of an error."""
    file = objects.file()
    [fd] = link.open(file)
    behind_a_full_socket(link, [fd])
    link.close(fd)
    data, found = flow(link, len(BIG) + 4)
    if len(data) == len(BIG) + 4:
        assert data == BIG + b"tail"
        assert found == [file.identity]
    else:
        assert BIG.startswith(data[: len(BIG)])
        assert found == []
        assert link.until_lost().error is not None


@case(
    "transport.reused-behind-a-full-socket", level=SHOULD, checks="TC08 TC04 LC05", profiles=[TRANSPORT], types=[STREAM]
)
def test_another_file_takes_the_number_behind_a_full_socket(link, objects):
    """The number of a descriptor that waits behind a full socket is taken by another file, which is never sent."""
    [fd] = link.open(objects.file())
    behind_a_full_socket(link, [fd])
    link.close(fd)
    other = taken_again(link, objects, fd)
    _, found = flow(link, len(BIG) + 4)
    assert other.identity not in found


@case("transport.in-flight-limit", level=MUST, checks="TC04 M02", profiles=[TRANSPORT], types=[STREAM])
def test_the_kernel_takes_no_more_in_flight(link, objects):
    """The user has too many descriptors in flight: the transport waits and sends all later, or tells of an error."""
    files = objects.files(40)
    link.send(BIG[:80], link.open(*files))  # queued before the limit, which also is that of a queue's duplicates
    few_in_flight(link)
    link.settle()
    link.restore_slots()
    heard = link.events(event="lost", wait=4 * QUIET)
    data, found = flow(link, 80)
    assert data == BIG[: len(data)]
    assert found == identities(files)[: len(found)]
    if len(found) < 40:
        lost = heard if heard.lost is not None else link.until_lost()
        assert lost.error is not None, "descriptors were dropped without a word"


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-1, -100, 2**31 - 1])
@case("transport.bad-number.impossible", level=MUST, checks="LC11 TC02", profiles=[TRANSPORT], types=[STREAM])
def test_a_number_that_can_be_no_descriptor(link, number):
    """-1, AT_FDCWD or INT_MAX is queued: the caller is told at once, or the protocol of an error; no descriptor arrives."""
    reply = link.ask(link.queues(number))
    if reply.error is None:
        link.send(b"data")
        assert link.until_lost().error is not None
    if link.peer.pending(QUIET):
        assert link.peer.receive().fds == []


# --- the end --------------------------------------------------------------------------------------------------------


@case("transport.half-sent", level=MUST, checks="TC08 LC01", profiles=[TRANSPORT], types=[STREAM])
def test_the_peer_goes_when_half_is_sent(link, objects):
    """Of 100 KiB with two descriptors in front and one behind a half is sent when the peer goes: an error, and no leak."""
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    fifo, last = objects.fifo(), objects.file()
    fds = link.open(fifo, fifo)
    link.send(BIG, fds)
    link.settle()
    link.send(b"tail", link.open(last))
    link.settle()
    assert link.peer.pending(1)
    assert len(link.peer.receive(1).fds) == 1
    link.peer.close_received()
    link.peer.socket.close()
    assert link.until_lost().error is not None, "the connection ended as if everything had been sent"
    assert held(fifo), "the caller's own were closed"
    link.close(*fds)
    assert released(fifo)


@case(
    "transport.given-is-closed.aborted",
    level=MUST,
    checks="TC08 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    needs=["owned", "abort"],
)
def test_what_was_given_away_is_closed_by_an_abort(link, objects):
    """A descriptor was given to the transport and waits behind a full socket: an abort closes it."""
    fifo = objects.fifo()
    fd = _given_behind_a_full_socket(link, fifo)
    link.finish(abort=True)
    assert link.until_lost().lost is not None
    assert link.table.identity(fd) != fifo.identity
    assert released(fifo)


@case(
    "transport.given-is-closed.peer-gone",
    level=MUST,
    checks="TC08 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    needs=["owned"],
)
def test_what_was_given_away_is_closed_when_the_peer_goes(link, objects):
    """A descriptor was given to the transport and waits behind a full socket: the peer goes, an error, and it is closed."""
    fifo = objects.fifo()
    fd = _given_behind_a_full_socket(link, fifo)
    link.peer.socket.close()
    assert link.until_lost().error is not None
    assert link.table.identity(fd) != fifo.identity
    assert released(fifo)


def _given_behind_a_full_socket(link, fifo):
    [fd] = link.open(fifo)
    del link.opened[fd]  # no longer the caller's
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    link.send(BIG)
    link.settle()
    link.turn(link.queues(fd, give=True), link.writes(b"tail"))
    link.settle()
    return fd


@case("transport.overrun.then-closed", level=MUST, checks="TC02 TC08", profiles=[TRANSPORT], types=[STREAM])
def test_descriptors_without_any_data(link, objects):
    """Two descriptors are queued, no data ever is, and the transport is closed: an error, nothing sent, nothing leaked."""
    fifo = objects.fifo()
    fds = link.open(fifo, fifo)
    link.turn(*(link.queues(fd) for fd in fds))
    heard = link.settle()
    if heard.lost is None:
        link.do(TransportClose(transport=link.transport, abort=False))
        heard = link.until_lost()
    assert heard.error is not None, "the connection ended as if nothing had been left over"
    if link.peer.pending(QUIET):
        assert link.peer.receive().fds == []
    link.close(*fds)
    assert released(fifo)


@case("transport.closed-once", level=MUST, checks="LC02 TC08", profiles=[TRANSPORT], types=[STREAM])
def test_a_closed_transport_is_not_closed_again(link, objects):
    """The connection has ended, and its socket's number is taken by another file: the transport leaves that alone."""
    link.send(b"bye", link.open(objects.file()))
    link.finish()
    heard = link.until_lost()
    assert heard.lost is not None
    taker = taken_again(link, objects, link.fd)
    link.peer.socket.close()
    link.settle()
    assert link.table.identity(link.fd) == taker.identity
