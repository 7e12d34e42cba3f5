"""How a command ends that cannot go on: a message for people, and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

import click

OK, NOT_AS_EXPECTED, USAGE, NO_START, HARNESS = range(5)


class Stop(click.ClickException):
    """Ends the command with exit code ``code`` after showing the message on standard error."""

    def __init__(self, message: str, exit_code: int = USAGE) -> None:
        super().__init__(message)
        self.code = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message to standard error."""
        click.echo(f"fdspec: {self.message}", file=file, err=file is None)


def nearest(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return the hint for a name that nobody knows: the names that look like it, or ``otherwise``."""
    import difflib  # noqa: PLC0415 - only for mistakes

    close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else f"; {otherwise}"
