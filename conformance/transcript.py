"""What was said, as a record keeps it: every line short enough to read, every byte visible."""

from __future__ import annotations

from collections.abc import Sequence

from ..impls.process import Line
from .records import Entry

TEXT = 2000
"""Characters of one entry or message that are kept."""
ENTRIES = 200
"""Entries of one transcript that are kept: the first and the last half of them."""
CONTROL = 2048
"""Bytes of one control buffer that are kept."""


def shorten(text: str, limit: int = TEXT) -> str:
    """Return ``text``, cut to ``limit`` characters with a visible mark; what is not Unicode is replaced."""
    clean = text.encode("utf-8", "replace").decode()
    if len(clean) <= limit:
        return clean
    return f"{clean[:limit]} […{len(clean) - limit} more characters]"


def _entry(line: Line, start: float) -> Entry:
    if line.actor == "peer":
        shown = line.data[:64]
        text = (
            f"{len(line.data)} bytes" + (f": {shown!r}" if shown else "") + ("…" if len(line.data) > len(shown) else "")
        )
    else:
        text = line.data.decode(errors="replace").rstrip("\n")
    return Entry(round(line.at - start, 6), line.actor, line.kind, shorten(text), line.control[:CONTROL].hex())


def entries(lines: Sequence[Line]) -> list[Entry]:
    """Return the transcript of ``lines``; where there are too many, the middle is left out and said to be."""
    if not lines:
        return []
    start = lines[0].at
    if len(lines) <= ENTRIES:
        return [_entry(line, start) for line in lines]
    half = ENTRIES // 2
    left_out = Entry(round(lines[half].at - start, 6), "harness", "cut", f"{len(lines) - 2 * half} entries left out")
    return [*(_entry(one, start) for one in lines[:half]), left_out, *(_entry(one, start) for one in lines[-half:])]
