"""The model's reader of control data sees what the reference's parser sees, as far as that is sound."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.conformance.model.calls import parse
    from fdspec.conformance.model.control import walk
    from fdspec.fuzz.targets import support
    from fdspec.impls.reference.control import LP64, decode


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Read the input with all three readers."""
    found, reference = parse(data), decode(data, LP64)
    sound = reference.malformed is None
    support.hold(len(found) * 16 <= len(data), f"{len(found)} messages in {len(data)} bytes")
    support.hold(
        len(found) >= len(reference.messages), f"{len(found)} messages, the reference reads {len(reference.messages)}"
    )
    for one, other in zip(found, reference.messages, strict=False):
        same = (one.level, one.type, one.data) == (other.level, other.type, other.data)
        support.hold(same, f"{one} and {other}")
    support.hold(not sound or len(found) == len(reference.messages), f"{found} and {reference}")
    sent = list(walk(data))
    support.hold(None not in sent[:-1], "it goes on after a wrong length")
    whole = [one for one in sent if one is not None]
    support.hold(
        [(one.level, one.type, one.data) for one in reference.messages][: len(whole)] == whole, f"{sent}, {reference}"
    )


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
