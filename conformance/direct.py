"""Cases without pytest: a variant is called as the function that it is, and judged as `session` would.

For who runs the same few hundred cases against a hundred implementations: a variant costs what the testee costs. There are
no records, and the observed message of an assertion is only the one that the case wrote.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from ..impls.errors import TesteeError, Unsupported
from ..impls.protocol.values import Profile, SocketType
from .bench import Bench, HarnessFault, Problem, problem_of, worst
from .records import Verdict
from .suite import Case


@dataclass(frozen=True)
class Variant:
    """One call of a case: the profile, the type of socket or the side, and the values of its other parameters."""

    case: Case
    profile: Profile
    type: SocketType
    side: str
    values: tuple[tuple[str, object], ...]


def variants(case: Case, profiles: Sequence[Profile]) -> list[Variant]:
    """Return every variant of ``case`` in those of ``profiles`` to which it applies, in a fixed order."""
    return [
        Variant(case, profile, *place, values)
        for profile in profiles
        for place in case.places(profile)
        for values in _parameters(case)
    ]


def run(bench: Bench, variant: Variant) -> Problem:
    """Run one variant on ``bench`` and return what came of it; Verdict.PASS where all is well. Raises `HarnessFault`."""
    case = variant.case
    failure: BaseException | None = None
    try:
        link = bench.begin(variant.profile, variant.type, side=variant.side, receiver=case.receiver, needs=case.needs)
    except Unsupported as reason:
        return worst(bench.settle().problems) or problem_of(reason)
    except TesteeError as fault:
        bench.settle()
        bench.retire()
        return problem_of(fault)
    given = {"link": link, "objects": link.objects, "kernel": bench.kernel, **dict(variant.values)}
    try:
        case.function(**{name: given[name] for name in inspect.signature(case.function).parameters})
    except (TesteeError, AssertionError) as raised:
        failure = raised
    except Exception as fault:
        bench.settle()
        raise HarnessFault(f"{case.id} {variant.profile.value} {variant.type.value}: {fault!r}") from fault
    failure = bench.excuse(failure)
    failed = failure is not None and not isinstance(failure, Unsupported)
    problems = bench.settle(failed=failed).problems
    match failure:
        case Unsupported():
            return worst(problems) or problem_of(failure)
        case TesteeError():
            bench.retire()
            return problem_of(failure)
        case AssertionError():
            return Problem(Verdict.FAIL, "assertion", str(failure))
        case _:
            return worst(problems) or Problem(Verdict.PASS, "", "")


def _parameters(case: Case) -> Iterator[tuple[tuple[str, object], ...]]:
    """Yield the values of a case's pytest.mark.parametrize, every combination; once () where it has none."""
    marks: Iterable[Any] = getattr(case.function, "pytestmark", ())
    tables: list[list[tuple[tuple[str, object], ...]]] = []
    for mark in marks:
        if mark.name != "parametrize":
            raise HarnessFault(f"{case.id}: the mark {mark.name} means nothing without pytest")
        names, rows = mark.args
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        tables.append([tuple(zip(names, _row(row, len(names)), strict=True)) for row in rows])
    for chosen in itertools.product(*tables):
        yield tuple(itertools.chain.from_iterable(chosen))


def _row(row: object, count: int) -> Sequence[object]:
    values = getattr(row, "values", row)  # pytest.param
    if values is not row and not callable(values):
        return cast("Sequence[object]", values)
    return cast("Sequence[object]", row) if count > 1 else [row]
