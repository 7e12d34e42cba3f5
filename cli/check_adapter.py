"""``fdspec check-adapter``: prove that an adapter keeps the testee protocol, or tell what it got wrong."""

from __future__ import annotations

import sys
import textwrap

import click

from ..impls.setup import Unavailable, prepare, quiet
from .errors import NO_START, NOT_AS_EXPECTED, OK, Stop
from .found import explain_missing, manifests, progress
from .options import implementations

_LONGEST = 4000
"""Characters of one finding that are shown."""


@click.command("check-adapter")
@implementations
def command(names: tuple[str, ...]) -> int:
    """Prove that an adapter keeps the testee protocol, and tell what it got wrong."""
    if not names:
        raise Stop("an adapter to check is named by -i ID or -i path/to/impl.toml")
    return max(_check(name) for name in dict.fromkeys(names))


def _check(name: str) -> int:
    from ..impls.checkadapter import Severity, check_adapter  # noqa: PLC0415 - a verb's own imports wait for it
    from ..reports.text import visible  # noqa: PLC0415

    (manifest,) = manifests([name])
    with progress() as show:
        prepared = prepare(manifest, show)
    if isinstance(prepared, Unavailable):
        raise Stop(explain_missing(prepared), NO_START)
    errors: list[str] = []
    count = 0
    with progress() as show:
        say = show if sys.stderr.isatty() else quiet
        for finding in check_adapter(manifest, prepared, say):
            count += 1
            if finding.severity is Severity.ERROR:
                errors.append(finding.rule)
            click.echo(f"{finding.severity.value:<5}  {visible(finding.rule)}")
            if finding.text:
                text = visible(finding.text, lines=True)[:_LONGEST]
                click.echo(textwrap.indent(text.rstrip(), " " * 7))
    if not errors:
        click.echo(f"{manifest.id} keeps the testee protocol: {count} rules tried")
        return OK
    click.echo(f"{manifest.id} breaks the testee protocol: {len(errors)} of {count} rules tried")
    return NO_START if errors[0].startswith("The testee starts") else NOT_AS_EXPECTED
