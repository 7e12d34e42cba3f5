"""One call that waits for its answer, and the answers that there are."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from ..census import Identity
from .calls import Architecture, Name
from .memory import Memory, Wanted, signed, wanted
from .seccomp import Listener, Notification, duplicate


@dataclass(frozen=True)
class GoOn:
    """The kernel carries the call out, as if nobody had been there."""


@dataclass(frozen=True)
class Fail:
    """The call fails with this errno, and was not carried out."""

    errno: int


@dataclass(frozen=True)
class Return:
    """The call returns ``value``: whatever it does was done by who answers."""

    value: int


@dataclass(frozen=True)
class Wait:
    """The call waits on: until ``fd`` (ours, closed then) is ready for ``events`` (poll(2)), or ``seconds`` have passed.

    The handler is then asked again, with `Held.attempt` one higher and `Held.expired` telling which it was.
    """

    fd: int = -1
    events: int = 0
    seconds: float | None = None


PIDFD_THREAD = os.O_EXCL
Answer = GoOn | Fail | Return | Wait
GO_ON = GoOn()


class Impossible(Exception):
    """The call cannot be carried out in the kernel's stead, and it is too late to let it go on."""


@dataclass
class Held:
    """A call that waits. Everything about its process is looked up when it is asked for, and only then.

    ``attempt``: how often its handler was asked before; ``expired``: whether the last `Wait` ended by its time.
    """

    notification: Notification
    name: Name
    listener: Listener = field(repr=False)
    architecture: Architecture = field(repr=False)
    attempt: int = 0
    expired: bool = False
    memo: object = None
    """What the handler wants to remember between two attempts."""
    untold: list[int] = field(default_factory=list[int])
    """Numbers of descriptors that were installed although nothing tells the caller of them."""
    shown: bytes = b""
    """The control data that was written into the caller, for the transcript."""
    _looked_up: bool = False
    _identity: Identity | None = None
    _wanted: Wanted | None = None

    @property
    def tid(self) -> int:
        """The thread that calls."""
        return self.notification.tid

    @property
    def arguments(self) -> tuple[int, ...]:
        """Its six arguments as they stand in the registers."""
        return self.notification.arguments

    @property
    def fd(self) -> int:
        """The descriptor that the call is about: every call here has it first."""
        return signed(self.notification.arguments[0])

    @property
    def identity(self) -> Identity | None:
        """What `fd` refers to in the caller; None where it is not open."""
        if not self._looked_up:
            self._identity, self._looked_up = self.identity_of(self.fd), True
        return self._identity

    def identity_of(self, number: int) -> Identity | None:
        """Return what ``number`` refers to in the caller; None where it is not open."""
        if number < 0:
            return None
        try:
            facts = os.stat(f"/proc/{self.tid}/fd/{number}")  # noqa: PTH116 - hot path
        except OSError:
            return None
        return Identity(facts.st_dev, facts.st_ino)

    @property
    def memory(self) -> Memory:
        """The caller's memory."""
        return Memory(self.notification.tid)

    @property
    def wanted(self) -> Wanted:
        """What a call that sends or receives was given. Raises BadAddress, TooLarge."""
        if self._wanted is None:
            self._wanted = wanted(self.name, self.notification.arguments, self.memory)
        return self._wanted

    @property
    def process(self) -> int:
        """The caller's process (its thread group)."""
        with open(f"/proc/{self.tid}/status", encoding="ascii", errors="replace") as status:  # noqa: PTH123 - hot path
            for line in status:
                if line.startswith("Tgid:"):
                    return int(line.split()[1])
        raise ProcessLookupError(errno.ESRCH, f"thread {self.tid} has no process")

    def duplicate(self, number: int) -> int:
        """Return a descriptor of ours for the caller's ``number``, to be closed at once: it keeps things open. Raises OSError."""
        pidfd = self._pidfd()
        try:
            return duplicate(self.architecture, pidfd, number)
        finally:
            os.close(pidfd)

    def _pidfd(self) -> int:
        """Return a pidfd of the thread itself where Linux has that (6.9): the table of a thread may outlive its leader's."""
        try:
            return os.pidfd_open(self.tid, PIDFD_THREAD)
        except OSError as fault:
            if fault.errno != errno.EINVAL:
                raise
            return os.pidfd_open(self.process)

    def install(self, fd: int, *, cloexec: bool, at: int | None = None) -> int:
        """Put our ``fd`` into the caller and return its number there. Raises NoLonger, Impossible, and OSError (EMFILE)."""
        try:
            return self.listener.install(self.notification.id, fd, cloexec=cloexec, at=at)
        except OSError as fault:
            if (
                fault.errno == errno.EBADF
            ):  # SECCOMP_IOCTL_NOTIF_ADDFD uses fget(), which does not see O_PATH descriptors
                raise Impossible("the kernel puts no O_PATH descriptor into another process") from fault
            raise

    @property
    def waits(self) -> bool:
        """Whether the call still waits for an answer."""
        return self.listener.is_valid(self.notification.id)
