"""Control messages that come beside the rights: credentials, pidfds, timestamps, the number of unread bytes."""

import pytest
from fdspec.conformance.observations import SCM_RIGHTS, SOL_SOCKET
from fdspec.conformance.raw import SCM_PIDFD
from fdspec.conformance.rawlooks import NO_PROCESS, SCM_CREDENTIALS, own_credentials, true_credentials, ucred
from fdspec.conformance.suite import DGRAM, MAY, MUST, PACKETS, RAW, SEQPACKET, SHOULD, STREAM, case
from fdspec.impls.errors import Unsupported

INQ = 84
"""SCM_INQ (include/uapi/asm-generic/socket.h)."""
TIMESTAMPS = {29, 63}
"""SCM_TIMESTAMP, as the 32-bit and the 64-bit struct timeval have it."""
ROOM = 256
NOBODY = 65534
"""The overflow user and group (/proc/sys/kernel/overflowuid)."""


def types(got):
    """Return the types of the control messages of level SOL_SOCKET, in order."""
    return [one.type for one in got.cmsgs if one.level == SOL_SOCKET]


@case("raw-credentials.before-rights", level=MUST, checks="C01 C01b", profiles=[RAW])
def test_credentials_come_before_the_rights(link, objects):
    """SO_PASSCRED: the sender's credentials, then the rights, in a control buffer that both just fill."""
    thing = objects.file()
    link.b.option("SO_PASSCRED", 1)
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(control=ROOM)
    assert types(got) == [SCM_CREDENTIALS, SCM_RIGHTS]
    assert tuple(link.layout.read_ints(got.cmsgs[0].data)) == own_credentials(link)
    assert got.things == [thing]
    assert got.control_length == link.layout.space(12) + link.layout.space(4)


@case("raw-credentials.order-is-fixed", level=MUST, checks="C01b LC07", profiles=[RAW])
def test_the_order_is_the_receivers(link, objects):
    """Sent as rights and then credentials, they arrive as credentials and then rights."""
    thing = objects.file()
    link.b.option("SO_PASSCRED", 1)
    sent = link.a.sendmsg(b"x", link.open(thing), control=ucred(link, *true_credentials(link)))
    assert not sent.failed
    got = link.b.recvmsg(control=ROOM)
    assert types(got) == [SCM_CREDENTIALS, SCM_RIGHTS]
    assert got.things == [thing]


@case("raw-credentials.sent-before-asked", level=MUST, checks="C02", profiles=[RAW])
def test_a_message_from_before_the_option(link, objects):
    """Sent before the receiver set SO_PASSCRED: process 0, the overflow user and group, and the descriptor."""
    thing = objects.file()
    link.a.sendmsg(b"x", link.open(thing))
    link.b.option("SO_PASSCRED", 1)
    got = link.b.recvmsg(control=ROOM)
    pid, user, group = link.layout.read_ints(got.cmsgs[0].data)
    assert (pid, user, group) == (0, NOBODY, NOBODY)
    assert got.things == [thing]


@case("raw-credentials.not-asked-for", level=MUST, checks="C03", profiles=[RAW])
def test_credentials_nobody_asked_for(link, objects):
    """Explicit credentials beside a descriptor, SO_PASSCRED off: the descriptor arrives, the credentials do not."""
    thing = objects.file()
    assert not link.a.sendmsg(b"x", link.open(thing), control=ucred(link, *true_credentials(link))).failed
    got = link.b.recvmsg(control=ROOM)
    assert types(got) == [SCM_RIGHTS]
    assert (got.things, got.has("MSG_CTRUNC")) == ([thing], False)


@case("raw-credentials.forged-without-privilege", level=MUST, checks="C04 L05", profiles=[RAW], needs=["calls"])
@pytest.mark.parametrize("which", ["pid", "user", "group"])
def test_forged_credentials_without_privilege(link, which):
    """Another's process id, user or group from an unprivileged child: EPERM, nothing is queued, no reference is kept."""
    pipe = link.pipe()
    child = link.unprivileged()
    user = child.user
    true_credentials(link)
    told = {"pid": (1, user, user), "user": (child.pid, 1, user), "group": (child.pid, user, 1)}[which]
    sent = child.end(link.a).sendmsg(b"x", [pipe.writer], control=ucred(link, *told))
    unknown = which != "pid" and not child.alone  # a user namespace may have no such user or group
    assert sent.errno == "EPERM" or (unknown and sent.errno == "EINVAL")
    child.wait()
    link.close(pipe.writer)
    assert pipe.released
    assert link.b.empty


@case("raw-credentials.of-no-process", level=MUST, checks="C04 A26 L05", profiles=[RAW])
def test_credentials_of_a_process_that_does_not_exist(link):
    """A process id that nobody has: ESRCH, or EPERM for a sender without privilege; the rights before it are let go of."""
    pipe = link.pipe()
    _, user, group = true_credentials(link)
    sent = link.a.sendmsg(b"x", [pipe.writer], control=ucred(link, NO_PROCESS, user, group))
    assert sent.errno in ("ESRCH", "EPERM")
    link.close(pipe.writer)
    assert pipe.released
    assert link.b.empty


@case("raw-credentials.forged-by-a-privileged-sender", level=MAY, checks="C04b", profiles=[RAW])
def test_a_privileged_sender_may_forge(link, objects):
    """A privileged sender gives the number of another process that exists, and the receiver sees it."""
    _, user, group = true_credentials(link)
    if user != 0:
        raise Unsupported("privilege", "the testee has no privilege to use")
    link.b.option("SO_PASSCRED", 1)
    sent = link.a.sendmsg(b"x", link.open(objects.file()), control=ucred(link, 1, user, group))
    if sent.errno == "EPERM":
        raise Unsupported("privilege", "root is not privileged here: EPERM for another's process id")
    got = link.b.recvmsg(control=ROOM)
    assert link.layout.read_ints(got.cmsgs[0].data)[0] == 1


@case("raw-pidfd.beside-rights", level=MUST, checks="C05 C01b", profiles=[RAW])
def test_a_pidfd_comes_behind_the_rights(link, objects):
    """SO_PASSCRED and SO_PASSPIDFD: credentials, rights, pidfd, in this order, and the pidfd is the sender's."""
    thing = objects.file()
    link.b.option("SO_PASSCRED", 1)
    link.b.option("SO_PASSPIDFD", 1)
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(control=ROOM)
    (pidfd,) = link.adopt_pidfd(got)
    assert types(got) == [SCM_CREDENTIALS, SCM_RIGHTS, SCM_PIDFD]
    assert got.things == [thing]
    assert link.table.pid_of(pidfd) == link.testee.pid


@case("raw-pidfd.is-close-on-exec", level=MUST, checks="C05b", profiles=[RAW])
def test_a_pidfd_is_close_on_exec(link, objects):
    """Received without MSG_CMSG_CLOEXEC: the descriptor is not close-on-exec, the pidfd is."""
    link.b.option("SO_PASSPIDFD", 1)
    link.a.sendmsg(b"x", link.open(objects.file()))
    got = link.b.recvmsg(control=ROOM)
    (pidfd,) = link.adopt_pidfd(got)
    assert [link.table.cloexec(fd) for fd in (*got.fds, pidfd)] == [False, True]


@case("raw-pidfd.without-room", level=MUST, checks="C06", profiles=[RAW])
def test_no_room_for_a_pidfd(link, objects):
    """Room for the rights alone: they arrive, no pidfd is installed, and MSG_CTRUNC tells."""
    thing = objects.file()
    link.b.option("SO_PASSPIDFD", 1)
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(control=link.layout.space(4))
    assert types(got) == [SCM_RIGHTS]
    assert got.things == [thing]
    assert got.has("MSG_CTRUNC")


@case("raw-security.label-or-none", level=SHOULD, checks="C07", profiles=[RAW])
def test_a_security_label(link, objects):
    """SO_PASSSEC: whether a label comes or not, the descriptor does, and nothing is flagged as lost."""
    thing = objects.file()
    link.b.option("SO_PASSSEC", 1)
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(control=ROOM)
    assert (got.things, got.has("MSG_CTRUNC")) == ([thing], False)


@case("raw-timestamp.before-rights", level=SHOULD, checks="C10", profiles=[RAW], types=PACKETS)
def test_a_timestamp_comes_before_the_rights(link, objects):
    """SO_TIMESTAMP on packets: a timestamp and then the rights; with room for the rights alone they are what is cut."""
    thing = objects.file()
    link.b.option("SO_TIMESTAMP", 1)
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(control=ROOM)
    first, second = types(got)
    assert first in TIMESTAMPS
    assert second == SCM_RIGHTS
    assert (got.things, got.has("MSG_CTRUNC")) == ([thing], False)


@case("raw-timestamp.not-on-a-stream", level=SHOULD, checks="C10b", profiles=[RAW], types=[STREAM])
def test_no_timestamp_on_a_stream(link, objects):
    """SO_TIMESTAMP on a stream: the rights alone."""
    thing = objects.file()
    link.b.option("SO_TIMESTAMP", 1)
    link.a.sendmsg(b"x", link.open(thing))
    got = link.b.recvmsg(control=ROOM)
    assert types(got) == [SCM_RIGHTS]
    assert got.things == [thing]


@case("raw-inq.behind-rights", level=SHOULD, checks="C12", profiles=[RAW], types=[STREAM])
def test_the_number_of_unread_bytes(link, objects):
    """SO_INQ on a stream: the rights, then SCM_INQ with the number of bytes that are still there."""
    thing = objects.file()
    link.b.option("SO_INQ", 1)
    link.a.sendmsg(b"abcdef", link.open(thing))
    got = link.b.recvmsg(2, control=ROOM)
    assert types(got) == [SCM_RIGHTS, INQ]
    assert link.layout.read_ints(got.cmsgs[1].data) == [4]
    assert got.things == [thing]


@case("raw-inq.not-on-packets", level=SHOULD, checks="C12b", profiles=[RAW], types=[DGRAM, SEQPACKET])
def test_unread_bytes_are_a_streams(link):
    """SO_INQ on datagrams and seqpackets is refused; a kernel that has it nowhere is not asked."""
    stream, other = link.pair(STREAM)
    stream.option("SO_INQ", 1)
    other.close()
    assert link.b.option_error("SO_INQ", 1) in ("ENOPROTOOPT", "EOPNOTSUPP")


@case("raw-credentials.inherited-by-accept", level=MUST, checks="C14", profiles=[RAW], types=[STREAM, SEQPACKET])
def test_an_accepted_socket_inherits_passcred(link, objects):
    """SO_PASSCRED on a listener: credentials come on the socket that it accepts, beside the descriptor."""
    thing = objects.file()
    address = link.address()
    listener = link.listen(address)
    listener.option("SO_PASSCRED", 1)
    client = link.connect(address)
    server = listener.accept()
    assert server.option_value("SO_PASSCRED") == 1
    client.sendmsg(b"x", link.open(thing))
    got = server.recvmsg(control=ROOM)
    assert types(got) == [SCM_CREDENTIALS, SCM_RIGHTS]
    assert got.things == [thing]


@case("raw-credentials.differing-are-not-glued", level=MUST, checks="C13", profiles=[RAW], types=[STREAM])
def test_data_of_two_processes(link):
    """A stream written by two processes: glued without SO_PASSCRED, kept apart with it."""
    child = link.child()
    for option, expected in ((0, [b"ab"]), (1, [b"a", b"b"])):
        link.b.option("SO_PASSCRED", option)
        link.a.sendmsg(b"a")
        child.end(link.a).sendmsg(b"b")
        seen = [link.b.recvmsg(control=ROOM).data for _ in expected]
        assert seen == expected
    child.wait()
