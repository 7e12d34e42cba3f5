"""The command line as people use it: a subprocess in a directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(sys.executable).with_name("fdspec")


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory):
    """The suite's compiled form, which is the same for every test; each test has its own cache of all else."""
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture
def environment(tmp_path, bytecode):
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "bytecode").symlink_to(bytecode)
    return {**os.environ, "FDSPEC_CACHE": str(tmp_path / "cache"), "COLUMNS": "100"}


@pytest.fixture
def fdspec(tmp_path, environment):
    """Run ``fdspec`` with these arguments; returns the finished process with its output as text."""

    def run(*arguments, **more):
        command = [SCRIPT, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=100, cwd=tmp_path, env={**environment, **more}, check=False
        )

    return run
