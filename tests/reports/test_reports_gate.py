"""How the gate judged, in every format, and in the file itself."""

from xml.etree import ElementTree  # noqa: ICN001 - by its own name

import jsonschema
import msgspec
import pytest
import reports_sample as sample
from fdspec.conformance.records import Gate, Judgement, Standing, Verdict, encode, schema
from fdspec.reports import html, junit, terminal
from fdspec.reports.store import Problem, RecordsError, load
from msgspec.structs import replace

WHY = Judgement(Standing.EXPECTED, ["e.toml:3"], "leak", "it <b>leaks</b> \x1b[2J", "https://example.org/7")
PASS = Judgement(Standing.UNEXPECTED_PASS, ["e.toml:9"], "fail", "no longer")
GONE = Judgement(Standing.MATCHES_NOTHING, ["e.toml:15"], "fail", "why", text="no case of the suite is called 'x'")


def records():
    """The small run with a gate: its leak is expected, its crash unlisted, one pass unexpected, one entry dead."""
    judgements = {
        ("alpha", "recv.room", "stream"): WHY,
        ("beta", "send.closed", "stream"): Judgement(Standing.UNLISTED),
        ("alpha", "recv.one", "stream"): PASS,
    }
    made = [replace(sample.HEADER, configuration="fdspec.toml", expectations="e.toml"), *sample.small()[1:]]
    return [
        replace(one, gate=judgements.get((one.implementation, one.case, one.type))) if hasattr(one, "verdict") else one
        for one in made
    ]


def end(made, **more):
    counts = {Standing.EXPECTED: 1, Standing.UNLISTED: 1, Standing.UNEXPECTED_PASS: 1} | more.pop("counts", {})
    return sample.footer(made, gate=Gate("e.toml", 3, counts, problems=[GONE]), **more)


@pytest.fixture
def run(tmp_path):
    made = records()
    return load(sample.save(tmp_path, made, end(made)))


def test_the_terminal_says_expected_and_why_it_is_red(run):
    text = terminal.summary(run, 200)
    assert "alpha: 1 case not as required, 1 of them expected" in text
    assert "  leak    recv.room [1 of 2] expected: no flag" in text
    assert "beta: 1 case not as required\n" in text
    assert "unlisted failure: beta send.closed [descriptors stream] came to crash (signal-SIGSEGV)" in text
    assert "unexpected pass: alpha recv.one [message stream] passes, and e.toml:9 expects fail" in text
    assert "matches nothing: e.toml:15: no case of the suite is called 'x'" in text
    assert "The gate is red: 3 entries in e.toml, 1 verdict as listed" in text


def test_junit_skips_what_is_expected_and_fails_what_is_not(run):
    root = ElementTree.fromstring(junit.render(run))
    assert (root.get("failures"), root.get("errors")) == ("2", "1")
    expected = root.find(".//testcase[@name='recv.room [message, stream]']")
    assert [child.tag for child in expected] == ["skipped"]
    assert expected[0].get("type") == "expected"
    assert expected[0].get("message") == "expected: leak: it <b>leaks</b> ⟨ESC⟩[2J (https://example.org/7)"
    passes = root.find(".//testcase[@name='recv.one [message, stream]']/failure")
    assert passes.get("type") == "unexpected-pass"
    assert passes.get("message") == "came to pass, and e.toml:9 expects fail"
    crash = root.find(".//testcase[@name='send.closed [descriptors, stream]']/error")
    assert crash.get("type") == "unlisted-failure: crash: signal-SIGSEGV"
    (entry,) = root.findall("testsuite[@name='expectations']/testcase")
    assert entry.get("name") == "matches nothing: e.toml:15"
    assert entry.find("failure").get("message") == "no case of the suite is called 'x'"


def test_the_page_says_it_in_words(run):
    page = html.render(run).decode()
    assert '<section class="gate red"' in page
    assert "The gate is red: 3 entries in e.toml, 1 verdict as listed." in page
    assert "<b>matches nothing</b>: e.toml:15: no case of the suite is called &#39;x&#39;" in page
    assert 'aria-label="leak, 1 of 2, expected"' in page
    assert 'aria-label="pass, unexpected"' in page
    assert "as expected, by e.toml:3, which expects leak: it \\u003cb\\u003eleaks" in page
    assert "<dt>Configuration</dt><dd>fdspec.toml</dd>" in page
    assert "not as required, not as expected</title>" in page


def test_without_a_gate_nothing_is_said_of_one(tmp_path):
    run = load(sample.save(tmp_path, sample.small()))
    for text in (terminal.summary(run, 200), html.render(run).decode().split("<style>")[0], junit.render(run).decode()):
        assert "gate" not in text
        assert "as expected" not in text


@pytest.mark.parametrize("counts", [{Standing.EXPECTED: 2}, {Standing.OVERLAP: 1}, {Standing.UNLISTED: 0}])
def test_a_footer_that_counts_other_judgements_is_refused(counts, tmp_path):
    made = records()
    with pytest.raises(RecordsError) as raised:
        load(sample.save(tmp_path, made, end(made, counts=counts)))
    assert raised.value.problem is Problem.COUNTS


def test_judgements_without_a_gate_are_refused(tmp_path):
    made = records()
    with pytest.raises(RecordsError) as raised:
        load(sample.save(tmp_path, made, sample.footer(made)))
    assert raised.value.problem is Problem.COUNTS


def test_every_line_is_in_the_schema():
    made = records()
    checker = jsonschema.Draft202012Validator(schema())
    for one in [*made, end(made)]:
        checker.validate(msgspec.json.decode(encode(one)))


def test_a_green_gate_is_green(tmp_path):
    made = [
        one for one in sample.small() if getattr(one, "verdict", Verdict.PASS) in (Verdict.PASS, Verdict.UNSUPPORTED)
    ]
    run = load(sample.save(tmp_path, made, sample.footer(made, gate=Gate("e.toml", 1, {}, outside=1, elsewhere=0))))
    said = "The gate is green: 1 entry in e.toml, 0 verdicts as listed, 1 entry not judged, being outside of this selection"
    assert said in " ".join(terminal.summary(run, 200).split())
    assert said in html.render(run).decode()
