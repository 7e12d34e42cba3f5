"""The process that libFuzzer owns.

`bycoverage` starts it as a file, so that nothing of this package is imported before it is instrumented; that is why it imports
the package by its name. It ends when its standard input does, or when nobody reads its reports any more.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import sys
import time
from typing import Any, NoReturn

import atheris

BATCH = 32
EVERY = 0.1
"""Seconds after which programs that were run are reported at the latest, as soon as another one was run."""


class Child:
    """Runs what libFuzzer makes up, and reports it."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.report = int(order["report"])
        self.done: list[Any] = []
        self.next = time.monotonic()
        self.engine: Any = None
        self.runner: Any = None
        importlib.import_module("fdspec.conformance.bench")  # processes and wires: nothing that programs are judged by
        instrumented: Any = atheris
        with instrumented.instrument_imports(include=order["packages"]):
            self.fuzz: Any = importlib.import_module("fdspec.fuzz")
            self.engine = importlib.import_module("fdspec.fuzz.engines.bycoverage")
            self.encoder = importlib.import_module("msgspec").msgpack.Encoder()
            module, _, function = order["opener"].partition(":")
            opener = getattr(importlib.import_module(module), function)
            try:
                self.runner = opener(**order["arguments"])
            except Exception as fault:  # noqa: BLE001 - whatever it is, the engine raises it where somebody reads it
                self.end(fault)
        self.offers = {offer.profile: offer for offer in self.runner.offers}

    def one(self, data: bytes) -> None:
        """Run the program that ``data`` is; libFuzzer calls it."""
        program = self.fuzz.decode(data)
        program = self.fuzz.adapt(program, self.offers.get(program.profile) or self.runner.offers[0])
        try:
            (verdict,) = self.runner.run([program])
        except Exception as fault:  # noqa: BLE001 - as above
            self.end(fault)
        self.done.append(self.engine.Done(self.fuzz.encode(program), verdict))
        now = time.monotonic()
        if verdict.violations or len(self.done) >= BATCH or now >= self.next:
            self.flush()
            self.next = now + EVERY
            if select.select([0], [], [], 0)[0]:
                self.end(None)

    def flush(self, kind: str = "", fault: str = "") -> None:
        """Report what was done since."""
        body = self.encoder.encode(self.engine.Report(self.done, kind, fault))
        self.done = []
        data = memoryview(len(body).to_bytes(4, "little") + body)
        try:
            while data:
                data = data[os.write(self.report, data) :]
        except BrokenPipeError:
            self.end(None, told=True)

    def end(self, fault: BaseException | None, *, told: bool = False) -> NoReturn:
        """Close everything and end this process. libFuzzer has no say in it."""
        try:
            if not told:
                self.flush(type(fault).__name__ if fault else "", str(fault) if fault else "")
            if self.runner is not None:
                self.runner.close()
        finally:
            sys.stderr.flush()
            os._exit(0)


def main() -> None:
    """Do what the order in the first argument says."""
    order = json.loads(sys.argv[1])
    child = Child(order)
    atheris.Setup([sys.argv[0], *order["options"]], child.one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
