"""What may be done to a call: the actions, and a plan of when."""

from __future__ import annotations

import enum
import errno
from collections.abc import Callable
from dataclasses import dataclass, field

from .calls import Name
from .held import GO_ON, Answer, Fail, GoOn, Held, Wait
from .perform import Show, receive, send, spoil

Action = Callable[[Held], Answer]
"""Answers a call that a plan has chosen; `GO_ON` where it turns out to have nothing to do there, and the plan stays due."""


class Trouble(enum.IntEnum):
    """The errors that a kernel may answer a correct call with at any time, and a program has to live with."""

    EINTR = errno.EINTR
    EAGAIN = errno.EAGAIN
    ENOBUFS = errno.ENOBUFS
    ENOMEM = errno.ENOMEM
    EMFILE = errno.EMFILE
    ETOOMANYREFS = errno.ETOOMANYREFS
    EPERM = errno.EPERM
    EIO = errno.EIO


def failing(error: str) -> Action:
    """Fail with the errno of that name; the call is not carried out."""
    answer = Fail(getattr(errno, error))
    return lambda _held: answer


def taking(count: int) -> Action:
    """Let a send on a stream take only ``count`` bytes, at least one."""
    return lambda held: send(held, count)


def late(seconds: float) -> Action:
    """Hold the call for ``seconds``, and then let it go on."""
    return lambda held: Wait(seconds=seconds) if not held.attempt else GO_ON


def showing(show: Show) -> Action:
    """Let a receive see what ``show`` makes of what really came."""
    return lambda held: receive(held, show)


def spoiling(error: str, control: bytes, data: bytes) -> Action:
    """Fail with the errno of that name, having written to the caller's buffers; what there is to receive stays."""
    answer = Fail(getattr(errno, error))

    def act(held: Held) -> Answer:
        spoil(held, control, data)
        return answer

    return act


def lost_close(marker: int, error: str) -> Action:
    """Close as Linux does when close(2) reports an error: the descriptor is gone all the same.

    Nobody else can close a descriptor of the caller, so the harness's ``marker`` takes its place: the file is released, and the
    number stays taken. A second close(2) of it is seen as what it is, and hits nothing that was opened meanwhile.
    """

    def act(held: Held) -> Answer:
        held.install(marker, cloexec=True, at=held.fd)
        return Fail(getattr(errno, error))

    return act


@dataclass
class Fault:
    """A plan: ``action`` on the ``nth`` call of ``calls`` from now on, and on the ``times`` - 1 after it.

    ``only``: what else must be true of a call. ``optional``: it may stay unused, because the implementation may go another way.
    ``acted``: on how many calls it has acted.
    """

    calls: frozenset[Name]
    action: Action
    nth: int = 1
    times: int = 1
    what: str = ""
    only: Callable[[Held], bool] = field(default=lambda _held: True)
    optional: bool = False
    acted: int = 0
    met: int = 0

    def due(self, held: Held) -> bool:
        """Whether it is to act on this call; counts the call."""
        if held.name not in self.calls or self.acted >= self.times or not self.only(held):
            return False
        self.met += 1
        return self.met >= self.nth

    def act(self, held: Held) -> Answer:
        """Answer the call, counting it unless it just goes on."""
        answer = self.action(held)
        if not held.attempt and not isinstance(answer, GoOn):
            self.acted += 1
        return answer
