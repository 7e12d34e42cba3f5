"""A cluster of Dask's workers, as far as a campaign needs one. The only module that speaks to Dask's client.

Every request is for one worker, and Dask neither moves nor repeats it: which worker died over what is known here, and who does it
next is the campaign's to say.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import re
import threading
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from importlib import metadata
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from . import far_worker

CONNECT = 10.0
"""Seconds within which a scheduler has to answer."""
LATE = 3.0
"""Seconds beyond that after which Dask is no longer waited for."""
COLLECT = 60.0
"""Seconds within which a result that is ready has to come."""
SCHEMES = ("tcp", "tls", "ws", "wss")


_QUESTIONS: tuple[tuple[Any, ...], ...] = ((metadata.version, "fdspec"), (far_worker.about,))
"""What a worker is asked; the first can be asked where there is no fdspec."""


class BadAddress(ValueError):
    """Not the address of a scheduler, or one that cannot be used."""


class Unreachable(Exception):
    """No scheduler answers there, or it does not answer any more; the message says where and what to do."""


class Cluster(Protocol):
    """Where requests are done. ``Unreachable`` may come of everything."""

    def workers(self) -> dict[str, int]:
        """Return the workers that are there now, by address, with the number of requests that each does at a time."""
        ...

    def about(self, workers: Sequence[str]) -> dict[str, tuple[str, str] | str]:
        """Return version and digest of each worker's fdspec (`far_worker.about`), or in words why it has none."""
        ...

    def start(self, worker: str, data: bytes, deadline: float) -> int:
        """Have a worker do a request (`far_worker.serve`); return the number of it."""
        ...

    def ended(self, seconds: float) -> list[tuple[int, bytes | str]]:
        """Wait at most so long, and return the requests that ended: each with its reply, or in words why there is none."""
        ...

    def drop(self, number: int) -> None:
        """Forget a request; what still comes of it is lost."""
        ...

    def close(self) -> None:
        """Leave the cluster; it goes on without this client."""
        ...


def checked(address: str) -> str:
    """Return ``address`` where it is one of a scheduler. Raises BadAddress."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in SCHEMES and parts.hostname and parts.port is not None
    except ValueError:
        good = False
    if not good:
        raise BadAddress(f"{address!r} is no address of a scheduler; one is written tcp://HOST:PORT or tls://HOST:PORT")
    return address


class DaskCluster:
    """The cluster of a scheduler of Dask's. ``progress``: told which worker sets up what, in a line.

    The certificates for ``tls://`` are those of Dask's configuration (``distributed.comm.tls``).

    Raises BadAddress, `Unreachable`, and ImportError where Dask is not installed.
    """

    def __init__(
        self,
        address: str,
        *,
        connect: float = CONNECT,
        progress: Callable[[str, str], None] | None = None,
    ) -> None:
        self.address = checked(address)
        for name in ("distributed", "distributed.client", "distributed.comm", "distributed.core"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what goes wrong is told here
        self._client: Any = _connected(address, connect)
        self._replies: queue.SimpleQueue[tuple[int, bytes | str]] = queue.SimpleQueue()
        self._futures: dict[int, Any] = {}
        self._next = 0
        try:
            self._look_at_scheduler()
            if progress is not None:
                self._client.subscribe_topic(far_worker.TOPIC, _passing_on(progress))
        except BaseException:
            self.close()
            raise

    def _look_at_scheduler(self) -> None:
        """Raise Unreachable where the scheduler could not read what goes through it."""
        found = self._asked(lambda: self._client.run_on_scheduler(metadata.version, "fdspec"))
        if not isinstance(found, str):
            raise Unreachable(
                f"the scheduler at {self.address} runs without fdspec; install it there, as on the workers: {found}"
            )

    def _asked(self, ask: Callable[[], Any]) -> Any:  # noqa: ANN401 - what Dask returns
        if self._client.status != "running":
            raise Unreachable(f"the scheduler at {self.address} does not answer any more")
        try:
            return ask()
        except (OSError, TimeoutError, CancelledError) as fault:
            raise Unreachable(
                f"the scheduler at {self.address} does not answer any more: {fault or 'no time left'}"
            ) from fault
        except Exception as fault:
            if self._client.status != "running":
                raise Unreachable(f"the scheduler at {self.address} does not answer any more: {fault}") from fault
            return fault

    def workers(self) -> dict[str, int]:
        """Return the workers that are there now."""
        found = self._asked(self._client.nthreads)
        if isinstance(found, Exception):
            raise Unreachable(f"the scheduler at {self.address} does not say which workers it has: {found}")
        return {str(name): int(count) for name, count in found.items()}

    def about(self, workers: Sequence[str]) -> dict[str, tuple[str, str] | str]:
        """Return version and digest of each worker's fdspec, or why it has none; all are asked at once."""
        found: dict[str, Any] = dict.fromkeys(workers, "it has gone")
        for ask in _QUESTIONS:
            whom = [name for name in workers if not isinstance(found[name], Exception)]
            found |= self._told_by(whom, ask) if whom else {}
        return {name: _in_words(found[name]) for name in workers}

    def _told_by(self, workers: Sequence[str], ask: tuple[Any, ...]) -> dict[str, Any]:
        """Return what each worker answers, or the exception; where one spoils it for all, they are asked one by one."""
        told = self._asked(lambda: self._client.run(*ask, workers=list(workers), on_error="return"))
        if isinstance(told, dict):
            return cast("dict[str, Any]", told)
        if len(workers) == 1:
            return {workers[0]: told}
        return {name: one for worker in workers for name, one in self._told_by([worker], ask).items()}

    def start(self, worker: str, data: bytes, deadline: float) -> int:
        """Have a worker do a request; return its number."""
        self._next += 1
        number = self._next
        future = self._asked(
            lambda: self._client.submit(
                far_worker.serve, data, deadline, workers=[worker], allow_other_workers=False, pure=False, retries=0
            )
        )
        if isinstance(future, Exception):
            raise Unreachable(f"the scheduler at {self.address} does not take a request: {future}")
        self._futures[number] = future
        future.add_done_callback(self._noting(number))
        return number

    def _noting(self, number: int) -> Callable[[Any], None]:
        return lambda future: threading.Thread(target=self._collect, args=(number, future), daemon=True).start()

    def _collect(self, number: int, future: Any) -> None:  # noqa: ANN401 - a future of Dask's
        """Fetch what came of a request. The worker may have died meanwhile: then this waits, and holds up nobody."""
        try:
            reply = future.result(timeout=COLLECT) if future.status == "finished" else None
        except Exception as fault:  # noqa: BLE001 - it is told
            self._replies.put((number, f"{type(fault).__name__}: {fault}"))
            return
        if isinstance(reply, bytes):
            self._replies.put((number, reply))
        elif future.status == "error":
            fault = future.exception(timeout=COLLECT)
            self._replies.put((number, f"{type(fault).__name__}: {fault}"))
        else:
            self._replies.put(
                (number, f"Dask has {future.status} it" if reply is None else f"no bytes came: {reply!r:.200}")
            )

    def ended(self, seconds: float) -> list[tuple[int, bytes | str]]:
        """Wait at most so long, and return the requests that ended."""
        found: list[tuple[int, bytes | str]] = []
        with contextlib.suppress(queue.Empty):
            number, reply = self._replies.get(timeout=seconds)
            while True:
                if self._futures.pop(number, None) is not None:
                    found.append((number, reply))
                number, reply = self._replies.get_nowait()
        return found

    def drop(self, number: int) -> None:
        """Forget a request."""
        future = self._futures.pop(number, None)
        if future is not None:
            with contextlib.suppress(Exception):
                future.cancel(force=True)

    def close(self) -> None:
        """Leave the cluster."""
        with contextlib.suppress(Exception), _quiet():
            self._client.close(timeout=5)


def _in_words(told: Any) -> tuple[str, str] | str:  # noqa: ANN401 - what a worker returned, or the exception
    """Return what a worker said of its fdspec, or in words why it said nothing."""
    if isinstance(told, tuple):
        version, code = cast("tuple[object, object]", told)
        return str(version), str(code)
    missing = isinstance(told, metadata.PackageNotFoundError)
    return "fdspec is not installed there" if missing else f"it does not say which fdspec it has: {told}"


def _passing_on(progress: Callable[[str, str], None]) -> Callable[[tuple[float, tuple[str, str]]], None]:
    """Return what takes an event of Dask's: its time, and what `far_worker` said."""
    return lambda event: progress(*event[1])


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # versions that differ a little, ports that are taken
        yield


def _connected(address: str, seconds: float) -> Any:  # noqa: ANN401 - a client of Dask's
    try:
        from distributed import Client, Security  # noqa: PLC0415 - where a scheduler is asked for
    except ImportError as fault:
        raise ImportError(
            f"a campaign on a scheduler needs Dask: pip install 'fdspec[distributed]' ({fault})", name="distributed"
        ) from fault
    security: Any = Security()
    tls: Any = security.get_connection_args("client")
    if address.startswith(("tls:", "wss:")) and tls["ssl_context"] is None:
        raise BadAddress(
            f"{address} needs certificates, and Dask's configuration names none: set DASK_DISTRIBUTED__COMM__TLS__CA_FILE, "
            "DASK_DISTRIBUTED__COMM__TLS__CLIENT__CERT and DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"
        )
    made: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def make() -> None:
        try:
            with _quiet():
                made.put(Client(address, timeout=seconds, set_as_default=False))
        except Exception as fault:  # noqa: BLE001 - it is raised where it is waited for
            made.put(fault)

    # Dask waits without end for who takes a connection and says nothing: then this thread is left behind, as a daemon.
    threading.Thread(target=make, daemon=True).start()
    try:
        found = made.get(timeout=seconds + LATE)
    except queue.Empty:
        found = TimeoutError("it takes the connection, and says nothing that a scheduler says")
    if not isinstance(found, Exception):
        return found
    if isinstance(found, (OSError, TimeoutError)):
        reason = re.sub(r"^in <[^>]*>: ", "", str(found.__cause__ or found).strip()) or "no answer"
        raise Unreachable(
            f"no scheduler answers at {address} within {seconds:.0f} s: {reason}; `dask scheduler` starts one"
        ) from found
    raise BadAddress(f"{address} cannot be used: {found}") from found
