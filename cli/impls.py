"""``fdspec impls``: what can be driven here, in which version, and why the rest cannot."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import msgspec

from ..impls.errors import TesteeError
from ..impls.manifest import Manifest
from ..impls.setup import Pending, Prepared, Unavailable, prepare, survey
from .errors import NO_START
from .found import manifests, progress
from .options import implementations
from .table import columns


class Row(msgspec.Struct, frozen=True):
    """One implementation as it stands here. ``state``: available, pending or unavailable; ``reason``: why not."""

    id: str
    name: str
    language: str
    homepage: str
    summary: str
    profiles: list[str]
    state: str
    version: str
    runtime: str
    reason: str
    manifest: str


@click.command("impls")
@implementations
@click.option("--setup", "build", is_flag=True, help="Set up what is not set up yet.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array instead of a table.")
def command(names: tuple[str, ...], build: bool, as_json: bool) -> int:
    """List the implementations: id, version, profiles, and whether each can be had here.

    The version is what the testee says when it is started. With -i, exit 3 tells that one of them is unavailable.
    """
    rows = [_row(manifest, build) for manifest in manifests(names)]
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
    else:
        table = [(row.id, row.version or "-", ",".join(row.profiles), _state(row)) for row in rows]
        click.echo(columns(table, ("id", "version", "profiles", "availability")), nl=False)
    return NO_START if names and any(row.state == "unavailable" for row in rows) else 0


def _state(row: Row) -> str:
    return f"{row.state}: {row.reason}" if row.reason else row.state


def _row(manifest: Manifest, build: bool) -> Row:
    from ..reports.text import line  # noqa: PLC0415 - a verb's own imports wait for it

    if build:
        with progress() as show:
            found = prepare(manifest, show)
    else:
        found = survey(manifest)
    version = runtime = reason = ""
    state = "available"
    match found:
        case Prepared():
            try:
                version, runtime = _greet(found)
            except TesteeError as fault:
                state, reason = "unavailable", f"it does not start: {fault}"
        case Pending():
            state, reason = "pending", "not set up yet; a run does it, or `fdspec impls --setup`"
        case Unavailable():
            state, reason = "unavailable", found.reason
    return Row(
        id=manifest.id,
        name=manifest.name,
        language=manifest.language,
        homepage=manifest.homepage,
        summary=manifest.summary,
        profiles=[profile.value for profile in manifest.profiles],
        state=state,
        version=line(version, 80),
        runtime=line(runtime, 80),
        reason=line(reason),
        manifest=str(manifest.file),
    )


def _greet(prepared: Prepared) -> tuple[str, str]:
    """Start the testee, and return the version and the runtime that it tells. Raises TesteeError."""
    from ..impls.process import Testee, launch_of  # noqa: PLC0415 - a verb's own imports wait for it

    with tempfile.TemporaryDirectory(prefix="fdspec-") as directory:
        testee = Testee(launch_of(prepared), Path(directory))
        try:
            return testee.hello.implementation.version, testee.hello.implementation.runtime
        finally:
            testee.kill()
