"""``python -m fdspec.conformance.model``: random sequences on the kernel of this machine, compared with the model."""

from __future__ import annotations

import argparse
import os
import sys

from .kernel import NotHere
from .trial import Figures, run


def main() -> int:
    """Run the trial and print its figures. Exit code 1 for a mismatch, 4 where this machine cannot run it."""
    parser = argparse.ArgumentParser(prog="python -m fdspec.conformance.model", description=__doc__)
    parser.add_argument("--sequences", type=int, default=10_000, help="how many (10000)")
    parser.add_argument(
        "--seed", type=int, default=0, help="seed of the first sequence; each further one has the next (0)"
    )
    parser.add_argument("--length", type=int, default=30, help="the most operations of a sequence (30)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one for each processor)")
    parser.add_argument(
        "--unprivileged", type=int, default=4, help="every how many sequences by an unprivileged user (4)"
    )
    given = parser.parse_args()
    for name in ("sequences", "length", "jobs"):
        if getattr(given, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(given, name)}")
    try:
        figures, lacking = run(given.sequences, given.seed, given.length, given.jobs, max(0, given.unprivileged))
    except NotHere as fault:
        sys.stderr.write(f"fdspec: {fault}\n")
        return 4
    sys.stdout.write(table(figures, lacking))
    return 1 if figures.findings else 0


def table(figures: Figures, lacking: str) -> str:
    """Return the figures for people."""
    lines = [
        f"sequences     {figures.sequences}",
        f"operations    {figures.operations}",
        f"mismatches    {len(figures.findings)}",
        f"seconds       {figures.seconds:.0f} of all processes together",
        f"most states   {figures.most_states} followed at once",
        f"unprivileged  {'none: ' + lacking if lacking else 'yes'}",
        "",
        "operations by kind",
        *(f"  {count:>9}  {name}" for name, count in figures.kinds.most_common()),
        "",
        f"outcomes by name ({len(figures.outcomes)} different)",
        *(f"  {count:>9}  {name}" for name, count in figures.outcomes.most_common()),
        "",
        f"requirements as reasons ({len(figures.reasons)} different)",
        *_columns([f"{name:<5}{count:>9}" for name, count in figures.reasons.most_common()]),
        "",
        f"never a reason: {', '.join(figures.unused) or 'none'}",
    ]
    for one in figures.findings:
        lines += ["", f"MISMATCH, seed {one.seed}", one.sequence, one.mismatch]
    return "\n".join(lines) + "\n"


def _columns(cells: list[str], count: int = 6) -> list[str]:
    return ["  " + "   ".join(cells[at : at + count]) for at in range(0, len(cells), count)]


if __name__ == "__main__":
    sys.exit(main())
