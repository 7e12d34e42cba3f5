"""One testee on trial: what `checkadapter` asks it, and what it looks at from outside."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from .constants import SOCKET_KINDS
from .manifest import Manifest
from .process import Testee
from .protocol import Reply
from .protocol.messages import Connect, Open, Request, Reset
from .protocol.results import FdResult, ResetResult
from .protocol.values import SocketType

PATIENCE = 5.0
NOT_OFFERED = "not offered"


class Wrong(Exception):
    """The adapter broke a rule; the message says what was expected and what came."""


def expect(condition: bool, text: str) -> None:
    """Raise `Wrong` with ``text`` unless ``condition`` holds."""
    if not condition:
        raise Wrong(text)


class Trial:
    """One testee on trial, with a directory of files to open and sockets to connect to."""

    def __init__(self, manifest: Manifest, testee: Testee, directory: Path) -> None:
        self.manifest = manifest
        self.testee = testee
        self.hello = testee.hello
        self.directory = directory
        self.file = directory / "file"
        self.file.write_bytes(b"content")

    def ask(self, request: Request, extra: float = 0.0) -> Reply:
        """Ask and return the reply, whatever it is; ``extra`` seconds are added to the deadline."""
        return self.testee.ask(request, extra=extra)

    def result(self, request: Request, kind: type, extra: float = 0.0) -> object:
        """Ask and return the result, of the type ``kind``. Raises `Wrong` where there is none."""
        reply = self.ask(request, extra)
        expect(
            isinstance(reply.result, kind),
            f"{request.__struct_config__.tag} must be answered with a result; it said {reply.error or reply.unsupported}",
        )
        return reply.result

    def offers(self, request: type[Request]) -> bool:
        """Whether the testee as a whole declared the capability that ``request`` needs."""
        return request.capability is None or request.capability in self.hello.capabilities

    def open(self) -> int:
        """Let the testee open the file, and return its number."""
        result = self.result(Open(path=str(self.file)), FdResult)
        assert isinstance(result, FdResult)  # noqa: S101 - checked by result()
        return result.fd

    def reset(self, *close: int) -> ResetResult:
        """Let the testee close these numbers and drop what is its own."""
        result = self.result(Reset(close=list(close)), ResetResult)
        assert isinstance(result, ResetResult)  # noqa: S101
        return result

    def table(self) -> dict[int, str]:
        """Return every open descriptor of the testee, by number, with what /proc says it refers to."""
        found: dict[int, str] = {}
        base = Path(f"/proc/{self.testee.pid}/fd")
        for entry in base.iterdir():
            found[int(entry.name)] = os.readlink(entry)  # noqa: PTH115 - the target is text, no path
        return found

    def refers(self, fd: int, path: Path) -> bool:
        """Whether the testee's number refers to the file at ``path``."""
        try:
            return os.path.samestat(os.stat(f"/proc/{self.testee.pid}/fd/{fd}"), path.stat())  # noqa: PTH116
        except OSError:
            return False

    def connect(self, kind: SocketType) -> tuple[int, socket.socket]:
        """Connect the testee; return its number and our end."""
        ours = self.directory / f"ours-{kind.value}"
        ours.unlink(missing_ok=True)
        sock = socket.socket(socket.AF_UNIX, SOCKET_KINDS[kind])
        try:
            sock.bind(str(ours))
            sock.settimeout(PATIENCE)
            if kind is SocketType.DGRAM:
                theirs = self.directory / "theirs"
                theirs.unlink(missing_ok=True)
                fd = self.new_socket(Connect(address=str(ours), type=kind, bind=str(theirs)))
                sock.connect(str(theirs))
                return fd, sock
            sock.listen(4)
            fd = self.new_socket(Connect(address=str(ours), type=kind))
            peer, _ = sock.accept()
            sock.close()
            peer.settimeout(PATIENCE)
        except TimeoutError:
            sock.close()
            raise Wrong("connect was answered, but no connection came") from None
        except BaseException:
            sock.close()
            raise
        return fd, peer

    def new_socket(self, request: Request) -> int:
        """Let the testee make a socket, and return its number. Raises `Wrong` where it is none."""
        result = self.result(request, FdResult)
        assert isinstance(result, FdResult)  # noqa: S101
        self.expect_socket(result.fd)
        return result.fd

    def expect_socket(self, fd: int) -> None:
        """Raise `Wrong` unless the number is an open socket of the testee's."""
        is_socket = self.table().get(fd, "").startswith("socket:")
        expect(is_socket, f"number {fd} is no open socket of the testee's")

    def flags(self, fd: int) -> int:
        """Return the open file description's flags and O_CLOEXEC, as /proc shows them."""
        text = Path(f"/proc/{self.testee.pid}/fdinfo/{fd}").read_text(encoding="ascii")
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("flags:")), 8)
