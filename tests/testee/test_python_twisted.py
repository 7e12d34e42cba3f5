"""The adapters of Twisted: the transports on a real reactor, which stands still between requests."""

import os
import socket
import sys
import time
from pathlib import Path

import pytest
import twisted
from fdspec.impls.manifest import load
from fdspec.impls.protocol.capabilities import PROFILES
from python_client import IMPLS, Testee, adapter, numbers, rights


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Testee(sys.executable, adapter("twisted-unix"), tmp_path_factory.mktemp("testee")) as one:
        yield one


@pytest.fixture
def testee(shared):
    yield shared
    shared.check()


class Link:
    """A transport of the testee's and our end of it."""

    def __init__(self, testee, directory, role, **receiver):
        self.testee = testee
        path = str(directory / "link")
        self.peer = socket.socket(socket.AF_UNIX)
        self.peer.settimeout(10)
        if role == "client":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen()
                self.number = testee.get("transport.connect", address=path, receiver=receiver)["transport"]
                self.peer.close()
                self.peer, _ = listener.accept()
                self.peer.settimeout(10)
        else:
            listener = testee.get("transport.listen", address=path, receiver=receiver)["transport"]
            self.peer.connect(path)
            self.number = testee.get("transport.accept", transport=listener)["transport"]

    def events(self, **fields):
        return self.testee.get("transport.events", transport=self.number, **fields)["events"]

    def receive(self, count):
        """Take ``count`` bytes one by one; return them, the descriptors' targets and how many each byte brought."""
        data, targets, each = b"", [], []
        for _ in range(count):
            piece, fds, _, _ = socket.recv_fds(self.peer, 1, 8)
            data += piece
            each.append(len(fds))
            targets += [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in fds]
            for fd in fds:
                os.close(fd)
        return data, targets, each


@pytest.fixture
def link(testee, tmp_path):
    made = []

    def make(role="client", **receiver):
        made.append(Link(testee, tmp_path, role, **receiver))
        return made[-1]

    yield make
    for one in made:
        one.peer.close()


def opened(testee, directory, *names):
    for name in names:
        (directory / name).touch()
    return [testee.get("open", path=str(directory / name))["fd"] for name in names]


def kinds(events):
    return [event["event"] for event in events]


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


def test_the_runtime_has_opened_its_own_before_the_first_case(testee, link):
    link("server")
    testee.reset()


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["client", "server"])
def test_descriptors_and_data_in_order(testee, link, role, tmp_path):
    one = link(role)
    with (tmp_path / "a").open("w") as a, (tmp_path / "b").open("w") as b:
        socket.send_fds(one.peer, [b"xy"], [a.fileno(), b.fileno()])
        one.peer.send(b"z")
        events = one.events(bytes=3, fds=2, wait=10.0)
    assert kinds(events) == ["descriptor", "descriptor", "data", "data"]
    fds = [event["fd"] for event in events[:2]]
    assert [testee.descriptors()[fd] for fd in fds] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [event["data"] for event in events[2:]] == ["7879", "7a"]
    assert one.events() == []
    testee.reset(*fds)


@pytest.mark.parametrize("role", ["client", "server"])
def test_sending_descriptors_each_with_a_byte(testee, link, role, tmp_path):
    one = link(role)
    replies = testee.steps(
        {"op": "open", "path": __file__},
        {"op": "open", "path": os.devnull},
        {"op": "transport.send_fd", "transport": one.number, "fd": "$0.fd"},
        {"op": "transport.send_fd", "transport": one.number, "fd": "$1.fd"},
        {"op": "transport.write", "transport": one.number, "data": b"abc".hex()},
    )
    assert [list(reply) for reply in replies] == [["result"]] * 5
    one.peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        one.peer.recv(1)  # the loop has not run
    one.peer.settimeout(10)
    assert one.events() == []
    assert one.receive(3) == (b"abc", [__file__, os.devnull], [1, 1, 0])
    testee.reset(replies[0]["result"]["fd"], replies[1]["result"]["fd"])


def test_a_reference_to_a_transport(testee, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        replies = testee.steps(
            {"op": "transport.connect", "address": str(tmp_path / "s"), "receiver": {}},
            {"op": "transport.write", "transport": "$0.transport", "data": "61"},
            {"op": "transport.events", "transport": "$0.transport"},
        )
        assert replies[2] == {"result": {"events": []}}
        with listener.accept()[0] as peer:
            assert peer.recv(4) == b"a"
    testee.reset()


def test_end_of_file_and_what_came_before_it(testee, link, tmp_path):
    one = link()
    with (tmp_path / "a").open("w") as a:
        socket.send_fds(one.peer, [b"x"], [a.fileno()])
    one.peer.close()
    events = one.events(event="lost", wait=10.0)
    assert kinds(events) == ["descriptor", "data", "lost"]
    assert events[-1].get("error") is None
    assert one.events(bytes=1, wait=10.0) == []  # lost is final: no waiting
    testee.reset(events[0]["fd"])


def test_waiting_ends_in_time(testee, link):
    one = link()
    began = time.monotonic()
    assert one.events(bytes=1, wait=0.05) == []
    assert time.monotonic() - began >= 0.05
    testee.reset()


def test_what_is_there_already_is_not_waited_for(testee, link):
    one = link()
    testee.get("transport.producer", transport=one.number)
    fds = [testee.get("open", path=os.devnull)["fd"]]
    for _ in range(65):
        testee.get("transport.send_fd", transport=one.number, fd=fds[0])
    assert kinds(one.events(event="pause", wait=10.0)) == ["pause"]
    testee.get("transport.write", transport=one.number, data="61" * 65)
    assert kinds(one.events(event="resume", wait=10.0)) == ["pause", "resume"]  # it is full at this write, too
    assert one.receive(65)[2] == [1] * 65
    testee.reset(*fds)


def test_more_descriptors_than_data_is_told_to_the_protocol(testee, link):
    one = link()
    (fd,) = [testee.get("open", path=os.devnull)["fd"]]
    for _ in range(2):
        testee.get("transport.send_fd", transport=one.number, fd=fd)
    testee.get("transport.write", transport=one.number, data="61")
    (event,) = one.events(event="lost", wait=10.0)
    assert event["error"] == "FileDescriptorOverrun"
    testee.reset(fd)


def test_reading_stops_and_goes_on(testee, link):
    one = link("server")
    testee.get("transport.reading", transport=one.number, on=False)
    one.peer.send(b"abc")
    assert one.events() == []
    testee.get("transport.reading", transport=one.number, on=True)
    assert one.events(bytes=3, wait=10.0) == [{"event": "data", "data": b"abc".hex()}]
    testee.reset()


def test_a_protocol_that_cannot_take_descriptors(testee, link, tmp_path):
    one = link(descriptors=False)
    before = testee.descriptors()
    socket.send_fds(one.peer, [b"x"], [0, 1])
    events = one.events(bytes=1, wait=10.0)
    assert kinds(events) == ["log", "data"]
    assert "IFileDescriptorReceiver" in events[0]["message"]
    assert testee.descriptors() == before
    testee.reset()


def test_a_callback_that_raises(testee, link):
    one = link(raise_at=1)
    socket.send_fds(one.peer, [b"x"], [0, 1])
    events = one.events(event="lost", wait=10.0)
    assert kinds(events) == ["descriptor", "descriptor", "log", "lost"]
    assert [event.get("error") for event in events[2:]] == ["RuntimeError", "RuntimeError"]
    testee.reset(*(event["fd"] for event in events[:2]))


def test_what_the_implementation_logs(testee, link):
    one = link()
    testee.get("setopt", fd=testee.new()[0], level="SOL_SOCKET", option="SO_PASSCRED", value=1)
    one.peer.send(b"x")
    events = one.events(bytes=1, wait=10.0)
    assert kinds(events) == ["log", "data"]
    assert "unsupported ancillary data" in events[0]["message"]
    testee.reset()


@pytest.mark.parametrize("abort", [False, True])
def test_closing(testee, link, abort):
    one = link()
    testee.get("transport.write", transport=one.number, data="61")
    testee.get("transport.close", transport=one.number, abort=abort)
    (event,) = one.events(event="lost", wait=10.0)
    assert event.get("error") == ("ConnectionAborted" if abort else None)
    assert one.peer.recv(4) == (b"" if abort else b"a")
    testee.reset()


# --- reset -----------------------------------------------------------------------------------------------------------


def test_reset_in_the_middle_of_everything(testee, link, tmp_path):
    one = link("server")
    fds = opened(testee, tmp_path, "a")
    testee.get("transport.producer", transport=one.number)
    for _ in range(70):
        testee.get("transport.send_fd", transport=one.number, fd=fds[0])
    testee.get("transport.write", transport=one.number, data="61" * (1 << 20))
    one.events()
    testee.get("transport.close", transport=one.number)  # waits for its data, which nobody takes
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(str(tmp_path / "link"))  # never accepted
        testee.reset(*fds)
        with pytest.raises(ConnectionResetError):
            late.recv(1)
    assert testee.error("transport.events", transport=one.number)["type"] == "Request"


def test_reset_when_the_listener_s_path_is_gone(testee, link, tmp_path):
    testee.get("transport.listen", address=str(tmp_path / "s"), receiver={})
    (tmp_path / "s").unlink()
    testee.reset()


def test_numbers_begin_anew_after_reset(testee, link):
    assert link().number == 1
    testee.reset()


# --- errors ----------------------------------------------------------------------------------------------------------


def test_errors_carry_their_number(testee, tmp_path):
    error = testee.error("transport.connect", address=str(tmp_path / "none"), receiver={})
    assert (error["type"], error["errno"]) == ("ConnectError", "ENOENT")
    error = testee.error("transport.listen", address=str(tmp_path / "no" / "s"), receiver={})
    assert (error["type"], error["errno"]) == ("CannotListenError", "ENOENT")
    testee.reset()


def test_malformed_requests(testee, link):
    one = link()
    for op in ("transport.write", "transport.events", "transport.accept", "transport.close"):
        assert testee.error(op, transport=99, data="")["type"] == "Request"
    assert testee.error("transport.accept", transport=one.number)["type"] == "Request"
    assert (
        testee.error("transport.write", transport=one.number)["message"] == "transport.write: the field data is missing"
    )
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
