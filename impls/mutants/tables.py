"""The mutants as their tables describe them: ``message.toml`` and those of the other layers, beside this module.

A table is named by the layer of the reference that its mutants change. A mutant replaces one text, which stands exactly once
in the source of one module of the reference, by another. Every mistake is told with the table, the mutant and the text.
"""

from __future__ import annotations

import re
import tomllib
from enum import StrEnum
from pathlib import Path
from types import CodeType
from typing import Annotated, cast

import msgspec
from msgspec import Meta

from ..manifest import Deadlines, Manifest, Needs, Start
from ..protocol.values import Profile
from . import PREFIX

HERE = Path(__file__).parent
REFERENCE = HERE.parent / "reference"
CATALOGUE = HERE.parent / "catalogue"
PACKAGE = f"{__name__.rsplit('.', 2)[0]}.reference"
"""The package whose modules are changed."""
FILES = frozenset(
    {
        "control.py",
        "descriptors.py",
        "endpoints.py",
        "libc.py",
        "libcmessage.py",
        "message.py",
        "ownership.py",
        "sendqueue.py",
        "transport.py",
    }
)


class Layer(StrEnum):
    """A layer of the reference, and the table of its mutants."""

    MESSAGE = "message"
    DESCRIPTORS = "descriptors"
    TRANSPORT = "transport"
    CONTROL = "control"


PROFILES: dict[Layer, Profile] = {
    Layer.MESSAGE: Profile.MESSAGE,
    Layer.DESCRIPTORS: Profile.DESCRIPTORS,
    Layer.TRANSPORT: Profile.TRANSPORT,
    Layer.CONTROL: Profile.MESSAGE,
}
"""In which profile a layer's fault is looked for."""
_IMPLEMENTATIONS = {Layer.CONTROL: "reference-libc"}

_Id = Annotated[str, Meta(pattern=r"^(message|descriptors|transport|control)\.[a-z0-9]+(-[a-z0-9]+)*\Z", max_length=80)]
_Defect = Annotated[str, Meta(pattern=r"^D[0-9]{3}\Z")]
_Requirement = Annotated[str, Meta(pattern=r"^[A-Z]+[0-9]+[a-z]?\Z")]
_Sentence = Annotated[str, Meta(pattern=r"^\S[^\n]*\.\Z")]


def adapter(layer: Layer) -> Path:
    """Return the adapter that a layer's mutants are run with: that of the implementation which stands on the layer."""
    return CATALOGUE / _IMPLEMENTATIONS.get(layer, "reference") / "adapter.py"


class MutantError(Exception):
    """A table, or a mutant of it, that cannot be used; the message names both and the text."""


class Change(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One text of the reference that another replaces. ``old`` stands exactly once in ``file``."""

    old: Annotated[str, Meta(min_length=1)]
    new: str
    file: str = "message.py"


class Mutant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One faulty variant.

    ``defects``: the real defects that it stands for. ``group``: the class of defects, A to I (``class`` in the table).
    ``violates``: ids of the requirements that it breaks. ``what``: its fault, in one sentence. ``old`` stands exactly once in
    the reference's ``file``, and ``new`` comes in its place; ``also`` is what else has to change for the fault to come through
    the reference's other precautions.
    """

    id: _Id
    defects: list[_Defect]
    group: Annotated[str, Meta(pattern=r"^[A-I]\Z")] = msgspec.field(name="class")
    violates: Annotated[list[_Requirement], Meta(min_length=1)]
    what: _Sentence
    old: Annotated[str, Meta(min_length=1)]
    new: str
    file: str = "message.py"
    also: list[Change] = []

    @property
    def layer(self) -> Layer:
        """The layer that it belongs to."""
        return Layer(self.id.partition(".")[0])

    @property
    def profile(self) -> Profile:
        """The profile in which it is run."""
        return PROFILES[self.layer]

    @property
    def changes(self) -> list[Change]:
        """All its changes."""
        return [Change(self.old, self.new, self.file), *self.also]


class _Table(msgspec.Struct, forbid_unknown_fields=True):
    mutant: list[Mutant]


def read(path: Path) -> list[Mutant]:
    """Return the mutants of one table. Raises MutantError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        raise MutantError(f"{path}: a readable table of mutants in UTF-8 expected: {fault}") from fault
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as fault:
        raise MutantError(f"{path}: TOML expected: {fault}") from fault
    try:
        found = msgspec.convert(table, _Table).mutant
    except msgspec.ValidationError as fault:
        raise MutantError(f"{path}: {_place(str(fault), table)}") from fault
    for one in found:
        if one.layer.value != path.stem:
            raise MutantError(f"{path}: mutant {one.id} belongs into {one.layer.value}.toml, by its name")
        for change in one.changes:
            if change.file not in FILES:
                known = ", ".join(sorted(FILES))
                raise MutantError(f"{path}: mutant {one.id}: file {change.file!r} is none of {known}")
    return found


def everything(directory: Path = HERE) -> dict[str, Mutant]:
    """Return every mutant of the tables in ``directory`` by id, in the tables' order. Raises MutantError."""
    found: dict[str, Mutant] = {}
    for layer in Layer:
        path = directory / f"{layer.value}.toml"
        for one in read(path) if path.is_file() else ():
            if one.id in found:
                raise MutantError(f"{path}: mutant {one.id} stands there twice; an id is permanent and names one")
            found[one.id] = one
    if not found:
        names = ", ".join(f"{layer.value}.toml" for layer in Layer)
        raise MutantError(f"{directory}: no mutant is there; tables are called {names}")
    return found


def sources(mutant: Mutant, reference: Path = REFERENCE) -> dict[str, str]:
    """Return the changed files of the reference by name. Raises MutantError where an ``old`` does not stand there once."""
    found: dict[str, str] = {}
    for change in mutant.changes:
        path = reference / change.file
        text = found.get(change.file) or path.read_text(encoding="utf-8")
        times = text.count(change.old)
        if times != 1 or change.old == change.new:
            wrong = (
                "its new text is the old one" if times == 1 else f"its old text stands there {times} times, not once"
            )
            raise MutantError(f"mutant {mutant.id}, {path}: {wrong}: {change.old!r}")
        found[change.file] = text.replace(change.old, change.new)
    return found


def compiled(mutant: Mutant) -> dict[str, CodeType]:
    """Return the code of the changed modules by full name. Raises MutantError, also where a changed source is no Python."""
    found: dict[str, CodeType] = {}
    for file, text in sources(mutant).items():
        try:
            code = compile(text, str(REFERENCE / file), "exec", dont_inherit=True)
        except SyntaxError as fault:
            raise MutantError(f"mutant {mutant.id}, line {fault.lineno} of {file}: {fault.msg}") from fault
        found[f"{PACKAGE}.{file.removesuffix('.py')}"] = code
    return found


def manifest(mutant: Mutant, table: Path = HERE) -> Manifest:
    """Return the implementation that a mutant of the tables in ``table`` is; its id is ``mutant:`` and the mutant's."""
    command = ["{python}", "-I", str(HERE / "testee.py"), str(table), mutant.id]
    return Manifest(
        id=PREFIX + mutant.id,
        name=f"mutant {mutant.id}",
        language="Python",
        homepage="https://docs.python.org/3/library/socket.html",
        summary=mutant.what,
        profiles=[mutant.profile],
        start=Start(command=command),
        needs=Needs(python=">=3.11"),
        deadlines=Deadlines(request=2.0),
        file=table / f"{mutant.layer.value}.toml",
    )


def _place(message: str, table: dict[str, object]) -> str:
    """Return a validation message with the id of the mutant that its path counts."""
    position = re.search(r"\$\.mutant\[(\d+)\]", message)
    listed = table.get("mutant")
    if position is None or not isinstance(listed, list):
        return message
    one = cast("list[object]", listed)[int(position[1])]
    name = cast("dict[str, object]", one).get("id") if isinstance(one, dict) else None
    return f"mutant {name!r}: {message}"
