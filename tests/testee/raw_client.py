"""The raw testee in its three builds, driven by JSON lines, with control messages built for its own layout."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path
from typing import Any, Self

import msgspec
from fdspec.impls.constants import CONSTANTS
from fdspec.impls.protocol.messages import REQUESTS

RESULTS = {request.__struct_config__.tag: request.result_type for request in REQUESTS}
PATIENCE = 20.0
OFFSET = 900  # the conversation is led at numbers from here on


class Raw:
    """A raw testee as a child process. Every result is checked against the shape that the protocol gives it."""

    def __init__(self, binary: Path, directory: Path) -> None:
        pipe = subprocess.PIPE
        environment = {"ASAN_OPTIONS": "quarantine_size_mb=1"}  # what was freed is not to look like a leak
        self.process = subprocess.Popen(
            [binary], stdin=pipe, stdout=pipe, stderr=pipe, cwd=directory, bufsize=0, env=environment
        )
        self.directory = directory
        self.id = 0
        self.hello = self.get("hello", version=1, constants=CONSTANTS)
        self.limits = self.hello["profiles"]["raw"]["limits"]
        self.baseline = self.table()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self.process.stdin.close()
        if kind is not None:
            self.process.kill()
        code = self.process.wait(PATIENCE)
        words = self.process.stderr.read()
        self.process.stdout.close()
        self.process.stderr.close()
        assert kind is not None or (code, words) == (0, b"")

    @property
    def pid(self) -> int:
        return self.process.pid

    def write(self, line: bytes) -> None:
        self.process.stdin.write(line)

    def read(self) -> dict[str, Any]:
        data = b""
        while not data.endswith(b"\n"):
            assert select.select([self.process.stdout], [], [], PATIENCE)[0], "no reply"
            data += (piece := os.read(self.process.stdout.fileno(), 1 << 20))
            assert piece, f"the testee ended: {self.process.stderr.read().decode()}"
        return json.loads(data)

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self.id += 1
        self.write(json.dumps({"id": self.id, "op": op, **fields}).encode() + b"\n")
        reply = self.read()
        assert reply.pop("id") == self.id
        assert len(reply) == 1
        if "result" in reply:
            msgspec.convert(reply["result"], RESULTS[op])
        return reply

    def get(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask and return the result, which there must be."""
        reply = self.ask(op, **fields)
        assert "result" in reply, reply
        return reply["result"]

    def error(self, op: str, **fields: Any) -> dict[str, Any]:
        reply = self.ask(op, **fields)
        assert "error" in reply, reply
        return reply["error"]

    def pair(self, kind: str = "stream") -> list[int]:
        return self.get("pair", type=kind)["fds"]

    def open(self, path: Path | str = "/dev/null", *flags: str) -> int:
        return self.get("open", path=str(path), flags=list(flags) or ["O_RDONLY"])["fd"]

    def call(self, name: str, fd: int = -1, **fields: Any) -> dict[str, Any]:
        return self.get("raw_call", name=name, fd=fd, **fields)

    def rights(self, *fds: int) -> dict[str, Any]:
        """Return the fields of a message that carries ``fds`` in one SCM_RIGHTS."""
        word, header, align = (self.limits[name] for name in ("word", "header", "align"))
        head = (header + 4 * len(fds)).to_bytes(word, "little") + (1).to_bytes(4, "little") * 2
        size = header + -(-4 * len(fds) // align) * align
        offsets = {str(header + 4 * index): fd for index, fd in enumerate(fds)}
        return {"control": {"data": head.hex(), "size": size}, "control_fds": offsets}

    def send(self, fd: int, *fds: int, data: str = "78", **fields: Any) -> dict[str, Any]:
        message = {"iov": [{"data": data}], **(self.rights(*fds) if fds else {})}
        return self.get("raw_sendmsg", fd=fd, messages=[message], **fields)

    def receive(self, fd: int, message: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
        message = message or {"iov": [{"size": 8}], "control": {"size": 64}}
        return self.get("raw_recvmsg", fd=fd, messages=[message], **fields)

    def numbers(self, message: dict[str, Any]) -> list[int]:
        """Return the descriptors in the only control message of a received message."""
        header, data = self.limits["header"], bytes.fromhex(message["control"])
        length = int.from_bytes(data[: self.limits["word"]], "little")
        return [int.from_bytes(data[at : at + 4], "little") for at in range(header, length, 4)]

    def table(self, pid: int = 0) -> dict[int, str]:
        """Return the open descriptors of the testee (or another process) with what they refer to, from outside."""
        return {int(one.name): str(one.readlink()) for one in Path(f"/proc/{pid or self.pid}/fd").iterdir()}

    def reset(self, *close: int) -> None:
        """End the case, and see that nothing is left of it."""
        assert self.get("reset", close=list(close)) == {"failed": []}
        assert self.table() == self.baseline
