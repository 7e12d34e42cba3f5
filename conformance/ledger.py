"""The ledger of ids: every id that a case or a requirement ever had, so that none is reused or changes its meaning unnoticed.

Expectations and records of others name our ids, so an id is permanent. ``ledger.txt`` beside this module has one line for each::

    case ID REVISION MEANING REQUIREMENT...
    requirement ID MEANING
    retired-case ID REVISION WHY
    retired-requirement ID WHY

MEANING is a digest of what the id stands for (never of code). Lines are sorted, so two branches that add ids merge well.

    python -m fdspec.conformance.ledger                           compare it with the suite
    python -m fdspec.conformance.ledger --update                  add new ids and new revisions
    python -m fdspec.conformance.ledger --retire ID --why TEXT    an id that is gone for good
    python -m fdspec.conformance.ledger --reworded ID             other words, the same meaning
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

import msgspec

from .suite import Case, Requirement, Suite, SuiteError, load_suite

FILE = Path(__file__).with_name("ledger.txt")
COMMAND = "python -m fdspec.conformance.ledger"
_HEAD = f"""\
# Every id that a case or a requirement ever had. Written by `{COMMAND} --update`;
# `{COMMAND} --help` and CONTRIBUTING.md explain it.
"""
_MEANING = re.compile(r"[0-9a-f]{12}")


class LedgerError(Exception):
    """A ledger that cannot be read, or a change that it does not allow: what is wrong, where, and what to do."""


class Kind(StrEnum):
    """What an id names."""

    CASE = "case"
    REQUIREMENT = "requirement"


class Rule(StrEnum):
    """What may be wrong between ledger and suite."""

    NEW = "new"
    REVISED = "revised"
    GONE = "gone"
    REUSED = "reused"
    CHANGED = "changed"
    BACK = "back"


WRITTEN = frozenset({Rule.NEW, Rule.REVISED})
"""What an update writes down by itself; everything else needs a person's word, or another id."""


@dataclass(frozen=True)
class Entry:
    """An id as it is known. ``meaning``: 12 hexadecimal digits. ``revision`` of a requirement is always 1."""

    meaning: str
    revision: int = 1
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retired:
    """An id that is gone for good, the last revision that it had, and why."""

    why: str
    revision: int = 1


Id = tuple[Kind, str]


@dataclass(frozen=True)
class Ledger:
    """All ids that ever were: those in use, and those retired."""

    entries: dict[Id, Entry] = field(default_factory=dict[Id, Entry])
    retired: dict[Id, Retired] = field(default_factory=dict[Id, Retired])


@dataclass(frozen=True)
class Problem:
    """One contradiction between ledger and suite; as text it says what to do."""

    rule: Rule
    kind: Kind
    id: str
    known: int = 1
    """The revision that the ledger has."""
    found: int = 1
    """The revision that the suite has."""
    why: str = ""

    def __str__(self) -> str:
        return _SENTENCES[self.rule].format(
            kind=self.kind, id=self.id, known=self.known, found=self.found, why=self.why, change=_CHANGE[self.kind]
        )


_SENTENCES = {
    Rule.NEW: f"{{kind}} {{id}} is not in the ledger: `{COMMAND} --update` adds it",
    Rule.REVISED: f"case {{id}} has revision {{found}}, the ledger {{known}}: `{COMMAND} --update` records it",
    Rule.GONE: "{kind} {id} is in the ledger and no longer in the suite: restore it, "
    f"or `{COMMAND} --retire {{id}} --why TEXT`",
    Rule.REUSED: "{kind} {id} was retired ({why}), and an id is never used again: choose another one",
    Rule.CHANGED: "the meaning of {kind} {id} changed: {change}; where only words changed, "
    f"`{COMMAND} --reworded {{id}}`",
    Rule.BACK: "the revision of case {id} went back from {known} to {found}: a revision only grows",
}
_CHANGE = {
    Kind.CASE: "give it a new revision",
    Kind.REQUIREMENT: "give the new sentence an id of its own, and retire this one",
}


# --- meaning -----------------------------------------------------------------------------------------------------------


def meaning_of(one: Case | Requirement) -> str:
    """Return the digest of what a case or a requirement means: 12 hexadecimal digits.

    The order in which requirements, profiles, types and capabilities are named does not count, nor do line breaks, nor the
    outcomes by name: what further systems do is learnt later, and the sentence stays.
    """
    match one:
        case Case():
            lists = (one.checks, one.profiles, one.types, one.needs)
            facts: object = [one.level, _plain(one.summary), *(sorted(set(words)) for words in lists)]
        case Requirement():
            facts = [one.level, _plain(one.sentence), one.subject]
    return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:12]


def _plain(text: str) -> str:
    return " ".join(text.split())


def ledger_of(suite: Suite) -> Ledger:
    """Return the ledger that knows just what is in ``suite``."""
    entries: dict[Id, Entry] = {}
    for one in suite.cases.values():
        entries[Kind.CASE, one.id] = Entry(meaning_of(one), one.revision, tuple(sorted(set(one.checks))))
    for one in suite.requirements.values():
        entries[Kind.REQUIREMENT, one.id] = Entry(meaning_of(one))
    return Ledger(entries)


# --- rules -------------------------------------------------------------------------------------------------------------


def compare(ledger: Ledger, suite: Suite) -> list[Problem]:
    """Return every contradiction between ``ledger`` and ``suite``, by kind and id; none where they agree."""
    found = ledger_of(suite).entries
    problems: list[Problem] = []
    for kind, name in sorted({*ledger.entries, *found}):
        here, known, gone = found.get((kind, name)), ledger.entries.get((kind, name)), ledger.retired.get((kind, name))
        rule = _rule(known, here, gone)
        if rule is not None:
            revisions = (known.revision if known else 1, here.revision if here else 1)
            problems.append(Problem(rule, kind, name, *revisions, gone.why if gone else ""))
    return problems


def _rule(known: Entry | None, here: Entry | None, gone: Retired | None) -> Rule | None:
    if here is None:
        return Rule.GONE
    if gone is not None:
        return Rule.REUSED
    if known is None:
        return Rule.NEW
    if here.revision != known.revision:
        return Rule.REVISED if here.revision > known.revision else Rule.BACK
    return Rule.CHANGED if here.meaning != known.meaning else None


def update(ledger: Ledger, suite: Suite) -> tuple[Ledger, list[Problem]]:
    """Return ``ledger`` with the new ids and new revisions of ``suite``, and the problems that stay."""
    found = ledger_of(suite).entries
    problems = compare(ledger, suite)
    written = {(one.kind, one.id): found[one.kind, one.id] for one in problems if one.rule in WRITTEN}
    return replace(ledger, entries=ledger.entries | written), [one for one in problems if one.rule not in WRITTEN]


def retire(ledger: Ledger, suite: Suite, name: str, why: str) -> Ledger:
    """Return ``ledger`` with the id retired, for good. Raises LedgerError for one in use, unknown, or retired already."""
    why = _plain(why)
    if not why:
        raise LedgerError(f"why {name} is retired is missing: add --why TEXT")
    where = _find(ledger, name)
    if where in ledger_of(suite).entries:
        raise LedgerError(f"{where[0]} {name} is still in the suite: remove it there before it is retired")
    entries = dict(ledger.entries)
    last = entries.pop(where)
    return Ledger(entries, ledger.retired | {where: Retired(why, last.revision)})


def reworded(ledger: Ledger, suite: Suite, name: str) -> Ledger:
    """Return ``ledger`` with the suite's words for an id whose meaning is the same. Raises LedgerError where none changed."""
    where = _find(ledger, name)
    changed = {(one.kind, one.id) for one in compare(ledger, suite) if one.rule is Rule.CHANGED}
    if where not in changed:
        raise LedgerError(f"the words of {where[0]} {name} did not change, so there is nothing to record")
    return replace(ledger, entries=ledger.entries | {where: ledger_of(suite).entries[where]})


def _find(ledger: Ledger, name: str) -> Id:
    """Return the entry that ``name`` means. Ids of cases have dots and lower case, those of requirements neither."""
    for kind in Kind:
        if (kind, name) in ledger.retired:
            raise LedgerError(f"{kind} {name} is retired already: {ledger.retired[kind, name].why}")
    found = [(kind, name) for kind in Kind if (kind, name) in ledger.entries]
    if len(found) != 1:
        raise LedgerError(f"{name!r} is {'both a case and a requirement' if found else 'not in the ledger'}")
    return found[0]


# --- the file ----------------------------------------------------------------------------------------------------------


def parse(text: str, where: str = "ledger") -> Ledger:
    """Return the ledger that ``text`` is. Raises LedgerError with the line."""
    entries: dict[Id, Entry] = {}
    retired: dict[Id, Retired] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        head, *words = line.split()
        known = _FORMS.get(head)
        if known is None:
            raise LedgerError(f"{where}:{number}: a line begins with {', '.join(_FORMS)} or #, and {head!r} came")
        kind, form, read = known
        try:
            name, one = words[0], read(words[1:])
        except (IndexError, ValueError) as fault:
            raise LedgerError(f"{where}:{number}: {form!r} expected, {line.strip()!r} came") from fault
        if (kind, name) in entries or (kind, name) in retired:
            raise LedgerError(f"{where}:{number}: {kind} {name} stands there twice: keep one of the two lines")
        if isinstance(one, Entry):
            entries[kind, name] = one
        else:
            retired[kind, name] = one
    return Ledger(entries, retired)


def _case(words: Sequence[str]) -> Entry:
    return Entry(_meaning(words[1]), _revision(words[0]), tuple(words[2:]))


def _requirement(words: Sequence[str]) -> Entry:
    (meaning,) = words
    return Entry(_meaning(meaning))


def _retired_case(words: Sequence[str]) -> Retired:
    return Retired(_why(words[1:]), _revision(words[0]))


def _retired_requirement(words: Sequence[str]) -> Retired:
    return Retired(_why(words))


def _meaning(word: str) -> str:
    if not _MEANING.fullmatch(word):
        raise ValueError(word)
    return word


def _revision(word: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", word):
        raise ValueError(word)
    return int(word)


def _why(words: Sequence[str]) -> str:
    if not words:
        raise ValueError("no reason")
    return " ".join(words)


_FORMS: dict[str, tuple[Kind, str, Callable[[Sequence[str]], Entry | Retired]]] = {
    "case": (Kind.CASE, "case ID REVISION MEANING REQUIREMENT...", _case),
    "requirement": (Kind.REQUIREMENT, "requirement ID MEANING", _requirement),
    "retired-case": (Kind.CASE, "retired-case ID REVISION WHY", _retired_case),
    "retired-requirement": (Kind.REQUIREMENT, "retired-requirement ID WHY", _retired_requirement),
}


def text(ledger: Ledger) -> str:
    """Return the file that is ``ledger``; `parse` reads it back."""
    return _HEAD + "".join(f"{line}\n" for line in sorted(_lines(ledger)))


def _lines(ledger: Ledger) -> Iterable[str]:
    for (kind, name), one in ledger.entries.items():
        words = [str(one.revision)] if kind is Kind.CASE else []
        yield " ".join([kind.value, name, *words, one.meaning, *one.checks])
    for (kind, name), gone in ledger.retired.items():
        words = [str(gone.revision)] if kind is Kind.CASE else []
        yield " ".join([f"retired-{kind.value}", name, *words, gone.why])


def read(path: Path = FILE) -> Ledger:
    """Return the ledger in ``path``. Raises LedgerError."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as fault:
        raise LedgerError(f"{path} cannot be read: {fault}") from fault


def write(ledger: Ledger, path: Path = FILE) -> None:
    """Write ``ledger`` into ``path``. Raises LedgerError."""
    try:
        path.write_text(text(ledger), encoding="utf-8")
    except OSError as fault:
        raise LedgerError(f"{path} cannot be written: {fault}") from fault


# --- the command -------------------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, or change what was asked for. Returns 0, 1 where a problem stays, 2 for wrong usage."""
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="The ledger of ids: compare it with the suite, or change it."
    )
    parser.add_argument("--update", action="store_true", help="add new ids and record new revisions")
    parser.add_argument("--retire", action="append", default=[], metavar="ID", help="an id that is gone for good")
    parser.add_argument("--why", default="", metavar="TEXT", help="why it is gone; it stands in the ledger for ever")
    parser.add_argument("--reworded", action="append", default=[], metavar="ID", help="other words, the same meaning")
    parser.add_argument("--file", type=Path, default=FILE, metavar="PATH", help="another ledger than the suite's own")
    options = parser.parse_args(arguments)
    if options.why and not options.retire:
        parser.error("--why says why an id is retired: add --retire ID")
    try:
        suite = load_suite()
        known = read(options.file)
        changed = known
        for name in options.reworded:
            changed = reworded(changed, suite, name)
        for name in options.retire:
            changed = retire(changed, suite, name, options.why)
        if options.update:
            changed, _ = update(changed, suite)
        if changed != known:
            write(changed, options.file)
    except (LedgerError, SuiteError) as fault:
        print(f"{parser.prog}: {fault}", file=sys.stderr)  # noqa: T201 - this is its command line
        return 2
    return _told(known, changed, compare(changed, suite))


def _told(known: Ledger, changed: Ledger, problems: Sequence[Problem]) -> int:
    """Print what was written and what stays; return the exit code."""
    before, after = set(_lines(known)), set(_lines(changed))
    lines = [f"- {line}" for line in sorted(before - after)] + [f"+ {line}" for line in sorted(after - before)]
    lines += [str(problem) for problem in problems]
    count = len(changed.entries), len(changed.retired), len(problems)
    lines.append("{} ids, {} retired, {} problems".format(*count))
    print("\n".join(lines))  # noqa: T201 - this is its command line
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
