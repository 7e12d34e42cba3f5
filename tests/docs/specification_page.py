"""The manual's page of the specification, made from the requirements and the cases that check them.

python tests/docs/specification_page.py        writes docs/specification.md
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from fdspec.conformance.specification import PEERS, Requirement, Section
from fdspec.conformance.suite import ORDER, Suite, load_suite

PAGE = Path(__file__).parents[2] / "docs" / "specification.md"
WIDTH = 124
HEAD = """\
# The specification

<!-- Made by tests/docs/specification_page.py from conformance/requirements/*.toml; don't edit it by hand. -->

How descriptors travel over AF_UNIX sockets, as {total} sentences, each of which can be right or wrong. `fdspec run` puts
them to the proof. `fdspec explain ID` prints one of them, `fdspec coverage` the account of all.

There is no standard that says all of this. POSIX names SCM_RIGHTS and leaves most of it open; the manual pages say more, and
in places what no kernel does; the rest is in the kernels' sources, in advisories, and in the bug trackers of those who found
out. Each sentence says where it comes from. Behaviour of Linux was measured, on 6.18; where other systems are known to differ
and may, each permitted outcome has a name, and a run records which one it saw.

## Words

A **message** is what one send queues: data and, beside it, **control messages** (cmsg). One of type SCM_RIGHTS carries
**descriptors**: numbers in a process's table. What they refer to is the **open file description**, which has the offset, the
status flags and the locks. From the send on, the message holds **references** of its own, and its descriptors are
**in flight** until they are **installed** in a receiver's table, or the message is dropped. **Room** is the space that the
receiver offers for control data. A **packet** is a message on a datagram or seqpacket socket, whose boundaries last; a
**stream** has bytes only. "Refused" means that the call fails with that error, and nothing is queued or changed.

| level | what it means |
|---|---|
| must | POSIX or a manual page says so, or whoever breaks it loses, leaks or confuses descriptors |
| should | programs rely on it, and a system that does otherwise surprises them |
| may | a system's own choice, told so that it is known; others may choose differently |

| subject | whose behaviour it is |
|---|---|
| kernel | what AF_UNIX sockets do, whoever calls them: Linux, another system, an emulator |
| library | what a wrapper owes its caller, in any language |
| transport | what a queued, event-driven transport owes in addition |

An id is permanent. **Cases** are those that check the sentence. **Elsewhere** are suites of others that test it too, also
where they look at the data only; a sentence without that line is tested nowhere else, as far as is known.
"""


def page(suite: Suite) -> str:
    """Return the page."""
    parts = [HEAD.format(total=len(suite.requirements)), "\n".join(_contents(suite)) + "\n"]
    parts += ["\n".join(_section(section, suite)) + "\n" for section in suite.sections]
    return "\n".join(parts)


def _contents(suite: Suite) -> Iterator[str]:
    yield "## Contents"
    yield ""
    yield f"| section | {' | '.join(level.value for level in ORDER)} | nobody else tests |"
    yield f"|---|{'--:|' * (len(ORDER) + 1)}"
    for section in suite.sections:
        yield _counts(f"[{section.title}](#{_anchor(section.title)})", section.requirement)
    yield _counts("all", list(suite.requirements.values()))
    yield ""
    yield from _wrapped(
        f"The suites that `fdspec coverage` compares with are those of {', '.join(PEERS[:-1])} and {PEERS[-1]}."
    )


def _counts(title: str, requirements: list[Requirement]) -> str:
    levels = [sum(one.level is level for one in requirements) for level in ORDER]
    return f"| {title} | {' | '.join(map(str, levels))} | {sum(not one.peers for one in requirements)} |"


def _anchor(title: str) -> str:
    return "-".join(title.lower().replace(",", "").split())


def _section(section: Section, suite: Suite) -> Iterator[str]:
    yield f"## {section.title}"
    yield ""
    yield from _wrapped(section.text)
    for one in section.requirement:
        yield ""
        yield from _requirement(one, suite)
    if section.left_out:
        yield ""
        yield "### Left out"
        yield ""
        for identity, reason in section.left_out.items():
            yield from _item(f"{identity}: {reason}.")


def _requirement(one: Requirement, suite: Suite) -> Iterator[str]:
    yield f"### {one.id}"
    yield ""
    yield from _wrapped(_plain(one.sentence))
    yield ""
    yield from _item(f"**{one.level.value}**, {one.subject.value}")
    for source in one.sources:
        name = f"[{source.name}]({source.link})" if source.link else source.name
        yield from _item(f"{name}: {_plain(source.text)}" if source.text else name)
    for name, meaning in one.outcomes.items():
        yield from _item(f"Permitted, *{name}*: {_plain(meaning)}")
    cases = [f"`{case.id}`" for case in suite.checking(one.id)]
    yield from _item(f"Cases: {', '.join(cases)}" if cases else "Cases: none yet")
    if one.peers:
        yield from _item(f"Elsewhere: {', '.join(one.peers)}")


def _plain(text: str) -> str:
    """Return ``text`` with what would begin strong text taken as it is."""
    return " ".join(text.split()).replace("__", r"\_\_").replace("*", r"\*")


def _item(text: str) -> list[str]:
    return _wrapped(text, "- ", "  ")


def _wrapped(text: str, first: str = "", later: str = "") -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    PAGE.write_text(page(load_suite()), encoding="utf-8")
