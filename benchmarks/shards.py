"""What a campaign on a scheduler costs, without the cost of the programs: for docs/scale.md.

    python benchmarks/shards.py [--shards N] [--tasks N] [--implementation ID] [--seconds S]

Printed are, each with its unit: how shards of an implementation follow each other on one core, and how the corpus grows; what a
shard costs beside its programs; the bytes of a shard and of its result, and the memory of its process. Then a scheduler and two
workers of Dask's are started on the loopback: the scheduler's CPU time for a task as a campaign sends them, with payloads of
several sizes, how many a second go through, and the memory of scheduler and worker.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from distributed import Client
from fdspec.fuzz.campaign import far_values, far_worker
from fdspec.fuzz.campaign.far_cluster import DaskCluster
from fdspec.fuzz.campaign.far_store import Keeping
from fdspec.fuzz.campaign.far_values import Done, Plan, Work
from fdspec.fuzz.campaign.session import Shard
from fdspec.fuzz.campaign.store import Store

T = TypeVar("T")
IDLE = 10.0
"""Seconds for which nothing is done."""
TICKS = os.sysconf("SC_CLK_TCK")
OPENER = "fdspec.fuzz.runner:open_runner"
SCHEDULER = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
WORKER = [sys.executable, "-m", "distributed.cli.dask_worker"]


def cpu(process: subprocess.Popen[bytes]) -> float:
    """Return the CPU time of a process so far, in seconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def children() -> float:
    """Return the CPU time of all processes that have ended below this one, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def resident(process: subprocess.Popen[bytes]) -> float:
    """Return the resident memory of a process, in MB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def timed(function: Callable[[], T]) -> tuple[float, T]:
    """Return how many seconds it took, and what came of it."""
    begin = time.perf_counter()
    found = function()
    return time.perf_counter() - begin, found


def wait(look: Callable[[], T | None]) -> T:
    """Return what is there once it is there."""
    while True:
        found = look()
        if found:
            return found
        time.sleep(0.02)


def start(directory: Path) -> list[subprocess.Popen[bytes]]:
    """Start a scheduler and two workers; they are in ``scheduler.json``."""
    file = directory / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    log = (directory / "log").open("wb")
    found = [subprocess.Popen([*SCHEDULER, *options], stdout=log, stderr=log, cwd=directory)]
    wait(file.exists)
    for name in ("a", "b"):
        where = ["--scheduler-file", str(file), "--local-directory", str(directory / name)]
        options = ["--nworkers", "1", "--nthreads", "1", "--no-nanny", "--no-dashboard", *where]
        found.append(subprocess.Popen([*WORKER, *options], stdout=log, stderr=log, cwd=directory))
    return found


def tasks(client: Client, scheduler: subprocess.Popen[bytes], count: int, out: int, back: int) -> None:
    """Send tasks that do nothing, as a campaign sends shards, each worker having two; print what they cost."""
    workers = list(client.nthreads())
    payload = os.urandom(out)
    before, begin, own = cpu(scheduler), time.perf_counter(), time.process_time()
    sent = [_send(client, workers, number, payload, back) for number in range(4)]
    for number in range(4, count + 4):
        sent.pop(0).result()
        if number < count:
            sent.append(_send(client, workers, number, payload, back))
        if not sent:
            break
    seconds, used = time.perf_counter() - begin, cpu(scheduler) - before
    own = time.process_time() - own
    print(
        f"tasks of {out / 1000:5.1f} kB, {back / 1000:5.1f} kB back        {used / count * 1e3:6.2f} ms of the scheduler's CPU, "
        f"{own / count * 1e3:.2f} ms of "
        f"the client's; {count / seconds:.0f} a second went through"
    )


def _send(client: Client, workers: list[str], number: int, payload: bytes, back: int):  # noqa: ANN202 - Dask's future
    to = [workers[number % len(workers)]]
    return client.submit(bytes.ljust, payload, back, workers=to, allow_other_workers=False, pure=False, retries=0)


def shards(options: argparse.Namespace, directory: Path) -> list[tuple[bytes, Done]]:
    """Do shards of an implementation one after the other, as a worker does them, and merge and write what comes."""
    plan = Plan(options.implementation, "guided", OPENER, 1, length=options.seconds)
    store = Store(directory / "campaign")
    store.prepare()
    keeping = Keeping(store, plan)
    found: list[tuple[bytes, Done]] = []
    empty = _empty(plan)
    rates: list[float] = []
    print("shard   programs   a second of CPU time   new to the corpus   corpus   behaviour   findings   merged in")
    for index in range(options.shards):
        corpus = tuple(keeping.merged.corpus.values())[-512:]
        shard = Shard(plan.subject, plan.engine, far_values.seed_of(1, index), 2**62, keeping.merged.known, corpus)
        data = far_values.encode(Work(index, shard, OPENER, plan.length, plan.patience))
        before = children()
        done = far_values.reply_of(far_worker.run(data, 600.0, print))
        used = children() - before
        if not isinstance(done, Done):
            raise SystemExit(f"shard {index}: {done}")
        begin = time.process_time()
        keeping.add(done)
        keeping.save(now=True)
        merging = time.process_time() - begin
        rates.append(done.counters.programs / max(used - empty, 0.01))
        found.append((data, done))
        merged = keeping.merged
        print(
            f"{index:5} {done.counters.programs:10,} {rates[-1]:22,.0f} {len(done.corpus):19,} {len(merged.corpus):8,} "
            f"{len(merged.features):11,} {len(merged.findings):10} {merging * 1e3:6,.0f} ms"
        )
    out = [len(data) for data, _ in found]
    back = [len(far_values.encode(one)) for _, one in found]
    size = sum(path.stat().st_size for path in store.directory.rglob("*") if path.is_file())
    print(f"programs of {plan.subject:<26} {statistics.median(rates):8,.0f} a second of CPU time (median)")
    print(f"a shard beside its programs            {empty:8.2f} s of CPU time")
    print(
        f"bytes of a shard, of its result        {out[-1]:8,} and {back[-1]:,} (the last; the first {out[0]:,} and {back[0]:,})"
    )
    print(f"memory of a shard's process            {max(one.memory for _, one in found) / 1e6:8.0f} MB (the most)")
    print(f"the campaign's directory               {size / 1e6:8.2f} MB")
    return found


def _empty(plan: Plan) -> float:
    """Return what a shard of one program costs in CPU time, in seconds: two processes are started, and end."""
    shard = Shard(plan.subject, plan.engine, 1, 1)
    data = far_values.encode(Work(0, shard, OPENER, plan.length, plan.patience))
    used: list[float] = []
    for _ in range(3):
        before = children()
        far_worker.run(data, 600.0, print)
        used.append(children() - before)
    return statistics.median(used)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-i", "--implementation", default="python-socket")
    parser.add_argument("--shards", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--tasks", type=int, default=1000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        found = shards(options, directory)
        out, back = len(found[-1][0]), len(far_values.encode(found[-1][1]))
        processes = start(directory)
        try:
            _cluster(directory, processes, options.tasks, [(1000, 1000), (out, back), (100_000, 100_000)])
        finally:
            for process in processes:
                process.kill()
                process.wait()
    return 0


def _cluster(
    directory: Path, processes: list[subprocess.Popen[bytes]], count: int, sizes: list[tuple[int, int]]
) -> None:
    address = json.loads((directory / "scheduler.json").read_text())["address"]
    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=60)
        print(
            f"memory of the scheduler, of a worker   {resident(processes[0]):8.0f} and {resident(processes[1]):.0f} MB"
        )
        for out, back in sizes:
            tasks(client, processes[0], count, out, back)
        print(f"memory of the scheduler after {count * len(sizes):,} tasks    {resident(processes[0]):.0f} MB")
        few = idle(processes[0])
        processes.append(subprocess.Popen([sys.executable, "-c", MANY, address, str(MORE)], cwd=directory))
        client.wait_for_workers(2 + MORE, timeout=300)
        many = idle(processes[0])
        print(
            f"the scheduler with 2 idle workers      {few * 1e3:8.1f} ms of CPU a second, with {2 + MORE} {many * 1e3:.1f} ms"
        )
    cluster = DaskCluster(address)
    begin = time.process_time()
    asked, there = timed(cluster.workers)
    used = time.process_time() - begin
    cluster.close()
    print(
        f"asking which {len(there)} workers there are      {asked * 1e3:8.1f} ms, {used * 1e3:.1f} ms of the client's CPU time"
    )


MORE = 50
"""Workers, in one process, that are only there."""
MANY = """
import asyncio, sys
from distributed import Worker
async def main():
    workers = [Worker(sys.argv[1], nthreads=1, dashboard_address=None) for _ in range(int(sys.argv[2]))]
    await asyncio.gather(*workers)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def idle(scheduler: subprocess.Popen[bytes]) -> float:
    """Return how much CPU time a scheduler takes a second while nobody asks anything of it."""
    before, begin = cpu(scheduler), time.perf_counter()
    time.sleep(IDLE)
    return (cpu(scheduler) - before) / (time.perf_counter() - begin)


if __name__ == "__main__":
    sys.exit(main())
