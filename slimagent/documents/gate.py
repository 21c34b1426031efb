"""What a gate came to, as a document. See `documents` for what all of them promise."""

from __future__ import annotations

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import TEXT, an_object, each, get_members, member, or_null, put_members
from slimagent.model.gate import Judged, Level, Outcome, Ruling

GATE = "slimagent/gate"
RULING = an_object(Ruling, rule=TEXT, outcome=member(Outcome), message=TEXT, level=member(Level), why=TEXT, where=TEXT)
_MEMBERS = {"tool": TEXT, "image": or_null(TEXT), "tag": or_null(TEXT), "rules": each(RULING)}


def encode_gate(judged: Judged) -> bytes:
    """The rulings as bytes."""
    first, *rest = put_members(_MEMBERS, judged).items()
    return dump(GATE, dict([first, ("status", judged.status), *rest]))


def decode_gate(data: bytes, document: str = "gate") -> Judged:
    """Bytes as rulings. Raises DocumentError."""
    place = load(data, GATE, document)
    judged = Judged(**get_members(_MEMBERS, place))
    status = place["status"]
    if status.unsigned() != judged.status:
        raise status.fail(f"expected {judged.status}, because of the rules")
    return judged
