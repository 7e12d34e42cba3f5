"""Parts of a record: flags, names, data, sizes, control messages; each read within its bounds, and written as it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ..conformance.model import flags as f
from ..conformance.model.operations import Control, Credentials, Forged, Number, Raw, Rights
from ..impls.protocol.values import Profile
from . import fitting as fit
from .operations import BAD, OBJECTS, End, Operation, end_of
from .scope import Scope
from .wire import Reader, Writer, runs

_CHOICE = TypeVar("_CHOICE")
_FORGED = tuple(Forged)
_BITS = tuple(f.NAMES.values())
_FLAGS = tuple(sum(bit for place, bit in enumerate(_BITS) if code >> place & 1) for code in range(1 << len(_BITS)))
_CODE_OF_FLAGS = {flags: code for code, flags in enumerate(_FLAGS)}


def choice(r: Reader, of: Sequence[_CHOICE]) -> _CHOICE:
    """Return what a number chooses."""
    return of[r.number() % len(of)]


def read_flags(r: Reader) -> int:
    """Return MSG_* flags."""
    return _FLAGS[r.number() % len(_FLAGS)]


def write_flags(w: Writer, flags: int) -> None:
    """Write MSG_* flags."""
    w.number(_CODE_OF_FLAGS[flags])


def read_integer(r: Reader, low: int, high: int) -> int:
    """Return a signed number within the bounds."""
    return fit.within(r.signed(), low, high)


def read_socket(r: Reader, scope: Scope, kind: type[Operation]) -> str:
    """Return a socket, or a received descriptor used as one, of an end that may do an operation of that kind."""
    code, ends = r.number(), scope.permitted[kind]
    end = ends[code % len(ends)]
    if code & 2 and scope.received[end]:
        return scope.socket_at(end, True, code >> 2, r.number())
    names = scope.sockets[end]
    return names[(code >> 2) % len(names)]


def write_socket(w: Writer, name: Number) -> None:
    """Write what `read_socket` reads."""
    text = str(name)
    _write_name(w, text, (2 if "_" in text else 0) | end_of(text))


def read_descriptor(r: Reader, scope: Scope, end: End) -> Number:
    """Return a descriptor of ``end``, or a bad number."""
    code = r.number()
    second = r.number() if code & 3 == 2 and scope.received[end] else 0
    return scope.pick(end, code & 3, code >> 2, second)


def write_descriptor(w: Writer, name: Number) -> None:
    """Write what `read_descriptor` reads."""
    if isinstance(name, int):
        w.number(BAD.index(name) << 2 | 3)
    else:
        _write_name(w, name, 2 if "_" in name else 1 if name[0] in OBJECTS else 0)


def _write_name(w: Writer, name: str, low: int) -> None:
    """Write the index in a name, below it the two bits ``low``; of a received one its second index follows."""
    first, mark, second = name[1:].partition("_")
    w.number(int(first) << 2 | low)
    if mark:
        w.number(int(second))


def read_piece(r: Reader, most: int) -> bytes:
    """Return one buffer of ``most`` bytes at most: its bytes where it is short, else a pattern and its length."""
    length = r.number() % (fit.DATA + 1)
    if length <= fit.LITERAL:
        return r.bytes(length)[:most]
    pattern = r.bytes(1 + r.number() % fit.PATTERN)
    return fit.repeated(pattern, min(length, most))


def write_piece(w: Writer, data: bytes) -> None:
    """Write what `read_piece` reads."""
    w.number(len(data))
    if len(data) > fit.LITERAL:
        size = fit.period(data)
        w.number(size - 1)
        data = data[:size]
    w.bytes(data)


def read_data(r: Reader) -> tuple[bytes, ...]:
    """Return the buffers of a send, equal ones in a row given once."""
    found: list[bytes] = []
    left = fit.DATA
    for _ in range(r.number() % (fit.BUFFERS + 1)):
        if r.over or len(found) == fit.BUFFERS:
            break
        times = 1 + r.number() % fit.BUFFERS
        one = read_piece(r, left)
        for _ in range(min(times, fit.BUFFERS - len(found))):
            found.append(one[:left])
            left -= len(found[-1])
    return tuple(found)


def write_data(w: Writer, data: tuple[bytes, ...]) -> None:
    """Write what `read_data` reads."""
    groups = runs(data)
    w.number(len(groups))
    for times, one in groups:
        w.number(times - 1)
        write_piece(w, one)


def read_sizes(r: Reader) -> tuple[int, ...]:
    """Return the sizes of the buffers of a receive, equal ones in a row given once."""
    found: list[int] = []
    for _ in range(r.number() % (fit.BUFFERS + 1)):
        if r.over or len(found) == fit.BUFFERS:
            break
        times = 1 + r.number() % fit.BUFFERS
        found += [r.number() % (fit.SIZES + 1)] * min(times, fit.BUFFERS - len(found))
    return fit.sizes(found)


def write_sizes(w: Writer, sizes: tuple[int, ...]) -> None:
    """Write what `read_sizes` reads."""
    groups = runs(sizes)
    w.number(len(groups))
    for times, one in groups:
        w.number(times - 1)
        w.number(one)


def read_fds(r: Reader, scope: Scope, end: End, most: int) -> tuple[Number, ...]:
    """Return ``most`` descriptors at most, equal ones in a row given once."""
    found: list[Number] = []
    for _ in range(r.number() % (fit.DESCRIPTORS + 1)):
        if r.over or len(found) >= most:
            break
        times = 1 + r.number() % fit.DESCRIPTORS
        found += [read_descriptor(r, scope, end)] * min(times, most - len(found))
    return tuple(found)


def write_fds(w: Writer, fds: tuple[Number, ...]) -> None:
    """Write what `read_fds` reads."""
    groups = runs(fds)
    w.number(len(groups))
    for times, one in groups:
        w.number(times - 1)
        write_descriptor(w, one)


def read_length(r: Reader, end: End) -> int | None:
    """Return the cmsg_len that is written; a testee always writes the right one."""
    return read_integer(r, *fit.LONG) if end is End.PEER and r.number() & 1 else None


def write_length(w: Writer, length: int | None, end: End) -> None:
    """Write what `read_length` reads."""
    if end is End.PEER:
        w.number(length is not None)
        if length is not None:
            w.signed(length)


def read_controls(r: Reader, scope: Scope, end: End) -> tuple[Control, ...]:
    """Return control messages that ``end`` can send."""
    only = end is End.TESTEE and scope.profile is Profile.DESCRIPTORS
    left = fit.DESCRIPTORS
    found: list[Control] = []
    for _ in range(r.number() % (2 if only else fit.CONTROLS + 1)):
        form = 0 if only else r.number() % 3
        if form == 0:
            length = read_length(r, end)
            fds = read_fds(r, scope, end, left)
            left -= len(fds)
            found.append(Rights(fds, length))
        elif form == 1:
            length = read_length(r, end)
            level, kind = read_integer(r, *fit.INT), read_integer(r, *fit.INT)
            data = r.bytes(r.number() % (fit.CONTROL_DATA + 1))
            rights = (level, kind) == (f.SOL_SOCKET, f.SCM_RIGHTS)
            found.append(Raw(level, kind, fit.harmless(data) if rights else data, length))
        else:
            forged = choice(r, _FORGED)
            testee = end is End.TESTEE
            found.append(Credentials(Forged.NOTHING if testee and forged is Forged.LENGTH else forged))
    return tuple(found)


def write_controls(w: Writer, controls: tuple[Control, ...], scope: Scope, end: End) -> None:
    """Write what `read_controls` reads."""
    only = end is End.TESTEE and scope.profile is Profile.DESCRIPTORS
    w.number(len(controls))
    for one in controls:
        if not only:
            w.number(0 if isinstance(one, Rights) else 1 if isinstance(one, Raw) else 2)
        if isinstance(one, Rights):
            write_length(w, one.length, end)
            write_fds(w, one.fds)
        elif isinstance(one, Raw):
            write_length(w, one.length, end)
            w.signed(one.level)
            w.signed(one.type)
            w.number(len(one.data))
            w.bytes(one.data)
        else:
            w.number(_FORGED.index(one.forged))
