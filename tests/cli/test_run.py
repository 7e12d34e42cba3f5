"""``fdspec run``: what it selects, what it leaves behind, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from .conftest import SCRIPT

CASE = "send.one"

HEAD = """
id = "sample"
name = "a sample"
language = "Python"
homepage = "https://example.org"
summary = "one line"
profiles = ["message"]
"""


def records(path):
    return [json.loads(line) for line in (path / "records.jsonl").read_text(encoding="utf-8").splitlines()]


def verdicts(path):
    return [one for one in records(path) if one["record"] == "verdict"]


def sample(directory, more):
    directory.mkdir()
    (directory / "impl.toml").write_text(HEAD + more)
    return directory


def test_one_case_of_one_implementation(fdspec, tmp_path):
    done = fdspec("run", "-i", "python-socket", "-k", CASE, "--out", "out")
    assert (done.returncode, done.stderr) == (0, "")
    kept = records(tmp_path / "out")
    assert kept[0]["record"] == "header"
    assert kept[0]["command"][1:] == ["run", "-i", "python-socket", "-k", CASE, "--out", "out"]
    assert kept[-1]["record"] == "footer"
    assert kept[-1]["complete"] is True
    assert {one["case"] for one in verdicts(tmp_path / "out")} == {CASE}
    assert {one["type"] for one in verdicts(tmp_path / "out")} == {"stream", "dgram", "seqpacket"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "records.jsonl",
        "index.html",
        "junit.xml",
        "summary.txt",
    }
    assert "python-socket" in done.stdout
    assert "out/index.html" in done.stdout


def test_without_out_a_new_directory_that_git_ignores(fdspec, tmp_path):
    for _ in range(2):
        assert fdspec("run", "-i", "python-socket", "-k", CASE, "--type", "stream").returncode == 0
    runs = [path for path in (tmp_path / "fdspec-out").iterdir() if path.is_dir()]
    assert len(runs) == 2
    assert all((run / "index.html").is_file() for run in runs)
    assert (tmp_path / "fdspec-out" / ".gitignore").read_text() == "*\n"
    assert {path.name for path in tmp_path.iterdir()} == {"fdspec-out", "cache"}  # nor pytest's own cache


def test_old_records_are_never_overwritten(fdspec, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "records.jsonl").write_text("precious")
    done = fdspec("run", "-i", "python-socket", "-k", CASE, "--out", "out")
    assert done.returncode == 2
    assert "out/records.jsonl exists" in done.stderr
    assert (tmp_path / "out" / "records.jsonl").read_text() == "precious"


def test_options_narrow_the_selection(fdspec, tmp_path):
    done = fdspec("run", "-i", "python-socket", "-k", "send.*", "--type", "dgram", "--level", "must", "--out", "out")
    assert done.returncode == 0
    assert {one["type"] for one in verdicts(tmp_path / "out")} == {"dgram"}
    assert {one["level"] for one in records(tmp_path / "out") if one["record"] == "case"} == {"must"}
    assert {one["case"].partition(".")[0] for one in verdicts(tmp_path / "out")} == {"send"}


def test_workers_come_to_the_same_verdicts(fdspec, tmp_path):
    arguments = ("run", "-i", "python-socket", "-i", "python-recipe", "-k", "send.*")
    codes = [fdspec(*arguments, "--out", "one").returncode, fdspec(*arguments, "-n", "2", "--out", "two").returncode]
    assert codes[0] == codes[1]

    def told(name):
        keys = ("implementation", "case", "profile", "type", "verdict")
        return sorted(tuple(one[key] for key in keys) for one in verdicts(tmp_path / name))

    assert told("one") == told("two")
    assert len(told("one")) > 3


def test_arguments_after_two_dashes_go_to_pytest(fdspec, tmp_path):
    done = fdspec("run", "-i", "python-socket", "-k", CASE, "--out", "out", "--", "--collect-only", "-qq", "-v", "-v")
    assert "test_send.py" in done.stdout
    assert "python-socket-message-stream" in done.stdout
    assert verdicts(tmp_path / "out") == []
    assert done.returncode != 0  # nothing was tested


def test_the_caller_s_pytest_configuration_is_left_alone(fdspec, tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --nonsense\n")
    (tmp_path / "conftest.py").write_text("raise RuntimeError('not yours')\n")
    done = fdspec("run", "-i", "python-socket", "-k", CASE, PYTEST_ADDOPTS="--more-nonsense")
    assert (done.returncode, done.stderr) == (0, "")


# --- bad input


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-i", "python-soket"], "did you mean python-socket"),
        (["-i", "nothing-like-it-at-all"], "fdspec impls"),
        (["-i", "no/such/impl.toml"], "no/such/impl.toml"),
        (["-i", "python-socket", "-k", "send.onee"], "did you mean send.one"),
        (["-i", "python-socket", "-k", CASE, "-k", "xyzzy*"], "xyzzy*"),
        (["-i", "python-socket", "--profile", "transport"], "no case was selected"),
        (["-i", "python-socket", "--level", "perhaps"], "'must', 'should', 'may'"),
        (["-i", "python-socket", "--type", "raw"], "'stream', 'dgram', 'seqpacket'"),
        (["--imp", "python-socket"], "--impl"),
        (["-i", "python-socket", "-n", "many"], "'many' came"),
        (["-i", "python-socket", "-n", "-1"], "'-1' came"),
        (["python-socket"], "unexpected extra argument"),
        (["-i", "python-socket", "--nonsense"], "--nonsense"),
        (["-i", "python-socket", "--", "--nonsense"], "--nonsense"),
        (["-i", "python-socket", "--out", "/proc/none"], "/proc/none"),
    ],
)
def test_bad_input(fdspec, arguments, says):
    done = fdspec("run", *arguments)
    assert done.returncode == 2, done
    assert says in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_a_wrong_manifest(fdspec, tmp_path):
    directory = sample(tmp_path / "mine", '[start]\ncomand = ["true"]\n')
    done = fdspec("run", "-i", "mine/impl.toml")
    assert done.returncode == 2
    assert done.stderr == (
        f"fdspec: {directory}/impl.toml: start.comand: no such key; known are command (did you mean 'command'?)\n"
    )


def test_two_with_one_id(fdspec, tmp_path):
    for name in ("one", "two"):
        sample(tmp_path / name, '[start]\ncommand = ["true"]\n')
    done = fdspec("run", "-i", "one/impl.toml", "-i", "two/impl.toml")
    assert done.returncode == 2
    assert "two manifests have the id 'sample'" in done.stderr


def test_one_named_twice_is_one(fdspec, tmp_path):
    (tmp_path / "link").symlink_to(Path(__file__).parents[2] / "impls" / "catalogue" / "python-socket")
    done = fdspec("run", "-i", "python-socket", "-i", "link/", "-k", CASE, "--out", "out")
    assert done.returncode == 0
    assert len(verdicts(tmp_path / "out")) == 3


# --- what cannot be started


def test_one_that_cannot_be_had(fdspec, tmp_path):
    sample(tmp_path / "mine", '[needs]\ntools = ["no-such-tool"]\n[start]\ncommand = ["{python}"]\n')
    done = fdspec("run", "-i", "mine/", "--out", "out")
    assert done.returncode == 3
    assert done.stderr == "fdspec: sample cannot be had here: needs no-such-tool, which is not on PATH\n"
    assert not (tmp_path / "out").exists()


def test_the_others_run_all_the_same(fdspec, tmp_path):
    sample(tmp_path / "mine", '[needs]\ntools = ["no-such-tool"]\n[start]\ncommand = ["{python}"]\n')
    done = fdspec("run", "-i", "mine/", "-i", "python-socket", "-k", CASE, "--out", "out")
    assert done.returncode == 3
    assert {one["verdict"] for one in verdicts(tmp_path / "out")} == {"pass"}
    missing = [one for one in records(tmp_path / "out") if one["record"] == "implementation" and not one["available"]]
    assert [(one["id"], one["reason"]) for one in missing] == [("sample", "needs no-such-tool, which is not on PATH")]


def test_a_build_that_fails_leaves_its_last_words(fdspec, tmp_path):
    setup = '[setup]\nkind = "commands"\ncommands = [["sh", "-c", "echo the last words; exit 1"]]\n'
    sample(tmp_path / "mine", setup + '[start]\ncommand = ["{python}"]\n')
    done = fdspec("run", "-i", "mine/")
    assert done.returncode == 3
    assert "sample: running sh -c" in done.stderr
    assert "    the last words\n" in done.stderr
    log = Path(done.stderr.rpartition("the whole log: ")[2].strip())
    assert log.read_text().endswith("the last words\n")


def test_a_testee_that_does_not_start_leaves_its_last_words(fdspec, tmp_path):
    sample(tmp_path / "mine", '[start]\ncommand = ["sh", "-c", "echo the last words >&2; exit 7"]\n')
    done = fdspec("run", "-i", "mine/", "-k", CASE, "--out", "out")
    assert done.returncode == 3
    assert "the last words" in done.stdout + done.stderr
    assert records(tmp_path / "out")[-1]["exit_code"] == 3


# --- what is not as expected

HALF = """
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        return super().sendmsg(fd, buffers, [], flags, address)
"""


def test_a_failed_case(fdspec, miscreant, tmp_path):
    done = fdspec("run", "-i", miscreant(HALF), "-k", CASE, "--out", "out")
    assert done.returncode == 1
    assert {one["verdict"] for one in verdicts(tmp_path / "out")} == {"fail"}
    assert f"fail    {CASE}" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    again = fdspec("report", "out", "--junit", "--out", "again")
    assert again.returncode == 0
    assert (tmp_path / "again" / "junit.xml").read_bytes() == (tmp_path / "out" / "junit.xml").read_bytes()


@pytest.mark.parametrize("workers", [[], ["-n", "2"]])
def test_fail_fast(fdspec, miscreant, tmp_path, workers):
    done = fdspec("run", "-i", miscreant(HALF), "-k", "send.*", "--fail-fast", "--out", "out", *workers)
    assert done.returncode == 1
    kept = records(tmp_path / "out")
    assert kept[-1]["complete"] is False
    assert [one["verdict"] for one in verdicts(tmp_path / "out")].count("fail") >= 1
    assert len(verdicts(tmp_path / "out")) < 30


WAITS = """
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        open({fifo!r}, "w").close()
        time.sleep(60)
"""


def test_an_interrupted_run_keeps_what_it_saw(miscreant, tmp_path, environment):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    manifest = miscreant(WAITS.format(fifo=str(fifo)))
    manifest.write_text(manifest.read_text().replace("request = 1.0", "request = 50.0"))
    command = [SCRIPT, "run", "-i", "python-socket", "-i", manifest, "-k", CASE, "--out", "out"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    fifo.open().close()  # the testee is in the middle of the fourth variant
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "interrupted: 3 verdicts are kept in" in err
    assert "INCOMPLETE" in out
    assert "Traceback" not in err
    kept = records(tmp_path / "out")
    assert kept[-1]["complete"] is False
    assert [one["verdict"] for one in verdicts(tmp_path / "out")] == ["pass"] * 3
    assert (tmp_path / "out" / "index.html").is_file()


def test_an_interrupted_build_leaves_nothing_half_built(tmp_path, environment):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    setup = f'[setup]\nkind = "commands"\ncommands = [["sh", "-c", "echo > {fifo}; sleep 60"]]\n'
    sample(tmp_path / "mine", setup + '[start]\ncommand = ["{python}"]\n')
    process = subprocess.Popen(
        [SCRIPT, "run", "-i", "mine/"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    fifo.open().close()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert err.endswith("fdspec: interrupted\n")
    assert not [path for path in (tmp_path / "cache" / "environments").iterdir() if path.is_dir()]
