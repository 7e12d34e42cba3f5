"""`message.recvmsg`: exact room, truncation, other control messages, flags, buffers, and no descriptor left behind."""

import array
import errno
import fcntl
import os
import signal
import socket
import struct
import threading
from pathlib import Path

import pytest
from fdspec.impls.reference import message as module
from fdspec.impls.reference.message import (
    SCM_PIDFD,
    Descriptor,
    DescriptorsLostError,
    Truncation,
    recvmsg,
    recvmsg_into,
    sendmsg,
)
from loopkit import free_numbers

# Options that put control messages beside the descriptors, and the types of those messages.
PASSCRED, PASSSEC, TIMESTAMP, TIMESTAMPNS, TIMESTAMPING, PASSPIDFD, INQ = 16, 34, 29, 35, 37, 76, 84
RX_SOFTWARE = 1 << 3 | 1 << 4
BESIDE = [
    {},
    {PASSCRED: 1},
    {PASSSEC: 1},
    {TIMESTAMP: 1},
    {TIMESTAMPNS: 1},
    {TIMESTAMP: 1, TIMESTAMPING: RX_SOFTWARE},
    {PASSPIDFD: 1},
    {PASSCRED: 1, TIMESTAMP: 1},
    {PASSCRED: 1, PASSSEC: 1, TIMESTAMPNS: 1, PASSPIDFD: 1},
]
SHORT = {
    PASSCRED: "cred",
    PASSSEC: "sec",
    TIMESTAMP: "time",
    TIMESTAMPNS: "timens",
    TIMESTAMPING: "timing",
    PASSPIDFD: "pidfd",
}


def told(options):
    return "+".join(SHORT[option] for option in options) or "none"


def switch_on(sock, options):
    for option, value in options.items():
        try:
            sock.setsockopt(socket.SOL_SOCKET, option, value)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:  # an older kernel, which delivers nothing of the kind
                raise


@pytest.mark.parametrize("options", BESIDE, ids=told)
@pytest.mark.parametrize("room", range(6))
def test_room_is_exact(unleaking, pair, files, identities, room, options):
    """Rooms from 0 to 5 by 0 to 6 descriptors, beside whatever else the socket delivers: never more, never fewer."""
    switch_on(pair[1], options)
    sent = files(6)
    for count in range(7):
        sendmsg(pair[0], [b"x"], sent[:count])
        with recvmsg(pair[1], 9, room, truncation=Truncation.KEEP) as message:
            assert message.data == b"x"
            assert identities(message.descriptors) == identities(sent[: min(count, room)])
            assert message.descriptors_lost == (count > room)
            assert (PASSCRED in options) == any(item.type == 2 for item in message.ancillary)
            if PASSPIDFD in options and count <= room:
                assert message.pidfd is not None
                assert not message.pidfd.closed
        sendmsg(pair[0], [b"y"], sent[:count])
        if count <= room:
            with recvmsg(pair[1], 9, room) as message:
                assert identities(message.descriptors) == identities(sent[:count])
        else:
            with pytest.raises(DescriptorsLostError) as caught:
                recvmsg(pair[1], 9, room)
            assert caught.value.data == b"y"
            assert caught.value.flags & socket.MSG_CTRUNC
            assert caught.value.errno == errno.ENOBUFS
            assert caught.value.message.descriptors == ()
            assert caught.value.message.pidfd is None
            assert f"room for {room}" in str(caught.value)


# Not beside SO_PASSSEC, whose label has no fixed size, nor a pidfd, which comes behind the descriptors.
@pytest.mark.parametrize("options", [one for one in BESIDE if not {PASSSEC, PASSPIDFD} & one.keys()], ids=told)
def test_the_kernel_is_told_the_exact_room(unleaking, pair, files, options, monkeypatch):
    """What comes in front does not let more descriptors be installed than asked for, not even to be closed at once."""
    switch_on(pair[1], options)
    adopted = []
    adopt = Descriptor.adopt
    monkeypatch.setattr(Descriptor, "adopt", lambda self, number: (adopted.append(number), adopt(self, number))[1])
    sendmsg(pair[0], [b"x"], files(6))
    recvmsg(pair[1], 1, 3, truncation=Truncation.KEEP).close()
    assert len(adopted) == 3


def test_pidfd_is_owned_and_number_zero_is_no_exception(unleaking, stream):
    switch_on(stream[1], {PASSPIDFD: 1})
    sendmsg(stream[0], [b"x"])
    message = recvmsg(stream[1], 1)
    if message.pidfd is None:
        pytest.fail("this kernel has no SO_PASSPIDFD: the test cannot prove anything")
    number = message.pidfd.fileno()
    assert message.ancillary == ()
    assert [item.type for item in message.control] == [SCM_PIDFD]
    assert "Pid:" in Path(f"/proc/self/fdinfo/{number}").read_text(encoding="ascii")
    message.close()
    message.close()
    assert message.pidfd.closed
    item = module.ControlMessage(socket.SOL_SOCKET, SCM_PIDFD, struct.pack("i", 0))
    zero = module.Message(1, control=(item,))
    assert zero.ancillary == ()


def test_a_pidfd_that_could_not_be_made_is_no_descriptor(unleaking, stream):
    switch_on(stream[1], {PASSPIDFD: 1})
    sendmsg(stream[0], [b"x"])
    with free_numbers(0):
        message = recvmsg(stream[1], 1, 1)
    assert message.pidfd is None
    assert [(item.type, struct.unpack("i", item.data)) for item in message.ancillary] == [(SCM_PIDFD, (-errno.EMFILE,))]
    assert not message.descriptors_lost


def test_so_inq_with_a_given_control(unleaking, stream, files, identities):
    """SO_INQ can't be asked for: `control` makes space for it."""
    sent = files(1)
    switch_on(stream[1], {INQ: 1})
    sendmsg(stream[0], [b"abc"], sent)
    with recvmsg(stream[1], 2, 1, control=socket.CMSG_SPACE(4) * 2) as message:
        assert identities(message.descriptors) == identities(sent)
        assert all(item.type == INQ for item in message.ancillary)


@pytest.mark.parametrize("control", range(0, 64, 4))
def test_control_is_msg_controllen(unleaking, pair, files, control):
    """The kernel's rule: as many as fit behind the header, to the byte; `room` still bounds what is handed out."""
    sent = files(6)
    fitting = max(0, (control - socket.CMSG_LEN(0)) // 4)
    sendmsg(pair[0], [b"x"], sent)
    with recvmsg(pair[1], 1, None, control=control, truncation=Truncation.KEEP) as message:
        assert len(message.descriptors) == min(fitting, 6)
        assert message.descriptors_lost == (fitting < 6)
    sendmsg(pair[0], [b"x"], sent)
    with recvmsg(pair[1], 1, 2, control=control, truncation=Truncation.KEEP) as message:
        assert len(message.descriptors) == min(fitting, 2)
        assert message.descriptors_lost


def test_room_without_limit(unleaking, pair, files):
    sendmsg(pair[0], [b"x"], files(1) * 253)
    with recvmsg(pair[1], 1, None) as message:
        assert len(message.descriptors) == 253


@pytest.mark.parametrize("bad", [{"sizes": -1}, {"sizes": [1, -1]}, {"room": -1}, {"control": -1}])
def test_a_negative_size(stream, bad):
    stream[0].send(b"x")
    with pytest.raises(ValueError, match=r"negative|room|invalid"):
        recvmsg(stream[1], **{"sizes": 1, **bad})
    assert stream[1].recv(1) == b"x"


@pytest.mark.parametrize("slots", range(4))
def test_the_limit_of_open_files(unleaking, pair, files, identities, slots):
    sent = files(3)
    sendmsg(pair[0], [b"one"], sent)
    sendmsg(pair[0], [b"two"], sent)
    with free_numbers(slots):
        kept = recvmsg(pair[1], 9, 5, truncation=Truncation.KEEP)
        assert identities(kept.descriptors) == identities(sent[:slots])
        assert kept.descriptors_lost == (slots < 3)
        assert kept.data == b"one"
        kept.close()
        if slots == 3:
            recvmsg(pair[1], 9, 5).close()
        else:
            with pytest.raises(DescriptorsLostError) as caught:
                recvmsg(pair[1], 9, 5)
            assert caught.value.errno == errno.EMFILE
            assert caught.value.data == b"two"
    sendmsg(pair[0], [b"after"], sent)
    with recvmsg(pair[1], 9, 3) as message:
        assert message.data == b"after"
        assert identities(message.descriptors) == identities(sent)


def test_close_on_exec_unless_asked_otherwise(unleaking, pair, files):
    for inheritable in (False, True):
        sendmsg(pair[0], [b"x"], files(2))
        with recvmsg(pair[1], 1, 2, inheritable=inheritable) as message:
            flags = [fcntl.fcntl(one.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC for one in message.descriptors]
            assert flags == [0, 0] if inheritable else flags == [fcntl.FD_CLOEXEC] * 2
            assert message.flags & socket.MSG_CMSG_CLOEXEC == 0


def test_close_on_exec_where_the_system_has_no_flag_for_it(unleaking, pair, files, monkeypatch):
    monkeypatch.setattr(module, "_CLOEXEC", 0)
    sendmsg(pair[0], [b"x"], files(2))
    with recvmsg(pair[1], 1, 2) as message:
        assert not any(os.get_inheritable(one.fileno()) for one in message.descriptors)


def test_systems_that_keep_control_messages_apart(unleaking, pair, files, identities, monkeypatch):
    """Without Linux' options the space is made for one control message each; the room is exact all the same."""
    monkeypatch.setattr(module, "_LINUX", False)
    sent = files(4)
    sendmsg(pair[0], [b"x"], sent)
    with recvmsg(pair[1], 1, 3, truncation=Truncation.KEEP) as message:
        assert identities(message.descriptors) == identities(sent[:3])
        assert message.descriptors_lost


def test_peek_hands_out_copies_and_consumes_nothing(unleaking, pair, files, identities):
    sent = files(2)
    sendmsg(pair[0], [b"data"], sent)
    for flags in (socket.MSG_PEEK, socket.MSG_PEEK, 0):
        with recvmsg(pair[1], 9, 2, flags=flags) as message:
            assert (message.data, identities(message.descriptors)) == (b"data", identities(sent))


def test_a_peek_that_raises_loses_nothing(unleaking, pair, files, identities):
    sent = files(2)
    sendmsg(pair[0], [b"data"], sent)
    with pytest.raises(DescriptorsLostError):
        recvmsg(pair[1], 9, 1, flags=socket.MSG_PEEK)
    with recvmsg(pair[1], 9, 2) as message:
        assert identities(message.descriptors) == identities(sent)


def test_dontwait(pair):
    with pytest.raises(BlockingIOError):
        recvmsg(pair[1], 1, 1, flags=socket.MSG_DONTWAIT)


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_SEQPACKET])
def test_trunc_tells_the_true_length(unleaking, files, kind):
    left, right = socket.socketpair(socket.AF_UNIX, kind)
    with left, right:
        sendmsg(left, [b"0123456789"], files(1))
        with recvmsg(right, [2, 3], 1, flags=socket.MSG_TRUNC) as message:
            assert (message.length, message.buffers, message.data_lost) == (10, (b"01", b"234"), True)
            assert len(message.descriptors) == 1


def test_waitall(unleaking, stream, files):
    sendmsg(stream[0], [b"abc"])
    writer = threading.Timer(0.05, sendmsg, (stream[0], [b"defghijk"], files(1)))
    writer.start()
    with recvmsg(stream[1], 10, 1, flags=socket.MSG_WAITALL) as message:
        assert message.data == b"abcdefghij"
        assert len(message.descriptors) == 1
    writer.join()


def test_scatter(unleaking, pair, files):
    sendmsg(pair[0], [b"Mary had a lamb"], files(1))
    with recvmsg(pair[1], [4, 0, 5, 100, 3], 1) as message:
        assert message.buffers == (b"Mary", b"", b" had ", b"a lamb", b"")
        assert message.data == b"Mary had a lamb"


@pytest.mark.parametrize("count", [1024, 1025])
def test_many_buffers(unleaking, pair, files, count):
    sendmsg(pair[0], [b"x" * 1024], files(1))
    if count == 1024:
        with recvmsg(pair[1], [1] * count, 1) as message:
            assert message.buffers == (b"x",) * 1024
    else:
        with pytest.raises(OSError, match="Errno") as caught:
            recvmsg(pair[1], [1] * count, 1)
        assert caught.value.errno == errno.EMSGSIZE
        with recvmsg(pair[1], 1024, 1) as message:
            assert len(message.descriptors) == 1


@pytest.mark.parametrize("sizes", [0, [], [0], [0, 0]])
def test_no_buffer_space(unleaking, pair, files, sizes):
    """A receive without space for data hands out the descriptors; a stream keeps the data."""
    sendmsg(pair[0], [b"data"], files(1))
    with recvmsg(pair[1], sizes, 1) as message:
        assert (message.data, len(message.descriptors)) == (b"", 1)


def test_into_the_callers_buffers(unleaking, pair, files):
    sendmsg(pair[0], [b"Mary had a lamb"], files(1))
    buffers = [bytearray(4), array.array("B", [0] * 4), memoryview(bytearray(20))]
    with recvmsg_into(pair[1], iter(buffers), 1) as message:
        assert (message.length, message.buffers, message.data) == (15, (), b"")
        assert len(message.descriptors) == 1
    assert bytes(buffers[0]) + bytes(buffers[1]) + bytes(buffers[2][:7]) == b"Mary had a lamb"


@pytest.mark.parametrize("wrong", [[b"read-only"], [object()], 5])
def test_into_what_is_no_buffer(stream, wrong):
    stream[0].send(b"x")
    with pytest.raises(TypeError):
        recvmsg_into(stream[1], wrong, 1)
    assert stream[1].recv(1) == b"x"


def test_end_of_stream(stream):
    stream[0].close()
    message = recvmsg(stream[1], 10, 3)
    assert (message.length, message.data, message.descriptors, message.flags) == (0, b"", (), 0)


def test_the_end_comes_after_what_is_in_flight(unleaking, stream, files):
    sendmsg(stream[0], [b"last"], files(1))
    stream[0].close()
    with recvmsg(stream[1], 10, 1) as message:
        assert (message.data, len(message.descriptors)) == (b"last", 1)
    assert recvmsg(stream[1], 10, 1).length == 0


def test_a_closed_socket(stream):
    stream[1].close()
    with pytest.raises(OSError, match="Errno") as caught:
        recvmsg(stream[1], 1, 1)
    assert caught.value.errno == errno.EBADF


def test_a_timeout_of_the_socket(stream):
    stream[1].settimeout(0.01)
    with pytest.raises(TimeoutError):
        recvmsg(stream[1], 1, 1)


def test_an_interrupted_receive_goes_on(unleaking, stream, files):
    """PEP 475: the handler runs, the call is made again, nothing is lost."""
    caught = []
    sent = files(1)

    def handler(*_):
        caught.append(1)
        sendmsg(stream[0], [b"x"], sent)

    old = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with recvmsg(stream[1], 1, 1) as message:
            assert (caught, message.data, len(message.descriptors)) == ([1], b"x", 1)
    finally:
        signal.signal(signal.SIGALRM, old)


def test_message_hands_descriptors_on(unleaking, stream, files):
    sendmsg(stream[0], [b"x"], files(2))
    with recvmsg(stream[1], 1, 2) as message:
        kept = message.descriptors[0].detach()
    os.fstat(kept)
    os.close(kept)
    assert all(one.closed for one in message.descriptors)
