"""How soon ``fdspec run -i reference`` begins its first case.

    python benchmarks/time_to_first_case.py [-i IMPLEMENTATION] [--rounds N]

Each round is a fresh process; printed are minimum, median and maximum of the time from its start to pytest's first item.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 0.7
PLUGIN = """\
import os, time

def pytest_runtest_logstart():
    os.write(2, b"first %.6f\\n" % time.clock_gettime(time.CLOCK_MONOTONIC))
    os._exit(0)
"""


def one(implementation: str, directory: Path, index: int) -> float:
    """Return the seconds of one start."""
    environment = {**os.environ, "PYTHONPATH": str(directory)}
    command = [
        str(Path(sys.executable).with_name("fdspec")),
        "run",
        "-i",
        implementation,
        "--out",
        str(directory / f"out{index}"),
    ]
    start = time.clock_gettime(time.CLOCK_MONOTONIC)
    done = subprocess.run(
        [*command, "--", "-p", "first_case_clock"], capture_output=True, text=True, env=environment, check=False
    )
    words = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("first ")]
    if not words:
        raise SystemExit(f"no case began:\n{done.stdout}{done.stderr}")
    return float(words[0]) - start


def main() -> int:
    """Measure and print; exit 1 where the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--implementation", default="reference")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "first_case_clock.py").write_text(PLUGIN, encoding="utf-8")
        one(options.implementation, Path(name), 0)
        times = [one(options.implementation, Path(name), index) for index in range(1, options.rounds + 1)]
    median = statistics.median(times)
    print(
        f"first case of {options.implementation}: min {min(times):.3f}, median {median:.3f}, max {max(times):.3f} s, bar {LIMIT}"
    )
    return int(median > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
