"""Whatever a manifest says, it is a Manifest or a ManifestError that names the key."""

from __future__ import annotations

from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.impls.manifest import PLACEHOLDERS, ManifestError, parse, placeholders

from fdspec.fuzz.targets import support  # what it brings is not looked at

FILE = Path("/nowhere/impl.toml")


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Read the input as a manifest."""
    try:
        manifest = parse(data.decode(errors="replace"), FILE)
    except ManifestError as fault:
        support.told_shortly(fault, data)
        support.hold(fault.file == FILE, "the error is of another file")
        return
    support.hold(manifest.file == FILE, f"no manifest: {manifest!r}")
    support.hold(bool(manifest.profiles) and bool(manifest.start.command), "what is required is empty")
    filled = placeholders(manifest.start.command, dict.fromkeys(PLACEHOLDERS, "x"))
    support.hold(not any(f"{{{name}}}" in word for word in filled for name in PLACEHOLDERS), f"not filled in: {filled}")


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
