"""What an execution showed, operation by operation, and the account at its end. Values; the oracles read nothing else.

Things are told by labels, so that numbers of two processes are never compared: the name of the object (``f0``, ``g1``) or of
the end of a connection (``t0``, ``p2``) that a descriptor refers to, told apart by device and inode; `UNKNOWN` for what is
none of the program's.
"""

from __future__ import annotations

from msgspec import Struct

from ..program import Program

UNKNOWN = "?"
"""The label of what is none of the program's things."""
CLOSED = "-"
"""The label of a number that was told and is not open."""


class Control(Struct, frozen=True):
    """A control message that is no SCM_RIGHTS, as it was shown."""

    level: int
    type: int
    data: bytes


class Told(Struct, frozen=True):
    """One event of a transport: ``name`` as the testee protocol has it (``data``, ``descriptor``, ``lost``, ...)."""

    name: str
    data: bytes = b""
    label: str = ""
    """Of a descriptor: what it refers to."""
    error: str = ""


class Shown(Struct, frozen=True):
    """What one operation showed to whoever did it.

    ``value``: the number of bytes that a send says it took, None where its API does not say or after an error. ``error``: an
    errno name (``EAGAIN``); '' for none, or for an error without errno. ``kind``: the type of the error as the testee tells it;
    '' for no error. ``data``: what was written into each buffer. ``files``: the label of each descriptor that came, in order.
    ``same``: for each of them whether it shares the sender's open file description, None where nobody looked. ``cloexec``: None
    where nobody looked. ``flags``: msg_flags as bits, None where the API does not show them. ``control``: the other control
    messages; ``controllen``: msg_controllen afterwards, None where it is not shown. ``open``: how many descriptors the testee
    had open afterwards beside its baseline, None where nobody looked. ``events``: what a transport told.
    """

    value: int | None = None
    error: str = ""
    kind: str = ""
    message: str = ""
    data: tuple[bytes, ...] = ()
    files: tuple[str, ...] = ()
    same: tuple[bool | None, ...] = ()
    cloexec: tuple[bool | None, ...] = ()
    flags: int | None = None
    control: tuple[Control, ...] = ()
    controllen: int | None = None
    open: int | None = None
    events: tuple[Told, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether it ended in an error."""
        return bool(self.kind)


class Trouble(Struct, frozen=True):
    """Why an execution ended early, or what was wrong with it as an execution.

    ``breach`` is one of `fdspec.fuzz.judgement.Breach` (crash, hang, noise, protocol), ``at`` the operation.
    """

    breach: str
    at: int
    message: str


class Left(Struct, frozen=True):
    """The account at the end, before and after the testee's ``reset``.

    ``open``: the label of every descriptor that the testee had beside its baseline before the reset, sorted, each as often as
    it was open (`UNKNOWN` for what is none of the program's things). ``stray``: sentences about descriptors that were closed,
    or refer to something else, although nobody asked for that; of the testee's baseline too. ``leaked``: the labels of what
    is still open after the reset. ``released``: for each object, the testee's and the peer's, whether nothing in the world
    refers to it any more after the reset and after the peer's end was closed (None where it cannot be told).
    """

    open: tuple[str, ...] = ()
    stray: tuple[str, ...] = ()
    leaked: tuple[str, ...] = ()
    released: dict[str, bool | None] = {}


class Execution(Struct, frozen=True):
    """One execution of a program.

    ``shown``: one entry an operation, None for one that was not reached. ``drained``: of profile transport, what the peer still
    received at the end with ample room, until nothing more came. ``acted``: the indices of the planned faults (operations
    ``fail``, ``short``, ``forge``) that acted. ``left`` is None where the testee did not live to the end.
    """

    program: Program
    shown: tuple[Shown | None, ...]
    left: Left | None = None
    trouble: Trouble | None = None
    drained: tuple[Shown, ...] = ()
    acted: tuple[int, ...] = ()
    careful: bool = False
    transcript: tuple[str, ...] = ()
