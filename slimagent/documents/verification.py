"""The verification as a document. See `documents` for what all of them promise."""

from __future__ import annotations

from slimagent.documents.envelope import dump, load
from slimagent.documents.parts import get_loss, get_path, get_result, put_comparisons, put_loss, put_missed, put_result
from slimagent.model.proof import Comparison, Missed, Verification
from slimagent.model.result import Outcome
from slimagent.model.trace import BlindSpot

VERIFICATION = "slimagent/verification"


def encode_verification(verification: Verification) -> bytes:
    """A verification as bytes."""
    body = {
        "tool": verification.tool,
        "plan": verification.plan,
        "how": verification.how,
        "backend": verification.backend,
        "blind_spots": [spot.value for spot in verification.blind_spots],
        "passed": verification.passed,
        "losses": [put_loss(loss) for loss in verification.losses],
        "missed": put_missed(verification.missed),
        "comparisons": put_comparisons(verification.comparisons),
        "steps": [put_result(step) for step in verification.steps],
    }
    return dump(VERIFICATION, body)


def decode_verification(data: bytes, document: str = "verification") -> Verification:
    """Bytes as a verification. Raises DocumentError."""
    place = load(data, VERIFICATION, document)
    return Verification(
        tool=place["tool"].text(),
        plan=place["plan"].text(),
        how=place["how"].text(),
        backend=place["backend"].text(),
        blind_spots=place["blind_spots"].each(lambda each: each.member(BlindSpot)),
        passed=place["passed"].boolean(),
        steps=place["steps"].each(get_result),
        comparisons=place["comparisons"].each(
            lambda each: Comparison(
                name=each["name"].text(),
                before=each["before"].member(Outcome),
                after=each["after"].member(Outcome),
                detail=each["detail"].text(),
            )
        ),
        missed=place["missed"].each(lambda each: Missed(path=get_path(each["path"]), steps=each["steps"].texts())),
        losses=place["losses"].each(get_loss),
    )
