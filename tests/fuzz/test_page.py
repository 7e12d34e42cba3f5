"""The page of programs: its example is one, its tables are those of the types, what it says of bounds is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from fdspec.fuzz import BadProgram, End, decode, encode, parse
from fdspec.fuzz import fitting as fit
from fdspec.fuzz.forging import SHAPES
from fdspec.fuzz.forms import FORMS
from fdspec.fuzz.program import OPERATIONS, PROFILES
from fdspec.fuzz.scope import CONNECTIONS, PERMITTED
from fdspec.fuzz.text import HEADER, USAGE, VERBS

PAGE = (Path(__file__).parents[2] / "docs" / "programs.md").read_text(encoding="utf-8")
MODELS = {
    "send": "Send",
    "recv": "Receive",
    "open": "Open",
    "pair": "Pair",
    "close": "Close",
    "shutdown": "Shutdown",
    "set": "SetOption",
    "room": "Room",
    "released": "Released",
    "collect": "Collect",
}


def rows(first):
    """Return the rows of the table whose first column is headed ``first``, as cells."""
    table = PAGE.split(f"| {first} |", 1)[1].split("\n\n", 1)[0]
    return [re.split(r" \| ", line.strip("| ")) for line in table.splitlines()[2:]]


def blocks(language):
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def verb_of(kind):
    own = FORMS.get(kind)
    return own.verb if own else next(verb for verb, name in MODELS.items() if name == kind.__name__)


def test_the_example_is_a_program():
    program = parse(blocks("text")[0])
    assert len(program.operations) == 9
    assert decode(encode(program)) == program


def test_every_operation_has_its_row():
    table = {row[0].strip("`").split()[0]: row for row in rows("operation")}
    assert set(table) == set(VERBS)
    for verb, row in table.items():
        assert row[0].strip("`") == USAGE[verb]


def test_the_rows_say_where_each_operation_is_and_whose():
    table = {row[0].strip("`").split()[0]: row for row in rows("operation")}
    kinds = {verb_of(kind): kind for profile in PROFILES for kind in PERMITTED[profile]}
    for verb, (_, profiles, who, what) in table.items():
        found = [profile for profile in PROFILES if kinds[verb] in PERMITTED[profile]]
        assert profiles == ("all" if found == list(PROFILES) else ", ".join(found)), verb
        ends = {end for profile in found for end in PERMITTED[profile][kinds[verb]]}
        names = "both" if len(ends) == 2 or verb == "pair" else "testee" if ends == {End.TESTEE} else "peer"
        assert who == names, verb
        if len({PERMITTED[profile][kinds[verb]] for profile in found}) > 1:
            assert "profile" in what, verb


def test_every_builder_has_its_row():
    table = {row[0].strip("`"): (row[1], row[2]) for row in rows("builder")}
    bait = {one: str(one.least) if one.least == one.most else f"{one.least} to {one.most}" for one in SHAPES.values()}
    assert table == {str(builder): (str(len(shape.numbers)), bait[shape]) for builder, shape in SHAPES.items()}


def test_the_first_line_and_the_bounds_are_as_it_says():
    assert f"\n    {HEADER}\n" in PAGE
    for bound in (
        OPERATIONS,
        fit.BUFFERS,
        fit.DATA,
        fit.CONTROLS,
        fit.DESCRIPTORS,
        fit.SIZES,
        fit.LITERAL,
        fit.PATTERN,
    ):
        assert re.search(rf"\b{bound:,}\b", PAGE.split("## What is valid")[1]), bound
    assert CONNECTIONS == 4


def test_the_message_is_what_the_text_would_say():
    with pytest.raises(BadProgram) as caught:
        parse("program 1 message stream client\ntake t0 1 room=1\nclose r0_1")
    assert str(caught.value) == blocks("text")[1].strip()


def test_the_python_runs(capsys):
    (code,) = blocks("python")
    exec(compile(code, "programs.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == 'program 1 message stream client\nopen f0\nsend t0 "hello" fds=f0\n\n'
