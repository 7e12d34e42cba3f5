"""fdspec: a conformance test suite and fuzz harness for passing file descriptors over AF_UNIX sockets (SCM_RIGHTS)."""

__version__ = "0.1.0"
