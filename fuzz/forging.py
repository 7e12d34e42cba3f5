"""The builders of forged control data by name, each with the numbers that it takes, so that a program can hold them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum

from msgspec import Struct

from ..conformance.interpose import forge

Numbers = Sequence[int]


class Builder(StrEnum):
    """A builder of `fdspec.conformance.interpose.forge`, which says what each makes."""

    FLAGGED = "flagged"
    FLAG_ALONE = "flag-alone"
    UNTRUNCATED = "untruncated"
    SHORT = "short"
    SPLIT = "split"
    TWICE = "twice"
    NO_DATA = "no-data"
    BEYOND = "beyond"
    UNTOLD = "untold"
    FIRST_TELLS = "first-tells"
    SECOND_TELLS = "second-tells"
    HALF_INT = "half-int"
    PART_OF_INT = "part-of-int"
    NEGATIVE = "negative"
    STRAY = "stray"
    MISALIGNED = "misaligned"
    FOREIGN = "foreign"


class Shape(Struct, frozen=True):
    """What a builder takes. ``numbers``: the domain of each; ``least`` and ``most``: how many baits; ``make``: builds."""

    make: Callable[[Numbers, Numbers], forge.Forge]
    numbers: tuple[Sequence[int], ...] = ()
    least: int = 0
    most: int = 0


_TOO_SHORT = range(forge.HEADER)
_UNSOUND = (*_TOO_SHORT, *forge.HUGE)
_BEHIND = tuple(forge.Behind)
_COUNTS = range(5)
_NEGATIVE = (-1, -2, -100, -(2**31))
_NO_RIGHTS = (0, 6, 41, 255, -1)
"""Levels at which nothing is an SCM_RIGHTS."""
_BAITS = 8

SHAPES: dict[Builder, Shape] = {
    Builder.FLAGGED: Shape(lambda _n, _b: forge.flagged),
    Builder.FLAG_ALONE: Shape(lambda _n, _b: forge.flag_alone),
    Builder.UNTRUNCATED: Shape(lambda n, _b: forge.untruncated(n[0] or None), ((0, 20, 24, 28, 1028, *forge.HUGE),)),
    Builder.SHORT: Shape(lambda n, _b: forge.short(n[0]), (_COUNTS,)),
    Builder.SPLIT: Shape(lambda n, _b: forge.split(*n), (_COUNTS,) * 3),
    Builder.TWICE: Shape(lambda _n, _b: forge.twice),
    Builder.NO_DATA: Shape(lambda _n, _b: forge.no_data),
    Builder.BEYOND: Shape(lambda n, b: forge.beyond(n[0], b), (range(1, 65),), 0, _BAITS),
    Builder.UNTOLD: Shape(lambda n, b: forge.untold(b, b"" if n[0] else None), ((0, 1),), 1, _BAITS),
    Builder.FIRST_TELLS: Shape(
        lambda n, b: forge.first_tells(n[0], b, _BEHIND[n[1]]), (_UNSOUND, range(len(_BEHIND))), 1, _BAITS
    ),
    Builder.SECOND_TELLS: Shape(
        lambda n, b: forge.second_tells(n[0], b, _BEHIND[n[1]]), (_UNSOUND, range(len(_BEHIND))), 1, _BAITS
    ),
    Builder.HALF_INT: Shape(lambda n, b: forge.half_int(n[0], b[0]), (range(1, forge.INT),), 1, 1),
    Builder.PART_OF_INT: Shape(lambda n, b: forge.part_of_int(n[0], b[0]), (range(1, forge.INT),), 1, 1),
    Builder.NEGATIVE: Shape(lambda n, _b: forge.negative(n[:1], n[1:]), (_NEGATIVE, _NEGATIVE)),
    Builder.STRAY: Shape(lambda n, b: forge.stray(n[0], b), (_TOO_SHORT[1:],), 1, _BAITS),
    Builder.MISALIGNED: Shape(lambda _n, b: forge.misaligned(b), (), 1, _BAITS),
    Builder.FOREIGN: Shape(lambda n, _b: forge.foreign(n[0], n[1], bytes(n[2])), (_NO_RIGHTS, range(64), range(33))),
}


def build(builder: Builder, numbers: Numbers, bait: Numbers) -> forge.Forge:
    """Return the forge. ``bait``: the testee's numbers that the program's names stand for now, as many as there were names."""
    return SHAPES[builder].make(tuple(numbers), tuple(bait))


def fitting(builder: Builder, numbers: Numbers) -> tuple[int, ...]:
    """Return ``numbers`` as the builder takes them: as many, each in its domain; what is not is an index into that."""
    domains = SHAPES[builder].numbers
    given = (*numbers, *(domain[0] for domain in domains[len(numbers) :]))
    return tuple(
        one if one in domain else domain[one % len(domain)] for one, domain in zip(given, domains, strict=False)
    )
