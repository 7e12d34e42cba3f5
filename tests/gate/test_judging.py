"""The gate as pure functions: each verdict against the entries, each entry against the verdicts."""

from datetime import date

import gate_kit as kit
import pytest
from fdspec.conformance.expectations import Facts, When
from fdspec.conformance.gate import Universe
from fdspec.conformance.gatewords import TITLES, complaints, sentence
from fdspec.conformance.records import BAD, Standing, Verdict, VerdictRecord, decode, encode
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

FAIL, LEAK, PASS, UNSUPPORTED = Verdict.FAIL, Verdict.LEAK, Verdict.PASS, Verdict.UNSUPPORTED


def standing(entries, verdict, version="1.2", facts=kit.FACTS):
    (one,) = kit.judged(entries, [verdict], {"alpha": version}, facts)
    return one.gate.standing if one.gate else None


@pytest.mark.parametrize(
    ("entries", "verdict", "stands"),
    [
        ([], kit.record(verdict=PASS), None),
        ([], kit.record(verdict=UNSUPPORTED), None),
        ([], kit.record(), Standing.UNLISTED),
        ([kit.entry()], kit.record(), Standing.EXPECTED),
        ([kit.entry()], kit.record(verdict=PASS), Standing.UNEXPECTED_PASS),
        ([kit.entry()], kit.record(verdict=LEAK), Standing.OTHER_VERDICT),
        ([kit.entry()], kit.record(verdict=UNSUPPORTED), Standing.OTHER_VERDICT),
        ([kit.entry(verdict=UNSUPPORTED)], kit.record(verdict=UNSUPPORTED), Standing.EXPECTED),
        ([kit.entry(verdict=UNSUPPORTED)], kit.record(verdict=PASS), Standing.UNEXPECTED_PASS),
        ([kit.entry(reason="assertion")], kit.record(reason="assertion"), Standing.EXPECTED),
        ([kit.entry(reason="assertion")], kit.record(reason="exit-1"), Standing.OTHER_VERDICT),
        ([kit.entry()], kit.record(reason="exit-1"), Standing.EXPECTED),
        ([kit.entry("send.*")], kit.record(), Standing.EXPECTED),
        ([kit.entry("send")], kit.record(), Standing.UNLISTED),
        ([kit.entry("SEND.*")], kit.record(), Standing.UNLISTED),
        ([kit.entry(implementations=("beta",))], kit.record(), Standing.UNLISTED),
        ([kit.entry(implementations=("beta", "al*"))], kit.record(), Standing.EXPECTED),
        ([kit.entry(profiles=("message",))], kit.record(), Standing.EXPECTED),
        ([kit.entry(profiles=("descriptors",))], kit.record(), Standing.UNLISTED),
        ([kit.entry(types=("dgram", "stream"))], kit.record(), Standing.EXPECTED),
        ([kit.entry(types=("dgram",))], kit.record(), Standing.UNLISTED),
        ([kit.entry(variants=("client*",))], kit.record(variant="client-n=1"), Standing.EXPECTED),
        ([kit.entry(variants=("client*",))], kit.record(variant="server"), Standing.UNLISTED),
        ([kit.entry(), kit.entry("send.*")], kit.record(), Standing.OVERLAP),
        ([kit.entry(), kit.entry("send.*")], kit.record(verdict=PASS), Standing.OVERLAP),
        ([kit.entry(expires=date(2030, 6, 16))], kit.record(), Standing.EXPECTED),
        ([kit.entry(expires=date(2030, 6, 15))], kit.record(), Standing.UNLISTED),
        ([kit.entry(expires=date(2030, 6, 15))], kit.record(verdict=PASS), None),
        ([kit.entry(expires=date(2030, 6, 15)), kit.entry("send.*")], kit.record(), Standing.EXPECTED),
        ([kit.entry(when=When(has="so-inq"))], kit.record(), Standing.EXPECTED),
        ([kit.entry(when=When(has=["so-inq", "so-passrights"]))], kit.record(), Standing.UNLISTED),
        ([kit.entry(when=When(lacks="so-passrights"))], kit.record(), Standing.EXPECTED),
        ([kit.entry(when=When(lacks="so-passrights"))], kit.record(verdict=PASS), Standing.UNEXPECTED_PASS),
        ([kit.entry(when=When(has="so-passrights"))], kit.record(verdict=PASS), None),
        ([kit.entry(when=When(has="kcmp"))], kit.record(), Standing.UNLISTED),
        ([kit.entry(when=When(kernel=">=6.12,<6.13"))], kit.record(), Standing.EXPECTED),
        ([kit.entry(when=When(kernel="<6.12"))], kit.record(), Standing.UNLISTED),
        ([kit.entry(when=When(version="<1.3"))], kit.record(), Standing.EXPECTED),
        ([kit.entry(when=When(version=">=1.3"))], kit.record(), Standing.UNLISTED),
        (
            [kit.entry(when=When(version=">=1.3")), kit.entry(when=When(version="<1.3"))],
            kit.record(),
            Standing.EXPECTED,
        ),
        ([kit.entry(when=When(has="so-inq", version="<1"))], kit.record(), Standing.UNLISTED),
    ],
)
def test_how_a_verdict_stands(entries, verdict, stands):
    assert standing(entries, verdict) is stands


@pytest.mark.parametrize(("version", "shown"), [("", "no version"), ("trunk", "'trunk'")])
def test_a_version_that_is_none_cannot_be_judged_and_is_red(version, shown):
    entries = [kit.entry(when=When(version="<2"))]
    (one,) = kit.judged(entries, [kit.record(verdict=PASS)], {"alpha": version})
    assert one.gate.standing is Standing.UNDECIDED
    assert shown in one.gate.text
    assert (
        standing([kit.entry(when=When(version="<2", has="so-passrights"))], kit.record(verdict=PASS), version) is None
    )


def test_a_kernel_without_a_number_is_older_than_any():
    facts = Facts({}, "custom", kit.TODAY)
    assert standing([kit.entry(when=When(kernel=">=1"))], kit.record(), facts=facts) is Standing.UNLISTED


def problems(entries, verdicts, **more):
    gate = kit.gate(entries, verdicts, **more)
    return [(one.standing, one.entries, one.text) for one in gate.problems], gate.outside, gate.elsewhere


def test_an_entry_outside_of_the_selection_is_not_judged():
    partial = [one for one in kit.whole() if one.case == "peek.one"]
    assert problems([kit.entry("send.one")], partial) == ([], 1, 0)
    assert problems([kit.entry("send.one", implementations=("gamma",))], kit.whole()) == ([], 1, 0)
    assert problems([kit.entry("send.one", when=When(kernel="<5"))], kit.whole()) == ([], 0, 1)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (kit.entry("send.onne"), "no case of the suite is called 'send.onne'; did you mean send.one?"),
        (kit.entry(implementations=("delta",)), "no implementation is called 'delta'"),
        (kit.entry(profiles=("transport",)), "send.one [transport] names nothing that runs on alpha, beta"),
        (kit.entry("peek.one", types=("dgram",)), "peek.one [dgram] names nothing that runs on alpha, beta"),
        (kit.entry("send.one", variants=("client",)), "no variant of send.one is called 'client'"),
    ],
)
def test_an_entry_that_matches_nothing(entry, says):
    assert problems([entry], kit.whole()) == ([(Standing.MATCHES_NOTHING, ["e.toml:3"], says)], 0, 0)


def test_a_variant_is_missed_only_by_a_run_that_saw_all_of_the_case():
    entry = kit.entry("send.two", variants=("sever",))
    partial = [one for one in kit.whole() if one.type == "stream"]
    assert problems([entry], partial) == ([], 1, 0)
    assert len(problems([entry], kit.whole())[0]) == 1


def test_where_nothing_ran_nothing_is_judged():
    assert problems([kit.entry()], [], universe=Universe(kit.CASES, {}, frozenset({"alpha"}))) == ([], 1, 0)


def test_an_expired_entry_is_red_whatever_was_selected_and_says_since_when():
    found, _, _ = problems([kit.entry(expires=date(2029, 1, 2))], [])
    assert found == [(Standing.EXPIRED, ["e.toml:3"], "send.one expired on 2029-01-02 and protects nothing any more")]


def test_every_kind_of_complaint_has_its_own_words():
    entries = [
        kit.entry("send.two", place="e.toml:1", reason="assertion"),
        kit.entry("peek.one", place="e.toml:2"),
        kit.entry("peek.on?", place="e.toml:3"),
        kit.entry("nothing", place="e.toml:4"),
        kit.entry("send.one", place="e.toml:5", expires=date(2030, 1, 1)),
        kit.entry("peek.one.more", place="e.toml:6", when=When(version=">1")),
    ]
    verdicts = [
        kit.record("send.one"),
        kit.record("send.two", LEAK),
        kit.record("send.two", PASS, type="dgram"),
        kit.record("peek.one"),
        kit.record("peek.one.more", PASS, implementation="beta", profile="transport", variant="client"),
    ]
    gate = kit.gate(entries, verdicts, versions={"beta": "new"})
    assert not gate.green
    told = [str(one) for one in complaints(gate, kit.judged(entries, verdicts, {"beta": "new"}))]
    assert told == [
        (
            "unlisted failure: alpha send.one [message stream] came to fail, and no entry of e.toml lists it; "
            "e.toml:5 listed it and expired on 2030-01-01"
        ),
        (
            "unexpected pass: alpha send.two [message dgram] passes, and e.toml:1 expects fail (assertion); "
            "if that is so for good, take the entry out"
        ),
        "other verdict: alpha send.two [message stream] came to leak, and e.toml:1 expects fail (assertion)",
        "overlap: alpha peek.one [message stream] (fail) is named by e.toml:2 and e.toml:3; at most one entry may",
        (
            "undecided condition: beta peek.one.more [transport stream client]: the condition of e.toml:6 cannot be judged; "
            "the implementation tells 'new', which is no version"
        ),
        "matches nothing: e.toml:4: no case of the suite is called 'nothing'",
        "expired: e.toml:5: send.one expired on 2030-01-01 and protects nothing any more",
    ]
    assert sentence(gate) == "the gate is red: 6 entries in e.toml, 0 verdicts as listed"
    assert set(TITLES) == set(Standing)


@settings(max_examples=60, deadline=None)
@given(entries=kit.entries(), run=kit.runs(), keep=st.integers(0, 99))
def test_judging_is_total_and_the_colour_follows(entries, run, keep):
    run = run[: keep * len(run) // 99 + 1]
    verdicts = kit.judged(entries, run)
    for one in verdicts:
        if one.gate is None:
            assert one.verdict not in BAD
        else:
            assert (one.gate.standing is Standing.EXPECTED) <= (one.gate.listed.startswith(one.verdict))
            assert set(one.gate.entries) <= {entry.place for entry in entries}
        assert decode(encode(one)) == one
    gate = kit.gate(entries, run)
    told = complaints(gate, verdicts)
    assert gate.green == (not told)
    assert gate.green == all(one.gate is None or one.gate.standing is Standing.EXPECTED for one in verdicts) & (
        not gate.problems
    )
    assert gate.outside + gate.elsewhere + len(gate.problems) <= gate.entries == len(entries)


@settings(max_examples=60, deadline=None)
@given(run=kit.runs())
def test_without_entries_the_gate_is_what_it_always_was(run):
    gate = kit.gate([], run)
    assert gate.green is not any(one.verdict in BAD for one in run)


@settings(max_examples=60, deadline=None)
@given(entries=kit.entries(), run=kit.runs(), data=st.data())
def test_a_partial_run_finds_nothing_dead_that_the_whole_run_does_not(entries, run, data):
    part = data.draw(st.lists(st.sampled_from(run), unique_by=id))
    keep = {(one.implementation, one.case, one.profile, one.type) for one in part}
    part = [one for one in run if (one.implementation, one.case, one.profile, one.type) in keep]

    def dead(verdicts):
        found = kit.gate(entries, verdicts).problems
        return {one.entries[0] for one in found if one.standing is Standing.MATCHES_NOTHING}

    assert dead(part) <= dead(run)


def test_an_old_record_has_no_judgement():
    old = b'{"record":"verdict","implementation":"a","case":"b","profile":"message","verdict":"pass"}'
    assert decode(old) == VerdictRecord(implementation="a", case="b", profile="message", verdict=PASS)
    footer = b'{"record":"footer","finished":"x","complete":true,"records":1,"counts":{},"exit_code":0}'
    assert decode(footer).gate is None
    assert replace(decode(old), gate=None) == decode(old)
