"""The command ``fdspec``: one module per verb, each imported when it is asked for.

Exit codes: 0 as expected; 1 not as expected; 2 wrong usage, or no case selected; 3 an implementation could not start;
4 the harness itself failed, or the run was interrupted. Nothing ends in a traceback.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from .. import __version__
from .errors import HARNESS, USAGE, Stop

__all__ = ["main"]

VERBS: dict[str, tuple[str, str]] = {
    "run": ("run", "Run the conformance cases against implementations."),
    "expect": ("expect", "Prove the file of known failures, fit it to a run, or begin one."),
    "fuzz": ("fuzz", "Search for programs that make an implementation do what it must not."),
    "stability": ("stability", "Run a selection again and again, and name every flake."),
    "list": ("list", "List cases or requirements."),
    "explain": ("explain", "Print all that is known of a case or a requirement."),
    "model": ("model", "Explain a sequence of operations on sockets, and run it on the kernel of this machine."),
    "coverage": ("coverage", "Print what the suite covers of its specification, and which real defects it catches."),
    "mutants": ("mutants", "Run the suite against faulty variants of the reference, and say who caught what."),
    "impls": ("impls", "List the implementations and whether they can be had here."),
    "check-adapter": ("check_adapter", "Prove that an adapter keeps the testee protocol."),
    "replay": ("replay", "Run the program of a finding again, or print it as plain system calls."),
    "report": ("report", "Make the reports of recorded runs."),
}
"""Verbs with their modules and what they do; a module's command is called ``command``."""

_EPILOG = (
    "Exit codes: 0 as expected; 1 not as expected; 2 wrong usage, or no case selected; 3 an implementation could not "
    "start; 4 the harness itself failed, or the run was interrupted."
)


class _Verbs(click.Group):
    """A group whose commands are imported when they are used, so that a run starts fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """Return the verbs in the order of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import the verb."""
        found = VERBS.get(cmd_name)
        return importlib.import_module(f".{found[0]}", __package__).command if found else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest verb for one that does not exist."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from .errors import nearest  # noqa: PLC0415 - only for mistakes

            ctx.fail(f"no such verb: {args[0]!r}{nearest(args[0], VERBS, '`fdspec --help` lists them')}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, summary) for verb, (_, summary) in VERBS.items()])


@click.group(cls=_Verbs, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="fdspec %(version)s")
def _fdspec() -> None:
    """Conformance of passing file descriptors over AF_UNIX sockets (SCM_RIGHTS)."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    code = run(arguments)
    try:
        sys.stdout.flush()
    except OSError:
        code = code or HARNESS
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the interpreter's own flush at exit stays silent
    sys.exit(code)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    try:
        code = _fdspec.main(arguments, prog_name="fdspec", standalone_mode=False)
    except Stop as stop:
        stop.show()
        return stop.code
    except click.ClickException as fault:
        fault.show()
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        click.echo("fdspec: interrupted", err=True)
        return HARNESS
    except SystemExit:  # click's answer to a closed pipe
        return HARNESS
    except Exception as fault:  # noqa: BLE001 - whatever happens, no traceback is thrown at people unasked
        if os.environ.get("FDSPEC_TRACEBACK"):
            traceback.print_exc()
        kind = type(fault).__name__
        click.echo(f"fdspec: the harness failed: {kind}: {fault}\n(FDSPEC_TRACEBACK=1 shows where)", err=True)
        return HARNESS
    return code if isinstance(code, int) else 0
