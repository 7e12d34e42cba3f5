"""``fdspec run --personality``: what it runs, what it calls the system, and what it refuses."""

from __future__ import annotations

import html
import json

CHOSEN = ("-k", "receive.*", "-k", "ctrunc.*", "-i", "python-socket", "--no-config")


def records(directory):
    return [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]


def verdicts(directory):
    return {
        (one["case"], one["type"], one.get("variant", "")): one["verdict"]
        for one in records(directory)
        if one["record"] == "verdict"
    }


def test_this_kernel_emulated_is_this_kernel(fdspec, tmp_path):
    for name, more in (("real", []), ("emulated", ["--personality", "linux"])):
        done = fdspec("run", *CHOSEN, "--out", tmp_path / name, *more)
        assert done.returncode == 0, done.stdout
    assert verdicts(tmp_path / "emulated") == verdicts(tmp_path / "real")
    assert len(verdicts(tmp_path / "real")) > 50


def test_another_system_is_called_emulated_everywhere(fdspec, tmp_path):
    done = fdspec("run", *CHOSEN, "--personality", "macos", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout
    words = "macOS, emulated by fdspec on Linux"
    assert words in done.stdout
    header, *rest = records(tmp_path / "out")
    assert header["platform"]["personality"] == "macOS"
    for name in ("index.html", "junit.xml"):
        assert words in (tmp_path / "out" / name).read_text()
    fdspec("report", tmp_path / "out", "--markdown", "--out", tmp_path / "more")
    assert words in html.unescape((tmp_path / "more" / "summary.md").read_text())
    left_out = {
        one["case"]: one["observed"] for one in rest if one["record"] == "verdict" and one["verdict"] == "unsupported"
    }
    assert left_out["ctrunc.room-by-count"].startswith("macOS does otherwise (")


def test_cases_on_the_real_kernel_and_on_faults_are_not_run(fdspec, tmp_path):
    done = fdspec("run", "-i", "python-socket", "--personality", "macos", "-k", "faults.*", "--no-config")
    assert done.returncode == 2
    assert "no case was selected" in done.stdout + done.stderr


def test_a_system_that_nobody_knows(fdspec):
    done = fdspec("run", "-i", "python-socket", "--personality", "macoss", "--no-config")
    assert done.returncode == 2
    assert "did you mean macos?" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_configured_expectations_are_about_the_real_kernel(fdspec, tmp_path):
    (tmp_path / "fdspec.toml").write_text('implementations = ["python-socket"]\ncases = ["receive.*"]\n')
    (tmp_path / "expectations.toml").write_text(
        'version = 1\n[[expect]]\ncase = "receive.one"\nverdict = "fail"\nwhy = "it does not"\n'
    )
    assert fdspec("run").returncode == 1, "the case passes, and the gate says so"
    assert fdspec("run", "--personality", "linux").returncode == 0
    done = fdspec("run", "--personality", "linux", "--expectations", "expectations.toml")
    assert done.returncode == 1
