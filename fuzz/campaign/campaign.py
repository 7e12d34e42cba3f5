"""A campaign: workers on one implementation, what they found, and its directory. `run` drives one or several."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from types import FrameType

from msgspec import Struct

from ...conformance.tomlfile import shown
from ...impls.protocol.values import Profile
from ..findings.finding import Finding
from ..judgement import Key
from . import messages as m
from .faults import Ending, Refused, writing
from .pool import DEATHS, STEADY, Death, Event, Place, Pool, seed_of
from .store import State, Store

OK, FOUND, USAGE, NO_START, HARNESS = range(5)
SAVED_EVERY = 1.0
WORDS = 20
"""Deaths that a summary tells one by one, the last ones."""
GRACE = 45.0
"""Seconds that workers may take to end after they were told to."""
OPENER = "fdspec.fuzz.runner:open_runner"


class Plan(Struct, frozen=True):
    """What a campaign is to do. ``subject``: as of `open_runner`, with commas between where engine is ``differential``.

    ``runs``: programs of all workers; ``seconds``: for how long; None for until somebody ends it. ``further``: directories with
    programs to begin with. ``minimise``: ``end`` to make the corpus small at the end, ``only`` to do nothing else.
    """

    subject: str
    directory: Path
    engine: str = "guided"
    jobs: int = 1
    seed: int = 0
    runs: int | None = None
    seconds: float | None = None
    further: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    interpose: bool = False
    opener: str = OPENER
    minimise: str = "end"


class Shown(Struct):
    """What is displayed of a campaign beside its state. ``features``: their number; ``corpus``: programs in it."""

    began: float
    programs: int = 0
    corpus: int = 0
    features: int = 0
    phase: str = "starting"
    ended: float | None = None

    @property
    def seconds(self) -> float:
        """For how long it has run."""
        return (self.ended if self.ended is not None else time.monotonic()) - self.began


class Campaign:
    """One campaign. Raises Refused and `Unwritable` where its directory cannot be used."""

    def __init__(self, plan: Plan, note: Callable[[str], None]) -> None:
        """``note`` shows a sentence to people."""
        self.plan = plan
        self.note = note
        self.store = Store(plan.directory)
        _writable(self.store)
        self.lock = self.store.lock()
        try:
            self._open(plan)
        except BaseException:
            os.close(self.lock)
            raise

    def _open(self, plan: Plan) -> None:
        self.state: State = self.store.state(plan.subject)
        self.store.prepare()
        self.store.clean()
        self.old, notes = self.store.known(self.store.findings)
        self.doubted: dict[Key, str] = {
            key: finding.violation.message for key, finding in self.store.known(self.store.unconfirmed)[0].items()
        }
        for text in notes:
            self.note(text)
        self.found: dict[Key, m.Found] = {}
        self.ending: Ending | None = None
        self.interrupted = False
        self.searched = False
        """Whether its time or its number of programs was used up, and nobody had to end it."""
        self.words: list[str] = []
        """What the summary has to say beside the counters."""
        self.features: set[str] = set()
        self.deadline = None if plan.seconds is None else time.monotonic() + plan.seconds
        self.shown = Shown(time.monotonic(), corpus=sum(1 for _ in self.store.names()))
        self.places: list[Place] = []
        if plan.minimise != "only":
            self.state.epoch += 1
            self.state.seed, self.state.engine = plan.seed, plan.engine
        self._base = (self.state.programs, self.state.unsupported)
        self.store.save(self.state)
        self._saved = time.monotonic()

    # ---- starting and stopping -----------------------------------------------------------------------------------------

    def start(self, pool: Pool) -> None:
        """Fill every place."""
        plan = self.plan
        seed = seed_of(plan.seed, "epoch", self.state.epoch)
        only = plan.minimise == "only"
        for index in range(1 if only else plan.jobs):
            share = None if plan.runs is None else plan.runs // plan.jobs + (index < plan.runs % plan.jobs)
            if share == 0:
                continue
            task = m.Task(
                plan.subject,
                plan.engine,
                seed,
                str(plan.directory),
                -1,
                plan.opener,
                "minimise" if only else "search",
                index == 0,
                share,
                plan.seconds,
                plan.profiles,
                plan.interpose,
                plan.further,
            )
            place = Place(task, index)
            self.places.append(place)
            pool.start(place, plan.seconds, self.lock)

    @property
    def left(self) -> float | None:
        """How many seconds are left; None for any number."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    @property
    def working(self) -> bool:
        """Whether a worker is at work."""
        return any(place.reports >= 0 for place in self.places)

    def stop(self) -> None:
        """Tell all workers to end."""
        for place in self.places:
            place.stop()

    # ---- what workers report -------------------------------------------------------------------------------------------

    def take(self, pool: Pool, place: Place, event: Event) -> None:
        """Take note of what a worker reports, and fill its place again where it has died."""
        if isinstance(event, m.Progress):
            self._progress(place, event)
        elif isinstance(event, m.Found):
            self._take_found(place, event)
        elif isinstance(event, m.Doubted):
            self._take_doubted(event)
        elif isinstance(event, m.Started):
            self.state.version = event.version or self.state.version
            self.shown.phase = "searching"
        elif isinstance(event, m.Noted):
            self.note(event.text)
        elif isinstance(event, m.Minimised):
            self.shown.corpus = event.after
            self.words.append(f"corpus: {event.before} programs made {event.after}")
        else:
            self._ended(pool, place, event)

    def _progress(self, place: Place, event: m.Progress) -> None:
        state, old, new = self.state, place.totals, event.counters
        state.programs += new.programs - old.counters.programs
        state.unsupported += new.unsupported - old.counters.unsupported
        state.suspicions += new.suspicions - old.counters.suspicions
        state.examined += new.examined - old.counters.examined
        state.restarts += max(0, event.restarts - old.restarts)
        for ours, theirs, before in (
            (state.seen, new.seen, old.counters.seen),
            (state.unconfirmed, new.unconfirmed, old.counters.unconfirmed),
        ):
            for key, count in theirs.items():
                ours[key] = ours.get(key, 0) + count - before.get(key, 0)
        self.shown.programs += new.programs - old.counters.programs
        self.shown.corpus = max(self.shown.corpus + new.kept - old.counters.kept, 0)
        self.features.update(event.features)
        self.shown.features = len(self.features)
        self.shown.phase = event.phase
        place.totals = m.Totals(new, event.restarts)
        if new.programs > STEADY:
            place.deaths = 0

    def _take_found(self, place: Place, event: m.Found) -> None:
        if event.key not in self.old and event.key not in self.found:
            self.note(f"FOUND {event.key}: {event.message}\n  {event.file}")
        self.found[event.key] = event
        self.doubted.pop(event.key, None)
        for other in self.places:
            if other is not place:
                other.say(m.Known(event.key))

    def _take_doubted(self, event: m.Doubted) -> None:
        if event.key not in self.doubted:
            self.note(f"UNCONFIRMED {event.key}: {event.message}")
        self.doubted[event.key] = event.message

    def _ended(self, pool: Pool, place: Place, event: m.Ended | Death) -> None:
        if isinstance(event, m.Ended) and not event.code:
            place.done = True
            return
        code = event.code if isinstance(event, m.Ended) else HARNESS
        final = isinstance(event, m.Ended) and event.final
        never = code == NO_START and not place.totals.counters.programs and not place.incarnation
        self.state.deaths += 1
        place.deaths += 1
        if final or never or place.deaths >= DEATHS:
            place.done = True
            often = "" if final or never else f" ({place.deaths} times in a row)"
            if self.ending is None or code > self.ending.code:
                self.ending = Ending(code, event.message + often)
            self.stop()
            return
        again = self.ending is None and not self.interrupted and not self._over(place)
        self.note(event.message + ("; another takes its place" if again else ""))
        self.words = [*self.words, event.message.partition("\n")[0]][-WORDS:]
        place.done = not again
        if again:
            place.incarnation += 1
            pool.start(place, self.left, self.lock)

    def _over(self, place: Place) -> bool:
        left, runs = self.left, place.task.runs
        return (left is not None and left <= 0) or (runs is not None and runs <= place.totals.counters.programs)

    # ---- the end -------------------------------------------------------------------------------------------------------

    def save(self, *, now: bool = False) -> None:
        """Write the counters, now and then."""
        clock = time.monotonic()
        if now or clock - self._saved >= SAVED_EVERY:
            self.state.seconds += clock - self._saved
            self._saved = clock
            self.store.save(self.state)

    def finish(self) -> None:
        """Write all that is not written yet."""
        for finding in self.store.known(self.store.pending)[0].values():  # of workers that did not come to its end
            self.store.settle(finding)
            message = f"{finding.violation.message} (it may be larger than it need be)"
            file = str(self.store.findings)
            self.found.setdefault(finding.key, m.Found(finding.key, message, len(finding.program.operations), file))
        self.save(now=True)
        self.store.tell_seen(self.state)

    def close(self) -> None:
        """Let go of the directory."""
        os.close(self.lock)

    def all_found(self) -> dict[Key, Finding]:
        """Return the findings in the directory."""
        return self.store.known(self.store.findings)[0]

    @property
    def ran(self) -> tuple[int, int]:
        """How many programs were run this time, and how many of them could not be."""
        return self.state.programs - self._base[0], self.state.unsupported - self._base[1]

    @property
    def cut_short(self) -> bool:
        """Whether somebody has ended it before its time or number of programs was over."""
        return not self.searched and self.interrupted and (self.plan.seconds is not None or self.plan.runs is not None)


def _writable(store: Store) -> None:
    """Make the directory where it is missing, and refuse one that is something else's."""
    directory = store.directory
    with writing(directory):
        strange = directory.is_dir() and any(directory.iterdir()) and not (directory / "lock").exists()
    if strange:
        raise Refused(f"{shown(directory)} is not empty, and no campaign's: name another directory by --out")
    store.prepare()


# ---- several -----------------------------------------------------------------------------------------------------------


def run(campaigns: Sequence[Campaign], show: Callable[[], None], *, every: float = 0.25) -> None:
    """Run campaigns side by side until all are over; ``show`` is called about every ``every`` seconds.

    Ctrl-C and SIGTERM end them well; a second one kills the workers. Raises `Unwritable`, after the workers have ended.
    """
    pool = Pool()
    try:
        with _interruptions(pool, campaigns):
            for campaign in campaigns:
                campaign.start(pool)
            _drive(pool, campaigns, show, every)
            for campaign in campaigns:
                campaign.searched = campaign.ending is None and not campaign.interrupted
            if any(_wants_minimising(one) for one in campaigns):
                _minimise(pool, [one for one in campaigns if _wants_minimising(one)], show, every)
    finally:
        pool.close()
        for campaign in campaigns:
            campaign.shown.ended = time.monotonic()


def _wants_minimising(campaign: Campaign) -> bool:
    return campaign.plan.minimise == "end" and campaign.ending is None and not campaign.interrupted


def _minimise(pool: Pool, campaigns: Sequence[Campaign], show: Callable[[], None], every: float) -> None:
    for campaign in campaigns:
        task = m.Task(
            campaign.plan.subject,
            campaign.plan.engine,
            0,
            str(campaign.plan.directory),
            -1,
            campaign.plan.opener,
            "minimise",
            profiles=campaign.plan.profiles,
            interpose=campaign.plan.interpose,
        )
        campaign.deadline = None
        campaign.shown.phase = "minimising the corpus"
        place = Place(task, len(campaign.places))
        campaign.places.append(place)
        pool.start(place, None, campaign.lock)
    _drive(pool, campaigns, show, every)


def _drive(pool: Pool, campaigns: Sequence[Campaign], show: Callable[[], None], every: float) -> None:
    """Wait for workers until none is left."""
    told: float | None = None
    while any(campaign.working for campaign in campaigns):
        for place, event in pool.wait(every):
            owner = next(one for one in campaigns if place in one.places)
            owner.take(pool, place, event)
        stopping = False
        for campaign in campaigns:
            campaign.save()
            late = campaign.left is not None and campaign.left < 0
            if campaign.working and (late or campaign.interrupted or campaign.ending is not None):
                campaign.stop()
                stopping = True
        told = (told or time.monotonic()) if stopping else None
        if told is not None and time.monotonic() - told > GRACE:
            for place in pool.working:
                place.kill()
        show()


@contextlib.contextmanager
def _interruptions(pool: Pool, campaigns: Sequence[Campaign]) -> Generator[None]:
    """Treat Ctrl-C, SIGTERM and SIGHUP meanwhile as the wish to end; the second time at once. Ignored ones stay so."""
    times = 0

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal times
        times += 1
        for campaign in campaigns:
            campaign.interrupted = True
        for place in pool.working if times > 1 else ():
            place.kill()
        with contextlib.suppress(OSError):
            os.write(pool.waker, b"!")

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    ours = [number for number, handler in before.items() if handler != signal.SIG_IGN or number == signal.SIGINT]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])
