"""Programs executed alone: what each kind of operation shows is what plain system calls show."""

import os

import pytest
from fdspec.conformance.model import flags as f
from fdspec.fuzz import parse
from fdspec.fuzz.run.calls import execute_calls
from fdspec.fuzz.run.lanes import execute_many
from fdspec.fuzz.run.shown import Shown
from fdspec.fuzz.run.stand import Stand
from fdspec.impls import registry
from fdspec.impls.process import launch_of
from fdspec.impls.setup import Prepared, prepare

MESSAGE = ("python-socket", "reference", "linux")
TIMESTAMP = 29
"""SCM_TIMESTAMP, whose data are the time."""
DESCRIPTORS = ("reference", "python-socket-fds", "rust-vmm-sys-util")


def made(name):
    prepared = prepare(registry.find(name))
    if not isinstance(prepared, Prepared):
        pytest.fail(f"{name} cannot be had: {prepared.reason}")
    return Stand(launch_of(prepared))


@pytest.fixture(scope="module")
def stands():
    """Return a maker of stands, one for each implementation."""
    found = {}

    def of(name):
        if name not in found:
            found[name] = made(name)
        return found[name]

    yield of
    for stand in found.values():
        stand.close()


def ways(stand, text):
    """Execute a program carefully, alone, and in a lane beside others; return the three executions."""
    program = parse(text)
    other = parse(text.splitlines()[0] + '\nopen f0\nsend t0 "else" fds=f0\nopen g0\nsend p0 "other" fds=g0')
    return [
        execute_calls(stand, program, careful=True),
        execute_calls(stand, program, careful=False),
        execute_many(stand, [other, program, other])[1],
    ]


def shown(execution):
    """Return what the operations showed, without what only a careful look sees."""
    assert execution.trouble is None
    assert execution.left is not None
    assert (execution.left.stray, execution.left.leaked) == ((), ())
    return [
        Shown(
            one.value,
            one.error,
            data=one.data,
            files=one.files,
            control=tuple(each for each in one.control if each.type != TIMESTAMP),
        )
        for one in execution.shown
    ]


@pytest.mark.parametrize("name", MESSAGE)
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("kind", ["stream", "dgram", "seqpacket"])
def test_there_and_back(stands, name, side, kind):
    text = f"""program 1 message {kind} {side}
open f0
make file f1
make socket f2
send t0 "ab" "c" fds=f0,f1,f2,f0,t0
recv p0 16 control=36 as=q0_
open g0
make file g1
make socket g2
send p0 "back" fds=g0,q0_0,g1,g2,p0
take t0 3,8 room=5 as=r0_
"""
    for execution in ways(stands(name), text):
        seen = shown(execution)
        assert seen[3] == Shown(3)
        assert seen[4] == Shown(data=(b"abc",), files=("f0", "f1", "f2", "f0", "t0"))
        assert seen[8] == Shown(4)
        assert [b"".join(seen[9].data), seen[9].files] == [b"back", ("g0", "f0", "g1", "g2", "p0")]
        assert execution.left.open == ("f0", "f0", "f1", "f2", "g0", "g1", "g2", "p0", "t0")
        assert execution.left.released == {"f0": True, "g0": True}


def test_descriptions_and_numbers_are_looked_at_in_careful_runs(stands):
    text = """program 1 message stream client
open f0
send t0 "x" fds=f0
recv p0 1 control=24 flags=CLOEXEC as=q0_
send p0 "y" fds=q0_0
take t0 1 room=1 as=r0_
close f0
"""
    careful, plain, lane = ways(stands("python-socket"), text)
    assert [one.open for one in careful.shown] == [2, 2, None, None, 3, 2]
    assert (careful.shown[2].same, careful.shown[2].cloexec) == ((True,), (True,))
    assert (careful.shown[4].same, careful.shown[4].cloexec) == ((True,), (False,))
    assert careful.shown[2].controllen == 24
    assert careful.careful
    assert any("sendmsg" in line for line in careful.transcript)
    assert any("operation 2: recv p0" in line for line in careful.transcript)
    for other in (plain, lane):
        assert other.shown[2].same == ()
        assert not other.transcript


@pytest.mark.parametrize("name", MESSAGE)
def test_closed_names_stand_for_nothing(stands, name):
    text = """program 1 message stream client
open f0
close f0
close f0
close -1
send t0 "x" fds=f0
open f1
send t0 "y" fds=f0
close t0
send t0 "z"
recv p0 8 control=64 as=q0_
close p0
close p0
send p0 "w"
recv p0 8 control=64 as=q1_
close q0_3
"""
    for execution in ways(stands(name), text):
        seen = shown(execution)
        assert [one.error for one in seen[:5]] == ["", "", "EBADF", "EBADF", "EBADF"]
        assert [one.error for one in seen[5:]] == ["", "EBADF", "", "EBADF", "", "", "EBADF", "EBADF", "EBADF", "EBADF"]
        assert seen[9].data == (b"",)


@pytest.mark.parametrize("name", MESSAGE)
def test_limits_options_and_the_rest(stands, name):
    text = """program 1 message stream client
room 1
open f0
open f1
make socket f2
pair seqpacket t1 p1
close f0
pair seqpacket t1 p1
send t1 "packet"
room off
recv p1 3 flags=TRUNC
set p0 passcred 1
send t0 "credible" creds=own
recv p0 8 control=64 as=q0_
send t0 "x" creds=uid
option p0 timestamp 1
shutdown p0 rd
send t0 "more"
released f0
released f1
collect
set t0 sndbuf 8192
recv p0 8 via=read
send p0 "z" fds=-1:3
shutdown t0 rdwr
recv p0 8 via=recv
"""
    for execution in ways(stands(name), text):
        seen = shown(execution)
        assert [one.error for one in seen[:4]] == ["", "", "EMFILE", "EMFILE"]
        assert seen[4].error == "EMFILE"
        assert [one.error for one in seen[5:9]] == [""] * 4
        assert seen[9].data == (b"pac",)
        assert [(one.level, one.type, len(one.data)) for one in seen[12].control] == [(1, f.SCM_CREDENTIALS, 12)]
        assert seen[13].error in ("", "EPERM")  # who is root may say that it is somebody else
        assert seen[16].error == "EPIPE"
        assert seen[17] == Shown(1)
        assert seen[18].error == "ENOENT"
        assert seen[19] == Shown(0)
        assert seen[22].error == "EINVAL"


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_descriptors(stands, name):
    stand = stands(name)
    single = name != "python-socket-fds"
    text = """program 1 descriptors stream client
open f0
send t0 "a" fds=f0
recv p0 8 control=24 as=q0_
open g0
send p0 "b" fds=g0
take t0 8 room=1 as=r0_
"""
    text += (
        'send-one t0 f0 "c"\nrecv p0 8 control=24 as=q1_\nsend p0 "d" fds=g0\ntake-one t0 8 as=r1_\n' if single else ""
    )
    for execution in ways(stand, text):
        seen = shown(execution)
        assert seen[2] == Shown(data=(b"a",), files=("f0",))
        assert seen[5] == Shown(data=(b"b",), files=("g0",))
        if single:
            assert seen[7] == Shown(data=(b"c",), files=("f0",))
            assert seen[9] == Shown(data=(b"d",), files=("g0",))


def test_what_the_peer_shows_is_what_plain_calls_show(stands):
    """The fast way through the socket module, and the exact one, show the same, but for what only the exact one sees."""
    text = """program 1 message seqpacket client
open f0
send t0 "0123456789" fds=f0,f0,f0
recv p0 4,4 control=24 as=q0_
send t0 "next"
recv p0 2,0,9 flags=PEEK
recv p0 ""  flags=PEEK
recv p0 16 via=read
recv p0 16
recv p0 0 via=recv
send t0 ""
recv p0 5 control=40 as=q1_
"""
    text = text.replace('recv p0 ""  flags=PEEK\n', "")
    careful, plain, lane = ways(stands("python-socket"), text)
    assert shown(careful) == shown(plain) == shown(lane)
    seen = careful.shown[2]
    assert (seen.data, seen.files, seen.flags & (f.TRUNC | f.CTRUNC)) == (
        (b"0123", b"4567"),
        ("f0", "f0"),
        f.TRUNC | f.CTRUNC,
    )
    assert (
        [one.flags for one in plain.shown] == [one.flags for one in careful.shown] == [one.flags for one in lane.shown]
    )


def test_the_harness_keeps_nothing(stands):
    stand = stands("python-socket")
    text = """program 1 message stream client
open f0
open g0
send t0 "x" fds=f0,f0,t0
recv p0 1 control=64 as=q0_
send p0 "y" fds=p0,g0
pair dgram t1 p1
close t0
"""
    program = parse(text)
    execute_many(stand, [program] * 64)
    before = len(os.listdir("/proc/self/fd")) - stand.own_descriptors()
    for _ in range(5):
        execute_many(stand, [program] * 64)
    execute_calls(stand, program, careful=True)
    assert len(os.listdir("/proc/self/fd")) - stand.own_descriptors() == before
    own = stand.own_descriptors()
    stand.retire()
    assert stand.own_descriptors() == own - 3  # two pipes, and the look at its table
    assert len(os.listdir("/proc/self/fd")) - stand.own_descriptors() == before
