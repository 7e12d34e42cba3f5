"""Every case of the area ``faults`` finds a testee that is wrong in what it checks, and no case fails on one that is right."""

from __future__ import annotations

import pytest
from faulty import FAULTY, HELPERS, HONEST, SINGLE
from fdspec.conformance import direct
from fdspec.conformance.bench import Bench
from fdspec.conformance.interpose.kernel import in_the_middle
from fdspec.conformance.records import Verdict
from fdspec.conformance.suite import load_suite
from fdspec.impls.manifest import load
from fdspec.impls.process import launch_of
from fdspec.impls.protocol.values import Profile, SocketType
from fdspec.impls.setup import prepare

CASES = {name: case for name, case in load_suite().cases.items() if case.area == "faults"}
NEEDS_SINGLE = {name for name, case in CASES.items() if "single" in case.needs}
NEEDS_CLOSES = {f"faults.close.{name}" for name in ("error", "interrupted", "every-error", "odd-room", "no-number")}


@pytest.fixture
def judge(miscreant):
    """Return what runs cases on python-socket's adapter with other methods: the verdict and the words on each variant."""
    benches = []

    def run(body, cases, types):
        manifest = miscreant(HELPERS + body)
        profile = Profile.DESCRIPTORS if SINGLE in body else Profile.MESSAGE
        manifest.write_text(manifest.read_text().replace('"message"', f'"{profile.value}"'))
        benches.append(bench := Bench(launch_of(prepare(load(manifest))), in_the_middle()))
        found = {}
        for case in cases:
            for variant in direct.variants(case, [profile]):
                if variant.type in types:
                    problem = direct.run(bench, variant)
                    found[case.id, variant.type.value] = problem.verdict, problem.message
        return found

    yield run
    for bench in benches:
        bench.close()


def test_every_case_has_a_testee_that_it_finds():
    assert {case for case, _ in FAULTY.values()} == set(CASES)


@pytest.mark.parametrize("wrong", FAULTY)
def test_what_is_wrong_is_found(wrong, judge):
    case, body = FAULTY[wrong]
    found = judge(body, [CASES[case]], [SocketType.STREAM])
    verdict, message = found[case, "stream"]
    assert verdict in {Verdict.FAIL, Verdict.LEAK}, message


@pytest.mark.parametrize("right", HONEST)
def test_what_is_right_passes(right, judge):
    types = [SocketType.STREAM] if '"types"' in HONEST[right] else list(SocketType)
    found = judge(HONEST[right], [CASES[name] for name in CASES if name not in NEEDS_SINGLE], types)
    bad = {
        name: words for name, (verdict, words) in found.items() if verdict not in {Verdict.PASS, Verdict.UNSUPPORTED}
    }
    assert bad == {}
    idle = {name for (name, _), (verdict, _) in found.items() if verdict is Verdict.UNSUPPORTED}
    acts = NEEDS_CLOSES if "closes it" in right else {"faults.cloexec.refused"} if "cannot set" in right else set()
    assert idle == (NEEDS_CLOSES | {"faults.cloexec.refused"}) - acts
