"""What the targets share: how one is started, a file that is not on any disk, and programs executed within the process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import atheris

from ...impls.protocol.values import Profile
from ..codec import decode
from ..offer import Offer, adapt
from ..text import show

if TYPE_CHECKING:
    from ..inprocess import InProcess

LONGEST = 4000
"""Characters of a message for people, beside what it repeats of its input."""
DICTIONARIES = Path(__file__).with_name("dictionaries")


class Broken(AssertionError):
    """An invariant of a target does not hold; the message has the input as far as it helps."""


def fuzz(test: Callable[[bytes], None]) -> NoReturn:
    """Give this process to libFuzzer, with the options of the command line."""
    arguments = list(sys.argv)
    dictionary = DICTIONARIES / f"{Path(arguments[0]).stem.removeprefix('fuzz_')}.dict"
    if dictionary.is_file() and not any(one.startswith("-dict=") for one in arguments):
        arguments.insert(1, f"-dict={dictionary}")
    atheris.Setup(arguments, test)
    atheris.Fuzz()
    raise SystemExit(0)


def hold(so: bool, what: str) -> None:
    """Raise Broken unless it is so."""
    if not so:
        raise Broken(what)


def told_shortly(fault: Exception, data: bytes) -> None:
    """Hold the message of an error to one that people can read: not empty, and no longer than its input and some words."""
    text = str(fault)
    hold(bool(text.strip()), f"{type(fault).__name__} without a message")
    hold(len(text) <= LONGEST + 6 * len(data), f"a message of {len(text)} characters about {len(data)} bytes")


class Memory:
    """A file in memory, whose content each input replaces."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("input", os.MFD_CLOEXEC)
        self.path = Path(f"/proc/self/fd/{self._fd}")

    def put(self, data: bytes) -> Path:
        """Make ``data`` the content of the file, and return its path."""
        os.ftruncate(self._fd, 0)
        written = 0
        while written < len(data):
            written += os.pwrite(self._fd, data[written:], written)
        return self.path


class Executed:
    """Programs on one implementation within this process; a violation that is not known already is raised."""

    def __init__(self, subject: str, profile: Profile, known: frozenset[str] = frozenset()) -> None:
        """``known``: requirements that the implementation is known not to meet, with the finding in its documentation."""
        self.subject = subject
        self.profile = profile
        self.known = known
        self._runner: InProcess | None = None
        self._offer = Offer(profile, frozenset())

    def run(self, data: bytes) -> None:
        """Run the program that ``data`` is, made to fit."""
        if self._runner is None:
            from ..inprocess import open_in_process  # noqa: PLC0415 - most targets have no use for it

            self._runner = open_in_process(self.subject, profiles=[self.profile])
            (self._offer,) = self._runner.offers
        program = adapt(decode(data), self._offer)
        (verdict,) = self._runner.run([program])
        for violation in verdict.violations:
            if violation.requirement not in self.known:
                said = f"{violation.requirement} at {violation.operation} in {violation.place}: {violation.message}"
                raise Broken(f"{self.subject}: {said}\npermitted: {'; '.join(violation.permitted)}\n{show(program)}")
