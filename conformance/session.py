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
from ..impls.protocol.values import Profile
from ..impls.registry import UnknownImplementation, find
from ..impls.setup import Pending, Prepared, Unavailable, prepare, survey
from .bench import Account, Bench, HarnessFault, Problem, problem_of, worst
from .facts import platform_facts
from .interpose.kernel import Kernel, in_the_middle
from .interpose.personality import Personality
from .keeper import Keeper, keeper_of
from .link import Link
from .output import FAULT, IMPLEMENTATION, NO_START, RECORD, Output, introduce, open_output
from .personalities import chosen_system, otherwise_on
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
        self,
        selection: Selection,
        suite: Suite,
        prepared: dict[str, Prepared],
        keeper: Keeper | None,
        system: Personality | None = None,
    ) -> None:
        """``system``: as what the kernel shows itself to the testees; None: as what it is."""
        self.system = system
        self.selection = selection
        self.suite = suite
        self._keeper = keeper
        self._prepared = prepared
        self._benches: dict[tuple[str, bool], Bench] = {}
        """By implementation, and whether it is interposed."""
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
        return [
            Target(name, profile, kind, side)
            for name, prepared in self._prepared.items()
            for profile in prepared.manifest.profiles
            if not self.selection.profiles or profile in self.selection.profiles
            for kind, side in one.places(profile)
            if self.system is None or _can_be_emulated(one, profile)
            if not self.selection.types or kind in self.selection.types
        ]

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
        shuffled = bool(kept) and kept[0].config.getoption("fdspec_shuffle") is not None

        def place(item: pytest.Item) -> tuple[int, bool]:
            target = target_of(item)
            if target is None:
                return -1, False
            return order.get(target.implementation, -1), _is_interposed(item) and not shuffled

        kept.sort(key=place)  # so that each kind of testee is started once
        for item in kept:
            target = target_of(item)
            if target is not None and item.config.getoption("dist", "no") != "no":
                item.add_marker(pytest.mark.xdist_group(target.implementation))
        items[:] = kept
        self.selected = sum(target_of(item) is not None for item in kept)

    # --- a case --------------------------------------------------------------------------------------------------------

    def bench(self, name: str, *, interposed: bool) -> Bench:
        """Return the bench of an implementation; those of the one before it are cleared away. Raises Unsupported."""
        found = self._benches.get((name, interposed))
        if found is None:
            for other in [key for key in self._benches if key[0] != name]:
                self._benches.pop(other).close()
            kernel = in_the_middle(self.system) if interposed or self.system is not None else None
            found = self._benches[name, interposed] = Bench(launch_of(self._prepared[name]), kernel)
        return found

    def kernel(self, item: pytest.Item) -> Kernel:
        """Return what stands between the testee of ``item`` and its kernel."""
        kernel = self._bench_of(item).kernel
        if kernel is None:
            raise HarnessFault("no kernel stands in the middle of this case")
        return kernel

    def _bench_of(self, item: pytest.Item) -> Bench:
        target = cast("Target", target_of(item))
        return self.bench(target.implementation, interposed=_is_interposed(item))

    def begin_case(self, target: Target, item: pytest.Item) -> Link:
        """Connect the implementation for one variant. Skips where it does not offer what the case needs."""
        case = cast("Case", case_of(getattr(item, "function", None)))
        otherwise = otherwise_on(self.system, case)
        if otherwise:
            pytest.skip(otherwise)
        try:
            bench = self._bench_of(item)
        except Unsupported as reason:
            pytest.skip(str(reason))
        if item.config.getoption("fdspec_fresh"):
            bench.retire()
        try:
            link = bench.begin(target.profile, target.type, side=target.side, receiver=case.receiver, needs=case.needs)
            link.lacks = self.system.lacks if self.system is not None else frozenset()
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
        bench = self._bench_of(item)
        if isinstance(failure, KeyboardInterrupt):  # in the middle of a request: this testee cannot be asked any more
            bench.retire()
            return failure
        log = bench.log()
        failure = bench.excuse(failure)
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
                found = cast("Problem", worst(value.problems))
                return Problem(found.verdict, found.reason, str(value))
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
        bench = self._benches.get((target.implementation, case.interposed))
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
            reproduce=_reproduce(target, case, self._prepared[target.implementation].manifest, self.system),
        )

    def _introduction(self, name: str) -> ImplementationRecord:
        manifest = self._prepared[name].manifest
        hello = next((one.hello for key, one in self._benches.items() if key[0] == name and one.hello), None)
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


def _can_be_emulated(case: Case, profile: Profile) -> bool:
    """Whether a case says something about an emulated system: it is about no real kernel, and plans no faults of its own."""
    return profile is not Profile.RAW and not case.interposed


def _is_interposed(item: pytest.Item) -> bool:
    one = case_of(getattr(item, "function", None))
    return one is not None and one.interposed


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


def _reproduce(target: Target, case: Case, manifest: Manifest, system: Personality | None) -> str:
    name = target.implementation
    try:
        find(name)
    except UnknownImplementation:
        name = str(manifest.file)
    more = f" --personality {system.id}" if system is not None else ""
    return f"fdspec run -i {name} -k {case.id} --profile {target.profile.value} --type {target.type.value}{more}"


def begin(config: pytest.Config) -> Session:
    """Open the session: read the suite, find and prepare the implementations. Raises pytest.UsageError."""
    try:
        suite = load_suite()
    except SuiteError as fault:
        raise pytest.UsageError(str(fault)) from fault
    selection = selection_of(config)
    selection.check(suite)
    manifests, named = chosen(config)
    system = chosen_system(config)
    platform = platform_facts(system.name if system is not None else "")
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
    session = Session(selection, suite, prepared, keeper, system)
    if not worker:
        session.output = open_output(config, selection, suite, missing, platform, keeper, named=named)
    if missing and named and not prepared:
        reasons = "; ".join(f"{one.manifest.id}: {one.reason}" for one in missing)
        session.finish(cast("pytest.Session", _NoSession()), NO_START)
        pytest.exit(f"cannot be had here: {reasons}", returncode=NO_START)
    return session


class _NoSession:
    exitstatus = 0
