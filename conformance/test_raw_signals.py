"""Calls that a signal interrupts, and calls whose time is over."""

import pytest
from fdspec.conformance.rawlooks import fill, later
from fdspec.conformance.suite import MAY, MUST, PACKETS, RAW, STREAM, case
from fdspec.impls.protocol.values import Memory

SOON = 0.01
"""When a signal comes, in seconds, again and again until the call returns."""
MANY = 1 << 20
ALARM = {"wait": True, "alarm": SOON}
RESTARTING = {"wait": True, "alarm": SOON, "restart": True}


def timeval(link, microseconds):
    """Return a ``struct timeval`` of less than a second as SO_RCVTIMEO takes it."""
    order = link.layout.order
    return Memory(data=(bytes(link.layout.word) + microseconds.to_bytes(link.layout.word, order)).hex())


def limit_time(link, end, microseconds):
    """Set SO_RCVTIMEO."""
    set_ = end.call("setsockopt", "SOL_SOCKET", "SO_RCVTIMEO", iov=[timeval(link, microseconds)])
    assert not set_.failed, set_


@case("raw-signals.receive", level=MUST, checks="E01 R05", profiles=[RAW], needs=["alarm"])
def test_an_interrupted_receive(link, objects):
    """A signal while a receive waits: EINTR, the header untouched; what is sent afterwards arrives whole."""
    thing = objects.file()
    got = link.b.recvmsg(room=1, how=ALARM)
    assert got.errno == "EINTR"
    assert got.changed == frozenset()
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things, got.has("MSG_CTRUNC")) == (b"x", [thing], False)


@case("raw-signals.restarted-receive", level=MUST, checks="E02", profiles=[RAW], needs=["alarm"])
def test_a_restarted_receive(link, objects):
    """Signals whose handler has SA_RESTART: the receive goes on, and returns the message that comes later."""
    thing = objects.file()
    child = later(link, link.a.sending(b"x", link.open(thing)))
    got = link.b.recvmsg(room=1, how=RESTARTING)
    assert (got.errno, got.data, got.things) == (None, b"x", [thing])
    child.wait()


@case("raw-signals.receive-with-a-time-limit", level=MUST, checks="E02b", profiles=[RAW], needs=["alarm"])
def test_a_receive_with_a_time_limit_is_not_restarted(link):
    """SO_RCVTIMEO set: EINTR in spite of SA_RESTART."""
    limit_time(link, link.b, 900_000)
    assert link.b.recvmsg(room=1, how=RESTARTING).errno == "EINTR"


@case("raw-signals.time-is-over", level=MUST, checks="E04 R05", profiles=[RAW])
def test_a_receive_whose_time_is_over(link, objects):
    """SO_RCVTIMEO and nothing there: EAGAIN, the header untouched; a message that comes later arrives whole."""
    thing = objects.file()
    limit_time(link, link.b, 10_000)
    got = link.b.recvmsg(room=1, how={"wait": True})
    assert got.errno == "EAGAIN"
    assert got.changed == frozenset()
    link.a.sendmsg(b"x", link.open(thing))
    assert link.b.recvmsg(room=1).things == [thing]


@case("raw-signals.waitall", level=MUST, checks="E03", profiles=[RAW], types=[STREAM], needs=["alarm"])
def test_an_interrupted_receive_of_all(link):
    """MSG_WAITALL for ten bytes, three there, a signal: the three."""
    link.a.sendmsg(b"abc")
    got = link.b.recvmsg(10, flags=["MSG_WAITALL"], how=ALARM)
    assert (got.errno, got.data) == (None, b"abc")


@case(
    "raw-signals.waitall-with-descriptors",
    level=MUST,
    checks="E03 L07",
    profiles=[RAW],
    types=[STREAM],
    needs=["alarm"],
)
def test_an_interrupted_receive_of_all_with_descriptors(link):
    """MSG_WAITALL after plain bytes, a descriptor sent with the last: what came is whole, or its descriptor is closed."""
    pipe = link.pipe()
    link.a.sendmsg(b"abc", [pipe.writer])
    link.close(pipe.writer)
    got = link.b.recvmsg(10, room=1, flags=["MSG_WAITALL"], how=ALARM)
    assert (got.errno, got.data) == (None, b"abc")
    link.outcome = "delivered" if got.fds else "closed"
    assert pipe.released == (not got.fds)


@case("raw-signals.waitall-with-credentials", level=MAY, checks="E03b", profiles=[RAW], types=[STREAM], needs=["alarm"])
def test_an_interrupted_receive_of_all_with_credentials(link):
    """MSG_WAITALL and SO_PASSCRED interrupted after three bytes: the bytes, and no control message that would be wrong."""
    link.b.option("SO_PASSCRED", 1)
    link.a.sendmsg(b"abc")
    got = link.b.recvmsg(10, control=256, flags=["MSG_WAITALL"], how=ALARM)
    assert (got.errno, got.data) == (None, b"abc")
    link.outcome = "present" if got.cmsgs else "absent"


@case("raw-signals.send-in-part", level=MUST, checks="E05 S16", profiles=[RAW], types=[STREAM], needs=["alarm"])
def test_a_blocking_send_interrupted_in_the_middle(link, objects):
    """More than the buffer holds, a signal: the number of bytes taken; the descriptor has gone with the first, once."""
    thing = objects.file()
    sent = link.a.sendmsg([Memory(size=MANY)], link.open(thing), how=ALARM)
    assert sent.errno is None
    assert 0 < sent.returned < MANY
    got = link.b.recvmsg(1, room=4)
    assert got.things == [thing]
    left = sent.returned - 1
    while left:
        got = link.b.recvmsg(MANY, room=4)
        assert (got.fds, got.returned > 0) == ([], True)
        left -= got.returned
    assert link.b.empty


@case("raw-signals.send-of-nothing", level=MUST, checks="E05 L05", profiles=[RAW], needs=["alarm"])
def test_a_blocking_send_interrupted_before_the_first_byte(link):
    """A full buffer, a signal: EINTR, and no reference to the descriptor is kept."""
    pipe = link.pipe()
    fill(link.a)
    sent = link.a.sendmsg([Memory(size=1024)], [pipe.writer], how=ALARM)
    assert sent.errno == "EINTR"
    link.close(pipe.writer)
    assert pipe.released


@case("raw-signals.no-signal-for-nosignal", level=MUST, checks="S11a", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize(("flags", "signals"), [([], ("SIGPIPE",)), (["MSG_NOSIGNAL"], ())])
def test_sigpipe(link, objects, flags, signals):
    """A send to a closed peer: EPIPE, and SIGPIPE unless MSG_NOSIGNAL is given."""
    fds = link.open(objects.file())
    link.b.close()
    sent = link.a.sendmsg(b"x", fds, flags=flags)
    assert (sent.errno, sent.signals) == ("EPIPE", signals)


@case("raw-signals.packets-wait-for-all-of-nothing", level=MUST, checks="D10", profiles=[RAW], types=PACKETS)
def test_waitall_on_packets(link, objects):
    """MSG_WAITALL on packets has no effect: a packet shorter than asked for comes at once, with its descriptor."""
    thing = objects.file()
    link.a.sendmsg(b"abc", link.open(thing))
    got = link.b.recvmsg(10, room=1, flags=["MSG_WAITALL"])
    assert (got.data, got.things) == (b"abc", [thing])
