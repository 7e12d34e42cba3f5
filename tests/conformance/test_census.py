"""The census agrees with what a process really has open, seen from outside."""

import os
import socket
import subprocess
import sys

import pytest
from fdspec.conformance.census import Identity, Table, identity_of, same_description


@pytest.fixture
def table():
    one = Table(os.getpid())
    yield one
    one.close()


def test_count_is_the_number_of_open_descriptors(table):
    before = table.count()
    extra = [os.dup(0) for _ in range(5)]
    assert table.count() == before + 5
    for fd in extra:
        os.close(fd)
    assert table.count() == before


def test_count_agrees_with_the_listing_of_another_process():
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=pipe, stdout=pipe) as child:
        child.stdout.readline()  # it has started: its imports open and close files
        table = Table(child.pid)
        assert table.numbers() == [0, 1, 2]
        assert table.count() == 3
        table.close()
        child.communicate(b"\n")


def test_identity_is_device_and_inode(table, tmp_path):
    path = tmp_path / "file"
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    facts = path.stat()
    assert table.identity(fd) == Identity(facts.st_dev, facts.st_ino) == identity_of(fd)
    os.close(fd)
    assert table.identity(fd) is None
    assert table.target(fd) == ""


def test_flags_show_close_on_exec_and_status(table, tmp_path):
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR | os.O_APPEND)
    assert table.cloexec(fd)
    os.set_inheritable(fd, True)
    assert not table.cloexec(fd)
    assert table.flags(fd) & os.O_APPEND
    os.close(fd)


def test_queued_descriptors_of_a_socket_are_counted(table):
    a, b = socket.socketpair()
    with a, b:
        assert table.queued(b.fileno()) == 0
        socket.send_fds(a, [b"x"], [0, 1, 2])
        assert table.queued(b.fileno()) == 3
        assert table.is_socket(b.fileno())
        assert not table.is_socket(900)


def test_one_description_under_two_numbers(tmp_path):
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    copy, other = os.dup(fd), os.open(tmp_path / "file", os.O_RDWR)
    me = os.getpid()
    assert same_description(me, fd, me, copy) is True
    assert same_description(me, fd, me, other) is False
    assert same_description(me, fd, me, 9999) is None
    for one in (fd, copy, other):
        os.close(one)


def test_full_names_owners(table, tmp_path):
    fd = os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR)
    [seen] = [one for one in table.full({identity_of(fd): "file-0"}) if one.fd == fd]
    assert (seen.owner, seen.target, seen.cloexec) == ("file-0", str(tmp_path / "file"), True)
    os.close(fd)


def test_a_process_that_is_gone_has_no_table():
    child = subprocess.Popen(["/bin/true"])
    child.wait()
    with pytest.raises((FileNotFoundError, ProcessLookupError)):
        Table(child.pid)
