"""The directory of a campaign. Whatever is killed when, each file in it is whole, and what was written is there.

- ``campaign.json``: what the campaign is, and its counters
- ``lock``: held by whoever works here; the kernel frees it
- ``corpus/ab/NAME``: one encoded program each, named by its SHA-256
- ``corpus/rejected/``: what lay in the corpus and is none
- ``findings/``: one file each (`fdspec.fuzz.findings.store`)
- ``unconfirmed/``: the same of what was reported and never proved
- ``pending/``: findings that are proved and not made small yet
- ``engines/NAME``: what an engine wants to find again
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from ...conformance.tomlfile import shown
from ..codec import decode
from ..findings import store as findings
from ..findings.finding import Finding
from ..judgement import Key
from ..program import VERSION, Program
from ..text import BadProgram, parse
from .faults import Refused, Unwritable, writing
from .session import name_of

FORMAT = 1
"""Of the directory."""
LOCK_PATIENCE = 5.0
"""Seconds that a lock is waited for: the workers of a campaign that was killed end soon after it."""
MOST_BYTES = 1 << 20
"""Bytes of a program that is read."""
_STATE, _LOCK, _CORPUS, _REJECTED, _TEMPORARY = "campaign.json", "lock", "corpus", "rejected", "new"
_FINDINGS, _UNCONFIRMED, _PENDING, _ENGINES = "findings", "unconfirmed", "pending", "engines"


class State(Struct):
    """What ``campaign.json`` holds. Counters only grow.

    ``epoch``: how often the campaign was begun or continued, which goes into every seed; ``seed``: of the last time;
    ``seconds``: how long workers ran in all; ``deaths``: of workers; ``seen``: how often each finding was met and its file
    does not say so yet; ``unconfirmed``: how often each suspicion was met that was never proved; both by the key's words.
    """

    subject: str
    format: int = FORMAT
    programs_version: int = VERSION
    version: str = ""
    epoch: int = 0
    seed: int = 0
    engine: str = ""
    programs: int = 0
    unsupported: int = 0
    suspicions: int = 0
    examined: int = 0
    seconds: float = 0.0
    deaths: int = 0
    restarts: int = 0
    seen: dict[str, int] = field(default_factory=dict[str, int])
    unconfirmed: dict[str, int] = field(default_factory=dict[str, int])


class Store:
    """A campaign's directory. Raises `Unwritable` where it cannot be written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.corpus = directory / _CORPUS
        self.findings = directory / _FINDINGS
        self.unconfirmed = directory / _UNCONFIRMED
        self.pending = directory / _PENDING
        self.engines = directory / _ENGINES
        self.rejected = self.corpus / _REJECTED
        self._new = self.corpus / _TEMPORARY
        self._made: set[str] = set()

    # ---- the whole -----------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the directory."""
        with writing(self.directory):
            for one in (self.directory, self.corpus, self.findings, self.unconfirmed, self.pending, self._new):
                one.mkdir(parents=True, exist_ok=True)

    def lock(self, patience: float = LOCK_PATIENCE) -> int:
        """Lock the directory; return the descriptor that holds the lock. Raises Refused where somebody else has it."""
        path = self.directory / _LOCK
        with writing(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end:
                    os.close(handle)
                    raise Refused(
                        f"another campaign works in {shown(self.directory)}: end it, or name another directory by --out"
                    ) from None
                time.sleep(0.05)
            else:
                return handle

    def clean(self) -> None:
        """Remove what writers left behind that were killed; the lock has to be held."""
        with writing(self._new):
            for path in self._new.iterdir():
                path.unlink(missing_ok=True)

    def state(self, subject: str) -> State:
        """Return what was written last, or a beginning. Raises Refused where the directory is of something else."""
        path = self.directory / _STATE
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return State(subject)
        except OSError as fault:
            raise Refused(f"{shown(path)} cannot be read: {fault.strerror}; name another directory by --out") from fault
        try:
            head = msgspec.json.decode(data, type=_Head)
            if head.format == FORMAT and head.programs_version == VERSION:
                return self._checked(msgspec.json.decode(data, type=State), subject)
        except msgspec.MsgspecError as fault:
            raise Refused(
                f"{shown(path)} is no campaign's: {fault}; name another directory by --out, or remove the file: "
                "corpus and findings stay, counters begin anew"
            ) from fault
        raise Refused(
            f"{shown(self.directory)} is of another version of fdspec (format {head.format}, programs "
            f"{head.programs_version}; this one has {FORMAT} and {VERSION}): go on with that one, or name another directory "
            "by --out and the corpus of this one by --corpus"
        )

    def _checked(self, state: State, subject: str) -> State:
        if state.subject != subject:
            raise Refused(
                f"{shown(self.directory)} is a campaign on {state.subject}, and not on {subject}: name another directory "
                "by --out; --corpus can take over its programs"
            )
        return state

    def save(self, state: State) -> None:
        """Write the counters."""
        path = self.directory / _STATE
        with writing(path):
            _put(path, msgspec.json.format(msgspec.json.encode(state)), self._new)

    # ---- the corpus ----------------------------------------------------------------------------------------------------

    def keep(self, name: str, data: bytes) -> None:
        """Keep an encoded program."""
        path = self.corpus / name[:2] / name
        with writing(path):
            if name[:2] not in self._made:
                path.parent.mkdir(exist_ok=True)
                self._made.add(name[:2])
            if not path.exists():
                _put(path, data, self._new)

    def names(self) -> Iterator[Path]:
        """Return the files of the corpus by name."""
        for folder in sorted(self.corpus.glob("??")):
            if folder.is_dir():
                yield from sorted(folder.iterdir())

    def programs(self) -> tuple[dict[str, Program], list[str]]:
        """Return the corpus by name, and sentences about what was no program and lies in ``rejected/`` now."""
        found: dict[str, Program] = {}
        notes: list[str] = []
        for path in self.names():
            program = self.program(path)
            if program is None:
                notes.append(self._reject(path))
            else:
                found[path.name] = program
        return found, notes

    def program(self, path: Path) -> Program | None:
        """Return the program in a file of the corpus; None where it is torn or something else."""
        try:
            with path.open("rb") as stream:
                data = stream.read(MOST_BYTES)
        except OSError:
            return None
        return decode(data) if name_of(data) == path.name else None

    def _reject(self, path: Path) -> str:
        with writing(self.rejected):
            self.rejected.mkdir(exist_ok=True)
            path.rename(self.rejected / f"{path.name}.{secrets.token_hex(4)}")
        return f"{shown(path)} is no program that was written here whole; it lies in {shown(self.rejected)} now"

    def forget(self, name: str) -> None:
        """Remove a program from the corpus."""
        path = self.corpus / name[:2] / name
        with writing(path):
            path.unlink(missing_ok=True)

    # ---- findings ------------------------------------------------------------------------------------------------------

    def put(self, finding: Finding, directory: Path) -> Path:
        """Write a finding into one of the store's directories."""
        with writing(directory):
            return findings.write(finding, directory)

    def settle(self, finding: Finding) -> Path:
        """Write a finding for good, and remove what stood for it until now."""
        path = self.put(finding, self.findings)
        name = findings.name_of(finding)
        with writing(self.pending):
            (self.pending / name).unlink(missing_ok=True)
            (self.unconfirmed / name).unlink(missing_ok=True)
        return path

    def known(self, directory: Path) -> tuple[dict[Key, Finding], list[str]]:
        """Return the findings in one of the store's directories, and sentences about files that are none."""
        found: dict[Key, Finding] = {}
        notes: list[str] = []
        for path in findings.files_of(directory):
            try:
                finding = findings.read(path)
            except findings.BadFinding as fault:
                notes.append(f"{fault}; it is left as it is")
            else:
                found[finding.key] = finding
        return found, notes

    def tell_seen(self, state: State) -> None:
        """Add to the files of the findings how often they were met since, and save the state."""
        for key, finding in self.known(self.findings)[0].items():
            seen = state.seen.pop(str(key), 0)
            if seen:
                self.put(replace(finding, seen=seen), self.findings)
        self.save(state)


class _Head(Struct):
    format: int
    programs_version: int = 0


class Keeper:
    """The `fdspec.fuzz.campaign.session.Sink` of one worker: it writes into the store, and reads what others wrote."""

    def __init__(self, store: Store, names: set[str]) -> None:
        """``names``: of the programs that the worker has."""
        self._store = store
        self._names = names
        self._changed: dict[str, int] = {}

    def keep(self, name: str, data: bytes) -> None:
        """Keep a program."""
        self._names.add(name)
        self._store.keep(name, data)

    def proved(self, finding: Finding) -> None:
        """Keep a finding until it is small."""
        name = findings.name_of(finding)
        if not (self._store.pending / name).exists():  # it is there where a campaign goes on
            self._store.put(finding, self._store.pending)

    def found(self, finding: Finding) -> None:
        """Keep a finding."""
        self._store.settle(finding)

    def unconfirmed(self, finding: Finding) -> None:
        """Keep what was not confirmed."""
        self._store.put(finding, self._store.unconfirmed)

    def others(self) -> Iterator[Program]:
        """Yield the programs of directories that have changed since the last time, as far as they are new."""
        for folder in self._store.corpus.glob("??"):
            with contextlib.suppress(OSError):
                changed = folder.stat().st_mtime_ns
                if self._changed.get(folder.name) != changed:
                    self._changed[folder.name] = changed
                    yield from self._new_in(folder)

    def _new_in(self, folder: Path) -> Iterator[Program]:
        for name in sorted(os.listdir(folder)):
            if name not in self._names:
                program = self._store.program(folder / name)
                if program is not None:
                    self._names.add(name)
                    yield program


def foreign(directory: Path) -> tuple[list[Program], list[str]]:
    """Return the programs in a directory of other people's, encoded or as text, and sentences about what was left out.

    Any bytes are a program; what begins as the text form does has to be right. Nothing there is changed.
    """
    found: list[Program] = []
    notes: list[str] = []
    hidden = {_REJECTED, _TEMPORARY, _FINDINGS, _UNCONFIRMED, _PENDING, _ENGINES}
    for path in sorted(directory.rglob("*")):
        if not path.is_file() or hidden & set(path.relative_to(directory).parts) or path.name in (_STATE, _LOCK):
            continue
        try:
            with path.open("rb") as stream:
                data = stream.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                notes.append(f"{shown(path)} is left out: more than {MOST_BYTES} bytes")
                continue
            found.append(parse(data.decode()) if data.startswith(b"program ") else decode(data))
        except OSError as fault:
            notes.append(f"{shown(path)} is left out: {fault.strerror}")
        except (BadProgram, UnicodeDecodeError) as fault:
            notes.append(f"{shown(path)} is left out: {fault}")
    return found, notes


def _put(path: Path, data: bytes, temporary: Path) -> None:
    """Have ``data`` in ``path`` for good, or leave that as it was and raise OSError."""
    new = temporary / f"{os.getpid()}-{secrets.token_hex(6)}"
    try:
        with new.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        new.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise


__all__ = ["FORMAT", "Keeper", "State", "Store", "Unwritable", "foreign"]
