"""What the executor of transports and their oracle have to agree on."""

from __future__ import annotations

FIRST = "t0"
"""The transport whose socket has the smallest send buffer, where the testee sets options."""
SMALLEST = 4608
"""What SO_SNDBUF is then, in bytes (SOCK_MIN_SNDBUF of include/net/sock.h on 64 bits)."""
MISSING = "missing"
"""The kind of the error that an operation shows that could not be asked for: on a transport that could not be made, say."""
