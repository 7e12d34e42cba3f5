"""What goes wrong in Twisted 26.10.0's transports over UNIX stream sockets, on the epoll reactor.

`python twisted_unix.py [SCENARIO]` prints a line for each scenario; the exit code is 0 when all of them are shown.
"""

import contextlib
import errno
import fcntl
import os
import resource
import socket
import sys
import tempfile

from twisted.internet import epollreactor

epollreactor.install()

from lying_kernel import header, ints, lied_to  # noqa: E402
from twisted.internet import interfaces, protocol, reactor  # noqa: E402 - the reactor is installed first
from twisted.python import log  # noqa: E402
from zope.interface import implementer  # noqa: E402

SO_PASSPIDFD = 76
TOLD = []  # what Twisted logged: everything it could have said to anybody but the protocol


class Plain(protocol.Protocol):
    """Keeps what it is told: data, and the reason of the end. It cannot take descriptors."""

    def __init__(self, hook):
        self.hook, self.fds, self.data, self.lost = hook, [], b"", None

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason=protocol.connectionDone):
        self.lost = reason.value


@implementer(interfaces.IFileDescriptorReceiver)
class Receiver(Plain):
    """Keeps descriptors, too."""

    def fileDescriptorReceived(self, fd):
        self.fds.append(fd)
        if self.hook is not None:
            self.hook(self)


def turn(until=lambda: False, most=20):
    """Let the reactor work until something is so, or until nothing can be expected to happen any more."""
    for _ in range(most):
        reactor.iterate(0.01)
        if until():
            break


def connect(hook=None, kind=Receiver):
    """Return the protocol of one connection and the plain socket at its other end."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        path = os.path.join(directory, "s")
        listener.bind(path)
        listener.listen(1)
        receiver = kind(hook)
        factory = protocol.ClientFactory()
        factory.noisy = False
        factory.buildProtocol = lambda _: receiver
        reactor.connectUNIX(path, factory)
        turn(lambda: receiver.connected)
        peer, _ = listener.accept()
    peer.settimeout(5)
    TOLD.clear()
    return receiver, peer


def numbers():
    """Return the numbers that are open, without the listing's own."""
    return {int(name) for name in os.listdir("/proc/self/fd") if os.path.islink("/proc/self/fd/" + name)}


def end(receiver, peer, before):
    """End the connection and return what is still open that neither stood before nor was handed over; close it all."""
    if receiver.lost is None:
        receiver.transport.abortConnection()
        turn(lambda: receiver.lost is not None)
    peer.close()
    left = numbers() - before - set(receiver.fds)
    names = [os.readlink(f"/proc/self/fd/{fd}") for fd in sorted(left)]
    for fd in left | set(receiver.fds):
        os.close(fd)
    return names


@contextlib.contextmanager
def no_free_numbers():
    taken, (soft, hard) = numbers(), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(n for n in range(soft) if n not in taken), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def callback_raises():
    def hook(_):
        raise RuntimeError

    receiver, peer = connect(hook)
    before = numbers()
    socket.send_fds(peer, [b"x"], [0, 0, 0])
    turn(lambda: receiver.lost is not None)
    told, lost = len(receiver.fds), receiver.lost
    left = end(receiver, peer, before)
    return (told, len(left)) == (
        1,
        2,
    ), f"3 sent, callbacks {told}, the end {lost!r}, still open and never handed over {len(left)}"


def callback_loses_connection():
    receiver, peer = connect(lambda one: one.transport.loseConnection())
    receiver.transport.loseWriteConnection()
    turn()
    before = numbers()
    socket.send_fds(peer, [b"x"], [0, 0])
    turn(lambda: receiver.lost is not None)
    told, lost = len(receiver.fds), receiver.lost
    left = end(receiver, peer, before)
    return (told, len(left)) == (
        1,
        1,
    ), f"2 sent, callbacks {told}, the end {lost!r}, logged {TOLD}, never handed over {len(left)}"


def ctrunc_ignored():
    receiver, peer = connect()
    before = numbers()
    socket.send_fds(peer, [b"x"], [0, 0])
    with no_free_numbers():
        flags = receiver.transport.socket.recvmsg(1, 64, socket.MSG_PEEK)[2]
        turn(lambda: receiver.data)
    data, told, lost, logged = receiver.data, receiver.fds, receiver.lost, list(TOLD)
    end(receiver, peer, before)
    shown = bool(flags & socket.MSG_CTRUNC) and (data, told, lost, logged) == (b"x", [], None, [])
    return (
        shown,
        f"2 sent, no number free, MSG_CTRUNC set: data {data!r}, descriptors {told}, error {lost}, logged {logged}",
    )


def not_close_on_exec():
    receiver, peer = connect()
    before = numbers()
    socket.send_fds(peer, [b"x"], [0, 0, 0])
    turn(lambda: receiver.data)
    flags = [fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in receiver.fds]
    end(receiver, peer, before)
    return flags == [0, 0, 0], f"FD_CLOEXEC of three received descriptors: {flags}"


def pidfd_leaks():
    receiver, peer = connect()
    receiver.transport.socket.setsockopt(socket.SOL_SOCKET, SO_PASSPIDFD, 1)
    before = numbers()
    socket.send_fds(peer, [b"x"], [0])
    turn(lambda: receiver.data)
    told = len(receiver.fds)
    left = end(receiver, peer, before)
    return (told, left) == (1, ["anon_inode:[pidfd]"]), f"1 sent, handed over {told}, still open afterwards {left}"


def number_reused_while_queued():
    receiver, peer = connect()
    before = numbers()
    with tempfile.TemporaryFile() as mine, tempfile.TemporaryFile() as secret:
        meant, other = os.fstat(mine.fileno()).st_ino, os.fstat(secret.fileno()).st_ino
        fd = os.dup(mine.fileno())
        receiver.transport.sendFileDescriptor(fd)
        receiver.transport.write(b"x")
        os.close(fd)
        assert os.dup(secret.fileno()) == fd
        turn(most=3)
        _, got, _, _ = socket.recv_fds(peer, 1, 1)
        arrived = os.fstat(got[0]).st_ino
        os.close(got[0])
        os.close(fd)
    end(receiver, peer, before)
    return (
        arrived == other != meant,
        f"queued inode {meant}, closed, its number taken by inode {other}: the peer got inode {arrived}",
    )


def error_without_errno():
    receiver, peer = connect()
    before = numbers()
    receiver.transport.sendFileDescriptor(900)
    receiver.transport.write(b"x")
    turn(lambda: receiver.lost is not None)
    lost = receiver.lost
    end(receiver, peer, before)
    shown = lost is not None and getattr(lost, "osError", None) is None and not lost.args and not TOLD
    return shown, f"descriptor 900, which is not open: {lost!r} {lost}, logged {TOLD}: neither EBADF nor the number"


def lost_before_a_broken_write():
    told = []
    for data in (b"", b"to nobody"):
        receiver, peer = connect()
        before = numbers()
        for _ in range(3):
            socket.send_fds(peer, [b"m"], [0])
        peer.close()
        receiver.transport.write(data)
        turn(lambda receiver=receiver: receiver.lost is not None)
        told.append((len(receiver.fds), receiver.data))
        end(receiver, peer, before)
    words = f"3 sent, then the peer closed: handed over {told[0]}; with something to write: {told[1]}"
    return told == [(3, b"mmm"), (1, b"m")], words


def shown_to(kind, control=None, **how):
    """Return what comes of a message of one byte, when its control data is a lie: what was handed over, the data, why the
    connection was lost, how many descriptors stay open that were not handed over."""

    def program():
        receiver, peer = connect(kind=kind)
        before = numbers()
        peer.send(b"x")
        turn(lambda: receiver.lost is not None or receiver.data)
        lost = receiver.lost and type(receiver.lost).__name__
        error = errno.errorcode.get(getattr(receiver.lost, "errno", None), "")
        told, receiver.fds = receiver.fds, [fd for fd in receiver.fds if fd >= 0]
        return told, receiver.data.decode(), ("%s %s" % (lost, error)).strip(), len(end(receiver, peer, before))

    return lied_to(program, control, **how)


def close_fails():
    _, data, lost, left = shown_to(Plain, files=3, close_fails=True)
    shown = (data, lost, left - 1) == ("", "OSError EIO", 2)
    words = "3 for a protocol that cannot take them, closing the first says EIO: "
    return shown, f"{words}data {data!r}, lost by {lost}, others still open {left - 1}"


def half_an_int():
    fds, data, lost, left = shown_to(Receiver, lambda fds: header(22) + ints(*fds, 0))
    shown = (fds, data, lost, left) == ([], "", "error", 1)
    return shown, f"an int and two bytes: handed over {fds}, data {data!r}, lost by struct.{lost}, still open {left}"


def refused_is_a_descriptor():
    fds, data, _, _ = shown_to(Receiver, lambda fds: header(24) + ints(*fds, -errno.EACCES))
    plain = shown_to(Plain, lambda fds: header(24) + ints(-errno.EACCES, *fds))
    shown = (fds[1:], data, plain) == ([-errno.EACCES], "x", [[], "", "OSError EBADF", 1])
    words = "a sound one and -EACCES, which stands for a refused one: handed over"
    return shown, f"{words} {fds}; nobody takes them: data {plain[1]!r}, lost by {plain[2]}, still open {plain[3]}"


SCENARIOS = {
    one.__name__.replace("_", "-"): one
    for one in (
        callback_raises,
        callback_loses_connection,
        ctrunc_ignored,
        not_close_on_exec,
        pidfd_leaks,
        number_reused_while_queued,
        error_without_errno,
        lost_before_a_broken_write,
        close_fails,
        half_an_int,
        refused_is_a_descriptor,
    )
}


def observe(event):
    failure = event.get("failure")
    TOLD.append(repr(failure.value) if failure else log.textFromEventDict(event))


def main(wanted):
    unknown = set(wanted) - set(SCENARIOS)
    if unknown:
        sys.exit(f"no such scenario: {', '.join(sorted(unknown))}; there are: {', '.join(SCENARIOS)}")
    log.startLoggingWithObserver(observe, setStdout=False)
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
