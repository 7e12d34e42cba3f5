"""The differential runner: every program on several implementations, and a violation for each behaviour at which they part.

It is a `Runner` like any other, so every engine can drive it; its ``subject`` is the names of all, with commas between. Only
implementations that offer everything that a program needs are compared on it. A difference is no fault: `Standing` says whether
a declared policy explains it, whether the oracle calls one of the implementations wrong, or neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import combinations

from ...impls.protocol.capabilities import POLICIES
from ...impls.protocol.values import Profile
from ..findings.finding import Finding
from ..judgement import Breach, Key, Runner, Verdict, Violation
from ..offer import Offer, kinds_of, needs_of, sides_of
from ..oracle.facts import Facts
from ..program import Program
from ..run.shown import Execution
from ..text import line_of, show
from .aspects import plain
from .behaviour import Parting, features, partings, place_of

PREFIX = "differs"
"""The requirement of a difference is ``differs:BEHAVIOUR:ODD``: who does not behave as most do, sorted, with ``+`` between."""
TIMES = 2
"""How often a program is executed before a difference counts as one."""
SEPARATOR = ","
"""Between the names of a subject."""


class Standing(StrEnum):
    """What is known of a difference; it is the first word of the last line of ``permitted``."""

    DOCUMENTED = "documented"
    """Declared policies with a source explain it."""
    WRONG = "wrong"
    """The oracle finds a violation in one of the implementations where they part, or before."""
    FREE = "free"
    """Neither: the specification leaves the choice, or has no word for it."""


POLICY_OF: dict[str, str] = {
    "cloexec": "cloexec",
    "flags-CLOEXEC": "cloexec",
    "truncation-visible": "truncation",
    "order-of-events": "order",
    "open-descriptors": "queued",
    "left-open": "queued",
    "end-of-connection": "overrun",
}
"""Which policy can explain a behaviour."""
_SHOWS: dict[tuple[str, object], frozenset[str]] = {
    ("cloexec", True): frozenset({"always", "flag"}),
    ("cloexec", False): frozenset({"never", "flag"}),
}
"""Which outcomes of a policy fit what was shown, where that can be told by the value."""


class DifferentialRunner:
    """Runs each program on all of ``runners`` that can take it. Owns them: `close` closes them.

    ``policies``: by subject the documented outcomes by the name of the policy. Raises ValueError for fewer than two runners,
    for two of one name, and where no two of them offer a profile in common.
    """

    def __init__(self, runners: Sequence[Runner], policies: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self._runners = {one.subject: one for one in runners}
        if len(runners) < 2 or len(self._runners) < len(runners):
            raise ValueError(f"several implementations are compared, each once: {[one.subject for one in runners]}")
        self._policies = policies or {}
        self._offers = tuple(common_offers([one.offers for one in runners]))
        if not self._offers:
            raise ValueError(f"no two of these offer a profile in common: {self.subject}")
        self._told: dict[Key, int] = {}
        self._focus: dict[Program, Key] = {}
        self._looking_for: Key | None = None
        self.met: dict[Key, int] = {}
        """In how many of the programs of `run` each difference showed."""

    @property
    def subject(self) -> str:
        """The names of all, in the order in which they were given."""
        return SEPARATOR.join(self._runners)

    @property
    def version(self) -> str:
        """The versions of all, with their names."""
        return f"{SEPARATOR} ".join(f"{name} {one.version}".strip() for name, one in self._runners.items())

    @property
    def offers(self) -> Sequence[Offer]:
        """What at least two of them offer: for each profile what all have in common, then what pairs have beyond that."""
        return self._offers

    def run(self, programs: Sequence[Program]) -> list[Verdict]:
        """Run programs, a verdict each. The difference that was told least often comes first, so that none hides another."""
        self._focus = {}
        verdicts: list[Verdict] = []
        for program in programs:
            executions = self._executed(program)
            if len(executions) < 2:
                verdicts.append(Verdict(unsupported=self._too_few))
                continue
            found = partings(executions)
            told = sorted((self._violation(one, program) for one in found), key=lambda one: self._told.get(one.key, 0))
            for key in {one.key for one in told}:
                self.met[key] = self.met.get(key, 0) + 1
            if told:
                self._told[told[0].key] = self._told.get(told[0].key, 0) + 1
                self._focus[program] = told[0].key
            verdicts.append(Verdict(tuple(told), features(executions, found)))
        return verdicts

    def observe(self, program: Program) -> Execution:
        """Execute it on the first implementation that can take it. Raises ValueError where none can."""
        for runner in self._able(program).values():
            return runner.observe(program)
        raise ValueError(f"none of {self.subject} offers all that this program needs")

    def examine(self, program: Program) -> Verdict:
        """Execute it several times; what shows every time is a difference.

        Of a program of the last `run`, and of what is then made from it, the difference that was told first there comes first
        here; where it does not show, nothing does: another one would be taken for it.
        """
        self._looking_for = self._focus.get(program, self._looking_for)
        rounds = [self._executed(program) for _ in range(TIMES)]
        if len(rounds[0]) < 2:
            return Verdict(unsupported=self._too_few)
        each = [{self._violation(one, program).key: one for one in partings(executions)} for executions in rounds]
        found = [one for key, one in each[0].items() if all(key in other for other in each[1:])]
        wrong = self._wrong(program, rounds[0]) if found else {}
        told = [self._violation(one, program, wrong) for one in found]
        wanted = self._looking_for
        if wanted is not None:
            told = sorted(told, key=lambda one: one.key != wanted) if any(one.key == wanted for one in told) else []
        return Verdict(tuple(told), features(rounds[0], found), transcript=tuple(_side_by_side(program, rounds[0])))

    def close(self) -> None:
        """Close all runners."""
        for runner in self._runners.values():
            runner.close()

    # ---- within --------------------------------------------------------------------------------------------------------

    def _able(self, program: Program) -> dict[str, Runner]:
        need = needs_of(program)
        return {
            name: runner
            for name, runner in self._runners.items()
            if any(offer.profile is program.profile and need <= offer.names for offer in runner.offers)
        }

    def _executed(self, program: Program) -> dict[str, Execution]:
        able = self._able(program)
        done = {name: one.observe(program) for name, one in able.items()} if len(able) > 1 else {}
        return {name: one for name, one in done.items() if _was_done(one)}

    @property
    def _too_few(self) -> str:
        return f"fewer than two of {self.subject} offer all that this program needs"

    def _wrong(self, program: Program, executions: Mapping[str, Execution]) -> dict[str, Violation]:
        """Return the first violation that the oracle finds in each implementation, for those where it finds one."""
        verdicts = {name: self._runners[name].examine(program) for name in executions}
        return {name: one.violations[0] for name, one in verdicts.items() if one.violations}

    def _violation(self, parting: Parting, program: Program, wrong: Mapping[str, Violation] | None = None) -> Violation:
        groups = tuple(f"{', '.join(group.who)}: {group.showed}" for group in parting.groups)
        line = "the end" if parting.at == len(program.operations) else line_of(program.operations[parting.at])
        return Violation(
            Breach.DIFFERENT,
            f"{PREFIX}:{parting.behaviour}:{'+'.join(parting.odd)}",
            parting.at,
            parting.operation,
            parting.place,
            f"at {plain(line)}: " + "; ".join(groups),
            (*groups, self._standing(parting, wrong or {})),
        )

    def _standing(self, parting: Parting, wrong: Mapping[str, Violation]) -> str:
        declared = documented(parting, self._policies)
        if declared:
            return f"{Standing.DOCUMENTED}: {declared}"
        known = {name for group in parting.groups for name in group.who}
        faults = [(name, one) for name, one in wrong.items() if name in known and one.at <= parting.at]
        if faults:
            return f"{Standing.WRONG}: " + "; ".join(f"{name} breaks {one.key}" for name, one in faults)
        return f"{Standing.FREE}: no policy explains it, and by the specification none of them is wrong"


def documented(parting: Parting, policies: Mapping[str, Mapping[str, str]]) -> str:
    """Return the declared policies that explain a parting, in words; '' where they do not.

    They do where all but one of the groups consist of implementations that declare the policy, with an outcome that fits what
    they showed: the last group may then go without.
    """
    policy = POLICY_OF.get(parting.behaviour, "")
    if not policy:
        return ""
    said: dict[str, str] = {}
    unexplained = 0
    for group, value in zip(parting.groups, parting.values, strict=True):
        outcomes = {name: policies.get(name, {}).get(policy, "") for name in group.who}
        if all(_fits(policy, outcome, value) for outcome in outcomes.values()):
            said |= outcomes
        else:
            unexplained += 1
    words = ", ".join(f"{name} declares {policy} {outcome}" for name, outcome in said.items())
    return words if unexplained <= 1 else ""


def _fits(policy: str, outcome: str, value: object) -> bool:
    if outcome not in POLICIES[policy]:
        return False
    if policy == "truncation":
        return outcome == value
    kinds: set[object] = set(value) if isinstance(value, tuple) else set()  # type: ignore[arg-type]
    if policy == "cloexec" and kinds:
        return all(outcome in _SHOWS[policy, one] for one in kinds if (policy, one) in _SHOWS)
    return True


def common_offers(offers: Sequence[Sequence[Offer]]) -> Iterator[Offer]:
    """Yield for each profile what all who have it offer in common, then what every two of them do; each once.

    Only what a program can be made for: with a type of socket and a side.
    """
    known: set[Offer] = set()
    every = [{one.profile: one.names for one in each} for each in offers]
    for profile in dict.fromkeys(profile for each in every for profile in each):
        having = [each[profile] for each in every if profile in each]
        pairs = [a & b for a, b in combinations(having, 2)]
        for names in [having[0].intersection(*having), *pairs] if pairs else []:
            offer = Offer(profile, names)
            if offer not in known and _usable(offer):
                known.add(offer)
                yield offer


def _was_done(execution: Execution) -> bool:
    """Whether a program was executed at all: an implementation may turn out not to be able to."""
    return execution.left is not None or execution.trouble is not None or any(execution.shown)


def _usable(offer: Offer) -> bool:
    try:
        return bool(kinds_of(offer) and sides_of(offer))
    except ValueError:
        return False


def _side_by_side(program: Program, executions: Mapping[str, Execution]) -> Iterator[str]:
    """Yield the operations, and below each what every implementation showed."""
    for at, operation in enumerate(program.operations):
        yield f"{at}: {plain(line_of(operation), 120)}  [{place_of(program, at)}]"
        for name, execution in executions.items():
            shown = execution.shown[at] if at < len(execution.shown) else None
            yield f"     {name}: {plain(repr(shown), 400) if shown is not None else 'not reached'}"
    for name, execution in executions.items():
        if execution.trouble is not None:
            yield f"end  {name}: {plain(execution.trouble.message, 400)}"
        if execution.left is not None:
            yield f"end  {name}: {plain(repr(execution.left), 400)}"


# ---- the table ---------------------------------------------------------------------------------------------------------


def standing_of(finding: Finding) -> Standing:
    """Return what is known of a difference. Raises ValueError for another finding."""
    word = finding.violation.permitted[-1].partition(":")[0] if finding.violation.permitted else ""
    if finding.violation.breach is not Breach.DIFFERENT or word not in set(Standing):
        raise ValueError(f"no difference: {finding.key}")
    return Standing(word)


def behaviour_of(finding: Finding) -> str:
    """Return the name of the behaviour at which a difference parts implementations."""
    return finding.violation.requirement.removeprefix(f"{PREFIX}:").partition(":")[0]


def differences(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that are differences."""
    return [one for one in findings if one.violation.breach is Breach.DIFFERENT and one.violation.permitted]


def wrong(findings: Sequence[Finding]) -> bool:
    """Whether there is a finding for which a campaign ends as not expected: any but a difference that nobody is wrong in."""
    known = differences(findings)
    return len(known) < len(findings) or any(standing_of(one) is Standing.WRONG for one in known)


def table(findings: Sequence[Finding], *, programs: Callable[[Finding], int] = lambda one: one.seen) -> str:
    """Return the differences by behaviour, as text for a terminal.

    For each behaviour: who parts from whom, how often a program was met that told it first, and the smallest one.
    ``programs`` says how often; a campaign counts of several differences of one program the first alone.
    """
    rows: dict[str, list[Finding]] = {}
    for one in sorted(differences(findings), key=lambda one: (behaviour_of(one), one.key)):
        rows.setdefault(behaviour_of(one), []).append(one)
    lines: list[str] = []
    for behaviour, all_of_it in sorted(rows.items(), key=lambda row: (_ORDER.index(_worst(row[1])), row[0])):
        lines.append(f"{behaviour}: {_in_programs(all_of_it, programs)}")
        for parted, some in sorted(_by_groups(all_of_it).items(), key=lambda row: _ORDER.index(_worst(row[1]))):
            worst = min(some, key=lambda one: (_ORDER.index(standing_of(one)), len(one.program.operations), one.key))
            where = ", ".join(sorted({f"{one.violation.operation} ({one.violation.place})" for one in some}))
            lines += [f"  {parted}: {_in_programs(some, programs)}", f"    {plain(worst.violation.permitted[-1], 200)}"]
            lines += [f"    at {where}", *(f"      {plain(line, 200)}" for line in worst.violation.permitted[:-1])]
            lines += [f"      | {plain(line, 110)}" for line in show(worst.program).splitlines()]
        lines.append("")
    return "\n".join(lines)


def _in_programs(some: Sequence[Finding], programs: Callable[[Finding], int]) -> str:
    count = sum(map(programs, some))
    return f"{_worst(some)}, met in {count:,} program{'' if count == 1 else 's'}"


_ORDER = (Standing.WRONG, Standing.FREE, Standing.DOCUMENTED)


def _worst(some: Sequence[Finding]) -> Standing:
    return min(map(standing_of, some), key=_ORDER.index)


def _by_groups(some: Sequence[Finding]) -> dict[str, list[Finding]]:
    """Return them by who parts from whom."""
    found: dict[str, list[Finding]] = {}
    for one in some:
        groups = " | ".join(line.partition(": ")[0] for line in one.violation.permitted[:-1])
        found.setdefault(groups, []).append(one)
    return found


# ---- opening -----------------------------------------------------------------------------------------------------------


def open_differential(subject: str, opened: Callable[[str], Runner] | None = None) -> DifferentialRunner:
    """Open every implementation that ``subject`` names, with commas between.

    ``opened`` opens one; by default `fdspec.fuzz.runner.open_runner`. Raises what it raises, and ValueError as
    `DifferentialRunner` does.
    """
    open_one: Callable[[str], Runner] = _open if opened is None else opened
    runners: list[Runner] = []
    try:
        for name in subject.split(SEPARATOR):
            runners.append(open_one(name))  # noqa: PERF401 - those before one that fails are to be closed
        return DifferentialRunner(runners, {one.subject: policies_of(one) for one in runners})
    except BaseException:
        for runner in runners:
            runner.close()
        raise


def _open(subject: str) -> Runner:
    from ..runner import open_runner  # noqa: PLC0415 - whoever opens in another way does without

    return open_runner(subject)


def policies_of(runner: Runner) -> Mapping[str, str]:
    """Return the documented outcomes by the name of the policy; none where a runner does not tell its facts."""
    tell: Callable[[Profile], Facts] | None = getattr(runner, "facts", None)
    found: dict[str, str] = {}
    for offer in runner.offers:
        found |= tell(offer.profile).policies if tell is not None else {}
    return found
