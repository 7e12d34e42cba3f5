"""What is forged, is what it says: a reader that believes nothing finds the descriptors that are to be believed, and no bait."""

from __future__ import annotations

import struct

import pytest
from fdspec.conformance.interpose import forge
from fdspec.conformance.interpose.forge import Behind, believable, fitted, size_of
from fdspec.conformance.interpose.perform import Came, Part
from fdspec.impls.reference.control import LP64, decode, integers
from hypothesis import given
from hypothesis import strategies as st

SHOWN = 1000
"""The number that descriptor 0 gets in the caller; bait is smaller."""
LENGTHS = st.integers(0, 15) | st.sampled_from(forge.HUGE) | st.integers(2**32, 2**64 - 1)
BAIT = st.lists(st.integers(0, SHOWN - 1), min_size=1, max_size=4)
ERRORS = st.lists(st.integers(-4095, -1), max_size=3)
FORGES = st.one_of(
    st.just(forge.flagged),
    st.just(forge.flag_alone),
    st.just(forge.twice),
    st.just(forge.no_data),
    st.builds(forge.untruncated, st.none() | st.integers(2**31, 2**64 - 1)),
    st.builds(forge.beyond, st.integers(1, 2**40), BAIT),
    st.builds(forge.untold, BAIT, st.none() | st.just(b"")),
    st.builds(forge.first_tells, st.integers(0, 15), BAIT, st.sampled_from(Behind)),
    st.builds(forge.first_tells, LENGTHS, BAIT, st.just(Behind.NOTHING)),
    st.builds(forge.second_tells, st.integers(0, 15), BAIT, st.sampled_from(Behind)),
    st.builds(forge.second_tells, LENGTHS, BAIT, st.just(Behind.NOTHING)),
    st.builds(forge.half_int, st.integers(1, 3), st.integers(0, SHOWN - 1)),
    st.builds(forge.part_of_int, st.integers(1, 3), st.integers(0, SHOWN - 1)),
    st.builds(forge.negative, ERRORS, ERRORS),
    st.builds(forge.stray, st.integers(1, 15), BAIT),
    st.builds(lambda data: forge.foreign(41, 1, data), st.binary(max_size=20)),
    st.builds(lambda counts: forge.split(*counts), st.lists(st.integers(0, 4), min_size=1, max_size=5)),
    st.builds(forge.short, st.integers(0, 12)),
)
COUNTS = st.integers(0, 12)
ROOMS = st.integers(0, 300)


def came(count):
    return Came(b"x", 1, (Part(1, 1, tuple(range(count))),), tuple(range(500, 500 + count)), 0, b"")


def written(shown, room):
    """Return the control buffer, the numbers of descriptors in place of their indices."""
    chunks = [one if isinstance(one, bytes) else struct.pack("i", SHOWN + one) for one in shown.control]
    return b"".join(chunks)[:room]


def read(shown, room):
    """Return the numbers that the reference's own reader finds in front of msg_controllen."""
    control = written(shown, room)[: shown.told]
    return [number for one in decode(control, LP64).messages if one.is_rights for number in integers(one.data)]


@given(FORGES, COUNTS, ROOMS, st.booleans())
def test_a_careful_reader_finds_what_is_believable(make, count, room, installed):
    shown = fitted(make(came(count)), room, installed=installed)
    found = [number for number in read(shown, room) if number >= 0]
    assert found == [SHOWN + index for index in believable(shown)]


@given(st.integers(0, 5), BAIT, ROOMS)
def test_a_careful_reader_does_not_see_a_message_that_is_not_aligned(half, bait, room):
    shown = fitted(forge.misaligned(bait)(came(2 * half + 1)), room)
    assert read(shown, room) == [SHOWN + index for index in believable(shown)]


@given(FORGES, COUNTS, ROOMS, st.booleans())
def test_an_image_stays_in_its_buffer_and_tells_of_no_more_unless_it_lies(make, count, room, installed):
    whole = make(came(count))
    shown = fitted(whole, room, installed=installed)
    assert size_of(shown.control) <= room
    assert shown.told is not None
    assert shown.told <= room or (whole.told is not None and whole.told > size_of(whole.control))


@given(FORGES, COUNTS, ROOMS)
def test_what_is_cut_off_is_installed_or_closed_and_nothing_is_there_twice(make, count, room):
    whole = make(came(count))
    shown, macos = fitted(whole, room), fitted(whole, room, installed=True)
    assert shown.unseen == ()
    assert (shown.control, shown.told) == (macos.control, macos.told)
    visible = [one for one in macos.control if isinstance(one, int)]
    assert sorted((*visible, *macos.unseen)) == sorted(one for one in whole.control if isinstance(one, int))


@given(FORGES, COUNTS, ROOMS)
def test_an_image_that_fits_is_as_it_was(make, count, room):
    whole = make(came(count))
    shown = fitted(whole, size_of(whole.control) + room)
    assert shown.control == whole.control
    assert believable(shown) == believable(whole)


def test_macos_tells_76_in_a_buffer_of_24():
    shown = fitted(forge.untruncated()(came(15)), 24, installed=True)
    assert written(shown, 24) == struct.pack("Qii2i", 76, 1, 1, SHOWN, SHOWN + 1)
    assert (shown.told, shown.unseen, shown.flags) == (24, tuple(range(2, 15)), 8)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_half_an_int_is_the_beginning_of_bait(size):
    image = written(forge.half_int(size, 0x01020304)(came(1)), 100)
    assert image == struct.pack("Qiiii", 20 + size, 1, 1, SHOWN, 0x01020304)


def test_stray_bytes_are_the_beginning_of_a_message():
    shown = forge.stray(12, [7])(came(1))
    assert written(shown, 100)[24:] == struct.pack("Qiii4x", 20, 1, 1, 7)
    assert shown.told == 36


@pytest.mark.parametrize("length", forge.WRAPPING)
def test_lengths_that_wrap_round_lead_nowhere_forward(length):
    here = 48
    assert 0 <= (here + -(-length // 8) * 8) % 2**64 <= here
