"""What goes wrong in `socket.send_fds` and `socket.recv_fds` of a Python that ignores their flags and address.

`python3.11 python_socket_fds.py [SCENARIO]` prints a line for each scenario; the exit code is 0 when all are shown.
"""

import errno
import fcntl
import os
import signal
import socket
import sys

from lying_kernel import header, ints, lied_to

SO_PASSCRED, SO_TIMESTAMP, SO_PASSPIDFD = 16, 29, 76


class Waited(Exception):
    """A call that was asked not to wait was still waiting when the alarm came."""


def alarm(*_):
    raise Waited


def waits(call, *arguments):
    """Say whether a call waits until a signal ends it; the outcome does not depend on how long that takes."""
    signal.signal(signal.SIGALRM, alarm)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        call(*arguments)
    except Waited:
        return True
    except OSError:
        return False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return False


def pair(kind=socket.SOCK_SEQPACKET, option=None):
    a, b = socket.socketpair(socket.AF_UNIX, kind)
    if option is not None:
        b.setsockopt(socket.SOL_SOCKET, option, 1)
    return a, b


def numbers():
    """Return the numbers that are open, without the listing's own."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.islink("/proc/self/fd/" + name)}


def close(fds):
    for fd in fds:
        os.close(fd)


def there(sock, flags=0):
    """Return the data that can be received now, or None."""
    try:
        return sock.recv(99, socket.MSG_DONTWAIT | flags)
    except BlockingIOError:
        return None


def receive_flags_ignored():
    a, b = pair()
    socket.send_fds(a, [b"abc"], [0])
    data, fds, _, _ = socket.recv_fds(b, 3, 1, socket.MSG_PEEK | socket.MSG_CMSG_CLOEXEC)
    left = there(b)
    inheritable = not fcntl.fcntl(fds[0], fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    close(fds)
    waited = waits(socket.recv_fds, b, 3, 1, socket.MSG_DONTWAIT)
    shown = (data, left) == (b"abc", None) and inheritable and waited
    return (
        shown,
        f"MSG_PEEK: {data!r}, afterwards {left}; MSG_CMSG_CLOEXEC: inheritable={inheritable}; MSG_DONTWAIT: waited={waited}",
    )


def send_flags_ignored():
    told = []
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        a, b = pair(kind)
        sent = socket.send_fds(a, [b"ab"], [0], socket.MSG_OOB)
        told.append((sent, there(b)))
    a, b = pair(socket.SOCK_STREAM)
    a.setblocking(False)
    try:
        while a.send(bytes(65536)):
            pass
    except BlockingIOError:
        a.setblocking(True)
    waited = waits(socket.send_fds, a, [b"x"], [0], socket.MSG_DONTWAIT)
    shown = told == [(2, b"ab"), (2, b"ab")] and waited
    return (
        shown,
        f"MSG_OOB on datagram and stream: sent, arrived as plain data {told}; MSG_DONTWAIT, buffer full: waited={waited}",
    )


def address_ignored():
    other = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    other.bind(f"\0finding-{os.getpid()}")
    a, b = pair(socket.SOCK_DGRAM)
    socket.send_fds(a, [b"x"], [0], 0, other.getsockname())
    at_peer, at_address = there(b), there(other)
    a, b = pair(socket.SOCK_STREAM)
    sent = socket.send_fds(a, [b"x"], [0], 0, other.getsockname())
    shown = (at_peer, at_address, sent) == (b"x", None, 1)
    return (
        shown,
        f"arrived at the connected peer {at_peer!r}, at the address {at_address}; a stream sent {sent} instead of EISCONN",
    )


def room_taken():
    told = []
    for option in (SO_PASSCRED, SO_TIMESTAMP):
        a, b = pair(option=option)
        socket.send_fds(a, [b"x"], [0])
        before = numbers()
        data, fds, flags, _ = socket.recv_fds(b, 1, 1)
        told.append((data, fds, bool(flags & socket.MSG_CTRUNC), len(numbers() - before)))
    return told == [(b"x", [], True, 0)] * 2, f"1 sent, room for 1: (data, descriptors, MSG_CTRUNC, installed) {told}"


def pidfd_leaks():
    told = []
    for fds in ([0], []):
        a, b = pair(option=SO_PASSPIDFD)
        before = numbers()
        socket.send_fds(a, [b"x"], fds) if fds else a.send(b"x")
        got = socket.recv_fds(b, 1, 8)[1]
        left = numbers() - before - set(got)
        told.append([os.readlink(f"/proc/self/fd/{fd}") for fd in left])
        close(left | set(got))
    return told == [
        ["anon_inode:[pidfd]"]
    ] * 2, f"open beside what was returned, with a descriptor sent and without: {told}"


def refused_is_a_descriptor():
    a, b = pair()
    a.send(b"x")
    told = lied_to(lambda: socket.recv_fds(b, 1, 4)[1], lambda fds: header(24) + ints(-errno.EACCES, *fds))
    shown = isinstance(told, list) and told[0] == -errno.EACCES and len(told) == 2
    return shown, f"-EACCES in the place of a refused descriptor, then a sound one: returned as descriptors {told}"


SCENARIOS = {
    one.__name__.replace("_", "-"): one
    for one in (
        receive_flags_ignored,
        send_flags_ignored,
        address_ignored,
        room_taken,
        pidfd_leaks,
        refused_is_a_descriptor,
    )
}


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
