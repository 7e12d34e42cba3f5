"""The files that a maintainer writes: what they may say, and how every mistake is told with file, line and key."""

import os
from datetime import date
from pathlib import Path

import pytest
import tomlkit
from fdspec.conformance import config, expectations, tomlfile
from fdspec.conformance.expectations import When
from fdspec.conformance.facts import PROBES
from fdspec.conformance.records import Verdict
from fdspec.conformance.tomlfile import TomlError
from hypothesis import given, settings
from hypothesis import strategies as st

ENTRY = '[[expect]]\ncase = "send.one"\nverdict = "fail"\nwhy = "because"\n'
HEAD = "version = 1\n\n" + ENTRY
"""An entry at line 3; what is added comes to stand at line 7."""


def test_an_entry_may_say_all_of_this(tmp_path):
    path = tmp_path / "e.toml"
    path.write_text(
        "# mine\nversion = 1\n\n" + ENTRY + 'implementation = ["mylib", "my-*"]\nprofile = "message"\n'
        'type = ["stream", "dgram"]\nvariant = ""\nreason = "assertion"\nissue = "https://example.org/1"\n'
        'expires = 2031-02-03\n\n[expect.when]\nhas = "so-inq"\nlacks = ["kcmp"]\nkernel = ">=6.1"\nversion = "<2"\n'
    )
    (entry,) = expectations.load(path).entries
    assert entry.place == f"{path}:4"
    assert (entry.case, entry.verdict, entry.why) == ("send.one", Verdict.FAIL, "because")
    assert (entry.implementations, entry.profiles, entry.types) == (
        ("mylib", "my-*"),
        ("message",),
        ("stream", "dgram"),
    )
    assert (entry.variants, entry.reason, entry.issue) == (("",), "assertion", "https://example.org/1")
    assert entry.expires == date(2031, 2, 3)
    assert entry.when == When("so-inq", ["kcmp"], ">=6.1", "<2")


def test_a_file_may_be_empty_of_entries(tmp_path):
    (tmp_path / "e.toml").write_text("version = 1\n")
    assert expectations.load(tmp_path / "e.toml").entries == ()


@pytest.mark.parametrize(
    ("text", "line", "key", "says"),
    [
        ("", 1, "version", "missing; expected the version of this format, which is 1"),
        ("version = 2\n", 1, "version", "which is 1, 2 came"),
        ("# c\n\nversion = '1'\n", 3, "version", "'1' came"),
        ("version = 1\nexpects = 1\n", 2, "expects", "no such key; known are version, expect"),
        ("version = 1\nexpect = 3\n", 2, "expect", "tables, each under its own [[expect]], 3 came"),
        ("version = 1\nexpect = [{case='a', verdict='fail', why='b'}]\n", 2, "expect", "each under its own [[expect]]"),
        ("version = 1\n[expect]\ncase = 'a'\n", 2, "expect", "each under its own [[expect]]"),
        ("version = 1\n\n[[expect]\n", 3, "", "TOML expected"),
        ("version = 1\n\n[[expect]]\ncase = 'a\n", 4, "", "TOML expected"),
        ("version = 1\n\n[[expect]]\nwhy = '''\nx\n\n", 5, "", "TOML expected"),
        ("version = 1\nversion = 1\n", 2, "", "TOML expected"),
        (
            "version = 1\n[[expect]]\nverdict = 'fail'\nwhy = 'b'\n",
            2,
            "expect.case",
            "missing; expected the id of a case",
        ),
        ("version = 1\n[[expect]]\ncase = 'a'\nwhy = 'b'\n", 2, "expect.verdict", "missing"),
        ("version = 1\n[[expect]]\ncase = 'a'\nverdict = 'fail'\n", 2, "expect.why", "missing; expected a sentence"),
        (HEAD + "whhy = 'c'\n", 7, "expect.whhy", "no such key; known are case, verdict, why"),
        (HEAD + "\n" + ENTRY + "x = 1\n", 12, "expect.x", "no such key"),
        (HEAD.replace("fail", "pass"), 5, "expect.verdict", "'pass' came; it needs no entry"),
        (
            HEAD.replace("fail", "fial"),
            5,
            "expect.verdict",
            "expected one of fail, leak, crash, timeout, broken, unsupported, 'fial'",
        ),
        (HEAD.replace('"because"', '" "'), 6, "expect.why", "' ' came"),
        (HEAD.replace('"send.one"', "7"), 4, "expect.case", "the id of a case, '*' and '?' allowed, 7 came"),
        (HEAD + "type = 'tcp'\n", 7, "expect.type", "one of stream, dgram, seqpacket, or a list of them, 'tcp' came"),
        (HEAD + "type = ['stream', 'tcp']\n", 7, "expect.type", "or a list of them, 'tcp' came"),
        (HEAD + "type = [\n'stream',\n'tcp']\n", 7, "expect.type", "came"),
        (HEAD + "type = []\n", 7, "expect.type", "an empty list came"),
        (HEAD + "profile = 'mesage'\n", 7, "expect.profile", "one of message, descriptors"),
        (HEAD + "implementation = 1\n", 7, "expect.implementation", "1 came"),
        (HEAD + "implementation = []\n", 7, "expect.implementation", "an empty list came"),
        (HEAD + "variant = true\n", 7, "expect.variant", "True came"),
        (HEAD + "reason = ''\n", 7, "expect.reason", "a reason code"),
        (HEAD + "issue = 'example.org/1'\n", 7, "expect.issue", "https:// or http://, 'example.org/1' came"),
        (HEAD + "expires = 'soon'\n", 7, "expect.expires", "a date such as 2030-12-31"),
        (HEAD + "expires = 2030\n", 7, "expect.expires", "2030 came"),
        (HEAD + "when = 'root'\n", 7, "expect.when", "a table with one or more of has, lacks, kernel, version"),
        (HEAD + "when = {}\n", 7, "expect.when", "an empty table came"),
        (
            HEAD + "when = { hass = 'kcmp' }\n",
            7,
            "expect.when.hass",
            "no such key; known are has, lacks, kernel, version",
        ),
        (
            HEAD + "when = { has = 'SO_PASSRIGHTS' }\n",
            7,
            "expect.when.has",
            "no probe is called 'SO_PASSRIGHTS'; known are",
        ),
        (HEAD + "when = { has = 'so-pasrights' }\n", 7, "expect.when.has", "did you mean 'so-passrights'?"),
        (
            HEAD + "\n[expect.when]\n# c\nlacks = ['kcmp', 'kmcp']\n",
            10,
            "expect.when.lacks",
            "no probe is called 'kmcp'",
        ),
        (HEAD + "\n[expect.when]\nkernel = '6.1'\n", 9, "expect.when.kernel", "version specifiers such as '>=6.16'"),
        (HEAD + "when.version = 'new'\n", 7, "expect.when.version", "version specifiers such as '<2.0'"),
    ],
)
def test_a_broken_file_of_expectations_names_line_and_key(text, line, key, says, tmp_path):
    path = tmp_path / "e.toml"
    path.write_text(text)
    with pytest.raises(TomlError) as raised:
        expectations.load(path)
    assert (raised.value.line, raised.value.key) == (line, key), raised.value
    assert str(raised.value).startswith(f"{path}:{line}: " + (f"{key}: " if key else ""))
    assert says in str(raised.value)


def test_files_that_are_no_text(tmp_path):
    with pytest.raises(TomlError, match="cannot be read: No such file or directory"):
        expectations.load(tmp_path / "no.toml")
    with pytest.raises(TomlError, match="cannot be read: Is a directory"):
        expectations.load(tmp_path)
    (tmp_path / "e.toml").write_bytes(b"version = 1\n# \xff\n")
    with pytest.raises(TomlError, match=r"e.toml:2: UTF-8 text expected"):
        expectations.load(tmp_path / "e.toml")
    (tmp_path / "e.toml").write_bytes(b"#" * (tomlfile.MAX_SIZE + 1))
    with pytest.raises(TomlError, match="at most 4194304 bytes"):
        expectations.load(tmp_path / "e.toml")
    (tmp_path / "e.toml").write_text("version = " + "[" * 100_000)
    with pytest.raises(TomlError, match="TOML expected"):
        expectations.load(tmp_path / "e.toml")


# --- where things stand


def values(prefix, value):
    """Yield every key of a parsed document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from values((*prefix, name), inner)
    elif isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        for index, inner in enumerate(value):
            yield from values((*prefix, index), inner)
    else:
        yield prefix


names = st.text(alphabet="ab.'\"# =[", min_size=1, max_size=3)
scalars = (
    st.integers(0, 9)
    | st.text(alphabet="ab'\"\\#\n[]{}=", max_size=6)
    | st.lists(st.sampled_from(["#", "]", '"']), max_size=2)
)
tables = st.recursive(
    st.dictionaries(names, scalars, max_size=3),
    lambda inner: st.dictionaries(names, scalars | inner | st.lists(inner, min_size=1, max_size=2), max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(table=tables, multiline=st.booleans())
def test_every_key_of_any_document_is_found_on_its_line(table, multiline):
    text = "# first\n" + tomlkit.dumps(table)
    if multiline:
        text = text.replace("\n[", "\n\n# \"'\n[")
    document = tomlfile.parse(text, Path("any.toml"))
    lines = text.split("\n")
    placed = {statement.key for statement in document.statements}
    for key in values((), document.table):
        around = key
        while around and around not in placed:
            around = around[:-1]
        line = lines[document.line(key) - 1]
        if around:
            assert line.strip()
            assert not line.startswith("#")
    firsts = [statement.first for statement in document.statements]
    assert firsts == sorted(firsts)
    assert all(one.first <= one.last <= len(lines) for one in document.statements)


def test_lines_behind_long_strings_and_arrays():
    text = 'a = """\n[b]\n"quoted"""""\nc = [ # ]\n  "]",\n]\n"d.e" . f = \'\'\'\'\n\'\'\'\n[[g]]\n[g.h]\ni = 1\n[[g]]\nj = {k = "}"}\n'
    document = tomlfile.parse(text, Path("any.toml"))
    lines = {statement.key: (statement.first, statement.last) for statement in document.statements}
    assert lines == {
        ("a",): (1, 3),
        ("c",): (4, 6),
        ("d.e", "f"): (7, 8),
        ("g", 0): (9, 9),
        ("g", 0, "h"): (10, 10),
        ("g", 0, "h", "i"): (11, 11),
        ("g", 1): (12, 12),
        ("g", 1, "j"): (13, 13),
    }
    assert document.line(("g", 1, "j", "k")) == 13


# --- the configuration


def configured(directory, text, name="fdspec.toml"):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_text(text)
    return directory / name


def test_a_configuration_may_say_all_of_this(tmp_path):
    (tmp_path / "known.toml").write_text("version = 1\n")
    file = configured(
        tmp_path,
        'implementations = ["reference", "./here", "impl.toml", "../up/"]\nlevel = "must"\ntypes = ["stream"]\n'
        'profiles = ["message"]\ncases = ["send.*"]\nexpectations = "known.toml"\njobs = 2\n',
    )
    found = config.load(file)
    up = os.path.normpath(tmp_path / ".." / "up")
    assert found.implementations == ("reference", str(tmp_path / "here"), str(tmp_path / "impl.toml"), up)
    assert (found.level, found.types, found.profiles, found.cases) == ("must", ("stream",), ("message",), ("send.*",))
    assert (found.expectations, found.jobs) == (tmp_path / "known.toml", "2")
    assert found.place("jobs") == f"{file}:7: jobs"


def test_the_nearest_is_found_and_the_repository_ends_the_search(tmp_path):
    outer = configured(tmp_path, "")
    deep = tmp_path / "repository" / "one" / "two"
    deep.mkdir(parents=True)
    assert config.find(deep).file == outer
    (tmp_path / "repository" / ".git").mkdir()
    assert config.find(deep) is None
    inner = configured(tmp_path / "repository", "")
    assert config.find(deep).file == inner
    configured(tmp_path / "repository" / "one", "[tool.other]\n", "pyproject.toml")
    assert config.find(deep).file == inner
    project = configured(tmp_path / "repository" / "one", '[tool.fdspec]\nlevel = "may"\n', "pyproject.toml")
    assert config.find(deep).file == project
    assert config.find(deep).level == "may"


def test_expectations_beside_it_are_the_default(tmp_path):
    file = configured(tmp_path, "")
    assert config.load(file).expectations is None
    (tmp_path / "expectations.toml").write_text("version = 1\n")
    assert config.load(file).expectations == tmp_path / "expectations.toml"


def test_two_in_one_directory_are_one_too_many(tmp_path):
    configured(tmp_path, "")
    configured(tmp_path, "\n[tool.fdspec]\n", "pyproject.toml")
    with pytest.raises(TomlError, match=r"pyproject.toml:2: tool.fdspec: .*fdspec.toml is a configuration as well"):
        config.find(tmp_path)


@pytest.mark.parametrize("name", ["fdspec.toml", "pyproject.toml"])
@pytest.mark.parametrize(
    ("text", "key", "says"),
    [
        ("implementation = ['a']", "implementation", "no such key; known are implementations, level"),
        (
            "implementations = 'a'",
            "implementations",
            "a list of ids and of paths to manifests, relative to this file, 'a' came",
        ),
        ("implementations = []", "implementations", "an empty list came; leave it out for all"),
        ("implementations = ['a', 'a']", "implementations", "'a' stands there twice"),
        ("level = 'hard'", "level", "one of must, should, may, 'hard' came"),
        ("types = ['tcp']", "types", "a list of stream, dgram, seqpacket, 'tcp' came"),
        ("profiles = ['any']", "profiles", "'any' came"),
        ("cases = [1]", "cases", "a list of patterns of ids"),
        ("expectations = 'no.toml'", "expectations", "no.toml is no file"),
        ("jobs = -1", "jobs", "-1 came"),
        ("jobs = 'many'", "jobs", "'many' came"),
        ("jobs = true", "jobs", "True came"),
    ],
)
def test_a_broken_configuration_names_file_line_and_key(name, text, key, says, tmp_path):
    head = "[tool.fdspec]\n" if name == "pyproject.toml" else "# mine\n"
    file = configured(tmp_path, f"{head}\n{text}\n", name)
    with pytest.raises(TomlError) as raised:
        config.find(tmp_path)
    full = f"tool.fdspec.{key}" if name == "pyproject.toml" else key
    assert str(raised.value).startswith(f"{file}:3: {full}: ")
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"), [("tool = 1\n", "there is none"), ("[tool.fdspec", "TOML expected"), ("", "there is none")]
)
def test_a_project_without_the_table(text, says, tmp_path):
    with pytest.raises(TomlError, match=says):
        config.load(configured(tmp_path, text, "pyproject.toml"))
    configured(tmp_path, "[tool]\nfdspec = 3\n", "pyproject.toml")
    with pytest.raises(TomlError, match=r"pyproject.toml:2: tool.fdspec: expected a table, 3 came"):
        config.find(tmp_path)


@pytest.mark.parametrize(
    "selection", [{}, {"level": "must", "types": "stream dgram", "profiles": "message", "cases": "a.* b.c"}]
)
def test_a_configuration_that_is_written_is_read_again(selection, tmp_path):
    file = configured(tmp_path, config.written(["reference"], selection))
    found, meant = config.load(file), config.of_selection(file, ["reference"], selection)
    for key in ("implementations", "level", "types", "profiles", "cases"):
        assert getattr(found, key) == getattr(meant, key)


def test_every_probe_has_a_name_that_may_be_written():
    assert {"so-passrights", "so-passpidfd", "kcmp", "root"} <= set(PROBES)
