"""What fuzzing found is in every report, and no word of a finding is markup, a command or a cursor's movement."""

from __future__ import annotations

import dataclasses

import reports_sample as sample
from fdspec.reports import findings, html, markdown, terminal
from fdspec.reports.findings import Fuzzed
from fdspec.reports.store import load
from test_reports_page import browser  # noqa: F401 - a fixture

PLAIN = Fuzzed(
    "alpha",
    "1.2.3",
    "Linux 6.18",
    "LC01",
    "Every descriptor that was installed is handed to the caller or closed.",
    "leak",
    "take",
    "message/stream/testee",
    "2 descriptors are open, of 1 that should be",
    ("b'x', descriptors g0, CTRUNC", "an error"),
    ("program 1 message stream client", "open g0", 'send p0 "x" fds=g0,g0', "take t0 1 room=1 as=r0_"),
    3,
    "fdspec-out/fuzz/x/findings/lc01.toml",
    "fdspec replay fdspec-out/fuzz/x/findings/lc01.toml",
)
EVIL = "<script>alert(1)</script>\x1b[2J\u202e`|*_[x](javascript:1)\n::error::x"
HOSTILE = Fuzzed(*[EVIL] * 9, (EVIL,) * 2, (EVIL,) * 90, 1, EVIL, EVIL)


def run_of(tmp_path, *found):
    return dataclasses.replace(load(sample.save(tmp_path, sample.small())), fuzzed=found)


def test_without_findings_no_report_speaks_of_them(tmp_path):
    run = run_of(tmp_path)
    for document in (html.render(run).decode(), markdown.render(run).decode(), terminal.summary(run)):
        assert "fuzzing" not in document


def test_a_line_each_on_the_terminal_and_in_markdown(tmp_path):
    run = run_of(tmp_path, PLAIN)
    text = " ".join(terminal.summary(run, 400).split())
    assert "1 finding of fuzzing alpha LC01 at take in message/stream/testee: 2 descriptors are open" in text
    assert PLAIN.reproduce in text
    document = markdown.render(run).decode()
    assert "### Found by fuzzing: 1 finding of fuzzing\n" in document
    (line,) = (one for one in document.splitlines() if one.startswith("- <code>alpha</code> LC01"))
    assert "fdspec replay" in line


def test_nothing_in_a_finding_is_markup_or_moves_the_cursor(tmp_path):
    run = run_of(tmp_path, HOSTILE)
    documents = html.render(run).decode(), markdown.render(run).decode(), terminal.summary(run)
    for document in documents:
        assert "\x1b" not in document
        assert "\u202e" not in document
    assert "<script>alert(1)" not in documents[0]
    assert "<script>" not in documents[1]
    assert "](" not in documents[1].partition("Found by fuzzing")[2]
    assert not [line for line in documents[1].splitlines() if line.startswith("::")]


def test_only_so_many_are_shown_and_the_rest_is_counted(tmp_path):
    many = tuple(dataclasses.replace(PLAIN, requirement=f"LC{index:04}") for index in range(250, 0, -1))
    assert [one.requirement for one in findings.shown(many)] == [f"LC{index:04}" for index in range(1, 201)]
    assert "250 findings of fuzzing, the first 200 of them here" in html.render(run_of(tmp_path, *many)).decode()


def test_a_long_program_is_cut():
    (one,) = findings.shown([HOSTILE])
    assert len(one.program) == 71
    assert one.program[-1] == "… and 20 lines more"


def test_the_page_shows_each_in_a_browser(browser, tmp_path):  # noqa: F811 - the fixture
    """In Chromium: closed at first; opened it says what was wrong, with the program; hostile words are words."""
    path = tmp_path / "index.html"
    path.write_bytes(html.render(run_of(tmp_path, HOSTILE, PLAIN)))
    context = browser.new_context()
    complaints = []
    try:
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.goto(path.as_uri())
        section = page.get_by_role("region", name="Found by fuzzing")
        assert section.get_by_role("heading").inner_text() == "Found by fuzzing"
        each = section.locator("details")
        assert each.count() == 2
        finding = each.nth(1)
        program = finding.locator("pre")
        assert not program.is_visible()
        finding.locator("summary").click()
        assert program.inner_text() == "\n".join(PLAIN.program)
        said = dict.fromkeys(finding.locator("dd").all_inner_texts())
        assert list(said) == [
            "LC01: Every descriptor that was installed is handed to the caller or closed.",
            "2 descriptors are open, of 1 that should be (leak, met 3 times)",
            "b'x', descriptors g0, CTRUNC",
            "an error",
            "alpha, 1.2.3, Linux 6.18",
            "fdspec replay fdspec-out/fuzz/x/findings/lc01.toml",
        ]
        each.nth(0).locator("summary").click()
        assert "<script>alert(1)</script>" in each.nth(0).inner_text()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide == 0
    finally:
        context.close()
    assert complaints == []
