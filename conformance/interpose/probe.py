"""Whether the interposer works here, found out by using it once on a child that passes itself a byte."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from ...impls.forking import Forked
from .calls import Name
from .held import GO_ON, Answer, Held
from .launcher import Interposer, NotToBeHad
from .perform import as_linux, receive

PATIENCE = 10.0
WHY = {
    errno.EBUSY: "another program holds the seccomp listener of this process and its children (EBUSY)",
    errno.EINVAL: "this kernel has no seccomp user notification with a listener (EINVAL; Linux 5.9 is needed)",
    errno.ENOSYS: "this kernel has no seccomp filters, or not the calls that go with them (ENOSYS)",
    errno.EPERM: "something forbids seccomp filters or pidfd_getfd here, a container perhaps (EPERM)",
    errno.EACCES: "something forbids seccomp filters here, a container perhaps (EACCES)",
}


def unavailable() -> str:
    """Return why system calls cannot be interposed here, in one line; '' where they can."""
    answered: list[Answer] = []

    def answer(held: Held) -> Answer:
        if held.name is not Name.RECVMSG:
            return GO_ON
        answered.append(receive(held, as_linux))
        return answered[-1]

    try:
        interposer = Interposer(answer)
    except NotToBeHad as reason:
        return str(reason)
    try:
        code, faults = _tried(interposer)
    except OSError as fault:
        return WHY.get(fault.errno or 0, str(fault))
    if faults:
        return f"a held call cannot be answered here: {faults[0]}"
    if code or not answered or answered[0] == GO_ON:
        return f"a held call is not carried out here: the child that tried ended with {code}"
    return ""


def _tried(interposer: Interposer) -> tuple[int | str, list[Exception]]:
    """Return how a child ended that makes a call, and what went wrong in answering it. Raises OSError."""
    with tempfile.TemporaryDirectory(prefix="fdspec-") as name, (Path(name) / "log").open("wb") as log:
        child = interposer.start(lambda cage: Forked(_use, Path(name), log, cage))
        try:
            code: int | str = child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            os.kill(child.pid, signal.SIGKILL)
            child.wait()
            code = f"a kill, after {PATIENCE:g} s"
        faults = [] if interposer.supervisor is None else interposer.supervisor.faults
        interposer.stop()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
    return code, faults


def _use() -> None:
    ours, theirs = socket.socketpair()
    ours.send(b"x")
    if theirs.recvmsg(1, 64)[0] != b"x":
        os._exit(2)
