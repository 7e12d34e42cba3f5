"""The page of the specification says what the requirements say."""

from __future__ import annotations

import re

import specification_page
from fdspec.conformance.suite import load_suite


def test_the_page_is_made_from_the_requirements():
    written = specification_page.PAGE.read_text(encoding="utf-8")
    assert written == specification_page.page(load_suite()), (
        "requirements or cases have changed: run python tests/docs/specification_page.py"
    )


def test_every_requirement_has_its_heading_in_the_order_of_the_document():
    headings = re.findall(r"^### (\S+)$", specification_page.page(load_suite()), re.MULTILINE)
    assert headings == list(load_suite().requirements)


def test_what_would_be_markup_is_taken_as_it_is():
    assert specification_page._plain("__init  and *all*\nof it") == r"\_\_init and \*all\* of it"
