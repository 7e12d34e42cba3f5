"""Result records: what one run wrote, one JSON object a line, as it came.

A file is a header, then implementation, requirement, case and verdict records in any order, then one footer. A file without a
footer was cut; a footer whose counts differ from what stands above it was damaged. Everything that is shown to anybody is a
pure function of such files. Fields are only ever added; ``VERSION`` changes when a meaning does.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

VERSION = 1


class Verdict(StrEnum):
    """The outcome of one case on one implementation."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    LEAK = "leak"
    CRASH = "crash"
    TIMEOUT = "timeout"
    UNSUPPORTED = "unsupported"
    BROKEN = "broken"


BAD = frozenset({Verdict.FAIL, Verdict.LEAK, Verdict.CRASH, Verdict.TIMEOUT, Verdict.BROKEN})
"""The verdicts that turn a gate red."""


class Level(StrEnum):
    """How binding a requirement is."""

    MUST = "must"
    SHOULD = "should"
    MAY = "may"


class Source(msgspec.Struct, frozen=True):
    """Where a requirement comes from. ``quote`` or paraphrase in our words; ``link`` where there is one."""

    name: str
    text: str = ""
    link: str = ""


class Platform(msgspec.Struct, frozen=True):
    """Where a run took place. ``probes``: facts about the kernel, measured at run time, by name.

    ``personality``: the system that the harness made this kernel look like; empty where it let it be.
    """

    system: str
    release: str
    machine: str
    python: str
    user: int
    probes: dict[str, str] = {}
    personality: str = ""

    @property
    def kernel(self) -> str:
        """The kernel in words; one that was emulated is called so."""
        real = f"{self.system} {self.release} ({self.machine})"
        return f"{self.personality}, emulated by fdspec on {real}" if self.personality else real


class Header(msgspec.Struct, frozen=True, tag="header", tag_field="record"):
    """The first record. ``started`` is RFC 3339 in UTC; ``command`` repeats the run.

    ``configuration`` and ``expectations`` are the files that were used, empty where there was none.
    """

    run: str
    started: str
    fdspec: str
    command: list[str]
    platform: Platform
    selection: dict[str, str] = {}
    version: int = VERSION
    configuration: str = ""
    expectations: str = ""


class ImplementationRecord(msgspec.Struct, frozen=True, tag="implementation", tag_field="record"):
    """An implementation that was asked for. ``reason`` says why it is not available."""

    id: str
    name: str
    language: str
    homepage: str
    available: bool
    profiles: list[str]
    version: str = ""
    runtime: str = ""
    reason: str = ""


class RequirementRecord(msgspec.Struct, frozen=True, tag="requirement", tag_field="record"):
    """One sentence that can be right or wrong. ``subject``: kernel, library or transport."""

    id: str
    sentence: str
    level: Level
    subject: str
    sources: list[Source]


class CaseRecord(msgspec.Struct, frozen=True, tag="case", tag_field="record"):
    """One test. ``summary`` is what must happen; ``checks`` are ids of requirements."""

    id: str
    area: str
    summary: str
    level: Level
    checks: list[str]
    revision: int = 1
    place: str = ""
    """``test_area.py:line`` in the suite."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of a transcript. ``at``: seconds since the case began; ``actor``: harness, testee, peer, census or kernel."""

    at: float
    actor: str
    kind: str
    text: str
    control: str = ""
    """The control buffer as hexadecimal, where one was seen."""


class Open(msgspec.Struct, frozen=True, omit_defaults=True):
    """One open descriptor in a census. ``target`` as /proc shows it; ``owner``: whose it is as far as the harness knows."""

    fd: int
    target: str
    device: int
    inode: int
    cloexec: bool
    flags: int
    owner: str = ""


class Standing(StrEnum):
    """How a verdict, or an entry of the expectations, stood before the gate. All but ``expected`` make it red."""

    EXPECTED = "expected"
    UNLISTED = "unlisted-failure"
    UNEXPECTED_PASS = "unexpected-pass"  # noqa: S105 - no password
    OTHER_VERDICT = "other-verdict"
    OVERLAP = "overlap"
    UNDECIDED = "undecided"
    MATCHES_NOTHING = "matches-nothing"
    EXPIRED = "expired"


class Judgement(msgspec.Struct, frozen=True, omit_defaults=True):
    """How the gate judged one verdict, or one entry of the expectations.

    ``entries``: the entries that it turned on, as ``file:line``. ``listed``: the verdict that was expected, with its reason.
    ``why`` and ``issue`` as the entry has them; ``text``: more, in a sentence, where there is more to say.
    """

    standing: Standing
    entries: list[str] = []
    listed: str = ""
    why: str = ""
    issue: str = ""
    text: str = ""


class Gate(msgspec.Struct, frozen=True):
    """How the gate judged the run. ``counts``: verdicts by standing; ``problems``: entries at which it is red.

    ``entries``: how many the file has; ``outside``: how many of them were not judged, because the run's selection does not
    cover all that they name; ``elsewhere``: how many have a condition that does not hold here.
    """

    file: str
    entries: int
    counts: dict[Standing, int]
    outside: int = 0
    elsewhere: int = 0
    problems: list[Judgement] = []

    @property
    def green(self) -> bool:
        """Whether everything is as expected."""
        return not self.problems and not any(
            number for standing, number in self.counts.items() if standing is not Standing.EXPECTED
        )


class VerdictRecord(msgspec.Struct, frozen=True, omit_defaults=True, tag="verdict", tag_field="record"):
    """What came of one case on one implementation in one profile, on one type of socket.

    ``reason`` is a short code that stays the same from run to run (``assertion``, ``leak``, ``stray-close``, ``exit-1``,
    ``signal-SIGSEGV``, ``flood`` ...). ``variant`` names a further parameter. ``transcript``, ``before`` and ``after`` (the
    censuses), ``log`` (the testee's standard error) and ``noise`` are kept for every verdict but pass and unsupported.
    """

    implementation: str
    case: str
    profile: str
    verdict: Verdict
    type: str = ""
    variant: str = ""
    reason: str = ""
    expected: str = ""
    observed: str = ""
    duration: float = 0.0
    attempt: int = 1
    outcome: str = ""
    """The named outcome that occurred, where the requirement permits several."""
    transcript: list[Entry] = []
    before: list[Open] = []
    after: list[Open] = []
    log: str = ""
    noise: list[str] = []
    reproduce: str = ""
    gate: Judgement | None = None
    """How the gate judged it; None where there is no gate, and where it is as required and no entry names it."""


class Footer(msgspec.Struct, frozen=True, tag="footer", tag_field="record"):
    """The last record. ``complete``: every selected case came to a verdict. ``records``: how many lines stand above it."""

    finished: str
    complete: bool
    records: int
    counts: dict[Verdict, int]
    exit_code: int
    note: str = ""
    gate: Gate | None = None
    """None where the run had no expectations."""


Record = Header | ImplementationRecord | RequirementRecord | CaseRecord | VerdictRecord | Footer


def encode(record: Record) -> bytes:
    """Return ``record`` as one line."""
    return msgspec.json.encode(record) + b"\n"


_DECODER = msgspec.json.Decoder(Record)


def decode(line: bytes) -> Record:
    """Return the record on ``line``. Raises msgspec.DecodeError with the place and what was expected."""
    return _DECODER.decode(line)


def schema() -> dict[str, object]:
    """Return the JSON Schema of one line."""
    return msgspec.json.schema(Record)
