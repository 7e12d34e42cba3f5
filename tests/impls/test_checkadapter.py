"""``check-adapter`` against adapters that keep the protocol and against some that break one rule each."""

import pytest
from fdspec.impls import checkadapter
from fdspec.impls.checkadapter import TRIALS, Severity, check_adapter
from fdspec.impls.checkraw import RAW_TRIALS
from fdspec.impls.registry import find
from fdspec.impls.setup import Prepared, prepare

HOPELESS = "The testee starts and says hello."

FAULTS = {
    "def hello(self, *a): return dict(super().hello(*a), profiles={'descriptors': {'types': ['stream']}})": "profiles that hello offers",
    "implementation = {'name': '', 'version': ''}": "name and the version",
    "def open(self, path, flags): return os.open('/dev/null', os.O_RDWR)": "Open gives a number",
    "def open(self, path, flags): fd = os.open(path, flags); os.set_inheritable(fd, True); return fd": "close-on-exec",
    "def open(self, path, flags): return os.open(path, flags) if os.path.exists(path) else 3": "An error carries",
    "def close(self, fd): pass": "Closing a number that is not open",
    "def reset(self, close): return []": "Reset closes",
    "def reset(self, close): self.drop(); [os.close(fd) for fd in close if fd < 99]; return []": "Reset tells",
    "def setopt(self, *a): pass": "Options are set",
    "def setopt(self, fd, level, *a): return None if level == 'fcntl' else super().setopt(fd, level, *a)": "O_NONBLOCK was set",
    "def shutdown(self, *a): pass": "the peer sees no end",
    "def close(self, fd): return fd and super().close(fd)": "number 0 is still open after close",
    "def listen(self, *a): return self.keep(good.socket.socket(1))": "nothing can be connected",
    "def accept(self, fd): return 0, ''": "number 0 is no open socket",
    "def hello(self, *a): return dict(super().hello(*a), capabilities=['options', 'listen'])": "steps was answered",
    "def hello(self, *a): return dict(super().hello(*a), capabilities=['steps', 'listen'])": "setopt was answered",
    "def hello(self, *a): return dict(super().hello(*a), capabilities=['steps', 'options'])": "listen was answered",
    "def recvmsg(self, *a): d, anc, f, where = super().recvmsg(*a); return d, [(1, 1, [2])], f, where": "its number is true",
    "def recvmsg(self, *a): r = super().recvmsg(*a); os.write(1, b'debugging\\n'); return r": "both ways",
    "def sendmsg(self, fd, b, anc, *r): return super().sendmsg(fd, b, [], *r)": "both ways",
    "def start(self): sys.stdin.close = None; good.os._exit(7)": HOPELESS,
}


def findings(manifest_path):
    manifest = find(str(manifest_path))
    prepared = prepare(manifest)
    assert isinstance(prepared, Prepared)
    return list(check_adapter(manifest, prepared, lambda _: None))


@pytest.mark.parametrize(
    "name", ["python-socket", "python-socket-fds", "python-recipe", "linux", "linux-m32", "linux-musl"]
)
def test_an_adapter_that_keeps_the_protocol_has_no_error(name):
    manifest = find(name)
    prepared = prepare(manifest)
    assert isinstance(prepared, Prepared)
    found = list(check_adapter(manifest, prepared, lambda _: None))
    assert [one for one in found if one.severity is Severity.ERROR] == []
    assert len(found) == len(TRIALS)


def test_what_is_optional_may_be_left_out(miscreant):
    found = findings(miscreant("capabilities = []"))
    assert [one for one in found if one.severity is Severity.ERROR] == []
    left_out = [one.rule.split()[0] for one in found if one.text == "not offered"]
    assert left_out[:6] == ["Steps", "Steps", "Options", "Listen", "Number", "A"]  # the last is: a transport
    assert left_out[6:] == [(one.__doc__ or "").split()[0] for one in RAW_TRIALS]
    assert len(found) == len(TRIALS)


@pytest.mark.parametrize("body", FAULTS)
def test_each_broken_rule_is_named(body, miscreant, monkeypatch):
    monkeypatch.setattr(
        checkadapter, "TRIALS", [one for one in TRIALS if one not in RAW_TRIALS]
    )  # test_checkraw.py has these
    errors = [one for one in findings(miscreant(body)) if one.severity is Severity.ERROR]
    assert errors, "nothing was found"
    assert any(FAULTS[body] in f"{one.rule} {one.text}" for one in errors), errors


def test_a_testee_that_does_not_end_with_its_input_is_told(miscreant, monkeypatch):
    monkeypatch.setattr(checkadapter, "TRIALS", TRIALS[:1])
    manifest = miscreant("pass")
    script = manifest.parent / "lingers.py"
    text = manifest.read_text()
    script.write_text(
        "import os, subprocess, sys\nsubprocess.run([sys.executable, '-I', sys.argv[1], sys.argv[2]])\nimport time; time.sleep(30)\n",
        encoding="utf-8",
    )
    manifest.write_text(text.replace('"{testee}/fdspec_testee.py"', '"{here}/lingers.py", "{testee}/fdspec_testee.py"'))
    errors = [one for one in findings(manifest) if one.severity is Severity.ERROR]
    assert any("went on running" in one.text for one in errors)
