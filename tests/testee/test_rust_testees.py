"""The two Rust testees, built by cargo and driven by hand-written JSON lines; descriptors are counted from outside."""

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fdspec.impls
import platformdirs
import pytest
from fdspec.impls.constants import CONSTANTS

CATALOGUE = Path(fdspec.impls.__file__).parent / "catalogue"
DRIVER, SYS_UTIL = "rust-virtio-driver", "rust-vmm-sys-util"
CRATES = {DRIVER: "virtio-driver", SYS_UTIL: "vmm-sys-util"}
TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
PATIENCE = 10.0


class Line:
    """A testee on pipes: one JSON line out, one in."""

    def __init__(self, binary: Path, directory: Path) -> None:
        self.process = subprocess.Popen(
            [binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=directory, bufsize=0
        )
        self.id = 0
        self.directory = directory

    def write(self, data: bytes) -> None:
        self.process.stdin.write(data)

    def read(self) -> dict[str, Any]:
        data = b""
        while not data.endswith(b"\n"):
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], "no reply"
            data += (piece := self.process.stdout.read(1 << 20))
            assert piece, f"the testee ended: {self.process.stderr.read().decode()}"
        return json.loads(data)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self.id += 1
        self.write(json.dumps({"id": self.id, "op": op, **fields}).encode() + b"\n")
        reply = self.read()
        assert reply.pop("id") == self.id
        return reply

    def get(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask and return the result, which there must be."""
        reply = self.ask(op, **fields)
        assert list(reply) == ["result"], reply
        return reply["result"]

    def table(self) -> dict[int, str]:
        """Every open descriptor of the process, from outside."""
        return {int(entry.name): str(entry.readlink()) for entry in Path(f"/proc/{self.process.pid}/fd").iterdir()}

    def connected(self, kind: str) -> tuple[int, socket.socket]:
        """Connect the testee to a socket of ours: its number there, and our end."""
        path = str(self.directory / f"s{self.process.pid}-{self.id}")
        if kind == "dgram":
            ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            ours.bind(path)
            fd = self.get("connect", address=path, type=kind, bind=f"{path}c")["fd"]
            ours.connect(f"{path}c")
        else:
            with socket.socket(socket.AF_UNIX, TYPES[kind]) as listener:
                listener.bind(path)
                listener.listen()
                fd = self.get("connect", address=path, type=kind)["fd"]
                ours, _ = listener.accept()
        ours.settimeout(PATIENCE)
        return fd, ours

    def end(self) -> int:
        self.process.stdin.close()
        return self.process.wait(PATIENCE)


@pytest.fixture(scope="session")
def binaries() -> dict[str, Path]:
    """Both testees, built once; later sessions find what cargo kept."""
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not on PATH: Rust testees cannot be built on this machine")
    target = platformdirs.user_cache_path("fdspec") / "tests" / "cargo"
    for name in CRATES:
        manifest = CATALOGUE / name / "Cargo.toml"
        command = ["cargo", "build", "--release", "--locked", "--quiet"]
        built = subprocess.run(
            [*command, "--manifest-path", manifest, "--target-dir", target], capture_output=True, text=True, check=False
        )
        assert built.returncode == 0, built.stderr
    return {name: target / "release" / name for name in CRATES}


@pytest.fixture(params=CRATES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@contextlib.contextmanager
def running(binary: Path, directory: Path) -> Iterator[Line]:
    testee = Line(binary, directory)
    try:
        testee.get("hello", version=1, constants=CONSTANTS)
        yield testee
    finally:
        testee.process.kill()
        testee.process.wait()
        for stream in (testee.process.stdin, testee.process.stdout, testee.process.stderr):
            stream.close()


@pytest.fixture
def testee(binaries: dict[str, Path], name: str, tmp_path: Path) -> Iterator[Line]:
    with running(binaries[name], tmp_path) as line:
        yield line


@pytest.fixture
def driver(binaries: dict[str, Path], tmp_path: Path) -> Iterator[Line]:
    with running(binaries[DRIVER], tmp_path) as line:
        yield line


@pytest.fixture
def sys_util(binaries: dict[str, Path], tmp_path: Path) -> Iterator[Line]:
    with running(binaries[SYS_UTIL], tmp_path) as line:
        yield line


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"file{number}" for number in range(4)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


@contextlib.contextmanager
def opened(paths: list[Path]) -> Iterator[list[int]]:
    numbers = [os.open(path, os.O_RDWR) for path in paths]
    try:
        yield numbers
    finally:
        for number in numbers:
            os.close(number)


def send(ours: socket.socket, data: bytes, paths: list[Path]) -> None:
    with opened(paths) as numbers:
        socket.send_fds(ours, [data], numbers)


def receive(ours: socket.socket, size: int = 65536) -> tuple[bytes, list[str]]:
    data, numbers, flags, _ = socket.recv_fds(ours, size, 16)
    assert flags & socket.MSG_CTRUNC == 0
    targets = [str(Path(f"/proc/self/fd/{number}").readlink()) for number in numbers]
    for number in numbers:
        os.close(number)
    return data, targets


def names(paths: list[Path]) -> list[str]:
    return [str(path) for path in paths]


# --- the conversation ------------------------------------------------------------------------------------------------


def test_hello_tells_the_locked_versions(testee: Line, name: str) -> None:
    lock = tomllib.loads((CATALOGUE / name / "Cargo.lock").read_text())
    versions = {package["name"]: package["version"] for package in lock["package"]}
    hello = testee.get("hello", version=1, constants={})
    assert hello["version"] == 1
    assert hello["implementation"]["name"] == CRATES[name]
    assert hello["implementation"]["version"] == versions[CRATES[name]]
    assert hello["implementation"]["links"] == {"crate libc": versions["libc"]}
    assert hello["implementation"]["runtime"].startswith("rustc 1.")
    assert hello["capabilities"] == ["steps", "options", "listen"]
    offer = hello["profiles"]["descriptors"]
    assert ("buffers-in" in offer["capabilities"]) is (name == SYS_UTIL)
    assert {"buffers-out", "empty-out", "plain-out", "many", "single"} <= set(offer["capabilities"])


@pytest.mark.parametrize(
    "op", ["xf3a9", "sendmsg", "transport.connect", "raw_sendmsg", "encode", "pair", "census", "fork"]
)
def test_what_was_not_declared_is_unsupported(testee: Line, op: str) -> None:
    assert list(testee.ask(op, fd=0, type="stream")) == ["unsupported"]


def test_the_crate_refuses_what_the_adapter_leaves_out(binaries: dict[str, Path], tmp_path: Path) -> None:
    """An adapter whose hello declares one capability of the testee as a whole, and so not the others."""
    assert binaries, "they come first: their build is found again by this one"
    crate = tmp_path / "crate"
    shutil.copytree(CATALOGUE / DRIVER, crate, ignore=shutil.ignore_patterns("target"))
    for path, old, new in (
        (crate / "Cargo.toml", '"../../testee/rust"', f'"{CATALOGUE.parent / "testee" / "rust"}"'),
        (crate / "src" / "main.rs", '        "profiles":', '        "capabilities": ["listen"],\n        "profiles":'),
    ):
        assert path.read_text().count(old) == 1
        path.write_text(path.read_text().replace(old, new))
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", crate / "Cargo.toml"]
    target = platformdirs.user_cache_path("fdspec") / "tests" / "left-out"
    subprocess.run([*command, "--target-dir", target], check=True)
    with running(target / "release" / DRIVER, tmp_path) as line:
        for op in ("steps", "setopt", "getopt", "shutdown"):
            assert "not declared" in line.ask(op, fd=0)["unsupported"]
        assert line.get("listen", address="@fdspec-rust-left-out", type="stream", backlog=1)


@pytest.mark.parametrize(
    ("op", "fields"),
    [
        ("send_fds", {"buffers": ["00"], "fds": [0], "flags": ["MSG_DONTWAIT"]}),
        ("send_fds", {"buffers": ["00"], "fds": [0], "address": "@there"}),
        ("recv_fds", {"sizes": [1], "room": 1, "flags": ["MSG_PEEK"]}),
    ],
)
def test_a_capability_that_was_not_declared_is_unsupported(testee: Line, op: str, fields: dict[str, Any]) -> None:
    fd, ours = testee.connected("stream")
    with ours:
        send(ours, b"x", [])
        assert "not declared" in testee.ask(op, fd=fd, **fields)["unsupported"]
        assert testee.get("recv_fds", fd=fd, sizes=[8], room=0)["buffers"] == ["78"]


def test_end_of_input_ends_it_with_zero_and_silence(testee: Line) -> None:
    assert testee.end() == 0
    assert testee.process.stdout.read() == b""


def test_a_line_that_is_no_object_goes_to_the_log(testee: Line) -> None:
    testee.write(b"[1]\nno json\n\xff\xfe\n")
    assert testee.get("reset", close=[]) == {"failed": []}
    assert testee.end() == 0
    assert testee.process.stderr.read().count(b"no JSON object") == 3


@pytest.mark.parametrize(
    ("op", "fields", "said"),
    [
        ("connect", {"address": "/x", "type": "raw"}, "type"),
        ("send_fds", {"fd": "four", "buffers": ["00"], "fds": []}, "fd"),
        ("send_fds", {"fd": 0, "buffers": ["0"], "fds": []}, "buffers"),
        ("send_fds", {"fd": 0, "buffers": ["zz"], "fds": []}, "buffers"),
        ("send_fds", {"fd": 0, "buffers": ["00"], "fds": [0, 0], "single": True}, "single"),
        ("recv_fds", {"fd": 0, "sizes": [-1], "room": 0}, "sizes"),
        ("recv_fds", {"fd": 0, "sizes": 4, "room": 0}, "sizes"),
        ("getopt", {"fd": 0, "level": "SOL_NONE", "option": "SO_TYPE"}, "level"),
        ("setopt", {"fd": 0, "level": "fcntl", "option": "O_APPEND", "value": 1}, "O_NONBLOCK"),
        ("steps", {"steps": 4}, "steps"),
        ("steps", {}, "steps"),
    ],
)
def test_a_malformed_request_is_told(testee: Line, op: str, fields: dict[str, Any], said: str) -> None:
    error = testee.ask(op, **fields)["error"]
    assert error["type"] == "Request"
    assert said in error["message"]


# --- steps -----------------------------------------------------------------------------------------------------------


def test_steps_refer_to_earlier_results(testee: Line, files: list[Path]) -> None:
    before = testee.table()
    steps = [
        {"op": "listen", "address": "@fdspec-rust-test", "type": "seqpacket", "backlog": 4},
        {"op": "connect", "address": "@fdspec-rust-test", "type": "seqpacket", "bind": "@fdspec-rust-client"},
        {"op": "accept", "fd": "$0.fd"},
        {"op": "open", "path": str(files[0]), "flags": ["O_RDWR"]},
        {"op": "open", "path": str(files[1]), "flags": ["O_RDONLY"]},
        {"op": "send_fds", "fd": "$1.fd", "buffers": ["6162", "", "63"], "fds": ["$3.fd", "$4.fd"]},
        {"op": "recv_fds", "fd": "$2.fd", "sizes": [16], "room": 2},
        {"op": "send_fds", "fd": "$2.fd", "buffers": ["64"], "fds": ["$6.fds.1"]},
    ]
    replies = testee.get("steps", steps=steps, go_on=False)["replies"]
    results = [reply["result"] for reply in replies]
    assert results[2]["address"] == "@fdspec-rust-client"
    assert results[5] == {"sent": 3}
    assert results[6]["buffers"] == ["616263"]
    assert [testee.table()[fd] for fd in results[6]["fds"]] == names(files[:2])
    assert results[7] == {"sent": 1}
    close = [results[3]["fd"], results[4]["fd"], *results[6]["fds"]]
    assert testee.get("reset", close=close) == {"failed": []}
    assert testee.table() == before


@pytest.mark.parametrize("go_on", [False, True])
def test_steps_end_at_the_first_error_unless_told_to_go_on(testee: Line, go_on: bool) -> None:
    steps = [
        {"op": "getopt", "fd": -1, "level": "SOL_SOCKET", "option": "SO_TYPE"},
        {"op": "nothing"},
        {"op": "close", "fd": "$0.fd"},
        {"op": "close", "fd": "$7.fd"},
        {"op": "steps", "steps": []},
        5,
    ]
    replies = testee.get("steps", steps=steps, go_on=go_on)["replies"]
    kinds = [reply.get("error", {}).get("type", "unsupported") for reply in replies]
    expected = ["std::io::Error", "unsupported", "Reference", "Reference", "Request", "Request"]
    assert kinds == (expected if go_on else expected[:1])
    assert replies[0]["error"]["errno"] == 9


# --- sockets and files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stream", "seqpacket"])
def test_accept_tells_the_peers_address(testee: Line, kind: str, tmp_path: Path) -> None:
    path = str(tmp_path / "listener")
    fd = testee.get("listen", address=path, type=kind, backlog=4)["fd"]
    for name in (str(tmp_path / "client"), "\0fdspec-rust-abstract", None):
        with socket.socket(socket.AF_UNIX, TYPES[kind]) as ours:
            if name:
                ours.bind(name)
            ours.connect(path)
            assert testee.get("accept", fd=fd)["address"] == (name or "").replace("\0", "@")


def test_options_and_shutdown(testee: Line) -> None:
    fd, ours = testee.connected("stream")
    with ours:
        assert testee.get("getopt", fd=fd, level="SOL_SOCKET", option="SO_TYPE") == {"value": socket.SOCK_STREAM}
        assert testee.get("setopt", fd=fd, level="SOL_SOCKET", option="SO_PASSCRED", value=1) == {}
        assert testee.get("getopt", fd=fd, level=socket.SOL_SOCKET, option=socket.SO_PASSCRED) == {"value": 1}
        assert testee.get("setopt", fd=fd, level="fcntl", option="O_NONBLOCK", value=1) == {}
        assert testee.ask("recv_fds", fd=fd, sizes=[1], room=0)["error"]["errno"] == 11
        assert testee.get("setopt", fd=fd, level="fcntl", option="O_NONBLOCK", value=0) == {}
        assert testee.get("shutdown", fd=fd, how="SHUT_WR") == {}
        assert ours.recv(1) == b""


@pytest.mark.parametrize(
    ("op", "fields", "errno"),
    [
        ("connect", {"address": "/nowhere/at/all", "type": "stream"}, 2),
        ("connect", {"address": "/" + "x" * 120, "type": "stream"}, 36),
        ("connect", {"address": "@x" + "y" * 120, "type": "stream"}, 36),
        ("connect", {"address": "@fdspec-rust-nobody", "type": "dgram", "bind": "/nowhere/at/all"}, 2),
        ("listen", {"address": "/nowhere/at/all", "type": "stream", "backlog": 1}, 2),
        ("accept", {"fd": -1}, 9),
        ("open", {"path": "/nowhere/at/all", "flags": ["O_RDONLY"]}, 2),
        ("close", {"fd": 2**30}, 9),
        ("shutdown", {"fd": -1, "how": "SHUT_RD"}, 9),
    ],
)
def test_an_operation_that_fails_leaves_nothing_open(testee: Line, op: str, fields: dict[str, Any], errno: int) -> None:
    before = testee.table()
    assert testee.ask(op, **fields)["error"]["errno"] == errno
    assert testee.table() == before


def test_reset_drops_sockets_closes_what_it_is_told_and_tells_what_it_cannot(testee: Line, files: list[Path]) -> None:
    before = testee.table()
    fd, ours = testee.connected("stream")
    gone, ours2 = testee.connected("dgram")
    testee.get("listen", address="@fdspec-rust-reset", type="stream", backlog=1)
    assert testee.get("close", fd=gone) == {}
    opened_fd = testee.get("open", path=str(files[0]), flags=["O_RDWR"])["fd"]
    assert testee.table()[opened_fd] == str(files[0])
    with ours, ours2:
        assert testee.get("reset", close=[opened_fd, 4000]) == {"failed": [{"fd": 4000, "errno": 9}]}
        assert ours.recv(1) == b""
    assert testee.table() == before
    assert fd not in testee.table()


# --- descriptors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TYPES)
def test_several_buffers_and_descriptors_go_out(testee: Line, kind: str, files: list[Path]) -> None:
    before = testee.table()
    fd, ours = testee.connected(kind)
    with ours:
        mine = [testee.get("open", path=str(path), flags=["O_RDWR"])["fd"] for path in files[:3]]
        sent = testee.get("send_fds", fd=fd, buffers=["61", "", "626364", "65"], fds=mine)
        assert sent == {"sent": 5}
        assert receive(ours) == (b"abcde", names(files[:3]))
        assert testee.get("send_fds", fd=fd, buffers=["7a"], fds=mine[1:2], single=True) == {"sent": 1}
        assert receive(ours) == (b"z", names(files[1:2]))
        assert testee.get("send_fds", fd=fd, buffers=["6e6f6e65"], fds=[]) == {"sent": 4}
        assert receive(ours) == (b"none", [])
        assert testee.get("reset", close=mine) == {"failed": []}
    assert testee.table() == before


@pytest.mark.parametrize("buffers", [[], [""], ["", ""]])
def test_a_datagram_without_data_carries_descriptors(testee: Line, buffers: list[str]) -> None:
    fd, ours = testee.connected("dgram")
    with ours:
        assert testee.get("send_fds", fd=fd, buffers=buffers, fds=[0]) == {"sent": 0}
        data, (name,) = receive(ours)
        assert data == b""
        assert name == testee.table()[0]
        assert testee.get("send_fds", fd=fd, buffers=[], fds=[0], single=True) == {"sent": 0}
        assert receive(ours) == (b"", [name])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("room", [2, 4])
def test_several_descriptors_come_in(testee: Line, kind: str, room: int, files: list[Path]) -> None:
    before = testee.table()
    fd, ours = testee.connected(kind)
    with ours:
        send(ours, b"hello", files[:2])
        got = testee.get("recv_fds", fd=fd, sizes=[65536], room=room)
        assert got["buffers"] == [b"hello".hex()]
        assert got["flags"] is None
        assert got["address"] is None
        assert [testee.table()[number] for number in got["fds"]] == names(files[:2])
        assert testee.get("reset", close=got["fds"]) == {"failed": []}
    assert testee.table() == before


def test_one_descriptor_comes_in_by_the_call_for_one(testee: Line, files: list[Path]) -> None:
    before = testee.table()
    fd, ours = testee.connected("stream")
    with ours:
        send(ours, b"one", files[:1])
        send(ours, b"none", [])
        got = testee.get("recv_fds", fd=fd, sizes=[3], room=1, single=True)
        assert got["buffers"] == [b"one".hex()]
        assert [testee.table()[number] for number in got["fds"]] == names(files[:1])
        none = testee.get("recv_fds", fd=fd, sizes=[64], room=1, single=True)
        assert (none["buffers"], none["fds"]) == ([b"none".hex()], [])
        assert testee.get("reset", close=got["fds"]) == {"failed": []}
    assert testee.table() == before


def test_data_is_scattered_over_several_buffers(sys_util: Line, files: list[Path]) -> None:
    fd, ours = sys_util.connected("stream")
    with ours:
        send(ours, b"abcdefg", files[:2])
        got = sys_util.get("recv_fds", fd=fd, sizes=[2, 0, 3, 8], room=2)
        assert got["buffers"] == [b"ab".hex(), "", b"cde".hex(), b"fg".hex()]
        assert len(got["fds"]) == 2


def test_several_buffers_are_refused_where_the_api_has_one(driver: Line, sys_util: Line) -> None:
    fd, ours = driver.connected("stream")
    with ours:
        assert "buffers-in" in driver.ask("recv_fds", fd=fd, sizes=[1, 1], room=1)["unsupported"]
    fd, ours = sys_util.connected("stream")
    with ours:
        assert "one buffer" in sys_util.ask("recv_fds", fd=fd, sizes=[1, 1], room=1, single=True)["unsupported"]
        reply = sys_util.ask("send_fds", fd=fd, buffers=["00", "00"], fds=[0], single=True)
        assert "one buffer" in reply["unsupported"]


@pytest.mark.parametrize("bad", [-1, -100, 900, 2**31 - 1])
def test_a_bad_descriptor_is_the_implementations_error(testee: Line, name: str, bad: int) -> None:
    fd, ours = testee.connected("stream")
    kind = {DRIVER: "std::io::Error", SYS_UTIL: "vmm_sys_util::errno::Error"}[name]
    with ours:
        for fields in ({"fd": fd, "fds": [bad]}, {"fd": fd, "fds": [bad], "single": True}, {"fd": bad, "fds": [0]}):
            error = testee.ask("send_fds", buffers=["00"], **fields)["error"]
            assert (error["type"], error["errno"]) == (kind, 9)
            assert "Bad file descriptor" in error["message"]
        for single in (False, True):
            error = testee.ask("recv_fds", fd=bad, sizes=[1], room=1, single=single)["error"]
            assert (error["type"], error["errno"]) == (kind, 9)


@pytest.mark.parametrize("big", [2**31, -(2**31) - 1, 2**63, 2**64 - 1])
def test_a_number_that_the_api_cannot_take_is_a_conversion_error(testee: Line, big: int) -> None:
    for fields in ({"fd": 1, "fds": [big]}, {"fd": big, "fds": [1]}):
        error = testee.ask("send_fds", buffers=["00"], **fields)["error"]
        assert (error["type"], error["errno"]) == ("std::num::TryFromIntError", None)
        assert str(big) in error["message"]


# --- nothing is compensated for: what the pinned releases do wrong is seen through the adapter ---


def test_a_panic_of_the_implementation_ends_the_testee(driver: Line, files: list[Path]) -> None:
    fd, ours = driver.connected("stream")
    with ours:
        send(ours, b"x", files[:2])
        driver.write(json.dumps({"id": 99, "op": "recv_fds", "fd": fd, "sizes": [1], "room": 1}).encode() + b"\n")
        assert driver.process.wait(PATIENCE) == 101
    assert driver.process.stdout.read() == b""
    assert b"sock_ctrl_msg.rs" in driver.process.stderr.read()


def test_what_the_implementation_leaves_open_stays_open(sys_util: Line, files: list[Path]) -> None:
    before = sys_util.table()
    fd, ours = sys_util.connected("stream")
    with ours:
        send(ours, b"x", files[:2])
        got = sys_util.get("recv_fds", fd=fd, sizes=[1], room=1)
        assert [sys_util.table()[number] for number in got["fds"]] == names(files[:1])
        sys_util.get("reset", close=got["fds"])
    left = {number: to for number, to in sys_util.table().items() if number not in before}
    assert list(left.values()) == names(files[1:2])
