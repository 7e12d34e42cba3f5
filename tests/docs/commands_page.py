"""The tables of options on the manual's page of commands, made from the command line's own definitions.

python tests/docs/commands_page.py        writes them into docs/commands.md
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from fdspec.cli import VERBS, _fdspec
from fdspec.conformance import plugin

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
MARK = re.compile(r"(<!-- options: (?P<name>[\w-]+) -->\n)(?:\n(?:\|.*\n)+)?")


def tables() -> dict[str, str]:
    """Return the table of each verb, of the parts that a verb has, of ``fdspec`` itself, and of the pytest plugin."""
    context = click.Context(_fdspec, info_name="fdspec", help_option_names=["-h", "--help"])
    found = {"fdspec": _table(_rows(_fdspec, context))}
    for verb in VERBS:
        command = _fdspec.get_command(context, verb)
        assert command is not None, verb
        inner = click.Context(command, info_name=verb, parent=context)
        found[verb] = _table(_rows(command, inner))
        for name in command.list_commands(inner) if isinstance(command, click.Group) else ():
            part = command.get_command(inner, name)
            assert part is not None, name
            found[f"{verb}-{name}"] = _table(_rows(part, click.Context(part, info_name=name, parent=inner)))
    found["pytest"] = _table(_pytest_rows())
    return found


def filled(text: str) -> str:
    """Return the page with its tables as they should be. Raises KeyError for a mark that names no verb."""
    made = tables()
    return MARK.sub(lambda mark: f"{mark[1]}\n{made[mark['name']]}", text)


def _rows(command: click.Command, context: click.Context) -> Iterator[tuple[str, str]]:
    for parameter in command.params:  # without --help, which click makes once, by the first context that asks for it
        if isinstance(parameter, click.Option):
            names = ", ".join(f"`{name}`" for name in [*parameter.opts, *parameter.secondary_opts])
            yield names + _value(parameter, context), _cell(parameter.help or "")
    yield ", ".join(f"`{name}`" for name in context.help_option_names), "Show this message and exit."


def _value(option: click.Option, context: click.Context) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice):
        return " " + ", ".join(option.type.choices)
    return " " + _cell(option.make_metavar(context) if _takes_context(option) else option.make_metavar())


def _takes_context(option: click.Option) -> bool:
    """Whether this click wants the context (since 8.2)."""
    return option.make_metavar.__code__.co_argcount > 1


def _pytest_rows() -> Iterator[tuple[str, str]]:
    parser = pytest.Parser(_ispytest=True)
    plugin.pytest_addoption(parser)
    for option in parser.getgroup("fdspec").options:
        facts = option.attrs()
        value = ", ".join(facts["choices"]) if facts.get("choices") else facts.get("metavar") or ""
        yield (
            ", ".join(f"`{name}`" for name in option.names()) + (f" {_cell(value)}" if value else ""),
            _cell(facts["help"]),
        )


def _table(rows: Iterator[tuple[str, str]]) -> str:
    return "| option | what |\n|---|---|\n" + "".join(f"| {option} | {what} |\n" for option, what in rows)


def _cell(text: str) -> str:
    """Return ``text`` for a cell, in which a bar would end it and an asterisk would begin emphasis."""
    return " ".join(text.replace("|", " or ").replace("*", "\\*").split())


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
