"""`slimagent schema`: what a document holds, for scripts."""

from __future__ import annotations

import os

import click

from slimagent.cli import terminal
from slimagent.cli.help import command
from slimagent.documents.envelope import VERSIONS
from slimagent.linux.files import read

_NAMES = tuple(schema.rpartition("/")[2] for schema in VERSIONS)
_DIRECTORY = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "schemas")
_EXAMPLE = """\
slimagent schema plan > plan.schema.json
check-jsonschema --schemafile plan.schema.json slimagent-out/plan.json"""


@command(example=_EXAMPLE)
@click.argument("name", metavar="NAME", type=click.Choice(_NAMES))
def schema(name: str) -> int:
    """Print the JSON Schema (2020-12) of a document.

    docs/documents.md says what a script may rely on.
    """
    terminal.document(read(os.path.join(_DIRECTORY, f"{name}.json")).decode())
    return 0


COMMANDS = (schema,)
