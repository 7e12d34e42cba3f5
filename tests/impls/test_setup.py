"""Environments: built once, built again when they must be, and unavailable with a reason otherwise."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fdspec.impls import build, interpreters, setup, sources
from fdspec.impls.manifest import parse
from fdspec.impls.setup import Pending, Prepared, Unavailable, prepare, survey

HEAD = """
id = "sample"
name = "a sample"
language = "C"
homepage = "https://example.org"
summary = "one line"
profiles = ["message"]
"""
TOUCH = """
[setup]
kind = "commands"
commands = [["sh", "-c", "echo built >> {here}/../built; echo '#!/bin/sh' > {env}/testee; chmod +x {env}/testee"]]
[start]
command = ["{env}/testee", "{here}", "{testee}"]
"""


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FDSPEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(setup, "_FAILED_HERE", {})


@pytest.fixture
def here(tmp_path):
    directory = tmp_path / "here"
    directory.mkdir()
    return directory


def manifest(here, text):
    return parse(HEAD + text, here / "impl.toml")


def again():
    """Forget failures, as a new process does."""
    setup._FAILED_HERE.clear()


def built(here):
    file = here.parent / "built"
    return len(file.read_text().splitlines()) if file.exists() else 0


def marks(here, ending):
    return list((here.parent / "cache" / "environments").glob(f"*{ending}"))


def tool(directory, name, text="#!/bin/sh\n"):
    directory.mkdir(exist_ok=True)
    path = directory / name
    path.write_text(text)
    path.chmod(0o755)
    return path


# --- no environment


def test_nothing_to_set_up(here):
    found = prepare(manifest(here, '[start]\ncommand = ["{python}", "{here}/a.py", "{testee}"]'))
    assert isinstance(found, Prepared)
    assert found.command == (sys.executable, f"{here}/a.py", str(setup.TESTEE))
    assert found.directory is None
    assert not (here.parent / "cache").exists()


def test_nothing_of_the_caller_leaks_into_a_testee(here, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "x")
    found = prepare(manifest(here, '[start]\ncommand = ["{python}"]'))
    assert isinstance(found, Prepared)
    assert "SECRET_TOKEN" not in found.environment


def test_a_missing_tool_is_named(here, monkeypatch):
    monkeypatch.setenv("PATH", str(here))
    found = prepare(manifest(here, '[needs]\ntools = ["cc"]\n[start]\ncommand = ["{python}"]'))
    assert isinstance(found, Unavailable)
    assert found.reason == "needs cc, which is not on PATH"


def test_missing_tools_are_named_together(here, monkeypatch):
    monkeypatch.setenv("PATH", str(here))
    found = prepare(manifest(here, '[needs]\ntools = ["cc"]\n[setup]\nkind = "cargo"\n[start]\ncommand = ["{python}"]'))
    assert isinstance(found, Unavailable)
    assert found.reason == "needs cc and cargo, which are not on PATH"


def test_a_program_that_is_not_on_path(here):
    found = prepare(manifest(here, '[start]\ncommand = ["no-such-program"]'))
    assert isinstance(found, Unavailable)
    assert found.reason == "needs no-such-program, which is not on PATH"


def test_a_program_that_cannot_be_executed(here):
    (here / "adapter").write_text("")
    found = prepare(manifest(here, '[start]\ncommand = ["{here}/adapter"]'))
    assert isinstance(found, Unavailable)
    assert found.reason == f"{here}/adapter cannot be executed"


# --- commands


def test_an_environment_is_built_once(here):
    wanted = manifest(here, TOUCH)
    said = []
    first = prepare(wanted, said.append)
    assert isinstance(first, Prepared)
    assert len(said) == 1
    assert said[0].startswith("sample: running sh -c")
    assert first.directory is not None
    assert first.command == (f"{first.directory}/testee", str(here), str(setup.TESTEE))
    assert stat.S_IMODE(first.directory.stat().st_mode) == 0o700
    assert prepare(wanted, said.append) == first
    assert survey(wanted) == first
    assert (built(here), len(said)) == (1, 1)


def test_a_changed_source_is_built_again(here):
    wanted = manifest(here, TOUCH)
    (here / "testee.c").write_text("1")
    first = prepare(wanted)
    (here / "testee.c").write_text("2")
    assert isinstance(survey(wanted), Pending)
    second = prepare(wanted)
    assert first.directory != second.directory
    (here / "testee.c").write_text("1")
    assert prepare(wanted).directory == first.directory
    assert built(here) == 2


def test_a_changed_source_elsewhere_is_built_again(here):
    wanted = manifest(here, TOUCH.replace("[start]", 'sources = ["../src"]\n[start]'))
    prepare(wanted)
    (here.parent / "src").mkdir()
    (here.parent / "src" / "a.c").write_text("1")
    prepare(wanted)
    assert built(here) == 2


def test_two_manifests_with_one_id_do_not_share(here):
    other = here.parent / "other"
    other.mkdir()
    assert prepare(manifest(here, TOUCH)).directory != prepare(manifest(other, TOUCH)).directory


def test_a_half_built_environment_is_built_again(here):
    wanted = manifest(here, TOUCH)
    first = prepare(wanted)
    (first.directory / ".ready").unlink()
    (first.directory / "rest").write_text("of a build that was cut")
    assert isinstance(survey(wanted), Pending)
    assert prepare(wanted) == first
    assert not (first.directory / "rest").exists()
    assert built(here) == 2


FAILING = TOUCH.replace(
    "echo built", "echo built; [ -e {here}/../good ] || { echo 'what went wrong' >&2; exit 7; }; echo built"
)


def test_a_failed_build_has_its_reason(here):
    wanted = manifest(here, FAILING)
    found = prepare(wanted)
    assert isinstance(found, Unavailable)
    assert "exit code 7" in found.reason
    assert "what went wrong" in found.reason
    assert "\n" not in found.reason
    assert found.words.endswith("what went wrong")
    assert "what went wrong" in found.log.read_text()
    assert not [path for path in (here.parent / "cache" / "environments").iterdir() if path.is_dir()]


def test_a_failure_is_remembered_and_tried_again_by_the_next_process(here):
    wanted = manifest(here, FAILING)
    said = []
    failure = prepare(wanted, said.append)
    assert prepare(wanted, said.append) == failure
    assert len(said) == 1  # one process tries once
    assert survey(wanted) == failure
    (here.parent / "good").touch()
    again()
    assert isinstance(prepare(wanted, said.append), Prepared)
    assert isinstance(survey(wanted), Prepared)
    assert not marks(here, build.FAILED)


def test_the_last_words_of_a_build_are_harmless(here):
    command = '["sh", "-c", "printf \'\\\\033[2J\\\\a\\\\377 error: here\\\\n\'; exit 1"]'
    found = prepare(manifest(here, f'[setup]\nkind = "commands"\ncommands = [{command}]\n[start]\ncommand = ["x"]'))
    assert isinstance(found, Unavailable)
    assert found.words.isprintable()
    assert "error: here" in found.reason


def test_a_build_that_prints_much_is_quoted_shortly(here):
    command = '["sh", "-c", "yes 0123456789 | head -c 1000000; exit 1"]'
    found = prepare(manifest(here, f'[setup]\nkind = "commands"\ncommands = [{command}]\n[start]\ncommand = ["x"]'))
    assert isinstance(found, Unavailable)
    assert len(found.words.splitlines()) <= build.KEPT_LINES
    assert len(found.reason) < 400


def test_a_build_that_never_ends_is_ended(here, monkeypatch):
    monkeypatch.setattr(build, "PATIENCE", 2.0)
    command = '["sh", "-c", "sleep 1000 & echo $! > {here}/pid; wait"]'
    found = prepare(manifest(here, f'[setup]\nkind = "commands"\ncommands = [{command}]\n[start]\ncommand = ["x"]'))
    assert isinstance(found, Unavailable)
    assert "took longer" in found.reason
    assert gone(int((here / "pid").read_text()))


def test_what_a_build_leaves_running_is_ended(here):
    text = TOUCH.replace("echo built", "sleep 1000 & echo $! > {here}/../pid; echo built")
    assert isinstance(prepare(manifest(here, text)), Prepared)
    assert gone(int((here.parent / "pid").read_text()))


def gone(pid):
    """Whether the process has ended; a killed child of init may take a moment to be reaped."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state in "ZX":
            return True
        time.sleep(0.01)
    return False


def test_a_command_that_does_not_exist(here):
    found = prepare(
        manifest(here, '[setup]\nkind = "commands"\ncommands = [["no-such-program"]]\n[start]\ncommand = ["x"]')
    )
    assert isinstance(found, Unavailable)
    assert "no-such-program" in found.reason
    assert "could not be started" in found.reason


def test_a_build_is_not_led_astray_by_the_caller(here, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("VIRTUAL_ENV", "/somewhere")
    monkeypatch.setenv("PIP_TARGET", "/somewhere")
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example")
    text = TOUCH.replace("echo built", "env > {here}/../env; echo built")
    assert isinstance(prepare(manifest(here, text)), Prepared)
    seen = (here.parent / "env").read_text()
    assert "/somewhere" not in seen
    assert "proxy.example" in seen


def test_a_cache_that_cannot_be_written(here, monkeypatch):
    (here.parent / "file").touch()
    monkeypatch.setenv("FDSPEC_CACHE", str(here.parent / "file"))
    found = prepare(manifest(here, TOUCH))
    assert isinstance(found, Unavailable)
    assert "FDSPEC_CACHE" in found.reason


def test_a_foreign_environment_is_not_trusted(here, monkeypatch):
    wanted = manifest(here, TOUCH)
    assert isinstance(prepare(wanted), Prepared)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    owner = prepare(wanted).directory if os.getuid() == 0 else None
    if os.getuid() == 0:  # what root made may be used by all
        assert owner is not None
        os.chown(owner, 4321, -1)
    found = prepare(wanted)
    assert isinstance(found, Unavailable)
    assert "another user" in found.reason


def test_two_runs_do_not_build_at_once(here):
    code = f"""
import sys
from pathlib import Path
from fdspec.impls import setup
from fdspec.impls.manifest import parse
here = Path({str(here)!r})
wanted = parse((here.parent / "text").read_text(), here / "impl.toml")
found = setup.prepare(wanted, lambda text: print(text, flush=True))
print(type(found).__name__)
"""
    text = TOUCH.replace("echo built", "read line < {here}/../gate; echo built")
    (here.parent / "text").write_text(HEAD + text)
    os.mkfifo(here.parent / "gate")
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)]
    assert "running" in runs[0].stdout.readline()
    runs.append(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
    assert "waiting for another run" in runs[1].stdout.readline()
    with (here.parent / "gate").open("w") as gate:
        gate.write("go\n")
    assert [run.communicate()[0].split()[-1] for run in runs] == ["Prepared", "Prepared"]
    assert built(here) == 1


def test_a_lock_that_nobody_holds_does_no_harm(here):
    wanted = manifest(here, TOUCH)
    first = prepare(wanted)
    (first.directory / ".ready").unlink()
    with first.directory.with_name(first.directory.name + ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    said = []
    assert prepare(wanted, said.append) == first
    assert not [text for text in said if "waiting" in text]


def test_environments_of_long_ago_go(here):
    wanted = manifest(here, TOUCH)
    old = prepare(wanted).directory
    (here / "new").touch()
    recent = prepare(wanted).directory
    ready = old / ".ready"
    os.utime(ready, (0, 0))
    (here / "newer").touch()
    assert prepare(wanted).directory.exists()
    assert not old.exists()
    assert recent.exists()


# --- python


def wheel(directory, name, version):
    """Write the smallest wheel that there can be."""
    import zipfile

    directory.mkdir(exist_ok=True)
    dist = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n")
        archive.writestr(f"{dist}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{dist}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{dist}/RECORD", "")


def test_a_virtual_environment_of_its_own(here, monkeypatch):
    wheel(here.parent / "wheels", "sampled", "1.0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(here.parent / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    text = '[setup]\nkind = "python"\npackages = ["sampled==1.0"]\n[start]\ncommand = ["{python}", "-I"]'
    wanted = manifest(here, text)
    said = []
    found = prepare(wanted, said.append)
    assert isinstance(found, Prepared), found
    assert said == ["sample: making a virtual environment", "sample: installing sampled==1.0"]
    ask = "import sampled, sys; print(sampled.version, sys.prefix)"
    answer = subprocess.run([*found.command, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    assert answer == ["1.0", str(found.directory / "venv")]
    foreign = subprocess.run([*found.command, "-c", "import msgspec"], capture_output=True, text=True, check=False)
    assert "ModuleNotFoundError" in foreign.stderr  # the harness's own packages are not seen
    (found.directory / "venv" / "bin" / "python").unlink()  # an interpreter that was uninstalled
    assert isinstance(survey(wanted), Pending)

    missing = manifest(here, text.replace("sampled==1.0", "sampled==2.0"))
    failed = prepare(missing)
    assert isinstance(failed, Unavailable)
    assert failed.reason.startswith(
        "pip install failed (exit code 1): ERROR: No matching distribution found for sampled==2.0"
    )


def test_an_interpreter_that_is_not_there(here, monkeypatch):
    monkeypatch.setenv("PATH", str(here))
    monkeypatch.setenv("PYENV_ROOT", str(here))
    found = prepare(
        manifest(here, '[needs]\npython = "==2.6.*"\n[setup]\nkind = "python"\n[start]\ncommand = ["{python}"]')
    )
    assert isinstance(found, Unavailable)
    assert found.reason == "needs Python ==2.6.*, which is neither on PATH nor among pyenv's versions"


SAYS = '#!/bin/sh\nprintf "%s"\n'
SHIM = "#!/bin/sh\necho 'pyenv: python2.7: command not found' >&2\nexit 127\n"


def test_a_shim_that_does_not_run_is_no_interpreter(here, monkeypatch):
    monkeypatch.setenv("PATH", str(here / "shims"))
    monkeypatch.setenv("PYENV_ROOT", str(here / "pyenv"))
    tool(here / "shims", "python2.7", SHIM)
    assert interpreters.find("==2.7.*") is None
    (here / "pyenv" / "versions" / "2.7.18").mkdir(parents=True)
    real = tool(here / "pyenv" / "versions" / "2.7.18" / "bin", "python", SAYS % "2.7.18")
    assert interpreters.find("==2.7.*") == interpreters.Interpreter(real, "2.7.18")


def test_a_name_proves_nothing(here, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(here))
    monkeypatch.setenv("PATH", str(here / "bin"))
    for version, name in (("3.5.1", "python2.7"), ("nonsense", "python2"), ("", "python")):
        tool(here / "bin", name, SAYS % version)
    assert interpreters.find("==2.7.*") is None


def test_the_own_interpreter_is_preferred_then_path_then_the_newest_of_pyenv(here, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(here / "pyenv"))
    monkeypatch.setenv("PATH", f"relative{os.pathsep}{here / 'bin'}")
    for version in ("3.4.1", "3.4.10", "2.5.1"):
        (here / "pyenv" / "versions" / version).mkdir(parents=True)
        tool(here / "pyenv" / "versions" / version / "bin", "python", SAYS % version)
    assert interpreters.find(None) == interpreters.own()
    assert interpreters.find(">=2.5") == interpreters.own()
    assert interpreters.find("==3.4.*").version == "3.4.10"
    on_path = tool(here / "bin", "python3.4", SAYS % "3.4.2")
    assert interpreters.find("==3.4.*").path == on_path


def test_an_interpreter_is_not_run_when_its_name_rules_it_out(here, monkeypatch):
    monkeypatch.setenv("PATH", str(here / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(here))
    tool(here / "bin", "python3.4", f"#!/bin/sh\n: > {here}/ran\n")
    assert interpreters.find("==2.7.*") is None
    assert not (here / "ran").exists()
    assert interpreters.find("==3.4.*") is None
    assert (here / "ran").exists()


def test_without_ensurepip_virtualenv_helps(here, monkeypatch):
    """Debian's python3 has venv and lacks ensurepip: the next way is tried."""
    bare = tool(here / "bin", "python", SHIM)
    monkeypatch.setattr(interpreters, "find", lambda _wanted: interpreters.Interpreter(bare, "3.12.0"))
    monkeypatch.setattr(
        build.sys, "executable", str(tool(here / "bin", "harness", f'#!/bin/sh\necho "$@" > {here.parent}/asked\n'))
    )
    found = prepare(manifest(here, '[setup]\nkind = "python"\n[start]\ncommand = ["{python}"]'))
    asked = (here.parent / "asked").read_text().split()
    assert asked[:3] == ["-m", "virtualenv", "--clear"]
    assert asked[3:5] == ["--python", str(bare)]
    assert isinstance(found, Unavailable)  # the false harness made nothing
    assert found.reason.endswith("venv/bin/python cannot be executed")


# --- cargo


CARGO = """#!/bin/sh
echo "$@" > {asked}
mkdir -p "$7/release"
printf '#!/bin/sh\n' > "$7/release/sample"
chmod +x "$7/release/sample"
"""


def test_cargo_builds_what_is_locked_apart_from_the_sources(here, monkeypatch):
    asked = here.parent / "asked"
    tool(here.parent / "bin", "cargo", CARGO.format(asked=asked))
    monkeypatch.setenv("PATH", f"{here.parent / 'bin'}{os.pathsep}{os.environ['PATH']}")
    text = '[setup]\nkind = "cargo"\n[start]\ncommand = ["{env}/target/release/sample"]'
    found = prepare(manifest(here, text))
    assert isinstance(found, Prepared)
    options = f"--release --locked --manifest-path {here}/Cargo.toml --target-dir {found.directory}/target"
    assert asked.read_text() == f"build {options}\n"
    asked.unlink()
    assert prepare(manifest(here, text)) == found
    assert not asked.exists()  # what stands needs no cargo and no network


def crate(directory, more=""):
    directory.mkdir(parents=True)
    (directory / "Cargo.toml").write_text(f'[package]\nname = "{directory.name}"\n{more}')
    return directory


def test_crates_by_path_are_sources(here):
    root = here / "space"
    crate(root, '[workspace.dependencies]\nshared = { path = "shared" }\n')
    crate(root / "shared", '[build-dependencies.tool]\npath = "../tool"\n')
    crate(root / "tool", '[dependencies]\nadapter = { path = "../adapter" }\n')  # a ring ends
    crate(root / "only-linux")
    crate(root / "patched")
    target = '[target."cfg(unix)".dependencies]\nonly-linux = { path = "../only-linux", version = "1" }\n'
    patch = '[patch.crates-io]\nlibc = { path = "../patched" }\n[lib]\npath = "../unrelated/lib.rs"\n'
    adapter = crate(root / "adapter", "[dependencies]\nshared.workspace = true\n" + target + patch)
    names = {"adapter", "shared", "tool", "only-linux", "patched"}
    assert {path.relative_to(root).as_posix() for path in sources.crates(adapter)} == names


def test_a_manifest_of_cargo_that_cannot_be_read(here):
    (here / "Cargo.toml").write_text("[")
    assert sources.crates(here) == {here}


def test_the_digest_tells_content_name_and_links_and_nothing_that_is_built(here):
    seen = [sources.digest([here])]

    def changed():
        seen.append(sources.digest([here]))
        return len(set(seen)) == len(seen)

    (here / "a").write_text("1")
    assert changed()
    (here / "a").write_text("2")
    assert changed()
    (here / "a").rename(here / "b")
    assert changed()
    (here / "link").symlink_to("b")
    assert changed()
    (here / "link").unlink()
    (here / "link").symlink_to("nowhere")
    assert changed()
    for built_here in ("target", "__pycache__", ".git"):
        (here / built_here).mkdir()
        (here / built_here / "x").write_text("x")
    os.mkfifo(here / "fifo")  # never opened: that would wait for ever
    assert sources.digest([here]) == seen[-1]
    assert sources.digest([here, here / "none"]) != seen[-1]
