"""Programs within this process: what is right is said to be right, and each thing that can be wrong is found where it happens."""

from __future__ import annotations

import os
import resource
import socket

import pytest
from fdspec.fuzz import adapt, decode, is_valid, needs_of, parse
from fdspec.fuzz.inprocess import SUBJECTS, NotHere, apis, open_in_process
from fdspec.fuzz.inprocess.acts import ACTS
from fdspec.fuzz.inprocess.apis import Api, Lost, socket_receive, socket_send
from fdspec.fuzz.inprocess.runner import InProcess
from fdspec.fuzz.inprocess.stage import Stage
from fdspec.fuzz.judgement import Breach
from fdspec.fuzz.targets.seeds import programs
from fdspec.impls.protocol.values import Profile

HEAD = "program 1 message {kind} client\n"
SENT = 'open g0\nopen g1\nsend p0 "hello" fds=g0,g1\ntake t0 64 room=4 as=r0_'


def count() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def _nothing_left():
    before = count()
    yield
    assert count() == before


def with_calls(send=socket_send, receive=socket_receive, **more) -> InProcess:
    """A runner on the socket module with other calls."""
    runner = open_in_process("python-socket")
    (old,) = runner._stages.values()
    old.close()
    names = apis.apis_of("python-socket")[0].names
    runner._stages = {Profile.MESSAGE: Stage(Api(Profile.MESSAGE, names, send, receive, **more), ACTS)}
    return runner


def verdict(runner: InProcess, text: str, kind: str = "stream"):
    try:
        (found,) = runner.run([parse(HEAD.format(kind=kind) + text)])
        return found
    finally:
        runner.close()


def shows(runner: InProcess, text: str, kind: str = "stream"):
    found = verdict(runner, text, kind)
    assert found.violations, found
    return found.violations[0]


@pytest.mark.parametrize("subject", SUBJECTS)
def test_what_it_offers_can_be_executed_and_leaves_nothing(subject):
    runner = open_in_process(subject)
    try:
        for offer in runner.offers:
            for program in programs():
                fitting = adapt(program, offer)
                assert is_valid(fitting)
                assert needs_of(fitting) <= offer.names
                first, again = runner.run([fitting, fitting])
                assert first == again
    finally:
        runner.close()
        runner.close()


@pytest.mark.parametrize("subject", ["python-socket", "reference", "reference-libc"])
def test_thousands_of_programs_without_one_violation(subject):
    runner = open_in_process(subject)
    try:
        for offer in runner.offers:
            seeds = [bytes((one * 37 + at * at * 11) % 256 for at in range(one % 60 + 4)) for one in range(700)]
            made = [adapt(decode(seed.replace(b"\x07", b"\xfe")), offer) for seed in seeds]
            for program, found in zip(made, runner.run(made), strict=True):
                assert not found.violations, (found, program)
    finally:
        runner.close()


@pytest.mark.parametrize("kind", ["stream", "dgram", "seqpacket"])
def test_a_right_receive_is_right(kind):
    found = verdict(open_in_process("python-socket"), SENT, kind)
    assert found.violations == ()
    assert "take:came:2" in found.features
    assert "send:sent:with" in found.features


def lossy(sock, sizes, room, control, flags):
    (data,), fds, shown = socket_receive(sock, sizes, room, control, flags)
    for fd in fds[1:]:
        os.close(fd)
    return (data,), fds[:1], shown


def leaking(sock, sizes, room, control, flags):
    (data,), fds, shown = socket_receive(sock, sizes, room, control, flags)
    return (data,), fds[:1], shown | socket.MSG_CTRUNC


def backwards(sock, sizes, room, control, flags):
    pieces, fds, shown = socket_receive(sock, sizes, room, control, flags)
    return pieces, fds[::-1], shown


def other(sock, sizes, room, control, flags):
    pieces, fds, shown = socket_receive(sock, sizes, room, control, flags)
    os.dup2(fds[0], fds[1])
    return pieces, fds, shown


def strange(sock, sizes, room, control, flags):
    pieces, fds, shown = socket_receive(sock, sizes, room, control, flags)
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, fds[1])
    os.close(null)
    return pieces, fds, shown


def reopened(sock, sizes, room, control, flags):
    pieces, fds, shown = socket_receive(sock, sizes, room, control, flags)
    own = os.open(f"/proc/self/fd/{fds[0]}", os.O_WRONLY)
    os.dup2(own, fds[0])
    os.close(own)
    return pieces, fds, shown


def shorter(sock, sizes, room, control, flags):
    (data,), fds, shown = socket_receive(sock, sizes, room, control, flags)
    return (data[:-1],), fds, shown


def flagged(sock, sizes, room, control, flags):
    pieces, fds, shown = socket_receive(sock, sizes, room, control, flags)
    return pieces, fds, shown | socket.MSG_CTRUNC


def cut(sock, sizes, room, control, flags):
    pieces, fds, shown = socket_receive(sock, sizes, room, control, flags)
    return pieces, fds, shown | socket.MSG_TRUNC


def raising(sock, sizes, room, control, flags):
    received = socket_receive(sock, sizes, room, control, flags)
    for fd in received[1]:
        os.close(fd)
    raise ValueError("no")


def failing(sock, sizes, room, control, flags):
    raise OSError(11, "nothing")


def crying(sock, sizes, room, control, flags):
    pieces, fds, shown = socket_receive(sock, sizes, room, control, flags)
    for fd in fds:
        os.close(fd)
    raise Lost((pieces, (), shown))


@pytest.mark.parametrize(
    ("receive", "breach", "requirement"),
    [
        (lossy, Breach.HIDDEN_LOSS, "LC03"),
        (leaking, Breach.DESCRIPTORS, "T01"),
        (backwards, Breach.DESCRIPTORS, "LC05"),
        (other, Breach.IDENTITY, "LC05"),
        (strange, Breach.IDENTITY, "LC05"),
        (shorter, Breach.DATA, "V01"),
        (flagged, Breach.FLAGS, "T01"),
        (cut, Breach.FLAGS, "V14"),
        (raising, Breach.ERROR, "LC14"),
        (failing, Breach.ERROR, "V01"),
        (crying, Breach.DESCRIPTORS, "T01"),
    ],
)
def test_a_receive_that_is_wrong_is_found_where_it_is(receive, breach, requirement):
    found = shows(with_calls(receive=receive), SENT)
    assert (found.breach, found.requirement, found.at, found.operation) == (breach, requirement, 3, "take")
    assert found.place == "message/stream/testee"
    assert found.permitted
    assert found.message


def test_a_leak_is_found_at_its_operation_and_closed():
    def receive(sock, sizes, room, control, flags):
        received = socket_receive(sock, sizes, room, control, flags)
        os.dup(received[1][0])
        return received

    found = shows(with_calls(receive=receive), f"{SENT}\nclose r0_0")
    assert (found.breach, found.requirement, found.at, found.operation) == (Breach.LEAK, "LC01", 3, "take")


def test_a_description_of_its_own_is_found_by_a_careful_look():
    runner = with_calls(receive=reopened)
    try:
        found = runner.examine(parse(HEAD.format(kind="stream") + SENT))
        assert found.violations[0].breach is Breach.IDENTITY
        assert found.violations[0].requirement == "I01"
        assert len(found.transcript) == 4
    finally:
        runner.close()


def test_close_on_exec_is_asked_of_who_promises_it():
    found = shows(with_calls(cloexec=True), SENT)
    assert (found.breach, found.requirement) == (Breach.CLOEXEC, "LC06")


def test_flags_that_an_api_drops_are_missed():
    text = f"{HEAD.format(kind='stream').replace('message', 'descriptors')}{SENT} flags=CLOEXEC"
    assert shows_of(text, "python-socket-fds").breach is Breach.CLOEXEC


def shows_of(text: str, subject: str):
    runner = open_in_process(subject)
    try:
        (found,) = runner.run([parse(text)])
        return found.violations[0]
    finally:
        runner.close()


def test_what_real_implementations_do_wrong_is_found():
    lost = 'program 1 descriptors stream client\nopen g0\nsend p0 "hello" fds=g0,g0\ntake t0 9 room=1 as=r0_'
    assert shows_of(lost, "python-recipe").breach is Breach.HIDDEN_LOSS  # it drops msg_flags
    many = 'program 1 message stream client\nopen g0\nsend p0 "hello" fds=g0,g0\ntake t0 9 room=1 as=r0_'
    assert shows_of(many, "twisted-sendmsg").requirement == "LC04"  # CMSG_SPACE has room for one more
    peek = 'program 1 descriptors stream client\nsend p0 "hello"\ntake t0 9 flags=PEEK\ntake t0 9'
    assert shows_of(peek, "python-socket-fds").breach is Breach.ERROR  # recv_fds() takes flags and drops them


@pytest.mark.parametrize(
    ("text", "send", "requirement"),
    [
        ('open f0\nsend t0 "abc" fds=f0', lambda s, d, c, f: 1, "S16"),
        ('open f0\nsend t0 "abc" fds=f0', lambda s, d, c, f: (_ for _ in ()).throw(OSError(1, "no")), "S01"),
        ('send t0 "abc"', lambda s, d, c, f: (_ for _ in ()).throw(KeyError("no")), "LC14"),
        ('open f0\nclose f0\nsend t0 "abc" fds=f0', lambda s, d, c, f: s.sendmsg(d), "S06"),
        (f'open f0\nsend t0 "abc" fds={",".join(["f0"] * 254)}', lambda s, d, c, f: s.sendmsg(d), "A13"),
    ],
)
def test_a_send_that_is_wrong_is_found(text, send, requirement):
    assert shows(with_calls(send=send), text).requirement == requirement


def test_a_send_that_sends_twice_is_found_at_the_end():
    def twice(sock, data, control, flags):
        socket_send(sock, data, control, flags)
        return socket_send(sock, data, control, flags)

    found = shows(with_calls(send=twice), 'send t0 "abc"\nrecv p0 3')
    assert (found.breach, found.operation, found.at) == (Breach.DATA, "end", 2)


def test_a_stray_close_is_found():
    victim = []

    def receive(sock, sizes, room, control, flags):
        received = socket_receive(sock, sizes, room, control, flags)
        os.close(received[1][0])
        victim.append(received[1][0])
        return received[0], received[1][1:], received[2]

    runner = with_calls(receive=receive)
    found = shows(runner, 'open g0\nsend p0 "x" fds=g0\ntake t0 9 room=2 as=r0_')
    assert found.breach is Breach.HIDDEN_LOSS
    assert victim


@pytest.mark.parametrize("kind", ["stream", "dgram", "seqpacket"])
def test_the_limit_of_descriptors_is_the_testee_s_alone(kind):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = 'open g0\nsend p0 "x" fds=g0,g0,g0\nroom 1\ntake t0 9 room=4 as=r0_\nopen g1\nroom off\nsend p0 "y" fds=g1\ntake t0 9 room=4'
    found = verdict(open_in_process("python-socket"), text, kind)
    assert found.violations == ()
    assert "take:came:1:lost" in found.features
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_released_is_asked_of_the_pipe():
    text = 'open f0\nsend t0 "x" fds=f0\nclose f0\nreleased f0\nrecv p0 9 control=24 as=q0_\nclose q0_0\nreleased f0'
    runner = open_in_process("python-socket")
    try:
        program = parse(HEAD.format(kind="stream") + text)
        shown = runner.observe(program).shown
        assert [shown[3].value, shown[6].value] == [0, 1]
        assert runner.run([program])[0].violations == ()
    finally:
        runner.close()


def test_what_cannot_be_done_within_a_process_is_unsupported():
    runner = open_in_process("python-socket")
    try:
        texts = [
            'program 1 message stream server\nsend t0 "x"',
            "program 1 message stream client\nfail send EINTR",
            "program 1 message stream client system=macos",
            "program 1 transport stream client\nturn t0",
        ]
        assert all(one.unsupported and not one.violations for one in runner.run([parse(text) for text in texts]))
        assert runner.examine(parse(texts[3])).unsupported
        assert not runner.run([parse(HEAD.format(kind="stream") + SENT)])[0].unsupported
    finally:
        runner.close()
    with pytest.raises(NotHere, match="cannot be called within this process; known are"):
        open_in_process("linux")
    with pytest.raises(NotHere, match="interposed"):
        open_in_process("reference", interpose=True)
    with pytest.raises(NotHere, match="none of the profiles"):
        open_in_process("python-socket", profiles=["descriptors"])


def test_what_this_process_opens_between_programs_is_its_own():
    runner = open_in_process("python-socket")
    program = parse(HEAD.format(kind="stream") + SENT)
    try:
        kept = []
        for _ in range(5):
            kept.append(os.dup(0))
            assert runner.run([program, program])[1].violations == ()
            os.close(kept.pop())
    finally:
        runner.close()


def test_control_data_that_is_no_rights_passes():
    text = 'set t0 passcred 1\nset p0 passcred 1\nsend p0 "x" creds=own fds=p0:19\nrecv t0 8 control=56\nsend t0 "y" creds=own'
    assert verdict(open_in_process("python-socket"), text).violations == ()


def test_an_api_may_send_more_buffers_than_one_call_takes():
    program = f'{HEAD.format(kind="stream")}send t0 "a"x1025\nrecv p0 2000'
    for subject in ("reference", "reference-libc"):  # EMSGSIZE, and two calls, as each documents it
        runner = open_in_process(subject)
        try:
            assert runner.run([parse(program)])[0].violations == ()
        finally:
            runner.close()
