"""The tables of mutants: what is refused, and that every mutant of ours can be had."""

from __future__ import annotations

import re

import pytest
from fdspec.conformance.defects import read_defects
from fdspec.conformance.suite import load_suite
from fdspec.impls.mutants import tables
from fdspec.impls.mutants.tables import MutantError

OURS = tables.everything()
LEAST = 120


def refused(directory):
    with pytest.raises(MutantError) as caught:
        for mutant in tables.everything(directory).values():
            tables.compiled(mutant)
    return str(caught.value)


# --- what is refused


def test_a_directory_without_tables(tmp_path):
    assert "no mutant is there; tables are called message.toml" in refused(tmp_path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[mutant]", "TOML expected"),
        ("[[mutants]]\n", "unknown field `mutants`"),
        ('[[mutant]]\nid = "message.x"\n', "mutant 'message.x': Object missing required field"),
    ],
)
def test_a_malformed_table(tmp_path, text, words):
    (tmp_path / "message.toml").write_text(text)
    said = refused(tmp_path)
    assert words in said
    assert "message.toml" in said


def test_a_table_that_is_no_text(tmp_path):
    (tmp_path / "message.toml").write_bytes(b"\xff")
    assert "a readable table of mutants in UTF-8 expected" in refused(tmp_path)


@pytest.mark.parametrize("name", ["message.Upper", "message", "raw.thing", "message.a--b", "message." + "x" * 80])
def test_an_id_of_the_wrong_form(table, name):
    assert f"mutant {name!r}" in refused(table(name))


@pytest.mark.parametrize(
    ("more", "words"),
    [('colour = "red"', "unknown field `colour`"), ('file = "queue.py"', "file 'queue.py' is none of")],
)
def test_a_key_or_a_file_that_nobody_knows(table, more, words):
    said = refused(table(more=more))
    assert words in said
    assert "message.harmless" in said


def test_a_requirement_of_the_wrong_form(table):
    assert "message.harmless" in refused(table(violates="about-five"))


def test_an_id_used_twice(table):
    table()
    assert "message.harmless stands there twice" in refused(table())


def test_a_mutant_in_another_layers_table(table):
    assert "belongs into message.toml" in refused(table(file="transport.toml"))


@pytest.mark.parametrize(("old", "times"), [("no such text", 0), ("def ", 18)])
def test_a_text_that_does_not_stand_there_once(table, old, times):
    said = refused(table(old=old))
    assert re.search(r"mutant message\.harmless, .*/message\.py: its old text stands there \d+ times, not once", said)
    assert repr(old) in said
    assert bool(times) is ("there 0 times" not in said)


def test_a_change_that_changes_nothing(table):
    assert "its new text is the old one" in refused(
        table(old="    data = list(buffers)\n", new="    data = list(buffers)\n")
    )


def test_a_change_beside_it_is_checked_as_well(table):
    said = refused(table(more='also = [{ file = "transport.py", old = "no such text", new = "x" }]'))
    assert "transport.py: its old text stands there 0 times" in said


def test_a_source_that_is_no_python(table):
    said = refused(table(new="    data = = buffers\n"))
    assert re.search(r"mutant message\.harmless, line \d+ of message\.py: ", said)


# --- ours


@pytest.mark.parametrize("mutant", OURS.values(), ids=list(OURS))
def test_it_applies_once_and_compiles(mutant):
    codes = tables.compiled(mutant)
    assert set(codes) == {f"{tables.PACKAGE}.{change.file.removesuffix('.py')}" for change in mutant.changes}


def test_there_are_enough_of_every_class():
    assert len(OURS) >= LEAST
    assert {mutant.group for mutant in OURS.values()} == set("ABCDEFGHI")
    assert {mutant.layer for mutant in OURS.values()} == set(tables.Layer)


def test_each_differs_from_every_other():
    changed = [(mutant.layer, tuple(sorted(tables.sources(mutant).items()))) for mutant in OURS.values()]
    assert len(set(changed)) == len(changed)


def test_they_violate_requirements_and_stand_for_defects_that_there_are():
    requirements = load_suite().requirements
    assert not {one for mutant in OURS.values() for one in mutant.violates} - set(requirements)
    classes = {one.id: one.group for one in read_defects().defect}
    for mutant in OURS.values():
        assert not set(mutant.defects) - set(classes), mutant.id
        assert not mutant.defects or mutant.group in {classes[one] for one in mutant.defects}, mutant.id


def test_a_mutant_is_an_implementation_that_no_listing_shows():
    from fdspec.impls import registry

    name = next(iter(OURS))
    manifest = registry.find(f"mutant:{name}")
    assert (manifest.id, manifest.summary) == (f"mutant:{name}", OURS[name].what)
    assert not [one for one in registry.ids() if "mutant" in one]
    with pytest.raises(registry.UnknownImplementation, match=f"did you mean mutant:{name}"):
        registry.find(f"mutant:{name}x")
