"""The manual builds without a warning, every page is in its navigation, every link leads somewhere, nothing is fetched."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from pages import DOCS, ROOT

FETCHING = {
    "script": "src",
    "link": "href",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
}
OUTSIDE = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
QUIET = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
LINK = re.compile(r"\]\((?P<target>[^()\s]+)\)")


class Page(HTMLParser):
    """What a built page fetches, links to, and can be linked at."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = {"", "__top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        facts = dict(attrs)
        self.anchors |= {facts[name] for name in ("id", "name") if facts.get(name)}
        if tag == "a" and facts.get("href"):
            self.links.append(facts["href"])
        if tag == "link" and facts.get("rel") in ("canonical", "prev", "next"):
            return
        if facts.get(FETCHING.get(tag, "")):
            self.fetched.append(facts[FETCHING[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT, check=False, env=QUIET)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [line for line in done.stderr.splitlines() if line.startswith("WARNING")], done.stderr
    return {path.relative_to(directory).as_posix(): Page(path) for path in sorted(directory.rglob("*.html"))}


def nav(entries):
    for entry in entries:
        for value in entry.values():
            yield from nav(value) if isinstance(value, list) else [value]


def test_every_page_is_built_and_in_the_navigation_once(site):
    configuration = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    listed = list(nav(configuration["nav"]))
    assert sorted(listed) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert set(site) >= {name.removesuffix(".md") + ".html" for name in listed}


def test_every_internal_link_resolves(site):
    broken, followed = [], 0
    for name, page in site.items():
        if name == "404.html":  # its links are absolute, as it is shown for any address
            continue
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            followed += 1
            target = _beside(name, parts.path) if parts.path else name
            other = site.get(target)
            known = (DOCS / target).is_file() if other is None else unquote(parts.fragment) in other.anchors
            if not known:
                broken.append(f"{name}: {link}")
    assert not broken
    assert followed > 100


def _beside(name: str, path: str) -> str:
    root = Path("/site")
    return (
        ((root / name).parent / unquote(path)).resolve().relative_to(root).as_posix() if path != "." else "index.html"
    )


def test_nothing_is_fetched_from_elsewhere(site):
    assert not [link for page in site.values() for link in page.fetched if urlsplit(link).netloc]


@pytest.mark.parametrize("name", OUTSIDE)
def test_links_of_the_pages_outside_the_manual_resolve(name, site):
    broken = []
    text = (ROOT / name).read_text(encoding="utf-8")
    for link in LINK.finditer(text):
        parts = urlsplit(link["target"])
        if parts.scheme:
            continue
        target = ROOT / parts.path if parts.path else ROOT / name
        if not target.is_file():
            broken.append(link["target"])
        elif parts.fragment and target.is_relative_to(DOCS):
            built = site[target.relative_to(DOCS).with_suffix(".html").as_posix()]
            if parts.fragment not in built.anchors:
                broken.append(link["target"])
    assert not broken
    assert name != "README.md" or LINK.search(text)


def test_the_picture_of_the_report_is_a_picture_and_small():
    picture = (DOCS / "img" / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n")
    assert 20_000 < len(picture) < 400_000


def test_one_introduction_stands_in_both_places():
    """README and the manual's first page say what fdspec is in the same three sentences."""
    first = [
        (place / name).read_text(encoding="utf-8").split("\n\n")[1]
        for place, name in ((ROOT, "README.md"), (DOCS, "index.md"))
    ]
    assert first[0] == first[1]
    assert len(re.findall(r"\.(?:\s|$)", first[0])) == 3
