"""A user without privileges: what needs some is said to be unsupported for that reason, the rest runs and passes."""

import os
import subprocess
import sys
from collections import Counter

import pytest
from fdspec.reports.store import load

UNPRIVILEGED = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
"""A user namespace in which we are somebody without any capability; our files are still our own."""
NOBODY = ("unshare", "-U")
"""A user namespace that maps nobody, as some containers have it: not even true credentials may be sent."""


@pytest.mark.parametrize(("wrapper", "unsupported"), [(UNPRIVILEGED, 1), (NOBODY, 8)], ids=["unprivileged", "nobody"])
def test_what_needs_privileges_says_so_and_the_rest_passes(wrapper, unsupported, tmp_path):
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pytest", "--pyargs", "fdspec.conformance", "-q", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(tmp_path), "--fdspec-impl", "reference", "--fdspec-out", str(out)]
    done = subprocess.run([*wrapper, *command], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=110)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    run = load(out / "records.jsonl")
    counts = Counter(one.verdict.value for one in run.verdicts)
    assert set(counts) == {"pass", "unsupported"}
    refused = {one.case: one.observed for one in run.verdicts if one.verdict.value == "unsupported"}
    assert len(refused) == unsupported, refused
    assert all("this user" in why for why in refused.values()), refused
