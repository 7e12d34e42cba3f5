"""One implementation on the bench: its testee, kept alive while its census is clean, and the account after every case.

The order of things, for every case:

1. The testee's table is known (the baseline), and the harness's own.
2. The testee connects to the harness's socket in a private directory; a stranger is turned away.
3. The case runs.
4. What the testee opened at our request must still be there and refer to the same thing, or something closed it: a stray close.
5. ``reset``, then the table must be the baseline again: what is left over is a leak, what is missing a stray close.
6. After any anomaly the testee's process group is killed, and the next case gets a fresh testee.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..impls.constants import SOCKET_KINDS
from ..impls.errors import Broken, StartFailed, TesteeError, Unsupported
from ..impls.process import Launch, Line, Testee, spawn
from ..impls.protocol.messages import Connect, Receiver, Reset, TransportAccept, TransportConnect, TransportListen
from ..impls.protocol.results import FdResult, HelloResult, ResetResult, TransportResult
from ..impls.protocol.values import Profile, SocketType
from .census import Identity, Table
from .interpose.kernel import Kernel
from .interpose.launcher import execute
from .link import DescriptorsLink, Link, MessageLink, PeerLink, require
from .objects import Objects, Pool
from .peer import Peer, accept
from .raw import RawLink
from .records import Open, Verdict
from .transport import TransportLink

LOG_TAIL = 4000
"""Bytes of the testee's standard error that a record keeps."""
OWN_KINDS = (
    "anon_inode:[eventpoll]",
    "anon_inode:[eventfd]",
    "anon_inode:[timerfd]",
    "anon_inode:[signalfd]",
    "pipe:[",
    "/dev/",
    "/proc/",
    "/sys/",
)
"""What a runtime may lazily open for itself: none of our objects is of such a kind."""


class HarnessFault(Exception):
    """The harness itself went wrong; no verdict about an implementation may come of it."""


@dataclass(frozen=True)
class Problem:
    """Something the account found: its verdict, a stable reason, and a sentence."""

    verdict: Verdict
    reason: str
    message: str


@dataclass
class Account:
    """The account of one case: the problems, and where there were any the censuses before it and after its reset."""

    problems: list[Problem]
    before: list[Open]
    after: list[Open]


WORST = (Verdict.BROKEN, Verdict.CRASH, Verdict.TIMEOUT, Verdict.FAIL, Verdict.LEAK)
"""Of several problems the first of these is the case's verdict."""


def worst(problems: Sequence[Problem]) -> Problem | None:
    """Return the problem that is the verdict of a case; None where there is none."""
    return min(problems, key=lambda one: WORST.index(one.verdict), default=None)


class Bench:
    """One implementation and its testee. Not for more than one case at a time."""

    def __init__(self, launch: Launch, kernel: Kernel | None = None) -> None:
        """``kernel``: stands between every testee of this bench and its kernel, and is closed with the bench."""
        if kernel is not None:
            starter = execute if launch.starter is spawn else launch.starter
            launch = replace(launch, starter=kernel.starter(starter))
        self.kernel = kernel
        self._launch = launch
        self._directory = Path(tempfile.mkdtemp(prefix="fdspec-"))  # mkdtemp makes it 0700
        self._pool = Pool(self._directory)
        self._listeners: dict[SocketType, tuple[socket.socket, str]] = {}
        self._testee: Testee | None = None
        self._table: Table | None = None
        self._baseline: dict[int, Identity] = {}
        self._before: list[Open] = []
        self._started = 0
        self._failed_starts = 0
        self._homes = 0
        self._serial = 0
        self._warm: set[tuple[str, str]] = set()
        self._link: Link | None = None
        self._objects: Objects | None = None
        self._failure: StartFailed | None = None
        self._log_mark = 0
        self._own = 0
        self._hello: HelloResult | None = None
        self.outcome = ""
        """The named outcome of the last case, where its requirement permits several."""
        self.lines: list[Line] = []
        """The transcript of the present case, or of the last one."""
        self.noise: list[str] = []

    # --- the testee ----------------------------------------------------------------------------------------------------

    @property
    def testee(self) -> Testee:
        """The running testee, started if need be. Raises `StartFailed`, at once the second time."""
        if self._testee is None:
            if self._failure is not None:
                raise self._failure
            home = self._directory / f"home-{self._homes}"
            home.mkdir(0o700)
            try:
                self._testee = Testee(self._launch, home)
            except StartFailed as failure:
                if self.kernel is not None:
                    self.kernel.retire()
                self._failed_starts += 1
                if not self._started or self._failed_starts > 1:  # every further attempt would cost a deadline
                    self._failure = failure
                raise
            finally:
                self._homes += 1
            self._started += 1
            self._failed_starts = 0
            self._hello = self._testee.hello
            self._table = Table(self._testee.pid)
            self._warm.clear()
        return self._testee

    def retire(self) -> None:
        """Kill the testee, if there is one; the next case gets a fresh one."""
        if self._table is not None:
            self._table.close()
            self._table = None
        if self._testee is not None:
            self._testee.kill()
            self._testee = None
        if self.kernel is not None:
            self.kernel.retire()

    def close(self) -> None:
        """End everything and remove the private directory."""
        self.retire()
        if self.kernel is not None:
            self.kernel.close()
        for listener, _ in self._listeners.values():
            listener.close()
        self._pool.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    # --- a case --------------------------------------------------------------------------------------------------------

    def begin(
        self,
        profile: Profile,
        type_: SocketType,
        *,
        side: str = "",
        receiver: Receiver | None = None,
        needs: Sequence[str] = (),
    ) -> Link:
        """Connect the implementation in ``profile`` and return the link. Raises `TesteeError`.

        ``needs``: capabilities without which the case is unsupported, and nothing is asked.
        """
        testee = self.testee
        self._new_page(testee)
        offer = testee.hello.profiles.get(profile)
        if offer is None:
            raise Broken("profile", f"the manifest lists profile {profile.value}, hello does not offer it")
        if type_ not in offer.types:
            raise Unsupported("type", f"{type_.value} sockets are not offered in profile {profile.value}")
        require(offer, profile, *([side] if side else []), *needs)
        self._warm_up(profile, type_, side)
        self._new_page(testee)
        link = self._connect(profile, type_, side, receiver or Receiver())
        if self.kernel is not None:
            self.kernel.watch(
                self._connection(link), lambda one: link.objects.of(one) is not None, link.intervened, link.groups
            )
        return link

    def _connection(self, link: Link) -> list[Identity]:
        """Return the sockets of the connection under test. A transport may keep its number to itself."""
        table = self._the_table
        if link.fd >= 0:
            found = table.identity(link.fd)
            return [] if found is None else [found]
        now = table.identities()
        return [one for fd, one in now.items() if self._baseline.get(fd) != one and table.is_socket(fd)]

    def _new_page(self, testee: Testee) -> None:
        """Begin a transcript."""
        self.lines = testee.lines = []
        self.noise = testee.noise = []
        self._log_mark = testee.log_mark()

    def _warm_up(self, profile: Profile, type_: SocketType, side: str) -> None:
        """Connect once and reset, so that what a runtime opens for itself on first use is in the baseline."""
        if (profile.value, side) in self._warm:
            return
        testee, table = self.testee, self._the_table
        link = self._connect(profile, type_, side, Receiver())
        testee.ask(Reset(close=[]))
        self._drop(link)
        self._baseline = table.identities()
        self._before = table.full({})
        self._warm.add((profile.value, side))

    @property
    def _the_table(self) -> Table:
        if self._table is None:
            raise HarnessFault("there is no testee whose table could be looked at")
        return self._table

    def _connect(self, profile: Profile, type_: SocketType, side: str, receiver: Receiver) -> Link:
        self._own = self._own_count()
        objects = self._objects = Objects(self._pool)
        common = (self.testee, self._the_table, objects, type_)
        match profile:
            case Profile.MESSAGE:
                self._link = MessageLink(*common, self._call_peer)
            case Profile.DESCRIPTORS:
                self._link = DescriptorsLink(*common, self._call_peer)
            case Profile.TRANSPORT:
                connect = self._client_peer if side != "server" else self._server_peer
                self._link = TransportLink(*common, connect, side=side, receiver=receiver)
            case Profile.RAW:
                self._link = RawLink(*common)
            case Profile.CODEC:
                raise Unsupported("profile", f"no case of profile {profile.value} exists yet")
        return self._link

    def _listener(self, type_: SocketType) -> tuple[socket.socket, str]:
        if type_ not in self._listeners:
            listener = socket.socket(socket.AF_UNIX, SOCKET_KINDS[type_])
            path = str(self._directory / f"listen-{type_.value}")
            listener.bind(path)
            listener.listen(16)
            self._listeners[type_] = (listener, path)
        return self._listeners[type_]

    def _call_peer(self, link: PeerLink) -> Peer:
        if link.type is SocketType.DGRAM:
            return self._datagram_peer(link)
        listener, path = self._listener(link.type)
        link.fd = _fd(link.do(Connect(address=path, type=link.type)).result)
        return Peer(accept(listener, link.testee.own), link.told)

    def _datagram_peer(self, link: PeerLink) -> Peer:
        self._serial += 1
        ours, theirs = (str(self._directory / f"{end}-{self._serial}") for end in ("peer", "testee"))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.bind(ours)
            link.fd = _fd(link.do(Connect(address=ours, type=link.type, bind=theirs)).result)
            sock.connect(theirs)
            os.unlink(theirs)  # noqa: PTH108 - hot path; the name has served
        except BaseException:
            sock.close()
            raise
        return Peer(sock, link.told, ours)

    def _client_peer(self, link: PeerLink) -> Peer:
        assert isinstance(link, TransportLink)  # noqa: S101 - made so above
        listener, path = self._listener(link.type)
        made = link.do(TransportConnect(address=path, receiver=link.receiver)).result
        return self._transport_peer(link, made, accept(listener, link.testee.own))

    def _server_peer(self, link: PeerLink) -> Peer:
        assert isinstance(link, TransportLink)  # noqa: S101 - made so above
        self._serial += 1
        path = self._directory / f"serve-{self._serial}"
        listening = link.do(TransportListen(address=str(path), receiver=link.receiver)).result
        sock = socket.socket(socket.AF_UNIX, SOCKET_KINDS[link.type])
        try:
            sock.connect(str(path))
            path.unlink()
            made = link.do(TransportAccept(transport=_handle(listening))).result
        except BaseException:
            sock.close()
            raise
        return self._transport_peer(link, made, sock)

    @staticmethod
    def _transport_peer(link: TransportLink, made: object, sock: socket.socket) -> Peer:
        link.transport = _handle(made)
        link.fd = made.fd if isinstance(made, TransportResult) else -1
        link.side = link.wanted_side
        return Peer(sock, link.told)

    # --- the account ---------------------------------------------------------------------------------------------------

    def settle(self, *, failed: bool = False) -> Account:
        """End the case: reset, count, and say what is wrong. Never raises a `TesteeError`.

        With ``failed``, both censuses are kept whatever they show.
        """
        link = self._link
        self.outcome = link.outcome if link is not None else ""
        if link is None:
            self._release()
            return Account([], [], [])
        problems: list[Problem] = []
        after: list[Open] = []
        try:
            if self._testee is None:
                raise HarnessFault("the testee of this case was retired before its account was taken")
            if self.kernel is not None:
                self._rest(self.kernel)
            self._testee.check()
            table = self._the_table
            link.restore_slots()
            now = table.identities()
            problems += self._stray_closes(link, now)
            listed = dict.fromkeys([*link.opened, *link.received])
            mine = [fd for fd in listed if fd in now and self._baseline.get(fd) != now[fd] and fd not in link.connected]
            if self.kernel is not None:  # closed already, as far as the testee goes
                mine += [fd for fd, one in now.items() if one == self.kernel.marker and fd not in mine]
                mine += [fd for fd in self.kernel.untold if link.objects.of(now.get(fd)) and fd not in mine]
            problems += self._reset(link, mine)
            problems += self._left_over(link)
            if failed or problems:
                after = table.full(self._owners(link))
        except TesteeError as failure:
            problems.append(problem_of(failure))
        if problems:
            self.retire()
        self._drop(link)
        return Account(problems, self._before if failed or problems else [], after)

    def excuse(self, failure: BaseException | None) -> BaseException | None:
        """Return what a case ended in that raised ``failure``: Unsupported where the kernel in the middle makes it say nothing.

        That is so where it could not do what was needed, where a case passed although a planned fault never acted, and where
        one failed on a system that leaks by itself.
        """
        if self.kernel is None:
            return failure
        reason = self.kernel.impossible or ("" if failure is not None else self.kernel.idle())
        if isinstance(failure, AssertionError) and self.kernel.system is not None and self.kernel.untold:
            name = self.kernel.system.personality.name
            reason = f"{name} itself leaves descriptors open here of which it tells nobody: {failure}"
        return Unsupported("interposer", reason) if reason else failure

    @staticmethod
    def _rest(kernel: Kernel) -> None:
        """Let every call go on from now on. Raises `HarnessFault` where the kernel in the middle went wrong itself."""
        kernel.rest()
        faults = kernel.faults()
        if faults:
            raise HarnessFault(f"the interposer could not answer a call: {faults[0]!r}") from faults[0]

    @staticmethod
    def _stray_closes(link: Link, now: dict[int, Identity]) -> list[Problem]:
        return [
            Problem(
                Verdict.FAIL,
                "stray-close",
                f"the caller's descriptor {fd} {'was closed' if fd not in now else 'refers to something else now'}"
                " although nobody asked for that",
            )
            for fd, identity in link.opened.items()
            if now.get(fd) != identity
        ]

    @staticmethod
    def _reset(link: Link, mine: list[int]) -> list[Problem]:
        reply = link.ask(Reset(close=mine))
        if not isinstance(reply.result, ResetResult):
            return [Problem(Verdict.BROKEN, "reset", f"reset must be answered with a result: {reply.error}")]
        return [
            Problem(
                Verdict.FAIL,
                "stray-close",
                f"descriptor {one.fd} was closed behind the caller's back: close(2) says {one.errno}",
            )
            for one in reply.result.failed
        ]

    def _left_over(self, link: Link) -> list[Problem]:
        table = self._the_table
        now = table.identities()  # the count alone would miss one leaked and one closed
        if now == self._baseline:
            return []
        owners = self._owners(link)
        problems: list[Problem] = []
        for fd, identity in sorted(now.items()):
            if self._baseline.get(fd) == identity:
                continue
            if fd in self._baseline:
                problems.append(
                    Problem(
                        Verdict.FAIL,
                        "stray-close",
                        f"descriptor {fd} of the testee itself refers to something else now",
                    )
                )
            elif link.profile is Profile.RAW or identity in owners or not table.target(fd).startswith(OWN_KINDS):
                what = owners.get(identity, table.target(fd))
                problems.append(Problem(Verdict.LEAK, "leak", f"descriptor {fd} is still open after reset: {what}"))
            else:
                self._baseline[fd] = identity  # the runtime's own, opened lazily
        problems += [
            Problem(Verdict.FAIL, "stray-close", f"descriptor {fd} of the testee itself was closed")
            for fd in sorted(self._baseline.keys() - now.keys())
        ]
        return problems

    @staticmethod
    def _owners(link: Link) -> dict[Identity, str]:
        owners = {identity: thing.name for identity, thing in link.objects.known().items()}
        owners.update((identity, f"opened as {fd}") for fd, identity in link.opened.items() if identity not in owners)
        return owners

    def _drop(self, link: Link) -> None:
        link.end()
        self._link = None
        self._release()

    def _release(self) -> None:
        """Close what the harness made for the case, and take the harness's own census."""
        if self._objects is not None:
            self._objects.close()
            self._objects = None
            now = self._own_count()
            if now != self._own:
                self.retire()
                raise HarnessFault(
                    f"the harness holds {now - self._own:+d} descriptors after the case; it had {self._own} of its own"
                )

    def _own_count(self) -> int:
        """Return the number of the harness's own open descriptors without those that the bench keeps by design."""
        kept = len(self._pool.files) + len(self._listeners)
        kept += (self._testee.held if self._testee is not None else 0) + (self._table is not None)
        kept += self.kernel.descriptors if self.kernel is not None else 0
        return len(os.listdir("/proc/self/fd")) - kept

    @property
    def hello(self) -> HelloResult | None:
        """What the testee said of itself, once it has been started."""
        return self._hello

    def log(self) -> str:
        """Return what the testee wrote to standard error during the case."""
        return self._testee.log_text(self._log_mark, LOG_TAIL) if self._testee is not None else ""


def _fd(result: object) -> int:
    if not isinstance(result, FdResult):
        raise Broken("operation", f"a new descriptor was expected, {result!r} came")
    return result.fd


def _handle(result: object) -> int:
    if not isinstance(result, TransportResult):
        raise Broken("operation", f"a new transport was expected, {result!r} came")
    return result.transport


VERDICTS: dict[str, Verdict] = {
    "StartFailed": Verdict.CRASH,
    "Crashed": Verdict.CRASH,
    "TimedOut": Verdict.TIMEOUT,
    "Broken": Verdict.BROKEN,
    "Unsupported": Verdict.UNSUPPORTED,
}


def problem_of(failure: TesteeError) -> Problem:
    """Return the verdict that a testee's failure amounts to."""
    return Problem(VERDICTS[type(failure).__name__], failure.code, str(failure))
