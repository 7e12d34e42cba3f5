"""The transport's receiving side: order, refusals, truncation, foreign control messages, the end (TC05 to TC07, TC09, TC10)."""

import array
import asyncio
import contextlib
import errno
import gc
import logging
import os
import socket

import pytest
from fdspec.impls.reference import transport as module
from fdspec.impls.reference.message import Descriptor, DescriptorsLostError, Message, UnsupportedSocketError, sendmsg
from fdspec.impls.reference.transport import DescriptorProtocol, UnixTransport
from loopkit import Link, Plain, Recorder, free_numbers, on_a_loop

PASSCRED, PASSPIDFD = 16, 76


@contextlib.asynccontextmanager
async def linked(*args, **options):
    link = Link(*args, **options)
    try:
        yield link
    finally:
        await link.end()


@on_a_loop
async def test_descriptors_in_order_before_their_data(unleaking, files, identities):
    sent = files(5)
    async with linked() as link:
        sendmsg(link.peer, [b"plain"])
        sendmsg(link.peer, [b"first"], sent[:3])
        sendmsg(link.peer, [b"none"])
        sendmsg(link.peer, [b"second"], sent[3:])
        await link.until(lambda: len(link.recorder.data) == 20)
        descriptor = ("descriptor",)
        assert link.recorder.events == [
            ("made",),
            descriptor,
            descriptor,
            descriptor,
            ("data", b"plainfirst"),  # a message with descriptors ends what one receive brings
            descriptor,
            descriptor,
            ("data", b"nonesecond"),
        ]
        assert identities(link.recorder.descriptors) == identities(sent)
        assert not any(os.get_inheritable(one.fileno()) for one in link.recorder.descriptors)


@on_a_loop
async def test_all_that_one_message_holds(unleaking, files):
    async with linked() as link:
        sendmsg(link.peer, [b"x"], files(1) * 253)
        await link.until(lambda: link.recorder.data)
        assert len(link.recorder.descriptors) == 253


@on_a_loop
async def test_several_control_messages(unleaking, files, identities):
    sent = files(3)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [one]).tobytes()) for one in sent]
    async with linked() as link:
        sendmsg(link.peer, [b"x"], (), rights)
        await link.until(lambda: link.recorder.data)
        assert identities(link.recorder.descriptors) == identities(sent)


@on_a_loop
async def test_big_data_with_descriptors(unleaking, files):
    data = os.urandom(200_000)
    async with linked() as link:
        link.peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
        assert sendmsg(link.peer, [data], files(3)) == len(data)
        await link.until(lambda: len(link.recorder.data) == len(data))
        assert link.recorder.names[:5] == ["made", "descriptor", "descriptor", "descriptor", "data"]
        assert link.recorder.data == data


@on_a_loop
async def test_a_protocol_that_takes_none(unleaking, files, caplog):
    reader, writer = os.pipe()
    async with linked(Plain()) as link:
        sendmsg(link.peer, [b"data"], [writer, writer])
        os.close(writer)
        await link.until(lambda: link.recorder.data == b"data")
        assert os.read(reader, 1) == b"", "a received descriptor is still open"
        assert not link.recorder.lost
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "Plain cannot take descriptors, closing 2" in caplog.text
    os.close(reader)


@on_a_loop
async def test_the_default_closes(unleaking, files):
    class Idle(DescriptorProtocol):
        recorder = Recorder()

        def connection_lost(self, exc):
            self.recorder.connection_lost(exc)

        def data_received(self, data):
            self.recorder.data_received(data)

    async with linked(Idle()) as link:
        sendmsg(link.peer, [b"data"], files(3))
        await link.until(lambda: link.recorder.data)


@pytest.mark.parametrize("at", range(4))
def test_a_callback_that_raises(unleaking, files, identities, at):
    sent = files(4)

    class Refused(Exception):
        pass

    def refuse(index):
        if index == at:
            raise Refused

    async def play():
        async with linked() as link:
            link.recorder.on_descriptor = refuse
            sendmsg(link.peer, [b"data"], sent)
            sendmsg(link.peer, [b"more"], sent)
            await link.until(lambda: link.recorder.lost)
            assert isinstance(link.recorder.error, Refused)
            assert link.recorder.names == ["made", *["descriptor"] * (at + 1), "lost"]
            assert identities(link.recorder.descriptors) == identities(sent[:at])

    asyncio.run(play())


@on_a_loop
async def test_data_received_that_raises(unleaking, files):
    async with linked() as link:
        link.recorder.on_data = lambda data: data / 2
        sendmsg(link.peer, [b"data"], files(2))
        await link.until(lambda: link.recorder.lost)
        assert isinstance(link.recorder.error, TypeError)
        assert len(link.recorder.descriptors) == 2


@on_a_loop
async def test_connection_made_that_raises(unleaking):
    class Unwilling(Recorder):
        def connection_made(self, transport):
            raise LookupError

    async with linked(Unwilling()) as link:
        await link.until(lambda: link.recorder.lost)
        assert isinstance(link.recorder.error, LookupError)


@on_a_loop
async def test_connection_lost_that_raises_leaves_nothing_open(unleaking, files):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    async with linked() as link:
        link.transport.send_descriptor(files(1)[0])
        lost = link.recorder.connection_lost

        def fail(error):
            lost(error)
            raise LookupError

        link.recorder.connection_lost = fail
        link.transport.abort()
        await link.until(lambda: link.recorder.lost)
        assert link.ours.fileno() == -1
    assert [type(error) for error in reported] == [LookupError]


@pytest.mark.parametrize("ending", ["abort", "close"])
def test_the_end_called_for_in_the_callback(unleaking, files, ending):
    """abort() drops what is left of the message, close() lets it be delivered."""

    async def play():
        async with linked() as link:
            link.recorder.on_descriptor = lambda index: getattr(link.transport, ending)()
            sendmsg(link.peer, [b"data"], files(3))
            await link.until(lambda: link.recorder.lost)
            expected = ["descriptor"] if ending == "abort" else ["descriptor"] * 3 + ["data"]
            assert link.recorder.names == ["made", *expected, "lost"]
            assert link.recorder.error is None

    asyncio.run(play())


@on_a_loop
async def test_descriptors_without_data_are_not_the_end(unleaking, files, identities, monkeypatch):
    """Linux delivers none such on a stream, FreeBSD does."""
    sent = files(1)
    messages = [Message(0, (b"",), (Descriptor.duplicate(sent[0]),))]
    real = module.recvmsg
    monkeypatch.setattr(module, "recvmsg", lambda *arguments: messages.pop() if messages else real(*arguments))
    async with linked() as link:
        sendmsg(link.peer, [b"data"])
        await link.until(lambda: link.recorder.data)
        assert link.recorder.names == ["made", "descriptor", "data"]
        assert identities(link.recorder.descriptors) == identities(sent)


@on_a_loop
async def test_what_is_in_flight_comes_before_the_end(unleaking, files, identities):
    sent = files(5)
    async with linked() as link:
        for one in sent:
            sendmsg(link.peer, [b"m"], [one])
        link.peer.close()
        await link.until(lambda: link.recorder.lost)
        assert link.recorder.names == ["made", *["descriptor", "data"] * 5, "eof", "lost"]
        assert identities(link.recorder.descriptors) == identities(sent)
        assert link.recorder.error is None


@on_a_loop
async def test_the_end_of_one_direction(unleaking, files, identities):
    sent = files(1)
    async with linked() as link:
        link.recorder.keep_open_at_eof = True
        link.peer.shutdown(socket.SHUT_WR)
        await link.until(lambda: "eof" in link.recorder.names)
        assert not link.transport.is_reading()
        link.transport.send_descriptor(sent[0])
        link.transport.write(b"answer")
        await link.receive(6)
        assert identities(link.came_descriptors) == identities(sent)
        assert not link.recorder.lost


@on_a_loop
async def test_what_is_queued_is_sent_after_the_peers_end(unleaking, files, identities):
    sent = files(2)
    async with linked() as link:
        link.transport.pause_reading()
        for one in sent:
            link.transport.send_descriptor(one)
        link.transport.write(b"answer")
        link.peer.shutdown(socket.SHUT_WR)
        link.transport.resume_reading()
        await link.receive(6)
        assert identities(link.came_descriptors) == identities(sent)
        await link.until(lambda: link.recorder.lost)
        assert link.recorder.error is None


@on_a_loop
async def test_paused_reading(unleaking, files):
    async with linked() as link:
        await link.turns()
        link.transport.pause_reading()
        assert not link.transport.is_reading()
        sendmsg(link.peer, [b"data"], files(2))
        await link.turns(10)
        assert link.recorder.names == ["made"]
        link.transport.resume_reading()
        assert link.transport.is_reading()
        await link.until(lambda: link.recorder.data)
        assert link.recorder.names == ["made", "descriptor", "descriptor", "data"]


@on_a_loop
async def test_foreign_control_messages_are_logged(unleaking, files, identities, caplog):
    sent = files(2)
    async with linked() as link:
        link.ours.setsockopt(socket.SOL_SOCKET, PASSCRED, 1)
        sendmsg(link.peer, [b"alone"])
        await link.until(lambda: link.recorder.data == b"alone")
        sendmsg(link.peer, [b"beside"], sent)
        await link.until(lambda: link.recorder.data == b"alonebeside")
        assert identities(link.recorder.descriptors) == identities(sent)
        assert not link.recorder.lost
    assert caplog.text.count("unsupported control message, level 1, type 2") == 2


@on_a_loop
async def test_a_pidfd_beside_is_closed(unleaking, files, identities, caplog):
    sent = files(2)
    async with linked() as link:
        link.ours.setsockopt(socket.SOL_SOCKET, PASSPIDFD, 1)
        sendmsg(link.peer, [b"data"], sent)
        await link.until(lambda: link.recorder.data)
        assert identities(link.recorder.descriptors) == identities(sent)
    assert "type 4" in caplog.text


@pytest.mark.parametrize("slots", range(3))
def test_no_number_left(unleaking, files, slots):
    sent = files(3)

    async def play():
        async with linked() as link:
            sendmsg(link.peer, [b"good"], sent[:1])
            await link.until(lambda: link.recorder.data)
            sendmsg(link.peer, [b"lost"], sent)
            with free_numbers(slots):
                await link.until(lambda: link.recorder.lost)
            error = link.recorder.error
            assert isinstance(error, DescriptorsLostError)
            assert error.data == b"lost"
            assert len(link.recorder.descriptors) == 1
            assert link.recorder.data == b"good", "data without its descriptors is not delivered as if it were whole"

    asyncio.run(play())


@on_a_loop
async def test_a_reset_connection(unleaking, files):
    """The peer closes with our data unread: what it had sent is delivered, then the error, or the end."""
    async with linked() as link:
        link.transport.write(b"unread")
        await link.turns()
        sendmsg(link.peer, [b"data"], files(1))
        link.peer.close()
        await link.until(lambda: link.recorder.lost)
        assert link.recorder.names[:3] == ["made", "descriptor", "data"]
        assert link.recorder.error is None or link.recorder.error.errno == errno.ECONNRESET


@on_a_loop
async def test_a_protocol_with_buffers_of_its_own(unleaking):
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self):
            self.recorder = Recorder()
            self.buffer = bytearray(3)

        def get_buffer(self, sizehint):
            return self.buffer

        def buffer_updated(self, nbytes):
            self.recorder.data_received(bytes(self.buffer[:nbytes]))

        def connection_lost(self, exc):
            self.recorder.connection_lost(exc)

    async with linked(Buffered()) as link:
        sendmsg(link.peer, [b"12345678"])
        await link.until(lambda: link.recorder.data == b"12345678")
        assert link.transport.get_protocol() is link.protocol
        other = Recorder()
        link.transport.set_protocol(other)
        sendmsg(link.peer, [b"other"])
        await link.until(lambda: other.data == b"other")
        link.transport.set_protocol(link.protocol)


@on_a_loop
async def test_a_buffer_without_space(unleaking):
    class Stuck(asyncio.BufferedProtocol):
        recorder = Recorder()

        def get_buffer(self, sizehint):
            return bytearray()

        def connection_lost(self, exc):
            self.recorder.connection_lost(exc)

    async with linked(Stuck()) as link:
        sendmsg(link.peer, [b"data"])
        await link.until(lambda: link.recorder.lost)
        assert isinstance(link.recorder.error, RuntimeError)


@pytest.mark.parametrize(
    ("family", "kind"), [(socket.AF_UNIX, socket.SOCK_DGRAM), (socket.AF_INET, socket.SOCK_STREAM)]
)
def test_another_kind_of_socket(unleaking, family, kind):
    async def play():
        with socket.socket(family, kind) as sock:
            with pytest.raises(UnsupportedSocketError):
                UnixTransport(sock, Recorder())
            assert sock.fileno() >= 0
            assert sock.getblocking()

    asyncio.run(play())


@on_a_loop
async def test_what_there_is_to_know(unleaking):
    async with linked() as link:
        assert link.transport.get_extra_info("socket") is link.ours
        assert link.transport.get_extra_info("peername") == ""
        assert repr(link.transport).startswith("<UnixTransport open fd=")


def test_a_forgotten_transport_warns_and_closes(unleaking, files):
    """Nobody ends it, and its loop is gone: the socket and what is queued are closed."""
    left, right = socket.socketpair()
    loop = asyncio.new_event_loop()
    transport = UnixTransport(left, Recorder(), loop=loop)
    transport.send_descriptor(files(1)[0])
    loop.close()
    del transport, left
    with pytest.warns(ResourceWarning) as warned:  # the socket may be found first, and warn on its own
        gc.collect()
    assert any("was forgotten" in str(one.message) for one in warned)
    assert right.recv(1) == b""
    right.close()
