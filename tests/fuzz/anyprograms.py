"""Programs for tests: of random bytes, and of operations that no testee could be asked for."""

from __future__ import annotations

from fdspec.conformance.interpose.faults import Trouble
from fdspec.conformance.model import Close, Kind, Open, Pair, Released
from fdspec.conformance.model.strategy import operations as models
from fdspec.fuzz import Program, Side, System, decode
from fdspec.fuzz import operations as o
from fdspec.fuzz.forging import Builder
from fdspec.fuzz.program import PROFILES
from fdspec.impls.protocol.messages import Receiver
from fdspec.impls.protocol.values import ObjectKind
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SLOW = settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

small = st.integers(0, 9)
one_byte = st.one_of(small, small, st.just(0xFE), st.integers(0, 255))
small_bytes = st.lists(one_byte, max_size=150).map(bytes)
some_bytes = st.binary(max_size=200) | small_bytes
programs_of_bytes = some_bytes.map(decode)

names = st.from_regex(r"[tpfgrq]?[0-9?]{0,2}(_[0-9])?", fullmatch=True)
numbers = names | st.integers(-(2**70), 2**70)
huge = st.integers(-(2**70), 2**70)
sizes = st.lists(huge | small, max_size=4).map(tuple)
data = st.lists(st.binary(max_size=200), max_size=4).map(tuple)
own = st.one_of(
    st.builds(o.Make, st.sampled_from(ObjectKind), names),
    st.builds(o.SetMore, numbers, st.sampled_from(o.Option), huge),
    st.builds(o.SendOne, numbers, numbers, data, huge),
    st.builds(o.Take, numbers, sizes, huge, huge, names),
    st.builds(o.TakeOne, numbers, sizes, huge, names),
    st.builds(o.Write, names, st.binary(max_size=200)),
    st.builds(o.Queue, names, numbers),
    st.builds(o.Give, names, numbers),
    st.builds(o.Produce, names),
    st.builds(o.Reading, names, st.booleans()),
    st.builds(o.Finish, names, st.sampled_from(o.Ending)),
    st.builds(o.Turn, names, names),
    st.builds(o.Fail, st.sampled_from(o.Calls), st.sampled_from(Trouble), huge, huge),
    st.builds(o.Short, huge, huge, huge),
    st.builds(o.Forge, st.sampled_from(Builder), huge, sizes, st.lists(numbers, max_size=12).map(tuple)),
    st.builds(Open, names),
    st.builds(Close, numbers),
    st.builds(Released, names),
    st.builds(Pair, st.sampled_from(Kind), names, names),
)
at = st.none() | huge
invalid = st.builds(
    Program,
    st.sampled_from(PROFILES),
    st.sampled_from(Kind),
    st.sampled_from(Side),
    st.lists(own | models(), max_size=12).map(tuple),
    st.sampled_from(System),
    st.builds(Receiver, st.booleans(), at, at, at),
)
"""Programs of any operations at all, those of the model's included that no program has."""
