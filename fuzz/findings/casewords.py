"""Values as expressions in the source of a case."""

from __future__ import annotations

from ...conformance.model import flags as f

_LONG = 60
"""Bytes of data that are written out."""


class Inexpressible(ValueError):
    """What of a finding a case has no word for."""


def piece_text(data: bytes) -> str:
    """Return an expression for bytes, in double quotes where they can be."""
    if len(data) <= _LONG:
        text = repr(data)
        return f'b"{text[2:-1]}"' if text[1] == "'" and '"' not in text else text
    size = next((size for size in range(1, 17) if data[size:] == data[:-size]), 0)
    if not size:
        raise Inexpressible(f"{len(data)} bytes of data that follow no pattern")
    return f"({piece_text(data[:size])} * {len(data) // size + 1})[:{len(data)}]"


def data_text(pieces: tuple[bytes, ...]) -> str:
    """Return an expression for the buffers of a send."""
    if len(pieces) == 1:
        return piece_text(pieces[0])
    if len(pieces) > 8 and len(set(pieces)) == 1:
        return f"[{piece_text(pieces[0])}] * {len(pieces)}"
    return f"[{', '.join(map(piece_text, pieces))}]"


def sizes_text(sizes: tuple[int, ...]) -> str:
    """Return an expression for the sizes of the buffers of a receive."""
    if len(sizes) == 1:
        return str(sizes[0])
    return f"[{sizes[0]}] * {len(sizes)}" if len(sizes) > 8 and len(set(sizes)) == 1 else str(list(sizes))


def flags_text(flags: int) -> list[str]:
    """Return the argument for flags; nothing for none. Raises Inexpressible for one without a name."""
    names = [f"MSG_{name}" for name, bit in f.NAMES.items() if flags & bit and name not in ("CLOEXEC", "COMPAT")]
    names += ["MSG_CMSG_CLOEXEC"] if flags & f.CLOEXEC else []
    if flags & f.COMPAT:
        raise Inexpressible("a case has no word for MSG_CMSG_COMPAT")
    return [f"flags=[{', '.join(repr(one) for one in names)}]".replace("'", '"')] if names else []
