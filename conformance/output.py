"""What the controller of a run writes: records as they come, and in the end the footer and the exit code."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from .. import __version__
from ..impls.manifest import Manifest
from ..impls.setup import Pending, Unavailable
from .gate import Account, conclude
from .gatewords import complaints, sentence
from .keeper import Keeper
from .recorder import Recorder, now
from .records import (
    BAD,
    CaseRecord,
    Gate,
    Header,
    ImplementationRecord,
    Platform,
    RequirementRecord,
    VerdictRecord,
    decode,
)
from .selection import Selection
from .suite import Suite
from .transcript import shorten

RECORD = "fdspec_record"
IMPLEMENTATION = "fdspec_implementation"
FAULT = "fdspec_fault"
"""Attributes by which a report carries what a worker has to tell."""
OK, NOT_AS_EXPECTED, USAGE, NO_START, HARNESS = range(5)
"""Exit codes (DESIGN, the gate)."""
START_FAILED = "start"


def introduce(
    manifest: Manifest, *, available: bool = True, version: str = "", runtime: str = "", reason: str = ""
) -> ImplementationRecord:
    """Return the record of an implementation."""
    profiles = [profile.value for profile in manifest.profiles]
    return ImplementationRecord(
        manifest.id, manifest.name, manifest.language, manifest.homepage, available, profiles, version, runtime, reason
    )


class Output:
    """What the controller writes: records as they come, and in the end the exit code."""

    def __init__(self, recorder: Recorder, keeper: Keeper | None) -> None:
        self.recorder = recorder
        self.gate: Gate | None = None
        """How the gate judged, once the run is over."""
        self._keeper = keeper
        self._account = Account()
        self.faults: list[str] = []
        self.missing: list[str] = []
        self.seen = 0
        self.stopped = False
        """Whether the run was ended at its first failure, as asked for, and not by a person."""

    def take(self, report: pytest.TestReport) -> None:
        """Write what a report carries."""
        introduction = getattr(report, IMPLEMENTATION, None)
        if introduction is not None:
            self.recorder.write(decode(introduction.encode()))
        record = getattr(report, RECORD, None)
        if record is not None:
            self.seen += 1
            verdict = decode(record.encode())
            self.recorder.write(verdict)
            if self._keeper is not None and isinstance(verdict, VerdictRecord):
                self._account.take(verdict)
        fault = getattr(report, FAULT, None)
        if fault is not None:
            self.faults.append(fault)
        elif record is None and cast("str", report.when) == "???":  # xdist's own report of a worker that died
            self.faults.append(f"{report.nodeid}: {report.longreprtext}")

    def finish(self, status: int, selected: int) -> int:
        """Write the footer and return the exit code."""
        complete = not self.faults and status in (0, 1) and (selected == 0 or self.seen >= selected)
        if self._keeper is not None:
            self.gate = conclude(self._keeper.expectations, self._keeper.facts, self._keeper.universe, self._account)
        code = self._code(status)
        if self.stopped and status == int(pytest.ExitCode.INTERRUPTED):
            status, code = int(pytest.ExitCode.TESTS_FAILED), self._code(int(pytest.ExitCode.TESTS_FAILED))
        note = (
            "; ".join(self.faults[:5])
            if self.faults
            else _NOTES.get(status, "" if complete else "not every selected case ran")
        )
        if selected == 0 and self.seen == 0 and status == int(pytest.ExitCode.OK):
            complete, code, note = False, USAGE, "no case was selected"
        self.recorder.close(complete=complete, exit_code=code, note=shorten(note), gate=self.gate)
        for fault in self.faults:
            print(f"fdspec: the harness is at fault, no verdict comes of this: {fault}", file=sys.stderr)  # noqa: T201 - last words
        return code

    def _code(self, status: int) -> int:
        if self.faults or status in (int(pytest.ExitCode.INTERNAL_ERROR), int(pytest.ExitCode.INTERRUPTED)):
            return HARNESS
        if status in (int(pytest.ExitCode.USAGE_ERROR), int(pytest.ExitCode.NO_TESTS_COLLECTED)):
            return USAGE
        if self.missing or self.recorder.reasons[START_FAILED]:
            return NO_START
        green = self.gate.green if self.gate else not any(self.recorder.counts[verdict] for verdict in BAD)
        return OK if green else NOT_AS_EXPECTED

    def words(self) -> list[str]:
        """Return what the gate has to say, a line each; nothing where there is none."""
        if self.gate is None:
            return []
        return [*map(str, complaints(self.gate, self._account.surprises)), sentence(self.gate)]


_NOTES = {
    int(pytest.ExitCode.INTERRUPTED): "interrupted",
    int(pytest.ExitCode.INTERNAL_ERROR): "pytest failed",
    int(pytest.ExitCode.USAGE_ERROR): "wrong usage",
    int(pytest.ExitCode.NO_TESTS_COLLECTED): "no case was selected",
}
_OUTPUTS: list[Output] = []
"""The output of this process's run; a list because pytest_logreport carries no config."""


def write_report(report: pytest.TestReport) -> None:
    """Hand a report to the run that writes records, if there is one in this process."""
    for output in _OUTPUTS:
        output.take(report)


def note_interrupt(kind: type[BaseException]) -> None:
    """Tell Ctrl-C from pytest-xdist's way of ending a run after so many failures, which is a KeyboardInterrupt as well."""
    for output in _OUTPUTS:
        output.stopped = kind.__module__.startswith("xdist.")


def open_output(
    config: pytest.Config,
    selection: Selection,
    suite: Suite,
    missing: Sequence[Unavailable | Pending],
    platform: Platform,
    keeper: Keeper | None,
    *,
    named: bool,
) -> Output:
    """Open the record file and write what is known before the first case. Raises pytest.UsageError."""
    directory = cast("str | None", config.getoption("fdspec_out"))
    try:
        recorder = Recorder(Path(directory) if directory else None)
    except OSError as fault:
        raise pytest.UsageError(
            f"cannot write records into {directory}: {fault.strerror}; name another directory by --fdspec-out"
        ) from fault
    output = Output(recorder, keeper)
    output.missing = [one.manifest.id for one in missing] if named else []
    _OUTPUTS[:] = [output]
    wanted = {
        "cases": " ".join(selection.patterns),
        "level": selection.level.value if selection.level else "",
        "types": " ".join(selection.types),
        "profiles": " ".join(selection.profiles),
    }
    recorder.write(
        Header(
            run=str(uuid.uuid4()),
            started=now(),
            fdspec=__version__,
            command=sys.argv,
            platform=platform,
            selection={name: value for name, value in wanted.items() if value},
            configuration=cast("str | None", config.getoption("fdspec_config")) or "",
            expectations=keeper.expectations.file if keeper else "",
        )
    )
    for one in missing:
        recorder.write(introduce(one.manifest, available=False, reason=one.reason))
    cases = [one for one in suite.cases.values() if selection.takes(one)]
    checked = {check for one in cases for check in one.checks}
    for requirement in suite.requirements.values():
        if requirement.id in checked:
            recorder.write(
                RequirementRecord(
                    requirement.id, requirement.sentence, requirement.level, requirement.subject, requirement.sources
                )
            )
    for one in cases:
        recorder.write(CaseRecord(one.id, one.area, one.summary, one.level, list(one.checks), one.revision, one.place))
    return output
