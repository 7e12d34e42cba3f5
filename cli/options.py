"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Function = TypeVar("Function", bound=Callable[..., Any])

LEVELS = ("must", "should", "may")
TYPES = ("stream", "dgram", "seqpacket")
PROFILES = ("message", "descriptors", "transport", "raw", "codec")


def selecting(function: Function) -> Function:
    """Add the options that select cases: ``patterns``, ``level``, ``types``, ``profiles``."""
    for option in reversed(_SELECTING):
        function = option(function)
    return function


_SELECTING = (
    click.option(
        "-k",
        "patterns",
        multiple=True,
        metavar="PATTERN",
        help="Only cases whose id matches, '*' and '?' allowed. Repeatable.",
    ),
    click.option("--level", type=click.Choice(LEVELS), help="Only cases of this level and of stronger ones."),
    click.option(
        "--type", "types", multiple=True, type=click.Choice(TYPES), help="Only this type of socket. Repeatable."
    ),
    click.option(
        "--profile", "profiles", multiple=True, type=click.Choice(PROFILES), help="Only this profile. Repeatable."
    ),
)

implementations = click.option(
    "-i",
    "--impl",
    "names",
    multiple=True,
    metavar="ID|PATH",
    help="An implementation: its id, or an impl.toml. Repeatable.",
)
