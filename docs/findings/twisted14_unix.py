"""What goes wrong in Twisted 14.0.2's transports over UNIX stream sockets, on the epoll reactor, under Python 2.7.

`python2.7 twisted14_unix.py [SCENARIO]` prints a line for each scenario; the exit code is 0 when all are shown.
"""

from __future__ import print_function

import contextlib
import errno
import fcntl
import json
import os
import resource
import shutil
import socket
import struct
import sys
import tempfile

from twisted.internet import epollreactor

epollreactor.install()

from lying_kernel import header, ints, lied_to, rights  # noqa: E402
from twisted.internet import interfaces, protocol, reactor  # noqa: E402 - the reactor is installed first
from twisted.python import log  # noqa: E402
from twisted.python.sendmsg import recv1msg, send1msg  # noqa: E402
from zope.interface import implementer  # noqa: E402

SCM_RIGHTS, MSG_PEEK, MSG_CTRUNC = 1, 0x02, 0x08
SO_PASSCRED, SO_PASSPIDFD = 16, 76
TOLD = []  # what Twisted logged: everything it could have said to anybody but the protocol


class Plain(protocol.Protocol):
    """Keeps what it is told: data, and the reason of the end. It cannot take descriptors."""

    def __init__(self):
        self.fds, self.data, self.lost = [], b"", None

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason=protocol.connectionDone):
        self.lost = reason.value


@implementer(interfaces.IFileDescriptorReceiver)
class Receiver(Plain):
    def fileDescriptorReceived(self, fd):
        self.fds.append(fd)


def turn(until=lambda: False, most=20):
    """Let the reactor work until something is so, or until nothing can be expected to happen any more."""
    for _ in range(most):
        reactor.iterate(0.01)
        if until():
            break


def connect(kind=Receiver, option=None):
    """Return the protocol of one connection and the plain socket at its other end."""
    directory = tempfile.mkdtemp()
    path = os.path.join(directory, "s")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1)
    receiver = kind()
    factory = protocol.ClientFactory()
    factory.noisy = False
    factory.buildProtocol = lambda _: receiver
    reactor.connectUNIX(path, factory)
    turn(lambda: receiver.connected)
    peer, _ = listener.accept()
    listener.close()
    shutil.rmtree(directory)
    peer.settimeout(5)
    if option is not None:
        receiver.transport.socket.setsockopt(socket.SOL_SOCKET, option, 1)
    del TOLD[:]
    return receiver, peer


def send(peer, data, *fds):
    packed = struct.pack("%di" % len(fds), *fds)
    return send1msg(peer.fileno(), data, 0, [(socket.SOL_SOCKET, SCM_RIGHTS, packed)])


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
    names = [os.readlink("/proc/self/fd/%d" % fd) for fd in sorted(left)]
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


def fatal(kind, option, *fds):
    """Return what came of a message: what was handed over, the data, whether struct.error ended it, how many are open."""
    receiver, peer = connect(kind, option)
    before = numbers()
    send(peer, b"x", *fds) if fds else peer.send(b"x")
    turn(lambda: receiver.lost is not None)
    lost = type(receiver.lost)
    return receiver.fds, receiver.data, lost is struct.error, len(end(receiver, peer, before))


def several_descriptors():
    told = [fatal(kind, None, 0, 0) for kind in (Receiver, Plain)]
    words = "2 sent, to a receiver and to a plain protocol: (handed over, data, struct.error, still open) %r" % told
    return told == [([], b"", True, 2)] * 2, words


def other_control_message():
    told = [fatal(Receiver, SO_PASSCRED, *fds) for fds in ([0], [])]
    words = "SO_PASSCRED, 1 sent and none: (handed over, data, struct.error, still open) %r" % told
    return told == [([], b"", True, 1), ([], b"", True, 0)], words


def pidfd_is_taken_for_a_descriptor():
    receiver, peer = connect(option=SO_PASSPIDFD)
    before = numbers()
    peer.send(b"x")
    turn(lambda: receiver.data)
    told = [os.readlink("/proc/self/fd/%d" % fd) for fd in receiver.fds]
    end(receiver, peer, before)
    return told == ["anon_inode:[pidfd]"], "SO_PASSPIDFD, no descriptor sent: handed over as if it had been %r" % told


def pidfd_leaks():
    receiver, peer = connect(option=SO_PASSPIDFD)
    before = numbers()
    send(peer, b"x", 0)
    turn(lambda: receiver.data)
    told = len(receiver.fds)
    left = end(receiver, peer, before)
    return (told, left) == (1, ["anon_inode:[pidfd]"]), "1 sent, handed over %d, still open afterwards %r" % (
        told,
        left,
    )


def ctrunc_ignored():
    receiver, peer = connect()
    before = numbers()
    send(peer, b"x", 0, 0)
    with no_free_numbers():
        flags = recv1msg(receiver.transport.fileno(), MSG_PEEK, 1)[1]
        turn(lambda: receiver.data)
    data, told, lost, logged = receiver.data, receiver.fds, receiver.lost, list(TOLD)
    end(receiver, peer, before)
    shown = bool(flags & MSG_CTRUNC) and (data, told, lost, logged) == (b"x", [], None, [])
    return shown, "2 sent, no number free, MSG_CTRUNC set: data %r, descriptors %r, error %r, logged %r" % (
        data,
        told,
        lost,
        logged,
    )


def not_close_on_exec():
    receiver, peer = connect()
    before = numbers()
    send(peer, b"x", 0)
    turn(lambda: receiver.data)
    flags = [fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC for fd in receiver.fds]
    end(receiver, peer, before)
    return flags == [0], "FD_CLOEXEC of a received descriptor: %r" % flags


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
        (got,) = struct.unpack("i", recv1msg(peer.fileno(), 0, 1)[2][0][2])
        arrived = os.fstat(got).st_ino
        os.close(got)
        os.close(fd)
    end(receiver, peer, before)
    return arrived == other != meant, "queued inode %d, closed, its number taken by inode %d: the peer got inode %d" % (
        meant,
        other,
        arrived,
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
    return shown, "descriptor 900, which is not open: %r %s, logged %r: neither EBADF nor the number" % (
        lost,
        lost,
        TOLD,
    )


def lost_before_a_broken_write():
    told = []
    for data in (b"", b"to nobody"):
        receiver, peer = connect()
        before = numbers()
        for _ in range(3):
            send(peer, b"m", 0)
        peer.close()
        receiver.transport.write(data)
        turn(lambda receiver=receiver: receiver.lost is not None)
        told.append((len(receiver.fds), receiver.data))
        end(receiver, peer, before)
    words = "3 sent, then the peer closed: handed over %r; with something to write: %r" % tuple(told)
    return told == [(3, b"mmm"), (1, b"m")], words


def shown_to(kind, control=None, **how):
    """Return what comes of a message of one byte, when its control data is a lie: what was handed over, the data, why the
    connection was lost, how many descriptors stay open that were not handed over."""

    def program():
        receiver, peer = connect(kind)
        before = numbers()
        peer.send(b"x")
        turn(lambda: receiver.lost is not None or receiver.data)
        lost = receiver.lost and type(receiver.lost).__name__
        error = errno.errorcode.get(getattr(receiver.lost, "errno", None), "")
        told, receiver.fds = receiver.fds, [fd for fd in receiver.fds if fd >= 0]
        return told, receiver.data.decode(), ("%s %s" % (lost, error)).strip(), len(end(receiver, peer, before))

    return lied_to(program, control, **how)


def close_fails():
    _, data, lost, _ = shown_to(Plain, close_fails=True)
    shown = (data, lost) == ("", "OSError EIO")
    return shown, "1 for a protocol that cannot take it, closing it says EIO: data %r, lost by %s" % (str(data), lost)


def length_believed():
    told = [shown_to(Receiver, lambda fds, length=length: header(length) + ints(*fds)) for length in (420, 2**31)]
    shown = told[0] == [[], "", "error", 1] and told[1] in ("ended by SIGSEGV", [[], "", "MemoryError", 1])
    words = "1 comes, cmsg_len is 420 and 2**31: (handed over, data, lost by struct.error or other, still open)"
    return shown, "%s %s" % (words, json.dumps(told))


def length_overflows():
    told = shown_to(Receiver, lambda fds: rights(*fds) + header(2**63))
    words = "1 sound one, then a cmsg_len of 2**63: (handed over, data, lost by, still open)"
    return told == [[], "", "OverflowError", 1], "%s %s" % (words, json.dumps(told))


SCENARIOS = {
    one.__name__.replace("_", "-"): one
    for one in (
        several_descriptors,
        other_control_message,
        pidfd_is_taken_for_a_descriptor,
        pidfd_leaks,
        ctrunc_ignored,
        not_close_on_exec,
        number_reused_while_queued,
        error_without_errno,
        lost_before_a_broken_write,
        close_fails,
        length_believed,
        length_overflows,
    )
}


def observe(event):
    failure = event.get("failure")
    TOLD.append(repr(failure.value) if failure else log.textFromEventDict(event))


def main(wanted):
    unknown = set(wanted) - set(SCENARIOS)
    if unknown:
        sys.exit("no such scenario: %s; there are: %s" % (", ".join(sorted(unknown)), ", ".join(sorted(SCENARIOS))))
    log.startLoggingWithObserver(observe, setStdout=False)
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
