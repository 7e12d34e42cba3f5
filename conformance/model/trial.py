"""Many random sequences on the kernel, each compared with the model step by step, and what came of it in figures."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import random
import resource
import time
from collections import Counter
from collections.abc import Iterable

from msgspec import Struct, field

from .chooser import choose, taste
from .explain import check, tell_mismatch
from .garbage import unreachable
from .kernel import Kernel, NotHere, collect
from .operations import Operation
from .outcome import Mismatch
from .reasons import REASONS
from .rules import follow
from .shrink import shrink
from .state import INHERITED, State, initial
from .text import show

_PR_SET_DUMPABLE = 4
_FIRST_UNUSED = 1_000_000
"""User ids from here on belong to nobody."""


class Finding(Struct, frozen=True):
    """A mismatch: the seed of its sequence, the small sequence as text, and the mismatch in words."""

    seed: int
    sequence: str
    mismatch: str


class Figures(Struct):
    """What a trial did. Counters count operations by kind, outcomes by name, and how often each requirement was a reason."""

    sequences: int = 0
    operations: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter[str])
    outcomes: Counter[str] = field(default_factory=Counter[str])
    reasons: Counter[str] = field(default_factory=Counter[str])
    most_states: int = 1
    findings: list[Finding] = field(default_factory=list[Finding])

    def add(self, other: Figures) -> None:
        """Add what another trial did."""
        self.sequences += other.sequences
        self.operations += other.operations
        self.seconds += other.seconds
        self.kinds.update(other.kinds)
        self.outcomes.update(other.outcomes)
        self.reasons.update(other.reasons)
        self.most_states = max(self.most_states, other.most_states)
        self.findings += other.findings

    @property
    def unused(self) -> list[str]:
        """The requirements that no step gave as its reason."""
        return sorted(REASONS - self.reasons.keys())


def trial(kernel: Kernel, seeds: Iterable[int], length: int = 30, *, most: int = 3) -> Figures:
    """Run one sequence per seed, of at most ``length`` operations. Stops after ``most`` mismatches; each is made small."""
    figures = Figures()
    start = time.monotonic()
    for seed in seeds:
        done = one_sequence(kernel, seed, length, figures)
        if isinstance(done, tuple):
            figures.findings.append(_small(kernel, seed, done))
            if len(figures.findings) >= most:
                break
    figures.seconds = time.monotonic() - start
    return figures


def one_sequence(kernel: Kernel, seed: int, length: int, figures: Figures) -> tuple[Operation, ...] | None:
    """Run the sequence of one seed and count what it does. Return it where the kernel and the model disagree."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    states: tuple[State, ...] = (initial(kernel.begin()),)
    liking = taste(draw, length)
    history: list[Operation] = []
    figures.sequences += 1
    try:
        for index in range(liking.length + len(liking.opening)):
            operation = choose(draw, states[0], liking, index)
            history.append(operation)
            found = follow(states, operation, kernel.execute(operation))
            if isinstance(found, Mismatch):
                return tuple(history)
            states = tuple(outcome.state for outcome in found)
            _count(figures, operation, found[0].name, found[0].because, len(states))
    finally:
        kernel.end()
        tidy(states[0])
    return None


def _count(figures: Figures, operation: Operation, name: str, because: tuple[str, ...], states: int) -> None:
    kind = type(operation).__name__.lower()
    figures.operations += 1
    figures.kinds[kind] += 1
    figures.outcomes[f"{kind}: {'sent in part' if name.startswith('sent ') else name}"] += 1
    figures.reasons.update(because)
    figures.most_states = max(figures.most_states, states)


def tidy(state: State) -> None:
    """Let the kernel collect what the sequence left in flight: it counts against the limit of an unprivileged user."""
    if not state.platform.privileged and (unreachable(state) or _sockets_in_flight(state)):
        collect()


def _sockets_in_flight(state: State) -> bool:
    queued = (file for socket in state.sockets.values() for message in socket.queue for file in message.fds)
    return any(file != INHERITED and state.files[file].socket is not None for file in queued)


def replay(kernel: Kernel, sequence: Iterable[Operation]) -> Mismatch | None:
    """Execute a sequence beside the model from the beginning; return the first mismatch."""
    start = initial(kernel.begin())
    try:
        return check(start, sequence, kernel.execute)[1]
    finally:
        kernel.end()
        if not start.platform.privileged:
            collect()


def _small(kernel: Kernel, seed: int, sequence: tuple[Operation, ...]) -> Finding:
    small = shrink(sequence, lambda one: replay(kernel, one) is not None, 300)
    again = replay(kernel, small)
    told = tell_mismatch(again) if again else "it did not happen again when the sequence was repeated"
    return Finding(seed, show(small), told)


# ---- as an unprivileged user, and in parallel --------------------------------------------------------------------------


def run(sequences: int, seed: int, length: int, jobs: int, unprivileged: int) -> tuple[Figures, str]:
    """Run ``sequences`` sequences in ``jobs`` processes, every ``unprivileged``-th by a user without privileges (0: none).

    Return the figures, and in words what the unprivileged user came to: '' or why there was none.
    """
    seeds = range(seed, seed + sequences)
    alone = [one for one in seeds if unprivileged and not one % unprivileged]
    plain = [one for one in seeds if not (unprivileged and not one % unprivileged)]
    lacking = (
        "" if os.geteuid() == 0 or not alone else "only root can become a user whose descriptors in flight are its own"
    )
    if lacking:
        plain, alone = list(seeds), []
    parts = [(plain[job::jobs], length, 0) for job in range(jobs)]
    parts += [(alone[job::jobs], length, _FIRST_UNUSED + os.getpid() * 16 + job) for job in range(jobs)]
    figures = Figures()
    with multiprocessing.get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        for done in pool.imap(_part, [part for part in parts if part[0]], chunksize=1):
            figures.add(done)
    return figures, lacking


def _part(part: tuple[list[int], int, int]) -> Figures:
    seeds, length, user = part
    if user:
        become(user)
    with Kernel(alone=bool(user)) as kernel:
        return trial(kernel, seeds, length)


def become(user: int) -> None:
    """Become a user without privileges, for good. Raises NotHere where that cannot be."""
    try:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    except OSError as fault:
        raise NotHere(f"cannot become user {user}: {fault}") from fault
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # or /proc/self belongs to root
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
