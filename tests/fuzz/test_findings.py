"""A finding's file says all that the finding is, appears whole, and tells an editor what is wrong with it."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from anyprograms import SLOW
from fdspec.fuzz import parse
from fdspec.fuzz.findings import store
from fdspec.fuzz.findings.store import BadFinding
from findingkit import LEAK, PROGRAM, finding, findings
from hypothesis import given
from msgspec.structs import replace


@SLOW
@given(findings)
def test_what_is_written_is_read(one):
    assert store.parse_finding(store.show_finding(one), Path("x.toml")) == one


def test_it_is_a_text_for_people(tmp_path):
    path = store.write(finding(version="1.0", engine="guided", seed=7, minimised=True, original=12), tmp_path)
    assert re.fullmatch(r"lc02-take-message-stream-testee-[0-9a-f]{10}\.toml", path.name)
    text = path.read_text(encoding="utf-8")
    assert f"program = '''\n{PROGRAM}'''\n" in text
    assert 'requirement = "LC02"\n' in text
    assert store.read(path).seed == 7
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_apostrophes_in_data_do_not_end_the_program():
    one = finding("program 1 message stream client\nsend t0 \"'''\" \"\\x5c''''\"\n")
    assert store.parse_finding(store.show_finding(one), Path("x")) == one


def test_half_a_surrogate_pair_is_written_as_a_question_mark(tmp_path):
    one = finding(violation=replace(LEAK, message="broken \ud800"))
    assert store.read(store.write(one, tmp_path)).violation.message == "broken ?"


def test_one_key_is_one_file_and_the_smaller_program_stays(tmp_path):
    large = finding(PROGRAM + "close r0_0\n", seed=1, seen=3)
    small = finding(seed=2)
    larger = finding(PROGRAM + 'close r0_0\nsend t0 "x"\n', seed=3, seen=2)
    paths = {store.write(one, tmp_path) for one in (large, small, larger)}
    assert len(paths) == 1
    kept = store.read(*paths)
    assert (kept.program, kept.seed, kept.seen) == (small.program, 2, 6)


@pytest.mark.parametrize("field", ["requirement", "operation", "place"])
def test_another_key_is_another_file(tmp_path, field):
    store.write(finding(), tmp_path)
    store.write(finding(violation=replace(LEAK, **{field: "other"})), tmp_path)
    store.write(finding(violation=replace(LEAK, at=1, message="other")), tmp_path)
    store.write(finding(subject="another"), tmp_path)
    assert len(store.all_of(tmp_path)) == 3


def test_names_of_like_keys_differ():
    keys = [replace(LEAK, place=place) for place in ("a b", "a/b", "a-b", "A-b", "a" * 70, "a" * 71)]
    names = {store.name_of(finding(violation=one)) for one in keys}
    assert len(names) == len(keys)
    assert all(len(name) < 200 and re.fullmatch(r"[a-z0-9.-]+", name) for name in names)


def test_what_is_no_finding_of_a_directory_is_left_alone(tmp_path):
    assert store.all_of(tmp_path / "missing") == []
    (tmp_path / "README").write_text("no finding")
    (tmp_path / ".hidden.toml").write_text("no finding")
    path = store.write(finding(), tmp_path)
    assert store.all_of(tmp_path) == [(path, finding())]
    (tmp_path / "z.toml").write_text("x = 1")
    with pytest.raises(BadFinding, match=r"z\.toml:1: "):
        store.all_of(tmp_path)


BAD = {
    "not TOML": ("format = 1", "format = = 1", "format", "TOML expected"),
    "unknown field": ('engine = ""', "engin = 1", "engin", "engin: no such key; known are format, subject"),
    "unknown field of the table": ("at = 2", "att = 2", "att = 2", "violation.att: no such key"),
    "missing": ("format = 1\n", "", "# A finding", "format: missing; expected the number 1"),
    "missing in the table": ("at = 2\n", "", "[violation]", "violation.at: missing; expected the index"),
    "wrong type": ("seed = 0", 'seed = "0"', "seed", "seed: expected a whole number, '0' came"),
    "wrong word": ('breach = "leak"', 'breach = "lake"', "breach", "violation.breach: expected one of crash, hang"),
    "wrong version": ("format = 1", "format = 2", "format", "format: expected the number 1, 2 came"),
    "seen never": ("seen = 1", "seen = 0", "seen", "seen: expected a whole number, 0 came"),
    "before the first": ("at = 2", "at = -1", "at =", "violation.at: expected the index of the operation, from 0, -1"),
    "wrong program": ("t0 1 room=1", "t0 x room=1", "take", "program: column 9: 'x' is no room: SIZE"),
    "impossible": ("fds=g0", "fds=g3", "send p0", "program: column 17: 'g3' is nothing that was made before"),
    "no program": ("program 1 m", "programme 1 m", "programme", "program: column 1: a program begins with"),
}


@pytest.mark.parametrize(("right", "wrong", "begins", "what"), BAD.values(), ids=BAD)
def test_a_mistake_is_told_with_its_line(tmp_path, right, wrong, begins, what):
    text = store.show_finding(finding())
    assert text.count(right) == 1
    path = tmp_path / "edited.toml"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    lines = path.read_text(encoding="utf-8").split("\n")
    (line,) = (number for number, each in enumerate(lines, 1) if each.startswith(begins))
    with pytest.raises(BadFinding) as caught:
        store.read(path)
    assert str(caught.value).startswith(f"{path}:{line}: {what}")


@pytest.mark.parametrize("quotes", ["'''", '"""'])
@pytest.mark.parametrize("begin", ["", "\n"])
def test_the_line_of_a_program_is_that_of_the_file(tmp_path, quotes, begin):
    path = tmp_path / "edited.toml"
    rest = store.show_finding(finding()).partition("[violation]")[2]
    program = f"{begin}program 1 message stream client\nopen f0\nclose r7_0\n"
    text = f'format = 1\nsubject = "x"\nprogram = {quotes}{program}{quotes}\n[violation]{rest}'
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadFinding, match=f":{5 + len(begin)}: program: column 7: "):
        store.read(path)


def test_a_file_that_cannot_be_read_is_told(tmp_path):
    with pytest.raises(BadFinding, match=r"none\.toml: cannot be read: No such file"):
        store.read(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"format = 1\n\xff")
    with pytest.raises(BadFinding, match=r"bytes\.toml:2: UTF-8 text expected"):
        store.read(tmp_path / "bytes.toml")


def test_a_file_that_was_spoilt_by_hand_is_put_aside(tmp_path):
    path = store.write(finding(), tmp_path)
    path.write_text("my notes")
    assert store.write(finding(seed=9), tmp_path) == path
    assert store.read(path).seed == 9
    assert path.with_name(f"{path.name}.damaged").read_text() == "my notes"


def _write_many(directory: str, times: int) -> None:
    for _ in range(times):
        store.write(finding(), Path(directory))


def test_several_writers_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn" if sys.platform == "darwin" else "fork")
    writers = [context.Process(target=_write_many, args=(str(tmp_path), 25)) for _ in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    ((_, kept),) = store.all_of(tmp_path)
    assert kept.seen == 100


WRITER = """
import sys
from pathlib import Path
from fdspec.fuzz.findings import store
from msgspec.structs import replace
one = store.read(Path(sys.argv[1]))
while True:
    store.write(one, Path(sys.argv[2]))
    print(flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    """Killed at twenty moments; what it has acknowledged is there, and no litter outlives the next write."""
    source = store.write(finding(), tmp_path / "source")
    out = tmp_path / "out"
    acknowledged = 0
    for kill in range(20):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(source), str(out)], stdout=subprocess.PIPE) as writer:
            for _ in range(1 + kill % 4):
                writer.stdout.readline()
            os.kill(writer.pid, signal.SIGKILL)
            acknowledged += 1 + kill % 4 + writer.stdout.read().count(b"\n")
        ((_, kept),) = store.all_of(out)
        assert kept.seen >= acknowledged
    path = store.write(finding(), out)
    assert [each.name for each in out.iterdir()] == [path.name]


def test_where_nothing_can_be_written_the_old_file_stays(tmp_path, monkeypatch):
    path = store.write(finding(), tmp_path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(finding(seed=3), tmp_path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_json_is_no_part_of_it():
    """Every text that JSON could say otherwise than TOML does comes back."""
    odd = "".join(map(chr, range(0xA0))) + "\u2028\U0001f600/"
    one = finding(violation=replace(LEAK, message=odd))
    assert json.loads(json.dumps(odd)) == odd
    assert store.parse_finding(store.show_finding(one), Path("x")).violation.message == odd


def test_the_program_of_a_file_may_be_edited(tmp_path):
    path = store.write(finding(), tmp_path)
    path.write_text(path.read_text().replace("open g0\n", "open g4  # another name\n").replace("fds=g0", "fds=g4"))
    assert store.read(path).program == parse(PROGRAM)


PAGE = (Path(__file__).parents[2] / "docs" / "replay.md").read_text(encoding="utf-8")


def test_the_example_of_the_manual_is_a_finding():
    text = re.search(r"^```toml[^\n]*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[1]
    one = store.parse_finding(text, Path("replay.md"))
    assert store.show_finding(one) == text


def test_the_manual_has_a_row_for_every_key():
    table = PAGE.partition("| key | what |")[2].partition("\n\n")[0]
    assert set(re.findall(r"`([a-z]+)`", "\n".join(row.split("|")[1] for row in table.splitlines()[2:]))) | {
        "format"
    } == {key for key in store.EXPECTED if "." not in key}
