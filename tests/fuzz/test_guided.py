"""The default engine: exact numbers of programs, the seed decides, what is rare is followed, and what it keeps is bounded."""

from __future__ import annotations

from itertools import pairwise

import fakes
import pytest
from fdspec.fuzz import Program, everything, parse
from fdspec.fuzz.campaign.session import Hunt, Limits, Memory
from fdspec.fuzz.engines import guided
from fdspec.fuzz.engines.guided import search
from fdspec.fuzz.judgement import Verdict
from fdspec.fuzz.offer import Offer
from fdspec.impls.protocol.values import Profile


class Recorder(fakes.FakeRunner):
    """A fake that remembers what it was given."""

    def __init__(self, subject="fake", **more):
        super().__init__(subject, **more)
        self.given: list[list[Program]] = []

    def run(self, programs):
        self.given.append(list(programs))
        return super().run(programs)


def hunted(runner, *, seed=1, runs=1000, corpus=(), **more):
    session = Hunt(runner, Memory(), seed=seed, engine="guided", limits=Limits(runs), corpus=corpus, **more)
    search(runner, session)
    return session


@pytest.mark.parametrize("runs", [1, 31, 32, 33, 1000])
def test_it_runs_exactly_as_many_programs_as_asked_in_batches(runs):
    runner = Recorder()
    assert hunted(runner, runs=runs).counters.programs == runs
    assert runner.ran == runs
    assert {len(batch) for batch in runner.given[:-1]} <= {guided.BATCH}


def test_the_seed_decides_everything():
    one, same, other = Recorder(), Recorder(), Recorder()
    hunted(one, seed=5)
    hunted(same, seed=5)
    hunted(other, seed=6)
    assert one.given == same.given
    assert one.given != other.given


def test_the_corpus_is_run_first_and_is_not_kept_again():
    first = hunted(Recorder(), seed=1)
    runner = Recorder()
    again = hunted(runner, seed=2, corpus=first.corpus)
    ran = [program for batch in runner.given for program in batch]
    assert set(ran[: len(first.corpus)]) == set(first.corpus)
    assert len(set(again.corpus)) == len(again.corpus)
    assert again.counters.kept < len(first.corpus) / 2


def test_programs_of_a_corpus_that_do_not_fit_the_offer_are_made_to():
    program = parse('program 1 message dgram server\nopen f0\nsend t0 "a" "b" fds=f0 flags=OOB\ntake t0 16 room=3')
    runner = Recorder(profiles=[Profile.MESSAGE])
    runner.offers = [Offer(Profile.MESSAGE, frozenset({"stream", "client", "file", "payload"}))]
    hunted(runner, runs=100, corpus=[program])  # the fake asserts that each fits


def test_programs_of_other_profiles_in_a_corpus_are_left_alone():
    program = parse('program 1 transport stream client\nwrite t0 "a"\nturn t0')
    runner = Recorder(profiles=[Profile.MESSAGE])
    assert hunted(runner, runs=100, corpus=[program]).counters.programs == 100


def test_an_implementation_without_offers_is_an_error_and_no_endless_loop():
    runner = Recorder()
    runner.offers = []
    with pytest.raises(ValueError, match="offers no profile"):
        hunted(runner)


class Staircase(fakes.FakeRunner):
    """Shows one more feature for each `released` in a row after a `collect`: only one who follows what is rare gets far."""

    def run(self, programs):
        return [Verdict((), frozenset(self.steps(program))) for program in programs]

    def steps(self, program):
        lengths = [0]
        for one, following in pairwise(program.operations):
            tags = [str(type(each).__struct_config__.tag) for each in (one, following)]
            lengths.append(lengths[-1] + 1 if tags == ["shutdown", "shutdown"] else 0)
        return [f"step {length}" for length in range(max(lengths) + 1)]


def test_behaviour_that_few_programs_show_is_followed():
    guided_steps = len(hunted(Staircase("fake"), runs=6_000).features)
    alone = 0
    rng = guided.Random(1)
    for _ in range(6_000):
        steps = Staircase("fake").steps(guided.fresh(everything(Profile.MESSAGE), rng))
        alone = max(alone, len(steps))
    assert guided_steps >= alone + 2


def test_every_fault_of_a_fake_is_found():
    session = hunted(fakes.FakeRunner("fake-bugs", [Profile.MESSAGE]), runs=6000)
    assert {key.requirement for key in session.known} == set(fakes.BUGS)


def test_what_it_keeps_is_bounded(monkeypatch):
    monkeypatch.setattr(guided, "PROGRAMS", 50)
    monkeypatch.setattr(guided, "FEATURES", 40)
    runner = fakes.FakeRunner("fake", [Profile.MESSAGE])
    pools = []
    usual = guided._Pool

    class Pool(usual):
        def __init__(self, offer):
            super().__init__(offer)
            pools.append(self)

    monkeypatch.setattr(guided, "_Pool", Pool)
    hunted(runner, runs=3000)
    (pool,) = pools
    assert len(pool.programs) <= 50
    assert len(pool._ids) == len(pool._counts) == len(pool._shown_by) == 40
    assert max(map(len, pool._shown_by)) <= guided.SHOWN_BY
