"""The reference's messages over the C library's own calls, with a parser of its own.

What stands between the protocol and the API is the reference's: `Messages` of its adapter, beside this directory.
"""

import os
import socket

from fdspec import __version__
from fdspec.impls.reference import libcmessage
from fdspec_testee import Adapter


def beside(name):
    """Return what the adapter of another implementation in the catalogue defines."""
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), name, "adapter.py")
    module = type(os)("fdspec_" + name)
    module.__file__ = path
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec"), module.__dict__)
    return module


Messages = beside("reference").Messages


class ReferenceLibc(Messages, Adapter):
    implementation = {"name": "fdspec's reference on its own parser", "version": __version__}
    profiles = {"message": Messages.profile}

    def send(self, sock, buffers, fds, control, flags, address):
        """A stream sends everything it was given; other sockets, and messages to an address, are one call."""
        if sock.type != socket.SOCK_STREAM or address is not None:
            return libcmessage.sendmsg(sock, buffers, fds, control, flags, address)
        return libcmessage.send_all(sock, buffers, fds, control, flags)

    def receive(self, sock, sizes, room, control, flags):
        return libcmessage.recvmsg(sock, sizes, room, control=control, flags=flags)
