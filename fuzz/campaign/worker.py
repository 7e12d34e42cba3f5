"""One worker of a campaign, a process of its own: it opens a runner, has an engine search, and reports.

It ends when it is told to, when it has done its part, and at once when the campaign that started it is gone.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import msgspec
from msgspec import Struct

from ...conformance.bench import HarnessFault
from ...conformance.tomlfile import shown
from ...impls.errors import StartFailed, Unsupported
from ..engines.engine import Engine
from ..findings import store as findings
from ..findings.finding import Finding
from ..judgement import Runner
from . import messages as m
from .faults import Unwritable
from .session import Hunt, Limits
from .shrink import minimise
from .store import Keeper, Store, foreign

EVERY = 0.2
"""Seconds between two reports of progress."""
ORPHANED = 3.0
"""Seconds that a worker whose campaign is gone may take to end."""
ENGINES: dict[str, str] = {
    "guided": "fdspec.fuzz.engines.guided:search",
    "hypothesis": "fdspec.fuzz.engines.byhypothesis:search",
    "atheris": "fdspec.fuzz.engines.bycoverage:search",
    "differential": "fdspec.fuzz.engines.guided:search",
}
"""Engines by name, ``module:function``. That of ``differential`` is the default one, on a runner of several."""


class Orphaned(Exception):
    """The campaign is gone."""


class _Line:
    """What is between a worker and its campaign."""

    def __init__(self, report: int) -> None:
        self._report = report
        self.stopped = False
        self.orphaned = False
        self._done = threading.Event()
        self._session: Hunt | None = None
        self._encoder = msgspec.json.Encoder()

    def tell(self, report: m.Reports) -> None:
        """Send a report. Raises Orphaned where nobody is there any more."""
        data = self._encoder.encode(report) + b"\n"
        try:
            while data:
                data = data[os.write(self._report, data) :]
        except BrokenPipeError:
            self.orphaned = True
        if self.orphaned:
            raise Orphaned

    def listen(self) -> None:
        """Read words for ever, in a thread of its own."""
        for line in sys.stdin.buffer:
            word = msgspec.json.decode(line, type=m.Words)
            if isinstance(word, m.Stop):
                self.stopped = True
            elif self._session is not None:
                self._session.known.add(word.key)
        self.stopped = self.orphaned = True
        if not self._done.wait(ORPHANED):
            os._exit(4)

    def of(self, session: Hunt) -> None:
        """Let words reach the session."""
        self._session = session

    def close(self) -> None:
        """Nothing has to be ended any more."""
        self._done.set()


class _Telling(Keeper):
    """A keeper that reports what it has written."""

    def __init__(self, store: Store, names: set[str], line: _Line) -> None:
        super().__init__(store, names)
        self._line = line

    def found(self, finding: Finding) -> None:
        """Keep a finding, and say so."""
        super().found(finding)
        file = self._store.findings / findings.name_of(finding)
        message = finding.violation.message
        self._line.tell(m.Found(finding.key, message, len(finding.program.operations), shown(file)))

    def unconfirmed(self, finding: Finding) -> None:
        """Keep what was not confirmed, and say so."""
        super().unconfirmed(finding)
        self._line.tell(m.Doubted(finding.key, finding.violation.message))


class _Progress:
    """Reports progress now and then."""

    def __init__(self, line: _Line, runner: Runner) -> None:
        self._line, self._runner = line, runner
        self._next = 0.0
        self._told = 0
        self._phase: str = ""

    def __call__(self, session: Hunt, *, now: bool = False) -> None:
        """Report where it is time, or ``now``."""
        clock = time.monotonic()
        if not now and clock < self._next and session.phase == self._phase:
            if self._line.orphaned:
                raise Orphaned
            return
        self._next, self._phase = clock + EVERY, session.phase
        names: tuple[str, ...] = ()
        if len(session.features) > self._told:
            names = session.new_features(self._told)
            self._told = len(session.features)
        restarts = int(getattr(self._runner, "restarts", 0))
        self._line.tell(m.Progress(session.counters, session.phase, len(session.corpus), restarts, names))


class _Opening(Struct, frozen=True):
    function: Callable[..., Runner]
    task: m.Task

    def __call__(self, subject: str) -> Runner:
        profiles = self.task.profiles or None
        return self.function(subject, profiles=profiles, interpose=self.task.interpose)


def named(words: str) -> Any:  # noqa: ANN401 - whatever it is
    """Return what ``module:name`` names. Raises ImportError and AttributeError."""
    module, _, name = words.partition(":")
    return getattr(importlib.import_module(module), name)


def open_for(task: m.Task) -> Runner:
    """Open the runner that a task needs."""
    opening = _Opening(cast("Callable[..., Runner]", named(task.opener)), task)
    if task.engine == "differential":
        from ..engines.differential import open_differential  # noqa: PLC0415 - for who asks for it

        return open_differential(task.subject, opening)
    return opening(task.subject)


def search(task: m.Task, runner: Runner, line: _Line) -> None:
    """Search until it is over."""
    store = Store(Path(task.directory))
    programs, notes = store.programs()
    for directory in task.further:
        more, further_notes = foreign(Path(directory))
        programs |= {f"{directory}#{number}": program for number, program in enumerate(more)}
        notes += further_notes if task.lead else []
    for note in notes:
        line.tell(m.Noted(note))
    progress = _Progress(line, runner)
    session = Hunt(
        runner,
        _Telling(store, set(programs), line),
        seed=task.seed,
        engine=task.engine,
        limits=Limits(task.runs, None if task.seconds is None else time.monotonic() + task.seconds),
        corpus=programs.values(),
        known=store.known(store.findings)[0],
        directory=store.engines,
        stopped=lambda: line.stopped,
        alive=progress,
    )
    del programs
    line.of(session)
    if task.lead:
        for finding in store.known(store.pending)[0].values():
            session.small(finding)
    engine: Engine = named(ENGINES[task.engine])
    try:
        engine(runner, session)
    finally:
        session.close()
        progress(session, now=True)


def shrink(_: m.Task, runner: Runner, line: _Line, store: Store) -> None:
    """Make the corpus small."""
    before, after, notes = minimise(runner, store, lambda: line.stopped)
    for note in notes:
        line.tell(m.Noted(note))
    line.tell(m.Minimised(before, after))


def work(task: m.Task, line: _Line) -> m.Ended:
    """Do a task; return how it ended."""
    runner: Runner | None = None
    try:
        runner = open_for(task)
        line.tell(m.Started(runner.version))
        if task.mode == "minimise":
            shrink(task, runner, line, Store(Path(task.directory)))
        else:
            search(task, runner, line)
    except StartFailed as fault:
        return m.Ended(3, f"{task.subject} could not be started: {fault}")
    except Unsupported as fault:
        return m.Ended(3, f"{task.subject} cannot be fuzzed like that: {fault}", final=True)
    except Unwritable as fault:
        return m.Ended(4, str(fault), final=True)
    except HarnessFault as fault:
        return m.Ended(4, f"the harness failed: {fault}")
    except Orphaned:
        raise
    except Exception as fault:  # noqa: BLE001 - whatever happens, it is told
        if os.environ.get("FDSPEC_TRACEBACK"):
            traceback.print_exc()
        return m.Ended(4, f"the harness failed: {type(fault).__name__}: {fault} (FDSPEC_TRACEBACK=1 shows where)")
    finally:
        if runner is not None:
            runner.close()
    return m.Ended()


def main() -> NoReturn:
    """Be a worker."""
    signal.signal(signal.SIGINT, lambda _number, _frame: None)  # Ctrl-C reaches everybody; the campaign deals with it
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=m.Task)
    line = _Line(task.report)
    threading.Thread(target=line.listen, daemon=True).start()
    code = 4
    try:
        ended = work(task, line)
        line.tell(ended)
        code = ended.code
    except Orphaned:
        pass
    line.close()
    sys.stdout.flush()
    os._exit(code)
