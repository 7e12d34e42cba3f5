"""``python -m fdspec.fuzz.power``: how long a campaign takes to find each mutant, as the table in ``fuzz/POWER.md``.

Each mutant is hunted once a seed: one worker with one testee, on one core, by the guided engine from an empty corpus, until a
violation is proved or the limit is reached. The time counts from the start of the testee to the proof; making the program small
comes after it, for the first seed alone. The reference itself is hunted as long as the slowest mutant: what it shows is no find.

Results are kept a line each, so that a run that was ended goes on where it stopped: those of the same fdspec code alone.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import msgspec
from msgspec import Struct

from ..impls.mutants.tables import Mutant, everything
from ..impls.protocol.values import Profile
from .engines.guided import search
from .findings.minimise import minimise
from .judgement import Key, Runner, Verdict
from .program import Program
from .runner import open_runner

HERE = Path(__file__).parent
TABLE = HERE / "POWER.md"
MEDIAN_BAR, WORST_BAR, SHARE_BAR, OPERATIONS_BAR = 60.0, 300.0, 0.95, 6
_STEPS = 300
"""How often a finding is run to make it small."""


class Hunted(Struct, frozen=True):
    """One hunt. ``seconds`` None: not found within the limit. ``operations`` 0: not made small."""

    mutant: str
    seed: int
    code: str
    seconds: float | None
    programs: int
    key: Key | None = None
    operations: int = 0


class Hunt:
    """A session that ends with the first violation that is proved."""

    def __init__(self, runner: Runner, seed: int, limit: float) -> None:
        self.runner = runner
        self.seed = seed
        self.corpus: list[Program] = []
        self.programs = 0
        self.found: tuple[Program, Key] | None = None
        self._features: set[str] = set()
        self._doubted: set[Key] = set()
        self._start = time.monotonic()
        self._limit = limit

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._start

    @property
    def over(self) -> bool:
        """Whether something is found, or the limit reached."""
        return self.found is not None or self.elapsed >= self._limit

    def tell(self, program: Program, verdict: Verdict) -> bool:
        """Prove what is suspected; keep what is new."""
        self.programs += 1
        if verdict.violations and self.found is None:
            self._prove(program, verdict.violations[0].key)
        new = not verdict.features <= self._features
        if new:
            self._features |= verdict.features
            self.corpus.append(program)
        return new

    def _prove(self, program: Program, key: Key) -> None:
        if key in self._doubted:
            return
        proof = self.runner.examine(program)
        if proof.violations:
            self.found = program, proof.violations[0].key
        else:
            self._doubted.add(key)


def hunt(subject: str, profile: Profile, seed: int, limit: float, code: str = "") -> Hunted:
    """Hunt one subject. Raises what `open_runner` raises."""
    runner = open_runner(subject, profiles=[profile], interpose=True)
    try:
        session = Hunt(runner, seed, limit)
        search(runner, session)
        if session.found is None:
            return Hunted(subject, seed, code, None, session.programs)
        seconds = session.elapsed
        program, key = session.found
        small = minimise(program, lambda one: _shows(runner, one, key), budget=_STEPS) if seed == 0 else None
        return Hunted(subject, seed, code, seconds, session.programs, key, len(small.operations) if small else 0)
    finally:
        runner.close()


def _shows(runner: Runner, program: Program, key: Key) -> bool:
    return any(one.key == key for one in runner.examine(program).violations)


# ---- all of them ---------------------------------------------------------------------------------------------------------


def fingerprint() -> str:
    """Return what changes with the code that results depend on."""
    root = HERE.parent
    files = [*HERE.glob("*.py"), *(one for part in ("engines", "oracle", "run") for one in (HERE / part).glob("*.py"))]
    files += [*(root / "conformance" / "model").glob("*.py"), *(root / "impls" / "mutants").glob("*.toml")]
    digest = hashlib.sha256()
    for one in sorted(files):
        if one.name != Path(__file__).name:
            digest.update(one.read_bytes())
    return digest.hexdigest()[:12]


def read(path: Path, code: str) -> dict[tuple[str, int], Hunted]:
    """Return the results that are kept of this code; a last line that was cut is left out."""
    found: dict[tuple[str, int], Hunted] = {}
    for line in path.read_bytes().splitlines() if path.exists() else ():
        try:
            one = msgspec.json.decode(line, type=Hunted)
        except msgspec.DecodeError:
            continue
        if one.code == code:
            found[one.mutant, one.seed] = one
    return found


def hunt_all(mutants: Sequence[Mutant], seeds: int, limit: float, jobs: int, path: Path) -> list[Hunted]:
    """Hunt every mutant with every seed, ``jobs`` at a time, and return all results, those that were kept included."""
    code = fingerprint()
    kept = read(path, code)
    path.parent.mkdir(parents=True, exist_ok=True)
    todo = [(one, seed) for seed in range(seeds) for one in mutants if (f"mutant:{one.id}", seed) not in kept]
    with path.open("ab") as file, ProcessPoolExecutor(jobs, get_context("spawn"), max_tasks_per_child=50) as pool:
        waiting = [pool.submit(_hunt_mutant, one.id, one.profile, seed, limit, code) for one, seed in todo]
        for number, done in enumerate(as_completed(waiting), 1):
            one = done.result()
            kept[one.mutant, one.seed] = one
            file.write(msgspec.json.encode(one) + b"\n")
            file.flush()
            when = "not found" if one.seconds is None else f"{one.seconds:.1f} s, {one.programs} programs, {one.key}"
            sys.stderr.write(f"{number}/{len(todo)} {one.mutant} seed {one.seed}: {when}\n")
    names = {f"mutant:{one.id}" for one in mutants}
    return [one for (name, seed), one in sorted(kept.items()) if name in names and seed < seeds]


def _hunt_mutant(name: str, profile: Profile, seed: int, limit: float, code: str) -> Hunted:
    return hunt(f"mutant:{name}", profile, seed, limit, code)


# ---- the table -----------------------------------------------------------------------------------------------------------


class Row(Struct, frozen=True):
    """What came of one mutant: medians over the seeds; None: not found by most of them, or by one."""

    mutant: str
    median: float | None
    worst: float | None
    programs: int
    operations: int
    keys: tuple[str, ...]


def row_of(mutant: str, hunts: Sequence[Hunted]) -> Row:
    """Return the row of one mutant."""
    endless = float("inf")
    times = [endless if one.seconds is None else one.seconds for one in hunts]
    median, worst = statistics.median_low(times), max(times)
    keys = dict.fromkeys(str(one.key) for one in hunts if one.key is not None)
    return Row(
        mutant,
        None if median == endless else median,
        None if worst == endless else worst,
        statistics.median_low([one.programs for one in hunts]),
        max((one.operations for one in hunts), default=0),
        tuple(keys),
    )


def rows_of(hunts: Iterable[Hunted]) -> list[Row]:
    """Return a row for each mutant, the slowest first."""
    groups: dict[str, list[Hunted]] = {}
    for one in hunts:
        groups.setdefault(one.mutant.removeprefix("mutant:"), []).append(one)
    rows = [row_of(name, group) for name, group in groups.items()]
    return sorted(rows, key=lambda row: (-(float("inf") if row.median is None else row.median), row.mutant))


def bars(rows: Sequence[Row]) -> dict[str, bool]:
    """Return each bar with whether it is reached."""
    quick = sum(row.median is not None and row.median <= MEDIAN_BAR for row in rows)
    found = sum(row.median is not None and row.median <= WORST_BAR for row in rows)
    small = sum(row.operations <= OPERATIONS_BAR for row in rows)
    count = len(rows)
    return {
        f"{quick} of {count} within {MEDIAN_BAR:g} s (bar: {SHARE_BAR:.0%})": quick >= SHARE_BAR * count,
        f"{found} of {count} within {WORST_BAR:g} s (bar: all)": found == count,
        f"{small} of {count} with at most {OPERATIONS_BAR} operations (bar: all)": small == count,
    }


def page(rows: Sequence[Row], seeds: int, excluded: dict[str, str]) -> str:
    """Return the page. ``excluded``: mutants that no program can express, each with the reason."""
    lines = [
        "# Power: how long a campaign takes to find each mutant",
        "",
        f"`make power` writes this page: the guided engine, one worker, from an empty corpus, {seeds} seeds a mutant.",
        "The median is over the seeds; the number of operations is that of the finding made small.",
        "",
        *(f"- {text}: {'reached' if reached else '**missed**'}" for text, reached in bars(rows).items()),
        "",
        "| mutant | median | worst | programs | operations | shows as |",
        "|---|---|---|---|---|---|",
        *map(_line, rows),
    ]
    if excluded:
        lines += ["", "## What no program can express", "", "| mutant | why |", "|---|---|"]
        lines += [f"| {name} | {why} |" for name, why in sorted(excluded.items())]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    shows = row.keys[0] if row.keys else ""
    cells = [row.mutant, _seconds(row.median), _seconds(row.worst), str(row.programs), str(row.operations or ""), shows]
    return f"| {' | '.join(cells)} |"


def _seconds(value: float | None) -> str:
    return "not found" if value is None else f"{value:.1f} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt and write the page. Exit code 1 where a bar is missed, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m fdspec.fuzz.power", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=5, help="hunts of each mutant (5)")
    parser.add_argument("--limit", type=float, default=WORST_BAR, help="seconds until a hunt is given up (300)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one for each processor)")
    parser.add_argument("--out", type=Path, default=Path("fdspec-out/power.jsonl"), help="where results are kept")
    parser.add_argument("--page", type=Path, default=TABLE, help="the page to write")
    parser.add_argument("-k", dest="names", action="append", default=[], help="mutants whose id contains this")
    given = parser.parse_args(arguments)
    excluded = inexpressible()
    chosen = [
        one
        for one in everything().values()
        if one.id not in excluded and (not given.names or any(name in one.id for name in given.names))
    ]
    if not chosen or given.seeds < 1 or given.limit <= 0 or given.jobs < 1:
        parser.error("no mutant is chosen, or --seeds, --limit or --jobs is not positive")
    rows = rows_of(hunt_all(chosen, given.seeds, given.limit, given.jobs, given.out))
    given.page.write_text(page(rows, given.seeds, {} if given.names else excluded), encoding="utf-8")
    for text, reached in bars(rows).items():
        sys.stdout.write(f"{'reached' if reached else 'MISSED'}: {text}\n")
    return int(not all(bars(rows).values()))


def inexpressible() -> dict[str, str]:
    """Return the mutants that no program can express, each with the reason, from ``inexpressible.toml`` beside this module."""
    import tomllib  # noqa: PLC0415 - for this alone

    with (HERE / "inexpressible.toml").open("rb") as file:
        return {name: str(why) for name, why in tomllib.load(file).items()}


if __name__ == "__main__":
    sys.exit(main())
