"""A script shows the defect without fdspec, in both languages, and shows nothing where there is none."""

from __future__ import annotations

import re
import subprocess

import pytest
from fdspec.fuzz import everything, parse
from fdspec.fuzz.findings import plan
from fdspec.fuzz.findings.script import Script, script_of, to_the_letter
from fdspec.fuzz.program import PROFILES
from fdspec.fuzz.runner import open_runner
from fdspec.fuzz.strategy import programs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scriptkit import DEFECTS, run_c, run_python

SCRIPTS = settings(
    max_examples=100,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
any_program = st.sampled_from(PROFILES).flatmap(lambda profile: programs(everything(profile), operations=24))


def script_on(subject, text):
    program = parse(text)
    runner = open_runner(subject, profiles=[program.profile])
    try:
        return script_of(program, None, runner)
    finally:
        runner.close()


def body(text):
    """Return what of a Python script is no prelude."""
    return text.partition("\nos.closerange")[2]


@pytest.mark.parametrize(("mutant", "text"), DEFECTS.items(), ids=DEFECTS)
def test_both_scripts_show_a_mutants_defect_and_none_on_the_reference(mutant, text, tmp_path):
    for subject, code, last in ((f"mutant:{mutant}", 1, "the defect shows"), ("reference", 0, "nothing is wrong")):
        script = script_on(subject, text)
        assert script.defect == bool(code)
        assert "no system call shows this" not in script.text("python")
        for ran in (run_python(script.text("python")), run_c(script.text("c"), tmp_path)):
            assert (ran.code, ran.out.splitlines()[-1], ran.err) == (code, last, "")


def test_it_makes_the_implementations_own_calls():
    text = body(script_on("mutant:message.truncation-leaks", DEFECTS["message.truncation-leaks"]).text("python"))
    assert "receive('@t0', [1], 20, 0x40000000)" in text  # its room, its MSG_CMSG_CLOEXEC
    assert "close(" not in text
    text = body(script_on("reference", DEFECTS["message.truncation-leaks"]).text("python"))
    assert "close('@g0')" in text


def test_what_was_told_but_never_came_is_written_down():
    """The calls bring the flag; the implementation swallows it."""
    text = script_on("mutant:message.truncation-untold", DEFECTS["message.truncation-untold"]).text("python")
    assert re.search(r"^# what the implementation told its caller.*\nclaim\(flags=0\)$", text, re.MULTILINE)
    assert "LC03: The caller can tell that descriptors were lost" in text


def test_a_second_number_that_nobody_was_told_of_is_the_implementations_own_call():
    text = body(script_on("mutant:message.send-keeps-a-copy", DEFECTS["message.send-keeps-a-copy"]).text("python"))
    assert "duplicate('@f0', True)" in text


def test_the_end_of_a_process_is_only_told(tmp_path):
    """No system call shows a crash; the script says so and counts it as seen."""
    program = 'program 1 message stream client\nopen g0\nsend p0 "x" fds=g0,g0\ntake t0 1 room=2 as=r0_\n'
    script = script_on("mutant:message.several-descriptors-crash", program)
    text = script.text("python")
    assert "# no system call shows this" in text
    assert run_python(text).code == run_c(script.text("c"), tmp_path).code == 1


def test_the_kernels_own_script_is_the_operations(tmp_path):
    script = script_on("linux", DEFECTS["message.truncation-leaks"])
    text = script.text("python")
    assert text.splitlines()[1] == "# The operations themselves: what is tested is the kernel."
    assert "receive('t0', [1], 20, 0x0, 'r0_')" in body(text)
    assert run_python(text).code == run_c(script.text("c"), tmp_path).code == 0


def test_what_comes_and_goes_is_accounted_for(tmp_path):
    """Names that are closed, copies, sockets over themselves, files, limits, several connections, wrong lengths."""
    text = """program 1 message seqpacket client
make file f0
make socket g0
open f1
pair stream t1 p1
send t0 "abc" "d"*5000 fds=f0,f1,f0 creds=own
recv p0 16,6000 control=64 as=q0_
close f1
released f1
close q0_1
released f1
send p1 "x" fds=q0_0,g0,p0:12 cmsg=0,7,aabb controllen=40
send p1 "x" fds=g0,p0
room 1
take t1 5 room=2 as=r0_
room off
close r0_0
close r0_0
shutdown p1 wr
take t1 5
collect
"""
    script = to_the_letter(parse(text))
    outs = [run_python(script.text("python")), run_c(script.text("c"), tmp_path)]
    for ran in outs:
        assert (ran.code, ran.err) == (0, "")
        assert "error: EINVAL" in ran.out  # the wrong cmsg_len
        assert "files: ['g0']" in ran.out or "files: g0\n" in ran.out  # one number was free
        assert "error: EBADF" in ran.out  # closed twice
        assert re.findall(r"released f1\n +value: (\d)", ran.out) == ["0", "1"]


@pytest.mark.parametrize("language", ["python", "c"])
def test_no_word_of_a_finding_becomes_code(language, tmp_path):
    script = to_the_letter(
        parse("program 1 message stream client\nsend t0 \"??/\\x22*/\\x0a'''\"\n"), "*/ \\\n'''\0 ??/"
    )
    text = script.text(language)
    ran = run_python(text) if language == "python" else run_c(text, tmp_path)
    assert (ran.code, ran.err) == (0, "")


RECEIVED = (
    'program 1 message stream client\nopen g0\nsend p0 "ab" fds=g0,g0\nrecv t0 1,1 control=24 flags=CLOEXEC as=r0_\n'
)
FIELDS = {
    "error": ("", "EAGAIN"),
    "data": (b"ab", b"ba"),
    "files": (("g0", "g0"), ("g0",)),
    "flags": (0, 8),
    "cloexec": (True, False),
}


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize(("field", "values"), FIELDS.items(), ids=FIELDS)
def test_what_is_compared_is_what_came(field, values, bad, tmp_path):
    """The right value is no defect and the wrong one is; of what must not be, the other way round."""
    script = to_the_letter(parse(RECEIVED))
    for value, same in zip(values, (True, False), strict=True):
        steps = (*script.steps[:-1], plan.Expect(**{field: value}, bad=bad))
        for ran in _both(Script(steps, (), defect=False), tmp_path):
            assert (ran.code, ran.err) == (int(same is bad), ""), ran.out


@pytest.mark.parametrize("field", ["error", "data", "files", "flags"])
def test_what_is_claimed_is_compared_in_place_of_what_came(field, tmp_path):
    script = to_the_letter(parse(RECEIVED))
    right, wrong = FIELDS[field]
    for value, code in ((wrong, 0), (right, 1)):
        steps = (*script.steps[:-1], plan.Claim(**{field: wrong}), plan.Expect(**{field: value}))
        for ran in _both(Script(steps, (), defect=False), tmp_path):
            assert (ran.code, ran.err) == (code, ""), ran.out


def _both(script, directory):
    return run_python(script.text("python")), run_c(script.text("c"), directory)


@SCRIPTS
@given(any_program)
def test_the_python_of_any_program_runs_to_its_end(program):
    ran = run_python(to_the_letter(program).text("python"))
    assert ran.err == ""
    assert ran.code in (0, 1)
    assert ran.out.splitlines()[-1] in ("nothing is wrong", "the defect shows")


@SCRIPTS
@given(any_program)
def test_the_c_of_any_program_compiles_without_a_warning(program):
    text = to_the_letter(program).text("c")
    command = ["cc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
