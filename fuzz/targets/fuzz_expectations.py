"""Whatever a file of expectations says, it is understood or refused with its line."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.conformance import expectations, tomlfile
    from fdspec.conformance.records import Verdict

from fdspec.fuzz.targets import support  # what it brings is not looked at

FILE = Path("/nowhere/expectations.toml")
FACTS = expectations.Facts({"passrights": "yes"}, "6.1.0", date(2030, 1, 1))


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Read the input as a file of expectations."""
    try:
        found = expectations.understand(tomlfile.parse(data.decode(errors="replace"), FILE))
    except tomlfile.TomlError as fault:
        support.told_shortly(fault, data)
        support.hold(0 <= fault.line <= data.count(b"\n") + 1, f"line {fault.line} of {data.count(10)}")
        return
    for entry in found.entries:
        support.hold(entry.verdict is not Verdict.PASS, "a pass is expected")
        support.hold(1 <= entry.line <= data.count(b"\n") + 1, f"an entry in line {entry.line}")
        entry.holds(FACTS, "1.0")
        entry.expired(FACTS.today)


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
