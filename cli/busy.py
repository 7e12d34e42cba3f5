"""Load: processes that do nothing but keep processors busy, and never outlive who asked for them."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Generator

_SPIN = """
import select, sys
print(flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    for _ in range(50_000):
        pass
"""
"""Ends at the end of its standard input, which comes however the process at the other end has ended."""


def cores() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def busy(count: int) -> Generator[list[int]]:
    """Keep ``count`` processes busy meanwhile; yields their numbers once all of them are at work."""
    with contextlib.ExitStack() as stack:
        running: list[subprocess.Popen[bytes]] = []
        for _ in range(count):
            process = subprocess.Popen(  # noqa: S603 - our own words
                [sys.executable, "-I", "-S", "-c", _SPIN],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,  # Ctrl-C is for us to deal with
            )
            stack.callback(_end, process)
            running.append(process)
        for process in running:
            assert process.stdout is not None  # noqa: S101 - PIPE was asked for
            process.stdout.readline()
        yield [process.pid for process in running]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    with process:  # closes the pipes and waits
        pass
