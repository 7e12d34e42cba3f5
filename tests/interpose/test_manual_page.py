"""What docs/interposer.md says is so: its example prints what stands there, and its tables name what there is."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from fdspec.conformance.bench import Bench
from fdspec.conformance.interpose.calls import Name
from fdspec.conformance.interpose.held import Answer
from fdspec.conformance.interpose.kernel import RECEIVE, Kernel
from fdspec.conformance.suite import MUST
from fdspec.impls.process import launch_of
from fdspec.impls.protocol.values import Profile, SocketType
from fdspec.impls.registry import find
from fdspec.impls.setup import prepare

PAGE = Path(__file__).parents[2] / "docs" / "interposer.md"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCK = re.compile(r'^```\w+ title="(?P<title>[^"]+)"\n(?P<code>.*?)^```$', re.MULTILINE | re.DOTALL)


def rows(first: str) -> list[list[str]]:
    """Return the rows of the table whose first column is headed ``first``."""
    _, _, table = TEXT.partition(f"| {first} |")
    lines = table.split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_example_prints_what_stands_there(tmp_path):
    parts = {match["title"]: match["code"] for match in BLOCK.finditer(TEXT)}
    program = tmp_path / "interposed.py"
    program.write_text(parts["interposed.py"], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == parts["output"]


def test_every_answer_has_its_row():
    assert [row[0].strip("`") for row in rows("answer")] == ["GoOn", "Fail", "Return", "Wait"]
    assert {one.__name__ for one in get_args(Answer)} == {row[0].strip("`") for row in rows("answer")}


def test_what_is_held_is_named():
    [sentence] = re.findall(r"## What is held\n\n(.*?)\nA handler", TEXT, re.DOTALL)
    assert set(Name) <= set(re.findall(r"\w+", sentence))


def test_what_a_case_may_ask_of_the_kernel():
    """The table's methods exist, with the parameters that it shows; and none that a case uses is missing."""
    listed = {}
    for row in rows("on the kernel"):
        name, _, arguments = row[0].strip("`").removeprefix("kernel.").partition("(")
        listed[name] = [one.split("=")[0].strip() for one in arguments.rstrip(")").split(",") if one.strip()]
    for name, arguments in listed.items():
        member = inspect.getattr_static(Kernel, name)
        if isinstance(member, property):
            assert not arguments
            continue
        known = list(inspect.signature(member).parameters)
        assert [one for one in arguments if one != "..." and one not in known] == []
    assert set(listed) >= {"fails", "takes", "shows", "delays", "fails_cloexec", "fails_close", "plan", "calls"}


@pytest.mark.parametrize("name", ["python-socket", "reference"])
def test_the_case_on_the_page_passes_and_has_acted(name):
    [block] = re.findall(r"^```python\n(@case.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    found = []
    names = {"case": lambda *_args, **_more: found.append, "MUST": MUST, "RECEIVE": RECEIVE}
    exec(compile(block, str(PAGE), "exec"), names)
    kernel = Kernel()
    bench = Bench(launch_of(prepare(find(name))), kernel)
    try:
        link = bench.begin(Profile.MESSAGE, SocketType.STREAM)
        [function] = found
        function(link, link.objects, kernel)
        assert kernel.idle() == ""
        assert not bench.settle().problems
    finally:
        bench.close()
