"""Inputs to begin with, for every target: small ones that are as they have to be, for libFuzzer to go on from.

    python -m fdspec.fuzz.targets.seeds DIRECTORY

writes a folder for each target, with a file for each input.
"""

from __future__ import annotations

import socket
import struct
import sys
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path

from ...conformance import records
from ...impls.protocol.values import Profile
from ...impls.reference.control import ILP32, LP64, encode
from ..codec import encode as bytes_of
from ..findings.finding import Finding
from ..findings.store import show_finding
from ..judgement import Breach, Violation
from ..offer import adapt, everything
from ..program import Program
from ..text import parse, show

_PROGRAMS = (
    'program 1 message stream client\nopen f0\nsend t0 "hello" fds=f0\nrecv p0 16 control=24 as=q0_\nclose q0_0',
    'program 1 message stream client\nopen g0\nsend p0 "hello" fds=g0,g0,g0\ntake t0 16 room=1 as=r0_\ntake t0 16 room=2',
    'program 1 message dgram client\nopen g0\nsend p0 "ab" fds=g0\ntake t0 1 room=1 flags=PEEK as=r0_\ntake t0 1,0,4 room=0',
    'program 1 message seqpacket client\nsend p0 "a" fds=p0\nsend p0 "b"\nroom 0\ntake t0 4 room=1\nroom off\ntake t0 4',
    'program 1 message stream client\nopen f0\nsend t0 "a" fds=f0 fds=f0 cmsg=41,1,00\nclose f0\nrecv p0 1 control=20',
    'program 1 message stream client\nsend p0 "a"\nsend p0 "b" fds=p0\nsend p0 "c"\ntake t0 9 room=4\ntake t0 9\ntake t0 9',
    'program 1 message stream client\nset t0 passcred 1\nsend p0 "x" creds=own fds=p0:19\nrecv t0 8 control=56\nshutdown p0 wr',
    'program 1 message dgram client\npair stream t1 p1\nmake file f0\nmake socket g0\nsend t1 "x" fds=f0,t0\nclose t0\ncollect',
    'program 1 descriptors stream client\nopen f0\nsend-one t0 f0 "one"\nsend t0 "two" fds=f0,f0\nrecv p0 9 control=24',
    'program 1 descriptors stream client\nopen g0\nsend p0 "abc" fds=g0\ntake-one t0 2\nsend p0 "d" fds=g0,g0\ntake t0 2 room=1',
    'program 1 transport stream client receiver=raise:1\nopen f0\nqueue t0 f0\nwrite t0 "data"\nturn t0\nrecv p0 9 control=24',
)
_MANIFEST = """\
id = "mine"
name = "my library"
language = "Python"
homepage = "https://example.org"
summary = "messages"
profiles = ["message"]

[needs]
python = ">=3.9"

[setup]
kind = "python"
packages = ["one==1.0"]

[start]
command = ["{python}", "{here}/adapter.py"]

[deadlines]
request = 2.5
"""
_EXPECTATIONS = """\
version = 1

[[expect]]
case = "send.*"
verdict = "fail"
why = "it is known"
implementation = ["mine"]
issue = "https://example.org/1"
expires = 2031-01-01
when = { lacks = "passrights", kernel = ">=5.4,<6.2" }
"""
_CONFIG = 'implementations = ["mine"]\nlevel = "must"\ntypes = ["stream"]\nexpectations = "known.toml"\njobs = "auto"\n'


def _records() -> Iterable[bytes]:
    platform = records.Platform("Linux", "6.1", "x86_64", "3.11", 0, {"passrights": "yes"})
    header = records.Header("1", "2030-01-01T00:00:00Z", "0", ["fdspec", "run"], platform)
    one = records.ImplementationRecord("mine", "mine", "Python", "https://example.org", True, ["message"])
    need = records.RequirementRecord("S01", "It arrives.", records.Level.MUST, "kernel", [records.Source("unix(7)")])
    case = records.CaseRecord("send.one", "send", "It arrives.", records.Level.MUST, ["S01"])
    verdict = records.VerdictRecord("mine", "send.one", "message", records.Verdict.PASS)
    footer = records.Footer("2030-01-01T00:00:01Z", True, 5, {records.Verdict.PASS: 1}, 0)
    lines = [records.encode(record) for record in (header, one, need, case, verdict, footer)]
    return b"".join(lines), b"".join(lines[:-1]), lines[0]


def _conversations() -> Iterable[bytes]:
    replies = (
        b'{"id":1,"result":{"count":1}}',
        b'{"id":1,"result":{}}',
        b'{"id":1,"result":{"data":["6869"],"fds":[4],"flags":[]}}',
        b'{"id":1,"result":{"replies":[{"result":{}},{"unsupported":"x"}]}}',
        b'{"id":1,"error":{"kind":"OSError","errno":"EBADF","message":"bad"}}',
        b'{"id":1,"unsupported":"address"}',
        b"noise",
    )
    deep = b"[" * 1900
    return [bytes([which, 6]) + reply + b"\n" for which, reply in enumerate((*replies, deep))]


def _controls() -> Iterable[bytes]:
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [3, 4, -1]))
    others = [(socket.SOL_SOCKET, 2, struct.pack("=iII", 1, 0, 0)), (socket.SOL_SOCKET, 4, array("i", [7]))]
    for layout in (LP64, ILP32):
        yield encode([rights], layout)
        yield encode([*others, rights, rights], layout)
        yield encode([rights], layout)[:-5]


def programs() -> list[Program]:
    """Return programs to begin with, of every profile."""
    return [parse(text) for text in _PROGRAMS]


def _findings() -> Iterable[bytes]:
    said = Violation(Breach.LEAK, "LC01", 2, "take", "message/stream/testee", "left open", ("nothing is left open",))
    for program in programs()[:3]:
        yield show_finding(Finding("mine", said, program, original=9, minimised=True)).encode()


def _of(profile: Profile) -> Callable[[], Iterable[bytes]]:
    """Return the programs that are of a profile, or can be made so."""
    return lambda: [bytes_of(adapt(one, everything(profile))) for one in programs()]


SEEDS: dict[str, Callable[[], Iterable[bytes]]] = {
    "fuzz_config": lambda: [_CONFIG.encode(), f"[tool.fdspec]\n{_CONFIG}".encode()],
    "fuzz_conversation": _conversations,
    "fuzz_expectations": lambda: [_EXPECTATIONS.encode()],
    "fuzz_findings": _findings,
    "fuzz_manifest": lambda: [_MANIFEST.encode()],
    "fuzz_model_control": _controls,
    "fuzz_programs_bytes": lambda: map(bytes_of, programs()),
    "fuzz_programs_text": lambda: (show(one).encode() for one in programs()),
    "fuzz_python_socket": _of(Profile.MESSAGE),
    "fuzz_records": _records,
    "fuzz_reference_control": _controls,
    "fuzz_reference_descriptors": _of(Profile.DESCRIPTORS),
    "fuzz_reference_libc": _of(Profile.MESSAGE),
    "fuzz_reference_message": _of(Profile.MESSAGE),
    "fuzz_twisted_sendmsg": _of(Profile.MESSAGE),
}
"""By target."""


def write(directory: Path) -> int:
    """Write the inputs of every target into a folder of its name; return how many there are."""
    count = 0
    for target, make in SEEDS.items():
        folder = directory / target
        folder.mkdir(parents=True, exist_ok=True)
        for number, data in enumerate(make()):
            (folder / f"seed-{number:02}").write_bytes(data)
            count += 1
    return count


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("one argument expected: the directory to write into")
    sys.stdout.write(f"{write(Path(sys.argv[1]))} inputs\n")
