"""Personalities: what other kernels do otherwise than Linux, as tables, each difference with its source.

``personalities/*.toml`` hold one system each. They are emulated on Linux: a testee that was compiled for Linux is shown what such
a kernel would have answered. Its headers, and so the layout of a control message (a header of 16 bytes with cmsg_len in the first
8), stay Linux's; an alignment of 4 only means that the kernel puts the next header at the next multiple of 4.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection
from functools import cached_property
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from ..records import Source
from ..tomlfile import Document, Key, TomlError, convert, read
from .personality_rules import MECHANISMS, Effect, Parameters, Rules, Text, Wrong

PERSONALITIES = Path(__file__).parent / "personalities"
LINUX = "linux"
"""The personality that changes nothing."""

_Id = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]*\Z")]


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"given": "with"}):
    """One thing that a system does otherwise.

    ``effect`` with the parameters ``given`` (``with`` in the file) is how; ``what`` says it in one sentence. ``changes``: ids of
    requirements whose sentence, or whose outcome on Linux, does not hold there. ``cases``: ids of cases that rest on Linux's
    way, though what they check holds there too. ``lacks``: flags, options and types that are not there.
    """

    id: _Id
    effect: Effect
    what: Text
    sources: Annotated[list[Source], Meta(min_length=1)]
    given: Parameters = Parameters()
    changes: list[str] = []
    cases: list[str] = []
    lacks: list[str] = []


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of `PERSONALITIES`: as it stands there."""

    id: _Id
    name: Text
    summary: Text
    emulated: Text
    left_out: list[Text] = []
    difference: list[Difference] = []


class Personality(msgspec.Struct, frozen=True, dict=True):
    """A system as it is emulated.

    ``emulated``: how it is to be called in a report. ``left_out``: what is known of it and not emulated.
    """

    id: str
    name: str
    summary: str
    emulated: str
    left_out: tuple[str, ...]
    differences: tuple[Difference, ...]
    rules: Rules

    @cached_property
    def lacks(self) -> frozenset[str]:
        """Names of flags, options and types that the system does not have."""
        return frozenset(name for one in self.differences for name in one.lacks)

    @cached_property
    def changes(self) -> dict[str, tuple[str, ...]]:
        """By id of a requirement: the ids of the differences that change its outcome."""
        found: dict[str, tuple[str, ...]] = {}
        for one in self.differences:
            for requirement in one.changes:
                found[requirement] = (*found.get(requirement, ()), one.id)
        return found


class UnknownPersonality(Exception):
    """A name that no personality has; the message tells the near ones, or all."""


_EXPECTED = {
    "id": "a name of small letters, digits and hyphens",
    "name": "the system's name",
    "summary": "a sentence",
    "emulated": "how it is to be called in a report",
    "left_out": "an array of sentences",
    "difference": "an array of tables",
    "difference.id": "a name of small letters, digits and hyphens",
    "difference.effect": f"one of {', '.join(Effect)}",
    "difference.what": "a sentence",
    "difference.sources": "an array of at least one table of name, text and link",
    "difference.sources.name": "the name of a source",
    "difference.sources.text": "what it says, in our words",
    "difference.sources.link": "an address",
    "difference.with": "a table of the effect's parameters",
    "difference.with.errno": "the name of an errno",
    "difference.with.stays": "nothing, data or message",
    "difference.with.needs": "always, pointer or room",
    "difference.with.descriptors": "closed or installed",
    "difference.with.where": "null or no-room",
    "difference.with.names": "an array of names",
    "difference.with.limit": "a number",
    "difference.with.to": "a number of bytes",
    "difference.changes": "an array of ids of requirements",
    "difference.cases": "an array of ids of cases",
    "difference.lacks": "an array of names of flags and options",
}


def read_personality(path: Path, requirements: Collection[str] | None = None) -> Personality:
    """Return the personality in a file. With ``requirements`` each id in ``changes`` must be one of them.

    Raises TomlError with file, line and key for what is malformed or unknown, an id that stands there twice, parameters that the
    effect does not take or lacks, and two differences that contradict one another.
    """
    document = read(path)
    table = convert(document, Table, _EXPECTED)
    if table.id != path.stem:
        raise document.error(("id",), f"{path.stem!r} expected, as the file is called; {table.id!r} came")
    rules: dict[str, object] = {}
    setters: dict[str, str] = {}
    seen: set[str] = set()
    for index, one in enumerate(table.difference):
        at: Key = ("difference", index)
        if one.id in seen:
            raise document.error((*at, "id"), f"{one.id!r} stands there twice")
        seen.add(one.id)
        _check_changes(document, at, one, requirements)
        for field, value in _fields(document, at, one).items():
            if field in setters:
                raise document.error((*at, "effect"), f"{one.id!r} contradicts {setters[field]!r}: both set {field}")
            setters[field] = one.id
            rules[field] = value
    return Personality(
        table.id,
        table.name,
        table.summary,
        table.emulated,
        tuple(table.left_out),
        tuple(table.difference),
        msgspec.structs.replace(Rules(), **rules),
    )


def _check_changes(document: Document, at: Key, one: Difference, requirements: Collection[str] | None) -> None:
    for identity in one.changes:
        if requirements is not None and identity not in requirements:
            near = difflib.get_close_matches(identity, requirements, n=3, cutoff=0.5)
            hint = f"; near are {', '.join(near)}" if near else ""
            raise document.error((*at, "changes"), f"{identity!r} is no requirement{hint}")


def _fields(document: Document, at: Key, one: Difference) -> dict[str, object]:
    """Return the fields of the rules that ``one`` sets."""
    mechanism = MECHANISMS[one.effect]
    given = one.given.given()
    if given != mechanism.takes:
        takes, came = (", ".join(sorted(names)) or "nothing" for names in (mechanism.takes, given))
        raise document.error((*at, "with"), f"{one.effect} takes {takes}; {came} came")
    try:
        return mechanism.sets(one.given)
    except Wrong as fault:
        raise document.error((*at, "with", fault.name), str(fault)) from fault


def personalities(
    directory: Path = PERSONALITIES, requirements: Collection[str] | None = None
) -> dict[str, Personality]:
    """Return all personalities by id, in the order of their names. Raises TomlError for a faulty file, or where there is none."""
    paths = sorted(directory.glob("*.toml"), key=lambda path: path.stem)
    found = {path.stem: read_personality(path, requirements) for path in paths}
    if not found:
        raise TomlError(directory, 0, "", "no personality there")
    return found


def find(name: str, directory: Path = PERSONALITIES) -> Personality:
    """Return the personality called ``name``. Raises UnknownPersonality for none, and TomlError as `read_personality`."""
    known = sorted(path.stem for path in directory.glob("*.toml"))
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5) or known
        raise UnknownPersonality(f"there is no personality {name!r}; did you mean {' or '.join(near)}?")
    return read_personality(directory / f"{name}.toml")
