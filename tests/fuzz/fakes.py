"""Runners for tests: no testee, no system calls; what they say of a program depends on the program alone.

What is wrong with one, its subject says, words with ``-`` between: ``fake`` is faultless; ``fake-bugs`` has all of `BUGS`;
``fake-flaky`` shows them to ``run`` alone; ``fake-unsupported`` runs nothing; ``fake-nostart`` cannot be started; ``fake-harness``
fails as a harness does; ``fake-dying`` is killed after a few batches, ``fake-once`` the first time alone; ``fake-slow`` takes
a while for each batch. `open_fake` opens one, also in a worker: ``FDSPEC_FUZZ_RUNNER=fakes:open_fake``.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fdspec.conformance.bench import HarnessFault
from fdspec.conformance.model import flags as f
from fdspec.conformance.model.operations import Close, Receive, Rights, Send
from fdspec.fuzz import Offer, Program, everything, is_valid, needs_of, show
from fdspec.fuzz.judgement import Breach, Verdict, Violation
from fdspec.fuzz.operations import Operation, Take, end_of
from fdspec.fuzz.run.shown import Execution
from fdspec.impls.errors import StartFailed
from fdspec.impls.protocol.values import Profile

OPENER = "fakes:open_fake"
HERE = Path(__file__).parent


def _fds(operation: Operation) -> int:
    return (
        sum(len(one.fds) for one in operation.control if isinstance(one, Rights)) if isinstance(operation, Send) else 0
    )


def _sent_before(program: Program, at: int) -> bool:
    return any(_fds(one) for one in program.operations[:at])


def _truncation(program: Program, at: int) -> bool:
    one = program.operations[at]
    return isinstance(one, Take) and one.room == 0 and _sent_before(program, at)


def _peeking(program: Program, at: int) -> bool:
    one = program.operations[at]
    return isinstance(one, Take) and bool(one.flags & f.PEEK) and _sent_before(program, at)


def _many(program: Program, at: int) -> bool:
    return _fds(program.operations[at]) >= 3


def _control(program: Program, at: int) -> bool:
    one = program.operations[at]
    return isinstance(one, Receive) and one.control in (17, 18, 19) and _sent_before(program, at)


def _twice(program: Program, at: int) -> bool:
    one = program.operations[at]
    return isinstance(one, Close) and one in program.operations[:at]


BUGS: dict[str, tuple[Breach, Callable[[Program, int], bool]]] = {
    "truncation-visible": (Breach.HIDDEN_LOSS, _truncation),
    "peek-copies": (Breach.LEAK, _peeking),
    "many-in-order": (Breach.DESCRIPTORS, _many),
    "control-exact": (Breach.CONTROL, _control),
    "closed-once": (Breach.STRAY_CLOSE, _twice),
}


def violations(program: Program) -> tuple[Violation, ...]:
    """What a faulty fake shows with a program, in the order of time."""
    found = []
    for at, one in enumerate(program.operations):
        for name, (breach, shows) in BUGS.items():
            if shows(program, at):
                verb = type(one).__struct_config__.tag
                place = f"{program.profile}/{program.type}/{end_of(one.name).name.lower()}"
                found.append(Violation(breach, name, at, str(verb), place, f"{name} is broken", ("another outcome",)))
    return tuple(found)


def features(program: Program) -> frozenset[str]:
    """What a fake shows with a program: kinds of operations, which follows which, and how many descriptors."""
    verbs = [str(type(one).__struct_config__.tag) for one in program.operations]
    found = {f"{program.profile}/{program.type}", *verbs, *map("{} then {}".format, verbs, verbs[1:])}
    for one in program.operations:
        if isinstance(one, Take):
            found.add(f"room {one.room}")
        if isinstance(one, Receive):
            found.add(f"control {one.control}")
        found.add(f"fds {_fds(one)}")
    return frozenset(found)


class FakeRunner:
    """A `fdspec.fuzz.judgement.Runner`."""

    def __init__(self, subject: str, profiles: Sequence[Profile] | None = None, *, interpose: bool = False) -> None:
        self.subject = subject
        self.version = "1.0"
        self.words = subject.split("-")
        chosen = profiles or (Profile.MESSAGE, Profile.DESCRIPTORS)
        leave = frozenset() if interpose else frozenset({"interpose"})
        self.offers = [Offer(profile, everything(profile).names - leave) for profile in chosen]
        self.restarts = 0
        self.ran = self.looked = 0
        self.examined = 0
        self.closed = False

    def run(self, programs: Sequence[Program]) -> list[Verdict]:
        if "harness" in self.words:
            raise HarnessFault("the harness has no legs")
        if "slow" in self.words:
            time.sleep(0.02)
        if "dying" in self.words or ("once" in self.words and self._first()):
            os.kill(os.getpid(), signal.SIGKILL)
        self.ran += len(programs)
        return [self._verdict(program, flaky="flaky" in self.words) for program in programs]

    def _first(self) -> bool:
        """Whether this is the first of all runners in this directory to have run a good deal."""
        if self.ran < 320:
            return False
        try:
            Path("died-once").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _verdict(self, program: Program, *, flaky: bool) -> Verdict:
        if "unsupported" in self.words:
            return Verdict(unsupported="it can do nothing")
        offer = next(one for one in self.offers if one.profile is program.profile)
        self.looked += 1
        if self.looked % 8 == 1:  # it takes longer than all the rest
            assert is_valid(program), show(program)
            assert needs_of(program) <= offer.names, show(program)
        wrong = violations(program) if "bugs" in self.words or flaky else ()
        return Verdict(wrong, features(program))

    def observe(self, program: Program) -> Execution:
        return Execution(program, (None,) * len(program.operations))

    def examine(self, program: Program) -> Verdict:
        self.examined += 1
        return self._verdict(program, flaky=False)

    def close(self) -> None:
        self.closed = True


def open_fake(subject: str, *, profiles: Sequence[Profile] | None = None, interpose: bool = False) -> FakeRunner:
    if "nostart" in subject.split("-"):
        raise StartFailed("start", "there is no such program")
    return FakeRunner(subject, profiles, interpose=interpose)


def environment(opener: str = OPENER) -> dict[str, str]:
    """What a process needs in its environment for fakes."""
    return {"FDSPEC_FUZZ_RUNNER": opener, "PYTHONPATH": str(HERE)}


def open_ready(subject: str, **more: object) -> FakeRunner:
    """The same, and write a byte into the FIFO that ``FAKE_READY`` names."""
    handle = os.open(os.environ["FAKE_READY"], os.O_WRONLY | os.O_NONBLOCK)
    os.write(handle, b"!")
    os.close(handle)
    return open_fake(subject, **more)


def open_loud(subject: str, **more: object) -> FakeRunner:
    """The same, after it has written more to standard error than a pipe takes."""
    os.write(2, b"words " * 50_000)
    return open_fake(subject, **more)
