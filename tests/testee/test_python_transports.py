"""The adapters with an event loop: Twisted's reactor and asyncio's loop, which stand still between requests."""

import os
import socket
import sys
import time

import pytest
from python_client import Link, Testee, adapter, kinds, opened


@pytest.fixture(scope="module", params=["twisted-unix", "reference"])
def shared(request, tmp_path_factory):
    with Testee(sys.executable, adapter(request.param), tmp_path_factory.mktemp("testee")) as one:
        yield one


@pytest.fixture(scope="module")
def warm(shared, tmp_path_factory):
    """After the first connection the loop has opened what it needs for itself."""
    path = str(tmp_path_factory.mktemp("warm") / "s")
    listener = shared.get("transport.listen", address=path, receiver={})["transport"]
    shared.get("transport.connect", address=path, receiver={})
    shared.get("transport.accept", transport=listener)
    assert shared.get("reset", close=[]) == {"failed": []}
    added = set(shared.descriptors()) - set(shared.baseline)
    assert all(shared.descriptors()[fd].startswith(("anon_inode:[eventpoll]", "socket:")) for fd in added)
    shared.baseline = shared.descriptors()
    return shared


@pytest.fixture
def testee(warm):
    yield warm
    warm.check()


@pytest.fixture
def link(testee, tmp_path):
    made = []

    def make(role="client", **receiver):
        made.append(Link(testee, tmp_path, role, **receiver))
        return made[-1]

    yield make
    for one in made:
        one.peer.close()


def test_the_runtime_has_opened_its_own_before_the_first_case(testee, link):
    link("server")
    testee.reset()


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
    assert [kind for kind in kinds(events) if kind != "eof"] == ["descriptor", "data", "lost"]
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
    assert kinds(one.events(event="resume", wait=10.0))[-1] == "resume"
    assert one.receive(65)[2] == [1] * 65
    testee.reset(*fds)


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
    assert "escriptor" in events[0]["message"]
    assert testee.descriptors() == before
    testee.reset()


def test_a_callback_that_raises(testee, link):
    one = link(raise_at=1)
    socket.send_fds(one.peer, [b"x"], [0, 1])
    events = one.events(event="lost", wait=10.0)
    assert [kind for kind in kinds(events) if kind != "log"] == ["descriptor", "descriptor", "lost"]
    assert {event.get("error") for event in events[2:]} == {"RuntimeError"}
    testee.reset(*(event["fd"] for event in events[:2]))


@pytest.mark.parametrize("abort", [False, True])
def test_closing(testee, link, abort):
    one = link()
    testee.get("transport.write", transport=one.number, data="61")
    testee.get("transport.close", transport=one.number, abort=abort)
    (event,) = one.events(event="lost", wait=10.0)
    assert event.get("error") in ({"ConnectionAborted", None} if abort else {None})
    assert one.peer.recv(4) == (b"" if abort else b"a")
    testee.reset()


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


def test_numbers_begin_anew_after_reset(testee, link):
    assert link().number == 1
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
