"""Control buffers read as the kernel lays them out; two censuses compared; verdicts folded."""

import os
import socket
import struct
from collections import Counter
from pathlib import Path

import pytest
import reports_sample as sample
from fdspec.conformance.records import Open, Verdict
from fdspec.reports.census import Change, compare, flags
from fdspec.reports.control import MAX_BYTES, Layout, layout, parse
from fdspec.reports.fold import MEANING, READING, SEVERITY, fold, label, overview
from fdspec.reports.store import load
from fdspec.reports.text import visible
from hypothesis import given
from hypothesis import strategies as st


def buffer(*messages, how="<Qii"):
    out = b""
    for level, kind, data in messages:
        size = struct.calcsize(how)
        out += struct.pack(how, size + len(data), level, kind) + data
        out += bytes(-len(out) % (size - 8))
    return out.hex()


def test_rights():
    (message,) = parse(sample.rights(5, 6, 7)).messages
    assert message.text() == "cmsg_len=28 level=SOL_SOCKET type=SCM_RIGHTS [5, 6, 7]"


def test_rights_and_credentials():
    control = parse(buffer((1, 2, struct.pack("iII", 42, 1000, 1000)), (1, 1, struct.pack("i", 9))))
    assert [message.text() for message in control.messages] == [
        "cmsg_len=28 level=SOL_SOCKET type=SCM_CREDENTIALS pid=42 uid=1000 gid=1000",
        "cmsg_len=20 level=SOL_SOCKET type=SCM_RIGHTS [9]",
    ]
    assert control.messages[1].offset == 32
    assert control.note == ""


def test_the_layout_is_this_machine_s():
    """What the socket module calls CMSG_LEN and CMSG_SPACE agrees with how the buffer is read."""
    how = layout(os.uname().machine)
    assert socket.CMSG_LEN(0) == how.header
    assert socket.CMSG_SPACE(4) == how.align(how.header + 4)
    assert socket.CMSG_LEN(12) == how.header + 12


def test_other_machines():
    assert layout("s390x") == Layout(8, big=True)
    assert layout("armv7l") == Layout(4, big=False)
    assert parse(buffer((1, 1, struct.pack(">i", 3)), how=">Qii"), layout("s390x")).messages[0].ints == (3,)
    assert parse(buffer((1, 1, struct.pack("<i", 3)), how="<Iii"), layout("armv7l")).messages[0].ints == (3,)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        (struct.pack("<Qii", 3, 1, 1).hex(), "less than the header's 16 bytes"),
        (struct.pack("<Qiii", 99, 1, 1, 7).hex(), "more than the 20 bytes that are left"),
        (struct.pack("<Qii", 2**64 - 1, 1, 1).hex(), "more than the 16 bytes"),
    ],
)
def test_a_wrong_length_is_said_and_ends_it(text, note):
    control = parse(text)
    assert note in control.messages[-1].note
    assert note in control.messages[-1].text()


def test_what_stands_after_the_last_message():
    assert parse(sample.rights(1) + "0102").note == "2 bytes after the last message"
    assert parse("0102").note == "2 bytes after the last message"
    assert parse("xyz").note == "not hexadecimal"
    assert parse("").messages == ()
    assert parse(buffer((1, 1, b"\1\2\3\4\5"))).messages[0].rest == 1
    assert parse("00" * 5000).note.startswith(f"cut after {MAX_BYTES}") or parse("00" * 5000).messages[0].note


@given(st.binary(max_size=200))
def test_any_control_buffer_can_be_read(data):
    control = parse(data.hex())
    assert control.data == data
    assert all(0 <= message.offset < len(data) for message in control.messages)
    assert all(len(message.text()) < 1500 for message in control.messages)


@given(st.text())
def test_any_text_can_stand_for_a_control_buffer(text):
    parse(text)


def test_census_changes():
    before = [sample.opened(0), sample.opened(1), sample.opened(2), sample.opened(3)]
    after = [sample.opened(0), sample.opened(2, inode=9), sample.opened(3, cloexec=True), sample.opened(7)]
    assert [(pair.fd, pair.change) for pair in compare(before, after)] == [
        (0, Change.SAME),
        (1, Change.VANISHED),
        (2, Change.REPLACED),
        (3, Change.FLAGS),
        (7, Change.LEAKED),
    ]


def test_a_census_that_was_not_taken_accuses_nobody():
    before = [sample.opened(0), sample.opened(1)]
    assert {pair.change for pair in compare(before, [])} == {Change.SAME}
    assert {pair.change for pair in compare([], before)} == {Change.SAME}


def test_flags_are_those_of_the_kernel(tmp_path):
    path = tmp_path / "file"
    path.touch()
    number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        text = Path(f"/proc/self/fdinfo/{number}").read_text()
        bits = int(next(each for each in text.splitlines() if each.startswith("flags:")).split()[1], 8)
        assert flags(Open(number, "", 0, 0, True, bits)) == "O_RDWR O_APPEND O_NONBLOCK FD_CLOEXEC"
    finally:
        os.close(number)
    assert flags(Open(0, "", 0, 0, False, 0o1)) == "O_WRONLY"
    assert flags(Open(0, "", 0, 0, False, 1 << 30)) == "O_RDONLY 010000000000"


def test_fold_shows_the_worst(tmp_path):
    folded = fold(load(sample.save(tmp_path, sample.small())))
    cell = folded.cells["alpha", "recv.room"]
    assert (cell.verdict, cell.count, len(cell.verdicts), cell.bad) == (Verdict.LEAK, 1, 2, True)
    assert label(cell.verdicts[0]) == "message, stream"
    assert ("alpha", "send.closed") not in folded.cells
    assert [each.id for each in folded.available] == ["alpha", "beta"]
    assert [each.id for each in folded.unavailable] == ["gamma"]
    assert folded.summaries["beta"] == Counter({Verdict.PASS: 1, Verdict.CRASH: 1, Verdict.UNSUPPORTED: 1})
    assert overview(folded).startswith("3 cases on 2 implementations: 7 verdicts (4 pass, 1 leak, 1 crash, 1 unsupp")
    assert [area.name for area in folded.areas] == ["recv", "send"]


def test_cases_that_nobody_ran_are_not_counted_as_run(tmp_path):
    records = [*sample.small(), sample.case("recv.never")]
    assert overview(fold(load(sample.save(tmp_path, records)))).startswith("3 of 4 cases on 2 implementations")


def test_an_implementation_that_has_verdicts_is_never_hidden(tmp_path):
    records = [*sample.small(), sample.failure("gamma")]
    folded = fold(load(sample.save(tmp_path, records)))
    assert "gamma" in [each.id for each in folded.available]


def test_a_failed_attempt_stays_visible_behind_a_passed_one(tmp_path):
    records = [*sample.small(), sample.failure("beta", "recv.one", Verdict.FAIL, attempt=2, profile="descriptors")]
    cell = fold(load(sample.save(tmp_path, records))).cells["beta", "recv.one"]
    assert cell.bad
    assert label(cell.verdicts[0]).endswith("attempt 2")


def test_every_verdict_has_its_place():
    assert set(SEVERITY) == set(READING) == set(MEANING) == set(Verdict)
    assert visible("".join(MEANING.values())).isprintable()
