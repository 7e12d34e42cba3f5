"""Run everything several times in a row and compare the verdicts: a difference is a flake, of ours or of an implementation.

    python benchmarks/same_verdicts.py [--runs N] [-i IMPLEMENTATION ...] [-n JOBS]

Prints each run's time and counts, then every variant whose verdict or reason was not the same in all runs. Exit 1 where there
is one, or where a run was not complete.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from fdspec.reports.store import load

Key = tuple[str, str, str, str, str]


def verdicts(path: Path) -> dict[Key, tuple[str, str]]:
    """Return verdict and reason of every variant in a record file."""
    run = load(path)
    return {
        (one.implementation, one.case, one.profile, one.type, one.variant): (one.verdict.value, one.reason)
        for one in run.verdicts
    }


def main() -> int:
    """Run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("-i", "--implementation", action="append", default=[])
    parser.add_argument("-n", "--jobs", default="2")
    options = parser.parse_args()
    fdspec = str(Path(sys.executable).with_name("fdspec"))
    chosen = [word for name in options.implementation for word in ("-i", name)]
    seen: defaultdict[Key, Counter[tuple[str, str]]] = defaultdict(Counter)
    for number in range(1, options.runs + 1):
        with tempfile.TemporaryDirectory() as name:
            start = time.monotonic()
            done = subprocess.run(
                [fdspec, "run", *chosen, "-n", options.jobs, "--out", name], capture_output=True, text=True, check=False
            )
            seconds = time.monotonic() - start
            if done.returncode not in (0, 1):
                print(f"run {number}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
                return 1
            found = verdicts(Path(name) / "records.jsonl")
        for key, value in found.items():
            seen[key][value] += 1
        counts = Counter(verdict for verdict, _ in found.values())
        summary = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
        print(f"run {number}: {seconds:.1f} s, {len(found)} verdicts ({summary})", flush=True)
    flakes = {key: values for key, values in seen.items() if len(values) > 1 or sum(values.values()) != options.runs}
    for key, values in sorted(flakes.items()):
        print(" ".join(part for part in key if part), dict(values))
    print(f"{len(seen)} variants in {options.runs} runs, {len(flakes)} of them with different verdicts")
    return int(bool(flakes))


if __name__ == "__main__":
    sys.exit(main())
