"""Columns of text for a terminal, a pipe and a grep."""

from __future__ import annotations

from collections.abc import Sequence


def columns(rows: Sequence[Sequence[str]], heads: Sequence[str] = ()) -> str:
    """Return ``rows`` as lines with aligned columns, two blanks apart; the last column is never padded."""
    lines = [list(heads), *rows] if heads else list(rows)
    if not lines:
        return ""
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]) - 1)]
    return "".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]).rstrip() + "\n"
        for line in lines
    )
