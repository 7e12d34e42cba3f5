"""fdspec's own reference in all its layers: messages, descriptors, and transports on a real asyncio loop.

The loop is made by the first transport (asyncio takes longer to import than all the rest), and runs in turns, so that
it stands still between requests.
"""

import array
import selectors
import socket

from fdspec import __version__
from fdspec.impls.reference import descriptors, message
from fdspec_testee import TYPES, Failed, TransportAdapter, Unsupported, filled, only

RIGHTS = (socket.SOL_SOCKET, socket.SCM_RIGHTS)
COMMON = ["buffers-out", "buffers-in", "flags-in", "flags-out", "address", "empty-out", "plain-out", "peer-address"]
SOURCE = "docstring of fdspec.impls.reference."


def packed(content):
    return array.array("i", content).tobytes() if isinstance(content, list) else content


def shown(received):
    """Return a `message.Message` as the testee reports it. Nothing of it is owned any more: the harness closes it."""
    rights = [one.detach() for one in received.descriptors]
    if received.pidfd is not None:
        received.pidfd.detach()
    ancillary = []
    for item in received.control:
        if not item.is_rights:
            ancillary.append((item.level, item.type, item.data))
        elif rights:
            ancillary.append((item.level, item.type, rights))
            rights = []  # of several such control messages the first one shows the descriptors of all
    return received.buffers, ancillary, received.flags, received.address


class Messages:
    """The operations on messages, over an API of the shape of `message`. Another layer's adapter has it as well."""

    profile = {
        "types": TYPES,
        "capabilities": [*COMMON, "control-length", "ancillary", "several"],
        "limits": {"descriptors": message.SCM_MAX_FD},
    }
    policies = {
        "truncation": {"outcome": "error", "source": SOURCE + "message.Truncation"},
        "cloexec": {"outcome": "always", "source": SOURCE + "message.recvmsg"},
    }

    def send(self, sock, buffers, fds, control, flags, address):
        return message.sendmsg(sock, buffers, fds, control, flags, address)

    def receive(self, sock, sizes, room, control, flags):
        return message.recvmsg(sock, sizes, room, control=control, flags=flags)

    def sendmsg(self, fd, buffers, ancillary, flags, address):
        fds = ()
        if ancillary and ancillary[0][:2] == RIGHTS and isinstance(ancillary[0][2], list):
            fds, ancillary = ancillary[0][2], ancillary[1:]
        control = [(level, kind, packed(content)) for level, kind, content in ancillary]
        return self.send(self.sock(fd), buffers, fds, control, flags, address)

    def recvmsg(self, fd, sizes, room, control, flags):
        try:
            return shown(self.receive(self.sock(fd), sizes, room if control is None else None, control, flags))
        except message.DescriptorsLostError as error:
            lost = error.message
            ancillary = [(item.level, item.type, item.data) for item in lost.ancillary]
            raise Failed(error, (lost.buffers, ancillary, lost.flags, lost.address)) from None


class Watch(selectors.DefaultSelector):
    """A selector that remembers whether its last look found anything."""

    found = False

    def select(self, timeout=None):
        events = selectors.DefaultSelector.select(self, timeout)
        self.found = bool(events)
        return events


class Reference(Messages, TransportAdapter):
    implementation = {"name": "fdspec's reference", "version": __version__}
    profiles = {
        "message": Messages.profile,
        "descriptors": {
            "types": TYPES,
            "capabilities": [*COMMON, "many", "single", "flags-reported"],
            "limits": {"descriptors": message.SCM_MAX_FD},
        },
        "transport": {
            "types": ["stream"],
            "capabilities": [
                "client",
                "server",
                "producer",
                "reading",
                "abort",
                "owned",
                "plain-receiver",
                "raising-receiver",
                "closing-receiver",
                "half-close",
                "log",
            ],
            "limits": {"queue": 64},  # transport.DESCRIPTOR_LIMIT, without the import
        },
    }
    policies = {
        **Messages.policies,
        "queued": {"outcome": "owned", "source": SOURCE + "transport"},
        "order": {"outcome": "descriptors-first", "source": SOURCE + "transport"},
        "overrun": {"outcome": "wait", "source": SOURCE + "transport"},
    }

    def __init__(self):
        TransportAdapter.__init__(self)
        self.loop = None

    # descriptors: one buffer by the calls of the socket module, several buffers and `single` by those of ScmSocket

    def send_fds(self, fd, buffers, fds, flags, address, single):
        if not single:
            return descriptors.send_fds(self.sock(fd), buffers, fds, flags, address)
        if len(fds) != 1 or flags or address is not None:
            raise Unsupported("send_with_fd takes one descriptor, and neither flags nor an address")
        return descriptors.send_with_fd(self.sock(fd), buffers, fds[0])

    def recv_fds(self, fd, sizes, room, flags, single):
        if len(sizes) == 1 and not single:
            data, fds, flags, address = descriptors.recv_fds(self.sock(fd), only(sizes, 0), room, flags)
            return [data], fds, flags, address
        if flags:
            raise Unsupported("the calls with several buffers, or for one descriptor, take no flags")
        buffers = [bytearray(size) for size in sizes]
        try:
            if single:
                count, found = descriptors.recv_with_fd(self.sock(fd), buffers)
                owned = () if found is None else (found,)
            else:
                count, owned = descriptors.recv_with_fds(self.sock(fd), buffers, room)
        except message.DescriptorsLostError as error:
            lost = error.message
            raise Failed(error, (filled(buffers, lost.length), [], lost.flags, lost.address)) from None
        return filled(buffers, count), [one.detach() for one in owned], None, None

    # transports

    def begin(self):
        """Make the loop."""
        import asyncio
        import logging

        from fdspec.impls.reference import endpoints

        self.asynchronous, self.watch = endpoints, Watch()
        self.loop = asyncio.SelectorEventLoop(self.watch)
        self.protocols = protocols(asyncio.Protocol)
        handler = logging.Handler()
        handler.emit = lambda record: self.log(
            record.getMessage(), record.exc_info[0].__name__ if record.exc_info else None
        )
        logging.getLogger().addHandler(handler)

    def factory(self, endpoint_of):
        """Return a protocol factory; ``endpoint_of()`` is called once for each protocol that it makes."""

        def make():
            endpoint = endpoint_of()
            return self.protocols[endpoint.takes_descriptors](endpoint)

        return make

    def turn(self, wait):
        told = self.told
        stop = self.loop.call_later(wait, self.loop.stop) if wait else self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()
        stop.cancel()
        return self.watch.found or self.told != told

    told = 0

    def happened(self):
        self.told += 1
        if self.loop.is_running():
            self.loop.stop()

    def client(self, endpoint, address):
        if self.loop is None:
            self.begin()

        def connected(task):
            endpoint.failure = task.exception()
            self.happened()

        connecting = self.asynchronous.connect(address, self.factory(lambda: endpoint))
        endpoint.connecting = self.loop.create_task(connecting)
        endpoint.connecting.add_done_callback(connected)

    def server(self, listener, address):
        if self.loop is None:
            self.begin()
        serving = self.asynchronous.serve(address, self.factory(lambda: self.accepted(listener)))
        server = self.loop.run_until_complete(serving)
        listener.opened(server, server._sock.fileno())  # noqa: SLF001 - it has no public name

    def release(self, endpoints):
        for endpoint in endpoints:
            if endpoint.listens and endpoint.transport is not None:
                endpoint.transport.close()
            elif endpoint.alive:
                endpoint.transport.abort()
        if self.loop is not None:
            self.drain()

    def transport_write(self, endpoint, data):
        endpoint.transport.write(data)

    def transport_send_fd(self, endpoint, fd, give):
        if not give:
            endpoint.transport.send_descriptor(fd)
            return
        descriptor = message.Descriptor(fd)
        try:
            endpoint.transport.give_descriptor(descriptor)
        except BaseException:
            descriptor.detach()  # it was not taken, so it stays the caller's
            raise

    def transport_producer(self, endpoint):
        endpoint.transport.get_protocol().produce()

    def transport_reading(self, endpoint, on):
        (endpoint.transport.resume_reading if on else endpoint.transport.pause_reading)()

    def transport_end(self, endpoint):
        endpoint.transport.write_eof()

    def transport_close(self, endpoint, abort):
        (endpoint.transport.abort if abort else endpoint.transport.close)()


def protocols(base):
    """Return the protocols that tell their endpoint all that they are told, by whether they take descriptors."""

    class PlainReceiver(base):
        def __init__(self, endpoint):
            self.endpoint = endpoint
            self.producing = self.paused = False

        def connection_made(self, transport):
            self.endpoint.opened(transport, transport.get_extra_info("socket").fileno())

        def data_received(self, data):
            self.endpoint.data(data)

        def eof_received(self):
            self.endpoint.tell("eof")

        def connection_lost(self, exc):
            self.endpoint.lost(exc and type(exc).__name__, str(exc or ""))

        def pause_writing(self):
            self.paused = True
            if self.producing:
                self.endpoint.tell("pause")

        def resume_writing(self):
            self.paused = False
            if self.producing:
                self.endpoint.tell("resume")

        def produce(self):
            """Register a producer, which is paused at once if the transport is full."""
            self.producing = True
            if self.paused:
                self.endpoint.tell("pause")

    class Receiver(PlainReceiver):
        def descriptor_received(self, descriptor):
            self.endpoint.descriptor(descriptor.detach())  # from here on it is the harness's

    return {False: PlainReceiver, True: Receiver}
