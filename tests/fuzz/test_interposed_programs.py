"""Programs with faults, short sends, forged control data and other systems: what they did, and who was right."""

import random

import pytest
from fdspec.conformance.bench import HarnessFault
from fdspec.conformance.interpose.kernel import missing
from fdspec.fuzz import parse
from fdspec.fuzz.engines.mutate import fresh
from fdspec.fuzz.operations import Fail, Forge, Short
from fdspec.fuzz.run.interposed import execute_interposed
from fdspec.fuzz.run.stand import Stand
from fdspec.fuzz.runner import launch_for, open_runner
from fdspec.impls import registry
from fdspec.impls.protocol.values import Profile


def test_there_is_an_interposer():
    """These tests say nothing where there is none."""
    assert missing() == ""


@pytest.fixture(scope="module")
def runner():
    """A maker of runners that interpose, each made once."""
    made = {}

    def make(subject):
        if subject not in made:
            made[subject] = open_runner(subject, interpose=True)
        return made[subject]

    yield make
    for one in made.values():
        one.close()


def program(*lines, profile="transport", more=""):
    return parse("\n".join([f"program 1 {profile} stream client{more}", *lines]))


QUEUE = ("open f0", "queue t0 f0", 'write t0 "abcdef"', "turn t0 as=r0_")
SEND = ("open f0", 'send t0 "abcdef" fds=f0', "recv p0 16 control=24 as=q0_")
TAKE = ("open g0", 'send p0 "abc" fds=g0,g0', "take t0 16 room=2 as=r0_")


@pytest.mark.parametrize("error", ["EINTR", "EAGAIN", "ENOBUFS"])
def test_a_send_that_fails_is_made_again(runner, error):
    """The fault acted, and the reference has lost nothing."""
    done = runner("reference").observe(program(f"fail send {error} times=2", *QUEUE))
    assert done.acted == (0,)
    arrived = [(data, one.files) for one in done.drained for data in one.data]
    assert b"".join(data for data, _ in arrived) == b"abcdef"
    assert [label for _, labels in arrived for label in labels] == ["f0"]


def test_a_short_send(runner):
    """One byte is taken, and the rest follows."""
    done = runner("reference").observe(program("short 1 times=3", *QUEUE))
    assert done.acted == (0,)
    assert b"".join(data for one in done.drained for data in one.data) == b"abcdef"
    single = runner("reference").observe(program("short 1", *SEND, profile="message"))
    assert (single.acted, single.shown[2].value) == ((0,), 1)


def test_a_fault_that_does_not_act(runner):
    """It is in the program and not among those that acted."""
    done = runner("reference").observe(program("fail send EIO nth=9", *QUEUE))
    assert done.acted == ()


def test_each_calls_are_met(runner):
    """A receive, a close and an fcntl fail where they are asked to; the same operation twice is two plans."""
    done = runner("reference").observe(
        program(
            "fail receive EIO", *TAKE, "take t0 16 room=2 as=r1_", "fail close EIO", "close r1_0", profile="message"
        )
    )
    assert done.acted == (0, 5)
    assert (done.shown[3].error, done.shown[4].files, done.shown[6].error) == ("EIO", ("g0", "g0"), "EIO")
    assert done.left.stray == done.left.leaked == ()


def test_forged_control_data(runner):
    """One descriptor is shown of two, and what is not shown is nobody's to close."""
    done = runner("reference").observe(program("forge short numbers=1", *TAKE, profile="message"))
    assert (done.acted, done.shown[3].files) == ((0,), ("g0",))
    assert done.left.leaked == ()


def test_what_would_be_read_by_right_is_not_told(runner):
    """A cmsg_len beyond the end shows nothing behind its header, and with an even number nothing is misaligned: no bait there."""
    verdicts = runner("reference").run(
        [
            program("open f0", f"forge {forged} bait=f0", *TAKE, profile="message")
            for forged in (
                "first-tells numbers=18446744073709551615,0",
                "second-tells numbers=4294967296,1",
                "misaligned",
            )
        ]
        + [program("forge untruncated numbers=20", *TAKE, profile="message")]
    )
    assert [one.violations for one in verdicts] == [()] * 4


@pytest.mark.parametrize("profile", ["message", "transport"])
@pytest.mark.parametrize("system", ["linux", "linux-old", "freebsd", "illumos", "macos"])
def test_another_system(runner, profile, system):
    """The kernel shows itself as that, and the reference is right there."""
    lines = TAKE if profile == "message" else ("open g0", 'send p0 "abc" fds=g0', "turn t0 as=r0_")
    made = runner("reference")
    verdict = made.examine(program(*lines, profile=profile, more=f" system={system}"))
    assert (verdict.violations, verdict.unsupported) == ((), "")


def test_what_a_system_lacks(runner):
    """It is said before anything is done."""
    verdict = runner("reference").run([program("set t0 passcred 1", profile="message", more=" system=freebsd")])[0]
    assert "SO_PASSCRED" in verdict.unsupported


@pytest.mark.parametrize("subject", ["reference", "python-socket"])
def test_what_is_right_is_found_right(runner, subject):
    """Random programs with faults, forgeries and systems: whatever these show is permitted."""
    made = runner(subject)
    rng = random.Random(5)
    wrong = []
    for offer in made.offers:
        if offer.profile is Profile.DESCRIPTORS:
            continue
        interposed = 0
        while interposed < 25:
            one = fresh(offer, rng, 10)
            if not any(isinstance(op, Fail | Short | Forge) for op in one.operations):
                continue
            interposed += 1
            (verdict,) = made.run([one])
            wrong += [(found.message, one) for found in verdict.violations]
    assert not wrong


MUTANTS = {
    "no-memory-loses-the-data": program("fail send ENOBUFS", *QUEUE),
    "interrupted-send-counts-as-sent": program("fail send EINTR", *QUEUE),
    "interrupted-receive-is-the-end": program("fail receive EINTR", 'send p0 "abc"', "turn t0 as=r0_"),
    "first-byte-alone-repeats-the-descriptor": program("short 1", *QUEUE),
    "not-permitted-is-a-regular-end": program("fail send EPERM", *QUEUE),
    "sent-close-is-made-again": program("fail close EIO", *QUEUE),
    "no-memory-after-a-part-begins-again": program("short 3", "fail send ENOBUFS", *QUEUE[2:]),
    "close-on-exec-that-fails-is-not-told": program(
        "open g0", "fail fcntl EIO", 'send p0 "abc" fds=g0', "turn t0 as=r0_"
    ),
    "stray-bytes-are-damage": program(
        "open f0", "open g0", "forge stray numbers=7 bait=f0", 'send p0 "abc" fds=g0', "turn t0 as=r0_"
    ),
    "second-list-is-forgotten": program(
        "open g0", "forge split numbers=1,1,0", 'send p0 "abc" fds=g0,g0', "turn t0 as=r0_"
    ),
    "unwanted-close-that-fails-leaks": program(
        "open g0", "fail close EIO", 'send p0 "abc" fds=g0,g0', "turn t0 as=r0_", more=" receiver=plain"
    ),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mutant_is_found(mutant, runner):
    """What is wrong on a kernel that fails is found; the reference passes the same program."""
    assert runner("reference").examine(MUTANTS[mutant]).violations == ()
    made = open_runner(f"mutant:transport.{mutant}", interpose=True)
    try:
        assert made.examine(MUTANTS[mutant]).violations
    finally:
        made.close()


def test_a_stand_for_something_else():
    """A stand without a kernel in the middle is the harness's own mistake."""
    stand = Stand(launch_for(registry.find("reference"), "reference"))
    try:
        with pytest.raises(HarnessFault, match="kernel in the middle"):
            execute_interposed(stand, program("fail send EIO", *QUEUE))
    finally:
        stand.close()
