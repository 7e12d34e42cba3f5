"""What a campaign and its workers tell each other: a line of JSON each.

A worker reads a `Task` from its standard input, then `Word`s; the end of its input means that the campaign is gone. It writes
`Report`s to the descriptor that its task names.
"""

from __future__ import annotations

from msgspec import Struct, field

from ...impls.protocol.values import Profile
from ..judgement import Key
from .session import Counters


class Task(Struct, frozen=True):
    """What one worker is to do. ``mode``: ``search`` or ``minimise``; ``lead``: whether it finishes what others left pending.

    ``runs`` and ``seconds``: its limits, None for none. ``report``: the descriptor for reports. ``directory``: the store;
    ``further``: directories of programs to begin with. ``opener``: what opens a runner, ``module:function``.
    """

    subject: str
    engine: str
    seed: int
    directory: str
    report: int
    opener: str
    mode: str = "search"
    lead: bool = False
    runs: int | None = None
    seconds: float | None = None
    profiles: tuple[Profile, ...] = ()
    interpose: bool = False
    further: tuple[str, ...] = ()


class Word(Struct, frozen=True, tag_field="word"):
    """What a campaign tells a worker later on."""


class Stop(Word, frozen=True, tag="stop"):
    """End well."""


class Known(Word, frozen=True, tag="known"):
    """Another worker has proved this."""

    key: Key


Words = Stop | Known


class Report(Struct, frozen=True, tag_field="report"):
    """What a worker tells its campaign."""


class Started(Report, frozen=True, tag="started"):
    """The runner is open. ``version``: of the implementation."""

    version: str


class Progress(Report, frozen=True, tag="progress"):
    """Where the worker is. ``features``: the names that are new since the last report; ``corpus``: programs that it holds."""

    counters: Counters
    phase: str
    corpus: int
    restarts: int
    features: tuple[str, ...] = ()


class Found(Report, frozen=True, tag="found"):
    """A finding was written."""

    key: Key
    message: str
    operations: int
    file: str


class Doubted(Report, frozen=True, tag="doubted"):
    """A suspicion could not be proved, and was written as such."""

    key: Key
    message: str


class Noted(Report, frozen=True, tag="noted"):
    """Something that people should know."""

    text: str


class Minimised(Report, frozen=True, tag="minimised"):
    """The corpus has been minimised."""

    before: int
    after: int


class Ended(Report, frozen=True, tag="ended"):
    """The worker ends. ``code``: 0 as it should, 3 the implementation could not start, 4 the harness failed.

    ``final``: whether another worker would fare no better.
    """

    code: int = 0
    message: str = ""
    final: bool = False


Reports = Started | Progress | Found | Doubted | Noted | Minimised | Ended


class Totals(Struct):
    """What the reports of one worker came to: the last one's counters, which the next are compared with."""

    counters: Counters = field(default_factory=Counters)
    restarts: int = 0
