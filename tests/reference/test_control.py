"""`control`: what is written is read again, and nothing that a kernel may put there makes the parser fail or go too far."""

import array
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from fdspec.impls.reference import libc
from fdspec.impls.reference.control import (
    ILP32,
    LP64,
    NATIVE,
    SCM_PIDFD,
    ControlMessage,
    Decoded,
    decode,
    encode,
    integers,
    numbers,
    pidfd_number,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

LAYOUTS = [LP64, ILP32]
RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
PASSCRED, PASSSEC, TIMESTAMP, PASSPIDFD = 16, 34, 29, 76
WALK = Path(__file__).with_name("cmsg_walk.c")
TOP = {LP64: 2**64, ILP32: 2**32}
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other tests run beside these

ints = st.integers(-(2**31), 2**31 - 1)
items = st.lists(st.tuples(ints, ints, st.binary(max_size=40)), max_size=6)
layouts = st.sampled_from(LAYOUTS)


def plain(found: Decoded):
    return [(item.level, item.type, item.data) for item in found.messages]


# --- sizes


@pytest.mark.parametrize("size", [*range(40), 253 * 4, 4096])
def test_sizes_are_those_of_the_system(size):
    assert NATIVE.length(size) == socket.CMSG_LEN(size)
    assert NATIVE.space(size) == socket.CMSG_SPACE(size)


@pytest.mark.parametrize(
    ("layout", "size", "length", "space"),
    [
        (LP64, 0, 16, 16),
        (LP64, 4, 20, 24),
        (LP64, 8, 24, 24),
        (LP64, 12, 28, 32),
        (ILP32, 0, 12, 12),
        (ILP32, 4, 16, 16),
        (ILP32, 5, 17, 20),
        (ILP32, 12, 24, 24),
    ],
)
def test_sizes_of_both_layouts(layout, size, length, space):
    assert (layout.length(size), layout.space(size)) == (length, space)


# --- well-formed buffers


@unhurried
@given(items, layouts)
def test_what_is_written_is_read(messages, layout):
    control = encode(messages, layout)
    assert len(control) == sum(layout.space(len(data)) for _, _, data in messages)
    found = decode(control, layout)
    assert plain(found) == messages
    assert (found.malformed, found.cut) == (None, False)


@unhurried
@given(items.filter(bool), layouts)
def test_the_last_one_need_not_be_padded(messages, layout):
    control = encode(messages, layout)
    size = len(messages[-1][2])
    short = control[: len(control) - layout.space(size) + layout.length(size)]
    assert decode(short, layout) == decode(control, layout)


@unhurried
@given(items, layouts, st.binary(max_size=15))
def test_bytes_that_are_no_header_are_no_message(messages, layout, stray):
    stray = stray[: layout.cmsghdr.size - 1]
    found = decode(encode(messages, layout) + stray, layout)
    assert (plain(found), found.malformed, found.cut) == (messages, None, False)


def test_any_buffer_of_bytes_is_data():
    content = array.array("i", [1, 2])
    assert plain(decode(encode([(1, 2, content), (3, 4, memoryview(b"abcd")[::2])]))) == [
        (1, 2, content.tobytes()),
        (3, 4, b"ac"),
    ]
    with pytest.raises(TypeError):
        encode([(1, 2, "text")])  # type: ignore[list-item]


@pytest.mark.parametrize(("level", "kind"), [(2**31, 1), (1, -(2**31) - 1)])
def test_a_level_or_type_that_is_no_int(level, kind):
    with pytest.raises(OverflowError, match=rf"level {level} and type {kind}"):
        encode([(level, kind, b"")])


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """Return what walks over buffers as cmsg(3) has it, in C."""
    program = tmp_path_factory.mktemp("walk") / "cmsg_walk"
    subprocess.run(["cc", "-O1", "-Wall", "-Werror", "-Wno-sign-compare", "-o", program, WALK], check=True)

    def run(buffers):
        given = b"".join(struct.pack("=I", len(one)) + one for one in buffers)
        done = subprocess.run([program], input=given, capture_output=True, check=True)
        found = []
        for line in done.stdout.decode().splitlines():
            parts = [part.split(",") for part in line.split()]
            found.append([(int(level), int(kind), bytes.fromhex(data)) for level, kind, data in parts])
        return found

    return run


@unhurried
@given(buffers=st.lists(st.tuples(items, st.binary(max_size=15), st.booleans()), min_size=1, max_size=8))
def test_the_walk_is_that_of_cmsg_3(walk, buffers):
    controls = []
    for messages, stray, padded in buffers:
        if padded or not messages:
            controls.append(encode(messages) + stray)
        else:
            size = len(messages[-1][2])
            controls.append(encode(messages)[: NATIVE.length(size) - NATIVE.space(size) or None])
    assert [plain(decode(one)) for one in controls] == walk(controls)


# --- what no sound kernel writes


@unhurried
@given(st.binary(max_size=200), layouts)
@example(bytes(64), LP64)
@example(b"\xff" * 64, LP64)
@example(b"\xff" * 64, ILP32)
def test_no_bytes_make_it_fail_or_go_too_far(control, layout):
    found = decode(control, layout)
    assert sum(layout.length(len(item.data)) for item in found.messages) <= len(control)
    assert len(found.messages) <= len(control) // layout.cmsghdr.size
    at = 0
    for item in found.messages:
        length, level, kind = layout.cmsghdr.unpack_from(control, at)
        data = control[at + layout.cmsghdr.size : at + length]
        assert (item.level, item.type, item.data) == (level, kind, data)
        at += layout.aligned(length)
    assert numbers(found.messages) is not None


@unhurried
@given(items.filter(bool), layouts, st.data())
def test_a_damaged_length(messages, layout, data):
    """The messages before the damage are read as ever; below the header the walk ends, beyond the end it is cut."""
    control = bytearray(encode(messages, layout))
    index = data.draw(st.integers(0, len(messages) - 1))
    start = len(encode(messages[:index], layout))
    beyond = st.integers(len(control) - start + 1, TOP[layout] - 1)
    length = data.draw(st.one_of(st.integers(0, layout.cmsghdr.size - 1), beyond, st.just(TOP[layout] - 1)))
    layout.cmsghdr.pack_into(control, start, length, *messages[index][:2])
    found = decode(bytes(control), layout)
    assert plain(found)[:index] == messages[:index]
    if length < layout.cmsghdr.size:
        assert len(found.messages) == index
        assert found.malformed == (
            f"cmsg_len is {length} at byte {start} of {len(control)}, less than the header's {layout.cmsghdr.size}"
        )
    else:
        assert plain(found)[index:] == [(*messages[index][:2], bytes(control[start + layout.cmsghdr.size :]))]
        assert (found.malformed, found.cut) == (None, True)


@pytest.mark.parametrize("layout", LAYOUTS, ids=["lp64", "ilp32"])
@pytest.mark.parametrize("length", [0, 1, 11])
def test_a_length_that_would_loop(layout, length):
    good = encode([(*RIGHTS, array.array("i", [7]))], layout)
    found = decode(good + layout.cmsghdr.pack(length, *RIGHTS) + bytes(32), layout)
    assert numbers(found.messages) == ([7], [], 0)
    assert found.malformed is not None


def test_macos_leaves_the_length_as_it_was():
    """16 descriptors into room for 5: cmsg_len says 16, and 5 are there."""
    whole = encode([(*RIGHTS, array.array("i", range(10, 26)))])
    found = decode(whole[: NATIVE.length(5 * 4)])
    assert numbers(found.messages) == ([10, 11, 12, 13, 14], [], 0)
    assert found.cut
    assert numbers(decode(whole[: NATIVE.length(5 * 4) + 3]).messages) == ([10, 11, 12, 13, 14], [], 0)


@unhurried
@given(st.binary(max_size=23))
def test_half_an_int_is_none(data):
    assert array.array("i", integers(data)).tobytes() == data[: len(data) // 4 * 4]


def test_the_numbers_of_all_messages():
    packed = [array.array("i", one).tobytes() for one in ([3, -1, 4], [3], [9], [-3], [4])]
    found = [
        ControlMessage(*RIGHTS, packed[0]),
        ControlMessage(socket.SOL_SOCKET, 2, packed[2]),
        ControlMessage(0, socket.SCM_RIGHTS, packed[2]),
        ControlMessage(*RIGHTS, packed[1] + b"\1\2"),
        ControlMessage(socket.SOL_SOCKET, SCM_PIDFD, packed[2]),
        ControlMessage(socket.SOL_SOCKET, SCM_PIDFD, packed[3]),
        ControlMessage(socket.SOL_SOCKET, SCM_PIDFD, packed[4]),
        ControlMessage(socket.SOL_SOCKET, SCM_PIDFD, b"\1\2"),
    ]
    assert numbers(found) == ([3, 4], [9], 2)
    assert [pidfd_number(item) for item in found] == [None, None, None, None, 9, -3, 4, None]


# --- what the kernel here writes


@pytest.mark.parametrize("options", [(), (PASSCRED,), (PASSCRED, PASSPIDFD), (PASSCRED, PASSSEC, TIMESTAMP, PASSPIDFD)])
@pytest.mark.parametrize("count", range(4))
@pytest.mark.parametrize("controllen", [0, 8, 16, 19, 20, 24, 32, 40, 47, 52, 56, 300])
def test_it_is_what_cpython_reads(unleaking, pair, files, options, count, controllen):
    for option in options:
        pair[1].setsockopt(socket.SOL_SOCKET, option, 1)
    sent = files(count)
    control = [(*RIGHTS, array.array("i", sent))] if sent else []
    pair[0].sendmsg([b"x"], control)
    _, theirs, their_flags, _ = pair[1].recvmsg(1, controllen, socket.MSG_PEEK)
    _, raw, flags, _ = libc.recvmsg_into(pair[1], [bytearray(1)], controllen)
    found = decode(raw)
    try:
        assert (found.malformed, found.cut) == (None, False)
        shapes = [[(level, kind, len(data)) for level, kind, data in one] for one in (plain(found), theirs)]
        assert shapes[0] == shapes[1]
        same = [[one for one in kinds if one[1] in (2, 3)] for kinds in (plain(found), theirs)]
        assert same[0] == same[1]
        assert flags == their_flags
    finally:
        for one in (found.messages, [ControlMessage(*item) for item in theirs]):
            rights, pidfds, _ = numbers(one)
            for number in rights + pidfds:
                socket.close(number)
