"""``fdspec report``: every format as a function of recorded runs."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import fuzzed
from .errors import HARNESS, Stop

if TYPE_CHECKING:
    from ..reports.store import Run


@click.command("report")
@click.argument("records", nargs=-1, metavar="RECORDS...", type=click.Path(path_type=Path))
@click.option("--html", "as_html", is_flag=True, help="Write index.html.")
@click.option("--junit", "as_junit", is_flag=True, help="Write junit.xml.")
@click.option("--summary", "as_summary", is_flag=True, help="Write summary.txt.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Write summary.md, as for a GitHub step's summary.")
@click.option("--github", "as_github", is_flag=True, help="Write annotations.txt: GitHub workflow commands to print.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the reports [default: where the records are]; several runs get a directory each inside.",
)
@click.option("--incomplete", is_flag=True, help="Accept what an interrupted run left behind.")
@fuzzed.option
@click.option("--schema", is_flag=True, help="Print the JSON Schema of records, and do nothing else.")
def command(
    records: tuple[Path, ...],
    as_html: bool,
    as_junit: bool,
    as_summary: bool,
    as_markdown: bool,
    as_github: bool,
    out: Path | None,
    incomplete: bool,
    findings: tuple[Path, ...],
    schema: bool,
) -> None:
    """Make the reports of recorded runs: RECORDS are records.jsonl files, or the directories that hold them.

    Without a format, the page, JUnit XML and the summary are written. The summary is printed in any case. Damaged or
    truncated records are an error.
    """
    from ..reports import github, html, junit, markdown, terminal  # noqa: PLC0415 - a verb's own imports wait for it
    from ..reports import schema as record_schema  # noqa: PLC0415

    if schema:
        click.echo(record_schema.text(), nl=False)
        return
    runs = [
        dataclasses.replace(run, fuzzed=fuzzed.fuzzed(findings, (one.id for one in run.implementations)))
        for run in _load(records, incomplete=incomplete)
    ]

    def text(run: Run) -> bytes:
        return terminal.summary(run, 100).encode()

    def commands(run: Run) -> bytes:
        return github.render(
            run, str(Path.cwd())
        )  # a file of a checkout is known by its whole path from anywhere in it

    usual = not (as_html or as_junit or as_summary or as_markdown or as_github)
    formats: list[tuple[str, bool, Callable[[Run], bytes]]] = [
        ("index.html", as_html or usual, html.render),
        ("junit.xml", as_junit or usual, junit.render),
        ("summary.txt", as_summary or usual, text),
        ("summary.md", as_markdown, markdown.render),
        ("annotations.txt", as_github, commands),
    ]
    wanted = [(name, render) for name, asked, render in formats if asked]
    for run, directory in zip(runs, _directories(runs, out), strict=True):
        if sys.stdout.isatty():
            from rich.console import Console  # noqa: PLC0415 - slow to import

            Console(highlight=False).print(terminal.render(run))
        else:
            click.echo(terminal.summary(run, 100), nl=False)
        _write(run, directory, wanted)


def _load(records: tuple[Path, ...], *, incomplete: bool) -> list[Run]:
    """Return the runs. Raises Stop (exit 2) for records that cannot be read."""
    from ..reports.store import RecordsError, load  # noqa: PLC0415 - see above

    if not records:
        raise click.UsageError("records to report on are missing: name a records.jsonl, or the directory of a run")
    try:
        return [load(path, allow_incomplete=incomplete) for path in records]
    except RecordsError as fault:
        raise Stop(str(fault)) from fault


def _write(run: Run, directory: Path, wanted: list[tuple[str, Callable[[Run], bytes]]]) -> None:
    """Write the formats and say where they are. Raises Stop (exit 4)."""
    from ..reports.write import WriteError, replace  # noqa: PLC0415 - see above

    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, render in wanted:
            replace(directory / name, render(run))
            click.echo(directory / name)
    except OSError as fault:
        raise Stop(f"{directory} cannot be made: {fault.strerror}; --out names another directory", HARNESS) from fault
    except WriteError as fault:
        raise Stop(str(fault), HARNESS) from fault


def _directories(runs: list[Run], out: Path | None) -> list[Path]:
    """Return where each run's reports go. Raises Stop where two would overwrite one another."""
    if out is None:
        found = [run.path.parent for run in runs]
    elif len(runs) == 1:
        found = [out]
    else:
        found = [out / _plain(run.header.run) for run in runs]
    twice = [directory for directory in found if found.count(directory) > 1]
    if twice:
        raise Stop(
            f"two of these runs would write their reports into {twice[0]}; report on them one by one, with --out"
        )
    return found


def _plain(name: str) -> str:
    """Return a run's name as one safe part of a path: what stands in a record is not to be trusted."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", name)[:100]
    return plain if plain.strip(".") else "run"
