"""The specification: what is required, by whom, and where that stands.

``requirements/*.toml`` hold one section each; their names give the order. A requirement's id is permanent: it is never used for
anything else, and its meaning does not change.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from .records import Level, Source

REQUIREMENTS = Path(__file__).parent / "requirements"
PEERS = ("gVisor", "CPython", "FreeBSD", "Linux selftests", "LTP", "Twisted", "dbus", "systemd")
"""The suites that coverage is compared with; requirements may name others as well."""

Kind = TypeVar("Kind")
Text = Annotated[str, msgspec.Meta(min_length=1)]


class SuiteError(Exception):
    """The suite contradicts itself: an id used twice, a check that is no requirement, a malformed table."""


class Subject(StrEnum):
    """Whose behaviour a requirement is."""

    KERNEL = "kernel"
    LIBRARY = "library"
    TRANSPORT = "transport"


class Requirement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sentence that can be right or wrong.

    ``outcomes``: permitted outcomes by name, where systems legitimately differ. ``peers``: suites of others that test it too.
    """

    id: Text
    sentence: Text
    level: Level
    subject: Subject
    sources: Annotated[list[Source], msgspec.Meta(min_length=1)]
    outcomes: dict[str, str] = {}
    peers: list[str] = []


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A chapter of the specification. ``left_out``: known behaviours that no case can check, each with the reason."""

    title: Text
    text: Text
    requirement: list[Requirement]
    left_out: dict[str, str] = {}


def read_section(path: Path) -> Section:
    """Return the section in a TOML file. Raises SuiteError with file and place."""
    return read_table(path, Section)


def read_table(path: Path, kind: type[Kind]) -> Kind:
    """Return what a TOML file of the suite says. Raises SuiteError with file and place."""
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), kind)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as fault:
        raise SuiteError(f"{path}: {fault}") from fault


def read_sections(directory: Path = REQUIREMENTS) -> tuple[Section, ...]:
    """Return all sections in the order of the document. Raises SuiteError for a faulty or absent one, or an id used twice."""
    paths = sorted(directory.glob("*.toml"))
    if not paths:
        raise SuiteError(f"{directory}: no requirements there")
    sections = tuple(read_section(path) for path in paths)
    homes: dict[str, Path] = {}
    for path, section in zip(paths, sections, strict=True):
        for one in [requirement.id for requirement in section.requirement] + list(section.left_out):
            if one in homes:
                raise SuiteError(f"{path}: {one} stands there twice, or in {homes[one].name} as well")
            homes[one] = path
    return sections


def by_id(sections: Sequence[Section]) -> dict[str, Requirement]:
    """Return the requirements of ``sections`` by id, in the order of the document."""
    return {one.id: one for section in sections for one in section.requirement}
