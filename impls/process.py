"""A testee's process: started in a cage, spoken to with deadlines, killed with all that it started.

The cage: a process group of its own, a parent-death signal, resource limits, an environment of a few variables, a private
directory to work in, and no descriptor but the three standard ones. Standard error goes to a file of limited size.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import secrets
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from msgspec.json import Decoder

from .constants import CONSTANTS
from .errors import Broken, Crashed, StartFailed, TimedOut
from .protocol import VERSION, Anomaly, Conversation, Noise, Reply
from .protocol.capabilities import LAYOUT, POLICIES, PROFILES, TESTEE
from .protocol.messages import Hello, Request
from .protocol.results import HelloResult
from .protocol.values import Profile
from .setup import Prepared

PR_SET_PDEATHSIG = 1
LAST_WORDS = 2000
"""Characters of standard error that a message quotes."""
LOG_LIMIT = 64 * 2**20
NUMBERS = (4096, 4096)
"""RLIMIT_NOFILE, soft and hard: the same for every testee on every machine.

The soft limit is also what a sender without privilege may have in flight, together with all other processes of its user; so
it is far above what the suite itself has in flight at any time, several workers at once included.
"""
KEPT_NOISE = 20
"""Lines of noise that are kept of one case."""


class Process(Protocol):
    """What a testee's process looks like to its keeper: `subprocess.Popen`, or what is as good."""

    pid: int

    @property
    def stdin(self) -> Stream | None:
        """The end into which requests are written."""
        ...

    @property
    def stdout(self) -> Stream | None:
        """The end from which replies are read."""
        ...

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code. Raises subprocess.TimeoutExpired after ``timeout`` seconds."""
        ...


class Stream(Protocol):
    """One of the harness's own ends of a pipe."""

    @property
    def closed(self) -> bool:
        """Whether it was closed here."""
        ...

    def fileno(self) -> int:
        """Return its number."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


Starter = Callable[[Sequence[str], Path, Mapping[str, str], BinaryIO, Callable[[], None]], Process]
"""Starts a command in a directory, with an environment, its standard error and what the child does first (the cage)."""


def spawn(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], log: BinaryIO, cage: Callable[[], None]
) -> Process:
    """Start a program. Raises OSError and subprocess.SubprocessError."""
    return subprocess.Popen(  # noqa: S603 - the command is the manifest's, run without a shell
        list(command),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        cwd=directory,
        env=environment,
        bufsize=0,
        close_fds=True,
        process_group=0,
        preexec_fn=cage,  # noqa: PLW1509 - nothing else runs between fork and exec
    )


@dataclass(frozen=True)
class Launch:
    """Everything needed to start a testee. Deadlines in seconds, ``memory`` in bytes (0: no limit)."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    start_deadline: float = 10.0
    request_deadline: float = 5.0
    memory: int = 0
    starter: Starter = spawn


def launch_of(prepared: Prepared) -> Launch:
    """Return how the testee of a prepared implementation is started."""
    manifest = prepared.manifest
    return Launch(
        prepared.command,
        prepared.environment,
        manifest.deadlines.start,
        manifest.deadlines.request,
        manifest.limits.memory,
    )


@dataclass(frozen=True)
class Line:
    """One piece of the transcript: when (seconds, monotonic), who, and the bytes as they were."""

    at: float
    actor: str
    kind: str
    data: bytes
    control: bytes = b""


def _cage(memory: int) -> Callable[[], None]:
    """Return what the child does between fork and exec. Everything it needs is looked up before the fork."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    ceiling = NUMBERS[1] if hard == resource.RLIM_INFINITY else min(NUMBERS[1], hard)
    limits = [
        (resource.RLIMIT_CORE, (0, 0)),
        (resource.RLIMIT_FSIZE, (LOG_LIMIT, LOG_LIMIT)),
        (resource.RLIMIT_NOFILE, (min(NUMBERS[0], ceiling), ceiling)),
    ]
    if memory:
        limits.append((resource.RLIMIT_AS, (memory, memory)))

    def cage() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # the harness died before the signal was armed
            os._exit(1)
        for what, how in limits:
            resource.setrlimit(what, how)
        os.umask(0o077)

    return cage


class Testee:
    """A running testee. Every method that speaks to it raises a `TesteeError` when it can't go on; it is dead then."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    def __init__(self, launch: Launch, directory: Path) -> None:
        """Start ``launch`` with ``directory`` (private, 0700) as its working directory, and say hello.

        Raises `StartFailed` with the testee's last words.
        """
        self._launch = launch
        self._log = directory / "log"
        self.lines: list[Line] = []
        self.noise: list[str] = []
        self._conversation = Conversation()
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(directory),
            "TMPDIR": str(directory),
            "LANG": "C.UTF-8",
            **launch.environment,
        }
        with self._log.open("wb") as log:
            try:
                self._process = launch.starter(launch.command, directory, environment, log, _cage(launch.memory))
            except (OSError, subprocess.SubprocessError) as fault:
                raise StartFailed("start", f"cannot run {launch.command[0]}: {fault}") from fault
        self.pid = self._process.pid
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        assert self._process.stdout is not None  # noqa: S101
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        self._readable = select.poll()
        self._readable.register(self._out, select.POLLIN)
        self.hello: HelloResult = self._greet()

    # --- conversation --------------------------------------------------------------------------------------------------

    def ask(self, request: Request, *, extra: float = 0.0, decoder: Decoder[Any] | None = None) -> Reply:
        """Send ``request`` and return its reply; ``extra`` seconds are added to the deadline.

        ``decoder`` makes the result, in place of the request's own type: who asks for much at once may know a faster way.
        Raises `Crashed`, `TimedOut` or `Broken`; the testee is killed before they are raised.
        """
        return self._converse(self._conversation.ask(request, decoder), self._launch.request_deadline + extra)

    def _converse(self, line: bytes, seconds: float) -> Reply:
        start = time.monotonic()
        deadline = start + seconds
        self.lines.append(Line(start, "harness", "request", line))
        unsent = self._write(line)
        while unsent:
            unsent = self._write_on(unsent, deadline)
        while True:
            left = deadline - time.monotonic()
            if left <= 0 or not self._readable.poll(left * 1000):
                self._conversation.give_up()
                self.kill()
                raise TimedOut("timeout", f"no reply within {seconds:g} s to {line[:200].decode(errors='replace')}")
            reply = self._read()
            if reply is not None:
                return reply

    def _write(self, data: bytes) -> bytes:
        try:
            return data[os.write(self._in, data) :]
        except BlockingIOError:
            return data
        except BrokenPipeError:
            raise self._ended() from None

    def _write_on(self, data: bytes, deadline: float) -> bytes:
        """Go on writing while reading what comes, so that neither side waits for the other for ever."""
        poll = select.poll()
        poll.register(self._in, select.POLLOUT)
        poll.register(self._out, select.POLLIN)
        left = deadline - time.monotonic()
        ready = dict(poll.poll(left * 1000)) if left > 0 else {}
        if not ready:
            self._conversation.give_up()
            self.kill()
            raise TimedOut("timeout", f"it does not read its standard input: {len(data)} bytes of a request are unsent")
        if self._out in ready and self._read() is not None:
            self.kill()
            raise Broken("early-reply", "it replied to a request before it had read all of it")
        return self._write(data) if self._in in ready else data

    def _read(self) -> Reply | None:
        try:
            data = os.read(self._out, 1 << 20)
        except BlockingIOError:
            return None
        if not data:
            raise self._ended()
        self.lines.append(Line(time.monotonic(), "testee", "reply", data))
        found: Reply | None = None
        for event in self._conversation.feed(data):
            match event:
                case Reply():
                    found = event
                case Noise():
                    if len(self.noise) < KEPT_NOISE:
                        self.noise.append(event.line)
                case Anomaly():
                    self.kill()
                    raise Broken(event.kind.value, event.detail)
        return found

    def ask_unknown(self) -> Reply:
        """Ask for an operation of a random name, which a testee must answer with ``unsupported``."""
        return self._converse(self._conversation.ask_unknown(f"x{secrets.token_hex(6)}"), self._launch.request_deadline)

    def _greet(self) -> HelloResult:
        try:
            return self._say_hello()
        except (Crashed, TimedOut, Broken) as fault:
            self.kill()
            words = "" if isinstance(fault, Crashed) else self.last_words()  # Crashed has quoted them
            raise StartFailed("start", f"{fault}{words}") from fault
        except BaseException:
            self.kill()
            raise

    def _say_hello(self) -> HelloResult:
        hello = self._converse(self._conversation.ask(Hello(constants=CONSTANTS)), self._launch.start_deadline)
        if not isinstance(hello.result, HelloResult):
            raise Broken("hello", f"hello was answered with {hello.error or hello.unsupported!r}")
        problems = hello_problems(hello.result)
        if problems:
            raise Broken("hello", "; ".join(problems))
        if self.ask_unknown().unsupported is None:
            raise Broken("unknown-operation", "an operation of a random name must be answered with `unsupported`")
        return hello.result

    # --- life ----------------------------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    @property
    def held(self) -> int:
        """How many descriptors of the harness's own the conversation holds."""
        return sum(stream is not None and not stream.closed for stream in (self._process.stdin, self._process.stdout))

    @property
    def own(self) -> Callable[[int], bool]:
        """Return a function that tells whether a process id is the testee's own or of its process group."""

        def is_own(pid: int) -> bool:
            if pid == self.pid:
                return True
            try:
                return os.getpgid(pid) == self.pid
            except ProcessLookupError:
                return False

        return is_own

    def check(self) -> None:
        """Raise `Crashed` when the process has ended although nobody asked it anything."""
        code = self._process.poll()
        if code is not None:
            self.kill()
            raise Crashed(
                exit_code_name(code), f"it ended with {exit_code_name(code)} between two requests{self.last_words()}"
            )

    def _ended(self) -> Crashed | Broken:
        """Tell why standard output ended."""
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.kill()
            return Broken("closed-output", "it closed its standard output and went on running")
        self.kill()
        return Crashed(exit_code_name(code), f"it ended with {exit_code_name(code)}{self.last_words()}")

    def hang_up(self, seconds: float = 2.0) -> int | None:
        """Close the testee's standard input and return its exit code; None when it is still there after ``seconds``."""
        assert self._process.stdin is not None  # noqa: S101 - PIPE was asked for
        self._process.stdin.close()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End the whole process group and free everything. May be called again."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def log_mark(self) -> int:
        """Return the size of the log so far, in bytes."""
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def log_text(self, start: int = 0, limit: int = LAST_WORDS) -> str:
        """Return the end of standard error since ``start``, at most ``limit`` bytes of it."""
        try:
            with self._log.open("rb") as log:
                size = os.fstat(log.fileno()).st_size
                log.seek(max(start, size - limit))
                return log.read(limit).decode(errors="replace")
        except OSError:
            return ""

    def last_words(self) -> str:
        """Return the end of standard error, as the tail of a message."""
        text = self.log_text().strip()
        return f"; its last words: {text}" if text else "; it wrote nothing to standard error"


def exit_code_name(code: int) -> str:
    """Name an exit code as ``exit-N`` or ``signal-SIGNAME``."""
    if code >= 0:
        return f"exit-{code}"
    try:
        return f"signal-{signal.Signals(-code).name}"
    except ValueError:
        return f"signal-{-code}"


def hello_problems(hello: HelloResult) -> list[str]:
    """Return what is wrong with a ``hello``, a sentence each."""
    problems: list[str] = []
    if hello.version != VERSION:
        problems.append(f"it speaks version {hello.version} of the protocol, this harness version {VERSION}")
    if not hello.profiles:
        problems.append("it offers no profile")
    problems += [f"unknown capability {name!r} of the testee" for name in hello.capabilities if name not in TESTEE]
    if Profile.TRANSPORT in hello.profiles and "steps" not in hello.capabilities:
        problems.append(
            "profile transport needs the capability 'steps' of the testee: all requests of one `steps` happen in one turn"
        )
    for profile, offer in hello.profiles.items():
        if not offer.types:
            problems.append(f"profile {profile.value} offers no socket type")
        problems += [
            f"unknown capability {name!r} in profile {profile.value}; known are {', '.join(PROFILES[profile])}"
            for name in offer.capabilities
            if name not in PROFILES[profile]
        ]
    if Profile.RAW in hello.profiles:
        told = hello.profiles[Profile.RAW].limits
        problems += [
            f"profile raw: limits must tell {name!r}, {what}" for name, what in LAYOUT.items() if name not in told
        ]
    for name, policy in hello.policies.items():
        known = POLICIES.get(name)
        if known is None:
            problems.append(f"unknown policy {name!r}; known are {', '.join(POLICIES)}")
        elif policy.outcome not in known:
            problems.append(f"policy {name}: unknown outcome {policy.outcome!r}; known are {', '.join(known)}")
    return problems
