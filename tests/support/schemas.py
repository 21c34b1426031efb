"""The published schemas as validators, for tests of real documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

import slimagent

DIRECTORY = Path(slimagent.__file__).parent / "schemas"
NAMES = tuple(sorted(path.stem for path in DIRECTORY.iterdir()))


def schema(name: str) -> dict[str, Any]:
    """The schema of a document."""
    found: dict[str, Any] = json.loads((DIRECTORY / f"{name}.json").read_text())
    return found


def closed(value: Any) -> Any:
    """The same schema, in which no object may have a member that is not described."""
    if isinstance(value, list):
        return [closed(each) for each in value]
    if not isinstance(value, dict):
        return value
    inside = {key: closed(each) for key, each in value.items()}
    return {**inside, "additionalProperties": False} if isinstance(value.get("required"), list) else inside


def problems(name: str, document: Any) -> list[str]:
    """What a document has that its schema does not describe, or the other way round."""
    return [
        f"{each.json_path}: {each.message}" for each in Draft202012Validator(closed(schema(name))).iter_errors(document)
    ]


def problems_in(directory: Path) -> list[str]:
    """The same of every document in the output directory of a run."""
    return [
        f"{path.name} {problem}"
        for path in sorted(directory.glob("*.json"))
        if (name := {"in-place": "receipt"}.get(path.stem, path.stem)) in NAMES
        for problem in problems(name, json.loads(path.read_text()))
    ]
