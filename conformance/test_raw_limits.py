"""How many descriptors one message, one user and one queue can hold."""

import pytest
from fdspec.conformance.rawlooks import verbatim
from fdspec.conformance.suite import MUST, RAW, SHOULD, case
from fdspec.impls.errors import Unsupported
from fdspec.impls.protocol.values import Memory

MOST = 253
"""SCM_MAX_FD of Linux (include/net/scm.h)."""
ENOUGH = 500
"""More messages than the smallest send buffer takes."""
LIMIT = 32
"""RLIMIT_NOFILE of the children that are to meet the limit of descriptors in flight."""


def accepted(outcomes):
    """Return how many sends succeeded; the first that did not must be ETOOMANYREFS, and so all after it."""
    errors = [one.errno for one in outcomes]
    good = errors.index("ETOOMANYREFS") if "ETOOMANYREFS" in errors else len(errors)
    assert errors == [None] * good + ["ETOOMANYREFS"] * (len(errors) - good)
    return good


def at_the_limit(link, objects):
    """Return a child without privilege that has just met the limit, the pairs it sent over, and the descriptor.

    Where the child is the only process of its user, it could send one more than its limit: the test comes before the count.
    """
    (fd,) = link.open(objects.file())
    pairs = [link.pair() for _ in range(LIMIT // 8 + 1)]  # a datagram socket's queue holds fewer than the limit
    child = link.unprivileged({"RLIMIT_NOFILE": LIMIT})
    good = sum(accepted([child.end(sender).sendmsg(b"x", [fd]) for _ in range(8)]) for sender, _ in pairs)
    if not good and not child.alone:
        raise Unsupported("privilege", f"others of this user have more than {LIMIT} descriptors in flight")
    assert good == LIMIT + 1 or not child.alone
    assert good <= LIMIT + 1
    return child, pairs, fd


@case("raw-limits.most-of-a-message", level=MUST, checks="M01 I01", profiles=[RAW])
def test_the_most_that_one_message_carries(link, objects):
    """253 descriptors arrive in one control message, in order and each with its own identity."""
    things = objects.files(MOST)
    assert not link.a.sendmsg(b"x", link.open(*things)).failed
    got = link.b.recvmsg(room=MOST)
    assert got.things == things
    assert len(got.cmsgs) == 1
    assert not got.has("MSG_CTRUNC")


@case("raw-limits.in-flight", level=MUST, checks="M02 L05", profiles=[RAW])
def test_the_limit_of_descriptors_in_flight(link, objects):
    """Without privilege and with RLIMIT_NOFILE 32: 33 single descriptors can be in flight, then ETOOMANYREFS; no reference."""
    child, _, _ = at_the_limit(link, objects)
    pipe = link.pipe()
    other = link.child(user=child.user if child.alone else None, limits={"RLIMIT_NOFILE": LIMIT})
    assert other.end(link.a).sendmsg(b"x", [pipe.writer]).errno == "ETOOMANYREFS"
    other.wait()
    child.wait()
    assert link.b.empty
    link.close(pipe.writer)
    assert pipe.released


@case("raw-limits.plain-data-passes", level=MUST, checks="M02b M02c", profiles=[RAW])
def test_at_the_limit_plain_data_passes(link, objects):
    """At the limit a message without descriptors is not refused, here or elsewhere, and receiving one makes room for one."""
    child, pairs, fd = at_the_limit(link, objects)
    sender, _ = pairs[-1]
    assert not child.end(sender).sendmsg(b"plain").failed
    assert not child.end(link.a).sendmsg(b"plain").failed
    _, first = pairs[0]
    assert len(first.recvmsg(room=1).fds) == 1
    sent = child.end(link.a).sendmsg(b"x", [fd])
    assert not sent.failed or not child.alone
    child.wait()


@case("raw-limits.one-message-beyond", level=SHOULD, checks="M02d", profiles=[RAW])
def test_one_message_may_go_beyond_the_limit(link, objects):
    """Nothing in flight yet: a message of 253 passes with RLIMIT_NOFILE 32, and the next descriptor does not."""
    (fd,) = link.open(objects.file())
    child = link.unprivileged({"RLIMIT_NOFILE": LIMIT})
    hand = child.end(link.a)
    first = hand.sendmsg(b"x", control=verbatim(link.layout.rights([fd] * MOST)))  # some libraries take fewer
    assert not first.failed or not child.alone
    assert hand.sendmsg(b"x", [fd]).errno == "ETOOMANYREFS"
    child.wait()


@case("raw-limits.counted-for-the-user", level=MUST, checks="M02e", profiles=[RAW])
def test_all_processes_of_a_user_count(link, objects):
    """One process has met the limit: another one of the same user is refused its first descriptor."""
    child, _, fd = at_the_limit(link, objects)
    other = link.child(user=child.user if child.alone else None, limits={"RLIMIT_NOFILE": LIMIT})
    assert other.end(link.a).sendmsg(b"x", [fd]).errno == "ETOOMANYREFS"
    other.wait()
    child.wait()


@case("raw-limits.raised", level=MUST, checks="M02f", profiles=[RAW])
def test_raising_the_soft_limit(link, objects):
    """At the limit the process raises its own soft RLIMIT_NOFILE: the next descriptor passes at once."""
    child, _, fd = at_the_limit(link, objects)
    child.limit(4 * LIMIT)
    sent = child.end(link.a).sendmsg(b"x", [fd])
    assert not sent.failed or not child.alone
    child.wait()


@case("raw-limits.receiver-closed", level=MUST, checks="M02g", profiles=[RAW])
def test_closing_the_receiver_frees_them(link, objects):
    """At the limit the sockets with the unread messages are closed: the next descriptor passes."""
    child, pairs, fd = at_the_limit(link, objects)
    assert child.wait() == 0  # it holds copies of the sockets
    for pair in pairs:
        for end in pair:
            end.close()
    other = link.child(user=child.user if child.alone else None, limits={"RLIMIT_NOFILE": LIMIT})
    sent = other.end(link.a).sendmsg(b"x", [fd])
    assert not sent.failed or not child.alone
    other.wait()


@case("raw-limits.privileged", level=SHOULD, checks="M02h", profiles=[RAW])
def test_a_privileged_sender_is_exempt(link, objects):
    """Root with RLIMIT_NOFILE 32: twice as many descriptors are in flight as that."""
    (fd,) = link.open(objects.file())
    pairs = [link.pair() for _ in range(2 * LIMIT // 8)]
    child = link.child(limits={"RLIMIT_NOFILE": LIMIT})
    if child.user != 0:
        raise Unsupported("privilege", "the testee has no privilege to use")
    sent = [child.end(sender).sendmsg(b"x", [fd]) for sender, _ in pairs for _ in range(8)]
    if any(one.errno == "ETOOMANYREFS" for one in sent):
        raise Unsupported("privilege", "root is not privileged here: ETOOMANYREFS")
    assert not any(one.failed for one in sent)
    child.wait()


@case("raw-limits.not-charged-to-the-buffer", level=SHOULD, checks="M06", profiles=[RAW])
@pytest.mark.parametrize("count", [1, MOST])
def test_descriptors_are_not_charged_to_the_buffer(link, objects, count):
    """The smallest send buffer takes as many messages of one byte with 1 or with 253 descriptors as without any."""
    (fd,) = link.open(objects.file())
    taken = []
    for control in (None, verbatim(link.layout.rights([fd] * count))):
        sender, _receiver = link.pair()
        sender.option("SO_SNDBUF", 0)
        errors = [sender.sendmsg([Memory(size=1)], control=control).errno for _ in range(ENOUGH)]
        if "ETOOMANYREFS" in errors:
            raise Unsupported("privilege", "this user may not have so many descriptors in flight")
        assert errors[-1] == "EAGAIN", f"{ENOUGH} messages went into the smallest send buffer"
        taken.append(errors.index("EAGAIN"))
    assert taken[0] == taken[1] > 0
