"""``fdspec run`` as a gate, and ``fdspec expect``: files, exit codes and words, in a directory of its own."""

from __future__ import annotations

import json
import os
import re
from xml.etree import ElementTree  # noqa: ICN001 - by its own name

import pytest

HALF = """
    def sendmsg(self, fd, buffers, ancillary, flags, address):
        return super().sendmsg(fd, buffers, [], flags, address)
"""
"""A testee that sends no descriptor: `send.one` fails on it, `receive.one` passes."""
CONFIG = 'implementations = ["./miscreant"]\ncases = ["send.one", "receive.one"]\n'
KNOWN = '[[expect]]\ncase = "send.one"\nverdict = "fail"\nreason = "assertion"\nwhy = "it sends none"\nissue = "https://example.org/7"\n'


@pytest.fixture
def project(tmp_path, miscreant):
    """A maintainer's directory; returns a function that writes its expectations (line 3 on) and its configuration."""
    miscreant(HALF)

    def write(expectations=KNOWN, config=CONFIG):
        (tmp_path / ".git").mkdir(exist_ok=True)
        (tmp_path / "fdspec.toml").write_text(config)
        if expectations is not None:
            (tmp_path / "expectations.toml").write_text(f"version = 1\n\n{expectations}")
        return tmp_path

    return write


def records(path):
    return [json.loads(line) for line in (path / "records.jsonl").read_text(encoding="utf-8").splitlines()]


def verdicts(path):
    return [one for one in records(path) if one["record"] == "verdict"]


def test_run_alone_is_the_gate(fdspec, project, tmp_path):
    project()
    done = fdspec("run", "--out", "out")
    assert done.returncode == 0, done
    assert done.stderr == "fdspec: configuration fdspec.toml, expectations expectations.toml\n"
    assert "miscreant: 1 case not as required, 1 of them expected" in done.stdout
    assert "fail    send.one [3 of 3] expected assertion" in done.stdout
    assert "The gate is green: 1 entry in expectations.toml, 3 verdicts as listed" in done.stdout
    assert "3 xfailed" in done.stdout
    kept = records(tmp_path / "out")
    assert (kept[0]["configuration"], kept[0]["expectations"]) == ("fdspec.toml", "expectations.toml")
    assert kept[0]["selection"] == {"cases": "send.one receive.one"}
    assert kept[-1]["exit_code"] == 0
    assert kept[-1]["gate"]["counts"] == {"expected": 3}
    judged = [one["gate"] for one in verdicts(tmp_path / "out") if one["case"] == "send.one"]
    assert (
        judged
        == [
            {
                "standing": "expected",
                "entries": ["expectations.toml:3"],
                "listed": "fail (assertion)",
                "why": "it sends none",
                "issue": "https://example.org/7",
            }
        ]
        * 3
    )
    assert all("gate" not in one for one in verdicts(tmp_path / "out") if one["case"] != "send.one")
    junit = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    assert (junit.get("failures"), junit.get("errors")) == ("0", "0")
    skipped = [one.get("message") for one in junit.iter("skipped")]
    assert skipped == ["expected: fail (assertion): it sends none (https://example.org/7)"] * 3
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "The gate is green: 1 entry in expectations.toml, 3 verdicts as listed." in page
    assert ">expected</small>" in page


def test_from_a_directory_below_and_by_its_name(fdspec, project, tmp_path, environment):
    project()
    (tmp_path / "deep" / "er").mkdir(parents=True)
    done = fdspec("run", "--config", "fdspec.toml", "--out", "one")
    assert done.returncode == 0
    import subprocess

    from .conftest import SCRIPT

    below = subprocess.run(
        [SCRIPT, "run", "--out", "two"],
        cwd=tmp_path / "deep" / "er",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert below.returncode == 0, below
    assert f"configuration {tmp_path}/fdspec.toml" in below.stderr
    assert len(verdicts(tmp_path / "deep" / "er" / "two")) == len(verdicts(tmp_path / "one"))


def test_pyproject_does_as_well(fdspec, project, tmp_path):
    project(config="")
    (tmp_path / "fdspec.toml").rename(tmp_path / "pyproject.toml")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "mine"\n\n[tool.fdspec]\nimplementations = ["./miscreant"]\ncases = ["send.one"]\njobs = 2\n'
        'types = ["stream"]\nprofiles = ["message"]\nlevel = "must"\nexpectations = "expectations.toml"\n'
    )
    done = fdspec("run", "--out", "out")
    assert done.returncode == 0, done
    assert done.stderr == "fdspec: configuration pyproject.toml, expectations expectations.toml\n"
    assert [one["type"] for one in verdicts(tmp_path / "out")] == ["stream"]
    assert records(tmp_path / "out")[0]["selection"] == {
        "cases": "send.one",
        "level": "must",
        "types": "stream",
        "profiles": "message",
    }


def test_options_override_the_configuration(fdspec, project, tmp_path):
    project()
    done = fdspec("run", "--type", "dgram", "-k", "send.one", "--out", "one")
    assert done.returncode == 0
    assert {one["type"] for one in verdicts(tmp_path / "one")} == {"dgram"}
    without = fdspec("run", "--no-expectations", "--out", "two")
    assert without.returncode == 1
    assert without.stderr == "fdspec: configuration fdspec.toml\n"
    assert "gate" not in without.stdout
    other = fdspec("run", "-i", "python-socket", "--out", "three")
    assert other.returncode == 1  # the entry names no implementation, so it is about this one as well
    assert "unexpected pass: python-socket send.one" in " ".join(other.stdout.split())
    (tmp_path / "expectations.toml").write_text(f'version = 1\n{KNOWN}implementation = "miscreant"\n')
    other = fdspec("run", "-i", "python-socket", "--out", "four")
    assert other.returncode == 0
    assert "1 entry not judged, being outside of this selection" in " ".join(other.stdout.split())


def test_no_configuration_and_expectations_by_name(fdspec, project, tmp_path):
    project()
    done = fdspec("run", "--no-config", "-i", "miscreant/", "-k", "send.one", "--out", "one")
    assert (done.returncode, done.stderr) == (1, "")
    assert records(tmp_path / "one")[0]["configuration"] == ""
    named = ("--expectations", "expectations.toml")
    done = fdspec("run", "--no-config", *named, "-i", "miscreant/", "-k", "send.one", "--out", "two")
    assert (done.returncode, done.stderr) == (0, "fdspec: expectations expectations.toml\n")


RED = {
    "unlisted": (
        "",
        "unlisted failure: miscreant send.one [message dgram, seqpacket, stream] came to fail (assertion), and no entry of expectations.toml lists it",
    ),
    "unexpected-pass": (
        KNOWN + KNOWN.replace("send.one", "receive.one"),
        "unexpected pass: miscreant receive.one [message dgram, seqpacket, stream] passes, and expectations.toml:9 expects fail (assertion)",
    ),
    "unsupported-that-passes": (
        KNOWN
        + KNOWN.replace("send.one", "receive.one")
        .replace('"fail"', '"unsupported"')
        .replace('reason = "assertion"\n', ""),
        "unexpected pass: miscreant receive.one [message dgram, seqpacket, stream] passes, and expectations.toml:9 expects unsupported",
    ),
    "other-verdict": (
        KNOWN.replace('"fail"', '"leak"'),
        "other verdict: miscreant send.one [message dgram, seqpacket, stream] came to fail (assertion), and expectations.toml:3 expects leak (assertion)",
    ),
    "other-reason": (
        KNOWN.replace("assertion", "exit-1"),
        "other verdict: miscreant send.one [message dgram, seqpacket, stream] came to fail (assertion), and expectations.toml:3 expects fail (exit-1)",
    ),
    "overlap": (
        KNOWN + KNOWN.replace("send.one", "send.on?"),
        "overlap: miscreant send.one [message dgram, seqpacket, stream] (fail (assertion)) is named by expectations.toml:3 and expectations.toml:9",
    ),
    "matches-nothing": (
        KNOWN + KNOWN.replace("send.one", "send.onne"),
        "matches nothing: expectations.toml:9: no case of the suite is called 'send.onne'; did you mean send.one",
    ),
    "nobody": (
        KNOWN + 'implementation = "nobody"\n' + KNOWN,
        "matches nothing: expectations.toml:3: no implementation is called 'nobody'",
    ),
    "no-such-variant": (
        KNOWN + "\n" + KNOWN.replace("send.one", "receive.one") + 'variant = "x"\n',
        "matches nothing: expectations.toml:10: no variant of receive.one is called 'x'",
    ),
    "expired": (
        KNOWN + "expires = 2020-02-03\n",
        "expired: expectations.toml:3: send.one expired on 2020-02-03 and protects nothing any more",
    ),
    "undecided": (KNOWN + 'when = { version = "<0" }\n', "unlisted failure"),
}


@pytest.mark.parametrize(
    ("name", "workers"),
    [*((name, ()) for name in RED), *((name, ("-n", "2")) for name in ("unlisted", "matches-nothing"))],
)
def test_red_with_its_own_message(name, workers, fdspec, project, tmp_path):
    text, says = RED[name]
    project(text)
    done = fdspec("run", "--out", "out", *workers)
    assert done.returncode == 1, done
    assert says in " ".join(done.stdout.split())
    assert "The gate is red" in done.stdout
    kept = records(tmp_path / "out")
    assert (kept[-1]["exit_code"], kept[-1]["complete"]) == (1, True)
    junit = ElementTree.parse(tmp_path / "out" / "junit.xml").getroot()
    assert int(junit.get("failures")) + int(junit.get("errors")) > 0
    assert "The gate is red" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_an_expired_entry_protects_no_more(fdspec, project):
    project(KNOWN + "expires = 2020-02-03\n")
    said = " ".join(fdspec("run").stdout.split())
    assert "unlisted failure: miscreant send.one" in said
    assert "expectations.toml:3 listed it and expired on 2020-02-03" in said


def test_a_condition_that_does_not_hold_here(fdspec, project):
    project(
        KNOWN
        + '\n[expect.when]\nkernel = ">=1"\nhas = "kcmp"\n'
        + KNOWN.replace("send.one", "receive.one")
        + 'when.kernel = "<1"\n'
    )
    done = fdspec("run")
    assert done.returncode == 0, done
    assert "1 entry whose condition does not hold here" in " ".join(done.stdout.split())


def test_fail_fast_goes_by_what_is_expected(fdspec, project, tmp_path):
    project()
    assert fdspec("run", "--fail-fast", "--out", "one").returncode == 0
    assert len(verdicts(tmp_path / "one")) > 3
    project(KNOWN.replace('"fail"', '"leak"'))
    done = fdspec("run", "--fail-fast", "--out", "two")
    assert done.returncode == 1
    assert len([one for one in verdicts(tmp_path / "two") if one["verdict"] == "fail"]) == 1


@pytest.fixture
def by_pytest(conformance, project):
    """Run pytest on ``send.one`` of the testee; ``known`` are the expectations, None for no gate."""

    def run(known, *arguments, name="out"):
        directory = project(known)
        judged = ("--fdspec-expectations", str(directory / "expectations.toml")) if known is not None else ()
        named = ("--fdspec-impl", str(directory / "miscreant"), "--fdspec-case", "send.one")
        return conformance(*named, *judged, *arguments, name=name)

    return run


def test_the_same_by_pytest(by_pytest):
    assert by_pytest(None, name="one").code == 1
    done = by_pytest(KNOWN, name="two")
    assert done.code == 0, done.out
    assert "3 xfailed" in done.out
    assert "the gate is green: 1 entry in expectations.toml, 3 verdicts as listed" in done.out


def test_the_same_by_pytest_with_workers(by_pytest):
    done = by_pytest(KNOWN, "-n", "2", "--dist", "loadgroup")
    assert done.code == 0, done.out
    assert done.footer["gate"]["counts"] == {"expected": 3}


def test_red_by_pytest(by_pytest):
    done = by_pytest(KNOWN.replace("assertion", "exit-1"))
    assert done.code == 1
    assert "other verdict: miscreant send.one [message dgram, seqpacket, stream] came to fail (assertion)" in done.out


def test_broken_by_pytest(by_pytest):
    done = by_pytest(KNOWN + "expire = 1\n")
    assert done.code == 2
    assert "expectations.toml:9: expect.expire: no such key" in done.out
    assert done.records == []


# --- what is broken is exit 2, with file, line and key


@pytest.mark.parametrize(
    ("arguments", "config", "known", "says"),
    [
        ((), None, KNOWN + "whhy = 1\n", "expectations.toml:9: expect.whhy: no such key"),
        (
            (),
            None,
            KNOWN + 'when = { has = "so-pasrights" }\n',
            "expectations.toml:9: expect.when.has: no probe is called 'so-pasrights'",
        ),
        ((), None, "[[expect]\n", "expectations.toml:3: TOML expected"),
        ((), "level = 'hard'\n", KNOWN, "fdspec.toml:1: level: expected one of must, should, may, 'hard' came"),
        (
            (),
            "\nimplementations = ['pyhton-socket']\n",
            KNOWN,
            "fdspec.toml:2: implementations: no implementation is called 'pyhton-socket'; did you mean python-socket",
        ),
        ((), "implementations = ['./no']\n", KNOWN, "/no: a readable manifest expected"),
        (
            (),
            "implementations = ['./miscreant']\n\ncases = ['send.onne']\n",
            None,
            "fdspec: the patterns stand in fdspec.toml:3: cases",
        ),
        ((), "expectations = 'no.toml'\n", KNOWN, "fdspec.toml:1: expectations: no.toml is no file"),
        (("--config", "no.toml"), None, KNOWN, "no.toml: cannot be read: No such file or directory"),
        (("--config", "fdspec.toml", "--no-config"), None, KNOWN, "contradict one another"),
        (("--expectations", "no.toml"), None, KNOWN, "no.toml: cannot be read"),
        (("--expectations", "expectations.toml", "--no-expectations"), None, KNOWN, "contradict one another"),
    ],
)
def test_what_is_broken_is_wrong_usage(arguments, config, known, says, fdspec, project, tmp_path):
    project(known, *([config] if config is not None else []))
    done = fdspec("run", *arguments, "--out", "out")
    assert done.returncode == 2, done
    assert says in done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "out").exists()


def test_two_configurations_in_one_directory(fdspec, project, tmp_path):
    project()
    (tmp_path / "pyproject.toml").write_text("[tool.fdspec]\n")
    done = fdspec("run")
    assert done.returncode == 2
    assert "pyproject.toml:1: tool.fdspec: fdspec.toml is a configuration as well; keep one of them" in done.stderr


# --- expect


def test_check(fdspec, project):
    project()
    done = fdspec("expect", "check")
    assert (done.returncode, done.stdout) == (0, "expectations.toml: 1 entry, 0 problems\n"), done
    project(
        KNOWN
        + KNOWN.replace("send.one", "send.onne")
        + KNOWN
        + 'implementation = "nobody"\n'
        + KNOWN
        + "expires = 2020-02-03\n"
    )
    done = fdspec("expect", "check", "expectations.toml")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "matches nothing: expectations.toml:9: no case of the suite is called 'send.onne'; did you mean send.one?",
        "matches nothing: expectations.toml:15: no implementation is called 'nobody'",
        "expired: expectations.toml:22: send.one expired on 2020-02-03 and protects nothing any more",
        "expectations.toml: 4 entries, 3 problems",
    ]
    project(KNOWN + KNOWN)
    assert "overlap: expectations.toml:3 and expectations.toml:9 both name" in fdspec("expect", "check").stdout
    project("[[expect]]\ncase = 1\n")
    done = fdspec("expect", "check")
    assert (done.returncode, done.stderr) == (
        2,
        "fdspec: expectations.toml:4: expect.case: expected the id of a case, '*' and '?' allowed, 1 came\n",
    )


def test_check_without_a_file(fdspec, project):
    project(None)
    done = fdspec("expect", "check")
    assert (done.returncode, done.stderr) == (
        2,
        "fdspec: fdspec.toml has no expectations: there is no expectations.toml beside it\n",
    )
    done = fdspec("expect", "check", "--no-config")
    assert done.returncode == 2
    assert "which file?" in done.stderr


def test_update_makes_the_gate_green_and_is_idempotent(fdspec, project, tmp_path):
    project("# mine\n" + KNOWN.replace("send.one", "receive.one"))
    assert fdspec("run").returncode == 1
    before = (tmp_path / "expectations.toml").read_text()
    dry = fdspec("expect", "update", "--dry-run")
    assert dry.returncode == 0
    assert (tmp_path / "expectations.toml").read_text() == before
    assert "--- a/expectations.toml\n+++ b/expectations.toml\n" in dry.stdout
    assert '-case = "receive.one"\n' in dry.stdout
    assert '+case = "send.one"\n' in dry.stdout
    done = fdspec("expect", "update")
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [
        "removed: expectations.toml:4: receive.one: now pass",
        "added: send.one: fail (assertion)",
    ]
    after = (tmp_path / "expectations.toml").read_text()
    assert re.search(r'^why = "UNEXPLAINED: \S', after, re.MULTILINE)
    assert fdspec("expect", "update").stdout == "expectations.toml fits already\n"
    assert (tmp_path / "expectations.toml").read_text() == after
    assert fdspec("run").returncode == 0
    assert {path.name for path in tmp_path.iterdir() if path.is_file()} == {"fdspec.toml", "expectations.toml"}


def test_update_begins_a_file_with_the_reason_given_and_follows_a_link(fdspec, project, tmp_path):
    project(None)
    fdspec("run", "--out", "out")
    assert fdspec("expect", "update", "out", "--why", "not yet").returncode == 0
    assert (
        (tmp_path / "expectations.toml")
        .read_text()
        .endswith('\n[[expect]]\ncase = "send.one"\nverdict = "fail"\nreason = "assertion"\nwhy = "not yet"\n')
    )
    (tmp_path / "expectations.toml").rename(tmp_path / "real.toml")
    (tmp_path / "real.toml").write_text("version = 1\n")
    (tmp_path / "expectations.toml").symlink_to("real.toml")
    fdspec("expect", "update", "out/records.jsonl", "--why", "not yet")
    assert (tmp_path / "expectations.toml").is_symlink()
    assert 'why = "not yet"' in (tmp_path / "real.toml").read_text()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("-k", "send.one"), "it ran with cases send.one, and fdspec.toml says send.one receive.one"),
        (("--type", "stream"), "it ran with types stream, and fdspec.toml says all"),
        (("--level", "must"), "it ran with level must, and fdspec.toml says all"),
        (("-i", "python-socket"), "it ran python-socket, and fdspec.toml says miscreant"),
        (("--fail-fast",), "whole runs only"),
        (("--", "-k", "stream"), "it has no verdict of "),
    ],
)
def test_update_refuses_what_is_not_the_whole(arguments, says, fdspec, project, tmp_path):
    project("")
    before = (tmp_path / "expectations.toml").read_text()
    fdspec("run", "--out", "out", *arguments)
    done = fdspec("expect", "update", "out")
    assert done.returncode == 2, done
    assert says in done.stderr
    assert (tmp_path / "expectations.toml").read_text() == before


def test_update_refuses_what_is_no_run(fdspec, project, tmp_path):
    project()
    done = fdspec("expect", "update")
    assert (done.returncode, done.stderr) == (
        2,
        "fdspec: no run is in fdspec-out/: `fdspec run` makes one, or name the directory of another\n",
    )
    fdspec("run", "--out", "out")
    path = tmp_path / "out" / "records.jsonl"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    done = fdspec("expect", "update", "out")
    assert done.returncode == 2
    assert "the file ends without a footer" in done.stderr


def test_update_leaves_to_people_what_is_theirs(fdspec, project, tmp_path):
    project(KNOWN + "expires = 2020-02-03\n")
    before = (tmp_path / "expectations.toml").read_text()
    fdspec("run", "--out", "out")
    done = fdspec("expect", "update", "out")
    assert done.returncode == 1
    assert done.stderr == (
        "fdspec: left to you: expectations.toml:3: send.one expired on 2020-02-03: take it out, or give it time\n"
    )
    assert (tmp_path / "expectations.toml").read_text() == before


def test_init_of_an_implementation(fdspec, tmp_path):
    done = fdspec("expect", "init", "-i", "python-socket")
    assert (done.returncode, done.stdout) == (0, "fdspec.toml\n"), done
    assert (tmp_path / "fdspec.toml").read_text().endswith('implementations = ["python-socket"]\n')
    assert not (tmp_path / "expectations.toml").exists()
    done = fdspec("expect", "init", "-i", "python-socket")
    assert done.returncode == 2
    assert "fdspec.toml is a configuration already" in done.stderr
    assert fdspec("run", "-k", "send.one").returncode == 0


def test_init_of_a_run_is_a_green_gate(fdspec, project, tmp_path):
    project(None)
    os.unlink(tmp_path / "fdspec.toml")
    fdspec("run", "-i", "miscreant/", "-k", "send.one", "-k", "receive.one", "--type", "stream", "--out", "out")
    done = fdspec("expect", "init", "out")
    assert done.returncode == 2
    assert "'miscreant' is not in the catalogue; name its manifest by -i" in done.stderr
    done = fdspec("expect", "init", "out", "-i", "miscreant/", "--why", "known")
    assert (done.returncode, done.stdout) == (0, "fdspec.toml\nexpectations.toml: 1 entry\n"), done
    again = fdspec("run", "--out", "again")
    assert again.returncode == 0, again
    assert records(tmp_path / "again")[0]["selection"] == {"cases": "send.one receive.one", "types": "stream"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "what is to be tested?"),
        (("-i", "pyhton-socket"), "did you mean python-socket"),
        (("no-such-run",), "no-such-run"),
    ],
)
def test_init_needs_to_know_what(arguments, says, fdspec, tmp_path):
    done = fdspec("expect", "init", *arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert not (tmp_path / "fdspec.toml").exists()


def test_expect_explains_itself(fdspec):
    done = fdspec("expect", "--help")
    assert done.returncode == 0
    for name in ("check", "update", "init"):
        assert f"  {name}" in done.stdout
        assert fdspec("expect", name, "--help").stdout.startswith(f"Usage: fdspec expect {name}")
    done = fdspec("expect", "chekc")
    assert done.returncode == 2
