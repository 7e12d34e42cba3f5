"""A script's steps as a Python program that needs the standard library alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...conformance.model.control import NO_PROCESS
from ...conformance.model.operations import Control, Credentials, Forged, Number, Rights
from ..fitting import period
from . import plan as p
from .pythonprelude import PRELUDE

PROBE = "PROBE "
"""What the line of a `Probe` begins with."""
_KINDS = {"stream": "socket.SOCK_STREAM", "dgram": "socket.SOCK_DGRAM", "seqpacket": "socket.SOCK_SEQPACKET"}


def program(steps: Iterable[p.Step], head: Iterable[str]) -> str:
    """Return the whole text. ``head``: lines of comment at its beginning."""
    lines = ["#!/usr/bin/env python3", *(f"# {_plain(one)}".rstrip() for one in head), "", PRELUDE]
    for step in steps:
        lines += _LINES[type(step)](step)
    return "\n".join(
        [
            *lines,
            "",
            'print("\\n" + ("the defect shows" if defects else "nothing is wrong"))',
            "sys.exit(bool(defects))",
            "",
        ]
    )


def _plain(text: str) -> str:
    """Return text for a comment, on one line whatever stands in it."""
    return text.encode("ascii", "backslashreplace").decode().translate(dict.fromkeys((*range(32), 127), "?"))


def piece(data: bytes) -> str:
    """Return an expression for bytes: long ones as their pattern."""
    size = period(data) if len(data) > 32 else 0
    if size and len(data) > size:
        times, rest = divmod(len(data), size)
        return f"{data[:size]!r} * {times}" + (f" + {data[:rest]!r}" if rest else "")
    return repr(data)


def _pieces(data: tuple[bytes, ...]) -> str:
    groups: list[str] = []
    index = 0
    while index < len(data):
        times = 1
        while index + times < len(data) and data[index + times] == data[index]:
            times += 1
        groups.append(f"[{piece(data[index])}]" + (f" * {times}" if times > 1 else ""))
        index += times
    if all(" * " not in one.rpartition("]")[2] for one in groups):
        return "[" + ", ".join(one[1:-1] for one in groups) + "]"
    return " + ".join(groups)


def _sizes(sizes: tuple[int, ...]) -> str:
    return f"[{sizes[0]}] * {len(sizes)}" if len(sizes) > 2 and len(set(sizes)) == 1 else repr(list(sizes))


def _name(name: Number) -> str:
    return repr(name)


def _control(one: Control) -> str:
    if isinstance(one, Rights):
        words = [*map(_name, one.fds), *([f"length={one.length}"] if one.length is not None else [])]
        return f"rights({', '.join(words)})"
    if isinstance(one, Credentials):
        return _CREDENTIALS[one.forged]
    length = f", length={one.length}" if one.length is not None else ""
    return f"cmsg({one.level}, {one.type}, {one.data!r}{length})"


_CREDENTIALS = {
    Forged.NOTHING: "credentials()",
    Forged.PID: f"credentials(pid={NO_PROCESS})",
    Forged.UID: "credentials(uid=os.getuid() + 1)",
    Forged.LENGTH: "credentials(size=8)",
}


def _send(step: p.SendIt) -> list[str]:
    if step.call == "write":
        return [f"write({_name(step.name)}, {_pieces(step.data)})"]
    words = [_name(step.name), _pieces(step.data), *map(_control, step.control)]
    words += [] if step.controllen is None else [f"controllen={step.controllen}"]
    words += [f"flags={_flags(step.flags)}"] if step.flags else []
    return [f"send({', '.join(words)})"]


def _flags(flags: int) -> str:
    """Return flags as C has them in an int."""
    return hex(flags & 0x7FFFFFFF) + (" - 2**31" if flags & 0x80000000 else "")


def _receive(step: p.ReceiveIt) -> list[str]:
    name = _name(step.name)
    if step.call == "read":
        return [f"read({name}, {_sizes(step.sizes)})"]
    if step.call == "recv":
        return [f"recv({name}, {sum(step.sizes)}, {_flags(step.flags)})"]
    prefix = f", {step.prefix!r}" if step.prefix else ""
    return [f"receive({name}, {_sizes(step.sizes)}, {step.control}, {_flags(step.flags)}{prefix})"]


def _fields(step: p.Claim | p.Expect) -> str:
    words: list[str] = []
    for key in ("error", "value", "data", "files", "flags", "cloexec"):
        value: Any = getattr(step, key, None)
        if value is not None:
            text = piece(value) if key == "data" else repr(list(value) if key == "files" else value)
            words.append(f"{key}={text}")
    return ", ".join(words)


def _expect(step: p.Expect) -> list[str]:
    words = f"expect({'bad=True, ' if step.bad else ''}{_fields(step)})"
    return [words, *(f"print({'permitted: ' + _plain(one)!r})" for one in step.permitted)]


def _probe(_: p.Probe) -> list[str]:
    seen = "{**shown, 'data': shown.get('data', b'').hex()}"
    return ["import json", f"print('\\n{PROBE}' + json.dumps({seen}))"]


def _say(step: p.Say) -> list[str]:
    note = [f"# {_plain(step.note)}"] if step.note else []
    return ["", *note, f"operation({step.number + 1}, {_plain(step.line)!r})"]


_LINES: dict[type, Callable[[Any], list[str]]] = {
    p.Say: _say,
    p.Done: lambda _: ["done()"],
    p.Note: lambda step: [f"# {_plain(step.text)}"],
    p.MakePair: lambda step: [f"pair({_KINDS[step.kind]}, {step.a!r}, {step.b!r})"],
    p.MakeObject: lambda step: [f"make({step.kind!r}, {step.name!r})"],
    p.CloseIt: lambda step: [f"close({_name(step.name)})"],
    p.ShutIt: lambda step: [f"shutdown({_name(step.name)}, {step.how})"],
    p.SetIt: lambda step: [f"setsockopt({_name(step.name)}, {step.option}, {step.value})"],
    p.SetLimit: lambda step: [f"room({step.free})"],
    p.AskReleased: lambda step: [f"released({step.name!r})"],
    p.CollectNow: lambda _: ["collect()"],
    p.SendIt: _send,
    p.ReceiveIt: _receive,
    p.SetCloexec: lambda step: [f"set_cloexec({_name(step.name)}, {step.on})"],
    p.DuplicateIt: lambda step: [f"duplicate({_name(step.name)}, {step.cloexec})"],
    p.GiveAway: lambda step: [f"give_away({step.name!r})"],
    p.HandOver: lambda step: [f"hand_over({', '.join(map(repr, (step.prefix, *step.labels)))})"],
    p.Claim: lambda step: [f"claim({_fields(step)})"],
    p.Expect: _expect,
    p.Probe: _probe,
    p.Recorded: lambda step: ["", "# no system call shows this", f"check(True, {_plain(step.text)!r}, 'not that')"],
    p.Account: lambda step: ["", f"account(leak={step.leak}, stray={step.stray}, names={step.names!r})"],
}
