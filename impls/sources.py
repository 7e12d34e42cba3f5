"""What an environment was built from, as one digest: a change of any source makes another environment."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import cast

_SKIPPED = frozenset({"target", "__pycache__", ".git", ".hg", ".svn", "node_modules", ".venv", ".tox"})
"""Directories that hold what is built, not what it is built from."""


def digest(roots: Iterable[Path]) -> str:
    """Return one digest of every regular file and symbolic link under ``roots``, by relative path and content.

    A root may be a file; one that does not exist counts as empty. Raises OSError for what cannot be read.
    """
    total = hashlib.sha256()
    for root in sorted(set(roots)):
        for path in _files(root):
            total.update(os.fsencode(path.relative_to(root)) + b"\0")
            if path.is_symlink():
                total.update(os.fsencode(path.readlink()))
            else:
                with path.open("rb") as stream:
                    total.update(hashlib.file_digest(stream, "sha256").digest())
        total.update(b"\1")
    return total.hexdigest()


def crates(directory: Path) -> set[Path]:
    """Return ``directory`` and those of all crates that it depends on by path, transitively.

    A manifest of cargo's that cannot be read ends the search there: cargo itself will say what is wrong with it.
    """
    found: set[Path] = set()
    todo = [directory.resolve()]
    while todo:
        crate = todo.pop()
        if crate not in found:
            found.add(crate)
            todo += _by_path(crate)
    return found


def _files(root: Path) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for name, directories, files in os.walk(root):
        directories[:] = sorted(entry for entry in directories if entry not in _SKIPPED)
        for file in sorted(files):
            path = Path(name, file)
            if path.is_symlink() or path.is_file():
                yield path


def _cargo(crate: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads((crate / "Cargo.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _by_path(crate: Path) -> list[Path]:
    """Return the directories that the manifest of ``crate`` names by ``path``, its workspace's among them."""
    manifest = _cargo(crate)
    found = [(crate / path).resolve() for path in _paths(manifest)]
    if "workspace" not in manifest:
        for parent in crate.parents:
            workspace = _cargo(parent).get("workspace")
            if isinstance(workspace, dict):
                found += [(parent / path).resolve() for path in _paths(cast("Mapping[str, object]", workspace))]
                break
    return found


def _paths(table: Mapping[str, object]) -> Iterator[str]:
    """Yield every ``path`` of a dependency: those in or below tables called ``...dependencies`` or ``patch``."""
    for key, value in table.items():
        if isinstance(value, dict):
            inner = cast("Mapping[str, object]", value)
            if key.endswith("dependencies") or key in {"patch", "replace"}:
                yield from _below(inner)
            else:
                yield from _paths(inner)


def _below(table: Mapping[str, object]) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _below(cast("Mapping[str, object]", value))
        elif key == "path" and isinstance(value, str):
            yield value
