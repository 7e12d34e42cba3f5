"""Whatever a file of records holds, reading it ends in a run or in a RecordsError that says where and what."""

from __future__ import annotations

from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.conformance import records
    from fdspec.reports.store import Limits, RecordsError, Run, load

from fdspec.fuzz.targets import support  # what it brings is not looked at

LIMITS = Limits(file=2**20, line=2**16, records=1000)
FILE = support.Memory()


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Read the input as a finished run, and as one that may have been cut."""
    path = FILE.put(data)
    strict, loose = read(data, path, allow=False), read(data, path, allow=True)
    if strict is not None:
        support.hold(strict == loose, "a whole run is read differently where an incomplete one is accepted")
        support.hold(len(strict.verdicts) <= data.count(b"\n"), "more verdicts than lines")
    for line in data.split(b"\n")[:50]:
        try:
            record = records.decode(line)
        except (ValueError, RecursionError):
            continue
        again = records.decode(records.encode(record))
        support.hold(repr(again) == repr(record), f"{record!r} is {again!r} when it is written and read")


def read(data: bytes, path: Path, *, allow: bool) -> Run | None:
    """Return the run, None where it is refused."""
    try:
        return load(path, allow_incomplete=allow, limits=LIMITS)
    except RecordsError as fault:
        support.told_shortly(fault, data)
        support.hold("\n" not in str(fault), "a message of several lines")
        return None


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
