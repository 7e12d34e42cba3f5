"""What was seen, and what would have been permitted, in words. Nothing here is called but for a violation."""

from __future__ import annotations

from collections.abc import Sequence

from ...conformance.model import Outcome, Seen
from ...conformance.model import flags as f
from ...conformance.observations import brief
from ..run.shown import Shown


def labels_of(outcome: Outcome) -> tuple[str, ...]:
    """Return the labels of the descriptors that an outcome of the model installs."""
    new = outcome.seen.new
    if not new:
        return ()
    files = outcome.state.files
    return tuple([files[one.file].label for one in new])


def data_text(pieces: Sequence[bytes]) -> str:
    """Return the data of several buffers, short."""
    if len(pieces) == 1:
        return brief(pieces[0])
    if len(pieces) > 8:
        return f"{brief(b''.join(pieces))} in {len(pieces)} buffers"
    return " | ".join(map(brief, pieces)) or "no data"


def labels_text(labels: Sequence[str]) -> str:
    """Return the labels of descriptors, or words for none."""
    if len(labels) > 16:
        return f"{len(labels)} descriptors: {' '.join(labels[:12])} …"
    return f"descriptors {' '.join(labels)}" if labels else "no descriptor"


def flags_text(flags: int) -> str:
    """Return flags by name, or words for none."""
    return f.names_of(flags) if flags else "no flag"


def seen_text(shown: Shown) -> str:
    """Return what an operation showed."""
    parts: list[str] = []
    if shown.failed:
        parts.append(
            f"error {shown.error or 'without errno'} ({shown.kind}{': ' if shown.message else ''}{shown.message[:200]})"
        )
    if shown.value is not None:
        parts.append(f"returned {shown.value}")
    if shown.data or shown.files or shown.flags is not None:
        parts.append(f"{data_text(shown.data)}, {labels_text(shown.files)}")
        parts.append("flags not shown" if shown.flags is None else flags_text(shown.flags & ~f.CLOEXEC))
    parts += [f"control message {control_text(one.level, one.type, one.data)}" for one in shown.control]
    return ", ".join(parts) or "success"


def outcome_text(outcome: Outcome, room: int | None = None) -> str:
    """Return an outcome of the model; ``room``: of the descriptors that it installs no more are handed over."""
    seen: Seen = outcome.seen
    if seen.error:
        return f"{seen.error}{_after(outcome)}"
    files, flags = labels_of(outcome), seen.flags & ~f.CLOEXEC
    if room is not None and len(files) > room:
        files, flags = files[:room], flags | f.CTRUNC
    if not seen.data and not files and not flags:
        return f"returns {seen.value}{_after(outcome)}"
    others = "".join(f", control message {control_text(*one)}" for one in _others(seen))
    return f"{data_text(seen.data)}, {labels_text(files)}, {flags_text(flags)}{others}{_after(outcome)}"


def _others(seen: Seen) -> list[tuple[int, int, bytes]]:
    found = [(one.level, one.type, one.data) for one in seen.messages]
    return [one for one in found if one[:2] != (f.SOL_SOCKET, f.SCM_RIGHTS)]


def control_text(level: int, kind: int, data: bytes) -> str:
    """Return a control message as a program writes one."""
    return f"{level},{kind},{data[:32].hex()}{'…' if len(data) > 32 else ''}"


def _after(outcome: Outcome) -> str:
    _, comma, suffix = outcome.name.partition(", ")
    return comma + suffix
