"""The expectations of a maintainer: which verdicts are known not to be as required, why, until when and where.

The format is described in ``docs/gate.md``. Every mistake in a file is told with file, line and key.
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from ..impls.protocol.values import Profile, SocketType
from .facts import PROBES
from .gatewords import outcome
from .records import BAD, Verdict, VerdictRecord
from .tomlfile import Document, convert, read, shown

VERSION = 1
"""Of the format."""
FILE_NAME = "expectations.toml"

_Text = Annotated[str, Meta(min_length=1, pattern=r"\S")]
_Line = Annotated[str, Meta(min_length=1, pattern=r"^[^\n]*\S[^\n]*\Z")]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """No key that nobody knows."""


class When(_Strict, frozen=True, forbid_unknown_fields=True):
    """A condition; all that is given must hold.

    ``has``, ``lacks``: probes of the platform (`facts.PROBES`). ``kernel``, ``version``: specifiers such as ``>=6.16`` for the
    release of the kernel and the version that the implementation tells.
    """

    has: str | list[str] = []
    lacks: str | list[str] = []
    kernel: str = ""
    version: str = ""


class _Expect(_Strict, frozen=True, forbid_unknown_fields=True):
    """One ``[[expect]]`` as it is written."""

    case: _Line
    verdict: Verdict
    why: _Text
    implementation: str | list[str] | None = None
    profile: Profile | list[Profile] | None = None
    type: SocketType | list[SocketType] | None = None
    variant: str | list[str] | None = None
    reason: _Line | None = None
    issue: Annotated[str, Meta(pattern=r"^https?://\S+\Z")] = ""
    when: When | None = None
    expires: date | None = None


class _File(_Strict, frozen=True, forbid_unknown_fields=True):
    """The whole file as it is written."""

    version: int
    expect: list[_Expect] = []


LISTED = (*(verdict for verdict in Verdict if verdict in BAD), Verdict.UNSUPPORTED)
"""The verdicts that can be expected: all but pass."""
_EXPECTED: dict[str, str] = {
    "version": f"the version of this format, which is {VERSION}",
    "expect": "tables, each under its own [[expect]]",
    "expect.case": "the id of a case, '*' and '?' allowed",
    "expect.verdict": "one of " + ", ".join(LISTED),
    "expect.why": "a sentence for whoever reads it in a year",
    "expect.implementation": "the id of an implementation or a list of them, '*' and '?' allowed",
    "expect.profile": "one of " + ", ".join(Profile) + ", or a list of them",
    "expect.type": "one of " + ", ".join(SocketType) + ", or a list of them",
    "expect.variant": "a variant as the report shows it or a list of them, '*' and '?' allowed",
    "expect.reason": "a reason code as the report shows it, such as 'assertion' or 'stray-close'",
    "expect.issue": "an address that begins with https:// or http://",
    "expect.when": "a table with one or more of has, lacks, kernel, version",
    "expect.expires": "a date such as 2030-12-31, the first day on which the entry no longer holds",
    "expect.when.has": "the name of a probe or a list of them",
    "expect.when.lacks": "the name of a probe or a list of them",
    "expect.when.kernel": "version specifiers such as '>=6.16' or '>=5.4,<6.2'",
    "expect.when.version": "version specifiers such as '<2.0'",
}
KEYS = tuple(_EXPECTED)
"""All keys there are, dotted."""


class Subject(Protocol):
    """What an entry can be held against: a verdict's record, or something with the same names."""

    @property
    def implementation(self) -> str: ...  # noqa: D102 - see VerdictRecord
    @property
    def case(self) -> str: ...  # noqa: D102 - see VerdictRecord
    @property
    def profile(self) -> str: ...  # noqa: D102 - see VerdictRecord
    @property
    def type(self) -> str: ...  # noqa: D102 - see VerdictRecord


@dataclass(frozen=True)
class Facts:
    """What conditions and expiry are held against. ``probes`` and ``release`` as in a record's Platform."""

    probes: Mapping[str, str]
    release: str
    today: date


@dataclass(frozen=True)
class Expectation:
    """One entry. A tuple that narrows is empty where it does not; ``place`` is ``file:line``."""

    case: str
    verdict: Verdict
    why: str
    place: str
    line: int = 0
    implementations: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    reason: str = ""
    issue: str = ""
    when: When | None = None
    expires: date | None = None

    @property
    def listed(self) -> str:
        """The verdict and reason that it lists, in words."""
        return outcome(self.verdict, self.reason)

    def names(self, subject: Subject) -> bool:
        """Whether it names that case on that implementation, in that profile, on that type; conditions aside."""
        return (
            fnmatch.fnmatchcase(subject.case, self.case)
            and _any(subject.implementation, self.implementations)
            and (not self.profiles or subject.profile in self.profiles)
            and (not self.types or subject.type in self.types)
        )

    def matches(self, verdict: VerdictRecord) -> bool:
        """Whether it names that verdict's case, implementation, profile, type and variant; conditions aside."""
        return self.names(verdict) and _any(verdict.variant, self.variants)

    def fits(self, verdict: VerdictRecord) -> bool:
        """Whether the verdict and its reason are those listed."""
        return verdict.verdict is self.verdict and self.reason in ("", verdict.reason)

    def expired(self, today: date) -> bool:
        """Whether it no longer protects: ``expires`` is the first day of that."""
        return self.expires is not None and self.expires <= today

    def holds_here(self, facts: Facts) -> bool:
        """Whether what the condition says of the platform holds."""
        when = self.when
        if when is None:
            return True
        return (
            all(has(name, facts) for name in several(when.has))
            and not any(has(name, facts) for name in several(when.lacks))
            and (not when.kernel or kernel(facts.release) in _specifiers(when.kernel))
        )

    def holds(self, facts: Facts, version: str) -> bool | None:
        """Whether the condition holds for an implementation of that version; None where the version says nothing."""
        if not self.holds_here(facts):
            return False
        if self.when is None or not self.when.version:
            return True
        try:
            return Version(version) in _specifiers(self.when.version)
        except InvalidVersion:
            return None


@dataclass(frozen=True)
class Expectations:
    """A file of expectations. ``file`` as it is shown."""

    file: str
    entries: tuple[Expectation, ...]


def several(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return a text or a list of texts as a tuple."""
    if value is None:
        return ()
    return (str(value),) if isinstance(value, str) else tuple(str(one) for one in value)


def has(probe: str, facts: Facts) -> bool:
    """Whether the platform has what that probe asks for."""
    return not facts.probes.get(probe, "no").startswith("no")


@cache
def _specifiers(text: str) -> SpecifierSet:
    """Return version specifiers, which a run asks for again with every verdict."""
    return SpecifierSet(text, prereleases=True)


@cache
def kernel(release: str) -> Version:
    """Return the numbers at the beginning of a kernel's release as a version; 0 where there is none."""
    found = re.match(r"\d+(?:\.\d+)*", release)
    return Version(found[0] if found else "0")


def load(file: Path) -> Expectations:
    """Read a file of expectations. Raises TomlError."""
    return understand(read(file))


def understand(document: Document) -> Expectations:
    """Return the expectations in a document. Raises TomlError."""
    version = document.table.get("version", VERSION)
    if isinstance(version, int) and version != VERSION:
        raise document.error(("version",), f"expected {_EXPECTED['version']}, {version} came")
    written = convert(document, _File, _EXPECTED)
    headers = {statement.key for statement in document.statements if statement.header}
    if written.expect and ("expect", 0) not in headers:
        raise document.error(("expect",), f"expected {_EXPECTED['expect']}")
    return Expectations(
        shown(document.file), tuple(_entry(document, index, one) for index, one in enumerate(written.expect))
    )


def _entry(document: Document, index: int, one: _Expect) -> Expectation:
    at = ("expect", index)
    if one.verdict is Verdict.PASS:
        raise document.error(
            (*at, "verdict"), f"expected {_EXPECTED['expect.verdict']}, 'pass' came; it needs no entry"
        )
    for name in ("implementation", "profile", "type", "variant"):
        if getattr(one, name) == []:
            raise document.error((*at, name), f"expected {_EXPECTED[f'expect.{name}']}, an empty list came")
    if one.when is not None:
        _check_when(document, (*at, "when"), one.when)
    line = document.line(at)
    return Expectation(
        case=one.case,
        verdict=one.verdict,
        why=one.why,
        place=f"{shown(document.file)}:{line}",
        line=line,
        implementations=several(one.implementation),
        profiles=several(one.profile),
        types=several(one.type),
        variants=several(one.variant),
        reason=one.reason or "",
        issue=one.issue,
        when=one.when,
        expires=one.expires,
    )


def _check_when(document: Document, at: tuple[str | int, ...], when: When) -> None:
    """Refuse a condition that says nothing, probes that nobody knows, and specifiers that are none."""
    if when == When():
        raise document.error(at, f"expected {_EXPECTED['expect.when']}, an empty table came")
    for key in ("has", "lacks"):
        for name in several(getattr(when, key)):
            if name not in PROBES:
                close = difflib.get_close_matches(name, PROBES, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise document.error((*at, key), f"no probe is called {name!r}; known are {', '.join(PROBES)}{hint}")
    for key in ("kernel", "version"):
        text: str = getattr(when, key)
        try:
            SpecifierSet(text)
        except InvalidSpecifier as fault:
            raise document.error((*at, key), f"expected {_EXPECTED[f'expect.when.{key}']}, {text!r} came") from fault


def _any(value: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(value, pattern) for pattern in patterns)
