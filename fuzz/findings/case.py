"""A finding as the source of a case: a module of the suite that holds it."""

from __future__ import annotations

import re
import textwrap

from ...conformance.model.operations import Receive, Rights, Send
from ...conformance.suite import Requirement
from .. import operations as o
from ..judgement import Breach
from ..operations import End, Operation, end_of
from ..program import Program
from .casebody import Body, Found, Inexpressible


def source_of(identity: str, level: str, requirement: Requirement, found: Found) -> str:
    """Return the module that holds the case. Raises Inexpressible."""
    body = Body(found).lines()
    program, violation = found.program, found.violation
    profile = "CALLS" if _is_common(program) and violation.breach is not Breach.CLOEXEC else program.profile.name
    kind = program.type.name
    arguments = ["link", "objects", *(["kernel"] if any("kernel." in line for line in body) else [])]
    used = [one for one in arguments if one == "link" or any(re.search(rf"\b{one}\b", line) for line in body)]
    suite = ", ".join(sorted({profile, level.upper(), kind, "case"}, key=lambda one: (one.islower(), one)))
    imports = sorted(
        line for name, line in _IMPORTS.items() if any(re.search(rf"(?<![\w.]){name}\b", each) for each in body)
    )
    imports.append(f"from fdspec.conformance.suite import {suite}")
    standard = [line for line in imports if not line.startswith("from fdspec")]
    own = [line for line in imports if line.startswith("from fdspec")]
    title = _quotable(f"Found by fuzzing: {violation.operation} in {violation.place}.")
    sentence = textwrap.wrap(_quotable(requirement.sentence), 112)
    summary = [f'    """{sentence[0]}"""']
    if len(sentence) > 1:
        first = f'    """What fuzzing found keeps {requirement.id}.'
        summary = [first, "", *(f"    {line}" for line in sentence), '    """']
    name = re.sub(r"[^a-z0-9]+", "_", identity.partition(".")[2])
    head = [f'"""{title}"""', "", *standard, *([""] if standard else []), *sorted(own), "", ""]
    decorator = f'@case("{identity}", level={level.upper()}, checks="{requirement.id}", '
    decorator += f"profiles={profile if profile == 'CALLS' else f'({profile},)'}, types=({kind},))"
    return "\n".join(
        [*head, decorator, f"def test_{name}({', '.join(used)}):", *summary, *(f"    {one}" for one in body), ""]
    )


_IMPORTS = {
    "os": "import os",
    "socket": "import socket",
    "suppress": "from contextlib import suppress",
    "RECEIVE": "from fdspec.conformance.interpose.kernel import RECEIVE",
    "SEND": "from fdspec.conformance.interpose.kernel import SEND",
    "collect": "from fdspec.conformance.model.kernel import collect",
    "rights": "from fdspec.conformance.peer import rights",
    "Gone": "from fdspec.conformance.peer import Gone",
    "gone": "from fdspec.conformance.phrases import gone",
    "true_credentials": "from fdspec.conformance.checks import true_credentials",
}


def _quotable(text: str) -> str:
    return text.replace("\\", "/").replace('"', "'")


def _is_common(program: Program) -> bool:
    """Whether a program says the same in both profiles with calls."""

    def common(one: Operation) -> bool:
        if isinstance(one, Send) and end_of(one.name) is End.TESTEE:
            return len(one.control) <= 1 and all(isinstance(each, Rights) and each.fds for each in one.control)
        return not isinstance(one, (o.SendOne, o.TakeOne, Receive)) or end_of(one.name) is End.PEER

    return all(map(common, program.operations))


__all__ = ["Found", "Inexpressible", "source_of"]
