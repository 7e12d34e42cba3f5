"""`twisted.internet.unix`: the Client and Server transports of connectUNIX and listenUNIX, on a real epoll reactor.

The reactor is never run; each turn is one `iterate`, so that it stands still between requests.
"""

import select

from fdspec_testee import TransportAdapter
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
        self.endpoint.lost(None if clean else reason.type.__name__, reason.getErrorMessage())


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


class TwistedUnix(TransportAdapter):
    implementation = {"name": "twisted.internet.unix", "version": version.short()}
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
            "outcome": "error",
            "source": "https://docs.twisted.org/en/stable/api/twisted.internet.error.FileDescriptorOverrun.html",
        },
    }

    def start(self):
        log.startLoggingWithObserver(self.observe, setStdout=False)
        # The reactor's waker and Twisted's reserved descriptor are opened by the first port: have them before any case.
        port = reactor.listenUNIX("\0fdspec-%d" % id(self), protocol.ServerFactory())
        port.stopListening()
        self.drain()

    def observe(self, event):
        failure = event.get("failure") if event["isError"] else None
        if failure is None:
            self.log(log.textFromEventDict(event) or "")
        else:
            self.log(failure.getErrorMessage(), failure.type.__name__)

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
