"""A `fdspec.fuzz.judgement.Runner` on an implementation within this process."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence

from msgspec.structs import replace

from ...conformance.model.operations import Kind
from ...impls.protocol.values import ObjectKind, Profile
from ..judgement import Verdict
from ..offer import PAYLOAD, Offer
from ..program import Program, Side
from ..run.shown import Execution
from ..text import line_of
from .acts import ACTS
from .apis import NotHere, apis_of
from .stage import Stage

_ALWAYS = frozenset({*map(str, Kind), *map(str, ObjectKind), str(Side.CLIENT), PAYLOAD, "options", "make", "pair"})


class InProcess:
    """Runs programs on one implementation within this process. Close it when done."""

    def __init__(self, subject: str, profiles: Sequence[Profile] | None = None) -> None:
        """Raises NotHere where the implementation cannot be called in this process, or has none of ``profiles``."""
        apis = [one for one in apis_of(subject) if profiles is None or one.profile in profiles]
        if not apis:
            raise NotHere(f"{subject} has none of the profiles {', '.join(map(str, profiles or ()))} within a process")
        self.subject = subject
        self.version = f"in process, Python {platform.python_version()}"
        self.offers = tuple(Offer(one.profile, one.names | _ALWAYS) for one in apis)
        self._stages = {one.profile: Stage(one, ACTS) for one in apis}

    def again(self) -> tuple[str, dict[str, object]]:
        """Return how another process opens the same: a function, and its arguments."""
        return "fdspec.fuzz.inprocess:open_in_process", {"subject": self.subject, "profiles": list(self._stages)}

    def run(self, programs: Sequence[Program]) -> list[Verdict]:
        """Run the programs. What looks wrong is run again with care at once, so that it is told where it happens."""
        for stage in self._stages.values():
            stage.settle()
        found: list[Verdict] = []
        stages = self._stages
        for program in programs:
            stage = stages.get(program.profile)
            if stage is None:
                found.append(Verdict(unsupported=f"there is no profile {program.profile}"))
                continue
            verdict = stage.run(program)
            if verdict.violations:
                again = self.examine(program)
                verdict = replace(again, transcript=()) if again.violations else verdict
            found.append(verdict)
        return found

    def observe(self, program: Program) -> Execution:
        """Execute one program with care, and judge nothing."""
        return self._stages[program.profile].observe(program)[1]

    def examine(self, program: Program) -> Verdict:
        """Run one program with a look at the table after every operation."""
        stage = self._stages.get(program.profile)
        if stage is None:
            return Verdict(unsupported=f"there is no profile {program.profile}")
        verdict, execution = stage.observe(program)
        lines = tuple(
            f"{line_of(operation)}  ->  {shown}"
            for operation, shown in zip(program.operations, execution.shown, strict=True)
        )
        return replace(verdict, transcript=lines)

    def close(self) -> None:
        """Close everything. May be called again."""
        for stage in self._stages.values():
            stage.close()
        self._stages = {}


def open_in_process(
    subject: str, *, profiles: Sequence[str] | None = None, interpose: bool = False, cpu: int | None = None
) -> InProcess:
    """Return a runner on ``subject`` within this process; the parameters are those of `fdspec.fuzz.runner.open_runner`.

    Raises NotHere, also for ``interpose``. ``cpu``: the core to stay on.
    """
    if interpose:
        raise NotHere("within a process no system call can be interposed: leave out --interpose")
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
    return InProcess(subject, None if profiles is None else [Profile(one) for one in profiles])
