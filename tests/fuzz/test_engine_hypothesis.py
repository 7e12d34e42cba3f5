"""The engine that Hypothesis drives: it finds, makes small, remembers, and leaves nothing of Hypothesis's behind."""

from __future__ import annotations

import os

import pytest
from enginekit import Remembering
from fakes import open_fake
from fdspec.conformance.bench import HarnessFault
from fdspec.fuzz import is_valid, needs_of
from fdspec.fuzz.engines.byhypothesis import search
from fdspec.fuzz.inprocess import open_in_process
from fdspec.fuzz.targets.seeds import programs
from hypothesis.configuration import storage_directory


@pytest.fixture
def runner():
    made = open_fake("fake-bugs")
    yield made
    made.close()


def test_it_finds_and_makes_small(runner, capfd):
    session = Remembering(250)
    search(runner, session)
    assert len(session.told) >= 250
    assert session.smallest
    assert min(session.smallest.values()) <= 4
    assert all(is_valid(program) for program, _ in session.told)
    offers = {offer.profile: offer.names for offer in runner.offers}
    assert all(needs_of(program) <= offers[program.profile] for program, _ in session.told)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_the_same_seed_searches_the_same_and_another_another(runner):
    told = []
    for seed in (1, 1, 2):
        session = Remembering(60, seed=seed)
        search(runner, session)
        told.append([program for program, _ in session.told])
    assert told[0] == told[1]
    assert told[0] != told[2]


def test_it_begins_with_the_corpus(runner):
    session = Remembering(len(programs()) - 1, corpus=programs())
    search(runner, session)
    profiles = {offer.profile for offer in runner.offers}
    assert [program for program, _ in session.told] == [one for one in programs() if one.profile in profiles]


def test_what_it_remembers_is_in_the_directory(runner, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    before = storage_directory().home_directory
    session = Remembering(120, directory=tmp_path / "campaign")
    search(runner, session)
    assert any((tmp_path / "campaign" / "hypothesis" / "examples").rglob("*"))
    assert not any(elsewhere.iterdir())
    assert storage_directory().home_directory == before


def test_what_was_found_is_found_at_once_the_next_time(runner, tmp_path):
    first = Remembering(200, directory=tmp_path)
    search(runner, first)
    assert first.smallest
    again = Remembering(1, directory=tmp_path, seed=99)
    search(runner, again)
    assert again.smallest.keys() & first.smallest.keys()


def test_without_a_directory_nothing_stays(runner, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    search(runner, Remembering(40))
    assert not any(tmp_path.iterdir())


def test_a_fault_of_the_harness_comes_out_and_is_no_failing_test():
    runner = open_fake("fake-harness")
    session = Remembering(100_000)
    with pytest.raises(HarnessFault):
        search(runner, session)
    assert not session.smallest


def test_a_session_that_cannot_write_ends_the_search(runner):
    class Full(Remembering):
        def tell(self, program, verdict):
            raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space left"):
        search(runner, Full(100))


def test_what_shows_only_now_and_then_does_not_stop_it():
    runner = open_fake("fake-flaky")
    session = Remembering(120)
    search(runner, session)
    assert len(session.told) >= 120


def test_it_searches_within_a_process():
    runner = open_in_process("python-socket")
    try:
        session = Remembering(400, seed=3)
        search(runner, session)
    finally:
        runner.close()
    assert not session.smallest
    assert len(session.features) > 5
