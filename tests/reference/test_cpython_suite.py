"""Outside proof: CPython's own socket tests, with the reference's functions in the place of CPython's.

Every test of test.test_socket that is about sendmsg, recvmsg, recvmsg_into, rights, control truncation, send_fds and
recv_fds is run, in another process. The tests that cannot run here are those of NOT_APPLICABLE and no others.
"""

from __future__ import annotations

import collections
import importlib.util
import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("foreign_cpython.py")
REFERENCE_PARENT = Path(importlib.util.find_spec("fdspec.impls.reference").origin).parent.parent

# How many tests CPython has of these, by its version: another number means that tests came or went, and wants a look.
TESTS = {(3, 11): 395, (3, 12): 395, (3, 13): 395}
LEAST = 395


def opens(*arguments: int) -> bool:
    try:
        socket.socket(*arguments).close()
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class NotApplicable:
    """Tests of one class that cannot run where the reason holds."""

    count: int
    reason: str
    possible: Callable[[], bool]


def sctp() -> bool:
    return opens(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP)


def rds() -> bool:
    return opens(socket.PF_RDS, socket.SOCK_SEQPACKET, 0)


NOT_APPLICABLE = {
    "SendmsgSCTPStreamTest": NotApplicable(13, "the kernel has no SCTP", sctp),
    "RecvmsgSCTPStreamTest": NotApplicable(13, "the kernel has no SCTP", sctp),
    "RecvmsgIntoSCTPStreamTest": NotApplicable(16, "the kernel has no SCTP", sctp),
    "RDSTest": NotApplicable(5, "the kernel has no RDS, or no address for it", rds),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory, say):
    if importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_socket") is None:
        pytest.fail(
            f"{sys.executable} has no package 'test', so CPython's suite cannot judge the reference: "
            "install the interpreter's test package (Debian: libpython3-testsuite)"
        )
    place = tmp_path_factory.mktemp("cpython")
    result = place / "result.json"
    command = [sys.executable, str(PROGRAM), str(REFERENCE_PARENT), str(result)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(result.read_text(encoding="utf-8"))
    counts = collections.Counter(outcome for _, outcome, _ in found["outcomes"])
    say(
        f"CPython {'.'.join(map(str, found['python']))}: {found['found']} tests, {dict(counts)}, calls {found['calls']}"
    )
    return found


def test_every_test_is_accounted_for(report):
    names = [name for name, _, _ in report["outcomes"]]
    assert len(names) == len(set(names)) == report["found"]


def test_the_number_of_tests_is_the_known_one(report):
    known = TESTS.get(tuple(report["python"][:2]))
    assert report["found"] == known if known else report["found"] >= LEAST


def test_none_fails(report):
    bad = [(name, outcome, text) for name, outcome, text in report["outcomes"] if outcome not in ("passed", "skipped")]
    assert not bad, "\n".join(f"{name}: {outcome}\n{text}" for name, outcome, text in bad)


def test_only_what_cannot_apply_is_left_out(report):
    skipped = collections.Counter(name.split(".")[0] for name, outcome, _ in report["outcomes"] if outcome == "skipped")
    expected = {name: one.count for name, one in NOT_APPLICABLE.items() if not one.possible()}
    reasons = {text for _, outcome, text in report["outcomes"] if outcome == "skipped"}
    assert skipped == expected, f"CPython's reasons: {reasons}"


def test_the_rest_passes(report):
    passed = sum(outcome == "passed" for _, outcome, _ in report["outcomes"])
    left_out = sum(one.count for one in NOT_APPLICABLE.values() if not one.possible())
    assert passed == report["found"] - left_out


def test_it_was_the_reference_that_was_called(report):
    assert set(report["calls"]) == {"sendmsg", "recvmsg", "recvmsg_into", "send_fds", "recv_fds"}
    assert report["calls"]["recvmsg"] >= 150
    assert report["calls"]["recvmsg_into"] >= 180


def test_nothing_is_leaked(report):
    before, after = report["descriptors"]
    assert after == before
