"""The calls of ScmSocket and those of the socket module."""

import errno
import os
import socket

import pytest
from fdspec.impls.reference.descriptors import (
    recv_fds,
    recv_with_fd,
    recv_with_fds,
    send_fds,
    send_with_fd,
    send_with_fds,
)
from fdspec.impls.reference.message import Descriptor, DescriptorsLostError, NoDataError, TooManyDescriptorsError


def close_all(numbers):
    for number in numbers:
        os.close(number)


def test_one_descriptor(unleaking, pair, files, identities):
    sent = files(1)
    assert send_with_fd(pair[0], [b"ab", b"", b"cd"], sent[0]) == 4
    buffers = [bytearray(3), bytearray(9)]
    count, owned = recv_with_fd(pair[1], buffers)
    assert (count, bytes(buffers[0]), bytes(buffers[1][:1])) == (4, b"abc", b"d")
    assert isinstance(owned, Descriptor)
    with owned:
        assert identities([owned]) == identities(sent)


def test_none(unleaking, pair):
    assert send_with_fds(pair[0], [b"x"], []) == 1
    assert recv_with_fd(pair[1], [bytearray(1)]) == (1, None)


def test_several(unleaking, pair, files, identities):
    sent = files(5)
    send_with_fds(pair[0], [b"x"], sent)
    count, owned = recv_with_fds(pair[1], [bytearray(9)], 5)
    assert count == 1
    assert identities(owned) == identities(sent)
    for one in owned:
        one.close()


@pytest.mark.parametrize(
    "call", [lambda sock: recv_with_fd(sock, [bytearray(9)]), lambda sock: recv_with_fds(sock, [bytearray(9)], 1)]
)
def test_one_too_many_is_an_error_and_nothing_stays(unleaking, pair, files, call):
    send_with_fds(pair[0], [b"x"], files(2))
    with pytest.raises(DescriptorsLostError) as caught:
        call(pair[1])
    assert caught.value.errno == errno.ENOBUFS


def test_end_of_stream(stream):
    stream[0].close()
    assert recv_with_fd(stream[1], [bytearray(1)]) == (0, None)
    assert recv_with_fds(stream[1], [bytearray(1)], 3) == (0, ())


def test_errors_before_anything_is_lost(stream, files):
    with pytest.raises(NoDataError):
        send_with_fd(stream[0], [b""], files(1)[0])
    with pytest.raises(TooManyDescriptorsError):
        send_with_fds(stream[0], [b"x"], files(1) * 254)


def test_numbers(unleaking, pair, files, identities):
    sent = files(3)
    assert send_fds(pair[0], [b"da", b"ta"], sent) == 4
    data, numbers, flags, _ = recv_fds(pair[1], 9, 3)
    assert (data, flags) == (b"data", 0)
    assert identities(numbers) == identities(sent)
    assert not any(map(os.get_inheritable, numbers))
    close_all(numbers)


@pytest.mark.parametrize("maxfds", range(4))
def test_maxfds_is_exact_and_the_loss_is_flagged(unleaking, pair, files, maxfds):
    send_fds(pair[0], [b"x"], files(3))
    _, numbers, flags, _ = recv_fds(pair[1], 9, maxfds)
    assert len(numbers) == maxfds
    assert bool(flags & socket.MSG_CTRUNC) == (maxfds < 3)
    close_all(numbers)


def test_flags_take_effect(unleaking, pair, files):
    with pytest.raises(BlockingIOError):
        recv_fds(pair[1], 1, 1, socket.MSG_DONTWAIT)
    send_fds(pair[0], [b"x"], files(1), socket.MSG_DONTWAIT)
    for _ in range(2):
        data, numbers, _, _ = recv_fds(pair[1], 1, 1, socket.MSG_PEEK)
        assert (data, len(numbers)) == (b"x", 1)
        close_all(numbers)
    with pytest.raises(BlockingIOError):
        while send_fds(pair[0], [b"x" * 4096], [], socket.MSG_DONTWAIT):
            pass
    pair[1].setblocking(False)
    close_all(recv_fds(pair[1], 1, 1)[1])


def test_address_takes_effect(unleaking, tmp_path, files, identities):
    sent = files(1)
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(str(tmp_path / "to"))
        sender.bind(str(tmp_path / "from"))
        send_fds(sender, [b"x"], sent, 0, str(tmp_path / "to"))
        _, numbers, _, address = recv_fds(receiver, 1, 1)
        assert address == str(tmp_path / "from")
        assert identities(numbers) == identities(sent)
        close_all(numbers)
