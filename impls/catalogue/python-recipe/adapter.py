"""The two example functions of the documentation of `socket.sendmsg` and `socket.recvmsg`, as many programs have them.

They do what the documentation says of them, to the letter: send a list of descriptors over an AF_UNIX socket; receive
up to ``maxfds`` descriptors, ignoring unexpected conditions such as control messages that have nothing to do with it.
"""

import array
import socket

from fdspec_testee import PYTHON, TYPES, Adapter, only


def send_fds(sock, msg, fds):
    rights = array.array("i", fds)
    return sock.sendmsg([msg], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def recv_fds(sock, msglen, maxfds):
    found = array.array("i")
    size = found.itemsize
    msg, ancdata, _flags, _addr = sock.recvmsg(msglen, socket.CMSG_LEN(maxfds * size))
    for level, kind, data in ancdata:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) // size * size])  # a number that was cut in two is ignored
    return msg, list(found)


class PythonRecipe(Adapter):
    implementation = dict(PYTHON, name="recv_fds of the socket module's documentation")
    profiles = {"descriptors": {"types": TYPES, "capabilities": ["many", "empty-out", "plain-out"]}}

    def send_fds(self, fd, buffers, fds, flags, address, single):
        return send_fds(self.sock(fd), only(buffers, b""), fds)

    def recv_fds(self, fd, sizes, room, flags, single):
        data, fds = recv_fds(self.sock(fd), only(sizes, 0), room)
        return [data], fds, None, None  # neither msg_flags nor the address: the recipe drops them
