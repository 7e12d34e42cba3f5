"""The part of every script in Python that is the same: system calls with names for numbers, and what is compared."""

from __future__ import annotations

from .plan import LOW

PRELUDE = r'''
import ctypes
import errno
import fcntl
import itertools
import os
import resource
import select
import socket
import struct
import sys
import tempfile
import time
import traceback

LOW = @LOW@  # the implementation's numbers are below, the peer's above
NOWHERE = 1000000  # is never open
libc = ctypes.CDLL(None, use_errno=True)


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint), ("iov", ctypes.c_void_p),
                ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p), ("controllen", ctypes.c_size_t),
                ("flags", ctypes.c_int)]


numbers = {}  # what each name stands for; r and q: received, c: received and not told to the caller
identities = {}  # what each of the implementation's names referred to when it got it
labels = {}  # what things are called, by device and inode
readers = {}  # the reading end of each pipe
shown = {}  # what the present operation shows
limit = None
defects = []
serial = itertools.count()
TOP = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4 * LOW)


def set_limit(low):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (TOP if limit is None or not low else limit, hard))


def is_low(name):
    return isinstance(name, int) or name[0] in "tfrc@"


def fd(name):
    """Return the number that a name stands for. @g0: the implementation's own number of the thing g0, the newest first."""
    if isinstance(name, int):
        return name
    if name[0] == "@":
        own = [one for each, one in numbers.items() if is_low(each) and label(one) == name[1:]]
        return own[-1] if own else NOWHERE
    return numbers.get(name, NOWHERE)


def is_open(number):
    try:
        fcntl.fcntl(number, fcntl.F_GETFD)
    except OSError:
        return False
    return True


def identity(number):
    try:
        facts = os.fstat(number)
    except OSError:
        return None
    return facts.st_dev, facts.st_ino


def label(number):
    return labels.get(identity(number), "?")


def failed(fault):
    shown["error"] = errno.errorcode.get(fault.errno, str(fault.errno))


def up(number):
    set_limit(False)
    high = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, LOW)
    os.close(number)
    return high


def take(name, number):
    """Give a new descriptor its name, and its place in the table."""
    labels[identity(number)] = name
    if not is_low(name):
        numbers[name] = up(number)
        return
    high = up(number)
    set_limit(True)
    try:
        numbers[name] = fcntl.fcntl(high, fcntl.F_DUPFD_CLOEXEC, 0)
        identities[name] = identity(numbers[name])
    except OSError as fault:
        failed(fault)
    os.close(high)


def pair(kind, a, b):
    set_limit(False)
    for name, end in zip((a, b), socket.socketpair(socket.AF_UNIX, kind)):
        end.setblocking(False)
        take(name, end.detach())


def make(kind, name):
    set_limit(False)
    if kind == "fifo":
        reader, writer = os.pipe()
        readers[name] = up(reader)
        os.set_blocking(readers[name], False)
        take(name, writer)
    elif kind == "file":
        with tempfile.TemporaryFile() as file:
            take(name, os.dup(file.fileno()))
    else:
        ours, other = socket.socketpair()
        up(other.detach())
        take(name, ours.detach())


def close(name):
    set_limit(is_low(name))
    number = fd(name)
    try:
        os.close(number)
    except OSError as fault:
        failed(fault)
    for one in [one for one, its in numbers.items() if one[0] == "c" and its == number]:
        del numbers[one], identities[one]
    if not isinstance(name, int) and name[0] != "@":
        numbers[name] = NOWHERE
        identities.pop(name, None)


def shutdown(name, how):
    if libc.shutdown(fd(name), how) < 0:
        failed(OSError(ctypes.get_errno(), ""))


def setsockopt(name, option, value):
    if libc.setsockopt(fd(name), 1, option, ctypes.byref(ctypes.c_int(value)), 4) < 0:
        failed(OSError(ctypes.get_errno(), ""))


def room(free):
    """Let exactly so many numbers be free; -1: as many as at the start."""
    global limit
    limit = None
    if free >= 0:
        limit = 0
        while free > 0:
            free -= not is_open(limit)
            limit += 1


def released(name):
    set_limit(False)
    try:
        shown["value"] = int(os.read(readers[name], 1) == b"")
    except BlockingIOError:
        shown["value"] = 0
    except KeyError:
        shown["error"] = "ENOENT"


def collect():
    """A pair is sent over itself, with a pipe beside it: when that hangs up, the kernel has collected."""
    set_limit(False)
    for _ in range(2):
        reader, writer = os.pipe()
        a, b = socket.socketpair()
        a.sendmsg([b"x"], [(1, 1, struct.pack("3i", a.fileno(), b.fileno(), writer))])
        for number in (writer, a.detach(), b.detach()):
            os.close(number)
        poll = select.poll()
        poll.register(reader, 0)
        end = time.monotonic() + 10
        while not poll.poll(5) and time.monotonic() < end:
            socket.socket(socket.AF_UNIX).close()
        os.close(reader)


def cmsg(level, kind, data, length=None):
    length = 16 + len(data) if length is None else length
    return struct.pack("=Qii", length % 2**64, level, kind) + data.ljust((len(data) + 7) & ~7, b"\xff")


def rights(*names, length=None):
    return cmsg(1, 1, b"".join(struct.pack("=i", fd(one)) for one in names), length)


def credentials(pid=None, uid=None, size=12):
    pid, uid = os.getpid() if pid is None else pid, os.getuid() if uid is None else uid
    return cmsg(1, 2, struct.pack("=iII", pid, uid, os.getgid())[:size])


def send(name, pieces, *control, controllen=None, flags=0):
    set_limit(is_low(name))
    control = b"".join(control)
    if controllen is not None:
        control = control[:controllen].ljust(controllen, b"\xff")
    buffers = [ctypes.create_string_buffer(one, max(1, len(one))) for one in pieces]
    iov = (Iovec * max(1, len(pieces)))(*[(ctypes.addressof(b), len(one)) for b, one in zip(buffers, pieces)])
    inside = ctypes.create_string_buffer(control, max(1, len(control)))
    message = Msghdr(None, 0, ctypes.addressof(iov), len(pieces),
                     ctypes.addressof(inside) if control else None, len(control), 0)
    sent = libc.sendmsg(fd(name), ctypes.byref(message), ctypes.c_int(flags | 0x4040))  # never waits, raises no signal
    if sent < 0:
        return failed(OSError(ctypes.get_errno(), ""))
    shown["error"] = ""
    shown["value"] = shown.get("value", 0) + sent


def write(name, pieces):
    set_limit(is_low(name))
    try:
        shown["value"] = shown.get("value", 0) + os.writev(fd(name), pieces)
        shown["error"] = ""
    except OSError as fault:
        failed(fault)


def receive(name, sizes, control, flags, prefix=""):
    """recvmsg(2): control None is a null msg_control."""
    set_limit(is_low(name))
    buffers = [ctypes.create_string_buffer(max(1, size)) for size in sizes]
    iov = (Iovec * max(1, len(sizes)))(*[(ctypes.addressof(b), size) for b, size in zip(buffers, sizes)])
    inside = ctypes.create_string_buffer(max(1, control or 0))
    message = Msghdr(None, 0, ctypes.addressof(iov), len(sizes),
                     None if control is None else ctypes.addressof(inside), control or 0, 0)
    length = libc.recvmsg(fd(name), ctypes.byref(message), ctypes.c_int(flags | 0x40))
    if length < 0:
        return failed(OSError(ctypes.get_errno(), ""))
    whole = b"".join(b.raw[:size] for b, size in zip(buffers, sizes))[:length]
    shown["error"] = ""
    shown["data"] = shown.get("data", b"") + whole
    shown["flags"] = shown.get("flags", 0) | message.flags & 0xBFFFFFFF
    at, there, found = 0, inside.raw[: message.controllen], []
    while at + 16 <= len(there):
        size, level, kind = struct.unpack_from("=Qii", there, at)
        if not 16 <= size <= len(there) - at:
            break
        if (level, kind) == (1, 1):
            found += struct.unpack_from("=%di" % ((size - 16) // 4), there, at + 16)
        at += (size + 7) & ~7
    for index, number in enumerate(found):
        came = "%s%d" % (prefix, index) if prefix else "c%d" % next(serial)
        shown.setdefault("files", []).append(label(number))
        shown.setdefault("cloexec", []).append(bool(fcntl.fcntl(number, fcntl.F_GETFD)))
        numbers[came] = number if is_low(name) else up(number)
        if is_low(name):
            identities[came] = identity(number)


def read(name, sizes):
    set_limit(is_low(name))
    try:
        buffers = [bytearray(size) for size in sizes]
        length = os.readv(fd(name), buffers)
        shown["data"] = shown.get("data", b"") + b"".join(map(bytes, buffers))[:length]
        shown["error"] = ""
    except OSError as fault:
        failed(fault)


def recv(name, size, flags):
    set_limit(is_low(name))
    buffer = ctypes.create_string_buffer(max(1, size))
    length = libc.recv(fd(name), buffer, ctypes.c_size_t(size), ctypes.c_int(flags | 0x40))
    if length < 0:
        return failed(OSError(ctypes.get_errno(), ""))
    shown["data"] = shown.get("data", b"") + buffer.raw[:length]
    shown["error"] = ""


def set_cloexec(name, on):
    try:
        fcntl.fcntl(fd(name), fcntl.F_SETFD, fcntl.FD_CLOEXEC if on else 0)
    except OSError as fault:
        failed(fault)


def duplicate(name, cloexec):
    set_limit(True)
    try:
        number = fcntl.fcntl(fd(name), fcntl.F_DUPFD_CLOEXEC if cloexec else fcntl.F_DUPFD, 0)
    except OSError as fault:
        return failed(fault)
    mine = "c%d" % next(serial)
    numbers[mine], identities[mine] = number, identity(number)


def give_away(name):
    mine = "c%d" % next(serial)
    numbers[mine], identities[mine] = numbers.pop(name, NOWHERE), identities.pop(name, None)


def hand_over(prefix, *wanted):
    """The caller is told of the received descriptors that refer to these things; the rest it does not know of."""
    shown["files"], shown["cloexec"] = [], []
    for index, thing in enumerate(wanted):
        untold = [one for one in numbers if one[0] == "c" and is_open(numbers[one])]
        name = next((one for one in untold if label(numbers[one]) == thing), None)
        shown["files"].append("?" if name is None else thing)
        if name is not None:
            mine = "%s%d" % (prefix, index)
            numbers[mine], identities[mine] = numbers.pop(name), identities.pop(name)
            shown["cloexec"].append(bool(fcntl.fcntl(numbers[mine], fcntl.F_GETFD)))


def operation(number, line):
    print("%3d  %s" % (number, line))
    shown.clear()


def done():
    if shown:
        words = ["%s: %s" % (key, str(value)[:100]) for key, value in shown.items() if value not in ("", [], None)]
        print("       " + "; ".join(words))


def claim(**said):
    """What the implementation told its caller, whatever its calls brought."""
    shown.update(said)


def check(wrong, seen, right):
    print("\nseen:      %s\nhas to be: %s" % (seen, right))
    if wrong:
        defects.append(seen)


def expect(bad=False, **wanted):
    """Compare what the operation shows with what it has to show, or with what it must not show (bad)."""
    blank = {"error": "", "value": None, "data": b"", "files": [], "flags": 0, "cloexec": []}
    for key in ("files", "cloexec"):
        if key in wanted:
            shown[key] = list(shown.get(key, []))
    seen = {key: shown.get(key, blank[key]) for key in wanted}
    if "cloexec" in wanted:
        wanted["cloexec"] = [wanted["cloexec"]] * len(seen["cloexec"])
    same = seen == wanted
    check(same if bad else not same, seen, ("anything but %s" if bad else "%s") % wanted)


def account(leak, stray, names="tfr"):
    """See that what the caller has is what it was; close all that it knows of, and see that nothing is left."""
    room(-1)
    if stray:
        gone = [one for one, what in identities.items() if one[0] in names and identity(numbers[one]) != what]
        check(gone, "closed, or something else, although nobody asked for that: %s" % (" ".join(gone) or "nothing"),
              "what the caller has open stays open")
    for name in [one for one in numbers if one[0] in "tfr"]:
        close(name)
    left = [label(number) for number in range(3, LOW) if is_open(number)]
    if leak:
        check(left, "still open in the implementation, and its caller cannot know: %s" % (" ".join(left) or "nothing"),
              "nothing is left open after the caller has closed all that it was told of")


def broken(kind, fault, trace):
    """What goes wrong in this script itself is no defect of anything else."""
    traceback.print_exception(kind, fault, trace)
    sys.stdout.flush()
    os._exit(4)


sys.excepthook = broken
os.closerange(3, TOP)
if TOP < LOW + 1024:
    raise OSError("this needs a hard limit of %d descriptors (ulimit -Hn)" % (LOW + 1024))
'''.lstrip("\n").replace("@LOW@", str(LOW))
