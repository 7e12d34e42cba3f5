"""The Python testee and its adapters over the socket module, on every interpreter of this machine."""

import errno
import importlib.util
import json
import os
import socket
import sys
import textwrap

import pytest
from fdspec.impls.manifest import load
from fdspec.impls.protocol.capabilities import PROFILES
from fdspec.impls.protocol.capabilities import TESTEE as WHOLE
from fdspec.impls.protocol.messages import REQUESTS
from python_client import IMPLS, TESTEE, TYPES, Testee, adapter, interpreters, numbers, rights

ALL = interpreters()
NEWER = interpreters(9)
ADAPTERS = [(one, "python-socket") for one in ALL]
ADAPTERS += [(one, "python-recipe") for one in ALL]
ADAPTERS += [(one, "python-socket-fds") for one in NEWER]


def short(value):
    return value.split("/")[-3] if "/" in value else value


@pytest.fixture(params=ADAPTERS, ids=lambda pair: "-".join(map(short, pair)))
def testee(request, tmp_path):
    interpreter, name = request.param
    with Testee(interpreter, adapter(name), tmp_path) as one:
        yield one


@pytest.fixture(params=ALL, ids=short)
def message(request, tmp_path):
    with Testee(request.param, adapter("python-socket"), tmp_path) as one:
        yield one


@pytest.fixture
def own(tmp_path):
    """An adapter of the test's own, under the interpreter that runs the test."""
    started = []

    def start(source):
        path = tmp_path / "adapter.py"
        path.write_text(textwrap.dedent(source))
        started.append(Testee(sys.executable, path, tmp_path))
        return started[-1].__enter__()

    yield start
    for one in started:
        one.__exit__(None)


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("fdspec_testee_under_test", TESTEE)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def listening(path, kind="stream"):
    end = socket.socket(socket.AF_UNIX, TYPES[kind])
    end.bind(str(path))
    if kind != "dgram":
        end.listen()
    end.settimeout(10)
    return end


# --- the table against the protocol ----------------------------------------------------------------------------------


def test_the_operations_have_the_fields_of_the_protocol(module):
    requests = {request.__struct_config__.tag: request for request in REQUESTS}
    assert set(module.OPS) <= set(requests)
    for name, op in module.OPS.items():
        request = requests[name]
        fields = {field.encode_name: field for field in request.__struct_config__ and _fields(request)}
        assert [field for field, _, _ in op.fields] == list(fields), name
        assert op.profile == request.profile, name
        assert op.capability == request.capability, name
        for field, read, default in op.fields:
            if default is module.REQUIRED:
                assert fields[field].required, (name, field)
            elif default is not None:
                assert read(_default(fields[field])) == default, (name, field)


def _fields(request):
    import msgspec.structs

    return msgspec.structs.fields(request)


def _default(field):
    import msgspec

    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value


def test_every_need_is_a_capability_of_the_operations_profile(module):
    for name, needs in module.NEEDS.items():
        profile = module.OPS[name].profile
        assert {need for need, _ in needs} <= set(PROFILES[profile]), name


def test_what_is_never_refused_is_what_a_request_cannot_ask_for(module):
    asked = {need for needs in module.NEEDS.values() for need, _ in needs}
    shown = {"peer-address", "flags-reported", "log"}  # capabilities of replies
    for profile in ("message", "descriptors", "transport"):
        assert set(PROFILES[profile]) - asked <= shown


# --- hello -----------------------------------------------------------------------------------------------------------


def test_hello_declares_what_exists(testee):
    hello = testee.hello
    assert hello["version"] == 1
    assert hello["implementation"]["language"] == "Python"
    assert hello["implementation"]["version"]
    for name, profile in hello["profiles"].items():
        assert set(profile["capabilities"]) <= set(PROFILES[name])
        assert profile["types"] == list(TYPES)
    assert set(hello["capabilities"]) <= set(WHOLE)
    assert all(policy["source"].startswith("https://") for policy in hello["policies"].values())
    assert set(testee.baseline) == {0, 1, 2}


@pytest.mark.parametrize("name", ["python-socket", "python-recipe", "python-socket-fds"])
def test_the_manifest_says_what_hello_says(name, tmp_path):
    manifest = load(IMPLS / "catalogue" / name / "impl.toml")
    with Testee(sys.executable, adapter(name), tmp_path) as one:
        assert manifest.id == name
        assert manifest.name == one.hello["implementation"]["name"]
        assert [profile.value for profile in manifest.profiles] == list(one.hello["profiles"])


# --- sockets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("named", ["path", "abstract"])
def test_connect_bind_and_close(testee, tmp_path, kind, named):
    abstract = f"fdspec-{os.getpid()}-{testee.process.pid}"
    place, address = (tmp_path / "s", str(tmp_path / "s")) if named == "path" else ("\0" + abstract, "@" + abstract)
    own_place, own_address = (
        (str(tmp_path / "b"), str(tmp_path / "b")) if named == "path" else (f"\0{abstract}-b".encode(), f"@{abstract}-b")
    )
    with listening(place, kind) as end:
        fd = testee.get("connect", address=address, type=kind, bind=own_address)["fd"]
        assert testee.new() == [fd]
        assert testee.get("getopt", fd=fd, level="SOL_SOCKET", option="SO_TYPE") == {"value": TYPES[kind]}
        if kind != "dgram":
            connection, peer = end.accept()
            with connection:
                assert peer == own_place
                assert testee.get("close", fd=fd) == {}
                assert connection.recv(1) == b""
        else:
            assert testee.get("close", fd=fd) == {}
    testee.reset()


@pytest.mark.parametrize("kind", ["stream", "seqpacket"])
def test_listen_and_accept(testee, tmp_path, kind):
    fd = testee.get("listen", address=str(tmp_path / "s"), type=kind, backlog=1)["fd"]
    with socket.socket(socket.AF_UNIX, TYPES[kind]) as end:
        end.bind(str(tmp_path / "peer"))
        end.connect(str(tmp_path / "s"))
        accepted = testee.get("accept", fd=fd)
        assert accepted["address"] == str(tmp_path / "peer")
        assert testee.new() == sorted([fd, accepted["fd"]])
        testee.get("shutdown", fd=accepted["fd"], how="SHUT_WR")
        assert end.recv(1) == b""
        testee.reset()


def test_a_datagram_socket_listens_by_its_address_alone(testee, tmp_path):
    testee.get("listen", address=str(tmp_path / "s"), type="dgram")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.connect(str(tmp_path / "s"))
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
    testee.reset()


def test_a_failed_connect_or_listen_leaves_nothing(testee, tmp_path):
    assert testee.error("connect", address=str(tmp_path / "none"), type="stream")["errno"] == "ENOENT"
    assert testee.error("listen", address=str(tmp_path / "no" / "s"), type="stream")["errno"] == "ENOENT"
    assert testee.new() == []


def test_open_takes_flags_and_sets_close_on_exec(testee, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    fd = testee.get("open", path=str(path), flags=["O_RDWR", "O_APPEND"])["fd"]
    flags = int(open(f"/proc/{testee.process.pid}/fdinfo/{fd}").read().split("flags:\t")[1].split()[0], 8)
    assert flags & (os.O_ACCMODE | os.O_APPEND | os.O_CLOEXEC) == os.O_RDWR | os.O_APPEND | os.O_CLOEXEC
    assert testee.error("open", path=str(tmp_path / "none"))["errno"] == "ENOENT"
    testee.reset(fd)


# --- the implementations ---------------------------------------------------------------------------------------------


def passing(testee, fd, fds, data="68656c6c6f", **more):
    """Send by whichever profile this testee has."""
    if "message" in testee.hello["profiles"]:
        return {"op": "sendmsg", "fd": fd, "buffers": [data], "ancillary": rights(*fds), **more}
    return {"op": "send_fds", "fd": fd, "buffers": [data], "fds": list(fds), **more}


def taking(testee, fd, room, **more):
    return {"op": "recvmsg" if "message" in testee.hello["profiles"] else "recv_fds", "fd": fd, "room": room, **more}


def taken(reply):
    return reply["fds"] if "fds" in reply else numbers(reply["ancillary"])


@pytest.mark.parametrize("kind", TYPES)
def test_two_descriptors_in_each_direction(testee, tmp_path, kind):
    for name in "ab":
        (tmp_path / name).touch()
    with listening(tmp_path / "s", kind) as end:
        link = testee.get("connect", address=str(tmp_path / "s"), type=kind, bind=str(tmp_path / "mine"))["fd"]
        peer = end.accept()[0] if kind != "dgram" else end
        opened = [testee.get("open", path=str(tmp_path / name))["fd"] for name in "ab"]
        step = passing(testee, link, opened)
        assert testee.get(**step) == {"sent": 5}
        data, fds, _, _ = socket.recv_fds(peer, 16, 4)
        assert data == b"hello"
        assert [os.readlink(f"/proc/self/fd/{fd}") for fd in fds] == [str(tmp_path / "a"), str(tmp_path / "b")]
        if kind == "dgram":
            peer.connect(str(tmp_path / "mine"))
        socket.send_fds(peer, [b"back"], fds)
        reply = testee.get(**taking(testee, link, 2))
        assert reply["buffers"] == [b"back".hex()]
        got = taken(reply)
        assert [testee.descriptors()[fd] for fd in got] == [str(tmp_path / "a"), str(tmp_path / "b")]
        for fd in fds:
            os.close(fd)
        peer.close()
        testee.reset(*opened, *got)


def test_bad_numbers_are_the_implementations_errors(testee, tmp_path):
    one, _ = testee.get("pair", type="stream")["fds"]
    for bad, expected in ((-1, "EBADF"), (999, "EBADF"), (2**31, None), (-(2**31) - 1, None)):
        error = testee.error(**passing(testee, one, [bad]))
        assert error.get("errno") == expected
        assert error["type"] == ("OSError" if expected else "OverflowError")
        assert testee.error(**passing(testee, bad, [one]))["type"] in {"OSError", "ValueError", "OverflowError"}
    assert testee.error("close", fd=999)["errno"] == "EBADF"
    assert testee.error("close", fd=-1)["errno"] == "EBADF"
    testee.reset()


def test_would_block_is_an_error_with_its_number(testee):
    one, _ = testee.get("pair", type="stream")["fds"]
    testee.get("setopt", fd=one, level="fcntl", option="O_NONBLOCK", value=1)
    error = testee.error(**taking(testee, one, 1))
    assert (error["type"], error["errno"]) == ("BlockingIOError", "EAGAIN")
    testee.reset()


def test_a_received_socket_can_be_used_and_stays_the_harness_s_to_close(testee):
    one, other = testee.get("pair", type="stream")["fds"]
    left, right = testee.get("pair", type="stream")["fds"]
    testee.get(**passing(testee, one, [left]))
    (copy,) = taken(testee.get(**taking(testee, other, 1)))
    assert testee.get(**passing(testee, copy, [one], data="61")) == {"sent": 1}
    reply = testee.get(**taking(testee, right, 1, sizes=[4]))
    assert reply["buffers"] == ["61"]
    assert testee.get("reset", close=[copy, *taken(reply)]) == {"failed": []}
    assert testee.descriptors() == testee.baseline


def test_close_of_a_borrowed_number_frees_it_for_others(testee, tmp_path):
    one, other = testee.get("pair", type="stream")["fds"]
    testee.get(**passing(testee, one, [one]))
    (copy,) = taken(testee.get(**taking(testee, other, 1)))
    testee.get("getopt", fd=copy, level="SOL_SOCKET", option="SO_TYPE")
    testee.get("close", fd=copy)
    (tmp_path / "file").touch()
    assert testee.get("open", path=str(tmp_path / "file"))["fd"] == copy
    testee.reset(copy)


def test_reset_reports_what_cannot_be_closed(testee):
    fd = testee.get("pair", type="dgram")["fds"][0]
    replied = testee.get("reset", close=[fd, 999, -1])
    assert replied == {"failed": [{"fd": number, "errno": "EBADF"} for number in (fd, 999, -1)]}
    assert testee.get("reset", close=[2**40])["failed"][0]["fd"] == 2**40
    testee.reset()


# --- message profile -------------------------------------------------------------------------------------------------


def test_gather_scatter_flags_and_control_length(message, tmp_path):
    one, other = message.get("pair", type="seqpacket")["fds"]
    (tmp_path / "file").touch()
    fd = message.get("open", path=str(tmp_path / "file"))["fd"]
    message.get("sendmsg", fd=one, buffers=["61", "", "6263646566"], ancillary=rights(fd, fd), flags=["MSG_NOSIGNAL"])
    seen = message.get("recvmsg", fd=other, sizes=[2, 0, 2, 1], room=0, flags=["MSG_PEEK"])
    assert seen["buffers"] == ["6162", "", "6364", "65"]
    assert set(seen["flags"]) == {"MSG_TRUNC", "MSG_CTRUNC"}
    assert seen["ancillary"] == []
    one_only = message.get("recvmsg", fd=other, control=20, flags=["MSG_PEEK", socket.MSG_CMSG_CLOEXEC])
    assert len(numbers(one_only["ancillary"])) == 1
    assert set(one_only["flags"]) == {"MSG_CTRUNC", "MSG_CMSG_CLOEXEC"}
    both = message.get("recvmsg", fd=other, room=2, sizes=[6])
    assert both["buffers"] == [b"abcdef".hex()]
    assert both["flags"] == []
    assert both["address"] is None
    message.reset(fd, *numbers(one_only["ancillary"]), *numbers(both["ancillary"]))


def test_odd_room_takes_no_descriptor_more(message):
    one, other = message.get("pair", type="stream")["fds"]
    message.get("sendmsg", fd=one, buffers=["61"], ancillary=rights(one, one, one, one))
    reply = message.get("recvmsg", fd=other, room=3)
    assert len(numbers(reply["ancillary"])) == 3
    assert reply["flags"] == ["MSG_CTRUNC"]
    message.reset(*numbers(reply["ancillary"]))


def test_raw_control_data_and_several_control_messages(message):
    one, other = message.get("pair", type="stream")["fds"]
    item = {"level": "SOL_SOCKET", "type": socket.SCM_RIGHTS, "data": one.to_bytes(4, sys.byteorder).hex()}
    message.get("sendmsg", fd=one, buffers=["61"], ancillary=[item, rights(other)[0]])
    reply = message.get("recvmsg", fd=other, room=4)
    assert len(numbers(reply["ancillary"])) == 2
    bogus = {"level": "SOL_SOCKET", "type": 4711, "data": ""}
    assert message.error("sendmsg", fd=one, buffers=["61"], ancillary=[bogus])["errno"] == "EINVAL"
    message.reset(*numbers(reply["ancillary"]))


def test_credentials_come_by_name_with_raw_data(message):
    one, other = message.get("pair", type="stream")["fds"]
    message.get("setopt", fd=other, level="SOL_SOCKET", option="SO_PASSCRED", value=1)
    message.get("sendmsg", fd=one, buffers=["61"])
    (item,) = message.get("recvmsg", fd=other, control=64)["ancillary"]
    assert (item["level"], item["type"]) == ("SOL_SOCKET", "SCM_CREDENTIALS")
    assert int.from_bytes(bytes.fromhex(item["data"])[:4], sys.byteorder) == message.process.pid
    message.reset()


def test_addresses_go_both_ways(message, tmp_path):
    with listening(tmp_path / "s", "dgram") as end:
        fd = message.get("connect", address="", type="dgram", bind="@fdspec-%d" % message.process.pid)["fd"]
        assert message.get("sendmsg", fd=fd, buffers=["6869"], address=str(tmp_path / "s")) == {"sent": 2}
        data, sender = end.recvfrom(10)
        assert (data, sender) == (b"hi", b"\0fdspec-%d" % message.process.pid)
        end.sendto(b"yo", sender)
        assert message.get("recvmsg", fd=fd)["address"] == str(tmp_path / "s")
        error = message.error("sendmsg", fd=fd, buffers=["6869"], address="@fdspec-nobody")
        assert error["errno"] == "ECONNREFUSED"
        message.reset()


def test_hello_s_constants_are_used(tmp_path):
    with Testee(sys.executable, adapter("python-socket"), tmp_path) as one:
        one.get("hello", version=1, constants={"MSG_FDSPEC": 0x2, "SO_FDSPEC": socket.SO_TYPE})
        fd, other = one.get("pair", type="dgram")["fds"]
        assert one.get("getopt", fd=fd, level="SOL_SOCKET", option="SO_FDSPEC") == {"value": socket.SOCK_DGRAM}
        one.get("sendmsg", fd=fd, buffers=["61"])
        for _ in range(2):
            assert one.get("recvmsg", fd=other, flags=["MSG_FDSPEC"])["buffers"] == ["61"]


# --- descriptors profile ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpreter", NEWER, ids=short)
def test_send_fds_gets_its_flags_and_address(interpreter, tmp_path):
    """Whether they have an effect is the suite's to find out; they must at least be taken."""
    with Testee(interpreter, adapter("python-socket-fds"), tmp_path) as one:
        fd, other = one.get("pair", type="stream")["fds"]
        assert one.get("send_fds", fd=fd, buffers=["61", "62"], fds=[fd], flags=["MSG_DONTWAIT"]) == {"sent": 2}
        reply = one.get("recv_fds", fd=other, sizes=[8], room=1, flags=["MSG_DONTWAIT"])
        assert reply["buffers"] == ["6162"]
        assert reply["flags"] == []
        one.reset(*reply["fds"])


def test_the_recipe_shows_neither_flags_nor_address(tmp_path):
    with Testee(sys.executable, adapter("python-recipe"), tmp_path) as one:
        fd, other = one.get("pair", type="stream")["fds"]
        assert one.get("send_fds", fd=fd, buffers=["61"], fds=[fd, fd, fd]) == {"sent": 1}
        reply = one.get("recv_fds", fd=other, sizes=[8], room=2)
        assert (len(reply["fds"]), reply["flags"], reply["address"]) == (2, None, None)
        one.reset(*reply["fds"])


# --- unsupported -----------------------------------------------------------------------------------------------------

ASKING = {
    "buffers-out": [("sendmsg", {"buffers": ["61", "62"]}), ("send_fds", {"buffers": ["61", "62"], "fds": [0]})],
    "buffers-in": [("recvmsg", {"sizes": [1, 1]}), ("recv_fds", {"sizes": [1, 1]})],
    "flags-out": [("sendmsg", {"flags": ["MSG_NOSIGNAL"], "buffers": ["61"]}), ("send_fds", {"flags": [64]})],
    "flags-in": [("recvmsg", {"flags": ["MSG_PEEK"]}), ("recv_fds", {"flags": ["MSG_PEEK"]})],
    "address": [("sendmsg", {"address": "/x"}), ("send_fds", {"address": "/x"})],
    "empty-out": [("sendmsg", {"buffers": [""]}), ("send_fds", {"buffers": []})],
    "plain-out": [("sendmsg", {"buffers": ["61"]}), ("send_fds", {"buffers": ["61"]})],
    "control-length": [("recvmsg", {"control": 20})],
    "ancillary": [
        ("sendmsg", {"buffers": ["61"], "ancillary": [{"level": "SOL_SOCKET", "type": "SCM_RIGHTS", "data": "00"}]}),
        ("sendmsg", {"buffers": ["61"], "ancillary": [{"level": "SOL_SOCKET", "type": "SCM_CREDENTIALS", "fds": [0]}]}),
        ("sendmsg", {"buffers": ["61"], "ancillary": [{"level": 0, "type": "SCM_RIGHTS", "fds": [0]}]}),
    ],
    "several": [("sendmsg", {"buffers": ["61"], "ancillary": rights(0) + rights(0)})],
    "many": [("send_fds", {"buffers": ["61"], "fds": [0, 1]}), ("recv_fds", {"room": 2})],
    "single": [("send_fds", {"buffers": ["61"], "fds": [0], "single": True}), ("recv_fds", {"single": True})],
}
BARE = """
    from fdspec_testee import TYPES, Adapter

    class Bare(Adapter):
        profiles = {name: {"types": TYPES} for name in ("message", "descriptors")}
        capabilities = []

        def sendmsg(self, *arguments):
            raise RuntimeError("never called")

        recvmsg = send_fds = recv_fds = sendmsg
"""


def test_what_was_not_declared_is_refused_before_the_adapter_sees_it(own):
    one = own(BARE)
    for need, requests in ASKING.items():
        for op, fields in requests:
            assert need in one.unsupported(op, fd=0, **fields)
    assert one.unsupported("pair", type="stream")
    assert one.error("recvmsg", fd=0)["message"] == "never called"
    assert one.error("sendmsg", fd=0, buffers=["61"], ancillary=rights(0))["message"] == "never called"


def test_the_requests_of_the_former_test_cover_every_capability():
    shown = {"peer-address", "flags-reported"}
    assert set(ASKING) == (set(PROFILES["message"]) | set(PROFILES["descriptors"])) - shown


def test_unknown_operations_and_other_profiles_are_unsupported(testee):
    assert testee.unsupported("fdspec.made.up")
    assert testee.unsupported("transport.connect", address="/x")
    assert testee.unsupported("encode", ancillary=[])
    assert testee.unsupported("census")
    other = "recv_fds" if "message" in testee.hello["profiles"] else "recvmsg"
    assert testee.unsupported(other, fd=0)


# --- steps -----------------------------------------------------------------------------------------------------------


def test_references_reach_numbers_in_lists_and_control_messages(message):
    replies = message.steps(
        {"op": "pair", "type": "stream"},
        {"op": "sendmsg", "fd": "$0.fds.0", "buffers": ["61"], "ancillary": rights("$0.fds.1")},
        {"op": "recvmsg", "fd": "$0.fds.1", "room": 1},
        {"op": "close", "fd": "$0.fds.0"},
    )
    assert all("result" in reply for reply in replies)
    message.reset(*numbers(replies[2]["result"]["ancillary"]))


def test_references_in_lists_of_descriptors(tmp_path):
    with Testee(sys.executable, adapter("python-recipe"), tmp_path) as one:
        replies = one.steps(
            {"op": "pair", "type": "stream"},
            {"op": "send_fds", "fd": "$0.fds.0", "buffers": ["61"], "fds": ["$0.fds.0", "$0.fds.1"]},
            {"op": "recv_fds", "fd": "$0.fds.1", "room": 2},
            {"op": "send_fds", "fd": "$2.fds.0", "buffers": ["62"], "fds": ["$2.fds.1"]},
            {"op": "recv_fds", "fd": "$0.fds.1", "room": 2},
        )
        assert replies[-1]["result"]["buffers"] == ["62"]
        one.reset(*replies[2]["result"]["fds"], *replies[4]["result"]["fds"])


@pytest.mark.parametrize("reference", ["$0.fds.2", "$0.fd", "$1.fd", "$9.fd", "$0", "$", "$x.fd", "$0.fds", "$0.fds.x"])
def test_an_unresolvable_reference_is_an_error_of_its_own(message, reference):
    replies = message.steps({"op": "pair", "type": "stream"}, {"op": "close", "fd": reference}, {"op": "reset"})
    assert len(replies) == 2
    assert replies[1]["error"]["type"] == "Reference"
    assert reference in replies[1]["error"]["message"]
    message.reset()


def test_a_reference_to_a_failed_step_does_not_resolve(message, tmp_path):
    replies = message.steps(
        {"op": "open", "path": str(tmp_path / "none")}, {"op": "close", "fd": "$0.fd"}, {"op": "bogus"}, go_on=True
    )
    assert [next(iter(reply)) for reply in replies] == ["error", "error", "unsupported"]
    assert replies[1]["error"]["type"] == "Reference"


def test_steps_stop_at_what_is_no_result(message):
    assert len(message.steps({"op": "bogus"}, {"op": "reset"})) == 1
    assert len(message.steps({"op": "bogus"}, {"op": "reset"}, go_on=True)) == 2
    (reply,) = message.steps({"op": "steps", "steps": []})
    assert reply["error"]["type"] == "Request"
    assert message.error("steps", steps=[1])["type"] == "Request"
    assert message.error("steps")["type"] == "Request"


# --- malformed requests ----------------------------------------------------------------------------------------------


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
        ("sendmsg", {"fd": 0, "buffers": [1]}, "hexadecimal"),
        ("sendmsg", {"fd": 0, "ancillary": [{"level": "SOL_SOCKET", "type": "SCM_RIGHTS"}]}, "hexadecimal"),
        ("sendmsg", {"fd": 0, "ancillary": [{"level": "SOL_X", "type": 1, "data": ""}]}, "SOL_X"),
        ("sendmsg", {"fd": 0, "ancillary": [1]}, "ancillary"),
        ("recvmsg", {"fd": 0, "sizes": 4}, "sizes"),
        ("shutdown", {"fd": 0, "how": "SHUT_UP"}, "SHUT_UP"),
        ("reset", {"close": ["$0.fd"]}, "close"),
    ],
)
def test_malformed_requests_are_told_with_the_field(tmp_path, op, fields, word):
    with Testee(sys.executable, adapter("python-socket"), tmp_path) as one:
        error = one.error(op, **fields)
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


def test_four_mebibytes_go_through_one_line(message):
    one, other = message.get("pair", type="stream")["fds"]
    size = 1 << 22
    message.get("setopt", fd=one, level="fcntl", option="O_NONBLOCK", value=1)
    sent = message.get("sendmsg", fd=one, buffers=["ab" * size])["sent"]
    assert 0 < sent < size
    assert message.get("recvmsg", fd=other, sizes=[size])["buffers"] == ["ab" * sent]
    message.reset()


# --- the end, and adapters of one's own ------------------------------------------------------------------------------


def test_it_ends_with_its_input_whatever_threads_there_are(own):
    own("""
        import threading, time
        from fdspec_testee import Adapter

        class Busy(Adapter):
            def start(self):
                threading.Thread(target=time.sleep, args=(60,)).start()
    """)  # the fixture asserts the exit code


def test_what_an_implementation_prints_is_log(own):
    one = own("""
        from fdspec_testee import Adapter

        class Chatty(Adapter):
            def open(self, path, flags):
                print("opening", path)
                return 3
    """)
    assert one.get("open", path="/x") == {"fd": 3}


def test_an_error_carries_what_was_observed(own):
    one = own("""
        from fdspec_testee import TYPES, Adapter, Failed

        class Lossy(Adapter):
            profiles = {"descriptors": {"types": TYPES, "capabilities": []}}

            def recv_fds(self, fd, sizes, room, flags, single):
                raise Failed(OSError(24, "lost some"), ([b"ab"], [5], 8, b"\\0x"))
    """)
    assert one.error("recv_fds", fd=0) == {
        "type": "OSError",
        "message": "[Errno 24] lost some",
        "errno": "EMFILE",
        "observed": {"buffers": ["6162"], "fds": [5], "flags": ["MSG_CTRUNC"], "address": "@x"},
    }


def test_flags_without_a_name_and_odd_addresses_are_reported_all_the_same(own):
    one = own("""
        from fdspec_testee import TYPES, Adapter, Unsupported

        class Odd(Adapter):
            profiles = {"message": {"types": TYPES, "capabilities": []}}

            def recvmsg(self, fd, sizes, room, control, flags):
                if room:
                    raise Unsupported("no room here")
                return [bytearray(b"a"), memoryview(b"b")], [(1, 1, [7]), (9999, 9999, b"")], 1 << 30 | 1 << 27 | 2, b"\\xff/x"
    """)
    reply = one.get("recvmsg", fd=0)
    assert reply["buffers"] == ["61", "62"]
    assert reply["flags"] == ["MSG_PEEK", "MSG_CMSG_CLOEXEC", 1 << 27] or reply["flags"][-1] == 1 << 27
    assert reply["ancillary"] == [
        {"level": "SOL_SOCKET", "type": "SCM_RIGHTS", "fds": [7]},
        {"level": 9999, "type": 9999, "data": ""},
    ]
    assert reply["address"] == "\\xff/x"
    assert one.unsupported("recvmsg", fd=0, room=1) == "no room here"


def test_a_number_closed_behind_the_testee_s_back_closes_nobody_else(own):
    one = own("""
        import os
        from fdspec_testee import TYPES, Adapter

        class Stray(Adapter):
            profiles = {"descriptors": {"types": TYPES, "capabilities": ["plain-out"]}}

            def send_fds(self, fd, buffers, fds, flags, address, single):
                os.close(fd)
    """)
    fd, other = one.get("pair", type="stream")["fds"]
    one.get("send_fds", fd=fd, buffers=["61"])
    again, _ = one.get("pair", type="dgram")["fds"]
    assert again == fd
    assert one.get("getopt", fd=fd, level="SOL_SOCKET", option="SO_TYPE") == {"value": socket.SOCK_DGRAM}
    one.reset()
    fd, other = one.get("pair", type="stream")["fds"]
    one.get("send_fds", fd=fd, buffers=["61"])
    assert one.get("reset", close=[]) == {"failed": [{"fd": fd, "errno": "EBADF"}]}


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("", "found: none"),
        ("from fdspec_testee import Adapter", "found: none"),
        (
            "from fdspec_testee import Adapter\nclass A(Adapter): pass\nclass B(Adapter): pass",
            "found: A, B",
        ),
    ],
)
def test_an_adapter_file_has_one_adapter(tmp_path, source, word):
    import subprocess

    path = tmp_path / "adapter.py"
    path.write_text(source)
    done = subprocess.run([sys.executable, "-I", TESTEE, path], input=b"", capture_output=True, check=False)
    assert done.returncode == 1
    assert word in done.stderr.decode()
    done = subprocess.run([sys.executable, "-I", TESTEE], input=b"", capture_output=True, check=False)
    assert b"usage" in done.stderr


def test_error_names_are_those_of_the_manual_pages(module):
    assert module.ERRORS[errno.EAGAIN] == "EAGAIN"
    assert module.ERRORS[errno.EOPNOTSUPP] == "EOPNOTSUPP"
    assert module.ERRORS[errno.EBADF] == "EBADF"
