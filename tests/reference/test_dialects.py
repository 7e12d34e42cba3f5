"""The ancestors' shapes: defaults, argument errors, ownership handed over. Their own suites do the rest."""

import inspect
import os
import socket
import struct

import pytest
from fdspec.impls.reference.dialects import recipe, send1msg, socket_methods, twisted_sendmsg

RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)


def rights(*numbers):
    return [(*RIGHTS, struct.pack(f"{len(numbers)}i", *numbers))]


def numbers_in(ancillary):
    return [number for *kind, data in ancillary if tuple(kind) == RIGHTS for (number,) in struct.iter_unpack("i", data)]


def close_all(numbers):
    for number in numbers:
        os.close(number)


def test_socket_methods(unleaking, pair, files, identities):
    sent = files(3)
    pair[1].setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    for receive in (
        lambda: socket_methods.recvmsg(pair[1], 9, 100),
        lambda: socket_methods.recvmsg_into(pair[1], [bytearray(9)], 100),
    ):
        assert socket_methods.sendmsg(pair[0], [b"da", b"ta"], rights(*sent)) == 4
        data, ancillary, flags, _ = receive()
        assert data in (b"data", 4)
        assert flags == 0
        assert [kind for _, kind, _ in ancillary] == [2, socket.SCM_RIGHTS], "the order is the kernel's"
        assert identities(numbers_in(ancillary)) == identities(sent)
        close_all(numbers_in(ancillary))


def test_socket_methods_hand_the_pidfd_over(unleaking, stream):
    stream[1].setsockopt(socket.SOL_SOCKET, 76, 1)
    socket_methods.sendmsg(stream[0], [b"x"])
    [(_, kind, data)] = socket_methods.recvmsg(stream[1], 1, 100)[1]
    assert kind == 4
    os.close(struct.unpack("i", data)[0])


def test_socket_methods_flag_what_did_not_fit(unleaking, pair, files):
    socket_methods.sendmsg(pair[0], [b"x"], rights(*files(3)))
    _, ancillary, flags, _ = socket_methods.recvmsg(pair[1], 1, socket.CMSG_LEN(4))
    assert flags == socket.MSG_CTRUNC
    assert len(numbers_in(ancillary)) == 1
    close_all(numbers_in(ancillary))


def test_twisted_sendmsg(unleaking, stream, files, identities):
    sent = files(2)
    assert twisted_sendmsg.sendmsg(stream[0], b"data", rights(*sent), 0) == 4
    message = twisted_sendmsg.recvmsg(stream[1])
    assert (message.data, message.flags) == (b"data", 0)
    assert message == (message.data, message.ancillary, message.flags)
    assert identities(numbers_in(message.ancillary)) == identities(sent)
    close_all(numbers_in(message.ancillary))
    assert twisted_sendmsg.getSocketFamily(stream[0]) == socket.AF_UNIX
    defaults = {name: one.default for name, one in inspect.signature(twisted_sendmsg.recvmsg).parameters.items()}
    assert defaults == {"socket": inspect.Parameter.empty, "maxSize": 8192, "cmsgSize": 4096, "flags": 0}


def test_send1msg_and_recv1msg(unleaking, pair, files, identities):
    sent = files(2)
    left, right = pair[0].fileno(), pair[1].fileno()
    assert send1msg.send1msg(left, b"data", 0, rights(*sent)) == 4
    data, flags, ancillary = send1msg.recv1msg(fd=right)
    assert (data, flags) == (b"data", 0)
    assert identities(numbers_in(ancillary)) == identities(sent)
    close_all(numbers_in(ancillary))
    assert send1msg.send1msg(left, b"x" * 9) == 9
    assert send1msg.recv1msg(right, 0, 5) == (
        b"x" * 5,
        0 if pair[0].type == socket.SOCK_STREAM else socket.MSG_TRUNC,
        [],
    )
    assert os.get_blocking(left)


def test_send1msg_works_as_the_number_says(unleaking, stream):
    stream[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        send1msg.recv1msg(stream[1].fileno())
    stream[1].setblocking(True)
    with pytest.raises(BlockingIOError):
        send1msg.recv1msg(stream[1].fileno(), socket.MSG_DONTWAIT)


def test_send1msg_leaves_the_number_as_it_was(unleaking, stream):
    socket.setdefaulttimeout(5)
    try:
        send1msg.send1msg(stream[0].fileno(), b"x")
        send1msg.recv1msg(stream[1].fileno())
        assert os.get_blocking(stream[0].fileno())
        assert os.get_blocking(stream[1].fileno())
    finally:
        socket.setdefaulttimeout(None)


@pytest.mark.parametrize(
    "arguments",
    [(), (1,), (1, b"x", 2, [], 3), (object(), b"x"), (1, object()), (1, b"x", object()), (1, b"x", 2, object())],
)
def test_send1msg_bad_arguments(arguments):
    with pytest.raises(TypeError):
        send1msg.send1msg(*arguments)


@pytest.mark.parametrize(
    "ancillary", [[()], [(1,)], [(1, 2)], [(1, 2, b"x", 3)], [(object(), 1, b"x")], [(1, 1, object())]]
)
def test_send1msg_bad_control_messages(ancillary):
    with pytest.raises(TypeError):
        send1msg.send1msg(1, b"x", 0, ancillary)


def test_send1msg_words_of_the_ancestor(stream):
    with pytest.raises(TypeError, match=r"^send1msg argument 3 expected list, got int$"):
        send1msg.send1msg(stream[0].fileno(), b"x", 0, 4321)
    with pytest.raises(TypeError, match=r"^send1msg argument 3 expected list of tuple, got list containing object$"):
        send1msg.send1msg(1, b"x", 2, [object()])


@pytest.mark.parametrize(
    "arguments",
    [(), (1, 2, 3, 4, 5), (object(), 2, 3, 4), (1, object(), 3, 4), (1, 2, object(), 4), (1, 2, 3, object())],
)
def test_recv1msg_bad_arguments(arguments):
    with pytest.raises(TypeError):
        send1msg.recv1msg(*arguments)


def test_recv1msg_too_much_control():
    with pytest.raises(OverflowError):
        send1msg.recv1msg(0, 0, 0, 0x7FFFFFFF)


def test_numbers_that_are_no_socket(unleaking, files):
    [file] = files(1)
    for call in (send1msg.recv1msg, send1msg.getsockfam, lambda fd: send1msg.send1msg(fd, b"x")):
        with pytest.raises(OSError, match="Errno"):
            call(file)
        with pytest.raises(OSError, match="Errno"):
            call(900)
        with pytest.raises(TypeError):
            call(object())


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_getsockfam(unleaking, family):
    with socket.socket(family) as sock:
        assert send1msg.getsockfam(sock.fileno()) == family
        assert sock.fileno() >= 0
    with pytest.raises(TypeError):
        send1msg.getsockfam(1, 2)


def test_recipe(unleaking, pair, files, identities):
    sent = files(3)
    assert recipe.send_fds(pair[0], b"data", sent) == 4
    data, numbers = recipe.recv_fds(pair[1], 20, 3)
    assert data == b"data"
    assert identities(numbers) == identities(sent)
    close_all(numbers)
