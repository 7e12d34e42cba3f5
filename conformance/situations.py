"""Situations that several areas bring about: number 0 is free, a number is taken again, a call is interrupted ...

None of them judges. Where one cannot be brought about here the case is unsupported, and says why.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Generator
from pathlib import Path

from ..impls.errors import Unsupported
from .checks import place
from .link import CallLink
from .objects import Objects, Thing
from .rescue import state_of
from .transport import TransportLink

AnyLink = CallLink | TransportLink
TICK = 0.001
"""Seconds between two looks at what the testee is about."""
LOOKS = 500
"""How many looks find a testee waiting for requests, or asleep here and there, until it is taken to have no call to interrupt."""
LONG = struct.pack("ll", 30, 0)
"""A ``struct timeval`` longer than any case takes."""
FEW = 8
"""How many descriptors `few_in_flight` lets the testee's user have in flight."""
MANY = 64
"""More than enough sends to be over `FEW`, and few enough for any send buffer."""
TAKERS = 8
"""How many files are opened until a number that was closed is taken to be kept from reuse."""


# --- number 0 -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def zero_free(link: AnyLink, objects: Objects) -> Generator[None]:
    """Have number 0 free in the testee while the block runs; what took it is closed at its end.

    A block that fails leaves number 0 as it is: the census tells, and the testee is not used again. Raises `Unsupported`.
    """
    if "zero" not in link.testee.hello.capabilities:
        raise Unsupported("capability", "zero is not offered: number 0 is the testee's own")
    before = place(objects, Path(link.table.target(0)))
    link.close(0)
    yield
    if link.table.identity(0) is not None:
        link.close(0)
    assert link.open(before, flags=("O_RDONLY",)) == [0]  # noqa: S101 - the lowest free number, or the harness is at fault


# --- a number is taken again ----------------------------------------------------------------------------------------


def taken_again(link: AnyLink, objects: Objects, number: int) -> Thing:
    """Let the testee open files until one is at ``number``, which has been closed there; return that one.

    Lower numbers that are free come first. Raises `Unsupported` where ``number`` is not given out.
    """
    for _ in range(TAKERS):
        file = objects.file()
        if link.open(file) == [number]:
            return file
    raise Unsupported("situation", f"number {number} was closed, and none of the next {TAKERS} files got it")


# --- interrupted calls ----------------------------------------------------------------------------------------------


def let_time_out(link: CallLink) -> None:
    """Give the socket under test timeouts, with which a stop signal ends its blocking calls with EINTR (signal(7)).

    The testee sends its own socket to the peer for that, since `setopt` carries no ``struct timeval``.
    """
    sent = link.send(b"own", [link.fd])
    assert not sent.failed, f"the socket under test cannot be passed to the peer: {sent.error}"  # noqa: S101 - as in a case
    message = link.peer.receive()
    assert len(message.fds) == 1, f"the socket under test was sent, and {len(message.fds)} descriptors came"  # noqa: S101
    try:
        same = socket.socket(fileno=message.fds[0])
    except OSError as fault:
        raise AssertionError(f"the socket under test was sent, and no socket came: {fault.strerror}") from None
    try:
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            same.setsockopt(socket.SOL_SOCKET, option, LONG)
    finally:
        same.detach()  # the peer's to close
    link.peer.close_received()


@contextlib.contextmanager
def interruption(link: AnyLink, then: Callable[[threading.Event], object]) -> Generator[None]:
    """Stop and continue the testee as soon as it sleeps in the one request that the block makes, and do ``then``.

    That ends with EINTR, although no signal is handled, epoll_wait(2) and the calls on a socket with a timeout. ``then`` lets the
    request end all the same; it gets an event that says that the block is over. Raises `Unsupported` where the testee is
    never seen to sleep.
    """
    pid = link.testee.pid
    idle = _sleep_of(pid)
    interrupted, over = threading.Event(), threading.Event()

    def act() -> None:
        with contextlib.suppress(OSError, Unsupported):  # the testee has died, which the request tells
            if _rests(pid, idle, over):
                os.kill(pid, signal.SIGSTOP)
                while state_of(Path(f"/proc/{pid}")) not in ("T", "Z", "X"):
                    over.wait(TICK)
                os.kill(pid, signal.SIGCONT)
                interrupted.set()
        with contextlib.suppress(OSError, AssertionError):  # so the request ends otherwise, and the case judges that
            then(over)

    actor = threading.Thread(target=act)
    actor.start()
    try:
        yield
    finally:
        over.set()
        actor.join()
    if not interrupted.is_set():
        raise Unsupported(
            "platform", "the testee is not seen to sleep in a system call, so it cannot be interrupted there"
        )


def _rests(pid: int, idle: str, over: threading.Event) -> bool:
    """Wait until the process sleeps in another call than ``idle``, and still does a moment later; return whether it does.

    Looks at a testee that runs, or that a busy machine keeps from running, do not count.
    """
    before, left = idle, LOOKS
    while left and not over.wait(TICK):
        now = _call(pid)
        if now not in ("", idle) and now == before:
            return True
        before, left = now, left - bool(now)
    return False


def _sleep_of(pid: int) -> str:
    """Return the call in which a testee waits for requests. Raises `Unsupported`."""
    pace = threading.Event()
    for _ in range(10 * LOOKS):
        call = _call(pid)
        if call:
            return call
        pace.wait(TICK)
    raise Unsupported("platform", "the testee never sleeps, so it cannot be interrupted in its sleep")


def _call(pid: int) -> str:
    """Return the number and the first argument of the system call in which a process sleeps, '' while it runs.

    Raises `Unsupported` where /proc does not tell.
    """
    try:
        words = Path(f"/proc/{pid}/syscall").read_text(encoding="ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        raise Unsupported("platform", "/proc does not tell in which system call a process sleeps") from None
    except PermissionError:
        raise Unsupported("platform", "this user may not see in which system call the testee sleeps") from None
    return " ".join(words[:2]) if len(words) > 3 else ""


# --- the limit of descriptors in flight -----------------------------------------------------------------------------


def few_in_flight(link: AnyLink) -> None:
    """Let the testee send only while its user has no more than `FEW` descriptors in flight; undone after the case.

    Raises `Unsupported` for a user who may have any number in flight.
    """
    status = Path(f"/proc/{link.testee.pid}/status").read_text(encoding="utf-8", errors="replace")
    effective = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")), 16)
    if effective & (1 << 21 | 1 << 24):  # CAP_SYS_ADMIN, CAP_SYS_RESOURCE
        raise Unsupported("platform", "this user may have any number of descriptors in flight")
    link.limit_numbers(FEW)
