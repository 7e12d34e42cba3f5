"""The cases on transports and a troublesome kernel catch what they are there for, and the reference passes them."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from fdspec.conformance import mutation
from fdspec.conformance.suite import load_suite
from fdspec.impls.mutants import tables

CAUGHT = [
    ("transport.no-memory-loses-the-data", "transport-faults.short-of-memory"),
    ("transport.no-memory-is-never-tried-again", "transport-faults.plain-send"),
    ("transport.no-memory-after-a-part-begins-again", "transport-faults.short-then-error"),
    ("transport.first-byte-alone-repeats-the-descriptor", "transport-faults.short-write"),
    ("transport.first-byte-alone-takes-two-descriptors", "transport-faults.one-byte-at-a-time"),
    ("transport.refused-descriptor-is-left-out", "transport-faults.refused"),
    ("transport.not-permitted-is-a-regular-end", "transport-faults.refused-for-good"),
    ("transport.interrupted-send-counts-as-sent", "transport-faults.put-off"),
    ("transport.interrupted-receive-is-the-end", "hand-over-faults.put-off"),
    ("transport.failed-receive-brings-the-last-again", "hand-over-faults.fails"),
    ("transport.close-on-exec-comes-later", "hand-over-faults.close-on-exec-at-once"),
    ("transport.close-on-exec-that-fails-is-not-told", "hand-over-faults.close-on-exec-fails"),
    ("transport.unwanted-close-is-made-again", "hand-over-faults.close-fails"),
    ("transport.socket-is-closed-twice", "transport-faults.closed-once"),
    ("transport.full-socket-is-tried-for-ever", "transport-faults.idle-when-full"),
    ("transport.sends-nothing-for-ever", "transport-faults.idle"),
    ("transport.half-an-int-is-a-number", "hand-over-hostile.half-an-int"),
    ("transport.short-header-takes-all-that-follows", "hand-over-hostile.no-header"),
    ("transport.refused-number-is-closed", "hand-over-hostile.refused"),
    ("transport.stray-bytes-are-damage", "hand-over-hostile.stray-bytes"),
]


def examine(name, cases):
    return mutation.examine(load_suite(), tables.everything().get(name), cases, thorough=True)


@pytest.fixture(scope="module")
def examined():
    load_suite()
    context = get_context("fork")  # the testees are forked as well: what a warning is to pytest it must not be to them
    with warnings.catch_warnings(), ProcessPoolExecutor(os.cpu_count(), context, mutation.hurry) as pool:
        warnings.simplefilter("ignore")
        reference = pool.submit(examine, mutation.REFERENCE, {case for _, case in CAUGHT})
        mutants = {name: pool.submit(examine, name, {case}) for name, case in CAUGHT}
        return {mutation.REFERENCE: reference.result()} | {name: one.result() for name, one in mutants.items()}


@pytest.mark.parametrize(("name", "case"), CAUGHT)
def test_the_fault_is_caught_by_its_case(examined, name, case):
    assert examined[name].cases == [case]
    violates = tables.everything()[name].violates
    assert set(load_suite().cases[case].checks).intersection(violates), "not by what it violates"


def test_the_reference_is_caught_by_none(examined):
    assert examined[mutation.REFERENCE].catches == []
