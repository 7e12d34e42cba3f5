"""One thing that an operation may do, held against what it showed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ...conformance.model import State
from ..judgement import Breach
from .requirements import Situation


class Miss(NamedTuple):
    """How something that was seen departs from what would have been permitted. ``sentence`` is about what was seen."""

    breach: Breach
    situation: Situation
    sentence: str


class Possible(NamedTuple):
    """One permitted outcome. ``miss`` is None where it fits; ``state`` is called then, and gives the state that follows.

    ``name`` and ``because`` are the features of an execution in which it was seen, ``text`` is for people.
    """

    name: str
    miss: Miss | None
    state: Callable[[], State]
    text: Callable[[], str]
    because: tuple[str, ...] = ()
    failed: bool = False
    """Whether it ends in an error."""


class Vague(Exception):
    """From here on nothing can be said of the calls: what happened is permitted, and where it leads to is not known."""
