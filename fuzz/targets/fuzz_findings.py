"""Whatever the file of a finding says, it is a Finding that can be written again, or a BadFinding with its line."""

from __future__ import annotations

from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.fuzz.findings.store import BadFinding, name_of, parse_finding, show_finding
    from fdspec.fuzz.program import is_valid
    from fdspec.fuzz.targets import support

FILE = Path("/nowhere/finding.toml")


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Read the input as a finding's file."""
    try:
        finding = parse_finding(data.decode(errors="replace"), FILE)
    except BadFinding as fault:
        support.told_shortly(fault, data)
        support.hold(0 <= fault.line <= data.count(b"\n") + 1, f"line {fault.line} of {data.count(10)}")
        return
    support.hold(is_valid(finding.program), "its program is not valid")
    again = parse_finding(show_finding(finding), FILE)
    support.hold(again == finding, f"another finding when it is written and read: {again!r}, {finding!r}")
    name = name_of(finding)
    support.hold(len(name) < 256 and "/" not in name and "\0" not in name, f"no name of a file: {name!r}")


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
