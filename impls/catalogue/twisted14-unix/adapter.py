"""`twisted.internet.unix` of Twisted 14.0.2: the Client and Server transports of connectUNIX and listenUNIX.

The reactor is a real one, on epoll. It is never run; each turn is one `iterate`, so that it stands still between
requests.
"""

import select

from fdspec_testee27 import TransportAdapter, type_name
from twisted import version
from twisted.internet import epollreactor

epollreactor.install()

from twisted.internet import error, interfaces, protocol, reactor  # noqa: E402 - the reactor is installed first
from twisted.python import log  # noqa: E402
from zope.interface import implementer  # noqa: E402


class PlainReceiver(protocol.Protocol):
    """Tells its endpoint what the transport tells it; cannot take descriptors."""

    def __init__(self, endpoint):
        self.endpoint = endpoint

    def connectionMade(self):
        self.endpoint.opened(self.transport, self.transport.fileno())

    def dataReceived(self, data):
        self.endpoint.data(data)

    def connectionLost(self, reason=protocol.connectionDone):
        clean = reason.check(error.ConnectionDone)
        self.endpoint.lost(None if clean else type_name(reason.type), reason.getErrorMessage())


@implementer(interfaces.IFileDescriptorReceiver)
class Receiver(PlainReceiver):
    def fileDescriptorReceived(self, descriptor):
        self.endpoint.descriptor(descriptor)


def play(endpoint):
    return (Receiver if endpoint.takes_descriptors else PlainReceiver)(endpoint)


class ClientFactory(protocol.ClientFactory):
    noisy = False  # it would log its own start and stop

    def __init__(self, endpoint):
        self.endpoint = endpoint

    def buildProtocol(self, _):
        return play(self.endpoint)

    def clientConnectionFailed(self, _, reason):
        self.endpoint.failure = reason.value


class ServerFactory(protocol.ServerFactory):
    noisy = False

    def __init__(self, adapter, listener):
        self.adapter = adapter
        self.listener = listener

    def buildProtocol(self, _):
        return play(self.adapter.accepted(self.listener))


@implementer(interfaces.IPushProducer)
class Producer:
    def __init__(self, endpoint):
        self.endpoint = endpoint

    def pauseProducing(self):
        self.endpoint.tell("pause")

    def resumeProducing(self):
        self.endpoint.tell("resume")

    def stopProducing(self):
        """The connection is lost, which its protocol is told as well."""


class Twisted14Unix(TransportAdapter):
    implementation = {"name": "twisted.internet.unix of Twisted 14", "version": version.short()}
    profiles = {
        "transport": {
            "types": ["stream"],
            "capabilities": [
                "client",
                "server",
                "producer",
                "reading",
                "abort",
                "plain-receiver",
                "raising-receiver",
                "closing-receiver",
                "half-close",
                "log",
            ],
            "limits": {"queue": 64},
        },
    }
    policies = {
        "overrun": {
            "outcome": "error",  # FileDescriptorOverrun: "the connection is closed with this exception"
            "source": "https://github.com/twisted/twisted/blob/twisted-14.0.2/twisted/internet/error.py",
        },
    }

    def start(self):
        log.startLoggingWithObserver(self.observe, setStdout=False)  # the reactor opened its own when it was imported

    def observe(self, event):
        failure = event.get("failure") if event["isError"] else None
        if failure is None:
            self.log(log.textFromEventDict(event) or "")
        else:
            self.log(failure.getErrorMessage(), type_name(failure.type))

    def errno_of(self, error):
        cause = getattr(error, "socketError", error)
        return getattr(cause, "errno", None) or getattr(cause, "osError", None)

    def turn(self, wait):
        ready = select.poll()
        wanted = {one.fileno(): select.POLLIN for one in reactor.getReaders()}
        for one in reactor.getWriters():
            wanted[one.fileno()] = wanted.get(one.fileno(), 0) | select.POLLOUT
        for fd, events in wanted.items():
            ready.register(fd, events)
        busy = bool(ready.poll(0))
        next_call = reactor.timeout()
        reactor.iterate(wait if next_call is None else min(wait, next_call))
        return busy or next_call == 0

    def client(self, endpoint, address):
        reactor.connectUNIX(address, ClientFactory(endpoint))

    def server(self, listener, address):
        port = reactor.listenUNIX(address, ServerFactory(self, listener))
        listener.opened(port, port.fileno())

    def release(self, endpoints):
        for endpoint in endpoints:
            if endpoint.listens:
                endpoint.transport and endpoint.transport.stopListening()
            elif endpoint.alive:
                endpoint.transport.abortConnection()
        self.drain()
        for endpoint in endpoints:
            if endpoint.listens and hasattr(endpoint.transport, "socket"):
                endpoint.transport.socket.close()  # the port could not unlink its path, and stopped there
        for call in reactor.getDelayedCalls():
            call.cancel()

    def transport_write(self, endpoint, data):
        endpoint.transport.write(data)

    def transport_send_fd(self, endpoint, fd, give):
        endpoint.transport.sendFileDescriptor(fd)

    def transport_producer(self, endpoint):
        endpoint.transport.registerProducer(Producer(endpoint), True)

    def transport_reading(self, endpoint, on):
        (endpoint.transport.resumeProducing if on else endpoint.transport.pauseProducing)()

    def transport_end(self, endpoint):
        endpoint.transport.loseWriteConnection()

    def transport_close(self, endpoint, abort):
        (endpoint.transport.abortConnection if abort else endpoint.transport.loseConnection)()
