"""``fdspec coverage``: what the suite covers of its specification, and which real defects it catches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from .errors import NOT_AS_EXPECTED
from .table import columns

if TYPE_CHECKING:
    from ..conformance.coverage import Line
    from ..conformance.defects import Catalogue, Caught

_SHORT = {"Linux selftests": "selftests"}


@click.command("coverage")
@click.option("--defects", is_flag=True, help="Real defects, and the cases and mutants that stand against them.")
@click.option("--json", "form", flag_value="json", help="Print JSON instead of a table.")
@click.option("--markdown", "form", flag_value="markdown", help="Print a Markdown table.")
def command(defects: bool, form: str | None) -> int:
    """Print how many requirements have cases, section by section, beside the suites of others.

    Exit 1 tells of a gap: a requirement without a case, or with --defects a defect that should have one and has none.
    """
    return _defects(form) if defects else _requirements(form)


def _requirements(form: str | None) -> int:
    from ..conformance.coverage import account  # noqa: PLC0415 - a verb's own imports wait for it
    from ..conformance.suite import load_suite  # noqa: PLC0415

    lines = account(load_suite())
    missing = lines[-1].missing
    if form == "json":
        _json({"sections": lines[:-1], "all": lines[-1]})
    else:
        _show([_heads(lines[0]), *map(_cells, lines)], form, first=1)
        if missing:
            click.echo(f"\nwithout a case: {', '.join(missing)}")
    return NOT_AS_EXPECTED if missing else 0


def _heads(line: Line) -> list[str]:
    peers = [_SHORT.get(peer, peer) for peer in line.peers]
    return ["section", "requirements", *line.levels, "with case", "cases", "verdicts", *peers, "nobody else"]


def _cells(line: Line) -> list[str]:
    counts = (line.requirements, *line.levels.values(), line.covered, line.cases, line.verdicts)
    return [line.title, *map(str, (*counts, *line.peers.values(), line.alone))]


def _defects(form: str | None) -> int:
    from ..conformance.defects import caught, read_defects  # noqa: PLC0415 - a verb's own imports wait for it
    from ..conformance.suite import load_suite  # noqa: PLC0415
    from ..impls.mutants.tables import everything  # noqa: PLC0415

    catalogue = read_defects()
    found = caught(catalogue.defect, load_suite().cases, everything())
    gaps = [one for one in found if one.gap]
    if form == "json":
        rows = [
            {**_plain(one.defect), "cases": one.cases, "unknown": one.unknown, "mutants": one.mutants} for one in found
        ]
        _json({"classes": catalogue.classes, "defects": rows, "gaps": [one.defect.id for one in gaps]})
    else:
        heads = ["defect", "class", "project", "where", "cases", "mutants"]
        _show([heads, *map(_row, found)], form, first=len(heads))
        click.echo("\n" + _summary(catalogue, found))
        for one in gaps:
            lost = f"; there is no case {', '.join(one.unknown)}" if one.unknown else ""
            click.echo(f"GAP {one.defect.id}: {one.defect.project}: {one.defect.what}{lost}")
    return NOT_AS_EXPECTED if gaps else 0


def _plain(thing: object) -> dict[str, object]:
    import msgspec  # noqa: PLC0415 - a verb's own imports wait for it

    return msgspec.to_builtins(thing)


def _row(one: Caught) -> list[str]:
    cases = "GAP" if one.gap else ", ".join(one.cases) or "-"
    return [one.defect.id, one.defect.group, one.defect.project, one.defect.where, cases, ", ".join(one.mutants) or "-"]


def _summary(catalogue: Catalogue, found: Sequence[Caught]) -> str:
    from ..conformance.defects import Where  # noqa: PLC0415 - loaded by now

    parts: list[str] = []
    for where in Where:
        those = [one for one in found if one.defect.where is where]
        parts.append(f"{where} {sum(bool(one.cases) for one in those)} of {len(those)}")
    repeated = sum(bool(one.mutants) for one in found)
    return (
        f"{len(found)} defects in {len(catalogue.classes)} classes; caught by cases: {', '.join(parts)}; "
        f"repeated by mutants: {repeated}"
    )


def _json(value: object) -> None:
    import msgspec  # noqa: PLC0415 - a verb's own imports wait for it

    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def _show(rows: list[list[str]], form: str | None, *, first: int) -> None:
    """Print ``rows``, heads first; the columns from ``first`` on hold numbers."""
    if form == "markdown":
        rule = ["---" if index < first else "--:" for index in range(len(rows[0]))]
        for row in [rows[0], rule, *rows[1:]]:
            click.echo("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
        return
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    aligned = [
        [cell.rjust(widths[index]) if index >= first else cell for index, cell in enumerate(row)] for row in rows
    ]
    click.echo(columns(aligned[1:], aligned[0]), nl=False)
