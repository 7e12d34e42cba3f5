"""`connect` and `serve`: transports of both ends, files of sockets, a full backlog, no descriptor left to accept."""

import asyncio
import contextlib
import os
import socket

import pytest
from fdspec.impls.reference import endpoints
from fdspec.impls.reference.endpoints import connect, serve
from loopkit import DEADLINE, Recorder, free_numbers, on_a_loop


async def until(happened):
    async with asyncio.timeout(DEADLINE):
        while not happened():  # noqa: ASYNC110 - the protocols' events are what is waited for
            await asyncio.sleep(0.001)


class Ends:
    """A server, and its protocols as they are made."""

    def __init__(self) -> None:
        self.served: list[Recorder] = []

    def make(self) -> Recorder:
        self.served.append(Recorder())
        return self.served[-1]


@contextlib.asynccontextmanager
async def connected(path):
    ends = Ends()
    async with await serve(path, ends.make) as server:
        transport, client = await connect(path, Recorder)
        await until(lambda: ends.served and ends.served[0].events)
        yield transport, client, ends.served[0], server
        for one in (client, ends.served[0]):
            one.transport.abort()
            await until(lambda one=one: one.lost)
            one.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_both_ends_pass_descriptors(unleaking, tmp_path, files, identities, abstract):
    path = f"\0fdspec-test-{os.getpid()}" if abstract else str(tmp_path / "socket")
    sent = files(4)

    async def play():
        async with connected(path) as (transport, client, served, server):
            assert client.names == ["made"], "the connection is made when connect() returns"
            assert server.path == (path.encode() if abstract else path)
            assert transport.get_extra_info("peername") == server.path
            for end, mine in ((transport, sent[:2]), (served.transport, sent[2:])):
                for one in mine:
                    end.send_descriptor(one)
                end.write(b"data")
            await until(lambda: client.data == served.data == b"data")
            assert identities(served.descriptors) == identities(sent[:2])
            assert identities(client.descriptors) == identities(sent[2:])
            transport.close()
            await until(lambda: client.lost and served.lost)
            assert client.error is served.error is None

    asyncio.run(play())


@on_a_loop
async def test_the_servers_file_goes_with_it(unleaking, tmp_path):
    path = tmp_path / "socket"
    server = await serve(path, Recorder)
    assert path.is_socket()
    with pytest.raises(OSError, match="Errno"):
        await serve(path, Recorder)
    server.close()
    server.close()
    assert not path.exists()
    with pytest.raises(FileNotFoundError):
        await connect(path, Recorder)


@on_a_loop
async def test_anothers_file_at_the_same_path_stays(unleaking, tmp_path):
    path = tmp_path / "socket"
    async with await serve(path, Recorder):
        path.unlink()
        path.write_text("another's")
    assert path.read_text() == "another's"


@on_a_loop
async def test_nobody_listens(unleaking, tmp_path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "socket"))
        with pytest.raises(ConnectionRefusedError):
            await connect(tmp_path / "socket", Recorder)


@on_a_loop
async def test_a_full_backlog_is_waited_out(unleaking, tmp_path, monkeypatch):
    monkeypatch.setattr(endpoints, "_RETRY_DELAY", 0.001)
    path = str(tmp_path / "socket")
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        listener.bind(path)
        listener.listen(0)
        first = stack.enter_context(socket.socket(socket.AF_UNIX))
        first.connect(path)
        waiting = asyncio.ensure_future(connect(path, Recorder))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        stack.enter_context(listener.accept()[0])
        transport, client = await waiting
        transport.close()
        await until(lambda: client.lost)


@on_a_loop
async def test_connecting_is_given_up(unleaking, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await connect(path, Recorder)


@on_a_loop
async def test_a_factory_that_raises(unleaking, tmp_path):
    reported = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))

    def fail():
        raise LookupError

    path = str(tmp_path / "socket")
    async with await serve(path, fail):
        with pytest.raises(LookupError):
            await connect(path, fail)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            await until(lambda: len(reported) == 2)
            assert client.recv(1) == b"", "the refused connection is closed"
    assert [type(error) for error in reported] == [LookupError, LookupError]


@on_a_loop
async def test_no_number_left_to_accept(unleaking, tmp_path, monkeypatch, caplog):
    """The server looks again later; the connection that waited is served then."""
    monkeypatch.setattr(endpoints, "_ACCEPT_DELAY", 0.001)
    ends = Ends()
    path = str(tmp_path / "socket")
    async with await serve(path, ends.make):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            with free_numbers(0):
                await until(lambda: "cannot accept" in caplog.text)
            await until(lambda: ends.served and ends.served[0].events)
            ends.served[0].transport.abort()
            await until(lambda: ends.served[0].lost)
