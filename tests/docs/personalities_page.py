"""The manual's page of the personalities, made from their tables.

python tests/docs/personalities_page.py        writes docs/personalities.md
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from fdspec.conformance.interpose.personality import LINUX, Difference, Personality, personalities
from fdspec.conformance.interpose.personality_rules import Effect

PAGE = Path(__file__).parents[2] / "docs" / "personalities.md"
WIDTH = 124
HEAD = """\
# Personalities

<!-- Made by tests/docs/personalities_page.py from conformance/interpose/personalities/*.toml; don't edit it by hand. -->

A wrapper that was only ever tried on Linux meets a kernel there that always tells the truth about lengths, closes what has no
room, and merges what was sent in pieces. Others don't. A **personality** is another system's kernel as far as control messages
go: a table of what it does otherwise than Linux, each difference with the mechanism that repeats it, the
[requirements](specification.md) that it changes, and where the knowledge comes from. With one, an implementation can be asked
on Linux how it would fare there.

It is an **emulation**. The harness takes the real message from a duplicate of the testee's socket, with all the room there
is; a pure function says what the other kernel would have shown of it; the harness installs those descriptors and writes that
control buffer. No other kernel ran, and a report must say so. What holds on the system itself, only the system shows.

## What stays Linux's

- The **layout**. A testee was compiled for Linux: its control message has a header of 16 bytes, with cmsg_len in the first 8, and
  its numbers of flags, levels, types and errors are Linux's. Where a table says alignment 4, the kernel puts the next header at
  the next multiple of 4, and CMSG_NXTHDR of a testee, which goes on by 8, does not find it there; that is what such a layout does
  to a parser that was built for another. Lengths that a source tells with a header of 12 bytes are 4 higher here.
- The **data**: how a stream is divided, when a call blocks, which packet is too big.
- **Everything but messages**: setsockopt(2), shutdown(2), close(2), signals, the collection of garbage in flight. An option that
  a system lacks can still be set; what it would bring is withheld where a table says so, and cases that need it are for others.

## The suite under one

    fdspec run --personality macos -i python-socket

runs the cases on libraries and transports with every call on the connection under test answered so. Records and reports call
the kernel "macOS, emulated by fdspec on Linux ...". A configured file of expectations is left out, because it is about the real
kernel; `--expectations` names another. It takes the [interposer](interposer.md); where that is not to be had the run ends
with exit code 3.

What the run does not judge is `unsupported`, with the reason:

- a case that checks a requirement which does not hold there, or rests on Linux's way (both stand in the tables below);
- a case that needs an option or a flag which the system lacks;
- a failure in a case in which the system itself left descriptors open that nobody was told of;
- a descriptor opened with O_PATH, which no process can put into another one.

Cases on the real kernel (profile `raw`) and those that plan faults of their own are not run at all. An implementation that
looks at the system's name to choose its way goes Linux's way here: `reference` gives room by CMSG_LEN on Linux and by CMSG_SPACE
elsewhere, so what it loses on the emulated FreeBSD, a port to FreeBSD would not.

## In Python

```python
from fdspec.conformance.interpose.personality import find
from fdspec.conformance.interpose.shape import Arrived, Asked, render, shape

arrived = Arrived(groups=((0, 1, 2),))  # three descriptors came, in one control message
shaped = shape(find("macos"), arrived, Asked(room=24))  # the testee has room for two
print(shaped.shown, shaped.leaked, shaped.pieces[0].length, shaped.controllen)
print(render(shaped, {0: 5, 1: 6, 2: 7}).hex(" ", 4))
```

prints

```text
(0, 1) (2,) 28 24
1c000000 00000000 01000000 01000000 05000000 06000000
```

`shape` answers a receive, `admit` of `shape_send` says whether a send is refused. Neither knows of processes. With the
personality `linux` the answer is the running kernel's own, and a test holds it against that, for every room from 0 to 120 bytes
and every number of free descriptors.
"""


def page(found: Mapping[str, Personality]) -> str:
    """Return the page."""
    parts = [HEAD, "\n".join(_overview(found)) + "\n"]
    parts += ["\n".join(_personality(one)) + "\n" for name, one in found.items() if name != LINUX]
    return "\n".join(parts)


def _overview(found: Mapping[str, Personality]) -> Iterator[str]:
    shown = [one for name, one in found.items() if name != LINUX]
    yield "## All of them"
    yield ""
    yield f"| effect | {' | '.join(f'`{one.id}`' for one in shown)} |"
    yield f"|---|{':-:|' * len(shown)}"
    for effect in Effect:
        if effect is Effect.ABSENT:
            continue
        marks = ["•" if any(each.effect is effect for each in one.differences) else "" for one in shown]
        yield f"| {effect} | {' | '.join(marks)} |"
    lacking = sorted({name for one in shown for name in one.lacks})
    for name in lacking:
        marks = ["•" if name in one.lacks else "" for one in shown]
        yield f"| no {name} | {' | '.join(marks)} |"


def _personality(one: Personality) -> Iterator[str]:
    yield f"## {one.name}"
    yield ""
    yield from _wrapped(f"`{one.id}`: {one.summary}")
    yield ""
    yield from _wrapped(f"In a report: *{one.emulated}*.")
    for difference in one.differences:
        yield ""
        yield from _difference(difference)
    yield ""
    yield "**Not emulated**"
    yield ""
    for sentence in one.left_out:
        yield from _wrapped(_plain(sentence), "- ", "  ")


def _difference(one: Difference) -> Iterator[str]:
    yield from _wrapped(f"**{one.id}** {_plain(one.what)}")
    yield ""
    if one.effect.value != one.id or one.given.given():
        values = {name: getattr(one.given, name) for name in one.given.__struct_fields__ if name in one.given.given()}
        told = ", ".join(f"{name} {_value(value)}" for name, value in values.items())
        yield from _wrapped(f"Effect: `{one.effect}`{f' with {told}' if told else ''}", "- ", "  ")
    if one.changes:
        links = ", ".join(f"[{name}](specification.md#{name.lower()})" for name in one.changes)
        yield from _wrapped(f"Changes {links}", "- ", "  ")
    if one.lacks:
        yield from _wrapped(f"Not there: {', '.join(one.lacks)}", "- ", "  ")
    for source in one.sources:
        name = f"[{source.name}]({source.link})" if source.link else source.name
        yield from _wrapped(f"{name}: {_plain(source.text)}", "- ", "  ")


def _value(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _plain(text: str) -> str:
    """Return ``text`` with what would begin strong text taken as it is."""
    return " ".join(text.split()).replace("__", r"\_\_").replace("*", r"\*")


def _wrapped(text: str, first: str = "", later: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    PAGE.write_text(page(personalities()), encoding="utf-8")
