"""Outside proof: Twisted's own tests of sendmsg and of its UNIX transports, with the reference's sendmsg and recvmsg.

twisted.python.test.test_sendmsg and twisted.internet.test.test_unix are run whole, in another process, on every reactor
that can be had. The tests that cannot run here are those of NOT_APPLICABLE and no others. They are run a second time
with nothing replaced: whatever they leave open is to be the same.
"""

from __future__ import annotations

import collections
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("foreign_twisted.py")
MODULES = ("twisted.python.test.test_sendmsg", "twisted.internet.test.test_unix")

# How many tests these releases have: another number means that tests came or went, and wants a look.
TESTS = {"26.10.0": 226}
LEAST = 200


@dataclass(frozen=True)
class NotApplicable:
    """Tests whose class name ends so and that cannot run where the reason holds."""

    count: int
    reason: str
    possible: Callable[[], bool]


def gi() -> bool:
    return importlib.util.find_spec("gi") is not None


NOT_APPLICABLE = {
    "_GIReactorTests": NotApplicable(35, "the reactor of GLib needs the package gi (PyGObject)", gi),
}


def run(place: Path, mode: str):
    missing = [name for name in ("twisted", "hamcrest") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.fail(f"Twisted's suites cannot judge the reference without the packages {missing}: install fdspec[dev]")
    result = place / "result.json"
    command = [sys.executable, str(PROGRAM), mode, str(result), *MODULES]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(result.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report(tmp_path_factory, say):
    found = run(tmp_path_factory.mktemp("replaced"), "reference")
    counts = collections.Counter(outcome for _, outcome, _ in found["outcomes"])
    say(f"Twisted {found['twisted']}: {found['found']} tests, {dict(counts)}, calls {found['calls']}")
    return found


@pytest.fixture(scope="module")
def control(tmp_path_factory):
    return run(tmp_path_factory.mktemp("unchanged"), "unchanged")


def family(name: str) -> str:
    """Return which entry of the table a test falls under, or its own name."""
    return next((ending for ending in NOT_APPLICABLE if name.split(".")[-2].endswith(ending)), name)


def test_every_test_is_accounted_for(report):
    names = [name for name, _, _ in report["outcomes"]]
    assert len(names) == len(set(names)) == report["found"]
    for module in MODULES:
        assert any(name.startswith(module + ".") for name in names)


def test_the_number_of_tests_is_the_known_one(report):
    known = TESTS.get(report["twisted"])
    assert report["found"] == known if known else report["found"] >= LEAST


def test_none_fails(report):
    bad = [(name, outcome, text) for name, outcome, text in report["outcomes"] if outcome not in ("passed", "skipped")]
    assert not bad, "\n".join(f"{name}: {outcome}\n{text}" for name, outcome, text in bad)


def test_only_what_cannot_apply_is_left_out(report):
    skipped = collections.Counter(family(name) for name, outcome, _ in report["outcomes"] if outcome == "skipped")
    expected = {name: one.count for name, one in NOT_APPLICABLE.items() if not one.possible()}
    reasons = {text for _, outcome, text in report["outcomes"] if outcome == "skipped"}
    assert skipped == expected, f"Twisted's reasons: {reasons}"


def test_the_rest_passes(report):
    passed = sum(outcome == "passed" for _, outcome, _ in report["outcomes"])
    left_out = sum(one.count for one in NOT_APPLICABLE.values() if not one.possible())
    assert passed == report["found"] - left_out


def test_it_was_the_reference_that_was_called(report, control):
    """More than the tests' own calls: each reactor's transports use it, and so does the process that a test starts."""
    assert report["calls"]["sendmsg"] > 200
    assert report["calls"]["recvmsg"] > 50
    assert report["calls"]["getSocketFamily"] == 3
    assert report["calls_in_children"]["recvmsg"] >= 1
    assert control["calls"] == control["calls_in_children"] == {}


def test_it_is_the_same_suite_with_and_without(report, control):
    def outcomes(one):
        return {name: outcome for name, outcome, _ in one["outcomes"]}

    assert outcomes(report) == outcomes(control)


def test_nothing_more_is_leaked_than_without(report, control):
    """Twisted's tests leave files open themselves; the reference adds none."""
    before, after = report["descriptors"]
    before_without, after_without = control["descriptors"]
    assert after - before == after_without - before_without
