"""The engine that coverage guides: libFuzzer makes up bytes, and keeps those that reach new code of this package or the API.

libFuzzer owns its process and never gives it back. So it has one of its own, `bycoverage_child`, with a runner of its own, in
which the oracles, the model, the codec and, within a process, the implementation itself are instrumented. Every program that it
has run comes back here with its verdict and is told to the session. When the session is over the child is ended.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
from msgspec import Struct

from ...conformance.bench import HarnessFault
from ...impls.errors import StartFailed
from ..codec import decode, encode
from ..judgement import Runner, Verdict
from ..offer import INTERPOSE
from ..targets.seeds import programs
from .engine import Session

CHILD = Path(__file__).with_name("bycoverage_child.py")
_LOOK = 0.2
"""Seconds between two looks whether the session is over."""
_PATIENCE = 10.0
"""Seconds that the child may take to close what it has open."""
_START_FAILED = "StartFailed"


class Order(Struct, frozen=True):
    """What the child is to do. ``opener``: ``module:function``, called with ``arguments``, returns its runner.

    ``packages``: the top-level packages that are instrumented; ``options`` are libFuzzer's, with its corpus at the end.
    """

    opener: str
    arguments: dict[str, Any]
    options: list[str]
    packages: list[str]
    report: int


class Done(Struct, frozen=True, array_like=True):
    """One program that was run, as bytes, and what was said of it."""

    program: bytes
    verdict: Verdict


class Report(Struct, frozen=True):
    """What the child writes: its length as four bytes, then this. ``fault``: why it can do no more; ``kind`` of exception."""

    done: list[Done] = []
    kind: str = ""
    fault: str = ""


def search(runner: Runner, session: Session) -> None:
    """Search until the session is over. Raises `StartFailed` and `HarnessFault`, as the child's runner does."""
    with tempfile.TemporaryDirectory(prefix="fdspec-coverage-") as name:
        directory = Path(name)
        corpus = directory / "corpus"
        corpus.mkdir()
        for number, program in enumerate(programs()):  # bytes at random take long to come to a send and its receive
            (corpus / f"seed-{number}").write_bytes(encode(program))
        exchange = _Exchange(session, corpus)
        exchange.give()
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb", buffering=0) as reports, (directory / "log").open("wb+") as log:
            try:
                child = _start(runner, session, corpus, writing, log)
            finally:
                os.close(writing)
            try:
                _listen(child, reports, session, exchange, log)
            finally:
                _end(child)


class _Exchange:
    """Gives the child the programs of the session's corpus that it has not found itself."""

    def __init__(self, session: Session, corpus: Path) -> None:
        self._session = session
        self._corpus = corpus
        self._seen = 0
        self.known: set[bytes] = set()

    def give(self) -> None:
        """Write what is new."""
        programs = self._session.corpus
        while self._seen < len(programs):
            data = encode(programs[self._seen])
            if data not in self.known:
                self.known.add(data)
                (self._corpus / f"given-{self._seen}").write_bytes(data)
            self._seen += 1


def opener_of(runner: Runner) -> tuple[str, dict[str, Any]]:
    """Return how another process opens a runner like this one."""
    again = getattr(runner, "again", None)
    if again is not None:
        return again()
    profiles = [str(offer.profile) for offer in runner.offers]
    interpose = any(INTERPOSE in offer.names for offer in runner.offers)
    opener = os.environ.get("FDSPEC_FUZZ_RUNNER", "fdspec.fuzz.runner:open_runner")
    return opener, {"subject": runner.subject, "profiles": profiles, "interpose": interpose}


def _start(runner: Runner, session: Session, corpus: Path, report: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
    opener, arguments = opener_of(runner)
    options = [f"-seed={session.seed % 2**31 + 1}", "-max_len=2048", "-timeout=0", "-rss_limit_mb=0", "-reload=1"]
    options += ["-handle_int=0", "-handle_term=0", f"-artifact_prefix={corpus.parent}/", str(corpus)]
    packages = ["fdspec", *(["twisted"] if runner.subject.startswith("twisted") else [])]
    order = Order(opener, arguments, options, packages, report)
    return subprocess.Popen(  # noqa: S603 - this interpreter, and a file of this package
        [sys.executable, "-P", str(CHILD), msgspec.json.encode(order).decode()],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        pass_fds=[report],
    )


def _listen(
    child: subprocess.Popen[bytes], reports: IO[bytes], session: Session, exchange: _Exchange, log: IO[bytes]
) -> None:
    """Tell the session what the child has run, until the session is over."""
    stream = _reports(reports)
    waiting = select.poll()
    waiting.register(reports, select.POLLIN)
    while not session.over:
        if not waiting.poll(_LOOK * 1000):
            continue
        report = next(stream, None)
        if report is None:
            child.wait(_PATIENCE)
            raise HarnessFault(f"the process of libFuzzer ended with {child.returncode}: {_last_words(log)}")
        for one in report.done:
            exchange.known.add(one.program)
            session.tell(decode(one.program), one.verdict)
            if session.over:
                return
        if report.fault:
            if report.kind == _START_FAILED:
                raise StartFailed("start", report.fault)
            raise HarnessFault(f"in the process of libFuzzer: {report.kind}: {report.fault}")
        exchange.give()


def _reports(stream: IO[bytes]) -> Iterator[Report]:
    """Yield what the child reports, to the end."""
    decoder = msgspec.msgpack.Decoder(Report)
    while head := _exactly(stream, 4):
        body = _exactly(stream, int.from_bytes(head, "little"))
        if not body:
            return
        yield decoder.decode(body)


def _exactly(stream: IO[bytes], count: int) -> bytes:
    """Return so many bytes; none where the stream ends before."""
    found = b""
    while len(found) < count:
        more = stream.read(count - len(found))
        if not more:
            return b""
        found += more
    return found


def _end(child: subprocess.Popen[bytes]) -> None:
    """Let the child close what it has open; kill it where it does not."""
    if child.stdin is not None:
        child.stdin.close()
    deadline = time.monotonic() + _PATIENCE
    while child.poll() is None and time.monotonic() < deadline:
        try:
            child.wait(deadline - time.monotonic())
        except subprocess.TimeoutExpired:
            break
    if child.poll() is None:
        child.kill()
        child.wait()


def _last_words(log: IO[bytes]) -> str:
    log.seek(0, os.SEEK_END)
    log.seek(max(0, log.tell() - 4096))
    lines = [line for line in log.read().decode(errors="replace").splitlines() if not line.startswith("INFO:")]
    return " | ".join(lines[-6:])[-600:] or "it said nothing"
