"""What the model says of sequences that everybody should know, and that it is pure."""

from __future__ import annotations

import copy

import pytest
from fdspec.conformance.model import Platform, follow, initial, parse, step
from fdspec.conformance.model.explain import explain
from fdspec.conformance.model.reasons import REASONS
from fdspec.conformance.model.state import NOTHING
from fdspec.conformance.model.strategy import sequences
from fdspec.conformance.suite import load_suite
from hypothesis import HealthCheck, given, settings

UNPRIVILEGED = initial()
PRIVILEGED = initial(Platform(privileged=True))

LAST = {
    "a barrier": ('pair stream a b\nopen f\nsend a "x" fds=f\nsend a "y"\nrecv b 9 control=24', b"x", "B02"),
    "plain bytes in front": (
        'pair stream a b\nopen f\nsend a "x"\nsend a "y" fds=f\nrecv b 9 control=24',
        b"xy",
        "B01",
    ),
    "two messages": ('pair stream a b\nopen f\nsend a "x" fds=f\nsend a "y" fds=f\nrecv b 9 control=99', b"x", "B03"),
    "an empty cmsg is no barrier": ('pair stream a b\nsend a "x" fds=\nsend a "y"\nrecv b 9', b"xy", "B15"),
    "a packet is cut": ('pair dgram a b\nsend a "xyz"\nrecv b 2', b"xy", "V14"),
    "MSG_TRUNC": ('pair seqpacket a b\nsend a "xyz"\nrecv b 2 flags=TRUNC', b"xy", "D02"),
}
ERRORS = {
    "a bad number": ('pair stream a b\nsend a "x" fds=-1', "EBADF", "S04"),
    "a bad number behind a good one": ('pair stream a b\nsend a "x" fds=a,nobody', "EBADF", "S05"),
    "too many": ('pair stream a b\nopen f\nsend a "x" fds=' + ",".join(["f"] * 254), "EINVAL", "A13"),
    "too many together": (f'pair stream a b\nsend a "x" fds={",".join("a" * 253)} fds=a', "EINVAL", "A10"),
    "a short header": ('pair stream a b\nsend a "x" fds=a:15', "EINVAL", "A01"),
    "an unknown type": ('pair stream a b\nsend a "x" cmsg=1,42', "EINVAL", "A08"),
    "not connected": ('socket dgram a\nsend a "x" fds=a', "ENOTCONN", "S10"),
    "a closed peer, stream": ('pair stream a b\nclose b\nsend a "x"', "EPIPE", "S11a"),
    "a closed peer, datagram": ('pair dgram a b\nclose b\nsend a "x"', "ECONNREFUSED", "S11b"),
    "nothing there": ("pair stream a b\nrecv b 1", "EAGAIN", "R05"),
    "too big": ('pair dgram a b\nset a sndbuf 4608\nsend a "x"*4577', "EMSGSIZE", "D07"),
    "credentials of no process, unprivileged": ('pair stream a b\nsend a "x" creds=pid', "EPERM", "C04"),
    "switched off": ('pair stream a b\nset b passrights 0\nsend a "x" fds=a', "EPERM", "S24a"),
}


def last(text, state=UNPRIVILEGED):
    """Return the step of the last operation."""
    for operation in parse(text):
        taken = step(state, operation)
        state = taken.outcomes[0].state
    return taken


@pytest.mark.parametrize("name", LAST)
def test_what_a_receive_gets(name):
    text, data, why = LAST[name]
    (outcome,) = last(text).outcomes
    assert b"".join(outcome.seen.data) == data
    assert why in outcome.because


@pytest.mark.parametrize("name", ERRORS)
def test_what_a_call_fails_with(name):
    text, error, why = ERRORS[name]
    (outcome,) = last(text).outcomes
    assert outcome.seen.error == error
    assert why in outcome.because


@pytest.mark.parametrize("count", [1, 2, 3, 253])
@pytest.mark.parametrize("room", [None, 0, 15, 16, 19, 20, 23, 24, 25, 28, 32, 40, 56, 1027, 1028, 1032, 1100])
def test_the_rule_of_room(count, room):
    control = "" if room is None else f" control={room}"
    text = f'pair dgram a b\nopen f\nsend a "x" fds={",".join("f" * count)}\nrecv b 1{control}'
    (outcome,) = last(text).outcomes
    fit = min(count, max(0, ((room or 0) - 16) // 4))
    seen = outcome.seen
    assert len(seen.new) == fit
    assert seen.flags == (0 if fit == count else 8)
    assert seen.controllen == (min((16 + 4 * fit + 7) // 8 * 8, room or 0) if fit else 0)
    assert [message.length for message in seen.messages] == ([16 + 4 * fit] if fit else [])


def test_privilege_decides_on_forged_credentials_and_on_the_limit_in_flight():
    assert last('pair stream a b\nsend a "x" creds=pid', PRIVILEGED).outcomes[0].seen.error == "ESRCH"
    text = 'pair stream a b\nroom 1\nsend a "x" fds=a,b,a,b,a,b,a\nsend a "y" fds=a'
    assert last(text).outcomes[0].seen.error == "ETOOMANYREFS"
    assert last(text, PRIVILEGED).outcomes[0].seen.value == 1
    shared = initial(Platform(alone=False))
    two = last('pair stream a b\nsend a "x" fds=a', shared).outcomes
    assert [one.seen.error for one in two] == [None, "ETOOMANYREFS"]


def test_a_full_buffer_permits_what_memory_permits():
    text = 'pair stream a b\nset a sndbuf 4608\nsend a "x"*100000 fds=a'
    names = [outcome.name for outcome in last(text).outcomes]
    assert "sent 2240" not in names[0]
    assert {"sent 2240", "sent 4480"} & set(names)
    assert all(outcome.seen.value % 2240 == 0 for outcome in last(text).outcomes)


def test_a_ring_in_flight_may_be_collected_at_any_time_and_is_by_collect():
    text = 'pair stream a b\nopen f\nsend a "x" fds=b,f\nclose a\nclose b\nclose f\n'
    taken = last(text + "released f")
    assert {(one.name, one.seen.value) for one in taken.outcomes} == {("held", 0), ("released, after collection", 1)}
    assert [one.seen.value for one in last(text + "collect\nreleased f").outcomes] == [1]
    assert "G02" in last(text + "collect").outcomes[0].because


def test_the_end_of_a_stream_has_credentials_of_nobody():
    (outcome,) = last("pair stream a b\nset b passcred 1\nclose a\nrecv b 1 control=32").outcomes
    assert outcome.seen.messages[0].data == NOTHING.packed()


def test_following_needs_a_state():
    with pytest.raises(ValueError, match="no state"):
        follow((), parse("collect")[0], last("collect").outcomes[0].seen)


@settings(max_examples=80, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
@given(sequences())
def test_a_step_is_pure(sequence):
    state = initial()
    for operation in sequence:
        before = copy.deepcopy(state)
        taken = step(state, operation)
        assert state == before
        assert step(state, operation) == taken
        assert taken.outcomes
        state = taken.outcomes[0].state
        assert not state.table.keys() & state.platform.taken


def test_every_reason_is_a_requirement():
    assert not REASONS - load_suite().requirements.keys()


def test_the_account_tells_what_happens_and_why():
    text = 'pair stream a b\nopen f\nsend a "hi" fds=f\nclose f\nrecv b 9 control=24 flags=CLOEXEC as=x\nrecv b 1'
    account = explain(initial(), parse(text), lambda one: f"the sentence of {one}")
    assert "-> returns 2: 'hi'" in account
    assert "5: f, close-on-exec" in account
    assert "fails with EAGAIN" in account
    assert "I03    the sentence of I03" in account
    assert account.count("the sentence of S08") == 1
