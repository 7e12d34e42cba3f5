"""How the operations that are not the model's are written: for each a verb, and its fields as words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple

from ..conformance.interpose.faults import Trouble
from ..conformance.model import text as model
from ..conformance.model.operations import Number, Receive, Send
from ..impls.protocol.values import ObjectKind
from . import operations as o
from .forging import Builder
from .operations import Calls, Ending, Operation


class Wrong(Exception):
    """What is wrong with a word, or with all of a line (column 0)."""

    def __init__(self, what: str, column: int = 0) -> None:
        super().__init__(what)
        self.what = what
        self.column = column


class Word(NamedTuple):
    """A word of a line, and the column of its first character."""

    text: str
    column: int


_WORD = re.compile(r'(?:[^\s"#]|"(?:[^"\\]|\\.)*")+|(?P<comment>#.*)|(?P<rest>\S.*)')
OPTION = re.compile(r"[a-z]+=")


def words_of(line: str) -> Iterator[Word]:
    """Yield the words of a line, without its comment. Raises Wrong for a quotation mark that is not closed."""
    for match in _WORD.finditer(line):
        if match["comment"]:
            return
        if match["rest"]:
            raise Wrong(f"a quotation mark is missing: {match['rest']}", match.start() + 1)
        yield Word(match[0], match.start() + 1)


def sort(words: list[Word], keys: tuple[str, ...], usage: str) -> tuple[list[Word], dict[str, Word]]:
    """Return the plain words, and the values of the options by their keys."""
    plain: list[Word] = []
    options: dict[str, Word] = {}
    for word in words:
        if not OPTION.match(word.text):
            plain.append(word)
            continue
        key, _, value = word.text.partition("=")
        if key not in keys:
            raise Wrong(f"there is no {key}= here; it is written: {usage}", word.column)
        if key in options:
            raise Wrong(f"{key}= is given twice", word.column)
        options[key] = Word(value, word.column + len(key) + 1)
    return plain, options


def members(kind: type[Enum]) -> dict[str, Any]:
    """Return the members of an enum by the word that stands for each."""
    return {str(one.value): one for one in kind}


def chosen(of: dict[str, Any], word: Word) -> Any:  # noqa: ANN401 - a member of any enum
    """Return what a word stands for. Raises Wrong for a word that stands for nothing."""
    if word.text not in of:
        raise Wrong(f"{word.text!r} is none of {', '.join(of)}", word.column)
    return of[word.text]


def _integer(word: Word) -> int:
    if not re.fullmatch(r"-?[0-9]{1,20}", word.text):
        raise Wrong(f"{word.text!r} is no number", word.column)
    return int(word.text)


def _name(word: Word) -> str:
    if not re.fullmatch(r"[tpfgrq]\w*", word.text, re.ASCII):
        raise Wrong(f"{word.text!r} is no name: t0, p0, f0, g0, r0_0, q0_0", word.column)
    return word.text


def _number(word: Word) -> Number:
    return _integer(word) if re.match(r"-?[0-9]", word.text) else _name(word)


def _by_model(line: str, word: Word) -> Any:  # noqa: ANN401 - the operation that the caller has written there
    try:
        (found,) = model.parse(line)
    except model.BadSequence as fault:
        raise Wrong(told(fault), word.column) from None
    return found


def told(fault: model.BadSequence) -> str:
    """Return what the model says is wrong, without the line."""
    return str(fault).partition(": ")[2]


def _sizes(word: Word) -> tuple[int, ...]:
    return _by_model(f"recv a {word.text}", word).room


def _show_sizes(sizes: tuple[int, ...]) -> str:
    return model.line(Receive("a", sizes)).removeprefix("recv a ")


def _data(word: Word) -> tuple[bytes, ...]:
    return _by_model(f"send a {word.text}", word).data


def _show_data(data: tuple[bytes, ...]) -> str:
    return model.line(Send("a", data)).removeprefix("send a").strip()


def _one_piece(word: Word) -> bytes:
    found = _data(word)
    if len(found) != 1:
        raise Wrong("one buffer expected", word.column)
    return found[0]


def _show_piece(piece: bytes) -> str:
    return _show_data((piece,))


def _flags(word: Word) -> int:
    return _by_model(f"recv a 1 flags={word.text}", word).flags


def _show_flags(flags: int) -> str:
    return model.line(Send("a", (), flags=flags)).removeprefix("send a flags=")


def _switch(word: Word) -> bool:
    return chosen({"on": True, "off": False}, word)


def _show_switch(on: bool) -> str:
    return "on" if on else "off"


def _trouble(word: Word) -> Trouble:
    return chosen({one.name: one for one in Trouble}, word)


def _show_trouble(error: Trouble) -> str:
    return error.name


def _numbers(word: Word) -> tuple[int, ...]:
    return tuple(_integer(Word(part, word.column)) for part in word.text.split(","))


def _names(word: Word) -> tuple[Number, ...]:
    return tuple(_number(Word(part, word.column)) for part in word.text.split(","))


def _enum(kind: type[Enum]) -> Callable[[Word], Any]:
    return lambda word: chosen(members(kind), word)


def _show_all(values: tuple[object, ...]) -> str:
    return ",".join(map(str, values))


class Part(NamedTuple):
    """A field of an operation, as a word. ``rest``: all plain words from here on are it, together."""

    field: str
    read: Callable[[Word], Any]
    show: Callable[[Any], str] = str
    rest: bool = False


class Form(NamedTuple):
    """How an operation is written: its verb, a word for each of ``plain``, and the options that are not as ``default``."""

    kind: Any
    verb: str
    usage: str
    plain: tuple[Part, ...]
    options: tuple[tuple[str, Part, object], ...] = ()

    def show(self, operation: Operation) -> str:
        """Return the line of an operation."""
        words = [self.verb, *(part.show(getattr(operation, part.field)) for part in self.plain)]
        for key, part, default in self.options:
            value = getattr(operation, part.field)
            if value != default:
                words.append(f"{key}={part.show(value)}")
        return " ".join(word for word in words if word)

    def read(self, words: list[Word]) -> Operation:
        """Return the operation of a line. Raises Wrong."""
        plain, options = sort(words[1:], tuple(key for key, *_ in self.options), self.usage)
        least = sum(not part.rest for part in self.plain)
        if len(plain) < least or (len(plain) > least and not self.plain[-1].rest):
            raise Wrong(f"it is written: {self.usage}", words[0].column)
        values: dict[str, Any] = {}
        for place, part in enumerate(self.plain):
            if part.rest:
                values[part.field] = tuple(one for word in plain[place:] for one in part.read(word))
            else:
                values[part.field] = part.read(plain[place])
        values |= {part.field: part.read(options[key]) for key, part, _ in self.options if key in options}
        return self.kind(**values)


def _show_member(member: Enum) -> str:
    return str(member.value)


_A = Part("name", _name)
_SIZES = Part("sizes", _sizes, _show_sizes)
_DATA = Part("data", _data, _show_data, rest=True)
_FLAGS = ("flags", Part("flags", _flags, _show_flags), 0)
_AS = ("as", Part("prefix", _name), "")
_FD = Part("fd", _number)
_NTH, _TIMES = ("nth", Part("nth", _integer), 1), ("times", Part("times", _integer), 1)

FORMS: dict[type, Form] = {
    form.kind: form
    for form in (
        Form(
            o.Take,
            "take",
            "take A SIZE,SIZE room=N flags=PEEK|... as=NAME",
            (_A, _SIZES),
            (("room", Part("room", _integer), 0), _FLAGS, _AS),
        ),
        Form(o.Make, "make", "make file|socket F", (Part("kind", _enum(ObjectKind), _show_member), _A)),
        Form(
            o.SetMore, "option", "option A OPTION VALUE", (_A, Part("option", _enum(o.Option)), Part("value", _integer))
        ),
        Form(o.SendOne, "send-one", 'send-one A F "data"... flags=OOB|...', (_A, _FD, _DATA), (_FLAGS,)),
        Form(o.TakeOne, "take-one", "take-one A SIZE,SIZE flags=PEEK|... as=NAME", (_A, _SIZES), (_FLAGS, _AS)),
        Form(o.Write, "write", 'write A "data"', (_A, Part("data", _one_piece, _show_piece))),
        Form(o.Queue, "queue", "queue A F", (_A, _FD)),
        Form(o.Give, "give", "give A F", (_A, _FD)),
        Form(o.Produce, "produce", "produce A", (_A,)),
        Form(o.Reading, "reading", "reading A on|off", (_A, Part("on", _switch, _show_switch))),
        Form(o.Finish, "finish", "finish A half|close|abort", (_A, Part("how", _enum(Ending), _show_member))),
        Form(o.Turn, "turn", "turn A as=NAME", (_A,), (_AS,)),
        Form(
            o.Fail,
            "fail",
            "fail send|receive|close|fcntl ERRNO nth=N times=N",
            (Part("calls", _enum(Calls)), Part("error", _trouble, _show_trouble)),
            (_NTH, _TIMES),
        ),
        Form(o.Short, "short", "short COUNT nth=N times=N", (Part("count", _integer),), (_NTH, _TIMES)),
        Form(
            o.Forge,
            "forge",
            "forge BUILDER nth=N numbers=N,N bait=F,F",
            (Part("builder", _enum(Builder), _show_member),),
            (
                _NTH,
                ("numbers", Part("numbers", _numbers, _show_all), ()),
                ("bait", Part("bait", _names, _show_all), ()),
            ),
        ),
    )
}
BY_VERB = {form.verb: form for form in FORMS.values()}
