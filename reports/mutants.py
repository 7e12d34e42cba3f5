"""Who caught what: the table of a run against the mutants, what the suite owes, and both as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from ..conformance.mutation import REFERENCE, Examined, binding, idle_cases
from ..conformance.records import BAD, Verdict
from ..conformance.suite import Suite
from ..impls.mutants.tables import Mutant

SHOWN = 3
"""Cases that a line of the table names."""


@dataclass(frozen=True)
class Judgement:
    """What is wrong, nothing where the suite holds.

    ``reference``: who caught the very reference. ``alive``: mutants that nobody caught. ``elsewhere``: mutants caught by no
    case of a requirement that they violate. ``idle``: cases on libraries and transports that caught no mutant.
    """

    reference: list[str]
    alive: list[str]
    elsewhere: list[str]
    idle: list[str]

    @property
    def holds(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.reference or self.alive or self.elsewhere or self.idle)


def by_right(suite: Suite, mutant: Mutant, found: Examined) -> list[str]:
    """Return the cases that caught ``mutant`` and check a requirement that it violates."""
    return [case for case in found.cases if set(suite.cases[case].checks).intersection(mutant.violates)]


def judge(
    suite: Suite,
    mutants: Mapping[str, Mutant],
    results: Mapping[str, Examined],
    *,
    every_mutant: bool = True,
    every_case: bool = True,
) -> Judgement:
    """Return what is wrong with ``results``, by mutant.

    Where not every mutant was run nothing is said of cases, and where not every case was run nothing of mutants.
    """
    runs = {name: one for name, one in results.items() if name != REFERENCE}
    judged = runs if every_case else {}
    idle = idle_cases(suite, results)
    return Judgement(
        reference=results[REFERENCE].cases,
        alive=[name for name, one in judged.items() if not one.cases],
        elsewhere=[name for name, one in judged.items() if one.cases and not by_right(suite, mutants[name], one)],
        idle=[case for case in binding(suite) if case in idle] if every_mutant and every_case else [],
    )


def rows(suite: Suite, mutants: Mapping[str, Mutant], results: Mapping[str, Examined]) -> list[list[str]]:
    """Return a line for each mutant, in the tables' order: its id, defects, counts, and the first of who caught it.

    An asterisk stands behind a case that checks no requirement which the mutant violates.
    """
    lines: list[list[str]] = []
    for name, mutant in mutants.items():
        found = results.get(name)
        if found is None:
            continue
        right = by_right(suite, mutant, found)
        others = [f"{case}*" for case in found.cases if case not in right]
        who = [*right, *others]
        more = f" and {len(who) - SHOWN} more" if len(who) > SHOWN else ""
        lines.append(
            [
                name,
                mutant.group,
                " ".join(mutant.defects) or "-",
                counts(found.verdicts),
                (", ".join(who[:SHOWN]) + more) or "NOBODY",
            ]
        )
    return lines


def counts(verdicts: Mapping[Verdict, int]) -> str:
    """Return the verdicts that are bad with their numbers, and of how many."""
    bad = [f"{verdicts[verdict]} {verdict.value}" for verdict in Verdict if verdict in BAD and verdicts.get(verdict)]
    return f"{', '.join(bad) or 'none'} of {sum(verdicts.values())}"


class Line(msgspec.Struct, frozen=True):
    """One mutant in the JSON file. ``caught``: case ids; ``by_right``: those that check what it violates."""

    id: str
    defects: list[str]
    group: str = msgspec.field(name="class")
    violates: list[str]
    what: str
    verdicts: dict[str, int]
    caught: list[str]
    by_right: list[str]
    seconds: float


class Document(msgspec.Struct, frozen=True):
    """The JSON file of a run against the mutants. ``cases``: who was caught by each case on libraries and transports."""

    mutants: list[Line]
    cases: dict[str, list[str]]
    reference: list[str]
    alive: list[str]
    elsewhere: list[str]
    idle: list[str]
    verdicts: int
    seconds: float
    version: int = 1


def document(
    suite: Suite,
    mutants: Mapping[str, Mutant],
    results: Mapping[str, Examined],
    judgement: Judgement,
    seconds: float,
) -> bytes:
    """Return the run as JSON; ``seconds`` is how long it took."""
    lines = [
        Line(
            one.id,
            one.defects,
            one.group,
            one.violates,
            one.what,
            {verdict.value: number for verdict, number in results[name].verdicts.items()},
            results[name].cases,
            by_right(suite, one, results[name]),
            round(results[name].seconds, 3),
        )
        for name, one in mutants.items()
        if name in results
    ]
    caught = {case: [line.id for line in lines if case in line.caught] for case in binding(suite)}
    total = sum(sum(one.verdicts.values()) for one in results.values())
    made = Document(
        lines,
        caught,
        judgement.reference,
        judgement.alive,
        judgement.elsewhere,
        judgement.idle,
        total,
        round(seconds, 3),
    )
    return msgspec.json.format(msgspec.json.encode(made), indent=1) + b"\n"


def problems(suite: Suite, mutants: Mapping[str, Mutant], judgement: Judgement) -> Sequence[str]:
    """Return what is wrong as sentences, each with what to do."""
    said = [
        f"the unmutated reference does not pass {case}: whatever it catches proves nothing"
        for case in judgement.reference
    ]
    said += [f"{name} was caught by no case: {mutants[name].what}" for name in judgement.alive]
    said += [
        f"{name} was caught, but by no case that checks {' or '.join(mutants[name].violates)}"
        for name in judgement.elsewhere
    ]
    said += [
        f"{case} ({' '.join(suite.cases[case].checks)}) caught no mutant: add one that violates it"
        for case in judgement.idle
    ]
    return said
