"""The raw testee in its three builds, driven by JSON lines, with control messages built for its own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from python_client import Testee

OFFSET = 900  # the conversation is led at numbers from here on


class Raw(Testee):
    """A raw testee as a child process. Every result is checked against the shape that the protocol gives it."""

    silent = True

    def __init__(self, binary: Path, directory: Path) -> None:
        environment = {"ASAN_OPTIONS": "quarantine_size_mb=1"}  # what was freed is not to look like a leak
        self.begin([str(binary)], directory, environment)
        self.limits = self.hello["profiles"]["raw"]["limits"]

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
