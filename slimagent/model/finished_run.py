"""The noun of a run that has ended: its documents. As in `model`."""

from __future__ import annotations

from dataclasses import dataclass

from slimagent.model.plan import Plan
from slimagent.model.proof import Receipt, Verification


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """What a run left behind: `plan` and its digest, and the other documents as far as they are there.

    `path` is where it was read from. `image` and `tag` are the names of what was slimmed and of what was made, `ended`
    is when (RFC 3339 in UTC), `described` is what the engine said about the image; all of them empty where unknown.
    """

    path: str
    plan: Plan
    digest: str
    receipt: Receipt | None = None
    verification: Verification | None = None
    image: str = ""
    tag: str = ""
    ended: str = ""
    described: bytes = b""
