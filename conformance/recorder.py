"""The record file of one run, written as verdicts come, so that nothing that was seen is lost with the run."""

from __future__ import annotations

import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from .records import (
    CaseRecord,
    Footer,
    Gate,
    Header,
    ImplementationRecord,
    Record,
    RequirementRecord,
    Verdict,
    VerdictRecord,
    encode,
)

FILE_NAME = "records.jsonl"


def now() -> str:
    """Return the present as RFC 3339 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Recorder:
    """Writes one record file and counts what it writes. Every record is in the file when ``write`` returns."""

    def __init__(self, directory: Path | None) -> None:
        """Write into ``directory``/records.jsonl (made new; an old one is an error, FileExistsError), or count only."""
        self.counts: Counter[Verdict] = Counter()
        self.reasons: Counter[str] = Counter()
        self.records = 0
        self._known: set[str] = set()
        self._fd = -1
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            path = directory / FILE_NAME
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)

    def write(self, record: Record) -> None:
        """Append one record. An implementation is written once, with the most that is known of it."""
        match record:
            case VerdictRecord():
                self.counts[record.verdict] += 1
                self.reasons[record.reason] += 1
            case ImplementationRecord():
                if record.id in self._known:
                    return
                self._known.add(record.id)
            case Header() | RequirementRecord() | CaseRecord() | Footer():
                pass
        if self._fd >= 0:
            line = encode(record)
            while line:
                line = line[os.write(self._fd, line) :]
        self.records += 1

    def knows(self, implementation: str) -> bool:
        """Whether that implementation has its record."""
        return implementation in self._known

    def close(self, *, complete: bool, exit_code: int, note: str = "", gate: Gate | None = None) -> None:
        """Write the footer and close the file. Closing twice does nothing."""
        if self.records and self._fd != -2:
            counts = {verdict: self.counts[verdict] for verdict in Verdict}
            self.write(Footer(now(), complete, self.records, counts, exit_code, note, gate))
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -2
