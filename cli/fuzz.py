"""``fdspec fuzz``: campaigns on implementations, and what is done with their findings."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import re
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..conformance.tomlfile import shown
from .busy import cores
from .errors import HARNESS, NO_START, NOT_AS_EXPECTED, OK, Stop
from .found import explain_missing, manifests, name_of, progress
from .options import implementations

if TYPE_CHECKING:
    from ..fuzz.campaign.campaign import Campaign, Plan
    from ..fuzz.findings.finding import Finding
    from ..impls.manifest import Manifest

ENGINES = ("guided", "hypothesis", "atheris", "differential")
PROFILES = ("message", "descriptors", "transport")
OUT = Path("fdspec-out/fuzz")
OPENER = "FDSPEC_FUZZ_RUNNER"
"""The environment variable that names what opens runners, ``module:function``, in place of fdspec's own: for tests of it."""
_NEEDS = {"hypothesis": "hypothesis", "atheris": "atheris"}
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SUBCOMMANDS = {"promote": ("fuzz_promote", "Make a permanent case of a finding.")}


class _Fuzz(click.Group):
    """A group that does something by itself, and whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the subcommands."""
        return list(_SUBCOMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import a subcommand."""
        found = _SUBCOMMANDS.get(cmd_name)
        return importlib.import_module(f".{found[0]}", __package__).command if found else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List the subcommands without importing them."""
        with formatter.section("Subcommands"):
            formatter.write_dl([(verb, summary) for verb, (_, summary) in _SUBCOMMANDS.items()])


def _seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,7})([smhd]?)", value)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"a time such as 90s, 10m, 2h or 1d expected, {value!r} came")
    return float(int(found[1]) * _UNITS[found[2]])


@click.group("fuzz", cls=_Fuzz, invoke_without_command=True)
@implementations
@click.option(
    "--engine", type=click.Choice(ENGINES), default="guided", show_default=True, help="What chooses programs."
)
@click.option("--time", "seconds", metavar="TIME", callback=_seconds, help="End after this time: 90s, 10m, 2h, 1d.")
@click.option("--runs", type=click.IntRange(1), metavar="N", help="End after N programs for each implementation.")
@click.option(
    "-n", "--jobs", type=click.IntRange(1, 1024), metavar="JOBS", help="Worker processes [default: one for each core]."
)
@click.option(
    "--seed", type=click.IntRange(0, 2**63 - 1), help="The seed of every random choice [default: a random one]."
)
@click.option(
    "--corpus",
    "further",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Begin with the programs in this directory, too. Repeatable.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help=f"The campaign's directory, gone on with where it is there [default: {OUT}/IMPLEMENTATION].",
)
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.Choice(PROFILES),
    help="Only programs of this profile. Repeatable.",
)
@click.option(
    "--interpose/--no-interpose",
    default=False,
    help="Also programs with failing calls, forged control data and other systems' ways [default: no].",
)
@click.option("--minimise-corpus", "only", is_flag=True, help="Only make the corpus in the directory small.")
@click.option("--scheduler", metavar="ADDRESS", help="Work on this Dask scheduler's workers: tcp://HOST:PORT.")
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    engine: str,
    seconds: float | None,
    runs: int | None,
    jobs: int | None,
    seed: int | None,
    further: tuple[Path, ...],
    out: Path | None,
    profiles: tuple[str, ...],
    interpose: bool,
    only: bool,
    scheduler: str | None,
) -> int | None:
    """Search for programs that make an implementation do what it must not.

    A campaign goes on until its --time or its --runs are over, or Ctrl-C. What it finds is proved, made small and written
    down, a file each; `fdspec replay` shows it again. Killed at any moment and started again, it goes on where it was.
    Exit code 1 while there are findings in its directory; 4 where it was ended before its --time or --runs were over.
    """
    if context.invoked_subcommand is not None:
        return None
    subjects = _subjects(names, engine, here=scheduler is None)
    package = _NEEDS.get(engine, "")
    if package and importlib.util.find_spec(package) is None:
        raise Stop(f"the engine {engine} needs the package {package}: pip install 'fdspec[fuzz]'")
    if scheduler and importlib.util.find_spec("distributed") is None:
        raise Stop("--scheduler needs the package distributed: pip install 'fdspec[distributed]'")
    from ..fuzz.campaign.campaign import OPENER as USUAL  # noqa: PLC0415 - after the usage has been checked
    from ..fuzz.campaign.campaign import Plan  # noqa: PLC0415
    from ..impls.protocol.values import Profile  # noqa: PLC0415

    seed = secrets.randbelow(2**32) if seed is None else seed
    workers = jobs or cores()
    plans = [
        Plan(
            subject,
            _directory(out, subject, several=len(subjects) > 1),
            engine,
            max(1, workers // len(subjects) + (number < workers % len(subjects))),
            seed,
            runs,
            seconds,
            tuple(str(one.absolute()) for one in further),
            tuple(Profile(one) for one in profiles),
            interpose,
            os.environ.get(OPENER, USUAL),
            "only" if only else "end",
        )
        for number, subject in enumerate(subjects)
    ]
    if only:
        for plan in plans:
            if not (plan.directory / "campaign.json").exists():
                raise Stop(f"{plan.directory} is no campaign's: --minimise-corpus is for one that was begun")
    return _far(plans, scheduler) if scheduler else _here(plans)


def _subjects(names: Sequence[str], engine: str, *, here: bool) -> list[str]:
    """Return what is to be tested, one subject a campaign, set up where that is done ``here``. Raises Stop."""
    if not names:
        raise Stop("say what is to be tested: -i ID, or -i PATH of an impl.toml; `fdspec impls` lists the ids")
    if OPENER in os.environ:
        subjects = list(dict.fromkeys(names))
    else:
        chosen = manifests(names)
        for manifest in chosen if here else ():
            _prepare(manifest)
        subjects = [name_of(manifest) for manifest in chosen]
    if engine != "differential":
        return subjects
    if len(subjects) < 2:
        raise Stop("the engine differential compares implementations: name at least two, -i A -i B")
    return [",".join(subjects)]


def _prepare(manifest: Manifest) -> None:
    """Set an implementation up. Raises Stop (exit 3) where it cannot be had."""
    from ..impls.setup import Unavailable, prepare  # noqa: PLC0415

    with progress() as show:
        prepared = prepare(manifest, show)
    if isinstance(prepared, Unavailable):
        raise Stop(explain_missing(prepared), NO_START)


def _directory(out: Path | None, subject: str, *, several: bool) -> Path:
    """Return the campaign's directory, absolute."""
    parts = [Path(one).parent.name if one.endswith(".toml") else one for one in subject.split(",")]
    name = re.sub(r"[^A-Za-z0-9._+-]+", "-", "+".join(parts)).strip("-.") or "campaign"
    return (OUT / name if out is None else out / name if several else out).absolute()


def _here(plans: Sequence[Plan]) -> int:
    """Run campaigns on this machine."""
    from ..fuzz.campaign.campaign import Campaign, run  # noqa: PLC0415 - as above
    from ..fuzz.campaign.display import Display, summary  # noqa: PLC0415
    from ..fuzz.campaign.faults import Refused, Unwritable  # noqa: PLC0415

    display = Display(sys.stdout)
    campaigns: list[Campaign] = []
    try:
        for plan in plans:
            _hide(plan.directory)
            campaigns.append(Campaign(plan, display.note))
        for one in campaigns:
            display.note(_beginning(one))
        with display.living(terminal=sys.stdout.isatty()):
            run(campaigns, lambda: display.show(campaigns))
        for one in campaigns:
            one.finish()
            click.echo(summary(one))
        return max(_code(one) for one in campaigns)
    except Refused as fault:
        raise Stop(str(fault)) from fault
    except Unwritable as fault:
        raise Stop(str(fault), HARNESS) from fault
    finally:
        for one in campaigns:
            one.close()


def _beginning(one: Campaign) -> str:
    """Return how a campaign begins, in words."""
    plan, state = one.plan, one.state
    if plan.minimise == "only":
        return f"{plan.subject}: making the corpus of {one.shown.corpus:,} programs small"
    how = f"begins with {one.shown.corpus:,} programs"
    if state.epoch > 1:
        how = f"goes on (epoch {state.epoch}) after {state.programs:,} programs, with a corpus of {one.shown.corpus:,}"
    jobs = f"{plan.jobs} worker{'' if plan.jobs == 1 else 's'}"
    return f"{plan.subject}: {how}; engine {plan.engine}, {jobs}, seed {plan.seed}, in {shown(plan.directory)}"


def _hide(directory: Path) -> None:
    """Keep the default directory out of version control; an explicit one is its owner's."""
    if directory.is_relative_to(OUT.absolute()):
        with contextlib.suppress(OSError):  # the campaign itself will say what is wrong there
            OUT.parent.mkdir(exist_ok=True)
            (OUT.parent / ".gitignore").write_text("*\n")


def _code(one: Campaign) -> int:
    """Return the exit code of a campaign that has ended, and say what of it no summary shows."""
    ran, unsupported = one.ran
    found = one.all_found()
    if one.ending is not None:
        return _told(one.ending.message, one.ending.code)
    if one.plan.minimise == "only":
        return HARNESS if one.interrupted else OK
    if ran and ran == unsupported:
        return _told(f"no program could be run on {one.plan.subject}, so nothing was tested", HARNESS)
    differential = one.plan.engine == "differential"
    code = _differences(list(found.values())) if differential else NOT_AS_EXPECTED if found else OK
    if not code and one.cut_short:
        return _told("it was ended before its --time or --runs were over, so it says nothing", HARNESS)
    return code


def _told(message: str, code: int) -> int:
    click.echo(f"fdspec: {message}", err=True)
    return code


def _differences(found: list[Finding]) -> int:
    """Show differences by behaviour; those for which the specification leaves the choice are as expected."""
    from ..fuzz.engines.differential import table, wrong  # noqa: PLC0415 - for who asks for it

    click.echo(table(found), nl=False)
    return NOT_AS_EXPECTED if wrong(found) else OK


def _far(plans: Sequence[Plan], scheduler: str) -> int:
    """Hand campaigns over to a scheduler's workers."""
    from .fuzz_far import campaign  # noqa: PLC0415 - imports Dask

    return max(campaign(plan, scheduler) for plan in plans)
