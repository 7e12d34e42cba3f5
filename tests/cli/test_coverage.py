"""``fdspec coverage``: the account of the specification and of the defects, and how loud a gap is."""

from __future__ import annotations

import json

import pytest
from fdspec.cli import coverage
from fdspec.conformance import defects, suite
from fdspec.conformance.specification import PEERS
from fdspec.conformance.suite import Suite, load_suite


def run(capsys, *arguments):
    code = coverage.command.main(list(arguments), standalone_mode=False)
    return code, capsys.readouterr().out


@pytest.fixture
def without(monkeypatch):
    """A suite that lacks the cases of these requirements."""

    def lacking(*requirements):
        whole = load_suite()
        cases = {name: one for name, one in whole.cases.items() if set(one.checks).isdisjoint(requirements)}
        monkeypatch.setattr(suite, "load_suite", lambda: Suite(cases, whole.requirements, whole.sections))
        return cases

    return lacking


@pytest.fixture
def only_s01(monkeypatch):
    """A suite of one section and one requirement, which has cases."""
    whole = load_suite()
    first = whole.sections[0]
    section = type(first)(title=first.title, text=first.text, requirement=first.requirement[:1])
    cases = {one.id: one for one in whole.checking("S01")}
    monkeypatch.setattr(suite, "load_suite", lambda: Suite(cases, {"S01": section.requirement[0]}, (section,)))
    return cases


def test_the_table_as_people_get_it(fdspec):
    done = fdspec("coverage")
    whole = load_suite()
    missing = [one for one in whole.requirements if not whole.checking(one)]
    assert done.returncode == (1 if missing else 0)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("section")
    assert [line.split("  ")[0] for line in lines[1 : len(whole.sections) + 1]] == [one.title for one in whole.sections]
    total = lines[len(whole.sections) + 1].split()
    assert total[:2] == ["All", str(len(whole.requirements))]
    assert ("without a case: " in done.stdout) == bool(missing)


def test_json_adds_up(capsys):
    _, shown = run(capsys, "--json")
    table = json.loads(shown)
    whole = load_suite()
    assert [one["title"] for one in table["sections"]] == [one.title for one in whole.sections]
    for key in ("requirements", "covered", "alone"):
        assert sum(one[key] for one in table["sections"]) == table["all"][key]
    for one in [*table["sections"], table["all"]]:
        assert sum(one["levels"].values()) == one["requirements"] == one["covered"] + len(one["missing"])
        assert list(one["peers"]) == list(PEERS)
        assert one["verdicts"] >= one["cases"]
    assert table["all"]["cases"] == len(whole.cases)


def test_nothing_missing_is_exit_0(capsys, only_s01):
    code, shown = run(capsys)
    assert code == 0
    assert "without a case" not in shown
    row = dict(zip(coverage._heads(_line(shown, capsys)), shown.splitlines()[1].split(), strict=True))
    assert (row["requirements"], row["must"], row["with case"], row["gVisor"], row["LTP"]) == ("1", "1", "1", "1", "0")
    assert row["cases"] == str(len(only_s01))


def _line(shown, capsys):
    from fdspec.conformance.coverage import account

    return account(suite.load_suite())[0]


@pytest.mark.parametrize("form", [[], ["--markdown"], ["--json"]])
def test_a_requirement_without_a_case_is_loud(capsys, without, form):
    without("S33", "S01")
    code, shown = run(capsys, *form)
    assert code == 1
    assert "S01" in (json.loads(shown)["all"]["missing"] if form == ["--json"] else shown.split("without a case: ")[1])


def test_markdown_is_one_table(capsys, only_s01):
    code, shown = run(capsys, "--markdown")
    assert code == 0
    head, rule, *rows = [line.split("|")[1:-1] for line in shown.splitlines()]
    assert len(rows) == 2
    assert {len(cells) for cells in (head, rule, *rows)} == {8 + len(PEERS) + 1}
    assert set("".join(rule)) <= set("-: ")


def test_the_verdicts_are_variants(capsys, only_s01):
    _, shown = run(capsys, "--json")
    expected = sum(len(one.types) * len(one.profiles) for one in only_s01.values())
    assert json.loads(shown)["all"]["verdicts"] >= expected


# --- defects ---------------------------------------------------------------------------------------------------------


def test_the_defects_as_people_get_them(fdspec):
    done = fdspec("coverage", "--defects")
    shown = done.stdout
    listed = [one.id for one in defects.read_defects().defect]
    assert [line.split()[0] for line in shown.splitlines() if line.startswith("D")] == listed
    assert f"{len(listed)} defects in 9 classes" in shown
    assert done.returncode == (1 if "\nGAP " in shown else 0)


def test_a_gap_is_loud(capsys, without):
    kept = without("LC04")
    assert "ctrunc.room-is-a-limit" not in kept
    code, shown = run(capsys, "--defects")
    assert code == 1
    [gap] = [line for line in shown.splitlines() if line.startswith("GAP D002")]
    assert "there is no case ctrunc.room-is-a-limit" in gap
    [row] = [line for line in shown.splitlines() if line.startswith("D002 ")]
    assert row.split()[4] == "GAP"


def test_the_defects_as_json(capsys):
    code, shown = run(capsys, "--defects", "--json")
    table = json.loads(shown)
    assert code == (1 if table["gaps"] else 0)
    assert sorted(table["classes"]) == list("ABCDEFGHI")
    first = table["defects"][0]
    assert (first["id"], first["class"], first["where"]) == ("D001", "A", "linux")
    assert first["cases"]


def test_the_defects_as_markdown(capsys):
    _, shown = run(capsys, "--defects", "--markdown")
    rows = [line for line in shown.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(defects.read_defects().defect)
    assert {row.count(" | ") for row in rows} == {5}


@pytest.mark.parametrize("arguments", [["--jsonn"], ["extra"]])
def test_bad_input(fdspec, arguments):
    done = fdspec("coverage", *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
