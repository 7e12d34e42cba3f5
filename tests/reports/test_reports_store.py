"""Nothing cut, damaged, doubled or edited gets past the store, and each says what it is."""

import os
import re
from pathlib import Path

import msgspec
import pytest
import reports_sample as sample
from fdspec.conformance.records import Verdict, encode
from fdspec.reports.store import Limits, Problem, RecordsError, load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def lines(records=None):
    return sample.data(records or sample.small()).splitlines(keepends=True)


def write(directory, content):
    path = directory / "records.jsonl"
    path.write_bytes(b"".join(content) if isinstance(content, list) else content)
    return path


def refused(path, **options):
    with pytest.raises(RecordsError) as caught:
        load(path, **options)
    error = caught.value
    assert error.path == path if path.suffix else True
    assert error.found
    assert error.expected
    assert re.search(r"[.)]$", error.advice), error.advice
    assert "\n" not in str(error)
    if error.line:
        assert f":{error.line}: " in str(error)
    return error


def test_a_whole_file_comes_back_as_it_was_written(tmp_path):
    records = sample.small()
    run = load(sample.save(tmp_path, records))
    assert [run.header, *run.implementations, *run.requirements, *run.cases, *run.verdicts] == records
    assert run.footer == sample.footer(records)
    assert run.incomplete == ""


def test_a_directory_stands_for_its_records(tmp_path):
    assert load(sample.save(tmp_path, sample.small())) == load(tmp_path)


def test_records_in_any_order(tmp_path):
    header, *rest = sample.small()
    assert len(load(sample.save(tmp_path, [header, *reversed(rest)])).verdicts) == 7


def test_a_newer_field_does_no_harm(tmp_path):
    content = lines()
    content[1] = content[1].replace(b'{"record"', b'{"colour":"green","record"')
    assert load(write(tmp_path, content)).implementations[0].id == "alpha"


CASES = {
    "empty": (lambda whole: [], Problem.EMPTY, 0),
    "no header": (lambda whole: whole[1:], Problem.NO_HEADER, 1),
    "no JSON": (lambda whole: [b"\x7fELF\x02\x01\n", *whole], Problem.NO_HEADER, 1),
    "cut header": (lambda whole: [whole[0][:40]], Problem.NO_HEADER, 1),
    "other version": (lambda whole: [whole[0].replace(b'"version":1', b'"version":2'), *whole[1:]], Problem.VERSION, 1),
    "other version, other fields": (
        lambda whole: [b'{"record":"header","version":9,"fdspec":"7.0"}\n'],
        Problem.VERSION,
        1,
    ),
    "damaged header": (lambda whole: [b'{"record":"header","run":3}\n', *whole[1:]], Problem.DAMAGED, 1),
    "second header": (lambda whole: [whole[0], *whole], Problem.SECOND_HEADER, 2),
    "damaged line": (lambda whole: [*whole[:5], whole[5][:30] + b"\n", *whole[6:]], Problem.DAMAGED, 6),
    "blank line": (lambda whole: [*whole[:5], b"\n", *whole[5:]], Problem.DAMAGED, 6),
    "bad UTF-8": (
        lambda whole: [*whole[:5], whole[5].replace(b"arrives", b"arr\xffves"), *whole[6:]],
        Problem.DAMAGED,
        6,
    ),
    "unknown record": (lambda whole: [*whole[:5], b'{"record":"rumour"}\n', *whole[5:]], Problem.DAMAGED, 6),
    "unknown verdict": (
        lambda whole: [*whole[:8], whole[8].replace(b'"pass"', b'"fine"'), *whole[9:]],
        Problem.DAMAGED,
        9,
    ),
    "endless nesting": (
        lambda whole: [*whole[:5], b'{"record":"case","x":' + b"[" * 99999 + b"\n"],
        Problem.DAMAGED,
        6,
    ),
    "cut line": (lambda whole: [*whole[:9], whole[9][:-20]], Problem.CUT, 10),
    "cut footer": (lambda whole: [*whole[:-1], whole[-1][:-2]], Problem.CUT, 16),
    "no footer": (lambda whole: whole[:-1], Problem.NO_FOOTER, 15),
    "only a header": (lambda whole: whole[:1], Problem.NO_FOOTER, 1),
    "record after the footer": (lambda whole: [*whole, whole[8]], Problem.AFTER_FOOTER, 17),
    "two footers": (lambda whole: [*whole, whole[-1]], Problem.AFTER_FOOTER, 17),
    "line gone": (lambda whole: [*whole[:9], *whole[10:]], Problem.COUNTS, 15),
    "verdict changed": (
        lambda whole: [*whole[:10], whole[10].replace(b'"leak"', b'"pass"', 1), *whole[11:]],
        Problem.COUNTS,
        16,
    ),
    "doubled verdict": (lambda whole: [*whole[:9], whole[8], *whole[9:]], Problem.DUPLICATE, 10),
    "doubled case": (lambda whole: [*whole[:6], whole[5], *whole[6:]], Problem.DUPLICATE, 7),
    "doubled implementation": (lambda whole: [*whole[:2], whole[1], *whole[2:]], Problem.DUPLICATE, 3),
}


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_file_is_refused(name, tmp_path):
    change, problem, line = CASES[name]
    error = refused(write(tmp_path, change(lines())))
    assert (error.problem, error.line) == (problem, line)


@pytest.mark.parametrize("gone", [sample.REQUIREMENT, sample.implementation("alpha"), sample.case("recv.room")])
def test_what_was_not_declared_is_refused(gone, tmp_path):
    records = [record for record in sample.small() if record != gone]
    assert len(records) == len(sample.small()) - 1
    assert refused(sample.save(tmp_path, records)).problem is Problem.UNDECLARED
    assert refused(sample.save(tmp_path, records), allow_incomplete=True).problem is Problem.UNDECLARED


def test_the_error_names_the_verdict_that_is_there_twice(tmp_path):
    error = refused(write(tmp_path, CASES["doubled verdict"][0](lines())))
    assert "alpha / recv.one / message / stream" in str(error)
    assert "line 9" in str(error)


def test_attempts_are_told_apart(tmp_path):
    records = [*sample.small(), sample.passed(attempt=2)]
    assert len(load(sample.save(tmp_path, records)).verdicts) == 8


ACCEPTED = {"cut line", "cut footer", "no footer", "only a header"}


@pytest.mark.parametrize("name", CASES)
def test_what_an_interrupted_run_left_is_read_and_flagged(name, tmp_path):
    path = write(tmp_path, CASES[name][0](lines()))
    if name not in ACCEPTED:
        refused(path, allow_incomplete=True)
        return
    run = load(path, allow_incomplete=True)
    assert run.footer is None
    assert "killed" in run.incomplete


def test_verdicts_before_what_they_refer_to_are_kept(tmp_path):
    header, *rest = sample.small()
    run = load(write(tmp_path, [encode(header), encode(rest[-2])]), allow_incomplete=True)
    assert [each.id for each in run.implementations] == ["beta"]
    assert [each.id for each in run.cases] == ["send.closed"]


def test_a_run_that_says_it_is_incomplete_is_flagged_in_strict_reading_too(tmp_path):
    records = sample.small()
    run = load(sample.save(tmp_path, records, sample.footer(records, complete=False)))
    assert run.incomplete == "The run says that it is incomplete: interrupted."


def test_counts_of_zero_may_be_left_out_or_given(tmp_path):
    records = sample.small()
    counts = dict.fromkeys(Verdict, 0) | sample.footer(records).counts
    assert load(sample.save(tmp_path, records, sample.footer(records, counts=counts))).incomplete == ""


def test_every_cut_is_recognised(tmp_path):
    whole = sample.data(sample.small())
    for length in range(0, len(whole) - 1, 7):
        refused(write(tmp_path, whole[:length]))


def test_a_lost_last_line_feed_loses_nothing(tmp_path):
    assert load(write(tmp_path, sample.data(sample.small())[:-1])).incomplete == ""


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_bytes_give_an_error_or_a_run_never_anything_else(tmp_path, data):
    whole = bytearray(sample.data(sample.small()))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    said = ""
    try:
        load(write(tmp_path, bytes(whole)), allow_incomplete=data.draw(st.booleans()))
    except RecordsError as error:
        said = str(error)
    assert said.isprintable()


def test_limits(tmp_path):
    path = sample.save(tmp_path, sample.small())
    assert refused(path, limits=Limits(file=100)).problem is Problem.TOO_LARGE
    assert refused(path, limits=Limits(line=100)).line == 1
    assert refused(path, limits=Limits(records=4)).line == 5


def test_what_is_no_file(tmp_path):
    assert refused(tmp_path / "none.jsonl").problem is Problem.UNREADABLE
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert refused(tmp_path / "pipe.jsonl").problem is Problem.UNREADABLE
    with pytest.raises(RecordsError, match=r"records\.jsonl: can't be read"):
        load(tmp_path)


def test_a_hostile_file_name_and_value_are_shown_safely(tmp_path):
    path = tmp_path / "\x1b[2J.jsonl"
    header = msgspec.json.encode(msgspec.to_builtins(sample.HEADER))
    path.write_bytes(header + b"\n" + '{"record":"\u202eevil\\u001b]0;"}\n'.encode())
    with pytest.raises(RecordsError) as caught:
        load(Path(path))
    assert str(caught.value).isprintable()
    assert "⟨ESC⟩" in str(caught.value)
