"""The engine that coverage guides: its process finds, reports everything, and ends with the session, whatever happens."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from enginekit import Remembering
from fakes import environment, open_fake
from fdspec.conformance.bench import HarnessFault
from fdspec.fuzz import encode, is_valid, needs_of, parse
from fdspec.fuzz.engines import bycoverage
from fdspec.fuzz.inprocess import open_in_process
from fdspec.fuzz.targets.seeds import programs
from fdspec.impls.errors import StartFailed

TRUNCATED = 'program 1 descriptors stream client\nopen g0\nsend p0 "ab" fds=g0,g0\ntake t0 9 room=2 as=r0_'


@pytest.fixture(autouse=True)
def children(monkeypatch):
    """The processes that the engine has started: all must have ended."""
    started = []
    popen = bycoverage.subprocess.Popen
    monkeypatch.setattr(bycoverage.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    yield started
    assert all(child.poll() is not None for child in started)


@pytest.fixture
def fakes(monkeypatch):
    for name, value in environment().items():
        monkeypatch.setenv(name, value)


def test_every_program_is_told_and_fits_what_is_offered():
    runner = open_in_process("python-socket-fds")
    try:
        session = Remembering(300, corpus=programs())
        bycoverage.search(runner, session)
        offers = {offer.profile: offer.names for offer in runner.offers}
    finally:
        runner.close()
    assert len(session.told) == 300
    assert all(is_valid(program) and needs_of(program) <= offers[program.profile] for program, _ in session.told)
    assert len({encode(program) for program, _ in session.told}) > 50
    assert any("came" in name for name in session.features)


def test_it_goes_on_from_the_corpus_to_a_defect():
    runner = open_in_process("python-recipe")
    try:
        session = Remembering(4000, corpus=[parse(TRUNCATED)])
        session.tell = telling_until(session, "LC03")
        bycoverage.search(runner, session)
    finally:
        runner.close()
    assert "LC03" in {key.requirement for key in session.smallest}


def test_it_comes_to_a_defect_from_nothing():
    runner = open_in_process("twisted-sendmsg")
    try:
        session = Remembering(4000)
        session.tell = telling_until(session, "LC04")
        bycoverage.search(runner, session)
    finally:
        runner.close()
    assert "LC04" in {key.requirement for key in session.smallest}


def telling_until(session, requirement):
    tell = Remembering.tell

    def told(program, verdict):
        if any(one.requirement == requirement for one in verdict.violations):
            session._programs = 0
        return tell(session, program, verdict)

    return told


def test_any_runner_that_can_be_opened_again_is_searched(fakes):
    session = Remembering(400, corpus=programs()[:10])
    bycoverage.search(open_fake("fake-bugs"), session)
    assert {key.requirement for key in session.smallest} >= {"many-in-order"}


def test_a_runner_that_cannot_be_opened_is_told_as_such(fakes):
    runner = open_fake("fake")
    runner.subject = "fake-nostart"
    with pytest.raises(StartFailed, match="there is no such program"):
        bycoverage.search(runner, Remembering(10))


def test_a_fault_of_the_harness_comes_out(fakes):
    with pytest.raises(HarnessFault, match="in the process of libFuzzer: HarnessFault"):
        bycoverage.search(open_fake("fake-harness"), Remembering(100_000))


def test_a_process_that_dies_is_no_verdict(fakes):
    session = Remembering(100_000)
    with pytest.raises(HarnessFault, match="ended with -9"):
        bycoverage.search(open_fake("fake-dying"), session)
    assert not session.smallest


def test_a_session_that_cannot_write_ends_the_process(children):
    class Full(Remembering):
        def tell(self, program, verdict):
            raise OSError(28, "No space left on device")

    runner = open_in_process("python-socket")
    try:
        with pytest.raises(OSError, match="No space left"):
            bycoverage.search(runner, Full(100))
    finally:
        runner.close()


def test_a_session_that_is_over_ends_the_search_though_nothing_comes(children, monkeypatch, tmp_path):
    child = tmp_path / "silent.py"
    child.write_text("import sys\nsys.stdin.read()\n")
    monkeypatch.setattr(bycoverage, "CHILD", child)

    class Timed(Remembering):
        end = time.monotonic() + 1

        @property
        def over(self):
            return time.monotonic() > self.end

    session = Timed(1)
    runner = open_in_process("python-socket")
    runner.close()
    runner.offers = ()
    bycoverage.search(runner, session)
    assert session.told == []
    assert children[0].returncode == 0


def test_what_the_session_has_kept_from_others_is_given_to_it(tmp_path: Path):
    session = Remembering(1, corpus=programs()[:2])
    exchange = bycoverage._Exchange(session, tmp_path)
    exchange.give()
    assert len(list(tmp_path.iterdir())) == 2
    session.corpus += programs()[:5]
    exchange.known.add(encode(programs()[4]))  # the child's own
    exchange.give()
    exchange.give()
    assert len(list(tmp_path.iterdir())) == 4
