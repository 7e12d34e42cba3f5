"""Children that run under an interposer, and what they and the harness have open.

A `Child` is a fork of the test's process that runs a function and tells what it returned; under `Stage` its calls are held.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import select
import signal
import struct
import threading
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Self

from fdspec.conformance.interpose.calls import RECEIVE, SEND, Name
from fdspec.conformance.interpose.held import GO_ON, Answer, Held, Wait
from fdspec.conformance.interpose.launcher import EVERY, Interposer, execute
from fdspec.conformance.interpose.supervisor import Handler, let_go
from fdspec.impls.forking import Stream

PATIENCE = 20.0
PR_SET_PDEATHSIG = 1
LIBC = ctypes.CDLL(None, use_errno=True)
for _name in ("read", "readv", "recv", "recvfrom", "recvmsg", "write", "writev", "send", "sendto", "sendmsg"):
    getattr(LIBC, _name).restype = ctypes.c_ssize_t
LIBC.mmap.restype = ctypes.c_void_p
LIBC.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
PAGE = os.sysconf("SC_PAGESIZE")


class Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class Msghdr(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.POINTER(Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class Mmsghdr(ctypes.Structure):
    _fields_ = (("header", Msghdr), ("length", ctypes.c_uint))


class Died(Exception):
    """A child ended without having told anything; the argument is its exit code."""


class Child:
    """A fork that runs ``body`` and tells what came of it. Satisfies `impls.process.Process`."""

    stdin = None

    def __init__(self, body: Callable[[], object], cage: Callable[[], None] = lambda: None) -> None:
        told, tell = os.pipe()
        self.stdout = Stream(told)
        self.returncode: int | None = None
        parent = os.getpid()
        self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                os.close(told)
                LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() == parent:
                    cage()
                    _tell(tell, body)
                    code = 0
            finally:
                os._exit(code)
        os.close(tell)

    def result(self) -> object:
        """Return what ``body`` returned. Raises `Died`, and AssertionError with the child's traceback or after a while."""
        told = b""
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                if not select.select([self.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                    raise AssertionError("the child hangs")
                piece = os.read(self.stdout.fileno(), 1 << 20)
                if not piece:
                    break
                told += piece
        finally:
            self.close()
        if not told:
            raise Died(self.returncode)
        what, value = pickle.loads(told)
        assert what == "returned", value
        return value

    def poll(self) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, which must come within ``timeout`` seconds."""
        if self.returncode is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                ended = select.select([pidfd], [], [], PATIENCE if timeout is None else timeout)[0]
            finally:
                os.close(pidfd)
            assert ended, "the child does not end"
            self.poll()
        assert self.returncode is not None
        return self.returncode

    def close(self) -> None:
        """Kill it if need be and free everything. May be called again."""
        if self.stdout.closed:
            return
        if self.poll() is None:
            if not select.select([self.stdout], [], [], 0)[0]:
                os.kill(self.pid, signal.SIGKILL)
            self.wait()
        self.stdout.close()


def _tell(tell: int, body: Callable[[], object]) -> None:
    try:
        told = ("returned", body())
    except BaseException:
        told = ("raised", traceback.format_exc())
    with os.fdopen(tell, "wb") as stream:
        stream.write(pickle.dumps(told))


class Stage:
    """An interposer and the children that run under it, one at a time; everything ends with the block.

    ``answers`` are what the handler answered, and ``waits`` is set when one of them was a `Wait`.
    """

    def __init__(self, handler: Handler = let_go, names: Collection[Name] = EVERY, *, killable: bool = True) -> None:
        self.answers: list[Answer] = []
        self.waits = threading.Event()
        self._handler = handler
        self.interposer = Interposer(self._handle, names, killable=killable)
        self._children: list[Child] = []

    def _handle(self, held: Held) -> Answer:
        answer = self._handler(held)
        if answer is not GO_ON:
            self.answers.append(answer)
        if isinstance(answer, Wait):
            self.waits.set()
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        for child in self._children:
            if child.poll() is None:
                os.kill(child.pid, signal.SIGKILL)
                child.wait()
            child.close()
        self._children.clear()
        self.interposer.stop()

    def start(self, body: Callable[[], object]) -> Child:
        child = self.interposer.start(lambda cage: Child(body, cage))
        assert isinstance(child, Child)
        self._children.append(child)
        return child

    def run(self, body: Callable[[], object]) -> object:
        """Return what ``body`` returns in a child under the interposer, which must have made no mistake of its own."""
        result = self.start(body).result()
        self.check()
        return result

    def check(self) -> None:
        assert self.interposer.supervisor is not None
        assert not self.interposer.supervisor.faults


def bare(body: Callable[[], object]) -> object:
    """Return what ``body`` returns in a child that nobody holds."""
    return Child(body).result()


def is_socket(held: Held) -> bool:
    """Whether the call is about a socket of the caller."""
    try:
        return os.readlink(f"/proc/{held.tid}/fd/{held.fd}").startswith("socket:")
    except OSError:
        return False


def on_sockets(action: Handler, calls: Collection[Name] = RECEIVE | SEND) -> Handler:
    """Return a handler that answers ``calls`` on sockets by ``action``, and lets everything else go on."""
    return lambda held: action(held) if held.name in calls and is_socket(held) else GO_ON


def run_command(interposer: Interposer, command: list[str], directory: Path, log: Path):
    """Start a program under ``interposer`` with standard error in ``log``."""
    with log.open("wb") as stream:
        return interposer.starter(execute)(command, directory, dict(os.environ), stream, die_with_us())


def die_with_us() -> Callable[[], None]:
    parent = os.getpid()

    def cage() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return cage


def ended(process, seconds: float = PATIENCE) -> int:
    """Return the exit code of a process of `run_command`, which must end within ``seconds``, and free what it has of ours."""
    pidfd = os.pidfd_open(process.pid)
    try:
        assert select.select([pidfd], [], [], seconds)[0], "the program does not end"
        return process.wait()
    finally:
        os.close(pidfd)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdin, process.stdout):
            stream.close()


def identity(fd: int) -> tuple[int, int]:
    facts = os.fstat(fd)
    return facts.st_dev, facts.st_ino


def numbers() -> int:
    """How many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd")) - 1


def threads() -> int:
    """How many threads this process has, as far as Python goes: the kernel may show one that was joined for a moment longer."""
    return threading.active_count()


def children() -> set[int]:
    """The children of this process, dead ones that nobody waited for among them."""
    found: set[int] = set()
    for task in os.listdir("/proc/self/task"):
        found |= {int(pid) for pid in Path(f"/proc/self/task/{task}/children").read_text().split()}
    return found


def failed(result: int) -> int:
    """Return the errno of a libc call that failed, 0 of one that didn't."""
    return ctypes.get_errno() if result < 0 else 0


def rights(*fds: int) -> bytes:
    """A control message with these descriptors, as it is sent."""
    return struct.pack("=Qii", 16 + 4 * len(fds), 1, 1) + struct.pack(f"={len(fds)}i", *fds)
