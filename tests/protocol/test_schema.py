"""The JSON Schema: the committed file is the generated one, real lines fit it, and lines with a fault don't."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from fdspec.impls.protocol import Conversation, schema
from fdspec.impls.protocol.messages import REQUESTS, Request, Steps
from fdspec.impls.protocol.values import SocketType

ROOT = Path(__file__).parents[2]
COMMITTED = ROOT / "docs" / "schema" / "testee-protocol-1.json"
CONVERSATION = ROOT / "docs" / "examples" / "conversation.jsonl"

FIELDS: dict[str, Any] = {
    "fd": 4, "address": "@there", "type": SocketType.DGRAM, "path": "/dev/null", "level": "SOL_SOCKET", "option": 16,
    "value": 1, "how": "SHUT_RD", "transport": 1, "data": "00", "on": True, "messages": [], "name": "readv",
    "ancillary": [], "control": "", "kind": "file", "process": 1, "resource": "RLIMIT_NOFILE", "soft": 64,
    "steps": [{"op": "accept", "fd": "$0.fd"}], "request": {"op": "census"},
}  # fmt: skip
"""A value for every field that some request cannot do without."""

DOCUMENT = schema.schema()


def check(line: object, part: str = "") -> None:
    """Raise jsonschema.ValidationError where ``line`` is not what the schema's ``part`` says."""
    root = {**DOCUMENT, "anyOf": [{"$ref": f"#/$defs/{part}"}]} if part else DOCUMENT
    jsonschema.Draft202012Validator(root).validate(line)


def lines() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CONVERSATION.read_text().splitlines()]


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(DOCUMENT)


def test_the_committed_file_is_the_generated_one() -> None:
    hint = "run: python -m fdspec.impls.protocol.schema docs/schema/testee-protocol-1.json"
    assert COMMITTED.read_text(encoding="utf-8") == schema.text(), hint


def test_the_command_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema.main([str(tmp_path / "schema.json")])
    assert (tmp_path / "schema.json").read_text(encoding="utf-8") == schema.text()
    with pytest.raises(SystemExit, match="2"):
        schema.main([str(tmp_path / "none" / "schema.json")])
    assert "cannot write" in capsys.readouterr().err


@pytest.mark.parametrize("request_type", REQUESTS, ids=lambda kind: kind.__struct_config__.tag)
def test_every_request_as_the_harness_writes_it_fits(request_type: type[Request]) -> None:
    required = {field.name: FIELDS[field.name] for field in msgspec.structs.fields(request_type) if field.required}
    line = json.loads(Conversation().ask(request_type(**required)))
    check(line)
    check(line, "request")
    if request_type is not Steps:
        check(line, "step")
    with pytest.raises(jsonschema.ValidationError):
        check({**line, "id": None})
    with pytest.raises(jsonschema.ValidationError):
        check(line, "reply")


def test_a_real_conversation_fits() -> None:
    ops: dict[int, str] = {}
    known = {request.__struct_config__.tag for request in REQUESTS}
    seen = set()
    for line in lines():
        if "op" in line:
            ops[line["id"]] = line["op"]
            if line["op"] in known:
                check(line, "request")
            continue
        check(line, "reply")
        op = ops[line["id"]]
        if op in known:
            check(line, f"reply:{op}")
            seen.add((op, *(line.keys() - {"id"})))
    assert {("hello", "result"), ("steps", "result"), ("send_fds", "error"), ("send_fds", "unsupported")} <= seen


@pytest.mark.parametrize(
    ("part", "line"),
    [
        ("reply", {"id": 1}),
        ("reply", {"result": {}}),
        ("reply", {"id": 1, "result": {}, "unsupported": "both"}),
        ("reply", {"id": 1, "unsupported": 5}),
        ("reply", {"id": 1, "error": {"message": "without a type"}}),
        ("reply:connect", {"id": 1, "result": {"fd": "4"}}),
        ("reply:recv_fds", {"id": 1, "result": {"buffers": ["0"]}}),
        ("reply:recv_fds", {"id": 1, "result": {"fds": [None]}}),
        ("reply:recv_fds", {"id": 1, "error": {"type": "E", "observed": {"fds": "7"}}}),
        ("reply:recv_fds", {"id": 1, "error": {"type": "E", "errno": "not a name"}}),
        ("reply:steps", {"id": 1, "result": {"replies": [{"result": {}, "error": {"type": "E"}}]}}),
        ("request", {"id": 1, "op": "connect", "address": "@a"}),
        ("request", {"id": 1, "op": "connect", "address": "@a", "type": "raw"}),
        ("request", {"id": 1, "op": "close", "fd": "0.fd"}),
        ("request", {"id": 1, "op": "steps", "steps": [{"op": "steps", "steps": []}]}),
        ("request", {"id": 1, "op": "nothing"}),
    ],
)
def test_a_fault_is_seen(part: str, line: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(line, part)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1"},
        {"profiles": {}},
        {"profiles": {"descriptor": {"types": ["stream"]}}},
        {"profiles": {"descriptors": {"types": ["streams"]}}},
        {"profiles": {"descriptors": {"types": ["stream"], "capabilities": ["several"]}}},
        {"capabilities": ["single"]},
        {"policies": {"truncation": {"outcome": "sometimes"}}},
        {"policies": {"truncated": {"outcome": "error"}}},
        {"objects": ["directory"]},
    ],
)
def test_a_hello_with_a_name_that_nobody_knows_is_seen(change: dict[str, Any]) -> None:
    hello = next(line for line in lines() if "result" in line)
    check(hello, "reply:hello")
    with pytest.raises(jsonschema.ValidationError):
        check({"id": 1, "result": {**hello["result"], **change}}, "reply:hello")
