"""Text from outside, made safe to show: a testee's words may not move the cursor, turn the line round, or never end."""

from __future__ import annotations

import unicodedata

_NAMES = (
    *("NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "TAB", "LF", "VT", "FF", "CR", "SO", "SI"),
    *("DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US"),
)
_LINES = frozenset("\n\t")
_NONE: frozenset[str] = frozenset()


def visible(text: str, *, lines: bool = False) -> str:
    """Return ``text`` with every character that does something, rather than shows something, replaced by a mark.

    C0 controls become their names (``⟨ESC⟩``); every other space becomes the space; bidirectional and other format
    characters, line separators, private and unassigned code points become ``⟨U+202E⟩``. With ``lines``, line feed and
    tab stay. The result is legal in XML 1.0, and showing it twice changes nothing.
    """
    if text.isprintable():
        return text
    keep = _LINES if lines else _NONE
    return "".join(char if char.isprintable() or char in keep else _mark(char) for char in text)


def _mark(char: str) -> str:
    point = ord(char)
    if point < len(_NAMES):
        return f"⟨{_NAMES[point]}⟩"
    if point == 0x7F:
        return "⟨DEL⟩"
    return " " if unicodedata.category(char) == "Zs" else f"⟨U+{point:04X}⟩"


def bound(text: str, limit: int) -> str:
    """Return ``text``, or its first ``limit`` characters and a mark that says how many are missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… [cut: {len(text) - limit} more characters]"


def bound_middle(text: str, limit: int) -> str:
    """Return ``text``, or its beginning and its end (``limit`` characters in all) with a mark between: for logs."""
    if len(text) <= limit:
        return text
    head, tail = limit // 4, limit - limit // 4
    return f"{text[:head]}\n… [cut: {len(text) - limit} characters] …\n{text[len(text) - tail :]}"


def line(text: str, limit: int = 400) -> str:
    """Return ``text`` as one safe line of about ``limit`` characters at most."""
    return visible(bound(text, limit))


def first(text: str, limit: int = 400) -> str:
    """Return the first line of ``text`` that says anything, safe, with a mark if there is more."""
    lines = [each.rstrip() for each in text.split("\n") if each.strip()]
    return line(lines[0] + (" …" if len(lines) > 1 else ""), limit) if lines else ""


def block(text: str, limit: int = 8_000) -> str:
    """Return ``text`` as safe lines, ``limit`` characters at most, the middle cut out."""
    return visible(bound_middle(text, limit), lines=True)


def seconds(value: float) -> str:
    """Return a duration for a reader: ``850 µs``, ``2.4 ms``, ``31.0 s``, ``4 min 10 s``."""
    if not 0 <= value < 1e9:
        return f"{value:.3g} s"
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 100:
        return f"{value:.1f} s"
    return f"{value // 60:.0f} min {value % 60:.0f} s"
