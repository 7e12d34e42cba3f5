"""What is the reference's own in its adapter."""

import os
import socket
import sys

import pytest
from fdspec.impls.manifest import load
from fdspec.impls.protocol.capabilities import POLICIES, PROFILES
from python_client import IMPLS, Link, Testee, adapter, numbers, rights


class Warm(Testee):
    """A testee whose event loop is there, so that the descriptors of that belong to its baseline, whichever test is first."""

    def start(self):
        super().start()
        path = self.directory / "warm"
        path.unlink(missing_ok=True)
        self.get("transport.listen", address=str(path), receiver={})
        assert self.get("reset", close=[]) == {"failed": []}
        self.baseline = self.descriptors()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Testee(sys.executable, adapter("reference"), tmp_path_factory.mktemp("testee")) as one:
        yield one


@pytest.fixture
def testee(shared):
    yield shared
    shared.check()


@pytest.fixture(scope="module")
def shared_warm(tmp_path_factory):
    with Warm(sys.executable, adapter("reference"), tmp_path_factory.mktemp("warm")) as one:
        yield one


@pytest.fixture
def warm(shared_warm):
    yield shared_warm
    shared_warm.check()


@pytest.fixture
def pair(testee):
    return testee.get("pair", type="stream")["fds"]


def test_the_manifest_says_what_hello_says(testee):
    manifest = load(IMPLS / "catalogue" / "reference" / "impl.toml")
    assert manifest.name == testee.hello["implementation"]["name"]
    assert [profile.value for profile in manifest.profiles] == list(testee.hello["profiles"])
    for profile, offer in testee.hello["profiles"].items():
        assert set(offer["capabilities"]) <= set(PROFILES[profile])
    for name, policy in testee.hello["policies"].items():
        assert policy["outcome"] in POLICIES[name]
        assert policy["source"]


def test_the_queue_s_limit_is_the_implementation_s(testee):
    from fdspec.impls.reference.transport import DESCRIPTOR_LIMIT

    assert testee.hello["profiles"]["transport"]["limits"] == {"queue": DESCRIPTOR_LIMIT}


def test_asyncio_is_not_loaded_before_it_is_needed(testee):
    """It takes longer than all the rest, and its loop would open descriptors."""
    assert set(testee.baseline) == {0, 1, 2, 100}


def test_messages_with_credentials_in_front(testee, pair):
    one, other = pair
    testee.get("setopt", fd=other, level="SOL_SOCKET", option="SO_PASSCRED", value=1)
    testee.get("sendmsg", fd=one, buffers=["61", "62"], ancillary=rights(one, other))
    reply = testee.get("recvmsg", fd=other, sizes=[1, 4], room=2)
    assert reply["buffers"] == ["61", "62"]
    assert [item["type"] for item in reply["ancillary"]] == ["SCM_CREDENTIALS", "SCM_RIGHTS"]
    testee.reset(*reply["ancillary"][1]["fds"])


def test_several_control_messages_and_raw_ones(testee, pair):
    one, other = pair
    raw = {"level": "SOL_SOCKET", "type": "SCM_RIGHTS", "data": one.to_bytes(4, sys.byteorder).hex()}
    for ancillary in ([*rights(one), raw], [raw, *rights(one)]):
        testee.get("sendmsg", fd=one, buffers=["61"], ancillary=ancillary)
        reply = testee.get("recvmsg", fd=other, room=2)
        found = numbers(reply["ancillary"])
        assert len(found) == 2
        for fd in found:
            testee.get("close", fd=fd)
    testee.reset()


def test_lost_descriptors_are_an_error_that_carries_the_rest(testee, pair):
    one, other = pair
    testee.get("sendmsg", fd=one, buffers=["6162"], ancillary=rights(one, one))
    error = testee.error("recvmsg", fd=other, room=1)
    assert (error["type"], error["errno"]) == ("DescriptorsLostError", "ENOBUFS")
    assert error["observed"] == {"buffers": ["6162"], "ancillary": [], "flags": ["MSG_CTRUNC"], "address": None}
    for fields in ({"sizes": [1, 4], "room": 1}, {"sizes": [1, 4], "single": True}):
        testee.get("send_fds", fd=one, buffers=["6162"], fds=[one, one])
        error = testee.error("recv_fds", fd=other, **fields)
        assert error["observed"] == {"buffers": ["61", "62"], "fds": [], "flags": ["MSG_CTRUNC"], "address": None}
    testee.reset()


def test_the_calls_of_scmsocket(testee, pair):
    one, other = pair
    assert testee.get("send_fds", fd=one, buffers=["61", "62"], fds=[one], single=True) == {"sent": 2}
    reply = testee.get("recv_fds", fd=other, sizes=[1, 4], single=True)
    assert (reply["buffers"], len(reply["fds"]), reply["flags"]) == (["61", "62"], 1, None)
    testee.get("send_fds", fd=one, buffers=["63"])
    assert testee.get("recv_fds", fd=other, sizes=[4], single=True)["fds"] == []
    testee.get("send_fds", fd=one, buffers=["6465"], fds=[one, other])
    more = testee.get("recv_fds", fd=other, sizes=[1, 1], room=2)
    assert (more["buffers"], len(more["fds"])) == (["64", "65"], 2)
    testee.reset(*reply["fds"], *more["fds"])


def test_the_calls_of_the_socket_module(testee, pair):
    one, other = pair
    testee.get("send_fds", fd=one, buffers=["61"], fds=[one, one], flags=["MSG_DONTWAIT"])
    reply = testee.get("recv_fds", fd=other, sizes=[4], room=1)
    assert (len(reply["fds"]), reply["flags"]) == (1, ["MSG_CTRUNC"])
    testee.reset(*reply["fds"])


def test_a_descriptor_that_is_given_is_the_transport_s(warm, tmp_path):
    link = Link(warm, tmp_path, "client")
    fd = warm.get("open", path=os.devnull)["fd"]
    warm.get("transport.send_fd", transport=link.number, fd=fd, give=True)
    warm.get("transport.write", transport=link.number, data="61")
    assert link.events() == []
    assert fd not in warm.descriptors()
    assert link.receive(1) == (b"a", [os.devnull], [1])
    warm.get("transport.close", transport=link.number)
    fd = warm.get("open", path=os.devnull)["fd"]
    error = warm.error("transport.send_fd", transport=link.number, fd=fd, give=True)
    assert error["type"] == "TransportClosedError"
    assert warm.get("close", fd=fd) == {}  # it was not taken
    link.peer.close()
    assert warm.get("reset", close=[]) == {"failed": []}


def test_what_the_implementation_logs(warm, tmp_path):
    link = Link(warm, tmp_path, "client")
    (fd,) = warm.new()
    warm.get("setopt", fd=fd, level="SOL_SOCKET", option="SO_PASSCRED", value=1)
    link.peer.send(b"x")
    log, data = link.events(bytes=1, wait=10.0)
    assert (log["event"], data["event"]) == ("log", "data")
    assert "control message" in log["message"]
    link.peer.close()
    warm.reset()


def test_errors_carry_their_number(warm, tmp_path):
    path = str(tmp_path / "none")
    assert warm.error("transport.connect", address=path, receiver={})["errno"] == "ENOENT"
    assert warm.error("transport.listen", address=path + "/s", receiver={})["errno"] == "ENOENT"
    assert warm.error("sendmsg", fd=0, buffers=["61"])["errno"] == "ENOTSOCK"
    one, _ = warm.get("pair", type="stream")["fds"]
    for bad in (-1, 999, 2**31):
        assert warm.error("sendmsg", fd=one, buffers=["61"], ancillary=rights(bad))["errno"] == "EBADF"
    assert warm.error("sendmsg", fd=one, buffers=[""], ancillary=rights(one))["type"] == "NoDataError"
    assert warm.error("sendmsg", fd=one, buffers=["61"], ancillary=rights(*[one] * 254))["errno"] == "EINVAL"
    warm.reset()


def test_an_abstract_address(warm):
    name = f"fdspec-{warm.process.pid}"
    warm.get("transport.listen", address="@" + name, receiver={})
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect("\0" + name)
        warm.get("transport.accept", transport=1)
    warm.reset()
