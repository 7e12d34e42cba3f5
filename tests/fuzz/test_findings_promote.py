"""A promoted finding is a case: it fails where it was found, passes on the reference, and reads as cases do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from fdspec.fuzz import parse
from fdspec.fuzz.findings import store
from fdspec.fuzz.findings.finding import Finding
from fdspec.fuzz.judgement import Breach, Violation
from fdspec.fuzz.runner import open_runner
from scriptkit import DEFECTS

HOUSE = Path(__file__).parents[2]
FDSPEC = Path(sys.executable).with_name("fdspec")
CHOSEN = (
    "message.truncation-leaks",
    "message.received-in-reverse",
    "message.truncation-untold",
    "descriptors.not-close-on-exec",
    "descriptors.single-keeps-the-second",
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the package that cases can be added to."""
    home = tmp_path_factory.mktemp("tree")
    for part in ("__init__.py", "cli", "conformance", "fuzz", "impls", "reports"):
        source, target = HOUSE / part, home / "fdspec" / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "target"))
        else:
            target.parent.mkdir(exist_ok=True)
            shutil.copy(source, target)
    return home


def fdspec(*arguments, tree=None, cwd=None):
    environment = os.environ | ({"PYTHONPATH": str(tree)} if tree else {})
    command = [FDSPEC, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, env=environment, cwd=cwd, check=False)


def finding_of(mutant, directory):
    """Return the file of what a mutant shows first in its program."""
    program = parse(DEFECTS[mutant])
    runner = open_runner(f"mutant:{mutant}", profiles=[program.profile])
    try:
        violation = runner.examine(program).violations[0]
    finally:
        runner.close()
    return store.write(Finding(f"mutant:{mutant}", violation, program), directory)


@pytest.fixture(scope="module")
def promoted(tree, tmp_path_factory):
    """The files of the cases by the mutant that they were found on; they stand in the tree."""
    files = {}
    findings = tmp_path_factory.mktemp("findings")
    for mutant in CHOSEN:
        identity = f"found.{mutant.replace('.', '-')}"
        to = tree / "fdspec" / "conformance"
        done = fdspec("fuzz", "promote", finding_of(mutant, findings), "--id", identity, "--to", to)
        assert done.returncode == 0, done.stderr
        files[mutant] = to / f"test_found_{identity.removeprefix('found.').replace('-', '_')}.py"
        assert files[mutant].read_text() in done.stdout
        assert "python -m fdspec.conformance.ledger --update" in done.stdout
    return files


def verdicts(subject, pattern, tree, out):
    done = fdspec("run", "--no-config", "-i", subject, "-k", pattern, "--out", out, tree=tree, cwd=out.parent)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    return {(one["case"], one["verdict"]) for one in records if one["record"] == "verdict"}


def test_the_reference_passes_every_one(promoted, tree, tmp_path):
    found = verdicts("reference", "found.*", tree, tmp_path / "out")
    assert {verdict for _, verdict in found} == {"pass"}
    assert len(found) == len(promoted)


@pytest.mark.parametrize("mutant", CHOSEN)
def test_it_fails_where_it_was_found(promoted, tree, tmp_path, mutant):
    identity = f"found.{mutant.replace('.', '-')}"
    found = verdicts(f"mutant:{mutant}", identity, tree, tmp_path / "out")
    assert found
    assert {verdict for _, verdict in found} <= {"fail", "leak"}


def test_they_are_in_the_style_of_the_house(promoted):
    for mutant, path in promoted.items():
        name = HOUSE / "conformance" / path.name
        ruff = [Path(sys.executable).with_name("ruff"), "check", "--stdin-filename", name, "-"]
        done = subprocess.run(ruff, input=path.read_text(), capture_output=True, text=True, cwd=HOUSE, check=False)
        assert done.returncode == 0, f"{mutant}: {done.stdout}"


def test_it_reads_like_a_case(promoted):
    assert (
        promoted["message.received-in-reverse"].read_text()
        == '''"""Found by fuzzing: take in message/stream/testee."""

import os

from fdspec.conformance.suite import CALLS, MUST, STREAM, case


@case("found.message-received-in-reverse", level=MUST, checks="LC05", profiles=CALLS, types=(STREAM,))
def test_message_received_in_reverse(link, objects):
    """Order and identity of what was sent are kept; number 0 is a descriptor like any other."""
    g0 = objects.fifo()
    g0_fd = objects.fresh(g0, os.O_WRONLY)
    g1 = objects.fifo()
    g1_fd = objects.fresh(g1, os.O_WRONLY)
    link.peer.send(b"x", fds=[g0_fd, g1_fd])
    got1 = link.receive(1, room=2)
    assert got1.things == [g0, g1]
'''
    )


def test_an_id_that_is_in_use_is_refused(promoted, tree, tmp_path):
    path = finding_of("message.truncation-leaks", tmp_path)
    to = tree / "fdspec" / "conformance"
    for identity, what in (
        ("found.message-truncation-leaks", "already"),
        ("ctrunc.excess-is-reported", "already"),
        ("Found.X", "is no id of a case"),
    ):
        done = fdspec("fuzz", "promote", path, "--id", identity, "--to", to)
        assert (done.returncode, done.stdout) == (2, "")
        assert what in done.stderr


INEXPRESSIBLE = {
    "pair": 'open g0\npair stream t1 p1\nsend p0 "x" fds=g0,g0\ntake t0 1 room=1 as=r0_',
    "msg_controllen": 'open g0\nsend p0 "x" fds=g0,g0 controllen=24\ntake t0 1 room=1 as=r0_',
}


@pytest.mark.parametrize(("word", "operations"), INEXPRESSIBLE.items(), ids=INEXPRESSIBLE)
def test_what_a_case_has_no_word_for_is_said(tmp_path, word, operations):
    mutant = "mutant:message.truncation-leaks"
    program = parse(f"program 1 message stream client\n{operations}\n")
    runner = open_runner(mutant)
    try:
        violation = runner.examine(program).violations[0]
    finally:
        runner.close()
    path = store.write(Finding(mutant, violation, program), tmp_path)
    done = fdspec("fuzz", "promote", path, "--to", tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert word in done.stderr
    assert not list(tmp_path.glob("test_*.py"))


def test_what_no_longer_shows_is_no_case(tmp_path):
    violation = Violation(Breach.LEAK, "LC01", 2, "take", "message/stream/testee", "it leaked")
    path = store.write(Finding("reference", violation, parse(DEFECTS["message.truncation-leaks"])), tmp_path)
    done = fdspec("fuzz", "promote", path, "--to", tmp_path)
    assert done.returncode == 2
    assert "does not show on reference any more" in done.stderr


def test_a_breach_of_the_protocol_wants_a_requirement(tmp_path):
    violation = Violation(Breach.CRASH, "crash", 2, "take", "message/stream/testee", "it died")
    path = store.write(Finding("reference", violation, parse(DEFECTS["message.truncation-leaks"])), tmp_path)
    done = fdspec("fuzz", "promote", path, "--to", tmp_path)
    assert done.returncode == 2
    assert "--checks says which one" in done.stderr
