"""Run CPython's own socket tests on the reference: a program, started by test_cpython_suite.py.

Usage: python foreign_cpython.py REFERENCE_PARENT RESULT_FILE. Puts the reference's functions in the place of
socket.socket.sendmsg, recvmsg, recvmsg_into and of socket.send_fds, recv_fds, runs every test class of
test.test_socket that is about them, and writes what each test did as JSON.
"""

from __future__ import annotations

import collections
import functools
import gc
import json
import socket
import sys
import types
import unittest
from pathlib import Path

METHODS = ("sendmsg", "recvmsg", "recvmsg_into")
FUNCTIONS = ("send_fds", "recv_fds")
BESIDE_THE_BASE = (
    "CmsgMacroTests",
    "InterruptedRecvTimeoutTest",
    "InterruptedSendTimeoutTest",
    "SendRecvFdsTests",
    "RDSTest",
)


class Recorder(unittest.TestResult):
    """Every test's outcome, once: a test that is reported twice or not at all is seen by the counts."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: list[tuple[str, str, str]] = []

    def note(self, test: unittest.TestCase, outcome: str, text: str = "") -> None:
        self.outcomes.append((test.id().removeprefix("test.test_socket."), outcome, text))

    def addSuccess(self, test):  # noqa: N802
        self.note(test, "passed")

    def addError(self, test, err):  # noqa: N802
        super().addError(test, err)
        self.note(test, "error", self.errors[-1][1])

    def addFailure(self, test, err):  # noqa: N802
        super().addFailure(test, err)
        self.note(test, "failed", self.failures[-1][1])

    def addSkip(self, test, reason):  # noqa: N802
        self.note(test, "skipped", reason)

    def addExpectedFailure(self, test, err):  # noqa: N802
        self.note(test, "expected failure", str(err))

    def addUnexpectedSuccess(self, test):  # noqa: N802
        self.note(test, "unexpected success")


def reference(parent: str) -> types.ModuleType:
    """Import the reference's dialect from its folder alone, whatever interpreter this is."""
    sys.path.insert(0, parent)
    try:
        from reference.dialects import socket_methods
    finally:
        sys.path.remove(parent)
    return socket_methods


def install(module: types.ModuleType, calls: collections.Counter[str]) -> None:
    """Put the reference's functions in place, each counting its calls."""
    for owner, names in ((socket.socket, METHODS), (socket, FUNCTIONS)):
        for name in names:
            setattr(owner, name, counted(getattr(module, name), name, calls))


def counted(function, name, calls):
    @functools.wraps(function)
    def call(*args, **kwargs):
        calls[name] += 1
        return function(*args, **kwargs)

    return call


def chosen(test_socket: types.ModuleType) -> list[type[unittest.TestCase]]:
    """Return the test classes about messages: those on CPython's base class for them, and five that stand beside it."""
    base = test_socket.SendrecvmsgBase
    found = [
        item
        for item in vars(test_socket).values()
        if isinstance(item, type) and issubclass(item, unittest.TestCase) and issubclass(item, base)
    ]
    return [*found, *(getattr(test_socket, name) for name in BESIDE_THE_BASE)]


def open_descriptors() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def main(parent: str, result: str) -> None:
    calls: collections.Counter[str] = collections.Counter()
    install(reference(parent), calls)
    from test import test_socket

    suite = unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromTestCase, chosen(test_socket)))
    recorder = Recorder()
    before = open_descriptors()
    suite.run(recorder)
    report = {
        "python": list(sys.version_info[:3]),
        "found": suite.countTestCases(),
        "outcomes": recorder.outcomes,
        "calls": dict(calls),
        "descriptors": [before, open_descriptors()],
    }
    Path(result).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
