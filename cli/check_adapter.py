"""``fdspec check-adapter``: prove that an adapter keeps the testee protocol, or tell what it got wrong."""

from __future__ import annotations

import click

from ..impls.errors import TesteeError
from ..impls.setup import Unavailable, prepare
from .errors import NO_START, NOT_AS_EXPECTED, OK, Stop
from .found import explain_missing, manifests, progress
from .options import implementations


@click.command("check-adapter")
@implementations
def command(names: tuple[str, ...]) -> int:
    """Prove that an adapter keeps the testee protocol, and tell what it got wrong."""
    if not names:
        raise Stop("an adapter to check is named by -i ID or -i path/to/impl.toml")
    return max(_check(name) for name in dict.fromkeys(names))


def _check(name: str) -> int:
    from ..impls.checkadapter import check_adapter  # noqa: PLC0415 - a verb's own imports wait for it
    from ..reports.text import block  # noqa: PLC0415

    (manifest,) = manifests([name])
    with progress() as show:
        prepared = prepare(manifest, show)
    if isinstance(prepared, Unavailable):
        raise Stop(explain_missing(prepared), NO_START)
    errors = 0
    try:
        for finding in check_adapter(manifest, prepared, click.echo):
            errors += finding.severity == "error"
            click.echo(f"{manifest.id}: {finding.severity}: {block(finding.text)}")
    except TesteeError as fault:
        raise Stop(f"{manifest.id} could not be started: {block(str(fault))}", NO_START) from fault
    return NOT_AS_EXPECTED if errors else OK
