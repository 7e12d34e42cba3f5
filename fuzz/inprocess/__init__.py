"""Programs executed within this process, on Python implementations and without a testee: fifteen thousand in a second and more.

Both ends of every connection are here, over a socketpair. What is judged is judged beside the execution: data, descriptors by
identity and order, their number, what the caller is told of a loss, close-on-exec, and that nothing stays open.
"""

from __future__ import annotations

from .apis import SUBJECTS, NotHere
from .runner import InProcess, open_in_process

__all__ = ["SUBJECTS", "InProcess", "NotHere", "open_in_process"]
