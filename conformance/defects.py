"""Real defects of descriptor passing, and what catches them: cases of the suite, and mutants of the reference that repeat them.

``defects.toml`` says what went wrong in which project, and which cases an implementation with that defect would fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from ..impls.mutants.tables import Mutant
from .specification import SuiteError, Text, read_table

DEFECTS = Path(__file__).parent / "defects.toml"


class Where(StrEnum):
    """On what a defect can be seen."""

    LINUX = "linux"
    """A real Linux kernel shows it to a program outside."""
    INTERPOSED = "interposed"
    """It takes control data, or results of calls, that no Linux kernel gives on demand, or a memory checker: then a remark
    tells."""
    KERNEL = "kernel"
    """What is at fault is itself a kernel, an emulator or a system library."""
    OTHER = "other-system"


class Defect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One defect that shipped.

    ``group``: its class, A to I (``class`` in the file). ``what`` went wrong; what is ``seen`` from outside the process.
    ``cases``: ids of cases that an implementation with it fails. ``remark``: where none does, why.
    """

    id: Annotated[str, Meta(pattern=r"^D[0-9]{3}\Z")]
    project: Text
    language: Text
    group: str = msgspec.field(name="class")
    what: Text
    seen: Text
    reference: Text
    where: Where
    cases: list[str]
    remark: str = ""


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All defects, and the titles of their classes by letter."""

    classes: dict[str, Text]
    defect: list[Defect]


def read_defects(path: Path = DEFECTS) -> Catalogue:
    """Return the catalogue. Raises SuiteError for a malformed file, an id that stands there twice, or an unknown class."""
    found = read_table(path, Catalogue)
    seen: set[str] = set()
    for one in found.defect:
        if one.id in seen:
            raise SuiteError(f"{path}: defect {one.id} stands there twice")
        if one.group not in found.classes:
            raise SuiteError(f"{path}: defect {one.id} is of class {one.group!r}; there are {', '.join(found.classes)}")
        seen.add(one.id)
    return found


@dataclass(frozen=True)
class Caught:
    """A defect with the cases that catch it, the ids among them that are no case, and the mutants that repeat it."""

    defect: Defect
    cases: tuple[str, ...]
    unknown: tuple[str, ...]
    mutants: tuple[str, ...]

    @property
    def gap(self) -> bool:
        """Whether a case should catch it and none does, or a case that is said to is none.

        One should where Linux shows it; and where it takes a kernel that lies, unless a remark says why none can.
        """
        where = self.defect.where
        expected = where is Where.LINUX or (where is Where.INTERPOSED and not self.defect.remark)
        return bool(self.unknown) or (expected and not self.cases)


def caught(defects: Iterable[Defect], cases: Iterable[str], mutants: Mapping[str, Mutant]) -> list[Caught]:
    """Return what catches each of ``defects``, in their order. ``cases``: the ids of all there are."""
    known = set(cases)
    return [
        Caught(
            one,
            tuple(name for name in one.cases if name in known),
            tuple(name for name in one.cases if name not in known),
            tuple(name for name, mutant in mutants.items() if one.id in mutant.defects),
        )
        for one in defects
    ]
