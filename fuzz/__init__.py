"""What nobody thought of: programs, short lists of operations on both ends of a connection, as values, bytes and text.

The layers, each standing on those before it: programs (the modules here), `run` executes them, `oracle` judges what an execution
showed, `engines` choose the next one, `campaign` keeps what was found, `findings` makes it small, replays it and writes it as a
script or a case. `judgement` is the contract between them, `runner` puts execution and judgement together.
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
