"""README's example is run as it stands there: files, commands, output, and the workflow."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pages import ROOT, blocks

README = ROOT / "README.md"
FILES = ("mylib.py", "tests/fdspec/adapter.py", "tests/fdspec/impl.toml")
LINE = re.compile(r"^  (\w+) +([\w.-]+) ", re.MULTILINE)
SCRIPTS = str(Path(sys.executable).parent)


@pytest.fixture
def project(tmp_path):
    """A directory with the files of the example."""
    titled = {block.title: block.code for block in blocks(README) if block.title}
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(titled[name], encoding="utf-8")
    return tmp_path


def run(command, directory):
    environment = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        shlex.split(command), capture_output=True, text=True, timeout=110, cwd=directory, env=environment, check=False
    )


def commands():
    (block,) = [block for block in blocks(README) if block.run]
    return block.code.splitlines()


def workflow():
    (block,) = [block for block in blocks(README) if block.title.startswith(".github/")]
    return yaml.safe_load(block.code)["jobs"]["fdspec"]["steps"]


def test_the_example_keeps_the_protocol_and_is_found_out(project):
    check, test = commands()
    checked = run(check, project)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = run(test, project)
    assert tested.returncode == 1, tested.stdout + tested.stderr
    shown = [block.code for block in blocks(README) if block.title == "output"]
    promised = [match.groups() for text in shown for match in LINE.finditer(text)]
    assert len(promised) == 4
    assert set(promised) <= {match.groups() for match in LINE.finditer(tested.stdout)}, tested.stdout


def test_the_workflow_runs_commands_that_work(project):
    steps = [step["run"] for step in workflow() if step.get("run", "").startswith("fdspec")]
    assert [step.split()[1] for step in steps] == ["check-adapter", "run"]
    outcomes = [run(step, project) for step in steps]
    assert [outcome.returncode for outcome in outcomes] == [0, 1], [outcome.stderr for outcome in outcomes]
    (kept,) = [step["with"]["path"] for step in workflow() if "upload-artifact" in step.get("uses", "")]
    named = re.search(rf"The directory `{kept}` holds ([^\n]*)", README.read_text(encoding="utf-8"))
    assert named is not None
    assert set(re.findall(r"`([\w.]+)`", named[1])) == {path.name for path in (project / kept).iterdir()}


def test_the_commands_of_make_exist():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(
        re.findall(r"\bmake ([a-z]+)", "".join(block.code for block in blocks(README) if block.language == "sh"))
    )
    assert named == {"report", "test"}
    assert named <= targets
