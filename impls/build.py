"""The steps that make an environment: virtual environments and packages, cargo, a manifest's own commands.

Everything a step prints goes to the log of the environment; the last lines of a failed step are kept with the reason.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .interpreters import Interpreter
from .manifest import Manifest, Setup, SetupKind, Start, placeholders

FAILED = ".failed"
PATIENCE = 1800.0
"""Seconds that one step may take."""
KEPT_LINES = 12
_KEPT_BYTES = 8192

_HARMFUL = (
    "VIRTUAL_ENV",
    "__PYVENV_LAUNCHER__",
    "PIP_TARGET",
    "PIP_PREFIX",
    "PIP_ROOT",
    "PIP_USER",
    "CARGO_TARGET_DIR",
)
"""Variables of the caller that would make a build go elsewhere. Everything of Python's own is dropped as well."""

OLD_VIRTUALENV = "virtualenv==20.21.1"
"""The last release that makes environments for Python 2.7 and 3.6."""


class BuildError(Exception):
    """A step failed. ``words`` are the last lines that it printed."""

    def __init__(self, reason: str, words: str) -> None:
        super().__init__(reason)
        self.words = words


@dataclass(frozen=True)
class Build:
    """One build: ``values`` are what the placeholders of the manifest stand for."""

    manifest: Manifest
    interpreter: Interpreter
    directory: Path
    log: BinaryIO
    values: dict[str, str]

    @property
    def venv(self) -> Path:
        """Where the virtual environment goes."""
        return self.directory / "venv"

    def run(self, command: list[str], what: str) -> None:
        """Run ``command`` in the manifest's directory. Raises BuildError, in which ``what`` names the step."""
        start = self._tell(command)
        try:
            process = subprocess.Popen(  # noqa: S603 - the manifest's own commands, without a shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=self.log,
                stderr=subprocess.STDOUT,
                cwd=self.manifest.here,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as fault:
            raise BuildError(f"{what} could not be started: {command[0]}: {fault.strerror}", "") from fault
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise BuildError(f"{what} took longer than {PATIENCE:.0f} seconds", self._words(start)) from None
        finally:
            _end(process)
        if code != 0:
            words = self._words(start)
            how = f"exit code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"
            raise BuildError(f"{what} failed ({how})" + _last(words), words)

    def _tell(self, command: list[str]) -> int:
        """Write ``command`` to the log and return where its output begins."""
        self.log.write(f"$ {' '.join(command)}\n".encode())
        self.log.flush()
        return self.log.seek(0, os.SEEK_END)

    def _words(self, start: int) -> str:
        """Return the last lines of the log that a step wrote, made harmless for a terminal."""
        with Path(self.log.name).open("rb") as stream:
            end = stream.seek(0, os.SEEK_END)
            stream.seek(max(start, end - _KEPT_BYTES))
            text = stream.read(_KEPT_BYTES).decode("utf-8", "replace")
        lines = ("".join(char if char.isprintable() else " " for char in line).rstrip() for line in text.splitlines())
        return "\n".join([line[:400] for line in lines if line.strip()][-KEPT_LINES:])


@dataclass(frozen=True)
class Step:
    """One step of a build: ``title`` is for the progress display."""

    title: str
    run: Callable[[Build, Callable[[str], None]], None]


def steps(manifest: Manifest) -> list[Step]:
    """Return what must be done for ``manifest``, in order."""
    return _STEPS[manifest.setup.kind](manifest)


def _python_steps(manifest: Manifest) -> list[Step]:
    packages = manifest.setup.packages
    found = [Step("making a virtual environment", _make_venv)]
    if packages:
        found.append(Step(f"installing {', '.join(packages)}", _install))
    return found


def _command_steps(manifest: Manifest) -> list[Step]:
    def step(command: list[str]) -> Step:
        def run(build: Build, _progress: Callable[[str], None]) -> None:
            build.run(placeholders(command, build.values), f"`{' '.join(command)[:60]}`")

        return Step(f"running {' '.join(command)[:60]}", run)

    return [step(command) for command in manifest.setup.commands]


def _make_venv(build: Build, progress: Callable[[str], None]) -> None:
    """Make the virtual environment by the first way that works for the interpreter wanted."""
    python, venv = str(build.interpreter.path), str(build.venv)
    faults: list[BuildError] = []
    if build.interpreter.pair >= (3, 3):
        try:
            build.run([python, "-I", "-m", "venv", venv], "python -m venv")
        except BuildError as fault:  # Debian ships venv without ensurepip
            faults.append(fault)
        else:
            return
        if importlib.util.find_spec("virtualenv") is not None:
            try:
                build.run([sys.executable, "-m", "virtualenv", "--clear", "--python", python, venv], "virtualenv")
            except BuildError as fault:
                faults.append(fault)
            else:
                return
    if faults and importlib.util.find_spec("ensurepip") is None:
        raise faults[0]  # the older virtualenv would need the very thing that is missing
    build.run([*_old_virtualenv(build, progress), "--clear", "--python", python, venv], OLD_VIRTUALENV)


def _old_virtualenv(build: Build, progress: Callable[[str], None]) -> tuple[str, ...]:
    """Return the command of a virtualenv that knows old interpreters, in an environment of its own."""
    from .setup import Unavailable, prepare  # noqa: PLC0415 - the tool is an environment like any other

    tool = Manifest(
        id="tool-virtualenv",
        name="virtualenv",
        language="Python",
        homepage="https://virtualenv.pypa.io",
        summary="makes environments for old interpreters",
        profiles=[],
        start=Start(command=["{python}", "-I", "-m", "virtualenv"]),
        setup=Setup(kind=SetupKind.PYTHON, packages=[OLD_VIRTUALENV]),
        file=build.manifest.file,
    )
    prepared = prepare(tool, progress)
    if isinstance(prepared, Unavailable):
        raise BuildError(f"{OLD_VIRTUALENV}: {prepared.reason}", prepared.words)
    return prepared.command


def _install(build: Build, _progress: Callable[[str], None]) -> None:
    python = str(build.venv / "bin" / "python")
    options = ["--disable-pip-version-check", "--no-input"]
    build.run([python, "-m", "pip", "install", *options, *build.manifest.setup.packages], "pip install")


def _cargo(build: Build, _progress: Callable[[str], None]) -> None:
    manifest = str(build.manifest.here / "Cargo.toml")
    target = str(build.directory / "target")
    command = ["cargo", "build", "--release", "--locked", "--manifest-path", manifest, "--target-dir", target]
    build.run(command, "cargo build")


_STEPS: dict[SetupKind, Callable[[Manifest], list[Step]]] = {
    SetupKind.NONE: lambda _manifest: [],
    SetupKind.PYTHON: _python_steps,
    SetupKind.CARGO: lambda _manifest: [Step("cargo build", _cargo)],
    SetupKind.COMMANDS: _command_steps,
}


def _environment() -> dict[str, str]:
    """Return the caller's environment without what would lead a build astray."""
    kept = {name: value for name, value in os.environ.items() if name not in _HARMFUL and not name.startswith("PYTHON")}
    kept["PYTHONNOUSERSITE"] = "1"
    return kept


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever a step left running in its process group, and reap the step itself."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last(words: str) -> str:
    """Return the most telling line of ``words``: the last that says it is an error, else the last."""
    lines = words.splitlines()
    telling = [line for line in lines if "error" in line.lower()]
    line = (telling or lines or [""])[-1].strip()
    return f": {line[:160]}" if line else ""
