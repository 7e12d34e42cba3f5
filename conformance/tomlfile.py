"""TOML files that people write: read into strict types, and every mistake told with file, line and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec

MAX_SIZE = 2**22
"""Bytes of a file that are read."""

Key = tuple[str | int, ...]
"""Where a value stands: names of keys, and positions (from 0) in arrays of tables."""
_Kind = TypeVar("_Kind")


class TomlError(Exception):
    """A file that cannot be used: ``file``, ``line`` (from 1; 0 where none is meant), the dotted ``key``, and what is wrong."""

    def __init__(self, file: Path, line: int, key: str, text: str) -> None:
        place = f"{shown(file)}:{line}" if line else shown(file)
        super().__init__(f"{place}: {key}: {text}" if key else f"{place}: {text}")
        self.file = file
        self.line = line
        self.key = key
        self.text = text


@dataclass(frozen=True)
class Statement:
    """A table's header or a key with its value: ``first`` and ``last`` line, from 1."""

    key: Key
    first: int
    last: int
    header: bool


@dataclass(frozen=True)
class Document:
    """A TOML file that is well formed. ``table``: what it says; ``statements``: where it says so."""

    file: Path
    text: str
    table: dict[str, Any]
    statements: tuple[Statement, ...]

    def line(self, key: Key) -> int:
        """Return the line where ``key`` stands, or where the nearest thing around it does; 1 for the whole."""
        places = {statement.key: statement.first for statement in reversed(self.statements)}
        while key and key not in places:
            key = key[:-1]
        return places.get(key, 1)

    def error(self, key: Key, text: str) -> TomlError:
        """Return the error of ``key``."""
        return TomlError(self.file, self.line(key), dotted(key), text)


def shown(file: Path) -> str:
    """Return ``file`` as it is shortest to read from the current directory."""
    here = Path.cwd()
    return str(file.relative_to(here)) if file.is_relative_to(here) else str(file)


def dotted(key: Key) -> str:
    """Return ``key`` as people write it; positions are left out, because the line tells them."""
    return ".".join(part for part in key if isinstance(part, str))


def read(file: Path) -> Document:
    """Read ``file``. Raises TomlError where it cannot be read or is no TOML."""
    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_SIZE + 1)
    except OSError as fault:
        raise TomlError(file, 0, "", f"cannot be read: {fault.strerror}") from fault
    if len(data) > MAX_SIZE:
        raise TomlError(file, 0, "", f"a file of at most {MAX_SIZE} bytes expected")
    try:
        text = data.decode()
    except UnicodeDecodeError as fault:
        raise TomlError(file, data[: fault.start].count(b"\n") + 1, "", "UTF-8 text expected") from fault
    return parse(text, file)


_PLACE = re.compile(r" ?\(at (?:line (?P<line>\d+), column \d+|end of document)\)$")


def parse(text: str, file: Path) -> Document:
    """Return ``text`` as the content of ``file``. Raises TomlError where it is no TOML."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        message = str(fault)
        found = _PLACE.search(message)
        line = int(found["line"]) if found and found["line"] else text.rstrip().count("\n") + 1
        raise TomlError(file, line, "", f"TOML expected: {_PLACE.sub('', message)}") from fault
    except RecursionError as fault:
        raise TomlError(file, 0, "", "TOML expected: it is nested too deeply") from fault
    return Document(file, text, table, tuple(_statements(text)))


def convert(document: Document, kind: type[_Kind], expected: Mapping[str, str], at: Key = ()) -> _Kind:
    """Return the table at ``at`` as ``kind``, whose structs forbid unknown fields. ``expected``: by dotted key, for people.

    Raises TomlError with the line and key of the first mistake.
    """
    value: Any = document.table
    for part in at:
        value = value[part]
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as fault:
        raise _mistake(document, value, expected, at, str(fault)) from fault


_FAULT = re.compile(r"(?P<what>.*?)(?: - at `(?P<path>(?:key in )?\$[^`]*)`)?", re.DOTALL)
_FIELD = re.compile(r"Object (?P<how>contains unknown|missing required) field `(?P<name>[^`]*)`")


def _mistake(document: Document, value: Any, expected: Mapping[str, str], at: Key, message: str) -> TomlError:  # noqa: ANN401 - whatever the file holds
    """Put msgspec's words into those of this file."""
    match = cast("re.Match[str]", _FAULT.fullmatch(message))
    inner = _path(match["path"] or "$")
    field = _FIELD.match(match["what"])
    if field is not None:
        inner = (*inner, field["name"])
        name = dotted(inner)
        if field["how"] == "missing required":
            return document.error((*at, *inner), f"missing; expected {expected.get(name, 'a value')}")
        known = [key.rpartition(".")[2] for key in expected if key.rpartition(".")[0] == name.rpartition(".")[0]]
        return document.error((*at, *inner), f"no such key; known are {', '.join(known)}")
    for part in inner:
        value = value[part]
    while inner and dotted(inner) not in expected:
        inner = inner[:-1]
    text = repr(value)
    came = text if len(text) <= 80 else text[:77] + "..."
    return document.error((*at, *inner), f"expected {expected.get(dotted(inner), 'a table')}, {came} came")


def _path(text: str) -> Key:
    """Return msgspec's path ``$.expect[3].case`` as a key. A field of a table whose name is not known is ``[...]``: cut there."""
    parts: list[str | int] = []
    for match in re.finditer(r"\.([A-Za-z_][\w-]*)|\[(\d+)\]|(\[\.\.\.\])", text):
        if match[3]:
            break
        parts.append(match[1] if match[1] is not None else int(match[2]))
    return tuple(parts)


# --- where things stand ----------------------------------------------------------------------------------------------


def _statements(text: str) -> Iterator[Statement]:
    """Yield the statements of well-formed TOML in order."""
    counts: dict[Key, int] = {}
    here: Key = ()
    at = 0
    line = 1
    while at < len(text):
        if text[at] in " \t\r\n":
            line += text[at] == "\n"
            at += 1
        elif text[at] == "#":
            at = _end_of_line(text, at)
        else:
            header = text[at] == "["
            key_end = _end(text, at, "\n#" if header else "=")
            keys, array = _keys(text[at:key_end].rstrip() + ("" if header else "=0"))
            end = key_end if header else _end(text, key_end, "\n#", nested=True)
            last = line + text.count("\n", at, end)
            if header:
                here = _resolve(keys, counts, array=array)
                yield Statement(here, line, last, header=True)
            else:
                yield Statement((*here, *keys), line, last, header=False)
            at, line = end, last


def _resolve(keys: Key, counts: dict[Key, int], *, array: bool) -> Key:
    """Return the key of a header with the positions in arrays of tables filled in."""
    found: Key = ()
    for index, part in enumerate(keys):
        found = (*found, part)
        if array and index == len(keys) - 1:
            counts[found] = counts.get(found, -1) + 1
        if found in counts:
            found = (*found, counts[found])
    return found


def _keys(text: str) -> tuple[Key, bool]:
    """Return the names in a header or a ``key=0``, and whether it is the header of an array's element."""
    value: object = tomllib.loads(text)
    keys: list[str] = []
    while isinstance(value, dict) and value:
        ((name, value),) = cast("dict[str, object]", value).items()
        keys.append(name)
    return tuple(keys), isinstance(value, list)


def _end_of_line(text: str, at: int) -> int:
    found = text.find("\n", at)
    return len(text) if found < 0 else found


def _end(text: str, at: int, stops: str, *, nested: bool = False) -> int:
    """Return where the first of ``stops`` stands from ``at`` on, outside strings and, if ``nested``, outside brackets."""
    depth = 0
    while at < len(text):
        char = text[at]
        if char in stops and not depth:
            return at
        if char in "\"'":
            at = _end_of_string(text, at)
            continue
        if char == "#":
            at = _end_of_line(text, at)
            continue
        if nested:
            depth += (char in "[{") - (char in "]}")
        at += 1
    return at


def _end_of_string(text: str, at: int) -> int:
    quote = text[at]
    long = text.startswith(quote * 3, at)
    closing = quote * 3 if long else quote
    at += len(closing)
    while not text.startswith(closing, at):
        at += 2 if quote == '"' and text[at] == "\\" else 1
    at += len(closing)
    while long and at < len(text) and text[at] == quote:  # a long string may end in quotes of its own
        at += 1
    return at
