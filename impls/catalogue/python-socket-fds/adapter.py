"""`socket.send_fds` and `socket.recv_fds` (Python 3.9 and later), with every argument that their signatures have."""

import socket

from fdspec_testee import PYTHON, TYPES, Adapter, only


class PythonSocketFds(Adapter):
    implementation = dict(PYTHON, name="socket.send_fds and recv_fds")
    profiles = {
        "descriptors": {
            "types": TYPES,
            "capabilities": [
                "buffers-out",
                "flags-in",
                "flags-out",
                "address",
                "empty-out",
                "plain-out",
                "many",
                "flags-reported",
                "peer-address",
            ],
        },
    }
    # No policy: the documentation refers to recvmsg, which leaves truncation to "your system documentation".

    def send_fds(self, fd, buffers, fds, flags, address, single):
        return socket.send_fds(self.sock(fd), buffers, fds, flags, address)

    def recv_fds(self, fd, sizes, room, flags, single):
        data, fds, flags, address = socket.recv_fds(self.sock(fd), only(sizes, 0), room, flags)
        return [data], fds, flags, address
