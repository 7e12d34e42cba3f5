"""A testee's cage and its life: groups, signals, limits, descriptors, deadlines."""

import os
import resource
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from fdspec.impls.errors import Crashed, StartFailed, TimedOut
from fdspec.impls.process import LOG_LIMIT, NUMBERS, Launch, Testee, exit_code_name
from fdspec.impls.protocol.messages import Open, Reset

HERE = Path(__file__).parent
GOOD = HERE.parent.parent / "impls" / "catalogue" / "python-socket" / "adapter.py"
TESTEE = HERE.parent.parent / "impls" / "testee" / "fdspec_testee.py"
COMMAND = (sys.executable, "-I", str(TESTEE), str(GOOD))


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir(0o700)
    return path


@pytest.fixture
def testee(home):
    one = Testee(Launch(COMMAND, request_deadline=2.0), home)
    yield one
    one.kill()


def gone(pid, seconds=5.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


class TestCage:
    def test_it_leads_a_process_group_of_its_own(self, testee):
        assert os.getpgid(testee.pid) == testee.pid

    def test_it_inherits_nothing_but_the_standard_descriptors(self, home):
        # What a testee opens or moves is its own business, so this program tells what it has before it does anything.
        code = "import os, sys; sys.exit(' '.join(n for n in os.listdir('/proc/self/fd') if os.path.exists(f'/dev/fd/{n}')))"
        leaky = os.dup(0)
        os.set_inheritable(leaky, True)
        try:
            with pytest.raises(StartFailed) as raised:
                Testee(Launch((sys.executable, "-I", "-c", code)), home)
        finally:
            os.close(leaky)
        assert leaky not in (0, 1, 2)
        assert str(raised.value).splitlines()[-1].split(": ")[-1].split() == ["0", "1", "2"]

    def test_its_limits_are_set(self, testee):
        def limit(what):
            return resource.prlimit(testee.pid, what)

        assert limit(resource.RLIMIT_CORE) == (0, 0)
        assert limit(resource.RLIMIT_FSIZE) == (LOG_LIMIT, LOG_LIMIT)
        assert limit(resource.RLIMIT_NOFILE) == NUMBERS

    def test_it_works_in_its_private_directory(self, testee, home):
        assert os.readlink(f"/proc/{testee.pid}/cwd") == str(home)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700

    def test_its_environment_is_small(self, testee):
        names = {entry.split("=")[0] for entry in Path(f"/proc/{testee.pid}/environ").read_text().split("\0") if entry}
        assert names == {"PATH", "HOME", "TMPDIR", "LANG"}

    def test_it_dies_with_the_harness(self, tmp_path):
        script = textwrap.dedent(f"""
            import os, sys
            from pathlib import Path
            from fdspec.impls.process import Launch, Testee
            home = Path({str(tmp_path)!r}) / "home"
            home.mkdir(0o700)
            one = Testee(Launch({COMMAND!r}), home)
            print(one.pid, flush=True)
            os.kill(os.getpid(), 9)
        """)
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == -signal.SIGKILL
        assert gone(int(done.stdout))

    def test_killing_it_kills_what_it_started(self, home, tmp_path):
        adapter = tmp_path / "adapter.py"
        adapter.write_text(
            GOOD.read_text()
            + "\n    def start(self):\n        import subprocess, sys\n"
            + "        child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
            + "        sys.stderr.write(f'child {child.pid}\\n')\n"
        )
        one = Testee(Launch((*COMMAND[:3], str(adapter))), home)
        child = int(one.log_text().split()[1])
        assert one.own(child)
        one.kill()
        assert gone(child)
        assert not one.own(1)


class TestLife:
    def test_a_request_is_answered(self, testee):
        assert testee.ask(Open(path="/dev/null")).result.fd == 3

    def test_a_killed_testee_is_told_by_its_signal(self, testee):
        os.kill(testee.pid, signal.SIGKILL)
        with pytest.raises(Crashed) as told:
            testee.ask(Reset())
        assert told.value.code == "signal-SIGKILL"
        assert not testee.alive
        assert testee.held == 0

    def test_a_stopped_testee_is_a_timeout_and_killed(self, home):
        one = Testee(Launch(COMMAND, request_deadline=0.3), home)
        os.kill(one.pid, signal.SIGSTOP)
        with pytest.raises(TimedOut):
            one.ask(Reset())
        assert not one.alive

    def test_a_testee_that_does_not_read_is_a_timeout(self, home):
        one = Testee(Launch(COMMAND, request_deadline=0.3), home)
        os.kill(one.pid, signal.SIGSTOP)
        with pytest.raises(TimedOut, match="does not read"):
            one.ask(Open(path="/" + "x" * 2**20))

    def test_a_big_request_and_a_big_reply_go_through(self, testee):
        reply = testee.ask(Open(path="/" + "x" * 2**20))
        assert reply.error.errno == "ENAMETOOLONG"

    def test_it_exits_when_its_input_ends(self, testee):
        assert testee.hang_up() == 0

    def test_a_program_that_does_not_exist_cannot_start(self, home):
        with pytest.raises(StartFailed, match="/no/such"):
            Testee(Launch(("/no/such",)), home)

    def test_a_program_that_ends_at_once_cannot_start(self, home):
        with pytest.raises(StartFailed, match="exit-3; its last words: alas"):
            Testee(Launch((sys.executable, "-c", "import sys; sys.stderr.write('alas'); sys.exit(3)")), home)

    def test_killing_twice_does_no_harm(self, testee):
        testee.kill()
        testee.kill()


@pytest.mark.parametrize(
    ("code", "name"), [(0, "exit-0"), (3, "exit-3"), (-11, "signal-SIGSEGV"), (-200, "signal-200")]
)
def test_exit_codes_have_names(code, name):
    assert exit_code_name(code) == name
