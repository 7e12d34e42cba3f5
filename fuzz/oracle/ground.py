"""What a program's judge keeps beside the model's states: what the implementation promises, and what the model cannot know."""

from __future__ import annotations

from ...conformance.model import State, acting, file_of
from ...impls.protocol.values import ObjectKind, Profile
from ..operations import Calls, End, Fail, Forge, Make, Number, Operation, Option, SetMore, Short
from ..program import System
from ..run.shown import Execution
from .facts import Facts

HARMLESS = frozenset({Option.RCVBUF})
"""Options that have no effect on AF_UNIX sockets."""
SAME_SYSTEMS = frozenset({System.HOST, System.LINUX})
"""Systems on which the model predicts what is seen."""


class Ground:
    """One program's. `note` follows its operations."""

    def __init__(self, execution: Execution, facts: Facts) -> None:
        program = execution.program
        self.raw = facts.raw
        self.message = program.profile is Profile.MESSAGE
        self.names = facts.offer.names
        self.policies = facts.policies
        self.limits = facts.limits
        self.silent = facts.policies.get("truncation") == "silent"
        self.shows_flags = self.message or "flags-reported" in self.names
        self.strange: set[str] = set()
        """Labels of sockets with an option that the model does not know."""
        self.made: set[str] = set()
        """Labels of objects that are sockets, which the model takes for pipes."""
        self.readable: set[str] = set()
        """Labels of objects that are files: read(2) of the model's pipes fails."""
        self.big: set[str] = set()
        """Labels of sockets whose send buffer is as big as the system permits, which nobody said."""
        self.faults: list[Fail | Short] = []
        """Planned faults that acted, and may act from here on."""
        self.interposed = program.system is not System.HOST or any(map(is_fault, program.operations))
        """Whether somebody stands between the testee and its kernel."""
        self.forged = False
        """Whether control data may be forged from here on."""
        self.tainted = False
        """Whether descriptors may wait in a queue that the model does not know."""
        self.foreign = False
        """Whether the peer may have sent what is none of the program's."""
        self._operations = program.operations
        self._acted = frozenset(execution.acted)

    def fault(self, at: int) -> None:
        """Take note of the fault that is planned at this operation, if it ever acts."""
        op = self._operations[at]
        if at not in self._acted:
            return
        if isinstance(op, Forge):
            self.forged = True
        elif isinstance(op, (Fail, Short)):
            self.faults.append(op)

    def failing(self, calls: Calls) -> frozenset[str]:
        """Return the errors with which one of these calls may fail by a planned fault."""
        if not self.faults:
            return frozenset()
        return frozenset(one.error.name for one in self.faults if isinstance(one, Fail) and one.calls is calls)

    def shortened(self) -> tuple[int, ...]:
        """Return the numbers of bytes that a send may be cut to by a planned fault."""
        return tuple(dict.fromkeys(one.count for one in self.faults if isinstance(one, Short))) if self.faults else ()

    def note_make(self, op: Make) -> None:
        """Take note of an object that the model takes for a pipe."""
        (self.made if op.kind is ObjectKind.SOCKET else self.readable).add(op.name)

    def note_option(self, op: SetMore, states: list[State], end: End) -> None:
        """Take note of an option that the model does not know.

        With SO_PASSPIDFD a socket's messages in both directions carry credentials, whoever asks for them afterwards.
        """
        if op.option in HARMLESS or not op.value:
            return
        for state in states:
            self.strange |= labels_at(state, end, op.name, both=op.option is Option.PASSPIDFD)


def is_fault(op: Operation) -> bool:
    """Whether an operation plans a fault."""
    return isinstance(op, (Fail, Short, Forge))


def label_of(state: State, end: End, name: Number) -> str:
    """Return the label of what a name refers to; '' where it is not open."""
    found = file_of(acting(state, end), end, name) if isinstance(name, str) else None
    return found.label if found else ""


def labels_at(state: State, end: End, name: Number, *, both: bool) -> set[str]:
    """Return the label of the socket that a name refers to, and its peer's where ``both`` are asked for."""
    acts = acting(state, end)
    found = file_of(acts, end, name) if isinstance(name, str) else None
    if found is None:
        return set()
    socket = acts.sockets.get(found.socket) if found.socket is not None else None
    peer = acts.sockets.get(socket.peer) if both and socket is not None and socket.peer is not None else None
    file = acts.files.get(peer.file) if peer is not None and peer.file is not None else None
    return {found.label} if file is None else {found.label, file.label}
