"""`twisted.python.sendmsg`: functions over the socket module's sockets, with one buffer a call."""

import array

from fdspec_testee import TYPES, Adapter, only
from twisted import version
from twisted.python.sendmsg import recvmsg, sendmsg

INT = array.array("i").itemsize


class TwistedSendmsg(Adapter):
    implementation = {"name": "twisted.python.sendmsg", "version": version.short()}
    profiles = {
        "message": {
            "types": TYPES,
            "capabilities": ["flags-in", "flags-out", "empty-out", "plain-out", "ancillary", "several"],
        },
    }

    def sendmsg(self, fd, buffers, ancillary, flags, address):
        control = [
            (level, kind, array.array("i", content).tobytes() if isinstance(content, list) else content)
            for level, kind, content in ancillary
        ]
        return sendmsg(self.sock(fd), only(buffers, b""), control, flags)

    def recvmsg(self, fd, sizes, room, control, flags):
        # cmsgSize counts the data of control messages; the function adds the header itself.
        message = recvmsg(self.sock(fd), maxSize=only(sizes, 0), cmsgSize=INT * room, flags=flags)
        return [message.data], message.ancillary, message.flags, None
