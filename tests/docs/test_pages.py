"""What the manual says of manifests, implementations, cases and the reference is so."""

from __future__ import annotations

import inspect
import re
import tomllib

import msgspec
import pytest
from fdspec.conformance.census import Table
from fdspec.conformance.link import DescriptorsLink, Link, MessageLink, PeerLink
from fdspec.conformance.objects import Objects
from fdspec.conformance.peer import Peer
from fdspec.conformance.raw import RawLink
from fdspec.conformance.rawend import End
from fdspec.conformance.suite import ROOT as SUITE
from fdspec.conformance.suite import case, load_suite
from fdspec.conformance.transport import TransportLink
from fdspec.impls import manifest, registry
from fdspec.impls.protocol.values import Profile
from pages import DOCS, ROOT, blocks, rows

REFERENCE = DOCS / "reference.md"


# --- manifest.md -----------------------------------------------------------------------------------------------------


def keys(kind=manifest.Manifest, prefix=""):
    """Return every key of a manifest with its default as TOML writes it, or None where it is required."""
    found = {}
    for field in msgspec.structs.fields(kind):
        inner = field.type
        if inner is manifest.Path:
            continue
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            found |= keys(inner, f"{prefix}{field.name}.")
        elif field.required:
            found[prefix + field.name] = "required"
        else:
            default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
            written = "none" if default is None else f'`"{default}"`' if isinstance(default, str) else f"`{default}`"
            found[prefix + field.name] = written
    return found


def test_every_key_of_a_manifest_has_its_row_and_its_default():
    page = {row[0].strip("`"): row[1] for row in rows(DOCS / "manifest.md", "key")}
    assert page == keys()


def test_every_placeholder_has_its_row():
    page = {row[0].strip("`{}") for row in rows(DOCS / "manifest.md", "placeholder")}
    assert page == set(manifest.PLACEHOLDERS)


def test_every_kind_of_setup_has_its_row():
    assert {row[0].strip("`") for row in rows(DOCS / "manifest.md", "kind")} == set(manifest.SetupKind)


@pytest.mark.parametrize("page", ["manifest.md", "testee-protocol.md"])
def test_the_manifests_on_the_pages_are_right(page, tmp_path):
    found = [block.code for block in blocks(DOCS / page) if block.language == "toml"]
    manifests = [text for text in found if "package" not in tomllib.loads(text)]  # the other ones are Cargo.toml
    assert manifests
    for text in manifests:
        assert tomllib.loads(text)["id"] == manifest.parse(text, tmp_path / "impl.toml").id


# --- implementations.md and README -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "column"), [(DOCS / "implementations.md", 3), (ROOT / "README.md", 2)])
def test_the_implementations_are_those_of_the_catalogue(page, column):
    listed = {row[0].strip("`"): row[column] for row in rows(page, "id")}
    assert listed == {one.id: ", ".join(profile.value for profile in one.profiles) for one in registry.everything()}


def test_their_languages_are_right():
    listed = {row[0].strip("`"): row[2] for row in rows(DOCS / "implementations.md", "id")}
    assert listed == {one.id: one.language for one in registry.everything()}


def test_the_profiles_without_cases_are_those_named():
    tested = {profile for one in load_suite().cases.values() for profile in one.profiles}
    text = (DOCS / "manifest.md").read_text(encoding="utf-8")
    assert "There are no cases of `codec` yet" in text
    assert set(Profile) - tested == {Profile.CODEC}


# --- cases.md --------------------------------------------------------------------------------------------------------


def test_the_cases_on_the_page_are_of_the_suite():
    shown = [block.code for block in blocks(DOCS / "cases.md") if block.language == "python"]
    sources = [path.read_text(encoding="utf-8") for path in SUITE.glob("test_*.py")]
    assert len(shown) == 2
    assert all(any(code.strip() in source for source in sources) for code in shown)


def test_the_arguments_of_a_case_are_all_of_them():
    page = {row[0].strip("`") for row in rows(DOCS / "cases.md", "argument")}
    assert page == set(inspect.signature(case).parameters) - {"identity"} | {"the id"}


def test_what_the_page_says_of_the_fixtures_exists():
    text = (DOCS / "cases.md").read_text(encoding="utf-8")
    links = (MessageLink, DescriptorsLink, TransportLink, RawLink)
    calls = {name for link in links for name in dir(link)} | _assigned(Link) | _assigned(PeerLink) | _assigned(RawLink)
    named = set(re.findall(r"`link\.([a-z_]+)", text)) | set(re.findall(r"objects\.([a-z_]+)", text))
    assert len(named) > 20
    assert not named - calls - set(dir(Objects))
    (table,) = [row for row in rows(DOCS / "cases.md", "on the link") if row[0] == "`link.table`"]
    assert set(re.findall(r"`([a-z]+)\(", table[1])) <= set(dir(Table))
    on_an_end = {name for row in rows(DOCS / "cases.md", "on an end") for name in re.findall(r"`([a-z_]+)[`(]", row[0])}
    assert on_an_end <= set(dir(End))
    assert len(on_an_end) > 12
    (peer,) = [row for row in rows(DOCS / "cases.md", "on the link") if row[0] == "`link.peer`"]
    assert set(re.findall(r"`([a-z_]+)`", peer[1])) <= set(dir(Peer))


def _assigned(kind):
    lines = inspect.getsource(kind.__init__).splitlines()
    return {name for line in lines for name in re.findall(r"self\.([a-z]+)", line.partition(" = ")[0]) if " = " in line}


def test_the_suite_has_the_cases_that_the_first_page_promises():
    (promised,) = re.findall(r"more than (\d+) cases", (DOCS / "index.md").read_text(encoding="utf-8"))
    assert len(load_suite().cases) > int(promised)


# --- reference.md ----------------------------------------------------------------------------------------------------


def test_the_examples_of_the_reference_run():
    found = [block.code for block in blocks(REFERENCE) if block.language == "python"]
    assert len(found) >= 3
    for code in found:
        exec(compile(code, str(REFERENCE), "exec"), {"__name__": "example"})


# --- census.md and report.md -----------------------------------------------------------------------------------------


def test_the_verdicts_are_all_of_them():
    from fdspec.conformance.records import Verdict

    assert {row[0] for row in rows(DOCS / "report.md", "Verdict")} == set(Verdict)


# --- benchmarks.md ---------------------------------------------------------------------------------------------------


def test_the_benchmarks_and_their_options_are_all_of_them():
    text = (DOCS / "benchmarks.md").read_text(encoding="utf-8")
    scripts = sorted(path.name for path in (ROOT / "benchmarks").glob("*.py"))
    sections = {name: part for part in text.split("\n## ")[1:] for name in re.findall(r"benchmarks/(\w+\.py)", part)}
    assert sorted(sections) == scripts
    for name, section in sections.items():
        code = (ROOT / "benchmarks" / name).read_text(encoding="utf-8")
        options = {
            option
            for line in re.findall(r"add_argument\(([^)]*)\)", code)
            for option in re.findall(r'"(--?[a-z]+)"', line)
        }
        table = "\n".join(line for line in section.splitlines() if line.startswith("|"))
        assert set(re.findall(r"`(--?[a-z]+)`", table)) == options
