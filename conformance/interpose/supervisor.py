"""The thread that answers: one call after the other, by asking a handler what is to become of it.

    with Supervisor(listener, handler) as supervisor: ...

A handler runs in the supervisor's thread and must not wait; what has to wait is a `Wait`. One that raises is the harness's
own fault: the call goes on, the fault is kept for `Supervisor.faults`, and nobody hangs.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from .calls import Architecture
from .held import GO_ON, Answer, Fail, GoOn, Held, Return, Wait
from .seccomp import Listener, NoLonger

Handler = Callable[[Held], Answer]
KEPT_FAULTS = 5
LOOK = 0.05
"""Seconds between two looks at whether a call that waits has been given up: no event tells, and its socket is kept open."""


def let_go(held: Held) -> Answer:
    """Let every call go on."""
    del held
    return GO_ON


@dataclass
class _Waiting:
    held: Held
    wait: Wait
    deadline: float | None


class Supervisor:
    """Answers the calls of one listener until it is stopped, or nobody is left who could make one."""

    def __init__(self, listener: Listener, architecture: Architecture, handler: Handler = let_go) -> None:
        """Take over ``listener`` and begin at once. ``handler`` may be replaced at any time; each call asks the present one."""
        self.handler = handler
        self.faults: list[Exception] = []
        """What handlers raised, at most `KEPT_FAULTS` of it."""
        self.held = 0
        """How many calls came."""
        self._listener = listener
        self._names = {number: name for name, number in architecture.numbers.items()}
        self._architecture = architecture
        self._waiting: list[_Waiting] = []
        self._wake = -1
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="interposer", daemon=True)
        try:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._thread.start()
        except (OSError, RuntimeError):  # no number, or no thread to be had
            _close(self._wake)
            listener.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End. Whoever still waits, and every later call of a process that is still alive, gets ENOSYS. May be called again."""
        if self._wake >= 0:
            self._stopped = True
            os.eventfd_write(self._wake, 1)
            self._thread.join()
            self._listener.close()
            os.close(self._wake)
            self._wake = -1

    @property
    def descriptors(self) -> int:
        """How many descriptors of the harness's own it holds."""
        waiting = sum(one.wait.fd >= 0 for one in list(self._waiting))
        return (self._wake >= 0) + (self._listener.fileno() >= 0) + waiting

    # --- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # they are the main thread's
        try:
            self._serve()
        except Exception as fault:  # noqa: BLE001 - told by whoever owns this supervisor
            self._keep(fault)
            self._listener.close()  # nobody would answer
        finally:
            for one in list(self._waiting):
                self._forget(one)

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._listener, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        ours = self._listener.fileno()
        while True:
            for one in self._waiting:
                if one.wait.fd >= 0:
                    poll.register(one.wait.fd, one.wait.events)
            ready = dict(poll.poll(self._patience()))
            for one in self._waiting:
                if one.wait.fd >= 0:
                    poll.unregister(one.wait.fd)
            if self._stopped:
                return
            events = ready.get(ours, 0)
            if events & select.POLLIN:
                self._next()
            elif events & (select.POLLHUP | select.POLLERR):
                return
            if self._waiting:
                self._go_on_waiting(ready)

    def _patience(self) -> float | None:
        if not self._waiting:
            return None
        deadlines = [one.deadline for one in self._waiting if one.deadline is not None]
        return min([LOOK, *(max(0.0, one - time.monotonic()) for one in deadlines)]) * 1000

    def _next(self) -> None:
        notification = self._listener.receive()
        if notification is None:
            return
        self.held += 1
        for one in [one for one in self._waiting if one.held.tid == notification.tid]:
            self._forget(one)  # a signal ended that wait, or the thread could make no other call
        name = self._names.get(notification.number)
        if name is None:
            with contextlib.suppress(NoLonger):
                self._listener.go_on(notification.id)
            return
        self._ask(Held(notification, name, self._listener, self._architecture))

    def _ask(self, held: Held) -> None:
        try:
            answer = self.handler(held)
        except NoLonger:
            return
        except Exception as fault:  # noqa: BLE001 - the testee must not pay for it
            self._keep(fault)
            answer = GO_ON
        ident = held.notification.id
        try:
            match answer:
                case GoOn():
                    self._listener.go_on(ident)
                case Fail():
                    self._listener.fail(ident, answer.errno)
                case Return():
                    self._listener.answer(ident, answer.value)
                case Wait():
                    deadline = None if answer.seconds is None else time.monotonic() + answer.seconds
                    self._waiting.append(_Waiting(held, answer, deadline))
        except NoLonger:
            return

    def _go_on_waiting(self, ready: dict[int, int]) -> None:
        now = time.monotonic()
        for one in list(self._waiting):
            if one not in self._waiting:
                continue
            is_ready = one.wait.fd in ready
            is_late = one.deadline is not None and one.deadline <= now
            if not is_ready and not is_late:
                if not one.held.waits:
                    self._forget(one)
                continue
            self._forget(one)
            if one.held.waits:
                one.held.attempt += 1
                one.held.expired = not is_ready
                self._ask(one.held)

    def _forget(self, one: _Waiting) -> None:
        self._waiting.remove(one)
        _close(one.wait.fd)

    def _keep(self, fault: Exception) -> None:
        if len(self.faults) < KEPT_FAULTS:
            self.faults.append(fault)


def _close(fd: int) -> None:
    if fd >= 0:
        try:
            os.close(fd)
        except OSError as fault:
            if fault.errno != errno.EBADF:
                raise
