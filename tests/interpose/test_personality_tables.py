"""The tables of personalities: what stands in them is known, and a mistake is told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from fdspec.conformance.interpose.personality import UnknownPersonality, find, personalities, read_personality
from fdspec.conformance.interpose.personality_rules import Rules
from fdspec.conformance.specification import Subject, by_id, read_sections
from fdspec.conformance.suite import load_suite
from fdspec.conformance.tomlfile import TomlError

GOOD = """\
id = "vms"
name = "VMS"
summary = "A system."
emulated = "not VMS"

[[difference]]
id = "full-table"
effect = "full-table"
with = { errno = "EMFILE", stays = "data", needs = "room" }
what = "A sentence."
sources = [{ name = "a book" }]
changes = ["T12"]
lacks = ["MSG_CMSG_CLOEXEC"]
"""


def read(tmp_path: Path, text: str, requirements: set[str] | None = None):
    path = tmp_path / "vms.toml"
    path.write_text(text, encoding="utf-8")
    return read_personality(path, requirements)


def test_the_tables_name_requirements_of_the_kernel():
    requirements = by_id(read_sections())
    kernel = {name for name, one in requirements.items() if one.subject is Subject.KERNEL}
    found = personalities(requirements=kernel)
    assert list(found) == ["freebsd", "illumos", "linux", "linux-old", "macos"]
    assert found["linux"].rules == Rules()


def test_the_tables_name_cases():
    cases = load_suite().cases
    for personality in personalities().values():
        for one in personality.differences:
            assert set(one.cases) <= cases.keys(), (personality.id, one.id)


def test_every_source_has_a_link_and_says_something():
    for personality in personalities().values():
        for one in personality.differences:
            for source in one.sources:
                assert source.link.startswith("https://"), (personality.id, one.id, source.name)
                assert source.text, (personality.id, one.id, source.name)


def test_what_a_system_lacks_and_changes(tmp_path: Path):
    found = read(tmp_path, GOOD, {"T12"})
    assert found.lacks == {"MSG_CMSG_CLOEXEC"}
    assert found.changes == {"T12": ("full-table",)}
    assert "MSG_CMSG_CLOEXEC" in find("macos").lacks
    assert "full-table" in find("freebsd").changes["T12"]


TWICE = GOOD + GOOD[GOOD.index("[[") :]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            GOOD.replace('effect = "full-table"', 'effect = "magic"'),
            "vms.toml:8: difference.effect: expected one of absent, ",
        ),
        (GOOD.replace('"T12"', '"T21"'), "vms.toml:12: difference.changes: 'T21' is no requirement; near are T12"),
        (TWICE, "vms.toml:15: difference.id: 'full-table' stands there twice"),
        (
            TWICE.replace('id = "full-table"', 'id = "again"', 1),
            "vms.toml:16: difference.effect: 'full-table' contradicts 'again': both set full_table",
        ),
        (
            GOOD.replace(', needs = "room"', ""),
            "vms.toml:9: difference.with: full-table takes errno, needs, stays; errno, stays came",
        ),
        (GOOD.replace("EMFILE", "EMFILES"), "vms.toml:9: difference.with.errno: 'EMFILES' is no errno"),
        (
            GOOD.replace('needs = "room"', 'needs = "luck"'),
            "vms.toml:9: difference.with.needs: expected always, pointer or room, 'luck' came",
        ),
        (GOOD.replace('id = "vms"', 'id = "vax"'), "vms.toml:1: id: 'vms' expected, as the file is called; 'vax' came"),
        (GOOD.replace('name = "VMS"\n', ""), "vms.toml:1: name: missing; expected the system's name"),
        (GOOD.replace("lacks =", "lack ="), "vms.toml:13: difference.lack: no such key; known are "),
        (
            GOOD.replace('[{ name = "a book" }]', "[]"),
            "vms.toml:11: difference.sources: expected an array of at least one table",
        ),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, message: str):
    with pytest.raises(TomlError) as caught:
        read(tmp_path, text, {"T12"})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("effect", "given", "message"),
    [
        ("alignment", "{ to = 3 }", "with.to: an alignment of 1, 2, 4 or 8 expected, 3 came"),
        ("too-many", '{ errno = "EINVAL", limit = 0 }', "with.limit: a limit of at least 1 expected, 0 came"),
        ("withheld", '{ names = ["SCM_MAGIC"] }', "with.names: 'SCM_MAGIC' is none of SCM_RIGHTS, "),
        ("withheld", "{ names = [] }", "with.names: at least one of SCM_RIGHTS, "),
        ("flags-refused", '{ errno = "EINVAL", names = ["MSG_MAGIC"] }', "with.names: 'MSG_MAGIC' is none of MSG_OOB"),
        ("empty-iovec", '{ errno = "EINVAL", names = ["pray"] }', "with.names: 'pray' is none of send, receive"),
        ("no-flag", '{ where = "never" }', "with.where: null or no-room expected"),
        (
            "control-fault",
            '{ errno = "EFAULT", stays = "message", descriptors = "installed" }',
            "with.stays: a message that stays in the queue has no descriptor installed",
        ),
        ("bytes-cut", '{ errno = "EFAULT" }', "with: bytes-cut takes nothing; errno came"),
    ],
)
def test_a_parameter_that_means_nothing(tmp_path: Path, effect: str, given: str, message: str):
    old = 'effect = "full-table"\nwith = { errno = "EMFILE", stays = "data", needs = "room" }'
    with pytest.raises(TomlError) as caught:
        read(tmp_path, GOOD.replace(old, f'effect = "{effect}"\nwith = {given}'))
    assert message in str(caught.value)


def test_find_names_the_near_ones():
    with pytest.raises(UnknownPersonality, match="there is no personality 'MacOSX'; did you mean macos\\?"):
        find("MacOSX")
    with pytest.raises(UnknownPersonality, match="did you mean freebsd or illumos or linux or linux-old or macos\\?"):
        find("plan9")
    with pytest.raises(UnknownPersonality):
        find("../personalities/macos")


def test_a_directory_without_tables(tmp_path: Path):
    with pytest.raises(TomlError, match="no personality there"):
        personalities(tmp_path)
