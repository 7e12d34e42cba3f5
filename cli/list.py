"""``fdspec list``: the cases that a selection takes, or the requirements."""

from __future__ import annotations

import click

from .errors import Stop, nearest
from .options import selecting
from .table import columns


@click.command("list")
@selecting
@click.option("--requirements", is_flag=True, help="List requirements instead of cases; -k matches their ids.")
def command(
    patterns: tuple[str, ...], level: str | None, types: tuple[str, ...], profiles: tuple[str, ...], requirements: bool
) -> None:
    """List cases: id, level, the requirements that each checks, and what must happen."""
    import fnmatch  # noqa: PLC0415 - a verb's own imports wait for it

    from ..conformance.records import Level  # noqa: PLC0415
    from ..conformance.suite import ORDER, STREAM, TRANSPORT, Case, load_suite  # noqa: PLC0415

    suite = load_suite()
    strong = ORDER[: ORDER.index(Level(level)) + 1] if level else ORDER

    def matches(identity: str) -> bool:
        return not patterns or any(fnmatch.fnmatchcase(identity, pattern) for pattern in patterns)

    def applies(case: Case) -> bool:
        for profile in case.profiles:
            kinds = (STREAM,) if profile is TRANSPORT else case.types
            if (not profiles or profile in profiles) and (not types or any(kind in types for kind in kinds)):
                return True
        return False

    known = suite.requirements if requirements else suite.cases
    for pattern in patterns:
        if not fnmatch.filter(known, pattern):
            what = "requirement" if requirements else "case"
            raise Stop(f"no {what} matches {pattern!r}{nearest(pattern, known, '`fdspec list` shows all')}")
    if requirements:
        if types or profiles:
            raise Stop("--type and --profile select cases; leave them out, or leave out --requirements")
        chosen = [one for one in suite.requirements.values() if matches(one.id) and one.level in strong]
        rows = [(one.id, one.level.value, one.subject, one.sentence) for one in chosen]
    else:
        cases = [one for one in suite.cases.values() if matches(one.id) and one.level in strong and applies(one)]
        rows = [(one.id, one.level.value, ",".join(one.checks), one.summary) for one in cases]
    if not rows:
        raise Stop("nothing is selected by all of these options together; leave one out")
    click.echo(columns(rows), nl=False)
