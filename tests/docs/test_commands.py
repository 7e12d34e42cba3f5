"""The page of commands names every verb, every option and every exit code as they are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import commands_page
import pytest
from fdspec.cli import VERBS
from pages import DOCS, ROOT, rows

PAGE = DOCS / "commands.md"
OPTION = re.compile(r"(?<![\w-])(--?[a-z][a-z-]*)")


def test_the_tables_are_those_of_the_command_line():
    text = PAGE.read_text(encoding="utf-8")
    assert commands_page.filled(text) == text, "an option has changed: run python tests/docs/commands_page.py"
    marks = [mark["name"] for mark in commands_page.MARK.finditer(text)]
    assert sorted(marks) == sorted(commands_page.tables())
    assert {*VERBS, "fdspec", "pytest", "expect-check"} <= {*marks}


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_that_help_shows_is_on_the_page(verb):
    script = Path(sys.executable).with_name("fdspec")
    shown = subprocess.run([script, verb, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    options = {
        match[1]
        for line in shown.splitlines()
        if line.startswith("  -")
        for match in OPTION.finditer(line.split("   ")[0])
    }
    assert "--help" in options
    section = PAGE.read_text(encoding="utf-8").split(f"\n## fdspec {verb}\n")[1].split("\n## ")[0]
    assert not [option for option in options if f"`{option}`" not in section]


def test_the_exit_codes_are_all_of_them():
    from fdspec.cli import errors

    codes = sorted(
        value for value in (errors.OK, errors.NOT_AS_EXPECTED, errors.USAGE, errors.NO_START, errors.HARNESS)
    )
    for page in (PAGE, ROOT / "README.md"):
        assert [int(row[0]) for row in rows(page, "exit code")] == codes


def test_the_environment_variables_are_all_of_them():
    folders = ("cli", "conformance", "impls", "reports", "fuzz")
    code = "".join(path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert {row[0].strip("`") for row in rows(PAGE, "variable")} == set(re.findall(r"FDSPEC_[A-Z_]+[A-Z]", code))


def test_the_make_targets_are_all_of_them():
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = {name for row in rows(PAGE, "target") for name in re.findall(r"`make ([a-z]+)`", row[0])}
    assert named == targets - {"help"}
