"""Two processes, each with a table of descriptors of its own, made to perform a sequence between them."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
from multiprocessing import get_context

from fdspec.conformance.model import Close, Kind, NewSocket, Open, Released
from fdspec.conformance.model.kernel import Kernel
from fdspec.conformance.model.trial import become
from msgspec.structs import replace

TYPES = {Kind.STREAM: socket.SOCK_STREAM, Kind.DGRAM: socket.SOCK_DGRAM, Kind.SEQPACKET: socket.SOCK_SEQPACKET}


class Twin(Kernel):
    """One of the two. Everything that the other must know comes and goes as values."""

    listener = None

    def perform(self, operation, files):
        """Execute an operation; ``files`` are those that both know by now."""
        self._files = dict(files)
        seen = self.execute(operation)
        return seen, self._files

    def socket(self, kind, name, files):
        """Make an end; return its file and its address."""
        self.perform(NewSocket(kind, name), files)
        with self._view(name) as view:
            view.bind("")
            return view.getsockname(), self._files

    def listen(self, kind):
        """Listen for one connection, with a number of the runner's own."""
        with self._roomy():
            one = socket.socket(socket.AF_UNIX, TYPES[kind])
            one.bind("")
            one.listen(1)
            self.listener = socket.socket(fileno=self._up(one.detach()))
        return self.listener.getsockname()

    def accept(self, name, files):
        """Accept it, into the sequence's table."""
        self._files = dict(files)
        number, _ = self.listener._accept()
        self._drop(self.listener.detach())
        os.set_blocking(number, False)
        facts = os.fstat(number)
        self._names[name] = number
        self._files[facts.st_dev, facts.st_ino] = len(self._files)
        return self._files

    def connect(self, name, address):
        """Connect an end to an address."""
        with self._view(name) as view:
            view.connect(address)

    @contextlib.contextmanager
    def _view(self, name):
        view = socket.socket(fileno=self._names[name])
        try:
            yield view
        finally:
            view.detach()

    def forget(self, name):
        """Let a name stand for nothing."""
        self._names.pop(name, None)


def _serve(commands, answers, user):
    gc.disable()
    if user:
        become(user)
    with Twin(alone=bool(user)) as twin:
        while True:
            name, arguments = commands.recv()
            if name == "stop":
                return
            answers.send(getattr(twin, name)(*arguments))


class Twins:
    """Both of them, as processes 0 and 1. Use it as a context manager."""

    def __init__(self, user=0):
        fork = get_context("fork")
        self.ends, self.processes = [], []
        for _ in range(2):
            (theirs, commands), (answers, ours) = fork.Pipe(duplex=False), fork.Pipe(duplex=False)
            process = fork.Process(target=_serve, args=(theirs, ours, user))
            process.start()
            theirs.close()
            ours.close()
            self.ends.append((commands, answers))
            self.processes.append(process)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for commands, _ in self.ends:
            with contextlib.suppress(OSError):
                commands.send(("stop", ()))
        for process, (commands, answers) in zip(self.processes, self.ends, strict=True):
            process.join(10)
            process.kill()
            process.join()
            commands.close()
            answers.close()

    def ask(self, actor, name, *arguments):
        """Have one of them do something."""
        commands, answers = self.ends[actor]
        commands.send((name, arguments))
        return answers.recv()

    def begin(self):
        """Start a sequence and return where it runs."""
        self.files, self.openers = {}, {}
        here, there = self.ask(0, "begin"), self.ask(1, "begin")
        return replace(here, peer_ids=there.ids, peer_taken=there.taken, peer_limit=there.limit)

    def end(self):
        """Close everything."""
        for actor in (0, 1):
            self.ask(actor, "end")

    def execute(self, actor, operation, *, forget=False):
        """Have a process perform an operation."""
        seen, self.files = self.ask(actor, "perform", operation, self.files)
        if isinstance(operation, Open) and not seen.error:
            self.openers[operation.name] = actor
        if isinstance(operation, Close) and forget:
            self.ask(actor, "forget", operation.name)
        return seen

    def watcher(self, operation, actor):
        """Return who can perform an operation: the pipe of an object is watched by whoever opened it last."""
        return self.openers.get(operation.name, actor) if isinstance(operation, Released) else actor

    def connect(self, kind, a, b):
        """Connect an end of process 0 with one of process 1, as programs that do not know each other do."""
        if kind is Kind.DGRAM:
            here, self.files = self.ask(0, "socket", kind, a, self.files)
            there, self.files = self.ask(1, "socket", kind, b, self.files)
            self.ask(1, "connect", b, here)
            self.ask(0, "connect", a, there)
            return
        address = self.ask(1, "listen", kind)
        _, self.files = self.ask(0, "perform", NewSocket(kind, a), self.files)
        self.ask(0, "connect", a, address)
        self.files = self.ask(1, "accept", b, self.files)
