"""A user without privileges: what needs some is said to be unsupported for that reason, the rest runs and passes."""

import os
import subprocess
import sys

import pytest
from fdspec.reports.store import load

UNPRIVILEGED = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
"""A user namespace in which we are somebody without any capability; our files are still our own."""
NOBODY = ("unshare", "-U")
"""A user namespace that maps nobody, as some containers have it: not even true credentials may be sent."""


CROWDED = "other processes of this user have more descriptors in flight than the limit"
"""Said of one case where that is so, which is the machine's business."""
NO_SUCH_CALL = "that could be met by"
"""Said of a case whose fault never acts, because the reference makes no such call."""


def verdicts(wrapper, implementation, out):
    """Run the suite as another user; return its verdicts, none of them bad."""
    command = [sys.executable, "-m", "pytest", "--pyargs", "fdspec.conformance", "-q", "-p", "no:cacheprovider"]
    command += ["-c", os.devnull, "--rootdir", str(out), "--fdspec-impl", implementation, "--fdspec-out", str(out)]
    done = subprocess.run([*wrapper, *command], capture_output=True, text=True, check=False, cwd=out, timeout=110)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    run = load(out / "records.jsonl")
    assert {one.verdict.value for one in run.verdicts} == {"pass", "unsupported"}
    return run.verdicts


@pytest.mark.parametrize(("wrapper", "unsupported"), [(UNPRIVILEGED, 1), (NOBODY, 8)], ids=["unprivileged", "nobody"])
def test_what_needs_privileges_says_so_and_the_rest_passes(wrapper, unsupported, tmp_path):
    found = verdicts(wrapper, "reference", tmp_path)
    refused = {
        one.case: one.observed
        for one in found
        if one.verdict.value == "unsupported" and one.observed != CROWDED and NO_SUCH_CALL not in one.observed
    }
    assert len(refused) == unsupported, refused
    assert all("this user" in why for why in refused.values()), refused


NEED_ROOT = {
    "raw-credentials.forged-by-a-privileged-sender",
    "raw-identity.access-of-the-opener",
    "raw-limits.privileged",
    "raw-objects.mount",
    "raw-objects.nameless",
}
IN_FLIGHT = {
    "raw-lifetime.nested",
    "raw-limits.counted-for-the-user",
    "raw-limits.in-flight",
    "raw-limits.not-charged-to-the-buffer",
    "raw-limits.plain-data-passes",
    "raw-limits.raised",
    "raw-limits.receiver-closed",
}
"""What cannot be had where others of the user have enough in flight."""


@pytest.mark.parametrize("wrapper", [UNPRIVILEGED, NOBODY], ids=["unprivileged", "nobody"])
def test_kernel_cases_without_privileges(wrapper, tmp_path):
    found = verdicts(wrapper, "linux", tmp_path)
    refused = {one.case for one in found if one.verdict.value == "unsupported"}
    credentials = {name for name in refused if name.startswith("raw-credentials.")}
    others = refused - NEED_ROOT - IN_FLIGHT - credentials - {"raw-ownership.rights-beside-refused-credentials"}
    assert not others
    assert refused >= NEED_ROOT
    assert len(credentials) == (1 if wrapper is UNPRIVILEGED else 5), credentials
