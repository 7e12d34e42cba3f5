"""What it costs to hold a system call, beside the same calls that nobody holds, in the same run.

    python benchmarks/cost_of_a_held_call.py [--rounds N] [--loop N]

A child sends itself a byte by sendmsg(2) and takes it by recvmsg(2), again and again. Five such children take turns, so that
whatever else the machine does hits all of them: one that nobody holds, one whose calls are held and let go on unseen, one that a
`Kernel` watches, one whose receives the harness carries out, and one whose sends of two bytes it cuts to one. Printed are the
medians over all rounds in microseconds: of a pair of calls, and how much more each held call costs than a bare one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fdspec.conformance.census import Identity
from fdspec.conformance.interpose.calls import Name
from fdspec.conformance.interpose.kernel import Kernel
from fdspec.conformance.interpose.launcher import Interposer
from fdspec.conformance.interpose.perform import as_linux, receive, send
from fdspec.conformance.interpose.probe import unavailable
from fdspec.impls.forking import Forked
from fdspec.impls.process import Process, Starter

LIMIT = 40.0
PATIENCE = 60.0
SENDS, RECEIVES = frozenset({Name.SENDMSG}), frozenset({Name.RECVMSG})


def body(data: bytes, loop: int) -> None:
    """Tell the identity of the socket; then, for each line on standard input, tell the microseconds of one pair of calls."""
    ours, theirs = socket.socketpair()
    facts = os.fstat(theirs.fileno())
    other = os.fstat(ours.fileno())
    os.write(1, f"{facts.st_dev} {facts.st_ino} {other.st_ino}\n".encode())
    sendmsg, recvmsg, parts = ours.sendmsg, theirs.recvmsg, [data]
    while os.read(0, 1):
        start = time.perf_counter()
        for _ in range(loop):
            sendmsg(parts)
            recvmsg(1)
        os.write(1, b"%.3f\n" % ((time.perf_counter() - start) / loop * 1e6))


@dataclass
class Runner:
    """One of the children: ``held`` of its two calls are held."""

    title: str
    held: int
    process: Process
    before: Callable[[], None] = lambda: None
    costs: list[float] = field(default_factory=list)

    def line(self) -> list[str]:
        """Return the words of the next line that the child says."""
        stdout = self.process.stdout
        if stdout is None or not select.select([stdout], [], [], PATIENCE)[0]:
            raise TimeoutError(f"{self.title}: no answer")
        return os.read(stdout.fileno(), 200).decode().split()

    def round(self) -> None:
        """Measure once."""
        self.before()
        assert self.process.stdin is not None
        os.write(self.process.stdin.fileno(), b"x")
        self.costs.append(float(self.line()[0]))

    @property
    def median(self) -> float:
        return statistics.median(self.costs)


def forked(data: bytes, loop: int) -> Starter:
    """Return a starter that forks a child of this kind, whatever the command."""
    return lambda _command, directory, _environment, log, cage: Forked(partial(body, data, loop), directory, log, cage)


@contextlib.contextmanager
def runners(directory: Path, loop: int) -> Iterator[list[Runner]]:
    """Start all of them, and end them."""
    kernel = Kernel()
    gone = Interposer(names=SENDS | RECEIVES)
    carried = Interposer(lambda held: receive(held, as_linux), RECEIVES)
    cut = Interposer(lambda held: send(held, 1), SENDS)
    one, two = forked(b"x", loop), forked(b"xy", loop)
    rows: Sequence[tuple[str, int, Starter]] = [
        ("bare", 0, one),
        ("held and let go on", 2, gone.starter(one)),
        ("watched by a Kernel", 2, kernel.starter(one)),
        ("receive carried out", 1, carried.starter(one)),
        ("send cut short", 1, cut.starter(two)),
    ]
    found: list[Runner] = []
    with (directory / "log").open("wb") as log:
        try:
            for title, held, starter in rows:
                found.append(Runner(title, held, starter([], directory, {}, log, lambda: None)))
            for runner in found:
                device, *inodes = map(int, runner.line())
                if "Kernel" in runner.title:
                    sockets = [Identity(device, inode) for inode in inodes]
                    runner.before = partial(kernel.watch, sockets, lambda _identity: False)
            yield found
        finally:
            for runner in found:
                os.kill(runner.process.pid, signal.SIGKILL)
                runner.process.wait()
            for interposer in (gone, carried, cut):
                interposer.stop()
            kernel.close()


def main() -> int:
    """Measure and print; exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--loop", type=int, default=500, help="pairs of calls in a round")
    options = parser.parse_args()
    reason = unavailable()
    if reason:
        print(f"nothing to measure: {reason}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name, runners(Path(name), options.loop) as found:
        for _ in range(options.rounds):
            for runner in found:
                runner.round()
    bare = found[0].median
    print(f"{'':22}{'a pair of calls':>16}{'more for each that is held':>30}")
    for runner in found:
        more = f"{(runner.median - bare) / runner.held:27.1f} us" if runner.held else ""
        print(f"{runner.title:22}{runner.median:13.1f} us{more}")
    extra = (found[1].median - bare) / found[1].held
    print(
        f"a held call costs {extra:.1f} us more than a bare one (median of {options.rounds} rounds; bar: {LIMIT:g} us)"
    )
    return int(extra > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
