"""Two processes in one state: beside two processes of the kernel, and what an oracle needs of them."""

from __future__ import annotations

import os
import random
from collections import Counter

import pytest
from fdspec.conformance.model import (
    Close,
    Ids,
    Kind,
    Mismatch,
    Platform,
    Rights,
    Send,
    acting,
    connected,
    file_of,
    follow,
    forget,
    initial,
    matching,
    open_of,
    opened_by,
    outcomes,
    parse,
    process_of,
    show,
    step,
)
from fdspec.conformance.model.chooser import choose, taste
from fdspec.conformance.model.explain import tell_mismatch
from fdspec.conformance.model.trial import tidy
from msgspec.structs import replace

from .twins import Twins

SEQUENCES = 160
UNUSED = 2_000_000
"""User ids from here on belong to nobody."""


def run_sequence(twins, seed, counts, length=24):
    """Run a random sequence of both processes beside the model; return the mismatch and what led to it."""
    draw = random.Random(seed)
    states = (initial(twins.begin()),)
    liking = taste(draw, length)
    features = liking.features | draw.choice([set(), {"passcred"}, {"limit"}])
    liking = replace(liking, opening=(), features=features)
    forgetting = draw.random() < 0.5
    history, made = [], 0
    try:
        for index in range(length):
            if made < 3 and (not made or draw.random() < 0.08):
                kind, a, b = draw.choice(liking.kinds), f"t{made}", f"u{made}"
                states = tuple(connected(one, kind, a, b) for one in states)
                made += 1
                if file_of(states[0], 0, a):
                    twins.connect(kind, a, b)
                    history.append(f"# connection of {a} and {b}, {kind}")
                continue
            actor = draw.randrange(2)
            operation = choose(draw, acting(states[0], actor), liking, index)
            actor = twins.watcher(operation, actor)
            states = tuple(acting(one, actor) for one in states)
            history.append(f"{show([operation]).strip()}    # process {actor}")
            seen = twins.execute(actor, operation, forget=forgetting)
            found = follow(states, operation, seen)
            if isinstance(found, Mismatch):
                return "\n".join([*history, tell_mismatch(found)])
            count(counts, states[0], actor, found[0])
            states = tuple(one.state for one in found)
            if forgetting and isinstance(operation, Close) and isinstance(operation.name, str):
                states = tuple(forget(one, operation.name) for one in states)
    finally:
        twins.end()
        tidy(acting(states[0], 0))
    return None


def count(counts, before, actor, outcome):
    """Count what only two processes can show."""
    counts["operations"] += 1
    counts.update(outcome.because)
    counts[f"{outcome.seen.error} of {actor}"] += bool(outcome.seen.error)
    own = {entry.file for entry in before.table.values()}
    counts["came from the other"] += any(one.file not in own for one in outcome.seen.new if outcome.seen.messages)
    peer = before.platform.peer_ids
    for message in outcome.seen.messages:
        counts["credentials of the other"] += message.type == 2 and message.data == peer.packed()


def run_sequences(user, seeds, counts):
    """Run many."""
    with Twins(user) as twins:
        for seed in seeds:
            differs = run_sequence(twins, seed, counts)
            assert differs is None, f"seed {seed}\n{differs}"


def test_two_processes_differ_nowhere_from_the_kernel():
    counts = Counter()
    run_sequences(0, range(SEQUENCES), counts)
    assert counts["operations"] > 10 * SEQUENCES
    assert counts["came from the other"] > 30, counts
    assert counts["credentials of the other"] > 2, counts
    assert counts["EMFILE of 0"] > 3, counts
    assert {"C02", "M05", "S08", "T12"} <= counts.keys(), counts


def test_nor_do_those_of_a_user_without_privileges():
    """A user each: what a collector leaves in flight counts against its user for ever."""
    counts = Counter()
    first = UNUSED + os.getpid() % 2**20 * 100 if os.geteuid() == 0 else 0
    for seed in range(SEQUENCES, SEQUENCES + 40):
        run_sequences(first and first + seed - SEQUENCES, [seed], counts)
    assert counts["operations"] > 400
    assert counts["M02h"] == 0 or not first


# ---- what an oracle needs ----------------------------------------------------------------------------------------------

START = connected(initial(Platform(ids=Ids(10, 1, 1), peer_ids=Ids(20, 1, 1))), Kind.STREAM, "t0", "p0")


def after(state, actor, text):
    """Return the only outcome of the last of some operations of a process."""
    for operation in parse(text):
        (outcome,) = step(acting(state, actor), operation).outcomes
        state = outcome.state
    return outcome


def test_each_process_has_a_table_of_its_own():
    state = opened_by(START, 0, "f0").state
    state = opened_by(state, 1, "g0").state
    assert [open_of(state, actor) for actor in (0, 1)] == [2, 2]
    assert file_of(state, 1, "g0").label == "g0"
    assert file_of(state, 0, "g0") is None
    assert process_of(state, 0).names.keys() == {"t0", "f0"}
    assert acting(acting(state, 0), 1) == state
    with pytest.raises(ValueError, match="no process 2"):
        acting(state, 2)


def test_what_one_process_closes_the_other_still_holds():
    state = after(START, 0, 'open f0\nsend t0 "x" fds=f0\nclose f0').state
    received = after(state, 1, "recv p0 1 control=24 as=q0_")
    assert [received.state.files[one.file].label for one in received.seen.new] == ["f0"]
    assert received.seen.open == 2
    assert after(received.state, 0, "released f0").seen.value == 0
    assert after(after(received.state, 1, "close q0_0").state, 0, "released f0").seen.value == 1
    assert after(after(received.state, 0, "close t0").state, 1, "recv p0 1").seen.value == 0


def test_credentials_are_those_of_whoever_sends():
    asked = after(START, 1, "set p0 passcred 1").state
    sent = after(asked, 0, 'send t0 "x"').state
    (message,) = after(sent, 1, "recv p0 1 control=32").seen.messages
    assert message.data == Ids(10, 1, 1).packed()
    back = after(after(asked, 0, "set t0 passcred 1").state, 1, 'send p0 "y" creds=own').state
    (message,) = after(back, 0, "recv t0 1 control=32").seen.messages
    assert message.data == Ids(20, 1, 1).packed()
    assert after(START, 1, 'send p0 "y" creds=pid').seen.error == "EPERM"


def test_the_limit_is_that_of_the_first_process_alone():
    full = after(START, 0, "room 0").state
    assert opened_by(full, 0, "f0").seen.error == "EMFILE"
    assert not opened_by(full, 1, "g0").seen.error
    assert connected(full, Kind.DGRAM, "t1", "p1") == full
    sent = after(opened_by(full, 1, "g0").state, 1, 'send p0 "x" fds=g0').state
    seen = after(sent, 0, "recv t0 1 control=24").seen
    assert (seen.new, seen.flags) == ((), 8)


def test_a_name_can_be_forgotten():
    state = after(START, 0, "open f0\nclose f0\nopen f1").state
    assert step(state, Send("t0", (b"x",), (Rights(("f0",)),))).outcomes[0].seen.value == 1
    state = forget(forget(state, "f0"), "p0")
    assert step(state, Send("t0", (b"x",), (Rights(("f0",)),))).outcomes[0].seen.error == "EBADF"
    assert file_of(state, 1, "p0") is None
    assert open_of(state, 1) == 1
    assert state.actor == 0
    assert forget(state, "f0") == state


def test_a_ring_between_processes_is_garbage_when_neither_leads_to_it():
    state = after(START, 0, 'send t0 "x" fds=t0').state
    state = after(state, 1, 'send p0 "x" fds=p0\nopen g0\nsend p0 "x" fds=g0\nclose g0\nclose p0').state
    assert [one.seen.value for one in outcomes(acting(state, 0), parse("released g0")[0])] == [0]
    state = after(state, 0, "close t0").state
    assert {one.seen.value for one in outcomes(state, parse("released g0")[0])} == {0, 1}
    assert after(after(state, 1, "collect").state, 0, "released g0").seen.value == 1


def test_matching_compares_what_one_asks_for():
    (receive,) = parse("recv p0 5")
    states = (acting(after(START, 0, 'send t0 "abc"').state, 1),)
    (outcome,) = matching(states, receive, lambda seen: seen.data == (b"abc",))
    assert outcome.seen.value == 3
    assert matching(states, receive, lambda seen: bool(seen.error)) == ()
    with pytest.raises(ValueError, match="no state"):
        matching((), receive, lambda _: True)
