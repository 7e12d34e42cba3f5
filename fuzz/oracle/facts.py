"""What an oracle has to know of an implementation and of the place where it runs."""

from __future__ import annotations

from msgspec import Struct

from ...conformance.model.state import Platform
from ..judgement import Violation
from ..offer import Offer


class Facts(Struct, frozen=True):
    """Where and with what a program was executed.

    ``policies``: the documented outcomes by the name of the policy (see `fdspec.impls.protocol.capabilities.POLICIES`), of
    those alone that name a source. ``raw``: the testee is one of profile raw: every call is made to the letter, with the exact
    msghdr that the operation says, and so the kernel's outcome is the only one. ``limits``: what the profile declares
    (``queue`` of a transport). ``platform``: the kernel's figures and both processes' credentials.
    """

    offer: Offer
    policies: dict[str, str] = {}
    raw: bool = False
    limits: dict[str, int] = {}
    platform: Platform = Platform()


class Judged(Struct, frozen=True):
    """What an oracle says: the violations in the order of time, and the names of the behaviour that was seen."""

    violations: tuple[Violation, ...] = ()
    features: frozenset[str] = frozenset()
