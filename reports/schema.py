"""The published JSON Schema of a line of records; ``python -m fdspec.reports.schema`` prints it."""

from __future__ import annotations

import json
import sys

from ..conformance.records import VERSION, schema


def text() -> str:
    """Return the schema as docs/schema/records-<version>.json has it."""
    document: dict[str, object] = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"One line of fdspec's result records, version {VERSION}",
    }
    return json.dumps(document | schema(), indent=2) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
