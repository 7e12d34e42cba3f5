"""The socket module itself: sendmsg, recvmsg, and recvmsg_into where there are several buffers."""

import array
import socket

from fdspec_testee import PYTHON, TYPES, Adapter, filled, only

INT = array.array("i").itemsize


class PythonSocket(Adapter):
    implementation = dict(PYTHON, name="socket.sendmsg and recvmsg")
    profiles = {
        "message": {
            "types": TYPES,
            "capabilities": [
                "buffers-out",
                "buffers-in",
                "flags-in",
                "flags-out",
                "address",
                "empty-out",
                "plain-out",
                "control-length",
                "ancillary",
                "several",
                "peer-address",
            ],
        },
    }

    def sendmsg(self, fd, buffers, ancillary, flags, address):
        # Descriptors come as a list, other control data as bytes. An array of C ints is what the documentation passes.
        control = [
            (level, kind, array.array("i", content) if isinstance(content, list) else content)
            for level, kind, content in ancillary
        ]
        return self.sock(fd).sendmsg(buffers, control, flags, address)

    def recvmsg(self, fd, sizes, room, control, flags):
        if control is None:
            # CMSG_LEN, as documented: CMSG_SPACE would have room for one more when `room` is odd.
            control = socket.CMSG_LEN(room * INT) if room else 0
        if len(sizes) == 1:
            data, ancillary, flags, address = self.sock(fd).recvmsg(only(sizes, 0), control, flags)
            return [data], ancillary, flags, address
        buffers = [bytearray(size) for size in sizes]
        count, ancillary, flags, address = self.sock(fd).recvmsg_into(buffers, control, flags)
        return filled(buffers, count), ancillary, flags, address
