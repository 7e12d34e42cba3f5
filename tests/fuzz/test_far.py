"""Campaigns on a scheduler's workers: how results are merged, who does what a dead worker did, and Dask's own processes."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fakes
import msgspec
import pytest
from fdspec.fuzz import encode as encoded
from fdspec.fuzz import parse
from fdspec.fuzz.campaign import far, far_shard, far_values, far_worker
from fdspec.fuzz.campaign.far import Listener, conduct
from fdspec.fuzz.campaign.far_cluster import BadAddress, DaskCluster, Unreachable, checked
from fdspec.fuzz.campaign.far_store import Keeping
from fdspec.fuzz.campaign.far_values import Done, Failed, Gained, Merged, Plan, Prepare, Ready, Spans, Unavailable, Work
from fdspec.fuzz.campaign.faults import Refused
from fdspec.fuzz.campaign.session import Counters, Shard, name_of
from fdspec.fuzz.campaign.store import Store
from fdspec.fuzz.findings import store as findings_store
from fdspec.fuzz.findings.finding import Finding
from fdspec.fuzz.judgement import Breach, Violation
from msgspec.structs import replace

PROGRAM = parse('program 1 message stream client\nsend p0 "ab"\ntake t0 16\n')
LONGER = parse('program 1 message stream client\nsend p0 "ab"\ntake t0 16\ntake t0 16\n')


def finding(requirement="S01", program=PROGRAM, **fields):
    violation = Violation(Breach.DATA, requirement, 1, "take", "message/stream/testee", "wrong", ("right",))
    return Finding("fake", violation, program, minimised=True, **fields)


def gained(program, *features):
    data = encoded(program)
    return {name_of(data): Gained(data, b"".join(map(far_values.digest, features)))}


def done(index, *findings, features=("a",), program=PROGRAM, programs=100):
    seen = {str(one.key): 2 for one in findings}
    counters = Counters(programs=programs, examined=3, seen=seen)
    return Done(index, tuple(findings), (), gained(program, *features), counters, "1.0", 2.0)


# ---- values --------------------------------------------------------------------------------------------------------------


def test_what_is_sent_comes_back_as_it_was():
    result = done(3, finding(), features=("a", "b"))
    assert far_values.reply_of(far_values.encode(result)) == result
    request = Work(3, Shard("fake", "guided", 7, 100, (finding().key,), (b"x",)), fakes.OPENER, 2.0, 1.0)
    assert far_values.request_of(far_values.encode(request)) == request
    for reply in (Ready("1"), Unavailable("no cc"), Failed("it died")):
        assert far_values.reply_of(far_values.encode(reply)) == reply


@pytest.mark.parametrize("data", [b"", b"\x80", b"nonsense", far_values.encode(Ready("1"))])
def test_bytes_that_are_no_request_are_refused(data):
    with pytest.raises(far_values.BadBytes, match="are no request"):
        far_values.request_of(data)
    with pytest.raises(far_values.BadBytes, match="are no reply"):
        far_values.reply_of(data[:-1])


def test_seeds_of_shards_differ():
    seeds = {far_values.seed_of(seed, index) for seed in range(50) for index in range(50)}
    assert len(seeds) == 2500
    assert all(0 <= one < 2**63 for one in seeds)


def test_ranges_are_a_set():
    spans = Spans()
    for number in (3, 1, 2, 2, 7, 0, 5, 6):
        spans.add(number)
    assert spans.spans == [(0, 4), (5, 8)]
    assert [number in spans for number in (0, 3, 4, 5, 7, 8)] == [True, True, False, True, True, False]
    assert len(spans) == 7
    assert list(itertools.islice(spans.missing(), 3)) == [4, 8, 9]
    for wrong in ([(2, 1)], [(0, 3), (2, 5)], [(-1, 2)], [(1, 1)]):
        with pytest.raises(ValueError, match="no ranges in order"):
            Spans(wrong)


RESULTS = [
    done(0, finding("S01", LONGER), features=("a", "b")),
    done(1, finding("S01", PROGRAM), finding("S02"), features=("b",)),
    done(2, finding("S02"), features=("c",), program=LONGER),
]


def known(merged):
    return (
        merged.done.spans,
        merged.counters,
        {name: replace(one, seen=0) for name, one in merged.findings.items()},
        merged.features,
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_results_may_come_in_any_order_and_again(order):
    once, again = Merged(), Merged()
    for one in RESULTS:
        once.add(one)
    for index in (*order, *order, order[0]):
        again.add(RESULTS[index])
    assert known(again) == known(once)
    assert sorted(again.names) == sorted(again.corpus)
    assert set(again.corpus) == set(once.corpus) == {name_of(encoded(one)) for one in (PROGRAM, LONGER)}
    assert once.counters.programs == 300
    assert [one.seen for one in once.counted()]
    assert [one.seen for one in once.findings.values()] == [4, 4]
    assert list(once.counted()) == []
    assert len(once.findings[str(finding("S01").key)].program.operations) == 2


def test_a_result_that_comes_again_has_no_news():
    merged = Merged()
    first = merged.add(RESULTS[1])
    assert (len(first.findings), len(first.corpus), first.first) == (2, 1, True)
    assert merged.add(RESULTS[1]) == far_values.News()


def test_a_program_that_shows_nothing_new_is_not_kept():
    merged = Merged()
    merged.add(done(0, features=("a", "b")))
    assert merged.add(done(1, features=("b",), program=LONGER)).corpus == {}
    assert list(merged.add(done(2, features=("b", "c"), program=LONGER)).corpus.values()) == [encoded(LONGER)]


def test_what_was_proved_is_unconfirmed_no_more():
    merged = Merged()
    merged.add(replace(done(0), unconfirmed=(finding("S01"), finding("S02"))))
    merged.add(done(1, finding("S01")))
    merged.add(replace(done(2), unconfirmed=(finding("S01"),)))
    assert [one.violation.requirement for one in merged.unconfirmed.values()] == ["S02"]
    assert [one.violation.requirement for one in merged.findings.values()] == ["S01"]


# ---- a cluster that is a list ----------------------------------------------------------------------------------------------


def canned(_worker, request):
    """Return what a shard comes to: one finding, one program, one behaviour of its own."""
    if isinstance(request, Prepare):
        return Ready("1.0")
    program = parse(f'program 1 message stream client\nsend p0 "{request.index}"\ntake t0 16\n')
    found = finding(f"S{request.index:02}", program)
    names = (f"behaviour {request.index}", "what all show")
    return done(request.index, found, features=names, program=program, programs=request.shard.runs)


class Cluster:
    """A cluster in this process. ``answer(worker, request)`` returns a reply, or None for a worker that dies of it."""

    def __init__(self, *names, answer=None, about=None, threads=1):
        self.there = dict.fromkeys(names, threads)
        self.answer = answer or canned
        self.abouts = about or {}
        self.queue, self.asked, self.dropped = [], [], []
        self.numbers = itertools.count(1)

    def workers(self):
        return dict(self.there)

    def about(self, workers):
        return {worker: self.abouts.get(worker, far_worker.about()) for worker in workers}

    def start(self, worker, data, deadline):
        assert deadline > 0
        number = next(self.numbers)
        self.queue.append((number, worker, far_values.request_of(data)))
        return number

    def ended(self, seconds):
        if not self.queue:
            return []
        number, worker, request = self.queue.pop(0)
        if worker not in self.there:
            return []
        self.asked.append((worker, request))
        reply = self.answer(worker, request)
        if reply is None:
            self.there.pop(worker)
            return []
        return [(number, reply if isinstance(reply, str) else far_values.encode(reply))]

    def drop(self, number):
        self.dropped.append(number)
        self.queue = [one for one in self.queue if one[0] != number]

    def close(self):
        pass

    @property
    def shards(self):
        return [request.index for _, request in self.asked if isinstance(request, Work)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Workers are looked at in every turn."""
    monkeypatch.setattr(far, "EVERY", 0.0)


PLAN = Plan("fake-bugs", "guided", fakes.OPENER, 5, runs=3000, most=500, patience=30.0, nobody=0.3)


def run(cluster, directory, plan=PLAN):
    notes = []
    merged, ending = conduct(plan, cluster, directory, Listener(note=notes.append))
    return merged, ending, notes


def files(directory):
    return [one.violation.requirement for _, one in findings_store.all_of(directory / "findings")]


ALL = [f"S{index:02}" for index in range(6)]


def test_every_shard_is_done_once_and_every_finding_is_there(tmp_path):
    cluster = Cluster("a", "b")
    merged, ending, notes = run(cluster, tmp_path)
    assert (ending, notes) == (None, [])
    assert sorted(cluster.shards) == list(range(6))
    assert merged.counters.programs == 3000
    assert sorted(files(tmp_path)) == ALL
    assert {path.name for path in Store(tmp_path).names()} == set(merged.corpus)
    state = Store(tmp_path).state("fake-bugs")
    assert (state.programs, state.version) == (3000, "1.0")
    assert {one.seen for _, one in findings_store.all_of(tmp_path / "findings")} == {2}


def test_the_corpus_and_the_keys_go_on_to_later_shards(tmp_path):
    cluster = Cluster("a", answer=lambda _, request: far_shard.do(request))
    merged, _, _ = run(cluster, tmp_path, replace(PLAN, runs=1000, most=200))
    works = [request for _, request in cluster.asked if isinstance(request, Work)]
    assert works[0].shard.corpus == works[0].shard.known == ()
    assert set(works[-1].shard.corpus) <= set(merged.corpus.values())
    assert len(works[-1].shard.corpus) > 10
    assert works[-1].shard.known
    assert len({one.shard.seed for one in works}) == len(works)


def test_what_a_worker_died_over_is_done_by_another(tmp_path):
    def answer(worker, request):
        return None if worker == "a" and isinstance(request, Work) and request.index else canned(None, request)

    cluster = Cluster("a", "b", answer=answer)
    merged, ending, notes = run(cluster, tmp_path)
    assert ending is None
    assert merged.done.spans == [(0, 6)]
    assert merged.counters.programs == 3000
    assert notes == ["worker a has gone; what it was doing is done elsewhere"]
    assert sorted(files(tmp_path)) == ALL


def test_a_shard_that_kills_every_worker_is_given_up_and_told(tmp_path):
    def answer(_, request):
        return None if isinstance(request, Work) and request.index == 2 else canned(None, request)

    cluster = Cluster("a", "b", "c", "d", "e", answer=answer)
    merged, ending, notes = run(cluster, tmp_path)
    assert cluster.shards.count(2) == far.ATTEMPTS
    assert len(cluster.there) == 2
    assert ending.code == 4
    assert "1 shards were given up: shard 2: worker" in ending.message
    assert any(re.match(r"shard 2 \(seed \d+\) is given up after 3 attempts: worker . died", one) for one in notes)
    assert merged.done.spans == [(0, 2), (3, 6)]
    lost = json.loads((tmp_path / "far.json").read_text())["lost"]
    assert list(lost) == ["2"]
    assert run(Cluster("a"), tmp_path)[1].code == 4  # it is told again


@pytest.mark.parametrize(
    "reply", [Failed("it was killed by SIGSEGV"), "KilledWorker: 4 times", b"nonsense".hex(), Ready("1")]
)
def test_a_shard_that_fails_is_begun_again(tmp_path, reply):
    times = itertools.count()

    def answer(_, request):
        if isinstance(request, Work) and request.index == 1 and next(times) < far.ATTEMPTS - 1:
            return reply
        return canned(None, request)

    merged, ending, notes = run(Cluster("a", answer=answer), tmp_path)
    assert ending is None
    assert len(merged.done) == 6
    assert len([one for one in notes if one.startswith("shard 1 failed on worker a: ")]) == far.ATTEMPTS - 1


def test_a_worker_that_comes_later_takes_part(tmp_path):
    cluster = Cluster("a")

    def answer(_, request):
        cluster.there["b"] = 1
        return canned(None, request)

    cluster.answer = answer
    assert run(cluster, tmp_path)[1] is None
    assert {worker for worker, _ in cluster.asked} == {"a", "b"}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (("9.9", "code"), "it has fdspec 9.9, and here is "),
        ((far_worker.about()[0], "0123"), "has other code (0123, and here is "),
        ("fdspec is not installed there", "fdspec is not installed there"),
    ],
)
def test_workers_with_another_fdspec_are_refused(tmp_path, told, words):
    cluster = Cluster("a", about={"a": told})
    _, ending, notes = run(cluster, tmp_path)
    assert ending.code == 4
    assert ending.message.startswith("worker a does not take part: ")
    assert words in ending.message
    assert (notes, cluster.asked) == ([ending.message], [])
    assert run(Cluster("a", "b", about={"a": told}), tmp_path)[1] is None


def test_an_implementation_that_cannot_be_had_is_told_with_the_worker(tmp_path):
    _, ending, _ = run(Cluster("a", answer=lambda _, __: Unavailable("needs cc")), tmp_path)
    assert (ending.code, ending.message) == (3, "worker a does not take part: needs cc")

    def answer(worker, request):
        return Unavailable("needs cc") if worker == "a" else canned(None, request)

    assert run(Cluster("a", "b", answer=answer), tmp_path)[1] is None


def test_nobody_to_work_ends_it(tmp_path):
    _, ending, _ = run(Cluster(), tmp_path)
    assert ending.code == 4
    assert "no worker takes part for 0 s" in ending.message


def test_a_scheduler_that_goes_ends_it_and_nothing_is_lost(tmp_path):
    count = itertools.count()

    def answer(_, request):
        if next(count) == 4:
            raise Unreachable("the scheduler does not answer any more")
        return canned(None, request)

    merged, ending, _ = run(Cluster("a", answer=answer), tmp_path)
    assert ending.code == 4
    assert "does not answer any more; what was found is in" in ending.message
    assert merged.done.spans == [(0, 3)]
    cluster = Cluster("a")
    merged, ending, _ = run(cluster, tmp_path)
    assert ending is None
    assert cluster.shards == [3, 4, 5]
    assert merged.counters.programs == 3000
    assert len(merged.features) == 7
    assert sorted(merged.names) == sorted(merged.corpus)
    assert sorted(files(tmp_path)) == ALL
    assert Store(tmp_path).state("fake-bugs").programs == 3000


def test_a_shard_that_is_not_known_to_be_done_is_done_again_and_changes_nothing(tmp_path):
    merged, _, _ = run(Cluster("a"), tmp_path)
    before = {
        path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and path.name != "campaign.json"
    }
    Path(tmp_path, "far.json").unlink()  # killed before it was written at all
    cluster = Cluster("a")
    again, ending, _ = run(cluster, tmp_path)
    assert ending is None
    assert cluster.shards == list(range(6))
    assert again.counters.programs == 3000
    assert {str(one) for one in again.findings} == {str(one) for one in merged.findings}
    assert known(again) == known(merged)
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(before) == sorted(
        path for path in tmp_path.rglob("*") if path.is_file() and path.name != "campaign.json"
    )


def test_time_ends_it(tmp_path):
    begin = time.monotonic()
    cluster = Cluster("a", threads=2)
    merged, ending, _ = run(cluster, tmp_path, replace(PLAN, runs=None, seconds=0.5))
    assert ending is None
    assert len(merged.done) > 1
    assert 0.5 <= time.monotonic() - begin < 20
    lengths = [request.seconds for _, request in cluster.asked if isinstance(request, Work)]
    assert set(lengths) == {1.0}  # no longer than what is left, and a second at least


def test_a_wish_to_end_is_heard(tmp_path):
    cluster = Cluster("a")
    merged, ending = conduct(PLAN, cluster, tmp_path, Listener(stopped=lambda: len(cluster.shards) >= 2))
    assert (ending, len(merged.done)) == (None, 2)
    assert cluster.queue == []


def test_directories_of_others_are_refused(tmp_path):
    run(Cluster("a"), tmp_path)
    with pytest.raises(Refused, match="is a campaign on fake-bugs, and not on fake"):
        run(Cluster("a"), tmp_path, replace(PLAN, subject="fake"))
    Path(tmp_path, "far.json").write_text('{"seed": "x"}')
    with pytest.raises(Refused, match=r"far.json cannot be read: .*seed"):
        run(Cluster("a"), tmp_path)
    lock = Store(tmp_path).lock()
    with pytest.raises(Refused, match="another campaign works in"):
        run(Cluster("a"), tmp_path)
    os.close(lock)


def test_a_torn_list_of_behaviour_is_read_as_far_as_it_goes(tmp_path):
    run(Cluster("a"), tmp_path)
    features = tmp_path / "features.bin"
    whole = features.read_bytes()
    assert len(whole) % far_values.DIGEST == 0
    features.write_bytes(whole[:-3])
    keeping = Keeping(Store(tmp_path), PLAN)
    assert len(keeping.merged.features) == len(whole) // far_values.DIGEST - 1
    assert features.stat().st_size == len(whole) - far_values.DIGEST
    keeping.add(done(99, features=("never seen",)))
    assert far_values.digest("never seen") in Keeping(Store(tmp_path), PLAN).merged.features


def test_nothing_is_counted_as_done_before_it_is_written(tmp_path, monkeypatch):
    """Whatever write is the last one, what is in far.json is in the rest."""
    store = Store(tmp_path)
    store.prepare()
    keeping = Keeping(store, PLAN)
    settled = []
    monkeypatch.setattr(store, "settle", lambda one: settled.append((tmp_path / "far.json").exists()))
    keeping.add(done(0, finding()))
    assert settled == [False]
    keeping.save(now=True)
    assert msgspec.json.decode((tmp_path / "far.json").read_bytes())["done"] == [[0, 1]]


# ---- the process of a shard ------------------------------------------------------------------------------------------------


HOOKS = """
import os, signal, sys, time
from fakes import open_fake, FakeRunner

def segv(subject, **_): os.kill(os.getpid(), signal.SIGSEGV)
def hang(subject, **_): time.sleep(1000)
def leave(subject, **_): print("last words", file=sys.stderr); sys.stderr.flush(); os._exit(7)
def chatter(subject, **options):
    print("what any library prints")
    print("progress: half way", file=sys.stderr, flush=True)
    return open_fake(subject, **options)
def grudge(subject, **_): raise RuntimeError("no")
def orphan(subject, **options):
    open(os.environ["FDSPEC_TEST_PIDS"], "a").write(f"{os.getpid()}\\n")
    time.sleep(1000)
"""


def path_with(*directories):
    """Return the path of Python's modules with these in front."""
    return os.pathsep.join([*map(str, directories), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture
def hooks(tmp_path, monkeypatch):
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "hooks.py").write_text(HOOKS)
    monkeypatch.setenv("PYTHONPATH", path_with(fakes.HERE, tmp_path / "hooks"))
    monkeypatch.delenv("FDSPEC_FUZZ_RUNNER", raising=False)


def served(opener, *, deadline=60.0, subject="fake-bugs", engine="guided", runs=200):
    told = []
    request = Work(4, Shard(subject, engine, 1, runs), opener, 30.0, 30.0)
    return far_values.reply_of(far_worker.run(far_values.encode(request), deadline, told.append)), told


def test_a_shard_is_done_in_a_process_of_its_own(hooks):
    reply, told = served("hooks:chatter")
    assert (reply.index, reply.counters.programs, reply.version) == (4, 200, "1.0")
    assert reply.corpus
    assert all(one.features for one in reply.corpus.values())
    assert reply.memory > 2**20
    assert told == ["half way"]


@pytest.mark.parametrize(
    ("opener", "words"),
    [
        ("hooks:segv", "the process of the shard failed: it was killed by SIGSEGV"),
        ("hooks:leave", "it exited with 7; it said last: last words"),
        ("hooks:grudge", "the harness failed: RuntimeError: no"),
        ("hooks:nothing", "has no attribute 'nothing'"),
        ("nowhere:nothing", "No module named 'nowhere'"),
    ],
)
def test_a_process_that_fails_takes_nobody_with_it(hooks, opener, words):
    reply, _ = served(opener)
    assert isinstance(reply, Failed)
    assert words in reply.reason


def test_a_process_that_hangs_is_ended(hooks):
    reply, _ = served("hooks:hang", deadline=1.5)
    assert isinstance(reply, Failed)
    assert "it did not end within 2 s" in reply.reason


def test_what_cannot_be_started_is_unavailable(hooks):
    assert served("fakes:open_fake", subject="fake-nostart")[0] == Unavailable("there is no such program")
    assert isinstance(served("fakes:open_fake", subject="fake-harness")[0], Failed)


def test_making_ready_sets_up_what_is_an_implementation(monkeypatch):
    prepared = []
    monkeypatch.setattr(far_shard, "prepare", lambda manifest, _: prepared.append(manifest.id))
    monkeypatch.setattr(far_shard, "_opened", lambda request, subject, engine: fakes.open_fake("fake"))
    assert far_shard.make_ready(Prepare("python-socket,reference", "differential", "fdspec.x:y")) == Ready("1.0")
    assert prepared == ["python-socket", "reference"]
    assert isinstance(
        far_shard.reply_to(far_values.encode(Prepare("no-such-thing", "guided", "fdspec.x:y"))), Unavailable
    )


# ---- Dask ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address", ["", "host", "tcp://host", "tcp://:99", "http://host:80", "tcp://host:port", "tcp://[::1"]
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(BadAddress, match="is no address of a scheduler"):
        checked(address)


def test_addresses():
    for address in ("tcp://127.0.0.1:8786", "tls://scheduler.example:8786", "tcp://[::1]:8786"):
        assert checked(address) == address


DASK = [sys.executable, "-m", "distributed.cli.dask_scheduler"], [sys.executable, "-m", "distributed.cli.dask_worker"]


class Site:
    """A scheduler and its workers, as processes on the loopback."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory, self.environment = directory, environment
        self.processes: list[subprocess.Popen] = []
        file = directory / "scheduler.json"
        common = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
        self.scheduler = self.start("scheduler", [*DASK[0], *common])
        self.address = wait_for(lambda: json.loads(file.read_text())["address"] if file.exists() else None)

    def start(self, name, command):
        log = (self.directory / f"{name}.log").open("wb")
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.directory, env=self.environment)
        log.close()
        self.processes.append(process)
        return process

    def worker(self, name):
        options = ["--nworkers", "1", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--name", name]
        options += ["--local-directory", str(self.directory / name), "--death-timeout", "60"]
        return self.start(name, [*DASK[1], self.address, *options])

    def close(self):
        for process in self.processes:
            process.kill()
            process.wait()


def wait_for(look, seconds=40.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(ValueError, KeyError):
            found = look()
            if found:
                return found
        time.sleep(0.02)  # another process is waited for, and tells nobody
    raise TimeoutError("it did not happen in time")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    directory = tmp_path_factory.mktemp("site")
    (directory / "hooks.py").write_text(HOOKS)
    environment = {**os.environ, "PYTHONPATH": path_with(fakes.HERE, directory)}
    environment["FDSPEC_TEST_PIDS"] = str(directory / "pids")
    found = Site(directory, environment)
    found.worker("first")
    found.worker("second")
    try:
        yield found
    finally:
        found.close()


def client(site, out, *options, subject="fake-bugs-slow"):
    """Start the command as a client of the site."""
    arguments = ["fuzz", "-i", subject, "--scheduler", site.address, "--out", str(out), "--seed", "3", *options]
    environment = site.environment | fakes.environment() | {"PYTHONPATH": site.environment["PYTHONPATH"]}
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from fdspec.cli import main; sys.exit(main())", *arguments],
        env=environment,
        cwd=site.directory,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def shards(out):
    """Return the shards that the client knows to be done."""
    if not (out / "far.json").exists():
        return set()
    done = json.loads((out / "far.json").read_text())["done"]
    return {index for first, last in done for index in range(first, last)}


def test_workers_and_client_are_killed_and_every_finding_is_there_once(site, tmp_path):
    out = tmp_path / "out"
    third = site.worker("third")
    process = client(site, out, "--runs", "100000")
    wait_for(lambda: len(shards(out)) >= 1 or process.poll() is not None)
    third.send_signal(signal.SIGKILL)
    with contextlib.suppress(TimeoutError):
        wait_for(lambda: len(shards(out)) >= 2 or process.poll() is not None)
    process.kill()  # in the middle of a campaign
    said, _ = process.communicate()
    assert len(shards(out)) >= 2, said
    assert process.returncode == -signal.SIGKILL, said
    before = shards(out)
    process = client(site, out, "--runs", "2500")
    said, _ = process.communicate(timeout=90)
    assert process.returncode == 1, said
    programs, count = map(int, re.search(r"([\d,]+) programs in (\d+) shards", said.replace(",", "")).groups())
    assert (programs, count) == (500 * count, len(before | set(range(5))))
    assert shards(out) == before | set(range(5))
    assert "GIVEN UP" not in said
    assert set(files(out)) == set(fakes.BUGS)
    every = [one.key for _, one in findings_store.all_of(out / "findings")]
    assert len(every) == len(set(every))
    assert f"{len(every)} findings" in said
    assert not list((out / "pending").iterdir())
    for path in Store(out).names():
        assert name_of(path.read_bytes()) == path.name


def test_what_is_done_by_dask_is_what_is_done_here(site, tmp_path):
    cluster = DaskCluster(site.address)
    try:
        plan = replace(PLAN, subject="fake-bugs", runs=500)
        there, ending = conduct(plan, cluster, tmp_path / "there")
        assert ending is None
    finally:
        cluster.close()
    here, _, _ = run(Cluster("a", answer=lambda _, request: far_shard.do(request)), tmp_path / "here", plan)
    assert known(there) == known(here)
    assert there.corpus == here.corpus


def test_an_implementation_that_cannot_be_started_there_is_exit_3(site, tmp_path):
    process = client(site, tmp_path / "out", "--runs", "100", subject="fake-nostart")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 3, said
    assert re.search(r"fdspec: worker tcp://127\.0\.0\.1:\d+ does not take part: there is no such program", said)


def test_the_process_of_a_shard_ends_with_its_worker(site, tmp_path):
    pids = Path(site.environment["FDSPEC_TEST_PIDS"])
    with contextlib.closing(DaskCluster(site.address)) as cluster:
        before = cluster.workers()
        worker = site.worker("fourth")
        (name,) = wait_for(lambda: cluster.workers().keys() - before.keys())
        cluster.start(name, far_values.encode(Prepare("fake", "guided", "hooks:orphan")), 500.0)
        pid = wait_for(lambda: int(pids.read_text().split()[-1]) if pids.exists() else None)
        worker.kill()
        wait_for(lambda: not Path(f"/proc/{pid}").exists())
        assert name not in wait_for(lambda: cluster.workers() if name not in cluster.workers() else None)


def test_nobody_there_is_told_in_time(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        begin = time.monotonic()
        with pytest.raises(Unreachable, match=rf"no scheduler answers at tcp://127.0.0.1:{port} within 1 s"):
            DaskCluster(f"tcp://127.0.0.1:{port}", connect=1.0)  # it takes the connection and says nothing
    with pytest.raises(Unreachable, match="no scheduler answers"):
        DaskCluster(f"tcp://127.0.0.1:{port}", connect=1.0)
    assert time.monotonic() - begin < 25
    with pytest.raises(BadAddress, match="needs certificates, and Dask's configuration names none"):
        DaskCluster(f"tls://127.0.0.1:{port}")
