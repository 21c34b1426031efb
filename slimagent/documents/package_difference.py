"""What slimming takes off a bill of materials, as a document; nothing reads it back."""

from __future__ import annotations

from typing import Any

from slimagent.documents.envelope import dump
from slimagent.model.bill import GonePackage, PackageDifference
from slimagent.paths.algebra import to_text

PACKAGE_DIFFERENCE = "slimagent/package-difference"


def encode_package_difference(difference: PackageDifference) -> bytes:
    """A difference as bytes."""
    body = {
        "tool": difference.tool,
        "plan": difference.plan,
        "packages_before": difference.before,
        "packages_after": difference.after,
    }
    return dump(PACKAGE_DIFFERENCE, body, {"gone": map(_put, difference.gone)})


def _put(each: GonePackage) -> dict[str, Any]:
    return {
        "kind": each.kind,
        "name": each.name,
        "version": each.version,
        "place": to_text(each.place),
        "purl": each.purl or None,
        "licenses": list(each.licenses),
        "bytes": each.bytes,
        "reason": each.reason,
    }
