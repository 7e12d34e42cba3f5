"""Environments: what an implementation needs is looked for, and what it is built of is built, once.

Each implementation has an environment of its own in the user's cache directory (``FDSPEC_CACHE`` moves it), named by
its id and a fingerprint of all that it was built from; ``.ready`` is written last, so a half-built one is built again.
Two runs never build the same one at once. What is missing or fails makes the implementation `Unavailable`, no error.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from . import interpreters, sources
from .build import FAILED, Build, BuildError, steps
from .interpreters import Interpreter
from .manifest import Manifest, SetupKind, placeholders

TESTEE = Path(__file__).parent / "testee"
"""fdspec's own testee libraries, ``{testee}`` in a manifest."""

Progress = Callable[[str], None]
"""Told in one line what goes on, at the beginning of every step that may take longer than a second."""

_FORMAT = 1
_KEPT_DAYS = 30


@dataclass(frozen=True)
class Prepared:
    """An implementation that can be started.

    ``command`` has an absolute program first; ``environment`` is what the testee gets beside the harness's few
    variables; ``python`` is what ``{python}`` stands for; ``directory`` is the private environment, if there is one.
    """

    manifest: Manifest
    command: tuple[str, ...]
    environment: dict[str, str]
    python: Path
    directory: Path | None = None


@dataclass(frozen=True)
class Pending:
    """An implementation whose environment has not been built yet, and could be."""

    manifest: Manifest
    reason: str = "not set up yet"


@dataclass(frozen=True)
class Unavailable:
    """An implementation that cannot be had here. ``reason`` is one line; ``words`` what a failed build said last."""

    manifest: Manifest
    reason: str
    words: str = ""
    log: Path | None = None


@dataclass(frozen=True)
class _Plan:
    """What `prepare` would do: ``directory`` is None where nothing is to be built."""

    manifest: Manifest
    interpreter: Interpreter
    directory: Path | None

    def beside(self, ending: str) -> Path:
        """Return the file that stands beside the directory: its lock, its log, the mark of its failure."""
        if self.directory is None:
            raise ValueError("no environment, so nothing stands beside it")
        return self.directory.with_name(self.directory.name + ending)


class _Failure(msgspec.Struct, frozen=True):
    reason: str
    words: str


def quiet(_message: str) -> None:
    """Show nothing."""


def cache() -> Path:
    """Return the directory that holds everything fdspec keeps between runs."""
    moved = os.environ.get("FDSPEC_CACHE")
    if moved:
        return Path(moved).absolute()
    from platformdirs import user_cache_path  # noqa: PLC0415 - implementations without an environment do without

    return user_cache_path("fdspec")


def prepare(manifest: Manifest, progress: Progress = quiet) -> Prepared | Unavailable:
    """Make the environment of ``manifest`` unless it stands, and say how its testee is started.

    Within one process a failure is remembered, and not tried again.
    """
    plan = _plan(manifest)
    if isinstance(plan, Unavailable):
        return plan
    if plan.directory is not None and not _stands(plan):
        known = _FAILED_HERE.get(plan.directory)
        failure = known or _build(plan, progress)
        if failure is not None:
            _FAILED_HERE[plan.directory] = failure
            return failure
    return _prepared(plan)


_FAILED_HERE: dict[Path, Unavailable] = {}


def survey(manifest: Manifest) -> Prepared | Pending | Unavailable:
    """Say what `prepare` would answer, without building anything: the last attempt's failure is remembered.

    This is for processes that come after one that prepared: the workers of a run, and listings.
    """
    plan = _plan(manifest)
    if isinstance(plan, Unavailable):
        return plan
    if plan.directory is None or _stands(plan):
        return _prepared(plan)
    try:
        failure = msgspec.json.decode(plan.beside(FAILED).read_bytes(), type=_Failure)
    except (OSError, msgspec.DecodeError):
        return Pending(manifest)
    return Unavailable(manifest, failure.reason, failure.words, plan.beside(".log"))


def _plan(manifest: Manifest) -> _Plan | Unavailable:
    """Look for what the manifest needs."""
    tools = [*manifest.needs.tools, *(["cargo"] if manifest.setup.kind is SetupKind.CARGO else [])]
    missing = [tool for tool in dict.fromkeys(tools) if shutil.which(tool) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        return Unavailable(manifest, f"needs {' and '.join(missing)}, which {verb} not on PATH")
    interpreter = interpreters.find(manifest.needs.python)
    if interpreter is None:
        wanted = manifest.needs.python
        return Unavailable(manifest, f"needs Python {wanted}, which is neither on PATH nor among pyenv's versions")
    if manifest.setup.kind is SetupKind.NONE:
        return _Plan(manifest, interpreter, None)
    try:
        name = f"{manifest.id}-{_fingerprint(manifest, interpreter)}"
    except OSError as fault:
        return Unavailable(manifest, f"its sources cannot be read: {fault}")
    return _Plan(manifest, interpreter, cache() / "environments" / name)


def _fingerprint(manifest: Manifest, interpreter: Interpreter) -> str:
    """Return 16 hexadecimal digits that differ when the environment must differ."""
    here = manifest.here
    roots = {(here / path).resolve() for path in manifest.setup.sources}
    if manifest.setup.kind is SetupKind.CARGO:
        roots |= sources.crates(here)
    elif manifest.setup.kind is SetupKind.COMMANDS:
        roots |= {here, TESTEE}
    parts = (
        _FORMAT,
        manifest.setup,
        str(interpreter.path.resolve()) if manifest.setup.kind is not SetupKind.CARGO else "",
        interpreter.version if manifest.setup.kind is not SetupKind.CARGO else "",
        sources.digest(roots),
        [str(here), str(TESTEE)] if roots else [],
    )
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


def _stands(plan: _Plan) -> bool:
    """Tell whether the environment is complete and its interpreter still there."""
    if plan.directory is None or not (plan.directory / ".ready").is_file():
        return False
    return plan.manifest.setup.kind is not SetupKind.PYTHON or os.access(_python(plan), os.X_OK)


def _python(plan: _Plan) -> Path:
    if plan.directory is not None and plan.manifest.setup.kind is SetupKind.PYTHON:
        return plan.directory / "venv" / "bin" / "python"
    return plan.interpreter.path


def _prepared(plan: _Plan) -> Prepared | Unavailable:
    manifest, python = plan.manifest, _python(plan)
    if plan.directory is not None and plan.directory.stat().st_uid not in {os.geteuid(), 0}:
        return Unavailable(manifest, f"{plan.directory} belongs to another user; FDSPEC_CACHE moves the cache")
    program, *arguments = placeholders(manifest.start.command, _values(plan))
    found = shutil.which(program)
    if found is None:
        missing = f"{program} cannot be executed" if "/" in program else f"needs {program}, which is not on PATH"
        return Unavailable(manifest, missing)
    command = (os.path.abspath(found), *arguments)  # noqa: PTH100 - a symlink to an interpreter must stay one
    return Prepared(manifest, command, {"LC_ALL": "C.UTF-8"}, python, plan.directory)


def _values(plan: _Plan) -> dict[str, str]:
    return {
        "python": str(_python(plan)),
        "here": str(plan.manifest.here),
        "env": str(plan.directory),
        "testee": str(TESTEE),
    }


def _build(plan: _Plan, progress: Progress) -> Unavailable | None:
    """Build the environment of ``plan``; None when it stands afterwards."""
    directory, manifest = plan.directory, plan.manifest
    if directory is None:
        return None
    try:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(plan.beside(".lock"), lambda: progress(f"{manifest.id}: waiting for another run to set it up")):
            if _stands(plan):
                return None
            plan.beside(FAILED).unlink(missing_ok=True)
            failure = _build_locked(plan, directory, progress)
            if failure is not None:
                plan.beside(FAILED).write_bytes(msgspec.json.encode(failure))
                return Unavailable(manifest, failure.reason, failure.words, plan.beside(".log"))
            _prune(directory)
    except OSError as fault:
        return Unavailable(manifest, f"its environment cannot be made: {fault}; FDSPEC_CACHE moves the cache")
    return None


def _build_locked(plan: _Plan, directory: Path, progress: Progress) -> _Failure | None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    done = False
    try:
        with plan.beside(".log").open("wb") as log:
            build = Build(plan.manifest, plan.interpreter, directory, log, _values(plan))
            for step in steps(plan.manifest):
                progress(f"{plan.manifest.id}: {step.title}")
                step.run(build, progress)
        (directory / ".ready").write_text(f"{plan.manifest.file}\n")
        done = True
    except BuildError as fault:
        return _Failure(str(fault), fault.words)
    finally:
        if not done:  # also after Ctrl-C: nothing half-built stays
            shutil.rmtree(directory, ignore_errors=True)
    return None


@contextlib.contextmanager
def _locked(path: Path, wait: Callable[[], None]) -> Generator[None]:
    """Hold the lock file at ``path``; ``wait`` is called when somebody else holds it."""
    with path.open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            wait()
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prune(directory: Path) -> None:
    """Remove what the same implementation left behind under other fingerprints, once nobody built it for a month."""
    identity = directory.name[:-17]
    oldest = time.time() - _KEPT_DAYS * 86400
    for ready in directory.parent.glob(f"{identity}-*/.ready"):
        old = ready.parent
        if old == directory or not re.fullmatch(re.escape(identity) + "-[0-9a-f]{16}", old.name):
            continue
        with contextlib.suppress(OSError):
            if ready.stat().st_mtime < oldest:
                ready.unlink()
                shutil.rmtree(old)
