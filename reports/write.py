"""Write every format of a run beside its records."""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import html, junit, terminal
from .findings import Fuzzed
from .store import Run, load
from .text import line


class WriteError(Exception):
    """A report that could not be written: which file, why, and what to do."""


@dataclass(frozen=True)
class Paths:
    """Where the formats of a run are."""

    html: Path
    junit: Path
    summary: Path


def _summary(run: Run) -> bytes:
    return terminal.summary(run, 100).encode()


_FORMATS: tuple[tuple[str, Callable[[Run], bytes]], ...] = (
    ("index.html", html.render),
    ("junit.xml", junit.render),
    ("summary.txt", _summary),
)


def write_all(records: Path, out: Path, *, allow_incomplete: bool = False, fuzzed: tuple[Fuzzed, ...] = ()) -> Paths:
    """Write index.html, junit.xml and summary.txt into ``out``. Raises RecordsError and WriteError.

    ``fuzzed``: what fuzzing found in these implementations.
    Each file appears whole or not at all; nothing is written when the records can't be read.
    """
    run = dataclasses.replace(load(records, allow_incomplete=allow_incomplete), fuzzed=fuzzed)
    documents = [(out / name, render(run)) for name, render in _FORMATS]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(
            f"{line(str(out))}: can't be made a directory ({error.strerror}). Name another one."
        ) from error
    for path, content in documents:
        replace(path, content)
    return Paths(*(path for path, _ in documents))


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` into ``path`` at once: a reader sees the old file or the new one. Raises WriteError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise WriteError(
            f"{line(str(path))}: can't be written ({error.strerror or error}). "
            "Free some space or name another directory; the records are as they were."
        ) from error
