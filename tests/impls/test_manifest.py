"""Manifests: what is taken, and how each mistake is told."""

from __future__ import annotations

import textwrap

import pytest
import tomlkit
import tomlkit.exceptions
from fdspec.impls import registry
from fdspec.impls.manifest import MAX_SIZE, Manifest, ManifestError, SetupKind, load, parse, placeholders
from fdspec.impls.protocol.values import Profile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

GOOD = """
id = "sample"
name = "a sample"
language = "C"
homepage = "https://example.org"
summary = "one line"
profiles = ["message", "descriptors"]
[start]
command = ["{python}", "{here}/adapter.py"]
"""


def read(text, tmp_path):
    return parse(text, tmp_path / "impl.toml")


UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How long one example takes says how busy the machine is, nothing of the parser; the test has its time limit."""


def refused(text, tmp_path) -> ManifestError:
    with pytest.raises(ManifestError) as raised:
        read(text, tmp_path)
    assert raised.value.file == tmp_path / "impl.toml"
    assert str(tmp_path / "impl.toml") in str(raised.value)
    return raised.value


def test_the_least_manifest(tmp_path):
    manifest = read(GOOD, tmp_path)
    assert manifest.id == "sample"
    assert manifest.profiles == [Profile.MESSAGE, Profile.DESCRIPTORS]
    assert manifest.setup.kind is SetupKind.NONE
    assert (manifest.deadlines.start, manifest.deadlines.request) == (10.0, 5.0)
    assert manifest.limits.memory == 4294967296
    assert manifest.here == tmp_path


def test_the_fullest_manifest(tmp_path):
    more = """
    [needs]
    tools = ["cc", "make"]
    python = "==2.7.*"
    [setup]
    kind = "commands"
    commands = [["make", "-C", "{here}", "OUT={env}"]]
    sources = ["../src"]
    [deadlines]
    start = 30
    request = 0.5
    [limits]
    memory = 1073741824
    """
    manifest = read(GOOD + textwrap.dedent(more), tmp_path)
    assert manifest.needs.tools == ["cc", "make"]
    assert manifest.needs.python == "==2.7.*"
    assert manifest.setup.commands == [["make", "-C", "{here}", "OUT={env}"]]
    assert manifest.deadlines.start == 30.0
    assert manifest.limits.memory == 2**30


@pytest.mark.parametrize("key", ["id", "name", "language", "homepage", "summary", "profiles", "start", "start.command"])
def test_a_missing_key_is_named(key, tmp_path):
    if key == "start":
        text = GOOD.partition("[start]")[0]
    elif key == "start.command":
        text = GOOD.partition("command =")[0]
    else:
        text = "".join(line for line in GOOD.splitlines(keepends=True) if not line.startswith(f"{key} ="))
    fault = refused(text, tmp_path)
    assert fault.key == key
    assert "missing" in fault.expected


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ('id = "sample"', 'id = "Sample"', "id", "'Sample'"),
        ('id = "sample"', 'id = "-sample"', "id", "a-z"),
        ('id = "sample"', 'id = "../sample"', "id", "a-z"),
        ('id = "sample"', 'id = "sample\\n"', "id", "a-z"),
        ('id = "sample"', "id = 7", "id", "7 came"),
        ('name = "a sample"', 'name = ""', "name", "non-empty"),
        ('homepage = "https://example.org"', 'homepage = "javascript:alert(1)"', "homepage", "https://"),
        ('homepage = "https://example.org"', 'homepage = "https://example.org\\n"', "homepage", "https://"),
        ('summary = "one line"', 'summary = "line\\n"', "summary", "one non-empty line"),
        ('summary = "one line"', 'summary = "two\\nlines"', "summary", "one non-empty line"),
        ('profiles = ["message", "descriptors"]', "profiles = []", "profiles", "non-empty list"),
        ('profiles = ["message", "descriptors"]', 'profiles = "message"', "profiles", "list"),
        ('"{here}/adapter.py"]', "3]", "start.command", "list of texts"),
        ('command = ["{python}", "{here}/adapter.py"]', "command = []", "start.command", "non-empty"),
        ('command = ["{python}", "{here}/adapter.py"]', 'command = "python"', "start.command", "list of texts"),
        ('"{python}", "{here}/adapter.py"', '"./adapter"', "start.command", "absolute path"),
        ('"{here}/adapter.py"', '"{env}/adapter"', "start.command", "[setup]"),
        ('"{here}/adapter.py"', '"a\\u0000b"', "start.command", "NUL"),
    ],
)
def test_a_wrong_value_is_named(old, new, key, says, tmp_path):
    assert old in GOOD
    fault = refused(GOOD.replace(old, new), tmp_path)
    assert fault.key == key
    assert says in fault.expected


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ("[deadlines]\nstart = 0", "deadlines.start"),
        ("[deadlines]\nrequest = -1", "deadlines.request"),
        ('[deadlines]\nrequest = "1"', "deadlines.request"),
        ("[deadlines]\nrequest = nan", "deadlines.request"),
        ("[limits]\nmemory = 100", "limits.memory"),
        ("[limits]\nmemory = 1.5", "limits.memory"),
        ('[needs]\npython = "three"', "needs.python"),
        ('[needs]\ntools = "cc"', "needs.tools"),
        ('[setup]\nkind = "python"\npackages = ["twisted"]', "setup.packages"),
        ('[setup]\nkind = "python"\npackages = ["twisted>=24"]', "setup.packages"),
        ('[setup]\nkind = "python"\npackages = ["twisted==24.*"]', "setup.packages"),
        ('[setup]\nkind = "python"\npackages = ["--index-url=http://example.org"]', "setup.packages"),
        ('[setup]\nkind = "cargo"\npackages = ["twisted==24.7"]', "setup.packages"),
        ('[setup]\nkind = "cargo"\ncommands = [["make"]]', "setup.commands"),
        ('[setup]\nkind = "commands"', "setup.commands"),
        ('[setup]\nkind = "commands"\ncommands = [[]]', "setup.commands"),
        ('[setup]\nkind = "commands"\ncommands = [["make", "{there}"]]', "setup.commands"),
        ('[setup]\nsources = ["../src"]', "setup.sources"),
        ('[setup]\nkind = "cargo"\n[needs]\npython = ">=3"', "needs.python"),
    ],
)
def test_a_wrong_table_is_named(more, key, tmp_path):
    assert refused(GOOD + more, tmp_path).key == key


def test_a_table_where_a_value_was_expected(tmp_path):
    assert refused(GOOD.replace("[start]", "[name.start]").replace('name = "a sample"', ""), tmp_path).key in {
        "name",
        "start",
    }
    assert refused(GOOD.partition("[start]")[0] + "start = 3", tmp_path).key == "start"


@pytest.mark.parametrize(
    ("more", "key", "near"),
    [
        ('[need]\ntools = ["cc"]', "need", "needs"),
        ('[setup]\nkinds = "cargo"', "setup.kinds", "kind"),
        ("[deadlines]\nrequests = 3", "deadlines.requests", "request"),
    ],
)
def test_an_unknown_key_is_a_mistake(more, key, near, tmp_path):
    fault = refused(GOOD + more, tmp_path)
    assert fault.key == key
    assert near in fault.hint


def test_where_it_stands_is_no_key(tmp_path):
    assert refused('file = "/etc/passwd"\n' + GOOD, tmp_path).key == "file"


@pytest.mark.parametrize(
    ("old", "new", "near"),
    [("message", "mesage", "message"), ("descriptors", "descriptor", "descriptors")],
)
def test_a_mistyped_profile_has_its_nearest(old, new, near, tmp_path):
    fault = refused(GOOD.replace(f'"{old}"', f'"{new}"'), tmp_path)
    assert fault.key == "profiles"
    assert repr(near) in fault.hint


def test_a_mistyped_placeholder_has_its_nearest(tmp_path):
    fault = refused(GOOD.replace("{python}", "{pyton}"), tmp_path)
    assert (fault.key, fault.hint) == ("start.command", "did you mean 'python'?")


def test_a_relative_program_has_its_remedy(tmp_path):
    fault = refused(GOOD.replace('"{python}", "{here}/adapter.py"', '"./adapter"'), tmp_path)
    assert "{here}/adapter" in fault.hint


def test_broken_toml_is_told_with_its_line(tmp_path):
    assert "line 2" in str(refused("\nid = x\n", tmp_path))


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"\xff", "byte 0"), (b"#" * (MAX_SIZE + 1), "at most"), (b"a=" + b"[" * 5000, "TOML")],
)
def test_a_file_that_is_no_manifest(content, says, tmp_path):
    file = tmp_path / "impl.toml"
    file.write_bytes(content)
    with pytest.raises(ManifestError, match=says):
        load(file)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.toml.*No such file"):
        load(tmp_path / "none.toml")


@UNHURRIED
@given(st.text(max_size=200))
def test_any_text_is_a_manifest_or_a_manifest_error(tmp_path_factory, text):
    try:
        parse(text, tmp_path_factory.getbasetemp() / "impl.toml")
    except ManifestError as fault:
        assert str(fault)  # noqa: PT017 - most text is refused, not all


@UNHURRIED
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats(0, 10) | st.text("abc{}./\n", max_size=5),
        lambda inner: st.lists(inner, max_size=3),
        max_leaves=4,
    ).filter(lambda value: value is not None),
    st.sampled_from(["id", "name", "homepage", "profiles", "needs", "start", "limits"]),
)
def test_any_value_of_a_key_is_taken_or_named(tmp_path_factory, value, key):
    try:
        document = tomlkit.parse(GOOD)
        document[key] = value
        text = tomlkit.dumps(document)
    except (ValueError, TypeError, tomlkit.exceptions.TOMLKitError):  # a list of mixed kinds that TOML cannot say
        return
    try:
        parse(text, tmp_path_factory.getbasetemp() / "impl.toml")
    except ManifestError as fault:
        assert fault.key.split(".")[0] in {key, ""}  # noqa: PT017 - some values are right


def test_braces_around_anything_else_stay():
    assert placeholders(["{here}/a", "{x}", "{}", "{{here}}"], {"here": "/h"}) == ["/h/a", "{x}", "{}", "{/h}"]


def test_every_manifest_of_the_catalogue_is_right():
    manifests = registry.everything()
    assert [manifest.id for manifest in manifests] == registry.ids()
    assert {"python-socket", "python-recipe", "python-socket-fds"} <= set(registry.ids())
    assert all(isinstance(manifest, Manifest) for manifest in manifests)


def test_an_implementation_is_found_by_id_file_and_directory(tmp_path, monkeypatch):
    (tmp_path / "impl.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    for name in (str(tmp_path), str(tmp_path / "impl.toml"), "impl.toml", ".", "./"):
        assert registry.find(name).file == tmp_path / "impl.toml"
    assert registry.find("python-socket").id == "python-socket"


@pytest.mark.parametrize(("name", "near"), [("python-soket", "python-socket"), ("pythonrecipe", "python-recipe")])
def test_an_unknown_id_has_its_nearest(name, near):
    with pytest.raises(registry.UnknownImplementation) as raised:
        registry.find(name)
    assert near in raised.value.nearest
    assert near in str(raised.value)


def test_an_unknown_id_that_is_a_directory_here(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "impl.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(registry.UnknownImplementation, match=r"\./mine"):
        registry.find("mine")


def test_an_id_that_is_not_its_directory(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "impl.toml").write_text(GOOD)
    with pytest.raises(ManifestError, match="'other'"):
        registry.everything(tmp_path)
