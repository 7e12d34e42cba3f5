"""Workflow commands and the step's summary: nothing that a testee says is a command or markup, and all limits are kept."""

from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser

import msgspec
import pytest
from fdspec.conformance.records import Gate, Judgement, Standing, Verdict
from fdspec.reports import github, markdown
from fdspec.reports.fold import fold
from fdspec.reports.github import Annotation, Severity
from fdspec.reports.store import load
from fdspec.reports.text import visible
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from reports_sample import HEADER, case, failure, footer, implementation, large, passed, save, small

QUIET = settings(database=None, deadline=None)
HOSTILE = st.text(max_size=60) | st.text("\r\n:,%#[]()<>`*_~|@&\\! \u2028\u202eaw.://", max_size=60)


def understood(line):
    """Read a workflow command as GitHub's runner does: name, properties, message."""
    assert line.startswith("::")
    head, _, data = line[2:].partition("::")
    name, _, rest = head.partition(" ")
    facts = dict(one.split("=", 1) for one in rest.split(",") if one)
    return name, {key: unescaped(value, True) for key, value in facts.items()}, unescaped(data, False)


def unescaped(text, name):
    pairs = [("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")]
    for written, meant in pairs:
        if name or written not in ("%3A", "%2C"):
            text = text.replace(written, meant)
    return text


def saved(tmp_path, records, **more):
    return load(save(tmp_path, records, footer(records, **more)))


# --- annotations ------------------------------------------------------------------------------------------------------


@QUIET
@given(HOSTILE, HOSTILE, st.just("") | HOSTILE, st.integers(0, 9))
def test_a_command_is_one_line_and_says_what_was_meant(title, message, file, line):
    text = str(Annotation(Severity.ERROR, title, message, file, line))
    assert len(text.splitlines()) == 1
    name, facts, data = understood(text)
    assert name == "error"
    assert facts.get("title", "") == visible(title, lines=True)
    assert facts.get("file", "") == visible(file, lines=True)
    assert facts.get("line", "0") == str(line if file else 0)
    assert data == visible(message, lines=True)


def test_each_case_that_is_not_as_required_is_an_error(tmp_path):
    run = saved(tmp_path, small())
    found = github.annotations_of(run)
    assert [(one.severity.value, one.title) for one in found] == [
        ("error", "leak: recv.room on alpha"),
        ("error", "crash: send.closed on beta"),
        ("warning", "fdspec: gamma was not tested"),
    ]
    lines = github.render(run).decode().splitlines()
    assert lines[0] == (
        "::error title=leak%3A recv.room on alpha::1 of 2 variants: no flag, 2 descriptors; 1 is still open after reset"
        "%0AMust happen: Two of five descriptors arrive, MSG_CTRUNC is set and three are closed."
        "%0AAgain: fdspec run -i alpha -k recv.room --type stream"
    )
    assert lines[2] == (
        "::warning title=fdspec%3A gamma was not tested::It is not available here: needs cargo, which is not installed"
    )


def test_the_configuration_is_where_they_stand(tmp_path):
    head = msgspec.structs.replace(HEADER, configuration="sub/fdspec.toml")
    run = saved(tmp_path, [head, *small()[1:]])
    assert understood(github.render(run).decode().splitlines()[0])[1]["file"] == "sub/fdspec.toml"
    name, facts, _ = understood(github.render(run, "/house").decode().splitlines()[0])
    assert (name, facts["file"], facts["line"]) == ("error", "/house/sub/fdspec.toml", "1")


def test_a_run_without_fault_has_none(tmp_path):
    run = saved(tmp_path, [HEADER, implementation("alpha"), case("recv.one", checks=()), passed()])
    assert github.render(run) == b""


def judged():
    """A run before a gate that is red for three reasons."""
    unlisted = Judgement(Standing.UNLISTED)
    passes = Judgement(Standing.UNEXPECTED_PASS, ["ci/expect.toml:7"], "fail")
    listed = Judgement(Standing.EXPECTED, ["ci/expect.toml:3"], "leak", "known")
    expired = Judgement(Standing.EXPIRED, ["ci/expect.toml:12"], "fail", text="it expired")
    records = [
        HEADER,
        implementation("alpha"),
        case("recv.one", checks=()),
        case("recv.room", checks=()),
        failure(gate=listed),
        failure(type="dgram", gate=unlisted),
        passed(gate=passes),
    ]
    counts = Counter(one.gate.standing for one in records[4:])
    return records, Gate("ci/expect.toml", 3, dict(counts), problems=[expired])


def test_before_a_gate_they_stand_at_the_entries(tmp_path):
    records, gate = judged()
    run = saved(tmp_path, records, gate=gate)
    found = [understood(line) for line in github.render(run, "/repo").decode().splitlines()]
    assert [(facts["title"], facts["file"], facts["line"]) for _, facts, _ in found] == [
        ("fdspec: unlisted failure", "/repo/ci/expect.toml", "1"),
        ("fdspec: unexpected pass", "/repo/ci/expect.toml", "7"),
        ("fdspec: expired", "/repo/ci/expect.toml", "12"),
    ]
    assert "recv.room" in found[0][2]


def test_an_incomplete_run_is_an_error(tmp_path):
    run = saved(tmp_path, small(), complete=False)
    name, facts, said = understood(github.render(run).decode().splitlines()[0])
    assert (name, facts["title"]) == ("error", "fdspec: the run is incomplete")
    assert "interrupted" in said


@pytest.mark.parametrize(("count", "told"), [(9, 9), (10, 10), (11, 10), (57, 10)])
def test_a_step_has_room_for_ten_of_each(count, told):
    found = [Annotation(severity, f"{severity.value} {n}", "") for severity in Severity for n in range(count)]
    kept = github.limited(found)
    for severity in Severity:
        some = [one for one in kept if one.severity is severity]
        assert len(some) == told
        if count > told:
            assert some[-1].title == f"fdspec: {count - 9} more"
        assert some[:9] == [one for one in found if one.severity is severity][:9]


# --- the summary ------------------------------------------------------------------------------------------------------

TAGS = {"h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "em", "strong", "ul", "li", "blockquote"}


class Page(HTMLParser):
    """Tags and text of a rendered summary."""

    def __init__(self, source):
        super().__init__()
        self.tags = Counter()
        self.text = ""
        self.feed(MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(source))

    def handle_starttag(self, tag, attrs):
        self.tags[tag] += 1
        assert not attrs or tag in {"th", "td"}, (tag, attrs)

    def handle_data(self, data):
        self.text += data


@QUIET
@given(HOSTILE)
def test_text_from_outside_is_no_markup(text):
    page = Page(f"- {markdown.plain(text)}\n\n| a |\n|---|\n| {markdown.code(text)} |\n")
    assert set(page.tags) <= {"ul", "li", "table", "thead", "tbody", "tr", "th", "td", "code"}
    assert page.tags["li"] == page.tags["td"] == 1
    shown = " ".join(visible(text).split())
    assert " ".join(page.text.split()) == f"{shown} a {shown}".strip().replace("  ", " ")


def test_a_summary_tells_everything(tmp_path):
    run = saved(tmp_path, small())
    source = markdown.render(run).decode()
    page = Page(source)
    assert set(page.tags) <= TAGS
    assert source.startswith("## fdspec: 2 cases not as required\n")
    text = " ".join(page.text.split())
    for words in (
        "3 cases on 2 implementations",
        "alpha: 1 case not as required",
        "recv.room",
        "no flag, 2 descriptors",
        "signal-SIGSEGV",
        "gamma is not available here: needs cargo, which is not installed",
        "fdspec run -i beta -k send.closed --type stream",
        "Linux 6.18.0 (x86_64)",
    ):
        assert words in text
    assert page.tags["table"] == 3


def test_a_summary_before_a_gate(tmp_path):
    records, gate = judged()
    page = Page(markdown.render(saved(tmp_path, records, gate=gate)).decode())
    text = " ".join(page.text.split())
    assert "fdspec: not as expected" in text
    assert "The gate is red: 3 entries in ci/expect.toml" in text
    assert "unexpected pass: alpha recv.one" in text
    assert "expired: ci/expect.toml:12" in text


@pytest.mark.parametrize(
    ("records", "more", "says"),
    [
        ([HEADER, implementation("alpha"), case("recv.one", checks=()), passed()], {}, "all as required"),
        ([HEADER, implementation("alpha", available=False, reason="no")], {"exit_code": 3}, "no implementation ran"),
        (small(), {"complete": False}, "incomplete"),
    ],
)
def test_the_heading_is_the_state(records, more, says, tmp_path):
    run = saved(tmp_path, records, **more)
    assert markdown.state(fold(run)) == says
    assert markdown.render(run).decode().splitlines()[0] == f"## fdspec: {says}"


@QUIET
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=40), max_size=30), st.integers(300, 900)
)
def test_a_summary_is_never_larger_than_its_budget(lines, budget):
    data = markdown.cut(lines, budget)
    assert len(data) <= budget
    whole = "".join(f"{one}\n" for one in lines)
    if len(whole.encode()) <= budget:
        assert data.decode() == whole
    else:
        more = int(re.search(r"\n\*Cut: (\d+) more lines\.\*\n$", data.decode())[1])
        assert data.decode().startswith("".join(f"{one}\n" for one in lines[: len(lines) - more]))


def test_a_large_run_fits_into_what_github_takes(tmp_path):
    records = large(10, 400)
    for number, one in enumerate(records):
        if getattr(one, "verdict", None) is Verdict.FAIL:
            records[number] = msgspec.structs.replace(one, observed="<|>" * 4000, reproduce="`" * 4000)
    data = markdown.render(saved(tmp_path, records))
    assert len(data) <= 1 << 20
    assert set(Page(data.decode()).tags) <= TAGS
