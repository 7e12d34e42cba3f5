"""The JSON Schema of the testee protocol, generated from the types: ``python -m fdspec.impls.protocol.schema PATH``.

One document describes every line: its root takes any request or reply. What a reply to one operation looks like is
``#/$defs/reply:OP`` (``#/$defs/reply:recv_fds``), since a reply alone does not tell what was asked.
"""

from __future__ import annotations

import argparse
import inspect
import json
from pathlib import Path
from typing import Any, cast

import msgspec

from .capabilities import POLICIES, PROFILES, TESTEE
from .messages import REQUESTS, VERSION, Request, Steps
from .results import ErrorReply
from .values import Profile

JsonObject = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
IDENTIFIER = f"urn:fdspec:testee-protocol:{VERSION}"


def schema() -> JsonObject:
    """Return the schema of the protocol as a JSON object (draft 2020-12)."""
    results = {request.result_type for request in REQUESTS}
    _, components = msgspec.json.schema_components([*REQUESTS, *results, ErrorReply], ref_template="#/$defs/{name}")
    definitions = cast("JsonObject", _plain(components))
    _mend(definitions)
    one_step = [_ref(request.__name__) for request in REQUESTS if request is not Steps]
    definitions["step"] = {
        "description": "A request within `steps`: any but `steps`, without an id.",
        "anyOf": one_step,
    }
    definitions["request"] = {
        "description": "A request: one object on one line of the testee's standard input.",
        **_with_id(),
        "anyOf": [*one_step, _ref(Steps.__name__)],
    }
    for request in REQUESTS:
        definitions[f"answer:{_op(request)}"] = _answer(request)
        definitions[f"reply:{_op(request)}"] = {
            "description": f"A reply to `{_op(request)}`: one object on one line of the testee's standard output.",
            **_with_id(),
            "allOf": [_ref(f"answer:{_op(request)}")],
        }
    definitions["answer"] = {
        "description": "A reply without its id, whatever was asked.",
        "anyOf": [_ref(f"answer:{_op(request)}") for request in REQUESTS if request is not Steps],
    }
    definitions["reply"] = {
        "description": "A reply to any request.",
        "anyOf": [_ref(f"reply:{_op(request)}") for request in REQUESTS],
    }
    return {
        "$schema": DIALECT,
        "$id": IDENTIFIER,
        "title": f"The testee protocol of fdspec, version {VERSION}",
        "description": "One line of the conversation: a request of the harness or a reply of the testee.",
        "anyOf": [_ref("request"), _ref("reply")],
        "$defs": {name: definitions[name] for name in sorted(definitions)},
    }


def text() -> str:
    """Return the schema as the text of its file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


def _plain(node: object) -> object:
    """Return ``node`` with descriptions as plain text: docstrings as any Python has them, one sort of backquote."""
    if isinstance(node, dict):
        found = {name: _plain(value) for name, value in cast("JsonObject", node).items()}
        if isinstance(found.get("description"), str):
            found["description"] = inspect.cleandoc(cast("str", found["description"])).replace("``", "`")
        return found
    if isinstance(node, list):
        return [_plain(item) for item in cast("list[object]", node)]
    return node


def _op(request: type[Request]) -> str:
    return cast("str", request.__struct_config__.tag)


def _ref(name: str) -> JsonObject:
    return {"$ref": f"#/$defs/{name}"}


def _with_id() -> JsonObject:
    return {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}


def _answer(request: type[Request]) -> JsonObject:
    """Return the schema of a reply to ``request``, without its id: exactly one of three fields."""
    result = _ref(request.result_type.__name__)
    error: JsonObject = _ref(ErrorReply.__name__)
    if request is not Steps:
        carried = {"anyOf": [result, {"type": "null"}]}
        error = {"allOf": [error, {"type": "object", "properties": {"observed": carried}}]}
    fields: JsonObject = {"result": result, "error": error, "unsupported": {"type": "string"}}
    return {
        "type": "object",
        "properties": fields,
        "oneOf": [{"required": [name]} for name in fields],
    }


def _mend(definitions: JsonObject) -> None:
    """Say what the types leave open: what a step is, and which names ``hello`` may use."""
    definitions["Steps"]["properties"]["steps"]["items"] = _ref("step")
    definitions["StepsResult"]["properties"]["replies"]["items"] = _ref("answer")
    definitions["In"]["properties"]["request"] = _ref("step")
    hello: JsonObject = definitions["HelloResult"]["properties"]
    hello["profiles"] = {
        "type": "object",
        "properties": {profile.value: _offer(profile) for profile in Profile},
        "additionalProperties": False,
        "minProperties": 1,
    }
    hello["capabilities"]["items"] = {"enum": list(TESTEE)}
    hello["policies"] = {
        "type": "object",
        "properties": {name: _policy(outcomes) for name, outcomes in POLICIES.items()},
        "additionalProperties": False,
        "default": {},
    }


def _offer(profile: Profile) -> JsonObject:
    capabilities = {"type": "array", "items": {"enum": list(PROFILES[profile])}}
    return {"allOf": [_ref("ProfileOffer"), {"type": "object", "properties": {"capabilities": capabilities}}]}


def _policy(outcomes: tuple[str, ...]) -> JsonObject:
    return {"allOf": [_ref("Policy"), {"type": "object", "properties": {"outcome": {"enum": list(outcomes)}}}]}


def main(arguments: list[str] | None = None) -> None:
    """Write the schema to the path given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m fdspec.impls.protocol.schema", description=schema.__doc__)
    parser.add_argument("path", type=Path, help="the file to write")
    path: Path = parser.parse_args(arguments).path
    try:
        path.write_text(text(), encoding="utf-8")
    except OSError as fault:
        parser.error(f"cannot write {path}: {fault.strerror}")


if __name__ == "__main__":
    main()
