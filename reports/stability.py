"""What several runs of the same selection say when they are laid side by side: which verdicts did not stay the same.

Nothing is retried and nothing outvoted: each run is an attempt with records of its own, and one other verdict is a flake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..conformance.gatewords import outcome
from .store import Run
from .text import line

Key = tuple[str, str, str, str, str]
"""A case variant: implementation, case, profile, type, variant."""


@dataclass(frozen=True)
class Mode:
    """How an attempt is run. ``seed``: of the shuffled order, None for the usual one. ``load``: busy processes beside it."""

    fresh: bool = False
    seed: int | None = None
    load: int = 0

    def __str__(self) -> str:
        words = [
            "fresh" if self.fresh else "",
            "" if self.seed is None else "shuffled",
            "loaded" if self.load else "",
        ]
        return "+".join(word for word in words if word) or "reused"


@dataclass(frozen=True)
class Attempt:
    """One run: how it was run, where its records are, and what came of each variant (verdict and reason)."""

    name: str
    mode: Mode
    verdicts: dict[Key, str]


@dataclass(frozen=True)
class Flake:
    """A case variant that did not come to the same verdict everywhere. ``seen``: attempts by verdict, most frequent first."""

    key: Key
    seen: dict[str, tuple[Attempt, ...]]


ABSENT = "no verdict"


def attempt(name: str, mode: Mode, run: Run) -> Attempt:
    """Return what ``run`` says of each variant."""
    found = {
        (one.implementation, one.case, one.profile, one.type, one.variant): outcome(one.verdict, one.reason)
        for one in run.verdicts
    }
    return Attempt(name, mode, found)


def flakes(attempts: Sequence[Attempt]) -> list[Flake]:
    """Return every variant with different verdicts in different attempts; a missing verdict is different, too."""
    found: list[Flake] = []
    for key in sorted({key for one in attempts for key in one.verdicts}):
        seen: dict[str, list[Attempt]] = {}
        for one in attempts:
            seen.setdefault(one.verdicts.get(key, ABSENT), []).append(one)
        if len(seen) > 1:
            ordered = sorted(seen.items(), key=lambda item: (-len(item[1]), item[0]))
            found.append(Flake(key, {came: tuple(where) for came, where in ordered}))
    return found


def text(attempts: Sequence[Attempt]) -> str:
    """Return what to tell people: each flake with its verdicts, how often, in which modes and runs; then a sentence."""
    found = flakes(attempts)
    total = len({key for one in attempts for key in one.verdicts})
    lines = [row for flake in found for row in _told(flake, attempts)]
    many = f"{total} case variant{'s' if total != 1 else ''} in {len(attempts)} runs"
    lines.append(f"{many}, {len(found)} of them flaky" if found else f"{many}: every verdict stayed the same")
    return "".join(f"{row}\n" for row in lines)


_NAMED = 12
"""Runs that are named for one verdict."""


def _told(flake: Flake, attempts: Sequence[Attempt]) -> list[str]:
    implementation, case, *rest = (line(part, 200) for part in flake.key)
    lines = [f"flake  {implementation}  {case}  [{', '.join(part for part in rest if part)}]"]
    for came, where in flake.seen.items():
        modes = list(dict.fromkeys(str(one.mode) for one in attempts))
        counts = [(mode, _count(where, mode), _count(attempts, mode)) for mode in modes]
        shares = ", ".join(f"{mode} {seen} of {tried}" for mode, seen, tried in counts if seen)
        lines.append(f"  {line(came, 200)}: {len(where)} of {len(attempts)} ({shares})")
        if came != next(iter(flake.seen)) or len(where) * 2 <= len(attempts):
            names = [one.name for one in where[:_NAMED]] + (["..."] if len(where) > _NAMED else [])
            lines.append(f"    in {' '.join(names)}")
    return lines


def _count(attempts: Sequence[Attempt], mode: str) -> int:
    return sum(str(one.mode) == mode for one in attempts)
