"""The Python 2.7 testee and its two adapters, in the environments that `fdspec run` would make for them."""

import json
import os
import socket
import struct
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from fdspec.impls.interpreters import find
from fdspec.impls.manifest import load
from fdspec.impls.protocol.capabilities import POLICIES, PROFILES
from fdspec.impls.protocol.capabilities import TESTEE as WHOLE
from fdspec.impls.setup import Unavailable, prepare
from python_client import IMPLS, TESTEE, TYPES, Testee, numbers, rights

TESTEE27 = IMPLS / "testee" / "py27" / "fdspec_testee27.py"
MESSAGE, TRANSPORT = "twisted-send1msg", "twisted14-unix"
OLD = find("==2.7.*")

if OLD is None:
    pytest.skip("no Python 2.7 on this machine, neither on PATH nor among pyenv's", allow_module_level=True)


class Testee27(Testee):
    def __init__(self, command, directory):
        self.begin(list(command), directory)


def command(name):
    """Return the start command of an implementation, whose environment is made on first use and kept in the cache."""
    prepared = prepare(load(IMPLS / "catalogue" / name / "impl.toml"))
    assert not isinstance(prepared, Unavailable), f"{prepared.reason}\n{prepared.words}"
    return prepared.command


@pytest.fixture(scope="module", params=[MESSAGE, TRANSPORT])
def shared(request, tmp_path_factory):
    with Testee27(command(request.param), tmp_path_factory.mktemp("testee")) as one:
        yield one


@pytest.fixture
def testee(shared):
    """Both adapters; reused, as the harness does, so every test has to leave them clean."""
    yield shared
    shared.check()


@pytest.fixture(scope="module")
def shared_message(tmp_path_factory):
    with Testee27(command(MESSAGE), tmp_path_factory.mktemp("testee")) as one:
        yield one


@pytest.fixture
def message(shared_message):
    yield shared_message
    shared_message.check()


@pytest.fixture(scope="module")
def shared_transport(tmp_path_factory):
    with Testee27(command(TRANSPORT), tmp_path_factory.mktemp("testee")) as one:
        yield one


@pytest.fixture
def transport(shared_transport):
    yield shared_transport
    shared_transport.check()


@pytest.fixture
def own(tmp_path):
    """An adapter of the test's own, without Twisted."""
    started = []

    def start(source):
        path = tmp_path / "adapter.py"
        path.write_text(textwrap.dedent(source))
        started.append(Testee27([str(OLD.path), "-E", "-s", str(TESTEE27), str(path)], tmp_path))
        return started[-1]

    yield start
    for one in started:
        one.__exit__(None)


def listening(path, kind="stream"):
    end = socket.socket(socket.AF_UNIX, TYPES[kind])
    end.bind(str(path))
    if kind != "dgram":
        end.listen()
    end.settimeout(10)
    return end


def flags_of(testee, fd):
    text = Path(f"/proc/{testee.process.pid}/fdinfo/{fd}").read_text()
    return int(text.split("flags:\t")[1].split()[0], 8)


# --- the twins -------------------------------------------------------------------------------------------------------

TELL = """
import json, sys
sys.path.insert(0, sys.argv[1])
testee = __import__(sys.argv[2])
shown = lambda value: None if value is testee.REQUIRED else [value]
print(json.dumps({
    "ops": {
        name: [op.profile, op.capability, [(field, shown(default)) for field, _, default in op.fields]]
        for name, op in testee.OPS.items()
    },
    "needs": {name: [need for need, _ in needs] for name, needs in testee.NEEDS.items()},
    "adapter": sorted(name for name in vars(testee.Adapter) if name[0] != "_"),
    "transport": sorted(name for name in vars(testee.TransportAdapter) if name[0] != "_"),
    "endpoint": sorted(name for name in vars(testee.Endpoint) if name[0] != "_"),
    "constants": [testee.VERSION, testee.TYPES, testee.SOCKET_TYPES, testee.QUIET_TURNS, testee.MAX_TURNS],
}))
"""


def told(interpreter, path):
    arguments = [interpreter, "-E", "-s", "-B", "-c", TELL, str(path.parent), path.stem]
    return json.loads(subprocess.run(arguments, capture_output=True, check=True).stdout)


def test_it_has_what_its_twin_for_python_3_has():
    assert told(str(OLD.path), TESTEE27) == told(sys.executable, TESTEE)


# --- hello -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [MESSAGE, TRANSPORT])
def test_the_manifest_says_what_hello_says(name, tmp_path):
    manifest = load(IMPLS / "catalogue" / name / "impl.toml")
    with Testee27(command(name), tmp_path) as one:
        told = one.hello["implementation"]
        assert manifest.id == name
        assert (manifest.name, manifest.language) == (told["name"], told["language"])
        assert f"twisted=={told['version']}" in manifest.setup.packages
        assert told["runtime"] == f"cpython {OLD.version}"
        assert [profile.value for profile in manifest.profiles] == list(one.hello["profiles"])
        for profile, offer in one.hello["profiles"].items():
            assert set(offer["capabilities"]) <= set(PROFILES[profile])
            assert set(offer["types"]) <= set(TYPES)
        assert set(one.hello["capabilities"]) <= set(WHOLE)
        for policy, stated in one.hello["policies"].items():
            assert stated["outcome"] in POLICIES[policy]
            assert stated["source"].startswith("https://")


def test_hello_s_constants_are_used_and_are_not_needed(message):
    message.get("hello", version=1, constants={"MSG_FDSPEC": 0x2, "SO_FDSPEC": socket.SO_TYPE})
    fd, other = message.get("pair", type="dgram")["fds"]
    assert message.get("getopt", fd=fd, level="SOL_SOCKET", option="SO_FDSPEC") == {"value": socket.SOCK_DGRAM}
    message.get("sendmsg", fd=fd, buffers=["61"])
    for _ in range(2):
        assert message.get("recvmsg", fd=other, flags=["MSG_FDSPEC"])["buffers"] == ["61"]
    message.reset()


def test_it_can_do_without_constants(own):
    one = own("from fdspec_testee27 import Adapter\n\nclass Bare(Adapter): pass")
    one.get("hello")
    fd, _ = one.get("pair", type="dgram")["fds"]
    assert one.get("getopt", fd=fd, level="SOL_SOCKET", option="SO_TYPE") == {"value": socket.SOCK_DGRAM}
    one.reset()


# --- sockets and files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("named", ["path", "abstract"])
def test_connect_bind_and_close(testee, tmp_path, kind, named):
    abstract = f"fdspec-{os.getpid()}-{testee.process.pid}"
    path = str(tmp_path / "\u00e4")
    place, address = (path, path) if named == "path" else ("\0" + abstract, "@" + abstract)
    with listening(place, kind) as end:
        own_name = address + "-b"
        fd = testee.get("connect", address=address, type=kind, bind=own_name)["fd"]
        assert testee.new() == [fd]
        assert testee.get("getopt", fd=fd, level="SOL_SOCKET", option="SO_TYPE") == {"value": TYPES[kind]}
        if kind != "dgram":
            connection, peer = end.accept()
            with connection:
                assert peer == (own_name if named == "path" else b"\0" + own_name[1:].encode())
                assert testee.get("close", fd=fd) == {}
                assert connection.recv(1) == b""
        else:
            assert testee.get("close", fd=fd) == {}
    testee.reset()


@pytest.mark.parametrize("kind", ["stream", "seqpacket"])
@pytest.mark.parametrize("name", [b"\0", "peer", b"p\xff", None])
def test_listen_and_accept(testee, tmp_path, kind, name):
    if name == b"\0":  # an abstract name of this process's own; the parameter stays the same in every process
        name = b"\0fdspec-%d" % os.getpid()
    path = str(tmp_path / "s")
    fd = testee.get("listen", address=path, type=kind, backlog=1)["fd"]
    with socket.socket(socket.AF_UNIX, TYPES[kind]) as end:
        if name is not None:
            end.bind(name if name[:1] == b"\0" else os.fsencode(tmp_path) + b"/" + os.fsencode(name))
        end.connect(path)
        accepted = testee.get("accept", fd=fd)
        expected = {None: "", "peer": f"{tmp_path}/peer", b"p\xff": f"{tmp_path}/p\\xff"}
        assert accepted["address"] == expected.get(name, f"@fdspec-{os.getpid()}")
        assert testee.new() == sorted([fd, accepted["fd"]])
        testee.get("shutdown", fd=accepted["fd"], how="SHUT_WR")
        assert end.recv(1) == b""
        testee.reset()


def test_options(testee):
    one, other = testee.get("pair", type="stream")["fds"]
    assert testee.get("setopt", fd=one, level="SOL_SOCKET", option="SO_PASSCRED", value=1) == {}
    assert testee.get("getopt", fd=one, level="SOL_SOCKET", option="SO_PASSCRED") == {"value": 1}
    assert testee.get("getopt", fd=other, level=socket.SOL_SOCKET, option=socket.SO_PASSCRED) == {"value": 0}
    assert testee.get("getopt", fd=one, level="fcntl", option="O_NONBLOCK") == {"value": 0}
    testee.get("setopt", fd=one, level="fcntl", option="O_NONBLOCK", value=1)
    assert testee.get("getopt", fd=one, level="fcntl", option="O_NONBLOCK") == {"value": 1}
    assert testee.error("setopt", fd=one, level="fcntl", option="FD_CLOEXEC", value=1)["type"] == "Request"
    assert testee.error("getopt", fd=one, level="fcntl", option="FD_CLOEXEC")["type"] == "Request"
    assert testee.error("getopt", fd=one, level="SOL_SOCKET", option="SO_BOGUS")["type"] == "Request"
    assert testee.error("getopt", fd=999, level="SOL_SOCKET", option="SO_TYPE")["errno"] == "EBADF"
    testee.reset()


def test_a_failed_connect_or_listen_leaves_nothing(testee, tmp_path):
    error = testee.error("connect", address=str(tmp_path / "none"), type="stream")
    assert (error["type"], error["errno"]) == ("socket.error", "ENOENT")
    assert testee.error("listen", address=str(tmp_path / "no" / "s"), type="stream")["errno"] == "ENOENT"
    assert testee.new() == []


def test_open_takes_flags_and_sets_close_on_exec(testee, tmp_path):
    path = tmp_path / "\u00e4"
    path.write_bytes(b"abc")
    fd = testee.get("open", path=str(path), flags=["O_RDWR", "O_APPEND"])["fd"]
    wanted = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    assert flags_of(testee, fd) & (os.O_ACCMODE | os.O_APPEND | os.O_CLOEXEC) == wanted
    error = testee.error("open", path=str(tmp_path / "none"))
    assert (error["type"], error["errno"]) == ("OSError", "ENOENT")
    testee.reset(fd)


def test_reset_reports_what_cannot_be_closed(testee):
    fd = testee.get("pair", type="dgram")["fds"][0]
    replied = testee.get("reset", close=[fd, 999, -1, 2**40])
    assert replied == {"failed": [{"fd": number, "errno": "EBADF"} for number in (fd, 999, -1, 2**40)]}
    assert testee.error("close", fd=999)["errno"] == "EBADF"
    assert testee.error("close", fd=-1)["errno"] == "EBADF"
    assert testee.error("close", fd=2**31)["type"] == "OverflowError"
    testee.reset()


def test_reset_closes_every_socket_of_the_case(testee, tmp_path):
    for kind in TYPES:
        testee.get("pair", type=kind)
        testee.get("listen", address=str(tmp_path / kind), type=kind)
        testee.get("connect", address="", type=kind)
    assert len(testee.new()) == 12
    testee.reset()


# --- send1msg and recv1msg -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_two_descriptors_in_each_direction(message, tmp_path, kind):
    for name in "ab":
        (tmp_path / name).touch()
    with listening(tmp_path / "s", kind) as end:
        link = message.get("connect", address=str(tmp_path / "s"), type=kind, bind=str(tmp_path / "mine"))["fd"]
        peer = end.accept()[0] if kind != "dgram" else end
        opened = [message.get("open", path=str(tmp_path / name))["fd"] for name in "ab"]
        assert message.get("sendmsg", fd=link, buffers=[b"hello".hex()], ancillary=rights(*opened)) == {"sent": 5}
        data, fds, _, _ = socket.recv_fds(peer, 16, 4)
        assert data == b"hello"
        assert [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in fds] == [str(tmp_path / "a"), str(tmp_path / "b")]
        if kind == "dgram":
            peer.connect(str(tmp_path / "mine"))
        socket.send_fds(peer, [b"back"], fds)
        reply = message.get("recvmsg", fd=link, room=2)
        (item,) = reply.pop("ancillary")
        assert reply == {"buffers": [b"back".hex()], "flags": [], "address": None}
        got = numbers([item])
        assert item["data"] == struct.pack("2i", *got).hex()
        assert [message.descriptors()[fd] for fd in got] == [str(tmp_path / "a"), str(tmp_path / "b")]
        for fd in fds:
            os.close(fd)
        peer.close()
        message.reset(*opened, *got)


def test_flags_go_in_and_come_out(message):
    one, other = message.get("pair", type="seqpacket")["fds"]
    message.get("sendmsg", fd=one, buffers=["6162"], ancillary=rights(one, one, one), flags=["MSG_NOSIGNAL"])
    seen = message.get("recvmsg", fd=other, sizes=[1], room=2, flags=["MSG_PEEK", "MSG_CMSG_CLOEXEC"])
    assert seen["buffers"] == ["61"]
    assert set(seen["flags"]) == {"MSG_TRUNC", "MSG_CTRUNC", "MSG_CMSG_CLOEXEC"}
    first = numbers(seen["ancillary"])
    assert len(first) == 2
    assert all(flags_of(message, fd) & os.O_CLOEXEC for fd in first)
    whole = message.get("recvmsg", fd=other, sizes=[2], room=4, flags=[1 << 6])  # MSG_DONTWAIT
    second = numbers(whole["ancillary"])
    assert (whole["buffers"], whole["flags"], len(second)) == (["6162"], [], 3)
    message.reset(*first, *second)


def test_no_room_takes_no_descriptor(message):
    one, other = message.get("pair", type="stream")["fds"]
    message.get("sendmsg", fd=one, buffers=["61"], ancillary=rights(one))
    reply = message.get("recvmsg", fd=other, room=0)
    assert (reply["ancillary"], reply["flags"]) == ([], ["MSG_CTRUNC"])
    message.reset()


def test_raw_control_data_and_several_control_messages(message):
    one, other = message.get("pair", type="stream")["fds"]
    item = {"level": "SOL_SOCKET", "type": socket.SCM_RIGHTS, "data": one.to_bytes(4, sys.byteorder).hex()}
    message.get("sendmsg", fd=one, buffers=["61"], ancillary=[item, rights(other)[0]])
    got = numbers(message.get("recvmsg", fd=other, room=4)["ancillary"])
    assert len(got) == 2
    bogus = {"level": "SOL_SOCKET", "type": 4711, "data": ""}
    error = message.error("sendmsg", fd=one, buffers=["61"], ancillary=[bogus])
    assert (error["type"], error["errno"]) == ("socket.error", "EINVAL")
    message.reset(*got)


def test_credentials_come_by_name_with_raw_data(message):
    one, other = message.get("pair", type="stream")["fds"]
    message.get("setopt", fd=other, level="SOL_SOCKET", option="SO_PASSCRED", value=1)
    message.get("sendmsg", fd=one, buffers=["61"])
    (item,) = message.get("recvmsg", fd=other, room=8)["ancillary"]
    assert (item["level"], item["type"]) == ("SOL_SOCKET", "SCM_CREDENTIALS")
    assert int.from_bytes(bytes.fromhex(item["data"])[:4], sys.byteorder) == message.process.pid
    message.reset()


def test_errors_are_the_implementation_s(message):
    one, _ = message.get("pair", type="stream")["fds"]
    for bad, expected in ((-1, "EBADF"), (999, "EBADF"), (2**31, None), (-(2**31) - 1, None)):
        kind = "socket.error" if expected else "OverflowError"
        for op, fields in (
            ("sendmsg", {"fd": one, "ancillary": rights(bad), "buffers": ["61"]}),
            ("sendmsg", {"fd": bad, "ancillary": rights(one), "buffers": ["61"]}),
            ("recvmsg", {"fd": bad, "room": 1}),
        ):
            error = message.error(op, **fields)
            assert (error["type"], error.get("errno")) == (kind, expected)
    message.get("setopt", fd=one, level="fcntl", option="O_NONBLOCK", value=1)
    error = message.error("recvmsg", fd=one, room=1)
    assert (error["type"], error["errno"]) == ("socket.error", "EAGAIN")
    message.reset()


def test_a_received_socket_can_be_used_and_stays_the_harness_s_to_close(message, tmp_path):
    one, other = message.get("pair", type="stream")["fds"]
    left, right = message.get("pair", type="stream")["fds"]
    message.get("sendmsg", fd=one, buffers=["61"], ancillary=rights(left))
    (copy,) = numbers(message.get("recvmsg", fd=other, room=1)["ancillary"])
    message.get("sendmsg", fd=copy, buffers=["62"])
    assert message.get("recvmsg", fd=right)["buffers"] == ["62"]
    assert message.get("getopt", fd=copy, level="SOL_SOCKET", option="SO_TYPE") == {"value": socket.SOCK_STREAM}
    message.get("setopt", fd=copy, level="fcntl", option="O_NONBLOCK", value=1)
    assert message.get("getopt", fd=left, level="fcntl", option="O_NONBLOCK") == {"value": 1}
    message.get("shutdown", fd=copy, how="SHUT_WR")
    assert message.get("recvmsg", fd=right)["buffers"] == [""]
    message.get("close", fd=copy)
    (tmp_path / "file").touch()
    assert message.get("open", path=str(tmp_path / "file"))["fd"] == copy
    message.reset(copy)


def test_four_mebibytes_go_through_one_line(message):
    one, other = message.get("pair", type="stream")["fds"]
    message.get("setopt", fd=one, level="fcntl", option="O_NONBLOCK", value=1)
    sent = message.get("sendmsg", fd=one, buffers=["ab" * (1 << 22)])["sent"]
    assert 0 < sent < 1 << 22
    assert message.get("recvmsg", fd=other, sizes=[1 << 22])["buffers"] == ["ab" * sent]
    message.reset()


# --- unsupported, steps, malformed requests --------------------------------------------------------------------------


def test_what_was_not_declared_is_unsupported(message, transport):
    for op, fields, word in (
        ("sendmsg", {"buffers": ["61", "62"]}, "buffers-out"),
        ("sendmsg", {"buffers": ["61"], "address": "/x"}, "address"),
        ("recvmsg", {"sizes": [1, 1]}, "buffers-in"),
        ("recvmsg", {"control": 20}, "control-length"),
        ("send_fds", {"buffers": ["61"], "fds": [0]}, "send_fds"),
        ("transport.write", {"transport": 1, "data": ""}, "transport.write"),
        ("fdspec.made.up", {}, "fdspec.made.up"),
        ("census", {}, "census"),
        ("encode", {"ancillary": []}, "encode"),
    ):
        assert word in message.unsupported(op, **{"fd": 0, **fields})
    assert "owned" in transport.unsupported("transport.send_fd", transport=1, fd=0, give=True)
    assert transport.unsupported("sendmsg", fd=0)


BARE = """
    from fdspec_testee27 import TYPES, Adapter

    class Bare(Adapter):
        profiles = {name: {"types": TYPES} for name in ("message", "descriptors")}
        capabilities = []

        def sendmsg(self, *arguments):
            raise RuntimeError("never called")

        recvmsg = send_fds = recv_fds = sendmsg
"""


def test_every_capability_is_refused_before_the_adapter_sees_it(own):
    one = own(BARE)
    data = {"buffers": ["61"]}
    raw = {"level": "SOL_SOCKET", "type": "SCM_RIGHTS", "data": "00"}
    for need, op, fields in (
        ("buffers-out", "sendmsg", {"buffers": ["61", "62"]}),
        ("buffers-in", "recv_fds", {"sizes": [1, 1]}),
        ("flags-out", "send_fds", {**data, "flags": [64]}),
        ("flags-in", "recvmsg", {"flags": ["MSG_PEEK"]}),
        ("address", "send_fds", {**data, "address": "/x"}),
        ("empty-out", "sendmsg", {"buffers": [""]}),
        ("plain-out", "sendmsg", data),
        ("plain-out", "send_fds", data),
        ("control-length", "recvmsg", {"control": 20}),
        ("ancillary", "sendmsg", {**data, "ancillary": [raw]}),
        ("several", "sendmsg", {**data, "ancillary": rights(0) + rights(0)}),
        ("many", "send_fds", {**data, "fds": [0, 1]}),
        ("many", "recv_fds", {"room": 2}),
        ("single", "recv_fds", {"single": True}),
    ):
        assert need in one.unsupported(op, fd=0, **fields)
    assert one.unsupported("pair", type="stream")
    assert one.unsupported("steps", steps=[])
    assert one.unsupported("setopt", fd=0, level="fcntl", option="O_NONBLOCK", value=1)
    assert one.unsupported("getopt", fd=0, level="SOL_SOCKET", option="SO_TYPE")
    assert one.unsupported("shutdown", fd=0, how="SHUT_RD")
    assert one.unsupported("listen", address="@fdspec-bare", type="stream")
    assert one.unsupported("accept", fd=0)
    assert one.error("sendmsg", fd=0, buffers=["61"], ancillary=rights(0)) == {
        "type": "RuntimeError",
        "message": "never called",
    }


def test_references_reach_numbers_in_control_messages(message):
    replies = message.steps(
        {"op": "pair", "type": "stream"},
        {"op": "sendmsg", "fd": "$0.fds.0", "buffers": ["61"], "ancillary": rights("$0.fds.1")},
        {"op": "recvmsg", "fd": "$0.fds.1", "room": 1},
        {"op": "close", "fd": "$0.fds.0"},
    )
    assert [list(reply) for reply in replies] == [["result"]] * 4
    message.reset(*numbers(replies[2]["result"]["ancillary"]))


@pytest.mark.parametrize("reference", ["$0.fds.2", "$0.fd", "$1.fd", "$9.fd", "$0", "$", "$x.fd", "$0.fds", "$0.fds.x"])
def test_an_unresolvable_reference_is_an_error_of_its_own(message, reference):
    replies = message.steps({"op": "pair", "type": "stream"}, {"op": "close", "fd": reference}, {"op": "reset"})
    assert len(replies) == 2
    assert replies[1]["error"]["type"] == "Reference"
    assert reference in replies[1]["error"]["message"]
    message.reset()


def test_steps_stop_at_what_is_no_result(message):
    assert len(message.steps({"op": "bogus"}, {"op": "reset"})) == 1
    assert len(message.steps({"op": "bogus"}, {"op": "reset"}, go_on=True)) == 2
    (reply,) = message.steps({"op": "steps", "steps": []})
    assert reply["error"]["type"] == "Request"
    assert message.error("steps", steps=[1])["type"] == "Request"
    assert message.error("steps")["type"] == "Request"


@pytest.mark.parametrize(
    ("op", "fields", "word"),
    [
        ("close", {}, "fd is missing"),
        ("close", {"fd": "3"}, "fd"),
        ("close", {"fd": True}, "fd"),
        ("close", {"fd": None}, "fd"),
        ("close", {"fd": 1.5}, "fd"),
        ("connect", {"address": 1, "type": "stream"}, "address"),
        ("connect", {"address": "/x", "type": "raw"}, "raw"),
        ("open", {"path": "/x", "flags": ["O_BOGUS"]}, "O_BOGUS"),
        ("open", {"path": "/x", "flags": "O_RDONLY"}, "flags"),
        ("sendmsg", {"fd": 0, "buffers": ["6"]}, "hexadecimal"),
        ("sendmsg", {"fd": 0, "buffers": ["\u00e4\u00e4"]}, "hexadecimal"),
        ("sendmsg", {"fd": 0, "buffers": [1]}, "hexadecimal"),
        ("sendmsg", {"fd": 0, "ancillary": [{"level": "SOL_SOCKET", "type": "SCM_RIGHTS"}]}, "hexadecimal"),
        ("sendmsg", {"fd": 0, "ancillary": [{"level": "SOL_X", "type": 1, "data": ""}]}, "SOL_X"),
        ("sendmsg", {"fd": 0, "ancillary": [1]}, "ancillary"),
        ("recvmsg", {"fd": 0, "sizes": [True]}, "sizes"),
        ("shutdown", {"fd": 0, "how": "SHUT_UP"}, "SHUT_UP"),
        ("reset", {"close": ["$0.fd"]}, "close"),
    ],
)
def test_malformed_requests_are_told_with_the_field(message, op, fields, word):
    error = message.error(op, **fields)
    assert error["type"] == "Request"
    assert error["message"].startswith(op)
    assert word in error["message"]


def test_lines_that_are_no_request_are_passed_over(message):
    message.write(b"\nrubbish\n[]\n3\n{}\n\xff\n")
    assert message.get("reset", close=[]) == {"failed": []}


def test_requests_come_in_pieces_and_in_bunches(message):
    lines = [json.dumps({"id": 100 + index, "op": "reset"}).encode() + b"\n" for index in range(3)]
    message.write(lines[0] + lines[1][:7])
    assert message.read()["id"] == 100
    message.write(lines[1][7:] + lines[2])
    data = b""
    while data.count(b"\n") < 2:
        data += os.read(message.process.stdout.fileno(), 4096)
    assert [json.loads(line)["id"] for line in data.splitlines()] == [101, 102]


# --- adapters of one's own -------------------------------------------------------------------------------------------


def test_it_ends_with_its_input_whatever_threads_there_are(own):
    own("""
        import threading, time
        from fdspec_testee27 import Adapter

        class Busy(Adapter):
            def start(self):
                threading.Thread(target=time.sleep, args=(60,)).start()
    """)  # the fixture asserts the exit code


def test_what_an_implementation_prints_is_log_and_garbage_is_collected(own, tmp_path):
    one = own("""
        import socket
        from fdspec_testee27 import Adapter

        class Cycle(object):
            def __init__(self, path):
                self.me, self.file = self, open(path)

        class Chatty(Adapter):
            def open(self, path, flags):
                print "opening", path
                return Cycle(path).file.fileno()
    """)
    (tmp_path / "f").touch()
    for _ in range(3):
        fd = one.get("open", path=str(tmp_path / "f"))["fd"]
        assert one.new() == [fd]
        one.reset()


def test_an_error_carries_what_was_observed(own):
    one = own("""
        from fdspec_testee27 import TYPES, Adapter, Failed

        class Lossy(Adapter):
            profiles = {"descriptors": {"types": TYPES, "capabilities": []}}

            def recv_fds(self, fd, sizes, room, flags, single):
                raise Failed(OSError(24, "lost \\xff some"), (["ab"], [5], 8, "\\0x"))
    """)
    assert one.error("recv_fds", fd=0) == {
        "type": "OSError",
        "message": "[Errno 24] lost \\xff some",
        "errno": "EMFILE",
        "observed": {"buffers": ["6162"], "fds": [5], "flags": ["MSG_CTRUNC"], "address": "@x"},
    }


def test_a_number_closed_behind_the_testee_s_back_closes_nobody_else(own):
    one = own("""
        import os
        from fdspec_testee27 import TYPES, Adapter

        class Stray(Adapter):
            profiles = {"descriptors": {"types": TYPES, "capabilities": ["plain-out"]}}

            def send_fds(self, fd, buffers, fds, flags, address, single):
                os.close(fd)
    """)
    fd, _ = one.get("pair", type="stream")["fds"]
    one.get("send_fds", fd=fd, buffers=["61"])
    again, _ = one.get("pair", type="dgram")["fds"]
    assert again == fd
    assert one.get("getopt", fd=fd, level="SOL_SOCKET", option="SO_TYPE") == {"value": socket.SOCK_DGRAM}
    one.reset()
    fd, _ = one.get("pair", type="stream")["fds"]
    one.get("send_fds", fd=fd, buffers=["61"])
    assert one.get("reset", close=[]) == {"failed": [{"fd": fd, "errno": "EBADF"}]}
    fd, _ = one.get("pair", type="stream")["fds"]
    one.get("send_fds", fd=fd, buffers=["61"])
    file = one.get("open", path=os.devnull)["fd"]  # its number, now somebody else's
    assert file == fd
    assert one.get("reset", close=[]) == {"failed": [{"fd": fd, "errno": "EBADF"}]}
    assert one.new() == [fd]
    one.reset(fd)


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("", "found: none"),
        ("from fdspec_testee27 import Adapter", "found: none"),
        ("from fdspec_testee27 import Adapter\nclass A(Adapter): pass\nclass B(Adapter): pass", "found: A, B"),
    ],
)
def test_an_adapter_file_has_one_adapter(tmp_path, source, word):
    path = tmp_path / "adapter.py"
    path.write_text(source)
    start = [str(OLD.path), "-E", "-s", TESTEE27]
    done = subprocess.run([*start, path], input=b"", capture_output=True, check=False)
    assert done.returncode == 1
    assert word in done.stderr.decode()
    assert b"usage" in subprocess.run(start, input=b"", capture_output=True, check=False).stderr


# --- transports ------------------------------------------------------------------------------------------------------


class Link:
    """A transport of the testee's and our end of it."""

    def __init__(self, testee, directory, role, **receiver):
        self.testee = testee
        path = str(directory / "link")
        if role == "client":
            with listening(path) as listener:
                self.number = testee.get("transport.connect", address=path, receiver=receiver)["transport"]
                self.peer, _ = listener.accept()
        else:
            listener = testee.get("transport.listen", address=path, receiver=receiver)["transport"]
            self.peer = socket.socket(socket.AF_UNIX)
            self.peer.connect(path)
            self.number = testee.get("transport.accept", transport=listener)["transport"]
        self.peer.settimeout(10)

    def events(self, **fields):
        return self.testee.get("transport.events", transport=self.number, **fields)["events"]

    def do(self, op, **fields):
        return self.testee.get(f"transport.{op}", transport=self.number, **fields)

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
def link(transport, tmp_path):
    made = []

    def make(role="client", **receiver):
        made.append(Link(transport, tmp_path, role, **receiver))
        return made[-1]

    yield make
    for one in made:
        one.peer.close()


def kinds(events):
    return [event["event"] for event in events]


@pytest.mark.parametrize("role", ["client", "server"])
def test_descriptors_and_data_in_order(transport, link, role, tmp_path):
    one = link(role)
    with (tmp_path / "a").open("w") as a, (tmp_path / "b").open("w") as b:
        socket.send_fds(one.peer, [b"xy"], [a.fileno()])
        socket.send_fds(one.peer, [b"z"], [b.fileno()])
        events = one.events(bytes=3, fds=2, wait=10.0)
    assert kinds(events) == ["descriptor", "data"] * 2
    fds = [event["fd"] for event in events[::2]]
    assert [transport.descriptors()[fd] for fd in fds] == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert [event["data"] for event in events[1::2]] == ["7879", "7a"]
    assert one.events() == []
    transport.reset(*fds)


@pytest.mark.parametrize("role", ["client", "server"])
def test_sending_descriptors_each_with_a_byte(transport, link, role):
    one = link(role)
    replies = transport.steps(
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
    transport.reset(replies[0]["result"]["fd"], replies[1]["result"]["fd"])


def test_a_reference_to_a_transport(transport, tmp_path):
    with listening(tmp_path / "s") as listener:
        replies = transport.steps(
            {"op": "transport.connect", "address": str(tmp_path / "s"), "receiver": {}},
            {"op": "transport.write", "transport": "$0.transport", "data": "61"},
            {"op": "transport.events", "transport": "$0.transport"},
        )
        assert replies[2] == {"result": {"events": []}}
        with listener.accept()[0] as peer:
            assert peer.recv(4) == b"a"
    transport.reset()


def test_end_of_file_and_what_came_before_it(transport, link, tmp_path):
    one = link()
    with (tmp_path / "a").open("w") as a:
        socket.send_fds(one.peer, [b"x"], [a.fileno()])
    one.peer.close()
    events = one.events(event="lost", wait=10.0)
    assert kinds(events) == ["descriptor", "data", "lost"]
    assert events[-1].get("error") is None
    assert one.events(bytes=1, wait=10.0) == []  # lost is final: no waiting
    transport.reset(events[0]["fd"])


def test_waiting_ends_in_time(transport, link):
    one = link()
    began = time.monotonic()
    assert one.events(bytes=1, wait=0.05) == []
    assert time.monotonic() - began >= 0.05
    transport.reset()


def test_a_producer_is_paused_and_resumed(transport, link):
    one = link()
    one.do("producer")
    fd = transport.get("open", path=os.devnull)["fd"]
    for _ in range(65):
        one.do("send_fd", fd=fd)
    assert kinds(one.events(event="pause", wait=10.0)) == ["pause"]
    one.do("write", data="61" * 65)
    assert kinds(one.events(event="resume", wait=10.0)) == ["pause", "resume"]  # it is full at this write, too
    assert one.receive(65)[2] == [1] * 65
    transport.reset(fd)


def test_more_descriptors_than_data_is_told_to_the_protocol(transport, link):
    one = link()
    fd = transport.get("open", path=os.devnull)["fd"]
    for _ in range(2):
        one.do("send_fd", fd=fd)
    one.do("write", data="61")
    (event,) = one.events(event="lost", wait=10.0)
    assert event["error"] == "FileDescriptorOverrun"
    transport.reset(fd)


def test_reading_stops_and_goes_on(transport, link):
    one = link("server")
    one.do("reading", on=False)
    one.peer.send(b"abc")
    assert one.events() == []
    one.do("reading", on=True)
    assert one.events(bytes=3, wait=10.0) == [{"event": "data", "data": b"abc".hex()}]
    transport.reset()


def test_a_protocol_that_cannot_take_descriptors(transport, link):
    one = link(descriptors=False)
    before = transport.descriptors()
    socket.send_fds(one.peer, [b"x"], [0])
    events = one.events(bytes=1, wait=10.0)
    assert kinds(events) == ["log", "data"]
    assert "IFileDescriptorReceiver" in events[0]["message"]
    assert transport.descriptors() == before
    transport.reset()


def test_a_callback_that_raises(transport, link):
    one = link(raise_at=0)
    socket.send_fds(one.peer, [b"x"], [0])
    events = one.events(event="lost", wait=10.0)
    assert kinds(events) == ["descriptor", "log", "lost"]
    assert [event.get("error") for event in events[1:]] == ["RuntimeError", "RuntimeError"]
    transport.reset(events[0]["fd"])


@pytest.mark.parametrize("abort", [False, True])
def test_closing(transport, link, abort):
    one = link()
    one.do("write", data="61")
    one.do("close", abort=abort)
    (event,) = one.events(event="lost", wait=10.0)
    assert event.get("error") == ("ConnectionAborted" if abort else None)
    assert one.peer.recv(4) == (b"" if abort else b"a")
    transport.reset()


def test_reset_in_the_middle_of_everything(transport, link, tmp_path):
    one = link("server")
    fd = transport.get("open", path=os.devnull)["fd"]
    one.do("producer")
    for _ in range(70):
        one.do("send_fd", fd=fd)
    one.do("write", data="61" * (1 << 20))
    one.events()
    one.do("close")  # waits for its data, which nobody takes
    with socket.socket(socket.AF_UNIX) as late:
        late.connect(str(tmp_path / "link"))  # never accepted
        transport.reset(fd)
        with pytest.raises(ConnectionResetError):
            late.recv(1)
    assert transport.error("transport.events", transport=one.number)["type"] == "Request"


def test_reset_when_the_listener_s_path_is_gone(transport, tmp_path):
    transport.get("transport.listen", address=str(tmp_path / "s"), receiver={})
    (tmp_path / "s").unlink()
    transport.reset()


def test_numbers_begin_anew_after_reset(transport, link):
    assert link().number == 1
    transport.reset()


def test_errors_of_transports(transport, link, tmp_path):
    error = transport.error("transport.connect", address=str(tmp_path / "none"), receiver={})
    assert (error["type"], error["errno"]) == ("ConnectError", "ENOENT")
    error = transport.error("transport.listen", address=str(tmp_path / "no" / "s"), receiver={})
    assert (error["type"], error["errno"]) == ("CannotListenError", "ENOENT")
    one = link()
    for op in ("transport.write", "transport.events", "transport.accept", "transport.close"):
        assert transport.error(op, transport=99, data="")["type"] == "Request"
    assert transport.error("transport.accept", transport=one.number)["type"] == "Request"
    assert transport.error("transport.write", transport=one.number)["message"].endswith("the field data is missing")
    transport.reset()
