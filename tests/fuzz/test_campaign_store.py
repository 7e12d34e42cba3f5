"""A campaign's directory: whole files, what is torn or foreign, who may work in it, and disks that are full or read-only."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import fakes
import pytest
from fdspec.fuzz import encode, parse
from fdspec.fuzz.campaign.faults import Refused, Unwritable, writing
from fdspec.fuzz.campaign.session import name_of
from fdspec.fuzz.campaign.shrink import Shows, minimise, smallest
from fdspec.fuzz.campaign.store import Keeper, State, Store, foreign
from fdspec.fuzz.findings import store as findings
from fdspec.fuzz.findings.finding import Finding
from msgspec.structs import replace

PROGRAMS = [
    parse(f"program 1 message stream client\n{line}") for line in ("open f0", "open g0", "close t0", "close p0")
]


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "campaign")
    made.prepare()
    return made


def kept(store, *programs):
    for program in programs:
        data = encode(program)
        store.keep(name_of(data), data)
    return [name_of(encode(program)) for program in programs]


def finding(name="leak", program=PROGRAMS[0]):
    violation = fakes.violations(parse('program 1 message stream client\nsend p0 "a" fds=p0\ntake t0 16'))[0]
    return Finding("fake", replace(violation, requirement=name), program)


# ---- the corpus --------------------------------------------------------------------------------------------------------


def test_what_is_kept_comes_back(store):
    names = kept(store, *PROGRAMS)
    programs, notes = store.programs()
    assert programs == dict(zip(names, PROGRAMS, strict=True))
    assert not notes
    path = store.corpus / names[0][:2] / names[0]
    assert path.read_bytes() == encode(PROGRAMS[0])
    store.forget(names[0])
    assert set(store.programs()[0]) == set(names[1:])


@pytest.mark.parametrize("content", [b"", b"x" * 100, encode(PROGRAMS[0])[:-1]], ids=["empty", "other", "torn"])
def test_a_torn_file_is_named_and_put_aside_and_never_fatal(store, content):
    names = kept(store, *PROGRAMS)
    path = store.corpus / names[0][:2] / names[0]
    path.write_bytes(content)
    programs, notes = store.programs()
    assert set(programs) == set(names[1:])
    assert len(notes) == 1
    assert str(path) in notes[0]
    (aside,) = store.rejected.iterdir()
    assert aside.read_bytes() == content
    assert store.programs() == (programs, [])


def test_a_foreign_file_and_a_directory_are_put_aside_too(store):
    names = kept(store, *PROGRAMS)
    (store.corpus / names[0][:2] / "README").write_text("hello")
    (store.corpus / names[0][:2] / "folder").mkdir()
    programs, notes = store.programs()
    assert set(programs) == set(names)
    assert len(notes) == 2
    assert len(list(store.rejected.iterdir())) == 2


def test_what_a_killed_writer_left_is_removed(store):
    (store.corpus / "new" / "123-abc").write_bytes(b"half")
    store.clean()
    assert not list((store.corpus / "new").iterdir())
    assert store.programs() == ({}, [])


def test_workers_see_what_others_keep_once(store):
    names = kept(store, *PROGRAMS[:2])
    keeper = Keeper(store, {names[0]})
    assert list(keeper.others()) == [PROGRAMS[1]]
    assert list(keeper.others()) == []
    keeper.keep(name_of(encode(PROGRAMS[2])), encode(PROGRAMS[2]))
    kept(store, PROGRAMS[3])
    assert list(keeper.others()) == [PROGRAMS[3]]


def test_other_peoples_directories_are_read_and_never_changed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "bytes").write_bytes(encode(PROGRAMS[1]))
    (tmp_path / "text.program").write_text("program 1 message stream client\nopen f0\n")
    (tmp_path / "wrong.program").write_text("program 1 message stream client\nopne f0\n")
    (tmp_path / "huge").write_bytes(bytes((1 << 20) + 1))
    before = sorted((path, path.stat().st_size) for path in tmp_path.rglob("*"))
    programs, notes = foreign(tmp_path)
    assert sorted(map(str, programs)) == sorted(map(str, PROGRAMS[:2]))
    assert len(notes) == 2
    assert any("wrong.program" in note and "opne" in note for note in notes)
    assert any("huge" in note for note in notes)
    assert sorted((path, path.stat().st_size) for path in tmp_path.rglob("*")) == before


def test_another_campaigns_directory_can_be_taken_over(store):
    kept(store, *PROGRAMS)
    store.save(State("fake"))
    os.close(store.lock())
    programs, notes = foreign(store.directory)
    assert sorted(map(str, programs)) == sorted(map(str, PROGRAMS))
    assert not notes


# ---- the state ---------------------------------------------------------------------------------------------------------


def test_counters_come_back(store):
    state = store.state("fake")
    state.programs, state.epoch = 7, 2
    store.save(state)
    assert store.state("fake") == state


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"subject": "linux", "format": 1, "programs_version": 1}', "a campaign on linux, and not on fake"),
        ('{"subject": "fake", "format": 2, "programs_version": 1}', "another version of fdspec (format 2, programs 1"),
        ('{"subject": "fake", "format": 1, "programs_version": 9}', "another version of fdspec (format 1, programs 9"),
        ('{"form', "no campaign's"),
        ('{"subject": "fake", "format": 1, "programs_version": 1, "epoch": "x"}', "no campaign's"),
        ("[]", "no campaign's"),
    ],
    ids=["subject", "format", "programs", "torn", "type", "shape"],
)
def test_the_directory_of_something_else_is_refused_with_what_to_do(store, text, words):
    (store.directory / "campaign.json").write_text(text)
    with pytest.raises(Refused) as caught:
        store.state("fake")
    assert words in str(caught.value)
    assert "name another directory" in str(caught.value)


def test_one_campaign_at_a_time(store):
    handle = store.lock()
    with pytest.raises(Refused, match="another campaign works in"):
        store.lock(patience=0.0)
    os.close(handle)
    os.close(store.lock(patience=0.0))


def test_the_kernel_frees_the_lock_of_who_was_killed(store):
    code = (
        "import sys, pathlib; from fdspec.fuzz.campaign.store import Store;"
        "h = Store(pathlib.Path(sys.argv[1])).lock(); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-c", code, store.directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        with pytest.raises(Refused):
            store.lock(patience=0.0)
        process.kill()
        process.wait()
        os.close(store.lock(patience=0.0))


# ---- findings ----------------------------------------------------------------------------------------------------------


def test_a_finding_for_good_takes_the_place_of_what_was_known(store):
    store.put(finding(), store.unconfirmed)
    store.put(finding(), store.pending)
    path = store.settle(finding())
    assert path.parent == store.findings
    assert not findings.files_of(store.pending)
    assert not findings.files_of(store.unconfirmed)


def test_a_finding_that_somebody_has_spoilt_is_named_and_left(store):
    path = store.settle(finding())
    store.settle(finding("other"))
    path.write_text("format = 1\n")
    known, notes = store.known(store.findings)
    assert [key.requirement for key in known] == ["other"]
    assert str(path) in notes[0]
    assert path.read_text() == "format = 1\n"


def test_how_often_it_was_seen_goes_into_the_file_once(store):
    store.settle(finding())
    state = State("fake", seen={str(finding().key): 4, "another at end in x": 1})
    store.tell_seen(state)
    store.tell_seen(state)
    (found,) = store.known(store.findings)[0].values()
    assert found.seen == 5
    assert store.state("fake").seen == {"another at end in x": 1}


# ---- making the corpus small -------------------------------------------------------------------------------------------


def shows(size, *features, ever=()):
    return Shows(size, frozenset(features), frozenset(features) | frozenset(ever))


def test_the_smallest_set_that_shows_everything():
    shown = {
        "all": shows(90, "a", "b", "c"),
        "a": shows(10, "a"),
        "ab": shows(20, "a", "b"),
        "c": shows(10, "c"),
        "none": shows(1),
    }
    assert smallest(shown) == {"all"}
    del shown["all"]
    assert smallest(shown) == {"ab", "c"}
    assert smallest({}) == set()


def test_of_equals_the_smaller_one():
    assert smallest({"big": shows(9, "a", "b"), "small": shows(3, "a", "b")}) == {"small"}


def test_what_a_later_choice_makes_needless_goes():
    shown = {
        "x": shows(5, "a", "b", "c", "d"),
        "y": shows(5, "a", "b", "e"),
        "z": shows(5, "c", "d", "f"),
    }
    assert smallest(shown) == {"y", "z"}


def test_what_shows_only_sometimes_is_not_relied_upon():
    shown = {"sometimes": shows(1, ever=("a", "b")), "always": shows(50, "a")}
    assert smallest(shown) == {"sometimes", "always"}  # b is known of the one alone, a of the other


def test_all_features_are_shown_afterwards(store):
    runner = fakes.FakeRunner("fake")
    lines = ("open f0", "open f0\nopen f1", "open f0\nopen f1\nclose f0", "close t0", "take t0 16 room=1")
    programs = [parse(f"program 1 message stream client\n{one}") for one in lines]
    kept(store, *programs)
    before = frozenset().union(*map(fakes.features, programs))
    assert minimise(runner, store, lambda: False) == (5, 2, [])
    left = store.programs()[0].values()
    assert frozenset().union(*map(fakes.features, left)) == before
    assert minimise(runner, store, lambda: False) == (2, 2, [])


def test_what_cannot_be_run_stays(store):
    kept(store, *PROGRAMS)
    assert minimise(fakes.FakeRunner("fake-unsupported"), store, lambda: False) == (4, 4, [])
    kept(store, parse('program 1 transport stream client\nwrite t0 "a"'))
    before, after, _ = minimise(fakes.FakeRunner("fake"), store, lambda: False)
    assert before == 5
    assert any(one.profile == "transport" for one in store.programs()[0].values())
    assert after == len(store.programs()[0])


def test_interrupted_it_removes_nothing(store):
    kept(store, *PROGRAMS)
    assert minimise(fakes.FakeRunner("fake"), store, lambda: True) == (4, 4, [])
    assert len(store.programs()[0]) == 4


# ---- disks -------------------------------------------------------------------------------------------------------------


def test_a_file_in_place_of_a_directory(tmp_path):
    (tmp_path / "there").write_text("a file")
    with pytest.raises(Unwritable) as caught:
        Store(tmp_path / "there" / "campaign").prepare()
    assert "Not a directory" in str(caught.value)
    assert "name another directory by --out" in str(caught.value)
    with pytest.raises(Unwritable, match="put the file out of the way"):
        Store(tmp_path / "there").prepare()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_errors_in_words(number):
    with pytest.raises(Unwritable) as caught, writing(Path("/some/where")):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith(f"/some/where cannot be written: {os.strerror(number)}; ")
    assert str(caught.value).endswith("What was found stays")
    assert caught.value.errno == number


def test_a_file_that_may_not_grow_leaves_the_old_one(store):
    """RLIMIT_FSIZE is a disk that fills up in the middle of a file."""
    code = (
        "import sys, pathlib, resource; from fdspec.fuzz.campaign.store import Store, State;"
        "s = Store(pathlib.Path(sys.argv[1])); st = State('fake', programs=1); s.save(st);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40, resource.RLIM_INFINITY)); st.programs = 2\n"
        "try: s.save(st)\nexcept OSError as e: print(e)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, store.directory], capture_output=True, text=True, check=True, timeout=60
    )
    assert "File too large" in done.stdout
    assert "ulimit -f" in done.stdout
    assert store.state("fake").programs == 1
    assert not list((store.corpus / "new").iterdir())
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 40
