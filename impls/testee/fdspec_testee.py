"""The Python 3 testee: one file, standard library only, CPython 3.6 and later and PyPy.

    python -I fdspec_testee.py ADAPTER.py

ADAPTER.py holds one subclass of `Adapter` (or `TransportAdapter`), which calls the implementation::

    from fdspec_testee import TYPES, Adapter, only

    class MyLibrary(Adapter):
        implementation = {"name": "mylibrary", "version": "1.2"}
        profiles = {"descriptors": {"types": TYPES, "capabilities": ["many"]}}

        def send_fds(self, fd, buffers, fds, flags, address, single):
            return mylibrary.send(self.sock(fd), only(buffers, b""), fds)

        def recv_fds(self, fd, sizes, room, flags, single):
            data, fds = mylibrary.receive(self.sock(fd), only(sizes, 0), room)
            return [data], fds, None, None

All else happens here: lines, hexadecimal, names and numbers, references, errors, sockets, reset, and refusing what the
adapter did not declare. Adapters get and return bytes, ints and lists. They never close a received descriptor, never
keep an object that does, and never judge: they report what the implementation did.
"""

import errno
import fcntl
import gc
import json
import os
import socket
import sys
import time

VERSION = 1
TYPES = ["stream", "dgram", "seqpacket"]
PYTHON = {"name": "", "version": sys.version.split()[0]}
SOCKET_TYPES = {"stream": socket.SOCK_STREAM, "dgram": socket.SOCK_DGRAM, "seqpacket": socket.SOCK_SEQPACKET}
KIND = {} if sys.version_info >= (3, 7) else {"family": socket.AF_UNIX}  # 3.6 does not ask what a descriptor is
MAX_TURNS = 1000  # of the event loop in one request that waits for nothing
INPUT = 100  # where requests are read once number 0 has been made free; numbers below stay for the cases
QUIET_TURNS = 3  # turns without progress after which an event loop is taken to have nothing to do


class RequestError(Exception):
    """The request is malformed, or the adapter is at fault: never the implementation."""


class Unsupported(Exception):
    """The implementation's API cannot express this request."""


class Failed(Exception):
    """The implementation raised ``error``, which carried ``result``: what the method would have returned."""

    def __init__(self, error, result):
        Exception.__init__(self, str(error))
        self.error = error
        self.result = result


# --- names and numbers -----------------------------------------------------------------------------------------------

CONSTANTS = {
    name: int(getattr(module, name))
    for module, prefixes in ((socket, ("MSG_", "SOL_", "SO_", "SCM_", "SHUT_")), (os, ("O_",)))
    for name in dir(module)
    if name.startswith(prefixes) and not name.startswith("SCM_J1939_")  # of another level, with AF_UNIX's numbers
}
ERRORS = dict(errno.errorcode)
ERRORS.update({getattr(errno, name): name for name in ("EAGAIN", "EDEADLK", "EOPNOTSUPP")})  # not their aliases
NAMES = {}  # prefix -> number -> name
FLAG_NAMES = {}  # msg_flags -> list of names


def learn(constants):
    """Take this platform's numbers by name, which the harness knows better than an old interpreter."""
    CONSTANTS.update(constants)
    FLAG_NAMES.clear()
    NAMES.clear()
    for prefix in ("MSG_", "SOL_", "SCM_"):
        names = NAMES[prefix] = {}
        for name, value in CONSTANTS.items():
            if name.startswith(prefix) and not name.startswith("SCM_J1939_"):  # which are another level's
                names.setdefault(value, name)
    NAMES["SOL_"][socket.SOL_SOCKET] = "SOL_SOCKET"
    NAMES["SCM_"][socket.SCM_RIGHTS] = "SCM_RIGHTS"


def flag_names(bits):
    """Return ``bits`` as a list of MSG_* names; what has no name is the last entry, a number."""
    names = FLAG_NAMES.get(bits)
    if names is None:
        names = []
        rest = bits
        for value, name in NAMES["MSG_"].items():
            if rest & value and value & (value - 1) == 0:
                names.append(name)
                rest &= ~value
        FLAG_NAMES[bits] = names = [*names, rest] if rest else names
    return names


def address_out(address):
    """Return an address of the socket module ('' or None, str, bytes for an abstract one) as the protocol writes it."""
    if address is None:
        return None
    path = os.fsencode(address)
    if path[:1] == b"\0":
        path = b"@" + path[1:]
    return path.decode("utf-8", "backslashreplace")


def ancillary_out(item):
    level, kind, value = item
    name = NAMES["SCM_"].get(kind, kind) if level == socket.SOL_SOCKET else kind
    reply = {"level": NAMES["SOL_"].get(level, level), "type": name}
    if isinstance(value, (bytes, bytearray, memoryview)):
        reply["data"] = bytes(value).hex()
    else:
        reply["fds"] = list(value)
    return reply


# --- fields of requests: (name, how to read it, default) -------------------------------------------------------------

REQUIRED = object()


def of(*kinds):
    """Return a reader of values that are exactly of one of these types (True is no number)."""

    def read(value):
        if type(value) not in kinds:
            raise RequestError("expected %s, got %r" % (" or ".join(kind.__name__ for kind in kinds), value))
        return value

    return read


integer, text, boolean, seconds, mapping = of(int), of(str), of(bool), of(int, float), of(dict)


def list_of(read):
    return lambda values: [read(value) for value in of(list)(values)]


def octets(value):
    try:
        return bytes.fromhex(value)
    except (TypeError, ValueError):
        raise RequestError("expected hexadecimal digits, got %r" % (value,)) from None


def constant(value):
    if type(value) is int:
        return value
    try:
        return CONSTANTS[value]
    except (KeyError, TypeError):
        raise RequestError("no constant of this platform: %r" % (value,)) from None


def bits(values):
    total = 0
    for value in of(list)(values):
        total |= constant(value)
    return total


def address_in(value):
    return "\0" + value[1:] if text(value)[:1] == "@" else value


def socket_type(value):
    try:
        return SOCKET_TYPES[value]
    except (KeyError, TypeError):
        raise RequestError("no type of socket: %r" % (value,)) from None


def ancillary_in(value):
    item = mapping(value)
    content = list_of(integer)(item["fds"]) if "fds" in item else octets(item.get("data"))
    return constant(item.get("level")), constant(item.get("type")), content


FD, TRANSPORT = ("fd", integer, REQUIRED), ("transport", integer, REQUIRED)
BUFFERS, SIZES, ROOM = ("buffers", list_of(octets), []), ("sizes", list_of(integer), [65536]), ("room", integer, 0)
FLAGS, ADDRESS, NO_ADDRESS = ("flags", bits, 0), ("address", address_in, REQUIRED), ("address", address_in, None)
TYPE, SINGLE = ("type", socket_type, REQUIRED), ("single", boolean, False)
LEVEL = ("level", lambda value: value if value == "fcntl" else constant(value), REQUIRED)
OPTION = ("option", lambda value: value, REQUIRED)  # whose namespace depends on the level
RECEIVER = ("receiver", mapping, {})


# --- results: from what adapters return to what the protocol writes --------------------------------------------------


def nothing(_):
    return {}


def received_message(result):
    buffers, ancillary, flags, address = result
    return {
        "buffers": [bytes(buffer).hex() for buffer in buffers],
        "ancillary": [ancillary_out(item) for item in ancillary],
        "flags": None if flags is None else flag_names(flags),
        "address": address_out(address),
    }


def received_fds(result):
    buffers, fds, flags, address = result
    return {
        "buffers": [bytes(buffer).hex() for buffer in buffers],
        "fds": list(fds),
        "flags": None if flags is None else flag_names(flags),
        "address": address_out(address),
    }


def one_fd(fd):
    return {"fd": fd}


def sent(count):
    return {"sent": count}


def endpoint_out(endpoint):
    return {"transport": endpoint.number, "fd": endpoint.fd}


class Op:
    """One operation: the profile that it belongs to, its fields, and the writer of its result."""

    def __init__(self, profile, fields, write=nothing, capability=None):
        self.profile = profile
        self.fields = fields
        self.write = write
        self.capability = capability  # of the testee as a whole


OPS = {
    "hello": Op(None, [("version", integer, VERSION), ("constants", mapping, {})], lambda result: result),
    "reset": Op(None, [("close", list_of(integer), [])], lambda failed: {"failed": failed}),
    "connect": Op(None, [ADDRESS, TYPE, ("bind", address_in, None)], one_fd),
    "listen": Op(None, [ADDRESS, TYPE, ("backlog", integer, 8)], one_fd, "listen"),
    "accept": Op(None, [FD], lambda result: {"fd": result[0], "address": address_out(result[1])}, "listen"),
    "pair": Op(None, [TYPE], lambda fds: {"fds": list(fds)}, "pair"),
    "open": Op(None, [("path", text, REQUIRED), ("flags", bits, os.O_RDONLY)], one_fd),
    "close": Op(None, [FD]),
    "setopt": Op(None, [FD, LEVEL, OPTION, ("value", integer, REQUIRED)], nothing, "options"),
    "getopt": Op(None, [FD, LEVEL, OPTION], lambda value: {"value": value}, "options"),
    "shutdown": Op(None, [FD, ("how", constant, REQUIRED)], nothing, "options"),
    "sendmsg": Op("message", [FD, BUFFERS, ("ancillary", list_of(ancillary_in), []), FLAGS, NO_ADDRESS], sent),
    "recvmsg": Op("message", [FD, SIZES, ROOM, ("control", integer, None), FLAGS], received_message),
    "send_fds": Op("descriptors", [FD, BUFFERS, ("fds", list_of(integer), []), FLAGS, NO_ADDRESS, SINGLE], sent),
    "recv_fds": Op("descriptors", [FD, SIZES, ROOM, FLAGS, SINGLE], received_fds),
    "transport.connect": Op("transport", [ADDRESS, RECEIVER], endpoint_out),
    "transport.listen": Op("transport", [ADDRESS, RECEIVER], endpoint_out),
    "transport.accept": Op("transport", [TRANSPORT], endpoint_out),
    "transport.write": Op("transport", [TRANSPORT, ("data", octets, REQUIRED)]),
    "transport.send_fd": Op("transport", [TRANSPORT, FD, ("give", boolean, False)]),
    "transport.producer": Op("transport", [TRANSPORT]),
    "transport.reading": Op("transport", [TRANSPORT, ("on", boolean, REQUIRED)]),
    "transport.end": Op("transport", [TRANSPORT]),
    "transport.close": Op("transport", [TRANSPORT, ("abort", boolean, False)]),
    "transport.events": Op(
        "transport",
        [TRANSPORT, ("bytes", integer, 0), ("fds", integer, 0), ("event", text, ""), ("wait", seconds, 0.0)],
        lambda events: {"events": events},
    ),
}

# --- capabilities: what in a request asks for which of them ----------------------------------------------------------


def given(name):
    return lambda request: bool(request.get(name))


def missing(name):
    return lambda request: not request.get(name)


def several(name):
    return lambda request: len(request.get(name, ())) > 1


def always(_):
    return True


def beyond_rights(request):
    """Tell whether a message has control data other than descriptors given as numbers."""
    rights = ("SCM_RIGHTS", socket.SCM_RIGHTS)
    levels = ("SOL_SOCKET", socket.SOL_SOCKET)
    return any(
        "fds" not in item or item.get("level") not in levels or item.get("type") not in rights
        for item in request.get("ancillary", ())
    )


SEND = (
    ("buffers-out", several("buffers")),
    ("flags-out", given("flags")),
    ("address", lambda request: "address" in request),
    ("empty-out", lambda request: not any(request.get("buffers", ()))),
)
RECEIVE = (("buffers-in", several("sizes")), ("flags-in", given("flags")))
ON_TOP = (
    ("plain-receiver", lambda request: not request.get("receiver", {}).get("descriptors", True)),
    ("raising-receiver", lambda request: request.get("receiver", {}).get("raise_at") is not None),
    ("closing-receiver", lambda request: request.get("receiver", {}).get("close_at") is not None),
    ("closing-receiver", lambda request: request.get("receiver", {}).get("abort_at") is not None),
    ("abort", lambda request: request.get("receiver", {}).get("abort_at") is not None),
)
NEEDS = {
    "sendmsg": (
        *SEND,
        ("plain-out", missing("ancillary")),
        ("several", several("ancillary")),
        ("ancillary", beyond_rights),
    ),
    "recvmsg": (*RECEIVE, ("control-length", lambda request: "control" in request)),
    "send_fds": (*SEND, ("plain-out", missing("fds")), ("many", several("fds")), ("single", given("single"))),
    "recv_fds": (*RECEIVE, ("many", lambda request: request.get("room", 0) > 1), ("single", given("single"))),
    "transport.connect": (("client", always), *ON_TOP),
    "transport.listen": (("server", always), *ON_TOP),
    "transport.accept": (("server", always),),
    "transport.send_fd": (("owned", given("give")),),
    "transport.producer": (("producer", always),),
    "transport.reading": (("reading", always),),
    "transport.end": (("half-close", always),),
    "transport.close": (("abort", given("abort")),),
}


# --- adapters --------------------------------------------------------------------------------------------------------


def only(items, default):
    """Return the one buffer (or size) of an API that takes one; ``default`` where the request has none."""
    return items[0] if items else default


def filled(buffers, count):
    """Return the parts of ``buffers`` that ``count`` received bytes fill, in order."""
    parts = []
    for buffer in buffers:
        parts.append(bytes(buffer[:count]))
        count -= len(parts[-1])
    return parts


def only_nonblock(option):
    if option != "O_NONBLOCK":
        raise RequestError("level fcntl has the option O_NONBLOCK, not %r" % (option,))


class Adapter:
    """What stands between the protocol and an implementation. Methods are named after operations, dots as underscores.

    The sockets here are the socket module's. Each operation gets its fields in the order of `OPS`, decoded. Those of a
    profile return ``(buffers, ancillary or fds, flags or None, address or None)`` when they receive, and the number of
    bytes taken (None where the API does not say) when they send. What they raise is the implementation's error.
    """

    implementation = PYTHON
    profiles = {}
    policies = {}
    payload = {"kind": "any"}
    objects = ["file", "fifo", "socket"]
    capabilities = ["steps", "options", "listen", "pair", "zero"]

    def __init__(self):
        self.started = False
        self.sockets = {}  # number -> the socket that connect, listen, accept or pair made
        self.borrowed = {}  # number -> an object around a received or opened descriptor, which is not ours to close

    def start(self):
        """Open what the runtime needs for itself, before the first case (called by hello)."""

    def errno_of(self, error):
        """Return the error number that an exception carries, or None."""
        return getattr(error, "errno", None)

    def hello(self, version, constants):
        learn(constants)
        if not self.started:
            self.start()
            self.started = True
        runtime = "%s %d.%d.%d" % ((sys.implementation.name,) + tuple(sys.implementation.version[:3]))
        implementation = {"language": "Python", "runtime": runtime}
        implementation.update(self.implementation)
        return {
            "version": VERSION,
            "implementation": implementation,
            "profiles": self.profiles,
            "policies": self.policies,
            "payload": self.payload,
            "objects": self.objects,
            "capabilities": self.capabilities,
        }

    def reset(self, close):
        failed = self.drop()
        gc.collect()  # what the implementation left to the collector is held, not leaked
        for fd in close:
            try:
                os.close(fd)
            except (OSError, OverflowError) as error:
                failed.append({"fd": fd, "errno": error_name(self, error) or "EBADF"})
        return failed

    def drop(self):
        """Forget every object of the case; return those that could not be closed as ``{"fd":, "errno":}``."""
        failed = []
        for made in self.borrowed.values():
            made.detach()
        self.borrowed.clear()
        sockets, self.sockets = self.sockets, {}
        for fd, made in sockets.items():
            try:
                made.close()
            except OSError as error:
                failed.append({"fd": fd, "errno": error_name(self, error)})
        return failed

    def sock(self, fd):
        """Return the socket object of a number; one is put around a number that nobody here made."""
        made = self.sockets.get(fd) or self.borrowed.get(fd)
        if made is None:
            made = self.borrowed[fd] = socket.socket(fileno=fd, **KIND)
        return made

    def keep(self, made):
        """Keep a socket of the case; return its number."""
        fd = made.fileno()
        stale = self.sockets.get(fd)
        if stale is not None:
            stale.detach()  # somebody closed its number behind its back: it must not close the new one
        self.sockets[fd] = made
        return fd

    def connect(self, address, kind, bind):
        """An empty address connects to nothing: a datagram socket that sends to addresses."""
        made = socket.socket(socket.AF_UNIX, kind)
        try:
            if bind is not None:
                made.bind(bind)
            if address:
                made.connect(address)
        except BaseException:
            made.close()
            raise
        return self.keep(made)

    def listen(self, address, kind, backlog):
        made = socket.socket(socket.AF_UNIX, kind)
        try:
            made.bind(address)
            if kind != socket.SOCK_DGRAM:
                made.listen(backlog)
        except BaseException:
            made.close()
            raise
        return self.keep(made)

    def accept(self, fd):
        made, address = self.sock(fd).accept()
        return self.keep(made), address

    def pair(self, kind):
        return [self.keep(made) for made in socket.socketpair(socket.AF_UNIX, kind)]

    def open(self, path, flags):
        return os.open(path, flags | os.O_CLOEXEC)

    def close(self, fd):
        borrowed = self.borrowed.pop(fd, None)
        if borrowed is not None:
            borrowed.detach()
        made = self.sockets.pop(fd, None)
        if made is None:
            os.close(fd)
        else:
            made.close()

    def setopt(self, fd, level, option, value):
        if level == "fcntl":
            only_nonblock(option)
            self.sock(fd).setblocking(not value)
        else:
            self.sock(fd).setsockopt(level, constant(option), value)

    def getopt(self, fd, level, option):
        if level != "fcntl":
            return self.sock(fd).getsockopt(level, constant(option))
        only_nonblock(option)
        return int(not os.get_blocking(fd))

    def shutdown(self, fd, how):
        self.sock(fd).shutdown(how)


class Endpoint:
    """A transport (or listener) as the harness knows it, and what its protocol was told.

    ``receiver`` is how the protocol on top is to behave. The adapter calls `opened`, then `descriptor`, `data`, `tell`
    and `lost` as the implementation calls the protocol; ``transport`` is the adapter's own.
    """

    def __init__(self, adapter, receiver, listens=False):
        self.adapter = adapter
        self.listens = listens
        self.takes_descriptors = bool(receiver.get("descriptors", True))
        self.raise_at = receiver.get("raise_at")
        self.close_at = receiver.get("close_at")
        self.abort_at = receiver.get("abort_at")
        self.receiver = receiver
        self.number = self.fd = self.transport = self.failure = None
        self.waiting = []  # of a listener: endpoints that were not accepted yet
        self.alive = False
        self.callbacks = self.bytes = self.fds = 0
        self.events = []

    def opened(self, transport, fd):
        self.transport, self.fd, self.alive = transport, fd, True
        self.adapter.happened()

    def tell(self, event, **fields):
        self.events.append(dict(fields, event=event))
        self.adapter.happened()

    def data(self, data):
        self.bytes += len(data)
        self.tell("data", data=bytes(data).hex())

    def descriptor(self, fd):
        self.fds += 1
        self.callbacks += 1
        self.tell("descriptor", fd=fd)
        if self.callbacks - 1 in (self.close_at, self.abort_at):
            self.adapter.transport_close(self, self.callbacks - 1 == self.abort_at)
        if self.raise_at == self.callbacks - 1:
            raise RuntimeError("this receiver was asked to raise at descriptor %d" % self.raise_at)

    def lost(self, error=None, message=""):
        self.alive = False
        self.tell("lost", error=error, message=message)

    def take(self):
        events, self.events = self.events, []
        self.bytes = self.fds = 0
        return events


class TransportAdapter(Adapter):
    """An adapter with an event loop: a subclass gives `turn`, `client`, `server`, `release` and more operations.

    ``transport_write``, ``transport_send_fd``, ``transport_producer``, ``transport_reading``, ``transport_close`` get
    the `Endpoint` in place of its number. The loop runs in connect, accept, events and reset, never between requests.
    """

    def __init__(self):
        Adapter.__init__(self)
        self.endpoints = {}

    def turn(self, wait):
        """Run the loop until something happens, ``wait`` seconds at most (0: once). Return whether anything did."""
        raise NotImplementedError

    def client(self, endpoint, address):
        """Begin to connect; a later turn calls `Endpoint.opened`, or sets ``endpoint.failure`` to an exception."""
        raise NotImplementedError

    def server(self, listener, address):
        """Listen, and call ``listener.opened``. Each connection becomes `accepted`."""
        raise NotImplementedError

    def release(self, endpoints):
        """Give up these endpoints, so that nothing of theirs is left in the implementation."""
        raise NotImplementedError

    def happened(self):
        """Called when an endpoint opens and at its every event, while the loop runs or not."""

    def log(self, message, error=None):
        """Report what the implementation logs, on every transport that is alive, else on the newest."""
        transports = [one for one in self.endpoints.values() if one.fd is not None and not one.listens]
        for endpoint in [one for one in transports if one.alive] or transports[-1:]:
            endpoint.tell("log", error=error, message=message[:4096])

    def accepted(self, listener):
        """Return the `Endpoint` of a new connection of ``listener``."""
        endpoint = self.number(Endpoint(self, listener.receiver))
        listener.waiting.append(endpoint)
        return endpoint

    def number(self, endpoint):
        endpoint.number = len(self.endpoints) + 1
        self.endpoints[endpoint.number] = endpoint
        return endpoint

    def drain(self):
        """Run the loop without waiting until nothing happens any more."""
        quiet = turns = 0
        while quiet < QUIET_TURNS and turns < MAX_TURNS:
            quiet = 0 if self.turn(0.0) else quiet + 1
            turns += 1

    def drop(self):
        endpoints, self.endpoints = self.endpoints, {}
        if endpoints:
            self.release(list(endpoints.values()))
        return Adapter.drop(self)

    def transport_connect(self, address, receiver):
        endpoint = self.number(Endpoint(self, receiver))
        self.client(endpoint, address)
        while endpoint.fd is None and endpoint.failure is None:
            self.turn(1.0)
        if endpoint.failure is not None:
            raise endpoint.failure
        return endpoint

    def transport_listen(self, address, receiver):
        listener = self.number(Endpoint(self, receiver, listens=True))
        self.server(listener, address)
        return listener

    def transport_accept(self, listener):
        if not listener.listens:
            raise RequestError("transport %d does not listen" % listener.number)
        while not listener.waiting or listener.waiting[0].fd is None:
            self.turn(1.0)
        return listener.waiting.pop(0)

    def transport_events(self, endpoint, count, fds, event, wait):
        def enough():
            named = not event or any(one["event"] == event for one in endpoint.events)
            return named and endpoint.bytes >= count and endpoint.fds >= fds

        if wait <= 0 or not (count or fds or event):
            self.drain()
        deadline = time.monotonic() + wait
        while not enough() and endpoint.alive:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self.turn(left)
        return endpoint.take()


# --- the conversation ------------------------------------------------------------------------------------------------


def error_name(adapter, error):
    number = adapter.errno_of(error)
    return ERRORS.get(number, number) if isinstance(number, int) else None


def resolve(value, replies):
    """Return what a reference such as ``$2.fds.1`` stands for; anything but text beginning with $ stands for itself."""
    if type(value) is not str or value[:1] != "$":
        return value
    path = value[1:].split(".")
    found = replies
    try:
        for position, part in enumerate(path):
            found = found[int(part)] if isinstance(found, list) else found[part]
            if position == 0:
                found = found["result"]
    except (KeyError, IndexError, ValueError, TypeError):
        found = None
    if type(found) is not int:
        raise LookupError("%s refers to no number that an earlier step returned" % value)
    return found


def resolved(step, replies):
    """Return ``step`` with its references replaced."""
    step = dict(step)
    for name in ("fd", "transport"):
        if name in step:
            step[name] = resolve(step[name], replies)
    if type(step.get("fds")) is list:
        step["fds"] = [resolve(fd, replies) for fd in step["fds"]]
    if type(step.get("ancillary")) is list:
        step["ancillary"] = [
            dict(item, fds=[resolve(fd, replies) for fd in item["fds"]]) if "fds" in item else item
            for item in step["ancillary"]
        ]
    return step


class Testee:
    """Answers requests by means of an adapter."""

    def __init__(self, adapter):
        self.adapter = adapter
        self.table = {}  # op -> (Op, method of the adapter, needs that it has to refuse)
        for name, op in OPS.items():
            if op.profile is not None and op.profile not in adapter.profiles:
                continue
            if op.capability is not None and op.capability not in adapter.capabilities:
                continue
            declared = adapter.profiles[op.profile].get("capabilities", ()) if op.profile else ()
            refused = [(need, asks) for need, asks in NEEDS.get(name, ()) if need not in declared]
            method = getattr(adapter, name.replace(".", "_"), None)
            if method is not None:
                self.table[name] = op, method, refused

    def answer(self, request):
        """Return the reply to one request, without its id."""
        name = request.get("op")
        if name == "steps" and "steps" in self.adapter.capabilities:
            return self.steps(request)
        try:
            op, method, refused = self.table[name]
        except (KeyError, TypeError):
            return {"unsupported": "the operation %.80r was not declared" % (name,)}
        try:
            for need, asks in refused:
                if asks(request):
                    return {"unsupported": "%s without the capability %s" % (name, need)}
            arguments = [self.read(field, request) for field in op.fields]
        except (RequestError, AttributeError, TypeError) as error:
            return {"error": {"type": "Request", "message": "%s: %s" % (name, error)}}
        return self.call(name, op, method, arguments)

    def read(self, field, request):
        name, read, default = field
        if name not in request:
            if default is REQUIRED:
                raise RequestError("the field %s is missing" % name)
            return default
        try:
            value = read(request[name])
        except RequestError as error:
            raise RequestError("field %s: %s" % (name, error)) from None
        if name == "transport":
            value = self.adapter.endpoints.get(value)
            if value is None:
                raise RequestError("no transport has the number %r" % (request[name],))
        return value

    def call(self, name, op, method, arguments):
        try:
            return {"result": op.write(method(*arguments))}
        except RequestError as error:
            return {"error": {"type": "Request", "message": "%s: %s" % (name, error)}}
        except Unsupported as error:
            return {"unsupported": str(error)}
        except Failed as error:
            reply = self.error(error.error)
            reply["observed"] = op.write(error.result)
            return {"error": reply}
        except Exception as error:
            return {"error": self.error(error)}

    def error(self, error):
        reply = {"type": type(error).__name__, "message": str(error)[:4096]}
        number = error_name(self.adapter, error)
        if number is not None:
            reply["errno"] = number
        elif not isinstance(error, (OSError, OverflowError, ValueError)):
            # Perhaps a mistake of the adapter's: let its author see where. Without an import: descriptors may be out.
            sys.excepthook(type(error), error, error.__traceback__)
        return reply

    def steps(self, request):
        steps = request.get("steps")
        if type(steps) is not list or not all(type(step) is dict for step in steps):
            return {"error": {"type": "Request", "message": "steps: the field steps holds no list of requests"}}
        replies = []
        for step in steps:
            if step.get("op") == "steps":
                reply = {"error": {"type": "Request", "message": "steps do not nest"}}
            else:
                try:
                    reply = self.answer(resolved(step, replies))
                except LookupError as error:
                    reply = {"error": {"type": "Reference", "message": str(error)}}
                except TypeError as error:
                    reply = {"error": {"type": "Request", "message": str(error)}}
            replies.append(reply)
            if "result" not in reply and not request.get("go_on"):
                break
        return {"result": {"replies": replies}}


def free_zero():
    """Put /dev/null at number 0, which may be closed and received from now on; return where requests are read then."""
    number = fcntl.fcntl(0, getattr(fcntl, "F_DUPFD_CLOEXEC", 1030), INPUT)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return number


def lines(number):
    """Yield each line that comes in at this number."""
    parts = []
    while True:
        data = os.read(number, 1 << 20)
        if not data:
            return
        *whole, rest = data.split(b"\n")
        for line in whole:
            parts.append(line)
            yield b"".join(parts)
            parts = []
        if rest:
            parts.append(rest)


def serve(adapter):
    """Answer every request on standard input; return at its end."""
    testee = Testee(adapter)
    decode, encode, write = json.loads, json.JSONEncoder(separators=(",", ":"), check_circular=False).encode, os.write
    for line in lines(free_zero() if "zero" in adapter.capabilities else 0):
        try:
            request = decode(line.decode())
            number = request["id"]
        except (ValueError, KeyError, TypeError) as error:
            sys.stderr.write("fdspec_testee: a line that is no request (%s): %.200r\n" % (error, line))
            continue
        reply = testee.answer(request)
        reply["id"] = number
        data = encode(reply).encode() + b"\n"
        while data:
            data = data[write(1, data) :]


def load(path):
    """Return an instance of the one adapter class in the file ``path``; SystemExit where there is not just one."""
    module = type(sys)("fdspec_adapter")
    module.__file__ = path
    sys.modules["fdspec_adapter"] = module
    sys.modules.setdefault("fdspec_testee", sys.modules[__name__])
    with open(path, "rb") as file:
        exec(compile(file.read(), path, "exec"), module.__dict__)
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Adapter) and value.__module__ == "fdspec_adapter"
    ]
    leaves = [one for one in found if not any(other is not one and issubclass(other, one) for other in found)]
    if len(leaves) != 1:
        names = ", ".join(sorted(one.__name__ for one in leaves)) or "none"
        sys.exit("fdspec_testee: %s must define one subclass of Adapter, found: %s" % (path, names))
    return leaves[0]()


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python -I fdspec_testee.py ADAPTER.py")
    sys.stdout = sys.stderr  # what an implementation prints is log
    adapter = load(sys.argv[1])
    if hasattr(gc, "freeze"):
        gc.freeze()  # keeps the collection in every reset short
    serve(adapter)
    sys.stderr.flush()
    os._exit(0)  # at once, whatever threads and exit handlers the implementation has


if __name__ == "__main__":
    main()
