"""Programs as text: what is shown is read back, what people write is understood, what is wrong is named with its place."""

from __future__ import annotations

import pytest
from anyprograms import SLOW, invalid, programs_of_bytes
from fdspec.conformance import model
from fdspec.fuzz import BadProgram, Program, System, line_of, normal, parse, show
from fdspec.fuzz.text import USAGE, VERBS
from fdspec.impls.protocol.messages import Receiver
from fdspec.impls.protocol.values import Profile
from hypothesis import given

HEAD = "program 1 message stream client\n"
MESSAGE = """\
program 1 message seqpacket server system=freebsd
open f0
make file f1
make socket g0
pair dgram t1 p1
send t0 "hello" ""x2 fds=f0,f1,-1 cmsg=1,42,ff
send p1 "ab"*5000 fds=g0:19 creds=pid controllen=17 flags=OOB|NOSIGNAL
take t1 16,4 room=2 flags=PEEK as=r0_
recv t0 16 control=24 as=r1_
recv p0 7 via=recv
send t0 "x" fds=r0_1
set t0 passcred 1
option p0 timestamp 1
room 2
room off
shutdown r0_0 wr
fail receive EINTR nth=2 times=3
forge half-int nth=2 numbers=3 bait=f0
forge flagged
released f0
close f0
close f0
collect
"""
DESCRIPTORS = """\
program 1 descriptors stream client
open f0
send-one t0 f0 "x" "y" flags=NOSIGNAL
send-one t0 f0
take-one t0 - as=r0_
take t0 65536 room=3 as=r1_
short 6 times=2
"""
TRANSPORT = """\
program 1 transport stream server receiver=raise:2,abort:0
make file f0
write t0 "hello"
queue t0 f0
give t0 -100
produce t0
reading t0 off
turn t0 as=r0_
finish t0 half
reading t0 on
finish t0 abort
"""


@SLOW
@given(invalid.map(normal))
def test_every_program_is_read_back(program):
    assert parse(show(program)) == program


@SLOW
@given(programs_of_bytes)
def test_of_random_bytes_too(program):
    assert parse(show(program)) == program


@pytest.mark.parametrize("text", [MESSAGE, DESCRIPTORS, TRANSPORT], ids=["message", "descriptors", "transport"])
def test_a_text_comes_back_to_the_letter(text):
    assert show(parse(text)) == text


def test_every_verb_is_in_one_of_these_texts():
    written = {line.split()[0] for text in (MESSAGE, DESCRIPTORS, TRANSPORT) for line in text.splitlines()}
    assert written == {"program", *VERBS}
    assert set(USAGE) == set(VERBS)


def test_the_model_reads_its_own_operations_from_a_program():
    for operation in parse(MESSAGE).operations:
        if type(operation).__module__ == model.Send.__module__:
            assert model.parse(line_of(operation)) == (operation,)


def test_comments_blank_lines_and_other_numbers_are_right():
    text = f'# a finding\n\n{HEAD}  open f9   # two\r\nsend t0 "#" fds=f9\ntake t0 1 room=1\nclose r0_0\n'
    assert show(parse(text)) == f'{HEAD}open f0\nsend t0 "#" fds=f0\ntake t0 1 room=1 as=r0_\nclose r0_0\n'


def test_a_line_may_be_taken_out():
    text = MESSAGE.replace("make file f1\n", "").replace("f0,f1,-1", "f0,-1").replace("released", "# released")
    assert "fds=f0,-1" in show(parse(text))


def test_the_head():
    assert parse(HEAD) == Program()
    assert parse("program 1 transport stream server receiver=plain").receiver == Receiver(descriptors=False)
    assert parse("program 1 message dgram client system=macos").system is System.MACOS
    assert parse(TRANSPORT).profile is Profile.TRANSPORT


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "there is no program; its first line is written: program 1 PROFILE"),
        ("open f0", 1, 1, "a program begins with the line: program 1"),
        ("program 1 message", 1, 1, "it is written: program 1 PROFILE TYPE SIDE"),
        ("program 2 message stream client", 1, 9, "version '2' of programs is none that is known here; 1 is"),
        ("program 1 raw stream client", 1, 11, "'raw' is none of message, descriptors, transport"),
        ("program 1 message strem client", 1, 19, "'strem' is none of stream, dgram, seqpacket"),
        ("program 1 transport dgram client", 1, 21, "a transport is a stream, and no dgram"),
        ("program 1 message stream client system=plan9", 1, 40, "'plan9' is none of host, linux"),
        ("program 1 message stream client receiver=plain", 1, 42, "profile message has no receiver"),
        ("program 1 transport stream client receiver=raise:9", 1, 44, "'9' is no number from 0 to 7"),
        ("program 1 transport stream client receiver=x:1", 1, 44, "'x:1' is no receiver: plain, or raise:N"),
        (f"{HEAD}sned t0", 2, 1, "no operation is called 'sned'; there are send, recv"),
        (f'{HEAD}send t0 "x" fd=f0', 2, 13, "send knows no fd="),
        (f'{HEAD}send t0 "x', 2, 9, 'a quotation mark is missing: "x'),
        (f"{HEAD}send t0 x", 2, 9, "x is no data"),
        (f"{HEAD}  recv t0 16 control=-1", 2, 14, "'-1' is no number from 0"),
        (f"{HEAD}recv t0 16 flags=NOW", 2, 12, "'NOW' is no flag"),
        (f"{HEAD}recv t0 16 flags=OOB flags=OOB", 2, 1, "flags= is given twice"),
        (f"{HEAD}pair stream t1", 2, 1, "pair is written: pair KIND A B"),
        (f"{HEAD}shutdown t0 both", 2, 13, "'both' is none of rd, wr, rdwr"),
        (f"{HEAD}send a", 2, 6, "'a' is no name: t0, p0"),
        (f"{HEAD}open f0\nsend t0 fds=f0,f3", 3, 16, "'f3' is nothing that was made before; there are t0 p0 f0"),
        (f"{HEAD}take t0 1 room=1\nclose r0_1", 3, 7, "that cannot be; the nearest that can: close r0_0"),
        (f'{HEAD}open g0\nsend t0 "x" fds=g0', 3, 13, 'the nearest that can: send t0 "x" fds=t0'),
        (f'{HEAD}send t0 "x" controllen=4', 2, 13, 'the nearest that can: send t0 "x"'),
        (f"{HEAD}close 7", 2, 7, "the nearest that can: close -100"),
        (f"{HEAD}take t0 1 room=999", 2, 11, "the nearest that can: take t0 1 room="),
        (f"{HEAD}take t0 x", 2, 9, "'x' is no room: SIZE"),
        (f"{HEAD}take t0", 2, 1, "it is written: take A SIZE,SIZE"),
        (f"{HEAD}take t0 1 2", 2, 1, "it is written: take A SIZE,SIZE"),
        (f"{HEAD}take t0 1 rom=2", 2, 11, "there is no rom= here; it is written: take A"),
        (f"{HEAD}take t0 1 room=2 room=2", 2, 18, "room= is given twice"),
        (f"{HEAD}take t0 1 room=x", 2, 16, "'x' is no number"),
        (f"{HEAD}take 5 1", 2, 6, "'5' is no name"),
        (f"{HEAD}make pipe f0", 2, 6, "'pipe' is none of file, fifo, socket"),
        (f"{HEAD}fail send EWHAT", 2, 11, "'EWHAT' is none of EINTR, EAGAIN"),
        (f"{HEAD}forge nothing", 2, 7, "'nothing' is none of flagged, flag-alone"),
        (f"{HEAD}forge untold bait=-1", 2, 14, "the nearest that can: forge untold numbers=0 bait=t0"),
        (f'{HEAD}write t0 "x"', 2, 1, "there is no write in profile message, only in transport"),
        ('program 1 transport stream client\nwrite t0 "x"x2', 2, 10, "one buffer expected"),
        ("program 1 transport stream client\nreading t0 maybe", 2, 12, "'maybe' is none of on, off"),
        ("program 1 message dgram client\nshort 3", 2, 1, "short is not possible here"),
        (HEAD + "open f0\n" * 65, 66, 1, "a program has 64 operations at most"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text, line, column, message):
    with pytest.raises(BadProgram) as caught:
        parse(text)
    assert message in caught.value.what
    assert (caught.value.line, caught.value.column) == (line, column)
    assert str(caught.value).startswith(f"line {line}, column {column}: ")


@SLOW
@given(programs_of_bytes)
def test_a_damaged_text_is_read_or_refused_at_a_place_that_there_is(program):
    for word in ("", "x", "9", "=", '"', "fds="):
        text = show(program).replace(" ", f" {word}", 7)
        try:
            again = parse(text)
        except BadProgram as fault:
            place = fault.line, fault.column
        else:
            assert normal(again) == again
            continue
        lines = text.split("\n")
        assert place[1] <= len(lines[place[0] - 1]) + 1
