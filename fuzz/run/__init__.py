"""Programs executed: the testee's operations through its protocol, the peer's by plain system calls, and what both showed."""
