"""One conformance run inside pytest: which implementations and cases, a bench for each, verdicts, and the exit code."""

from __future__ import annotations

import difflib
import fnmatch
import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from .. import __version__
from ..impls.errors import StartFailed, TesteeError, Unsupported
from ..impls.manifest import Manifest, ManifestError
from ..impls.process import launch_of
from ..impls.protocol.values import Profile, SocketType
from ..impls.registry import UnknownImplementation, everything, find
from ..impls.setup import Pending, Prepared, Unavailable, prepare, survey
from .bench import Account, Bench, HarnessFault, Problem, problem_of
from .facts import platform_facts
from .link import Link
from .recorder import Recorder, now
from .records import BAD, CaseRecord, Header, ImplementationRecord, Level, RequirementRecord, Verdict, VerdictRecord, decode, encode
from .suite import ORDER, Case, Suite, SuiteError, case_of, load_suite
from .transcript import entries, shorten

RECORD = "fdspec_record"
IMPLEMENTATION = "fdspec_implementation"
FAULT = "fdspec_fault"
OK, NOT_AS_EXPECTED, USAGE, NO_START, HARNESS = range(5)
"""Exit codes (DESIGN, the gate)."""
ACCOUNT = pytest.StashKey[Account]()
RECORDER = pytest.StashKey["Output"]()
START_FAILED = "start"


class CensusError(AssertionError):
    """The case's own assertions hold, and the account does not: ``problems`` says what the census found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


@dataclass(frozen=True)
class Target:
    """One variant of a case: an implementation in a profile on a type of socket. ``side`` of a transport."""

    implementation: str
    profile: Profile
    type: SocketType
    side: str

    def __str__(self) -> str:
        return "-".join(part for part in (self.implementation, self.profile.value, self.type.value, self.side) if part)


def nearest(name: str, known: list[str]) -> str:
    """Return the hint for a name that matches nothing."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else "; `fdspec list` shows all"


@dataclass(frozen=True)
class Selection:
    """Which cases, profiles and types were asked for; empty means all."""

    patterns: tuple[str, ...]
    level: Level | None
    types: tuple[SocketType, ...]
    profiles: tuple[Profile, ...]

    def takes(self, case: Case) -> bool:
        """Whether the case is selected."""
        if self.level is not None and ORDER.index(case.level) > ORDER.index(self.level):
            return False
        return not self.patterns or any(fnmatch.fnmatchcase(case.id, pattern) for pattern in self.patterns)

    def check(self, suite: Suite) -> None:
        """Raise pytest.UsageError for a pattern that matches no case."""
        for pattern in self.patterns:
            if not fnmatch.filter(suite.cases, pattern):
                raise pytest.UsageError(f"no case matches {pattern!r}{nearest(pattern, list(suite.cases))}")


def selection_of(config: pytest.Config) -> Selection:
    """Return what the options select."""
    option: Callable[[str], Any] = config.getoption
    level = option("fdspec_level")
    return Selection(
        tuple(option("fdspec_case")),
        Level(level) if level else None,
        tuple(SocketType(one) for one in option("fdspec_type")),
        tuple(Profile(one) for one in option("fdspec_profile")),
    )


def chosen(config: pytest.Config) -> tuple[list[Manifest], bool]:
    """Return the manifests asked for, and whether each was asked for by name. Raises pytest.UsageError."""
    names: list[str] = list(dict.fromkeys(config.getoption("fdspec_impl")))
    try:
        if names:
            manifests = [find(name) for name in names]
            twice = [one.id for one in manifests if sum(other.id == one.id for other in manifests) > 1]
            if twice:
                raise pytest.UsageError(f"two manifests have the id {twice[0]!r}; an id names one implementation")
            return manifests, True
        return everything(), False
    except (UnknownImplementation, ManifestError) as fault:
        raise pytest.UsageError(str(fault)) from fault


class Session:
    """The state of one conformance run in one process (the controller, or an xdist worker)."""

    def __init__(self, selection: Selection, suite: Suite, prepared: dict[str, Prepared]) -> None:
        self.selection = selection
        self.suite = suite
        self._prepared = prepared
        self._benches: dict[str, Bench] = {}
        self._announced: set[str] = set()
        self.selected = 0
        self.output: Output | None = None

    # --- collection ----------------------------------------------------------------------------------------------------

    def targets(self, function: object) -> list[Target]:
        """Return every variant of the case that ``function`` is; none where it is not selected."""
        one = case_of(function)
        if one is None or not self.selection.takes(one):
            return []
        types = [kind for kind in one.types if not self.selection.types or kind in self.selection.types]
        found: list[Target] = []
        for name, prepared in self._prepared.items():
            for profile in prepared.manifest.profiles:
                if profile not in one.profiles or (self.selection.profiles and profile not in self.selection.profiles):
                    continue
                if profile is Profile.TRANSPORT:
                    if SocketType.STREAM in types:
                        found += [Target(name, profile, SocketType.STREAM, side) for side in ("client", "server")]
                else:
                    found += [Target(name, profile, kind, "") for kind in types]
        return found

    def runs(self, item: pytest.Item) -> bool:
        """Whether ``item`` is a variant of a case."""
        return isinstance(target_of(item), Target)

    def arrange(self, items: list[pytest.Item]) -> None:
        """Drop unselected cases, and order the rest by implementation; with xdist, keep each on one worker."""
        kept = [item for item in items if target_of(item) is not None or case_of(getattr(item, "function", None)) is None]
        order = {name: index for index, name in enumerate(self._prepared)}
        kept.sort(key=lambda item: order.get(target.implementation, -1) if (target := target_of(item)) else -1)
        for item in kept:
            target = target_of(item)
            if target is not None and item.config.getoption("dist", "no") != "no":
                item.add_marker(pytest.mark.xdist_group(target.implementation))
        items[:] = kept
        self.selected = sum(target_of(item) is not None for item in kept)

    # --- a case --------------------------------------------------------------------------------------------------------

    def bench(self, name: str) -> Bench:
        """Return the bench of an implementation; the one before it is cleared away."""
        found = self._benches.get(name)
        if found is None:
            for other in self._benches.values():
                other.close()
            self._benches.clear()
            found = self._benches[name] = Bench(launch_of(self._prepared[name]))
        return found

    def begin_case(self, target: Target, item: pytest.Item) -> Link:
        """Connect the implementation for one variant. Skips where it does not offer what the case needs."""
        bench = self.bench(target.implementation)
        case = cast("Case", case_of(getattr(item, "function", None)))
        try:
            link = bench.begin(target.profile, target.type, side=target.side, receiver=case.receiver, needs=case.needs)
        except Unsupported as reason:
            account = bench.settle()
            item.stash[ACCOUNT] = account
            if account.problems:
                raise CensusError(account.problems) from None
            pytest.skip(str(reason))
        except TesteeError:
            item.stash[ACCOUNT] = bench.settle()
            bench.retire()
            raise
        return link

    def end_case(self, item: pytest.Item, failure: BaseException | None) -> BaseException | None:
        """Take the census; return what the case is to raise, None when all is well."""
        target = cast("Target", target_of(item))
        bench = self.bench(target.implementation)
        if isinstance(failure, KeyboardInterrupt):  # in the middle of a request: this testee cannot be asked any more
            bench.retire()
            return failure
        log = bench.log()
        failed = failure is not None and not isinstance(failure, Unsupported)
        account = item.stash[ACCOUNT] = bench.settle(failed=failed)
        item.stash[LOG] = log
        if isinstance(failure, TesteeError) and not isinstance(failure, Unsupported):
            bench.retire()
            return failure
        if failure is not None and not isinstance(failure, Unsupported):
            return failure
        if account.problems:
            return CensusError(account.problems)
        return pytest.skip.Exception(str(failure)) if failure is not None else None

    # --- verdicts ------------------------------------------------------------------------------------------------------

    def attach(self, item: pytest.Function, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
        """Put the record on the report of the phase that decides."""
        target = cast("Target", target_of(item))
        raised = call.excinfo
        if call.when == "teardown" or (call.when == "setup" and raised is None):
            if raised is not None:
                setattr(report, FAULT, f"{item.nodeid}: {raised.typename}: {raised.value}")
            return
        problem = self._problem(raised, item)
        if problem is None:
            value = raised.value if raised is not None else None
            setattr(report, FAULT, f"{item.nodeid}: {raised.typename if raised else ''}: {value}")
            return
        setattr(report, RECORD, encode(self._record(item, target, problem, raised, call.duration)).decode())
        if target.implementation not in self._announced:
            self._announced.add(target.implementation)
            setattr(report, IMPLEMENTATION, encode(self._introduction(target.implementation)).decode())

    @staticmethod
    def _problem(raised: pytest.ExceptionInfo[BaseException] | None, item: pytest.Item) -> Problem | None:
        """Return what the raised exception means for the implementation; None where it is the harness's own fault."""
        if raised is None:
            return Problem(Verdict.PASS, "", "")
        value = raised.value
        match value:
            case CensusError():
                worst = min(value.problems, key=lambda one: _WORST.index(one.verdict))
                return Problem(worst.verdict, worst.reason, str(value))
            case TesteeError():
                return problem_of(value)
            case pytest.skip.Exception():
                return Problem(Verdict.UNSUPPORTED, "unsupported", value.msg)
            case AssertionError():
                more = "".join(f"; also: {one.message}" for one in item.stash.get(ACCOUNT, Account([], [], [])).problems)
                return Problem(Verdict.FAIL, "assertion", str(value) + more)
            case _:
                return None

    def _record(
        self,
        item: pytest.Function,
        target: Target,
        problem: Problem,
        raised: pytest.ExceptionInfo[BaseException] | None,
        duration: float,
    ) -> VerdictRecord:
        case = cast("Case", case_of(item.function))
        variant = "-".join(part for part in (target.side, _extra(item)) if part)
        bench = self._benches.get(target.implementation)
        outcome = bench.outcome if bench is not None else ""
        if problem.verdict not in BAD:
            return VerdictRecord(
                implementation=target.implementation,
                case=case.id,
                profile=target.profile.value,
                verdict=problem.verdict,
                type=target.type.value,
                variant=variant,
                reason=problem.reason,
                observed=shorten(problem.message),
                duration=round(duration, 6),
                outcome=outcome,
            )
        account = item.stash.get(ACCOUNT, Account([], [], []))
        return VerdictRecord(
            implementation=target.implementation,
            case=case.id,
            profile=target.profile.value,
            verdict=problem.verdict,
            type=target.type.value,
            variant=variant,
            reason=problem.reason,
            expected=shorten(f"{case.summary}\n{_statement(raised)}".strip()),
            observed=shorten(problem.message),
            duration=round(duration, 6),
            outcome=outcome,
            transcript=entries(bench.lines) if bench is not None else [],
            before=account.before,
            after=account.after,
            log=item.stash.get(LOG, ""),
            noise=[shorten(line) for line in bench.noise] if bench is not None else [],
            reproduce=_reproduce(target, case, self._prepared[target.implementation].manifest),
        )

    def _introduction(self, name: str) -> ImplementationRecord:
        manifest = self._prepared[name].manifest
        hello = self._benches[name].hello if name in self._benches else None
        return introduce(
            manifest,
            version=hello.implementation.version if hello else "",
            runtime=hello.implementation.runtime if hello else "",
        )

    # --- the end -------------------------------------------------------------------------------------------------------

    def finish(self, session: pytest.Session, status: int) -> None:
        """End every testee; in the controller, write the footer and set the exit code."""
        for bench in self._benches.values():
            bench.close()
        self._benches.clear()
        if self.output is not None:
            session.exitstatus = self.output.finish(status, self.selected)
            self.output = None


LOG = pytest.StashKey[str]()
_WORST = (Verdict.BROKEN, Verdict.CRASH, Verdict.TIMEOUT, Verdict.FAIL, Verdict.LEAK)


def target_of(item: pytest.Item) -> Target | None:
    """Return the variant that ``item`` runs, or None."""
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get("link") if callspec is not None else None
    return found if isinstance(found, Target) else None


def _extra(item: pytest.Function) -> str:
    """Return the parameters of an item beside its target, as text."""
    values = [f"{name}={value}" for name, value in item.callspec.params.items() if name != "link"]
    return ",".join(values)


def _statement(raised: pytest.ExceptionInfo[BaseException] | None) -> str:
    """Return the line of the case that failed."""
    if raised is None:
        return ""
    places = [entry for entry in raised.traceback if Path(str(entry.path)).name.startswith("test_")]
    if not places:
        return ""
    return " ".join(str(places[-1].statement).split())


def _reproduce(target: Target, case: Case, manifest: Manifest) -> str:
    name = target.implementation
    try:
        find(name)
    except UnknownImplementation:
        name = str(manifest.file)
    return f"fdspec run -i {name} -k {case.id} --profile {target.profile.value} --type {target.type.value}"


def introduce(manifest: Manifest, *, available: bool = True, version: str = "", runtime: str = "", reason: str = "") -> ImplementationRecord:
    """Return the record of an implementation."""
    profiles = [profile.value for profile in manifest.profiles]
    return ImplementationRecord(
        manifest.id, manifest.name, manifest.language, manifest.homepage, available, profiles, version, runtime, reason
    )


class Output:
    """What the controller writes: records as they come, and in the end the exit code."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
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
            self.recorder.write(decode(record.encode()))
        fault = getattr(report, FAULT, None)
        if fault is not None:
            self.faults.append(fault)
        elif record is None and report.when == "???":  # xdist's own report of a worker that died
            self.faults.append(f"{report.nodeid}: {report.longreprtext}")

    def finish(self, status: int, selected: int) -> int:
        """Write the footer and return the exit code."""
        complete = not self.faults and status in (0, 1) and (selected == 0 or self.seen >= selected)
        code = self._code(status)
        if self.stopped and status == int(pytest.ExitCode.INTERRUPTED):
            status, code = int(pytest.ExitCode.TESTS_FAILED), self._code(int(pytest.ExitCode.TESTS_FAILED))
        note = "; ".join(self.faults[:5]) if self.faults else _NOTES.get(status, "" if complete else "not every selected case ran")
        if selected == 0 and self.seen == 0 and status == int(pytest.ExitCode.OK):
            complete, code, note = False, USAGE, "no case was selected"
        self.recorder.close(complete=complete, exit_code=code, note=shorten(note))
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
        return NOT_AS_EXPECTED if any(self.recorder.counts[verdict] for verdict in BAD) else OK


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


def begin(config: pytest.Config) -> Session:
    """Open the session: read the suite, find and prepare the implementations. Raises pytest.UsageError."""
    try:
        suite = load_suite()
    except SuiteError as fault:
        raise pytest.UsageError(str(fault)) from fault
    selection = selection_of(config)
    selection.check(suite)
    manifests, named = chosen(config)
    prepared: dict[str, Prepared] = {}
    missing: list[Unavailable | Pending] = []
    worker = hasattr(config, "workerinput")
    for manifest in manifests:
        found = survey(manifest) if worker else prepare(manifest)  # a worker comes after a controller that prepared
        if isinstance(found, Prepared):
            prepared[manifest.id] = found
        else:
            missing.append(found)
    session = Session(selection, suite, prepared)
    if not worker:
        session.output = _open_output(config, session, missing, named)
    if missing and named and not prepared:
        reasons = "; ".join(f"{one.manifest.id}: {one.reason}" for one in missing)
        session.finish(cast("pytest.Session", _NoSession()), NO_START)
        pytest.exit(f"cannot be had here: {reasons}", returncode=NO_START)
    return session


class _NoSession:
    exitstatus = 0


def _open_output(config: pytest.Config, session: Session, missing: Sequence[Unavailable | Pending], named: bool) -> Output:
    directory = config.getoption("fdspec_out")
    try:
        recorder = Recorder(Path(directory) if directory else None)
    except OSError as fault:
        raise pytest.UsageError(f"cannot write records into {directory}: {fault.strerror}; name another directory by --fdspec-out") from fault
    output = Output(recorder)
    output.missing = [one.manifest.id for one in missing] if named else []
    _OUTPUTS[:] = [output]
    selection = session.selection
    wanted = {
        "cases": " ".join(selection.patterns),
        "level": selection.level.value if selection.level else "",
        "types": " ".join(selection.types),
        "profiles": " ".join(selection.profiles),
    }
    recorder.write(Header(str(uuid.uuid4()), now(), __version__, sys.argv, platform_facts(), {k: v for k, v in wanted.items() if v}))
    for one in missing:
        recorder.write(introduce(one.manifest, available=False, reason=one.reason))
    cases = [one for one in session.suite.cases.values() if selection.takes(one)]
    checked = {check for one in cases for check in one.checks}
    for requirement in session.suite.requirements.values():
        if requirement.id in checked:
            recorder.write(
                RequirementRecord(requirement.id, requirement.sentence, requirement.level, requirement.subject, requirement.sources)
            )
    for one in cases:
        recorder.write(CaseRecord(one.id, one.area, one.summary, one.level, list(one.checks), one.revision, one.place))
    return output


__all__ = ["CensusError", "HarnessFault", "Session", "StartFailed", "Target", "begin", "introduce", "write_report"]
