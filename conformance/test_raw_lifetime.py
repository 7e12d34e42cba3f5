"""How long descriptors in flight live: with their message, with their socket, and in cycles that nobody can reach."""

import pytest
from fdspec.conformance.rawend import End
from fdspec.conformance.suite import DGRAM, MAY, MUST, RAW, SEQPACKET, SHOULD, STREAM, case
from fdspec.impls.errors import Unsupported
from fdspec.impls.protocol.messages import Close, Pair

LISTENING = [STREAM, SEQPACKET]
SHAPES = {
    "triangle": [(0, 1), (1, 2), (2, 0)],
    "cross-edge": [(0, 1), (1, 2), (2, 0), (1, 3), (3, 2)],
    "back-edge": [(0, 1), (1, 2), (2, 1), (2, 3), (3, 0)],
    "two-rings": [(0, 1), (1, 0), (1, 2), (2, 3), (3, 2), (3, 1)],
}
"""Graphs by their edges: the socket that an edge leads to waits in the queue of the one that it comes from."""


def garbage(link, *flags):
    """Leave a socket in its own queue, a pipe's writer beside it, and close both elsewhere; return the pipe and the send."""
    pipe = link.pipe()
    sender, receiver = link.pair()
    sent = sender.sendmsg(b"x", [receiver.fd, pipe.writer], flags=list(flags))
    link.close(pipe.writer)
    receiver.close()
    sender.close()
    return pipe, sent


@case("raw-lifetime.in-its-own-queue", level=MUST, checks="G02", profiles=[RAW])
def test_a_socket_in_its_own_queue(link):
    """A socket's only descriptor waits in its own queue, a pipe's writer beside it: both are collected."""
    pipe, _ = garbage(link)
    assert pipe.released_by_collection()


@case("raw-lifetime.in-each-others-queues", level=MUST, checks="G03", profiles=[RAW])
def test_two_sockets_in_each_others_queues(link):
    """Both ends of a pair wait in the queue of the other, and are collected with what waits beside them."""
    pipe = link.pipe()
    one, other = link.pair()
    one.sendmsg(b"x", [one.fd, pipe.writer])
    other.sendmsg(b"x", [other.fd])
    link.close(pipe.writer)
    one.close()
    other.close()
    assert pipe.released_by_collection()


@case("raw-lifetime.graphs", level=MUST, checks="G04", profiles=[RAW])
@pytest.mark.parametrize("shape", SHAPES)
def test_graphs_of_sockets(link, shape):
    """A triangle, a cross edge, a back edge, two rings: with every descriptor closed, all that waits in them is released."""
    edges = SHAPES[shape]
    pipes = [link.pipe() for _ in range(max(node for edge in edges for node in edge) + 1)]
    pairs = [link.pair() for _ in pipes]
    for (sender, _), pipe in zip(pairs, pipes, strict=True):
        sender.sendmsg(b"x", [pipe.writer])
    for source, target in edges:
        pairs[source][0].sendmsg(b"x", [pairs[target][1].fd])
    for (sender, receiver), pipe in zip(pairs, pipes, strict=True):
        link.close(pipe.writer)
        receiver.close()
        sender.close()
    assert all(pipe.released_by_collection() for pipe in pipes)


@case("raw-lifetime.reachable-cycle", level=MUST, checks="G05", profiles=[RAW])
def test_a_cycle_that_can_be_reached(link):
    """One descriptor outside keeps a cycle: collections of other garbage leave it alone, and what it holds can be received."""
    kept = link.pipe()
    sender, receiver = link.pair()
    sender.sendmsg(b"x", [receiver.fd, kept.writer])
    link.close(kept.writer)
    sender.close()
    for _ in range(5):  # that a collection was run is told by garbage which it takes
        taken, _ = garbage(link)
        assert taken.released_by_collection()
        assert not kept.released
    got = receiver.recvmsg(room=2)
    assert len(got.fds) == 2
    assert not kept.released
    link.close(*got.fds)
    assert kept.released


@case("raw-lifetime.never-accepted", level=MUST, checks="G06", profiles=[RAW], types=LISTENING)
def test_a_connection_that_was_never_accepted(link):
    """What a client sent lives while the listener does, though the client is gone, and is freed with the listener."""
    pipe = link.pipe()
    address = link.address()
    listener = link.listen(address)
    client = link.connect(address)
    client.sendmsg(b"x", [pipe.writer])
    link.close(pipe.writer)
    client.close()
    assert not pipe.released
    listener.close()
    assert pipe.released_by_collection()


@case("raw-lifetime.listener-in-its-own-backlog", level=MUST, checks="G06b", profiles=[RAW], types=LISTENING)
def test_a_listener_in_its_own_backlog(link):
    """The listener's own descriptor waits on a connection that nobody accepted: with every other reference gone, collected."""
    pipe = link.pipe()
    address = link.address()
    listener = link.listen(address)
    client = link.connect(address)
    client.sendmsg(b"x", [listener.fd, pipe.writer])
    link.close(pipe.writer)
    listener.close()
    client.close()
    assert pipe.released_by_collection()


@case("raw-lifetime.closed-before-accept", level=MUST, checks="G07", profiles=[RAW], types=LISTENING)
def test_a_client_that_closes_before_accept(link, objects):
    """A client sends and closes; the one that accepts later receives the data, the descriptor, and then the end."""
    thing = objects.file()
    address = link.address()
    listener = link.listen(address)
    client = link.connect(address)
    client.sendmsg(b"x", link.open(thing))
    client.close()
    server = listener.accept()
    got = server.recvmsg(room=1)
    assert (got.data, got.things) == (b"x", [thing])
    assert server.ended


@case("raw-lifetime.sender-closed", level=MUST, checks="G08", profiles=[RAW])
def test_a_sender_that_closes_its_socket(link, objects):
    """Sent, and the socket closed: the receive brings data and descriptor; then the end, for datagrams nothing."""
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    link.a.close()
    got = link.b.recvmsg(room=1)
    assert (got.data, got.things) == (b"x", [thing])
    assert link.b.empty if link.type is DGRAM else link.b.ended


@case("raw-lifetime.sender-process-ended", level=MUST, checks="G14 I15", profiles=[RAW])
def test_a_sender_process_that_ends(link):
    """A child sends and ends: what it had in flight stays open, and works when received; its end closed its own copies."""
    pipe = link.pipe()
    child = link.child()
    child.end(link.a).sendmsg(b"x", [pipe.writer])
    link.close(pipe.writer)
    assert child.wait() == 0
    assert not pipe.released
    (fd,) = link.b.recvmsg(room=1).fds
    assert link.call("fcntl", "F_GETFD", fd=fd).errno is None
    link.close(fd)
    assert pipe.released


@case("raw-lifetime.cycle-through-an-urgent-byte", level=SHOULD, checks="G15", profiles=[RAW], types=[STREAM])
def test_a_cycle_through_an_urgent_byte(link):
    """A socket's only descriptor travels with an out-of-band byte in its own queue: collected all the same."""
    pipe, sent = garbage(link, "MSG_OOB")
    if sent.errno == "EOPNOTSUPP":
        link.outcome = "refused"
    assert pipe.released_by_collection()


@case("raw-lifetime.count-in-fdinfo", level=MAY, checks="G17", profiles=[RAW])
def test_the_count_of_waiting_descriptors(link, objects):
    """scm_fds of the receiving socket's fdinfo follows what waits in its queue: 0, 2, 5, and down again."""
    fds = link.open(*objects.files(5))
    seen = [link.b.queued]
    for part in (fds[:2], fds[2:]):
        link.a.sendmsg(b"x", part)
        seen.append(link.b.queued)
    for _ in range(2):
        link.b.recvmsg(room=5)
        seen.append(link.b.queued)
    assert seen == [0, 2, 5, 3, 0]


@case("raw-lifetime.any-close-collects", level=SHOULD, checks="G18", profiles=[RAW])
def test_any_close_begins_a_collection(link):
    """Garbage in flight: the close of any AF_UNIX socket, of another type too, has it collected soon."""
    pipe, _ = garbage(link)
    link.outcome = "at-once" if pipe.released else "kick"
    assert pipe.released_by_collection()


DEPTH, AT_ONCE = 1000, 100


@case("raw-lifetime.nested", level=MUST, checks="M05 G13", profiles=[RAW])
def test_sockets_nested_in_sockets(link):
    """1,000 sockets, each in flight to the next: accepted; closing the outermost frees the pipe in the innermost queue."""
    pipe = link.pipe()
    inner = pipe.writer
    link.opened.pop(inner)
    for _ in range(DEPTH // AT_ONCE):
        pairs = [reply.result.fds for reply in link.many([Pair(type=link.type)] * AT_ONCE)]
        requests = []
        for sender, receiver in pairs:
            requests += [End(link, sender, link).sending(b"x", [inner]), Close(fd=inner), Close(fd=sender)]
            inner = receiver
        errors = {link.a.sent(reply).errno for reply in link.many(requests)[::3]}
        if "ETOOMANYREFS" in errors:
            raise Unsupported("privilege", f"this user may not have {DEPTH} descriptors in flight")
        assert errors == {None}
    assert not pipe.released
    link.do(Close(fd=inner))
    assert pipe.released_by_collection()
