"""Cases and requirements: what they are, how a case is written, and how all of them are found.

A case is a pytest function under ``@case``. Its id is permanent: ``area.behaviour[.variant]``, where the area is the module's
(``test_<area>.py`` may hold several areas). What it checks are ids of ``requirements/*.toml``; its level is the strongest of
theirs unless it says otherwise.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

from ..impls.protocol.messages import Receiver
from ..impls.protocol.values import Profile, SocketType
from ..impls.setup import cache as directory
from .records import Level
from .specification import Requirement, Section, SuiteError, by_id, read_sections

ROOT = Path(__file__).parent
CASE_ID = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+){1,3}")
ORDER = (Level.MUST, Level.SHOULD, Level.MAY)
MUST, SHOULD, MAY = Level.MUST, Level.SHOULD, Level.MAY
STREAM, DGRAM, SEQPACKET = SocketType.STREAM, SocketType.DGRAM, SocketType.SEQPACKET
ALL_TYPES = (STREAM, DGRAM, SEQPACKET)
PACKETS = (DGRAM, SEQPACKET)
MESSAGE, DESCRIPTORS, TRANSPORT, RAW = Profile.MESSAGE, Profile.DESCRIPTORS, Profile.TRANSPORT, Profile.RAW
CALLS = (MESSAGE, DESCRIPTORS)
SIDES = ("client", "server")

Function = TypeVar("Function", bound=Callable[..., object])


@dataclass(frozen=True)
class Case:
    """One test: what it is called, what it checks, and where it applies."""

    id: str
    level: Level
    checks: tuple[str, ...]
    profiles: tuple[Profile, ...]
    types: tuple[SocketType, ...]
    needs: tuple[str, ...]
    revision: int
    summary: str
    place: str
    receiver: Receiver
    function: Callable[..., object] = field(repr=False)

    @property
    def area(self) -> str:
        """The first part of the id."""
        return self.id.partition(".")[0]

    @cached_property
    def interposed(self) -> bool:
        """Whether the case has the harness stand between the testee and its kernel: it takes a ``kernel``."""
        return "kernel" in inspect.signature(self.function).parameters

    def places(self, profile: Profile) -> list[tuple[SocketType, str]]:
        """Return where the case runs in ``profile``: the types of socket, of a transport the stream's two sides."""
        if profile not in self.profiles:
            return []
        if profile is not Profile.TRANSPORT:
            return [(kind, "") for kind in self.types]
        return [(SocketType.STREAM, side) for side in SIDES] if SocketType.STREAM in self.types else []


@dataclass(frozen=True)
class Suite:
    """All cases and requirements, by id. ``sections``: the requirements' chapters, in the order of the document."""

    cases: dict[str, Case]
    requirements: dict[str, Requirement]
    sections: tuple[Section, ...] = ()

    def checking(self, requirement: str) -> list[Case]:
        """Return the cases that check ``requirement``."""
        return [one for one in self.cases.values() if requirement in one.checks]


def case(
    identity: str,
    *,
    level: Level,
    checks: str | Sequence[str],
    profiles: Sequence[Profile] = CALLS,
    types: Sequence[SocketType] = ALL_TYPES,
    needs: Sequence[str] = (),
    revision: int = 1,
    receiver: Receiver | None = None,
) -> Callable[[Function], Function]:
    """Make a test function a case.

    ``checks``: ids of requirements, separated by blanks. ``profiles`` and ``types``: where it applies; each makes a variant.
    ``needs``: capabilities without which it is unsupported. ``revision`` grows when the meaning changes. ``receiver``: the
    protocol on top of a transport. Raises SuiteError for an id of the wrong form.
    """
    if not CASE_ID.fullmatch(identity):
        raise SuiteError(f"case id {identity!r}: area.behaviour[.variant] in lower case with hyphens was expected")

    def mark(function: Function) -> Function:
        place = f"{Path(inspect.getsourcefile(function) or '').name}:{inspect.unwrap(function).__code__.co_firstlineno}"
        one = Case(
            id=identity,
            level=level,
            checks=tuple(checks.split() if isinstance(checks, str) else checks),
            profiles=tuple(profiles),
            types=tuple(types),
            needs=tuple(needs),
            revision=revision,
            summary=" ".join((function.__doc__ or "").split()),
            place=place,
            receiver=receiver or Receiver(),
            function=function,
        )
        function.fdspec_case = one  # type: ignore[attr-defined]  # the function carries its case, as pytest's marks do
        return function

    return mark


def case_of(function: object) -> Case | None:
    """Return the case that ``function`` is, or None."""
    found: Any = getattr(function, "fdspec_case", None)
    return found if isinstance(found, Case) else None


def modules() -> list[str]:
    """Return the names of the suite's modules."""
    return [f"{__package__}.{path.stem}" for path in sorted(ROOT.glob("test_*.py"))]


def gather(functions: Iterable[object], sections: tuple[Section, ...]) -> Suite:
    """Return the suite of ``functions`` and the requirements of ``sections``. Raises SuiteError where it contradicts itself."""
    requirements = by_id(sections)
    cases: dict[str, Case] = {}
    for function in functions:
        one = case_of(function)
        if one is None:
            continue
        other = cases.get(one.id)
        if other is not None:
            raise SuiteError(f"case id {one.id} is used twice: {other.place} and {one.place}")
        unknown = [check for check in one.checks if check not in requirements]
        if unknown or not one.checks:
            raise SuiteError(f"{one.place}: case {one.id} checks {unknown or 'nothing'}, which is no requirement")
        if not one.summary:
            raise SuiteError(f"{one.place}: case {one.id} has no docstring to say what must happen")
        cases[one.id] = one
    return Suite(cases, requirements, sections)


@contextmanager
def _kept_bytecode() -> Generator[None]:
    """Keep what is compiled meanwhile in fdspec's own cache.

    pytest rewrites the suite's assertions when it is imported, which takes longer than all the rest of a start. Where the
    interpreter writes no bytecode, or may not write beside the sources, that would be done again in every run.
    """
    prefix, dont_write = sys.pycache_prefix, sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = str(directory() / "bytecode"), False
    try:
        yield
    finally:
        sys.pycache_prefix, sys.dont_write_bytecode = prefix, dont_write


@cache
def load_suite() -> Suite:
    """Return the whole suite. Raises SuiteError where it contradicts itself."""
    with _kept_bytecode():
        loaded = [importlib.import_module(name) for name in modules()]
    functions = [value for module in loaded for value in vars(module).values() if callable(value)]
    return gather(functions, read_sections())
