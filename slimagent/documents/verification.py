"""The verification as a document. See `documents` for what all of them promise."""

from __future__ import annotations

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import (
    BOOLEAN,
    COMPARISON,
    LOSS,
    MISSED,
    RESULT,
    TEXT,
    each,
    get_members,
    member,
    put_members,
)
from slimagent.model.proof import Verification
from slimagent.model.trace import BlindSpot

VERIFICATION = "slimagent/verification"
_MEMBERS = {
    "tool": TEXT,
    "plan": TEXT,
    "how": TEXT,
    "backend": TEXT,
    "blind_spots": each(member(BlindSpot)),
    "passed": BOOLEAN,
    "losses": each(LOSS),
    "missed": each(MISSED),
    "comparisons": each(COMPARISON),
    "steps": each(RESULT),
}


def encode_verification(verification: Verification) -> bytes:
    """A verification as bytes."""
    return dump(VERIFICATION, put_members(_MEMBERS, verification))


def decode_verification(data: bytes, document: str = "verification") -> Verification:
    """Bytes as a verification. Raises DocumentError."""
    return Verification(**get_members(_MEMBERS, load(data, VERIFICATION, document)))
