"""The keeper of the gate in a run of pytest: reads the expectations, judges each verdict, and tells pytest what it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import msgspec
import pytest

from ..impls.manifest import Manifest
from .expectations import Expectations, Facts, load
from .gate import Universe, judge, universe_of
from .gatewords import TITLES, outcome
from .records import BAD, Platform, Standing, VerdictRecord
from .suite import Suite
from .tomlfile import TomlError

USAGE = 2
"""The exit code for a file that cannot be used."""


@dataclass(frozen=True)
class Keeper:
    """What a run's verdicts are judged by."""

    expectations: Expectations
    facts: Facts
    universe: Universe

    def judge(self, record: VerdictRecord, version: str, report: pytest.TestReport) -> VerdictRecord:
        """Return the record with its judgement; make of the report what pytest makes of an expected failure.

        So pytest's own outcome, and its ways of ending a run early, go by what was expected.
        """
        judged = judge(self.expectations.entries, self.facts, version, record)
        if judged is None:
            return record
        if judged.standing is Standing.EXPECTED:
            if record.verdict in BAD:
                report.outcome = "skipped"
                report.wasxfail = judged.why
        elif not report.failed:
            came = outcome(record.verdict, record.reason)
            report.outcome = "failed"
            report.longrepr = f"{TITLES[judged.standing]}: {came}; {', '.join(judged.entries)} expects {judged.listed}"
        return msgspec.structs.replace(record, gate=judged)


def facts_of(platform: Platform) -> Facts:
    """Return what conditions are held against: ``platform``, and today's date in UTC."""
    return Facts(platform.probes, platform.release, datetime.now(UTC).date())


def keeper_of(config: pytest.Config, suite: Suite, manifests: Sequence[Manifest], platform: Platform) -> Keeper | None:
    """Return the keeper of this run, None where it has no expectations. Ends pytest with 2 for a file that is wrong."""
    file = cast("str | None", config.getoption("fdspec_expectations"))
    if file is None:
        return None
    try:
        expectations = load(Path(file))
    except TomlError as fault:
        pytest.exit(str(fault), returncode=USAGE)
    elsewhere = cast("list[str]", config.getoption("fdspec_elsewhere"))
    return Keeper(expectations, facts_of(platform), universe_of(suite, manifests, elsewhere))
