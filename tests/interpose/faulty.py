"""Testees that are wrong in one thing each, as methods in place of those of python-socket's adapter, by the case that finds it.

Python makes interrupted calls again by itself, so who wants to see an EINTR makes a call of no bytes by the C library first.
"""

HELPERS = """
import array, ctypes, fcntl
libc = ctypes.CDLL(None, use_errno=True)
last, calls, kept = ([b""], [], 0, None), 0, []

def no_receive(self, fd):
    return self.libc.recv(fd, None, 0, 2) < 0  # MSG_PEEK

def no_send(self, fd):
    return self.libc.send(fd, None, 0, 0x4000) < 0  # MSG_NOSIGNAL

def fds_of(self, result):
    return [fd for *_, data in result[1] for fd in self.array.array("i", data)]

def with_fds(self, result, fds):
    return result[0], [(1, 1, self.array.array("i", fds).tobytes())] if fds else [], *result[2:]

def receive(self, *a):
    return good.PythonSocket.recvmsg(self, *a)

def send(self, *a):
    return good.PythonSocket.sendmsg(self, *a)

def receive_more(self, fd, sizes, room, control, flags):
    result = self.receive(fd, sizes, 8, None, flags)
    fds = self.fds_of(result)
    return self.with_fds(result, fds[:room]), fds[room:]

def send_rest(self, fd, b, anc, *r):
    data = b"".join(b)
    n = self.send(fd, b, anc, *r)
    while n < len(data):
        n += self.send(fd, [data[n:]], [], *r)
    return n
"""
SINGLE = """
profiles = {"descriptors": {"types": good.TYPES, "capabilities": ["many", "single", "plain-out"]}}

def send_fds(self, fd, b, fds, flags, address, single):
    return self.sendmsg(fd, b, [(1, 1, fds)] if fds else [], flags, address)

def recv_fds(self, fd, sizes, room, flags, single):
    result = self.recvmsg(fd, sizes, room, None, flags)
    return result[0], self.fds_of(result), None, None
"""
"""The same by the calls for descriptors."""

END_AT_EINTR = """
def recvmsg(self, fd, *r):
    return ([b""], [], 0, None) if self.no_receive(fd) else self.receive(fd, *r)
"""
SENDS_AND_REPORTS = """
def sendmsg(self, fd, *r):
    failed = self.no_send(fd)
    n = self.send(fd, *r)
    if failed:
        raise InterruptedError(4, "interrupted")
    return n
"""
ALL_AGAIN = """
def sendmsg(self, fd, b, anc, *r):
    while self.send(fd, b, anc, *r) < len(b"".join(b)):
        pass
    return len(b"".join(b))
"""
CLOSES_AGAIN = """
def recvmsg(self, *a):
    result, excess = self.receive_more(*a)
    for fd in excess:
        while self.libc.close(fd) < 0:
            pass
    return result
"""
STOPS_CLOSING = """
def recvmsg(self, *a):
    result, excess = self.receive_more(*a)
    for fd in excess:
        if self.libc.close(fd) < 0:
            break
    return result
"""
FCNTL_AFTERWARDS = """
def recvmsg(self, fd, sizes, room, control, flags):
    result = self.receive(fd, sizes, room, control, flags & ~good.socket.MSG_CMSG_CLOEXEC)
    for one in self.fds_of(result):
        self.fcntl.fcntl(one, self.fcntl.F_SETFD, 1)
    return result
"""

CLOSES_TWICE = """
def recvmsg(self, *a):
    result, excess = self.receive_more(*a)
    for fd in excess + excess:
        self.libc.close(fd)
    return result
"""

FAULTY = {
    "takes EINTR for the end of file": ("faults.receive.interrupted", END_AT_EINTR),
    "takes EINTR for the end of file, by the call for one": (
        "faults.receive.interrupted.single",
        SINGLE + END_AT_EINTR,
    ),
    "makes a call again twice, and then takes EINTR for the end": (
        "faults.receive.interrupted.again-and-again",
        """
def recvmsg(self, fd, *r):
    for _ in range(3):
        if not self.no_receive(fd):
            return self.receive(fd, *r)
    return [b""], [], 0, None
""",
    ),
    "hands over the last message again after EINTR": (
        "faults.receive.interrupted.second-message",
        """
def recvmsg(self, fd, *r):
    self.calls += 1
    if self.calls != 2 or not self.no_receive(fd):
        self.last = self.receive(fd, *r)
    return self.last
""",
    ),
    "receives into one buffer after EINTR": (
        "faults.receive.interrupted.buffers",
        """
def recvmsg(self, fd, sizes, *r):
    return self.receive(fd, [sum(sizes)] if self.no_receive(fd) else sizes, *r)
""",
    ),
    "forgets the flags after EINTR": (
        "faults.receive.interrupted.peek",
        """
def recvmsg(self, fd, sizes, room, control, flags):
    return self.receive(fd, sizes, room, control, 0 if self.no_receive(fd) else flags)
""",
    ),
    "takes EAGAIN for the end of file": (
        "faults.receive.not-ready",
        """
def recvmsg(self, *a):
    try:
        return self.receive(*a)
    except BlockingIOError:
        return [b""], [], 0, None
""",
    ),
    "says that something failed, and not what": (
        "faults.receive.refused",
        """
def recvmsg(self, *a):
    try:
        return self.receive(*a)
    except OSError:
        raise OSError("cannot receive") from None
""",
    ),
    "throws a message away when a receive fails": (
        "faults.receive.refused",
        """
def recvmsg(self, fd, *r):
    try:
        return self.receive(fd, *r)
    except OSError:
        self.libc.recv(fd, self.ctypes.create_string_buffer(16), 16, 64)
        raise
""",
    ),
    "hands over what an earlier receive left in its buffers": (
        "faults.receive.refused.after-descriptors",
        """
def recvmsg(self, *a):
    try:
        self.last = self.receive(*a)
    except OSError:
        pass
    return self.last
""",
    ),
    "closes what an earlier receive left in its buffers": (
        "faults.receive.refused.after-descriptors",
        """
def recvmsg(self, *a):
    try:
        self.last = self.receive(*a)
    except OSError:
        for fd in self.fds_of(self.last):
            os.close(fd)
        raise
    return self.last
""",
    ),
    "keeps MSG_CTRUNC from a message to the next": (
        "faults.receive.refused.after-loss",
        """
def recvmsg(self, *a):
    result = self.receive(*a)
    self.calls |= result[2]
    return *result[:2], self.calls, result[3]
""",
    ),
    "loses a message that takes its time": (
        "faults.receive.held",
        """
def recvmsg(self, *a):
    begun = time.monotonic()
    result = self.receive(*a)
    if time.monotonic() - begun < 0.015:
        return result
    for fd in self.fds_of(result):
        os.close(fd)
    raise TimeoutError(110, "too late")
""",
    ),
    "sends, and reports EINTR": ("faults.send.interrupted", SENDS_AND_REPORTS),
    "sends, and reports EINTR, by the call for one": ("faults.send.interrupted.single", SINGLE + SENDS_AND_REPORTS),
    "makes a call again twice, and then takes EINTR for success": (
        "faults.send.interrupted.again-and-again",
        """
def sendmsg(self, fd, b, *r):
    for _ in range(3):
        if not self.no_send(fd):
            return self.send(fd, b, *r)
    return len(b"".join(b))
""",
    ),
    "goes on with the second buffer after EINTR": (
        "faults.send.interrupted.buffers",
        """
def sendmsg(self, fd, b, *r):
    return self.send(fd, b[1:] if self.no_send(fd) else b, *r)
""",
    ),
    "takes EAGAIN for success": (
        "faults.send.not-ready",
        """
def sendmsg(self, fd, b, *r):
    try:
        return self.send(fd, b, *r)
    except BlockingIOError:
        return len(b"".join(b))
""",
    ),
    "sends without the descriptors when it is refused": (
        "faults.send.refused",
        """
def sendmsg(self, fd, b, anc, *r):
    try:
        return self.send(fd, b, anc, *r)
    except OSError:
        return self.send(fd, b, [], *r)
""",
    ),
    "closes the caller's descriptors when it is refused": (
        "faults.send.refused",
        """
def sendmsg(self, fd, b, anc, *r):
    try:
        return self.send(fd, b, anc, *r)
    except OSError:
        os.close(anc[0][2][0])
        raise
""",
    ),
    "drops a message that is refused three times": (
        "faults.send.refused.one-after-the-other",
        """
def sendmsg(self, fd, b, anc, *r):
    for _ in range(3):
        try:
            return self.send(fd, b, anc, *r)
        except OSError:
            pass
    return len(b"".join(b))
""",
    ),
    "sends again as long as there is no memory": (
        "faults.send.refused.for-good",
        """
def sendmsg(self, fd, b, anc, *r):
    while True:
        try:
            return self.send(fd, b, anc, *r)
        except OSError as error:
            if error.errno not in (105, 12):
                raise
""",
    ),
    "sends what was refused with the next message": (
        "faults.send.refused.second-message",
        """
def sendmsg(self, fd, b, anc, *r):
    fds = self.kept + anc[0][2]
    self.kept = anc[0][2]
    n = self.send(fd, b, [(1, 1, fds)], *r)
    self.kept = []
    return n
""",
    ),
    "keeps a copy of what was refused": (
        "faults.send.refused.released",
        """
def sendmsg(self, fd, b, anc, *r):
    copy = os.dup(anc[0][2][0])
    n = self.send(fd, b, anc, *r)
    os.close(copy)
    return n
""",
    ),
    "sends again what takes its time": (
        "faults.send.held",
        """
def sendmsg(self, *a):
    begun = time.monotonic()
    n = self.send(*a)
    return n if time.monotonic() - begun < 0.015 else self.send(*a)
""",
    ),
    "sends everything again after a short write": ("faults.short-write", ALL_AGAIN),
    "sends everything again, by the call for one": ("faults.short-write.single", SINGLE + ALL_AGAIN),
    "sends the descriptors again with the rest": (
        "faults.short-write",
        """
def sendmsg(self, fd, b, anc, *r):
    data = b"".join(b)
    n = self.send(fd, b, anc, *r)
    return n + self.send(fd, [data[n:]], anc, *r) if n < len(data) else n
""",
    ),
    "drops the rest, and claims all": (
        "faults.short-write",
        """
def sendmsg(self, fd, b, *r):
    self.send(fd, b, *r)
    return len(b"".join(b))
""",
    ),
    "sends the descriptors with the rest only": (
        "faults.short-write",
        """
def sendmsg(self, fd, b, anc, *r):
    n = self.send(fd, b, [], *r)
    self.send(fd, [b"".join(b)[n:]], anc, *r)
    return len(b"".join(b))
""",
    ),
    "goes on with the buffer after the one that was cut": (
        "faults.short-write.buffers",
        """
def sendmsg(self, fd, b, anc, *r):
    n, end = self.send(fd, b, anc, *r), 0
    if n == len(b"".join(b)):
        return n
    for index, one in enumerate(b):
        end += len(one)
        if end >= n:
            self.send(fd, b[index + 1 :], [], *r)
            return len(b"".join(b))
""",
    ),
    "expects the second write to take everything": (
        "faults.short-write.byte-by-byte",
        """
def sendmsg(self, fd, b, anc, *r):
    n = self.send(fd, b, anc, *r)
    if n < len(b"".join(b)):
        self.send(fd, [b"".join(b)[n:]], [], *r)
    return len(b"".join(b))
""",
    ),
    "keeps the descriptors of a short write for the next message": (
        "faults.short-write.next-message",
        """
def sendmsg(self, fd, b, anc, *r):
    if anc:
        anc, self.kept = [(1, 1, self.kept + anc[0][2])], []
    n = self.send(fd, b, anc, *r)
    if n < len(b"".join(b)):
        self.kept = anc[0][2]
    return n
""",
    ),
    "begins again when the rest is interrupted": (
        "faults.short-write.then-interrupted",
        """
def sendmsg(self, fd, b, *r):
    n = self.send(fd, b, *r)
    if n == len(b"".join(b)):
        return n
    return self.send_rest(fd, b, *r) if self.no_send(fd) else n
""",
    ),
    "takes EAGAIN on the rest for the end of its work": (
        "faults.short-write.then-not-ready",
        """
def sendmsg(self, fd, b, *r):
    try:
        return self.send_rest(fd, b, *r)
    except BlockingIOError:
        return len(b"".join(b))
""",
    ),
    "begins again when the rest is refused": (
        "faults.short-write.then-refused",
        """
def sendmsg(self, *a):
    try:
        return self.send_rest(*a)
    except OSError:
        return self.send_rest(*a)
""",
    ),
    "closes again after EIO": ("faults.close.error", CLOSES_AGAIN),
    "closes again after EINTR": ("faults.close.interrupted", CLOSES_AGAIN),
    "stops closing at EIO": ("faults.close.error", STOPS_CLOSING),
    "stops closing at EINTR": ("faults.close.interrupted", STOPS_CLOSING),
    "closes again after EIO where room is odd": ("faults.close.odd-room", CLOSES_AGAIN),
    "stops closing at the second error": (
        "faults.close.every-error",
        """
def recvmsg(self, *a):
    result, excess = self.receive_more(*a)
    failures = 0
    for fd in excess:
        failures += self.libc.close(fd) < 0
        if failures > 1:
            break
    return result
""",
    ),
    "stops closing at EIO, in the call for one": ("faults.close.single", SINGLE + STOPS_CLOSING),
    "stops closing at EIO where numbers run out": (
        "faults.close.no-number",
        """
def recvmsg(self, *a):
    result = self.receive(*a)
    if not result[2] & good.socket.MSG_CTRUNC:
        return result
    for fd in self.fds_of(result):
        if self.libc.close(fd) < 0:
            break
    return self.with_fds(result, [])
""",
    ),
    "closes a copy twice": (
        "faults.close.each-once",
        """
def sendmsg(self, fd, b, anc, *r):
    copy = os.dup(anc[0][2][0])
    self.libc.close(copy)
    self.libc.close(copy)
    return self.send(fd, b, anc, *r)
""",
    ),
    "closes twice what does not fit": ("faults.close.each-once.lost", CLOSES_TWICE),
    "closes twice what does not fit into an odd room": ("faults.close.each-once.odd-room", CLOSES_TWICE),
    "closes numbers that did not come": (
        "faults.close.each-once.no-number",
        """
def recvmsg(self, fd, sizes, room, *r):
    result = self.receive(fd, sizes, room, *r)
    fds = self.fds_of(result)
    for missing in range(room - len(fds)):
        self.libc.close(300 + missing)
    return result
""",
    ),
    "sets close-on-exec by fcntl afterwards": ("faults.cloexec.atomic", FCNTL_AFTERWARDS),
    "sets close-on-exec by fcntl afterwards, in the call for one": (
        "faults.cloexec.atomic.single",
        SINGLE + FCNTL_AFTERWARDS,
    ),
    "does not look whether fcntl set close-on-exec": (
        "faults.cloexec.refused",
        """
def recvmsg(self, *a):
    result = self.receive(*a)
    for fd in self.fds_of(result):
        self.libc.fcntl(fd, self.fcntl.F_SETFD, 1)
    return result
""",
    ),
    "keeps the descriptors when fcntl fails": (
        "faults.cloexec.refused",
        """
def recvmsg(self, *a):
    result = self.receive(*a)
    for fd in self.fds_of(result):
        self.fcntl.fcntl(fd, self.fcntl.F_SETFD, 1)
    return result
""",
    ),
}
"""What is wrong: the case that finds it, and the methods."""

HONEST = {
    "reports every error": """
profiles = {"message": {**good.PythonSocket.profiles["message"], "types": ["stream"]}}

def recvmsg(self, fd, *r):
    if self.no_receive(fd):
        raise OSError(self.ctypes.get_errno(), "cannot receive")
    return self.receive(fd, *r)

def sendmsg(self, fd, *r):
    if self.no_send(fd):
        raise OSError(self.ctypes.get_errno(), "cannot send")
    return self.send(fd, *r)
""",
    "sends the rest by itself, and tries again what failed": """
def sendmsg(self, fd, b, anc, *r):
    data, n, failed = b"".join(b), 0, 0
    while True:
        try:
            n += self.send(fd, b if not n else [data[n:]], anc if not n else [], *r)
        except OSError:
            failed += 1
            if failed > 10:
                raise
            continue
        if n == len(data):
            return n

def recvmsg(self, *a):
    while True:
        try:
            return self.receive(*a)
        except BlockingIOError:
            raise
        except OSError:
            pass
""",
    "takes more than there is room for, and closes it": """
def recvmsg(self, *a):
    result, excess = self.receive_more(*a)
    fds = self.fds_of(result)
    if len(fds) < a[2] and result[2] & good.socket.MSG_CTRUNC:
        result, excess = self.with_fds(result, []), excess + fds
    for fd in excess:
        self.libc.close(fd)
    return result
""",
    "sets close-on-exec itself, and closes what it cannot set": """
policies = {"cloexec": {"outcome": "always", "source": "this docstring"}}

def recvmsg(self, fd, sizes, room, control, flags):
    result = self.receive(fd, sizes, room, control, flags | good.socket.MSG_CMSG_CLOEXEC)
    fds = self.fds_of(result)
    try:
        for one in fds:
            self.fcntl.fcntl(one, self.fcntl.F_SETFD, 1)
    except OSError:
        for one in fds:
            os.close(one)
        raise
    return result
""",
}
"""Other ways that are right."""
