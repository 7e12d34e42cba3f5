"""What is Twisted's own in its two adapters; what all transports have in common is in test_python_transports.py."""

import os
import sys

import pytest
import twisted
from fdspec.impls.manifest import load
from fdspec.impls.protocol.capabilities import PROFILES
from python_client import IMPLS, Link, Testee, adapter, kinds, numbers, rights


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Testee(sys.executable, adapter("twisted-unix"), tmp_path_factory.mktemp("testee")) as one:
        yield one


@pytest.fixture
def testee(shared):
    yield shared
    shared.check()


@pytest.fixture
def link(testee, tmp_path):
    made = []

    def make(role="client", **receiver):
        made.append(Link(testee, tmp_path, role, **receiver))
        return made[-1]

    yield make
    for one in made:
        one.peer.close()


# --- hello -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["twisted-unix", "twisted-sendmsg"])
def test_the_manifest_pins_what_hello_tells(name, tmp_path):
    manifest = load(IMPLS / "catalogue" / name / "impl.toml")
    assert manifest.setup.packages == [f"twisted=={twisted.__version__}"]
    with Testee(sys.executable, adapter(name), tmp_path) as one:
        assert one.hello["implementation"]["version"] == twisted.__version__
        assert one.hello["implementation"]["name"] == manifest.name
        for profile, offer in one.hello["profiles"].items():
            assert set(offer["capabilities"]) <= set(PROFILES[profile])


# --- events ----------------------------------------------------------------------------------------------------------


def test_more_descriptors_than_data_is_told_to_the_protocol(testee, link):
    one = link()
    (fd,) = [testee.get("open", path=os.devnull)["fd"]]
    for _ in range(2):
        testee.get("transport.send_fd", transport=one.number, fd=fd)
    testee.get("transport.write", transport=one.number, data="61")
    (event,) = one.events(event="lost", wait=10.0)
    assert event["error"] == "FileDescriptorOverrun"
    testee.reset(fd)


def test_what_the_implementation_logs(testee, link):
    one = link()
    testee.get("setopt", fd=testee.new()[0], level="SOL_SOCKET", option="SO_PASSCRED", value=1)
    one.peer.send(b"x")
    events = one.events(bytes=1, wait=10.0)
    assert kinds(events) == ["log", "data"]
    assert "unsupported ancillary data" in events[0]["message"]
    testee.reset()


# --- reset -----------------------------------------------------------------------------------------------------------


def test_reset_when_the_listener_s_path_is_gone(testee, link, tmp_path):
    testee.get("transport.listen", address=str(tmp_path / "s"), receiver={})
    (tmp_path / "s").unlink()
    testee.reset()


# --- errors ----------------------------------------------------------------------------------------------------------


def test_errors_carry_their_number(testee, tmp_path):
    error = testee.error("transport.connect", address=str(tmp_path / "none"), receiver={})
    assert (error["type"], error["errno"]) == ("ConnectError", "ENOENT")
    error = testee.error("transport.listen", address=str(tmp_path / "no" / "s"), receiver={})
    assert (error["type"], error["errno"]) == ("CannotListenError", "ENOENT")
    testee.reset()


def test_what_twisted_does_not_offer_is_unsupported(testee, link):
    one = link()
    assert "owned" in testee.unsupported("transport.send_fd", transport=one.number, fd=0, give=True)
    assert testee.unsupported("sendmsg", fd=0)
    testee.reset()


# --- twisted.python.sendmsg ------------------------------------------------------------------------------------------


def test_sendmsg_has_one_buffer_and_any_control_message(tmp_path):
    with Testee(sys.executable, adapter("twisted-sendmsg"), tmp_path) as one:
        fd, other = one.get("pair", type="stream")["fds"]
        raw = {"level": "SOL_SOCKET", "type": "SCM_RIGHTS", "data": fd.to_bytes(4, sys.byteorder).hex()}
        assert one.get("sendmsg", fd=fd, buffers=["61"], ancillary=[raw, *rights(fd)]) == {"sent": 1}
        reply = one.get("recvmsg", fd=other, sizes=[9], room=2, flags=["MSG_CMSG_CLOEXEC"])
        assert (reply["buffers"], reply["flags"], reply["address"]) == (["61"], ["MSG_CMSG_CLOEXEC"], None)
        assert len(numbers(reply["ancillary"])) == 2
        for op, fields in (
            ("sendmsg", {"buffers": ["61", "62"]}),
            ("sendmsg", {"buffers": ["61"], "address": "/x"}),
            ("recvmsg", {"sizes": [1, 1]}),
            ("recvmsg", {"control": 20}),
        ):
            assert one.unsupported(op, fd=fd, **fields)
        one.reset(*numbers(reply["ancillary"]))
