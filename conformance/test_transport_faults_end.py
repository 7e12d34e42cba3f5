"""What a transport does at its end, and when there is nothing to do, on a kernel that fails it (area ``transport-faults``)."""

import pytest
from fdspec.conformance.checks import SMALL_BUFFER, released
from fdspec.conformance.interpose.kernel import SEND
from fdspec.conformance.suite import MUST, SHOULD, STREAM, TRANSPORT, case
from fdspec.conformance.test_transport_faults import (
    ALWAYS,
    TICK,
    Arrived,
    ahead,
    fails,
    is_busy,
    numbered,
    queue,
    receive_all,
    receive_everything,
)
from fdspec.impls.errors import Unsupported
from fdspec.impls.protocol.messages import TransportClose


@pytest.mark.parametrize("error", ["EINTR", "EAGAIN", "ENOBUFS"])
@case("transport-faults.while-closing", level=MUST, checks="TC04 TC08 LC13", profiles=[TRANSPORT], types=[STREAM])
def test_a_send_that_fails_while_closing(link, objects, kernel, error):
    """Queued, and closed in the same turn; a send fails: all of it goes out before the end, or for ENOBUFS an error is told."""
    groups = numbered(objects, 2, 4)
    ahead(link)
    fails(kernel, error, SEND, nth=2)
    queue(link, *groups, then=[TransportClose(transport=link.transport, abort=False)])
    got = Arrived(link).until(8)
    heard = link.until_lost()
    got.read()
    if heard.error is None or error != "ENOBUFS":
        assert got.data == b"00001111"
        assert [identity for _, identity in got.found] == [files[0].identity for files, _ in groups]
    else:
        assert b"00001111".startswith(got.data)
    assert len(got.found) <= 2


@case(
    "transport-faults.aborted-while-put-off",
    level=MUST,
    checks="TC08 TC04",
    profiles=[TRANSPORT],
    types=[STREAM],
    needs=["abort"],
)
def test_an_abort_while_a_send_is_put_off(link, objects, kernel):
    """A send failed with ENOBUFS, and the transport is aborted: nothing goes out any more, and nothing is leaked."""
    fifo = objects.fifo()
    ahead(link)
    kernel.fails("ENOBUFS", SEND, times=ALWAYS)
    fds = link.open(fifo, fifo)
    link.send(b"data", fds)
    link.events(event="lost", wait=TICK)
    if link.lost is None:
        link.finish(abort=True)
        link.until_lost()
    before = len(kernel.calls(SEND))
    link.settle()
    assert len(kernel.calls(SEND)) == before, "it went on sending after the end"
    got = Arrived(link).to_the_end()
    assert (got.data, got.found) == (b"", [])
    link.close(*fds)
    assert released(fifo), "a descriptor that was not sent is still open"


@case("transport-faults.idle", level=SHOULD, checks="TC04", profiles=[TRANSPORT], types=[STREAM])
def test_nothing_is_sent_when_everything_is_sent(link, objects, kernel):
    """When everything has gone out no call that sends is made any more, however often the event loop turns."""
    groups = numbered(objects, 2, 4)
    ahead(link)
    kernel.takes(1)
    queue(link, *groups)
    got = Arrived(link).until(8)
    assert got.data == b"00001111"
    link.settle()
    before = len(kernel.calls(SEND))
    link.settle()
    link.events(event="lost", wait=TICK)
    assert len(kernel.calls(SEND)) == before


@case("transport-faults.idle-when-full", level=SHOULD, checks="TC04", profiles=[TRANSPORT], types=[STREAM])
def test_nothing_is_tried_while_the_socket_is_full(link, objects, kernel):
    """The socket is full: no send is made until there is room, or only now and then, and then the rest arrives."""
    big = bytes(range(251)) * 200
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    files = objects.files(2)
    link.send(big)
    link.settle()
    link.send(b"tail", link.open(*files))
    link.settle()
    if not kernel.calls(SEND):
        raise Unsupported("interposer", "the implementation made no call that sends")
    assert not is_busy(link, kernel, SEND), "it sends again and again into a full socket"
    data, found = b"", []
    while len(data) < len(big) + 4 and link.peer.pending(1):
        part = link.peer.receive()
        assert part.data, "the end came before the rest"
        data += part.data
        found += part.identities
        link.settle()
    assert data == big + b"tail"
    assert found == [file.identity for file in files]


@case("transport-faults.closed-once", level=MUST, checks="LC02 TC08", profiles=[TRANSPORT], types=[STREAM])
def test_nothing_is_closed_twice(link, objects, kernel):
    """A whole life, with descriptors both ways and a send that fails: no number is closed that is not open, none twice."""
    groups = numbered(objects, 2, 4)
    [came] = objects.files(1)
    ahead(link)
    fails(kernel, "EAGAIN", SEND, nth=2)
    link.peer.send(b"in", [came.fd])
    queue(link, *groups)
    heard = link.events(bytes_=2, fds=1)
    assert heard.things == [came]
    receive_everything(link, *groups)
    assert kernel.closed_in_vain == []


@pytest.mark.parametrize("error", ["EPIPE", "ECONNRESET", "EIO"])
@case("transport-faults.broken", level=MUST, checks="TC08 LC02", profiles=[TRANSPORT], types=[STREAM])
def test_a_connection_that_breaks_at_a_send(link, objects, kernel, error):
    """The second send finds the connection broken: an error is told, nothing later goes out, and nothing is closed twice."""
    groups = numbered(objects, 3, 4)
    ahead(link)
    kernel.fails(error, SEND, nth=2, times=ALWAYS)
    queue(link, *groups)
    receive_all(link, *groups)
    assert kernel.closed_in_vain == []


@case("transport-faults.close-fails", level=MUST, checks="KC03 TC04", profiles=[TRANSPORT], types=[STREAM])
def test_a_close_of_what_was_sent_fails(link, objects, kernel):
    """The transport closes a copy of its own, and that reports an error: all else goes out, and nothing is closed again."""
    groups = numbered(objects, 3, 4)
    ahead(link)
    kernel.fails_close("EIO")
    queue(link, *groups)
    receive_everything(link, *groups)
    assert kernel.closed_in_vain == []
