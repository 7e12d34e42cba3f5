"""What a run against the mutants amounts to, without a run."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from types import SimpleNamespace

import pytest
from fdspec.conformance import mutation
from fdspec.conformance.mutation import Catch, Examined, chosen, idle_cases, relevant
from fdspec.conformance.records import Verdict
from fdspec.conformance.suite import load_suite
from fdspec.impls.mutants.tables import Mutant, everything
from fdspec.reports.mutants import by_right, counts, judge, problems, rows

KERNEL, LIBRARY, OTHER = "kernel.case", "library.case", "other.case"


def case(identity, checks):
    return SimpleNamespace(id=identity, checks=checks, profiles=list(load_suite().cases["send.one"].profiles))


@pytest.fixture
def suite():
    requirements = {
        "S01": SimpleNamespace(subject="kernel"),
        "LC01": SimpleNamespace(subject="library"),
        "TC01": SimpleNamespace(subject="transport"),
    }
    cases = {KERNEL: case(KERNEL, ["S01"]), LIBRARY: case(LIBRARY, ["LC01"]), OTHER: case(OTHER, ["TC01", "S01"])}
    return SimpleNamespace(requirements=requirements, cases=cases)


def mutant(name, *violates):
    return Mutant(name, ["D001"], "A", list(violates), "A fault.", "old", "new")


MUTANTS = {"message.a": mutant("message.a", "LC01"), "message.b": mutant("message.b", "TC01")}


def examined(name, *cases, unsupported=(), spared=()):
    catches = [Catch(one, "stream", Verdict.FAIL, "assertion", "words") for one in cases]
    verdicts = Counter({Verdict.PASS: 3 - len(cases), Verdict.FAIL: len(cases)})
    return Examined(name, verdicts, catches, list(unsupported), list(spared), 0.5)


def results(a=(LIBRARY,), b=(OTHER,), reference=(), **more):
    found = [examined("", *reference, **more), examined("message.a", *a), examined("message.b", *b)]
    return {one.mutant: one for one in found}


def test_all_is_well(suite):
    judgement = judge(suite, MUTANTS, results())
    assert judgement.holds
    assert problems(suite, MUTANTS, judgement) == []


@pytest.mark.parametrize(
    ("found", "field", "words"),
    [
        (results(reference=[LIBRARY]), "reference", "the unmutated reference does not pass library.case"),
        (results(b=[]), "alive", "message.b was caught by no case: A fault."),
        (results(a=[KERNEL, LIBRARY], b=[KERNEL]), "elsewhere", None),
        (results(b=[LIBRARY]), "elsewhere", "message.b was caught, but by no case that checks TC01"),
        (results(a=[LIBRARY], b=[LIBRARY]), "idle", "other.case (TC01 S01) caught no mutant"),
    ],
)
def test_what_is_missing_is_said(suite, found, field, words):
    judgement = judge(suite, MUTANTS, found)
    assert not judgement.holds
    assert getattr(judgement, field)
    if words is not None:
        assert any(sentence.startswith(words) for sentence in problems(suite, MUTANTS, judgement))


def test_a_part_is_judged_as_far_as_it_goes(suite):
    found = results(b=[])
    assert judge(suite, MUTANTS, found, every_mutant=False).idle == []
    partly = judge(suite, MUTANTS, found, every_case=False)
    assert (partly.alive, partly.elsewhere, partly.idle) == ([], [], [])
    assert judge(suite, MUTANTS, results(reference=[OTHER]), every_case=False).reference == [OTHER]


def test_a_case_that_cannot_be_run_here_is_not_idle(suite):
    assert idle_cases(suite, results(b=[LIBRARY])) == {OTHER}
    assert idle_cases(suite, results(b=[LIBRARY], unsupported=[OTHER])) == set()


def test_two_runs_of_a_mutant_are_one():
    both = examined("message.a", LIBRARY, spared=[OTHER, KERNEL]) + examined("message.a", OTHER, spared=[KERNEL])
    assert both.cases == [LIBRARY, OTHER]
    assert both.spared == [KERNEL]
    assert both.verdicts[Verdict.FAIL] == 2
    assert both.seconds == 1.0


def test_the_table(suite):
    lines = rows(suite, MUTANTS, results(a=[KERNEL, LIBRARY], b=[]))
    assert lines[0][0] == "message.a"
    assert lines[0][-1] == f"{LIBRARY}, {KERNEL}*"
    assert lines[1][-1] == "NOBODY"
    assert by_right(suite, MUTANTS["message.a"], examined("message.a", KERNEL, LIBRARY)) == [LIBRARY]
    assert counts({Verdict.PASS: 5, Verdict.LEAK: 2, Verdict.UNSUPPORTED: 1}) == "2 leak of 8"
    assert counts({Verdict.PASS: 5}) == "none of 5"


def test_the_choice_is_the_same_every_time_and_takes_turns():
    suite = load_suite()
    every = [one for one in everything().values() if one.layer.value == "message"]
    order = suite.cases["send.order"]
    picked = [chosen(order, one) for one in every]
    assert picked == [chosen(order, one) for one in every]
    assert all(len({(one.type, one.side) for one in variants}) == 1 for variants in picked)
    assert {variants[0].type for variants in picked} == set(order.types)
    assert order in relevant(suite, every[0])


def test_a_mutant_is_spared_unless_asked_for():
    one = everything()["message.truncation-leaks"]
    mutation._SUITE[:] = [load_suite()]
    mutation._MUTANTS[one.id] = one
    with ProcessPoolExecutor(
        2, get_context("fork"), mutation.hurry
    ) as pool:  # the reference of this process stays its own
        short, whole = pool.map(mutation._one, [one.id] * 2, [None] * 2, [False, True])
    assert short.spared
    assert not whole.spared
    assert set(short.cases) <= set(whole.cases)
