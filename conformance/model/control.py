"""Control messages: how they lie in memory, how the kernel reads them on sending, and how it writes them on receiving.

After net/core/scm.c (__scm_send, scm_fp_copy, put_cmsg, scm_detach_fds) and the cmsg macros of include/linux/socket.h.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from . import flags as f
from .draft import Draft
from .operations import NOWHERE, Control, Credentials, Forged, Number, Rights, Send
from .state import INHERITED, Ids

NO_PROCESS = 2**22 + 7
"""A process id above the kernel's limit (PID_MAX_LIMIT)."""


NO_ID = 2**32 - 1
FILL = b"\xff"
"""What stands in padding: whoever took it for descriptors would send -1."""


class Attached(Struct, frozen=True, gc=False):
    """What a send carries beside its data: files, and explicit credentials."""

    files: tuple[int, ...] = ()
    ids: Ids | None = None


_NOTHING = Attached()
_HEADER = struct.Struct("=Qii")
"""cmsg_len, cmsg_level and cmsg_type."""


class Written(Struct, frozen=True, gc=False):
    """A control message as the receiver finds it: level, type, cmsg_len and the bytes that were written behind the header."""

    level: int
    type: int
    length: int
    data: bytes


def lay_out(send: Send, number: Callable[[Number], int], ids: Ids) -> bytes:
    """Return the bytes that msg_control points to, msg_controllen long; empty: no control data at all."""
    whole = b"".join([_one(control, number, ids) for control in send.control])
    if send.controllen is None:
        return whole
    return whole[: send.controllen].ljust(send.controllen, FILL)


def _one(control: Control, number: Callable[[Number], int], ids: Ids) -> bytes:
    level, kind, data, length = f.SOL_SOCKET, f.SCM_RIGHTS, b"", None
    if isinstance(control, Rights):
        data = struct.pack(f"={len(control.fds)}i", *map(number, control.fds))
        length = control.length
    elif isinstance(control, Credentials):
        kind, data = f.SCM_CREDENTIALS, forge(control.forged, ids)
    else:
        level, kind, data, length = control.level, control.type, control.data, control.length
    length = f.HEADER + len(data) if length is None else length
    return _HEADER.pack(length & 2**64 - 1, level, kind) + data.ljust(f.align(len(data)), FILL)


def forge(how: Forged, ids: Ids) -> bytes:
    """Return struct ucred with what is forged in it."""
    wrong = {
        Forged.PID: Ids(NO_PROCESS, ids.uid, ids.gid),
        Forged.UID: Ids(ids.pid, ids.uid + 1, ids.gid),
    }
    data = wrong.get(how, ids).packed()
    return data[:-4] if how is Forged.LENGTH else data


def walk(control: bytes) -> Iterator[tuple[int, int, bytes] | None]:
    """Yield level, type and data of each control message as the kernel sees them; None, at the end, for a wrong length."""
    at = 0
    while at + f.HEADER <= len(control):
        length, level, kind = _HEADER.unpack_from(control, at)
        if not f.HEADER <= length <= len(control) - at:
            yield None
            return
        yield level, kind, control[at + f.HEADER : at + length]
        at += f.align(length)


def attach(draft: Draft, control: bytes) -> Attached | str:
    """Read the control data of a send (__scm_send). Return what it attaches, or the error."""
    if not control:
        return _NOTHING
    if len(control) < f.HEADER:
        draft.because("A03")
    attached = _NOTHING
    end = 0
    for index, message in enumerate(walk(control)):
        if message is None:
            draft.because(*_why_length(control, end, index), *(["A26"] if attached.files else []))
            return "EINVAL"
        outcome = _attach_one(draft, message, attached)
        if isinstance(outcome, str):
            draft.because(*(["A26"] if attached.files else []))
            return outcome
        attached = outcome
        end += f.align(f.HEADER + len(message[2]))
    if end and end != len(control):
        draft.because("A16" if end > len(control) else "A15")
    return attached


def _why_length(control: bytes, at: int, index: int) -> list[str]:
    """Say which rule a wrong cmsg_len at ``at`` breaks."""
    length, level = struct.unpack_from("=Qi", control, at)
    if length >= f.HEADER:
        return ["A02", *(["A28"] if index else [])]
    return ["A01", *(["A29"] if index and not length else []), *(["A07b"] if level != f.SOL_SOCKET else [])]


def _attach_one(draft: Draft, message: tuple[int, int, bytes], so_far: Attached) -> Attached | str:
    level, kind, data = message
    if level != f.SOL_SOCKET:
        draft.because("A07")
        return so_far
    if kind == f.SCM_RIGHTS:
        count = len(data) // 4
        return _attach_rights(draft, struct.unpack_from(f"={count}i", data), len(data) - 4 * count, so_far)
    if kind == f.SCM_CREDENTIALS:
        return _attach_ids(draft, data, so_far)
    draft.because("A08")
    return "EINVAL"


def attach_rights(draft: Draft, fds: tuple[Number, ...]) -> Attached | str:
    """Do what `attach` does with a single and right SCM_RIGHTS of these descriptors, without laying it out."""
    names = draft.names
    numbers = [one if isinstance(one, int) else names.get(one, NOWHERE) for one in fds]
    return _attach_rights(draft, numbers, 0, _NOTHING)


def _attach_rights(draft: Draft, numbers: Sequence[int], stray: int, so_far: Attached) -> Attached | str:
    """Attach what these numbers refer to; behind them are so many stray bytes."""
    if stray:
        draft.because("A06")
    if not numbers:
        draft.because("A04", *(["A11"] if so_far.files else []))
        return so_far
    if so_far.files:
        draft.because("A09")
    if len(so_far.files) + len(numbers) > f.SCM_MAX_FD:
        draft.because("A13", *(["A10"] if len(numbers) <= f.SCM_MAX_FD else []))
        return "EINVAL"
    files = _files(draft, numbers)
    if files is None:
        return "EBADF"
    if len(files) > 1:
        draft.because("S02")
    if stray or len(numbers) % 2:
        draft.because("A14")
    if len(numbers) > 1 and len(set(numbers)) < len(numbers):
        draft.because("S03")
    return Attached((*so_far.files, *files), so_far.ids)


def _files(draft: Draft, numbers: Sequence[int]) -> list[int] | None:
    """Return what these numbers refer to; None: one of them is not open."""
    files: list[int] = []
    table, taken = draft.table, draft.platform.taken
    for number in numbers:
        if number in taken:
            files.append(INHERITED)
        elif number in table:
            files.append(table[number].file)
        else:
            draft.because("S04" if number == -1 else "S07" if number == -100 else "S06", *(["S05"] if files else []))
            return None
    return files


def _attach_ids(draft: Draft, data: bytes, so_far: Attached) -> Attached | str:
    if len(data) != f.UCRED:
        draft.because("A22")
        return "EINVAL"
    own, privileged = draft.platform.ids, draft.platform.privileged
    ids = Ids(*struct.unpack("=iII", data))
    if ids != own:
        draft.because("C04")
    if NO_ID in {ids.uid, ids.gid}:
        return "EINVAL"
    if (not privileged and ids != own) or ids.pid != own.pid:
        draft.because(*(["L05c"] if so_far.files else []))
        return "ESRCH" if privileged else "EPERM"
    return Attached(so_far.files, ids)


class Taken(Struct, gc=False):
    """What a receive hands to the writing of control data: files (not consumed by a peek), and the ids where asked for."""

    files: tuple[int, ...] = ()
    ids: Ids | None = None


class Delivered(Struct, frozen=True, gc=False):
    """The control data of a receive: msg_controllen as it comes back, whether MSG_CTRUNC is set, messages, new numbers."""

    controllen: int
    truncated: bool
    messages: tuple[Written, ...] = ()
    numbers: tuple[int, ...] = ()


_EMPTY = Delivered(0, truncated=False)
"""What a receive delivers that has met neither descriptors nor credentials."""


def deliver(draft: Draft, taken: Taken, room: int | None, *, cloexec: bool) -> Delivered:
    """Write the control data (__scm_recv_common). ``room`` None: msg_control is null. Installs descriptors in the table."""
    if not taken.files and not taken.ids:
        return _EMPTY
    if room is None:
        if taken.ids and not taken.files:
            draft.because("C09")
        if taken.files:
            draft.because("R02")
        return Delivered(0, truncated=bool(taken.ids or taken.files))
    left, truncated = room, False
    messages: list[Written] = []
    if taken.ids:
        ids = _put(taken.ids.packed(), left)
        truncated = ids is None or ids.length < f.HEADER + f.UCRED
        draft.because(*(["C08b"] if ids and truncated else []))
        left -= min(left, f.align(f.HEADER + f.UCRED)) if ids else 0
        messages += [ids] if ids else []
        draft.because(*_why_ids(draft, taken))
    numbers: tuple[int, ...] = ()
    if taken.files:
        numbers = _install(draft, taken.files, left, cloexec=cloexec)
        truncated |= len(numbers) < len(taken.files)
        if numbers:
            messages.append(_rights(numbers))
            left -= min(left, f.align(f.HEADER + 4 * len(numbers)))
    return Delivered(room - left, truncated, tuple(messages), numbers)


def _why_ids(draft: Draft, taken: Taken) -> list[str]:
    if not taken.files:
        return []
    return ["C08", "C01", "C01b", *(["C02"] if taken.ids and taken.ids.pid != draft.platform.ids.pid else [])]


def _put(data: bytes, left: int) -> Written | None:
    """Return the credentials as put_cmsg writes them into what is left; None: not even the header has room."""
    if left < f.HEADER:
        return None
    length = min(left, f.HEADER + len(data))
    return Written(f.SOL_SOCKET, f.SCM_CREDENTIALS, length, data[: length - f.HEADER])


def _rights(numbers: tuple[int, ...]) -> Written:
    data = struct.pack(f"={len(numbers)}i", *numbers)
    return Written(f.SOL_SOCKET, f.SCM_RIGHTS, f.HEADER + len(data), data)


def _install(draft: Draft, files: tuple[int, ...], left: int, *, cloexec: bool) -> tuple[int, ...]:
    """Install what has room in the control buffer and in the table (scm_detach_fds)."""
    cap = max(0, (left - f.HEADER) // 4) if left > f.HEADER else 0
    numbers: list[int] = []
    for file in files[:cap]:
        number = draft.install(file, cloexec=cloexec)
        if number is None:
            draft.because("T12", "T13")
            break
        numbers.append(number)
    if cap < len(files):
        draft.because("T01", "T04")
    if numbers:
        draft.because("R09", "T01b", "I03" if cloexec else "I02")
        if cap == len(numbers) and left % 8:
            draft.because("T03")
        if len(numbers) == 2 and left == f.align(f.HEADER + 4):
            draft.because("T02")
    if len(numbers) == f.SCM_MAX_FD:
        draft.because("M01")
    return tuple(numbers)
