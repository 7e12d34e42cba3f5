"""Hostile text is shown, never done."""

import re
import sys
import unicodedata

import pytest
from fdspec.reports.text import block, bound, bound_middle, first, line, seconds, visible
from hypothesis import given
from hypothesis import strategies as st

LEGAL_XML = re.compile("[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


def test_no_character_that_acts_survives():
    for point in range(sys.maxunicode + 1):
        char = chr(point)
        shown = visible(char)
        assert shown, hex(point)
        acts = unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
        assert (char in shown) is not acts or unicodedata.category(char) == "Zs"
        assert shown.isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode, 日本語", "plain, ünïcode, 日本語"),
        ("\x1b[2J", "⟨ESC⟩[2J"),
        ("a\0b\x7f", "a⟨NUL⟩b⟨DEL⟩"),
        ("\u202egnp.exe", "⟨U+202E⟩gnp.exe"),
        ("a\u2028b", "a⟨U+2028⟩b"),
        ("a\u200bb\ufeff", "a⟨U+200B⟩b⟨U+FEFF⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("a\nb\r", "a⟨LF⟩b⟨CR⟩"),
        ("a\u00a0b", "a b"),
        ("\ud800", "⟨U+D800⟩"),
    ],
)
def test_marks(text, shown):
    assert visible(text) == shown


@given(st.text())
def test_visible_is_stable_and_legal(text):
    once = visible(text, lines=True)
    assert visible(once, lines=True) == once
    assert LEGAL_XML.fullmatch(once)
    assert set(once) - set("\n\t") <= {char for char in once if char.isprintable()}


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_plain_text_is_left_alone(text):
    assert visible(text) == text


@given(st.text(max_size=200), st.integers(0, 100))
def test_bounds(text, limit):
    for cut in (bound(text, limit), bound_middle(text, limit)):
        assert cut == text if len(text) <= limit else f"[cut: {len(text) - limit} " in cut
        assert len(cut) <= limit + 50
    assert "\n" not in line(text, limit)
    assert len(block(text, limit)) <= 10 * (limit + 50)


def test_the_first_line_says_that_there_is_more():
    assert first("\n  \none\x1b\n\ntwo") == "one⟨ESC⟩ …"
    assert first("only\n") == "only"
    assert first(" \n") == first("") == ""


def test_the_middle_is_cut_and_both_ends_stay():
    assert bound_middle("abcdefgh", 4) == "a\n… [cut: 4 characters] …\nfgh"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 µs"),
        (0.00085, "850 µs"),
        (0.0024, "2.4 ms"),
        (31, "31.0 s"),
        (250, "4 min 10 s"),
        (-1, "-1 s"),
        (1e300, "1e+300 s"),
    ],
)
def test_seconds(value, shown):
    assert seconds(value) == shown
