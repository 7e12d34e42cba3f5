"""The command line as people use it: a subprocess in a directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ADAPTER = """\
import importlib.util
spec = importlib.util.spec_from_file_location("good", {good!r})
good = importlib.util.module_from_spec(spec)
spec.loader.exec_module(good)
"""


@pytest.fixture
def fdspec(tmp_path):
    """Run ``fdspec`` with these arguments; returns the finished process with its output as text."""

    def run(*arguments, **environment):
        command = [sys.executable, "-m", "fdspec.cli", *map(str, arguments)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=100,
            cwd=tmp_path,
            env={**os.environ, **environment},
            check=False,
        )

    return run
