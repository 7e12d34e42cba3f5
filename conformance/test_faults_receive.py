"""Receives that the kernel interrupts, refuses or holds: nothing is lost, stale or handed over twice (area ``faults``).

The harness stands between the testee and its kernel. An implementation may make the call again by itself, or report the error
and be asked again; both end in the same.
"""

from fdspec.conformance.interpose.kernel import RECEIVE
from fdspec.conformance.phrases import drop, numbers
from fdspec.conformance.refusals import tells
from fdspec.conformance.suite import DESCRIPTORS, MUST, case


def at_last(link, size, room, *errors, **how):
    """Receive until no error is reported: once more than there are ``errors``, which are all that may be reported."""
    for _ in range(len(errors) + 1):
        got = link.receive(size, room=room, **how)
        if not got.failed:
            return got
        assert tells(got, errors), f"{errors} became {got}"
        assert (got.data, got.fds) == (b"", []), "a receive that failed has handed something over"
    raise AssertionError(f"a receive that nobody interrupts any more failed: {got}")


# --- EINTR ----------------------------------------------------------------------------------------------------------


@case("faults.receive.interrupted", level=MUST, checks="LC13")
def test_an_interrupted_receive(link, objects, kernel):
    """A receive gets EINTR although a message is there: made again, or reported and asked for again, it brings all of it."""
    files = objects.files(2)
    link.peer.send(b"data", numbers(files))
    kernel.fails("EINTR", RECEIVE)
    got = at_last(link, 16, 2, "EINTR")
    assert (got.data, got.things) == (b"data", files)
    assert not got.has("MSG_CTRUNC")


@case("faults.receive.interrupted.again-and-again", level=MUST, checks="LC13")
def test_a_receive_that_is_interrupted_again_and_again(link, objects, kernel):
    """The first three receives get EINTR: however often that is reported, the message comes whole at last."""
    files = objects.files(2)
    link.peer.send(b"data", numbers(files))
    kernel.fails("EINTR", RECEIVE, times=3)
    got = at_last(link, 16, 2, *["EINTR"] * 3)
    assert (got.data, got.things) == (b"data", files)


@case("faults.receive.interrupted.second-message", level=MUST, checks="LC13 LC15")
def test_the_second_of_three_receives_is_interrupted(link, objects, kernel):
    """Of three messages the receive of the second gets EINTR: each comes once, in order, with its own descriptors."""
    messages = [(b"one", objects.files(2)), (b"two", objects.files(1)), (b"six", objects.files(3))]
    for data, things in messages:
        link.peer.send(data, numbers(things))
    kernel.fails("EINTR", RECEIVE, nth=2)
    got = [at_last(link, 3, 3, "EINTR") for _ in messages]
    assert [(one.data, one.things) for one in got] == messages


@case("faults.receive.interrupted.buffers", level=MUST, checks="LC13 LC12", needs=("buffers-in",))
def test_an_interrupted_receive_into_several_buffers(link, objects, kernel):
    """A receive into three uneven buffers gets EINTR: made again, it fills the same buffers in order."""
    file = objects.file()
    link.peer.send(b"0123456789", [file.fd])
    kernel.fails("EINTR", RECEIVE)
    got = at_last(link, [1, 5, 8], 1, "EINTR")
    assert (got.buffers, got.things) == ([b"0", b"12345", b"6789"], [file])


@case("faults.receive.interrupted.peek", level=MUST, checks="LC12 LC13", needs=("flags-in",))
def test_an_interrupted_peek(link, objects, kernel):
    """A peek gets EINTR: made again, it is still a peek, and the message is received whole after it."""
    files = objects.files(2)
    link.nonblocking()  # so that a message that is gone is a failure and no hang
    link.peer.send(b"data", numbers(files))
    kernel.fails("EINTR", RECEIVE)
    peeked = at_last(link, 4, 2, "EINTR", flags=["MSG_PEEK"])
    assert peeked.data == b"data"
    got = link.receive(4, room=2)
    assert (got.data, got.things) == (b"data", files)


@case("faults.receive.interrupted.single", level=MUST, checks="LC13", profiles=(DESCRIPTORS,), needs=("single",))
def test_an_interrupted_receive_of_one(link, objects, kernel):
    """The call for one descriptor gets EINTR: made again, or reported and asked for again, it brings all of the message."""
    file = objects.file()
    link.peer.send(b"data", [file.fd])
    kernel.fails("EINTR", RECEIVE)
    got = at_last(link, 16, 1, "EINTR", single=True)
    assert (got.data, got.things) == (b"data", [file])


# --- other errors ---------------------------------------------------------------------------------------------------


@case("faults.receive.not-ready", level=MUST, checks="KC02 LC14")
def test_a_receive_that_is_woken_for_nothing(link, objects, kernel):
    """A blocking receive gets EAGAIN although a message is there: that is reported or tried again, and nothing is lost."""
    files = objects.files(2)
    link.peer.send(b"data", numbers(files))
    kernel.fails("EAGAIN", RECEIVE)
    got = at_last(link, 16, 2, "EAGAIN")
    assert (got.data, got.things) == (b"data", files)


@case("faults.receive.refused", level=MUST, checks="KC02 LC14")
def test_a_receive_that_is_refused(link, objects, kernel):
    """A receive is refused for want of buffers, memory or free numbers: the error tells which, and the message is still there."""
    for error in ("ENOBUFS", "ENOMEM", "EMFILE"):
        files = objects.files(2)
        link.peer.send(b"data", numbers(files))
        link.peer.send(b"next")
        kernel.fails(error, RECEIVE)
        got = at_last(link, 4, 2, error)
        assert (got.data, got.things) == (b"data", files), error
        assert link.receive(4, room=2).data == b"next"
        drop(link, got.fds)


@case("faults.receive.refused.after-descriptors", level=MUST, checks="KC02 LC15")
def test_a_refused_receive_after_a_good_one(link, objects, kernel):
    """A receive fails after one that brought descriptors: it hands over and closes none of these, and loses none to come."""
    for error in ("EINTR", "EAGAIN", "ENOBUFS", "ENOMEM", "EMFILE"):
        before, after = objects.files(3), objects.files(1)
        link.peer.send(b"before", numbers(before))
        link.peer.send(b"after", numbers(after))
        first = link.receive(6, room=3)
        assert (first.data, first.things) == (b"before", before)
        kernel.fails(error, RECEIVE)
        second = at_last(link, 6, 3, error)
        assert (second.data, second.things) == (b"after", after), error
        kept = [link.table.identity(fd) for fd in first.fds]
        assert kept == [thing.identity for thing in before], (
            f"{error}: the first message's descriptors were not left alone"
        )
        drop(link, [*first.fds, *second.fds])


@case("faults.receive.refused.after-loss", level=MUST, checks="KC02")
def test_a_refused_receive_after_a_loss(link, objects, kernel):
    """A receive fails after one whose descriptors did not fit: the message that comes then is not flagged as short."""
    files, other = objects.files(4), objects.file()
    link.peer.send(b"loss", numbers(files))
    link.peer.send(b"next", [other.fd])
    first = link.receive(4, room=2)
    kernel.fails("ENOMEM", RECEIVE)
    got = at_last(link, 4, 2, "ENOMEM")
    assert (got.data, got.things) == (b"next", [other])
    assert not got.has("MSG_CTRUNC")
    assert first.things == files[: len(first.things)]


# --- time -----------------------------------------------------------------------------------------------------------


@case("faults.receive.held", level=MUST, checks="LC01")
def test_a_receive_that_is_held(link, objects, kernel):
    """A receive takes 20 ms although a message is there: it brings the message, with its descriptors."""
    files = objects.files(2)
    link.peer.send(b"data", numbers(files))
    kernel.delays(0.02, RECEIVE)
    got = link.receive(16, room=2)
    assert not got.failed
    assert (got.data, got.things) == (b"data", files)
