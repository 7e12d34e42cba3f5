"""Sending: what goes out arrives, once, in order, and only whole."""

from fdspec.conformance.suite import MUST, case


@case("send.one", level=MUST, checks="S01")
def test_one_descriptor_is_sent(link, objects):
    """One descriptor sent beside data arrives with it and refers to the same file."""
    file = objects.file()
    sent = link.send(b"x", link.open(file))
    assert not sent.failed
    got = link.peer.receive()
    assert got.data == b"x"
    assert got.identities == [file.identity]


@case("ctrunc.excess-is-reported", level=MUST, checks="LC03")
def test_excess_descriptors_are_reported(link, objects):
    """Five sent, room for two: the caller can tell that three were lost."""
    link.peer.send(b"x", fds=[one.fd for one in objects.files(5)])
    got = link.receive(data=1, room=2)
    assert got.lost_descriptors_visible
