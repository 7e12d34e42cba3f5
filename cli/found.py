"""Implementations by what was typed, with errors for people, and their set-up with progress for people."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager

import click

from ..impls.manifest import Manifest, ManifestError
from ..impls.mutants import PREFIX
from ..impls.registry import CATALOGUE, UnknownImplementation, everything, find
from ..impls.setup import Progress, Unavailable
from .errors import Stop


def manifests(names: Iterable[str]) -> list[Manifest]:
    """Return what ``names`` mean, the whole catalogue when there is none. Raises Stop (exit 2)."""
    try:
        found = [find(name) for name in dict.fromkeys(names)] or everything()
    except (UnknownImplementation, ManifestError) as fault:
        raise Stop(str(fault)) from fault
    by_id: dict[str, Manifest] = {}
    for manifest in found:
        other = by_id.setdefault(manifest.id, manifest)
        if not other.file.samefile(manifest.file):
            files = f"{other.file} and {manifest.file}"
            raise Stop(f"two manifests have the id {manifest.id!r}: {files}; give one another id")
    return list(by_id.values())


def name_of(manifest: Manifest) -> str:
    """Return what must be typed for ``manifest`` from anywhere: its id, or its path."""
    return manifest.id if manifest.here.parent == CATALOGUE or manifest.id.startswith(PREFIX) else str(manifest.file)


def explain_missing(missing: Unavailable) -> str:
    """Return why an implementation cannot be had, with the last words of its build."""
    lines = [f"{missing.manifest.id} cannot be had here: {missing.reason}"]
    lines += [f"    {line}" for line in missing.words.splitlines()]
    if missing.log is not None:
        lines.append(f"    the whole log: {missing.log}")
    return "\n".join(lines)


@contextmanager
def progress() -> Generator[Progress]:
    """Yield a function that shows what goes on: one line that changes on a terminal, a line each otherwise.

    Nothing of weight is imported before there is something to show.
    """
    if not sys.stderr.isatty():
        yield lambda message: click.echo(f"fdspec: {message}", err=True)
        return
    display = _Display()
    try:
        yield display.show
    finally:
        display.end()


class _Display:
    """A spinner with the seconds that the step has taken so far."""

    def __init__(self) -> None:
        self._running = None

    def show(self, message: str) -> None:
        from rich.console import Console  # noqa: PLC0415 - see progress
        from rich.markup import escape  # noqa: PLC0415
        from rich.progress import Progress as Bar  # noqa: PLC0415
        from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

        self.end()
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        self._running = Bar(*columns, console=Console(stderr=True), transient=True)
        self._running.add_task(escape(message), total=None)
        self._running.start()

    def end(self) -> None:
        if self._running is not None:
            self._running.stop()
            self._running = None
