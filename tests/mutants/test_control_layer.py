"""The layer `control`: its mutants run with the adapter of `reference-libc`, which passes where nothing was changed."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from fdspec.conformance import direct
from fdspec.conformance.bench import Bench
from fdspec.conformance.records import BAD
from fdspec.conformance.suite import load_suite
from fdspec.impls.mutants import forked, tables
from fdspec.impls.mutants.tables import Layer
from fdspec.impls.process import Launch, Testee, launch_of
from fdspec.impls.protocol.values import Profile
from fdspec.impls.registry import find
from fdspec.impls.setup import prepare

OURS = [one for one in tables.everything().values() if one.layer is Layer.CONTROL]
CHANGED = {"control.py", "libc.py", "libcmessage.py", "message.py", "ownership.py"}


@pytest.fixture(scope="module")
def pool():
    """Other processes, so that the reference of this one stays its own."""
    with ProcessPoolExecutor(2, get_context("fork")) as one:
        yield one


def launch(mutant):
    codes = {} if mutant is None else tables.compiled(mutant)
    return Launch(["a fork"], memory=2**32, starter=forked.starter(codes, Layer.CONTROL))


def greeted(mutant, directory):
    directory.mkdir()
    testee = Testee(launch(mutant), directory)
    try:
        return testee.hello.implementation.name, list(testee.hello.profiles)
    finally:
        testee.kill()


def unpassed(_):
    """Return what the unchanged layer does not pass, and how many variants there were, on the kernel as it is."""
    bench, failed, count = Bench(launch(None)), [], 0
    try:
        for case in load_suite().cases.values():
            if case.interposed:
                continue
            for variant in direct.variants(case, [Profile.MESSAGE]):
                problem = direct.run(bench, variant)
                count += 1
                if problem.verdict in BAD:
                    failed.append((case.id, variant.type.value, problem))
    finally:
        bench.close()
    return failed, count


def test_there_are_enough_and_they_change_what_the_layer_stands_on():
    assert len(OURS) >= 50
    assert {change.file for one in OURS for change in one.changes} <= CHANGED
    assert {one.profile for one in OURS} == {Profile.MESSAGE}


def test_every_one_of_them_starts(pool, tmp_path):
    wanted = [pool.submit(greeted, one, tmp_path / one.id) for one in OURS]
    for one, answer in zip(OURS, wanted, strict=True):
        assert answer.result() == ("fdspec's reference on its own parser", [Profile.MESSAGE]), one.id


def test_one_of_them_starts_as_an_implementation_of_its_own(tmp_path):
    prepared = prepare(find(f"mutant:{OURS[0].id}"))
    testee = Testee(launch_of(prepared), tmp_path)
    try:
        assert testee.hello.implementation.name == "fdspec's reference on its own parser"
    finally:
        testee.kill()


def test_without_a_change_it_passes_everything(pool):
    failed, count = pool.submit(unpassed, None).result()
    assert failed == []
    assert count > 400


@pytest.mark.parametrize("layer", Layer)
def test_every_layer_has_its_adapter(layer):
    path = tables.adapter(layer)
    assert path.is_file()
    assert path.parent == Path(find(path.parent.name).file).parent
    assert tables.PROFILES[layer] in find(path.parent.name).profiles
