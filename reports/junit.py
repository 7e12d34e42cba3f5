"""JUnit XML, in the dialect that Jenkins and most other consumers read: one testsuite per implementation."""

from __future__ import annotations

import re
from enum import StrEnum
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ..conformance.gatewords import TITLES
from ..conformance.records import CaseRecord, ImplementationRecord, Standing, Verdict, VerdictRecord
from .census import Change, compare, flags
from .control import Layout, layout, parse
from .fold import Folded, fold, label
from .store import Run
from .text import block, bound, first, line, visible

MAX_OUTPUT = 16_000
"""Characters of a test's system-out."""


class _Tag(StrEnum):
    FAILURE = "failure"
    ERROR = "error"
    SKIPPED = "skipped"


_TAGS = {
    Verdict.FAIL: _Tag.FAILURE,
    Verdict.LEAK: _Tag.FAILURE,
    Verdict.CRASH: _Tag.ERROR,
    Verdict.TIMEOUT: _Tag.ERROR,
    Verdict.BROKEN: _Tag.ERROR,
    Verdict.UNSUPPORTED: _Tag.SKIPPED,
}
_STAMP = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}")


def render(run: Run) -> bytes:
    """Return the document, UTF-8: crash, timeout and broken adapter are errors, a wrong answer and a leak failures.

    An implementation that is not available is a skipped test with its reason. An incomplete run is a test in error, so
    that no consumer takes it for green. Where the run had expectations, what they list is skipped, with the reason that
    they give; an unexpected pass, another verdict, and each entry at which the gate is red are failures.
    """
    folded = fold(run)
    root = Element("testsuites", name="fdspec")
    if run.incomplete:
        suite = _add(root, "testsuite", name="fdspec", **_stamp(run))
        case = _add(suite, "testcase", name="the run is complete", classname="fdspec", time="0.000")
        _add(case, _Tag.ERROR, type="incomplete", message=line(run.incomplete))
    if run.footer and run.footer.gate and run.footer.gate.problems:
        suite = _add(root, "testsuite", name="expectations", **_stamp(run))
        for problem in run.footer.gate.problems:
            name = f"{TITLES[problem.standing]}: {', '.join(problem.entries)}"
            case = _add(suite, "testcase", name=line(name), classname="expectations", time="0.000")
            _add(case, _Tag.FAILURE, type=problem.standing.value, message=line(problem.text))
    cases = {case.id: case for case in run.cases}
    how = layout(run.header.platform.machine)
    for implementation in run.implementations:
        suite = _add(root, "testsuite", name=line(implementation.id), **_stamp(run))
        _properties(suite, implementation, run)
        _tests(suite, implementation, folded, cases, how)
    for suite in root:
        _count(suite)
    _total(root)
    indent(root)
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="utf-8") + b"\n"


def _add(parent: Element, tag: str, **attributes: str) -> Element:
    return SubElement(parent, tag, attributes)


def _stamp(run: Run) -> dict[str, str]:
    found = _STAMP.match(run.header.started)
    return {"timestamp": found[0]} if found else {}


def _properties(suite: Element, implementation: ImplementationRecord, run: Run) -> None:
    facts = {
        "fdspec": run.header.fdspec,
        "version": implementation.version,
        "language": implementation.language,
        "runtime": implementation.runtime,
        "kernel": run.header.platform.kernel,
        "run": run.header.run,
    }
    properties = _add(suite, "properties")
    for name, value in facts.items():
        _add(properties, "property", name=name, value=line(value))


def _tests(
    suite: Element, implementation: ImplementationRecord, folded: Folded, cases: dict[str, CaseRecord], how: Layout
) -> None:
    name = line(implementation.id)
    cells = folded.row(implementation.id)
    if not implementation.available:
        case = _add(suite, "testcase", name="available", classname=name, time="0.000")
        reason = line(implementation.reason) or "no reason was recorded"
        _add(case, _Tag.SKIPPED, message=f"not available here: {reason}")
    for cell in cells:
        area = line(cases[cell.case].area)
        for verdict in cell.verdicts:
            case = _add(
                suite,
                "testcase",
                name=line(f"{verdict.case} [{label(verdict)}]"),
                classname=f"{name}.{area}",
                time=_time(verdict.duration),
            )
            _outcome(case, verdict, cases[cell.case], how)


def _outcome(case: Element, verdict: VerdictRecord, record: CaseRecord, how: Layout) -> None:
    tag = _TAGS.get(verdict.verdict)
    judged = verdict.gate
    if judged is not None and judged.standing is Standing.EXPECTED:
        message = f"expected: {judged.listed}: {judged.why}" + (f" ({judged.issue})" if judged.issue else "")
        _add(case, _Tag.SKIPPED, type="expected", message=line(message))
        return
    if judged is not None and tag in {None, _Tag.SKIPPED}:
        message = f"came to {verdict.verdict.value}, and {' and '.join(judged.entries)} expects {judged.listed}"
        _add(case, _Tag.FAILURE, type=judged.standing.value, message=line(message))
        return
    if tag is None:
        return
    reason = line(verdict.reason, 100)
    kind = f"{verdict.verdict.value}: {reason}" if reason else verdict.verdict.value
    if judged is not None:
        kind = f"{judged.standing.value}: {kind}"
    if tag is _Tag.SKIPPED:
        _add(case, tag, type=kind, message=first(verdict.observed or verdict.reason or "unsupported"))
        return
    element = _add(case, tag, type=kind, message=first(verdict.observed) or kind)
    parts = [
        ("must happen", record.summary),
        ("expected", verdict.expected),
        ("observed", verdict.observed),
        ("reproduce", verdict.reproduce),
    ]
    element.text = "\n".join(f"{name}: {block(text, 2_000)}" for name, text in parts if text)
    output = visible(_output(verdict, how), lines=True)
    if output:
        _add(case, "system-out").text = bound(output, MAX_OUTPUT)
    errors = "\n".join([verdict.log, *(f"noise: {each[:400]}" for each in verdict.noise[:20])]).strip()
    if errors:
        _add(case, "system-err").text = block(errors)


def _output(verdict: VerdictRecord, how: Layout) -> str:
    """Return the transcript and what differs between the censuses, as text."""
    lines: list[str] = []
    for entry in verdict.transcript[:400]:
        lines.append(f"{entry.at:10.6f}  {entry.actor:<8} {line(entry.kind, 40)}: {line(entry.text, 1_000)}")
        if entry.control:
            control = parse(entry.control, how)
            lines += [f"{'':12}control {message.text()}" for message in control.messages[:16]]
            if control.note:
                lines.append(f"{'':12}control: {control.note}")
    if len(verdict.transcript) > 400:
        lines.append(f"… [cut: {len(verdict.transcript) - 400} more entries]")
    for pair in compare(verdict.before, verdict.after):
        opened = pair.after or pair.before
        if pair.change is not Change.SAME and opened is not None:
            lines.append(f"census: {pair.change.value} {pair.fd} -> {line(opened.target, 200)} {flags(opened)}")
    return "\n".join(lines)


def _time(value: float) -> str:
    return f"{min(max(value, 0.0), 1e9):.6f}"


def _count(suite: Element) -> None:
    tests = suite.findall("testcase")
    suite.set("tests", str(len(tests)))
    for name, tag in (("failures", _Tag.FAILURE), ("errors", _Tag.ERROR), ("skipped", _Tag.SKIPPED)):
        suite.set(name, str(sum(test.find(tag) is not None for test in tests)))
    suite.set("time", _time(sum(float(test.get("time", "0")) for test in tests)))


def _total(root: Element) -> None:
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    root.set("time", _time(sum(float(suite.get("time", "0")) for suite in root)))
