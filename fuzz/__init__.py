"""What nobody thought of: programs, short lists of operations on both ends of a connection, as values, bytes and text.

What executes them, judges what happened and searches for more is not built yet.
"""

from __future__ import annotations

from .codec import decode, encode
from .offer import Offer, adapt, everything, needs, needs_of, offer_of
from .operations import End, Operation, end_of
from .program import Program, Side, System, is_valid, normal
from .text import BadProgram, line_of, parse, show

__all__ = [
    "BadProgram",
    "End",
    "Offer",
    "Operation",
    "Program",
    "Side",
    "System",
    "adapt",
    "decode",
    "encode",
    "end_of",
    "everything",
    "is_valid",
    "line_of",
    "needs",
    "needs_of",
    "normal",
    "offer_of",
    "parse",
    "show",
]
