"""A receive that the interposer carries out and shows as it came is, to the letter, the receive of the kernel.

The same body runs twice, in a child that nobody holds and in one whose every receive is held; what both saw must be the same.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import resource
import socket
import struct
import threading
import time

import pytest
from fdspec.conformance.interpose.calls import RECEIVE, Name
from fdspec.conformance.interpose.held import GO_ON, Fail, Return, Wait
from fdspec.conformance.interpose.perform import Shown, as_linux, image, receive
from interposed import LIBC, PAGE, Iovec, Mmsghdr, Msghdr, Stage, bare, failed, identity, on_sockets

TYPES = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET)
FILL = 0xA5
CLOEXEC = socket.MSG_CMSG_CLOEXEC
DATA = b"0123456789"
OPEN = [0]
"""How many descriptors a child had open when its body began."""


def carried_out(**more):
    return Stage(on_sockets(lambda held: receive(held, as_linux), RECEIVE), **more)


def same(body, *, at_least: int = 1):
    """Run ``body`` both ways and return what it saw; ``at_least`` so many receives were really carried out."""

    def counted():
        OPEN[0] = len(os.listdir("/proc/self/fd"))  # a held child has its end of the hand-over beside the others
        return body()

    alone = bare(counted)
    with carried_out() as stage:
        held = stage.run(counted)
        done = [answer for answer in stage.answers if not isinstance(answer, Wait)]
    if isinstance(held, list):
        for one, other in zip(held, alone, strict=True):
            assert one == other
    assert held == alone
    assert len(done) >= at_least, done
    return held


class Message:
    """One msghdr to the letter, with buffers of ``sizes``, ``room`` bytes of control data (None: a null pointer) and a name."""

    def __init__(self, sizes=(64,), room=None, name=None) -> None:
        self.blocks = [ctypes.create_string_buffer(bytes([FILL]) * max(size, 1), max(size, 1)) for size in sizes]
        self.vector = (Iovec * max(1, len(sizes)))(
            *(Iovec(ctypes.addressof(block), size) for block, size in zip(self.blocks, sizes, strict=True))
        )
        self.control = ctypes.create_string_buffer(bytes([FILL]) * 4096, 4096)
        self.where = ctypes.create_string_buffer(bytes([FILL]) * 128, 128)
        self.header = Msghdr(None, 77, self.vector, len(sizes), None, 99, 0x5555)
        if room is not None:
            self.header.control, self.header.controllen = ctypes.addressof(self.control), room
        if name is not None:
            self.header.name, self.header.namelen = ctypes.addressof(self.where), name

    def seen(self, result: int) -> dict[str, object]:
        """All that the caller can see, with what each descriptor refers to in place of its number; descriptors are closed."""
        number = failed(result)
        control = bytearray(self.control.raw)
        objects = []
        for at in _descriptors(control, min(self.header.controllen, 4096) if self.header.control else 0):
            (fd,) = struct.unpack_from("=i", control, at)
            if fd < 0:
                objects.append(fd)
                continue
            objects.append((identity(fd), os.get_inheritable(fd), _works(fd)))
            os.close(fd)
            struct.pack_into("=i", control, at, len(objects))
        return {
            "result": result,
            "errno": number,
            "data": [block.raw for block in self.blocks],
            "flags": self.header.flags,
            "namelen": self.header.namelen,
            "name": self.where.raw,
            "controllen": self.header.controllen,
            "control": bytes(control),
            "objects": objects,
            "open": len(os.listdir("/proc/self/fd")) - OPEN[0],
        }


def _descriptors(control: bytes, told: int):
    at = 0
    while at + 16 <= told:
        length, level, kind = struct.unpack_from("=Qii", control, at)
        if length < 16 or at + length > told:
            return
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            yield from range(at + 16, at + length - 3, 4)
        at += (length + 7) & ~7


def _numbers() -> set[int]:
    """The numbers that are open, without the one by which they were listed."""
    return {int(one) for one in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{one}")}


def _works(fd: int) -> bytes:
    """What the descriptor's own offset gives: it is moved by all who share the open file description."""
    return os.read(fd, 1)


def send(sock: socket.socket, data: bytes, fds) -> None:
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))] if fds else []
    sock.sendmsg([data], ancillary)


def files(count: int):
    return [_file(index) for index in range(count)]


def _file(index: int) -> int:
    fd = os.memfd_create(f"passed-{index}", os.MFD_CLOEXEC)
    os.write(fd, f"{index}{index}".encode() * 50_000)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def receiving(kind, sizes, rooms, counts, flags, *, creds=False, shared=()):
    """Return a body that sends itself messages and receives them in every way asked for; it returns all that it saw."""

    def body():
        seen = []
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, creds)
        for size, room, count, flag in itertools.product(sizes, rooms, counts, flags):
            send(ours, DATA, shared[:count])
            if flag & socket.MSG_PEEK:
                message = Message(size, room)
                seen.append(message.seen(LIBC.recvmsg(theirs.fileno(), ctypes.byref(message.header), flag)))
            message = Message(size, room)
            seen.append(
                message.seen(LIBC.recvmsg(theirs.fileno(), ctypes.byref(message.header), flag & ~socket.MSG_PEEK))
            )
            while True:
                try:
                    seen.append(theirs.recv(100, socket.MSG_DONTWAIT))  # what a short buffer left
                except BlockingIOError:
                    break
        return _without_pids(seen)

    return body


def _without_pids(seen):
    """Each run has a process of its own, which credentials name."""
    own = struct.pack("=i", os.getpid())
    for one in seen:
        if isinstance(one, dict):
            there = min(4, max(0, one["controllen"] - 16))
            if one["control"][8:16] == struct.pack("=ii", socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                assert one["control"][16 : 16 + there] == own[:there]
                one["control"] = one["control"][:16] + b"self" + one["control"][20:]
    return seen


@pytest.fixture
def shared():
    made = files(3)
    yield made
    for fd in made:
        os.close(fd)


def rewound(made, body):
    def run():
        for fd in made:
            os.lseek(fd, 0, os.SEEK_SET)
        return body()

    return run


ROOMS = (None, 0, 8, 15, 16, 17, 19, 20, 22, 23, 24, 25, 28, 31, 32, 39, 40, 44, 48, 52, 56, 64, 72, 256)


@pytest.mark.parametrize("creds", [False, True], ids=["", "credentials"])
@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_control_data_for_every_room(kind, creds, shared):
    """Descriptors, padding, truncation, msg_flags, msg_controllen; nothing is open that is not shown."""
    body = receiving(kind, [(64,)], ROOMS, range(4), [0, CLOEXEC], creds=creds, shared=shared)
    seen = same(rewound(shared, body), at_least=len(ROOMS) * 8)
    shown = [one for one in seen if isinstance(one, dict)]
    assert {len(one["objects"]) for one in shown} == {0, 1, 2, 3}
    assert any(one["flags"] & socket.MSG_CTRUNC for one in shown)
    assert {one["objects"][0][1] for one in shown if one["objects"]} == {True, False}


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_data_for_every_size_and_flag(kind, shared):
    """Short buffers, several, empty ones; MSG_PEEK, MSG_TRUNC, MSG_DONTWAIT."""
    sizes = [(64,), (4,), (10,), (3, 0, 4), (1, 1, 64)]
    flags = [0, socket.MSG_PEEK, socket.MSG_TRUNC, socket.MSG_DONTWAIT | CLOEXEC, socket.MSG_PEEK | socket.MSG_TRUNC]
    if kind is socket.SOCK_STREAM:  # where MSG_TRUNC throws the data away, which is not this test's matter
        flags = [flag for flag in flags if not flag & socket.MSG_TRUNC]
    same(rewound(shared, receiving(kind, sizes, [None, 32], [0, 2], flags, shared=shared)), at_least=40)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_calls_without_control_data(kind, shared):
    """read, readv, recv, recvfrom: data and result, and descriptors that come with it are gone."""

    def body():
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        seen = []
        for count, size in itertools.product((0, 2), (0, 4, 64)):
            for name in ("read", "recv", "recvfrom", "readv"):
                send(ours, DATA, shared[:count])
                message = Message((size, 3))
                block, fd = message.blocks[0], theirs.fileno()
                arguments = {
                    "read": (block, size),
                    "recv": (block, size, socket.MSG_DONTWAIT),
                    "recvfrom": (block, size, 0, None, None),
                    "readv": (message.vector, 2),
                }[name]
                if size or kind is not socket.SOCK_STREAM or name == "read":
                    seen.append((name, count, size, message.seen(getattr(LIBC, name)(fd, *arguments))))
                while True:
                    try:
                        seen.append(theirs.recv(100, socket.MSG_DONTWAIT))
                    except BlockingIOError:
                        break
        if kind is not socket.SOCK_DGRAM:  # which has no end
            ours.close()
            seen += [theirs.recv(5), theirs.recvmsg(5, 64)]
        return seen

    same(rewound(shared, body), at_least=20)


@pytest.mark.parametrize("bound", [None, b"\0abstract-%d", b"%s/named"], ids=["unnamed", "abstract", "path"])
@pytest.mark.parametrize("room", [0, 1, 2, 3, 9, 128])
def test_the_senders_name(bound, room, tmp_path):
    """msg_name and msg_namelen, and the name of recvfrom(2), in whatever room there is."""

    def body():
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        if bound is not None:
            name = bound % (os.getppid() if b"%d" in bound else os.fsencode(tmp_path))
            if name[:1] != b"\0" and os.path.exists(name):
                os.unlink(name)
            ours.bind(name)
        seen = []
        ours.send(DATA)
        message = Message(room=32, name=room)
        seen.append(message.seen(LIBC.recvmsg(theirs.fileno(), ctypes.byref(message.header), 0)))
        ours.send(DATA)
        message, length = Message(), ctypes.c_uint(room)
        result = LIBC.recvfrom(theirs.fileno(), message.blocks[0], 5, 0, message.where, ctypes.byref(length))
        return [*seen, message.seen(result), length.value]

    seen = same(body, at_least=2)
    assert (seen[-1] > 2) == (bound is not None)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_several_messages(kind, shared):
    """recvmmsg(2) of one message is the same; of several the first is given, as it may be; of none, none is taken."""

    def body():
        ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
        send(ours, DATA, shared[:2])
        seen = []
        for count in (0, 1):
            message = Message(room=64)
            whole = (Mmsghdr * 1)(Mmsghdr(message.header, 4242))
            result = LIBC.recvmmsg(theirs.fileno(), whole, count, CLOEXEC | socket.MSG_DONTWAIT, None)
            message.header = whole[0].header
            seen.append((result, whole[0].length, message.seen(result)))
        return seen

    seen = same(rewound(shared, body))
    assert [one[:2] for one in seen] == [(0, 4242), (1, 10)]


@pytest.mark.parametrize("free", range(4))
def test_at_the_limit_of_descriptors(free, shared):
    """With fewer numbers than descriptors: as many as there are, MSG_CTRUNC, the others are gone."""

    def body():
        ours, theirs = socket.socketpair()
        message = Message(room=64)
        send(ours, DATA, shared)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        used = [int(one) for one in os.listdir("/proc/self/fd")]
        while len(used) < max(used) - 3:  # close the gaps
            used.append(os.dup(0))
        fillers = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(used) + 20, hard))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                fillers.append(os.dup(0))
        for _ in range(free):
            os.close(fillers.pop())
        result = LIBC.recvmsg(theirs.fileno(), ctypes.byref(message.header), 0)
        number = failed(result)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        for fd in fillers:
            os.close(fd)
        seen = message.seen(result)
        del seen["open"]
        return number, seen

    number, seen = same(rewound(shared, body))
    assert number == 0
    assert len(seen["objects"]) == free
    assert bool(seen["flags"] & socket.MSG_CTRUNC) == (free < 3)


def test_a_bad_address_is_the_kernels_own_answer():
    def body():
        ours, theirs = socket.socketpair()
        ours.send(DATA)
        message = Message()
        message.header.iov = ctypes.cast(8, ctypes.POINTER(Iovec))
        results = []
        for call in (
            lambda: LIBC.recvmsg(theirs.fileno(), None, 0),
            lambda: LIBC.recvmsg(theirs.fileno(), ctypes.byref(message.header), 0),
        ):
            result = call()
            results.append((result, failed(result)))
        return [*results, theirs.recv(64)]

    assert same(body)[-1] == DATA


def test_what_is_no_unix_socket_goes_on():
    """A pipe, a TCP socket, a closed number."""

    def body():
        reader, writer = os.pipe()
        os.write(writer, b"pipe")
        listener = socket.create_server(("127.0.0.1", 0))
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        server.send(b"tcp")
        message = Message()
        closed = LIBC.recvmsg(999, ctypes.byref(message.header), 0)
        return os.read(reader, 9), client.recv(9), closed, failed(closed)

    with Stage(lambda held: receive(held, as_linux) if held.name in RECEIVE else GO_ON) as stage:
        assert stage.run(body) == (b"pipe", b"tcp", -1, errno.EBADF)
        assert not stage.answers


# --- waiting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", [False, True], ids=["data", "end"])
def test_a_blocking_receive_waits_and_is_woken(close):
    ours, theirs = socket.socketpair()

    def body():
        ours.close()
        return theirs.recv(64)

    with ours, theirs, carried_out() as stage:
        child = stage.start(body)
        theirs.close()
        assert stage.waits.wait(10)
        if close:
            ours.close()
        else:
            ours.send(DATA)
        assert child.result() == (b"" if close else DATA)
        assert [type(one) for one in stage.answers] == [Wait, Return]


def test_what_does_not_wait():
    """O_NONBLOCK and MSG_DONTWAIT give EAGAIN; SO_RCVTIMEO gives it when its time is over, and not before."""

    def body():
        _, theirs = socket.socketpair()
        seen = []
        for flags in (socket.MSG_DONTWAIT, 0):
            theirs.setblocking(bool(flags))
            result = LIBC.recv(theirs.fileno(), Message().blocks[0], 9, flags)
            seen.append((result, failed(result)))
        theirs.setblocking(True)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 0, 200_000))
        start = time.monotonic()
        result = LIBC.recv(theirs.fileno(), Message().blocks[0], 9, 0)
        code = failed(result)
        return [*seen, (result, code), 0.19 < time.monotonic() - start < 10]

    assert same(body, at_least=3) == [(-1, errno.EAGAIN)] * 3 + [True]


def test_two_threads_wait_at_a_time():
    """Each is woken by what comes on its own socket, and the one does not keep the other."""
    pairs = [socket.socketpair() for _ in range(2)]
    waiting = threading.Semaphore(0)

    def noted(held):
        answer = receive(held, as_linux)
        if isinstance(answer, Wait):
            waiting.release()
        return answer

    def body():
        got = {}
        workers = [
            threading.Thread(target=lambda index=index, sock=sock: got.update({index: sock.recv(9)}))
            for index, (_, sock) in enumerate(pairs)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return got

    with Stage(on_sockets(noted, RECEIVE)) as stage:
        child = stage.start(body)
        assert waiting.acquire(timeout=10)
        assert waiting.acquire(timeout=10)
        pairs[1][0].send(b"second")
        pairs[0][0].send(b"first")
        assert child.result() == {0: b"first", 1: b"second"}
    for pair in pairs:
        for sock in pair:
            sock.close()


# --- what is shown otherwise ----------------------------------------------------------------------------------------


def test_other_control_data_as_macos_would_have_it(shared):
    """cmsg_len tells of what there was no room for, one descriptor is installed that no byte shows, and flags say nothing."""

    def show(came, held):
        [part] = came.parts
        assert len(came.fds) == 3
        assert held.wanted.control_length == 24
        [head, *_] = image(part, padded=False)
        return Shown((head, 0, b"\0\0\0\0"), unseen=(1,), told=24, flags=0, cloexec=True)

    def body():
        ours, theirs = socket.socketpair()
        send(ours, DATA, shared)
        before = _numbers()
        message = Message(room=24)
        result = LIBC.recvmsg(theirs.fileno(), ctypes.byref(message.header), 0)
        control = message.control.raw
        (first,) = struct.unpack_from("=i", control, 16)
        opened = _numbers() - before
        [hidden] = opened - {first}
        return (
            result,
            struct.unpack_from("=Qii", control),
            (message.header.controllen, message.header.flags, control[20:32]),
            [(identity(fd), os.get_inheritable(fd)) for fd in (first, hidden)],
            len(opened),
        )

    with Stage(on_sockets(lambda held: receive(held, show), RECEIVE)) as stage:
        result, head, told, opened, count = stage.run(body)
    assert result == len(DATA)
    assert head == (28, socket.SOL_SOCKET, socket.SCM_RIGHTS)
    assert told == (24, 0, b"\0\0\0\0" + bytes([FILL]) * 8)
    assert opened == [(identity(shared[0]), False), (identity(shared[1]), False)]
    assert count == 2


def test_a_receive_that_is_to_fail_loses_what_came_and_keeps_nothing(shared):
    before = len(os.listdir("/proc/self/fd"))

    def body():
        ours, theirs = socket.socketpair()
        send(ours, DATA, shared)
        with pytest.raises(OSError, match="Message too long"):
            theirs.recvmsg(64, 64)
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
        return len(os.listdir("/proc/self/fd"))

    acted = []

    def once(held):
        if acted:
            return GO_ON
        acted.append(held)
        return receive(held, lambda came, _held: Fail(errno.EMSGSIZE) if came.fds else Shown())

    with Stage(on_sockets(once, {Name.RECVMSG})) as stage:
        stage.run(body)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_buffer_that_cannot_be_written():
    """What was taken can't be delivered: EFAULT, as the kernel has it, and nobody hangs."""

    def body():
        ours, theirs = socket.socketpair()
        ours.send(DATA)
        page = LIBC.mmap(None, PAGE, 1, 0x22, -1, 0)
        result = LIBC.recv(theirs.fileno(), ctypes.c_void_p(page), 9, 0)
        return result, failed(result)

    assert same(body) == (-1, errno.EFAULT)
