"""The manual's sources, and how they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its title where it has one, whether it is marked ``run``, and its text."""

    language: str
    title: str
    run: bool
    code: str


def blocks(path: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found = []
    for match in FENCE.finditer(path.read_text(encoding="utf-8")):
        info = match["info"].strip()
        title = re.search(r'title="([^"]*)"', info)
        words = info.split()
        found.append(Block(words[0] if words else "", title[1] if title else "", "run" in words[1:], match["code"]))
    return found


def rows(path: Path, first: str) -> list[list[str]]:
    """Return the rows of the tables whose first column is headed ``first``, as cells of text."""
    found, inside = [], False
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("|") else []
        if not cells:
            inside = False
        elif cells[0] == first:
            inside = True
        elif inside and not set("".join(cells)) <= set("-|"):
            found.append(cells)
    return found
