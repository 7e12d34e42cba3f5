"""What every test of ours may use: miscreants, and the command line as a subprocess."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# A gate says the same of the same code twice. Who wants to search, searches: `FDSPEC_SEARCH=1 make test`.
settings.register_profile("fdspec", derandomize="FDSPEC_SEARCH" not in os.environ)
settings.load_profile("fdspec")

HEAD = """\
import importlib.util, os, signal, sys, time
spec = importlib.util.spec_from_file_location("good", {good!r})
good = importlib.util.module_from_spec(spec)
spec.loader.exec_module(good)


class Miscreant(good.PythonSocket):
"""
GOOD = Path(__file__).parent.parent / "impls" / "catalogue" / "python-socket" / "adapter.py"
MANIFEST = """\
id = "{name}"
name = "a miscreant"
language = "Python"
homepage = "https://example.org/"
summary = "a faulty testee"
profiles = ["message"]
[start]
command = ["{{python}}", "-I", "{{testee}}/fdspec_testee.py", "{{here}}/adapter.py"]
[deadlines]
start = 5.0
request = 1.0
"""


SAID = pytest.StashKey[list[str]]()

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A job in the background of a shell ignores it, and so would every command that is interrupted here.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def say(request) -> Callable[[str], None]:
    """Return what keeps a line for the end of the run, where whoever runs the tests reads it, workers or not."""
    return request.config.stash.setdefault(SAID, []).append


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["said"] = session.config.stash.get(SAID, [])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.stash.setdefault(SAID, []).extend(getattr(node, "workeroutput", {}).get("said", []))


def pytest_terminal_summary(terminalreporter, config):
    lines = config.stash.get(SAID, [])
    if lines:
        terminalreporter.section("outside proofs")
        for line in lines:
            terminalreporter.write_line(line)


@dataclass(frozen=True)
class Outcome:
    """What one run of the command line left behind."""

    code: int
    out: str
    records: list[dict]

    @property
    def verdicts(self) -> list[dict]:
        return [one for one in self.records if one["record"] == "verdict"]

    @property
    def footer(self) -> dict:
        return self.records[-1]


@pytest.fixture
def miscreant(tmp_path) -> Callable[[str], Path]:
    """Return a maker of faulty testees: python-socket's adapter with these methods in place of its own."""

    def make(body: str, name: str = "miscreant") -> Path:
        directory = tmp_path / name
        directory.mkdir()
        code = HEAD.format(good=str(GOOD)) + textwrap.indent(textwrap.dedent(body), "    ")
        (directory / "adapter.py").write_text(code, encoding="utf-8")
        manifest = directory / "impl.toml"
        manifest.write_text(MANIFEST.format(name=name), encoding="utf-8")
        return manifest

    return make


def read_records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.fixture
def conformance(tmp_path) -> Callable[..., Outcome]:
    """Run the suite by pytest in a subprocess, as ``pytest --pyargs fdspec.conformance`` with these arguments."""

    def run(*arguments: str, name: str = "out") -> Outcome:
        out = tmp_path / name
        command = [sys.executable, "-m", "pytest", "--pyargs", "fdspec.conformance", "-q", "-p", "no:cacheprovider"]
        command += ["-c", "/dev/null", "--rootdir", str(tmp_path), "--fdspec-out", str(out), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=tmp_path, check=False)
        return Outcome(done.returncode, done.stdout + done.stderr, read_records(out / "records.jsonl"))

    return run
