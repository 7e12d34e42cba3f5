"""The shaping: what holds for every personality, and one example of each difference, after its source."""

from __future__ import annotations

import errno
import socket
import struct
from collections import Counter

import msgspec
import pytest
from fdspec.conformance.interpose.personality import Personality, find, personalities
from fdspec.conformance.interpose.personality_rules import MECHANISMS, Effect, Fate, Rules, Stays
from fdspec.conformance.interpose.shape import Arrived, Asked, Other, Piece, Shaped, render, shape
from fdspec.conformance.interpose.shape_send import Control, Sent, SentMessage, admit, read_control
from hypothesis import given
from hypothesis import strategies as st

ALL = personalities()
MACOS, FREEBSD, ILLUMOS, OLD, LINUX = (ALL[name] for name in ("macos", "freebsd", "illumos", "linux-old", "linux"))
CTRUNC, TRUNC, PEEK, CLOEXEC = 0x8, 0x20, 0x2, 0x40000000
SOL_SOCKET, SCM_RIGHTS, SCM_CREDENTIALS, SCM_PIDFD, SCM_INQ = 1, 1, 2, 4, 84
HEADER = 16
CRED = Other(SOL_SOCKET, SCM_CREDENTIALS, bytes(12))


def rights(count: int, *more: int) -> Arrived:
    """Return a message with groups of so many descriptors, numbered through from 0."""
    groups: list[tuple[int, ...]] = []
    for size in (count, *more):
        start = sum(len(group) for group in groups)
        groups.append(tuple(range(start, start + size)))
    return Arrived(b"data", tuple(groups))


def numbers(shaped: Shaped) -> dict[int, int]:
    return {index: 40 + at for at, index in enumerate(shaped.installed)}


# --- what holds for all ----------------------------------------------------------------------------------------------


@st.composite
def messages(draw: st.DrawFn) -> Arrived:
    sizes = draw(st.lists(st.integers(0, 5), max_size=4))
    made = rights(0, *sizes)
    others = [
        Other(SOL_SOCKET, kind, bytes(size))
        for kind, size in draw(st.lists(st.tuples(st.just(2), st.just(12)), max_size=1))
    ]
    if draw(st.booleans()):
        others.append(Other(SOL_SOCKET, SCM_PIDFD, descriptor=100, behind=True))
    if draw(st.booleans()):
        others.append(Other(SOL_SOCKET, SCM_INQ, bytes(4), behind=True))
    return Arrived(b"data", made.groups, tuple(others), draw(st.sampled_from((0, TRUNC))), draw(st.booleans()))


asking = st.builds(
    Asked,
    control=st.booleans(),
    room=st.integers(0, 160),
    flags=st.sampled_from((0, CLOEXEC)),
    writable=st.booleans(),
    free=st.none() | st.integers(0, 12),
    buffers=st.sampled_from((0, 1, 3)),
)


@given(st.sampled_from(list(ALL.values())), messages(), asking)
def test_every_descriptor_has_one_fate(personality: Personality, arrived: Arrived, asked: Asked):
    shaped = shape(personality, arrived, asked)
    fates = Counter((*shaped.shown, *shaped.leaked, *shaped.dropped, *shaped.kept))
    assert fates == Counter(arrived.indices)


@pytest.mark.parametrize("free", range(4))
@pytest.mark.parametrize("personality", ALL.values(), ids=lambda one: one.id)
def test_a_pidfd_takes_a_number_like_any_other(personality: Personality, free: int):
    arrived = Arrived(b"", ((0, 1),), (Other(SOL_SOCKET, SCM_PIDFD, descriptor=9, behind=True),))
    shaped = shape(personality, arrived, Asked(room=100, free=free))
    assert Counter((*shaped.shown, *shaped.leaked, *shaped.dropped, *shaped.kept)) == Counter((0, 1, 9))
    assert len(shaped.installed) <= free


def test_a_system_that_cuts_bytes_and_needs_no_full_table_shows_those_it_has_numbers_for():
    rules = msgspec.structs.replace(MACOS.rules, full_table=None)
    personality = msgspec.structs.replace(MACOS, rules=rules)
    shaped = shape(personality, rights(5), Asked(room=HEADER + 8, free=3))
    assert (shaped.shown, shaped.leaked, shaped.dropped) == ((0, 1), (2,), (3, 4))
    assert shaped.flags == CTRUNC


def test_what_is_cut_and_what_nobody_asked_for_may_differ():
    """A receive without a control buffer has a fate of its own for descriptors."""
    personality = msgspec.structs.replace(MACOS, rules=msgspec.structs.replace(MACOS.rules, discarded=Fate.CLOSED))
    assert shape(personality, rights(2), Asked(room=20)).leaked == (1,)
    assert shape(personality, rights(2), Asked(control=False)).dropped == (0, 1)


@given(st.sampled_from(list(ALL.values())), messages(), asking)
def test_no_more_is_installed_than_there_are_numbers(personality: Personality, arrived: Arrived, asked: Asked):
    shaped = shape(personality, arrived, asked)
    assert asked.free is None or len(shaped.installed) <= asked.free


@given(st.sampled_from(list(ALL.values())), messages(), asking)
def test_the_bytes_are_the_pieces_and_never_more_than_the_room(
    personality: Personality, arrived: Arrived, asked: Asked
):
    shaped = shape(personality, arrived, asked)
    data = render(shaped, numbers(shaped))
    assert len(data) == shaped.controllen <= (asked.room if asked.control else 0)
    assert sum(piece.size for piece in shaped.pieces) == shaped.controllen
    at = 0
    for piece in shaped.pieces:
        assert piece.offset == at
        at += piece.size
        if piece.size >= HEADER:
            assert struct.unpack_from("=Qii", data, piece.offset) == (piece.length, piece.level, piece.type)
        for place, index in enumerate(piece.shown):
            assert struct.unpack_from("=i", data, piece.offset + HEADER + 4 * place) == (numbers(shaped)[index],)


@given(st.sampled_from(list(ALL.values())), messages(), asking)
def test_a_refused_receive_shows_nothing(personality: Personality, arrived: Arrived, asked: Asked):
    shaped = shape(personality, arrived, asked)
    if shaped.errno is not None:
        assert (shaped.pieces, shaped.controllen, shaped.flags) == ((), 0, 0)
        assert (shaped.stays is Stays.MESSAGE) or not shaped.kept
    else:
        assert (shaped.kept, shaped.stays) == ((), Stays.NOTHING)


@given(st.sampled_from(list(ALL.values())), messages(), asking)
def test_flags_are_those_that_came_and_what_the_shaping_adds(personality: Personality, arrived: Arrived, asked: Asked):
    shaped = shape(personality, arrived, asked)
    if shaped.errno is None:
        assert shaped.flags & ~(CTRUNC | CLOEXEC) == arrived.flags
        assert bool(shaped.flags & CLOEXEC) <= shaped.cloexec <= bool(asked.flags & CLOEXEC)


@given(messages(), asking)
def test_linux_leaks_nothing_and_never_fails(arrived: Arrived, asked: Asked):
    for personality in (LINUX, OLD):
        shaped = shape(personality, arrived, asked)
        assert (shaped.leaked, shaped.errno) == ((), None)


@given(st.sampled_from(list(ALL.values())), messages())
def test_with_all_room_nothing_is_lost(personality: Personality, arrived: Arrived):
    shaped = shape(personality, arrived, Asked(room=1000))
    if not arrived.peek and personality is not OLD:
        assert sorted(shaped.shown) == sorted(arrived.indices)
    assert not shaped.flags & CTRUNC


@given(st.binary(max_size=120), st.sampled_from(list(ALL.values())))
def test_whatever_is_sent_there_is_an_answer(control: bytes, personality: Personality):
    found = read_control(control)
    number = admit(personality, Sent(found))
    assert number is None or number in errno.errorcode
    assert admit(LINUX, Sent(found)) is None
    assert sum(HEADER + one.size for one in found.messages) + found.stray <= len(control)


# --- examples: macOS -------------------------------------------------------------------------------------------------


def test_macos_leaves_cmsg_len_untruncated_and_installs_the_rest():
    """rustix 1683: 16 descriptors into CMSG_SPACE of 5. There 76 in 32 bytes; with Linux's header of 16, 80 in 36."""
    shaped = shape(MACOS, rights(16), Asked(room=HEADER + 20))
    (piece,) = shaped.pieces
    assert (piece.length, shaped.controllen, shaped.flags) == (HEADER + 64, HEADER + 20, CTRUNC)
    assert shaped.shown == (0, 1, 2, 3, 4)
    assert shaped.leaked == tuple(range(5, 16))
    assert shaped.dropped == ()


def test_macos_installs_what_cpython_80931_lost():
    """Two descriptors into room for one: both are open afterwards, one number is known."""
    shaped = shape(MACOS, rights(2), Asked(room=20))
    assert (shaped.shown, shaped.leaked) == ((0,), (1,))


@pytest.mark.parametrize("asked", [Asked(control=False), Asked(control=False, room=64), Asked(room=0)])
def test_macos_without_room_installs_all_and_flags_nothing(asked: Asked):
    """soreceive_ctl externalizes whether anybody asked or not; copyout_control flags only while room is left."""
    shaped = shape(MACOS, rights(3), asked)
    assert (shaped.leaked, shaped.flags, shaped.controllen, shaped.pieces) == ((0, 1, 2), 0, 0, ())


def test_macos_flags_a_cut_while_one_byte_is_left():
    shaped = shape(MACOS, rights(1), Asked(room=1))
    assert (shaped.flags, shaped.controllen, shaped.leaked) == (CTRUNC, 1, (0,))


def test_macos_cuts_a_number_in_its_middle():
    shaped = shape(MACOS, rights(2), Asked(room=HEADER + 6))
    assert (shaped.shown, shaped.leaked, shaped.controllen) == ((0,), (1,), HEADER + 6)
    assert render(shaped, {0: 7, 1: 0x1234})[HEADER:] == struct.pack("=i", 7) + b"\x34\x12"


def test_macos_without_numbers_gives_none_and_keeps_the_data():
    """unp_externalize: all or none; Apple's test scm_rights_control_msg: EMFILE."""
    for asked in (Asked(room=64, free=1), Asked(control=False, free=1)):
        shaped = shape(MACOS, rights(2), asked)
        assert (shaped.errno, shaped.stays, shaped.dropped, shaped.installed) == (errno.EMFILE, Stays.DATA, (0, 1), ())


def test_macos_faults_after_installing():
    shaped = shape(MACOS, rights(2), Asked(room=64, writable=False))
    assert (shaped.errno, shaped.stays, shaped.leaked) == (errno.EFAULT, Stays.NOTHING, (0, 1))
    assert shape(MACOS, Arrived(b"plain"), Asked(room=64, writable=False)).errno is None


def test_macos_knows_no_cloexec():
    shaped = shape(MACOS, rights(1), Asked(room=64, flags=CLOEXEC))
    assert (shaped.cloexec, shaped.flags) == (False, 0)


def test_macos_shows_zeros_to_a_peek():
    """sopeek_scm_rights clears the payload: the numbers look like descriptor 0, and nothing is installed."""
    arrived = Arrived(b"data", ((0, 1),), peek=True)
    shaped = shape(MACOS, arrived, Asked(room=64))
    assert (shaped.installed, shaped.dropped) == ((), (0, 1))
    assert render(shaped, {}) == struct.pack("=Qii", 24, SOL_SOCKET, SCM_RIGHTS) + bytes(8)


def test_macos_and_illumos_align_to_four():
    """vmm-sys-util 245, and the offsets in illumos's test: the next header follows 20 bytes, not 24."""
    arrived = Arrived(b"", ((0,),), (Other(SOL_SOCKET, SCM_INQ, bytes(4), behind=True),))
    for personality, offset in ((MACOS, 20), (ILLUMOS, 20), (FREEBSD, 24), (LINUX, 24)):
        shaped = shape(personality, arrived, Asked(room=100))
        assert [piece.offset for piece in shaped.pieces] == [0, offset]


RIGHTS = SentMessage(SOL_SOCKET, SCM_RIGHTS, 4)


@pytest.mark.parametrize(
    ("sent", "macos", "freebsd", "illumos"),
    [
        (Sent(), None, None, None),
        (Sent(Control((RIGHTS,))), None, None, None),
        (Sent(Control((RIGHTS, RIGHTS))), errno.EINVAL, None, errno.EINVAL),
        (Sent(Control((RIGHTS, SentMessage(SOL_SOCKET, SCM_CREDENTIALS, 12)))), errno.EINVAL, None, None),
        (Sent(Control((SentMessage(41, 1, 4),))), errno.EINVAL, errno.EINVAL, None),
        (Sent(Control((RIGHTS,), stray=8)), errno.EINVAL, errno.EINVAL, None),
        (Sent(Control(stray=15)), errno.EINVAL, errno.EINVAL, None),
        (Sent(Control((RIGHTS, RIGHTS), malformed=True)), None, None, None),
        (Sent(Control((SentMessage(SOL_SOCKET, SCM_RIGHTS, 4 * 254),))), None, None, None),
        (Sent(Control((SentMessage(SOL_SOCKET, SCM_RIGHTS, 4 * 255),))), None, errno.EMSGSIZE, None),
        (Sent(buffers=0), errno.EMSGSIZE, None, errno.EMSGSIZE),
    ],
)
def test_what_other_systems_refuse_to_send(sent: Sent, macos: int | None, freebsd: int | None, illumos: int | None):
    """mono 2517 (two SCM_RIGHTS), unp_internalize of both, unix_passfd_test send_a_lot, so_getfdopt, memcached 683."""
    assert [admit(one, sent) for one in (MACOS, FREEBSD, ILLUMOS)] == [macos, freebsd, illumos]
    assert admit(LINUX, sent) is None


def test_padding_of_the_last_message_is_no_stray_byte():
    one = struct.pack("=Qiii", 20, SOL_SOCKET, SCM_RIGHTS, 5)
    assert read_control(one) == read_control(one + bytes(4)) == Control((RIGHTS,))
    assert read_control(one + bytes(6)) == Control((RIGHTS,), stray=2)
    assert read_control(bytes(15)) == Control(stray=15)
    assert read_control(bytes(16)) == Control(malformed=True)
    assert read_control(one + bytes(4) + one[:-1]) == Control((RIGHTS,), malformed=True)


# --- examples: FreeBSD -----------------------------------------------------------------------------------------------


def lengths(shaped: Shaped) -> list[int]:
    return [piece.length for piece in shaped.pieces]


@pytest.mark.parametrize(
    ("groups", "room", "shown"),
    [
        ((1,), HEADER, ()),  # case 1: one descriptor, room for a header
        ((1, 1), 24, (0,)),  # case 2a: cut at the boundary of two messages
        ((1, 1), HEADER, ()),  # case 2b: cut in the first
        ((1, 1), 24 + HEADER, (0,)),  # case 2c: cut in the second
        ((3,), 24, ()),  # case 3: three descriptors, room for the first
        ((3, 1), 24, ()),  # nothing behind the first that is cut, though it would fit
    ],
)
def test_freebsd_delivers_whole_messages(groups: tuple[int, ...], room: int, shown: tuple[int, ...]):
    """unix_passfd_test truncated_rights: MSG_CTRUNC, and no descriptor open but those of whole messages."""
    shaped = shape(FREEBSD, rights(*groups), Asked(room=room))
    assert (shaped.shown, shaped.leaked, shaped.flags) == (shown, (), CTRUNC)
    assert lengths(shaped) == [20] * len(shown)


def test_freebsd_gives_nothing_for_cmsg_len():
    """CPython 111675: recvmsg(1, CMSG_LEN(4)) has no control message where Linux gives the descriptor."""
    assert shape(FREEBSD, rights(1), Asked(room=20)).shown == ()
    assert shape(LINUX, rights(1), Asked(room=20)).shown == (0,)


def test_freebsd_keeps_the_senders_messages_apart():
    assert lengths(shape(FREEBSD, rights(1, 0, 2), Asked(room=100))) == [20, 24]
    assert lengths(shape(LINUX, rights(1, 0, 2), Asked(room=100))) == [28]


def test_freebsd_without_numbers_gives_emsgsize_and_keeps_the_data():
    """unix_passfd_test send_a_lot: EMSGSIZE, the table as before, and the next receive brings the byte alone."""
    shaped = shape(FREEBSD, rights(1, 1), Asked(room=100, free=1))
    assert (shaped.errno, shaped.stays, shaped.dropped) == (errno.EMSGSIZE, Stays.DATA, (0, 1))
    assert shape(FREEBSD, rights(2), Asked(control=False, free=0)).errno is None


def test_freebsd_faults_and_closes():
    """unix_passfd_test copyout_rights_error: EFAULT, and as many descriptors as before."""
    shaped = shape(FREEBSD, rights(1), Asked(room=24, writable=False))
    assert (shaped.errno, shaped.stays, shaped.dropped) == (errno.EFAULT, Stays.NOTHING, (0,))
    assert shape(FREEBSD, rights(1), Asked(room=20, writable=False)).errno is None


def test_freebsd_does_not_flag_a_null_control_buffer():
    assert shape(FREEBSD, rights(1), Asked(control=False, room=64)).flags == 0
    assert shape(FREEBSD, rights(1), Asked(room=0)).flags == CTRUNC


# --- examples: illumos -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "room", "controllen", "told", "shown"),
    [
        (1, 4, 4, 4, 1),  # send 1, recv 1
        (10, 40, 40, 40, 10),  # send 10, recv 10
        (2, 4, 4, 4, 1),  # send 2, recv 1
        (2, 5, 5, 5, 1),  # buffer 5
        (2, 6, 6, 6, 1),  # buffer 6
        (2, 7, 7, 7, 1),  # buffer 7
        (2, 0, 0, 0, 0),  # header only
    ],
)
def test_illumos_cuts_at_any_byte(sent: int, room: int, controllen: int, told: int, shown: int):
    """The cases of sockfs/rights.c, in bytes behind the header; what is behind the room is closed."""
    shaped = shape(ILLUMOS, rights(sent), Asked(room=HEADER + room))
    assert (shaped.controllen, lengths(shaped)) == (HEADER + controllen, [HEADER + told])
    assert (shaped.shown, shaped.leaked) == (tuple(range(shown)), ())
    assert bool(shaped.flags & CTRUNC) == (4 * sent > room)


@pytest.mark.parametrize("room", [HEADER - 1, HEADER - 5])
def test_illumos_gives_part_of_a_header(room: int):
    shaped = shape(ILLUMOS, rights(2), Asked(room=room))
    assert (shaped.controllen, shaped.flags, shaped.shown) == (room, CTRUNC, ())


def test_illumos_cuts_cmsg_len_to_the_whole_room():
    """sockfs/rights.c, send 10, recv 1, pre 8: the message behind another one tells more than there is."""
    arrived = Arrived(b"", (tuple(range(10)),), (Other(SOL_SOCKET, 0, bytes(8)),))
    shaped = shape(ILLUMOS, arrived, Asked(room=24 + HEADER + 4))
    assert (shaped.shown, lengths(shaped)[1]) == ((0,), 24 + HEADER + 4)


def test_illumos_shows_the_half_of_a_closed_number():
    shaped = shape(ILLUMOS, rights(2), Asked(room=HEADER + 6))
    assert shaped.dropped == (1,)
    assert render(shaped, numbers(shaped))[HEADER:] == struct.pack("=i", 40) + b"\xff\xff"


def test_illumos_without_numbers_loses_the_message():
    shaped = shape(ILLUMOS, rights(2), Asked(room=64, free=1))
    assert (shaped.errno, shaped.stays, shaped.dropped) == (errno.EMFILE, Stays.NOTHING, (0, 1))
    assert shape(ILLUMOS, rights(2), Asked(room=0, free=1)).flags == CTRUNC


def test_illumos_looks_at_the_control_buffer_first():
    """recvmsg calls useracc before recvit: nothing has been received."""
    for arrived in (rights(2), Arrived(b"plain")):
        shaped = shape(ILLUMOS, arrived, Asked(room=64, writable=False))
        assert (shaped.errno, shaped.stays, shaped.kept) == (errno.EFAULT, Stays.MESSAGE, arrived.indices)


def test_illumos_wants_a_buffer():
    shaped = shape(ILLUMOS, rights(1), Asked(room=64, buffers=0))
    assert (shaped.errno, shaped.stays, shaped.kept) == (errno.EMSGSIZE, Stays.MESSAGE, (0,))


def test_illumos_does_not_echo_cloexec():
    shaped = shape(ILLUMOS, rights(1), Asked(room=64, flags=CLOEXEC))
    assert (shaped.cloexec, shaped.flags) == (True, 0)
    assert shape(LINUX, rights(1), Asked(room=64, flags=CLOEXEC)).flags == CLOEXEC


# --- examples: old Linux, and what is common --------------------------------------------------------------------------


def test_old_linux_brings_no_pidfd_and_no_count():
    others = (
        Other(SOL_SOCKET, SCM_PIDFD, descriptor=9, behind=True),
        Other(SOL_SOCKET, SCM_INQ, bytes(4), behind=True),
        CRED,
    )
    shaped = shape(OLD, Arrived(b"", ((0,),), others), Asked(room=200))
    assert [(piece.level, piece.type) for piece in shaped.pieces] == [(1, SCM_CREDENTIALS), (1, SCM_RIGHTS)]
    assert (shaped.dropped, shaped.flags) == ((9,), 0)


def test_old_linux_withholds_nothing_of_another_level():
    shaped = shape(OLD, Arrived(others=(Other(41, SCM_PIDFD, b"four"),)), Asked(room=64))
    assert [(piece.level, piece.type, piece.payload) for piece in shaped.pieces] == [(41, SCM_PIDFD, b"four")]


def test_old_linux_has_no_out_of_band_data():
    assert admit(OLD, Sent(flags=int(socket.MSG_OOB))) == errno.EOPNOTSUPP
    assert admit(OLD, Sent(flags=int(socket.MSG_DONTWAIT))) is None


@pytest.mark.parametrize("personality", [one for one in ALL.values() if one.rules.full_table], ids=lambda one: one.id)
def test_a_peek_that_fails_leaves_the_message(personality: Personality):
    if personality.rules.peek_zeroes:
        assert shape(personality, Arrived(b"", ((0,),), peek=True), Asked(room=64, free=0)).errno is None
    else:
        shaped = shape(personality, Arrived(b"", ((0,),), peek=True), Asked(room=64, free=0))
        assert (shaped.stays, shaped.dropped) == (Stays.MESSAGE, (0,))


def test_a_loss_that_the_real_kernel_flagged_stays_flagged():
    for personality in ALL.values():
        assert shape(personality, Arrived(b"", (), (), CTRUNC), Asked(room=64)).flags == CTRUNC


def test_what_was_in_padding_stays_there():
    shaped = shape(LINUX, Arrived(b"", ((0,),)), Asked(room=64))
    assert render(shaped, {0: 3}, b"\xa5" * 64) == struct.pack("=Qiii", 20, 1, 1, 3) + b"\xa5" * 4


def test_a_truncated_packet_says_so():
    assert Arrived(flags=TRUNC).truncated
    assert not Arrived(flags=CTRUNC).truncated


def test_a_piece_of_bytes_shows_no_descriptor():
    assert Piece(1, 2, 28, bytes(12), 0, 28).shown == ()


def test_every_effect_is_some_systems_difference():
    used = {one.effect for personality in ALL.values() for one in personality.differences}
    assert used == set(Effect)


def test_no_effect_is_without_effect():
    """Each difference changes the rules, but for one that only says what is not there."""
    for personality in ALL.values():
        for one in personality.differences:
            fields = MECHANISMS[one.effect].sets(one.given)
            assert all(value != getattr(Rules(), name) for name, value in fields.items()), (personality.id, one.id)
            assert bool(fields) != (one.effect is Effect.ABSENT), (personality.id, one.id)
            assert fields or one.lacks, (personality.id, one.id)
    assert (find("linux").differences, find("linux").rules) == ((), Rules())
