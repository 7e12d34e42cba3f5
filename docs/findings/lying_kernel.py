"""A kernel that answers as Linux does not on demand: control data of another system or a broken one, a close(2) that fails.

The scripts beside this file use it, under Python 2.7 and 3. A process of its own runs the program; seccomp user notification
(Linux 5.9) holds its recvmsg(2) and close(2), and this process answers for the kernel. Neither a privilege nor a library is
needed, but a 64-bit system, on x86_64 or aarch64.
"""

from __future__ import print_function

import array
import ctypes
import errno
import fcntl
import json
import os
import platform
import select
import signal
import struct
import sys
import traceback

SECCOMP, RECVMSG, CLOSE = {"x86_64": (317, 47, 3), "aarch64": (277, 212, 57)}.get(platform.machine(), (None,) * 3)
PIDFD_OPEN, PIDFD_GETFD = 434, 438  # the same on every machine
PR_SET_NO_NEW_PRIVS, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER = 38, 1, 8
NOTIF_RECV, NOTIF_SEND, NOTIF_ADDFD = 0xC0502100, 0xC0182101, 0x40182103
NOTIF, GO_ON, MSGHDR = "QIIiIQ6Q", 1, "QI4xQQQQi4x"
HEADER = 16
_libc = ctypes.CDLL(None, use_errno=True)


def ints(*numbers):
    return struct.pack("%di" % len(numbers), *numbers)


def header(length, level=1, kind=1):
    """Return a cmsghdr that tells `length`; SCM_RIGHTS, if nothing else is asked for."""
    return struct.pack("QiI", length % 2**64, level, kind)


def rights(*numbers):
    """Return a sound SCM_RIGHTS, with its padding."""
    return header(HEADER + 4 * len(numbers)) + ints(*numbers) + ints(0)[: len(numbers) % 2 * 4]


def lied_to(program, control=None, files=1, told=None, flags=0, close_fails=False):
    """Run `program`, in a process of its own whose first recvmsg(2) is answered with a lie, and return what it returned.

    The message that is there is taken as plain data, and `files` descriptors are really installed; `control` makes the control
    data of their numbers. `told` is the msg_controllen, else the length of that. With `close_fails` the first close(2) of one of
    them reports EIO, and it stays open. What `program` returns must be JSON. Where it does not get that far: how it ended.
    """
    if SECCOMP is None:
        raise OSError(errno.ENOSYS, "no system calls of %s are known here" % platform.machine())
    said, say = os.pipe()
    gone_on, go_on = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(said)
        os.close(go_on)
        _run(program, say, gone_on)
    os.close(say)
    os.close(gone_on)
    try:
        listener = _listener(child, said)
    finally:
        os.close(go_on)  # a byte or the end, it goes on
    _supervise(listener, _Lie(control, files, told, flags, close_fails))
    words = b"".join(iter(lambda: os.read(said, 4096), b"")).decode()
    os.close(said)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        names = {getattr(signal, name): name for name in dir(signal) if name.startswith("SIG") and name[3] != "_"}
        return "ended by " + names[os.WTERMSIG(status)]
    return json.loads(words) if words else "ended with exit code %d" % os.WEXITSTATUS(status)


def _call(number, *arguments):
    result = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(one) for one in arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


# --- the process that is lied to --------------------------------------------------------------------------------------


def _run(program, say, gone_on):
    code = 1
    try:
        os.write(say, b"%20d" % _hold())
        os.read(gone_on, 1)
        os.write(say, json.dumps(program()).encode())
        code = 0
    except OSError as fault:
        print(fault, file=sys.stderr)
    except BaseException:  # this process is a copy: it must not go on as if it were the script
        traceback.print_exc()
    finally:
        os._exit(code)


def _hold():
    """Hold the system calls of this thread from now on, and return the number of the listener."""
    load, equal, give = 0x20, 0x15, 0x06
    steps = [
        (load, 0, 0, 0),
        (equal, 1, 0, RECVMSG),
        (equal, 0, 1, CLOSE),
        (give, 0, 0, 0x7FC00000),
        (give, 0, 0, 0x7FFF0000),
    ]
    packed = b"".join(struct.pack("HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(packed, len(packed))
    filtering = ctypes.create_string_buffer(struct.pack("H6xQ", len(steps), ctypes.addressof(code)), 16)
    if _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no_new_privs")
    return _call(SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, ctypes.addressof(filtering))


# --- the one that lies ------------------------------------------------------------------------------------------------


def _listener(child, said):
    number = os.read(said, 20)
    if not number:
        os.waitpid(child, 0)
        raise OSError(errno.ENOSYS, "system calls cannot be held here")
    return _copy(child, int(number))


def _copy(process, number):
    """Return a duplicate of another process's descriptor."""
    handle = _call(PIDFD_OPEN, process, 0)
    try:
        return _call(PIDFD_GETFD, handle, number, 0)
    finally:
        os.close(handle)


def _supervise(listener, lie):
    """Answer until the process is gone."""
    ready = select.poll()
    ready.register(listener, select.POLLIN)
    while ready.poll()[0][1] & select.POLLIN:
        raw = array.array("B", [0] * 80)
        try:
            fcntl.ioctl(listener, NOTIF_RECV, raw, True)
        except EnvironmentError as fault:
            if fault.errno == errno.ENOENT:  # it was ended while it waited
                continue
            raise
        identity, process, _, number, _, _, first, second = struct.unpack(NOTIF, bytes(bytearray(raw)))[:8]
        answer = lie.receive if number == RECVMSG else lie.close
        value, error, how = answer(listener, identity, process, first, second)
        fcntl.ioctl(listener, NOTIF_SEND, struct.pack("QqiI", identity, value, -error, how))
    os.close(listener)


class _Lie(object):
    """What is answered. The numbers that were installed are None before the receive."""

    def __init__(self, control, files, told, flags, close_fails):
        self.control, self.files, self.told, self.flags, self.close_fails = control, files, told, flags, close_fails
        self.numbers = None

    def receive(self, listener, identity, process, sock, place):
        """Return the value, the errno, and whether the kernel is to make the call."""
        if (self.control is None and not self.close_fails) or self.numbers is not None:
            return 0, 0, GO_ON
        ours = _copy(process, sock)
        data = os.read(ours, 1000)
        os.close(ours)
        self.numbers = [_install(listener, identity) for _ in range(self.files)]
        made = (self.control or (lambda numbers: rights(*numbers)))(self.numbers)
        with open("/proc/%d/mem" % process, "r+b", 0) as memory:
            name, size, vector, vectors, buffer, room, _ = struct.unpack(MSGHDR, _at(memory, place, 56))
            _at(memory, struct.unpack("Q", _at(memory, vector, 8))[0], data)
            _at(memory, buffer, made[:room])
            told = min(len(made), room) if self.told is None else self.told
            _at(memory, place, struct.pack(MSGHDR, name, size, vector, vectors, buffer, told, self.flags))
        return len(data), 0, 0

    def close(self, *held):
        """As `receive`. The fourth is the number."""
        if self.close_fails and held[3] in (self.numbers or ()):
            self.close_fails = False
            return 0, errno.EIO, 0
        return 0, 0, GO_ON


def _install(listener, identity):
    """Give the waiting process a descriptor that it did not have, and return its number there."""
    null = os.open(os.devnull, os.O_RDONLY)
    asked = array.array("B", struct.pack("QIIII", identity, 0, null, 0, 0))
    number = fcntl.ioctl(listener, NOTIF_ADDFD, asked, True)
    os.close(null)
    return number


def _at(memory, place, content):
    """Return so many bytes from there, or write the bytes."""
    memory.seek(place)
    return memory.read(content) if isinstance(content, int) else memory.write(content)
