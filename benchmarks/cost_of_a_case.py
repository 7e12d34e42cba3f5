"""What a case costs, beside a bare loop of the same system calls in the same run.

    python benchmarks/cost_of_a_case.py [-i IMPLEMENTATION] [--rounds N]

The whole cost of a case is the time from the beginning of one item to the beginning of the next, as pytest runs them: its own
machinery, the round trips to the testee, both censuses, the record. The bare loop does what the case ``send.one`` makes both
processes do, in one process and without asking anybody: listen is there already; connect, accept, ask for the peer's
credentials, open the file, send it with a byte, receive it, look at what it refers to, close everything, count what is open.
Printed are medians in microseconds and the ratio.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import os
import socket
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

CASE = "send.one"
LIMIT_MS, LIMIT_RATIO = 2.5, 25.0
UCRED = struct.calcsize("iii")


class Clock:
    """A pytest plugin that notes when each item begins, and has the first item run ``rounds`` times."""

    def __init__(self, rounds: int) -> None:
        self.rounds = rounds
        self.begins: list[float] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Generator[None]:
        yield
        if not items:
            return
        first = items[0]
        assert isinstance(first, pytest.Function)
        items[:] = [
            pytest.Function.from_parent(
                first.parent,
                name=f"{first.name}-{number}",
                callspec=first.callspec,
                callobj=first.obj,
                fixtureinfo=first._fixtureinfo,
                originalname=first.originalname,
            )
            for number in range(self.rounds)
        ]

    def pytest_runtest_logstart(self) -> None:
        self.begins.append(time.perf_counter())

    def medians(self) -> tuple[float, float]:
        """Return the median and the 95th percentile, in microseconds."""
        costs = sorted((after - before) * 1e6 for before, after in zip(self.begins, self.begins[1:], strict=False))
        return statistics.median(costs), costs[int(len(costs) * 0.95)]


def bare(kind: socket.SocketKind, path: str, file: str, rounds: int) -> float:
    """Return the median cost of one bare round, in microseconds."""
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(path)
    listener.listen(4)
    table = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY)
    costs: list[float] = []
    for _ in range(rounds):
        start = time.perf_counter()
        ours = socket.socket(socket.AF_UNIX, kind)
        ours.connect(path)
        peer, _ = listener.accept()
        peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED)
        fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
        ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))])
        _, ancillary, _, _ = peer.recvmsg(
            65536, socket.CMSG_SPACE(12) + socket.CMSG_LEN(4 * 253), socket.MSG_CMSG_CLOEXEC
        )
        got = array.array("i")
        got.frombytes(ancillary[0][2])
        os.fstat(got[0])
        for name in os.listdir(table):
            with contextlib.suppress(FileNotFoundError):  # the number by which the listing itself was read
                os.stat(name, dir_fd=table)
        os.close(got[0])
        os.close(fd)
        ours.close()
        peer.close()
        _ = os.fstat(table).st_size
        costs.append((time.perf_counter() - start) * 1e6)
    listener.close()
    os.close(table)
    return statistics.median(costs)


def main() -> int:
    """Measure and print; exit 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--implementation", default="python-socket")
    parser.add_argument("--rounds", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "file").write_bytes(b"x" * 64)
        floor = bare(socket.SOCK_STREAM, f"{name}/stream", f"{name}/file", options.rounds * 3)
        clock = Clock(options.rounds)
        arguments = [
            "--pyargs",
            "fdspec.conformance",
            "-q",
            "-p",
            "no:cacheprovider",
            "-c",
            os.devnull,
            "--rootdir",
            name,
        ]
        arguments += ["--fdspec-impl", options.implementation, "--fdspec-case", CASE, "--fdspec-out", f"{name}/out"]
        code = pytest.main([*arguments, "--fdspec-type", "stream"], plugins=[clock])
        floor = min(floor, bare(socket.SOCK_STREAM, f"{name}/again", f"{name}/file", options.rounds * 3))
    if code:
        return int(code)
    cost, tail = clock.medians()
    ratio = cost / floor
    print(f"bare loop of the same system calls   {floor:8.1f} us a round (median)")
    print(f"case {CASE} on {options.implementation:<20} {cost:8.1f} us (median), {tail:.1f} us (95th percentile)")
    print(f"ratio                                {ratio:8.1f}   (bars: {LIMIT_MS} ms, {LIMIT_RATIO:g} times)")
    return int(cost > LIMIT_MS * 1000 or ratio > LIMIT_RATIO)


if __name__ == "__main__":
    sys.exit(main())
