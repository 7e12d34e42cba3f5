"""A model of AF_UNIX sockets on Linux: what every operation of a sequence must show, and which requirements say so.

``step(state, operation)`` gives the permitted outcomes, each with the state that follows; ``accept(state, operation, seen)``
compares them with what a kernel or an implementation did. States and operations are values; nothing here makes a system call.
"""

from __future__ import annotations

from .explain import check, explain
from .operations import (
    Accept,
    Call,
    Close,
    Collect,
    Connect,
    Control,
    Credentials,
    Duplicate,
    Forged,
    How,
    Kind,
    Listen,
    Look,
    NewSocket,
    Open,
    Operation,
    Option,
    Pair,
    Raw,
    Receive,
    Released,
    Rights,
    Room,
    Send,
    SetOption,
    Shutdown,
)
from .outcome import Descriptor, Mismatch, Outcome, Seen, Step
from .processes import connected, file_of, forget, open_of, opened_by, process_of
from .rules import accept, follow, matching, outcomes, step
from .state import Ids, Platform, Process, State, acting, initial
from .text import BadSequence, parse, show

__all__ = [
    "Accept",
    "BadSequence",
    "Call",
    "Close",
    "Collect",
    "Connect",
    "Control",
    "Credentials",
    "Descriptor",
    "Duplicate",
    "Forged",
    "How",
    "Ids",
    "Kind",
    "Listen",
    "Look",
    "Mismatch",
    "NewSocket",
    "Open",
    "Operation",
    "Option",
    "Outcome",
    "Pair",
    "Platform",
    "Process",
    "Raw",
    "Receive",
    "Released",
    "Rights",
    "Room",
    "Seen",
    "Send",
    "SetOption",
    "Shutdown",
    "State",
    "Step",
    "accept",
    "acting",
    "check",
    "connected",
    "explain",
    "file_of",
    "follow",
    "forget",
    "initial",
    "matching",
    "open_of",
    "opened_by",
    "outcomes",
    "parse",
    "process_of",
    "show",
    "step",
]
