"""SO_PASSRIGHTS: a receiver that takes no descriptors, and what its senders are told."""

import pytest
from fdspec.conformance.rawlooks import socket_of
from fdspec.conformance.suite import DGRAM, MAY, MUST, PACKETS, RAW, SEQPACKET, SHOULD, STREAM, case

OPTION = "SO_PASSRIGHTS"
LISTENING = [STREAM, SEQPACKET]


@case("raw-passrights.refused", level=MUST, checks="S24a", profiles=[RAW])
def test_a_receiver_that_takes_none(link):
    """Switched off at the receiver: descriptors are refused with EPERM and not kept, plain data still passes."""
    link.b.option(OPTION, 0)
    pipe = link.pipe()
    assert link.a.sendmsg(b"x", [pipe.writer]).errno == "EPERM"
    assert link.b.empty
    link.close(pipe.writer)
    assert pipe.released
    assert link.a.sendmsg(b"plain").returned == 5
    got = link.b.recvmsg(room=1)
    assert (got.data, got.fds, got.flags) == (b"plain", [], frozenset())


@case("raw-passrights.on-again", level=MUST, checks="S24a", profiles=[RAW])
def test_a_receiver_that_takes_them_again(link, objects):
    """Switched off and on again at the receiver: descriptors pass as before."""
    file = objects.file()
    fds = link.open(file)
    link.b.option(OPTION, 0)
    assert link.a.sendmsg(b"x", fds).errno == "EPERM"
    link.b.option(OPTION, 1)
    assert link.a.sendmsg(b"x", fds).returned == 1
    assert link.b.recvmsg(room=1).things == [file]


@case("raw-passrights.address", level=MUST, checks="S24a", profiles=[RAW], types=[DGRAM])
def test_it_is_the_receiver_of_the_datagram_that_counts(link, objects):
    """Datagrams to addresses: the one whose receiver has switched it off is refused, whatever the connected peer takes."""
    file = objects.file()
    fds = link.open(file)
    willing, unwilling = link.address(), link.address()
    taker, refuser = link.listen(willing), link.listen(unwilling)
    refuser.option(OPTION, 0)
    link.b.option(OPTION, 0)
    assert link.a.sendmsg(b"x", fds, address=unwilling).errno == "EPERM"
    assert refuser.empty
    assert link.a.sendmsg(b"x", fds, address=willing).returned == 1
    assert taker.recvmsg(room=1).things == [file]


@case("raw-passrights.queued-before", level=MUST, checks="S24b", profiles=[RAW])
def test_what_was_queued_before(link, objects):
    """Messages queued before it was switched off deliver their descriptors."""
    things = objects.files(2)
    one, other = link.open(*things)
    link.a.sendmsg(b"x", [one])
    link.a.sendmsg(b"y", [other])
    link.b.option(OPTION, 0)
    for data, thing in zip((b"x", b"y"), things, strict=True):
        got = link.b.recvmsg(room=1)
        assert (got.data, got.things, got.flags) == (data, [thing], frozenset())


@case("raw-passrights.empty.packet", level=MAY, checks="S24c", profiles=[RAW], types=PACKETS)
def test_a_packet_without_data_is_refused(link):
    """Switched off, a packet without data but with a descriptor: EPERM, nothing arrives, no reference is kept."""
    link.b.option(OPTION, 0)
    pipe = link.pipe()
    assert link.a.sendmsg(b"", [pipe.writer]).errno == "EPERM"
    assert link.b.empty
    link.close(pipe.writer)
    assert pipe.released


@case("raw-passrights.empty.stream", level=MAY, checks="S24c", profiles=[RAW], types=[STREAM])
def test_a_stream_send_without_data_succeeds(link):
    """Switched off, a stream send without data returns 0: nothing is queued that could carry the descriptor."""
    link.b.option(OPTION, 0)
    pipe = link.pipe()
    sent = link.a.sendmsg(b"", [pipe.writer])
    assert (sent.returned, sent.errno) == (0, None)
    assert link.b.empty
    link.close(pipe.writer)
    assert pipe.released


@case("raw-passrights.no-descriptors", level=MAY, checks="S24d", profiles=[RAW])
def test_a_control_message_without_descriptors(link):
    """Switched off, an SCM_RIGHTS control message without descriptors may be sent, and its data arrives."""
    link.b.option(OPTION, 0)
    assert link.a.sendmsg(b"word", control=link.layout.rights([])).returned == 4
    got = link.b.recvmsg(room=1)
    assert (got.data, got.cmsgs) == (b"word", [])


@case("raw-passrights.other-families", level=SHOULD, checks="S24e", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("domain", ["AF_INET", "AF_INET6", "AF_NETLINK"])
@pytest.mark.parametrize("value", [0, 1])
def test_other_families_have_no_such_option(link, domain, value):
    """On a socket of another family the option cannot be set: EOPNOTSUPP."""
    link.b.option(OPTION, 1)  # unsupported where AF_UNIX has not got it either
    other = socket_of(link, domain, "SOCK_RAW" if domain == "AF_NETLINK" else "SOCK_DGRAM")
    assert other.option_error(OPTION, value) == "EOPNOTSUPP"


@case("raw-passrights.listener", level=MUST, checks="S24f", profiles=[RAW], types=LISTENING)
def test_connections_of_a_listener_that_takes_none(link, objects):
    """Switched off at the listener: a connection refuses descriptors before and after it is accepted, and inherits that."""
    fds = link.open(objects.file())
    address = link.address()
    listener = link.listen(address)
    listener.option(OPTION, 0)
    client = link.connect(address)
    assert client.sendmsg(b"x", fds).errno == "EPERM"
    server = listener.accept()
    assert server.option_value(OPTION) == 0
    assert client.sendmsg(b"x", fds).errno == "EPERM"
    assert server.empty


@case("raw-passrights.listener.at-connect", level=MUST, checks="S24f", profiles=[RAW], types=LISTENING)
def test_what_the_listener_had_when_the_connection_was_made(link, objects):
    """A connection made while the listener had it on takes descriptors, though the listener has it off meanwhile."""
    file = objects.file()
    fds = link.open(file)
    address = link.address()
    listener = link.listen(address)
    listener.option(OPTION, 1)
    client = link.connect(address)
    assert client.sendmsg(b"x", fds).returned == 1
    listener.option(OPTION, 0)
    server = listener.accept()
    assert server.recvmsg(room=1).things == [file]


@case("raw-passrights.receiving-only", level=MUST, checks="S24g", profiles=[RAW])
def test_the_other_direction(link, objects):
    """It is on until it is switched off, and the socket that has it off still sends descriptors."""
    file = objects.file()
    fds = link.open(file)
    link.b.option(OPTION, 1)  # unsupported where this kernel has not got it
    assert [end.option_value(OPTION) for end in (*link.pair(), link.socket("AF_UNIX", "SOCK_DGRAM"))] == [1, 1, 1]
    link.b.option(OPTION, 0)
    assert (link.a.option_value(OPTION), link.b.option_value(OPTION)) == (1, 0)
    assert link.b.sendmsg(b"x", fds).returned == 1
    assert link.a.recvmsg(room=1).things == [file]
