"""What tests of engines share: a session that remembers what it is told."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fdspec.fuzz import Program
from fdspec.fuzz.judgement import Key, Verdict


class Remembering:
    """A session of so many programs."""

    def __init__(
        self, programs: int, *, seed: int = 1, corpus: Iterable[Program] = (), directory: Path | None = None
    ) -> None:
        self.seed = seed
        self.corpus: Sequence[Program] = list(corpus)
        self.directory = directory
        self.told: list[tuple[Program, Verdict]] = []
        self.features: set[str] = set()
        self._programs = programs

    @property
    def over(self) -> bool:
        return len(self.told) >= self._programs

    def tell(self, program: Program, verdict: Verdict) -> bool:
        self.told.append((program, verdict))
        new = not verdict.features <= self.features
        self.features |= verdict.features
        return new

    @property
    def smallest(self) -> dict[Key, int]:
        """How many operations the smallest program of each key has."""
        found: dict[Key, int] = {}
        for program, verdict in self.told:
            for violation in verdict.violations[:1]:
                size = len(program.operations)
                found[violation.key] = min(size, found.get(violation.key, size))
        return found
