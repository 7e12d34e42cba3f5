"""``fdspec run``: prepare the implementations, run pytest in this process, show what came of it."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..impls.manifest import Manifest
from ..impls.setup import Unavailable, prepare
from . import fuzzed
from .configured import Settings, configuring, jobs_of, settle
from .errors import HARNESS, NO_START, OK, USAGE, Stop
from .found import explain_missing, name_of, progress
from .options import implementations, selecting

if TYPE_CHECKING:
    import pytest

CONFORMANCE = Path(__file__).parent.parent / "conformance"
RECORDS = "records.jsonl"
OUT = "fdspec-out"
_PYTEST = "fdspec.pytest"
_PYTEST_USAGE = 4
"""pytest's own exit code of wrong usage."""


class _Run(click.Command):
    """A command that leaves what stands after ``--`` alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Cut the arguments at ``--``."""
        end = args.index("--") if "--" in args else len(args)
        ctx.meta[_PYTEST] = args[end + 1 :]
        return super().parse_args(ctx, args[:end])

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        """Show that there is a ``--``."""
        return [*super().collect_usage_pieces(ctx), "[-- PYTEST ARGUMENTS...]"]


@click.command("run", cls=_Run)
@implementations
@selecting
@click.option("-n", "jobs", metavar="JOBS", callback=jobs_of, help="Worker processes; 'auto' for one a core.")
@configuring
@click.option(
    "--expectations",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Judge by this file of known failures [default: the configuration's].",
)
@click.option("--no-expectations", is_flag=True, help="Judge every failure as one.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Directory for the records and reports [default: a new one in {OUT}/].",
)
@fuzzed.option
@click.option(
    "--personality",
    metavar="NAME",
    help="Answer the testees' calls as this other system would: macos, freebsd, illumos, linux-old. No real one runs.",
)
@click.option("--fail-fast", is_flag=True, help="Stop at the first case that does not pass.")
@click.option("--fresh", is_flag=True, help="A fresh testee for each case, instead of one that is reset between cases.")
@click.option(
    "--shuffle", "seed", type=int, metavar="SEED", help="Run the cases of each implementation in this random order."
)
def command(
    names: tuple[str, ...],
    patterns: tuple[str, ...],
    level: str | None,
    types: tuple[str, ...],
    profiles: tuple[str, ...],
    jobs: str | None,
    config: Path | None,
    no_config: bool,
    expectations: Path | None,
    no_expectations: bool,
    out: Path | None,
    findings: tuple[Path, ...],
    personality: str | None,
    fail_fast: bool,
    fresh: bool,
    seed: int | None,
) -> int:
    """Run the conformance cases against implementations.

    What the command line leaves open is taken from fdspec.toml, or [tool.fdspec] in pyproject.toml. Without either, it
    tests every implementation that can be had on this machine. Records are written as verdicts come, so
    an interrupted run (exit 4) keeps what it saw. Under a --personality the configured expectations are left out, and
    cases on the real kernel are not run. What stands after -- goes to pytest.
    """
    pytest_arguments: list[str] = click.get_current_context().meta[_PYTEST]
    settings = settle(
        config,
        no_config=no_config,
        names=names,
        level=level,
        types=types,
        profiles=profiles,
        patterns=patterns,
        jobs=jobs,
        expectations=expectations,
        no_expectations=no_expectations,
    )
    if personality and expectations is None:  # the configured ones are about the real kernel
        settings = replace(settings, expectations=None)
    if settings.words:
        click.echo(f"fdspec: {settings.words}", err=True)
    if not _prepare(settings.manifests, named=settings.named):
        return NO_START if settings.named else _nothing()
    directory = _directory(out)
    if findings:  # a file that is none is told before the run, not after it
        fuzzed.fuzzed(findings, ())
    options = _options(settings)
    options += [f"--fdspec-out={directory}"]
    options += [f"--fdspec-personality={personality}"] if personality else []
    options += ["--exitfirst"] if fail_fast else []
    options += ["--fdspec-fresh"] if fresh else []
    options += [f"--fdspec-shuffle={seed}"] if seed is not None else []
    status = _pytest(options, settings.jobs, pytest_arguments)
    if status == _PYTEST_USAGE and settings.patterns and not patterns and settings.configuration is not None:
        click.echo(f"fdspec: the patterns stand in {settings.configuration.place('cases')}", err=True)
    return _finish(directory, status, findings)


def _options(settings: Settings) -> list[str]:
    """Return the options of the plugin that say the same."""
    options = (
        [f"--fdspec-impl={name_of(manifest)}" for manifest in settings.manifests]
        if settings.named
        else ["--fdspec-all"]
    )
    options += [f"--fdspec-case={pattern}" for pattern in settings.patterns]
    options += [f"--fdspec-level={settings.level}"] if settings.level else []
    options += [f"--fdspec-type={kind}" for kind in settings.types]
    options += [f"--fdspec-profile={profile}" for profile in settings.profiles]
    options += [f"--fdspec-config={settings.configuration.name}"] if settings.configuration else []
    options += [f"--fdspec-expectations={settings.expectations}"] if settings.expectations else []
    options += [f"--fdspec-elsewhere={name}" for name in settings.elsewhere]
    return options


def _prepare(chosen: list[Manifest], *, named: bool) -> bool:
    """Set up what was asked for; tell what cannot be had by name. Returns whether anything can."""
    found = False
    for manifest in chosen:
        with progress() as show:
            prepared = prepare(manifest, show)
        if not isinstance(prepared, Unavailable):
            found = True
        elif named:
            click.echo(f"fdspec: {explain_missing(prepared)}", err=True)
    return found


def _nothing() -> int:
    raise Stop("no implementation of the catalogue can be had here; `fdspec impls` says why", NO_START)


def _directory(out: Path | None) -> Path:
    """Return where the records go, absolute."""
    if out is not None:
        directory = out.absolute()
        if (directory / RECORDS).exists():
            raise Stop(f"{out / RECORDS} exists, and records are never overwritten: name another directory by --out")
    else:
        run = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"
        directory = Path(OUT).absolute() / run
        try:
            directory.parent.mkdir(exist_ok=True)
            (directory.parent / ".gitignore").write_text("*\n")
        except OSError as fault:
            raise Stop(f"{directory.parent} cannot be made: {fault.strerror}; --out names another directory") from fault
    return directory


def _pytest(options: list[str], jobs: str | None, arguments: list[str]) -> int:
    """Run pytest in this process, away from the caller's own configuration of it.

    Plugins cost time: third-party ones are loaded only where arguments for pytest were given, as they may be meant for
    one, and pytest-xdist only where it is used.
    """
    import pytest  # noqa: PLC0415 - after the usage has been checked

    os.environ.pop("PYTEST_ADDOPTS", None)
    isolated = ["-c", os.devnull, f"--rootdir={CONFORMANCE}", "-p", "no:cacheprovider"]
    parallel = ["-n", str(jobs), "--dist", "loadgroup"] if jobs not in {None, "0"} else []
    if not arguments:
        os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
        isolated += ["-p", "fdspec.conformance.plugin", *(["-p", "xdist"] if parallel else [])]
    quiet = [
        "-q",
        "-o",
        "verbosity_assertions=2",
        "--no-header",
        "--tb=no",
        "-r",
        "N",
        "-W",
        "ignore::pytest.PytestAssertRewriteWarning",
    ]
    watch = _Watch()
    status = int(pytest.main([str(CONFORMANCE), *isolated, *quiet, *options, *parallel, *arguments], plugins=[watch]))
    for fault in watch.faults:
        click.echo(f"fdspec: {fault}", err=True)
    return status


class _Watch:
    """Keeps what the quiet output of pytest leaves out: why a module of the suite could not be collected."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        """Tell the plugin that what came of the run is shown here."""
        from ..conformance.plugin import SILENT  # noqa: PLC0415 - pytest has it by now

        config.stash[SILENT] = True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep the reason of a failure."""
        if report.failed:
            self.faults.append(f"{report.nodeid} could not be collected:\n{report.longreprtext}")


def _finish(directory: Path, status: int, findings: tuple[Path, ...]) -> int:
    """Show the summary, write the reports with what fuzzing has found, and return the exit code."""
    from ..reports import store, terminal, write  # noqa: PLC0415 - after the run

    records = directory / RECORDS
    if not records.exists():  # pytest has said what was wrong
        return USAGE if status in {4, 5} else HARNESS
    try:
        run = store.load(records, allow_incomplete=True)
    except store.RecordsError as fault:
        raise Stop(f"the records of this run cannot be read: {fault}", HARNESS) from fault
    run = replace(run, fuzzed=fuzzed.fuzzed(findings, (one.id for one in run.implementations)))
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - slow to import

        Console(highlight=False).print(terminal.render(run))
    else:
        click.echo(terminal.summary(run, 100), nl=False)
    footer = run.footer
    try:
        paths = write.write_all(records, directory, allow_incomplete=True, fuzzed=run.fuzzed)
    except write.WriteError as fault:
        raise Stop(str(fault), HARNESS) from fault
    click.echo(f"records  {_shown(records)}\nreport   {_shown(paths.html)}\nJUnit    {_shown(paths.junit)}")
    if footer is None:
        raise Stop(
            f"the run ended without its last record; {len(run.verdicts)} verdicts are kept in {records}", HARNESS
        )
    if not footer.complete:
        click.echo(
            f"fdspec: {footer.note or 'incomplete'}: {len(run.verdicts)} verdicts are kept in {records}", err=True
        )
    if footer.exit_code == OK and not footer.complete:
        return HARNESS
    if footer.exit_code == OK and status != OK:
        raise Stop(f"pytest ended with {status} although no verdict is bad: the harness failed", HARNESS)
    return footer.exit_code


def _shown(path: Path) -> str:
    """Return ``path`` as it is shortest to type from here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
