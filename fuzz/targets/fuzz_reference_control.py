"""Whatever a control buffer holds, the reference's parser reads it to its end or says why not, and loses no number."""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["fdspec"]):  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - no types
    from fdspec.impls.reference.control import ILP32, LP64, Layout, decode, encode, integers, numbers, pidfd_number

from fdspec.fuzz.targets import support  # what it brings is not looked at


def TestOneInput(data: bytes) -> None:  # noqa: N802 - the name by which these services know it
    """Read the input as control data of either word size."""
    for layout in (LP64, ILP32):
        walked(data, layout)


def walked(control: bytes, layout: Layout) -> None:
    """Hold what `decode` returns against the buffer."""
    found = decode(control, layout)
    header = layout.cmsghdr.size
    support.hold(sum(len(one.data) + header for one in found.messages) <= len(control), "more came out than went in")
    support.hold(found.malformed is None or bool(found.malformed.strip()), "malformed, and nobody says how")
    support.hold(not found.cut or bool(found.messages), "cut, and there is no message")
    written = [(one.level, one.type, one.data) for one in found.messages]
    again = decode(encode(written, layout), layout)
    support.hold(again.messages == found.messages and again.malformed is None and not again.cut, f"{again} of {found}")
    rights, pidfds, refused = numbers(found.messages)
    every = [number for one in found.messages if one.is_rights for number in integers(one.data)]
    support.hold(set(rights) == {one for one in every if one >= 0}, f"{rights} of {every}")
    support.hold(len(rights) + refused == len(every), f"{len(rights)} and {refused} of {len(every)}")
    shown = [pidfd_number(one) for one in found.messages]
    support.hold(all(one in shown and one not in rights for one in pidfds), f"{pidfds} of {shown}")


def main() -> None:
    """Fuzz with the options of the command line."""
    support.fuzz(TestOneInput)


if __name__ == "__main__":
    main()
