"""Modules of the reference replaced by a mutant's, within this process; the files are never touched."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, ModuleType

__all__ = ["install", "installed"]


class _Loader(importlib.abc.Loader):
    """Fills the module with the mutant's code in place of the file's."""

    def __init__(self, code: CodeType) -> None:
        self._code = code

    def exec_module(self, module: ModuleType) -> None:
        exec(self._code, module.__dict__)  # noqa: S102 - the code of our own tables


class _Finder(importlib.abc.MetaPathFinder):
    """Answers for the changed modules."""

    def __init__(self, codes: Mapping[str, CodeType]) -> None:
        self._codes = codes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the mutant's spec for a changed module, None for any other."""
        del path, target
        code = self._codes.get(fullname)
        if code is None:
            return None
        spec = importlib.machinery.ModuleSpec(fullname, _Loader(code), origin=code.co_filename)
        spec.has_location = True
        return spec


def install(codes: Mapping[str, CodeType]) -> None:
    """Let each module of ``codes`` be that code from now on. Raises RuntimeError when one has been imported already."""
    _install(codes)


@contextmanager
def installed(codes: Mapping[str, CodeType]) -> Generator[None]:
    """Let each module of ``codes`` be that code when it is imported meanwhile. Raises RuntimeError as `install` does."""
    finder = _install(codes)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _install(codes: Mapping[str, CodeType]) -> _Finder:
    for name in codes:
        if name in sys.modules:
            raise RuntimeError(f"{name} has been imported already: a mutant must come first")
    finder = _Finder(codes)
    sys.meta_path.insert(0, finder)
    return finder
