"""Small worlds for the tests of the gate: cases, implementations, verdicts and entries, and strategies that draw them."""

from __future__ import annotations

from datetime import date

from fdspec.conformance.expectations import Expectation, Expectations, Facts, When
from fdspec.conformance.gate import Account, Slot, Universe, conclude, judge, types_in
from fdspec.conformance.records import BAD, Verdict, VerdictRecord
from hypothesis import strategies as st
from msgspec.structs import replace

TODAY = date(2030, 6, 15)
FACTS = Facts({"so-passrights": "no (Protocol not available)", "so-inq": "0"}, "6.12.3-arch1", TODAY)
ALL = frozenset({"stream", "dgram", "seqpacket"})
CASES = {
    "send.one": (frozenset({"message", "descriptors"}), ALL),
    "send.two": (frozenset({"message", "descriptors", "transport"}), ALL),
    "peek.one": (frozenset({"message"}), frozenset({"stream"})),
    "peek.one.more": (frozenset({"message", "transport"}), ALL),
}
PROFILES = {"alpha": ("message", "descriptors"), "beta": ("transport",)}
UNIVERSE = Universe(CASES, PROFILES, frozenset({"gamma"}))
VERSIONS = {"alpha": "1.2", "beta": "2.0"}
BARE = [verdict for verdict in Verdict if verdict not in BAD]


def entry(case="send.one", verdict=Verdict.FAIL, **more):
    return Expectation(case, verdict, more.pop("why", "because"), more.pop("place", "e.toml:3"), **more)


def record(case="send.one", verdict=Verdict.FAIL, **more):
    fields = {"implementation": "alpha", "profile": "message", "type": "stream", "reason": ""} | more
    return VerdictRecord(case=case, verdict=verdict, **fields)


def slots(universe=UNIVERSE):
    return sorted(
        Slot(name, case, profile, kind)
        for name, profiles in universe.implementations.items()
        for case, facts in universe.cases.items()
        for profile in profiles
        for kind in types_in(profile, facts)
    )


def judged(entries, verdicts, versions=VERSIONS, facts=FACTS):
    return [replace(one, gate=judge(entries, facts, versions.get(one.implementation, ""), one)) for one in verdicts]


def gate(entries, verdicts, universe=UNIVERSE, facts=FACTS, versions=VERSIONS):
    account = Account()
    for one in judged(entries, verdicts, versions, facts):
        account.take(one)
    return conclude(Expectations("e.toml", tuple(entries)), facts, universe, account)


def whole(outcome=Verdict.PASS, universe=UNIVERSE):
    """A run of everything in which everything comes to ``outcome``."""
    return [
        VerdictRecord(
            implementation=one.implementation, case=one.case, profile=one.profile, type=one.type, verdict=outcome
        )
        for one in slots(universe)
    ]


outcomes = st.tuples(st.sampled_from(list(Verdict)), st.sampled_from(["", "assertion", "stray-close"]))


@st.composite
def runs(draw):
    """A run of everything, with variants on transports, each verdict drawn; no two of one variant."""
    found = []
    for one in slots():
        for variant in (
            ("client", "server") if one.profile == "transport" else draw(st.sampled_from([("",), ("n=1", "n=[2]")]))
        ):
            verdict, reason = draw(outcomes)
            found.append(
                VerdictRecord(
                    implementation=one.implementation,
                    case=one.case,
                    profile=one.profile,
                    type=one.type,
                    variant=variant,
                    verdict=verdict,
                    reason="" if verdict in BARE else reason,
                )
            )
    return found


def some(values):
    return st.just(()) | st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True).map(tuple)


WHENS = [
    None,
    None,
    When(has="so-inq"),
    When(has="so-passrights"),
    When(lacks=["so-passrights"], kernel=">=6.2"),
    When(kernel="<5"),
    When(version="<2"),
]


@st.composite
def entries(draw, *, expiring=True):
    """A file of entries, some of which overlap, match nothing, hold elsewhere or have expired."""
    return [
        Expectation(
            case=draw(st.sampled_from([*CASES, "send.*", "*", "*.one", "nothing.here"])),
            verdict=draw(st.sampled_from([one for one in Verdict if one is not Verdict.PASS])),
            why=draw(st.sampled_from(["because", 'a "quoted" \\ reason', "two\nlines"])),
            place=f"e.toml:{index + 1}",
            implementations=draw(some(["alpha", "beta", "gamma", "al*"])),
            profiles=draw(some(["message", "descriptors", "transport"])),
            types=draw(some(sorted(ALL))),
            variants=draw(some(["client", "n=*", "", "server"])),
            reason=draw(st.sampled_from(["", "assertion"])),
            issue=draw(st.sampled_from(["", "https://example.org/1"])),
            when=draw(st.sampled_from(WHENS)),
            expires=draw(st.sampled_from([None, None, None, date(2031, 1, 1), *([date(2030, 6, 15)] * expiring)])),
        )
        for index in range(draw(st.integers(0, 6)))
    ]
