"""``fdspec model``: what must happen in a sequence of operations on AF_UNIX sockets, and which requirements say so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import HARNESS, NOT_AS_EXPECTED, OK, Stop

if TYPE_CHECKING:
    from ..conformance.model import Operation


@click.command("model")
@click.argument("file", metavar="FILE|-")
@click.option(
    "--check", "checked", is_flag=True, help="Run the sequence on the kernel of this machine, too, and compare."
)
@click.option("--bare", is_flag=True, help="Leave out the sentences of the requirements.")
def command(file: str, checked: bool, bare: bool) -> int:
    """Explain a sequence of operations on AF_UNIX sockets.

    FILE holds one operation a line (- is standard input): pair, socket, connect, listen, accept, open, dup, close, shutdown,
    set, room, send, recv, released, look and collect. The manual's page "The model" shows how each is written.
    """
    from ..conformance.model import BadSequence, explain, initial, parse  # noqa: PLC0415 - a verb's imports wait for it
    from ..conformance.suite import load_suite  # noqa: PLC0415 - the same

    try:
        sequence = parse(_text(file))
    except BadSequence as fault:
        raise Stop(f"{file}: {fault}") from fault
    if not sequence:
        raise Stop(f"{file}: there is no operation in it")
    requirements = {} if bare else load_suite().requirements
    account = explain(initial(), sequence, None if bare else lambda one: requirements[one].sentence)
    click.echo(account, nl=False)
    return _check(sequence) if checked else OK


def _text(file: str) -> str:
    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        return raw.decode()
    except UnicodeDecodeError as fault:
        raise Stop(f"{file} is no UTF-8 text: byte {fault.start} is {fault.object[fault.start]:#04x}") from fault
    except OSError as fault:
        raise Stop(f"cannot read {file}: {fault.strerror}") from fault


def _check(sequence: tuple[Operation, ...]) -> int:
    from ..conformance.model.explain import check, tell_mismatch  # noqa: PLC0415 - only where it is asked for
    from ..conformance.model.kernel import Kernel, NotHere  # noqa: PLC0415 - the same
    from ..conformance.model.state import initial  # noqa: PLC0415 - the same

    try:
        with Kernel() as kernel:
            agreed, mismatch = check(initial(kernel.begin()), sequence, kernel.execute)
    except NotHere as fault:
        raise Stop(str(fault), HARNESS) from fault
    if mismatch is None:
        click.echo(f"\nThe kernel of this machine did so, in all {agreed} operations.")
        return OK
    click.echo(f"\nThe kernel of this machine differs at operation {agreed + 1}: {tell_mismatch(mismatch)}")
    return NOT_AS_EXPECTED
