"""A stream transport for asyncio that sends and receives descriptors: the third of the reference's three layers.

It keeps what twisted.internet.unix promises of its transports, on asyncio's interfaces. `UnixTransport` is an
`asyncio.Transport` with `send_descriptor` and `give_descriptor`; the protocol is an `asyncio.Protocol`, and if it has
a method `descriptor_received` it gets descriptors (`DescriptorProtocol` shows the shape).

Sending. Descriptors are queued and go out in order, each with at least one byte of data (see `sendqueue` for which);
queued before data is written they wait for it. What can't be sent yet stays queued, and nothing goes out twice. More
than `descriptor_limit` queued descriptors, or too many queued bytes, pause the protocol (`pause_writing`) until the
queue has drained. Queueing takes a private duplicate, so the caller may close its own at once.

Receiving. Each descriptor of a message is handed to `descriptor_received` once, in order, then the message's data to
`data_received`. A callback that raises has refused its descriptor: it and those behind it are closed, and the
connection ends with that error in `connection_lost`. A protocol without the method gets data only: its descriptors are
closed, and that is logged. Control messages of other kinds are logged. Everything that was in flight comes before the
end of the stream.

Endings, as `connection_lost` sees them: None after `close()`, `abort()` and the peer's regular end;
`DescriptorOverrunError` when close() or write_eof() finds more descriptors queued than bytes to carry them, and nothing
of the queue was sent; `DescriptorsLostError` when the process had no free number for what came; `UnsentError` when the
connection broke with something unsent; any other OSError of the system; the protocol's own exception. `unsent` of the
transport tells what was dropped, in every case. All descriptors that are still queued then are closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import warnings
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from .message import (
    Descriptor,
    DescriptorsLostError,
    HasFileno,
    Message,
    PassingError,
    UnsupportedSocketError,
    recvmsg,
    sendmsg,
)
from .sendqueue import DescriptorOverrunError, SendQueue, Unsent

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "DESCRIPTOR_LIMIT",
    "Descriptor",
    "DescriptorOverrunError",
    "DescriptorProtocol",
    "DescriptorsLostError",
    "TransportClosedError",
    "UnixTransport",
    "Unsent",
    "UnsentError",
]

DESCRIPTOR_LIMIT: Final = 64
"""Queued descriptors that don't count as a full buffer yet."""

_RECEIVE_SIZE: Final = 64 * 1024
_HIGH_WATER: Final = 64 * 1024
_RETRY_DELAY: Final = 0.05
_SHORTAGES: Final = frozenset({errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
"""The kernel is short of something that no readiness event announces: sendmsg is tried again after a while."""

_log = logging.getLogger(__name__)


class TransportClosedError(PassingError):
    """A descriptor was queued on a transport that takes no more (EPIPE)."""


class UnsentError(PassingError):
    """The connection broke with something unsent. `errno` and `__cause__` say how it broke."""

    def __init__(self, number: int | None, text: str, unsent: Unsent) -> None:
        super().__init__(number, text)
        self.unsent = unsent


class DescriptorProtocol(asyncio.Protocol):
    """An asyncio protocol that takes descriptors."""

    def descriptor_received(self, descriptor: Descriptor) -> None:
        """Take a descriptor, which the protocol owns unless it raises. Called before `data_received` of its data."""
        descriptor.close()


class UnixTransport(asyncio.Transport):
    """A connected AF_UNIX stream socket on the running event loop, with its queue and its protocol.

    `sock` becomes the transport's own, and non-blocking. `connection_made` is called from the loop, soon.
    Raises `UnsupportedSocketError` for any other kind of socket, which stays the caller's.
    """

    def __init__(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        descriptor_limit: int = DESCRIPTOR_LIMIT,
        ready: asyncio.Future[None] | None = None,
    ) -> None:
        if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
            raise UnsupportedSocketError(
                errno.EOPNOTSUPP, f"the transport needs an AF_UNIX stream socket, not {sock!r}"
            )
        self._closed = True  # until there is something to close: see __del__
        super().__init__({"socket": sock, "sockname": _name(sock.getsockname), "peername": _name(sock.getpeername)})
        self._loop = loop or asyncio.get_running_loop()
        self._sock = sock
        self._number = sock.fileno()
        self._protocol = protocol
        self._queue = SendQueue()
        self._descriptor_limit = descriptor_limit
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._writing_paused = False
        self._reading = self._reading_paused = False
        self._closing = self._breaking = self._lost = self._writer_on = False
        self._flush_handle: asyncio.Handle | None = None
        self.unsent = Unsent()
        """What was queued and dropped when the connection ended."""
        sock.setblocking(False)
        self._closed = False
        self._loop.call_soon(self._start, ready)

    # Sending

    def write(self, data: ReadableBuffer) -> None:
        """Queue data. After close() it is dropped, as asyncio has it; after write_eof() it is a RuntimeError."""
        if self._queue.finished and not self._closing:
            raise RuntimeError("write() after write_eof()")
        if self._closing:
            _log.warning("%r: data written after the end is dropped", self)
            return
        self._queue.write(data)
        self._queued()

    def send_descriptor(self, source: int | HasFileno) -> None:
        """Queue a duplicate of the descriptor; `source` stays the caller's, who may close it at once.

        Raises TypeError or `BadDescriptorError` for what is no descriptor, OSError when it can't be duplicated,
        `TransportClosedError` after close(), write_eof() or the end.
        """
        self._refuse_when_closed()
        self._queue.push(Descriptor.duplicate(source))
        self._queued()

    def give_descriptor(self, descriptor: Descriptor) -> None:
        """Queue the descriptor itself; it belongs to the transport when the call returns, and is closed once sent.

        Raises ValueError when it is closed already, `TransportClosedError` as `send_descriptor` does.
        """
        self._refuse_when_closed()
        descriptor.fileno()
        self._queue.push(descriptor)
        self._queued()

    def _refuse_when_closed(self) -> None:
        if self._closing or self._queue.finished:
            raise TransportClosedError(errno.EPIPE, "the transport is closing and takes no more descriptors")

    def _queued(self) -> None:
        self._pause_when_full()
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flush_handle is None and not self._writer_on and not self._lost:
            self._flush_handle = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Send until the queue holds nothing that may go, or the socket is full."""
        self._flush_handle = None
        try:
            while not self._lost and (chunk := self._queue.next()) is not None:
                descriptors = () if chunk.descriptor is None else (chunk.descriptor,)
                self._queue.sent(sendmsg(self._sock, [chunk.data], descriptors))
        except BlockingIOError:
            self._wait_for_writable(wanted=True)
        except OSError as error:
            if error.errno in _SHORTAGES:
                self._wait_for_writable(wanted=False)
                self._flush_handle = self._loop.call_later(_RETRY_DELAY, self._flush)
            else:
                self._broken(error)
                return
        except Exception as error:  # noqa: BLE001 - a descriptor that was given and closed behind our back
            self._lose(error)
            return
        else:
            self._wait_for_writable(wanted=False)
        if not self._lost:
            self._resume_when_drained()
            self._end_when_empty()

    def _wait_for_writable(self, *, wanted: bool) -> None:
        if wanted and not self._writer_on and not self._lost:
            self._loop.add_writer(self._number, self._flush)
            self._writer_on = True
        elif not wanted and self._writer_on:
            self._loop.remove_writer(self._number)
            self._writer_on = False

    def _end_when_empty(self) -> None:
        """Do what close() or write_eof() put off until everything was sent."""
        if self._lost or not self._queue.finished or self._queue.unsent:
            return
        if self._closing:
            self._lose(None)
            return
        with contextlib.suppress(OSError):  # the peer may be gone: reading tells
            self._sock.shutdown(socket.SHUT_WR)

    # Flow control of writing

    def get_write_buffer_size(self) -> int:
        """Return the number of queued bytes."""
        return self._queue.unsent.size

    def get_descriptor_queue_size(self) -> int:
        """Return the number of queued descriptors."""
        return self._queue.unsent.descriptors

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the number of queued bytes at which writing resumes, and above which it pauses."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the numbers of queued bytes above which the protocol is paused, and at which it is resumed."""
        if high is None:
            high = _HIGH_WATER if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high}) is not less than low ({low}), and low not negative")
        self._high, self._low = high, low
        self._pause_when_full()

    def _pause_when_full(self) -> None:
        unsent = self._queue.unsent
        full = unsent.descriptors > self._descriptor_limit or unsent.size > self._high
        if full and not self._writing_paused:
            self._writing_paused = True
            self._tell(self._protocol.pause_writing)

    def _resume_when_drained(self) -> None:
        unsent = self._queue.unsent
        drained = unsent.descriptors <= self._descriptor_limit // 4 and unsent.size <= self._low
        if drained and self._writing_paused:
            self._writing_paused = False
            self._tell(self._protocol.resume_writing)

    def _tell(self, callback: Callable[[], None]) -> None:
        """Call the protocol about flow control; what it raises ends the connection like any other callback's error."""
        try:
            callback()
        except Exception as error:  # noqa: BLE001 - whatever a protocol raises goes to its connection_lost
            self._lose(error)

    # Receiving

    def _start(self, ready: asyncio.Future[None] | None) -> None:
        """Tell the protocol of the connection, also of one that has ended by now: made and lost come in pairs."""
        try:
            self._protocol.connection_made(self)
        except Exception as error:  # noqa: BLE001 - as in _tell
            self._lose(error)
        self._reading = True
        self._watch_reading()
        _settle(ready)

    def _watch_reading(self) -> None:
        if self.is_reading():
            self._loop.add_reader(self._number, self._receive)
        elif not self._closed:
            self._loop.remove_reader(self._number)

    def is_reading(self) -> bool:
        """Whether received data is being taken from the socket."""
        return self._reading and not self._reading_paused and not self._closing

    def pause_reading(self) -> None:
        """Leave what comes in the socket. What one recvmsg has already brought is still delivered."""
        self._reading_paused = True
        self._watch_reading()

    def resume_reading(self) -> None:
        """Take up reading again."""
        self._reading_paused = False
        self._watch_reading()

    def _receive(self) -> bool:
        """Receive and deliver one message. Return whether there may be another one."""
        try:
            message = recvmsg(self._sock, _RECEIVE_SIZE, None)
        except BlockingIOError:
            return False
        except (OSError, MemoryError) as error:
            self._broken(error, drain=False)
            return False
        try:
            self._deliver(message)
        except Exception as error:  # noqa: BLE001 - as in _tell
            self._lose(error)
        return self.is_reading()

    def _deliver(self, message: Message) -> None:
        if message.pidfd is not None:
            message.pidfd.close()
        for item in message.control:
            if not item.is_rights:
                _log.warning("%r: unsupported control message, level %d, type %d", self, item.level, item.type)
        self._deliver_descriptors(deque(message.descriptors))
        if self._lost:
            return
        if message.length:
            if isinstance(self._protocol, asyncio.BufferedProtocol):
                _fill(self._protocol, message.data)
            else:
                cast("asyncio.Protocol", self._protocol).data_received(message.data)
        elif not message.descriptors:
            self._end_of_stream()

    def _deliver_descriptors(self, pending: deque[Descriptor]) -> None:
        """Hand the descriptors over one by one; close those that nobody took, whatever happens."""
        try:
            while pending and not self._lost:
                take: Callable[[Descriptor], None] | None = getattr(self._protocol, "descriptor_received", None)
                if take is None:
                    _log.warning(
                        "%r: %s cannot take descriptors, closing %d", self, type(self._protocol).__name__, len(pending)
                    )
                    break
                take(pending[0])
                pending.popleft()
        finally:
            for descriptor in pending:
                with contextlib.suppress(OSError):
                    descriptor.close()

    def _end_of_stream(self) -> None:
        self._reading = False
        self._watch_reading()
        received: Callable[[], bool | None] = getattr(self._protocol, "eof_received", lambda: None)
        if not received():
            self.close()

    # Ending

    def can_write_eof(self) -> bool:
        """Return True: a stream can be ended in one direction."""
        return True

    def write_eof(self) -> None:
        """End the sending direction once everything queued is sent; receiving goes on."""
        if not self._closing and not self._queue.finished and self._finish():
            self._flush_soon()

    def close(self) -> None:
        """End the connection once everything queued is sent. Nothing more is received."""
        if self._closing:
            return
        self._closing = True
        self._watch_reading()
        if self._queue.finished or self._finish():
            self._flush_soon()

    def abort(self) -> None:
        """End the connection at once; what is queued is dropped."""
        self._lose(None)

    def is_closing(self) -> bool:
        """Whether close() or abort() was called, or the connection has ended."""
        return self._closing

    def _finish(self) -> bool:
        try:
            self._queue.finish()
        except DescriptorOverrunError as error:
            self._lose(error)
            return False
        return True

    def _broken(self, error: Exception, *, drain: bool = True) -> None:
        """End the connection for an error of the system, after handing over what had arrived before it broke."""
        if self._breaking:
            return  # what breaks while that is handed over adds nothing
        self._breaking = True
        unsent = self.unsent = self._queue.discard()
        while drain and self.is_reading() and self._receive():
            pass
        if unsent and not isinstance(error, DescriptorsLostError):
            text = f"{error}; {unsent.size} bytes and {unsent.descriptors} descriptors were not sent"
            lost = UnsentError(getattr(error, "errno", None), text, unsent)
            lost.__cause__ = error
            error = lost
        self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        """Stop everything and report the end, once."""
        if self._lost:
            return
        self._lost = self._closing = True
        dropped = self._queue.discard()
        self.unsent = Unsent(self.unsent.size + dropped.size, self.unsent.descriptors + dropped.descriptors)
        self._watch_reading()
        self._wait_for_writable(wanted=False)
        if self._flush_handle is not None:
            self._flush_handle.cancel()
            self._flush_handle = None
        self._loop.call_soon(self._report_end, error)

    def _report_end(self, error: Exception | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._closed = True
            self._sock.close()

    # What asyncio expects beside

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Talk to another protocol from now on."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    def __repr__(self) -> str:
        state = "closed" if self._closed else "closing" if self._closing else "open"
        return f"<UnixTransport {state} fd={self._number}>"

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):
            warnings.warn(f"{self!r} was forgotten and is closed now", ResourceWarning, stacklevel=2, source=self)
            self._queue.discard()
            self._sock.close()


def _settle(ready: asyncio.Future[None] | None) -> None:
    if ready is not None and not ready.done():
        ready.set_result(None)


def _name(ask: Callable[[], object]) -> object:
    """Return an address, None when the socket has none any more."""
    try:
        return ask()
    except OSError:
        return None


def _fill(protocol: asyncio.BufferedProtocol, data: bytes) -> None:
    """Give the data to a protocol that brings its own buffers."""
    while data:
        buffer = protocol.get_buffer(len(data))
        with memoryview(buffer) as view:
            taken = min(len(data), view.nbytes)
            if not taken:
                raise RuntimeError("get_buffer() returned an empty buffer")
            view.cast("B")[:taken] = data[:taken]
        protocol.buffer_updated(taken)
        data = data[taken:]
