"""The test programs, built once: they stay in the user's cache, under what they are made of."""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import platformdirs
import pytest

PROGRAMS = Path(__file__).parent / "programs"
CACHE = platformdirs.user_cache_path("fdspec") / "tests" / "interpose"
USUAL = (Path("/usr/local/go/bin"), Path.home() / ".cargo" / "bin")
"""Where installers put toolchains that are not on PATH."""


def tool(name: str) -> str:
    """Return the path of a compiler; the test fails where there is none."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, USUAL)])
    found = shutil.which(name, path=places)
    if found is None:
        pytest.fail(
            f"{name} is not on PATH: the program in its language cannot be built on this machine", pytrace=False
        )
    return found


def built(
    source: Path, command: list[str], environment: dict[str, str] | None = None, directory: Path = PROGRAMS
) -> Path:
    """Return what ``command`` makes of ``source``, with its output's path appended; from the cache if nothing changed."""
    digest = hashlib.sha256(repr((command, environment)).encode() + source.read_bytes()).hexdigest()[:20]
    target = CACHE / f"{source.stem}-{source.suffix[1:]}-{digest}"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            made = Path(name) / "program"
            done = subprocess.run(
                [*command, str(made)],
                capture_output=True,
                text=True,
                check=False,
                timeout=100,
                cwd=directory,
                env={**os.environ, **(environment or {})},
            )
            assert done.returncode == 0, done.stdout + done.stderr
            made.replace(target)
    return target


@functools.cache
def in_c() -> list[str]:
    source = PROGRAMS / "caller.c"
    return [str(built(source, [tool("cc"), "-static", "-O1", "-Wall", "-Werror", "-pthread", str(source), "-o"]))]


@functools.cache
def in_rust() -> list[str]:
    source = PROGRAMS / "caller.rs"
    return [str(built(source, [tool("rustc"), "--edition", "2021", "-O", "-D", "warnings", str(source), "-o"]))]


@functools.cache
def in_go() -> list[str]:
    """A static binary: no libc is in it, so nothing but the kernel's own interface could be in its way."""
    source = PROGRAMS / "go" / "main.go"
    environment = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    return [str(built(source, [tool("go"), "build", "-o"], environment, source.parent))]


def in_python() -> list[str]:
    return [sys.executable, str(PROGRAMS / "caller.py")]


LANGUAGES = {"c": in_c, "python": in_python, "rust": in_rust, "go": in_go}
