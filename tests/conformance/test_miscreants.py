"""Testees that misbehave: each gets its verdict, the run goes on, and the next case has a fresh testee."""

import pytest

# Two cases: the miscreant misbehaves at the first sendmsg of its life, so the second case shows that the run went on.
FIRST, SECOND = "send.one", "ctrunc.excess-is-reported"

MISCREANTS = {
    "hangs": ("def sendmsg(self, *a): time.sleep(60)", "timeout", "timeout"),
    "dies": ("def sendmsg(self, *a): os._exit(3)", "crash", "exit-3"),
    "is-killed": ("def sendmsg(self, *a): os.kill(os.getpid(), signal.SIGSEGV)", "crash", "signal-SIGSEGV"),
    "floods": ("def sendmsg(self, *a): [os.write(1, b'x' * 9999 + b'\\n') for _ in range(10000)]", "broken", "flood"),
    "floods-a-line": ("def sendmsg(self, *a): [os.write(1, b'x' * 10000) for _ in range(10000)]", "broken", "too-long"),
    "answers-another-id": (
        'def sendmsg(self, *a): os.write(1, b\'{"id":77,"result":{}}\\n\'); return 1',
        "broken",
        "unknown-id",
    ),
    "answers-twice": (
        'def sendmsg(self, *a): os.write(1, b\'{"id":7,"result":{}}\\n\' * 2); return 1',
        "broken",
        "malformed",
    ),
    "is-not-utf-8": ("def sendmsg(self, *a): os.write(1, b'\\xff\\n'); return 1", "broken", "not-utf-8"),
    "closes-its-output": ("def sendmsg(self, *a): os.close(1); time.sleep(60)", "broken", "closed-output"),
    "claims-too-much": (
        "def sendmsg(self, *a): raise sys.modules['fdspec_testee'].Unsupported('not really')",
        "broken",
        "claimed-capability",
    ),
    "closes-what-is-not-its-own": (
        "def sendmsg(self, fd, b, anc, *r):\n    n = super().sendmsg(fd, b, anc, *r)\n    os.close(anc[0][2][0])\n    return n",
        "fail",
        "stray-close",
    ),
    "replaces-what-is-not-its-own": (
        "def sendmsg(self, fd, b, anc, *r):\n    n = super().sendmsg(fd, b, anc, *r)\n    os.dup2(fd, anc[0][2][0])\n    return n",
        "fail",
        "stray-close",
    ),
    "leaks": (
        "def sendmsg(self, fd, b, anc, *r): os.dup(anc[0][2][0]); return super().sendmsg(fd, b, anc, *r)",
        "leak",
        "leak",
    ),
    "leaks-a-socket": ("def sendmsg(self, fd, *r): os.dup(fd); return super().sendmsg(fd, *r)", "leak", "leak"),
    "leaks-and-closes": (
        "def sendmsg(self, fd, b, anc, *r): os.dup2(anc[0][2][0], 2); return super().sendmsg(fd, b, anc, *r)",
        "fail",
        "stray-close",
    ),
    "sends-nothing": ("def sendmsg(self, *a): return 1", "fail", "assertion"),
    "sends-something-else": (
        "def sendmsg(self, fd, b, anc, *r): return super().sendmsg(fd, b, [(1, 1, [0])], *r)",
        "fail",
        "assertion",
    ),
    "never-connects": ("def connect(self, *a): return self.keep(good.socket.socket(1))", "broken", "no-connection"),
    "cannot-open": ("def open(self, *a): raise OSError(13, 'no')", "broken", "operation"),
    "invents-numbers": ("def open(self, *a): return 0", "broken", "operation"),
}


@pytest.mark.parametrize("name", MISCREANTS)
def test_a_miscreant_gets_its_verdict_and_the_run_goes_on(name, miscreant, conformance):
    body, verdict, reason = MISCREANTS[name]
    manifest = miscreant(body)
    done = conformance(
        "--fdspec-impl", str(manifest), "--fdspec-case", FIRST, "--fdspec-case", SECOND, "--fdspec-type", "stream"
    )
    assert done.code == 1, done.out
    assert done.footer["complete"]
    first, second = done.verdicts
    assert (first["verdict"], first["reason"]) == (verdict, reason), first
    if name != "never-connects":
        assert second["verdict"] == "pass", second
    assert first["transcript"]
    assert first["reproduce"].startswith("fdspec run -i /")


def test_noise_and_late_replies_do_no_harm(miscreant, conformance):
    manifest = miscreant(
        'def sendmsg(self, *a): os.write(1, b\'chatter\\n{"id": "x"}\\n\'); return super().sendmsg(*a)'
    )
    done = conformance("--fdspec-impl", str(manifest), "--fdspec-case", FIRST)
    assert done.code == 0, done.out
    assert {one["verdict"] for one in done.verdicts} == {"pass"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("def start(self): sys.exit('last words')", "last words"),
        ("def start(self): time.sleep(60)", "no reply within"),
        ("def hello(self, *a): return {'version': 2, 'implementation': {'name': 'x', 'version': '', 'language': ''}, 'profiles': {}}", "speaks version 2"),
        ("profiles = {'message': {'types': ['stream'], 'capabilities': ['flight']}}", "unknown capability 'flight'"),
        ("policies = {'truncation': {'outcome': 'maybe'}}", "unknown outcome 'maybe'"),
    ],
)  # fmt: skip
def test_a_testee_that_cannot_start_is_exit_3_with_its_last_words(body, words, miscreant, conformance):
    done = conformance("--fdspec-impl", str(miscreant(body)), "--fdspec-case", FIRST)
    assert done.code == 3, done.out
    assert {one["verdict"] for one in done.verdicts} == {"crash"}
    assert {one["reason"] for one in done.verdicts} == {"start"}
    assert words in done.verdicts[0]["observed"]


def test_a_testee_whose_program_does_not_exist_is_exit_3(miscreant, conformance):
    manifest = miscreant("pass")
    manifest.write_text(manifest.read_text().replace('"{python}"', '"/does/not/exist"'))
    done = conformance("--fdspec-impl", str(manifest), "--fdspec-case", FIRST)
    assert done.code == 3, done.out
    assert "/does/not/exist" in done.out


def test_a_type_that_is_not_offered_is_unsupported(miscreant, conformance):
    manifest = miscreant("profiles = {'message': {'types': ['stream'], 'capabilities': ['plain-out']}}")
    done = conformance("--fdspec-impl", str(manifest), "--fdspec-case", FIRST)
    assert done.code == 0, done.out
    assert [one["verdict"] for one in done.verdicts] == ["pass", "unsupported", "unsupported"]


def test_an_operation_of_a_random_name_must_be_unsupported(miscreant, conformance):
    manifest = miscreant("pass")
    text = manifest.parent / "liar.py"
    text.write_text("import sys, json\nfor line in sys.stdin:\n    q = json.loads(line)\n    r = {'version': 1, 'implementation': {'name': 'l', 'version': '1', 'language': 'P'}, 'profiles': {'message': {'types': ['stream']}}} if q['op'] == 'hello' else {}\n    print(json.dumps({'id': q['id'], 'result': r}), flush=True)\n")  # fmt: skip
    manifest.write_text(manifest.read_text().replace("{testee}/fdspec_testee.py", "{here}/liar.py"))
    done = conformance("--fdspec-impl", str(manifest), "--fdspec-case", FIRST)
    assert done.code == 3, done.out
    assert "random name" in done.verdicts[0]["observed"]


def test_a_testee_that_ends_between_two_requests_is_a_crash(miscreant, conformance):
    body = """
        def sendmsg(self, *a):
            import threading
            threading.Timer(0.01, os._exit, (5,)).start()
            return super().sendmsg(*a)
        def drop(self):
            time.sleep(0.2)
            return super().drop()
    """
    done = conformance("--fdspec-impl", str(miscreant(body)), "--fdspec-case", FIRST, "--fdspec-type", "stream")
    [verdict] = done.verdicts
    assert (verdict["verdict"], verdict["reason"]) == ("crash", "exit-5"), done.out


def test_a_leaked_device_is_a_leak(miscreant, conformance):
    body = """
        def sendmsg(self, fd, b, anc, *r):
            import stat
            devices = [one for one in anc[0][2] if stat.S_ISCHR(os.fstat(one).st_mode)]
            os.dup(devices[0])
            return super().sendmsg(fd, b, anc, *r)
    """
    done = conformance("--fdspec-impl", str(miscreant(body)), "--fdspec-case", "send.kinds", "--fdspec-type", "stream")
    [verdict] = done.verdicts
    assert (verdict["verdict"], verdict["reason"]) == ("leak", "leak"), done.out
    assert "null" in verdict["observed"]
