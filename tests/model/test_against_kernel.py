"""The model and the kernel under it agree, on sequences that are invented here and now."""

from __future__ import annotations

import os

import pytest
from fdspec.conformance.model import Mismatch, Seen, accept, initial, parse, show, step
from fdspec.conformance.model.explain import tell_mismatch
from fdspec.conformance.model.kernel import Kernel
from fdspec.conformance.model.reasons import REASONS
from fdspec.conformance.model.strategy import sequences
from fdspec.conformance.model.trial import replay, run, trial
from hypothesis import HealthCheck, given, settings


@pytest.fixture(scope="module")
def kernel():
    with Kernel() as one:
        yield one


@settings(
    max_examples=200,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
)
@given(sequences())
def test_hypothesis_finds_no_sequence_in_which_they_differ(kernel, sequence):
    mismatch = replay(kernel, sequence)
    assert mismatch is None, f"{show(sequence)}\n{tell_mismatch(mismatch)}"


def test_many_sequences_with_an_eye_on_the_state(kernel):
    figures = trial(kernel, range(1000, 1700), 20)
    assert not figures.findings, f"{figures.findings[0].sequence}\n{figures.findings[0].mismatch}"
    assert figures.sequences == 700
    assert figures.operations > 7_000
    assert len(REASONS) - len(figures.unused) > 100, figures.unused


def test_sequences_of_an_unprivileged_user_meet_the_limit_in_flight():
    figures, lacking = run(120, 0, 20, 2, 1)
    assert not figures.findings, f"{figures.findings[0].sequence}\n{figures.findings[0].mismatch}"
    assert bool(lacking) == (os.geteuid() != 0)
    assert figures.sequences == 120
    if not lacking:
        assert figures.reasons["M02h"] == 0


LIMIT = """
    pair stream a b
    open f
    room 0
    send a "1" fds=f,f,f,f
    send a "2" fds=f
    send a "3"
    recv b 1 control=100 as=x
"""


def test_too_many_references_are_refused_without_privilege_only(kernel):
    platform = kernel.begin()
    kernel.end()
    state = initial(platform)
    for operation in parse(LIMIT)[:4]:
        state = step(state, operation).outcomes[0].state
    refused = parse(LIMIT)[4]
    errors = {outcome.seen.error for outcome in step(state, refused).outcomes}
    assert errors == ({None} if platform.privileged else {"ETOOMANYREFS"})
    assert replay(kernel, parse(LIMIT)) is None


def test_a_kernel_that_did_otherwise_would_be_found(kernel):
    platform = kernel.begin()
    try:
        state = initial(platform)
        for operation in parse('pair stream a b\nsend a "x"'):
            state = accept(state, operation, kernel.execute(operation))
        (receive,) = parse("recv b 1")
        seen = kernel.execute(receive)
        assert not isinstance(accept(state, receive, seen), Mismatch)
        for wrong in (
            Seen(value=1, data=(b"y",), open=seen.open),
            Seen(value=1, data=(b"x",), flags=8, open=seen.open),
            Seen(value=1, data=(b"x",), open=seen.open + 1),
            Seen(error="EAGAIN", open=seen.open),
        ):
            found = accept(state, receive, wrong)
            assert isinstance(found, Mismatch)
            assert "permitted (received): returns 1: 'x'" in tell_mismatch(found)
    finally:
        kernel.end()


def test_files_that_were_open_before_are_not_told_apart(kernel):
    """A cmsg_len that reaches into the next header sends its fields, and so what numbers 1 and others hold."""
    reader, writer = os.pipe()
    try:
        text = f'pair stream a b\nopen f\nsend a "x" fds=f,{reader},{writer}\nrecv b 1 control=100'
        assert replay(kernel, parse(text)) is None
    finally:
        os.close(reader)
        os.close(writer)


def test_the_runner_leaves_no_descriptor_and_no_limit_behind():
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    before = sorted(os.listdir("/proc/self/fd"))
    with Kernel() as kernel:
        kernel.begin()
        for operation in parse('room 3\npair dgram a b\nopen f\nsend a "x" fds=f,f,a\nrecv b 1 control=100\nopen g'):
            kernel.execute(operation)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == limits
