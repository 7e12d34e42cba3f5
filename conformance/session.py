"""One conformance run in one process of pytest: its items, a bench for each implementation, and verdicts."""

from __future__ import annotations

import random
from pathlib import Path
from typing import cast

import msgspec
import pytest

from ..impls.errors import TesteeError, Unsupported
from ..impls.manifest import Manifest
from ..impls.process import launch_of
from ..impls.protocol.values import Profile, SocketType
from ..impls.registry import UnknownImplementation, find
from ..impls.setup import Pending, Prepared, Unavailable, prepare, survey
from .bench import Account, Bench, Problem, problem_of
from .facts import platform_facts
from .keeper import Keeper, keeper_of
from .link import Link
from .output import FAULT, IMPLEMENTATION, NO_START, RECORD, Output, introduce, open_output
from .records import BAD, ImplementationRecord, Verdict, VerdictRecord, encode
from .selection import Selection, Target, chosen, selection_of
from .suite import Case, Suite, SuiteError, case_of, load_suite
from .transcript import entries, shorten

ACCOUNT = pytest.StashKey[Account]()
LOG = pytest.StashKey[str]()


class CensusError(AssertionError):
    """The case's own assertions hold, and the account does not: ``problems`` says what the census found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems


class Session:
    """The state of one conformance run in one process (the controller, or an xdist worker)."""

    def __init__(
        self, selection: Selection, suite: Suite, prepared: dict[str, Prepared], keeper: Keeper | None
    ) -> None:
        self.selection = selection
        self.suite = suite
        self._keeper = keeper
        self._prepared = prepared
        self._benches: dict[str, Bench] = {}
        self._announced: set[str] = set()
        self.selected = 0
        self.output: Output | None = None
        self._words: list[str] = []

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
        kept = [
            item for item in items if target_of(item) is not None or case_of(getattr(item, "function", None)) is None
        ]
        order = {name: index for index, name in enumerate(self._prepared)}
        shuffle(kept)
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
        if item.config.getoption("fdspec_fresh"):
            bench.retire()
        try:
            link = bench.begin(target.profile, target.type, side=target.side, receiver=case.receiver, needs=case.needs)
        except Unsupported as reason:
            account = bench.settle()
            item.stash[ACCOUNT] = account
            if account.problems:
                raise CensusError(account.problems) from None
            pytest.skip(str(reason))
        except TesteeError:
            item.stash[LOG] = bench.log()
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
        record = self._record(item, target, problem, raised, call.duration)
        if self._keeper is not None:
            record = self._keeper.judge(record, self._introduction(target.implementation).version, report)
        setattr(report, RECORD, encode(record).decode())
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
                return Problem(Verdict.UNSUPPORTED, "unsupported", value.msg or "")
            case AssertionError():
                more = "".join(
                    f"; also: {one.message}" for one in item.stash.get(ACCOUNT, Account([], [], [])).problems
                )
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
        case = cast("Case", case_of(getattr(item, "function", None)))
        variant = "-".join(part for part in (target.side, _extra(item)) if part)
        bench = self._benches.get(target.implementation)
        outcome = bench.outcome if bench is not None else ""
        record = VerdictRecord(
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
        if problem.verdict not in BAD:
            return record
        account = item.stash.get(ACCOUNT, Account([], [], []))
        return msgspec.structs.replace(
            record,
            expected=shorten(f"{case.summary}\n{_statement(raised)}".strip()),
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
            self._words = self.output.words()
            self.output = None

    def last_words(self) -> list[str]:
        """Return what the gate has to say of a run that is over, a line each; nothing where there is none."""
        return self._words


_WORST = (Verdict.BROKEN, Verdict.CRASH, Verdict.TIMEOUT, Verdict.FAIL, Verdict.LEAK)


def target_of(item: pytest.Item) -> Target | None:
    """Return the variant that ``item`` runs, or None."""
    callspec = getattr(item, "callspec", None)
    found = callspec.params.get("link") if callspec is not None else None
    return found if isinstance(found, Target) else None


def shuffle(items: list[pytest.Item]) -> None:
    """Bring items into the random order that ``--fdspec-shuffle`` names: the same one for the same seed and selection."""
    seed = cast("int | None", items[0].config.getoption("fdspec_shuffle")) if items else None
    if seed is not None:
        random.Random(seed).shuffle(items)  # noqa: S311 - an order of tests, no secret


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


def begin(config: pytest.Config) -> Session:
    """Open the session: read the suite, find and prepare the implementations. Raises pytest.UsageError."""
    try:
        suite = load_suite()
    except SuiteError as fault:
        raise pytest.UsageError(str(fault)) from fault
    selection = selection_of(config)
    selection.check(suite)
    manifests, named = chosen(config)
    platform = platform_facts()
    keeper = keeper_of(config, suite, manifests, platform)
    prepared: dict[str, Prepared] = {}
    missing: list[Unavailable | Pending] = []
    worker = hasattr(config, "workerinput")
    for manifest in manifests:
        found = survey(manifest) if worker else prepare(manifest)  # a worker comes after a controller that prepared
        if isinstance(found, Prepared):
            prepared[manifest.id] = found
        else:
            missing.append(found)
    session = Session(selection, suite, prepared, keeper)
    if not worker:
        session.output = open_output(config, selection, suite, missing, platform, keeper, named=named)
    if missing and named and not prepared:
        reasons = "; ".join(f"{one.manifest.id}: {one.reason}" for one in missing)
        session.finish(cast("pytest.Session", _NoSession()), NO_START)
        pytest.exit(f"cannot be had here: {reasons}", returncode=NO_START)
    return session


class _NoSession:
    exitstatus = 0
