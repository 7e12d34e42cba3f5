"""Python interpreters of this machine: found on PATH and among pyenv's, and believed only after they have run.

A file that is called ``python2.7`` proves nothing: pyenv's shims exist for every version and fail for those that are
not selected. So each candidate is asked for its version, once per process.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"python(\d+(\.\d+)?)?")
_QUESTION = "import sys; sys.stdout.write('%d.%d.%d' % sys.version_info[:3])"
_PATIENCE = 20.0
"""Seconds that an interpreter may take to tell its version."""


@dataclass(frozen=True)
class Interpreter:
    """A Python interpreter that runs. ``version`` is major.minor.micro."""

    path: Path
    version: str

    @property
    def pair(self) -> tuple[int, int]:
        """The major and the minor version."""
        major, minor, _ = self.version.split(".")
        return int(major), int(minor)


def own() -> Interpreter:
    """Return the interpreter that runs the harness."""
    return Interpreter(Path(sys.executable), "{}.{}.{}".format(*sys.version_info[:3]))


def find(wanted: str | None) -> Interpreter | None:
    """Return an interpreter whose version satisfies the specifier ``wanted``.

    The harness's own is preferred, then the first on PATH, then the newest of pyenv's. Without ``wanted``: the own.
    """
    mine = own()
    if wanted is None:
        return mine
    from packaging.specifiers import SpecifierSet  # noqa: PLC0415 - most runs do without

    specifier = SpecifierSet(wanted, prereleases=True)
    if specifier.contains(mine.version):
        return mine
    for path, named in _candidates():
        if not any(specifier.contains(version) for version in _possible(named)):
            continue  # its name rules it out, so it need not be run
        version = _version(path)
        if version is not None and specifier.contains(version):
            return Interpreter(path, version)
    return None


def _candidates() -> Iterator[tuple[Path, str]]:
    """Yield files that are called like an interpreter, each with the version that its name tells (may be empty)."""
    seen: set[Path] = set()
    for path, named in [*_on_path(), *_of_pyenv()]:
        if path not in seen and os.access(path, os.X_OK):
            seen.add(path)
            yield path, named


def _on_path() -> Iterator[tuple[Path, str]]:
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        if not directory.startswith("/"):  # what a relative entry means changes with every cd
            continue
        try:
            names = [name for name in os.listdir(directory) if _NAME.fullmatch(name)]
        except OSError:
            continue
        for name in sorted(names, key=_by_version, reverse=True):
            yield Path(directory, name), name.removeprefix("python")


def _of_pyenv() -> Iterator[tuple[Path, str]]:
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    try:
        versions = [entry for entry in (root / "versions").iterdir() if entry.is_dir()]
    except OSError:
        return
    for entry in sorted(versions, key=lambda entry: _by_version(entry.name), reverse=True):
        yield entry / "bin" / "python", entry.name if re.fullmatch(r"\d+\.\d+\.\d+", entry.name) else ""


def _possible(named: str) -> list[str]:
    """Return versions that an interpreter may have whose name tells ``named``: none, major, or more of it."""
    parts = named.split(".") if named else []
    majors = parts[:1] or ["2", "3"]
    minors = parts[1:2] or [str(number) for number in range(30)]
    micros = parts[2:3] or [str(number) for number in range(40)]
    return [f"{major}.{minor}.{micro}" for major in majors for minor in minors for micro in micros]


def _by_version(name: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", name))


@functools.cache
def _version(path: Path) -> str | None:
    """Ask the interpreter at ``path`` for its version; None when it does not run."""
    try:
        done = subprocess.run(  # noqa: S603 - found by us, no shell
            [path, "-E", "-S", "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    answer = done.stdout.decode("ascii", "replace")
    return answer if done.returncode == 0 and re.fullmatch(r"\d+\.\d+\.\d+", answer) else None
