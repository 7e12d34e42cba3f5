"""What goes wrong in `send1msg` and `recv1msg`, the C extension of Twisted 14.0.2, under Python 2.7.

`python2.7 twisted_send1msg.py [SCENARIO]` prints a line for each scenario; the exit code is 0 when all are shown.
"""

from __future__ import print_function

import ctypes
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time

from lying_kernel import header, ints, lied_to, rights
from twisted.python.sendmsg import recv1msg, send1msg

SCM_RIGHTS, MSG_CTRUNC, MSG_TRUNC, SO_PASSPIDFD = 1, 0x08, 0x20, 76


def send(sock, data, *fds):
    packed = struct.pack("%di" % len(fds), *fds)
    return send1msg(sock.fileno(), data, 0, [(socket.SOL_SOCKET, SCM_RIGHTS, packed)])


def numbers():
    """Return the numbers that are open, without the listing's own."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.islink("/proc/self/fd/" + name)}


def odd_room():
    told = []
    for option in (None, SO_PASSPIDFD):
        a, b = socket.socketpair()
        if option is not None:
            b.setsockopt(socket.SOL_SOCKET, option, 1)
        for room in (1, 3):
            send(a, b"x", *([0] * (room + 1)))
            before = numbers()
            ancillary = recv1msg(b.fileno(), 0, 1, 4 * room)[2]
            got = sum(len(data) for _, kind, data in ancillary if kind == SCM_RIGHTS)
            told.append((4 * room, got, len(numbers() - before)))
            for fd in numbers() - before:
                os.close(fd)
    # The padding goes to one descriptor more, also where a process descriptor could have taken it.
    words = "without and with SO_PASSPIDFD, (cmsg_size, bytes of descriptors returned, descriptors installed)"
    return told == [(4, 8, 2), (12, 16, 4)] * 2, "%s: %r" % (words, told)


def truncation_over_read():
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.send(b"x" * 20000)
    data = recv1msg(b.fileno(), MSG_TRUNC, 4)[0]
    shown = len(data) == 20000 and data != b"x" * 20000
    foreign = sum(char != b"x" for char in data[4:])
    return shown, "maxsize=4, MSG_TRUNC, a packet of 20000 bytes: %d bytes returned, %d of them never sent" % (
        len(data),
        foreign,
    )


def holds_the_interpreter_lock():
    a, b = socket.socketpair()
    child = os.fork()
    if child == 0:
        thread = threading.Thread(target=lambda: (time.sleep(0.2), a.send(b"x")))
        thread.daemon = True
        thread.start()
        signal.alarm(2)  # kills the process, if the thread never gets to send
        recv1msg(b.fileno(), 0, 1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    shown = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
    return shown, "recv1msg on a blocking socket, a thread about to send: ended by %s" % (
        "SIGALRM, the thread never ran" if shown else "the message"
    )


def memory_error_leaks():
    ctypes.CDLL(None).mallopt(-3, 65536)  # M_MMAP_THRESHOLD: every block of 64 KiB is a mapping of its own
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    data = b"x" * 150000
    send(a, data, 0)
    before = numbers()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    outcome = "MemoryError"
    for allowed in range(0, 1 << 20, 1 << 14):  # until the buffer can be had and its copy cannot: the message is taken
        resource.setrlimit(resource.RLIMIT_AS, (used + allowed, hard))
        try:
            outcome = "%d bytes" % len(recv1msg(b.fileno(), socket.MSG_DONTWAIT, len(data))[0])
        except MemoryError:
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        if outcome != "MemoryError" or numbers() != before:
            break
    left = len(numbers() - before)
    return (outcome, left) == ("MemoryError", 1), "%s, descriptors left open: %d" % (outcome, left)


def shown_to(room, control, **how):
    """Return what comes of control data that lies: the data's lengths or the error, and how many are open in the end."""
    a, b = socket.socketpair()
    a.send(b"x")

    def program():
        before = numbers()
        try:
            outcome = [len(data) for _, _, data in recv1msg(b.fileno(), 0, 1, 4 * room)[2]]
        except (OverflowError, MemoryError) as error:
            outcome = ("%s: %s" % (type(error).__name__, error)).rstrip(": ")
        return outcome, len(numbers() - before)

    return lied_to(program, control, **how)


def length_believed():
    cut = {"files": 2, "flags": MSG_CTRUNC}
    told = shown_to(2, lambda fds: header(76) + ints(*fds), **cut)
    huge = shown_to(2, lambda fds: header(2**31) + ints(*fds), **cut)
    beyond = shown_to(8, lambda fds: header(28) + ints(*fds) + ints(0), told=24, files=2)
    shown = (told, beyond) == ([[60], 2], [[12], 2]) and huge in ("ended by SIGSEGV", ["MemoryError", 2])
    words = "2 come, cmsg_len is that of 15: bytes returned and descriptors %r; it is 2**31: %s; of 3, unflagged: %r"
    return shown, words % (told, huge, beyond)


def length_overflows():
    told = shown_to(8, lambda fds: rights(*fds) + header(2**63))
    words = "1 sound one, then a cmsg_len of 2**63: (error, still open)"
    return told == ["OverflowError: string is too large", 1], "%s %s" % (words, json.dumps(told))


SCENARIOS = {
    one.__name__.replace("_", "-"): one
    for one in (
        odd_room,
        truncation_over_read,
        holds_the_interpreter_lock,
        memory_error_leaks,
        length_believed,
        length_overflows,
    )
}


def main(wanted):
    unknown = set(wanted) - set(SCENARIOS)
    if unknown:
        sys.exit("no such scenario: %s; there are: %s" % (", ".join(sorted(unknown)), ", ".join(sorted(SCENARIOS))))
    missed = 0
    for name in wanted or sorted(SCENARIOS):
        try:
            shown, words = SCENARIOS[name]()
        except (OSError, IOError) as fault:  # a kernel without the option, for one
            shown, words = False, str(fault)
        missed += not shown
        print("%s: %s: %s" % (name, "shown" if shown else "not shown", words))
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
