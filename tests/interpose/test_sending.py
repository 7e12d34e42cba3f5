"""A send of which the interposer lets only some bytes go: at every byte, for every call, with and without descriptors."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import signal
import socket
import struct
import time

import pytest
from fdspec.conformance.interpose.calls import SEND
from fdspec.conformance.interpose.held import GO_ON, Return, Wait
from fdspec.conformance.interpose.perform import send
from interposed import LIBC, Died, Iovec, Mmsghdr, Msghdr, Stage, bare, failed, identity, on_sockets, rights

DATA = b"0123456789"
CALLS = ("write", "writev", "send", "sendto", "sendmsg", "sendmmsg")
MESSAGES = ("sendmsg", "sendmmsg")


def sent(name: str, fd: int, data: bytes, fds=(), flags: int = 0) -> tuple[int, int, int]:
    """Make the call ``name`` with ``data`` in two pieces where it takes several: its value, errno, and msg_len."""
    blocks = [ctypes.create_string_buffer(one, max(1, len(one))) for one in (data[:3], data[3:])]
    vector = (Iovec * 2)(
        *(Iovec(ctypes.addressof(block), size) for block, size in zip(blocks, (3, len(data) - 3), strict=True))
    )
    whole = ctypes.create_string_buffer(data, len(data))
    header = Msghdr(None, 0, vector, 2, None, 0, 0)
    if fds:
        control = ctypes.create_string_buffer(rights(*fds))
        header.control, header.controllen = ctypes.addressof(control), 16 + 4 * len(fds)
    several = (Mmsghdr * 2)(Mmsghdr(header, 77), Mmsghdr(header, 88))
    arguments = {
        "write": (whole, len(data)),
        "writev": (vector, 2),
        "send": (whole, len(data), flags),
        "sendto": (whole, len(data), flags, None, 0),
        "sendmsg": (ctypes.byref(header), flags),
        "sendmmsg": (several, 2, flags),
    }[name]
    result = getattr(LIBC, name)(fd, *arguments)
    return result, failed(result), several[0].length


def taken(sock: socket.socket) -> tuple[bytes, list[tuple[int, int]]]:
    """What has come: the data, and what the descriptors refer to."""
    data, control, flags, _ = sock.recvmsg(64, 256, socket.MSG_DONTWAIT)
    assert not flags
    fds = [fd for _, _, content in control for fd in struct.unpack(f"={len(content) // 4}i", content)]
    found = [identity(fd) for fd in fds]
    for fd in fds:
        os.close(fd)
    return data, found


def shortened(limits):
    """A stage on which the nth send of more than one byte takes as many bytes as ``limits`` say, and the others all."""
    numbers = iter(limits)

    def act(held):
        limit = next(numbers, None)
        return GO_ON if limit is None else send(held, limit)

    return Stage(on_sockets(act, SEND))


def test_every_call_at_every_byte():
    """The value is what was taken, the peer has just that, and descriptors go once, with the first byte."""
    combinations = list(itertools.product(CALLS, (0, 1, 3), range(1, len(DATA) + 2)))
    combinations = [one for one in combinations if not one[1] or one[0] in MESSAGES]

    def body():
        ours, theirs = socket.socketpair()
        files = [os.memfd_create(f"passed-{index}") for index in range(3)]
        wanted = [identity(fd) for fd in files]
        before = len(os.listdir("/proc/self/fd"))
        for name, count, limit in combinations:
            value, code, told = sent(name, ours.fileno(), DATA, files[:count])
            whole = limit >= len(DATA)
            several = name == "sendmmsg"
            assert (value, code) == ((2 if whole else 1) if several else min(limit, len(DATA)), 0), (name, count, limit)
            if several:
                assert told == min(limit, len(DATA))
            data, found = taken(theirs)
            assert data[: len(DATA)] == DATA[:limit], (name, count, limit)
            assert found == wanted[:count]
            if whole and several and count:
                assert taken(theirs) == (DATA, wanted[:count])  # the second message
            elif whole and several:
                assert data == DATA * 2
            else:
                assert data == DATA[:limit]
            with pytest.raises(BlockingIOError):
                theirs.recv(1, socket.MSG_DONTWAIT)
            assert len(os.listdir("/proc/self/fd")) == before
        return len(combinations)

    with shortened(limit for _, _, limit in combinations) as stage:
        assert stage.run(body) == len(combinations)
        done = [one for one in stage.answers if isinstance(one, Return)]
    assert len(done) == sum(limit < len(DATA) for _, _, limit in combinations)


def test_the_rest_goes_by_further_calls():
    def body():
        ours, theirs = socket.socketpair()
        ours.sendall(DATA)  # which Python's socket repeats by itself
        return taken(theirs)[0]

    with shortened([1, 2, 3]) as stage:
        assert stage.run(body) == DATA
        assert stage.answers == [Return(1), Return(2), Return(3)]


def test_what_the_kernel_would_refuse_goes_on_to_it():
    """A closed descriptor, a malformed control message, an unreadable buffer: the kernel's own errno, and nothing is sent."""

    def body():
        ours, theirs = socket.socketpair()
        seen = [sent("sendmsg", ours.fileno(), DATA, [999])]
        broken = ctypes.create_string_buffer(struct.pack("=Qii", 999, 1, 1))
        vector = (Iovec * 1)(Iovec(ctypes.addressof(ctypes.create_string_buffer(DATA)), len(DATA)))
        header = Msghdr(None, 0, vector, 1, ctypes.addressof(broken), 16, 0)
        value = LIBC.sendmsg(ours.fileno(), ctypes.byref(header), 0)
        seen.append((value, failed(value)))
        value = LIBC.send(ours.fileno(), ctypes.c_void_p(8), 10, 0)
        seen.append((value, failed(value)))
        value = LIBC.sendmmsg(ours.fileno(), None, 0, 0)
        seen.append((value, failed(value)))
        with pytest.raises(BlockingIOError):
            theirs.recv(64, socket.MSG_DONTWAIT)
        return seen

    with Stage(on_sockets(lambda held: send(held, 6), SEND)) as stage:
        assert stage.run(body) == bare(body)
        assert not stage.answers


@pytest.mark.parametrize("name", ["write", "send", "sendmsg"])
@pytest.mark.parametrize("how", ["default", "ignored", "handled", "nosignal"])
def test_a_peer_that_is_gone(name, how):
    """EPIPE with SIGPIPE, EPIPE alone under MSG_NOSIGNAL: as the kernel does it."""
    if (name, how) == ("write", "nosignal"):
        flags = 0  # write(2) has no flags, so this is the row without any
        how = "ignored"
    flags = socket.MSG_NOSIGNAL if how == "nosignal" else 0

    def body():
        caught = []
        action = {"ignored": signal.SIG_IGN, "handled": lambda number, _frame: caught.append(number)}
        signal.signal(signal.SIGPIPE, action.get(how, signal.SIG_DFL))
        ours, theirs = socket.socketpair()
        theirs.close()
        return sent(name, ours.fileno(), DATA, flags=flags)[:2], caught

    expected = ((-1, errno.EPIPE), [signal.SIGPIPE] if how == "handled" else [])
    for killable in (True, False):
        with Stage(on_sockets(lambda held: send(held, 6), SEND), killable=killable) as stage:
            if how == "default":
                with pytest.raises(Died) as died:
                    stage.run(body)
                assert died.value.args == (-signal.SIGPIPE,)
            else:
                assert stage.run(body) == expected


def _full(sock: socket.socket) -> int:
    """Fill the socket to the brim; return how much went in."""
    total = 0
    try:
        while True:
            total += sock.send(bytes(4096), socket.MSG_DONTWAIT)
    except BlockingIOError:
        return total


def test_a_blocking_send_waits_for_room():
    ours, theirs = socket.socketpair()
    already = _full(ours)

    def body():
        theirs.close()
        return sent("sendmsg", ours.fileno(), DATA)[:2]

    with ours, theirs, Stage(on_sockets(lambda held: send(held, 6), SEND)) as stage:
        child = stage.start(body)
        assert stage.waits.wait(10)
        got = bytearray()
        while len(got) < already + 6:
            got += theirs.recv(1 << 20)
        assert child.result() == (6, 0)
        assert bytes(got[already:]) == DATA[:6]
        assert isinstance(stage.answers[0], Wait)


def test_a_full_socket_without_waiting():
    """O_NONBLOCK, MSG_DONTWAIT: EAGAIN; SO_SNDTIMEO: EAGAIN when its time is over, and not before."""

    def body():
        ours, _theirs = socket.socketpair()
        _full(ours)
        seen = [sent("send", ours.fileno(), DATA, flags=socket.MSG_DONTWAIT)[:2]]
        ours.setblocking(False)
        seen.append(sent("write", ours.fileno(), DATA)[:2])
        ours.setblocking(True)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", 0, 200_000))
        start = time.monotonic()
        seen.append(sent("sendmsg", ours.fileno(), DATA)[:2])
        return [*seen, 0.19 < time.monotonic() - start < 10]

    def act(held):
        return send(held, 6) if held.wanted.capacity == len(DATA) else GO_ON

    with Stage(on_sockets(act, SEND)) as stage:
        assert stage.run(body) == [(-1, errno.EAGAIN)] * 3 + [True]


def test_a_descriptor_of_a_thread_whose_leader_is_gone():
    """A program's first thread may end before the others; what the others send is still theirs."""

    def body():
        ours, theirs = socket.socketpair()
        file = os.memfd_create("passed")
        wanted = identity(file)
        child = os.fork()
        if not child:
            worker = """
import os, socket, struct, sys, threading
def late():
    with open(f"/proc/self/task/{os.getpid()}/status") as status:
        while "zombie" not in status.read():  # the leader has ended
            status.seek(0)
    socket.socket(fileno=int(sys.argv[1])).sendmsg(
        [b"0123456789"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", int(sys.argv[2])))])
    os._exit(0)
threading.Thread(target=late).start()
import ctypes
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""
            import sys

            os.set_inheritable(ours.fileno(), True)
            os.set_inheritable(file, True)
            os.execv(sys.executable, [sys.executable, "-c", worker, str(ours.fileno()), str(file)])
        ours.close()
        os.waitpid(child, 0)
        return taken(theirs) == (DATA[:6], [wanted])

    with Stage(on_sockets(lambda held: send(held, 6), SEND)) as stage:
        assert stage.run(body)
        assert stage.answers == [Return(6)]
