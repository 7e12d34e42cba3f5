"""``fdspec stability``: run the same selection again and again, and name every verdict that does not stay the same."""

from __future__ import annotations

import contextlib
import itertools
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from .busy import busy, cores
from .configured import configuring, jobs_of
from .errors import HARNESS, NO_START, NOT_AS_EXPECTED, OK, Stop
from .options import implementations, selecting

if TYPE_CHECKING:
    from ..reports.stability import Attempt, Mode

RUNS = 10
_FDSPEC = "import sys; sys.argv[0] = 'fdspec'; from fdspec.cli import main; main()"
_PATIENCE = 30.0
"""Seconds that an interrupted run has to write down what it saw."""
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def _seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,6})([smh]?)", value)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"a time such as 90s, 10m or 2h expected, {value!r} came")
    return float(int(found[1]) * _UNITS[found[2]])


@click.command("stability")
@implementations
@selecting
@click.option(
    "-n", "jobs", metavar="JOBS", callback=jobs_of, help="Worker processes of each run; 'auto' for one a core."
)
@configuring
@click.option("--runs", type=click.IntRange(min=2), help=f"How many runs [default: {RUNS}, without --time].")
@click.option(
    "--time", "limit", metavar="TIME", callback=_seconds, help="Begin no further run after this time: 90s, 10m, 2h."
)
@click.option(
    "--reused", is_flag=True, help="Only runs as `fdspec run` does them: testees reused, usual order, no load."
)
@click.option("--fresh", is_flag=True, help="Only runs with a fresh testee for each case.")
@click.option("--shuffle", is_flag=True, help="Only runs in a random order, another one each time.")
@click.option("--load", type=click.IntRange(1, 1000), metavar="N", help="Only runs beside N busy processes.")
@click.option(
    "--seed", type=click.IntRange(0, 2**31), metavar="SEED", help="The random orders of an earlier invocation again."
)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the records of all runs [default: a new one in fdspec-out/].",
)
def command(
    names: tuple[str, ...],
    patterns: tuple[str, ...],
    level: str | None,
    types: tuple[str, ...],
    profiles: tuple[str, ...],
    jobs: str | None,
    config: Path | None,
    no_config: bool,
    runs: int | None,
    limit: float | None,
    reused: bool,
    fresh: bool,
    shuffle: bool,
    load: int | None,
    seed: int | None,
    out: Path | None,
) -> int:
    """Run the same selection several times, and name every verdict that does not stay the same.

    Without --reused, --fresh, --shuffle or --load the runs take turns: reused testees, fresh ones, a shuffled order, load,
    and all of it at once. Nothing is retried: each run is an attempt, and keeps its records. What the command line leaves
    open is taken from the configuration; expectations play no part.
    """
    asked = fresh or shuffle or load is not None
    if reused and asked:
        raise Stop("--reused means neither --fresh nor --shuffle nor --load: leave it out, or leave them out")
    if seed is not None and (reused or (asked and not shuffle)):
        raise Stop("--seed says in which random order: add --shuffle, or leave it out")
    first = secrets.randbelow(1_000_000) if seed is None else seed
    only = _only(fresh=fresh, seed=first if shuffle else None, load=load or 0)
    modes = only if reused or asked else _turns(first)
    options = [word for name in names for word in ("--impl", name)]
    options += [word for pattern in patterns for word in ("-k", pattern)]
    options += ["--level", level] if level else []
    options += [word for kind in types for word in ("--type", kind)]
    options += [word for profile in profiles for word in ("--profile", profile)]
    options += ["-n", jobs] if jobs else []
    options += ["--config", str(config)] if config else []
    options += ["--no-config"] if no_config else []
    options += ["--no-expectations"]  # whether a verdict stays the same, whatever was expected
    directory = _directory(out)
    limited = runs if runs is not None or limit is not None else RUNS
    if shuffle or not (reused or asked):
        click.echo(f"seed {first}; --seed {first} repeats the random orders")
    return _all(options, itertools.islice(modes, limited), directory, limit)


def _only(*, fresh: bool, seed: int | None, load: int) -> Iterator[Mode]:
    """Return the same mode for ever, in another order each time where a seed is given."""
    from ..reports.stability import Mode  # noqa: PLC0415 - a verb's own imports wait for it

    return (Mode(fresh, None if seed is None else seed + number, load) for number in itertools.count())


def _turns(seed: int) -> Iterator[Mode]:
    """Return the modes in turn for ever."""
    from ..reports.stability import Mode  # noqa: PLC0415 - a verb's own imports wait for it

    load = cores()
    for number in itertools.count(0, 5):
        yield from (Mode(), Mode(fresh=True), Mode(seed=seed + number), Mode(load=load))
        yield Mode(fresh=True, seed=seed + number + 1, load=load)


def _directory(out: Path | None) -> Path:
    """Make the directory for the records. Raises Stop where there is something in it already."""
    name = f"stability-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
    directory = (out or Path("fdspec-out") / name).absolute()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if out is None:
            (directory.parent / ".gitignore").write_text("*\n")
        if any(directory.iterdir()):
            raise Stop(f"{directory} is not empty, and records are never overwritten: name another directory by --out")
    except OSError as fault:
        raise Stop(f"{directory} cannot be made: {fault.strerror}; --out names another directory") from fault
    return directory


def _all(options: list[str], modes: Iterator[Mode], directory: Path, limit: float | None) -> int:
    """Run until all is done or the time is over; tell what was seen even where the runs ended early."""
    from ..reports import stability  # noqa: PLC0415 - a verb's own imports wait for it

    attempts: list[Attempt] = []
    end = None if limit is None else time.monotonic() + limit
    try:
        with _ended_like_ctrl_c():
            for number, mode in enumerate(modes, 1):
                attempts.append(_run(options, mode, directory / f"run-{number:03}", first=number == 1))
                if end is not None and number > 1 and time.monotonic() >= end:
                    break
    finally:
        if len(attempts) > 1:
            click.echo(stability.text(attempts), nl=False)
        if any(directory.iterdir()):
            click.echo(f"records of each run: {directory}")
        else:
            directory.rmdir()
    return NOT_AS_EXPECTED if stability.flakes(attempts) else OK


def _run(options: list[str], mode: Mode, directory: Path, *, first: bool) -> Attempt:
    """Run once into ``directory`` and print a line. Raises Stop where no verdicts can be had."""
    from ..reports import stability  # noqa: PLC0415 - a verb's own imports wait for it
    from ..reports.store import RecordsError, load  # noqa: PLC0415

    directory.mkdir()
    words = [*options, "--out", str(directory)]
    words += ["--fresh"] if mode.fresh else []
    words += ["--shuffle", str(mode.seed)] if mode.seed is not None else []
    log = directory / "output.txt"
    start = time.monotonic()
    with busy(mode.load):
        code = _fdspec(["run", *words], log)
    seconds = time.monotonic() - start
    if code not in {OK, NOT_AS_EXPECTED} and (code != NO_START or first):
        said = log.read_text(encoding="utf-8", errors="replace").strip()[-4000:]
        if not (directory / "records.jsonl").exists():
            shutil.rmtree(directory)  # what was wrong is told here, and nothing was tested
        raise Stop(f"{directory.name} ended with exit code {code}:\n{said}", code if 0 < code <= HARNESS else HARNESS)
    try:
        run = load(directory)
    except RecordsError as fault:
        raise Stop(f"the records of {directory.name} cannot be read: {fault}", HARNESS) from fault
    if run.incomplete:
        raise Stop(f"{directory.name} is incomplete: {run.incomplete}", HARNESS)
    found = stability.attempt(directory.name, mode, run)
    counts = Counter(one.verdict.value for one in run.verdicts)
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    how = f"{mode}" + (f", order {mode.seed}" if mode.seed is not None else "")
    click.echo(f"{directory.name}  {how}: {told} in {seconds:.1f} s")
    return found


def _fdspec(words: list[str], log: Path) -> int:
    """Run ``fdspec`` with its output in ``log``; return its exit code. An interruption is handed on to it."""
    with log.open("wb") as file:
        process = subprocess.Popen(  # noqa: S603 - ourselves, with the options that we were given
            [sys.executable, "-P", "-c", _FDSPEC, *words],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    try:
        return process.wait()
    except BaseException:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
        raise
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def _ended_like_ctrl_c() -> Generator[None]:
    """Treat SIGTERM and SIGHUP meanwhile as Ctrl-C, so that nothing that was started outlives us; ignored ones stay so."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    ours = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
