"""The contract of a transport: what it permits, and for everything that it does not, an execution that shows that."""

import pytest
from fdspec.fuzz import everything, parse
from fdspec.fuzz.oracle.facts import Facts
from fdspec.fuzz.oracle.transport_words import WORDS
from fdspec.fuzz.oracle.transports import judge_transport
from fdspec.fuzz.run.shown import Execution, Left, Shown, Told, Trouble
from fdspec.impls.protocol.values import Profile
from msgspec.structs import replace
from oraclekit import OK, PLATFORM, error, got, sent

CLIENT = "program 1 transport stream client"
OFFER = everything(Profile.TRANSPORT)
LOST, FAILED = Told("lost"), Told("lost", error="OSError")
EOF = Shown(data=(b"",), flags=0)


def facts(*without, **policies):
    policies = {"order": "descriptors-first", "overrun": "wait", "queued": "owned", "cloexec": "always", **policies}
    offer = replace(OFFER, names=OFFER.names - set(without))
    return Facts(offer, {name: one for name, one in policies.items() if one}, limits={"queue": 4}, platform=PLATFORM)


def told(*events, **more):
    """Return what a turn shows: data as bytes, descriptors by label, anything else as it is."""
    found = [
        Told("data", one) if isinstance(one, bytes) else Told("descriptor", label=one) if isinstance(one, str) else one
        for one in events
    ]
    return Shown(events=tuple(found), files=tuple(one for one in events if isinstance(one, str)), **more)


def at_peer(data=b"", *labels, number=0):
    return Shown(data=(data,), files=labels, flags=0, message=f"p{number}")


def at_testee(*events, number=0, **more):
    return replace(told(*events, **more), message=f"t{number}")


def execution(lines, shown, drained=(), left=None, head=CLIENT, **more):
    program = parse("\n".join([head, *lines]))
    assert len(shown) == len(program.operations)
    return Execution(program, tuple(shown), left or Left(), drained=tuple(drained), **more)


def judge(lines, shown, drained=(), of=None, **more):
    return judge_transport(execution(lines, shown, drained, **more), of or facts())


QUEUED = ["open f0", "queue t0 f0", 'write t0 "abc"', "turn t0"]
FOUR = [OK, OK, OK, told()]
LOST_PEER = at_peer(b"")

PERMITTED = {
    "everything arrives": (QUEUED, FOUR, [at_peer(b"abc", "f0")]),
    "in pieces": (
        [*QUEUED, "recv p0 1 control=24 as=q0_"],
        [*FOUR, got(b"a", "f0")],
        [at_peer(b"bc")],
    ),
    "with the last byte of its write": (
        [*QUEUED, "recv p0 2 control=24 as=q0_"],
        [*FOUR, got(b"ab")],
        [at_peer(b"c", "f0")],
    ),
    "a descriptor that waits for data": (["open f0", "queue t0 f0", "turn t0"], [OK, OK, told()], []),
    "dropped by the peer's own receive": ([*QUEUED, "recv p0 3 via=recv"], [*FOUR, got(b"abc", flags=None)], []),
    "a read of nothing": (
        [*QUEUED[:2], *QUEUED[1:], "recv p0 0 via=read"],
        [OK, *FOUR, got(b"", flags=None)],
        [at_peer(b"a", "f0"), at_peer(b"bc", "f0")],
    ),
    "perhaps dropped, perhaps waiting": (
        [*QUEUED[:2], *QUEUED[1:2], 'write t0 "a"', "turn t0", "recv p0 0 via=recv"],
        [OK, *FOUR, got(b"", flags=None)],
        [],
    ),
    "cut by little room": ([*QUEUED, "recv p0 3"], [*FOUR, got(b"abc", flags=8)], []),
    "a look does not take": (
        [*QUEUED, "recv p0 2 control=24 flags=PEEK as=q0_"],
        [*FOUR, got(b"ab", "f0")],
        [at_peer(b"abc", "f0")],
    ),
    "a regular end": (
        [*QUEUED[:3], "finish t0 close", "turn t0"],
        [OK, OK, OK, OK, told()],
        [at_peer(b"abc", "f0"), at_testee(LOST), LOST_PEER],
    ),
    "too many descriptors at the end": (
        ["open f0", "queue t0 f0", "finish t0 close", "turn t0"],
        [OK, OK, OK, told(FAILED)],
        [LOST_PEER],
    ),
    "half an end": (
        [*QUEUED[:3], "finish t0 half", "turn t0"],
        [OK, OK, OK, OK, told()],
        [at_peer(b"abc", "f0"), LOST_PEER],
    ),
    "an abort": (
        [*QUEUED[:3], "finish t0 abort", "turn t0"],
        [OK, OK, OK, OK, told(Told("lost", error="Aborted"))],
        [LOST_PEER],
    ),
    "what the peer sends": (
        ["open g0", 'send p0 "abc" fds=g0,g0', "turn t0"],
        [OK, sent(3), told("g0", "g0", b"abc", cloexec=(True, True))],
        [],
    ),
    "the urgent byte is dropped": (
        ["open g0", 'send p0 "abc" fds=g0 flags=OOB', 'send p0 "d" fds=g0 flags=OOB', 'send p0 "e"', "turn t0"],
        [OK, sent(3), sent(1), sent(1), told("g0", b"ab", b"e")],
        [],
    ),
    "the urgent byte is not dropped": (
        ['send p0 "abc" flags=OOB', 'send p0 "abc"', "turn t0"],
        [sent(3), sent(3), told(b"abcabc")],
        [],
    ),
    "the peer's end": (['send p0 "abc"', "close p0", "turn t0"], [sent(3), OK, told(b"abc", LOST)], []),
    "a number that is not open": (
        ["queue t0 -1", 'write t0 "a"', "turn t0"],
        [OK, OK, told(FAILED)],
        [LOST_PEER],
    ),
    "a number that is not open, told at once": (["queue t0 -1"], [error("EBADF")], []),
    "a full table": (
        ["open g0", "room 0", 'send p0 "abc" fds=g0', "turn t0"],
        [OK, OK, sent(3), told(Told("log"), b"abc")],
        [],
    ),
    "nothing while reading is off": (
        ["reading t0 off", 'send p0 "abc"', "turn t0", "reading t0 on", "turn t0"],
        [OK, sent(3), told(), OK, told(b"abc")],
        [],
    ),
    "a producer": (
        ["produce t0", 'write t0 "abc"*65536', "turn t0"],
        [OK, OK, told(Told("pause"))],
        [at_peer(b"abc" * 21845 + b"a"), at_testee(Told("resume"))],
    ),
    "what is given is the transport's": (
        ["open f0", "give t0 f0", 'write t0 "a"', "turn t0"],
        [OK, OK, OK, told()],
        [at_peer(b"a", "f0")],
    ),
}


@pytest.mark.parametrize("name", PERMITTED)
def test_what_is_permitted(name):
    """Nothing is said of it."""
    lines, shown, drained = PERMITTED[name]
    assert judge(lines, shown, drained).violations == ()


NOT = {
    "out-data": (QUEUED, FOUR, [at_peer(b"axc", "f0")]),
    "out-identity": (QUEUED, FOUR, [at_peer(b"abc", "?")]),
    "out-description": (QUEUED, FOUR, [replace(at_peer(b"abc", "f0"), same=(False,))]),
    "out-descriptors": (
        ["open f0", "open f1", "queue t0 f0", "queue t0 f1", *QUEUED[2:]],
        [OK, OK, OK, OK, OK, told()],
        [at_peer(b"abc", "f1", "f0")],
    ),
    "out-crowd": (
        [*QUEUED[:2], "queue t0 f0", *QUEUED[2:], "recv p0 1 control=24 as=q0_"],
        [OK, OK, OK, OK, told(), got(b"a", "f0", "f0")],
        [],
    ),
    "out-late": (
        [*QUEUED, 'write t0 "def"', "turn t0", "recv p0 3 control=24 as=q0_"],
        [*FOUR, OK, told(), got(b"abc")],
        [],
    ),
    "out-missing": (QUEUED[2:], FOUR[2:], [at_peer(b"ab")]),
    "out-withheld": (QUEUED, FOUR, []),
    "out-part": (
        [*QUEUED[:2], "queue t0 f0", 'write t0 "a"', "finish t0 close", "turn t0"],
        [OK, OK, OK, OK, OK, told(FAILED)],
        [at_peer(b"a", "f0"), LOST_PEER],
    ),
    "out-no-end": (["finish t0 close", "turn t0"], [OK, told(LOST)], []),
    "out-end": (["turn t0"], [told()], [LOST_PEER]),
    "in-data": (['send p0 "abc"', "turn t0"], [sent(3), told(b"abd")], []),
    "in-identity": (["open g0", 'send p0 "a" fds=g0', "turn t0"], [OK, sent(1), told("?", b"a")], []),
    "in-description": (
        ["open g0", 'send p0 "a" fds=g0', "turn t0"],
        [OK, sent(1), told("g0", b"a", same=(False,))],
        [],
    ),
    "in-descriptors": (
        ["open g0", "open g1", 'send p0 "a" fds=g0,g1', "turn t0"],
        [OK, OK, sent(1), told("g1", "g0", b"a")],
        [],
    ),
    "in-order": (["open g0", 'send p0 "a" fds=g0', "turn t0"], [OK, sent(1), told(b"a", "g0")], []),
    "in-cloexec": (
        ["open g0", 'send p0 "a" fds=g0', "turn t0"],
        [OK, sent(1), told("g0", b"a", cloexec=(False,))],
        [],
    ),
    "in-missing": (['send p0 "abc"', "turn t0"], [sent(3), told(b"ab")], []),
    "in-unseen": (
        ["open g0", "room 0", 'send p0 "abc" fds=g0', "turn t0"],
        [OK, OK, sent(3), told(b"abc")],
        [],
    ),
    "in-paused": (["reading t0 off", 'send p0 "abc"', "turn t0"], [OK, sent(3), told(b"abc")], []),
    "in-before-end": (['send p0 "abc"', "close p0", "turn t0"], [sent(3), OK, told(LOST)], []),
    "lost-twice": (["close p0", "turn t0"], [OK, told(LOST, LOST)], []),
    "lost-taking": (["open g0", 'send p0 "a" fds=g0', "turn t0"], [OK, sent(1), told(FAILED)], [LOST_PEER]),
    "lost-waiting": (["open f0", "queue t0 f0", "turn t0"], [OK, OK, told(FAILED)], [LOST_PEER]),
    "lost-unasked": (["turn t0"], [told(FAILED)], [LOST_PEER]),
    "lost-silently": (
        [*QUEUED[:3], "finish t0 close", "turn t0"],
        [OK, OK, OK, OK, told(LOST)],
        [at_peer(b"a", "f0"), LOST_PEER],
    ),
    "not-lost": (["finish t0 abort", "turn t0"], [OK, told()], []),
    "no-end": (["shutdown p0 wr", "turn t0"], [OK, told()], []),
    "overrun-silent": (
        ["open f0", "queue t0 f0", "finish t0 close", "turn t0"],
        [OK, OK, OK, told(LOST)],
        [LOST_PEER],
    ),
    "bad-number": (["queue t0 -1", 'write t0 "a"', "turn t0"], [OK, OK, told()], []),
    "nameless": (["queue t0 -1"], [error("", "RuntimeError")], []),
    "refused": (['write t0 "a"'], [error("EIO")], []),
    "loop-failed": (["turn t0"], [error("EIO")], []),
    "producer": (["produce t0", "turn t0"], [OK, told(Told("resume"))], []),
    "not-resumed": (
        ["produce t0", 'write t0 "abc"*65536', "turn t0"],
        [OK, OK, told(Told("pause"))],
        [at_peer(b"abc" * 21845 + b"a")],
    ),
    "stray": (["open f0", "close f0"], [OK, error("EBADF")], []),
}
RECEIVERS = {
    "plain-told": ("plain", ["open g0", 'send p0 "a" fds=g0', "turn t0"], [OK, sent(1), told("g0", b"a")]),
    "plain-unlogged": ("plain", ["open g0", 'send p0 "a" fds=g0', "turn t0"], [OK, sent(1), told(b"a")]),
    "lost-plain": ("plain", ["open g0", 'send p0 "a" fds=g0', "turn t0"], [OK, sent(1), told(Told("log"), FAILED)]),
    "raise-forgotten": ("raise:0", ["open g0", 'send p0 "a" fds=g0', "turn t0"], [OK, sent(1), told("g0", b"a")]),
    "raise-silent": ("raise:0", ["open g0", 'send p0 "a" fds=g0', "turn t0"], [OK, sent(1), told("g0", LOST)]),
}


@pytest.mark.parametrize("what", NOT)
def test_what_is_not_permitted(what):
    """It is said first, as the breach of the requirement that it is, by whom it shows."""
    assert _said(judge(*NOT[what])) == tuple(WORDS[what])


@pytest.mark.parametrize("what", RECEIVERS)
def test_what_is_not_permitted_of_a_receiver(what):
    """The same, of a protocol that takes no descriptors, or raises."""
    receiver, lines, shown = RECEIVERS[what]
    assert _said(judge(lines, shown, head=f"{CLIENT} receiver={receiver}")) == tuple(WORDS[what])


def _said(judged):
    assert judged.violations, "it was permitted"
    first = judged.violations[0]
    assert first.message
    profile, side, who = first.place.split("/")
    assert (profile, side) == ("transport", "client")
    return first.breach, first.requirement, who


def test_what_a_transport_keeps_is_a_leak():
    """A descriptor of which the testee has one more than the program, before its reset."""
    left = Left(open=("f0", "f0", "t0"))
    found = judge(["open f0", *QUEUED[1:]], FOUR, [at_peer(b"abc", "f0")], left=left)
    assert [(one.breach, one.requirement) for one in found.violations] == [WORDS["kept"][:2]]
    assert judge(QUEUED, FOUR, [at_peer(b"abc", "f0")], left=replace(left, open=("f0", "t0"))).violations == ()


def test_every_word_is_found():
    """There is nothing that a transport can do wrong, in these words, for which there is no execution here."""
    assert {*NOT, *RECEIVERS, "kept"} == set(WORDS)


POLICIES = [
    # closed while it waits: by whom that may go wrong
    ("queued", "owned", told(FAILED), False),
    ("queued", "", told(FAILED), True),
    ("queued", "borrowed", told(FAILED), True),
]


@pytest.mark.parametrize(("name", "outcome", "turn", "permitted"), POLICIES)
def test_a_number_that_is_closed_while_it_waits(name, outcome, turn, permitted):
    """Where the transport keeps the caller's number, or does not say, the connection may end in an error; not where it copies."""
    lines = [*QUEUED[:3], "close f0", "turn t0"]
    found = judge(lines, [OK, OK, OK, OK, turn], [LOST_PEER], facts(**{name: outcome}))
    assert (not found.violations) is permitted


@pytest.mark.parametrize(("outcome", "permitted"), [("owned", False), ("", False), ("borrowed", True)])
def test_another_file_in_its_place(outcome, permitted):
    """It is never sent, but where the documentation says that the number is the caller's affair."""
    lines = [*QUEUED[:3], "close f0", "open f1", "turn t0"]
    found = judge(lines, [OK, OK, OK, OK, OK, told()], [at_peer(b"abc", "f1")], facts(queued=outcome))
    assert (not found.violations) is permitted
    if not permitted:
        assert found.violations[0].breach == "identity" if not outcome else "descriptors"


def test_more_descriptors_than_bytes_where_that_is_an_error():
    """It has to be told at the turn, where the documentation says so; where it does not it may not be."""
    lines, shown = ["open f0", "queue t0 f0", "turn t0"], [OK, OK, told(FAILED)]
    assert judge(lines, shown, [LOST_PEER], facts(overrun="error")).violations == ()
    silent = judge(lines, [OK, OK, told()], [], facts(overrun="error"))
    assert [one.requirement for one in silent.violations] == ["TC02"]


def test_data_before_descriptors_where_that_is_the_order():
    """The documented order is the one that is permitted."""
    lines, shown = ["open g0", 'send p0 "a" fds=g0', "turn t0"], [OK, sent(1), told(b"a", "g0")]
    assert judge(lines, shown, of=facts(order="data-first")).violations == ()


def test_a_fault_permits_what_it_has_to_and_no_more():
    """A send that fails for want of memory may end the connection in an error; one that was interrupted may not."""
    for word, permitted in (("ENOBUFS", True), ("EINTR", False)):
        lines = [f"fail send {word}", 'write t0 "abc"', "turn t0"]
        shown = [OK, OK, told(FAILED)]
        found = judge(lines, shown, [LOST_PEER], acted=(0,))
        assert (not found.violations) is permitted, word
        assert judge(lines, [OK, OK, told()], [], acted=(0,)).violations, "lost without a word"


def test_close_on_exec_that_could_not_be_set():
    """It may be missing where that is told, and not where nobody tells."""
    lines = ["fail fcntl EIO", "open g0", 'send p0 "a" fds=g0', "turn t0"]
    for events, permitted in (((Told("log"), "g0", b"a"), True), (("g0", b"a"), False)):
        shown = [OK, OK, sent(1), told(*events, cloexec=(False,))]
        assert (not judge(lines, shown, acted=(0,)).violations) is permitted


def test_a_trouble_is_told_once():
    """An execution that ended early is judged as far as it went."""
    broken = execution(["turn t0"], [None], left=None, trouble=Trouble("crash", 0, "it ended"))
    found = judge_transport(replace(broken, left=None), facts())
    assert [(one.breach, one.at) for one in found.violations] == [("crash", 0)]


def test_another_profile_is_none_of_its():
    """It says so, and guesses nothing."""
    program = parse('program 1 message stream client\nsend t0 "a"')
    with pytest.raises(ValueError, match="transport is expected"):
        judge_transport(Execution(program, (OK,)), facts())
