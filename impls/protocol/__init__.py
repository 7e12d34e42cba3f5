"""The testee protocol, version 1: typed messages, a sans-I/O conversation, and its JSON Schema.

The manual page is ``docs/testee-protocol.md``. Everything that is public here is what adapters and the harness share.
"""

from .conversation import Anomaly, AnomalyKind, Conversation, Noise, Reply, reply_to
from .messages import VERSION

__all__ = ["VERSION", "Anomaly", "AnomalyKind", "Conversation", "Noise", "Reply", "reply_to"]
