"""The system calls of ``raw_call``, by name: what ``iov`` and ``arguments`` stand for, and what comes back.

``returned`` and ``errno`` are the call's own, and ``iov`` of the result shows the memory afterwards, unless the line says
otherwise. A name that is not in this table is answered with ``unsupported``; so is one that this platform does not have.
"""

from __future__ import annotations

CALLS: dict[str, str] = {
    # sockets
    "read": "iov: one buffer",
    "readv": "iov: the buffers",
    "recv": "iov: one buffer; flags",
    "recvfrom": "iov: one buffer, then room for the address; flags",
    "write": "iov: one buffer",
    "writev": "iov: the buffers",
    "send": "iov: one buffer; flags",
    "sendto": "iov: one buffer, then the bytes of the address; flags",
    "splice": "arguments: the descriptor to write to, the length, splice flags; no offsets",
    "tee": "arguments: the descriptor to write to, the length, splice flags",
    "vmsplice": "iov: the buffers; arguments: splice flags",
    "sendfile": "fd is written to; arguments: the descriptor to read from, the length; no offset",
    "ioctl": "arguments: the request; iov: one buffer that it fills",
    "fcntl": "arguments: the command, and perhaps its argument",
    "setsockopt": "arguments: level, option; iov: the value",
    "getsockopt": "arguments: level, option; iov: room for the value; `returned` is the length of the value on success",
    "getsockname": "iov: room for the address; `returned` is its length on success",
    "getpeername": "iov: room for the address; `returned` is its length on success",
    "poll": "arguments: events, milliseconds; `returned` is revents on success, 0 where the time was over",
    "socket": "arguments: domain, type, protocol; always with SOCK_CLOEXEC",
    "socketpair": "arguments: domain, type, protocol, as they are; iov: room for two ints, which it fills",
    "connect": "iov: the bytes of the address",
    "bind": "iov: the bytes of the address",
    "listen": "arguments: the backlog",
    "shutdown": "arguments: SHUT_RD, SHUT_WR or SHUT_RDWR",
    "accept4": "arguments: flags",
    # files, and descriptors as such
    "lseek": "arguments: offset, whence",
    "flock": "arguments: the operation",
    "lock": "fcntl(F_SETLK) of the whole file; arguments: F_RDLCK, F_WRLCK or F_UNLCK",
    "getlock": "fcntl(F_GETLK) for a write lock on the whole file; `returned` is the owner's process id, 0 where nobody has one",
    "dup": "no arguments",
    "dup3": "arguments: the new number, flags",
    "close_range": "from fd on; arguments: the last number, flags",
    "kcmp": "arguments: another number; KCMP_FILE: `returned` 0 where both have one open file description",
    "epoll_ctl": "arguments: the operation, a number, events",
    "epoll_wait": "arguments: milliseconds; `returned` is the events of the first that is ready, 0 where none is",
    "openat": "fd is the directory; iov: the path with its NUL; flags: open flags",
    "unlink": "iov: the path with its NUL",
    "getpid": "no arguments",
    "unshare": "arguments: flags (CLONE_FILES ends the sharing of a child that was forked with `files`)",
    "execve": "the process's image is replaced by the testee's own program, which goes on with the same conversation "
    "and knows nothing any more but the constants of `hello`; only in a forked child, and not within `steps`",
    # things that can be passed; each returns a new number
    "pipe2": "arguments: flags; iov: room for two ints, which it fills",
    "epoll_create1": "arguments: flags",
    "eventfd2": "arguments: initial value, flags",
    "timerfd_create": "arguments: clock, flags",
    "signalfd4": "an empty set of signals; arguments: flags",
    "inotify_init1": "arguments: flags",
    "memfd_create": "iov: the name with its NUL; arguments: flags",
    "pidfd_open": "arguments: the process id (0: the caller's own), flags",
    "pidfd_getfd": "fd is the pidfd; arguments: the number in that process",
    "userfaultfd": "arguments: flags",
    "io_uring_setup": "arguments: entries; no other parameter",
    "open_tree": "fd is the directory; iov: the path with its NUL; arguments: flags",
    "mq_open": "a nameless queue of one message of one byte, unlinked at once",
    "posix_openpt": "arguments: flags",
    "landlock_create_ruleset": "a rule set that handles the execution of files",
    "fanotify_init": "arguments: flags, event flags",
    "bpf": "no arguments; a map of one entry",
    "perf_event_open": "no arguments; a software counter of the caller",
}
