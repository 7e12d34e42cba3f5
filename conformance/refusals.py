"""How an implementation may tell of a call that the kernel refused."""

from __future__ import annotations

from collections.abc import Collection

from .observations import Outcome

NAMELESS = frozenset({"", "Error", "Exception", "OSError", "RuntimeError"})
"""Types of error that say nothing of themselves."""
OF_ITS_OWN = frozenset({"EINTR", "EAGAIN"})
"""What languages have types of their own for, which then need no number."""


def tells(outcome: Outcome, errors: Collection[str]) -> bool:
    """Whether ``outcome`` is an error that tells one of ``errors``: by its number, or where that is usual by its type."""
    if outcome.error is None:
        return False
    if outcome.errno is not None:
        return outcome.errno in errors
    return OF_ITS_OWN.issuperset(errors) and outcome.error.type not in NAMELESS
