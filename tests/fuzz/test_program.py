"""A program is valid, or there is one valid program that it is made into; what it names stays what it was."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from anyprograms import SLOW, invalid, programs_of_bytes
from fdspec.conformance import model
from fdspec.conformance.interpose.perform import Came, Shown
from fdspec.conformance.interpose.personality import PERSONALITIES
from fdspec.conformance.model import Close, Kind, Open, Pair, Receive, Rights, Send
from fdspec.fuzz import Program, System, decode, is_valid, normal
from fdspec.fuzz import fitting as fit
from fdspec.fuzz import operations as o
from fdspec.fuzz.forging import SHAPES, Builder, build
from fdspec.fuzz.operations import End, Operation, end_of
from fdspec.fuzz.program import OPERATIONS, PROFILES, ends_of
from fdspec.fuzz.scope import PERMITTED
from fdspec.impls.protocol.values import ObjectKind, Profile
from hypothesis import given


def operations(*listed, **rest):
    return normal(Program(operations=listed, **rest)).operations


@SLOW
@given(invalid)
def test_whatever_there_is_can_be_made_valid_and_then_stays(program):
    once = normal(program)
    assert normal(once) == once
    assert is_valid(once)


@SLOW
@given(programs_of_bytes)
def test_any_operation_may_be_taken_out_and_the_rest_is_valid(program):
    for index in range(len(program.operations)):
        rest = program.operations[:index] + program.operations[index + 1 :]
        shorter = normal(msgspec.structs.replace(program, operations=rest))
        assert is_valid(shorter)
        assert len(shorter.operations) <= len(rest)


@SLOW
@given(programs_of_bytes)
def test_a_program_is_a_value_that_json_and_msgpack_carry(program):
    for form in (msgspec.json, msgspec.msgpack):
        assert form.decode(form.encode(program), type=Program) == program


def test_names_go_on_meaning_what_they_meant():
    kept = operations(Open("f7"), o.Make(ObjectKind.FILE, "f3"), Close("f7"), Send("t0", (b"x",), (Rights(("f3",)),)))
    assert kept == (Open("f0"), o.Make(ObjectKind.FILE, "f1"), Close("f0"), Send("t0", (b"x",), (Rights(("f1",)),)))


def test_a_name_that_was_never_bound_is_an_index_modulo_what_there_is():
    sent = operations(Open("f"), Open("f"), Send("t#9", (), (Rights(("f#5", "p0", "r0_0")),)))[2]
    assert sent == Send("t0", (), (Rights(("f1", "t0", "f0")),))


def test_descriptors_that_a_receive_had_room_for_can_be_passed_onwards():
    received = o.Take("t0", (16,), 2, prefix="x")
    onwards = Send("t0", (b"x",), (Rights(("x0", "x1", "x2")),))
    assert operations(received, onwards) == (
        o.Take("t0", (16,), 2, prefix="r0_"),
        Send("t0", (b"x",), (Rights(("r0_0", "r0_1", "r0_0")),)),
    )


def test_a_receive_counts_for_its_own_end_and_only_with_room():
    plain, roomy = Receive("p0", (1,)), Receive("p0", (1,), 24)
    assert [one.prefix for one in operations(plain, roomy, o.Take("t0", (1,), 1), roomy)] == ["", "q0_", "r0_", "q1_"]


def test_what_only_the_peer_can_do_is_not_asked_of_the_testee():
    sent = Send("t0", (b"x",), (Rights((-1,), 3), model.Credentials(model.Forged.LENGTH)), 7)
    assert operations(sent) == (Send("t0", (b"x",), (Rights((-1,)), model.Credentials())),)
    assert operations(msgspec.structs.replace(sent, name="p0")) == (msgspec.structs.replace(sent, name="p0"),)
    assert operations(sent, profile=Profile.DESCRIPTORS) == (Send("t0", (b"x",), (Rights((-1,)),)),)
    assert operations(sent, profile=Profile.TRANSPORT)[0].name == "p0"


def test_numbers_in_raw_rights_are_nobodys():
    (sent,) = operations(Send("p0", (), (model.Raw(1, 1, b"\x01\0\0\0\x02"), model.Raw(1, 2, b"\x01"))))
    assert [one.data for one in sent.control] == [b"\xff" * 5, b"\x01"]


def test_sizes_are_bounded():
    assert len(operations(*[Open("f")] * 100)) == OPERATIONS
    (sent,) = operations(Send("t0", (b"",) * 2000, (Rights((-1,) * 300), Rights((-1,)))))
    assert (len(sent.data), [len(one.fds) for one in sent.control]) == (1025, [260, 0])
    (sent,) = operations(Send("t0", (bytes(range(100)), b"ab" * 30_000, b"cd" * 30_000)))
    assert list(map(len, sent.data)) == [100, 60_000, 5436]
    assert sent.data[0] == (bytes(range(16)) * 7)[:100]
    (received,) = operations(Receive("p0", (-1, 70_000, 70_000), 2**40))
    assert received.room == (fit.SIZES, 0, 0)
    assert received.control is not None
    assert 0 <= received.control <= fit.CONTROL
    assert len(operations(*[Pair(Kind.STREAM, "t", "p")] * 9)) == 3


def test_a_second_connection_has_names_for_both_ends():
    assert operations(Pair(Kind.DGRAM, "t", "p"), Send("p1", (b"x",))) == (
        Pair(Kind.DGRAM, "t1", "p1"),
        Send("p1", (b"x",)),
    )
    assert ends_of(decode(b"")) == ()
    assert [end_of(one) for one in ("t1", "f0", "r0_0", "p0", "g1", "q0_3", -1)] == [0, 0, 0, 1, 1, 1, 0]


def test_a_transport_is_a_stream_whose_number_nobody_knows():
    program = normal(Program(Profile.TRANSPORT, Kind.DGRAM, operations=(o.Queue("t0", "t0"), Close("t0"))))
    assert program.type is Kind.STREAM
    assert program.operations == (o.Queue("t0", -1), Close(-1))


def test_short_sends_are_for_streams_alone():
    assert operations(o.Short(3), type=Kind.DGRAM) == ()
    assert operations(o.Short(0, 99, 0)) == (o.Short(fit.DATA, 3, 16),)


def test_every_operation_is_of_some_profile_and_there_is_no_other():
    listed = {one for profile in PROFILES for one in PERMITTED[profile]}
    assert listed == set(Operation.__args__)


def test_the_systems_are_the_personalities():
    assert {one.value for one in System} - {"host"} == {path.stem for path in Path(PERSONALITIES).glob("*.toml")}


# ---- forged control data -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("builder", Builder)
@pytest.mark.parametrize("count", [0, 1, 3])
def test_every_builder_makes_an_image_of_every_number_that_it_takes(builder, count):
    shape = SHAPES[builder]
    came = Came(b"data", 4, tuple(range(50, 50 + count)), (), 0, b"")
    for place, domain in enumerate(shape.numbers):
        for one in domain:
            numbers = tuple(one if place == at else first[0] for at, first in enumerate(shape.numbers))
            (forged,) = operations(o.Forge(builder, 1, numbers, ("t0",) * shape.most))
            assert forged.numbers == numbers
            assert isinstance(build(builder, numbers, [3] * len(forged.bait))(came), Shown)
    assert shape.numbers or isinstance(build(builder, (), [3] * shape.most)(came), Shown)


def test_a_forgery_gets_the_numbers_and_the_bait_that_it_needs():
    assert operations(o.Forge(Builder.HALF_INT, 1, (7, 7, 7), ("f0", -1))) == (
        o.Forge(Builder.HALF_INT, 1, (2,), ("t0",)),
    )
    assert operations(o.Forge(Builder.UNTOLD)) == (o.Forge(Builder.UNTOLD, 1, (0,), ("t0",)),)
    assert operations(o.Forge(Builder.UNTOLD), profile=Profile.TRANSPORT) == ()
    assert operations(o.Forge(Builder.TWICE, 1, (1,), ("t0",))) == (o.Forge(Builder.TWICE),)


def test_the_testee_is_end_0():
    assert (End.TESTEE, End.PEER) == (0, 1)
