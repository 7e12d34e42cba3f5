"""Programs of profile transport, executed: the reference shows nothing wrong, and what is wrong with a mutant is found."""

import random

import pytest
from fdspec.fuzz import parse
from fdspec.fuzz.engines.mutate import fresh, mutate
from fdspec.fuzz.judgement import Breach
from fdspec.fuzz.run.shown import UNKNOWN
from fdspec.fuzz.runner import open_runner
from fdspec.impls.protocol.values import Profile

CLIENT, SERVER = "program 1 transport stream client", "program 1 transport stream server"


def program(*lines, head=CLIENT):
    return parse("\n".join([head, *lines]))


@pytest.fixture(scope="module")
def reference():
    """A runner of the reference, for all of them."""
    made = open_runner("reference", profiles=[Profile.TRANSPORT])
    yield made
    made.close()


@pytest.mark.parametrize("head", [CLIENT, SERVER])
def test_what_moves_and_when(reference, head):
    """Nothing before a turn; then all that was queued, and what the peer has sent; the rest is drained at the end."""
    shown = reference.observe(
        program(
            "open f0",
            "queue t0 f0",
            'write t0 "abc"',
            "recv p0 16 control=24 as=q0_",
            "open g0",
            'send p0 "xyz" fds=g0',
            "turn t0 as=r0_",
            "recv p0 1 control=24 as=q1_",
            "close r0_0",
            head=head,
        )
    )
    assert shown.trouble is None
    assert shown.shown[3].error == "EAGAIN"
    assert [(one.name, one.label or one.data) for one in shown.shown[6].events] == [
        ("descriptor", "g0"),
        ("data", b"xyz"),
    ]
    assert (shown.shown[6].files, shown.shown[6].cloexec, shown.shown[6].same) == (("g0",), (True,), (True,))
    assert (shown.shown[7].data, shown.shown[7].files, shown.shown[7].same) == ((b"a",), ("f0",), (True,))
    assert shown.shown[8].error == ""
    assert [(one.message, one.data) for one in shown.drained] == [("p0", (b"bc",))]
    assert set(shown.left.open) - {UNKNOWN} == {"f0", "t0"}  # a server has a listener beside
    assert shown.left.leaked == shown.left.stray == ()
    assert shown.left.released == {"f0": True, "g0": True}


def test_a_full_socket_stays_full(reference):
    """The peer does not receive while the loop turns; at the end everything comes."""
    shown = reference.observe(program('write t0 "abc"*20000', "turn t0 as=r0_", "recv p0 65536 via=recv"))
    assert 0 < len(shown.shown[2].data[0]) < 20000
    arrived = b"".join(data for one in (shown.shown[2], *shown.drained) for data in one.data)
    assert arrived == (b"abc" * 20000)[:20000]


def test_further_connections_have_their_own_buffers(reference):
    """Connection 1 has the system's send buffer, and its events are its own."""
    shown = reference.observe(
        program("pair stream t1 p1", 'write t1 "abc"*20000', 'send p1 "x"', "turn t0 as=r0_", "turn t1 as=r1_")
    )
    assert shown.shown[3].events == ()
    assert [one.data for one in shown.shown[4].events] == [b"x"]
    assert [one.message for one in shown.drained] == ["p1"]


def test_a_transport_that_could_not_be_made(reference):
    """The operations on it show that, and nothing else is wrong."""
    verdict = reference.examine(
        program("room 0", "pair stream t1 p1", 'write t1 "a"', 'send p1 "a"', "turn t1 as=r0_", 'write t0 "a"')
    )
    assert verdict.violations == ()


@pytest.mark.parametrize("careful", [True, False])
def test_the_reference_is_right(reference, careful):
    """Whatever a random program shows of it is permitted."""
    rng = random.Random(11 + careful)
    (offer,) = reference.offers
    features = set()
    for _ in range(60 if careful else 160):
        one = mutate(fresh(offer, rng, 12), offer, rng)
        verdict = reference.examine(one) if careful else reference.run([one])[0]
        assert not verdict.unsupported
        assert not verdict.violations, (verdict.violations[0].message, one)
        assert bool(verdict.transcript) is careful
        features |= verdict.features
    assert len(features) > 20


def manuscript(*lines, head=CLIENT):
    return "\n".join([head, *lines])


PASS = ("open g0", 'send p0 "abc" fds=g0,g0', "turn t0 as=r0_")
QUEUE = ("open f0", "queue t0 f0", 'write t0 "abc"', "turn t0 as=r0_")
MUTANTS = {
    "room-for-one": manuscript(*PASS),
    "loss-is-not-looked-at": manuscript("room 0", *PASS),
    "loss-hangs": manuscript("room 0", *PASS),
    "unwanted-leak": manuscript(*PASS, head=f"{CLIENT} receiver=plain"),
    "unwanted-are-not-logged": manuscript(*PASS, head=f"{CLIENT} receiver=plain"),
    "refused-leak": manuscript(*PASS, head=f"{CLIENT} receiver=raise:0"),
    "refused-ends-without-a-word": manuscript(*PASS, head=f"{CLIENT} receiver=raise:0"),
    "accepted-connection-leaks": manuscript(*PASS, head=SERVER),
    "handed-over-after-the-data": manuscript(*PASS),
    "not-close-on-exec": manuscript(*PASS),
    "end-comes-first": manuscript(*PASS[:2], "close p0", "turn t0 as=r0_"),
    "resuming-does-nothing": manuscript(
        "reading t0 off", 'send p0 "a"', "turn t0 as=r0_", "reading t0 on", "turn t0 as=r1_"
    ),
    "pausing-does-nothing": manuscript("reading t0 off", 'send p0 "a"', "turn t0 as=r0_"),
    "full-socket-loses-the-descriptor": manuscript(
        "open f0", *["queue t0 f0"] * 14, 'write t0 "0123456789abcdef"', "turn t0 as=r0_"
    ),
    "short-write-repeats-data": manuscript('write t0 "abc"*9000', "turn t0 as=r0_"),
    "queued-in-reverse": manuscript("open f0", "open f1", "queue t0 f0", "queue t0 f1", 'write t0 "abc"'),
    "overrun-goes-out-in-part": manuscript(
        "open f0", "queue t0 f0", "queue t0 f0", 'write t0 "x"', "turn t0 as=r0_", "finish t0 close"
    ),
    "overrun-is-not-told": manuscript("open f0", "queue t0 f0", "finish t0 close"),
    "queue-borrows": manuscript("open f0", "queue t0 f0", 'write t0 "abc"', "close f0"),
    "queue-owns-the-callers": manuscript(*QUEUE),
    "sending-changes-the-callers": manuscript(*QUEUE),
    "sent-stays-open": manuscript(*QUEUE),
    "given-stays-open": manuscript("open f0", "give t0 f0", 'write t0 "abc"', "turn t0 as=r0_"),
    "paused-for-ever": manuscript("produce t0", 'write t0 "abc"*60000', 'write t0 "abc"*60000', "turn t0 as=r0_"),
    "unsent-is-not-reported": manuscript(
        'write t0 "abc"*60000', "turn t0 as=r0_", "open f0", "queue t0 f0", 'write t0 "a"', "close p0", "turn t0 as=r1_"
    ),
    "closing-drops-the-queue": manuscript(*QUEUE[:3], "finish t0 close"),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_found(mutant, reference):
    """By a program of a few operations, carefully and not; the reference passes it."""
    wanted = parse(MUTANTS[mutant])
    assert reference.examine(wanted).violations == ()
    runner = open_runner(f"mutant:transport.{mutant}", profiles=[Profile.TRANSPORT])
    try:
        (fast,) = runner.run([wanted])
        proved = runner.examine(wanted)
    finally:
        runner.close()
    assert fast.violations
    assert {one.key for one in proved.violations} & {one.key for one in fast.violations}
    assert Breach.CRASH not in {one.breach for one in proved.violations}
