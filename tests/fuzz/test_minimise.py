"""What is made small still shows the same, is valid, and cannot be made smaller by leaving one operation out."""

from __future__ import annotations

import pytest
from anyprograms import SLOW, programs_of_bytes
from fdspec.conformance.model import Close, Rights, Send
from fdspec.fuzz import End, Program, decode, end_of, is_valid, normal, parse, show
from fdspec.fuzz import operations as o
from fdspec.fuzz.findings.minimise import minimise, weight
from fdspec.fuzz.operations import Forge, Take
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

LONG = """program 1 message stream server system=freebsd
open f0
open g0
make socket f1
make file g1
pair seqpacket t1 p1
set t0 sndbuf 4608
option p0 timestamp 1
room 100
send t0 "hello" "world" fds=f0,f1,f0 creds=own flags=NOSIGNAL
send p0 "abcdefgh"*5000 "z" fds=g0,g1,g0,p0 cmsg=0,7,aabbcc controllen=200 flags=OOB
recv p0 16,16,16 control=300 as=q0_
take t0 65536,3 room=7 flags=PEEK as=r0_
close r0_0
fail receive EINTR nth=3 times=2
take t0 65536 room=9 as=r1_
close r1_1
released g0
shutdown p0 rdwr
collect
"""


def passes_and_closes(program: Program) -> bool:
    """A descriptor from the peer to the testee, and a close of something that the testee has received."""
    sent = any(
        isinstance(one, Send)
        and end_of(one.name) is End.PEER
        and any(isinstance(c, Rights) and c.fds for c in one.control)
        for one in program.operations
    )
    return sent and any(isinstance(one, Close) and str(one.name).startswith("r") for one in program.operations)


class Asked:
    """A question that keeps what it was asked."""

    def __init__(self, still):
        self.still = still
        self.programs: list[Program] = []
        self.so: set[Program] = set()

    def __call__(self, program: Program) -> bool:
        self.programs.append(program)
        if self.still(program):
            self.so.add(program)
            return True
        return False


def test_a_long_program_becomes_what_matters():
    asked = Asked(passes_and_closes)
    small = minimise(parse(LONG), asked)
    assert show(small) == ('program 1 message stream client\nsend p0 "x" fds=p0\ntake t0 0 room=1 as=r0_\nclose r0_0\n')
    assert len(asked.programs) <= 400
    assert len(set(asked.programs)) == len(asked.programs)


def test_the_same_question_has_the_same_answer():
    first, second = Asked(passes_and_closes), Asked(passes_and_closes)
    assert minimise(parse(LONG), first) == minimise(parse(LONG), second)
    assert first.programs == second.programs


@pytest.mark.parametrize("budget", [0, 1, 2, 5, 30, 100])
def test_no_more_than_the_budget_is_asked(budget):
    asked = Asked(passes_and_closes)
    small = minimise(parse(LONG), asked, budget=budget)
    assert len(asked.programs) <= budget
    assert small == parse(LONG) or small in asked.so


@SLOW
@given(programs_of_bytes, st.integers(0, 2**32))
def test_only_what_was_seen_is_returned_and_never_more(program, salt):
    """Whatever the answers are, even those of a defect that comes and goes."""
    import random

    dice = random.Random(salt)
    asked = Asked(lambda _: dice.random() < 0.5)
    small = minimise(program, asked, budget=60)
    assert small == program or small in asked.so
    assert is_valid(small)
    assert weight(small) <= weight(program)
    assert len(asked.programs) <= 60
    assert all(map(is_valid, asked.programs))


@SLOW
@given(programs_of_bytes)
def test_no_operation_is_left_that_is_not_needed(program):
    """For a defect that any operation of the last one's kind shows, one operation remains (or what makes it possible)."""
    if not program.operations:
        return
    kind = type(program.operations[-1])

    def still(one: Program) -> bool:
        return any(type(each) is kind for each in one.operations)

    small = minimise(program, still, budget=1000)
    for index in range(len(small.operations)):
        rest = small.operations[:index] + small.operations[index + 1 :]
        assert not still(normal(replace(small, operations=rest)))


def test_two_operations_that_go_together_are_left_out_together():
    """Neither the send nor the receive can go alone where the count of both has to be the same."""

    def still(program: Program) -> bool:
        sends = sum(isinstance(one, Send) for one in program.operations)
        takes = sum(isinstance(one, Take) for one in program.operations)
        return sends == takes and any(isinstance(one, Close) for one in program.operations)

    text = 'program 1 message stream client\nsend p0 "x"\nopen f0\nclose f0\ntake t0 1\nsend p0 "y"\ntake t0 1\n'
    assert show(minimise(parse(text), still)) == "program 1 message stream client\nclose t0\n"


def test_the_forgery_that_matters_stays():
    program = parse(
        "program 1 message stream client\nopen f0\nopen f1\n"
        "forge second-tells nth=4 numbers=18446744073709551615,2 bait=f0,f1,f1\ntake t0 10 room=3 as=r0_\n"
    )
    small = minimise(program, lambda one: any(isinstance(each, Forge) for each in one.operations))
    assert show(small) == "program 1 message stream client\nforge second-tells numbers=0,0 bait=t0\n"


def test_everything_becomes_nothing_where_nothing_matters():
    assert minimise(decode(bytes([1, 0, *range(2, 120)])), lambda _: True) == Program()
    assert minimise(parse(LONG), lambda _: True) == Program()


def test_the_profile_is_never_another():
    program = parse('program 1 transport stream server receiver=plain\nwrite t0 "abc"\nturn t0 as=r0_\n')
    small = minimise(program, lambda one: any(isinstance(each, o.Write) for each in one.operations))
    assert show(small) == 'program 1 transport stream client\nwrite t0 "x"\n'
