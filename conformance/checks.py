"""Looks and manoeuvres that several areas of the suite share; none of them judges."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import socket
import struct
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

from ..impls.errors import Unsupported
from ..impls.protocol.messages import Listen
from ..impls.protocol.results import FdResult
from ..impls.protocol.values import ObjectKind
from .census import identity_of, same_description
from .link import CallLink, Link, PeerLink
from .objects import Objects, Thing
from .observations import Sent
from .peer import PeerMessage

PATIENCE_MS = 1000
"""How long `released` waits before it says no. A release is over when the call that made it has returned."""
SMALL_BUFFER = 4608
"""The smallest SO_SNDBUF of Linux, so that partial writes and full buffers come at once."""
_names = itertools.count()


def released(fifo: Thing) -> bool:
    """Whether no writer of ``fifo`` is left, open or in flight; the FIFO must have been opened for writing before."""
    return _hung_up(fifo.fd, PATIENCE_MS)


def held(fifo: Thing) -> bool:
    """Whether some writer of ``fifo`` is left, open or in flight."""
    return not _hung_up(fifo.fd, 0)


def _hung_up(fd: int, milliseconds: int) -> bool:
    poll = select.poll()
    poll.register(fd, 0)  # POLLHUP is always told
    return any(events & select.POLLHUP for _, events in poll.poll(milliseconds))


def shared(link: Link, fd: int, ours: int) -> bool:
    """Whether the testee's ``fd`` and the harness's ``ours`` are one open file description. Raises `Unsupported`."""
    outcome = same_description(link.testee.pid, fd, os.getpid(), ours)
    if outcome is None and link.table.identity(fd) is not None:
        raise Unsupported("platform", "kcmp(2) cannot be used here")
    return bool(outcome)


def true_credentials(pid: int) -> bytes:
    """Return a ``struct ucred`` that is true of process ``pid``, which has this process's user and group.

    Raises `Unsupported` where even true credentials may not be sent: in a user namespace that maps nobody.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs:
        own = struct.pack("iii", os.getpid(), os.getuid(), os.getgid())
        try:
            ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, own)])
        except OSError as fault:
            raise Unsupported("platform", f"this user may not send true credentials: {fault.strerror}") from None
    return struct.pack("iii", pid, os.getuid(), os.getgid())


def offset(link: Link, fd: int) -> int:
    """Return the file offset behind the testee's ``fd``. Raises `NotOpen`."""
    return link.table.offset(fd)


def place(objects: Objects, path: Path, flags: int = os.O_RDONLY) -> Thing:
    """Return something that exists already, such as a directory or a device, as a thing to pass."""
    fd = objects.own(os.open(path, flags | os.O_CLOEXEC))
    return objects.add(Thing(path.name, ObjectKind.FILE, str(path), identity_of(fd), fd))


def directory(objects: Objects) -> Path:
    """Return the private directory in which this case's objects lie."""
    return Path(objects.file().path).parent


def unconnected(link: Link) -> None:
    """Let ``link`` speak through a new socket of its type that has a name and no peer."""
    made = link.do(Listen(address=f"@{fresh_name()}", type=link.type)).result
    assert isinstance(made, FdResult)  # noqa: S101 - the conversation has checked the shape
    link.fd = made.fd


def fresh_name() -> str:
    """Return an abstract AF_UNIX name, without its zero byte, that nobody has."""
    return f"fdspec-{os.getpid()}-{next(_names)}"


def quiet(link: Link) -> list[str]:
    """Return the flags with which a send to a closed peer raises no SIGPIPE that would kill the testee.

    Raises `Unsupported` where the signal cannot be avoided: its disposition is the program's, not the implementation's.
    """
    if link.can("flags-out"):
        return ["MSG_NOSIGNAL"]
    status = Path(f"/proc/{link.testee.pid}/status").read_text(encoding="ascii", errors="replace")
    masks = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("SigIgn", "SigCgt")))
    if any(int(mask, 16) >> (signal.SIGPIPE - 1) & 1 for mask in masks.values()):
        return []
    raise Unsupported("signal", "the API takes no MSG_NOSIGNAL, and the testee leaves SIGPIPE as it is")


def fill(link: CallLink, fd: int, flags: Sequence[str] = ()) -> Sent:
    """Send one descriptor after the other until a send fails; return that one.

    The socket must be non-blocking, or ``flags`` make the sends so.
    """
    link.option("SOL_SOCKET", "SO_SNDBUF", SMALL_BUFFER)
    for _ in range(64):
        sent = link.send(b"x" * 1024, [fd], flags=flags)
        if sent.failed:
            return sent
    raise AssertionError("64 KiB went into a send buffer of 9 KiB: none of the sends failed")


def drain(link: PeerLink) -> list[PeerMessage]:
    """Let the peer receive everything that is there now."""
    messages: list[PeerMessage] = []
    while link.peer.pending():
        message = link.peer.receive()
        if not message.data and not message.fds:
            break  # the end
        messages.append(message)
    return messages


@contextlib.contextmanager
def peer_reads(link: PeerLink) -> Generator[list[PeerMessage]]:
    """Let the peer receive whatever comes while the block runs, and what is left when it ends, into the list."""
    messages: list[PeerMessage] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            if link.peer.pending(0.001):
                messages.append(link.peer.receive())

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield messages
    finally:
        over.set()
        reader.join()
    messages += drain(link)


def peer_option(link: PeerLink, name: str, value: int) -> None:
    """Set a SOL_SOCKET option on the peer's end. Raises `Unsupported` where this kernel has not got it."""
    try:
        link.peer.option("SOL_SOCKET", name, value)
    except (OSError, KeyError) as fault:
        raise Unsupported("platform", f"{name} cannot be set here: {fault}") from None


def datagram_socket(path: str) -> socket.socket:
    """Return a datagram socket bound to ``path`` (``@name``: an abstract one), for the harness to receive by."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sock.bind("\0" + path[1:] if path.startswith("@") else path)
    except BaseException:
        sock.close()
        raise
    return sock
