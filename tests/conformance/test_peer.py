"""The raw peer: strangers are turned away, every descriptor is accounted for."""

import os
import socket
import subprocess
import sys

import pytest
from fdspec.conformance import peer as module
from fdspec.conformance.peer import NothingCame, Peer, accept
from fdspec.impls.errors import Broken


@pytest.fixture
def listener(tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen(4)
        yield sock


def test_a_stranger_is_turned_away(listener, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({listener.getsockname()!r}); s.recv(1)"
    with subprocess.Popen([sys.executable, "-c", script]) as stranger:
        with pytest.raises(Broken, match=f"{stranger.pid}.*turned away"):
            accept(listener, lambda pid: pid != stranger.pid)


def test_the_own_connection_is_taken_among_strangers(listener):
    script = f"import socket; s = socket.socket(socket.AF_UNIX); s.connect({listener.getsockname()!r}); print(flush=True); s.recv(1)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as stranger:
        stranger.stdout.read(1)
        own = socket.socket(socket.AF_UNIX)
        own.connect(listener.getsockname())
        with own, accept(listener, lambda pid: pid == os.getpid()) as taken:
            own.send(b"it is me")
            assert taken.recv(10) == b"it is me"


@pytest.fixture
def ends():
    told = []
    a, b = socket.socketpair()
    with b:
        one = Peer(a, lambda *what: told.append(what))
        yield one, b, told
        one.close()


def test_what_is_received_is_closed_with_the_peer(ends):
    peer, other, told = ends
    socket.send_fds(other, [b"x"], [0, 1])
    got = peer.receive()
    assert (got.data, len(got.fds), got.ancillary) == (b"x", 2, [])
    assert told[-1][0] == "receive"
    assert len(told[-1][2]) == socket.CMSG_SPACE(8)
    peer.close()
    for fd in got.fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def test_nothing_came_is_said(ends, monkeypatch):
    peer, _, _ = ends
    peer.socket.settimeout(0.05)
    with pytest.raises(NothingCame):
        peer.receive()


def test_exactly_so_many_bytes_with_all_their_descriptors(ends):
    peer, other, _ = ends
    for index in range(3):
        socket.send_fds(other, [b"ab"], [index])
    got = peer.receive_exactly(6)
    assert (got.data, len(got.fds)) == (b"ababab", 3)
