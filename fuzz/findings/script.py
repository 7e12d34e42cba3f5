"""A program of plain system calls that shows a finding without fdspec.

What the implementation did with its system calls is its half; the peer's half is the operations themselves. Where its calls
cannot be recorded, the operations themselves take their place, and the script says so. A script is run once before it is printed:
where the calls alone do not show the defect, what the implementation told its caller is written down beside them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from msgspec.structs import replace

from ...conformance.suite import load_suite
from ...impls.errors import StartFailed, TesteeError, Unsupported
from ...impls.protocol.values import Profile
from ...impls.registry import find
from ..judgement import END, Breach, Runner, Violation
from ..offer import INTERPOSE, needs_of
from ..operations import Give
from ..program import Program
from ..run.shown import Execution, Shown
from ..runner import launch_for, open_runner
from ..text import show
from . import inc, inpython
from . import plan as p
from .finding import Finding
from .record import Recording, record

REFERENCE = "reference"
_ENDINGS = (Breach.CRASH, Breach.HANG, Breach.NOISE, Breach.PROTOCOL)
_PATIENCE = 60.0
"""Seconds that a script has."""


class _Subject(NamedTuple):
    """What is known when a script is written. ``why``: why there are no recorded calls; '' where there are."""

    program: Program
    violation: Violation | None
    execution: Execution
    recording: Recording | None
    why: str


class Script(NamedTuple):
    """A script that is written. ``defect``: whether anything was wrong when it was; then it exits with 1, else with 0."""

    steps: tuple[p.Step, ...]
    head: tuple[str, ...]
    defect: bool

    def text(self, language: str) -> str:
        """Return it in ``python`` or ``c``."""
        return _LANGUAGES[language](self.steps, self.head)


_LANGUAGES = {"python": inpython.program, "c": inc.program}


def script_of(program: Program, finding: Finding | None, runner: Runner) -> Script:
    """Return the script of a program on the runner's implementation.

    Raises Unsupported where the program cannot be run, StartFailed and HarnessFault as a runner does.
    """
    verdict = runner.examine(program)
    if verdict.unsupported:
        raise Unsupported("program", verdict.unsupported)
    wanted = finding.key if finding is not None else None
    violation = next((one for one in verdict.violations if wanted in (None, one.key)), None)
    recording, why = _recorded(runner, program)
    execution = recording.execution if recording is not None else runner.observe(program)
    subject = _Subject(program, violation, execution, recording, why)
    expected = _expected(subject)
    claim = _claim(subject, expected)
    steps = tuple(_steps(subject, expected, claim))
    if violation is not None and not _run(steps).defect:  # neither calls nor words show it: a crash, say
        steps = (*steps, p.Recorded(violation.message))
    return Script(steps, tuple(_head(subject, finding, runner)), violation is not None)


def to_the_letter(program: Program, why: str = "no implementation was asked") -> Script:
    """Return the script of a program's operations themselves, each a system call, whatever any implementation does."""
    execution = Execution(program, (None,) * len(program.operations))
    subject = _Subject(program, None, execution, None, why)
    return Script(tuple(_steps(subject, None, p.Claim())), (_only_operations(why),), defect=False)


class _Ran(NamedTuple):
    """What a run of a script showed: whether the defect shows, and what was probed."""

    defect: bool
    probed: dict[str, Any] | None


def _run(steps: Iterable[p.Step]) -> _Ran:
    """Run a script."""
    text = inpython.program(steps, ())
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-"], input=text.encode(), capture_output=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return _Ran(False, None)
    lines = done.stdout.decode(errors="replace").splitlines()
    probed = next((one.removeprefix(inpython.PROBE) for one in lines if one.startswith(inpython.PROBE)), None)
    return _Ran(done.returncode == 1, None if probed is None else json.loads(probed))


def _recorded(runner: Runner, program: Program) -> tuple[Recording | None, str]:
    """Return the recorded calls, or why there are none."""
    if INTERPOSE in needs_of(program):
        return None, "the harness stands between the implementation and its kernel in this program already"
    manifest = find(runner.subject)
    if Profile.RAW in manifest.profiles and program.profile not in manifest.profiles:
        return None, ""
    try:
        return record(launch_for(manifest, runner.subject), program), ""
    except Unsupported as reason:
        return None, str(reason)
    except (StartFailed, TesteeError) as reason:
        return None, f"it does not run under the interposer: {reason}"


# ---- what has to show --------------------------------------------------------------------------------------------------


def _expected(subject: _Subject) -> p.Expect | None:
    """Return what the operation of the violation has to show; None where the account says it, or no system call can."""
    violation = subject.violation
    if violation is None:
        return None
    if violation.operation == END or violation.breach in (Breach.LEAK, Breach.STRAY_CLOSE, *_ENDINGS):
        return None
    if violation.breach is Breach.CLOEXEC:
        return p.Expect(cloexec=True, permitted=violation.permitted)
    seen = subject.execution.shown[violation.at] if violation.at < len(subject.execution.shown) else None
    if seen is None:
        return None
    right = _by_reference(subject.program, violation.at)
    if right is not None:
        differing = _differing(right, seen)
        if differing != p.Expect():
            return replace(differing, permitted=violation.permitted)
    return replace(_all_of(seen), permitted=violation.permitted)


def _by_reference(program: Program, at: int) -> Shown | None:
    """Return what the reference shows there, where it takes the program and does everything as it has to."""
    try:
        runner = open_runner(REFERENCE, profiles=[program.profile], interpose=INTERPOSE in needs_of(program))
    except (Unsupported, StartFailed):
        return None
    try:
        verdict = runner.examine(program)
        if verdict.unsupported or verdict.violations:
            return None
        return runner.observe(program).shown[at]
    finally:
        runner.close()


def _differing(right: Shown, seen: Shown) -> p.Expect:
    """Return what ``right`` shows where ``seen`` shows something else."""
    told = right.flags is not None and seen.flags is not None
    return p.Expect(
        error=right.error if right.error != seen.error else None,
        value=right.value if right.value != seen.value and seen.value is not None else None,
        data=_joined(right) if _joined(right) != _joined(seen) else None,
        files=right.files if right.files != seen.files else None,
        flags=right.flags if told and right.flags != seen.flags else None,
    )


def _all_of(seen: Shown) -> p.Expect:
    """Return all that was seen, as what is not permitted."""
    return p.Expect(seen.error, seen.value, _joined(seen), seen.files, seen.flags, bad=True)


def _joined(shown: Shown) -> bytes:
    return b"".join((*shown.data, *(one.data for one in shown.events if one.name == "data")))


# ---- the steps ---------------------------------------------------------------------------------------------------------


def _steps(subject: _Subject, expected: p.Expect | None, claim: p.Claim, *, probe: bool = False) -> Iterable[p.Step]:
    violation = subject.violation
    program = subject.program
    yield from p.begin(program)
    for index, operation in enumerate(program.operations):
        shown = subject.execution.shown[index]
        yield p.say(program, index)
        calls = subject.recording.calls.get(index) if subject.recording is not None else None
        if calls is None:
            yield from p.steps_of(operation)
        else:
            yield from calls
            if shown is not None and p.prefix_of(operation):
                yield p.HandOver(shown.files, p.prefix_of(operation))
            if shown is not None and isinstance(operation, Give) and isinstance(operation.fd, str) and not shown.failed:
                yield p.GiveAway(operation.fd)
        here = expected is not None and violation is not None and violation.at == index
        if here and probe:
            yield p.Probe()
        if here and claim != p.Claim():
            yield p.Note("what the implementation told its caller, which is not what its calls brought")
            yield claim
        yield p.Done()
        if here and expected is not None:
            yield expected
    if subject.recording is not None and subject.recording.end:
        yield p.Note("what the implementation does by itself after the last operation")
        yield from subject.recording.end
    if expected is None and (violation is None or violation.breach not in _ENDINGS):
        names = "fr" if program.profile is Profile.TRANSPORT else "tfr"
        stray = violation is None or violation.breach is Breach.STRAY_CLOSE
        yield p.Account(leak=violation is None or not stray, stray=stray, names=names)


def _claim(subject: _Subject, expected: p.Expect | None) -> p.Claim:
    """Return what the implementation told its caller and its calls did not bring, of what is looked at."""
    violation = subject.violation
    if expected is None or violation is None or expected.cloexec is not None:
        return p.Claim()
    shown = subject.execution.shown[violation.at]
    probed = _run(_steps(subject, expected, p.Claim(), probe=True)).probed
    if shown is None or probed is None:
        return p.Claim()
    brought: dict[str, Any] = {"error": "", "value": None, "files": [], "flags": 0, **probed}
    brought["data"] = bytes.fromhex(probed["data"])
    told = {"error": shown.error, "value": shown.value, "data": _joined(shown), "flags": shown.flags}
    differing: dict[str, Any] = {
        key: value
        for key, value in (*told.items(), ("files", list(shown.files)))
        if getattr(expected, key) is not None and value is not None and value != brought[key]
    }
    files = differing.get("files")
    return p.Claim(
        differing.get("error"),
        differing.get("value"),
        differing.get("data"),
        None if files is None else tuple(files),
        differing.get("flags"),
    )


def _head(subject: _Subject, finding: Finding | None, runner: Runner) -> list[str]:
    """Return what stands at the beginning, in words."""
    said = subject.violation or (finding.violation if finding is not None else None)
    lines: list[str] = []
    if subject.recording is None:
        lines.append(_only_operations(subject.why))
    lines += [f"{runner.subject} {runner.version}".strip() + " without fdspec, as plain system calls."]
    if said is not None:
        known = load_suite().requirements.get(said.requirement)
        lines += ["", f"{said.requirement}: {known.sentence}" if known is not None else str(said.breach)]
        lines += [f"Seen at {said.operation} in {said.place}: {said.message}"]
        lines += [f"Permitted: {one}" for one in said.permitted]
    if subject.violation is None:
        lines += ["", "When this was written nothing was wrong."]
    lines += ["", "Exit code 1 while the defect shows, 0 otherwise. The program:", ""]
    return [*lines, *(f"    {line}" for line in show(subject.program).splitlines()), ""]


def _only_operations(why: str) -> str:
    if not why:
        return "The operations themselves: what is tested is the kernel."
    return f"These are the operations themselves, not the implementation's own system calls: {why}."
