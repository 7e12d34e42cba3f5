"""One exception per way in which a testee's life can go wrong.

Each carries a short ``code`` that stays the same from run to run, so that a failure's reason can be pinned.
"""

from __future__ import annotations


class TesteeError(Exception):
    """The testee did something that ends its life or its case. ``code`` is stable, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StartFailed(TesteeError):
    """It could not be started, or did not say hello; the message holds its last words."""


class Crashed(TesteeError):
    """It ended in the middle of a conversation."""


class TimedOut(TesteeError):
    """It did not answer before its deadline."""


class Broken(TesteeError):
    """It broke the protocol."""


class Unsupported(TesteeError):
    """It does not offer what was asked, and said so in ``hello``."""
