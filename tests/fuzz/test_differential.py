"""The differential runner: behaviours at which implementations part, with implementations that are functions."""

from __future__ import annotations

import pytest
from fdspec.conformance.model import flags as f
from fdspec.fuzz import Offer, parse
from fdspec.fuzz.engines import differential as d
from fdspec.fuzz.engines.behaviour import partings
from fdspec.fuzz.findings.finding import Finding
from fdspec.fuzz.judgement import Breach, Verdict, Violation
from fdspec.fuzz.oracle.facts import Facts
from fdspec.fuzz.run.shown import Control, Execution, Left, Shown, Told, Trouble
from fdspec.impls.protocol.values import Profile
from msgspec.structs import replace

PROGRAM = parse('program 1 message stream client\nopen g0\nsend p0 "ab" fds=g0,g0\ntake t0 16 room=1\nclose t0\n')
TAKEN = 2
DONE = Shown()
NOTHING_LEFT = Left()
GOT = Shown(data=(b"ab",), files=("g0",), same=(True,), cloexec=(False,), flags=0, open=2)
OFFER = Offer(Profile.MESSAGE, frozenset({"stream", "client", "fifo", "payload"}))


def executed(taken=GOT, *, program=PROGRAM, left=NOTHING_LEFT, trouble=None, **kwargs):
    """Return an execution in which nothing happened but one receive."""
    shown = [DONE if at != TAKEN else taken for at in range(len(program.operations))]
    if trouble is not None:
        shown[trouble.at :] = [None] * (len(shown) - trouble.at)
        left = None
    return Execution(program, tuple(shown), left, trouble, **kwargs)


def names(executions):
    return [(one.behaviour, one.odd) for one in partings(executions)]


class Fake:
    """A runner that shows what a function says."""

    version = "1"

    def __init__(self, subject, show, *, offers=(OFFER,), wrong=(), policies=None):
        self.subject, self.show, self.offers, self.wrong = subject, show, offers, wrong
        self.policies = policies or {}
        self.closed = 0

    def facts(self, profile):
        return Facts(self.offers[0], self.policies)

    def observe(self, program):
        return self.show(program)

    def examine(self, program):
        return Verdict(tuple(self.wrong))

    def run(self, programs):
        return [self.examine(one) for one in programs]

    def close(self):
        self.closed += 1


def of(**fields):
    return lambda program: executed(replace(GOT, **fields), program=program)


def test_alike_is_no_difference():
    assert names({"a": executed(), "b": executed(), "c": executed()}) == []
    assert names({"a": executed()}) == []


@pytest.mark.parametrize(
    ("field", "value", "behaviour"),
    [
        ("cloexec", (True,), "cloexec"),
        ("same", (False,), "identity"),
        ("flags", f.EOR, "flags-EOR"),
        ("flags", f.EOR | f.CLOEXEC, "flags-EOR|CLOEXEC"),
        ("value", 3, "count"),
        ("data", (b"xy",), "data"),
        ("data", (b"a", b"b"), "buffers"),
        ("files", ("g0", "g0"), "descriptors"),
        ("files", ("?",), "descriptors"),
        ("control", (Control(1, 2, b"123"),), "control-messages"),
        ("controllen", 24, "controllen"),
        ("open", 3, "open-descriptors"),
    ],
)
def test_each_thing_that_is_shown_parts(field, value, behaviour):
    base = replace(GOT, value=2, controllen=20)
    found = partings({"a": executed(base), "b": executed(replace(base, **{field: value})), "c": executed(base)})
    assert [(one.behaviour, one.odd, one.at, one.operation) for one in found] == [(behaviour, ("b",), TAKEN, "take")]
    assert found[0].place == "message/stream/testee"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flags", None),
        ("value", None),
        ("cloexec", (None,)),
        ("same", (None,)),
        ("controllen", None),
        ("open", None),
        ("data", (b"ab", b"")),
        ("control", (Control(1, 2, b"456"),)),
    ],
)
def test_what_is_not_shown_is_not_compared(field, value):
    base = replace(GOT, value=2, controllen=20, control=(Control(1, 2, b"123"),))
    assert names({"a": executed(base), "b": executed(replace(base, **{field: value}))}) == []


def failing(error="", kind="OSError", **fields):
    return Shown(error=error, kind=kind, open=GOT.open, **fields)


@pytest.mark.parametrize(
    ("a", "b", "behaviour"),
    [
        (GOT, failing("EBADF"), "error-of-bad-descriptor"),
        (failing("EBADF"), failing("EINVAL"), "error-of-bad-descriptor-or-invalid-argument"),
        (failing("EBADF"), failing("", "ValueError"), "error-without-errno"),
        (GOT, failing("", "ValueError"), "own-error"),
        (GOT, failing("EXDEV"), "error-of-exdev"),
    ],
)
def test_errors_go_by_errno(a, b, behaviour):
    assert names({"a": executed(a), "b": executed(b)}) == [(behaviour, ("b",))]


def test_the_type_of_an_error_says_nothing_beside_its_errno():
    assert names({"a": executed(failing("EBADF")), "b": executed(failing("EBADF", "nix::Errno"))}) == []


def test_lost_descriptors_are_an_error_a_flag_or_silent():
    flag, silent = replace(GOT, flags=f.CTRUNC), replace(GOT, flags=None)
    found = partings(
        {"a": executed(flag), "b": executed(failing("", "Truncation")), "c": executed(silent), "d": executed(flag)}
    )
    assert [one.behaviour for one in found] == ["truncation-visible"]
    assert [(group.who, value) for group, value in zip(found[0].groups, found[0].values, strict=True)] == [
        (("a", "d"), "flag"),
        (("b",), "error"),
        (("c",), "silent"),
    ]
    assert found[0].groups[0].showed == "shows MSG_CTRUNC, and gives 1 descriptor"


def test_what_follows_from_a_difference_is_none():
    wrong = {"files": (), "data": (b"x",)}
    one = Execution(
        PROGRAM, (DONE, DONE, replace(GOT, **wrong), replace(DONE, error="EBADF", kind="OSError")), Left(open=("t0",))
    )
    assert names({"a": executed(), "b": one}) == [("data", ("b",))]


def test_what_is_only_seen_hides_nothing():
    one = Execution(PROGRAM, (DONE, DONE, replace(GOT, cloexec=(True,)), failing("EBADF")), Left())
    assert names({"a": executed(), "b": one}) == [("cloexec", ("b",)), ("error-of-bad-descriptor", ("b",))]


def test_those_that_behave_alike_go_on_being_compared():
    late = Execution(PROGRAM, (DONE, DONE, replace(GOT, data=(b"x",)), failing("EBADF")), Left())
    found = {"a": executed(), "b": executed(replace(GOT, data=(b"x",))), "c": late, "d": executed()}
    assert names(found) == [("data", ("b", "c")), ("error-of-bad-descriptor", ("c",))]


@pytest.mark.parametrize(
    ("left", "behaviour"),
    [
        (Left(open=("t0",)), "left-open"),
        (Left(stray=("number 5 was closed",)), "stray-close"),
        (Left(leaked=("g0",)), "leaked"),
        (Left(released={"g0": False}), "released"),
    ],
)
def test_the_account_parts_too(left, behaviour):
    (one,) = partings({"a": executed(left=Left(released={"g0": True})), "b": executed(left=left)})
    assert (one.behaviour, one.operation, one.at) == (behaviour, "end", len(PROGRAM.operations)) or left.released == {}
    assert one.behaviour == behaviour


def test_a_crash_parts_and_ends():
    crash = executed(trouble=Trouble("crash", TAKEN, "signal 11"))
    assert names({"a": executed(), "b": crash}) == [("crash", ("b",))]
    assert names({"a": crash, "b": crash}) == []


def test_what_the_peer_got_at_the_end_parts():
    assert names({"a": executed(drained=(GOT,)), "b": executed(drained=(replace(GOT, data=(b"a",)),))}) == [
        ("drained", ("b",))
    ]


def test_events_of_a_transport_are_compared_by_what_they_tell():
    def turned(*events):
        return executed(Shown(events=events))

    data, file, lost = Told("data", b"ab"), Told("descriptor", label="g0"), Told("lost", error="ConnectionLost")
    halves = (Told("data", b"a"), Told("data", b"b"))
    assert names({"a": turned(file, data), "b": turned(file, *halves)}) == []
    assert names({"a": turned(file, data), "b": turned(data, file)}) == [("order-of-events", ("b",))]
    assert names({"a": turned(lost), "b": turned(replace(lost, error="ECONNRESET"))}) == []
    assert names({"a": turned(lost), "b": turned(replace(lost, error=""))}) == [("end-of-connection", ("b",))]


def test_executions_of_several_programs_are_refused():
    with pytest.raises(ValueError, match="several programs"):
        partings({"a": executed(), "b": executed(program=replace(PROGRAM, operations=PROGRAM.operations[:3]))})


def test_the_odd_ones_are_the_fewest_and_of_two_the_second():
    three = {"a": executed(), "b": executed(replace(GOT, value=1)), "c": executed(replace(GOT, value=1))}
    assert names({name: executed(replace(GOT, value=one.shown[TAKEN].value or 0)) for name, one in three.items()}) == [
        ("count", ("a",))
    ]
    assert names({"b": executed(replace(GOT, value=1)), "a": executed(replace(GOT, value=2))}) == [("count", ("a",))]


# ---- the runner ----------------------------------------------------------------------------------------------------------


def test_a_difference_is_a_violation_with_every_group():
    runner = d.DifferentialRunner([Fake("a", of()), Fake("b", of(value=9)), Fake("c", of(value=2))])
    (verdict,) = runner.run([PROGRAM])
    (one,) = verdict.violations
    assert one.breach is Breach.DIFFERENT
    assert (one.requirement, one.at, one.operation, one.place) == (
        "differs:count:c",
        TAKEN,
        "take",
        "message/stream/testee",
    )
    assert one.permitted[:2] == ("b: 9", "c: 2")
    assert runner.subject == "a,b,c"
    assert runner.version == "a 1, b 1, c 1"
    assert runner.met == {one.key: 1}


def test_a_declared_policy_documents_a_difference():
    policies = {"b": {"cloexec": "always"}}
    fakes = [
        Fake("a", of()),
        Fake("b", of(cloexec=(True,)), wrong=[Violation(Breach.RESULT, "S01", 0, "take", "x", "y")]),
    ]
    (one,) = d.DifferentialRunner(fakes, policies).examine(PROGRAM).violations
    assert one.permitted[-1] == "documented: b declares cloexec always"
    for declared in ({}, {"b": {"cloexec": "never"}}, {"a": {"cloexec": "always"}}, {"b": {"truncation": "error"}}):
        (one,) = d.DifferentialRunner(fakes, declared).examine(PROGRAM).violations
        assert one.permitted[-1] == "wrong: b breaks S01 at take in x"


def test_what_the_oracle_says_of_later_operations_is_not_said_of_a_difference():
    late = Violation(Breach.RESULT, "S01", TAKEN + 1, "close", "x", "y")
    (one,) = (
        d.DifferentialRunner([Fake("a", of()), Fake("b", of(value=2), wrong=[late]), Fake("c", of(value=1))])
        .examine(PROGRAM)
        .violations
    )
    assert one.permitted[-1].startswith("free: ")


def test_what_does_not_show_again_is_no_finding():
    values = iter([9, 9, 1, 9, 9, 9])

    def unsteady(program):
        return of(value=next(values))(program)

    runner = d.DifferentialRunner([Fake("a", of(value=1)), Fake("b", unsteady)])
    assert runner.run([PROGRAM])[0].violations
    assert runner.examine(PROGRAM).violations == ()
    assert runner.examine(PROGRAM).violations


def test_no_difference_hides_another():
    def two(program):
        return executed(replace(GOT, cloexec=(True,), flags=f.EOR), program=program)

    runner = d.DifferentialRunner([Fake("a", of()), Fake("b", two)])
    first = runner.run([PROGRAM])[0].violations
    assert runner.examine(PROGRAM).violations[0].key == first[0].key
    second = runner.run([PROGRAM])[0].violations
    assert {one.key for one in first} == {one.key for one in second}
    assert first[0].key != second[0].key
    shorter = replace(PROGRAM, operations=PROGRAM.operations[:3])
    assert runner.examine(PROGRAM).violations[0].key == second[0].key
    assert runner.examine(shorter).violations[0].key == second[0].key
    assert runner.met == dict.fromkeys((one.key for one in first), 2)


def test_one_difference_is_not_proved_by_another():
    runner = d.DifferentialRunner(
        [Fake("a", of()), Fake("b", lambda p: of(cloexec=(True,))(p) if len(p.operations) == 4 else of(flags=f.EOR)(p))]
    )
    assert runner.run([PROGRAM])[0].violations[0].requirement == "differs:cloexec:b"
    assert runner.examine(PROGRAM).violations[0].requirement == "differs:cloexec:b"
    assert runner.examine(replace(PROGRAM, operations=PROGRAM.operations[:3])).violations == ()


def test_only_those_that_offer_what_a_program_needs_are_compared():
    poor = Offer(Profile.MESSAGE, OFFER.names - {"fifo"})
    fakes = [Fake("a", of(), offers=(poor,)), Fake("b", of(value=1)), Fake("c", of(value=2), offers=(poor,))]
    program = parse('program 1 message stream client\nset p0 sndbuf 9000\nsend p0 "a"\ntake t0 3\n')
    runner = d.DifferentialRunner(fakes)
    assert "fewer than two" in runner.run([PROGRAM])[0].unsupported
    assert "fewer than two" in runner.examine(PROGRAM).unsupported
    assert runner.observe(PROGRAM).shown[TAKEN].value == 1
    assert not runner.run([program])[0].unsupported
    assert runner.offers == (Offer(Profile.MESSAGE, poor.names),)


def test_who_could_not_run_a_program_is_not_compared():
    def unable(program):
        return Execution(program, (None,) * len(program.operations))

    runner = d.DifferentialRunner([Fake("a", of()), Fake("b", of(value=1)), Fake("c", unable)])
    assert [one.requirement for one in runner.run([PROGRAM])[0].violations] == []
    assert "fewer than two" in d.DifferentialRunner([Fake("a", of()), Fake("c", unable)]).run([PROGRAM])[0].unsupported


def test_offers_are_what_two_have_in_common():
    more = Offer(Profile.MESSAGE, OFFER.names | {"dgram", "flags-in"})
    other = Offer(Profile.DESCRIPTORS, OFFER.names)
    none = Offer(Profile.TRANSPORT, frozenset({"stream"}))
    found = list(d.common_offers([[OFFER, none], [more, none], [more, other], []]))
    assert found == [OFFER, more]
    with pytest.raises(ValueError, match="a profile in common: a,b"):
        d.DifferentialRunner([Fake("a", of(), offers=(OFFER,)), Fake("b", of(), offers=(other,))])


def test_one_implementation_cannot_be_compared():
    with pytest.raises(ValueError, match="several implementations"):
        d.DifferentialRunner([Fake("a", of())])
    with pytest.raises(ValueError, match="each once"):
        d.DifferentialRunner([Fake("a", of()), Fake("a", of())])


def test_what_was_opened_is_closed_where_one_cannot_be():
    a = Fake("a", of())

    def opened(name):
        if name == "b":
            raise OSError(name)
        return a

    with pytest.raises(OSError, match="b"):
        d.open_differential("a,b", opened)
    assert a.closed == 1
    runner = d.open_differential(
        "a,c",
        lambda name: Fake(name, of(cloexec=(name == "c",)), policies={"cloexec": "always"} if name == "c" else {}),
    )
    assert runner.examine(PROGRAM).violations[0].permitted[-1] == "documented: c declares cloexec always"
    runner.close()


def test_what_a_testee_says_is_shown_as_one_line():
    runner = d.DifferentialRunner(
        [Fake("a", of()), Fake("b", lambda p: executed(failing("", "E\x1b[2J\n" + "x" * 500), program=p))]
    )
    (one,) = runner.run([PROGRAM])[0].violations
    assert one.message.isprintable()
    assert len(one.message) < 400
    assert all(line.isprintable() for line in runner.examine(PROGRAM).transcript)


# ---- the table -----------------------------------------------------------------------------------------------------------


def findings(runner):
    runner.run([PROGRAM])
    return [Finding(runner.subject, one, PROGRAM, seen=7) for one in runner.examine(PROGRAM).violations]


def test_the_table_goes_by_behaviour():
    fakes = [Fake("a", of()), Fake("b", of(cloexec=(True,), flags=f.EOR))]
    found = findings(d.DifferentialRunner(fakes, {"b": {"cloexec": "always"}}))
    text = d.table(found)
    assert text.index("flags-EOR: free, met in 7 programs\n") < text.index("cloexec: documented, met in 7 programs\n")
    assert (
        "  a | b: documented, met in 7 programs\n    documented: b declares cloexec always\n    at take (message/"
        in text
    )
    assert "      a: none close-on-exec\n      b: all close-on-exec\n      | program 1 message stream client\n" in text
    assert [d.behaviour_of(one) for one in found] == ["cloexec", "flags-EOR"]
    assert not d.wrong(found)


def test_only_what_somebody_is_wrong_in_is_not_as_expected():
    fault = Violation(Breach.RESULT, "S01", 0, "take", "x", "y")
    found = findings(d.DifferentialRunner([Fake("a", of()), Fake("b", of(flags=f.EOR), wrong=[fault])]))
    assert d.wrong(found)
    other = Finding("a", fault, PROGRAM)
    assert d.wrong([other])
    assert not d.wrong([])
    assert d.table([other]) == ""
    with pytest.raises(ValueError, match="no difference"):
        d.standing_of(other)
