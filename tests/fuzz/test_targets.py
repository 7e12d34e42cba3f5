"""Every target stands alone, holds for thousands of inputs, and finds a fault that is planted into what it looks at."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import fdspec.fuzz.targets
import pytest
from fdspec.fuzz.targets import seeds, support
from fdspec.impls.protocol.conversation import Conversation, Noise
from fdspec.impls.protocol.messages import Hello

HERE = Path(fdspec.fuzz.targets.__file__).parent
TARGETS = sorted(path.stem for path in HERE.glob("fuzz_*.py"))

IN_PROCESS = """
from fdspec.fuzz.inprocess import apis
"""
PLANTS = {
    "fuzz_config": """
from fdspec.conformance import tomlfile
old = tomlfile._mistake
def new(document, value, expected, at, message):
    raise KeyError("jobs") if "jobs" in message else old(document, value, expected, at, message)
tomlfile._mistake = new
""",
    "fuzz_conversation": """
from fdspec.impls.protocol.conversation import Conversation
old = Conversation.feed
def new(self, data):
    yield from old(self, data.rstrip(b"\\n") if data.endswith(b"}\\n") and len(data) > 8 else data)
Conversation.feed = new
""",
    "fuzz_expectations": """
from fdspec.conformance import expectations
old = expectations.PROBES
expectations.PROBES = type("Probes", (dict,), {"__contains__": lambda self, name: bool(self[name])})(old)
""",
    "fuzz_findings": """
old = module.show_finding
module.show_finding = lambda finding: old(finding).replace("minimised = true", "minimised = false")
""",
    "fuzz_manifest": """
from fdspec.impls import manifest
manifest._near = lambda word, known: known[word]
""",
    "fuzz_model_control": """
old = module.parse
module.parse = lambda control: tuple(one for one in old(control) if one.length != 28 or not one.data.endswith(b"\\xff"))
""",
    "fuzz_programs_bytes": """
old = module.parse
module.parse = lambda text: old(text.replace("flags=PEEK", ""))
""",
    "fuzz_programs_text": """
from fdspec.fuzz import text
old = text._first_other
text._first_other = lambda line, words: old(line, words) + 200
""",
    "fuzz_python_socket": IN_PROCESS
    + """
old = apis._rights
apis._rights = lambda ancillary: list(old(ancillary))[:2]
""",
    "fuzz_records": """
from fdspec.reports.store import _Reader
_Reader.check_counts = lambda self, number, footer: {5: 0}[footer.records]
""",
    "fuzz_reference_control": """
old = module.decode
def new(control, layout):
    found = old(control, layout)
    return found._replace(messages=found.messages[:2])
module.decode = new
module.numbers = lambda messages: ([], [], 0)
""",
    "fuzz_reference_descriptors": """
from fdspec.impls.reference import descriptors
old = descriptors.recv_fds
def new(sock, size, room, flags=0):
    data, fds, shown, address = old(sock, size, room, flags)
    return data, fds, shown & ~8, address
descriptors.recv_fds = new
""",
    "fuzz_reference_libc": """
from fdspec.impls.reference import libcmessage
old = libcmessage.decode
libcmessage.decode = lambda raw: old(raw)._replace(messages=old(raw).messages[:0])
""",
    "fuzz_reference_message": """
from fdspec.impls.reference import message
message._close_all = lambda descriptors: [one.detach() for one in descriptors]
""",
    "fuzz_twisted_sendmsg": """
from twisted.python import sendmsg
old = sendmsg.recvmsg
sendmsg.recvmsg = lambda *a, **k: (lambda one: type(one)(one.data, one.ancillary, 0))(old(*a, **k))
""",
}
WRAPPER = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("target", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
{plant}
sys.argv = sys.argv[1:]
module.main()
"""


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    directory = tmp_path_factory.mktemp("seeds")
    assert seeds.write(directory) >= 2 * len(TARGETS)
    return directory


def run(directory: Path, *words: str):
    return subprocess.run(
        [sys.executable, *words, f"-artifact_prefix={directory}/"],
        cwd=directory,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=110,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )


def test_there_are_seeds_and_a_planted_fault_for_each():
    assert len(TARGETS) >= 13
    assert sorted(seeds.SEEDS) == sorted(PLANTS) == TARGETS
    for dictionary in (HERE / "dictionaries").iterdir():
        assert f"fuzz_{dictionary.stem}" in TARGETS


@pytest.mark.parametrize("target", TARGETS)
def test_it_holds_for_thousands_of_inputs(target, begun, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    done = run(tmp_path, str(HERE / f"{target}.py"), "-runs=2000", "-seed=1", str(corpus), str(begun / target))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done 2" in done.stderr or "Done 3" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]
    assert any(corpus.iterdir())  # coverage has led it on


@pytest.mark.parametrize("target", TARGETS)
def test_it_finds_a_planted_fault(target, begun, tmp_path):
    plant = WRAPPER.format(plant=PLANTS[target])
    done = run(tmp_path, "-c", plant, str(HERE / f"{target}.py"), "-runs=30000", "-seed=1", str(begun / target))
    assert done.returncode == 77, done.stderr[-3000:]
    assert "Uncaught Python exception" in done.stdout + done.stderr
    assert len(list(tmp_path.glob("crash-*"))) == 1


@pytest.mark.parametrize("target", TARGETS)
def test_it_has_the_form_that_the_services_expect(target):
    text = (HERE / f"{target}.py").read_text()
    assert "with atheris.instrument_imports(" in text
    assert "def TestOneInput(data: bytes) -> None:" in text
    assert text.endswith('\n\nif __name__ == "__main__":\n    main()\n')


def test_importing_one_does_nothing(capfd):
    before = sorted(os.listdir("/proc/self/fd"))
    spec = importlib.util.spec_from_file_location("target_of_a_test", HERE / "fuzz_python_socket.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert callable(module.TestOneInput)
    assert callable(module.main)
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert capfd.readouterr().out == ""


def test_a_message_that_nobody_can_read_is_a_fault():
    support.told_shortly(ValueError("short"), b"")
    for text in ("", " ", "x" * 5000):
        with pytest.raises(support.Broken):
            support.told_shortly(ValueError(text), b"")


def test_the_file_in_memory_holds_what_was_put_last():
    file = support.Memory()
    assert file.put(b"long enough").read_bytes() == b"long enough"
    assert file.put(b"short").read_bytes() == b"short"
    os.close(file._fd)


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"id":1,"result":' + b"[" * 100_000, b'{"id":1,"error":' + b"[" * 9999]
)
def test_a_line_that_is_nested_too_deeply_is_noise(line):
    """A target found it: the decoder raised RecursionError, which came out of the conversation."""
    conversation = Conversation()
    conversation.ask(Hello())
    (event,) = conversation.feed(line + b"\n")
    assert isinstance(event, Noise)
