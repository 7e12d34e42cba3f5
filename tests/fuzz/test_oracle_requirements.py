"""The tables from breaches to requirements."""

import pytest
from fdspec.conformance.model.reasons import REASONS
from fdspec.conformance.specification import Subject, read_sections
from fdspec.fuzz.judgement import Breach
from fdspec.fuzz.oracle.requirements import KERNEL, LIBRARY, OF_THE_PROTOCOL, USUAL, Situation, requirement_of

SUBJECTS = {one.id: one.subject for section in read_sections() for one in section.requirement}


@pytest.mark.parametrize("pair", LIBRARY, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def test_a_breach_of_a_library_is_one_of_a_librarys_requirement(pair):
    assert SUBJECTS[LIBRARY[pair]] is Subject.LIBRARY


@pytest.mark.parametrize("breach", KERNEL, ids=str)
def test_a_breach_of_a_kernel_is_one_of_a_kernels_requirement(breach):
    assert SUBJECTS[KERNEL[breach]] is Subject.KERNEL


def test_every_breach_that_a_kernel_can_commit_has_a_requirement():
    of_others = {Breach.EVENTS, Breach.DIFFERENT}
    assert KERNEL.keys() == set(Breach) - OF_THE_PROTOCOL - of_others


@pytest.mark.parametrize("breach", sorted(OF_THE_PROTOCOL))
def test_a_breach_of_the_protocol_stands_for_itself(breach):
    assert requirement_of(breach, Situation.ACCOUNT, raw=False) == breach.value


def test_a_pair_that_cannot_be_is_an_error():
    with pytest.raises(KeyError):
        requirement_of(Breach.CLOEXEC, Situation.SEND, raw=False)


def test_every_reason_of_the_model_is_a_requirement():
    assert SUBJECTS.keys() >= REASONS
    assert USUAL <= REASONS
