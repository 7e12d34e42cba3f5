"""Findings for tests."""

from __future__ import annotations

from anyprograms import programs_of_bytes
from fdspec.fuzz import parse
from fdspec.fuzz.findings.finding import Finding
from fdspec.fuzz.judgement import Breach, Violation
from hypothesis import strategies as st

texts = st.text(st.characters(codec="utf-8"), max_size=40)
counts = st.integers(0, 2**64)
violations = st.builds(
    Violation,
    st.sampled_from(Breach),
    texts,
    st.integers(0, 64),
    texts,
    texts,
    texts,
    st.lists(texts, max_size=3).map(tuple),
)
findings = st.builds(
    Finding,
    texts,
    violations,
    programs_of_bytes,
    texts,
    texts,
    texts,
    counts,
    st.booleans(),
    counts,
    st.integers(1, 2**40),
)

LEAK = Violation(
    Breach.LEAK,
    "LC02",
    2,
    "take",
    "message/stream/testee",
    "1 descriptor stays open: f0",
    ("nothing but what was received is open",),
)
PROGRAM = """program 1 message stream client
open g0
send p0 "x" fds=g0
take t0 1 room=1 as=r0_
"""


def finding(program: str = PROGRAM, violation: Violation = LEAK, subject: str = "reference", **rest) -> Finding:
    return Finding(subject, violation, parse(program), **rest)
