"""Control messages are built and read as this machine's own C library does, and as others do."""

import array
import socket
import struct

import pytest
from fdspec.conformance.layout import Layout, Malformed
from fdspec.conformance.observations import Cmsg
from fdspec.impls.errors import Broken
from hypothesis import given
from hypothesis import strategies as st

NATIVE = {
    "word": struct.calcsize("N"),
    "header": socket.CMSG_LEN(0),
    "align": socket.CMSG_SPACE(1) - socket.CMSG_SPACE(0),
    "int": 4,
    "big": int(struct.pack("=h", 1) == b"\0\1"),
}
SMALL = {"word": 4, "header": 12, "align": 4, "int": 4, "big": 0}
BIG = {"word": 8, "header": 16, "align": 8, "int": 4, "big": 1}
layouts = st.sampled_from([NATIVE, SMALL, BIG]).map(Layout.of)
ints = st.integers(-(2**31), 2**31 - 1)


@given(st.integers(0, 4096))
def test_lengths_are_those_of_the_c_library(size):
    layout = Layout.of(NATIVE)
    assert layout.length(size) == socket.CMSG_LEN(size)
    assert layout.space(size) == socket.CMSG_SPACE(size)


@given(layouts, st.lists(st.tuples(ints, ints, st.binary(max_size=40)), max_size=5))
def test_what_was_built_is_read_again(layout, messages):
    control = b"".join(layout.cmsg(*one) for one in messages)
    assert layout.parse(control) == [Cmsg(*one) for one in messages]


@given(layouts, st.lists(ints, max_size=20))
def test_ints_are_read_again(layout, numbers):
    data = layout.ints(numbers)
    assert layout.read_ints(data) == numbers
    assert layout.read_ints(data + b"\0" * 3) == numbers


def test_rights_are_what_the_socket_module_sends():
    """The kernel takes the bytes built here: sent by sendmsg, the same bytes come back from a raw look."""
    layout = Layout.of(NATIVE)
    built = layout.rights([1, 2], padded=False)
    head = struct.pack("Nii", len(built), socket.SOL_SOCKET, socket.SCM_RIGHTS)
    assert built == head + array.array("i", [1, 2]).tobytes()
    assert len(layout.rights([1])) == socket.CMSG_SPACE(4)


@given(layouts, st.binary(max_size=100))
def test_reading_never_runs_past_its_buffer(layout, control):
    try:
        found = layout.parse(control)
    except Malformed:
        return
    assert sum(layout.length(len(one.data)) for one in found) <= len(control)


@pytest.mark.parametrize("length", [0, 11, 15, 2**31])
def test_a_length_that_contradicts_the_buffer_is_told(length):
    layout = Layout.of(NATIVE)
    with pytest.raises(Malformed, match=f"cmsg_len {length} at 0"):
        layout.parse(layout.rights([1], length=length))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"word": None}, "must tell word"),
        ({"word": 5}, "no layout"),
        ({"align": 3}, "no layout"),
        ({"header": 8}, "no layout"),
        ({"int": 8}, "no layout"),
    ],
)
def test_what_is_no_layout_breaks_the_testee(change, told):
    limits = {name: value for name, value in {**NATIVE, **change}.items() if value is not None}
    with pytest.raises(Broken, match=told):
        Layout.of(limits)
