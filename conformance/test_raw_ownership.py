"""Who holds what: senders, queues, receivers, and threads that do it all at once."""

import pytest
from fdspec.conformance.observations import SOL_SOCKET
from fdspec.conformance.rawlooks import NO_PROCESS, true_credentials, ucred
from fdspec.conformance.suite import DGRAM, MUST, PACKETS, RAW, SEQPACKET, SHOULD, STREAM, case
from fdspec.impls.protocol.messages import Steps
from fdspec.impls.protocol.values import Memory

WORKERS, MESSAGES, ROUND = 4, 1000, 250
"""Threads on each side, messages of each, and how many in one round trip."""


@case("raw-ownership.sender-keeps", level=MUST, checks="L01", profiles=[RAW])
def test_the_sender_keeps_its_own(link, objects):
    """Sent, received, and the received one closed: the sender's number is open, refers to the same, and has its flags."""
    thing = objects.file()
    (fd,) = link.open(thing)
    flags = link.table.flags(fd)
    link.a.sendmsg(b"x", [fd])
    link.close(*link.b.recvmsg(room=1).fds)
    assert link.table.identity(fd) == thing.identity
    assert link.table.flags(fd) == flags


@case("raw-ownership.last-copy", level=MUST, checks="L02 S08", profiles=[RAW])
def test_the_end_of_a_pipe_comes_with_the_last_copy(link):
    """The sender's, the queued and the received writer are closed one after the other: only the last ends the pipe."""
    pipe = link.pipe()
    link.a.sendmsg(b"x", [pipe.writer])
    link.a.sendmsg(b"y", [pipe.writer])
    link.close(pipe.writer)
    assert not pipe.released
    (fd,) = link.b.recvmsg(room=1).fds
    link.close(fd)
    assert not pipe.released
    (fd,) = link.b.recvmsg(room=1).fds
    assert not pipe.released
    link.close(fd)
    assert pipe.released


@case("raw-ownership.failing-sends", level=MUST, checks="L05 S04 S05 A08", profiles=[RAW])
def test_failing_sends_keep_nothing(link):
    """A good descriptor in front of what makes each send fail: the error, nothing queued, and no reference is kept."""
    pipe = link.pipe()
    good = link.layout.rights([pipe.writer])
    wrong = {
        "EBADF": link.layout.rights([-1]),
        "EINVAL": link.layout.cmsg(SOL_SOCKET, 77, b""),
    }
    for errno, bad in wrong.items():
        assert link.a.sendmsg(b"x", control=good + bad).errno == errno
    assert link.a.sendmsg(b"x", [pipe.writer] * 254).failed
    assert link.a.sendmsg([b"x"] * 1025, [pipe.writer]).errno == "EMSGSIZE"
    link.close(pipe.writer)
    assert pipe.released
    assert link.b.empty


@case("raw-ownership.rights-beside-refused-credentials", level=MUST, checks="L05c A26", profiles=[RAW])
def test_rights_beside_refused_credentials(link):
    """Good rights, then credentials of no process: the send fails, nothing is queued, no reference is kept."""
    pipe = link.pipe()
    _, user, group = true_credentials(link)
    refused = ucred(link, NO_PROCESS, user, group)
    assert link.a.sendmsg(b"x", [pipe.writer], control=refused).errno in ("ESRCH", "EPERM")
    link.close(pipe.writer)
    assert pipe.released
    assert link.b.empty


@case("raw-ownership.discarding-receives", level=MUST, checks="L07 R02 R03", profiles=[RAW])
@pytest.mark.parametrize("how", ["read", "recv", "recvfrom", "readv", "recvmsg", "short-control"])
def test_discarding_receives_install_nothing(link, how):
    """read, recv, recvfrom, readv, recvmsg without control or with too little of it: no new number, and the file released."""
    pipe = link.pipe()
    link.a.sendmsg(b"x", [pipe.writer])
    link.close(pipe.writer)
    before = link.table.numbers()
    if how == "recvmsg":
        link.b.recvmsg()
    elif how == "short-control":
        link.b.recvmsg(control=link.layout.header + 3)
    else:
        link.b.call(how, iov=[Memory(size=8)] * (2 if how == "recvfrom" else 1))  # its second is room for the address
    assert link.table.numbers() == before
    assert pipe.released


@case("raw-ownership.many-messages", level=MUST, checks="L08", profiles=[RAW])
def test_many_messages_leave_the_table_alone(link, objects):
    """2,000 messages with three descriptors and room for 0 to 5 of them, each closed: the table is what it was."""
    fds = link.open(*objects.files(3))
    before = link.table.identities()
    for first in range(0, 2000, 200):
        requests = []
        for index in range(first, first + 200):
            requests.append(link.a.sending(b"x", fds))
            requests.append(link.b.receiving(8, control=index % 37, close=True))
        assert not any(link.b.got(reply, closed=True)[0].failed for reply in link.many(requests)[1::2])
    assert link.table.identities() == before


@case("raw-ownership.receiving-side-shut", level=SHOULD, checks="L10", profiles=[RAW], types=[STREAM, SEQPACKET])
def test_a_receiver_that_shuts_its_receiving_side(link):
    """Descriptors queued, then SHUT_RD at the receiver: they can still be received, or they are freed."""
    pipe = link.pipe()
    link.a.sendmsg(b"x", [pipe.writer])
    link.close(pipe.writer)
    link.b.shutdown("SHUT_RD")
    if pipe.released:
        link.outcome = "freed"
        return
    link.outcome = "delivered"
    got = link.b.recvmsg(room=1)
    assert (got.data, len(got.fds)) == (b"x", 1)


@case("raw-ownership.receiver-closes", level=MUST, checks="L12", profiles=[RAW])
def test_closing_the_receiver_frees_what_is_unread(link):
    """The receiver is closed with two unread messages: both files are released at once, and the sender learns of it."""
    pipes = [link.pipe() for _ in range(2)]
    for pipe in pipes:
        link.a.sendmsg(b"x", [pipe.writer])
        link.close(pipe.writer)
    link.b.close()
    assert all(pipe.released for pipe in pipes)
    link.outcome = link.a.recvmsg().errno or "end-of-file"
    assert (
        link.outcome in ("EAGAIN", "ENOTCONN", "ECONNREFUSED") if link.type is DGRAM else link.outcome == "ECONNRESET"
    )


@case("raw-ownership.threads", level=MUST, checks="X01", profiles=[RAW])
def test_threads_that_send_and_receive_at_once(link, objects):
    """Four threads send, four receive, on one connection: every message arrives once, with its descriptor, and none leaks."""
    (fd,) = link.open(objects.file())
    before = link.table.identities()
    packets = link.type in PACKETS
    size = 1 if packets else 4096
    senders = [link.child(files=True) for _ in range(WORKERS)]
    receivers = [link.child(files=True) for _ in range(WORKERS)]
    wait = {"wait": True}
    send = Steps(steps=[link.a.sending(b"x", [fd], how=wait)] * ROUND)
    receive = Steps(steps=[link.b.receiving(size, control=link.layout.length(4), close=True, how=wait)] * ROUND)
    seen = []
    for _ in range(MESSAGES // ROUND):
        for child in receivers:
            child.begin(receive)
        for child in senders:
            child.begin(send)
        for child in senders:
            assert not any(link.a.sent(reply).failed for reply in child.collect().result.replies)
        for child in receivers:
            seen += [link.b.got(reply, closed=True)[0] for reply in child.collect().result.replies]
    for child in (*senders, *receivers):
        child.wait()
    assert len(seen) == WORKERS * MESSAGES
    assert {(one.data, len(one.fds), one.has("MSG_CTRUNC")) for one in seen} == {(b"x", 1, False)}
    assert link.b.empty
    assert link.table.identities() == before
