"""The kernel under this process, made to perform sequences: one operation in, what it showed out.

Everything happens in this process's own table of descriptors, with plain system calls that never block. What belongs to the
runner itself is kept above the soft limit of descriptors, out of the way of the lowest free numbers.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Generator
from typing import Any, Self

from msgspec.structs import replace

from ..census import same_description
from . import calls, operations
from . import flags as f
from .calls import Reply
from .control import Written, lay_out
from .operations import NOWHERE, Call, How, Kind, Number, Option
from .outcome import Descriptor, Seen
from .state import INHERITED, Ids, Platform

LIMIT = 1024
"""RLIMIT_NOFILE of a sequence, as most systems have it; what is the runner's own lies above it."""
_ABOVE = 512
"""How many numbers of its own the runner may need."""
_HIGHEST = 16384
"""The runner's own numbers lie below this, and as far up as they can: no length in a header of a control message equals one."""
_BATCH = 8
_PATIENCE = 10.0
"""Seconds until a collection of what refers to itself counts as not happening."""

_KINDS = {
    Kind.STREAM: socket.SOCK_STREAM,
    Kind.DGRAM: socket.SOCK_DGRAM,
    Kind.SEQPACKET: socket.SOCK_SEQPACKET,
}
_OPTIONS = {
    Option.PASSCRED: 16,
    Option.PASSRIGHTS: 83,
    Option.OOBINLINE: 10,
    Option.PEEK_OFF: 42,
    Option.SNDBUF: 7,
}
_SHUT = {How.RD: 0, How.WR: 1, How.RDWR: 2}
_NEW = socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK


class NotHere(Exception):
    """This platform lacks what the runner needs; the message says what."""


class Kernel:
    """Performs sequences. Use it as a context manager; one at a time in a process, and no other thread may open descriptors."""

    def __init__(self, *, alone: bool = False) -> None:
        """Prepare this process. ``alone``: no other process of this user has descriptors in flight."""
        gc.collect()  # what a later collection would close is none of the sequence's
        here = _sysctls(Platform())
        ids = Ids(os.getpid(), os.getuid(), os.getgid())
        self._platform = replace(here, limit=LIMIT, ids=ids, privileged=_privileged(), alone=alone)
        self._old = resource.getrlimit(resource.RLIMIT_NOFILE)
        hard = self._old[1]
        if hard != resource.RLIM_INFINITY and hard < LIMIT + _ABOVE:
            raise NotHere(f"the hard limit of descriptors is {hard}; {LIMIT + _ABOVE} are needed (ulimit -Hn)")
        self._hard = hard
        self._raised = _HIGHEST if hard == resource.RLIM_INFINITY else min(hard, _HIGHEST)
        self._own: set[int] = set()
        self._spare: list[tuple[int, int]] = []
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        self._directory = -1
        with self._roomy():
            self._directory = self._up(os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._limit(LIMIT)
        self._probe = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close everything and put limits and signals back."""
        self.end()
        for fd in self._own:
            os.close(fd)
        self._own.clear()
        resource.setrlimit(resource.RLIMIT_NOFILE, self._old)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    # ---- a sequence --------------------------------------------------------------------------------------------

    def begin(self) -> Platform:
        """Start a sequence and return where it runs."""
        self._names: dict[str, int] = {}
        self._files: dict[tuple[int, int], int] = {}
        self._objects: dict[str, int] = {}
        self._readers: list[int] = []
        self._soft = LIMIT
        self._taken = frozenset(self._numbers() - self._own)
        return replace(self._platform, taken=self._taken)

    def execute(self, op: operations.Operation) -> Seen:
        """Perform one operation and return everything that it showed."""
        seen = _VERBS[type(op)](self, op)
        return replace(seen, open=self._count() - len(self._own) - len(self._taken))

    def end(self) -> None:
        """Close what the sequence left open, and let the kernel collect what it left behind."""
        if not hasattr(self, "_taken"):
            return
        self._limit(LIMIT)
        for fd in sorted(self._numbers() - self._own - self._taken):
            os.close(fd)
        for fd in self._readers:
            self._drop(fd)
        self._readers.clear()

    # ---- operations --------------------------------------------------------------------------------------------

    def do_pair(self, op: operations.Pair) -> Seen:
        """Make a pair."""
        numbers = (ctypes.c_int * 2)()
        reply = calls.plain("socketpair", socket.AF_UNIX, _KINDS[op.kind] | _NEW, 0, ctypes.addressof(numbers))
        return self._made(reply, {op.a: numbers[0], op.b: numbers[1]})

    def do_socket(self, op: operations.NewSocket) -> Seen:
        """Make a socket."""
        reply = calls.plain("socket", socket.AF_UNIX, _KINDS[op.kind] | _NEW, 0)
        return self._made(reply, {op.name: reply.value}, 0)

    def do_accept(self, op: operations.Accept) -> Seen:
        """Accept a connection."""
        reply = calls.plain("accept4", self._number(op.listener), None, None, _NEW)
        return self._made(reply, {op.name: reply.value}, 0)

    def do_open(self, op: operations.Open) -> Seen:
        """Take a pipe's writing end into the sequence's table."""
        reader, writer = self._pipe()
        reply = calls.plain("dup", writer)  # F_DUPFD has another error at a limit of 0
        if reply.error:
            self._spare.append((reader, writer))
            return _shown(reply)
        fcntl.fcntl(reply.value, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
        self._drop(writer)
        self._readers.append(reader)
        self._objects[op.name] = reader
        return self._made(reply, {op.name: reply.value}, 0)

    def do_dup(self, op: operations.Duplicate) -> Seen:
        """Duplicate a descriptor."""
        reply = calls.plain("dup", self._number(op.name))
        if reply.error:
            return _shown(reply)
        self._names[op.new] = reply.value
        return Seen(value=0, new=self._opened([reply.value]))

    def do_close(self, op: operations.Close) -> Seen:
        """Close a descriptor."""
        return _shown(calls.plain("close", self._number(op.name)))

    def do_shutdown(self, op: operations.Shutdown) -> Seen:
        """Shut a socket down."""
        return _shown(calls.plain("shutdown", self._number(op.name), _SHUT[op.how]))

    def do_set(self, op: operations.SetOption) -> Seen:
        """Set an option."""
        value = op.value // 2 if op.option is Option.SNDBUF else op.value
        packed = struct.pack("=i", value)
        return _shown(calls.plain("setsockopt", self._number(op.name), 1, _OPTIONS[op.option], packed, 4))

    def do_connect(self, op: operations.Connect) -> Seen:
        """Connect, to a socket that gets an address."""
        return _shown(calls.name_and_connect(self._number(op.name), self._number(op.to)))

    def do_listen(self, op: operations.Listen) -> Seen:
        """Listen, at an address that the kernel chooses."""
        bound = calls.autobind(self._number(op.name))
        return _shown(bound if bound.error else calls.plain("listen", self._number(op.name), op.backlog))

    def do_room(self, op: operations.Room) -> Seen:
        """Set the soft limit of descriptors."""
        if op.free is None:
            self._limit(LIMIT)
            return Seen(value=0)
        free, limit = 0, 0
        while free < op.free:
            free += not _is_open(limit)
            limit += 1
        self._limit(min(limit, LIMIT))
        return Seen(value=min(limit, LIMIT))

    def do_send(self, op: operations.Send) -> Seen:
        """Send."""
        control = lay_out(op, self._number, self._platform.ids)
        reply = calls.sendmsg(self._number(op.name), op.data, control, (op.flags | f.DONTWAIT) & 0xFFFFFFFF)
        raised = reply.error == "EPIPE" and signal.sigtimedwait({signal.SIGPIPE}, 0) is not None
        return replace(_shown(reply), sigpipe=raised)

    def do_recv(self, op: operations.Receive) -> Seen:
        """Receive."""
        fd, flags = self._number(op.name), (op.flags | f.DONTWAIT) & 0xFFFFFFFF
        if op.call is Call.READ:
            return _shown(calls.read(fd, op.room))
        if op.call is Call.RECV:
            return _shown(calls.recv(fd, sum(op.room), flags))
        reply = calls.recvmsg(fd, op.room, op.control, flags)
        numbers = [number for message in reply.messages for number in _rights(message)]
        for index, number in enumerate(numbers if op.prefix else ()):
            self._names[f"{op.prefix}{index}"] = number
        return replace(_shown(reply), new=self._opened(numbers))

    def do_released(self, op: operations.Released) -> Seen:
        """Look whether a pipe has lost its last writer."""
        reader = self._objects.get(op.name)
        if reader is None:
            return Seen(error="ENOENT")
        try:
            return Seen(value=int(os.read(reader, 1) == b""))  # poll(2) does not work below a limit of one descriptor
        except BlockingIOError:
            return Seen(value=0)

    def do_look(self, op: operations.Look) -> Seen:
        """Ask for the readable bytes."""
        waiting = ctypes.c_int(0)
        reply = calls.plain("ioctl", self._number(op.name), 0x541B, ctypes.addressof(waiting))
        return _shown(reply) if reply.error else Seen(value=waiting.value)

    def do_collect(self, _: operations.Collect) -> Seen:
        """Wait for the kernel's collector."""
        with self._roomy():
            collect()
        return Seen(value=0)

    # ---- descriptors -------------------------------------------------------------------------------------------

    def _number(self, which: Number) -> int:
        return which if isinstance(which, int) else self._names.get(which, NOWHERE)

    def _made(self, reply: Reply, names: dict[str, int], value: int | None = None) -> Seen:
        if reply.error:
            return _shown(reply)
        for name, number in names.items():
            self._names[name] = number
            facts = os.fstat(number)
            self._files[facts.st_dev, facts.st_ino] = len(self._files)
        return Seen(value=reply.value if value is None else value, new=self._opened(list(names.values())))

    def _opened(self, numbers: list[int]) -> tuple[Descriptor, ...]:
        """Look at new numbers. Unknown files are -1; numbers that are not open -2.

        A second open file description of a file that came along too, told by kcmp(2), is -3.
        """
        found: list[Descriptor] = []
        for number in numbers:
            try:
                facts = os.fstat(number)
            except OSError:
                found.append(Descriptor(number, -2, cloexec=False))
                continue
            file = self._files.get((facts.st_dev, facts.st_ino), INHERITED)
            twin = next((one.number for one in found if one.file == file != INHERITED), None)
            if twin is not None and same_description(self._probe, number, self._probe, twin) is False:
                file = -3
            found.append(Descriptor(number, file, bool(fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC)))
        return tuple(found)

    def _count(self) -> int:
        return os.fstat(self._directory).st_size or sum(map(_is_open, range(self._raised)))

    def _numbers(self) -> set[int]:
        """Return every open number, but that of the listing itself. It takes a free number for a moment."""
        found = {int(name) for name in os.listdir(self._directory)}
        return {fd for fd in found if fd in self._own or _is_open(fd)}

    def _pipe(self) -> tuple[int, int]:
        if not self._spare:
            with self._roomy():
                for _ in range(_BATCH):
                    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                    self._spare.append((self._up(reader), self._up(writer)))
        return self._spare.pop()

    def _up(self, fd: int) -> int:
        """Move a descriptor of the runner's own out of the way."""
        high = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, self._raised - _ABOVE)
        os.close(fd)
        self._own.add(high)
        return high

    def _drop(self, fd: int) -> None:
        os.close(fd)
        self._own.discard(fd)

    def _limit(self, soft: int) -> None:
        self._soft = soft
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, self._hard))

    @contextlib.contextmanager
    def _roomy(self) -> Generator[None, None, None]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._raised, self._hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (getattr(self, "_soft", LIMIT), self._hard))


def _is_open(fd: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def _shown(reply: Reply) -> Seen:
    if reply.error:
        return Seen(error=reply.error)
    return Seen(
        value=reply.value,
        data=reply.data,
        flags=reply.flags,
        controllen=reply.controllen,
        messages=reply.messages,
    )


def _rights(message: Written) -> list[int]:
    if (message.level, message.type) != (f.SOL_SOCKET, f.SCM_RIGHTS):
        return []
    return [number for (number,) in struct.iter_unpack("=i", message.data[: len(message.data) // 4 * 4])]


def _hung_up(fd: int, timeout: int) -> bool:
    poller = select.poll()
    poller.register(fd, 0)
    return bool(poller.poll(timeout))


def collect() -> None:
    """Make the kernel collect descriptors in flight that only refer to each other, and wait until it has.

    The collector is started by the close of a socket. A pair is sent over itself with a pipe beside it; when that pipe hangs
    up, a whole collection has run since. The second one begins after the first has ended. Raises NotHere after 10 seconds.
    """
    for _ in range(2):
        reader, writer = os.pipe2(os.O_CLOEXEC)
        try:
            a, b = socket.socketpair()
            with a, b:
                socket.send_fds(a, [b"x"], [a.fileno(), b.fileno(), writer])
            os.close(writer)
            deadline = time.monotonic() + _PATIENCE
            while not _hung_up(reader, 5):
                socket.socket(socket.AF_UNIX).close()
                if time.monotonic() > deadline:
                    raise NotHere(f"the kernel did not collect a pair that was sent over itself within {_PATIENCE:g} s")
        finally:
            os.close(reader)


def _privileged() -> bool:
    """Whether CAP_SYS_ADMIN, CAP_SETUID and CAP_SETGID are effective."""
    wanted = 1 << 21 | 1 << 7 | 1 << 6
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:  # noqa: PTH123 - a constant path
        line = next(one for one in status if one.startswith("CapEff:"))
    return int(line.split()[1], 16) & wanted == wanted


def _sysctls(here: Platform) -> Platform:
    """Return the platform with what this system has set."""
    paths = {
        "sndbuf": "/proc/sys/net/core/wmem_default",
        "dgram_backlog": "/proc/sys/net/unix/max_dgram_qlen",
        "optmem": "/proc/sys/net/core/optmem_max",
    }
    found: dict[str, int] = {}
    for name, path in paths.items():
        with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:  # noqa: PTH123 - a constant path
            found[name] = int(file.read())
    return replace(here, **found)


_VERBS: dict[type, Callable[[Kernel, Any], Seen]] = {
    operations.Pair: Kernel.do_pair,
    operations.NewSocket: Kernel.do_socket,
    operations.Connect: Kernel.do_connect,
    operations.Listen: Kernel.do_listen,
    operations.Accept: Kernel.do_accept,
    operations.Open: Kernel.do_open,
    operations.Duplicate: Kernel.do_dup,
    operations.Close: Kernel.do_close,
    operations.Shutdown: Kernel.do_shutdown,
    operations.SetOption: Kernel.do_set,
    operations.Room: Kernel.do_room,
    operations.Send: Kernel.do_send,
    operations.Receive: Kernel.do_recv,
    operations.Released: Kernel.do_released,
    operations.Look: Kernel.do_look,
    operations.Collect: Kernel.do_collect,
}
