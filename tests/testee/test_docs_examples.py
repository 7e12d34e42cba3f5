"""The manual's examples: the adapters run under the real harness, and the page shows what really happened."""

import contextlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import platformdirs
import pytest
from fdspec.impls import manifest, registry
from fdspec.impls.process import Launch, Testee
from fdspec.impls.protocol.capabilities import POLICIES, PROFILES, TESTEE
from fdspec.impls.protocol.messages import (
    REQUESTS,
    Accept,
    Close,
    Connect,
    Getopt,
    Listen,
    Open,
    RecvFds,
    Reset,
    SendFds,
    Setopt,
    Shutdown,
    Steps,
)
from fdspec.impls.protocol.results import ErrorReply, HelloResult
from fdspec.impls.protocol.values import Profile, SocketType

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "testee-protocol.md"
EXAMPLES = DOCS / "examples"
ADAPTER = EXAMPLES / "adapter.py"
CONVERSATION = EXAMPLES / "conversation.jsonl"
RUST = EXAMPLES / "rust"
KINDS = {
    SocketType.STREAM: socket.SOCK_STREAM,
    SocketType.DGRAM: socket.SOCK_DGRAM,
    SocketType.SEQPACKET: socket.SOCK_SEQPACKET,
}
DECLARED = {"python": EXAMPLES / "impl.toml", "rust": RUST / "impl.toml"}


@pytest.fixture(scope="session")
def commands() -> dict[str, list[str]]:
    """How each example is started; the Rust one is built, once for all sessions."""
    if shutil.which("cargo") is None:
        pytest.skip("cargo is not on PATH: the example in Rust cannot be built on this machine")
    target = platformdirs.user_cache_path("fdspec") / "tests" / "cargo"
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--manifest-path", RUST / "Cargo.toml"]
    built = subprocess.run([*command, "--target-dir", target], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return {"python": [sys.executable, "-I", str(ADAPTER)], "rust": [str(target / "release" / "adapter")]}


@contextlib.contextmanager
def started(command: list[str], directory: Path) -> Iterator[Testee]:
    testee = Testee(Launch(command), directory)
    try:
        yield testee
    finally:
        testee.kill()


@pytest.fixture(params=DECLARED)
def testee(request: pytest.FixtureRequest, commands: dict[str, list[str]], tmp_path: Path) -> Iterator[Testee]:
    with started(commands[request.param], tmp_path) as running:
        yield running


def table(testee: Testee) -> dict[int, str]:
    return {int(entry.name): str(entry.readlink()) for entry in Path(f"/proc/{testee.pid}/fd").iterdir()}


@pytest.mark.parametrize("language", DECLARED)
def test_manifests_are_right(language: str) -> None:
    loaded = manifest.load(DECLARED[language])
    assert loaded.profiles == [Profile.DESCRIPTORS]


def test_the_python_adapter_fits_in_100_lines() -> None:
    source = ADAPTER.read_text()
    assert len(source.splitlines()) <= 100
    assert "fdspec_testee" not in source


def test_the_rust_adapter_needs_no_library_of_ours() -> None:
    assert "fdspec" not in (RUST / "Cargo.toml").read_text()
    dependencies = tomllib.loads((RUST / "Cargo.toml").read_text())["dependencies"]
    assert set(dependencies) == {"libc", "serde_json", "vmm-sys-util"}


def test_the_rust_adapter_fits_in_100_lines_of_the_usual_format() -> None:
    source = RUST / "src" / "main.rs"
    assert len(source.read_text().splitlines()) <= 100
    assert (RUST / "rustfmt.toml").read_text() == (
        registry.CATALOGUE / "rust-virtio-driver" / "rustfmt.toml"
    ).read_text()
    if shutil.which("rustfmt") is None:
        pytest.skip("rustfmt is not on PATH: the format of the example in Rust cannot be checked on this machine")
    command = ["rustfmt", "--check", "--edition", "2021", source]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_a_rust_adapter_with_the_crate_fits_in_100_lines() -> None:
    for name in ("rust-virtio-driver", "rust-vmm-sys-util"):
        assert len((registry.CATALOGUE / name / "src" / "main.rs").read_text().splitlines()) <= 100


@pytest.fixture
def python(commands: dict[str, list[str]], tmp_path: Path) -> Iterator[Testee]:
    with started(commands["python"], tmp_path) as running:
        yield running


@pytest.fixture
def rust(commands: dict[str, list[str]], tmp_path: Path) -> Iterator[Testee]:
    with started(commands["rust"], tmp_path) as running:
        yield running


def connected(testee: Testee, kind: SocketType, directory: Path) -> tuple[int, socket.socket]:
    """Connect the testee to a socket of ours: its number there, and our end."""
    ours = socket.socket(socket.AF_UNIX, KINDS[kind])
    ours.settimeout(10)
    ours.bind(str(directory / "ours"))
    if kind is SocketType.DGRAM:
        fd = testee.ask(Connect(address=str(directory / "ours"), type=kind, bind="@fdspec-example-theirs")).result.fd
        ours.connect("\0fdspec-example-theirs")
        return fd, ours
    with ours:
        ours.listen()
        fd = testee.ask(Connect(address=str(directory / "ours"), type=kind)).result.fd
        return fd, ours.accept()[0]


@pytest.mark.parametrize("kind", SocketType)
def test_descriptors_pass_both_ways_and_nothing_is_left(testee: Testee, kind: SocketType, tmp_path: Path) -> None:
    before = table(testee)
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.touch()
    fd, ours = connected(testee, kind, tmp_path)
    with ours:
        mine = [testee.ask(Open(path=str(path), flags=["O_RDWR"])).result.fd for path in paths]
        assert testee.ask(SendFds(fd=fd, buffers=["6162", "", "63"], fds=mine)).result.sent == 3
        data, theirs, _, _ = socket.recv_fds(ours, 65536, 2)
        assert data == b"abc"
        assert [str(Path(f"/proc/self/fd/{one}").readlink()) for one in theirs] == [str(path) for path in paths]
        socket.send_fds(ours, [b"back"], theirs)
        for one in theirs:
            os.close(one)
        got = testee.ask(RecvFds(fd=fd, sizes=[65536], room=2)).result
    assert got.buffers == [b"back".hex()]
    assert [table(testee)[one] for one in got.fds] == [str(path) for path in paths]
    assert testee.ask(Close(fd=mine[0])).error is None
    failed = testee.ask(Reset(close=[mine[1], *got.fds, 900])).result.failed
    assert [(one.fd, one.errno) for one in failed] == [(900, 9)]
    assert table(testee) == before


@pytest.mark.parametrize("kind", SocketType)
def test_the_python_adapter_answers_what_is_optional(python: Testee, kind: SocketType, tmp_path: Path) -> None:
    assert set(python.hello.capabilities) == {"steps", "options", "listen"}
    before = table(python)
    there, back = str(tmp_path / "there"), "@fdspec-example-back"
    steps = [
        Listen(address=there, type=kind),
        Connect(address=there, type=kind, bind=back),
        *([] if kind is SocketType.DGRAM else [Accept(fd="$0.fd")]),
        Open(path="/dev/null"),
        Setopt(fd="$1.fd", level="SOL_SOCKET", option="SO_SNDBUF", value=20000),
        Getopt(fd="$1.fd", level="SOL_SOCKET", option="SO_SNDBUF"),
    ]
    results = [reply.result for reply in python.ask(Steps(steps=steps)).result.replies]
    sender, receiver, mine = results[1].fd, results[0 if kind is SocketType.DGRAM else 2].fd, results[-3].fd
    assert results[-1].value == 40000
    assert python.ask(SendFds(fd=sender, buffers=["61"], fds=[mine])).result.sent == 1
    got = python.ask(RecvFds(fd=receiver, sizes=[65536], room=1)).result
    assert [table(python)[one] for one in got.fds] == ["/dev/null"]
    assert python.ask(Setopt(fd=receiver, level="fcntl", option="O_NONBLOCK", value=1)).error is None
    assert python.ask(RecvFds(fd=receiver, sizes=[1], room=0)).error.errno == 11
    assert python.ask(Shutdown(fd=sender, how="SHUT_WR")).error is None
    assert python.ask(Shutdown(fd=0, how="SHUT_RD")).error.errno == 88
    assert python.ask(Reset(close=[mine, *got.fds])).result.failed == []
    assert table(python) == before
    lost = [Close(fd="$0.fd"), Close(fd="$1.fds.7"), Close(fd=900)]
    replies = python.ask(Steps(steps=lost, go_on=True)).result.replies
    assert [reply.error.type for reply in replies[:2]] == ["Reference", "Reference"]
    assert python.ask(Steps(steps=lost)).result.replies == replies[:1]


@pytest.mark.parametrize(
    "request_",
    [
        Steps(steps=[Close(fd=900)]),
        Setopt(fd=0, level="SOL_SOCKET", option="SO_SNDBUF", value=20000),
        Getopt(fd=0, level="SOL_SOCKET", option="SO_SNDBUF"),
        Shutdown(fd=0, how="SHUT_RD"),
        Listen(address="@fdspec-example-none", type=SocketType.STREAM),
        Accept(fd=0),
        RecvFds(fd=0, sizes=[1, 1]),
    ],
    ids=lambda request: request.__struct_config__.tag,
)
def test_the_rust_adapter_is_the_minimum(rust: Testee, request_: Any) -> None:
    assert rust.hello.capabilities == []
    assert rust.ask(request_).unsupported


@pytest.mark.parametrize(
    ("request_", "errno"),
    [
        (Connect(address="/nowhere/at/all", type=SocketType.STREAM), 2),
        (Connect(address="/" + 300 * "x", type=SocketType.STREAM), None),
        (Open(path="/nowhere/at/all"), 2),
        (Close(fd=900), 9),
        (SendFds(fd=900, buffers=["00"], fds=[0]), 9),
        (SendFds(fd=900, buffers=["00"], fds=[2**31]), None),
        (RecvFds(fd=900, sizes=[1]), 9),
    ],
    ids=lambda value: value.__struct_config__.tag if hasattr(value, "__struct_config__") else None,
)
def test_errors_carry_their_number_and_leave_nothing(testee: Testee, request_: Any, errno: int | None) -> None:
    before = table(testee)
    error = testee.ask(request_).error
    assert isinstance(error, ErrorReply)
    assert errno is None or error.errno == errno
    assert error.type != "Request"
    testee.ask(Reset())
    assert table(testee) == before


@pytest.mark.parametrize(
    "fields",
    [
        {"op": "send_fds", "fd": "four"},
        {"op": "send_fds", "buffers": "00"},
        {"op": "open", "flags": ["O_FDSPEC"]},
        {},
        [],
    ],
)
def test_a_malformed_request_is_no_end_of_the_rust_adapter(commands: dict[str, list[str]], fields: Any) -> None:
    common = {"id": 1, "fd": 0, "path": "/dev/null", "buffers": [], "fds": [], "flags": [], "single": False}
    hello = {"id": 0, "op": "hello", "version": 1, "constants": {}}
    asked = [hello, {**common, **fields} if fields else fields, {"id": 2, "op": "reset", "close": []}]
    lines = "".join(json.dumps(one) + "\n" for one in asked)
    talk = subprocess.run(commands["rust"], input=lines, capture_output=True, text=True, check=True)
    _, malformed, reset = (json.loads(line) for line in talk.stdout.splitlines())
    assert "unsupported" in malformed or malformed["error"]["type"] == "Request"
    assert reset == {"id": 2, "result": {"failed": []}}


def test_what_was_not_declared_is_unsupported(testee: Testee) -> None:
    assert testee.ask(SendFds(fd=0, buffers=["00"], fds=[0], single=True)).unsupported
    assert testee.ask(SendFds(fd=0, buffers=["00"], fds=[0], address="@there")).unsupported


def test_they_end_with_their_input(testee: Testee) -> None:
    assert testee.hang_up() == 0


# --- the page --------------------------------------------------------------------------------------------------------


def normal(line: str) -> Any:
    """A reply without what differs from interpreter to interpreter."""
    return json.loads(line.replace(f'"{platform.python_version()}"', '"VERSION"'))


def test_the_conversation_is_real() -> None:
    recorded = CONVERSATION.read_text().splitlines()
    requests, replies = recorded[::2], recorded[1::2]
    talk = subprocess.run(
        [sys.executable, "-I", ADAPTER], input="\n".join(requests) + "\n", capture_output=True, text=True, check=True
    )
    version = json.loads(replies[0])["result"]["implementation"]["version"]
    told = [json.loads(line.replace(f'"{version}"', '"VERSION"')) for line in replies]
    assert [normal(line) for line in talk.stdout.splitlines()] == told
    assert HelloResult.__struct_fields__[0] in told[0]["result"]


@pytest.mark.parametrize(
    ("language", "file"),
    [
        ("json", CONVERSATION),
        ("python", ADAPTER),
        ("toml", EXAMPLES / "impl.toml"),
        ("rust", RUST / "src" / "main.rs"),
        ("toml", RUST / "Cargo.toml"),
        ("rust", registry.CATALOGUE / "rust-virtio-driver" / "src" / "main.rs"),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else value,
)
def test_the_page_shows_the_files_as_they_are(language: str, file: Path) -> None:
    assert f"```{language}\n{file.read_text()}```\n" in PAGE.read_text()


def test_the_page_names_everything() -> None:
    words = set(re.findall(r"`([^`\n]+)`", PAGE.read_text()))
    named = set().union(*(re.findall(r"[a-z_.-]+", word) for word in words), words)
    wanted = {*TESTEE, *POLICIES, *(outcome for outcomes in POLICIES.values() for outcome in outcomes)}
    wanted |= {capability for capabilities in PROFILES.values() for capability in capabilities}
    for request in REQUESTS:
        wanted |= {request.__struct_config__.tag, *request.__struct_fields__, *request.result_type.__struct_fields__}
    assert wanted - named == set()
