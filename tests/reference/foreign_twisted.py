"""Run Twisted's own tests of sendmsg on the reference: a program, started by test_twisted_suites.py.

Usage: python foreign_twisted.py reference|unchanged RESULT_FILE MODULE... Puts the reference's functions in the place of those of
twisted.python.sendmsg, before anything of Twisted uses them, runs the test modules with trial's machinery on Twisted's
own reactors, and writes what each test did as JSON. Processes that a test starts (Python, with this folder on its path)
get the same treatment from a sitecustomize module that this program writes, and leave a line each in a log.
"""

from __future__ import annotations

import collections
import functools
import gc
import json
import os
import sys
from pathlib import Path

NAMES = ("sendmsg", "recvmsg", "getSocketFamily")
CHILD_LOG = "FDSPEC_CHILD_CALLS"
SITECUSTOMIZE = """\
import os
if os.environ.get("FDSPEC_CHILD_CALLS"):
    import foreign_twisted
    foreign_twisted.install_in_child()
"""


def install(note) -> None:
    """Put the reference's functions in place, each telling `note` its name when called."""
    import twisted.python.sendmsg as theirs
    from fdspec.impls.reference.dialects import twisted_sendmsg as ours

    for name in NAMES:
        setattr(theirs, name, told(getattr(ours, name), name, note))
    theirs.ReceivedMessage = ours.ReceivedMessage


def told(function, name, note):
    @functools.wraps(function)
    def call(*args, **kwargs):
        note(name)
        return function(*args, **kwargs)

    return call


def install_in_child() -> None:
    def note(name: str) -> None:
        with Path(os.environ[CHILD_LOG]).open("a", encoding="utf-8") as log:
            log.write(f"{name}\n")

    install(note)


def recorder_class():
    from twisted.trial import reporter

    class Recorder(reporter.Reporter):
        """Every test's outcome, once for each report that trial makes."""

        outcomes: list[tuple[str, str, str]] = []  # noqa: RUF012 - one run in this process

        def note(self, test, outcome, text=""):
            self.outcomes.append((test.id(), outcome, str(text)))

        def addSuccess(self, test):  # noqa: N802
            super().addSuccess(test)
            self.note(test, "passed")

        def addError(self, test, error):  # noqa: N802
            super().addError(test, error)
            self.note(test, "error", error.getTraceback() if hasattr(error, "getTraceback") else error)

        def addFailure(self, test, fail):  # noqa: N802
            super().addFailure(test, fail)
            self.note(test, "failed", fail.getTraceback() if hasattr(fail, "getTraceback") else fail)

        def addSkip(self, test, reason):  # noqa: N802
            super().addSkip(test, reason)
            self.note(test, "skipped", reason)

        def addExpectedFailure(self, test, failure, todo=None):  # noqa: N802
            super().addExpectedFailure(test, failure, todo)
            self.note(test, "expected failure", todo)

        def addUnexpectedSuccess(self, test, todo=None):  # noqa: N802
            super().addUnexpectedSuccess(test, todo)
            self.note(test, "unexpected success", todo)

    return Recorder


def open_descriptors() -> int:
    gc.collect()
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def main(mode: str, result: str, *modules: str) -> None:
    children = Path.cwd() / "children.log"
    children.touch()
    calls: collections.Counter[str] = collections.Counter()
    if mode == "reference":
        beside = Path.cwd() / "for-children"
        beside.mkdir()
        (beside / "sitecustomize.py").write_text(SITECUSTOMIZE, encoding="utf-8")
        os.environ[CHILD_LOG] = str(children)
        sys.path.insert(0, str(beside))
        install(lambda name: calls.update((name,)))
    import twisted
    from twisted.trial import runner

    recorder = recorder_class()
    suite = runner.TestLoader().loadByNames(list(modules))
    found = suite.countTestCases()
    with Path("trial.log").open("w", encoding="utf-8") as stream:
        trial = runner.TrialRunner(lambda _stream, *args, **kwargs: recorder(stream, *args, **kwargs), stream=stream)
        before = open_descriptors()
        trial.run(suite)
        after = open_descriptors()
    report = {
        "twisted": twisted.__version__,
        "found": found,
        "outcomes": recorder.outcomes,
        "calls": dict(calls),
        "calls_in_children": dict(collections.Counter(children.read_text(encoding="utf-8").split())),
        "descriptors": [before, after],
    }
    Path(result).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
