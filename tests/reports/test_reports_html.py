"""The page as text: self-contained, hostile text inert, bounded; the browser's side of it is in test_reports_page."""

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser

import pytest
import reports_sample as sample
from fdspec.conformance.records import Entry, Level, RequirementRecord, Source, Verdict, VerdictRecord
from fdspec.reports import embed
from fdspec.reports.fold import fold
from fdspec.reports.html import render
from fdspec.reports.store import load
from fdspec.reports.text import line, visible
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HOSTILE = (
    "</script><script>window.pwned=1</script><img src=x onerror=window.pwned=1>",
    "\"'><svg onload=window.pwned=1>",
    "<!--<script>",
    "]]>&lt;b&gt;{{ 7*7 }}{% raw %}",
    "\u2028\u2029\u202e\u200b\ufeff\x00\x1b[31m",
    "\ue000\ue001\ue004",
)


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self, content):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.raw = {"script": [], "style": []}
        self.inside = ""
        self.text = []
        self.feed(content)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag in self.raw:
            self.inside = tag
            self.raw[tag].append("")

    def handle_endtag(self, tag):
        if tag == self.inside:
            self.inside = ""

    def handle_data(self, data):
        if self.inside:
            self.raw[self.inside][-1] += data
        else:
            self.text.append(data)

    @property
    def data(self):
        return json.loads(self.raw["script"][0])

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(tmp_path, records, end=None):
    return Page(render(load(sample.save(tmp_path, records, end))).decode())


def check_inert(page):
    """Nothing but what the template makes is in the page."""
    assert [each.get("type") for each in page.all("script")] == ["application/json", None]
    for tag, attributes in page.elements:
        assert tag not in {"img", "iframe", "object", "embed", "base", "form"}, tag
        assert not [name for name in attributes if name.startswith("on") or name == "style"], (tag, attributes)
        for name in ("href", "src", "xlink:href", "action"):
            if attributes.get(name):
                assert attributes[name].startswith(("#", "data:image/svg+xml,")), attributes
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    for directive, text in (("script-src", page.raw["script"][1]), ("style-src", page.raw["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[directive] == f"'sha256-{digest}'"


def hostile_records(text):
    """A run in which everything that is text says ``text``."""
    records = [
        sample.HEADER,
        sample.implementation(
            "a" + text, name=text, homepage="javascript:window.pwned=1", version=text, runtime=text, profiles=[text]
        ),
        sample.implementation("b" + text, available=False, reason=text, language=text),
        RequirementRecord(
            "r" + text,
            text,
            Level.MUST,
            text,
            [Source(text, text, "javascript:window.pwned=1"), Source(text, text, text)],
        ),
        sample.case("c" + text, text, checks=("r" + text,)),
    ]
    names = ("profile", "type", "variant", "reason", "expected", "observed", "outcome", "log", "reproduce")
    everything = dict.fromkeys(names, text)
    records.append(
        VerdictRecord(
            implementation="a" + text,
            case="c" + text,
            verdict=Verdict.FAIL,
            transcript=[Entry(0.1, text, text, text, sample.rights(3)), Entry(0.2, text, text, text, text)],
            before=[sample.opened(3, text, owner=text)],
            after=[sample.opened(4, text, owner=text)],
            noise=[text],
            **everything,
        )
    )
    return records


def test_the_matrix_is_in_the_page_without_javascript(tmp_path):
    records = sample.small()
    content = render(load(sample.save(tmp_path, records))).decode()
    page = Page(content)
    check_inert(page)
    text = " ".join(" ".join(page.text).split())
    for expected in (
        "recv.room",
        "leak 1/2",
        "crash",
        "gamma needs cargo, which is not installed",
        "Linux 6.18.0",
        "SCM_PIDFD",
    ):
        assert expected in text
    assert "fdspec run -i alpha -i beta" in text
    assert "Incomplete run" not in text
    assert [each.get("aria-label") for each in page.all("button") if "aria-label" in each][:5] == [
        "pass",
        "pass",
        "leak, 1 of 2",
        "unsupported",
        "crash",
    ]


def test_the_page_is_the_same_every_time(tmp_path):
    run = load(sample.save(tmp_path, sample.large(3, 20)))
    assert render(run) == render(run)


def test_incomplete_is_said_on_top(tmp_path):
    records = sample.small()
    content = render(load(sample.save(tmp_path, records, sample.footer(records, complete=False)))).decode()
    assert 'role="alert"' in content
    assert "The run says that it is incomplete: interrupted." in content
    assert "incomplete</title>" in content


def test_nothing_ran(tmp_path):
    page = page_of(tmp_path, [sample.HEADER, sample.implementation("gamma", available=False, reason="no compiler")])
    check_inert(page)
    assert "No implementation ran." in page.text


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_inert(text, tmp_path):
    page = page_of(tmp_path, hostile_records(text))
    check_inert(page)
    data = page.data
    assert data["impls"][0]["homepage"] == ""
    assert [source[2] for source in data["reqs"][line("r" + text)]["sources"]] == ["", ""]
    assert line(text) in data["s"]
    assert any(line(text) in part for part in page.text)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=80))
def test_any_text_is_inert(tmp_path, text):
    content = render(load(sample.save(tmp_path, hostile_records(text)))).decode()
    page = Page(content)
    check_inert(page)
    assert page.data["cases"][0]["id"] == line("c" + text)
    assert all(char.isprintable() or char in "\n\t\ue000\ue001\ue002\ue003\ue004" for char in content)
    assert page.data["cases"][0]["summary"] == line(text)


@given(
    text=st.text(st.sampled_from("abc -/.<&"), max_size=60),
    parts=st.tuples(*[st.text(st.sampled_from("abc-."), min_size=1, max_size=5)] * 3),
)
def test_the_command_comes_back_from_its_template(text, parts):
    implementation, case, variant = parts
    verdict = sample.passed(
        implementation, case, variant=variant, reproduce=f"fdspec -i {implementation} -k {case} {text}"
    )
    assert embed.expand(embed.template(verdict), verdict) == verdict.reproduce


def test_the_command_is_stored_once_for_all_cells(tmp_path):
    data = page_of(tmp_path, sample.large(5, 40)).data
    assert [each for each in data["s"] if "fdspec run" in each] == ["fdspec run -i \ue001 -k \ue000 --type \ue004"]


def test_data_of_a_cell(tmp_path):
    data = page_of(tmp_path, sample.small()).data
    row = data["cells"][0][1][0]
    strings = data["s"]
    assert [strings[row[at]] for at in (0, 1, 6, 9)] == ["message", "stream", "leak", "[MSG_CTRUNC], 2 descriptors"]
    assert data["verdicts"][row[3]] == "leak"
    detail = data["details"][row[11] - 1]
    assert [strings[entry[1]] for entry in detail["t"]] == ["harness", "peer", "testee", "census"]
    assert data["controls"][detail["t"][1][4]][0] == sample.rights(5, 6, 7)
    pairs, cut, before, after = data["censuses"][detail["c"]]
    assert [(pair[0], pair[1]) for pair in pairs] == [
        (0, ""),
        (1, ""),
        (2, ""),
        (3, ""),
        (4, "vanished"),
        (10, "leaked"),
    ]
    assert (cut, before, after) == (0, 1, 1)


def test_details_have_a_budget_and_say_what_was_left_out(tmp_path):
    records = [*sample.small()[:8]]
    records += [sample.failure(type=f"t{number}", log=f"{number}" * 1000) for number in range(50)]
    records += [sample.failure("beta", log="the only one of its cell")]
    folded = fold(load(sample.save(tmp_path, records)))
    whole = json.loads(embed.build(folded))
    assert len(whole["details"]) == 51
    cut = json.loads(embed.build(folded, detail_budget=5_000))
    rows = cut["cells"][0][1]
    assert any(row[11] == embed.LEFT_OUT for row in rows)
    assert len(rows) == 50
    assert cut["cells"][1][1][0][11] > 0, "the worst verdict of every cell comes before the second of any"


def test_texts_have_a_budget(tmp_path):
    records = sample.small()[:8]
    records += [sample.failure(type=f"t{number}", observed=f"{number} " * 2000) for number in range(30)]
    folded = fold(load(sample.save(tmp_path, records)))
    assert len(embed.build(folded, detail_budget=0, text_budget=3_000)) < 12_000
    assert b"[cut: " in embed.build(folded, detail_budget=0, text_budget=3_000)


def test_one_huge_verdict_stays_bounded(tmp_path):
    transcript = [Entry(0.1, "testee", "reply", "x" * 5_000, "00" * 5_000)] * 600
    opened = [sample.opened(number, f"/tmp/{number}") for number in range(2_000)]
    huge = sample.failure(
        transcript=transcript, before=opened, after=opened[:-5], noise=["y" * 9_000] * 90, log="z" * 10**6
    )
    content = render(load(sample.save(tmp_path, [*sample.small()[:8], huge]))).decode()
    assert len(content) < 250_000
    data = Page(content).data
    (detail,) = data["details"]
    assert (len(detail["t"]), detail["tcut"]) == (embed.MAX_ENTRIES, 400)
    pairs, cut, *_ = data["censuses"][0]
    assert (len(pairs), cut) == (embed.MAX_OPEN, 1_700)
    assert [pair[1] for pair in pairs].count("vanished") == 5, "what differs is shown first"


def test_a_big_run_stays_small(tmp_path):
    assert len(render(load(sample.save(tmp_path, sample.large(10, 150))))) < 1_000_000
    dense = render(load(sample.save(tmp_path, sample.large(24, 60)))).decode()
    assert 'class="dense"' in dense
    assert ">F</button>" in dense


def test_links_are_of_the_web_only():
    assert embed.link("https://example.org/a?b=c#d") == "https://example.org/a?b=c#d"
    for address in (
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc",
        "//host",
        "HTTPS://x\u202e",
        "https://a\n",
        "",
    ):
        assert embed.link(address) == ""


def test_the_data_can_stand_in_a_script_element(tmp_path):
    data = embed.build(fold(load(sample.save(tmp_path, hostile_records(HOSTILE[0])))))
    assert not re.search(rb"[<>&]", data)
    assert html.unescape(data.decode()) == data.decode()
    assert visible(
        data.decode().translate({ord(mark): None for mark in "\ue000\ue001\ue002\ue003\ue004\n"})
    ).isprintable()
