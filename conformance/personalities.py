"""A run under an emulated system: which one was asked for, and which cases mean anything there."""

from __future__ import annotations

from typing import cast

import pytest

from .interpose.kernel import missing
from .interpose.personality import Personality, UnknownPersonality, find
from .suite import Case

NO_START = 3
"""The exit code where the interposer is not to be had."""


def chosen_system(config: pytest.Config) -> Personality | None:
    """Return the personality that the options name, None without one. Raises pytest.UsageError for an unknown one.

    Ends pytest with 3 where calls cannot be interposed here.
    """
    name = cast("str | None", config.getoption("fdspec_personality"))
    if name is None:
        return None
    try:
        found = find(name)
    except UnknownPersonality as fault:
        raise pytest.UsageError(str(fault)) from fault
    reason = missing()
    if reason:
        pytest.exit(f"{found.name} cannot be emulated here: {reason}", returncode=NO_START)
    return found


def otherwise_on(system: Personality | None, case: Case) -> str:
    """Return why ``case`` says nothing about ``system``: a requirement of its is not so there, by design. '' where it does."""
    if system is None:
        return ""
    checks = set(case.checks)
    for one in system.differences:
        if case.id in one.cases or checks.intersection(one.changes):
            return f"{system.name} does otherwise ({one.id}): {one.what}"
    return ""
