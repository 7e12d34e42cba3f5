"""What the kernel has installed is handed out or closed, whatever is raised on the way (LC01)."""

from __future__ import annotations

import array
import contextlib
import dis
import errno
import os
import socket
import struct
import sys
import types
from pathlib import Path

import pytest
from fdspec.impls.reference import message as module
from fdspec.impls.reference import ownership
from fdspec.impls.reference.message import Descriptor, DescriptorsLostError, Truncation, recvmsg, recvmsg_into, sendmsg
from hypothesis import given
from hypothesis import strategies as st

PASSPIDFD = 76
OURS = {module.__file__, ownership.__file__}

# After these the interpreter looks for signals, so that an exception of a handler (KeyboardInterrupt) can come up there.
LOOKS_FOR_SIGNALS = ("CALL", "JUMP_BACKWARD", "RESUME")


class Interruption:
    """A tracer that raises KeyboardInterrupt at the nth place where the reference's code can be interrupted."""

    def __init__(self, place: int) -> None:
        self.left = place
        self.raised = False
        self.before: dict[types.FrameType, str] = {}

    def __call__(self, frame: types.FrameType, event: str, _: object):
        if frame.f_code.co_filename not in OURS or self.raised:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        if event == "opcode":
            last = self.before.get(frame, "")
            self.before[frame] = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            # Where our own Descriptor closes, and the rescue itself runs, a second one is beyond what Python code can do.
            if last.startswith(LOOKS_FOR_SIGNALS) and not self.rescuing(frame):
                self.left -= 1
                if self.left < 0:
                    self.raised = True
                    raise KeyboardInterrupt
        return self

    @staticmethod
    def rescuing(frame: types.FrameType | None) -> bool:
        while frame is not None:
            if frame.f_code.co_name in ("_abandon", "__del__"):
                return True
            frame = frame.f_back
        return False


def receive(sock, arguments):
    message = None
    try:
        message = recvmsg(sock, 9, **arguments)
    except DescriptorsLostError:
        pass
    finally:
        if message is not None:
            message.close()


@pytest.mark.parametrize(
    "arguments",
    [
        {"room": 3},
        {"room": 2},
        {"room": 2, "control": 64, "truncation": Truncation.KEEP},
        {"room": 1, "control": 64},
    ],
    ids=["all", "cut", "excess", "excess-raises"],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a result dropped on its way to the caller closes itself
def test_an_interrupt_at_any_place(stream, files, arguments):
    """KeyboardInterrupt at every place where one can come up, one after the other, until none is left."""
    sent = files(3)
    stream[1].setsockopt(socket.SOL_SOCKET, PASSPIDFD, 1)
    before = open_now()
    place, interrupted = 0, True
    old = sys.gettrace()
    while interrupted:
        sendmsg(stream[0], [b"data"], sent)
        tracer = Interruption(place)
        sys.settrace(tracer)
        try:
            receive(stream[1], arguments)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(old)
            tracer.before.clear()  # which holds the frames, and they what they were about to return
        interrupted = tracer.raised
        place += 1
        drop_pending(stream[1])  # where the interrupt came before the system call
        assert open_now() == before, f"interrupted at place {place}"
    assert place > 20, "the tracer has not found the places"


def open_now():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def drop_pending(sock):
    with contextlib.suppress(BlockingIOError):
        sock.recv(9, socket.MSG_DONTWAIT)


def exhausted(*_: object, **__: object):
    raise MemoryError


@pytest.mark.parametrize("function", ["_numbers", "_own", "_filled", "Message", "ControlMessage", "_close_all"])
@pytest.mark.parametrize("room", [1, 3])
def test_a_failure_in_every_step(unleaking, stream, files, monkeypatch, function, room):
    """MemoryError in each function between the system call and the return."""
    sent = files(3)
    calls = []
    real = getattr(module, function)

    def fail_once(*args, **kwargs):
        calls.append(function)
        return exhausted() if len(calls) == 1 else real(*args, **kwargs)

    monkeypatch.setattr(module, function, fail_once)
    sendmsg(stream[0], [b"data"], sent)
    with pytest.raises(MemoryError):
        recvmsg(stream[1], 9, room)
    assert calls


@pytest.mark.parametrize("function", ["_numbers", "_own", "_filled", "Message", "_close_all"])
def test_a_failure_closes_nothing_twice(unleaking, stream, files, monkeypatch, function):
    """A number closed once may be another thread's by the second time."""
    closed, calls = [], []
    close, real = os.close, getattr(module, function)

    def note(number):
        closed.append(number)
        close(number)

    def fail_once(*args, **kwargs):
        calls.append(function)
        return exhausted() if len(calls) == 1 else real(*args, **kwargs)

    sent = files(4)
    sendmsg(stream[0], [b"data"], sent)
    with monkeypatch.context() as patch:
        patch.setattr(module, function, fail_once)
        patch.setattr(os, "close", note)
        with pytest.raises(MemoryError):
            recvmsg(stream[1], 9, 1, control=64, truncation=Truncation.KEEP)
    assert len(closed) == len(set(closed)) == 4


@pytest.mark.parametrize("count", range(4))
def test_a_failure_while_they_are_wrapped(unleaking, stream, files, monkeypatch, count):
    """MemoryError at each of the descriptors: those before are owned by then, the others not."""
    adopt, calls = Descriptor.adopt, []

    def fail_at(self, number):
        calls.append(number)
        return exhausted() if len(calls) == count + 1 else adopt(self, number)

    monkeypatch.setattr(Descriptor, "adopt", fail_at)
    sendmsg(stream[0], [b"data"], files(4))
    with pytest.raises(MemoryError):
        recvmsg(stream[1], 9, 4)


def fake_receive(monkeypatch, control):
    """Let the kernel seem to return these control messages."""
    monkeypatch.setattr(module, "_socket_recvmsg_into", lambda *_: (1, control, 0, None))


def packed(*numbers):
    return array.array("i", numbers).tobytes()


def test_refused_descriptors_leave_negative_numbers(unleaking, stream, monkeypatch):
    """Kernels that don't cut the list at a refused descriptor put -errno in its place: lost, not a descriptor."""
    number = os.dup(0)
    fake_receive(monkeypatch, [(socket.SOL_SOCKET, socket.SCM_RIGHTS, packed(-errno.EPERM, number))])
    with recvmsg(stream[1], 1, 2, truncation=Truncation.KEEP) as message:
        assert [one.fileno() for one in message.descriptors] == [number]
        assert message.descriptors_lost


def test_a_number_twice_is_owned_once(unleaking, stream, monkeypatch):
    number = os.dup(0)
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, packed(number, number))
    fake_receive(monkeypatch, [rights, rights, (socket.SOL_SOCKET, module.SCM_PIDFD, packed(number))])
    with recvmsg(stream[1], 1, None, truncation=Truncation.KEEP) as message:
        assert [one.fileno() for one in message.descriptors] == [number]
        assert message.pidfd is None


def test_half_an_int_and_control_messages_apart(unleaking, stream, monkeypatch):
    """Unmerged control messages all count, in order; what is no whole int is ignored."""
    numbers = [os.dup(0) for _ in range(3)]
    control = [
        (socket.SOL_SOCKET, socket.SCM_RIGHTS, packed(numbers[0]) + b"\1\2"),
        (0, 0, b""),
        (socket.SOL_SOCKET, socket.SCM_RIGHTS, b"\1"),
        (socket.SOL_SOCKET, socket.SCM_RIGHTS, packed(*numbers[1:])),
    ]
    fake_receive(monkeypatch, control)
    with recvmsg_into(stream[1], [bytearray(1)], 3) as message:
        assert [one.fileno() for one in message.descriptors] == numbers
        assert [(item.level, item.type) for item in message.ancillary] == [(0, 0)]


def test_more_than_one_pidfd(unleaking, stream, monkeypatch):
    numbers = [os.dup(0), os.dup(0)]
    fake_receive(monkeypatch, [(socket.SOL_SOCKET, module.SCM_PIDFD, packed(one)) for one in numbers])
    with recvmsg(stream[1], 1, 0, truncation=Truncation.KEEP) as message:
        assert message.pidfd is not None
        assert message.pidfd.fileno() == numbers[0]


items = st.tuples(
    st.sampled_from([0, socket.SOL_SOCKET, 41]),
    st.sampled_from([0, socket.SCM_RIGHTS, 2, module.SCM_PIDFD, 29]),
    st.one_of(
        st.binary(max_size=11),
        st.lists(st.integers(-200, 2**31 - 1), max_size=5).map(lambda one: struct.pack(f"{len(one)}i", *one)),
    ),
)


@given(st.lists(items, max_size=5))
def test_whatever_comes_as_control_data(control):
    """No control data makes the parser fail, own a number twice, or own one that is negative."""
    rights, pidfds, refused = module._numbers([module.ControlMessage(*item) for item in control])
    assert len({*rights, *pidfds}) == len(rights) + len(pidfds)
    assert all(number >= 0 for number in rights + pidfds)
    whole = sum(
        len(data) // 4 for level, kind, data in control if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    )
    assert len(rights) + refused == whole


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(0, 60))
def test_the_data_is_what_the_buffers_hold(sizes, length):
    buffers = [bytearray(os.urandom(size)) for size in sizes]
    filled = module._filled(buffers, length)
    assert b"".join(filled) == b"".join(buffers)[:length]
    assert all(len(part) <= size for part, size in zip(filled, sizes, strict=True))
