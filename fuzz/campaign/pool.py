"""The local pool: the processes of a campaign's workers, what they report, and what becomes of those that die."""

from __future__ import annotations

import contextlib
import hashlib
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from . import messages as m

DEATHS = 3
"""How often in a row a worker's place may be filled in vain."""
STEADY = 2_000
"""Programs after which a worker counts as one that lives."""
SILENT = 600.0
"""Seconds without a report after which a worker is killed: longer than a batch of programs that all hang."""
_TAIL = 2_000
_WORKER = "from fdspec.fuzz.campaign.worker import main; main()"


class Death(Struct, frozen=True):
    """A worker has died, and said nothing about why but this."""

    message: str


Event = m.Reports | Death


def seed_of(seed: int, *parts: object) -> int:
    """Return a seed of 63 bits that comes from another one and from what it is for."""
    words = "\0".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(words.encode()).digest()[:8], "big") >> 1


class Place:
    """A worker's place in a pool: its process now, and those before it."""

    def __init__(self, task: m.Task, index: int) -> None:
        self.task = task
        self.index = index
        self.incarnation = 0
        self.deaths = 0
        """In a row."""
        self.totals = m.Totals()
        self.done = False
        self.last = 0.0
        self.ended: m.Ended | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._reports = -1
        self._errors = -1
        self._words = b""
        self._rest = b""
        self._stopped = False

    @property
    def reports(self) -> int:
        """The descriptor on which reports come."""
        return self._reports

    @property
    def errors(self) -> int:
        """The descriptor on which comes what the worker writes to its standard error."""
        return self._errors

    def start(self, seconds: float | None, lock: int) -> None:
        """Start a process that does what the one before it has left of the task. ``lock``: a descriptor that it holds, too."""
        task = self.task
        runs = None if task.runs is None else max(0, task.runs - self.totals.counters.programs)
        self.task = task = replace(task, runs=runs, seconds=seconds)
        self.totals = m.Totals()
        self.ended = None
        self._stopped = False
        self._rest = b""
        self._reports, theirs = os.pipe2(os.O_CLOEXEC)
        self._errors, stderr = os.pipe2(os.O_CLOEXEC)
        self._words = b""
        os.set_blocking(self._reports, False)
        os.set_blocking(self._errors, False)
        seed = seed_of(task.seed, self.index, self.incarnation)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-P", "-c", _WORKER],
                stdin=subprocess.PIPE,
                stderr=stderr,
                pass_fds=(theirs, lock),
            )
        finally:
            os.close(theirs)
            os.close(stderr)
        self.last = time.monotonic()
        self._say(msgspec.json.encode(replace(task, seed=seed, report=theirs)))

    def say(self, word: m.Words) -> None:
        """Tell the worker something."""
        if self._process is not None:
            self._say(msgspec.json.encode(word))

    def stop(self) -> None:
        """Tell the worker to end, once."""
        if not self._stopped:
            self._stopped = True
            self.say(m.Stop())

    def _say(self, line: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(line + b"\n")
                self._process.stdin.flush()

    def read(self) -> Iterator[Event]:
        """Yield what the worker has reported since; `Death` or `fdspec.fuzz.campaign.messages.Ended` as the last of all."""
        try:
            data = os.read(self._reports, 1 << 20)
        except BlockingIOError:
            return
        self.last = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            report = msgspec.json.decode(line, type=m.Reports)
            if isinstance(report, m.Ended):
                self.ended = report
            else:
                yield report
        if not data:
            yield self._over()

    def listen(self) -> None:
        """Take in what the worker has written to its standard error, of which the last is kept."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._errors, 1 << 16):
                self._words = (self._words + data)[-_TAIL:]

    def _over(self) -> Event:
        process = self._process
        assert process is not None  # noqa: S101 - its reports were read
        if process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
        try:
            code = process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        self.listen()
        words = self._words.decode(errors="replace").strip()
        os.close(self._reports)
        os.close(self._errors)
        self._process, self._reports, self._errors = None, -1, -1
        if self.ended is not None:
            return self.ended
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return Death(f"worker {self.index} died by {how}" + (f": {words}" if words else ""))

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None:
            self._process.kill()


class Pool:
    """Places and their processes."""

    def __init__(self) -> None:
        self.places: list[Place] = []
        self._selector = selectors.DefaultSelector()
        self._wake, self._waker = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake, selectors.EVENT_READ)

    @property
    def waker(self) -> int:
        """A descriptor; a byte that is written to it ends a wait."""
        return self._waker

    @property
    def working(self) -> list[Place]:
        """The places with a process."""
        return [place for place in self.places if place.reports >= 0]

    def start(self, place: Place, seconds: float | None, lock: int) -> None:
        """Fill a place."""
        if place not in self.places:
            self.places.append(place)
        place.start(seconds, lock)
        self._selector.register(place.reports, selectors.EVENT_READ, place)
        self._selector.register(place.errors, selectors.EVENT_READ, place)

    def wait(self, seconds: float) -> Iterator[tuple[Place, Event]]:
        """Yield what workers report within a time, as soon as any does. A silent one is killed, and reported as dead."""
        for key, _ in self._selector.select(max(0.0, seconds)):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)
                continue
            place: Place = key.data
            if key.fd == place.errors:
                place.listen()
            if key.fd != place.reports:
                continue
            errors = place.errors
            for event in place.read():
                if place.reports < 0:
                    self._selector.unregister(key.fd)
                    self._selector.unregister(errors)
                yield place, event
        for place in self.working:
            if time.monotonic() - place.last > SILENT:
                place.kill()

    def close(self) -> None:
        """Kill whoever is left, and give everything back."""
        for place in self.working:
            place.kill()
        while self.working:
            for _ in self.wait(1.0):
                pass
        self._selector.close()
        os.close(self._wake)
        os.close(self._waker)
