"""Where seccomp user notification is not to be had: the cases say so with the reason, everything else runs, the run ends well."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fdspec.conformance.interpose import memory
from fdspec.conformance.interpose.bpf import ALLOW
from fdspec.conformance.interpose.calls import ARCHITECTURES, Name, architecture
from fdspec.conformance.interpose.probe import WHY, unavailable
from interposed import LIBC, Stage, bare

FDSPEC = str(Path(sys.executable).with_name("fdspec"))
PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER, SECCOMP_RET_ERRNO = 38, 1, 0x00050000


class Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def forbid(call: str, number: int) -> None:
    """Let the system call named ``call`` fail with ``number`` in this process from now on, as a container's filter does."""
    known = architecture()
    rows = [
        (0x20, 0, 0, 0),
        (0x15, 0, 1, getattr(known, call)),
        (0x06, 0, 0, SECCOMP_RET_ERRNO | number),
        (0x06, 0, 0, ALLOW),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
    described = Filter(len(rows), ctypes.addressof(code))
    assert LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    assert LIBC.syscall(known.seccomp, SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(described)) == 0


def run_fdspec(directory: Path, *arguments: str) -> tuple[int, str, list[dict]]:
    command = [FDSPEC, "run", "--no-config", *arguments, "--out", str(directory / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=directory, check=False)
    records = directory / "out" / "records.jsonl"
    lines = records.read_text().splitlines() if records.exists() else []
    return done.returncode, done.stdout + done.stderr, [json.loads(line) for line in lines]


def test_here_it_is_available():
    assert unavailable() == ""


def test_under_another_listener(tmp_path):
    """One process tree has one listener. The interposer's cases are unsupported, the others are what they are without."""

    def body():
        return unavailable(), run_fdspec(tmp_path, "-i", "python-socket", "-k", "faults.*", "-k", "send.one")

    with Stage(names={Name.RECVMMSG}) as stage:
        why, (code, said, records) = stage.run(body)
    assert why == WHY[errno.EBUSY]
    assert code == 0, said
    verdicts = [one for one in records if one["record"] == "verdict"]
    faulty = [one for one in verdicts if one["case"].startswith("faults.")]
    others = [one for one in verdicts if one["case"] == "send.one"]
    assert {one["verdict"] for one in faulty} == {"unsupported"}
    assert all(WHY[errno.EBUSY] in json.dumps(one) for one in faulty)
    assert {one["verdict"] for one in others} == {"pass"}
    assert len(others) == 3


@pytest.mark.parametrize(
    ("call", "number"), [("seccomp", errno.EPERM), ("seccomp", errno.ENOSYS), ("pidfd_getfd", errno.EPERM)]
)
def test_where_a_filter_forbids_it(call, number):
    def body():
        forbid(call, number)
        before = len(os.listdir("/proc/self/fd"))
        return unavailable(), len(os.listdir("/proc/self/fd")) - before

    assert bare(body) == (WHY[number], 0)


def test_an_old_kernel():
    """EINVAL, as a kernel without listeners has it."""

    def body():
        forbid("seccomp", errno.EINVAL)
        return unavailable()

    assert bare(body) == WHY[errno.EINVAL]


def test_without_pidfd_for_threads(monkeypatch):
    """Before Linux 6.9 a thread has no pidfd; the process's serves."""
    original: Callable = os.pidfd_open

    def older(pid, flags=0):
        if flags:
            raise OSError(errno.EINVAL, "Invalid argument")
        return original(pid)

    monkeypatch.setattr(os, "pidfd_open", older)
    assert unavailable() == ""


def test_on_an_architecture_that_is_not_known(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert "riscv64" not in ARCHITECTURES
    assert unavailable() == "the interposer does not know the architecture riscv64"


def test_a_held_call_that_nobody_may_answer(monkeypatch):
    """The memory of another process cannot be had, as under a strict ptrace policy: the reason is told, nothing hangs."""

    def refuse(*_arguments):
        ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(memory, "_copy_in", refuse)
    assert unavailable() == "a held call is not carried out here: the child that tried ended with 0"
