"""The Python implementations that can be called within this process: how each sends and receives, and what it offers.

Each does what the adapter of that id in the catalogue does, without the protocol around it.
"""

from __future__ import annotations

import importlib
import os
import socket
from array import array
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from msgspec import Struct

from ...impls.errors import StartFailed
from ...impls.protocol.values import Profile
from ...impls.reference.control import SCM_PIDFD

INT = array("i").itemsize
RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
CTRUNC = int(socket.MSG_CTRUNC)

Given = tuple[int, int, "array[int] | bytes"]
"""A control message to send: descriptors are an array, everything else is bytes."""
Received = tuple[Sequence[bytes | bytearray], Sequence[int], int | None]
"""What was written into each buffer, the descriptors in order, and msg_flags (None where the API does not show them)."""
Sending = Callable[[socket.socket, Sequence[bytes], Sequence[Given], int], int]
Receiving = Callable[[socket.socket, Sequence[int], int, int | None, int], Received]
"""Socket, sizes of the buffers, room for descriptors, msg_controllen (None: by the room), flags."""


class NotHere(StartFailed):
    """An implementation that cannot be called in this process; the message says why."""

    def __init__(self, why: str) -> None:
        super().__init__("start", why)


class CannotDo(Exception):
    """An API has no call for what was asked; the message names what it lacks."""


class Lost(Exception):
    """An API has raised because descriptors were lost, as it documents; what came all the same is in ``received``."""

    def __init__(self, received: Received) -> None:
        super().__init__("descriptors were lost")
        self.received = received


class Api(Struct, frozen=True):
    """How one implementation is called in one profile.

    ``names``: the capabilities. ``cloexec``: whether what it hands out is always close-on-exec by its documentation.
    """

    profile: Profile
    names: frozenset[str]
    send: Sending
    receive: Receiving
    send_one: Sending | None = None
    take_one: Receiving | None = None
    cloexec: bool = False


Family = Sequence[Api]

COMMON = ("buffers-out", "flags-in", "flags-out", "empty-out", "plain-out")


def _lacks(name: str) -> NoReturn:
    raise CannotDo(name)


def _sum(sizes: Sequence[int]) -> int:
    """Return the size of the only buffer."""
    return sizes[0] if len(sizes) == 1 else _lacks("buffers-in")


def _piece(data: Sequence[bytes]) -> bytes:
    """Return the only buffer."""
    return data[0] if len(data) == 1 else _lacks("buffers-out") if data else b""


def _rights(ancillary: Sequence[tuple[int, int, bytes]]) -> Sequence[int]:
    """Return the descriptors of control messages that were received."""
    if not ancillary:
        return ()
    found = array("i")
    for level, kind, data in ancillary:
        if level == 1 and kind == 1:
            found.frombytes(data[: len(data) // INT * INT])
        elif level == 1 and kind == SCM_PIDFD and len(data) >= INT and (pidfd := array("i", data[:INT])[0]) >= 0:
            os.close(pidfd)  # it is the caller's, who wants none
    return found


def _filled(buffers: Sequence[bytearray], length: int) -> list[bytearray]:
    """Return what of each buffer was written when ``length`` bytes came."""
    found: list[bytearray] = []
    for one in buffers:
        found.append(one[:length])
        length = max(0, length - len(one))
    return found


def _fds_of(control: Sequence[Given]) -> Sequence[int]:
    """Return the descriptors of the one control message that an API without others can send."""
    if not control:
        return ()
    (_, _, content), *others = control
    return _lacks("ancillary") if others or isinstance(content, bytes) else content


# ---- the socket module -------------------------------------------------------------------------------------------------


def socket_send(sock: socket.socket, data: Sequence[bytes], control: Sequence[Given], flags: int) -> int:
    """Send by ``socket.sendmsg``."""
    return sock.sendmsg(data, control, flags)


def socket_receive(sock: socket.socket, sizes: Sequence[int], room: int, control: int | None, flags: int) -> Received:
    """Receive by ``socket.recvmsg``, or ``recvmsg_into`` where there are several buffers."""
    if control is None:
        control = 16 + INT * room if room else 0  # CMSG_LEN
    if len(sizes) == 1:
        data, ancillary, shown, _ = sock.recvmsg(sizes[0], control, flags)
        return (data,), _rights(ancillary), shown
    buffers = [bytearray(size) for size in sizes]
    count, ancillary, shown, _ = sock.recvmsg_into(buffers, control, flags)
    return _filled(buffers, count), _rights(ancillary), shown


def _python_socket() -> Family:
    names = {*COMMON, "buffers-in", "control-length", "ancillary", "several"}
    return (Api(Profile.MESSAGE, frozenset(names), socket_send, socket_receive),)


def _fds_send(sock: socket.socket, data: Sequence[bytes], control: Sequence[Given], flags: int) -> int:
    return socket.send_fds(sock, data, _fds_of(control), flags)  # pyright: ignore[reportArgumentType] - any buffers


def _fds_receive(sock: socket.socket, sizes: Sequence[int], room: int, _: int | None, flags: int) -> Received:
    data, fds, shown, _ = socket.recv_fds(sock, _sum(sizes), room, flags)
    return (data,), fds, shown


def _python_socket_fds() -> Family:
    return (Api(Profile.DESCRIPTORS, frozenset({*COMMON, "many", "flags-reported"}), _fds_send, _fds_receive),)


def _recipe_send(sock: socket.socket, data: Sequence[bytes], control: Sequence[Given], flags: int) -> int:
    if flags:
        _lacks("flags-out")
    return sock.sendmsg([_piece(data)], [(*RIGHTS, array("i", _fds_of(control)))])


def _recipe_receive(sock: socket.socket, sizes: Sequence[int], room: int, _: int | None, flags: int) -> Received:
    if flags:
        _lacks("flags-in")
    data, ancillary, _, _ = sock.recvmsg(_sum(sizes), socket.CMSG_LEN(room * INT))
    return (data,), _rights(ancillary), None


def _python_recipe() -> Family:
    names = {"many", "empty-out", "plain-out"}
    return (Api(Profile.DESCRIPTORS, frozenset(names), _recipe_send, _recipe_receive),)


# ---- Twisted -----------------------------------------------------------------------------------------------------------


def _twisted_sendmsg() -> Family:
    module: Any = importlib.import_module("twisted.python.sendmsg")

    def send(sock: socket.socket, data: Sequence[bytes], control: Sequence[Given], flags: int) -> int:
        given = [(level, kind, bytes(content)) for level, kind, content in control]
        return module.sendmsg(sock, _piece(data), given, flags)

    def receive(sock: socket.socket, sizes: Sequence[int], room: int, _: int | None, flags: int) -> Received:
        # cmsgSize counts the data of control messages; the function adds the header itself.
        message = module.recvmsg(sock, maxSize=_sum(sizes), cmsgSize=INT * room, flags=flags)
        return (message.data,), _rights(message.ancillary), message.flags

    names = {"flags-in", "flags-out", "empty-out", "plain-out", "ancillary", "several"}
    return (Api(Profile.MESSAGE, frozenset(names), send, receive),)


# ---- the reference -----------------------------------------------------------------------------------------------------

_MESSAGES = frozenset({*COMMON, "buffers-in", "control-length", "ancillary", "several"})


def _messages(name: str) -> Api:
    """Return the calls of a module of the shape of `impls.reference.message`."""
    module: Any = importlib.import_module(f"...impls.reference.{name}", __package__)
    base: Any = importlib.import_module("...impls.reference.message", __package__)
    plain, everything, into = module.sendmsg, getattr(module, "send_all", None), module.recvmsg
    lost: type[Exception] = base.DescriptorsLostError

    def send(sock: socket.socket, data: Sequence[bytes], control: Sequence[Given], flags: int) -> int:
        fds: Sequence[int] = ()
        if control and isinstance(content := control[0][2], array):
            fds, control = content, control[1:]
        if everything is not None and sock.type == socket.SOCK_STREAM:
            return everything(sock, data, fds, control, flags)
        return plain(sock, data, fds, control, flags)

    def receive(sock: socket.socket, sizes: Sequence[int], room: int, control: int | None, flags: int) -> Received:
        try:
            message = into(sock, sizes, room if control is None else None, control=control, flags=flags)
        except lost as error:
            told: Any = error
            raise Lost((told.message.buffers, (), told.message.flags)) from None
        rights = [one.detach() for one in message.descriptors]
        if message.pidfd is not None:
            message.pidfd.close()
        return message.buffers, rights, message.flags

    return Api(Profile.MESSAGE, _MESSAGES, send, receive, cloexec=True)


def _descriptors() -> Api:
    """Return the calls of `impls.reference.descriptors`: the socket module's for one buffer, ScmSocket's for several."""
    module: Any = importlib.import_module("...impls.reference.descriptors", __package__)
    base: Any = importlib.import_module("...impls.reference.message", __package__)
    lost: type[Exception] = base.DescriptorsLostError

    def send(sock: socket.socket, data: Sequence[bytes], control: Sequence[Given], flags: int) -> int:
        return module.send_fds(sock, data, _fds_of(control), flags)

    def send_one(sock: socket.socket, data: Sequence[bytes], control: Sequence[Given], flags: int) -> int:
        if flags:
            _lacks("flags-out of send_with_fd")
        (fd,) = _fds_of(control)
        return module.send_with_fd(sock, data, fd)

    def receive(sock: socket.socket, sizes: Sequence[int], room: int, _: int | None, flags: int) -> Received:
        if len(sizes) == 1:
            data, fds, shown, _ = module.recv_fds(sock, sizes[0], room, flags)
            return (data,), fds, shown
        return _several(lost, sizes, flags, lambda buffers: module.recv_with_fds(sock, buffers, room))

    def take_one(sock: socket.socket, sizes: Sequence[int], _: int, __: int | None, flags: int) -> Received:
        def call(buffers: list[bytearray]) -> tuple[int, Sequence[Any]]:
            count, found = module.recv_with_fd(sock, buffers)
            return count, () if found is None else (found,)

        return _several(lost, sizes, flags, call)

    names = {*COMMON, "buffers-in", "many", "single", "flags-reported"}
    return Api(Profile.DESCRIPTORS, frozenset(names), send, receive, send_one, take_one, cloexec=True)


def _several(
    lost: type[Exception],
    sizes: Sequence[int],
    flags: int,
    call: Callable[[list[bytearray]], tuple[int, Sequence[Any]]],
) -> Received:
    """Receive into buffers by a call that hands out owners, and takes no flags."""
    if flags:
        _lacks("flags-in of recv_with_fds")
    buffers = [bytearray(size) for size in sizes]
    try:
        count, owned = call(buffers)
    except lost as error:
        told: Any = error
        raise Lost((_filled(buffers, told.message.length), (), told.message.flags)) from None
    return _filled(buffers, count), [one.detach() for one in owned], None


_FAMILIES: dict[str, Callable[[], Family]] = {
    "python-socket": _python_socket,
    "python-socket-fds": _python_socket_fds,
    "python-recipe": _python_recipe,
    "reference": lambda: (_messages("message"), _descriptors()),
    "reference-libc": lambda: (_messages("libcmessage"),),
    "twisted-sendmsg": _twisted_sendmsg,
}
SUBJECTS = tuple(_FAMILIES)
"""The ids of the implementations that can be called within this process."""


def apis_of(subject: str) -> Family:
    """Return how ``subject`` is called, one for each profile. Raises NotHere."""
    if subject not in _FAMILIES:
        raise NotHere(f"{subject!r} cannot be called within this process; known are {', '.join(SUBJECTS)}")
    try:
        return _FAMILIES[subject]()
    except ImportError as fault:
        raise NotHere(f"{subject} cannot be called within this process: {fault}") from fault
