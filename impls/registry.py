"""Which implementations there are: the built-in catalogue, manifests by path, and the mutants of the reference.

The catalogue is the directory ``catalogue`` beside this module, in a checkout and in an installed fdspec alike: one
directory per implementation, named by its id, with an ``impl.toml`` inside.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from .manifest import FILE_NAME, Manifest, ManifestError, load
from .mutants import PREFIX

CATALOGUE = Path(__file__).parent / "catalogue"


class UnknownImplementation(Exception):
    """Nothing is called ``name``. ``nearest`` are the ids that look most like it."""

    def __init__(self, name: str, nearest: list[str]) -> None:
        hint = f"; did you mean {' or '.join(nearest)}?" if nearest else "; `fdspec impls` lists all"
        super().__init__(f"no implementation is called {name!r}{hint}")
        self.name = name
        self.nearest = nearest


def ids(catalogue: Path = CATALOGUE) -> list[str]:
    """Return the ids of the catalogue in order."""
    return sorted(entry.parent.name for entry in catalogue.glob(f"*/{FILE_NAME}"))


def everything(catalogue: Path = CATALOGUE) -> list[Manifest]:
    """Return every manifest of the catalogue, by id. Raises ManifestError at the first that is wrong."""
    return [_of_catalogue(name, catalogue) for name in ids(catalogue)]


def is_path(name: str) -> bool:
    """Whether ``name`` is a path, and not an id: it has a slash, ends in ``.toml``, or is ``.`` or ``..``."""
    return os.sep in name or name.endswith(".toml") or name in {".", ".."}


def find(name: str, catalogue: Path = CATALOGUE) -> Manifest:
    """Return the manifest that ``name`` means: an id of the catalogue, or a path.

    A path is told from an id by a slash, by the ending ``.toml``, or by being ``.``; it leads to a manifest or to the
    directory that holds one. ``mutant:`` and an id means one of `mutants`, which no listing shows and no run takes unasked.
    Raises UnknownImplementation and ManifestError.
    """
    if name.startswith(PREFIX):
        return _mutant(name.removeprefix(PREFIX))
    if is_path(name):
        return load(Path(name))
    known = ids(catalogue)
    if name in known:
        return _of_catalogue(name, catalogue)
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if (Path(name) / FILE_NAME).is_file():
        nearest.append(f"./{name}")
    raise UnknownImplementation(name, nearest)


def _of_catalogue(name: str, catalogue: Path) -> Manifest:
    manifest = load(catalogue / name / FILE_NAME)
    if manifest.id != name:
        raise ManifestError(manifest.file, "id", f"the name of its directory expected, {name!r}; {manifest.id!r} came")
    return manifest


def _mutant(name: str) -> Manifest:
    from .mutants import tables  # noqa: PLC0415 - for who asks for one

    try:
        known = tables.everything()
    except tables.MutantError as fault:
        raise ManifestError(tables.HERE, "", str(fault)) from fault
    if name in known:
        return tables.manifest(known[name])
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    raise UnknownImplementation(PREFIX + name, [PREFIX + one for one in near])
