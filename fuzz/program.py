"""A program: what a testee's connection is, and a short list of operations on both its ends. Values, never changed.

A program is *valid* when every operation can be asked for where it stands: it exists in the profile, its names exist by then and
have their canonical form, its sizes are within bounds. ``normal`` makes any program valid and leaves a valid one as it is;
whatever shrinks, mutates or edits a program goes through it.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ..conformance.model.operations import Control, Kind, Number, Open, Pair, Receive, Rights, Send
from ..impls.protocol.messages import Receiver
from ..impls.protocol.values import Profile
from .fitting import fit, within
from .operations import End, Forge, Make, Operation, Take, TakeOne, Turn, end_of
from .scope import Scope, capacity

VERSION = 1
"""Of programs, in whatever form. A later version reads what this one wrote."""
OPERATIONS = 64
"""Operations of one program."""
CALLBACKS = 8
"""Which descriptor callback of a `Receiver` may be the one that misbehaves, at most."""
PROFILES = (Profile.MESSAGE, Profile.DESCRIPTORS, Profile.TRANSPORT)
"""The profiles that programs are for."""


class Side(StrEnum):
    """Which side of connection 0 the testee is."""

    CLIENT = "client"
    SERVER = "server"


class System(StrEnum):
    """As which system the kernel shows itself to the testee; all but the host itself are personalities of the interposer."""

    HOST = "host"
    LINUX = "linux"
    LINUX_OLD = "linux-old"
    FREEBSD = "freebsd"
    ILLUMOS = "illumos"
    MACOS = "macos"


class Program(Struct, frozen=True):
    """A program. Connection 0, ``t0`` and ``p0``, is there when the first operation is done.

    ``type`` is the type of connection 0. ``receiver``: how the testee plays the protocol on top of every transport.
    """

    profile: Profile = Profile.MESSAGE
    type: Kind = Kind.STREAM
    side: Side = Side.CLIENT
    operations: tuple[Operation, ...] = ()
    system: System = System.HOST
    receiver: Receiver = Receiver()
    version: int = VERSION


def normal(program: Program) -> Program:
    """Return the valid program that is nearest to ``program``; a valid one as it is.

    Names that were bound go on meaning the same thing; one that was never bound, or is the other end's, means the thing of
    its kind whose index is its number, modulo what exists then. Operations that cannot be there are left out.
    """
    return program_of(header(program), lambda namer: (namer.normal(one) for one in program.operations))


def is_valid(program: Program) -> bool:
    """Whether ``program`` is valid."""
    return normal(program) == program


def header(program: Program) -> Program:
    """Return ``program`` without operations, and with what goes together in the rest."""
    transport = program.profile is Profile.TRANSPORT
    profile = program.profile if program.profile in PROFILES else Profile.MESSAGE
    return Program(
        profile,
        Kind.STREAM if transport else program.type,
        program.side,
        (),
        program.system,
        receiver_of(program.receiver) if transport else Receiver(),
        VERSION,
    )


def receiver_of(receiver: Receiver) -> Receiver:
    """Return ``receiver`` within bounds; one that takes no descriptors has no callback that could misbehave."""
    if not receiver.descriptors:
        return Receiver(descriptors=False)
    at = (receiver.raise_at, receiver.close_at, receiver.abort_at)
    return Receiver(True, *(None if one is None else within(one, 0, CALLBACKS - 1) for one in at))


def program_of(head: Program, operations: Callable[[Namer], Any]) -> Program:
    """Return ``head`` with the first `OPERATIONS` operations that ``operations`` makes of a namer; None are left out."""
    found: list[Operation] = []
    for one in operations(Namer(head)):
        if one is not None:
            found.append(one)
            if len(found) == OPERATIONS:
                break
    return replace(head, operations=tuple(found))


class Namer:
    """Makes the operations of a program valid, one after the other, and keeps account of what each written name means."""

    def __init__(self, head: Program) -> None:
        self.scope = Scope(head.profile, head.type)
        self.meaning: dict[str, str] = {"t0": "t0", "p0": "p0"}
        """The canonical name of each name, and of each prefix, that was bound."""
        self.unknown: list[str] = []
        """The names of the last operation that were never bound."""

    def normal(self, operation: Operation) -> Operation | None:
        """Return the valid operation that comes next; None where there is none."""
        made = fit(self.renamed(operation), self.scope)
        if made is not None:
            self.bind(operation, made)
        return made

    def bind(self, written: Operation, made: Operation) -> None:
        """Take note of ``made``, which ``written`` came to."""
        self.scope.add(made)
        for old, new in zip(bound(written), bound(made), strict=False):
            if new:
                self.meaning[old or new] = new

    def renamed(self, operation: Operation) -> Operation:
        """Return the operation with canonical names; one that was never bound has a ``?`` at its end, and so is none."""
        self.unknown = []
        if isinstance(operation, (Open, Make)):
            return replace(operation, name=self.scope.object(end_of(operation.name)))
        if isinstance(operation, Pair):
            a, b = self.scope.pair()
            return replace(operation, a=a, b=b)
        changes: dict[str, Any] = {}
        for field in ("name", "fd"):
            written = getattr(operation, field, None)
            if isinstance(written, str):
                changes[field] = self.name(written)
        if isinstance(operation, Send) and operation.control:
            changes["control"] = tuple(self._control(one) for one in operation.control)
        if isinstance(operation, Forge) and operation.bait:
            changes["bait"] = tuple(map(self.name, operation.bait))
        if isinstance(operation, (Receive, Take, TakeOne, Turn)):
            room = capacity(operation)
            changes["prefix"] = self.scope.prefix(end_of(changes.get("name", operation.name)), room)
        return replace(operation, **changes) if changes else operation

    def name(self, written: Number) -> Number:
        """Return what ``written`` means."""
        if isinstance(written, int):
            return written
        if written in self.meaning:
            return self.meaning[written]
        head = written.rstrip("0123456789")
        if head in self.meaning:
            return self.meaning[head] + written[len(head) :]
        self.unknown.append(written)
        return f"{written}?"

    def _control(self, one: Control) -> Control:
        return Rights(tuple(map(self.name, one.fds)), one.length) if isinstance(one, Rights) else one


def ends_of(program: Program) -> tuple[End, ...]:
    """Return who does each operation; a `Pair` is both ends' and stands as the testee's, a `Collect` is the harness's."""
    return tuple(end_of(getattr(one, "name", -1)) for one in program.operations)


def bound(operation: Operation) -> tuple[str, ...]:
    """Return the names and prefixes that an operation binds."""
    if isinstance(operation, (Open, Make)):
        return (operation.name,)
    if isinstance(operation, Pair):
        return (operation.a, operation.b)
    if isinstance(operation, (Receive, Take, TakeOne, Turn)):
        return (operation.prefix,)
    return ()
