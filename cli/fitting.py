"""A recorded run as evidence for expectations: read, found to be whole, and the file made to fit it."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..conformance.covering import Evidence, plan
from ..conformance.expectations import understand
from ..conformance.gate import Slot, Universe, types_in, universe_of
from ..conformance.keeper import facts_of
from ..conformance.output import START_FAILED
from ..conformance.records import Level, VerdictRecord
from ..conformance.rewrite import edit
from ..conformance.suite import ORDER, load_suite
from ..conformance.tomlfile import TomlError, parse
from ..reports.store import FILE_NAME, RecordsError, Run, load
from ..reports.text import first
from .configured import configured_manifests
from .errors import Stop

if TYPE_CHECKING:
    from ..conformance.config import Configuration

OUT = Path("fdspec-out")
"""Where runs are kept that were given no other place."""
UNEXPLAINED = "UNEXPLAINED"
"""How the reason begins of an entry that nobody has explained yet."""


@dataclass(frozen=True)
class Fitted:
    """A new text; what was ``done``, and what is ``left`` for a person to decide, a line each."""

    text: str
    done: list[str]
    left: list[str]


def recorded(records: Path | None) -> Run:
    """Return the run that is meant, by default the latest here. Raises Stop for records that are not whole."""
    if records is None:
        runs = sorted(OUT.glob(f"*/{FILE_NAME}"), key=lambda path: (path.stat().st_mtime_ns, path))
        if not runs:
            raise Stop(f"no run is in {OUT}/: `fdspec run` makes one, or name the directory of another")
        records = runs[-1].parent
        click.echo(f"fdspec: the latest run, {records}", err=True)
    try:
        run = load(records)
    except RecordsError as fault:
        raise Stop(str(fault)) from fault
    if run.incomplete:
        raise Stop(f"{run.path}: {run.incomplete} Expectations are fitted to whole runs only")
    return run


def fitted(run: Run, found: Configuration | None, text: str, path: Path, why: str | None) -> Fitted:
    """Return the ``text`` of the file at ``path`` made to fit a run. Raises Stop for a broken file or a partial run."""
    try:
        document = parse(text, path)
        entries = understand(document).entries
    except TomlError as fault:
        raise Stop(str(fault)) from fault
    made = plan(entries, _evidence(run, found), lambda verdict: why or _observed(verdict))
    new = edit(document, entries, made.instead, made.added)
    understand(parse(new, path))  # what this wrote, it can read
    return Fitted(new, made.done, made.left)


def _observed(verdict: VerdictRecord) -> str:
    return f"{UNEXPLAINED}: {first(verdict.observed, 160) or verdict.verdict.value}"


def _evidence(run: Run, found: Configuration | None) -> Evidence:
    """Return what a run saw. Raises Stop where it did not see all that it should have."""
    configured = [one.id for one in configured_manifests(found)] if found else []
    suite = universe_of(load_suite(), (), configured)
    ran = {one.id: tuple(one.profiles) for one in run.implementations}
    universe = Universe(suite.cases, ran, suite.elsewhere)
    reason = _other_selection(run, found, configured) or _gaps(run, universe)
    if reason:
        raise Stop(f"{run.path}: {reason}. Expectations are fitted to whole runs only: run again")
    versions = {one.id: one.version for one in run.implementations}
    return Evidence(run.verdicts, facts_of(run.header.platform), universe, versions)


def _other_selection(run: Run, found: Configuration | None, configured: list[str]) -> str:
    """Return in which way a run selected something else than the configuration does; empty where it did not."""
    name = found.name if found else "there is no configuration, and nothing"
    wanted = {
        "cases": " ".join(found.cases) if found else "",
        "level": (found.level or "") if found else "",
        "types": " ".join(found.types) if found else "",
        "profiles": " ".join(found.profiles) if found else "",
    }
    for key, value in wanted.items():
        ran = run.header.selection.get(key, "")
        if ran != value:
            return f"it ran with {key} {ran or 'all'}, and {name} says {value or 'all'}"
    ids = {one.id for one in run.implementations}
    if configured and ids != set(configured):
        return f"it ran {', '.join(sorted(ids))}, and {name} says {', '.join(configured)}"
    missing = [one for one in run.implementations if configured and not one.available]
    return f"{missing[0].id} could not be had: {first(missing[0].reason)}" if missing else ""


def _gaps(run: Run, universe: Universe) -> str:
    """Return what a run lacks that the suite has, or what makes its verdicts no evidence; empty where it is whole."""
    for verdict in run.verdicts:
        if verdict.reason == START_FAILED:
            return f"{verdict.implementation} did not start"
    outcomes: dict[tuple[str, ...], set[tuple[str, str]]] = {}
    for one in run.verdicts:
        key = (one.implementation, one.case, one.profile, one.type, one.variant)
        outcomes.setdefault(key, set()).add((one.verdict.value, one.reason))
    for key, came in outcomes.items():
        if len(came) > 1:
            return f"{' '.join(key)} came to different verdicts: a flake is no known failure"
    seen = {Slot(one.implementation, one.case, one.profile, one.type) for one in run.verdicts}
    for slot in _due(run, universe):
        if slot not in seen:
            return f"it has no verdict of {slot.case} on {slot.implementation} [{slot.profile} {slot.type}]"
    return ""


def _due(run: Run, universe: Universe) -> list[Slot]:
    """Return the slots in which a run with that selection has a verdict today."""
    selection = run.header.selection
    level = selection.get("level")
    strong = ORDER[: ORDER.index(Level(level)) + 1] if level else ORDER
    patterns, types, profiles = (selection.get(key, "").split() for key in ("cases", "types", "profiles"))
    cases = [
        case
        for case in load_suite().cases.values()
        if case.level in strong and (not patterns or any(fnmatch.fnmatchcase(case.id, pattern) for pattern in patterns))
    ]
    return [
        Slot(one.id, case.id, profile, kind)
        for one in run.implementations
        if one.available
        for case in cases
        for profile in one.profiles
        if not profiles or profile in profiles
        for kind in sorted(types_in(profile, universe.cases[case.id]))
        if not types or kind in types
    ]


def catalogue_names(run: Run, known: list[str]) -> tuple[str, ...]:
    """Return the ids of a run's implementations. Raises Stop for one that only a path leads to."""
    for one in run.implementations:
        if one.id not in known:
            raise Stop(f"{first(one.id)!r} is not in the catalogue; name its manifest by -i path/to/impl.toml")
    return tuple(one.id for one in run.implementations)
