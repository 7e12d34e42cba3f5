"""``python -m fdspec.fuzz.campaign.far_shard PARENT``: does one request. Its bytes come on standard input, the reply's go out.

It stands between a worker and the harness: a crash of what runs here takes nobody with it, and it ends with its parent. What
anybody prints goes to standard error; a line there that begins with `PROGRESS` is passed on to the client.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from typing import Any

from ...conformance.bench import HarnessFault
from ...impls.errors import StartFailed, Unsupported
from ...impls.manifest import ManifestError
from ...impls.registry import UnknownImplementation, find
from ...impls.setup import Unavailable as NotHere
from ...impls.setup import prepare
from ..codec import decode
from ..codec import encode as encode_program
from ..engines.engine import Engine
from ..judgement import Runner, Verdict
from ..program import Program
from .far_values import Done, Failed, Gained, Prepare, Ready, Reply, Unavailable, Work, digest, encode, request_of
from .messages import Task
from .session import Hunt, Limits, Memory, name_of
from .worker import ENGINES, named, open_for

PROGRESS = "progress: "
OWN = "fdspec."
"""How openers begin whose subjects are implementations that are set up before."""
_PR_SET_PDEATHSIG = 1


class _Hunt(Hunt):
    """A session that knows of each program that it keeps what was new in it."""

    def __init__(self, runner: Runner, sink: Memory, **options: Any) -> None:  # noqa: ANN401 - Hunt's own
        self.gained: dict[str, bytes] = {}
        super().__init__(runner, sink, **options)

    def tell(self, program: Program, verdict: Verdict) -> bool:
        """Take note of a verdict."""
        before = len(self.features)
        new = super().tell(program, verdict)
        if new:
            shown = b"".join(map(digest, self.new_features(before)))
            self.gained.setdefault(name_of(encode_program(program)), shown)
        return new


def work(request: Work, runner: Runner, engine: Engine) -> Done:
    """Do a shard with an open runner. Raises what the runner and the engine raise."""
    begin = time.monotonic()
    shard, sink = request.shard, Memory()
    hunt = _Hunt(
        runner,
        sink,
        seed=shard.seed,
        engine=shard.engine,
        limits=Limits(shard.runs, begin + request.seconds, request.patience),
        corpus=map(decode, shard.corpus),
        known=shard.known,
    )
    try:
        engine(runner, hunt)
    finally:
        hunt.close()
    found = sink.result
    return Done(
        request.index,
        tuple(found.findings.values()),
        tuple(found.unconfirmed.values()),
        {name: Gained(data, hunt.gained.get(name, b"")) for name, data in found.corpus.items()},
        hunt.counters,
        runner.version,
        time.monotonic() - begin,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def _opened(request: Prepare | Work, subject: str, engine: str) -> Runner:
    return open_for(
        Task(subject, engine, 0, "", -1, request.opener, profiles=request.profiles, interpose=request.interpose)
    )


def _progress(line: str) -> None:
    print(f"{PROGRESS}{line}", file=sys.stderr, flush=True)  # noqa: T201 - it goes to the parent


def make_ready(request: Prepare) -> Ready | Unavailable:
    """Build what the subject needs, where it is an implementation that fdspec opens itself, and start it once."""
    if request.opener.startswith(OWN):
        for name in request.subject.split(","):
            prepared = prepare(find(name), _progress)
            if isinstance(prepared, NotHere):
                return Unavailable(f"{name}: {prepared.reason}")
    runner = _opened(request, request.subject, request.engine)
    try:
        return Ready(runner.version)
    finally:
        runner.close()


def do(request: Prepare | Work) -> Reply:
    """Do what is asked for. Raises whatever went wrong."""
    if isinstance(request, Prepare):
        return make_ready(request)
    runner = _opened(request, request.shard.subject, request.shard.engine)
    try:
        return work(request, runner, named(ENGINES[request.shard.engine]))
    finally:
        runner.close()


def reply_to(data: bytes) -> Reply:
    """Do what is asked for, and return what came of it."""
    try:
        return do(request_of(data))
    except (StartFailed, Unsupported, UnknownImplementation, ManifestError) as fault:
        return Unavailable(str(fault))
    except HarnessFault as fault:
        return Failed(f"the harness failed: {fault}")
    except Exception as fault:  # noqa: BLE001 - whatever happens, it is told
        return Failed(f"the harness failed: {type(fault).__name__}: {fault}")


def main() -> int:
    """Answer the request on standard input; exit 0 where there is a reply."""
    parent = int(sys.argv[1])
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was told
        return 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the client's to deal with
    replies = os.dup(1)
    os.dup2(2, 1)
    reply = encode(reply_to(sys.stdin.buffer.read()))
    with open(replies, "wb") as stream:  # noqa: PTH123 - a number
        stream.write(reply)
    return 0


if __name__ == "__main__":
    sys.exit(main())
