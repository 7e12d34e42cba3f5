"""The page in a real browser: headless Chromium, as installed on this machine; nothing is downloaded."""

import os
import re
import shutil
from pathlib import Path

import pytest
import reports_sample as sample
from fdspec.reports.html import render
from fdspec.reports.store import load
from playwright.sync_api import Error, expect, sync_playwright
from test_reports_html import HOSTILE, hostile_records

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("FDSPEC_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.fail(
            "Chromium is needed to look at the report: install it (Debian: apt-get install chromium), "
            "or name it in FDSPEC_CHROMIUM"
        )
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        except Error as error:
            pytest.fail(f"{path} does not start: {error.message[:500]}")
        yield browser
        browser.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Open the page of records; afterwards nothing was said on the console and nothing was asked of anybody."""
    complaints, requests, contexts = [], [], []

    def open_page(records, fragment="", end=None, **options):
        path = tmp_path / "index.html"
        path.write_bytes(render(load(sample.save(tmp_path, records, end))))
        context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 900}), **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri() + fragment)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert [each for each in requests if not each.startswith(((tmp_path / "index.html").as_uri(), "data:"))] == []


def cell(page, case, column):
    return (
        page.locator("tr[data-c]", has=page.get_by_role("link", name=case, exact=True))
        .locator("td")
        .nth(column)
        .locator("button")
    )


def test_a_click_shows_everything_about_a_failed_case(visit, tmp_path):
    page = visit(sample.small())
    expect(page.locator("#panel")).to_be_hidden()
    cell(page, "recv.room", 0).click()
    panel = page.locator("#panel")
    expect(panel).to_be_visible()
    assert page.evaluate("location.hash") == "#alpha/recv.room"
    expect(panel.locator(".must-happen")).to_contain_text("Two of five descriptors arrive")
    expect(panel.locator(".req")).to_contain_text("When the control buffer has no room for a descriptor")
    expect(panel.locator(".req a")).to_have_attribute("href", "https://man7.org/linux/man-pages/man7/unix.7.html")
    expect(panel.locator(".req a")).to_have_attribute("rel", "noopener noreferrer")
    expect(panel.locator(".expected")).to_have_text("[MSG_CTRUNC], 2 descriptors")
    expect(panel.locator(".observed")).to_have_text("no flag, 2 descriptors; 1 is still open after reset")
    expect(panel.locator(".command")).to_have_text("fdspec run -i alpha -k recv.room --type stream")
    dump = panel.locator(".hex").first
    expect(dump).to_contain_text("0000  1c 00 00 00 00 00 00 00  01 00 00 00 01 00 00 00")
    expect(dump.locator(".d").first).to_have_text("05")
    expect(panel.locator(".decoded").first).to_have_text("@0 cmsg_len=28 level=SOL_SOCKET type=SCM_RIGHTS [5, 6, 7]")
    census = panel.locator(".census tbody tr")
    expect(census).to_have_count(6)
    expect(panel.locator("tr.leaked")).to_contain_text(["/tmp/fdspec/object-1"])
    expect(panel.locator("tr.leaked .mark")).to_have_text("leaked")
    expect(panel.locator("tr.vanished")).to_contain_text(["socket:[77]"])
    expect(panel.locator(".log").first).to_contain_text("alpha: warning: something")
    expect(panel.locator(".noise")).to_have_text("not JSON at all")
    variants = panel.locator(".variants button")
    expect(variants).to_have_count(2)
    expect(variants.first).to_contain_text("message · stream")
    variants.nth(1).click()
    expect(panel.locator(".observed")).to_have_count(0)
    expect(variants.nth(1)).to_have_attribute("aria-pressed", "true")
    shot = tmp_path / "panel.png"
    page.screenshot(path=shot)
    assert shot.read_bytes().startswith(b"\x89PNG")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    expect(page).to_have_url(re.compile("#matrix$"))


def test_the_command_is_copied(visit):
    page = visit(sample.small(), "#alpha/recv.room", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.locator(".copy")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == "fdspec run -i alpha -k recv.room --type stream"


def test_permalinks(visit):
    page = visit(sample.small(), "#beta/send.closed")
    expect(page.locator("#panel-title")).to_have_text("send.closed")
    expect(page.locator(".observed")).to_have_text("the process died")
    expect(page.locator("#body")).to_contain_text("The census after the case could not be taken")
    expect(page.locator("tr.vanished")).to_have_count(0)
    assert page.title().startswith("send.closed on beta")
    page.get_by_role("link", name="on every implementation").click()
    expect(page.locator("#body")).to_contain_text("Who does this right?")
    expect(page.locator("#body .list li")).to_have_count(2)
    page.locator("#body .list a", has_text="beta").click()
    page.locator("#body .by a", has_text="beta").click()
    expect(page.locator("#body")).to_contain_text("1 case not as required")
    page.go_back()
    expect(page.locator("#panel-title")).to_have_text("send.closed")
    for odd in ("#nobody/nothing", "#%E0%A4%A", "#/", "#alpha/none"):
        page.evaluate("where => { location.hash = where }", odd)
        expect(page.locator("#panel")).to_be_hidden()


def rows(page):
    return [row.get_attribute("data-c") for row in page.locator("tr[data-c]").all() if row.is_visible()]


def test_filters_and_search(visit):
    page = visit(sample.small())
    assert rows(page) == ["0", "1", "2"]
    page.locator(".chip[data-v=crash]").click()
    assert rows(page) == ["2"]
    expect(page.locator("#shown")).to_have_text("1 of 3 cases")
    expect(page.locator("tbody[data-area=recv]")).to_be_hidden()
    page.locator(".chip[data-v=leak]").click()
    assert rows(page) == ["1", "2"]
    page.get_by_role("button", name="clear", exact=True).click()
    assert rows(page) == ["0", "1", "2"]
    page.get_by_role("button", name="not as required").click()
    assert rows(page) == ["1", "2"]
    page.get_by_role("button", name="clear", exact=True).click()
    page.get_by_label("Level").select_option("should")
    assert rows(page) == ["2"]
    page.get_by_label("Level").select_option("")
    page.get_by_label("Area").select_option("recv")
    assert rows(page) == ["0", "1"]
    page.get_by_label("Area").select_option("")
    page.keyboard.press("Escape")
    page.locator("h1").click()
    page.keyboard.press("/")
    page.keyboard.type("ebadf")
    assert rows(page) == ["2"]
    page.get_by_label("Search").fill("SIGSEGV")
    assert rows(page) == ["2"]
    page.get_by_label("Search").fill("no room for")
    assert rows(page) == ["0", "1"]
    page.get_by_label("Search").fill("nothing has this")
    assert rows(page) == []
    page.get_by_role("button", name="Clear the filters").click()
    assert rows(page) == ["0", "1", "2"]
    page.locator("tr.area button", has_text="recv").click()
    assert rows(page) == ["2"]


def test_keyboard(visit):
    page = visit(sample.small())
    stops = page.locator("tr[data-c] td button[tabindex='0']")
    expect(stops).to_have_count(1)
    stops.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#panel-title")).to_have_text("send.closed")
    page.keyboard.press("Escape")
    expect(cell(page, "send.closed", 1)).to_be_focused()
    expect(stops).to_have_count(1)


def test_next_and_previous_failure(visit):
    page = visit(sample.large(8, 60))
    page.locator("tr[data-c] td:nth-of-type(7) button.fail").first.click()
    first = page.evaluate("location.hash")
    page.keyboard.press("n")
    expect(page.locator("#where")).to_contain_text("not as required on twist-old-send")
    assert page.evaluate("location.hash") != first
    page.get_by_role("button", name="Previous case").click()
    assert page.evaluate("location.hash") == first


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(text, visit):
    page = visit(hostile_records(text))
    page.locator("tr[data-c] td button").first.click()
    expect(page.locator("#panel")).to_be_visible()
    expect(page.locator(".observed")).to_be_visible()
    page.locator("#body .by a").first.click()
    expect(page.locator("#body .list")).to_be_visible()
    page.go_back()
    assert page.evaluate("window.pwned") is None
    assert page.locator("img, iframe, [onerror], [onload], a[href^='javascript']").count() == 0
    shown = page.locator("body").inner_text()
    assert not [char for char in shown if not char.isprintable() and char not in "\n\t\u00a0"]


def test_the_page_forbids_what_it_does_not_need(browser, tmp_path):
    """Were something hostile to get in, the page's policy stops it: no markup, no request, no style."""
    path = tmp_path / "index.html"
    path.write_bytes(render(load(sample.save(tmp_path, sample.small()))))
    context = browser.new_context()
    try:
        page = context.new_page()
        asked = []
        page.on("requestfinished", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        page.evaluate(
            "window.blocked = [];"
            "document.addEventListener('securitypolicyviolation', (event) => blocked.push(event.effectiveDirective))"
        )
        page.evaluate("{ const image = new Image(); image.src = 'https://example.org/x.png' }")
        page.evaluate("fetch('https://example.org/').catch(() => 0)")
        page.evaluate("try { document.body.innerHTML = '<b>' } catch { blocked.push('markup') }")
        page.evaluate("document.body.setAttribute('style', 'color: red')")
        page.wait_for_function("blocked.length >= 5")
        assert set(page.evaluate("blocked")) >= {
            "img-src",
            "connect-src",
            "require-trusted-types-for",
            "markup",
            "style-src-attr",
        }
        assert [each for each in asked if "example.org" in each] == []
    finally:
        context.close()


CONTRAST = """
() => {
  const parse = (text) => {
    const found = text.match(/[\\d.]+/g).map(Number);
    return [found[0], found[1], found[2], found[3] ?? 1];
  };
  const channel = (value) => {
    value /= 255;
    return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = parse(getComputedStyle(at).backgroundColor);
      if (found[3] > 0) return found;
    }
    return [255, 255, 255, 1];
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.closest("script, style, noscript, svg, option") || !element.checkVisibility()) continue;
    const a = light(parse(getComputedStyle(element).color)), b = light(behind(element));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push(element.outerHTML.slice(0, 90) + " " + ratio.toFixed(2));
  }
  return [...new Set(poor)];
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(scheme, visit):
    records = sample.large(10, 60)
    page = visit(records, end=sample.footer(records, complete=False), color_scheme=scheme)
    shade = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)[0]")
    assert (shade < 64) is (scheme == "dark")
    assert page.evaluate(CONTRAST) == []
    page.locator("button.leak:not(.chip)").first.click()
    expect(page.locator("tr.leaked")).to_have_count(1)
    assert page.evaluate(CONTRAST) == []


def test_every_control_has_a_name_and_every_cell_a_header(visit):
    page = visit(sample.small(), "#alpha/recv.room")
    nameless = """() => [...document.querySelectorAll("button, a, input, select")]
        .filter((each) => !(each.innerText || each.getAttribute("aria-label") || each.labels?.length))
        .map((each) => each.outerHTML)"""
    assert page.evaluate(nameless) == []
    assert page.locator("#cells thead th[scope=col]").count() == 2
    assert page.locator("#cells tbody th[scope=row]").count() == 3
    assert page.locator("#panel").get_attribute("aria-labelledby") == "panel-title"
    assert page.locator("html").get_attribute("lang") == "en"


def test_a_phone_does_not_scroll_sideways(visit):
    page = visit(sample.large(10, 40), viewport={"width": 380, "height": 800}, has_touch=True)
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(wide) == 0
    page.locator("tr[data-c] td button.fail").first.click()
    expect(page.locator("#panel")).to_be_visible()
    assert (
        page.evaluate("document.getElementById('body').scrollWidth - document.getElementById('body').clientWidth") == 0
    )


def test_print_shows_all_rows(visit, tmp_path):
    page = visit(sample.large(10, 60))
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.getElementById('grid')).maxHeight") == "none"
    expect(page.locator("#tools")).to_be_hidden()
    assert page.pdf().startswith(b"%PDF")


def test_without_javascript_the_matrix_is_there(visit):
    page = visit(sample.small(), java_script_enabled=False)
    expect(page.locator("tr[data-c]")).to_have_count(3)
    expect(cell(page, "recv.room", 0)).to_have_text("leak 1/2")
    expect(page.locator("#tools")).to_be_hidden()
    expect(page.locator("noscript p")).to_be_visible()


def test_a_large_run_opens_and_filters(visit):
    page = visit(sample.large(24, 200))
    assert page.locator("tr[data-c]").count() == 200
    page.get_by_label("Search").fill("truncation n6")
    assert 0 < len(rows(page)) < 20
    page.locator("tr[data-c]:not([hidden]) td button").first.click()
    expect(page.locator("#panel")).to_be_visible()


def test_an_incomplete_run_is_said_in_red(visit):
    records = sample.small()
    page = visit(records, end=sample.footer(records, complete=False))
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("Incomplete run.")
    red, green, blue = page.evaluate(
        "getComputedStyle(document.querySelector('.incomplete')).backgroundColor.match(/\\d+/g).map(Number)"
    )
    assert red > 2 * max(green, blue)


def test_nothing_ran_opens_without_complaint(visit):
    page = visit([sample.HEADER, sample.implementation("gamma", available=False, reason="no compiler")])
    expect(page.locator("main")).to_contain_text("No implementation ran.")


def test_this_module_has_no_way_round_a_missing_browser():
    assert "skip(" not in Path(__file__).read_text(encoding="utf-8").replace('"skip("', "")
