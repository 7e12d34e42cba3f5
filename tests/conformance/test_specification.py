"""The specification is whole: every requirement has a source and a case, every case a requirement, every defect its case."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import msgspec
import pytest
from fdspec.conformance.defects import Where, caught, read_defects
from fdspec.conformance.specification import PEERS, Subject, SuiteError, by_id, read_section, read_sections
from fdspec.conformance.suite import ROOT, load_suite
from fdspec.impls.mutants.tables import everything
from fdspec.impls.protocol.values import Profile

ID = re.compile(r"(LC|TC|KC|HC|[A-Z])\d{2}[a-z]?")
OTHERS = {
    "nix",
    "rustix",
    "vmm-sys-util",
    "Go",
    "Rust std",
    "libuv",
    "GLib",
    "wayland",
    "junixsocket",
    "OpenBSD",
    "NetBSD",
}
GOOD = """\
title = "One"
text = "Words."
[[requirement]]
id = "S01"
sentence = "It is so."
level = "must"
subject = "kernel"
sources = [{ name = "unix(7)" }]
"""


@pytest.fixture(scope="module")
def suite():
    return load_suite()


@pytest.fixture(scope="module")
def requirements(suite):
    return suite.requirements.values()


# --- requirements ----------------------------------------------------------------------------------------------------


def test_every_requirement_has_a_case(suite):
    assert [one for one in suite.requirements if not suite.checking(one)] == []


def test_every_requirement_on_the_kernel_is_checked_in_the_kernels_own_terms(suite):
    kernel = [one.id for one in suite.requirements.values() if one.subject is Subject.KERNEL]
    assert [one for one in kernel if not any(Profile.RAW in case.profiles for case in suite.checking(one))] == []


def test_every_case_has_a_requirement(suite):
    assert [
        one.id for one in suite.cases.values() if not one.checks or not set(one.checks) <= set(suite.requirements)
    ] == []


def test_there_are_as_many_as_are_known(requirements):
    assert len(requirements) >= 230
    assert {one.subject for one in requirements} == set(Subject)


def test_ids_are_well_formed(requirements):
    assert [one.id for one in requirements if not ID.fullmatch(one.id)] == []


def test_every_requirement_is_a_sentence(requirements):
    assert [one.id for one in requirements if not one.sentence.endswith(".") or "\n" in one.sentence] == []
    assert len({one.sentence for one in requirements}) == len(requirements)


def test_every_source_says_where_and_what(requirements):
    for one in requirements:
        for source in one.sources:
            assert source.name, one.id
            assert source.text, one.id
            assert source.link.startswith("https://"), one.id


def test_a_source_has_one_link(requirements):
    links = {}
    for one in requirements:
        for source in one.sources:
            assert links.setdefault(source.name, source.link) == source.link, (one.id, source.name)


def test_outcomes_are_a_choice(requirements):
    for one in requirements:
        assert len(one.outcomes) != 1, one.id
        assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", name) and meaning for name, meaning in one.outcomes.items()), (
            one.id
        )


def test_peers_are_called_by_one_name(requirements):
    assert {peer for one in requirements for peer in one.peers} == OTHERS | set(PEERS)
    assert [one.id for one in requirements if len(set(one.peers)) != len(one.peers)] == []


def test_every_outcome_that_a_case_tells_is_permitted_by_name(suite):
    for path in sorted(ROOT.glob("test_*.py")):
        told = set(_outcomes(ast.parse(path.read_text(encoding="utf-8"))))
        checked = {check for case in suite.cases.values() if case.place.startswith(path.name) for check in case.checks}
        assert told <= {name for check in checked for name in suite.requirements[check].outcomes}, path.name


def _outcomes(tree):
    """Yield every string that is assigned to the attribute ``outcome``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(getattr(target, "attr", "") == "outcome" for target in node.targets):
            yield from _strings(node.value)


def _strings(node):
    if isinstance(node, ast.IfExp):
        yield from _strings(node.body)
        yield from _strings(node.orelse)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def test_what_is_left_out_has_a_reason(suite):
    left = {name: reason for section in suite.sections for name, reason in section.left_out.items()}
    assert set(left) == {"T17", "T18"}
    assert all(len(reason.split()) > 5 for reason in left.values())


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_section_is_read(tmp_path):
    path = tmp_path / "01-one.toml"
    path.write_text(GOOD)
    assert list(by_id(read_sections(tmp_path))) == ["S01"]
    assert read_section(path).title == "One"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('level = "must"', 'level = "perhaps"', "perhaps"),
        ('level = "must"\n', "", "level"),
        ('subject = "kernel"', 'subject = "weather"', "weather"),
        ('[{ name = "unix(7)" }]', "[]", "sources"),
        ('id = "S01"', 'id = ""', "id"),
        ('id = "S01"', 'id = "S01"\nsecret = 1', "secret"),
        ('title = "One"\n', "", "title"),
        ('title = "One"', "title = One", "line 1"),
    ],
)
def test_a_faulty_section_is_told(tmp_path, old, new, says):
    path = tmp_path / "01-one.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(SuiteError, match=re.escape(str(path))) as told:
        read_sections(tmp_path)
    assert says in str(told.value)


def test_an_id_stands_in_one_place(tmp_path):
    for name in ("01-one.toml", "02-two.toml"):
        (tmp_path / name).write_text(GOOD)
    with pytest.raises(SuiteError, match=r"02-two\.toml: S01 .*01-one\.toml"):
        read_sections(tmp_path)


def test_an_empty_directory_is_no_specification(tmp_path):
    with pytest.raises(SuiteError, match="no requirements"):
        read_sections(tmp_path)


# --- defects ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def catalogue():
    return read_defects()


def test_every_defect_is_caught_that_a_case_can_catch(suite, catalogue):
    found = caught(catalogue.defect, suite.cases, {})
    assert [one.defect.id for one in found if one.gap] == []
    assert [(one.defect.id, one.unknown) for one in found if one.unknown] == []


def test_the_defects_are_all_of_them(catalogue):
    assert len(catalogue.defect) >= 141
    assert list(catalogue.classes) == list("ABCDEFGHI")
    assert {one.group for one in catalogue.defect} == set(catalogue.classes)
    assert {one.where for one in catalogue.defect} == set(Where)
    assert [one.id for one in catalogue.defect if len(set(one.cases)) != len(one.cases)] == []


def test_mutants_stand_for_known_defects(catalogue):
    known = {one.id for one in catalogue.defect}
    assert [mutant.id for mutant in everything().values() if not set(mutant.defects) <= known] == []


def test_a_gap_is_seen(catalogue):
    defect = next(one for one in catalogue.defect if one.where is Where.LINUX and one.cases)
    [none] = caught([defect], [], {})
    assert none.gap
    assert none.unknown == tuple(defect.cases)
    [some] = caught([defect], defect.cases, {})
    assert not some.gap


def test_what_takes_a_kernel_that_lies_is_a_gap_unless_a_remark_tells_why(catalogue):
    interposed = [one for one in catalogue.defect if one.where is Where.INTERPOSED]
    assert any(one.cases for one in interposed)
    assert any(one.remark for one in interposed)
    bare = [msgspec.structs.replace(one, cases=[]) for one in interposed]
    assert [one.gap for one in caught(bare, [], {})] == [not one.remark for one in interposed]
    elsewhere = [one for one in catalogue.defect if one.where in {Where.KERNEL, Where.OTHER} and not one.cases]
    assert [one.gap for one in caught(elsewhere, [], {})] == [False] * len(elsewhere)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace('where = "linux"', 'where = "moon"', 1), "moon"),
        (lambda text: text.replace('id = "D002"', 'id = "D001"', 1), "D001 stands there twice"),
        (lambda text: text.replace('class = "A"', 'class = "Z"', 1), "class 'Z'"),
        (lambda text: text.replace("[classes]", "[classes", 1), "line"),
    ],
)
def test_a_faulty_catalogue_is_told(tmp_path, change, says):
    path: Path = tmp_path / "defects.toml"
    path.write_text(change((ROOT / "defects.toml").read_text(encoding="utf-8")))
    with pytest.raises(SuiteError, match=re.escape(str(path))) as told:
        read_defects(path)
    assert says in str(told.value)
