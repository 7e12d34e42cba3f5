r"""Programs as text, for people and for files: a line that says what the connection is, then one operation a line.

    program 1 message stream client
    open f0
    send t0 "hello" fds=f0,f0         # two descriptors beside five bytes
    recv p0 16 control=24 as=q0_
    take t0 16 room=2 as=r0_

The model's operations are written as the model writes them (see `fdspec.conformance.model.text`), the others by the table here.
``#`` begins a comment. Names are the canonical ones when a program is shown; when one is read, any number will do behind the
letter, as long as it is bound before it is used, so that a line can be taken out without the others having to change.
"""

from __future__ import annotations

import re
from typing import cast

from ..conformance.model import text as model
from ..conformance.model.operations import Kind
from ..conformance.model.operations import Operation as ModelOperation
from ..impls.protocol.messages import Receiver
from .forms import BY_VERB, FORMS, OPTION, Word, Wrong, chosen, members, sort, told, words_of
from .operations import Operation
from .program import CALLBACKS, OPERATIONS, PROFILES, VERSION, Namer, Program, Side, System, header, normal
from .scope import PERMITTED


class BadProgram(ValueError):
    """A text that is no program.

    ``line`` and ``column`` count from 1; the message says what is wrong there, and what is right.
    """

    def __init__(self, line: int, column: int, what: str) -> None:
        super().__init__(f"line {line}, column {column}: {what}")
        self.line = line
        self.column = column
        self.what = what


HEADER = "program 1 PROFILE TYPE SIDE system=SYSTEM receiver=plain|raise:N,close:N,abort:N"
"""How the first line is written."""


_LINE_END = re.compile(r"\r?\n")


def show(program: Program) -> str:
    """Return the text of a program, which ``parse`` reads back."""
    return "".join(f"{line}\n" for line in (_show_header(program), *map(line_of, program.operations)))


def line_of(operation: Operation) -> str:
    """Return the line of one operation."""
    form = FORMS.get(type(operation))
    return model.line(cast("ModelOperation", operation)) if form is None else form.show(operation)


def parse(text: str) -> Program:
    """Return the program of a text; it is valid. Raises BadProgram for the first thing in it that is wrong."""
    head: Program | None = None
    namer = Namer(Program())
    found: list[Operation] = []
    for number, line in enumerate(_LINE_END.split(text), 1):
        try:
            words = list(words_of(line))
            if not words:
                continue
            if head is None:
                head = _read_header(words)
                namer = Namer(head)
                continue
            _room_for_one(found, words)
            found.append(_valid(_operation(words), namer, words))
        except Wrong as wrong:
            raise BadProgram(number, wrong.column or 1, wrong.what) from None
    if head is None:
        raise BadProgram(1, 1, f"there is no program; its first line is written: {HEADER}")
    return normal(Program(head.profile, head.type, head.side, tuple(found), head.system, head.receiver))


def _room_for_one(found: list[Operation], words: list[Word]) -> None:
    if len(found) == OPERATIONS:
        raise Wrong(f"a program has {OPERATIONS} operations at most", words[0].column)


def _valid(operation: Operation, namer: Namer, words: list[Word]) -> Operation:
    """Return the operation with canonical names. Raises Wrong where it cannot be there as it is written."""
    renamed = namer.renamed(operation)
    verb = words[0].text
    permitted = namer.scope.permitted
    if type(operation) not in permitted:
        profiles = [str(one) for one in PROFILES if type(operation) in PERMITTED[one]]
        raise Wrong(
            f"there is no {verb} in profile {namer.scope.profile}, only in {', '.join(profiles)}", words[0].column
        )
    unknown = namer.unknown
    made = namer.normal(operation)
    if unknown:
        known = " ".join(
            (*namer.scope.sockets[0], *namer.scope.sockets[1], *namer.scope.objects[0], *namer.scope.objects[1])
        )
        raise Wrong(f"{unknown[0]!r} is nothing that was made before; there are {known}", _column_of(unknown[0], words))
    if made is None:
        raise Wrong(f"{verb} is not possible here", words[0].column)
    if made != renamed:
        raise Wrong(f"that cannot be; the nearest that can: {line_of(made)}", _first_other(line_of(made), words))
    return made


def _column_of(name: str, words: list[Word]) -> int:
    found = [(word, re.search(rf"(?<!\w){re.escape(name)}(?!\w)", word.text)) for word in words[1:]]
    return next((word.column + match.start() for word, match in found if match), words[0].column)


def _first_other(line: str, words: list[Word]) -> int:
    """Return the column of the first word that ``line`` has not got."""
    there = {word.text for word in words_of(line)}
    return next((word.column for word in words if word.text not in there), words[-1].column)


# ---- the first line ----------------------------------------------------------------------------------------------------


def _read_header(words: list[Word]) -> Program:
    plain, options = sort(words[1:], ("system", "receiver"), HEADER)
    if words[0].text != "program":
        raise Wrong(f"a program begins with the line: {HEADER}", words[0].column)
    if len(plain) != 4:
        raise Wrong(f"it is written: {HEADER}", words[0].column)
    if plain[0].text != str(VERSION):
        raise Wrong(f"version {plain[0].text!r} of programs is none that is known here; {VERSION} is", plain[0].column)
    profile = chosen({str(one): one for one in PROFILES}, plain[1])
    system = chosen(members(System), options["system"]) if "system" in options else System.HOST
    receiver = _read_receiver(options["receiver"]) if "receiver" in options else Receiver()
    kind, side = chosen(members(Kind), plain[2]), chosen(members(Side), plain[3])
    written = Program(profile, kind, side, (), system, receiver)
    head = header(written)
    if head.type is not kind:
        raise Wrong(f"a transport is a stream, and no {kind}", plain[2].column)
    if head.receiver != receiver:
        raise Wrong(f"profile {profile} has no receiver, only transport has", options["receiver"].column)
    return head


def _show_header(program: Program) -> str:
    words = ["program", str(VERSION), str(program.profile), str(program.type), str(program.side)]
    words += [] if program.system is System.HOST else [f"system={program.system}"]
    return " ".join(
        words + ([] if program.receiver == Receiver() else [f"receiver={_show_receiver(program.receiver)}"])
    )


def _show_receiver(receiver: Receiver) -> str:
    at = {"raise": receiver.raise_at, "close": receiver.close_at, "abort": receiver.abort_at}
    return ",".join(f"{name}:{one}" for name, one in at.items() if one is not None) if receiver.descriptors else "plain"


def _read_receiver(word: Word) -> Receiver:
    if word.text == "plain":
        return Receiver(descriptors=False)
    at: dict[str, int] = {}
    for part in word.text.split(","):
        name, _, number = part.partition(":")
        if name not in ("raise", "close", "abort") or name in at or not re.fullmatch(r"[0-9]", number):
            raise Wrong(
                f"{part!r} is no receiver: plain, or raise:N, close:N and abort:N with a comma between", word.column
            )
        if int(number) >= CALLBACKS:
            raise Wrong(f"{number!r} is no number from 0 to {CALLBACKS - 1}", word.column)
        at[name] = int(number)
    return Receiver(True, at.get("raise"), at.get("close"), at.get("abort"))


# ---- the model's operations --------------------------------------------------------------------------------------------


_MODELS = {
    "send": "send a",
    "recv": "recv a 1",
    "open": "open f",
    "close": "close a",
    "pair": "pair stream a b",
    "shutdown": "shutdown a rd",
    "set": "set a passcred 1",
    "room": "room 0",
    "released": "released f",
    "collect": "collect",
}
"""For each of the model's verbs that a program has, the shortest line that is right."""


def _of_model(words: list[Word]) -> Operation:
    line = " ".join(word.text for word in words)
    try:
        (found,) = model.parse(line)
    except model.BadSequence as fault:
        raise Wrong(told(fault), _guilty(words, _MODELS[words[0].text].split())) from None
    for name in (getattr(found, each) for each in ("name", "a", "b") if hasattr(found, each)):
        if isinstance(name, str) and not re.match(r"[tpfgrq]", name):
            raise Wrong(f"{name!r} is no name: t0, p0, f0, g0, r0_0, q0_0", _column_of(name, words))
    return cast("Operation", found)


def _guilty(words: list[Word], right: list[str]) -> int:
    """Return the column of the first word that makes a right line wrong by itself, else that of the verb."""
    place = 0
    for word in words[1:]:
        if OPTION.match(word.text):
            line = [*right, word.text]
        else:
            place += 1
            line = [*right[:place], word.text, *right[place + 1 :]]
        if not _is_right(" ".join(line)):
            return word.column
    return words[0].column


def _is_right(line: str) -> bool:
    try:
        model.parse(line)
    except model.BadSequence:
        return False
    return True


VERBS = (*_MODELS, *BY_VERB)
"""What the operations are called."""
USAGE = {form.verb: form.usage for form in FORMS.values()} | {
    usage.split()[0]: usage for usage in model.GRAMMAR if usage.split()[0] in _MODELS
}
"""How each operation is written, by its verb."""


def _operation(words: list[Word]) -> Operation:
    verb = words[0].text
    if verb in _MODELS:
        return _of_model(words)
    if verb not in BY_VERB:
        raise Wrong(f"no operation is called {verb!r}; there are {', '.join(VERBS)}", words[0].column)
    return BY_VERB[verb].read(words)
