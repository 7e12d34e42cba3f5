"""A protocol that writes down what happens to it, and a transport on a socket pair whose other end is a plain socket."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

from fdspec.impls.reference.message import Truncation, recvmsg
from fdspec.impls.reference.transport import Descriptor, DescriptorProtocol, UnixTransport

DEADLINE = 20


class Recorder(DescriptorProtocol):
    """Keeps every event in order, and the descriptors until the test ends."""

    def __init__(self) -> None:
        self.events: list[tuple] = []
        self.descriptors: list[Descriptor] = []
        self.on_descriptor: Callable[[int], object] = lambda index: None
        self.on_data: Callable[[bytes], object] = lambda data: None
        self.keep_open_at_eof = False

    def connection_made(self, transport):
        self.transport = transport
        self.events.append(("made",))

    def descriptor_received(self, descriptor):
        self.events.append(("descriptor",))
        self.on_descriptor(len(self.descriptors))
        self.descriptors.append(descriptor)

    def data_received(self, data):
        self.events.append(("data", data))
        self.on_data(data)

    def eof_received(self):
        self.events.append(("eof",))
        return self.keep_open_at_eof

    def connection_lost(self, exc):
        self.events.append(("lost", exc))

    def pause_writing(self):
        self.events.append(("pause",))

    def resume_writing(self):
        self.events.append(("resume",))

    @property
    def names(self) -> list[str]:
        return [event[0] for event in self.events]

    @property
    def data(self) -> bytes:
        return b"".join(event[1] for event in self.events if event[0] == "data")

    @property
    def lost(self) -> bool:
        return "lost" in self.names

    @property
    def error(self):
        [error] = [event[1] for event in self.events if event[0] == "lost"]
        return error

    def close(self) -> None:
        for one in self.descriptors:
            one.close()


class Plain(asyncio.Protocol):
    """A protocol that knows nothing of descriptors."""

    def __init__(self) -> None:
        self.recorder = Recorder()

    def __getattribute__(self, name):
        if name in (
            "connection_made",
            "data_received",
            "eof_received",
            "connection_lost",
            "pause_writing",
            "resume_writing",
        ):
            return getattr(object.__getattribute__(self, "recorder"), name)
        return object.__getattribute__(self, name)


class Link:
    """A transport with a Recorder, and the other end."""

    def __init__(self, protocol: asyncio.BaseProtocol | None = None, **options) -> None:
        ours, self.peer = socket.socketpair()
        self.ours = ours
        self.peer.setblocking(False)
        self.protocol = protocol or Recorder()
        self.recorder: Recorder = getattr(self.protocol, "recorder", self.protocol)
        self.transport = UnixTransport(ours, self.protocol, **options)
        self.messages: list[tuple[bytes, list[Descriptor]]] = []

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not happened():  # noqa: ASYNC110 - of a socket at the other end there is no event to wait for
                await asyncio.sleep(0.001)

    async def turns(self, count: int = 5) -> None:
        """Let the loop do all that it can do now."""
        for _ in range(count):
            await asyncio.sleep(0)

    def drain(self, size: int = 65536) -> None:
        """Take what has come at the other end."""
        while True:
            try:
                message = recvmsg(self.peer, size, None, truncation=Truncation.KEEP)
            except (BlockingIOError, ConnectionResetError):
                return
            if not message.length and not message.descriptors:
                return
            self.messages.append((message.data, list(message.descriptors)))

    @property
    def came(self) -> bytes:
        return b"".join(data for data, _ in self.messages)

    @property
    def came_descriptors(self) -> list[Descriptor]:
        return [one for _, some in self.messages for one in some]

    async def receive(self, size: int) -> None:
        """Drain in turn with the transport until `size` bytes have come."""

        def enough() -> bool:
            self.drain()
            return len(self.came) >= size

        await self.until(enough)

    async def end(self) -> None:
        self.transport.abort()
        self.peer.close()
        await self.until(lambda: self.recorder.lost)
        self.recorder.close()
        for one in self.came_descriptors:
            one.close()


def on_a_loop(test):
    """Make a test of a coroutine function."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(test(*args, **kwargs))

    return run


@contextlib.contextmanager
def free_numbers(count):
    """Leave this process `count` free descriptor numbers."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    fillers = []
    while (filler := os.dup(0)) <= highest:
        fillers.append(filler)
    os.close(filler)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + count, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)
        for filler in fillers:
            os.close(filler)
