"""Looks and manoeuvres that several areas of kernel cases share; none of them judges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..impls.constants import CONSTANTS
from ..impls.errors import Broken, Unsupported
from ..impls.protocol.messages import RawCall, Request, Steps
from ..impls.protocol.values import Memory, Place
from .checks import SMALL_BUFFER
from .observations import SOL_SOCKET
from .raw import Child, RawLink
from .rawend import End

SCM_CREDENTIALS = CONSTANTS["SCM_CREDENTIALS"]
NO_PROCESS = 2**22 + 1
"""A process id that nobody has: PID_MAX_LIMIT and one (include/linux/threads.h)."""
LATER_MS = 60
"""How many milliseconds pass until a child that `later` begins acts."""
FULL = 2000
"""More messages than any queue takes at that buffer size."""


def verbatim(data: bytes) -> Memory:
    """Return ``data`` just before a page that is not there: a byte read beyond its end is a fault.

    No C library looks into such a buffer or copies it; the kernel gets what the case wrote.
    """
    return Memory(data=data.hex(), place=Place.THEN_UNMAPPED, split=len(data))


def path_of(path: str | Path) -> Memory:
    """Return a path as system calls take it."""
    return Memory(data=(str(path).encode() + b"\0").hex())


def one_description(link: RawLink, one: int, other: int) -> bool:
    """Whether two numbers of the testee share one open file description: by kcmp(2), else by their status flags."""
    try:
        seen = link.call("kcmp", other, fd=one)
    except Unsupported:
        seen = None
    if seen is not None and not seen.failed:
        return seen.returned == 0
    was, bit = _flags(link, one), CONSTANTS["O_NONBLOCK"]
    shared = _flags(link, other) == was
    link.call("fcntl", "F_SETFL", was ^ bit, fd=one)
    shared = shared and _flags(link, other) == was ^ bit
    link.call("fcntl", "F_SETFL", was, fd=one)
    return shared


def _flags(link: RawLink, fd: int) -> int:
    return link.call("fcntl", "F_GETFL", 0, fd=fd).returned


def fill(end: End, size: int = 1024) -> int:
    """Send plain messages until the next would block; return how many went. Raises `Broken` where none ever does."""
    end.option("SO_SNDBUF", SMALL_BUFFER)
    for count in range(FULL):
        sent = end.sendmsg(b"x" * size)
        if sent.failed:
            return count
    raise Broken("operation", f"{FULL} messages of {size} bytes went into a send buffer of {SMALL_BUFFER}")


def drain(end: End, room: int = 8) -> tuple[bytes, list[int]]:
    """Receive everything that is there; return all data and all numbers."""
    data, fds = b"", list[int]()
    while True:
        got = end.recvmsg(room=room)
        if got.failed or not (got.data or got.fds):
            return data, fds
        data += got.data
        fds += got.fds


def later(link: RawLink, request: Request) -> Child:
    """Let a child carry out ``request`` after a while, whatever the testee does meanwhile; return the child."""
    child = link.child()
    pause = RawCall(name="poll", fd=link.a.fd, arguments=[0, LATER_MS])
    child.begin(Steps(steps=[pause, request]))
    return child


def writes_through(link: RawLink, reader: End, fds: Sequence[int]) -> bool:
    """Whether what is written into each of ``fds`` comes out at ``reader``."""
    for fd in fds:
        word = f"through {fd}".encode()
        if link.call("write", fd=fd, iov=[Memory(data=word.hex())]).returned != len(word):
            return False
        if reader.read().data != word:
            return False
    return True


def socket_of(link: RawLink, domain: str, kind: str) -> End:
    """Return a socket of another family. Raises `Unsupported` where this kernel has none."""
    made = link.call("socket", domain, kind, 0)
    if made.failed:
        raise Unsupported("platform", f"there is no socket of {domain} here: {made.errno}")
    return link.made(made.returned)


def internet_pair(link: RawLink, domain: str, kind: str) -> tuple[End, End]:
    """Return two sockets of AF_INET or AF_INET6, the first connected to the second. Raises `Unsupported` without loopback."""
    server, client = socket_of(link, domain, kind), socket_of(link, domain, kind)
    bound = server.call("bind", iov=[_local(link, domain, 0)])
    if bound.failed:
        raise Unsupported("platform", f"{domain} has no loopback address here: {bound.errno}")
    name = server.call("getsockname", iov=[Memory(size=_ADDRESS[domain][2])]).memory[0]
    if kind == "SOCK_STREAM":
        server.call("listen", 1)
    reached = client.call("connect", iov=[_local(link, domain, int.from_bytes(name[2:4], "big"))])
    if reached.failed:
        raise Unsupported("platform", f"the loopback address of {domain} cannot be reached: {reached.errno}")
    return client, server.accept() if kind == "SOCK_STREAM" else server


_ADDRESS = {
    "AF_INET": (CONSTANTS["AF_INET"], bytes([127, 0, 0, 1]), 16),
    "AF_INET6": (CONSTANTS["AF_INET6"], bytes(19) + b"\1", 28),
}
"""Family, what comes behind the port up to the end of the loopback address, size of the socket address."""


def _local(link: RawLink, domain: str, port: int) -> Memory:
    family, host, size = _ADDRESS[domain]
    address = family.to_bytes(2, link.layout.order) + port.to_bytes(2, "big") + host
    return Memory(data=address.ljust(size, b"\0").hex())


def ucred(link: RawLink, pid: int, user: int, group: int) -> bytes:
    """Return an SCM_CREDENTIALS control message."""
    return link.layout.cmsg(SOL_SOCKET, SCM_CREDENTIALS, link.layout.ints((pid, user, group)))


def own_credentials(link: RawLink) -> tuple[int, int, int]:
    """Return process, user and group of the testee, as SCM_CREDENTIALS shows them here."""
    owner = Path(f"/proc/{link.testee.pid}").stat()
    return link.testee.pid, owner.st_uid, owner.st_gid


def true_credentials(link: RawLink) -> tuple[int, int, int]:
    """Return the same where they can be sent. Raises `Unsupported` in a user namespace that maps nobody."""
    own = own_credentials(link)
    sender, receiver = link.pair()
    refused = sender.sendmsg(b"x", control=ucred(link, *own)).errno
    for end in (sender, receiver):
        end.close()
    if refused == "EINVAL":
        raise Unsupported("privilege", "this user may not send true credentials: EINVAL")
    return own
