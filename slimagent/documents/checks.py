"""The results of a checklist as a document. See `documents` for what all of them promise."""

from __future__ import annotations

from collections.abc import Sequence

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import RESULT
from slimagent.model.result import CheckResult

CHECKS = "slimagent/checks"


def encode_checks(results: Sequence[CheckResult]) -> bytes:
    """The results of a checklist as bytes."""
    return dump(CHECKS, {"results": [RESULT.put(result) for result in results]})


def decode_checks(data: bytes, document: str = "checks") -> tuple[CheckResult, ...]:
    """Bytes as the results of a checklist. Raises DocumentError."""
    return load(data, CHECKS, document)["results"].each(RESULT.get)
