"""What is said of one program on one implementation, and what a runner is: the contract between executors, oracles and engines.

A *violation* is one thing that the specification does not permit, told with everything that it would have permitted. Where a
program shows several, the first in time comes first: what follows it may be its consequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from .offer import Offer
from .program import Program
from .run.shown import Execution

END = "end"
"""The operation of a violation that shows in the account after the last operation."""


class Breach(StrEnum):
    """How a program shows that something is wrong."""

    CRASH = "crash"
    HANG = "hang"
    NOISE = "noise"
    """It wrote what is no reply where its replies belong."""
    PROTOCOL = "protocol"
    """It broke the testee protocol, or answered what it had offered with `unsupported`."""
    LEAK = "leak"
    STRAY_CLOSE = "stray-close"
    IDENTITY = "identity"
    """A descriptor refers to something else than what was sent, or to an open file description of its own."""
    DESCRIPTORS = "descriptors"
    """Other descriptors came than had to: too few, too many, in another order, with other data."""
    HIDDEN_LOSS = "hidden-loss"
    """Descriptors, or bytes of a packet, were lost and the caller cannot tell."""
    DATA = "data"
    """Bytes are wrong, lost, doubled, in another order, or in the wrong buffer."""
    RESULT = "result"
    """The return value is wrong: how many bytes, say."""
    ERROR = "error"
    """An error where none may be, none where one must be, or the wrong one."""
    FLAGS = "flags"
    CONTROL = "control"
    """Control messages that are no SCM_RIGHTS are wrong, or msg_controllen is."""
    CLOEXEC = "cloexec"
    EVENTS = "events"
    """A transport told its protocol the wrong thing: an event too many, missing, or out of order."""
    DIFFERENT = "different"
    """Two implementations part where the specification leaves no choice (engine differential)."""


class Key(Struct, frozen=True, order=True):
    """What makes two findings the same: the requirement broken, the operation at which it shows, and the place."""

    requirement: str
    operation: str
    place: str

    def __str__(self) -> str:
        return f"{self.requirement} at {self.operation} in {self.place}"


class Violation(Struct, frozen=True):
    """One thing that is not permitted.

    ``requirement``: the id of the requirement that it breaks (``conformance/requirements``), or the breach itself where it is
    one of the testee protocol (crash, hang, noise, protocol). ``at``: the index of the operation at which it shows, the number
    of operations for the account after the last. ``operation``: that one's verb in the text form, or `END`. ``place``: profile
    and type, and whose end saw it: ``message/stream/testee``, ``transport/client/peer``. ``message``: one sentence that says
    what was seen. ``permitted``: every outcome that would have been, a short sentence each.
    """

    breach: Breach
    requirement: str
    at: int
    operation: str
    place: str
    message: str
    permitted: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """What it is one with."""
        return Key(self.requirement, self.operation, self.place)


class Verdict(Struct, frozen=True):
    """What one program came to. No violation and no ``unsupported``: everything was as it has to be.

    ``features``: names of the behaviour that was seen (outcomes of the model, reasons, shapes); a program that shows one which
    none before it has shown is worth keeping. ``unsupported``: why the program could not be run at all. ``transcript``: lines
    for people, of `Runner.examine` alone.
    """

    violations: tuple[Violation, ...] = ()
    features: frozenset[str] = frozenset()
    unsupported: str = ""
    transcript: tuple[str, ...] = ()


class Runner(Protocol):
    """Runs programs against one implementation. Not for several threads at once; close it when done.

    Raises `fdspec.impls.errors.StartFailed` where the testee cannot be started at all, and
    `fdspec.conformance.bench.HarnessFault` where the harness itself went wrong. Everything else is a verdict.
    """

    @property
    def subject(self) -> str:
        """What is tested: the id of an implementation, ``mutant:ID``, or the path of an ``impl.toml``."""
        ...

    @property
    def version(self) -> str:
        """The version of the implementation as its testee tells it; '' where it does not."""
        ...

    @property
    def offers(self) -> Sequence[Offer]:
        """What the implementation offers, one per profile that a program can have."""
        ...

    def run(self, programs: Sequence[Program]) -> list[Verdict]:
        """Run many programs fast, a verdict each in order. A violation found here is a suspicion; `examine` proves it."""
        ...

    def observe(self, program: Program) -> Execution:
        """Execute one program as `examine` does, and judge nothing."""
        ...

    def examine(self, program: Program) -> Verdict:
        """Run one program alone and carefully. What shows here is a finding.

        There is a look at the table after every operation, a transcript, and a fresh testee if anything was ever wrong.
        """
        ...

    def close(self) -> None:
        """End the testee and remove everything. May be called again."""
        ...
