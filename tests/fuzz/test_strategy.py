"""What is drawn is valid, needs no more than is offered, and shrinks to the few operations that matter."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
from anyprograms import SLOW, invalid, programs_of_bytes
from fdspec.conformance.model import Close, Kind, Open, Receive, Rights, Send
from fdspec.fuzz import Offer, Program, Side, System, adapt, everything, is_valid, needs, needs_of, offer_of
from fdspec.fuzz import operations as o
from fdspec.fuzz.offer import INTERPOSE, PAYLOAD
from fdspec.fuzz.program import OPERATIONS, PROFILES
from fdspec.fuzz.scope import PERMITTED
from fdspec.fuzz.strategy import programs
from fdspec.impls.protocol.messages import Receiver
from fdspec.impls.protocol.results import HelloResult, Implementation, Payload, ProfileOffer
from fdspec.impls.protocol.values import ObjectKind, Profile, SocketType
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

LITTLE = frozenset({"stream", "client", "fifo", PAYLOAD})
FINDING = settings(
    phases=[Phase.generate, Phase.shrink],
    max_examples=4000,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def offers(profile):
    names = sorted(everything(profile).names - {"stream", "client"})
    return st.sets(st.sampled_from(names)).map(lambda some: Offer(profile, frozenset(some) | {"stream", "client"}))


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_drawn_is_valid(profile):
    seen = set()

    @settings(SLOW, max_examples=60)
    @given(programs(everything(profile)))
    def draw(program):
        assert program.profile is profile
        assert is_valid(program)
        seen.update(map(type, program.operations))

    draw()
    assert len(seen) > len(PERMITTED[profile]) // 2


@settings(SLOW, max_examples=20)
@given(st.data(), st.sampled_from(PROFILES))
def test_what_is_drawn_needs_no_more_than_is_offered(data, profile):
    offer = data.draw(offers(profile))
    program = data.draw(programs(offer, operations=8))
    assert needs_of(program) <= offer.names
    assert len(program.operations) <= 8


def test_what_an_operation_needs_is_looked_at_when_it_is_valid():
    """A room of -1 looks as if it needed little; within the bounds it is one of many."""
    program = Program(Profile.DESCRIPTORS, operations=(o.Take("t0", (), -1),))
    offer = Offer(Profile.DESCRIPTORS, frozenset({"stream", "client"}))
    adapted = adapt(program, offer)
    assert needs_of(adapted) <= offer.names


@SLOW
@given(st.data(), programs_of_bytes | invalid)
def test_any_program_is_adapted_to_any_offer(data, program):
    offer = data.draw(offers(program.profile))
    adapted = adapt(program, offer)
    assert is_valid(adapted)
    assert needs_of(adapted) <= offer.names
    assert adapt(adapted, offer) == adapted


@SLOW
@given(programs_of_bytes)
def test_what_is_offered_whole_is_left_as_it_is(program):
    assert adapt(program, everything(program.profile)) == program


@pytest.mark.parametrize(
    ("operation", "lacking", "simpler"),
    [
        (Send("t0", (b"a", b"b"), (), None, 1), {"buffers-out", "flags-out"}, Send("t0", (b"ab",))),
        (Send("t0", (b"",)), {"empty-out"}, Send("t0", (b"x",))),
        (Send("t0", (b"x",)), {"plain-out"}, None),
        (Send("t0", (b"x",), (Rights(("t0",)), Rights(("t0",)))), {"several"}, Send("t0", (b"x",), (Rights(("t0",)),))),
        (Send("t0", (b"x",), (Rights(()),)), {"ancillary"}, Send("t0", (b"x",))),
        (
            Send("p0", (b"", b""), (), None, 1),
            {"buffers-out", "flags-out", "plain-out"},
            Send("p0", (b"", b""), (), None, 1),
        ),
        (Send("t0", (b"x",)), {PAYLOAD}, None),
        (
            Receive("t0", (1, 2), 24, prefix="r0_"),
            {"control-length", "buffers-in"},
            o.Take("t0", (3,), 2, prefix="r0_"),
        ),
        (o.Take("t0", (1,), 2, 2, "r0_"), {"flags-in"}, o.Take("t0", (1,), 2, 0, "r0_")),
        (Open("f0"), {"fifo"}, o.Make(ObjectKind.FILE, "f0")),
        (Open("f0"), {"fifo", "file", "socket"}, None),
        (o.Make(ObjectKind.SOCKET, "f0"), {"socket", "file"}, Open("f0")),
        (o.Fail(o.Calls.SEND, 4), {INTERPOSE}, None),
        (o.SetMore("t0", o.Option.TIMESTAMP, 1), {"options"}, None),
        (o.SetMore("p0", o.Option.TIMESTAMP, 1), {"options"}, o.SetMore("p0", o.Option.TIMESTAMP, 1)),
    ],
)
def test_what_is_not_offered_is_made_simpler_or_left_out(operation, lacking, simpler):
    offer = everything(Profile.MESSAGE)
    adapted = adapt(Program(operations=(operation,)), Offer(offer.profile, offer.names - lacking))
    assert adapted.operations == (() if simpler is None else (simpler,))


@pytest.mark.parametrize(
    ("profile", "operation", "lacking", "simpler"),
    [
        (Profile.DESCRIPTORS, o.SendOne("t0", "t0", (b"x",)), "single", Send("t0", (b"x",), (Rights(("t0",)),))),
        (Profile.DESCRIPTORS, o.TakeOne("t0", (1,), 0, "r0_"), "single", o.Take("t0", (1,), 1, 0, "r0_")),
        (Profile.DESCRIPTORS, o.Take("t0", (1,), 3, 0, "r0_"), "many", o.Take("t0", (1,), 1, 0, "r0_")),
        (Profile.DESCRIPTORS, Send("t0", (b"x",), (Rights((-1, -1)),)), "many", Send("t0", (b"x",), (Rights((-1,)),))),
        (Profile.TRANSPORT, o.Give("t0", -1), "owned", o.Queue("t0", -1)),
        (Profile.TRANSPORT, o.Finish("t0", o.Ending.ABORT), "abort", o.Finish("t0", o.Ending.CLOSE)),
        (Profile.TRANSPORT, o.Finish("t0", o.Ending.HALF), "half-close", o.Finish("t0", o.Ending.CLOSE)),
        (Profile.TRANSPORT, o.Reading("t0", False), "reading", None),
        (Profile.TRANSPORT, o.Produce("t0"), "producer", None),
    ],
)
def test_in_the_other_profiles_too(profile, operation, lacking, simpler):
    assert lacking in needs(operation, profile)
    adapted = adapt(Program(profile, operations=(operation,)), Offer(profile, everything(profile).names - {lacking}))
    assert adapted.operations == (() if simpler is None else (simpler,))


def test_the_connection_is_adapted_too():
    wanted = Program(Profile.MESSAGE, Kind.DGRAM, Side.SERVER, (), System.MACOS)
    assert adapt(wanted, Offer(Profile.MESSAGE, LITTLE)) == Program()
    wanted = Program(Profile.TRANSPORT, receiver=Receiver(True, 1, None, 2))
    names = everything(Profile.TRANSPORT).names
    assert needs_of(wanted) == {"stream", "client", "raising-receiver", "closing-receiver", "abort"}
    assert adapt(wanted, Offer(Profile.TRANSPORT, names)) == wanted
    assert adapt(wanted, Offer(Profile.TRANSPORT, names - {"abort"})).receiver == Receiver()


@pytest.mark.parametrize(
    ("profile", "names", "message"),
    [
        (Profile.MESSAGE, {"client"}, "no type of socket: message, client"),
        (Profile.TRANSPORT, {"client", "dgram"}, "no type of socket: transport"),
        (Profile.MESSAGE, {"stream"}, "neither client nor server: message, stream"),
    ],
)
def test_an_offer_of_nothing_is_refused(profile, names, message):
    with pytest.raises(ValueError, match=message):
        adapt(Program(), Offer(profile, frozenset(names)))
    with pytest.raises(ValueError, match=message):
        programs(Offer(profile, frozenset(names)))


@pytest.mark.parametrize("count", [-1, OPERATIONS + 1])
def test_a_wrong_number_of_operations_is_refused(count):
    with pytest.raises(ValueError, match=f"0 to {OPERATIONS} operations, not {count}"):
        programs(everything(Profile.MESSAGE), operations=count)


def test_what_a_testee_says_is_an_offer():
    offered = ProfileOffer([SocketType.STREAM], ["flags-in"])
    hello = HelloResult(1, Implementation("x", "1", "C"), {Profile.MESSAGE: offered}, objects=[ObjectKind.FILE])
    assert offer_of(hello, Profile.MESSAGE).names == {"stream", "flags-in", "file", "client", "payload"}
    hello = HelloResult(
        1, Implementation("x", "1", "C"), {Profile.MESSAGE: offered}, {}, Payload("count"), [], ["listen", "options"]
    )
    interposed = offer_of(hello, Profile.MESSAGE, interpose=True).names
    assert interposed == {"stream", "flags-in", "client", "server", "listen", "options", "interpose"}
    with pytest.raises(KeyError):
        offer_of(hello, Profile.TRANSPORT)


# ---- shrinking ---------------------------------------------------------------------------------------------------------


def smallest(profile, predicate):
    for seed in range(
        5
    ):  # Hypothesis ends a search in which much is too long, and what it draws hangs on what is loaded
        with suppress(NoSuchExample):
            return find(programs(everything(profile), operations=6), predicate, settings=FINDING, random=Random(seed))
    raise AssertionError("no such program was drawn")


def test_the_smallest_program_is_empty():
    assert smallest(Profile.MESSAGE, lambda _: True) == Program()


def test_a_program_shrinks_to_the_one_operation_that_matters():
    def passes_two(program):
        return any(
            isinstance(one, Send) and sum(len(rights.fds) for rights in one.control if isinstance(rights, Rights)) > 1
            for one in program.operations
        )

    (send,) = smallest(Profile.MESSAGE, passes_two).operations
    assert send == Send("t0", (b"a",), (Rights(("t0", "t0")),))


def test_a_program_shrinks_to_the_two_that_matter_in_their_order():
    def closes_what_it_opened(program):
        opened = [one.name for one in program.operations if isinstance(one, Open)]
        return any(isinstance(one, Close) and one.name in opened for one in program.operations)

    program = smallest(Profile.MESSAGE, closes_what_it_opened)
    assert program == Program(operations=(Open("f0"), Close("f0")))


def test_a_transport_shrinks_to_a_write_and_a_turn():
    def written(program):
        kinds = [type(one) for one in program.operations]
        return o.Turn in kinds and o.Write in kinds[: kinds.index(o.Turn)]

    program = smallest(Profile.TRANSPORT, written)
    assert program == Program(Profile.TRANSPORT, operations=(o.Write("t0", b"a"), o.Turn("t0", "r0_")))
