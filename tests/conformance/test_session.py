"""The run itself: what is the harness's own fault is never a verdict, and nothing that was seen is lost."""

import json
import textwrap

import pytest
from fdspec.reports.store import load

CASE = "send.one"


@pytest.fixture
def plugin(tmp_path):
    """Return a maker of pytest plugins that spoil the harness, as ``-p NAME`` with their directory on the path."""

    def make(body):
        path = tmp_path / "spoiler.py"
        path.write_text(textwrap.dedent(body), encoding="utf-8")
        return ("-p", "spoiler", "-o", f"pythonpath={tmp_path}")

    return make


SPOILERS = {
    "a-case-that-has-a-bug": """
        from fdspec.conformance.link import MessageLink
        MessageLink.send = lambda self, *a, **k: {}["a bug of ours"]
    """,
    "a-harness-that-leaks": """
        import os
        from fdspec.conformance.peer import Peer
        receive = Peer.receive
        Peer.receive = lambda self, *a, **k: (os.dup(0), receive(self, *a, **k))[1]
    """,
    "a-peer-that-fails": """
        from fdspec.conformance.peer import Peer
        def receive(self, *a, **k):
            raise OSError(12, "no memory")
        Peer.receive = receive
    """,
}


@pytest.mark.parametrize("name", SPOILERS)
def test_the_harness_own_fault_is_exit_4_and_no_verdict(name, plugin, conformance):
    done = conformance(
        *plugin(SPOILERS[name]), "--fdspec-impl", "python-socket", "--fdspec-case", CASE, "--fdspec-type", "stream"
    )
    assert done.code == 4, done.out
    assert done.verdicts == []
    assert not done.footer["complete"]
    assert "the harness is at fault" in done.out


def test_two_workers_write_the_same_records_as_one_process(conformance):
    one = conformance(
        "--fdspec-impl", "python-socket", "--fdspec-impl", "python-recipe", "--fdspec-case", "ctrunc.*", name="one"
    )
    arguments = ("--fdspec-impl", "python-socket", "--fdspec-impl", "python-recipe", "--fdspec-case", "ctrunc.*")
    two = conformance(*arguments, "-n", "2", "--dist", "loadgroup", name="two")

    def summary(outcome):
        keys = ("implementation", "case", "profile", "type", "verdict", "reason")
        return sorted(tuple(record.get(key, "") for key in keys) for record in outcome.verdicts)

    assert one.code == two.code == 1
    assert two.footer["complete"]
    assert summary(one) == summary(two)


def test_a_worker_that_dies_is_the_harness_own_fault(plugin, conformance):
    body = """
        import os
        from fdspec.conformance.link import MessageLink
        MessageLink.send = lambda self, *a, **k: os._exit(9)
    """
    arguments = ("--fdspec-impl", "python-socket", "--fdspec-case", CASE, "--fdspec-type", "stream")
    done = conformance(*plugin(body), *arguments, "-n", "1", "--dist", "loadgroup", "--max-worker-restart", "0")
    assert done.code == 4, done.out
    assert not done.footer["complete"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--fdspec-impl", "pyhton-socket"), "did you mean python-socket"),
        (("--fdspec-impl", "python-socket", "--fdspec-case", "send.onne"), "did you mean send.one"),
        (("--fdspec-impl", "/no/such/impl.toml"), "/no/such/impl.toml"),
        ((), "--fdspec-impl"),
    ],
)
def test_wrong_usage_is_told_with_the_nearest_names(arguments, words, conformance):
    done = conformance(*arguments)
    assert done.code == (4 if arguments else 2), (
        done.out
    )  # 4: pytest's own code of a usage error; `fdspec run` makes 2 of it
    assert "Traceback" not in done.out
    assert words in done.out
    assert done.verdicts == []


def test_a_selection_that_leaves_nothing_is_no_success(conformance):
    done = conformance("--fdspec-impl", "twisted-unix", "--fdspec-case", CASE)
    assert done.code == 2, done.out
    assert not done.footer["complete"]


def test_the_records_are_a_whole_file_that_the_store_reads(conformance, tmp_path):
    done = conformance("--fdspec-impl", "python-recipe", "--fdspec-case", "ctrunc.excess-is-reported")
    assert done.code == 1
    run = load(tmp_path / "out" / "records.jsonl")
    [record] = {one.case for one in run.verdicts}
    assert record == "ctrunc.excess-is-reported"
    bad = run.verdicts[0]
    assert bad.transcript
    assert bad.before
    assert bad.after
    assert any(entry.control for entry in bad.transcript)
    assert "lost_descriptors_visible" in bad.expected
    assert json.loads(bad.transcript[0].text)["op"] == "connect"
