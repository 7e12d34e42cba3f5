"""The runner: faults are laid at the door of the program that made them, and of its operation, among others or alone."""

import os
import random

import pytest
from fdspec.fuzz import parse
from fdspec.fuzz.engines.mutate import fresh, mutate
from fdspec.fuzz.judgement import Breach
from fdspec.fuzz.run.lanes import execute_many
from fdspec.fuzz.runner import open_runner
from fdspec.impls.errors import Unsupported
from fdspec.impls.mutants import tables
from fdspec.impls.protocol.values import Profile

GOOD = parse('program 1 message stream client\nopen f0\nsend t0 "good" fds=f0\nrecv p0 8 control=24 as=q0_')
BAD = parse(
    'program 1 message stream client\nopen f0\nsend t0 "fine"\nsend t0 "bad" fds=f0\nrecv p0 8 control=24 as=q0_'
)
MANY = [GOOD, GOOD, BAD, GOOD]


@pytest.fixture
def runner():
    """Return a maker of runners that are closed at the end."""
    opened = []

    def make(*arguments, **options):
        opened.append(open_runner(*arguments, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def programs(offer, count, seed=3):
    rng = random.Random(seed)
    found = [fresh(offer, rng) for _ in range(count)]
    return [mutate(one, offer, rng, found) for one in found]


@pytest.mark.parametrize("subject", ["python-socket", "reference", "linux"])
def test_what_is_right_is_found_right(runner, subject):
    """Whatever a good implementation shows is permitted, among others and alone."""
    made = runner(subject, profiles=[Profile.MESSAGE, Profile.DESCRIPTORS])
    for offer in made.offers:
        chosen = programs(offer, 150)
        verdicts = made.run(chosen)
        wrong = [
            (one.violations[0].message, program)
            for program, one in zip(chosen, verdicts, strict=True)
            if one.violations
        ]
        assert not wrong
        assert sum(bool(one.features) for one in verdicts) > 75
        for program in chosen[:10]:
            assert not made.examine(program).violations


def test_what_is_wrong_shows_alone_too(runner):
    """An implementation with a known fault: its call for one descriptor leaves open what came beside it."""
    made = runner("rust-vmm-sys-util")
    (offer,) = made.offers
    chosen = programs(offer, 150)
    verdicts = made.run(chosen)
    assert sum(bool(one.unsupported) for one in verdicts) < 20  # several buffers, and the call for one descriptor
    wrong = [program for program, one in zip(chosen, verdicts, strict=True) if one.violations]
    assert wrong
    for program in wrong[:3]:  # where it shows is told more exactly
        assert made.examine(program).violations


def test_the_harness_keeps_no_descriptor(runner):
    made = runner("linux")
    (offer,) = made.offers
    made.run(programs(offer, 200, 4))
    before, kept = len(os.listdir("/proc/self/fd")), made.kept()
    made.run(programs(offer, 2000, 5))
    assert len(os.listdir("/proc/self/fd")) - made.kept() == before - kept
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before - kept


FAULTS = {
    "crash": "os._exit(3)",
    "hang": "time.sleep(60)",
    "noise": "os.write(1, b'not a reply\\n')",
    "protocol": 'os.write(1, b\'{"id": 99999, "result": {}}\\n\')',
}


@pytest.mark.parametrize("breach", FAULTS)
def test_a_fault_is_told_of_the_right_operation(runner, miscreant, breach):
    body = f"""
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        if buffers[0] == b"bad":
            {FAULTS[breach]}
        return good.PythonSocket.sendmsg(self, fd, buffers, ancillary, flags, address)
    """
    made = runner(str(miscreant(body)))
    done = execute_many(made.stand, MANY)
    assert [one.trouble is None for one in done] == [True, True, False, True]
    assert (done[2].trouble.breach, done[2].trouble.at) == (breach, 2)
    assert [one.shown[2].files for one in (done[0], done[3])] == [("f0",)] * 2
    if breach != "hang":  # each costs its deadline
        verdicts = made.run(MANY)
        assert [[one.breach for one in verdict.violations[:1]] for verdict in verdicts] == [
            [],
            [],
            [Breach(breach)],
            [],
        ]
    alone = made.examine(BAD)
    assert (alone.violations[0].breach, alone.violations[0].at) == (Breach(breach), 2)
    assert alone.transcript
    assert not made.examine(GOOD).violations


def test_a_stray_close_of_another_programs_descriptor_is_not_that_ones_fault(runner, miscreant):
    """A descriptor is closed a program later, when its number is another's: only who does it is told so, alone."""
    body = """
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        done = good.PythonSocket.sendmsg(self, fd, buffers, ancillary, flags, address)
        if buffers[0] == b"bad":
            os.close(ancillary[0][2][0])
        return done
    """
    made = runner(str(miscreant(body)))
    done = execute_many(made.stand, MANY)
    assert [len(one.left.stray) for one in done] == [0, 0, 1, 0]
    assert "f0" in done[2].left.stray[0]
    assert Breach.STRAY_CLOSE in {one.breach for one in made.run(MANY)[2].violations}


def test_a_leak_is_told_by_its_name(runner, miscreant):
    body = """
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        if buffers[0] == b"bad":
            os.dup(ancillary[0][2][0])
        return good.PythonSocket.sendmsg(self, fd, buffers, ancillary, flags, address)
    """
    made = runner(str(miscreant(body)))
    done = execute_many(made.stand, MANY)
    assert [one.left.leaked for one in done] == [(), (), ("f0",), ()]
    assert [one.left.open.count("f0") for one in done] == [1, 1, 2, 1]
    assert {one.breach for one in made.examine(BAD).violations} == {Breach.LEAK}


def test_what_one_program_gives_another_is_nobodys_but_the_givers(runner, miscreant):
    """An implementation that keeps what it received, and hands it to the next caller: alone it does no such thing."""
    body = """
    kept = None

    def recvmsg(self, fd, sizes, room, control, flags):
        buffers, ancillary, flags, address = good.PythonSocket.recvmsg(self, fd, sizes, room, control, flags)
        if buffers[0] == b"swap":
            Miscreant.kept, ancillary = ancillary, Miscreant.kept or ancillary
        return buffers, ancillary, flags, address
    """
    swap = parse('program 1 message stream client\nopen g0\nsend p0 "swap" fds=g0\ntake t0 8 room=1 as=r0_')
    made = runner(str(miscreant(body)))
    assert [one.violations for one in made.run([swap, swap])] == [(), ()]


def test_mutants_and_what_cannot_be_had(runner):
    mutant = next(one for one in tables.everything().values() if one.profile is Profile.MESSAGE)
    made = runner(f"mutant:{mutant.id}")
    assert made.subject.startswith("mutant:")
    assert Profile.MESSAGE in [one.profile for one in made.offers]
    with pytest.raises(Unsupported, match="offers no program"):
        runner("linux", profiles=[Profile.TRANSPORT])
    lacking = runner("rust-vmm-sys-util")
    assert "profile message" in lacking.run([GOOD])[0].unsupported
    assert lacking.observe(GOOD).shown == (None,) * 3


def test_facts(runner):
    made = runner("reference")
    facts = made.facts(Profile.MESSAGE)
    assert not facts.raw
    assert facts.platform.ids.pid != os.getpid()
    assert facts.platform.peer_ids.pid == os.getpid()
    assert facts.policies
    raw = runner("linux").facts(Profile.MESSAGE)
    assert raw.raw
    assert raw.offer.profile is Profile.MESSAGE
