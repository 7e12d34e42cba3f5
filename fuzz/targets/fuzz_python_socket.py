"""Python's socket.sendmsg and recvmsg, in process: nothing is lost, leaked, doubled or mistaken for something else."""

from __future__ import annotations

import importlib

import atheris

importlib.import_module("fdspec.conformance.model")  # not what is looked at

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    importlib.import_module("fdspec.fuzz.inprocess")
    from fdspec.fuzz.targets import support
    from fdspec.impls.protocol.values import Profile

PROGRAMS = support.Executed("python-socket", Profile.MESSAGE)


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Run the program that the input is."""
    PROGRAMS.run(data)


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
