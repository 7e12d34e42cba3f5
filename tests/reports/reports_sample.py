"""Synthetic runs for the tests of reports: realistic in shape, invented in content, the same every time."""

import struct
from collections import Counter
from pathlib import Path

from fdspec.conformance.records import (
    BAD,
    CaseRecord,
    Entry,
    Footer,
    Header,
    ImplementationRecord,
    Level,
    Open,
    Platform,
    Record,
    RequirementRecord,
    Source,
    Verdict,
    VerdictRecord,
    encode,
)

TYPES = ("stream", "dgram", "seqpacket")
HEADER = Header(
    run="20250102-030405-abcd",
    started="2025-01-02T03:04:05Z",
    fdspec="0.1.0",
    command=["fdspec", "run", "-i", "alpha", "-i", "beta"],
    platform=Platform(
        "Linux", "6.18.0", "x86_64", "3.11.9", 1000, {"SCM_PIDFD": "yes", "SO_PASSRIGHTS": "1 by default"}
    ),
)
REQUIREMENT = RequirementRecord(
    "recv.ctrunc",
    "When the control buffer has no room for a descriptor, MSG_CTRUNC is set and the rest is closed.",
    Level.MUST,
    "kernel",
    [
        Source("unix(7)", "excess descriptors are closed", "https://man7.org/linux/man-pages/man7/unix.7.html"),
        Source("net/core/scm.c"),
    ],
)


def implementation(name, /, language="Python", available=True, **more):
    fields = {
        "name": name,
        "homepage": f"https://example.org/{name}",
        "profiles": ["message"],
        "version": "1.2.3",
        "runtime": "CPython 3.11.9",
    }
    return ImplementationRecord(id=name, language=language, available=available, **(fields | more))


ROOM = "Two of five descriptors arrive, MSG_CTRUNC is set and three are closed."


def case(name, summary=ROOM, level=Level.MUST, checks=("recv.ctrunc",)):
    return CaseRecord(name, name.partition(".")[0], summary, level, list(checks), place="test_receive.py:42")


def rights(*fds):
    """A control buffer with one SCM_RIGHTS message, in hexadecimal."""
    data = struct.pack(f"<Qii{len(fds)}i", 16 + 4 * len(fds), 1, 1, *fds)
    return (data + bytes(-len(data) % 8)).hex()


def opened(fd, target="/tmp/fdspec/object-1", inode=100, **more):
    return Open(fd, target, 2049, inode, **({"cloexec": False, "flags": 0o100002} | more))


STANDARD = [
    opened(0, "/dev/null", 4),
    opened(1, "pipe:[3301]", 3301, flags=1),
    opened(2, "pipe:[3302]", 3302, flags=1),
    opened(3, "anon_inode:[eventpoll]", 11, cloexec=True, owner="testee"),
]


def failure(implementation="alpha", case="recv.room", verdict=Verdict.LEAK, **more):
    """A verdict with everything that a verdict can have."""
    fields = {
        "profile": "message",
        "type": "stream",
        "reason": "leak",
        "expected": "[MSG_CTRUNC], 2 descriptors",
        "observed": "no flag, 2 descriptors; 1 is still open after reset",
        "duration": 0.00234,
        "transcript": [
            Entry(0.0001, "harness", "request", '{"op":"recvmsg","room":24}'),
            Entry(0.0004, "peer", "sendmsg", "1 byte, 3 descriptors", rights(5, 6, 7)),
            Entry(0.0011, "testee", "reply", '{"data":"78","fds":[9,10]}', rights(9, 10)),
            Entry(0.002, "census", "compare", "10 stayed, 4 is gone"),
        ],
        "before": [*STANDARD, opened(4, "socket:[77]", 77)],
        "after": [*STANDARD, opened(10)],
        "log": "alpha: warning: something\nTraceback (most recent call last):\n  ...",
        "noise": ["not JSON at all"],
        "reproduce": f"fdspec run -i {implementation} -k {case} --type stream",
    }
    return VerdictRecord(implementation=implementation, case=case, verdict=verdict, **(fields | more))


def passed(implementation="alpha", case="recv.one", **more):
    fields = {"profile": "message", "type": "stream", "verdict": Verdict.PASS, "duration": 0.0015}
    return VerdictRecord(implementation=implementation, case=case, **(fields | more))


def footer(records, complete=True, **more):
    counts = Counter(record.verdict for record in records if isinstance(record, VerdictRecord))
    bad = any(verdict in BAD for verdict in counts)
    fields = {
        "finished": "2025-01-02T03:05:00Z",
        "counts": dict(counts),
        "exit_code": int(bad),
        "note": "" if complete else "interrupted",
    }
    return Footer(complete=complete, records=len(records), **(fields | more))


def small() -> list[Record]:
    """Two implementations and one that is not available; three cases, one with a leak and a pass in one cell."""
    return [
        HEADER,
        implementation("alpha"),
        implementation("beta", "Rust", profiles=["descriptors"]),
        implementation("gamma", available=False, reason="needs cargo, which is not installed"),
        REQUIREMENT,
        case("recv.one", "One descriptor arrives and refers to the object that was sent."),
        case("recv.room"),
        case("send.closed", "Sending a closed number fails with EBADF.", Level.SHOULD, checks=()),
        passed(),
        passed(type="dgram"),
        failure(),
        passed(case="recv.room", type="dgram"),
        passed("beta", profile="descriptors"),
        failure(
            "beta",
            "send.closed",
            Verdict.CRASH,
            reason="signal-SIGSEGV",
            profile="descriptors",
            observed="the process died",
            after=[],
        ),
        VerdictRecord(implementation="beta", case="recv.room", profile="descriptors", verdict=Verdict.UNSUPPORTED),
    ]


def data(records, end=None) -> bytes:
    """The bytes of a file with a matching footer."""
    return b"".join(encode(record) for record in [*records, end or footer(records)])


def save(directory: Path, records, end=None) -> Path:
    path = directory / "records.jsonl"
    path.write_bytes(data(records, end))
    return path


AREAS = {
    "send": "sendmsg with {n} descriptors returns the length of the data and queues them once",
    "ancillary": "{n} control messages in one call arrive as one, order kept",
    "receive": "{n} descriptors arrive as the lowest free numbers, ascending",
    "truncation": "Room for {n} of five descriptors: {n} arrive, MSG_CTRUNC is set, the rest is closed",
    "identity": "A received descriptor shares offset and status flags with the one that was sent, {n} times over",
    "ownership": "After an error on path {n} no descriptor stays open on either side",
    "iovec": "{n} buffers, some of them empty, are gathered and scattered at the right places",
    "boundary": "A receive of {n} bytes stops at the message that carries descriptors",
    "peek": "MSG_PEEK installs {n} copies and leaves the originals in flight",
    "credentials": "Credentials and {n} descriptors arrive beside each other",
    "library": "The library closes {n} descriptors that the caller did not take",
    "transport": "Descriptors queued before write number {n} go with its first byte",
}
NAMES = {
    "reference": "Python",
    "py-message": "Python",
    "py-recipe": "Python",
    "py-socket-fds": "Python",
    "twist-sendmsg": "Python",
    "twist-unix": "Python",
    "twist-old-send": "Python 2",
    "twist-old-unix": "Python 2",
    "rust-driver": "Rust",
    "rust-vmm": "Rust",
}


def large(implementations=10, cases=130, types=TYPES) -> list[Record]:
    """A run of that size; what fails is decided by arithmetic on indices."""
    names = [*NAMES, *(f"another-{number}" for number in range(implementations))][:implementations]
    records: list[Record] = [HEADER]
    records += [implementation(name, NAMES.get(name, "Go")) for name in names]
    records += [
        implementation("nodejs-ipc", "JavaScript", available=False, reason="needs node, which is not on PATH"),
        implementation("qemu-aarch64", "C", available=False, reason="needs qemu-aarch64 and a cross compiler"),
    ]
    areas = list(AREAS)
    made = []
    for number in range(cases):
        area = areas[number * len(areas) // cases]
        level = (Level.MUST, Level.MUST, Level.MUST, Level.SHOULD, Level.MAY)[number % 5]
        behaviour = ("plain", "empty", "closed", "many", "partial")[number % 5]
        made.append(case(f"{area}.{behaviour}.n{number}", AREAS[area].format(n=number % 7 + 1) + ".", level))
    records += [REQUIREMENT, *made]
    kinds = (
        Verdict.FAIL,
        Verdict.FAIL,
        Verdict.LEAK,
        Verdict.FAIL,
        Verdict.CRASH,
        Verdict.TIMEOUT,
        Verdict.LEAK,
        Verdict.BROKEN,
    )
    reasons = {Verdict.CRASH: "signal-SIGSEGV", Verdict.LEAK: "leak", Verdict.TIMEOUT: "deadline"}
    for i, name in enumerate(names):
        for c, each in enumerate(made):
            mixed = (i * 7919 + c * 104729 + i * c * 31) % 97
            for t, kind in enumerate(types):
                more = {"type": kind, "reproduce": f"fdspec run -i {name} -k {each.id} --type {kind}"}
                if i and each.area == ("transport", "library")[i % 2]:
                    records.append(passed(name, each.id, verdict=Verdict.UNSUPPORTED, duration=0.0, **more))
                elif i and mixed < i + 2 and (mixed + t) % 4:
                    verdict = kinds[(mixed + i) % len(kinds)]
                    more["reason"] = reasons.get(verdict, "assertion")
                    more["observed"] = f"{c % 3} descriptors, flags 0; case {c}"
                    records.append(failure(name, each.id, verdict, **more))
                else:
                    records.append(passed(name, each.id, duration=0.001 + mixed / 1e5, **more))
    return records
