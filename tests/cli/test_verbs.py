"""The verbs beside ``run``."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from .conftest import SCRIPT

CASE = "send.one"


def test_help_names_every_verb_and_every_exit_code(fdspec):
    done = fdspec("--help")
    assert done.returncode == 0
    for verb in ("run", "list", "explain", "impls", "check-adapter", "report"):
        assert f"  {verb}" in done.stdout
    text = " ".join(done.stdout.split())
    for code in ("0 as expected", "1 not as expected", "2 wrong usage", "3 an implementation", "4 the harness"):
        assert code in text


@pytest.mark.parametrize("verb", ["run", "list", "explain", "impls", "check-adapter", "report"])
def test_every_verb_explains_itself(fdspec, verb):
    done = fdspec(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: fdspec {verb}")


def test_the_version(fdspec):
    import fdspec as package

    assert fdspec("--version").stdout == f"fdspec {package.__version__}\n"


def test_an_unknown_verb_has_its_nearest(fdspec):
    done = fdspec("explian")
    assert done.returncode == 2
    assert "did you mean explain" in done.stderr


def test_no_verb_at_all(fdspec):
    assert fdspec().returncode == 2


def test_a_closed_pipe_is_no_traceback(tmp_path, environment):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [SCRIPT, "list"], stdout=pipe, stderr=subprocess.PIPE, cwd=tmp_path, env=environment, check=False
        )
    assert (done.returncode, done.stderr) == (4, b"")


# --- list


def test_list_cases(fdspec):
    done = fdspec("list")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    ids = [line.split()[0] for line in lines]
    assert CASE in ids
    assert len(set(ids)) == len(ids)
    assert {line.split()[1] for line in lines} <= {"must", "should", "may"}


def test_list_narrows(fdspec):
    everything = fdspec("list").stdout.splitlines()
    sends = fdspec("list", "-k", "send.*").stdout.splitlines()
    assert {line.split()[0] for line in sends} == {line.split()[0] for line in everything if line.startswith("send.")}
    musts = fdspec("list", "--level", "must").stdout.splitlines()
    assert {line.split()[1] for line in musts} == {"must"}
    transports = fdspec("list", "--profile", "transport").stdout.splitlines()
    assert 0 < len(transports) < len(everything)


def test_list_requirements(fdspec):
    done = fdspec("list", "--requirements", "-k", "S01")
    assert done.returncode == 0
    assert done.stdout.startswith("S01  must")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-k", "send.onne"], "did you mean send.one"),
        (["--requirements", "-k", "send.one"], "no requirement matches"),
        (["--requirements", "--type", "stream"], "--requirements"),
        (["-k", CASE, "--profile", "transport"], "nothing is selected"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_list_bad_input(fdspec, arguments, says):
    done = fdspec("list", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""


# --- explain


def test_explain_a_case(fdspec):
    done = fdspec("explain", CASE)
    assert done.returncode == 0
    for expected in (f"case {CASE}", "must", "message", "stream", "test_send.py:", "requirement S01", "unix(7)"):
        assert expected in done.stdout


def test_explain_a_requirement_names_its_cases(fdspec):
    done = fdspec("explain", "S01", CASE)
    assert done.returncode == 0
    requirement, _, case = done.stdout.partition(f"\ncase {CASE}\n")
    assert f"  case      {CASE}:" in requirement
    assert case


def test_every_case_and_requirement_can_be_explained(fdspec):
    listed = fdspec("list").stdout + fdspec("list", "--requirements").stdout
    ids = [line.split()[0] for line in listed.splitlines()]
    done = fdspec("explain", *ids)
    assert done.returncode == 0
    assert all(f" {identity}\n" in done.stdout for identity in ids)


def test_explain_an_unknown_id(fdspec):
    done = fdspec("explain", "send.oen")
    assert done.returncode == 2
    assert "did you mean send.one" in done.stderr
    assert done.stdout == ""


# --- impls


def test_impls(fdspec):
    done = fdspec("impls")
    assert done.returncode == 0
    rows = {line.split()[0]: line for line in done.stdout.splitlines()}
    assert rows["id"].split() == ["id", "version", "profiles", "availability"]
    assert rows["python-socket"].split()[2:] == ["message", "available"]
    assert "not set up yet" in rows["twisted-sendmsg"]


def test_impls_as_json(fdspec):
    done = fdspec("impls", "--json", "-i", "python-socket")
    assert done.returncode == 0
    (row,) = json.loads(done.stdout)
    assert (row["id"], row["state"], row["reason"]) == ("python-socket", "available", "")
    assert row["profiles"] == ["message"]
    assert row["version"].startswith("3.")


def test_impls_tells_why_not(fdspec, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "impl.toml").write_text("""
id = "mine"
name = "mine"
language = "C"
homepage = "https://example.org"
summary = "one line"
profiles = ["message"]
[start]
command = ["sh", "-c", "printf 'last \\\\033[2J words' >&2"]
""")
    done = fdspec("impls", "-i", "mine/")
    assert done.returncode == 3
    assert "unavailable: it does not start" in done.stdout
    assert "last" in done.stdout
    assert "\033" not in done.stdout


def test_impls_sets_up(fdspec, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "impl.toml").write_text("""
id = "mine"
name = "mine"
language = "C"
homepage = "https://example.org"
summary = "one line"
profiles = ["message"]
[setup]
kind = "commands"
commands = [["sh", "-c", "echo no compiler; false"]]
[start]
command = ["{env}/testee"]
""")
    assert "pending: not set up yet" in fdspec("impls", "-i", "mine/").stdout
    done = fdspec("impls", "-i", "mine/", "--setup")
    assert done.returncode == 3
    assert "mine: running sh -c" in done.stderr
    assert "unavailable:" in done.stdout
    assert "no compiler" in done.stdout
    assert "no compiler" in fdspec("impls", "-i", "mine/").stdout  # remembered


# --- check-adapter


def test_check_adapter(fdspec):
    done = fdspec("check-adapter", "-i", "python-socket")
    assert done.returncode == 0
    assert "python-socket keeps the testee protocol" in done.stdout
    assert "\nerror  " not in done.stdout


def test_check_adapter_tells_what_is_wrong(fdspec, miscreant):
    done = fdspec("check-adapter", "-i", miscreant("def reset(self, close): return []"))
    assert done.returncode == 1
    assert "breaks the testee protocol" in done.stdout
    assert "\nerror  " in done.stdout


def test_check_adapter_without_an_adapter(fdspec):
    done = fdspec("check-adapter")
    assert done.returncode == 2
    assert "-i" in done.stderr


def test_check_adapter_of_one_that_does_not_start(fdspec, miscreant):
    manifest = miscreant("pass")
    (manifest.parent / "adapter.py").write_text("raise SystemExit('the last words')")
    done = fdspec("check-adapter", "-i", manifest)
    assert done.returncode == 3
    assert "the last words" in done.stdout


# --- report


@pytest.fixture
def run(fdspec, tmp_path):
    assert fdspec("run", "-i", "python-socket", "-k", CASE, "--out", "run").returncode == 0
    return tmp_path / "run"


def test_report_writes_where_the_records_are(fdspec, run):
    for name in ("index.html", "junit.xml", "summary.txt"):
        (run / name).unlink()
    done = fdspec("report", run)
    assert done.returncode == 0
    assert {path.name for path in run.iterdir()} == {"records.jsonl", "index.html", "junit.xml", "summary.txt"}
    assert "python-socket" in done.stdout


def test_report_writes_what_is_asked_for(fdspec, run, tmp_path):
    assert fdspec("report", run / "records.jsonl", "--html", "--out", "there").returncode == 0
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["index.html"]


def test_report_on_two_runs(fdspec, run, tmp_path):
    assert fdspec("run", "-i", "python-recipe", "-k", CASE, "--out", "other").returncode == 0
    done = fdspec("report", run, "other", "--summary", "--out", "there")
    assert done.returncode == 0
    texts = [path.read_text(encoding="utf-8") for path in (tmp_path / "there").glob("*/summary.txt")]
    assert sorted("python-recipe" in text for text in texts) == [False, True]
    twice = fdspec("report", run, run, "--out", "there")
    assert twice.returncode == 2
    assert "two of these runs" in twice.stderr


def test_truncated_and_damaged_records_are_loud(fdspec, run, tmp_path):
    lines = (run / "records.jsonl").read_bytes().splitlines(keepends=True)
    bad = {
        "cut": (b"".join(lines)[:-20], f"records.jsonl:{len(lines)}"),
        "no-footer": (b"".join(lines[:-1]), "footer"),
        "damaged": (b"".join([*lines[:2], b"{nonsense\n", *lines[3:]]), "records.jsonl:3"),
        "missing": (b"".join([*lines[:-2], lines[-1]]), f"records.jsonl:{len(lines) - 1}"),
        "empty": (b"", "empty"),
    }
    for name, (content, says) in bad.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "records.jsonl").write_bytes(content)
        done = fdspec("report", name)
        assert done.returncode == 2, name
        assert says in done.stderr, name
        assert [path.name for path in (tmp_path / name).iterdir()] == ["records.jsonl"]
    assert fdspec("report", "cut", "--incomplete").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [([], "missing"), (["none"], "none"), (["none.jsonl", "--html"], "none.jsonl"), (["/dev/null"], "/dev/null")],
)
def test_report_bad_input(fdspec, arguments, says):
    done = fdspec("report", *arguments)
    assert done.returncode == 2
    assert says in done.stderr


def test_the_schema_of_records(fdspec):
    done = fdspec("report", "--schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["$defs"]
