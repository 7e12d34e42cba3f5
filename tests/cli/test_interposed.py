"""What a run tells of a case in which the harness stood between the testee and its kernel."""

from __future__ import annotations

import json


def verdicts(directory):
    found = [json.loads(line) for line in (directory / "records.jsonl").read_text().splitlines()]
    return [one for one in found if one["record"] == "verdict"]


def test_a_failure_shows_what_became_of_each_call(fdspec, tmp_path):
    done = fdspec("run", "--no-config", "-i", "python-recipe", "-k", "hostile.untruncated", "--out", tmp_path / "out")
    assert done.returncode == 1, done.stdout
    failed = next(one for one in verdicts(tmp_path / "out") if one["verdict"] == "fail")
    kernel = [one for one in failed["transcript"] if one["actor"] == "kernel"]
    assert [one["kind"].partition("(")[0] for one in kernel] == ["recvmsg"]
    assert kernel[0]["text"] == "other control data"
    assert kernel[0]["control"].startswith("4c00000000000000"), "cmsg_len 76, as the testee saw it"


def test_an_emulated_failure_is_repeated_on_the_same_system(fdspec, tmp_path):
    chosen = ("-i", "twisted-sendmsg", "-k", "contracts.one-more-than-room", "--personality", "macos")
    done = fdspec("run", "--no-config", *chosen, "--out", tmp_path / "out")
    assert done.returncode == 1, done.stdout
    failed = next(one for one in verdicts(tmp_path / "out") if one["verdict"] == "fail")
    assert failed["reproduce"].endswith(" --personality macos")


def test_a_fault_that_meets_no_call_leaves_a_case_without_a_verdict(fdspec, tmp_path):
    done = fdspec(
        "run", "--no-config", "-i", "python-socket", "-k", "faults.cloexec.refused", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stdout
    found = verdicts(tmp_path / "out")
    assert {one["verdict"] for one in found} == {"unsupported"}
    assert all("0 calls of fcntl that could be met by: EIO" in one["observed"] for one in found)
