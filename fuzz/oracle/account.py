"""The account of a program: how its execution ended, and what is open or closed that should not be.

`judge_account` needs no model, and is for every profile. `judge_left` holds the table before the testee's reset against the
model's, where the calls were followed to the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ...conformance.model import Rights, Send, State, process_of
from ..judgement import END, Breach, Violation
from ..operations import Give, Make, Queue, SendOne
from ..program import Program
from ..run.shown import Execution
from ..text import line_of
from .facts import Facts
from .requirements import Situation, requirement_of


def place_of(program: Program, *, peer: bool = False) -> str:
    """Return where something shows: profile, type, and whose end saw it."""
    return f"{program.profile}/{program.type}/{'peer' if peer else 'testee'}"


def verb_of(program: Program, at: int) -> str:
    """Return the verb of an operation in the text form; `END` behind the last."""
    return line_of(program.operations[at]).partition(" ")[0] if at < len(program.operations) else END


def judge_account(execution: Execution, facts: Facts) -> tuple[Violation, ...]:
    """Return what is wrong with an execution as such: crash, hang, noise, protocol, leaks, stray closes, what is held."""
    trouble, left = execution.trouble, execution.left
    found: list[Violation] = []
    if trouble is not None:
        breach = Breach(trouble.breach)
        found.append(_violation(execution, facts, breach, Situation.ACCOUNT, trouble.at, trouble.message))
    if left is None:
        return tuple(found)
    end = len(execution.program.operations)
    found += [_violation(execution, facts, Breach.STRAY_CLOSE, Situation.ACCOUNT, end, one) for one in left.stray]
    if left.leaked:
        message = f"still open after the reset: {' '.join(left.leaked)}"
        found.append(_violation(execution, facts, Breach.LEAK, Situation.ACCOUNT, end, message))
    held = sorted(name for name, released in left.released.items() if released is False)
    if held and not left.leaked and not may_keep_itself(execution.program):
        message = f"nothing has it open, and it is not released: {' '.join(held)}"
        found.append(_violation(execution, facts, Breach.LEAK, Situation.ACCOUNT, end, message))
    return tuple(found)


def judge_left(execution: Execution, facts: Facts, states: Sequence[State]) -> tuple[Violation, ...]:
    """Hold the testee's table before its reset against the model's, in all the states that things may be in."""
    left = execution.left
    if left is None or not states:
        return ()
    came = sorted(left.open)
    tables = [_labels(state) for state in states]
    if came in tables:
        return ()
    differences = [(Counter(came) - Counter(due), Counter(due) - Counter(came)) for due in tables]
    more, less = min(differences, key=lambda one: one[0].total() + one[1].total())
    end = len(execution.program.operations)
    found: list[Violation] = []
    if more:
        message = f"open beside what the program has: {' '.join(sorted(more.elements()))}"
        found.append(_violation(execution, facts, Breach.LEAK, Situation.ACCOUNT, end, message))
    if less:
        message = f"not open any more: {' '.join(sorted(less.elements()))}"
        found.append(_violation(execution, facts, Breach.STRAY_CLOSE, Situation.ACCOUNT, end, message))
    return tuple(found)


def _labels(state: State) -> list[str]:
    """Return the labels of all that the testee has open."""
    files = state.files
    return sorted([files[one.file].label for one in process_of(state, 0).table.values()])


def may_keep_itself(program: Program) -> bool:
    """Whether descriptors of the program may keep each other alive in flight, or wait where nobody looks.

    That takes a socket that is sent. The kernel collects what only refers to itself when it likes, and does not find all of it
    (see docs/findings).
    """
    sockets = {one.name for one in program.operations if isinstance(one, Make)}
    return any(_is_socket(fd, sockets) for fd in _sent(program))


def _is_socket(fd: str | int, sockets: set[str]) -> bool:
    return isinstance(fd, str) and (fd[0] in "tprq" or fd in sockets)


def _sent(program: Program) -> list[str | int]:
    found: list[str | int] = []
    for op in program.operations:
        if isinstance(op, Send):
            found += [fd for one in op.control if isinstance(one, Rights) for fd in one.fds]
        elif isinstance(op, (SendOne, Queue, Give)):
            found.append(op.fd)
    return found


def _violation(
    execution: Execution, facts: Facts, breach: Breach, situation: Situation, at: int, message: str
) -> Violation:
    program = execution.program
    requirement = requirement_of(breach, situation, raw=facts.raw)
    return Violation(breach, requirement, at, verb_of(program, at), place_of(program), message)
