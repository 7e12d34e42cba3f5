"""A built wheel, installed into an empty environment outside the checkout, is the whole of fdspec."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("cli", "conformance", "fuzz", "impls", "reports")


def run(*command, cwd, **environment):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**clean, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment},
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build a wheel from the files that git would give to somebody who clones (no build leftovers of this checkout)."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in tracked():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--wheel", "--outdir", out, source, cwd=out)
    (built,) = out.glob("fdspec-*.whl")
    return built


def tracked():
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.timeout(600)
def test_the_wheel_holds_every_file_that_the_package_needs(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"fdspec/{name}"
        for name in tracked()
        if name.partition("/")[0] in PACKAGES or name in {"__init__.py", "py.typed"}
    }
    assert wanted - held == set()
    extra = {name for name in held - wanted if not name.partition("/")[0].endswith(".dist-info")}
    assert extra == set()
    assert {name.partition("/")[0].partition("-")[0] for name in held} == {"fdspec"}  # one name in site-packages


@pytest.mark.timeout(600)
def test_an_installed_fdspec_runs_the_reference(wheel, tmp_path):
    environment, elsewhere = tmp_path / "environment", tmp_path / "elsewhere"
    elsewhere.mkdir()
    venv.create(environment, with_pip=True)
    python, fdspec = environment / "bin" / "python", environment / "bin" / "fdspec"
    run(python, "-m", "pip", "install", wheel, cwd=elsewhere)
    place = run(python, "-c", "import fdspec; print(fdspec.__file__)", cwd=elsewhere)
    assert Path(place.strip()).is_relative_to(environment)

    cache = {"FDSPEC_CACHE": str(tmp_path / "cache")}
    run(fdspec, "run", "-i", "reference", "-n", "2", "--out", "out", cwd=elsewhere, **cache)
    records = [json.loads(line) for line in (elsewhere / "out" / "records.jsonl").read_text().splitlines()]
    verdicts = {one["verdict"] for one in records if one["record"] == "verdict"}
    assert "pass" in verdicts
    assert verdicts <= {"pass", "unsupported"}
    assert records[-1]["complete"] is True
    assert (elsewhere / "out" / "index.html").stat().st_size > 10_000
    assert str(ROOT) not in (elsewhere / "out" / "records.jsonl").read_text()

    assert "available" in run(fdspec, "impls", "-i", "reference", cwd=elsewhere, **cache)
    assert "keeps the testee protocol" in run(fdspec, "check-adapter", "-i", "reference", cwd=elsewhere, **cache)
    one = next(one for one in records if one["record"] == "case")["id"]
    plain = (python, "-m", "pytest", "-q", "--pyargs", "fdspec.conformance", "--fdspec-impl", "reference")
    assert " passed" in run(*plain, "--fdspec-case", one, cwd=elsewhere, **cache)
