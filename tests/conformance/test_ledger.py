"""The ledger of ids: each rule has its own message, nothing is papered over, and the suite's own ledger is up to date."""

from __future__ import annotations

import dataclasses
import string

import pytest
from fdspec.conformance import ledger
from fdspec.conformance.ledger import Entry, Kind, Ledger, LedgerError, Retired, Rule
from fdspec.conformance.records import Level, Source
from fdspec.conformance.suite import CALLS, MAY, MUST, PACKETS, SHOULD, Requirement, Suite, case, case_of, load_suite
from hypothesis import given, settings
from hypothesis import strategies as st

QUIET = settings(database=None, deadline=None)


def a_case(name="send.one", *, says="It arrives.", **more):
    def function():
        pass

    function.__doc__ = says
    return case_of(case(name, **({"level": MUST, "checks": "S01 S02"} | more))(function))


def a_requirement(name="S01", sentence="It arrives.", **more):
    fields = {"level": Level.MUST, "subject": "kernel", "sources": [Source("POSIX")]}
    return Requirement(name, sentence, **(fields | more))


def suite(*things):
    cases = {one.id: one for one in things if not isinstance(one, Requirement)}
    return Suite(cases, {one.id: one for one in things if isinstance(one, Requirement)})


def rules(known, now):
    return [(one.rule, one.id) for one in ledger.compare(known, now)]


# --- the suite's own -------------------------------------------------------------------------------------------------


def test_the_ledger_of_the_suite_is_up_to_date():
    problems = ledger.compare(ledger.read(), load_suite())
    assert not problems, "\n".join(map(str, problems))


def test_its_file_is_as_the_command_writes_it():
    written = ledger.FILE.read_text(encoding="utf-8")
    assert written == ledger.text(ledger.read())
    assert len(written.splitlines()) > 400


# --- rules -----------------------------------------------------------------------------------------------------------

KNOWN = ledger.ledger_of(suite(a_case(), a_requirement()))


@pytest.mark.parametrize(
    ("now", "rule", "says"),
    [
        ([a_case(), a_requirement(), a_case("send.two")], Rule.NEW, "send.two is not in the ledger"),
        ([a_case(), a_requirement(), a_requirement("S09")], Rule.NEW, "requirement S09 is not in the ledger"),
        ([a_requirement()], Rule.GONE, "--retire send.one --why TEXT"),
        ([a_case()], Rule.GONE, "--retire S01 --why TEXT"),
        ([a_case(revision=2), a_requirement()], Rule.REVISED, "has revision 2, the ledger 1"),
        ([a_case(says="It is lost."), a_requirement()], Rule.CHANGED, "give it a new revision"),
        ([a_case(), a_requirement(sentence="It is lost.")], Rule.CHANGED, "an id of its own"),
    ],
)
def test_each_rule_has_its_own_message(now, rule, says):
    [problem] = ledger.compare(KNOWN, suite(*now))
    assert problem.rule is rule
    assert says in str(problem)


def test_a_revision_that_went_back():
    [problem] = ledger.compare(ledger.ledger_of(suite(a_case(revision=3))), suite(a_case(revision=2)))
    assert problem.rule is Rule.BACK
    assert "from 3 to 2" in str(problem)


@pytest.mark.parametrize("one", [a_case(), a_requirement()])
def test_a_retired_id_is_never_used_again(one):
    gone = ledger.retire(ledger.ledger_of(suite(one)), suite(), one.id, "send.two says it better")
    assert ledger.compare(gone, suite()) == []
    [problem] = ledger.compare(gone, suite(one))
    assert problem.rule is Rule.REUSED
    assert "(send.two says it better)" in str(problem)
    again, left = ledger.update(gone, suite(one))
    assert (again, left) == (gone, [problem])


@pytest.mark.parametrize(
    "more",
    [
        {"level": SHOULD},
        {"level": MAY},
        {"checks": "S01"},
        {"checks": "S01 S03"},
        {"profiles": CALLS[:1]},
        {"types": PACKETS},
        {"needs": ["flags-out"]},
        {"says": "It does not arrive."},
    ],
)
def test_everything_that_a_case_means_counts(more):
    assert rules(KNOWN, suite(a_case(**more), a_requirement())) == [(Rule.CHANGED, "send.one")]
    assert rules(KNOWN, suite(a_case(revision=2, **more), a_requirement())) == [(Rule.REVISED, "send.one")]


@pytest.mark.parametrize("more", [{"level": Level.MAY}, {"subject": "library"}, {"sentence": "No."}])
def test_everything_that_a_requirement_means_counts(more):
    assert rules(KNOWN, suite(a_case(), a_requirement(**more))) == [(Rule.CHANGED, "S01")]


def test_neither_code_nor_order_nor_line_breaks_count():
    def other():
        raise NotImplementedError

    other.__doc__ = "\n    It\n    arrives.  "
    same = case_of(case("send.one", level=MUST, checks="S02 S01", types=[*reversed(a_case().types)])(other))
    assert (
        ledger.compare(
            KNOWN, suite(same, a_requirement(peers=["gVisor"], sources=[], outcomes={"kept": "It is kept."}))
        )
        == []
    )


# --- the update ------------------------------------------------------------------------------------------------------


def test_an_update_writes_what_is_new_and_leaves_the_rest_a_problem():
    now = suite(a_case(says="It is lost."), a_case("send.two"), a_requirement())
    updated, left = ledger.update(KNOWN, now)
    assert (Kind.CASE, "send.two") in updated.entries
    assert updated.entries[Kind.CASE, "send.one"] == KNOWN.entries[Kind.CASE, "send.one"]
    assert [one.rule for one in left] == [Rule.CHANGED]


@pytest.mark.parametrize(
    ("name", "now", "says"),
    [
        ("send.one", [a_case()], "still in the suite"),
        ("send.two", [], "not in the ledger"),
        ("old.one", [], "retired already: superseded"),
    ],
)
def test_what_cannot_be_retired(name, now, says):
    known = dataclasses.replace(KNOWN, retired={(Kind.CASE, "old.one"): Retired("superseded")})
    with pytest.raises(LedgerError, match=says):
        ledger.retire(known, suite(*now), name, "why not")


def test_a_retirement_needs_a_reason():
    with pytest.raises(LedgerError, match="--why"):
        ledger.retire(KNOWN, suite(), "send.one", " \n ")


def test_other_words_are_recorded_only_where_words_changed():
    now = suite(a_case(says="It comes in."), a_requirement())
    assert ledger.compare(ledger.reworded(KNOWN, now, "send.one"), now) == []
    with pytest.raises(LedgerError, match="did not change"):
        ledger.reworded(KNOWN, now, "S01")
    with pytest.raises(LedgerError, match="did not change"):
        ledger.reworded(KNOWN, suite(a_case(says="It comes in.", revision=2)), "send.one")


NAMES = st.sampled_from(["send.one", "send.two", "receive.one"])
CASES = st.builds(
    a_case,
    NAMES,
    says=st.sampled_from(["It arrives.", "It is lost."]),
    level=st.sampled_from([MUST, SHOULD]),
    revision=st.integers(1, 3),
)
REQUIREMENTS = st.builds(a_requirement, st.sampled_from(["S01", "S02"]), st.sampled_from(["Yes.", "No."]))
SUITES = st.lists(st.one_of(CASES, REQUIREMENTS), max_size=6).map(lambda found: suite(*found))
WORDS = st.lists(st.text(string.printable, max_size=9), max_size=4).map(" ".join)
LEDGERS = st.builds(
    lambda known, gone: Ledger(
        {key: one for key, one in known.items() if key not in gone}, gone
    ),
    SUITES.map(lambda one: ledger.ledger_of(one).entries),
    st.dictionaries(
        st.tuples(st.just(Kind.CASE), NAMES) | st.just((Kind.REQUIREMENT, "S02")),
        st.builds(Retired, st.sampled_from(["superseded", "it said: # nothing", "no.such.thing 3"])),
        max_size=2,
    ),
)  # fmt: skip


@QUIET
@given(SUITES)
def test_a_suite_agrees_with_its_own_ledger(one):
    assert ledger.compare(ledger.ledger_of(one), one) == []


@QUIET
@given(LEDGERS)
def test_a_file_is_read_as_it_was_written(one):
    assert ledger.parse(ledger.text(one)) == one


@QUIET
@given(LEDGERS, SUITES)
def test_an_update_forgets_nothing_and_hides_nothing(known, now):
    updated, left = ledger.update(known, now)
    assert updated.retired == known.retired
    assert updated.entries.keys() >= known.entries.keys()
    assert left == ledger.compare(updated, now)
    assert not {one.rule for one in left} & ledger.WRITTEN
    kept = {(one.kind, one.id) for one in left}
    for key, one in known.entries.items():
        after = updated.entries[key]
        assert after.revision >= one.revision
        assert after == one or after.revision > one.revision
    assert all(updated.entries.get(key) == known.entries.get(key) for key in kept)
    assert ledger.update(updated, now) == (updated, left)


@QUIET
@given(LEDGERS, SUITES)
def test_exactly_the_differences_are_problems(known, now):
    found = ledger.ledger_of(now).entries
    problems = {(one.kind, one.id) for one in ledger.compare(known, now)}
    for key in {*known.entries, *known.retired, *found}:
        differs = known.entries.get(key) != found.get(key)
        assert (key in problems) == differs, key


@QUIET
@given(WORDS)
def test_any_reason_is_one_line_of_the_file(why):
    if not why.split():
        return
    gone = ledger.retire(KNOWN, suite(), "send.one", why)
    assert ledger.parse(ledger.text(gone)) == gone


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("<<<<<<< ours", "'<<<<<<<' came"),
        ("case send.one", "case ID REVISION MEANING"),
        ("case send.one 0 0123456789ab S01", "case ID REVISION MEANING"),
        ("case send.one 1 0123456789AB S01", "case ID REVISION MEANING"),
        ("requirement S01 0123456789ab S02", "requirement ID MEANING"),
        ("retired-case send.one 2", "retired-case ID REVISION WHY"),
        ("retired-requirement S01", "retired-requirement ID WHY"),
        ("requirement S02 ba9876543210\nrequirement S02 0123456789ab", "stands there twice"),
        ("case a.b 1 ba9876543210\nretired-case a.b 1 gone", "case a.b stands there twice"),
    ],
)
def test_a_line_that_is_wrong_is_named(line, says):
    with pytest.raises(LedgerError, match=r"there:\d: ") as caught:
        ledger.parse(f"# a comment\n\n{line}\n", "there")
    assert f"there:{3 + line.count(chr(10))}: " in str(caught.value)
    assert says in str(caught.value)


def test_lines_are_sorted_and_one_an_id():
    text = ledger.text(ledger.ledger_of(suite(a_requirement("S02"), a_case("z.z"), a_requirement(), a_case("a.a"))))
    heads = [line.split()[:2] for line in text.splitlines() if not line.startswith("#")]
    assert heads == [["case", "a.a"], ["case", "z.z"], ["requirement", "S01"], ["requirement", "S02"]]


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    """A ledger that knows the real suite, to spoil."""

    def write(change=lambda entries, retired: None):
        known = ledger.ledger_of(load_suite())
        change(known.entries, known.retired)
        path = tmp_path / "ledger.txt"
        ledger.write(known, path)
        return path

    return write


def test_the_command_compares_updates_and_refuses(copy, capsys):
    def spoil(entries, retired):
        del entries[Kind.CASE, "send.one"]
        entries[Kind.CASE, "send.gone"] = Entry("0123456789ab", 2, ("S01",))

    path = copy(spoil)
    before = path.read_text()
    assert ledger.main(["--file", str(path)]) == 1
    out = capsys.readouterr().out
    assert "case send.one is not in the ledger" in out
    assert "case send.gone is in the ledger and no longer in the suite" in out
    assert path.read_text() == before
    assert ledger.main(["--file", str(path), "--update"]) == 1
    out = capsys.readouterr().out
    assert "+ case send.one 1 " in out
    assert "send.gone is in the ledger" in out
    assert ledger.main(["--file", str(path), "--retire", "send.gone", "--why", "send.one says it"]) == 0
    assert "+ retired-case send.gone 2 send.one says it" in capsys.readouterr().out
    assert ledger.main(["--file", str(path)]) == 0


def test_the_command_records_other_words(copy, capsys):
    def spoil(entries, retired):
        entries[Kind.REQUIREMENT, "S01"] = Entry("0123456789ab")

    path = copy(spoil)
    assert ledger.main(["--file", str(path), "--update"]) == 1
    assert "the meaning of requirement S01 changed" in capsys.readouterr().out
    assert ledger.main(["--file", str(path), "--reworded", "S01"]) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--retire", "send.one", "--why", "x"], "still in the suite"),
        (["--retire", "send.noone", "--why", "x"], "not in the ledger"),
        (["--reworded", "send.one"], "did not change"),
        (["--file", "/does/not/exist"], "/does/not/exist cannot be read"),
    ],
)
def test_a_wrong_wish_is_exit_2_and_changes_nothing(copy, capsys, arguments, says):
    path = copy()
    before = path.read_text()
    assert ledger.main(["--file", str(path), *arguments]) == 2
    assert says in capsys.readouterr().err
    assert path.read_text() == before


def test_a_reason_without_an_id_is_told(copy, capsys):
    with pytest.raises(SystemExit) as caught:
        ledger.main(["--file", str(copy()), "--why", "x"])
    assert caught.value.code == 2
    assert "--retire ID" in capsys.readouterr().err


def test_meanings_do_not_depend_on_the_process():
    """What was digested once is the same for ever: a digest is written into files."""
    assert ledger.meaning_of(a_case()) == "b23ae19ccad1"
    assert ledger.meaning_of(a_requirement()) == "836c82df424b"
