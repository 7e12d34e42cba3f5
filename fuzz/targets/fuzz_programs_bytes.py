"""Every byte string is a valid program, and its bytes and its text are that program again."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.fuzz import adapt, decode, encode, everything, is_valid, needs_of, parse, show
    from fdspec.fuzz.offer import Offer
    from fdspec.fuzz.targets import support
    from fdspec.impls.protocol.values import Profile

LITTLE = Offer(Profile.MESSAGE, frozenset({"stream", "client", "payload"}))


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Decode the input, and write what it is in every form."""
    program = decode(data)
    support.hold(is_valid(program), f"not valid: {program!r}")
    support.hold(decode(encode(program)) == program, f"its bytes are another program: {program!r}")
    text = show(program)
    support.hold(parse(text) == program, f"its text is another program: {text}")
    for offer in (everything(program.profile), LITTLE):
        fitting = adapt(program, offer)
        support.hold(is_valid(fitting) and needs_of(fitting) <= offer.names, f"does not fit {offer.names}: {fitting!r}")
    support.hold(adapt(program, everything(program.profile)) == program, f"it fits, and is changed: {text}")


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
