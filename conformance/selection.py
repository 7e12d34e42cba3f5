"""What was asked for: implementations, cases, profiles and socket types; a name that matches nothing is told at once."""

from __future__ import annotations

import difflib
import fnmatch
from dataclasses import dataclass
from typing import cast

import pytest

from ..impls.manifest import Manifest, ManifestError
from ..impls.protocol.values import Profile, SocketType
from ..impls.registry import UnknownImplementation, everything, find
from .records import Level
from .suite import ORDER, Case, Suite


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

    def option(name: str) -> list[str]:
        return cast("list[str]", config.getoption(name))

    level = cast("str | None", config.getoption("fdspec_level"))
    return Selection(
        tuple(option("fdspec_case")),
        Level(level) if level else None,
        tuple(SocketType(one) for one in option("fdspec_type")),
        tuple(Profile(one) for one in option("fdspec_profile")),
    )


def chosen(config: pytest.Config) -> tuple[list[Manifest], bool]:
    """Return the manifests asked for, and whether each was asked for by name. Raises pytest.UsageError."""
    names = list(dict.fromkeys(cast("list[str]", config.getoption("fdspec_impl"))))
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
