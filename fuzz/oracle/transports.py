"""The contract of a transport, held against what a program showed of one.

Nothing is predicted but what has to be: every byte that was written arrives once and in order, every descriptor once, in order,
and no later than the write behind it; what the peer sent is told in the same way; the connection ends for a reason, once, and
with an error where something was lost. Where a policy leaves a choice, what the implementation documents is what is permitted;
where it documents nothing, what the conformance cases permit.
"""

from __future__ import annotations

from ...impls.protocol.values import Profile
from ..run.shown import Execution
from .account import judge_account
from .facts import Facts, Judged
from .transport_end import judge_end
from .transport_judge import Judge


def judge_transport(execution: Execution, facts: Facts) -> Judged:
    """Judge a program of profile transport, the account included. Raises ValueError for one of another profile."""
    if execution.program.profile is not Profile.TRANSPORT:
        raise ValueError(f"a program of profile transport is expected, not {execution.program.profile}")
    judge = Judge(execution, facts)
    judge.run()
    if execution.left is not None and execution.trouble is None:
        judge_end(judge)
    found = judge.found
    known = {(one.breach, one.requirement) for one in found}
    found += [one for one in judge_account(execution, facts) if (one.breach, one.requirement) not in known]
    return Judged(tuple(sorted(found, key=lambda one: one.at)), frozenset(judge.features))
