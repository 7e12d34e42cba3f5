"""Plain sockets, files to pass, and an account of this process's descriptors."""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for loopkit, which the test modules here share

TYPES = [socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET]


@pytest.fixture(params=TYPES, ids=lambda kind: kind.name.removeprefix("SOCK_").lower())
def pair(request) -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, request.param)
    with left, right:
        yield left, right


@pytest.fixture
def stream() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with left, right:
        yield left, right


@pytest.fixture
def files(tmp_path) -> Iterator[Callable[[int], list[int]]]:
    """Return a maker of open files, each another one."""
    opened: list[int] = []

    def make(count: int) -> list[int]:
        fresh = [os.open(tmp_path / f"file{len(opened) + index}", os.O_RDWR | os.O_CREAT) for index in range(count)]
        opened.extend(fresh)
        return fresh

    yield make
    for number in opened:
        os.close(number)


@pytest.fixture
def table() -> Callable[[], set[int]]:
    """Return what gives the open descriptors of this process."""

    def numbers() -> set[int]:
        with os.scandir("/proc/self/fd") as listing:
            seen = {int(entry.name) for entry in listing}
        return {number for number in seen if is_open(number)}  # without the one that listed them

    return numbers


@pytest.fixture
def unleaking(table) -> Iterator[None]:
    """Fail when other descriptors are open after the test than before. To be asked for before what cleans up itself."""
    before = table()
    yield
    if table() != before:
        gc.collect()  # cycles, which pytest and asyncio make of frames and handles
    assert table() == before


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def identity(number: int) -> tuple[int, int]:
    status = os.fstat(number)
    return status.st_dev, status.st_ino


@pytest.fixture
def identities() -> Callable[..., list[tuple[int, int]]]:
    """Return what gives device and inode of descriptors, numbers or objects."""
    return lambda items: [identity(item if isinstance(item, int) else item.fileno()) for item in items]
