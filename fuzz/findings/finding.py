"""One finding: what is in its file. `store` reads and writes it."""

from __future__ import annotations

from msgspec import Struct

from ..judgement import Key, Violation
from ..program import Program

FORMAT = 1
"""The version of the file's form."""


class Finding(Struct, frozen=True):
    """Something wrong with one implementation, and the smallest program that is known to show it.

    ``version``: of the implementation. ``platform``: the kernel it was found on, in words. ``engine``, ``seed``: what found it.
    ``minimised``: whether no operation can be left out any more. ``original``: how many operations the program had when it was
    found. ``seen``: how often the campaign met the same key.
    """

    subject: str
    violation: Violation
    program: Program
    version: str = ""
    platform: str = ""
    engine: str = ""
    seed: int = 0
    minimised: bool = False
    original: int = 0
    seen: int = 1
    format: int = FORMAT

    @property
    def key(self) -> Key:
        """What makes it one with others."""
        return self.violation.key
