"""What an engine is: it chooses programs, has a runner run them, and tells the session what came of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from ..judgement import Runner, Verdict
from ..program import Program


class Session(Protocol):
    """One worker's part of a campaign, as an engine sees it."""

    @property
    def seed(self) -> int:
        """The seed of this worker; every random choice of the engine comes from it."""
        ...

    @property
    def corpus(self) -> Sequence[Program]:
        """The programs to begin with, and those that were kept since; it grows at its end.

        Those of this worker's own `tell`, and now and then those of other workers, within a call of `tell`.
        """
        ...

    @property
    def over(self) -> bool:
        """Whether the time or the number of programs is used up, or somebody has interrupted the campaign."""
        ...

    def tell(self, program: Program, verdict: Verdict) -> bool:
        """Take note of what `Runner.run` said of a program; return whether it showed something new and is kept.

        A violation of a key that is not known yet is proved by `Runner.examine`, made small and written down before this
        returns. Raises nothing but OSError, where a directory can no longer be written.
        """
        ...


Engine = Callable[[Runner, Session], None]
"""Searches until the session is over, then returns."""
