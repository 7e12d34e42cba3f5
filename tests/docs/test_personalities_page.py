"""The page of the personalities says what their tables say, and its example does what it shows."""

from __future__ import annotations

import contextlib
import io
import re

import personalities_page
from fdspec.conformance.interpose.personality import personalities
from fdspec.conformance.specification import by_id, read_sections
from pages import blocks

PAGE = personalities_page.PAGE


def test_the_page_is_made_from_the_tables():
    written = PAGE.read_text(encoding="utf-8")
    assert written == personalities_page.page(personalities()), (
        "a personality has changed: run python tests/docs/personalities_page.py"
    )


def test_every_difference_stands_there_with_its_sources():
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    for personality in personalities().values():
        for one in personality.differences:
            assert f"**{one.id}** {personalities_page._plain(one.what)}" in text
            for source in one.sources:
                assert source.link in text


def test_its_links_lead_to_requirements():
    linked = set(re.findall(r"\[(\w+)\]\(specification\.md#(\w+)\)", PAGE.read_text(encoding="utf-8")))
    known = by_id(read_sections())
    assert linked
    assert all(name in known and anchor == name.lower() for name, anchor in linked)


def test_its_example_prints_what_stands_below_it():
    code, output = (block for block in blocks(PAGE) if block.language in {"python", "text"})
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code.code, "personalities.md", "exec"), {})
    assert printed.getvalue() == output.code
