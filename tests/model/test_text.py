"""Sequences as text: what is printed is read back, and what is wrong is named with its line."""

from __future__ import annotations

import pytest
from fdspec.conformance.model import BadSequence, Pair, Receive, Rights, Send, parse, show
from fdspec.conformance.model.operations import Kind
from fdspec.conformance.model.strategy import operations, sequences
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SLOW = settings(max_examples=200, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(st.lists(operations(), max_size=6).map(tuple))
def test_any_operation_is_read_back(sequence):
    assert parse(show(sequence)) == sequence


@settings(SLOW, max_examples=60)
@given(sequences())
def test_invented_sequences_are_read_back(sequence):
    assert parse(show(sequence)) == sequence


def test_comments_and_blank_lines_are_nothing():
    assert parse('# all\n\n  pair stream a b # two\nsend a "#"\n') == (
        Pair(Kind.STREAM, "a", "b"),
        Send("a", (b"#",)),
    )


def test_patterns_are_short():
    assert show([Send("a", (b"ab" * 2500,)), Send("a", (b"",) * 1025)]) == 'send a "ab"*5000\nsend a ""x1025\n'
    assert parse('send a "abc"*4 "\\x00\\"\\\\"') == (Send("a", (b"abca", b'\0"\\')),)


def test_all_the_parts_of_the_two_long_ones():
    text = 'send 3 "x" fds=f,-1:20 creds=pid cmsg=1,3,ff00 controllen=40 flags=OOB|0x10000\n'
    assert show(parse(text)) == text
    assert parse("send a fds=") == (Send("a", (), (Rights(()),)),)
    text = "recv b 4,1x3 control=24 flags=PEEK|CLOEXEC as=x\nrecv b - via=read\n"
    assert show(parse(text)) == text
    assert parse(text)[0] == Receive("b", (4, 1, 1, 1), 24, 0x40000002, prefix="x")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sned a", "no operation is called 'sned'; there are pair, socket"),
        ("pair stream a", "pair is written: pair KIND A B"),
        ("pair strem a b", "'strem' is none of stream, dgram, seqpacket"),
        ("pair stream 1 b", "'1' is no name"),
        ("close a b", "close is written: close A"),
        ('send a "x', 'a quotation mark is missing: "x'),
        ("send a x", "x is no data"),
        ('send a "\\n"', "is no escape"),
        ('send a "€"', "has characters that are no bytes"),
        ('send a ""*5', "an empty pattern has no length"),
        ('send a "x"*9999999', "'9999999' is no number from 0 to 1048576"),
        ("send a fd=f", "send knows no fd="),
        ("send a fds=f:x", "'x' is no number from"),
        ("send a cmsg=1", "is written cmsg=LEVEL,TYPE,HEX:LENGTH"),
        ("send a cmsg=1,1,0", "'0' is no sequence of hexadecimal bytes"),
        ("send a creds=root", "'root' is none of own, pid, uid, length"),
        ("send a flags=NOW", "'NOW' is no flag; there are OOB, PEEK"),
        ("send a flags=0xzz", "'0xzz' is no hexadecimal number"),
        ("send a flags=OOB flags=OOB", "flags= is given twice"),
        ("recv a", "recv is written: recv A SIZE"),
        ("recv a x", "'x' is no room: SIZE"),
        ("recv a 9999999", "'9999999' is no number from 0"),
        ("recv a 1 via=recvfrom", "'recvfrom' is none of recvmsg, recv, read"),
        ("recv a 1 control=-1", "'-1' is no number from 0"),
        ("set a passcreds 1", "'passcreds' is none of passcred"),
        ("shutdown a both", "'both' is none of rd, wr, rdwr"),
        ("room some", "'some' is no number from 0 to 1024"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(line, message):
    with pytest.raises(BadSequence) as caught:
        parse(f"open f\n{line}\n")
    assert str(caught.value).startswith("line 2: ")
    assert message in str(caught.value)
