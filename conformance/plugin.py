"""The pytest plugin: options, collection, and one implementation's bench under every case.

``pytest --pyargs fdspec.conformance --fdspec-impl X`` is the whole of it; ``fdspec run`` says the same in fewer words. Where no
implementation is named and no module of the suite is collected, the plugin does nothing and imports nothing of weight.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .interpose.kernel import Kernel
    from .link import Link
    from .objects import Objects
    from .session import Session

HERE = Path(__file__).parent
LEVELS = ("must", "should", "may")
TYPES = ("stream", "dgram", "seqpacket")
PROFILES = ("message", "descriptors", "transport", "raw", "codec")
SESSION = pytest.StashKey["Session"]()
SILENT = pytest.StashKey[bool]()
"""Set by whoever shows what came of a run himself."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that choose implementations and cases."""
    group = parser.getgroup("fdspec", "conformance of descriptor passing")
    add = group.addoption
    add(
        "--fdspec-impl",
        action="append",
        default=[],
        metavar="ID|PATH",
        help="implementation to test: its id, or the path of an impl.toml",
    )
    add("--fdspec-all", action="store_true", help="test every implementation that can be had here")
    add("--fdspec-case", action="append", default=[], metavar="PATTERN", help="only cases whose id matches")
    add("--fdspec-level", choices=LEVELS, default=None, help="only cases of this level and stronger ones")
    add("--fdspec-type", action="append", default=[], choices=TYPES, help="only this type of socket")
    add("--fdspec-profile", action="append", default=[], choices=PROFILES, help="only this profile")
    add(
        "--fdspec-personality",
        default=None,
        metavar="NAME",
        help="answer the testees' calls as this other system would",
    )
    add("--fdspec-fresh", action="store_true", help="a fresh testee for each case")
    add(
        "--fdspec-shuffle",
        type=int,
        default=None,
        metavar="SEED",
        help="the cases of each implementation in this random order",
    )
    add("--fdspec-out", default=None, metavar="DIR", help="write DIR/records.jsonl")
    add("--fdspec-expectations", default=None, metavar="FILE", help="judge by this file of known failures")
    add(
        "--fdspec-config",
        default=None,
        metavar="FILE",
        help="where the other options were read from; it is noted in the records",
    )
    add(
        "--fdspec-elsewhere",
        action="append",
        default=[],
        metavar="ID",
        help="implementation that the expectations may name although this run leaves it out",
    )


def session_of(config: pytest.Config) -> Session:
    """Return the conformance session of this pytest run, made on first use. Raises pytest.UsageError."""
    found = config.stash.get(SESSION, None)
    if found is None:
        from .session import begin  # noqa: PLC0415 - nothing of weight where the suite is not run

        config.stash[SESSION] = found = begin(config)
    return found


def _active(config: pytest.Config) -> bool:
    return bool(config.getoption("fdspec_impl") or config.getoption("fdspec_all"))


def pytest_configure(config: pytest.Config) -> None:
    """Open the session early where implementations are named, so that a wrong name is told at once."""
    if _active(config):
        session_of(config)


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the suite's directory as a plain one: its modules are imported as what they are (see `SuiteModule`)."""
    return pytest.Dir.from_parent(parent, path=path) if path == HERE else None


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module | None:
    """Collect a module of the suite under its own name."""
    if module_path.parent != HERE:
        return None
    if not _active(parent.config):
        pytest.exit(
            "fdspec.conformance needs an implementation to test: add --fdspec-impl ID, or --fdspec-all", returncode=2
        )
    module: pytest.Module = SuiteModule.from_parent(parent, path=module_path)  # pyright: ignore[reportUnknownMemberType] - pytest types it so
    return module


class SuiteModule(pytest.Module):
    """A module of the suite, imported by its full name whatever pytest's import mode, so that nothing is imported twice."""

    def _getobj(self) -> ModuleType:
        import importlib  # noqa: PLC0415 - see pytest_configure

        return importlib.import_module(f"{__package__}.{self.path.stem}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item of every case for each implementation, profile and socket type to which it applies."""
    home, _, _ = metafunc.function.__module__.rpartition(".")
    if "link" not in metafunc.fixturenames or home != __package__:
        return
    targets = session_of(metafunc.config).targets(metafunc.function)
    metafunc.parametrize("link", targets, indirect=True, ids=[str(target) for target in targets])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Drop what was not selected, and keep the cases of one implementation together."""
    if _active(config):
        session_of(config).arrange(items)


@pytest.fixture
def link(request: pytest.FixtureRequest) -> Link:
    """The connected implementation; ``link.peer`` is the harness's raw end."""
    return session_of(request.config).begin_case(request.param, request.node)


@pytest.fixture
def objects(link: Link) -> Objects:
    """What this case may pass: files, FIFOs, sockets."""
    return link.objects


@pytest.fixture
def kernel(link: Link, request: pytest.FixtureRequest) -> Kernel:
    """The harness between the testee and its kernel, which the case tells what to do to system calls."""
    assert link is not None  # noqa: S101 - the connection comes first
    return session_of(request.config).kernel(request.node)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run the case, then take the census: a case passes when both are content."""
    __tracebackhide__ = True
    session = pyfuncitem.config.stash.get(SESSION, None)
    if session is None or not session.runs(pyfuncitem):
        return (yield)
    try:
        result = yield
    except BaseException as raised:  # noqa: BLE001 - the account is taken whatever the case ended in
        raise (session.end_case(pyfuncitem, raised) or raised) from None
    failure = session.end_case(pyfuncitem, None)
    if failure is not None:
        raise failure
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the verdict's record on the report, which is how it gets from an xdist worker to the controller."""
    report = yield
    session = item.config.stash.get(SESSION, None)
    if session is not None and isinstance(item, pytest.Function) and session.runs(item):
        session.attach(item, call, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write the record of a verdict as it comes."""
    from .output import write_report  # noqa: PLC0415 - see pytest_configure

    write_report(report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how the gate judged, where nobody else will."""
    ours = config.stash.get(SESSION, None)
    if ours is None or config.stash.get(SILENT, False):
        return
    words = ours.last_words()
    if words:
        terminalreporter.section("fdspec gate")
        for word in words:
            terminalreporter.write_line(word)


def pytest_keyboard_interrupt(excinfo: pytest.ExceptionInfo[BaseException]) -> None:
    """Note who ended the run before its end."""
    from .output import note_interrupt  # noqa: PLC0415 - see pytest_configure

    note_interrupt(excinfo.type)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """End the testees; write the footer."""
    ours = session.config.stash.get(SESSION, None)
    if ours is not None:
        ours.finish(session, int(exitstatus))
