"""The transport's sending side: order, one byte each, short writes, flow control, ownership, endings (TC01 to TC04, TC08)."""

import asyncio
import contextlib
import errno
import os
import socket

import pytest
from fdspec.impls.reference import transport as module
from fdspec.impls.reference.message import BadDescriptorError, Descriptor
from fdspec.impls.reference.transport import DescriptorOverrunError, TransportClosedError, UnsentError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loopkit import Link, on_a_loop

BIG = bytes(range(256)) * 400


@contextlib.asynccontextmanager
async def linked(*args, **options):
    link = Link(*args, **options)
    try:
        yield link
    finally:
        await link.end()


def small_buffer(link):
    link.ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4608)


@on_a_loop
async def test_a_descriptor_waits_for_data_and_goes_first(unleaking, files, identities):
    sent = files(1)
    async with linked() as link:
        link.transport.send_descriptor(sent[0])
        await link.turns()
        link.drain()
        assert link.messages == []
        assert not link.recorder.lost
        link.transport.write(b"data")
        await link.receive(4)
        assert link.messages[0][0] == b"data"
        assert identities(link.came_descriptors) == identities(sent)


@on_a_loop
async def test_order_and_a_byte_for_each(unleaking, files, identities):
    sent = files(70)
    async with linked() as link:
        for one in sent:
            link.transport.send_descriptor(one)
        link.transport.write(b"x" * 70)
        await link.receive(70)
        assert identities(link.came_descriptors) == identities(sent)
        assert [len(some) for _, some in link.messages] == [1] * 70


@on_a_loop
async def test_more_than_one_message_holds(unleaking, files, identities):
    sent = files(1)
    async with linked() as link:
        for _ in range(300):
            link.transport.send_descriptor(sent[0])
        link.transport.write(b"x" * 400)
        await link.receive(400)
        assert link.came == b"x" * 400
        assert identities(link.came_descriptors) == identities(sent) * 300


@on_a_loop
async def test_a_descriptor_goes_no_later_than_the_data_behind_it(unleaking, files, identities):
    sent = files(2)
    async with linked() as link:
        link.transport.send_descriptor(sent[0])
        link.transport.write(b"11111")
        link.transport.send_descriptor(sent[1])
        link.transport.write(b"22222")
        await link.receive(10)
        assert [(data, identities(some)) for data, some in link.messages] == [
            (b"11111", identities(sent[:1])),
            (b"22222", identities(sent[1:])),
        ]


@on_a_loop
async def test_a_descriptor_without_data_behind_it_takes_the_last_byte(unleaking, files, identities):
    sent = files(1)
    async with linked() as link:
        link.transport.write(b"before")
        link.transport.send_descriptor(sent[0])
        await link.receive(6)
        assert link.came == b"before"
        assert identities(link.came_descriptors) == identities(sent)


@on_a_loop
async def test_more_descriptors_than_bytes_when_closing(unleaking, files):
    sent = files(3)
    async with linked() as link:
        for one in sent:
            link.transport.send_descriptor(one)
        link.transport.write(b"x")
        link.transport.close()
        await link.until(lambda: link.recorder.lost)
        assert isinstance(link.recorder.error, DescriptorOverrunError)
        assert link.recorder.error.errno == errno.EINVAL
        assert link.transport.unsent == link.recorder.error.unsent == module.Unsent(1, 3)
        link.drain()
        assert link.messages == []


@on_a_loop
async def test_overrun_in_separate_turns_sends_nothing_in_part(unleaking, files):
    sent = files(3)
    async with linked() as link:
        for one in sent:
            link.transport.send_descriptor(one)
            await link.turns()
        link.transport.write(b"xy")
        await link.turns()
        link.transport.write_eof()
        await link.until(lambda: link.recorder.lost)
        assert isinstance(link.recorder.error, DescriptorOverrunError)
        link.drain()
        assert link.messages == []


@on_a_loop
async def test_short_writes_lose_and_repeat_nothing(unleaking, files, identities):
    sent = files(3)
    async with linked() as link:
        small_buffer(link)
        link.transport.write(BIG[:1000])
        for one in sent:
            link.transport.send_descriptor(one)
        link.transport.write(BIG)
        await link.turns()
        assert link.transport.get_write_buffer_size() > 50_000, "the socket took too much for this test to say anything"
        await link.receive(len(BIG) + 1000)
        assert link.came == BIG[:1000] + BIG
        assert identities(link.came_descriptors) == identities(sent)


@on_a_loop
async def test_descriptors_wait_behind_a_full_socket(unleaking, files, identities):
    sent = files(40)
    async with linked() as link:
        small_buffer(link)
        link.transport.write(BIG)
        await link.turns()
        for one in sent:
            link.transport.send_descriptor(one)
        link.transport.write(b"t" * 50)
        await link.turns()
        link.drain(0)
        await link.receive(len(BIG) + 50)
        assert link.came == BIG + b"t" * 50
        assert identities(link.came_descriptors) == identities(sent)


steps = st.lists(
    st.one_of(
        st.integers(1, 9000).map(lambda size: ("write", size)),
        st.just(("descriptor", 0)),
        st.just(("turn", 0)),
        st.integers(1, 4000).map(lambda size: ("read", size)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps)
def test_any_sequence_with_a_full_socket(files, identities, steps):
    """Writes, descriptors, turns of the loop and reads of the peer in any order: everything once, in order."""
    pool = files(1) + files(1)
    expected, queued = b"", []

    async def play():
        nonlocal expected
        async with linked() as link:
            small_buffer(link)
            for name, size in steps:
                if name == "write":
                    data = os.urandom(size)
                    expected += data
                    link.transport.write(data)
                elif name == "descriptor":
                    queued.append(pool[len(queued) % 2])
                    link.transport.send_descriptor(queued[-1])
                elif name == "turn":
                    await link.turns(2)
                else:
                    link.drain(size)
            missing = max(0, link.transport.get_descriptor_queue_size() - link.transport.get_write_buffer_size())
            expected += b"e" * missing
            link.transport.write(b"e" * missing)
            link.transport.close()
            await link.receive(len(expected)) if expected else None
            await link.until(lambda: link.recorder.lost)
            assert link.recorder.error is None
            assert link.came == expected
            assert identities(link.came_descriptors) == identities(queued)
            assert all(len(some) <= len(data) for data, some in link.messages)

    asyncio.run(play())


@on_a_loop
async def test_paused_above_the_limit_of_descriptors_and_resumed(unleaking, files):
    [one] = files(1)
    async with linked() as link:
        for _ in range(64):
            link.transport.send_descriptor(one)
        await link.turns()
        assert "pause" not in link.recorder.names
        link.transport.send_descriptor(one)
        assert link.recorder.names[-1] == "pause"
        link.transport.write(b"x" * 65)
        assert link.recorder.names.count("pause") == 1
        await link.until(lambda: "resume" in link.recorder.names)
        assert link.transport.get_descriptor_queue_size() == 0


@on_a_loop
async def test_another_limit(unleaking, files):
    [one] = files(1)
    async with linked(descriptor_limit=2) as link:
        for _ in range(3):
            await link.turns()
            assert "pause" not in link.recorder.names
            link.transport.send_descriptor(one)
        assert link.recorder.names[-1] == "pause"


@on_a_loop
async def test_paused_above_the_limit_of_bytes_and_resumed(unleaking):
    async with linked() as link:
        small_buffer(link)
        low, high = link.transport.get_write_buffer_limits()
        link.transport.write(b"x" * high)
        assert "pause" not in link.recorder.names
        link.transport.write(b"x")
        assert link.recorder.names[-1] == "pause"
        await link.receive(1)
        assert link.transport.get_write_buffer_size() > low
        assert "resume" not in link.recorder.names
        await link.receive(high + 1)
        await link.until(lambda: "resume" in link.recorder.names)
        link.transport.set_write_buffer_limits(high=10)
        assert link.transport.get_write_buffer_limits() == (2, 10)
        link.transport.set_write_buffer_limits(low=3)
        assert link.transport.get_write_buffer_limits() == (3, 12)
        with pytest.raises(ValueError, match="high"):
            link.transport.set_write_buffer_limits(high=1, low=2)


@on_a_loop
async def test_what_pause_writing_raises_ends_the_connection(unleaking, files):
    async with linked(descriptor_limit=0) as link:
        link.recorder.pause_writing = lambda: 1 / 0
        link.transport.send_descriptor(files(1)[0])
        await link.until(lambda: link.recorder.lost)
        assert isinstance(link.recorder.error, ZeroDivisionError)


@on_a_loop
async def test_the_caller_may_close_its_own_at_once(unleaking, files, identities):
    sent = files(1)
    copy = os.dup(sent[0])
    async with linked() as link:
        link.transport.send_descriptor(copy)
        os.close(copy)
        link.transport.write(b"x")
        await link.receive(1)
        assert identities(link.came_descriptors) == identities(sent)


@on_a_loop
async def test_a_given_descriptor_is_closed_when_sent(unleaking, files, identities):
    [number] = files(1)
    owned = Descriptor.duplicate(number)
    async with linked() as link:
        link.transport.give_descriptor(owned)
        assert not owned.closed
        link.transport.write(b"x")
        await link.receive(1)
        assert owned.closed
        assert identities(link.came_descriptors) == identities([number])
        with pytest.raises(ValueError, match="closed"):
            link.transport.give_descriptor(owned)


@on_a_loop
async def test_nothing_keeps_a_reference_after_sending(unleaking):
    reader, writer = os.pipe()
    async with linked() as link:
        link.transport.send_descriptor(writer)
        os.close(writer)
        link.transport.write(b"x")
        await link.receive(1)
        link.came_descriptors[0].close()
        assert os.read(reader, 1) == b""
    os.close(reader)


@pytest.mark.parametrize(
    ("bad", "error"),
    [(-1, BadDescriptorError), (2**31, BadDescriptorError), (900, OSError), (True, TypeError), ("x", TypeError)],
)
def test_a_bad_descriptor_is_refused_when_queued(unleaking, bad, error):
    async def play():
        async with linked() as link:
            with pytest.raises(error):
                link.transport.send_descriptor(bad)
            assert link.transport.get_descriptor_queue_size() == 0
            link.transport.write(b"goes on")
            await link.receive(7)

    asyncio.run(play())


@on_a_loop
async def test_a_given_descriptor_closed_behind_the_transports_back(unleaking, files):
    owned = Descriptor.duplicate(files(1)[0])
    async with linked() as link:
        link.transport.give_descriptor(owned)
        owned.close()
        link.transport.write(b"x")
        await link.until(lambda: link.recorder.lost)
        assert isinstance(link.recorder.error, ValueError)
        assert link.transport.unsent == module.Unsent(1, 1)


@on_a_loop
async def test_close_flushes_first(unleaking, files, identities):
    sent = files(3)
    async with linked() as link:
        small_buffer(link)
        for one in sent:
            link.transport.send_descriptor(one)
        link.transport.write(BIG)
        link.transport.close()
        link.transport.close()
        assert link.transport.is_closing()
        await link.receive(len(BIG))
        await link.until(lambda: link.recorder.lost)
        assert link.recorder.error is None
        assert link.came == BIG
        assert identities(link.came_descriptors) == identities(sent)
        assert link.peer.recv(1) == b""


@on_a_loop
async def test_write_eof_flushes_first_and_reading_goes_on(unleaking, files):
    async with linked() as link:
        link.transport.send_descriptor(files(1)[0])
        link.transport.write(b"last")
        assert link.transport.can_write_eof()
        link.transport.write_eof()
        link.transport.write_eof()
        with pytest.raises(RuntimeError):
            link.transport.write(b"more")
        with pytest.raises(TransportClosedError):
            link.transport.send_descriptor(0)
        await link.receive(4)
        await link.turns()
        assert link.peer.recv(1) == b""
        link.peer.send(b"answer")
        await link.until(lambda: link.recorder.data == b"answer")
        link.transport.close()
        await link.until(lambda: link.recorder.lost)
        assert link.recorder.error is None


@on_a_loop
async def test_abort_drops_and_closes_what_is_queued(unleaking, files):
    owned = Descriptor.duplicate(files(1)[0])
    async with linked() as link:
        small_buffer(link)
        link.transport.write(BIG)
        await link.turns()
        link.transport.give_descriptor(owned)
        link.transport.send_descriptor(files(1)[0])
        link.transport.abort()
        assert owned.closed
        await link.until(lambda: link.recorder.lost)
        assert link.recorder.error is None
        assert link.transport.unsent.descriptors == 2
        link.transport.abort()
        await link.turns()
        assert link.recorder.names.count("lost") == 1


@on_a_loop
async def test_after_the_end_nothing_is_taken(unleaking, files, caplog):
    async with linked() as link:
        link.transport.close()
        link.transport.write(b"late")
        assert "dropped" in caplog.text
        owned = Descriptor.duplicate(files(1)[0])
        for call in (lambda: link.transport.send_descriptor(0), lambda: link.transport.give_descriptor(owned)):
            with pytest.raises(TransportClosedError) as caught:
                call()
            assert caught.value.errno == errno.EPIPE
        assert not owned.closed, "it is still the caller's"
        owned.close()


@on_a_loop
async def test_unsent_is_reported_when_the_peer_goes(unleaking, files):
    async with linked() as link:
        small_buffer(link)
        link.transport.write(BIG)
        await link.turns()
        for one in files(3):
            link.transport.send_descriptor(one)
        link.peer.close()
        await link.until(lambda: link.recorder.lost)
        error = link.recorder.error
        assert isinstance(error, UnsentError)
        assert error.errno in (errno.EPIPE, errno.ECONNRESET)
        assert isinstance(error.__cause__, OSError)
        assert error.unsent.descriptors == 3
        assert error.unsent.size > 0
        assert link.transport.unsent == error.unsent


@on_a_loop
async def test_what_had_arrived_is_delivered_when_writing_breaks(unleaking, files, identities):
    """The peer sends and closes, we write before we read: what it sent is not lost over the broken pipe."""
    sent = files(2)
    async with linked() as link:
        await link.turns()
        link.transport.pause_reading()
        for one in sent:
            socket.send_fds(link.peer, [b"m"], [one])
        link.peer.close()
        link.transport.write(b"to nobody")
        link.transport.resume_reading()
        link.transport._flush()
        await link.until(lambda: link.recorder.lost)
        assert link.recorder.data == b"mm"
        assert identities(link.recorder.descriptors) == identities(sent)
        assert isinstance(link.recorder.error, UnsentError)


@on_a_loop
async def test_shortage_in_the_kernel_is_waited_out(unleaking, files, monkeypatch, identities):
    """ETOOMANYREFS and ENOBUFS end nothing: the same goes out later, once."""
    sent, failures = files(1), [errno.ETOOMANYREFS, errno.ENOBUFS]
    real = module.sendmsg

    def short(*arguments):
        if failures:
            raise OSError(failures.pop(), "short")
        return real(*arguments)

    monkeypatch.setattr(module, "sendmsg", short)
    monkeypatch.setattr(module, "_RETRY_DELAY", 0.001)
    async with linked() as link:
        link.transport.send_descriptor(sent[0])
        link.transport.write(b"data")
        await link.receive(4)
        assert failures == []
        assert identities(link.came_descriptors) == identities(sent)


@on_a_loop
async def test_a_descriptor_that_the_peer_refuses(unleaking, files):
    """SO_PASSRIGHTS switched off at the peer (Linux 6.16): the kernel's EPERM, and nothing leaked."""
    async with linked() as link:
        with contextlib.suppress(OSError):  # of setsockopt, on an older kernel
            link.peer.setsockopt(socket.SOL_SOCKET, 83, 0)
            link.transport.send_descriptor(files(1)[0])
            link.transport.write(b"x")
            await link.until(lambda: link.recorder.lost)
            assert link.recorder.error.errno == errno.EPERM
