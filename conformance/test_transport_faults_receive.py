"""Transports that receive on a kernel which interrupts, refuses, and reports errors of close(2) (area ``hand-over-faults``)."""

import os

import pytest
from fdspec.conformance.checks import released
from fdspec.conformance.interpose.kernel import CLOEXEC, RECEIVE
from fdspec.conformance.suite import MUST, SHOULD, STREAM, TRANSPORT, case
from fdspec.conformance.test_transport_faults import TICK, fails, is_busy
from fdspec.impls.errors import Unsupported
from fdspec.impls.protocol.messages import Receiver

PLAIN = Receiver(descriptors=False)


class Gathered:
    """What several looks at a transport have shown: data, things and numbers in order, and the errors that were told."""

    def __init__(self):
        self.data, self.things, self.fds, self.order = b"", [], [], []
        self.lost = self.error = None

    def add(self, heard):
        """Add one look."""
        self.data += heard.data
        self.things += heard.things
        self.fds += heard.fds
        self.order += heard.order
        self.lost = self.lost or heard.lost
        self.error = self.error or heard.error


def gather(link, size, count, got=None):
    """Let the transport run until ``size`` bytes and ``count`` descriptors have been handed over, or the connection is lost."""
    got = got or Gathered()
    got.add(link.settle())
    if got.lost is None and (len(got.data) < size or len(got.things) < count):
        left = max(0, size - len(got.data)), max(0, count - len(got.things))
        got.add(link.events(bytes_=left[0], fds=left[1]))
    return got


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("error", ["EINTR", "EAGAIN"])
@case("hand-over-faults.put-off", level=MUST, checks="LC13 KC02 TC05", profiles=[TRANSPORT], types=[STREAM])
def test_a_receive_that_is_put_off(link, objects, kernel, error, nth):
    """A receive is interrupted or finds nothing: both messages are handed over all the same, once and in order."""
    files = objects.files(2)
    fails(kernel, error, RECEIVE, nth)
    link.peer.send(b"one", [files[0].fd])
    got = Gathered()
    got.add(link.settle())
    link.peer.send(b"two", [files[1].fd])
    gather(link, 6, 2, got)
    assert (got.data, got.things, got.lost) == (b"onetwo", files, None)


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM", "ECONNRESET"])
@case("hand-over-faults.fails", level=MUST, checks="KC02 LC01 TC05", profiles=[TRANSPORT], types=[STREAM])
def test_a_receive_that_fails(link, objects, kernel, error, nth):
    """A receive fails: what is there is handed over later, or the connection is lost in an error; nothing comes twice."""
    files = objects.files(2)
    kernel.fails(error, RECEIVE, nth=nth)
    link.peer.send(b"one", [files[0].fd])
    got = Gathered()
    got.add(link.settle())
    if got.lost is None:
        link.peer.send(b"two", [files[1].fd])
        gather(link, 6, 2, got)
    assert b"onetwo".startswith(got.data)
    assert len(got.data) % 3 == 0
    assert got.things == files[: len(got.data) // 3]
    if len(got.data) < 6:
        assert got.error is not None, "something was lost without a word"
    assert kernel.closed_in_vain == []


@case("hand-over-faults.slow", level=MUST, checks="TC05", profiles=[TRANSPORT], types=[STREAM])
def test_a_receive_that_takes_its_time(link, objects, kernel):
    """The kernel takes its time over a receive: everything is handed over as it would have been."""
    files = objects.files(2)
    kernel.delays(TICK, RECEIVE)
    for file in files:
        link.peer.send(b"data", [file.fd])
    got = gather(link, 8, 2)
    assert (got.data, got.things, got.lost) == (b"datadata", files, None)


@case("hand-over-faults.fails-before-the-end", level=MUST, checks="TC09 LC13", profiles=[TRANSPORT], types=[STREAM])
def test_an_interruption_before_the_end(link, objects, kernel):
    """The peer has sent a descriptor and gone, and the first receive is interrupted: descriptor, data, and then the end."""
    file = objects.file()
    kernel.fails("EINTR", RECEIVE)
    link.peer.send(b"last", [file.fd])
    link.peer.shutdown()
    heard = link.until_lost()
    assert (heard.data, heard.things) == (b"last", [file])
    assert kernel.closed_in_vain == []


def send_writers(link, objects, count):
    """Send the only writers of so many FIFOs in one message, and return the FIFOs."""
    fifos = [objects.fifo() for _ in range(count)]
    writers = [objects.fresh(fifo, os.O_WRONLY) for fifo in fifos]
    link.peer.send(b"data", writers)
    for writer in writers:
        objects.release(writer)
    return fifos


@pytest.mark.parametrize("nth", [1, 2, 3])
@case(
    "hand-over-faults.close-fails",
    level=MUST,
    checks="KC03 TC06 LC01",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=PLAIN,
    needs=["plain-receiver"],
)
def test_a_close_of_what_nobody_takes_fails(link, objects, kernel, nth):
    """A protocol that cannot take descriptors gets three; closing one reports an error: all are closed, none again."""
    kernel.fails_close("EIO", nth=nth)
    fifos = send_writers(link, objects, 3)
    heard = link.events(bytes_=4)
    assert heard.data == b"data" or heard.error is not None
    assert kernel.closed_in_vain == []
    assert [released(fifo) for fifo in fifos] == [True, True, True], "one that was not handed over stays open"


@case(
    "hand-over-faults.close-fails.data",
    level=MUST,
    checks="TC06",
    profiles=[TRANSPORT],
    types=[STREAM],
    receiver=PLAIN,
    needs=["plain-receiver"],
)
def test_the_data_beside_a_close_that_fails(link, objects, kernel):
    """A protocol that cannot take descriptors gets one; closing it reports an error: its data is delivered all the same."""
    kernel.fails_close("EIO")
    send_writers(link, objects, 1)
    assert link.events(bytes_=4).data == b"data"


@case("hand-over-faults.close-on-exec-fails", level=MUST, checks="KC04 LC01", profiles=[TRANSPORT], types=[STREAM])
def test_setting_close_on_exec_fails(link, objects, kernel):
    """A transport that sets close-on-exec by fcntl fails in that: it tells so, or nothing that would be inherited stays."""
    file = objects.file()
    failure = kernel.fails_cloexec()
    link.peer.send(b"data", [file.fd])
    got = gather(link, 4, 1)
    if failure.acted and got.error is None and "log" not in got.order and link.policy("cloexec") != "never":
        assert got.things == [file], "the descriptor was lost without a word"
        assert link.table.cloexec(got.fds[0]), "it is handed over as if close-on-exec were set"


@case("hand-over-faults.close-on-exec-at-once", level=MUST, checks="LC06", profiles=[TRANSPORT], types=[STREAM])
def test_close_on_exec_is_set_by_the_receive(link, objects, kernel):
    """Descriptors are close-on-exec from their first instant: each receive with room for some asks for MSG_CMSG_CLOEXEC."""
    file = objects.file()
    link.peer.send(b"data", [file.fd])
    assert gather(link, 4, 1).things == [file]
    calls = [one for one in kernel.calls(RECEIVE) if one.control]
    if not calls:
        raise Unsupported("interposer", "the implementation made no call that receives control data")
    if link.policy("cloexec") != "never":
        assert all(one.flags & CLOEXEC for one in calls), "another thread's child could inherit them"


@case("hand-over-faults.idle", level=SHOULD, checks="TC05", profiles=[TRANSPORT], types=[STREAM])
def test_nothing_is_received_when_nothing_is_there(link, objects, kernel):
    """When everything has been handed over, receives are made never or only now and then, however long the loop runs."""
    file = objects.file()
    link.peer.send(b"data", [file.fd])
    assert gather(link, 4, 1).things == [file]
    if not kernel.calls(RECEIVE):
        raise Unsupported("interposer", "the implementation made no call that receives")
    assert not is_busy(link, kernel, RECEIVE)
