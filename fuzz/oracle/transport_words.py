"""What a transport can do wrong, each with the kind of breach that it is, the requirement that it breaks, and who sees it."""

from __future__ import annotations

from typing import NamedTuple

from ..judgement import END, Breach, Violation
from ..program import Program


class Word(NamedTuple):
    """A kind of breach, the id of a requirement, and whose end shows it."""

    breach: Breach
    requirement: str
    who: str = "testee"


_B = Breach
WORDS: dict[str, Word] = {
    # What goes out, as the peer receives it.
    "out-data": Word(_B.DATA, "TC04", "peer"),
    "out-identity": Word(_B.IDENTITY, "LC05", "peer"),
    "out-description": Word(_B.IDENTITY, "I01", "peer"),
    "out-descriptors": Word(_B.DESCRIPTORS, "TC01", "peer"),
    "out-crowd": Word(_B.DESCRIPTORS, "TC01", "peer"),
    "out-late": Word(_B.DESCRIPTORS, "TC01", "peer"),
    "out-missing": Word(_B.DATA, "TC04", "peer"),
    "out-withheld": Word(_B.DESCRIPTORS, "TC01", "peer"),
    "out-part": Word(_B.DESCRIPTORS, "TC02", "peer"),
    "out-no-end": Word(_B.EVENTS, "TC08", "peer"),
    "out-end": Word(_B.EVENTS, "TC04", "peer"),
    # What comes in, as the protocol is told.
    "in-data": Word(_B.DATA, "TC05"),
    "in-identity": Word(_B.IDENTITY, "LC05"),
    "in-description": Word(_B.IDENTITY, "I01"),
    "in-descriptors": Word(_B.DESCRIPTORS, "TC05"),
    "in-order": Word(_B.DESCRIPTORS, "TC05"),
    "in-cloexec": Word(_B.CLOEXEC, "LC06"),
    "in-missing": Word(_B.DATA, "TC05"),
    "in-unseen": Word(_B.HIDDEN_LOSS, "LC09"),
    "in-paused": Word(_B.EVENTS, "TC05"),
    "in-before-end": Word(_B.DATA, "TC09"),
    "plain-told": Word(_B.DESCRIPTORS, "TC06"),
    "plain-unlogged": Word(_B.EVENTS, "TC06"),
    # The life of a connection.
    "lost-twice": Word(_B.EVENTS, "TC09"),
    "lost-plain": Word(_B.EVENTS, "TC06"),
    "lost-taking": Word(_B.EVENTS, "TC05"),
    "lost-waiting": Word(_B.EVENTS, "TC01"),
    "lost-unasked": Word(_B.EVENTS, "TC04"),
    "lost-silently": Word(_B.HIDDEN_LOSS, "TC08"),
    "not-lost": Word(_B.EVENTS, "TC08"),
    "no-end": Word(_B.EVENTS, "TC09"),
    "raise-forgotten": Word(_B.EVENTS, "TC07"),
    "raise-silent": Word(_B.ERROR, "TC07"),
    "overrun-silent": Word(_B.ERROR, "TC02"),
    "bad-number": Word(_B.ERROR, "LC11"),
    "nameless": Word(_B.ERROR, "LC14"),
    "refused": Word(_B.ERROR, "TC04"),
    "loop-failed": Word(_B.ERROR, "TC04"),
    "producer": Word(_B.EVENTS, "TC03"),
    "not-resumed": Word(_B.EVENTS, "TC03"),
    # What is open.
    "stray": Word(_B.STRAY_CLOSE, "LC02"),
    "kept": Word(_B.LEAK, "TC08"),
}


def violation(program: Program, what: str, at: int, message: str, permitted: tuple[str, ...] = ()) -> Violation:
    """Return what is to be said of it; ``at``: the operation, or their number for the end."""
    word = WORDS[what]
    verb = program.operations[at].__struct_config__.tag if at < len(program.operations) else END
    place = f"{program.profile.value}/{program.side.value}/{word.who}"
    return Violation(word.breach, word.requirement, at, str(verb), place, message, permitted)
