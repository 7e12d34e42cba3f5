r"""Sequences as text, one operation a line, for people and for files.

    pair stream a b
    open f
    send a "hello" fds=f,f          # two descriptors beside five bytes
    recv b 16 control=24 flags=PEEK as=x
    recv b 4,12 control=16

``#`` begins a comment. Data is quoted, ``\xNN``, ``\"`` and ``\\`` are its escapes; ``"ab"*5`` is the pattern repeated and cut to
five bytes; ``""x3`` is three buffers. Names are variables that hold descriptors; numbers stand for themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from . import flags as f
from .operations import (
    Accept,
    Call,
    Close,
    Collect,
    Connect,
    Control,
    Credentials,
    Duplicate,
    Forged,
    How,
    Kind,
    Listen,
    Look,
    NewSocket,
    Number,
    Open,
    Operation,
    Option,
    Pair,
    Raw,
    Receive,
    Released,
    Rights,
    Room,
    Send,
    SetOption,
    Shutdown,
)


class BadSequence(ValueError):
    """A line that is no operation. The message says which line, what is wrong, and what would be right."""


class _Wrong(Exception):
    """What is wrong with a line."""


_TOKEN = re.compile(r'(?:[^\s"#]|"(?:[^"\\]|\\.)*")+|(?P<comment>#.*)|(?P<rest>\S.*)')
_DATA = re.compile(r'"(?P<text>(?:[^"\\]|\\.)*)"(?:\*(?P<length>\d+))?(?:x(?P<times>\d+))?')
_ESCAPE = re.compile(r'\\(x[0-9a-fA-F]{2}|["\\])|\\(?P<bad>.)')
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_WORD = TypeVar("_WORD", bound=StrEnum)
_MOST = 1 << 20
"""Bytes of one piece of data, buffers of one call, room of one buffer: more is a mistake."""
_LONG = 24
"""Data from this length on is printed as a pattern where it is one."""


def parse(text: str) -> tuple[Operation, ...]:
    """Return the operations of a text. Raises BadSequence for the first line that is none."""
    found: list[Operation] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = _words(line)
            if words:
                found.append(_operation(words))
        except _Wrong as wrong:
            raise BadSequence(f"line {number}: {wrong}") from None
    return tuple(found)


def show(operations: Iterable[Operation]) -> str:
    """Return the text of a sequence, which ``parse`` reads back."""
    return "".join(line(operation) + "\n" for operation in operations)


def line(operation: Operation) -> str:
    """Return the line of one operation."""
    form = _FORMS[type(operation)]
    return " ".join([form.verb, *form.show(operation)])


def _words(text: str) -> list[str]:
    words: list[str] = []
    for match in _TOKEN.finditer(text):
        if match["rest"]:
            raise _Wrong(f"a quotation mark is missing: {match['rest']}")
        if match["comment"]:
            break
        words.append(match[0])
    return words


def _operation(words: list[str]) -> Operation:
    verb, *rest = words
    form = next((one for one in _FORMS.values() if one.verb == verb), None)
    if form is None:
        raise _Wrong(f"no operation is called {verb!r}; there are {', '.join(one.verb for one in _FORMS.values())}")
    plain = [word for word in rest if not _OPTION.match(word)]
    options = [word for word in rest if _OPTION.match(word)]
    if form.most is not None and not form.least <= len(plain) <= form.most:
        raise _Wrong(f"{verb} is written: {form.usage}")
    wrong = next((word for word in options if word.partition("=")[0] not in form.options), None)
    if wrong:
        raise _Wrong(f"{verb} knows no {wrong.partition('=')[0]}=; it is written: {form.usage}")
    return form.read(plain, options)


_OPTION = re.compile(r"[a-z]+=")


# ---- words -------------------------------------------------------------------------------------------------------------


def _word(kind: type[_WORD], text: str) -> _WORD:
    try:
        return kind(text)
    except ValueError:
        raise _Wrong(f"{text!r} is none of {', '.join(kind)}") from None


def _name(text: str) -> str:
    if not _NAME.match(text):
        raise _Wrong(f"{text!r} is no name: letters, digits and _, a letter first")
    return text


def _number(text: str) -> Number:
    return int(text) if re.fullmatch(r"-?\d{1,9}", text) else _name(text)


def _integer(text: str, low: int = 0, high: int = _MOST) -> int:
    if not re.fullmatch(r"-?\d{1,20}", text) or not low <= int(text) <= high:
        raise _Wrong(f"{text!r} is no number from {low} to {high}")
    return int(text)


def _flags(text: str) -> int:
    found = 0
    for name in text.split("|"):
        if name.startswith("0x"):
            try:
                found |= int(name, 16) & 0xFFFFFFFF
            except ValueError:
                raise _Wrong(f"{name!r} is no hexadecimal number") from None
        elif name in f.NAMES:
            found |= f.NAMES[name]
        else:
            raise _Wrong(f"{name!r} is no flag; there are {', '.join(f.NAMES)}, and numbers as 0x10")
    return found


def _options(words: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name in found:
            raise _Wrong(f"{name}= is given twice")
        found[name] = value
    return found


def _data(text: str) -> list[bytes]:
    match = _DATA.fullmatch(text)
    if not match:
        raise _Wrong(f'{text} is no data: write "text", "pattern"*LENGTH or "text"xTIMES')
    piece = _unescape(match["text"])
    if match["length"]:
        length = _integer(match["length"])
        if length and not piece:
            raise _Wrong("an empty pattern has no length")
        piece = (piece * (length // max(1, len(piece)) + 1))[:length]
    return [piece] * _integer(match["times"] or "1", 0, 2 * f.IOV_MAX)


def _unescape(text: str) -> bytes:
    def one(match: re.Match[str]) -> str:
        if match["bad"]:
            raise _Wrong(f'{match[0]!r} is no escape; there are \\xNN, \\" and \\\\')
        return chr(int(match[1][1:], 16)) if match[1][0] == "x" else match[1]

    try:
        return _ESCAPE.sub(one, text).encode("latin-1")
    except UnicodeEncodeError:
        raise _Wrong(f"{text!r} has characters that are no bytes; write them as \\xNN") from None


def _show_data(pieces: tuple[bytes, ...]) -> list[str]:
    words: list[str] = []
    index = 0
    while index < len(pieces):
        times = 1
        while index + times < len(pieces) and pieces[index + times] == pieces[index]:
            times += 1
        words.append(_quote(pieces[index]) + (f"x{times}" if times > 1 else ""))
        index += times
    return words


def _quote(piece: bytes) -> str:
    if len(piece) >= _LONG:
        period = next((size for size in range(1, 65) if piece[size:] == piece[:-size]), None)
        if period and period < len(piece):
            return f"{_quote_plain(piece[:period])}*{len(piece)}"
    return _quote_plain(piece)


def _quote_plain(piece: bytes) -> str:
    text = "".join(chr(one) if 32 <= one < 127 and one not in b'"\\' else f"\\x{one:02x}" for one in piece)
    return f'"{text}"'


def _sizes(text: str) -> tuple[int, ...]:
    if text == "-":
        return ()
    found: list[int] = []
    for part in text.split(","):
        if not re.fullmatch(r"\d+(x\d+)?", part):
            raise _Wrong(f"{part!r} is no room: SIZE, or SIZExTIMES for so many buffers")
        size, _, times = part.partition("x")
        found += [_integer(size)] * _integer(times or "1", 0, 2 * f.IOV_MAX)
    return tuple(found)


def _show_sizes(sizes: tuple[int, ...]) -> str:
    words: list[str] = []
    index = 0
    while index < len(sizes):
        times = 1
        while index + times < len(sizes) and sizes[index + times] == sizes[index]:
            times += 1
        words.append(f"{sizes[index]}x{times}" if times > 2 else ",".join([str(sizes[index])] * times))
        index += times
    return ",".join(words) or "-"


# ---- control messages --------------------------------------------------------------------------------------------------


def _control(word: str) -> Control:
    kind, _, value = word.partition("=")
    if kind == "creds":
        return Credentials(_word(Forged, value))
    body, mark, length = value.partition(":")
    size = _integer(length, -(2**63), 2**63) if mark else None
    if kind == "fds":
        return Rights(tuple(_number(part) for part in body.split(",") if part), size)
    parts = body.split(",")
    if len(parts) not in {2, 3}:
        raise _Wrong(f"{word} is written cmsg=LEVEL,TYPE,HEX:LENGTH, the last two as needed")
    level, number = (_integer(part, -(2**31), 2**31 - 1) for part in parts[:2])
    try:
        return Raw(level, number, bytes.fromhex(parts[2] if len(parts) > 2 else ""), size)
    except ValueError:
        raise _Wrong(f"{parts[2]!r} is no sequence of hexadecimal bytes") from None


def _show_control(control: Control) -> str:
    if isinstance(control, Credentials):
        return f"creds={control.forged}"
    length = "" if control.length is None else f":{control.length}"
    if isinstance(control, Rights):
        return f"fds={','.join(map(str, control.fds))}{length}"
    data = f",{control.data.hex()}" if control.data else ""
    return f"cmsg={control.level},{control.type}{data}{length}"


def _read_send(plain: list[str], options: list[str]) -> Send:
    name, *data = plain
    controls = tuple(_control(word) for word in options if word.partition("=")[0] in _CONTROLS)
    rest = _options([word for word in options if word.partition("=")[0] not in _CONTROLS])
    whole = _integer(rest["controllen"]) if "controllen" in rest else None
    pieces = tuple(piece for word in data for piece in _data(word))
    return Send(_number(name), pieces, controls, whole, _flags(rest["flags"]) if "flags" in rest else 0)


def _show_send(op: Send) -> list[str]:
    words = [str(op.name), *_show_data(op.data), *map(_show_control, op.control)]
    words += [] if op.controllen is None else [f"controllen={op.controllen}"]
    return words + ([f"flags={f.names_of(op.flags)}"] if op.flags else [])


def _read_receive(plain: list[str], options: list[str]) -> Receive:
    given = _options(options)
    return Receive(
        _number(plain[0]),
        _sizes(plain[1]),
        _integer(given["control"]) if "control" in given else None,
        _flags(given["flags"]) if "flags" in given else 0,
        _word(Call, given.get("via", Call.RECVMSG)),
        _name(given["as"]) if "as" in given else "",
    )


def _show_receive(op: Receive) -> list[str]:
    words = [str(op.name), _show_sizes(op.room)]
    words += [] if op.control is None else [f"control={op.control}"]
    words += [f"flags={f.names_of(op.flags)}"] if op.flags else []
    words += [] if op.call is Call.RECVMSG else [f"via={op.call}"]
    return words + ([f"as={op.prefix}"] if op.prefix else [])


_CONTROLS = ("fds", "creds", "cmsg")


def _read_collect(_: list[str]) -> Collect:
    return Collect()


def _show_collect(_: Collect) -> list[str]:
    return []


class _Form(NamedTuple):
    """How an operation is written. ``most`` None: any number of plain words."""

    verb: str
    usage: str
    least: int
    most: int | None
    options: tuple[str, ...]
    read: Callable[[list[str], list[str]], Operation]
    show: Callable[[Any], list[str]]


def _without_options(read: Callable[[list[str]], Operation]) -> Callable[[list[str], list[str]], Operation]:
    def reading(plain: list[str], _: list[str]) -> Operation:
        return read(plain)

    return reading


def _simple(verb: str, usage: str, read: Callable[[list[str]], Operation], show: Callable[[Any], list[str]]) -> _Form:
    count = len(usage.split()) - 1
    return _Form(verb, usage, count, count, (), _without_options(read), show)


def _read_room(plain: list[str]) -> Room:
    return Room(None if plain[0] == "off" else _integer(plain[0], 0, 1024))


_FORMS: dict[type, _Form] = {
    Pair: _simple(
        "pair",
        "pair KIND A B",
        lambda w: Pair(_word(Kind, w[0]), _name(w[1]), _name(w[2])),
        lambda op: [op.kind, op.a, op.b],
    ),
    NewSocket: _simple(
        "socket", "socket KIND A", lambda w: NewSocket(_word(Kind, w[0]), _name(w[1])), lambda op: [op.kind, op.name]
    ),
    Connect: _simple(
        "connect",
        "connect A TO",
        lambda w: Connect(_number(w[0]), _number(w[1])),
        lambda op: [str(op.name), str(op.to)],
    ),
    Listen: _simple(
        "listen",
        "listen A BACKLOG",
        lambda w: Listen(_number(w[0]), _integer(w[1], 0, 4096)),
        lambda op: [str(op.name), str(op.backlog)],
    ),
    Accept: _simple(
        "accept", "accept A NEW", lambda w: Accept(_number(w[0]), _name(w[1])), lambda op: [str(op.listener), op.name]
    ),
    Open: _simple("open", "open F", lambda w: Open(_name(w[0])), lambda op: [op.name]),
    Duplicate: _simple(
        "dup", "dup A NEW", lambda w: Duplicate(_number(w[0]), _name(w[1])), lambda op: [str(op.name), op.new]
    ),
    Close: _simple("close", "close A", lambda w: Close(_number(w[0])), lambda op: [str(op.name)]),
    Shutdown: _simple(
        "shutdown",
        "shutdown A HOW",
        lambda w: Shutdown(_number(w[0]), _word(How, w[1])),
        lambda op: [str(op.name), op.how],
    ),
    SetOption: _simple(
        "set",
        "set A OPTION VALUE",
        lambda w: SetOption(_number(w[0]), _word(Option, w[1]), _integer(w[2], -(2**31), 2**31 - 1)),
        lambda op: [str(op.name), op.option, str(op.value)],
    ),
    Room: _simple("room", "room NUMBER|off", _read_room, lambda op: ["off" if op.free is None else str(op.free)]),
    Send: _Form(
        "send",
        'send A "data"... fds=F,F:LENGTH creds=own|pid|uid|length cmsg=LEVEL,TYPE,HEX:LENGTH controllen=N flags=OOB|...',
        1,
        2 * f.IOV_MAX,
        (*_CONTROLS, "controllen", "flags"),
        _read_send,
        _show_send,
    ),
    Receive: _Form(
        "recv",
        "recv A SIZE,SIZE control=N flags=PEEK|... via=recvmsg|recv|read as=NAME",
        2,
        2,
        ("control", "flags", "via", "as"),
        _read_receive,
        _show_receive,
    ),
    Released: _simple("released", "released F", lambda w: Released(_name(w[0])), lambda op: [op.name]),
    Look: _simple("look", "look A", lambda w: Look(_number(w[0])), lambda op: [str(op.name)]),
    Collect: _simple("collect", "collect", _read_collect, _show_collect),
}

GRAMMAR = tuple(form.usage for form in _FORMS.values())
"""How each operation is written, in the order in which a reader wants them."""
