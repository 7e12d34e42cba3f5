"""The summary of a run on a terminal: implementations by verdicts, then every failed case in one line.

rich costs more to import than most commands take, so it is imported when something is shown.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from .store import Run

if TYPE_CHECKING:
    from rich.console import RenderableType


def render(run: Run) -> RenderableType:
    """Return the summary for ``rich.console.Console.print``; nothing in it depends on colour; 80 columns are enough."""
    from . import table  # noqa: PLC0415 - rich, see above

    return table.render(run)


def summary(run: Run, width: int = 80) -> str:
    """Return the summary as plain text of ``width`` columns."""
    from rich.console import Console  # noqa: PLC0415 - rich, see above

    file = io.StringIO()
    console = Console(
        file=file, width=width, force_terminal=False, color_system=None, no_color=True, legacy_windows=False
    )
    console.print(render(run))
    return "".join(line.rstrip() + "\n" for line in file.getvalue().splitlines())
