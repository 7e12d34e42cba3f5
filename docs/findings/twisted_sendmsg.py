"""What goes wrong in `twisted.python.sendmsg` of Twisted 26.10.0.

`python twisted_sendmsg.py [SCENARIO]` prints a line for each scenario; the exit code is 0 when all of them are shown.
"""

import os
import socket
import sys

from twisted.python.sendmsg import recvmsg

SO_PASSPIDFD = 76


def numbers():
    """Return the numbers that are open, without the listing's own."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.islink("/proc/self/fd/" + name)}


def odd_room():
    told = []
    for option in (None, SO_PASSPIDFD):
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        if option is not None:
            b.setsockopt(socket.SOL_SOCKET, option, 1)
        for room in (1, 3):
            socket.send_fds(a, [b"x"], [0] * (room + 1))
            before = numbers()
            received = recvmsg(b, maxSize=1, cmsgSize=4 * room)
            got = sum(len(data) for _, kind, data in received.ancillary if kind == socket.SCM_RIGHTS)
            told.append((4 * room, got, len(numbers() - before)))
            for fd in numbers() - before:
                os.close(fd)
    # The padding goes to one descriptor more, also where a process descriptor could have taken it.
    words = "without and with SO_PASSPIDFD, (cmsgSize, bytes of descriptors returned, descriptors installed)"
    return told == [(4, 8, 2), (12, 16, 4)] * 2, f"{words}: {told}"


SCENARIOS = {"odd-room": odd_room}


def main(wanted):
    unknown = set(wanted) - set(SCENARIOS)
    if unknown:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(SCENARIOS)}")
    missed = 0
    for name in wanted or SCENARIOS:
        try:
            shown, words = SCENARIOS[name]()
        except OSError as fault:  # a kernel without the option, for one
            shown, words = False, str(fault)
        missed += not shown
        print(f"{name}: {'shown' if shown else 'not shown'}: {words}")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
