"""`send1msg` and `recv1msg` of Twisted 14.0.2's C extension: functions over numbers, with one buffer a call."""

import array

from fdspec_testee27 import TYPES, Adapter, only
from twisted import version
from twisted.python.sendmsg import recv1msg, send1msg

INT = array.array("i").itemsize


class TwistedSend1msg(Adapter):
    implementation = {"name": "send1msg and recv1msg of twisted.python.sendmsg", "version": version.short()}
    profiles = {
        "message": {
            "types": TYPES,
            "capabilities": ["flags-in", "flags-out", "empty-out", "plain-out", "ancillary", "several"],
        },
    }

    def sendmsg(self, fd, buffers, ancillary, flags, address):
        control = [
            (level, kind, array.array("i", content).tostring() if isinstance(content, list) else content)
            for level, kind, content in ancillary
        ]
        return send1msg(fd, only(buffers, ""), flags, control)

    def recvmsg(self, fd, sizes, room, control, flags):
        # cmsg_size counts the data of control messages; the function adds the header itself.
        data, flags, ancillary = recv1msg(fd, flags, only(sizes, 0), INT * room)
        return [data], ancillary, flags, None
