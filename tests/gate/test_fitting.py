"""Files of expectations made to fit a run: green afterwards, idempotent, and no comment lost."""

import re
from pathlib import Path

import gate_kit as kit
import pytest
from fdspec.conformance.covering import Evidence, cover, plan
from fdspec.conformance.expectations import Expectations, understand
from fdspec.conformance.expectproof import problems
from fdspec.conformance.records import BAD, Standing, Verdict
from fdspec.conformance.rewrite import HEAD, edit, written
from fdspec.conformance.tomlfile import parse
from hypothesis import given, settings
from hypothesis import strategies as st

FAIL, LEAK, PASS, UNSUPPORTED = Verdict.FAIL, Verdict.LEAK, Verdict.PASS, Verdict.UNSUPPORTED
FILE = Path("e.toml")
ONE = kit.Universe(kit.CASES, {"alpha": ("message", "descriptors")})


def evidence(verdicts, universe=kit.UNIVERSE):
    return Evidence(verdicts, kit.FACTS, universe, kit.VERSIONS)


def fitted(text, verdicts, universe=kit.UNIVERSE):
    document = parse(text, FILE)
    entries = understand(document).entries
    made = plan(entries, evidence(verdicts, universe), lambda verdict: f"seen {verdict.verdict}")
    return edit(document, entries, made.instead, made.added), made


def red(text, verdicts, universe=kit.UNIVERSE):
    gate = kit.gate(understand(parse(text, FILE)).entries, verdicts, universe)
    return {standing for standing, number in gate.counts.items() if number and standing is not Standing.EXPECTED} | {
        one.standing for one in gate.problems
    }


COMMENT = re.compile(r"# free \d+")


@st.composite
def files(draw, *, expiring=False):
    """A file with comments between its entries, beside them and inside them."""
    parts = [HEAD]
    for index, one in enumerate(draw(kit.entries(expiring=expiring))):
        text = written(one)
        if draw(st.booleans()):
            text = text.replace('verdict = "', '# inside\nverdict = "', 1)
        if draw(st.booleans()):
            text = f"# own {index}\n{text}"
        if draw(st.booleans()):
            text = f"# free {index}\n\n{text}"
        parts.append(text)
    return draw(st.sampled_from(["\n", "\n\n"])).join(parts)


@settings(max_examples=40, deadline=None)
@given(text=files(), verdicts=kit.runs())
def test_what_is_fitted_is_green_and_stays_as_it_is(text, verdicts):
    new, made = fitted(text, verdicts)
    assert not made.left
    assert not red(new, verdicts)
    again, second = fitted(new, verdicts)
    assert again == new
    assert not second.done
    assert set(COMMENT.findall(text)) <= set(COMMENT.findall(new))
    assert (new == text) is not bool(made.done)


@settings(max_examples=40, deadline=None)
@given(text=files(expiring=True), verdicts=kit.runs())
def test_only_what_a_person_must_decide_stays_red(text, verdicts):
    new, made = fitted(text, verdicts)
    assert red(new, verdicts) <= {Standing.EXPIRED, Standing.UNLISTED}
    assert bool(red(new, verdicts)) == bool(made.left)
    assert fitted(new, verdicts)[0] == new
    assert new.count("expires = 2030-06-15") == text.count("expires = 2030-06-15")


@settings(max_examples=60, deadline=None)
@given(verdicts=kit.runs())
def test_each_failure_is_covered_once_and_nothing_else(verdicts):
    bad = [place for place, one in enumerate(verdicts) if one.verdict in BAD]
    made = cover(bad, evidence(verdicts))
    for one in verdicts:
        listing = [entry for entry in made if entry.matches(one)]
        assert len(listing) == (one.verdict in BAD)
        assert all(entry.fits(one) for entry in listing)


@settings(max_examples=60, deadline=None)
@given(entries=kit.entries())
def test_what_is_written_is_read_again(entries):
    text = HEAD + "".join(f"\n{written(one)}" for one in entries)
    keys = ("case", "verdict", "why", "implementations", "profiles", "types", "variants", "reason", "issue", "expires")
    found = understand(parse(text, FILE)).entries
    assert [[getattr(one, key) for key in keys] for one in found] == [
        [getattr(one, key) for key in keys] for one in entries
    ]
    assert [kit.FACTS and one.holds(kit.FACTS, "1") for one in found] == [one.holds(kit.FACTS, "1") for one in entries]


TEXT = """\
# What mylib gets wrong.
version = 1

# --- sending

# nobody has had the time
[[expect]]
case = "send.one"  # the simplest
verdict = "fail"
why = '''
long
reason'''

# --- receiving

[[expect]]
case = "send.two"
verdict = "leak"
why = "because"
[expect.when]
has = "so-inq"
# the end of it

# last words
"""


def run_of(**outcomes):
    """A run on alpha alone in which cases come to what is given, by the case's last name; everything else passes."""
    found = []
    for one in kit.slots(ONE):
        verdict = outcomes.get(one.case.replace(".", "_"), PASS)
        if isinstance(verdict, dict):
            verdict = verdict.get(one.type, PASS)
        found.append(kit.record(one.case, verdict, profile=one.profile, type=one.type, reason="x" * (verdict in BAD)))
    return found


@pytest.mark.parametrize(
    ("outcomes", "old", "new"),
    [
        ({"send_one": FAIL, "send_two": LEAK}, "", ""),
        ({"send_one": LEAK, "send_two": LEAK}, 'verdict = "fail"', 'verdict = "leak"'),
        (
            {"send_two": LEAK},
            TEXT[TEXT.index("# nobody") : TEXT.index("# --- receiving")],
            "",
        ),
        ({"send_one": FAIL}, TEXT[TEXT.index('[[expect]]\ncase = "send.two') : TEXT.index("# last")], ""),
        (
            {"send_one": {"stream": FAIL, "dgram": FAIL}, "send_two": LEAK},
            "reason'''\n",
            'reason\'\'\'\ntype = ["dgram", "stream"]\nreason = "x"\n',
        ),
        (
            {"send_one": FAIL, "send_two": LEAK, "peek_one": FAIL},
            "# last words\n",
            '# last words\n\n[[expect]]\ncase = "peek.one"\nverdict = "fail"\nreason = "x"\nwhy = "seen fail"\n',
        ),
    ],
)
def test_an_edit_touches_nothing_else(outcomes, old, new):
    verdicts = run_of(**outcomes)
    text, _ = fitted(TEXT, verdicts, ONE)
    assert text == TEXT.replace(old, new, 1) if old else TEXT
    assert not red(text, verdicts, ONE)
    windows = TEXT.replace("\n", "\r\n")
    assert fitted(windows, verdicts, ONE)[0] == text.replace("\n", "\r\n")


def test_one_that_is_split_keeps_its_reason_its_condition_and_its_comments():
    verdicts = run_of(send_one=FAIL, send_two={"stream": LEAK, "dgram": FAIL})
    text, made = fitted(TEXT, verdicts, ONE)
    assert made.done == [
        "narrowed: e.toml:16: send.two: leak is now send.two [dgram]: fail (x); send.two [stream]: leak (x)"
    ]
    assert text.count('why = "because"') == text.count('has = "so-inq"') == 2
    assert "# the end of it" in text


def test_an_entry_that_overlaps_gives_way_to_the_narrower_one():
    text = (
        HEAD
        + '\n[[expect]]\ncase = "send.*"\nverdict = "fail"\nwhy = "all"\n\n[[expect]]\ncase = "send.two"\nverdict = "fail"\nwhy = "two"\n'
    )
    new, _ = fitted(text, run_of(send_one=FAIL, send_two=FAIL), ONE)
    assert [(one.case, one.why) for one in understand(parse(new, FILE)).entries] == [
        ("send.one", "all"),
        ("send.two", "two"),
    ]


def test_a_condition_that_cannot_be_judged_is_left():
    text = HEAD + '\n[[expect]]\ncase = "send.one"\nverdict = "fail"\nwhy = "x"\nwhen = { version = "<2" }\n'
    document = parse(text, FILE)
    entries = understand(document).entries
    verdicts = run_of(send_one=FAIL)
    made = plan(entries, Evidence(verdicts, kit.FACTS, ONE, {"alpha": "trunk"}), str)
    assert made.left == ["e.toml:5: send.one: 'trunk' is no version: its condition cannot be judged"]
    assert edit(document, entries, made.instead, made.added) == text


# --- proved without a run


def proved(*entries, universe=kit.UNIVERSE):
    return [str(one) for one in problems(Expectations("e.toml", entries), kit.FACTS, universe)]


def test_a_file_is_proved_without_a_run():
    when, other = kit.WHENS[2], kit.WHENS[6]
    a, b = {"place": "e.toml:1"}, {"place": "e.toml:2"}
    both = (
        "overlap: e.toml:1 and e.toml:2 both name alpha send.one [descriptors dgram] and 5 more; at most one entry may"
    )
    assert proved() == proved(kit.entry(**a), kit.entry("peek.*", **b)) == []
    assert proved(kit.entry(**a), kit.entry("send.*", **b)) == [both]
    assert proved(kit.entry(when=when, **a), kit.entry("send.*", **b)) == [both]
    assert proved(kit.entry(when=other, **a), kit.entry(when=other, **b)) == [both]
    assert proved(kit.entry(when=other, **a), kit.entry("send.*", **b)) == []
    assert proved(kit.entry(when=kit.WHENS[5], **a), kit.entry("send.*", **b)) == []
    assert proved(kit.entry(variants=("a",), **a), kit.entry(variants=("b",), **b)) == []
    assert proved(kit.entry(variants=("a*",), **a), kit.entry(variants=("ab",), **b)) == [both]
    assert proved(kit.entry("x.y", **a)) == ["matches nothing: e.toml:1: no case of the suite is called 'x.y'"]
    assert proved(kit.entry(implementations=("gamma",), **a)) == []
    assert proved(kit.entry(expires=kit.TODAY, **a), kit.entry(**b)) == [
        "expired: e.toml:1: send.one expired on 2030-06-15 and protects nothing any more"
    ]


@settings(max_examples=40, deadline=None)
@given(entries=kit.entries(), verdicts=kit.runs())
def test_what_the_proof_finds_a_run_of_everything_finds_as_well(entries, verdicts):
    found = problems(Expectations("e.toml", tuple(entries)), kit.FACTS, kit.UNIVERSE)
    gate = kit.gate(entries, verdicts)
    dead = {one.entries[0] for one in gate.problems if one.standing is Standing.MATCHES_NOTHING}
    for one in found:
        place = one.text.partition(": ")[0]
        if one.standing is Standing.MATCHES_NOTHING:
            entry = next(each for each in entries if each.place == place)
            assert place in dead or entry.expired(kit.TODAY) or not entry.holds_here(kit.FACTS)
