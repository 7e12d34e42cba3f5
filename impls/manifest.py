"""The manifest of an implementation: ``impl.toml``, read, checked and typed.

The format is described in ``docs/manifest.md``. Every mistake in a file is told with the file, the key and what was
expected; a key that nobody knows is a mistake, because it is usually a known one mistyped.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta

from .protocol.values import Profile

FILE_NAME = "impl.toml"
MAX_SIZE = 2**20
"""Bytes of a manifest that are read."""

PLACEHOLDERS: dict[str, str] = {
    "python": "the interpreter of the environment, or the harness's own",
    "here": "the directory of the manifest",
    "env": "the private directory of the environment",
    "testee": "the directory of fdspec's own testee libraries",
}
_PLACEHOLDER = re.compile(r"\{([A-Za-z_]*)\}")

_Text = Annotated[str, Meta(min_length=1)]
_Command = Annotated[list[_Text], Meta(min_length=1)]
_Time = Annotated[float, Meta(gt=0, le=3600)]


class ManifestError(Exception):
    """A manifest that cannot be used: its ``file``, the dotted ``key``, what was ``expected``, perhaps a ``hint``."""

    def __init__(self, file: Path, key: str, expected: str, hint: str = "") -> None:
        where = f"{file}: {key}" if key else str(file)
        super().__init__(f"{where}: {expected}" + (f" ({hint})" if hint else ""))
        self.file = file
        self.key = key
        self.expected = expected
        self.hint = hint


class SetupKind(StrEnum):
    """How an environment is made."""

    NONE = "none"
    PYTHON = "python"
    CARGO = "cargo"
    COMMANDS = "commands"


class Needs(msgspec.Struct, frozen=True):
    """What must be on the machine: programs on PATH; a Python interpreter by version (``>=3.9``, ``==2.7.*``)."""

    tools: list[_Text] = []
    python: _Text | None = None


class Setup(msgspec.Struct, frozen=True):
    """How the private environment is made.

    ``packages`` are for pip, pinned; ``commands`` run in ``{here}``, in order. ``sources`` are files and directories
    outside ``{here}``, relative to it, from which the testee is built: when one changes, it is built again.
    """

    kind: SetupKind = SetupKind.NONE
    packages: list[_Text] = []
    commands: list[_Command] = []
    sources: list[_Text] = []


class Start(msgspec.Struct, frozen=True):
    """How the testee is started."""

    command: _Command


class Deadlines(msgspec.Struct, frozen=True):
    """How slow the testee may be, in seconds: until it answered ``hello``, and for any other request."""

    start: _Time = 10.0
    request: _Time = 5.0


class Limits(msgspec.Struct, frozen=True):
    """What the testee may use. ``memory``: bytes of address space (RLIMIT_AS)."""

    memory: Annotated[int, Meta(ge=2**24)] = 2**32


class Manifest(msgspec.Struct, frozen=True):
    """One implementation as its manifest describes it. ``file`` is where that stands (absolute); it is no key."""

    id: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]*\Z", max_length=64)]
    name: _Text
    language: _Text
    homepage: Annotated[str, Meta(pattern=r"^https?://\S+\Z")]
    summary: Annotated[str, Meta(pattern=r"^[^\n]+\Z")]
    profiles: Annotated[list[Profile], Meta(min_length=1)]
    start: Start
    needs: Needs = Needs()
    setup: Setup = Setup()
    deadlines: Deadlines = Deadlines()
    limits: Limits = Limits()
    file: Path = Path()

    @property
    def here(self) -> Path:
        """The directory of the manifest."""
        return self.file.parent


_TABLES: dict[object, type[msgspec.Struct]] = {kind: kind for kind in (Needs, Setup, Start, Deadlines, Limits)}
_NO_KEYS = frozenset({"file"})

_EXPECTED: dict[str, str] = {
    "id": "a permanent id of a-z, 0-9 and '-', beginning with a letter or digit, at most 64 characters",
    "name": "a non-empty text",
    "language": "a non-empty text",
    "homepage": "an address that begins with https:// or http://",
    "summary": "one non-empty line of text",
    "profiles": "a non-empty list of " + ", ".join(Profile),
    "needs.tools": "a list of program names",
    "needs.python": "a version specifier as pip knows them, such as '>=3.9' or '==2.7.*'",
    "setup.kind": "one of " + ", ".join(SetupKind),
    "setup.packages": "a list of pinned requirements, such as 'twisted==26.4.0'",
    "setup.commands": "a list of commands, each a non-empty list of texts",
    "setup.sources": "a list of paths, relative to the manifest",
    "start.command": "a non-empty list of texts: the program and its arguments",
    "deadlines.start": "seconds, more than 0 and at most 3600",
    "deadlines.request": "seconds, more than 0 and at most 3600",
    "limits.memory": "a whole number of bytes, at least 16777216",
}


def load(path: Path) -> Manifest:
    """Read the manifest at ``path``, which is a file or a directory that holds an ``impl.toml``.

    Raises ManifestError.
    """
    file = Path(os.path.abspath(path / FILE_NAME if path.is_dir() else path))  # noqa: PTH100 - symlinks stay as written
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_SIZE + 1)
    except OSError as fault:
        raise ManifestError(file, "", f"a readable manifest expected: {fault.strerror}") from fault
    if len(data) > MAX_SIZE:
        raise ManifestError(file, "", f"a manifest of at most {MAX_SIZE} bytes expected")
    try:
        text = data.decode()
    except UnicodeDecodeError as fault:
        raise ManifestError(file, "", f"UTF-8 text expected, byte {fault.start} is not") from fault
    return parse(text, file)


def parse(text: str, file: Path) -> Manifest:
    """Check ``text`` as the content of ``file`` and give it its types. Raises ManifestError."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as fault:
        raise ManifestError(file, "", f"TOML expected: {fault}") from fault
    manifest = cast("Manifest", _table(Manifest, table, "", file))
    manifest = msgspec.structs.replace(manifest, file=file)
    _check_setup(manifest)
    _check_python(manifest)
    _check_commands(manifest)
    return manifest


def placeholders(words: list[str], values: dict[str, str]) -> list[str]:
    """Return ``words`` with ``{name}`` replaced by ``values[name]``; braces around anything else stay."""
    return [_PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), word) for word in words]


def _table(kind: type[msgspec.Struct], value: object, where: str, file: Path) -> msgspec.Struct:
    """Give one table the type ``kind``; ``where`` is its dotted key."""
    if not isinstance(value, dict):
        raise ManifestError(file, where, "a table expected" + _came(value))
    table = cast("dict[str, object]", value)
    fields = {field.name: field for field in msgspec.structs.fields(kind) if field.name not in _NO_KEYS}
    for key in table:
        if key not in fields:
            raise ManifestError(
                file, _join(where, key), f"no such key; known are {', '.join(fields)}", _near(key, fields)
            )
    found: dict[str, Any] = {}
    for name, field in fields.items():
        key = _join(where, name)
        inner: object = field.type
        if name not in table:
            if field.required:
                expected = _EXPECTED.get(key, f"a table [{key}]")
                raise ManifestError(file, key, f"missing; expected {expected}")
        elif inner in _TABLES:
            found[name] = _table(_TABLES[inner], table[name], key, file)
        else:
            found[name] = _leaf(inner, table[name], key, file)
    return kind(**found)


def _leaf(kind: object, value: object, key: str, file: Path) -> object:
    try:
        return msgspec.convert(value, cast("type[object]", kind))
    except msgspec.ValidationError as fault:
        hint = _near_choice(key, value)
        raise ManifestError(file, key, f"expected {_EXPECTED[key]}" + _came(value), hint) from fault


def _near_choice(key: str, value: object) -> str:
    """Return the nearest choice to a mistyped profile or kind."""
    choices: dict[str, type[StrEnum]] = {"profiles": Profile, "setup.kind": SetupKind}
    if key not in choices:
        return ""
    known = list(choices[key])
    values = cast("list[object]", value if isinstance(value, list) else [value])
    hints = (_near(item, known) for item in values if isinstance(item, str) and item not in known)
    return next((hint for hint in hints if hint), "")


def _check_setup(manifest: Manifest) -> None:
    """Refuse keys that the kind of set-up does not use, and packages that are not pinned."""
    setup, file = manifest.setup, manifest.file
    if setup.packages and setup.kind is not SetupKind.PYTHON:
        raise ManifestError(file, "setup.packages", f"only for kind 'python', the kind here is '{setup.kind}'")
    if setup.commands and setup.kind is not SetupKind.COMMANDS:
        raise ManifestError(file, "setup.commands", f"only for kind 'commands', the kind here is '{setup.kind}'")
    if setup.sources and setup.kind not in {SetupKind.CARGO, SetupKind.COMMANDS}:
        raise ManifestError(
            file, "setup.sources", f"only for kinds 'cargo' and 'commands', the kind here is '{setup.kind}'"
        )
    if setup.kind is SetupKind.COMMANDS and not setup.commands:
        raise ManifestError(file, "setup.commands", "missing; kind 'commands' expects at least one")
    for package in setup.packages:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[^\]]*\])?\s*==\s*[0-9][^\s;*]*(\s*;.*)?", package):
            raise ManifestError(
                file, "setup.packages", f"a pinned requirement (name==version) expected, {package!r} came"
            )


def _check_python(manifest: Manifest) -> None:
    wanted = manifest.needs.python
    if wanted is None:
        return
    if manifest.setup.kind not in {SetupKind.PYTHON, SetupKind.NONE, SetupKind.COMMANDS}:
        raise ManifestError(manifest.file, "needs.python", f"not for kind '{manifest.setup.kind}'")
    from packaging.specifiers import InvalidSpecifier, SpecifierSet  # noqa: PLC0415 - most manifests do without

    try:
        SpecifierSet(wanted)
    except InvalidSpecifier as fault:
        raise ManifestError(
            manifest.file, "needs.python", f"expected {_EXPECTED['needs.python']}" + _came(wanted)
        ) from fault


def _check_commands(manifest: Manifest) -> None:
    """Refuse placeholders that nobody fills in, and a program that only the directory of the caller would tell."""
    program = manifest.start.command[0]
    if "/" in program and not program.startswith(("/", "{")):
        raise ManifestError(
            manifest.file,
            "start.command",
            f"a program on PATH or an absolute path expected, {program!r} came",
            f"write '{{here}}/{program.removeprefix('./')}'",
        )
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    commands = [("setup.commands", command) for command in manifest.setup.commands]
    for key, command in [*commands, ("start.command", manifest.start.command)]:
        for word in command:
            if "\0" in word:
                raise ManifestError(manifest.file, key, "a text without NUL bytes expected")
            for match in _PLACEHOLDER.finditer(word):
                if match[1] not in PLACEHOLDERS:
                    expected = f"unknown placeholder {match[0]}; known are {known}"
                    raise ManifestError(manifest.file, key, expected, _near(match[1], PLACEHOLDERS))
                if match[1] == "env" and manifest.setup.kind is SetupKind.NONE:
                    raise ManifestError(manifest.file, key, "{env} needs a [setup] that makes an environment")


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _came(value: object) -> str:
    text = repr(value)
    return f", {text if len(text) <= 80 else text[:77] + '...'} came"


def _near(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""
