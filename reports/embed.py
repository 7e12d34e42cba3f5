"""The data behind the page: everything a click can ask for, each string once, within a budget."""

from __future__ import annotations

import msgspec

from ..conformance.gatewords import judged
from ..conformance.records import CaseRecord, Open, RequirementRecord, VerdictRecord
from .census import compare, flags
from .control import Layout, layout, parse
from .fold import READING, Folded
from .text import block, bound, line

DETAIL_BUDGET = 2_000_000
"""Bytes (about) of transcripts, censuses and logs in a page; of what does not fit the page says so."""
TEXT_BUDGET = 3_000_000
"""Bytes (about) of expected and observed texts; beyond it they are cut short."""
MAX_ENTRIES = 200
MAX_OPEN = 300
LEFT_OUT = -1
"""In place of a detail's index: it did not fit."""

_PLACEHOLDERS = "\ue000\ue001\ue002\ue003\ue004"  # text.visible leaves no private code point, so these are free
_UNSAFE = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


class _Table:
    """Values by index, each once; ``size`` is what they take."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self.size = 0
        self._index: dict[object, int] = {}

    def add(self, name: object, value: object, size: int) -> int:
        found = self._index.get(name)
        if found is None:
            found = self._index[name] = len(self.values)
            self.values.append(value)
            self.size += size + 4
        return found


class _Builder:
    def __init__(self, folded: Folded, detail_budget: int, text_budget: int) -> None:
        self.folded = folded
        self.left = detail_budget
        self.text_left = text_budget
        self.strings = _Table()
        self.text("")
        self.opens = _Table()
        self.controls = _Table()
        self.censuses = _Table()
        self.details: list[object] = []
        self.how: Layout = layout(folded.run.header.platform.machine)
        self.chosen: dict[int, int] = {}

    def text(self, text: str) -> int:
        return self.strings.add(text, text, len(text.encode()))

    def build(self) -> dict[str, object]:
        self.choose()
        run = self.folded.run
        cells: list[object] = []
        for implementation in self.folded.available:
            row: list[object] = []
            for case in run.cases:
                cell = self.folded.cells.get((implementation.id, case.id))
                row.append([self.verdict(each) for each in cell.verdicts] if cell else 0)
            cells.append(row)
        return {
            "verdicts": [verdict.value for verdict in READING],
            "impls": [
                {
                    "id": line(each.id),
                    "name": line(each.name),
                    "language": line(each.language),
                    "homepage": link(each.homepage),
                    "version": line(each.version),
                    "runtime": line(each.runtime),
                    "profiles": [line(profile) for profile in each.profiles],
                }
                for each in self.folded.available
            ],
            "cases": [_case(case) for case in run.cases],
            "reqs": {line(each.id): _requirement(each) for each in run.requirements},
            "cells": cells,
            "details": self.details,
            "opens": self.opens.values,
            "controls": self.controls.values,
            "censuses": self.censuses.values,
            "s": self.strings.values,
        }

    def choose(self) -> None:
        """Give the budget to details: first one of each cell, its worst, then the others."""
        cells = [self.folded.cells[pair] for pair in self.folded.cells]
        first = [cell.verdicts[0] for cell in cells]
        rest = [verdict for cell in cells for verdict in cell.verdicts[1:]]
        for verdict in [*first, *rest]:
            if not (verdict.transcript or verdict.before or verdict.after or verdict.log or verdict.noise):
                continue
            if self.left <= 0:
                self.chosen[id(verdict)] = LEFT_OUT
                continue
            before = self.spent()
            detail = self.detail(verdict)
            self.left -= self.spent() - before + len(msgspec.json.encode(detail))
            self.details.append(detail)
            self.chosen[id(verdict)] = len(self.details)  # from 1: 0 means that there is none

    def spent(self) -> int:
        return self.strings.size + self.opens.size + self.controls.size + self.censuses.size

    def verdict(self, verdict: VerdictRecord) -> list[int]:
        row = [
            self.text(line(verdict.profile, 60)),
            self.text(line(verdict.type, 60)),
            self.text(line(verdict.variant, 120)),
            READING.index(verdict.verdict),
            _micro(verdict.duration),
            self.text(template(verdict)),
            self.text(line(verdict.reason, 120)),
            verdict.attempt - 1,
            self.text(line(verdict.outcome, 200)),
            self.long(verdict.expected),
            self.long(verdict.observed),
            self.chosen.get(id(verdict), 0),
            self.text(line(judged(verdict.gate), 600)) if verdict.gate else 0,
        ]
        while not row[-1]:
            row.pop()
        return row

    def long(self, text: str) -> int:
        if not text:
            return 0
        before = self.strings.size
        index = self.text(block(text, 1_500) if self.text_left > 0 else line(text, 60))
        self.text_left -= self.strings.size - before
        return index

    def detail(self, verdict: VerdictRecord) -> dict[str, object]:
        entries = [
            [
                _micro(entry.at),
                self.text(line(entry.actor, 40)),
                self.text(line(entry.kind, 60)),
                self.text(block(entry.text, 1_500)),
                *([self.control(entry.control)] if entry.control else []),
            ]
            for entry in verdict.transcript[:MAX_ENTRIES]
        ]
        return {
            "t": entries,
            "tcut": max(0, len(verdict.transcript) - MAX_ENTRIES),
            "c": self.census(verdict),
            "l": self.text(block(verdict.log, 6_000)),
            "n": [self.text(line(each, 300)) for each in verdict.noise[:20]],
            "ncut": max(0, len(verdict.noise) - 20),
        }

    def census(self, verdict: VerdictRecord) -> int:
        """Keep both censuses: what differs first if there are too many to show; return their index."""
        pairs = compare(verdict.before, verdict.after)
        shown = [pair for pair in pairs if pair.change] + [pair for pair in pairs if not pair.change]
        rows = tuple(
            (pair.fd, pair.change.value, self.opened(pair.before), self.opened(pair.after))
            for pair in sorted(shown[:MAX_OPEN], key=lambda pair: pair.fd)
        )
        both = (rows, max(0, len(pairs) - MAX_OPEN), int(bool(verdict.before)), int(bool(verdict.after)))
        return self.censuses.add(both, both, 16 * len(rows) + 12)

    def opened(self, opened: Open | None) -> int:
        """Return an index from 1; 0 for a number that was not open."""
        if opened is None:
            return 0
        facts = (
            line(opened.target, 200),
            f"{opened.device:x}:{opened.inode}",
            flags(opened),
            line(opened.owner, 60),
        )
        return self.opens.add(facts, list(facts), sum(map(len, facts)) + 12) + 1

    def control(self, text: str) -> int:
        control = parse(text, self.how)
        messages = [[each.offset, each.length, each.text()] for each in control.messages[:64]]
        data = control.data[:1_024]
        note = bound(control.note, 200)
        if len(control.data) > len(data):
            note = f"{note}; " * bool(note) + f"{len(control.data) - len(data)} more bytes not shown"
        return self.controls.add(
            text, [data.hex(), messages, note, self.how.word], 2 * len(data) + 60 * len(messages) + 20
        )


def build(folded: Folded, detail_budget: int = DETAIL_BUDGET, text_budget: int = TEXT_BUDGET) -> bytes:
    """Return the data as JSON that may stand in a ``script`` element: no ``<``, ``>``, ``&``, U+2028 or U+2029."""
    data = _Builder(folded, detail_budget, text_budget).build()
    return msgspec.json.encode(data).decode().translate(_UNSAFE).encode()


def template(verdict: VerdictRecord) -> str:
    """Return the command that reproduces a verdict, with what differs from cell to cell replaced by marks."""
    text = line(verdict.reproduce, 2_000)
    for mark, part in zip(_PLACEHOLDERS, _parts(verdict), strict=True):
        if len(part) > 2:
            text = text.replace(part, mark)
    return text


def expand(text: str, verdict: VerdictRecord) -> str:
    """Return what ``template`` was given; the page does the same."""
    return text.translate({ord(mark): part for mark, part in zip(_PLACEHOLDERS, _parts(verdict), strict=True)})


def _parts(verdict: VerdictRecord) -> tuple[str, str, str, str, str]:
    return (
        line(verdict.case),
        line(verdict.implementation),
        line(verdict.variant, 120),
        line(verdict.profile, 60),
        line(verdict.type, 60),
    )


def link(address: str) -> str:
    """Return ``address`` if it is one that a page may link to, else nothing."""
    safe = line(address, 1_000)
    return safe if safe == address and address.startswith(("https://", "http://")) else ""


def _case(case: CaseRecord) -> dict[str, object]:
    return {
        "id": line(case.id),
        "area": line(case.area),
        "summary": line(case.summary, 1_000),
        "level": case.level.value,
        "checks": [line(check) for check in case.checks],
        "revision": case.revision,
        "place": line(case.place),
    }


def _requirement(requirement: RequirementRecord) -> dict[str, object]:
    return {
        "sentence": line(requirement.sentence, 2_000),
        "level": requirement.level.value,
        "subject": line(requirement.subject),
        "sources": [[line(each.name), line(each.text, 1_000), link(each.link)] for each in requirement.sources],
    }


def _micro(value: float) -> int:
    return round(min(max(value, 0.0), 1e9) * 1e6)
