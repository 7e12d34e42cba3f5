"""Does an adapter keep the protocol? A conversation that tries it out, and tells what it got wrong.

Nothing here judges the implementation: only whether its testee says what it must say, reports what a look from outside
confirms, refuses what it did not declare, and leaves nothing behind.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from .checkraw import RAW_TRIALS
from .constants import SOCKET_KINDS
from .errors import TesteeError
from .manifest import Manifest
from .process import Launch, Testee, exit_code_name, launch_of
from .protocol.messages import (
    Accept,
    Census,
    Close,
    Fork,
    Getopt,
    Hello,
    Limit,
    Listen,
    Make,
    Open,
    Pair,
    RawCall,
    RecvFds,
    Recvmsg,
    Request,
    SendFds,
    Sendmsg,
    Setopt,
    Shutdown,
    Steps,
    TransportConnect,
    TransportEvents,
    TransportSendFd,
    TransportWrite,
)
from .protocol.results import (
    AcceptResult,
    Empty,
    EventsResult,
    FdResult,
    OptionResult,
    RecvFdsResult,
    RecvmsgResult,
    SentResult,
    StepsResult,
    TransportResult,
)
from .protocol.values import ControlMessage, ObjectKind, Profile, SocketType, ints_of
from .setup import Prepared
from .trial import NOT_OFFERED, PATIENCE, Trial, Wrong, expect


class Severity(StrEnum):
    """How bad a finding is: an ``error`` breaks the protocol, ``good`` is what was found right."""

    ERROR = "error"
    GOOD = "good"


@dataclass(frozen=True)
class Finding:
    """One thing that was tried. ``rule``: what the protocol asks for; ``text``: what was seen."""

    severity: Severity
    rule: str
    text: str = ""


# --- what is tried -----------------------------------------------------------------------------------------------------


def _profiles(trial: Trial) -> str:
    """The profiles that hello offers are those of the manifest."""
    offered, listed = set(trial.hello.profiles), set(trial.manifest.profiles)
    expect(offered == listed, f"the manifest lists {sorted(listed)}, hello offers {sorted(offered)}")
    return ", ".join(sorted(offered))


def _identity(trial: Trial) -> str:
    """The name and the version of the implementation are told."""
    told = trial.hello.implementation
    expect(bool(told.name and told.version and told.language), f"name, version and language must not be empty: {told}")
    return f"{told.name} {told.version} ({told.language})"


def _hello_again(trial: Trial) -> str:
    """Hello may be said again, and is answered the same."""
    from .constants import CONSTANTS  # noqa: PLC0415 - one place

    again = trial.ask(Hello(constants=CONSTANTS)).result
    expect(again == trial.hello, "the second hello was answered otherwise than the first")
    return ""


def _unknown(trial: Trial) -> str:
    """An operation of a random name is unsupported."""
    reply = trial.testee.ask_unknown()
    expect(reply.unsupported is not None, f"it was answered with {reply.error or reply.result}")
    return ""


def _opens(trial: Trial) -> str:
    """Open gives a number that refers to the file and is close-on-exec; close closes it."""
    fd = trial.open()
    expect(trial.refers(fd, trial.file), f"number {fd} does not refer to the file that was to be opened")
    expect(bool(trial.flags(fd) & os.O_CLOEXEC), "the number is not close-on-exec")
    reply = trial.ask(Close(fd=fd))
    expect(reply.error is None and reply.unsupported is None, f"close failed: {reply.error or reply.unsupported}")
    expect(fd not in trial.table(), f"number {fd} is still open after close")
    return ""


def _open_fails(trial: Trial) -> str:
    """An error carries the name or the number of the error."""
    reply = trial.ask(Open(path=str(trial.directory / "nothing")))
    expect(reply.error is not None, "a file that does not exist was opened")
    assert reply.error is not None  # noqa: S101
    named = reply.error.errno in ("ENOENT", 2)
    expect(named, f"errno ENOENT (or its number) was expected, {reply.error.errno!r} came")
    return ""


def _close_fails(trial: Trial) -> str:
    """Closing a number that is not open is an error, EBADF."""
    reply = trial.ask(Close(fd=999))
    expect(
        reply.error is not None and reply.error.errno in ("EBADF", 9),
        f"EBADF was expected, {reply.error or reply.result} came",
    )
    return ""


def _steps(trial: Trial) -> str:
    """Steps run in order, refer to earlier results, and stop at the first error."""
    if not trial.offers(Steps):
        return NOT_OFFERED
    request = Steps(steps=[Open(path=str(trial.file)), Close(fd="$0.fd"), Close(fd=999), Open(path=str(trial.file))])
    result = trial.result(request, StepsResult)
    assert isinstance(result, StepsResult)  # noqa: S101
    expect(len(result.replies) == 3, f"three replies were expected, the third an error; {len(result.replies)} came")
    first, second, third = result.replies
    expect(isinstance(first.result, FdResult), f"step 0, open: {first}")
    expect(second.error is None, f"step 1, close of '$0.fd': {second.error}")
    expect(third.error is not None, "step 2, close of a number that is not open, must be an error")
    return ""


def _steps_go_on(trial: Trial) -> str:
    """Steps with `go_on` go on after an error; a reference to nothing is an error of its step."""
    if not trial.offers(Steps):
        return NOT_OFFERED
    result = trial.result(
        Steps(steps=[Close(fd=999), Close(fd="$7.fd"), Open(path=str(trial.file))], go_on=True), StepsResult
    )
    assert isinstance(result, StepsResult)  # noqa: S101
    expect(len(result.replies) == 3, f"three replies were expected, {len(result.replies)} came")
    expect(result.replies[1].error is not None, "a reference to a step that does not exist must be an error")
    opened = result.replies[2].result
    expect(isinstance(opened, FdResult), "the step after the errors was not run")
    trial.reset(opened.fd)
    return ""


def _reset(trial: Trial) -> str:
    """Reset closes what it is told to and the sockets of the case, and nothing else."""
    before = trial.table()
    kind = next(iter(trial.hello.profiles.values())).types[0]
    fd = trial.open()
    _, peer = trial.connect(kind)
    failed = trial.reset(fd).failed
    peer.close()
    expect(not failed, f"reset could not close {failed}")
    after = trial.table()
    expect(after == before, f"before: {before}, after: {after}")
    return ""


def _reset_tells(trial: Trial) -> str:
    """Reset tells which numbers it could not close."""
    failed = trial.reset(998).failed
    expect([one.fd for one in failed] == [998], f"number 998 was expected among the failed, {failed} came")
    return ""


def _options(trial: Trial) -> str:
    """Options are set and read by name, and sockets shut down."""
    if not trial.offers(Setopt):
        return NOT_OFFERED
    kind = next(iter(trial.hello.profiles.values())).types[0]
    fd, peer = trial.connect(kind)
    with peer:
        trial.result(Setopt(fd=fd, level="SOL_SOCKET", option="SO_PASSCRED", value=1), Empty)
        result = trial.result(Getopt(fd=fd, level="SOL_SOCKET", option="SO_PASSCRED"), OptionResult)
        expect(
            isinstance(result, OptionResult) and result.value == 1, f"SO_PASSCRED was set to 1, getopt says {result}"
        )
        trial.result(Setopt(fd=fd, level="fcntl", option="O_NONBLOCK", value=1), Empty)
        flags = trial.flags(fd)
        expect(bool(flags & os.O_NONBLOCK), f"O_NONBLOCK was set, /proc shows the flags {flags:#o}")
        trial.result(Shutdown(fd=fd, how="SHUT_WR"), Empty)
        expect(kind is SocketType.DGRAM or _ended(peer), "shutdown of SHUT_WR was answered, but the peer sees no end")
    trial.reset()
    return ""


def _zero(trial: Trial) -> str:
    """Number 0 may be closed and taken by something else, and the conversation goes on."""
    if "zero" not in trial.hello.capabilities:
        return NOT_OFFERED
    reply = trial.ask(Close(fd=0))
    expect(reply.error is None and reply.unsupported is None, f"close failed: {reply.error or reply.unsupported}")
    expect(0 not in trial.table(), "number 0 is still open after close")
    fd = trial.open()
    expect(fd == 0, f"a file was opened at number {fd} although 0 was free")
    trial.reset(fd)
    expect(not trial.refers(0, trial.file), "number 0 still refers to the file after reset")
    return ""


def _ended(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return False


def _listens(trial: Trial) -> str:
    """Listen makes a socket with an address, and accept hands over a connection to it."""
    if not trial.offers(Listen):
        return NOT_OFFERED
    kind = next(iter(trial.hello.profiles.values())).types[0]
    path = trial.directory / "listens"
    fd = trial.new_socket(Listen(address=str(path), type=kind))
    with socket.socket(socket.AF_UNIX, SOCKET_KINDS[kind]) as peer:
        peer.settimeout(PATIENCE)
        try:
            peer.connect(str(path))
        except OSError as fault:
            raise Wrong(f"nothing can be connected to the address: {fault}") from None
        if kind is not SocketType.DGRAM:
            accepted = trial.result(Accept(fd=fd), AcceptResult)
            assert isinstance(accepted, AcceptResult)  # noqa: S101 - checked by result()
            trial.expect_socket(accepted.fd)
    trial.reset()
    return ""


def _undeclared(trial: Trial) -> str:
    """What was not declared is answered with unsupported."""
    requests: list[Request] = []
    if Profile.MESSAGE not in trial.hello.profiles:
        requests.append(Sendmsg(fd=0))
    if Profile.DESCRIPTORS not in trial.hello.profiles:
        requests.append(SendFds(fd=0))
    if Profile.TRANSPORT not in trial.hello.profiles:
        requests.append(TransportEvents(transport=1))
    if Profile.RAW not in trial.hello.profiles:
        requests.append(RawCall(name="getpid"))
    address = str(trial.directory / "undeclared")
    optional: tuple[Request, ...] = (
        Steps(steps=[Close(fd=999)]),
        Setopt(fd=0, level="SOL_SOCKET", option="SO_PASSCRED", value=1),
        Getopt(fd=0, level="SOL_SOCKET", option="SO_PASSCRED"),
        Shutdown(fd=0, how="SHUT_RDWR"),
        Listen(address=address, type=SocketType.STREAM),
        Accept(fd=0),
        Pair(type=SocketType.STREAM),
        Limit(resource="RLIMIT_NOFILE", soft=64),
        Census(),
        Fork(),
        Make(kind=ObjectKind.FIFO, path=address),
    )
    requests += [one for one in optional if not trial.offers(type(one))]
    for profile, request in ((Profile.MESSAGE, Recvmsg), (Profile.DESCRIPTORS, RecvFds)):
        offer = trial.hello.profiles.get(profile)
        if offer is not None and "buffers-in" not in offer.capabilities:
            requests.append(
                request(fd=0, sizes=[1, 1], flags=["MSG_DONTWAIT"] if "flags-in" in offer.capabilities else [])
            )
    for one in requests:
        reply = trial.ask(one)
        expect(
            reply.unsupported is not None,
            f"{one.__struct_config__.tag} was answered with {reply.error or reply.result}",
        )
    return f"{len(requests)} requests refused"


def _calls(trial: Trial) -> str:
    """A descriptor goes through the implementation both ways on every declared type, and its number is true."""
    done: list[str] = []
    for profile in (Profile.MESSAGE, Profile.DESCRIPTORS):
        offer = trial.hello.profiles.get(profile)
        if offer is None:
            continue
        for kind in offer.types:
            _call(trial, profile, kind, single="many" not in offer.capabilities and profile is Profile.DESCRIPTORS)
            done.append(f"{profile.value} {kind.value}")
    return ", ".join(done) or NOT_OFFERED


def _call(trial: Trial, profile: Profile, kind: SocketType, *, single: bool) -> None:
    fd, peer = trial.connect(kind)
    ours = os.open(trial.file, os.O_RDONLY)
    where = f"{profile.value} on {kind.value}"
    try:
        passed = trial.open()
        if trial.hello.payload.kind == "any":
            rights = [ControlMessage("SOL_SOCKET", "SCM_RIGHTS", fds=[passed])]
            request = (
                Sendmsg(fd=fd, buffers=["78"], ancillary=rights)
                if profile is Profile.MESSAGE
                else SendFds(fd=fd, buffers=["78"], fds=[passed], single=single)
            )
            sent = trial.result(request, SentResult)
            expect(
                isinstance(sent, SentResult) and sent.sent in (1, None),
                f"{where}: one byte was sent, the result says {sent}",
            )
            data, fds, _, _ = socket.recv_fds(peer, 16, 4)
            for one in fds:
                os.close(one)
            expect(
                data == b"x" and len(fds) == 1,
                f"{where}: one byte and one descriptor were sent, {data!r} and {len(fds)} came",
            )
        socket.send_fds(peer, [b"y"], [ours])
        asked = (
            Recvmsg(fd=fd, sizes=[16], room=1)
            if profile is Profile.MESSAGE
            else RecvFds(fd=fd, sizes=[16], room=1, single=single)
        )
        got = trial.ask(asked).result
        expect(isinstance(got, RecvmsgResult | RecvFdsResult), f"{where}: a descriptor was to be received, {got} came")
        numbers = _numbers(got)
        expect(len(numbers) == 1, f"{where}: one descriptor was sent, these were reported: {numbers}")
        expect(trial.refers(numbers[0], trial.file), f"{where}: number {numbers[0]} does not refer to what was sent")
        failed = trial.reset(passed, *numbers).failed
        expect(
            not failed, f"{where}: reset could not close {failed}: the adapter has closed what it had only to report"
        )
    finally:
        os.close(ours)
        peer.close()


def _numbers(got: object) -> list[int]:
    if isinstance(got, RecvFdsResult):
        return list(got.fds)
    assert isinstance(got, RecvmsgResult)  # noqa: S101
    found: list[int] = []
    for message in got.ancillary:
        if isinstance(message.fds, list):
            found += [fd for fd in message.fds if isinstance(fd, int)]
        elif isinstance(message.data, str):
            found += ints_of(bytes.fromhex(message.data))
    return found


def _transport(trial: Trial) -> str:
    """A transport connects, sends a descriptor with data, and hands over one that it receives."""
    offer = trial.hello.profiles.get(Profile.TRANSPORT)
    if offer is None or "client" not in offer.capabilities:
        return NOT_OFFERED
    path = trial.directory / "transport"
    ours = os.open(trial.file, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)
        listener.settimeout(PATIENCE)
        made = trial.result(TransportConnect(address=str(path)), TransportResult)
        assert isinstance(made, TransportResult)  # noqa: S101
        peer, _ = listener.accept()
    try:
        peer.settimeout(PATIENCE)
        passed = trial.open()
        steps = Steps(
            steps=[
                TransportSendFd(transport=made.transport, fd=passed),
                TransportWrite(transport=made.transport, data="78"),
            ]
        )
        trial.result(steps, StepsResult)
        trial.result(TransportEvents(transport=made.transport), EventsResult)
        data, fds, _, _ = socket.recv_fds(peer, 16, 4)
        for one in fds:
            os.close(one)
        expect(data == b"x" and len(fds) == 1, f"one byte and one descriptor were queued, {data!r} and {len(fds)} came")
        socket.send_fds(peer, [b"y"], [ours])
        heard = trial.result(
            TransportEvents(transport=made.transport, bytes=1, fds=1, wait=PATIENCE), EventsResult, PATIENCE
        )
        assert isinstance(heard, EventsResult)  # noqa: S101
        numbers = [event.fd for event in heard.events if event.event == "descriptor" and isinstance(event.fd, int)]
        expect(len(numbers) == 1, f"one descriptor was sent, these events came: {heard.events}")
        expect(trial.refers(numbers[0], trial.file), f"number {numbers[0]} does not refer to what was sent")
        trial.reset(passed, *numbers)
    except TimeoutError:
        raise Wrong("what was queued did not go out in transport.events") from None
    finally:
        peer.close()
        os.close(ours)
    return ""


TRIALS: tuple[Callable[[Trial], str], ...] = (
    _identity,
    _profiles,
    _hello_again,
    _unknown,
    _opens,
    _open_fails,
    _close_fails,
    _steps,
    _steps_go_on,
    _reset,
    _reset_tells,
    _options,
    _listens,
    _zero,
    _undeclared,
    _calls,
    _transport,
    *RAW_TRIALS,
)


def _try(trial: Callable[[Trial], str], manifest: Manifest, launch: Launch) -> Finding:
    """Try one rule on a fresh testee, and see that it ends when its standard input does."""
    rule = " ".join((trial.__doc__ or "").split())
    with tempfile.TemporaryDirectory(prefix="fdspec-") as name:
        directory = Path(name)
        home = directory / "home"
        home.mkdir(0o700)
        try:
            testee = Testee(launch, home)
        except TesteeError as failure:
            return Finding(Severity.ERROR, "The testee starts and says hello.", str(failure))
        try:
            text = trial(Trial(manifest, testee, directory))
            code = testee.hang_up()
            expect(code == 0, f"when its standard input ends it must exit with 0; it {_ending(code)}")
        except (Wrong, TesteeError) as failure:
            return Finding(Severity.ERROR, rule, f"{failure}")
        finally:
            testee.kill()
        if testee.noise:
            return Finding(
                Severity.ERROR, rule, f"standard output is for replies only; it also wrote {testee.noise[0]!r}"
            )
    return Finding(Severity.GOOD, rule, text)


def _ending(code: int | None) -> str:
    return "went on running" if code is None else f"ended with {exit_code_name(code)}"


def check_adapter(manifest: Manifest, prepared: Prepared, say: Callable[[str], None]) -> Iterator[Finding]:
    """Try every rule of the protocol, and yield a finding for each. ``say`` is told what is being tried."""
    launch = launch_of(prepared)
    for trial in TRIALS:
        say(" ".join((trial.__doc__ or "").split()))
        found = _try(trial, manifest, launch)
        yield found
        if found.rule.startswith("The testee starts"):
            return
