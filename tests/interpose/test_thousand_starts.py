"""The harness's own census after a thousand programs under the interposer: it is what it was before."""

from __future__ import annotations

import gc
import os
import resource
import socket
from pathlib import Path

import pytest
from fdspec.conformance.bench import Bench
from fdspec.conformance.interpose.calls import RECEIVE, Name
from fdspec.conformance.interpose.kernel import Kernel
from fdspec.conformance.interpose.launcher import EVERY, Interposer
from fdspec.conformance.interpose.perform import as_linux, receive
from fdspec.impls.forking import Forked
from fdspec.impls.process import launch_of
from fdspec.impls.protocol.values import Profile, SocketType
from fdspec.impls.registry import find
from fdspec.impls.setup import prepare
from interposed import children, die_with_us, ended, on_sockets, run_command, threads
from toolchains import in_c

FEW_MIB = 8


def table() -> dict[str, str]:
    """What this process has open, by number; without the number by which the listing is made."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = os.readlink(f"/proc/self/fd/{number}")
        except FileNotFoundError:
            continue
    return found


def census():
    gc.collect()
    return table(), threads(), children()


def memory() -> float:
    """Resident memory in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def stay_the_same(start, rounds):
    """Call ``start`` a few times, and then ``rounds`` times without a trace."""
    for _ in range(10):
        start()
    before, weight = census(), memory()
    for _ in range(rounds):
        start()
    assert census() == before
    assert memory() - weight < FEW_MIB


def test_a_thousand_programs(tmp_path):
    """Each executes a static program that sends itself a byte and receives it, which is held and carried out."""
    done = []
    interposer = Interposer(on_sockets(lambda held: done.append(1) or receive(held, as_linux), RECEIVE), RECEIVE)
    command = [*in_c(), "once"]

    def start():
        process = run_command(interposer, command, tmp_path, tmp_path / "log")
        assert ended(process) == 0
        interposer.stop()

    stay_the_same(start, 1000)
    assert len(done) == 1010


def test_and_three_hundred_forks_of_the_harness_itself(tmp_path):
    """As mutants run: without an exec, with everything held that the interposer knows."""
    done = []

    def body():
        ours, theirs = socket.socketpair()
        ours.send(b"x")
        if theirs.recv(1) != b"x":
            os._exit(3)

    interposer = Interposer(on_sockets(lambda held: done.append(1) or receive(held, as_linux), RECEIVE), EVERY)

    def start():
        with (tmp_path / "log").open("wb") as log:
            process = interposer.start(lambda cage: Forked(body, tmp_path, log, cage), die_with_us())
        assert ended(process) == 0, (tmp_path / "log").read_text()
        interposer.stop()

    stay_the_same(start, 300)
    assert len(done) == 310


@pytest.mark.parametrize("name", ["python-socket"])
def test_real_testees(name):
    """Fifty testees on one bench, each retired after a case in which a call of it failed."""
    kernel = Kernel()
    bench = Bench(launch_of(prepare(find(name))), kernel)

    def case():
        link = bench.begin(Profile.MESSAGE, SocketType.STREAM)
        fault = kernel.fails("EINTR", {Name.RECVMSG})
        link.peer.send(b"x")
        assert link.receive(data=1).data == b"x"
        assert fault.acted == 1
        assert not bench.settle().problems
        bench.retire()

    try:
        for _ in range(5):
            case()
        before = census()
        for _ in range(45):
            case()
        assert census() == before
    finally:
        bench.close()
    assert kernel.descriptors == 0
