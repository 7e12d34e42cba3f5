"""Tables of mutants made for a test, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("fdspec")
MUTANT = """\
[[mutant]]
id = "{name}"
defects = []
class = "A"
violates = ["{violates}"]
what = "A change for a test."
old = {old}
new = {new}
{more}
"""
HARMLESS = {"old": "    data = list(buffers)\n", "new": "    data = [*buffers]\n"}


@pytest.fixture
def table(tmp_path):
    """Write a table of one mutant and return its directory."""

    def write(name="message.harmless", *, violates="LC05", more="", file="message.toml", **change):
        directory = tmp_path / "tables"
        directory.mkdir(exist_ok=True)
        change = {key: json.dumps(value) for key, value in {**HARMLESS, **change}.items()}
        with (directory / file).open("a", encoding="utf-8") as stream:
            stream.write(MUTANT.format(name=name, violates=violates, more=more, **change))
        return directory

    return write


@pytest.fixture
def fdspec(tmp_path):
    """Run ``fdspec`` with these arguments; returns the finished process with its output as text."""

    def run(*arguments, timeout=110):
        command = [str(SCRIPT), *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "200"}
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, cwd=tmp_path, env=environment, check=False
        )

    return run
