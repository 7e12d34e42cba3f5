"""The Python testee and its adapters over the socket module, on every interpreter of this machine."""

import errno
import importlib.util
import json
import os
import resource
import socket
import subprocess
import sys
import textwrap

import msgspec.structs
import pytest
from fdspec.impls.protocol.capabilities import PROFILES
from fdspec.impls.protocol.messages import REQUESTS, Receiver
from python_client import TESTEE, Testee, adapter, numbers, rights


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


# --- the table against the protocol ----------------------------------------------------------------------------------


def test_the_operations_have_the_fields_of_the_protocol(module):
    requests = {request.__struct_config__.tag: request for request in REQUESTS}
    assert set(module.OPS) <= set(requests)
    for name, op in module.OPS.items():
        request = requests[name]
        fields = {field.encode_name: field for field in msgspec.structs.fields(request)}
        assert [field for field, _, _ in op.fields] == list(fields), name
        assert op.profile == request.profile, name
        assert op.capability == request.capability, name
        for field, read, default in op.fields:
            if default is module.REQUIRED:
                assert fields[field].required, (name, field)
            elif default is not None:
                assert read(_default(fields[field])) == default, (name, field)
            else:
                assert fields[field].default is msgspec.UNSET, (name, field)


def _default(field):
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return {} if value == Receiver() else value  # whose defaults the next test compares


def test_a_receiver_without_fields_is_the_protocol_s_default(module):
    endpoint = module.Endpoint(None, {})
    assert (endpoint.takes_descriptors, endpoint.raise_at) == (Receiver().descriptors, Receiver().raise_at)


def test_every_need_is_a_capability_of_the_operations_profile(module):
    for name, needs in module.NEEDS.items():
        profile = module.OPS[name].profile
        assert {need for need, _ in needs} <= set(PROFILES[profile]), name


def test_what_is_never_refused_is_what_a_request_cannot_ask_for(module):
    asked = {need for needs in module.NEEDS.values() for need, _ in needs}
    shown = {"peer-address", "flags-reported", "log"}  # capabilities of replies
    for profile in ("message", "descriptors", "transport"):
        assert set(PROFILES[profile]) - asked <= shown


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
    assert one.unsupported("steps", steps=[])
    assert one.unsupported("setopt", fd=0, level="fcntl", option="O_NONBLOCK", value=1)
    assert one.unsupported("getopt", fd=0, level="SOL_SOCKET", option="SO_TYPE")
    assert one.unsupported("shutdown", fd=0, how="SHUT_RD")
    assert one.unsupported("listen", address="@fdspec-bare", type="stream")
    assert one.unsupported("accept", fd=0)
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
                control = [(1, 1, [7]), (9999, 9999, b"")]
                return [bytearray(b"a"), memoryview(b"b")], control, 1 << 30 | 1 << 27 | 2, b"\\xff/x"
    """)
    reply = one.get("recvmsg", fd=0)
    assert reply["buffers"] == ["61", "62"]
    assert set(reply["flags"]) == {"MSG_PEEK", "MSG_CMSG_CLOEXEC", 1 << 27}
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
    fd, _ = one.get("pair", type="stream")["fds"]
    one.get("send_fds", fd=fd, buffers=["61"])
    again, _ = one.get("pair", type="dgram")["fds"]
    assert again == fd
    assert one.get("getopt", fd=fd, level="SOL_SOCKET", option="SO_TYPE") == {"value": socket.SOCK_DGRAM}
    one.reset()
    fd, _ = one.get("pair", type="stream")["fds"]
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


def test_out_of_descriptors_is_an_error_like_any_other(own):
    one = own("""
        from fdspec_testee import Adapter

        class Poor(Adapter):
            def shutdown(self, fd, how):
                raise RuntimeError("no number left")
    """)
    limit = resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    assert one.error("open", path=os.devnull)["errno"] == "EMFILE"
    assert one.error("pair", type="stream")["errno"] == "EMFILE"
    assert one.error("shutdown", fd=0, how="SHUT_RD") == {"type": "RuntimeError", "message": "no number left"}
    resource.prlimit(one.process.pid, resource.RLIMIT_NOFILE, limit)
    one.reset()


def test_the_author_of_an_adapter_sees_where_it_went_wrong(tmp_path):
    path = tmp_path / "adapter.py"
    path.write_text("from fdspec_testee import Adapter\nclass A(Adapter):\n    def open(self, path):\n        pass\n")
    command = [sys.executable, "-I", TESTEE, path]
    request = b'{"id": 1, "op": "open", "path": "/"}\n'
    done = subprocess.run(command, input=request, capture_output=True, check=True)
    assert json.loads(done.stdout)["error"]["type"] == "TypeError"
    assert "Traceback" in done.stderr.decode()
