"""How many programs a second are executed, and executed and judged, beside a bare loop of their system calls in the same run.

    python benchmarks/programs_a_second.py [-i IMPLEMENTATION]... [--programs N] [--rounds N]

The programs are of profile message: what the mutating engine makes of its own fresh ones, from one seed, and fit to what each
implementation offers. They are executed by batches in a testee process, with its account taken. The testee and the harness have
one core for themselves (a request and its reply are waited for in turn, and two cores would only wake each other up), so two
workers have two. Two numbers are printed for each implementation: execution alone, and with the oracle's judgement. Beside each
stands the processor time of the harness and of the testee, which other load on the machine changes less than it changes the
programs a second. The bare loop does the same calls on both ends in one process, without asking anybody and without an account.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from typing import NamedTuple

from fdspec.conformance.model import flags as f
from fdspec.conformance.model.operations import Collect, Pair, Receive, Released, Room
from fdspec.fuzz.engines.mutate import fresh, mutate
from fdspec.fuzz.offer import Offer
from fdspec.fuzz.operations import Take
from fdspec.fuzz.program import Program
from fdspec.fuzz.run.lanes import BATCH, execute_many
from fdspec.fuzz.run.objects import Shelf, Things
from fdspec.fuzz.run.peerend import PeerEnd
from fdspec.fuzz.run.stand import KINDS
from fdspec.fuzz.runner import TesteeRunner, open_runner
from fdspec.impls.protocol.values import Profile

BARS = {"python-socket": 3000.0, "reference": 3000.0, "linux": 6000.0}
"""Programs a second, executed."""
TWO = 1.7
"""How many times one worker two have to be."""
SEED = 20261121


class Rate(NamedTuple):
    """Programs a second, and microseconds of processor time a program: the harness's and the testee's."""

    programs: float
    harness: float
    testee: float


def corpus(offer: Offer, count: int) -> list[Program]:
    """Return programs within the offer, always the same ones."""
    rng = Random(SEED)
    first = [fresh(offer, rng) for _ in range(count)]
    return [mutate(rng.choice(first), offer, rng, first) for _ in range(count)]


def testee_time(runner: TesteeRunner) -> float:
    """Return the seconds of processor time that the testee has had."""
    fields = Path(f"/proc/{runner.stand.testee.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rate(
    runner: TesteeRunner, run: Callable[[Sequence[Program]], object], programs: Sequence[Program], rounds: int
) -> Rate:
    """Return the medians over several rounds."""
    run(programs[: 4 * BATCH])
    found: list[Rate] = []
    for _ in range(rounds):
        wall, own, theirs = time.perf_counter(), time.process_time(), testee_time(runner)
        run(programs)
        count = len(programs) / 1e6
        harness, testee = time.process_time() - own, testee_time(runner) - theirs
        found.append(Rate(len(programs) / (time.perf_counter() - wall), harness / count, testee / count))
    return Rate(*(statistics.median(column) for column in zip(*found, strict=True)))


def bare(programs: Sequence[Program], rounds: int) -> float:
    """Return the median of microseconds a program that the calls of both ends take in one process."""
    found: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        shelf = Shelf(Path(name))
        for _ in range(rounds):
            begin = time.process_time()
            for program in programs:
                bare_program(shelf, program)
            found.append((time.process_time() - begin) / len(programs) * 1e6)
        shelf.close()
    return statistics.median(found)


def bare_program(shelf: Shelf, program: Program) -> None:
    """Do a program's system calls on both ends."""
    things = Things(shelf)
    end = PeerEnd(things)
    for kind, a, b in [
        (program.type, "t0", "p0"),
        *((one.kind, one.a, one.b) for one in program.operations if isinstance(one, Pair)),
    ]:
        for name, sock in zip((a, b), socket.socketpair(socket.AF_UNIX, KINDS[kind]), strict=True):
            end.adopt(name, sock)
    for op in program.operations:
        if isinstance(op, Take):
            room = f.HEADER + 4 * op.room if op.room else None
            end.perform(Receive(op.name, op.sizes, room, op.flags, prefix=op.prefix))
        elif not isinstance(op, (Pair, Room, Collect, Released)):
            end.perform(op)
    end.close()
    things.close()


def worker(
    subject: str, cpu: int, count: int, rounds: int, begin: Barrier, out: multiprocessing.SimpleQueue[float]
) -> None:
    """Execute programs on one core, from the moment that all workers are ready."""
    runner = open_runner(subject, profiles=[Profile.MESSAGE], cpu=cpu)
    try:
        programs = corpus(runner.offers[0], count)
        execute_many(runner.stand, programs[: 4 * BATCH])
        begin.wait()
        start = time.perf_counter()
        for _ in range(rounds):
            execute_many(runner.stand, programs)
        out.put(rounds * count / (time.perf_counter() - start))
    finally:
        runner.close()


def together(subject: str, workers: int, count: int, rounds: int) -> float:
    """Return the programs a second that so many workers execute, each on a core of its own."""
    context = multiprocessing.get_context("fork")
    out = context.SimpleQueue()
    begin = context.Barrier(workers)
    cores = sorted(os.sched_getaffinity(0))
    made = [
        context.Process(target=worker, args=(subject, cores[index % len(cores)], count, rounds, begin, out))
        for index in range(workers)
    ]
    for one in made:
        one.start()
    found = sum(out.get() for _ in made)
    for one in made:
        one.join()
    return found


def main() -> int:
    """Measure and print; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--implementation", action="append")
    parser.add_argument("--programs", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    missed = False
    cores = os.sched_getaffinity(0)
    for subject in options.implementation or BARS:
        one, two = (together(subject, workers, options.programs, options.rounds) for workers in (1, 2))
        runner = open_runner(subject, profiles=[Profile.MESSAGE], cpu=min(cores))
        try:
            programs = corpus(runner.offers[0], options.programs)
            executed = rate(runner, partial(execute_many, runner.stand), programs, options.rounds)
            judged = rate(runner, runner.run, programs, options.rounds)
            floor = bare(programs, options.rounds)
        finally:
            runner.close()
            os.sched_setaffinity(0, cores)
        bar = BARS.get(subject, 0.0)
        mean = statistics.mean(len(program.operations) for program in programs)
        print(f"{subject}: {len(programs)} programs of {mean:.1f} operations in the mean, batches of {BATCH}")
        for what, seen in (("executed", executed), ("executed and judged", judged)):
            cpu = seen.harness + seen.testee
            print(
                f"  {what:<20} {seen.programs:7.0f} a second; processor time {seen.harness:.0f} us harness,"
                f" {seen.testee:.0f} us testee, {cpu / floor:.1f} times the bare loop"
            )
        print(f"  bare loop            {1e6 / floor:7.0f} a second; processor time {floor:.0f} us")
        print(
            f"  two workers          {two:7.0f} a second, {two / one:.2f} times one   (bars: {bar:.0f} a second, {TWO:g} times)"
        )
        missed |= executed.programs < bar or (two < TWO * one and len(cores) > 1)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
