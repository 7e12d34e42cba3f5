"""What must happen in a sequence, and which requirements say so, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from . import flags as f
from .control import Written
from .operations import Operation, Receive
from .outcome import Mismatch, Outcome, Seen
from .rules import follow, step
from .state import INHERITED, Ids, State
from .text import line


def explain(state: State, operations: Iterable[Operation], sentence: Callable[[str], str] | None = None) -> str:
    """Return the account of a sequence: each operation, what it must show, and why.

    ``sentence`` gives the words of a requirement, which follow at the end, each once. Where several outcomes are permitted
    all are told, and the account goes on from the first.
    """
    lines: list[str] = []
    cited: dict[str, None] = {}
    for number, operation in enumerate(operations, 1):
        taken = step(state, operation)
        lines.append(f"{number:>3}  {line(operation)}")
        for index, outcome in enumerate(taken.outcomes):
            lines += _outcome(state, operation, outcome, first=not index)
            cited.update(dict.fromkeys(outcome.because))
        state = taken.outcomes[0].state
    if sentence and cited:
        lines += ["", *(f"{one:<6} {sentence(one)}" for one in sorted(cited))]
    return "".join(one.rstrip() + "\n" for one in lines)


def _outcome(state: State, operation: Operation, outcome: Outcome, *, first: bool) -> list[str]:
    told = tell(outcome.seen, outcome.state, operation)
    before = "" if first else "or "
    name = f" ({outcome.name})" if not first or "," in outcome.name else ""
    lines = [f"     {before}-> {told[0]}{name}", *(f"        {one}" for one in told[1:])]
    gone = [file.label for identity, file in state.files.items() if identity not in outcome.state.files]
    lines += [f"        released: {', '.join(gone)}"] if gone else []
    return [*lines, f"        because {', '.join(outcome.because)}"] if outcome.because else lines


def tell(seen: Seen, state: State, operation: Operation) -> list[str]:
    """Return what was seen as lines: the result first, then what came with it."""
    if seen.error:
        return [f"fails with {seen.error}" + (", and SIGPIPE is raised" if seen.sigpipe else "")]
    if not isinstance(operation, Receive):
        new = [f"{_label(one.file, state)} is {one.number}" for one in seen.new]
        return [", ".join([f"returns {seen.value}", *new])]
    pieces = " ".join(_data(piece) for piece in seen.data)
    lines = [f"returns {seen.value}" + (f": {pieces}" if pieces else "")]
    if seen.flags:
        lines.append(f"msg_flags {f.names_of(seen.flags)}")
    if operation.control is not None and (seen.messages or operation.control):
        lines.append(f"msg_controllen {seen.controllen} of {operation.control}")
    lines += [_message(message, state.platform.ids) for message in seen.messages]
    cloexec = {True: "close-on-exec", False: "no close-on-exec"}
    return lines + [f"  {one.number}: {_label(one.file, state)}, {cloexec[one.cloexec]}" for one in seen.new]


def tell_mismatch(mismatch: Mismatch) -> str:
    """Return a mismatch in words: the operation, what was seen, and what would have been right."""
    operation = mismatch.step.operation
    state = mismatch.step.outcomes[0].state
    lines = [f"{line(operation)}"]
    lines += _block("seen", tell(mismatch.seen, state, operation), mismatch.seen)
    for outcome in mismatch.step.outcomes:
        lines += _block(f"permitted ({outcome.name})", tell(outcome.seen, outcome.state, operation), outcome.seen)
        lines += [f"    because {', '.join(outcome.because)}"] if outcome.because else []
    return "\n".join(lines)


def _block(head: str, told: list[str], seen: Seen) -> list[str]:
    return [f"  {head}: {told[0]}", *(f"    {one}" for one in told[1:]), f"    {seen.open} descriptors are open"]


def check(
    start: State, operations: Iterable[Operation], execute: Callable[[Operation], Seen]
) -> tuple[int, Mismatch | None]:
    """Execute a sequence beside the model. Return how many operations agreed, and the first mismatch."""
    states: tuple[State, ...] = (start,)
    count = 0
    for operation in operations:
        found = follow(states, operation, execute(operation))
        if isinstance(found, Mismatch):
            return count, found
        states = tuple(outcome.state for outcome in found)
        count += 1
    return count, None


def _label(file: int, state: State) -> str:
    if file == INHERITED:
        return "a file that is none of the sequence's"
    return state.files[file].label if file in state.files else f"file {file}, which is released"


def _data(piece: bytes) -> str:
    text = repr(piece)[1:]
    return text if len(text) < 60 else f"{text[:50]}'... ({len(piece)} bytes)"


def _message(message: Written, own: Ids) -> str:
    names = {f.SCM_RIGHTS: "SCM_RIGHTS", f.SCM_CREDENTIALS: "SCM_CREDENTIALS"}
    name = (
        names.get(message.type, f"type {message.type}") if message.level == f.SOL_SOCKET else f"level {message.level}"
    )
    whose = ""
    if message.type == f.SCM_CREDENTIALS:
        whole = len(message.data) == f.UCRED
        whose = ", the sender's" if message.data == own.packed() else ", of nobody" if whole else ", cut off"
    return f"{name}, cmsg_len {message.length}{whose}"
