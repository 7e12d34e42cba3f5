"""Whatever a text says, it is a program or a BadProgram with line and column."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.fuzz import BadProgram, decode, encode, is_valid, parse, show
    from fdspec.fuzz.targets import support


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Read the input as the text of a program."""
    text = data.decode(errors="replace")
    try:
        program = parse(text)
    except BadProgram as fault:
        lines = text.split("\n")
        support.told_shortly(fault, data)
        support.hold(1 <= fault.line <= len(lines), f"line {fault.line} of {len(lines)}")
        support.hold(1 <= fault.column <= len(lines[fault.line - 1]) + 1, f"column {fault.column} in line {fault.line}")
        return
    support.hold(is_valid(program), f"not valid: {program!r}")
    support.hold(parse(show(program)) == program, f"another program when it is written and read: {show(program)}")
    support.hold(decode(encode(program)) == program, f"its bytes are another program: {show(program)}")


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
