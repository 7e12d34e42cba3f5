"""Terminal, JUnit XML, files and schema."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree  # noqa: ICN001 - by its own name

import fdspec
import jsonschema
import msgspec
import pytest
import reports_sample as sample
from fdspec.conformance.records import Verdict
from fdspec.reports import junit, schema, terminal, write
from fdspec.reports.store import Problem, RecordsError, load
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

ROOT = Path(fdspec.__file__).parent
HOSTILE = "\x1b[31m\x1b]0;evil\a [red]markup[/red] </failure>]]>&<b>\u202e\u2028\0\ufffe\r\nnext"


def run_of(tmp_path, records, end=None):
    return load(sample.save(tmp_path, records, end))


# -- terminal


def test_summary_in_80_columns_without_colour(tmp_path):
    text = terminal.summary(run_of(tmp_path, sample.large(10, 60)))
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text
    assert re.search(r"^reference +60 ", text, re.MULTILINE)
    assert "nodejs-ipc: needs node, which is not on PATH" in text


def test_summary_says_what_failed_and_what_is_missing(tmp_path):
    text = terminal.summary(run_of(tmp_path, sample.small()), 120)
    assert re.search(r"^alpha +1 +· +1 +· +· +· +·$", text, re.MULTILINE)
    assert "  leak    recv.room [1 of 2]: no flag, 2 descriptors" in text
    assert "  crash   send.closed [descriptors, stream] signal-SIGSEGV: the process died" in text
    assert "gamma: needs cargo, which is not installed" in text
    assert "INCOMPLETE" not in text


def test_one_line_for_every_failed_case(tmp_path):
    records = [*sample.small(), sample.failure(case="send.closed", observed="many\nlines\n" * 50)]
    text = terminal.summary(run_of(tmp_path, records))
    assert len([each for each in text.splitlines() if "send.closed" in each]) == 2


def test_incomplete_is_said_first_and_last(tmp_path):
    records = sample.small()
    lines = terminal.summary(run_of(tmp_path, records, sample.footer(records, complete=False)), 200).splitlines()
    assert lines[0].startswith("INCOMPLETE: ")
    assert lines[-1].startswith("INCOMPLETE: ")


def test_nothing_ran(tmp_path):
    records = [sample.HEADER, sample.implementation("gamma", available=False, reason="no compiler")]
    text = terminal.summary(run_of(tmp_path, records))
    assert "No implementation ran." in text
    assert "no compiler" in text


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.just(HOSTILE))
def test_a_testee_s_words_do_nothing_to_a_terminal(tmp_path, text):
    records = [*sample.small(), sample.failure(case="send.closed", observed=text, reason=text, variant=text)]
    console = Console(width=80, record=True, file=io.StringIO(), force_terminal=False)
    console.print(terminal.render(run_of(tmp_path, records)))
    shown = console.export_text(styles=False)
    assert all(char.isprintable() or char == "\n" for char in shown)
    if text == HOSTILE:
        assert "[red]markup" in terminal.summary(run_of(tmp_path, records), 400)


def test_rich_and_jinja_cost_nothing_until_something_is_shown():
    code = (
        "import sys; import fdspec.reports.write; print([m for m in ('rich', 'jinja2', 'pytest') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# -- JUnit: the structure that Jenkins' xunit plug-in publishes, as a table

OUTCOME = {"type", "message"}
STRUCTURE = {
    "testsuites": ({"name"}, {"time", "tests", "failures", "errors", "disabled"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests", "failures", "errors"},
        {"time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url", "version", "group"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, set(), set()),
    "testcase": (
        {"name", "classname"},
        {"time", "group", "status", "assertions", "file", "line"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "failure": (set(), OUTCOME, set()),
    "error": (set(), OUTCOME, set()),
    "skipped": (set(), OUTCOME, set()),
    "system-out": (set(), set(), set()),
    "system-err": (set(), set(), set()),
}
NUMBER = re.compile(r"\d+")
DECIMAL = re.compile(r"\d+(\.\d+)?")
FORM = {"time": DECIMAL, "tests": NUMBER, "failures": NUMBER, "errors": NUMBER, "skipped": NUMBER}


def check_structure(element):
    required, optional, children = STRUCTURE[element.tag]
    assert required <= set(element.attrib), element.tag
    assert set(element.attrib) <= required | optional, element.tag
    for name, value in element.attrib.items():
        if name in FORM:
            assert FORM[name].fullmatch(value), (name, value)
    for child in element:
        assert child.tag in children, (element.tag, child.tag)
        check_structure(child)
    if element.tag == "testcase":
        outcomes = [child.tag for child in element if child.tag in {"skipped", "error", "failure"}]
        assert len(outcomes) <= 1
        assert [child.tag for child in element] == [
            *outcomes,
            *(t for t in ("system-out", "system-err") if element.find(t) is not None),
        ]
    if element.tag == "testsuite":
        tests = element.findall("testcase")
        assert int(element.get("tests")) == len(tests)
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            assert int(element.get(name)) == sum(test.find(tag) is not None for test in tests)
        names = [(test.get("classname"), test.get("name")) for test in tests]
        assert len(names) == len(set(names))
    if element.tag == "testsuites":
        for name in ("tests", "failures", "errors"):
            assert int(element.get(name)) == sum(int(suite.get(name)) for suite in element)


def document(run):
    root = ElementTree.fromstring(junit.render(run))
    assert root.tag == "testsuites"
    check_structure(root)
    return root


def test_junit_of_a_small_run(tmp_path):
    root = document(run_of(tmp_path, sample.small()))
    assert [suite.get("name") for suite in root] == ["alpha", "beta", "gamma"]
    assert root[0].get("timestamp") == "2025-01-02T03:04:05"
    leak = root.find(".//testcase[@name='recv.room [message, stream]']")
    assert leak.get("classname") == "alpha.recv"
    assert leak.find("failure").get("type") == "leak: leak"
    assert "no flag, 2 descriptors" in leak.find("failure").get("message")
    assert "reproduce: fdspec run -i alpha -k recv.room --type stream" in leak.find("failure").text
    out = leak.find("system-out").text
    assert "control cmsg_len=28 level=SOL_SOCKET type=SCM_RIGHTS [5, 6, 7]" in out
    assert "census: leaked 10 -> /tmp/fdspec/object-1 O_RDWR" in out
    assert "census: vanished 4 -> socket:[77]" in out
    assert "noise: not JSON at all" in leak.find("system-err").text
    assert root.find(".//testcase[@classname='gamma']/skipped").get("message").startswith("not available here: needs")


@pytest.mark.parametrize(
    ("verdict", "tag"),
    [
        (Verdict.PASS, None),
        (Verdict.FAIL, "failure"),
        (Verdict.LEAK, "failure"),
        (Verdict.CRASH, "error"),
        (Verdict.TIMEOUT, "error"),
        (Verdict.BROKEN, "error"),
        (Verdict.UNSUPPORTED, "skipped"),
    ],
)
def test_junit_outcomes(verdict, tag, tmp_path):
    records = [
        sample.HEADER,
        sample.implementation("alpha"),
        sample.REQUIREMENT,
        sample.case("recv.room"),
        sample.failure(verdict=verdict),
    ]
    test = document(run_of(tmp_path, records)).find(".//testcase")
    assert [child.tag for child in test if not child.tag.startswith("system")] == ([tag] if tag else [])


def test_junit_of_a_large_run(tmp_path):
    records = sample.large(4, 40)
    assert int(document(run_of(tmp_path, records)).get("tests")) == 4 * 40 * 3 + 2


def test_junit_is_red_when_the_run_is_incomplete(tmp_path):
    records = [record for record in sample.small() if getattr(record, "verdict", Verdict.PASS) is Verdict.PASS]
    root = document(run_of(tmp_path, records, sample.footer(records, complete=False)))
    assert root.get("errors") == "1"
    assert "incomplete" in root.find(".//error").get("message")
    assert document(run_of(tmp_path, records)).get("errors") == "0"


def test_junit_is_bounded(tmp_path):
    transcript = sample.failure().transcript * 1000
    huge = sample.failure(
        case="send.closed", transcript=transcript, log="x" * 10**6, observed="y" * 10**6, noise=["z" * 10**4] * 100
    )
    content = junit.render(run_of(tmp_path, [*sample.small(), huge]))
    assert len(content) < 60_000
    assert content.count(b"[cut: ") >= 3


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60) | st.just(HOSTILE))
def test_junit_survives_any_text(tmp_path, text):
    hostile = sample.failure(
        case="send.closed", observed=text, expected=text, reason=text, variant=text, log=text, noise=[text]
    )
    root = document(run_of(tmp_path, [*sample.small(), hostile]))
    if text == HOSTILE:
        message = next(test for test in root.iter("failure") if "markup" in test.get("message")).get("message")
        assert "⟨ESC⟩[31m" in message
        assert "</failure>]]>&<b>⟨U+202E⟩⟨U+2028⟩⟨NUL⟩⟨U+FFFE⟩ …" in message


# -- files


def test_write_all(tmp_path):
    records = sample.save(tmp_path, sample.small())
    paths = write.write_all(records, tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "index.html",
        "junit.xml",
        "records.jsonl",
        "summary.txt",
    ]
    assert paths.html.read_bytes().startswith(b"<!DOCTYPE html>")
    assert ElementTree.fromstring(paths.junit.read_bytes()).tag == "testsuites"
    assert "recv.room" in paths.summary.read_text(encoding="utf-8")
    first = paths.html.read_bytes()
    assert write.write_all(tmp_path, tmp_path / "else" / "where").html.read_bytes() == first


def test_write_all_replaces_at_once_and_leaves_nothing_behind(tmp_path):
    records = sample.save(tmp_path, sample.small())
    out = tmp_path / "out"
    write.write_all(records, out)
    with (out / "index.html").open("rb") as old:
        write.write_all(records, out)
        assert old.read(15) == b"<!DOCTYPE html>"
        assert os.fstat(old.fileno()).st_nlink == 0
    assert len(list(out.iterdir())) == 3


def test_write_errors_say_what_to_do(tmp_path):
    records = sample.save(tmp_path, sample.small())
    with pytest.raises(write.WriteError, match="can't be made a directory"):
        write.write_all(records, records)
    out = tmp_path / "out"
    (out / "index.html" / "in the way").mkdir(parents=True)
    with pytest.raises(write.WriteError, match=r"index\.html: can't be written .*another directory"):
        write.write_all(records, out)
    assert [each.name for each in out.iterdir()] == ["index.html"]


def test_nothing_is_written_from_a_cut_file(tmp_path):
    records = sample.save(tmp_path, sample.small())
    records.write_bytes(records.read_bytes()[:-300])
    with pytest.raises(RecordsError) as caught:
        write.write_all(records, tmp_path / "out")
    assert caught.value.problem is Problem.CUT
    assert not (tmp_path / "out").exists()
    paths = write.write_all(records, tmp_path / "out", allow_incomplete=True)
    assert "Incomplete run." in paths.html.read_text(encoding="utf-8")
    assert "INCOMPLETE" in paths.summary.read_text(encoding="utf-8")


# -- schema


def test_the_committed_schema_is_the_generated_one():
    path = ROOT / "docs" / "schema" / "records-1.json"
    assert path.read_text(encoding="utf-8") == schema.text(), (
        "run: python -m fdspec.reports.schema > docs/schema/records-1.json"
    )


def test_the_schema_accepts_what_is_written_and_refuses_the_rest():
    document = json.loads(schema.text())
    jsonschema.Draft202012Validator.check_schema(document)
    validator = jsonschema.Draft202012Validator(document)
    records = sample.small()
    for record in [*records, sample.footer(records)]:
        validator.validate(json.loads(msgspec.json.encode(record)))
    assert not validator.is_valid({"record": "rumour"})
    assert not validator.is_valid(json.loads(msgspec.json.encode(sample.passed()).replace(b'"pass"', b'"fine"')))
    assert not validator.is_valid({"record": "verdict", "implementation": "alpha"})
