"""Sends that the kernel refuses: which error, that nothing is queued, and that no reference to what was passed is kept."""

import struct

import pytest
from fdspec.conformance.rawlooks import drain, fill, internet_pair, socket_of, verbatim
from fdspec.conformance.suite import DGRAM, MAY, MUST, RAW, SEQPACKET, SHOULD, STREAM, case

KINDS = {STREAM: "SOCK_STREAM", DGRAM: "SOCK_DGRAM", SEQPACKET: "SOCK_SEQPACKET"}
BAD = {"minus-one": -1, "at-fdcwd": -100, "smallest": -(2**31), "largest": 2**31 - 1}


def closed_number(link):
    """Return a number that was open a moment ago."""
    pipe = link.pipe()
    link.close(pipe.writer)
    return pipe.writer


@case("raw-send.bad-number", level=MUST, checks="S04 S06 S07", profiles=[RAW])
@pytest.mark.parametrize("which", [*BAD, "closed", "beyond-the-limit"])
def test_what_is_no_descriptor(link, which):
    """-1, AT_FDCWD, the ends of int, a closed number, one that no table holds: EBADF, and nothing is queued."""
    number = closed_number(link) if which == "closed" else BAD.get(which, 1 << 20)
    sent = link.a.sendmsg(b"x", [number])
    assert (sent.returned, sent.errno, sent.signals) == (-1, "EBADF", ())
    assert link.b.empty


@case("raw-send.bad-after-good", level=MUST, checks="S05", profiles=[RAW])
@pytest.mark.parametrize("good", [1, 5, 252])
@pytest.mark.parametrize("which", ["minus-one", "closed"])
def test_a_bad_descriptor_after_good_ones(link, good, which):
    """A bad number behind 1, 5 or 252 good ones: EBADF, nothing is queued, and no reference to the good ones is kept."""
    pipe = link.pipe()
    bad = -1 if which == "minus-one" else closed_number(link)
    rights = verbatim(link.layout.rights([*[pipe.writer] * good, bad]))  # some C libraries copy no more than 1 KiB
    assert link.a.sendmsg(b"x", control=rights).errno == "EBADF"
    assert link.b.empty
    assert link.b.queued == 0
    link.close(pipe.writer)
    assert pipe.released


@case("raw-send.bad-between-good", level=MUST, checks="S05", profiles=[RAW])
def test_the_next_send_is_a_plain_one(link, objects):
    """After a send that a bad number in the middle spoilt, the next one arrives with its own descriptors only."""
    one, other = objects.files(2)
    a, b = link.open(one, other)
    assert link.a.sendmsg(b"first", [a, -1, b]).errno == "EBADF"
    link.a.sendmsg(b"second", [b])
    got = link.b.recvmsg(room=3)
    assert (got.data, got.things) == (b"second", [other])


@case("raw-send.unconnected", level=MUST, checks="S10", profiles=[RAW])
def test_a_socket_without_a_peer(link):
    """A socket that is not connected, and no address: ENOTCONN, for datagrams perhaps EDESTADDRREQ; nothing is kept."""
    pipe = link.pipe()
    sent = link.socket("AF_UNIX", KINDS[link.type]).sendmsg(b"x", [pipe.writer], flags=["MSG_NOSIGNAL"])
    link.outcome = "destination" if sent.errno == "EDESTADDRREQ" and link.type is DGRAM else "unconnected"
    assert link.outcome == "destination" or sent.errno == "ENOTCONN"
    link.close(pipe.writer)
    assert pipe.released


@case("raw-send.peer-closed.stream", level=MUST, checks="S11a", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("quiet", [False, True], ids=["plain", "nosignal"])
def test_a_stream_whose_peer_is_closed(link, quiet):
    """EPIPE, with SIGPIPE unless MSG_NOSIGNAL is given; no reference is kept."""
    pipe = link.pipe()
    link.b.close()
    sent = link.a.sendmsg(b"x", [pipe.writer], flags=["MSG_NOSIGNAL"] if quiet else [])
    assert (sent.errno, sent.signals) == ("EPIPE", () if quiet else ("SIGPIPE",))
    link.close(pipe.writer)
    assert pipe.released


@case("raw-send.peer-closed.datagram", level=SHOULD, checks="S11b", profiles=[RAW], types=[DGRAM])
def test_a_datagram_whose_peer_is_closed(link):
    """ECONNREFUSED first and ENOTCONN afterwards, or ECONNRESET; no signal, and no reference is kept."""
    pipe = link.pipe()
    link.b.close()
    first, second = (link.a.sendmsg(b"x", [pipe.writer]) for _ in range(2))
    assert first.signals == second.signals == ()
    link.outcome = "reset" if first.errno == "ECONNRESET" else "refused"
    if link.outcome == "refused":
        assert (first.errno, second.errno) == ("ECONNREFUSED", "ENOTCONN")
    assert second.failed
    link.close(pipe.writer)
    assert pipe.released


@case("raw-send.peer-closed.seqpacket", level=SHOULD, checks="S11c", profiles=[RAW], types=[SEQPACKET])
@pytest.mark.parametrize("quiet", [False, True], ids=["plain", "nosignal"])
def test_a_seqpacket_whose_peer_is_closed(link, quiet):
    """EPIPE, and SIGPIPE at most where MSG_NOSIGNAL is not given; no reference is kept."""
    pipe = link.pipe()
    link.b.close()
    sent = link.a.sendmsg(b"x", [pipe.writer], flags=["MSG_NOSIGNAL"] if quiet else [])
    assert sent.errno == "EPIPE"
    if quiet:
        assert sent.signals == ()
    else:
        link.outcome = "signal" if sent.signals else "no-signal"
    link.close(pipe.writer)
    assert pipe.released


@case("raw-send.peer-gone.listener", level=MUST, checks="S11a S11c", profiles=[RAW], types=[STREAM, SEQPACKET])
def test_a_connection_that_was_never_accepted(link):
    """The listener closes with a connection in its backlog: sends over that fail, with EPIPE in the end; nothing is kept."""
    pipe = link.pipe()
    address = link.address()
    listener = link.listen(address)
    client = link.connect(address)
    listener.close()
    first, second = (client.sendmsg(b"x", [pipe.writer], flags=["MSG_NOSIGNAL"]) for _ in range(2))
    # a packet socket tells the reset of its connection once before
    assert first.errno == "EPIPE" or (link.type is SEQPACKET and first.errno == "ECONNRESET")
    assert second.errno == "EPIPE"
    link.close(pipe.writer)
    assert pipe.released


@case("raw-send.stream-address", level=SHOULD, checks="S12", profiles=[RAW], types=[STREAM])
@pytest.mark.parametrize("connected", [True, False], ids=["connected", "unconnected"])
def test_a_stream_takes_no_address(link, connected):
    """A destination given to a stream: EISCONN where it is connected, else EOPNOTSUPP; no reference is kept."""
    pipe = link.pipe()
    address = link.address()
    link.listen(address)
    end = link.a if connected else link.socket("AF_UNIX", "SOCK_STREAM")
    sent = end.sendmsg(b"x", [pipe.writer], address=address, flags=["MSG_NOSIGNAL"])
    assert sent.errno == ("EISCONN" if connected else "EOPNOTSUPP")
    assert link.b.empty
    link.close(pipe.writer)
    assert pipe.released


@case("raw-send.would-block", level=MUST, checks="S15", profiles=[RAW])
def test_a_full_queue(link):
    """The send that would block fails with EAGAIN; its descriptor is neither queued nor kept."""
    pipe = link.pipe()
    count = fill(link.a)
    assert link.a.sendmsg(b"y" * 1024, [pipe.writer]).errno == "EAGAIN"
    assert link.b.queued == 0
    link.close(pipe.writer)
    assert pipe.released
    assert drain(link.b) == (b"x" * 1024 * count, [])


@case("raw-send.not-a-socket", level=MUST, checks="A31", profiles=[RAW])
@pytest.mark.parametrize("which", ["pipe", "file", "closed", "minus-one"])
def test_a_send_over_what_is_no_socket(link, objects, which):
    """Over a pipe or a file ENOTSOCK, over a closed number or -1 EBADF; no reference is kept."""
    pipe, other = link.pipe(), link.pipe()
    number = {"pipe": lambda: other.writer, "minus-one": lambda: -1, "closed": lambda: closed_number(link)}
    fd = number[which]() if which in number else link.open(objects.file())[0]
    sent = type(link.a)(link, fd, link).sendmsg(b"x", [pipe.writer])
    assert sent.errno == ("ENOTSOCK" if which in ("pipe", "file") else "EBADF")
    link.close(pipe.writer)
    assert pipe.released


@case("raw-send.internet", level=SHOULD, checks="S19a", profiles=[RAW], types=[STREAM, DGRAM])
def test_an_internet_socket_carries_none(link):
    """Over TCP and UDP the data arrives without the descriptor, or the send is refused; no reference is kept."""
    pipe = link.pipe()
    client, server = internet_pair(link, "AF_INET", KINDS[link.type])
    sent = client.sendmsg(b"word", [pipe.writer])
    link.close(pipe.writer)
    if sent.failed:
        link.outcome = "refused"
        assert "POLLIN" not in server.poll("POLLIN", milliseconds=20)
    else:
        link.outcome = "ignored"
        assert "POLLIN" in server.poll("POLLIN", milliseconds=5000)
        got = server.recvmsg(room=4)
        assert (got.data, got.cmsgs, got.flags) == (b"word", [], frozenset())
    assert pipe.released


@case("raw-send.netlink", level=MAY, checks="S19b", profiles=[RAW], types=[DGRAM])
def test_a_netlink_socket_takes_none(link):
    """SCM_RIGHTS over a netlink socket is refused with EINVAL, or has no effect; no reference is kept."""
    pipe = link.pipe()
    end = socket_of(link, "AF_NETLINK", "SOCK_RAW")
    noop = struct.pack("=IHHII", 16, 1, 0, 1, 0)  # NLMSG_NOOP
    sent = end.sendmsg(noop, [pipe.writer])
    link.outcome = "refused" if sent.errno == "EINVAL" else "ignored"
    assert link.outcome == "refused" or sent.returned == len(noop)
    link.close(pipe.writer)
    assert pipe.released
