"""One worker's part: what is proved, what is not, what is kept, and when it is over."""

from __future__ import annotations

import errno
import random
import time
import tracemalloc

import fakes
import pytest
from fdspec.fuzz import Program, encode, everything, parse
from fdspec.fuzz.campaign import session as sessions
from fdspec.fuzz.campaign.session import Hunt, Limits, Memory, Shard, hunt, name_of
from fdspec.fuzz.engines.guided import search
from fdspec.fuzz.engines.mutate import fresh
from fdspec.fuzz.judgement import Breach, Key, Verdict, Violation
from fdspec.impls.protocol.values import Profile

PROGRAM = parse('program 1 message stream client\nopen g0\nopen g1\nsend p0 "a" fds=g0\nshutdown p0 wr\ntake t0 16')
SMALL = 'program 1 message stream client\nsend p0 "" fds=p0\ntake t0 room=0'


def begun(runner, sink=None, **more):
    return Hunt(runner, sink or Memory(), seed=1, engine="guided", **more)


def told(session, runner, program=PROGRAM):
    return session.tell(program, runner.run([program])[0])


def test_a_suspicion_is_proved_and_made_small():
    runner, sink = fakes.FakeRunner("fake-bugs"), Memory()
    session = begun(runner, sink)
    told(session, runner)
    (finding,) = sink.result.findings.values()
    assert finding.key == Key("truncation-visible", "take", "message/stream/testee")
    assert len(finding.program.operations) == 2
    assert finding.minimised
    assert finding.original == 5
    assert finding.violation.at == 1
    assert (finding.subject, finding.version, finding.engine, finding.seed) == ("fake-bugs", "1.0", "guided", 1)
    assert finding.platform
    assert not sink.result.unconfirmed


def test_a_key_that_is_known_is_counted_and_not_proved_again():
    runner, sink = fakes.FakeRunner("fake-bugs"), Memory()
    session = begun(runner, sink)
    told(session, runner)
    examined = runner.examined
    for _ in range(9):
        told(session, runner)
    assert runner.examined == examined
    assert session.counters.seen == {"truncation-visible at take in message/stream/testee": 10}
    assert session.counters.suspicions == 10


def test_what_no_examination_shows_is_kept_as_unconfirmed_and_tried_again_seldom():
    runner, sink = fakes.FakeRunner("fake-flaky"), Memory()
    session = begun(runner, sink)
    for _ in range(20):
        told(session, runner)
    assert runner.examined == 2 * 5  # at the first, second, fourth, eighth and sixteenth time
    session.close()
    ((words, finding),) = sink.result.unconfirmed.items()
    assert words == "truncation-visible at take in message/stream/testee"
    assert finding.program == PROGRAM
    assert session.counters.unconfirmed == {words: 20}
    assert not sink.result.findings
    assert not session.known


class Second(fakes.FakeRunner):
    """Shows it at the second examination alone."""

    def examine(self, program):
        self.examined += 1
        return Verdict() if self.examined == 1 else super().examine(program)


def test_a_second_examination_is_enough():
    runner, sink = Second("fake-bugs"), Memory()
    told(begun(runner, sink), runner)
    assert len(sink.result.findings) == 1


class Other(fakes.FakeRunner):
    """Examinations see the same fault elsewhere than runs."""

    def run(self, programs):
        violation = Violation(Breach.LEAK, "suspected", 0, "end", "message/stream/testee", "something")
        return [Verdict((violation,)) for _ in programs]


def test_an_examination_may_show_another_key_than_the_run():
    runner, sink = Other("fake-bugs"), Memory()
    session = begun(runner, sink)
    for _ in range(5):
        told(session, runner)
    (finding,) = sink.result.findings.values()
    assert finding.key.requirement == "truncation-visible"
    assert session.counters.seen == {str(finding.key): 5}
    assert not sink.result.unconfirmed


def test_only_the_first_violation_counts_because_others_may_be_its_consequence():
    program = parse('program 1 message stream client\nopen g0\nsend p0 "a" fds=g0,g0,g0\ntake t0 16')
    runner, sink = fakes.FakeRunner("fake-bugs"), Memory()
    told(begun(runner, sink), runner, program)
    assert [one.key.requirement for one in sink.result.findings.values()] == ["many-in-order"]


def test_a_finding_that_is_pending_is_made_small_later():
    runner, sink = fakes.FakeRunner("fake-bugs"), Memory()
    session = begun(runner, sink)
    violation = fakes.violations(PROGRAM)[0]
    session.small(session._finding(PROGRAM, violation, seen=3))
    (finding,) = sink.result.findings.values()
    assert finding.minimised
    assert len(finding.program.operations) == 2
    assert finding.key in session.known


def test_there_is_no_time_to_make_it_small_but_it_is_kept():
    runner, sink = fakes.FakeRunner("fake-bugs"), Memory()
    session = begun(runner, sink, limits=Limits(deadline=time.monotonic() - 1, patience=-1.0))
    assert session.over
    told(session, runner)
    (finding,) = sink.result.findings.values()
    assert finding.program == PROGRAM
    assert not finding.minimised


def test_programs_with_something_new_are_kept_once():
    runner, sink = fakes.FakeRunner("fake"), Memory()
    session = begun(runner, sink)
    assert told(session, runner)
    assert not told(session, runner)
    data = encode(PROGRAM)
    assert sink.result.corpus == {name_of(data): data}
    assert list(session.corpus) == [PROGRAM]
    assert session.counters.kept == 1


def test_what_cannot_be_run_is_counted_and_never_kept():
    runner, sink = fakes.FakeRunner("fake-unsupported"), Memory()
    session = begun(runner, sink)
    assert not session.tell(PROGRAM, Verdict(features=frozenset({"new"}), unsupported="no"))
    assert session.counters.unsupported == 1
    assert not sink.result.corpus


def test_it_is_over_after_so_many_programs_at_its_time_or_when_stopped():
    runner = fakes.FakeRunner("fake")
    session = begun(runner, limits=Limits(runs=2))
    assert (session.over, session.left) == (False, 2)
    told(session, runner)
    told(session, runner)
    assert (session.over, session.left) == (True, 0)
    assert begun(runner, limits=Limits(deadline=time.monotonic())).over
    stopped = []
    session = begun(runner, stopped=lambda: bool(stopped))
    assert not session.over
    stopped.append(1)
    assert session.over
    stopped.clear()
    assert session.over  # and it stays so


class Full(Memory):
    """A disk that is full."""

    def keep(self, name, data):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_is_full_is_no_secret():
    runner = fakes.FakeRunner("fake")
    with pytest.raises(OSError, match="No space left"):
        told(begun(runner, Full()), runner)


class Neighbours(Memory):
    """Others find one program."""

    def others(self):
        return [PROGRAM]


def test_programs_of_others_come_in(monkeypatch):
    monkeypatch.setattr(sessions, "EXCHANGE", 0.0)
    runner = fakes.FakeRunner("fake")
    session = begun(runner, Neighbours())
    mine = parse("program 1 message stream client\nopen f0")
    told(session, runner, mine)
    told(session, runner, mine)
    assert list(session.corpus) == [mine, PROGRAM]


def test_a_shard_done_twice_is_the_same():
    shard = Shard("fake-bugs", "guided", 7, 1000)
    one = hunt(fakes.FakeRunner("fake-bugs"), search, shard)
    two = hunt(fakes.FakeRunner("fake-bugs"), search, shard)
    assert one == two
    assert one.counters.programs == 1000
    assert {finding.key.requirement for finding in one.findings.values()} >= {"truncation-visible", "many-in-order"}
    assert all(finding.seen == one.counters.seen[words] for words, finding in one.findings.items())


def test_a_shard_that_knows_a_key_does_not_prove_it():
    known = hunt(fakes.FakeRunner("fake-bugs"), search, Shard("fake-bugs", "guided", 7, 1000))
    keys = tuple(finding.key for finding in known.findings.values())
    again = hunt(fakes.FakeRunner("fake-bugs"), search, Shard("fake-bugs", "guided", 7, 1000, keys))
    assert not again.findings
    assert again.counters.examined == 0
    assert again.counters.seen


class Endless(fakes.FakeRunner):
    """Shows something that was never seen before with each program, and a key of its own, too."""

    count = 0

    def run(self, programs):
        found = []
        for _ in programs:
            Endless.count += 1
            violation = Violation(Breach.DATA, f"r{Endless.count}", 0, "send", "message/stream/peer", "wrong")
            found.append(Verdict((violation,), frozenset({f"feature {Endless.count}"})))
        return found

    def examine(self, program):
        return Verdict()


def test_memory_is_bounded_whatever_a_runner_reports(monkeypatch):
    for name, value in (("IN_MEMORY", 100), ("FEATURES", 300), ("KEYS", 50)):
        monkeypatch.setattr(sessions, name, value)
    runner, sink = Endless("fake"), Forgetful()
    session = begun(runner, sink)
    rng = random.Random(1)
    offer = everything(Profile.MESSAGE)
    programs = [fresh(offer, rng) for _ in range(3000)]
    for program in programs[:1000]:
        session.tell(program, runner.run([program])[0])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for program in programs[1000:]:
        session.tell(program, runner.run([program])[0])
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(session.corpus) == 100
    assert len(session.features) == 300
    assert len(session._doubts) <= 51
    assert len(session.counters.unconfirmed) <= 51
    assert sum(session.counters.unconfirmed.values()) + sum(session._untold.values()) == 3000
    assert grown < 100_000


class Forgetful(Memory):
    """Keeps nothing."""

    def keep(self, name, data):
        assert name_of(data) == name

    def unconfirmed(self, finding):
        assert isinstance(finding.program, Program)
