"""Real executions of the reference, damaged in every way: each damage has to be named for what it is."""

import random
from dataclasses import dataclass

import pytest
from fdspec.conformance.model import Open, Receive, Send
from fdspec.conformance.model import flags as f
from fdspec.conformance.model.operations import Call
from fdspec.fuzz import End, end_of, parse
from fdspec.fuzz.engines.mutate import fresh
from fdspec.fuzz.operations import Make, SendOne, SetMore, Take, TakeOne
from fdspec.fuzz.oracle.calls import judge_calls
from fdspec.fuzz.run.shown import CLOSED, UNKNOWN, Control, Shown
from fdspec.fuzz.runner import open_runner
from fdspec.impls.protocol.values import ObjectKind, Profile
from msgspec.structs import replace

RANDOM = 120
_FAILED = Shown(error="ENOBUFS", kind="OSError", message="no")
TEXTS = (
    """program 1 message stream client
    open f0
    make file f1
    send t0 "first" fds=f0,f1
    recv p0 16 control=24 as=q0_
    send p0 "abc" "d"*5000 fds=q0_0,p0
    take t0 2,1,8 room=2 as=r0_
    take t0 5000 flags=PEEK
    take t0 5000
    take t0 1
    close r0_1
    close r0_1
    recv p0 1 control=64""",
    """program 1 message seqpacket client
    open g0
    open g1
    send p0 "packet" fds=g0,g1
    take t0 3 room=2 flags=CLOEXEC as=r0_
    set p0 passcred 1
    send t0 "x" fds=r0_1,r0_0,t0
    recv p0 8 control=128 as=q0_
    send t0 "y" fds=-1
    shutdown t0 wr
    send t0 "z" fds=r0_0 flags=NOSIGNAL
    released g0""",
    """program 1 descriptors dgram client
    open g0
    make file g1
    send p0 "packet" fds=g0,g1,g0
    take t0 16 room=3 as=r0_
    send p0 "more" fds=g1,g0,g1
    take t0 16 room=2 as=r1_
    send-one t0 r0_1 "back"
    recv p0 2,2 control=20 as=q0_
    send p0 "one" fds=g1
    take-one t0 8 as=r2_
    room 1
    send p0 "limit" fds=g0,g1
    take t0 8 room=2 as=r3_
    room off""",
    """program 1 message stream client
    set t0 passcred 1
    open g0
    open g1
    send p0 "ab" fds=g0,g1
    recv t0 2 control=1024 as=r0_
    send p0 "c"
    recv t0 2 control=28
    set t0 sndbuf 4608
    send t0 "abc"*30000 fds=r0_0
    recv p0 1000 control=20 as=q0_
    recv p0 100000 control=20""",
)


@pytest.fixture(scope="module")
def runner():
    found = open_runner("reference", profiles=[Profile.MESSAGE, Profile.DESCRIPTORS])
    yield found
    found.close()


@pytest.fixture(scope="module")
def executions(runner):
    """Careful executions with the facts to judge them by; what the model does not know is left out."""
    rng = random.Random(7)
    programs = [parse(text.replace("\n    ", "\n")) for text in TEXTS]
    programs += [fresh(runner.offers[index % 2], rng, 10) for index in range(RANDOM)]
    plain = [one for one in programs if not any(map(_is_beyond, one.operations))]
    done = [(runner.observe(one), runner.facts(one.profile)) for one in plain]
    return [
        one
        for one in done
        if None not in one[0].shown and not any("vague" in each for each in judge_calls(*one).features)
    ]


def _is_beyond(op):
    return isinstance(op, SetMore) or (isinstance(op, Make) and op.kind is ObjectKind.SOCKET)


def test_undamaged_they_are_as_they_have_to_be(executions):
    assert len(executions) > RANDOM // 2
    for execution, facts in executions:
        assert judge_calls(execution, facts).violations == (), execution.program


# ---- damage to what an operation showed --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Damage:
    """``of`` gives a damaged Shown, or None where this damage is none. ``breaches``: what it may be named."""

    of: object
    breaches: tuple


def _receives(op):
    return isinstance(op, (Receive, Take, TakeOne))


def _whole(op, shown):
    """Whether something was received of which nothing was lost."""
    return _receives(op) and not shown.failed and not (shown.flags or 0) & f.CTRUNC


def _files(op, shown, files):
    rest = {
        "same": shown.same[: len(files)],
        "cloexec": shown.cloexec[: len(files)],
        "open": None,
    }
    return replace(shown, files=files, **rest) if _whole(op, shown) and shown.files else None


def _drop(op, shown):
    return _files(op, shown, shown.files[:-1])


def _swap(op, shown):
    turned = (*shown.files[1:], shown.files[0]) if shown.files else ()
    return _files(op, shown, turned) if turned != shown.files else None


def _stranger(op, shown):
    return _files(op, shown, (*shown.files[:-1], UNKNOWN)) if shown.files else None


def _closed(op, shown):
    own = end_of(op.name) is End.TESTEE if _receives(op) else False
    return _files(op, shown, (*shown.files[:-1], CLOSED)) if own and shown.files else None


def _copied(op, shown):
    known = shown.files and True in shown.same
    return replace(shown, same=tuple(not one if one else one for one in shown.same)) if known else None


def _twice(op, shown):
    return replace(shown, data=tuple(one * 2 for one in shown.data)) if any(shown.data) else None


def _flip(op, shown):
    whole = b"".join(shown.data)
    if not whole:
        return None
    at = next(index for index, one in enumerate(shown.data) if one)
    turned = bytes([shown.data[at][0] ^ 1]) + shown.data[at][1:]
    return replace(shown, data=(*shown.data[:at], turned, *shown.data[at + 1 :]))


def _cut(op, shown):
    return replace(shown, data=(*shown.data[:-1], shown.data[-1][:-1])) if shown.data and shown.data[-1] else None


def _moved(op, shown):
    if len(shown.data) < 2 or not shown.data[0] or not shown.data[1]:
        return None
    first, second, *rest = shown.data
    return replace(shown, data=(first[:-1], first[-1:] + second, *rest))


def _hidden(op, shown):
    flags = (shown.flags or 0) & ~f.CTRUNC
    lost = not shown.failed and (shown.flags or 0) & f.CTRUNC and not (op.flags & f.PEEK) and not shown.control
    return replace(shown, flags=flags) if _receives(op) and lost and sum(_sizes(op)) else None


def _uncut(op, shown):
    cut = not shown.failed and (shown.flags or 0) & f.TRUNC
    return replace(shown, flags=shown.flags & ~f.TRUNC) if _receives(op) and cut else None


def _flagged(op, shown):
    return replace(shown, flags=shown.flags | f.ERRQUEUE) if _whole(op, shown) and shown.flags is not None else None


def _error(op, shown):
    odd = op.flags & ~f.NOSIGNAL if _receives(op) else 0
    plain = _whole(op, shown) and not odd and sum(_sizes(op)) and len(_sizes(op)) <= f.IOV_MAX
    room = getattr(op, "room", 0)
    refusable = isinstance(room, int) and room > f.SCM_MAX_FD
    one = isinstance(op, TakeOne) and not shown.files
    cut = (shown.flags or 0) & f.TRUNC or shown.flags is None
    return replace(_FAILED, open=shown.open) if plain and not (refusable or cut or one) else None


def _success(op, shown):
    return replace(shown, error="", kind="", message="", value=1) if shown.failed and isinstance(op, Send) else None


def _other_errno(op, shown):
    plain = isinstance(op, (Receive, Take)) and not op.flags and sum(_sizes(op)) and len(_sizes(op)) <= f.IOV_MAX
    return replace(shown, error="EIO") if plain and shown.error == "EAGAIN" else None


def _count(op, shown):
    return (
        replace(shown, value=shown.value + 1) if isinstance(op, (Send, SendOne)) and shown.value is not None else None
    )


def _inheritable(op, shown):
    own = _receives(op) and end_of(op.name) is End.TESTEE
    return replace(shown, cloexec=tuple(not one for one in shown.cloexec)) if own and True in shown.cloexec else None


def _more(op, shown):
    return None if shown.open is None else replace(shown, open=shown.open + 1)


def _fewer(op, shown):
    return None if not shown.open else replace(shown, open=shown.open - 1)


def _other_credentials(op, shown):
    turned = tuple(Control(one.level, one.type, one.data[:4] + b"\x07" * (len(one.data) - 4)) for one in shown.control)
    return replace(shown, control=turned) if turned and turned != shown.control else None


def _no_object(op, shown):
    return replace(shown, value=1 - shown.value) if type(op).__name__ == "Released" and shown.value in (0, 1) else None


def _sizes(op):
    return op.room if isinstance(op, Receive) else op.sizes


DAMAGE = {
    "a descriptor dropped": Damage(_drop, ("descriptors", "hidden-loss")),
    "two swapped": Damage(_swap, ("descriptors", "identity")),
    "another file": Damage(_stranger, ("identity", "descriptors")),
    "closed at once": Damage(_closed, ("stray-close",)),
    "a copy of its own": Damage(_copied, ("identity",)),
    "data doubled": Damage(_twice, ("data",)),
    "a bit turned": Damage(_flip, ("data",)),
    "a byte lost": Damage(_cut, ("data",)),
    "a byte in the next buffer": Damage(_moved, ("data",)),
    "a loss hidden": Damage(_hidden, ("hidden-loss", "descriptors")),
    "a cut hidden": Damage(_uncut, ("hidden-loss", "data")),
    "a flag too many": Damage(_flagged, ("flags",)),
    "an error for nothing": Damage(_error, ("error",)),
    "success for an error": Damage(_success, ("error",)),
    "another errno": Damage(_other_errno, ("error",)),
    "a wrong count": Damage(_count, ("result",)),
    "inheritable": Damage(_inheritable, ("cloexec",)),
    "one more open": Damage(_more, ("leak",)),
    "one less open": Damage(_fewer, ("stray-close",)),
    "other credentials": Damage(_other_credentials, ("control",)),
    "released, or not": Damage(_no_object, ("leak", "stray-close", "descriptors")),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_where_it_is(executions, name):
    damage, found = DAMAGE[name], 0
    for execution, facts in executions:
        for at, (op, shown) in enumerate(zip(execution.program.operations, execution.shown, strict=True)):
            damaged = damage.of(op, shown)
            if damaged is None:
                continue
            found += 1
            shows = (*execution.shown[:at], damaged, *execution.shown[at + 1 :])
            violations = judge_calls(replace(execution, shown=shows), facts).violations
            assert violations, (execution.program, at, damaged)
            assert (violations[0].at, str(violations[0].breach) in damage.breaches) == (at, True), (
                violations[0],
                execution.program,
                damaged,
            )
    assert found >= 2, f"{name} was done {found} times"


# ---- damage to the account ---------------------------------------------------------------------------------------------

ACCOUNTS = {
    "one more": (lambda left: replace(left, open=tuple(sorted((*left.open, "t0")))), "leak"),
    "a stranger": (lambda left: replace(left, open=(UNKNOWN, *left.open)), "leak"),
    "one less": (lambda left: replace(left, open=left.open[1:]) if left.open else None, "stray-close"),
    "left after the reset": (lambda left: replace(left, leaked=("f0",)), "leak"),
    "closed by nobody": (lambda left: replace(left, stray=("number 7 was closed",)), "stray-close"),
}


@pytest.mark.parametrize("name", ACCOUNTS)
def test_a_damaged_account_is_named(executions, name):
    damage, breach = ACCOUNTS[name]
    found = 0
    for execution, facts in executions:
        left = damage(execution.left)
        if left is None:
            continue
        found += 1
        violations = judge_calls(replace(execution, left=left), facts).violations
        assert [str(one.breach) for one in violations] == [breach], execution.program
        assert violations[0].operation == "end"
    assert found > RANDOM // 2


def test_an_object_that_stays_held_is_named(executions):
    found = 0
    for execution, facts in executions:
        opened = [op.name for op in execution.program.operations if isinstance(op, Open)]
        sent = any(isinstance(op, (Send, SendOne)) for op in execution.program.operations)
        if opened and not sent:
            found += 1
            left = replace(execution.left, released={opened[0]: False})
            (violation,) = judge_calls(replace(execution, left=left), facts).violations
            assert violation.breach == "leak"
    assert found


def test_via_other_calls_nothing_is_asked_of_control_data(executions):
    assert any(
        isinstance(op, Receive) and op.call is not Call.RECVMSG
        for execution, _ in executions
        for op in execution.program.operations
    )
