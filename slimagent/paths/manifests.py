"""Files in which an application says what it requires, by their names. Pure.

Sources: "Requirements File Format" in pip's reference; "Declaring project metadata" (PEP 621); Pipenv's "Pipfile";
npm's "package.json".
"""

from __future__ import annotations

import re

# Not those for development, tests, documentation: requirements-dev.txt, test-requirements.txt.
_PYTHON = re.compile(
    rb".*/(?:requirements(?:[-_.](?:base|common|main|prod(?:uction)?|app))?\.txt"
    rb"|requirements/(?:base|common|main|prod(?:uction)?|app)\.txt|requirements\.in|pyproject\.toml|setup\.cfg|Pipfile)",
    re.DOTALL,
)
_ENDINGS = (b".txt", b".in", b".toml", b".cfg", b"/Pipfile")  # most paths have none of them, which is found out fast
_NODE = b"/package.json"


def is_python_manifest(path: bytes) -> bool:
    """Whether an application in Python declares here what it requires.

    >>> is_python_manifest(b"/srv/app/requirements.txt"), is_python_manifest(b"/srv/app/requirements-dev.txt")
    (True, False)
    """
    return path.endswith(_ENDINGS) and _PYTHON.fullmatch(path) is not None


def is_manifest(path: bytes) -> bool:
    """Whether an application in Python or for Node declares here what it requires.

    >>> is_manifest(b"/srv/app/package.json"), is_manifest(b"/srv/app/data.json")
    (True, False)
    """
    return path.endswith(_NODE) or is_python_manifest(path)
