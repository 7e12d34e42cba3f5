"""What the gate says: its judgement of a run, in words, from the records alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .records import Gate, Judgement, Standing, VerdictRecord


def outcome(verdict: str, reason: str) -> str:
    """Return a verdict with its reason, where that says more: ``fail (assertion)``, ``leak``."""
    return f"{verdict} ({reason})" if reason not in ("", verdict) else f"{verdict}"


TITLES: dict[Standing, str] = {
    Standing.EXPECTED: "as expected",
    Standing.UNLISTED: "unlisted failure",
    Standing.UNEXPECTED_PASS: "unexpected pass",
    Standing.OTHER_VERDICT: "other verdict",
    Standing.OVERLAP: "overlap",
    Standing.UNDECIDED: "undecided condition",
    Standing.MATCHES_NOTHING: "matches nothing",
    Standing.EXPIRED: "expired",
}


@dataclass(frozen=True)
class Complaint:
    """One reason why the gate is red, and the entries that it turns on, as ``file:line``."""

    standing: Standing
    text: str
    entries: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{TITLES[self.standing]}: {self.text}"


_TEXTS: dict[Standing, str] = {
    Standing.UNLISTED: "{where} came to {came}, and no entry of {file} lists it",
    Standing.UNEXPECTED_PASS: "{where} passes, and {entries} expects {listed}; if that is so for good, take the entry out",
    Standing.OTHER_VERDICT: "{where} came to {came}, and {entries} expects {listed}",
    Standing.OVERLAP: "{where} ({came}) is named by {entries}; at most one entry may",
    Standing.UNDECIDED: "{where}: the condition of {entries} cannot be judged",
}


def complaints(gate: Gate, verdicts: Iterable[VerdictRecord]) -> list[Complaint]:
    """Return why the gate is red, in words: variants of one case that stand alike as one, then the entries' own problems."""
    groups: dict[tuple[object, ...], list[VerdictRecord]] = {}
    for verdict in verdicts:
        judged = verdict.gate
        if judged is not None and judged.standing in _TEXTS:
            key = (
                judged.standing,
                verdict.implementation,
                verdict.case,
                *judged.entries,
                verdict.verdict,
                verdict.reason,
            )
            groups.setdefault(key, []).append(verdict)
    order = list(Standing)
    found = [
        _complain(gate, sorted(group, key=lambda one: (one.profile, one.type, one.variant)))
        for group in groups.values()
    ]
    found += [
        Complaint(problem.standing, f"{', '.join(problem.entries)}: {problem.text}", tuple(problem.entries))
        for problem in gate.problems
    ]
    return sorted(found, key=lambda one: order.index(one.standing))


def _complain(gate: Gate, group: list[VerdictRecord]) -> Complaint:
    first = group[0]
    judged = first.gate
    assert judged is not None  # noqa: S101 - see complaints
    where = f"{first.implementation} {first.case} [{_parts(group)}]"
    came = outcome(first.verdict, first.reason)
    entries = " and ".join(judged.entries)
    text = _TEXTS[judged.standing].format(where=where, came=came, entries=entries, listed=judged.listed, file=gate.file)
    return Complaint(judged.standing, f"{text}; {judged.text}" if judged.text else text, tuple(judged.entries))


def _parts(group: list[VerdictRecord]) -> str:
    """Return what tells the group's variants from others of the case: by profile, at most four, and how many more."""
    by_profile: dict[str, list[str]] = {}
    for one in group[:4]:
        by_profile.setdefault(one.profile, []).append(" ".join(part for part in (one.type, one.variant) if part))
    text = "; ".join(f"{profile} {', '.join(labels)}" for profile, labels in by_profile.items())
    return text + (f" and {len(group) - 4} more" if len(group) > 4 else "")


def judged(judgement: Judgement) -> str:
    """Return how one verdict stood before the gate, in a line: ``as expected, by expectations.toml:7: why``."""
    by = f", by {' and '.join(judgement.entries)}" if judgement.entries else ""
    listed = f", which expects {judgement.listed}" if judgement.listed else ""
    rest = [judgement.why, judgement.issue, judgement.text]
    return f"{TITLES[judgement.standing]}{by}{listed}" + "".join(f": {text}" for text in rest if text)


def sentence(gate: Gate) -> str:
    """Return the gate's judgement in one sentence."""
    parts = [
        f"{_number(gate.entries, 'entry', 'entries')} in {gate.file}",
        f"{_number(gate.counts.get(Standing.EXPECTED, 0), 'verdict', 'verdicts')} as listed",
    ]
    if gate.outside:
        parts.append(f"{_number(gate.outside, 'entry', 'entries')} not judged, being outside of this selection")
    if gate.elsewhere:
        parts.append(f"{_number(gate.elsewhere, 'entry', 'entries')} whose condition does not hold here")
    return f"the gate is {'green' if gate.green else 'red'}: {', '.join(parts)}"


def _number(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
