"""A case that is run directly is judged as pytest's run of it is."""

from __future__ import annotations

import json

import pytest
from fdspec.conformance import direct
from fdspec.conformance.bench import Bench
from fdspec.conformance.suite import SIDES, load_suite
from fdspec.impls.process import launch_of
from fdspec.impls.registry import find
from fdspec.impls.setup import prepare

PATTERNS = ("ctrunc.room-by-count", "pidfd.*", "contracts.flags.whole-length", "hand-over.raises-*")
NAMES = [
    "reference",
    "mutant:message.truncation-leaks",
    "mutant:transport.refused-leak",
    "mutant:message.several-descriptors-crash",
]


def directly(name, cases):
    manifest = find(name)
    bench = Bench(launch_of(prepare(manifest)))
    try:
        return sorted(
            (case.id, variant.profile.value, variant.type.value, variant.side, direct.run(bench, variant).verdict.value)
            for case in cases
            for variant in direct.variants(case, manifest.profiles)
        )
    finally:
        bench.close()


@pytest.mark.parametrize("name", NAMES)
def test_it_comes_to_the_same_verdicts(fdspec, tmp_path, name):
    arguments = [word for pattern in PATTERNS for word in ("-k", pattern)]
    fdspec("run", "-i", name, *arguments, "--out", "out")
    lines = (tmp_path / "out" / "records.jsonl").read_text().splitlines()
    verdicts = [one for one in map(json.loads, lines) if one["record"] == "verdict"]
    suite = load_suite()
    cases = [suite.cases[case] for case in dict.fromkeys(one["case"] for one in verdicts)]
    by_pytest = sorted(
        (
            one["case"],
            one["profile"],
            one["type"],
            next((side for side in SIDES if one.get("variant", "").startswith(side)), ""),
            one["verdict"],
        )
        for one in verdicts
    )
    assert len({verdict for *_, verdict in by_pytest}) > 1 or name == "reference"
    assert directly(name, cases) == by_pytest
