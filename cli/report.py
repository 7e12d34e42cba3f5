"""``fdspec report``: every format as a function of recorded runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import HARNESS, Stop

if TYPE_CHECKING:
    from ..reports.store import Run


@click.command("report")
@click.argument("records", nargs=-1, metavar="RECORDS...", type=click.Path(path_type=Path))
@click.option("--html", "as_html", is_flag=True, help="Write index.html.")
@click.option("--junit", "as_junit", is_flag=True, help="Write junit.xml.")
@click.option("--summary", "as_summary", is_flag=True, help="Write summary.txt.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for the reports [default: where the records are]; several runs get a directory each inside.",
)
@click.option("--incomplete", is_flag=True, help="Accept what an interrupted run left behind.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of records, and do nothing else.")
def command(
    records: tuple[Path, ...],
    as_html: bool,
    as_junit: bool,
    as_summary: bool,
    out: Path | None,
    incomplete: bool,
    schema: bool,
) -> None:
    """Make the reports of recorded runs: RECORDS are records.jsonl files, or the directories that hold them.

    Without a format, all are written. The summary is printed in any case. Damaged or truncated records are an error.
    """
    from ..reports import html, junit, terminal  # noqa: PLC0415 - a verb's own imports wait for it
    from ..reports import schema as record_schema  # noqa: PLC0415
    from ..reports.store import RecordsError, load  # noqa: PLC0415
    from ..reports.write import WriteError, replace  # noqa: PLC0415

    if schema:
        click.echo(record_schema.text(), nl=False)
        return
    if not records:
        raise click.UsageError("records to report on are missing: name a records.jsonl, or the directory of a run")
    try:
        runs = [load(path, allow_incomplete=incomplete) for path in records]
    except RecordsError as fault:
        raise Stop(str(fault)) from fault

    def text(run: Run) -> bytes:
        return terminal.summary(run, 100).encode()

    formats = [
        ("index.html", as_html, html.render),
        ("junit.xml", as_junit, junit.render),
        ("summary.txt", as_summary, text),
    ]
    wanted = [(name, render) for name, asked, render in formats if asked or not (as_html or as_junit or as_summary)]
    for run, directory in zip(runs, _directories(runs, out), strict=True):
        if sys.stdout.isatty():
            from rich.console import Console  # noqa: PLC0415 - slow to import

            Console(highlight=False).print(terminal.render(run))
        else:
            click.echo(terminal.summary(run, 100), nl=False)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for name, render in wanted:
                replace(directory / name, render(run))
                click.echo(directory / name)
        except OSError as fault:
            raise Stop(
                f"{directory} cannot be made: {fault.strerror}; --out names another directory", HARNESS
            ) from fault
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
