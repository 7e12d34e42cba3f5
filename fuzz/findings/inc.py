"""A script's steps as a C program (C11, for Linux) that needs libc alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ...conformance.model.control import NO_PROCESS
from ...conformance.model.operations import Control, Credentials, Forged, Number, Rights
from ..fitting import period
from . import plan as p
from .cjudge import JUDGE
from .cprelude import PRELUDE

_KINDS = {"stream": "SOCK_STREAM", "dgram": "SOCK_DGRAM", "seqpacket": "SOCK_SEQPACKET"}


def program(steps: Iterable[p.Step], head: Iterable[str]) -> str:
    """Return the whole text. ``head``: lines of comment at its beginning."""
    lines = [
        "/*",
        *(f" * {_plain(one)}".rstrip() for one in head),
        " */",
        PRELUDE,
        "",
        JUDGE,
        "",
        "int main(void)",
        "{",
        "    begin();",
    ]
    for step in steps:
        lines += [f"    {one}".rstrip() for one in _LINES[type(step)](step)]
    lines += [
        "",
        '    puts(defects ? "\\nthe defect shows" : "\\nnothing is wrong");',
        "    return defects ? 1 : 0;",
        "}",
        "",
    ]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Return text for a comment: one line that ends none."""
    plain = text.encode("ascii", "backslashreplace").decode().translate(dict.fromkeys((*range(32), 127), "?"))
    return plain.replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").replace("??", "? ?")


def literal(data: bytes) -> str:
    """Return a string literal. Octal escapes of three digits end where they end; trigraphs cannot come about."""
    parts = [f"\\{byte:03o}" if byte in b'"\\?' or not 32 <= byte < 127 else chr(byte) for byte in data]
    lines = ["".join(parts[at : at + 100]) for at in range(0, len(parts), 100)] or [""]
    return " ".join(f'"{line}"' for line in lines)


def _pieces(data: tuple[bytes, ...]) -> list[str]:
    lines: list[str] = []
    index = 0
    while index < len(data):
        times = 1
        while index + times < len(data) and data[index + times] == data[index]:
            times += 1
        one = data[index]
        size = (period(one) if len(one) > 32 else 0) or len(one)
        lines.append(f"piece({len(one)}, {literal(one[:size])}, {max(1, size)});")
        lines += [f"again({times});"] if times > 1 else []
        index += times
    return lines


def _buffers(sizes: tuple[int, ...]) -> list[str]:
    lines: list[str] = []
    index = 0
    while index < len(sizes):
        times = 1
        while index + times < len(sizes) and sizes[index + times] == sizes[index]:
            times += 1
        lines.append(f"buffers({sizes[index]}, {times});")
        index += times
    return lines


def _text(text: str) -> str:
    return literal(text.encode("utf-8", "replace"))


def _number(name: Number) -> str:
    return str(name) if isinstance(name, int) else f"fd({_text(name)})"


def _control(one: Control) -> list[str]:
    if isinstance(one, Credentials):
        return [_CREDENTIALS[one.forged]]
    if isinstance(one, Rights):
        lines = [f"rights({', '.join([str(len(one.fds)), *map(_number, one.fds)])});"]
    else:
        lines = [
            f"cmsg({one.level}, {one.type}, {literal(one.data)}, {len(one.data)});".replace(
                "-2147483648", "(-2147483647 - 1)"
            )
        ]
    return lines if one.length is None else [*lines, f"wrong_length({one.length % 2**64}ULL);"]


_CREDENTIALS = {
    Forged.NOTHING: "credentials(-1, getuid(), 12);",
    Forged.PID: f"credentials({NO_PROCESS}, getuid(), 12);",
    Forged.UID: "credentials(-1, getuid() + 1, 12);",
    Forged.LENGTH: "credentials(-1, getuid(), 8);",
}


def _send(step: p.SendIt) -> list[str]:
    lines = _pieces(step.data)
    if step.call == "write":
        return [*lines, f"write_message({_text(str(step.name))});"]
    for one in step.control:
        lines += _control(one)
    lines += [] if step.controllen is None else [f"control_length({step.controllen});"]
    return [*lines, f"send_message({_text(str(step.name))}, {step.flags & 0xFFFFFFFF:#x}U);"]


def _receive(step: p.ReceiveIt) -> list[str]:
    name, flags = _text(str(step.name)), f"{step.flags & 0xFFFFFFFF:#x}U"
    if step.call == "read":
        return [*_buffers(step.sizes), f"read_message({name});"]
    if step.call == "recv":
        return [f"buffers({sum(step.sizes)}, 1);", f"recv_message({name}, {flags});"]
    room = -1 if step.control is None else step.control
    return [*_buffers(step.sizes), f"receive_message({name}, {room}, {flags}, {_text(step.prefix)});"]


def _close(step: p.CloseIt) -> list[str]:
    if isinstance(step.name, int):
        return [f"close_number({step.name}, 1);"]
    return [f"close_name({_text(step.name)});"]


def _hand_over(step: p.HandOver) -> list[str]:
    each = [f"hand_over({_text(f'{step.prefix}{index}')}, {_text(one)});" for index, one in enumerate(step.labels)]
    return ["begin_handing_over();", *each]


def _fields(step: p.Claim | p.Expect, verb: str) -> list[str]:
    lines: list[str] = []
    if step.error is not None:
        lines.append(f"{verb}_error({_text(step.error)});")
    if step.value is not None:
        lines.append(f"{verb}_value({step.value});")
    if step.data is not None:
        lines += [*_pieces((step.data,)), f"{verb}_data();"]
    if step.files is not None:
        lines.append(f"{verb}_files({_text(' '.join(step.files))});")
    if step.flags is not None:
        lines.append(f"{verb}_flags({step.flags:#x}U);")
    return lines


def _expect(step: p.Expect) -> list[str]:
    lines = _fields(step, "expect")
    lines += [] if step.cloexec is None else [f"expect_cloexec({int(step.cloexec)});"]
    lines.append(f"expected({int(step.bad)});")
    return [*lines, *(f"puts({_text('permitted: ' + one)});" for one in step.permitted)]


def _say(step: p.Say) -> list[str]:
    note = [f"/* {_plain(step.note)} */"] if step.note else []
    return ["", *note, f"operation({step.number + 1}, {_text(step.line)});"]


_LINES: dict[type, Callable[[Any], list[str]]] = {
    p.Say: _say,
    p.Done: lambda _: ["done();"],
    p.Note: lambda step: [f"/* {_plain(step.text)} */"],
    p.MakePair: lambda step: [f"make_pair({_KINDS[step.kind]}, {_text(step.a)}, {_text(step.b)});"],
    p.MakeObject: lambda step: [f"make_{step.kind}({_text(step.name)});"],
    p.CloseIt: _close,
    p.ShutIt: lambda step: [f"shut({_text(str(step.name))}, {step.how});"],
    p.SetIt: lambda step: [f"set_option({_text(str(step.name))}, {step.option}, {_int(step.value)});"],
    p.SetLimit: lambda step: [f"leave_free({step.free});"],
    p.AskReleased: lambda step: [f"ask_released({_text(step.name)});"],
    p.CollectNow: lambda _: ["collect();"],
    p.SendIt: _send,
    p.ReceiveIt: _receive,
    p.SetCloexec: lambda step: [f"set_cloexec({_text(str(step.name))}, {int(step.on)});"],
    p.DuplicateIt: lambda step: [f"duplicate({_text(str(step.name))}, {int(step.cloexec)});"],
    p.GiveAway: lambda step: [f"give_away({_text(step.name)});"],
    p.HandOver: _hand_over,
    p.Claim: lambda step: _fields(step, "claim"),
    p.Expect: _expect,
    p.Recorded: lambda step: ["", "/* no system call shows this */", f"recorded({_text(step.text)});"],
    p.Account: lambda step: ["", f"account({int(step.leak)}, {int(step.stray)}, {_text(step.names)});"],
}


def _int(value: int) -> str:
    return "(-2147483647 - 1)" if value == -(2**31) else str(value)
