"""Unmodified programs in four languages, one of them static, under every kind of answer that the interposer has."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket

import pytest
from fdspec.conformance.interpose.calls import RECEIVE, SEND
from fdspec.conformance.interpose.faults import Fault, failing, taking
from fdspec.conformance.interpose.held import GO_ON
from fdspec.conformance.interpose.launcher import Interposer
from fdspec.conformance.interpose.perform import Shown, as_linux, image, receive
from interposed import identity, is_socket, run_command
from toolchains import LANGUAGES

PATIENCE = 20.0
HOW = ("plain", "thread", "child")
LONG = {"c": "28 2", "rust": "28 2", "python": "24 2", "go": "refused: invalid argument"}
"""What each reads where cmsg_len is 28 and 24 bytes are there: Python cuts it, Go refuses it, C and Rust do as written here."""


class Talk:
    """The harness's end: it sends files, and reads a line and a descriptor for each."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)

    def send(self, fds: list[int], data: bytes = b"abc") -> None:
        socket.send_fds(self.sock, [data], fds)

    def answer(self) -> tuple[str, list[tuple[int, int]]]:
        """Return the line that is answered, and what the descriptors that came with it refer to."""
        line, found = b"", []
        while not line.endswith(b"\n"):
            piece, got, _, _ = socket.recv_fds(self.sock, 200, 10)
            assert piece, "the program is gone"
            line += piece
            for fd in got:
                found.append(identity(fd))
                os.close(fd)
        return line.decode().strip(), found


def as_macos(came, held):
    """cmsg_len tells of three, as were sent; in the room there is the first, and half of what would come behind it."""
    [part] = came.parts
    assert len(came.fds) == 3
    assert held.wanted.control_length == 24
    [head, *_] = image(part, padded=False)
    return Shown((head, 0, 1), told=24, flags=0)


def the_second(came, held):
    """Of two descriptors the second alone."""
    del held
    assert len(came.fds) == 2
    [part] = came.parts
    return Shown((*image(part, length=20, padded=False)[:1], 1, bytes(4)), flags=0)


class Between:
    """A handler that fails calls by ``faults`` and otherwise carries out every receive, shown as `show` says at its time."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults
        self.show = as_linux

    def _shown(self, came, held):
        return self.show(came, held)

    def __call__(self, held):
        if not is_socket(held):
            return GO_ON
        fault = None if held.attempt else next((one for one in self.faults if one.due(held)), None)
        if fault is not None:
            return fault.act(held)
        return receive(held, self._shown) if held.name in RECEIVE else GO_ON


@contextlib.contextmanager
def talking(language, how, between, rounds, directory):
    """Run the program under ``between`` and yield the harness's end; it ends well after so many rounds."""
    interposer = Interposer(between, RECEIVE | SEND)
    log, path = directory / "log", str(directory / "s")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        process = run_command(interposer, [*LANGUAGES[language](), path, str(rounds), how], directory, log)
        try:
            assert select.select([listener], [], [], PATIENCE)[0], log.read_text()
            sock, _ = listener.accept()
            with sock:
                yield Talk(sock)
            assert process.wait(PATIENCE) == 0, log.read_text()
            assert not interposer.supervisor.faults
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            for stream in (process.stdin, process.stdout):
                stream.close()
            interposer.stop()


@pytest.fixture
def files():
    made = [os.memfd_create(f"passed-{index}", os.MFD_CLOEXEC) for index in range(3)]
    yield made
    for fd in made:
        os.close(fd)


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_answer(language, how, files, tmp_path):
    """EINTR at the first receive and the first send, an errno, short sends without and with a descriptor, control data."""
    interrupted = [Fault(calls, failing("EINTR")) for calls in (RECEIVE, SEND)]
    failed = Fault(RECEIVE, failing("ENOMEM"))
    short = [Fault(SEND, taking(count)) for count in (5, 1)]
    between = Between(*interrupted, failed, *short)
    first, second, third = map(identity, files)
    with talking(language, how, between, 6, tmp_path) as talk:
        assert talk.answer() == (f"errno {errno.ENOMEM}", [])
        for _ in range(2):
            talk.send(files[:1])
            assert talk.answer() == (f"20 1 {first[0]}:{first[1]} 3", [first])
        between.show = the_second
        talk.send(files[:2])
        assert talk.answer() == (f"20 1 {second[0]}:{second[1]} 3", [second])
        between.show = as_macos
        talk.send(files)
        read, found = talk.answer()
        assert read == (LONG[language] if language == "go" else f"{LONG[language]} {first[0]}:{first[1]} 3")
        assert found == ([] if language == "go" else [first])
        between.show = as_linux
        talk.send(files[2:], b"the last")
        assert talk.answer() == (f"20 1 {third[0]}:{third[1]} 8", [third])
    assert [one.acted for one in (*interrupted, failed, *short)] == [1] * 5


def test_the_program_in_go_is_static():
    """No dynamic linker and no libc: nothing could be put before it but the kernel."""
    [program] = LANGUAGES["go"]()
    with open(program, "rb") as file:
        head = file.read(1 << 16)
    assert head.startswith(b"\x7fELF")
    assert b"ld-linux" not in head
