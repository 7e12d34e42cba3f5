"""Testees of mutants without a fresh interpreter: a fork of this process, in which all but the reference is loaded.

An anomaly costs a testee, and a mutant makes many: a start takes a few milliseconds so, in place of sixty.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import BinaryIO

from ..forking import Forked
from ..process import Process, Starter
from ..setup import TESTEE
from . import patch
from .tables import FILES, PACKAGE, Layer, adapter

_NAME = "fdspec_testee"


def starter(codes: Mapping[str, CodeType], layer: Layer = Layer.MESSAGE) -> Starter:
    """Return what starts a layer's adapter with the modules ``codes`` in place of the reference's (none: the very reference).

    It is loaded here and now, for every testee that will be forked, in place of what was loaded for another mutant.
    """
    library = _library()
    for name in [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]:
        del sys.modules[name]
    with patch.installed(codes):
        for file in sorted(FILES):
            importlib.import_module(f"{PACKAGE}.{file.removesuffix('.py')}")
        implementation = library.load(str(adapter(layer)))

    def serve() -> None:
        sys.stdout = sys.stderr  # what an implementation prints is log
        gc.freeze()  # the collection in every reset would walk over the whole harness
        library.serve(implementation)

    def start(
        command: Sequence[str], directory: Path, environment: Mapping[str, str], log: BinaryIO, cage: Callable[[], None]
    ) -> Process:
        del command, environment  # the program is this one
        return Forked(serve, directory, log, cage)

    return start


def _library() -> ModuleType:
    """Return the testee library."""
    found = sys.modules.get(_NAME)
    if found is None:
        spec = importlib.util.spec_from_file_location(_NAME, TESTEE / f"{_NAME}.py")
        if spec is None or spec.loader is None:
            raise ImportError(f"no loader for {TESTEE / _NAME}.py")
        found = sys.modules[_NAME] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
    return found
