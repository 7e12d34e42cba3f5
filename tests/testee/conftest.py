"""Fixtures of the tests of the Python testee, and the way to the module that they share."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # pytest's import mode is importlib

from python_client import ALL, NEWER, Testee, adapter, short

ADAPTERS = [(one, "python-socket") for one in ALL]
ADAPTERS += [(one, "python-recipe") for one in ALL]
ADAPTERS += [(one, "python-socket-fds") for one in NEWER]
ADAPTERS += [(sys.executable, "twisted-sendmsg")]


@pytest.fixture(scope="module", params=ADAPTERS, ids=lambda pair: "-".join(map(short, pair)))
def shared(request, tmp_path_factory):
    interpreter, name = request.param
    with Testee(interpreter, adapter(name), tmp_path_factory.mktemp("testee")) as one:
        yield one


@pytest.fixture
def testee(shared):
    """Each adapter on each interpreter; reused, as the harness does, so every test has to leave it clean."""
    yield shared
    shared.check()


@pytest.fixture(scope="module", params=ALL, ids=short)
def shared_message(request, tmp_path_factory):
    with Testee(request.param, adapter("python-socket"), tmp_path_factory.mktemp("testee")) as one:
        yield one


@pytest.fixture
def message(shared_message):
    """The adapter of the profile message alone, on each interpreter."""
    yield shared_message
    shared_message.check()
