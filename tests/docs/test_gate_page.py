"""The page of the gate names every key, probe and message as they are, and its examples are right."""

from __future__ import annotations

from fdspec.conformance import config, expectations, tomlfile
from fdspec.conformance.expectproof import problems
from fdspec.conformance.facts import PROBES
from fdspec.conformance.gate import universe_of
from fdspec.conformance.gatewords import TITLES
from fdspec.conformance.keeper import facts_of
from fdspec.conformance.records import Platform, Standing
from fdspec.conformance.suite import load_suite
from fdspec.impls import registry
from pages import DOCS, blocks, rows

PAGE = DOCS / "gate.md"


def first(column):
    return [row[0].strip("`") for row in rows(PAGE, column)]


def keys(prefix):
    return [key.removeprefix(prefix) for key in expectations.KEYS if key.startswith(prefix)]


def test_every_key_has_its_row():
    assert sorted(first("configuration key")) == sorted(config.KEYS)
    assert sorted(first("entry key")) == sorted(key for key in keys("expect.") if "." not in key)
    assert sorted(first("condition key")) == sorted(keys("expect.when."))


def test_what_is_needed_is_what_is_missed(tmp_path):
    needed = {row[0].strip("`") for row in rows(PAGE, "entry key") if row[1] == "yes"}
    required = {field.name for field in expectations.msgspec.structs.fields(expectations._Expect) if field.required}
    assert needed == required


def test_every_probe_and_every_message_has_its_row():
    assert first("probe") == list(PROBES)
    assert first("message") == [TITLES[standing] for standing in Standing if standing is not Standing.EXPECTED]


def test_the_examples_are_right(tmp_path):
    titled = {block.title: block.code for block in blocks(PAGE) if block.title}
    for name, text in titled.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = config.load(tmp_path / "fdspec.toml")
    assert found.expectations == tmp_path / "expectations.toml"
    known = expectations.load(found.expectations)
    facts = facts_of(Platform("Linux", "6.18", "x86_64", "", 0, dict.fromkeys(PROBES, "yes")))
    assert len(known.entries) == 2
    assert not problems(known, facts, universe_of(load_suite(), registry.everything()))


def test_the_message_on_the_page_is_the_one_that_comes(tmp_path):
    (shown,) = [block.code for block in blocks(PAGE) if block.language == "text"]
    text = '[[expect]]\ncase = "a"\nverdict = "fail"\nwhy = "b"\nwhen = { has = "so-pasrights" }\n'
    (tmp_path / "expectations.toml").write_text(f"version = 1{chr(10) * 6}{text}")
    try:
        expectations.load(tmp_path / "expectations.toml")
    except tomlfile.TomlError as fault:
        said = str(fault)
    head, tail = shown.strip().removeprefix("fdspec: ").split("…")
    assert said.startswith(f"{tmp_path}/{head}")
    assert said.endswith(tail)
