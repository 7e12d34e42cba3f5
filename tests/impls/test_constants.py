"""Names and numbers: one name for one number, whichever side said it."""

import errno
import socket

import pytest
from fdspec.impls.constants import CONSTANTS, bits, errno_name, flag_names, number_of


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (errno.EOPNOTSUPP, "EOPNOTSUPP"),
        ("ENOTSUP", "EOPNOTSUPP"),
        (errno.EAGAIN, "EAGAIN"),
        ("EWOULDBLOCK", "EAGAIN"),
        ("EBADF", "EBADF"),
        (errno.EBADF, "EBADF"),
        (99999, "99999"),
        (None, None),
    ],
)
def test_an_error_has_one_name(value, name):
    assert errno_name(value) == name


def test_flags_by_name_and_by_number_are_the_same():
    assert flag_names(["MSG_CTRUNC", "MSG_TRUNC"]) == flag_names([socket.MSG_CTRUNC | socket.MSG_TRUNC])
    assert flag_names([1 << 27]) == {hex(1 << 27)}
    assert bits(["MSG_PEEK", 0x40]) == socket.MSG_PEEK | 0x40


def test_numbers_of_other_families_do_not_stand_in_the_way():
    assert number_of("SCM_PIDFD") == 4
    assert not [name for name in CONSTANTS if "J1939" in name]
