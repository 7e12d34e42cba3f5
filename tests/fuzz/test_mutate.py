"""Mutations and programs out of nothing: valid, within the offer, as the seed says, and doing something."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter

import pytest
from anyprograms import SLOW, programs_of_bytes
from fdspec.conformance.model.operations import Receive, Rights, Send
from fdspec.fuzz import Offer, Program, adapt, everything, is_valid, needs_of, parse, show
from fdspec.fuzz.engines.chance import MAKERS
from fdspec.fuzz.engines.mutate import fresh, mutate
from fdspec.fuzz.operations import Take, Turn, end_of
from fdspec.fuzz.program import OPERATIONS, PROFILES
from fdspec.fuzz.scope import PERMITTED
from fdspec.impls.protocol.values import Profile
from hypothesis import given
from hypothesis import strategies as st

OFFERS = [everything(profile) for profile in PROFILES]
LITTLE = Offer(Profile.DESCRIPTORS, frozenset({"stream", "client", "file", "payload"}))
SMALL = Offer(Profile.MESSAGE, frozenset({"stream", "seqpacket", "server", "fifo", "payload", "buffers-in"}))
ALL = [*OFFERS, LITTLE, SMALL]


def chain(offer: Offer, seed: int, length: int) -> list[Program]:
    """Programs, each a mutation of one of those before it."""
    rng = random.Random(seed)
    found = [fresh(offer, rng)]
    while len(found) < length:
        found.append(mutate(rng.choice(found[-20:]), offer, rng, found[-20:]))
    return found


@pytest.mark.parametrize("offer", ALL, ids=["message", "descriptors", "transport", "little", "small"])
def test_what_comes_of_a_mutation_is_valid_and_within_the_offer(offer):
    for program in chain(offer, 1, 1500):
        assert is_valid(program), show(program)
        assert needs_of(program) <= offer.names, show(program)
        assert program.profile is offer.profile
        assert len(program.operations) <= OPERATIONS


@SLOW
@given(programs_of_bytes, st.integers(0, 2**32), st.lists(programs_of_bytes, max_size=3), st.sampled_from(ALL))
def test_any_program_can_be_mutated_with_parts_of_any_others(program, seed, others, offer):
    made = mutate(adapt(program, offer), offer, random.Random(seed), others)
    assert is_valid(made)
    assert needs_of(made) <= offer.names


def test_a_program_of_another_profile_is_made_to_fit_first():
    program = parse('program 1 message stream client\nopen f0\nsend t0 "a" fds=f0\nrecv p0 16 control=24')
    made = mutate(program, OFFERS[2], random.Random(0))
    assert made.profile is Profile.TRANSPORT
    assert is_valid(made)


@pytest.mark.parametrize("offer", ALL, ids=["message", "descriptors", "transport", "little", "small"])
def test_the_seed_decides(offer):
    assert chain(offer, 7, 200) == chain(offer, 7, 200)
    assert chain(offer, 7, 200) != chain(offer, 8, 200)


@pytest.mark.parametrize("offer", OFFERS, ids=["message", "descriptors", "transport"])
def test_every_kind_of_operation_occurs(offer):
    found = Counter(type(one) for program in chain(offer, 3, 4000) for one in program.operations)
    assert set(found) == set(PERMITTED[offer.profile])
    assert set(PERMITTED[offer.profile]) <= set(MAKERS)


def test_most_programs_are_short():
    lengths = [len(program.operations) for offer in OFFERS for program in chain(offer, 5, 2000)]
    assert sum(2 <= length <= 8 for length in lengths) > 0.7 * len(lengths)
    assert max(lengths) <= OPERATIONS


def test_a_fresh_program_is_as_long_as_asked():
    rng = random.Random(2)
    for wanted in (1, 2, 5, 8, 30):
        lengths = {len(fresh(OFFERS[0], rng, wanted).operations) for _ in range(300)}
        assert max(lengths) <= wanted
        assert min(lengths) >= 1


@pytest.mark.parametrize("offer", OFFERS, ids=["message", "descriptors", "transport"])
def test_most_fresh_programs_send_descriptors_and_receive_at_the_other_end(offer):
    rng = random.Random(4)
    passing = 0
    for _ in range(1000):
        senders = set()
        for one in fresh(offer, rng).operations:
            if (isinstance(one, Send) and any(isinstance(part, Rights) and part.fds for part in one.control)) or type(
                one
            ).__name__ in ("Queue", "Give", "SendOne"):
                senders.add(end_of(one.name))
            elif isinstance(one, (Receive, Take, Turn)) and senders - {end_of(one.name)}:
                passing += 1
                break
    assert passing > 400


def test_names_go_on_meaning_the_same_things():
    """What was the second object is the first one now, and is still what is sent; or the program was cut there."""
    program = parse('program 1 message stream client\nopen f0\nopen f1\nshutdown t0 wr\nsend t0 "a" fds=f1')
    offer = everything(Profile.MESSAGE)
    wanted = parse('program 1 message stream client\nopen f0\nshutdown t0 wr\nsend t0 "a" fds=f0')
    made = [mutate(program, offer, random.Random(seed)) for seed in range(3000)]
    assert wanted in made
    dropped = [
        one
        for one in made
        if len(one.operations) == 3 and one.operations[-1] == program.operations[-1] and len(one.operations[0:1])
    ]
    assert not [one for one in dropped if show(one).count("open f") == 1 and "fds=f1" in show(one)]


def test_values_at_the_boundaries_occur():
    words = Counter()
    for offer in OFFERS[:2]:
        for program in chain(offer, 9, 4000):
            for one in program.operations:
                if isinstance(one, Take):
                    words[f"room {one.room}"] += 1
                if isinstance(one, Receive):
                    words[f"control {one.control}"] += 1
                if isinstance(one, Send):
                    words.update(f"size {len(piece)}" for piece in one.data)
                    words.update(f"fds {len(part.fds)}" for part in one.control if isinstance(part, Rights))
    rooms = {f"room {room}" for room in (0, 1, 2, 3, 252, 253, 254)}
    controls = {f"control {length}" for length in (None, 0, 15, 16, 19, 20, 21, 23, 24, 25, 28)}
    sizes = {f"size {size}" for size in (0, 1, 2, 3, 4, 4096, 65536)}
    fds = {f"fds {count}" for count in (0, 1, 2, 3, 252, 253, 254)}
    assert rooms | controls | sizes | fds <= set(words)


def test_it_is_fast():
    """60 us each where nothing else runs; ten times that fails here, whatever else the machine does."""
    offer = everything(Profile.MESSAGE)
    programs = [one for one in chain(offer, 11, 2000) if 3 <= len(one.operations) <= 7]
    rng = random.Random(1)
    took = []
    for _ in range(5):
        start = time.process_time()
        for program in programs:
            mutate(program, offer, rng, programs)
        took.append((time.process_time() - start) / len(programs))
    assert statistics.median(took) < 600e-6
