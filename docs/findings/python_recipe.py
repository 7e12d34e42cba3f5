"""What goes wrong in the two functions that the documentation of `socket.sendmsg` and `recvmsg` gives as examples.

`python3 python_recipe.py [SCENARIO]` prints a line for each scenario; the exit code is 0 when all of them are shown.
"""

import array
import contextlib
import errno
import fcntl
import os
import resource
import socket
import sys

from lying_kernel import header, ints, lied_to

SO_PASSCRED, SO_TIMESTAMP, SO_PASSPIDFD = 16, 29, 76


def send_fds(sock, msg, fds):  # the recipe
    return sock.sendmsg([msg], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


def recv_fds(sock, msglen, maxfds):  # the recipe
    found = array.array("i")
    size = found.itemsize
    msg, ancdata, _flags, _addr = sock.recvmsg(msglen, socket.CMSG_LEN(maxfds * size))
    for level, kind, data in ancdata:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            found.frombytes(data[: len(data) // size * size])
    return msg, list(found)


def pair(option=None):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if option is not None:
        b.setsockopt(socket.SOL_SOCKET, option, 1)
    return a, b


def numbers():
    """Return the numbers that are open, without the listing's own."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.islink("/proc/self/fd/" + name)}


def close(fds):
    for fd in fds:
        os.close(fd)


@contextlib.contextmanager
def free_numbers(count):
    """Lower RLIMIT_NOFILE until exactly `count` numbers are free."""
    taken, (soft, hard) = numbers(), resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = next(n for n in range(soft) if sum(free not in taken for free in range(n)) == count)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def peeked_flags(sock, room):
    """Return the flags that the kernel gives for the next message, which stays; the copies are closed."""
    before = numbers()
    flags = sock.recvmsg(1, socket.CMSG_LEN(4 * room), socket.MSG_PEEK)[2]
    close(numbers() - before)
    return flags


def ctrunc_dropped():
    a, b = pair()
    told = []
    for sent, room in ((5, 2), (1, 0)):
        send_fds(a, b"x", [0] * sent)
        kernel = bool(peeked_flags(b, room) & socket.MSG_CTRUNC)
        data, fds = recv_fds(b, 1, room)
        close(fds)
        told.append((sent, room, kernel, data, len(fds)))
    shown = told == [(5, 2, True, b"x", 2), (1, 0, True, b"x", 0)]
    return shown, "; ".join(
        f"{sent} sent, room for {room}: the kernel says MSG_CTRUNC={kernel}, the call returns {data!r} and {count}"
        for sent, room, kernel, data, count in told
    )


def ctrunc_dropped_at_the_limit():
    a, b = pair()
    told = []
    for free in range(3):
        send_fds(a, b"x", [0, 1, 2])
        with free_numbers(free):
            flags = b.recvmsg(1, socket.CMSG_LEN(12), socket.MSG_PEEK)
            close(fd for _, _, data in flags[1] for fd in array.array("i", data))
            fds = recv_fds(b, 1, 3)[1]
        close(fds)
        told.append((bool(flags[2] & socket.MSG_CTRUNC), len(fds)))
    shown = told == [(True, 0), (True, 1), (True, 2)]
    return shown, f"3 sent, 0 to 2 numbers free: (MSG_CTRUNC by the kernel, descriptors returned) {told}, and no error"


def room_taken():
    told = []
    for option in (SO_PASSCRED, SO_TIMESTAMP):
        a, b = pair(option)
        send_fds(a, b"x", [0])
        before = numbers()
        told.append((*recv_fds(b, 1, 1), len(numbers() - before)))
    return told == [
        (b"x", [], 0)
    ] * 2, f"1 sent, room for 1, SO_PASSCRED then SO_TIMESTAMP: returned and installed {told}"


def pidfd_leaks():
    told = []
    for fds in ([0], []):
        a, b = pair(SO_PASSPIDFD)
        before = numbers()
        a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
        got = recv_fds(b, 1, 8)[1]
        left = numbers() - before - set(got)
        told.append([os.readlink(f"/proc/self/fd/{fd}") for fd in left])
        close(left | set(got))
    return told == [
        ["anon_inode:[pidfd]"]
    ] * 2, f"open beside what was returned, with a descriptor sent and without: {told}"


def not_close_on_exec():
    a, b = pair()
    send_fds(a, b"x", [0, 1, 2])
    fds = recv_fds(b, 1, 3)[1]
    flags = [fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in fds]
    close(fds)
    return flags == [0, 0, 0], f"FD_CLOEXEC of three received descriptors: {flags}"


def refused_is_a_descriptor():
    a, b = pair()
    a.send(b"x")
    told = lied_to(lambda: recv_fds(b, 1, 4)[1], lambda fds: header(24) + ints(-errno.EACCES, *fds))
    shown = isinstance(told, list) and told[0] == -errno.EACCES and len(told) == 2
    return shown, f"-EACCES in the place of a refused descriptor, then a sound one: returned as descriptors {told}"


SCENARIOS = {
    one.__name__.replace("_", "-"): one
    for one in (
        ctrunc_dropped,
        ctrunc_dropped_at_the_limit,
        room_taken,
        pidfd_leaks,
        not_close_on_exec,
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
