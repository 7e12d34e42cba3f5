"""A file that can be replayed: a finding, or a program alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from ..program import Program
from ..text import BadProgram, parse
from .finding import Finding
from .store import BadFinding, parse_finding

_PROGRAM = re.compile(r"\s*(?:#[^\n]*\n\s*)*program\s+[^\s=]")


class Replayable(NamedTuple):
    """What a file holds. ``finding`` is None where it is a program alone."""

    program: Program
    finding: Finding | None


def understand(data: bytes, file: Path) -> Replayable:
    """Return what ``data``, the content of ``file``, holds. Raises BadFinding with the line of the first mistake."""
    try:
        text = data.decode()
    except UnicodeDecodeError as fault:
        raise BadFinding(file, data[: fault.start].count(b"\n") + 1, "UTF-8 text expected") from None
    if _PROGRAM.match(text) is None:
        finding = parse_finding(text, file)
        return Replayable(finding.program, finding)
    try:
        return Replayable(parse(text), None)
    except BadProgram as fault:
        raise BadFinding(file, fault.line, f"column {fault.column}: {fault.what}") from None
