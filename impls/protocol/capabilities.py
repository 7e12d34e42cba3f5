"""The capabilities that a testee may declare in ``hello``, each with its meaning.

A case that needs a capability which was not declared is *unsupported*; one that was declared and is then answered with
``unsupported`` makes the testee *broken*. A name that is not in these tables is an error of the adapter.
"""

from __future__ import annotations

from .values import Profile

TESTEE: dict[str, str] = {
    "steps": "answers `steps`",
    "options": "answers `setopt`, `getopt` and `shutdown`",
    "listen": "answers `listen` and `accept`",
    "zero": "leaves number 0 to the cases: it may be closed, and be received",
    "pair": "answers `pair`",
    "limit": "answers `limit`",
    "fork": "answers `fork`, `wait`, `in` and `collect`",
    "make": "answers `make`",
    "census": "answers `census`",
}

LAYOUT: dict[str, str] = {
    "word": "sizeof(size_t), in bytes: the width of cmsg_len, msg_controllen, msg_iovlen and iov_len",
    "header": "CMSG_LEN(0), in bytes",
    "align": "the alignment of control messages, in bytes: CMSG_SPACE(1) - CMSG_SPACE(0)",
    "int": "sizeof(int), in bytes",
    "big": "1 where the most significant byte of a number comes first, else 0",
}
"""What a testee of profile ``raw`` says in ``limits`` of it, so that the harness can build and read its control buffers."""

_BUFFERS = {
    "buffers-out": "takes several buffers in one send",
    "buffers-in": "fills several buffers in one receive",
    "flags-in": "takes MSG_* flags when it receives",
    "flags-out": "takes MSG_* flags when it sends",
    "address": "takes a destination address when it sends",
    "empty-out": "takes a send without data",
    "plain-out": "takes a send without descriptors",
}

PROFILES: dict[Profile, dict[str, str]] = {
    Profile.MESSAGE: {
        **_BUFFERS,
        "control-length": "takes the exact msg_controllen of a receive in bytes (`control`)",
        "ancillary": "sends control messages of any level and type, with any data",
        "several": "sends several control messages in one message",
        "peer-address": "shows the sender's address",
    },
    Profile.DESCRIPTORS: {
        **_BUFFERS,
        "many": "sends and receives several descriptors in one call",
        "single": "has calls for exactly one descriptor (`single`)",
        "flags-reported": "shows msg_flags of a receive",
        "peer-address": "shows the sender's address",
    },
    Profile.TRANSPORT: {
        "client": "answers `transport.connect`",
        "server": "answers `transport.listen` and `transport.accept`",
        "producer": "pauses and resumes a streaming producer",
        "reading": "stops and goes on reading on request",
        "abort": "closes at once, dropping what is queued",
        "half-close": "answers `transport.end`",
        "owned": "takes over a descriptor that is given to it (`give`)",
        "plain-receiver": "lets a protocol that cannot take descriptors sit on top",
        "raising-receiver": "survives or reports a callback that raises",
        "closing-receiver": "lets a callback close the transport, or abort it where `abort` is declared",
        "log": "reports what the implementation logs as `log` events",
    },
    Profile.RAW: {
        "many": "has sendmmsg and recvmmsg",
        "protection": "lays memory at every place (`place`)",
        "alarm": "interrupts a call by a signal",
        "calls": "answers `raw_call`",
    },
    Profile.CODEC: {
        "encode": "answers `encode`",
        "decode": "answers `decode`",
    },
}

POLICIES: dict[str, tuple[str, ...]] = {
    "truncation": ("error", "flag", "silent"),
    "cloexec": ("always", "never", "flag"),
    "queued": ("borrowed", "owned"),
    "order": ("descriptors-first", "data-first"),
    "overrun": ("wait", "error"),
}
"""Policies by name with their possible outcomes.

``truncation``: what becomes of descriptors for which there is no room. ``cloexec``: whether received descriptors are
close-on-exec. ``queued``: whether a transport keeps the caller's number or a copy of it. ``order``: which of a message is
handed over first. ``overrun``: what a transport does when its loop turns with more descriptors queued than bytes.
"""
