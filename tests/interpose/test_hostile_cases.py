"""Every case of the area ``hostile`` finds a reader of control data that is wrong in one line, and fails on none that is right."""

from __future__ import annotations

import pytest
from fdspec.conformance import direct
from fdspec.conformance.bench import Bench
from fdspec.conformance.interpose.kernel import in_the_middle
from fdspec.conformance.records import Verdict
from fdspec.conformance.suite import load_suite
from fdspec.impls.manifest import load
from fdspec.impls.process import launch_of
from fdspec.impls.protocol.values import Profile, SocketType
from fdspec.impls.setup import prepare
from misreading import RIGHT, SHY, WRONG

CASES = {name: case for name, case in load_suite().cases.items() if case.area == "hostile"}


@pytest.fixture
def judge(miscreant):
    """Return what runs cases on a reader that is changed in these lines: each variant that does not pass, and the verdict."""
    benches = []

    def run(changes, cases, types):
        body = RIGHT
        for old, new in changes:
            assert body.count(old) == 1, f"{old!r} is not there, or twice"
            body = body.replace(old, new)
        manifest = miscreant(body)
        benches.append(bench := Bench(launch_of(prepare(load(manifest))), in_the_middle()))
        found = []
        for case in cases:
            for variant in direct.variants(case, [Profile.MESSAGE]):
                if variant.type in types:
                    problem = direct.run(bench, variant)
                    found += [(case.id, variant.values, problem)] if problem.verdict is not Verdict.PASS else []
                    if found and len(cases) == 1:
                        break  # every further one could cost a deadline
        return found

    yield run
    for bench in benches:
        bench.close()


def test_every_case_has_a_reader_that_it_finds():
    assert {case for case, _, _ in WRONG.values()} == set(CASES)


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_found(wrong, judge):
    case, old, new = WRONG[wrong]
    [(_, _, problem)] = judge([(old, new)], [CASES[case]], [SocketType.STREAM])
    assert problem.verdict in {Verdict.FAIL, Verdict.LEAK, Verdict.CRASH, Verdict.TIMEOUT}, problem


@pytest.mark.parametrize("changes", [(), *SHY.values()], ids=["as it is", *SHY])
def test_what_is_right_passes(changes, judge):
    assert judge(changes, CASES.values(), list(SocketType)) == []
