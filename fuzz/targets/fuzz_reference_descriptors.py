"""The reference's descriptors, in process: nothing is lost, leaked, doubled or mistaken for something else."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.fuzz.targets import support
    from fdspec.impls.protocol.values import Profile

PROGRAMS = support.Executed("reference", Profile.DESCRIPTORS)


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Run the program that the input is."""
    PROGRAMS.run(data)


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
