"""What a run is to do: the command line, and for all that it leaves open the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..impls.manifest import Manifest
from .errors import Stop
from .found import manifests

if TYPE_CHECKING:
    from ..conformance.config import Configuration

Function = TypeVar("Function", bound=Callable[..., Any])

_CONFIGURING = (
    click.option(
        "--config",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The configuration [default: the nearest fdspec.toml, or pyproject.toml with [tool.fdspec]].",
    ),
    click.option("--no-config", is_flag=True, help="Use no configuration."),
)


def configuring(function: Function) -> Function:
    """Add the options that choose a configuration: ``config``, ``no_config``."""
    for option in reversed(_CONFIGURING):
        function = option(function)
    return function


def jobs_of(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Check a number of workers, as click's callback."""
    if value is None:
        return None
    from ..conformance.config import JOBS  # noqa: PLC0415 - only for those who name one

    if not JOBS.fullmatch(value):
        raise click.BadParameter(f"a number, or 'auto', expected, {value!r} came")
    return value


@dataclass(frozen=True)
class Settings:
    """What a run is to do. ``named``: whether the implementations were asked for one by one.

    ``expectations``: absolute, None for no gate. ``elsewhere``: ids of the configured implementations that this run leaves out.
    """

    configuration: Configuration | None
    manifests: list[Manifest]
    named: bool
    level: str | None
    types: tuple[str, ...]
    profiles: tuple[str, ...]
    patterns: tuple[str, ...]
    jobs: str | None
    expectations: Path | None
    elsewhere: tuple[str, ...]

    @property
    def words(self) -> str:
        """Which files are used, in words; empty where there is none."""
        from ..conformance.tomlfile import shown  # noqa: PLC0415 - a verb's own imports wait for it

        files = [("configuration", self.configuration.file if self.configuration else None)]
        files += [("expectations", self.expectations)]
        return ", ".join(f"{what} {shown(file)}" for what, file in files if file is not None)


def configuration_of(config: Path | None, *, no_config: bool) -> Configuration | None:
    """Return the configuration that the options choose, by default the nearest one. Raises Stop (exit 2)."""
    from ..conformance.config import find, load  # noqa: PLC0415 - a verb's own imports wait for it
    from ..conformance.tomlfile import TomlError  # noqa: PLC0415

    if config is not None and no_config:
        raise Stop("--config and --no-config contradict one another; leave one out")
    try:
        if config is not None:
            return load(config)
        return None if no_config else find(Path.cwd())
    except TomlError as fault:
        raise Stop(str(fault)) from fault


def configured_manifests(configuration: Configuration) -> list[Manifest]:
    """Return the implementations that a configuration names, none where it names none. Raises Stop with its line."""
    if not configuration.implementations:
        return []
    try:
        return manifests(configuration.implementations)
    except Stop as stop:
        raise Stop(f"{configuration.place('implementations')}: {stop.message}") from stop


def settle(
    config: Path | None,
    *,
    no_config: bool,
    names: tuple[str, ...],
    level: str | None,
    types: tuple[str, ...],
    profiles: tuple[str, ...],
    patterns: tuple[str, ...],
    jobs: str | None,
    expectations: Path | None,
    no_expectations: bool,
) -> Settings:
    """Return what a run is to do: each option as it was given, else as the configuration has it. Raises Stop (exit 2)."""
    found = configuration_of(config, no_config=no_config)
    configured = configured_manifests(found) if found else []
    chosen = manifests(names) if names or not configured else configured
    kept = {manifest.id for manifest in chosen}
    return Settings(
        configuration=found,
        manifests=chosen,
        named=bool(names or configured),
        level=level or (found.level if found else None),
        types=tuple(dict.fromkeys(types)) or (found.types if found else ()),
        profiles=tuple(dict.fromkeys(profiles)) or (found.profiles if found else ()),
        patterns=patterns or (found.cases if found else ()),
        jobs=jobs if jobs is not None else (found.jobs if found else None),
        expectations=_expectations(found, expectations, off=no_expectations),
        elsewhere=tuple(manifest.id for manifest in configured if manifest.id not in kept),
    )


def _expectations(found: Configuration | None, named: Path | None, *, off: bool) -> Path | None:
    """Return the file of expectations to judge by, found to be right. Raises Stop (exit 2)."""
    if named is not None and off:
        raise Stop("--expectations and --no-expectations contradict one another; leave one out")
    file = named.absolute() if named is not None else found.expectations if found is not None else None
    if off or file is None:
        return None
    from ..conformance.expectations import load  # noqa: PLC0415 - only for those who have expectations
    from ..conformance.tomlfile import TomlError  # noqa: PLC0415

    try:
        load(file)
    except TomlError as fault:
        raise Stop(str(fault)) from fault
    return file
