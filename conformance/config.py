"""The configuration of the gate: ``fdspec.toml``, or ``[tool.fdspec]`` in ``pyproject.toml``. ``docs/gate.md`` describes it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..impls.protocol.values import Profile, SocketType
from ..impls.registry import is_path
from . import expectations
from .records import Level
from .tomlfile import Document, TomlError, convert, dotted, read, shown

FILE_NAME = "fdspec.toml"
PROJECT = "pyproject.toml"
TABLE = ("tool", "fdspec")
"""Where the configuration stands in a ``pyproject.toml``."""
JOBS = re.compile(r"auto|logical|[0-9]{1,4}")
"""What a number of workers looks like."""

_Text = Annotated[str, Meta(pattern=r"\S")]


class _Written(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The configuration as it is written."""

    implementations: list[_Text] = []
    level: Level | None = None
    types: list[SocketType] = []
    profiles: list[Profile] = []
    cases: list[_Text] = []
    expectations: _Text | None = None
    jobs: int | Annotated[str, Meta(pattern=r"^(auto|logical)\Z")] | None = None


_EXPECTED: dict[str, str] = {
    "implementations": "a list of ids and of paths to manifests, relative to this file",
    "level": "one of " + ", ".join(Level),
    "types": "a list of " + ", ".join(SocketType),
    "profiles": "a list of " + ", ".join(Profile),
    "cases": "a list of patterns of ids",
    "expectations": "the path of a file of expectations, relative to this file",
    "jobs": "a number of workers from 0 to 9999, or 'auto'",
}
KEYS = tuple(_EXPECTED)
"""All keys there are."""


@dataclass(frozen=True)
class Configuration:
    """What a configuration says; empty where it says nothing.

    ``implementations`` are ids and absolute paths. ``expectations``: absolute; the default file where it exists.
    """

    file: Path
    implementations: tuple[str, ...] = ()
    level: str | None = None
    types: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    cases: tuple[str, ...] = ()
    expectations: Path | None = None
    jobs: str | None = None
    lines: Mapping[str, int] = field(default_factory=dict[str, int])
    """Where each key stands, from 1."""

    @property
    def name(self) -> str:
        """The file as it is shortest to read from here."""
        return shown(self.file)

    @property
    def default_expectations(self) -> Path:
        """Where the expectations are, or would be if there were any."""
        return self.expectations or self.file.parent / expectations.FILE_NAME

    def place(self, key: str) -> str:
        """Return ``file:line: key`` of a key, for messages."""
        return f"{self.name}:{self.lines.get(key, 1)}: {key}"


def find(start: Path) -> Configuration | None:
    """Return the nearest configuration from the directory ``start`` upwards; None where there is none.

    The search ends at the root of a repository (a directory with ``.git``, itself included) or of the file system. A
    ``pyproject.toml`` without ``[tool.fdspec]`` is passed by. Raises TomlError, also where one directory has both.
    """
    start = Path(os.path.abspath(start))  # noqa: PTH100 - symlinks stay as written
    for directory in (start, *start.parents):
        found = in_directory(directory)
        if found is not None:
            return understand(found)
        if (directory / ".git").exists():
            break
    return None


def in_directory(directory: Path) -> Document | None:
    """Return the file in ``directory`` that holds a configuration; None where none does. Raises TomlError."""
    own, project = directory / FILE_NAME, directory / PROJECT
    document = read(project) if project.is_file() else None
    if document is not None and not _is_in(document):
        document = None
    if not os.path.lexists(own):
        return document
    if document is not None:
        raise document.error(TABLE, f"{shown(own)} is a configuration as well; keep one of them")
    return read(own)


def load(file: Path) -> Configuration:
    """Return the configuration in ``file``. Raises TomlError."""
    document = read(Path(os.path.abspath(file)))  # noqa: PTH100 - symlinks stay as written
    if file.name == PROJECT and not _is_in(document):
        raise TomlError(document.file, 0, dotted(TABLE), "a table expected, there is none")
    return understand(document)


def _is_in(document: Document) -> bool:
    """Whether a ``pyproject.toml`` has something at the table's place, right or wrong."""
    tool: Any = document.table.get(TABLE[0])
    return isinstance(tool, dict) and TABLE[1] in tool


def understand(document: Document) -> Configuration:
    """Return the configuration in a document. Raises TomlError."""
    at = TABLE if document.file.name == PROJECT else ()
    written = convert(document, _Written, _EXPECTED, at)
    if isinstance(written.jobs, int) and not 0 <= written.jobs <= 9999:
        raise document.error((*at, "jobs"), f"expected {_EXPECTED['jobs']}, {written.jobs} came")
    table: Any = document.table
    for part in at:
        table = table[part]
    for key in ("implementations", "types", "profiles", "cases"):
        values: list[str] = getattr(written, key)
        if key in table and not values:
            raise document.error((*at, key), f"expected {_EXPECTED[key]}, an empty list came; leave it out for all")
        twice = [one for one in values if values.count(one) > 1]
        if twice:
            raise document.error((*at, key), f"{str(twice[0])!r} stands there twice")
    here = document.file.parent
    named = here / written.expectations if written.expectations else here / expectations.FILE_NAME
    if written.expectations and not named.is_file():
        raise document.error((*at, "expectations"), f"{shown(named)} is no file; `fdspec expect init` writes one")
    return Configuration(
        file=document.file,
        implementations=tuple(_from(one, here) for one in written.implementations),
        level=written.level.value if written.level else None,
        types=tuple(str(one) for one in written.types),
        profiles=tuple(str(one) for one in written.profiles),
        cases=tuple(written.cases),
        expectations=named if written.expectations or os.path.lexists(named) else None,
        jobs=None if written.jobs is None else str(written.jobs),
        lines={key: document.line((*at, key)) for key in table},
    )


def _from(name: str, here: Path) -> str:
    """Return an id as it is, and a path as an absolute one."""
    return os.path.normpath(here / name) if is_path(name) else name


def of_selection(file: Path, names: Sequence[str], selection: Mapping[str, str]) -> Configuration:
    """Return the configuration in ``file`` that selects what a run's header says that it selected."""
    types, profiles, cases = (tuple(selection.get(key, "").split()) for key in ("types", "profiles", "cases"))
    return Configuration(file, tuple(names), selection.get("level"), types, profiles, cases)


def written(names: Sequence[str], selection: Mapping[str, str]) -> str:
    """Return the text of a new ``fdspec.toml``. ``selection`` as in a run's header."""
    import tomlkit  # noqa: PLC0415 - no run needs it

    document = tomlkit.document()
    document.add(
        tomlkit.comment('`fdspec run` beside this file is the gate. The keys: "The gate" in fdspec\'s manual.')
    )
    document.add("implementations", tomlkit.item(list(names)))
    for key in ("level", "types", "profiles", "cases"):
        value = selection.get(key, "")
        if value:
            document.add(key, tomlkit.item(value if key == "level" else value.split()))
    return document.as_string()
