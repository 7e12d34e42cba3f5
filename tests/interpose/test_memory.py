"""What a call was given, read from a process's memory: of this very process, where structs are laid out by ctypes."""

from __future__ import annotations

import ctypes
import mmap
import os

import pytest
from fdspec.conformance.interpose import memory as module
from fdspec.conformance.interpose.calls import Name
from fdspec.conformance.interpose.memory import (
    UIO_MAXIOV,
    BadAddress,
    Glance,
    Memory,
    TooLarge,
    Wanted,
    glance,
    signed,
    wanted,
)
from interposed import LIBC, PAGE, Iovec, Mmsghdr, Msghdr

OURS = Memory(os.getpid())
UNMAPPED = 8
FD = 7
PROT_NONE, PROT_READ, PROT_WRITE = 0, 1, 2


def address(thing) -> int:
    return ctypes.addressof(thing)


def given(name: Name, *arguments: int) -> Wanted:
    registers = (FD, *arguments, *[0xDEAD0000BEEF] * (5 - len(arguments)))
    got = wanted(name, registers, OURS)
    room = got.control_length if got.control else 0
    assert glance(name, registers, OURS) == Glance(got.flags, len(got.pieces), room), "a glance tells the same"
    return got


def buffers(*sizes: int):
    blocks = [ctypes.create_string_buffer(max(size, 1)) for size in sizes]
    return blocks, (Iovec * max(len(sizes), 1))(
        *(Iovec(address(one), size) for one, size in zip(blocks, sizes, strict=True))
    )


@pytest.fixture
def pages():
    """Three pages: writable, read-only, unmapped."""
    base = LIBC.mmap(None, 3 * PAGE, PROT_READ | PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    LIBC.mprotect(ctypes.c_void_p(base + PAGE), PAGE, PROT_READ)
    LIBC.munmap(ctypes.c_void_p(base + 2 * PAGE), PAGE)
    yield base
    LIBC.munmap(ctypes.c_void_p(base), 2 * PAGE)


@pytest.mark.parametrize("name", [Name.READ, Name.WRITE])
def test_plain_calls(name):
    assert given(name, 0x1000, 25) == Wanted(((0x1000, 25),), 0)


@pytest.mark.parametrize("name", [Name.READV, Name.WRITEV])
@pytest.mark.parametrize("sizes", [(), (0,), (5,), (3, 0, 9)])
def test_vectors(name, sizes):
    blocks, vector = buffers(*sizes)
    got = given(name, address(vector), len(sizes))
    assert got.pieces == tuple((address(one), size) for one, size in zip(blocks, sizes, strict=True))
    assert got.capacity == sum(sizes)


@pytest.mark.parametrize("flags", [0, 0x40, 0x40000040, 0x80000000])
def test_sendto_and_recvfrom(flags):
    length = ctypes.c_uint(110)
    told = signed(flags)
    assert given(Name.SENDTO, 0x1000, 9, flags, 0x2000, 12) == Wanted(((0x1000, 9),), told, 0x2000, 12)
    assert given(Name.SENDTO, 0x1000, 9, flags, 0, 0) == Wanted(((0x1000, 9),), told)
    got = given(Name.RECVFROM, 0x1000, 9, flags, 0x2000, address(length))
    assert got == Wanted(((0x1000, 9),), told, 0x2000, 110, address(length))
    assert given(Name.RECVFROM, 0x1000, 9, flags, 0, address(length)).length_at == 0


@pytest.mark.parametrize("name", [Name.SENDMSG, Name.RECVMSG, Name.SENDMMSG, Name.RECVMMSG])
@pytest.mark.parametrize("sizes", [(), (4,), (1, 2, 3)])
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("room", [None, 0, 24, 56])
def test_messages(name, sizes, named, room):
    several = name in (Name.SENDMMSG, Name.RECVMMSG)
    blocks, vector = buffers(*sizes)
    where, control = ctypes.create_string_buffer(128), ctypes.create_string_buffer(64)
    header = Msghdr(address(where) if named else None, 128, vector, len(sizes), None, 40, 0x7F)
    if room is not None:
        header.control, header.controllen = address(control), room
    whole = Mmsghdr(header, 9)
    arguments = (address(whole), 5, 0x40, 0) if several else (address(whole), 0x40)
    assert ctypes.sizeof(Msghdr) == module.MSGHDR.size
    assert ctypes.sizeof(Mmsghdr) == module.MMSGHDR_SIZE
    assert (Msghdr.namelen.offset, Msghdr.controllen.offset, Msghdr.flags.offset, Mmsghdr.length.offset) == (
        module.NAMELEN_AT,
        module.CONTROLLEN_AT,
        module.FLAGS_AT,
        module.MSG_LEN_AT,
    )
    assert given(name, *arguments) == Wanted(
        tuple((address(one), size) for one, size in zip(blocks, sizes, strict=True)),
        0x40,
        address(where) if named else 0,
        128,
        address(whole) + module.NAMELEN_AT if named else 0,
        address(control) if room is not None else 0,
        40 if room is None else room,
        address(whole),
        several,
    )


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (Name.READV, (UNMAPPED, 1)),
        (Name.RECVMSG, (UNMAPPED, 0)),
        (Name.RECVMSG, (0, 0)),
        (Name.SENDMMSG, (UNMAPPED, 1, 0)),
        (Name.RECVFROM, (0x1000, 1, 0, 0x2000, UNMAPPED)),
        (Name.RECVMSG, (2**64 - 8, 0)),
    ],
)
def test_what_is_efault_for_the_kernel(name, arguments):
    with pytest.raises(BadAddress):
        given(name, *arguments)


def test_no_message_at_all():
    """sendmmsg(2) and recvmmsg(2) of none look at nothing."""
    for name in (Name.SENDMMSG, Name.RECVMMSG):
        with pytest.raises(BadAddress):
            given(name, UNMAPPED, 0, 0, 0)


def test_too_much():
    _, vector = buffers(1)
    header = Msghdr(None, 0, vector, UIO_MAXIOV + 1, None, 0, 0)
    with pytest.raises(TooLarge):
        given(Name.RECVMSG, address(header), 0)
    with pytest.raises(TooLarge):
        given(Name.READV, address(vector), 2**40)
    named = Msghdr(None, 2**31, vector, 1, None, 0, 0)
    with pytest.raises(TooLarge):  # the kernel says EINVAL
        given(Name.RECVMSG, address(named), 0)
    with pytest.raises(TooLarge):
        OURS.read(address(vector), module.MOST + 1)


@pytest.mark.parametrize("name", [Name.FCNTL, Name.CLOSE])
def test_no_message(name):
    with pytest.raises(ValueError, match=f"{name.value} takes no message"):
        given(name)


def test_protections_are_kept(pages):
    """Read-only memory is read and not written, unmapped memory neither, and nothing is done by half where it borders."""
    OURS.write(pages, b"here")
    assert OURS.read(pages, 4) == b"here"
    assert OURS.read(pages + PAGE, PAGE) == bytes(PAGE)
    for where, size in ((pages + PAGE, 4), (pages + 2 * PAGE, 1), (pages + PAGE - 2, 4)):
        with pytest.raises(BadAddress, match=f"{size} bytes at {where:#x}"):
            OURS.write(where, bytes(size))
    with pytest.raises(BadAddress):
        OURS.read(pages + 2 * PAGE - 4, 8)
    assert OURS.read(UNMAPPED, 0) == b""
    OURS.write(UNMAPPED, b"")


def test_gathering_and_scattering():
    blocks, _ = buffers(3, 1, 4)
    pieces = [(address(one), size) for one, size in zip(blocks, (3, 0, 4), strict=True)]
    OURS.scatter(pieces, b"abcdefg")
    assert [one.raw for one in blocks] == [b"abc", b"\0", b"defg"]
    assert [OURS.gather(pieces, limit) for limit in (0, 1, 3, 4, 7, 99)] == [
        b"",
        b"a",
        b"abc",
        b"abcd",
        b"abcdefg",
        b"abcdefg",
    ]
    OURS.scatter(pieces, b"XY")
    assert blocks[0].raw == b"XYc"
    with pytest.raises(BadAddress):
        OURS.gather([*pieces, (UNMAPPED, 1)], 8)
    assert OURS.gather([*pieces, (UNMAPPED, 1)], 7) == b"XYcdefg"


def test_somebody_who_is_gone():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(BadAddress):
        Memory(child).read(address(ctypes.create_string_buffer(8)), 8)
