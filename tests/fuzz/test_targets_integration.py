"""The files for OSS-Fuzz and ClusterFuzzLite, as far as they can be held here: syntax, fields, and what the build makes."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import fdspec.fuzz
import pytest
import yaml
from fdspec.fuzz.targets import seeds

HERE = Path(fdspec.fuzz.__file__).parent / "integration"
ROOT = HERE.parent.parent
PLACES = ["oss-fuzz", "clusterfuzzlite"]
TARGETS = sorted(seeds.SEEDS)


def stub(directory: Path, name: str, text: str) -> None:
    file = directory / name
    file.write_text(f"#!/bin/bash -eu\n{text}\n")
    file.chmod(0o755)


@pytest.mark.parametrize("place", PLACES)
def test_the_build_makes_every_target_with_seeds_and_dictionary(place, tmp_path):
    src, out, work, tools = (tmp_path / name for name in ("src", "out", "work", "tools"))
    for directory in (src, out, work, tools):
        directory.mkdir()
    (src / "fdspec").symlink_to(ROOT)
    stub(tools, "pip3", f'echo "$@" > {tmp_path}/installed')
    stub(tools, "python3", f'exec {sys.executable} "$@"')
    stub(tools, "compile_python_fuzzer", 'name=$(basename "$1" .py); test -f "$1"; shift; echo "$@" > "$OUT/$name"')
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "SRC": str(src), "OUT": str(out), "WORK": str(work)}
    for _ in range(2):  # a second build finds the first one's leavings
        done = subprocess.run(
            ["bash", str(HERE / place / "build.sh")],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    made = {path.name for path in out.iterdir()}
    dictionaries = {path.stem for path in (ROOT / "fuzz/targets/dictionaries").iterdir()}
    assert made == {
        *TARGETS,
        *(f"{target}_seed_corpus.zip" for target in TARGETS),
        *(f"fuzz_{name}.dict" for name in dictionaries),
    }
    for target in TARGETS:
        with zipfile.ZipFile(out / f"{target}_seed_corpus.zip") as corpus:
            assert corpus.namelist()
            assert all("/" not in name for name in corpus.namelist())
        assert "--collect-all fdspec" in (out / target).read_text()
    assert (tmp_path / "installed").read_text().startswith("install . twisted")


@pytest.mark.parametrize("place", PLACES)
def test_the_scripts_are_sound(place):
    script = HERE / place / "build.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert script.read_text().startswith("#!/bin/bash -eu\n")
    assert os.access(script, os.X_OK)


@pytest.mark.parametrize("place", PLACES)
def test_the_image_is_the_one_that_is_prescribed_and_the_build_script_is_in_it(place):
    lines = [line for line in (HERE / place / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "FROM gcr.io/oss-fuzz-base/base-builder-python"
    assert all(line.split()[0] in {"FROM", "RUN", "COPY", "WORKDIR"} for line in lines)
    assert any(line.startswith("COPY ") and line.endswith("build.sh $SRC/") for line in lines)
    assert "WORKDIR $SRC/fdspec" in lines


def test_the_projects_have_the_fields_that_are_required():
    project = yaml.safe_load((HERE / "oss-fuzz/project.yaml").read_text())
    assert project["language"] == "python"
    assert project["fuzzing_engines"] == ["libfuzzer"]
    assert set(project["sanitizers"]) <= {"address", "undefined"}
    assert project["homepage"].startswith("https://")
    assert "@" in project["primary_contact"]
    assert project["main_repo"] in (HERE / "oss-fuzz/Dockerfile").read_text()
    assert yaml.safe_load((HERE / "clusterfuzzlite/project.yaml").read_text()) == {"language": "python"}


def test_the_workflow_builds_and_runs_with_the_least_rights():
    workflow = yaml.safe_load((HERE / "clusterfuzzlite/workflow.yml").read_text())
    assert workflow["permissions"] == {"contents": "read"}
    job = workflow["jobs"]["fuzz"]
    build, run = job["steps"]
    assert build["uses"].startswith("google/clusterfuzzlite/actions/build_fuzzers@")
    assert run["uses"].startswith("google/clusterfuzzlite/actions/run_fuzzers@")
    assert build["with"]["language"] == "python"
    assert build["with"]["sanitizer"] == run["with"]["sanitizer"] == "${{ matrix.sanitizer }}"
    assert set(job["strategy"]["matrix"]["sanitizer"]) <= {"address", "undefined"}
    assert job["timeout-minutes"] * 60 > 3600


def test_the_seeds_are_written_by_a_command_with_one_argument(tmp_path):
    command = [sys.executable, "-m", "fdspec.fuzz.targets.seeds"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(" inputs\n")
    assert {path.name for path in tmp_path.iterdir()} == set(TARGETS)
    assert "one argument expected" in subprocess.run(command, capture_output=True, text=True, check=False).stderr
