"""Sends that the kernel interrupts, refuses or holds: what was sent comes once, what was not leaves no trace (area ``faults``).

The harness stands between the testee and its kernel. An implementation may make the call again by itself, or report the error
and be asked again; both end in the same.
"""

from fdspec.conformance.checks import drain, released
from fdspec.conformance.interpose.kernel import SEND
from fdspec.conformance.refusals import tells
from fdspec.conformance.suite import DESCRIPTORS, MUST, case

REFUSALS = ("ENOBUFS", "ENOMEM", "ETOOMANYREFS", "EPERM")
MANY = 1000
"""More attempts than anybody makes who gives up at all."""


def at_last(link, data, fds, *errors, **how):
    """Send until no error is reported: once more than there are ``errors``, which are all that may be reported."""
    for _ in range(len(errors) + 1):
        sent = link.send(data, fds, **how)
        if not sent.failed:
            return sent
        assert tells(sent, errors), f"{errors} became {sent}"
        assert not link.peer.pending(), f"a send that failed has sent something: {sent}"
    raise AssertionError(f"a send that nobody keeps from anything failed: {sent}")


def arrived(link):
    """Return data and identities of every message that the peer can receive now."""
    return [(message.data, message.identities) for message in drain(link)]


# --- EINTR ----------------------------------------------------------------------------------------------------------


@case("faults.send.interrupted", level=MUST, checks="LC13 LC10")
def test_an_interrupted_send(link, objects, kernel):
    """A send gets EINTR before anything was taken: made again, or reported and asked for again, it sends one message."""
    files = objects.files(2)
    fds = link.open(*files)
    kernel.fails("EINTR", SEND)
    sent = at_last(link, b"data", fds, "EINTR")
    assert sent.count in {None, 4}
    assert arrived(link) == [(b"data", [one.identity for one in files])]


@case("faults.send.interrupted.again-and-again", level=MUST, checks="LC13 LC10")
def test_a_send_that_is_interrupted_again_and_again(link, objects, kernel):
    """The first three sends get EINTR: however often that is reported, one message is sent."""
    file = objects.file()
    fds = link.open(file)
    kernel.fails("EINTR", SEND, times=3)
    at_last(link, b"data", fds, *["EINTR"] * 3)
    assert arrived(link) == [(b"data", [file.identity])]


@case("faults.send.interrupted.buffers", level=MUST, checks="LC13 LC10 LC12", needs=("buffers-out",))
def test_an_interrupted_send_of_several_buffers(link, objects, kernel):
    """A send of uneven buffers, an empty one among them, gets EINTR: made again, it sends all of them once, in order."""
    file = objects.file()
    fds = link.open(file)
    kernel.fails("EINTR", SEND)
    sent = at_last(link, [b"0", b"", b"12345", b"6789"], fds, "EINTR")
    assert sent.count in {None, 10}
    assert arrived(link) == [(b"0123456789", [file.identity])]


@case("faults.send.interrupted.single", level=MUST, checks="LC13 LC10", profiles=(DESCRIPTORS,), needs=("single",))
def test_an_interrupted_send_of_one(link, objects, kernel):
    """The call for one descriptor gets EINTR: made again, or reported and asked for again, it sends one message."""
    file = objects.file()
    fds = link.open(file)
    kernel.fails("EINTR", SEND)
    at_last(link, b"data", fds, "EINTR", single=True)
    assert arrived(link) == [(b"data", [file.identity])]


# --- other errors ---------------------------------------------------------------------------------------------------


@case("faults.send.not-ready", level=MUST, checks="LC10 LC14")
def test_a_send_that_is_woken_for_nothing(link, objects, kernel):
    """A blocking send gets EAGAIN: that is reported or tried again, and in the end one message is sent."""
    file = objects.file()
    fds = link.open(file)
    kernel.fails("EAGAIN", SEND)
    at_last(link, b"data", fds, "EAGAIN")
    assert arrived(link) == [(b"data", [file.identity])]


@case("faults.send.refused", level=MUST, checks="KC01 LC14 LC02")
def test_a_send_that_is_refused(link, objects, kernel):
    """A send is refused by ENOBUFS, ENOMEM, ETOOMANYREFS, EPERM: the error tells which, nothing goes, and sending again works."""
    files = objects.files(2)
    fds = link.open(*files)
    before = [(link.table.identity(fd), link.table.flags(fd)) for fd in fds]
    for error in REFUSALS:
        kernel.fails(error, SEND)
        at_last(link, error.encode(), fds, error)
        assert arrived(link) == [(error.encode(), [one.identity for one in files])]
        assert [(link.table.identity(fd), link.table.flags(fd)) for fd in fds] == before, error
        link.peer.close_received()
    assert kernel.closed_in_vain == []


@case("faults.send.refused.one-after-the-other", level=MUST, checks="KC01")
def test_a_send_that_is_refused_by_everything(link, objects, kernel):
    """Six sends in a row are refused, each for another reason: the seventh sends one message, and nothing else has come."""
    file = objects.file()
    fds = link.open(file)
    errors = (*REFUSALS, "EAGAIN", "EINTR")
    for error in errors:
        kernel.fails(error, SEND, optional=error != errors[0])
    at_last(link, b"data", fds, *errors)
    assert arrived(link) == [(b"data", [file.identity])]


@case("faults.send.refused.for-good", level=MUST, checks="KC01")
def test_a_send_that_is_refused_for_good(link, objects, kernel):
    """Every send is refused for want of memory: it ends in an error, is not tried for ever, and works once there is some."""
    file = objects.file()
    fds = link.open(file)
    for error in ("ENOBUFS", "ENOMEM"):
        fault = kernel.fails(error, SEND, times=MANY)
        sent = link.send(b"data", fds)
        assert fault.acted < MANY, f"{error} was met {MANY} times in one call"
        assert tells(sent, [error])
        fault.times = 0
    at_last(link, b"data", fds)
    assert arrived(link) == [(b"data", [file.identity])]


@case("faults.send.refused.second-message", level=MUST, checks="KC01 LC15")
def test_the_second_of_three_sends_is_refused(link, objects, kernel):
    """The second of three sends is refused: what was sent before and after it comes once, with its own descriptors."""
    files = objects.files(3)
    messages = [(b"one", [files[0]]), (b"two", [files[1]]), (b"six", [files[2]])]
    opened = link.open(*files)
    kernel.fails("ENOMEM", SEND, nth=2)
    came = []
    for (data, _), fd in zip(messages, opened, strict=True):
        at_last(link, data, [fd], "ENOMEM")
        came += arrived(link)
    assert came == [(data, [one.identity for one in things]) for data, things in messages]


@case("faults.send.refused.released", level=MUST, checks="KC01")
def test_a_refused_send_keeps_nothing(link, objects, kernel):
    """A send is refused and the caller closes its descriptor: nobody keeps the pipe behind it open."""
    fifo = objects.fifo()
    for error in REFUSALS:
        fds = link.open(fifo)
        kernel.fails(error, SEND)
        sent = link.send(b"data", fds)
        if sent.failed:
            assert tells(sent, [error])
            assert not link.peer.pending(), error
        else:  # it was made again
            assert arrived(link) == [(b"data", [fifo.identity])]
            link.peer.close_received()
        link.close(*fds)
        assert released(fifo), f"after {error} the pipe is held open"


# --- time -----------------------------------------------------------------------------------------------------------


@case("faults.send.held", level=MUST, checks="LC10")
def test_a_send_that_is_held(link, objects, kernel):
    """A send takes 20 ms: it sends one message, with its descriptors."""
    files = objects.files(2)
    fds = link.open(*files)
    kernel.delays(0.02, SEND)
    sent = link.send(b"data", fds)
    assert not sent.failed
    assert sent.count in {None, 4}
    assert arrived(link) == [(b"data", [one.identity for one in files])]
