"""Every byte string is a valid program, every valid program is some bytes, and a small change of the one is one of the other."""

from __future__ import annotations

import pytest
from anyprograms import SLOW, invalid, small_bytes, some_bytes
from fdspec.conformance.model import Kind, Open, Receive, Rights, Send
from fdspec.fuzz import Program, Side, decode, encode, is_valid, normal
from fdspec.fuzz import operations as o
from fdspec.fuzz.program import OPERATIONS, PROFILES
from fdspec.fuzz.wire import Reader, Writer, join, split
from fdspec.impls.protocol.values import Profile
from hypothesis import given
from hypothesis import strategies as st

HELLO = Program(
    operations=(Open("f0"), Send("t0", (b"hello",), (Rights(("f0", "f0")),)), Receive("p0", (16,), 24, 0, prefix="q0_"))
)


@SLOW
@given(some_bytes)
def test_every_byte_string_is_a_valid_program(data):
    assert is_valid(decode(data))


@SLOW
@given(st.sampled_from(PROFILES), small_bytes)
def test_in_every_profile(profile, data):
    head = bytes([1, PROFILES.index(profile), 0, 0, 0, 0, 0, 0, 0])
    program = decode(head + b"\xfe" + data)
    assert program.profile is profile
    assert is_valid(program)
    assert decode(encode(program)) == program


@SLOW
@given(invalid.map(normal))
def test_every_valid_program_has_bytes_that_are_it(program):
    assert decode(encode(program)) == program


@SLOW
@given(some_bytes)
def test_what_bytes_are_has_bytes_of_its_own(data):
    program = decode(data)
    assert encode(decode(encode(program))) == encode(program)


def test_no_bytes_are_the_empty_program():
    assert decode(b"") == decode(b"\xfe\xfe") == Program()


def test_the_bytes_stay_what_they_are():
    assert encode(HELLO).hex() == "0100000000fe0200fe000000010001010101000568656c6c6ffe0101001900010010"
    assert encode(Program(Profile.TRANSPORT, Kind.STREAM, Side.SERVER)).hex() == "010200010000000000"


def test_a_program_is_not_longer_than_its_bounds():
    assert len(decode(b"\x01" + b"\xfe\x03" * 500).operations) == OPERATIONS
    many = decode(b"\x01" + b"\xfe\x00\x00\x00\x00" + b"\xff\x01\xff\x01\x03" * 40)
    assert is_valid(many)


@SLOW
@given(invalid.map(normal), st.data())
def test_a_changed_byte_changes_one_operation_and_what_it_has_made(program, data):
    """As long as the byte was and becomes no end of a record, and the operation goes on making what it made."""
    records = encode(program).split(b"\xfe")
    index = data.draw(st.integers(0, len(records) - 1), "record")
    if not index or not records[index]:
        return
    place = data.draw(st.integers(0, len(records[index]) - 1), "place")
    byte = data.draw(st.integers(0, 253), "byte")
    changed = records[index][:place] + bytes([byte]) + records[index][place + 1 :]
    other = decode(b"\xfe".join([*records[:index], changed, *records[index + 1 :]]))
    assert other.operations[: index - 1] == program.operations[: index - 1]
    assert len(program.operations) - 1 <= len(other.operations) <= len(program.operations)


def test_a_changed_byte_in_the_middle_leaves_the_rest():
    data = encode(HELLO).replace(b"hello", b"hullo")
    assert decode(data).operations == (
        HELLO.operations[0],
        Send("t0", (b"hullo",), (Rights(("f0", "f0")),)),
        HELLO.operations[2],
    )


def test_a_record_that_is_cut_out_is_an_operation_less():
    first, _, *rest = encode(HELLO).split(b"\xfe")
    assert decode(b"\xfe".join([first, *rest])).operations == (
        Send("t0", (b"hello",), (Rights(("t0", "t0")),)),
        HELLO.operations[2],
    )


@pytest.mark.parametrize("value", [0, 1, 127, 128, 253, 254, 255, 2**32, 2**64 - 1])
def test_numbers(value):
    writer = Writer()
    writer.number(value)
    reader = Reader(bytes(writer.data))
    assert (reader.number(), reader.over, reader.number()) == (value, True, 0)


@pytest.mark.parametrize("value", [0, -1, 1, -(2**31), 2**31 - 1, -(2**63), 2**63 - 1])
def test_signed_numbers(value):
    writer = Writer()
    writer.signed(value)
    assert Reader(bytes(writer.data)).signed() == value


@given(st.binary())
def test_any_bytes_have_a_number_of_64_bits(data):
    assert 0 <= Reader(data).number() < 2**64


@given(st.lists(st.binary(), min_size=1))
def test_records_hold_any_bytes(records):
    assert split(join(records)) == records


def test_data_is_literal_or_a_pattern():
    literal, pattern = bytes(range(64)), b"0123456789abcdef" * 4096
    program = Program(operations=(Send("t0", (literal,)), Send("p0", (pattern,)), o.Take("t0", (1,) * 1025)))
    assert len(encode(program)) < 120
    assert decode(encode(program)) == program
