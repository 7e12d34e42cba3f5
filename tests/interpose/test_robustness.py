"""Death, signals and faults in the middle of a held call: nobody hangs, and nobody is left."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fdspec.conformance.interpose.calls import RECEIVE, Name
from fdspec.conformance.interpose.held import GO_ON, Fail, Return, Wait
from fdspec.conformance.interpose.launcher import Interposer
from fdspec.conformance.interpose.perform import as_linux, receive
from interposed import LIBC, Died, Stage, ended, failed, is_socket, numbers, on_sockets, run_command
from toolchains import in_c

SOON = 10.0
"""Seconds for what takes milliseconds, on a machine that is busy."""


class Held:
    """A handler under which the first receive on a socket waits for ever; the others are carried out."""

    def __init__(self, answer=None) -> None:
        self.came = threading.Event()
        self.tid = 0
        self.answer = answer or Wait()

    def __call__(self, held):
        if self.came.is_set() or held.name not in RECEIVE or not is_socket(held):
            return receive(held, as_linux) if held.name in RECEIVE else GO_ON
        self.tid = held.tid
        self.came.set()
        return self.answer


def one_receive() -> tuple[bytes | int, bytes | None]:
    """Receive what is there already: the data, or the errno; and then what is there afterwards."""
    ours, theirs = socket.socketpair()
    ours.send(b"x")
    try:
        return theirs.recv(9), None
    except OSError as fault:
        return fault.errno, theirs.recv(9, socket.MSG_DONTWAIT) if fault.errno != errno.ENOSYS else None


# --- death ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killable", [True, False])
def test_a_program_killed_while_its_call_waits(killable):
    """It is dead at once, its socket is closed for its peer, and the supervisor ends by itself."""
    ours, theirs = socket.socketpair()
    before = numbers()

    def body():
        ours.close()
        theirs.recv(1)

    with ours, Stage(on_sockets(lambda held: receive(held, as_linux), RECEIVE), killable=killable) as stage:
        child = stage.start(body)
        theirs.close()
        assert stage.waits.wait(SOON)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait(SOON) == -signal.SIGKILL
        assert select.select([ours], [], [], SOON)[0]
        assert ours.recv(1) == b""
        stage.check()
        stage.end()
        assert stage.interposer.supervisor is None
        assert numbers() == before - 1  # theirs


def test_a_program_killed_while_its_handler_looks():
    """What is asked of a process that is gone ends the call, and nothing else."""
    looked = []

    def killing(held):
        os.kill(held.process, signal.SIGKILL)
        with open(f"/proc/{held.process}/stat") as stat:
            pidfd = os.pidfd_open(held.process)
            assert select.select([pidfd], [], [], SOON)[0]
            os.close(pidfd)
        looked.append((held.waits, held.identity_of(0), stat.closed))
        return receive(held, as_linux)

    with Stage(on_sockets(killing, RECEIVE)) as stage:
        child = stage.start(one_receive)
        assert child.wait(SOON) == -signal.SIGKILL
        stage.check()
    assert looked == [(False, None, True)]


def test_a_child_of_the_program_killed_while_its_call_waits():
    """The program goes on, and the dead child's socket does not stay open in the harness."""
    ours, theirs = socket.socketpair()

    def body():
        ours.close()
        child = os.fork()
        if not child:
            theirs.recv(1)
            os._exit(1)
        theirs.close()
        os.waitpid(child, 0)
        return one_receive()[0]

    first = Held()

    def handler(held):
        if held.name in RECEIVE and is_socket(held) and not first.came.is_set():
            answer = receive(held, as_linux)  # holds the caller's socket open while it waits
            first.tid = held.tid
            first.came.set()
            return answer
        return receive(held, as_linux) if held.name in RECEIVE else GO_ON

    with ours, Stage(handler) as stage:
        child = stage.start(body)
        theirs.close()
        assert first.came.wait(SOON)
        os.kill(first.tid, signal.SIGKILL)
        assert child.result() == b"x"
        ours.settimeout(SOON)
        assert ours.recv(1) == b""
        stage.check()


def test_threads_that_come_and_go(tmp_path):
    """A thread that ends after its call, twenty of them, and then the program's own."""
    interposer = Interposer(on_sockets(lambda held: receive(held, as_linux), RECEIVE))
    process = run_command(interposer, [*in_c(), "threads"], tmp_path, tmp_path / "log")
    try:
        assert ended(process) == 0
        assert interposer.supervisor.held >= 21
        assert not interposer.supervisor.faults
    finally:
        interposer.stop()


def test_a_program_that_exits_while_one_of_its_threads_waits():
    handler = Held()
    ours, theirs = socket.socketpair()

    def body():
        reader, writer = os.pipe()
        threading.Thread(target=lambda: theirs.recv(1), daemon=True).start()
        del writer
        os.read(reader, 1)  # until the test kills it

    with ours, theirs, Stage(handler) as stage:
        child = stage.start(body)
        assert handler.came.wait(SOON)
        assert handler.tid != child.pid
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(SOON) == -signal.SIGTERM
        stage.check()


# --- the supervisor -------------------------------------------------------------------------------------------------


def test_a_supervisor_that_stops_while_a_call_waits():
    """The call fails with ENOSYS, and so does every later one; the program ends."""
    handler = Held()
    with Stage(handler) as stage:
        child = stage.start(one_receive)
        assert handler.came.wait(SOON)
        stage.interposer.stop()
        with pytest.raises(Died):  # as it can't write what it has to tell
            child.result()
        assert child.returncode


def test_a_stopped_supervisors_calls_fail_with_enosys():
    """And what is not held goes on, so that the program does."""
    handler = Held()
    with Stage(handler, RECEIVE) as stage:
        child = stage.start(one_receive)
        assert handler.came.wait(SOON)
        stage.interposer.stop()
        stage.interposer.stop()
        assert child.result() == (errno.ENOSYS, None)


def test_a_handler_that_raises():
    """The call goes on, the next ones are answered as ever, and the fault is kept."""
    raised = []

    def handler(held):
        if held.name in RECEIVE and is_socket(held) and not raised:
            raised.append(ValueError("a mistake of the harness"))
            raise raised[0]
        return receive(held, as_linux) if held.name in RECEIVE else GO_ON

    with Stage(handler) as stage:
        child = stage.start(lambda: (one_receive(), one_receive()))
        assert child.result() == ((b"x", None), (b"x", None))
        assert stage.interposer.supervisor.faults == raised
        assert [type(one) for one in stage.answers] == [Return]


HARNESS = """
import os, socket, sys, threading
from pathlib import Path
from fdspec.conformance.interpose.calls import RECEIVE
from fdspec.conformance.interpose.held import GO_ON, Wait
from fdspec.conformance.interpose.launcher import Interposer
from fdspec.conformance.interpose.supervisor import Supervisor
import interposed

dies = sys.argv[1] == "dies-with-it"
def handler(held):
    if held.name in RECEIVE and interposed.is_socket(held):
        print(held.tid, flush=True)
        return Wait()
    return GO_ON

def body():
    if not dies:
        interposed.LIBC.prctl(1, 0, 0, 0, 0)  # no parent-death signal
    import test_robustness
    os.write(int(sys.argv[2]), repr(test_robustness.one_receive()).encode())
    if dies:
        threading.Event().wait()

child = Interposer(handler, RECEIVE).start(lambda cage: interposed.Child(body, cage))
os.close(int(sys.argv[2]))
threading.Event().wait()
"""


@pytest.mark.parametrize("how", ["dies-with-it", "goes-on"])
def test_a_harness_that_is_killed_while_a_call_waits(how):
    """The program dies with it, by its parent-death signal; without that its call fails with ENOSYS, and it goes on."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", HARNESS, how, str(writer)], stdout=subprocess.PIPE, env=environment, pass_fds=[writer]
    ) as harness:
        os.close(writer)
        try:
            assert select.select([harness.stdout], [], [], SOON * 2)[0]
            pid = int(harness.stdout.readline())
            pidfd = os.pidfd_open(pid)
        finally:
            harness.kill()
    told = b""
    while select.select([reader], [], [], SOON)[0] and (piece := os.read(reader, 100)):
        told += piece
    os.close(reader)
    assert select.select([pidfd], [], [], SOON)[0], "the program is left"
    os.close(pidfd)
    failed_so = f"({errno.ENOSYS}, None)".encode()
    # The listener is closed a moment before the signal is sent, so a program that dies may see both.
    assert told in ((b"", failed_so) if how == "dies-with-it" else (failed_so,))


# --- signals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("killable", [True, False])
def test_a_fatal_signal_ends_a_call_that_waits(killable):
    handler = Held()

    def body():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        return one_receive()

    with Stage(handler, killable=killable) as stage:
        child = stage.start(body)
        assert handler.came.wait(SOON)
        os.kill(child.pid, signal.SIGTERM)
        assert child.wait(SOON) == -signal.SIGTERM
        stage.check()


@pytest.mark.parametrize("restart", [True, False])
@pytest.mark.parametrize("killable", [True, False])
def test_a_signal_with_a_handler_in_a_call_that_waits(killable, restart):
    """Killable: the call keeps waiting and the handler runs afterwards. Otherwise it is interrupted or made again, as ever."""
    ours, theirs = socket.socketpair()
    again = threading.Event()

    def handler(held):
        if held.name not in RECEIVE or not is_socket(held):
            return GO_ON
        answer = receive(held, as_linux)
        if isinstance(answer, Wait) and stage.waits.is_set():
            again.set()
        return answer

    def body():
        caught = []
        signal.signal(signal.SIGUSR1, lambda number, _frame: caught.append(number))
        signal.siginterrupt(signal.SIGUSR1, not restart)
        buffer = ctypes.create_string_buffer(9)
        theirs_fd = theirs.fileno()
        result = LIBC.recv(theirs_fd, buffer, 9, 0)
        code = failed(result)
        return result, code, caught

    with ours, theirs, Stage(handler, killable=killable) as stage:
        child = stage.start(body)
        assert stage.waits.wait(SOON)
        os.kill(child.pid, signal.SIGUSR1)
        if killable:
            ours.send(b"x")
            assert child.result() == (1, 0, [signal.SIGUSR1])
        elif restart:
            assert again.wait(SOON)
            ours.send(b"x")
            assert child.result() == (1, 0, [signal.SIGUSR1])
        else:
            assert child.result() == (-1, errno.EINTR, [signal.SIGUSR1])
            ours.send(b"x")
            assert theirs.recv(9) == b"x"  # nothing was taken for the call that was given up
        stage.check()


def test_signals_to_the_harness_do_not_disturb_its_answers():
    """Ten thousand signals while calls are answered: none is lost, and Python's handler runs in the main thread."""
    came = []
    previous = signal.signal(signal.SIGALRM, lambda number, frame: came.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        with Stage(on_sockets(lambda held: receive(held, as_linux), RECEIVE)) as stage:
            assert stage.run(lambda: [one_receive()[0] for _ in range(2000)]) == [b"x"] * 2000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert came


# --- other programs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["exec", "spawn"])
def test_programs_that_start_programs(how, tmp_path):
    """execve in the program itself, posix_spawn, vfork: the memory that is read and written is the new image's."""
    done = []

    def handler(held):
        if held.name is not Name.RECVMSG:
            return GO_ON
        answer = receive(held, as_linux)
        done.append((held.process, answer))
        return answer

    interposer = Interposer(handler)
    process = run_command(interposer, [*in_c(), how], tmp_path, tmp_path / "log")
    try:
        assert ended(process) == 0
        assert [answer for _, answer in done] == [Return(1)] * (2 if how == "exec" else 3)
        assert len({pid for pid, _ in done}) == (1 if how == "exec" else 3)
        assert not interposer.supervisor.faults
    finally:
        interposer.stop()


def test_nothing_of_the_harness_is_left_in_a_program(tmp_path):
    """What is executed has the three standard streams and nothing else; it may not gain privileges, and has one filter."""
    code = """if True:
        import os
        told = [line.split() for line in open("/proc/self/status") if line.startswith(("NoNewPrivs", "Seccomp"))]
        os.write(1, repr((sorted(map(int, os.listdir("/proc/self/fd")))[:-1], told)).encode())
    """
    interposer = Interposer()
    process = run_command(interposer, [sys.executable, "-I", "-c", code], tmp_path, tmp_path / "log")
    try:
        told = os.read(process.stdout.fileno(), 1000).decode()
    finally:
        assert ended(process) == 0, Path(tmp_path / "log").read_text()
        interposer.stop()
    assert told == "([0, 1, 2], [['NoNewPrivs:', '1'], ['Seccomp:', '2'], ['Seccomp_filters:', '1']])"


def test_an_errno_is_an_errno():
    handler = Held(Fail(errno.ETOOMANYREFS))
    with Stage(handler) as stage:
        assert stage.run(one_receive) == (errno.ETOOMANYREFS, b"x")
