"""The kernel in the middle, as a case speaks to it: it fails calls, cuts sends short, shows other control data, and has seen all.

    kernel.fails("EINTR", RECEIVE)
    kernel.takes(6)
    kernel.shows(lambda came, held: Shown(...))
    assert kernel.flags_of(RECEIVE) ...

Only calls on the connection under test and on the objects that the harness passes are ever touched; a runtime's own
descriptors are not. Everything is undone when the case ends. A fault that was planned and never came to act, because the
implementation makes no such call, makes the case unsupported.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection

import msgspec

from ...impls.errors import Unsupported
from ...impls.process import Starter
from ..census import Identity, identity_of
from .calls import CLOSE, FCNTL, RECEIVE, SEND, Name
from .faults import Action, Fault, failing, late, lost_close, showing, spoiling, taking
from .held import GO_ON, Answer, Fail, GoOn, Held, Impossible, Wait
from .launcher import Interposer
from .memory import BadAddress, Glance, glance, signed
from .perform import Show
from .personality import Personality
from .probe import unavailable
from .system import Emulation

_WITH_CONTROL = frozenset({Name.RECVMSG, Name.RECVMMSG})
MOST_SEEN = 100_000
"""Calls of one case that are kept."""


Tell = Callable[[str, str, bytes], None]


def _tell_nobody(call: str, how: str, control: bytes) -> None:
    del call, how, control


class Seen(msgspec.Struct, frozen=True):
    """One call on the connection under test, or an fcntl(2) or close(2) of any descriptor.

    ``flags``: of a call that sends or receives; ``buffers``: how many it has; ``control``: its msg_controllen. ``command`` and
    ``argument``: of an fcntl(2). ``again``: it is closed a second time after a close(2) that failed. ``answer``: what became of
    the call, '' where it went on.
    """

    name: Name
    fd: int
    identity: Identity | None
    flags: int = 0
    buffers: int = 0
    control: int = 0
    command: int = 0
    argument: int = 0
    again: bool = False
    answer: str = ""

    @property
    def is_open(self) -> bool:
        """Whether the descriptor was open."""
        return self.identity is not None


class Kernel:
    """Stands between one testee and its kernel. A case begins with `watch` and ends with `rest`."""

    def __init__(self, *, killable: bool = True) -> None:
        """Raises NotToBeHad."""
        self._interposer = Interposer(self._handle, killable=killable)
        self._marker = os.memfd_create("fdspec-closed", os.MFD_CLOEXEC)
        self.marker: Identity = identity_of(self._marker)
        """What a number refers to whose close(2) was made to fail: it is closed as far as its owner is concerned."""
        self._lock = threading.Lock()
        self._watched: frozenset[Identity] = frozenset()
        self._is_object: Callable[[Identity], bool] = _never
        self._tell: Tell = _tell_nobody
        self._on = False
        self._faults: list[Fault] = []
        self._seen: list[Seen] = []
        self._untold: list[int] = []
        self.impossible = ""
        """Why what the present case needs cannot be done."""
        self.system: Emulation | None = None
        """The personality, where there is one: it is asked about every call on the connection that no fault has chosen."""

    # --- the life of a testee and of a case ---------------------------------------------------------------------------

    def starter(self, inner: Starter) -> Starter:
        """Return what starts a testee under this kernel."""
        return self._interposer.starter(inner)

    def retire(self) -> None:
        """End the supervision of a testee that has been killed."""
        self.rest()
        self._interposer.stop()

    def close(self) -> None:
        """Let go of everything."""
        self.retire()
        if self._marker >= 0:
            os.close(self._marker)
            self._marker = -1

    def watch(
        self,
        connection: Collection[Identity],
        is_object: Callable[[Identity], bool],
        tell: Tell = _tell_nobody,
        groups: Callable[[], deque[list[int]]] = deque,
    ) -> None:
        """Begin a case: look at the sockets ``connection``, and at descriptors of which ``is_object`` is true.

        ``tell`` is called, in another thread, with every call that does not just go on, what became of it, and the control
        data that it was shown. ``groups``:
        how the peer grouped the descriptors that it sent, by the numbers in each control message.
        """
        if self.system is not None:
            self.system.begin(groups())
        with self._lock:
            self._watched, self._is_object, self._tell = frozenset(connection), is_object, tell
            self._faults, self._seen, self._untold = [], [], []
            self.impossible = ""
            self._on = True

    def also(self, *connection: Identity) -> None:
        """Look at further sockets of the case."""
        with self._lock:
            self._watched |= set(connection)

    def rest(self) -> None:
        """End a case: from now on every call goes on."""
        with self._lock:
            self._on = False

    def faults(self) -> list[Exception]:
        """Return what went wrong in the harness itself while it answered."""
        supervisor = self._interposer.supervisor
        return [] if supervisor is None else supervisor.faults

    @property
    def descriptors(self) -> int:
        """How many descriptors of the harness's own it holds."""
        supervisor = self._interposer.supervisor
        return (self._marker >= 0) + (0 if supervisor is None else supervisor.descriptors)

    # --- what a case asks for ------------------------------------------------------------------------------------------

    def fails(
        self, error: str, calls: Collection[Name], *, nth: int = 1, times: int = 1, optional: bool = False
    ) -> Fault:
        """Let the ``nth`` of ``calls`` on the connection fail with the errno named ``error``, and the ``times`` - 1 after it."""
        return self.plan(failing(error), calls, nth=nth, times=times, what=error, optional=optional)

    def takes(self, count: int, *, nth: int = 1, times: int = 1) -> Fault:
        """Let the ``nth`` send with more than ``count`` bytes take only ``count``. For streams."""
        return self.plan(taking(count), SEND, nth=nth, times=times, what=f"{count} bytes taken")

    def shows(self, show: Show, *, nth: int = 1, times: int = 1) -> Fault:
        """Let the ``nth`` recvmsg(2) or recvmmsg(2) see what ``show`` makes of what came."""
        return self.plan(showing(show), _WITH_CONTROL, nth=nth, times=times, what="other control data")

    def spoils(self, error: str, control: bytes, data: bytes = b"", *, nth: int = 1, times: int = 1) -> Fault:
        """Let the ``nth`` recvmsg(2) or recvmmsg(2) fail, with these bytes in its buffers; the message stays."""
        return self.plan(spoiling(error, control, data), _WITH_CONTROL, nth=nth, times=times, what=error)

    def delays(self, seconds: float, calls: Collection[Name], *, nth: int = 1, times: int = 1) -> Fault:
        """Hold the ``nth`` of ``calls`` for ``seconds``."""
        return self.plan(late(seconds), calls, nth=nth, times=times, what=f"held for {seconds:g} s")

    def fails_cloexec(self, error: str = "EIO", *, times: int = 1) -> Fault:
        """Let fcntl(F_SETFD) of a passed object fail."""
        return self.plan(
            failing(error), FCNTL, times=times, what=error, only=lambda held: _command(held) == fcntl.F_SETFD
        )

    def fails_close(self, error: str = "EIO", *, nth: int = 1, times: int = 1) -> Fault:
        """Let close(2) of a passed object report ``error``, although it is closed, as Linux does (close(2), NOTES)."""
        return self.plan(lost_close(self._marker, error), CLOSE, nth=nth, times=times, what=error)

    def plan(
        self,
        action: Action,
        calls: Collection[Name],
        *,
        nth: int = 1,
        times: int = 1,
        what: str = "",
        only: Callable[[Held], bool] = lambda _held: True,
        optional: bool = False,
    ) -> Fault:
        """Plan any action. Plans made earlier come first."""
        fault = Fault(frozenset(calls), action, nth, times, what, only, optional)
        with self._lock:
            self._faults.append(fault)
        return fault

    def idle(self) -> str:
        """Return which planned fault never acted, '' where all did."""
        with self._lock:
            unused = [one for one in self._faults if not one.acted and not one.optional]
        if not unused:
            return ""
        one = unused[0]
        names = ", ".join(sorted(one.calls))
        return f"the implementation made {one.met} calls of {names} that could be met by: {one.what}"

    def calls(self, names: Collection[Name]) -> list[Seen]:
        """Return the calls of ``names`` so far: those on the connection, and every fcntl(2) and close(2)."""
        with self._lock:
            return [one for one in self._seen if one.name in names]

    @property
    def untold(self) -> list[int]:
        """The numbers of descriptors that the testee has and was not told of: nobody can expect it to close them."""
        with self._lock:
            return [one for one in self._untold if one >= 0]

    @property
    def closed_in_vain(self) -> list[int]:
        """The numbers that were closed without being open, or a second time."""
        return [one.fd for one in self.calls(CLOSE) if one.fd >= 0 and (one.again or not one.is_open)]

    # --- the supervisor's thread ---------------------------------------------------------------------------------------

    def _handle(self, held: Held) -> Answer:
        if not self._on:
            return GO_ON
        if held.attempt and isinstance(held.memo, Fault):
            fault = held.memo
        elif held.name in CLOSE or held.name in FCNTL:
            fault = self._due(held) if self._is_ours(held.identity) else None
        elif held.identity in self._watched:
            fault = self._due(held)
        else:
            return GO_ON
        held.memo = fault
        try:
            answer = fault.act(held) if fault is not None else self._as_system(held)
        except Impossible as reason:
            self.impossible = str(reason)
            answer = Fail(errno.EIO)
        if held.untold:
            with self._lock:
                self._untold += held.untold
        seen = _seen(held, answer, fault, again=held.name in CLOSE and held.identity == self.marker)
        if not held.attempt:
            self._note(seen)
        if seen.answer and not isinstance(answer, Wait):
            self._tell(f"{seen.name.value}({seen.fd})", seen.answer, held.shown)
        return answer

    def _as_system(self, held: Held) -> Answer:
        if self.system is None or held.name in CLOSE or held.name in FCNTL:
            return GO_ON
        return self.system(held)

    def _is_ours(self, identity: Identity | None) -> bool:
        return identity is not None and (identity in self._watched or self._is_object(identity))

    def _due(self, held: Held) -> Fault | None:
        if not self._faults:
            return None
        with self._lock:
            return next((one for one in self._faults if one.due(held)), None)

    def _note(self, seen: Seen) -> None:
        with self._lock:
            if len(self._seen) < MOST_SEEN:
                self._seen.append(seen)
            else:  # what a case asks of the calls could be wrong from here on
                self.impossible = f"the testee made more than {MOST_SEEN} calls in one case"


@functools.cache
def missing() -> str:
    """Return why seccomp user notification is not to be had in this process, '' where it is."""
    return unavailable()


def in_the_middle(system: Personality | None = None) -> Kernel:
    """Return a kernel to stand in the middle; ``system``: as what it is to show itself.

    Raises Unsupported where that cannot be had here, with the reason.
    """
    reason = missing()
    if reason:
        raise Unsupported("interposer", reason)
    # An emulated call may wait as long as any, so signals have to get through; a planned fault is answered at once.
    kernel = Kernel(killable=system is None)
    kernel.system = Emulation(system) if system is not None else None
    return kernel


def _never(identity: Identity) -> bool:
    del identity
    return False


def _command(held: Held) -> int:
    return signed(held.arguments[1])


def _seen(held: Held, answer: Answer, fault: Fault | None, *, again: bool) -> Seen:
    told = ""
    if isinstance(answer, Fail):
        told = errno.errorcode.get(answer.errno, str(answer.errno))
    elif not isinstance(answer, GoOn):
        told = fault.what if fault is not None else "answered"
    if held.name in CLOSE:
        return Seen(held.name, held.fd, held.identity, again=again, answer=told)
    if held.name in FCNTL:
        argument = signed(held.arguments[2])
        return Seen(held.name, held.fd, held.identity, command=_command(held), argument=argument, answer=told)
    try:
        seen = glance(held.name, held.notification.arguments, held.memory)
    except BadAddress:
        seen = Glance(buffers=0)
    return Seen(held.name, held.fd, held.identity, seen.flags, seen.buffers, seen.control, answer=told)


CLOEXEC = socket.MSG_CMSG_CLOEXEC

__all__ = ["CLOEXEC", "CLOSE", "FCNTL", "RECEIVE", "SEND", "Kernel", "Seen", "in_the_middle", "missing"]
