"""Programs that show a mutant's defect, and what runs a script in either language."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple


class Ran(NamedTuple):
    """How a script ended, and what it said."""

    code: int
    out: str
    err: str


def run_python(text: str) -> Ran:
    done = subprocess.run(
        [sys.executable, "-I", "-"], input=text, capture_output=True, text=True, timeout=60, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def compiled(text: str, directory: Path) -> Path:
    """Compile without a warning, or fail with what the compiler says."""
    source, program = directory / "script.c", directory / "script"
    source.write_text(text, encoding="ascii")
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", str(program), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[:2000]
    return program


def run_c(text: str, directory: Path) -> Ran:
    done = subprocess.run([compiled(text, directory)], capture_output=True, text=True, timeout=60, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def _program(profile: str, *lines: str, kind: str = "stream") -> str:
    return "\n".join([f"program 1 {profile} {kind} client", *lines]) + "\n"


DEFECTS = {
    "message.truncation-leaks": _program("message", "open g0", 'send p0 "x" fds=g0,g0', "take t0 1 room=1 as=r0_"),
    "message.sent-is-closed": _program("message", "open f0", 'send t0 "x" fds=f0'),
    "message.received-in-reverse": _program(
        "message", "open g0", "open g1", 'send p0 "x" fds=g0,g1', "take t0 1 room=2 as=r0_"
    ),
    "message.first-buffer-only": _program("message", 'send t0 "a" "b"', "recv p0 16"),
    "message.send-keeps-a-copy": _program("message", "open f0", 'send t0 "x" fds=f0'),
    "message.no-data-sends-a-byte": _program("message", 'send t0 ""', "recv p0 16"),
    "message.plain-message-gives-the-last-ones": _program(
        "message", "open g0", 'send p0 "x" fds=g0', "take t0 1 room=1 as=r0_", 'send p0 "y"', "take t0 1 room=1 as=r1_"
    ),
    "message.receive-keeps-a-copy": _program("message", "open g0", 'send p0 "x" fds=g0', "take t0 1 room=1 as=r0_"),
    "message.truncation-untold": _program("message", "open g0", 'send p0 "x" fds=g0,g0', "take t0 1 room=1 as=r0_"),
    "message.bad-numbers-are-left-out": _program("message", 'send t0 "x" fds=-1', "recv p0 16 control=24 as=q0_"),
    "message.datagrams-are-joined": _program(
        "message", 'send p0 "a"', 'send p0 "b"', "take t0 16", "take t0 16", kind="dgram"
    ),
    "descriptors.not-close-on-exec": _program(
        "descriptors", "open g0", 'send p0 "x" fds=g0', "take t0 1 room=1 as=r0_"
    ),
    "descriptors.single-keeps-the-second": _program(
        "descriptors", "open g0", 'send p0 "x" fds=g0,g0', "take-one t0 1 as=r0_"
    ),
    "descriptors.lost-descriptors-leak": _program(
        "descriptors", "open g0", 'send p0 "x" fds=g0,g0,g0', "take t0 1 room=1 as=r0_"
    ),
    "descriptors.sent-is-closed": _program("descriptors", "open f0", 'send t0 "x" fds=f0'),
    "transport.first-descriptor-only": _program(
        "transport", "open g0", "open g1", 'send p0 "x" fds=g0,g1', "turn t0 as=r0_"
    ),
    "transport.handed-over-in-reverse": _program(
        "transport", "open g0", "open g1", 'send p0 "x" fds=g0,g1', "turn t0 as=r0_"
    ),
    "transport.not-close-on-exec": _program("transport", "open g0", 'send p0 "x" fds=g0', "turn t0 as=r0_"),
    "transport.sent-stays-open": _program(
        "transport", "open f0", "queue t0 f0", 'write t0 "x"', "turn t0 as=r0_", "recv p0 16 control=24 as=q0_"
    ),
}
"""By the mutant, a program that shows its defect."""
