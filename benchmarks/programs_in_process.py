"""Programs a second within this process, on one core and without a census, beside a bare loop of the same system calls.

    python benchmarks/programs_in_process.py [-i IMPLEMENTATION]... [--rounds N] [--programs N]

The corpus is ready programs of four operations or so: an object is opened, sent with data by one end, received by the other with
enough room or too little, peeked at, closed; all types of sockets, both directions, one to three descriptors. Each is executed
and judged. The bare loop does what they make the two ends do, with sockets and pipes that are there already: sendmsg, recvmsg,
close of what came. Seconds are those of one core, user and system. Printed are medians over the rounds, and the ratio; then
the same with each program decoded from its bytes.
"""

from __future__ import annotations

import argparse
import array
import os
import socket
import statistics
import sys
import time
from collections.abc import Callable, Sequence

from fdspec.conformance.model.operations import Kind
from fdspec.fuzz import Program, adapt, decode, encode, parse
from fdspec.fuzz.inprocess import SUBJECTS, InProcess, NotHere, open_in_process
from fdspec.fuzz.inprocess.account import KINDS

BAR = 15_000
"""Programs a second, at least, of those that are ready."""
BARRED = ("python-socket", "python-socket-fds", "python-recipe")
"""The implementations that the bar is for: what is measured is the harness beside them."""
_SHAPES = (
    ("t", 1, 8, False),
    ("p", 1, 8, False),
    ("t", 3, 8, False),
    ("p", 3, 2, False),
    ("p", 2, 8, True),
    ("t", 1, 0, False),
)
"""Who sends, how many descriptors, room for how many, and whether the receiver peeks first."""


def corpus(runner: InProcess) -> list[Program]:
    """Return the programs, made to fit what the implementation offers."""
    texts: list[str] = []
    for kind in Kind:
        for sender, count, room, peek in _SHAPES:
            receiver, thing = ("p", "f") if sender == "t" else ("t", "g")
            how = f"recv p0 16 control={16 + 4 * room}" if receiver == "p" else f"take t0 16 room={room}"
            name = f" as={'q' if receiver == 'p' else 'r'}0_" if room else ""
            lines = [f"program 1 message {kind} client", f"open {thing}0"]
            lines.append(f'send {sender}0 "data" fds={",".join([f"{thing}0"] * count)}')
            lines += [f"{how} flags=PEEK{name}"] if peek else []
            lines += [how + (name.replace("0_", "1_") if peek else name), f"close {thing}0"]
            texts.append("\n".join(lines))
    return [adapt(parse(text), offer) for text in texts for offer in runner.offers]


def bare_rounds(programs: int) -> Callable[[], None]:
    """Return a loop over the same system calls, about so many programs long."""
    pairs = [socket.socketpair(socket.AF_UNIX, KINDS[kind]) for kind in Kind]
    for one in (end for pair in pairs for end in pair):
        one.setblocking(False)
    _, writer = os.pipe()
    steps: list[tuple[socket.socket, socket.socket, array.array[int], int, bool]] = []
    for a, b in pairs:
        for sender, count, room, peek in _SHAPES:
            ends = (a, b) if sender == "t" else (b, a)
            steps.append((*ends, array.array("i", [writer] * count), 16 + 4 * room if room else 0, peek))
    steps = (steps * (programs // len(steps) + 1))[:programs]

    def loop() -> None:
        for sender, receiver, fds, control, peek in steps:
            sender.sendmsg([b"data"], [(1, 1, fds)])
            for flags in (socket.MSG_PEEK, 0) if peek else (0,):
                _, ancillary, _, _ = receiver.recvmsg(16, control, flags)
                for _, _, data in ancillary:
                    for number in array.array("i", data):
                        os.close(number)

    return loop


def per_second(rounds: int, programs: int, work: Callable[[], object]) -> float:
    """Return the median over the rounds of how many programs ``work`` does in a second of one core's time."""
    found: list[float] = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        found.append(programs / (time.process_time() - start))
    return statistics.median(found)


def measure(subject: str, rounds: int, count: int) -> tuple[float, float]:
    """Return programs a second of ready programs, and of programs that are decoded first. Raises NotHere."""
    runner = open_in_process(subject)
    try:
        ready = corpus(runner)
        for program, verdict in zip(ready, runner.run(ready), strict=True):
            if verdict.unsupported:
                raise SystemExit(f"{subject} cannot run what was made for it: {verdict.unsupported}\n{program}")
        ready = (ready * (count // len(ready) + 1))[:count]
        clean = [program for program, verdict in zip(ready, runner.run(ready), strict=True) if not verdict.violations]
        clean = (clean * (count // len(clean) + 1))[:count]
        written = [encode(program) for program in clean]

        def decoded(written: Sequence[bytes] = written) -> None:
            for start in range(0, len(written), 64):
                runner.run([decode(data) for data in written[start : start + 64]])

        return per_second(rounds, count, lambda: runner.run(clean)), per_second(rounds, count, decoded)
    finally:
        runner.close()


def main() -> int:
    """Measure and print; exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--implementation", action="append", choices=SUBJECTS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--programs", type=int, default=4000)
    options = parser.parse_args()
    bare = per_second(options.rounds, options.programs, bare_rounds(options.programs))
    print(f"bare loop of the same system calls {bare:10,.0f} programs a second (median of {options.rounds})")
    missed = False
    for subject in options.implementation or SUBJECTS:
        try:
            ready, decoded = measure(subject, options.rounds, options.programs)
        except NotHere as why:
            print(f"{subject:<34} {why}")
            continue
        print(f"{subject:<34} {ready:10,.0f} ready, ratio {bare / ready:4.1f}; {decoded:8,.0f} decoded from bytes")
        missed |= subject in BARRED and ready < BAR
    print(f"bar: {BAR:,} ready programs a second on {', '.join(BARRED)}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
