"""Executes programs within this process and judges them while it does, by what `account` says must come.

A `Stage` keeps sockets and pipes from program to program: what a program has left clean the next one uses again. One in a process
at a time, and no other thread may open descriptors meanwhile. The handlers of the operations are in `acts`.
"""

from __future__ import annotations

import gc
import os
import resource
import socket
from collections.abc import Callable, Sequence
from typing import Any

from ...conformance.census import same_description
from ...conformance.model.operations import NOWHERE, Kind, Number, Released
from ..judgement import END, Breach, Verdict, Violation
from ..operations import Operation
from ..program import Program, Side, System
from ..run.shown import CLOSED, UNKNOWN, Execution, Left, Shown
from .account import KINDS, End, Link, Pipe, identity_of
from .apis import Api, CannotDo

FEW_LINKS = 4
"""Connections of one type that are kept, as many as a program can have."""
FEW_PIPES = 64
SAME = 65536
"""Different sets of behaviour that are kept as they are."""
Behaviour = tuple[type[Operation] | str | int, ...]
"""What one operation came to: its type, and words for it."""
_RLIMIT = resource.RLIMIT_NOFILE


class Stage:
    """Where programs of one API are executed. Close it when done."""

    def __init__(self, api: Api, acts: dict[type[Operation], Callable[[Stage, Any], None]]) -> None:
        self.api = api
        self.acts = acts
        self.careful = False
        self._links: dict[Kind, list[Link]] = {kind: [] for kind in Kind}
        self._pipes: list[Pipe] = []
        self._dead = {kind: _dead(kind) for kind in Kind}
        self._table = os.open("/proc/self/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._counts = os.fstat(self._table).st_size > 0  # since Linux 6.2
        self._features: dict[tuple[Behaviour, ...], Verdict] = {}
        self._expected = self.count() + 2
        self._begin(Link(Kind.STREAM))
        self._finish()

    def close(self) -> None:
        """Close everything."""
        for link in (link for links in self._links.values() for link in links):
            link.close()
        for pipe in self._pipes:
            pipe.close(writer=True)
        self._links = {kind: [] for kind in Kind}
        self._pipes.clear()
        if self._table >= 0:
            os.close(self._table)
            self._table = -1

    # ---- programs ------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Take what is open now for what has to be open: this process may have opened and closed things of its own."""
        self._expected = self.count()

    def run(self, program: Program) -> Verdict:
        """Execute a program and say what was wrong with it."""
        if program.side is not Side.CLIENT or program.system is not System.HOST or program.profile != self.api.profile:
            return Verdict(unsupported=f"within a process there is no {program.side} on {program.system}")
        links = self._links[program.type]
        self._begin(links.pop() if links else self._new_link(program.type))
        acts, at, operations = self.acts, 0, program.operations
        self.asks = Released in map(type, operations)
        try:
            for at, operation in enumerate(operations):
                self.at = at
                acts[type(operation)](self, operation)
        except CannotDo as lack:
            self.wrong_at = None
            self.doubt_all()
            self._finish()
            return Verdict(unsupported=f"the API has no {lack}")
        except KeyError:
            if type(operations[at]) in acts:
                raise
            self.doubt_all()
            self._finish()
            return Verdict(unsupported=f"within a process there is no {operations[at].__struct_config__.tag}")
        self.at = len(operations)
        self._finish()
        if self.wrong_at is not None:
            return Verdict((self.wrong_at,), frozenset(map(_in_words, self.seen)))
        key = tuple(self.seen)
        verdict = self._features.get(key)
        if verdict is None:
            verdict = Verdict(features=frozenset(map(_in_words, key)))
            if len(self._features) < SAME:
                self._features[key] = verdict
        return verdict

    def observe(self, program: Program) -> tuple[Verdict, Execution]:
        """Execute a program with a look at the table after every operation, and tell what each showed."""
        gc.collect()  # what is closed by a collection later on is none of the program's doing
        self.settle()
        self.careful = True
        self.told: list[Shown | None] = []
        plain = self.acts
        self.acts = {kind: _watched(act) for kind, act in plain.items()}
        try:
            verdict = self.run(program)
        finally:
            self.acts = plain
            self.careful = False
        shown = (*self.told, *[None] * (len(program.operations) - len(self.told)))
        return verdict, Execution(program, shown, Left(leaked=tuple(self.leaked)), careful=True)

    def _begin(self, link: Link) -> None:
        link.clean = False
        a, b = link.a, link.b
        a.label, b.label = "t0", "p0"
        self.profile = self.api.profile
        self.type = link.kind
        self.links = [link]
        self.ends: dict[str, End] = {"t0": a, "p0": b}
        self.numbers: dict[str, int] = {"t0": a.fd, "p0": b.fd}
        self.labels: dict[str, str] = {"t0": "t0", "p0": "p0"}
        """Of every name whose number is open: what it refers to."""
        self.files: dict[tuple[int, int], str] = {a.identity: "t0", b.identity: "p0"}
        self.pipes: dict[str, Pipe] = {}
        self.asks = False
        """Whether the program asks if an object is released. Only then is its number the only writer of its pipe."""
        self.taken: list[str] = []
        """The names of descriptors that came."""
        self.kept: list[int] = []
        """Numbers that are this side's own, and no program's: the other ends of sockets that are passed."""
        self.borrowed: list[socket.socket] = []
        self.free: int | None = None
        self.seen: list[Behaviour] = []
        self.leaked: list[str] = []
        self.wrong_at: Violation | None = None
        self.shown = Shown()
        self.at = 0

    def _finish(self) -> None:
        """Look at what is left, close it, and count."""
        for one in self.borrowed:
            one.detach()
        for link in self.links:
            a, b = link.a, link.b
            if not (a.loose or a.doubtful or b.doubtful):
                if link.poll.poll(0) or a.inbox or b.inbox:
                    self._look(link)
                else:
                    link.clean = True
        numbers = self.numbers
        for name in self.taken:
            if name in numbers:
                try:
                    os.close(numbers[name])
                except OSError:
                    self.wrong(
                        None, Breach.STRAY_CLOSE, "LC02", f"{name} was open, and somebody has closed it", "it is open"
                    )
        self._end()
        if (count := self.count()) != self._expected:
            self._miscounted(count)

    def _look(self, link: Link) -> None:
        """See whether something waits where something must, and nothing where nothing may."""
        there = {fd for fd, _ in link.poll.poll(0)}
        for end in (link.a, link.b):
            if (end.fd in there) != bool(end.inbox):
                text = f"at {end.label} {'nothing' if end.inbox else 'something'} waits to be received at the end"
                self.wrong(None, Breach.DATA, "V01", text, f"{len(end.inbox)} messages wait there")
                end.doubtful = True

    def _end(self) -> None:
        """Close what the program has left, and keep what another can use."""
        for number in self.kept:
            os.close(number)
        self._expected -= len(self.kept)
        for link in self.links:
            kept = self._links[link.kind]
            if len(kept) < FEW_LINKS and link.clean:
                kept.append(link)
            else:
                self._expected -= 2
                link.close()
        for name, pipe in self.pipes.items():
            if not self.asks and len(self._pipes) < FEW_PIPES:
                self._pipes.append(pipe)
            else:
                pipe.close(writer=not self.asks or name in self.numbers)
                self._expected -= 2

    def _miscounted(self, count: int) -> None:
        """Say that there are more or fewer descriptors than there have to be; close what can be known to be too many."""
        gc.collect()
        count = self.count()
        surplus, self._expected = count - self._expected, count
        if not surplus:
            return
        if surplus < 0:
            text = f"{-surplus} descriptors fewer are open than before"
            self.wrong(None, Breach.STRAY_CLOSE, "LC02", text, "those that were open before are open")
            return
        own = {fd for links in self._links.values() for link in links for fd in (link.a.fd, link.b.fd)}
        own |= {fd for pipe in self._pipes for fd in (pipe.reader, pipe.writer)}
        for name in os.listdir("/proc/self/fd"):
            label = self.files.get(_identity(int(name)))
            if label is not None and int(name) not in own:
                os.close(int(name))
                self._expected -= 1
                self.leaked.append(label)
        what = ", ".join(sorted(self.leaked)) or f"{surplus} descriptors that are none of the program's"
        self.wrong(None, Breach.LEAK, "LC01", f"left open, and nobody has the number: {what}", "nothing is left open")

    def owed(self) -> int:
        """Return how many descriptors have to be open now, as far as this program and what is kept are concerned."""
        there, numbers = self._expected, self.numbers
        there += sum(name in numbers for name in self.taken)
        there -= self.asks and sum(name not in numbers for name in self.pipes)
        return there - sum(end.closed for end in self.ends.values())

    def count(self) -> int:
        """Return how many descriptors this process has open."""
        return os.fstat(self._table).st_size if self._counts else len(os.listdir(self._table))

    # ---- what handlers use ---------------------------------------------------------------------------------------------

    def wrong(self, op: Operation | None, breach: Breach, requirement: str, message: str, *permitted: str) -> None:
        """Take note of a violation at ``op`` (None: at the end). The first one counts, and after it nothing is certain."""
        if self.wrong_at is None:
            verb = END if op is None else op.__struct_config__.tag
            name = getattr(op, "name", "t")
            who = "peer" if isinstance(name, str) and name[:1] in "pgq" else "testee"
            place = f"{self.profile}/{self.type}/{who}"
            self.wrong_at = Violation(breach, requirement, self.at, str(verb), place, message, permitted)
        self.doubt_all()

    def doubt_all(self) -> None:
        """From now on nothing is predicted."""
        for link in self.links:
            link.a.doubtful = link.b.doubtful = True

    def number(self, name: Number) -> int:
        """Return the number that a name stands for; one that is never open for one that is closed."""
        return name if isinstance(name, int) else self.numbers.get(name, NOWHERE)

    def end(self, name: str) -> tuple[socket.socket, End | None]:
        """Return a socket to call, and the end that it is; None where it is no end of a connection, or nothing at all."""
        end = self.ends.get(name)
        if end is not None:
            return (self._dead[end.kind], None) if end.closed else (end.sock, end)
        number = self.numbers.get(name, NOWHERE)
        end = self.ends.get(self.labels.get(name, ""))
        kind = self.type if end is None else end.kind
        if number == NOWHERE:
            return self._dead[kind], None
        try:
            sock = socket.socket(socket.AF_UNIX, KINDS[kind], 0, number)
        except OSError:  # it is no socket
            return self._dead[kind], None
        self.borrowed.append(sock)
        return sock, end

    def new_pipe(self) -> Pipe:
        """Return a pipe for an object of the program."""
        if self._pipes:
            return self._pipes.pop()
        self._expected += 2
        return Pipe()

    def _new_link(self, kind: Kind) -> Link:
        self._expected += 2
        return Link(kind)

    def link(self, kind: Kind) -> None:
        """Add a connection to the program."""
        links, number = self._links[kind], len(self.links)
        link = links.pop() if links else self._new_link(kind)
        link.clean = False
        link.a.label, link.b.label = f"t{number}", f"p{number}"
        self.links.append(link)
        for end in (link.a, link.b):
            self.ends[end.label] = end
            self.add(end.label, end.fd, end.label, end.identity)

    def add(self, name: str, number: int, label: str, identity: tuple[int, int]) -> None:
        """Take note of something new that is open."""
        self.numbers[name] = number
        self.labels[name] = label
        self.files[identity] = label

    def keep(self, *numbers: int) -> None:
        """Close these numbers when the program is over."""
        self.kept += numbers
        self._expected += len(numbers)

    def take(self, op: Operation, prefix: str, fds: Sequence[int]) -> tuple[str, ...]:
        """Give the descriptors that came their names, and return what each refers to."""
        files = self.files
        found: list[str] = []
        prefix = prefix or f"{self.at}_"  # more came than there was room for
        for index, fd in enumerate(fds):
            try:
                label = files.get(identity_of(fd), UNKNOWN)
            except OSError:
                found.append(CLOSED)
                continue
            name = f"{prefix}{index}"
            found.append(label)
            self.numbers[name] = fd
            self.labels[name] = label
            self.taken.append(name)
        if UNKNOWN in found or CLOSED in found:
            what = "is not open" if CLOSED in found else "is none of the program's"
            self.wrong(
                op, Breach.IDENTITY, "LC05", f"a descriptor came that {what}: {' '.join(found)}", "what was sent"
            )
        return tuple(found)

    def limited(self, call: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the call returns
        """Make a call while exactly ``free`` numbers can be had."""
        limit = free = 0
        while free < (self.free or 0):  # a listing of the table would have a number of its own
            free += _identity(limit) == _NONE
            limit += 1
        soft, hard = resource.getrlimit(_RLIMIT)
        resource.setrlimit(_RLIMIT, (limit, hard))
        try:
            return call()
        finally:
            resource.setrlimit(_RLIMIT, (soft, hard))

    def shares(self, fd: int, label: str) -> bool | None:
        """Whether a number shares the open file description of what it is said to refer to; None where nobody can tell."""
        pipe, end = self.pipes.get(label), self.ends.get(label)
        other = pipe.writer if pipe is not None else end.fd if end is not None and not end.closed else None
        if other is None or label not in self.numbers:
            return None
        return same_description(os.getpid(), fd, os.getpid(), other)


def _in_words(behaviour: Behaviour) -> str:
    return ":".join(
        str(one.__struct_config__.tag) if isinstance(one, type) else str(one) for one in behaviour if one != ""
    )


def _watched(act: Callable[[Stage, Any], None]) -> Callable[[Stage, Any], None]:
    """Return a handler that counts as well, so that a leak shows at the operation at which it happens."""

    def watched(stage: Stage, op: Operation) -> None:
        before = stage.count() - stage.owed()
        stage.shown = Shown()
        act(stage, op)
        stage.told.append(stage.shown)
        surplus = stage.count() - stage.owed() - before
        if surplus > 0:
            stage.wrong(
                op, Breach.LEAK, "LC01", f"{surplus} descriptors more are open, and nobody has them", "none more"
            )
        elif surplus < 0:
            stage.wrong(op, Breach.STRAY_CLOSE, "LC02", f"{-surplus} descriptors are gone that nobody closed", "none")

    return watched


def _dead(kind: Kind) -> socket.socket:
    """Return a socket object without a number: every call ends in EBADF."""
    sock = socket.socket(socket.AF_UNIX, KINDS[kind])
    os.close(sock.detach())
    return sock


_NONE = (-1, -1)


def _identity(fd: int) -> tuple[int, int]:
    """Return the identity of a number; of one that is not open one that nothing has."""
    try:
        return identity_of(fd)
    except OSError:
        return _NONE
