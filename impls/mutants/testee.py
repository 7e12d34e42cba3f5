"""The program that the harness starts for a mutant: its layer's own adapter over a changed reference.

python -I testee.py DIRECTORY MUTANT: the directory that holds the tables, and the id.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from fdspec.impls.mutants import patch, tables
from fdspec.impls.setup import TESTEE

LIBRARY = TESTEE / "fdspec_testee.py"


def main(arguments: list[str]) -> None:
    """Change the reference and answer requests. SystemExit with the reason where the mutant cannot be had."""
    directory, identity = arguments
    try:
        mutant = tables.everything(Path(directory))[identity]
        patch.install(tables.compiled(mutant))
    except (tables.MutantError, KeyError) as fault:
        sys.exit(f"fdspec mutants: {fault}")
    sys.argv = [str(LIBRARY), str(tables.adapter(mutant.layer))]
    runpy.run_path(str(LIBRARY), run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
