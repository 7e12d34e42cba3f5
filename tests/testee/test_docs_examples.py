"""The manual's examples: the adapters run under the real harness, and the page shows what really happened."""

import contextlib
import json
import platform
import re
import shutil
import subprocess
import sys
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
    ErrorReply,
    Getopt,
    HelloResult,
    Listen,
    Open,
    RecvFds,
    Reset,
    SendFds,
    Setopt,
    Shutdown,
    Steps,
)  # fmt: skip
from fdspec.impls.protocol.values import Profile, SocketType

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "testee-protocol.md"
EXAMPLES = DOCS / "examples"
ADAPTER = EXAMPLES / "adapter.py"
CONVERSATION = EXAMPLES / "conversation.jsonl"
RUST = EXAMPLES / "rust"
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
    lines = len((RUST / "src" / "main.rs").read_text().splitlines())
    assert f"a complete adapter has {lines} lines" in PAGE.read_text()


def test_a_rust_adapter_with_the_crate_fits_in_100_lines() -> None:
    for name in ("rust-virtio-driver", "rust-vmm-sys-util"):
        assert len((registry.CATALOGUE / name / "src" / "main.rs").read_text().splitlines()) <= 100


@pytest.mark.parametrize("kind", SocketType)
def test_descriptors_pass_both_ways_and_nothing_is_left(testee: Testee, kind: SocketType, tmp_path: Path) -> None:
    before = table(testee)
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.touch()
    there, back = str(tmp_path / "there"), "@fdspec-example-back"
    ends = [Listen(address=there, type=kind), Connect(address=there, type=kind, bind=back)]
    steps = [
        *ends,
        *([] if kind is SocketType.DGRAM else [Accept(fd="$0.fd")]),
        Open(path=str(paths[0]), flags=["O_RDWR"]),
        Open(path=str(paths[1])),
        Setopt(fd="$1.fd", level="SOL_SOCKET", option="SO_SNDBUF", value=20000),
        Getopt(fd="$1.fd", level="SOL_SOCKET", option="SO_SNDBUF"),
    ]
    results = [reply.result for reply in testee.ask(Steps(steps=steps)).result.replies]
    mine = [result.fd for result in results[-4:-2]]
    receiver, sender = results[-5 if kind is not SocketType.DGRAM else 0].fd, results[1].fd
    assert results[-1].value == 40000
    assert testee.ask(SendFds(fd=sender, buffers=["6162", "", "63"], fds=mine)).result.sent == 3
    got = testee.ask(RecvFds(fd=receiver, sizes=[65536], room=2)).result
    assert got.buffers == ["616263"]
    assert [table(testee)[fd] for fd in got.fds] == [str(path) for path in paths]
    assert testee.ask(Setopt(fd=receiver, level="fcntl", option="O_NONBLOCK", value=1)).error is None
    assert testee.ask(RecvFds(fd=receiver, sizes=[1], room=0)).error.errno == 11
    assert testee.ask(Close(fd=mine[0])).error is None
    assert testee.ask(Shutdown(fd=sender, how="SHUT_WR")).error is None
    assert testee.ask(Reset(close=[mine[1], *got.fds, 900])).result.failed[0].fd == 900
    assert table(testee) == before


@pytest.mark.parametrize(
    ("request_", "errno"),
    [
        (Connect(address="/nowhere/at/all", type=SocketType.STREAM), 2),
        (Open(path="/nowhere/at/all"), 2),
        (Close(fd=900), 9),
        (SendFds(fd=900, buffers=["00"], fds=[0]), 9),
        (RecvFds(fd=900, sizes=[1]), 9),
        (Shutdown(fd=0, how="SHUT_RD"), 88),
    ],
    ids=lambda value: value.__struct_config__.tag if hasattr(value, "__struct_config__") else None,
)
def test_errors_carry_their_number_and_leave_nothing(testee: Testee, request_: Any, errno: int) -> None:
    before = table(testee)
    error = testee.ask(request_).error
    assert isinstance(error, ErrorReply)
    assert error.errno == errno
    testee.ask(Reset())
    assert table(testee) == before


def test_what_was_not_declared_is_unsupported_and_references_are_checked(testee: Testee) -> None:
    assert testee.ask(SendFds(fd=0, buffers=["00"], fds=[0], single=True)).unsupported
    assert testee.ask(SendFds(fd=0, buffers=["00"], fds=[0], address="@there")).unsupported
    lost = [Close(fd="$0.fd"), Close(fd="$1.fds.7"), Close(fd=900)]
    replies = testee.ask(Steps(steps=lost, go_on=True)).result.replies
    assert [reply.error.type for reply in replies[:2]] == ["Reference", "Reference"]
    assert testee.ask(Steps(steps=lost)).result.replies == replies[:1]


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
