"""Findings as files, one each: TOML that people read and edit, with the program as text.

A file appears whole or not at all, and stays as it was until another whole one takes its place, whatever is killed when.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Generator, Iterable
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from ...conformance import tomlfile
from ..judgement import Breach, Violation
from ..program import Program
from ..text import BadProgram, parse, show
from .finding import FORMAT, Finding

SUFFIX = ".toml"
MAX_SIZE = 2**26
"""Bytes of a file that are read: more than any program has."""
_TEMPORARY = ".tmp"


class BadFinding(ValueError):
    """A file that is no finding: ``file``, ``line`` (from 1; 0 where none is meant) and what is wrong; the message has all."""

    def __init__(self, file: Path, line: int, what: str) -> None:
        super().__init__(f"{tomlfile.shown(file)}:{line}: {what}" if line else f"{tomlfile.shown(file)}: {what}")
        self.file = file
        self.line = line
        self.what = what


class _Violation(Struct, forbid_unknown_fields=True):
    breach: Breach
    requirement: str
    at: int
    operation: str
    place: str
    message: str
    permitted: tuple[str, ...] = ()


class _File(Struct, forbid_unknown_fields=True):
    """The file as it is written; what has a default here may be missing in it."""

    format: int
    subject: str
    program: str
    violation: _Violation
    version: str = ""
    platform: str = ""
    engine: str = ""
    seed: int = 0
    minimised: bool = False
    original: int = 0
    seen: int = 1


_WHOLE = "a whole number"
_TEXT = "a text in quotes"
EXPECTED = {
    "format": f"the number {FORMAT}",
    "subject": "the implementation, in quotes: an id, mutant:ID, or the path of an impl.toml",
    "program": "a program as text, between ''' and '''",
    "violation": "a table [violation]",
    "violation.breach": f"one of {', '.join(Breach)}",
    "violation.requirement": "the id of a requirement, in quotes",
    "violation.at": "the index of the operation, from 0",
    "violation.operation": "the operation's verb, in quotes",
    "violation.place": 'profile, type and end, in quotes: "message/stream/testee"',
    "violation.message": _TEXT,
    "violation.permitted": "an array of texts",
    "version": _TEXT,
    "platform": _TEXT,
    "engine": _TEXT,
    "seed": _WHOLE,
    "minimised": "true or false",
    "original": _WHOLE,
    "seen": _WHOLE,
}
"""What each key holds, for people who edit a file."""


def name_of(finding: Finding) -> str:
    """Return the file's name: what makes the finding one with others, as letters, and as a digest with the subject."""
    key = finding.key
    words = [re.sub(r"[^a-z0-9]+", "-", part.lower()).strip("-")[:40] for part in (key.requirement, key.operation)]
    words.append(re.sub(r"[^a-z0-9]+", "-", key.place.lower()).strip("-")[:60])
    whole = repr((finding.subject, key.requirement, key.operation, key.place))
    digest = hashlib.sha256(whole.encode()).hexdigest()[:10]
    return "-".join([*filter(None, words), digest]) + SUFFIX


def show_finding(finding: Finding) -> str:
    """Return the text of a finding's file."""
    said = finding.violation
    rows: list[tuple[str, str]] = [
        ("format", str(finding.format)),
        ("subject", _quoted(finding.subject)),
        ("version", _quoted(finding.version)),
        ("platform", _quoted(finding.platform)),
        ("engine", _quoted(finding.engine)),
        ("seed", str(finding.seed)),
        ("minimised", "true" if finding.minimised else "false"),
        ("original", str(finding.original)),
        ("seen", str(finding.seen)),
    ]
    about: list[tuple[str, str]] = [
        ("breach", _quoted(said.breach)),
        ("requirement", _quoted(said.requirement)),
        ("at", str(said.at)),
        ("operation", _quoted(said.operation)),
        ("place", _quoted(said.place)),
        ("message", _quoted(said.message)),
        ("permitted", "[\n" + "".join(f"    {_quoted(one)},\n" for one in said.permitted) + "]"),
    ]
    # Within data, where alone an apostrophe can stand, an escape means the same.
    program = show(finding.program).replace("'''", r"\x27\x27\x27")
    lines = ["# A finding of fdspec: `fdspec replay FILE` runs its program again.", *_rows(rows), ""]
    return "\n".join([*lines, f"program = '''\n{program}'''", "", "[violation]", *_rows(about), ""])


def _rows(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{key} = {value}" for key, value in rows]


def _quoted(text: str) -> str:
    """Return a basic string. JSON's escapes are TOML's; DEL needs one too. Half a surrogate pair is no text: ``?``."""
    clean = text.encode("utf-8", "replace").decode()
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")


def parse_finding(text: str, file: Path) -> Finding:
    """Return the finding that ``text`` is, as the content of ``file``. Raises BadFinding for the first mistake in it."""
    try:
        document = tomlfile.parse(text, file)
        made = tomlfile.convert(document, _File, EXPECTED)
    except tomlfile.TomlError as fault:
        what = f"{fault.key}: {fault.text}" if fault.key else fault.text
        raise BadFinding(file, fault.line, what) from None
    for key, wrong, value in (
        (("format",), made.format != FORMAT, made.format),
        (("seen",), made.seen < 1, made.seen),
        (("original",), made.original < 0, made.original),
        (("violation", "at"), made.violation.at < 0, made.violation.at),
    ):
        if wrong:
            fault = document.error(key, f"expected {EXPECTED['.'.join(key)]}, {value} came")
            raise BadFinding(file, fault.line, f"{fault.key}: {fault.text}")
    said = made.violation
    violation = Violation(
        said.breach, said.requirement, said.at, said.operation, said.place, said.message, said.permitted
    )
    return Finding(
        made.subject,
        violation,
        _program(document, made.program),
        made.version,
        made.platform,
        made.engine,
        made.seed,
        made.minimised,
        made.original,
        made.seen,
        made.format,
    )


def _program(document: tomlfile.Document, text: str) -> Program:
    """Return the program. Raises BadFinding with the line of the file, not of the program."""
    try:
        return parse(text)
    except BadProgram as fault:
        first = document.line(("program",))
        opening = document.text.split("\n")[first - 1].rstrip("\r")
        inside = opening.endswith(("'''", '"""'))  # then the text begins on the line after it
        line = first + fault.line - 1 + (1 if inside else 0)
        what = f"program: column {fault.column}: {fault.what}"
        raise BadFinding(document.file, line, what) from None


def read(path: Path) -> Finding:
    """Return the finding in a file. Raises BadFinding where it cannot be read, or is none."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_SIZE + 1)
    except OSError as fault:
        raise BadFinding(path, 0, f"cannot be read: {fault.strerror}") from None
    if len(data) > MAX_SIZE:
        raise BadFinding(path, 0, f"a file of at most {MAX_SIZE} bytes expected")
    try:
        text = data.decode()
    except UnicodeDecodeError as fault:
        raise BadFinding(path, data[: fault.start].count(b"\n") + 1, "UTF-8 text expected") from None
    return parse_finding(text, path)


def files_of(directory: Path) -> list[Path]:
    """Return the files of a directory that are, or should be, findings, by name; none where there is no directory."""
    return sorted(path for path in directory.glob(f"*{SUFFIX}") if not path.name.startswith("."))


def all_of(directory: Path) -> list[tuple[Path, Finding]]:
    """Return every finding of a directory, by name. Raises BadFinding for the first file that is none."""
    return [(path, read(path)) for path in files_of(directory)]


def merged(old: Finding, new: Finding) -> Finding:
    """Return two findings of one key as one: that with the smaller program, seen as often as both."""
    best = min(old, new, key=size)  # the old one where they are equal
    return replace(best, seen=old.seen + new.seen)


def size(finding: Finding) -> tuple[int, int]:
    """Return how large a finding's program is: operations, then characters."""
    return len(finding.program.operations), len(show(finding.program))


def write(finding: Finding, directory: Path) -> Path:
    """Write a finding into ``directory``, which is made where it is missing, and return its file.

    Where that file is there already, it keeps the smaller program, and ``seen`` is added up. One that cannot be read any
    more, because somebody has edited it, is put aside as ``NAME.damaged``. Several processes may write at a time. Raises
    OSError, and then the old file is as it was.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name_of(finding)
    with _alone_in(directory) as handle:
        for left in directory.glob(f".*{_TEMPORARY}"):  # of a writer that was killed: nobody else is writing now
            left.unlink(missing_ok=True)
        if path.exists():
            try:
                finding = merged(read(path), finding)
            except BadFinding:
                path.rename(path.with_name(f"{path.name}.damaged"))
        _put(path, show_finding(finding).encode(), handle)
    return path


@contextlib.contextmanager
def _alone_in(directory: Path) -> Generator[int]:
    """Hold the lock of a directory; yields its descriptor. The lock goes with whoever held it."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def _put(path: Path, data: bytes, directory: int) -> None:
    """Have ``data`` in ``path`` for good, or leave that as it was and raise OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}{_TEMPORARY}")
    try:
        with temporary.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    os.fsync(directory)
