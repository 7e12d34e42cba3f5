"""The Python adapters over the socket module, on every interpreter of this machine: sockets, sending, receiving."""

import os
import socket
import sys
from pathlib import Path

import pytest
from fdspec.impls.manifest import load
from fdspec.impls.protocol.capabilities import PROFILES
from fdspec.impls.protocol.capabilities import TESTEE as WHOLE
from python_client import IMPLS, NEWER, TYPES, Testee, adapter, numbers, rights, short


def listening(path, kind="stream"):
    end = socket.socket(socket.AF_UNIX, TYPES[kind])
    end.bind(str(path))
    if kind != "dgram":
        end.listen()
    end.settimeout(10)
    return end


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
    assert set(testee.baseline) == {0, 1, 2, 100}


@pytest.mark.parametrize("name", ["python-socket", "python-recipe", "python-socket-fds", "twisted-sendmsg"])
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
        (str(tmp_path / "b"), str(tmp_path / "b"))
        if named == "path"
        else (f"\0{abstract}-b".encode(), f"@{abstract}-b")
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
    with Path(f"/proc/{testee.process.pid}/fdinfo/{fd}").open() as info:
        flags = int(info.read().split("flags:\t")[1].split()[0], 8)
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
        assert [str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in fds] == [str(tmp_path / "a"), str(tmp_path / "b")]
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
        fd = message.get("connect", address="", type="dgram", bind=f"@fdspec-{message.process.pid}")["fd"]
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
