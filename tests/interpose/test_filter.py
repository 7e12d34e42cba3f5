"""The filter, run by an interpreter of classic BPF that stands here: what is held, and what is not, of every architecture."""

from __future__ import annotations

import errno
import struct

import pytest
from fdspec.conformance.interpose.bpf import ALLOW, NOTIFY, program
from fdspec.conformance.interpose.calls import ARCHITECTURES, PLAIN, Name
from hypothesis import given
from hypothesis import strategies as st

DATA = struct.Struct("=iIQ6Q")
I386, X32 = 0x40000003, 0x40000000
EVERY = list(Name)


def run(code: bytes, data: bytes) -> int:
    """Interpret a classic BPF program as linux/filter.h defines it, as far as seccomp(2) allows: loads, jumps, returns."""
    rows = list(struct.iter_unpack("=HBBI", code))
    assert 0 < len(rows) <= 4096
    accumulator, at = 0, 0
    while True:
        operation, yes, no, k = rows[at]
        at += 1
        match operation:
            case 0x20:
                assert k % 4 == 0
                assert k + 4 <= len(data)
                (accumulator,) = struct.unpack_from("=I", data, k)
            case 0x15:
                at += yes if accumulator == k else no
            case 0x25:
                at += yes if accumulator > k else no
            case 0x06:
                return k
            case _:
                raise AssertionError(f"an operation that no filter here has: {operation:#x}")


def verdict(code: bytes, number: int, audit: int, *arguments: int) -> int:
    signed = number - 2**32 if number >= 2**31 else number
    words = [argument & 0xFFFFFFFFFFFFFFFF for argument in (*arguments, *[0x2222222233333333] * (6 - len(arguments)))]
    return run(code, DATA.pack(signed, audit, 0x7F0012345678, *words))


def expected(machine: str, names: set[Name], number: int, audit: int, fd: int) -> int:
    known = ARCHITECTURES[machine]
    found = {known.numbers[name]: name for name in names}.get(number)
    if audit != known.audit or found is None:
        return ALLOW
    return NOTIFY if found not in PLAIN or (fd & 0xFFFFFFFF) > 2 else ALLOW


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_every_number_of_every_call(machine):
    known = ARCHITECTURES[machine]
    code = program(known, EVERY)
    assert set(known.numbers) == set(Name)
    assert len(set(known.numbers.values())) == len(Name)
    for number in (*range(460), *(X32 | number for number in range(460)), 2**31, 2**32 - 1):
        for audit in (known.audit, I386, *(other.audit for other in ARCHITECTURES.values())):
            for fd in (0, 2, 3, -1, 0x500000001):
                assert verdict(code, number, audit, fd) == expected(machine, set(Name), number, audit, fd), (number, fd)


@pytest.mark.parametrize("machine", ARCHITECTURES)
@given(
    names=st.sets(st.sampled_from(EVERY)),
    data=st.data(),
    fd=st.one_of(st.integers(-1, 4), st.integers(0, 2**64 - 1)),
)
def test_any_choice_of_calls(machine, names, data, fd):
    known = ARCHITECTURES[machine]
    anywhere = st.integers(0, 2**32 - 1)
    number = data.draw(st.one_of(st.sampled_from(sorted(known.numbers.values())), st.integers(0, 600), anywhere))
    audit = data.draw(st.one_of(st.sampled_from([known.audit, I386]), anywhere))
    code = program(known, names)
    assert verdict(code, number, audit, fd) == expected(machine, names, number, audit, fd)


def test_it_is_the_same_whatever_the_order_and_however_often_a_call_is_named():
    known = ARCHITECTURES["x86_64"]
    assert program(known, [*EVERY, *reversed(EVERY)]) == program(known, reversed(EVERY))


def test_the_numbers_are_this_machines():
    """The kernel itself says so: each call on a descriptor that nobody has fails with EBADF, and no other call does what they do."""
    import ctypes
    import platform

    known = ARCHITECTURES[platform.machine()]
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(256)
    for name, number in known.numbers.items():
        assert libc.syscall(number, 99_999, buffer, 1, 0, None, None) == -1, name
        assert ctypes.get_errno() == errno.EBADF, name
