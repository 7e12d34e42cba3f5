"""``fdspec expect``: the file of known failures proved, fitted to a run, begun."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .configured import configuration_of, configured_manifests, configuring
from .errors import HARNESS, NOT_AS_EXPECTED, OK, Stop
from .found import manifests
from .options import implementations

if TYPE_CHECKING:
    from ..conformance.config import Configuration


@click.group("expect")
def command() -> None:
    """Prove the file of known failures, fit it to a run, or begin one."""


@command.command("check")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@configuring
def check(file: Path | None, config: Path | None, no_config: bool) -> int:
    """Prove a file of expectations against the suite, without running anything.

    FILE is the configuration's by default. Exit 1: an entry names nothing, two name the same, or one has expired. Exit 2:
    the file is broken.
    """
    from ..conformance import expectations  # noqa: PLC0415 - a verb's own imports wait for it
    from ..conformance.expectproof import problems  # noqa: PLC0415
    from ..conformance.facts import platform_facts  # noqa: PLC0415
    from ..conformance.gate import universe_of  # noqa: PLC0415
    from ..conformance.keeper import facts_of  # noqa: PLC0415
    from ..conformance.suite import load_suite  # noqa: PLC0415
    from ..conformance.tomlfile import TomlError  # noqa: PLC0415

    found = configuration_of(config, no_config=no_config)
    path = _file(file, found)
    try:
        read = expectations.load(path)
    except TomlError as fault:
        raise Stop(str(fault)) from fault
    configured = configured_manifests(found) if found else []
    named = [one.id for one in configured]
    universe = universe_of(load_suite(), configured or manifests(()), named)
    wrong = problems(read, facts_of(platform_facts()), universe)
    for one in wrong:
        click.echo(one)
    click.echo(f"{read.file}: {_count(len(read.entries), 'entry', 'entries')}, {_count(len(wrong), 'problem')}")
    return NOT_AS_EXPECTED if wrong else OK


@command.command("update")
@click.argument("records", required=False, metavar="[RECORDS]", type=click.Path(path_type=Path))
@click.option(
    "--file", type=click.Path(dir_okay=False, path_type=Path), help="The file [default: the configuration's]."
)
@click.option("--why", metavar="TEXT", help="The reason that new entries give [default: what was observed].")
@click.option("--dry-run", is_flag=True, help="Print what would change, and change nothing.")
@configuring
def update(
    records: Path | None, file: Path | None, why: str | None, dry_run: bool, config: Path | None, no_config: bool
) -> int:
    """Fit the expectations to what a complete run saw; comments and order are kept.

    RECORDS is the directory of a run, or its records.jsonl; by default the latest in fdspec-out/. Failures that nobody
    lists are added, verdicts corrected, entries narrowed, and those that pass taken out. A run that was narrowed or
    interrupted is refused. Exit 1: something is left that a person has to decide.
    """
    from ..conformance.rewrite import HEAD  # noqa: PLC0415 - a verb's own imports wait for it
    from .fitting import fitted, recorded  # noqa: PLC0415

    found = configuration_of(config, no_config=no_config)
    path = _file(file, found, new=True)
    old = _text(path) if path.exists() else ""
    made = fitted(recorded(records), found, old or HEAD, path, why)
    if dry_run:
        click.echo(_difference(old, made.text, path.name), nl=False)
    else:
        for line in made.done:
            click.echo(line)
        if made.text != old:
            _write(path, made.text)
    for line in made.left:
        click.echo(f"fdspec: left to you: {line}", err=True)
    if not made.done:
        click.echo(f"{path.name} fits already", err=dry_run)
    return NOT_AS_EXPECTED if made.left else OK


def _difference(old: str, new: str, name: str) -> str:
    lines = difflib.unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


@command.command("init")
@click.argument("records", required=False, metavar="[RECORDS]", type=click.Path(path_type=Path))
@implementations
@click.option("--why", metavar="TEXT", help="The reason that the entries give [default: what was observed].")
def init(records: Path | None, names: tuple[str, ...], why: str | None) -> int:
    """Begin a gate in this directory: fdspec.toml, and from a run expectations.toml.

    RECORDS is the directory of a complete run, or its records.jsonl. Without it, -i names what is to be tested. Nothing is
    overwritten.
    """
    from ..conformance import config, expectations  # noqa: PLC0415 - a verb's own imports wait for it
    from ..conformance.rewrite import HEAD  # noqa: PLC0415
    from ..conformance.tomlfile import TomlError  # noqa: PLC0415
    from ..impls.registry import ids  # noqa: PLC0415
    from .fitting import catalogue_names, fitted, recorded  # noqa: PLC0415

    own, path = Path.cwd() / config.FILE_NAME, Path.cwd() / expectations.FILE_NAME
    try:
        present = config.in_directory(Path.cwd())
    except TomlError as fault:
        raise Stop(str(fault)) from fault
    if present is not None:
        raise Stop(f"{present.file.name} is a configuration already; `fdspec expect update` fits its expectations")
    if records is not None and path.exists():
        raise Stop(f"{path.name} exists, and is not overwritten; write {own.name}, then `fdspec expect update`")
    if records is None:
        if not names:
            raise Stop("what is to be tested? Name it by -i ID or -i path/to/impl.toml, or name a run")
        manifests(names)
        _write(own, config.written(names, {}))
        click.echo(own.name)
        return OK
    run = recorded(records)
    chosen = names or catalogue_names(run, ids())
    configured = config.of_selection(own, chosen, run.header.selection)
    made = fitted(run, configured, HEAD, path, why)
    _write(path, made.text)
    _write(own, config.written(chosen, run.header.selection))
    click.echo(f"{own.name}\n{path.name}: {_count(len(made.done), 'entry', 'entries')}")
    return OK


def _file(named: Path | None, found: Configuration | None, *, new: bool = False) -> Path:
    """Return the file of expectations that is meant. Raises Stop."""
    if named is None and found is None:
        raise Stop("which file? Name it, or write a configuration; `fdspec expect init` begins one")
    if named is not None:
        return named.absolute()
    assert found is not None  # noqa: S101 - see above
    path = found.default_expectations
    if not (new or path.exists()):
        raise Stop(f"{found.name} has no expectations: there is no {path.name} beside it")
    return path


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as fault:
        raise Stop(f"{path} cannot be read: {fault}") from fault


def _write(path: Path, text: str) -> None:
    from ..reports.write import WriteError, replace  # noqa: PLC0415 - a verb's own imports wait for it

    try:
        replace(path.resolve(), text.encode())
    except WriteError as fault:
        raise Stop(str(fault), HARNESS) from fault


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
