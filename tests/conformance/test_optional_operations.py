"""Testees that leave out what is optional: cases that need it are unsupported, and all others run as ever."""

import pytest

BARE = "capabilities = []"
WHOLE = "'steps', 'options', 'listen'"


def verdicts(done):
    return {(one["case"], one["verdict"]) for one in done.verdicts}


def test_without_steps_everything_is_asked_one_by_one(miscreant, conformance):
    """Ten descriptors are opened, and closed again, by one request each."""
    manifest = miscreant(BARE)
    cases = ("--fdspec-case", "send.order", "--fdspec-case", "contracts.descriptor-limit.exactly")
    done = conformance("--fdspec-impl", str(manifest), *cases, "--fdspec-type", "stream")
    assert done.code == 0, done.out
    assert verdicts(done) == {("send.order", "pass"), ("contracts.descriptor-limit.exactly", "pass")}


@pytest.mark.parametrize(
    ("case", "needed"),
    [
        ("send.full", "setopt needs options"),
        ("ownership.shutdown-read", "shutdown needs options"),
        ("send.unconnected", "listen needs listen"),
    ],
)
def test_what_needs_an_operation_that_is_not_offered_is_unsupported(case, needed, miscreant, conformance):
    selected = ("--fdspec-case", case, "--fdspec-type", "stream")
    done = conformance("--fdspec-impl", str(miscreant(BARE)), *selected)
    assert done.code == 0, done.out
    (one,) = done.verdicts
    assert one["verdict"] == "unsupported"
    assert one["observed"].startswith(needed)
    offers = miscreant(f"capabilities = [{WHOLE}]", name="offers")
    assert verdicts(conformance("--fdspec-impl", str(offers), *selected, name="again")) == {(case, "pass")}


@pytest.mark.parametrize(
    "body",
    [
        "def open(self, *a): raise sys.modules['fdspec_testee'].Unsupported('not really')",
        "def setopt(self, *a): raise sys.modules['fdspec_testee'].Unsupported('not really')",
    ],
    ids=["within-steps", "options"],
)
def test_what_is_offered_and_then_refused_is_broken(body, miscreant, conformance):
    manifest = miscreant(body)
    done = conformance("--fdspec-impl", str(manifest), "--fdspec-case", "send.full", "--fdspec-case", "send.order")
    assert done.code == 1, done.out
    broken = {(one["case"], one["reason"]) for one in done.verdicts if one["verdict"] == "broken"}
    assert ("send.order" if "open" in body else "send.full", "claimed-capability") in broken


def test_a_transport_cannot_do_without_steps(miscreant, conformance):
    body = (
        "profiles = {'transport': {'types': ['stream']}, 'message': {'types': ['stream']}}\ncapabilities = ['options']"
    )
    done = conformance("--fdspec-impl", str(miscreant(body)), "--fdspec-case", "send.one")
    assert done.code == 3, done.out
    assert "profile transport needs the capability 'steps'" in done.verdicts[0]["observed"]
