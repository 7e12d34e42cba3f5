"""Where executions of one program part, and in what: pure functions of what each implementation showed.

Implementations are compared operation by operation, aspect by aspect. What an API does not show is not compared: a count or
flags of None, the type of an error beside its errno. Numbers are not compared at all, labels are. Where implementations part in
something on which the rest depends (whether a call failed, which bytes came), they go on being compared with their like alone;
what is only seen (close-on-exec, flags) parts nobody for good, so it never hides what comes behind it.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence

from msgspec import Struct

from ...conformance.model import flags as f
from ...impls.protocol.values import Profile
from ..judgement import END
from ..operations import End, end_of
from ..program import Program
from ..run.shown import Execution, Shown
from ..text import line_of
from .aspects import (
    OF_AN_OPERATION,
    OF_THE_END,
    OF_TRUNCATED,
    TRUNCATION,
    Aspect,
    Look,
    joined,
    labels_of,
    plain,
    truncated,
)


class Group(Struct, frozen=True):
    """Implementations that behaved alike, in the order in which they were named, and what they showed."""

    who: tuple[str, ...]
    showed: str


class Parting(Struct, frozen=True):
    """The behaviour at which implementations part at one operation.

    ``groups``: the one that most belong to first (of equals the one with the implementation that was named first); all others
    are the `odd`. ``values`` are what they are told apart by, one a group. ``operation`` and ``place`` as of a violation.
    """

    behaviour: str
    at: int
    operation: str
    place: str
    groups: tuple[Group, ...]
    values: tuple[Hashable, ...]

    @property
    def odd(self) -> tuple[str, ...]:
        """Return who does not behave as most do, sorted."""
        return tuple(sorted(one for group in self.groups[1:] for one in group.who))


def partings(executions: Mapping[str, Execution]) -> tuple[Parting, ...]:
    """Return where the executions of one program part, in the order of time, each behaviour once.

    Raises ValueError for executions of several programs.
    """
    if len({one.program for one in executions.values()}) > 1:
        raise ValueError("executions of several programs cannot be compared")
    if len(executions) < 2:
        return ()
    program = next(iter(executions.values())).program
    blocks = [list(executions)]
    found: list[Parting] = []
    for at in range(len(program.operations) + 1):
        blocks = [part for block in blocks for part in _split(block, executions, program, at, found)]
    return tuple(_once(found))


def _once(found: Sequence[Parting]) -> Iterator[Parting]:
    """Yield each behaviour once for the same odd ones; of open descriptors only the first sight."""
    known: set[tuple[str, tuple[str, ...]]] = set()
    for one in found:
        behaviour = "open-descriptors" if one.behaviour in _SIGHTS_OF_OPEN else one.behaviour
        if (behaviour, one.odd) not in known:
            known.add((behaviour, one.odd))
            yield one


_SIGHTS_OF_OPEN = ("open-descriptors", "left-open")


def _split(
    block: list[str], executions: Mapping[str, Execution], program: Program, at: int, found: list[Parting]
) -> list[list[str]]:
    """Return the parts of ``block`` that go on together after operation ``at``; what they part in goes to ``found``."""
    looks = {name: _look(executions[name], program, at) for name in block}
    parts = [block]
    explained = False
    for aspect in _aspects(list(looks.values()), at, program):
        after: list[list[str]] = []
        for part in parts:
            groups = _grouped(part, looks, aspect)
            if len(groups) > 1 and not explained:
                found.append(_parting(groups, looks, aspect, program, at))
            after += _whole(part, groups) if aspect.decides else [part]
        explained = explained or (aspect is TRUNCATION and bool(found) and _is_truncation(found[-1], at))
        parts = after
    return parts


def _is_truncation(parting: Parting, at: int) -> bool:
    return parting.at == at and parting.behaviour == TRUNCATION.name


def _look(execution: Execution, program: Program, at: int) -> Look:
    if at == len(program.operations):
        return Look(execution, at, None, None)
    return Look(execution, at, program.operations[at], execution.shown[at] if at < len(execution.shown) else None)


def _aspects(looks: Sequence[Look], at: int, program: Program) -> tuple[Aspect, ...]:
    if at == len(program.operations):
        return OF_THE_END
    return OF_TRUNCATED if truncated(looks) else OF_AN_OPERATION


def _grouped(part: Sequence[str], looks: Mapping[str, Look], aspect: Aspect) -> dict[Hashable, list[str]]:
    """Return who showed what, the most common first; without those who did not show it."""
    groups: dict[Hashable, list[str]] = {}
    for name in part:
        value = aspect.read(looks[name])
        if value is not None:
            groups.setdefault(value, []).append(name)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def _whole(part: list[str], groups: dict[Hashable, list[str]]) -> list[list[str]]:
    """Return the groups; who did not show it stays with the first."""
    if not groups:
        return [part]
    told = {name for who in groups.values() for name in who}
    first, *others = groups.values()
    return [[name for name in part if name in first or name not in told], *others]


def _parting(
    groups: dict[Hashable, list[str]], looks: Mapping[str, Look], aspect: Aspect, program: Program, at: int
) -> Parting:
    firsts = [looks[who[0]] for who in groups.values()]
    return Parting(
        aspect.name if isinstance(aspect.name, str) else aspect.name(firsts),
        at,
        verb_of(program, at),
        place_of(program, at),
        tuple(Group(tuple(who), plain(aspect.tell(look))) for who, look in zip(groups.values(), firsts, strict=True)),
        tuple(groups),
    )


def verb_of(program: Program, at: int) -> str:
    """Return the verb of operation ``at``, `END` behind the last."""
    return END if at == len(program.operations) else line_of(program.operations[at]).split(" ", 1)[0]


def place_of(program: Program, at: int) -> str:
    """Return profile, type (of a transport its side) and whose end saw it."""
    peer = at < len(program.operations) and end_of(getattr(program.operations[at], "name", -1)) is End.PEER
    kind = program.side if program.profile is Profile.TRANSPORT else program.type
    return f"{program.profile}/{kind}/{'peer' if peer else 'testee'}"


# ---- features ----------------------------------------------------------------------------------------------------------


def features(executions: Mapping[str, Execution], found: Sequence[Parting]) -> frozenset[str]:
    """Return names of what was seen: each implementation's kinds of outcome at each verb, and where they part."""
    names = {f"parts:{one.behaviour}:{one.operation}:{one.place}:{','.join(one.odd)}" for one in found}
    for execution in executions.values():
        program = execution.program
        head = f"{program.profile}/{program.type}"
        for at, shown in enumerate(execution.shown):
            if shown is not None:
                names.add(f"{head}:{verb_of(program, at)}:{_shape(shown)}")
    return frozenset(names)


def _shape(shown: Shown) -> str:
    if shown.failed:
        return shown.error or "own-error"
    events = "".join(sorted({one.name[0] for one in shown.events}))
    size, files = len(joined(shown)).bit_length(), len(labels_of(shown)).bit_length()
    return f"{size},{files},{f.names_of(shown.flags or 0)},{len(shown.control)},{events}"
