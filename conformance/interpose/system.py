"""A personality at work: the calls on the connection under test are answered as another system would answer them.

What really came is taken with all room, `shape` says what that system would have shown of it, and that is written.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from collections import deque
from collections.abc import Sequence

from ..census import Identity
from .calls import SEND
from .held import GO_ON, Answer, Fail, Held, Impossible, Return
from .memory import BadAddress, TooLarge, Wanted
from .perform import MOST_CONTROL, MOST_DATA, RIGHTS, Came, Part, free_numbers, on_socket, take, write
from .personality import Personality
from .personality_rules import Stays
from .shape import Arrived, Asked, Other, Shaped, render, shape
from .shape_send import Sent, admit, read_control

MOST_FREE = 300
"""Free numbers that are as good as any number of them: more than a message can carry."""


class Emulation:
    """Answers calls of SEND and RECEIVE as the system of ``personality`` would. For one case at a time."""

    def __init__(self, personality: Personality) -> None:
        self.personality = personality
        self._groups: deque[list[int]] = deque()
        self._kept: dict[Identity, deque[bytes]] = {}

    def begin(self, groups: deque[list[int]]) -> None:
        """Begin a case. ``groups``: for each message with descriptors that the peer sends, how many each of its rights has."""
        self._groups = groups
        self._kept.clear()

    def __call__(self, held: Held) -> Answer:
        """Answer one call. Raises NoLonger."""
        try:
            want = held.wanted
            if want.capacity > MOST_DATA or want.control_length > MOST_CONTROL:
                return GO_ON
            return self._send(held, want) if held.name in SEND else self._receive(held, want)
        except (BadAddress, TooLarge):
            return GO_ON

    def _send(self, held: Held, want: Wanted) -> Answer:
        control = held.memory.read(want.control, want.control_length) if want.header and want.control else b""
        kind = on_socket(held, lambda sock: sock.type, want, (select.POLLOUT, socket.SO_SNDTIMEO))
        if not isinstance(kind, int):
            return kind
        sent = Sent(read_control(control), want.capacity, len(want.pieces), want.flags, kind)
        number = admit(self.personality, sent)
        return GO_ON if number is None else Fail(number)

    # --- receiving -----------------------------------------------------------------------------------------------------

    def _receive(self, held: Held, want: Wanted) -> Answer:
        if want.flags & socket.MSG_WAITALL:
            return GO_ON
        if held.expired:
            return Fail(errno.EAGAIN)
        kept = self._kept.get(held.identity) if held.identity is not None else None
        if kept:
            data = kept.popleft()[: want.capacity]
            return self._show(held, want, Came(data, len(data), (), (), 0, b""))
        asked = _asked(held, want, writable=self._is_writable(held, want))
        if self._may_refuse(asked) and not want.flags & socket.MSG_PEEK:
            refused = self._refuse(held, want, asked)
            if refused is not None:
                return refused
        came = self._take(held, want)
        return came if not isinstance(came, Came) else self._show(held, want, came)

    def _take(self, held: Held, want: Wanted, flags: int = 0) -> Came | Answer:
        return on_socket(held, lambda sock: take(sock, want, flags), want, (select.POLLIN, socket.SO_RCVTIMEO))

    def _may_refuse(self, asked: Asked) -> bool:
        rules = self.personality.rules
        return bool(
            (rules.full_table and asked.free is not None)
            or (rules.fault and asked.room and not asked.writable)
            or (rules.empty_receive and not asked.buffers)
        )

    def _refuse(self, held: Held, want: Wanted, asked: Asked) -> Answer | None:
        """Return the answer where this system would fail the receive, after a look that takes nothing; None where not."""
        came = self._take(held, want, socket.MSG_PEEK)
        if not isinstance(came, Came):
            return came
        try:
            shaped = shape(self.personality, self._arrived(want, came), asked)
        finally:
            _close(came.fds)
        if shaped.errno is None or shaped.leaked:  # what it leaves open can only be installed from the message itself
            return None
        if shaped.stays is not Stays.MESSAGE:
            self._drop(held, want, keep_data=shaped.stays is Stays.DATA)
        return Fail(shaped.errno)

    def _drop(self, held: Held, want: Wanted, *, keep_data: bool) -> None:
        """Let the message go, or only its descriptors."""

        def drop(sock: socket.socket) -> bytes:
            if keep_data and sock.type == socket.SOCK_STREAM:  # a stream gives descriptors to a receive of no bytes
                _close(take(sock, Wanted((), 0), 0).fds)
                return b""
            came = take(sock, want)
            _close(came.fds)
            return came.data if keep_data else b""

        data = on_socket(held, drop, want, (select.POLLIN, socket.SO_RCVTIMEO))
        if isinstance(data, bytes) and data and held.identity is not None:
            self._kept.setdefault(held.identity, deque()).append(data)
        if self._groups:
            self._groups.popleft()

    def _show(self, held: Held, want: Wanted, came: Came) -> Answer:
        try:
            asked = _asked(held, want, writable=self._is_writable(held, want))
            arrived = self._arrived(want, came)
            if arrived.groups and not arrived.peek and self._groups:
                self._groups.popleft()
            shaped = shape(self.personality, arrived, asked)
            numbers = self._install(held, came, shaped)
            if shaped.errno is not None:
                return Fail(shaped.errno)
            before = (
                held.memory.read(want.control, min(shaped.controllen, want.control_length)) if want.control else b""
            )
            control = render(shaped, numbers, before)
            return Return(write(held, want, came, control, shaped.flags))
        finally:
            _close(came.fds)

    @staticmethod
    def _install(held: Held, came: Came, shaped: Shaped) -> dict[int, int]:
        own = {index for piece in shaped.pieces if piece.cloexec for index in piece.shown}
        numbers: dict[int, int] = {}
        try:
            for index in shaped.installed:
                numbers[index] = held.install(came.fds[index], cloexec=shaped.cloexec or index in own)
                if index in shaped.leaked:
                    held.untold.append(numbers[index])
        except Impossible:
            held.untold = list(numbers.values())  # the testee will not hear of them
            raise
        return numbers

    def _is_writable(self, held: Held, want: Wanted) -> bool:
        """Whether the control buffer can be written; looked at only where that makes a difference."""
        if self.personality.rules.fault is None or not want.header or not want.control:
            return True
        try:
            held.memory.write(want.control, held.memory.read(want.control, want.control_length))
        except BadAddress:
            return False
        return True

    def _arrived(self, want: Wanted, came: Came) -> Arrived:
        rights = [index for part in came.parts if _is_rights(part) for index in part.content]
        behind = False
        others: list[Other] = []
        for part in came.parts:
            if _is_rights(part):
                behind = True
            elif isinstance(part.content, bytes):
                others.append(Other(part.level, part.type, part.content, behind=behind))
            else:
                others.append(Other(part.level, part.type, descriptor=int(part.content[0]), behind=True))
        peek = bool(want.flags & socket.MSG_PEEK)
        return Arrived(came.data, self._grouped([int(one) for one in rights]), tuple(others), came.flags, peek)

    def _grouped(self, indices: list[int]) -> tuple[tuple[int, ...], ...]:
        """Return the descriptors as the sender's control messages had them; together where that is not known."""
        if not indices:
            return ()
        sizes = self._groups[0] if self._groups else []
        if sum(sizes) != len(indices):
            return (tuple(indices),)
        found: list[tuple[int, ...]] = []
        for size in sizes:
            found.append(tuple(indices[:size]))
            indices = indices[size:]
        return tuple(found)


def _asked(held: Held, want: Wanted, *, writable: bool) -> Asked:
    free = free_numbers(held)
    return Asked(
        control=bool(want.header and want.control),
        room=want.control_length if want.header else 0,
        flags=want.flags,
        writable=writable,
        free=free if free < MOST_FREE else None,
        buffers=len(want.pieces),
    )


def _is_rights(part: Part) -> bool:
    return (part.level, part.type) == RIGHTS and not isinstance(part.content, bytes)


def _close(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
