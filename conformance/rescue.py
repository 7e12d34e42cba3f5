"""Freeing a testee that blocks in a call which must not block, so that the case can say so instead of running into a deadline.

While the harness waits for an answer, a testee whose every thread sleeps for a while is blocked: one that works, or is kept
from working by a busy machine, is runnable. The samples are counted, not the time, because a machine that keeps the testee
from running keeps this thread from looking as well.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator
from pathlib import Path

from .link import Link

INTERVAL = 0.01
"""Seconds between two looks."""
LOOKS = 30
"""How many looks in a row must find the testee asleep."""
RESCUE_SECONDS = 3.0
"""When a testee is freed into which nobody can look: well within a request's deadline."""


def state_of(task: Path) -> str:
    """Return the state of a process or thread, by its directory in /proc, as its ``stat`` shows it: R, S, T ..."""
    return (task / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]


def asleep(pid: int) -> bool | None:
    """Whether every thread of a process sleeps interruptibly (proc(5), state S); None where nobody can look."""
    try:
        states = [state_of(task) for task in Path(f"/proc/{pid}/task").iterdir()]
    except (OSError, IndexError):
        return None
    return all(state == "S" for state in states)


@contextlib.contextmanager
def rescue(link: Link, action: Callable[[], object]) -> Generator[threading.Event]:
    """Do ``action``, which frees the testee, if it blocks while the block runs; the event tells whether it was done."""
    done, over = threading.Event(), threading.Event()

    def watch() -> None:
        looks = 0
        limit = LOOKS
        while looks < limit:
            if over.wait(INTERVAL):
                return
            seen = asleep(link.testee.pid)
            if seen is None:
                limit = int(RESCUE_SECONDS / INTERVAL)
            looks = 0 if seen is False else looks + 1
        done.set()
        with contextlib.suppress(OSError):
            action()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield done
    finally:
        over.set()
        watcher.join()
