"""Whatever a configuration says, it is understood or refused with its line."""

from __future__ import annotations

from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.conformance import config, tomlfile

from fdspec.fuzz.targets import support  # what it brings is not looked at

FILES = (Path("/nowhere/fdspec.toml"), Path("/nowhere/pyproject.toml"))


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Read the input as a configuration, in both files that can hold one."""
    text = data.decode(errors="replace")
    for file in FILES:
        try:
            document = tomlfile.parse(text, file)
            if file.name == config.PROJECT and not has_table(document):
                continue
            found = config.understand(document)
        except tomlfile.TomlError as fault:
            support.told_shortly(fault, data)
            support.hold(0 <= fault.line <= data.count(b"\n") + 1, f"line {fault.line} of {data.count(10)}")
            continue
        for key in found.lines:
            support.hold(1 <= found.lines[key] <= data.count(b"\n") + 1, f"{key} in line {found.lines[key]}")
            support.hold(len(found.place(key)) < support.LONGEST, "a place that nobody can read")


def has_table(document: tomlfile.Document) -> bool:
    """Whether a pyproject.toml is a configuration at all."""
    tool = document.table.get(config.TABLE[0])
    return isinstance(tool, dict) and config.TABLE[1] in tool


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
