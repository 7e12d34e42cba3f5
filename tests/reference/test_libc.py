"""`libc` and `libcmessage`: interruptions, timeouts, short writes, limits, and what a kernel answers that lies."""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import socket
import sys
import threading
import time

import pytest
import test_message_rescue as rescue
from fdspec.impls.reference import control, libc, libcmessage, ownership
from fdspec.impls.reference import message as module
from fdspec.impls.reference.control import NATIVE, encode
from fdspec.impls.reference.libc import UnfinishedSendError
from fdspec.impls.reference.message import DescriptorsLostError, MalformedControlError, Truncation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
PASSCRED, PASSPIDFD = 16, 76
BIG = os.urandom(3_000_000)


def rights(*numbers):
    return (*RIGHTS, array.array("i", numbers).tobytes())


@contextlib.contextmanager
def alarm(seconds, handler):
    """Run `handler` after as many seconds, and again and again."""
    old = signal.signal(signal.SIGALRM, lambda *_: handler())
    signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def small(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)


def fill(sock):
    """Send until nothing more fits; return how many bytes that were."""
    total = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            total += sock.send(b"f" * 4096, socket.MSG_DONTWAIT)
    return total


def drained(sock, size):
    """Return the next `size` bytes, and the descriptors with the place at which each came."""
    data, found = b"", []
    while len(data) < size:
        part, ancillary, _, _ = sock.recvmsg(min(65536, size - len(data)), 64)
        assert part
        for _, _, packed in ancillary:
            found += [(len(data), number) for number in array.array("i", packed)]
        data += part
    for _, number in found:
        os.close(number)
    return data, [place for place, _ in found]


# --- messages as the first layer has them


@pytest.mark.parametrize("options", [(), (PASSCRED,), (PASSPIDFD,), (PASSCRED, PASSPIDFD)], ids=str)
@pytest.mark.parametrize("room", [0, 1, 2, 3, None])
def test_what_comes_is_what_the_first_layer_brings(unleaking, pair, files, identities, room, options):
    for option in options:
        pair[1].setsockopt(socket.SOL_SOCKET, option, 1)
    sent = files(3)
    for count in range(4):
        found = []
        for layer in (module, libcmessage):
            assert layer.sendmsg(pair[0], [b"one", bytearray(b"two"), b""], sent[:count]) == 6
            with layer.recvmsg(pair[1], [2, 9], room, truncation=Truncation.KEEP) as message:
                items = [(item.level, item.type, len(item.data)) for item in message.control]
                lost = message.descriptors_lost, message.malformed, message.pidfd is None
                content = message.buffers, message.length, message.flags, message.address
                found.append((content, identities(message.descriptors), items, lost))
        assert found[0] == found[1]


def test_too_little_room_is_an_error(unleaking, pair, files):
    libcmessage.sendmsg(pair[0], [b"data"], files(3))
    with pytest.raises(DescriptorsLostError) as caught:
        libcmessage.recvmsg_into(pair[1], [bytearray(9)], 1)
    assert caught.value.errno == errno.ENOBUFS
    assert not isinstance(caught.value, MalformedControlError)


def test_several_control_messages(unleaking, stream, files, identities):
    sent = files(4)
    libcmessage.sendmsg(stream[0], [b"x"], sent[:1], [rights(*sent[1:3]), control.ControlMessage(*rights(sent[3]))])
    with libcmessage.recvmsg(stream[1], 1, 4) as message:
        assert identities(message.descriptors) == identities(sent)


def test_addresses(unleaking, tmp_path, files):
    path, name = str(tmp_path / "socket"), b"\0fdspec-libc-%d" % os.getpid()
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as two,
    ):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nameless:
            one.bind(path)
            libcmessage.sendmsg(nameless, [b"x"], files(1), address=path)
            with libcmessage.recvmsg(one, 1, 1) as message:
                assert (message.address, len(message.descriptors)) == (None, 1)
        two.bind(name)
        for sender, receiver, there, back in ((one, two, name, path), (two, one, path.encode(), name)):
            libcmessage.sendmsg(sender, [b"x"], address=there)
            with libcmessage.recvmsg(receiver, 1) as message:
                assert message.address == back
        with pytest.raises(OSError, match="at most 108 bytes, not 109") as caught:
            libcmessage.sendmsg(one, [b"x"], address="p" * 108)
        assert caught.value.errno == errno.ENAMETOOLONG
        with pytest.raises(TypeError, match="not tuple"):
            libcmessage.sendmsg(one, [b"x"], address=("::1", 1))
        with pytest.raises(FileNotFoundError):
            libcmessage.sendmsg(one, [b"x"], address=str(tmp_path / "none"))


def test_sockets_of_another_family():
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        two.bind(("127.0.0.1", 0))
        one.connect(two.getsockname())
        assert libcmessage.sendmsg(one, [b"data"]) == 4
        with libcmessage.recvmsg(two, 9) as message:
            assert message.data == b"data"
            assert int.from_bytes(message.address[2:4], "big") == one.getsockname()[1]
        with pytest.raises(module.UnsupportedSocketError):
            libcmessage.send_all(one, [b"data"])


# --- limits and errors


def test_1024_buffers_and_no_more(unleaking, pair, files):
    (fd,) = files(1)
    assert libcmessage.sendmsg(pair[0], [b"x"] * 1024, [fd]) == 1024
    with libcmessage.recvmsg(pair[1], [1] * 1024, 1) as message:
        assert (message.data, len(message.descriptors)) == (b"x" * 1024, 1)
    with pytest.raises(OSError, match="Message too long") as caught:
        libcmessage.sendmsg(pair[0], [b"x"] * 1025, [fd])
    assert caught.value.errno == errno.EMSGSIZE
    libcmessage.sendmsg(pair[0], [b"y"], [fd])
    with pytest.raises(OSError, match="Message too long"):
        libcmessage.recvmsg(pair[1], [1] * 1025, 1)
    with libcmessage.recvmsg(pair[1], 9, 1) as message:
        assert (message.data, len(message.descriptors)) == (b"y", 1)


def test_any_number_of_buffers_of_a_stream(unleaking, stream, files):
    parts = [bytes([index % 256]) for index in range(3000)] + [b""] * 5
    assert libcmessage.send_all(stream[0], parts, files(1)) == 3000
    assert drained(stream[1], 3000) == (b"".join(parts), [0])


def test_numbers_that_c_cannot_hold(pair):
    for size in (-1, 2**31):
        with pytest.raises(ValueError, match=f"between 0 and 2147483647, not {size}"):
            libc.recvmsg_into(pair[1], [bytearray(1)], size)
    for flags in (2**31, -(2**31)):
        with pytest.raises(OverflowError, match=f"not {flags}"):
            libc.sendmsg(pair[0], [b"x"], flags=flags)
    for sock in (-1, 2**31):
        with pytest.raises(OSError, match=f"{sock} is no descriptor") as caught:
            libc.sendmsg(sock, [b"x"])
        assert caught.value.errno == errno.EBADF
    pair[0].close()
    with pytest.raises(OSError, match="-1 is no descriptor"):
        libc.sendmsg(pair[0], [b"x"])


def test_what_is_no_buffer(pair):
    for wrong in ("text", 3):
        with pytest.raises(TypeError):
            libc.sendmsg(pair[0], [wrong])
    for wrong in (b"bytes", "text", memoryview(b"bytes")):
        with pytest.raises(TypeError):
            libc.recvmsg_into(pair[1], [wrong])


def test_errors_of_the_system(tmp_path, stream):
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="non-socket") as caught:
        libc.sendmsg(file.fileno(), [b"x"])
    assert caught.value.errno == errno.ENOTSOCK
    stream[1].close()
    for send in (libcmessage.sendmsg, libcmessage.send_all):
        with pytest.raises(BrokenPipeError):
            send(stream[0], [b"x"])


def test_the_buffers_are_free_after_an_error(stream):
    buffer = bytearray(9)
    with pytest.raises(BlockingIOError) as caught:
        libc.recvmsg_into(stream[1], [buffer], 64, socket.MSG_DONTWAIT)
    assert caught.value.__traceback__ is not None
    buffer.extend(b"more")


def test_a_plain_number_and_an_empty_buffer(unleaking, stream, files):
    (fd,) = files(1)
    assert libc.sendmsg(stream[0].fileno(), [b"", b"ab", memoryview(b"-c-d")[1::2]], encode([rights(fd)])) == 4
    into = bytearray(9)
    length, raw, flags, address = libc.recvmsg_into(stream[1].fileno(), [bytearray(), into], NATIVE.length(4))
    assert (length, bytes(into[:4]), flags, address) == (4, b"abcd", 0, None)
    (number,) = control.numbers(control.decode(raw).messages)[0]
    os.close(number)


# --- interruptions and timeouts


def test_an_interrupted_receive_goes_on(unleaking, stream, files):
    (fd,) = files(1)
    runs = []

    def handler():
        runs.append(fd)
        if len(runs) == 3:
            stream[0].sendmsg([b"late"], [rights(fd)])

    with alarm(0.02, handler), libcmessage.recvmsg(stream[1], 9, 1) as message:
        assert (message.data, len(message.descriptors)) == (b"late", 1)
    assert len(runs) >= 3


@pytest.mark.parametrize("send", [libcmessage.sendmsg, libcmessage.send_all])
def test_an_interrupted_send_goes_on(unleaking, stream, files, send):
    size = fill(stream[0])
    runs = []

    def handler():
        runs.append(size)
        if len(runs) == 3:
            stream[1].recv(size, socket.MSG_WAITALL)

    with alarm(0.02, handler):
        assert send(stream[0], [b"late"], files(1)) == 4
    assert len(runs) >= 3
    assert drained(stream[1], 4) == (b"late", [0])


@pytest.mark.parametrize("timeout", [None, 20])
def test_what_a_handler_raises_comes_out(unleaking, stream, files, timeout):
    class Stop(Exception):
        pass

    def handler():
        raise Stop

    stream[1].settimeout(timeout)
    with pytest.raises(Stop), alarm(0.03, handler):
        libcmessage.recvmsg(stream[1], 9, 1)
    libcmessage.sendmsg(stream[0], [b"x"], files(1))
    with libcmessage.recvmsg(stream[1], 9, 1) as message:
        assert len(message.descriptors) == 1


def test_a_timeout_is_kept_through_interruptions(stream):
    stream[1].settimeout(0.1)
    begin = time.monotonic()
    with alarm(0.01, lambda: None), pytest.raises(TimeoutError) as caught:
        libcmessage.recvmsg(stream[1], 9, 1)
    assert caught.value.errno == errno.ETIMEDOUT
    assert 0.09 < time.monotonic() - begin < 5
    fill(stream[0])
    stream[0].settimeout(0.01)
    for send in (libcmessage.sendmsg, libcmessage.send_all):
        with pytest.raises(TimeoutError):
            send(stream[0], [b"x"])


def test_without_blocking(unleaking, stream, files):
    stream[0].setblocking(False)
    stream[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        libcmessage.recvmsg(stream[1], 9, 1)
    size = fill(stream[0])
    for send in (libcmessage.sendmsg, libcmessage.send_all):
        with pytest.raises(BlockingIOError):
            send(stream[0], [b"x"], files(1))
    stream[1].setblocking(True)
    assert drained(stream[1], size) == (b"f" * size, [])


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # a result dropped on its way to the caller closes itself
@pytest.mark.parametrize(
    "arguments", [{"room": 3}, {"room": 2}, {"room": 1, "control": 64}], ids=["all", "cut", "excess"]
)
@pytest.mark.parametrize("layer", [module, libcmessage], ids=["socket", "libc"])
def test_an_interrupt_at_any_place_of_all_modules(stream, files, monkeypatch, layer, arguments):
    """KeyboardInterrupt at every place in the layer, the parser and the call: nothing that came stays open."""
    monkeypatch.setattr(rescue, "OURS", {one.__file__ for one in (module, ownership, control, libc, libcmessage)})
    monkeypatch.setattr(rescue, "recvmsg", layer.recvmsg)
    sent = files(3)
    stream[1].setsockopt(socket.SOL_SOCKET, PASSPIDFD, 1)
    before = rescue.open_now()
    place, interrupted = 0, True
    old = sys.gettrace()
    while interrupted:
        layer.sendmsg(stream[0], [b"data"], sent)
        tracer = rescue.Interruption(place)
        sys.settrace(tracer)
        try:
            rescue.receive(stream[1], arguments)
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(old)
            tracer.before.clear()
        interrupted = tracer.raised
        place += 1
        rescue.drop_pending(stream[1])
        assert rescue.open_now() == before, f"interrupted at place {place}"
    assert place > 40, "the tracer has not found the places"


# --- send_all


@pytest.mark.parametrize("cut", [1, 7, 1_000_000])
def test_all_is_sent_and_the_descriptor_once(unleaking, stream, files, cut):
    small(stream[0])
    found = []
    thread = threading.Thread(target=lambda: found.append(drained(stream[1], len(BIG))))
    thread.start()
    assert libcmessage.send_all(stream[0], [BIG[:cut], b"", bytearray(BIG[cut:])], files(1)) == len(BIG)
    thread.join()
    assert found == [(BIG, [0])]


def test_a_short_write_is_told_where_nothing_waits(unleaking, stream, files):
    small(stream[0])
    stream[0].setblocking(False)
    sent = libcmessage.send_all(stream[0], [BIG[:10], BIG[10:]], files(1))
    assert 10 < sent < len(BIG)
    assert drained(stream[1], sent) == (BIG[:sent], [0])
    stream[0].setblocking(True)
    sent = libcmessage.send_all(stream[0], [BIG], flags=socket.MSG_DONTWAIT)
    assert 0 < sent < len(BIG)


def test_a_timeout_half_way_tells_how_far(unleaking, stream, files):
    small(stream[0])
    stream[0].settimeout(0.05)
    with pytest.raises(UnfinishedSendError, match=r"timed out; [0-9]+ bytes were sent") as caught:
        libcmessage.send_all(stream[0], [BIG], files(1))
    error = caught.value
    assert error.errno == errno.ETIMEDOUT
    assert isinstance(error.__cause__, TimeoutError)
    assert drained(stream[1], error.sent) == (BIG[: error.sent], [0])
    with pytest.raises(BlockingIOError):
        stream[1].recv(1, socket.MSG_DONTWAIT)


def test_a_peer_that_goes_half_way(unleaking, stream, files):
    small(stream[0])

    def leave():
        drained(stream[1], 200_000)
        stream[1].close()

    thread = threading.Thread(target=leave)
    thread.start()
    with pytest.raises(UnfinishedSendError) as caught:
        libcmessage.send_all(stream[0], [BIG], files(1))
    thread.join()
    assert caught.value.errno in (errno.EPIPE, errno.ECONNRESET)
    assert 200_000 <= caught.value.sent < len(BIG)


class FakeSend:
    """A sendmsg that answers as told: a number of bytes taken, or minus an errno. It keeps what it took."""

    def __init__(self, answers):
        self.answers = list(answers)
        self.data = b""
        self.control_at = []

    def __call__(self, _number, reference, _flags):
        header = reference._obj
        count = header.msg_iovlen
        assert count <= 1024
        vectors = (libc._Iovec * count).from_address(header.msg_iov) if count else ()
        data = b"".join(ctypes.string_at(one.iov_base, one.iov_len) for one in vectors)
        answer = self.answers.pop(0) if self.answers else len(data)
        if answer < 0:
            ctypes.set_errno(-answer)
            return -1
        if header.msg_controllen:
            assert ctypes.string_at(header.msg_control, header.msg_controllen) == encode([rights(1)])
            self.control_at.append(len(self.data))
        taken = min(answer, len(data))
        self.data += data[:taken]
        return taken


answers = st.lists(st.sampled_from([1, 2, 3, 5, 8, 13, -errno.EINTR, -errno.EAGAIN]), max_size=12)
contents = st.lists(st.binary(max_size=6), max_size=9)


@given(contents, answers)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_short_write(monkeypatch, buffers, plan):
    """Whatever the kernel takes at a time, all goes once and in order, and control data with the first byte."""
    fake = FakeSend(plan)
    monkeypatch.setattr(libc, "_sendmsg", fake)
    left, right = socket.socketpair()
    with left, right:
        assert libc.send_all(left, buffers, encode([rights(1)])) == len(b"".join(buffers))
    assert (fake.data, fake.control_at) == (b"".join(buffers), [0])


@given(contents, answers.filter(lambda plan: all(answer != -errno.EAGAIN for answer in plan)))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_every_error_half_way(monkeypatch, buffers, plan):
    fake = FakeSend([*plan, -errno.ENOBUFS])
    monkeypatch.setattr(libc, "_sendmsg", fake)
    left, right = socket.socketpair()
    with left, right:
        failure = None
        try:
            sent = libc.send_all(left, buffers, encode([rights(1)]))
        except OSError as error:
            failure = error
    if failure is not None:
        sent = getattr(failure, "sent", 0)
        assert failure.errno == errno.ENOBUFS
        assert bool(sent) == isinstance(failure, UnfinishedSendError)
    assert fake.data == b"".join(buffers)[:sent]
    assert fake.control_at == ([0] if sent or len(fake.answers) else [])


def test_a_kernel_that_takes_nothing_is_not_asked_for_ever(monkeypatch, stream):
    monkeypatch.setattr(libc, "_sendmsg", FakeSend([2, 0]))
    with pytest.raises(UnfinishedSendError, match="took nothing; 2 bytes were sent"):
        libc.send_all(stream[0], [b"data"])


# --- a kernel that lies


class FakeReceive:
    """A recvmsg that writes this control data, and says that it was this much."""

    def __init__(self, raw, *, says=None, flags=0, result=1, failure=None):
        self.raw, self.says, self.flags, self.result, self.failure = raw, says, flags, result, failure
        self.rooms = []

    def __call__(self, _number, reference, _flags):
        header = reference._obj
        self.rooms.append(header.msg_controllen)
        ctypes.memmove(header.msg_control, self.raw, min(len(self.raw), header.msg_controllen))
        header.msg_controllen = len(self.raw) if self.says is None else self.says
        header.msg_flags = self.flags
        header.msg_namelen = 9999
        if self.failure is not None:
            code, self.failure = self.failure, None
            ctypes.set_errno(code)
            return -1
        return self.result


@pytest.fixture
def kernel(monkeypatch, stream):
    """Let the kernel answer so, and receive with room for four."""

    def receive(fake, **arguments):
        monkeypatch.setattr(libc, "_recvmsg", fake)
        return libcmessage.recvmsg(stream[1], 1, 4, control=256, **arguments)

    return receive


def damaged(length):
    return NATIVE.cmsghdr.pack(length, *RIGHTS) + b"\1\0\0\0\2\0\0\0"


@pytest.mark.parametrize("length", [0, 1, 15])
def test_malformed_control_data_is_an_error(unleaking, kernel, length):
    numbers = [os.dup(0), os.dup(0)]
    with pytest.raises(MalformedControlError) as caught:
        kernel(FakeReceive(encode([rights(*numbers)]) + damaged(length)))
    assert caught.value.errno == errno.EBADMSG
    assert f"cmsg_len is {length} at byte 24 of 48" in str(caught.value)
    assert "2 descriptors that could be read are closed" in str(caught.value)
    assert caught.value.data == b"\0"


def test_malformed_control_data_can_be_kept(unleaking, kernel):
    number = os.dup(0)
    fake = FakeReceive(encode([rights(number)]) + damaged(0))
    with kernel(fake, truncation=Truncation.KEEP) as message:
        assert [one.fileno() for one in message.descriptors] == [number]
        assert message.malformed is not None
        assert message.descriptors_lost


@pytest.mark.parametrize("length", [40, 2**40, 2**64 - 1, 2**64 - 16])
def test_a_length_beyond_what_came(unleaking, kernel, length):
    """What lies within the bytes that came is received; the rest is lost, and said to be."""
    number = os.dup(0)
    raw = NATIVE.cmsghdr.pack(length, *RIGHTS) + array.array("i", [number]).tobytes()
    with kernel(FakeReceive(raw), truncation=Truncation.KEEP) as message:
        assert [one.fileno() for one in message.descriptors] == [number]
        assert message.descriptors_lost
        assert message.malformed is None
    with pytest.raises(DescriptorsLostError):
        kernel(FakeReceive(NATIVE.cmsghdr.pack(length, *RIGHTS) + b"\1\2"))


def test_more_control_data_than_there_was_room_for(unleaking, kernel):
    number = os.dup(0)
    raw = encode([rights(number)])
    with pytest.raises(MalformedControlError, match="cmsg_len is 0 at byte 24 of 256"):
        kernel(FakeReceive(raw, says=2**40))


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EMFILE, errno.EAGAIN, errno.EFAULT])
def test_a_failed_receive_has_brought_nothing(unleaking, kernel, code):
    number = os.dup(0)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        kernel(FakeReceive(encode([rights(number)]), failure=code))
    assert caught.value.errno == code
    os.close(number)  # nobody else has


def test_what_an_interrupted_call_wrote_is_forgotten(unleaking, kernel):
    number = os.dup(0)
    fake = FakeReceive(encode([rights(number)]), failure=errno.EINTR)
    with kernel(fake) as message:
        assert [one.fileno() for one in message.descriptors] == [number]
    assert fake.rooms == [256, 256]


def test_refused_descriptors(unleaking, kernel):
    number = os.dup(0)
    with kernel(FakeReceive(encode([rights(-1, number)])), truncation=Truncation.KEEP) as message:
        assert [one.fileno() for one in message.descriptors] == [number]
        assert message.descriptors_lost


# --- close-on-exec


@pytest.fixture
def ignoring(monkeypatch):
    """A kernel that does not know MSG_CMSG_CLOEXEC."""
    real = libc._recvmsg
    monkeypatch.setattr(
        libc, "_recvmsg", lambda number, header, flags: real(number, header, flags & ~socket.MSG_CMSG_CLOEXEC)
    )


def test_close_on_exec_from_the_first_instant(unleaking, pair, files, monkeypatch):
    calls = []
    real = fcntl.fcntl
    monkeypatch.setattr(fcntl, "fcntl", lambda number, *rest: (calls.append(rest), real(number, *rest))[1])
    libcmessage.sendmsg(pair[0], [b"x"], files(2))
    with libcmessage.recvmsg(pair[1], 1, 2) as message:
        assert not any(os.get_inheritable(one.fileno()) for one in message.descriptors)
    assert calls == [(fcntl.F_GETFD,)] * 2
    calls.clear()
    libcmessage.sendmsg(pair[0], [b"x"], files(1))
    libcmessage.recvmsg(pair[1], 1, 1, verify=False).close()
    libcmessage.sendmsg(pair[0], [b"x"], files(1))
    with libcmessage.recvmsg(pair[1], 1, 1, inheritable=True) as message:
        assert os.get_inheritable(message.descriptors[0].fileno())
    assert calls == []


def test_close_on_exec_where_the_kernel_ignores_the_flag(unleaking, pair, files, ignoring):
    for verify in (True, False):
        libcmessage.sendmsg(pair[0], [b"x"], files(2))
        with libcmessage.recvmsg(pair[1], 1, 2, verify=verify) as message:
            assert [os.get_inheritable(one.fileno()) for one in message.descriptors] == [not verify] * 2


@pytest.mark.parametrize("nth", range(4))
def test_close_on_exec_that_cannot_be_set(unleaking, pair, files, ignoring, monkeypatch, nth):
    real, calls = fcntl.fcntl, []

    def fails(*arguments):
        calls.append(arguments)
        if len(calls) == nth + 1:
            raise OSError(errno.EBADF, "no")
        return real(*arguments)

    libcmessage.sendmsg(pair[0], [b"x"], files(2))
    monkeypatch.setattr(fcntl, "fcntl", fails)
    with pytest.raises(OSError, match="no"):
        libcmessage.recvmsg(pair[1], 1, 2)
