"""Several runs laid side by side: what differs is a flake, with every verdict counted in every mode; the rest is none."""

from __future__ import annotations

from fdspec.conformance.records import Verdict
from fdspec.reports import stability
from fdspec.reports.stability import Attempt, Mode
from fdspec.reports.store import load
from hypothesis import given, settings
from hypothesis import strategies as st
from reports_sample import failure, passed, save, small

KEYS = [("alpha", f"send.{name}", "message", "stream", "") for name in ("one", "two")]
OUTCOMES = ["pass", "fail (assertion)", "crash (exit-1)"]
MODES = [Mode(), Mode(fresh=True), Mode(seed=3), Mode(seed=4), Mode(load=2), Mode(True, 5, 2)]
ATTEMPTS = st.lists(
    st.builds(
        Attempt,
        st.uuids().map(str),
        st.sampled_from(MODES),
        st.dictionaries(st.sampled_from(KEYS), st.sampled_from(OUTCOMES)),
    ),
    max_size=8,
)


@settings(database=None, deadline=None)
@given(ATTEMPTS)
def test_a_flake_is_exactly_what_differs_and_every_attempt_is_counted(attempts):
    found = {flake.key: flake for flake in stability.flakes(attempts)}
    for key in KEYS:
        seen = [one.verdicts.get(key) for one in attempts]
        assert (key in found) == (len(set(seen)) > 1)
    for flake in found.values():
        told = [one for where in flake.seen.values() for one in where]
        assert sorted(one.name for one in told) == sorted(one.name for one in attempts)
        for outcome, where in flake.seen.items():
            assert where
            assert all(one.verdicts.get(flake.key, stability.ABSENT) == outcome for one in where)
        counts = [len(where) for where in flake.seen.values()]
        assert counts == sorted(counts, reverse=True)
    text = stability.text(attempts)
    assert sum(line.startswith("flake  ") for line in text.splitlines()) == len(found)
    assert ("every verdict stayed the same" in text) == (not found)


def test_the_text_names_verdicts_modes_and_runs():
    bad, good = {KEYS[0]: "fail (assertion)"}, {KEYS[0]: "pass"}
    attempts = [
        Attempt("run-001", Mode(), good),
        Attempt("run-002", Mode(fresh=True), bad),
        Attempt("run-003", Mode(seed=7), good),
        Attempt("run-004", Mode(), good),
        Attempt("run-005", Mode(fresh=True), good),
    ]
    assert stability.text(attempts).splitlines() == [
        "flake  alpha  send.one  [message, stream]",
        "  pass: 4 of 5 (reused 2 of 2, fresh 1 of 2, shuffled 1 of 1)",
        "  fail (assertion): 1 of 5 (fresh 1 of 2)",
        "    in run-002",
        "1 case variant in 5 runs, 1 of them flaky",
    ]


def test_what_a_testee_says_is_harmless():
    key = ("al\x1bpha", "send.\nflake", "message", "stream", "\u202e")
    attempts = [Attempt("run-001", Mode(), {key: "pass"}), Attempt("run-002", Mode(), {key: "crash (\x1b[2J)"})]
    text = stability.text(attempts)
    assert not set(text) & {"\x1b", "\u202e"}
    assert sum(row.startswith("flake  ") for row in text.splitlines()) == 1


def test_verdicts_are_read_from_a_run(tmp_path):
    run = load(save(tmp_path, small()))
    found = stability.attempt("run-001", Mode(), run)
    assert found.verdicts["alpha", "recv.one", "message", "stream", ""] == "pass"
    assert found.verdicts["alpha", "recv.room", "message", "stream", ""] == "leak"
    assert found.verdicts["beta", "send.closed", "descriptors", "stream", ""] == "crash (signal-SIGSEGV)"
    assert len(found.verdicts) == len(run.verdicts)


def test_another_reason_is_another_outcome(tmp_path):
    first, second = [], []
    for records, reason in ((first, "exit-1"), (second, "exit-2")):
        records += [*small()[:8], passed(), failure(verdict=Verdict.CRASH, reason=reason)]
    attempts = []
    for number, records in enumerate((first, second)):
        (tmp_path / str(number)).mkdir()
        attempts.append(stability.attempt(str(number), Mode(), load(save(tmp_path / str(number), records))))
    [flake] = stability.flakes(attempts)
    assert set(flake.seen) == {"crash (exit-1)", "crash (exit-2)"}


def test_modes_have_names():
    assert [str(mode) for mode in MODES] == [
        "reused",
        "fresh",
        "shuffled",
        "shuffled",
        "loaded",
        "fresh+shuffled+loaded",
    ]
