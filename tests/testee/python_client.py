"""A testee written in Python, driven by JSON lines from outside, its descriptors counted from outside."""

import array
import json
import os
import select
import socket
import subprocess
from pathlib import Path
from typing import Any, Self

import fdspec.impls
import msgspec
from fdspec.impls.constants import CONSTANTS
from fdspec.impls.interpreters import find
from fdspec.impls.protocol.messages import REQUESTS

IMPLS = Path(fdspec.impls.__file__).parent
TESTEE = IMPLS / "testee" / "fdspec_testee.py"
TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
RESULTS = {request.__struct_config__.tag: request.result_type for request in REQUESTS}
PATIENCE = 20.0


def interpreters(oldest: int = 6) -> list[str]:
    """Return one interpreter for each Python 3 of this machine, from 3.``oldest`` on."""
    found = [find(f"==3.{minor}.*") for minor in range(oldest, 16)]
    return [str(one.path) for one in found if one is not None]


ALL = interpreters()
NEWER = interpreters(9)
"""Those that have socket.send_fds."""


def short(value: str) -> str:
    """Return an interpreter's path, or anything else, as it reads well in a test's name."""
    return Path(value).parts[-3] if "/" in value else value


def adapter(name: str) -> Path:
    return IMPLS / "catalogue" / name / "adapter.py"


def rights(*fds: int) -> list[dict[str, Any]]:
    return [{"level": "SOL_SOCKET", "type": "SCM_RIGHTS", "fds": list(fds)}]


def numbers(ancillary: list[dict[str, Any]]) -> list[int]:
    """Return the descriptors in the ancillary data of a reply, whichever way it shows them."""
    found = []
    for item in ancillary:
        assert (item["level"], item["type"]) == ("SOL_SOCKET", "SCM_RIGHTS")
        found += item["fds"] if "fds" in item else array.array("i", bytes.fromhex(item["data"]))
    return found


class Testee:
    """A testee as a child process. Every reply is checked against the shape that the protocol gives it."""

    __test__ = False
    silent = False
    """Whether it must have written nothing to standard error when it ends."""

    def __init__(self, interpreter: str, path: Path, directory: Path) -> None:
        self.begin([interpreter, "-I", str(TESTEE), str(path)], directory)

    def begin(self, command: list[str], directory: Path, environment: dict[str, str] | None = None) -> None:
        self.command = command
        self.environment = environment
        self.directory = directory
        self.start()

    def start(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            self.command,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=self.directory,
            bufsize=0,
            env=self.environment,
        )
        self.id = 0
        self.hello = self.get("hello", version=1, constants=CONSTANTS)
        self.baseline = self.descriptors()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.process.stdin.close()
        if kind is not None:
            self.process.kill()
        code = self.process.wait(PATIENCE)
        words = self.process.stderr.read() if self.silent else b""
        for pipe in (self.process.stdout, self.process.stderr):
            pipe.close()
        assert kind is not None or (code, words) == (0, b"")

    def check(self) -> None:
        """See that the last test left it clean; if not, start another for the next one, and say so."""
        try:
            assert self.descriptors() == self.baseline
        except BaseException as error:
            self.__exit__(type(error))
            self.start()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    def write(self, data: bytes) -> None:
        self.process.stdin.write(data)

    def read(self) -> dict[str, Any]:
        data = b""
        while not data.endswith(b"\n"):
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], "no reply"
            data += (piece := os.read(self.process.stdout.fileno(), 1 << 20))
            assert piece, f"the testee ended: {self.process.stderr.read().decode()}"
        assert data.count(b"\n") == 1
        return json.loads(data)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self.id += 1
        self.write(json.dumps({"id": self.id, "op": op, **fields}).encode() + b"\n")
        reply = self.read()
        assert reply.pop("id") == self.id
        assert len(reply) == 1
        assert set(reply) <= {"result", "error", "unsupported"}
        if "result" in reply:
            msgspec.convert(reply["result"], RESULTS[op])
        return reply

    def get(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask and return the result, which there must be."""
        reply = self.ask(op, **fields)
        assert "result" in reply, reply
        return reply["result"]

    def error(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask and return the error, which there must be."""
        reply = self.ask(op, **fields)
        assert "error" in reply, reply
        return reply["error"]

    def unsupported(self, op: str, **fields: Any) -> str:
        """Ask and return why it is unsupported, which it must be."""
        reply = self.ask(op, **fields)
        assert "unsupported" in reply, reply
        return reply["unsupported"]

    def steps(self, *steps: dict[str, Any], go_on: bool = False) -> list[dict[str, Any]]:
        return self.get("steps", steps=list(steps), go_on=go_on)["replies"]

    def descriptors(self, pid: int = 0) -> dict[int, str]:
        """Return the open descriptors of the testee (or another process) with what they refer to, from outside."""
        directory = Path(f"/proc/{pid or self.pid}/fd")
        return {int(entry.name): str(entry.readlink()) for entry in directory.iterdir()}

    def new(self) -> list[int]:
        """Return the numbers that were not open before the first case."""
        return sorted(set(self.descriptors()) - set(self.baseline))

    def reset(self, *close: int) -> None:
        """End the case, and see that nothing is left of it."""
        assert self.get("reset", close=list(close)) == {"failed": []}
        assert self.descriptors() == self.baseline


class Link:
    """A transport of the testee's and our end of it."""

    def __init__(self, testee, directory, role, **receiver):
        self.testee = testee
        path = str(directory / "link")
        self.peer = socket.socket(socket.AF_UNIX)
        self.peer.settimeout(10)
        if role == "client":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(path)
                listener.listen()
                self.number = testee.get("transport.connect", address=path, receiver=receiver)["transport"]
                self.peer.close()
                self.peer, _ = listener.accept()
                self.peer.settimeout(10)
        else:
            listener = testee.get("transport.listen", address=path, receiver=receiver)["transport"]
            self.peer.connect(path)
            self.number = testee.get("transport.accept", transport=listener)["transport"]

    def events(self, **fields):
        return self.testee.get("transport.events", transport=self.number, **fields)["events"]

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


def opened(testee, directory, *names):
    for name in names:
        (directory / name).touch()
    return [testee.get("open", path=str(directory / name))["fd"] for name in names]


def kinds(events):
    return [event["event"] for event in events]
