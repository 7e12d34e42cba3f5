"""`Descriptor`: closes once, never what is not its own."""

import copy
import fcntl
import gc
import os
import pickle
import warnings

import pytest
from fdspec.impls.reference.ownership import BadDescriptorError, Descriptor, descriptor_number


def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@pytest.fixture
def number():
    """A number whose closing the test decides on."""
    return os.open(os.devnull, os.O_RDONLY)


def test_close_is_idempotent_and_leaves_the_reused_number_alone(number):
    owner = Descriptor(number)
    assert owner.fileno() == number
    assert not owner.closed
    owner.close()
    assert owner.closed
    reused = os.open(os.devnull, os.O_RDONLY)
    assert reused == number, "the lowest free number is taken again"
    owner.close()
    assert is_open(reused)
    os.close(reused)


def test_context_manager(number):
    with Descriptor(number) as owner:
        assert is_open(owner.fileno())
    assert not is_open(number)


def test_detach_gives_up_ownership(number):
    owner = Descriptor(number)
    assert owner.detach() == number
    assert owner.closed
    owner.close()
    assert is_open(number)
    for call in (owner.fileno, owner.detach):
        with pytest.raises(ValueError, match="closed or detached"):
            call()
    os.close(number)


def test_forgotten_is_closed_with_a_warning(number):
    owner = Descriptor(number)
    with pytest.warns(ResourceWarning, match=f"descriptor {number} was forgotten"):
        del owner
    assert not is_open(number)


def test_forgotten_is_closed_even_when_the_warning_is_an_error(number):
    owner = Descriptor(number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ResourceWarning):
            owner.__del__()
    assert not is_open(number)
    assert owner.closed


def test_nothing_to_warn_of_after_close(number):
    owner = Descriptor(number)
    owner.close()
    del owner
    gc.collect()  # a warning would be an error here


def test_number_zero_is_a_number_like_any_other():
    saved = os.dup(0)
    try:
        owner = Descriptor(0)
        assert not owner.closed
        assert owner.fileno() == 0
        owner.close()
        assert not is_open(0)
    finally:
        os.dup2(saved, 0)
        os.close(saved)


@pytest.mark.parametrize("wrong", [-1, -100, 2**31, 2**70])
def test_a_number_out_of_range(wrong):
    with pytest.raises(BadDescriptorError, match=str(wrong)) as caught:
        Descriptor(wrong)
    assert caught.value.errno == 9
    with pytest.raises(BadDescriptorError):
        descriptor_number(wrong)


@pytest.mark.parametrize("wrong", [True, False, 1.0, "1", None, b"1", object()])
def test_a_wrong_type(wrong):
    with pytest.raises(TypeError):
        Descriptor(wrong)
    with pytest.raises(TypeError):
        descriptor_number(wrong)


def test_arguments_that_do_not_fit_leave_nothing_behind():
    with pytest.raises(TypeError):
        Descriptor()
    gc.collect()


def test_fileno_of_anything(number):
    with os.fdopen(number) as file:
        assert descriptor_number(file) == number
        assert descriptor_number(number) == number


def test_duplicate(number):
    with Descriptor.duplicate(number) as owner:
        assert owner.fileno() != number
        assert os.path.sameopenfile(owner.fileno(), number)
        assert fcntl.fcntl(owner.fileno(), fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert is_open(number)
    os.close(number)
    with pytest.raises(OSError, match="Bad file descriptor"):
        Descriptor.duplicate(number)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_two_owners_of_one_number_cannot_be(number, duplicate):
    with Descriptor(number) as owner, pytest.raises(TypeError, match="duplicate"):
        duplicate(owner)


def test_vacant_adopts_once(number):
    owner = Descriptor.vacant()
    assert owner.closed
    owner.adopt(number)
    with pytest.raises(ValueError, match="cannot adopt"):
        owner.adopt(number + 1)
    assert repr(owner) == f"<Descriptor {number}>"
    owner.close()
    assert repr(owner) == "<Descriptor closed>"
