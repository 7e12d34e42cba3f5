"""The raw testee, built for 64 bits, for 32 bits, with musl and with sanitizers: what it does for a kernel's cases."""

import json
import os
import re
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from fdspec.impls import registry
from fdspec.impls.protocol.capabilities import LAYOUT, PROFILES, TESTEE
from fdspec.impls.protocol.rawcalls import CALLS
from fdspec.impls.protocol.values import Profile
from fdspec.impls.setup import TESTEE as LIBRARIES
from fdspec.impls.setup import Prepared, Unavailable, prepare
from hypothesis import given, settings
from hypothesis import strategies as st
from python_client import PATIENCE
from raw_client import OFFSET, Raw

SOURCE = LIBRARIES / "raw" / "testee.c"
BUILDS = ("linux", "linux-m32", "linux-musl", "sanitized")
STRICT = ("-std=gnu11", "-Wall", "-Wextra", "-Wshadow", "-Werror", "-g", "-O1")
PAGE = Path(__file__).parents[2] / "docs" / "testee-protocol.md"
ROOT = os.geteuid() == 0
NOBODY = 65534


def sanitized() -> Path:
    """Build it with the sanitizers of addresses and undefined behaviour, every warning an error; once for all sessions."""
    target = platformdirs.user_cache_path("fdspec") / "tests" / "raw-sanitized"
    newest = max(path.stat().st_mtime_ns for path in SOURCE.parent.iterdir())
    if not target.exists() or target.stat().st_mtime_ns <= newest:
        target.parent.mkdir(parents=True, exist_ok=True)
        made = target.with_name(f"{target.name}-{os.getpid()}")
        options = [*STRICT, "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
        built = subprocess.run(["cc", *options, "-o", made, SOURCE], capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        made.replace(target)
    return target


def binary(name: str) -> Path:
    if name == "sanitized":
        return sanitized()
    prepared = prepare(registry.find(name))
    assert isinstance(prepared, Prepared), prepared
    return Path(prepared.command[0])


@pytest.fixture(scope="module", params=BUILDS)
def build(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def shared(build: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raw]:
    directory = tmp_path_factory.mktemp("raw")
    directory.chmod(0o755)
    with Raw(binary(build), directory) as testee:
        yield testee


@pytest.fixture
def raw(shared: Raw) -> Iterator[Raw]:
    """A testee that is used for many tests, as the harness does: each has to leave it clean."""
    yield shared
    shared.get("reset", close=[])
    found = shared.get("census")["descriptors"]
    kept = set(shared.baseline)
    shared.reset(*(one["fd"] for one in found if one["fd"] not in kept))


def first(result: dict[str, Any]) -> dict[str, Any]:
    return result["messages"][0]


# --- hello, and the page -----------------------------------------------------------------------------------------------


def test_it_says_who_it_is(raw: Raw, build: str) -> None:
    told = raw.hello["implementation"]
    assert (told["name"], told["version"], told["language"]) == ("Linux", os.uname().release, "C")
    assert ("32 bits" in told["runtime"]) == (build == "linux-m32")
    assert set(told["links"]) == {"musl" if build == "linux-musl" else "glibc"}
    assert re.fullmatch(r"\d+\.\d+(\.\d+)?", next(iter(told["links"].values())))


def test_it_offers_everything_of_its_profile(raw: Raw, build: str) -> None:
    offer = raw.hello["profiles"]["raw"]
    assert offer["types"] == ["stream", "dgram", "seqpacket"]
    assert set(offer["capabilities"]) == set(PROFILES[Profile.RAW])
    assert set(raw.hello["capabilities"]) == set(TESTEE)
    word, header = (4, 12) if build == "linux-m32" else (8, 16)
    assert offer["limits"] == {"word": word, "header": header, "align": word, "int": 4, "big": 0}
    assert set(offer["limits"]) == set(LAYOUT)


def test_the_page_has_the_tables_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `([a-z_0-9]+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE))
    assert {name: rows.get(name) for name in CALLS} == CALLS
    assert {name: rows.get(name) for name in LAYOUT} == LAYOUT


def test_its_calls_are_those_of_the_table() -> None:
    found = set(re.findall(r"\bR\((\w+), \d", (SOURCE.parent / "calls.c").read_text()))
    assert found | {"execve"} == set(CALLS)


def test_without_32_bit_libraries_it_is_unavailable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cc = tmp_path / "cc"
    cc.write_text("#!/bin/sh\necho 'features.h: fatal error: no such file' >&2\nexit 1\n")
    cc.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("FDSPEC_CACHE", str(tmp_path / "cache"))
    prepared = prepare(registry.find("linux-m32"))
    assert isinstance(prepared, Unavailable)
    assert "gcc-N-multilib" in prepared.reason
    assert "features.h: fatal error" in prepared.words


# --- messages ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stream", "dgram", "seqpacket"])
def test_a_descriptor_goes_through(raw: Raw, kind: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    passed = raw.open(tmp_path / "file")
    one, other = raw.pair(kind)
    sent = raw.send(one, passed)
    assert (sent["returned"], first(sent)["changed"]) == (1, [])
    got = raw.receive(other)
    message = first(got)
    assert (got["returned"], message["iov"]) == (1, ["78" + "aa" * 7])
    assert message["changed"] == ["msg_controllen", "control"]
    assert len(message["control"]) == 128
    (number,) = raw.numbers(message)
    assert raw.descriptors()[number] == str(tmp_path / "file")


def test_what_it_receives_can_be_closed_at_once(raw: Raw) -> None:
    one, other = raw.pair()
    before = raw.descriptors()
    raw.send(one, 2, 2, 2)
    got = first(raw.receive(other, close=True))
    assert len(raw.numbers(got)) == 3
    assert raw.descriptors() == before


def test_names_and_addresses(raw: Raw) -> None:
    server = raw.get("listen", address="@fdspec-raw-server", type="dgram")["fd"]
    client = raw.get("connect", address="", bind="@fdspec-raw-client", type="dgram")["fd"]
    sent = raw.get("raw_sendmsg", fd=client, messages=[{"iov": [{"data": "79"}], "address": "@fdspec-raw-server"}])
    assert sent["returned"] == 1
    assert first(sent)["name"] == (b"\x01\0\0fdspec-raw-server").hex()
    got = first(raw.receive(server, {"iov": [{"size": 1}], "name": {"size": 110}}))
    assert bytes.fromhex(got["name"])[: got["name_length"]] == b"\x01\0\0fdspec-raw-client"
    assert "msg_namelen" in got["changed"]
    cut = raw.get("raw_sendmsg", fd=client, messages=[{"iov": [{"data": "7a"}], "name": {"data": "0100", "length": 1}}])
    assert cut["errno"] == "EINVAL"


PLACES = {
    "heap": (None, 8), "null": ("EFAULT", 0), "unmapped": ("EFAULT", 0), "read-only": ("EFAULT", 8),
    "then-unmapped": (None, 5), "then-read-only": (None, 8), "read-only-then-heap": ("EFAULT", 8),
}  # fmt: skip
"""What comes of a receive of 5 bytes into 8 at each place, 5 of them before its boundary; and how many can be read."""


@pytest.mark.parametrize("place", PLACES)
def test_data_at_each_place(raw: Raw, place: str) -> None:
    one, other = raw.pair()
    raw.call("write", one, iov=[{"data": "6162636465"}])
    memory = {"size": 8, "place": place, "split": 5}
    errno, readable = PLACES[place]
    got = raw.receive(other, {"iov": [memory]}, flags=["MSG_DONTWAIT"])
    content = (b"abcde" if errno is None else b"").ljust(8, b"\xaa")[:readable]
    assert (got["returned"], got.get("errno"), first(got)["iov"]) == (-1 if errno else 5, errno, [content.hex()])
    if errno is None:
        raw.call("write", one, iov=[{"data": "6162636465"}])
    got = raw.call("recv", other, iov=[memory], flags=["MSG_DONTWAIT"])
    assert (got.get("errno"), got["iov"]) == (errno, [content.hex()])
    can_be_sent = place not in ("null", "unmapped")
    sent = raw.send(one, data="") if not can_be_sent else raw.get(
        "raw_sendmsg", fd=one, messages=[{"iov": [{"data": "6162636465", "place": place, "split": 5}]}]
    )  # fmt: skip
    assert sent["returned"] == (5 if can_be_sent else 0)


@pytest.mark.parametrize("place", PLACES)
def test_a_control_buffer_at_each_place_does_no_harm(raw: Raw, place: str) -> None:
    one, other = raw.pair()
    raw.send(one, 2)
    before = raw.descriptors()
    split = raw.limits["header"] + 4
    message = {"iov": [{"size": 1}], "control": {"size": 64, "place": place, "split": split}}
    got = raw.receive(other, message, close=True)
    assert got["returned"] == 1
    assert raw.descriptors() == before
    assert len(first(got).get("control", "")) // 2 == {"null": 0, "unmapped": 0, "then-unmapped": split}.get(place, 64)
    rights = raw.rights(2)
    rights["control"] |= {"place": place, "split": split}
    sent = raw.get("raw_sendmsg", fd=one, messages=[{"iov": [{"data": "78"}], **rights}])
    unreadable = place in ("null", "unmapped")
    if place == "null" and raw.limits["word"] == 4:
        assert (
            sent["errno"] == "EINVAL"
        )  # the kernel's translation finds no first control message, and looks no further
        return
    assert sent.get("errno") == (
        "EFAULT" if unreadable or (place == "then-unmapped" and raw.limits["word"] == 8) else None
    )


@pytest.mark.parametrize(
    ("place", "errno"),
    [("null", "EFAULT"), ("unmapped", "EFAULT"), ("read-only", "EFAULT"), ("then-unmapped", "EFAULT"), ("then-read-only", "EFAULT")],
)  # fmt: skip
def test_the_header_itself_at_each_place(raw: Raw, place: str, errno: str) -> None:
    one, other = raw.pair()
    raw.call("write", one, iov=[{"data": "61"}])
    got = raw.receive(other, {"iov": [{"size": 1}], "place": place}, flags=["MSG_DONTWAIT"])
    assert (got["returned"], got["errno"]) == (-1, errno)
    sent = raw.get("raw_sendmsg", fd=one, messages=[{"iov": [{"data": "61"}], "place": place}])
    assert sent.get("errno") == (None if "read-only" in place else "EFAULT")


@pytest.mark.parametrize("place", ["null", "unmapped", "then-unmapped"])
def test_the_array_of_iovecs_at_each_place(raw: Raw, place: str) -> None:
    one, _ = raw.pair()
    message = {"iov": [{"data": "61"}, {"data": "62"}], "iov_place": place}
    assert raw.get("raw_sendmsg", fd=one, messages=[message])["errno"] == "EFAULT"


def test_the_array_of_iovecs_may_be_read_only_and_longer_than_it_is(raw: Raw) -> None:
    one, _ = raw.pair()
    message = {"iov": [{"data": "61"}, {"data": "62"}], "iov_place": "read-only"}
    assert raw.get("raw_sendmsg", fd=one, messages=[message])["returned"] == 2
    longer = {"iov": [{"data": "61"}], "iov_place": "then-unmapped", "iov_length": 2}
    assert raw.get("raw_sendmsg", fd=one, messages=[longer])["errno"] == "EFAULT"
    most = {"iov": [{"data": "61"}], "iov_length": 1025}
    assert raw.get("raw_sendmsg", fd=one, messages=[most])["errno"] == "EMSGSIZE"
    none = {"iov": [], "iov_place": "null"}
    assert raw.get("raw_sendmsg", fd=one, messages=[none])["returned"] == 0


@pytest.mark.parametrize("negative", [False, True])
def test_lengths_that_no_memory_has(raw: Raw, negative: bool) -> None:
    one, other = raw.pair()
    beyond = 1 << (8 * raw.limits["word"] - 1)
    length = -beyond if negative else str(beyond)
    assert raw.get("raw_sendmsg", fd=one, messages=[{"iov": [{"data": "61", "length": length}]}])["errno"] == "EINVAL"
    sent = raw.get(
        "raw_sendmsg", fd=one, messages=[{"iov": [{"data": "61"}], "control": {"data": "00" * 16, "length": length}}]
    )
    assert sent["errno"] in ("ENOBUFS", "EINVAL", "EMSGSIZE")
    assert first(sent)["control_length"] == beyond
    assert raw.call("recv", other, iov=[{"size": 1}], flags=["MSG_DONTWAIT"])["errno"] == "EAGAIN"


def test_a_length_without_room_in_a_word_is_refused(raw: Raw) -> None:
    too_long = str(1 << (8 * raw.limits["word"]))
    error = raw.error("raw_sendmsg", fd=2, messages=[{"iov": [{"data": "61", "length": too_long}]}])
    assert error["type"] == "Overflow"


def test_what_lies_behind_memory_that_lies_is_not_the_testees_own(raw: Raw) -> None:
    one, other = raw.pair()
    raw.call("write", one, iov=[{"data": "62" * 4000}])
    got = raw.receive(other, {"iov": [{"size": 4, "length": 4000}]})
    assert (got["returned"], first(got)["iov"]) == (4000, ["62626262"])
    assert "outside" not in first(got)["changed"]
    raw.send(one, *[2] * 10)
    got = raw.receive(other, {"iov": [{"size": 1}], "control": {"size": 4, "length": 500}}, close=True)
    assert len(first(got)["control"]) == 8
    assert raw.descriptors().keys() - raw.baseline.keys() == {one, other}


def test_memory_within_memory(raw: Raw) -> None:
    one, other = raw.pair()
    raw.call("write", one, iov=[{"data": "616263646566"}])
    got = raw.receive(other, {"iov": [{"size": 4}, {"size": 2, "within": 0, "offset": 1}]})
    assert (got["returned"], first(got)["iov"]) == (6, ["61656664", "6566"])
    got = raw.call("writev", one, iov=[{"data": "6162"}, {"size": 1, "within": 0, "offset": 1}])
    assert (got["returned"], got["iov"]) == (3, ["6162", "62"])


def test_memory_is_misaligned_on_request(raw: Raw) -> None:
    one, other = raw.pair()
    for offset in (1, 3, 7):
        rights = raw.rights(2)
        rights["control"]["offset"] = offset
        assert (
            raw.get("raw_sendmsg", fd=one, messages=[{"iov": [{"data": "78", "offset": offset}], **rights}])["returned"]
            == 1
        )
        message = {"iov": [{"size": 1, "offset": offset}], "control": {"size": 64, "offset": offset}}
        assert raw.receive(other, message, close=True)["returned"] == 1


def test_many_messages(raw: Raw) -> None:
    one, other = raw.pair("dgram")
    messages = [{"iov": [{"data": "61" * (index + 1)}]} for index in range(3)]
    sent = raw.get("raw_sendmsg", fd=one, messages=messages, many=True)
    assert (sent["returned"], [message["returned"] for message in sent["messages"]]) == (3, [1, 2, 3])
    rooms = [{"iov": [{"size": 2}]} for _ in range(4)]
    got = raw.get("raw_recvmsg", fd=other, messages=rooms, many=True, flags=["MSG_DONTWAIT"])
    assert (got["returned"], [message.get("returned", 0) for message in got["messages"]]) == (3, [1, 2, 2, 0])
    assert [message["flags"] for message in got["messages"]][:3] == [0, 0, 0x20]
    none = raw.get("raw_sendmsg", fd=one, messages=[], many=True)
    assert (none["returned"], none["messages"]) == (0, [])


@pytest.mark.parametrize("place", ["unmapped", "then-unmapped"])
def test_many_messages_of_which_the_second_is_out_of_reach(raw: Raw, place: str) -> None:
    one, other = raw.pair("dgram")
    messages = [{"iov": [{"data": "61"}]}, {"iov": [{"data": "62"}], "place": place}]
    assert raw.get("raw_sendmsg", fd=one, messages=messages, many=True)["returned"] == 1
    assert raw.call("recv", other, iov=[{"size": 2}])["returned"] == 1


def test_musl_refuses_more_than_a_kibibyte_of_control_messages(raw: Raw, build: str) -> None:
    one, other = raw.pair()
    sent = raw.send(one, *[2] * 253)
    raw.receive(other, {"iov": [{"size": 1}], "control": {"size": 2048}}, close=True, flags=["MSG_DONTWAIT"])
    musl = {"returned": -1, "errno": "ENOMEM"}
    assert {name: sent[name] for name in ("returned", "errno") if name in sent} in (
        [musl, {"returned": 1}] if build == "linux-musl" else [{"returned": 1}]
    )


# --- signals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0.000001, 0.02])
def test_an_alarm_interrupts(raw: Raw, after: float) -> None:
    _, other = raw.pair()
    got = raw.receive(other, alarm=after)
    assert (got["returned"], got["errno"], got["signals"]) == (-1, "EINTR", ["SIGALRM"])
    assert raw.call("read", other, iov=[{"size": 1}], alarm=after)["errno"] == "EINTR"
    assert raw.get("raw_recvmsg", fd=other, messages=[{}], flags=["MSG_DONTWAIT"]).get("signals", []) == []


def switches(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", text, re.MULTILINE)[1])


def test_a_call_is_restarted_after_an_alarm(raw: Raw) -> None:
    one, other = raw.pair()
    child = raw.get("fork")
    call = {"op": "raw_call", "name": "read", "fd": other, "iov": [{"size": 1}], "alarm": 0.005, "restart": True}
    raw.get("in", process=child["process"], request=call, later=True)
    woken = switches(child["pid"])
    while switches(child["pid"]) < woken + 4:  # by the alarm, again and again
        os.sched_yield()
    raw.call("write", one, iov=[{"data": "61"}])
    reply = raw.get("collect", process=child["process"])["reply"]["result"]
    assert (reply["returned"], reply["iov"], reply["signals"]) == (1, ["61"], ["SIGALRM"])


def test_a_broken_pipe_is_told(raw: Raw) -> None:
    one, other = raw.pair()
    raw.get("close", fd=other)
    sent = raw.send(one)
    assert (sent["errno"], sent["signals"]) == ("EPIPE", ["SIGPIPE"])
    assert raw.send(one, flags=["MSG_NOSIGNAL"]).get("signals", []) == []


# --- other calls -------------------------------------------------------------------------------------------------------


def test_every_call_is_known(raw: Raw) -> None:
    for name in CALLS:
        reply = raw.ask("raw_call", name=name)
        if "error" in reply:
            assert reply["error"]["type"] == "Request", (name, reply)
        else:
            returned = reply["result"]["returned"]
            assert returned < OFFSET or (name, returned) == ("getpid", raw.pid)


THINGS = [
    ("pipe2", {"iov": [{"size": 8}], "arguments": [0]}, "pipe:"),
    ("epoll_create1", {"arguments": [0]}, "anon_inode:[eventpoll]"),
    ("eventfd2", {"arguments": [3, "EFD_CLOEXEC"]}, "anon_inode:[eventfd]"),
    ("timerfd_create", {"arguments": ["CLOCK_MONOTONIC", 0]}, "anon_inode:[timerfd]"),
    ("signalfd4", {"arguments": [0]}, "anon_inode:[signalfd]"),
    ("inotify_init1", {"arguments": [0]}, "anon_inode:inotify"),
    ("memfd_create", {"iov": [{"data": b"name\0".hex()}], "arguments": [0]}, "/memfd:name"),
    ("posix_openpt", {"arguments": ["O_RDWR"]}, "/dev/"),
    ("socket", {"arguments": ["AF_UNIX", "SOCK_DGRAM", 0]}, "socket:"),
    ("socketpair", {"arguments": ["AF_UNIX", "SOCK_DGRAM", 0], "iov": [{"size": 8}]}, "socket:"),
    ("openat", {"iov": [{"data": b"/dev/zero\0".hex()}], "flags": ["O_RDONLY", "O_CLOEXEC"]}, "/dev/zero"),
    ("pidfd_open", {"arguments": [0, 0]}, ""),
    ("dup", {"fd": 2}, "pipe:"),
]


@pytest.mark.parametrize(("name", "fields", "target"), THINGS, ids=[thing[0] for thing in THINGS])
def test_things_that_can_be_passed(raw: Raw, name: str, fields: dict[str, Any], target: str) -> None:
    result = raw.get("raw_call", name=name, **fields)
    made = [result["returned"]]
    if name in ("pipe2", "socketpair"):
        data = bytes.fromhex(result["iov"][0])
        made = [int.from_bytes(data[:4], "little"), int.from_bytes(data[4:], "little")]
    found = raw.descriptors()
    assert [found[number].startswith(target) for number in made] == [True] * len(made), found
    raw.reset(*made)


def test_locks_offsets_and_options(raw: Raw, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    fd = raw.open(tmp_path / "file", "O_RDWR")
    assert raw.call("lseek", fd, arguments=[3, "SEEK_SET"])["returned"] == 3
    assert raw.call("read", fd, iov=[{"size": 9}])["iov"] == [b"tent".hex() + "aa" * 5]
    assert raw.call("flock", fd, arguments=["LOCK_EX"])["returned"] == 0
    assert raw.call("lock", fd, arguments=["F_WRLCK"])["returned"] == 0
    child = raw.get("fork")["process"]
    theirs = raw.get("in", process=child, request={"op": "raw_call", "name": "getlock", "fd": fd})
    assert theirs["reply"]["result"]["returned"] == raw.pid
    assert raw.call("kcmp", fd, arguments=[fd])["returned"] == 0
    assert raw.call("kcmp", fd, arguments=[2])["returned"] != 0
    one, other = raw.pair()
    size = raw.call("getsockopt", one, arguments=["SOL_SOCKET", "SO_PEERCRED"], iov=[{"size": 16}])
    assert (size["returned"], size["iov"][0][:8]) == (12, raw.pid.to_bytes(4, "little").hex())
    assert raw.call("poll", one, arguments=["POLLIN", 0])["returned"] == 0
    raw.call("setsockopt", other, arguments=["SOL_SOCKET", "SO_PASSCRED"], iov=[{"data": "01000000"}])
    assert raw.get("getopt", fd=other, level="SOL_SOCKET", option="SO_PASSCRED")["value"] == 1
    assert raw.call("ioctl", one, arguments=["FIONREAD"], iov=[{"size": 4}])["iov"] == ["00000000"]


def test_a_splice(raw: Raw) -> None:
    one, other = raw.pair()
    made = bytes.fromhex(raw.call("pipe2", iov=[{"size": 8}], arguments=[0])["iov"][0])
    out = int.from_bytes(made[4:], "little")
    raw.call("write", one, iov=[{"data": "616263"}])
    assert raw.call("splice", other, arguments=[out, 10, 0])["returned"] == 3


# --- numbers, references, steps ----------------------------------------------------------------------------------------


def test_number_0_is_free_and_comes_back(raw: Raw) -> None:
    raw.get("close", fd=0)
    raw.get("close", fd=1)
    one, other = raw.pair()
    assert (one, other) == (0, 1)
    raw.send(one, 2)
    raw.receive(other, close=True)
    raw.reset()
    assert raw.descriptors()[0] == raw.descriptors()[1] == "/dev/null"


def test_steps_refer_to_anything_that_came_back(raw: Raw) -> None:
    header = str(raw.limits["header"])
    rights = raw.rights(0)
    steps = [
        {"op": "pair", "type": "stream"},
        {"op": "open", "path": "/dev/zero"},
        {"op": "raw_sendmsg", "fd": "$0.fds.0", "messages": [{"iov": [{"data": "61"}], **rights, "control_fds": {header: "$1.fd"}}]},
        {"op": "raw_recvmsg", "fd": "$0.fds.1", "messages": [{"iov": [{"size": 1}], "control": {"size": 64}}]},
        {"op": "raw_call", "name": "kcmp", "fd": "$1.fd", "arguments": ["$1.fd"]},
        {"op": "fork"},
        {"op": "in", "process": "$5.process", "request": {"op": "raw_call", "name": "fcntl", "fd": "$0.fds.1", "arguments": ["F_GETFD"]}},
        {"op": "in", "process": "$5.process", "request": {"op": "open", "path": "/dev/null"}},
        {"op": "in", "process": 1, "request": {"op": "close", "fd": "$7.reply.result.fd"}},
        {"op": "in", "process": 1, "request": {"op": "steps", "steps": [{"op": "open", "path": "/dev/null"}, {"op": "close", "fd": "$0.fd"}]}},
    ]  # fmt: skip
    replies = raw.get("steps", steps=steps)["replies"]
    assert [list(reply) for reply in replies] == [["result"]] * len(steps)
    assert replies[2]["result"]["returned"] == 1
    (number,) = raw.numbers(replies[3]["result"]["messages"][0])
    assert raw.descriptors()[number] == "/dev/zero"
    assert replies[6]["result"]["reply"] == {"result": {"returned": 1, "iov": []}}
    assert replies[8]["result"]["reply"] == {"result": {}}
    assert [list(one) for one in replies[9]["result"]["reply"]["result"]["replies"]] == [["result"], ["result"]]


@pytest.mark.parametrize(
    "reference", ["$3.fd", "$0.fd", "$0.fds.2", "$0.fds", "$", "$0", "$x.fds.0", "$0.fds.-1", "$99999999999.fd"]
)
def test_a_reference_to_nothing(raw: Raw, reference: str) -> None:
    steps = [{"op": "pair", "type": "dgram"}, {"op": "close", "fd": reference}, {"op": "pair", "type": "dgram"}]
    replies = raw.get("steps", steps=steps)["replies"]
    assert [list(reply) for reply in replies] == [["result"], ["error"]]
    assert replies[1]["error"]["type"] == "Reference"
    assert raw.error("close", fd=reference)["type"] == "Request"


# --- children ----------------------------------------------------------------------------------------------------------


def parent(pid: int) -> int:
    """Return the parent of a process, 0 where the process has ended."""
    try:
        state, number = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0 if state in "ZX" else int(number)


def test_a_child_has_a_table_of_its_own(raw: Raw) -> None:
    fd = raw.open()
    child = raw.get("fork")
    assert parent(child["pid"]) == raw.pid
    assert raw.descriptors(child["pid"])[fd] == "/dev/null"
    assert len([number for number in raw.descriptors(child["pid"]) if number >= OFFSET]) == 2
    raw.get("in", process=1, request={"op": "close", "fd": fd})
    assert fd in raw.descriptors()
    assert fd not in raw.descriptors(child["pid"])
    assert raw.get("wait", process=1) == {"code": 0}
    assert parent(child["pid"]) == 0


def test_a_child_that_shares_the_table(raw: Raw) -> None:
    child = raw.get("fork", files=True)
    made = raw.get("in", process=1, request={"op": "open", "path": "/dev/zero"})["reply"]["result"]["fd"]
    assert raw.descriptors()[made] == "/dev/zero"
    raw.get("close", fd=made)
    told = raw.get("in", process=1, request={"op": "close", "fd": made})["reply"]
    assert told["error"]["errno"] == "EBADF"
    os.kill(child["pid"], 9)
    assert raw.error("in", process=1, request={"op": "census"})["type"] == "Child"
    assert raw.get("wait", process=1) == {"code": -9}


@pytest.mark.skipif(not ROOT, reason="another user is only to be had by root")
def test_a_child_of_another_user(raw: Raw) -> None:
    child = raw.get("fork", user=NOBODY, group=NOBODY, limits={"RLIMIT_NOFILE": 20})
    status = Path(f"/proc/{child['pid']}/status").read_text()
    assert re.search(rf"^Uid:\s+{NOBODY}\s+{NOBODY}\s+{NOBODY}", status, re.MULTILINE)
    assert re.search(rf"^Gid:\s+{NOBODY}\s+{NOBODY}\s+{NOBODY}", status, re.MULTILINE)
    assert re.search(r"^Groups:\s*$", status, re.MULTILINE)
    assert "Max open files            20 " in Path(f"/proc/{child['pid']}/limits").read_text()
    told = raw.get("in", process=1, request={"op": "census"})["reply"]["result"]["descriptors"]
    assert {one["fd"] for one in told} == set(raw.descriptors(child["pid"]))
    steps = [{"op": "open", "path": "/dev/null"}] * 30
    replies = raw.get("in", process=1, request={"op": "steps", "steps": steps})["reply"]["result"]["replies"]
    assert replies[-1]["error"]["errno"] == "EMFILE"
    assert raw.error("fork", limits={"RLIMIT_NOFILE": 1 << 40})["errno"] == "EINVAL"


def test_a_child_goes_on_as_a_new_program(raw: Raw) -> None:
    kept = raw.call("dup", 2)["returned"]
    lost = raw.open()
    child = raw.get("fork")
    assert raw.get("in", process=1, request={"op": "raw_call", "name": "execve"})["reply"]["result"]["returned"] == 0
    found = raw.descriptors(child["pid"])
    assert kept in found
    assert lost not in found
    told = raw.get("in", process=1, request={"op": "raw_call", "name": "fcntl", "fd": kept, "arguments": ["F_GETFD"]})
    assert told["reply"]["result"]["returned"] == 0
    flags = raw.get("in", process=1, request={"op": "open", "path": "/dev/null", "flags": ["O_RDWR"]})["reply"]
    assert "result" in flags
    assert raw.get("wait", process=1) == {"code": 0}
    assert raw.error("raw_call", name="execve")["type"] == "Request"


def test_replies_that_come_later(raw: Raw) -> None:
    one, other = raw.pair()
    for _ in range(4):
        raw.get("fork")
    read = {"op": "raw_call", "name": "read", "fd": other, "iov": [{"size": 1}]}
    for process in (1, 2, 3, 4):
        assert raw.get("in", process=process, request=read, later=True) == {}
    assert raw.error("in", process=1, request=read)["type"] == "Request"
    raw.call("write", one, iov=[{"data": "61626364"}])
    got = [raw.get("collect", process=process)["reply"]["result"]["iov"][0] for process in (4, 3, 2, 1)]
    assert sorted(got) == ["61", "62", "63", "64"]
    assert raw.error("collect", process=1)["type"] == "Request"


def test_a_big_reply_and_a_big_request_of_a_child(raw: Raw) -> None:
    raw.get("fork")
    one, _ = raw.get("in", process=1, request={"op": "pair", "type": "stream"})["reply"]["result"]["fds"]
    big = {"op": "raw_call", "name": "write", "fd": one, "iov": [{"data": "61" * 300000}], "flags": []}
    option = {"op": "setopt", "fd": one, "level": "fcntl", "option": "O_NONBLOCK", "value": 1}
    raw.get("in", process=1, request=option)
    told = raw.get("in", process=1, request=big, later=True) or raw.get("collect", process=1)["reply"]["result"]
    assert len(told["iov"][0]) == 600000


def test_wait_kills_who_does_not_end(raw: Raw) -> None:
    _, other = raw.pair()
    child = raw.get("fork")
    raw.get("in", process=1, request={"op": "raw_call", "name": "read", "fd": other, "iov": [{"size": 1}]}, later=True)
    assert raw.get("wait", process=1) == {"code": -9}
    assert parent(child["pid"]) == 0
    assert raw.error("wait", process=1)["type"] == "Request"


def test_reset_kills_children_and_begins_anew(raw: Raw) -> None:
    pids = [raw.get("fork", files=files)["pid"] for files in (False, True, False)]
    raw.reset()
    assert [parent(pid) for pid in pids] == [0, 0, 0]
    assert raw.get("fork")["process"] == 1


def test_children_die_with_it(build: str, tmp_path: Path) -> None:
    testee = Raw(binary(build), tmp_path)
    pids = [testee.get("fork")["pid"], testee.get("fork", files=True)["pid"]]
    testee.__exit__(KeyboardInterrupt)
    while any(parent(pid) for pid in pids):
        os.sched_yield()


def test_it_works_with_hardly_any_descriptors(raw: Raw) -> None:
    before = resource.prlimit(raw.pid, resource.RLIMIT_NOFILE)
    try:
        resource.prlimit(raw.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        assert raw.error("open", path="/dev/null")["errno"] == "EMFILE"
        assert {one["fd"] for one in raw.get("census")["descriptors"]} == set(raw.baseline)
        child = raw.get("fork")
        assert raw.error("pair", type="stream")["errno"] == "EMFILE"
        told = raw.get("in", process=1, request={"op": "open", "path": "/dev/null"})["reply"]
        assert told["error"]["errno"] == "EMFILE"
        assert resource.prlimit(child["pid"], resource.RLIMIT_NOFILE)[0] == 3
        raw.get("reset", close=[])
    finally:
        resource.prlimit(raw.pid, resource.RLIMIT_NOFILE, before)


def test_a_limit_is_set_and_put_back(raw: Raw) -> None:
    before = resource.prlimit(raw.pid, resource.RLIMIT_NOFILE)
    raw.get("limit", resource="RLIMIT_NOFILE", soft=0)
    assert resource.prlimit(raw.pid, resource.RLIMIT_NOFILE) == (0, before[1])
    child = raw.get("fork")
    assert (
        raw.get("in", process=1, request={"op": "raw_call", "name": "getpid"})["reply"]["result"]["returned"]
        == child["pid"]
    )
    raw.get("limit", resource="RLIMIT_NOFILE", soft=50)
    raw.reset()
    assert resource.prlimit(raw.pid, resource.RLIMIT_NOFILE) == before


def test_the_census_is_the_one_from_outside(raw: Raw, tmp_path: Path) -> None:
    raw.get("make", kind="file", path=str(tmp_path / "file"), data="6162")
    raw.get("make", kind="fifo", path=str(tmp_path / "fifo"))
    raw.get("make", kind="socket", path=str(tmp_path / "socket"))
    raw.open(tmp_path / "file")
    raw.open(tmp_path / "fifo", "O_RDWR")
    one, other = raw.pair()
    raw.send(one, 2, 2)
    told = {fact["fd"]: fact for fact in raw.get("census")["descriptors"]}
    assert set(told) == set(raw.descriptors())
    for fd, fact in told.items():
        real = os.stat(f"/proc/{raw.pid}/fd/{fd}")
        assert (fact["device"], fact["inode"]) == (real.st_dev, real.st_ino)
    assert told[other]["scm_fds"] == 2
    assert {"file", "fifo", "socket", "character"} <= {fact["kind"] for fact in told.values()}
    assert (tmp_path / "file").read_bytes() == b"ab"
    raw.receive(other, close=True)


# --- requests that are none --------------------------------------------------------------------------------------------

MEMORY = {"op": "raw_recvmsg", "fd": 2}
BROKEN: list[dict[str, Any]] = [
    {"op": "close"}, {"op": "close", "fd": "4"}, {"op": "close", "fd": True}, {"op": "close", "fd": None}, {"op": "close", "fd": 1.5},
    {"op": "open"}, {"op": "open", "path": 5}, {"op": "open", "path": "/dev/null\0"}, {"op": "open", "path": "/", "flags": "O_RDONLY"},
    {"op": "open", "path": "/", "flags": ["O_NOTHING"]}, {"op": "pair"}, {"op": "pair", "type": "raw"},
    {"op": "connect", "address": "@a"}, {"op": "connect", "address": 7, "type": "stream"},
    {"op": "connect", "address": "a" * 300, "type": "stream"}, {"op": "setopt", "fd": 2, "level": "SOL_SOCKET", "option": "SO_TYPE"},
    {"op": "setopt", "fd": 2, "level": "fcntl", "option": "F_SETFL", "value": 0}, {"op": "shutdown", "fd": 2, "how": "SHUT_UP"},
    {**MEMORY, "messages": []}, {**MEMORY, "messages": [{}, {}]}, {**MEMORY, "messages": 5}, {**MEMORY, "messages": [5]},
    {**MEMORY, "messages": [{"iov": 5}]}, {**MEMORY, "messages": [{"iov": [5]}]}, {**MEMORY, "messages": [{"iov": [{"data": "6"}]}]},
    {**MEMORY, "messages": [{"iov": [{"data": "AA"}]}]}, {**MEMORY, "messages": [{"iov": [{"data": "6g"}]}]},
    {**MEMORY, "messages": [{"iov": [{"data": "6161", "size": 1}]}]}, {**MEMORY, "messages": [{"iov": [{"size": -1}]}]},
    {**MEMORY, "messages": [{"iov": [{"size": 1 << 40}]}]}, {**MEMORY, "messages": [{"iov": [{"size": 1, "offset": -1}]}]},
    {**MEMORY, "messages": [{"iov": [{"size": 1, "split": 1 << 40}]}]}, {**MEMORY, "messages": [{"iov": [{"size": 1, "place": "moon"}]}]},
    {**MEMORY, "messages": [{"iov": [{"size": 1, "length": "x"}]}]}, {**MEMORY, "messages": [{"iov": [{"size": 1, "length": ""}]}]},
    {**MEMORY, "messages": [{"iov": [{"size": 1, "within": 0}]}]}, {**MEMORY, "messages": [{"iov": [{"size": 1}, {"size": 2, "within": 0}]}]},
    {**MEMORY, "messages": [{"iov": [{"size": 2}, {"size": 1, "length": 9, "within": 0}]}]},
    {**MEMORY, "messages": [{"control": {"size": 8, "within": 0}}]}, {**MEMORY, "messages": [{"control_fds": {"0": 2}}]},
    {**MEMORY, "messages": [{"control": {"size": 8}, "control_fds": {"5": 2}}]},
    {**MEMORY, "messages": [{"control": {"size": 8}, "control_fds": {"-1": 2}}]},
    {**MEMORY, "messages": [{"control": {"size": 8}, "control_fds": [2]}]}, {**MEMORY, "messages": [{"place": "moon"}]},
    {**MEMORY, "messages": [{}, {"place": "null"}], "many": True}, {**MEMORY, "messages": [{}], "many": 1},
    {**MEMORY, "messages": [{}], "alarm": -1}, {**MEMORY, "messages": [{}], "alarm": "1"}, {**MEMORY, "messages": [{}], "restart": 0},
    {**MEMORY, "messages": [{"iov": [{"size": 5 << 20}, {"size": 5 << 20}]}]},
    {"op": "raw_call"}, {"op": "raw_call", "name": "read", "fd": 2}, {"op": "raw_call", "name": "dup3", "fd": 2, "arguments": [1]},
    {"op": "raw_call", "name": "dup", "arguments": [1] * 7}, {"op": "raw_call", "name": "dup", "arguments": ["NOTHING"]},
    {"op": "in", "process": 7, "request": {"op": "census"}}, {"op": "in", "process": 0, "request": {"op": "census"}}, {"op": "wait"},
    {"op": "collect", "process": "1"}, {"op": "fork", "limits": {"RLIMIT_NOTHING": 1}}, {"op": "fork", "limits": {"RLIMIT_NOFILE": "1"}},
    {"op": "fork", "user": "root"}, {"op": "limit", "resource": "RLIMIT_NOTHING", "soft": 1}, {"op": "limit", "resource": "RLIMIT_NOFILE"},
    {"op": "make", "kind": "moon", "path": "x"}, {"op": "make", "kind": "file", "path": "x", "data": "0"},
    {"op": "steps"}, {"op": "steps", "steps": [5]}, {"op": "steps", "steps": {}}, {"op": "reset", "close": ["3"]}, {"op": "reset", "close": 3},
    {"op": "hello", "constants": []}, {"op": "hello", "constants": {"A": "1"}}, {"op": "hello", "version": 0}, {"op": 5}, {},
]  # fmt: skip


def test_a_malformed_request_is_one(raw: Raw) -> None:
    for fields in BROKEN:
        raw.id += 1
        raw.write(json.dumps({**fields, "id": raw.id}).encode() + b"\n")
        reply = raw.read()
        assert reply["id"] == raw.id
        assert reply.get("error", {}).get("type") == "Request", (fields, reply)
    assert raw.descriptors() == raw.baseline


@pytest.mark.parametrize("fd", [1 << 31, -(1 << 31) - 1, 1 << 63, 1 << 70])
def test_a_number_that_is_no_int_is_not_cut(raw: Raw, fd: int) -> None:
    assert raw.error("close", fd=fd)["type"] == "Overflow"
    rights = raw.rights(2)
    offset = str(raw.limits["header"])
    assert raw.error("raw_sendmsg", fd=2, messages=[{**rights, "control_fds": {offset: fd}}])["type"] == "Overflow"


@pytest.mark.parametrize("op", ["sendmsg", "recv_fds", "encode", "transport.events", "x9b1f", ""])
def test_what_was_not_declared_is_unsupported(raw: Raw, op: str) -> None:
    assert "unsupported" in raw.ask(op, fd=2)
    assert "unsupported" in raw.ask("raw_call", name="reboot")


LINES = [
    b'{"id": 5, "op": "census"', b'{"id": 5, "op": "census"}}', b'{"id": 5, "op": "census",}', b'{"id": 5, "op": "x\x01"}',
    b'{"id": 5, "op": "\xff"}', b'{"id": 5, "op": "\xed\xa0\x80"}', b'{"id": 5, "op": "\xc0\x80"}', b'{"id": 5, "op": "\\x"}',
    b'{"id": 5, "op": "\\u12"}', b'{"id": 5, "x": 01}', b'{"id": 5, "x": -}', b'{"id": 5, "x": 1.}', b'{"id": 5, "x": 1e}',
    b'{"id": 5, "x": .5}', b'{"id": 5, "x": NaN}', b'{"id": 5, "x": nul}', b'{"id": 5, "x": [1 2]}', b'{"id": 5, 7: 8}',
    b'{"id": 5, "x"', b'{"id": 5, "x":', b'{"id": 5, "x": "', b'{"id": 5, "x": "\\', b'{"id": 5, "x": ' + b"[" * 5000,
    b'{"id": 5, "x": ' + b"9" * 70 + b"}",
]  # fmt: skip


def test_a_line_that_is_no_json(raw: Raw) -> None:
    for line in LINES:
        raw.write(line + b"\n")
        reply = raw.read()
        assert (reply["id"], reply["error"]["type"]) == (5, "Request"), line


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text().map("x{}".format), inner),
    max_leaves=20,
)


@settings(max_examples=100, deadline=None)
@given(
    number=st.integers(-(1 << 63), (1 << 63) - 1),
    name=st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40),
    more=JSON,
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, "\t", " "]),
)
def test_json_is_read_as_python_writes_it(
    shared: Raw, number: int, name: str, more: object, ascii_only: bool, indent: str | None
) -> None:
    """A file is opened by its name, whatever else stands in the request; its id comes back."""
    path = shared.directory / f"_{name}"
    path.touch()
    fields = {"more": more, "op": "open", "path": str(path), "last": [more], "id": number}
    line = json.dumps(fields, ensure_ascii=ascii_only, indent=indent).replace("\n", "\r")
    shared.write(line.encode(errors="surrogatepass") + b"\n")
    reply = shared.read()
    assert reply["id"] == number
    fd = reply["result"]["fd"]
    assert Path(f"/proc/{shared.pid}/fd/{fd}").samefile(path)
    path.unlink()
    shared.reset(fd)


def test_a_line_without_an_id_is_logged_and_not_answered(build: str, tmp_path: Path) -> None:
    testee = Raw(binary(build), tmp_path)
    for line in (
        b"",
        b"[]",
        b"null",
        b'{"op": "census"}',
        b'{"id": "7", "op": "census"}',
        b'{"id": 7.0}',
        b'{"id": %d}' % (1 << 64),
    ):
        testee.write(line + b"\n")
    testee.write(b"x" * (17 << 20) + b"\n")
    assert testee.ask("nothing")["unsupported"]
    testee.process.stdin.close()
    assert testee.process.wait(PATIENCE) == 0
    log = testee.process.stderr.read()
    assert log.count(b"\n") == 8
    assert b"more than 16 MiB" in log
    testee.process.stdout.close()
    testee.process.stderr.close()


def test_several_lines_in_one_piece_and_one_in_several(raw: Raw) -> None:
    raw.write(b'{"id": 1, "op": "x"}\n{"id": 2, "op": "y"}\n{"id"')
    assert [raw_id(raw), raw_id(raw)] == [1, 2]
    raw.write(b': 3, "op": "z"}\n')
    assert raw_id(raw) == 3


def raw_id(raw: Raw) -> int:
    data = b""
    while not data.endswith(b"\n"):
        data += os.read(raw.process.stdout.fileno(), 1)
    return json.loads(data)["id"]


def test_the_last_of_two_members_counts_and_others_are_ignored(raw: Raw) -> None:
    raw.write(b'{"id": 1, "op": "open", "path": "/nowhere", "more": {"path": 5}, "path": "/dev/null", "id": 2}\n')
    reply = raw.read()
    assert (reply["id"], list(reply["result"])) == (2, ["fd"])


def test_a_reply_that_has_no_room_in_a_line(raw: Raw) -> None:
    read = {"op": "raw_call", "name": "recv", "fd": 2, "iov": [{"size": 6 << 20}]}
    reply = raw.get("steps", steps=[read, read, {"op": "close", "fd": 999}], go_on=True)["replies"]
    assert [list(one) for one in reply] == [["result"], ["error"], ["error"]]
    assert "16 MiB" in reply[1]["error"]["message"]


# --- it lasts ----------------------------------------------------------------------------------------------------------


def test_ten_thousand_requests_leave_nothing(raw: Raw, build: str) -> None:
    one, other = raw.pair()
    rights, room = raw.rights(2), {"iov": [{"size": 4}], "control": {"size": 64}}
    steps = [
        {"op": "raw_sendmsg", "fd": one, "messages": [{"iov": [{"data": "61", "place": "read-only"}], **rights}]},
        {"op": "raw_recvmsg", "fd": other, "messages": [room], "close": True},
        {"op": "raw_recvmsg", "fd": other, "messages": [{**room, "place": "then-unmapped"}], "flags": ["MSG_DONTWAIT"]},
        {"op": "open", "path": "/nowhere"},
    ]
    before = raw.descriptors()
    sizes = []
    for _ in range(10):
        raw.get("steps", steps=steps * 250, go_on=True)
        sizes.append(int(Path(f"/proc/{raw.pid}/statm").read_text().split()[1]))
    assert raw.descriptors() == before
    allowed = 1000 if build == "sanitized" else 100  # its allocator's own size goes up and down by hundreds
    assert max(sizes[5:]) - max(sizes[:5]) < allowed, f"resident pages after each thousand requests: {sizes}"
