"""`message.sendmsg`: what is sent, what is refused before anything is lost, and that the caller keeps its own."""

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
import subprocess
import sys

import pytest
from fdspec.impls.reference.message import (
    SCM_MAX_FD,
    BadDescriptorError,
    ControlMessage,
    Descriptor,
    NoDataError,
    PassingError,
    TooManyDescriptorsError,
    UnsupportedSocketError,
    recvmsg,
    sendmsg,
)

RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)


def nothing_came(sock):
    with pytest.raises(BlockingIOError):
        sock.recv(1, socket.MSG_DONTWAIT)


def test_order_and_identity(unleaking, pair, files, identities):
    sent = files(10)
    assert sendmsg(pair[0], [b"data"], sent) == 4
    with recvmsg(pair[1], 10, 10) as message:
        assert message.data == b"data"
        assert identities(message.descriptors) == identities(sent)
        assert not set(sent) & {one.fileno() for one in message.descriptors}


def test_the_same_twice(unleaking, pair, files, identities):
    [file] = files(1)
    sendmsg(pair[0], [b"x"], [file, file])
    with recvmsg(pair[1], 1, 2) as message:
        assert identities(message.descriptors) == identities([file, file])
        assert len({one.fileno() for one in message.descriptors}) == 2


def test_anything_with_a_fileno(unleaking, stream, files, tmp_path, identities):
    [number] = files(1)
    with (tmp_path / "beside").open("w") as file, Descriptor.duplicate(number) as owned:
        sendmsg(stream[0], [b"x"], (one for one in [number, file, owned, stream[0]]))
        with recvmsg(stream[1], 1, 4) as message:
            assert identities(message.descriptors) == identities([number, file, owned, stream[0]])


def test_an_object_that_only_the_iterable_held_stays_open(unleaking, stream, files, identities):
    [number] = files(1)
    expected = identities([number])

    class Fleeting:
        def __init__(self):
            self.number = os.dup(number)

        def fileno(self):
            return self.number

        def __del__(self):
            os.close(self.number)

    sendmsg(stream[0], [b"x"], (Fleeting() for _ in range(1)))
    with recvmsg(stream[1], 1, 1) as message:
        assert identities(message.descriptors) == expected


def test_number_zero(unleaking, stream, identities):
    sendmsg(stream[0], [b"x"], [0])
    with recvmsg(stream[1], 1, 1) as message:
        assert identities(message.descriptors) == identities([0])


def test_gather_with_empty_entries_and_other_buffers(unleaking, pair):
    parts = [b"", b"one", bytearray(), memoryview(b"-two-")[1:-1], array.array("H", [0x4141]), b""]
    assert sendmsg(pair[0], iter(parts)) == 8
    assert recvmsg(pair[1], 100).data == b"onetwoAA"


def test_1024_buffers_and_1025(pair, files):
    assert sendmsg(pair[0], [b"x"] * 1024) == 1024
    with pytest.raises(OSError, match="Errno") as caught:
        sendmsg(pair[0], [b"x"] * 1025, files(1))
    assert caught.value.errno == errno.EMSGSIZE
    assert pair[1].recv(4096) == b"x" * 1024
    nothing_came(pair[1])


@pytest.mark.parametrize("one", [b"data", bytearray(b"data"), memoryview(b"data"), "data"])
def test_one_buffer_is_not_a_list_of_buffers(stream, one):
    with pytest.raises(TypeError, match="list of buffers"):
        sendmsg(stream[0], one)
    nothing_came(stream[1])


def test_more_than_one_message_holds(stream, files):
    [file] = files(1)
    with pytest.raises(TooManyDescriptorsError, match="254") as caught:
        sendmsg(stream[0], [b"x"], [file] * 254)
    assert caught.value.errno == errno.EINVAL
    nothing_came(stream[1])


def test_as_many_as_one_message_holds(unleaking, pair, files):
    [file] = files(1)
    sendmsg(pair[0], [b"x"], [file] * SCM_MAX_FD)
    with recvmsg(pair[1], 1, SCM_MAX_FD) as message:
        assert len(message.descriptors) == SCM_MAX_FD


@pytest.mark.parametrize("bad", [-1, -100, 2**31, 2**80])
def test_a_number_that_cannot_be(stream, files, bad):
    with pytest.raises(BadDescriptorError) as caught:
        sendmsg(stream[0], [b"x"], [*files(1), bad])
    assert caught.value.errno == errno.EBADF
    nothing_came(stream[1])


def test_a_number_that_is_not_open(stream, files):
    good, closed = *files(1), os.dup(0)
    os.close(closed)
    with pytest.raises(OSError, match="Errno") as caught:
        sendmsg(stream[0], [b"x"], [good, closed])
    assert caught.value.errno == errno.EBADF
    nothing_came(stream[1])


@pytest.mark.parametrize("bad", [True, None, 1.5, "3", b"3"])
def test_a_descriptor_of_a_wrong_type(stream, bad):
    with pytest.raises(TypeError):
        sendmsg(stream[0], [b"x"], [bad])
    nothing_came(stream[1])


@pytest.mark.parametrize("bad", [object(), (1, 1), (1, 1, b"", 4), [1, 1, b""], (object(), 1, b""), (1, 1, "text")])
def test_a_control_message_of_a_wrong_type(stream, bad):
    with pytest.raises(TypeError):
        sendmsg(stream[0], [b"x"], (), [bad])
    nothing_came(stream[1])


@pytest.mark.parametrize("buffers", [[], [b""], [b"", bytearray()]])
def test_no_data_on_a_stream(stream, files, buffers):
    sent = files(1)
    with pytest.raises(NoDataError) as caught:
        sendmsg(stream[0], buffers, sent)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(NoDataError):
        sendmsg(stream[0], buffers, (), [(*RIGHTS, struct.pack("i", sent[0]))])
    assert sendmsg(stream[0], buffers) == 0
    assert sendmsg(stream[0], buffers, (), [(*RIGHTS, b"")]) == 0


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_no_data_in_a_packet(unleaking, files, identities, kind):
    sent = files(1)
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    with left, right:
        assert sendmsg(left, [], sent) == 0
        with recvmsg(right, 1, 1) as message:
            assert (message.length, message.data) == (0, b"")
            assert identities(message.descriptors) == identities(sent)


def test_a_socket_that_would_drop_them(files):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        with pytest.raises(UnsupportedSocketError) as caught:
            sendmsg(udp, [b"x"], files(1), address=udp.getsockname())
        assert caught.value.errno == errno.EOPNOTSUPP
        nothing_came(udp)


def test_every_error_is_one_family():
    for error in (BadDescriptorError, NoDataError, TooManyDescriptorsError, UnsupportedSocketError):
        assert issubclass(error, PassingError)
    assert issubclass(PassingError, OSError)


def test_rights_as_bytes_several_of_them_and_beside_descriptors(unleaking, pair, files, identities):
    first, second, third = files(3)
    raw = [ControlMessage(*RIGHTS, struct.pack("i", second)), (*RIGHTS, struct.pack("i", third))]
    sendmsg(pair[0], [b"x"], [first], raw)
    with recvmsg(pair[1], 1, 3) as message:
        assert identities(message.descriptors) == identities([first, second, third])


def test_odd_control_messages_reach_the_kernel(stream):
    with pytest.raises(OSError, match="Errno") as caught:
        sendmsg(stream[0], [b"x"], (), [(socket.SOL_SOCKET, 99, b"data")])
    assert caught.value.errno == errno.EINVAL
    assert sendmsg(stream[0], [b"x"], (), [(41, 1, b"another level")]) == 1


def test_address_takes_effect(unleaking, tmp_path, files, identities):
    sent = files(1)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(str(tmp_path / "to"))
        sender.bind(str(tmp_path / "from"))
        sendmsg(sender, [b"x"], sent, address=str(tmp_path / "to"))
        with recvmsg(receiver, 1, 1) as message:
            assert message.address == str(tmp_path / "from")
            assert identities(message.descriptors) == identities(sent)


def test_a_full_socket_takes_nothing(unleaking, stream, files):
    reader, writer = os.pipe()
    stream[0].setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while sendmsg(stream[0], [b"x" * 4096]):
            pass
    with pytest.raises(BlockingIOError):
        sendmsg(stream[0], [b"x"], [writer], flags=socket.MSG_DONTWAIT)
    os.close(writer)
    assert os.read(reader, 1) == b"", "a reference to the writing end was kept"
    os.close(reader)


def test_a_short_write_sends_the_descriptors_once(unleaking, stream, files, identities):
    stream[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)
    stream[0].setblocking(False)
    sent, data = files(3), os.urandom(100 * 1024)
    count = sendmsg(stream[0], [data], sent)
    assert 0 < count < len(data)
    came, descriptors = b"", []
    while len(came) < count:
        message = recvmsg(stream[1], 4096, 253)
        came += message.data
        descriptors += message.descriptors
    assert came == data[:count]
    assert identities(descriptors) == identities(sent)
    for one in descriptors:
        one.close()


def test_no_signal_and_a_typed_error_when_the_peer_is_gone(unleaking, stream, files):
    stream[1].close()
    with pytest.raises(BrokenPipeError):
        sendmsg(stream[0], [b"x"], files(1))


def test_no_signal_where_signals_kill():
    """MSG_NOSIGNAL: a program with the default action for SIGPIPE survives too, and gets EPIPE."""
    program = """
import signal, socket
from fdspec.impls.reference.message import sendmsg
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
left, right = socket.socketpair()
right.close()
try:
    sendmsg(left, [b"x"], [0])
except BrokenPipeError:
    print("EPIPE")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, "EPIPE\n"), done.stderr


def test_a_closed_socket(stream, files):
    stream[0].close()
    with pytest.raises(OSError, match="Errno") as caught:
        sendmsg(stream[0], [b"x"], files(1))
    assert caught.value.errno == errno.EBADF


def test_what_the_caller_owns_is_not_changed(unleaking, pair, files):
    sent = files(2)
    os.set_inheritable(sent[0], True)
    os.lseek(sent[1], 7, os.SEEK_SET)

    def state():
        return [
            (fcntl.fcntl(one, fcntl.F_GETFD), fcntl.fcntl(one, fcntl.F_GETFL), os.lseek(one, 0, os.SEEK_CUR))
            for one in sent
        ]

    before = state()
    with Descriptor.duplicate(sent[0]) as owned:
        sendmsg(pair[0], [b"x"], [*sent, owned])
        assert not owned.closed
    recvmsg(pair[1], 1, 3).close()
    assert state() == before
