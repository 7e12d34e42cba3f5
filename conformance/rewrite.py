"""The text of a file of expectations, edited entry by entry: what is not touched stays as it is, byte for byte.

The comments directly above an entry are the entry's own and go with it; all others stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import tomlkit
from tomlkit.items import Table

from .expectations import Expectation, several
from .tomlfile import Document

HEAD = """\
# Known failures: what is expected not to be as required, and why.
# The format: "The gate" in fdspec's manual. `fdspec expect check` proves this file, `fdspec expect update` fits it to a run.
version = 1
"""
"""The beginning of a new file."""


@dataclass(frozen=True)
class _Block:
    """The lines of an entry, from 0; ``end`` is behind the last one."""

    start: int
    end: int


def edit(
    document: Document,
    entries: Sequence[Expectation],
    instead: Mapping[int, Sequence[Expectation]],
    added: Sequence[Expectation],
) -> str:
    """Return the text with the ``entries`` at the indices of ``instead`` replaced by others, and ``added`` at its end."""
    crlf = "\r\n" in document.text
    lines = document.text.replace("\r\n", "\n").split("\n")
    blocks = _blocks(document, lines)
    for index in sorted(instead, reverse=True):
        block = blocks[index]
        if not instead[index]:
            _remove(lines, block)
            continue
        new = [_changed("\n".join(lines[block.start : block.end]), entries[index], instead[index][0])]
        new += [f"\n{written(one)}" for one in instead[index][1:]]
        lines[block.start : block.end] = "\n".join(one.rstrip("\n") for one in new).split("\n")
    text = "\n".join(lines)
    if added:
        text = text.rstrip("\n") + "\n" + "".join(f"\n{written(one)}" for one in added)
    return text.replace("\n", "\r\n") if crlf else text


def _blocks(document: Document, lines: list[str]) -> list[_Block]:
    """Return where each entry stands, with the comments directly above it."""
    heads = [one.first - 1 for one in document.statements if one.header and _is_entry(one.key)]
    starts: list[int] = []
    for head in heads:
        start = head
        while start and lines[start - 1].lstrip().startswith("#"):
            start -= 1
        starts.append(start)
    blocks: list[_Block] = []
    for index, start in enumerate(starts):
        end = max(one.last for one in document.statements if one.key[:2] == ("expect", index))
        limit = starts[index + 1] if index + 1 < len(starts) else len(lines)
        while end < limit and lines[end].lstrip().startswith("#"):
            end += 1
        blocks.append(_Block(start, end))
    return blocks


def _is_entry(key: tuple[str | int, ...]) -> bool:
    return len(key) == 2 and key[0] == "expect"


def _remove(lines: list[str], block: _Block) -> None:
    """Take an entry out, and the blank lines behind it where some stand before it as well."""
    end = block.end
    if not block.start or not lines[block.start - 1].strip():
        while end < len(lines) - 1 and not lines[end].strip():
            end += 1
    del lines[block.start : end]
    while len(lines) > 1 and not lines[-1] and not lines[-2].strip() and len(lines) == block.start + 1:
        lines.pop()


def _fields(entry: Expectation) -> dict[str, object]:
    """Return what is written of an entry, in the order of the manual; None where a key is left out."""
    when = msgspec.to_builtins(entry.when) if entry.when else None
    return {
        "case": entry.case,
        "implementation": _one_or_list(entry.implementations),
        "profile": _one_or_list(entry.profiles),
        "type": _one_or_list(entry.types),
        "variant": _one_or_list(entry.variants),
        "verdict": str(entry.verdict),
        "reason": entry.reason or None,
        "why": entry.why,
        "issue": entry.issue or None,
        "when": {key: value for key, value in when.items() if several(value) != ("",) and value} if when else None,
        "expires": entry.expires,
    }


def _one_or_list(values: tuple[str, ...]) -> str | list[str] | None:
    return None if not values else values[0] if len(values) == 1 else list(values)


def written(entry: Expectation) -> str:
    """Return an entry as a new one is written."""
    lines = ["[[expect]]"]
    for key, value in _fields(entry).items():
        if value is not None:
            lines.append(f"{key} = {_item(value).as_string()}")
    return "\n".join(lines) + "\n"


def _item(value: object) -> Any:  # noqa: ANN401 - tomlkit's own types
    if isinstance(value, dict):
        table = tomlkit.inline_table()
        for key, inner in cast("dict[str, object]", value).items():
            table[key] = inner
        return table
    return tomlkit.item(value)


def _changed(text: str, old: Expectation, new: Expectation) -> str:
    """Return the text of an entry with what differs between ``old`` and ``new`` changed; its comments stay."""
    document = tomlkit.parse(text)
    table = cast("Table", cast("Any", document)["expect"][0])
    before, after = _fields(old), _fields(new)
    for key, value in after.items():
        if value == before[key]:
            continue
        if value is None:
            table.remove(key)
        else:
            table[key] = _item(value)
    return document.as_string()
