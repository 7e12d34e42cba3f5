"""What runs in a worker of Dask's scheduler: it says which fdspec it has, and has a process of its own do each request."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from functools import cache
from pathlib import Path
from typing import IO, cast

from ... import __version__
from .far_shard import PROGRESS
from .far_values import Failed, encode

TOPIC = "fdspec-progress"
"""The topic of Dask's events on which a worker tells what it sets up: ``(WORKER, LINE)``."""
LAST_WORDS = 400
"""Characters that are kept of what a process that died said last."""
_ROOT = Path(__file__).parent.parent.parent


def about() -> tuple[str, str]:
    """Return this fdspec's version, and a digest of the code that decides what a shard comes to."""
    return __version__, _code()


@cache
def _code() -> str:
    found = hashlib.sha256()
    for folder in ("conformance", "fuzz", "impls"):
        for path in sorted((_ROOT / folder).rglob("*.py")):
            found.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return found.hexdigest()[:16]


def serve(data: bytes, deadline: float) -> bytes:
    """Have a child do the request that ``data`` is, in at most ``deadline`` seconds; return the bytes of the reply."""
    return run(data, deadline, _tell)


def _tell(line: str) -> None:
    from distributed import get_worker  # noqa: PLC0415 - Dask is imported where a scheduler is asked for

    worker = get_worker()
    worker.log_event(TOPIC, (str(worker.address), line))


def run(data: bytes, deadline: float, tell: Callable[[str], None]) -> bytes:
    """Do as `serve`; ``tell`` is called with every line of progress."""
    try:
        child = subprocess.Popen(  # noqa: S603 - this interpreter, and a module of ours
            [sys.executable, "-m", "fdspec.fuzz.campaign.far_shard", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as fault:
        return encode(Failed(f"no process can be started: {fault}"))
    late = threading.Event()
    timer = threading.Timer(deadline, _kill, (child, late))
    timer.start()
    words: list[str] = []
    with child, _reading(cast("IO[bytes]", child.stderr), words, tell):
        reply = _exchange(child, data)
        code = child.wait()
        timer.cancel()
    if code == 0 and not late.is_set():
        return reply
    why = f"it did not end within {deadline:.0f} s" if late.is_set() else _ended(code)
    said = "".join(words)[-LAST_WORDS:].strip()
    return encode(Failed(f"the process of the shard failed: {why}" + (f"; it said last: {said}" if said else "")))


def _exchange(child: subprocess.Popen[bytes], data: bytes) -> bytes:
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("a child without pipes")
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(data)
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    return child.stdout.read()


@contextlib.contextmanager
def _reading(stream: IO[bytes], words: list[str], tell: Callable[[str], None]) -> Generator[None]:
    """Read what a child says, keep the last of it, and pass progress on."""

    def read() -> None:
        for raw in stream:
            line = raw.decode(errors="replace")
            if line.startswith(PROGRESS):
                tell(line.removeprefix(PROGRESS).rstrip())
                continue
            words.append(line[-LAST_WORDS:])
            del words[:-20]

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    yield
    thread.join(5.0)


def _kill(child: subprocess.Popen[bytes], late: threading.Event) -> None:
    if child.poll() is None:
        late.set()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _ended(code: int) -> str:
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"it was killed by {signal.Signals(-code).name}"
    return f"it exited with {code}"
