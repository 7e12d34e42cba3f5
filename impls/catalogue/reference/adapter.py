"""fdspec's own reference: sendmsg and recvmsg with owned descriptors."""

import array
import socket

from fdspec import __version__
from fdspec.impls.reference import message
from fdspec_testee import TYPES, Adapter, Failed

RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)


def packed(content):
    return array.array("i", content).tobytes() if isinstance(content, list) else content


def released(descriptors):
    """Give up the ownership of ``descriptors``; return their numbers, which are the harness's to close."""
    return [one.detach() for one in descriptors]


def shown(received):
    """Return a `message.Message` as the testee reports it, nothing of it owned here any more."""
    rights, pidfd = released(received.descriptors), received.pidfd
    if pidfd is not None:
        pidfd.detach()
    ancillary = []
    for item in received.control:
        if not item.is_rights:
            ancillary.append((item.level, item.type, item.data))
        elif rights:
            ancillary.append((item.level, item.type, rights))
            rights = []  # of several such control messages the first one shows the descriptors of all
    return received.buffers, ancillary, received.flags, received.address


class Reference(Adapter):
    implementation = {"name": "fdspec's reference", "version": __version__}
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
    policies = {
        "truncation": {"outcome": "error", "source": "fdspec.impls.reference.message: Truncation.RAISE"},
        "cloexec": {"outcome": "always", "source": "fdspec.impls.reference.message: recvmsg"},
    }

    def sendmsg(self, fd, buffers, ancillary, flags, address):
        descriptors = ()
        if ancillary and ancillary[0][:2] == RIGHTS and isinstance(ancillary[0][2], list):
            descriptors, ancillary = ancillary[0][2], ancillary[1:]
        control = [(level, kind, packed(content)) for level, kind, content in ancillary]
        return message.sendmsg(self.sock(fd), buffers, descriptors, control, flags, address)

    def recvmsg(self, fd, sizes, room, control, flags):
        wanted = room if control is None else None  # `control` sets the limit alone
        try:
            received = message.recvmsg(self.sock(fd), sizes, wanted, control=control, flags=flags)
        except message.DescriptorsLostError as error:
            ancillary = [(item.level, item.type, item.data) for item in error.message.ancillary]
            raise Failed(error, (error.message.buffers, ancillary, error.flags, error.message.address)) from None
        return shown(received)
